import type { Clock, GpioBackend, I2cBackend } from '../../hw/ports.ts';
import type { Inspector } from '../service/actors.ts';
import type {
  EventLog,
  ObjectBus,
  Output,
  Publication,
  ServiceNotifier,
  UnitManager,
} from '../system/ports.ts';

/** What the command line needs from outside: drivers, streams, signals, places. `compose.ts` makes the real one. */
export interface World {
  readonly clock: Clock;
  readonly gpio: () => Promise<GpioBackend>;
  readonly i2c: () => Promise<I2cBackend>;
  readonly units: () => Promise<UnitManager>;
  readonly objectBus: (publication: Publication) => Promise<ObjectBus>;
  readonly eventLog: () => Promise<EventLog>;
  readonly notifier: () => Promise<ServiceNotifier>;
  /** Tells boots apart, so that the state of another boot is never believed. */
  readonly bootId: () => string;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly stdout: Output;
  readonly stderr: Output;
  /** Aborted when the process is asked to end. */
  readonly signal: AbortSignal;
  /** Aborted when it is asked a second time. */
  readonly abandon: AbortSignal;
  /**
   * Calls `handler` for every SIGHUP that was sent by a process, which then does not ask this one to end. A SIGHUP that
   * comes because the terminal is gone still does. Returns the function that ends it.
   */
  readonly onHangup: (handler: () => void) => () => void;
  /**
   * What systemd has to do with this process: it does not run this machine; it started this process as a unit and
   * sees how it ends; or neither, as for a command from a shell.
   */
  readonly systemd: 'absent' | 'startedThis' | 'present';
  readonly defaultRunDir: string;
  /** What outlives a boot of the BMC. */
  readonly stateDir: string;
  /** Where an OpenBMC image keeps the marker files of its own units. */
  readonly openbmcRunDir: string;
  /** Folder with the unit files that ship. */
  readonly unitSourceDir: string;
  readonly programName: string;
  /** For development: is told of every step of the service's actors. */
  readonly inspect?: Inspector;
}
