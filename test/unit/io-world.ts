import * as contract from '../contract/support.ts';

/** Real answers come within a few of these, at whose end the clock goes on. */
const IO_STEP_MS = 5;

/** Connections are real, and time is not: what they do is waited for, and deadlines run on a clock of the test alone. */
export interface IoWorld {
  /** Lets time pass, and gives connections a moment. */
  readonly settle: () => Promise<void>;
  /** The outcome of `promise`, as soon as it is there. */
  settled<T>(promise: Promise<T>): Promise<T>;
  /** The same, or what it was rejected with. */
  outcome(promise: Promise<unknown>): Promise<unknown>;
  /** Waits until `condition` holds. */
  eventually(what: string, condition: () => boolean, limitMs?: number): Promise<void>;
}

/** @param pass lets that much time pass on the clock that one step takes: none, where no deadline is to come before an answer */
export function createIoWorld(pass: () => Promise<void>): IoWorld {
  const sleep = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms));
  const settled = async <T>(promise: Promise<T>): Promise<T> => {
    const over = promise.then(
      () => undefined,
      () => undefined,
    );
    const settle = async () => {
      await pass();
      await Promise.race([over, sleep(IO_STEP_MS)]);
    };
    return contract.finish({ settle }, promise);
  };
  return {
    async settle() {
      await pass();
      await sleep(IO_STEP_MS);
    },
    settled,
    outcome: (promise) => settled(promise).catch((error: unknown) => error),
    eventually(what, condition, limitMs) {
      const settle = async () => {
        await pass();
        for (let ms = 0; ms < IO_STEP_MS && !condition(); ms += 1) await sleep(1);
      };
      return contract.eventually({ settle }, what, condition, limitMs);
    },
  };
}
