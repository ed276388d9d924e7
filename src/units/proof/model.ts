import type { UnitGraph } from '../unit-graph.ts';

/** A unit as the manager's jobs see it. Every list holds names. */
export interface ModelUnit {
  readonly name: string;
  /**
   * `target` is active at once; `oneshot` while its process runs is activating; `simple` is active with its process.
   * systemd.service(5), Type=.
   */
  readonly kind: 'target' | 'oneshot' | 'simple';
  readonly remainsAfterExit: boolean;
  readonly stopsWhenUnneeded: boolean;
  readonly onFailure: readonly string[];
  readonly onFailureMode: JobMode;
  readonly requires: readonly string[];
  readonly requisite: readonly string[];
  readonly wants: readonly string[];
  readonly conflicts: readonly string[];
  readonly after: readonly string[];
  /** The other ends of these relations. `requiredBy` holds those of Requisite= as well. */
  readonly requiredBy: readonly string[];
  readonly requisiteOf: readonly string[];
  readonly wantedBy: readonly string[];
  readonly conflictedBy: readonly string[];
  readonly before: readonly string[];
  /** Command lines of ExecStart=, joined. */
  readonly command: string;
}

export type JobMode = 'replace' | 'fail' | 'flush';

export type Model = ReadonlyMap<string, ModelUnit>;

/**
 * What starting `roots` can lead to, as a model. A dependency on a unit that the tree has no file of does not count, but
 * for Requires= and Requisite=: a start of the unit is refused because of it, as systemd does.
 */
export function modelOf(graph: UnitGraph, roots: readonly string[]): Model {
  const names = reachable(graph, roots);
  const isThere = (name: string) => names.has(name);
  const to = (name: string, relation: Parameters<UnitGraph['edges']>[1]) =>
    unique(graph.edges(name, relation).map((edge) => edge.to));
  const follows = new Map([...names].map((name) => [name, new Set(to(name, 'after').filter(isThere))]));
  for (const name of names) for (const later of to(name, 'before')) follows.get(later)?.add(name);
  for (const name of names) addTargetOrder(graph, name, follows);

  const whoNames = (name: string, relations: readonly Parameters<UnitGraph['edges']>[1][]) =>
    [...names].filter((other) => relations.some((relation) => to(other, relation).includes(name)));
  return new Map(
    [...names].map((name): [string, ModelUnit] => {
      const setting = (key: string) => lastSetting(graph, name, key);
      return [
        name,
        {
          name,
          kind: kindOf(name, setting('Type')),
          remainsAfterExit: isYes(setting('RemainAfterExit')),
          stopsWhenUnneeded: isYes(setting('StopWhenUnneeded')),
          onFailure: to(name, 'onFailure').filter(isThere),
          onFailureMode: modeOf(setting('OnFailureJobMode')),
          requires: to(name, 'requires'),
          requisite: to(name, 'requisite'),
          wants: to(name, 'wants').filter(isThere),
          conflicts: to(name, 'conflicts').filter(isThere),
          after: [...(follows.get(name) ?? [])],
          requiredBy: whoNames(name, ['requires', 'requisite']),
          requisiteOf: whoNames(name, ['requisite']),
          wantedBy: whoNames(name, ['wants']),
          conflictedBy: whoNames(name, ['conflicts']),
          before: [...names].filter((other) => follows.get(other)?.has(name)),
          command: commandOf(graph, name),
        },
      ];
    }),
  );
}

/** Units that a start of `roots` starts, stops or can lead to, in whatever way. */
function reachable(graph: UnitGraph, roots: readonly string[]): ReadonlySet<string> {
  const found = new Set(roots.filter((name) => graph.units.has(name)));
  for (const name of found) {
    const next = (['requires', 'requisite', 'wants', 'conflicts', 'onFailure'] as const).flatMap((relation) =>
      graph.edges(name, relation).map((edge) => edge.to),
    );
    const started = startedBy(commandOf(graph, name));
    for (const other of [...next, ...started]) if (graph.units.has(other)) found.add(other);
  }
  return found;
}

/** Units that a command line asks systemd to start. */
export function startedBy(command: string): string[] {
  return [...command.matchAll(/systemctl(?:\s+--\S+)*\s+start(?:\s+--\S+)*\s+([\w@.:-]+)/g)].map(
    ([, unit = '']) => unit,
  );
}

/**
 * A target follows what it requires and wants where that does not say that it follows the target
 * (systemd.target(5), "Default Dependencies").
 */
function addTargetOrder(graph: UnitGraph, name: string, follows: Map<string, Set<string>>): void {
  if (!name.endsWith('.target') || lastSetting(graph, name, 'DefaultDependencies') === 'no') return;
  for (const { to } of [...graph.pulled(name), ...graph.edges(name, 'requisite')]) {
    if (follows.has(to) && !follows.get(to)?.has(name)) follows.get(name)?.add(to);
  }
}

function lastSetting(graph: UnitGraph, name: string, key: string): string | undefined {
  return graph.units.get(name)?.settings.findLast((setting) => setting.key === key)?.value;
}

/** An empty assignment takes back what stood before it (systemd.syntax(7)). */
function commandOf(graph: UnitGraph, name: string): string {
  const lines: string[] = [];
  for (const { key, value } of graph.units.get(name)?.settings ?? []) {
    if (key !== 'ExecStart') continue;
    if (value === '') lines.length = 0;
    else lines.push(value);
  }
  return lines.join('\n');
}

function kindOf(name: string, type: string | undefined): ModelUnit['kind'] {
  if (name.endsWith('.target')) return 'target';
  return type === 'oneshot' ? 'oneshot' : 'simple';
}

function isYes(value: string | undefined): boolean {
  return ['1', 'yes', 'true', 'on'].includes(value?.toLowerCase() ?? '');
}

function modeOf(value: string | undefined): JobMode {
  return value === 'fail' || value === 'flush' ? value : 'replace';
}

function unique(names: readonly string[]): string[] {
  return [...new Set(names)];
}
