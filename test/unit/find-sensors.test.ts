import { describe, expect, it } from 'vitest';
import { HardwareError } from '../../hw/errors.ts';
import type { SensorBackend } from '../../hw/ports.ts';
import type { Board } from '../../src/board/schema.ts';
import { findSensors, hasSensors } from '../../src/run/find-sensors.ts';
import { shippedBoard } from './bench.ts';

const reference = shippedBoard('reference');
const [described] = Object.values(reference.chassis);
if (described === undefined) throw new RangeError('no chassis');
const input = (name: string) => ({ hwmon: { chip: 'iio_hwmon', input: name } });
const seen = {
  ...described,
  rails: {
    ...described.rails,
    P12V: { ...described.rails.P12V, good: { ...input('in1'), minVolts: 11 } },
    P1V8: { ...described.rails.P1V8, good: { ...input('in2'), minVolts: 1.7 } },
  },
};
const board = { ...reference, chassis: { 0: described, 1: seen } } as unknown as Board;

const shown = (locate: SensorBackend['locate']) => async () => ({ locate }) as SensorBackend;
const missing = new HardwareError('SENSOR_NO_INPUT', 'no in2', { inputs: ['in1'] });

describe('the voltages that a kernel driver is to read', () => {
  it('are looked for, each where the board file has it', async () => {
    const sensors = shown(async ({ input: name }) => {
      if (name === 'in2') throw missing;
      return undefined as never;
    });
    expect(await findSensors(board, sensors)).toEqual([
      {
        ...{ role: 'good signal of rail P1V8', at: ['chassis', '1', 'rails', 'P1V8', 'good', 'hwmon'] },
        ...{ ref: { by: 'hwmon', chip: 'iio_hwmon', input: 'in2' }, error: missing },
      },
    ]);
  });

  it.each([
    ['fails', new HardwareError('SENSOR_FAILED', 'EIO', {})],
    ['has a mistake', new TypeError('no function')],
  ])('are not told of as missing where what looks for them %s', async (_, error) => {
    const sensors = shown(async () => {
      throw error;
    });
    await expect(findSensors(board, sensors)).rejects.toBe(error);
  });

  it('are none of a board without them, and nothing is asked for', async () => {
    const never = async (): Promise<SensorBackend> => {
      throw new Error('asked');
    };
    expect(await findSensors(reference, never)).toEqual([]);
    expect(hasSensors(reference)).toBe(false);
    expect(hasSensors(board)).toBe(true);
  });
});
