import type { Socket } from 'node:net';
import type { Message, MessageBus, Variant } from 'dbus-next';
import { errnoCode, errorText, HardwareError } from '../errors.ts';
import type { Clock } from '../ports.ts';
import { isInterfaceName, isMemberName, isObjectPath, misuse, toSendable } from './dbus-values.ts';

/** The only importer of dbus-next. It loads with the first connection, not before. */
const load = async () => (await import('dbus-next')).default;
type Library = Awaited<ReturnType<typeof load>>;

export interface DbusOptions {
  readonly clock: Clock;
  /** D-Bus address. Default: DBUS_SYSTEM_BUS_ADDRESS, or the system bus of the machine. */
  readonly address?: string;
  /** Longest time for the connection and for one call that gives no time of its own. */
  readonly callTimeoutMs?: number;
}

export interface DbusConnectOptions extends DbusOptions {
  /**
   * Takes every method call to this connection, from the first message on. Without it the library
   * answers, as somebody who has no objects.
   */
  readonly onCall?: (call: IncomingCall) => void;
  /** Gives up connecting with `DBUS_UNAVAILABLE`; without effect on a connection that is made. */
  readonly signal?: AbortSignal;
}

/**
 * A method call from another process, which `reply` or `fail` ends. Where the caller wants no answer, or
 * the connection has ended, both do nothing.
 */
export interface IncomingCall {
  /** Unique name of the caller. */
  readonly sender: string;
  readonly path: string;
  /** Callers may leave it open. */
  readonly interface: string | undefined;
  readonly member: string;
  readonly signature: string;
  /** Variants in it are `DbusVariant`, dictionaries are objects, 64-bit integers are BigInt, `ay` is a Buffer. */
  readonly body: readonly unknown[];
  /** @throws HardwareError DBUS_MISUSE when the values do not fit the signature; the call waits on then */
  reply(signature: string, body: readonly unknown[]): void;
  /** Answers with an error and the first line of `text`. What cannot be the name of an error becomes `FAILED`. */
  fail(name: string, text: string): void;
}

export interface DbusCall {
  readonly destination: string;
  readonly path: string;
  readonly interface: string;
  readonly member: string;
  readonly signature?: string;
  readonly body?: readonly unknown[];
  readonly timeoutMs?: number;
}

/** Which signals are wanted. `sender` may be a well-known name. */
export interface DbusSignalRule {
  readonly sender: string;
  readonly path: string;
  readonly interface: string;
  readonly member: string;
}

export interface DbusSignal {
  readonly path: string;
  readonly interface: string;
  readonly member: string;
  readonly signature: string;
  readonly body: readonly unknown[];
}

export interface DbusConnection {
  /** False once the bus went away or `close` was called; nothing brings it back. */
  readonly isOpen: boolean;
  /**
   * Calls a method and gives the body of its reply. Rejects `DBUS_TIMEOUT`, `DBUS_UNAVAILABLE` (also
   * when nobody has the destination's name) or, for an error reply, `SYSTEMD_FAILED` with its name in
   * `details.dbusError`.
   */
  call(call: DbusCall): Promise<unknown[]>;
  /**
   * Resolves once signals that match are sure to be delivered to `handler`. Returns the function that
   * ends it.
   */
  onSignal(rule: DbusSignalRule, handler: (body: unknown[]) => void): Promise<() => Promise<void>>;
  /**
   * Sends a signal to whoever listens; after the end of the connection, to nobody.
   * @throws HardwareError DBUS_MISUSE when names or values cannot be sent; nothing was sent then
   */
  signal(signal: DbusSignal): void;
  /** Calls `handler` once when the connection ends or has ended, also by `close`. Returns the function that ends it. */
  onLost(handler: (error: HardwareError) => void): () => void;
  /** Rejects what is pending, and disconnects. */
  close(): Promise<void>;
}

/** FHS 3.0 and the D-Bus specification say /var/run, of which /run is the place without a symlink. */
const SYSTEM_BUS_ADDRESS = 'unix:path=/run/dbus/system_bus_socket';
/** The default of libdbus (`_DBUS_DEFAULT_TIMEOUT_VALUE`). */
const CALL_TIMEOUT_MS = 25_000;
/** Somewhat arbitrary: a bus that runs closes its end at once. */
const CLOSE_DEADLINE_MS = 500;

