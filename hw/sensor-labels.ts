import type { SensorRef } from './ports.ts';

/** The chip as the board file names it, for messages: `iio_hwmon`, `0x60 on I2C bus 3`. */
export function chipLabel({ chip }: Pick<SensorRef, 'chip'>): string {
  if (typeof chip === 'string') return chip;
  return `0x${chip.address.toString(16).padStart(2, '0')} on I2C bus ${chip.bus}`;
}

/** The input as the board file names it, for messages: `in3 of iio_hwmon`. */
export function sensorLabel(sensor: SensorRef): string {
  return `${sensor.input} of ${chipLabel(sensor)}`;
}

/** One text for one chip as the board file names it: `hwmon iio_hwmon`. */
export function chipKey(sensor: Pick<SensorRef, 'by' | 'chip'>): string {
  return `${sensor.by} ${chipLabel(sensor)}`;
}

/** The same for an input. */
export function sensorKey(sensor: SensorRef): string {
  return `${chipKey(sensor)} ${sensor.input}`;
}
