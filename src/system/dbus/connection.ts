import type { Socket } from 'node:net';
import type { Message, MessageBus, Variant } from 'dbus-next';
import { errnoCode, errorText } from '../../../hw/errors.ts';
import type { Clock } from '../../../hw/ports.ts';
import { type Backoff, createBackoff } from '../../../hw/waiting.ts';
import { isInterfaceName, isMemberName, isObjectPath } from '../../dbus-names.ts';
import { oneLine } from '../../printable.ts';
import { SystemError, standardError } from '../errors.ts';
import { createFrameReader } from './frames.ts';
import { type CallHeader, type CallTaker, createInbox, type Inbox } from './inbox.ts';
import { createSignals, type DbusSignalRule } from './signals.ts';
import { createSuspects } from './suspects.ts';
import { misuse, toSendable } from './values.ts';

/** The only importer of dbus-next. It loads with the first connection, not before. */
const load = async () => (await import('dbus-next')).default;
type Library = Awaited<ReturnType<typeof load>>;

/** A bus that was only restarted is back within this time. */
const FIRST_RETRY_MS = 100;
/** Somewhat arbitrary. */
const LAST_RETRY_MS = 5_000;

/** The waits for a bus that is away. */
export function createBusBackoff(): Backoff {
  return createBackoff(FIRST_RETRY_MS, LAST_RETRY_MS);
}

export interface DbusOptions {
  readonly clock: Clock;
  /** D-Bus address. Default: DBUS_SYSTEM_BUS_ADDRESS, or the system bus of the machine. */
  readonly address?: string;
  /** Longest time for the connection and for one call that gives no time of its own. */
  readonly callTimeoutMs?: number;
}

export interface DbusConnectOptions extends DbusOptions {
  /** Answers the method calls to this connection, from the first message on. Without it all calls are refused. */
  readonly served?: Served;
  /** Called for some of the messages that a well-behaved peer never sends. Must not throw. */
  readonly onRefused?: (text: string) => void;
  /** Aborted, connecting rejects `DBUS_UNAVAILABLE`; no effect on a connection that is made. */
  readonly signal?: AbortSignal;
}

export interface Served extends Pick<CallTaker, 'refuse'> {
  /** Takes a call that was not refused. The caller gets an error that it throws. */
  answer(call: IncomingCall): void;
}

/**
 * A method call of another process, which `reply` or `fail` ends. Both do nothing where the caller wants no reply or the
 * connection has ended.
 */
