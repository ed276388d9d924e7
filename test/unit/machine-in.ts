import type { SequenceEvent } from '../../src/sequence/events.ts';
import { step, takeUp, viewOf } from '../../src/sequence/machine.ts';
import type { Plan } from '../../src/sequence/plan.ts';
import { reconcile } from '../../src/sequence/reconcile.ts';
import { type RailState, railState, type SequenceState, type State } from '../../src/sequence/state.ts';

/** What a machine is taken up with besides its state. */
export interface Taken {
  /** Rails that are enabled and good. */
  readonly on?: readonly string[];
  /** Of the states of rails, what is otherwise. */
  readonly rails?: Readonly<Record<string, Partial<RailState>>>;
  readonly change?: Partial<SequenceState>;
}

/** Takes up machines of a plan at 1,000 ms, each to be told events one after the other. */
export function machinesOf(plan: Plan) {
  return (state: State, { on = [], rails = {}, change = {} }: Taken = {}) => {
    const seen = plan.rails.map(({ name }) => [
      name,
      { enabled: on.includes(name), good: on.includes(name) },
    ]);
    const resets = plan.resets.map(({ name }) => [name, true]);
    const observation = {
      rails: Object.fromEntries(seen),
      pgood: false,
      resetsAsserted: Object.fromEntries(resets),
    };
    const { sequence } = reconcile(plan, observation, null, 1_000);
    const changed = plan.rails.map(({ name }) => [name, { ...railState(sequence, name), ...rails[name] }]);
    let snapshot = takeUp(plan, {
      state,
      sequence: { ...sequence, rails: Object.fromEntries(changed), ...change },
    });
    return {
      /** What is driven for it: `P12V on`; of a rail with a power button `HOST off by force, it may be on`. */
      tell(event: SequenceEvent): string[] {
        const next = step(snapshot, event);
        snapshot = next.snapshot;
        return next.actions.flatMap((action) => {
          if (action.type !== 'driveEnable') return [];
          const { rail, asserted, press } = action;
          if (press === undefined) return [`${rail} ${asserted ? 'on' : 'off'}`];
          const { isGraceful, mayBeOn } = press;
          return [`${rail} off ${isGraceful ? 'gracefully' : 'by force'}${mayBeOn ? ', it may be on' : ''}`];
        });
      },
      look(rail: string | null, good: boolean, atMs: number): string[] {
        const times = { askedMs: atMs, atMs };
        return this.tell(
          rail === null
            ? { type: 'PGOOD_LEVEL', good, ...times }
            : { type: 'RAIL_LEVEL', rail, good, ...times },
        );
      },
      rail: (name: string) => railState(viewOf(snapshot).sequence, name),
      get sequence() {
        return viewOf(snapshot).sequence;
      },
      get state() {
        return viewOf(snapshot).state;
      },
      /** What went wrong, in words: `railLost of P12V: rail P12V dropped while it was enabled`. */
      get fault() {
        const { fault } = viewOf(snapshot).sequence;
        return fault && `${fault.kind} of ${fault.rail}: ${fault.reason}`;
      },
    };
  };
}
