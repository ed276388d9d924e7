import { errorText } from '../../hw/errors.ts';
import type { Clock } from '../../hw/ports.ts';
import type { Happening, Recorded, Recorder } from './record.ts';

/**
 * The record of a run, which may be held back: switch first, then speak. A recorder that throws all the same ends no run:
 * it is told so in a warning, and goes on with what happens next.
 */
export interface Recording {
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
  return {
    record(entry) {
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
