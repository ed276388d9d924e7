import { randomBytes } from 'node:crypto';
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

/** What is in the place of a file or directory cannot be used as one. The message is a clause about it. */
export class StrangeFile extends CodedError<'FILE_STRANGE'> {}

const GROUP_OR_OTHERS = 0o077;
const WRITABLE_BY_GROUP = 0o020;
const WRITABLE_BY_OTHERS = 0o002;
const STICKY = 0o1000;

/** What is wrong with a file, as a clause: the errno where the system said it. */
export function fileProblem(error: unknown): string {
  if (error instanceof StrangeFile) return error.message;
  return errnoCode(error) ?? errorText(error);
}

export interface ReadOptions {
  /** A longer file is not read. */
  readonly maxBytes: number;
  /** For a file that a person put there, who may have put a link. */
  readonly followsLink?: boolean;
  /** Only where nobody but this user, root and the owner of its directory can have written it. */
  readonly onlyOwn?: boolean;
}

/**
 * The content of a regular file. Whatever else stands in its place (a pipe, a device, a directory, a link) is
 * neither waited for nor followed.
 * @throws StrangeFile, or what the file system says
 */
export function readRegularFile(
  path: string,
  { maxBytes, followsLink = false, onlyOwn = false }: ReadOptions,
): Buffer {
  const { O_RDONLY, O_NONBLOCK, O_NOCTTY, O_NOFOLLOW } = constants;
  let fd: number;
  try {
    // Not waiting: opening a pipe waits for somebody who writes.
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
    return content.subarray(0, length);
  } finally {
    closeSync(fd);
  }
}

/**
 * Makes a file that was not there. Nothing that stands in its place is written to, and a link is not followed.
 * @returns its descriptor, for writing
 * @throws what the file system says: EEXIST where something is there
 */
export function createFile(path: string, mode: number): number {
  const { O_WRONLY, O_CREAT, O_EXCL, O_NOFOLLOW } = constants;
  return openSync(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, mode);
}

/**
 * Makes a file with this content that was not there, and that is there after a loss of power.
 * @throws as `createFile`, or what the file system says of the writing
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

/**
 * Puts something in place as a whole: whoever looks finds the old or the new, whatever ends in between. A link in its
 * place is replaced, not followed.
 * @param make makes it under another name in the same directory
 * @throws what `make` throws, or what the file system says, with the old left as it was
 */
export function putInPlace(path: string, make: (temporary: string) => void): void {
  // A dot in front keeps systemd from taking a leftover for a unit.
  const temporary = join(
    dirname(path),
    `.${basename(path)}.${process.pid}.${randomBytes(4).toString('hex')}`,
  );
  try {
    make(temporary);
    renameSync(temporary, path);
  } catch (error) {
    removeIfPossible(temporary);
    throw error;
  }
}

/**
 * Writes a file so that whoever reads it finds the whole old content or the whole new one, whatever ends in between.
 * Makes its directory. A link in its place is replaced, not followed.
 * @throws StrangeFile where others could put it away, or what the file system says, with the old content left as it was
 */
export function writeDurably(path: string, text: string): void {
  ensureDirectory(dirname(path));
  putInPlace(path, (temporary) => createFileWith(temporary, text));
}

/** A full file system still lets go of a file. Where not even that works, nothing can be done about it. */
export function removeIfPossible(path: string): void {
  try {
    rmSync(path, { force: true });
  } catch {
    return;
  }
}

/**
 * Makes a directory that all may read and nobody else may write, unless there is one.
 * @throws StrangeFile where others could put away what is in it, or what the file system says
 */
export function ensureDirectory(path: string): void {
  mkdirSync(path, { recursive: true, mode: 0o755 });
  const link = lstatSync(path);
  if (link.isSymbolicLink() && !isTrusted(link.uid)) {
    throw new StrangeFile('FILE_STRANGE', `it is a symbolic link of user ${link.uid}`, { path });
  }
  const found = statSync(path);
  // With the sticky bit, as /tmp has it, others may add files, but not take ours away.
  if (isWritableByOthers(found) && (found.mode & STICKY) === 0) {
    throw new StrangeFile('FILE_STRANGE', 'others may write there', { path });
  }
}

/**
 * Opens a directory that nobody else can look into, and makes it where it is not. What is in its place and is no
 * directory is removed: that can never hit a directory, so that two processes may do it at the same time.
 * @returns its descriptor
 * @throws StrangeFile where it is another user's, or what the file system says
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
      // Another process was faster: it is away, or a directory already.
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

/** A group that is this process's own is not others: with a umask of 002 it may write whatever its user makes. */
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
