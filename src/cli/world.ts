import type { Disk } from '../../hw/disk.ts';
import type {
  Clock,
  Flock,
  GpioBackend,
  I2cBackend,
  PropertyBackend,
  SensorBackend,
} from '../../hw/ports.ts';
import type { Inspector } from '../service/actors.ts';
import type {
  EventLog,
  Journal,
  ObjectBus,
  Output,
  Publication,
  ServiceNotifier,
  UnitManager,
} from '../system/ports.ts';

/** What the command line needs from outside: drivers, streams, signals, folders. `compose.ts` makes the real one. */
export interface World {
  readonly clock: Clock;
  readonly flock: Flock;
  readonly gpio: () => Promise<GpioBackend>;
  /** The same lines, for a verb that drives and watches none of them. */
  readonly looks: () => Promise<GpioBackend>;
  readonly i2c: () => Promise<I2cBackend>;
  readonly sensors: () => Promise<SensorBackend>;
  readonly properties: () => Promise<PropertyBackend>;
  /**
   * What is to be seen now of lines by their `LinePlace.key`, as a text that is another one when anything of them is another.
   * Null where nobody can tell, as of simulated lines.
   */
  readonly picture: (keys: readonly string[]) => Promise<string | null>;
  /** Identifies the program, so that what another build of it has found is not believed. */
  readonly build: () => string;
  readonly units: () => Promise<UnitManager>;
  readonly objectBus: (publication: Publication) => Promise<ObjectBus>;
  readonly eventLog: () => Promise<EventLog>;
  readonly journal: () => Promise<Journal>;
  readonly notifier: () => Promise<ServiceNotifier>;
  /** Makes `journalctl -x` know the catalogue that is installed. Rejects SYSTEMD_FAILED. */
  readonly updateCatalogue: () => Promise<void>;
  /** Identifies the boot, so that the state of another boot is never believed. */
  readonly bootId: () => string;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly stdout: Output;
  readonly stderr: Output;
  /** Aborted by the first request to end the process. */
  readonly signal: AbortSignal;
  /** Aborted by the second one. */
  readonly abandon: AbortSignal;
  /**
   * Calls `handler` for a SIGHUP that a process has sent, which does not end this one then. A SIGHUP of a terminal that
   * closed still does. Returns the function that ends it.
   */
  readonly onHangup: (handler: () => void) => () => void;
  /**
   * `absent`: systemd does not run this machine. `startedThis`: systemd started this process as a unit and sees its exit
   * code. `present`: neither, as for a command from a shell.
   */
  readonly systemd: 'absent' | 'startedThis' | 'present';
  readonly defaultRunDir: string;
  /** Folder of the files that outlive a boot of the BMC. */
  readonly stateDir: string;
  readonly disk: () => Promise<Disk>;
  /** For people: the unit or the user that runs this process. */
  readonly caller: () => string;
  /** The process does not end before `work` is settled. It must not reject. */
  readonly background: (work: Promise<void>) => void;
  /** Folder of the marker files of OpenBMC images. */
  readonly openbmcRunDir: string;
  /** Folder with the unit files that ship. */
  readonly unitSourceDir: string;
  readonly programName: string;
  /** For development: called with every step of the service's actors. */
  readonly inspect?: Inspector;
}
