import { HardwareError, isHang } from '../../hw/errors.ts';
import type { Clock } from '../../hw/ports.ts';
import { pause } from '../../hw/waiting.ts';
import { type BoardLine, linesOf } from '../board/lines.ts';
import type { Board, ChassisBoard } from '../board/schema.ts';
import type { Press } from '../sequence/events.ts';
import { chassisWithout, type Parts, partsWithout } from './chassis-parts.ts';
import { type Evidence, readEvidence } from './evidence.ts';
import { findLines } from './find-lines.ts';
import { type Observed, observeParts } from './observe.ts';
import { type Missing, openParts } from './open-parts.ts';
import {
  createPartOpener,
  type HardwarePorts,
  located,
  type Paces,
  type PartOpener,
  type Presence,
  repeat,
  type Setup,
  type Signal,
  type Switch,
} from './parts.ts';
import { type Asked, askedFor, readTogether } from './power-good.ts';

/**
 * What the chassis is watched for: `switching`, power is in motion and every signal is waited for; `guarding`, it is on
 * and its loss has to be seen.
 */
export type Pace = 'switching' | 'guarding';

/** How often a signal is looked at that does not tell of a change by itself. */
const PACES: Readonly<Record<Pace, Paces>> = {
  // Short against a ramp, long against a transfer.
  switching: { pgood: 10, good: 10, pmbus: 10, pgoodAsked: 10 },
  // A chassis is on for months. pgood tells of a loss first; a rail that goes while pgood stands does not take the host with it.
  guarding: { pgood: 50, good: 1_000, pmbus: 1_000, pgoodAsked: 100 },
};
/** For somebody who only shows pgood. Whoever waits for it, or guards it, sets a pace that this one then has too. */
const SHOWN: Paces = { pgood: 500, good: 500, pmbus: 500, pgoodAsked: 500 };
/** The same where the line tells by interrupts: how late a change is shown at most whose interrupt got lost. */
const SHOWN_CHECK_MS = 5_000;

/** Where a level may have changed: a rail by name, or null for pgood. */
export type Source = string | null;

/** A chassis as the sequence talks of it: rails, resets, pgood, asserted or not. */
export interface ChassisHardware {
  /** The number of the chassis in its board. */
  readonly chassis: number;
  /** Reads everything, changes nothing. Never rejects: what cannot be read is among `unreadable`. */
  observe(): Promise<Observed>;
  /** Of each rail with a presence: whether its part is there, or why that could not be read. Never rejects. */
  presence(): Promise<ReadonlyMap<string, boolean | HardwareError>>;
  /**
   * The chassis without the rails whose parts are absent: nothing is read of them, and they can only be driven off. Lines that
   * came with the part of another rail are looked for again. Rejects with a HardwareError where they cannot be had, unless the
   * chassis was opened with `whatCanBeHad`.
   */
  without(absent: readonly string[]): Promise<ChassisHardware>;
  /**
   * Lets go of every power button, and of the host reset, that a process which is gone left asserted. Returns their roles.
   * Rejects with a HardwareError.
   */
  letGo(): Promise<readonly string[]>;
  /**
   * Switches a rail; its page is told what the board says before it is switched on, and a rail that takes none of it stays off.
   * Rejects with a HardwareError, with `readBack` in its details where the rail reads otherwise. A device
   * without power is off: it is not told so, and one that loses its power meanwhile is off as well.
   * @param press how a power button does it; `abandoned` has it let go at once
   */
  driveEnable(rail: string, asserted: boolean, press?: Press, abandoned?: AbortSignal): Promise<void>;
  driveReset(reset: string, asserted: boolean): Promise<void>;
  /** Asserts the latch for the board's pulseMs. */
  pulseLatch(): Promise<void>;
  /** Asserts the host reset for the board's pulseMs, or until `abandoned`. Rejects with a HardwareError; the line is let go all the same. */
  pulseHostReset(abandoned: AbortSignal): Promise<void>;
  /**
   * The good signal of a rail, or pgood for null. A rail without a signal is as good as its enable. What a device would
   * show that has no power is not good, and the device is not asked.
   */
  readGood(source: Source): Promise<boolean>;
  /** Of several signals of pgood, by their names, those that `readGood` found missing last. */
  pgoodLacks(): readonly string[];
  /** Whether `readGood` asks a device or a chip, and so may take the deadline of a transfer. */
  asksBus(source: Source): boolean;
  /** Whether what shows the rail still tells, when it is off, what became of it, as a PMBus device does. */
  remembers(rail: string): boolean;
  /**
   * Calls `wake` for every good signal once the watch stands, and when it may have changed; `pace` says how often those
   * are looked at that raise no interrupts. Returns the function that ends it.
   */
  watch(wake: (source: Source) => void, pace: Pace): () => void;
  /** Whether the host sleeps, by its sleep state (`Plan.sleep`). Rejects with a HardwareError. */
  readSleep(): Promise<boolean>;
  /** Calls `wake` once the watch stands, and when that may have changed. Returns the function that ends it. */
  watchSleep(wake: () => void): () => void;
  /** The same for pgood alone, for somebody who shows it and acts on nothing. */
  watchPgood(wake: () => void): () => void;
  /**
   * Status and output voltage of every PMBus page and evidence device that has power, and every voltage that a kernel driver
   * reads; never rejects.
   * @param rail that failed, null where none did
   */
  evidence(rail: string | null): Promise<Evidence[]>;
  /** The same with the limits of every page, of a chassis of which nothing failed; never rejects. */
  telemetry(): Promise<Evidence[]>;
  /** Gives all lines and buses back; levels stand. */
  close(): Promise<void>;
}

