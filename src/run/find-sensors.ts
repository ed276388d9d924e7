import { HardwareError } from '../../hw/errors.ts';
import type { SensorBackend, SensorRef } from '../../hw/ports.ts';
import type { Board } from '../board/schema.ts';
import { sensorRef, sensorsOf } from '../board/sensor-ref.ts';

/** An input of the board that no kernel driver of this machine shows. */
export interface SensorTrouble {
  /** For messages: `good signal of rail P12V`. */
  readonly role: string;
  /** The keys that lead to it in the board file. */
  readonly at: readonly string[];
  readonly ref: SensorRef;
  /** `SENSOR_NO_CHIP` with the `chips` that there are in its details, or `SENSOR_NO_INPUT` with the `inputs`. */
  readonly error: HardwareError;
}

/**
 * Looks for every voltage of a board that a kernel driver is to read, in the order of the file. No chip is asked for anything.
 * Rejects with any other error of `locate`.
 */
export async function findSensors(
  board: Board,
  sensors: () => Promise<SensorBackend>,
): Promise<SensorTrouble[]> {
  const troubles: SensorTrouble[] = [];
  for (const [number, chassis] of Object.entries(board.chassis)) {
    for (const { role, keys, sensor } of sensorsOf(chassis)) {
      const ref = sensorRef(sensor);
      try {
        await (await sensors()).locate(ref);
      } catch (error) {
        if (!(error instanceof HardwareError) || error.code === 'SENSOR_FAILED') throw error;
        troubles.push({ role, at: ['chassis', number, ...keys, ref.by], ref, error });
      }
    }
  }
  return troubles;
}

/** Something of the board is seen by a voltage that a kernel driver reads. */
export function hasSensors(board: Board): boolean {
  return Object.values(board.chassis).some((chassis) => sensorsOf(chassis).length > 0);
}
