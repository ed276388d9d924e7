import * as v from 'valibot';
import { describe, expect, it } from 'vitest';
import openpower from '../../hw/boards/openpower.json' with { type: 'json' };
import type { HardwareError } from '../../hw/errors.ts';
import type { I2cDevice, Level } from '../../hw/ports.ts';
import { createMockGpio } from '../../mocks/backends/gpio.ts';
import { createMockI2c, TRANSFER_DEADLINE_MS } from '../../mocks/backends/i2c.ts';
import { parseFault } from '../../mocks/plant/faults.ts';
import { createPlant, type PlantOptions } from '../../mocks/plant/plant.ts';
import { createVirtualClock } from '../../mocks/virtual-clock.ts';
import { type Board, boardSchema, type DeviceBoard } from '../../src/board/schema.ts';
import { checkBoard } from '../check-board.ts';
import { shippedBoard } from './bench.ts';

const CHIP = 'chip.gpio';
const OPERATION = 0x01;
const STATUS_WORD = 0x79;
const STATUS_VOUT = 0x7a;
const READ_VOUT = 0x8b;
const VOUT_MODE = 0x20;

/**
 * Rise and fall are a tenth of the timeouts: A rises 10 V in 20 ms and is good after 18 ms, B rises 2 V in
 * 10 ms and is good after 9 ms; A falls in 100 ms and is lost after 10 ms, B in 50 ms and after 5 ms.
 */
const board = v.parse(boardSchema, {
  name: 'bench',
  devices: {
    vr: { bus: 3, address: '0x60' },
    direct: { bus: 'muxed', address: '0x40', vout: { m: 2, b: 1, r: 2 } },
    watcher: { bus: 3, address: '0x11' },
  },
  chassis: {
    0: {
      rails: {
        A: {
          nominalVolts: 10,
          enable: { chip: CHIP, line: 'C0' },
          good: { chip: CHIP, line: 'B0' },
          onTimeoutMs: 200,
          offTimeoutMs: 1000,
        },
        B: {
          nominalVolts: 2,
          enable: { pmbus: 'vr' },
          good: { pmbus: 'vr', minVolts: 1.8, maxVolts: 2.2 },
          needs: ['A'],
          onTimeoutMs: 100,
          offTimeoutMs: 500,
        },
        LOW: {
          enable: { chip: CHIP, line: 'AA3', active: 'low' },
          good: { chip: CHIP, line: 'B1', active: 'low' },
          needs: ['A'],
        },
      },
      pgood: { chip: CHIP, line: 'B7' },
      resets: { RESET_L: { chip: CHIP, line: 'D0', active: 'low' } },
      evidence: ['watcher'],
    },
    1: {
      rails: {
        UNSEEN: { enable: { name: 'enable-unseen' }, settleMs: 20 },
        AFTER: {
          nominalVolts: 3,
          enable: { name: 'enable-after' },
          good: { pmbus: 'direct', minVolts: 2.7 },
          needs: ['UNSEEN'],
        },
      },
      pgood: { name: 'pgood-1' },
      resets: { RESET: { name: 'reset-1' } },
    },
  },
});

function bench(options: Partial<PlantOptions> & { faultTexts?: readonly string[] } = {}) {
  const clock = createVirtualClock(1000);
  const { faultTexts = [], ...others } = options;
  const plant = createPlant({ board, clock, faults: faultTexts.map((text) => parseFault(text)), ...others });
  const pinOf = (key: string) => {
    const pin = plant.pins.get(key.startsWith('name:') ? key : `${CHIP}/${key}`);
    if (pin === undefined) throw new Error(`no pin ${key}`);
    return pin;
  };
  const device = (bus: number | string, address: number) => {
    const found = plant.buses.get(bus)?.devices.get(address);
    if (found === undefined) throw new Error('no such device');
    return found.registers;
  };
  const rail = (name: string) => {
    const found = plant.rails().find((each) => each.rail === name);
    if (found === undefined) throw new Error(`no rail ${name}`);
    return found;
  };
  return {
    clock,
    plant,
    rail,
    level: (key: string) => pinOf(key).level(),
    drive: (key: string, level: Level) => pinOf(key).drive(level),
    vr: device(3, 0x60),
    direct: device('muxed', 0x40),
    watcher: device(3, 0x11),
    /** Time since the start at which a rail crossed its threshold. */
    crossings: (name: string) =>
      plant.history.flatMap((event) =>
        event.type === 'rail' && event.rail === name ? [[event.atMs - 1000, event.good]] : [],
      ),
    /** Time since the start at which a line changed. */
    changes: (key: string) =>
      plant.history.flatMap((event) =>
        event.type === 'line' && event.line === (key.startsWith('name:') ? key : `${CHIP}/${key}`)
          ? [[event.atMs - 1000, event.level]]
          : [],
      ),
    hazards: () => plant.hazards.map(({ kind, name, atMs }) => [kind, name, atMs - 1000]),
  };
}

/** The board with its device in direct format in VID format. */
function withVid(table: DeviceBoard['vid']): Board {
  const { direct, ...others } = board.devices;
  if (direct === undefined) throw new RangeError('another board');
  const { vout: _, ...plain } = direct;
  return { ...board, devices: { ...others, direct: { ...plain, vid: table } } };
}

