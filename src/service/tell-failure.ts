import { CodedError } from '../../hw/errors.ts';
import type { Wanted } from './resident.ts';
import { type EventLogOptions, failureEntry, tellEventLog } from './tell-event-log.ts';

/** Tells of power sequences that were asked for and failed, for one chassis. */
export interface FailureTeller {
  /** Never rejects. Resolves when the event log knows, or does not have to be waited for. */
  requestFailed(wanted: Wanted, error: unknown): Promise<void>;
  /** Somebody else has told of power that is still applied: another power off that fails over it is no news. */
  isKnown(error: CodedError): void;
  /** The chassis is on or off: whatever was applied against its will is not any more. */
  isWell(): void;
}

export function createFailureTeller(options: EventLogOptions): FailureTeller {
  let known: string | null = null;

  return {
    async requestFailed(wanted, error) {
      // Who asked otherwise meanwhile, or ended the service, knows. What is not ours is told where it is caught.
      if (!(error instanceof CodedError) || error.code === 'INTERRUPTED') return;
      const applied = whatIsApplied(error);
      options.log(applied === null ? 3 : 2, error.message);
      if (wanted === 'off' && applied !== null && applied === known) return;
      known = applied;
      await tellEventLog(failureEntry(options.chassis, error, { wanted }), options).settled;
    },
    isKnown(error) {
      known = whatIsApplied(error);
    },
    isWell() {
      known = null;
    },
  };
}

/** Rails that are still on, as text that is the same for the same rails; null where the power is off, or not known. */
function whatIsApplied({ details: { powerStillApplied, stillOn } }: CodedError): string | null {
  return powerStillApplied === true ? JSON.stringify(stillOn ?? []) : null;
}
