import { CodedError, errnoCode, errorText } from '../hw/errors.ts';

export type PowerErrorCode =
  | 'USAGE'
  | 'BOARD_NOT_FOUND'
  | 'BOARD_UNREADABLE'
  | 'BOARD_INVALID'
  | 'CHASSIS_UNKNOWN'
  /** The board describes no line that resets the host. */
  | 'RESET_UNKNOWN'
  /** Another process drives this chassis. */
  | 'CHASSIS_LOCKED'
  /** Another process keeps this chassis in view. */
  | 'CHASSIS_WATCHED'
  | 'RUN_DIR_UNUSABLE'
  /** The machine gave this process no further file, process or memory. */
  | 'MACHINE_SHORT'
  | 'PGOOD_TIMEOUT'
  | 'RAIL_FAULT'
  | 'PGOOD_LOST'
  | 'POWER_OFF_TIMEOUT'
  | 'HARDWARE_FAULT'
  | 'REQUEST_REJECTED'
  /** A signal that asks to end, named in `details.signal`. */
  | 'INTERRUPTED'
  | 'UNITS_CONFLICT'
  | 'UNITS_NOT_WRITABLE'
  | 'UNITS_SOURCE_MISSING'
  | 'UNITS_NOT_INSTALLED'
  /** The units are gone, the lines are not. */
  | 'LINES_KEPT'
  | 'SYSTEMD_NOT_TOLD'
  | 'INTERNAL';

/** What the program itself cannot or will not do. */
export class PowerError extends CodedError<PowerErrorCode> {}

/** What cannot be done because of an error for which `isShortage` holds. */
export function shortage(what: string, error: unknown): PowerError {
  const errno = errnoCode(error) ?? errorText(error);
  const todo =
    errno === 'EMFILE'
      ? 'let this program open more files (ulimit -n, LimitNOFILE=)'
      : 'end other programs, or raise the limits of this one (systemd.exec(5), Limit…=)';
  return new PowerError('MACHINE_SHORT', `${what} (${errno}): ${todo}`, { errno }, { cause: error });
}
