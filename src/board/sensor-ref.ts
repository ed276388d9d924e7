import type { SensorRef } from '../../hw/ports.ts';
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
