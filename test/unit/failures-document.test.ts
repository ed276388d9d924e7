/** Whether `docs/failures.md` knows every error code; that its rows are true is played by the systemd tier. */
import { describe, expect, it } from 'vitest';
import { CodedError, type HardwareErrorCode } from '../../hw/errors.ts';
import { exitCodeOf } from '../../src/cli/exit.ts';
import { PowerError, type PowerErrorCode } from '../../src/errors.ts';
import type { SystemErrorCode } from '../../src/system/errors.ts';
import { LEGACY, rowsOf } from '../systemd/failure-rows.ts';
import { HARDWARE_CODES, POWER_CODES, SYSTEM_CODES } from './error-codes.ts';

/** Where an operator reads of an error code: the name of a row, or why there is none. */
type Told = { readonly row: string } | { readonly none: string };

const AT_INSTALL = { none: 'told by units install on its own terminal; no power depends on it' };
const NEEDS_ROOT = { none: 'the units run as root; a person without the right is told to be root' };
const SAME_WORDS = (as: SystemErrorCode) => ({ none: `met and told where ${as} is` });
const OWN_MISTAKE = { none: 'a mistake of the program, to be reported and not to be mended' };

const TOLD: Readonly<Record<HardwareErrorCode | SystemErrorCode | PowerErrorCode, Told>> = {
  USAGE: { none: 'told before anything is done; the message says how the command line is written' },
  BOARD_NOT_FOUND: { row: 'a board file that is gone when power off is asked for' },
  BOARD_UNREADABLE: { row: 'a board file that is no file' },
  BOARD_INVALID: { row: 'a board file with a mistake' },
  CHASSIS_UNKNOWN: { row: 'a chassis that the board does not have' },
  RESET_UNKNOWN: { none: 'told before anything is done; the message says what the board lacks' },
  CHASSIS_LOCKED: { row: 'another process drives the chassis' },
  CHASSIS_WATCHED: { row: 'lines given back while the service watches them' },
  RUN_DIR_UNUSABLE: { row: 'a /run without room for the lock' },
  MACHINE_SHORT: { none: 'the message names the limit to raise; what a power-off can open, it drives' },
  PGOOD_TIMEOUT: { row: 'pgood that never comes' },
  RAIL_FAULT: { row: 'a rail that never comes good' },
  PGOOD_LOST: { row: 'pgood that is lost before the resets are released' },
  POWER_OFF_TIMEOUT: { row: 'a rail that does not go down' },
  HARDWARE_FAULT: { row: 'a value file that fails in the middle' },
  REQUEST_REJECTED: { row: 'lines given back while the chassis is on' },
  INTERRUPTED: { row: 'a command that is interrupted' },
  UNITS_CONFLICT: AT_INSTALL,
  UNITS_NOT_WRITABLE: AT_INSTALL,
  UNITS_SOURCE_MISSING: AT_INSTALL,
  UNITS_NOT_INSTALLED: AT_INSTALL,
  LINES_KEPT: { row: 'units uninstalled while the chassis is on' },
  SYSTEMD_NOT_TOLD: AT_INSTALL,
  INTERNAL: OWN_MISTAKE,
  GPIO_UNAVAILABLE: { row: 'a kernel without GPIO in sysfs' },
  GPIO_NO_CHIP: { row: 'lines that this machine does not have' },
  GPIO_NO_LINE: { row: 'lines that this machine does not have' },
  GPIO_SHARED: { row: 'two names of one line' },
  GPIO_BUSY: { row: 'a line that another driver has' },
  GPIO_PERMISSION: NEEDS_ROOT,
  GPIO_NOT_FOLLOWED: { row: 'an enable that does not follow' },
  GPIO_PULSE_IGNORED: { row: 'a host that ignores its power button' },
  GPIO_TIMEOUT: { row: 'a GPIO chip that hangs at power off' },
  GPIO_FAILED: { row: 'a line that cannot be read while on' },
  I2C_NO_BUS: { row: 'an I2C bus that this machine does not have' },
  I2C_PERMISSION: NEEDS_ROOT,
  I2C_NO_DEVICE: { row: 'an I2C device that does not answer' },
  I2C_BUSY: { row: 'an I2C device that a kernel driver has' },
  I2C_TIMEOUT: { row: 'an I2C bus that hangs' },
  I2C_PEC: { row: 'an I2C bus that is disturbed' },
  I2C_FAILED: { none: 'every other error of a transfer: it ends like a device that does not answer' },
  PMBUS_IDENTITY: { row: 'a PMBus device that is another one' },
  PMBUS_FORMAT: { none: 'a device that is no PMBus device: it ends like a device that does not answer' },
  SENSOR_NO_CHIP: { row: 'a kernel driver of a voltage that this machine does not have' },
  SENSOR_NO_INPUT: { none: 'told by check, and ends like a chip that this machine does not have' },
  SENSOR_TIMEOUT: { none: 'a chip on a bus that hangs: it ends like a voltage that cannot be read' },
  SENSOR_FAILED: { row: 'a voltage that its kernel driver cannot read' },
  PROPERTY_UNREAD: { row: 'a part that the inventory does not tell of' },
  DBUS_UNAVAILABLE: { row: 'a BMC start without D-Bus' },
  DBUS_TIMEOUT: SAME_WORDS('DBUS_UNAVAILABLE'),
  DBUS_NAME_TAKEN: { none: 'the service does not begin, and its message names the process and what to do' },
  DBUS_NAME_DENIED: { none: 'the policy is shipped with the units; the message says to install it' },
  DBUS_MISUSE: OWN_MISTAKE,
  DBUS_MALFORMED: SAME_WORDS('DBUS_UNAVAILABLE'),
  SYSTEMD_FAILED: SAME_WORDS('DBUS_UNAVAILABLE'),
};

const rows = rowsOf(LEGACY);

class Thrown extends CodedError {}

describe('docs/failures.md', () => {
  it('is asked for every code that there is', () => {
    const codes = [...HARDWARE_CODES, ...SYSTEM_CODES, ...POWER_CODES];
    expect(Object.keys(TOLD).sort()).toEqual([...codes].sort());
  });

  const inRows = Object.entries(TOLD).flatMap(([code, told]) => ('row' in told ? [[code, told.row]] : []));
  it.each(inRows)('has a row for %s, with its exit code: %s', (code = '', name) => {
    const row = rows.find((each) => each.name === name);
    expect(row, `no row "${name}"`).toBeDefined();
    // Of a signal the number counts, and this row has SIGINT.
    const error =
      code === 'INTERRUPTED'
        ? new PowerError(code, 'ended', { signal: 'SIGINT' })
        : new Thrown(code, 'it failed');
    const expected = exitCodeOf(error);
    expect(Object.values(row?.exits ?? {})).toContain(expected);
  });
});
