/** Base of every error this project throws on purpose. */
export abstract class CodedError<Code extends string = string> extends Error {
  /** Stable identifier; callers decide by it, never by the wording. */
  readonly code: Code;
  /** Structured facts behind the message: line, bus, address, path, errno … */
  readonly details: Readonly<Record<string, unknown>>;

  /**
   * @param message one sentence: what happened, to what, and what to do about it
   * @param options `cause` keeps the error underneath
   */
  constructor(code: Code, message: string, details: Record<string, unknown> = {}, options?: ErrorOptions) {
    super(message, options);
    this.name = new.target.name;
    this.code = code;
    this.details = details;
  }
}

export type HardwareErrorCode =
  /** The kernel offers no GPIO interface that this program can use. */
  | 'GPIO_UNAVAILABLE'
  | 'GPIO_NO_CHIP'
  | 'GPIO_NO_LINE'
  /** Two roles of the board are one physical line. */
  | 'GPIO_SHARED'
  /** The line belongs to a kernel driver or to another program. */
  | 'GPIO_BUSY'
  | 'GPIO_PERMISSION'
  /** The line was driven but reads back the other level. */
  | 'GPIO_NOT_FOLLOWED'
  /** Its chip, or the bus that the chip is on, hangs. */
  | 'GPIO_TIMEOUT'
  | 'GPIO_FAILED'
  /** A power button was pressed and the chassis did not do what that asks for. */
  | 'GPIO_PULSE_IGNORED'
  | 'I2C_NO_BUS'
  | 'I2C_PERMISSION'
  /** Nothing acknowledges at the address. */
  | 'I2C_NO_DEVICE'
  /** A kernel driver owns the address. */
  | 'I2C_BUSY'
  | 'I2C_TIMEOUT'
  /** What was read is not what the device sent, by its packet error check. */
  | 'I2C_PEC'
  | 'I2C_FAILED'
  | 'PMBUS_FORMAT'
  /** The device at the address says that it is another one than the board file has there. */
  | 'PMBUS_IDENTITY'
  /** No chip of the kernel's has the name, or several have. */
  | 'SENSOR_NO_CHIP'
  | 'SENSOR_NO_INPUT'
  | 'SENSOR_TIMEOUT'
  /** The chip's driver gives no voltage. */
  | 'SENSOR_FAILED'
  /** A property on D-Bus that tells of the chassis cannot be read: `details.reason` has the code of why. */
  | 'PROPERTY_UNREAD';

/** What a line, a bus or a device under the program refused or failed to do. */
export class HardwareError extends CodedError<HardwareErrorCode> {}

/** An error with the text `what`, and in brackets the errno of the system's `error`, or else its text. */
export function systemFailure(
  error: unknown,
  code: HardwareErrorCode,
  what: string,
  details: Record<string, unknown>,
): HardwareError {
  const errno = errnoCode(error);
  return new HardwareError(
    code,
    `${what} (${errno ?? errorText(error)})`,
    { ...details, ...(errno === undefined ? {} : { errno }) },
    { cause: error },
  );
}

/**
 * Whether a drive failed because the line or output read back the other state: its state is known then. Drivers put
 * `readBack` into the details.
 */
export function wasReadBack(error: unknown): boolean {
  return error instanceof HardwareError && error.details.readBack === true;
}

/** Whether nothing answered in time: what else is asked of the same bus, chip or service would hang as well. */
export function isHang(error: unknown): error is HardwareError {
  if (!(error instanceof HardwareError)) return false;
  const isTimeout = ['GPIO_TIMEOUT', 'I2C_TIMEOUT', 'SENSOR_TIMEOUT'].includes(error.code);
  return isTimeout || error.details.reason === 'DBUS_TIMEOUT';
}

/** The `code` of a Node system error (`'ENOENT'`, `'EBUSY'` …), or undefined for anything else. */
export function errnoCode(error: unknown): string | undefined {
  if (error instanceof Error && 'code' in error && typeof error.code === 'string') return error.code;
  return undefined;
}

/** Whether this process was given no descriptor, no memory or no further process. Nothing is said of what it asked for. */
export function isShortage(error: unknown): boolean {
  return ['EMFILE', 'ENFILE', 'ENOMEM', 'EAGAIN'].includes(errnoCode(error) ?? '');
}

/** The text of anything that was thrown. */
export function errorText(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
