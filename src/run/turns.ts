import type { Clock } from '../../hw/ports.ts';
import { STALL_MS, TURN_MS } from './standstill.ts';

/** The turns of a run: it rests until something happens or a time has come, and knows when it rested too long. */
export interface Turns {
  /**
   * How long nothing was looked at, where that is longer than the run meant to rest: then what it knows is old. Null where it
   * is not. To be asked once a turn.
   */
  standstillMs(): number | null;
  /**
   * Until `wake` is called, or a time has come; null: for as long as it takes.
   * @param isWatchful something has to stand for some time, or an answer is awaited: the clock is looked at now and then
   * @param isDue something has happened already
   */
  rest(untilMs: number | null, isWatchful: boolean, isDue: boolean): Promise<void>;
  wake(): void;
}

export function createTurns(clock: Clock): Turns {
  let ranMs = clock.nowMs();
  /** When the run meant to go on at the latest; null: whenever something happens. */
  let meantMs: number | null = ranMs;
  let wake: () => void = () => undefined;

  return {
    standstillMs() {
      const nowMs = clock.nowMs();
      const ms = nowMs - ranMs;
      const isLate = meantMs !== null && nowMs - meantMs > STALL_MS;
      ranMs = nowMs;
      meantMs = nowMs;
      return isLate ? ms : null;
    },
    async rest(untilMs, isWatchful, isDue) {
      const nowMs = clock.nowMs();
      const turnMs = isWatchful ? nowMs + TURN_MS : Number.POSITIVE_INFINITY;
      const atMs = Math.min(untilMs ?? Number.POSITIVE_INFINITY, turnMs);
      meantMs = Number.isFinite(atMs) ? atMs : null;
      await new Promise<void>((resolve) => {
        const cancel = meantMs === null ? () => undefined : clock.after(meantMs - nowMs, resolve);
        wake = () => {
          cancel();
          resolve();
        };
        if (isDue) wake();
      });
      wake = () => undefined;
    },
    wake: () => wake(),
  };
}
