import fc from 'fast-check';
import { describe, expect, it, vi } from 'vitest';
import { pause } from '../../hw/waiting.ts';
import type { ChassisHardware } from '../../src/run/hardware.ts';
import { JOBS } from '../../src/run/jobs.ts';
import type { Recorded } from '../../src/run/record.ts';
import { type Bench, createBench } from '../unit/bench.ts';
import { anyBoard, boardWithPgoodLine } from '../unit/boards.ts';

/* Mistakes of the program itself: they are told, and they leave no rail on that was to go off. */

// Far above what they take: the machine may be busy.
vi.setConfig({ testTimeout: 120_000 });
const RUNS = { numRuns: 60 };
/** Longer than news is held back, so that it is told while drives are under way. */
const SLOW_MS = 80;
/** Short enough that after a loss each enable waits for the one before it. */
const BRISK_MS = 10;
/** The longest `offTimeoutMs` of a drawn board, in which the plant lets a rail fall. */
const FALL_MS = 300;

class Mistake extends Error {}

const railOf = (bench: Bench, index: number): string => {
  const { switched } = bench;
  return switched[index % switched.length] ?? '';
};

/** What switches the rail is off with another rail, whether it was told or not. */
const isPowered = ({ board, plan }: Bench, rail: string): boolean => {
  const enable = board.chassis['0']?.rails[rail]?.enable;
  const power = enable && 'pmbus' in enable ? board.devices[enable.pmbus]?.poweredBy : undefined;
  // A supply stays.
  return (
    power !== undefined && plan.rails.some(({ name, watched }) => name === power && watched !== 'supply')
  );
};

/** A chassis whose enables take their time, as those on a bus with other work do. */
const delayed =
  (bench: Bench, delayMs: (rail: string) => number) =>
  (opened: ChassisHardware): ChassisHardware => ({
    ...opened,
    async driveEnable(rail, asserted) {
      await pause(bench.clock, delayMs(rail));
      await opened.driveEnable(rail, asserted);
    },
  });
const slowly = (bench: Bench, slow: string) => delayed(bench, (rail) => (rail === slow ? SLOW_MS : 0));

describe('an internal error', () => {
  it('of the one write of a driver keeps no other enable from being driven off, and is told', async () => {
    await fc.assert(
      fc.asyncProperty(anyBoard, fc.nat(), fc.nat(), async (board, broken, slow) => {
        const bench = createBench(board, { initially: 'on' });
        const [breaks, waits] = [railOf(bench, broken), railOf(bench, slow)];
        const { state } = await bench.run(JOBS.off, {
          hardware: (opened) => {
            const inner = slowly(bench, waits)(opened);
            return {
              ...inner,
              async driveEnable(rail, asserted) {
                if (rail === breaks) throw new Mistake('a mistake');
                await inner.driveEnable(rail, asserted);
              },
            };
          },
        });
        // What powers the device falls by itself, and nobody waits for a rail that nothing shows.
        await bench.clock.advance(FALL_MS);
        expect({ state, enabled: bench.enabled() }).toEqual({
          state: 'failed',
          enabled: isPowered(bench, breaks) ? [] : [breaks],
        });
        expect(bench.recording).toContainEqual(
          expect.objectContaining({ type: 'driveFailed', reason: 'a mistake', code: 'INTERNAL' }),
        );
      }),
      RUNS,
    );
  });

  it.each([
    ['a power off', JOBS.off, []],
    ['a loss of pgood', JOBS.watch, ['pgood stuck off at 50ms']],
  ] as const)('of who records what happens keeps no enable on: %s', async (_what, job, faults) => {
    await fc.assert(
      fc.asyncProperty(
        boardWithPgoodLine,
        fc.nat(),
        fc.integer({ min: 1, max: 40 }),
        async (board, slow, at) => {
          const bench = createBench(board, { initially: 'on', faults });
          const told: Recorded[] = [];
          let entries = 0;
          const { state } = await bench.run(job, {
            hardware: slowly(bench, railOf(bench, slow)),
            record(entry) {
              entries += 1;
              if (entries === at) throw new Mistake('a mistake');
              told.push(entry);
            },
          });
          expect({ state, enabled: bench.enabled() }).toEqual({
            state: job === JOBS.off ? 'off' : 'failed',
            enabled: [],
          });
          const warnings = told.flatMap((entry) => (entry.type === 'warning' ? [entry.message] : []));
          expect(warnings.filter((text) => text.includes('a mistake'))).toHaveLength(at <= entries ? 1 : 0);
        },
      ),
      RUNS,
    );
  });

  it('of who keeps the state keeps no enable on, and is told once', async () => {
    await fc.assert(
      fc.asyncProperty(boardWithPgoodLine, fc.boolean(), async (board, isLoss) => {
        const bench = createBench(board, {
          initially: 'on',
          faults: isLoss ? ['pgood stuck off at 50ms'] : [],
        });
        const { state } = await bench.run(isLoss ? JOBS.watch : JOBS.off, {
          store: {
            load: () => bench.store.load(),
            save() {
              throw new Mistake('a mistake');
            },
          },
        });
        expect({ state, enabled: bench.enabled() }).toEqual({
          state: isLoss ? 'failed' : 'off',
          enabled: [],
        });
        const warnings = bench.recording.filter(({ type }) => type === 'warning');
        expect(warnings).toEqual([
          expect.objectContaining({ message: 'internal error, the state was not kept: a mistake' }),
        ]);
      }),
      RUNS,
    );
  });

  it('that ends a run keeps no enable on whose turn was to come', async () => {
    await fc.assert(
      fc.asyncProperty(boardWithPgoodLine, async (board) => {
        const bench = createBench(board, { initially: 'on', faults: ['pgood stuck off at 50ms'] });
        const { signal } = new AbortController();
        let isBroken = false;
        // The run breaks when the first enable is off; all others wait or are under way.
        Object.defineProperty(signal, 'aborted', {
          get() {
            if (isBroken || bench.enabled().length === bench.switched.length) return false;
            isBroken = true;
            throw new Mistake('a mistake');
          },
        });
        const run = bench.run(JOBS.watch, { hardware: delayed(bench, () => BRISK_MS), signal });
        await expect(run).rejects.toThrow('a mistake');
        expect(bench.enabled()).toEqual([]);
      }),
      RUNS,
    );
  });
});
