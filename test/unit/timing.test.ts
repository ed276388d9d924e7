import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { createMockGpio } from '../../mocks/backends/gpio.ts';
import { createMockI2c } from '../../mocks/backends/i2c.ts';
import { parseFault } from '../../mocks/plant/faults.ts';
import { createPlant } from '../../mocks/plant/plant.ts';
import { createVirtualClock } from '../../mocks/virtual-clock.ts';
import { loadBoard } from '../../src/board/load.ts';
import type { Board } from '../../src/board/schema.ts';
import { timingWarnings } from '../../src/board/timing.ts';
import { openChassis } from '../../src/run/hardware.ts';
import { JOBS } from '../../src/run/jobs.ts';
import { runSequence } from '../../src/run/runner.ts';
import { planOf } from '../../src/sequence/plan.ts';
import { boardOf, CHAIN, chain, FORK, LATCHED, rail } from '../model/small-boards.ts';

/** What becomes of a power-on of a chassis of which everything keeps the times of the board. */
async function powerOn(board: Board, slow: string) {
  const clock = createVirtualClock();
  const plant = createPlant({ board, clock, faults: [parseFault(slow, board)] });
  const ports = { gpio: async () => createMockGpio(plant), i2c: async () => createMockI2c(plant), clock };
  const described = board.chassis[0];
  if (described === undefined) throw new TypeError('a board without a chassis');
  const running = (async () => {
    const hardware = await openChassis(board, 0, ports);
    const store = { load: () => ({ hint: null, warning: null }), save: () => null };
    const plan = planOf(described, board.devices);
    const result = await runSequence(JOBS.on, { plan, hardware, clock, store, record: () => undefined });
    await hardware.close();
    return result;
  })();
  const { state, sequence } = await clock.runUntil(running);
  plant.close();
  return { state, reason: sequence.fault?.reason };
}

describe('check warns about a board whose timing cannot work, before verify is asked', () => {
  it('a last rail that may take longer than pgood allows after the last enable, and is given up then', async () => {
    const rails = { A: rail(0, []), B: { ...rail(1, ['A']), onTimeoutMs: 400 } };
    const { board } = boardOf('slow', { ...chain, rails });
    expect(timingWarnings(board)).toMatchObject([
      {
        at: ['chassis', '0', 'rails', 'B', 'onTimeoutMs'],
        message: expect.stringContaining('is given up 300 ms after the last enable'),
      },
    ]);
    expect(await powerOn(board, 'rail B slow 340ms')).toMatchObject({
      state: 'failed',
      reason: expect.stringContaining('300 ms after the last enable'),
    });
    const mended = boardOf('mended', { ...chain, rails, pgood: { ...chain.pgood, onTimeoutMs: 450 } });
    expect(timingWarnings(mended.board)).toEqual([]);
    expect(await powerOn(mended.board, 'rail B slow 340ms')).toMatchObject({ state: 'pgood' });
  });

  it('rails that nobody sees fall, where power may come again at once', () => {
    const { good: _, ...unseen } = rail(1, ['A']);
    const rails = { A: rail(0, []), B: unseen };
    expect(timingWarnings(boardOf('unseen', { ...chain, rails }).board)).toMatchObject([
      { message: 'nobody sees whether B has discharged, and without minOffMs power may come again at once' },
    ]);
    expect(timingWarnings(boardOf('waits', { ...chain, rails, minOffMs: 500 }).board)).toEqual([]);
  });

  it.each(Object.entries({ chain: CHAIN.board, fork: FORK.board, latched: LATCHED.board }))(
    'and about none that works: %s',
    (_, board) => {
      expect(timingWarnings(board)).toEqual([]);
    },
  );

  it.each([
    'reference',
    'openpower',
    'ast2600-evb',
    'power-ucd90320',
    'two-chassis',
    'relay-bench',
    'point-of-load',
    'risers',
    'measured-rails',
  ])('and about no shipped board: %s', async (name) => {
    const { board } = await loadBoard(join(import.meta.dirname, '..', '..', 'hw', 'boards', `${name}.json`));
    expect(timingWarnings(board)).toEqual([]);
  });
});
