import type { AnyStateMachine, AnyStateNode } from 'xstate';

/** One state as the chart shows it. */
export interface ChartState {
  readonly id: string;
  readonly name: string;
  readonly kind: AnyStateNode['type'];
  readonly tags: readonly string[];
  readonly entry: readonly string[];
  readonly exit: readonly string[];
  readonly invokes: readonly string[];
  /** The state that is entered first, of those inside. */
  readonly initialId: string | null;
  readonly states: readonly ChartState[];
}

export interface ChartTransition {
  readonly fromId: string;
  /** Null: the state stays as it is. */
  readonly toId: string | null;
  /** Null: taken as soon as the guard holds. */
  readonly event: string | null;
  readonly guard: string | null;
  readonly actions: readonly string[];
}

export interface Chart {
  readonly root: ChartState;
  /** In the order in which xstate tries them. */
  readonly transitions: readonly ChartTransition[];
}

/** What stands for a guard, an action or an actor that the machine was given as a function without a name. */
export const UNNAMED = '?';

/** What a machine of xstate consists of. Reads only; no actor is started. */
export function describeMachine(machine: AnyStateMachine): Chart {
  const transitions: ChartTransition[] = [];
  /** An invoked actor goes by its id, which xstate makes up where the machine gives none. */
  const actors = new Map<string, string>();
  const actorName = (id: string) => actors.get(id) ?? id;
  const describeState = (node: AnyStateNode): ChartState => {
    for (const { id, src } of node.invoke) actors.set(id, id.endsWith(`.${node.id}`) ? actorNameOf(src) : id);
    const own = [...[...node.transitions.values()].flat(), ...(node.always ?? [])];
    for (const { eventType, guard, actions, target } of own) {
      const what = {
        fromId: node.id,
        event: eventName(eventType, actorName),
        guard: guard === undefined ? null : nameOf(guard),
        actions: actions.map(nameOf),
      };
      if (target === undefined) transitions.push({ ...what, toId: null });
      for (const { id } of target ?? []) transitions.push({ ...what, toId: id });
    }
    return {
      id: node.id,
      name: node.key,
      kind: node.type,
      tags: node.tags,
      // As the machine says them: to its own lists xstate adds what starts and ends the timers of `after`.
      entry: [node.config.entry ?? []].flat().map(nameOf),
      exit: [node.config.exit ?? []].flat().map(nameOf),
      invokes: [node.config.invoke ?? []].flat().map(({ src }) => actorNameOf(src)),
      initialId: node.type === 'compound' ? (node.initial.target?.[0]?.id ?? null) : null,
      states: Object.values(node.states).map(describeState),
    };
  };
  return { root: describeState(machine.root), transitions };
}

/** The name under which `setup` knows a guard, an action or an actor, with and, or and not written out. */
export function nameOf(named: unknown): string {
  if (typeof named === 'string') return named;
  if (typeof named === 'object') return (named as { type: string }).type;
  // What and(), or() and not() of xstate return is a function of that name that carries its parts.
  const { name, guards } = named as { name: string; guards?: unknown[] };
  if (guards === undefined) return UNNAMED;
  const parts = guards.map(nameOf);
  return name === 'not' ? `not ${parts[0]}` : parts.join(` ${name} `);
}

/** The name of an actor's logic; logic itself is an object and has none. */
export function actorNameOf(src: unknown): string {
  return typeof src === 'string' ? src : UNNAMED;
}

/** xstate's own events, as what they tell. */
function eventName(type: string, actorName: (id: string) => string): string | null {
  if (type === '') return null;
  if (type === '*') return 'any other event';
  const [, kind, what = ''] =
    /^xstate\.(after|done\.actor|error\.actor|done\.state|snapshot)\.(.*)$/.exec(type) ?? [];
  if (kind === undefined) return type;
  if (kind === 'done.state') return 'done';
  if (kind !== 'after') return `${kind.replace('.actor', '')} ${actorName(what)}`;
  const [delay = ''] = what.split('.');
  return `after ${delay}${/^\d+$/.test(delay) ? ' ms' : ''}`;
}

/** A transition as the chart writes it: event [guard] / actions. */
export function labelOf({ event, guard, actions }: ChartTransition): string {
  const condition = guard === null ? '' : `[${guard}]`;
  const done = actions.length === 0 ? '' : `/ ${actions.join(', ')}`;
  return [event ?? (guard === null ? 'always' : ''), condition, done].filter((part) => part !== '').join(' ');
}

/** What of the chart has no name, each as where it stands. */
export function unnamedIn({ root, transitions }: Chart): string[] {
  const inState = ({ id, entry, exit, invokes, states }: ChartState): string[] => [
    ...Object.entries({ entry, exit, invokes }).flatMap(([where, names]) =>
      names.includes(UNNAMED) ? [`${where} of ${id}`] : [],
    ),
    ...states.flatMap(inState),
  ];
  const unnamed = (name: string | null) => name?.split(/ and | or |^not /).includes(UNNAMED) ?? false;
  return [
    ...inState(root),
    ...transitions.flatMap((each) =>
      unnamed(each.guard) || each.actions.some(unnamed) ? [`${each.fromId}: ${labelOf(each)}`] : [],
    ),
  ];
}
