import { open as openFile, readdir, readFile } from 'node:fs/promises';
import { errnoCode, errorText, HardwareError } from '../errors.ts';
import type { Clock, I2cBackend, I2cBus, I2cDevice, TransactionOptions } from '../ports.ts';
import type { BusHolds } from './bus-hold.ts';
import {
  busClosed,
  busHeld,
  cannotHold,
  cannotOpenBus,
  noAddress,
  noBusName,
  type TransferPlace,
  transactionOver,
} from './errors.ts';
import { puttingBack } from './put-back.ts';
import { CHECKED, PLAIN, type SmbusTransfers } from './smbus.ts';
import { type Adapter, createTransfer, type I2cBusObject, type Transfer } from './transfers.ts';
import { createBusTurns } from './turns.ts';

export interface I2cOptions {
  readonly clock: Clock;
  /** Keeps other processes off a bus while a transaction has it. */
  readonly holds: BusHolds;
  /** Folder of the bus devices. Any other than the default needs an `open` of its own. */
  readonly devRoot?: string;
  readonly sysfsRoot?: string;
  /** i2c-bus's `openPromisified`, from the package `i2c-bus`. */
  readonly open?: (busNumber: number) => Promise<I2cBusObject>;
  /**
   * Loads what `open` needs, before a bus is opened and not with its first transfer: that takes seconds on a BMC that
   * starts, in which no transfer is late and nobody else waits for the bus.
   */
  readonly load?: () => Promise<unknown>;
}

/** Fixed in i2c-bus's source (`BUS_FILE_PREFIX`). */
const I2C_BUS_ROOT = '/dev';
/** The 7-bit addresses that are not reserved (I2C specification UM10204, 3.1.12; as `i2cdetect` scans). */
const FIRST_ADDRESS = 0x03;
const LAST_ADDRESS = 0x77;
/** A transaction of another process takes a few milliseconds. One that takes longer than this hangs. */
const HOLD_LIMIT_MS = 1_000;
/** How long a transaction that switches power off waits for the bus: longer than some transactions of another process. */
const URGENT_HOLD_LIMIT_MS = 100;
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
    load = options.open === undefined ? loadLibrary : async () => undefined,
  } = options;
  if (devRoot !== I2C_BUS_ROOT && options.open === undefined) {
    throw new TypeError(
      `i2c-bus itself works on ${I2C_BUS_ROOT} only: devRoot needs an open that works there`,
    );
  }

  const adapters = new Map<number, Adapter>();
  const transfer = createTransfer(clock, open);

  const busOn = (adapter: Adapter): I2cBus => {
    let isOpen = true;
    adapter.users += 1;
    return {
      async transaction<T>(
        address: number,
        steps: (device: I2cDevice) => Promise<T>,
        options: TransactionOptions = {},
      ): Promise<T> {
        if (!isOpen) throw busClosed(adapter.number, address);
        if (!Number.isInteger(address) || address < FIRST_ADDRESS || address > LAST_ADDRESS) {
          throw noAddress(adapter.number, address);
        }
        return adapter.turns.take(async () => {
          const hold = await holdBus(holds, adapter.number, address, options.isUrgent ?? false);
          const { device, release } = deviceAt(
            transfer,
            adapter,
            address,
            options.pec === true ? CHECKED : PLAIN,
          );
          try {
            return await (hold === null ? puttingBack(device, options.putsBack, steps) : steps(device));
          } finally {
            release();
            hold?.();
          }
        }, options);
      },

      async close() {
        if (!isOpen) return;
        isOpen = false;
        await adapter.turns.over();
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
      // What is wrong with it the first transfer tells: nothing is sent for now.
      await load().catch(() => undefined);
      let adapter = adapters.get(number);
      if (adapter === undefined) {
        adapter = { number, users: 0, object: undefined, turns: createBusTurns() };
        adapters.set(number, adapter);
      }
      return busOn(adapter);
    },
  };
}

/** A device for the steps of one transaction. Transfers after `release` reject. */
function deviceAt(transfer: Transfer, adapter: Adapter, address: number, smbus: SmbusTransfers) {
  let held = true;
  const ask = async <Answer>(
    command: number,
    run: (object: I2cBusObject, place: TransferPlace) => Promise<Answer>,
  ): Promise<Answer> => {
    const place = { bus: adapter.number, address, command };
    if (held) return transfer(adapter, address, command, (object) => run(object, place));
    throw transactionOver(place);
  };
  const write = async (command: number, value: number, length: 1 | 2): Promise<void> => {
    await ask(command, (object, place) => smbus.write(object, place, value, length));
  };
  const device: I2cDevice = {
    readByte: (command) => ask(command, (object, place) => smbus.read(object, place, 1)),
    readWord: (command) => ask(command, (object, place) => smbus.read(object, place, 2)),
    readBlock: (command, length) => ask(command, (object, place) => smbus.readBlock(object, place, length)),
    writeByte: (command, value) => write(command, value, 1),
    writeWord: (command, value) => write(command, value, 2),
  };
  return {
    device,
    release() {
      held = false;
    },
  };
}

/** Holds a bus against other processes. Returns the function that releases it; null for what is urgent, where it cannot be held. */
async function holdBus(
  holds: BusHolds,
  bus: number,
  address: number,
  isUrgent: boolean,
): Promise<(() => void) | null> {
  const limitMs = isUrgent ? URGENT_HOLD_LIMIT_MS : HOLD_LIMIT_MS;
  let letGo: (() => void) | null = null;
  try {
    letGo = await holds.hold(bus, limitMs);
  } catch (error) {
    if (!isUrgent) throw cannotHold(error, bus, address);
  }
  if (letGo !== null) return letGo;
  // Power that stays on is worse than a page that another process moves in between.
  if (isUrgent) return null;
  throw busHeld(bus, address, limitMs);
}

const loadLibrary = async () => (await import('i2c-bus')).default;

async function openWithLibrary(busNumber: number): Promise<I2cBusObject> {
  return (await loadLibrary()).openPromisified(busNumber);
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

/** Checks the device of a bus. i2c-bus itself opens it only with the first transfer. */
async function checkDevice(path: string, bus: number | string): Promise<void> {
  try {
    // Opening the device does nothing on the bus.
    await (await openFile(path, 'r+')).close();
  } catch (error) {
    throw cannotOpenBus(error, path, bus);
  }
}
