/**
 * Puts the systemd units in place and takes away exactly what it put. A manifest beside the units
 * remembers each file by its content and each link by its target.
 */
import { createHash, randomBytes } from 'node:crypto';
import {
  access,
  chmod,
  constants,
  lstat,
  mkdir,
  open,
  readdir,
  readFile,
  readlink,
  realpath,
  rename,
  rm,
  rmdir,
  symlink,
} from 'node:fs/promises';
import { dirname, join, posix, sep } from 'node:path';
import { errnoCode, errorText } from '../../hw/errors.ts';
import { PowerError } from '../errors.ts';

/** Folders and files below the root, always with `/`. */
const UNIT_DIR = 'usr/lib/systemd/system';
const TMPFILES_DIR = 'usr/lib/tmpfiles.d';
const DBUS_POLICY_DIR = 'usr/share/dbus-1/system.d';
/** What was installed below a root, for `uninstallUnits` and for the next `installUnits`. */
export const MANIFEST_PATH = 'usr/lib/chassis-power/units.json';

/** Whose names the units have: those of 2017 with targets of our own, or today's beside phosphor-state-manager. */
export type Flavour = 'legacy' | 'current';

/**
 * Which target requires or wants which unit, for every chassis. These are links and not lines in the unit files, so
 * that a target can be started for a chassis that has no stages of ours, and a board can add its own.
 */
export const LINKS: readonly {
  readonly target: string;
  readonly kind: 'requires' | 'wants';
  readonly unit: string;
}[] = [
  { target: 'obmc-power-chassis-on@.target', kind: 'requires', unit: 'op-power-start@.service' },
  { target: 'obmc-power-chassis-on@.target', kind: 'requires', unit: 'op-wait-power-on@.service' },
  { target: 'obmc-power-chassis-off@.target', kind: 'requires', unit: 'op-power-stop@.service' },
  { target: 'obmc-power-chassis-off@.target', kind: 'requires', unit: 'op-wait-power-off@.service' },
  { target: 'obmc-chassis-start@.target', kind: 'requires', unit: 'obmc-power-chassis-on@.target' },
  { target: 'obmc-chassis-start@.target', kind: 'requires', unit: 'obmc-start-host@.service' },
  { target: 'obmc-chassis-stop@.target', kind: 'requires', unit: 'obmc-power-chassis-off@.target' },
  { target: 'obmc-chassis-reset@.target', kind: 'requires', unit: 'op-reset-chassis-on@.service' },
  // Not requires: a chassis that is in doubt must not keep the BMC from coming up.
  { target: 'multi-user.target', kind: 'wants', unit: 'obmc-chassis-reset@.target' },
  { target: 'multi-user.target', kind: 'wants', unit: 'chassis-power.service' },
];

/** The same beside phosphor-state-manager, whose targets these are. */
const CURRENT_LINKS: typeof LINKS = [
  { target: 'obmc-chassis-poweron@.target', kind: 'requires', unit: 'phosphor-wait-power-on@.service' },
  { target: 'obmc-chassis-poweroff@.target', kind: 'requires', unit: 'phosphor-wait-power-off@.service' },
  { target: 'multi-user.target', kind: 'wants', unit: 'chassis-power.service' },
];

/** Under this name phosphor-state-manager orders itself after the power controller (its Chassis@ unit). */
const CURRENT_ALIAS = 'phosphor-power-control.service';

const UNIT_FILE = /^[^.].*\.(?:service|target|socket|path|timer)$/;
const CONF_FILE = /^[^.].*\.conf$/;

export interface InstallOptions {
  /** Folder that holds `usr`; `/` for this machine, an image's root file system otherwise. It must exist. */
  readonly root: string;
  /** Chassis numbers that get links. Chassis of an earlier install that are not among them lose theirs. */
  readonly chassis: readonly number[];
  /** Folder with the unit files, `systemd/` of this project: units at the top, `tmpfiles.d/` below. */
  readonly sourceDir: string;
  /** Who does the work of the stages: the program each time anew, or the resident service. Default `program`. */
  readonly stages?: 'program' | 'resident';
  /** Default `legacy`. `stages` means nothing to `current`, whose stages are phosphor-state-manager's. */
  readonly flavour?: Flavour;
}

export interface KeptPath {
  readonly path: string;
  readonly reason: 'changed since it was installed' | 'not empty';
}

