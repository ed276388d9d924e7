import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Board, RailBoard } from '../../src/board/schema.ts';
import { JOBS } from '../../src/run/jobs.ts';
import { type Bench, createBench } from './bench.ts';
import { generatedBoard } from './boards.ts';

/* A PMBus device of which every transfer takes its whole deadline, beside rails that are switched by GPIO lines. */

/** Of one transfer (hw/i2c/i2c-bus.ts). */
const DEADLINE_MS = 1_000;
/** What the process needs beside: a look at pgood, its turns, and the 50 ms in which it keeps the order after a loss. */
const OWN_MS = 70;

const railsOf = (board: Board): Readonly<Record<string, RailBoard>> => board.chassis['0']?.rails ?? {};
const isGpio = (rail: RailBoard | undefined) => rail !== undefined && 'chip' in rail.enable;
const overPmbus = ({ enable, good }: RailBoard) =>
  'pmbus' in enable || (good !== undefined && 'pmbus' in good);

/** Rails whose enable is a line, and that nothing over PMBus needs, so that the order has it wait for no device. */
function freeRails(board: Board): string[] {
  const rails = railsOf(board);
  const hangsOn = (name: string): boolean =>
    Object.entries(rails).some(
      ([other, rail]) => rail.needs.includes(name) && (overPmbus(rail) || hangsOn(other)),
    );
  return Object.keys(rails).filter((name) => isGpio(rails[name]) && !hangsOn(name));
}

const withBoth = generatedBoard.filter((board) => {
  const rails = Object.values(railsOf(board));
  return rails.some((rail) => 'pmbus' in rail.enable) && rails.some(isGpio);
});

/** When the enables of these rails were driven off last. */
function lastOffMs(bench: Bench, rails: readonly string[], sinceMs: number): number {
  const lines = bench.plant
    .lines()
    .filter(({ role, rail }) => role === 'enable' && rails.includes(rail ?? ''));
  expect(lines.filter(({ asserted }) => asserted)).toEqual([]);
  const keys = lines.map(({ line }) => line);
  const times = bench.plant.history.flatMap((event) =>
    event.type === 'line' && keys.includes(event.line) && event.atMs >= sinceMs ? [event.atMs] : [],
  );
  return Math.max(sinceMs, ...times);
}

describe('a PMBus device that hangs', { timeout: 60_000 }, () => {
  it('holds up no GPIO enable on a loss of pgood: all are off as soon as the loss is believed', async () => {
    await fc.assert(
      fc.asyncProperty(withBoth, async (board) => {
        const bench = createBench(board, { initially: 'on' });
        const { deglitchMs } = bench.plan.pgood;
        let lostMs = 0;
        bench.clock.after(50, () => {
          lostMs = bench.clock.nowMs();
          bench.plant.addFault(bench.fault('i2c vr hang'));
          bench.plant.addFault(bench.fault('pgood stuck off'));
        });
        expect((await bench.run(JOBS.watch)).state).toBe('failed');
        const gpio = Object.keys(railsOf(board)).filter((name) => isGpio(railsOf(board)[name]));
        expect(lastOffMs(bench, gpio, lostMs) - lostMs).toBeLessThanOrEqual(deglitchMs + OWN_MS);
      }),
      { numRuns: 40 },
    );
  });

  it('holds up no GPIO enable of a power-off that the order does not have wait for it', async () => {
    await fc.assert(
      fc.asyncProperty(withBoth, async (board) => {
        const free = freeRails(board);
        const tookMs = async (faults: readonly string[]): Promise<number> => {
          const bench = createBench(board, { initially: 'on', faults });
          const startMs = bench.clock.nowMs();
          await bench.run(JOBS.off);
          return lastOffMs(bench, free, startMs) - startMs;
        };
        const healthyMs = await tookMs([]);
        // One deadline until the device is taken for one that cannot be read.
        expect(await tookMs(['i2c vr hang'])).toBeLessThanOrEqual(healthyMs + DEADLINE_MS + OWN_MS);
      }),
      { numRuns: 40 },
    );
  });

  it('that hangs when it is to go off holds up no other enable that may go off', async () => {
    await fc.assert(
      fc.asyncProperty(withBoth, async (board) => {
        const free = freeRails(board);
        const tookMs = async (hangs: boolean): Promise<number> => {
          const bench = createBench(board, { initially: 'on' });
          let requestMs = 0;
          await bench.run(JOBS.off, {
            record: (entry) => {
              if (entry.type !== 'request' && entry.type !== 'reconciled') return;
              requestMs ||= entry.atMs;
              if (hangs) bench.plant.addFault(bench.fault('i2c vr hang'));
            },
          });
          return lastOffMs(bench, free, requestMs) - requestMs;
        };
        expect(await tookMs(true)).toBeLessThanOrEqual((await tookMs(false)) + OWN_MS);
      }),
      { numRuns: 40 },
    );
  });
});
