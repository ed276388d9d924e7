import { spawn } from 'node:child_process';
import type { Clock } from '../../hw/ports.ts';
import { oneLine } from '../printable.ts';
import type { Journal } from './ports.ts';

/** The socket of journald for entries with fields (systemd, "Native Journal Protocol"). */
const ENTRIES = '/run/systemd/journal/socket';
/** systemd-notify only writes one datagram: one that takes longer waits for a journald that takes none. */
const SEND_TIMEOUT_MS = 1_000;

export interface JournalOptions {
  readonly clock: Clock;
  /** The socket of journald. */
  readonly socket?: string;
  /** What sends a datagram: systemd-notify(1), or a program with its command line. */
  readonly command?: string;
}

/**
 * The journal of this machine. Node has no unix datagram sockets, so systemd-notify(1) sends each entry: its protocol,
 * lines of `NAME=value` in one datagram, is that of journald too. It has ended before journald looks for it, so the entry
 * names this process as the one that it is about, and journald finds the unit by that.
 */
export function createJournal({
  clock,
  socket = ENTRIES,
  command = 'systemd-notify',
}: JournalOptions): Journal {
  return {
    send: (fields) =>
      new Promise((resolve) => {
        const text = Object.entries({ ...fields, OBJECT_PID: String(process.pid) })
          // A line end would begin another field.
          .map(([name, value]) => `${name}=${oneLine(value)}\n`)
          .join('');
        let child: ReturnType<typeof spawn>;
        try {
          child = spawn(command, ['--no-block', '--', text], {
            stdio: 'ignore',
            env: { PATH: process.env.PATH, NOTIFY_SOCKET: socket },
          });
        } catch {
          // No memory for another process, or an entry that is too long for a command line.
          resolve(false);
          return;
        }
        const cancel = clock.after(SEND_TIMEOUT_MS, () => {
          child.kill('SIGKILL');
          // Even one that cannot be killed keeps nobody.
          child.unref();
          resolve(false);
        });
        const end = (isSent: boolean): void => {
          cancel();
          resolve(isSent);
        };
        child.once('error', () => end(false));
        child.once('exit', (code) => end(code === 0));
      }),
  };
}
