import type { HardwareError } from './errors.ts';

/**
 * What the sequencer needs from the hardware. Drivers (`hw/`) and stand-ins (`mocks/`) implement these interfaces;
 * `test/contract/` has one suite per interface that runs on both.
 */

/** Raw electrical level of a line: 1 is high. Active level is not applied below this interface. */
export type Level = 0 | 1;

/**
 * A GPIO line by names that are stable between kernels: its chip with an offset or an ASPEED port name (`C0` = port C, bit 0
 * = offset 16), or the name of the line in the device tree. A chip is its label; or, where labels follow the order in which
 * chips are found, the name of its device (`4804c000.gpio`), the path of its device (`/sys/devices/…`) or the path of its
 * node in the device tree (`/ahb/apb/gpio@1e780000`).
 */
export type LineRef = { readonly chip: string; readonly line: number | string } | { readonly name: string };

/**
 * A line that the sequencer drives. Where another program has given the line back, reading or driving takes it again, or
 * rejects `GPIO_BUSY` if another program has it by then.
 */
export interface OutputLine {
  /** The present level of the line, whoever drives it. Rejects `GPIO_FAILED`, `GPIO_BUSY`. */
  read(): Promise<Level>;
  /**
   * Drives the line. The first write makes it an output directly at `level`, so no other level is
   * seen in between. Resolves once the level was read back; rejects `GPIO_NOT_FOLLOWED` when the line
   * reads the other level, `GPIO_BUSY`, `GPIO_PERMISSION` or `GPIO_FAILED`.
   */
  write(level: Level): Promise<void>;
  /** Closes the handle. The line keeps level and direction, also after the end of the process. */
  close(): Promise<void>;
}

export interface WatchOptions {
  /**
   * How often the line is polled where it raises no interrupts; 10 ms by default. Watchers share one poll: the most
   * impatient one sets the pace for all, and a slow bus slows it down.
   */
  readonly pollMs?: number;
  /**
   * How often a line that raises interrupts is checked, because interrupts get lost: another program changes `edge` or
   * gives the line back, a controller drops one. A change is noticed within this time even if its interrupt got lost;
   * 1 s by default. Checks are shared as polls are.
   */
  readonly checkMs?: number;
}

/** A line that the sequencer watches. It is taken again as an output is. Watchers are woken when it is gone, and when it is back. */
export interface InputLine {
  /** The level now. Rejects `GPIO_FAILED`, `GPIO_BUSY`. */
  read(): Promise<Level>;
  /**
   * Calls `wake` once the watch stands, because a change since the caller's last reading went unseen, and from then on
   * whenever the level may have changed. Edges coalesce and short pulses may be missed: `wake` means "read again", and
   * never says which level. All watchers of a line are woken, over all its openings. `wake` is not called before `onEdge`
   * has returned, and must not throw. Returns the function that ends the watch.
   */
  onEdge(wake: () => void, options?: WatchOptions): () => void;
  close(): Promise<void>;
}

/** The place of a line on this machine, in this boot. */
export interface LinePlace {
  /** Label of its chip. */
  readonly chip: string;
  readonly offset: number;
  /** The same for one physical line, however it is named, and another for every other line. */
  readonly key: string;
  /**
   * The program that has taken the line, so that no other one can: `ours` for a process of this program, which may have
   * ended since; `foreign` for another program with the same interface; null for none, and for a kernel driver. Looked for when it
   * is first asked for.
   */
  readonly takenBy: 'ours' | 'foreign' | null;
}

