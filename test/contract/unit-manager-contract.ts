import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { UnitManager } from '../../src/system/ports.ts';
import { eventually, expectCode, finish, itUnless, type SettlingWorld, titleWith } from './support.ts';

export interface UnitWorld extends SettlingWorld {
  readonly units: {
    /** Starts, and is `active` then. Inactive when the test starts. */
    readonly succeeds: string;
    /** Its start fails. */
    readonly fails: string;
    /** Nobody has heard of it. */
    readonly unknown: string;
    /** Known and never started. */
    readonly idle: string;
  };
  /** Makes systemd not answer any more. */
  hang?(): Promise<void>;
  /** Takes the bus away. */
  killBus?(): Promise<void>;
}

export interface UnitSetup {
  readonly manager: UnitManager;
  readonly world: UnitWorld;
  teardown?(): Promise<void>;
}

/** Parts that a world cannot offer, each with the reason, which the suite's title shows. */
export type UnitLacks = Partial<Record<'hang' | 'killBus' | 'watch', string>>;

/** The contract of `UnitManager` in hw/ports.ts. `setup` runs before every test. */
export function describeUnitManager(
  name: string,
  setup: () => Promise<UnitSetup>,
  lacks: UnitLacks = {},
): void {
  describe(titleWith(`UnitManager: ${name}`, lacks), () => {
    let given: UnitSetup;
    let manager: UnitManager;
    let world: UnitWorld;

    beforeEach(async () => {
      given = await setup();
      manager = given.manager;
      world = given.world;
    });
    afterEach(async () => {
      await finish(world, manager.close());
      await given.teardown?.();
    });

    const stateOf = async (unit: string) => (await finish(world, manager.unitStates([unit])))[0]?.activeState;

    it.each(['replace', 'fail'] as const)('starts a unit with mode %s: done, and active', async (mode) => {
      expect(await stateOf(world.units.succeeds)).toBe('inactive');
      expect(await finish(world, manager.startUnit(world.units.succeeds, mode))).toBe('done');
      expect(await stateOf(world.units.succeeds)).toBe('active');
    });

    it('starts what is active already: done', async () => {
      await finish(world, manager.startUnit(world.units.succeeds, 'replace'));
      expect(await finish(world, manager.startUnit(world.units.succeeds, 'replace'))).toBe('done');
    });

    it('tells a start that fails as its result, not as an error', async () => {
      expect(await finish(world, manager.startUnit(world.units.fails, 'replace'))).toBe('failed');
      expect(await stateOf(world.units.fails)).toBe('failed');
    });

    it('tells results apart when two units start at once', async () => {
      const both = Promise.all([
        manager.startUnit(world.units.fails, 'replace'),
        manager.startUnit(world.units.succeeds, 'replace'),
      ]);
      expect(await finish(world, both)).toEqual(['failed', 'done']);
    });

    it('rejects the start of an unknown unit with SYSTEMD_FAILED', async () => {
      await expectCode(world, manager.startUnit(world.units.unknown, 'replace'), 'SYSTEMD_FAILED');
    });

    it('gives states in the order asked for, inactive for what is not loaded', async () => {
      const { unknown, idle, succeeds } = world.units;
      await finish(world, manager.startUnit(succeeds, 'replace'));
      const states = await finish(world, manager.unitStates([unknown, succeeds, idle]));
      expect(states.map(({ unit, activeState }) => [unit, activeState])).toEqual([
        [unknown, 'inactive'],
        [succeeds, 'active'],
        [idle, 'inactive'],
      ]);
      expect(states.every(({ subState }) => subState !== '')).toBe(true);
      expect(states.map(({ isKnown }) => isKnown)).toEqual(
        states.map(({ unit }) => unit !== world.units.unknown),
      );
    });

    it('gives no states for no units', async () => {
      expect(await finish(world, manager.unitStates([]))).toEqual([]);
    });

    itUnless(lacks.watch, 'tells the states of units, and again when one changes', async () => {
      const { unknown, succeeds, fails } = world.units;
      const told: string[] = [];
      const end = manager.watchUnits([unknown, succeeds, fails], (states) => {
        told.push(states.map(({ activeState }) => activeState).join(' '));
      });
      await eventually(world, 'the first states', () => told.length > 0);
      expect(told).toEqual(['inactive inactive inactive']);
      await finish(world, manager.startUnit(succeeds, 'replace'));
      await eventually(world, 'active', () => told.at(-1) === 'inactive active inactive');
      await finish(world, manager.startUnit(fails, 'replace'));
      await eventually(world, 'failed', () => told.at(-1) === 'inactive active failed');
      end();
      end();
      expect(new Set(told).size).toBe(told.length);
    });

    it('reloads', async () => {
      await finish(world, manager.reload());
    });

    itUnless(lacks.hang, 'rejects DBUS_TIMEOUT when systemd does not answer', async () => {
      await finish(world, manager.unitStates([world.units.idle]));
      await world.hang?.();
      // The deadline of a job is minutes.
      const start = manager.startUnit(world.units.succeeds, 'replace');
      await expect(finish(world, start, 600_000)).rejects.toMatchObject({ code: 'DBUS_TIMEOUT' });
      await expectCode(world, manager.unitStates([world.units.idle]), 'DBUS_TIMEOUT');
    });

    itUnless(lacks.killBus, 'rejects DBUS_UNAVAILABLE when the bus goes away', async () => {
      await finish(world, manager.unitStates([world.units.idle]));
      await world.killBus?.();
      await expectCode(world, manager.unitStates([world.units.idle]), 'DBUS_UNAVAILABLE');
    });

    it('rejects DBUS_UNAVAILABLE after close, which may be called twice', async () => {
      await finish(world, manager.close());
      await finish(world, manager.close());
      await expectCode(world, manager.unitStates([world.units.idle]), 'DBUS_UNAVAILABLE');
    });
  });
}
