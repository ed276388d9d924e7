import { type FSWatcher, lstatSync, watch } from 'node:fs';
import { basename, dirname } from 'node:path';
import { ensureDirectory, fileMark, fileProblem } from '../../hw/files.ts';
import type { Clock } from '../../hw/ports.ts';

/**
 * How often the file is checked beside the kernel's notifications: those are about one folder, and end when another one
 * takes its place.
 */
const CHECK_MS = 1_000;

export interface WatchFileOptions {
  readonly clock: Clock;
  /** Called when the file is another one, was written, came or went. Must not throw. */
  readonly changed: () => void;
  /** Told what keeps the folder from being used as it should be, once each. */
  readonly warn: (message: string) => void;
}

/**
 * Watches a file that is replaced when it is written, and makes its folder. That the folder itself is replaced, goes
 * away or comes back is noticed within a second. Returns the function that ends it.
 */
export function watchFile(path: string, { clock, changed, warn }: WatchFileOptions): () => void {
  const folder = dirname(path);
  let watcher: FSWatcher | null = null;
  let watched = '';
  let seen = fileMark(path);
  let warned = '';

  const warnOnce = (message: string) => {
    if (message === warned) return;
    warned = message;
    warn(message);
  };

  const watchFolder = (): void => {
    watcher?.close();
    watcher = null;
    try {
      ensureDirectory(folder);
      watcher = watch(folder, { persistent: false }, (_, name) => {
        // The files of the other chassis are beside it.
        if (name === null || name === basename(path)) check();
      });
      watcher.on('error', () => watcher?.close());
    } catch (error) {
      warnOnce(`${folder} cannot be watched (${fileProblem(error)}): it is looked at once a second`);
    }
    watched = folderOf(folder);
  };

  function check(): void {
    if (folderOf(folder) !== watched) {
      warnOnce(`${folder} was replaced: what others do is read from the new one`);
      watchFolder();
    }
    const now = fileMark(path);
    if (now === seen) return;
    seen = now;
    changed();
  }

  watchFolder();
  let cancel = clock.after(CHECK_MS, tick);
  function tick(): void {
    cancel = clock.after(CHECK_MS, tick);
    check();
  }
  return () => {
    cancel();
    watcher?.close();
  };
}

function folderOf(path: string): string {
  try {
    const { dev, ino, birthtimeNs } = lstatSync(path, { bigint: true });
    return `${dev} ${ino} ${birthtimeNs}`;
  } catch (error) {
    return fileProblem(error);
  }
}
