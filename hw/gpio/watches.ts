import type { Level } from '../ports.ts';
import type { ChipPoll } from './poll.ts';

/** What is used here of onoff's `Gpio` of an input whose interrupts are on. */
export interface EdgeSource {
  watch(callback: () => void): void;
  unwatch(callback: () => void): void;
}

/**
 * How changes of a line become known: by its interrupts; by polling where it raises none, as a line that is driven does;
 * or not at all while it is `gone`, in the hands of another program.
 */
export type ChangeSource = EdgeSource | 'polling' | 'gone';

export interface Watch {
  readonly wake: () => void;
  readonly read: () => Promise<Level>;
  /** `read` for a line that raises interrupts, which first checks that it still is set up to raise them. */
  readonly check: () => Promise<Level>;
  readonly pollMs: number;
  readonly checkMs: number;
}

/** The watches of one line. */
export interface LineWatches {
  /** Returns the function that ends it. */
  watch(watch: Watch): () => void;
  /** Moves all watches to another source of changes, and wakes them for what went unseen in between. */
  followBy(source: ChangeSource): void;
  /** Takes what was read of the line just now. */
  seen(level: Level | 'unreadable'): void;
}

export function createLineWatches(number: number, poll: ChipPoll): LineWatches {
  let source: ChangeSource = 'polling';
  const watches = new Map<Watch, () => void>();

  const begin = (watch: Watch): (() => void) => {
    const { wake, read, check, pollMs, checkMs } = watch;
    if (source === 'polling') return poll.watch(number, read, wake, pollMs);
    // Nobody is in a hurry to know whether the line can be had again.
    if (source === 'gone') return poll.watch(number, read, wake, Math.max(pollMs, checkMs));
    const edges = source;
    // Each watch has a function of its own: onoff removes by identity, and one `wake` may be given twice.
    const listener = () => {
      poll.interrupted(number);
      wake();
    };
    edges.watch(listener);
    const endChecks = poll.watch(number, check, wake, checkMs);
    return () => {
      edges.unwatch(listener);
      endChecks();
    };
  };

  return {
    watch(given) {
      const watch = { ...given };
      watches.set(watch, begin(watch));
      return () => {
        watches.get(watch)?.();
        watches.delete(watch);
      };
    },
    followBy(next) {
      if (next === source) return;
      source = next;
      for (const [watch, end] of [...watches]) {
        if (!watches.has(watch)) continue;
        end();
        watches.set(watch, begin(watch));
        watch.wake();
      }
    },
    seen: (level) => poll.seen(number, level),
  };
}

/** Reads, and passes what was read to the watches of the line. */
export async function readSeen(watches: LineWatches, read: () => Promise<Level>): Promise<Level> {
  try {
    const level = await read();
    watches.seen(level);
    return level;
  } catch (error) {
    watches.seen('unreadable');
    throw error;
  }
}
