import { constants } from 'node:fs';
import { mkdir, open, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';

/** The lines that processes of this program have exported since the boot. The kernel does not know who exported a line. */
export interface ExportRecord {
  /** @param identity of the line's folder: each export of a line gives another one */
  add(number: number, identity: string): Promise<void>;
  has(number: number, identity: string): Promise<boolean>;
  remove(number: number): Promise<void>;
}

/** Remembers nothing, so every exported line counts as another program's. */
export const noExportRecord: ExportRecord = {
  add: async () => undefined,
  has: async () => false,
  remove: async () => undefined,
};

/** A file for each line, in a folder that ends with the boot, as the exports do. */
export function createExportRecord(folder: string): ExportRecord {
  const fileOf = (number: number) => join(folder, `gpio${number}`);
  return {
    async add(number, identity) {
      const { O_WRONLY, O_CREAT, O_TRUNC, O_NOFOLLOW } = constants;
      try {
        await mkdir(folder, { recursive: true, mode: 0o755 });
        const file = await open(fileOf(number), O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW, 0o644);
        await file.writeFile(identity).finally(() => file.close());
      } catch {
        // Without its file the line counts as another program's, and only `release --all` gives it back.
      }
    },
    async has(number, identity) {
      try {
        return (await readFile(fileOf(number), 'utf8')) === identity;
      } catch {
        // Without a file, this program did not export the line.
        return false;
      }
    },
    remove: (number) => rm(fileOf(number), { force: true }).catch(() => undefined),
  };
}
