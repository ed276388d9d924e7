import type { Duplex } from 'node:stream';
import { StringDecoder } from 'node:string_decoder';
import { errorText, HardwareError, type HardwareErrorCode } from '../hw/errors.ts';
import { transactionOver } from '../hw/i2c/errors.ts';
import type {
  Clock,
  GpioBackend,
  I2cBackend,
  I2cBus,
  I2cDevice,
  InputLine,
  Level,
  LinePlace,
  LineRef,
  OutputLine,
  TransactionOptions,
  WatchOptions,
} from '../hw/ports.ts';
import { MockMisuse } from './backends/misuse.ts';
import { FaultSyntaxError } from './plant/faults.ts';

/**
 * The hardware ports over a byte stream. Each side writes JSON values, one a line:
 * `{ id, call, args }` asks, `{ id, value }` or `{ id, error }` answers, `{ wake }` tells the watch of that id of an edge.
 * Whoever serves keeps what a client holds and takes it back when the stream ends.
 */
interface Request {
  readonly id: number;
  readonly call: string;
  readonly args: readonly unknown[];
}
type Reply =
  | { readonly id: number; readonly value?: unknown }
  | { readonly id: number; readonly error: WireError }
  | { readonly wake: number };

interface WireError {
  readonly name: string;
  readonly message: string;
  readonly code?: string;
  readonly details?: Readonly<Record<string, unknown>>;
}

/** What a server offers beside the ports, by name. Arguments and results travel as JSON. */
export type ExtraCalls = Readonly<Record<string, (...args: never[]) => unknown>>;

export interface ServedPorts {
  readonly gpio: GpioBackend;
  readonly i2c: I2cBackend;
  readonly extra?: ExtraCalls;
}

export interface PortServer {
  /** Resolves once the client is gone and all it held was given back. */
  readonly closed: Promise<void>;
}

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
  /** An extra call of the server. Rejects as it does there, or `GPIO_FAILED` when the peer is gone. */
  call<T>(name: string, ...args: unknown[]): Promise<T>;
  /** Resolves when the connection has ended, from whichever side. */
  readonly closed: Promise<void>;
  /** Ends the connection. Lines keep their levels; what this client held is freed. */
  close(): Promise<void>;
}

const DEADLINE_MS = 30_000;

interface HeldTransaction {
  device: I2cDevice | undefined;
  /** Transfers that were started; the bus is not let go before they ended. */
  readonly transfers: Promise<unknown>[];
  end: () => void;
  ended: Promise<void>;
}

