import type { HardwareError } from './errors.ts';

/**
 * What the sequencer needs from the world. Drivers (`hw/`) and stand-ins (`mocks/`) fulfil these
 * interfaces; `test/contract/` holds one suite per interface that runs on both.
 */

/** Raw electrical level of a line: 1 is high. Active level is not applied below this interface. */
export type Level = 0 | 1;

/**
 * A GPIO line by what does not move between kernels: the label of its chip with an offset or an
 * ASPEED port name (`C0` = port C, bit 0 = offset 16), or the name the device tree gives the line.
 */
export type LineRef = { readonly chip: string; readonly line: number | string } | { readonly name: string };

/**
 * A line that the sequencer drives. One that another program gave back is taken again by whoever reads or drives it; where
 * another program has it by then, reading and driving reject `GPIO_BUSY`.
 */
export interface OutputLine {
  /** The level the line has now, whoever drives it. Rejects `GPIO_FAILED`, `GPIO_BUSY`. */
  read(): Promise<Level>;
  /**
   * Drives the line. The first write makes it an output directly at `level`, so no other level is
   * seen in between. Resolves once the level was read back; rejects `GPIO_NOT_FOLLOWED` when the line
   * reads the other level, `GPIO_BUSY`, `GPIO_PERMISSION` or `GPIO_FAILED`.
   */
  write(level: Level): Promise<void>;
  /** Gives the handle back. The line keeps level and direction, also after the process ends. */
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

/** A line that the sequencer watches. Taken again as an output is; who watches is woken when it is gone, and when it is back. */
export interface InputLine {
  /** The level now. Rejects `GPIO_FAILED`, `GPIO_BUSY`. */
  read(): Promise<Level>;
  /**
   * Calls `wake` once the watch stands, because what happened since the caller read went unseen, and from then on
   * after the level may have changed. Edges coalesce and short pulses may be missed: a wake says "read again", never
   * which level. Everyone who watches a line is woken, whoever came first and over whatever opening. `wake` is not
   * called before `onEdge` has returned, and must not throw. Returns the function that ends it.
   */
  onEdge(wake: () => void, options?: WatchOptions): () => void;
  close(): Promise<void>;
}

/** Where a line is on this machine, this boot. */
export interface LinePlace {
  /** Label of its chip. */
  readonly chip: string;
  readonly offset: number;
  /** The same for one physical line, however it is named, and another for every other line. */
  readonly key: string;
  /**
   * Who has taken it so that no other program can: `ours`, a process of this program, which may have ended since;
   * `foreign`, another one that uses the same interface; null where nobody has, or a kernel driver.
   */
  readonly takenBy: 'ours' | 'foreign' | null;
}

export interface GpioBackend {
  /**
   * Finds lines without taking them: nothing is opened, exported or driven. Answers in the order asked for. A line that
   * is not there is the error that `openOutput` would reject with (`GPIO_NO_CHIP`, `GPIO_NO_LINE`), with what there is in
   * its details: the `labels` of chips, the `names` of lines. Rejects `GPIO_UNAVAILABLE` or `GPIO_FAILED`.
   */
  locate(lines: readonly LineRef[]): Promise<readonly (LinePlace | HardwareError)[]>;
  /**
   * Takes a line for driving without changing anything about it: neither level nor direction.
   * All that can be found wrong is found here. Rejects `GPIO_UNAVAILABLE`, `GPIO_NO_CHIP`,
   * `GPIO_NO_LINE`, `GPIO_BUSY`, `GPIO_PERMISSION` or `GPIO_FAILED`.
   */
  openOutput(line: LineRef): Promise<OutputLine>;
  /**
   * Takes a line for reading. A line that is driven as an output stays so. Rejects like `openOutput`.
   */
  openInput(line: LineRef): Promise<InputLine>;
  /**
   * Gives lines back, so that other programs can take them, whoever had taken them; one that nobody has taken is passed
   * over. A controller may make a line that is given back an input, so this is for lines that nobody needs. All of
   * them were seen to be free when it resolves. Rejects `GPIO_BUSY` for one that is open in this process, before the
   * first is given back, and what `openOutput` does; the others may have been given back then.
   */
  release(lines: readonly LineRef[]): Promise<void>;
}

/** SMBus transfers with one device (SMBus specification 3.1, section 6.5), inside a transaction. */
export interface I2cDevice {
  /** Read Byte. Result 0..255. */
  readByte(command: number): Promise<number>;
  /** Read Word, low byte first on the wire. Result 0..65535. */
  readWord(command: number): Promise<number>;
  /** Write Byte. */
  writeByte(command: number, value: number): Promise<void>;
}

export interface TransactionOptions {
  /**
   * For what switches power off: another process that stands still with the bus held, or a hold that is not
   * possible, delays it by a tenth of a second at most and does not keep it from being done.
   */
  readonly isUrgent?: boolean;
}

export interface I2cBus {
  /**
   * Runs `steps` with the bus held, against other processes of this program too, so that a PAGE and the
   * command that needs it stay together. Transactions of one bus run one after the other in the order they
   * were asked for. Rejects `I2C_BUSY` when another process does not let go of the bus within the driver's
   * deadline.
   * Transfers reject `I2C_NO_DEVICE` (nothing acknowledges), `I2C_TIMEOUT` (no end within the
   * driver's deadline), `I2C_BUSY` (a kernel driver owns the address), `I2C_PERMISSION`,
   * `I2C_NO_BUS` or `I2C_FAILED`; transient failures were retried before.
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

export interface Clock {
  /** Milliseconds on a clock that never jumps and is the same for all processes of one boot. */
  nowMs(): number;
  /** Calls `run` once, `delayMs` from now (at once for 0 and less). Returns the function that cancels it. */
  after(delayMs: number, run: () => void): () => void;
  /** Wall clock, for people and file names only. */
  wallTime(): Date;
}