/** Somewhat arbitrary: a text for people, which may quote what another process sent. */
const MAX_ERROR_TEXT_CHARACTERS = 500;
/** Somewhat arbitrary: far above what waits at a bus that is only busy. */
const MAX_UNSENT_BYTES = 4 * 1024 * 1024;

/** The bus itself, as the one who is called. */
export const BUS = {
  destination: 'org.freedesktop.DBus',
  path: '/org/freedesktop/DBus',
  interface: 'org.freedesktop.DBus',
} as const;

/** The error that says no more than its text. */
export const FAILED = 'org.freedesktop.DBus.Error.Failed';

/** Error replies of the bus itself: the peer is not there, cannot be started or left before it answered. */
const PEER_GONE =
  /^org\.freedesktop\.DBus\.Error\.(ServiceUnknown|NameHasNoOwner|NoReply|Disconnected|Spawn\..+)$/;

/** Makes the error of a bus that is not there, or no longer. */
type Unavailable = (error: unknown, what: string) => HardwareError;

/** What the library (0.10.2) does not tell or does wrong can only be had from its inside. */
interface Internals {
  readonly _connection: NodeJS.EventEmitter & { readonly stream: Socket };
  readonly _methodReturnHandlers: Record<string, unknown>;
}

/**
 * Connects to the system bus. Rejects `DBUS_UNAVAILABLE`, or `DBUS_TIMEOUT` when the bus accepts but
 * does not answer. Every call ends: with its reply, its deadline, or the end of the connection.
 */
export async function connectDbus(options: DbusConnectOptions): Promise<DbusConnection> {
  const { clock, callTimeoutMs = CALL_TIMEOUT_MS, onCall, signal: abort } = options;
  const address = options.address ?? (process.env.DBUS_SYSTEM_BUS_ADDRESS || SYSTEM_BUS_ADDRESS);
  const library = await load();
  const { sessionBus, Message, MessageType, MessageFlag } = library;

  const unavailable: Unavailable = (error, what) =>
    new HardwareError(
      'DBUS_UNAVAILABLE',
      `${what} (${address}: ${errnoCode(error) ?? errorText(error)}): check that dbus.service runs, that this process may use its socket, and DBUS_SYSTEM_BUS_ADDRESS`,
      { address },
      { cause: error },
    );
  const wasClosed = () =>
    new HardwareError('DBUS_UNAVAILABLE', 'the connection to the D-Bus system bus was closed', { address });

  if (abort?.aborted) throw wasClosed();
  let bus: MessageBus;
  try {
    // EXTERNAL only: the library's next method looks for cookies and hides why the first one failed.
    bus = sessionBus({ busAddress: address, authMethods: ['EXTERNAL'] });
  } catch (error) {
    throw unavailable(error, 'the D-Bus system bus cannot be addressed');
  }
  const { stream } = (bus as unknown as Internals)._connection;
  const waits = createWaits(clock, address);
  const connected = watch(library, bus, waits, unavailable);

  const send = (message: Message) => {
    if (stream.writableLength > MAX_UNSENT_BYTES) {
      waits.lose(unavailable('it reads nothing', 'the D-Bus system bus hangs'));
      stream.destroy();
    }
    if (waits.lost !== undefined) return;
    message.flags = MessageFlag.NO_REPLY_EXPECTED;
    try {
      bus.send(message);
    } catch (error) {
      if (!isClosedStream(error))
        throw misuse(`the message cannot be sent: ${errorText(error)}`, { cause: error });
    }
  };

  if (onCall !== undefined) {
    bus.addMethodHandler((message: Message) => {
      try {
        onCall(incomingCall(library, send, message));
      } catch (error) {
        // The library would send the stack to the caller.
        incomingCall(library, send, message).fail(FAILED, errorText(error));
      }
      return true;
    });
  }

  const onAbort = () => waits.lose(wasClosed());
  abort?.addEventListener('abort', onAbort);
  try {
    await waits.within(
      callTimeoutMs,
      `the D-Bus system bus (${address}) accepts connections but does not answer`,
      () => connected,
    );
  } catch (error) {
    stream.destroy();
    throw error;
  } finally {
    abort?.removeEventListener('abort', onAbort);
  }

  const call = async (request: DbusCall): Promise<unknown[]> => {
    const { timeoutMs = callTimeoutMs, body = [], ...header } = request;
    const what = `${request.member} of ${request.destination}`;
    const reply = await waits.within(timeoutMs, `${what} did not answer within ${timeoutMs} ms`, async () => {
      try {
        return await bus.call(new Message({ ...header, body: [...body] }));
      } catch (error) {
        throw replyError(error, what, request, unavailable);
      }
    });
    return reply?.body ?? [];
  };

  return {
    get isOpen() {
      return waits.lost === undefined;
    },

    call,

    async onSignal(rule, handler) {
      // Matched by hand, and not by sender: the bus applies the rule, and its signals carry the unique
      // name of the sender, which changes when the service restarts.
      const listener = (message: Message) => {
        if (message.type !== MessageType.SIGNAL || message.path !== rule.path) return;
        if (message.interface !== rule.interface || message.member !== rule.member) return;
        handler(message.body);
      };
      const match = `type='signal',sender='${rule.sender}',path='${rule.path}',interface='${rule.interface}',member='${rule.member}'`;
      bus.on('message', listener);
      try {
        await call({ ...BUS, member: 'AddMatch', signature: 's', body: [match] });
      } catch (error) {
        bus.off('message', listener);
        throw error;
      }
      return async () => {
        bus.off('message', listener);
        if (waits.lost === undefined) {
          await call({ ...BUS, member: 'RemoveMatch', signature: 's', body: [match] });
        }
      };
    },

    signal({ path, interface: name, member, signature, body }) {
      if (!isObjectPath(path) || !isInterfaceName(name) || !isMemberName(member)) {
        throw misuse(`no signal can be called ${name}.${member} of ${path}`);
      }
      send(Message.newSignal(path, name, member, signature, toLibrary(library, signature, body)));
    },

    onLost: waits.onLost,

    async close() {
      if (waits.lost !== undefined) {
        stream.destroy();
        return;
      }
      waits.lose(wasClosed());
      const closed = new Promise<void>((resolve) => {
        const cancel = clock.after(CLOSE_DEADLINE_MS, resolve);
        stream.once('close', () => {
          cancel();
          resolve();
        });
      });
      bus.disconnect();
      await closed;
      // A bus that hangs would keep the socket, and with it this process.
      stream.destroy();
    },
  };
}

