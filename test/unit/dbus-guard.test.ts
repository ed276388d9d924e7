/** What anybody can send to this program over the bus, and what it may not do to it. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import fc from 'fast-check';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { createSystemClock } from '../../hw/clock.ts';
import type { Clock } from '../../hw/ports.ts';
import { createFrameReader } from '../../src/system/dbus/frames.ts';
import { createObjectBus } from '../../src/system/object-bus.ts';
import type { ObjectBus, Publication } from '../../src/system/ports.ts';
import { draws } from '../draws.ts';
import { until } from '../until.ts';
import { typed } from './dbus-arbitraries.ts';
import {
  array,
  CALL,
  dict,
  ERROR,
  encode,
  encodeBody,
  type Frame,
  int32,
  NO_REPLY,
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
  type HostileClient,
  type ScriptedBus,
  startScriptedBus,
} from './dbus-hostile.ts';
import { createPrivateBus, type PrivateBus, withoutBus } from './dbus-systemd.ts';

const NAME = 'org.example.Power';
const POWER = '/org/example/power0';
const PROPERTIES = 'org.freedesktop.DBus.Properties';
const dbusError = (name: string) => `org.freedesktop.DBus.Error.${name}`;

/** What was done to the served object. */
let done: unknown[];
const publication = (): Publication => ({
  names: [NAME],
  managerPaths: [],
  objects: [
    {
      path: POWER,
      interfaces: [
        {
          name: NAME,
          methods: {
            setPowerState: {
              in: [{ name: 'state', signature: 'i' }],
              out: [],
              call([state]) {
                done.push(state);
                return [];
              },
            },
            // Takes about as long as a busy object needs for an answer.
            work: {
              in: [],
              out: [],
              call() {
                for (const endMs = performance.now() + 1; performance.now() < endMs; );
                done.push('work');
                return [];
              },
            },
          },
          properties: {
            any: {
              signature: 'v',
              emits: 'none',
              read: () => ({ signature: 's', value: '' }),
              write: (value) => {
                done.push(value);
              },
            },
          },
          signals: {},
        },
      ],
    },
  ],
});

const call = (member: string, values: readonly Typed[], more: Partial<Frame> = {}): Frame => ({
  type: CALL,
  destination: NAME,
  path: POWER,
  interface: NAME,
  member,
  signature: signatureOf(values),
  body: encodeBody(values, more.endian),
  ...more,
});
const set = (value: Typed, more: Partial<Frame> = {}) =>
  call('Set', [text(NAME), text('any'), variant(variant(value))], { interface: PROPERTIES, ...more });

/** Deadlines are real; what waits before it tries again, which is shorter than any, waits a hundredth. */
const hasty = (): Clock => {
  const clock = createSystemClock();
  return { ...clock, after: (delayMs, run) => clock.after(delayMs < 1_000 ? delayMs / 100 : delayMs, run) };
};

const serve = async (address: string, more: Partial<Publication> = {}): Promise<ObjectBus> => {
  const served = createObjectBus({ clock: hasty(), address, ...publication(), ...more });
  await served.start();
  return served;
};

describe.skipIf(withoutBus)(`on a real bus${withoutBus ? ` [skipped: ${withoutBus}]` : ''}`, () => {
  let bus: PrivateBus;
  let served: ObjectBus;
  let client: HostileClient;
  // One that a test killed is there again for the next.
  beforeAll(() => {
    bus = createPrivateBus();
  });
  afterAll(() => bus.remove());
  beforeEach(async () => {
    done = [];
    await bus.start();
    served = await serve(bus.address);
    client = await connectHostile(bus.address);
  });
  afterEach(async () => {
    client.close();
    await served.close();
  });

  it('a call with a signature that is not taken gets an error, not silence', async () => {
    const ask = (values: readonly Typed[], signature = signatureOf(values)) =>
      client.ask(call('setPowerState', values, { signature }));
    const refused = { type: ERROR, errorName: dbusError('InvalidArgs') };
    expect(await ask([int32(0)], 'h')).toMatchObject(refused);
    await fc.assert(
      fc.asyncProperty(fc.array(typed, { maxLength: 3 }), async (values) => {
        fc.pre(signatureOf(values) !== 'i');
        expect(await ask(values)).toMatchObject(refused);
      }),
      { numRuns: draws(50) },
    );
    expect(done).toEqual([]);
    expect(await ask([int32(1)])).toMatchObject({ type: RETURN });
    expect(done).toEqual([1]);
  });

  it('values of any type arrive as they were sent, in either order of bytes', async () => {
    await fc.assert(
      fc.asyncProperty(typed, fc.constantFrom('l' as const, 'B' as const), async (value, endian) => {
        done = [];
        expect(await client.ask(set(value, { endian }))).toMatchObject({ type: RETURN });
        expect(done).toEqual([{ signature: value.signature, value: value.value }]);
      }),
      { numRuns: draws(100) },
    );
  });

  it('a message that nobody waits for gets no answer, and is no reason to end', async () => {
    const before = client.heard.length;
    await client.tell(call('setPowerState', [text('wrong')], { flags: NO_REPLY }));
    await client.tell(call('nothing', [], { flags: NO_REPLY }));
    await client.tell({ ...call('setPowerState', [int32(5)]), type: SIGNAL });
    await client.tell({ type: RETURN, destination: NAME, replySerial: 3 });
    await client.tell({ type: ERROR, destination: NAME, replySerial: 4, errorName: 'org.example.Error' });
    expect(await client.ask(call('setPowerState', [int32(1)]))).toMatchObject({ type: RETURN });
    // The bus may have its own opinion of an answer that nobody asked for.
    const ours = client.heard.slice(before).filter(({ sender }) => sender !== BUS_NAME);
    expect(ours).toHaveLength(1);
    expect(done).toEqual([1]);
  });
});

