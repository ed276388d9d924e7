import type { Request } from '../sequence/events.ts';
import type { Plan } from '../sequence/plan.ts';
import type { Source } from '../sequence/readings.ts';
import { hasTag, type Observation, type State } from '../sequence/state.ts';
import type { Happened, Struck } from './happened.ts';
import { judgeTakenUp, type Violation } from './invariants.ts';
import type { Machine } from './machine.ts';
import {
  BIT,
  type Draft,
  draftOf,
  keyOfPlant,
  MARK,
  MODE,
  type Plant,
  PlantModel,
  type PlantRules,
} from './plant.ts';
import type { Awaited, Situation, Situations, Told } from './situations.ts';
import { type Driving, type Played, type Product, Turn, type Twist } from './turn.ts';

export function keyOfProduct({ situation, plant, driving }: Product): string {
  const isRising = !hasTag(situation.state, 'lowering') && !hasTag(situation.state, 'atRest');
  const key = `${situation.id}:${keyOfPlant(plant, isRising)}`;
  return driving === null ? key : `${key} ${JSON.stringify(driving)}`;
}

/** One thing that may happen next. */
export interface Move {
  readonly happened: Happened;
  /** It happens by itself, with nothing asked and nothing breaking: what a state that must not wait for ever waits for. */
  readonly isProgress: boolean;
  readonly product: Product;
  readonly violations: readonly Violation[];
}

const REQUESTS: readonly Request[] = ['POWER_ON', 'POWER_OFF', 'CLEAR'];
/** Where one process ends and the next one begins, in the best of cases. */
const HANDED_OVER: readonly State[] = [
  'opWaitPowerOn',
  'opWaitPowerOff',
  'pgood',
  'off',
  'failed',
  'unknown',
];
/** Later than its time, and sooner than any other. */
const LATE_MS = 0.5;

export interface ProductRules {
  readonly plant: PlantRules;
  initial(faults: number): Product;
  movesOf(product: Product): Move[];
}

export class ProductModel implements ProductRules {
  private readonly machine: Machine;
  readonly plan: Plan;
  readonly situations: Situations;
  private readonly rules: PlantRules;
  private readonly pgood: number;
  private readonly observable: number[];
  readonly plant: PlantRules;

  constructor(machine: Machine, plan: Plan, situations: Situations) {
    this.machine = machine;
    this.plan = plan;
    this.situations = situations;
    this.rules = new PlantModel(this.plan);
    this.pgood = this.rules.pgood;
    this.observable = [...this.plan.rails.map((_, index) => index), this.pgood].filter((index) =>
      this.rules.isObservable(index),
    );
    this.plant = this.rules;
  }

  private readonly sourceOf = (index: number): Source =>
    index === this.pgood ? null : this.rules.nameOf(index);

  private readonly indexOf = (source: string | null) =>
    source === null ? this.pgood : this.rules.indexOf(source);

  readonly awaitedOf = ({ awaited }: Plant): Awaited | null =>
    awaited === null ? null : { source: this.sourceOf(awaited.index), ageMs: awaited.ageMs };

  private readonly knownGood = ({ sequence }: Situation, index: number) =>
    index === this.pgood ? sequence.pgood.level : (sequence.rails[this.rules.nameOf(index)]?.good ?? false);

  readonly levelOf = (index: number, good: boolean, ageMs = 0): Told => {
    const source = this.sourceOf(index);
    const answer = { good, ageMs };
    return source === null
      ? { type: 'PGOOD_LEVEL', ...answer }
      : { type: 'RAIL_LEVEL', rail: source, ...answer };
  };

  /** One event with all that follows from it, as the runner carries it out. */
  private readonly run = (
    before: Product,
    first: Told,
    afterMs: number,
    twist: Twist | null,
    prepare: (draft: Draft) => void = () => undefined,
  ): Played => {
    const turn = new Turn(this, before, twist);
    prepare(turn.draft);
    return turn.begin(first, afterMs);
  };

