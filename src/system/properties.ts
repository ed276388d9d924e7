import type { PropertyBackend } from '../../hw/ports.ts';
import { connectDbus, type DbusConnection, type DbusOptions } from './dbus/connection.ts';
import { SystemError } from './errors.ts';
import type { DbusVariant } from './ports.ts';

/** A bus that runs takes a connection within milliseconds. */
const CONNECT_TIMEOUT_MS = 1_000;
/**
 * Longest time for one value. Somewhat arbitrary: a service that is busy with the start of a BMC answers in that, and a
 * power-off waits no longer for one that hangs.
 */
const READ_TIMEOUT_MS = 2_000;

/** Properties of other services on the system bus. Readings at the same time share a connection; none is kept between them. */
export function createProperties(options: Pick<DbusOptions, 'clock' | 'address'>): PropertyBackend {
  let connecting: Promise<DbusConnection> | undefined;
  let readers = 0;

  const leave = async (connection: Promise<DbusConnection>): Promise<void> => {
    readers -= 1;
    if (readers > 0) return;
    connecting = undefined;
    const [made] = await Promise.allSettled([connection]);
    if (made.status === 'fulfilled') await made.value.close();
  };

  return {
    async readBoolean({ service, path, interface: name, property }) {
      connecting ??= connectDbus({ ...options, callTimeoutMs: CONNECT_TIMEOUT_MS });
      const connection = connecting;
      readers += 1;
      try {
        const dbus = await connection;
        const [value] = await dbus.call({
          destination: service,
          path,
          interface: 'org.freedesktop.DBus.Properties',
          member: 'Get',
          signature: 'ss',
          body: [name, property],
          timeoutMs: READ_TIMEOUT_MS,
        });
        return booleanOf(value, `${name}.${property}`);
      } finally {
        await leave(connection);
      }
    },
  };
}

/** @param value body of the answer; the service may have sent anything */
function booleanOf(value: unknown, property: string): boolean {
  const { signature, value: told } = (value ?? {}) as Partial<DbusVariant>;
  if (signature === 'b' && typeof told === 'boolean') return told;
  const type = signature === undefined ? 'no variant' : `a value of type ${signature}`;
  throw new SystemError('DBUS_MALFORMED', `${property} is ${type}, and no boolean`, { property });
}
