/** Inspects, checks, writes and removes what is below a root. */
import { createHash } from 'node:crypto';
import { chmodSync, symlinkSync } from 'node:fs';
import { access, chmod, constants, lstat, readFile, readlink, realpath, rmdir } from 'node:fs/promises';
import { dirname, join, posix, sep } from 'node:path';
import { errnoCode, errorText } from '../../../hw/errors.ts';
import { createFileWith, makeDirectories, putInPlace } from '../../../hw/files.ts';
import { PowerError } from '../../errors.ts';
import type { Item } from './items.ts';

/** What stands at a path: nothing, a file or link with this fingerprint, or something else. */
export type Present =
  | { readonly kind: 'file' | 'link'; readonly fingerprint: string }
  | { kind: 'other' }
  | null;

export function fingerprintOf(item: Item): string {
  return item.kind === 'file' ? sha256(item.content) : item.target;
}

function sha256(content: Buffer): string {
  return createHash('sha256').update(content).digest('hex');
}

export async function checkedRoot(root: string): Promise<string> {
  try {
    const real = await realpath(root);
    if ((await lstat(real)).isDirectory()) return real;
  } catch (error) {
    throw new PowerError(
      'UNITS_NOT_WRITABLE',
      `Cannot use ${root} as root folder: ${errorText(error)}. Name a folder that exists.`,
      { root },
      { cause: error },
    );
  }
  throw new PowerError('UNITS_NOT_WRITABLE', `${root} is not a folder. Name a folder that exists.`, { root });
}

/** No folder on the way may be a file, or a link that leads out of the root. */
export async function checkParents(root: string, paths: readonly string[]): Promise<void> {
  for (const dir of new Set(paths.flatMap(parents))) {
    const full = join(root, dir);
    let real: string;
    try {
      real = await realpath(full);
    } catch (error) {
      const link = await readlink(full).catch(() => undefined);
      if (errnoCode(error) === 'ENOENT' && link === undefined) continue;
      throw new PowerError(
        'UNITS_NOT_WRITABLE',
        `Cannot use ${full}: ${errorText(error)}. Put that right first; nothing was changed.`,
        { path: full },
        { cause: error },
      );
    }
    if (real !== root && !real.startsWith(root.endsWith(sep) ? root : root + sep)) {
      throw conflictError(root, [{ path: dir, reason: `leads out of the root, to ${real}` }]);
    }
    if (!(await lstat(real)).isDirectory()) {
      throw conflictError(root, [{ path: dir, reason: 'not a folder' }]);
    }
  }
}

/** The folder of each path, or the nearest one above that exists, must let us write. */
export async function checkWritable(root: string, paths: readonly string[]): Promise<void> {
  for (const dir of new Set(paths.map((path) => posix.dirname(path)))) {
    let nearest = join(root, dir);
    while ((await kindOf(nearest)) === null) nearest = dirname(nearest);
    try {
      await access(nearest, constants.W_OK | constants.X_OK);
    } catch (error) {
      throw new PowerError(
        'UNITS_NOT_WRITABLE',
        `Cannot write in ${nearest}: ${errorText(error)}. Run it as root, or name another root folder; nothing was changed.`,
        { path: nearest },
        { cause: error },
      );
    }
  }
}

export async function foldersToMake(root: string, paths: readonly string[]): Promise<string[]> {
  const missing: string[] = [];
  for (const dir of new Set(paths.flatMap(parents))) {
    if ((await kindOf(join(root, dir))) === null) missing.push(dir);
  }
  return missing;
}

/** All folders above a path, outermost first. */
function parents(path: string): string[] {
  const parts = path.split('/').slice(0, -1);
  return parts.map((_, index) => parts.slice(0, index + 1).join('/'));
}

async function kindOf(path: string): Promise<'file' | 'link' | 'other' | null> {
  try {
    const stats = await lstat(path);
    if (stats.isSymbolicLink()) return 'link';
    return stats.isFile() ? 'file' : 'other';
  } catch (error) {
    if (errnoCode(error) === 'ENOENT') return null;
    throw error;
  }
}

export async function readPresent(root: string, paths: Iterable<string>): Promise<Map<string, Present>> {
  const present = new Map<string, Present>();
  for (const path of paths) {
    const full = join(root, path);
    try {
      present.set(path, await presentAt(full));
    } catch (error) {
      throw new PowerError(
        'UNITS_NOT_WRITABLE',
        `Cannot read ${full}: ${errorText(error)}. Run it as root, or put that right first; nothing was changed.`,
        { path: full },
        { cause: error },
      );
    }
  }
  return present;
}

async function presentAt(full: string): Promise<Present> {
  const kind = await kindOf(full);
  if (kind === 'file') return { kind, fingerprint: sha256(await readFile(full)) };
  if (kind === 'link') return { kind, fingerprint: await readlink(full) };
  return kind === null ? null : { kind };
}

export function conflictError(
  root: string,
  conflicts: readonly { readonly path: string; readonly reason: string }[],
): PowerError {
  const lines = conflicts.map(({ path, reason }) => `${join(root, path)} (${reason})`);
  return new PowerError(
    'UNITS_CONFLICT',
    `Will not touch ${lines.join(', ')}; nothing was changed. Move it away, keep changes of your own as a drop-in in /etc/systemd/system, and try again.`,
    { root, conflicts },
  );
}

export async function writeItem(root: string, item: Item): Promise<void> {
  const full = join(root, item.path);
  await makeFolder(dirname(full));
  putInPlace(full, (temporary) => {
    if (item.kind === 'link') symlinkSync(item.target, temporary);
    else {
      createFileWith(temporary, item.content);
      // Readable for everyone whatever the umask: unit files hold no secrets and systemctl cat is for all.
      chmodSync(temporary, 0o644);
    }
  });
}

async function makeFolder(path: string): Promise<void> {
  for (const made of makeDirectories(path)) await chmod(made, 0o755);
}

/** Removes the folders of `dirs` that are empty and hold nothing of `inUse`; returns those that stay. */
export async function removeEmptyDirs(
  root: string,
  dirs: readonly string[],
  inUse: ReadonlySet<string>,
): Promise<string[]> {
  const needed = new Set([...inUse].flatMap(parents));
  const staying: string[] = [];
  // Longest first: a folder goes before the one it is in.
  for (const dir of [...dirs].sort().reverse()) {
    if (needed.has(dir)) {
      staying.push(dir);
      continue;
    }
    try {
      await rmdir(join(root, dir));
    } catch (error) {
      const code = errnoCode(error);
      if (code === 'ENOTEMPTY' || code === 'EEXIST' || code === 'ENOTDIR') staying.push(dir);
      else if (code !== 'ENOENT') throw error;
    }
  }
  return staying.sort();
}
