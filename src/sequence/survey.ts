import { type Plan, placeOf, type RailPlan } from './plan.ts';
import type { RailState, SequenceState } from './state.ts';

/**
 * What is known of all rails at once. An event changes few rails, and many conditions are of all of them: what those ask for is
 * worked out once for a table of rails, and for one that differs from it in one rail by that rail alone. So an event of a board
 * of many rails costs what it costs on one of few.
 */
export interface Survey {
  readonly plan: Plan;
  /** In the order of the plan. */
  readonly states: readonly RailState[];
  /** Places in the plan of rails that `isRestless` tells. */
  readonly restless: readonly number[];
  /** Places of rails that `isReadyToCome` tells. */
  readonly ready: readonly number[];
  readonly notUp: number;
  /** Of rails that the chassis cannot do without. */
  readonly notGood: number;
  /** Of rails with an enable. */
  readonly notEnabled: number;
}

type Rails = SequenceState['rails'];

/** Nothing in it but what the table and the plan say. */
const surveys = new WeakMap<Rails, Survey>();

export function surveyOf(plan: Plan, rails: Rails): Survey {
  const known = surveys.get(rails);
  if (known?.plan === plan) return known;
  const survey = surveyed(plan, rails);
  surveys.set(rails, survey);
  return survey;
}

/** The same table with another state of one rail. */
export function withState(plan: Plan, rails: Rails, name: string, state: RailState): Rails {
  const changed = { ...rails, [name]: state };
  const known = surveys.get(rails);
  if (known?.plan === plan) surveys.set(changed, resurveyed(known, name, state));
  return changed;
}

/** Of a survey: every event asks for them a dozen times. */
const restlessOf = new WeakMap<Survey, readonly RailPlan[]>();

/** Rails that time or a level of their own may change, or of which something is wrong; in the order of the plan. */
export function restlessRails(plan: Plan, rails: Rails): readonly RailPlan[] {
  const survey = surveyOf(plan, rails);
  let restless = restlessOf.get(survey);
  if (restless === undefined) {
    restless = survey.restless.map((place) => railAt(plan, place));
    restlessOf.set(survey, restless);
  }
  return restless;
}

/** The first rail of the plan that has an enable and is down while all that it hangs on is up and good; null where none is. */
export function firstToCome(plan: Plan, rails: Rails): RailPlan | null {
  const [place] = surveyOf(plan, rails).ready;
  return place === undefined ? null : railAt(plan, place);
}

/** Rails of which the two tables have not the same state; in the order of the plan. */
export function changedRails(plan: Plan, before: Rails, after: Rails): RailPlan[] {
  if (before === after) return [];
  const { states: old } = surveyOf(plan, before);
  const { states } = surveyOf(plan, after);
  const changed: RailPlan[] = [];
  // Of all rails, after every event: nothing is made of those that are as they were.
  for (let place = 0; place < states.length; place += 1) {
    if (states[place] !== old[place]) changed.push(railAt(plan, place));
  }
  return changed;
}

/** What has to be good for a rail to come: what it needs, and what powers that which switches or shows it. */
export function supplyOf({ needs, poweredBy }: RailPlan): readonly string[] {
  return poweredBy.length === 0 ? needs : [...new Set([...needs, ...poweredBy])];
}

function railAt({ rails }: Plan, place: number): RailPlan {
  const rail = rails[place];
  if (!rail) throw new RangeError(`there is no rail ${place} in the plan`);
  return rail;
}

/** A rail that is up and good, and one that is down, wait for nothing; but a follower comes when what it needs is up. */
function isRestless({ watched }: RailPlan, { phase, good, deadlineMs, missed }: RailState): boolean {
  const rests = phase === 'down' ? watched !== 'follower' : phase === 'up' && (good || missed !== undefined);
  return !rests || deadlineMs !== null;
}

/** What hangs on it may come. */
export function isUp({ phase, good }: RailState): boolean {
  return phase === 'up' && good;
}

