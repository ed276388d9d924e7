import { open as openFile, readdir, readFile } from 'node:fs/promises';
import { errnoCode, errorText, HardwareError } from '../errors.ts';
import type { Clock, I2cBackend, I2cBus, I2cDevice, TransactionOptions } from '../ports.ts';
import { endsWithin, pause } from '../waiting.ts';
import type { BusHolds } from './bus-hold.ts';
import {
  busClosed,
  busHeld,
  cannotHold,
  cannotOpenBus,
  noAddress,
  noBusName,
  transactionOver,
  transferFailed,
  transferTimeout,
} from './errors.ts';

/** What this driver uses of i2c-bus's `PromisifiedBus`. */
export interface I2cBusObject {
  readByte(address: number, command: number): Promise<number>;
  readWord(address: number, command: number): Promise<number>;
  writeByte(address: number, command: number, value: number): Promise<unknown>;
  close(): Promise<void>;
}

export interface I2cOptions {
  readonly clock: Clock;
  /** Keeps other processes off a bus while a transaction has it. */
  readonly holds: BusHolds;
  /** Where the bus devices are. Anything but the default needs an `open` of its own as well. */
  readonly devRoot?: string;
  readonly sysfsRoot?: string;
  /** i2c-bus's `openPromisified`; loaded from the package `i2c-bus` with the first transfer. */
  readonly open?: (busNumber: number) => Promise<I2cBusObject>;
  /** Longest time for one transfer with all its attempts. */
  readonly transferTimeoutMs?: number;
  readonly attempts?: number;
  readonly retryDelayMs?: number;
}

/** Fixed in i2c-bus's source (`BUS_FILE_PREFIX`). */
const I2C_BUS_ROOT = '/dev';
/** The 7-bit addresses that are not reserved (I2C specification UM10204, 3.1.12; as `i2cdetect` scans). */
const FIRST_ADDRESS = 0x03;
const LAST_ADDRESS = 0x77;
/** A transaction of another process is over in a few milliseconds; what takes longer than this hangs. */
const HOLD_LIMIT_MS = 1_000;
/** How long what switches power off waits for it: some transactions, and nothing that hangs. */
const URGENT_HOLD_LIMIT_MS = 100;
/** Half of libuv's four worker threads, so that files, and with them the GPIO lines, always go on. */
const MAX_STUCK_TRANSFERS = 2;
/**
 * Errors after which the same transfer may succeed (the kernel's Documentation/i2c/fault-codes.rst):
 * EAGAIN: arbitration lost. ETIMEDOUT: the bus was stretched or stuck. ENXIO, and EREMOTEIO where the
 * adapter's driver says it so (bcm2835): no acknowledge, which a PMBus device also gives while it is
 * busy; nothing took the transfer, so repeating it is safe. The writes of this project (PAGE,
 * OPERATION) say the same when they arrive twice.
 */
const TRANSIENT = new Set(['EAGAIN', 'ETIMEDOUT', 'ENXIO', 'EREMOTEIO']);

/**
 * I2C over the kernel's `/dev/i2c-*` with i2c-bus. A transaction holds its bus against other processes of this program
 * too; the kernel keeps only single transfers together, and i2c-bus has no call for several.
 *
 * A transfer that hangs sits in a thread that nobody can abort: its caller gets `I2C_TIMEOUT` and the
 * bus goes on with a new bus object, but the process cannot end, not even by `process.exit()`, before
 * the kernel gives the transfer up. The kernel does so after the adapter's timeout (about 1 s on most).
 * At most two such threads are let happen; after that a transfer waits for one of them to come free, and
 * rejects `I2C_TIMEOUT` without touching the bus when none does.
 */
