/* Sections are those of the PMBus specification 1.3.1, part II. */

/** How the bits of a register stand for a number. */
export interface NumericFormat {
  /** As the specification calls it. */
  readonly name: string;
  readonly section: string;
  /** Whether it can give a share of something, and not only volts. */
  readonly hasShares: boolean;
  /** The number that the bits stand for; null where they stand for none. */
  decode(raw: number): number | null;
  /** The bits that stand for the nearest number; null where the format does not reach so far. */
  encode(value: number): number | null;
}

/** Coefficients of the direct format (7.4): volts = (raw * 10^-r - b) / m. */
export interface DirectCoefficients {
  readonly m: number;
  readonly b?: number;
  readonly r: number;
}

/** Exponent in bits 15:11 and mantissa in bits 10:0, both two's complement. */
export const LINEAR11: NumericFormat = {
  name: 'LINEAR11',
  section: '7.3',
  hasShares: true,
  decode: (raw) => signed(raw & 0x7ff, 11) * 2 ** signed(raw >> 11, 5),
  encode(value) {
    // The smallest exponent with which the mantissa fits loses least.
    for (let exponent = -16; exponent <= 15; exponent += 1) {
      const mantissa = Math.round(value / 2 ** exponent);
      if (mantissa >= -1024 && mantissa <= 1023) return ((exponent & 0x1f) << 11) | (mantissa & 0x7ff);
    }
    return null;
  },
};

/** An unsigned mantissa of 16 bits. @param exponent that of VOUT_MODE */
export function linear16(exponent: number): NumericFormat {
  return {
    name: 'linear',
    section: '8.4.1',
    hasShares: true,
    decode: (raw) => raw * 2 ** exponent,
    encode: (value) => within(Math.round(value / 2 ** exponent), 0, 0xffff),
  };
}

/** A signed register of 16 bits. @param coefficients with an m that is not 0 */
export function direct({ m, b = 0, r }: DirectCoefficients): NumericFormat {
  // A power of ten below 1 is no exact number: 950 * 10 ** -3 lies above a limit of 0.95.
  const scaled = (value: number, power: number) => (power >= 0 ? value * 10 ** power : value / 10 ** -power);
  return {
    name: 'direct',
    section: '7.4, 8.4.3',
    hasShares: false,
    decode: (raw) => (scaled(signed(raw, 16), -r) - b) / m,
    encode: (value) => {
      const raw = within(Math.round(scaled(m * value + b, r)), -0x8000, 0x7fff);
      return raw === null ? null : raw & 0xffff;
    },
  };
}

/**
 * Tables of voltage codes: from the code `first`, which is `microvolts`, each one up to `last` is `step` further. All other
 * codes of a byte are 0 V, `off` among them. The numbers are those of `pmbus_reg2data_vid` in the Linux kernel's
 * drivers/hwmon/pmbus/pmbus_core.c; the specification names the tables of others only (8.4.2).
 */
export const VID_TABLES = {
  vr11: { first: 0x02, last: 0xb2, microvolts: 1_600_000, step: -6_250, off: 0x00 },
  vr12: { first: 0x01, last: 0xff, microvolts: 250_000, step: 5_000, off: 0x00 },
  'vr12.5': { first: 0x01, last: 0xff, microvolts: 500_000, step: 10_000, off: 0x00 },
  vr13: { first: 0x01, last: 0xff, microvolts: 500_000, step: 10_000, off: 0x00 },
  imvp9: { first: 0x01, last: 0xff, microvolts: 200_000, step: 10_000, off: 0x00 },
  amd625mv: { first: 0x00, last: 0xd8, microvolts: 1_550_000, step: -6_250, off: 0xff },
  nvidia195mv: { first: 0x01, last: 0xff, microvolts: 195_000, step: 5_000, off: 0x00 },
} as const;

export type VidTable = keyof typeof VID_TABLES;

