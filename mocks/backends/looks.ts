import type { Clock, Level } from '../../hw/ports.ts';

/** Where a watcher does not say; the default of the port. */
const LOOK_MS = 10;

/**
 * The looks at one line, as a driver has to take them: one for all who watch, at the pace of the most impatient. Often at
 * one that raises no interrupts, now and then at another.
 */
export interface PinLooks {
  watch(wake: () => void, lookMs?: number): () => void;
  /** What was read of the line. */
  seen(level: Level | null): void;
  /** All who watch are told of an interrupt. */
  told(): void;
}

/** @param read the level, null where it cannot be read */
export function createPinLooks(clock: Pick<Clock, 'after' | 'nowMs'>, read: () => Level | null): PinLooks {
  const watchers = new Set<{ readonly wake: () => void; readonly lookMs: number }>();
  let last: { readonly level: Level | null } | undefined;
  let lookedAtMs = clock.nowMs();
  let cancel: () => void = () => undefined;

  const seen = (level: Level | null): void => {
    const changed = last !== undefined && last.level !== level;
    last = { level };
    if (changed) for (const watcher of [...watchers]) if (watchers.has(watcher)) watcher.wake();
  };
  const schedule = (): void => {
    cancel();
    if (watchers.size === 0) return;
    const lookMs = Math.min(...[...watchers].map((watcher) => watcher.lookMs));
    cancel = clock.after(lookedAtMs + lookMs - clock.nowMs(), () => {
      lookedAtMs = clock.nowMs();
      seen(read());
      schedule();
    });
  };

  return {
    seen,
    told() {
      last = undefined;
    },
    watch(wake, lookMs = LOOK_MS) {
      if (watchers.size === 0) {
        lookedAtMs = clock.nowMs();
        last = undefined;
      }
      const watcher = { wake, lookMs };
      watchers.add(watcher);
      schedule();
      return () => {
        watchers.delete(watcher);
        schedule();
      };
    },
  };
}
