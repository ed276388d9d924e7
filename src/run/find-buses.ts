import { HardwareError } from '../../hw/errors.ts';
import type { I2cBackend } from '../../hw/ports.ts';
import type { Board } from '../board/schema.ts';

/** A device of the board whose I2C bus this machine does not have. */
export interface BusTrouble {
  readonly device: string;
  readonly bus: number | string;
  /** `I2C_NO_BUS`, with the `names` that there are in its details where the bus was looked for by its name. */
  readonly error: HardwareError;
}

/**
 * Looks for the I2C bus of every device of a board on this machine, in the order of the file. Nothing is sent on a bus.
 * A bus that this process has no right to use is there. Rejects with any other error of `openBus`.
 */
export async function findBuses({ devices }: Board, i2c: () => Promise<I2cBackend>): Promise<BusTrouble[]> {
  const troubles: BusTrouble[] = [];
  for (const [device, { bus }] of Object.entries(devices)) {
    try {
      const opened = await (await i2c()).openBus(bus);
      await opened.close();
    } catch (error) {
      if (!(error instanceof HardwareError)) throw error;
      if (error.code === 'I2C_PERMISSION') continue;
      if (error.code !== 'I2C_NO_BUS') throw error;
      troubles.push({ device, bus, error });
    }
  }
  return troubles;
}
