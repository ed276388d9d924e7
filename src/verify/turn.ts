import type { Drive, Request, SequenceAction } from '../sequence/events.ts';
import { type Plan, railPlan } from '../sequence/plan.ts';
import { hasTag, type State } from '../sequence/state.ts';
import type { Struck } from './happened.ts';
import {
  judgeAbsent,
  judgeBlame,
  judgeEnable,
  judgeEnd,
  judgeEntered,
  judgeFault,
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

/** An enable that is being switched on, and what waits for it. */
export interface Driving {
  readonly rail: string;
  /** What the machine wants after it. */
  readonly left: readonly SequenceAction[];
  /** What is told after that. */
  readonly pending: readonly Told[];
  readonly entered: State;
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
  awaitedOf(plant: Plant): Awaited | null;
  levelOf(index: number, good: boolean): Told;
}

interface DriveAt {
  readonly what: Drive;
  readonly asserted: boolean;
  /** Of the signal; -1 for the latch. */
  readonly index: number;
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

  /** `first` is told so much later. */
  begin(first: Told, afterMs: number): Played {
    const { draft, before, twist } = this;
    draft.marks &= ~MARK.taken;
    if (twist !== null && twist.kind !== 'lasts') draft.left -= 1;
    this.hasFailed = first.type === 'READ_FAILED';
    this.pending = [first];
    if (!this.goOn(afterMs)) return this.played();
    const product = { situation: this.situation, plant: draft };
    judgeEnd(this.rules, before.situation, draft, this.situation, this.say);
    if (isRequest(first.type)) {
      judgeRequest(this.rules, before, product, first.type, this.answers, this.say);
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
  endDrive({ rail, left, pending, entered }: Driving, afterMs: number, isRefused: boolean): Played {
    const { draft, rules } = this;
    const index = rules.indexOf(rail);
    const needs = rules.needsOf[index] ?? [];
    this.lacking = needs.filter((need) => !rules.has(draft, need, BIT.good));
    this.state = entered;
    if (isRefused || this.lacking.length > 0) {
      if (isRefused) this.refuse(index);
      const failure = { code: 'I2C_FAILED', reason: 'the set-up came to nothing', readBack: false };
      const drive = { what: 'enable', rail } as const;
      this.pending = [
        ...pending,
        ...this.newsBehind(needs),
        { type: 'DRIVE_FAILED', drive, asserted: true, ...failure },
      ];
    } else {
      judgeEnable(rules, draft, entered, index, true, false, this.say);
      rules.drive(draft, index, true);
      this.pending = [...pending, { type: 'DRIVEN', rail, asserted: true }];
      // Nothing else is told before all that was wanted with it is done.
      if (!this.carryOutAll(left, null)) return this.played();
    }
    if (this.goOn(afterMs)) judgeEnd(rules, this.before.situation, draft, this.situation, this.say);
    return this.played();
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
    for (const [at, action] of actions.entries()) {
      const drive = this.driveOf(action);
      if (drive === null) {
        this.note(action, told);
        continue;
      }
      if (this.isLasting(drive)) this.lasting.push(this.drives);
      const strikes = this.twist?.at === this.drives ? this.twist.kind : null;
      this.drives += 1;
      if (strikes !== null) this.struck = { kind: strikes, drive: drive.what, asserted: drive.asserted };
      if (strikes === 'killed') {
        this.draft.mode = MODE.dead;
        this.draft.awaited = null;
        return false;
      }
      if (strikes === 'lasts' && drive.what.what === 'enable') {
        const { pending, state: entered } = this;
        this.driving = { rail: drive.what.rail, left: actions.slice(at + 1), pending, entered };
        return false;
      }
      // Power that is coming up comes no further once a line failed.
      if (!this.carryOut(drive, strikes) && hasTag(this.situation.state, 'rising')) break;
    }
    return true;
  }

  private isLasting({ what, asserted }: DriveAt): boolean {
    return asserted && what.what === 'enable' && railPlan(this.table.plan, what.rail).isSetUp;
  }

  private driveOf(action: SequenceAction): DriveAt | null {
    const { rules } = this;
    switch (action.type) {
      case 'driveEnable': {
        const { rail, asserted } = action;
        return { what: { what: 'enable', rail }, asserted, index: rules.indexOf(rail) };
      }
      case 'driveReset': {
        const { reset, asserted } = action;
        const at = this.table.plan.resets.findIndex(({ name }) => name === reset);
        return { what: { what: 'reset', reset }, asserted, index: rules.pgood + 1 + at };
      }
      case 'pulseLatch':
        return { what: { what: 'latch' }, asserted: true, index: -1 };
      default:
        return null;
    }
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
    const isBroken = (signal: number) => (signal & (BIT.wild | BIT.stuck | BIT.refused)) !== 0;
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
    const isLoss = this.situation.sequence.fault?.state === 'pgood';
    if (what.what === 'enable') judgeEnable(rules, draft, state, index, asserted, isLoss, say);
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

function isRequest(type: Told['type']): type is Request {
  return type === 'POWER_ON' || type === 'POWER_OFF' || type === 'CLEAR';
}
