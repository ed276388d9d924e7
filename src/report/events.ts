import type { CodedError, HardwareErrorCode } from '../../hw/errors.ts';
import type { PowerErrorCode } from '../errors.ts';
import { railAtFault } from '../sequence/causes.ts';
import type { Fault, FaultKind, State } from '../sequence/state.ts';
import type { SystemErrorCode } from '../system/errors.ts';
import { STATE_WORDS } from './words.ts';

/**
 * Everything that may need an explanation: how a power sequence ended, and a rail that the chassis does without. Each kind has its MESSAGE_ID, for which
 * `systemd/chassis-power.catalog` has the explanation. An ID is a random number that never changes its meaning
 * (sd_id128(3), systemd.journal-fields(7)).
 */
export const MESSAGE_IDS = {
  poweredOn: '9961a51092e746fba447d965e8aaba42',
  poweredOff: '5430665c09e84d048f6b0b1b3d54397f',
  /** The host has switched itself off. */
  hostOff: 'ddd736dda7f94a34a5db45cc685fad1c',
  railTimeout: 'ea54c1c67b3a442cab9516ea736c427c',
  railLost: 'b6e004df2767473a9da4266b322257a3',
  /** One that the chassis does without. */
  railMissed: '44e50dc82d15fb29a4f20dc37d08cc22',
  railStray: '24e25e13f4c040a594e510f7ee9a5e4b',
  pgoodTimeout: '1adaee02f9c842788ee150273b07ad24',
  pgoodLost: 'd4bf3ff49c0e4e629c2b71cf6d106065',
  powerOffTimeout: 'c83dd587082b4750aed3e275371cf7a7',
  /** A GPIO line that cannot be had, driven or read. */
  line: '1f1a0fe4d17b4197a64e131f57092e9d',
  /** An I2C bus or a device on it that cannot be had, driven or read. */
  device: '5d5ff63a32a2485585ec4c34febf9b0b',
  rejected: '4aaaf137674b4b2d8dfada552b885d6b',
  /** Another process drives or watches the chassis. */
  locked: '7cc206a9bb4b4da889661385d4706c39',
  board: '390bf2c9965d4081a87aedd9c4cff8fa',
  /** The folder for state and locks cannot be used. */
  runDir: 'f79613b62a4844dc84555d138333d748',
  /** D-Bus, or systemd on it, is out of reach. */
  bus: '4f6a80c0229c4e15a4570983240187cf',
  interrupted: '24017e3800c64e1f8afb68de9c7870c3',
} as const;
export type EventKind = keyof typeof MESSAGE_IDS;

/** Fields of the journal by name. */
export type Fields = Readonly<Record<string, string>>;

/** What is known of the run that an event is of. */
export interface EventSource {
  /** Null for what is not of one chassis. */
  readonly chassis: number | null;
  /** The verb of a command, or null for a request to the service. */
  readonly verb: string | null;
  /** How long the run took; null where that is not known. */
  readonly elapsedMs: number | null;
}

/** The stage that a verb is, as its unit is called. Others run several. */
const STAGES: Readonly<Record<string, string>> = {
  start: STATE_WORDS.opPowerStart.name,
  'wait-on': STATE_WORDS.opWaitPowerOn.name,
  stop: STATE_WORDS.opPowerStop.name,
  'wait-off': STATE_WORDS.opWaitPowerOff.name,
  adopt: 'op-reset-chassis-on',
};

const KIND_OF_FAULT: Readonly<Record<Exclude<FaultKind, 'hardware'>, EventKind>> = {
  railTimeout: 'railTimeout',
  railLost: 'railLost',
  railStray: 'railStray',
  pgoodTimeout: 'pgoodTimeout',
  pgoodLost: 'pgoodLost',
  powerOffTimeout: 'powerOffTimeout',
};

