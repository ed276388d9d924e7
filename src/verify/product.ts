import type { Drive, Request, SequenceAction } from '../sequence/events.ts';
import type { Plan } from '../sequence/plan.ts';
import type { Source } from '../sequence/readings.ts';
import { hasTag, type Observation, type State } from '../sequence/state.ts';
import type { Happened, Struck } from './happened.ts';
import {
  judgeAbsent,
  judgeEnable,
  judgeEnd,
  judgeEntered,
  judgeFault,
  judgeRelease,
  judgeRequest,
  judgeTakenUp,
  type Violation,
} from './invariants.ts';
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

/** The machine and the chassis below it, together with what the process between them is up to. */
export interface Product {
  readonly situation: Situation;
  readonly plant: Plant;
}

export function keyOfProduct({ situation, plant }: Product): string {
  const isRising = !hasTag(situation.state, 'lowering') && !hasTag(situation.state, 'atRest');
  return `${situation.id}:${keyOfPlant(plant, isRising)}`;
}

/** One thing that may happen next. */
export interface Move {
  readonly happened: Happened;
  /** It happens by itself, with nothing asked and nothing breaking: what a state that must not wait for ever waits for. */
  readonly isProgress: boolean;
  readonly product: Product;
  readonly violations: readonly Violation[];
}

/** What happens to one of the drives of an event. */
interface Twist {
  readonly kind: Struck['kind'];
  /** Which drive, counted from 0. */
  readonly at: number;
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
  private readonly plan: Plan;
  private readonly situations: Situations;
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

  private readonly awaitedOf = ({ awaited }: Plant): Awaited | null =>
    awaited === null ? null : { source: this.sourceOf(awaited.index), ageMs: awaited.ageMs };

  private readonly knownGood = ({ sequence }: Situation, index: number) =>
    index === this.pgood ? sequence.pgood.level : (sequence.rails[this.rules.nameOf(index)]?.good ?? false);

  private readonly levelOf = (index: number, good: boolean, ageMs = 0): Told => {
    const source = this.sourceOf(index);
    const answer = { good, ageMs };
    return source === null
      ? { type: 'PGOOD_LEVEL', ...answer }
      : { type: 'RAIL_LEVEL', rail: source, ...answer };
  };

  private readonly driveOf = (
    action: SequenceAction,
  ): { what: Drive; asserted: boolean; index: number } | null => {
    switch (action.type) {
      case 'driveEnable': {
        const { rail, asserted } = action;
        return { what: { what: 'enable', rail }, asserted, index: this.rules.indexOf(rail) };
      }
      case 'driveReset': {
        const index = this.pgood + 1 + this.plan.resets.findIndex(({ name }) => name === action.reset);
        return { what: { what: 'reset', reset: action.reset }, asserted: action.asserted, index };
      }
      case 'pulseLatch':
        return { what: { what: 'latch' }, asserted: true, index: -1 };
      default:
        return null;
    }
  };

  /** Something of the hardware is broken, so that a fault may be told. */
  private readonly isBroken = ({ signals, marks }: Plant) =>
    (marks & MARK.latchRefused) !== 0 ||
    signals.some(
      (signal, index) =>
        // What is absent and cannot be driven fails nothing.
        index < this.rules.firstAbsent && (signal & (BIT.wild | BIT.stuck | BIT.refused)) !== 0,
    );

  /** Nothing is told of what is absent. */
  private readonly driveAbsent = (
    draft: Draft,
    { asserted, index }: NonNullable<ReturnType<typeof this.driveOf>>,
    twist: Twist['kind'] | null,
  ): void => {
    const before = draft.signals[index] ?? 0;
    const signal = twist === 'sticks' ? before | BIT.stuck : before;
    const isHeld = (signal & BIT.stuck) !== 0 && ((signal & BIT.driven) !== 0) !== asserted;
    if (twist === 'fails' || isHeld) draft.signals[index] = signal | BIT.refused;
    else draft.signals[index] = (signal & BIT.stuck) | (asserted ? BIT.driven : 0);
  };

  /** Carries out one drive. Returns what is told of it; null where nothing is. */
  private readonly carryOut = (
    draft: Draft,
    { what, asserted, index }: NonNullable<ReturnType<typeof this.driveOf>>,
    twist: Twist['kind'] | null,
  ): Told | null => {
    if (index >= 0 && twist === 'sticks') draft.signals[index] = (draft.signals[index] ?? 0) | BIT.stuck;
    // Of a reset the other way round: driven is released.
    const on = what.what === 'reset' ? !asserted : asserted;
    const isHeld =
      index >= 0 &&
      this.rules.has(draft, index, BIT.stuck) &&
      this.rules.has(draft, index, BIT.driven) !== on;
    if (twist === 'fails' || isHeld) {
      if (index < 0) draft.marks |= MARK.latchRefused;
      else draft.signals[index] = (draft.signals[index] ?? 0) | BIT.refused;
      const failure = { code: 'GPIO_NOT_FOLLOWED', reason: 'the line does not follow' };
      return { type: 'DRIVE_FAILED', drive: what, asserted, readBack: isHeld, ...failure };
    }
    if (index < 0) {
      this.rules.pulse(draft);
      return { type: 'LATCHED' };
    }
    this.rules.drive(draft, index, on);
    return what.what === 'enable' ? { type: 'DRIVEN', rail: what.rail, asserted } : null;
  };

