import type { Clock } from '../../hw/ports.ts';
import { type Deferred, deferred, endsWithin } from '../../hw/waiting.ts';

/**
 * What the chassis that one process watches have in common. They may lose their power in one moment, and then every drive of
 * all of them comes before anything else that is done for one.
 */
export interface Alarm {
  /** The chassis may be losing its power, or is being switched off for that; or neither any more. */
  set(chassis: number, isRaised: boolean): void;
  /** Resolves when that is so of no chassis, and after LONGEST_MS at the latest. */
  over(): Promise<void>;
}

/** Where no bus hangs all is off long before. On one that does, the news of the others wait no longer. */
const LONGEST_MS = 500;

export function createAlarm(clock: Pick<Clock, 'after'>): Alarm {
  const raised = new Set<number>();
  let end: Deferred | null = null;
  return {
    set(chassis, isRaised) {
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
