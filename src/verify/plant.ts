import type { Plan, RailPlan } from '../sequence/plan.ts';
import type { Observation } from '../sequence/state.ts';

/**
 * The chassis below the machine, as far as the machine can tell: a level for each signal, which comes when it likes within
 * the times of the board, and after a fault whenever it likes. Nothing here knows what the machine believes.
 */

/** Of a signal: a rail, pgood or a reset. */
export const BIT = {
  /** Of a rail: its enable, as the BMC drove it. Of a reset: it is released. */
  driven: 1,
  /** Electrically. */
  good: 2,
  /** It broke: its level changes when it likes, `WILD_CHANGES` times. */
  wild: 4,
  /** Whatever drives it, it stays. */
  stuck: 8,
  /** Its change raised no interrupt. */
  missed: 16,
  /** What the latch holds. */
  held: 32,
  /** It could not be driven. */
  refused: 64,
  /** It changed after the answer that counts had been asked for. */
  excused: 128,
  /** Of a rail: the BMC does not drive it, and only the latch keeps it. */
  input: 4096,
} as const;
/** How often the level of a signal that broke may still change is kept from this bit on. */
const CHANGES_SHIFT = 8;
const CHANGES = 3 << CHANGES_SHIFT;
/** It drops and comes back; or it comes too late, and goes. */
const WILD_CHANGES = 2;

export const MODE = { running: 0, asleep: 1, dead: 2 } as const;

/** What is remembered of the past that the plant does not show. */
export const MARK = {
  /** The process has just found the chassis as it is, and drives nothing before it is asked to. */
  taken: 1,
  /** A fault of this attempt was told. */
  told: 2,
  /** Lines contradicted each other when the process found them. */
  contradiction: 4,
  /** The latch could not be pulsed. */
  latchRefused: 16,
  /** The process before left no state. */
  hintless: 32,
  /** The process was handed the state that it is in by the one before, in the best of cases. */
  handed: 64,
} as const;

export interface LateAnswer {
  readonly index: number;
  readonly good: boolean;
  readonly ageMs: number;
}

export interface Plant {
  /** Rails in the order of the plan, pgood, resets in the order of the plan. */
  readonly signals: Uint16Array;
  /** How long a healthy rail, or pgood last, may take at most for its next change; -1 where none is owed. */
  readonly dueMs: readonly number[];
  /** For how long a rail that is enabled, or pgood last, has not been good; at most the de-glitch time. */
  readonly lowMs: readonly number[];
  readonly mode: number;
  readonly marks: number;
  /** Faults that may still happen. */
  readonly left: number;
  readonly awaited: LateAnswer | null;
}

/** @param isRising how long a level has been low is judged only while power comes or stands */
export function keyOfPlant(
  { signals, dueMs, lowMs, mode, marks, left, awaited }: Plant,
  isRising: boolean,
): string {
  const late = awaited === null ? '' : `${awaited.index},${awaited.good},${awaited.ageMs}`;
  return `${String.fromCharCode(...signals, mode, marks, left)}${dueMs.join()};${isRising ? lowMs.join() : ''};${late}`;
}

/** A plant that is being changed. */
export type Draft = {
  -readonly [K in keyof Plant]: Plant[K] extends readonly number[] ? number[] : Plant[K];
};

export function draftOf(plant: Plant): Draft {
  return {
    ...plant,
    signals: plant.signals.slice(),
    dueMs: plant.dueMs.slice(),
    lowMs: plant.lowMs.slice(),
  };
}

