import { errorText } from '../../hw/errors.ts';
import type { Clock } from '../../hw/ports.ts';
import type { Happening, Recorded, Recorder } from './record.ts';

/**
 * How soon it is told again that something cannot be read, for the same reason. It is asked every 10 ms while the chassis is
 * switched, and a journal that takes so many lines drops those of others.
 */
const TOLD_AGAIN_MS = 60_000;
/** What says another thing each time is not kept for ever. */
const MOST_REASONS = 100;

/**
 * The record of a run, which may be held back: switch first, then speak. A recorder that throws all the same ends no run:
 * it is told so in a warning, and goes on with what happens next.
 */
export interface Recording {
  /** That something cannot be read is recorded once a minute for each reason. */
  record(entry: Happening): void;
  /** From now on nothing is told. What happens keeps its time. */
  hold(): void;
  /** Tells what was held back, and from now on everything at once. */
  tell(): void;
  /** For how long news has been held back. */
  heldForMs(): number;
}

export function createRecording(recorder: Recorder, clock: Clock): Recording {
  let held: Recorded[] | null = null;
  let heldSinceMs = 0;
  const tellOne = (entry: Recorded): void => {
    try {
      recorder(entry);
    } catch (error) {
      const message = `internal error, "${entry.type}" was not recorded: ${errorText(error)}`;
      try {
        recorder({ type: 'warning', message, atMs: clock.nowMs() });
      } catch {
        // Nobody is left who could be told.
      }
    }
  };
  // By its reason, which says what it hit: where pgood is taken from a rail that cannot be read, neither can be.
  const toldAtMs = new Map<string, number>();
  const isToldAlready = (entry: Happening): boolean => {
    if (entry.type !== 'readFailed') return false;
    const nowMs = clock.nowMs();
    const lastMs = toldAtMs.get(entry.reason) ?? Number.NEGATIVE_INFINITY;
    if (nowMs - lastMs < TOLD_AGAIN_MS) return true;
    if (toldAtMs.size >= MOST_REASONS) toldAtMs.clear();
    toldAtMs.set(entry.reason, nowMs);
    return false;
  };
  return {
    record(entry) {
      if (isToldAlready(entry)) return;
      const recorded = { ...entry, atMs: clock.nowMs() };
      if (held === null) tellOne(recorded);
      else held.push(recorded);
    },
    hold() {
      if (held === null) heldSinceMs = clock.nowMs();
      held ??= [];
    },
    heldForMs: () => (held === null ? 0 : clock.nowMs() - heldSinceMs),
    tell() {
      const entries = held ?? [];
      held = null;
      for (const entry of entries) tellOne(entry);
    },
  };
}
