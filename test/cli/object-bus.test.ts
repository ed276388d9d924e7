import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import dbusNext, { type Message as DbusMessage } from 'dbus-next';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { DbusReplyError, type SystemError } from '../../src/system/errors.ts';
import { createObjectBus, type ObjectBusOptions } from '../../src/system/object-bus.ts';
import type {
  DbusVariant,
  ObjectBus,
  Publication,
  ServedInterface,
  ServedMethod,
  ServedProperty,
} from '../../src/system/ports.ts';
import { CALL, ERROR, RETURN } from '../unit/dbus-frames.ts';
import { connectHostile } from '../unit/dbus-hostile.ts';
import { createPrivateBus, type PrivateBus, withoutBus } from '../unit/dbus-systemd.ts';
import { createIoWorld } from '../unit/io-world.ts';
import { createManualClock, type ManualClock } from '../unit/manual-clock.ts';
import {
  busctl,
  connectRaw,
  dbusSend,
  gdbusCall,
  gdbusIntrospect,
  type Monitor,
  type MonitoredMessage,
  type RawClient,
  startFakeBus,
  startMonitor,
  withoutClients,
} from './dbus-clients.ts';

const NAME = 'org.example.Power';
const OTHER_NAME = 'org.example.Chassis';
const ROOT = '/org/example/control';
const POWER = `${ROOT}/power0`;
const APART = '/org/example/apart';
const PROPERTIES = 'org.freedesktop.DBus.Properties';

const missing = withoutBus ?? withoutClients;

let bus: PrivateBus;
let clock: ManualClock;
/** Time that passes with every step: none, so that no deadline comes before a real answer. */
let passingMs: number;
let served: ObjectBus;
let lamp: Lamp;
/** What `onConnection` and `onFailure` were told. */
let told: string[];
const undo: (() => unknown)[] = [];

const world = createIoWorld(() => clock.advance(passingMs));
const { settled, outcome, eventually } = world;

/** The state behind the served objects. */
interface Lamp {
  values: Record<string, unknown>;
  written: unknown[];
  /** What `open` waits for. */
  gates: (() => void)[];
}

const number = (name: string) => ({ name, signature: 'i' });
const method = (call: ServedMethod['call'], more: Partial<ServedMethod> = {}): ServedMethod => ({
  in: [],
  out: [],
  call,
  ...more,
});
const gone = (): never => {
  throw new TypeError('the register cannot be read\n    at somewhere (secret.ts:1:1)');
};

function powerInterface(lamp: Lamp): ServedInterface {
  const property = (
    name: string,
    signature: string,
    emits: ServedProperty['emits'] = 'change',
  ): ServedProperty => ({
    signature,
    emits,
    read: () => lamp.values[name],
  });
  const writable = (name: string, signature: string): ServedProperty => ({
    ...property(name, signature),
    async write(value) {
      if (value === -1) throw new DbusReplyError('org.example.Error.Failed', 'Invalid timeout');
      if (value === -2) gone();
      lamp.values[name] = value;
      lamp.written.push(value);
    },
  });
  return {
    name: NAME,
    methods: {
      setPowerState: method(
        ([state], { sender }) => {
          lamp.written.push([state, sender]);
          return [];
        },
        { in: [number('state')] },
      ),
      getPowerState: method(() => [lamp.values.pgood], { out: [number('pgood')] }),
      sum: method(async ([one, other]) => [Number(one) + Number(other), 'done'], {
        in: [number('one'), number('<other & "more">')],
        out: [number('sum'), { name: 'word', signature: 's' }],
      }),
      open: method(
        async () => {
          await new Promise<void>((resolve) => lamp.gates.push(resolve));
          return ['open'];
        },
        { out: [{ name: 'state', signature: 's' }] },
      ),
      fail: method(gone),
      failLater: method(async () => gone()),
      deny: method(() => {
        throw new DbusReplyError('org.freedesktop.DBus.Error.AccessDenied', 'not you');
      }),
      failBadly: method(() => {
        throw new DbusReplyError('no name', 'two\x1b[2J\u202e words\0\nlines');
      }),
      lie: method(() => ['not a number'], { out: [number('value')] }),
      lieLater: method(async () => [1, 2], { out: [number('value')] }),
    },
    properties: {
      pgood: property('pgood', 'i'),
      state: property('state', 'i'),
      timeout: writable('timeout', 'i'),
      label: writable('label', 's'),
      since: writable('since', 't'),
      offset: writable('offset', 'x'),
      names: writable('names', 'as'),
      facts: writable('facts', 'a{sv}'),
      volts: property('volts', 'd', 'none'),
      isOn: property('isOn', 'b'),
      count: property('count', 'u'),
      any: property('any', 'v'),
    },
    signals: {
      PowerGood: { args: [] },
      Fault: {
        args: [
          { name: 'rail', signature: 's' },
          { name: 'at', signature: 't' },
        ],
      },
    },
  };
}

const createLamp = (): Lamp => ({
  values: {
    pgood: 1,
    state: 0,
    timeout: 8,
    label: 'a & b',
    since: 2n ** 53n + 1n,
    offset: -5n,
    names: ['P12V', 'P3V3'],
    facts: { rail: { signature: 's', value: 'P1V8' }, volts: { signature: 'd', value: 1.8 } },
    volts: 0.5,
    isOn: true,
    count: 4_000_000_000,
    any: { signature: 's', value: '' },
  },
  written: [],
  gates: [],
});

