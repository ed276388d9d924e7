import type { HardwareError } from '../../hw/errors.ts';
import {
  busClosed,
  busHeld,
  cannotOpenBus,
  noAddress,
  noBusName,
  type TransferPlace,
  transactionOver,
  transferFailed,
  transferTimeout,
  wrongPec,
} from '../../hw/i2c/errors.ts';
import { puttingBack } from '../../hw/i2c/put-back.ts';
import { type BusTurns, createBusTurns } from '../../hw/i2c/turns.ts';
import type { I2cBackend, I2cBus, I2cDevice } from '../../hw/ports.ts';
import type { PlantBus, PlantI2cDevice } from '../plant/buses.ts';
import type { Plant } from '../plant/plant.ts';
import { reportMisuse } from './misuse.ts';
import { systemError } from './system-error.ts';

/** After so long a driver gives up a transfer that does not end. */
export const TRANSFER_DEADLINE_MS = 1_000;

/** How long a driver waits for a bus that another process holds, and for what switches power off. */
export const HOLD_LIMIT_MS = 1_000;
const URGENT_HOLD_LIMIT_MS = 100;

/** 7-bit addresses that are not reserved (UM10204, 3.1.12). */
const LEAST_ADDRESS = 0x03;
const MOST_ADDRESS = 0x77;

/**
 * I2C on a plant. Stricter than hardware: what a correct caller never does rejects and is kept in
 * `plant.misuses`. Every call gives up the turn at least once. A bus is held across those backends of a plant that
 * hold it; single transfers of the others go in between, as the kernel lets them. What hardware does too rejects in
 * the words of the driver.
 *
 * @param holdsBus false for a program that knows nothing of the others
 */
export function createMockI2c(
  plant: Plant,
  { holdsBus = true }: { readonly holdsBus?: boolean } = {},
): I2cBackend {
  /** Of this process on each bus: its own wait in line, however long it takes. */
  const turnsOf = new Map<PlantBus, BusTurns>();
  return {
    async openBus(bus) {
      await Promise.resolve();
      if (typeof bus !== 'number' && typeof bus !== 'string') {
        throw reportMisuse(plant, `openBus(${JSON.stringify(bus)}): a bus is a number or a name`);
      }
      const found = plant.buses.get(bus);
      if (found !== undefined) return openBus(plant, found, holdsBus, turnsOf);
      if (typeof bus === 'number') throw cannotOpenBus(systemError('ENOENT'), `/dev/i2c-${bus}`, bus);
      const known = [...plant.buses.keys()];
      throw noBusName(
        bus,
        known.join(', '),
        known.filter((each) => typeof each === 'string'),
      );
    },
  };
}

