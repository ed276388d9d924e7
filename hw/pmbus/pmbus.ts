import { HardwareError } from '../errors.ts';
import type { I2cBus, I2cDevice, TransactionOptions } from '../ports.ts';
import { type KnownFormats, LINEAR11, type NumericFormat, voutFormatOf } from './formats.ts';
import { expectIdentity, type Identity } from './identity.ts';
import { NO_ANSWER, VOUT_OV_FAULT_LIMIT, VOUT_UV_FAULT_LIMIT, type VoutLimit } from './limits.ts';
import type { Sensor } from './sensors.ts';
import { setVolts, type VoltFormat } from './set-volts.ts';
import type { VoutSetting } from './settings.ts';
import { NOT_GOOD_BIT, STATUS_WORD, type StatusRegister } from './status.ts';

/** Sections are those of the PMBus specification 1.3.1, part II. */
const PAGE = 0x00; // 11.10
const OPERATION = 0x01; // 12.1
const VOUT_MODE = 0x20; // 8.3
const VOUT_COMMAND = 0x21; // 13.2
const READ_VOUT = 0x8b; // 18.4

/** OPERATION: on, output at VOUT_COMMAND, margins off (12.1). */
const OPERATION_ON = 0x80;
/** OPERATION: off at once, without the turn-off delay and ramp (12.1): after a fault every ms counts. */
const OPERATION_OFF = 0x00;
/** VOUT_MODE bit 7: limits are shares of VOUT_COMMAND (8.5). */
const RELATIVE_BIT = 0x80;
/** OPERATION bit 7: the output is commanded on (12.1). */
const OPERATION_ON_BIT = 0x80;

const READING: TransactionOptions = { isReading: true };

/** Formats that VOUT_MODE does not choose are unused. */
export interface PmbusPageOptions extends KnownFormats {
  readonly bus: I2cBus;
  readonly address: number;
  readonly page: number;
  /** The device has a packet error check. */
  readonly pec?: boolean;
  /**
   * What the device has to say that it is. It is asked before the first thing that is asked of the page, and each time before
   * something is written that is not to switch off; rejects `PMBUS_IDENTITY` where it is another one.
   */
  readonly identity?: Identity;
}

export interface PmbusOutput {
  readonly powerGood: boolean;
  readonly voutVolts: number;
}

/** What a device itself takes for a good output voltage. */
export interface VoutWindow {
  /** VOUT_UV_FAULT_LIMIT; null where the device has none that can be taken for one. 0 V is one that nothing passes. */
  readonly minVolts: number | null;
  /** VOUT_OV_FAULT_LIMIT, likewise. */
  readonly maxVolts: number | null;
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
  /**
   * Tells an output that is off a voltage, and reads it back, in one transaction. Rejects `I2C_FAILED`, with nothing written,
   * where STATUS_WORD does not say OFF, and where the device reads back other bits than those that were written;
   * `PMBUS_FORMAT` for a format that is not known or does not reach so far.
   */
  setVolts(setting: VoutSetting, volts: number): Promise<void>;
  /** Output voltage. Rejects `PMBUS_FORMAT` for a format that cannot be decoded, and for bits that are no number in it. */
  readVoutVolts(): Promise<number>;
  statusWord(): Promise<number>;
  /** One of `STATUS_REGISTERS`. */
  readStatus(register: StatusRegister): Promise<number>;
  /**
   * A limit of the output voltage, in volts; null where the device answers nothing that can be taken for one. Rejects
   * `PMBUS_FORMAT` for a format that cannot be decoded.
   */
  readLimitVolts(limit: VoutLimit): Promise<number | null>;
  /** The fault limits of the output voltage, read in one transaction; like `readLimitVolts`. */
  readVoutWindow(): Promise<VoutWindow>;
  /**
   * What the device measures, in the sensor's unit; null where it answers nothing that can be taken for it. It is LINEAR11,
   * as these are where a data sheet does not say otherwise (7.3).
   */
  readSensor(sensor: Sensor): Promise<number | null>;
  /** Power good and output voltage, read in one transaction. */
  readOutput(): Promise<PmbusOutput>;
  /** Whether a status word says power good. */
  powerGood(statusWord: number): boolean;
}