/** All of chassis 0 up, the reset still asserted. */
async function raised(options: Parameters<typeof bench>[0] = {}) {
  const world = bench(options);
  world.drive('16', 1);
  await world.clock.advance(20);
  world.vr.writeByte(OPERATION, 0x80);
  world.drive('211', 0);
  await world.clock.advance(80);
  return world;
}

describe('a plant at its start', () => {
  it('has every pin an input: enables off, resets asserted', () => {
    const { plant } = bench();
    expect(plant.lines()).toMatchObject([
      {
        line: `${CHIP}/16`,
        role: 'enable',
        rail: 'A',
        direction: 'in',
        level: 0,
        asserted: false,
        changes: 0,
      },
      { line: `${CHIP}/8`, role: 'good', rail: 'A', direction: 'in', level: 0, asserted: false },
      { line: `${CHIP}/211`, role: 'enable', rail: 'LOW', direction: 'in', level: 1, asserted: false },
      { line: `${CHIP}/9`, role: 'good', rail: 'LOW', direction: 'in', level: 1, asserted: false },
      { line: `${CHIP}/15`, role: 'pgood', chassis: 0, rail: null, level: 0, asserted: false },
      { line: `${CHIP}/24`, role: 'reset', direction: 'in', level: 0, asserted: true },
      { line: 'name:enable-unseen', chassis: 1 },
      { line: 'name:enable-after', chassis: 1 },
      { line: 'name:pgood-1', chassis: 1 },
      { line: 'name:reset-1', chassis: 1, level: 1, asserted: true },
      { line: 'pmbus:vr/0', role: 'enable', rail: 'B', direction: 'out', level: 0, asserted: false },
    ]);
  });

  it('can be on: everything good and driven, resets released', () => {
    const { plant, rail } = bench({ initially: 'on' });
    for (const { role, asserted, direction } of plant.lines()) {
      expect(asserted).toBe(role !== 'reset');
      expect(direction).toBe(role === 'good' || role === 'pgood' ? 'in' : 'out');
    }
    expect(rail('B')).toMatchObject({ volts: 2, good: true, enabled: true });
    expect(plant.history).toEqual([]);
  });

  it('has only the chassis asked for', () => {
    const { plant } = bench({ chassis: [1] });
    expect(new Set(plant.lines().map(({ chassis }) => chassis))).toEqual(new Set([1]));
  });
});

describe('a rail', () => {
  it('rises linearly after its enable, is good at 90 %, and falls the same way', async () => {
    const { clock, drive, rail, crossings, changes, level } = bench();
    drive('16', 1);
    await clock.advance(10);
    expect(rail('A').volts).toBeCloseTo(5, 9);
    await clock.advance(7.9);
    expect(level('8')).toBe(0);
    await clock.advance(0.1);
    expect(level('8')).toBe(1);
    await clock.advance(10);
    expect(rail('A')).toMatchObject({ volts: 10, good: true });
    drive('16', 0);
    await clock.advance(50);
    expect(rail('A').volts).toBeCloseTo(5, 9);
    await clock.advance(60);
    expect(rail('A').volts).toBe(0);
    expect(crossings('A')).toEqual([
      [18, true],
      [38, false],
    ]);
    expect(changes('8')).toEqual([
      [18, 1],
      [38, 0],
    ]);
  });

  it('turns round in the middle of a ramp', async () => {
    const { clock, drive, rail, crossings } = bench();
    drive('16', 1);
    await clock.advance(10);
    drive('16', 0);
    await clock.advance(10);
    // From 5 V, at 10 V in 100 ms.
    expect(rail('A').volts).toBeCloseTo(4, 9);
    drive('16', 1);
    await clock.advance(20);
    // From 4 V to 9 V, at 10 V in 20 ms.
    expect(crossings('A')).toEqual([[30, true]]);
  });

  it('waits for what it needs, though it is enabled', async () => {
    const { clock, drive, vr, crossings } = bench();
    vr.writeByte(OPERATION, 0x80);
    await clock.advance(50);
    drive('16', 1);
    await clock.advance(50);
    expect(crossings('B')).toEqual([[50 + 18 + 9, true]]);
  });

  it('is taken along when what it needs drops', async () => {
    const { clock, drive, crossings } = await raised();
    drive('16', 0);
    await clock.advance(50);
    expect(crossings('A').at(-1)).toEqual([110, false]);
    expect(crossings('B').at(-1)).toEqual([115, false]);
  });

  it('is driven and seen at the levels of its board file', async () => {
    const { changes } = await raised();
    expect(changes('211')).toEqual([[20, 0]]);
    // 1 V where the board says none, in 50 ms: the longest that is assumed.
    expect(changes('9')).toEqual([[20 + 45, 0]]);
  });

  it('that nobody can see is good within its settle time, when another needs it', async () => {
    const { clock, drive, crossings } = bench();
    drive('name:enable-unseen', 1);
    await clock.advance(20);
    // All of its voltage after half of that.
    expect(crossings('UNSEEN')).toEqual([[9, true]]);
  });

  it('rises in the time it was given', async () => {
    const { clock, drive, crossings } = bench({ timing: { riseMs: { A: 100 }, fallMs: { A: 20 } } });
    drive('16', 1);
    await clock.advance(100);
    drive('16', 0);
    await clock.advance(20);
    expect(crossings('A')).toEqual([
      [90, true],
      [102, false],
    ]);
  });
});

