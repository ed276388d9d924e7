import type { Drive, Request, SequenceAction } from '../sequence/events.ts';
import type { Plan } from '../sequence/plan.ts';
import { hasTag, type State } from '../sequence/state.ts';
import {
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
  createPlantRules,
  type Draft,
  draftOf,
  keyOfPlant,
  MARK,
  MODE,
  type Plant,
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
  /** Words for people, which also tell the moves of one product apart. */
  readonly label: string;
  /** It happens by itself, with nothing asked and nothing breaking: what a state that must not wait for ever waits for. */
  readonly isProgress: boolean;
  readonly product: Product;
  readonly violations: readonly Violation[];
}

/** What happens to one of the drives of an event. */
interface Twist {
  readonly kind: 'fails' | 'sticks' | 'killed';
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

export function createProductRules(machine: Machine, plan: Plan, situations: Situations): ProductRules {
  const rules = createPlantRules(plan);
  const { pgood } = rules;
  const sourceOf = (index: number) => (index === pgood ? null : rules.nameOf(index));
  const indexOf = (source: string | null) => (source === null ? pgood : rules.indexOf(source));
  const observable = [...plan.rails.map((_, index) => index), pgood].filter((index) =>
    rules.isObservable(index),
  );

  const awaitedOf = ({ awaited }: Plant): Awaited | null =>
    awaited === null ? null : { source: sourceOf(awaited.index), ageMs: awaited.ageMs };
  const knownGood = ({ sequence }: Situation, index: number) =>
    index === pgood ? sequence.pgood.level : (sequence.rails[rules.nameOf(index)]?.good ?? false);
  const levelOf = (index: number, good: boolean, ageMs = 0): Told => {
    const source = sourceOf(index);
    const answer = { good, ageMs };
    return source === null
      ? { type: 'PGOOD_LEVEL', ...answer }
      : { type: 'RAIL_LEVEL', rail: source, ...answer };
  };
  const driveOf = (action: SequenceAction): { what: Drive; asserted: boolean; index: number } | null => {
    switch (action.type) {
      case 'driveEnable': {
        const { rail, asserted } = action;
        return { what: { what: 'enable', rail }, asserted, index: rules.indexOf(rail) };
      }
      case 'driveReset': {
        const index = pgood + 1 + plan.resets.findIndex(({ name }) => name === action.reset);
        return { what: { what: 'reset', reset: action.reset }, asserted: action.asserted, index };
      }
      case 'pulseLatch':
        return { what: { what: 'latch' }, asserted: true, index: -1 };
      default:
        return null;
    }
  };

  /** Something of the hardware is broken, so that a fault may be told. */
  const isBroken = ({ signals, marks }: Plant) =>
    (marks & MARK.latchRefused) !== 0 ||
    signals.some((signal) => (signal & (BIT.wild | BIT.stuck | BIT.refused)) !== 0);

  /** Carries out one drive. Returns what is told of it; null where nothing is. */
  const carryOut = (
    draft: Draft,
    { what, asserted, index }: NonNullable<ReturnType<typeof driveOf>>,
    twist: Twist['kind'] | null,
  ): Told | null => {
    if (index >= 0 && twist === 'sticks') draft.signals[index] = (draft.signals[index] ?? 0) | BIT.stuck;
    // Of a reset the other way round: driven is released.
    const on = what.what === 'reset' ? !asserted : asserted;
    const isHeld =
      index >= 0 && rules.has(draft, index, BIT.stuck) && rules.has(draft, index, BIT.driven) !== on;
    if (twist === 'fails' || isHeld) {
      if (index < 0) draft.marks |= MARK.latchRefused;
      else draft.signals[index] = (draft.signals[index] ?? 0) | BIT.refused;
      const failure = { code: 'GPIO_NOT_FOLLOWED', reason: 'the line does not follow' };
      return { type: 'DRIVE_FAILED', drive: what, asserted, readBack: isHeld, ...failure };
    }
    if (index < 0) {
      rules.pulse(draft);
      return { type: 'LATCHED' };
    }
    rules.drive(draft, index, on);
    return what.what === 'enable' ? { type: 'DRIVEN', rail: what.rail, asserted } : null;
  };

  /** One event with all that follows from it, as the runner carries it out. */
  const run = (
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
    let drives = 0;
    let hasFailed = first.type === 'READ_FAILED';
    const isLoss = () => situation.sequence.fault?.state === 'pgood';
    const pending: Told[] = [first];
    for (let told = pending.shift(), ms = afterMs; told !== undefined; told = pending.shift(), ms = 0) {
      const stepped = situations.step(situation, told, ms, awaitedOf(draft));
      situation = stepped.situation;
      for (const action of stepped.actions) {
        const drive = driveOf(action);
        if (drive !== null) {
          const strikes = twist?.at === drives;
          drives += 1;
          if (strikes && twist.kind === 'killed') {
            draft.mode = MODE.dead;
            draft.awaited = null;
            return { product: { situation, plant: draft }, violations, drives };
          }
          if (drive.what.what === 'enable')
            judgeEnable(rules, draft, situation, drive.index, drive.asserted, isLoss(), say);
          if (drive.what.what === 'reset' && !drive.asserted) judgeRelease(rules, draft, drive.index, say);
          const outcome = carryOut(draft, drive, strikes ? twist.kind : null);
          if (outcome !== null) pending.push(outcome);
          const failed = outcome?.type === 'DRIVE_FAILED';
          hasFailed ||= failed;
          // Power that is coming up comes no further once a line failed.
          if (failed && hasTag(situation.state, 'rising')) break;
        } else if (action.type === 'raiseFault') {
          judgeFault(rules, draft, situation, action.fault, hasFailed || isBroken(draft), say);
          draft.marks |= MARK.told;
        } else if (action.type === 'answer') {
          answers.push(action);
          const isAnew =
            action.outcome === 'changed' || (action.request === 'POWER_OFF' && situation.state === 'failed');
          if (isAnew) draft.marks &= ~(MARK.told | MARK.contradiction);
        } else if (action.type === 'entered') {
          const isFailing = pending.some(({ type }) => type === 'DRIVE_FAILED');
          judgeEntered(rules, draft, situation, action.state, isFailing, say);
        }
      }
    }
    if (situation.state !== before.situation.state) draft.marks &= ~MARK.handed;
    const product = { situation, plant: draft };
    judgeEnd(rules, before.situation, draft, situation, say);
    if (REQUESTS.includes(first.type as Request)) {
      judgeRequest(before, product, first.type, answers, say);
      // What is taken up waits for the first look at the clock.
      const isUnchanged = answers[0]?.outcome !== 'changed';
      if (isUnchanged && (before.plant.marks & MARK.taken) !== 0) draft.marks |= MARK.taken;
    }
    return { product, violations, drives };
  };

  /** An event, and the same with each fault that its drives may meet. */
  const withTwists = (
    moves: Move[],
    label: string,
    isProgress: boolean,
    play: (twist: Twist | null) => ReturnType<typeof run>,
    left: number,
  ): void => {
    const { product, violations, drives } = play(null);
    moves.push({ label, isProgress, product, violations });
    if (left === 0) return;
    for (let at = 0; at < drives; at += 1) {
      for (const kind of ['fails', 'sticks', 'killed'] as const) {
        const twisted = play({ kind, at });
        const what = kind === 'killed' ? 'the process is killed before drive' : `the line ${kind} at drive`;
        moves.push({
          label: `${label}; ${what} ${at + 1}`,
          isProgress: false,
          product: twisted.product,
          violations: twisted.violations,
        });
      }
    }
  };

  const changed = ({ situation, plant }: Product, change: (draft: Draft) => void): Product => {
    const draft = draftOf(plant);
    change(draft);
    return { situation, plant: draft };
  };
  const fault = (product: Product, change: (draft: Draft) => void): Product =>
    changed(product, (draft) => {
      draft.left -= 1;
      change(draft);
    });

  const takeUp = ({ situation, plant }: Product, afterMs: number, isForgotten: boolean) => {
    const draft = draftOf(plant);
    if (afterMs > 0) rules.pass(draft, afterMs);
    draft.mode = MODE.running;
    draft.awaited = null;
    for (let index = 0; index <= pgood; index += 1)
      draft.signals[index] = (draft.signals[index] ?? 0) & ~(BIT.missed | BIT.excused);
    const hint = isForgotten ? null : { state: situation.state, sequence: situation.sequence };
    const nowMs = situation.sequence.nowMs + afterMs;
    const observation = rules.observe(draft);
    const found = machine.reconcile(plan, observation, hint, nowMs);
    const isContradictory = plan.rails.some(({ name, needs }) => {
      const seen = observation.rails[name];
      if (seen === undefined) return false;
      return (
        (seen.good && !seen.enabled) ||
        (seen.enabled && needs.some((need) => observation.rails[need]?.enabled === false))
      );
    });
    draft.marks &= ~(MARK.told | MARK.contradiction | MARK.hintless);
    if (found.sequence.fault !== null) draft.marks |= MARK.told;
    if (isContradictory && found.state === 'unknown') draft.marks |= MARK.contradiction;
    if (hasTag(found.state, 'rising') || hasTag(found.state, 'lowering')) draft.marks |= MARK.taken;
    const violations: Violation[] = [];
    judgeTakenUp(rules, draft, hint?.state ?? null, found.state, (invariant, what) =>
      violations.push({ invariant, what }),
    );
    draft.marks &= ~MARK.handed;
    const product = { situation: situations.of(machine.takeUp(plan, found), null), plant: draft };
    return { product, violations };
  };

  /** Levels that change, whether a process runs or not. A signal that breaks does so with its first change. */
  const plantMoves = (moves: Move[], product: Product, isSeen: boolean): void => {
    const { plant } = product;
    const waitMs = plant.mode === MODE.running ? product.situation.waitMs : null;
    const movable = rules.movable(plant, waitMs ?? rules.longMs);
    const change = (index: number, isBreaking: boolean, taking: readonly number[] = []) => {
      const goes = rules.has(plant, index, BIT.good) ? 'drops' : 'comes good';
      const next = changed(product, (draft) => {
        if (isBreaking) {
          draft.left -= 1;
          rules.breakSignal(draft, index);
        }
        rules.move(draft, index);
        rules.drop(draft, taking);
      });
      const isProgress = isSeen && !isBreaking && !rules.has(plant, index, BIT.wild);
      const isAlone = taking.length === 0 ? '' : ' with all that hangs on it';
      const label = `${rules.nameOf(index)} ${goes}${isAlone}${isBreaking ? ', as it should not' : ''}`;
      moves.push({ label, isProgress, product: next, violations: [] });
      if (!isSeen || next.plant.left === 0 || !rules.isObservable(index)) return;
      const unseen = fault(next, (draft) => {
        draft.signals[index] = (draft.signals[index] ?? 0) | BIT.missed;
      });
      moves.push({
        label: `${label}, and its interrupt is lost`,
        isProgress: false,
        product: unseen,
        violations: [],
      });
    };
    for (let index = 0; index <= pgood; index += 1) {
      const isBreaking = !movable.includes(index);
      if (isBreaking && (plant.left === 0 || !rules.mayBreak(plant, index))) continue;
      change(index, isBreaking);
      const taking = rules.has(plant, index, BIT.good) ? rules.hangingOn(plant, index) : [];
      if (taking.length > 0) change(index, isBreaking, taking);
    }
  };

  /** Whatever is not in time breaks, so that time may pass. */
  const breakLate = (moves: Move[], product: Product, ms: number): void => {
    if (product.plant.left === 0) return;
    for (const index of rules.lateIn(product.plant, ms)) {
      const next = fault(product, (draft) => rules.breakSignal(draft, index));
      const label = `${rules.nameOf(index)} is not in time`;
      moves.push({ label, isProgress: false, product: next, violations: [] });
    }
  };

  /** What the process does with what it was told, or was not told yet. */
  const readingMoves = (moves: Move[], product: Product): boolean => {
    const { situation, plant } = product;
    const { left, awaited } = plant;
    const answer = (index: number, label: string) =>
      withTwists(
        moves,
        label,
        true,
        (twist) =>
          run(product, levelOf(index, rules.has(plant, index, BIT.good)), 0, twist, (draft) => {
            draft.signals[index] = (draft.signals[index] ?? 0) & ~(BIT.missed | BIT.excused);
          }),
        left,
      );
    const news = observable.filter(
      (index) =>
        awaited?.index !== index && knownGood(situation, index) !== rules.has(plant, index, BIT.good),
    );
    for (const index of news) answer(index, `the change of ${rules.nameOf(index)} is seen`);
    if (news.some((index) => !rules.has(plant, index, BIT.missed))) return true;
    const due = situation.due.filter((each) => indexOf(each) !== awaited?.index);
    const [source] = due;
    if (source === undefined) return false;
    const index = indexOf(source);
    const name = rules.nameOf(index);
    answer(index, `${name} is read`);
    // Of a chassis that is on, pgood may answer before a rail that went with it.
    if (source !== null && situation.state === 'pgood' && due.includes(null)) answer(pgood, 'pgood is read');
    if (left === 0) return true;
    const signal = source === null ? ('pgood' as const) : ('good' as const);
    const failed: Told = {
      type: 'READ_FAILED',
      signal,
      rail: source,
      code: 'GPIO_FAILED',
      reason: `${name} cannot be read`,
    };
    const { product: unread, violations } = run(product, failed, 0, null, (draft) => {
      draft.left -= 1;
    });
    moves.push({ label: `${name} cannot be read`, isProgress: false, product: unread, violations });
    if (awaited !== null) return true;
    const late = fault(product, (draft) => {
      draft.awaited = { index, good: rules.has(plant, index, BIT.good), ageMs: 0 };
    });
    const situationThen = situations.of(situation.snapshot, awaitedOf(late.plant));
    const product_ = { situation: situationThen, plant: late.plant };
    moves.push({
      label: `the answer of ${name} is late`,
      isProgress: false,
      product: product_,
      violations: [],
    });
    return true;
  };

  const lateAnswer = (moves: Move[], product: Product): void => {
    const { awaited, left } = product.plant;
    if (awaited === null) return;
    const { index, good, ageMs } = awaited;
    const play = (twist: Twist | null) => {
      const checkMs = product.situation.readings.check?.fromMs;
      const isOfCheck = checkMs === undefined || product.situation.sequence.nowMs - ageMs >= checkMs;
      return run(product, levelOf(index, good, ageMs), 0, twist, (draft) => {
        draft.awaited = null;
        if (isOfCheck && rules.has(draft, index, BIT.good) !== good)
          draft.signals[index] = (draft.signals[index] ?? 0) | BIT.excused;
      });
    };
    withTwists(moves, `the late answer of ${rules.nameOf(index)} comes`, true, play, left);
  };

  const timeMoves = (moves: Move[], product: Product): void => {
    const { situation, plant } = product;
    const tick = (ms: number, label: string) =>
      withTwists(
        moves,
        label,
        true,
        (twist) => run(product, { type: 'TICK' }, ms, twist, (draft) => rules.pass(draft, ms)),
        plant.left,
      );
    if ((plant.marks & MARK.taken) !== 0) {
      tick(0, 'the process goes on with what it found');
      return;
    }
    const { waitMs } = situation;
    const isResting = hasTag(situation.state, 'atRest') || situation.state === 'pgood';
    if (waitMs !== null) {
      breakLate(moves, product, waitMs);
      if (rules.mayPass(plant, waitMs)) tick(waitMs, 'time passes');
    } else if (isResting) breakLate(moves, product, rules.longMs);
    if (waitMs === null && isResting && rules.mayPass(plant, rules.longMs))
      tick(rules.longMs, 'a long time passes');
  };

  const processMoves = (moves: Move[], product: Product): void => {
    const { situation, plant } = product;
    const isHanded = (plant.marks & MARK.handed) !== 0;
    if (HANDED_OVER.includes(situation.state) && plant.awaited === null && !isHanded) {
      const next = takeUp(product, 0, false);
      next.product.plant.marks |= MARK.handed;
      moves.push({ label: 'the next process takes up', isProgress: false, ...next });
    }
    if (plant.left === 0) return;
    const free = (label: string, change: (draft: Draft) => void) =>
      moves.push({ label, isProgress: false, product: fault(product, change), violations: [] });
    free('the process stands still', (draft) => {
      draft.mode = MODE.asleep;
    });
    const kill = (draft: Draft) => {
      draft.mode = MODE.dead;
      draft.awaited = null;
    };
    free('the process is killed', kill);
    free('the process is killed and its state is lost', (draft) => {
      kill(draft);
      draft.marks |= MARK.hintless;
    });
    if (!plan.latched) return;
    free('the BMC starts anew, and its pins are inputs', (draft) => {
      kill(draft);
      draft.marks |= MARK.hintless;
      rules.letGo(draft);
    });
  };

  const sleepingMoves = (product: Product): Move[] => {
    const moves: Move[] = [];
    const { situation, plant } = product;
    plantMoves(moves, product, false);
    const wake = (told: Told, ms: number, label: string) => {
      breakLate(moves, product, ms);
      if (!rules.mayPass(plant, ms)) return;
      const play = (twist: Twist | null) =>
        run(product, told, ms, twist, (draft) => {
          rules.pass(draft, ms);
          draft.mode = MODE.running;
        });
      withTwists(moves, label, false, play, plant.left);
    };
    if (situation.waitMs !== null) wake({ type: 'TICK' }, situation.waitMs + LATE_MS, 'it goes on late');
    wake({ type: 'STALLED', ms: rules.longMs }, rules.longMs, 'it goes on after a long time');
    return moves;
  };

  const deadMoves = (product: Product): Move[] => {
    const moves: Move[] = [];
    plantMoves(moves, product, false);
    const isForgotten = (product.plant.marks & MARK.hintless) !== 0;
    for (const ms of [0, rules.longMs]) {
      breakLate(moves, product, ms);
      if (!rules.mayPass(product.plant, ms)) continue;
      const label = ms === 0 ? 'it is started again at once' : 'it is started again after a long time';
      moves.push({ label, isProgress: false, ...takeUp(product, ms, isForgotten) });
    }
    return moves;
  };

  /** A power off goes on where something cannot be read, and is told so after its request. */
  const blindOff = (moves: Move[], found: Pick<Move, 'product' | 'violations'>): void => {
    for (const index of observable) {
      const name = rules.nameOf(index);
      const asked = run(found.product, { type: 'POWER_OFF' }, 0, null);
      const signal = index === pgood ? ('pgood' as const) : ('good' as const);
      const failed: Told = {
        type: 'READ_FAILED',
        signal,
        rail: sourceOf(index),
        code: 'GPIO_FAILED',
        reason: `${name} cannot be read`,
      };
      const { product, violations } = run(asked.product, failed, 0, null, (draft) => {
        draft.left -= 1;
      });
      moves.push({
        label: `POWER_OFF is asked for; ${name} cannot be read`,
        isProgress: false,
        product,
        violations: [...found.violations, ...asked.violations, ...violations],
      });
    }
  };

  const movesOf = (product: Product): Move[] => {
    const { plant } = product;
    if (plant.mode === MODE.asleep) return sleepingMoves(product);
    if (plant.mode === MODE.dead) return deadMoves(product);
    const moves: Move[] = [];
    lateAnswer(moves, product);
    // A process acts on what it found before it reads anew.
    const isTaken = (plant.marks & MARK.taken) !== 0;
    if (!isTaken && readingMoves(moves, product)) return moves;
    // Of a chassis that rests another process asks, which looks at it first.
    const isAtRest = hasTag(product.situation.state, 'atRest') || product.situation.state === 'pgood';
    const asked = isAtRest ? takeUp(product, 0, false) : { product, violations: [] };
    if (isAtRest && plant.left > 0) blindOff(moves, asked);
    for (const request of REQUESTS) {
      const play = (twist: Twist | null) => {
        const played = run(asked.product, { type: request }, 0, twist);
        return { ...played, violations: [...asked.violations, ...played.violations] };
      };
      withTwists(moves, `${request} is asked for`, false, play, plant.left);
    }
    timeMoves(moves, product);
    plantMoves(moves, product, true);
    processMoves(moves, product);
    return moves;
  };

  return {
    plant: rules,
    initial: (faults) => {
      const plant = rules.initial(faults);
      const found = machine.reconcile(plan, rules.observe(plant), null, 1_000_000);
      return { situation: situations.of(machine.takeUp(plan, found), null), plant };
    },
    movesOf,
  };
}
