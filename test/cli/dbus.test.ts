import { mkdtempSync, rmSync } from 'node:fs';
import { createServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { connectDbus, type DbusConnection } from '../../src/system/dbus/connection.ts';
import type { UnitManager } from '../../src/system/ports.ts';
import { createUnitManager } from '../../src/system/units.ts';
import { describeUnitManager } from '../contract/unit-manager-contract.ts';
import {
  createPrivateBus,
  type FakeSystemd,
  MAX_MATCH_RULES,
  type PrivateBus,
  startFakeSystemd,
  withoutBus,
} from '../unit/dbus-systemd.ts';
import { createIoWorld } from '../unit/io-world.ts';
import { createManualClock, type ManualClock } from '../unit/manual-clock.ts';

const UNITS = new Map([
  ['power-on.target', 'done'],
  ['broken.service', 'failed'],
  ['idle.service', 'idle'],
] as const);

let bus: PrivateBus;
let systemd: FakeSystemd;
let clock: ManualClock;
/** Time that passes with every step: none, so that no deadline comes before a real answer. */
let passingMs: number;
let manager: UnitManager;
const connections: DbusConnection[] = [];

const world = createIoWorld(() => clock.advance(passingMs));
const { settled, outcome, eventually } = world;
const connect = async (address = bus.address): Promise<DbusConnection> => {
  const connection = await settled(connectDbus({ clock, address }));
  connections.push(connection);
  return connection;
};
const MANAGER = {
  destination: 'org.freedesktop.systemd1',
  path: '/org/freedesktop/systemd1',
  interface: 'org.freedesktop.systemd1.Manager',
} as const;
const JOB_REMOVED = {
  ...MANAGER,
  sender: MANAGER.destination,
  member: 'JobRemoved',
  signature: 'uoss',
} as const;

it.runIf(process.env.CI === 'true')('has dbus-daemon in CI', () => {
  expect(withoutBus).toBeUndefined();
});

describe.skipIf(withoutBus)(`on a real bus${withoutBus ? ` [skipped: ${withoutBus}]` : ''}`, () => {
  // One that a test killed is there again for the next.
  beforeAll(() => {
    bus = createPrivateBus();
  });
  afterAll(() => bus.remove());
  beforeEach(async () => {
    passingMs = 0;
    clock = createManualClock();
    await bus.start();
    systemd = await startFakeSystemd(bus.address, UNITS);
    manager = createUnitManager({ clock, address: bus.address });
  });
  afterEach(async () => {
    passingMs = 1_000;
    await settled(manager.close());
    for (const connection of connections.splice(0)) await settled(connection.close());
    systemd.disconnect();
  });

  describe('a start', () => {
    it('knows the result that came before the reply', async () => {
      systemd.options.signalFirst = true;
      expect(await settled(manager.startUnit('broken.service', 'replace'))).toBe('failed');
    });

    it('waits for the result that comes after the reply', async () => {
      systemd.options.signalFirst = false;
      expect(await settled(manager.startUnit('broken.service', 'replace'))).toBe('failed');
    });

    it('has subscribed before, once per connection', async () => {
      await settled(manager.startUnit('power-on.target', 'replace'));
      await settled(manager.startUnit('power-on.target', 'replace'));
      expect(systemd.calls).toEqual(['Subscribe', 'StartUnit', 'StartUnit']);
    });

    it('listens before it subscribes', async () => {
      systemd.options.alwaysSignals = true;
      systemd.options.hanging.add('Subscribe');
      const start = manager.startUnit('power-on.target', 'replace');
      await eventually('Subscribe', () => systemd.calls.length > 0);
      const other = await connect();
      await settled(
        other.call({ ...MANAGER, member: 'StartUnit', signature: 'ss', body: ['broken.service', 'fail'] }),
      );
      systemd.answerLate();
      expect(await settled(start)).toBe('done');
    });

    it('rejects an unknown unit with the D-Bus error name', async () => {
      expect(await outcome(manager.startUnit('unknown.service', 'replace'))).toMatchObject({
        code: 'SYSTEMD_FAILED',
        message: expect.stringContaining('unknown.service'),
        details: { dbusError: 'org.freedesktop.systemd1.NoSuchUnit', member: 'StartUnit' },
      });
    });

    it('rejects DBUS_TIMEOUT when its job does not end', async () => {
      systemd.options.jobsHang = true;
      const start = manager.startUnit('power-on.target', 'replace');
      await eventually('StartUnit', () => systemd.calls.includes('StartUnit'));
      // The answer to a later call comes behind that which says that there is a job.
      await settled(manager.unitStates(['idle.service']));
      passingMs = 60_000;
      expect(await outcome(start)).toMatchObject({
        code: 'DBUS_TIMEOUT',
        message: expect.stringContaining('power-on.target'),
      });
      expect(clock.pendingCount).toBe(0);
    });

    it('rejects DBUS_UNAVAILABLE when the bus dies while its job runs', async () => {
      systemd.options.jobsHang = true;
      const start = manager.startUnit('power-on.target', 'replace');
      start.catch(() => undefined);
      await eventually('StartUnit', () => systemd.calls.includes('StartUnit'));
      await world.settle();
      await bus.kill();
      expect(await outcome(start)).toMatchObject({ code: 'DBUS_UNAVAILABLE' });
      expect(clock.pendingCount).toBe(0);
    });
  });

  describe('a call', () => {
    it('ends at its deadline, and a late answer harms nobody', async () => {
      const connection = await connect();
      systemd.options.hanging.add('Reload');
      const reload = connection.call({ ...MANAGER, member: 'Reload', timeoutMs: 500 });
      reload.catch(() => undefined);
      await eventually('Reload', () => systemd.calls.includes('Reload'));
      passingMs = 100;
      expect(await outcome(reload)).toMatchObject({
        code: 'DBUS_TIMEOUT',
        message: expect.stringContaining('Reload'),
      });
      passingMs = 0;
      systemd.options.hanging.clear();
      systemd.answerLate();
      await world.settle();
      expect(await settled(connection.call({ ...MANAGER, member: 'Reload' }))).toEqual([]);
    });

    it('rejects when the bus dies while it waits', async () => {
      const connection = await connect();
      systemd.options.hanging.add('*');
      const calls = [1, 2, 3].map(() => connection.call({ ...MANAGER, member: 'Reload' }));
      for (const call of calls) call.catch(() => undefined);
      await eventually('all calls', () => systemd.calls.length === 3);
      await bus.kill();
      for (const call of calls) {
        expect(await outcome(call)).toMatchObject({
          code: 'DBUS_UNAVAILABLE',
          message: expect.stringContaining(bus.address),
        });
      }
      expect(connection.isOpen).toBe(false);
      expect(await outcome(connection.call({ ...MANAGER, member: 'Reload' }))).toMatchObject({
        code: 'DBUS_UNAVAILABLE',
      });
      expect(clock.pendingCount).toBe(0);
    });

    it('rejects when its own side closes', async () => {
      const connection = await connect();
      systemd.options.hanging.add('*');
      const call = connection.call({ ...MANAGER, member: 'Reload' });
      call.catch(() => undefined);
      await eventually('the call', () => systemd.calls.length === 1);
      await settled(connection.close());
      expect(await outcome(call)).toMatchObject({ code: 'DBUS_UNAVAILABLE' });
    });

    it('rejects DBUS_UNAVAILABLE when nobody has the name, or its owner goes', async () => {
      const connection = await connect();
      systemd.options.hanging.add('*');
      const waiting = connection.call({ ...MANAGER, member: 'Reload' });
      waiting.catch(() => undefined);
      await eventually('the call', () => systemd.calls.length === 1);
      systemd.disconnect();
      expect(await outcome(waiting)).toMatchObject({
        code: 'DBUS_UNAVAILABLE',
        details: { dbusError: 'org.freedesktop.DBus.Error.NoReply' },
      });
      expect(await outcome(connection.call({ ...MANAGER, member: 'Reload' }))).toMatchObject({
        code: 'DBUS_UNAVAILABLE',
        message: expect.stringContaining('org.freedesktop.systemd1 runs on this bus'),
      });
    });
  });

  it('connects again after the bus came back', async () => {
    await settled(manager.reload());
    await bus.kill();
    expect(await outcome(manager.reload())).toMatchObject({ code: 'DBUS_UNAVAILABLE' });
    await bus.start();
    systemd = await startFakeSystemd(bus.address, UNITS);
    await settled(manager.reload());
    expect(await settled(manager.startUnit('power-on.target', 'replace'))).toBe('done');
  });

  it('tells everyone who asked that the bus went away, once', async () => {
    const connection = await connect();
    const told: string[] = [];
    connection.onLost((error) => told.push(`one ${error.code}`));
    connection.onLost((error) => told.push(`other ${error.code}`));
    connection.onLost(() => told.push('ended'))();
    await bus.kill();
    await eventually('both', () => told.length === 2);
    connection.onLost((error) => told.push(`late ${error.code}`));
    await world.settle();
    expect(told).toEqual(['one DBUS_UNAVAILABLE', 'other DBUS_UNAVAILABLE', 'late DBUS_UNAVAILABLE']);
  });

  describe('a watch', () => {
    const watched = ['power-on.target', 'idle.service'];
    const watchAll = (told: string[]) =>
      manager.watchUnits(watched, (states) => {
        told.push(states.map(({ activeState }) => activeState).join(' '));
      });

    it('tells a change that no job made', async () => {
      const told: string[] = [];
      watchAll(told);
      await eventually('the first states', () => told.length === 1);
      systemd.change('idle.service', 'deactivating');
      await eventually('the change', () => told.at(-1) === 'inactive deactivating');
    });

    it('tells changes that follow each other closely as one, and the last one surely', async () => {
      const told: string[] = [];
      watchAll(told);
      await eventually('the first states', () => told.length === 1);
      systemd.options.hanging.add('ListUnitsByNames');
      systemd.change('idle.service', 'activating');
      await eventually('the question', () => systemd.calls.at(-1) === 'ListUnitsByNames');
      const asked = systemd.calls.length;
      for (const state of ['active', 'deactivating', 'failed']) systemd.change('idle.service', state);
      await world.settle();
      systemd.options.hanging.clear();
      systemd.answerLate();
      await eventually('the last state', () => told.at(-1) === 'inactive failed');
      await world.settle();
      // Fewer questions than changes; how many of these reached us while the first was open is the bus's affair.
      expect(systemd.calls.length - asked).toBeLessThan(3);
    });

    it('does not tell what is no change', async () => {
      const told: string[] = [];
      watchAll(told);
      await eventually('the first states', () => told.length === 1);
      const asked = systemd.calls.length;
      systemd.change('idle.service', 'inactive');
      await eventually('the question', () => systemd.calls.length > asked);
      await world.settle();
      expect(told).toEqual(['inactive inactive']);
    });

    it('goes on over a bus that went away, and tells what changed meanwhile', async () => {
      const told: string[] = [];
      watchAll(told);
      await eventually('the first states', () => told.length === 1);
      await bus.kill();
      passingMs = 100;
      await world.settle();
      await bus.start();
      systemd = await startFakeSystemd(bus.address, UNITS);
      systemd.change('power-on.target', 'active');
      await eventually('the new state', () => told.at(-1) === 'active inactive', 20_000);
      systemd.change('idle.service', 'failed');
      await eventually('the next one', () => told.at(-1) === 'active failed', 20_000);
      expect(told).toEqual(['inactive inactive', 'active inactive', 'active failed']);
    });

    it('waits for a bus that is not there yet', async () => {
      await bus.kill();
      const told: string[] = [];
      watchAll(told);
      passingMs = 100;
      await world.settle();
      await bus.start();
      systemd = await startFakeSystemd(bus.address, UNITS);
      await eventually('the first states', () => told.length === 1, 20_000);
    });

    it('tells nothing once it has ended, and leaves neither rule nor timer behind', async () => {
      const told: string[] = [];
      for (let time = 0; time < MAX_MATCH_RULES; time += 1) {
        const before = told.length;
        const end = watchAll(told);
        await eventually('the first states', () => told.length > before);
        end();
        await world.settle();
      }
      systemd.change('idle.service', 'failed');
      await world.settle();
      expect(told).toEqual(told.map(() => 'inactive inactive'));
      expect(clock.pendingCount).toBe(0);
    });

    it('ends with the manager, also while it waits for a bus', async () => {
      const told: string[] = [];
      await bus.kill();
      watchAll(told);
      passingMs = 100;
      await world.settle();
      await settled(manager.close());
      await world.settle();
      passingMs = 0;
      expect(clock.pendingCount).toBe(0);
      expect(told).toEqual([]);
    });
  });

  describe('signals', () => {
    it('still come after the service was restarted', async () => {
      const connection = await connect();
      const units: unknown[] = [];
      await settled(connection.onSignal(JOB_REMOVED, ([, , unit]) => units.push(unit)));
      systemd.options.alwaysSignals = true;
      const start = { ...MANAGER, member: 'StartUnit', signature: 'ss' } as const;
      await settled(connection.call({ ...start, body: ['broken.service', 'fail'] }));
      systemd.disconnect();
      systemd = await startFakeSystemd(bus.address, UNITS);
      systemd.options.alwaysSignals = true;
      await settled(connection.call({ ...start, body: ['power-on.target', 'fail'] }));
      await eventually('both signals', () => units.length === 2);
      expect(units).toEqual(['broken.service', 'power-on.target']);
    });

    it('leave no rule behind at the bus', async () => {
      const connection = await connect();
      for (let time = 0; time < 2 * MAX_MATCH_RULES; time += 1) {
        const end = await settled(connection.onSignal(JOB_REMOVED, () => undefined));
        await settled(end());
      }
    });

    it('reject a rule that the bus refuses', async () => {
      const connection = await connect();
      const rules = Array.from({ length: MAX_MATCH_RULES + 1 }, () =>
        connection.onSignal(JOB_REMOVED, () => undefined),
      );
      expect(await outcome(Promise.all(rules))).toMatchObject({
        details: { dbusError: 'org.freedesktop.DBus.Error.LimitsExceeded' },
      });
    });
  });

  describeUnitManager('dbus-next on a real bus', async () => ({
    manager,
    world: {
      ...world,
      units: {
        succeeds: 'power-on.target',
        fails: 'broken.service',
        unknown: 'unknown.service',
        idle: 'idle.service',
      },
      async hang() {
        systemd.options.hanging.add('*');
        passingMs = 1_000;
      },
      killBus: () => bus.kill(),
    },
  }));
});

describe('without a bus', () => {
  let folder: string;
  let server: Server | undefined;
  beforeEach(() => {
    passingMs = 0;
    clock = createManualClock();
    folder = mkdtempSync(join(tmpdir(), 'no-dbus-'));
  });
  afterEach(() => {
    server?.close();
    server = undefined;
    rmSync(folder, { recursive: true });
  });

  it.each([
    ['a socket that is not there', 'unix:path=/nonexistent/bus'],
    ['an abstract socket, which needs the package usocket', 'unix:abstract=/nonexistent'],
    ['an address that is none', 'nonsense'],
    ['a kind of address that is unknown', 'launchd:env=X'],
  ])('%s is told, with what to check', async (_title, address) => {
    expect(await outcome(connectDbus({ clock, address }))).toMatchObject({
      code: 'DBUS_UNAVAILABLE',
      message: expect.stringMatching(/dbus\.service.*DBUS_SYSTEM_BUS_ADDRESS/),
      details: { address },
    });
    expect(clock.pendingCount).toBe(0);
  });

  it('uses DBUS_SYSTEM_BUS_ADDRESS, or the system bus', async () => {
    const saved = process.env.DBUS_SYSTEM_BUS_ADDRESS;
    try {
      process.env.DBUS_SYSTEM_BUS_ADDRESS = 'unix:path=/nonexistent/from-environment';
      expect(await outcome(connectDbus({ clock }))).toMatchObject({
        details: { address: 'unix:path=/nonexistent/from-environment' },
      });
    } finally {
      if (saved === undefined) delete process.env.DBUS_SYSTEM_BUS_ADDRESS;
      else process.env.DBUS_SYSTEM_BUS_ADDRESS = saved;
    }
  });

  it('the error of the socket is told', async () => {
    expect(await outcome(connectDbus({ clock, address: `unix:path=${folder}/bus` }))).toMatchObject({
      message: expect.stringContaining('ENOENT'),
    });
  });

  it('a bus that refuses this user is asked once, and told', async () => {
    const path = join(folder, 'bus');
    let asked = 0;
    const listening = createServer((socket) => {
      socket.on('error', () => undefined);
      socket.on('data', (data) => {
        if (!data.includes('AUTH')) return;
        asked += 1;
        socket.write('REJECTED EXTERNAL\r\n');
      });
    });
    server = listening;
    await new Promise<void>((resolve) => listening.listen(path, resolve));
    expect(await outcome(connectDbus({ clock, address: `unix:path=${path}` }))).toMatchObject({
      code: 'DBUS_UNAVAILABLE',
      message: expect.stringContaining('authentication'),
    });
    expect(asked).toBe(1);
  });

  it('a bus that takes the connection and says nothing ends at the deadline', async () => {
    const path = join(folder, 'bus');
    const listening = createServer((socket) => socket.on('error', () => undefined));
    server = listening;
    await new Promise<void>((resolve) => listening.listen(path, resolve));
    passingMs = 1_000;
    expect(await outcome(connectDbus({ clock, address: `unix:path=${path}` }))).toMatchObject({
      code: 'DBUS_TIMEOUT',
    });
  });

  it('a connection that is closed during the greeting is told', async () => {
    const path = join(folder, 'bus');
    const listening = createServer((socket) => socket.end());
    server = listening;
    await new Promise<void>((resolve) => listening.listen(path, resolve));
    expect(await outcome(connectDbus({ clock, address: `unix:path=${path}` }))).toMatchObject({
      code: 'DBUS_UNAVAILABLE',
    });
  });
});