/** What happened, as paths below the root, each list sorted. Links count like files. */
export interface UnitsReport {
  readonly written: readonly string[];
  /** Already there with the right content. */
  readonly unchanged: readonly string[];
  readonly removed: readonly string[];
  /** Would have been removed, but somebody made it theirs. From now on nothing of it is remembered. */
  readonly kept: readonly KeptPath[];
}

/** A file by its content, or a link by its target. */
export type Item =
  | { readonly kind: 'file'; readonly path: string; readonly content: Buffer }
  | { readonly kind: 'link'; readonly path: string; readonly target: string };

/** What stands at a path: nothing, a file or link with this fingerprint, or something else. */
export type Present =
  | { readonly kind: 'file' | 'link'; readonly fingerprint: string }
  | { kind: 'other' }
  | null;

interface ManifestEntry {
  readonly path: string;
  readonly kind: 'file' | 'link';
  /** Every content that is ours. More than one only while an install is under way or was cut short. */
  readonly fingerprints: readonly string[];
}

interface Manifest {
  readonly version: 1;
  readonly chassis: readonly number[];
  readonly entries: readonly ManifestEntry[];
  /** Folders that an install made, parents first. */
  readonly dirs: readonly string[];
}

export interface InstallPlan {
  readonly write: readonly Item[];
  readonly unchanged: readonly string[];
  readonly remove: readonly string[];
  readonly kept: readonly KeptPath[];
  /** Entries for the manifest once everything is in place. */
  readonly entries: readonly ManifestEntry[];
  /** Paths that hold something this program did not put there, with what to do about each. */
  readonly conflicts: readonly { readonly path: string; readonly reason: string }[];
}

/**
 * Decides what an install has to do. Pure.
 * @param wanted everything that has to be in place afterwards
 * @param previous entries of the manifest, empty on a first install
 * @param present what stands now at every path of `wanted` and `previous`
 */
export function planInstall(
  wanted: readonly Item[],
  previous: readonly ManifestEntry[],
  present: ReadonlyMap<string, Present>,
): InstallPlan {
  const ours = new Map(previous.map((entry) => [entry.path, entry]));
  const write: Item[] = [];
  const unchanged: string[] = [];
  const remove: string[] = [];
  const kept: KeptPath[] = [];
  const entries: ManifestEntry[] = [];
  const conflicts: { path: string; reason: string }[] = [];

  for (const item of wanted) {
    const there = present.get(item.path) ?? null;
    const fingerprint = fingerprintOf(item);
    const entry = ours.get(item.path);
    const right = there !== null && there.kind === item.kind && there.fingerprint === fingerprint;
    if (right) {
      unchanged.push(item.path);
      // Somebody else's identical file stays theirs: uninstall must leave it.
      if (entry !== undefined)
        entries.push({ path: item.path, kind: item.kind, fingerprints: [fingerprint] });
    } else if (there === null || isOurs(there, entry)) {
      write.push(item);
      entries.push({ path: item.path, kind: item.kind, fingerprints: [fingerprint] });
    } else {
      conflicts.push({
        path: item.path,
        reason: entry === undefined ? 'not installed by chassis-power' : 'changed since it was installed',
      });
    }
  }

  const wantedPaths = new Set(wanted.map((item) => item.path));
  for (const entry of previous) {
    if (wantedPaths.has(entry.path)) continue;
    const there = present.get(entry.path) ?? null;
    if (there === null) continue;
    if (isOurs(there, entry)) remove.push(entry.path);
    else kept.push({ path: entry.path, reason: 'changed since it was installed' });
  }
  return { write, unchanged, remove, kept, entries, conflicts };
}

function isOurs(there: Exclude<Present, null>, entry: ManifestEntry | undefined): boolean {
  if (entry === undefined || there.kind === 'other') return false;
  return there.kind === entry.kind && entry.fingerprints.includes(there.fingerprint);
}

function fingerprintOf(item: Item): string {
  return item.kind === 'file' ? sha256(item.content) : item.target;
}

function sha256(content: Buffer): string {
  return createHash('sha256').update(content).digest('hex');
}

/**
 * Installs the units below `root`. A second run changes nothing.
 *
 * Everything that can be seen beforehand is seen before the first write: `UNITS_SOURCE_MISSING` (no source
 * folder, or a unit that the links need is not in it), `UNITS_NOT_WRITABLE` (`root` is no folder, or a place
 * in it cannot be written), `UNITS_CONFLICT` (a path holds something else than what was installed, or leads
 * out of `root`). A write that fails all the same (a full disk) is `UNITS_NOT_WRITABLE` too; what was
 * written until then is in the manifest, so installing again completes it and uninstalling removes it.
 * Does not make systemd read its files again.
 */
