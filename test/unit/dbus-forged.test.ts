/** Who may say what on the bus: signals and answers of others than those who should send them. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { connectDbus, type DbusConnection } from '../../src/system/dbus/connection.ts';
import type { UnitManager } from '../../src/system/ports.ts';
import { createUnitManager } from '../../src/system/units.ts';
import {
  array,
  dict,
  ERROR,
  encode,
  encodeBody,
  type Frame,
  int32,
  RETURN,
  SIGNAL,
  signatureOf,
  type Typed,
  text,
  variant,
} from './dbus-frames.ts';
import {
  BUS_NAME,
  connectHostile,
  GUEST,
  type HostileClient,
  type ScriptedBus,
  startScriptedBus,
} from './dbus-hostile.ts';
import {
  createPrivateBus,
  type FakeSystemd,
  MAX_MATCH_RULES,
  type PrivateBus,
  startFakeSystemd,
  withoutBus,
} from './dbus-systemd.ts';
import { createIoWorld } from './io-world.ts';
import { createManualClock, type ManualClock } from './manual-clock.ts';

const UNITS = new Map([
  ['power-on.target', 'done'],
  ['idle.service', 'idle'],
] as const);
const SYSTEMD = 'org.freedesktop.systemd1';
const MANAGER_PATH = '/org/freedesktop/systemd1';
const MANAGER = 'org.freedesktop.systemd1.Manager';
/** More connections than a test makes: whoever wants to hit one of them tries them all. */
const NAMES = Array.from({ length: 12 }, (_, number) => `:1.${number}`);

let clock: ManualClock;
let passingMs: number;
const world = createIoWorld(() => clock.advance(passingMs));
const { settled, outcome, eventually } = world;

const uint32 = (value: number): Typed => ({ ...int32(value), signature: 'u' });
const path = (value: string): Typed => ({ ...text(value), signature: 'o' });
const signal = (member: string, values: readonly Typed[], more: Partial<Frame>): Frame => ({
  type: SIGNAL,
  path: MANAGER_PATH,
  interface: MANAGER,
  member,
  signature: signatureOf(values),
  body: encodeBody(values, more.endian),
  ...more,
});
const jobRemoved = (unit: string, more: Partial<Frame> = {}, job = 1) =>
  signal('JobRemoved', [uint32(job), path(`${MANAGER_PATH}/job/${job}`), text(unit), text('done')], more);
const ownerChanged = (name: string, before: string, now: string, more: Partial<Frame> = {}) =>
  signal('NameOwnerChanged', [text(name), text(before), text(now)], {
    path: '/org/freedesktop/DBus',
    interface: BUS_NAME,
    ...more,
  });

