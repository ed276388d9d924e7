import { close, constants, fsync, lstat, mkdir, open, readdir, rename, rm, stat, writeFile } from 'node:fs';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { errnoCode } from './errors.ts';
import { DIRECTORY_MODE, expectSafeDirectory, readRegularFile } from './files.ts';

/**
 * Files that outlive a loss of power, for whoever must go on while they are written: nothing here is done on the event
 * loop but `read`. A disk that never answers keeps a call for ever, and with it the end of the process.
 *
 * Every call rejects with the error of the file system (`ENOSPC`, `EROFS`, `EACCES` …) or with StrangeFile.
 */
export interface Disk {
  /** Makes a directory that all may read and only its owner may write, unless there is one that others cannot change. */
  makeDirectory(path: string): Promise<void>;
  /** Names of what is in the directory; none where there is no directory. */
  list(directory: string): Promise<readonly string[]>;
  /** The text of a regular file that nobody else can have written, and that is no longer than that. */
  read(path: string, maxBytes: number): Promise<string>;
  /** Makes a file where there is none. When it resolves, a loss of power leaves the text as it is; its name it may take. */
  create(path: string, text: string): Promise<void>;
  /** Takes the place of what is there, in one step. */
  rename(from: string, to: string): Promise<void>;
  /** Removes a file. One that is not there is no error. */
  remove(path: string): Promise<void>;
  /** When it resolves, a loss of power leaves the names in the directory as they are. */
  syncDirectory(path: string): Promise<void>;
}

/** Runs `use` on a file that is open meanwhile. Not by `fs/promises`: Node takes a while to load that. */
async function whileOpen(path: string, flags: number, use: (fd: number) => Promise<void>): Promise<void> {
  const fd = await promisify(open)(path, flags, 0o644);
  try {
    await use(fd);
  } finally {
    await promisify(close)(fd);
  }
}

/** As its namesake in `files.ts`, for who must go on meanwhile. */
async function makeDirectories(path: string): Promise<void> {
  if (await isDirectory(path)) return;
  if (dirname(path) !== path) await makeDirectories(dirname(path));
  try {
    await promisify(mkdir)(path, { mode: DIRECTORY_MODE });
  } catch (error) {
    // Another process was faster.
    if (errnoCode(error) !== 'EEXIST' || !(await isDirectory(path))) throw error;
  }
}

async function isDirectory(path: string): Promise<boolean> {
  try {
    return (await promisify(stat)(path)).isDirectory();
  } catch (error) {
    if (errnoCode(error) === 'ENOENT') return false;
    throw error;
  }
}

/** The file systems of this machine. */
export function createDisk(): Disk {
  return {
    async makeDirectory(path) {
      await makeDirectories(path);
      expectSafeDirectory(path, await promisify(lstat)(path), await promisify(stat)(path));
    },
    async list(directory) {
      try {
        return await promisify(readdir)(directory);
      } catch (error) {
        if (errnoCode(error) === 'ENOENT') return [];
        throw error;
      }
    },
    read: async (path, maxBytes) => readRegularFile(path, { maxBytes, onlyOwn: true }).toString('utf8'),
    create(path, text) {
      const { O_WRONLY, O_CREAT, O_EXCL, O_NOFOLLOW } = constants;
      return whileOpen(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, async (fd) => {
        await promisify(writeFile)(fd, text);
        await promisify(fsync)(fd);
      });
    },
    rename: (from, to) => promisify(rename)(from, to),
    remove: (path) => promisify(rm)(path, { force: true }),
    syncDirectory: (path) =>
      whileOpen(path, constants.O_RDONLY | constants.O_DIRECTORY, async (fd) => {
        try {
          await promisify(fsync)(fd);
        } catch (error) {
          // A file system that keeps no directories of its own (vfat over FUSE, some overlays) has nothing to write.
          if (errnoCode(error) !== 'EINVAL') throw error;
        }
      }),
  };
}

/**
 * Writes a file in one step, which a loss of power at any moment leaves done or not begun; `unfinished` may be there then.
 * @param unfinished name of it while it is written, in the same directory
 */
export async function createWhole(disk: Disk, path: string, unfinished: string, text: string): Promise<void> {
  const directory = dirname(path);
  const temporary = join(directory, unfinished);
  try {
    await disk.create(temporary, text);
    await disk.rename(temporary, path);
    await disk.syncDirectory(directory);
  } catch (error) {
    // What is left of it takes the room that is missing.
    await disk.remove(temporary).catch(() => undefined);
    throw error;
  }
}
