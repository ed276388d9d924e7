import { constants } from 'node:fs';
import { mkdir, open, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';

/** Which lines the processes of this program have exported since the boot: the kernel does not tell who did. */
export interface ExportRecord {
  /** @param identity of the line's folder, which another export of the line does not have */
  add(number: number, identity: string): Promise<void>;
  has(number: number, identity: string): Promise<boolean>;
  remove(number: number): Promise<void>;
}

/** Remembers nothing, so that every line counts as somebody else's. */
export const noExportRecord: ExportRecord = {
  add: async () => undefined,
  has: async () => false,
  remove: async () => undefined,
};

/** A file for each line, in a folder that does not outlive the boot, as the exports do not. */
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
        // Without a place for it the line counts as somebody else's, and is not given back without being told to.
      }
    },
    async has(number, identity) {
      try {
        return (await readFile(fileOf(number), 'utf8')) === identity;
      } catch {
        // No such file, so this program did not export it.
        return false;
      }
    },
    remove: (number) => rm(fileOf(number), { force: true }).catch(() => undefined),
  };
}