export interface GpioBackend {
  /**
   * Finds lines without taking them: nothing is opened, exported or driven. Answers in the given order. A line that does
   * not exist has the error of `openOutput` in its place (`GPIO_NO_CHIP`, `GPIO_NO_LINE`), with the existing `labels` of
   * chips or `names` of lines in its details. Rejects `GPIO_UNAVAILABLE` or `GPIO_FAILED`.
   */
  locate(lines: readonly LineRef[]): Promise<readonly (LinePlace | HardwareError)[]>;
  /**
   * Takes a line for driving, and changes neither its level nor its direction. All problems that can be
   * found early are found here. Rejects `GPIO_UNAVAILABLE`, `GPIO_NO_CHIP`,
   * `GPIO_NO_LINE`, `GPIO_BUSY`, `GPIO_PERMISSION` or `GPIO_FAILED`.
   */
  openOutput(line: LineRef): Promise<OutputLine>;
  /**
   * Takes a line for reading. A line that is driven as an output stays so. Rejects like `openOutput`.
   */
  openInput(line: LineRef): Promise<InputLine>;
  /**
   * Gives lines back, whoever has taken them, so that other programs can take them. A line that nobody has taken is
   * skipped. A controller may turn a line that is given back into an input, so this is only for lines that nobody needs.
   * When it resolves, all lines were seen to be free. Rejects `GPIO_BUSY` for a line that is open in this process, before
   * the first one is given back; otherwise rejects as `openOutput`, where some of the lines may have been given back.
   */
  release(lines: readonly LineRef[]): Promise<void>;
}

/** SMBus transfers with one device (SMBus specification 3.1, section 6.5), inside a transaction. */
export interface I2cDevice {
  /** Read Byte. Result 0..255. */
  readByte(command: number): Promise<number>;
  /** Read Word, low byte first on the wire. Result 0..65535. */
  readWord(command: number): Promise<number>;
  /**
   * Block Read: the bytes that the device says it sends, 1 to 31, or 30 with a packet error check. Rejects `I2C_FAILED` where
   * it says another number.
   * @param length that is expected: a device that says another one is read twice
   */
  readBlock(command: number, length: number): Promise<readonly number[]>;
  /** Write Byte. */
  writeByte(command: number, value: number): Promise<void>;
  /** Write Word, low byte first on the wire. */
  writeWord(command: number, value: number): Promise<void>;
}

export interface TransactionOptions {
  /**
   * For switching power off. Where another process stands still and holds the bus, or the bus cannot be held, the
   * transaction is delayed by a tenth of a second at most, and runs all the same.
   */
  readonly isUrgent?: boolean;
  /**
   * A command of one byte that an urgent transaction changes, as PAGE. Where it runs under another process's transaction, that one
   * counts on what it has set: it is read before, and put back when the steps are over. What cannot be read is not put back.
   */
  readonly putsBack?: number;
  /** It reads, and writes nothing but PAGE: what is urgent may go before it while it waits. */
  readonly isReading?: boolean;
  /**
   * The device has a packet error check (SMBus specification 3.1, section 6.4): transfers carry it, and a read whose check
   * is wrong rejects `I2C_PEC`.
   */
  readonly pec?: boolean;
}

export interface I2cBus {
  /**
   * Runs `steps` with the bus held, against other processes of this program too, so that a PAGE and the
   * command that needs it stay together. Transactions of one bus run one after the other in the order they
   * were asked for; one that is urgent goes before those that wait and only read. Rejects `I2C_BUSY` when another process does not let go of the bus within the driver's
   * deadline.
   * Transfers reject `I2C_NO_DEVICE` (nothing acknowledges), `I2C_TIMEOUT` (no end within the
   * driver's deadline), `I2C_BUSY` (a kernel driver owns the address), `I2C_PERMISSION`,
   * `I2C_NO_BUS`, `I2C_PEC` or `I2C_FAILED`; transient failures were retried before.
   * @param address 7-bit, 0x03..0x77
   */
  transaction<T>(
    address: number,
    steps: (device: I2cDevice) => Promise<T>,
    options?: TransactionOptions,
  ): Promise<T>;
  close(): Promise<void>;
}

export interface I2cBackend {
  /**
   * Opens a bus by adapter number or adapter name; nothing is sent on it. Rejects `I2C_PERMISSION`, or `I2C_NO_BUS` with
   * the `names` that there are in its details where the bus was looked for by its name.
   */
  openBus(bus: number | string): Promise<I2cBus>;
}

