import type { Plan, RailPlan } from '../sequence/plan.ts';
import type { Observation } from '../sequence/state.ts';

/**
 * The chassis below the machine, as far as the machine can tell: a level for each signal, which comes when it likes within
 * the times of the board, and after a fault whenever it likes. Nothing here knows what the machine believes.
 */

/** Of a signal: a rail, pgood or a reset. */
export const BIT = {
  /**
   * Of a rail: its enable, as the BMC drove it; never of one that is only watched; behind a power button: its host is on. Of a
   * reset: it is released.
   */
  driven: 1,
  /** Electrically; of what a device switches or shows that has no power, not. */
  good: 2,
  /** It broke: its level changes when it likes, as often as it likes. */
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
  input: 256,
  /** Of a power button: its line is asserted. */
  pressed: 512,
  /** Of a host: a press that is over has asked it for its other state, which may come yet, at any time, or never. */
  asked: 1024,
  /** Of that press, and of what has come of it, no process knows; until one finds the host on, or presses for that. */
  forgotten: 2048,
  /** Of a host: it changed last by itself, or late, and not in a press that was waited for. */
  alone: 4096,
  /** Of a host: its change raised no interrupt. */
  unheard: 8192,
  /** Of a host: it came on before its power had gone from the last time. */
  early: 16384,
} as const;

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
  /** This process saw the host go to sleep by itself while all its power stood. */
  leaving: 64,
} as const;

export interface LateAnswer {
  readonly index: number;
  readonly good: boolean;
  readonly ageMs: number;
  /** The level has changed since it was asked for, and perhaps back. */
  readonly isOutrun: boolean;
}

export interface Plant {
  /** Rails in the order of the plan, pgood, resets in the order of the plan, enables of absent rails. */
  readonly signals: Uint16Array;
  /** How long a healthy rail, or pgood last, may take at most for its next change; -1 where none is owed. */
  readonly dueMs: readonly number[];
  /** For how long a rail that is enabled, or pgood last, has not been good; at most the de-glitch time. */
  readonly lowMs: readonly number[];
  /**
   * Of a rail that rests: how long ago it was last good, as long as that is less than it rests; -1 where it is good, or has rested.
   * Empty where no rail of the board does.
   */
  readonly restMs: readonly number[];
  readonly mode: number;
  readonly marks: number;
  /** Faults that may still happen. */
  readonly left: number;
  readonly awaited: LateAnswer | null;
}

/** @param isRising how long a level has been low is judged only while power comes or stands */
export function keyOfPlant(
  { signals, dueMs, lowMs, restMs, mode, marks, left, awaited }: Plant,
  isRising: boolean,
): string {
  const late =
    awaited === null ? '' : `${awaited.index},${awaited.good},${awaited.ageMs},${awaited.isOutrun}`;
  return `${String.fromCharCode(...signals, mode, marks, left)}${dueMs.join()};${isRising ? lowMs.join() : ''};${restMs.join()};${late}`;
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
    restMs: plant.restMs.slice(),
  };
}

