import type { Drive, Press, Request, SequenceAction } from '../sequence/events.ts';
import { type Plan, railPlan } from '../sequence/plan.ts';
import type { PressKind } from '../sequence/presses.ts';
import { goesAtOnce } from '../sequence/rails.ts';
import { hasTag, type State } from '../sequence/state.ts';
import type { Struck } from './happened.ts';
import {
  judgeAbsent,
  judgeBlame,
  judgeEnable,
  judgeEnd,
  judgeEntered,
  judgeFault,
  judgeHostOff,
  judgeLetGo,
  judgePress,
  judgeRelease,
  judgeRequest,
  type Violation,
} from './invariants.ts';
import { BIT, type Draft, draftOf, MARK, MODE, type Plant, type PlantRules } from './plant.ts';
import type { Awaited, Situation, Situations, Told } from './situations.ts';

/** The machine and the chassis below it, together with what the process between them is up to. */
export interface Product {
  readonly situation: Situation;
  readonly plant: Plant;
  /** A drive that is under way; null where none is. */
  readonly driving: Driving | null;
}

/** What happens to one of the drives of an event. */
export interface Twist {
  readonly kind: Struck['kind'];
  /** Which drive, counted from 0. */
  readonly at: number;
}

/** A drive that takes its time, and what waits for it. */
export interface Driving {
  readonly rail: string;
  /** Null: a device is set up, and then the enable is switched on. */
  readonly press: Pressing | null;
  /** What the machine wants after it. */
  readonly left: readonly SequenceAction[];
  /** What is told after that. */
  readonly pending: readonly Told[];
  readonly entered: State;
}

/** A power button that is pressed. */
export interface Pressing {
  readonly asserted: boolean;
  readonly kind: PressKind;
  /** The presses that come after it where it does not do what it is for. */
  readonly next: readonly PressKind[];
  /** The host was off when it began, and has not come on since. */
  readonly mayCome: boolean;
}

export interface Played {
  readonly product: Product;
  readonly violations: readonly Violation[];
  readonly drives: number;
  /** Which of the drives may take their time. */
  readonly lasting: readonly number[];
  readonly struck: Struck | null;
}

/** What a turn is played with. */
export interface Table {
  readonly plan: Plan;
  readonly plant: PlantRules;
  readonly situations: Situations;
  readonly pressesFor: (asserted: boolean, mayBeOn: boolean, isGraceful: boolean) => readonly PressKind[];
  awaitedOf(plant: Plant): Awaited | null;
  levelOf(index: number, good: boolean): Told;
}

interface DriveAt {
  readonly what: Drive;
  readonly asserted: boolean;
  /** Of the signal; -1 for the latch. */
  readonly index: number;
  /** What a power button is pressed for it, in this order; null where there is none. */
  readonly presses: readonly PressKind[] | null;
}

/** One event with all that follows from it, as the runner carries it out. */
export class Turn {
  readonly draft: Draft;
  private readonly table: Table;
  private readonly before: Product;
  private readonly twist: Twist | null;
  private readonly rules: PlantRules;
  private situation: Product['situation'];
  /** An event may pass straight through some of them. */
  private state: State;
  private pending: Told[] = [];
  private driving: Driving | null = null;
  private drives = 0;
  private readonly lasting: number[] = [];
  private struck: Struck | null = null;
  private hasFailed = false;
  /** What a drive rests on, and was lost before it was over. */
  private lacking: readonly number[] = [];
  private readonly answers: Extract<SequenceAction, { type: 'answer' }>[] = [];
  private readonly violations: Violation[] = [];

  constructor(table: Table, before: Product, twist: Twist | null) {
    this.table = table;
    this.before = before;
    this.twist = twist;
    this.rules = table.plant;
    this.draft = draftOf(before.plant);
    this.situation = before.situation;
    this.state = before.situation.state;
  }

  private readonly say = (invariant: Violation['invariant'], what: string) =>
    this.violations.push({ invariant, what });