/** PAGE is written before every command, in the same transaction: another program may have moved it. */
export function createPmbusPage(options: PmbusPageOptions): PmbusPage {
  const { address, page } = options;
  const details = { address, page };
  const where = `page ${page} of the PMBus device at 0x${hex(address)}`;

  const onPage = createTransactions(options, { where, details });
  const { readVolts, readLimit, formatOfPage } = createVoltReaders(options, where, details);

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
        on ? {} : { isUrgent: true, putsBack: PAGE },
      ),

    readEnabled: () => onPage(async (device) => isOn(await device.readByte(OPERATION)), READING),

    setVolts: (setting, volts) =>
      onPage((device) => setVolts(device, () => formatOfPage(device), { where, details }, setting, volts)),

    readVoutVolts: () => onPage(readVolts, READING),

    statusWord: () => onPage((device) => device.readWord(STATUS_WORD.command), READING),

    readStatus: ({ command }) => onPage((device) => device.readByte(command), READING),

    readLimitVolts: (limit) => onPage((device) => readLimit(device, limit), READING),

    readVoutWindow: () =>
      onPage(
        async (device) => ({
          minVolts: await readLimit(device, VOUT_UV_FAULT_LIMIT),
          maxVolts: await readLimit(device, VOUT_OV_FAULT_LIMIT),
        }),
        READING,
      ),

    readSensor: ({ command }) =>
      onPage(async (device) => {
        const raw = await device.readWord(command);
        return raw === NO_ANSWER ? null : LINEAR11.decode(raw);
      }, READING),

    readOutput: () =>
      onPage(
        async (device) => ({
          powerGood: powerGood(await device.readWord(STATUS_WORD.command)),
          voutVolts: await readVolts(device),
        }),
        READING,
      ),

    powerGood,
  };
}

/** Runs the steps of a transaction on the page, with a device that is the one of the board file. */
function createTransactions(
  { bus, address, page, pec = false, identity = {} }: PmbusPageOptions,
  place: { readonly where: string; readonly details: Record<string, unknown> },
) {
  let isKnown = false;
  return <T>(steps: (device: I2cDevice) => Promise<T>, transaction: TransactionOptions = {}): Promise<T> =>
    bus.transaction(
      address,
      async (device) => {
        const { isReading = false, isUrgent = false } = transaction;
        // What goes off goes off, whatever says that it is another device.
        if (!isUrgent && !(isKnown && isReading)) {
          await expectIdentity(device, place, identity);
          isKnown = true;
        }
        await device.writeByte(PAGE, page);
        return steps(device);
      },
      { ...transaction, pec },
    );
}

/** What of a page is volts, inside a transaction that has set the page. VOUT_MODE is read once. */
function createVoltReaders(known: KnownFormats, where: string, details: Record<string, unknown>) {
  let voutMode: number | undefined;
  const formatNow = async (device: I2cDevice): Promise<NumericFormat> => {
    voutMode ??= await readVoutMode(device);
    return formatOf(voutMode, known, where, details);
  };
  const readVoutMode = async (device: I2cDevice): Promise<number> => {
    const mode = await device.readByte(VOUT_MODE);
    // It would be IEEE half precision with a parameter, which that has not (8.3): nobody drove the bus.
    if (mode !== (NO_ANSWER & 0xff)) return mode;
    throw new HardwareError(
      'PMBUS_FORMAT',
      `${where} has no VOUT_MODE (it reads 0xff), so its voltage cannot be read: check the device and its address`,
      { ...details, voutMode: mode },
    );
  };
  const readVolts = async (device: I2cDevice): Promise<number> => {
    const voutFormat = await formatNow(device);
    const raw = await device.readWord(READ_VOUT);
    const volts = voutFormat.decode(raw);
    if (volts !== null) return volts;
    throw new HardwareError(
      'PMBUS_FORMAT',
      `${where} reads READ_VOUT 0x${hex(raw)}, which is no number in ${voutFormat.name} format: check the device and its address`,
      { ...details, raw, format: voutFormat.name },
    );
  };

  const readLimit = async (device: I2cDevice, limit: VoutLimit): Promise<number | null> => {
    const format = await formatNow(device);
    const raw = await device.readWord(limit.command);
    const value = raw === NO_ANSWER ? null : format.decode(raw);
    if (value === null || ((voutMode ?? 0) & RELATIVE_BIT) === 0) return value;
    // A share that this cannot be, or that the specification may not mean, is no limit to judge by.
    if (!limit.mayBeRelative || !format.hasShares) return null;
    const commanded = format.decode(await device.readWord(VOUT_COMMAND));
    return commanded === null ? null : value * commanded;
  };

  const formatOfPage = async (device: I2cDevice): Promise<VoltFormat> => {
    const format = await formatNow(device);
    return { format, isRelative: ((voutMode ?? 0) & RELATIVE_BIT) !== 0 };
  };

  return { readVolts, readLimit, formatOfPage };
}

function powerGood(statusWord: number): boolean {
  return (statusWord & NOT_GOOD_BIT) === 0;
}

function isOn(operation: number): boolean {
  return (operation & OPERATION_ON_BIT) !== 0;
}

/** How READ_VOUT becomes volts under this VOUT_MODE. */
function formatOf(
  voutMode: number,
  known: KnownFormats,
  where: string,
  details: Record<string, unknown>,
): NumericFormat {
  const { mode, of } = voutFormatOf(voutMode);
  const format = of(voutMode & 0x1f, known);
  if (typeof format !== 'string') return format;
  throw new HardwareError(
    'PMBUS_FORMAT',
    `${where} gives its voltage in ${mode} format (VOUT_MODE 0x${hex(voutMode)}): ${format}`,
    { ...details, voutMode, format: mode },
  );
}

function hex(value: number): string {
  return value.toString(16).padStart(2, '0');
}
