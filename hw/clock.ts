import type { Clock } from './ports.ts';

/** Node runs a longer delay after 1 ms instead (documented at `setTimeout`). */
const LONGEST_TIMER_MS = 2 ** 31 - 1;

/**
 * The machine's own clock. `nowMs` is CLOCK_MONOTONIC: it starts with the boot and is the same for all
 * processes. `after` never runs early by `nowMs`, and never before it has returned.
 */
export function createSystemClock(): Clock {
  const nowMs = () => {
    const [seconds, nanoseconds] = process.hrtime();
    return seconds * 1_000 + nanoseconds / 1_000_000;
  };

  return {
    nowMs,

    after(delayMs, run) {
      if (delayMs <= 0) {
        const immediate = setImmediate(run);
        return () => clearImmediate(immediate);
      }
      const dueMs = nowMs() + delayMs;
      let timer: NodeJS.Timeout;
      // Node's timers count in whole milliseconds, so one can come up to 1 ms early.
      const wait = () => {
        const leftMs = Math.min(Math.ceil(dueMs - nowMs()), LONGEST_TIMER_MS);
        timer = setTimeout(() => (nowMs() >= dueMs ? run() : wait()), leftMs);
      };
      wait();
      return () => clearTimeout(timer);
    },

    wallTime: () => new Date(),
  };
}
