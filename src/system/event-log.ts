import type { Clock } from '../../hw/ports.ts';
import { connectDbus } from './dbus/connection.ts';
import { isDbusError, SystemError } from './errors.ts';
import type { EventLog } from './ports.ts';

/** A logging service that needs longer has received the entry, and is not waited for. */
const CREATE_TIMEOUT_MS = 5_000;

/** OpenBMC's event log (phosphor-dbus-interfaces, xyz/openbmc_project/Logging/Create.interface.yaml). */
export function createEventLog({ clock, address }: { clock: Clock; address?: string }): EventLog {
  return {
    async create({ name, severity, data }) {
      const dbus = await connectDbus({
        clock,
        callTimeoutMs: CREATE_TIMEOUT_MS,
        ...(address ? { address } : {}),
      });
      try {
        await dbus.call({
          destination: 'xyz.openbmc_project.Logging',
          path: '/xyz/openbmc_project/logging',
          interface: 'xyz.openbmc_project.Logging.Create',
          member: 'Create',
          signature: 'ssa{ss}',
          body: [name, `xyz.openbmc_project.Logging.Entry.Level.${severity}`, data],
        });
        return true;
      } catch (error) {
        if (error instanceof SystemError && error.code === 'DBUS_TIMEOUT') return true;
        if (NOBODY_LOGS.some((name) => isDbusError(error, name))) return false;
        throw error;
      } finally {
        await dbus.close();
      }
    },
  };
}

/** Errors of the bus where no process owns the name of the logging service. */
const NOBODY_LOGS = [
  'org.freedesktop.DBus.Error.ServiceUnknown',
  'org.freedesktop.DBus.Error.NameHasNoOwner',
];
