import { errnoCode, HardwareError } from '../errors.ts';
import type { Clock, SensorBackend, SensorRef } from '../ports.ts';
import { sensorKey, sensorLabel } from '../sensor-labels.ts';
import { endsWithin, pause } from '../waiting.ts';
import { type FoundInput, findInput, type SensorRoots } from './chips.ts';
import { noScale, noVoltage, readFailed, readTimeout } from './errors.ts';
import { type SensorFiles, sensorFiles } from './files.ts';

export interface SensorOptions {
  readonly clock: Clock;
  readonly roots?: SensorRoots;
  readonly files?: SensorFiles;
}

const ROOTS: SensorRoots = { hwmon: '/sys/class/hwmon', iio: '/sys/bus/iio/devices' };

/** Longest time of one reading with all its attempts, and longest wait for the one before it. */
const READ_LIMIT_MS = 1_000;
const MAX_ATTEMPTS = 3;
const RETRY_MS = 2;
/**
 * Errors after which the same reading may succeed (the kernel's Documentation/i2c/fault-codes.rst): a chip on an I2C bus that
 * lost the arbitration, was disturbed, or acknowledges nothing while it converts or stores.
 */
const TRANSIENT = ['EAGAIN', 'EIO', 'ENXIO', 'EREMOTEIO', 'ETIMEDOUT'];
/** The files of the chip went with its driver. */
const GONE = ['ENOENT', 'ENOTDIR', 'ENODEV'];

/**
 * Voltages that kernel drivers show in sysfs.
 *
 * A reading that hangs sits in one of libuv's four worker threads, which nobody can free. I2C transfers may take two of them
 * (hw/i2c/transfers.ts), and the GPIO lines have to go on: so readings follow one another, and the next one waits until the one
 * that hangs has ended in the kernel.
 */
export function createSensors({ clock, roots = ROOTS, files = sensorFiles }: SensorOptions): SensorBackend {
  const found = new Map<string, FoundInput>();
  /** What reads in the kernel now, also where its caller has given it up. Never rejects. */
  let reading: { readonly sensor: SensorRef; readonly ended: Promise<void> } | null = null;

  const find = (sensor: SensorRef): FoundInput => {
    const place = findInput(sensor, roots, files);
    found.set(sensorKey(sensor), place);
    return place;
  };

  const read = async (sensor: SensorRef, place: FoundInput): Promise<number> => {
    const deadlineMs = clock.nowMs() + READ_LIMIT_MS;
    for (let attempt = 1; ; attempt += 1) {
      try {
        return await READ[sensor.by](sensor, place, files);
      } catch (error) {
        const again = TRANSIENT.includes(errnoCode(error) ?? '') && attempt < MAX_ATTEMPTS;
        if (!again || clock.nowMs() + RETRY_MS >= deadlineMs) throw error;
      }
      await pause(clock, RETRY_MS);
    }
  };

  /** Where the chip was before; anew where it is not there any more. */
  const readWhereItIs = async (sensor: SensorRef): Promise<number> => {
    const known = found.get(sensorKey(sensor));
    if (known !== undefined) {
      try {
        return await read(sensor, known);
      } catch (error) {
        if (!GONE.includes(errnoCode(error) ?? '')) throw error;
      }
    }
    return read(sensor, find(sensor));
  };

  return {
    async locate(sensor) {
      find(sensor);
    },

    async readVolts(sensor) {
      const deadlineMs = clock.nowMs() + READ_LIMIT_MS;
      for (let before = reading; before !== null; before = reading) {
        if (await endsWithin(clock, Math.max(0, deadlineMs - clock.nowMs()), before.ended)) continue;
        throw readTimeout(sensor, READ_LIMIT_MS, `the kernel still reads ${sensorLabel(before.sensor)}`);
      }
      const running = readWhereItIs(sensor);
      const end = () => {
        reading = null;
      };
      const ended = running.then(end, end);
      reading = { sensor, ended };
      if (!(await endsWithin(clock, READ_LIMIT_MS, ended))) {
        throw readTimeout(sensor, READ_LIMIT_MS, 'its driver, or the bus that its chip is on, hangs');
      }
      try {
        return await running;
      } catch (error) {
        throw error instanceof HardwareError ? error : readFailed(error, sensor);
      }
    },
  };
}

/** How the two classes show a voltage. */
const READ: Readonly<
  Record<SensorRef['by'], (sensor: SensorRef, place: FoundInput, files: SensorFiles) => Promise<number>>
> = {
  /** `in3_input`, in millivolts (Documentation/hwmon/sysfs-interface.rst, Voltages). */
  async hwmon(sensor, { prefix }, files) {
    return (await numberIn(sensor, `${prefix}_input`, files)) / 1000;
  },

  /**
   * (`in_voltage3_raw` + `in_voltage3_offset`) × `in_voltage3_scale` in millivolts, where offset and scale may be those of all
   * voltages of the chip, `in_voltage_scale`; or `in_voltage3_input`, which the driver has scaled already
   * (Documentation/ABI/testing/sysfs-bus-iio).
   */
  async iio(sensor, { prefix, shared }, files) {
    const either = async (item: string): Promise<number | null> =>
      (await numberIfThere(sensor, `${prefix}_${item}`, files)) ??
      (await numberIfThere(sensor, `${shared}_${item}`, files));
    const raw = await numberIfThere(sensor, `${prefix}_raw`, files);
    if (raw === null) return (await numberIn(sensor, `${prefix}_input`, files)) / 1000;
    const scale = await either('scale');
    if (scale === null) throw noScale(sensor);
    return ((raw + ((await either('offset')) ?? 0)) * scale) / 1000;
  },
};

/** Fixed point numbers, as sysfs has them; a scale of IIO has decimals. */
const NUMBER = /^[+-]?\d+(?:\.\d+)?$/;

async function numberIn(sensor: SensorRef, file: string, files: SensorFiles): Promise<number> {
  const text = (await files.readAttribute(file)).replace(/\n$/, '');
  if (!NUMBER.test(text)) throw noVoltage(sensor, file, text);
  return Number(text);
}

async function numberIfThere(sensor: SensorRef, file: string, files: SensorFiles): Promise<number | null> {
  try {
    return await numberIn(sensor, file, files);
  } catch (error) {
    if (errnoCode(error) === 'ENOENT') return null;
    throw error;
  }
}
