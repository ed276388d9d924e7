import { createActor, type ExecutableActionObject } from 'xstate';
import { chassisMachine } from './chart.ts';
import type { SequenceAction, SequenceEvent } from './events.ts';
import type { Plan } from './plan.ts';
import { type Context, noReadings, type Readings } from './readings.ts';
import type { Reconciled } from './reconcile.ts';
import type { SequenceState, State } from './state.ts';

/** Anything that holds a state of the chart: what `step` takes and gives. */
export type ChassisSnapshot = ReturnType<typeof chassisMachine.resolveState>;

/** The chart in a given state, as `reconcile` found it. Takes no transition and drives nothing. */
export function takeUp(plan: Plan, { state, sequence }: Reconciled): ChassisSnapshot {
  return chassisMachine.resolveState({
    value: state,
    context: { plan, readings: noReadings(plan), ...sequence },
  });
}

export interface Step {
  readonly snapshot: ChassisSnapshot;
  readonly state: State;
  readonly sequence: SequenceState;
  readonly readings: Readings;
  readonly actions: readonly SequenceAction[];
}

const ignore = () => undefined;
/**
 * What the chart runs in, where nothing but its actions comes of it. `transition` of xstate makes one for each event, with
 * an actor that begins in the first state and is forgotten: a third of the time of a step.
 */
function createScope() {
  // Never started: the chart is told whose events it takes.
  const nobody = createActor(chassisMachine, { input: {} as Context });
  return {
    self: nobody,
    system: nobody.system,
    id: nobody.id,
    sessionId: nobody.sessionId,
    logger: ignore,
    defer: ignore,
    emit: ignore,
    stopChild: ignore,
  };
}
/** Made for the first step: a oneshot with nothing to do takes none. */
let scope: ReturnType<typeof createScope> | undefined;

/** One event through the chart. Pure. */
export function step(snapshot: ChassisSnapshot, event: SequenceEvent): Step {
  const actions: ExecutableActionObject[] = [];
  const actionExecutor = (action: ExecutableActionObject) => actions.push(action);
  scope ??= createScope();
  const next = chassisMachine.transition(snapshot, event, { ...scope, actionExecutor });
  return {
    snapshot: next,
    ...viewOf(next),
    actions: actions.map(({ type, params }) => ({ type, ...(params as object) }) as SequenceAction),
  };
}

export function viewOf(snapshot: ChassisSnapshot): Pick<Step, 'state' | 'sequence' | 'readings'> {
  const { plan: _, readings, ...sequence } = snapshot.context;
  return { state: snapshot.value as State, sequence, readings };
}

/** A transition of the chart as people read it: `pgood: always [pgoodLost] to fault`. */
type Transition = (typeof chassisMachine.root.always & object)[number];

function nameOf({ source, eventType, guard, target }: Transition): string {
  const event = (eventType as string) === '' ? 'always' : eventType;
  const condition = guard === undefined ? '' : ` [${String(guard)}]`;
  const to = target?.map(({ key }) => ` to ${key}`).join('') ?? '';
  return `${source.key}: ${event}${condition}${to}`;
}

/** Every transition of the chart. */
export function transitionNames(): string[] {
  const { root } = chassisMachine;
  return [root, ...Object.values(root.states)].flatMap((node) =>
    [...[...node.transitions.values()].flat(), ...(node.always ?? [])].map((each) => nameOf(each)),
  );
}

/** Calls `take` with the name of each transition that a step takes. Returns the function that ends it. */
export function observeTransitions(take: (name: string) => void): () => void {
  scope ??= createScope();
  const { unsubscribe } = scope.system.inspect((told) => {
    if (told.type !== '@xstate.microstep') return;
    for (const transition of told._transitions) take(nameOf(transition as unknown as Transition));
  });
  return unsubscribe;
}
