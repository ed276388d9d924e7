import type { SystemError } from './errors.ts';

/**
 * What the program needs of the system: systemd, the system bus, the event log. The real ones are in this folder;
 * `test/contract/` has one suite per interface that runs on them and on the stand-ins of `mocks/`.
 */

/** An output for text. It may be closed, full or stopped at any moment, which never concerns the caller. */
export interface Output {
  /** Never throws and never waits. Text that cannot be written is dropped, and a later line says how much was. */
  write(text: string): void;
  /** Width of the terminal in columns; null where the output is no terminal. */
  readonly columns: number | null;
  /** Height of the terminal in lines; absent where it is not known. */
  readonly rows?: number | undefined;
  /** journald reads the text: `<n>` at the begin of a line is its severity (sd-daemon(3)). */
  readonly journal: boolean;
}

/** State of a unit, with systemd's words: `active`, `failed`, `inactive` … */
export interface UnitState {
  readonly unit: string;
  /** False where systemd has no such unit; its state is inactive then. */
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
   * Calls `changed` with the states of `units`, in the given order: once they are known, and whenever one of them has
   * changed. One call may stand for several quick changes. A bus or a systemd that is away is waited for; `changed` is
   * called then if the states differ from those of its last call. `changed` must not throw. Returns the function that ends
   * the watch; `close` ends it too.
   */
  watchUnits(units: readonly string[], changed: (states: readonly UnitState[]) => void): () => void;
  /** Makes systemd read its unit files again, and the bus its policy and its list of services. */
  reload(): Promise<void>;
  close(): Promise<void>;
}

/** Notifies the service manager of the state of this process; sd_notify(3). Never rejects. */
export interface ServiceNotifier {
  /** How often `alive` must be called (`WatchdogSec=`); null where no watchdog waits for it. */
  readonly watchdogIntervalMs: number | null;
  ready(status: string): Promise<void>;
  status(status: string): Promise<void>;
  stopping(status: string): Promise<void>;
  alive(): Promise<void>;
}

/** The system journal, for entries with fields. */
export interface Journal {
  /**
   * True when journald has taken an entry with these fields (systemd.journal-fields(7)), of the unit that runs this
   * process; control characters in a value become spaces. False when it has not, within a second: there is none, or it
   * takes nothing. Never rejects.
   */
  send(fields: Readonly<Record<string, string>>): Promise<boolean>;
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
   * True when the logging service has the entry, whether or not it answered; false where none is on the bus. Rejects
   * `DBUS_UNAVAILABLE`, `DBUS_TIMEOUT` (of the connection) or `SYSTEMD_FAILED`.
   */
  create(entry: EventLogEntry): Promise<boolean>;
}

/** A value that D-Bus sends together with its type; `a{sv}` is a record of these. */
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
  /** The present value. If it throws, Get answers with an error, and GetAll leaves the property out. */
  read(): unknown;
  /**
   * Sets a value of `signature`; absent for a read-only property. The caller is answered when it is settled, and gets a
   * `DbusReplyError` as it is. It sends no signal: `changed` does.
   */
  write?(value: unknown): void | Promise<void>;
  /** Whether `changed` sends a signal. */
  readonly emits: 'change' | 'none';
}

export interface ServedMethod {
  readonly in: readonly DbusArgument[];
  readonly out: readonly DbusArgument[];
  /**
   * Runs for one caller, beside other calls: a slow one delays no other. `args` fit `in`, and the result must fit `out`.
   * The caller gets a `DbusReplyError` as it is. Any other error, and a result that does not fit, is
   * `org.freedesktop.DBus.Error.Failed` for the caller, without a stack.
   * @param caller `sender` is the unique name of the caller on the bus
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

/** Names and objects that a process publishes on the bus. */
export interface Publication {
  /** Well-known names, taken in this order. */
  readonly names: readonly string[];
  /** Paths with an `org.freedesktop.DBus.ObjectManager` for the objects below them. */
  readonly managerPaths: readonly string[];
  readonly objects: readonly ServedObject[];
  /**
   * Called when everything is published, at first and after every loss. Called with the reason when it no longer is, and
   * again when the reason changes. May `close`, must not throw.
   */
  onConnection?(up: boolean, error?: SystemError): void;
  /** Called with any error of `read`, `write` and `call` but `DbusReplyError`, for the journal. Must not throw. */
  onFailure?(error: unknown, member: string): void;
  /** Called for some of the messages that a well-behaved peer never sends, for the journal. Must not throw. */
  onRefused?(text: string): void;
}

/**
 * Objects on the system bus, with the standard interfaces (D-Bus specification, "Standard Interfaces").
 * They answer from the moment of connecting on, so that nobody who sees a name finds no object behind it.
 */
export interface ObjectBus {
  /**
   * Connects, takes the names, and signals the objects to listeners of the ObjectManagers. Resolves once all names are
   * owned. Rejects `DBUS_UNAVAILABLE`, `DBUS_TIMEOUT`, `DBUS_NAME_TAKEN` where another process has a name, or
   * `DBUS_NAME_DENIED` where the policy of the bus forbids it. Nothing is left on the bus then, and `start` may be called
   * again. Once it has resolved, a lost connection is made again however long it takes, and everything is published again.
   */
  start(): Promise<void>;
  /** Whether the objects are published under all names now. */
  readonly isConnected: boolean;
  /**
   * Sends PropertiesChanged with the value of this property only; a value that cannot be read is sent as invalidated.
   * Nothing is sent for a property that emits nothing, and nothing while the bus is away: listeners read all values again
   * when the name comes back.
   * @throws SystemError DBUS_MISUSE for a property that is not served
   */
  changed(path: string, interfaceName: string, property: string): void;
  /**
   * Sends a signal, or drops it while the bus is away.
   * @throws SystemError DBUS_MISUSE for a signal that is not served and for `args` that do not fit it
   */
  emit(path: string, interfaceName: string, signal: string, args: readonly unknown[]): void;
  /** Leaves the bus for good, after all that was sent before. Calls that are under way are not answered. */
  close(): Promise<void>;
}
