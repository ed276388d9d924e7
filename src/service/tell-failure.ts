import { CodedError } from '../../hw/errors.ts';
import type { Wanted } from './resident.ts';
import { type EventLogOptions, failureEntry, tellEventLog } from './tell-event-log.ts';

/** Reports power sequences of one chassis that were requested and failed. */
export interface FailureTeller {
  /** Never rejects. Resolves when the event log has the entry, or does not have to be waited for. */
  requestFailed(wanted: Wanted, error: unknown): Promise<void>;
  /** Power that is still applied was reported elsewhere: another power-off that fails for the same rails is no news. */
  isKnown(error: CodedError): void;
  /** The chassis is on or off: no power is applied any more that should not be. */
  isWell(): void;
}

export function createFailureTeller(options: EventLogOptions): FailureTeller {
  let known: string | null = null;

  return {
    async requestFailed(wanted, error) {
      // The requester caused an interruption himself. Errors of other kinds are reported where they are caught.
      if (!(error instanceof CodedError) || error.code === 'INTERRUPTED') return;
      const applied = whatIsApplied(error);
      options.logFailure(applied === null ? 3 : 2, error);
      if (wanted === 'off' && applied !== null && applied === known) return;
      known = applied;
      const failed = { wanted, supplyError: options.supplyError(), data: options.dataOf(error) };
      await tellEventLog(failureEntry(options.chassis, error, failed), options).settled;
    },
    isKnown(error) {
      known = whatIsApplied(error);
    },
    isWell() {
      known = null;
    },
  };
}

/** Rails that are still on, as one text for the same rails; null where the power is off, or not known. */
function whatIsApplied({ details: { powerStillApplied, stillOn } }: CodedError): string | null {
  return powerStillApplied === true ? JSON.stringify(stillOn ?? []) : null;
}