/** The rules of a board's plant. */
export interface PlantRules {
  readonly plan: Plan;
  readonly railCount: number;
  /** Index of pgood; rails come before it, resets after. */
  readonly pgood: number;
  /** Index of the first absent rail that has an enable; such come last. */
  readonly firstAbsent: number;
  /** Index of the rail with a power button, which switches its host; -1 where none has. */
  readonly host: number;
  /** By rail: absent ones that need it, itself or through others. */
  readonly absentBehind: readonly (readonly number[])[];
  readonly needsOf: readonly (readonly number[])[];
  /** What is off before it is: what needs it, and what the board has go off first. */
  readonly offBeforeOf: readonly (readonly number[])[];
  /** Longer than every time of the board. */
  readonly longMs: number;
  indexOf(rail: string): number;
  nameOf(index: number): string;
  isObservable(index: number): boolean;
  /** The rail has its voltage without the chassis being on. */
  isSupply(index: number): boolean;
  initial(left: number): Plant;
  has(plant: Plant, index: number, bit: number): boolean;
  /** The enable stands, by its pin or by the latch; of a rail that is only watched, those that it hangs on. */
  isOn(plant: Plant, index: number): boolean;
  /** The device that switches it has no power, and no need to be told that it is off. */
  isDeaf(plant: Plant, index: number): boolean;
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
  /** The power button is pressed, or let go. */
  press(draft: Draft, isPressed: boolean): void;
  /**
   * The host is on now where it was off, or off.
   * @param isAlone by itself
   * @param owes what it switches has its time from now on, and not from the end of a press
   */
  turnHost(draft: Draft, isAlone: boolean, owes: boolean): void;
  /** A press is over: what it has switched has its time from now on. */
  endPress(draft: Draft): void;
  /** The host would have to turn before a long time is over: its button is pressed by nobody who is there. */
  isOverridden(plant: Plant): boolean;
  isSupplied(plant: Plant, index: number): boolean;
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

/** Absent rails that need the rail, itself or through others, be these there or not. */
function absentBehind({ rails, absent }: Plan, rail: string): string[] {
  const behind = new Set([rail]);
  for (let count = 0; count !== behind.size; ) {
    count = behind.size;
    for (const { name, needs } of [...rails, ...absent])
      if (needs.some((need) => behind.has(need))) behind.add(name);
  }
  return absent.flatMap(({ name }) => (behind.has(name) ? [name] : []));
}

/** A transfer has a deadline: an answer may be older than all times of a rail, and no older than this many of them. */
const LATEST_ANSWER_TIMES = 2;

export class PlantModel implements PlantRules {
  readonly plan: Plan;
  private readonly rails: readonly RailPlan[];
  private readonly resets: readonly { readonly name: string; readonly releaseDelayMs: number }[];
  readonly railCount: number;
  readonly pgood: number;
  readonly firstAbsent: number;
  readonly host: number;
  readonly absentBehind: number[][];
  private readonly names: string[];
  /** Absent rails that have an enable. */
  private readonly absent: string[];
  readonly needsOf: number[][];
  readonly offBeforeOf: number[][];
  /** Rails that need it themselves. */
  private readonly dependentsOf: number[][];
  /** Of a rail that is only watched: the enables that it goes with. */
  private readonly switchesOf: number[][];
  /** Rails that pgood is taken from; none where it is a signal of its own. */
  private readonly pgoodRails: readonly number[];
  private readonly all: number[];
  /** Rails with an enable. */
  private readonly switched: number[];
  private readonly longestRailMs: number;
  private readonly times: number[];
  readonly longMs: number;

  constructor(plan: Plan) {
    this.plan = plan;
    this.rails = this.plan.rails;
    this.resets = this.plan.resets;
    this.railCount = this.rails.length;
    this.pgood = this.railCount;
    this.firstAbsent = this.railCount + 1 + this.resets.length;
    this.host = this.rails.findIndex(({ pulsed }) => pulsed !== null);
    this.names = this.rails.map(({ name }) => name);
    this.absent = this.plan.absent.flatMap(({ name, watched }) => (watched === null ? [name] : []));
    this.absentBehind = this.names.map((name) =>
      absentBehind(this.plan, name).flatMap((other) => {
        const at = this.absent.indexOf(other);
        return at < 0 ? [] : [this.firstAbsent + at];
      }),
    );
    this.needsOf = this.rails.map(({ needs, poweredBy }) =>
      [...new Set([...needs, ...poweredBy])].map(this.indexOf),
    );
    this.offBeforeOf = this.rails.map(({ neededBy, offAfter }) =>
      [...neededBy, ...offAfter].map(this.indexOf),
    );
    this.dependentsOf = this.names.map((name) =>
      this.rails.flatMap(({ needs }, index) => (needs.includes(name) ? [index] : [])),
    );
    this.switchesOf = this.names.map((name) =>
      this.rails.flatMap(({ followers }, index) => (followers.includes(name) ? [index] : [])),
    );
    this.pgoodRails = this.plan.pgood.rails.map(this.indexOf);
    this.all = this.names.map((_, index) => index);
    this.switched = this.all.filter((index) => !this.isWatched(index));
    this.longestRailMs = Math.max(...this.rails.map(({ onTimeoutMs }) => onTimeoutMs));
    this.times = [
      ...this.rails.flatMap(({ settleMs, onTimeoutMs, offTimeoutMs, offSettleMs }) => [
        settleMs,
        onTimeoutMs,
        offTimeoutMs,
        offSettleMs,
      ]),
      this.plan.pgood.deglitchMs,
      this.plan.pgood.onTimeoutMs,
      this.plan.pgood.offTimeoutMs,
      this.plan.minOffMs,
      ...this.resets.map(({ releaseDelayMs }) => releaseDelayMs),
    ];
    this.longMs = 2 * Math.max(...this.times);
  }

