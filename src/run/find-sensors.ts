import { HardwareError } from '../../hw/errors.ts';
import type { SensorBackend, SensorRef } from '../../hw/ports.ts';
import { sourcesOf } from '../board/pgood-sources.ts';
import type { Board, ChassisBoard } from '../board/schema.ts';
import type { SensorPart } from '../board/sensor.ts';
import { isSensor, sensorRef } from '../board/sensor-ref.ts';

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

interface BoardSensor {
  readonly role: string;
  readonly at: readonly string[];
  readonly sensor: SensorPart;
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
  for (const { role, at, sensor } of sensorsOf(board)) {
    const ref = sensorRef(sensor);
    try {
      await (await sensors()).locate(ref);
    } catch (error) {
      if (!(error instanceof HardwareError) || error.code === 'SENSOR_FAILED') throw error;
      troubles.push({ role, at: [...at, ref.by], ref, error });
    }
  }
  return troubles;
}

/** Something of the board is seen by a voltage that a kernel driver reads. */
export function hasSensors(board: Board): boolean {
  return sensorsOf(board).length > 0;
}

function sensorsOf({ chassis: all }: Board): BoardSensor[] {
  return Object.entries(all).flatMap(([number, chassis]) => sensorsOfChassis(chassis, ['chassis', number]));
}

function sensorsOfChassis({ rails, pgood }: ChassisBoard, path: readonly string[]): BoardSensor[] {
  const ofRails = Object.entries(rails).flatMap(([rail, { good }]) =>
    good !== undefined && isSensor(good)
      ? [{ role: `good signal of rail ${rail}`, at: [...path, 'rails', rail, 'good'], sensor: good }]
      : [],
  );
  const ofPgood = sourcesOf(pgood).flatMap(({ source, role, keys }) =>
    isSensor(source) ? [{ role, at: [...path, ...keys], sensor: source }] : [],
  );
  return [...ofRails, ...ofPgood];
}
