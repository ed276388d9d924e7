import { nextOff } from '../board/off-order.ts';
import { railsOfPgood, sourcesOf } from '../board/pgood-sources.ts';
import type { Board, ChassisBoard, RailBoard } from '../board/schema.ts';

/**
 * A rail that is only watched: a follower comes and goes with rails that have an enable; a supply is there without anybody's
 * doing, and stays when the chassis is off.
 */
export type Watched = 'follower' | 'supply';

/** One rail as the sequence sees it: names and times, no lines. */
export interface RailPlan {
  readonly name: string;
  readonly needs: readonly string[];
  /** Rails with an enable that need this one, be it through followers; all of them go down before it. */
  readonly neededBy: readonly string[];
  /** Rails with an enable that the board has go off before it, besides those that need it. */
  readonly offAfter: readonly string[];
  /** Null: it has an enable. */
  readonly watched: Watched | null;
  /** Followers that go with the enable of this one; none has a rail with an enable in between. */
  readonly followers: readonly string[];
  /** Rails without which nobody answers for this one: they power what it is switched, seen or set up by. All of them are needed. */
  readonly poweredBy: readonly string[];
  /** Of these, those that power what it is switched by. */
  readonly switchedBy: readonly string[];
  /** Of these, those that power what it is seen by. */
  readonly seenBy: readonly string[];
  readonly settleMs: number;
  readonly onTimeoutMs: number;
  readonly offTimeoutMs: number;
  /** How long it is off before what goes off after it does. */
  readonly offSettleMs: number;
  /** False: the rail has no signal of its own and counts as good while it is enabled. */
  readonly observable: boolean;
  /**
   * A power button switches it: a press that is over shows nothing, only what came of it, which is seen by a `state` of its
   * own, or not before the rail, or pgood, is `good`. Null: its enable is a level.
   */
  readonly pulsed: 'state' | 'good' | null;
  /** Its device is told voltages before it is enabled, which is part of the drive of its enable. */
  readonly isSetUp: boolean;
  /** Its part may be absent. What needs it is optional as well. */
  readonly isOptional: boolean;
  /** That it does not come, or drops, is told, and nothing else comes of it. Nothing needs it. */
  readonly isLogOnly: boolean;
}

export interface ResetPlan {
  readonly name: string;
  readonly releaseDelayMs: number;
  /** It stays asserted when the chassis is on, and the service releases it when the host shows how far it is. */
  readonly isHeld: boolean;
}

/** The sleep state of the host behind a power button. */
export interface SleepPlan {
  /** The rail of the button. */
  readonly rail: string;
  /** The rail has no other signal: it is good as long as the host does not sleep. */
  readonly isItsSignal: boolean;
}

export interface Plan {
  /** Every rail after all that it needs; otherwise in the order of the board file. */
  readonly rails: readonly RailPlan[];
  readonly pgood: {
    readonly deglitchMs: number;
    readonly onTimeoutMs: number;
    readonly offTimeoutMs: number;
    /** Rails that it is taken from, none where it has signals of its own alone. */
    readonly rails: readonly string[];
    /** It has signals of its own, be it beside those rails. */
    readonly hasSignals: boolean;
    /** Rails without which nobody answers for it: they power what it is seen by. */
    readonly poweredBy: readonly string[];
  };
  readonly resets: readonly ResetPlan[];
  /** How a host tells that it switches itself off; null where nothing tells. */
  readonly sleep: SleepPlan | null;
  /** The board latches its enables: they stand though the BMC's pins went back to inputs. */
  readonly latched: boolean;
  readonly minOffMs: number;
  /** Rails whose part is absent now: they are not among `rails`, and all that is done for them is to drive their enables off. */
  readonly absent: readonly RailPlan[];
}

/** Every event of a sequence asks for rails by their names, of one plan. */
const places = new WeakMap<Plan, ReadonlyMap<string, number>>();

/** Where the rail stands in `plan.rails`; undefined for one that is not there. */
export function placeOf(plan: Plan, name: string): number | undefined {
  let known = places.get(plan);
  if (known === undefined) {
    known = new Map(plan.rails.map((rail, place) => [rail.name, place]));
    places.set(plan, known);
  }
  return known.get(name);
}

/** The rail of that name. Whoever names one has the name from the same plan, so it is there. */
export function railPlan(plan: Plan, name: string): RailPlan {
  const rail = plan.rails[placeOf(plan, name) ?? -1];
  if (!rail) throw new RangeError(`rail ${name} is not in the plan`);
  return rail;
}

/** Rails with an enable that have to be down before it is disabled. */
export function downBefore({ neededBy, offAfter }: RailPlan): readonly string[] {
  return [...neededBy, ...offAfter];
}