  /** An event, and the same with each fault that its drives may meet. */
  private readonly withTwists = (
    moves: Move[],
    happened: Extract<Happened, { readonly struck?: Struck }>,
    isProgress: boolean,
    play: (twist: Twist | null) => Played,
    left: number,
  ): void => {
    const { product, violations, drives, lasting } = play(null);
    moves.push({ happened, isProgress, product, violations });
    const twisted = (twist: Twist) => {
      const { struck, ...played } = play(twist);
      moves.push({
        happened: struck === null ? happened : { ...happened, struck },
        // That a drive takes its time breaks nothing.
        isProgress: isProgress && twist.kind === 'lasts',
        product: played.product,
        violations: played.violations,
      });
    };
    for (const at of lasting) twisted({ kind: 'lasts', at });
    if (left === 0) return;
    for (let at = 0; at < drives; at += 1) {
      for (const kind of ['fails', 'sticks', 'killed'] as const) twisted({ kind, at });
    }
  };

  private readonly changed = (product: Product, change: (draft: Draft) => void): Product => {
    const draft = draftOf(product.plant);
    change(draft);
    return { ...product, plant: draft };
  };

  private readonly fault = (product: Product, change: (draft: Draft) => void): Product =>
    this.changed(product, (draft) => {
      draft.left -= 1;
      change(draft);
    });

  /** A rail delivers though what switches it is off, or is enabled though a rail that it needs, itself or through others, is not. */
  private readonly isContradictory = ({ rails }: Observation): boolean => {
    const isOff = (index: number) => rails[this.rules.nameOf(index)]?.enabled === false;
    return this.plan.rails.some(({ name, watched, followers, neededBy }, index) => {
      const seen = rails[name];
      if (watched !== null || seen === undefined || !isOff(index)) return false;
      return (
        seen.good ||
        followers.some((other) => rails[other]?.good) ||
        neededBy.some((other) => rails[other]?.enabled)
      );
    });
  };

  private readonly takeUp = ({ situation, plant }: Product, afterMs: number, isForgotten: boolean) => {
    const draft = draftOf(plant);
    if (afterMs > 0) this.rules.pass(draft, afterMs);
    draft.mode = MODE.running;
    draft.awaited = null;
    for (let index = 0; index <= this.pgood; index += 1)
      draft.signals[index] = (draft.signals[index] ?? 0) & ~(BIT.missed | BIT.excused);
    const hint = isForgotten ? null : { state: situation.state, sequence: situation.sequence };
    // Since when a rail is off is known of a power-off alone that goes on.
    if (hint === null || !hasTag(hint.state, 'lowering')) draft.restMs = draft.restMs.map(() => -1);
    const nowMs = situation.sequence.nowMs + afterMs;
    const observation = this.rules.observe(draft);
    const found = this.machine.reconcile(this.plan, observation, hint, nowMs);
    const isContradictory = this.isContradictory(observation);
    draft.marks &= ~(MARK.told | MARK.contradiction | MARK.hintless);
    if (found.sequence.fault !== null) draft.marks |= MARK.told;
    if (isContradictory && found.state === 'unknown') draft.marks |= MARK.contradiction;
    if (hasTag(found.state, 'rising') || hasTag(found.state, 'lowering')) draft.marks |= MARK.taken;
    const violations: Violation[] = [];
    judgeTakenUp(this.rules, draft, hint?.state ?? null, found.state, (invariant, what) =>
      violations.push({ invariant, what }),
    );
    const product = {
      situation: this.situations.of(this.machine.takeUp(this.plan, found), null),
      plant: draft,
      driving: null,
    };
    return { product, violations };
  };

  /** Levels that change, whether a process runs or not. A signal that breaks does so with its first change. */
  private readonly plantMoves = (moves: Move[], product: Product, isSeen: boolean): void => {
    const { plant } = product;
    const waitMs = plant.mode === MODE.running ? product.situation.waitMs : null;
    const movable = this.rules.movable(plant, waitMs ?? this.rules.longMs);
    const change = (index: number, breaks: boolean, taking: readonly number[] = []) => {
      const next = this.changed(product, (draft) => {
        if (breaks) {
          draft.left -= 1;
          this.rules.breakSignal(draft, index);
        }
        this.rules.move(draft, index);
        this.rules.drop(draft, taking);
      });
      const isProgress = isSeen && !breaks && !this.rules.has(plant, index, BIT.wild);
      const happened = {
        what: 'level',
        signal: this.sourceOf(index),
        good: !this.rules.has(plant, index, BIT.good),
        taking: taking.map(this.rules.nameOf),
        breaks,
        missed: false,
      } as const;
      moves.push({ happened, isProgress, product: next, violations: [] });
      if (!isSeen || next.plant.left === 0 || !this.rules.isObservable(index)) return;
      const unseen = this.fault(next, (draft) => {
        draft.signals[index] = (draft.signals[index] ?? 0) | BIT.missed;
      });
      moves.push({
        happened: { ...happened, missed: true },
        isProgress: false,
        product: unseen,
        violations: [],
      });
    };
    for (let index = 0; index <= this.pgood; index += 1) {
      const isBreaking = !movable.includes(index);
      if (isBreaking && (plant.left === 0 || !this.rules.mayBreak(plant, index))) continue;
      change(index, isBreaking);
      const taking = this.rules.has(plant, index, BIT.good) ? this.rules.hangingOn(plant, index) : [];
      if (taking.length > 0) change(index, isBreaking, taking);
    }
  };