function areUp(rails: readonly string[], stateOf: (name: string) => RailState): boolean {
  return rails.every((name) => isUp(stateOf(name)));
}

function isReadyToCome(rail: RailPlan, state: RailState, stateOf: (name: string) => RailState): boolean {
  if (rail.watched !== null || state.phase !== 'down') return false;
  return areUp(supplyOf(rail), stateOf);
}

function surveyed(plan: Plan, rails: Rails): Survey {
  const stateOf = (name: string): RailState => {
    const state = rails[name];
    if (!state) throw new RangeError(`rail ${name} is not in the sequence`);
    return state;
  };
  const states = plan.rails.map(({ name }) => stateOf(name));
  const placesOf = (isMeant: (rail: RailPlan, state: RailState) => boolean) =>
    plan.rails.flatMap((rail, place) => (isMeant(rail, stateOf(rail.name)) ? [place] : []));
  return {
    plan,
    states,
    restless: placesOf(isRestless),
    ready: placesOf((rail, state) => isReadyToCome(rail, state, stateOf)),
    notUp: states.filter(({ phase }) => phase !== 'up').length,
    notGood: placesOf((rail, state) => isBad(rail, state)).length,
    notEnabled: states.filter((state) => isDisabled(state)).length,
  };
}

function isBad({ isLogOnly }: RailPlan, { good }: RailState): boolean {
  return !good && !isLogOnly;
}

/** A rail that is only watched has no enable. */
function isDisabled({ watched, enabled }: RailState): boolean {
  return watched === undefined && !enabled;
}

function resurveyed(known: Survey, name: string, state: RailState): Survey {
  const { plan } = known;
  const place = placeOf(plan, name);
  const before = place === undefined ? undefined : known.states[place];
  if (place === undefined || before === undefined) throw new RangeError(`rail ${name} is not in the plan`);
  const states = known.states.slice();
  states[place] = state;
  const stateOf = (other: string): RailState => {
    const found = states[placeOf(plan, other) ?? -1];
    if (!found) throw new RangeError(`rail ${other} is not in the sequence`);
    return found;
  };
  const rail = railAt(plan, place);
  const restless = withMember(known.restless, place, isRestless(rail, state));
  let ready = withMember(known.ready, place, isReadyToCome(rail, state, stateOf));
  if (isUp(before) !== isUp(state)) {
    for (const other of suppliedBy(plan, name)) {
      const isReady = isReadyToCome(railAt(plan, other), stateOf(railAt(plan, other).name), stateOf);
      ready = withMember(ready, other, isReady);
    }
  }
  const one = (is: boolean) => (is ? 1 : 0);
  return {
    plan,
    states,
    restless,
    ready,
    notUp: known.notUp + one(state.phase !== 'up') - one(before.phase !== 'up'),
    notGood: known.notGood + one(isBad(rail, state)) - one(isBad(rail, before)),
    notEnabled: known.notEnabled + one(isDisabled(state)) - one(isDisabled(before)),
  };
}

/** The sorted list with the place in it, or without. */
function withMember(places: readonly number[], place: number, isIn: boolean): readonly number[] {
  const at = places.findIndex((each) => each >= place);
  const isThere = at >= 0 && places[at] === place;
  if (isThere === isIn) return places;
  if (!isIn) return places.filter((each) => each !== place);
  return at < 0 ? [...places, place] : [...places.slice(0, at), place, ...places.slice(at)];
}

/** By rail: the places of those that it supplies. */
const supplies = new WeakMap<Plan, ReadonlyMap<string, readonly number[]>>();

function suppliedBy(plan: Plan, name: string): readonly number[] {
  let supplied = supplies.get(plan);
  if (supplied === undefined) {
    const found = new Map<string, number[]>();
    plan.rails.forEach((rail, place) => {
      for (const other of supplyOf(rail)) found.set(other, [...(found.get(other) ?? []), place]);
    });
    supplied = found;
    supplies.set(plan, supplied);
  }
  return supplied.get(name) ?? [];
}