/**
 * Opens every line and device of a chassis before anything is driven. All lines of the board are looked for first, and
 * none is opened where two of them, of whatever chassis, are one: `GPIO_SHARED`. When parts cannot be had the
 * others are given back and the error tells chassis and role of all of them; nothing was changed. Parts of rails that may be
 * absent are missed once it is known that these are there, by `without`. A line whose chip hangs is no part that cannot be had:
 * reading it says so, as of a device on a bus that hangs, until the chip answers.
 *
 * With `whatCanBeHad`, for a power-off, a part that cannot be opened is no reason to leave the others on: it
 * is taken into the chassis all the same, and reading or driving it rejects with what was wrong.
 */
export async function openChassis(
  board: Board,
  number: number,
  ports: HardwarePorts,
  { whatCanBeHad = false }: { readonly whatCanBeHad?: boolean } = {},
): Promise<ChassisHardware> {
  const chassis = board.chassis[number];
  if (!chassis) throw new RangeError(`chassis ${number} is not in the board`);
  const ofChassis = (error: HardwareError) => located(error, `chassis ${number}`, { chassis: number });
  let troubles: ReadonlyMap<string, HardwareError> = new Map();
  const opener = createPartOpener(board, ports, (role) => troubles.get(role));
  try {
    troubles = await troublesOf(board, number, ports, whatCanBeHad);
    const { parts, missing } = await openParts(chassis, opener, ports.clock);
    const isOptional = ({ rail }: Missing) => rail !== null && chassis.rails[rail]?.presence !== undefined;
    if (!whatCanBeHad) expectAll(missing.filter((each) => !isOptional(each) && !isHang(each.error)));
    let late = missing.filter(isOptional);
    const lookFor = async (rails: readonly string[]): Promise<void> => {
      const isMeant = ({ rail }: Missing) => rail !== null && rails.includes(rail);
      if (whatCanBeHad || !late.some(isMeant)) return;
      troubles = await troublesOf(board, number, ports, whatCanBeHad);
      const left: Missing[] = [];
      for (const each of late) {
        const error = isMeant(each) ? await each.lookAgain() : each.error;
        if (error !== null) left.push({ ...each, error });
      }
      late = left;
      expectAll(late.filter(isMeant));
    };
    const whole = { chassis, devices: board.devices };
    const hardware = (absent: readonly string[]): ChassisHardware => ({
      ...hardwareOf(
        number,
        chassisWithout(whole, absent),
        partsWithout(parts, absent),
        opener,
        ports,
        ofChassis,
      ),
      presence: () => readPresences(parts.presences, ofChassis),
      async without(leftOut) {
        try {
          await lookFor(parts.rails.filter((rail) => !leftOut.includes(rail)));
        } catch (error) {
          throw error instanceof HardwareError ? ofChassis(error) : error;
        }
        return hardware(leftOut);
      },
    });
    return hardware([]);
  } catch (error) {
    await opener.close();
    throw error instanceof HardwareError ? ofChassis(error) : error;
  }
}

