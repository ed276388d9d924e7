import { CodedError, HardwareError, isHang } from '../../hw/errors.ts';
import { createPmbusPage, type PmbusPage } from '../../hw/pmbus/pmbus.ts';
import { VOUT_SETTINGS } from '../../hw/pmbus/settings.ts';
import type {
  Clock,
  GpioBackend,
  I2cBackend,
  I2cBus,
  InputLine,
  Level,
  OutputLine,
  PropertyBackend,
  PropertyRef,
  SensorBackend,
} from '../../hw/ports.ts';
import { chipKey } from '../../hw/sensor-labels.ts';
import { pause } from '../../hw/waiting.ts';
import type { PropertyPart } from '../board/property.ts';
import type { Board, GoodBoard, LineBoard, PresenceBoard, RailBoard } from '../board/schema.ts';
import type { SensorPart } from '../board/sensor.ts';
import { isSensor, sensorRef } from '../board/sensor-ref.ts';
import type { SetupBoard } from '../board/setup.ts';
import type { Press } from '../sequence/events.ts';

export interface HardwarePorts {
  readonly gpio: () => Promise<GpioBackend>;
  /** Asked for only when the chassis has a PMBus device. */
  readonly i2c: () => Promise<I2cBackend>;
  /** Asked for only when something of the chassis is seen by a voltage that a kernel driver reads; left out where nothing is. */
  readonly sensors?: () => Promise<SensorBackend>;
  /** Asked for only when something of the chassis is told by a property; left out where nothing is. */
  readonly properties?: () => Promise<PropertyBackend>;
  readonly clock: Clock;
}

/** How often a signal is looked at that does not tell of a change by itself. */
export interface Paces {
  readonly pgood: number;
  readonly good: number;
  /** Of a rail that is seen good only over PMBus, or by a voltage that a kernel driver reads. */
  readonly pmbus: number;
  /** Of pgood where it is seen so, or by what an enable reads. */
  readonly pgoodAsked: number;
}

/** What a part is behind, a bus or a chip: parts of one wait for each other, and hang together. Null for a GPIO line. */
type BusName = string | null;

/** Of a chassis: a line, a page of a PMBus device, or an input of a chip. */
interface Part {
  readonly bus: BusName;
  readonly role: string;
  /** The rail that its device has its power from; null where it always has it. */
  readonly poweredBy: string | null;
}

export interface Switch extends Part {
  read(): Promise<boolean>;
  /** How a button switches off is asked of no other. Aborted, a button is let go at once. */
  write(asserted: boolean, press?: Press, abandoned?: AbortSignal): Promise<void>;
}
export interface Signal extends Part {
  read(): Promise<boolean>;
  /** The voltage that it was read by last, where it is read by one; null before. */
  readonly lastVolts?: () => number | null;
  /** Left out where it tells nothing of the past. */
  readonly remembers?: true;
  watch(wake: () => void, paces: Paces, of: 'pgood' | 'good', checkMs?: number): () => void;
}

/** What the page of a rail is told before the rail is enabled. */
export interface Setup {
  /** Writes one after the other; nothing while the output is on. Rejects like `PmbusPage.setVolts`. */
  setUp(): Promise<void>;
}

/** A PMBus device acknowledges nothing while it stores its settings, and an EEPROM while it writes; most are done by then. */
export const ONCE_MORE_MS = 100;

/** What tells whether a part is there. */
export interface Presence extends Pick<Switch, 'role' | 'read'> {
  /** Another process tells, and nothing else waits for that. */
  readonly isTold?: true;
}

/** The one place where active level is applied: asserted is high for `active: high`, low for `active: low`. */
function levelFor(line: LineBoard, asserted: boolean): Level {
  return asserted === (line.active === 'high') ? 1 : 0;
}
function assertedAt(line: LineBoard, level: Level): boolean {
  return level === levelFor(line, true);
}

type PageGood = Extract<GoodBoard, { pmbus: string }>;
type PmbusEnable = Extract<RailBoard['enable'], { pmbus: string }>;