  /**
   * Another one releases what waits for the host, at any moment from now on. That it does so at once is the worst: as long as it has
   * not, there is only less that may be wrong.
   */
  private readonly releaseHeld = (
    draft: Draft,
    say: (invariant: Violation['invariant'], what: string) => void,
  ) => {
    this.plan.resets.forEach(({ isHeld }, at) => {
      const index = this.pgood + 1 + at;
      if (!isHeld || this.rules.has(draft, index, BIT.stuck)) return;
      judgeRelease(this.rules, draft, index, say);
      this.rules.drive(draft, index, true);
    });
  };

  /** One event with all that follows from it, as the runner carries it out. */
  private readonly run = (
    before: Product,
    first: Told,
    afterMs: number,
    twist: Twist | null,
    prepare: (draft: Draft) => void = () => undefined,
  ) => {
    const draft = draftOf(before.plant);
    prepare(draft);
    draft.marks &= ~MARK.taken;
    if (twist !== null) draft.left -= 1;
    const violations: Violation[] = [];
    const say = (invariant: Violation['invariant'], what: string) => violations.push({ invariant, what });
    const answers: Extract<SequenceAction, { type: 'answer' }>[] = [];
    let { situation } = before;
    /** An event may pass straight through some of them. */
    let { state } = situation;
    let drives = 0;
    let struck: Struck | null = null;
    let hasFailed = first.type === 'READ_FAILED';
    const isLoss = () => situation.sequence.fault?.state === 'pgood';
    const pending: Told[] = [first];
    for (let told = pending.shift(), ms = afterMs; told !== undefined; told = pending.shift(), ms = 0) {
      const stepped = this.situations.step(situation, told, ms, this.awaitedOf(draft));
      situation = stepped.situation;
      for (const action of stepped.actions) {
        const drive = this.driveOf(action);
        if (drive !== null) {
          const strikes = twist?.at === drives;
          drives += 1;
          if (strikes) struck = { kind: twist.kind, drive: drive.what, asserted: drive.asserted };
          if (strikes && twist.kind === 'killed') {
            draft.mode = MODE.dead;
            draft.awaited = null;
            return { product: { situation, plant: draft }, violations, drives, struck };
          }
          if (drive.index >= this.rules.firstAbsent) {
            judgeAbsent(this.rules, drive.index, drive.asserted, say);
            this.driveAbsent(draft, drive, strikes ? twist.kind : null);
            continue;
          }
          if (drive.what.what === 'enable')
            judgeEnable(this.rules, draft, state, drive.index, drive.asserted, isLoss(), say);
          if (drive.what.what === 'reset' && !drive.asserted)
            judgeRelease(this.rules, draft, drive.index, say);
          const outcome = this.carryOut(draft, drive, strikes ? twist.kind : null);
          if (outcome !== null) pending.push(outcome);
          const failed = outcome?.type === 'DRIVE_FAILED';
          hasFailed ||= failed;
          // Power that is coming up comes no further once a line failed.
          if (failed && hasTag(situation.state, 'rising')) break;
        } else if (action.type === 'raiseFault') {
          judgeFault(this.rules, draft, situation, action.fault, hasFailed || this.isBroken(draft), say);
          draft.marks |= MARK.told;
        } else if (action.type === 'answer') {
          answers.push(action);
          const isAnew =
            action.outcome === 'changed' || (action.request === 'POWER_OFF' && situation.state === 'failed');
          if (isAnew) draft.marks &= ~(MARK.told | MARK.contradiction);
        } else if (action.type === 'entered') {
          state = action.state;
          if (state === 'pgood') this.releaseHeld(draft, say);
          const isFailing = pending.some(({ type }) => type === 'DRIVE_FAILED');
          judgeEntered(this.rules, draft, situation, action.state, isFailing, say);
        }
      }
    }
    const product = { situation, plant: draft };
    judgeEnd(this.rules, before.situation, draft, situation, say);
    if (REQUESTS.includes(first.type as Request)) {
      judgeRequest(this.rules, before, product, first.type, answers, say);
      // What is taken up waits for the first look at the clock.
      const isUnchanged = answers[0]?.outcome !== 'changed';
      if (isUnchanged && (before.plant.marks & MARK.taken) !== 0) draft.marks |= MARK.taken;
    }
    return { product, violations, drives, struck };
  };

  /** An event, and the same with each fault that its drives may meet. */
  private readonly withTwists = (
    moves: Move[],
    happened: Extract<Happened, { readonly struck?: Struck }>,
    isProgress: boolean,
    play: (twist: Twist | null) => ReturnType<typeof this.run>,
    left: number,
  ): void => {
    const { product, violations, drives } = play(null);
    moves.push({ happened, isProgress, product, violations });
    if (left === 0) return;
    for (let at = 0; at < drives; at += 1) {
      for (const kind of ['fails', 'sticks', 'killed'] as const) {
        const { struck, ...twisted } = play({ kind, at });
        moves.push({
          happened: struck === null ? happened : { ...happened, struck },
          isProgress: false,
          product: twisted.product,
          violations: twisted.violations,
        });
      }
    }
  };

  private readonly changed = ({ situation, plant }: Product, change: (draft: Draft) => void): Product => {
    const draft = draftOf(plant);
    change(draft);
    return { situation, plant: draft };
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
    const product_ = { situation: situationThen, plant: late.plant };
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
    const kill = (draft: Draft) => {
      draft.mode = MODE.dead;
      draft.awaited = null;
    };
    free({ what: 'killed', forgets: false }, kill);
    free({ what: 'killed', forgets: true }, (draft) => {
      kill(draft);
      draft.marks |= MARK.hintless;
    });
    if (!this.plan.latched) return;
    free({ what: 'newBmc' }, (draft) => {
      kill(draft);
      draft.marks |= MARK.hintless;
      this.rules.letGo(draft);
    });
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
    return { situation: this.situations.of(this.machine.takeUp(this.plan, found), null), plant };
  };
}
