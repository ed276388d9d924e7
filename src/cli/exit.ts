import { constants } from 'node:os';
import type { HardwareErrorCode } from '../../hw/errors.ts';
import { PowerError, type PowerErrorCode } from '../errors.ts';
import type { SystemErrorCode } from '../system/errors.ts';

/** Exit codes. Those below 100 are of sysexits.h; those from 100 on are about the chassis. */
export const EXIT = {
  /** Done, or already so. */
  ok: 0,
  usage: 64,
  /** `units check` or `verify` has findings. */
  findings: 65,
  /** A required service (D-Bus, systemd) is missing. */
  serviceMissing: 69,
  internal: 70,
  /** The machine gives this process no further file, process or memory. */
  osError: 71,
  /** A file or directory cannot be written. */
  cannotCreate: 73,
  hardware: 74,
  /** Another process drives this chassis. */
  locked: 75,
  board: 78,
  pgoodTimeout: 100,
  railFault: 101,
  pgoodLost: 102,
  powerOffTimeout: 103,
  rejected: 104,
  /** `verify` was given up before all was tried: nothing is proven. */
  unfinished: 105,
  /** Ended by SIGINT: 128 plus the number of the signal, as in a shell. */
  interrupted: 130,
  /** Ended by SIGTERM. Any other signal gives 128 plus its number. */
  terminated: 143,
} as const;

/** From the worst on; a signal stands after what is wrong with the power. */
const WORST_FIRST: readonly number[] = [
  EXIT.powerOffTimeout,
  EXIT.internal,
  EXIT.hardware,
  EXIT.railFault,
  EXIT.pgoodLost,
  EXIT.pgoodTimeout,
  EXIT.rejected,
  EXIT.locked,
  EXIT.cannotCreate,
  EXIT.osError,
  EXIT.serviceMissing,
  EXIT.board,
  EXIT.usage,
  EXIT.findings,
];

/** The worst of several exit codes: the one after which the power may be least as it was asked for. 0 for none. */
export function worstOf(codes: readonly number[]): number {
  const bad = codes.filter((code) => code !== EXIT.ok);
  const rank = (code: number) => {
    const index = WORST_FIRST.indexOf(code);
    return index < 0 ? WORST_FIRST.indexOf(EXIT.rejected) - 0.5 : index;
  };
  return bad.sort((one, other) => rank(one) - rank(other))[0] ?? EXIT.ok;
}

/** The exit code of each error code: a code without one does not compile. */
const EXIT_OF: Readonly<Record<PowerErrorCode | HardwareErrorCode | SystemErrorCode, number>> = {
  USAGE: EXIT.usage,
  BOARD_NOT_FOUND: EXIT.board,
  BOARD_UNREADABLE: EXIT.board,
  BOARD_INVALID: EXIT.board,
  CHASSIS_UNKNOWN: EXIT.usage,
  RESET_UNKNOWN: EXIT.usage,
  CHASSIS_LOCKED: EXIT.locked,
  CHASSIS_WATCHED: EXIT.locked,
  RUN_DIR_UNUSABLE: EXIT.cannotCreate,
  MACHINE_SHORT: EXIT.osError,
  PGOOD_TIMEOUT: EXIT.pgoodTimeout,
  RAIL_FAULT: EXIT.railFault,
  PGOOD_LOST: EXIT.pgoodLost,
  POWER_OFF_TIMEOUT: EXIT.powerOffTimeout,
  HARDWARE_FAULT: EXIT.hardware,
  REQUEST_REJECTED: EXIT.rejected,
  INTERRUPTED: EXIT.terminated,
  UNITS_CONFLICT: EXIT.cannotCreate,
  UNITS_NOT_WRITABLE: EXIT.cannotCreate,
  UNITS_SOURCE_MISSING: EXIT.internal,
  UNITS_NOT_INSTALLED: EXIT.usage,
  LINES_KEPT: EXIT.rejected,
  SYSTEMD_NOT_TOLD: EXIT.serviceMissing,
  INTERNAL: EXIT.internal,
  GPIO_UNAVAILABLE: EXIT.hardware,
  GPIO_NO_CHIP: EXIT.hardware,
  GPIO_NO_LINE: EXIT.hardware,
  GPIO_SHARED: EXIT.board,
  GPIO_BUSY: EXIT.hardware,
  GPIO_PERMISSION: EXIT.hardware,
  GPIO_NOT_FOLLOWED: EXIT.hardware,
  GPIO_TIMEOUT: EXIT.hardware,
  GPIO_FAILED: EXIT.hardware,
  GPIO_PULSE_IGNORED: EXIT.hardware,
  I2C_NO_BUS: EXIT.hardware,
  I2C_PERMISSION: EXIT.hardware,
  I2C_NO_DEVICE: EXIT.hardware,
  I2C_BUSY: EXIT.hardware,
  I2C_TIMEOUT: EXIT.hardware,
  I2C_PEC: EXIT.hardware,
  I2C_FAILED: EXIT.hardware,
  PMBUS_FORMAT: EXIT.hardware,
  PMBUS_IDENTITY: EXIT.hardware,
  SENSOR_NO_CHIP: EXIT.hardware,
  SENSOR_NO_INPUT: EXIT.hardware,
  SENSOR_TIMEOUT: EXIT.hardware,
  SENSOR_FAILED: EXIT.hardware,
  PROPERTY_UNREAD: EXIT.hardware,
  DBUS_UNAVAILABLE: EXIT.serviceMissing,
  DBUS_TIMEOUT: EXIT.serviceMissing,
  DBUS_NAME_TAKEN: EXIT.serviceMissing,
  DBUS_NAME_DENIED: EXIT.serviceMissing,
  DBUS_MISUSE: EXIT.internal,
  DBUS_MALFORMED: EXIT.serviceMissing,
  SYSTEMD_FAILED: EXIT.serviceMissing,
};

/** The exit code for anything that was thrown. */
export function exitCodeOf(error: unknown): number {
  if (error instanceof PowerError && error.code === 'INTERRUPTED') {
    const number = constants.signals[error.details.signal as NodeJS.Signals];
    if (number !== undefined) return 128 + number;
  }
  if (error instanceof Error && 'code' in error && typeof error.code === 'string' && error.code in EXIT_OF) {
    return EXIT_OF[error.code as keyof typeof EXIT_OF];
  }
  return EXIT.internal;
}
