import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { registersToldBy, STATUS_REGISTERS, STATUS_WORD, statusReading } from '../../hw/pmbus/status.ts';

const registers = [STATUS_WORD, ...STATUS_REGISTERS];
const registerOf = (name: string) => {
  const found = registers.find((register) => register.name === name);
  if (found === undefined) throw new RangeError(name);
  return found;
};

describe('a status register', () => {
  // Bits as the PMBus specification 1.3.1, part II, has them, and drivers/hwmon/pmbus/pmbus.h of the Linux kernel.
  it.each([
    ['STATUS_WORD', 0x79, '17.2', 0x8840, ['VOUT', 'POWER_GOOD#', 'OFF']],
    ['STATUS_WORD', 0x79, '17.2', 0x2008, ['INPUT', 'VIN_UV_FAULT']],
    [
      'STATUS_WORD',
      0x79,
      '17.2',
      0x5796,
      [
        'IOUT/POUT',
        'MFR_SPECIFIC',
        'FANS',
        'OTHER',
        'UNKNOWN',
        'BUSY',
        'IOUT_OC_FAULT',
        'TEMPERATURE',
        'CML',
      ],
    ],
    ['STATUS_WORD', 0x79, '17.2', 0x0021, ['VOUT_OV_FAULT', 'NONE OF THE ABOVE']],
    ['STATUS_VOUT', 0x7a, '17.3', 0x90, ['VOUT_OV_FAULT', 'VOUT_UV_FAULT']],
    [
      'STATUS_VOUT',
      0x7a,
      '17.3',
      0x6f,
      [
        'VOUT_OV_WARNING',
        'VOUT_UV_WARNING',
        'VOUT_MAX_MIN_WARNING',
        'TON_MAX_FAULT',
        'TOFF_MAX_WARNING',
        'VOUT_TRACKING_ERROR',
      ],
    ],
    [
      'STATUS_IOUT',
      0x7b,
      '17.4',
      0xf0,
      ['IOUT_OC_FAULT', 'IOUT_OC_LV_FAULT', 'IOUT_OC_WARNING', 'IOUT_UC_FAULT'],
    ],
    [
      'STATUS_IOUT',
      0x7b,
      '17.4',
      0x0f,
      ['CURRENT_SHARE_FAULT', 'IN_POWER_LIMITING_MODE', 'POUT_OP_FAULT', 'POUT_OP_WARNING'],
    ],
    [
      'STATUS_INPUT',
      0x7c,
      '17.5',
      0xf8,
      ['VIN_OV_FAULT', 'VIN_OV_WARNING', 'VIN_UV_WARNING', 'VIN_UV_FAULT', 'OFF_FOR_LOW_VIN'],
    ],
    ['STATUS_INPUT', 0x7c, '17.5', 0x07, ['IIN_OC_FAULT', 'IIN_OC_WARNING', 'PIN_OP_WARNING']],
    ['STATUS_TEMPERATURE', 0x7d, '17.6', 0xf1, ['OT_FAULT', 'OT_WARNING', 'UT_WARNING', 'UT_FAULT', 'bit 0']],
    ['STATUS_CML', 0x7e, '17.7', 0xe0, ['INVALID_COMMAND', 'INVALID_DATA', 'PACKET_ERROR']],
    [
      'STATUS_CML',
      0x7e,
      '17.7',
      0x1f,
      [
        'MEMORY_FAULT',
        'PROCESSOR_FAULT',
        'bit 2',
        'OTHER_COMMUNICATION_FAULT',
        'OTHER_MEMORY_OR_LOGIC_FAULT',
      ],
    ],
    ['STATUS_MFR_SPECIFIC', 0x80, '17.9', 0x81, ['bit 7', 'bit 0']],
  ])('%s (command %i, %s) of %i names its bits', (name, command, section, value, names) => {
    const register = registerOf(name);
    expect(register).toMatchObject({ command, section });
    const reading = statusReading(register, value);
    expect(reading).toMatchObject({ register: name, value });
    expect(reading.bits.map((bit) => bit.name)).toEqual(names);
  });

  it('tells every bit that is set, also one without a name, and each in words of its own', () => {
    fc.assert(
      fc.property(fc.constantFrom(...registers), fc.integer({ min: 0, max: 0xffff }), (register, drawn) => {
        const value = register === STATUS_WORD ? drawn : drawn & 0xff;
        const { bits } = statusReading(register, value);
        expect(bits).toHaveLength([...value.toString(2)].filter((digit) => digit === '1').length);
        expect(new Set(bits.map(({ means }) => means)).size).toBe(bits.length);
      }),
    );
  });
});

describe('STATUS_WORD says which registers have something to tell', () => {
  it.each([
    // POWER_GOOD# and OFF sum up no other register.
    [0x0840, []],
    [0x8000, ['STATUS_VOUT']],
    [0x0020, ['STATUS_VOUT']],
    [0x4000, ['STATUS_IOUT']],
    [0x0010, ['STATUS_IOUT']],
    [0x2000, ['STATUS_INPUT']],
    [0x0008, ['STATUS_INPUT']],
    [0x0004, ['STATUS_TEMPERATURE']],
    [0x0002, ['STATUS_CML']],
    [0x1000, ['STATUS_MFR_SPECIFIC']],
    [0xffff, STATUS_REGISTERS.map(({ name }) => name)],
  ])('%i', (statusWord, names) => {
    expect(registersToldBy(statusWord).map(({ name }) => name)).toEqual(names);
  });
});
