import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { PropertyBackend, PropertyRef } from '../../hw/ports.ts';
import { eventually, expectError, finish, type SettlingWorld } from './support.ts';

export interface PropertyWorld extends SettlingWorld {
  /** A property that is true. */
  readonly property: PropertyRef;
  /** It has the value from now on. */
  change(value: boolean): Promise<void>;
  /** The property has another value from now on, and its service tells so. */
  tell(value: boolean): Promise<void>;
  /** Its service answers nothing from now on. */
  hang(): Promise<void>;
  /** All is as it was. */
  restore(): Promise<void>;
}

export interface PropertySetup {
  readonly backend: PropertyBackend;
  readonly world: PropertyWorld;
  teardown?(): Promise<void>;
}

const LIMIT_MS = 1_500;

/** The contract of `PropertyBackend` in hw/ports.ts. `setup` runs before every test. */
export function describePropertyBackend(name: string, setup: () => Promise<PropertySetup>): void {
  describe(`PropertyBackend: ${name}`, () => {
    let given: PropertySetup;
    let world: PropertyWorld;

    beforeEach(async () => {
      given = await setup();
      world = given.world;
    });
    afterEach(async () => given.teardown?.());

    const read = (other: Partial<PropertyRef> = {}) =>
      given.backend.readBoolean({ ...world.property, ...other }, LIMIT_MS);

    it('reads what the property is now', async () => {
      expect(await finish(world, read())).toBe(true);
      await world.change(false);
      expect(await finish(world, read())).toBe(false);
      await world.restore();
      expect(await finish(world, read())).toBe(true);
    });

    it('answers everybody who asks at once', async () => {
      expect(await finish(world, Promise.all([read(), read(), read()]))).toEqual([true, true, true]);
    });

    it('wakes who watches once the watch stands and when the property changed, and nobody afterwards', async () => {
      let wakes = 0;
      const end = given.backend.watch(world.property, () => {
        wakes += 1;
      });
      await eventually(world, 'the watch stands', () => wakes > 0);
      const stood = wakes;
      await world.tell(false);
      await eventually(world, 'it is told', () => wakes > stood);
      expect(await finish(world, read())).toBe(false);
      end();
      end();
      await world.settle(50);
      const told = wakes;
      await world.tell(true);
      await world.settle(100);
      expect(wakes).toBe(told);
    });

    it('rejects DBUS_UNAVAILABLE where nobody owns the name', async () => {
      const words = /^Get of org\.example\.Nobody failed.*ServiceUnknown/;
      await expectError(world, read({ service: 'org.example.Nobody' }), 'DBUS_UNAVAILABLE', words);
      expect(await finish(world, read())).toBe(true);
    });

    it('rejects SYSTEMD_FAILED where the service has no such object', async () => {
      await expectError(world, read({ path: '/org/example/nothing' }), 'SYSTEMD_FAILED', /UnknownObject/);
    });

    it('rejects DBUS_TIMEOUT where nothing answers, to all who ask at once in the time of one, and reads again', async () => {
      await world.hang();
      const asked = await finish(world, Promise.allSettled([read(), read()]), 4_000);
      const error = expect.objectContaining({
        code: 'DBUS_TIMEOUT',
        message: `Get of ${world.property.service} did not answer within ${LIMIT_MS} ms`,
      });
      expect(asked).toEqual([
        { status: 'rejected', reason: error },
        { status: 'rejected', reason: error },
      ]);
      await world.restore();
      expect(await finish(world, read())).toBe(true);
    });
  });
}
