import type { Level } from '../ports.ts';
import type { ChipLooks } from './look.ts';

/** What is used here of onoff's `Gpio` of an input whose interrupts are on. */
export interface EdgeSource {
  watch(callback: () => void): void;
  unwatch(callback: () => void): void;
}

/**
 * How the changes of a line become known: by its interrupts, by looks where it raises none (a line that is driven raises
 * none either), or not at all while it is `gone`, in the hands of another program.
 */
export type ToldBy = EdgeSource | 'looks' | 'gone';

export interface Watch {
  readonly wake: () => void;
  readonly read: () => Promise<Level>;
  /** The same for a line that raises interrupts, after a look whether it still is set up to. */
  readonly check: () => Promise<Level>;
  readonly lookMs: number;
  readonly checkMs: number;
}

/** All who watch one line. */
export interface LineWatches {
  /** Returns the function that ends it. */
  watch(watch: Watch): () => void;
  /** From now on changes become known so. Who watches goes on by that, and is woken for what went unseen in between. */
  toldBy(means: ToldBy): void;
  /** What was read of the line just now. */
  seen(level: Level | 'unreadable'): void;
}

export function createLineWatches(number: number, looks: ChipLooks): LineWatches {
  let means: ToldBy = 'looks';
  const watches = new Map<Watch, () => void>();

  const begin = (watch: Watch): (() => void) => {
    const { wake, read, check, lookMs, checkMs } = watch;
    if (means === 'looks') return looks.watch(number, read, wake, lookMs);
    // Whether it can be had again is worth no hurry.
    if (means === 'gone') return looks.watch(number, read, wake, Math.max(lookMs, checkMs));
    const edges = means;
    // A function of its own for every watch: onoff removes by identity, and one `wake` may be given twice.
    const listener = () => {
      looks.told(number);
      wake();
    };
    edges.watch(listener);
    const endChecks = looks.watch(number, check, wake, checkMs);
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
    toldBy(next) {
      if (next === means) return;
      means = next;
      for (const [watch, end] of [...watches]) {
        if (!watches.has(watch)) continue;
        end();
        watches.set(watch, begin(watch));
        watch.wake();
      }
    },
    seen: (level) => looks.seen(number, level),
  };
}

/** What is read is told to those who watch the line. */
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
