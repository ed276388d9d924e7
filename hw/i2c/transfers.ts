import { errnoCode, HardwareError } from '../errors.ts';
import type { Clock } from '../ports.ts';
import { endsWithin, pause } from '../waiting.ts';
import { transferFailed, transferTimeout } from './errors.ts';
import type { BusTurns } from './turns.ts';

/** What this driver uses of i2c-bus's `PromisifiedBus`. */
export interface I2cBusObject {
  readByte(address: number, command: number): Promise<number>;
  readWord(address: number, command: number): Promise<number>;
  writeByte(address: number, command: number, value: number): Promise<unknown>;
  writeWord(address: number, command: number, value: number): Promise<unknown>;
  /** `length` bytes after a repeated start, into `buffer`. */
  readI2cBlock(
    address: number,
    command: number,
    length: number,
    buffer: Buffer,
  ): Promise<{ readonly bytesRead: number }>;
  writeI2cBlock(address: number, command: number, length: number, buffer: Buffer): Promise<unknown>;
  close(): Promise<void>;
}

/** One per bus number, however often the bus is opened: PAGE and command stay together only then. */
export interface Adapter {
  readonly number: number;
  /** Openings that were not closed. */
  users: number;
  object: I2cBusObject | undefined;
  readonly turns: BusTurns;
}

/**
 * Runs one transfer, and repeats it while its error is transient and its time lasts. Rejects with the HardwareError that
 * tells of its last attempt.
 */
export type Transfer = <Answer>(
  adapter: Adapter,
  address: number,
  command: number,
  run: (object: I2cBusObject) => Promise<Answer>,
) => Promise<Answer>;

/** Longest time for one transfer with all its attempts. */
const TRANSFER_LIMIT_MS = 1_000;
const MAX_ATTEMPTS = 3;
const RETRY_MS = 2;
/** Half of libuv's four worker threads, so that files, and with them the GPIO lines, always go on. */
const MAX_STUCK_TRANSFERS = 2;
/**
 * Errors after which the same transfer may succeed (the kernel's Documentation/i2c/fault-codes.rst):
 * EAGAIN: arbitration lost. ETIMEDOUT: the bus was stretched or stuck. ENXIO, and EREMOTEIO where the
 * adapter's driver says it so (bcm2835): no acknowledge, which a PMBus device also gives while it is
 * busy; nothing took the transfer, so repeating it is safe. The writes of this project (PAGE,
 * OPERATION, voltages) say the same when they arrive twice. I2C_PEC: a disturbance, which may be over.
 */
const TRANSIENT = new Set(['EAGAIN', 'ETIMEDOUT', 'ENXIO', 'EREMOTEIO', 'I2C_PEC']);

/** @param open makes the bus object of a bus number */
export function createTransfer(clock: Clock, open: (busNumber: number) => Promise<I2cBusObject>): Transfer {
  /** Transfers that were given up but still run in the kernel. */
  const stuck = new Set<Promise<unknown>>();

  /** False when `promise` has not ended by then; never rejects. */
  const endsBy = (promise: Promise<unknown>, deadlineMs: number) =>
    endsWithin(
      clock,
      Math.max(0, deadlineMs - clock.nowMs()),
      promise.catch(() => undefined),
    );

  return async (adapter, address, command, run) => {
    const deadlineMs = clock.nowMs() + TRANSFER_LIMIT_MS;
    const place = { bus: adapter.number, address, command };
    const timeout = (attempts: number, how: string) =>
      transferTimeout(place, TRANSFER_LIMIT_MS, how, { attempts });

    if (stuck.size >= MAX_STUCK_TRANSFERS && !(await endsBy(Promise.race(stuck), deadlineMs))) {
      throw timeout(0, `${stuck.size} earlier transfers still hang in the kernel; something holds the bus`);
    }

    for (let attempt = 1; ; attempt += 1) {
      // A bus object is taken out for one attempt, and put back only after a success. After an error it is closed: only
      // the text of the error shows whether the address was set, and an object without an address sends its next transfer
      // to address 0, the general call.
      let { object } = adapter;
      adapter.object = undefined;
      const running = (async () => {
        object ??= await open(adapter.number);
        return run(object);
      })();
      // A descriptor that is closed during a transfer may be given to another file, which the transfer would then hit.
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
        const inTime = clock.nowMs() + RETRY_MS < deadlineMs;
        if (!again || attempt >= MAX_ATTEMPTS || !inTime) {
          throw error instanceof HardwareError
            ? error
            : transferFailed(error, place, { attempts: attempt }, isAddressing(error));
        }
      }
      await pause(clock, RETRY_MS);
    }
  };
}

/** True for an error of the address ioctl (syscall `setAddr` in i2c-bus's native part). */
function isAddressing(error: unknown): boolean {
  return error instanceof Error && 'syscall' in error && String(error.syscall).startsWith('setAddr');
}
