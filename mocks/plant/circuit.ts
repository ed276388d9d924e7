import type { Level } from '../../hw/ports.ts';
import type { RailBoard } from '../../src/board/schema.ts';
import type { LineRole } from './events.ts';
import type { Fault, TripCause } from './faults.ts';

/** The parts that a plant is built of, and what can be told of them at one moment. */
export interface Circuit {
  /** By the key of their line (`lineKey`), names of the device tree resolved. */
  readonly nets: ReadonlyMap<string, Net>;
  /** By `pmbus:<device>/<page>`. */
  readonly pages: ReadonlyMap<string, Page>;
  readonly hosts: readonly Host[];
  /** By name. */
  readonly devices: ReadonlyMap<string, Device>;
  /** In the order asked for. */
  readonly chassis: readonly Chassis[];
  /** Labels of the GPIO chips. */
  readonly chips: ReadonlySet<string>;
}

/** A fault that was put in. Active ones are in the `faults` of what they hit. */
export interface ArmedFault {
  readonly fault: Fault;
  active: boolean;
  /** It was active once. */
  struck: boolean;
  /** Cancel what is to start or to end it. */
  readonly timers: (() => void)[];
  /** Transfers that it will still hit; null for all. */
  transfersLeft: number | null;
  readonly rail: Rail | undefined;
  readonly net: Net | undefined;
  readonly chassis: Chassis;
}

/** What a net or a PMBus output carries: an asserted or not asserted signal. */
export interface Signal {
  readonly key: string;
  readonly role: LineRole;
  readonly chassis: number;
  readonly rail: string | null;
  /** Faults that hold or invert it. */
  readonly faults: ArmedFault[];
  changes: number;
  changedAtMs: number;
  direction: 'in' | 'out';
  level: Level;
}

/** A GPIO line. */
export interface Net extends Signal {
  readonly label: string;
  readonly name: string;
  readonly activeLevel: Level;
  /** Level while nobody drives it. */
  readonly pull: Level;
  /** Good signals and pgood: asserted when all sources are. */
  readonly sources: (() => boolean)[];
  readonly rails: Rail[];
  readonly listeners: Set<() => void>;
  driven: Level;
  held: Level | null;
  /** Busy opens and failed reads since the BMC last drove it. */
  failures: number;
}

/** The on bit of a PMBus output that switches rails. */
export interface Page extends Signal {
  readonly device: Device;
  readonly page: number;
  readonly rails: Rail[];
  /** Value of OPERATION that was written last. */
  operation: number;
  /** Failures of the device when OPERATION was written last. */
  failuresSeen: number;
}

/** What keeps a rail on that a power button switches: the host behind the button. Its level is on or off. */
export interface Host extends Signal {
  readonly button: Net;
  /** What shows it; undefined where only what it powers does. */
  stateNet: Net | undefined;
  readonly rails: Rail[];
  readonly times: HostTimes;
  /** A fault keeps it from shutting down by itself. */
  readonly deafFaults: ArmedFault[];
  /** Faults by which it has shut down by itself. */
  readonly leavingFaults: ArmedFault[];
  /** What shows it is a sleep state, which it enters also when its power is gone. */
  readonly sleeps: boolean;
  isOn: boolean;
  /** When the press began that lasts; null: nobody presses. */
  pressedAtMs: number | null;
  /** What the press that lasts has come to. */
  press: 'on' | 'off' | null;
  cancelPress: () => void;
  cancelShutdown: () => void;
}

export interface HostTimes {
  /** A shorter press is none. */
  readonly debounceMs: number;
  /** From the begin of a press until it is on. */
  readonly onAfterMs: number;
  /** A press this long switches it off. */
  readonly overrideMs: number;
  /** From the end of a short press until it has shut down. */
  readonly shutdownMs: number;
}

export interface Device {
  readonly name: string;
  /** What it has its power from; undefined where it always has it. */
  poweredBy: Rail | undefined;
  /** What it is on: it is there while one of these is. None: it is always there. */
  readonly parts: Set<Part>;
  /** From when on it answers; infinite while it has no power. */
  answersFromMs: number;
  /** How often it lost its power. */
  losses: number;
  /** Transfers that a fault hit. */
  failures: number;
}

