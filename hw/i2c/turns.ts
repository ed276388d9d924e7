import type { TransactionOptions } from '../ports.ts';

/** The transactions of one process on one bus, one after the other. */
export interface BusTurns {
  /** Runs `work` when its turn comes, and settles like it. What is urgent goes before what waits and only reads. */
  take<T>(work: () => Promise<T>, options: TransactionOptions): Promise<T>;
  /** Resolves when all that was asked for until now is over. */
  over(): Promise<void>;
}

interface Waiting {
  readonly isReading: boolean;
  /** Never rejects. */
  readonly run: () => Promise<void>;
}

export function createBusTurns(): BusTurns {
  const waiting: Waiting[] = [];
  let isTaken = false;

  const serve = async (): Promise<void> => {
    if (isTaken) return;
    isTaken = true;
    for (let next = waiting.shift(); next !== undefined; next = waiting.shift()) await next.run();
    isTaken = false;
  };

  const enqueue = (entry: Waiting, isUrgent: boolean): void => {
    // What writes keeps its place, so that on and off come to a device in the order in which they were asked for.
    const afterWrites = waiting.findLastIndex(({ isReading }) => !isReading) + 1;
    waiting.splice(isUrgent ? afterWrites : waiting.length, 0, entry);
    void serve();
  };

  return {
    take(work, { isUrgent = false, isReading = false }) {
      return new Promise((resolve, reject) => {
        const run = () => work().then(resolve, reject);
        enqueue({ isReading, run }, isUrgent);
      });
    },
    over: () =>
      new Promise((resolve) => {
        enqueue({ isReading: false, run: async () => resolve() }, false);
      }),
  };
}