  /** What is told so much later, in one instant. */
  begin(told: readonly Told[], afterMs: number): Played {
    const { draft, before, twist } = this;
    draft.marks &= ~MARK.taken;
    if (twist !== null && twist.kind !== 'lasts') draft.left -= 1;
    this.pending = [...told];
    const request = told.map(({ type }) => type).find(isRequest);
    this.hasFailed = this.pending.some(({ type }) => type === 'READ_FAILED');
    const isOver = this.goOn(afterMs);
    // A press that has begun is judged as what it will come to.
    if (!isOver && this.driving?.press == null) return this.played();
    for (const action of this.driving?.left ?? []) if (action.type === 'answer') this.answers.push(action);
    const product = { situation: this.situation, plant: draft };
    judgeEnd(this.rules, before.situation, draft, this.situation, this.say);
    if (isOver) judgeLetGo(this.rules, draft, this.say);
    if (request !== undefined) {
      judgeRequest(this.rules, before, product, request, this.answers, this.say);
      // What is taken up waits for the first look at the clock.
      const isUnchanged = this.answers[0]?.outcome !== 'changed';
      if (isUnchanged && (before.plant.marks & MARK.taken) !== 0) draft.marks |= MARK.taken;
    }
    return this.played();
  }

  /**
   * What was being switched is, so much later, or is not. What the rail needs is read once more before its enable, and a device without
   * power takes nothing.
   */
  endDrive(driving: Driving, afterMs: number, isRefused: boolean): Played {
    const { draft, rules } = this;
    const { rail, press, left, pending, entered } = driving;
    const index = rules.indexOf(rail);
    const needs = rules.needsOf[index] ?? [];
    const asserted = press?.asserted ?? true;
    this.lacking = asserted ? needs.filter((need) => !rules.has(draft, need, BIT.good)) : [];
    this.state = entered;
    this.driving = null;
    this.hasFailed = pending.some(({ type }) => type === 'READ_FAILED');
    const isDone = press === null ? !isRefused && this.lacking.length === 0 : this.endPress(index, press);
    this.pending = [...pending];
    if (isDone) {
      if (press === null) {
        judgeEnable(rules, draft, entered, index, true, false, this.say);
        rules.drive(draft, index, true);
      }
      this.pending.push({ type: 'DRIVEN', rail, asserted });
    } else {
      if (isRefused) this.refuse(index);
      const failure =
        press === null
          ? { code: 'I2C_FAILED', reason: 'the set-up came to nothing', readBack: false }
          : { code: 'GPIO_PULSE_IGNORED', reason: 'the press came to nothing', readBack: true };
      const drive = { what: 'enable', rail } as const;
      this.pending.push(...this.newsBehind(needs), { type: 'DRIVE_FAILED', drive, asserted, ...failure });
    }
    // Nothing else is told before all that was wanted with it is done. Power that is coming up comes no further once it failed.
    const isLeft = isDone || !hasTag(this.situation.state, 'rising');
    if (isLeft && !this.carryOutAll(left, null)) return this.played();
    if (this.goOn(afterMs)) {
      judgeEnd(rules, this.before.situation, draft, this.situation, this.say);
      judgeLetGo(rules, draft, this.say);
    }
    return this.played();
  }

  /** Lets the button go. Returns whether the host is as it was to be. */
  private endPress(index: number, { asserted, kind }: Pressing): boolean {
    const { draft, rules } = this;
    const isDone = rules.has(draft, index, BIT.driven) === asserted;
    rules.endPress(draft);
    // It may have felt it all the same, and be late.
    const mayCome = !isDone && kind === 'short' && !rules.has(draft, index, BIT.stuck);
    if (mayCome && rules.isSupplied(draft, index)) this.ask(index);
    return isDone;
  }