  readonly indexOf = (rail: string) => {
    const absent = this.absent.indexOf(rail);
    return absent < 0 ? this.names.indexOf(rail) : this.firstAbsent + absent;
  };

  private readonly planOf = (index: number): RailPlan => {
    const rail = this.rails[index];
    if (rail === undefined) throw new RangeError(`there is no rail ${index}`);
    return rail;
  };

  readonly has = (plant: Plant, index: number, bit: number) => ((plant.signals[index] ?? 0) & bit) !== 0;

  private readonly set = (draft: Draft, index: number, bit: number, on: boolean) => {
    const signal = draft.signals[index] ?? 0;
    draft.signals[index] = on ? signal | bit : signal & ~bit;
  };

  private readonly isWatched = (index: number) => this.planOf(index).watched !== null;

  readonly isSupply = (index: number) => index < this.railCount && this.planOf(index).watched === 'supply';

  readonly isOn = (plant: Plant, index: number): boolean => {
    if (index < this.railCount && this.isWatched(index))
      return (this.switchesOf[index] ?? []).every((other) => this.isOn(plant, other));
    return this.has(plant, index, this.has(plant, index, BIT.input) ? BIT.held : BIT.driven);
  };

  private readonly areGood = (plant: Plant, rails: readonly string[]) =>
    rails.every((rail) => this.isGood(plant, this.indexOf(rail)));

  readonly isDeaf = (plant: Plant, index: number) =>
    index < this.railCount && !this.areGood(plant, this.planOf(index).switchedBy);

  /** Without power its device neither switches the rail nor shows it. */
  private readonly isWithout = (plant: Plant, index: number) =>
    this.isDeaf(plant, index) || (index < this.railCount && !this.areGood(plant, this.planOf(index).seenBy));

  private readonly isGood = (plant: Plant, index: number) => this.has(plant, index, BIT.good);

  readonly isSupplied = (plant: Plant, index: number): boolean =>
    (this.needsOf[index] ?? []).every((need) => this.isGood(plant, need));

  private readonly isWild = (plant: Plant, index: number) => this.has(plant, index, BIT.wild);

  private readonly allGood = (plant: Plant) => this.all.every((index) => this.isGood(plant, index));

  private readonly isOwed = (plant: Plant, index: number): boolean => {
    if ((plant.dueMs[index] ?? -1) < 0 || this.isWild(plant, index)) return false;
    if (index === this.pgood) {
      if (this.isGood(plant, this.pgood))
        return (
          !this.allGood(plant) &&
          !this.all.some((rail) => this.isWild(plant, rail) && this.isGood(plant, rail))
        );
      return this.all.every(
        (rail) => this.isOn(plant, rail) && (this.isGood(plant, rail) || this.isOwed(plant, rail)),
      );
    }
    return this.isGood(plant, index)
      ? !this.isOn(plant, index)
      : this.isOn(plant, index) && this.isSupplied(plant, index);
  };

  private readonly setGood = (draft: Draft, index: number, good: boolean) => {
    this.set(draft, index, BIT.good, good);
    this.set(draft, index, BIT.missed, false);
    if (index !== this.pgood || good) draft.dueMs[index] = -1;
    draft.lowMs[index] = 0;
    if (index < draft.restMs.length && this.planOf(index).offSettleMs > 0)
      draft.restMs[index] = good ? -1 : 0;
    if (draft.awaited?.index === index) draft.awaited = { ...draft.awaited, isOutrun: true };
  };

  /** What nobody can see is good with its enable. */
  private readonly settleUnseen = (draft: Draft) => {
    for (const [index, { observable }] of this.rails.entries()) {
      if (observable || this.isWild(draft, index)) continue;
      const good = this.isOn(draft, index) && this.isSupplied(draft, index);
      if (good !== this.isGood(draft, index)) this.setGood(draft, index, good);
    }
  };

