import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { PropertyBackend, PropertyRef } from '../../hw/ports.ts';
import { expectError, finish, type SettlingWorld } from './support.ts';

export interface PropertyWorld extends SettlingWorld {
  /** A property that is true. */
  readonly property: PropertyRef;
  /** It has the value from now on. */
  change(value: boolean): Promise<void>;
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
      given.backend.readBoolean({ ...world.property, ...other });

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
        message: `Get of ${world.property.service} did not answer within 2000 ms`,
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
