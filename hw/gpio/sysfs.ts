import { constants } from 'node:fs';
import { open, readdir, readFile, stat } from 'node:fs/promises';

/** The file operations of the GPIO driver itself. onoff does others. */
export interface SysfsFiles {
  /** Whole content of a file. */
  read(path: string): Promise<string>;
  /** Writes to an existing file; never creates one. */
  write(path: string, text: string): Promise<void>;
  /** Names in a folder. */
  list(folder: string): Promise<string[]>;
  /** Opens the file for reading and writing, as onoff will, and closes it. */
  tryOpen(path: string): Promise<void>;
  /** A text that another file or folder in the same place does not have. */
  identity(path: string): Promise<string>;
}

/** The files of the machine. Rejections are Node's system errors. */
export const sysfsFiles: SysfsFiles = {
  read: (path) => readFile(path, 'utf8'),

  async write(path, text) {
    // Not `writeFile`: where there is no file it would create one, which sysfs refuses with EACCES, as if rights were
    // missing.
    const file = await open(path, constants.O_WRONLY);
    try {
      await file.write(text);
    } finally {
      await file.close();
    }
  },

  list: (folder) => readdir(folder),

  identity: async (path) => String((await stat(path)).ino),

  async tryOpen(path) {
    const file = await open(path, constants.O_RDWR);
    await file.close();
  },
};