  /** What nobody switches comes with what it needs, and goes with an enable that it hangs on. */
  private readonly settleWatched = (draft: Draft) => {
    for (const [index, { watched, onTimeoutMs, offTimeoutMs }] of this.rails.entries()) {
      if (watched === null || this.isWild(draft, index)) continue;
      const on = this.isOn(draft, index);
      const good = this.isGood(draft, index);
      const owes = on ? !good && this.isSupplied(draft, index) : good;
      if (!owes) draft.dueMs[index] = -1;
      else if ((draft.dueMs[index] ?? -1) < 0) draft.dueMs[index] = on ? onTimeoutMs : offTimeoutMs;
    }
  };

  /** pgood that is taken from rails is what they are. */
  private readonly takePgood = (draft: Draft) => {
    if (!this.isPgoodTaken) return;
    const good = this.pgoodRails.every((index) => this.isGood(draft, index));
    if (good !== this.isGood(draft, this.pgood)) this.setGood(draft, this.pgood, good);
    draft.dueMs[this.pgood] = -1;
  };

  private get isPgoodTaken(): boolean {
    return this.pgoodRails.length > 0;
  }

  /** How long a low level has stood is of interest only of what should be high. */
  private readonly settleLow = (draft: Draft) => {
    for (const index of [...this.all, this.pgood]) {
      const isMissing =
        index === this.pgood ? this.all.every((rail) => this.isOn(draft, rail)) : this.isOn(draft, index);
      if (!isMissing || this.isGood(draft, index)) draft.lowMs[index] = -1;
      else if ((draft.lowMs[index] ?? -1) < 0) draft.lowMs[index] = 0;
    }
  };

  /** pgood that is low owes nothing before all rails are on, and then from that moment on. */
  private readonly settlePgood = (draft: Draft) => {
    const isOver = !this.isGood(draft, this.pgood) && !this.all.every((rail) => this.isOn(draft, rail));
    if (isOver || this.isWild(draft, this.pgood)) draft.dueMs[this.pgood] = -1;
  };

  /** A device that has lost its power comes back with its outputs off. */
  private readonly settleDevices = (draft: Draft) => {
    // In the order of the plan: one may power the next one.
    for (const index of this.all) {
      if (this.isWithout(draft, index) && this.isGood(draft, index)) this.setGood(draft, index, false);
      if (!this.isDeaf(draft, index) || !this.has(draft, index, BIT.driven)) continue;
      this.set(draft, index, BIT.driven, false);
      this.set(draft, index, BIT.refused, false);
      this.owe(draft, index, false);
    }
  };

  private readonly settle = (draft: Draft) => {
    this.settleDevices(draft);
    this.settleUnseen(draft);
    this.settleWatched(draft);
    this.takePgood(draft);
    this.settleLow(draft);
    this.settlePgood(draft);
  };

  /** A rail that was switched owes its level, and pgood what it makes of the whole. */
  private readonly owe = (draft: Draft, index: number, on: boolean) => {
    const { onTimeoutMs, offTimeoutMs } = this.planOf(index);
    if (on !== this.isGood(draft, index)) draft.dueMs[index] = on ? onTimeoutMs : offTimeoutMs;
    else draft.dueMs[index] = -1;
    const isLast = this.switched.every((rail) => this.isOn(draft, rail) === on);
    // It may still stand from before, and go yet.
    if (isLast && (on || this.isGood(draft, this.pgood)))
      draft.dueMs[this.pgood] = on ? this.plan.pgood.onTimeoutMs : this.plan.pgood.offTimeoutMs;
    else draft.dueMs[this.pgood] = -1;
  };

  readonly lateIn = (plant: Plant, ms: number) =>
    [...this.all, this.pgood].filter((index) => this.isOwed(plant, index) && (plant.dueMs[index] ?? 0) <= ms);

  readonly nameOf = (index: number): string =>
    index === this.pgood
      ? 'pgood'
      : (this.names[index] ??
        this.resets[index - this.pgood - 1]?.name ??
        this.absent[index - this.firstAbsent] ??
        String(index));

  readonly isObservable = (index: number): boolean => index === this.pgood || this.planOf(index).observable;

  /** Off for long, with what supplies the chassis good. The enables of what is absent were left on. */
  readonly initial = (left: number): Plant => ({
    signals: Uint16Array.from({ length: this.firstAbsent + this.absent.length }, (_, index) =>
      this.isSupply(index) ? BIT.good : index >= this.firstAbsent ? BIT.driven : 0,
    ),
    dueMs: Array.from({ length: this.railCount + 1 }, () => -1),
    lowMs: Array.from({ length: this.railCount + 1 }, () => -1),
    restMs: this.rails.some(({ offSettleMs }) => offSettleMs > 0) ? this.all.map(() => -1) : [],
    mode: MODE.running,
    marks: 0,
    left,
    awaited: null,
  });