  /** Whatever is not in time breaks, so that time may pass. */
  private readonly breakLate = (moves: Move[], product: Product, ms: number): void => {
    if (product.plant.left === 0) return;
    for (const index of this.rules.lateIn(product.plant, ms)) {
      const next = this.fault(product, (draft) => this.rules.breakSignal(draft, index));
      const happened = { what: 'notInTime', signal: this.sourceOf(index) } as const;
      moves.push({ happened, isProgress: false, product: next, violations: [] });
    }
  };

  /** What the process does with what it was told, or was not told yet. */
  private readonly readingMoves = (moves: Move[], product: Product): boolean => {
    const { situation, plant } = product;
    const { left, awaited } = plant;
    const answer = (index: number, how: 'seen' | 'read') =>
      this.withTwists(
        moves,
        { what: 'read', signal: this.sourceOf(index), how },
        true,
        (twist) =>
          this.run(
            product,
            this.levelOf(index, this.rules.has(plant, index, BIT.good)),
            0,
            twist,
            (draft) => {
              draft.signals[index] = (draft.signals[index] ?? 0) & ~(BIT.missed | BIT.excused);
            },
          ),
        left,
      );
    const news = this.newsOf(product);
    for (const index of news) answer(index, 'seen');
    if (news.some((index) => !this.rules.has(plant, index, BIT.missed))) return true;
    const due = situation.due.filter((each) => this.indexOf(each) !== awaited?.index);
    const [source] = due;
    if (source === undefined) return false;
    const index = this.indexOf(source);
    const name = this.rules.nameOf(index);
    answer(index, 'read');
    // Of a chassis that is on, pgood may answer before a rail that went with it.
    if (source !== null && situation.state === 'pgood' && due.includes(null)) answer(this.pgood, 'read');
    if (left === 0) return true;
    const signal = source === null ? ('pgood' as const) : ('good' as const);
    const failed: Told = {
      type: 'READ_FAILED',
      signal,
      rail: source,
      code: 'GPIO_FAILED',
      reason: `${name} cannot be read`,
    };
    const { product: unread, violations } = this.run(product, failed, 0, null, (draft) => {
      draft.left -= 1;
    });
    const happened = { what: 'read', signal: source } as const;
    moves.push({ happened: { ...happened, how: 'fails' }, isProgress: false, product: unread, violations });
    if (awaited !== null) return true;
    const late = this.fault(product, (draft) => {
      draft.awaited = { index, good: this.rules.has(plant, index, BIT.good), ageMs: 0, isOutrun: false };
    });
    const situationThen = this.situations.of(situation.snapshot, this.awaitedOf(late.plant));
    const product_ = { ...late, situation: situationThen };
    moves.push({
      happened: { ...happened, how: 'isLate' },
      isProgress: false,
      product: product_,
      violations: [],
    });
    return true;
  };

  /** Signals that have changed and have not been seen to. Of one whose answer is awaited, that will tell. */
  private readonly newsOf = ({ situation, plant }: Product): number[] =>
    this.observable.filter(
      (index) =>
        plant.awaited?.index !== index &&
        this.knownGood(situation, index) !== this.rules.has(plant, index, BIT.good),
    );

  private readonly excuse = (draft: Draft, index: number): void => {
    draft.signals[index] = (draft.signals[index] ?? 0) | BIT.excused;
  };

