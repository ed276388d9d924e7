/** The watch of pgood that is taken from the rails, or from several signals: who is woken, how often, and by which name. */
import { describe, expect, it } from 'vitest';
import { createMockGpio } from '../../mocks/backends/gpio.ts';
import { createMockI2c } from '../../mocks/backends/i2c.ts';
import { openChassis, type Pace, type Source } from '../../src/run/hardware.ts';
import { checkBoard } from '../check-board.ts';
import { createBench } from './bench.ts';

const line = (offset: number) => ({ chip: 'gpio', line: offset });
const times = { nominalVolts: 1, settleMs: 8 };

/** A is seen by a line, V by a PMBus page, U by its enable, and F, which only follows A, by a line. */
async function open(pgood: object) {
  const { board, problems } = checkBoard({
    name: 'watched-pgood',
    devices: { vr: { bus: 1, address: '0x40' } },
    chassis: {
      0: {
        rails: {
          A: { ...times, enable: line(0), good: line(1) },
          V: { ...times, enable: line(2), good: { pmbus: 'vr', minVolts: 0.9 } },
          U: { ...times, enable: line(3) },
          F: { ...times, good: line(4), needs: ['A'] },
        },
        pgood,
      },
    },
  });
  if (!board) throw new TypeError(JSON.stringify(problems));
  const bench = createBench(board, { initially: 'on' });
  const { plant, clock } = bench;
  const ports = { gpio: async () => createMockGpio(plant), i2c: async () => createMockI2c(plant), clock };
  const hardware = await clock.runUntil(openChassis(board, 0, ports));
  return { bench, hardware };
}

const RAILS = { rails: true };
const BESIDE = { all: [line(7), RAILS] };

describe('a watch of pgood', () => {
  it.each([
    ['of the rails is told of a rail first, and once', RAILS, 'good A stuck off', ['A', null]],
    [
      'of the rails is told of one that only follows as of the others',
      RAILS,
      'good F stuck off',
      ['F', null],
    ],
    ['of several signals is told of a line of its own once', BESIDE, 'pgood 1 never', [null]],
    ['of a line is told of no rail', line(7), 'good A stuck off', ['A']],
  ])('%s', async (_, pgood, fault, expected) => {
    const { bench, hardware } = await open(pgood);
    const woken: Source[] = [];
    const end = hardware.watch((source) => woken.push(source), 'guarding');
    await bench.clock.advance(20);
    woken.length = 0;
    bench.plant.addFault(bench.fault(fault));
    await bench.clock.advance(5);
    expect(woken).toEqual(expected);
    end();
    woken.length = 0;
    bench.plant.clearFaults();
    await bench.clock.advance(2_000);
    expect(woken).toEqual([]);
  });

  it.each<[Pace, string, object, number]>([
    ['switching', 'V', RAILS, 10],
    ['guarding', 'V', RAILS, 100],
    ['switching', 'U', RAILS, 10],
    ['guarding', 'U', RAILS, 100],
    // Where pgood tells of the loss, a bus has other users.
    ['guarding', 'V', line(7), 1_000],
  ])('that is %s looks at %s every so often: of %o every %i ms', async (pace, rail, pgood, everyMs) => {
    const { bench, hardware } = await open(pgood);
    const fromMs = bench.clock.nowMs();
    const atMs: number[] = [];
    const end = hardware.watch((source) => source === rail && atMs.push(bench.clock.nowMs() - fromMs), pace);
    await bench.clock.advance(3.5 * everyMs);
    end();
    expect(atMs.filter((each) => each > 0)).toEqual([everyMs, 2 * everyMs, 3 * everyMs]);
  });

  it('that only shows it looks twice a second at what does not tell of a change by itself', async () => {
    const { bench, hardware } = await open({ any: [{ pmbus: 'vr', page: 1, minVolts: 0.9 }, line(7)] });
    const fromMs = bench.clock.nowMs();
    const atMs = new Set<number>();
    const end = hardware.watchPgood(() => void atMs.add(bench.clock.nowMs() - fromMs));
    await bench.clock.advance(1_600);
    end();
    expect([...atMs].filter((each) => each > 0)).toEqual([500, 1_000, 1_500]);
  });

  it('says of no signal that it is missing before any was read', async () => {
    const { bench, hardware } = await open(BESIDE);
    expect(hardware.pgoodLacks()).toEqual([]);
    bench.plant.addFault(bench.fault('good A stuck off'));
    expect(await bench.clock.runUntil(hardware.readGood(null))).toBe(false);
    expect(hardware.pgoodLacks()).toEqual(['good signal of rail A']);
    bench.plant.clearFaults();
    expect(await bench.clock.runUntil(hardware.readGood(null))).toBe(true);
    expect(hardware.pgoodLacks()).toEqual([]);
  });

  it('that is one line says of no signal that it is missing: there is no other', async () => {
    const { bench, hardware } = await open(line(7));
    bench.plant.addFault(bench.fault('pgood stuck off'));
    expect(await bench.clock.runUntil(hardware.readGood(null))).toBe(false);
    expect(hardware.pgoodLacks()).toEqual([]);
  });
});