describe.skipIf(withoutBus)(`on a real bus${withoutBus ? ` [skipped: ${withoutBus}]` : ''}`, () => {
  let bus: PrivateBus;
  let systemd: FakeSystemd;
  let manager: UnitManager;
  let client: HostileClient;
  beforeEach(async () => {
    passingMs = 0;
    clock = createManualClock();
    bus = createPrivateBus();
    await bus.start();
    systemd = await startFakeSystemd(bus.address, UNITS);
    manager = createUnitManager({ clock, address: bus.address });
    client = await connectHostile(bus.address);
  });
  afterEach(async () => {
    client.close();
    passingMs = 1_000;
    await settled(manager.close());
    systemd.disconnect();
    await bus.remove();
  });

  /** To each of the others, whoever that is. */
  const tellAll = async (frame: Frame) => {
    for (const destination of NAMES)
      if (destination !== client.name) await client.tell({ ...frame, destination });
    // Behind what was sent before.
    await client.ask({ type: 1, destination: BUS_NAME, path: '/', interface: BUS_NAME, member: 'GetId' });
  };
  const startOfHangingJob = async () => {
    systemd.options.jobsHang = true;
    const start = manager.startUnit('power-on.target', 'replace');
    start.catch(() => undefined);
    await eventually('StartUnit', () => systemd.calls.includes('StartUnit'));
    // The answer to a later call comes behind that which says that there is a job.
    await settled(manager.unitStates(['idle.service']));
    return { start };
  };

  it.each(['l', 'B'] as const)('JobRemoved counts only from systemd (%s)', async (endian) => {
    const { start } = await startOfHangingJob();
    for (let job = 0; job < 5; job += 1) await tellAll(jobRemoved('power-on.target', { endian }, job));
    await world.settle();
    // A job may take minutes.
    passingMs = 60_000;
    expect(await outcome(start)).toMatchObject({ code: 'DBUS_TIMEOUT' });
  });

  it('NameOwnerChanged counts only from the bus', async () => {
    const { start } = await startOfHangingJob();
    await tellAll(ownerChanged(SYSTEMD, '', client.name));
    await tellAll(jobRemoved('power-on.target'));
    await world.settle();
    // A job may take minutes.
    passingMs = 60_000;
    expect(await outcome(start)).toMatchObject({ code: 'DBUS_TIMEOUT' });
  });

  it('PropertiesChanged counts only from systemd', async () => {
    const told: string[] = [];
    manager.watchUnits(['idle.service'], (states) => told.push(...states.map((one) => one.activeState)));
    await eventually('the first states', () => told.length === 1);
    const asked = systemd.calls.length;
    const values = [
      text('org.freedesktop.systemd1.Unit'),
      dict('v', [['ActiveState', variant(text('failed'))]]),
      array('s', []),
    ];
    await tellAll(
      signal('PropertiesChanged', values, {
        path: `${MANAGER_PATH}/unit/idle_2eservice`,
        interface: 'org.freedesktop.DBus.Properties',
      }),
    );
    await world.settle();
    expect(systemd.calls.length).toBe(asked);
    systemd.change('idle.service', 'failed');
    await eventually('the change', () => told.at(-1) === 'failed');
  });

  it('a Subscribe that fails leaves no match at the bus, however often', async () => {
    systemd.options.failing.add('Subscribe');
    for (let time = 0; time < 3 * MAX_MATCH_RULES; time += 1) {
      expect(await outcome(manager.startUnit('power-on.target', 'replace'))).toMatchObject({
        details: { member: 'Subscribe' },
      });
    }
    systemd.options.failing.clear();
    expect(await settled(manager.startUnit('power-on.target', 'replace'))).toBe('done');
  });

  it('a watch that cannot subscribe leaves no match at the bus, however often', async () => {
    systemd.options.failing.add('Subscribe');
    const told: string[] = [];
    manager.watchUnits(['idle.service'], (states) => told.push(...states.map((one) => one.activeState)));
    passingMs = 1_000;
    const tries = () => systemd.calls.filter((member) => member === 'Subscribe').length;
    await eventually('many tries', () => tries() > 3 * MAX_MATCH_RULES, 100_000);
    systemd.options.failing.clear();
    await eventually('the states', () => told.length > 0, 100_000);
    expect(told).toEqual(['inactive']);
  });
});