const BROKEN: ServedInterface = {
  name: 'org.example.Broken',
  methods: {},
  properties: {
    gone: { signature: 'i', emits: 'change', read: gone },
    wrong: { signature: 'i', emits: 'change', read: () => 'text' },
    fine: { signature: 's', emits: 'change', read: () => 'here' },
  },
  signals: {},
};

const optionsOf = (lamp: Lamp, address: string): ObjectBusOptions => ({
  clock,
  address,
  names: [NAME, OTHER_NAME],
  managerPaths: [ROOT],
  objects: [
    { path: POWER, interfaces: [powerInterface(lamp)] },
    { path: APART, interfaces: [BROKEN] },
  ],
  onConnection: (up, error) => told.push(up ? 'up' : `down ${error?.code}`),
  onFailure: (error, member) => told.push(`${member}: ${(error as Error).message.split('\n')[0]}`),
});

const raw = async (): Promise<RawClient> => {
  const client = await connectRaw(bus.address);
  undo.push(() => client.bus.disconnect());
  return client;
};
const property = (name: string) => busctl(bus.address, 'get-property', NAME, POWER, NAME, name);

it.runIf(process.env.CI === 'true')('has dbus-daemon and the clients in CI', () => {
  expect(missing).toBeUndefined();
});

describe.skipIf(missing)(`on a real bus${missing ? ` [skipped: ${missing}]` : ''}`, () => {
  // One that a test killed is there again for the next.
  beforeAll(() => {
    bus = createPrivateBus();
  });
  afterAll(() => bus.remove());
  beforeEach(async () => {
    passingMs = 0;
    told = [];
    clock = createManualClock();
    await bus.start();
    lamp = createLamp();
    served = createObjectBus(optionsOf(lamp, bus.address));
    await settled(served.start());
  });
  afterEach(async () => {
    for (const run of undo.splice(0).reverse()) await run();
    await settled(served.close());
    expect(clock.pendingCount).toBe(0);
  });

  describe('to those who look around', () => {
    it('shows the tree', async () => {
      expect((await busctl(bus.address, '--list', 'tree', NAME)).trim().split('\n')).toEqual([
        '/',
        '/org',
        '/org/example',
        APART,
        ROOT,
        POWER,
      ]);
    });

    it('shows every member with its types', async () => {
      const rows = (await busctl(bus.address, 'introspect', NAME, POWER))
        .split('\n')
        .map((line) => line.replaceAll(/ +/g, ' ').trim());
      expect(rows).toEqual(
        expect.arrayContaining([
          'org.freedesktop.DBus.Introspectable interface - - -',
          'org.freedesktop.DBus.Peer interface - - -',
          'org.freedesktop.DBus.Properties interface - - -',
          `${NAME} interface - - -`,
          '.setPowerState method i - -',
          '.getPowerState method - i -',
          '.sum method ii is -',
          '.PowerGood signal - - -',
          '.Fault signal st - -',
          '.pgood property i 1 emits-change',
          '.timeout property i 8 emits-change writable',
          '.volts property d 0.5 -',
          '.since property t 9007199254740993 emits-change writable',
          '.names property as 2 "P12V" "P3V3" emits-change writable',
        ]),
      );
    });

    it('names arguments, whatever they are called', async () => {
      const text = await gdbusIntrospect(bus.address, NAME, POWER);
      expect(text.replaceAll(/\s+/g, ' ')).toContain(
        'sum(in i one, in i <other & "more">, out i sum, out s word);',
      );
    });

    it('is a document with its type', async () => {
      const text = await dbusSend(bus.address, NAME, '/org org.freedesktop.DBus.Introspectable.Introspect');
      expect(
        text.trim(),
      ).toBe(`<!DOCTYPE node PUBLIC "-//freedesktop//DTD D-BUS Object Introspection 1.0//EN" "http://www.freedesktop.org/standards/dbus/1.0/introspect.dtd">
<node>
  <interface name="org.freedesktop.DBus.Peer">
    <method name="Ping"/>
    <method name="GetMachineId">
      <arg name="machine_uuid" type="s" direction="out"/>
    </method>
  </interface>
  <interface name="org.freedesktop.DBus.Introspectable">
    <method name="Introspect">
      <arg name="xml_data" type="s" direction="out"/>
    </method>
  </interface>
  <node name="example"/>
</node>`);
    });

    it('has an ObjectManager at its path, and only there', async () => {
      expect(await gdbusIntrospect(bus.address, NAME, ROOT)).toContain('ObjectManager');
      expect(await gdbusIntrospect(bus.address, NAME, POWER)).not.toContain('ObjectManager');
      const all = await gdbusCall(
        bus.address,
        NAME,
        `${ROOT} org.freedesktop.DBus.ObjectManager.GetManagedObjects`,
      );
      expect(all).toMatch(`({objectpath '${POWER}': {'${NAME}': {'pgood': <1>, 'state': <0>,`);
      expect(all).toContain("'facts': <{'rail': <'P1V8'>, 'volts': <1.8>}>");
      expect(all).not.toContain(APART);
    });

    it('answers as a peer, at any path', async () => {
      expect(await gdbusCall(bus.address, NAME, '/nowhere org.freedesktop.DBus.Peer.Ping')).toBe('()\n');
      const ofBus = '/org/freedesktop/DBus org.freedesktop.DBus.Peer.GetMachineId';
      const id = await dbusSend(bus.address, NAME, `${POWER} org.freedesktop.DBus.Peer.GetMachineId`);
      // Without a machine-id, both answer with an error.
      expect(id.startsWith('Error')).toBe(
        (await dbusSend(bus.address, 'org.freedesktop.DBus', ofBus)).startsWith('Error'),
      );
      if (!id.startsWith('Error')) {
        expect(id).toBe(await dbusSend(bus.address, 'org.freedesktop.DBus', ofBus));
      }
    });
  });

  describe('properties', () => {
    it.each([
      ['pgood', 'i 1'],
      ['label', 's "a & b"'],
      ['since', 't 9007199254740993'],
      ['offset', 'x -5'],
      ['names', 'as 2 "P12V" "P3V3"'],
      ['facts', 'a{sv} 2 "rail" s "P1V8" "volts" d 1.8'],
      ['volts', 'd 0.5'],
      ['isOn', 'b true'],
      ['count', 'u 4000000000'],
    ])('%s is read as `%s`', async (name, text) => {
      expect(await property(name)).toBe(`${text}\n`);
    });

    it.each([
      ['timeout', ['i', '30'], 30, 'i 30'],
      ['label', ['s', 'ünï'], 'ünï', 's "\\303\\274n\\303\\257"'],
      ['since', ['t', '18446744073709551615'], 2n ** 64n - 1n, 't 18446744073709551615'],
      ['offset', ['x', '-9223372036854775807'], 1n - 2n ** 63n, 'x -9223372036854775807'],
      ['names', ['as', '1', 'one'], ['one'], 'as 1 "one"'],
      ['facts', ['a{sv}', '1', 'a', 'u', '7'], { a: { signature: 'u', value: 7 } }, 'a{sv} 1 "a" u 7'],
    ])('%s is written', async (name, value, expected, text) => {
      await busctl(bus.address, '--', 'set-property', NAME, POWER, NAME, name, ...value);
      expect(lamp.written).toEqual([expected]);
      expect(await property(name)).toBe(`${text}\n`);
    });

    const nested = (depth: number): DbusVariant =>
      depth === 0 ? { signature: 's', value: '' } : { signature: 'v', value: nested(depth - 1) };

    it.each<[string, unknown, string]>([
      ['o', '/', 'o "/"'],
      ['g', 'a{sv}', 'g "a{sv}"'],
      ['y', 255, 'y 255'],
      ['n', -32_768, 'n -32768'],
      ['q', 65_535, 'q 65535'],
      ['t', 7, 't 7'],
      ['ay', Buffer.from('ab'), 'ay 2 97 98'],
      ['ay', [1, 2], 'ay 2 1 2'],
      ['(is)', [1, 'one'], '(is) 1 "one"'],
      ['a(ib)', [[1, true]], 'a(ib) 1 1 true'],
      ['aai', [[1], []], 'aai 2 1 1 0'],
      ['av', [{ signature: 'i', value: 1 }], 'av 1 i 1'],
      ['a{ss}', { a: 'b' }, 'a{ss} 1 "a" "b"'],
      ['a{oa{sv}}', { '/a': { b: { signature: 'd', value: 2 } } }, 'a{oa{sv}} 1 "/a" 1 "b" d 2'],
      ['a{ss}', {}, 'a{ss} 0'],
    ])('may be of type %s', async (signature, value, text) => {
      lamp.values.any = { signature, value };
      expect(await property('any')).toBe(`v ${text}\n`);
    });

    it.each<[string, unknown]>([
      ['o', 'relative'],
      ['o', '/ends/'],
      ['g', 'a{'],
      ['y', 256],
      ['n', -32_769],
      ['i', 1.5],
      ['i', '1'],
      ['i', 2 ** 31],
      ['u', -1],
      ['x', -(2n ** 63n)],
      ['x', 2 ** 53],
      ['t', -1n],
      ['t', 2n ** 64n],
      ['d', Number.NaN],
      ['d', null],
      ['b', 1],
      ['s', 'with a \0'],
      ['s', undefined],
      ['as', 'text'],
      ['as', [1]],
      ['as', null],
      ['(is)', [1]],
      ['a{ss}', { a: 1 }],
      ['a{sv}', { a: 1 }],
      ['a{ss}', ['a']],
      ['a{ss}', { constructor: 'a', a: 1 }],
      ['v', 1],
      ['v', { signature: 'ii', value: 1 }],
      ['v', { signature: 'z', value: 1 }],
      ['v', nested(100)],
      ['h', 0],
      ['', ''],
    ])('of type %s cannot be what is none (%#), which is told', async (signature, value) => {
      lamp.values.any = { signature, value };
      expect(
        await dbusSend(bus.address, NAME, `${POWER} ${PROPERTIES}.Get`, `string:${NAME}`, 'string:any'),
      ).toMatch(/^Error org\.freedesktop\.DBus\.Error\.Failed: \S/);
      expect(served.isConnected).toBe(true);
    });

    it('of all interfaces come under the empty name', async () => {
      const get = `${POWER} ${PROPERTIES}.Get`;
      expect(await gdbusCall(bus.address, NAME, get, '', 'pgood')).toBe('(<1>,)\n');
      const all = await gdbusCall(bus.address, NAME, `${POWER} ${PROPERTIES}.GetAll`, '');
      expect(all).toContain("'pgood': <1>");
      const none = await gdbusCall(bus.address, NAME, `${POWER} ${PROPERTIES}.GetAll`, PROPERTIES);
      expect(none).toBe('(@a{sv} {},)\n');
    });

    it('that cannot be read leave the others', async () => {
      const all = await gdbusCall(bus.address, NAME, `${APART} ${PROPERTIES}.GetAll`, BROKEN.name);
      expect(all).toBe("({'fine': <'here'>},)\n");
      expect(told).toEqual([
        'up',
        'org.example.Broken.gone: the register cannot be read',
        'org.example.Broken.wrong: string text cannot be sent as i',
      ]);
    });
  });

  describe('errors', () => {
    const GET = `${POWER} ${PROPERTIES}.Get`;
    const SET = `${POWER} ${PROPERTIES}.Set`;
    const text = (...texts: string[]) => texts.map((one) => `string:${one}`);
    const standard = (name: string) => `org.freedesktop.DBus.Error.${name}`;
    it.each([
      ['an object that is none', `/org/nothing ${NAME}.fail`, [], standard('UnknownObject')],
      [
        'a property of no object',
        `/org/nothing ${PROPERTIES}.Get`,
        text(NAME, 'pgood'),
        standard('UnknownObject'),
      ],
      ['a path on the way', `/org ${NAME}.fail`, [], standard('UnknownInterface')],
      ['an interface that is none', `${POWER} org.example.Nothing.fail`, [], standard('UnknownInterface')],
      ['a method that is none', `${POWER} ${NAME}.nothing`, [], standard('UnknownMethod')],
      ['a method every object has', `${POWER} ${NAME}.toString`, [], standard('UnknownMethod')],
      ['a signal as method', `${POWER} ${NAME}.PowerGood`, [], standard('UnknownMethod')],
      ['arguments too few', `${POWER} ${NAME}.setPowerState`, [], standard('InvalidArgs')],
      ['arguments of another type', `${POWER} ${NAME}.setPowerState`, text('1'), standard('InvalidArgs')],
      ['a property of no interface', GET, text('org.example.Nothing', 'pgood'), standard('UnknownInterface')],
      ['a property that is none', GET, text(NAME, 'nothing'), standard('UnknownProperty')],
      ['a property every object has', GET, text(NAME, 'constructor'), standard('UnknownProperty')],
      [
        'properties of no interface',
        `${POWER} ${PROPERTIES}.GetAll`,
        text('x.y'),
        standard('UnknownInterface'),
      ],
      ['Get without a property', GET, text(NAME), standard('InvalidArgs')],
      ['a value without its type', SET, text(NAME, 'timeout', '1'), standard('InvalidArgs')],
      [
        'a value of another type',
        SET,
        [...text(NAME, 'timeout'), 'variant:uint32:1'],
        standard('InvalidArgs'),
      ],
      [
        'a property that is read-only',
        SET,
        [...text(NAME, 'pgood'), 'variant:int32:0'],
        standard('PropertyReadOnly'),
      ],
      ['Set of none', SET, [...text(NAME, 'nothing'), 'variant:int32:0'], standard('UnknownProperty')],
      ['what write refuses', SET, [...text(NAME, 'timeout'), 'variant:int32:-1'], 'org.example.Error.Failed'],
      ['what call refuses', `${POWER} ${NAME}.deny`, [], standard('AccessDenied')],
    ])('of %s', async (_title, called, args, name) => {
      expect(await dbusSend(bus.address, NAME, called, ...args)).toMatch(new RegExp(`^Error ${name}: \\S`));
      expect(lamp.written).toEqual([]);
      expect(told).toEqual(['up']);
    });

    it.each([
      ['a method', `${POWER} ${NAME}.fail`, [], `${NAME}.fail`],
      ['a slow method', `${POWER} ${NAME}.failLater`, [], `${NAME}.failLater`],
      [
        'a property that is read',
        `${APART} ${PROPERTIES}.Get`,
        text(BROKEN.name, 'gone'),
        `${BROKEN.name}.gone`,
      ],
      ['a property that is written', SET, [...text(NAME, 'timeout'), 'variant:int32:-2'], `${NAME}.timeout`],
    ])('thrown by %s are told without their stack', async (_title, called, args, member) => {
      expect(await dbusSend(bus.address, NAME, called, ...args)).toBe(
        'Error org.freedesktop.DBus.Error.Failed: the register cannot be read\n',
      );
      expect(told).toEqual(['up', `${member}: the register cannot be read`]);
    });

    it.each([
      ['lie', 'string not a number cannot be sent as i'],
      ['lieLater', '1 values were expected (i) and 2 were given'],
      ['failBadly', 'two [2J  words'],
    ])('that cannot be sent are Failed: %s', async (member, expected) => {
      expect(await dbusSend(bus.address, NAME, `${POWER} ${NAME}.${member}`)).toBe(
        `Error org.freedesktop.DBus.Error.Failed: ${expected}\n`,
      );
      expect(await property('pgood')).toBe('i 1\n');
    });
  });

  describe('calls', () => {
    it('give what the method gives, and say who called', async () => {
      const sum = `${POWER} ${NAME}.sum`;
      expect(await gdbusCall(bus.address, NAME, sum, '2', '3')).toBe("(5, 'done')\n");
      const client = await raw();
      await client.call(
        { destination: NAME, path: POWER, interface: NAME, member: 'setPowerState' },
        'i',
        [1],
      );
      expect(lamp.written).toEqual([[1, (client.bus as unknown as { name: string }).name]]);
    });

    it('may leave the interface open', async () => {
      const client = await raw();
      const call = (member: string) => client.call({ destination: NAME, path: POWER, member });
      expect(await call('getPowerState')).toEqual([1]);
      expect(await call('Ping')).toEqual([]);
      await expect(call('nothing')).rejects.toMatchObject({
        type: 'org.freedesktop.DBus.Error.UnknownMethod',
      });
    });

    it('that are slow delay nobody', async () => {
      const client = await raw();
      const open = () => client.call({ destination: NAME, path: POWER, interface: NAME, member: 'open' });
      const answers: unknown[] = [];
      const calls = [open(), open()].map((call) => call.then((answer) => answers.push(answer)));
      await eventually('both calls', () => lamp.gates.length === 2);
      expect(await property('pgood')).toBe('i 1\n');
      expect(answers).toEqual([]);
      for (const pass of lamp.gates) pass();
      await settled(Promise.all(calls));
      expect(answers).toEqual([['open'], ['open']]);
    });

    it('of those who want no answer get none', async () => {
      const monitor = await startMonitor(bus.address);
      const quiet = (member: string) =>
        busctl(bus.address, '--expect-reply=no', 'call', NAME, POWER, NAME, member);
      for (const member of ['getPowerState', 'fail', 'failLater', 'nothing']) await quiet(member);
      await eventually('all calls', () => told.length === 3);
      await property('pgood');
      await monitor.stop();
      const sent = monitor.messages.map(({ type, member }) => `${type} ${member ?? ''}`.trim());
      expect(sent).toEqual([
        'method_call getPowerState',
        'method_call fail',
        'method_call failLater',
        'method_call nothing',
        'method_call Get',
        'method_return',
      ]);
    });

    it('of those who have gone are answered to nobody', async () => {
      const client = await raw();
      client.call({ destination: NAME, path: POWER, interface: NAME, member: 'open' }).catch(() => undefined);
      await eventually('the call', () => lamp.gates.length === 1);
      client.bus.disconnect();
      await world.settle();
      lamp.gates[0]?.();
      expect(await property('pgood')).toBe('i 1\n');
      expect(told).toEqual(['up']);
    });

    it('that are answered after the bus has gone harm nobody', async () => {
      const client = await raw();
      client.call({ destination: NAME, path: POWER, interface: NAME, member: 'open' }).catch(() => undefined);
      await eventually('the call', () => lamp.gates.length === 1);
      await bus.kill();
      await eventually('the loss', () => told.includes('down DBUS_UNAVAILABLE'));
      lamp.gates[0]?.();
      await world.settle();
      await bus.start();
      passingMs = 100;
      await eventually('the return', () => served.isConnected);
      expect(await property('pgood')).toBe('i 1\n');
    });
  });

  describe('messages that nobody should send', () => {
    it('are nothing when they are signals, answers and errors out of the blue', async () => {
      const client = await raw();
      const { newSignal } = dbusNext.Message;
      const signal = newSignal(POWER, NAME, 'setPowerState', 'i', [1]);
      signal.destination = NAME;
      client.bus.send(signal);
      const request = { serial: 77, sender: NAME } as never;
      client.bus.send(dbusNext.Message.newMethodReturn(request, 's', ['surprise']));
      client.bus.send(dbusNext.Message.newError(request, 'org.example.Error', 'surprise'));
      expect(await client.call({ destination: NAME, path: POWER, member: 'getPowerState' })).toEqual([1]);
      expect(lamp.written).toEqual([]);
      expect(told).toEqual(['up']);
    });
  });

  describe('signals', () => {
    let monitor: Monitor;
    beforeEach(async () => {
      monitor = await startMonitor(bus.address);
    });
    const signals = async (): Promise<MonitoredMessage[]> => {
      await monitor.stop();
      return monitor.messages.filter(({ type }) => type === 'signal');
    };
    const shown = (messages: readonly MonitoredMessage[]) =>
      messages.map(({ path, interface: name, member, payload }) => [
        path,
        `${name}.${member}`,
        ...(payload?.data ?? []),
      ]);

    it('tell one property each, in the order of the changes', async () => {
      lamp.values.state = 1;
      served.changed(POWER, NAME, 'state');
      lamp.values.pgood = 0;
      served.changed(POWER, NAME, 'pgood');
      served.emit(POWER, NAME, 'PowerGood', []);
      lamp.values.pgood = 1;
      served.changed(POWER, NAME, 'pgood');
      served.emit(POWER, NAME, 'Fault', ['P1V8', 12n]);
      const change = (name: string, data: number) => [
        POWER,
        `${PROPERTIES}.PropertiesChanged`,
        NAME,
        { [name]: { type: 'i', data } },
        [],
      ];
      const sent = await signals();
      expect(shown(sent)).toEqual([
        change('state', 1),
        change('pgood', 0),
        [POWER, `${NAME}.PowerGood`],
        change('pgood', 1),
        [POWER, `${NAME}.Fault`, 'P1V8', 12],
      ]);
      expect(sent.map(({ payload }) => payload?.type)).toEqual([
        'sa{sv}as',
        'sa{sv}as',
        '',
        'sa{sv}as',
        'st',
      ]);
    });

    it('are not sent for what emits nothing, and tell that a value cannot be had', async () => {
      served.changed(POWER, NAME, 'volts');
      served.changed(APART, BROKEN.name, 'gone');
      expect(shown(await signals())).toEqual([
        [APART, `${PROPERTIES}.PropertiesChanged`, BROKEN.name, {}, ['gone']],
      ]);
    });

    it('come after the answer that has the value before', async () => {
      const read = () => {
        queueMicrotask(() => {
          lamp.values.pgood = 2;
          served.changed(POWER, NAME, 'pgood');
        });
        return 1;
      };
      Object.defineProperty(lamp.values, 'pgood', { get: read, configurable: true, set: redefine });
      function redefine(value: number) {
        Object.defineProperty(lamp.values, 'pgood', { value, writable: true });
      }
      await property('pgood');
      await monitor.stop();
      const [answer, signal] = monitor.messages.filter(({ type }) => type !== 'method_call');
      expect(answer).toMatchObject({ type: 'method_return', payload: { data: [{ type: 'i', data: 1 }] } });
      expect(signal).toMatchObject({ type: 'signal', member: 'PropertiesChanged' });
    });

    it('are refused when they are not served, also without a bus', async () => {
      const refused = (run: () => void) =>
        expect(run).toThrow(expect.objectContaining({ code: 'DBUS_MISUSE' }));
      for (const one of [served, createObjectBus(optionsOf(lamp, bus.address))]) {
        refused(() => one.changed(POWER, NAME, 'nothing'));
        refused(() => one.changed(POWER, 'org.example.Nothing', 'pgood'));
        refused(() => one.changed(ROOT, NAME, 'pgood'));
        refused(() => one.emit(POWER, NAME, 'Nothing', []));
        refused(() => one.emit(POWER, NAME, 'Fault', []));
        refused(() => one.emit(POWER, NAME, 'Fault', ['P1V8', -1n]));
        one.changed(POWER, NAME, 'pgood');
        one.emit(POWER, NAME, 'PowerGood', []);
      }
      expect(await signals()).toHaveLength(2);
    });
  });

  describe('publication', () => {
    /** Another one, with a monitor that sees it from its first message on. */
    const publish = async (options: Partial<ObjectBusOptions> = {}) => {
      await settled(served.close());
      const monitor = await startMonitor(bus.address);
      served = createObjectBus({ ...optionsOf(lamp, bus.address), ...options });
      return monitor;
    };

    it('answers before it has a name, takes the names in order, and tells of the objects then', async () => {
      const monitor = await publish();
      const reads: string[] = [];
      Object.defineProperty(lamp.values, 'pgood', {
        get() {
          reads.push('pgood');
          return 1;
        },
      });
      await settled(served.start());
      await monitor.stop();
      const sent = monitor.messages.map(({ member, payload }) => [member, payload?.data]);
      expect(sent).toEqual([
        ['RequestName', [NAME, 4]],
        ['RequestName', [OTHER_NAME, 4]],
        ['InterfacesAdded', [POWER, { [NAME]: expect.objectContaining({ pgood: { type: 'i', data: 1 } }) }]],
      ]);
      expect(told).toEqual(['up', 'up']);
    });

    it('is refused when another process has a name, and may be tried again', async () => {
      const client = await raw();
      await publish();
      await client.bus.requestName(OTHER_NAME, 0);
      const error = (await outcome(served.start())) as SystemError;
      expect(error).toMatchObject({
        code: 'DBUS_NAME_TAKEN',
        message: `another process (pid ${process.pid}) owns ${OTHER_NAME} on the bus: end it, or the service that runs it`,
        details: { name: OTHER_NAME, pid: process.pid },
      });
      expect(served.isConnected).toBe(false);
      // Nothing is left of it, not even the name that it got.
      await expect(
        client.call({ destination: NAME, path: POWER, member: 'getPowerState' }),
      ).rejects.toMatchObject({ type: 'org.freedesktop.DBus.Error.ServiceUnknown' });
      await client.bus.releaseName(OTHER_NAME);
      await settled(served.start());
      expect(await property('pgood')).toBe('i 1\n');
      expect(told).toEqual(['up', 'up']);
    });

    it('cannot be taken over', async () => {
      const client = await raw();
      const EXISTS = 3;
      expect(await client.bus.requestName(NAME, dbusNext.NameFlag.REPLACE_EXISTING | 4)).toBe(EXISTS);
    });

    it('is refused when the bus keeps the name', async () => {
      await publish({ names: ['org.freedesktop.DBus'] });
      expect(await outcome(served.start())).toMatchObject({
        code: 'DBUS_NAME_DENIED',
        message: expect.stringContaining('install the D-Bus policy'),
        details: { name: 'org.freedesktop.DBus' },
      });
    });

    it('ends with close, after what was sent before', async () => {
      const monitor = await startMonitor(bus.address);
      for (let time = 0; time < 100; time += 1) served.emit(POWER, NAME, 'PowerGood', []);
      await settled(served.close());
      await monitor.stop();
      expect(monitor.messages).toHaveLength(100);
      expect(served.isConnected).toBe(false);
      expect(told).toEqual(['up']);
      expect(await outcome(served.start())).toMatchObject({ code: 'DBUS_UNAVAILABLE' });
      await settled(served.close());
    });

    it('ends with close while it begins', async () => {
      await publish();
      const starting = outcome(served.start());
      await settled(served.close());
      expect(await starting).toMatchObject({ code: 'DBUS_UNAVAILABLE' });
      expect(told).toEqual(['up']);
    });
  });

  describe('when the bus goes away', () => {
    it('publishes again once it is back', async () => {
      await bus.kill();
      await eventually('the loss', () => !served.isConnected);
      served.changed(POWER, NAME, 'pgood');
      served.emit(POWER, NAME, 'PowerGood', []);
      lamp.values.pgood = 0;
      await bus.start();
      const monitor = await startMonitor(bus.address);
      passingMs = 100;
      await eventually('the return', () => served.isConnected);
      served.emit(POWER, NAME, 'PowerGood', []);
      expect(await property('pgood')).toBe('i 0\n');
      await monitor.stop();
      expect(monitor.messages.slice(0, 4).map(({ member }) => member)).toEqual([
        'RequestName',
        'RequestName',
        'InterfacesAdded',
        'PowerGood',
      ]);
      expect(told).toEqual(['up', 'down DBUS_UNAVAILABLE', 'up']);
    });

    it('goes on trying when a name was taken meanwhile, and tells so', async () => {
      await bus.kill();
      await eventually('the loss', () => !served.isConnected);
      await bus.start();
      const client = await raw();
      await client.bus.requestName(NAME, 0);
      passingMs = 100;
      await eventually('the reason', () => told.includes('down DBUS_NAME_TAKEN'));
      await client.bus.releaseName(NAME);
      await eventually('the return', () => served.isConnected, 10_000);
      expect(told).toEqual(['up', 'down DBUS_UNAVAILABLE', 'down DBUS_NAME_TAKEN', 'up']);
    });

    it('counts a bus that reads nothing as gone', async () => {
      const [pid] = await (await raw()).call(
        {
          destination: 'org.freedesktop.DBus',
          path: '/org/freedesktop/DBus',
          member: 'GetConnectionUnixProcessID',
        },
        's',
        ['org.freedesktop.DBus'],
      );
      process.kill(Number(pid), 'SIGSTOP');
      undo.push(() => process.kill(Number(pid), 'SIGCONT'));
      const rail = 'x'.repeat(100_000);
      for (let time = 0; time < 100; time += 1) served.emit(POWER, NAME, 'Fault', [rail, 0n]);
      await eventually('the loss', () => !served.isConnected);
      expect(told).toEqual(['up', 'down DBUS_UNAVAILABLE']);
    });

    it('may be closed by who is told', async () => {
      await settled(served.close());
      served = createObjectBus({
        ...optionsOf(lamp, bus.address),
        onConnection: (up) => up || served.close(),
      });
      await settled(served.start());
      await bus.kill();
      await eventually('the loss', () => !served.isConnected);
      expect(clock.pendingCount).toBe(0);
    });

    it('closes while it waits for it', async () => {
      await bus.kill();
      await eventually('the loss', () => !served.isConnected);
      await settled(served.close());
      expect(clock.pendingCount).toBe(0);
      expect(told).toEqual(['up', 'down DBUS_UNAVAILABLE']);
    });
  });

  it('grows by nothing', { timeout: 120_000 }, async () => {
    setFlagsFromString('--expose-gc');
    const collect = runInNewContext('gc') as () => void;
    // It keeps less of what it sends and hears than a library does.
    const client = await connectHostile(bus.address);
    undo.push(() => client.close());
    const call = (member: string) =>
      client.ask({ type: CALL, destination: NAME, path: POWER, interface: NAME, member });
    const once = async (_: unknown, time: number) => {
      const answers = [call('getPowerState'), call('fail')];
      served.changed(POWER, NAME, 'pgood');
      served.emit(POWER, NAME, 'Fault', ['P1V8', BigInt(time)]);
      for (const answer of await Promise.all(answers)) types.add(answer.type);
      heard.length = 0;
    };
    const heard = client.heard as unknown[];
    const types = new Set<number>();
    const round = async (times: number) => {
      // Some at a time, so that this process and the bus need not wait for each other at each of them.
      for (let left = times; left > 0; left -= 20) await Promise.all(Array.from({ length: 20 }, once));
      told.length = 0;
      collect();
      return process.memoryUsage().heapUsed;
    };
    const before = await round(1_000);
    const grownBytes = (await round(1_000)) - before;
    expect([...types].sort()).toEqual([RETURN, ERROR]);
    // One object kept for each of the 2,000 calls and 2,000 signals would be more.
    expect(grownBytes).toBeLessThan(4_000 * 100);
    expect(clock.pendingCount).toBe(0);
  });

  it('grows by nothing with every return of the bus', async () => {
    const timers: number[] = [];
    for (let time = 0; time < 5; time += 1) {
      passingMs = 0;
      await bus.kill();
      await eventually('the loss', () => !served.isConnected);
      await bus.start();
      passingMs = 100;
      await eventually('the return', () => served.isConnected);
      timers.push(clock.pendingCount);
    }
    expect(timers).toEqual([0, 0, 0, 0, 0]);
    expect(told.filter((one) => one === 'up')).toHaveLength(6);
  });
});

