import { constants } from 'node:fs';
import { open, readdir, readFile, stat } from 'node:fs/promises';

/** The file operations that the GPIO driver does itself, beside those that onoff does. */
export interface SysfsFiles {
  /** Whole content of a file. */
  read(path: string): Promise<string>;
  /** Writes to a file that is there; never makes one. */
  write(path: string, text: string): Promise<void>;
  /** Names in a folder. */
  list(folder: string): Promise<string[]>;
  /** Opens the file for reading and writing and closes it again: what onoff will do with it. */
  tryOpen(path: string): Promise<void>;
  /** What tells this file or folder from another one that comes in its place. */
  identity(path: string): Promise<string>;
}

/** The files of the machine. Rejections are Node's system errors. */
export const sysfsFiles: SysfsFiles = {
  read: (path) => readFile(path, 'utf8'),

  async write(path, text) {
    // Not `writeFile`: it would ask the kernel to create the file where there is none, and sysfs
    // answers that with EACCES, which reads like a lack of rights.
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