  /** A hold that could not be driven leaves what an earlier press may yet do. */
  private giveUpPress(index: number): void {
    const isAsked = this.rules.has(this.draft, index, BIT.asked);
    if (isAsked) this.draft.signals[index] = (this.draft.signals[index] ?? 0) | BIT.forgotten;
  }

  private ask(index: number): void {
    this.draft.signals[index] = (this.draft.signals[index] ?? 0) | BIT.asked;
  }

  private played(): Played {
    const { situation, draft: plant, driving, violations, drives, lasting, struck } = this;
    return { product: { situation, plant, driving }, violations, drives, lasting, struck };
  }

  /** What the rails that a drive rests on, be it through others, are read to be before its failure is told. */
  private newsBehind(needs: readonly number[]): Told[] {
    const { draft, rules } = this;
    const behind = new Set<number>();
    const follow = (index: number) => {
      if (behind.has(index)) return;
      behind.add(index);
      for (const need of rules.needsOf[index] ?? []) follow(need);
    };
    for (const need of needs) follow(need);
    const seen = [...behind].filter((index) => rules.isObservable(index)).sort((one, other) => one - other);
    for (const index of seen) {
      if (draft.awaited?.index !== index)
        draft.signals[index] = (draft.signals[index] ?? 0) & ~(BIT.missed | BIT.excused);
    }
    return seen.map((index) => this.table.levelOf(index, rules.has(draft, index, BIT.good)));
  }

  /** Until nothing more is told. False: it was cut short. */
  private goOn(afterMs: number): boolean {
    const { table, pending } = this;
    for (let told = pending.shift(), ms = afterMs; told !== undefined; told = pending.shift(), ms = 0) {
      const stepped = table.situations.step(this.situation, told, ms, table.awaitedOf(this.draft));
      this.situation = stepped.situation;
      if (!this.carryOutAll(stepped.actions, told)) return false;
    }
    return true;
  }

  /** False: it was cut short. */
  private carryOutAll(actions: readonly SequenceAction[], told: Told | null): boolean {
    const { rules, draft } = this;
    const left: SequenceAction[] = [];
    for (const action of actions) {
      const drive = this.driveOf(action);
      // What waits for the drive that takes its time: all, but for what goes off after a loss.
      if (
        this.driving !== null &&
        (drive === null || this.driving.press === null || !goesAtOnce(this.now()))
      ) {
        left.push(action);
        continue;
      }
      if (drive === null) {
        this.note(action, told);
        continue;
      }
      const strikes = this.strikeAt(drive);
      if (strikes === 'killed') {
        this.draft.mode = MODE.dead;
        this.draft.awaited = null;
        const isHeld = rules.host >= 0 && rules.has(draft, rules.host, BIT.pressed);
        if (isHeld || mayHavePressed(rules, actions)) this.ask(rules.host);
        this.driving = null;
        return false;
      }
      const isPressed = drive.presses !== null && drive.presses.length > 0 && strikes !== 'fails';
      if ((strikes === 'lasts' || isPressed) && drive.what.what === 'enable') {
        const press = isPressed ? this.beginPress(drive, strikes) : null;
        const { pending, state: entered } = this;
        this.driving = { rail: drive.what.rail, press, left, pending, entered };
        continue;
      }
      // Power that is coming up comes no further once a line failed.
      if (!this.carryOut(drive, strikes) && hasTag(this.situation.state, 'rising')) break;
    }
    return this.driving === null;
  }

  private now() {
    const { sequence, readings } = this.situation;
    return { fault: sequence.fault, readings };
  }

  /** What becomes of the next drive. One that presses nothing is only looked at. */
  private strikeAt(drive: DriveAt): Twist['kind'] | null {
    if (drive.presses?.length === 0) return null;
    if (this.isLasting(drive)) this.lasting.push(this.drives);
    const strikes = this.twist?.at === this.drives ? this.twist.kind : null;
    this.drives += 1;
    if (strikes !== null) this.struck = { kind: strikes, drive: drive.what, asserted: drive.asserted };
    return strikes;
  }

