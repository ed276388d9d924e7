import { readFileSync } from 'node:fs';
import { userInfo } from 'node:os';

export interface CallerFiles {
  /** The text of a file below /proc, or null where it cannot be read. */
  readonly read: (name: string) => string | null;
  readonly userName: () => string;
  readonly ppid: number;
}

const THIS_PROCESS: CallerFiles = {
  read(name) {
    try {
      return readFileSync(`/proc/${name}`, 'utf8');
    } catch {
      // Without /proc, or behind ProtectProc=, nobody is to be seen.
      return null;
    }
  },
  userName: () => userInfo().username,
  ppid: process.ppid,
};

/**
 * Who runs this process, for people: the unit that systemd started it as, or the user and the program that called it, with
 * the user behind sudo(8).
 */
export function callerOf(
  env: Readonly<Record<string, string | undefined>>,
  { read, userName, ppid }: CallerFiles = THIS_PROCESS,
): string {
  // A line for each hierarchy, of which the unified one is last or alone (cgroups(7)).
  const group = read('self/cgroup')?.trim().split('\n').at(-1) ?? '';
  const [, unit] = /\/([^/]+\.service)$/.exec(group) ?? [];
  // A shell on a serial console, and one of ssh without PAM, is in a service too: systemd started the getty, not this.
  if (unit !== undefined && env.SYSTEMD_EXEC_PID === String(process.pid)) return unit;
  let user = env.SUDO_USER;
  try {
    user ??= userName();
  } catch {
    // A user without an entry in passwd(5).
    user = `uid ${process.geteuid?.()}`;
  }
  const parent = read(`${ppid}/comm`)?.trim();
  const from = parent === undefined || parent === '' ? '' : ` from ${parent}`;
  return unit === undefined ? `${user}${from}` : `${user}${from} in ${unit}`;
}
