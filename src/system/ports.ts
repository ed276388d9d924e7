import type { SystemError } from './errors.ts';

/**
 * What the program needs of the system around it: systemd, the system bus, the event log. The real ones are in this
 * folder; `test/contract/` holds one suite per interface that runs on them and on the stand-ins of `mocks/`.
 */

/** Where text goes. It may be closed, full or stopped at any moment: that is never the caller's concern. */
export interface Output {
  /** Never throws and never waits. What nobody takes is dropped, and how much that was is told later in its place. */
  write(text: string): void;
  /** Width of the terminal in columns, null when it is none. */
  readonly columns: number | null;
  /** Its height in lines; absent where it is none, or does not say. */
  readonly rows?: number | undefined;
  /** It is journald that reads the text: `<n>` at the begin of a line is its severity (sd-daemon(3)). */
  readonly journal: boolean;
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
  onConnection?(up: boolean, error?: SystemError): void;
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
   * @throws SystemError DBUS_MISUSE for a property that is not served
   */
  changed(path: string, interfaceName: string, property: string): void;
  /**
   * Sends a signal, or drops it while the bus is away.
   * @throws SystemError DBUS_MISUSE for a signal that is not served and for `args` that do not fit it
   */
  emit(path: string, interfaceName: string, signal: string, args: readonly unknown[]): void;
  /** Leaves the bus, after what was sent before. Calls that run go unanswered. For good. */
  close(): Promise<void>;
}