describe('on a bus that lets everything through', () => {
  let folder: string;
  let bus: ScriptedBus;
  let served: ObjectBus;
  let refusals: string[];
  beforeEach(async () => {
    done = [];
    refusals = [];
    folder = mkdtempSync(join(tmpdir(), 'dbus-guard-'));
    bus = await startScriptedBus(join(folder, 'bus'));
    served = await serve(bus.address, { onRefused: (line) => refusals.push(line) });
  });
  afterEach(async () => {
    await served.close();
    bus.close();
    rmSync(folder, { recursive: true });
  });

  let serial = 0;
  const from = (frame: Frame): Frame => {
    serial += 1;
    return { sender: ':1.66', serial, ...frame };
  };
  const answerTo = ({ serial: asked }: Frame) => bus.heard.find((one) => one.replySerial === asked);
  const answered = async (frame: Frame) => {
    await until(`an answer to ${frame.member}`, () => answerTo(frame) !== undefined);
    return answerTo(frame);
  };
  /** That the program still does what it is asked to. */
  const expectAlive = async () => {
    const good = from(call('setPowerState', [int32(7)]));
    bus.send(encode(good));
    expect(await answered(good)).toMatchObject({ type: RETURN });
    expect(done.at(-1)).toBe(7);
  };
  const LARGEST = 8 * 1024 * 1024;

  it('a message of any size is judged by its header, before its body is there', async () => {
    const refused: [Frame, string][] = [
      [call('setPowerState', [], { signature: 'av' }), 'InvalidArgs'],
      [call('setPowerState', [], { signature: 'i' }), 'LimitsExceeded'],
      [call('setPowerState', []), 'InvalidArgs'],
      [call('nothing', [], { signature: 'av' }), 'UnknownMethod'],
      [call('Get', [], { signature: 'ss', interface: PROPERTIES }), 'LimitsExceeded'],
      [call('Set', [], { signature: 'ssv', interface: PROPERTIES }), 'LimitsExceeded'],
      [
        call('Ping', [], { signature: 'ay', path: '/nowhere', interface: 'org.freedesktop.DBus.Peer' }),
        'InvalidArgs',
      ],
    ];
    for (const [frame, name] of refused) {
      for (const endian of ['l', 'B'] as const) {
        const huge = from({ ...frame, endian, bodyBytes: LARGEST });
        bus.send(encode(huge));
        expect(await answered(huge), name).toMatchObject({ type: ERROR, errorName: dbusError(name) });
        // Only now.
        bus.send(Buffer.alloc(LARGEST, 1));
      }
    }
    await expectAlive();
    expect(bus.greeted).toBe(1);
  });

  it('nothing is kept of a body that is not taken', async () => {
    setFlagsFromString('--expose-gc');
    const collect = runInNewContext('gc') as () => void;
    const heldBytes = () => {
      collect();
      return process.memoryUsage().arrayBuffers;
    };
    const chunk = Buffer.alloc(1024 * 1024, 1);
    const before = heldBytes();
    const huge = from(call('Set', [], { signature: 'ssv', interface: PROPERTIES, bodyBytes: LARGEST }));
    bus.send(encode(huge));
    for (let sent = chunk.length; sent < LARGEST; sent += chunk.length) await bus.sendAll(chunk);
    // Not the whole message is there, so that whoever wanted it would have it still.
    // V8 frees buffers beside the program, so that it takes a moment.
    await until('freed', () => heldBytes() - before < 3 * chunk.length);
    bus.send(chunk);
    expect(await answered(huge)).toMatchObject({ type: ERROR });
    await expectAlive();
  });

  it('whatever else waits has its turn between two calls of a flood', async () => {
    const calls = 200;
    const flood = Array.from({ length: calls }, () => from(call('work', [])));
    let turns = 0;
    let isOver = false;
    const takeTurn = () => {
      turns += 1;
      if (!isOver) setImmediate(takeTurn);
    };
    await bus.sendAll(Buffer.concat([...flood, from(call('setPowerState', [int32(1)]))].map(encode)));
    await until('the first call', () => done.length > 0);
    takeTurn();
    await until('the last call', () => done.at(-1) === 1);
    isOver = true;
    expect(done).toHaveLength(calls + 1);
    expect(turns).toBeGreaterThan(calls / 2);
  });

  it('messages arrive whole, wherever the stream is cut', async () => {
    const calls = [
      from(call('setPowerState', [int32(1)])),
      from(set(array('v', [variant(text('one')), variant(int32(2))]), { endian: 'B' })),
      from(call('setPowerState', [text('no')], { endian: 'B' })),
      from({ ...call('nothing', [], { signature: 'av' }), body: Buffer.alloc(3_000, 1) }),
      from({ ...call('setPowerState', [int32(5)]), type: 77 }),
      from({ ...call('setPowerState', [int32(6)]), type: SIGNAL }),
      from(call('setPowerState', [int32(3)], { endian: 'B' })),
    ];
    const stream = Buffer.concat(calls.map(encode));
    const expected = [1, { signature: 'av', value: expect.anything() }, 3];
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.integer({ min: 1, max: 200 }), { minLength: 1, maxLength: 60 }),
        async (sizes) => {
          done = [];
          const target = createFrameTarget();
          let at = 0;
          for (const size of [...sizes, stream.length]) {
            target.push(stream.subarray(at, at + size));
            at += size;
            if (at >= stream.length) break;
          }
          expect(target.seen).toEqual(calls.map(({ serial: own, type }) => [own, type]));
        },
      ),
    );
    for (const byte of stream) await bus.sendAll(Buffer.from([byte]));
    await until('the last call', () => done.length === 3);
    expect(done).toEqual(expected);
    expect(calls.map((one) => answerTo(one)?.errorName)).toEqual([
      undefined,
      undefined,
      dbusError('InvalidArgs'),
      dbusError('UnknownMethod'),
      undefined,
      undefined,
      undefined,
    ]);
  });

  it('a body that is not what its signature says gets an error', async () => {
    const nested = (depth: number): Typed => (depth === 0 ? int32(1) : variant(nested(depth - 1)));
    const raw = (signature: string, bytes: readonly number[]): Typed => ({
      signature,
      value: undefined,
      write: (writer) => writer.raw(Buffer.from(bytes)),
    });
    const bad: Typed[] = [
      nested(70),
      raw('a()', [0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
      raw('a{v}', []),
      raw('', []),
      raw('ii', []),
      raw('z', []),
      raw('h', [0, 0, 0, 0]),
      raw('b', [0, 0, 0, 0, 2, 0, 0, 0]),
      raw('s', [0, 0, 0, 0, 255, 255, 255, 255]),
      raw('ay', [0, 0, 0, 255, 255, 255, 127]),
      raw('a(', []),
      raw('(((((((((((((((((((((((((((((((((((i)))))))))))))))))))))))))))))))))))', []),
    ];
    for (const value of bad) {
      const wrong = from(set(value));
      bus.send(encode(wrong));
      expect(await answered(wrong), value.signature).toMatchObject({
        type: ERROR,
        errorName: dbusError('InvalidArgs'),
      });
    }
    const trailing = set(int32(1));
    const long = from({
      ...trailing,
      body: Buffer.concat([trailing.body ?? Buffer.alloc(0), Buffer.alloc(8)]),
    });
    bus.send(encode(long));
    expect(await answered(long)).toMatchObject({ type: ERROR, errorName: dbusError('InvalidArgs') });
    expect(done).toEqual([]);
    await expectAlive();
  });

  it('any bytes as a body do no harm', async () => {
    const good = encodeBody([text(NAME), text('any'), variant(array('v', [variant(text('x'))]))]);
    await fc.assert(
      fc.asyncProperty(
        fc.oneof(
          fc.uint8Array({ maxLength: 100 }),
          // What is nearly right goes further.
          fc.tuple(fc.nat(good.length - 1), fc.nat(255)).map(([at, byte]) => {
            const changed = Buffer.from(good);
            changed[at] = byte;
            return changed;
          }),
        ),
        async (body) => {
          const wrong = from({ ...set(int32(0)), body });
          bus.send(encode(wrong));
          await answered(wrong);
        },
      ),
      { numRuns: draws(200) },
    );
    expect(bus.greeted).toBe(1);
    await expectAlive();
  });

  it('any bytes as fields of a header do no harm', async () => {
    await fc.assert(
      fc.asyncProperty(fc.nat(200), fc.nat(255), async (at, byte) => {
        const bytes = encode(from(set(int32(0))));
        // The first 16 say how long the message is.
        const changed = 16 + (at % (bytes.length - 16));
        bytes[changed] = byte;
        bus.send(bytes);
        await expectAlive();
      }),
      { numRuns: draws(150) },
    );
    expect(bus.greeted).toBe(1);
  });

  it('a header of any size is passed over, and the message behind it is read', async () => {
    const path = `/${'x'.repeat(1024 * 1024)}`;
    bus.send(encode(from({ ...call('setPowerState', [int32(1)]), path })));
    bus.send(encode(from({ ...call('setPowerState', [int32(1)]), member: 'x'.repeat(40_000) })));
    await expectAlive();
    expect(done).toEqual([7]);
  });

  it('fields that nobody knows are no reason to refuse', async () => {
    const more = [
      [99, 's', (writer) => writer.text('later')],
      [77, 'a{sv}', (writer) => dict('v', [['x', variant(int32(1))]]).write(writer)],
    ] as Frame['more'];
    const known = from(call('setPowerState', [int32(4)], more ? { more } : {}));
    bus.send(encode(known));
    expect(await answered(known)).toMatchObject({ type: RETURN });
  });

  it('a call with file descriptors gets an error', async () => {
    const carrying = from(call('setPowerState', [int32(4)], { unixFds: 2 }));
    bus.send(encode(carrying));
    expect(await answered(carrying)).toMatchObject({ type: ERROR, errorName: dbusError('NotSupported') });
    expect(done).toEqual([]);
  });

  it.each<[string, Uint8Array]>([
    ['an order of bytes that is none', encode({ type: CALL, endian: 'x' as never })],
    ['another version of the protocol', encode({ type: CALL, version: 2 })],
    ['no type', encode({ type: 0 })],
    ['no serial', encode({ type: CALL, serial: 0 })],
    ['a body longer than any message', encode({ type: CALL, bodyBytes: 128 * 1024 * 1024 })],
    ['a body as long as a number can say', encode({ type: CALL, bodyBytes: 0xffff_ffff })],
    [
      'a header longer than any array',
      Buffer.concat([encode({ type: CALL }).subarray(0, 12), Buffer.from([1, 0, 0, 4])]),
    ],
  ])('a stream that is broken by %s is left, and the bus connected to again', async (_title, bytes) => {
    bus.send(bytes);
    await until('another connection', () => bus.greeted === 2);
    await until('the names', () => served.isConnected);
    await expectAlive();
  });

  it('any bytes at all end in a connection that works', async () => {
    await fc.assert(
      fc.asyncProperty(fc.uint8Array({ minLength: 16, maxLength: 64 }), async (bytes) => {
        const before = bus.greeted;
        // Most lengths make a message that never ends, which is no fault of who waits for it.
        const lengths = Buffer.from(bytes);
        for (const at of [6, 7, 14, 15, 4, 5, 12, 13]) lengths[at] = at % 8 === 4 ? (bytes[at] ?? 0) % 8 : 0;
        bus.send(lengths);
        bus.send(Buffer.alloc(64));
        // 64 null bytes begin no message.
        await until('another connection', () => bus.greeted > before && served.isConnected);
        await expectAlive();
      }),
      { numRuns: 10 },
    );
  });

  it('who sends what is refused is told in the journal, once for many', async () => {
    for (let time = 0; time < 20; time += 1) {
      const huge = from({
        ...call('Get', [], { signature: 'ss', interface: PROPERTIES }),
        body: Buffer.alloc(20_000),
      });
      bus.send(encode(huge));
      await answered(huge);
    }
    expect(refusals).toEqual([
      ':1.66 on the D-Bus system bus sent a call of Get with 20000 bytes, which was refused: see "busctl status :1.66"',
    ]);
  });
});

/** Notes what it cuts out of a stream. */
function createFrameTarget() {
  const seen: [number, number][] = [];
  const read = createFrameReader({
    judge(header) {
      seen.push([header.serial, header.type]);
      return seen.length % 2 === 0 ? undefined : (body) => expect(body).toHaveLength(header.bodyBytes);
    },
    passedOver: (why) => expect.unreachable(why),
  });
  return {
    seen,
    push(chunk: Buffer) {
      for (let rest = chunk; rest.length > 0; ) rest = read(rest);
    },
  };
}
