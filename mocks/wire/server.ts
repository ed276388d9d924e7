import type { Duplex } from 'node:stream';
import { HardwareError } from '../../hw/errors.ts';
import type {
  GpioBackend,
  I2cBackend,
  I2cBus,
  I2cDevice,
  InputLine,
  Level,
  LineRef,
  OutputLine,
  PropertyBackend,
  PropertyRef,
  SensorBackend,
  SensorRef,
  TransactionOptions,
  WatchOptions,
} from '../../hw/ports.ts';
import { MockMisuse } from '../backends/misuse.ts';
import { encodeError, type Reply, type Request, readValues } from './messages.ts';

/** What a server offers beside the ports, by name. Arguments and results travel as JSON. */
export type ExtraCalls = Readonly<Record<string, (...args: never[]) => unknown>>;

export interface ServedPorts {
  readonly gpio: GpioBackend;
  readonly i2c: I2cBackend;
  readonly sensors: SensorBackend;
  readonly properties: PropertyBackend;
  readonly extra?: ExtraCalls;
}

export interface PortServer {
  /** Resolves once the client is gone and all it held was given back. */
  readonly closed: Promise<void>;
}

type Calls = Readonly<Record<string, (...args: never[]) => unknown>>;

/** Serves one client until its stream ends. Lines keep their levels then, and a held bus is freed. */
export function servePorts(stream: Duplex, ports: ServedPorts): PortServer {
  let gone = false;
  const send = (reply: Reply): void => {
    if (!gone) stream.write(`${JSON.stringify(reply)}\n`);
  };
  const isGone = () => gone;
  const lines = serveLines(ports.gpio, isGone, (id) => send({ wake: id }));
  const buses = serveBuses(ports.i2c, isGone);
  const properties = serveProperties(ports.properties, (id) => send({ wake: id }));
  const calls: Calls = {
    ...lines.calls,
    ...buses.calls,
    locateSensor: (sensor: SensorRef) => ports.sensors.locate(sensor),
    readSensor: (sensor: SensorRef) => ports.sensors.readVolts(sensor),
    ...properties.calls,
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
    await Promise.allSettled([...lines.giveBack(), ...buses.giveBack(), ...properties.giveBack()]);
  });
  return { closed };
}

/** Calls of a client, and the end of what it still holds. */
interface Service {
  readonly calls: Calls;
  giveBack(): Promise<unknown>[];
}

function serveLines(gpio: GpioBackend, isGone: () => boolean, wake: (id: number) => void): Service {
  const lines = createHandles<OutputLine | InputLine>(isGone);
  const watches = new Map<number, { readonly line: number; readonly stop: () => void }>();
  return {
    calls: {
      locate: async (refs: readonly LineRef[]) =>
        (await gpio.locate(refs)).map((place) =>
          place instanceof HardwareError ? { error: encodeError(place) } : { place },
        ),
      release: (refs: readonly LineRef[]) => gpio.release(refs),
      openOutput: async (line: LineRef) => lines.keep(await gpio.openOutput(line)),
      openInput: async (line: LineRef) => lines.keep(await gpio.openInput(line)),
      read: (handle: number) => lines.held(handle).read(),
      write: (handle: number, level: Level) => (lines.held(handle) as OutputLine).write(level),
      closeLine: async (handle: number) => {
        for (const [id, { line }] of watches) if (line === handle) watches.delete(id);
        await lines.held(handle).close();
      },
      watch: (handle: number, id: number, options: WatchOptions) => {
        const stop = (lines.held(handle) as InputLine).onEdge(() => wake(id), options);
        watches.set(id, { line: handle, stop });
      },
      unwatch: (id: number) => {
        watches.get(id)?.stop();
        watches.delete(id);
      },
    },
    giveBack() {
      for (const { stop } of watches.values()) stop();
      return lines.closeAll();
    },
  };
}

function serveProperties(properties: PropertyBackend, wake: (id: number) => void): Service {
  const watches = new Map<number, () => void>();
  return {
    calls: {
      readProperty: (property: PropertyRef, limitMs: number) => properties.readBoolean(property, limitMs),
      watchProperty: (id: number, property: PropertyRef) => {
        watches.set(
          id,
          properties.watch(property, () => wake(id)),
        );
      },
      unwatchProperty: (id: number) => {
        watches.get(id)?.();
        watches.delete(id);
      },
    },
    giveBack() {
      for (const end of watches.values()) end();
      return [];
    },
  };
}

interface HeldTransaction {
  device: I2cDevice | undefined;
  /** Transfers that were started; the bus is not let go before they ended. */
  readonly transfers: Promise<unknown>[];
  end: () => void;
  ended: Promise<void>;
}

function serveBuses(i2c: I2cBackend, isGone: () => boolean): Service {
  const buses = createHandles<I2cBus>(isGone);
  const transactions = new Map<number, HeldTransaction>();

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
      if (isGone()) transaction.end();
      const steps = async (device: I2cDevice) => {
        transaction.device = device;
        resolve();
        await endAsked;
        await Promise.allSettled(transaction.transfers);
      };
      transaction.ended = bus.transaction(address, steps, options);
      transaction.ended.catch(reject);
    });

  return {
    calls: {
      openBus: async (bus: number | string) => buses.keep(await i2c.openBus(bus)),
      closeBus: (handle: number) => buses.held(handle).close(),
      begin: (handle: number, address: number, id: number, options: TransactionOptions) =>
        begin(buses.held(handle), address, id, options),
      readByte: (id: number, command: number) => transfer(id, (device) => device.readByte(command)),
      readWord: (id: number, command: number) => transfer(id, (device) => device.readWord(command)),
      readBlock: (id: number, command: number, length: number) =>
        transfer(id, (device) => device.readBlock(command, length)),
      writeByte: (id: number, command: number, value: number) =>
        transfer(id, (device) => device.writeByte(command, value)),
      writeWord: (id: number, command: number, value: number) =>
        transfer(id, (device) => device.writeWord(command, value)),
      end: async (id: number) => {
        const transaction = transactions.get(id);
        transactions.delete(id);
        transaction?.end();
        await transaction?.ended;
      },
    },
    giveBack() {
      for (const { end } of transactions.values()) end();
      return [...buses.closeAll(), ...[...transactions.values()].map(({ ended }) => ended)];
    },
  };
}

/** What a client has opened, by the number that it knows it by. */
function createHandles<Opened extends { close(): Promise<void> }>(isGone: () => boolean) {
  const opened = new Map<number, Opened>();
  let next = 1;
  return {
    async keep(fresh: Opened): Promise<number> {
      // Nobody is left to close it.
      if (isGone()) await fresh.close();
      const handle = next++;
      opened.set(handle, fresh);
      return handle;
    },
    held(handle: number): Opened {
      const found = opened.get(handle);
      if (found === undefined) throw new MockMisuse(`nothing is held under ${handle}`);
      return found;
    },
    closeAll: () => [...opened.values()].map((each) => each.close()),
  };
}