function hardwareOf(
  number: number,
  { chassis, devices }: { readonly chassis: ChassisBoard; readonly devices: Board['devices'] },
  parts: Parts,
  opener: PartOpener,
  { clock }: HardwarePorts,
  ofChassis: (error: HardwareError) => HardwareError,
): Omit<ChassisHardware, 'presence' | 'without'> {
  const { enables, goods, resets, pgood, latch, hostReset, awake, setups } = parts;
  const enableOf = (rail: string): Switch => {
    const found = enables.get(rail);
    if (!found) throw new RangeError(`no rail ${rail}`);
    return found;
  };
  const signalOf = (rail: string) => goods.get(rail) ?? enableOf(rail);
  const power = powerOf(parts, latch !== undefined);
  const { hasPower, read, readPgood, lacks } = power;
  const missingPowerOf = missingPowerIn(devices, hasPower);
  /** Rails that were read to be enabled, or were told so since. */
  const enabled = new Set<string>();
  /** Rails whose enable could not be read. */
  const doubtful = new Set<string>();
  const isTold = (rail: string) => enabled.has(rail) || doubtful.has(rail);
  const mayHear = hearingIn(chassis, parts, power, isTold);
  /** Of rails that were told to go off: the voltage that they were last seen with while they were on. */
  const voltsBefore = new Map<string, number | null>();
  const watched = [...goods.keys()].filter((name) => !enables.has(name));
  return {
    chassis: number,
    async observe() {
      const observed = await observeStarted(chassis, parts, ofChassis, clock);
      enabled.clear();
      doubtful.clear();
      for (const { signal, rail } of observed.unreadable) {
        if (signal === 'enable' && rail !== null) doubtful.add(rail);
      }
      for (const [rail, seen] of Object.entries(observed.observation.rails)) {
        if (seen.enabled && enables.has(rail) && !doubtful.has(rail)) enabled.add(rail);
      }
      return observed;
    },
    letGo: () => letGoOf(parts),
    async driveEnable(rail, asserted, press, abandoned) {
      const left = asserted ? undefined : parts.absent.get(rail);
      if (left !== undefined) return driveLeftOut(left, mayHear);
      const enable = enableOf(rail);
      const setup = asserted ? setups.get(rail) : undefined;
      if (setup !== undefined) await setUpRail(rail, setup, chassis, (need) => read(signalOf(need)));
      if (asserted) enabled.add(rail);
      if (asserted || enabled.delete(rail)) noteVolts(rail, asserted, voltsBefore, goods, watched);
      const { poweredBy } = enable;
      if (asserted || poweredBy === null) return enable.write(asserted, press, abandoned);
      if (await mayHear(poweredBy)) await driveOff(enable, () => hasPower(poweredBy));
    },
    async driveReset(reset, asserted) {
      await resets.get(reset)?.write(asserted);
    },
    async pulseLatch() {
      const { pulseMs } = chassis.latch ?? {};
      if (latch !== undefined && pulseMs !== undefined) await pulse(latch, () => pause(clock, pulseMs));
    },
    async pulseHostReset(abandoned) {
      const { pulseMs } = chassis.hostReset ?? {};
      if (hostReset === undefined || pulseMs === undefined) throw new RangeError('no host reset');
      await pulse(hostReset, () => pause(clock, pulseMs, abandoned));
    },
    readGood: async (source) => (source === null ? readPgood() : read(signalOf(source))),
    pgoodLacks: lacks,
    asksBus: (source) =>
      (source === null ? askedFor(pgood.whole) : [signalOf(source)]).some(({ bus }) => bus !== null),
    remembers: (rail) => goods.get(rail)?.remembers ?? false,
    ...sleepOf(awake),
    watchPgood: (wake) => watchPgood(parts, clock, wake, SHOWN, SHOWN_CHECK_MS),
    watch: (wake, pace) => watchAll(parts, clock, wake, PACES[pace]),
    evidence: (rail) => readEvidence(chassis, opener, { rail, voltsBefore }, missingPowerOf, clock),
    telemetry: () => readEvidence(chassis, opener, null, missingPowerOf, clock),
    close: () => opener.close(),
  };
}

