import type { HardwareError } from './errors.ts';

/**
 * What the sequencer needs from the world. Drivers (`hw/`) and stand-ins (`mocks/`) fulfil these
 * interfaces; `test/contract/` holds one suite per interface that runs on both.
 */

/** Raw electrical level of a line: 1 is high. Active level is not applied below this interface. */
export type Level = 0 | 1;

/**
 * A GPIO line by what does not move between kernels: the label of its chip with an offset or an
 * ASPEED port name (`C0` = port C, bit 0 = offset 16), or the name the device tree gives the line.
 */
export type LineRef = { readonly chip: string; readonly line: number | string } | { readonly name: string };

/** A line that the sequencer drives. */
export interface OutputLine {
  /** The level the line has now, whoever drives it. Rejects `GPIO_FAILED`. */
  read(): Promise<Level>;
  /**
   * Drives the line. The first write makes it an output directly at `level`, so no other level is
   * seen in between. Resolves once the level was read back; rejects `GPIO_NOT_FOLLOWED` when the line
   * reads the other level, `GPIO_BUSY`, `GPIO_PERMISSION` or `GPIO_FAILED`.
   */
  write(level: Level): Promise<void>;
  /** Gives the handle back. The line keeps level and direction, also after the process ends. */
  close(): Promise<void>;
}

export interface WatchOptions {
  /**
   * How often the line is looked at where it raises no interrupts; 10 ms where nobody says. Looks are shared: the most
   * impatient watcher sets the pace for all, and a slow bus slows it down.
   */
  readonly lookMs?: number;
}

/** A line that the sequencer watches. */
export interface InputLine {
  /** The level now. Rejects `GPIO_FAILED`. */
  read(): Promise<Level>;
  /**
   * Calls `wake` once the watch stands, because what happened since the caller read went unseen, and from then on
   * after the level may have changed. Edges coalesce and short pulses may be missed: a wake says "read again", never
   * which level. Everyone who watches a line is woken, whoever came first and over whatever opening. `wake` is not
   * called before `onEdge` has returned, and must not throw. Returns the function that ends it.
   */
  onEdge(wake: () => void, options?: WatchOptions): () => void;
  close(): Promise<void>;
}

/** Where a line is on this machine, this boot. */
export interface LinePlace {
  /** Label of its chip. */
  readonly chip: string;
  readonly offset: number;
  /** The same for one physical line, however it is named, and another for every other line. */
  readonly key: string;
  /**
   * Who has taken it so that no other program can: `ours`, a process of this program, which may have ended since;
   * `foreign`, another one that uses the same interface; null where nobody has, or a kernel driver.
   */
  readonly takenBy: 'ours' | 'foreign' | null;
}

export interface GpioBackend {
  /**
   * Finds lines without taking them: nothing is opened, exported or driven. Answers in the order asked for. A line that
   * is not there is the error that `openOutput` would reject with (`GPIO_NO_CHIP`, `GPIO_NO_LINE`), with what there is in
   * its details: the `labels` of chips, the `names` of lines. Rejects `GPIO_UNAVAILABLE` or `GPIO_FAILED`.
   */
  locate(lines: readonly LineRef[]): Promise<readonly (LinePlace | HardwareError)[]>;
  /**
   * Takes a line for driving without changing anything about it: neither level nor direction.
   * All that can be found wrong is found here. Rejects `GPIO_UNAVAILABLE`, `GPIO_NO_CHIP`,
   * `GPIO_NO_LINE`, `GPIO_BUSY`, `GPIO_PERMISSION` or `GPIO_FAILED`.
   */
  openOutput(line: LineRef): Promise<OutputLine>;
  /**
   * Takes a line for reading. A line that is driven as an output stays so. Rejects like `openOutput`.
   */
  openInput(line: LineRef): Promise<InputLine>;
  /**
   * Gives lines back, so that other programs can take them, whoever had taken them; one that nobody has taken is passed
   * over. A controller may make a line that is given back an input, so this is for lines that nobody needs. All of
   * them were seen to be free when it resolves. Rejects `GPIO_BUSY` for one that is open in this process, before the
   * first is given back, and what `openOutput` does; the others may have been given back then.
   */
  release(lines: readonly LineRef[]): Promise<void>;
}

/** SMBus transfers with one device (SMBus specification 3.1, section 6.5), inside a transaction. */
export interface I2cDevice {
  /** Read Byte. Result 0..255. */
  readByte(command: number): Promise<number>;
  /** Read Word, low byte first on the wire. Result 0..65535. */
  readWord(command: number): Promise<number>;
  /** Write Byte. */
  writeByte(command: number, value: number): Promise<void>;
}

