import type { Clock } from '../../hw/ports.ts';
import type { Happening, Recorded, Recorder } from './record.ts';

/** The record of a run, which may be held back: switch first, then speak. */
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
  return {
    record(entry) {
      const recorded = { ...entry, atMs: clock.nowMs() };
      if (held === null) recorder(recorded);
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
      for (const entry of entries) recorder(entry);
    },
  };
}