/** The plan of a chassis whose `needs` passed the board's cross checks, with the devices of its board. */
export function planOf(chassis: ChassisBoard, devices: Board['devices']): Plan {
  const ordered: string[] = [];
  const place = (name: string): void => {
    if (ordered.includes(name)) return;
    for (const other of nextOff(chassis, name)) place(other);
    ordered.push(name);
  };
  for (const name of Object.keys(chassis.rails)) place(name);
  const isSwitched = (name: string) => chassis.rails[name]?.enable !== undefined;
  /** The rails with an enable that each one needs, itself or through rails that are only watched. */
  const hangsOn = new Map<string, ReadonlySet<string>>();
  for (const name of ordered) {
    const needs = chassis.rails[name]?.needs ?? [];
    hangsOn.set(
      name,
      new Set(needs.flatMap((need) => (isSwitched(need) ? [need] : [...(hangsOn.get(need) ?? [])]))),
    );
  }
  const hangingOn = (name: string) => ordered.filter((other) => hangsOn.get(other)?.has(name));
  const watchedAs = (name: string): Watched | null => {
    if (isSwitched(name)) return null;
    return hangsOn.get(name)?.size === 0 ? 'supply' : 'follower';
  };
  return {
    rails: ordered.flatMap((name) => {
      const rail = chassis.rails[name];
      if (!rail) return [];
      return {
        name,
        needs: rail.needs,
        neededBy: hangingOn(name).filter(isSwitched),
        offAfter: rail.offAfter ?? [],
        watched: watchedAs(name),
        followers: hangingOn(name).filter((other) => !isSwitched(other)),
        poweredBy: powerOf(rail, devices),
        switchedBy: powerOf({ enable: rail.enable }, devices),
        seenBy: powerOf({ good: rail.good }, devices),
        settleMs: rail.settleMs,
        onTimeoutMs: rail.onTimeoutMs,
        offTimeoutMs: rail.offTimeoutMs,
        offSettleMs: rail.offSettleMs ?? 0,
        observable: rail.good !== undefined || pulsedBy(rail) !== null,
        pulsed: pulsedBy(rail),
        isSetUp: rail.setup !== undefined,
        isOptional: rail.presence !== undefined,
        isLogOnly: rail.logOnly !== undefined,
      };
    }),
    pgood: {
      deglitchMs: chassis.pgood.deglitchMs,
      onTimeoutMs: chassis.pgood.onTimeoutMs,
      offTimeoutMs: chassis.pgood.offTimeoutMs,
      rails: railsOfPgood(chassis),
      hasSignals: sourcesOf(chassis.pgood).some(({ source }) => !('rails' in source)),
      poweredBy: powerOfPgood(chassis, devices),
    },
    resets: Object.entries(chassis.resets).map(([name, { releaseDelayMs, heldUntil }]) => ({
      name,
      releaseDelayMs,
      isHeld: heldUntil !== undefined,
    })),
    sleep: sleepOf(chassis),
    latched: chassis.latch !== undefined,
    minOffMs: chassis.minOffMs,
    absent: [],
  };
}

/**
 * The rails that are absent where the parts of some are: with each of these goes what needs it, whatever is seen of that, so
 * that nothing is enabled whose supply is missing.
 */
export function absentIn({ rails }: Plan, isThere: (rail: string) => boolean): string[] {
  const absent = new Set<string>();
  for (const { name, needs, isOptional } of rails) {
    if (isOptional && (!isThere(name) || needs.some((need) => absent.has(need)))) absent.add(name);
  }
  return [...absent];
}

/** The plan of the chassis that is there, without the rails of `absent`. Nothing that stays needs one of them. */
export function planWithout(plan: Plan, absent: readonly string[]): Plan {
  const isThere = (name: string) => !absent.includes(name);
  const { rails, pgood } = plan;
  return {
    ...plan,
    rails: rails
      .filter(({ name }) => isThere(name))
      .map((rail) => ({
        ...rail,
        neededBy: rail.neededBy.filter(isThere),
        offAfter: rail.offAfter.filter(isThere),
        followers: rail.followers.filter(isThere),
      })),
    pgood: {
      ...pgood,
      rails: pgood.rails.filter(isThere),
      poweredBy: pgood.poweredBy.filter(isThere),
    },
    absent: rails.filter(({ name }) => !isThere(name)),
  };
}

function powerOf(
  { enable, good, setup }: { [Part in 'enable' | 'good' | 'setup']?: RailBoard[Part] },
  devices: Board['devices'],
): readonly string[] {
  const rails = [enable, good, setup].flatMap((part) =>
    part && 'pmbus' in part ? (devices[part.pmbus]?.poweredBy ?? []) : [],
  );
  return [...new Set(rails)];
}

function powerOfPgood(chassis: ChassisBoard, devices: Board['devices']): readonly string[] {
  const ofRails = railsOfPgood(chassis).flatMap((name) => {
    const rail = chassis.rails[name];
    return rail === undefined ? [] : powerOf(rail, devices);
  });
  const own = sourcesOf(chassis.pgood).flatMap(({ source }) =>
    'pmbus' in source ? (devices[source.pmbus]?.poweredBy ?? []) : [],
  );
  return [...new Set([...own, ...ofRails])];
}

/** A chassis has one host at most that does (`checkPulses`). */
function sleepOf({ rails }: ChassisBoard): SleepPlan | null {
  for (const [rail, { enable, good }] of Object.entries(rails)) {
    if (enable && 'pulse' in enable && enable.sleepState) return { rail, isItsSignal: good === undefined };
  }
  return null;
}

/** The rail, and all that need it, be it through others. */
export function hangingOn({ rails }: Pick<Plan, 'rails'>, rail: string): ReadonlySet<string> {
  const hanging = new Set([rail]);
  for (const { name, needs } of rails) if (needs.some((need) => hanging.has(need))) hanging.add(name);
  return hanging;
}

/**
 * What a drive that switches the rail on rests on until it is over, be it through others, in the order of the sequence: the drive takes
 * time where a device is set up first, or a button pressed. None where it takes none.
 */
export function needsBehind(plan: Plan, rail: string): readonly string[] {
  const { isSetUp, pulsed } = railPlan(plan, rail);
  if (!isSetUp && pulsed === null) return [];
  return plan.rails.flatMap(({ name }) => (name !== rail && hangingOn(plan, name).has(rail) ? [name] : []));
}

function pulsedBy({ enable }: RailBoard): RailPlan['pulsed'] {
  if (enable === undefined || !('pulse' in enable)) return null;
  return enable.state === undefined ? 'good' : 'state';
}
