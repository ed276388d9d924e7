import { transition } from 'xstate';
import { chassisMachine } from './chart.ts';
import type { SequenceAction, SequenceEvent } from './events.ts';
import type { Plan } from './plan.ts';
import { noReadings, type Readings } from './readings.ts';
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

/** One event through the chart. Pure. */
export function step(snapshot: ChassisSnapshot, event: SequenceEvent): Step {
  const [next, actions] = transition(chassisMachine, snapshot, event);
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