describe('what cannot be on a bus', () => {
  const nothing = { names: [], managerPaths: [], objects: [] };
  const having = (more: Partial<ServedInterface>) => ({
    objects: [
      { path: POWER, interfaces: [{ name: NAME, methods: {}, properties: {}, signals: {}, ...more }] },
    ],
  });
  const read = { read: () => 1, emits: 'none' } as const;
  const empty = { path: POWER, interfaces: [] };

  it.each<[string, Partial<Publication>]>([
    ['a name', { names: ['nodots'] }],
    ['a unique name', { names: [':1.1'] }],
    ['a path of a manager', { managerPaths: ['relative'] }],
    ['a path that ends so', { objects: [{ path: `${POWER}/`, interfaces: [] }] }],
    ['a path with dashes', { objects: [{ path: '/power-0', interfaces: [] }] }],
    ['a path that is there twice', { objects: [empty, empty] }],
    ['an interface without dots', having({ name: 'Power' })],
    ['a standard interface', having({ name: PROPERTIES })],
    ['a member with dashes', having({ methods: { 'power-on': method(() => []) } })],
    ['an argument of no type', having({ signals: { Fault: { args: [{ name: 'rail', signature: '' }] } } })],
    ...['', 'ii', 'a', 'a{vs}', 'a{is}', '{ss}', '()', '(i', 'i)', 'h', 'm', `${'a'.repeat(33)}i`].map(
      (signature): [string, Partial<Publication>] => [
        `a property of type "${signature}"`,
        having({ properties: { pgood: { ...read, signature } } }),
      ],
    ),
  ])('%s is told at once', (_title, publication) => {
    expect(() => createObjectBus({ clock: createManualClock(), ...nothing, ...publication })).toThrow(
      expect.objectContaining({ code: 'DBUS_MISUSE' }),
    );
  });

  it.each(['a{oa{sa{sv}}}', '(iv)', 'a(sas)', 'ay', 'g', `${'a'.repeat(32)}i`])('but %s can', (signature) => {
    const publication = { ...nothing, ...having({ properties: { pgood: { ...read, signature } } }) };
    expect(() => createObjectBus({ clock: createManualClock(), ...publication })).not.toThrow();
  });
});