/** Lets `waits` know when a connection ends, or is not made. Resolves once it is made. */
function watch(
  { MessageType }: Library,
  bus: MessageBus,
  waits: Waits,
  unavailable: Unavailable,
): Promise<void> {
  const internals = bus as unknown as Internals;
  const { stream } = internals._connection;
  let isMade = false;

  // Without a handler for 'error' the process would crash; the library emits it for whatever it meets,
  // also for one message that it cannot understand.
  bus.on('error', (error) => {
    if (isMade && !stream.destroyed) return;
    waits.lose(unavailable(error, 'the connection to the D-Bus system bus failed'));
  });
  const onEnd = () =>
    waits.lose(unavailable(new Error('closed by the bus'), 'the D-Bus system bus went away'));
  stream.on('end', onEnd);
  stream.on('close', onEnd);
  // The library listens to the stream right after 'connect'.
  internals._connection.once('connect', () => process.nextTick(guardReading, stream));

  // The library answers an error reply to its Hello with a rejection that nobody can handle.
  const onRefused = ({ type, replySerial, errorName, body }: Message) => {
    if (type !== MessageType.ERROR) return;
    delete internals._methodReturnHandlers[replySerial];
    waits.lose(unavailable(`${errorName}: ${body[0]}`, 'the D-Bus system bus turns this process away'));
  };
  bus.on('message', onRefused);

  return new Promise((resolve) => {
    bus.on('connect', () => {
      isMade = true;
      bus.off('message', onRefused);
      resolve();
    });
  });
}

/** What waits for a connection, and ends with it. */
interface Waits {
  readonly lost: HardwareError | undefined;
  /** Ends everything that waits, once. */
  lose(error: HardwareError): void;
  /** Settles like `start`'s promise, or rejects with the deadline or the end of the connection. */
  within<T>(timeoutMs: number, timeoutText: string, start: () => Promise<T>): Promise<T>;
  onLost: DbusConnection['onLost'];
}

