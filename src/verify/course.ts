import type { Plan } from '../sequence/plan.ts';
import type { Fault, RailPhase, State } from '../sequence/state.ts';
import { type Happened, takesMs, tell } from './happened.ts';
import { BIT } from './plant.ts';
import type { Move, ProductRules } from './product.ts';
import type { Product } from './turn.ts';

/** The chassis and the machine at one moment: lines as they stand, whatever the machine believes. */
export interface Scene {
  /** Since the begin. */
  readonly atMs: number;
  readonly state: State;
  readonly rails: Readonly<
    Record<string, { readonly enabled: boolean; readonly good: boolean; readonly phase: RailPhase }>
  >;
  readonly pgood: boolean;
  readonly resetsAsserted: Readonly<Record<string, boolean>>;
  readonly fault: Fault | null;
}

/** One thing that happened, in words and as it is played again. */
export interface Step {
  readonly text: string;
  readonly happened: Happened;
  readonly after: Scene;
}

/** A course of events from a chassis that is off. */
export interface Course {
  readonly begin: Scene;
  readonly steps: readonly Step[];
}

export function courseOf(plan: Plan, rules: ProductRules, faults: number, moves: readonly Move[]): Course {
  let atMs = 0;
  const begin = sceneOf(plan, rules, rules.initial(faults), atMs);
  const steps = moves.map(({ happened, product }) => {
    atMs += takesMs(happened);
    return { text: tell(happened), happened, after: sceneOf(plan, rules, product, atMs) };
  });
  return { begin, steps };
}

function sceneOf(plan: Plan, { plant: rules }: ProductRules, product: Product, atMs: number): Scene {
  const { plant, situation } = product;
  const { sequence, state } = situation;
  const rails = plan.rails.map(({ name }, index) => {
    const { phase } = sequence.rails[name] ?? { phase: 'down' };
    return [
      name,
      { enabled: rules.isOn(plant, index), good: rules.has(plant, index, BIT.good), phase },
    ] as const;
  });
  const resets = plan.resets.map(({ name }, index) => [
    name,
    !rules.has(plant, rules.pgood + 1 + index, BIT.driven),
  ]);
  return {
    atMs,
    state,
    rails: Object.fromEntries(rails),
    pgood: rules.has(plant, rules.pgood, BIT.good),
    resetsAsserted: Object.fromEntries(resets),
    fault: sequence.fault,
  };
}
