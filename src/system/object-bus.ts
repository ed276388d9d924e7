import { errorText } from '../../hw/errors.ts';
import { isInterfaceName, isMemberName, isObjectPath, isWellKnownName } from '../dbus-names.ts';
import {
  BUS,
  connectDbus,
  createBusBackoff,
  type DbusConnection,
  type DbusOptions,
  type DbusSignal,
} from './dbus/connection.ts';
import { isSingleSignature, misuse } from './dbus/values.ts';
import { SystemError } from './errors.ts';
import { createTree, type Tree } from './object-tree.ts';
import type { ObjectBus, Publication, ServedInterface, ServedObject } from './ports.ts';

export interface ObjectBusOptions extends DbusOptions, Publication {}

/** Argument and results of RequestName (D-Bus specification, "org.freedesktop.DBus.RequestName"). */
const DO_NOT_QUEUE = 4;
const PRIMARY_OWNER = 1;
const ALREADY_OWNER = 4;

/**
 * Objects on the system bus (`ObjectBus`). Connects with `start`.
 * @throws SystemError DBUS_MISUSE for objects that cannot be on a bus, such as a path that is none
 */
export function createObjectBus(options: ObjectBusOptions): ObjectBus {
  assertPublishable(options);
  const tree = createTree(options);
  const link = createLink(options, tree);
  return {
    start: link.start,

    get isConnected() {
      return link.isConnected;
    },

    changed(path, interfaceName, property) {
      const signal = tree.propertyChanged(path, interfaceName, property);
      if (signal !== undefined) link.send(signal);
    },

    emit: (path, interfaceName, signal, args) => link.send(tree.signal(path, interfaceName, signal, args)),

    close: link.close,
  };
}

/** The connection that carries the objects. It is made with `start`, and again whenever it was lost. */
interface Link extends Pick<ObjectBus, 'start' | 'isConnected' | 'close'> {
  /** Sends nothing while there is no connection. */
  send(signal: DbusSignal): void;
}

function createLink(options: ObjectBusOptions, tree: Tree): Link {
  const leaving = new AbortController();
  const backoff = createBusBackoff();
  const report = createReport(options);
  let connection: DbusConnection | undefined;
  let isConnected = false;
  let started: Promise<void> | undefined;
  let opening: Promise<void> | undefined;
  let cancelRetry: () => void = () => undefined;

  /** Leaves nothing on the bus when it rejects. */
  const open = async (): Promise<void> => {
    const opened = await connectDbus({ ...options, served: tree, signal: leaving.signal });
    connection = opened;
    try {
      for (const name of options.names) await ownName(opened, name);
      if (leaving.signal.aborted) throw wasClosed();
    } catch (error) {
      connection = undefined;
      await opened.close();
      throw error;
    }
    for (const signal of tree.announcements()) opened.signal(signal);
    isConnected = true;
    report.up();
    opened.onLost((error) => onLost(opened, error));
  };

  const onLost = (lost: DbusConnection, error: SystemError) => {
    isConnected = false;
    // `close` is under way, and lets out what was sent before.
    if (leaving.signal.aborted) return;
    connection = undefined;
    lost.close();
    backoff.reset();
    // `onConnection` may `close`, so the next try must be planned before.
    retry();
    report.down(error);
  };

  const retry = () => {
    cancelRetry = options.clock.after(backoff.nextMs(), () => {
      opening = open().catch((error: unknown) => {
        if (leaving.signal.aborted) return;
        retry();
        report.down(asSystemError(error));
      });
    });
  };

  return {
    get isConnected() {
      return isConnected;
    },

    start() {
      if (leaving.signal.aborted) return Promise.reject(wasClosed());
      started ??= open().catch((error: unknown) => {
        started = undefined;
        throw error;
      });
      opening = started;
      return started;
    },

    send: (signal) => connection?.signal(signal),

    async close() {
      leaving.abort();
      cancelRetry();
      isConnected = false;
      await connection?.close();
      await opening?.catch(() => undefined);
    },
  };
}