/** The kind of an error by its code; null for what only a person at a shell meets, who reads the message itself. */
const KIND_OF_CODE: Readonly<Record<PowerErrorCode | HardwareErrorCode | SystemErrorCode, EventKind | null>> =
  {
    USAGE: null,
    BOARD_NOT_FOUND: 'board',
    BOARD_UNREADABLE: 'board',
    BOARD_INVALID: 'board',
    CHASSIS_UNKNOWN: 'board',
    RESET_UNKNOWN: 'board',
    CHASSIS_LOCKED: 'locked',
    CHASSIS_WATCHED: 'locked',
    RUN_DIR_UNUSABLE: 'runDir',
    MACHINE_SHORT: null,
    PGOOD_TIMEOUT: 'pgoodTimeout',
    RAIL_FAULT: 'railTimeout',
    PGOOD_LOST: 'pgoodLost',
    POWER_OFF_TIMEOUT: 'powerOffTimeout',
    HARDWARE_FAULT: 'line',
    REQUEST_REJECTED: 'rejected',
    INTERRUPTED: 'interrupted',
    UNITS_CONFLICT: null,
    UNITS_NOT_WRITABLE: null,
    UNITS_SOURCE_MISSING: null,
    UNITS_NOT_INSTALLED: null,
    LINES_KEPT: null,
    SYSTEMD_NOT_TOLD: null,
    INTERNAL: null,
    GPIO_UNAVAILABLE: 'line',
    GPIO_NO_CHIP: 'line',
    GPIO_NO_LINE: 'line',
    GPIO_SHARED: 'board',
    GPIO_BUSY: 'line',
    GPIO_PERMISSION: 'line',
    GPIO_NOT_FOLLOWED: 'line',
    GPIO_TIMEOUT: 'line',
    GPIO_FAILED: 'line',
    GPIO_PULSE_IGNORED: 'line',
    I2C_NO_BUS: 'device',
    I2C_PERMISSION: 'device',
    I2C_NO_DEVICE: 'device',
    I2C_BUSY: 'device',
    I2C_TIMEOUT: 'device',
    I2C_PEC: 'device',
    I2C_FAILED: 'device',
    PMBUS_FORMAT: 'device',
    PMBUS_IDENTITY: 'device',
    SENSOR_NO_CHIP: 'device',
    SENSOR_NO_INPUT: 'device',
    SENSOR_TIMEOUT: 'device',
    SENSOR_FAILED: 'device',
    PROPERTY_UNREAD: 'bus',
    DBUS_UNAVAILABLE: 'bus',
    DBUS_TIMEOUT: 'bus',
    DBUS_NAME_TAKEN: 'bus',
    DBUS_NAME_DENIED: 'bus',
    DBUS_MISUSE: null,
    DBUS_MALFORMED: 'bus',
    SYSTEMD_FAILED: 'bus',
  };

/** What a power sequence ends with where nothing fails; `hostOff`: the host switched itself off. */
export type End = Extract<State, 'pgood' | 'off'> | 'hostOff';

const KIND_OF_END: Readonly<Record<End, EventKind>> = {
  pgood: 'poweredOn',
  off: 'poweredOff',
  hostOff: 'hostOff',
};

/** The fields of a power sequence that reached what was asked for, beside those of every entry. */
export function endFields(end: End, source: EventSource): Fields {
  return fields(KIND_OF_END[end], source, null);
}

/** The fields of a rail that the chassis does without, beside those of every entry. */
export function missFields(
  { rail, reason }: { readonly rail: string; readonly reason: string },
  source: EventSource,
): Fields {
  return { ...fields('railMissed', source, null), RAIL: rail, REASON: reason };
}

/** The fields of an error, beside those of every entry; null for one that is of no kind. */
export function failureFields({ code, message, details }: CodedError, source: EventSource): Fields | null {
  const fault = isFault(details.fault) ? details.fault : null;
  const kind = kindOf(code, fault);
  if (kind === null) return null;
  const { powerStillApplied } = details;
  const chassis = typeof details.chassis === 'number' ? details.chassis : source.chassis;
  const on = Array.isArray(details.stillOn) ? details.stillOn.map(({ rail }) => rail ?? 'pgood') : [];
  return {
    ...fields(kind, { ...source, chassis }, fault),
    ERROR_CODE: code,
    REASON: fault?.reason ?? message.replace(new RegExp(`^chassis ${chassis}: `), ''),
    ...(fault && diagnosisFields(fault)),
    // What failed before the lines were read knows nothing of the power.
    ...(typeof powerStillApplied === 'boolean' && { POWER_STILL_APPLIED: String(powerStillApplied) }),
    ...(on.length > 0 && { STILL_ON: on.join(' ') }),
  };
}

function diagnosisFields(fault: Fault): Fields {
  const { diagnosis } = fault;
  const rail = railAtFault(fault);
  return {
    ...(rail !== null && { RAIL: rail }),
    ...(diagnosis && {
      CAUSE: diagnosis.cause,
      ...(diagnosis.because !== fault.reason && { DIAGNOSIS: diagnosis.because }),
      ...(diagnosis.unread.length > 0 && { NOT_READ: diagnosis.unread.join(', ') }),
    }),
  };
}

function kindOf(code: string, fault: Fault | null): EventKind | null {
  if (fault !== null && fault.kind !== 'hardware') return KIND_OF_FAULT[fault.kind];
  const byCode: Readonly<Record<string, EventKind | null>> = KIND_OF_CODE;
  return byCode[fault?.errorCode ?? code] ?? byCode[code] ?? null;
}

function fields(kind: EventKind, { chassis, verb, elapsedMs }: EventSource, fault: Fault | null): Fields {
  const stage = STAGES[verb ?? ''] ?? (fault && STATE_WORDS[fault.state].name);
  return {
    MESSAGE_ID: MESSAGE_IDS[kind],
    ...(chassis !== null && { CHASSIS: String(chassis) }),
    ...(stage && { STAGE: stage }),
    ...(elapsedMs !== null && { ELAPSED_MS: String(Math.round(elapsedMs)) }),
  };
}

/** Errors of a fault have it in their details, as it is in the state of the sequence. */
function isFault(value: unknown): value is Fault {
  return typeof value === 'object' && value !== null && 'kind' in value && 'reason' in value;
}
