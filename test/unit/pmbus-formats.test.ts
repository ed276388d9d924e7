import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  direct,
  HALF_PRECISION,
  LINEAR11,
  linear16,
  type NumericFormat,
  VID_TABLES,
  vid,
  voutFormatOf,
} from '../../hw/pmbus/formats.ts';
import { boardJsonSchema } from '../../src/board/json-schema.ts';
import { fewer } from '../draws.ts';

/** Sections are those of the PMBus specification 1.3.1, part II; every number was worked out by hand from them. */
const VECTORS: readonly (readonly [format: NumericFormat, raw: number, value: number])[] = [
  // 7.3: exponent 11101b is -3, mantissa 010 1100 0000b is 704; 704 / 2^3.
  [LINEAR11, 0xeac0, 88],
  // 11010b is -6, 011 1100 0000b is 960; 960 / 2^6.
  [LINEAR11, 0xd3c0, 15],
  // 11110b is -2, 111 1111 1111b is -1; -1 / 2^2.
  [LINEAR11, 0xf7ff, -0.25],
  // 00000b is 0, 100 0000 0000b is -1024, the lowest mantissa.
  [LINEAR11, 0x0400, -1024],
  // 00001b is 1, mantissa 1.
  [LINEAR11, 0x0801, 2],
  // 01111b is 15, the highest exponent, 011 1111 1111b is 1023; 1023 * 32768.
  [LINEAR11, 0x7bff, 33_521_664],
  // 10000b is -16, the lowest exponent; 1 / 65536.
  [LINEAR11, 0x8001, 0.0000152587890625],
  // 8.4.1: 614 / 2^9.
  [linear16(-9), 0x0266, 1.19921875],
  // 4096 / 2^12.
  [linear16(-12), 0x1000, 1],
  // The mantissa has no sign: 65535 / 2^16.
  [linear16(-16), 0xffff, 0.9999847412109375],
  [linear16(0), 12, 12],
  // 3 * 2^15.
  [linear16(15), 3, 98_304],
  // 7.4: (900 * 10^-3 - 0) / 1.
  [direct({ m: 1, r: 3 }), 900, 0.9],
  // 0xff38 is -200: (-200 * 10^-1 - 10) / 2.
  [direct({ m: 2, b: 10, r: 1 }), 0xff38, -15],
  // (813 * 10^2 - 0) / 6770.
  [direct({ m: 6770, b: 0, r: -2 }), 813, 81_300 / 6770],
  // A slope that falls: (5 * 10^0 - 105) / -2.
  [direct({ m: -2, b: 105, r: 0 }), 5, 50],
  // 8.4.2, 1.6 V - (0x02 - 2) * 6.25 mV, and 1.6 V - 176 * 6.25 mV.
  [vid('vr11'), 0x02, 1.6],
  [vid('vr11'), 0xb2, 0.5],
  // 0.25 V + (0x97 - 1) * 5 mV; 0x97 is 151. 0.25 V + 254 * 5 mV.
  [vid('vr12'), 0x01, 0.25],
  [vid('vr12'), 0x97, 1],
  [vid('vr12'), 0xff, 1.52],
  // 0.5 V + (0x83 - 1) * 10 mV; 0x83 is 131.
  [vid('vr12.5'), 0x83, 1.8],
  [vid('vr13'), 0x83, 1.8],
  // 0.2 V + (0x47 - 1) * 10 mV; 0x47 is 71.
  [vid('imvp9'), 0x47, 0.9],
  // 1.55 V - 88 * 6.25 mV, and 1.55 V - 216 * 6.25 mV.
  [vid('amd625mv'), 0x58, 1],
  [vid('amd625mv'), 0xd8, 0.2],
  // 0.195 V + (0xa2 - 1) * 5 mV; 0xa2 is 162.
  [vid('nvidia195mv'), 0xa2, 1],
  // 8.4.4: exponent 10001b is 17, fraction 01 1000 0000b is 384; 2^(17 - 15) * (1 + 384 / 1024).
  [HALF_PRECISION, 0x4580, 5.5],
  // 01101b is 13, 01 0101 0101b is 341: 2^-2 * (1 + 341 / 1024).
  [HALF_PRECISION, 0x3555, 0.333251953125],
  // 10000b is 16: -(2^1 * 1).
  [HALF_PRECISION, 0xc000, -2],
  // 11110b is 30, the highest, fraction 1023: 2^15 * (1 + 1023 / 1024).
  [HALF_PRECISION, 0x7bff, 65_504],
  // Exponent 0 has no leading 1: 2^-14 * (1 / 1024).
  [HALF_PRECISION, 0x0001, 2 ** -24],
];

const EVERY: readonly NumericFormat[] = [
  LINEAR11,
  ...Array.from({ length: 32 }, (_, index) => linear16(index - 16)),
  direct({ m: 1, r: 3 }),
  direct({ m: 2, b: -7, r: 1 }),
  direct({ m: -13, b: 105, r: -1 }),
  direct({ m: 32_767, b: 32_767, r: -2 }),
  ...(Object.keys(VID_TABLES) as (keyof typeof VID_TABLES)[]).map(vid),
  HALF_PRECISION,
];
const anyFormat = fc.constantFrom(...EVERY);

