import { errnoCode, errorText, HardwareError, type HardwareErrorCode, systemFailure } from '../errors.ts';
import { fileProblem } from '../files.ts';

/* The errors of `I2cBackend` in ports.ts, with the same words for the driver and for its stand-in. */

/** The target of a transfer. */
export interface TransferPlace {
  readonly bus: number | string;
  readonly address: number;
  readonly command: number;
}

function describeTransfer({ bus, address, command }: TransferPlace): string {
  return `0x${hex(address)} on I2C bus ${bus} (command 0x${hex(command)})`;
}

/**
 * @param error of the system
 * @param addressing whether the address ioctl failed, and not the transfer itself
 */
export function transferFailed(
  error: unknown,
  place: TransferPlace,
  details: Record<string, unknown> = {},
  addressing = false,
): HardwareError {
  const [code, what] = meaningOf(errnoCode(error), addressing);
  return systemFailure(error, code, `${describeTransfer(place)}: ${what}`, { ...place, ...details });
}

/** @param how the cause, as far as it is known */
export function transferTimeout(
  place: TransferPlace,
  timeoutMs: number,
  how: string,
  details: Record<string, unknown> = {},
): HardwareError {
  return new HardwareError(
    'I2C_TIMEOUT',
    `${describeTransfer(place)} did not answer within ${timeoutMs} ms: ${how}`,
    {
      ...place,
      ...details,
    },
  );
}

/** For what was read with a packet error check that is not that of the message. */
export function wrongPec(place: TransferPlace, details: Record<string, unknown> = {}): HardwareError {
  return new HardwareError(
    'I2C_PEC',
    `${describeTransfer(place)}: the packet error check is wrong: something disturbs the bus, or the device has none ("pec" in the board file)`,
    { ...place, ...details },
  );
}

/** For a block whose device says that it has so many bytes. */
export function noBlock(place: TransferPlace, count: number, most: number): HardwareError {
  return new HardwareError(
    'I2C_FAILED',
    `${describeTransfer(place)}: the device says that its block has ${count} bytes, and 1 to ${most} can be read: it may have no such register`,
    { ...place, count },
  );
}

/** For a transfer whose transaction has ended. */
export function transactionOver(place: TransferPlace): HardwareError {
  return new HardwareError(
    'I2C_FAILED',
    `the transaction with 0x${hex(place.address)} on I2C bus ${place.bus} is over: a transfer was not awaited`,
    { ...place },
  );
}

export function busClosed(bus: number | string, address: number): HardwareError {
  return new HardwareError('I2C_FAILED', `I2C bus ${bus} was closed`, { bus, address });
}

/** For a bus that another process has held for all of `limitMs`. */
export function busHeld(bus: number | string, address: number, limitMs: number): HardwareError {
  return new HardwareError(
    'I2C_BUSY',
    `I2C bus ${bus} is held by another process of this program for more than ${limitMs} ms: end the one that hangs`,
    { bus, address },
  );
}

/** For a bus that cannot be held against other processes. */
export function cannotHold(error: unknown, bus: number | string, address: number): HardwareError {
  const errno = errnoCode(error);
  const refused = errno === 'EACCES' || errno === 'EPERM' || errno === 'EROFS';
  const what = `I2C bus ${bus} cannot be held against other processes (${fileProblem(error)})`;
  return new HardwareError(
    refused ? 'I2C_PERMISSION' : 'I2C_FAILED',
    `${what}: ${refused ? 'run as root' : 'check /run/chassis-power, and that flock(1) is there'}`,
    { bus, address, ...(errno === undefined ? {} : { errno }) },
    { cause: error },
  );
}

/** For a number that is no address of a device. */
export function noAddress(bus: number | string, address: number): HardwareError {
  return new HardwareError('I2C_FAILED', `${address} is no I2C address: 0x03 to 0x77`, { bus, address });
}

/** @param path of the device of a bus that was asked for by its number */
export function cannotOpenBus(error: unknown, path: string, bus: number | string): HardwareError {
  const errno = errnoCode(error);
  const refused = errno === 'EACCES' || errno === 'EPERM';
  return new HardwareError(
    refused ? 'I2C_PERMISSION' : 'I2C_NO_BUS',
    refused
      ? `no right to open ${path}: run as root or join the group that owns it (i2c)`
      : `${path} cannot be opened (${errno ?? errorText(error)}): check the bus number and load the module i2c-dev`,
    { bus, path, ...(errno === undefined ? {} : { errno }) },
    { cause: error },
  );
}

/**
 * @param listed the existing buses
 * @param names their names
 */
export function noBusName(name: string, listed: string, names: readonly string[]): HardwareError {
  return new HardwareError(
    'I2C_NO_BUS',
    `no I2C bus has the name "${name}": there is ${listed === '' ? 'none at all' : listed}`,
    { bus: name, names },
  );
}

function meaningOf(errno: string | undefined, addressing: boolean): [HardwareErrorCode, string] {
  // Only from the address ioctl: a transfer says EBUSY when the bus itself stays busy.
  if (errno === 'EBUSY' && addressing) {
    return [
      'I2C_BUSY',
      'a kernel driver owns the address; unbind it (/sys/bus/i2c/devices/BUS-ADDRESS/driver/unbind), or see its rails by what that driver reads ("hwmon" in the board file)',
    ];
  }
  switch (errno) {
    case 'ENXIO':
    case 'EREMOTEIO':
    // What i2c-stub and some older adapters say instead.
    case 'ENODEV':
      return ['I2C_NO_DEVICE', 'nothing acknowledges; check the address and the power of the device'];
    case 'ETIMEDOUT':
      return ['I2C_TIMEOUT', 'the adapter gave up; something holds the bus'];
    case 'ENOENT':
      return ['I2C_NO_BUS', 'the bus is gone'];
    case 'EACCES':
    case 'EPERM':
      return ['I2C_PERMISSION', 'no right to use the bus'];
    default:
      return ['I2C_FAILED', 'the transfer failed'];
  }
}

function hex(value: number): string {
  return value.toString(16).padStart(2, '0');
}
