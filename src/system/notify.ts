import { spawn } from 'node:child_process';
import type { Clock } from '../../hw/ports.ts';
import type { ServiceNotifier } from './ports.ts';

/** A helper that only writes one datagram; more than this means that it hangs. */
const NOTIFY_TIMEOUT_MS = 5_000;

export interface NotifierOptions {
  readonly clock: Clock;
  /** NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID as sd_notify(3) and sd_watchdog_enabled(3) describe them. */
  readonly env: Readonly<Record<string, string | undefined>>;
}

/**
 * Tells systemd about the service. Node has no datagram sockets of the unix kind, so systemd-notify(1) sends
 * each message; the unit needs `NotifyAccess=all`, for the sender is a child. Messages go out one after the other, in the order they
 * were given. Without NOTIFY_SOCKET nothing is sent.
 */
export function createNotifier({ clock, env }: NotifierOptions): ServiceNotifier {
  const socket = env.NOTIFY_SOCKET;
  const forThisProcess = env.WATCHDOG_PID === undefined || env.WATCHDOG_PID === String(process.pid);
  const watchdogMs = forThisProcess ? Number(env.WATCHDOG_USEC ?? Number.NaN) / 1000 : Number.NaN;
  let last: Promise<void> = Promise.resolve();

  const send = (...assignments: string[]): Promise<void> => {
    if (socket === undefined) return Promise.resolve();
    last = last.then(() => sendOne(clock, socket, assignments));
    return last;
  };

  return {
    watchdogIntervalMs: Number.isFinite(watchdogMs) && watchdogMs > 0 ? watchdogMs : null,
    ready: (status) => send('READY=1', `STATUS=${oneLine(status)}`),
    status: (status) => send(`STATUS=${oneLine(status)}`),
    stopping: (status) => send('STOPPING=1', `STATUS=${oneLine(status)}`),
    alive: () => send('WATCHDOG=1'),
  };
}

/** Never rejects: a service that cannot tell its state still has its work to do, and systemd notices by itself. */
function sendOne(clock: Clock, socket: string, assignments: readonly string[]): Promise<void> {
  return new Promise((resolve) => {
    const child = spawn('systemd-notify', [...assignments], {
      stdio: 'ignore',
      env: { PATH: process.env.PATH, NOTIFY_SOCKET: socket },
    });
    const cancel = clock.after(NOTIFY_TIMEOUT_MS, () => child.kill('SIGKILL'));
    const end = () => {
      cancel();
      resolve();
    };
    child.once('error', end);
    child.once('exit', end);
  });
}

function oneLine(text: string): string {
  return text.replaceAll(/\s+/g, ' ');
}
