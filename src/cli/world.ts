import type { Clock, GpioBackend, I2cBackend, UnitManager } from '../../hw/ports.ts';

/** Where text goes. */
export interface Output {
  write(text: string): void;
  /** Width of the terminal in columns, null when it is none. */
  readonly columns: number | null;
  /** It is journald that reads the text: `<n>` at the begin of a line is its severity (sd-daemon(3)). */
  readonly journal: boolean;
}

/** Everything the command line touches outside itself. `compose.ts` makes the real one. */
export interface World {
  readonly clock: Clock;
  readonly gpio: () => Promise<GpioBackend>;
  readonly i2c: () => Promise<I2cBackend>;
  readonly units: () => Promise<UnitManager>;
  /** Tells boots apart, so that the state of another boot is never believed. */
  readonly bootId: () => string;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly stdout: Output;
  readonly stderr: Output;
  /** Aborted when the process is asked to end. */
  readonly signal: AbortSignal;
  readonly defaultRunDir: string;
  /** Folder with the unit files that ship. */
  readonly unitSourceDir: string;
  readonly programName: string;
}
