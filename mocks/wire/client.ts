import type { Duplex } from 'node:stream';
import { HardwareError, type HardwareErrorCode } from '../../hw/errors.ts';
import { transactionOver } from '../../hw/i2c/errors.ts';
import type {
  Clock,
  GpioBackend,
  I2cBackend,
  I2cBus,
  I2cDevice,
  Level,
  LinePlace,
  PropertyBackend,
  SensorBackend,
} from '../../hw/ports.ts';
import { decodeError, type Reply, type Request, readValues, type WireError } from './messages.ts';

export interface ConnectOptions {
  /** Longest wait for an answer. Far above a driver's own deadline of a second for a transfer. */
  readonly deadlineMs?: number;
  /** For messages: who is at the other end. */
  readonly peer?: string;
  /** Measures the deadline; system timers where it is left out. */
  readonly clock?: Pick<Clock, 'after'>;
}

export interface PortClient {
  readonly gpio: GpioBackend;
  readonly i2c: I2cBackend;
  readonly sensors: SensorBackend;
  readonly properties: PropertyBackend;
  /** An extra call of the server. Rejects as it does there, or `GPIO_FAILED` when the peer is gone. */
  call<T>(name: string, ...args: unknown[]): Promise<T>;
  /** Resolves when the connection has ended, from whichever side. */
  readonly closed: Promise<void>;
  /** Ends the connection. Lines keep their levels; what this client held is freed. */
  close(): Promise<void>;
}

const DEADLINE_MS = 30_000;

/** The ports at the other end of a stream, under the same contract. */
export function connectPorts(stream: Duplex, options: ConnectOptions = {}): PortClient {
  const peer = createPeer(stream, options);
  return {
    gpio: createGpio(peer),
    i2c: createI2c(peer),
    sensors: {
      locate: (sensor) => peer.ask('SENSOR_FAILED', 'locateSensor', sensor),
      readVolts: (sensor) => peer.ask('SENSOR_FAILED', 'readSensor', sensor),
    },
    properties: createProperties(peer),
    call: (name, ...args) => peer.ask('GPIO_FAILED', 'extra', name, ...args),
    closed: peer.closed,
    async close() {
      stream.end();
      await peer.closed;
    },
  };
}

/** Who answers at the other end. */
interface Peer {
  /** @param lostCode of the error when the peer is gone, or gives no answer */
  ask<T>(lostCode: HardwareErrorCode, call: string, ...args: unknown[]): Promise<T>;
  /** What a peer that is gone held for us is freed already. */
  giveBack(lostCode: HardwareErrorCode, call: string, handle: number): Promise<void>;
  /** What the peer wakes, by the id of the watch. */
  readonly wakes: Map<number, () => void>;
  nextId(): number;
  readonly closed: Promise<void>;
}

function createPeer(
  stream: Duplex,
  { deadlineMs = DEADLINE_MS, peer = 'the simulated chassis', clock = systemTimers }: ConnectOptions,
): Peer {
  const pending = new Map<
    number,
    { resolve(value: unknown): void; reject(error: Error): void; readonly lostCode: HardwareErrorCode }
  >();
  const wakes = new Map<number, () => void>();
  let lastId = 0;
  let gone = false;

  const nextId = (): number => {
    lastId += 1;
    return lastId;
  };

  const wentAway = (code: HardwareErrorCode) =>
    new HardwareError(code, `${peer} went away (the connection has ended): start it again`, { peer });

  const ask = <T>(lostCode: HardwareErrorCode, call: string, ...args: unknown[]): Promise<T> => {
    if (gone) return Promise.reject(wentAway(lostCode));
    const id = nextId();
    return new Promise<T>((resolve, reject) => {
      const cancel = clock.after(deadlineMs, () => {
        pending.delete(id);
        const message = `${peer} did not answer ${call} within ${deadlineMs} ms: see whether it still runs`;
        reject(new HardwareError(lostCode, message, { peer, call, deadlineMs }));
      });
      pending.set(id, {
        lostCode,
        resolve: (value) => {
          cancel();
          resolve(value as T);
        },
        reject: (error) => {
          cancel();
          reject(error);
        },
      });
      stream.write(`${JSON.stringify({ id, call, args } satisfies Request)}\n`);
    });
  };

  const closed = readValues(stream, (value) => {
    const reply = value as Reply;
    if ('wake' in reply) {
      wakes.get(reply.wake)?.();
      return;
    }
    const waiting = pending.get(reply.id);
    pending.delete(reply.id);
    if ('error' in reply) waiting?.reject(decodeError(reply.error));
    else waiting?.resolve(reply.value);
  }).then(() => {
    gone = true;
    for (const { reject, lostCode } of pending.values()) reject(wentAway(lostCode));
    pending.clear();
  });

  return {
    ask,
    async giveBack(lostCode, call, handle) {
      try {
        await ask(lostCode, call, handle);
      } catch (error) {
        if (!gone) throw error;
      }
    },
    wakes,
    nextId,
    closed,
  };
}

