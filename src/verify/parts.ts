import { downBefore, type Plan, type RailPlan } from '../sequence/plan.ts';

/** A board as some of its rails see it where all others are ideal. */
export interface Part {
  readonly plan: Plan;
  /** The rails that are not ideal. */
  readonly chosen: readonly string[];
  /** How many choices of so many rails of the board it stands for. */
  readonly choices: number;
}

/** A board of so many rails ends as a whole in less than a minute, by the number of faults. */
const WHOLE_RAILS = [8, 8, 3];
/** About how many states a part has, by the number of its rails that are not ideal. A second fault makes some 25 of each. */
const STATES_OF = [1, 4_000, 12_000, 30_000] as const;
const SECOND_FAULT = 25;
/** What ends in about a minute. */
const MOST_STATES = 1_500_000;

/** How many rails at a time can be tried in about a minute: all, or three, two or one. The plan has ranks for its times. */
export function railsAtOnceFor(plan: Plan, faults: number): number {
  const count = plan.rails.length;
  if (count <= (WHOLE_RAILS[faults] ?? 1)) return count;
  const states = (atOnce: 2 | 3) =>
    partsOf(plan, atOnce).length * STATES_OF[atOnce] * (faults > 1 ? SECOND_FAULT : 1);
  return ([3, 2] as const).find((atOnce) => states(atOnce) <= MOST_STATES) ?? 1;
}

/** The parts of every choice of so many rails; those that differ in nothing but the names of their rails are one. */
export function partsOf(plan: Plan, count: number): Part[] {
  const parts = new Map<string, Part>();
  for (const rails of choicesOf(plan.rails, count)) {
    const chosen = rails.map(({ name }) => name);
    const part = partOf(plan, new Set(chosen));
    const key = nameless(part);
    const known = parts.get(key) ?? { plan: part, chosen, choices: 0 };
    parts.set(key, { ...known, choices: known.choices + 1 });
  }
  return [...parts.values()];
}

/**
 * The plan as the chosen rails see it where every other one is ideal: it is good exactly while it is enabled and all that it needs
 * is good, and settles at once and never rests. Such a rail has no signal to the machine. Of those that need the same chosen rails, and that the
 * same chosen rails need, itself or through others, and so on the way down, one stands for all: they are switched at one moment.
 */
export function partOf(plan: Plan, chosen: ReadonlySet<string>): Plan {
  const kept = keptWith(plan, chosen);
  const needsOf = new Map([...plan.rails, ...plan.absent].map((rail) => [rail.name, supplyOf(rail)]));
  /** Of what is kept: what is not is passed through. */
  const behind = (names: readonly string[]): string[] => [
    ...new Set(names.flatMap((name) => (kept.has(name) ? [name] : behind(needsOf.get(name) ?? [])))),
  ];
  const ideal = {
    settleMs: 0,
    onTimeoutMs: 1,
    offTimeoutMs: 1,
    offSettleMs: 0,
    observable: false,
    poweredBy: [],
    switchedBy: [],
    seenBy: [],
    isSetUp: false,
  };
  const offBefore = new Map(plan.rails.map((rail) => [rail.name, downBefore(rail)]));
  const goneBefore = (name: string): string[] => [
    ...new Set(
      (offBefore.get(name) ?? []).flatMap((other) => (kept.has(other) ? [other] : goneBefore(other))),
    ),
  ];
  const rails = plan.rails
    .filter(({ name }) => kept.has(name))
    .map((rail) => {
      const needs = behind(supplyOf(rail));
      if (!chosen.has(rail.name)) return { ...rail, ...ideal, needs };
      const [poweredBy, switchedBy, seenBy] = [rail.poweredBy, rail.switchedBy, rail.seenBy].map(behind);
      return { ...rail, needs, ...{ poweredBy, switchedBy, seenBy } } as RailPlan;
    });
  const hanging = hangingIn(rails);
  const whole = rails.map((rail) => {
    const on = hanging.get(rail.name) ?? [];
    const isSwitched = ({ watched }: RailPlan) => watched === null;
    const namesOf = (some: readonly RailPlan[]) => some.map(({ name }) => name);
    const neededBy = namesOf(on.filter(isSwitched));
    return {
      ...rail,
      neededBy,
      offAfter: goneBefore(rail.name).filter((other) => !neededBy.includes(other)),
      followers: namesOf(on.filter((other) => !isSwitched(other))),
    };
  });
  const pgood = { ...plan.pgood, rails: plan.pgood.rails.filter((name) => kept.has(name)) };
  const absent = plan.absent.map((rail) => ({ ...rail, needs: behind(supplyOf(rail)) }));
  return { ...plan, rails: inOrder(whole, chosen), pgood, absent };
}

