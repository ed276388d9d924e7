import type { SensorBackend, SensorRef } from '../../hw/ports.ts';
import { chipKey, chipLabel, sensorKey } from '../../hw/sensor-labels.ts';
import { noChip, noInput, readFailed, readTimeout } from '../../hw/sensors/errors.ts';
import type { Plant } from '../plant/plant.ts';
import type { PlantSensor } from '../plant/sensors.ts';
import { reportMisuse } from './misuse.ts';
import { systemError } from './system-error.ts';

/** After so long a driver gives up a reading that does not end. */
export const READING_DEADLINE_MS = 1_000;

/**
 * Voltages of a plant. Stricter than hardware: a reference that no board file can have rejects and is kept in `plant.misuses`. Every
 * call gives up the turn at least once. What hardware does too rejects in the words of the driver.
 */
export function createMockSensors(plant: Plant): SensorBackend {
  const find = async (sensor: SensorRef): Promise<PlantSensor> => {
    await Promise.resolve();
    if (!isRef(sensor)) throw reportMisuse(plant, `${JSON.stringify(sensor)} is no sensor`);
    const found = plant.sensors.get(sensorKey(sensor));
    const there = [...plant.sensors.values()].filter((each) => each.answer() !== 'gone');
    if (found !== undefined && there.includes(found)) return found;
    const ofClass = there.filter(({ ref: { by } }) => by === sensor.by).map(({ ref }) => ref);
    const ofChip = ofClass.filter((ref) => chipKey(ref) === chipKey(sensor));
    if (ofChip.length > 0) {
      throw noInput(
        sensor,
        ofChip.map(({ input }) => input),
      );
    }
    const chips = [...new Set(ofClass.map(chipLabel))];
    const listing = chips.length === 0 ? 'there is none at all' : `there is ${chips.join(', ')}`;
    throw noChip(sensor, listing, chips);
  };

  return {
    async locate(sensor) {
      await find(sensor);
    },

    async readVolts(sensor) {
      const answer = (await find(sensor)).answer();
      if (typeof answer === 'object') return answer.volts;
      if (answer === 'hangs') {
        await new Promise<void>((resolve) => {
          plant.clock.after(READING_DEADLINE_MS, resolve);
        });
        throw readTimeout(sensor, READING_DEADLINE_MS, 'its driver, or the bus that its chip is on, hangs');
      }
      throw readFailed(systemError('EIO'), sensor);
    },
  };
}

function isRef({ by, chip, input }: SensorRef): boolean {
  const isChip =
    typeof chip === 'string' ? chip !== '' : Number.isInteger(chip.address) && chip.bus !== undefined;
  return (by === 'hwmon' || by === 'iio') && isChip && typeof input === 'string' && input !== '';
}
