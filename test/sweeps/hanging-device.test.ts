import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { pause } from '../../hw/waiting.ts';
import type { Board, RailBoard } from '../../src/board/schema.ts';
import { JOBS } from '../../src/run/jobs.ts';
import { checkBoard } from '../check-board.ts';
import { type Bench, createBench } from '../unit/bench.ts';
import { generatedBoard, losesPgoodByLine } from '../unit/boards.ts';

/* A PMBus device of which every transfer takes its whole deadline, beside rails that are switched by GPIO lines. */

/** Of one transfer (hw/i2c/i2c-bus.ts). */
const DEADLINE_MS = 1_000;
/** What the process needs beside: a look at pgood, its turns, and the 50 ms in which it keeps the order after a loss. */
const OWN_MS = 70;

const railsOf = (board: Board): Readonly<Record<string, RailBoard>> => board.chassis['0']?.rails ?? {};
const isGpio = (rail: RailBoard | undefined) => rail?.enable !== undefined && 'chip' in rail.enable;
const overPmbus = ({ enable, good }: RailBoard) =>
  (enable !== undefined && 'pmbus' in enable) || (good !== undefined && 'pmbus' in good);

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
  return (
    losesPgoodByLine(board) &&
    rails.some(({ enable }) => enable !== undefined && 'pmbus' in enable) &&
    rails.some(isGpio)
  );
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

  it('hides no loss of pgood from a power-on that waits for it: what it says is true when it says so', async () => {
    await fc.assert(
      fc.asyncProperty(
        withBoth,
        fc.integer({ min: 1, max: 100 }),
        fc.integer({ min: 1, max: DEADLINE_MS }),
        async (board, hangMs, lossMs) => {
          const bench = createBench(board, { faults: [`i2c vr hang ${hangMs}ms after good`] });
          let lostMs = Number.POSITIVE_INFINITY;
          const { state } = await bench.run(JOBS.on, {
            record: (entry) => {
              if (entry.type !== 'state' || entry.to !== 'pgood') return;
              bench.clock.after(lossMs, () => {
                lostMs = bench.clock.nowMs();
                bench.plant.addFault(bench.fault('pgood stuck off'));
              });
            },
          });
          const endedMs = bench.clock.nowMs();
          const seenMs = lostMs + bench.plan.pgood.deglitchMs + OWN_MS;
          if (endedMs >= seenMs) expect(state).toBe('failed');
        },
      ),
      { numRuns: 200 },
    );
  });

  it('keeps another device on its bus on for the one reading that is under way, and not for those that wait', async () => {
    const line = (number: number) => ({ chip: 'gpiochip-test', line: number, active: 'high' });
    const times = { nominalVolts: 1, onTimeoutMs: 100, offTimeoutMs: 300 };
    const watched = Array.from({ length: 6 }, (_, page) => ({
      enable: line(page),
      good: { pmbus: 'hanging', page, minVolts: 0.9 },
      needs: [],
      ...times,
    }));
    const { board, problems } = checkBoard({
      name: 'two-devices',
      devices: { hanging: { bus: 1, address: '0x40' }, healthy: { bus: 1, address: '0x41' } },
      chassis: {
        0: {
          rails: {
            LAST: { enable: { pmbus: 'healthy', page: 0 }, needs: [], ...times },
            ...Object.fromEntries(watched.map((rail, page) => [`R${page}`, rail])),
          },
          pgood: { ...line(20), deglitchMs: 0, onTimeoutMs: 800, offTimeoutMs: 800 },
        },
      },
    });
    if (board === undefined) throw new TypeError(JSON.stringify(problems));
    const bench = createBench(board, { initially: 'on' });
    const startMs = bench.clock.nowMs();
    // The watch reads all that it reads over PMBus once a second, one after the other.
    bench.plant.addFault(bench.fault('i2c hanging hang at 900ms'));
    bench.plant.addFault(bench.fault('pgood stuck off at 1050ms'));
    let offMs = 0;
    bench.clock.after(1_050, async () => {
      while (bench.enabled().includes('LAST')) await pause(bench.clock, 1);
      offMs = bench.clock.nowMs();
    });
    expect((await bench.run(JOBS.watch)).state).toBe('failed');
    expect(offMs - startMs - 1_050).toBeGreaterThan(0);
    expect(offMs - startMs - 1_050).toBeLessThanOrEqual(DEADLINE_MS + OWN_MS);
  });
});