describe('pgood', () => {
  it('follows all rails after its delay, and goes with the first one at once', async () => {
    const { clock, changes, drive } = await raised();
    drive('211', 1);
    await clock.advance(200);
    // LOW is good at 65 ms and lost 10 ms after its disable.
    expect(changes('15')).toEqual([
      [65 + 5, 1],
      [100 + 10, 0],
    ]);
  });

  it('of one chassis has nothing to do with another', async () => {
    const { level } = await raised();
    expect(level('15')).toBe(1);
    expect(level('name:pgood-1')).toBe(0);
  });
});

describe('a PMBus device', () => {
  it('tells voltage and state of its output, in the linear format', async () => {
    const { clock, drive, vr } = bench();
    expect(vr.readByte(VOUT_MODE)).toBe(0x17);
    expect(vr.readWord(STATUS_WORD)).toBe(0x0840);
    drive('16', 1);
    await clock.advance(20);
    vr.writeByte(OPERATION, 0x80);
    expect(vr.readByte(OPERATION)).toBe(0x80);
    await clock.advance(5);
    expect(vr.readWord(READ_VOUT)).toBe(512);
    expect(vr.readWord(STATUS_WORD)).toBe(0x0800);
    await clock.advance(5);
    expect(vr.readWord(READ_VOUT)).toBe(1024);
    expect(vr.readWord(STATUS_WORD)).toBe(0);
  });

  it.each(['rail B never good', 'rail B shorts 5ms after good', 'rail B droops for 20ms 5ms after good'])(
    'keeps its undervoltage bit until it is switched on again: %s',
    async (fault) => {
      const { clock, vr } = await raised({ faultTexts: [fault] });
      expect(vr.readWord(STATUS_WORD) & 0x8040).toBe(0x8000);
      expect(vr.readByte(STATUS_VOUT)).toBe(0x10);
      vr.writeByte(OPERATION, 0);
      await clock.advance(100);
      expect(vr.readWord(STATUS_WORD)).toBe(0x8840);
      expect(vr.readByte(STATUS_VOUT)).toBe(0x10);
      vr.writeByte(OPERATION, 0x80);
      expect(vr.readByte(STATUS_VOUT)).toBe(0);
    },
  );

  it('has no undervoltage where it was switched off while it was good', async () => {
    const { clock, vr } = await raised();
    vr.writeByte(OPERATION, 0);
    await clock.advance(100);
    expect(vr.readWord(STATUS_WORD)).toBe(0x0840);
  });

  it('in direct format counts by its coefficients', () => {
    const { direct } = bench({ initially: 'on' });
    expect(direct.readByte(VOUT_MODE)).toBe(0x40);
    // (2 * 3 V + 1) * 10^2
    expect(direct.readWord(READ_VOUT)).toBe(700);
  });

  it.each([
    // 3 V is 0.5 V + (code - 1) * 10 mV.
    ['vr13', 251],
    // 3 V is beyond the 1.52 V of its last code.
    ['vr12', 255],
  ] as const)('in VID format of table %s counts by its codes, up to the last', (vid, code) => {
    const { direct } = bench({ initially: 'on', board: withVid(vid) });
    expect(direct.readByte(VOUT_MODE)).toBe(0x20);
    expect(direct.readWord(READ_VOUT)).toBe(code);
  });

  it('in VID format has no voltage below its lowest code', () => {
    const { direct } = bench({ initially: 'off', board: withVid('vr13') });
    expect(direct.readWord(READ_VOUT)).toBe(0);
  });

  it('that no rail uses shows the chassis it is evidence of', async () => {
    expect(bench().watcher.readWord(STATUS_WORD)).toBe(0x0840);
    // Chassis 1 is off all the while.
    expect((await raised()).watcher.readWord(STATUS_WORD)).toBe(0);
  });

  it('refuses commands and pages that it does not have', () => {
    const { vr } = bench();
    expect(() => vr.readByte(0x99)).toThrow(expect.objectContaining({ code: 'I2C_FAILED' }));
    expect(() => vr.writeByte(0x00, 5)).toThrow(expect.objectContaining({ code: 'I2C_FAILED' }));
    vr.writeByte(0x00, 0xff);
    vr.writeByte(OPERATION, 0x80);
    vr.writeByte(0x00, 0);
    expect(vr.readByte(OPERATION)).toBe(0x80);
  });
});

