import { describe, expect, it } from 'vitest';
import type { I2cBackend } from '../../hw/ports.ts';
import { createMockGpio } from '../../mocks/gpio.ts';
import { createMockI2c } from '../../mocks/i2c.ts';
import { createPlant } from '../../mocks/plant.ts';
import { createVirtualClock } from '../../mocks/virtual-clock.ts';
import { openChassis } from '../../src/run/hardware.ts';
import { shippedBoard } from './bench.ts';

/** PMBus specification 1.3.1 part II, table 31. */
const READ_VOUT = 0x8b;
/** hw/boards/ast2600-evb.json has its regulator in direct format with m 1, b 0, R 3: one count is a millivolt. */
const COUNTS_PER_VOLT = 1_000;

/** The plant's I2C, with an output voltage of its own: only the reading of one register is another one. */
function readingVolts(inner: I2cBackend, volts: () => number): I2cBackend {
  return {
    openBus: async (bus) => {
      const opened = await inner.openBus(bus);
      return {
        ...opened,
        transaction: (address, steps, ...rest) =>
          opened.transaction(
            address,
            (device) =>
              steps({
                readByte: (command) => device.readByte(command),
                writeByte: (command, value) => device.writeByte(command, value),
                readWord: async (command) =>
                  command === READ_VOUT ? Math.round(volts() * COUNTS_PER_VOLT) : device.readWord(command),
              }),
            ...rest,
          ),
      };
    },
  };
}

describe('a rail that is seen by its voltage', () => {
  // hw/boards/ast2600-evb.json: PVCORE is good from 0.85 V to 0.95 V.
  it.each([
    [0.849, false],
    [0.85, true],
    [0.9, true],
    [0.95, true],
    [0.951, false],
    [1.8, false],
    [0, false],
  ])('with limits of 0.85 V and 0.95 V at %d V is good: %s', async (volts, good) => {
    const board = shippedBoard('ast2600-evb');
    const clock = createVirtualClock();
    const plant = createPlant({ board, clock, initially: 'on' });
    const read = async () => {
      const hardware = await openChassis(board, 0, {
        gpio: async () => createMockGpio(plant),
        i2c: async () => readingVolts(createMockI2c(plant), () => volts),
        clock,
      });
      try {
        return await hardware.readGood('PVCORE');
      } finally {
        await hardware.close();
      }
    };
    expect(await clock.runUntil(read())).toBe(good);
  });
});
