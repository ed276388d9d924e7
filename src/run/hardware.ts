import { errorText, HardwareError } from '../../hw/errors.ts';
import { createPmbusPage, type PmbusPage } from '../../hw/pmbus/pmbus.ts';
import type { Clock, GpioBackend, I2cBackend, I2cBus, InputLine, Level, OutputLine } from '../../hw/ports.ts';
import { pause } from '../../hw/waiting.ts';
import { type BoardLine, linesOf } from '../board/lines.ts';
import type { Board, GoodBoard, LineBoard, RailBoard } from '../board/schema.ts';
import type { Observation, SignalRef } from '../sequence/state.ts';
import { findLines } from './find-lines.ts';

/**
 * What the chassis is watched for: `switching`, power is in motion and every signal is waited for; `guarding`, it is on
 * and its loss has to be seen.
 */
export type Pace = 'switching' | 'guarding';

/** How often a signal is looked at that does not tell of a change by itself. */
interface Looks {
  readonly pgood: number;
  readonly good: number;
  /** Of a rail that is seen good only over PMBus. */
  readonly pmbus: number;
}
const LOOK_MS: Readonly<Record<Pace, Looks>> = {
  // Short against a ramp, long against a transfer.
  switching: { pgood: 10, good: 10, pmbus: 10 },
  // pgood tells of a loss first; a rail that goes while pgood stands does not take the host with it.
  guarding: { pgood: 10, good: 100, pmbus: 1_000 },
};
/** For somebody who only shows pgood. Whoever waits for it, or guards it, sets a pace that this one then has too. */
const SHOWN_LOOK_MS = 500;

/** Where a level may have changed: a rail by name, or null for pgood. */
export type Source = string | null;

/** A chassis as the sequence talks of it: rails, resets, pgood, asserted or not. */
export interface ChassisHardware {
  /** The number of the chassis in its board. */
  readonly chassis: number;
  /** Reads everything, changes nothing. Never rejects: what cannot be read is among `unreadable`. */
  observe(): Promise<Observed>;
  /** Switches a rail. Rejects with a HardwareError, with `readBack` in its details where the rail reads otherwise. */
  driveEnable(rail: string, asserted: boolean): Promise<void>;
  driveReset(reset: string, asserted: boolean): Promise<void>;
  /** Asserts the latch for the board's pulseMs. */
  pulseLatch(): Promise<void>;
  /** The good signal of a rail, or pgood for null. A rail without a signal is as good as its enable. */
  readGood(source: Source): Promise<boolean>;
  /**
   * Calls `wake` for every good signal once the watch stands, and when it may have changed; `pace` says how often those
   * are looked at that raise no interrupts. Returns the function that ends it.
   */
  watch(wake: (source: Source) => void, pace: Pace): () => void;
  /** The same for pgood alone, for somebody who shows it and acts on nothing. */
  watchPgood(wake: () => void): () => void;
  /** STATUS_WORD and output voltage of every PMBus page and evidence device; never rejects. */
  evidence(): Promise<Evidence[]>;
  /** Gives all lines and buses back; levels stand. */
  close(): Promise<void>;
}

export interface Observed {
  /**
   * What could not be read is taken for what leaves most to be done by a power-off: an enable for asserted,
   * a good signal for not good, a reset for released.
   */
  readonly observation: Observation;
  readonly unreadable: readonly Unreadable[];
}

/** A signal that could not be read. */
export interface Unreadable extends SignalRef {
  /** Names the signal and not the chassis: one clause of a message that does. */
  readonly reason: string;
  /** To be thrown: names the chassis as well. */
  readonly error: HardwareError;
}

/** What a PMBus device said after a fault. */
export interface Evidence {
  readonly device: string;
  readonly page: number;
  readonly statusWord: number | null;
  readonly voutVolts: number | null;
  /** Why a register could not be read, null when all were. */
  readonly error: string | null;
}

export interface HardwarePorts {
  readonly gpio: () => Promise<GpioBackend>;
  /** Asked for only when the chassis has a PMBus device. */
  readonly i2c: () => Promise<I2cBackend>;
  readonly clock: Clock;
}

/** The one place where active level is applied: asserted is high for `active: high`, low for `active: low`. */
function levelFor(line: LineBoard, asserted: boolean): Level {
  return asserted === (line.active === 'high') ? 1 : 0;
}
function assertedAt(line: LineBoard, level: Level): boolean {
  return level === levelFor(line, true);
}

type VoutGood = Extract<GoodBoard, { pmbus: string }>;
type PmbusEnable = Extract<RailBoard['enable'], { pmbus: string }>;

interface Switch {
  read(): Promise<boolean>;
  write(asserted: boolean): Promise<void>;
}
interface Signal {
  read(): Promise<boolean>;
  watch(wake: () => void, looks: Looks, of: 'pgood' | 'good'): () => void;
}

/** The same error with `where` it hit in front of its message, and `details` beside its own. */
function located(error: HardwareError, where: string, details: Record<string, unknown>): HardwareError {
  return new HardwareError(
    error.code,
    `${where}: ${error.message}`,
    { ...error.details, ...details },
    { cause: error },
  );
}

