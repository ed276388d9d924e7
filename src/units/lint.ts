/** Which units of a tree are judged, and what is told of them. */
import { join } from 'node:path';
import { PowerError } from '../errors.ts';
import { LINKS } from './install-items.ts';
import { applyRules, type Finding } from './lint-rules.ts';
import { instantiate, readUnitTree, templateOf, type UnitLink } from './unit-file.ts';
import { UnitGraph } from './unit-graph.ts';

export interface LintReport {
  readonly dir: string;
  /** How many unit files the rules were applied to. */
  readonly checked: number;
  /** By file, then by line. What holds for several instances of a template is told for one. */
  readonly findings: readonly Finding[];
}

/**
 * Checks a folder of units, every one in it; or a root file system, there the units of the power path: the
 * targets `obmc-*`, what names one of them as a dependency, and what they require or want.
 *
 * `USAGE` when `dir` cannot be read or holds no such unit.
 */
export async function checkUnits(dir: string): Promise<LintReport> {
  const tree = await readUnitTree(dir);
  const graph = new UnitGraph(tree);
  if (!tree.isRoot) return report(dir, graph, graph.units.keys());
  const names = powerPath(graph);
  if (names.size === 0) {
    throw new PowerError(
      'USAGE',
      `${dir} is a root without units of the power path (obmc-*.target): name a folder of units to check them all`,
      { dir },
    );
  }
  return report(dir, graph, names);
}

/**
 * Checks the units that ship, with the links that an install makes for chassis 0.
 *
 * `UNITS_SOURCE_MISSING` when `sourceDir` cannot be read or holds no unit.
 */
export async function checkShippedUnits(sourceDir: string): Promise<LintReport> {
  const tree = await readUnitTree(sourceDir, 'UNITS_SOURCE_MISSING');
  const links = LINKS.map(({ target, kind, unit }): UnitLink => {
    const owner = instantiate(target, '0');
    const name = instantiate(unit, '0');
    return { owner, kind, unit: name, file: join(sourceDir, `${owner}.${kind}`, name) };
  });
  const graph = new UnitGraph({ ...tree, links: [...tree.links, ...links] });
  return report(sourceDir, graph, graph.units.keys());
}

/** The rest of an image has units by the hundred that these rules were not made for. */
function powerPath(graph: UnitGraph): ReadonlySet<string> {
  const isRequest = (name: string): boolean => /^obmc-.*\.target$/.test(name);
  const relations = ['requires', 'requisite', 'wants', 'conflicts', 'before', 'after', 'onFailure'] as const;
  const found = new Set(
    [...graph.units.keys()].filter(
      (name) =>
        isRequest(name) ||
        (name.endsWith('.service') &&
          relations.some((relation) => graph.edges(name, relation).some(({ to }) => isRequest(to)))),
    ),
  );
  for (const name of found) {
    // Not through targets of others: obmc-standby.target wants multi-user.target, which is everything.
    for (const { to } of graph.pulled(name)) if (isRequest(to) || !to.endsWith('.target')) found.add(to);
  }
  return found;
}

function report(dir: string, graph: UnitGraph, names: Iterable<string>): LintReport {
  const judged = [...names]
    .flatMap((name) => graph.units.get(name) ?? [])
    .sort((a, b) => a.name.localeCompare(b.name, 'en', { numeric: true }));
  const once = new Map<string, Finding>();
  for (const { about, ...finding } of applyRules(judged, graph)) {
    const key = [finding.rule, finding.file, finding.line, ...about.map((name) => templateOf(name) ?? name)];
    if (!once.has(key.join(' '))) once.set(key.join(' '), finding);
  }
  const findings = [...once.values()].sort(
    (a, b) =>
      compare(a.file, b.file) ||
      (a.line ?? 0) - (b.line ?? 0) ||
      compare(a.rule, b.rule) ||
      compare(a.message, b.message),
  );
  return { dir, checked: new Set(judged.map(({ file }) => file)).size, findings };
}

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
