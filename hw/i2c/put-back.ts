import { HardwareError } from '../errors.ts';
import type { I2cDevice } from '../ports.ts';

/**
 * Runs the steps of a transaction that goes on without the hold of its bus, and gives `command` the value again that it had
 * before. The process that holds the bus may stand still between its PAGE and what it tells that page: the steps would have it
 * switch, or set up, another output.
 */
export async function puttingBack<T>(
  device: I2cDevice,
  command: number | undefined,
  steps: (device: I2cDevice) => Promise<T>,
): Promise<T> {
  if (command === undefined) return steps(device);
  const before = await unlessFailed(device.readByte(command));
  try {
    return await steps(device);
  } finally {
    if (before !== null) await unlessFailed(device.writeByte(command, before));
  }
}

/** Power goes off all the same, and what the steps met says more. */
async function unlessFailed<T>(transfer: Promise<T>): Promise<T | null> {
  try {
    return await transfer;
  } catch (error) {
    if (error instanceof HardwareError) return null;
    throw error;
  }
}
