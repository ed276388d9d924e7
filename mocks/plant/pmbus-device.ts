import { type TransferPlace, transferFailed } from '../../hw/i2c/errors.ts';
import { TRIP_CAUSES, type TripCause } from './faults.ts';

/** PMBus specification 1.3.1 part II, table 31. */
const PAGE = 0x00;
const OPERATION = 0x01;
const VOUT_MODE = 0x20;
const VOUT_OV_FAULT_LIMIT = 0x40;
const VOUT_UV_FAULT_LIMIT = 0x44;
const POWER_GOOD_ON = 0x5e;
const STATUS_BYTE = 0x78;
const STATUS_WORD = 0x79;
const STATUS_VOUT = 0x7a;
const STATUS_IOUT = 0x7b;
const STATUS_INPUT = 0x7c;
const STATUS_TEMPERATURE = 0x7d;
const READ_VIN = 0x88;
const READ_IOUT = 0x8c;
const READ_TEMPERATURE_1 = 0x8d;
const READ_VOUT = 0x8b;

/** PAGE value that writes to all pages (11.10). */
const ALL_PAGES = 0xff;

/** STATUS_WORD bits (17.2). */
const STATUS_VOUT_SUMMARY = 1 << 15;
const STATUS_NOT_GOOD = 1 << 11;
const STATUS_OFF = 1 << 6;
/** STATUS_VOUT: VOUT_UV_FAULT (17.3). */
const VOUT_UNDERVOLTAGE = 1 << 4;

/**
 * What a trip sets: its bit of STATUS_WORD (17.2), the one that sums it up, and that of its own register (17.3 to 17.6).
 */
const TRIPS = {
  overvoltage: { word: STATUS_VOUT_SUMMARY | (1 << 5), register: STATUS_VOUT, bits: 1 << 7 },
  overcurrent: { word: (1 << 14) | (1 << 4), register: STATUS_IOUT, bits: 1 << 7 },
  input: { word: (1 << 13) | (1 << 3), register: STATUS_INPUT, bits: 1 << 4 },
  overtemperature: { word: 1 << 2, register: STATUS_TEMPERATURE, bits: 1 << 7 },
} as const satisfies Record<TripCause, unknown>;

/** What the device measures beside its output: 12 V in, 2 A, 40 °C, as LINEAR11 (7.3) with the exponent -3, -6 and -3. */
const SENSORS: Readonly<Record<number, number>> = {
  [READ_VIN]: (0b11101 << 11) | (12 * 8),
  [READ_IOUT]: (0b11010 << 11) | (2 * 64),
  [READ_TEMPERATURE_1]: (0b11101 << 11) | (40 * 8),
};

/** VOUT_MODE: linear format with exponent -9 as five-bit two's complement (8.3.1). */
const LINEAR_EXPONENT = -9;
const VOUT_MODE_LINEAR = LINEAR_EXPONENT & 0x1f;
const VOUT_MODE_VID = 0x20;
const VOUT_MODE_DIRECT = 0x40;

/**
 * Voltage codes of a device in VID format, in millivolts: those of the first and of the last code that has a voltage, and
 * the code that has none (drivers/hwmon/pmbus/pmbus_core.c of the Linux kernel).
 */
const VID_CODES = {
  vr11: { from: [0x02, 1600], to: [0xb2, 500], off: 0 },
  vr12: { from: [0x01, 250], to: [0xff, 1520], off: 0 },
  'vr12.5': { from: [0x01, 500], to: [0xff, 3040], off: 0 },
  vr13: { from: [0x01, 500], to: [0xff, 3040], off: 0 },
  imvp9: { from: [0x01, 200], to: [0xff, 2740], off: 0 },
  amd625mv: { from: [0x00, 1550], to: [0xd8, 200], off: 0xff },
  nvidia195mv: { from: [0x01, 195], to: [0xff, 1465], off: 0 },
} as const;

/** How a device gives its voltages. One without either is linear. */
export interface PmbusFormats {
  /** Coefficients of one in direct format. */
  readonly vout?: { readonly m: number; readonly b: number; readonly r: number } | undefined;
  /** Table of one in VID format. */
  readonly vid?: keyof typeof VID_CODES | undefined;
}

/** One output of the device, as the chassis has it. */
export interface PmbusOutput {
  operation(): number;
  writeOperation(value: number): void;
  volts(): number;
  /** Where it begins to be good, and ends. */
  goodVolts(): number;
  /** Above it the device takes its output for overvolted. */
  mostVolts(): number;
  good(): boolean;
  /** The output does not deliver: it is off, or has no input. */
  off(): boolean;
  /** Voltage was below its limit though it should have been there, since the output was last switched on. */
  undervoltage(): boolean;
  /** It switched itself off for this, since it was last switched on. */
  tripped(cause: TripCause): boolean;
  /** What a register reads that it can be told; undefined for one that it cannot. */
  setting?(command: number): number | undefined;
  /** Tells a register; false where there is none that could be told. */
  tell?(command: number, raw: number): boolean;
}

/** The registers of one device. Values are checked by whoever calls. */
export interface PmbusDevice {
  readByte(command: number): number;
  readWord(command: number): number;
  readBlock(command: number): readonly number[];
  writeByte(command: number, value: number): void;
  writeWord(command: number, value: number): void;
  /** What was written, but for what the outputs keep, is as after a power-on reset. */
  reset(): void;
}

