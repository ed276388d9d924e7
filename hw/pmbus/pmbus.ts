import { HardwareError } from '../errors.ts';
import type { I2cBus, I2cDevice, TransactionOptions } from '../ports.ts';

/** Sections are those of the PMBus specification 1.3.1, part II. */
const PAGE = 0x00; // 11.10
const OPERATION = 0x01; // 12.1
const VOUT_MODE = 0x20; // 8.3
const STATUS_WORD = 0x79; // 17.2
const READ_VOUT = 0x8b; // 18.4

/** OPERATION: on, output at VOUT_COMMAND, margins off (12.1). */
const OPERATION_ON = 0x80;
/** OPERATION: off at once, without the turn-off delay and ramp (12.1): after a fault every ms counts. */
const OPERATION_OFF = 0x00;
/** OPERATION bit 7: the output is commanded on (12.1). */
const OPERATION_ON_BIT = 0x80;
/** STATUS_WORD bit 11, POWER_GOOD#: set while the output is not good (17.2). */
const NOT_GOOD_BIT = 0x0800;

/** VOUT_MODE bits 6:5 (8.3, table 2). Bit 7 makes limits relative, which READ_VOUT never is (8.5). */
const VOUT_FORMATS = ['linear', 'VID', 'direct', 'IEEE half precision'] as const;

/** Coefficients of the direct format (7.4): volts = (raw * 10^-r - b) / m. */
export interface DirectCoefficients {
  readonly m: number;
  readonly b?: number;
  readonly r: number;
}

export interface PmbusPageOptions {
  readonly bus: I2cBus;
  readonly address: number;
  readonly page: number;
  /** For a device whose VOUT_MODE says direct format; unused for others. */
  readonly vout?: DirectCoefficients;
}

/** One output of a PMBus device. Everything rejects like `I2cBus.transaction`. */
export interface PmbusPage {
  /**
   * Switches the output on, or off without delay. Resolves once the device reads back the new state of
   * the on bit; rejects `I2C_FAILED` when it does not. Says nothing about the voltage: ON_OFF_CONFIG may
   * make the output wait for the CONTROL pin.
   */
  operation(on: boolean): Promise<void>;
  /** Whether the output is commanded on. */
  readEnabled(): Promise<boolean>;
  /** Output voltage. Rejects `PMBUS_FORMAT` for a data format that cannot be decoded. */
  readVoutVolts(): Promise<number>;
  statusWord(): Promise<number>;
  /** Power good and output voltage, read in one transaction. */
  readOutput(): Promise<{ powerGood: boolean; voutVolts: number }>;
  /** Whether a status word says power good. */
  powerGood(statusWord: number): boolean;
}

/** PAGE is written before every command, in the same transaction: another program may have moved it. */
export function createPmbusPage(options: PmbusPageOptions): PmbusPage {
  const { bus, address, page, vout } = options;
  const details = { address, page };
  const where = `page ${page} of the PMBus device at 0x${hex(address)}`;

  const onPage = <T>(
    steps: (device: I2cDevice) => Promise<T>,
    options: TransactionOptions = {},
  ): Promise<T> =>
    bus.transaction(
      address,
      async (device) => {
        await device.writeByte(PAGE, page);
        return steps(device);
      },
      options,
    );

  let toVolts: ((raw: number) => number) | undefined;
  const readVolts = async (device: I2cDevice): Promise<number> => {
    toVolts ??= decoderOf(await device.readByte(VOUT_MODE), vout, where, details);
    return toVolts(await device.readWord(READ_VOUT));
  };

  return {
    operation: (on) =>
      onPage(
        async (device) => {
          await device.writeByte(OPERATION, on ? OPERATION_ON : OPERATION_OFF);
          // Devices refuse without a NACK: WRITE_PROTECT only sets a fault bit (11.1). The other bits are
          // margin settings, of which a device may keep some (12.1).
          const value = await device.readByte(OPERATION);
          if (isOn(value) === on) return;
          throw new HardwareError(
            'I2C_FAILED',
            `${where} was switched ${on ? 'on' : 'off'} but its OPERATION reads 0x${hex(value)}: check WRITE_PROTECT and ON_OFF_CONFIG`,
            { ...details, command: OPERATION, value, readBack: true },
          );
        },
        { isUrgent: !on },
      ),

    readEnabled: () => onPage(async (device) => isOn(await device.readByte(OPERATION))),

    readVoutVolts: () => onPage(readVolts),

    statusWord: () => onPage((device) => device.readWord(STATUS_WORD)),

    readOutput: () =>
      onPage(async (device) => ({
        powerGood: powerGood(await device.readWord(STATUS_WORD)),
        voutVolts: await readVolts(device),
      })),

    powerGood,
  };
}

function powerGood(statusWord: number): boolean {
  return (statusWord & NOT_GOOD_BIT) === 0;
}

function isOn(operation: number): boolean {
  return (operation & OPERATION_ON_BIT) !== 0;
}

/** How READ_VOUT becomes volts under this VOUT_MODE. */
function decoderOf(
  voutMode: number,
  vout: DirectCoefficients | undefined,
  where: string,
  details: Record<string, unknown>,
): (raw: number) => number {
  const format = VOUT_FORMATS[(voutMode >> 5) & 0b11];
  const refuse = (why: string) =>
    new HardwareError(
      'PMBUS_FORMAT',
      `${where} gives its voltage in ${format} format (VOUT_MODE 0x${hex(voutMode)}): ${why}`,
      {
        ...details,
        voutMode,
        format,
      },
    );

  if (format === 'linear') {
    // Exponent in bits 4:0, two's complement; the mantissa is unsigned (8.4.1.1).
    const exponent = signed(voutMode & 0x1f, 5);
    return (raw) => raw * 2 ** exponent;
  }
  if (format === 'direct') {
    if (vout === undefined) throw refuse('give its coefficients as "vout" of the device in the board file');
    const { m, b = 0, r } = vout;
    if (m === 0) throw refuse('its coefficient m must not be 0');
    // A power of ten below 1 is no exact number: 950 * 10 ** -3 lies above a limit of 0.95.
    const unscaled = (raw: number) => (r >= 0 ? raw / 10 ** r : raw * 10 ** -r);
    return (raw) => (unscaled(signed(raw, 16)) - b) / m;
  }
  throw refuse('only linear and direct can be decoded');
}

function signed(value: number, bitCount: number): number {
  const sign = 1 << (bitCount - 1);
  return (value ^ sign) - sign;
}

function hex(value: number): string {
  return value.toString(16).padStart(2, '0');
}
