import { closeSync, fsyncSync, mkdirSync, openSync, renameSync, rmSync, writeSync } from 'node:fs';
import { dirname } from 'node:path';

/**
 * Writes a file so that whoever reads it finds the whole old content or the whole new one, whatever ends in between.
 * Makes its folder. Throws what the file system says, with the old content left as it was.
 */
export function writeDurably(path: string, text: string): void {
  const temporary = `${path}.${process.pid}`;
  try {
    mkdirSync(dirname(path), { recursive: true });
    const fd = openSync(temporary, 'w', 0o644);
    try {
      writeSync(fd, text);
      fsyncSync(fd);
    } finally {
      closeSync(fd);
    }
    renameSync(temporary, path);
  } catch (error) {
    remove(temporary);
    throw error;
  }
}

/** A full file system still lets go of a file. Where not even that works, nothing can be done about it. */
export function remove(path: string): void {
  try {
    rmSync(path, { force: true });
  } catch {
    return;
  }
}