export async function installUnits(options: InstallOptions): Promise<UnitsReport> {
  const chassis = checkedChassis(options.chassis);
  const flavour = options.flavour ?? 'legacy';
  const wanted = [...(await sourceItems(options)), ...linkItems(chassis, flavour)];
  const root = await checkedRoot(options.root);
  const manifest = await readManifest(root);
  const previous = manifest?.entries ?? [];

  const paths = new Set([...wanted, ...previous].map((entry) => entry.path));
  await checkParents(root, [...paths, MANIFEST_PATH]);
  const plan = planInstall(wanted, previous, await look(root, paths));
  if (plan.conflicts.length > 0) throw conflictError(root, plan.conflicts);
  const touched = [...plan.write.map((item) => item.path), ...plan.remove, MANIFEST_PATH];
  await checkWritable(root, touched);

  const missingDirs = await foldersToMake(root, [...plan.write.map((item) => item.path), MANIFEST_PATH]);
  const dirs = [...new Set([...(manifest?.dirs ?? []), ...missingDirs])].sort();
  try {
    const changes = plan.write.length > 0 || plan.remove.length > 0;
    if (changes) {
      // Written ahead: what is ours already and what will be. Whatever stops the rest, nothing is forgotten.
      const ahead: Manifest = { version: 1, chassis, entries: mergeEntries(previous, plan.entries), dirs };
      await writeManifest(root, ahead);
    }
    for (const item of plan.write) await writeItem(root, item);
    for (const path of plan.remove) await rm(join(root, path), { force: true });
    const keptDirs = await removeEmptyDirs(
      root,
      dirs,
      new Set([...wanted.map((w) => w.path), MANIFEST_PATH]),
    );
    const final: Manifest = { version: 1, chassis, entries: plan.entries, dirs: keptDirs };
    if (changes || manifest === null || manifestText(manifest) !== manifestText(final)) {
      await writeManifest(root, final);
    }
  } catch (error) {
    throw new PowerError(
      'UNITS_NOT_WRITABLE',
      `Could not finish installing the units in ${root}: ${errorText(error)}. Put that right and install again, or uninstall.`,
      { root },
      { cause: error },
    );
  }
  return {
    written: plan.write.map((item) => item.path).sort(),
    unchanged: [...plan.unchanged].sort(),
    removed: [...plan.remove].sort(),
    kept: plan.kept,
  };
}

/**
 * Removes what `installUnits` put below `root`, and the folders it made as far as they are empty. A file or
 * link that was changed since is kept and reported; so is a folder that somebody else uses.
 *
 * `UNITS_NOT_INSTALLED` when there is no manifest, `UNITS_NOT_WRITABLE` and `UNITS_CONFLICT` as for
 * `installUnits`, before anything is removed.
 */
export async function uninstallUnits(options: { readonly root: string }): Promise<UnitsReport> {
  const root = await checkedRoot(options.root);
  const manifest = await readManifest(root);
  if (manifest === null) {
    throw new PowerError(
      'UNITS_NOT_INSTALLED',
      `No units of chassis-power are installed in ${root} (there is no ${MANIFEST_PATH}); nothing was removed.`,
      { root },
    );
  }
  const paths = manifest.entries.map((entry) => entry.path);
  await checkParents(root, [...paths, MANIFEST_PATH]);
  const plan = planInstall([], manifest.entries, await look(root, paths));
  await checkWritable(root, [...plan.remove, MANIFEST_PATH]);

  const kept: KeptPath[] = [...plan.kept];
  try {
    for (const path of plan.remove) await rm(join(root, path), { force: true });
    // Last of the files: an uninstall that is cut short can be run again.
    await rm(join(root, MANIFEST_PATH), { force: true });
    for (const dir of await removeEmptyDirs(root, manifest.dirs, new Set())) {
      kept.push({ path: dir, reason: 'not empty' });
    }
  } catch (error) {
    throw new PowerError(
      'UNITS_NOT_WRITABLE',
      `Could not finish removing the units from ${root}: ${errorText(error)}. Put that right and uninstall again.`,
      { root },
      { cause: error },
    );
  }
  return { written: [], unchanged: [], removed: [...plan.remove].sort(), kept };
}

