import fc from 'fast-check';
import { describe, expect, it, vi } from 'vitest';
import { createMockGpio } from '../../mocks/backends/gpio.ts';
import { createMockI2c } from '../../mocks/backends/i2c.ts';
import { parseFault } from '../../mocks/plant/faults.ts';
import { createPlant } from '../../mocks/plant/plant.ts';
import { createStallingLoop } from '../../mocks/stall.ts';
import { createVirtualClock } from '../../mocks/virtual-clock.ts';
import { openChassis } from '../../src/run/hardware.ts';
import { trackLevel } from '../../src/service/track-level.ts';
import { draws } from '../draws.ts';
import { shippedBoard } from './bench.ts';

// Far above what they take: the machine may be busy.
vi.setConfig({ testTimeout: 120_000 });
const DEGLITCH_MS = 300;

interface Stall {
  readonly atMs: number;
  readonly ms: number;
}

/** What is told of pgood while faults and standstills come, with its time from the start. */
async function told(faults: readonly string[], stalls: readonly Stall[]): Promise<string[]> {
  const board = shippedBoard('reference');
  const world = createVirtualClock(0);
  const plant = createPlant({
    board,
    clock: world,
    initially: 'on',
    faults: faults.map((text) => parseFault(text, board)),
  });
  const loop = createStallingLoop(world);
  const hardware = await openChassis(board, 0, {
    gpio: async () => loop.gpio(createMockGpio(plant)),
    i2c: async () => loop.i2c(createMockI2c(plant)),
    clock: loop.clock,
  });
  for (const { atMs, ms } of stalls) world.after(atMs, () => loop.stall(ms));
  const pgood = {
    read: () => hardware.readGood(null),
    watch: (wake: () => void) => hardware.watchPgood(wake),
  };
  const changes: string[] = [];
  const end = trackLevel(pgood, loop.clock, () => DEGLITCH_MS, true, {
    changed: (level) => changes.push(`${level} at ${Math.round(world.nowMs())}`),
    unread: (reason, believed) =>
      changes.push(
        `${reason === null ? 'readable' : `unreadable, ${believed}`} at ${Math.round(world.nowMs())}`,
      ),
  });
  await world.advance(20_000);
  end();
  await hardware.close();
  plant.close();
  return changes;
}

describe('the pgood that is published', () => {
  it('changes when the other level has stood for the de-glitch time', async () => {
    expect(await told(['pgood stuck off for 2s at 100ms'], [])).toEqual(['false at 400', 'true at 2400']);
  });

  it('is the last one that was read while the line cannot be read, which is told once and when it is over', async () => {
    const [unreadable = '', ...more] = await told(
      ['line pgood read error for 8s at 1s', 'pgood stuck off at 5s'],
      [],
    );
    // A line that changes by interrupts is checked every five seconds by who only shows it.
    expect(unreadable).toMatch(/^unreadable, true at [1-6]\d{3}$/);
    expect(more.map((text) => text.replace(/\d+$/, ''))).toEqual(['readable at ', 'false at ']);
  });

  it('does not change for glitches, however the process stands still meanwhile', async () => {
    const stall = fc.record({
      atMs: fc.integer({ min: 0, max: 3_000 }),
      ms: fc.integer({ min: 51, max: 2_000 }),
    });
    const gaps = fc.array(fc.integer({ min: 310, max: 900 }), { minLength: 1, maxLength: 4 });
    await fc.assert(
      fc.asyncProperty(
        fc.array(stall, { maxLength: 2 }),
        gaps,
        fc.integer({ min: 1, max: DEGLITCH_MS - 1 }),
        async (stalls, between, forMs) => {
          let atMs = 0;
          const glitches = between.map((ms) => {
            atMs += ms;
            return `pgood glitch ${forMs}ms at ${atMs}ms`;
          });
          expect(await told(glitches, stalls)).toEqual([]);
        },
      ),
      { numRuns: draws(60) },
    );
  });

  it('does not change for two glitches on both sides of a standstill', async () => {
    const glitches = ['pgood glitch 200ms at 100ms', 'pgood glitch 200ms at 1200ms'];
    expect(await told(glitches, [{ atMs: 150, ms: 1_100 }])).toEqual([]);
    // Seen for 280 ms before, and for 250 ms after it.
    const long = ['pgood glitch 299ms at 100ms', 'pgood glitch 299ms at 1200ms'];
    expect(await told(long, [{ atMs: 380, ms: 870 }])).toEqual([]);
  });

  it('changes also on a machine that stands still again and again', async () => {
    const stalls = Array.from({ length: 50 }, (_, index) => ({ atMs: 150 + 200 * index, ms: 100 }));
    expect(await told(['pgood stuck off at 100ms'], stalls)).toHaveLength(1);
  });
});
