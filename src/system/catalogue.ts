import { execFile } from 'node:child_process';
import type { Clock } from '../../hw/ports.ts';
import { SystemError } from './errors.ts';

/** It reads some files and writes one: on the slowest BMC that takes a second or two. */
const UPDATE_TIMEOUT_MS = 20_000;

export interface CatalogueOptions {
  readonly clock: Clock;
  /** journalctl(1), or a program with its command line. */
  readonly command?: string;
}

/**
 * Compiles the message catalogues that are installed into what `journalctl -x` looks in. Rejects SYSTEMD_FAILED with what
 * journalctl said, or when it takes too long.
 */
export function updateCatalogue({ clock, command = 'journalctl' }: CatalogueOptions): Promise<void> {
  return new Promise((resolve, reject) => {
    const failed = (why: string) =>
      reject(new SystemError('SYSTEMD_FAILED', `${command} --update-catalog failed (${why.trim()})`));
    const child = execFile(command, ['--update-catalog'], (error, _, said) => {
      cancel();
      if (error === null) resolve();
      else failed(said || error.message);
    });
    const cancel = clock.after(UPDATE_TIMEOUT_MS, () => {
      child.kill('SIGKILL');
      child.unref();
      failed(`no end within ${UPDATE_TIMEOUT_MS / 1000} s`);
    });
  });
}