export function vid(table: VidTable): NumericFormat {
  const { first, last, microvolts, step, off } = VID_TABLES[table];
  return {
    name: `VID ${table}`,
    section: '8.4.2',
    hasShares: false,
    decode(raw) {
      // A code is a byte; a word above it is none.
      if (raw > 0xff) return null;
      return raw < first || raw > last ? 0 : (microvolts + (raw - first) * step) / 1e6;
    },
    encode(value) {
      if (value === 0) return off;
      return within(first + Math.round((value * 1e6 - microvolts) / step), first, last);
    },
  };
}

/** IEEE 754 binary16: sign, 5 bits of exponent, 10 of mantissa. Infinities and NaN are no numbers. */
export const HALF_PRECISION: NumericFormat = {
  name: 'IEEE half precision',
  section: '8.4.4',
  hasShares: true,
  decode(raw) {
    const exponent = (raw >> 10) & 0x1f;
    const fraction = (raw & 0x3ff) / 1024;
    if (exponent === 0x1f) return null;
    const magnitude = exponent === 0 ? fraction * 2 ** -14 : (1 + fraction) * 2 ** (exponent - 15);
    return (raw & 0x8000) === 0 ? magnitude : -magnitude;
  },
  encode(value) {
    const magnitude = Math.abs(value);
    const exponent = Math.max(-14, Math.floor(Math.log2(magnitude)));
    // The leading 1 of the mantissa adds the last 1 of the exponent, also where rounding makes it a power of two.
    const bits = (exponent + 14) * 1024 + roundHalfEven(magnitude / 2 ** (exponent - 10));
    return bits < 0x7c00 ? bits | (value < 0 ? 0x8000 : 0) : null;
  },
};

/** What the board file knows of a device's formats. */
export interface KnownFormats {
  readonly vout?: DirectCoefficients;
  readonly vid?: VidTable;
}

export interface VoutFormat {
  /** As VOUT_MODE calls it. */
  readonly mode: string;
  readonly section: string;
  /** The format, or what the board file has to say for it. @param parameter bits 4:0 of VOUT_MODE */
  of(parameter: number, known: KnownFormats): NumericFormat | string;
}

/** By bits 6:5 of VOUT_MODE (8.3, table 2). Bit 7 makes limits relative, which READ_VOUT never is (8.5). */
const VOUT_FORMATS: readonly [VoutFormat, VoutFormat, VoutFormat, VoutFormat] = [
  // The exponent is two's complement.
  { mode: 'linear', section: '8.4.1', of: (parameter) => linear16(signed(parameter, 5)) },
  {
    mode: 'VID',
    section: '8.4.2',
    of: (parameter, known) =>
      known.vid === undefined
        ? `name its table as "vid" of the device in the board file (code type ${parameter}): ${Object.keys(VID_TABLES).join(', ')}`
        : vid(known.vid),
  },
  {
    mode: 'direct',
    section: '8.4.3',
    of(_, { vout }) {
      if (vout === undefined) return 'give its coefficients as "vout" of the device in the board file';
      return vout.m === 0 ? 'its coefficient m must not be 0' : direct(vout);
    },
  },
  { mode: 'IEEE half precision', section: '8.4.4', of: () => HALF_PRECISION },
];

export function voutFormatOf(voutMode: number): VoutFormat {
  return VOUT_FORMATS[((voutMode >> 5) & 0b11) as 0 | 1 | 2 | 3];
}

function signed(value: number, bitCount: number): number {
  const sign = 1 << (bitCount - 1);
  return (value ^ sign) - sign;
}

/** NaN is within nothing. */
function within(value: number, least: number, most: number): number | null {
  return value >= least && value <= most ? value : null;
}

function roundHalfEven(value: number): number {
  const floor = Math.floor(value);
  if (value - floor !== 0.5) return Math.round(value);
  return floor % 2 === 0 ? floor : floor + 1;
}