function openBus(plant: Plant, bus: PlantBus, holdsBus: boolean, turnsOf: Map<PlantBus, BusTurns>): I2cBus {
  const turns = turnsOf.get(bus) ?? createBusTurns();
  turnsOf.set(bus, turns);
  let closed = false;
  const misused = (address: number, what: string, error: HardwareError): HardwareError => {
    plant.recordMisuse(`I2C bus ${bus.bus}, address ${address}: ${what}`);
    return error;
  };

  /** Returns the function that lets go of the bus; null when another process does not in time. */
  const hold = async (limitMs: number): Promise<(() => void) | null> => {
    if (!holdsBus) return () => undefined;
    let isLate = false;
    const held = bus.hold().then((release) => {
      if (isLate) release();
      return release;
    });
    return new Promise((resolve) => {
      const cancel = plant.clock.after(limitMs, () => {
        isLate = true;
        resolve(null);
      });
      held.then((release) => {
        cancel();
        resolve(release);
      });
    });
  };

  return {
    async transaction(address, steps, options = {}) {
      if (closed) {
        throw misused(address, 'transaction after the bus was closed', busClosed(bus.bus, address));
      }
      if (!Number.isInteger(address) || address < LEAST_ADDRESS || address > MOST_ADDRESS) {
        throw misused(address, 'not a 7-bit address from 0x03 to 0x77', noAddress(bus.bus, address));
      }
      const run = async () => {
        const { isUrgent = false, pec = false } = options;
        const limitMs = isUrgent ? URGENT_HOLD_LIMIT_MS : HOLD_LIMIT_MS;
        const release = await hold(limitMs);
        if (release === null && !isUrgent) throw busHeld(bus.bus, address, limitMs);
        const device = openDevice(plant, bus.devices.get(address), { bus: bus.bus, address }, pec);
        try {
          const { transfers } = device;
          return await (release === null
            ? puttingBack(transfers, options.putsBack, steps)
            : steps(transfers));
        } finally {
          device.end();
          release?.();
        }
      };
      return turns.take(run, options);
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
  at: Omit<TransferPlace, 'command'>,
  pec: boolean,
): { transfers: I2cDevice; end(): void } {
  const where = `I2C bus ${at.bus}, address ${at.address}`;
  let over = false;
  let busy = false;

  const transfer = async <T>(
    what: string,
    command: number,
    run: (device: PlantI2cDevice, isNoisy: boolean) => T,
  ): Promise<T> => {
    const place = { ...at, command };
    if (over) {
      plant.recordMisuse(`${where}: ${what} after its transaction`);
      throw transactionOver(place);
    }
    if (busy) throw reportMisuse(plant, `${where}: ${what} before the transfer ahead of it has ended`);
    busy = true;
    try {
      await Promise.resolve();
      const answer = device === undefined ? 'nack' : device.nextTransfer();
      if (answer === 'busy') throw transferFailed(systemError('EBUSY'), place, {}, true);
      if (answer === 'hang') {
        await new Promise<void>((resolve) => {
          plant.clock.after(TRANSFER_DEADLINE_MS, resolve);
        });
        throw transferTimeout(place, TRANSFER_DEADLINE_MS, 'something holds the bus');
      }
      if (device === undefined || answer === 'nack') throw transferFailed(systemError('ENXIO'), place);
      if (device.pec && !pec) throw reportMisuse(plant, `${where}: ${what} without the check of the device`);
      return run(device, answer === 'noise');
    } finally {
      busy = false;
    }
  };

  return {
    transfers: transfersOf(plant, at, pec, transfer),
    end: () => {
      over = true;
    },
  };
}

/** A transfer of an open device: its name for people, the command, and what is done to the device. */
type Transfer = <T>(
  what: string,
  command: number,
  run: (device: PlantI2cDevice, isNoisy: boolean) => T,
) => Promise<T>;

function transfersOf(
  plant: Plant,
  at: Omit<TransferPlace, 'command'>,
  pec: boolean,
  transfer: Transfer,
): I2cDevice {
  const check = (name: string, value: number, most: number): void => {
    if (Number.isInteger(value) && value >= 0 && value <= most) return;
    const where = `I2C bus ${at.bus}, address ${at.address}`;
    throw reportMisuse(plant, `${where}: ${name} ${JSON.stringify(value)} is not 0 to ${most}`);
  };

  /** What arrives of what the device sent. One without a check sends none, and nobody drives the bus for it. */
  const read = async (
    what: string,
    command: number,
    ask: (registers: PlantI2cDevice['registers']) => number,
  ): Promise<number> => {
    check('command', command, 0xff);
    return transfer(what, command, ({ registers, pec: has }, isNoisy) => {
      const sent = ask(registers);
      if (pec && (isNoisy || !has)) throw wrongPec({ ...at, command });
      return isNoisy ? sent ^ 1 : sent;
    });
  };

  const write = async (
    what: string,
    command: number,
    [value, most]: readonly [number, number],
    tell: (registers: PlantI2cDevice['registers']) => void,
  ): Promise<void> => {
    check('command', command, 0xff);
    check('value', value, most);
    return transfer(what, command, ({ registers, pec: has }) => {
      // A device without a check refuses the byte that it did not ask for.
      if (pec && !has) throw transferFailed(systemError('ENXIO'), { ...at, command });
      tell(registers);
    });
  };

  /** A bit that is flipped is one of the first byte. */
  const readBlock = (command: number, length: number): Promise<readonly number[]> => {
    check('command', command, 0xff);
    check('length', length, pec ? 30 : 31);
    return transfer('Block Read', command, ({ registers, pec: has }, isNoisy) => {
      const sent = registers.readBlock(command);
      if (pec && (isNoisy || !has)) throw wrongPec({ ...at, command });
      return isNoisy ? sent.map((byte, index) => (index === 0 ? byte ^ 1 : byte)) : sent;
    });
  };

  return {
    readBlock,
    readByte: (command) => read('Read Byte', command, (registers) => registers.readByte(command)),
    readWord: (command) => read('Read Word', command, (registers) => registers.readWord(command)),
    writeByte: (command, value) =>
      write('Write Byte', command, [value, 0xff], (registers) => registers.writeByte(command, value)),
    writeWord: (command, value) =>
      write('Write Word', command, [value, 0xffff], (registers) => registers.writeWord(command, value)),
  };
}
