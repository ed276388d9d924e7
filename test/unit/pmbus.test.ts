import { beforeEach, describe, expect, it } from 'vitest';
import { VOUT_LIMITS } from '../../hw/pmbus/limits.ts';
import { createPmbusPage, type PmbusPageOptions } from '../../hw/pmbus/pmbus.ts';
import { READ_IOUT, READ_TEMPERATURE_1, READ_VIN, SENSORS } from '../../hw/pmbus/sensors.ts';
import { VOUT_SETTINGS } from '../../hw/pmbus/settings.ts';
import type { I2cBus } from '../../hw/ports.ts';

const PAGE = 0x00;
const OPERATION = 0x01;
const VOUT_MODE = 0x20;
const STATUS_WORD = 0x79;
const READ_VOUT = 0x8b;

let registers: Map<string, number>;
let page: number;
let blocks: Map<number, readonly number[]>;
let transfers: string[];
let transactionCount: number;
let writeProtected: boolean;
let failOnce: string | undefined;

/** A bus with one paged device, that is moved to another page by someone else after each transaction. */
const bus: I2cBus = {
  async transaction(_address, steps) {
    transactionCount += 1;
    const step = (text: string) => {
      transfers.push(text);
      if (failOnce !== text) return;
      failOnce = undefined;
      throw Object.assign(new Error(text), { code: 'I2C_FAILED' });
    };
    const read = (command: number) => registers.get(`${page}/${command}`) ?? 0;
    const result = await steps({
      async readByte(command) {
        step(`read byte ${command}`);
        return read(command) & 0xff;
      },
      async readWord(command) {
        step(`read word ${command}`);
        return read(command);
      },
      async readBlock(command) {
        step(`read block ${command}`);
        return blocks.get(command) ?? [];
      },
      async writeByte(command, value) {
        step(`write ${command} ${value}`);
        if (command === PAGE) page = value;
        else if (!writeProtected) registers.set(`${page}/${command}`, value);
      },
      async writeWord(command, value) {
        step(`write word ${command} ${value}`);
        if (!writeProtected) registers.set(`${page}/${command}`, value);
      },
    });
    page = 7;
    return result;
  },
  close: async () => undefined,
};

const pageOne = (options: Partial<PmbusPageOptions> = {}) =>
  createPmbusPage({ bus, address: 0x60, page: 1, ...options });

beforeEach(() => {
  registers = new Map();
  blocks = new Map();
  page = 7;
  transfers = [];
  transactionCount = 0;
  writeProtected = false;
  failOnce = undefined;
});

describe('PAGE', () => {
  it('is written first in every transaction', async () => {
    const output = pageOne();
    await output.operation(true);
    await output.readEnabled();
    await output.statusWord();
    await output.readVoutVolts();
    await output.readOutput();
    expect(transactionCount).toBe(5);
    expect(transfers.filter((transfer) => transfer === 'write 0 1')).toHaveLength(5);
    expect(transfers[0]).toBe('write 0 1');
    expect(registers.has(`7/${OPERATION}`)).toBe(false);
  });
});