  private readonly lateAnswer = (moves: Move[], product: Product): void => {
    const { awaited, left } = product.plant;
    if (awaited === null) return;
    const { index, good, ageMs, isOutrun } = awaited;
    const play = (twist: Twist | null) => {
      const checkMs = product.situation.readings.check?.fromMs;
      const isOfCheck = checkMs === undefined || product.situation.sequence.nowMs - ageMs >= checkMs;
      return this.run(product, this.levelOf(index, good, ageMs), 0, twist, (draft) => {
        draft.awaited = null;
        const isGood = this.rules.has(draft, index, BIT.good);
        if (isGood !== good ? isOfCheck : isOutrun) this.excuse(draft, index);
        // A change whose news is on its way came after the answers that the other signals gave.
        for (const other of this.newsOf(product))
          if (!this.rules.has(draft, other, BIT.missed)) this.excuse(draft, other);
      });
    };
    const happened = { what: 'read', signal: this.sourceOf(index), how: 'lateComes' } as const;
    this.withTwists(moves, happened, true, play, left);
  };

  private readonly timeMoves = (moves: Move[], product: Product): void => {
    const { situation, plant } = product;
    const tick = (ms: number, how: 'passes' | 'long' | 'goesOn') =>
      this.withTwists(
        moves,
        { what: 'time', ms, how },
        true,
        (twist) => this.run(product, { type: 'TICK' }, ms, twist, (draft) => this.rules.pass(draft, ms)),
        plant.left,
      );
    if ((plant.marks & MARK.taken) !== 0) {
      tick(0, 'goesOn');
      return;
    }
    const { waitMs } = situation;
    const isResting = hasTag(situation.state, 'atRest') || situation.state === 'pgood';
    if (waitMs !== null) {
      this.breakLate(moves, product, waitMs);
      if (this.rules.mayPass(plant, waitMs)) tick(waitMs, 'passes');
    } else if (isResting) this.breakLate(moves, product, this.rules.longMs);
    if (waitMs === null && isResting && this.rules.mayPass(plant, this.rules.longMs))
      tick(this.rules.longMs, 'long');
  };

  private readonly processMoves = (moves: Move[], product: Product): void => {
    const { situation, plant } = product;
    if (HANDED_OVER.includes(situation.state) && plant.awaited === null) {
      const next = this.takeUp(product, 0, false);
      moves.push({ happened: { what: 'handedOver' }, isProgress: false, ...next });
    }
    if (plant.left === 0) return;
    const free = (happened: Happened, change: (draft: Draft) => void) =>
      moves.push({ happened, isProgress: false, product: this.fault(product, change), violations: [] });
    free({ what: 'stands' }, (draft) => {
      draft.mode = MODE.asleep;
    });
    this.killings(moves, product);
  };

  private readonly killings = (moves: Move[], product: Product): void => {
    const kill = (
      happened: Happened,
      isForgotten: boolean,
      change: (draft: Draft) => void = () => undefined,
    ) => {
      const killed = this.fault(product, (draft) => {
        draft.mode = MODE.dead;
        draft.awaited = null;
        if (isForgotten) draft.marks |= MARK.hintless;
        change(draft);
      });
      const gone = { ...killed, driving: null };
      moves.push({ happened, isProgress: false, product: gone, violations: [] });
    };
    kill({ what: 'killed', forgets: false }, false);
    kill({ what: 'killed', forgets: true }, true);
    if (this.plan.latched) kill({ what: 'newBmc' }, true, (draft) => this.rules.letGo(draft));
  };

  /** Nothing that is told, and nobody who asks, is heard of before the drive is over. */
  private readonly drivingMoves = (product: Product, driving: Driving): Move[] => {
    const moves: Move[] = [];
    const { situation, plant } = product;
    this.plantMoves(moves, product, false);
    for (const ms of new Set([0, situation.waitMs ?? this.rules.longMs])) {
      this.breakLate(moves, product, ms);
      if (!this.rules.mayPass(plant, ms)) continue;
      for (const fails of plant.left > 0 ? [false, true] : [false]) {
        const turn = new Turn(this, product, null);
        if (ms > 0) this.rules.pass(turn.draft, ms);
        if (fails) turn.draft.left -= 1;
        const { product: next, violations } = turn.endDrive(driving, ms, fails);
        const happened = { what: 'driveEnds', rail: driving.rail, ms, fails } as const;
        moves.push({ happened, isProgress: !fails, product: next, violations });
      }
    }
    if (plant.left > 0) this.killings(moves, product);
    return moves;
  };