export interface TransactionOptions {
  /**
   * For what switches power off: another process that stands still with the bus held, or a hold that is not
   * possible, delays it by a tenth of a second at most and does not keep it from being done.
   */
  readonly isUrgent?: boolean;
}

export interface I2cBus {
  /**
   * Runs `steps` with the bus held, against other processes of this program too, so that a PAGE and the
   * command that needs it stay together. Transactions of one bus run one after the other in the order they
   * were asked for. Rejects `I2C_BUSY` when another process does not let go of the bus within the driver's
   * deadline.
   * Transfers reject `I2C_NO_DEVICE` (nothing acknowledges), `I2C_TIMEOUT` (no end within the
   * driver's deadline), `I2C_BUSY` (a kernel driver owns the address), `I2C_PERMISSION`,
   * `I2C_NO_BUS` or `I2C_FAILED`; transient failures were retried before.
   * @param address 7-bit, 0x03..0x77
   */
  transaction<T>(
    address: number,
    steps: (device: I2cDevice) => Promise<T>,
    options?: TransactionOptions,
  ): Promise<T>;
  close(): Promise<void>;
}

export interface I2cBackend {
  /** Opens a bus by adapter number or adapter name. Rejects `I2C_NO_BUS` or `I2C_PERMISSION`. */
  openBus(bus: number | string): Promise<I2cBus>;
}

export interface Clock {
  /** Milliseconds on a clock that never jumps and is the same for all processes of one boot. */
  nowMs(): number;
  /** Calls `run` once, `delayMs` from now (at once for 0 and less). Returns the function that cancels it. */
  after(delayMs: number, run: () => void): () => void;
  /** Wall clock, for people and file names only. */
  wallTime(): Date;
}

/** Final state of one unit as systemd tells it, for example `active`, `failed`, `inactive`. */
export interface UnitState {
  readonly unit: string;
  /** False where systemd has no such unit: it shows as inactive then. */
  readonly isKnown: boolean;
  readonly activeState: string;
  readonly subState: string;
}

/** systemd's manager. Every call ends within its deadline: `DBUS_TIMEOUT`; no bus: `DBUS_UNAVAILABLE`. */
export interface UnitManager {
  /**
   * Queues the start of a unit and waits for the end of its job. Resolves with the job's result
   * (`done`, `canceled`, `timeout`, `failed`, `dependency`, `skipped`); rejects `SYSTEMD_FAILED` when
   * systemd refuses the request, as for an unknown unit.
   */
  startUnit(unit: string, mode: 'replace' | 'fail'): Promise<string>;
  /** States in the order asked for. A unit that is not loaded is `inactive`. */
  unitStates(units: readonly string[]): Promise<UnitState[]>;
  /**
   * Tells `changed` the states of `units`, in the order given: once they are known, and whenever one of them is
   * another one. Changes that follow each other closely are told as one. A bus or a systemd that is not there, or
   * goes away, is waited for; the states are told then if they differ from those told last. `changed` must not
   * throw. Returns the function that ends it, as `close` does.
   */
  watchUnits(units: readonly string[], changed: (states: readonly UnitState[]) => void): () => void;
  /** Makes systemd read its unit files again, and the bus its policy and the names it can start a service for. */
  reload(): Promise<void>;
  close(): Promise<void>;
}

/** Tells the service manager how this process is; sd_notify(3). Nothing here ever rejects. */
export interface ServiceNotifier {
  /** How often `alive` has to be told (`WatchdogSec=`), null when nobody waits for it. */
  readonly watchdogIntervalMs: number | null;
  ready(status: string): Promise<void>;
  status(status: string): Promise<void>;
  stopping(status: string): Promise<void>;
  alive(): Promise<void>;
}

/** An entry for OpenBMC's event log. */
export interface EventLogEntry {
  /** Error name, for example `xyz.openbmc_project.Power.Error.Shutdown`. */
  readonly name: string;
  readonly severity: 'Critical' | 'Error' | 'Warning' | 'Informational';
  readonly data: Readonly<Record<string, string>>;
}

export interface EventLog {
  /**
   * True when the logging service has the entry, answered or not; false where none is on the bus. Rejects
   * `DBUS_UNAVAILABLE`, `DBUS_TIMEOUT` (of the connection) or `SYSTEMD_FAILED`.
   */
  create(entry: EventLogEntry): Promise<boolean>;
}

/** A value of a type of its own, which D-Bus sends with the value; `a{sv}` is a record of these. */
export interface DbusVariant {
  readonly signature: string;
  readonly value: unknown;
}

