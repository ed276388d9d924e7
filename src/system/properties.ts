import type { PropertyBackend, PropertyRef } from '../../hw/ports.ts';
import { connectDbus, createBusBackoff, type DbusConnection, type DbusOptions } from './dbus/connection.ts';
import { SystemError } from './errors.ts';
import type { DbusVariant } from './ports.ts';

/** A bus that runs takes a connection within milliseconds. */
const CONNECT_TIMEOUT_MS = 1_000;
const PROPERTIES = 'org.freedesktop.DBus.Properties';

/**
 * Properties of other services on the system bus. Readings at the same time, and watches, share a connection, which ends with
 * the last of them.
 */
export function createProperties(options: Pick<DbusOptions, 'clock' | 'address'>): PropertyBackend {
  const sessions = createSessions(options);
  return {
    async readBoolean({ service, path, interface: name, property }, limitMs) {
      const session = sessions.join();
      try {
        const dbus = await session.connection;
        const [value] = await dbus.call({
          destination: service,
          path,
          interface: PROPERTIES,
          member: 'Get',
          signature: 'ss',
          body: [name, property],
          timeoutMs: limitMs,
        });
        return truthOf(value, `${name}.${property}`);
      } finally {
        await sessions.leave(session);
      }
    },

    watch(property, wake) {
      const ended = new AbortController();
      const backoff = createBusBackoff();
      let cancelRetry: () => void = () => undefined;
      const begin = (): void => {
        follow(sessions, property, ended.signal, () => {
          backoff.reset();
          wake();
        }).catch(() => {
          // The bus, or this connection, is away: who reads is told so.
          if (!ended.signal.aborted) cancelRetry = options.clock.after(backoff.nextMs(), begin);
        });
      };
      begin();
      return () => {
        ended.abort();
        cancelRetry();
      };
    },
  };
}

/** Calls `changed` once signals are sure to arrive, and with each. Resolves when it was ended; rejects when the connection is. */
async function follow(
  sessions: Sessions,
  { service, path, interface: name }: PropertyRef,
  ended: AbortSignal,
  changed: () => void,
): Promise<void> {
  const session = sessions.join();
  try {
    const dbus = await session.connection;
    const rule = {
      sender: service,
      path,
      interface: PROPERTIES,
      member: 'PropertiesChanged',
      signature: 'sa{sv}as',
    };
    const end = await dbus.onSignal(rule, ([of]) => {
      if (of === name && !ended.aborted) changed();
    });
    if (!ended.aborted) changed();
    await new Promise<void>((resolve, reject) => {
      // The connection may serve others as long as the service runs.
      const forget = dbus.onLost(reject);
      const over = () => {
        forget();
        resolve();
      };
      if (ended.aborted) over();
      else ended.addEventListener('abort', over, { once: true });
    });
    await end();
  } finally {
    await sessions.leave(session);
  }
}

interface Session {
  readonly connection: Promise<DbusConnection>;
  users: number;
}

interface Sessions {
  join(): Session;
  leave(session: Session): Promise<void>;
}

/** The connection that all use who are there, made anew for who comes after its end. */
function createSessions(options: Pick<DbusOptions, 'clock' | 'address'>): Sessions {
  let current: Session | undefined;
  const forget = (session: Session): void => {
    if (current === session) current = undefined;
  };
  return {
    join() {
      if (current === undefined) {
        const connection = connectDbus({ ...options, callTimeoutMs: CONNECT_TIMEOUT_MS });
        const made: Session = { connection, users: 0 };
        connection.then(
          (dbus) => dbus.onLost(() => forget(made)),
          () => forget(made),
        );
        current = made;
      }
      current.users += 1;
      return current;
    },
    async leave(session) {
      session.users -= 1;
      if (session.users > 0) return;
      forget(session);
      const [made] = await Promise.allSettled([session.connection]);
      if (made.status === 'fulfilled') await made.value.close();
    },
  };
}

/** @param value body of the answer; the service may have sent anything */
function truthOf(value: unknown, property: string): boolean {
  const { signature, value: told } = (value ?? {}) as Partial<DbusVariant>;
  if (typeof told === 'boolean') return told;
  // A file descriptor is a number, too.
  if (signature !== 'h' && (Number.isInteger(told) || typeof told === 'bigint')) return Number(told) !== 0;
  const type = signature === undefined ? 'no variant' : `a value of type ${signature}`;
  throw new SystemError('DBUS_MALFORMED', `${property} is ${type}, and no boolean`, { property });
}
