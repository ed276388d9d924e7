import { closeSync, constants, openSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { makeDirectories, readRegularFile, removeIfPossible } from '../files.ts';

/** The lines that processes of this program have exported since the boot. The kernel does not know who exported a line. */
export interface ExportRecord {
  /** @param identity of the line's folder: each export of a line gives another one */
  add(number: number, identity: string): void;
  has(number: number, identity: string): boolean;
  remove(number: number): void;
}

/** Remembers nothing, so every exported line counts as another program's. */
export const noExportRecord: ExportRecord = {
  add: () => undefined,
  has: () => false,
  remove: () => undefined,
};

/** An inode number. */
const IDENTITY_BYTES = 64;

/** A file for each line, in a folder that ends with the boot, as the exports do. */
export function createExportRecord(folder: string): ExportRecord {
  const fileOf = (number: number) => join(folder, `gpio${number}`);
  return {
    add(number, identity) {
      const { O_WRONLY, O_CREAT, O_TRUNC, O_NOFOLLOW } = constants;
      try {
        makeDirectories(folder);
        const fd = openSync(fileOf(number), O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW, 0o644);
        try {
          writeSync(fd, identity);
        } finally {
          closeSync(fd);
        }
      } catch {
        // Without its file the line counts as another program's, and only `release --all` gives it back.
      }
    },
    has(number, identity) {
      try {
        return readRegularFile(fileOf(number), { maxBytes: IDENTITY_BYTES }).toString('utf8') === identity;
      } catch {
        // Without a file, this program did not export the line.
        return false;
      }
    },
    remove: (number) => removeIfPossible(fileOf(number)),
  };
}