describe('on a bus that lets everything through', () => {
  let folder: string;
  let bus: ScriptedBus;
  let dbus: DbusConnection | undefined;
  const OWNER = ':1.5';
  const STRANGER = ':1.66';

  let buses = 0;
  const begin = async (behaves: Parameters<typeof startScriptedBus>[1] = {}) => {
    buses += 1;
    bus = await startScriptedBus(join(folder, `bus${buses}`), { owners: { [SYSTEMD]: OWNER }, ...behaves });
  };
  const connect = async (): Promise<DbusConnection> => {
    dbus = await settled(connectDbus({ clock, address: bus.address }));
    return dbus;
  };
  beforeEach(() => {
    passingMs = 0;
    clock = createManualClock();
    folder = mkdtempSync(join(tmpdir(), 'dbus-forged-'));
  });
  afterEach(async () => {
    if (dbus !== undefined) await settled(dbus.close());
    dbus = undefined;
    bus.close();
    rmSync(folder, { recursive: true });
  });

  let serial = 0;
  const bytes = (frame: Frame) => {
    serial += 1;
    return encode({ serial, destination: GUEST, ...frame });
  };
  const reload = { destination: SYSTEMD, path: MANAGER_PATH, interface: MANAGER, member: 'Reload' } as const;
  const answerOf = (of: number, value: string, more: Partial<Frame>): Frame => ({
    type: RETURN,
    replySerial: of,
    signature: 's',
    body: encodeBody([text(value)]),
    ...more,
  });
  const asked = async () => {
    await eventually('the call', () => bus.heard.some(({ member }) => member === 'Reload'));
    return bus.heard.findLast(({ member }) => member === 'Reload')?.serial ?? 0;
  };

  it('an answer counts only from who was called', async () => {
    await begin({ silent: ['Reload'] });
    const connection = await connect();
    const call = settled(connection.call(reload));
    const of = await asked();
    const refusal = { type: ERROR, errorName: 'org.example.Error.Forged' };
    bus.send(
      Buffer.concat([
        bytes(answerOf(of, 'forged', { sender: STRANGER })),
        bytes(answerOf(of, 'forged', { sender: STRANGER, ...refusal })),
        // The bus answers with errors only, for who cannot.
        bytes(answerOf(of, 'forged', { sender: BUS_NAME })),
        bytes(answerOf(of, 'forged', {})),
        bytes(answerOf(of, 'right', { sender: OWNER })),
        bytes(answerOf(of, 'late', { sender: OWNER })),
      ]),
    );
    expect(await call).toEqual(['right']);
  });

  it('an error of the bus stands for who was called', async () => {
    await begin({ silent: ['Reload'] });
    const connection = await connect();
    const call = outcome(connection.call(reload));
    const errorName = 'org.freedesktop.DBus.Error.NoReply';
    bus.send(bytes(answerOf(await asked(), 'gone', { type: ERROR, errorName, sender: BUS_NAME })));
    expect(await call).toMatchObject({ code: 'DBUS_UNAVAILABLE', details: { dbusError: errorName } });
  });

  it('an answer of who took over the name meanwhile counts', async () => {
    await begin({ silent: ['Reload'] });
    const connection = await connect();
    const call = settled(connection.call(reload));
    const of = await asked();
    bus.send(
      Buffer.concat([
        bytes(ownerChanged(SYSTEMD, OWNER, ':1.6', { sender: BUS_NAME })),
        bytes(answerOf(of, 'right', { sender: ':1.6' })),
      ]),
    );
    expect(await call).toEqual(['right']);
  });

  it.each([
    ['too long', answerOf(0, 'x'.repeat(2 * 1024 * 1024), {})],
    ['not what its signature says', { ...answerOf(0, 'x', {}), signature: 'as' }],
  ])('an answer that is %s ends the call at once', async (_title, frame) => {
    await begin({ silent: ['Reload'] });
    const connection = await connect();
    const call = outcome(connection.call(reload));
    bus.send(bytes({ ...frame, replySerial: await asked(), sender: OWNER }));
    expect(await call).toMatchObject({ code: 'DBUS_MALFORMED' });
    expect(connection.isOpen).toBe(true);
  });

  it('a call whose deadline came while the owner was asked for is not made later', async () => {
    await begin({ silent: ['GetNameOwner'] });
    const connection = await connect();
    const call = outcome(connection.call({ ...reload, timeoutMs: 500 }));
    await eventually('the question', () => bus.heard.some(({ member }) => member === 'GetNameOwner'));
    passingMs = 100;
    expect(await call).toMatchObject({ code: 'DBUS_TIMEOUT' });
    passingMs = 0;
    bus.answerSilent();
    await world.settle();
    await world.settle();
    expect(bus.heard.map(({ member }) => member)).not.toContain('Reload');
  });

  it('a signal counts from who owns the name when it comes, whoever that is in between', async () => {
    await begin();
    const connection = await connect();
    const heard: unknown[] = [];
    const rule = {
      ...{ sender: SYSTEMD, path: MANAGER_PATH, interface: MANAGER },
      ...{ member: 'JobRemoved', signature: 'uoss' },
    };
    await settled(connection.onSignal(rule, ([number]) => heard.push(number)));
    let owner = OWNER;
    let job = 100;
    const name = fc.constantFrom(OWNER, ':1.6', ':1.7', STRANGER, BUS_NAME, SYSTEMD);
    const event = fc.oneof(
      fc.record({ kind: fc.constant('signal'), by: name }),
      fc.record({ kind: fc.constant('owner'), by: fc.constantFrom(OWNER, ':1.6', ':1.7', '') }),
      fc.record({ kind: fc.constant('forged owner'), by: name }),
      fc.record({ kind: fc.constant('other name'), by: name }),
      fc.record({ kind: fc.constant('wrong type'), by: name }),
    );
    await fc.assert(
      fc.asyncProperty(fc.array(event, { maxLength: 12 }), async (events) => {
        heard.length = 0;
        const expected: number[] = [];
        const frames = events.map(({ kind, by }) => {
          job += 1;
          switch (kind) {
            case 'owner': {
              const before = owner;
              owner = by;
              return bytes(ownerChanged(SYSTEMD, before, by, { sender: BUS_NAME }));
            }
            case 'forged owner':
              return bytes(
                ownerChanged(SYSTEMD, owner, STRANGER, { sender: by === BUS_NAME ? STRANGER : by }),
              );
            case 'other name':
              return bytes(ownerChanged('org.example.Other', '', by, { sender: BUS_NAME }));
            case 'wrong type':
              return bytes({ ...jobRemoved('x', { sender: by }, job), signature: 'iass' });
            default:
              if (by === owner) expected.push(job);
              return bytes(jobRemoved('x', { sender: by }, job));
          }
        });
        // The last one is there when all are.
        job += 1;
        const last = ownerChanged(SYSTEMD, owner, OWNER, { sender: BUS_NAME });
        owner = OWNER;
        expected.push(job);
        bus.send(Buffer.concat([...frames, bytes(last), bytes(jobRemoved('x', { sender: OWNER }, job))]));
        await eventually('the last one', () => heard.at(-1) === job);
        expect(heard).toEqual(expected);
      }),
      { numRuns: 50 },
    );
  });

  it('an owner who changes while he is asked for is the one who counts', async () => {
    await begin({ silent: ['GetNameOwner'] });
    const connection = await connect();
    const heard: unknown[] = [];
    const rule = {
      ...{ sender: SYSTEMD, path: MANAGER_PATH, interface: MANAGER },
      ...{ member: 'JobRemoved', signature: 'uoss' },
    };
    const subscribed = settled(connection.onSignal(rule, ([number]) => heard.push(number)));
    await eventually('the question', () => bus.heard.some(({ member }) => member === 'GetNameOwner'));
    // The answer and the change behind it in one read.
    bus.answerSilent(bytes(ownerChanged(SYSTEMD, OWNER, ':1.6', { sender: BUS_NAME })));
    await subscribed;
    bus.send(
      Buffer.concat([
        bytes(jobRemoved('x', { sender: OWNER }, 1)),
        bytes(jobRemoved('x', { sender: ':1.6' }, 2)),
      ]),
    );
    await eventually('the signal', () => heard.length > 0);
    expect(heard).toEqual([2]);
  });

  describe.each(['AddMatch', 'GetNameOwner', 'Subscribe', 'StartUnit'])('when %s', (failing) => {
    it.each(['refused', 'silent'])(
      'is %s, every match that was asked for is given back, or is there once',
      async (how) => {
        await begin({ [how]: [failing] });
        const times = { callTimeoutMs: 1_000, jobTimeoutMs: 1_000 };
        const manager = createUnitManager({ clock, address: bus.address, ...times });
        for (let time = 0; time < 3; time += 1) {
          passingMs = how === 'silent' ? 500 : 0;
          expect(await outcome(manager.startUnit('x.service', 'replace'))).toBeInstanceOf(Error);
          passingMs = 0;
          await world.settle();
          const rules = bus.rules();
          expect(new Set(rules).size, rules.join('\n')).toBe(rules.length);
          // Who owns a name is followed on, and of jobs it is told as long as systemd was asked to.
          const left = { AddMatch: 0, GetNameOwner: 0, Subscribe: 1, StartUnit: 2 }[failing];
          expect(rules, rules.join('\n')).toHaveLength(left ?? Number.NaN);
        }
        passingMs = 1_000;
        await settled(manager.close());
      },
    );
  });
});