  readonly isWhole = (plant: Plant): boolean =>
    this.all.every((rail) => this.isOn(plant, rail)) &&
    this.allGood(plant) &&
    this.isGood(plant, this.pgood) &&
    this.resets.every((_, index) => this.has(plant, this.pgood + 1 + index, BIT.driven));

  readonly isDead = (plant: Plant): boolean =>
    !this.all.some((rail) => !this.isSupply(rail) && (this.isOn(plant, rail) || this.isGood(plant, rail))) &&
    !this.isGood(plant, this.pgood);

  movable(plant: Plant, waitMs: number): number[] {
    return [...this.all, this.pgood].filter((index) => {
      if (this.isWithout(plant, index)) return false;
      if (this.isWild(plant, index)) return true;
      if (index === this.pgood)
        return (
          !this.isPgoodTaken &&
          this.isGood(plant, this.pgood) !==
            (this.allGood(plant) && this.all.every((rail) => this.isOn(plant, rail)))
        );
      if (!this.planOf(index).observable) return false;
      // What hangs on a rail that is lost goes with it, or stays.
      const { onTimeoutMs, offTimeoutMs } = this.planOf(index);
      const dueMs = plant.dueMs[index] ?? -1;
      const isInBetween = dueMs > waitMs && dueMs !== (this.isOn(plant, index) ? onTimeoutMs : offTimeoutMs);
      if (isInBetween && this.isOwed(plant, index)) return false;
      return this.isGood(plant, index)
        ? !this.isOn(plant, index)
        : this.isOn(plant, index) && this.isSupplied(plant, index);
    });
  }

  move(draft: Draft, index: number): void {
    this.setGood(draft, index, !this.isGood(draft, index));
    this.settle(draft);
  }

  hangingOn(plant: Plant, index: number): number[] {
    const found = new Set<number>();
    const follow = (of: number) => {
      for (const other of this.dependentsOf[of] ?? []) {
        if (found.has(other) || !this.isGood(plant, other) || this.isWild(plant, other)) continue;
        found.add(other);
        follow(other);
      }
    };
    if (index < this.railCount) follow(index);
    return [...found];
  }

  drop(draft: Draft, indices: readonly number[]): void {
    for (const index of indices) if (this.isGood(draft, index)) this.setGood(draft, index, false);
    this.settle(draft);
  }

  drive(draft: Draft, index: number, on: boolean): void {
    this.set(draft, index, BIT.refused, false);
    const wasOn = index < this.railCount && this.isOn(draft, index);
    this.set(draft, index, BIT.driven, on);
    this.set(draft, index, BIT.input, false);
    if (index >= this.railCount || this.isOn(draft, index) === wasOn) return;
    this.owe(draft, index, on);
    this.settle(draft);
  }

  pulse(draft: Draft): void {
    const wereOn = this.switched.map((index) => this.isOn(draft, index));
    for (const index of this.switched) this.set(draft, index, BIT.held, this.has(draft, index, BIT.driven));
    draft.marks &= ~MARK.latchRefused;
    for (const [at, index] of this.switched.entries()) {
      const wasOn = wereOn[at] ?? false;
      if (this.isOn(draft, index) !== wasOn) this.owe(draft, index, !wasOn);
    }
    this.settle(draft);
  }

  press(draft: Draft, isPressed: boolean): void {
    this.set(draft, this.host, BIT.pressed, isPressed);
    if (isPressed) this.set(draft, this.host, BIT.alone | BIT.early, false);
    if (isPressed && this.isBeforeItsPower(draft)) this.set(draft, this.host, BIT.early, true);
    if (isPressed && !this.has(draft, this.host, BIT.driven))
      this.set(draft, this.host, BIT.forgotten, false);
  }

  /** The host is off, and what it switches stands from before, which may go yet. */
  private readonly isBeforeItsPower = (plant: Plant): boolean =>
    !this.has(plant, this.host, BIT.driven) &&
    (this.isGood(plant, this.host) || this.isGood(plant, this.pgood));