/** Serves one client until its stream ends. Lines keep their levels then, and a held bus is freed. */
export function servePorts(stream: Duplex, ports: ServedPorts): PortServer {
  const lines = new Map<number, OutputLine | InputLine>();
  const buses = new Map<number, I2cBus>();
  const watches = new Map<number, { readonly line: number; readonly stop: () => void }>();
  const transactions = new Map<number, HeldTransaction>();
  let nextHandle = 1;
  let gone = false;

  const send = (reply: Reply): void => {
    if (!gone) stream.write(`${JSON.stringify(reply)}\n`);
  };

  const keep = async <T extends { close(): Promise<void> }>(
    map: Map<number, T>,
    opened: T,
  ): Promise<number> => {
    // Nobody is left to close it.
    if (gone) await opened.close();
    const handle = nextHandle++;
    map.set(handle, opened);
    return handle;
  };
  const outputOf = (handle: number): OutputLine => held(lines, handle) as OutputLine;
  const transfer = <T>(id: number, run: (device: I2cDevice) => Promise<T>): Promise<T> => {
    const { device, transfers } = transactions.get(id) ?? {};
    if (device === undefined || transfers === undefined) {
      throw new HardwareError('I2C_FAILED', 'a transfer was asked for outside its transaction');
    }
    const running = run(device);
    transfers.push(running);
    return running;
  };

  const begin = (bus: I2cBus, address: number, id: number, options: TransactionOptions): Promise<void> =>
    new Promise((resolve, reject) => {
      const transaction: HeldTransaction = {
        device: undefined,
        transfers: [],
        end: () => undefined,
        ended: Promise.resolve(),
      };
      const endAsked = new Promise<void>((resolveEnd) => {
        transaction.end = resolveEnd;
      });
      transactions.set(id, transaction);
      if (gone) transaction.end();
      const steps = async (device: I2cDevice) => {
        transaction.device = device;
        resolve();
        await endAsked;
        await Promise.allSettled(transaction.transfers);
      };
      transaction.ended = bus.transaction(address, steps, options);
      transaction.ended.catch(reject);
    });

  const calls: Readonly<Record<string, (...args: never[]) => unknown>> = {
    locate: async (refs: readonly LineRef[]) =>
      (await ports.gpio.locate(refs)).map((place) =>
        place instanceof HardwareError ? { error: encodeError(place) } : { place },
      ),
    release: (refs: readonly LineRef[]) => ports.gpio.release(refs),
    openOutput: async (line: LineRef) => keep(lines, await ports.gpio.openOutput(line)),
    openInput: async (line: LineRef) => keep(lines, await ports.gpio.openInput(line)),
    read: (handle: number) => held(lines, handle).read(),
    write: (handle: number, level: Level) => outputOf(handle).write(level),
    closeLine: async (handle: number) => {
      for (const [id, { line }] of watches) if (line === handle) watches.delete(id);
      await held(lines, handle).close();
    },
    watch: (handle: number, id: number, options: WatchOptions) => {
      const stop = (held(lines, handle) as InputLine).onEdge(() => send({ wake: id }), options);
      watches.set(id, { line: handle, stop });
    },
    unwatch: (id: number) => {
      watches.get(id)?.stop();
      watches.delete(id);
    },
    openBus: async (bus: number | string) => keep(buses, await ports.i2c.openBus(bus)),
    closeBus: (handle: number) => held(buses, handle).close(),
    begin: (handle: number, address: number, id: number, options: TransactionOptions) =>
      begin(held(buses, handle), address, id, options),
    readByte: (id: number, command: number) => transfer(id, (device) => device.readByte(command)),
    readWord: (id: number, command: number) => transfer(id, (device) => device.readWord(command)),
    writeByte: (id: number, command: number, value: number) =>
      transfer(id, (device) => device.writeByte(command, value)),
    end: async (id: number) => {
      const transaction = transactions.get(id);
      transactions.delete(id);
      transaction?.end();
      await transaction?.ended;
    },
    extra: (name: string, ...args: never[]) => {
      const extra = ports.extra ?? {};
      if (!Object.hasOwn(extra, name)) throw new MockMisuse(`the other end has no call "${name}"`);
      return extra[name]?.(...args);
    },
  };

  const answer = async ({ id, call, args }: Request): Promise<void> => {
    try {
      if (!Object.hasOwn(calls, call)) throw new MockMisuse(`unknown call "${call}"`);
      send({ id, value: await calls[call]?.(...(args as never[])) });
    } catch (error) {
      send({ id, error: encodeError(error) });
    }
  };

  const closed = readValues(stream, (value) => void answer(value as Request)).then(async () => {
    gone = true;
    for (const { stop } of watches.values()) stop();
    for (const { end } of transactions.values()) end();
    const closing = [...lines.values(), ...buses.values()].map((opened) => opened.close());
    await Promise.allSettled([...closing, ...[...transactions.values()].map(({ ended }) => ended)]);
  });
  return { closed };
}