export interface Rail {
  readonly chassis: Chassis;
  readonly name: string;
  readonly board: RailBoard;
  /** That it is on; undefined where that cannot be missing. */
  readonly part: Part | undefined;
  readonly nominalVolts: number;
  readonly goodVolts: number;
  readonly riseMs: number;
  readonly fallMs: number;
  readonly needs: Rail[];
  readonly neededBy: Rail[];
  /** Rails that the board has go off before it. */
  readonly offAfter: Rail[];
  /** Undefined: it is only watched, and comes and goes with what it needs. */
  readonly enable: Net | Page | Host | undefined;
  goodNet: Net | undefined;
  /** What its device is told before it is enabled; undefined where the board tells it nothing. */
  readonly settings: Settings | undefined;
  /** Faults of its voltage. */
  readonly faults: ArmedFault[];
  /** Good signal faults of a rail that is seen good over PMBus, or by a voltage that a kernel driver reads. */
  readonly goodFaults: ArmedFault[];
  /** Faults of what reads that voltage. */
  readonly sensorFaults: ArmedFault[];
  /** Of one that is only watched: all that it needs is. */
  enabled: boolean;
  /** The BMC asked for it, whether the enable followed or not. Of one that is only watched `isWanted` tells. */
  wanted: boolean;
  wantedAtMs: number;
  segment: Segment;
  good: boolean;
  /** Whoever plays a story moves it: it is there or gone, whatever its enable says. Null: it moves by itself. */
  steered: boolean | null;
  /** Was good since it was enabled. */
  wasGood: boolean;
  enabledAtMs: number;
  /** What a device that sees its voltage keeps: it was too low since the rail was last enabled. */
  wasUnder: boolean;
  /** Why its device switched it off, since the rail was last enabled. */
  readonly tripped: Set<TripCause>;
  /** When it was lost though the BMC wanted it. */
  failedAtMs: number;
  cancelCrossing: () => void;
}

/** Something that the device is on is there. */
export function isDeviceThere({ parts }: Device): boolean {
  return parts.size === 0 || [...parts].some(isThere);
}

/** A riser, a second power supply, a card: something that may not be there. */
export interface Part {
  readonly rails: Rail[];
  /** The line that tells of it; undefined where an address that answers does. */
  net: Net | undefined;
  /** While one is active it is not there. */
  readonly absences: ArmedFault[];
  /** What an address says that lies, or does not answer in time. */
  readonly shownFaults: ArmedFault[];
}

export function isThere(part: Part | undefined): boolean {
  return part === undefined || part.absences.length === 0;
}

/** Its part is not there, or that of something that it needs. */
export function isMissing({ part, needs }: Rail): boolean {
  return !isThere(part) || needs.some(isMissing);
}

/** What the BMC can see of it. */
export function isShown(part: Part | undefined): boolean {
  if (part?.net !== undefined) return netAsserted(part.net);
  return part === undefined || withFaults(part.shownFaults, isThere(part));
}

/** What the device of a rail is told by the board, register by register. */
export interface Settings {
  /** What the board has it told. */
  readonly wanted: ReadonlyMap<number, number>;
  /** What it has taken since it has power. */
  readonly written: Map<number, number>;
  readonly faults: ArmedFault[];
}

/** Where the voltage goes since `atMs`. */
export interface Segment {
  readonly atMs: number;
  readonly fromVolts: number;
  readonly toVolts: number;
  /** Volts per millisecond, signed; infinite for a jump. */
  readonly slope: number;
}

/** Something that pgood of a chassis is taken from, as the BMC can see it. */
export interface PgoodSource {
  /** A line of its own. */
  readonly net: Net | undefined;
  /** The PMBus page that shows it. */
  readonly page:
    | { readonly device: string; readonly page: number; readonly nominalVolts: number }
    | undefined;
  /** What holds or inverts it. */
  readonly faults: ArmedFault[];
  /** It is not taken from the rails. */
  readonly isSignal: boolean;
  says(): boolean;
}

export interface Chassis {
  readonly number: number;
  readonly rails: Rail[];
  /** By what tells of them. */
  readonly parts: Map<string, Part>;
  readonly resets: Net[];
  /** Whether the host shows what a reset is held for, by its net; of those that wait for the host. */
  readonly heldResets: Map<Net, () => boolean>;
  /** Of the front panel. */
  powerButton: Net | undefined;
  resetButton: Net | undefined;
  /** What pgood is taken from, in the order of the board. */
  pgoodSources: readonly PgoodSource[];
  /** One of them is enough. */
  readonly takesAny: boolean;
  /** What the BMC can see of pgood, and since when. */
  seen: boolean;
  seenSinceMs: number;
  /** All rails are good, and have been for the delay of pgood. */
  pgood: boolean;
  /** As of a rail. */
  pgoodSteered: boolean | null;
  /** When that was lost though the BMC wanted all of them. */
  failedAtMs: number;
  cancelPgood: () => void;
}

