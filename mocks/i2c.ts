import { HardwareError } from '../hw/errors.ts';
import type { I2cBackend, I2cBus, I2cDevice } from '../hw/ports.ts';
import { reportMisuse } from './misuse.ts';
import type { Plant, PlantBus, PlantI2cDevice } from './plant.ts';

/** After so long a driver gives up a transfer that does not end. */
export const TRANSFER_DEADLINE_MS = 1_000;

/** 7-bit addresses that are not reserved (UM10204, 3.1.12). */
const LEAST_ADDRESS = 0x03;
const MOST_ADDRESS = 0x77;

/**
 * I2C on a plant. Stricter than hardware: what a correct caller never does rejects and is kept in
 * `plant.misuses`. Every call gives up the turn at least once. A bus is held across all backends of a plant.
 */
export function createMockI2c(plant: Plant): I2cBackend {
  return {
    async openBus(bus) {
      await Promise.resolve();
      if (typeof bus !== 'number' && typeof bus !== 'string') {
        throw reportMisuse(plant, `openBus(${JSON.stringify(bus)}): a bus is a number or a name`);
      }
      const found = plant.buses.get(bus);
      if (found !== undefined) return openBus(plant, found);
      const known = [...plant.buses.keys()].join(', ') || 'none';
      throw new HardwareError(
        'I2C_NO_BUS',
        `there is no I2C bus ${JSON.stringify(bus)}: the devices of the board file are on ${known}`,
        { bus },
      );
    },
  };
}

function openBus(plant: Plant, bus: PlantBus): I2cBus {
  let closed = false;
  const failed = (address: number, text: string) => {
    plant.recordMisuse(text);
    return new HardwareError('I2C_FAILED', text, { bus: bus.bus, address });
  };

  return {
    async transaction(address, steps) {
      const where = `I2C bus ${bus.bus}, address 0x${Number(address).toString(16).padStart(2, '0')}`;
      if (closed) throw failed(address, `${where}: transaction after the bus was closed`);
      if (!Number.isInteger(address) || address < LEAST_ADDRESS || address > MOST_ADDRESS) {
        throw failed(address, `${where}: not a 7-bit address from 0x03 to 0x77`);
      }
      const release = await bus.hold();
      const device = openDevice(plant, bus.devices.get(address), where, failed.bind(null, address));
      try {
        return await steps(device.transfers);
      } finally {
        device.end();
        release();
      }
    },

    // What was asked for before holds its place already and goes on to its end.
    async close() {
      await Promise.resolve();
      closed = true;
    },
  };
}

function openDevice(
  plant: Plant,
  device: PlantI2cDevice | undefined,
  where: string,
  failed: (text: string) => HardwareError,
): { transfers: I2cDevice; end(): void } {
  let over = false;
  let busy = false;

  const transfer = async <T>(what: string, run: (device: PlantI2cDevice) => T): Promise<T> => {
    if (over) throw failed(`${where}: ${what} after its transaction`);
    if (busy) throw reportMisuse(plant, `${where}: ${what} before the transfer ahead of it has ended`);
    busy = true;
    try {
      await Promise.resolve();
      const answer = device === undefined ? 'nack' : device.nextTransfer();
      const details = { address: device?.address };
      if (answer === 'busy') {
        throw new HardwareError('I2C_BUSY', `${where} is owned by a kernel driver: unbind it first`, details);
      }
      if (answer === 'hang') {
        await new Promise<void>((resolve) => {
          plant.clock.after(TRANSFER_DEADLINE_MS, resolve);
        });
        throw new HardwareError(
          'I2C_TIMEOUT',
          `${where} did not end a transfer within ${TRANSFER_DEADLINE_MS} ms: the bus hangs`,
          details,
        );
      }
      if (device === undefined || answer === 'nack') {
        throw new HardwareError(
          'I2C_NO_DEVICE',
          `${where}: nothing acknowledges, check power and address`,
          details,
        );
      }
      return run(device);
    } finally {
      busy = false;
    }
  };

  const check = (name: string, value: number, most: number): void => {
    if (Number.isInteger(value) && value >= 0 && value <= most) return;
    throw reportMisuse(plant, `${where}: ${name} ${JSON.stringify(value)} is not 0 to ${most}`);
  };

  return {
    transfers: {
      async readByte(command) {
        check('command', command, 0xff);
        return transfer('Read Byte', ({ registers }) => registers.readByte(command));
      },
      async readWord(command) {
        check('command', command, 0xff);
        return transfer('Read Word', ({ registers }) => registers.readWord(command));
      },
      async writeByte(command, value) {
        check('command', command, 0xff);
        check('value', value, 0xff);
        return transfer('Write Byte', ({ registers }) => registers.writeByte(command, value));
      },
    },
    end: () => {
      over = true;
    },
  };
}
