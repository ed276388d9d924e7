import { HardwareError, systemFailure } from '../errors.ts';
import type { SensorRef } from '../ports.ts';
import { chipLabel, sensorLabel } from '../sensor-labels.ts';

/* The errors of `SensorBackend` in ports.ts, with the same words for the driver and for its stand-in. */

/** What people call the two classes, and where the kernel lists their chips. */
const CLASSES = {
  hwmon: { name: 'hwmon chip', folder: '/sys/class/hwmon' },
  iio: { name: 'IIO device', folder: '/sys/bus/iio/devices' },
} as const;

function detailsOf({ by, chip, input }: SensorRef): Record<string, unknown> {
  return { by, chip, input };
}

/**
 * @param listing the existing chips: `there is …`
 * @param chips all names that they have
 */
export function noChip(sensor: SensorRef, listing: string, chips: readonly string[]): HardwareError {
  const { name } = CLASSES[sensor.by];
  const what = typeof sensor.chip === 'string' ? `has the name "${sensor.chip}"` : `is ${chipLabel(sensor)}`;
  return new HardwareError('SENSOR_NO_CHIP', `no ${name} ${what}: ${listing}`, {
    ...detailsOf(sensor),
    chips,
  });
}

/** @param listing the chips that the name fits, each with its own path */
export function manyChips(
  sensor: SensorRef,
  count: number,
  listing: string,
  chips: readonly string[],
): HardwareError {
  const { name } = CLASSES[sensor.by];
  return new HardwareError(
    'SENSOR_NO_CHIP',
    `${count} ${name}s have the name "${chipLabel(sensor)}", name the chip by the path of its device instead: ${listing}`,
    { ...detailsOf(sensor), chips },
  );
}

export function noInput(sensor: SensorRef, inputs: readonly string[]): HardwareError {
  const has = inputs.length === 0 ? 'it measures no voltage' : `it has ${inputs.join(', ')}`;
  return new HardwareError('SENSOR_NO_INPUT', `${chipLabel(sensor)} has no input "${sensor.input}": ${has}`, {
    ...detailsOf(sensor),
    inputs,
  });
}

/** For a class that cannot be looked through. */
export function cannotLook(error: unknown, sensor: SensorRef): HardwareError {
  const { name, folder } = CLASSES[sensor.by];
  return systemFailure(
    error,
    'SENSOR_FAILED',
    `the ${name}s in ${folder} cannot be looked through`,
    detailsOf(sensor),
  );
}

export function readFailed(error: unknown, sensor: SensorRef): HardwareError {
  return systemFailure(error, 'SENSOR_FAILED', `${sensorLabel(sensor)} cannot be read`, detailsOf(sensor));
}

/** @param text that the file has */
export function noVoltage(sensor: SensorRef, file: string, text: string): HardwareError {
  return new HardwareError(
    'SENSOR_FAILED',
    `${sensorLabel(sensor)} reads ${JSON.stringify(text.slice(0, 40))} in ${file}, which is no number`,
    { ...detailsOf(sensor), file },
  );
}

/** For a channel of IIO of which nothing tells what one count is. */
export function noScale(sensor: SensorRef): HardwareError {
  return new HardwareError(
    'SENSOR_FAILED',
    `${sensorLabel(sensor)} has no scale, so its voltage cannot be told`,
    detailsOf(sensor),
  );
}

/** @param how the cause, as far as it is known */
export function readTimeout(sensor: SensorRef, limitMs: number, how: string): HardwareError {
  return new HardwareError(
    'SENSOR_TIMEOUT',
    `${sensorLabel(sensor)} did not answer within ${limitMs} ms: ${how}`,
    detailsOf(sensor),
  );
}
