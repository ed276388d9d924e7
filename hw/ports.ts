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

/** A line that the sequencer drives. */
export interface OutputLine {
  /** The level the line has now, whoever drives it. Rejects `GPIO_FAILED`. */
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

/** A line that the sequencer watches. */
export interface InputLine {
  /** The level now. Rejects `GPIO_FAILED`. */
  read(): Promise<Level>;
  /**
   * Calls `wake` after the level may have changed. Edges coalesce and short pulses may be missed:
   * a wake says "read again", never which level. Returns the function that ends it.
   */
  onEdge(wake: () => void): () => void;
  close(): Promise<void>;
}

export interface GpioBackend {
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

export interface I2cBus {
  /**
   * Runs `steps` with the bus held, so that a PAGE and the command that needs it stay together.
   * Transactions of one bus run one after the other in the order they were asked for.
   * Transfers reject `I2C_NO_DEVICE` (nothing acknowledges), `I2C_TIMEOUT` (no end within the
   * driver's deadline), `I2C_BUSY` (a kernel driver owns the address), `I2C_PERMISSION`,
   * `I2C_NO_BUS` or `I2C_FAILED`; transient failures were retried before.
   * @param address 7-bit, 0x03..0x77
   */
  transaction<T>(address: number, steps: (device: I2cDevice) => Promise<T>): Promise<T>;
  close(): Promise<void>;
}

export interface I2cBackend {
  /** Opens a bus by adapter number or adapter name. Rejects `I2C_NO_BUS` or `I2C_PERMISSION`. */
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

/** Final state of one unit as systemd tells it, for example `active`, `failed`, `inactive`. */
export interface UnitState {
  readonly unit: string;
  readonly activeState: string;
  readonly subState: string;
}

/** systemd's manager. Every call ends within its deadline: `DBUS_TIMEOUT`; no bus: `DBUS_UNAVAILABLE`. */
export interface UnitManager {
  /**
   * Queues the start of a unit and waits for the end of its job. Resolves with the job's result
   * (`done`, `canceled`, `timeout`, `failed`, `dependency`, `skipped`); rejects `SYSTEMD_FAILED` when
   * systemd refuses the request, as for an unknown unit.
   */
  startUnit(unit: string, mode: 'replace' | 'fail'): Promise<string>;
  /** States in the order asked for. A unit that is not loaded is `inactive`. */
  unitStates(units: readonly string[]): Promise<UnitState[]>;
  /** Makes systemd read its unit files again. */
  reload(): Promise<void>;
  close(): Promise<void>;
}