/** The rules of a board's plant. */
export interface PlantRules {
  readonly plan: Plan;
  readonly railCount: number;
  /** Index of pgood; rails come before it, resets after. */
  readonly pgood: number;
  readonly needsOf: readonly (readonly number[])[];
  readonly neededByOf: readonly (readonly number[])[];
  /** Longer than every time of the board. */
  readonly longMs: number;
  indexOf(rail: string): number;
  nameOf(index: number): string;
  isObservable(index: number): boolean;
  initial(left: number): Plant;
  has(plant: Plant, index: number, bit: number): boolean;
  /** The enable stands, by its pin or by the latch. */
  isOn(plant: Plant, index: number): boolean;
  isWhole(plant: Plant): boolean;
  isDead(plant: Plant): boolean;
  /**
   * Signals whose level may change now, without a fault or, of those that broke, at will. A healthy rail changes at once,
   * or at the last moment before its time is over.
   */
  movable(plant: Plant, waitMs: number): number[];
  move(draft: Draft, index: number): void;
  /** What a rail takes with it when it drops: what is good and needs it, itself or through others. */
  hangingOn(plant: Plant, index: number): number[];
  drop(draft: Draft, indices: readonly number[]): void;
  drive(draft: Draft, index: number, on: boolean): void;
  pulse(draft: Draft): void;
  /** The BMC starts anew: it drives no enable, and only what the latch holds stands. */
  letGo(draft: Draft): void;
  /** Its level may change by a fault alone. */
  mayBreak(plant: Plant, index: number): boolean;
  breakSignal(draft: Draft, index: number): void;
  /** The signals that owe their level before so much time has passed. */
  lateIn(plant: Plant, ms: number): number[];
  mayPass(plant: Plant, ms: number): boolean;
  pass(draft: Draft, ms: number): void;
  observe(plant: Plant): Observation;
}

/** A transfer has a deadline: an answer may be older than all times of a rail, and no older than this many of them. */
const LATEST_ANSWER_TIMES = 2;