function createWaits(clock: Clock, address: string): Waits {
  const pending = new Set<(error: HardwareError) => void>();
  let lost: HardwareError | undefined;

  return {
    get lost() {
      return lost;
    },

    lose(error) {
      lost ??= error;
      const rejects = [...pending];
      pending.clear();
      for (const reject of rejects) reject(lost);
    },

    within: (timeoutMs, timeoutText, start) =>
      new Promise((resolve, reject) => {
        if (lost !== undefined) {
          reject(lost);
          return;
        }
        const end = (settle: () => void) => {
          pending.delete(fail);
          cancel();
          settle();
        };
        const fail = (error: HardwareError) => end(() => reject(error));
        pending.add(fail);
        const cancel = clock.after(timeoutMs, () =>
          fail(new HardwareError('DBUS_TIMEOUT', timeoutText, { address, timeoutMs })),
        );
        start().then(
          (value) => end(() => resolve(value)),
          (error: unknown) => end(() => reject(error)),
        );
      }),

    onLost(handler) {
      if (lost !== undefined) {
        const error = lost;
        queueMicrotask(() => handler(error));
      } else pending.add(handler);
      return () => pending.delete(handler);
    },
  };
}

/**
 * Lets the library pass over a message that it cannot read, such as one with file descriptors: its
 * listener throws then, which would end the process, and goes on with the next message when it is called
 * again.
 */
function guardReading(stream: Socket): void {
  for (const read of stream.listeners('readable')) {
    stream.off('readable', read as () => void);
    stream.on('readable', () => {
      for (;;) {
        const unread = stream.readableLength;
        try {
          read();
          return;
        } catch (error) {
          if (stream.readableLength < unread) continue;
          stream.destroy(error as Error);
          return;
        }
      }
    });
  }
}

/** @throws HardwareError DBUS_MISUSE when a value cannot be sent */
function toLibrary({ Variant }: Library, signature: string, body: readonly unknown[]): unknown[] {
  return toSendable(signature, body, (type, value): Variant => new Variant(type, value));
}

/** The library's types say string for the message that is answered. */
const asRequest = (message: Message) => message as unknown as string;

function incomingCall(library: Library, send: (message: Message) => void, message: Message): IncomingCall {
  const { Message, MessageFlag } = library;
  const { sender, path, member, signature, body } = message;
  const isAwaited = (message.flags & MessageFlag.NO_REPLY_EXPECTED) === 0;
  return {
    sender,
    path,
    interface: message.interface,
    member,
    signature,
    body,

    reply(outSignature, values) {
      if (!isAwaited) return;
      send(Message.newMethodReturn(message, outSignature, toLibrary(library, outSignature, values)));
    },

    fail(name, text) {
      if (!isAwaited) return;
      const errorName = isInterfaceName(name) ? name : FAILED;
      send(Message.newError(asRequest(message), errorName, firstLine(text)));
    },
  };
}

function replyError(error: unknown, what: string, request: DbusCall, unavailable: Unavailable): unknown {
  const name = error instanceof Error && 'type' in error ? String(error.type) : undefined;
  if (name === undefined) {
    // Not a reply. Either the library refuses to write to a closed connection, or our message is wrong.
    return isClosedStream(error) ? unavailable(error, 'the D-Bus system bus went away') : error;
  }
  const text = `${what} failed: ${errorText(error)} (${name})`;
  const details = { destination: request.destination, member: request.member, dbusError: name };
  if (PEER_GONE.test(name)) {
    return new HardwareError(
      'DBUS_UNAVAILABLE',
      `${text}: check that ${request.destination} runs on this bus`,
      details,
      { cause: error },
    );
  }
  return new HardwareError('SYSTEMD_FAILED', text, details, { cause: error });
}

/** Whether the library refused to write because the connection has ended. */
const isClosedStream = (error: unknown) => /stream is closed|closed stream/.test(errorText(error));

/** What can be sent of an error's text: no stack, no null character, and nothing endless. */
function firstLine(text: string): string {
  const line = text
    .replaceAll('\0', ' ')
    .trim()
    .split(/[\r\n]/, 1)
    .join('')
    .trim();
  return line.length > MAX_ERROR_TEXT_CHARACTERS ? `${line.slice(0, MAX_ERROR_TEXT_CHARACTERS)} …` : line;
}
