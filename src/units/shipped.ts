/** The units that ship, as each kind of install puts them in place, and which units of others they may name. */
import { join, posix } from 'node:path';
import {
  ENABLED_DIR,
  type Flavour,
  type ItemOptions,
  linkItems,
  sourceItems,
  UNIT_DIR,
} from './install/items.ts';
import type { Found } from './lint/rules.ts';
import { STATE_MANAGER_UNITS, SYSTEMD_UNITS, templateOf } from './names.ts';
import { type ParsedFile, parseUnitFile, type UnitLink, type UnitTree } from './unit-file.ts';
import { RELATIONS, UnitGraph } from './unit-graph.ts';

type Kind = Required<Pick<ItemOptions, 'flavour' | 'stages'>>;

const KINDS: readonly Kind[] = [
  { flavour: 'legacy', stages: 'program' },
  { flavour: 'legacy', stages: 'resident' },
  { flavour: 'current', stages: 'program' },
];

/** Units of other projects that an install may name, templates uninstantiated. */
const FOREIGN: Readonly<Record<Flavour, (name: string) => boolean>> = {
  legacy: (name) => SYSTEMD_UNITS.includes(name),
  current: (name) =>
    SYSTEMD_UNITS.includes(name) || STATE_MANAGER_UNITS.some((pattern) => pattern.test(name)),
};

export interface ShippedUnits {
  /** Which kind of install: `legacy units, resident stages`. */
  readonly name: string;
  readonly graph: UnitGraph;
  /** Names that the units mention or are linked into, and that are neither ours nor known of another project. */
  readonly strangers: readonly Found[];
}

/**
 * What each kind of install puts in place for chassis 0, links and drop-ins included. Files are named where they are
 * in `sourceDir`, links where they would be if it had them.
 *
 * `UNITS_SOURCE_MISSING` when `sourceDir` cannot be read, or a unit that the links need is not in it.
 */
export async function shippedUnits(sourceDir: string): Promise<ShippedUnits[]> {
  const shipped: ShippedUnits[] = [];
  for (const kind of KINDS) {
    const graph = new UnitGraph(await installedTree({ ...kind, chassis: [0], sourceDir }));
    const name = `${kind.flavour} units, ${kind.stages} stages`;
    shipped.push({ name, graph, strangers: strangers(graph, FOREIGN[kind.flavour]) });
  }
  return shipped;
}

async function installedTree(options: ItemOptions): Promise<UnitTree> {
  const files = new Map<string, ParsedFile>();
  const dropIns = new Map<string, ParsedFile[]>();
  for (const { path, source, content } of await sourceItems(options)) {
    const parsed = parseUnitFile(content.toString(), source);
    const folder = posix.dirname(path);
    if (folder === UNIT_DIR) files.set(posix.basename(path), parsed);
    else if (posix.dirname(folder) === UNIT_DIR) {
      const owner = posix.basename(folder, '.d');
      dropIns.set(owner, [...(dropIns.get(owner) ?? []), parsed]);
    }
  }

  const aliases = new Map<string, string>();
  const links: UnitLink[] = [];
  for (const { path, target } of linkItems(options)) {
    const base = path.startsWith(`${ENABLED_DIR}/`) ? ENABLED_DIR : UNIT_DIR;
    const [folder, unit] = posix.relative(base, path).split('/');
    const [, owner, kind] = /^(.*)\.(requires|wants)$/.exec(folder ?? '') ?? [];
    if (folder === undefined) continue;
    if (unit === undefined) aliases.set(folder, target);
    if (unit !== undefined && owner !== undefined) {
      const file = join(options.sourceDir, folder, unit);
      links.push({ owner, kind: kind as UnitLink['kind'], unit, file });
    }
  }
  return { isRoot: true, files, aliases, dropIns, links };
}

/**
 * systemd accepts a misspelled unit name silently: an ordering with a unit that does not exist has no effect, nor has a
 * link into the folder of such a target. Only for the units that ship is it known which other units exist.
 */
function strangers(graph: UnitGraph, isForeign: (name: string) => boolean): Found[] {
  const isKnown = (name: string): boolean => graph.units.has(name) || isForeign(templateOf(name) ?? name);
  return graph.names().flatMap((unit) =>
    RELATIONS.flatMap((relation) => graph.edges(unit, relation)).flatMap(({ to, file, line }): Found[] =>
      [unit, to]
        .filter((name) => !isKnown(name))
        .map((name) => ({
          rule: 'unknown-unit',
          unit,
          file,
          line,
          message: `${name} neither ships nor is known to be another project's`,
          suggestion: 'set the name right, or add it to the names that are known',
          about: [unit, name],
        })),
    ),
  );
}