describe('a fault', () => {
  it('"never good" leaves the rail at half its voltage', async () => {
    const { rail, crossings } = await raised({ faultTexts: ['rail B never good'] });
    expect(rail('B').volts).toBeCloseTo(1, 9);
    expect(crossings('B')).toEqual([]);
  });

  it('"slow" adds to the rise, "slow off" to the fall', async () => {
    const { clock, drive, crossings } = bench({ faultTexts: ['rail A slow 80ms', 'rail A slow off 1s'] });
    drive('16', 1);
    await clock.advance(200);
    drive('16', 0);
    await clock.advance(200);
    expect(crossings('A')).toEqual([
      [90, true],
      [200 + 110, false],
    ]);
  });

  it('"droops at" strikes at its time and stays', async () => {
    const { clock, crossings, rail } = await raised({ faultTexts: ['rail A droops at 150ms'] });
    await clock.advance(1_000);
    expect(crossings('A').at(-1)).toEqual([160, false]);
    expect(rail('A').volts).toBeCloseTo(5, 9);
  });

  it('"droops … after good" strikes once, and ends after its time', async () => {
    const { clock, drive, crossings } = bench({ faultTexts: ['rail A droops for 20ms 7ms after good'] });
    drive('16', 1);
    await clock.advance(100);
    drive('16', 0);
    await clock.advance(200);
    drive('16', 1);
    await clock.advance(100);
    // At 25 ms from 10 V, 1 V lost by 35 ms; at 45 ms from 8 V, 1 V up by 47 ms.
    expect(crossings('A').map(([atMs]) => atMs)).toEqual([18, 35, 47, 110, 318]);
  });

  it('"after good" waits for good to last', async () => {
    const { clock, drive, plant } = bench({ faultTexts: ['rail A droops 50ms after good'] });
    drive('16', 1);
    await clock.advance(30);
    drive('16', 0);
    await clock.advance(200);
    expect(plant.history.some(({ type }) => type === 'fault')).toBe(false);
  });

  it('"shorts" takes the voltage away at once', async () => {
    const { clock, rail, crossings, level } = await raised({ faultTexts: ['rail A shorts at 150ms'] });
    await clock.advance(50);
    expect(rail('A').volts).toBe(0);
    expect(crossings('A').at(-1)).toEqual([150, false]);
    expect(level('15')).toBe(0);
  });

  it('"enable stuck on" holds the line and the rail', async () => {
    const { clock, plant, crossings } = await raised({ faultTexts: ['enable A stuck on'] });
    expect(crossings('A')).toEqual([[18, true]]);
    const line = await createMockGpio(plant).openOutput({ chip: CHIP, line: 16 });
    await expect(line.write(0)).rejects.toMatchObject({ code: 'GPIO_NOT_FOLLOWED' });
    await clock.advance(500);
    expect(await line.read()).toBe(1);
    expect(crossings('A')).toEqual([[18, true]]);
  });

  it('"enable stuck off" of a PMBus output reads back unchanged', async () => {
    const { vr, crossings, clock } = await raised({ faultTexts: ['enable B stuck off at 150ms'] });
    await clock.advance(100);
    expect(vr.readByte(OPERATION)).toBe(0);
    vr.writeByte(OPERATION, 0x80);
    expect(vr.readByte(OPERATION)).toBe(0);
    expect(crossings('B')).toEqual([
      [29, true],
      [155, false],
    ]);
  });

  it('"enable stuck on" of a PMBus output keeps it on', async () => {
    const { vr, clock, crossings } = await raised({ faultTexts: ['enable B stuck on 10ms after good'] });
    vr.writeByte(OPERATION, 0);
    await clock.advance(500);
    expect(vr.readByte(OPERATION)).toBe(0x80);
    expect(crossings('B')).toEqual([[29, true]]);
  });

  it('"good stuck" lies about a rail by its line', async () => {
    expect(bench({ faultTexts: ['good A stuck on'] }).level('8')).toBe(1);
    const { level, rail } = await raised({ faultTexts: ['good A stuck off'] });
    expect(level('8')).toBe(0);
    expect(rail('A').good).toBe(true);
  });

  it.each([
    ['without a check reads otherwise, and nobody tells', false, 0x401],
    ['with a check is told', true, 'I2C_PEC'],
  ])('"i2c … noise": a device %s', async (_, pec, found) => {
    const { vr, ...others } = board.devices;
    if (vr === undefined) throw new RangeError('another board');
    const { clock, plant } = bench({
      initially: 'on',
      board: { ...board, devices: { ...others, vr: { ...vr, pec } } },
      faultTexts: ['i2c vr noise'],
    });
    const read = createMockI2c(plant)
      .openBus(3)
      .then((bus) => bus.transaction(0x60, (device) => device.readWord(READ_VOUT), { pec }));
    expect(await clock.runUntil(read.catch((error: HardwareError) => error.code))).toBe(found);
    expect(plant.misuses).toEqual([]);
  });

  it('is told of as a misuse to who asks a device without the check that it has', async () => {
    const { vr, ...others } = board.devices;
    if (vr === undefined) throw new RangeError('another board');
    const { clock, plant } = bench({ board: { ...board, devices: { ...others, vr: { ...vr, pec: true } } } });
    for (const ask of [
      (device: I2cDevice) => device.readByte(OPERATION),
      (device: I2cDevice) => device.readWord(READ_VOUT),
      (device: I2cDevice) => device.writeByte(OPERATION, 0x80),
    ]) {
      const asked = createMockI2c(plant)
        .openBus(3)
        .then((bus) => bus.transaction<unknown>(0x60, ask));
      await expect(clock.runUntil(asked)).rejects.toThrow(/without the check/);
    }
    expect(plant.misuses).toHaveLength(3);
    expect(plant.rails().find(({ rail }) => rail === 'B')?.enabled).toBe(false);
  });

  it('"good stuck" lies about a rail by its registers', async () => {
    const { vr } = bench({ faultTexts: ['good B stuck on'] });
    expect(vr.readWord(READ_VOUT)).toBe(1024);
    expect(vr.readWord(STATUS_WORD) & 0x0800).toBe(0);
    const { vr: other } = await raised({ faultTexts: ['good B stuck off'] });
    expect(other.readWord(READ_VOUT)).toBe(0);
    expect(other.readWord(STATUS_WORD) & 0x0800).toBe(0x0800);
  });

  it('"pgood never" and "pgood stuck on" hold pgood', async () => {
    expect((await raised({ faultTexts: ['pgood never'] })).level('15')).toBe(0);
    expect(bench({ faultTexts: ['pgood stuck on'] }).level('15')).toBe(1);
  });

  it('"pgood glitch" inverts it for its time', async () => {
    const { clock, changes } = await raised({
      faultTexts: ['pgood glitch 2ms at 10ms', 'pgood glitch 3ms 50ms after good'],
    });
    await clock.advance(100);
    expect(changes('15')).toEqual([
      [10, 1],
      [12, 0],
      [70, 1],
      [120, 0],
      [123, 1],
    ]);
  });

  it('"i2c nack N times" hits so many transfers', async () => {
    const { plant } = bench({ faultTexts: ['i2c vr nack 2 times'] });
    const bus = await createMockI2c(plant).openBus(3);
    const read = () => bus.transaction(0x60, (device) => device.readByte(OPERATION));
    await expect(read()).rejects.toMatchObject({ code: 'I2C_NO_DEVICE' });
    await expect(read()).rejects.toMatchObject({ code: 'I2C_NO_DEVICE' });
    expect(await read()).toBe(0);
  });

  it('"i2c hang" ends at the deadline of the driver, one transfer after the other', async () => {
    const { clock, plant } = bench({ faultTexts: ['i2c vr hang for 1500ms'] });
    const bus = await createMockI2c(plant).openBus(3);
    const read = () =>
      bus
        .transaction(0x60, (device) => device.readByte(OPERATION))
        .then(
          () => ['answer', clock.nowMs()],
          ({ code }) => [code, clock.nowMs()],
        );
    expect(await clock.runUntil(Promise.all([read(), read(), read()]))).toEqual([
      ['I2C_TIMEOUT', 1000 + TRANSFER_DEADLINE_MS],
      ['I2C_TIMEOUT', 1000 + 2 * TRANSFER_DEADLINE_MS],
      ['answer', 1000 + 2 * TRANSFER_DEADLINE_MS],
    ]);
  });

  it('"i2c busy" is a kernel driver at the address', async () => {
    const { plant } = bench({ faultTexts: ['i2c vr busy'] });
    const bus = await createMockI2c(plant).openBus(3);
    const read = bus.transaction(0x60, (device) => device.readByte(OPERATION));
    await expect(read).rejects.toMatchObject({ code: 'I2C_BUSY' });
  });

  it.each([
    ['line C0 busy', 'C0'],
    ['line chip.gpio/16 busy', 'C0'],
    ['line rail A enable busy', 'C0'],
    ['line pgood busy', 'B7'],
    ['line reset RESET_L busy', 'D0'],
  ])('"%s" keeps the line from being opened', async (text, line) => {
    const gpio = createMockGpio(bench({ faultTexts: [text] }).plant);
    await expect(gpio.openInput({ chip: CHIP, line })).rejects.toMatchObject({ code: 'GPIO_BUSY' });
    await gpio.openInput({ chip: CHIP, line: 'B1' });
  });

  it('"read error" hits one line or all, and a write that cannot be read back', async () => {
    const one = createMockGpio(bench({ faultTexts: ['line pgood read error'] }).plant);
    const pgood = await one.openInput({ chip: CHIP, line: 'B7' });
    await expect(pgood.read()).rejects.toMatchObject({ code: 'GPIO_FAILED' });
    await (await one.openOutput({ chip: CHIP, line: 'C0' })).write(1);

    const { clock, plant, level } = bench({ faultTexts: ['gpio read error for 10ms at 300ms'] });
    const line = await createMockGpio(plant).openOutput({ chip: CHIP, line: 'C0' });
    await clock.advance(300);
    await expect(line.write(1)).rejects.toMatchObject({ code: 'GPIO_FAILED' });
    expect(level('16')).toBe(1);
    await clock.advance(10);
    expect(await line.read()).toBe(1);
  });

  it('of another chassis is named by its number', async () => {
    const { clock, drive, crossings } = bench({ faultTexts: ['chassis 1 rail UNSEEN never good'] });
    drive('name:enable-unseen', 1);
    await clock.advance(100);
    expect(crossings('UNSEEN')).toEqual([]);
  });

  it('counts its time from when it was added, and is gone once cleared', async () => {
    const { clock, plant, crossings, rail } = await raised();
    plant.addFault(parseFault('rail A droops at 50ms'));
    plant.addFault(parseFault('rail B droops at 500ms'));
    await clock.advance(100);
    expect(crossings('A').at(-1)).toEqual([160, false]);
    plant.clearFaults();
    await clock.advance(900);
    expect(rail('A').good).toBe(true);
    // B sank with A only.
    expect(crossings('B').map(([, good]) => good)).toEqual([true, false, true]);
  });

  it('of a name that the plant does not have is refused', () => {
    expect(() => bench({ faultTexts: ['rail C never good'] })).toThrow(/has no rail "C"/);
  });
});