describe('another device at the address', () => {
  const [MFR_ID, MFR_MODEL, IC_DEVICE_ID] = [0x99, 0x9a, 0xad];
  const text = (said: string) => [...Buffer.from(said, 'latin1')];
  const vr = pageOneOf({ MFR_ID: 'TI', IC_DEVICE_ID: '0x0102ff' });

  function pageOneOf(identity: PmbusPageOptions['identity']) {
    return () => pageOne({ identity: identity ?? {} });
  }
  beforeEach(() => {
    blocks.set(MFR_ID, text('TI'));
    blocks.set(IC_DEVICE_ID, [1, 2, 0xff]);
  });

  it.each([
    ['MFR_ID', () => blocks.set(MFR_ID, text('ADI')), '"ADI"'],
    ['MFR_ID', () => blocks.set(MFR_ID, text('TI ADI')), '"TI ADI"'],
    ['IC_DEVICE_ID', () => blocks.set(IC_DEVICE_ID, [1, 2]), '0x0102'],
    ['IC_DEVICE_ID', () => blocks.set(IC_DEVICE_ID, [1, 2, 0xff, 0]), '0x0102ff00'],
  ] as const)('is neither believed nor told anything: %s', async (register, change, found) => {
    change();
    const output = vr();
    const refused = { code: 'PMBUS_IDENTITY', details: { address: 0x60, page: 1, register, found } };
    await expect(output.operation(true)).rejects.toMatchObject(refused);
    await expect(output.setVolts(VOUT_SETTINGS[0], 1)).rejects.toMatchObject(refused);
    for (const read of [output.readEnabled, output.statusWord, output.readVoutVolts, output.readOutput]) {
      await expect(read()).rejects.toMatchObject(refused);
    }
    expect(transfers.filter((transfer) => transfer.startsWith('write'))).toEqual([]);
  });

  it('is told to switch off, and not asked who it is', async () => {
    blocks.set(MFR_ID, text('ADI'));
    await vr().operation(false);
    expect(transfers).toEqual(['write 0 1', `write ${OPERATION} 0`, `read byte ${OPERATION}`]);
  });

  it('is looked for before the first thing that is read, and before each that is written', async () => {
    const asked = () => transfers.splice(0).filter((transfer) => transfer.startsWith('read block'));
    const both = [`read block ${MFR_ID}`, `read block ${IC_DEVICE_ID}`];
    const output = vr();
    await output.statusWord();
    expect(asked()).toEqual(both);
    await output.readEnabled();
    expect(asked()).toEqual([]);
    await output.operation(true);
    expect(asked()).toEqual(both);
    // Somebody changed it while the chassis was off.
    blocks.set(MFR_ID, text('ADI'));
    await expect(output.operation(true)).rejects.toMatchObject({ code: 'PMBUS_IDENTITY' });
  });

  it('is none where the text is filled up, or the register is one byte', async () => {
    blocks.set(MFR_ID, text('TI   \0'));
    await vr().statusWord();
    registers.set(`7/${MFR_MODEL}`, 0x59);
    await pageOneOf({ MFR_MODEL: '0x59' })().statusWord();
    await pageOneOf({ MFR_MODEL: 'Y' })().statusWord();
    registers.set(`7/${MFR_MODEL}`, 1);
    blocks.set(MFR_MODEL, [0x59]);
    await pageOneOf({ MFR_MODEL: '0x59' })().statusWord();
    blocks.set(MFR_MODEL, [0x58]);
    await expect(pageOneOf({ MFR_MODEL: 'Y' })().statusWord()).rejects.toMatchObject({
      details: { found: '"X"', expected: 'Y' },
    });
  });

  it('that does not say who it is rejects as its transfer does', async () => {
    failOnce = `read block ${MFR_ID}`;
    await expect(vr().operation(true)).rejects.toMatchObject({ code: 'I2C_FAILED' });
    expect(registers.has(`1/${OPERATION}`)).toBe(false);
  });
});

describe('OPERATION', () => {
  it.each([
    [true, 0x80],
    [false, 0x00],
  ])('%s is written as %i and read back', async (on, value) => {
    registers.set(`1/${OPERATION}`, on ? 0x00 : 0x80);
    const output = pageOne();
    await output.operation(on);
    expect(registers.get(`1/${OPERATION}`)).toBe(value);
    expect(transfers).toEqual(['write 0 1', `write 1 ${value}`, 'read byte 1']);
    expect(await output.readEnabled()).toBe(on);
  });

  it.each([true, false])('rejects a device that does not take %s', async (on) => {
    writeProtected = true;
    registers.set(`1/${OPERATION}`, on ? 0x00 : 0x88);
    await expect(pageOne().operation(on)).rejects.toMatchObject({
      code: 'I2C_FAILED',
      message: expect.stringContaining('WRITE_PROTECT'),
      details: { address: 0x60, page: 1, value: on ? 0x00 : 0x88 },
    });
  });

  it('is on with margin bits as well', async () => {
    registers.set(`1/${OPERATION}`, 0x98);
    expect(await pageOne().readEnabled()).toBe(true);
    registers.set(`1/${OPERATION}`, 0x40);
    expect(await pageOne().readEnabled()).toBe(false);
  });
});

