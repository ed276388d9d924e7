import { EventEmitter } from 'node:events';
import type { Duplex } from 'node:stream';
import * as v from 'valibot';
import { describe, expect, it } from 'vitest';
import reference from '../../hw/boards/reference.json' with { type: 'json' };
import { HardwareError } from '../../hw/errors.ts';
import type { I2cDevice } from '../../hw/ports.ts';
import { createMockGpio } from '../../mocks/backends/gpio.ts';
import { createMockI2c } from '../../mocks/backends/i2c.ts';
import { MockMisuse } from '../../mocks/backends/misuse.ts';
import { createMockProperties } from '../../mocks/backends/properties.ts';
import { createMockSensors } from '../../mocks/backends/sensors.ts';
import { createDuplexPair } from '../../mocks/duplex-pair.ts';
import { FaultSyntaxError, parseFault } from '../../mocks/plant/faults.ts';
import { createPlant } from '../../mocks/plant/plant.ts';
import { createVirtualClock } from '../../mocks/virtual-clock.ts';
import { connectPorts } from '../../mocks/wire/client.ts';
import { type ExtraCalls, servePorts } from '../../mocks/wire/server.ts';
import { boardSchema } from '../../src/board/schema.ts';

const board = v.parse(boardSchema, reference);
const ENABLE = { chip: '1e780000.gpio', line: 'C0' };
const GOOD = { chip: '1e780000.gpio', line: 'B0' };
const VR = 0x60;
const OPERATION = 0x01;

/** A served plant to which clients connect. */
function bench() {
  const clock = createVirtualClock();
  const plant = createPlant({ board, clock });
  const ports = {
    gpio: createMockGpio(plant),
    i2c: createMockI2c(plant),
    sensors: createMockSensors(plant),
    properties: createMockProperties(plant),
  };
  const join = (extra: ExtraCalls = {}) => {
    const [ours, theirs] = createDuplexPair();
    const server = servePorts(theirs, { ...ports, extra });
    return { client: connectPorts(ours, { clock }), server, ours, theirs };
  };
  return { clock, plant, ports, join, run: <T>(promise: Promise<T>) => clock.runUntil(promise) };
}

/** A peer that takes everything and never answers. */
function silent(): { stream: Duplex; clock: ReturnType<typeof createVirtualClock> } {
  const [ours, theirs] = createDuplexPair();
  theirs.resume();
  return { stream: ours, clock: createVirtualClock() };
}

describe('errors', () => {
  it('arrive with code, message and details', async () => {
    const { join, run } = bench();
    const error = await run(
      join()
        .client.gpio.openOutput({ chip: 'nowhere', line: 1 })
        .catch((e) => e),
    );
    expect(error).toBeInstanceOf(HardwareError);
    expect(error).toMatchObject({ code: 'GPIO_NO_CHIP', details: { chip: 'nowhere' } });
    expect(error.message).toContain('1e780000.gpio');
  });

  it('of extra calls keep their kind', async () => {
    const { join, run } = bench();
    const { client } = join({
      addFault: (text: string) => parseFault(text),
      break: () => {
        throw Object.assign(new RangeError('broken'), { code: 'BROKEN' });
      },
      sum: (left: number, right: number) => left + right,
    });
    expect(await run(client.call<number>('sum', 2, 3))).toBe(5);
    await expect(run(client.call('addFault', 'nonsense'))).rejects.toThrow(FaultSyntaxError);
    await expect(run(client.call('break'))).rejects.toMatchObject({ name: 'RangeError', code: 'BROKEN' });
    await expect(run(client.call('toString'))).rejects.toThrow(MockMisuse);
  });

  it('of misuse stay what they are, and are kept by the plant', async () => {
    const { join, run, plant } = bench();
    const line = await run(join().client.gpio.openOutput(ENABLE));
    await expect(run(line.write('1' as never))).rejects.toThrow(MockMisuse);
    expect(plant.misuses).toHaveLength(1);
  });
});

describe('a wake', () => {
  it('is sent for an edge that came before the server knew of the watch', async () => {
    const { join, run, plant, clock } = bench();
    const { client, theirs } = join();
    const line = await run(client.gpio.openInput(GOOD));
    let woken = 0;
    theirs.pause();
    line.onEdge(() => {
      woken += 1;
    });
    plant.hold(GOOD, 1);
    theirs.resume();
    await clock.advance(0);
    expect(woken).toBeGreaterThan(0);
  });

  it('stops at the server when nobody listens any more', async () => {
    const { join, run, plant, clock } = bench();
    const { client, ours } = join();
    const line = await run(client.gpio.openInput(GOOD));
    line.onEdge(() => undefined)();
    await clock.advance(0);
    let received = 0;
    ours.on('data', () => {
      received += 1;
    });
    plant.hold(GOOD, 1);
    await clock.advance(0);
    expect(received).toBe(0);
  });
});