describe('a hazard', () => {
  it('is a rail enabled before what it needs is good', async () => {
    const { clock, drive, vr, hazards } = bench();
    drive('16', 1);
    await clock.advance(17);
    vr.writeByte(OPERATION, 0x80);
    await clock.advance(1);
    drive('211', 0);
    expect(hazards()).toEqual([['enabledTooEarly', 'B', 17]]);
  });

  it('is no rail enabled just after a fault took what it needs, but one long after', async () => {
    const { clock, drive, vr, hazards } = bench({ faultTexts: ['rail A shorts 10ms after good'] });
    drive('16', 1);
    await clock.advance(30);
    vr.writeByte(OPERATION, 0x80);
    expect(hazards()).toEqual([]);
    await clock.advance(100);
    drive('211', 0);
    expect(hazards()).toEqual([['enabledTooEarly', 'LOW', 130]]);
  });

  it('is no rail enabled because a good signal lies', async () => {
    const { vr, hazards } = bench({ faultTexts: ['good A stuck on'] });
    vr.writeByte(OPERATION, 0x80);
    expect(hazards()).toEqual([]);
  });

  it('is a rail disabled before what needs it', async () => {
    const { clock, drive, vr, hazards } = await raised();
    drive('211', 1);
    await clock.advance(10);
    drive('16', 0);
    vr.writeByte(OPERATION, 0);
    expect(hazards()).toEqual([['needRemoved', 'B', 110]]);
  });

  it('is nothing in the right order', async () => {
    const { clock, drive, vr, hazards } = await raised();
    drive('24', 1);
    await clock.advance(50);
    drive('24', 0);
    vr.writeByte(OPERATION, 0);
    drive('211', 1);
    await clock.advance(100);
    drive('16', 0);
    await clock.advance(200);
    expect(hazards()).toEqual([]);
  });

  it('is no rail disabled under one that cannot be switched off', async () => {
    const stuck = await raised({ faultTexts: ['enable B stuck on 10ms after good'] });
    stuck.drive('211', 1);
    stuck.vr.writeByte(OPERATION, 0);
    stuck.drive('16', 0);
    expect(stuck.hazards()).toEqual([]);

    const dead = await raised({ faultTexts: ['i2c vr nack at 90ms'] });
    const bus = await createMockI2c(dead.plant).openBus(3);
    const off = bus.transaction(0x60, (device) => device.writeByte(OPERATION, 0));
    await expect(off).rejects.toMatchObject({ code: 'I2C_NO_DEVICE' });
    dead.drive('211', 1);
    dead.drive('16', 0);
    expect(dead.hazards()).toEqual([]);
  });

  it('is no rail that a fault drops under others', async () => {
    const { clock, hazards, drive, vr } = await raised({ faultTexts: ['rail A shorts at 110ms'] });
    await clock.advance(20);
    drive('16', 0);
    drive('211', 1);
    vr.writeByte(OPERATION, 0);
    expect(hazards()).toEqual([]);
  });

  it('is an enable that is switched over and back within a millisecond', async () => {
    const { clock, drive, hazards } = bench();
    drive('16', 1);
    await clock.advance(0.5);
    drive('16', 0);
    await clock.advance(1);
    drive('16', 1);
    expect(hazards()).toEqual([['enableGlitch', 'A', 0.5]]);
  });

  it('is no enable that does not follow and is given up at once', () => {
    const { drive, hazards } = bench({ faultTexts: ['enable A stuck off'] });
    drive('16', 1);
    drive('16', 0);
    expect(hazards()).toEqual([]);
  });

  it('is a reset released without pgood', async () => {
    const { clock, drive, hazards } = bench();
    drive('24', 1);
    expect(hazards()).toEqual([['resetWithoutPgood', 'RESET_L', 0]]);
    const good = await raised();
    good.drive('24', 1);
    expect(good.hazards()).toEqual([]);
    await clock.advance(1);
  });

  it('is a reset released though the pgood line has long said no', async () => {
    const { drive, hazards } = await raised({ faultTexts: ['pgood never'] });
    drive('24', 1);
    expect(hazards()).toEqual([['resetWithoutPgood', 'RESET_L', 100]]);
  });

  it('is no reset released while a fault says pgood, or just after one took it', async () => {
    const lying = bench({ faultTexts: ['pgood stuck on'] });
    lying.drive('24', 1);
    expect(lying.hazards()).toEqual([]);
    const lost = await raised({ faultTexts: ['rail A shorts at 90ms'] });
    lost.drive('24', 1);
    expect(lost.hazards()).toEqual([]);
  });

  it('is power taken down under a released reset', async () => {
    const { clock, drive, hazards } = await raised();
    drive('24', 1);
    await clock.advance(10);
    drive('211', 1);
    expect(hazards()).toEqual([['resetWithoutPgood', 'RESET_L', 110]]);
  });
});