/** A host of which nothing shows whether it sleeps is awake. */
function sleepOf(awake: Signal | null): Pick<ChassisHardware, 'readSleep' | 'watchSleep'> {
  return {
    readSleep: async () => awake !== null && !(await awake.read()),
    // It comes some milliseconds before the loss that it explains.
    watchSleep: (wake) => awake?.watch(wake, PACES.switching, 'pgood') ?? (() => undefined),
  };
}

/** Watches every good signal. A rail that pgood is taken from is told of before it: it says more. */
function watchAll(parts: Parts, clock: Clock, wake: (source: Source) => void, paces: Paces): () => void {
  const wakeOf = (rail: string | null): void => {
    if (rail !== null) wake(rail);
    wake(null);
  };
  const ends = [watchPgood(parts, clock, wakeOf, paces)];
  for (const [rail, signal] of parts.goods) {
    if (!parts.pgood.rails.has(rail)) ends.push(signal.watch(() => wake(rail), paces, 'good'));
  }
  return () => {
    for (const end of ends) end();
  };
}

/** Watches all that pgood is taken from. `wake` is told the rail that may have changed, null for a signal of its own. */
function watchPgood(
  { enables, goods, pgood }: Parts,
  clock: Clock,
  wake: (rail: string | null) => void,
  paces: Paces,
  checkMs?: number,
): () => void {
  const ends = pgood.own.map((signal) => signal.watch(() => wake(null), paces, 'pgood', checkMs));
  for (const rail of pgood.rails) {
    const signal = goods.get(rail);
    const wakeRail = () => wake(rail);
    if (signal !== undefined) ends.push(signal.watch(wakeRail, paces, 'pgood', checkMs));
    // What an enable reads raises no interrupts.
    else if (enables.has(rail)) ends.push(repeat(clock, paces.pgoodAsked, wakeRail));
  }
  return () => {
    for (const end of ends) end();
  };
}

/**
 * Reads all parts, and once more where all that cannot be read is devices that acknowledge nothing while they start, before
 * the rail that powers them has settled: somebody may have raised it just now.
 */
async function observeStarted(
  { rails }: ChassisBoard,
  parts: Parts,
  ofChassis: (error: HardwareError) => HardwareError,
  clock: Pick<Clock, 'after'>,
): Promise<Observed> {
  const observe = () => observeParts(parts, ofChassis, parts.latch !== undefined);
  const observed = await observe();
  const settles = observed.unreadable.map(({ signal, rail, error }) => {
    const part = rail === null ? undefined : (signal === 'good' ? parts.goods : parts.enables).get(rail);
    const power = part?.poweredBy ?? null;
    return error.code === 'I2C_NO_DEVICE' && power !== null ? (rails[power]?.settleMs ?? 0) : 0;
  });
  if (settles.length === 0 || settles.includes(0)) return observed;
  await pause(clock, Math.max(...settles));
  return observe();
}

/** Keeps the voltage of a rail that goes off, and of all that is only watched with the first that does. */
function noteVolts(
  rail: string,
  asserted: boolean,
  voltsBefore: Map<string, number | null>,
  goods: Parts['goods'],
  watched: readonly string[],
): void {
  for (const name of [rail, ...watched]) {
    const signal = goods.get(name);
    if (signal === undefined) continue;
    if (asserted) voltsBefore.delete(name);
    else if (name === rail || !voltsBefore.has(name)) voltsBefore.set(name, signal.lastVolts?.() ?? null);
  }
}

/** What is only watched is switched on with all that it needs. */
function isSwitchedOn(chassis: ChassisBoard, rail: string, isEnabled: (rail: string) => boolean): boolean {
  const { enable, needs = [] } = chassis.rails[rail] ?? {};
  return enable ? isEnabled(rail) : needs.every((need) => isSwitchedOn(chassis, need, isEnabled));
}

/** Who has power, of what rails power. */
interface Power {
  /** The rail is good. One that cannot be read is taken to be, and one without a signal is as good as its enable and what it needs. */
  hasPower(rail: string): Promise<boolean>;
  /** Asserted or not; never asserted where the device has no power, or has lost it by the time that it does not answer. */
  read(part: Asked): Promise<boolean>;
  readPgood(): Promise<boolean>;
  /** Where pgood is several parts: those that were not asserted when it was read last. */
  lacks(): readonly string[];
}

