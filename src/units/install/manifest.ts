import { join, posix } from 'node:path';
import { errnoCode } from '../../../hw/errors.ts';
import { fileProblem, readRegularFile } from '../../../hw/files.ts';
import { PowerError } from '../../errors.ts';
import { writeItem } from './files.ts';

/** What was installed below a root, always with `/`, for `uninstallUnits` and for the next `installUnits`. */
export const MANIFEST_PATH = 'usr/lib/chassis-power/units.json';

/** A few hundred paths with their fingerprints. */
const MOST_BYTES = 4 * 1024 * 1024;

export interface ManifestEntry {
  readonly path: string;
  readonly kind: 'file' | 'link';
  /** Every content that is ours. More than one only while an install is under way or was cut short. */
  readonly fingerprints: readonly string[];
}

export interface Manifest {
  readonly version: 1;
  readonly chassis: readonly number[];
  readonly entries: readonly ManifestEntry[];
  /** Folders that an install made, parents first. */
  readonly dirs: readonly string[];
}

/** Joins two lists of entries. For a path in both, both contents are ours. */
export function mergeEntries(
  before: readonly ManifestEntry[],
  after: readonly ManifestEntry[],
): ManifestEntry[] {
  const merged = new Map(before.map((entry) => [entry.path, entry]));
  for (const entry of after) {
    const known = merged.get(entry.path)?.fingerprints ?? [];
    merged.set(entry.path, { ...entry, fingerprints: [...new Set([...known, ...entry.fingerprints])] });
  }
  return [...merged.values()];
}

export function writeManifest(root: string, manifest: Manifest): Promise<void> {
  return writeItem(root, { kind: 'file', path: MANIFEST_PATH, content: Buffer.from(manifestText(manifest)) });
}

export function manifestText(manifest: Manifest): string {
  const entries = [...manifest.entries].sort((a, b) => (a.path < b.path ? -1 : 1));
  return `${JSON.stringify({ ...manifest, entries }, null, 2)}\n`;
}

export async function readManifest(root: string): Promise<Manifest | null> {
  const full = join(root, MANIFEST_PATH);
  let text: string;
  try {
    text = readRegularFile(full, { maxBytes: MOST_BYTES }).toString('utf8');
  } catch (error) {
    if (errnoCode(error) === 'ENOENT') return null;
    throw new PowerError(
      'UNITS_NOT_WRITABLE',
      `Cannot read ${full} (${fileProblem(error)}). Put that right first; nothing was changed.`,
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
  return typeof path === 'string' && /^(?:usr|etc)(?:\/|$)/.test(path) && posix.normalize(path) === path;
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
