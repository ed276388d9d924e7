import { absentIn, type Plan, planWithout } from '../sequence/plan.ts';
import { withTimesOf } from './concrete.ts';
import { type Course, courseOf } from './course.ts';
import { missedTransitions } from './coverage.ts';
import { rankedPlan, ranksOf } from './durations.ts';
import { type Counterexample, explore } from './explore.ts';
import { tell } from './happened.ts';
import { INVARIANTS, type InvariantName } from './invariants.ts';
import type { Machine } from './machine.ts';
import { type Part, partOf, partsOf, railsAtOnceFor } from './parts.ts';
import { ProductModel } from './product.ts';
import { createSituations } from './situations.ts';

export interface VerifyOptions {
  /** How many faults a course of events may have. */
  readonly faults: number;
  /** Of the board, or of each of its parts. */
  readonly maxStates: number;
  /**
   * How many rails at a time are tried, whichever they are, with all others ideal: all where the board has no more. By default
   * as many as end in about a minute.
   */
  readonly railsAtOnce?: number;
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
  /**
   * `cleanInParts`: nothing was found wherever all rails but a few are ideal. `broken`: an invariant is, or a transition of the
   * machine was never taken. `notFinished`: nothing is proven.
   */
  readonly verdict: 'clean' | 'cleanInParts' | 'broken' | 'notFinished';
  /** Null where the board was tried as a whole. `choices` of so many rails are in no more than `tried` ways unlike each other. */
  readonly parts: { readonly railsAtOnce: number; readonly choices: number; readonly tried: number } | null;
  /** Which rails were absent, of each way that was tried; null where all of the board have to be there. */
  readonly absent: readonly (readonly string[])[] | null;
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
    /** The rails that are not ideal; null where the board was tried as a whole. */
    readonly rails: readonly string[] | null;
    /** The rails that are absent. */
    readonly absent: readonly string[];
    readonly story: readonly StoryLine[];
    /** The same with the times of the board, as it can be played again; null where these let it not come about. */
    readonly course: Course | null;
  } | null;
}

/**
 * Tries every course of events of a chassis with so many faults. One with parts that may be absent is tried with all of them,
 * without each of them, and without any. Pure; takes seconds to minutes.
 */
export function verifyPlan(machine: Machine, plan: Plan, options: VerifyOptions): Report {
  const missing = missingInModel(plan);
  if (missing !== null) return { ...nothingTried(options.faults), notTried: missing };
  const ways = absences(plan);
  let report: Report | null = null;
  for (const absent of ways) {
    const present = absent.length === 0 ? plan : planWithout(plan, absent);
    const found = verifyPresent(machine, present, options);
    report = report === null ? found : together(report, found);
    if (ways.length > 1) report = { ...report, absent: ways.slice(0, ways.indexOf(absent) + 1) };
    if (found.broken !== null || found.verdict === 'notFinished') break;
  }
  return report ?? nothingTried(options.faults);
}

/** Rails that may be absent together: none, each with what needs it, and all. */
function absences(plan: Plan): string[][] {
  const optional = plan.rails.filter(({ isOptional }) => isOptional).map(({ name }) => name);
  const gone = [[], ...optional.map((name) => [name]), optional];
  const absent = gone.map((names) => absentIn(plan, (rail) => !names.includes(rail)));
  return [...new Map(absent.map((names) => [names.join(), names])).values()];
}

function together(one: Report, other: Report): Report {
  const order = ['clean', 'cleanInParts', 'broken', 'notFinished'] as const;
  const worse = order.indexOf(one.verdict) > order.indexOf(other.verdict) ? one : other;
  return {
    ...other,
    verdict: worse.verdict,
    parts: partsTogether(one.parts, other.parts),
    states: one.states + other.states,
    transitions: one.transitions + other.transitions,
    faultsPlaced: one.faultsPlaced + other.faultsPlaced,
    situations: one.situations + other.situations,
    neverTaken: [...new Set([...one.neverTaken, ...other.neverTaken])],
    times: one.times && other.times && { ...one.times, ...other.times },
  };
}

