import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { SensorBackend, SensorRef } from '../../hw/ports.ts';
import { expectError, finish, type SettlingWorld } from './support.ts';

export interface SensorWorld extends SettlingWorld {
  /** Inputs of either class, on chips of their own, with the volts at their pins. */
  readonly inputs: readonly { readonly sensor: SensorRef; readonly volts: number }[];
  /** Another input of the chip of the first. */
  readonly beside: SensorRef;
  /** The voltage of the first input is another from now on. */
  change(volts: number): Promise<void>;
  /** Every reading of the first input fails that starts from now on. */
  fail(): Promise<void>;
  /** The same, and it does not end. */
  hang(): Promise<void>;
  /** The driver of the chip of the first input is taken away. */
  take(): Promise<void>;
  /** All is as it was. */
  restore(): Promise<void>;
}

export interface SensorSetup {
  readonly backend: SensorBackend;
  readonly world: SensorWorld;
  teardown?(): Promise<void>;
}

/** The contract of `SensorBackend` in hw/ports.ts. `setup` runs before every test. */
export function describeSensorBackend(name: string, setup: () => Promise<SensorSetup>): void {
  describe(`SensorBackend: ${name}`, () => {
    let given: SensorSetup;
    let world: SensorWorld;

    beforeEach(async () => {
      given = await setup();
      world = given.world;
    });
    afterEach(async () => given.teardown?.());

    const first = (): SensorRef => {
      const [input] = world.inputs;
      if (input === undefined) throw new RangeError('a world without inputs');
      return input.sensor;
    };
    const read = (sensor: SensorRef) => given.backend.readVolts(sensor);
    const locate = (sensor: SensorRef) => given.backend.locate(sensor);

    it('finds inputs of both classes, and reads their volts', async () => {
      expect(new Set(world.inputs.map(({ sensor }) => sensor.by))).toEqual(new Set(['hwmon', 'iio']));
      for (const { sensor, volts } of world.inputs) {
        await finish(world, locate(sensor));
        expect(await finish(world, read(sensor))).toBeCloseTo(volts, 9);
      }
    });

    it('reads what the voltage is now, whether or not the input was looked for', async () => {
      expect(await finish(world, read(first()))).not.toBeCloseTo(0.5, 9);
      await world.change(0.5);
      expect(await finish(world, read(first()))).toBeCloseTo(0.5, 9);
    });

    it('answers everybody who asks at once', async () => {
      const all = world.inputs.flatMap((each) => [each, each]);
      const read = all.map(({ sensor }) => given.backend.readVolts(sensor));
      const volts = await finish(world, Promise.all(read));
      for (const [index, each] of all.entries()) expect(volts[index]).toBeCloseTo(each.volts, 9);
    });

    it.each(['hwmon', 'iio'] as const)('tells of a chip of %s that is not there, and what is', async (by) => {
      const { input, chip } = world.inputs.find(({ sensor }) => sensor.by === by)?.sensor ?? first();
      const missing: SensorRef = { by, chip: 'no_such_chip', input };
      const what = by === 'hwmon' ? 'hwmon chip' : 'IIO device';
      const words = new RegExp(`^no ${what} has the name "no_such_chip": there is `);
      for (const asked of [locate, read]) await expectError(world, asked(missing), 'SENSOR_NO_CHIP', words);
      const { details } = await finish(
        world,
        locate(missing).catch((error) => error),
      );
      expect(details.chips).toEqual(
        typeof chip === 'string' ? expect.arrayContaining([chip]) : details.chips,
      );
      const elsewhere: SensorRef = { by, chip: { bus: 77, address: 0x11 }, input };
      const place = new RegExp(`^no ${what} is 0x11 on I2C bus 77: there is `);
      await expectError(world, locate(elsewhere), 'SENSOR_NO_CHIP', place);
    });

    it('tells of an input that the chip does not have, and which it has', async () => {
      const missing: SensorRef = { ...first(), input: 'in99' };
      const words = /^\S.* has no input "in99": it has .*in/;
      for (const asked of [locate, read]) await expectError(world, asked(missing), 'SENSOR_NO_INPUT', words);
      const { details } = await finish(
        world,
        locate(missing).catch((error) => error),
      );
      expect(details.inputs).toEqual(expect.arrayContaining([first().input, world.beside.input]));
    });

    it('rejects SENSOR_FAILED while the driver gives an error, and reads again afterwards', async () => {
      await finish(world, locate(first()));
      await world.fail();
      await expectError(world, read(first()), 'SENSOR_FAILED', /^\S+ of \S.* cannot be read \(EIO\)$/);
      // It is there all the same.
      await finish(world, locate(first()));
      expect(await finish(world, read(world.beside))).toBeGreaterThan(0);
      await world.restore();
      expect(await finish(world, read(first()))).toBeGreaterThan(0);
    });

    it('rejects SENSOR_TIMEOUT where nothing answers, and reads again afterwards', async () => {
      await world.hang();
      const words =
        /^\S+ of \S.* did not answer within 1000 ms: its driver, or the bus that its chip is on, hangs$/;
      await expectError(world, read(first()), 'SENSOR_TIMEOUT', words);
      await world.restore();
      expect(await finish(world, read(first()))).toBeGreaterThan(0);
    });

    it('rejects SENSOR_NO_CHIP once the driver is gone, and finds the chip that is back', async () => {
      expect(await finish(world, read(first()))).toBeGreaterThan(0);
      await world.take();
      for (const sensor of [first(), world.beside]) {
        await expectError(world, read(sensor), 'SENSOR_NO_CHIP', /^no hwmon chip /);
      }
      await world.restore();
      expect(await finish(world, read(first()))).toBeGreaterThan(0);
    });
  });
}
