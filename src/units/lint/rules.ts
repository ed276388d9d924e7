/**
 * The rules for units of the power path: a failure of any of them must reach somebody, and no two of them
 * may undo each other. What systemd does is from systemd.unit(5), systemd.service(5) and
 * systemd.target(5), version 252; docs/decisions/0009-unit-lint.md defines each rule and its limits.
 */
import { SANDBOX_SETTING, type Setting } from '../unit-file.ts';
import type { Edge, Unit, UnitGraph } from '../unit-graph.ts';
import {
  commands,
  ends,
  hasDefaultDependencies,
  isOneshot,
  isPowerStep,
  lastValid,
  programOf,
  remainSetting,
  remains,
  serviceType,
  TIME_SPAN,
  typeSetting,
} from './unit-settings.ts';

/** Stable: callers and exceptions of theirs go by these words. */
export type RuleId =
  | 'target-without-onfailure'
  | 'needed-but-only-wanted'
  | 'could-be-oneshot'
  | 'onfailure-too-late'
  | 'oneshot-without-remain'
  | 'wait-without-timeout'
  | 'conflict-without-order'
  | 'opposites-together'
  | 'without-sandbox'
  // Of the units that ship only, see shipped.ts.
  | 'unknown-unit';

export interface Finding {
  readonly rule: RuleId;
  readonly unit: string;
  readonly file: string;
  /** Null for a link in a `.wants/` or `.requires/` folder. */
  readonly line: number | null;
  /** What is wrong. */
  readonly message: string;
  /** What to do about it. */
  readonly suggestion: string;
}

/** A finding and the units it is about, by which other instances of the same finding are recognised. */
export interface Found extends Finding {
  readonly about: readonly string[];
}

/** What the rules find in `judged`, units of `graph`. The same may be found at several instances of a template. */
export function applyRules(judged: readonly Unit[], graph: UnitGraph): Found[] {
  return [
    ...judged.flatMap((unit) => UNIT_RULES.flatMap((rule) => rule(unit, graph))),
    ...conflictWithoutOrder(judged, graph),
    ...pulledTogether(judged, graph),
    ...failedTogether(judged, graph),
  ];
}

type Place = Pick<Finding, 'file' | 'line'>;

/** Where a setting stands, or should: at the header of its section, at the top of a file without it. */
function place(unit: Unit, setting: Setting | undefined, section: string): Place {
  return setting
    ? { file: setting.file, line: setting.line }
    : { file: unit.file, line: unit.sections.get(section) ?? 1 };
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
    if (commands(unit).every((command) => programOf(command) === 'true')) return [];
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

/** A unit of ours that was copied and not installed: its file still names the sandbox, and systemd passes over that. */
const withoutSandbox: UnitRule = (unit) =>
  unit.settings
    .filter(({ key }) => key === SANDBOX_SETTING)
    .map(({ key, value, file, line }) => ({
      rule: 'without-sandbox',
      unit: unit.name,
      file,
      line,
      message: `${key}=${value} stands for settings that are not there: it runs without its sandbox`,
      suggestion: 'put it in place with chassis-power units install, --root for an image',
      about: [unit.name],
    }));

const UNIT_RULES: readonly UnitRule[] = [
  targetWithoutOnFailure,
  neededButOnlyWanted,
  couldBeOneshot,
  onFailureTooLate,
  oneshotWithoutRemain,
  waitWithoutTimeout,
  withoutSandbox,
];

/**
 * `Conflicts=` alone says that one stops the other, not that the stop is complete before the start. Reported
 * once for a pair, and only where the tree has both, because the ordering may be in the other one's file.
 */
function conflictWithoutOrder(judged: readonly Unit[], graph: UnitGraph): Found[] {
  const reported = new Set<string>();
  return judged.flatMap((unit) =>
    graph.edges(unit.name, 'conflicts').flatMap((edge): Found[] => {
      const pair = [unit.name, edge.to].sort();
      if (!graph.units.has(edge.to) || edge.to === unit.name) return [];
      // Ordered by default, systemd.service(5) and systemd.target(5).
      if (edge.to === 'shutdown.target' && hasDefaultDependencies(unit)) return [];
      if (graph.ordered(unit.name, edge.to) || reported.has(pair.join(' '))) return [];
      reported.add(pair.join(' '));
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
 * otherwise leaves out one side or the conflict (systemd.unit(5), `Conflicts=`). Reported for the innermost
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
