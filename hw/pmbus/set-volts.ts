import { HardwareError } from '../errors.ts';
import type { I2cDevice } from '../ports.ts';
import type { NumericFormat } from './formats.ts';
import type { VoutSetting } from './settings.ts';
import { OFF_BIT, STATUS_WORD } from './status.ts';

/* Sections are those of the PMBus specification 1.3.1, part II. */

const VOUT_COMMAND = 0x21; // 13.2

/** How a page gives its voltages, asked of it once. */
export interface VoltFormat {
  readonly format: NumericFormat;
  /** Limits are shares of VOUT_COMMAND (8.5). */
  readonly isRelative: boolean;
}

/** A page as messages name it. */
export interface PageName {
  readonly where: string;
  readonly details: Record<string, unknown>;
}

/**
 * Tells an output that is off a voltage, and reads it back. Inside a transaction that has set the page; rejects as
 * `PmbusPage.setVolts` does.
 */
export async function setVolts(
  device: I2cDevice,
  formatOf: () => Promise<VoltFormat>,
  { where, details }: PageName,
  setting: VoutSetting,
  volts: number,
): Promise<void> {
  const { name, command } = setting;
  const given = { ...details, command };
  const statusWord = await device.readWord(STATUS_WORD.command);
  if ((statusWord & OFF_BIT) === 0) {
    throw new HardwareError(
      'I2C_FAILED',
      `${name} of ${where} was not written: its STATUS_WORD 0x${hex(statusWord)} does not say OFF, and an output that is on is not set up`,
      { ...given, statusWord },
    );
  }
  const known = await formatOf();
  const raw = await encode(device, known, setting, volts);
  if (raw === null) {
    const { format, isRelative } = known;
    const share = isRelative && setting.mayBeRelative ? ', as a share of VOUT_COMMAND' : '';
    throw new HardwareError(
      'PMBUS_FORMAT',
      `${name} of ${where} cannot be told ${volts} V in ${format.name} format${share}: check the voltage, the device and its address`,
      { ...given, format: format.name },
    );
  }
  await device.writeWord(command, raw);
  // Devices refuse without a NACK (WRITE_PROTECT, 11.1), and some take another value than they were told.
  const value = await device.readWord(command);
  if (value === raw) return;
  const reads = known.format.decode(value);
  const asVolts = reads === null || known.isRelative ? '' : `, ${Number(reads.toPrecision(4))} V`;
  throw new HardwareError(
    'I2C_FAILED',
    `${name} of ${where} was told ${volts} V (0x${hex(raw)}) but reads back 0x${hex(value)}${asVolts}: check WRITE_PROTECT, and which voltages the device has`,
    { ...given, value },
  );
}

/** The bits for a voltage; null where there are none. */
async function encode(
  device: I2cDevice,
  { format, isRelative }: VoltFormat,
  { mayBeRelative }: VoutSetting,
  volts: number,
): Promise<number | null> {
  if (!isRelative || !mayBeRelative) return format.encode(volts);
  if (!format.hasShares) return null;
  const commanded = format.decode(await device.readWord(VOUT_COMMAND));
  return commanded === null || commanded <= 0 ? null : format.encode(volts / commanded);
}

function hex(value: number): string {
  return value.toString(16).padStart(4, '0');
}