describe.each(['ends', 'is killed'] as const)('when a client %s', (how) => {
  const leave = (ours: Duplex) => (how === 'ends' ? ours.end() : ours.destroy());

  it('its lines keep their levels, and edges go nowhere', async () => {
    const { join, run, plant } = bench();
    const { client, ours, server } = join();
    await run(client.gpio.openOutput(ENABLE).then((line) => line.write(1)));
    const watched = await run(client.gpio.openInput(GOOD));
    watched.onEdge(() => undefined);
    await run(watched.read());
    leave(ours);
    await run(server.closed);
    plant.hold(GOOD, 1);
    expect(plant.lines().find(({ rail, role }) => rail === 'P12V' && role === 'enable')).toMatchObject({
      level: 1,
      direction: 'out',
    });
    expect(plant.misuses).toEqual([]);
  });

  it('the bus that it held is free for the next', async () => {
    const { join, run, clock } = bench();
    const { client: first, ours } = join();
    const { client: second } = join();
    const began = new EventEmitter();
    const beginning = new Promise<void>((resolve) => began.once('began', resolve));
    const bus = await run(first.i2c.openBus(3));
    const stuck = bus.transaction(VR, async (device) => {
      await device.writeByte(0, 0);
      began.emit('began');
      return new Promise<never>(() => undefined);
    });
    stuck.catch(() => undefined);
    await run(beginning);
    // Asked for while the first holds the bus, and by one that leaves before its turn.
    const queued = bus.transaction(VR, async () => 'never').catch(() => undefined);
    const other = await run(second.i2c.openBus(3));
    let answered = false;
    const read = other
      .transaction(VR, (device) => device.readByte(OPERATION))
      .then((value) => {
        answered = true;
        return value;
      });
    await clock.advance(100);
    expect(answered).toBe(false);
    leave(ours);
    expect(await run(read)).toBe(0);
    await run(queued);
  });
});

describe('when the peer dies', () => {
  it('all that waits is rejected at once, and all that comes later', async () => {
    const { join, run, clock } = bench();
    const { client, theirs } = join();
    const line = await run(client.gpio.openOutput(ENABLE));
    const input = await run(client.gpio.openInput(GOOD));
    const bus = await run(client.i2c.openBus(3));
    let device: I2cDevice | undefined;
    const transaction = bus.transaction(VR, (given) => {
      device = given;
      return new Promise<never>(() => undefined);
    });
    transaction.catch(() => undefined);
    await clock.advance(0);
    const waiting = [line.read(), line.write(1), device?.readByte(OPERATION)].map((asked) =>
      asked?.then(
        () => 'answered',
        ({ code }) => code,
      ),
    );
    theirs.destroy();
    expect(await run(Promise.all(waiting))).toEqual(['GPIO_FAILED', 'GPIO_FAILED', 'I2C_FAILED']);
    expect(clock.nowMs()).toBe(1000);
    await run(client.closed);
    await expect(run(line.write(1))).rejects.toThrow(/the simulated chassis went away/);
    await expect(run(client.gpio.openOutput(ENABLE))).rejects.toMatchObject({ code: 'GPIO_FAILED' });
    await expect(run(client.i2c.openBus(3))).rejects.toMatchObject({ code: 'I2C_FAILED' });
    await expect(run(client.call('lines'))).rejects.toMatchObject({ code: 'GPIO_FAILED' });
    input.onEdge(() => undefined);
    await run(Promise.all([line.close(), input.close(), bus.close(), client.close()]));
  });

  it('a transaction that it held ends with the result of its steps', async () => {
    const { join, run, clock } = bench();
    const { client, theirs } = join();
    const bus = await run(client.i2c.openBus(3));
    const steps = bus.transaction(VR, async () => {
      await new Promise<void>((resolve) => {
        clock.after(10, resolve);
      });
      return 'result';
    });
    clock.after(5, () => theirs.destroy());
    expect(await run(steps)).toBe('result');
  });

  it('one that only stops answering is given up at the deadline', async () => {
    const { stream, clock } = silent();
    const client = connectPorts(stream, { clock, deadlineMs: 500, peer: 'the agent' });
    const opened = client.gpio.openOutput(ENABLE);
    await expect(clock.runUntil(opened)).rejects.toThrow(/the agent did not answer openOutput within 500 ms/);
    expect(clock.nowMs()).toBe(1500);
    await expect(clock.runUntil(client.i2c.openBus(3))).rejects.toMatchObject({ code: 'I2C_FAILED' });
  });

  it('one that talks nonsense is dropped', async () => {
    const [ours, theirs] = createDuplexPair();
    const client = connectPorts(ours);
    const opened = client.gpio.openOutput(ENABLE);
    theirs.write('ready\n');
    await expect(opened).rejects.toMatchObject({ code: 'GPIO_FAILED' });
    await client.closed;
  });
});

it('leaves no timer behind when it was answered', async () => {
  const { join, run, clock } = bench();
  const line = await run(join().client.gpio.openOutput(ENABLE));
  await run(line.read());
  await expect(run(new Promise(() => undefined))).rejects.toThrow(/hangs at 1000 ms/);
  expect(clock.nowMs()).toBe(1000);
});

it('reads text whose bytes arrive one by one', async () => {
  const [ours, theirs] = createDuplexPair(1);
  const { ports, run } = bench();
  const echo = (text: string) => text;
  servePorts(theirs, { ...ports, extra: { echo } });
  expect(await run(connectPorts(ours).call('echo', 'Ω ✓ 🔌'))).toBe('Ω ✓ 🔌');
});
