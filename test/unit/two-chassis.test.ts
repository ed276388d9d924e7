/** The board of two equal chassis: each part of each, each fault, and the other chassis meanwhile. */
import { describe, expect, it } from 'vitest';
import { createMockGpio } from '../../mocks/backends/gpio.ts';
import { createMockI2c } from '../../mocks/backends/i2c.ts';
import { parseFault } from '../../mocks/plant/faults.ts';
import { createPlant } from '../../mocks/plant/plant.ts';
import { createVirtualClock } from '../../mocks/virtual-clock.ts';
import { openChassis } from '../../src/run/hardware.ts';
import { JOBS } from '../../src/run/jobs.ts';
import { type RunResult, runSequence } from '../../src/run/runner.ts';
import { planOf } from '../../src/sequence/plan.ts';
import { shippedBoard } from './bench.ts';

const CHASSIS = [0, 1] as const;
const board = shippedBoard('two-chassis');
const RAILS = Object.keys(board.chassis[0]?.rails ?? {});

/** Powers both chassis on at the same time, as two processes on one machine do. */
async function powerBothOn(faults: readonly string[]) {
  const clock = createVirtualClock();
  const plant = createPlant({ board, clock, faults: faults.map((text) => parseFault(text, board)) });
  const powerOn = async (number: number): Promise<RunResult> => {
    const described = board.chassis[number];
    if (described === undefined) throw new RangeError(`no chassis ${number}`);
    const ports = { clock, gpio: async () => createMockGpio(plant), i2c: async () => createMockI2c(plant) };
    const hardware = await openChassis(board, number, ports);
    const result = await runSequence(JOBS.on, {
      plan: planOf(described, board.devices),
      hardware,
      clock,
      store: { load: () => ({ hint: null, warning: null }), save: () => null },
      record: () => undefined,
      signal: new AbortController().signal,
    });
    await hardware.close();
    return result;
  };
  const results = await clock.runUntil(Promise.all(CHASSIS.map(powerOn)));
  plant.close();
  return { results, plant };
}

describe('the board of two equal chassis', () => {
  it('powers both on, each on lines of its own', async () => {
    const { results, plant } = await powerBothOn([]);
    expect(results.map(({ state }) => state)).toEqual(['pgood', 'pgood']);
    expect(plant.hazards).toEqual([]);
    expect(plant.misuses).toEqual([]);
  });

  const cases = CHASSIS.flatMap((broken) =>
    RAILS.flatMap((rail) =>
      [`rail ${rail} never good`, `enable ${rail} stuck off`, `rail ${rail} shorts 1ms after good`].map(
        (fault) => [broken, rail, fault] as const,
      ),
    ),
  );

  it.each(cases)(
    'chassis %i: %s is named for "%s", and the other chassis is on',
    async (broken, rail, fault) => {
      const { results, plant } = await powerBothOn([`chassis ${broken} ${fault}`]);
      const other = results[broken === 0 ? 1 : 0];
      expect(results[broken]?.state).toBe('failed');
      expect(results[broken]?.sequence.fault?.rail).toBe(rail);
      expect(other?.state).toBe('pgood');
      expect(other?.sequence.fault).toBeNull();
      expect(plant.misuses).toEqual([]);
    },
  );

  it.each(CHASSIS)(
    'a regulator of chassis %i that does not answer fails that chassis alone',
    async (broken) => {
      const { results } = await powerBothOn([`i2c vr${broken} nack at 5ms`]);
      expect(results.map(({ state }) => state)).toEqual(
        broken === 0 ? ['failed', 'pgood'] : ['pgood', 'failed'],
      );
      expect(results[broken]?.sequence.fault?.rail).toBe('PVCORE');
    },
  );
});
