import type { Level } from '../ports.ts';
import type { ChipLooks } from './look.ts';

/** What is used here of onoff's `Gpio` of an input whose interrupts are on. */
export interface EdgeSource {
  watch(callback: () => void): void;
  unwatch(callback: () => void): void;
}

/** All who watch one line: by its interrupts, or where it raises none by looks. */
export interface LineWatches {
  /** @param edges null where the line raises no interrupts. Returns the function that ends it. */
  watch(edges: EdgeSource | null, read: () => Promise<Level>, wake: () => void, lookMs: number): () => void;
  /** The line raises interrupts: it was opened as an input. */
  raisesEdges(): void;
  /** The line is driven: the kernel takes no interrupt from it. Who watched by interrupts goes on by looks. */
  isDriven(): void;
  /** What was read of the line just now. */
  seen(level: Level | 'unreadable'): void;
}

export function createLineWatches(number: number, looks: ChipLooks): LineWatches {
  let driven = false;
  const byEdges = new Set<() => void>();

  return {
    watch(edges, read, wake, lookMs) {
      const watchByLooks = () => looks.watch(number, read, wake, lookMs);
      if (edges === null || driven) return watchByLooks();
      // A function of its own for every watch: onoff removes by identity, and one `wake` may be given twice.
      const listener = () => wake();
      edges.watch(listener);
      let stop = () => edges.unwatch(listener);
      const goOnByLooks = () => {
        stop();
        stop = watchByLooks();
        // What happened in between went unseen.
        wake();
      };
      byEdges.add(goOnByLooks);
      return () => {
        byEdges.delete(goOnByLooks);
        stop();
      };
    },
    raisesEdges() {
      driven = false;
    },
    isDriven() {
      driven = true;
      const moving = [...byEdges];
      byEdges.clear();
      for (const goOnByLooks of moving) goOnByLooks();
    },
    seen: (level) => looks.seen(number, level),
  };
}
