import { randomBytes } from 'node:crypto';
import { closeSync, fsyncSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { createFile, ensureDirectory } from '../../hw/files.ts';

/**
 * Writes a file so that whoever reads it finds the whole old content or the whole new one, whatever ends in between.
 * Makes its folder. A link in its place is replaced, not followed. Throws a StrangeFile where others could put it away,
 * or what the file system says, with the old content left as it was.
 */
export function writeDurably(path: string, text: string): void {
  const temporary = `${path}.${process.pid}.${randomBytes(4).toString('hex')}`;
  ensureDirectory(dirname(path));
  const fd = createFile(temporary, 0o644);
  try {
    try {
      writeFileSync(fd, text);
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