/**
 * A voltage that a kernel driver reads, by names that are stable between boots. `hwmon` and `iio` are the two classes of the
 * kernel that show voltages. A chip is what its file `name` says; or, where several have that name, the name of its device
 * (`1e6e9000.adc`, `3-0060`), the path of its device (`/sys/devices/…`) or the path of its node in the device tree; or the bus
 * and address of an I2C device. An input is a channel of the chip (`in3` of hwmon, `voltage3` of IIO), or its label.
 */
export interface SensorRef {
  readonly by: 'hwmon' | 'iio';
  readonly chip: string | { readonly bus: number | string; readonly address: number };
  readonly input: string;
}

export interface SensorBackend {
  /**
   * Finds an input, and asks no chip for anything. Rejects `SENSOR_NO_CHIP`, with the existing `chips` in its details, or
   * `SENSOR_NO_INPUT`, with the existing `inputs`; else `SENSOR_FAILED`.
   */
  locate(sensor: SensorRef): Promise<void>;
  /**
   * The volts at the pin of the chip, as its driver answers now: what a divider before the pin does is not known here. A chip whose
   * driver was taken away and came back is found again. Rejects as `locate` does, `SENSOR_TIMEOUT` (no answer within the
   * driver's deadline), or `SENSOR_FAILED` for what the kernel refuses and for what is no voltage; transient failures were
   * retried before.
   */
  readVolts(sensor: SensorRef): Promise<number>;
}

/** A property of an object of another service on the system bus. */
export interface PropertyRef {
  /** The well-known name that the service owns. */
  readonly service: string;
  readonly path: string;
  readonly interface: string;
  readonly property: string;
}

export interface PropertyBackend {
  /**
   * The value of a boolean property, as its service answers now, or whether that of a whole number is not 0: it counts only from
   * the process that owns the name. Rejects with a CodedError: `DBUS_TIMEOUT` (no answer within `limitMs`, or no
   * connection), `DBUS_UNAVAILABLE` (no bus, or nobody owns the name), `SYSTEMD_FAILED` (the service has no such property, or refuses) or
   * `DBUS_MALFORMED` (a value of another type).
   */
  readBoolean(property: PropertyRef, limitMs: number): Promise<boolean>;
  /**
   * Calls `wake` when the owner of the name tells that the property changed, and when it may have: the next reading says. Nobody is
   * told of a bus or a service that goes away; who has to know reads. `wake` must not throw. Returns the function that ends it.
   */
  watch(property: PropertyRef, wake: () => void): () => void;
}

/** Nobody could tell whether a lock was got. */
export interface NoLockAnswer {
  /** A clause about flock(1). */
  readonly why: string;
  /** Another try would fail for the same reason. */
  readonly isFinal: boolean;
  /** It is this process that could not ask (`isShortage`): another one may have the lock all the same. */
  readonly isShort?: true;
  /** Error of the system, where flock(1) could not be started. */
  readonly error?: Error;
}

export interface FlockOptions {
  readonly clock: Pick<Clock, 'after'>;
  /** Longest time for an answer. */
  readonly limitMs: number;
  /** Ends the wait for an answer. */
  readonly signal?: AbortSignal | undefined;
}

/**
 * Takes the exclusive lock of an open directory (flock(2)), unless another opening of it has the lock: in this process, or in
 * another one. A lock that is taken is not waited for. The opening keeps its lock until it is closed; one that has the lock gets
 * it again. Must not reject for an open directory.
 * @param fd an open directory
 */
export type Flock = (fd: number, options: FlockOptions) => Promise<'locked' | 'taken' | NoLockAnswer>;

export interface Clock {
  /** Milliseconds on a clock that never jumps and is the same for all processes of one boot. */
  nowMs(): number;
  /** Calls `run` once, `delayMs` from now (at once for 0 and less). Returns the function that cancels it. */
  after(delayMs: number, run: () => void): () => void;
  /** Wall clock, for people and file names only. */
  wallTime(): Date;
}
