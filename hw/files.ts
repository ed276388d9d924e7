import {
  closeSync,
  constants,
  fchmodSync,
  fstatSync,
  fsyncSync,
  lstatSync,
  mkdirSync,
  openSync,
  readSync,
  renameSync,
  rmSync,
  type Stats,
  statSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { CodedError, errnoCode, errorText } from './errors.ts';

/** Something else stands in the place of a file or directory. The message is a clause about it. */
export class StrangeFile extends CodedError<'FILE_STRANGE'> {}

const GROUP_OR_OTHERS = 0o077;
const WRITABLE_BY_GROUP = 0o020;
const WRITABLE_BY_OTHERS = 0o002;
const STICKY = 0o1000;

/** What is wrong with a file, as a clause; for an error of the system, its errno. */
export function fileProblem(error: unknown): string {
  if (error instanceof StrangeFile) return error.message;
  return errnoCode(error) ?? errorText(error);
}

export interface ReadOptions {
  /** Longer files are refused. */
  readonly maxBytes: number;
  /** Follows a link, for a file that a person may have linked. */
  readonly followsLink?: boolean;
  /** Refuses a file that anybody but this user, root and the owner of its directory can have written. */
  readonly onlyOwn?: boolean;
}

/**
 * Reads a regular file. Anything else in its place (a pipe, a device, a directory, a link) is neither waited for nor
 * followed.
 * @throws StrangeFile, or the error of the file system
 */
export function readRegularFile(
  path: string,
  { maxBytes, followsLink = false, onlyOwn = false }: ReadOptions,
): Buffer {
  const { O_RDONLY, O_NONBLOCK, O_NOCTTY, O_NOFOLLOW } = constants;
  let fd: number;
  try {
    // O_NONBLOCK: opening a pipe would wait for a writer.
    fd = openSync(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | (followsLink ? 0 : O_NOFOLLOW));
  } catch (error) {
    const isLink = !followsLink && errnoCode(error) === 'ELOOP';
    throw isLink ? new StrangeFile('FILE_STRANGE', 'it is a symbolic link', { path }) : error;
  }
  try {
    const found = fstatSync(fd);
    if (!found.isFile()) throw new StrangeFile('FILE_STRANGE', `it is ${kindOf(found)}, no file`, { path });
    if (onlyOwn) expectOwn(path, found, 'it');
    const content = Buffer.allocUnsafe(maxBytes + 1);
    let length = 0;
    for (let count = -1; count !== 0 && length < content.length; length += count) {
      count = readSync(fd, content, length, content.length - length, null);
    }
    if (length > maxBytes) {
      throw new StrangeFile('FILE_STRANGE', `it is longer than ${maxBytes} bytes`, { path });
    }
    // Who keeps what was read does not keep the room for the longest file.
    return Buffer.from(content.subarray(0, length));
  } finally {
    closeSync(fd);
  }
}

/**
 * Creates a file where there is none. Nothing in its place is written to, and a link is not followed.
 * @returns its descriptor, for writing
 * @throws the error of the file system: EEXIST where something is there
 */
export function createFile(path: string, mode: number): number {
  const { O_WRONLY, O_CREAT, O_EXCL, O_NOFOLLOW } = constants;
  return openSync(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, mode);
}

/**
 * Creates a file with its content, which is there after a loss of power too.
 * @throws as `createFile`, or the error of writing
 */
export function createFileWith(path: string, content: string | Uint8Array): void {
  const fd = createFile(path, 0o644);
  try {
    writeFileSync(fd, content);
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}

/** Eight hexadecimal digits that hardly another process draws too. They keep names apart, and are no secret. */
export function randomMark(): string {
  return Math.floor(Math.random() * 2 ** 32)
    .toString(16)
    .padStart(8, '0');
}

/**
 * Replaces a file in one step: a reader finds the old one or the new one, even where this process dies in between. A link
 * is replaced, not followed.
 * @param make creates the new one, under another name in the same directory
 * @throws the error of `make` or of the file system; the old one is left as it was
 */
export function putInPlace(path: string, make: (temporary: string) => void): void {
  // A dot in front keeps systemd from taking a leftover for a unit. One of another process has another number, also in a
  // container, whose processes are counted anew.
  const temporary = join(dirname(path), `.${basename(path)}.${process.pid}.${randomMark()}`);
  try {
    make(temporary);
    renameSync(temporary, path);
  } catch (error) {
    removeIfPossible(temporary);
    throw error;
  }
}

/**
 * Writes a file in one step: a reader finds the whole old content or the whole new one, even where this process dies in
 * between. Creates its directory. A link is replaced, not followed.
 * @throws StrangeFile where others could remove it, or the error of the file system; the old content is left as it was
 */
export function writeDurably(path: string, text: string): void {
  ensureDirectory(dirname(path));
  putInPlace(path, (temporary) => createFileWith(temporary, text));
}

/**
 * What tells a file from the one that takes its place (`putInPlace`), and from what is written to it; null where it cannot be
 * looked at. Takes a small part of the time of reading it.
 */
export function fileMark(path: string): string | null {
  try {
    const { dev, ino, size, mtimeNs, ctimeNs } = lstatSync(path, { bigint: true });
    return [dev, ino, size, mtimeNs, ctimeNs].join(' ');
  } catch {
    return null;
  }
}

/** Removes a file. A failure is ignored: the caller has a better error to report. */
export function removeIfPossible(path: string): void {
  try {
    rmSync(path, { force: true });
  } catch {
    return;
  }
}

/**
 * Creates a directory that all may read and only its owner may write, unless there is one.
 * @throws StrangeFile where others could remove its files, or the error of the file system
 */
export function ensureDirectory(path: string): void {
  makeDirectories(path);
  expectSafeDirectory(path, lstatSync(path), statSync(path));
}

/** All may read what is in it, and only its owner may write. */
export const DIRECTORY_MODE = 0o755;

/**
 * Makes a directory and those above it, unless there is one. Node's own way (`recursive`) tries for ever where a directory that is
 * there takes no other one and says ENOENT: procfs does, and what was removed while it is mounted.
 * @returns the directories that were made, the outermost first
 * @throws the error of the file system
 */
export function makeDirectories(path: string): string[] {
  if (isDirectory(path)) return [];
  const above = dirname(path) === path ? [] : makeDirectories(dirname(path));
  try {
    mkdirSync(path, { mode: DIRECTORY_MODE });
    return [...above, path];
  } catch (error) {
    // Another process was faster.
    if (errnoCode(error) === 'EEXIST' && isDirectory(path)) return above;
    throw error;
  }
}

function isDirectory(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isDirectory() ?? false;
}

/**
 * @param link the directory itself, or the link in its place
 * @param found what the link leads to
 * @throws StrangeFile where others could remove its files
 */
export function expectSafeDirectory(path: string, link: Stats, found: Stats): void {
  if (link.isSymbolicLink() && !isTrusted(link.uid)) {
    throw new StrangeFile('FILE_STRANGE', `it is a symbolic link of user ${link.uid}`, { path });
  }
  // The sticky bit, as of /tmp, lets others add files but not remove ours.
  if (isWritableByOthers(found) && (found.mode & STICKY) === 0) {
    throw new StrangeFile('FILE_STRANGE', 'others may write there', { path });
  }
}

/**
 * Opens a directory that only its owner can open, and creates it where there is none. Anything else in its place is
 * removed. The removal never hits a directory, so two processes may do it at the same time.
 * @returns its descriptor
 * @throws StrangeFile for a directory of another user, or the error of the file system
 */
export function openPrivateDirectory(path: string): number {
  const { O_RDONLY, O_DIRECTORY, O_NOFOLLOW } = constants;
  const open = () => {
    try {
      mkdirSync(path, { mode: 0o700 });
    } catch (error) {
      if (errnoCode(error) !== 'EEXIST') throw error;
    }
    return openSync(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
  };
  let fd: number;
  try {
    fd = open();
  } catch (error) {
    if (errnoCode(error) !== 'ENOTDIR' && errnoCode(error) !== 'ELOOP') throw error;
    try {
      unlinkSync(path);
    } catch (gone) {
      // Another process was faster: it has removed the file, or made the directory already.
      if (errnoCode(gone) !== 'ENOENT' && errnoCode(gone) !== 'EISDIR') throw gone;
    }
    fd = open();
  }
  try {
    const found = fstatSync(fd);
    if (!isTrusted(found.uid) && found.uid !== statSync(dirname(path)).uid) {
      throw new StrangeFile('FILE_STRANGE', `it belongs to user ${found.uid}`, { path });
    }
    if ((found.mode & GROUP_OR_OTHERS) !== 0) fchmodSync(fd, 0o700);
    return fd;
  } catch (error) {
    closeSync(fd);
    throw error;
  }
}

function isTrusted(uid: number): boolean {
  return uid === 0 || uid === process.geteuid?.();
}

/** The group of this process is trusted: with a umask of 002 it may write all files of its user. */
function isWritableByOthers({ mode, gid }: Stats): boolean {
  if ((mode & WRITABLE_BY_OTHERS) !== 0) return true;
  return (mode & WRITABLE_BY_GROUP) !== 0 && gid !== process.getegid?.();
}

function expectOwn(path: string, found: Stats, what: string): void {
  if (!isTrusted(found.uid) && found.uid !== statSync(dirname(path)).uid) {
    throw new StrangeFile('FILE_STRANGE', `${what} belongs to user ${found.uid}`, { path });
  }
  if (isWritableByOthers(found)) {
    throw new StrangeFile('FILE_STRANGE', `others may write ${what}`, { path });
  }
}

function kindOf(found: Stats): string {
  if (found.isDirectory()) return 'a directory';
  if (found.isFIFO()) return 'a pipe';
  if (found.isSocket()) return 'a socket';
  return 'a device';
}