/** The ports at the other end of a stream, under the same contract. */
export function connectPorts(stream: Duplex, options: ConnectOptions = {}): PortClient {
  const { deadlineMs = DEADLINE_MS, peer = 'the simulated chassis', clock = systemTimers } = options;
  const pending = new Map<
    number,
    { resolve(value: unknown): void; reject(error: Error): void; readonly lostCode: HardwareErrorCode }
  >();
  /** By the id of their watch. */
  const wakes = new Map<number, () => void>();
  let nextId = 1;
  let gone = false;

  const wentAway = (code: HardwareErrorCode) =>
    new HardwareError(code, `${peer} went away (the connection has ended): start it again`, { peer });

  const ask = <T>(lostCode: HardwareErrorCode, call: string, ...args: unknown[]): Promise<T> => {
    if (gone) return Promise.reject(wentAway(lostCode));
    const id = nextId++;
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

  /** A lost watch shows in the next read; behind a failed begin or steps, a failed end says nothing new. */
  const ignore = () => undefined;

  /** What a peer that is gone held for us is freed already. */
  const giveBack = async (lostCode: HardwareErrorCode, call: string, handle: number): Promise<void> => {
    try {
      await ask(lostCode, call, handle);
    } catch (error) {
      if (!gone) throw error;
    }
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

  const gpio: GpioBackend = {
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
          const id = nextId++;
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

  const openBus = (handle: number, bus: number | string): I2cBus => ({
    async transaction(address, steps, options = {}) {
      // Chosen here, so that a transaction can be ended whose begin was never answered.
      const id = nextId++;
      let over = false;
      const transfer = <T>(call: string, command: number, ...values: number[]): Promise<T> =>
        over
          ? Promise.reject(transactionOver({ bus, address, command }))
          : ask('I2C_FAILED', call, id, command, ...values);
      const device: I2cDevice = {
        readByte: (command) => transfer('readByte', command),
        readWord: (command) => transfer('readWord', command),
        writeByte: (command, value) => transfer('writeByte', command, value),
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

  return {
    gpio,
    i2c: { openBus: async (bus) => openBus(await ask<number>('I2C_FAILED', 'openBus', bus), bus) },
    call: (name, ...args) => ask('GPIO_FAILED', 'extra', name, ...args),
    closed,
    async close() {
      stream.end();
      await closed;
    },
  };
}

const systemTimers: Pick<Clock, 'after'> = {
  after(delayMs, run) {
    const timer = setTimeout(run, delayMs);
    return () => clearTimeout(timer);
  },
};

function held<T>(map: ReadonlyMap<number, T>, handle: number): T {
  const found = map.get(handle);
  if (found === undefined) throw new MockMisuse(`nothing is held under ${handle}`);
  return found;
}

/** Calls `take` for every line. Resolves when the stream has ended, broke, or carried something else. */
function readValues(stream: Duplex, take: (value: unknown) => void): Promise<void> {
  return new Promise((resolve) => {
    const decoder = new StringDecoder('utf8');
    let rest = '';
    stream.on('data', (chunk: Buffer) => {
      const texts = (rest + decoder.write(chunk)).split('\n');
      rest = texts.pop() ?? '';
      for (const text of texts) {
        let value: unknown;
        try {
          value = JSON.parse(text);
        } catch (error) {
          stream.destroy(new Error(`not a line of JSON: ${errorText(error)}`));
          return;
        }
        take(value);
      }
    });
    stream.on('end', () => {
      stream.end();
      resolve();
    });
    stream.on('close', resolve);
    // 'close' follows; a broken connection is the end of this client and no more.
    stream.on('error', () => stream.destroy());
  });
}

function encodeError(error: unknown): WireError {
  if (!(error instanceof Error)) return { name: 'Error', message: String(error) };
  const { name, message } = error;
  const code = 'code' in error && typeof error.code === 'string' ? { code: error.code } : {};
  const details = error instanceof HardwareError ? { details: error.details } : {};
  return { name, message, ...code, ...details };
}

function decodeError({ name, message, code, details }: WireError): Error {
  if (name === 'HardwareError') return new HardwareError(code as HardwareErrorCode, message, { ...details });
  if (name === 'FaultSyntaxError') return new FaultSyntaxError(message);
  if (name === 'MockMisuse') return new MockMisuse(message);
  return Object.assign(new Error(message), { name }, code === undefined ? {} : { code });
}