describe('READ_VOUT', () => {
  it.each([
    // 0x14 is -12 in five bits.
    [0x14, 0x1000, 1],
    [0x17, 0x0266, 614 / 512],
    // The mantissa is unsigned: 8 V with 2^-12.
    [0x14, 0x8000, 8],
    [0x00, 12, 12],
    [0x01, 6, 12],
    [0x1f, 3, 1.5],
    // Bit 7 makes limits relative, not the reading.
    [0x94, 0x1000, 1],
  ])('linear, VOUT_MODE %i: %i is %d V', async (mode, raw, volts) => {
    registers.set(`1/${VOUT_MODE}`, mode);
    registers.set(`1/${READ_VOUT}`, raw);
    expect(await pageOne().readVoutVolts()).toBeCloseTo(volts, 9);
  });

  it.each([
    // ISL69260: millivolts.
    [{ m: 1, r: 3 }, 900, 0.9],
    // ADM1272 in its 60 V range, as in the kernel's drivers/hwmon/pmbus/adm1275.c.
    [{ m: 6770, b: 0, r: -2 }, 813, 81_300 / 6770],
    [{ m: 2, b: 10, r: 0 }, 30, 10],
    // The raw value is signed.
    [{ m: 1, r: 3 }, 0xffff, -0.001],
  ])('direct with %o: %i is %d V', async (vout, raw, volts) => {
    registers.set(`1/${VOUT_MODE}`, 0x40);
    registers.set(`1/${READ_VOUT}`, raw);
    expect(await pageOne({ vout }).readVoutVolts()).toBeCloseTo(volts, 9);
  });

  it('leaves coefficients alone for a device that says linear', async () => {
    registers.set(`1/${VOUT_MODE}`, 0x14);
    registers.set(`1/${READ_VOUT}`, 0x1000);
    expect(await pageOne({ vout: { m: 1, r: 3 } }).readVoutVolts()).toBe(1);
  });

  it.each([
    // 0.25 V + (0x97 - 1) * 5 mV; the code type in bits 4:0 is the device's own affair.
    ['VID', 0x21, { vid: 'vr12' }, 0x97, 1],
    ['VID with relative limits', 0xa7, { vid: 'vr13' }, 0x33, 1],
    // 2^(17 - 15) * (1 + 384 / 1024).
    ['IEEE half precision', 0x60, {}, 0x4580, 5.5],
  ] as const)('%s, VOUT_MODE %i, with %o: %i is %d V', async (_, mode, known, raw, volts) => {
    registers.set(`1/${VOUT_MODE}`, mode);
    registers.set(`1/${READ_VOUT}`, raw);
    expect(await pageOne(known).readVoutVolts()).toBe(volts);
  });

  it.each([
    ['IEEE half precision', 0x60, {}, 0x7c00],
    ['VID vr12', 0x20, { vid: 'vr12' }, 0x0100],
  ] as const)('rejects what is no number in %s format', async (format, mode, known, raw) => {
    registers.set(`1/${VOUT_MODE}`, mode);
    registers.set(`1/${READ_VOUT}`, raw);
    await expect(pageOne(known).readVoutVolts()).rejects.toMatchObject({
      code: 'PMBUS_FORMAT',
      message: expect.stringContaining(`no number in ${format} format`),
      details: { address: 0x60, page: 1, raw, format },
    });
  });

  it.each([
    ['VID', 0x21, undefined],
    ['direct', 0x40, undefined],
    ['direct', 0x40, { m: 0, r: 3 }],
  ])('rejects %s format (VOUT_MODE %i, %o) and says which it is', async (format, mode, vout) => {
    registers.set(`1/${VOUT_MODE}`, mode);
    await expect(pageOne(vout ? { vout } : {}).readVoutVolts()).rejects.toMatchObject({
      code: 'PMBUS_FORMAT',
      message: expect.stringContaining(`${format} format`),
      details: { address: 0x60, page: 1, voutMode: mode, format },
    });
  });

  it('rejects a device that leaves the bus alone for VOUT_MODE, and asks it again the next time', async () => {
    registers.set(`1/${VOUT_MODE}`, 0xff);
    registers.set(`1/${READ_VOUT}`, 0x4580);
    const output = pageOne();
    await expect(output.readVoutVolts()).rejects.toMatchObject({
      code: 'PMBUS_FORMAT',
      message: expect.stringContaining('has no VOUT_MODE'),
      details: { address: 0x60, page: 1, voutMode: 0xff },
    });
    registers.set(`1/${VOUT_MODE}`, 0x60);
    expect(await output.readVoutVolts()).toBe(5.5);
  });

  it('reads VOUT_MODE once per page, and again after it could not be read', async () => {
    registers.set(`1/${VOUT_MODE}`, 0x14);
    const modeReads = () => transfers.filter((transfer) => transfer === `read byte ${VOUT_MODE}`).length;
    const output = pageOne();
    failOnce = `read byte ${VOUT_MODE}`;
    await expect(output.readVoutVolts()).rejects.toMatchObject({ code: 'I2C_FAILED' });
    await output.readVoutVolts();
    await output.readVoutVolts();
    expect(modeReads()).toBe(2);
    await pageOne({ page: 0 }).readVoutVolts();
    expect(modeReads()).toBe(3);
  });
});