describe('a numeric format', () => {
  it.each(
    VECTORS.map(
      ([format, raw, value]) => [format.name, `0x${raw.toString(16)}`, value, format, raw] as const,
    ),
  )('%s: %s is %d, and back', (_name, _hex, value, format, raw) => {
    expect(format.decode(raw)).toBeCloseTo(value, 12);
    const again = format.encode(value);
    // Several bits of LINEAR11 may stand for one number.
    expect(again === null ? null : format.decode(again)).toBeCloseTo(value, 12);
    if (format !== LINEAR11) expect(again).toBe(raw);
  });

  it('gives a number back as it was, whatever bits it came from', () => {
    fc.assert(
      fc.property(anyFormat, fc.integer({ min: 0, max: 0xffff }), (format, raw) => {
        const value = format.decode(raw);
        fc.pre(value !== null);
        const again = format.encode(value);
        expect(again).toBeGreaterThanOrEqual(0);
        expect(again).toBeLessThanOrEqual(0xffff);
        expect(format.decode(again ?? -1)).toBe(value);
      }),
      { numRuns: fewer(2_000, 400) },
    );
  });

  it('encodes a number between two as the nearer one', () => {
    fc.assert(
      fc.property(
        anyFormat,
        fc.integer({ min: 0, max: 0xfffe }),
        fc.double({ min: 0, max: 1, noNaN: true }),
        (format, raw, share) => {
          const [low, high] = [format.decode(raw), format.decode(raw + 1)];
          // Where a sign or an exponent begins anew the two are no neighbours, and 0 V has a code apart in VID.
          fc.pre(low !== null && high !== null && low !== 0 && high !== 0);
          fc.pre(Math.sign(low) === Math.sign(high) && (raw & 0x3ff) !== 0x3ff);
          const value = low + share * (high - low);
          const again = format.decode(format.encode(value) ?? -1) ?? Number.NaN;
          const error = Math.abs(again - value);
          expect(error).toBeLessThanOrEqual(Math.abs(high - low) / 2 + Math.abs(value) * 1e-9);
        },
      ),
      { numRuns: fewer(2_000, 400) },
    );
  });

  it.each([
    // Between 1 (0x3c00) and 1 + 2^-10, and between that and 1 + 2^-9: the even one of the two.
    [1 + 2 ** -11, 0x3c00],
    [1 + 3 * 2 ** -11, 0x3c02],
    // Half of the least number, and as little more.
    [2 ** -25, 0x0000],
    [2 ** -25 + 2 ** -40, 0x0001],
    // Rounded up to the next power of two.
    [4 - 2 ** -10, 0x4400],
  ])('half precision rounds %d as IEEE 754 does', (value, raw) => {
    expect(HALF_PRECISION.encode(value)).toBe(raw);
  });

  it.each([
    ['LINEAR11 above its highest', LINEAR11, 33_600_000],
    ['LINEAR11 below its lowest', LINEAR11, -33_600_000],
    ['linear without a sign', linear16(-9), -1],
    ['linear above 16 bits', linear16(-9), 128],
    ['direct above 15 bits', direct({ m: 1, r: 3 }), 32.768],
    ['VID between its lowest and none', vid('vr13'), 0.4],
    ['VID above its highest', vid('vr12'), 1.53],
    ['half precision above its highest', HALF_PRECISION, 65_536],
    ['half precision of no number', HALF_PRECISION, Number.NaN],
    ['linear of no number', linear16(0), Number.NaN],
    ['LINEAR11 of no number', LINEAR11, Number.NaN],
  ])('does not encode what it does not reach: %s', (_, format, value) => {
    expect(format.encode(value)).toBeNull();
  });

  it.each([
    ['infinity in half precision', HALF_PRECISION, 0x7c00],
    ['NaN in half precision', HALF_PRECISION, 0xfe00],
    ['a word that is no code', vid('vr13'), 0x0100],
  ])('is no number: %s', (_, format, raw) => {
    expect(format.decode(raw)).toBeNull();
  });

  it.each([
    ['vr11', 0x00],
    ['vr11', 0x01],
    ['vr11', 0xb3],
    ['vr12', 0x00],
    ['amd625mv', 0xd9],
  ] as const)('of VID table %s has no voltage at code %i', (table, code) => {
    expect(vid(table).decode(code)).toBe(0);
  });
});

describe('VOUT_MODE (8.3)', () => {
  it('chooses the format by bits 6:5, whatever says the relative bit', () => {
    const modes = [0x17, 0x97, 0x21, 0xa1, 0x40, 0xc0, 0x60, 0xe0].map((mode) => voutFormatOf(mode).mode);
    const [linear, half] = ['linear', 'IEEE half precision'];
    expect(modes).toEqual([linear, linear, 'VID', 'VID', 'direct', 'direct', half, half]);
  });

  it.each(Array.from({ length: 32 }, (_, bits) => [bits, bits < 16 ? bits : bits - 32]))(
    'linear parameter %i is the exponent %i',
    (bits, exponent) => {
      const format = voutFormatOf(bits).of(bits, {});
      expect(typeof format === 'string' ? format : format.decode(1)).toBe(2 ** exponent);
    },
  );
});

it('the board file knows the VID tables that can be decoded, and no other', () => {
  const text = JSON.stringify(boardJsonSchema());
  const listed = /"vid":\{[^}]*?"enum":(\[[^\]]*\])/.exec(text)?.[1];
  expect(JSON.parse(listed ?? '[]').sort()).toEqual(Object.keys(VID_TABLES).sort());
});