/** The same error with `where` it hit in front of its message, and `details` beside its own. */
export function located(
  error: HardwareError,
  where: string,
  details: Record<string, unknown>,
): HardwareError {
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

/** Opens the parts of a chassis: lines, PMBus pages, each device and bus once. */
export interface PartOpener {
  openSwitch(role: string, line: LineBoard): Promise<Switch>;
  openSignal(role: string, line: LineBoard): Promise<Signal>;
  openOperation(role: string, enable: PmbusEnable): Promise<Switch>;
  /** By whatever it is seen. */
  openShown(role: string, shown: GoodBoard | PropertyPart): Promise<Signal>;
  openPage(device: string, page: number): Promise<PmbusPage>;
  /** The voltage of what is seen by it, the divider taken into account. Rejects as `SensorBackend.readVolts`. */
  readSensor(sensor: SensorPart): Promise<number>;
  openSetup(role: string, setup: SetupBoard): Promise<Setup>;
  openPresence(role: string, presence: PresenceBoard): Promise<Presence>;
  /** Gives all that was opened back. */
  close(): Promise<void>;
}

/** @param troubleOf why the line of a role must not be opened */
export function createPartOpener(
  board: Board,
  ports: HardwarePorts,
  troubleOf: (role: string) => HardwareError | undefined,
): PartOpener {
  const closers: (() => Promise<void>)[] = [];
  const openBus = createBusOpener(ports, (close) => closers.push(close));
  const openPage = createPageOpener(board, openBus);

  const gpioFor = async (role: string): Promise<GpioBackend> => {
    const trouble = troubleOf(role);
    if (trouble !== undefined) throw trouble;
    return ports.gpio();
  };
  const sensors = expected(ports.sensors, 'SensorBackend');
  const properties = expected(ports.properties, 'PropertyBackend');
  const readSensor: PartOpener['readSensor'] = async (sensor) =>
    (await (await sensors()).readVolts(sensorRef(sensor))) * sensor.multiply;
  const deviceOf = (name: string): Pick<Part, 'bus' | 'poweredBy'> => {
    const device = board.devices[name];
    return { bus: String(device?.bus), poweredBy: device?.poweredBy ?? null };
  };

  return {
    async openSignal(role, line) {
      const input = await inRole<InputLine>(role, async () => (await gpioFor(role)).openInput(line));
      closers.push(() => input.close());
      return signalOf(role, line, input);
    },
    async openPresence(role, presence) {
      if ('inventory' in presence) return toldPresence(role, presence, properties);
      if (!('bus' in presence)) return this.openSignal(role, presence);
      const bus = await inRole(role, () => openBus(presence.bus));
      return answering(role, bus, presence, board, ports.clock);
    },
    async openSwitch(role, line) {
      const output = await inRole<OutputLine>(role, async () => (await gpioFor(role)).openOutput(line));
      closers.push(() => output.close());
      return {
        bus: null,
        poweredBy: null,
        role,
        read: () => inRole(role, async () => assertedAt(line, await output.read())),
        write: (asserted) => inRole(role, () => output.write(levelFor(line, asserted))),
      };
    },
    async openOperation(role, enable) {
      const page = await inRole(role, () => openPage(enable.pmbus, enable.page));
      return {
        ...deviceOf(enable.pmbus),
        role,
        read: () => inRole(role, () => page.readEnabled()),
        write: (asserted) => inRole(role, () => page.operation(asserted)),
      };
    },
    async openShown(role, shown) {
      if ('dbus' in shown) return toldSignal(role, shown, await properties(), ports.clock);
      if (isSensor(shown)) {
        await inRole(role, async () => (await sensors()).locate(sensorRef(shown)));
        return sensorSignal(role, shown, readSensor, ports.clock);
      }
      if (!('pmbus' in shown)) return this.openSignal(role, shown);
      const page = await inRole(role, () => openPage(shown.pmbus, shown.page));
      const device = { ...deviceOf(shown.pmbus), remembers: true } as const;
      return { ...device, role, ...lookingSignal(role, createLook(page, shown), ports.clock) };
    },
    readSensor,
    openPage,
    openSetup: async (role, setup) =>
      setupOf(role, setup, await inRole(role, () => openPage(setup.pmbus, setup.page))),
    async close() {
      for (const closer of closers.splice(0).reverse()) await closer();
    },
  };
}

/** A port that only some chassis need, of one that does. */
function expected<Port>(port: (() => Promise<Port>) | undefined, what: string): () => Promise<Port> {
  return () => {
    if (port === undefined) throw new RangeError(`the chassis needs a ${what}`);
    return port();
  };
}

function signalOf(role: string, line: LineBoard, input: InputLine): Signal {
  return {
    bus: null,
    poweredBy: null,
    role,
    read: () => inRole(role, async () => assertedAt(line, await input.read())),
    watch: (wake, paces, of, checkMs) =>
      input.onEdge(wake, { pollMs: paces[of], ...(checkMs !== undefined && { checkMs }) }),
  };
}

/** A signal that is good by what a look at it tells, and tells of nothing by itself. */
function lookingSignal(
  role: string,
  look: () => Promise<Look>,
  clock: Clock,
): Pick<Signal, 'read' | 'lastVolts' | 'watch'> {
  let lastVolts: number | null = null;
  return {
    read: () =>
      inRole(role, async () => {
        const { isGood, volts } = await look();
        lastVolts = volts;
        return isGood;
      }),
    lastVolts: () => lastVolts,
    watch: (wake, { pmbus, pgoodAsked }, of) => repeat(clock, of === 'pgood' ? pgoodAsked : pmbus, wake),
  };
}

/** What gives the chip its power is not known: one without it cannot be read. */
function sensorSignal(
  role: string,
  sensor: SensorPart,
  readSensor: PartOpener['readSensor'],
  clock: Clock,
): Signal {
  const look = async (): Promise<Look> => {
    const volts = await readSensor(sensor);
    return { isGood: isWithin(volts, sensor), volts };
  };
  const bus = chipKey(sensorRef(sensor));
  return { bus, poweredBy: null, role, ...lookingSignal(role, look, clock) };
}

function setupOf(role: string, { writes }: SetupBoard, page: PmbusPage): Setup {
  const settings = writes.flatMap(({ command, volts }) =>
    VOUT_SETTINGS.filter(({ name }) => name === command).map((setting) => ({ setting, volts })),
  );
  return {
    setUp: () =>
      inRole(role, async () => {
        for (const { setting, volts } of settings) await page.setVolts(setting, volts);
      }),
  };
}

/** Opens each bus once. */
function createBusOpener(
  ports: HardwarePorts,
  atClose: (close: () => Promise<void>) => void,
): (bus: number | string) => Promise<I2cBus> {
  const once = onceEach<number | string, I2cBus>();
  return (bus) =>
    once(bus, async () => {
      const opened = await (await ports.i2c()).openBus(bus);
      atClose(() => opened.close());
      return opened;
    });
}

/** What is had of each key is kept. One that could not be had is asked for again. */
function onceEach<Key, Value>(): (key: Key, open: () => Promise<Value>) => Promise<Value> {
  const known = new Map<Key, Promise<Value>>();
  return (key, open) => {
    const value = known.get(key) ?? open();
    known.set(key, value);
    value.catch(() => known.delete(key));
    return value;
  };
}

function createPageOpener(board: Board, openBus: ReturnType<typeof createBusOpener>): PartOpener['openPage'] {
  const once = onceEach<string, PmbusPage>();
  return (name, page) =>
    once(`${name}/${page}`, async () => {
      const device = board.devices[name];
      if (!device) throw new RangeError(`device ${name} is not in the board`);
      return createPmbusPage({
        bus: await openBus(device.bus),
        address: Number(device.address),
        page,
        pec: device.pec,
        ...(device.identity ? { identity: device.identity } : {}),
        ...(device.vout ? { vout: device.vout } : {}),
        ...(device.vid ? { vid: device.vid } : {}),
      });
    });
}

/** A part that is there where a device answers. One that acknowledges nothing is asked once more. */
function answering(
  role: string,
  bus: I2cBus,
  place: Extract<PresenceBoard, { bus: unknown }>,
  { devices }: Board,
  clock: Clock,
): Presence {
  const address = Number(place.address);
  const device = Object.values(devices).find(
    (each) => each.bus === place.bus && Number(each.address) === address,
  );
  const isAnswered = () => inRole(role, () => answers(bus, address, device?.pec ?? false));
  return {
    role,
    async read() {
      if (await isAnswered()) return true;
      await pause(clock, ONCE_MORE_MS);
      return isAnswered();
    },
  };
}

/**
 * Whether a device answers at the address: one byte is read, command 0, which of an EEPROM is its first byte and of a PMBus
 * device PAGE. Nothing is changed but where an EEPROM reads next. Only what acknowledges nothing is absent; any other error is no
 * answer to the question.
 */
async function answers(bus: I2cBus, address: number, pec: boolean): Promise<boolean> {
  try {
    await bus.transaction(address, (device) => device.readByte(0), { isReading: true, pec });
    return true;
  } catch (error) {
    if (error instanceof HardwareError && error.code === 'I2C_NO_DEVICE') return false;
    throw error;
  }
}

/** A part that is there where a property of another service says so. Nothing is asked before it is read. */
function toldPresence(
  role: string,
  { inventory: path, service, interface: name, property }: Extract<PresenceBoard, { inventory: string }>,
  openProperties: () => Promise<PropertyBackend>,
): Presence {
  const ref: PropertyRef = { service, path, interface: name, property };
  const read = async () => readProperty(await openProperties(), ref, PRESENCE_LIMIT_MS);
  return { role, isTold: true, read: () => inRole(role, read) };
}

/**
 * Longest time for what is read once. Somewhat arbitrary: a service that is busy with the start of a BMC answers in that, and a
 * power-off waits no longer for one that hangs.
 */
const PRESENCE_LIMIT_MS = 2_000;
/** Longest time for pgood, as long as a transfer may take: what else tells of a loss may have to wait for it. */
const PGOOD_LIMIT_MS = 1_000;

/** Rejects with a HardwareError. */
async function readProperty(
  properties: PropertyBackend,
  ref: PropertyRef,
  limitMs: number,
): Promise<boolean> {
  try {
    return await properties.readBoolean(ref, limitMs);
  } catch (error) {
    if (!(error instanceof CodedError)) throw error;
    const text = `${ref.property} of ${ref.path} cannot be read: ${error.message}`;
    throw new HardwareError('PROPERTY_UNREAD', text, { ...ref, reason: error.code }, { cause: error });
  }
}

/** A service that goes away sends nothing: whether it still answers is asked so often. */
const STILL_THERE_MS = 100;

/** A signal that another service tells. What it says when it changes is not believed: it is asked then. */
function toldSignal(
  role: string,
  { dbus: path, service, interface: name, property }: PropertyPart,
  properties: PropertyBackend,
  clock: Clock,
): Signal {
  const ref: PropertyRef = { service, path, interface: name, property };
  return {
    bus: `D-Bus ${service}`,
    poweredBy: null,
    role,
    read: () => inRole(role, () => readProperty(properties, ref, PGOOD_LIMIT_MS)),
    watch(wake) {
      const ends = [properties.watch(ref, wake), repeat(clock, STILL_THERE_MS, wake)];
      return () => {
        for (const end of ends) end();
      };
    },
  };
}

/** What a look at a page, or at an input of a chip, tells of its rail. */
interface Look {
  readonly isGood: boolean;
  /** Null where the voltage is not looked at. */
  readonly volts: number | null;
}

/** How a rail is seen to be good by a page. Limits of the device are read once: nothing changes them in a run. */
function createLook(page: PmbusPage, good: PageGood): () => Promise<Look> {
  if ('status' in good) {
    return async () => ({ isGood: page.powerGood(await page.statusWord()), volts: null });
  }
  let limits: Limits | undefined = 'limits' in good ? undefined : good;
  return async () => {
    limits ??= await readLimits(page, good);
    const { powerGood, voutVolts } = await page.readOutput();
    return { isGood: powerGood && isWithin(voutVolts, limits), volts: voutVolts };
  };
}

interface Limits {
  readonly minVolts: number;
  readonly maxVolts?: number | undefined;
}

function isWithin(volts: number, { minVolts, maxVolts = Number.POSITIVE_INFINITY }: Limits): boolean {
  return volts >= minVolts && volts <= maxVolts;
}

/** Rejects `PMBUS_FORMAT` where the device has no lower limit: a rail without voltage would be good. */
async function readLimits(page: PmbusPage, good: PageGood): Promise<Limits> {
  const { minVolts, maxVolts } = await page.readVoutWindow();
  if (minVolts !== null && minVolts > 0) return { minVolts, maxVolts: maxVolts ?? undefined };
  throw new HardwareError(
    'PMBUS_FORMAT',
    `page ${good.page} of ${good.pmbus} has no VOUT_UV_FAULT_LIMIT that could be taken for one (${minVolts === null ? 'it answers nothing' : 'it is 0 V'}): give "minVolts" in the place of "limits"`,
    { device: good.pmbus, page: good.page },
  );
}

/** Calls `run` every `everyMs`. Returns the function that ends it. */
export function repeat(clock: Clock, everyMs: number, run: () => void): () => void {
  let cancel = clock.after(everyMs, again);
  function again(): void {
    run();
    cancel = clock.after(everyMs, again);
  }
  return () => cancel();
}

/** A part that could not be had: whatever is asked of it rejects with the reason. */
function brokenPart(role: string, reason: HardwareError): Switch & Signal & Setup {
  const reject = () => Promise.reject(reason);
  const asked = { read: reject, write: reject, setUp: reject };
  return { bus: null, poweredBy: null, role, ...asked, watch: () => () => undefined };
}

/** A part that could not be had, and may come later. */
export interface LatePart {
  /** Until it is there whatever is asked of it rejects with the reason. */
  readonly part: ReturnType<typeof brokenPart>;
  /** Why it cannot be had still; null: it is there. Rejects with what is no HardwareError. */
  lookAgain(): Promise<HardwareError | null>;
}

export function latePart(
  role: string,
  reason: HardwareError,
  open: (role: string) => Promise<object>,
  clock: Clock,
): LatePart {
  const lookAgain = async (): Promise<HardwareError | null> => {
    try {
      found = await open(role);
      return null;
    } catch (error) {
      if (error instanceof HardwareError) return error;
      throw error;
    }
  };
  const broken = isHang(reason)
    ? hungPart(role, reason, lookAgain, () => found as Switch & Signal, clock)
    : brokenPart(role, reason);
  let found: object = broken;
  return { part: new Proxy(broken, { get: (_, key) => Reflect.get(found, key) }), lookAgain };
}

/** How often what is on a chip that hung is looked for again by who reads it. */
const HUNG_AGAIN_MS = 250;
/** How often by who drives it, and for how long: as long as a drive may take. */
const DRIVE_AGAIN_MS = 20;
const DRIVE_LIMIT_MS = 1_000;

/**
 * A line whose chip hung when it was opened. The chip may answer again, so whoever drives or reads the line looks for it anew: a
 * power-off drives it then as well.
 * @param found the line, once `lookAgain` has found it
 */
function hungPart(
  role: string,
  first: HardwareError,
  lookAgain: LatePart['lookAgain'],
  found: () => Switch & Signal,
  clock: Clock,
): ReturnType<typeof brokenPart> {
  let reason: HardwareError | null = first;
  let lookedAtMs = clock.nowMs();
  let looking: Promise<void> | null = null;
  const look = async (): Promise<void> => {
    try {
      reason = await lookAgain();
    } finally {
      lookedAtMs = clock.nowMs();
      looking = null;
    }
  };
  const find = async (): Promise<Switch & Signal> => {
    looking ??= look();
    await looking;
    if (reason !== null) throw reason;
    return found();
  };
  return {
    ...brokenPart(role, first),
    async read() {
      if (reason !== null && clock.nowMs() < lookedAtMs + HUNG_AGAIN_MS) throw reason;
      return (await find()).read();
    },
    async write(...how) {
      const deadlineMs = clock.nowMs() + DRIVE_LIMIT_MS;
      for (;;) {
        try {
          return await (await find()).write(...how);
        } catch (error) {
          if (reason === null || !isHang(error) || clock.nowMs() >= deadlineMs) throw error;
        }
        await pause(clock, DRIVE_AGAIN_MS);
      }
    },
    watch: (wake, paces, of) => repeat(clock, paces[of], wake),
  };
}