describe('the mock backends', () => {
  it('refuse lines and buses that the board does not have, and say how to get them', async () => {
    const { plant } = bench();
    const gpio = createMockGpio(plant);
    await expect(gpio.openOutput({ chip: 'other', line: 0 })).rejects.toMatchObject({
      code: 'GPIO_NO_CHIP',
      message: expect.stringContaining(CHIP),
    });
    await expect(gpio.openOutput({ chip: CHIP, line: 'E0' })).rejects.toMatchObject({
      code: 'GPIO_NO_LINE',
      message: expect.stringContaining('board file'),
    });
    await expect(createMockI2c(plant).openBus('3')).rejects.toMatchObject({
      code: 'I2C_NO_BUS',
      message: expect.stringContaining('3, muxed'),
    });
    expect(plant.misuses).toEqual([]);
  });

  it('tell and keep what a correct caller never does', async () => {
    const { plant } = bench();
    const gpio = createMockGpio(plant);
    const output = await gpio.openOutput({ chip: CHIP, line: 'C0' });
    await expect(output.write(true as unknown as Level)).rejects.toThrow(/a level is 0 or 1/);
    await expect(gpio.openOutput({ chip: CHIP, line: 'B0' })).rejects.toThrow(/the chassis drives it/);
    await expect(gpio.openInput({} as never)).rejects.toThrow(/names no line/);
    await output.close();
    await expect(output.write(1)).rejects.toThrow(/was closed/);

    const bus = await createMockI2c(plant).openBus(3);
    const overlapping = bus.transaction(0x60, (device) =>
      Promise.all([device.readByte(OPERATION), device.readByte(OPERATION)]),
    );
    await expect(overlapping).rejects.toThrow(/before the transfer ahead of it has ended/);
    await expect(bus.transaction(0x60, (device) => device.readByte(0x1_00))).rejects.toThrow(/command 256/);
    await expect(bus.transaction(0x60, (device) => device.writeByte(OPERATION, -1))).rejects.toThrow(
      /value -1/,
    );
    expect(plant.misuses).toHaveLength(7);
    expect(plant.lines()[0]).toMatchObject({ changes: 0, direction: 'in' });
  });
});