/** Reports to `onConnection` that the connection is made, or why it is not: the latter once for each code. */
function createReport(publication: Pick<Publication, 'onConnection'>) {
  let downCode: string | undefined;
  return {
    up(): void {
      downCode = undefined;
      publication.onConnection?.(true);
    },
    down(error: SystemError): void {
      if (error.code === downCode) return;
      downCode = error.code;
      publication.onConnection?.(false, error);
    },
  };
}

const wasClosed = () => new SystemError('DBUS_UNAVAILABLE', 'the object bus was closed');

const asSystemError = (error: unknown) =>
  error instanceof SystemError
    ? error
    : new SystemError('DBUS_UNAVAILABLE', errorText(error), {}, { cause: error });

async function ownName(connection: DbusConnection, name: string): Promise<void> {
  const request = { ...BUS, member: 'RequestName', signature: 'su', body: [name, DO_NOT_QUEUE] };
  const [result] = await connection.call(request).catch((error: unknown) => {
    if (!(error instanceof SystemError) || error.details.dbusError === undefined) throw error;
    throw new SystemError(
      'DBUS_NAME_DENIED',
      `the bus does not let this process own ${name} (${error.message}): install the D-Bus policy that allows it`,
      { name, dbusError: error.details.dbusError },
      { cause: error },
    );
  });
  if (result === PRIMARY_OWNER || result === ALREADY_OWNER) return;
  const pid = await processThatOwns(connection, name);
  throw new SystemError(
    'DBUS_NAME_TAKEN',
    `another process${pid === undefined ? '' : ` (pid ${pid})`} owns ${name} on the bus: end it, or the service that runs it`,
    { name, pid },
  );
}

async function processThatOwns(connection: DbusConnection, name: string): Promise<number | undefined> {
  const request = { ...BUS, member: 'GetConnectionUnixProcessID', signature: 's', body: [name] };
  try {
    const [pid] = await connection.call(request);
    return Number(pid);
  } catch {
    // It is for the message only, and the owner may just have gone.
    return undefined;
  }
}

/** @throws SystemError DBUS_MISUSE for what the bus or its clients would not take */
function assertPublishable({ names, managerPaths, objects }: Publication): void {
  const problems = [
    ...names.filter((name) => !isWellKnownName(name)).map((name) => `${name} is no name on a bus`),
    ...managerPaths.filter((path) => !isObjectPath(path)).map((path) => `${path} is no object path`),
    ...repeated(objects.map(({ path }) => path)).map((path) => `${path} is there twice`),
    ...objects.flatMap(problemsOfObject),
  ];
  if (problems.length > 0) throw misuse(`this cannot be published: ${problems.join('; ')}`);
}

const repeated = (texts: readonly string[]) => texts.filter((text, index) => texts.indexOf(text) < index);

function problemsOfObject({ path, interfaces }: ServedObject): string[] {
  return [
    ...(isObjectPath(path) ? [] : [`${path} is no object path`]),
    ...repeated(interfaces.map(({ name }) => name)).map((name) => `${path} has ${name} twice`),
    ...interfaces.flatMap(problemsOfInterface),
  ];
}

function problemsOfInterface({ name, methods, properties, signals }: ServedInterface): string[] {
  const members = [methods, properties, signals].flatMap((one) => Object.keys(one));
  const typed = [
    ...Object.values(methods).flatMap((method) => [...method.in, ...method.out]),
    ...Object.values(signals).flatMap(({ args }) => args),
    ...Object.entries(properties).map(([property, { signature }]) => ({ name: property, signature })),
  ];
  return [
    ...(isInterfaceName(name) ? [] : [`${name} is no name of an interface`]),
    ...(name.startsWith('org.freedesktop.DBus.') ? [`${name} is there by itself`] : []),
    ...members.filter((one) => !isMemberName(one)).map((one) => `${name}.${one} is no name of a member`),
    ...typed
      .filter(({ signature }) => !isSingleSignature(signature))
      .map(
        (one) =>
          `${one.name} of ${name} has the signature "${one.signature}", which is not that of one value`,
      ),
  ];
}
