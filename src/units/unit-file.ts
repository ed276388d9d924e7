/**
 * Reads unit files the way systemd does: syntax as in systemd.syntax(7), load path, drop-ins, aliases, masks
 * and `.wants/`/`.requires/` folders as in systemd.unit(5).
 */
import type { Dirent, Stats } from 'node:fs';
import { readdir, readFile, readlink, realpath, stat } from 'node:fs/promises';
import { basename, dirname, isAbsolute, join, resolve, sep } from 'node:path';
import { errnoCode, errorText } from '../../hw/errors.ts';
import { PowerError } from '../errors.ts';
import { templateOf } from './names.ts';

/** One `Key=value`, with where it stands. */
/** Names the file with the sandbox of a unit, which `units install` puts in its place. */
export const SANDBOX_SETTING = 'X-Sandbox';

export interface Setting {
  readonly section: string;
  readonly key: string;
  /** Continuation lines joined, surrounding space removed, nothing else interpreted. */
  readonly value: string;
  readonly file: string;
  /** First line of the setting. */
  readonly line: number;
}

export interface ParsedFile {
  readonly file: string;
  readonly settings: readonly Setting[];
  /** Line of the first header of each section. */
  readonly sections: ReadonlyMap<string, number>;
}

/** `unit` stands in the folder `owner.requires/` or `owner.wants/`. */
export interface UnitLink {
  readonly owner: string;
  readonly kind: 'requires' | 'wants';
  readonly unit: string;
  readonly file: string;
}

/** Unit files by name, templates uninstantiated, before anything is said about what they mean. */
export interface UnitTree {
  /** True for a root file system, where links alone count; false for a folder of units not yet installed. */
  readonly isRoot: boolean;
  /** Units by file name (`foo@.service` for a template). A masked unit is not among them. */
  readonly files: ReadonlyMap<string, ParsedFile>;
  /** Other names, each to the name of its unit file. */
  readonly aliases: ReadonlyMap<string, string>;
  /** Drop-ins by the name before `.d`, each list in the order of the load path. */
  readonly dropIns: ReadonlyMap<string, readonly ParsedFile[]>;
  readonly links: readonly UnitLink[];
}

/** Where systemd looks, first wins. What generators and `systemctl set-property` write is left out. */
const LOAD_PATH = [
  'etc/systemd/system',
  'run/systemd/system',
  'usr/local/lib/systemd/system',
  'usr/lib/systemd/system',
  'lib/systemd/system',
];

const UNIT_NAME =
  /^[A-Za-z0-9:_.\\-][A-Za-z0-9:_.\\@-]*\.(?:service|socket|device|mount|automount|swap|target|path|timer|slice|scope)$/;

