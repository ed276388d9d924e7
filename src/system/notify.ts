import { spawn } from 'node:child_process';
import type { Clock } from '../../hw/ports.ts';
import type { ServiceNotifier } from './ports.ts';

/** systemd-notify only writes one datagram: one that takes longer than this hangs. */
const NOTIFY_TIMEOUT_MS = 5_000;

export interface NotifierOptions {
  readonly clock: Clock;
  /** NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID as sd_notify(3) and sd_watchdog_enabled(3) describe them. */
  readonly env: Readonly<Record<string, string | undefined>>;
}

/**
 * Notifies systemd of the state of the service. Node has no unix datagram sockets, so systemd-notify(1) sends each message;
 * the unit needs `NotifyAccess=all`, because the sender is a child. Messages are sent in their order. Without NOTIFY_SOCKET
 * nothing is sent.
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

/** Never rejects: the service goes on without the notification, and systemd notices that it is missing. */
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
