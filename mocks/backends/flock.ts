import { fstatSync } from 'node:fs';
import type { Flock } from '../../hw/ports.ts';

/**
 * The locks of open directories, for processes that are played in this one. Descriptors are real: who closes one lets go of its
 * lock, as with the kernel. Other processes are not known here.
 */
export function createMockFlock(): Flock {
  /** The descriptor that got the lock last, by directory. */
  const holders = new Map<string, number>();
  const ask = (fd: number, directory: string): 'locked' | 'taken' => {
    const holder = holders.get(directory);
    // The number of a descriptor that was closed may be given to an opening of the same directory: that one asks for itself.
    if (holder !== undefined && holder !== fd && directoryOf(holder) === directory) return 'taken';
    holders.set(directory, fd);
    return 'locked';
  };
  return async (fd) => {
    const directory = directoryOf(fd);
    if (directory === null) throw new TypeError(`${fd} is no open directory`);
    const answer = ask(fd, directory);
    // No answer comes in the turn of its question.
    await new Promise((resolve) => setImmediate(resolve));
    return answer;
  };
}

/** Identifies the directory that is open as `fd`; null where none is. */
function directoryOf(fd: number): string | null {
  try {
    const stat = fstatSync(fd, { bigint: true });
    return stat.isDirectory() ? `${stat.dev}:${stat.ino}:${stat.birthtimeNs}` : null;
  } catch {
    // It is closed.
    return null;
  }
}