/** What a signal says under its faults, the one put in last having the last word. */
export function withFaults(faults: readonly ArmedFault[], asserted: boolean): boolean {
  let seen = asserted;
  for (const { fault } of faults) {
    const { does } = fault.effect;
    if (does === 'stuckOn') seen = true;
    else if (does === 'stuckOff') seen = false;
    else if (does === 'inverts') seen = !seen;
  }
  return seen;
}

/** The on bit of OPERATION (PMBus specification 1.3.1 part II, 12.1). */
export const OPERATION_ON_BIT = 0x80;

/** What the register reads, which a fault may hold against what was written. */
export function operationOf(page: Page): number {
  const isOn = (page.operation & OPERATION_ON_BIT) !== 0;
  if (withFaults(page.faults, isOn) === isOn) return page.operation;
  return isOn ? 0 : OPERATION_ON_BIT;
}

/** Where a net stands by all that drives it now. */
export function levelOf(net: Net): Level {
  if (net.held !== null) return net.held;
  const fromBmc = net.direction === 'out' ? net.driven : net.pull;
  const asserted =
    net.sources.length > 0 ? net.sources.every((source) => source()) : fromBmc === net.activeLevel;
  return withFaults(net.faults, asserted) ? net.activeLevel : opposite(net.activeLevel);
}

/** What the BMC drives it to: asserted or not. Null while the BMC leaves it alone. */
export function drivenOf(signal: Net | Page | Host): boolean | null {
  if (isHost(signal)) return signal.rails.every(({ wanted }) => wanted);
  if (isPage(signal)) return (signal.operation & OPERATION_ON_BIT) !== 0;
  return signal.direction === 'out' ? signal.driven === signal.activeLevel : null;
}

export function netAsserted(net: Net): boolean {
  return net.level === net.activeLevel;
}

export function isPage(signal: Net | Page | Host): signal is Page {
  return 'operation' in signal;
}

export function isHost(signal: Net | Page | Host): signal is Host {
  return 'button' in signal;
}

export function isAsserted(signal: Net | Page | Host): boolean {
  return isPage(signal) || isHost(signal) ? signal.level === 1 : netAsserted(signal);
}

/** Whether the rail is driven towards its voltage. */
export function delivers(rail: Rail): boolean {
  return isThere(rail.part) && rail.enabled && rail.needs.every(({ good }) => good);
}

/** What its enable says, or all that one that is only watched needs. A supply is always on. */
export function isEnabled({ enable, needs }: Rail): boolean {
  return enable === undefined ? needs.every(({ enabled }) => enabled) : isAsserted(enable);
}

/** Whether the BMC asked for all that it takes. */
export function isWanted({ enable, wanted, needs }: Rail): boolean {
  return enable === undefined ? needs.every(isWanted) : wanted;
}

/** Whether its voltage is too low though it should be there. */
export function isUnder(rail: Rail, nowMs: number): boolean {
  const { good, enable, needs, enabled, wasGood, enabledAtMs, riseMs } = rail;
  // Who watches a rail knows when it is due.
  const isDue = enable !== undefined || needs.every((need) => need.good);
  return enabled && !good && isDue && (wasGood || nowMs - enabledAtMs > riseMs);
}

export function voltsAt({ segment }: Rail, nowMs: number): number {
  const { atMs, fromVolts, toVolts, slope } = segment;
  if (!Number.isFinite(slope)) return toVolts;
  const volts = fromVolts + slope * (nowMs - atMs);
  return slope < 0 ? Math.max(volts, toVolts) : Math.min(volts, toVolts);
}

/** Time from one voltage to another, in whole microseconds so that equal ramps end together. */
export function travelMs(fromVolts: number, toVolts: number, voltsPerMs: number): number {
  if (fromVolts === toVolts || voltsPerMs === Number.POSITIVE_INFINITY) return 0;
  return Math.round((Math.abs(toVolts - fromVolts) / voltsPerMs) * 1000) / 1000;
}

export function opposite(level: Level): Level {
  return level === 1 ? 0 : 1;
}