  turnHost(draft: Draft, isAlone: boolean, owes: boolean): void {
    const { host } = this;
    const isOn = !this.has(draft, host, BIT.driven);
    const isEarly = this.isBeforeItsPower(draft);
    this.set(draft, host, BIT.driven, isOn);
    for (const bit of [BIT.asked, BIT.unheard]) this.set(draft, host, bit, false);
    this.set(draft, host, BIT.alone, isAlone);
    if (isEarly) this.set(draft, host, BIT.early, true);
    if (owes) this.owe(draft, host, isOn);
    this.settle(draft);
  }

  endPress(draft: Draft): void {
    const { host } = this;
    this.press(draft, false);
    this.set(draft, host, BIT.asked, false);
    this.owe(draft, host, this.has(draft, host, BIT.driven));
    this.settle(draft);
  }

  readonly isOverridden = (plant: Plant): boolean =>
    this.host >= 0 &&
    this.has(plant, this.host, BIT.pressed) &&
    this.has(plant, this.host, BIT.driven) &&
    !this.has(plant, this.host, BIT.stuck);

  readonly mayBreak = (plant: Plant, index: number): boolean =>
    !this.isWild(plant, index) &&
    !this.isWithout(plant, index) &&
    (index === this.pgood ? !this.isPgoodTaken : this.planOf(index).observable);

  letGo(draft: Draft): void {
    for (const index of this.switched) {
      const wasOn = this.isOn(draft, index);
      this.set(draft, index, BIT.driven, false);
      this.set(draft, index, BIT.input, true);
      if (this.isOn(draft, index) !== wasOn) this.owe(draft, index, !wasOn);
    }
    this.settle(draft);
  }

  breakSignal(draft: Draft, index: number): void {
    draft.signals[index] = (draft.signals[index] ?? 0) | BIT.wild;
    draft.dueMs[index] = -1;
  }

  readonly mayPass = (plant: Plant, ms: number): boolean =>
    this.lateIn(plant, ms).length === 0 &&
    (plant.awaited === null || plant.awaited.ageMs + ms <= LATEST_ANSWER_TIMES * this.longestRailMs);

  pass(draft: Draft, ms: number): void {
    for (const index of [...this.all, this.pgood]) {
      const due = draft.dueMs[index] ?? -1;
      const isKept =
        this.isOwed(draft, index) ||
        (index === this.pgood &&
          due > ms &&
          !(this.allGood(draft) && this.all.every((rail) => this.isOn(draft, rail))));
      draft.dueMs[index] = isKept ? due - ms : -1;
      const low = draft.lowMs[index] ?? -1;
      if (low >= 0) draft.lowMs[index] = Math.min(this.plan.pgood.deglitchMs, low + ms);
      this.set(draft, index, BIT.excused, false);
    }
    draft.restMs.forEach((rested, index) => {
      if (rested >= 0) draft.restMs[index] = rested + ms < this.planOf(index).offSettleMs ? rested + ms : -1;
    });
    if (draft.awaited !== null) draft.awaited = { ...draft.awaited, ageMs: draft.awaited.ageMs + ms };
  }

  observe(plant: Plant): Observation {
    const without = (signal: 'enable' | 'good', rail: string, powers: readonly string[]) => {
      const off = powers.find((power) => !this.isGood(plant, this.indexOf(power)));
      return off === undefined ? [] : [{ signal, rail, poweredBy: off }];
    };
    const unpowered = this.rails.flatMap(({ name, switchedBy, seenBy }) => [
      ...without('enable', name, switchedBy),
      ...without('good', name, seenBy),
    ]);
    return {
      rails: Object.fromEntries(
        this.rails.map((rail, index) => {
          const isGood = this.isGood(plant, index);
          // What has no enable is as enabled as it is good.
          if (rail.watched !== null) return [rail.name, { enabled: isGood, good: isGood }];
          const enabled = this.has(plant, index, BIT.driven);
          return [rail.name, { enabled, good: rail.observable ? isGood : enabled }];
        }),
      ),
      pgood: this.isGood(plant, this.pgood),
      resetsAsserted: Object.fromEntries(
        this.resets.map(({ name }, index) => [name, !this.has(plant, this.pgood + 1 + index, BIT.driven)]),
      ),
      ...(unpowered.length > 0 && { unpowered }),
    };
  }
}
