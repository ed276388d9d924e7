import type { SensorRef } from '../../hw/ports.ts';
import { sourcesOf } from './pgood-sources.ts';
import type { ChassisBoard } from './schema.ts';
import type { SensorPart } from './sensor.ts';

/** Something is seen by a voltage that a kernel driver reads. */
export function isSensor<Part extends object>(part: Part): part is Extract<Part, SensorPart> {
  return 'hwmon' in part || 'iio' in part;
}

/** Where that voltage is read. */
export function sensorRef(part: SensorPart): SensorRef {
  const [by, place] = 'hwmon' in part ? (['hwmon', part.hwmon] as const) : (['iio', part.iio] as const);
  const { input } = place;
  if ('chip' in place) return { by, chip: place.chip, input };
  return { by, chip: { bus: place.bus, address: Number(place.address) }, input };
}

/** What of a chassis is seen by such a voltage. */
export interface ChassisSensor {
  /** That it shows; null where it shows pgood. */
  readonly rail: string | null;
  /** For messages: `good signal of rail P12V`. */
  readonly role: string;
  /** The keys that lead to it from the chassis in the board file. */
  readonly keys: readonly string[];
  readonly sensor: SensorPart;
}

/** Those of the rails, in the order of the file, and then those of pgood. */
export function sensorsOf({ rails, pgood }: ChassisBoard): ChassisSensor[] {
  const ofRails = Object.entries(rails).flatMap(([rail, { good }]) =>
    good !== undefined && isSensor(good)
      ? [{ rail, role: `good signal of rail ${rail}`, keys: ['rails', rail, 'good'], sensor: good }]
      : [],
  );
  const ofPgood = sourcesOf(pgood).flatMap(({ source, role, keys }) =>
    isSensor(source) ? [{ rail: null, role, keys, sensor: source }] : [],
  );
  return [...ofRails, ...ofPgood];
}
