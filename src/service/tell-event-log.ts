import type { CodedError } from '../../hw/errors.ts';
import type { Clock } from '../../hw/ports.ts';
import { deferred } from '../../hw/waiting.ts';
import type { PowerErrorCode } from '../errors.ts';
import type { Missed } from '../run/record.ts';
import { missedText, railAtFault } from '../sequence/causes.ts';
import type { Fault } from '../sequence/state.ts';
import type { EventLog, EventLogEntry } from '../system/ports.ts';
import { persist, TELL_FOR_MS } from './persist.ts';
import type { Wanted } from './resident.ts';

/** A chassis that lost its power while it was on, for whatever reason that is of no rail. */
const SHUTDOWN = 'xyz.openbmc_project.Power.Error.Shutdown';
const RAIL_FAILED = 'xyz.openbmc_project.Power.Error.PowerSequencerVoltageFault';
/**
 * Names of phosphor-power (phosphor-power-sequencer/src/chassis.cpp), for the faults that it knows. Any other failure of a
 * request has a general name of phosphor-dbus-interfaces (State/Chassis.errors.yaml).
 */
const NAMES: Partial<Readonly<Record<PowerErrorCode, string>>> = {
  RAIL_FAULT: RAIL_FAILED,
  PGOOD_TIMEOUT: 'xyz.openbmc_project.Power.Error.PowerOnTimeout',
  PGOOD_LOST: SHUTDOWN,
  POWER_OFF_TIMEOUT: 'xyz.openbmc_project.Power.Error.PowerOffTimeout',
};
const REQUEST_FAILED: Readonly<Record<Wanted, string>> = {
  on: 'xyz.openbmc_project.State.Chassis.Error.PowerOnFailure',
  off: 'xyz.openbmc_project.State.Chassis.Error.PowerOffFailure',
};

/** What a power supply that fails brings about. */
const WITHOUT_POWER: readonly string[] = [
  'RAIL_FAULT',
  'PGOOD_TIMEOUT',
  'PGOOD_LOST',
] satisfies PowerErrorCode[];
/** Of these the evidence may know a rail. */
const LOST_PGOOD: readonly string[] = ['PGOOD_TIMEOUT', 'PGOOD_LOST'] satisfies PowerErrorCode[];

export interface Failed {
  readonly wanted: Wanted;
  /** The chassis was on, and lost its power: nobody's request failed. */
  readonly isLoss?: boolean;
  /** Name of the error that somebody has found the power supply to have; empty where nobody has. */
  readonly supplyError?: string;
  /** What is known of the rail that failed, with the names of the event log. */
  readonly data?: Readonly<Record<string, string>>;
}

/** The entry for a power sequence that failed: the whole message, with the rail, what it said, and what is still on. */
export function failureEntry(chassis: number, error: CodedError, failed: Failed): EventLogEntry {
  const { powerStillApplied, fault } = error.details;
  const rail = isFault(fault) ? railAtFault(fault) : null;
  const diagnosis = isFault(fault) ? fault.diagnosis : undefined;
  const isOfRail = (diagnosis?.rail ?? null) !== null && LOST_PGOOD.includes(error.code);
  return {
    name: isOfSupply(error.code, fault, failed)
      ? (failed.supplyError ?? '')
      : nameOf(isOfRail ? 'RAIL_FAULT' : error.code, failed),
    severity: 'Critical',
    data: {
      ...failed.data,
      CHASSIS_NUMBER: String(chassis),
      REQUEST: `power ${failed.wanted}`,
      REASON: error.message.replace(new RegExp(`^chassis ${chassis}: `), ''),
      ...(rail === null ? {} : { RAIL_NAME: rail }),
      ...(diagnosis === undefined ? {} : { CAUSE: diagnosis.cause }),
      // A request that failed before the lines were read knows nothing of the power.
      ...(typeof powerStillApplied === 'boolean' ? { POWER_STILL_APPLIED: String(powerStillApplied) } : {}),
      SEVERITY_DETAIL: 'SYSTEM_TERM',
      _PID: String(process.pid),
    },
  };
}

/** The entry for a rail that the chassis does without: nothing was switched off for it. */
export function missEntry(chassis: number, { rail, reason }: Missed): EventLogEntry {
  return {
    name: RAIL_FAILED,
    severity: 'Error',
    data: {
      CHASSIS_NUMBER: String(chassis),
      REASON: missedText(reason),
      RAIL_NAME: rail,
      _PID: String(process.pid),
    },
  };
}

/** The power supply is to blame before a rail, where it is reported to have failed and power went or did not come. */
function isOfSupply(code: string, fault: unknown, { wanted, supplyError = '' }: Failed): boolean {
  if (wanted !== 'on' || supplyError === '' || !WITHOUT_POWER.includes(code)) return false;
  return !isFault(fault) || fault.kind !== 'railStray';
}

/** A rail is to blame first, then what was to be seen from outside. */
function nameOf(code: string, { wanted, isLoss = false }: Failed): string {
  const known = NAMES[code as PowerErrorCode];
  if (known !== undefined && code === 'RAIL_FAULT') return known;
  if (isLoss) return SHUTDOWN;
  return known ?? REQUEST_FAILED[wanted];
}

/** Errors of a fault have it in their details, as it is in the state of the sequence. */
function isFault(value: unknown): value is Fault {
  return typeof value === 'object' && value !== null && 'rail' in value;
}

export interface EventLogOptions {
  readonly chassis: number;
  readonly eventLog: () => Promise<EventLog>;
  readonly clock: Clock;
  /** @param severity as syslog counts it (RFC 5424, table 2) */
  readonly log: (severity: number, text: string) => void;
  /** The same for a power sequence that failed. */
  readonly logFailure: (severity: number, error: CodedError) => void;
  /** Once it is aborted, no entry is written any more. */
  readonly signal: AbortSignal;
  /** Name of the error that the power supply is reported to have; empty where it is not. */
  readonly supplyError: () => string;
  /** What the run that ended with this error said of its rail, with the names of the event log. */
  readonly dataOf: (error: CodedError) => Readonly<Record<string, string>>;
}

export interface Telling {
  /** Resolves when the first try is over, whatever its result. */
  readonly tried: Promise<void>;
  /** Resolves when the event log has the entry, the entry was given up, or no event log is on the bus. */
  readonly settled: Promise<void>;
}

/**
 * Writes an entry to the event log, once. An event log that cannot be reached is tried again for ten minutes, because it
 * may only be restarting. A machine without an event log looks the same, so no promise waits for the further tries.
 */
export function tellEventLog(entry: EventLogEntry, options: EventLogOptions): Telling {
  const { chassis, clock, log, signal } = options;
  const tried = deferred();
  const away = deferred();
  let isAway = false;
  const told = persist(
    async () => {
      try {
        const isTaken = await (await options.eventLog()).create(entry);
        if (!isTaken && !isAway) {
          log(6, `chassis ${chassis}: nobody is the event log: ${waiting(entry)}`);
          isAway = true;
          away.resolve();
        }
        return isTaken;
      } finally {
        tried.resolve();
      }
    },
    {
      clock,
      signal,
      onFailure: (error, next) =>
        log(3, `chassis ${chassis}: the event log was not told of ${entry.name}: ${error.message}: ${next}`),
    },
  );
  return { tried: tried.promise, settled: Promise.race([told, away.promise]) };
}

function waiting({ name }: EventLogEntry): string {
  return `${name} is kept for it for ${TELL_FOR_MS / 60_000} minutes`;
}