describe('a limit of the output voltage', () => {
  const limitOf = (name: string) => {
    const found = VOUT_LIMITS.find((limit) => limit.name === name);
    if (found === undefined) throw new RangeError(name);
    return found;
  };

  // Commands by the PMBus specification 1.3.1, part II, table 31.
  it.each([
    ['VOUT_OV_FAULT_LIMIT', 0x40],
    ['VOUT_OV_WARN_LIMIT', 0x42],
    ['VOUT_UV_WARN_LIMIT', 0x43],
    ['VOUT_UV_FAULT_LIMIT', 0x44],
    ['POWER_GOOD_ON', 0x5e],
    ['POWER_GOOD_OFF', 0x5f],
  ])('%s is read in the format of the output voltage', async (name, command) => {
    registers.set(`1/${VOUT_MODE}`, 0x17);
    registers.set(`1/${command}`, 0x0266);
    // 614 / 2^9.
    expect(await pageOne().readLimitVolts(limitOf(name))).toBe(1.19921875);
  });

  it.each([
    ['direct', 0x40, { vout: { m: 1, r: 3 } }, 1_080, 1.08],
    ['VID', 0x21, { vid: 'vr13' }, 0x33, 1],
    ['IEEE half precision', 0x60, {}, 0x4580, 5.5],
  ] as const)('in %s format', async (_, mode, known, raw, volts) => {
    registers.set(`1/${VOUT_MODE}`, mode);
    registers.set('1/68', raw);
    expect(await pageOne(known).readLimitVolts(limitOf('VOUT_UV_FAULT_LIMIT'))).toBeCloseTo(volts, 12);
  });

  it.each([
    // 0x1cc is 460: 460 / 512 of VOUT_COMMAND, which is 1024 / 512 V.
    ['linear', 0x97, 0x01cc, 0x0400, (460 / 512) * 2],
    // 0x3b33 is 2^-1 * (1 + 819 / 1024), of 0x3c00, 1 V.
    ['IEEE half precision', 0xe0, 0x3b33, 0x3c00, 0.5 * (1 + 819 / 1024)],
  ] as const)(
    'that is relative (8.5) is a share of VOUT_COMMAND: %s',
    async (_, mode, raw, commanded, volts) => {
      registers.set(`1/${VOUT_MODE}`, mode);
      registers.set('1/68', raw);
      registers.set('1/33', commanded);
      expect(await pageOne().readLimitVolts(limitOf('VOUT_UV_FAULT_LIMIT'))).toBeCloseTo(volts, 12);
      expect(transactionCount).toBe(1);
    },
  );

  it.each([
    ['that nobody drives the bus for', 0x17, {}, 0xffff, 'VOUT_UV_FAULT_LIMIT'],
    ['that is no number', 0x60, {}, 0x7e00, 'VOUT_UV_FAULT_LIMIT'],
    ['that is a share of nothing in VID format', 0xa1, { vid: 'vr13' }, 0x33, 'VOUT_UV_FAULT_LIMIT'],
    ['that may be a share or not', 0x97, {}, 0x0266, 'POWER_GOOD_ON'],
  ] as const)('%s is none', async (_, mode, known, raw, name) => {
    registers.set(`1/${VOUT_MODE}`, mode);
    for (const command of [68, 94]) registers.set(`1/${command}`, raw);
    registers.set('1/33', 0x0266);
    expect(await pageOne(known).readLimitVolts(limitOf(name))).toBeNull();
  });
});