describe('without a real bus', () => {
  let folder: string;
  let path: string;
  beforeEach(() => {
    passingMs = 0;
    told = [];
    lamp = createLamp();
    clock = createManualClock();
    folder = mkdtempSync(join(tmpdir(), 'no-dbus-'));
    path = join(folder, 'bus');
    undo.push(() => rmSync(folder, { recursive: true }));
  });
  afterEach(async () => {
    for (const run of undo.splice(0).reverse()) await run();
    expect(clock.pendingCount).toBe(0);
  });

  const serve = (more: Partial<ObjectBusOptions> = {}) => {
    served = createObjectBus({ ...optionsOf(lamp, `unix:path=${path}`), ...more });
    undo.push(() => settled(served.close()));
    return served;
  };
  const fake = async (onMessage: Parameters<typeof startFakeBus>[1]) => {
    const started = await startFakeBus(path, onMessage);
    undo.push(() => started.close());
    return started;
  };
  const { Message } = dbusNext;
  const asRequest = (message: DbusMessage) => message as unknown as string;

  it('is told at the start, which may be tried again', async () => {
    serve();
    for (let time = 0; time < 2; time += 1) {
      expect(await outcome(served.start())).toMatchObject({ code: 'DBUS_UNAVAILABLE' });
    }
    expect(clock.pendingCount).toBe(0);
    expect(told).toEqual([]);
  });

  it('answers from the first message on, before it has a name', async () => {
    const answers: unknown[] = [];
    await fake((message, send) => {
      if (message.member === 'Hello') {
        const call = new Message({
          sender: ':1.7',
          destination: ':1.1',
          path: POWER,
          interface: NAME,
          member: 'getPowerState',
        });
        send(Message.newMethodReturn(message, 's', [':1.1']), call);
      } else if (message.member === 'RequestName') {
        answers.push('RequestName');
        send(Message.newMethodReturn(message, 'u', [1]));
      } else if (message.body.length > 0) answers.push(message.body);
    });
    await settled(serve({ managerPaths: [] }).start());
    expect(answers).toEqual([[1], 'RequestName', 'RequestName']);
  });

  it('passes over a message of a type that nobody knows', async () => {
    const answers: unknown[] = [];
    const getPower = () =>
      new Message({ sender: ':1.7', path: POWER, interface: NAME, member: 'getPowerState' });
    await fake((message, send) => {
      if (message.member === 'Hello') send(Message.newMethodReturn(message, 's', [':1.1']));
      else if (message.member === 'RequestName') {
        const unknown = Object.assign(getPower(), { type: 5 });
        send(unknown, Message.newMethodReturn(message, 'u', [1]), getPower());
      } else answers.push(message.body);
    });
    await settled(serve({ names: [NAME], managerPaths: [] }).start());
    await eventually('the answer', () => answers.length > 0);
    expect(answers).toEqual([[1]]);
    expect(told).toEqual(['up']);
  });

  it('ends at the deadline when a name is neither given nor refused', async () => {
    await fake((message, send) => {
      if (message.member === 'Hello') send(Message.newMethodReturn(message, 's', [':1.1']));
    });
    serve({ callTimeoutMs: 500 });
    passingMs = 100;
    expect(await outcome(served.start())).toMatchObject({ code: 'DBUS_TIMEOUT' });
    expect(served.isConnected).toBe(false);
  });

  it('is told by a bus that has no place', async () => {
    await fake((message, send) => {
      send(Message.newError(asRequest(message), 'org.freedesktop.DBus.Error.LimitsExceeded', 'too many'));
    });
    expect(await outcome(serve().start())).toMatchObject({
      code: 'DBUS_UNAVAILABLE',
      message: expect.stringContaining('LimitsExceeded: too many'),
    });
  });

  it('closes while the bus says nothing', async () => {
    await fake(() => undefined);
    const starting = outcome(serve().start());
    await world.settle();
    await settled(served.close());
    expect(await starting).toMatchObject({ code: 'DBUS_UNAVAILABLE' });
  });

  it('tries again after longer and longer waits', async () => {
    const waits: number[] = [];
    const CALL_TIMEOUT_MS = 7_777;
    const noted = {
      ...clock,
      after(delayMs: number, run: () => void) {
        if (delayMs !== CALL_TIMEOUT_MS) waits.push(delayMs);
        return clock.after(delayMs, run);
      },
    };
    const started = await fake((message, send) => {
      const isHello = message.member === 'Hello';
      send(Message.newMethodReturn(message, isHello ? 's' : 'u', [isHello ? ':1.1' : 1]));
    });
    serve({ clock: noted, callTimeoutMs: CALL_TIMEOUT_MS });
    await settled(served.start());
    started.close();
    passingMs = 1_000;
    await eventually('many tries', () => waits.length === 8, 10_000);
    expect(waits).toEqual([100, 200, 400, 800, 1_600, 3_200, 5_000, 5_000]);
    expect(told).toEqual(['up', 'down DBUS_UNAVAILABLE']);
  });
});