/** Says which role of the chassis a hardware error hit. */
async function inRole<T>(role: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    throw error instanceof HardwareError ? located(error, role, { role }) : error;
  }
}

/**
 * Opens every line and device of a chassis before anything is driven. All lines of the board are looked for first, and
 * none is opened where two of them, of whatever chassis, are one: `GPIO_SHARED`. When parts cannot be had the
 * others are given back and the error tells chassis and role of all of them; nothing was changed.
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
  const closers: (() => Promise<void>)[] = [];
  const buses = new Map<number | string, Promise<I2cBus>>();
  const pages = new Map<string, Promise<PmbusPage>>();

  const close = async (): Promise<void> => {
    for (const closer of closers.splice(0).reverse()) await closer();
  };

  const openBus = (bus: number | string): Promise<I2cBus> => {
    const open = async (): Promise<I2cBus> => {
      const opened = await (await ports.i2c()).openBus(bus);
      closers.push(() => opened.close());
      return opened;
    };
    const known = buses.get(bus) ?? open();
    buses.set(bus, known);
    return known;
  };

  const openPage = (name: string, page: number): Promise<PmbusPage> => {
    const open = async (): Promise<PmbusPage> => {
      const device = board.devices[name];
      if (!device) throw new RangeError(`device ${name} is not in the board`);
      return createPmbusPage({
        bus: await openBus(device.bus),
        address: Number(device.address),
        page,
        ...(device.vout ? { vout: device.vout } : {}),
      });
    };
    const key = `${name}/${page}`;
    const known = pages.get(key) ?? open();
    pages.set(key, known);
    return known;
  };

  /** What could not be had, in the order of the board. */
  const missing: HardwareError[] = [];
  /** `open`, or a part that rejects for the reason it could not be opened. */
  const orBroken = async <Part>(
    open: () => Promise<Part>,
    broken: (reject: () => Promise<never>) => Part,
  ) => {
    try {
      return await open();
    } catch (error) {
      if (!(error instanceof HardwareError)) throw error;
      missing.push(error);
      return broken(() => Promise.reject(error));
    }
  };
  const brokenSwitch = (reject: () => Promise<never>): Switch => ({ read: reject, write: reject });
  const brokenSignal = (reject: () => Promise<never>): Signal => ({
    read: reject,
    watch: () => () => undefined,
  });

  let troubles: ReadonlyMap<string, HardwareError> = new Map();
  /** To open the line of a role with, unless that has turned out to be impossible already. */
  const gpioFor = async (role: string): Promise<GpioBackend> => {
    const trouble = troubles.get(role);
    if (trouble !== undefined) throw trouble;
    return ports.gpio();
  };

  const openSwitch = async (role: string, line: LineBoard): Promise<Switch> => {
    const output = await inRole<OutputLine>(role, async () => (await gpioFor(role)).openOutput(line));
    closers.push(() => output.close());
    return {
      read: () => inRole(role, async () => assertedAt(line, await output.read())),
      write: (asserted) => inRole(role, () => output.write(levelFor(line, asserted))),
    };
  };

  const openSignal = async (role: string, line: LineBoard): Promise<Signal> => {
    const input = await inRole<InputLine>(role, async () => (await gpioFor(role)).openInput(line));
    closers.push(() => input.close());
    return {
      read: () => inRole(role, async () => assertedAt(line, await input.read())),
      watch: (wake, looks, of) => input.onEdge(wake, { lookMs: looks[of] }),
    };
  };

  const openOperation = async (role: string, enable: PmbusEnable): Promise<Switch> => {
    const page = await inRole(role, () => openPage(enable.pmbus, enable.page));
    return {
      read: () => inRole(role, () => page.readEnabled()),
      write: (asserted) => inRole(role, () => page.operation(asserted)),
    };
  };

  const openVoutSignal = async (role: string, good: VoutGood): Promise<Signal> => {
    const page = await inRole(role, () => openPage(good.pmbus, good.page));
    return {
      read: () =>
        inRole(role, async () => {
          const { powerGood, voutVolts } = await page.readOutput();
          return (
            powerGood &&
            voutVolts >= good.minVolts &&
            voutVolts <= (good.maxVolts ?? Number.POSITIVE_INFINITY)
          );
        }),
      watch: (wake, { pmbus }) => {
        let cancel = ports.clock.after(pmbus, poll);
        function poll(): void {
          wake();
          cancel = ports.clock.after(pmbus, poll);
        }
        return () => cancel();
      },
    };
  };

  try {
    troubles = await troublesOf(board, number, ports, whatCanBeHad);
    const enables = new Map<string, Switch>();
    const goods = new Map<string, Signal>();
    const resets = new Map<string, Switch>();
    for (const [rail, { enable, good }] of Object.entries(chassis.rails)) {
      const role = `enable of rail ${rail}`;
      const openEnable = () => ('pmbus' in enable ? openOperation(role, enable) : openSwitch(role, enable));
      enables.set(rail, await orBroken(openEnable, brokenSwitch));
      if (!good) continue;
      const goodRole = `good signal of rail ${rail}`;
      const openGood = () => ('pmbus' in good ? openVoutSignal(goodRole, good) : openSignal(goodRole, good));
      goods.set(rail, await orBroken(openGood, brokenSignal));
    }
    const pgood = await orBroken(() => openSignal('pgood', chassis.pgood), brokenSignal);
    for (const [reset, line] of Object.entries(chassis.resets)) {
      resets.set(reset, await orBroken(() => openSwitch(`reset ${reset}`, line), brokenSwitch));
    }
    const { latch: latchLine } = chassis;
    const latch = latchLine && (await orBroken(() => openSwitch('latch', latchLine), brokenSwitch));
    const [refused] = missing;
    if (refused !== undefined && !whatCanBeHad) throw together(missing, refused);
    const evidenceDevices = new Map<string, [device: string, page: number]>();
    const addEvidence = (device: string, page: number) =>
      evidenceDevices.set(`${device}/${page}`, [device, page]);
    for (const { enable, good } of Object.values(chassis.rails)) {
      for (const part of [enable, good]) if (part && 'pmbus' in part) addEvidence(part.pmbus, part.page);
    }
    for (const device of chassis.evidence) addEvidence(device, 0);

    const enableOf = (rail: string): Switch => {
      const found = enables.get(rail);
      if (!found) throw new RangeError(`no rail ${rail}`);
      return found;
    };
    const readGood = async (source: Source): Promise<boolean> => {
      if (source === null) return pgood.read();
      const signal = goods.get(source);
      return signal ? signal.read() : enableOf(source).read();
    };

    return {
      chassis: number,
      async observe() {
        const unreadable: Unreadable[] = [];
        const orAssumed = async (
          signal: SignalRef['signal'],
          rail: string | null,
          assumed: boolean,
          read: () => Promise<boolean>,
        ) => {
          try {
            return await read();
          } catch (error) {
            if (!(error instanceof HardwareError)) throw error;
            unreadable.push({ signal, rail, reason: error.message, error: ofChassis(error) });
            return assumed;
          }
        };
        const rails: Record<string, { enabled: boolean; good: boolean }> = {};
        for (const rail of Object.keys(chassis.rails)) {
          const enabled = await orAssumed('enable', rail, true, () => enableOf(rail).read());
          const good = goods.has(rail) ? await orAssumed('good', rail, false, () => readGood(rail)) : enabled;
          rails[rail] = { enabled, good };
        }
        const resetsAsserted: Record<string, boolean> = {};
        for (const [reset, output] of resets) {
          resetsAsserted[reset] = await orAssumed('reset', null, false, () => output.read());
        }
        const observation = {
          rails,
          pgood: await orAssumed('pgood', null, false, () => pgood.read()),
          resetsAsserted,
        };
        if (unreadable.length === 0) return { observation, unreadable };
        const unread = unreadable.map(({ signal, rail }) => ({ signal, rail }));
        return { observation: { ...observation, unread }, unreadable };
      },
      driveEnable: (rail, asserted) => enableOf(rail).write(asserted),
      async driveReset(reset, asserted) {
        await resets.get(reset)?.write(asserted);
      },
      async pulseLatch() {
        if (!latch || !chassis.latch) return;
        const { pulseMs } = chassis.latch;
        try {
          await latch.write(true);
          await pause(ports.clock, pulseMs);
        } finally {
          // Also after a write that failed: it may have reached the line all the same.
          await latch.write(false);
        }
      },
      readGood,
      watchPgood: (wake) => pgood.watch(wake, { ...LOOK_MS.guarding, pgood: SHOWN_LOOK_MS }, 'pgood'),
      watch(wake, pace) {
        const ends = [pgood.watch(() => wake(null), LOOK_MS[pace], 'pgood')];
        for (const [rail, signal] of goods) ends.push(signal.watch(() => wake(rail), LOOK_MS[pace], 'good'));
        return () => {
          for (const end of ends) end();
        };
      },
      async evidence() {
        const found: Evidence[] = [];
        for (const [device, page] of evidenceDevices.values()) {
          found.push(await readEvidence(device, page, () => openPage(device, page)));
        }
        return found;
      },
      close,
    };
  } catch (error) {
    await close();
    throw error instanceof HardwareError ? ofChassis(error) : error;
  }
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

async function readEvidence(device: string, page: number, open: () => Promise<PmbusPage>): Promise<Evidence> {
  const errors: string[] = [];
  // A register that cannot be read is itself evidence, and must not hide the others.
  const tryRead = async (read: () => Promise<number>): Promise<number | null> => {
    try {
      return await read();
    } catch (error) {
      errors.push(errorText(error));
      return null;
    }
  };
  const statusWord = await tryRead(async () => (await open()).statusWord());
  // A device that does not even answer STATUS_WORD costs no second deadline.
  const voutVolts = statusWord === null ? null : await tryRead(async () => (await open()).readVoutVolts());
  return { device, page, statusWord, voutVolts, error: errors.length === 0 ? null : errors.join('; ') };
}
