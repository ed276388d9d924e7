/**
 * The rules for units of the power path: a failure of any of them must reach somebody, and no two of them
 * may undo each other. What systemd does is from systemd.unit(5), systemd.service(5) and
 * systemd.target(5), version 252; docs/decisions/0009-unit-lint.md defines each rule and its limits.
 */
import { join } from 'node:path';
import { PowerError } from '../errors.ts';
import { LINKS } from './install-items.ts';
import { instantiate, readUnitTree, type Setting, templateOf, type UnitLink } from './unit-file.ts';
import { type Edge, type Unit, UnitGraph, words } from './unit-graph.ts';

/** Stable: callers and exceptions of theirs go by these words. */
export type RuleId =
  | 'target-without-onfailure'
  | 'needed-but-only-wanted'
  | 'could-be-oneshot'
  | 'onfailure-too-late'
  | 'oneshot-without-remain'
  | 'wait-without-timeout'
  | 'conflict-without-order'
  | 'opposites-together';

export interface Finding {
  readonly rule: RuleId;
  readonly unit: string;
  readonly file: string;
  /** Null for a link in a `.wants/` folder. */
  readonly line: number | null;
  /** What is wrong. */
  readonly message: string;
  /** What to do about it. */
  readonly suggestion: string;
}

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
  const found = [
    ...judged.flatMap((unit) => UNIT_RULES.flatMap((rule) => rule(unit, graph))),
    ...conflictWithoutOrder(judged, graph),
    ...pulledTogether(judged, graph),
    ...failedTogether(judged, graph),
  ];
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

/** A finding and the units it is about, by which other instances of the same finding are recognised. */
interface Found extends Finding {
  readonly about: readonly string[];
}

type Place = Pick<Finding, 'file' | 'line'>;

/** Where a setting stands, or should: at the header of its section, at the top of a file without it. */
function place(unit: Unit, setting: Setting | undefined, section: string): Place {
  return setting
    ? { file: setting.file, line: setting.line }
    : { file: unit.file, line: unit.sections.get(section) ?? 1 };
}

// A setting that systemd cannot parse is ignored by it, so that the one before stands; an empty one too.
// Only a list such as ExecStart= is emptied by an empty assignment, and dependencies are not
// (systemd.unit(5)).

function lastValid(unit: Unit, keys: readonly string[], valid: RegExp): Setting | undefined {
  return unit.settings.findLast(
    ({ section, key, value }) => section === 'Service' && keys.includes(key) && valid.test(value),
  );
}

const TYPES = /^(simple|exec|forking|oneshot|dbus|notify|notify-reload|idle)$/;
const TRUE = /^(1|yes|y|true|t|on)$/i;
const BOOLEAN = /^(1|0|yes|no|y|n|true|false|t|f|on|off)$/i;
const TIME_SPAN = /^(infinity|(\d+(\.\d+)?\s*([a-zµμ]+\s*|\s+|$))+)$/i;

function typeSetting(unit: Unit): Setting | undefined {
  return lastValid(unit, ['Type'], TYPES);
}

/** The effective `Type=` of a service. */
function serviceType(unit: Unit): string {
  const given = typeSetting(unit)?.value;
  if (given !== undefined) return given;
  if (lastValid(unit, ['BusName'], /./)) return 'dbus';
  return commands(unit).length > 0 ? 'simple' : 'oneshot';
}

function isOneshot(unit: Unit): boolean {
  return unit.type === 'service' && serviceType(unit) === 'oneshot';
}

function remainSetting(unit: Unit): Setting | undefined {
  return lastValid(unit, ['RemainAfterExit'], BOOLEAN);
}

function remains(unit: Unit): boolean {
  return TRUE.test(remainSetting(unit)?.value ?? 'no');
}

/** Every `ExecStart=` command line that is in force. */
function commands(unit: Unit): readonly string[] {
  const lines = unit.settings.filter(({ section, key }) => section === 'Service' && key === 'ExecStart');
  const reset = lines.findLastIndex(({ value }) => value === '');
  return lines.slice(reset + 1).map(({ value }) => value);
}

function isTarget(name: string): boolean {
  return name.endsWith('.target');
}

/** Targets and slices have nothing of their own that could fail. */
function canFailItself(name: string): boolean {
  return !/\.(target|slice)$/.test(name);
}

type UnitRule = (unit: Unit, graph: UnitGraph) => readonly Found[];

/**
 * A target fails when something that it requires fails, also through targets in between. Without
 * `OnFailure=` nothing follows from that. A target that requires nothing, or only other such targets (a
 * synchronisation point, the end of the line), cannot fail and needs none.
 */
