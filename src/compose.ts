import { existsSync, fstatSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { createSystemClock } from '../hw/clock.ts';
import type { Output, World } from './cli/world.ts';

/** A stream of the process as an output. */
export function outputOf(stream: NodeJS.WriteStream & { readonly fd: number }): Output {
  return {
    write: (text) => {
      stream.write(text);
    },
    columns: stream.isTTY ? stream.columns : null,
    journal: isJournal(stream.fd),
  };
}

/**
 * systemd gives device and inode of the stream it connected to the journal in JOURNAL_STREAM
 * (systemd.exec(5)); whoever redirected it since reads the text himself.
 */
function isJournal(fd: number): boolean {
  const stream = process.env.JOURNAL_STREAM;
  if (stream === undefined) return false;
  const { dev, ino } = fstatSync(fd);
  return stream === `${dev}:${ino}`;
}

/** Abort signals for the first SIGINT or SIGTERM and for the second; their reason is the signal's name. */
export function terminationSignals(): { readonly signal: AbortSignal; readonly abandon: AbortSignal } {
  const first = new AbortController();
  const second = new AbortController();
  for (const name of ['SIGINT', 'SIGTERM'] as const) {
    process.on(name, () => (first.signal.aborted ? second : first).abort(name));
  }
  return { signal: first.signal, abandon: second.signal };
}

/**
 * What systemd has to do with this process. It runs the machine when /run/systemd/system is there
 * (sd_booted(3)), and it started this very process when SYSTEMD_EXEC_PID says so (systemd.exec(5)).
 */
function systemdAround(): World['systemd'] {
  if (!existsSync('/run/systemd/system')) return 'absent';
  return process.env.SYSTEMD_EXEC_PID === String(process.pid) ? 'startedThis' : 'present';
}

/** The world as it is: real lines, real buses, real time. Drivers load when a verb first asks for them. */
export function composeWorld(): World {
  const clock = createSystemClock();
  return {
    clock,
    gpio: async () => (await import('../hw/gpio/onoff.ts')).createOnoffGpio({ clock }),
    i2c: async () => (await import('../hw/i2c/i2c-bus.ts')).createI2c({ clock }),
    units: async () => (await import('../hw/systemd/units.ts')).createUnitManager({ clock }),
    objectBus: async (publication) =>
      (await import('../hw/systemd/object-bus.ts')).createObjectBus({ ...publication, clock }),
    eventLog: async () => (await import('../hw/systemd/event-log.ts')).createEventLog({ clock }),
    notifier: async () =>
      (await import('../hw/systemd/notify.ts')).createNotifier({ clock, env: process.env }),
    bootId: () => readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim(),
    env: process.env,
    stdout: outputOf(process.stdout),
    stderr: outputOf(process.stderr),
    ...terminationSignals(),
    onHangup(handler) {
      process.on('SIGHUP', handler);
      return () => process.off('SIGHUP', handler);
    },
    systemd: systemdAround(),
    defaultRunDir: '/run/chassis-power',
    stateDir: '/var/lib/chassis-power',
    openbmcRunDir: '/run/openbmc',
    // In the bundle, the unit files lie beside the program.
    unitSourceDir: join(dirname(fileURLToPath(import.meta.url)), 'systemd'),
    programName: 'chassis-power',
  };
}