export function createPlantRules(plan: Plan): PlantRules {
  const { rails, resets } = plan;
  const railCount = rails.length;
  const pgood = railCount;
  const names = rails.map(({ name }) => name);
  const indexOf = (rail: string) => names.indexOf(rail);
  const needsOf = rails.map(({ needs, poweredBy }) => [...new Set([...needs, ...poweredBy])].map(indexOf));
  const neededByOf = rails.map(({ neededBy }) => neededBy.map(indexOf));
  const planOf = (index: number): RailPlan => {
    const rail = rails[index];
    if (rail === undefined) throw new RangeError(`there is no rail ${index}`);
    return rail;
  };
  const has = (plant: Plant, index: number, bit: number) => ((plant.signals[index] ?? 0) & bit) !== 0;
  const set = (draft: Draft, index: number, bit: number, on: boolean) => {
    const signal = draft.signals[index] ?? 0;
    draft.signals[index] = on ? signal | bit : signal & ~bit;
  };
  const isOn = (plant: Plant, index: number) =>
    has(plant, index, has(plant, index, BIT.input) ? BIT.held : BIT.driven);
  const all = names.map((_, index) => index);
  const isGood = (plant: Plant, index: number) => has(plant, index, BIT.good);
  const isSupplied = (plant: Plant, index: number) =>
    (needsOf[index] ?? []).every((need) => isGood(plant, need));
  const isWild = (plant: Plant, index: number) => has(plant, index, BIT.wild);
  const allGood = (plant: Plant) => all.every((index) => isGood(plant, index));
  const isOwed = (plant: Plant, index: number): boolean => {
    if ((plant.dueMs[index] ?? -1) < 0 || isWild(plant, index)) return false;
    if (index === pgood) {
      if (isGood(plant, pgood))
        return !allGood(plant) && !all.some((rail) => isWild(plant, rail) && isGood(plant, rail));
      return all.every((rail) => isOn(plant, rail) && (isGood(plant, rail) || isOwed(plant, rail)));
    }
    return isGood(plant, index) ? !isOn(plant, index) : isOn(plant, index) && isSupplied(plant, index);
  };
  const setGood = (draft: Draft, index: number, good: boolean) => {
    set(draft, index, BIT.good, good);
    set(draft, index, BIT.missed, false);
    if (index !== pgood || good) draft.dueMs[index] = -1;
    draft.lowMs[index] = 0;
  };
  /** What nobody can see is good with its enable. */
  const settleUnseen = (draft: Draft) => {
    for (const [index, { observable }] of rails.entries()) {
      if (observable || isWild(draft, index)) continue;
      const good = isOn(draft, index) && isSupplied(draft, index);
      if (good !== isGood(draft, index)) setGood(draft, index, good);
    }
  };
  /** How long a low level has stood is of interest only of what should be high. */
  const settleLow = (draft: Draft) => {
    for (const index of [...all, pgood]) {
      const isMissing = index === pgood ? all.every((rail) => isOn(draft, rail)) : isOn(draft, index);
      if (!isMissing || isGood(draft, index)) draft.lowMs[index] = -1;
      else if ((draft.lowMs[index] ?? -1) < 0) draft.lowMs[index] = 0;
    }
  };
  const settle = (draft: Draft) => {
    settleUnseen(draft);
    settleLow(draft);
  };
  /** A rail that was switched owes its level, and pgood what it makes of the whole. */
  const owe = (draft: Draft, index: number, on: boolean) => {
    const { onTimeoutMs, offTimeoutMs } = planOf(index);
    if (on !== isGood(draft, index)) draft.dueMs[index] = on ? onTimeoutMs : offTimeoutMs;
    else draft.dueMs[index] = -1;
    const isLast = all.every((rail) => isOn(draft, rail) === on);
    // It may still stand from before, and go yet.
    if (isLast && (on || isGood(draft, pgood)))
      draft.dueMs[pgood] = on ? plan.pgood.onTimeoutMs : plan.pgood.offTimeoutMs;
    else draft.dueMs[pgood] = -1;
  };
  const lateIn = (plant: Plant, ms: number) =>
    [...all, pgood].filter((index) => isOwed(plant, index) && (plant.dueMs[index] ?? 0) <= ms);
  const longestRailMs = Math.max(...rails.map(({ onTimeoutMs }) => onTimeoutMs));
  const times = [
    ...rails.flatMap(({ settleMs, onTimeoutMs, offTimeoutMs }) => [settleMs, onTimeoutMs, offTimeoutMs]),
    plan.pgood.deglitchMs,
    plan.pgood.onTimeoutMs,
    plan.pgood.offTimeoutMs,
    plan.minOffMs,
    ...resets.map(({ releaseDelayMs }) => releaseDelayMs),
  ];

  return {
    plan,
    railCount,
    pgood,
    needsOf,
    neededByOf,
    longMs: 2 * Math.max(...times),
    indexOf,
    nameOf: (index) =>
      index === pgood ? 'pgood' : (names[index] ?? resets[index - pgood - 1]?.name ?? String(index)),
    isObservable: (index) => index === pgood || planOf(index).observable,
    initial: (left) => ({
      signals: new Uint16Array(railCount + 1 + resets.length),
      dueMs: Array.from({ length: railCount + 1 }, () => -1),
      lowMs: Array.from({ length: railCount + 1 }, () => -1),
      mode: MODE.running,
      marks: 0,
      left,
      awaited: null,
    }),
    has,
    isOn,
    isWhole: (plant) =>
      all.every((rail) => isOn(plant, rail)) &&
      allGood(plant) &&
      isGood(plant, pgood) &&
      resets.every((_, index) => has(plant, pgood + 1 + index, BIT.driven)),
    isDead: (plant) => !all.some((rail) => isOn(plant, rail) || isGood(plant, rail)) && !isGood(plant, pgood),

    movable(plant, waitMs) {
      return [...all, pgood].filter((index) => {
        if (isWild(plant, index)) return ((plant.signals[index] ?? 0) & CHANGES) !== 0;
        if (index === pgood)
          return isGood(plant, pgood) !== (allGood(plant) && all.every((rail) => isOn(plant, rail)));
        if (!planOf(index).observable) return false;
        // What hangs on a rail that is lost goes with it, or stays.
        const { onTimeoutMs, offTimeoutMs } = planOf(index);
        const dueMs = plant.dueMs[index] ?? -1;
        const isInBetween = dueMs > waitMs && dueMs !== (isOn(plant, index) ? onTimeoutMs : offTimeoutMs);
        if (isInBetween && isOwed(plant, index)) return false;
        return isGood(plant, index) ? !isOn(plant, index) : isOn(plant, index) && isSupplied(plant, index);
      });
    },
    move(draft, index) {
      setGood(draft, index, !isGood(draft, index));
      if (isWild(draft, index)) draft.signals[index] = (draft.signals[index] ?? 0) - (1 << CHANGES_SHIFT);
      settle(draft);
    },
    hangingOn(plant, index) {
      const found = new Set<number>();
      const follow = (of: number) => {
        for (const other of neededByOf[of] ?? []) {
          if (found.has(other) || !isGood(plant, other) || isWild(plant, other)) continue;
          found.add(other);
          follow(other);
        }
      };
      if (index < railCount) follow(index);
      return [...found];
    },
    drop(draft, indices) {
      for (const index of indices) if (isGood(draft, index)) setGood(draft, index, false);
      settle(draft);
    },
    drive(draft, index, on) {
      set(draft, index, BIT.refused, false);
      const wasOn = index < railCount && isOn(draft, index);
      set(draft, index, BIT.driven, on);
      set(draft, index, BIT.input, false);
      if (index >= railCount || isOn(draft, index) === wasOn) return;
      owe(draft, index, on);
      settle(draft);
    },
    pulse(draft) {
      const wereOn = all.map((index) => isOn(draft, index));
      for (const index of all) set(draft, index, BIT.held, has(draft, index, BIT.driven));
      draft.marks &= ~MARK.latchRefused;
      for (const [index, wasOn] of wereOn.entries()) {
        if (isOn(draft, index) !== wasOn) owe(draft, index, !wasOn);
      }
      settle(draft);
    },
    mayBreak: (plant, index) => !isWild(plant, index) && (index === pgood || planOf(index).observable),
    letGo(draft) {
      for (const index of all) {
        const wasOn = isOn(draft, index);
        set(draft, index, BIT.driven, false);
        set(draft, index, BIT.input, true);
        if (isOn(draft, index) !== wasOn) owe(draft, index, !wasOn);
      }
      settle(draft);
    },
    breakSignal(draft, index) {
      draft.signals[index] = (draft.signals[index] ?? 0) | BIT.wild | (WILD_CHANGES << CHANGES_SHIFT);
      draft.dueMs[index] = -1;
    },
    lateIn,
    mayPass: (plant, ms) =>
      lateIn(plant, ms).length === 0 &&
      (plant.awaited === null || plant.awaited.ageMs + ms <= LATEST_ANSWER_TIMES * longestRailMs),
    pass(draft, ms) {
      for (const index of [...all, pgood]) {
        const due = draft.dueMs[index] ?? -1;
        const isKept =
          isOwed(draft, index) ||
          (index === pgood && due > ms && !(allGood(draft) && all.every((rail) => isOn(draft, rail))));
        draft.dueMs[index] = isKept ? due - ms : -1;
        const low = draft.lowMs[index] ?? -1;
        if (low >= 0) draft.lowMs[index] = Math.min(plan.pgood.deglitchMs, low + ms);
        set(draft, index, BIT.excused, false);
      }
      if (draft.awaited !== null) draft.awaited = { ...draft.awaited, ageMs: draft.awaited.ageMs + ms };
    },
    observe(plant) {
      const isPowered = ({ poweredBy }: RailPlan) => poweredBy.every((rail) => isGood(plant, indexOf(rail)));
      const unpowered = rails.flatMap((rail) => {
        const off = rail.poweredBy.find((power) => !isGood(plant, indexOf(power)));
        const of = { rail: rail.name, poweredBy: off ?? '' };
        return off === undefined
          ? []
          : [
              { signal: 'enable' as const, ...of },
              { signal: 'good' as const, ...of },
            ];
      });
      return {
        rails: Object.fromEntries(
          rails.map((rail, index) => {
            const enabled = isPowered(rail) && has(plant, index, BIT.driven);
            const good = rail.observable ? isPowered(rail) && isGood(plant, index) : enabled;
            return [rail.name, { enabled, good }];
          }),
        ),
        pgood: isGood(plant, pgood),
        resetsAsserted: Object.fromEntries(
          resets.map(({ name }, index) => [name, !has(plant, pgood + 1 + index, BIT.driven)]),
        ),
        ...(unpowered.length > 0 && { unpowered }),
      };
    },
  };
}
