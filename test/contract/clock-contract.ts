import { beforeEach, describe, expect, it } from 'vitest';
import type { Clock } from '../../hw/ports.ts';
import { eventually, type SettlingWorld } from './support.ts';

export interface ClockSetup {
  readonly clock: Clock;
  readonly world: SettlingWorld;
}

/** The contract of `Clock` in hw/ports.ts. */
export function describeClock(name: string, setup: () => Promise<ClockSetup>): void {
  describe(`Clock: ${name}`, () => {
    let clock: Clock;
    let world: SettlingWorld;

    beforeEach(async () => {
      ({ clock, world } = await setup());
    });

    it('never goes back', async () => {
      let last = clock.nowMs();
      for (let step = 0; step < 20; step += 1) {
        if (step % 5 === 0) await world.settle(1);
        const now = clock.nowMs();
        expect(now).toBeGreaterThanOrEqual(last);
        last = now;
      }
    });

    it('counts milliseconds', async () => {
      const start = clock.nowMs();
      await world.settle(20);
      expect(clock.nowMs() - start).toBeGreaterThanOrEqual(20);
    });

    it.each([1, 5, 20])('runs once, %i ms later and not before', async (delayMs) => {
      const start = clock.nowMs();
      const ranAfterMs: number[] = [];
      clock.after(delayMs, () => ranAfterMs.push(clock.nowMs() - start));
      expect(ranAfterMs).toEqual([]);
      await eventually(world, 'it runs', () => ranAfterMs.length > 0);
      expect(ranAfterMs[0]).toBeGreaterThanOrEqual(delayMs);
      await world.settle(delayMs * 2);
      expect(ranAfterMs).toHaveLength(1);
    });

    it.each([0, -1])('runs soon for a delay of %i, but not before it has returned', async (delayMs) => {
      let ran = 0;
      clock.after(delayMs, () => {
        ran += 1;
      });
      expect(ran).toBe(0);
      await eventually(world, 'it runs', () => ran > 0);
      expect(ran).toBe(1);
    });

    it('runs in the order of the delays', async () => {
      const ran: number[] = [];
      for (const delayMs of [30, 10, 20]) clock.after(delayMs, () => ran.push(delayMs));
      await eventually(world, 'all ran', () => ran.length === 3);
      expect(ran).toEqual([10, 20, 30]);
    });

    it.each([0, 10])('does not run what was cancelled (delay %i)', async (delayMs) => {
      let ran = 0;
      const cancel = clock.after(delayMs, () => {
        ran += 1;
      });
      cancel();
      await world.settle(40);
      expect(ran).toBe(0);
    });

    it('takes a second cancel, and one after the run', async () => {
      let ran = 0;
      const cancel = clock.after(1, () => {
        ran += 1;
      });
      await eventually(world, 'it runs', () => ran > 0);
      cancel();
      cancel();
      expect(ran).toBe(1);
    });

    it('does not run a delay of forty days at once', async () => {
      let ran = 0;
      const cancel = clock.after(40 * 24 * 3_600_000, () => {
        ran += 1;
      });
      await world.settle(20);
      expect(ran).toBe(0);
      cancel();
    });

    it('tells a wall time', () => {
      expect(Number.isNaN(clock.wallTime().getTime())).toBe(false);
    });
  });
}
