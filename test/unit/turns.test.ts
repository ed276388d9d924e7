import { describe, expect, it } from 'vitest';
import { createVirtualClock } from '../../mocks/virtual-clock.ts';
import { STALL_MS, TURN_MS } from '../../src/run/standstill.ts';
import { createTurns } from '../../src/run/turns.ts';

describe('the turns of a run', () => {
  it('have not stood still where nothing was to be looked at, however long that took', async () => {
    const clock = createVirtualClock();
    const turns = createTurns(clock);
    clock.after(100_000, () => turns.wake());
    await clock.runUntil(turns.rest(null, false, false));
    expect(turns.standstillMs()).toBeNull();
  });

  it.each([
    ['a time', 1_000, false, 1_000],
    ['a look at the clock now and then', null, true, TURN_MS],
    ['whichever of the two comes first', 1_000, true, TURN_MS],
  ])('have stood still where they went on too long after %s', async (_, untilMs, isWatchful, restsMs) => {
    for (const [lateMs, isLate] of [
      [STALL_MS, false],
      [STALL_MS + 1, true],
    ] as const) {
      const fromMs = 500;
      const clock = createVirtualClock(fromMs);
      // Its timers come late, as those of a process that stands still.
      const turns = createTurns({ ...clock, after: (ms, then) => clock.after(ms + lateMs, then) });
      await clock.runUntil(turns.rest(untilMs === null ? null : fromMs + untilMs, isWatchful, false));
      expect(clock.nowMs() - fromMs).toBe(restsMs + lateMs);
      expect(turns.standstillMs()).toBe(isLate ? restsMs + lateMs : null);
      // Told once.
      expect(turns.standstillMs()).toBeNull();
    }
  });

  it('do not rest where something has happened already', async () => {
    const clock = createVirtualClock(0);
    const turns = createTurns(clock);
    await clock.runUntil(turns.rest(60_000, true, true));
    expect(clock.nowMs()).toBe(0);
  });

  it('go on when something happens, and no timer is left', async () => {
    const clock = createVirtualClock(0);
    let timers = 0;
    const turns = createTurns({
      ...clock,
      after(ms, then) {
        timers += 1;
        const cancel = clock.after(ms, then);
        return () => {
          timers -= 1;
          cancel();
        };
      },
    });
    clock.after(30, () => turns.wake());
    await clock.runUntil(turns.rest(60_000, false, false));
    expect({ atMs: clock.nowMs(), timers }).toEqual({ atMs: 30, timers: 0 });
  });
});