/** @param isLatched enables stand though their lines read otherwise: pgood then tells of rails without a signal */
function powerOf(parts: Parts, isLatched: boolean): Power {
  const { pgood, needs } = parts;
  // A rail that is left out may have power all the same.
  const goods = new Map([...parts.goods, ...parts.absentGoods]);
  const enables = new Map([...parts.enables, ...parts.absent]);
  const isSupplied = async (rail: string): Promise<boolean> => {
    for (const need of needs.get(rail) ?? []) if (!(await hasPower(need))) return false;
    return true;
  };
  // The check refuses a board on which this has no end: there pgood would hang on a rail that is asked of pgood.
  const hasPower = async (rail: string): Promise<boolean> => {
    const good = goods.get(rail);
    return mayBeAsserted(async () => {
      if (good !== undefined) return read(good);
      const enable = enables.get(rail);
      if (enable === undefined) throw new RangeError(`nothing tells of rail ${rail}`);
      const isOn = (await read(enable)) && (await isSupplied(rail));
      return isOn || (isLatched && (await readPgood()));
    });
  };
  const read = async (part: Asked): Promise<boolean> => {
    const { poweredBy } = part;
    if (poweredBy === null) return part.read();
    if (!(await hasPower(poweredBy))) return false;
    try {
      return await part.read();
    } catch (error) {
      if (!isSilence(error) || (await hasPower(poweredBy))) throw error;
      return false;
    }
  };
  let missing: readonly string[] = [];
  const readPgood = async (): Promise<boolean> => {
    const lacking: string[] = [];
    const isGood = await readTogether(pgood.whole, async (part) => {
      const isAsserted = await read(part);
      if (!isAsserted) lacking.push(part.role);
      return isAsserted;
    });
    missing = isGood || askedFor(pgood.whole).length === 1 ? [] : lacking;
    return isGood;
  };
  return { hasPower, read, readPgood, lacks: () => missing };
}

/**
 * Whether what a rail powers may hear that it is to go off. One that is enabled may only seem to be lost, and the part of one that
 * is left out may only seem to be absent: nobody knows of that but its own signals.
 */
function hearingIn(
  chassis: ChassisBoard,
  parts: Parts,
  { hasPower, read }: Power,
  isTold: (rail: string) => boolean,
): (rail: string) => Promise<boolean> {
  return async (rail) => {
    const left = parts.absent.get(rail);
    const isOn =
      left === undefined
        ? parts.rails.includes(rail) && isSwitchedOn(chassis, rail, isTold)
        : await mayBeAsserted(() => read(left));
    return isOn || (await hasPower(rail));
  };
}

/** Of a device: the rail without which it has no power now; null where it has. */
function missingPowerIn(devices: Board['devices'], hasPower: Power['hasPower']) {
  return async (device: string): Promise<string | null> => {
    const rail = devices[device]?.poweredBy;
    return rail === undefined || (await hasPower(rail)) ? null : rail;
  };
}

/** Asserts a line for as long as `meanwhile` takes. */
async function pulse(line: Switch, meanwhile: () => Promise<unknown>): Promise<void> {
  try {
    await line.write(true);
    await meanwhile();
  } finally {
    // Also after a write that failed: it may have reached the line all the same.
    await line.write(false);
  }
}

/** Lets go of what is asserted. Returns the roles. */
async function letGoOf({ pulses, hostReset }: Parts): Promise<string[]> {
  const left: string[] = [];
  for (const [rail, button] of pulses) if (await button.letGo()) left.push(`power button of rail ${rail}`);
  if (hostReset !== undefined && (await hostReset.read())) {
    await hostReset.write(false);
    left.push(hostReset.role);
  }
  return left;
}

/** Tells the page of a rail what the board says. The bus may be waited for: what the rail needs is read again then. */
async function setUpRail(
  rail: string,
  setup: Setup,
  { rails }: ChassisBoard,
  isGood: (need: string) => Promise<boolean>,
): Promise<void> {
  await setup.setUp();
  for (const need of rails[rail]?.needs ?? []) {
    if (await isGood(need)) continue;
    throw new HardwareError(
      'I2C_FAILED',
      `set-up of rail ${rail}: ${need}, which ${rail} needs, was lost meanwhile, and ${rail} was not enabled`,
      { role: `set-up of rail ${rail}`, need },
    );
  }
}