/** Parses one file. A line that is neither header nor setting is skipped, as systemd does (it warns). */
export function parseUnitFile(text: string, file: string): ParsedFile {
  const settings: Setting[] = [];
  const sections = new Map<string, number>();
  let section = '';
  let pending: { text: string; line: number } | null = null;

  const finish = (whole: string, line: number): void => {
    const trimmed = whole.trim();
    const header = /^\[(.*)\]$/.exec(trimmed);
    if (header) {
      section = header[1] ?? '';
      if (!sections.has(section)) sections.set(section, line);
      return;
    }
    const equals = trimmed.indexOf('=');
    if (equals <= 0) return;
    const key = trimmed.slice(0, equals).trimEnd();
    settings.push({ section, key, value: trimmed.slice(equals + 1).trimStart(), file, line });
  };

  for (const [index, raw] of text
    .replace(/^\uFEFF/, '')
    .split(/\r?\n/)
    .entries()) {
    // Also in the middle of a continued line.
    if (/^\s*[#;]/.test(raw)) continue;
    const start: { text: string; line: number } = pending ?? { text: '', line: index + 1 };
    // An even number of backslashes at the end stands for themselves.
    const slashes = /\\*$/.exec(raw)?.[0].length ?? 0;
    if (slashes % 2 === 1) {
      pending = { text: `${start.text}${raw.slice(0, -1)} `, line: start.line };
    } else {
      finish(start.text + raw, start.line);
      pending = null;
    }
  }
  if (pending !== null) finish(pending.text, pending.line);
  return { file, settings, sections };
}

/**
 * Reads a root file system (it has one of the folders of systemd's load path) or a folder of units.
 * Everything in `files` and `links` is named with `dir` in front.
 *
 * `USAGE` when `dir`, or a file in it, cannot be read or holds no unit.
 */
export async function readUnitTree(dir: string): Promise<UnitTree> {
  try {
    if (!(await stat(dir)).isDirectory()) {
      throw new PowerError('USAGE', `${dir} is not a folder: name a folder of units, or a root file system`, {
        dir,
      });
    }
    const inRoot = await loadPathBelow(dir);
    const reader = new TreeReader(inRoot.length > 0 ? dir : '/');
    for (const folder of inRoot.length > 0 ? inRoot : [dir]) await reader.readFolder(folder);
    const tree = reader.tree(inRoot.length > 0);
    if (tree.files.size === 0) {
      throw new PowerError(
        'USAGE',
        `${dir} holds no unit files: name a folder of units, or a root file system`,
        { dir },
      );
    }
    return tree;
  } catch (error) {
    if (error instanceof PowerError) throw error;
    throw new PowerError(
      'USAGE',
      `cannot read the units in ${dir} (${errorText(error)}): name a folder of units, or a root file system`,
      { dir },
      { cause: error },
    );
  }
}

/** The folders of the load path that are there, each once: `lib` is a link to `usr/lib` on most machines. */
async function loadPathBelow(root: string): Promise<string[]> {
  const realRoot = await realpath(root);
  const found = new Map<string, string>();
  for (const relative of LOAD_PATH) {
    const folder = join(root, relative);
    const real = await realpath(folder).catch((error: unknown) => {
      if (isAbsent(error)) return null;
      throw error;
    });
    // An absolute link in an image leads to the machine that builds it, which is not what was asked for.
    const inside = real !== null && (real + sep).startsWith(realRoot === sep ? sep : realRoot + sep);
    if (inside && !found.has(real)) found.set(real, folder);
  }
  return [...found.values()];
}

function isAbsent(error: unknown): boolean {
  return ['ENOENT', 'ENOTDIR', 'ELOOP'].includes(errnoCode(error) ?? '');
}

class TreeReader {
  readonly #root: string;
  readonly #files = new Map<string, ParsedFile>();
  readonly #aliases = new Map<string, string>();
  readonly #masked = new Set<string>();
  readonly #dropIns = new Map<string, Map<string, ParsedFile>>();
  /** By owner, kind and name: what stands first in the load path counts. */
  readonly #links = new Map<string, UnitLink | null>();

  /** @param root what an absolute link starts from */
  constructor(root: string) {
    this.#root = root;
  }

  tree(isRoot: boolean): UnitTree {
    return {
      isRoot,
      files: this.#files,
      aliases: this.#aliases,
      dropIns: new Map([...this.#dropIns].map(([owner, byName]) => [owner, [...byName.values()]])),
      links: [...this.#links.values()].filter((link) => link !== null),
    };
  }

  /** Reads one folder of the load path; those read before have precedence. */
  async readFolder(folder: string): Promise<void> {
    for (const entry of await sorted(folder)) {
      const path = join(folder, entry.name);
      const below = /^(.*)\.(d|wants|requires)$/.exec(entry.name);
      if (below && (await statOrNull(path))?.isDirectory()) {
        const [, owner = '', kind = ''] = below;
        if (kind === 'd') await this.#readDropIns(path, owner);
        else await this.#readLinks(path, owner, kind as UnitLink['kind']);
      } else if (UNIT_NAME.test(entry.name)) {
        await this.#readUnit(path, entry);
      }
    }
  }

  async #readUnit(path: string, entry: Dirent): Promise<void> {
    const { name } = entry;
    if (this.#files.has(name) || this.#aliases.has(name) || this.#masked.has(name)) return;
    const pointed = entry.isSymbolicLink() ? await this.#follow(path) : path;
    const original = basename(pointed);
    // `foo@0.service -> foo@.service` is no other name: it is the template's own instance.
    if (original !== name && UNIT_NAME.test(original) && templateOf(name) !== original) {
      this.#aliases.set(name, original);
      return;
    }
    const content = await readRegular(pointed);
    if (content === null) {
      if (await statOrNull(pointed)) this.#masked.add(name);
    } else if (content === '') this.#masked.add(name);
    else this.#files.set(name, parseUnitFile(content, path));
  }

  async #readDropIns(folder: string, owner: string): Promise<void> {
    const byName = this.#dropIns.get(owner) ?? new Map<string, ParsedFile>();
    for (const entry of await sorted(folder)) {
      if (!entry.name.endsWith('.conf') || byName.has(entry.name)) continue;
      const path = join(folder, entry.name);
      const pointed = entry.isSymbolicLink() ? await this.#follow(path) : path;
      const content = await readRegular(pointed);
      // One that leads to /dev/null takes the place of its namesakes and says nothing.
      if (content !== null || (await statOrNull(pointed))) {
        byName.set(entry.name, parseUnitFile(content ?? '', path));
      }
    }
    if (byName.size > 0) this.#dropIns.set(owner, byName);
  }

  async #readLinks(folder: string, owner: string, kind: UnitLink['kind']): Promise<void> {
    for (const entry of await sorted(folder)) {
      const key = `${owner} ${kind} ${entry.name}`;
      if (!UNIT_NAME.test(entry.name) || this.#links.has(key)) continue;
      const path = join(folder, entry.name);
      const masked = entry.isSymbolicLink() && (await this.#follow(path)) === '/dev/null';
      this.#links.set(key, masked ? null : { owner, kind, unit: entry.name, file: path });
    }
  }

  /** Where a link leads, as seen from inside the root. `/dev/null` stays what it is: the sign of a mask. */
  async #follow(path: string): Promise<string> {
    let current = path;
    // The kernel gives up after 40 as well.
    for (let hop = 0; hop < 40; hop += 1) {
      let target: string;
      try {
        target = await readlink(current);
      } catch (error) {
        if (errnoCode(error) === 'EINVAL' || isAbsent(error)) return current;
        throw error;
      }
      if (target === '/dev/null') return target;
      const next = isAbsolute(target) ? join(this.#root, target) : resolve(dirname(current), target);
      const renames = basename(next) !== basename(current);
      current = next;
      // The first change of name decides what an alias stands for.
      if (renames && UNIT_NAME.test(basename(next))) return current;
    }
    return current;
  }
}

async function sorted(folder: string): Promise<Dirent[]> {
  const entries = await readdir(folder, { withFileTypes: true });
  return entries.sort((a, b) => (a.name < b.name ? -1 : 1));
}

async function statOrNull(path: string): Promise<Stats | null> {
  try {
    return await stat(path);
  } catch (error) {
    if (isAbsent(error)) return null;
    throw error;
  }
}

/** Null for anything but a regular file: reading a pipe would wait for its writer. */
async function readRegular(path: string): Promise<string | null> {
  return (await statOrNull(path))?.isFile() ? readFile(path, 'utf8') : null;
}
