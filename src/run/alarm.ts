import type { Clock } from '../../hw/ports.ts';
import { type Deferred, deferred, endsWithin } from '../../hw/waiting.ts';

/**
 * What the chassis that one process watches have in common. They may lose their power in one moment, and then every drive of
 * all of them comes before anything else that is done for one.
 */
export interface Alarm {
  /** The chassis may be losing its power, or is being switched off for that; or neither any more. */
  set(chassis: number, isRaised: boolean): void;
  /** Whether that is so of another chassis. */
  isRaisedBeside(chassis: number): boolean;
  /** Returns what tells whether that was so of the chassis at no moment since. */
  calmSince(chassis: number): () => boolean;
  /** Resolves when that is so of no chassis, and after LONGEST_MS at the latest. */
  over(): Promise<void>;
}

/** Where no bus hangs all is off long before. On one that does, the news of the others wait no longer. */
export const LONGEST_MS = 500;

export function createAlarm(clock: Pick<Clock, 'after'>): Alarm {
  const raised = new Set<number>();
  /** How often it was raised, by chassis. */
  const times = new Map<number, number>();
  const timesOf = (chassis: number) => times.get(chassis) ?? 0;
  let end: Deferred | null = null;
  return {
    isRaisedBeside: (chassis) => raised.size > (raised.has(chassis) ? 1 : 0),
    calmSince(chassis) {
      const before = timesOf(chassis);
      const wasCalm = !raised.has(chassis);
      return () => wasCalm && timesOf(chassis) === before;
    },
    set(chassis, isRaised) {
      if (isRaised && !raised.has(chassis)) times.set(chassis, timesOf(chassis) + 1);
      if (isRaised) raised.add(chassis);
      else raised.delete(chassis);
      if (raised.size > 0) return;
      end?.resolve();
      end = null;
    },
    async over() {
      if (raised.size === 0) return;
      end ??= deferred();
      await endsWithin(clock, LONGEST_MS, end.promise);
    },
  };
}