function partsTogether(one: Report['parts'], other: Report['parts']): Report['parts'] {
  if (one === null || other === null) return one ?? other;
  return {
    railsAtOnce: Math.min(one.railsAtOnce, other.railsAtOnce),
    choices: one.choices + other.choices,
    tried: one.tried + other.tried,
  };
}

function verifyPresent(machine: Machine, plan: Plan, options: VerifyOptions): Report {
  const { faults, isExact = false } = options;
  const searched = isExact ? plan : rankedPlan(plan);
  const { railsAtOnce = railsAtOnceFor(searched, faults) } = options;
  const isWhole = railsAtOnce >= plan.rails.length;
  if (!isWhole && plan.rails.some(({ pulsed }) => pulsed !== null))
    return {
      ...nothingTried(faults),
      notTried: notInModel('a power button, and more rails than are tried at a time'),
    };
  const parts: readonly Part[] = isWhole
    ? [{ plan: searched, chosen: [], choices: 1 }]
    : partsOf(searched, railsAtOnce);
  const before: Report = {
    ...nothingTried(faults),
    times: isExact ? null : Object.fromEntries(ranksOf(plan)),
    parts: isWhole
      ? null
      : { railsAtOnce, choices: parts.reduce((sum, { choices }) => sum + choices, 0), tried: 0 },
  };
  let report = before;
  const taken = new Set<string>();
  for (const [index, part] of parts.entries()) {
    const found = explore(machine, part.plan, options);
    for (const name of found.taken) taken.add(name);
    report = {
      ...report,
      states: report.states + found.states,
      transitions: report.transitions + found.transitions,
      faultsPlaced: report.faultsPlaced + found.faultsPlaced,
      situations: report.situations + found.situations,
      parts: report.parts && { ...report.parts, tried: index + 1 },
    };
    if (!found.isFinished) return report;
    if (found.counterexample === null) continue;
    const rails = isWhole ? null : part.chosen;
    const of = rails === null ? plan : partOf(plan, new Set(rails));
    return {
      ...report,
      verdict: 'broken',
      broken: brokenOf(machine, of, rails, found.counterexample, faults),
    };
  }
  if (!isWhole) return { ...report, verdict: 'cleanInParts' };
  const neverTaken = missedTransitions(machine, plan, faults, taken);
  return { ...report, verdict: neverTaken.length > 0 ? 'broken' : 'clean', neverTaken };
}

function brokenOf(
  machine: Machine,
  plan: Plan,
  rails: readonly string[] | null,
  counterexample: Counterexample,
  faults: number,
): Report['broken'] {
  const { invariant, what, moves } = counterexample;
  return {
    invariant,
    sentence: INVARIANTS[invariant],
    what,
    rails,
    absent: plan.absent.map(({ name }) => name),
    story: moves.map(({ happened, product }) => ({ what: tell(happened), state: product.situation.state })),
    course: courseWithTimes(machine, plan, counterexample, faults),
  };
}

/** What the chassis of the model does not have: tried all the same it would break what is whole, or call clean what it did not try. */
function missingInModel(plan: Plan): string | null {
  const missing = missingOf(plan);
  return missing && notInModel(missing);
}

function notInModel(missing: string): string {
  return `the board has ${missing}, which the model of the chassis does not have yet`;
}

function missingOf({ rails, resets, pgood, latched, sleep }: Plan): string | null {
  const buttons = rails.filter(({ pulsed }) => pulsed !== null);
  if (buttons.length > 1) return 'more than one power button';
  if (buttons.some(({ pulsed }) => pulsed !== 'state'))
    return 'a power button whose host has no state of its own';
  if (sleep?.isItsSignal) return 'a host that nothing but its sleep state shows';
  if (sleep !== null && rails.length + resets.length > 1)
    return 'a host that switches itself off beside other rails or resets';
  if (buttons.length > 0 && latched) return 'a power button beside a latch';
  if (buttons.some(({ isOptional }) => isOptional)) return 'a power button of a part that may be absent';
  if (rails.some(({ isLogOnly }) => isLogOnly)) return 'a rail of which a failure is only told';
  if (pgood.rails.length > 0 && pgood.hasSignals) return 'pgood that is taken from rails and from signals';
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

function nothingTried(faults: number): Report {
  return {
    verdict: 'notFinished',
    parts: null,
    absent: null,
    notTried: null,
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