/**
 * @param at where the device is, for messages
 * @param outputs by page; a device without any page answers I2C_FAILED to all that needs one
 * @param identity what it says of itself now, by command
 */
export function createPmbusDevice(
  at: Omit<TransferPlace, 'command'>,
  outputs: ReadonlyMap<number, PmbusOutput>,
  formats: PmbusFormats,
  identity: (command: number) => readonly number[] | undefined = () => undefined,
): PmbusDevice {
  let page = 0;

  const refuse = (why: string, command: number) =>
    transferFailed(new Error(`the simulated device ${why}`), { ...at, command }, { page });
  const output = (command: number): PmbusOutput => {
    const found = outputs.get(page);
    if (found !== undefined) return found;
    throw refuse(`has no output on page ${page}`, command);
  };

  return {
    readByte(command) {
      switch (command) {
        case PAGE:
          return page;
        case OPERATION:
          return output(command).operation();
        case VOUT_MODE:
          return voutModeOf(formats);
        case STATUS_BYTE:
          return statusWord(output(command)) & 0xff;
        case STATUS_VOUT:
        case STATUS_IOUT:
        case STATUS_INPUT:
        case STATUS_TEMPERATURE:
          return statusByte(output(command), command);
        default: {
          // A register of one byte, where the specification has a block.
          const [only, ...others] = identity(command) ?? [];
          if (only !== undefined && others.length === 0) return only;
          throw refuse('takes no Read Byte of it', command);
        }
      }
    },

    readWord(command) {
      const told = outputs.get(page)?.setting?.(command);
      if (told !== undefined) return told;
      const word = READ_WORDS.has(command) ? wordOf(output(command), command, formats) : undefined;
      if (word === undefined) throw refuse('takes no Read Word of it', command);
      return word;
    },

    readBlock(command) {
      const says = identity(command);
      if (says === undefined) throw refuse('takes no Block Read of it', command);
      return says;
    },

    writeByte(command, value) {
      switch (command) {
        case PAGE:
          if (value !== ALL_PAGES && !outputs.has(value)) throw refuse(`has no page ${value}`, command);
          page = value;
          return;
        case OPERATION:
          for (const each of page === ALL_PAGES ? outputs.values() : [output(command)])
            each.writeOperation(value);
          return;
        default:
          throw refuse('takes no Write Byte of it', command);
      }
    },

    writeWord(command, value) {
      if (!output(command).tell?.(command, value)) throw refuse('takes no Write Word of it', command);
    },

    reset: () => {
      page = 0;
    },
  };
}

const READ_WORDS: ReadonlySet<number> = new Set([
  ...[STATUS_WORD, VOUT_OV_FAULT_LIMIT, VOUT_UV_FAULT_LIMIT, POWER_GOOD_ON, READ_VOUT],
  ...Object.keys(SENSORS).map(Number),
]);

function wordOf(output: PmbusOutput, command: number, formats: PmbusFormats): number | undefined {
  switch (command) {
    case STATUS_WORD:
      return statusWord(output);
    case VOUT_OV_FAULT_LIMIT:
      return registerOf(output.mostVolts(), formats);
    case VOUT_UV_FAULT_LIMIT:
    case POWER_GOOD_ON:
      return registerOf(output.goodVolts(), formats);
    case READ_VOUT:
      return registerOf(output.volts(), formats);
    default:
      return SENSORS[command];
  }
}

function voutModeOf({ vout, vid }: PmbusFormats): number {
  if (vout !== undefined) return VOUT_MODE_DIRECT;
  return vid === undefined ? VOUT_MODE_LINEAR : VOUT_MODE_VID;
}

function statusWord({ good, off, undervoltage, tripped }: PmbusOutput): number {
  let word =
    (good() ? 0 : STATUS_NOT_GOOD) | (off() ? STATUS_OFF : 0) | (undervoltage() ? STATUS_VOUT_SUMMARY : 0);
  for (const cause of TRIP_CAUSES) if (tripped(cause)) word |= TRIPS[cause].word;
  return word;
}

function statusByte({ undervoltage, tripped }: PmbusOutput, register: number): number {
  let bits = register === STATUS_VOUT && undervoltage() ? VOUT_UNDERVOLTAGE : 0;
  for (const cause of TRIP_CAUSES) {
    if (TRIPS[cause].register === register && tripped(cause)) bits |= TRIPS[cause].bits;
  }
  return bits;
}

/** Registers of a voltage. One beyond the register stands at its end, as that of a saturated converter does. */
export function registerOf(volts: number, { vout, vid }: PmbusFormats): number {
  const clamp = (raw: number, least: number, most: number) =>
    Math.min(Math.max(Math.round(raw), least), most) & 0xffff;
  if (vout !== undefined) return clamp((vout.m * volts + vout.b) * 10 ** vout.r, -0x8000, 0x7fff);
  if (vid === undefined) return clamp(volts * 2 ** -LINEAR_EXPONENT, 0, 0xffff);
  const { from, to, off } = VID_CODES[vid];
  const codesPerMv = (to[0] - from[0]) / (to[1] - from[1]);
  // Below its lowest code it has none but that of no voltage.
  if (volts * 1000 < Math.min(from[1], to[1])) return off;
  return clamp(from[0] + (volts * 1000 - from[1]) * codesPerMv, from[0], to[0]);
}
