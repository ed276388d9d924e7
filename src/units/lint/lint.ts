/** Selects the units of a tree that the rules apply to, and reports what they find. */
import { PowerError } from '../../errors.ts';
import { templateOf } from '../names.ts';
import { shippedUnits } from '../shipped.ts';
import { readUnitTree } from '../unit-file.ts';
import { RELATIONS, type Unit, UnitGraph } from '../unit-graph.ts';
import { applyRules, type Finding, type Found } from './rules.ts';

export interface LintReport {
  readonly dir: string;
  /** How many unit files the rules were applied to. */
  readonly checked: number;
  /** Sorted by file, then by line. A finding at several instances of a template is reported once. */
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
  if (!tree.isRoot) return reportOn(dir, graph, graph.units.keys());
  const names = powerPath(graph);
  if (names.size === 0) {
    throw new PowerError(
      'USAGE',
      `${dir} is a root without units of the power path (obmc-*.target): name a folder of units to check them all`,
      { dir },
    );
  }
  return reportOn(dir, graph, names);
}

/**
 * Checks the units that ship, as each flavour and kind of stages installs them for chassis 0. Units of others that they
 * are installed beside are known by their names only; what depends on more than a name is not reported.
 *
 * `UNITS_SOURCE_MISSING` when `sourceDir` cannot be read, or a unit that the links need is not in it.
 */
export async function checkShippedUnits(sourceDir: string): Promise<LintReport> {
  const shipped = (await shippedUnits(sourceDir)).map(({ graph, strangers }) => {
    const judged = judgedOf(graph, graph.units.keys());
    return { judged, found: [...applyRules(judged, graph), ...strangers] };
  });
  return report(
    sourceDir,
    shipped.flatMap(({ judged }) => judged),
    shipped.flatMap(({ found }) => found),
  );
}

/** The other units of an image, hundreds of them, are not what these rules were made for. */
function powerPath(graph: UnitGraph): ReadonlySet<string> {
  const isRequest = (name: string): boolean => /^obmc-.*\.target$/.test(name);
  const found = new Set(
    [...graph.units.keys()].filter(
      (name) =>
        isRequest(name) ||
        (name.endsWith('.service') &&
          RELATIONS.some((relation) => graph.edges(name, relation).some(({ to }) => isRequest(to)))),
    ),
  );
  for (const name of found) {
    // Not through targets of others: obmc-standby.target wants multi-user.target, which is everything.
    for (const { to } of graph.pulled(name)) if (isRequest(to) || !to.endsWith('.target')) found.add(to);
  }
  return found;
}

function judgedOf(graph: UnitGraph, names: Iterable<string>): Unit[] {
  return [...names]
    .flatMap((name) => graph.units.get(name) ?? [])
    .sort((a, b) => a.name.localeCompare(b.name, 'en', { numeric: true }));
}

function reportOn(dir: string, graph: UnitGraph, names: Iterable<string>): LintReport {
  const judged = judgedOf(graph, names);
  return report(dir, judged, applyRules(judged, graph));
}

function report(dir: string, judged: readonly Unit[], found: readonly Found[]): LintReport {
  const once = new Map<string, Finding>();
  for (const { about, ...finding } of found) {
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
