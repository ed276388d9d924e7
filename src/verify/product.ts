import type { Request, SleepSeen } from '../sequence/events.ts';
import type { Plan } from '../sequence/plan.ts';
import type { Source } from '../sequence/readings.ts';
import { hasTag, type Observation, type SequenceState, type State } from '../sequence/state.ts';
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
import {
  type Driving,
  mayHavePressed,
  type Played,
  type Pressing,
  type Product,
  Turn,
  type Twist,
} from './turn.ts';

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

/** A press of a host that is on, or off, may still turn it. */
function mayTurn({ asserted, kind, mayCome }: Pressing, isOn: boolean): boolean {
  return isOn ? kind === 'hold' || !asserted : mayCome;
}

export class ProductModel implements ProductRules {
  private readonly machine: Machine;
  readonly plan: Plan;
  readonly situations: Situations;
  private readonly rules: PlantRules;
  private readonly pgood: number;
  private readonly observable: number[];
  readonly plant: PlantRules;
  readonly pressesFor: Machine['pressesFor'];

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
    this.pressesFor = machine.pressesFor;
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
    told: Told,
    afterMs: number,
    twist: Twist | null,
    prepare: (draft: Draft) => void = () => undefined,
  ): Played => {
    const turn = new Turn(this, before, twist);
    prepare(turn.draft);
    const isBadNews = 'good' in told ? !told.good : told.type === 'READ_FAILED';
    // Before a loss is told it is read whether the host has gone to sleep.
    const first = isBadNews ? this.sleepAtLoss(before.situation, turn.draft) : [];
    return turn.begin([...first, told], afterMs);
  };

  private readonly sleepAtLoss = ({ state }: Situation, plant: Plant): Told[] =>
    this.plan.sleep === null || state !== 'pgood'
      ? []
      : [{ type: 'HOST_SLEEP', seen: this.sleepSeen(plant) }];

  private readonly sleepSeen = (plant: Plant): SleepSeen => {
    if (this.rules.has(plant, this.rules.host, BIT.driven)) return 'awake';
    return this.observable.every((index) => this.rules.has(plant, index, BIT.good)) ? 'leaving' : 'asleep';
  };

  /** The host is awake or asleep now, and was not seen so. Whoever watches looks at it first. */
  private readonly sleepNews = ({ situation, plant }: Product): SleepSeen | null => {
    const { state, readings } = situation;
    if (this.plan.sleep === null || state !== 'pgood' || this.rules.has(plant, this.rules.host, BIT.unheard))
      return null;
    const seen = this.sleepSeen(plant);
    return (seen === 'awake') === readings.sleep.isAwake ? null : seen;
  };

  private readonly sleepMoves = (moves: Move[], product: Product, seen: SleepSeen): void => {
    const { left } = product.plant;
    const rail = this.rules.nameOf(this.rules.host);
    const look = (what: SleepSeen, change: (draft: Draft) => void) => {
      const played = this.run(product, { type: 'HOST_SLEEP', seen: what }, 0, null, change);
      const happened = { what: 'sleep', rail, seen: what } as const;
      const isProgress = what === seen;
      moves.push({ happened, isProgress, product: played.product, violations: played.violations });
    };
    look(seen, (draft) => {
      const isAlone = this.rules.has(draft, this.rules.host, BIT.alone);
      if (seen === 'leaving' && isAlone) draft.marks |= MARK.leaving;
      else draft.marks &= ~MARK.leaving;
    });
    // One that cannot be read is looked at once more when power goes.
    if (left > 0 && seen !== 'awake')
      look('unread', (draft) => {
        draft.left -= 1;
        draft.signals[this.rules.host] = (draft.signals[this.rules.host] ?? 0) | BIT.unheard;
      });
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
    if (this.rules.host >= 0) this.letGo(draft, isForgotten ? null : situation.sequence);
    for (let index = 0; index <= this.pgood; index += 1)
      draft.signals[index] = (draft.signals[index] ?? 0) & ~(BIT.missed | BIT.excused);
    const hint = isForgotten ? null : { state: situation.state, sequence: situation.sequence };
    // Since when a rail is off is known of a power-off alone that goes on.
    if (hint === null || !hasTag(hint.state, 'lowering')) draft.restMs = draft.restMs.map(() => -1);
    const nowMs = situation.sequence.nowMs + afterMs;
    const observation = this.rules.observe(draft);
    const found = this.machine.reconcile(this.plan, observation, hint, nowMs);
    const isContradictory = this.isContradictory(observation);
    draft.marks &= ~(MARK.told | MARK.contradiction | MARK.hintless | MARK.leaving);
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

  /**
   * A process that begins lets go of a button that was left pressed. The next one knows of a press from the state that it was left in, and
   * the one after that takes it for one that its state has shown.
   */
  private readonly letGo = (draft: Draft, left: SequenceState | null): void => {
    const { host } = this.rules;
    this.rules.press(draft, false);
    const isOn = this.rules.has(draft, host, BIT.driven);
    const signal = (draft.signals[host] ?? 0) & ~(isOn ? BIT.unheard | BIT.forgotten : BIT.unheard);
    const isKnown = left?.rails[this.rules.nameOf(host)]?.deadlineMs === null;
    const isLost = !isKnown && (signal & BIT.asked) !== 0;
    draft.signals[host] = isLost ? signal | BIT.forgotten : signal;
  };

  /**
   * The host turns by itself: because of a press that is over, because the button of a dead process is still held, because it wants to,
   * or because its power is gone.
   */
  private readonly hostMoves = (moves: Move[], product: Product): void => {
    const { rules } = this;
    const { host } = rules;
    const { plant, situation, driving } = product;
    if (host < 0 || rules.has(plant, host, BIT.stuck)) return;
    const has = (bit: number) => rules.has(plant, host, bit);
    const on = has(BIT.driven);
    const isInPress = driving?.press != null;
    const turn = (
      why: Extract<Happened, { what: 'host' }>['why'],
      faults: number,
      taking: readonly number[] = [],
    ) => {
      const next = this.changed(product, (draft) => {
        draft.left -= faults;
        rules.turnHost(draft, !isInPress && why !== 'power', !isInPress);
        rules.drop(draft, taking);
      });
      const happened = {
        what: 'host',
        rail: rules.nameOf(host),
        on: !on,
        why,
        taking: taking.map(rules.nameOf),
        missed: false,
      } as const;
      moves.push({ happened, isProgress: why === 'press', product: next, violations: [] });
      if (why === 'press' || this.plan.sleep === null || next.plant.left === 0) return;
      const unheard = this.fault(next, (draft) => {
        draft.signals[host] = (draft.signals[host] ?? 0) | BIT.unheard;
      });
      moves.push({
        happened: { ...happened, missed: true },
        isProgress: false,
        product: unheard,
        violations: [],
      });
    };
    if (driving?.press != null) {
      if (mayTurn(driving.press, on) && (on || rules.isSupplied(plant, host))) {
        const turned = moves.length;
        turn('press', 0);
        const move = moves[turned];
        if (move !== undefined && !on)
          moves[turned] = {
            ...move,
            product: {
              ...move.product,
              driving: { ...driving, press: { ...driving.press, mayCome: false } },
            },
          };
      }
      return;
    }
    if (has(BIT.asked) && (on || rules.isSupplied(plant, host))) turn('itself', 0);
    if (rules.isOverridden(plant)) turn('press', 0);
    if (!on || situation.state !== 'pgood') return;
    const isPowered = rules.has(plant, host, BIT.good) && rules.has(plant, this.pgood, BIT.good);
    const cost = this.plan.sleep === null ? 1 : 0;
    if (isPowered && plant.left >= cost) {
      turn('itself', cost);
      if (!rules.has(plant, host, BIT.wild)) turn('itself', cost, [host, ...rules.hangingOn(plant, host)]);
    }
    if (!isPowered && this.plan.sleep !== null) turn('power', 0);
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
        draft.marks &= ~MARK.leaving;
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
    const sleeps = this.sleepNews(product);
    if (sleeps !== null) {
      this.sleepMoves(moves, product, sleeps);
      return true;
    }
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
      draft.marks &= ~MARK.leaving;
    });
    this.killings(moves, product);
  };

  private readonly killings = (moves: Move[], product: Product): void => {
    const press = product.driving?.press ?? null;
    const kill = (
      happened: Happened,
      isForgotten: boolean,
      change: (draft: Draft) => void = () => undefined,
    ) => {
      const killed = this.fault(product, (draft) => {
        draft.mode = MODE.dead;
        draft.awaited = null;
        draft.marks &= ~MARK.leaving;
        if (isForgotten) draft.marks |= MARK.hintless;
        change(draft);
      });
      const gone = { ...killed, driving: null };
      moves.push({ happened, isProgress: false, product: gone, violations: [] });
    };
    const { host } = this.rules;
    const hasTurned = press !== null && !mayTurn(press, this.rules.has(product.plant, host, BIT.driven));
    for (const forgets of [false, true]) {
      if (press === null) {
        kill({ what: 'killed', forgets }, forgets, (draft) => {
          if (mayHavePressed(this.rules, product.driving?.left ?? []))
            draft.signals[host] = (draft.signals[host] ?? 0) | BIT.asked;
        });
        continue;
      }
      // What a short press asks for is waited for with the button let go.
      for (const pressing of press.kind === 'short' ? [true, false] : [true])
        kill({ what: 'killed', forgets, pressing }, forgets, (draft) => {
          this.rules.endPress(draft);
          this.rules.press(draft, pressing);
          if (!hasTurned) draft.signals[host] = (draft.signals[host] ?? 0) | BIT.asked;
        });
    }
    if (this.plan.latched) kill({ what: 'newBmc' }, true, (draft) => this.rules.letGo(draft));
  };

  /** Nothing that is told, and nobody who asks, is heard of before the drive is over. */
  private readonly drivingMoves = (product: Product, driving: Driving): Move[] => {
    const moves: Move[] = [];
    const { situation, plant } = product;
    this.plantMoves(moves, product, false);
    this.hostMoves(moves, product);
    for (const ms of new Set([0, situation.waitMs ?? this.rules.longMs])) {
      this.breakLate(moves, product, ms);
      if (!this.rules.mayPass(plant, ms)) continue;
      if (driving.press === null)
        for (const fails of plant.left > 0 ? [false, true] : [false])
          this.endDriving(moves, product, driving, { ms, fails, isBroken: fails, faults: fails ? 1 : 0 });
      else this.endPressing(moves, product, { ...driving, press: driving.press }, ms);
    }
    if (plant.left > 0) this.killings(moves, product);
    return moves;
  };

  private readonly endDriving = (
    moves: Move[],
    product: Product,
    driving: Driving,
    { ms, fails, isBroken, faults }: Record<'fails' | 'isBroken', boolean> & Record<'ms' | 'faults', number>,
  ): void => {
    const { rail, press } = driving;
    const turn = new Turn(this, product, null);
    if (ms > 0) this.rules.pass(turn.draft, ms);
    turn.draft.left -= faults;
    const { product: next, violations } = turn.endDrive(driving, ms, isBroken);
    const happened = { what: 'driveEnds', rail, ms, fails, ...(press && { press: press.kind }) } as const;
    moves.push({ happened, isProgress: faults === 0, product: next, violations });
  };

  /** A press is over, or the longer one that comes after it begins. */
  private readonly endPressing = (
    moves: Move[],
    product: Product,
    driving: Driving & { readonly press: Pressing },
    ms: number,
  ): void => {
    const { plant } = product;
    const { host } = this.rules;
    const { asserted, kind, next } = driving.press;
    const on = this.rules.has(plant, host, BIT.driven);
    const [longer, ...others] = next;
    const isDone = on === asserted;
    if (isDone) {
      this.endDriving(moves, product, driving, { ms, fails: false, isBroken: false, faults: 0 });
      return;
    }
    if (longer !== undefined) {
      const held = this.changed(product, (draft) => {
        if (ms > 0) this.rules.pass(draft, ms);
      });
      const press = { ...driving.press, kind: longer, next: others, mayCome: false };
      const happened = { what: 'holds', rail: driving.rail, ms } as const;
      const then = { ...held, driving: { ...driving, press } };
      moves.push({ happened, isProgress: true, product: then, violations: [] });
      return;
    }
    // A host that shuts down by itself need not, and one without power does not come on. No other press comes to nothing.
    const isHeedless = this.rules.has(plant, host, BIT.stuck);
    const mayIgnore = kind === 'short' && (!asserted || !this.rules.isSupplied(plant, host));
    const faults = isHeedless || mayIgnore ? 0 : 1;
    if (plant.left < faults) return;
    const isBroken = isHeedless || !mayIgnore;
    this.endDriving(moves, product, driving, { ms, fails: true, isBroken, faults });
  };

  private readonly sleepingMoves = (product: Product): Move[] => {
    const moves: Move[] = [];
    const { situation, plant } = product;
    this.plantMoves(moves, product, false);
    this.hostMoves(moves, product);
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
    this.hostMoves(moves, product);
    const isForgotten = (product.plant.marks & MARK.hintless) !== 0;
    for (const ms of [0, this.rules.longMs]) {
      this.breakLate(moves, product, ms);
      if (!this.rules.mayPass(product.plant, ms)) continue;
      if (ms > 0 && this.rules.isOverridden(product.plant)) continue;
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
      const { product, violations } = this.alsoTold(asked.product, failed);
      moves.push({
        happened: { what: 'request', request: 'POWER_OFF', unread: this.sourceOf(index) },
        isProgress: false,
        product,
        violations: [...found.violations, ...asked.violations, ...violations],
      });
    }
  };

  /** Told right after what was told: where a press has begun for that, behind it. */
  private readonly alsoTold = (product: Product, failed: Told): Pick<Move, 'product' | 'violations'> => {
    const { driving } = product;
    const break_ = (draft: Draft) => {
      draft.left -= 1;
    };
    if (driving === null) return this.run(product, failed, 0, null, break_);
    const told = { ...driving, pending: [...driving.pending, failed] };
    return { product: { ...this.changed(product, break_), driving: told }, violations: [] };
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
    this.hostMoves(moves, product);
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