describe('the window that a device itself takes for good', () => {
  it('is its fault limits, read in one transaction in the format of the output voltage', async () => {
    registers.set(`1/${VOUT_MODE}`, 0x17);
    // 0x44 and 0x40: 570 / 512 and 660 / 512 V.
    registers.set('1/68', 570);
    registers.set('1/64', 660);
    expect(await pageOne().readVoutWindow()).toEqual({ minVolts: 570 / 512, maxVolts: 660 / 512 });
    expect(transactionCount).toBe(1);
  });

  it('is relative to VOUT_COMMAND where VOUT_MODE says so, and open where nobody drives the bus', async () => {
    registers.set(`1/${VOUT_MODE}`, 0x97);
    registers.set('1/33', 1024);
    registers.set('1/68', 460);
    registers.set('1/64', 0xffff);
    expect(await pageOne().readVoutWindow()).toEqual({ minVolts: (460 / 512) * 2, maxVolts: null });
  });
});

describe('a sensor', () => {
  // Section 7.3: mantissa in bits 10:0, exponent in bits 15:11, both two's complement.
  it.each([
    // 2^-4 * 196.
    [READ_VIN, 0x88, '18.1', 0xe0c4, 12.25],
    // 2^-6 * 0x3c0.
    [READ_IOUT, 0x8c, '18.5', 0xd3c0, 15],
    // 2^-3 * -40.
    [READ_TEMPERATURE_1, 0x8d, '18.6', 0xefd8, -5],
  ])('$name is LINEAR11', async (sensor, command, section, raw, value) => {
    expect(sensor).toMatchObject({ command, section });
    registers.set(`1/${command}`, raw);
    expect(await pageOne().readSensor(sensor)).toBe(value);
    expect(transfers).toEqual(['write 0 1', `read word ${command}`]);
  });

  it('that nobody drives the bus for measures nothing', async () => {
    for (const sensor of SENSORS) {
      registers.set(`1/${sensor.command}`, 0xffff);
      expect(await pageOne().readSensor(sensor)).toBeNull();
    }
  });
});

describe('STATUS_WORD', () => {
  it('is given as it is', async () => {
    registers.set(`1/${STATUS_WORD}`, 0x8810);
    expect(await pageOne().statusWord()).toBe(0x8810);
  });

  it.each([
    [0x0000, true],
    [0x0800, false],
    [0x0840, false],
    [0xf7ff, true],
  ])('%i says power good: %s', (statusWord, good) => {
    expect(pageOne().powerGood(statusWord)).toBe(good);
  });

  it('comes with the voltage in one transaction', async () => {
    registers.set(`1/${STATUS_WORD}`, 0x0800);
    registers.set(`1/${VOUT_MODE}`, 0x14);
    registers.set(`1/${READ_VOUT}`, 0x0800);
    expect(await pageOne().readOutput()).toEqual({ powerGood: false, voutVolts: 0.5 });
    expect(transactionCount).toBe(1);
  });
});

