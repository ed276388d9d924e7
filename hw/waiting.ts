import type { Clock } from './ports.ts';

/** Resolves after `ms`, or at once when the signal comes. */
export function pause(clock: Pick<Clock, 'after'>, ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const end = () => {
      cancel();
      signal?.removeEventListener('abort', end);
      resolve();
    };
    const cancel = clock.after(ms, end);
    signal?.addEventListener('abort', end);
    if (signal?.aborted) end();
  });
}

/**
 * Whether `work` ends within `limitMs`. Rejects as it does in that time; what comes of it later is not looked at.
 *
 * A process that had other work to do finds its timers over before the answers that wait for it, so the answers have one
 * more turn of the event loop.
 */
export function endsWithin(
  clock: Pick<Clock, 'after'>,
  limitMs: number,
  work: Promise<unknown>,
): Promise<boolean> {
  return new Promise((resolve, reject) => {
    let cancel = clock.after(limitMs, () => {
      cancel = clock.after(0, () => resolve(false));
    });
    work.finally(() => cancel()).then(() => resolve(true), reject);
  });
}

/** A promise that is settled from outside. */
export interface Deferred {
  readonly promise: Promise<void>;
  readonly resolve: () => void;
  readonly reject: (error: unknown) => void;
}

export function deferred(): Deferred {
  let resolve: () => void = () => undefined;
  let reject: (error: unknown) => void = () => undefined;
  const promise = new Promise<void>((done, failed) => {
    resolve = done;
    reject = failed;
  });
  return { promise, resolve, reject };
}

/** Waits between tries: each is twice as long as the one before, up to a limit. */
export interface Backoff {
  nextMs(): number;
  /** Begins with the first wait again, after a try that worked. */
  reset(): void;
}

export function createBackoff(firstMs: number, lastMs: number): Backoff {
  let nextMs = firstMs;
  return {
    nextMs() {
      const waitMs = nextMs;
      nextMs = Math.min(2 * nextMs, lastMs);
      return waitMs;
    },
    reset() {
      nextMs = firstMs;
    },
  };
}

/** Made when it is first asked for, and the same for everybody from then on. What could not be made is tried again. */
export function madeOnce<T>(make: () => Promise<T>): () => Promise<T> {
  let made: Promise<T> | undefined;
  return () => {
    made ??= make().catch((error: unknown) => {
      made = undefined;
      throw error;
    });
    return made;
  };
}
