import type { Clock } from '../../hw/ports.ts';

/** Timers that all end together. */
export interface Timers {
  /** Returns the function that cancels. Does nothing once they are closed. */
  after(delayMs: number, run: () => void): () => void;
  close(): void;
}

export function createTimers(clock: Pick<Clock, 'after'>): Timers {
  const cancels = new Set<() => void>();
  let closed = false;
  return {
    after(delayMs, run) {
      if (closed) return () => undefined;
      const stop = clock.after(delayMs, () => {
        cancels.delete(cancel);
        run();
      });
      const cancel = () => {
        cancels.delete(cancel);
        stop();
      };
      cancels.add(cancel);
      return cancel;
    },
    close() {
      closed = true;
      for (const cancel of [...cancels]) cancel();
    },
  };
}