it('records the pulses of a latch', async () => {
  const clock = createVirtualClock(0);
  const plant = createPlant({ board: v.parse(boardSchema, openpower), clock });
  const latch = plant.pins.get('name:power-chassis-latch');
  latch?.drive(1);
  await clock.advance(1);
  latch?.drive(0);
  expect(plant.lines().find(({ role }) => role === 'latch')).toMatchObject({ changes: 2, level: 0 });
  expect(plant.history).toMatchObject([
    { type: 'drive', atMs: 0, role: 'latch', asserted: true },
    { type: 'line', atMs: 0, role: 'latch', level: 1 },
    { type: 'drive', atMs: 1, role: 'latch', asserted: false },
    { type: 'line', atMs: 1, role: 'latch', level: 0 },
  ]);
});

it('tells what is driven apart from what it reads', async () => {
  const board = v.parse(boardSchema, openpower);
  const plant = createPlant({ board, clock: createVirtualClock(0) });
  const [enable] = plant.lines().filter(({ role }) => role === 'enable');
  const pin = plant.pins.get(enable?.line ?? '');
  expect(enable?.driven).toBe(null);
  plant.addFault(parseFault(`enable ${enable?.rail} stuck off`, board));
  pin?.drive(1);
  const [clamped] = plant.lines().filter(({ role }) => role === 'enable');
  expect(clamped).toMatchObject({ asserted: false, driven: true });
});

it('stands still once it is closed', async () => {
  const { clock, drive, plant, level } = bench();
  drive('16', 1);
  plant.close();
  await clock.advance(100);
  expect(level('8')).toBe(0);
});

describe('a press of a power button', () => {
  /** What the BMC asks of the host, and whether it is on. */
  async function pressed(forMs: number): Promise<unknown> {
    const clock = createVirtualClock(0);
    const plant = createPlant({ board: shippedBoard('x86-button'), clock });
    const button = plant.pins.get('name:POWER_OUT');
    button?.drive(0);
    await clock.advance(forMs);
    button?.drive(1);
    await clock.advance(1_000);
    return plant.lines().find(({ role, rail }) => role === 'enable' && rail === 'HOST');
  }

  it('switches the host on', async () => {
    expect(await pressed(20)).toMatchObject({ driven: true, asserted: true });
  });

  it('that is over before the host has felt it asks for nothing', async () => {
    expect(await pressed(10)).toMatchObject({ driven: false, asserted: false });
  });

  it('that is over before a host that is on has felt it asks for nothing', async () => {
    const clock = createVirtualClock(0);
    const plant = createPlant({ board: shippedBoard('x86-button'), clock, initially: 'on' });
    const host = () => plant.lines().find(({ role, rail }) => role === 'enable' && rail === 'HOST');
    const button = plant.pins.get('name:POWER_OUT');
    button?.drive(0);
    expect(host()).toMatchObject({ driven: false, asserted: true });
    await clock.advance(10);
    button?.drive(1);
    await clock.advance(100_000);
    expect(host()).toMatchObject({ driven: true, asserted: true });
    button?.drive(0);
    await clock.advance(20);
    button?.drive(1);
    await clock.advance(100_000);
    expect(host()).toMatchObject({ driven: false, asserted: false });
  });

  it('that nobody has felt is no pulse on an enable', async () => {
    const clock = createVirtualClock(10_000);
    const plant = createPlant({ board: shippedBoard('x86-button'), clock });
    const button = plant.pins.get('name:POWER_OUT');
    for (const level of [0, 1, 0] as const) button?.drive(level);
    await clock.advance(20);
    button?.drive(1);
    await clock.advance(1_000);
    expect(plant.hazards).toEqual([]);
    expect(plant.lines().find(({ line: key }) => key === 'host:0/HOST')).toMatchObject({
      driven: true,
      asserted: true,
    });
  });

  /** STANDBY has power, and HOST its button, on lines 0 to 3. */
  function withStandby(fault: string | null = null) {
    const clock = createVirtualClock(0);
    const line = (offset: number) => ({ chip: 'gpio', line: offset });
    const seen = (offset: number) => ({ enable: line(offset), good: line(offset + 1), nominalVolts: 1 });
    const { board } = checkBoard({
      name: 'standby',
      chassis: {
        0: {
          rails: {
            STANDBY: { ...seen(0), onTimeoutMs: 100, offTimeoutMs: 100 },
            HOST: {
              ...seen(2),
              ...{ enable: { pulse: line(2), forceOffMs: 1_000 }, needs: ['STANDBY'] },
              ...{ onTimeoutMs: 500, offTimeoutMs: 500 },
            },
          },
          pgood: line(4),
        },
      },
    });
    if (!board) throw new TypeError('the board is wrong');
    const plant = createPlant({ board, clock, faults: fault === null ? [] : [parseFault(fault, board)] });
    const isHostOn = () => plant.lines().some(({ line: key, asserted }) => key === 'host:0/HOST' && asserted);
    const press = async () => {
      plant.pins.get('gpio/2')?.drive(1);
      await clock.advance(100);
      plant.pins.get('gpio/2')?.drive(0);
      await clock.advance(100);
    };
    const switchStandby = async (level: 0 | 1) => {
      plant.pins.get('gpio/0')?.drive(level);
      await clock.advance(100);
    };
    return { isHostOn, press, switchStandby };
  }

  it('is not felt by a host without its standby power', async () => {
    const { isHostOn, press, switchStandby } = withStandby();
    await press();
    expect(isHostOn()).toBe(false);
    await switchStandby(1);
    expect(isHostOn()).toBe(false);
    await press();
    expect(isHostOn()).toBe(true);
  });

  it.each([null, 'rail HOST never good'])(
    'comes to nothing more once the host has lost its standby power: %s',
    async (fault) => {
      const { isHostOn, press, switchStandby } = withStandby(fault);
      await switchStandby(1);
      await press();
      expect(isHostOn()).toBe(true);
      await switchStandby(0);
      await switchStandby(1);
      expect(isHostOn()).toBe(false);
    },
  );
});

