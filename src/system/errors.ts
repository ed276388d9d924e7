import { CodedError } from '../../hw/errors.ts';

export type SystemErrorCode =
  /** No system bus, or it went away. */
  | 'DBUS_UNAVAILABLE'
  | 'DBUS_TIMEOUT'
  /** Another process has a name on the bus that is needed. */
  | 'DBUS_NAME_TAKEN'
  /** The bus does not let this process have a name: its policy says so. */
  | 'DBUS_NAME_DENIED'
  /** What this program wanted to put on the bus is not possible there: its own mistake. */
  | 'DBUS_MISUSE'
  /** What another process put on the bus is no message, or not what its header says. */
  | 'DBUS_MALFORMED'
  /** systemd, or another service on the bus, answered with an error: `details.dbusError` has its name. */
  | 'SYSTEMD_FAILED';

/** What the bus, systemd or another service refused or failed to do. */
export class SystemError extends CodedError<SystemErrorCode> {}

/** Whether a call was answered with the D-Bus error of this name. */
export function isDbusError(error: unknown, name: string): boolean {
  return error instanceof SystemError && error.details.dbusError === name;
}

/**
 * Thrown by what a D-Bus caller set off, to be told to him: an error reply with this name and the first
 * line of the message.
 */
export class DbusReplyError extends CodedError<'DBUS_REPLY'> {
  /** The name of the error on the bus, for example `org.freedesktop.DBus.Error.InvalidArgs`. */
  readonly dbusError: string;

  constructor(dbusError: string, message: string, options?: ErrorOptions) {
    super('DBUS_REPLY', message, { dbusError }, options);
    this.dbusError = dbusError;
  }
}

/** A standard error (D-Bus specification and libdbus, `org.freedesktop.DBus.Error.*`). */
export function standardError(kind: string, text: string): DbusReplyError {
  return new DbusReplyError(`org.freedesktop.DBus.Error.${kind}`, text);
}
