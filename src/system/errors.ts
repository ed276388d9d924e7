import { CodedError } from '../../hw/errors.ts';

export type SystemErrorCode =
  /** There is no system bus, or it went away. */
  | 'DBUS_UNAVAILABLE'
  | 'DBUS_TIMEOUT'
  /** Another process owns a name that is needed. */
  | 'DBUS_NAME_TAKEN'
  /** The policy of the bus does not let this process own a name. */
  | 'DBUS_NAME_DENIED'
  /** This program tried to send something that D-Bus does not allow: a mistake of the program. */
  | 'DBUS_MISUSE'
  /** Another process sent something that is no message, or does not fit its header. */
  | 'DBUS_MALFORMED'
  /** systemd, or another service on the bus, answered with an error: `details.dbusError` has its name. */
  | 'SYSTEMD_FAILED';

/** A failure or refusal of the bus, systemd or another service. */
export class SystemError extends CodedError<SystemErrorCode> {}

/** Whether a call was answered with the D-Bus error of this name. */
export function isDbusError(error: unknown, name: string): boolean {
  return error instanceof SystemError && error.details.dbusError === name;
}

/** An error for a D-Bus caller: the error reply has its name, and the first line of its message. */
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
