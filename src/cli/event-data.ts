import { lineLabel } from '../../hw/lines.ts';
import { isLine } from '../board/lines.ts';
import type { ChassisBoard } from '../board/schema.ts';
import type { Evidence } from '../run/evidence.ts';
import { evidenceOf } from '../run/evidence-of.ts';
import type { Recorded } from '../run/record.ts';
import type { Fault } from '../sequence/state.ts';

/** Data beside an entry of the event log, by name. */
export type EventData = Readonly<Record<string, string>>;

/** Faults of a rail whose good signal was read, and was not asserted. */
const NOT_GOOD: readonly Fault['kind'][] = ['railTimeout', 'railLost'];

/**
 * What the run said of the rail that failed, with the names and the forms of phosphor-power
 * (phosphor-power-sequencer/src/rail.cpp): `STATUS_WORD`, `STATUS_VOUT`, `READ_VOUT`, `VOUT_UV_FAULT_LIMIT`, `GPIO_LINE`,
 * `GPIO_VALUE`. Every other status register that had something to tell is there by its own name, and the device by the
 * name that the board file gives it. Where no rail failed there is nothing to say.
 */
export function eventData(chassis: ChassisBoard, entries: readonly Recorded[]): EventData {
  const fault = entries.findLast((entry) => entry.type === 'fault')?.fault;
  const diagnosis = entries.findLast((entry) => entry.type === 'diagnosis')?.diagnosis;
  // The evidence may know of another rail that went before the one that was missed.
  const name = diagnosis?.rail ?? fault?.rail ?? null;
  const rail = name === null ? undefined : chassis.rails[name];
  if (fault === undefined || rail === undefined) return {};
  const evidence = entries.findLast((entry) => entry.type === 'evidence')?.evidence ?? [];
  const said = evidenceOf(name ?? '', rail.good, evidence) ?? evidenceOf(name ?? '', rail.enable, evidence);
  const line = rail.good !== undefined && isLine(rail.good) ? rail.good : null;
  return {
    ...(line !== null &&
      (name === fault.rail ? NOT_GOOD.includes(fault.kind) : diagnosis?.cause === 'dropped') && {
        GPIO_LINE: lineLabel(line),
        GPIO_VALUE: line.active === 'low' ? '1' : '0',
      }),
    ...(said !== undefined && pageData(said)),
  };
}

function pageData({ device, page, statusWord, status, voutVolts, voltsBefore, limits }: Evidence): EventData {
  const registers = status
    .filter(({ register }) => register !== 'STATUS_WORD')
    .map(({ register, value }) => [register, hex(value, 2)]);
  // What is read once every enable is off says less than what was read while the rail was on.
  const volts = voltsBefore ?? voutVolts;
  const limit = limits.find((each) => each.limit === 'VOUT_UV_FAULT_LIMIT');
  return {
    DEVICE: device,
    ...(page !== null && { PAGE: String(page) }),
    ...(statusWord !== null && { STATUS_WORD: hex(statusWord, 4) }),
    ...Object.fromEntries(registers),
    ...(volts !== null && { READ_VOUT: String(volts) }),
    ...(limit !== undefined && { VOUT_UV_FAULT_LIMIT: String(limit.volts) }),
  };
}

function hex(value: number, digits: number): string {
  return `0x${value.toString(16).padStart(digits, '0')}`;
}

/** Data of runs that failed, for whoever tells of it when the run is over. */
export interface EventDataOfErrors {
  /** Remembers what a run told, for the error that it ended with. */
  remember(error: unknown, entries: readonly Recorded[]): void;
  /** Nothing for an error that no run of this process ended with. */
  of(error: unknown): EventData;
}

export function createEventData(chassis: ChassisBoard): EventDataOfErrors {
  const known = new WeakMap<object, EventData>();
  return {
    remember(error, entries) {
      const key = keyOf(error);
      if (key !== null) known.set(key, eventData(chassis, entries));
    },
    of: (error) => known.get(keyOf(error) ?? {}) ?? {},
  };
}

/** Errors of one failure have the same fault, however often it is made an error. */
function keyOf(error: unknown): object | null {
  if (typeof error !== 'object' || error === null) return null;
  const { fault } = 'details' in error ? (error.details as { readonly fault?: unknown }) : {};
  return typeof fault === 'object' && fault !== null ? fault : error;
}
