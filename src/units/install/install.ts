/**
 * Puts the systemd units in place and takes away exactly what it put. A manifest below the same root
 * (`MANIFEST_PATH`) remembers each file by its content and each link by its target.
 */
import { rm } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { errorText } from '../../../hw/errors.ts';
import { PowerError } from '../../errors.ts';
import { CURRENT } from '../names.ts';
import {
  checkedRoot,
  checkParents,
  checkWritable,
  conflictError,
  fingerprintOf,
  foldersToMake,
  type Present,
  readPresent,
  removeEmptyDirs,
  writeItem,
} from './files.ts';
import { ENABLED_DIR, type Item, type ItemOptions, RESIDENT_DROP_IN, wantedItems } from './items.ts';
import {
  MANIFEST_PATH,
  type Manifest,
  type ManifestEntry,
  manifestText,
  mergeEntries,
  readManifest,
  writeManifest,
} from './manifest.ts';

export interface InstallOptions extends ItemOptions {
  /** Folder that holds `usr` and `etc`; `/` for this machine, an image's root file system otherwise. It must exist. */
  readonly root: string;
}

interface KeptPath {
  readonly path: string;
  readonly reason: 'changed since it was installed' | 'not empty' | 'disabled since it was installed';
}

/** What happened, as paths below the root, each list sorted by path. Links count like files. */
export interface UnitsReport {
  readonly written: readonly string[];
  /** Already there with the right content. */
  readonly unchanged: readonly string[];
  readonly removed: readonly string[];
  /**
   * Not removed because somebody changed it: the manifest forgets it. Or not enabled because somebody disabled it.
   */
  readonly kept: readonly KeptPath[];
}

interface InstallPlan {
  readonly write: readonly Item[];
  readonly unchanged: readonly string[];
  readonly remove: readonly string[];
  readonly kept: readonly KeptPath[];
  /** Entries for the manifest once everything is in place. */
  readonly entries: readonly ManifestEntry[];
  /** Paths that hold something this program did not put there, or that was changed since, and which of the two it is. */
  readonly conflicts: readonly { readonly path: string; readonly reason: string }[];
}

/**
 * Decides what an install has to do. Pure.
 * @param wanted everything that has to be in place afterwards
 * @param previous entries of the manifest, empty on a first install
 * @param present what stands now at every path of `wanted` and `previous`
 */
function planInstall(
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
    const right = there !== null && there.kind === item.kind && isSame(item, there.fingerprint);
    if (right) {
      unchanged.push(item.path);
      // An identical file that somebody else put there is not ours: uninstall must leave it.
      if (entry !== undefined)
        entries.push({ path: item.path, kind: item.kind, fingerprints: [fingerprint] });
    } else if (there === null && entry !== undefined && isEnabling(item)) {
      kept.push({ path: item.path, reason: 'disabled since it was installed' });
      entries.push(entry);
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
  if (entry === undefined || there.kind === 'other' || there.kind !== entry.kind) return false;
  return (
    entry.fingerprints.includes(there.fingerprint) ||
    // `systemctl enable` writes another path to the same unit. Either link enables it.
    (entry.path.startsWith(`${ENABLED_DIR}/`) &&
      entry.fingerprints.some((target) => basename(target) === basename(there.fingerprint)))
  );
}

function isEnabling(item: Item): boolean {
  return item.kind === 'link' && item.isEnabling === true;
}

/** Whether what stands there, a link by its target or a file by its hash, is what is wanted. */
function isSame(item: Item, fingerprint: string): boolean {
  const wanted = fingerprintOf(item);
  return wanted === fingerprint || (isEnabling(item) && basename(wanted) === basename(fingerprint));
}

/**
 * Installs the units below `root`. A second run changes nothing.
 *
 * Everything that can be seen beforehand is seen before the first write: `UNITS_SOURCE_MISSING` (no source
 * folder, or a unit that the links need is not in it), `UNITS_NOT_WRITABLE` (`root` is no folder, or a place
 * in it cannot be read or written), `UNITS_CONFLICT` (a path holds something else than what was installed, or leads
 * out of `root`). A write that fails all the same (a full disk) is `UNITS_NOT_WRITABLE` too; what was
 * written until then is in the manifest, so installing again completes it and uninstalling removes it.
 * Does not make systemd read its files again.
 */
export async function installUnits(options: InstallOptions): Promise<UnitsReport> {
  const chassis = checkedChassis(options.chassis);
  const wanted = await wantedItems({ ...options, chassis });
  const root = await checkedRoot(options.root);
  const manifest = await readManifest(root);
  const previous = manifest?.entries ?? [];

  const paths = new Set([...wanted, ...previous].map((entry) => entry.path));
  await checkParents(root, [...paths, MANIFEST_PATH]);
  const plan = planInstall(wanted, previous, await readPresent(root, paths));
  if (plan.conflicts.length > 0) throw conflictError(root, plan.conflicts);
  const touched = [...plan.write.map((item) => item.path), ...plan.remove, MANIFEST_PATH];
  await checkWritable(root, touched);

  const missingDirs = await foldersToMake(root, [...plan.write.map((item) => item.path), MANIFEST_PATH]);
  const dirs = [...new Set([...(manifest?.dirs ?? []), ...missingDirs])].sort();
  try {
    const changes = plan.write.length > 0 || plan.remove.length > 0;
    if (changes) {
      // Written before the files: the manifest lists what is ours already and what will be, so an install that is cut
      // short can still be uninstalled.
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
    kept: byPath(plan.kept),
  };
}

/**
 * Brings what is installed below `root` to the units of `sourceDir`: for the chassis and with the stages and the flavour of
 * the last install, so that a package that is upgraded needs no board for it. `UNITS_NOT_INSTALLED` when there is no
 * manifest; otherwise as `installUnits`.
 */
export async function updateUnits({
  root,
  sourceDir,
}: Pick<InstallOptions, 'root' | 'sourceDir'>): Promise<UnitsReport> {
  const manifest = await installedBefore(await checkedRoot(root));
  const has = (part: string): boolean => manifest.entries.some(({ path }) => path.includes(part));
  return installUnits({
    root,
    sourceDir,
    chassis: manifest.chassis,
    stages: has(`/${RESIDENT_DROP_IN}`) ? 'resident' : 'program',
    flavour: has(CURRENT.on.replace('.target', '')) ? 'current' : 'legacy',
  });
}

/** What an install left below `root`. Throws `UNITS_NOT_INSTALLED` where there was none. */
async function installedBefore(root: string): Promise<Manifest> {
  const manifest = await readManifest(root);
  if (manifest !== null) return manifest;
  throw new PowerError(
    'UNITS_NOT_INSTALLED',
    `No units of chassis-power are installed in ${root} (there is no ${MANIFEST_PATH}); nothing was changed.`,
    { root },
  );
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
  const manifest = await installedBefore(root);
  const paths = manifest.entries.map((entry) => entry.path);
  await checkParents(root, [...paths, MANIFEST_PATH]);
  const plan = planInstall([], manifest.entries, await readPresent(root, paths));
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
  return { written: [], unchanged: [], removed: [...plan.remove].sort(), kept: byPath(kept) };
}

function byPath(kept: readonly KeptPath[]): KeptPath[] {
  return [...kept].sort((a, b) => (a.path < b.path ? -1 : 1));
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
