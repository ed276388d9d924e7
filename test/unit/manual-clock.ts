import type { Clock } from '../../hw/ports.ts';

/** A clock that stands still until it is advanced. */
export interface ManualClock extends Clock {
  /** Timers that have not run. */
  readonly pendingCount: number;
  /** Lets `ms` pass: runs what is due in its order, and lets promises and file operations go on between. */
  advance(ms: number): Promise<void>;
}

export function createManualClock(startMs = 1_000): ManualClock {
  let nowMs = startMs;
  const timers = new Set<{ dueMs: number; run: () => void }>();

  const goOn = async () => {
    for (let turn = 0; turn < 3; turn += 1) await new Promise((resolve) => setImmediate(resolve));
  };

  return {
    get pendingCount() {
      return timers.size;
    },
    nowMs: () => nowMs,
    after(delayMs, run) {
      const timer = { dueMs: nowMs + Math.max(0, delayMs), run };
      timers.add(timer);
      return () => timers.delete(timer);
    },
    wallTime: () => new Date(nowMs),
    async advance(ms) {
      const targetMs = nowMs + ms;
      await goOn();
      for (;;) {
        const [next] = [...timers].sort((one, other) => one.dueMs - other.dueMs);
        if (next === undefined || next.dueMs > targetMs) break;
        timers.delete(next);
        nowMs = Math.max(nowMs, next.dueMs);
        next.run();
        await goOn();
      }
      nowMs = targetMs;
    },
  };
}
