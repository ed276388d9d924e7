import type { Clock, Level } from '../../hw/ports.ts';

/** Where a watcher does not say; the default of the port. */
const POLL_MS = 10;

/**
 * Polling of one line, as a driver has to do it: once for all watchers, at the pace of the most impatient one. A line
 * without interrupts is polled often, another one now and then.
 */
export interface PinPoll {
  watch(wake: () => void, pollMs?: number): () => void;
  /** Takes what was read of the line. */
  seen(level: Level | null): void;
  /** An interrupt wakes all watchers: what they read next is no news. */
  interrupted(): void;
}

/** @param read the level, null where it cannot be read */
export function createPinPoll(clock: Pick<Clock, 'after' | 'nowMs'>, read: () => Level | null): PinPoll {
  const watchers = new Set<{ readonly wake: () => void; readonly pollMs: number }>();
  let last: { readonly level: Level | null } | undefined;
  let polledAtMs = clock.nowMs();
  let cancel: () => void = () => undefined;

  const seen = (level: Level | null): void => {
    const changed = last !== undefined && last.level !== level;
    last = { level };
    if (changed) for (const watcher of [...watchers]) if (watchers.has(watcher)) watcher.wake();
  };
  const schedule = (): void => {
    cancel();
    if (watchers.size === 0) return;
    const pollMs = Math.min(...[...watchers].map((watcher) => watcher.pollMs));
    cancel = clock.after(polledAtMs + pollMs - clock.nowMs(), () => {
      polledAtMs = clock.nowMs();
      seen(read());
      schedule();
    });
  };

  return {
    seen,
    interrupted() {
      last = undefined;
    },
    watch(wake, pollMs = POLL_MS) {
      if (watchers.size === 0) {
        polledAtMs = clock.nowMs();
        last = undefined;
      }
      const watcher = { wake, pollMs };
      watchers.add(watcher);
      schedule();
      return () => {
        watchers.delete(watcher);
        schedule();
      };
    },
  };
}
