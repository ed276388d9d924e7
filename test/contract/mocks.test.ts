import * as v from 'valibot';
import { expect, it } from 'vitest';
import type {
  GpioBackend,
  I2cBackend,
  Level,
  LineRef,
  PropertyBackend,
  SensorBackend,
} from '../../hw/ports.ts';
import { createMockFlock } from '../../mocks/backends/flock.ts';
import { createMockGpio } from '../../mocks/backends/gpio.ts';
import { createMockI2c } from '../../mocks/backends/i2c.ts';
import { createMockProperties } from '../../mocks/backends/properties.ts';
import { createMockSensors } from '../../mocks/backends/sensors.ts';
import { createDuplexPair } from '../../mocks/duplex-pair.ts';
import { parseFault } from '../../mocks/plant/faults.ts';
import { lineKey } from '../../mocks/plant/line-key.ts';
import type { PlantPin } from '../../mocks/plant/pins.ts';
import { createPlant, type Plant } from '../../mocks/plant/plant.ts';
import { createVirtualClock, type VirtualClock } from '../../mocks/virtual-clock.ts';
import { connectPorts } from '../../mocks/wire/client.ts';
import { servePorts } from '../../mocks/wire/server.ts';
import { boardSchema } from '../../src/board/schema.ts';
import { fewer } from '../draws.ts';
import { describeClock } from './clock-contract.ts';
import { describeFlock } from './flock-contract.ts';
import { describeGpioBackend, type GpioSetup } from './gpio-contract.ts';
import { describeI2cBackend, type I2cSetup } from './i2c-contract.ts';
import { describePropertyBackend, type PropertySetup } from './property-contract.ts';
import { describeSensorBackend, type SensorSetup } from './sensor-contract.ts';

const CHIP = 'chip.gpio';
const READ_VOUT = 0x8b;
const VOUT_MAX = 0x24;
const MFR_MODEL = 0x9a;
const IC_DEVICE_ID = 0xad;

const board = v.parse(boardSchema, {
  name: 'contract',
  devices: {
    vr: { bus: 3, address: '0x60', identity: { MFR_MODEL: 'MAX15301' } },
    owned: { bus: 3, address: '0x62' },
    checked: { bus: 3, address: '0x63', pec: true, identity: { IC_DEVICE_ID: '0x00ff10' } },
  },
  chassis: {
    0: {
      rails: {
        FREE: { enable: { chip: CHIP, line: 'C0' } },
        HELD: { enable: { chip: CHIP, line: 'C1' } },
        SHORTED: { enable: { chip: CHIP, line: 'C2' } },
        WATCHED: { enable: { chip: CHIP, line: 'C3' }, good: { chip: CHIP, line: 'B3' } },
        PAGE0: {
          nominalVolts: 1,
          enable: { pmbus: 'vr' },
          good: { pmbus: 'vr', minVolts: 0.9 },
          setup: { pmbus: 'vr', minVolts: 1, maxVolts: 1, writes: [{ command: 'VOUT_MAX', volts: 1.1 }] },
        },
        PAGE1: {
          nominalVolts: 2,
          enable: { pmbus: 'vr', page: 1 },
          good: { pmbus: 'vr', page: 1, minVolts: 1.8 },
        },
        CHECKED0: {
          nominalVolts: 3,
          enable: { pmbus: 'checked' },
          good: { pmbus: 'checked', minVolts: 2.7 },
          setup: {
            pmbus: 'checked',
            minVolts: 3,
            maxVolts: 3,
            writes: [{ command: 'VOUT_MAX', volts: 3.3 }],
          },
        },
        CHECKED1: {
          nominalVolts: 4,
          enable: { pmbus: 'checked', page: 1 },
          good: { pmbus: 'checked', page: 1, minVolts: 3.6 },
        },
        SENSED: {
          nominalVolts: 11,
          enable: { chip: CHIP, line: 'C4' },
          good: { hwmon: { chip: 'iio_hwmon', input: 'in3' }, multiply: 11, minVolts: 0.1 },
        },
        CARD: {
          enable: { chip: CHIP, line: 'C7' },
          presence: { inventory: '/xyz/openbmc_project/inventory/system/chassis/card0' },
        },
        BESIDE: {
          nominalVolts: 0.8,
          enable: { chip: CHIP, line: 'C5' },
          good: { hwmon: { chip: 'iio_hwmon', input: 'in4' }, minVolts: 0.7 },
        },
        CONVERTED: {
          nominalVolts: 0.3,
          enable: { chip: CHIP, line: 'C6' },
          good: { iio: { bus: 3, address: '0x48', input: 'voltage0' }, minVolts: 0.2 },
        },
      },
      pgood: { chip: CHIP, line: 'B7' },
      latch: { chip: CHIP, line: 'D0' },
    },
  },
});

interface Backends {
  readonly gpio: GpioBackend;
  readonly i2c: I2cBackend;
  readonly sensors: SensorBackend;
  readonly properties: PropertyBackend;
}