export interface IncomingCall {
  /** Unique name of the caller. */
  readonly sender: string;
  readonly path: string;
  /** Undefined where the caller left it out. */
  readonly interface: string | undefined;
  readonly member: string;
  readonly signature: string;
  /** Variants in it are `DbusVariant`, dictionaries are objects, 64-bit integers are BigInt, `ay` is a Buffer. */
  readonly body: readonly unknown[];
  /** @throws SystemError DBUS_MISUSE when the values do not fit the signature; the call waits on then */
  reply(signature: string, body: readonly unknown[]): void;
  /** Replies with an error and the first line of `text`. An invalid name of an error becomes `FAILED`. */
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

export interface DbusSignal {
  readonly path: string;
  readonly interface: string;
  readonly member: string;
  readonly signature: string;
  readonly body: readonly unknown[];
}

export interface DbusConnection {
  /** False for good once the bus went away or `close` was called. */
  readonly isOpen: boolean;
  /**
   * Calls a method and gives the body of the reply. A reply counts only from the process that was called. Rejects
   * `DBUS_TIMEOUT`, `DBUS_UNAVAILABLE` (also where the destination has no owner), `DBUS_MALFORMED` for a reply that cannot
   * be read or, for an error reply, `SYSTEMD_FAILED` with its name in `details.dbusError`.
   */
  call(call: DbusCall): Promise<unknown[]>;
  /**
   * Resolves once matching signals are sure to reach `handler`. Signals count only from the owner of the sender's name at
   * that moment. When it rejects, no rule is left at the bus. Returns the function that ends it.
   */
  onSignal(rule: DbusSignalRule, handler: (body: unknown[]) => void): Promise<() => Promise<void>>;
  /**
   * Sends a signal to all listeners; after the end of the connection, to none.
   * @throws SystemError DBUS_MISUSE when names or values cannot be sent; nothing was sent then
   */
  signal(signal: DbusSignal): void;
  /** Calls `handler` once when the connection ends or has ended, by `close` too. Returns the function that cancels this. */
  onLost(handler: (error: SystemError) => void): () => void;
  /** Rejects all pending calls, and disconnects. */
  close(): Promise<void>;
}

/** FHS 3.0 and the D-Bus specification have /var/run, which is a link to /run. */
const SYSTEM_BUS_ADDRESS = 'unix:path=/run/dbus/system_bus_socket';
/** The default of libdbus (`_DBUS_DEFAULT_TIMEOUT_VALUE`). */
const CALL_TIMEOUT_MS = 25_000;
/** Somewhat arbitrary: a bus that runs closes its end at once. */
const CLOSE_DEADLINE_MS = 500;

/** Somewhat arbitrary, for a text that may quote another process. */
const MAX_ERROR_TEXT_CHARACTERS = 500;
/** Somewhat arbitrary: time for consecutive messages, before other work has its turn. */
const TURN_MS = 0.5;
/** Size of one read of Node. After a full read more is waiting, and Node would read up to 32 times in a row. */
const FULL_READ_BYTES = 64 * 1024;
/** Somewhat arbitrary: far above the backlog of a busy bus. */
const MAX_UNSENT_BYTES = 4 * 1024 * 1024;

/** The bus itself, as the destination of calls. */
export const BUS = {
  destination: 'org.freedesktop.DBus',
  path: '/org/freedesktop/DBus',
  interface: 'org.freedesktop.DBus',
} as const;

/** The name of an error without a more special one. */
export const FAILED = 'org.freedesktop.DBus.Error.Failed';

/** Error replies of the bus itself: the peer is not there, cannot be started or left before it answered. */
const PEER_GONE =
  /^org\.freedesktop\.DBus\.Error\.(ServiceUnknown|NameHasNoOwner|NoReply|Disconnected|Spawn\..+)$/;

/** Makes the error of a bus that is not there, or went away. */
type Unavailable = (error: unknown, what: string) => SystemError;

/**
 * Private parts of the library (0.10.2). The library reads any message whole before its header can be judged, so messages
 * are read here instead. The library gets only the reply to its Hello.
 */
interface Internals {
  readonly _connection: NodeJS.EventEmitter & { readonly stream: Socket };
  readonly _methodReturnHandlers: Record<string, unknown>;
}

/**
 * Connects to the system bus. Rejects `DBUS_UNAVAILABLE`, or `DBUS_TIMEOUT` when the bus accepts but
 * does not answer. Every call ends: with its reply, its deadline, or the end of the connection.
 */
export async function connectDbus(options: DbusConnectOptions): Promise<DbusConnection> {
  const { clock, callTimeoutMs = CALL_TIMEOUT_MS, signal: abort } = options;
  const address = options.address ?? (process.env.DBUS_SYSTEM_BUS_ADDRESS || SYSTEM_BUS_ADDRESS);
  const library = await load();
  const wasClosed = () =>
    new SystemError('DBUS_UNAVAILABLE', 'the connection to the D-Bus system bus was closed', { address });
  if (abort?.aborted) throw wasClosed();

  const link = openLink(options, address, library);
  const { bus, stream, waits, send } = link;
  const onAbort = () => waits.lose(wasClosed());
  abort?.addEventListener('abort', onAbort);
  try {
    await waits.within(
      callTimeoutMs,
      `the D-Bus system bus (${address}) accepts connections but does not answer`,
      () => link.connected,
    );
  } catch (error) {
    stream.destroy();
    throw error;
  } finally {
    abort?.removeEventListener('abort', onAbort);
  }
  const { call, onSignal } = createCalls(link, callTimeoutMs);

  return {
    get isOpen() {
      return waits.lost === undefined;
    },

    call,
    onSignal,

    signal({ path, interface: name, member, signature, body }) {
      if (!isObjectPath(path) || !isInterfaceName(name) || !isMemberName(member)) {
        throw misuse(`no signal can be called ${name}.${member} of ${path}`);
      }
      send(library.Message.newSignal(path, name, member, signature, toLibrary(library, signature, body)));
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

/** A connection under way, with all that reads and writes it. */
interface Link {
  readonly library: Library;
  readonly bus: MessageBus;
  readonly stream: Socket;
  readonly waits: Waits;
  readonly inbox: Inbox;
  readonly unavailable: Unavailable;
  /** Sends a message that no reply is expected to; once the connection has ended, drops it. */
  readonly send: Send;
  /** Resolves once the connection is made. */
  readonly connected: Promise<void>;
}

/** @throws SystemError DBUS_UNAVAILABLE for an address that cannot be used */
function openLink(options: DbusConnectOptions, address: string, library: Library): Link {
  const { clock, served, onRefused } = options;
  const unavailable: Unavailable = (error, what) =>
    new SystemError(
      'DBUS_UNAVAILABLE',
      `${what} (${address}: ${errnoCode(error) ?? errorText(error)}): check that dbus.service runs, that this process may use its socket, and DBUS_SYSTEM_BUS_ADDRESS`,
      { address },
      { cause: error },
    );
  let bus: MessageBus;
  try {
    // EXTERNAL only: the library's next method looks for cookies and hides why the first one failed.
    bus = library.sessionBus({ busAddress: address, authMethods: ['EXTERNAL'] });
  } catch (error) {
    throw unavailable(error, 'the D-Bus system bus cannot be addressed');
  }
  const { stream } = (bus as unknown as Internals)._connection;
  const waits = createWaits(clock, address);

  const send: Send = (message) => {
    if (stream.writableLength > MAX_UNSENT_BYTES) {
      waits.lose(unavailable('it reads nothing', 'the D-Bus system bus hangs'));
      stream.destroy();
    }
    if (waits.lost !== undefined) return;
    message.flags = library.MessageFlag.NO_REPLY_EXPECTED;
    try {
      bus.send(message);
    } catch (error) {
      if (!isClosedStream(error))
        throw misuse(`the message cannot be sent: ${errorText(error)}`, { cause: error });
    }
  };

  const suspect = createSuspects(clock, onRefused);
  const inbox = createInbox({
    calls: takeCalls(library, send, served),
    busName: BUS.destination,
    onSuspect: suspect,
  });
  const read = createFrameReader({ judge: inbox.judge, passedOver: (what) => suspect(undefined, what) });
  const connected = watch(library, bus, { waits, inbox, unavailable }, () =>
    readMessages(stream, clock, read, (error) =>
      waits.lose(unavailable(error, 'the D-Bus system bus speaks another language')),
    ),
  );
  return { library, bus, stream, waits, inbox, unavailable, send, connected };
}

/** Calls of methods, and the signals that are followed by calls of the bus. */
function createCalls(
  { library, bus, waits, inbox, unavailable, send }: Link,
  callTimeoutMs: number,
): Pick<DbusConnection, 'call' | 'onSignal'> {
  const { Message } = library;
  const call = async (request: DbusCall): Promise<unknown[]> => {
    const { timeoutMs = callTimeoutMs, body = [], ...header } = request;
    const what = `${request.member} of ${request.destination}`;
    const serial = bus.newSerial();
    let isOver = false;
    try {
      return await waits.within(timeoutMs, `${what} did not answer within ${timeoutMs} ms`, async () => {
        await signals.follow(request.destination);
        // The deadline may have passed meanwhile: a call that was given up must not be sent later.
        if (isOver) return [];
        const owner = signals.ownerOf(request.destination);
        const answer = new Promise<unknown[]>((resolve, reject) => {
          inbox.expect(serial, {
            isFrom: (sender) => sender === owner || sender === signals.ownerOf(request.destination),
            done: resolve,
            failed: (name, text) => reject(replyError(name, text, what, request)),
            lost: reject,
          });
        });
        try {
          bus.send(new Message({ ...header, serial, body: [...body] }));
        } catch (error) {
          throw isClosedStream(error) ? unavailable(error, 'the D-Bus system bus went away') : error;
        }
        return answer;
      });
    } finally {
      isOver = true;
      inbox.forget(serial);
    }
  };
  const ofBus = (member: string, argument: string) => ({ ...BUS, member, signature: 's', body: [argument] });
  const signals = createSignals({
    inbox,
    bus: BUS,
    ask: (member, argument) => call(ofBus(member, argument)),
    tell: (member, argument) => send(new Message(ofBus(member, argument))),
    isOpen: () => waits.lost === undefined,
  });
  return { call, onSignal: signals.subscribe };
}

interface Watched {
  readonly waits: Waits;
  readonly inbox: Inbox;
  readonly unavailable: Unavailable;
}

/**
 * Ends `waits` when the connection ends, or is not made, and takes the reading of messages from the library: `startReading`
 * is called before the first message can arrive. Resolves once the connection is made.
 */
function watch(
  { Message, MessageType }: Library,
  bus: MessageBus,
  { waits, inbox, unavailable }: Watched,
  startReading: () => void,
): Promise<void> {
  const { _connection: connection, _methodReturnHandlers: greeting } = bus as unknown as Internals;
  const { stream } = connection;
  let isMade = false;

  // Without a handler for 'error' the process would crash; the library emits it for whatever it meets.
  bus.on('error', (error) => {
    if (isMade && !stream.destroyed) return;
    waits.lose(unavailable(error, 'the connection to the D-Bus system bus failed'));
  });
  const onEnd = () =>
    waits.lose(unavailable(new Error('closed by the bus'), 'the D-Bus system bus went away'));
  stream.on('end', onEnd);
  stream.on('close', onEnd);
  // The library listens to the stream right after 'connect'.
  connection.once('connect', () =>
    process.nextTick(() => {
      stream.removeAllListeners('readable');
      startReading();
    }),
  );

  const turnedAway = (why: string) =>
    waits.lose(unavailable(why, 'the D-Bus system bus turns this process away'));
  // So far the library has called nothing but Hello.
  for (const serial of Object.keys(greeting).map(Number)) {
    inbox.expect(serial, {
      isFrom: (sender) => sender === BUS.destination,
      done: (body) =>
        connection.emit(
          'message',
          new Message({
            type: MessageType.METHOD_RETURN,
            replySerial: serial,
            signature: 's',
            body,
          } as never),
        ),
      failed: (name, text) => turnedAway(`${name}: ${text}`),
      lost: (error) => turnedAway(errorText(error)),
    });
  }

  return new Promise((resolve) => {
    bus.on('connect', () => {
      isMade = true;
      resolve();
    });
  });
}

/**
 * Reads messages as long as the stream lives, a few at a time: a process that floods the bus must not keep this one from
 * its chassis. `read` gives back the bytes after one message; an error that it throws ends the stream.
 */
function readMessages(
  stream: Socket,
  clock: Clock,
  read: (chunk: Buffer) => Buffer,
  onBroken: (error: unknown) => void,
): void {
  let cancelTurn: () => void = () => undefined;
  const work = (chunk: Buffer, isFull = false) => {
    const untilMs = clock.nowMs() + TURN_MS;
    let rest = chunk;
    try {
      while (rest.length > 0 && !stream.destroyed && clock.nowMs() < untilMs) rest = read(rest);
    } catch (error) {
      onBroken(error);
      stream.destroy();
    }
    if (stream.destroyed || (rest.length === 0 && !isFull && clock.nowMs() < untilMs)) return;
    stream.pause();
    cancelTurn = clock.after(0, () => {
      // In this order, because reading may pause the stream again.
      stream.resume();
      work(rest);
    });
  };
  stream.on('data', (chunk: Buffer) => work(chunk, chunk.length >= FULL_READ_BYTES));
  stream.on('close', () => cancelTurn());
}

/** Waits that end with the connection. */
interface Waits {
  readonly lost: SystemError | undefined;
  /** Ends all waits, once. */
  lose(error: SystemError): void;
  /** Settles as the promise of `start`, or rejects at the deadline or the end of the connection. */
  within<T>(timeoutMs: number, timeoutText: string, start: () => Promise<T>): Promise<T>;
  onLost: DbusConnection['onLost'];
}

function createWaits(clock: Clock, address: string): Waits {
  const pending = new Set<(error: SystemError) => void>();
  let lost: SystemError | undefined;

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
        const fail = (error: SystemError) => end(() => reject(error));
        pending.add(fail);
        const cancel = clock.after(timeoutMs, () =>
          fail(new SystemError('DBUS_TIMEOUT', timeoutText, { address, timeoutMs })),
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

/** @throws SystemError DBUS_MISUSE when a value cannot be sent */
function toLibrary({ Variant }: Library, signature: string, body: readonly unknown[]): unknown[] {
  return toSendable(signature, body, (type, value): Variant => new Variant(type, value));
}

type Send = (message: Message) => void;

/** Answers for a process without objects. */
const NOTHING_SERVED: Served = {
  refuse: ({ path }) => standardError('UnknownObject', `there is no object ${path}`),
  answer: () => undefined,
};

function takeCalls(library: Library, send: Send, served = NOTHING_SERVED): CallTaker {
  const failed = (header: CallHeader, name: string, text: string) =>
    incomingCall(library, send, header, []).fail(name, text);
  return {
    refuse: served.refuse,
    take(header, body) {
      try {
        served.answer(incomingCall(library, send, header, body));
      } catch (error) {
        failed(header, FAILED, errorText(error));
      }
    },
    fail: (header, error) => failed(header, error.dbusError, error.message),
  };
}

function incomingCall(
  library: Library,
  send: Send,
  header: CallHeader,
  body: readonly unknown[],
): IncomingCall {
  const { Message } = library;
  const { sender, path, member, signature, isReplyExpected } = header;
  // The library's types say string for the message that is answered.
  const request = header as unknown as Message & string;
  return {
    ...{ sender, path, member, signature, body },
    interface: header.interface,

    reply(outSignature, values) {
      if (!isReplyExpected) return;
      send(Message.newMethodReturn(request, outSignature, toLibrary(library, outSignature, values)));
    },

    fail(name, text) {
      if (!isReplyExpected) return;
      const errorName = isInterfaceName(name) ? name : FAILED;
      send(Message.newError(request, errorName, firstLine(text)));
    },
  };
}

function replyError(name: string, said: string, what: string, request: DbusCall): SystemError {
  const text = `${what} failed: ${firstLine(said)} (${name})`;
  const details = { destination: request.destination, member: request.member, dbusError: name };
  if (!PEER_GONE.test(name)) return new SystemError('SYSTEMD_FAILED', text, details);
  return new SystemError(
    'DBUS_UNAVAILABLE',
    `${text}: check that ${request.destination} runs on this bus`,
    details,
  );
}

/** Whether the library refused to write because the connection has ended. */
const isClosedStream = (error: unknown) => /stream is closed|closed stream/.test(errorText(error));

/** The text of an error as it can be sent, and shown by who gets it: without a stack and control characters, and of limited length. */
function firstLine(text: string): string {
  const [first = ''] = text
    .replaceAll('\0', ' ')
    .trim()
    .split(/[\r\n]/, 1);
  const line = oneLine(first).trim();
  return line.length > MAX_ERROR_TEXT_CHARACTERS ? `${line.slice(0, MAX_ERROR_TEXT_CHARACTERS)} …` : line;
}