export function createI2c(options: I2cOptions): I2cBackend {
  const {
    clock,
    holds,
    devRoot = I2C_BUS_ROOT,
    sysfsRoot = '/sys/class/i2c-dev',
    open = openWithLibrary,
    transferTimeoutMs = 1_000,
    attempts: maxAttempts = 3,
    retryDelayMs = 2,
  } = options;
  if (devRoot !== I2C_BUS_ROOT && options.open === undefined) {
    throw new TypeError(
      `i2c-bus itself works on ${I2C_BUS_ROOT} only: devRoot needs an open that works there`,
    );
  }

  const adapters = new Map<number, Adapter>();
  /** Transfers that were given up but still run in the kernel. */
  const stuck = new Set<Promise<unknown>>();

  /** One per bus number, however often the bus is opened: PAGE and command stay together only then. */
  interface Adapter {
    readonly number: number;
    users: number;
    object: I2cBusObject | undefined;
    lastTransaction: Promise<unknown>;
  }

  /** False when `promise` has not ended by then; never rejects. */
  const endsBy = (promise: Promise<unknown>, deadlineMs: number) =>
    endsWithin(
      clock,
      Math.max(0, deadlineMs - clock.nowMs()),
      promise.catch(() => undefined),
    );

  const transfer = async (
    adapter: Adapter,
    address: number,
    command: number,
    run: (object: I2cBusObject) => Promise<number>,
  ): Promise<number> => {
    const deadlineMs = clock.nowMs() + transferTimeoutMs;
    const place = { bus: adapter.number, address, command };
    const timeout = (attempts: number, how: string) =>
      transferTimeout(place, transferTimeoutMs, how, { attempts });

    if (stuck.size >= MAX_STUCK_TRANSFERS && !(await endsBy(Promise.race(stuck), deadlineMs))) {
      throw timeout(0, `${stuck.size} earlier transfers still hang in the kernel; something holds the bus`);
    }

    for (let attempt = 1; ; attempt += 1) {
      // A bus object is taken out for one attempt and comes back only after a success. After any error
      // it is thrown away: only the wording tells whether the address was set, and an object whose
      // address was not set sends its next transfer to address 0, the general call.
      let { object } = adapter;
      adapter.object = undefined;
      const running = (async () => {
        object ??= await open(adapter.number);
        return run(object);
      })();
      // Not before it is over: a closed file number may be given to another file, which a late transfer
      // would hit.
      const closeAfterwards = () => {
        const close = () => object?.close();
        running.then(close, close).catch(() => undefined);
      };

      if (!(await endsBy(running, deadlineMs))) {
        stuck.add(running);
        const forget = () => stuck.delete(running);
        running.then(forget, forget);
        closeAfterwards();
        throw timeout(attempt, 'something holds the bus');
      }
      try {
        const value = await running;
        adapter.object = object;
        return value;
      } catch (error) {
        closeAfterwards();
        const again = TRANSIENT.has(errnoCode(error) ?? '') && !isAddressing(error);
        const inTime = clock.nowMs() + retryDelayMs < deadlineMs;
        if (!again || attempt >= maxAttempts || !inTime) {
          throw error instanceof HardwareError
            ? error
            : transferFailed(error, place, { attempts: attempt }, isAddressing(error));
        }
      }
      await pause(clock, retryDelayMs);
    }
  };

  const deviceAt = (adapter: Adapter, address: number) => {
    let held = true;
    const ask = async (command: number, run: (object: I2cBusObject) => Promise<number>) => {
      if (held) return transfer(adapter, address, command, run);
      throw transactionOver({ bus: adapter.number, address, command });
    };
    const device: I2cDevice = {
      readByte: (command) => ask(command, (object) => object.readByte(address, command)),
      readWord: (command) => ask(command, (object) => object.readWord(address, command)),
      async writeByte(command, value) {
        await ask(command, async (object) => {
          await object.writeByte(address, command, value);
          return 0;
        });
      },
    };
    return {
      device,
      release() {
        held = false;
      },
    };
  };

  /** Returns the function that lets go of it. */
  const holdBus = async (adapter: Adapter, address: number, isUrgent: boolean): Promise<() => void> => {
    const limitMs = isUrgent ? URGENT_HOLD_LIMIT_MS : HOLD_LIMIT_MS;
    let letGo: (() => void) | null = null;
    try {
      letGo = await holds.hold(adapter.number, limitMs);
    } catch (error) {
      if (!isUrgent) throw cannotHold(error, adapter.number, address);
    }
    if (letGo !== null) return letGo;
    // Power that stays on is worse than a page that another process moves in between.
    if (isUrgent) return () => undefined;
    throw busHeld(adapter.number, address, limitMs);
  };

  const busOn = (adapter: Adapter): I2cBus => {
    let open = true;
    adapter.users += 1;
    return {
      async transaction<T>(
        address: number,
        steps: (device: I2cDevice) => Promise<T>,
        { isUrgent = false }: TransactionOptions = {},
      ): Promise<T> {
        if (!open) throw busClosed(adapter.number, address);
        if (!Number.isInteger(address) || address < FIRST_ADDRESS || address > LAST_ADDRESS) {
          throw noAddress(adapter.number, address);
        }
        const result = adapter.lastTransaction.then(async () => {
          const letGo = await holdBus(adapter, address, isUrgent);
          const { device, release } = deviceAt(adapter, address);
          try {
            return await steps(device);
          } finally {
            release();
            letGo();
          }
        });
        adapter.lastTransaction = result.catch(() => undefined);
        return result;
      },

      async close() {
        if (!open) return;
        open = false;
        await adapter.lastTransaction;
        adapter.users -= 1;
        if (adapter.users > 0) return;
        adapters.delete(adapter.number);
        const { object } = adapter;
        adapter.object = undefined;
        await object?.close();
        if (adapters.size === 0) await holds.close();
      },
    };
  };

  return {
    async openBus(bus) {
      const number = typeof bus === 'number' ? bus : await numberOfAdapter(sysfsRoot, bus);
      await checkDevice(`${devRoot}/i2c-${number}`, bus);
      let adapter = adapters.get(number);
      if (adapter === undefined) {
        adapter = { number, users: 0, object: undefined, lastTransaction: Promise.resolve() };
        adapters.set(number, adapter);
      }
      return busOn(adapter);
    },
  };
}