const targetWithoutOnFailure: UnitRule = (unit, graph) => {
  if (unit.type !== 'target' || graph.edges(unit.name, 'onFailure').length > 0) return [];
  const fails = graph.strong(unit.name).find(({ to }) => [...graph.needs(to)].some(canFailItself));
  if (!fails) return [];
  return [
    {
      rule: 'target-without-onfailure',
      unit: unit.name,
      ...place(unit, undefined, 'Unit'),
      message: `requires ${fails.to}, and nothing happens when that fails`,
      suggestion:
        'name in OnFailure= what makes it safe; at the end of the line, want what is started instead of requiring it',
      about: [unit.name],
    },
  ];
};

/** Programs whose end is the result, so that there is something to wait for. */
const ENDING =
  /^(true|false|busctl|systemctl|dbus-send|mapper|pgood_wait|touch|mkdir|rm|ln|cp|mv|chmod|chown|echo|logger|sleep|test|\[|gpioget|i2cget|i2cset|i2ctransfer|modprobe)$/;
const STAGES = ['start', 'wait-on', 'stop', 'wait-off'];

function baseName(path: string): string {
  return path.slice(path.lastIndexOf('/') + 1);
}

/** The words of a command line, without the characters that systemd takes before the program's path. */
function argv(command: string): readonly string[] {
  return words(command.replace(/^[@:+!|-]+/, ''));
}

function runsStage(args: readonly string[]): boolean {
  const program = args.findIndex((arg) => /^chassis-power(-sim)?(\.mjs)?$/.test(baseName(arg)));
  return program >= 0 && args.slice(program + 1).some((arg) => STAGES.includes(arg));
}

/** Switches power or waits for it: a stage of this program, or OpenBMC's calls for the same. */
function isPowerStep(command: string): boolean {
  return runsStage(argv(command)) || /\bsetPowerState\b|\bpgood_wait\b/.test(command);
}

/** True for a command line of which it is certain that it ends by itself. */
function ends(command: string): boolean {
  const args = argv(command);
  const program = baseName(args[0] ?? '');
  if (/^(ba|da|a)?sh$/.test(program)) {
    const flag = args.findIndex((arg) => /^-[a-z]*c$/.test(arg));
    const script = (args[flag + 1] ?? '').replace(/`[^`]*`|\$\([^()]*\)/g, 'x');
    const steps = script.split(/;|&&|\|\|?|\n/).filter((step) => step.trim() !== '');
    return flag >= 0 && steps.length > 0 && !/&(?!&)/.test(script.replaceAll('&&', '')) && steps.every(ends);
  }
  if (program === 'busctl' && args.some((arg) => /^(monitor|capture)$/.test(arg))) return false;
  return ENDING.test(program) || runsStage(args);
}

/**
 * A target is reached although what it only wants has failed. That is decidable as wrong in two cases: the
 * service switches power or waits for it; or the target routes failures (`OnFailure=`) and the service says
 * itself, with `Before=`, that the target has to come after it. The second says nothing that is not so anyway
 * (systemd.target(5): a target comes after what it wants), so who means it optional loses nothing by taking
 * it away. A service that the target also requires, directly or not, is required.
 */
const neededButOnlyWanted: UnitRule = (unit, graph) => {
  if (unit.type !== 'target') return [];
  const routes = graph.edges(unit.name, 'onFailure').length > 0;
  return graph.edges(unit.name, 'wants').flatMap((edge): Found[] => {
    const service = graph.units.get(edge.to);
    if (service?.type !== 'service' || graph.needs(unit.name).has(edge.to)) return [];
    const step = commands(service).some(isPowerStep);
    const before = routes && graph.edges(edge.to, 'before').some(({ to }) => to === unit.name);
    if (!step && !before) return [];
    const required = `RequiredBy=, or a link in ${unit.name}.requires/`;
    return [
      {
        rule: 'needed-but-only-wanted',
        unit: edge.to,
        file: edge.file,
        line: edge.line,
        message: `${unit.name} is reached when ${edge.to} fails: it only wants it, though it ${step ? 'switches power or waits for it' : `says Before=${unit.name}`}`,
        suggestion: step
          ? `make it required: ${required}`
          : `make it required (${required}), or take its Before= away where it is optional`,
        about: [unit.name, edge.to],
      },
    ];
  });
};

/**
 * `Type=simple`, `exec` and `idle` count as started before the command has done anything, so what requires
 * the service goes on whatever becomes of it. It could be a oneshot when its command is known to end: by
 * `RemainAfterExit=yes`, or because every command line is one that `ends`. Only where a unit pulls it in, and
 * not with a `Restart=` that a oneshot may not have.
 */
const couldBeOneshot: UnitRule = (unit, graph) => {
  if (unit.type !== 'service' || !/^(simple|exec|idle)$/.test(serviceType(unit))) return [];
  const lines = commands(unit);
  if (lastValid(unit, ['Restart'], /./)?.value.match(/^(always|on-success)$/)) return [];
  if (!remains(unit) && !(lines.length > 0 && lines.every(ends))) return [];
  const [by] = graph.pulledBy(unit.name);
  if (by === undefined) return [];
  return [
    {
      rule: 'could-be-oneshot',
      unit: unit.name,
      ...place(unit, typeSetting(unit), 'Service'),
      message: `Type=${serviceType(unit)} is started before its command has ended: ${by} goes on when it fails`,
      suggestion: 'set Type=oneshot with RemainAfterExit=yes and a TimeoutStartSec=',
      about: [unit.name],
    },
  ];
};

/**
 * A service that is no oneshot and remains after its exit: the start was a success by the time that its
 * command fails, and after a command that succeeds the unit stays active until somebody stops it. Either way
 * `OnFailure=` does not tell how the start went.
 */
const onFailureTooLate: UnitRule = (unit, graph) => {
  const [handler] = graph.edges(unit.name, 'onFailure');
  if (unit.type !== 'service' || isOneshot(unit) || !remains(unit) || !handler) return [];
  return [
    {
      rule: 'onfailure-too-late',
      unit: unit.name,
      file: handler.file,
      line: handler.line,
      message: `OnFailure=${handler.to} comes after the start has counted as done, or when the unit is stopped: Type=${serviceType(unit)} with RemainAfterExit=yes`,
      suggestion: 'set Type=oneshot, so that a failure is a failure of the start',
      about: [unit.name],
    },
  ];
};

/**
 * A oneshot that does not remain is inactive as soon as it has run, so each further request for its target
 * runs it again, and no stop of the target reaches it.
 */
const oneshotWithoutRemain: UnitRule = (unit, graph) => {
  if (!isOneshot(unit) || remains(unit)) return [];
  const by = graph.pulledBy(unit.name).find(isTarget);
  if (by === undefined) return [];
  return [
    {
      rule: 'oneshot-without-remain',
      unit: unit.name,
      ...place(unit, remainSetting(unit), 'Service'),
      message: `is inactive once it has run, so it runs again each time that ${by} is asked for`,
      suggestion:
        'set RemainAfterExit=yes, and StopWhenUnneeded=yes or a Conflicts= with the opposite so that it ends with its target',
      about: [unit.name],
    },
  ];
};

const WAITS_BY_TYPE = /^(oneshot|forking|dbus|notify|notify-reload)$/;

/**
 * The start of a oneshot lasts as long as its commands, and has no limit unless one is set; other types
 * whose start is waited for have one unless it is taken away. 0 is the same as `infinity`. A oneshot that
 * runs nothing, or only `true`, waits for nothing.
 */
const waitWithoutTimeout: UnitRule = (unit) => {
  if (unit.type !== 'service' || !WAITS_BY_TYPE.test(serviceType(unit))) return [];
  const limit = lastValid(unit, ['TimeoutStartSec', 'TimeoutSec'], TIME_SPAN);
  const unlimited = limit !== undefined && !/[1-9]/.test(limit.value);
  if (isOneshot(unit)) {
    if (limit !== undefined && !unlimited) return [];
    if (commands(unit).every((command) => baseName(argv(command)[0] ?? '') === 'true')) return [];
  } else if (!unlimited) return [];
  return [
    {
      rule: 'wait-without-timeout',
      unit: unit.name,
      ...place(unit, limit, 'Service'),
      message: limit
        ? `${limit.key}=${limit.value} lets its start last for ever`
        : 'its start may last for ever: a oneshot has no start timeout of its own',
      suggestion: 'set TimeoutStartSec= to more than its command needs on its worst day',
      about: [unit.name],
    },
  ];
};

function hasDefaultDependencies(unit: Unit): boolean {
  const given = unit.settings.findLast(
    ({ section, key, value }) => section === 'Unit' && key === 'DefaultDependencies' && BOOLEAN.test(value),
  );
  return given === undefined || TRUE.test(given.value);
}

const UNIT_RULES: readonly UnitRule[] = [
  targetWithoutOnFailure,
  neededButOnlyWanted,
  couldBeOneshot,
  onFailureTooLate,
  oneshotWithoutRemain,
  waitWithoutTimeout,
];

/**
 * `Conflicts=` alone says that one stops the other, not that the stop is complete before the start. Told
 * once for a pair, and only where the tree has both: the other one's file may hold the ordering.
 */
function conflictWithoutOrder(judged: readonly Unit[], graph: UnitGraph): Found[] {
  const told = new Set<string>();
  return judged.flatMap((unit) =>
    graph.edges(unit.name, 'conflicts').flatMap((edge): Found[] => {
      const pair = [unit.name, edge.to].sort();
      if (!graph.units.has(edge.to) || edge.to === unit.name) return [];
      // Ordered by default, systemd.service(5) and systemd.target(5).
      if (edge.to === 'shutdown.target' && hasDefaultDependencies(unit)) return [];
      if (graph.ordered(unit.name, edge.to) || told.has(pair.join(' '))) return [];
      told.add(pair.join(' '));
      return [
        {
          rule: 'conflict-without-order',
          unit: unit.name,
          file: edge.file,
          line: edge.line,
          message: `Conflicts=${edge.to} without Before= or After= between the two: one starts while the other is still stopping`,
          suggestion: `add After=${edge.to}, or Before= where the other one comes later; systemd stops before it starts either way`,
          about: pair,
        },
      ];
    }),
  );
}

interface Conflict {
  readonly from: string;
  readonly edge: Edge;
}

/** Conflicts that a unit of the one set declares with a unit of the other. */
function conflictsBetween(
  one: ReadonlySet<string>,
  other: ReadonlySet<string>,
  graph: UnitGraph,
): Conflict[] {
  return [...one].flatMap((from) =>
    graph
      .edges(from, 'conflicts')
      .filter(({ to }) => to !== from && other.has(to))
      .map((edge) => ({ from, edge })),
  );
}

/**
 * One start that pulls in both sides of a conflict. systemd refuses it where both are required, and
 * otherwise leaves out one side or the conflict (systemd.unit(5), `Conflicts=`). Told for the innermost
 * unit that pulls in both.
 */
function pulledTogether(judged: readonly Unit[], graph: UnitGraph): Found[] {
  return judged.flatMap((unit) => {
    const pulls = graph.pulls(unit.name);
    return conflictsBetween(pulls, pulls, graph).flatMap(({ from, edge }): Found[] => {
      const further = graph.pulled(unit.name).map(({ to }) => graph.pulls(to));
      if (further.some((inner) => inner.has(from) && inner.has(edge.to) && !inner.has(unit.name))) return [];
      const needs = graph.needs(unit.name);
      const both = needs.has(from) && needs.has(edge.to);
      return [
        {
          rule: 'opposites-together',
          unit: unit.name,
          file: edge.file,
          line: edge.line,
          message: `${unit.name} starts both ${from} and ${edge.to}, which conflict: ${both ? 'systemd refuses the start' : 'systemd leaves out one of them, or starts both all the same'}`,
          suggestion: `let ${unit.name} pull in one of them only, or take the conflict away`,
          about: [unit.name, ...[from, edge.to].sort()],
        },
      ];
    });
  });
}

/**
 * One failure that starts both sides of a conflict: a unit fails, with it all of the same request that
 * require it, and the `OnFailure=` of two of these (or two in one list) exclude each other. Which one is
 * reached then depends on `OnFailureJobMode=` and on which is queued first.
 */
function failedTogether(judged: readonly Unit[], graph: UnitGraph): Found[] {
  const routed = judged.filter(({ name }) => graph.edges(name, 'onFailure').length > 0);
  const requests = judged.map(({ name }) => graph.pulls(name));
  return routed.flatMap((one, index) =>
    routed.slice(index).flatMap((other) => {
      const shared = [...graph.needs(one.name)].filter((name) => graph.needs(other.name).has(name));
      const culprit = shared.find(canFailItself);
      if (culprit === undefined) return [];
      if (!requests.some((pulls) => pulls.has(one.name) && pulls.has(other.name))) return [];
      return handlerPairs(one, other, graph).flatMap(([first, second]) => {
        const [a, b] = [graph.pulls(first), graph.pulls(second)];
        return [...conflictsBetween(a, b, graph), ...conflictsBetween(b, a, graph)]
          .filter(({ from, edge }) => [a, b].every((pulls) => !(pulls.has(from) && pulls.has(edge.to))))
          .map(
            ({ from, edge }): Found => ({
              rule: 'opposites-together',
              unit: from,
              file: edge.file,
              line: edge.line,
              message: `a failure of ${culprit} starts both ${first} (OnFailure= of ${one.name}) and ${second} (OnFailure= of ${other.name}), but ${from} conflicts with ${edge.to}: one can cancel the other`,
              suggestion: 'take that conflict away, or route both failures to the same place',
              about: [...[first, second].sort(), from, edge.to],
            }),
          );
      });
    }),
  );
}

function handlerPairs(one: Unit, other: Unit, graph: UnitGraph): [string, string][] {
  const [left, right] = [one, other].map(({ name }) => graph.edges(name, 'onFailure').map(({ to }) => to));
  return (left ?? []).flatMap((first) =>
    (right ?? []).filter((second) => second !== first).map((second): [string, string] => [first, second]),
  );
}