  private readonly sleepingMoves = (product: Product): Move[] => {
    const moves: Move[] = [];
    const { situation, plant } = product;
    this.plantMoves(moves, product, false);
    const wake = (told: Told, ms: number, isLong: boolean) => {
      this.breakLate(moves, product, ms);
      if (!this.rules.mayPass(plant, ms)) return;
      const play = (twist: Twist | null) =>
        this.run(product, told, ms, twist, (draft) => {
          this.rules.pass(draft, ms);
          draft.mode = MODE.running;
        });
      this.withTwists(moves, { what: 'wakes', ms, isLong }, false, play, plant.left);
    };
    if (situation.waitMs !== null) wake({ type: 'TICK' }, situation.waitMs + LATE_MS, false);
    wake({ type: 'STALLED', ms: this.rules.longMs }, this.rules.longMs, true);
    return moves;
  };

  private readonly deadMoves = (product: Product): Move[] => {
    const moves: Move[] = [];
    this.plantMoves(moves, product, false);
    const isForgotten = (product.plant.marks & MARK.hintless) !== 0;
    for (const ms of [0, this.rules.longMs]) {
      this.breakLate(moves, product, ms);
      if (!this.rules.mayPass(product.plant, ms)) continue;
      const taken = this.takeUp(product, ms, isForgotten);
      moves.push({ happened: { what: 'restarts', ms }, isProgress: false, ...taken });
    }
    return moves;
  };

  /** A power off goes on where something cannot be read, and is told so after its request. */
  private readonly blindOff = (moves: Move[], found: Pick<Move, 'product' | 'violations'>): void => {
    for (const index of this.observable) {
      const name = this.rules.nameOf(index);
      const asked = this.run(found.product, { type: 'POWER_OFF' }, 0, null);
      const signal = index === this.pgood ? ('pgood' as const) : ('good' as const);
      const failed: Told = {
        type: 'READ_FAILED',
        signal,
        rail: this.sourceOf(index),
        code: 'GPIO_FAILED',
        reason: `${name} cannot be read`,
      };
      const { product, violations } = this.run(asked.product, failed, 0, null, (draft) => {
        draft.left -= 1;
      });
      moves.push({
        happened: { what: 'request', request: 'POWER_OFF', unread: this.sourceOf(index) },
        isProgress: false,
        product,
        violations: [...found.violations, ...asked.violations, ...violations],
      });
    }
  };

  readonly movesOf = (product: Product): Move[] => {
    const { plant } = product;
    if (plant.mode === MODE.asleep) return this.sleepingMoves(product);
    if (plant.mode === MODE.dead) return this.deadMoves(product);
    if (product.driving !== null) return this.drivingMoves(product, product.driving);
    const moves: Move[] = [];
    this.lateAnswer(moves, product);
    // A process acts on what it found before it reads anew.
    const isTaken = (plant.marks & MARK.taken) !== 0;
    if (!isTaken && this.readingMoves(moves, product)) return moves;
    // Of a chassis that rests another process asks, which looks at it first.
    const isAtRest = hasTag(product.situation.state, 'atRest') || product.situation.state === 'pgood';
    const asked = isAtRest ? this.takeUp(product, 0, false) : { product, violations: [] };
    if (isAtRest && plant.left > 0) this.blindOff(moves, asked);
    for (const request of REQUESTS) {
      const play = (twist: Twist | null) => {
        const played = this.run(asked.product, { type: request }, 0, twist);
        return { ...played, violations: [...asked.violations, ...played.violations] };
      };
      this.withTwists(moves, { what: 'request', request }, false, play, plant.left);
    }
    this.timeMoves(moves, product);
    this.plantMoves(moves, product, true);
    this.processMoves(moves, product);
    return moves;
  };

  readonly initial = (faults: number): Product => {
    const plant = this.rules.initial(faults);
    const found = this.machine.reconcile(this.plan, this.rules.observe(plant), null, 1_000_000);
    const situation = this.situations.of(this.machine.takeUp(this.plan, found), null);
    return { situation, plant, driving: null };
  };
}
