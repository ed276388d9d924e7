import {
  closeSync,
  constants,
  openSync,
  readdirSync,
  readFile,
  readFileSync,
  realpathSync,
  statSync,
  write,
} from 'node:fs';
import { promisify } from 'node:util';
import { readAttribute, withFile } from '../attribute.ts';

/**
 * The file operations of the GPIO driver itself. onoff does others. What the kernel answers from its memory is answered at
 * once. What it may have to ask a device for is promised: an expander behind a bus that hangs keeps whoever asks waiting.
 */
export interface SysfsFiles {
  /** Content of a file that the kernel has in its memory: label, base and number of lines of a chip, names. */
  readKnown(path: string): string;
  /** Content of a file of a line, in one read of at most a page, as the kernel gives it. */
  readAttribute(path: string): Promise<string>;
  /** Whole content of a longer file that asks devices. */
  read(path: string): Promise<string>;
  /** Writes to an existing file; never creates one. */
  write(path: string, text: string): Promise<void>;
  /** Names in a folder. */
  list(folder: string): string[];
  /** Opens the file for reading and writing, as onoff will, and closes it. */
  tryOpen(path: string): void;
  /** The path without links in it. */
  realPath(path: string): string;
  /** A text that another file or folder in the same place does not have. */
  identity(path: string): string;
}

/** What a line has in a file of its own is a digit, or a word as `falling`. */
const WORD_BYTES = 64;

/** The files of the machine. Errors are Node's system errors. */
export const sysfsFiles: SysfsFiles = {
  readKnown: (path) => readFileSync(path, 'utf8'),

  readAttribute: (path) => readAttribute(path, WORD_BYTES),

  read: (path) => promisify(readFile)(path, 'utf8'),

  // Not `writeFile`: where there is no file it would create one, which sysfs refuses with EACCES, as if rights were missing.
  write: (path, text) =>
    withFile(path, constants.O_WRONLY, (fd, done) => write(fd, text, (error) => done(error))),

  list: (folder) => readdirSync(folder),

  tryOpen(path) {
    closeSync(openSync(path, constants.O_RDWR));
  },

  realPath: (path) => realpathSync(path),

  identity: (path) => String(statSync(path).ino),
};