function checkedChassis(chassis: readonly number[]): number[] {
  const wrong = chassis.find((number) => !Number.isSafeInteger(number) || number < 0);
  if (wrong !== undefined || chassis.length === 0) {
    throw new PowerError(
      'USAGE',
      chassis.length === 0
        ? 'Units need at least one chassis number.'
        : `${wrong} is not a chassis number; use 0, 1, 2 …`,
      { chassis },
    );
  }
  return [...new Set(chassis)].sort((a, b) => a - b);
}

async function sourceItems({
  sourceDir,
  stages = 'program',
  flavour = 'legacy',
}: InstallOptions): Promise<Item[]> {
  const items: Item[] = [];
  const put = async (from: string, pattern: RegExp, to: (name: string) => string): Promise<void> => {
    const names = (await readdir(join(sourceDir, from))).filter((name) => pattern.test(name)).sort();
    for (const name of names) {
      const content = await readFile(join(sourceDir, from, name));
      items.push({ kind: 'file', path: to(name), content });
    }
  };
  const asUnit = (name: string) => posix.join(UNIT_DIR, name);
  const asDropIn = (file: string) => (name: string) =>
    posix.join(UNIT_DIR, name.replace(/\.conf$/, '.d'), file);
  try {
    if (flavour === 'current') {
      await put('.', /^chassis-power\.service$/, asUnit);
      await put('current', UNIT_FILE, asUnit);
      await put('current', CONF_FILE, asDropIn('current.conf'));
    } else {
      await put('.', UNIT_FILE, asUnit);
      if (stages === 'resident') await put('resident', CONF_FILE, asDropIn('resident.conf'));
    }
    await put('tmpfiles.d', CONF_FILE, (name) => posix.join(TMPFILES_DIR, name));
    await put('dbus-1', CONF_FILE, (name) => posix.join(DBUS_POLICY_DIR, name));
  } catch (error) {
    throw new PowerError(
      'UNITS_SOURCE_MISSING',
      `Cannot read the unit files in ${sourceDir}: ${errorText(error)}. Install chassis-power again.`,
      { sourceDir },
      { cause: error },
    );
  }
  const names = new Set(items.map((item) => posix.basename(item.path)));
  const ours =
    flavour === 'current'
      ? CURRENT_LINKS.map(({ unit }) => unit)
      : LINKS.flatMap(({ target, unit }) => (target.includes('@') ? [target, unit] : [unit]));
  const missing = [...new Set(ours)].filter((name) => !names.has(name));
  if (missing.length > 0) {
    throw new PowerError(
      'UNITS_SOURCE_MISSING',
      `${sourceDir} has no ${missing.join(', ')}. Install chassis-power again.`,
      { sourceDir, missing },
    );
  }
  return items;
}

function linkItems(chassis: readonly number[], flavour: Flavour): Item[] {
  const links = chassis.flatMap((number) =>
    (flavour === 'current' ? CURRENT_LINKS : LINKS).map(
      ({ target, kind, unit }): Item => ({
        kind: 'link',
        path: posix.join(UNIT_DIR, `${instance(target, number)}.${kind}`, instance(unit, number)),
        // Relative, so that it is right inside an image as well as on the running machine.
        target: `../${unit}`,
      }),
    ),
  );
  const alias: Item[] =
    flavour === 'current'
      ? [{ kind: 'link', path: posix.join(UNIT_DIR, CURRENT_ALIAS), target: 'chassis-power.service' }]
      : [];
  // Links of what there is once come up for every chassis: by their path they are one.
  return [...new Map([...links, ...alias].map((link) => [link.path, link])).values()];
}

function instance(template: string, number: number): string {
  return template.replace('@.', `@${number}.`);
}