/** A lost watch shows in the next read; behind a failed begin or steps, a failed end says nothing new. */
const ignore = () => undefined;

function createGpio({ ask, giveBack, wakes, nextId }: Peer): GpioBackend {
  return {
    async locate(lines) {
      const found = await ask<readonly ({ place: LinePlace } | { error: WireError })[]>(
        'GPIO_FAILED',
        'locate',
        lines,
      );
      return found.map((each) => ('place' in each ? each.place : (decodeError(each.error) as HardwareError)));
    },

    release: (lines) => ask<void>('GPIO_FAILED', 'release', lines),

    async openOutput(line) {
      const handle = await ask<number>('GPIO_FAILED', 'openOutput', line);
      return {
        read: () => ask<Level>('GPIO_FAILED', 'read', handle),
        write: (level) => ask<void>('GPIO_FAILED', 'write', handle, level),
        close: () => giveBack('GPIO_FAILED', 'closeLine', handle),
      };
    },

    async openInput(line) {
      const handle = await ask<number>('GPIO_FAILED', 'openInput', line);
      const ends = new Set<() => void>();
      return {
        read: () => ask<Level>('GPIO_FAILED', 'read', handle),
        onEdge(wake, options = {}) {
          const id = nextId();
          wakes.set(id, wake);
          ask<void>('GPIO_FAILED', 'watch', handle, id, options).catch(ignore);
          const end = () => {
            if (!ends.delete(end)) return;
            wakes.delete(id);
            ask<void>('GPIO_FAILED', 'unwatch', id).catch(ignore);
          };
          ends.add(end);
          return end;
        },
        close: () => {
          for (const end of [...ends]) end();
          return giveBack('GPIO_FAILED', 'closeLine', handle);
        },
      };
    },
  };
}

function createProperties({ ask, wakes, nextId }: Peer): PropertyBackend {
  return {
    readBoolean: (property, limitMs) => ask('PROPERTY_UNREAD', 'readProperty', property, limitMs),
    watch(property, wake) {
      const id = nextId();
      wakes.set(id, wake);
      ask<void>('PROPERTY_UNREAD', 'watchProperty', id, property).catch(ignore);
      return () => {
        if (wakes.delete(id)) ask<void>('PROPERTY_UNREAD', 'unwatchProperty', id).catch(ignore);
      };
    },
  };
}

function createI2c({ ask, giveBack, nextId }: Peer): I2cBackend {
  const openBus = (handle: number, bus: number | string): I2cBus => ({
    async transaction(address, steps, options = {}) {
      // Chosen here, so that a transaction can be ended whose begin was never answered.
      const id = nextId();
      let over = false;
      const transfer = <T>(call: string, command: number, ...values: number[]): Promise<T> =>
        over
          ? Promise.reject(transactionOver({ bus, address, command }))
          : ask('I2C_FAILED', call, id, command, ...values);
      const device: I2cDevice = {
        readByte: (command) => transfer('readByte', command),
        readWord: (command) => transfer('readWord', command),
        readBlock: (command, length) => transfer('readBlock', command, length),
        writeByte: (command, value) => transfer('writeByte', command, value),
        writeWord: (command, value) => transfer('writeWord', command, value),
      };
      try {
        await ask('I2C_FAILED', 'begin', handle, address, id, options);
      } catch (error) {
        giveBack('I2C_FAILED', 'end', id).catch(ignore);
        throw error;
      }
      let result: Awaited<ReturnType<typeof steps>>;
      try {
        result = await steps(device);
      } catch (error) {
        over = true;
        await giveBack('I2C_FAILED', 'end', id).catch(ignore);
        throw error;
      }
      over = true;
      await giveBack('I2C_FAILED', 'end', id);
      return result;
    },
    close: () => giveBack('I2C_FAILED', 'closeBus', handle),
  });

  return { openBus: async (bus) => openBus(await ask<number>('I2C_FAILED', 'openBus', bus), bus) };
}

const systemTimers: Pick<Clock, 'after'> = {
  after(delayMs, run) {
    const timer = setTimeout(run, delayMs);
    return () => clearTimeout(timer);
  },
};