  /** `sticks`: the host behind it heeds no press any more. */
  private beginPress({ asserted, index, presses }: DriveAt, strikes: Twist['kind'] | null): Pressing {
    const { draft, rules, say, state } = this;
    const [kind = 'hold', ...next] = presses ?? [];
    const isLoss = this.situation.sequence.fault?.state === 'pgood';
    judgeEnable(rules, draft, state, index, asserted, goesAtOnce(this.now()), say);
    judgePress(rules, draft, asserted, kind, isLoss, say);
    if (strikes === 'sticks') this.stick(index);
    rules.press(draft, true);
    return { asserted, kind, next, mayCome: !rules.has(draft, index, BIT.driven) };
  }

  private isLasting({ what, asserted }: DriveAt): boolean {
    return asserted && what.what === 'enable' && railPlan(this.table.plan, what.rail).isSetUp;
  }

  private driveOf(action: SequenceAction): DriveAt | null {
    const { rules } = this;
    switch (action.type) {
      case 'driveEnable': {
        const { rail, asserted, press } = action;
        const index = rules.indexOf(rail);
        const presses = index === rules.host ? this.pressesOf(asserted, press) : null;
        return { what: { what: 'enable', rail }, asserted, index, presses };
      }
      case 'driveReset': {
        const { reset, asserted } = action;
        const at = this.table.plan.resets.findIndex(({ name }) => name === reset);
        return { what: { what: 'reset', reset }, asserted, index: rules.pgood + 1 + at, presses: null };
      }
      case 'pulseLatch':
        return { what: { what: 'latch' }, asserted: true, index: -1, presses: null };
      default:
        return null;
    }
  }

  /** Its state shows what the host is. */
  private pressesOf(
    asserted: boolean,
    { isGraceful, mayBeOn }: Press = { isGraceful: false, mayBeOn: false },
  ): readonly PressKind[] {
    const { rules, draft } = this;
    const isOn = rules.has(draft, rules.host, BIT.driven) || (!asserted && mayBeOn);
    return this.table.pressesFor(asserted, isOn, isGraceful);
  }

  /** What the machine tells, and wants nothing driven for. */
  private note(action: SequenceAction, told: Told | null): void {
    const { draft, rules, say } = this;
    if (action.type === 'raiseFault') {
      const isOfDrive = told?.type === 'DRIVE_FAILED';
      const isBroken = this.hasFailed || this.isBroken();
      if (isOfDrive) judgeBlame(rules, draft, action.fault, this.lacking, say);
      judgeFault(rules, draft, this.situation, action.fault, { isBroken, isOfDrive }, say);
      draft.marks |= MARK.told;
    } else if (action.type === 'tellHostOff') {
      judgeHostOff(rules, draft, say);
    } else if (action.type === 'answer') {
      this.answers.push(action);
      const isAnew =
        action.outcome === 'changed' || (action.request === 'POWER_OFF' && this.situation.state === 'failed');
      if (isAnew) draft.marks &= ~(MARK.told | MARK.contradiction);
    } else if (action.type === 'entered') {
      this.state = action.state;
      if (action.state === 'pgood') this.releaseHeld();
      const isFailing = this.pending.some(({ type }) => type === 'DRIVE_FAILED');
      judgeEntered(rules, draft, this.situation, action.state, isFailing, say);
    }
  }

  /** Something of the hardware is broken, so that a fault may be told. */
  private isBroken(): boolean {
    const { signals, marks } = this.draft;
    // So is a host that changes when nobody waits for it.
    const broken = BIT.wild | BIT.stuck | BIT.refused | BIT.asked | BIT.alone | BIT.early;
    const isBroken = (signal: number) => (signal & broken) !== 0;
    // What is absent and cannot be driven fails nothing.
    return (
      (marks & MARK.latchRefused) !== 0 ||
      signals.some((signal, index) => index < this.rules.firstAbsent && isBroken(signal))
    );
  }