async function openWithLibrary(busNumber: number): Promise<I2cBusObject> {
  return (await import('i2c-bus')).default.openPromisified(busNumber);
}

async function numberOfAdapter(sysfsRoot: string, name: string): Promise<number> {
  const adapters: { number: number; name: string }[] = [];
  try {
    for (const entry of await readdir(sysfsRoot)) {
      const [, number] = /^i2c-(\d+)$/.exec(entry) ?? [];
      if (number === undefined) continue;
      adapters.push({
        number: Number(number),
        name: (await readFile(`${sysfsRoot}/${entry}/name`, 'utf8')).trim(),
      });
    }
  } catch (error) {
    throw new HardwareError(
      'I2C_NO_BUS',
      `I2C buses cannot be looked up by name in ${sysfsRoot} (${errnoCode(error) ?? errorText(error)}): load the module i2c-dev`,
      { bus: name, path: sysfsRoot },
      { cause: error },
    );
  }

  adapters.sort((one, other) => one.number - other.number);
  const matching = adapters.filter((adapter) => adapter.name === name);
  const [only] = matching;
  if (only !== undefined && matching.length === 1) return only.number;
  const listed = (only === undefined ? adapters : matching)
    .map((each) => `${each.number} "${each.name}"`)
    .join(', ');
  if (only === undefined) {
    throw noBusName(
      name,
      listed,
      adapters.map((each) => each.name),
    );
  }
  throw new HardwareError(
    'I2C_NO_BUS',
    `${matching.length} I2C buses have the name "${name}", give the number instead: ${listed}`,
    { bus: name, names: [name] },
  );
}

/** i2c-bus opens the device with the first transfer only; what is wrong with it is to be known before. */
async function checkDevice(path: string, bus: number | string): Promise<void> {
  try {
    // Opening the device does nothing on the bus.
    await (await openFile(path, 'r+')).close();
  } catch (error) {
    throw cannotOpenBus(error, path, bus);
  }
}

/** True for an error of the address ioctl (syscall `setAddr` in i2c-bus's native part). */
function isAddressing(error: unknown): boolean {
  return error instanceof Error && 'syscall' in error && String(error.syscall).startsWith('setAddr');
}