function direct(plant: Plant): Backends {
  return {
    gpio: createMockGpio(plant),
    i2c: createMockI2c(plant),
    sensors: createMockSensors(plant),
    properties: createMockProperties(plant),
  };
}

function overTheWire(plant: Plant, clock: VirtualClock): Backends {
  // Messages arrive in pieces, as they may from a socket.
  const [ours, theirs] = createDuplexPair(7);
  servePorts(theirs, direct(plant));
  return connectPorts(ours, { clock });
}

function pinOf(plant: Plant, line: LineRef): PlantPin {
  const pin = plant.pins.get(lineKey(line) ?? '');
  if (pin === undefined) throw new Error(`the board of this test has no line ${JSON.stringify(line)}`);
  return pin;
}

for (const [name, open] of [
  ['the plant', direct],
  ['the plant over the wire', overTheWire],
] as const) {
  const setupGpio = async (): Promise<GpioSetup> => {
    const clock = createVirtualClock();
    const faults = ['line latch busy', 'enable SHORTED stuck off', 'line pgood no interrupts'].map((text) =>
      parseFault(text),
    );
    const plant = createPlant({ board, clock, faults, lineNames: { FREE_EN: { chip: CHIP, line: 16 } } });
    const heldHigh = { chip: CHIP, line: 'C1' };
    const addFault = (line: LineRef, what: string) =>
      plant.addFault(parseFault(`line ${'line' in line ? line.line : line.name} ${what}`));
    pinOf(plant, heldHigh).drive(1);
    const historyStart = plant.history.length;
    const levelsAtStart = new Map(plant.lines().map(({ line, level }) => [line, level]));
    return {
      stories: fewer(100, 25),
      backend: open(plant, clock).gpio,
      another: async () => open(plant, clock).gpio,
      world: {
        lines: {
          output: { chip: CHIP, line: 'C0' },
          outputOtherwise: { name: 'FREE_EN' },
          input: { chip: CHIP, line: 'B3' },
          looked: { chip: CHIP, line: 'B7' },
          heldHigh,
          busy: { chip: CHIP, line: 'D0' },
          shorted: { chip: CHIP, line: 'C2' },
        },
        settle: (ms = 0) => clock.advance(ms),
        levelSeenOutside: async (line) => pinOf(plant, line).level(),
        directionSeenOutside: async (line) => pinOf(plant, line).direction(),
        drive: async (line, level) => plant.hold(line, level),
        isFree: async (line) => pinOf(plant, line).takenBy === null,
        takeOutside: async (line) => {
          pinOf(plant, line).takenBy = 'foreign';
        },
        stopInterrupts: async (line) => addFault(line, 'no interrupts'),
        giveBackOutside: async (line, then) => {
          pinOf(plant, line).free();
          if (then === 'hold') addFault(line, 'busy');
        },
        letGoOutside: async () => {
          plant.clearFaults();
          for (const fault of faults) plant.addFault(fault);
        },
        hang: async (line) => addFault(line, 'hangs'),
        answer: async () => {
          plant.clearFaults();
          for (const fault of faults) plant.addFault(fault);
        },
        breakReads: async () => plant.addFault(parseFault('gpio read error')),
        historySeenOutside: async (line) => {
          const key = lineKey(line);
          const levels: Level[] = [levelsAtStart.get(key ?? '') ?? 0];
          for (const event of plant.history.slice(historyStart)) {
            if (event.type === 'line' && event.line === key && event.level !== levels.at(-1)) {
              levels.push(event.level);
            }
          }
          return levels;
        },
      },
    };
  };
  describeGpioBackend(name, setupGpio);

  const setupI2c = async (): Promise<I2cSetup> => {
    const clock = createVirtualClock();
    const plant = createPlant({ board, clock, initially: 'on', faults: [parseFault('i2c owned busy')] });
    return {
      backend: open(plant, clock).i2c,
      another: async () => open(plant, clock).i2c,
      world: {
        bus: 3,
        unknownBus: 4,
        // 1 V and 2 V in the linear format with exponent -9.
        paged: { address: 0x60, command: READ_VOUT, words: [0x200, 0x400] },
        // 3 V and 4 V.
        checked: { address: 0x63, command: READ_VOUT, words: [0x600, 0x800] },
        told: [
          { address: 0x60, command: VOUT_MAX },
          { address: 0x63, command: VOUT_MAX, pec: true },
        ],
        blocks: [
          { address: 0x60, command: MFR_MODEL, bytes: [...Buffer.from('MAX15301')] },
          { address: 0x63, command: IC_DEVICE_ID, bytes: [0x00, 0xff, 0x10], pec: true },
        ],
        noBlock: { address: 0x60, command: IC_DEVICE_ID },
        disturb: async () => plant.addFault(parseFault('i2c checked noise')),
        calm: async () => plant.clearFaults(),
        emptyAddress: 0x61,
        ownedAddress: 0x62,
        settle: (ms = 0) => clock.advance(ms),
        hang: async () => plant.addFault(parseFault('i2c vr hang')),
        release: async () => plant.clearFaults(),
      },
    };
  };
  const setupSensors = async (): Promise<SensorSetup> => {
    const clock = createVirtualClock();
    const plant = createPlant({ board, clock, initially: 'on' });
    const addFault = async (text: string) => plant.addFault(parseFault(text, board));
    const sensor = { by: 'hwmon', chip: 'iio_hwmon', input: 'in3' } as const;
    return {
      backend: open(plant, clock).sensors,
      world: {
        inputs: [
          { sensor, volts: 1 },
          { sensor: { by: 'iio', chip: { bus: 3, address: 0x48 }, input: 'voltage0' }, volts: 0.3 },
        ],
        beside: { ...sensor, input: 'in4' },
        settle: (ms = 0) => clock.advance(ms),
        // Half of 11 V, behind the divider.
        change: async () => {
          await addFault('rail SENSED droops');
          await clock.advance(200);
        },
        fail: () => addFault('sensor SENSED fails'),
        hang: () => addFault('sensor SENSED hangs'),
        take: () => addFault('sensor SENSED gone'),
        restore: async () => plant.clearFaults(),
      },
    };
  };
  describeSensorBackend(name, setupSensors);
  const setupProperties = async (): Promise<PropertySetup> => {
    const clock = createVirtualClock();
    const plant = createPlant({ board, clock });
    const addFault = async (text: string) => plant.addFault(parseFault(text, board));
    const [{ ref: property } = { ref: null }] = plant.properties.values();
    if (property === null) throw new Error('the board of this test has no inventory');
    return {
      backend: open(plant, clock).properties,
      world: {
        property,
        settle: (ms = 0) => clock.advance(ms),
        change: async (value) => (value ? plant.clearFaults() : addFault('part CARD absent')),
        tell: async (value) => (value ? plant.clearFaults() : addFault('part CARD absent')),
        hang: () => addFault('presence CARD hang'),
        restore: async () => plant.clearFaults(),
      },
    };
  };
  describePropertyBackend(name, setupProperties);
  describeI2cBackend(name, setupI2c, { busOtherwise: 'a board file names a bus one way' });
}