  /** Carries out one drive, and judges it. False: it failed. */
  private carryOut(drive: DriveAt, strikes: Twist['kind'] | null): boolean {
    const { draft, rules, say, state } = this;
    const { what, asserted, index } = drive;
    if (index >= rules.firstAbsent) {
      judgeAbsent(rules, index, asserted, say);
      this.driveAbsent(drive, strikes);
      return true;
    }
    const isAtOnce = goesAtOnce(this.now());
    if (what.what === 'enable') judgeEnable(rules, draft, state, index, asserted, isAtOnce, say);
    if (what.what === 'reset' && !asserted) judgeRelease(rules, draft, index, say);
    if (strikes === 'sticks' && index >= 0) this.stick(index);
    // Of a reset the other way round: driven is released.
    const on = what.what === 'reset' ? !asserted : asserted;
    const isHeld = index >= 0 && this.isHeldAt(index, !on);
    // Nobody asks a device that has no power.
    const isDeaf = what.what === 'enable' && !asserted && rules.isDeaf(draft, index);
    if (!isDeaf && (strikes === 'fails' || isHeld)) {
      if (index < 0) draft.marks |= MARK.latchRefused;
      else this.refuse(index);
      // It may have reached the button all the same.
      if (asserted && drive.presses !== null) this.ask(index);
      if (!asserted && drive.presses !== null) this.giveUpPress(index);
      const failure = { code: 'GPIO_NOT_FOLLOWED', reason: 'the line does not follow' };
      this.pending.push({ type: 'DRIVE_FAILED', drive: what, asserted, readBack: isHeld, ...failure });
      this.hasFailed = true;
      return false;
    }
    if (index < 0) {
      rules.pulse(draft);
      this.pending.push({ type: 'LATCHED' });
      return true;
    }
    rules.drive(draft, index, on);
    if (what.what === 'enable') this.pending.push({ type: 'DRIVEN', rail: what.rail, asserted });
    return true;
  }

  /** Nothing is told of what is absent. */
  private driveAbsent({ asserted, index }: DriveAt, strikes: Twist['kind'] | null): void {
    if (strikes === 'sticks') this.stick(index);
    if (strikes === 'fails' || this.isHeldAt(index, !asserted)) this.refuse(index);
    else this.draft.signals[index] = asserted ? BIT.driven : 0;
  }

  private stick(index: number): void {
    this.draft.signals[index] = (this.draft.signals[index] ?? 0) | BIT.stuck;
  }

  private refuse(index: number): void {
    this.draft.signals[index] = (this.draft.signals[index] ?? 0) | BIT.refused;
  }

  /** Its line stays at that level. */
  private isHeldAt(index: number, on: boolean): boolean {
    return (
      this.rules.has(this.draft, index, BIT.stuck) && this.rules.has(this.draft, index, BIT.driven) === on
    );
  }

  /**
   * Another one releases what waits for the host, at any moment from now on. That it does so at once is the worst: as long as it has
   * not, there is only less that may be wrong.
   */
  private releaseHeld(): void {
    const { draft, rules, say } = this;
    this.table.plan.resets.forEach(({ isHeld }, at) => {
      const index = rules.pgood + 1 + at;
      if (!isHeld || rules.has(draft, index, BIT.stuck)) return;
      judgeRelease(rules, draft, index, say);
      rules.drive(draft, index, true);
    });
  }
}

/** The actions of a process that was killed have a power button pressed to switch on: nobody knows whether it came to that. */
export function mayHavePressed(rules: PlantRules, actions: readonly SequenceAction[]): boolean {
  return actions.some(
    (action) =>
      action.type === 'driveEnable' &&
      action.asserted &&
      rules.host >= 0 &&
      rules.indexOf(action.rail) === rules.host,
  );
}

function isRequest(type: Told['type']): type is Request {
  return type === 'POWER_ON' || type === 'POWER_OFF' || type === 'CLEAR';
}