describe('pgood of a chassis with parts that may be absent', () => {
  const clock = createVirtualClock();
  const line = (offset: number) => ({ chip: 'gpio', line: offset });
  const times = { nominalVolts: 1, settleMs: 0, onTimeoutMs: 100, offTimeoutMs: 100 };

  /** MAIN is always there, CARD and BEHIND are of parts of their own, and BEHIND needs CARD. */
  function withParts(behind: object, pgood: object, fault: string | null) {
    const { board, problems } = checkBoard({
      name: 'parts',
      devices: { vr: { bus: 1, address: '0x40' } },
      chassis: {
        0: {
          rails: {
            MAIN: { ...times, enable: line(0), good: line(1) },
            CARD: { ...times, good: line(2), presence: line(3) },
            BEHIND: { ...times, ...behind, presence: line(6), needs: ['CARD'] },
          },
          pgood,
        },
      },
    });
    if (!board) throw new TypeError(JSON.stringify(problems));
    const plant = createPlant({ board, clock, faults: fault === null ? [] : [parseFault(fault, board)] });
    const drive = async (offset: number, asserted: boolean) => {
      plant.pins.get(`gpio/${offset}`)?.drive(asserted ? 1 : 0);
      await clock.advance(50);
    };
    return { plant, drive };
  }

  const WATCHED = { good: line(4) };
  const SWITCHED = { enable: line(5), good: line(4) };

  it.each([
    ['a line', WATCHED, line(9)],
    ['a line', SWITCHED, line(9)],
    ['the rails', WATCHED, { rails: true }],
    ['the rails', SWITCHED, { rails: true }],
    [
      'the page that shows it',
      { good: { pmbus: 'vr', minVolts: 0.9, maxVolts: 1.1 } },
      { pmbus: 'vr', minVolts: 0.9 },
    ],
  ])('does not wait for what hangs on one that is not there, by %s', async (_, behind, pgood) => {
    const { plant, drive } = withParts(behind, pgood, 'part CARD absent');
    if ('enable' in behind) await drive(5, true);
    await drive(0, true);
    expect(plant.rails().map(({ rail, good }) => [rail, good])).toEqual([
      ['MAIN', true],
      ['CARD', false],
      ['BEHIND', false],
    ]);
    expect(plant.pgood(0)).toBe(true);
  });

  it('goes when one is asked for that does not come, and is back when nobody asks for it any more', async () => {
    const { plant, drive } = withParts(SWITCHED, line(9), 'rail BEHIND never good');
    await drive(0, true);
    expect(plant.pgood(0)).toBe(true);
    plant.pins.get('gpio/5')?.drive(1);
    expect(plant.pgood(0)).toBe(false);
    await clock.advance(50);
    expect(plant.pgood(0)).toBe(false);
    await drive(5, false);
    expect(plant.pgood(0)).toBe(true);
  });

  it('does not come in the moment after one was asked for', async () => {
    const { plant, drive } = withParts(SWITCHED, line(9), 'rail BEHIND never good');
    plant.pins.get('gpio/0')?.drive(1);
    // MAIN is good after 9 ms, and pgood 5 ms later.
    await clock.advance(11);
    await drive(5, true);
    expect(plant.pgood(0)).toBe(false);
  });
});
