import type { Plan } from '../sequence/plan.ts';
import { withTimesOf } from './concrete.ts';
import { type Course, courseOf } from './course.ts';
import { missedTransitions } from './coverage.ts';
import { rankedPlan, ranksOf } from './durations.ts';
import { type Counterexample, explore } from './explore.ts';
import { tell } from './happened.ts';
import { INVARIANTS, type InvariantName } from './invariants.ts';
import type { Machine } from './machine.ts';
import { ProductModel } from './product.ts';
import { createSituations } from './situations.ts';

export interface VerifyOptions {
  /** How many faults a course of events may have. */
  readonly faults: number;
  readonly maxStates: number;
  /** With the times of the board, where times that are near each other count as one otherwise. */
  readonly isExact?: boolean;
  readonly onProgress?: (states: number) => void;
}

/** One thing that happened on the way to a broken invariant. */
export interface StoryLine {
  readonly what: string;
  /** The machine's state after it. */
  readonly state: string;
}

export interface Report {
  /** `broken`: an invariant is, or a transition of the machine was never taken. `notFinished`: nothing is proven. */
  readonly verdict: 'clean' | 'broken' | 'notFinished';
  /** Why nothing was tried; null where it was. */
  readonly notTried: string | null;
  readonly faults: number;
  readonly states: number;
  readonly transitions: number;
  readonly faultsPlaced: number;
  readonly situations: number;
  readonly invariants: Readonly<Record<InvariantName, string>>;
  readonly neverTaken: readonly string[];
  /** What stands for the times of the board, in milliseconds; null where they are exact. */
  readonly times: Readonly<Record<string, number>> | null;
  readonly broken: {
    readonly invariant: InvariantName;
    readonly sentence: string;
    readonly what: string;
    readonly story: readonly StoryLine[];
    /** The same with the times of the board, as it can be played again; null where these let it not come about. */
    readonly course: Course | null;
  } | null;
}

/** Tries every course of events of a chassis with so many faults. Pure; takes seconds to minutes. */
export function verifyPlan(machine: Machine, plan: Plan, options: VerifyOptions): Report {
  const { faults, isExact = false } = options;
  const missing = missingInModel(plan);
  if (missing !== null) return notModelled(missing, faults);
  const searched = isExact ? plan : rankedPlan(plan);
  const found = explore(machine, searched, options);
  const { counterexample, isFinished, states, transitions, faultsPlaced, situations, taken } = found;
  const isWhole = isFinished && counterexample === null;
  const neverTaken = isWhole ? missedTransitions(machine, plan, faults, taken) : [];
  const broken = counterexample && {
    invariant: counterexample.invariant,
    sentence: INVARIANTS[counterexample.invariant],
    what: counterexample.what,
    story: counterexample.moves.map(({ happened, product }) => ({
      what: tell(happened),
      state: product.situation.state,
    })),
    course: courseWithTimes(machine, plan, counterexample, faults),
  };
  const isBroken = broken !== null || neverTaken.length > 0;
  return {
    verdict: isBroken ? 'broken' : isFinished ? 'clean' : 'notFinished',
    notTried: null,
    faults,
    states,
    transitions,
    faultsPlaced,
    situations,
    invariants: INVARIANTS,
    neverTaken,
    times: isExact ? null : Object.fromEntries(ranksOf(plan)),
    broken,
  };
}

/** What the chassis of the model does not have: tried all the same it would break what is whole, or call clean what it did not try. */
function missingInModel({ rails, pgood }: Plan): string | null {
  if (rails.some(({ watched }) => watched !== null)) return 'rails without an enable';
  if (rails.some(({ pulsed }) => pulsed !== null)) return 'a power button';
  if (rails.some(({ isSetUp }) => isSetUp)) return 'a rail whose device is set up before it is enabled';
  if (pgood.rails.length > 0) return 'pgood that is taken from rails';
  return pgood.poweredBy.length > 0 ? 'pgood of a device that has its power from a rail' : null;
}

function courseWithTimes(
  machine: Machine,
  plan: Plan,
  counterexample: Counterexample,
  faults: number,
): Course | null {
  const rules = new ProductModel(machine, plan, createSituations(machine, plan));
  const moves = withTimesOf(rules, counterexample, faults);
  return moves === null ? null : courseOf(plan, rules, faults, moves);
}

function notModelled(missing: string, faults: number): Report {
  return {
    verdict: 'notFinished',
    notTried: `the board has ${missing}, which the model of the chassis does not have yet`,
    faults,
    states: 0,
    transitions: 0,
    faultsPlaced: 0,
    situations: 0,
    invariants: INVARIANTS,
    neverTaken: [],
    times: null,
    broken: null,
  };
}