/** By rail with an enable: what hangs on it, with no other enable in between. */
function hangingIn(rails: readonly RailPlan[]): ReadonlyMap<string, readonly RailPlan[]> {
  const found = new Map<string, RailPlan[]>();
  const follow = (name: string, on: RailPlan[]): RailPlan[] => {
    for (const other of rails) {
      if (!other.needs.includes(name) || on.includes(other)) continue;
      on.push(other);
      if (other.watched !== null) follow(other.name, on);
    }
    return on;
  };
  for (const { name, watched } of rails) if (watched === null) found.set(name, follow(name, []));
  return found;
}

function supplyOf({ needs, poweredBy }: RailPlan): string[] {
  return [...needs, ...poweredBy];
}

/** The chosen rails, and of the others that have an enable the first of each kind: an ideal one that has none is as good as what it needs. */
function keptWith(plan: Plan, chosen: ReadonlySet<string>): Set<string> {
  const before = new Map<string, ReadonlySet<string>>();
  for (const rail of plan.rails)
    before.set(rail.name, new Set(supplyOf(rail).flatMap((need) => [need, ...(before.get(need) ?? [])])));
  const isBefore = (name: string, other: string) => before.get(other)?.has(name) ?? false;
  const goneBefore = new Map<string, ReadonlySet<string>>();
  for (const rail of plan.rails.toReversed())
    goneBefore.set(
      rail.name,
      new Set(downBefore(rail).flatMap((first) => [first, ...(goneBefore.get(first) ?? [])])),
    );
  const isGoneBefore = (name: string, other: string) => goneBefore.get(other)?.has(name) ?? false;
  const firstOf = new Map<string, string>();
  for (const { name, watched } of plan.rails) {
    if (watched !== null && !chosen.has(name)) continue;
    const sides = [...chosen].map((other) => [
      isBefore(other, name),
      isBefore(name, other),
      isGoneBefore(other, name),
      isGoneBefore(name, other),
    ]);
    const kind = chosen.has(name) ? name : JSON.stringify(sides);
    if (!firstOf.has(kind)) firstOf.set(kind, name);
  }
  return new Set(firstOf.values());
}

/**
 * The chosen rails in their order, each behind the ideal ones that it needs and those that go off after it, and the other ideal ones last: parts that are alike
 * are so in the order of their rails as well.
 */
function inOrder(rails: readonly RailPlan[], chosen: ReadonlySet<string>): RailPlan[] {
  const placed: RailPlan[] = [];
  const place = (rail: RailPlan): void => {
    if (placed.includes(rail)) return;
    for (const other of rails) {
      if (rail.needs.includes(other.name) || other.offAfter.includes(rail.name)) place(other);
    }
    placed.push(rail);
  };
  for (const rail of rails) if (chosen.has(rail.name)) place(rail);
  const rest = rails.filter((rail) => !placed.includes(rail));
  const placeOf = new Map(placed.map(({ name }, index) => [name, String(index).padStart(3, '0')]));
  const kindOf = ({ needs }: RailPlan) =>
    needs
      .map((name) => placeOf.get(name) ?? '')
      .sort()
      .join();
  for (const rail of rest.sort((one, other) => kindOf(one).localeCompare(kindOf(other)))) place(rail);
  return placed;
}

/** Nothing that the machine or the chassis does depends on what a rail is called. */
function nameless({ rails, absent }: Plan): string {
  const indexOf = new Map(rails.map(({ name }, index) => [name, index]));
  const named = (key: string, value: unknown) => {
    if (key === 'name') return undefined;
    return typeof value === 'string' ? (indexOf.get(value) ?? value) : value;
  };
  return JSON.stringify([rails, absent], named);
}

function choicesOf(rails: readonly RailPlan[], count: number): RailPlan[][] {
  if (count === 0) return [[]];
  return rails.flatMap((rail, index) =>
    choicesOf(rails.slice(index + 1), count - 1).map((rest) => [rail, ...rest]),
  );
}