it('two programs that do not hold the bus of a plant move each other the page, as on the kernel', async () => {
  const clock = createVirtualClock();
  const plant = createPlant({ board, clock, initially: 'on' });
  const read = async (page: number): Promise<number> => {
    const bus = await createMockI2c(plant, { holdsBus: false }).openBus(3);
    return bus.transaction(0x60, async (device) => {
      await device.writeByte(0x00, page);
      return device.readWord(READ_VOUT);
    });
  };
  expect(await clock.runUntil(Promise.all([read(0), read(1)]))).toEqual([0x400, 0x400]);
  plant.close();
});

it('a device of a plant acknowledges nothing without the rail that powers it, and comes back with its outputs off', async () => {
  const clock = createVirtualClock();
  const powered = v.parse(boardSchema, {
    name: 'powered',
    devices: { vr: { bus: 3, address: '0x60', poweredBy: 'P' } },
    chassis: {
      0: {
        rails: {
          P: {
            enable: { chip: CHIP, line: 'C0' },
            good: { chip: CHIP, line: 'B0' },
            settleMs: 8,
            onTimeoutMs: 40,
          },
          VDD: { enable: { pmbus: 'vr' }, needs: ['P'] },
          VIO: { enable: { pmbus: 'vr', page: 1 }, needs: ['P'] },
        },
        pgood: { chip: CHIP, line: 'B7' },
      },
    },
  });
  const plant = createPlant({ board: powered, clock });
  const bus = await createMockI2c(plant).openBus(3);
  const read = (command: number) =>
    clock.runUntil(bus.transaction(0x60, (device) => device.readByte(command)).catch((error) => error.code));
  const write = (command: number, value: number) =>
    clock.runUntil(bus.transaction(0x60, (device) => device.writeByte(command, value)));
  const enable = pinOf(plant, { chip: CHIP, line: 'C0' });
  const unanswered = () => plant.history.filter(({ type }) => type === 'unpowered').length;

  expect(await read(0x00)).toBe('I2C_NO_DEVICE');
  enable.drive(1);
  // The rail rises in a tenth of the time that it may take, and the device starts in a quarter of its settle time.
  await clock.advance(8);
  await write(0x00, 1);
  await write(0x01, 0x80);
  expect([await read(0x00), await read(0x01)]).toEqual([1, 0x80]);
  enable.drive(0);
  await clock.advance(1_000);
  expect(await read(0x01)).toBe('I2C_NO_DEVICE');
  enable.drive(1);
  await clock.advance(8);
  expect(await read(0x00)).toBe(0);
  await write(0x00, 1);
  expect(await read(0x01)).toBe(0);
  expect([unanswered(), plant.misuses]).toEqual([2, []]);
  plant.close();
});

describeClock('virtual', async () => {
  const clock = createVirtualClock();
  return { clock, world: { settle: (ms = 0) => clock.advance(ms) } };
});

describeFlock('in memory', createMockFlock());
