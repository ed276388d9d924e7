import { existsSync, fstatSync, statSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { createSystemClock } from '../hw/clock.ts';
import { createExportRecord } from '../hw/gpio/exports.ts';
import type { Clock, GpioBackend } from '../hw/ports.ts';
import { madeOnce } from '../hw/waiting.ts';
import type { World } from './cli/world.ts';
import { createBootId } from './system/boot.ts';
import { callerOf } from './system/caller.ts';
import { isTerminal, sendTo, sendToJournal } from './system/output.ts';
import { createOutputQueue, type OutputQueue } from './system/output-queue.ts';
import type { Output } from './system/ports.ts';
import { severityMark, WARNING, writeLine } from './system/severity.ts';
import { catchSignals, type EndRequests } from './system/signals.ts';

const RUN_DIR = '/run/chassis-power';
const STATE_DIR = '/var/lib/chassis-power';

/** EX_SOFTWARE of sysexits.h, as in `cli/exit.ts`. */
const INTERNAL_EXIT = 70;
/** How long a driving verb waits at its end for a reader of its output. */
const LEAVING_MS = 1_000;
/** The same for other verbs: a reader who pages through the output gets all of it. */
const READING_MS = 86_400_000;
/**
 * Threads for what may wait in the kernel, where libuv has four. What hangs keeps its thread: two I2C transfers (hw/i2c/transfers.ts), a
 * reading of a voltage (hw/sensors/sensors.ts), and of each GPIO chip a reading and two drives (hw/gpio/turns.ts).
 */
const WORKER_THREADS = 16;
/** Time for the end of the process after a second request to end. */
const ABANDON_MS = 2_000;

interface ProcessOutput extends Output {
  readonly queue: OutputQueue;
}

/** The present size of the terminal; 0 columns where it is not known. Node's own stream is used for nothing else. */
function sizeOf(fd: 1 | 2): () => { readonly columns: number; readonly rows: number | undefined } {
  try {
    const stream = fd === 1 ? process.stdout : process.stderr;
    // A terminal that is gone causes an error when its size is read again.
    stream.on('error', () => undefined);
    return () => ({ columns: stream.columns ?? 0, rows: stream.rows });
  } catch {
    // The terminal is gone already.
    return () => ({ columns: 0, rows: undefined });
  }
}

function linesText(lines: number): string {
  return lines === 1 ? '1 line' : `${lines} lines`;
}

/** Standard output (1) or standard error (2) of the process. */
function outputOf(fd: 1 | 2, clock: Clock, json: boolean, programName: string): ProcessOutput {
  const journal = isJournal(fd);
  const notice = (lines: number, errno: string): string =>
    json && fd === 1
      ? JSON.stringify({ type: 'outputLost', lines, errno })
      : `${severityMark({ journal }, WARNING)}${programName}: ${linesText(lines)} could not be written here (${errno})`;
  const send = journal ? sendToJournal(fd, 'chassis-power') : sendTo(fd);
  const queue = createOutputQueue(clock, send, notice);
  const terminal = isTerminal(fd) ? sizeOf(fd) : null;
  return {
    write: queue.write,
    queue,
    journal,
    get columns() {
      return terminal === null ? null : terminal().columns;
    },
    get rows() {
      return terminal?.().rows || undefined;
    },
  };
}

/**
 * Whether the stream goes to the journal. systemd gives the device and inode of the stream that it connected in
 * JOURNAL_STREAM (systemd.exec(5)); a stream that was redirected since has others.
 */
function isJournal(fd: number): boolean {
  const stream = process.env.JOURNAL_STREAM;
  if (stream === undefined) return false;
  const { dev, ino } = fstatSync(fd);
  return stream === `${dev}:${ino}`;
}

/**
 * systemd runs the machine where /run/systemd/system exists (sd_booted(3)), and has started this very process where
 * SYSTEMD_EXEC_PID has its number (systemd.exec(5)).
 */
function systemdAround(): World['systemd'] {
  // In a container, where that folder is the host's, who names a bus names that of the host.
  if (!existsSync('/run/systemd/system')) return process.env.DBUS_SYSTEM_BUS_ADDRESS ? 'present' : 'absent';
  return process.env.SYSTEMD_EXEC_PID === String(process.pid) ? 'startedThis' : 'present';
}

/** Folder for the holds of buses, the same for all processes that share them: those of root, or on a bench of one user. */
function holdDirectory(): string {
  const { XDG_RUNTIME_DIR } = process.env;
  if (process.geteuid?.() === 0 || XDG_RUNTIME_DIR === undefined) return RUN_DIR;
  return join(XDG_RUNTIME_DIR, 'chassis-power');
}

/** Folder for what outlives a boot: that of the units, or of a user who has none of the machine's. */
function stateDirectory(): string {
  const { XDG_STATE_HOME, HOME } = process.env;
  const own = XDG_STATE_HOME || (HOME && join(HOME, '.local', 'state'));
  return process.geteuid?.() === 0 || !own ? STATE_DIR : join(own, 'chassis-power');
}

/** In the bundle, the name of a file changes with its content. */
function buildOf(file: string): string {
  const { ino, size, mtimeMs } = statSync(file);
  return [file, ino, size, mtimeMs].join(' ');
}

/** Exports belong to the machine, so --run-dir does not move their record. */
const EXPORTED = '/run/chassis-power/exported';

async function gpioOf(clock: Clock): Promise<GpioBackend> {
  const { createOnoffGpio } = await import('../hw/gpio/onoff.ts');
  return createOnoffGpio({ clock, exports: createExportRecord(EXPORTED) });
}

async function looksOf(clock: Clock): Promise<GpioBackend> {
  const { createLooks } = await import('../hw/gpio/looks.ts');
  return createLooks({ clock, exports: createExportRecord(EXPORTED) }, async (sysfs) =>
    (await import('../hw/gpio/onoff.ts')).createOnoffGpioOn(sysfs),
  );
}

/** The real world: lines, buses, time. Drivers load when a verb first needs them. */
export function composeWorld(
  clock: Clock,
  stdout: Output,
  stderr: Output,
  ends: EndRequests,
  programName: string,
  background: World['background'],
): World {
  return {
    clock,
    flock: async (fd, options) => (await import('../hw/flock.ts')).tryFlock(fd, options),
    // It keeps what it knows of the chips, and has one round of polls for all lines.
    gpio: madeOnce(() => gpioOf(clock)),
    looks: madeOnce(() => looksOf(clock)),
    // It counts the threads that hang in transfers, so there is one for all chassis.
    i2c: madeOnce(async () => {
      const { createBusHolds } = await import('../hw/i2c/bus-hold.ts');
      const holds = createBusHolds({ clock, directory: holdDirectory() });
      return (await import('../hw/i2c/i2c-bus.ts')).createI2c({ clock, holds });
    }),
    // It counts a thread that hangs in a reading, so there is one for all chassis.
    sensors: madeOnce(async () => (await import('../hw/sensors/sensors.ts')).createSensors({ clock })),
    properties: madeOnce(async () => (await import('./system/properties.ts')).createProperties({ clock })),
    picture: async (keys) => (await import('../hw/gpio/picture.ts')).pictureOf(keys),
    build: () => buildOf(fileURLToPath(import.meta.url)),
    units: async () => (await import('./system/units.ts')).createUnitManager({ clock }),
    objectBus: async (publication) =>
      (await import('./system/object-bus.ts')).createObjectBus({ ...publication, clock }),
    eventLog: async () => (await import('./system/event-log.ts')).createEventLog({ clock }),
    journal: async () => (await import('./system/journal.ts')).createJournal({ clock }),
    updateCatalogue: async () => (await import('./system/catalogue.ts')).updateCatalogue({ clock }),
    notifier: async () => (await import('./system/notify.ts')).createNotifier({ clock, env: process.env }),
    bootId: createBootId(),
    env: process.env,
    stdout,
    stderr,
    get signal() {
      return ends.signal;
    },
    get abandon() {
      return ends.abandon;
    },
    onHangup: ends.onHangup,
    systemd: systemdAround(),
    defaultRunDir: RUN_DIR,
    stateDir: stateDirectory(),
    disk: madeOnce(async () => (await import('../hw/disk.ts')).createDisk()),
    caller: () => callerOf(process.env),
    background,
    openbmcRunDir: '/run/openbmc',
    // In the bundle, the unit files lie beside the program.
    unitSourceDir: join(dirname(fileURLToPath(import.meta.url)), 'systemd'),
    programName,
  };
}

export interface Program {
  readonly name: string;
  /** Runs a command line and returns its exit code. */
  readonly run: (args: readonly string[], world: World) => Promise<number>;
  /** Whether the command line may drive a line: it ends with its work then, whether or not its output was read. */
  readonly mayDrive: (args: readonly string[]) => boolean;
}

/**
 * Runs a program as this process. Whatever happens to its output, its terminal or itself, a sequence that it has begun
 * comes to rest. The exit code is that of the program, or INTERNAL_EXIT where it broke.
 */
export async function runProcess({ name, run, mayDrive }: Program): Promise<void> {
  // A process whose event loop ends too early must not look like one that did its work.
  process.exitCode = INTERNAL_EXIT;
  const args = process.argv.slice(2);
  // Before the first file that is read beside the event loop, which starts them all.
  if (mayDrive(args)) process.env.UV_THREADPOOL_SIZE ??= String(WORKER_THREADS);
  const clock = createSystemClock();
  const json = args.includes('--json');
  const stdout = outputOf(1, clock, json, name);
  const stderr = outputOf(2, clock, json, name);
  const say = (severity: number, text: string): void => writeLine(stderr, severity, `${name}: ${text}`);
  const ends = catchSignals(clock, () =>
    say(WARNING, 'a power sequence cannot be suspended: Ctrl-C takes back what is under way'),
  );
  // Node would write these by itself, with a stream that may wait, or end the process.
  process.removeAllListeners('warning');
  process.on('warning', (warning) => say(WARNING, warning.message));

  let isBroken = false;
  process.on('uncaughtException', (error) => {
    const stack = error instanceof Error ? (error.stack ?? error.message) : String(error);
    for (const line of `internal error, please report it: ${stack}`.split('\n')) say(2, line);
    // The first error is a request to end: a sequence comes to rest. After a second one nothing works any more.
    if (isBroken) process.exit(INTERNAL_EXIT);
    isBroken = true;
    ends.end('an internal error');
  });
  let cancelLeaving = (): void => undefined;
  ends.whenAsked((which) => {
    if (which === 'repeated') cancelLeaving = clock.after(ABANDON_MS, () => process.exit(INTERNAL_EXIT));
  });

  const pending = new Set<Promise<void>>();
  const world = composeWorld(clock, stdout, stderr, ends, name, (work) => {
    pending.add(work);
    void work.finally(() => pending.delete(work));
  });
  const code = await run(args, world);
  const leaving = mayDrive(args) || ends.isAsked() ? LEAVING_MS : READING_MS;
  const exitCode = () => (isBroken ? INTERNAL_EXIT : code);
  const leave = () => process.exit(exitCode());
  cancelLeaving();
  // The work is done: who asks for the end now, for the first time or again, is only kept by a slow reader.
  ends.whenAsked(leave);
  await Promise.all(pending);
  await stdout.queue.drain(leaving);
  const { unreported } = stdout.queue;
  // A reader that left, as head does, wanted no more.
  if (unreported !== null && unreported.errno !== 'EPIPE')
    say(
      WARNING,
      `${linesText(unreported.lines)} could not be written to standard output (${unreported.errno})`,
    );
  await stderr.queue.drain(leaving);
  process.exitCode = exitCode();
  // What drives lines may have let go of something that is not over. Else there is nothing left that the process has to wait for, and
  // Node need not take apart what it has built.
  if (!mayDrive(args)) process.exit();
}