describe('setVolts', () => {
  const OFF = 0x40;
  const VOUT_COMMAND = 0x21;
  const [command, , ovFault] = VOUT_SETTINGS;
  const wordsWritten = () => transfers.filter((transfer) => transfer.startsWith('write word'));

  it('writes what stands for the voltage under VOUT_MODE, and reads it back in the same transaction', async () => {
    registers.set(`1/${STATUS_WORD}`, OFF);
    registers.set(`1/${VOUT_MODE}`, 0x17);
    await pageOne().setVolts(command, 1.2);
    // Linear with the exponent -9: 1.2 * 512 is 614.4.
    expect(registers.get(`1/${VOUT_COMMAND}`)).toBe(614);
    expect(transfers).toEqual([
      'write 0 1',
      `read word ${STATUS_WORD}`,
      `read byte ${VOUT_MODE}`,
      `write word ${VOUT_COMMAND} 614`,
      `read word ${VOUT_COMMAND}`,
    ]);
    expect(transactionCount).toBe(1);
  });

  it('gives limits as shares of VOUT_COMMAND where VOUT_MODE says so, and VOUT_COMMAND itself never', async () => {
    registers.set(`1/${STATUS_WORD}`, OFF);
    registers.set(`1/${VOUT_MODE}`, 0x97);
    const output = pageOne();
    await output.setVolts(command, 1);
    await output.setVolts(ovFault, 1.25);
    // 1 V and a share of 1.25, with the exponent -9.
    expect(wordsWritten()).toEqual([`write word ${VOUT_COMMAND} 512`, 'write word 64 640']);
  });

  it.each([
    ['an output that is on', 0, 0x17, 1, 'I2C_FAILED', /does not say OFF/],
    [
      'a voltage that the format does not reach',
      OFF,
      0x17,
      200,
      'PMBUS_FORMAT',
      /cannot be told 200 V in linear format/,
    ],
    ['a format that is not known', OFF, 0x40, 1, 'PMBUS_FORMAT', /direct format/],
  ])('writes nothing to %s', async (_, status, mode, volts, code, message) => {
    registers.set(`1/${STATUS_WORD}`, status);
    registers.set(`1/${VOUT_MODE}`, mode);
    const set = pageOne().setVolts(command, volts);
    await expect(set).rejects.toMatchObject({ code, message: expect.stringMatching(message) });
    expect(wordsWritten()).toEqual([]);
  });

  it('tells a share of no voltage from a voltage', async () => {
    registers.set(`1/${STATUS_WORD}`, OFF);
    registers.set(`1/${VOUT_MODE}`, 0x97);
    await expect(pageOne().setVolts(ovFault, 1.25)).rejects.toMatchObject({
      code: 'PMBUS_FORMAT',
      message: expect.stringContaining('as a share of VOUT_COMMAND'),
    });
    expect(wordsWritten()).toEqual([]);
  });

  it('rejects what reads back otherwise, with what it reads', async () => {
    writeProtected = true;
    registers.set(`1/${STATUS_WORD}`, OFF);
    registers.set(`1/${VOUT_MODE}`, 0x17);
    registers.set(`1/${VOUT_COMMAND}`, 512);
    await expect(pageOne().setVolts(command, 1.2)).rejects.toMatchObject({
      code: 'I2C_FAILED',
      message:
        'VOUT_COMMAND of page 1 of the PMBus device at 0x60 was told 1.2 V (0x0266) but reads back 0x0200, 1 V: check WRITE_PROTECT, and which voltages the device has',
    });
  });
});