export interface DbusArgument {
  readonly name: string;
  /** Of one value. */
  readonly signature: string;
}

/**
 * A property of a served interface. On the JavaScript side `y n q i u d` are numbers, `x t` are BigInt,
 * `b` is a boolean, `s o g` are strings, `ay` is a Buffer, `v` is a `DbusVariant`, structs are arrays,
 * and dictionaries, whose keys must be strings, are objects.
 */
export interface ServedProperty {
  readonly signature: string;
  /** The value now. What throws here is an error to who asks for it, and left out where he asks for all. */
  read(): unknown;
  /**
   * Takes a value of `signature`; absent when the property is read-only. The caller has his answer when
   * this is settled, and `DbusReplyError` is told to him as it is. Signals nothing: `changed` does.
   */
  write?(value: unknown): void | Promise<void>;
  /** Whether `changed` sends a signal. */
  readonly emits: 'change' | 'none';
}

export interface ServedMethod {
  readonly in: readonly DbusArgument[];
  readonly out: readonly DbusArgument[];
  /**
   * Runs for one caller, beside any other call: a slow one delays nobody. `args` fit `in`, and what it
   * gives must fit `out`. `DbusReplyError` is told to the caller as it is; anything else that is thrown,
   * and a value that does not fit, is `org.freedesktop.DBus.Error.Failed` to him, without a stack.
   * @param caller `sender` is his unique name on the bus
   */
  call(
    args: readonly unknown[],
    caller: { readonly sender: string },
  ): readonly unknown[] | Promise<readonly unknown[]>;
}

export interface ServedSignal {
  readonly args: readonly DbusArgument[];
}

/** An interface with its members by name. */
export interface ServedInterface {
  readonly name: string;
  readonly methods: Readonly<Record<string, ServedMethod>>;
  readonly properties: Readonly<Record<string, ServedProperty>>;
  readonly signals: Readonly<Record<string, ServedSignal>>;
}

export interface ServedObject {
  readonly path: string;
  readonly interfaces: readonly ServedInterface[];
}

/** What a process puts on the bus. */
export interface Publication {
  /** Well-known names, taken in this order. */
  readonly names: readonly string[];
  /** Paths with an `org.freedesktop.DBus.ObjectManager` for the objects below them. */
  readonly managerPaths: readonly string[];
  readonly objects: readonly ServedObject[];
  /**
   * Told that everything is published, the first time and after every loss; that it no longer is, and
   * why; and, while it is not, when the reason becomes another one. May `close`, must not throw.
   */
  onConnection?(up: boolean, error?: HardwareError): void;
  /** Told what `read`, `write` and `call` threw beside `DbusReplyError`, for the journal. Must not throw. */
  onFailure?(error: unknown, member: string): void;
  /** Told of messages that no peer that means well sends, for the journal: now and then, not each. Must not throw. */
  onRefused?(text: string): void;
}

/**
 * Objects on the system bus, with the standard interfaces (D-Bus specification, "Standard Interfaces").
 * They answer from the moment of connecting on, so that nobody who sees a name finds no object behind it.
 */
export interface ObjectBus {
  /**
   * Connects, takes the names, and tells the ObjectManagers' listeners. Resolves once all names are owned.
   * Rejects `DBUS_UNAVAILABLE`, `DBUS_TIMEOUT`, `DBUS_NAME_TAKEN` when another process has a name or
   * `DBUS_NAME_DENIED` when the bus's policy keeps it; nothing is left on the bus then, and `start` may
   * be called again. Once it has resolved, a bus that goes away is connected to again for as long as it
   * takes, and everything is published again.
   */
  start(): Promise<void>;
  /** Whether the objects are published under all names now. */
  readonly isConnected: boolean;
  /**
   * Sends PropertiesChanged with the value of just this property, in a message of its own; a value that
   * cannot be had is sent as invalidated. Nothing is sent for a property that emits nothing, and nothing
   * while the bus is away: who listens reads anew when the name comes back.
   * @throws HardwareError DBUS_MISUSE for a property that is not served
   */
  changed(path: string, interfaceName: string, property: string): void;
  /**
   * Sends a signal, or drops it while the bus is away.
   * @throws HardwareError DBUS_MISUSE for a signal that is not served and for `args` that do not fit it
   */
  emit(path: string, interfaceName: string, signal: string, args: readonly unknown[]): void;
  /** Leaves the bus, after what was sent before. Calls that run go unanswered. For good. */
  close(): Promise<void>;
}
