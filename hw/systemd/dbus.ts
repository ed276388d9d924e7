import type { Message, MessageBus } from 'dbus-next';
import { errnoCode, errorText, HardwareError } from '../errors.ts';
import type { Clock } from '../ports.ts';

/** The only importer of dbus-next. It loads with the first connection, not before. */
const load = async () => (await import('dbus-next')).default;

export interface DbusOptions {
  readonly clock: Clock;
  /** D-Bus address. Default: DBUS_SYSTEM_BUS_ADDRESS, or the system bus of the machine. */
  readonly address?: string;
  /** Longest time for the connection and for one call that gives no time of its own. */
  readonly callTimeoutMs?: number;
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

const BUS = {
  destination: 'org.freedesktop.DBus',
  path: '/org/freedesktop/DBus',
  interface: 'org.freedesktop.DBus',
} as const;

/** Error replies of the bus itself: the peer is not there, cannot be started or left before it answered. */
const PEER_GONE =
  /^org\.freedesktop\.DBus\.Error\.(ServiceUnknown|NameHasNoOwner|NoReply|Disconnected|Spawn\..+)$/;

/** dbus-next tells the end of a connection nowhere else (0.10.2). */
interface WithStream {
  readonly _connection: { readonly stream: NodeJS.EventEmitter & { destroy(): void } };
}

/**
 * Connects to the system bus. Rejects `DBUS_UNAVAILABLE`, or `DBUS_TIMEOUT` when the bus accepts but
 * does not answer. Every call ends: with its reply, its deadline, or the end of the connection.
 */
export async function connectDbus(options: DbusOptions): Promise<DbusConnection> {
  const { clock, callTimeoutMs = CALL_TIMEOUT_MS } = options;
  const address = options.address ?? (process.env.DBUS_SYSTEM_BUS_ADDRESS || SYSTEM_BUS_ADDRESS);
  const { sessionBus, Message, MessageType } = await load();

  const unavailable = (error: unknown, what: string) =>
    new HardwareError(
      'DBUS_UNAVAILABLE',
      `${what} (${address}: ${errnoCode(error) ?? errorText(error)}): check that dbus.service runs, that this process may use its socket, and DBUS_SYSTEM_BUS_ADDRESS`,
      { address },
      { cause: error },
    );

  let bus: MessageBus;
  try {
    // EXTERNAL only: the library's next method looks for cookies and hides why the first one failed.
    bus = sessionBus({ busAddress: address, authMethods: ['EXTERNAL'] });
  } catch (error) {
    throw unavailable(error, 'the D-Bus system bus cannot be addressed');
  }
  const { stream } = (bus as unknown as WithStream)._connection;

  const pending = new Set<(error: HardwareError) => void>();
  let lost: HardwareError | undefined;
  const lose = (error: HardwareError) => {
    lost ??= error;
    const rejects = [...pending];
    pending.clear();
    for (const reject of rejects) reject(lost);
  };

  /** Settles like `start`'s promise, or rejects with the deadline or the end of the connection. */
  const within = <T>(timeoutMs: number, timeoutText: string, start: () => Promise<T>): Promise<T> =>
    new Promise<T>((resolve, reject) => {
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
    });

  // Without a handler for 'error' the process would crash; the library emits it for whatever it meets.
  bus.on('error', (error) => lose(unavailable(error, 'the connection to the D-Bus system bus failed')));
  const onEnd = () => lose(unavailable(new Error('closed by the bus'), 'the D-Bus system bus went away'));
  stream.on('end', onEnd);
  stream.on('close', onEnd);

  try {
    await within(
      callTimeoutMs,
      `the D-Bus system bus (${address}) accepts connections but does not answer`,
      () => new Promise<void>((resolve) => bus.on('connect', resolve)),
    );
  } catch (error) {
    stream.destroy();
    throw error;
  }

  const call = async (request: DbusCall): Promise<unknown[]> => {
    const { timeoutMs = callTimeoutMs, body = [], ...header } = request;
    const what = `${request.member} of ${request.destination}`;
    const reply = await within(timeoutMs, `${what} did not answer within ${timeoutMs} ms`, async () => {
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
      return lost === undefined;
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
        if (lost === undefined) await call({ ...BUS, member: 'RemoveMatch', signature: 's', body: [match] });
      };
    },

    onLost(handler) {
      if (lost !== undefined) {
        const error = lost;
        queueMicrotask(() => handler(error));
      } else pending.add(handler);
      return () => pending.delete(handler);
    },

    async close() {
      if (lost !== undefined) {
        stream.destroy();
        return;
      }
      lose(
        new HardwareError('DBUS_UNAVAILABLE', 'the connection to the D-Bus system bus was closed', {
          address,
        }),
      );
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

function replyError(
  error: unknown,
  what: string,
  request: DbusCall,
  unavailable: (error: unknown, what: string) => HardwareError,
): unknown {
  const name = error instanceof Error && 'type' in error ? String(error.type) : undefined;
  if (name === undefined) {
    // Not a reply. Either the library refuses to write to a closed connection, or our message is wrong.
    return /stream is closed|closed stream/.test(errorText(error))
      ? unavailable(error, 'the D-Bus system bus went away')
      : error;
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