async function checkedRoot(root: string): Promise<string> {
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
async function checkParents(root: string, paths: readonly string[]): Promise<void> {
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
async function checkWritable(root: string, paths: readonly string[]): Promise<void> {
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

async function foldersToMake(root: string, paths: readonly string[]): Promise<string[]> {
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

async function look(root: string, paths: Iterable<string>): Promise<Map<string, Present>> {
  const present = new Map<string, Present>();
  for (const path of paths) {
    const full = join(root, path);
    const kind = await kindOf(full);
    if (kind === 'file') present.set(path, { kind, fingerprint: sha256(await readFile(full)) });
    else if (kind === 'link') present.set(path, { kind, fingerprint: await readlink(full) });
    else present.set(path, kind === null ? null : { kind });
  }
  return present;
}

function conflictError(
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

/** Where two lists know a path, both contents are ours. */
function mergeEntries(before: readonly ManifestEntry[], after: readonly ManifestEntry[]): ManifestEntry[] {
  const merged = new Map(before.map((entry) => [entry.path, entry]));
  for (const entry of after) {
    const known = merged.get(entry.path)?.fingerprints ?? [];
    merged.set(entry.path, { ...entry, fingerprints: [...new Set([...known, ...entry.fingerprints])] });
  }
  return [...merged.values()];
}

async function writeItem(root: string, item: Item): Promise<void> {
  const full = join(root, item.path);
  await makeFolder(dirname(full));
  const temporary = temporaryName(full);
  try {
    if (item.kind === 'link') await symlink(item.target, temporary);
    else await writeDurably(temporary, item.content);
    await rename(temporary, full);
  } catch (error) {
    await rm(temporary, { force: true });
    throw error;
  }
}

/** A dot in front keeps systemd from taking a leftover for a unit. */
function temporaryName(full: string): string {
  return join(dirname(full), `.chassis-power-${randomBytes(6).toString('hex')}`);
}

async function writeDurably(path: string, content: Buffer | string): Promise<void> {
  const file = await open(path, 'wx', 0o644);
  try {
    await file.writeFile(content);
    // Readable for everyone whatever the umask: unit files hold no secrets and systemctl cat is for all.
    await file.chmod(0o644);
    await file.sync();
  } finally {
    await file.close();
  }
}

async function makeFolder(path: string): Promise<void> {
  const first = await mkdir(path, { recursive: true, mode: 0o755 });
  if (first === undefined) return;
  for (let made = path; made.length >= first.length; made = dirname(made)) await chmod(made, 0o755);
}

/** Removes the folders of `dirs` that are empty and hold nothing of `inUse`; returns those that stay. */
async function removeEmptyDirs(
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

async function writeManifest(root: string, manifest: Manifest): Promise<void> {
  const full = join(root, MANIFEST_PATH);
  await makeFolder(dirname(full));
  const temporary = temporaryName(full);
  try {
    await writeDurably(temporary, manifestText(manifest));
    await rename(temporary, full);
  } catch (error) {
    await rm(temporary, { force: true });
    throw error;
  }
}

function manifestText(manifest: Manifest): string {
  const entries = [...manifest.entries].sort((a, b) => (a.path < b.path ? -1 : 1));
  return `${JSON.stringify({ ...manifest, entries }, null, 2)}\n`;
}

async function readManifest(root: string): Promise<Manifest | null> {
  const full = join(root, MANIFEST_PATH);
  let text: string;
  try {
    text = await readFile(full, 'utf8');
  } catch (error) {
    if (errnoCode(error) === 'ENOENT') return null;
    throw new PowerError(
      'UNITS_NOT_WRITABLE',
      `Cannot read ${full}: ${errorText(error)}. Put that right first; nothing was changed.`,
      { path: full },
      { cause: error },
    );
  }
  const manifest = parseManifest(text);
  if (manifest !== undefined) return manifest;
  throw new PowerError(
    'UNITS_CONFLICT',
    `${full} is not a list of installed units that this version understands; nothing was changed. Move it away and install again: files that are the same are accepted.`,
    { path: full },
  );
}

function parseManifest(text: string): Manifest | undefined {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return undefined;
  }
  if (!isRecord(value) || value.version !== 1) return undefined;
  const { chassis, entries, dirs } = value;
  if (!Array.isArray(chassis) || !chassis.every((number) => Number.isSafeInteger(number))) return undefined;
  if (!Array.isArray(dirs) || !dirs.every(isInside)) return undefined;
  if (!Array.isArray(entries) || !entries.every(isManifestEntry)) return undefined;
  return { version: 1, chassis, entries, dirs };
}

function isManifestEntry(value: unknown): value is ManifestEntry {
  return (
    isRecord(value) &&
    isInside(value.path) &&
    (value.kind === 'file' || value.kind === 'link') &&
    Array.isArray(value.fingerprints) &&
    value.fingerprints.every((fingerprint) => typeof fingerprint === 'string')
  );
}

/** A manifest must not be able to name a path outside the root. */
function isInside(path: unknown): path is string {
  return typeof path === 'string' && /^usr(?:\/|$)/.test(path) && posix.normalize(path) === path;
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