/** What cannot be read may be asserted. */
async function mayBeAsserted(read: () => Promise<boolean>): Promise<boolean> {
  try {
    return await read();
  } catch (error) {
    if (error instanceof HardwareError) return true;
    throw error;
  }
}

/** Switches off what may lose its power meanwhile, which comes to the same. */
async function driveOff(enable: Switch, hasPower: () => Promise<boolean>): Promise<void> {
  try {
    await enable.write(false);
  } catch (error) {
    if (!isSilence(error) || (await hasPower())) throw error;
  }
}

/** The enable of a part that is absent. A device that does not answer is absent as well, and one that has no power is off. */
async function driveLeftOut(enable: Switch, mayHear: (power: string) => Promise<boolean>): Promise<void> {
  const { poweredBy } = enable;
  if (poweredBy !== null && !(await mayHear(poweredBy))) return;
  try {
    await enable.write(false);
  } catch (error) {
    if (!(error instanceof HardwareError) || error.code !== 'I2C_NO_DEVICE') throw error;
  }
}

/** One after the other; those that other processes tell all at once, so that one that hangs is waited for once. */
async function readPresences(
  presences: Parts['presences'],
  ofChassis: (error: HardwareError) => HardwareError,
): Promise<ReadonlyMap<string, boolean | HardwareError>> {
  const seen = new Map<Presence, boolean | HardwareError>();
  const look = async (presence: Presence): Promise<void> => {
    try {
      seen.set(presence, await presence.read());
    } catch (error) {
      if (!(error instanceof HardwareError)) throw error;
      seen.set(presence, ofChassis(error));
    }
  };
  const all = [...new Set(presences.values())];
  const inTurn = async (): Promise<void> => {
    for (const presence of all) if (!presence.isTold) await look(presence);
  };
  await Promise.all([inTurn(), ...all.filter(({ isTold }) => isTold).map(look)]);
  return new Map([...presences].map(([rail, presence]) => [rail, seen.get(presence) ?? false]));
}

/** Throws what could not be had as one error. */
function expectAll(missing: readonly Missing[]): void {
  const errors = missing.map(({ error }) => error);
  const [first] = errors;
  if (first !== undefined) throw together(errors, first);
}

/** What becomes of a transfer with a device that has lost its power, or is losing it. One that answered had some. */
function isSilence(error: unknown): boolean {
  return error instanceof HardwareError && error.details.readBack !== true;
}

/**
 * Why lines of a chassis must not be opened, by their roles.
 * @param whatCanBeHad that none can be looked for, and that two are one, is no reason to stop
 */
async function troublesOf(
  board: Board,
  number: number,
  ports: HardwarePorts,
  whatCanBeHad: boolean,
): Promise<ReadonlyMap<string, HardwareError>> {
  const own = (line: BoardLine | null) => (line?.chassis === number ? [line.role] : []);
  try {
    const troubles = await findLines(board, await ports.gpio());
    const shared = troubles.filter(({ other }) => other !== null).map(({ error }) => error);
    const [first] = shared;
    if (first !== undefined && !whatCanBeHad) throw together(shared, first);
    return new Map(
      troubles.flatMap(({ line, other, error }) =>
        [...own(line), ...own(other)].map((role) => [role, error] as const),
      ),
    );
  } catch (error) {
    if (!whatCanBeHad || !(error instanceof HardwareError)) throw error;
    // A machine without GPIO: what is switched over PMBus can still be switched.
    return new Map(linesOf(board).flatMap((line) => own(line).map((role) => [role, error] as const)));
  }
}

/** All that could not be had as one error, with the code of the first. */
function together(missing: readonly HardwareError[], first: HardwareError): HardwareError {
  if (missing.length === 1) return first;
  const parts = missing.map(({ code, message, details }) => ({ code, message, role: details.role }));
  return new HardwareError(
    first.code,
    `${missing.length} parts cannot be had: ${parts.map(({ message }) => message).join('; ')}`,
    { ...first.details, parts },
    { cause: first },
  );
}
