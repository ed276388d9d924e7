import type { Clock, Level } from '../ports.ts';

/**
 * A chip is looked at for at most one part in so many of the time: the rest of its bus belongs to the readings that
 * somebody waits for, and to the other devices on it.
 */
const BUS_SHARE = 5;
/** Longest pause for the sake of the bus: where a read hangs in a time limit of the kernel, looking away helps nobody. */
const LONGEST_PAUSE_MS = 250;
/** From this part of its time on a line is looked at along with one that is due: one round, and one timer, for all. */
const EARLY_SHARE = 0.9;

interface Watcher {
  readonly wake: () => void;
  readonly lookMs: number;
}

interface Looked {
  readonly read: () => Promise<Level>;
  readonly watchers: Set<Watcher>;
  /** When it was looked at last, or first watched. */
  lookedAtMs: number;
  /** What was read last, by a look or by anybody. */
  seen: Level | 'unreadable' | null;
}

/** Looks at the lines of one chip: often at those that raise no interrupts, now and then at the others. */
export interface ChipLooks {
  /**
   * Has the line looked at every `lookMs`, for all its watchers at once at the pace of the most impatient; later where
   * the chip is slow. All of them are woken when a look, or a read that was told to `seen`, finds another level than
   * the one before it, and when the line cannot be read any more, or again. Returns the function that ends it; no timer
   * is left when nobody watches.
   */
  watch(line: number, read: () => Promise<Level>, wake: () => void, lookMs: number): () => void;
  /** What somebody has read just now. Between two looks it may be all that ever tells of a short pulse. */
  seen(line: number, level: Level | 'unreadable'): void;
  /** Everyone who watches the line is woken by its interrupt: what they read next is no news to tell them again. */
  told(line: number): void;
}

/**
 * One round after the other, and in it one line after the other: reads do not overlap, and a bus that is slow makes
 * the rounds rare instead of piling them up.
 */
export function createChipLooks(clock: Clock): ChipLooks {
  const lines = new Map<number, Looked>();
  let cancel: (() => void) | null = null;
  let looking = false;
  let notBeforeMs = Number.NEGATIVE_INFINITY;

  const lookMsOf = ({ watchers }: Looked): number => Math.min(...[...watchers].map(({ lookMs }) => lookMs));

  const note = (looked: Looked, level: Level | 'unreadable'): void => {
    const changed = looked.seen !== null && looked.seen !== level;
    looked.seen = level;
    if (!changed) return;
    // Who is woken may end the watch of another.
    for (const watcher of [...looked.watchers]) if (looked.watchers.has(watcher)) watcher.wake();
  };

  const schedule = (): void => {
    cancel?.();
    cancel = null;
    if (looking || lines.size === 0) return;
    const dueMs = [...lines.values()].map((looked) => looked.lookedAtMs + lookMsOf(looked));
    const nextMs = Math.max(notBeforeMs, Math.min(...dueMs));
    cancel = clock.after(nextMs - clock.nowMs(), () => void lookRound());
  };

  const lookRound = async (): Promise<void> => {
    cancel = null;
    looking = true;
    const startMs = clock.nowMs();
    for (const looked of [...lines.values()]) {
      if (looked.watchers.size === 0) continue;
      if (startMs - looked.lookedAtMs < EARLY_SHARE * lookMsOf(looked)) continue;
      looked.lookedAtMs = startMs;
      note(looked, await looked.read().catch(() => 'unreadable' as const));
    }
    const endMs = clock.nowMs();
    notBeforeMs = endMs + Math.min((BUS_SHARE - 1) * (endMs - startMs), LONGEST_PAUSE_MS);
    looking = false;
    schedule();
  };

  return {
    watch(line, read, wake, lookMs) {
      const looked = lines.get(line) ?? {
        read,
        watchers: new Set(),
        lookedAtMs: clock.nowMs(),
        seen: null,
      };
      lines.set(line, looked);
      const watcher = { wake, lookMs };
      looked.watchers.add(watcher);
      schedule();
      return () => {
        if (!looked.watchers.delete(watcher)) return;
        if (looked.watchers.size === 0) lines.delete(line);
        schedule();
      };
    },
    seen(line, level) {
      const looked = lines.get(line);
      if (looked !== undefined) note(looked, level);
    },
    told(line) {
      const looked = lines.get(line);
      if (looked !== undefined) looked.seen = null;
    },
  };
}
