import type { Clock } from '../hw/ports.ts';

/** How often a process that has nothing else to do looks whether it still runs in time. */
const BEAT_MS = 25;
/** A tenth of the shortest deadline of the shipped boards (500 ms): less than this decides nothing. */
const WORTH_TELLING_MS = 50;

export interface PunctualClock extends Clock {
  /** Ends the beat. */
  close(): void;
}

/**
 * `clock`, and beside it a watch over how late its timers run. A chassis that is simulated in real time is only as true as
 * its timers: on a machine that is overloaded its rails rise late, and the program under it is blamed for what the
 * machine did.
 *
 * @param onLate told every lateness that is at least 50 ms and worse than all before, in milliseconds
 */
export function createPunctualClock(clock: Clock, onLate: (lateMs: number) => void): PunctualClock {
  let worstMs = WORTH_TELLING_MS;
  const after: Clock['after'] = (delayMs, run) => {
    const dueMs = clock.nowMs() + Math.max(0, delayMs);
    return clock.after(delayMs, () => {
      const lateMs = clock.nowMs() - dueMs;
      if (lateMs >= worstMs) {
        worstMs = lateMs;
        onLate(lateMs);
      }
      run();
    });
  };
  const beat = (): void => {
    cancel = after(BEAT_MS, beat);
  };
  let cancel = after(BEAT_MS, beat);
  return { nowMs: () => clock.nowMs(), wallTime: () => clock.wallTime(), after, close: () => cancel() };
}
