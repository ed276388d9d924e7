import type { Recorded } from '../../src/run/record.ts';
import type { Plan } from '../../src/sequence/plan.ts';
import { type Hint, hasTag, powerSeen, type State } from '../../src/sequence/state.ts';
import type { InvariantName } from '../../src/verify/invariants.ts';
import type { HazardKind, PlantEvent } from '../plant/events.ts';
import type { Plant } from '../plant/plant.ts';

/** An invariant that does not hold on the plant. */
export interface Found {
  readonly invariant: InvariantName;
  readonly what: string;
}

export interface JudgeOptions {
  readonly plan: Plan;
  readonly chassis: number;
  readonly plant: Plant;
  /** What the process has left for the next one. */
  readonly hint: () => Hint | null;
}

const OF_HAZARD: Readonly<Record<HazardKind, InvariantName | null>> = {
  enabledTooEarly: 'needsFirst',
  needRemoved: 'reverseOrder',
  resetWithoutPgood: 'resetsFollowPgood',
  // The service, which releases such resets, is in no story.
  resetBeforeHost: null,
  // No process of a story drives to and fro within a millisecond of real time, because none passes.
  enableGlitch: null,
  // What a device is told before its rail is enabled is the runner's, and no invariant is of it.
  setUpWhileOn: null,
  enabledUnset: null,
};

/**
 * Holds what happens on the plant against the invariants, by its lines and voltages and by what the process told. Nothing
 * here knows the model that the story comes from.
 */
export class Judge {
  readonly found: Found[] = [];
  private readonly options: JudgeOptions;
  private readonly records: Recorded[] = [];
  private hazards: number;
  private events: number;
  /** Signals that the story broke: rails, null for pgood, and lines by their role and name. */
  private readonly broken = new Set<string | null>();
  private isBroken = false;
  private faultTold = false;
  private state: State = 'off';
  private observed: Extract<Recorded, { type: 'reconciled' }> | null = null;
  private readonly lowSinceMs = new Map<string | null, number>();
  /** Enables and resets that were asserted after the last step; null before the first. */
  private assertedBefore: ReadonlySet<string> | null = null;
  /** Absent rails that are enabled. */
  private readonly absentLeft: Set<string>;
  /** Rails that are good, by the history. */
  private readonly standing = new Set<string>();
  /** When rails fell, as far as the process knows of it. */
  private readonly fellMs = new Map<string, number>();
  /** Of the history: what was before it, the process that goes down does not know of. */
  private knownFrom = 0;
  /** Enables as the latch took them. */
  private held: ReadonlySet<string> = new Set();
  /** The host has switched itself off, and was not switched on since. */
  private hasLeft = false;
  /** Of the history: the host is on; a press that it felt while it was off, and that may still switch it on. */
  private isHostOn = false;
  private isPressFelt = false;
  private lastPressMs = Number.NEGATIVE_INFINITY;

  constructor(options: JudgeOptions) {
    this.options = options;
    // What the plant was put together with is no part of the story.
    this.hazards = options.plant.hazards.length;
    this.events = options.plant.history.length;
    // A story begins with them left on.
    this.absentLeft = new Set(options.plan.absent.map(({ name }) => name));
  }

  readonly record = (entry: Recorded): void => {
    // What the lines are taken for is judged while they are as they were read.
    if (entry.type === 'reconciled') this.judgeAdopted(entry);
    const isGoingOn = entry.type !== 'reconciled' || (entry.hint !== null && hasTag(entry.hint, 'lowering'));
    if (!isGoingOn) this.knownFrom = this.options.plant.history.length;
    this.records.push(entry);
  };

  /** The story breaks a signal, or a line: from then on a fault may be told. */
  breaks(what: string | null): void {
    this.isBroken = true;
    this.broken.add(what);
  }

  /** The host behind the power button switches itself off. */
  hostLeaves(): void {
    this.hasLeft = true;
    this.isBroken = true;
  }

  stateNow(): State {
    return this.state;
  }

  /** Judges what happened since the last time. Everything that was begun is over. */
  afterStep(): void {
    const { plant, chassis } = this.options;
    for (const { kind, text, chassis: of } of plant.hazards.slice(this.hazards)) {
      const invariant = OF_HAZARD[kind];
      if (of === chassis && invariant !== null) this.say(invariant, text);
    }
    this.hazards = plant.hazards.length;
    const first = this.events;
    const events = plant.history
      .slice(first)
      .filter((event) => 'chassis' in event && event.chassis === chassis);
    this.events = plant.history.length;
    const records = this.records.splice(0);
    this.followLevels(events);
    const before = this.state;
    const moved = this.linesThatMoved();
    this.judgePresses(events);
    for (const entry of records) this.judgeRecord(entry, records, moved);
    this.judgeFalling(first);
    if (before !== this.state) this.judgeEntered();
  }

  /** The story is over, and so is every process, or it should be. */
  atEnd(isAlive: boolean): void {
    for (const { rail } of this.lines('button').filter(({ asserted }) => asserted))
      this.say('letGo', `the button of ${rail} stays pressed`);
    // A host comes on by itself where a press was left to it.
    if (this.state === 'off' || this.state === 'failed') {
      for (const rail of this.leftOn().filter((rail) => this.hasButton(rail)))
        this.say('offAfterFault', `the host of ${rail} is on after ${this.state}`);
    }
    if (isAlive) this.saysWaiting(`${this.state} does not end`);
  }

  /** A process ended by itself. */
  ended(isAnswerDue: boolean, isAnswered: boolean, error: unknown): void {
    const reason = error instanceof Error ? error.message : null;
    if (isAnswerDue && !isAnswered && reason === null) this.say('answeredOnce', 'a request has no answer');
    if (reason?.includes('without a deadline')) this.saysWaiting(reason);
  }

  private say(invariant: InvariantName, what: string): void {
    if (!this.found.some((each) => each.invariant === invariant && each.what === what))
      this.found.push({ invariant, what });
  }

  private saysWaiting(what: string): void {
    this.say(hasTag(this.state, 'lowering') ? 'offIsReached' : 'neverWaits', what);
  }

  private followLevels(events: readonly PlantEvent[]): void {
    for (const event of events) {
      if (event.type === 'rail') this.follow(event.rail, event.good, event.atMs);
      if (event.type === 'pgood') this.follow(null, event.asserted, event.atMs);
      if (event.type !== 'line') continue;
      if (event.role === 'latch' && event.asserted) this.held = new Set(this.drivenRails());
    }
  }

  private follow(source: string | null, good: boolean, atMs: number): void {
    if (good) this.lowSinceMs.delete(source);
    else this.lowSinceMs.set(source, atMs);
  }

  private hasButton(rail: string): boolean {
    return this.options.plan.rails.some(({ name, pulsed }) => name === rail && pulsed !== null);
  }

  /** What the power button was pressed for, and what the host was then. */
  private judgePresses(events: readonly PlantEvent[]): void {
    const hint = this.options.hint();
    const fault = hint?.sequence.fault ?? null;
    // What is recorded of a press is told when that is over.
    const isRaising = hint !== null && hasTag(hint.state, 'rising');
    for (const event of events) {
      if (event.type === 'line' && event.line.startsWith('host:')) {
        this.isHostOn = event.asserted;
        this.isPressFelt = false;
        if (event.asserted) this.hasLeft = false;
      }
      if (event.type !== 'drive' || event.role !== 'button') continue;
      if (event.asserted && isRaising && (this.isHostOn || this.isPressFelt))
        this.say('pressedOnce', `the button of ${event.rail} is pressed again`);
      if (event.asserted && !this.isHostOn) this.isPressFelt = true;
      if (event.asserted) this.lastPressMs = event.atMs;
      const isHeedless = this.broken.has(`enable ${event.rail}`);
      if (!event.asserted && this.isHostOn && fault?.state === 'pgood' && !isHeedless)
        this.say('lossAtOnce', `the button of ${event.rail} is let go after the loss, and its host is on`);
    }
  }

  /** Enables and resets that the BMC drives otherwise than after the last step. */
  private linesThatMoved(): readonly string[] {
    const asserted = new Set(
      [...this.lines('enable'), ...this.lines('reset'), ...this.lines('button')]
        .filter((each) => each.asserted)
        .map(({ line }) => line),
    );
    const before = this.assertedBefore;
    this.assertedBefore = asserted;
    if (before === null) return [];
    return [...asserted, ...before].filter((line) => asserted.has(line) !== before.has(line));
  }

  private judgeRecord(entry: Recorded, records: readonly Recorded[], moved: readonly string[]): void {
    switch (entry.type) {
      case 'reconciled':
        this.faultTold = false;
        this.observed = entry;
        this.state = entry.state;
        return;
      case 'request':
        this.judgeRequest(entry, records, moved);
        return;
      case 'state':
        this.state = entry.to;
        return;
      case 'fault':
        this.judgeFault(entry);
        return;
      case 'hostOff':
        if (!this.hasLeft) this.say('hostOff', `${entry.rail} is told to have switched itself off`);
        return;
    }
  }

  private judgeAdopted({ state, hint, unread = [] }: Extract<Recorded, { type: 'reconciled' }>): void {
    const isOwn = hint === null || hint === 'pgood' || hint === 'off';
    const good = this.goodRails();
    const driven = this.drivenRails();
    const names = this.options.plan.rails.map(({ name }) => name);
    const isWhole =
      this.pgood() &&
      names.every((name) => good.has(name) && driven.includes(name)) &&
      // One that waits for the host stays held.
      this.options.plan.resets.every(({ name, isHeld }) => isHeld || this.releasedResets().includes(name));
    if (unread.length > 0) return;
    if (isOwn && isWhole && state !== 'pgood')
      this.say('adopts', `a chassis that is on is taken for ${state}`);
    if (state === 'off' && (good.size > 0 || driven.length > 0 || this.pgood()))
      this.say('adopts', 'a chassis with power is taken for off');
  }

  private judgeRequest(
    { request, outcome }: Extract<Recorded, { type: 'request' }>,
    records: readonly Recorded[],
    moved: readonly string[],
  ): void {
    const from = this.state;
    if (outcome === 'changed') this.faultTold = false;
    if (request === 'POWER_OFF' && outcome === 'rejected')
      this.say('offIsReached', `power off is refused in ${from}`);
    const isThere =
      (request === 'POWER_ON' && (hasTag(from, 'rising') || from === 'pgood')) ||
      (request === 'POWER_OFF' && (hasTag(from, 'lowering') || from === 'off'));
    if (isThere && outcome === 'changed') this.say('askingMovesNothing', `${request} in ${from} changes it`);
    const isAtRest = hasTag(from, 'atRest') || from === 'pgood';
    // What comes of a press is recorded when that is over.
    const isPressed = this.lastPressMs >= (this.observed?.atMs ?? 0);
    if (
      isAtRest &&
      outcome !== 'changed' &&
      (moved.length > 0 || isPressed) &&
      !records.some(({ type }) => type === 'fault')
    )
      this.say('askingMovesNothing', `${request} in ${from} moves a line`);
    if (request === 'POWER_ON' && outcome !== 'rejected' && from === 'unknown' && this.isContradictory())
      this.say('noStartOverContradiction', 'a start is accepted over lines that contradict each other');
  }

  private isContradictory(): boolean {
    const rails = this.observed?.rails ?? {};
    return this.options.plan.rails.some(({ name, needs }) => {
      const { enabled = false, good = false } = rails[name] ?? {};
      return (good && !enabled) || (enabled && needs.some((need) => rails[need]?.enabled === false));
    });
  }

  private judgeFault({ fault, atMs }: Extract<Recorded, { type: 'fault' }>): void {
    if (this.faultTold) this.say('toldOnce', `"${fault.reason}" is told after another fault`);
    this.faultTold = true;
    if (!this.isBroken) this.say('noFalseAlarm', `"${fault.reason}" is told of a chassis that is whole`);
    if (this.hasLeft && fault.state === 'pgood' && this.broken.size === 1)
      this.say('hostOff', `"${fault.reason}" is told of a host that switched itself off`);
    const sinceMs = this.lowSinceMs.get(fault.rail);
    const isGood = fault.rail === null ? this.pgood() : this.goodRails().has(fault.rail);
    const isLoss = fault.kind === 'railLost' || (fault.kind === 'pgoodLost' && fault.state === 'pgood');
    if ((isLoss || fault.kind === 'railTimeout') && isGood)
      this.say('nothingOld', `"${fault.reason}" is told while ${fault.rail ?? 'pgood'} is good`);
    const isRising = hasTag(fault.state, 'rising');
    const { needs = [], isSetUp } = this.options.plan.rails.find(({ name }) => name === fault.rail) ?? {};
    const lost = needs.filter((need) => !this.goodRails().has(need) && !this.isSupply(need));
    if (isSetUp && fault.kind === 'hardware' && isRising && lost.length > 0)
      this.say('lossIsTheFault', `"${fault.reason}" is told where ${lost.join(' and ')} was lost`);
    // A drive that finds it lost waits for nothing.
    const isOfDrive = isRising && this.options.plan.rails.some((each) => each.isSetUp);
    const { deglitchMs } = this.options.plan.pgood;
    if (isLoss && !isGood && !isOfDrive && sinceMs !== undefined && atMs - sinceMs < deglitchMs)
      this.say('lossStands', `"${fault.reason}" is acted on after ${(atMs - sinceMs).toFixed(1)} ms`);
    if (fault.state === 'pgood' && fault.kind !== 'hardware') {
      // A button is held as long as that takes.
      for (const rail of this.leftOn().filter((each) => !this.hasButton(each)))
        this.say('lossAtOnce', `${rail} is on after the loss`);
    }
  }

  /**
   * On the way down nothing goes off before what goes first has fallen, and rested, but where a running chassis lost its power.
   * @param first of the history
   */
  private judgeFalling(first: number): void {
    const { plant, chassis } = this.options;
    const isLoss = this.options.hint()?.sequence.fault?.state === 'pgood';
    for (const [offset, event] of plant.history.slice(first).entries()) {
      if (first + offset === this.knownFrom) this.fellMs.clear();
      if (event.type === 'rail' && event.chassis === chassis) {
        if (event.good) this.standing.add(event.rail);
        else if (this.standing.delete(event.rail)) this.fellMs.set(event.rail, event.atMs);
      }
      if (event.type !== 'drive' || event.chassis !== chassis || event.rail === null) continue;
      if (event.role !== 'enable') continue;
      if (event.asserted) this.judgeOn(event.rail);
      else this.judgeOff(event.rail, event.atMs, isLoss);
    }
  }

  private judgeOn(rail: string): void {
    if (!this.options.plan.absent.some(({ name }) => name === rail)) return;
    this.absentLeft.add(rail);
    this.say('absentIsOff', `${rail} is enabled, which is absent`);
  }

  private judgeOff(rail: string, atMs: number, isLoss: boolean): void {
    this.absentLeft.delete(rail);
    for (const { name, needs } of this.options.plan.absent) {
      if (needs.includes(rail) && this.absentLeft.has(name) && !this.broken.has(`enable ${name}`))
        this.say('absentIsOff', `${rail} goes off while ${name}, which is absent, is enabled`);
    }
    if (isLoss) return;
    const planOf = (name: string) => this.options.plan.rails.find((each) => each.name === name);
    const { neededBy = [], offAfter = [] } = planOf(rail) ?? {};
    for (const other of [...neededBy, ...offAfter]) {
      if (this.broken.has(other)) continue;
      const { offSettleMs = 0 } = planOf(other) ?? {};
      const restedMs = atMs - (this.fellMs.get(other) ?? Number.NEGATIVE_INFINITY);
      if (this.standing.has(other)) this.say('reverseOrder', `${rail} goes off before ${other} has fallen`);
      else if (restedMs < offSettleMs)
        this.say('restsFirst', `${rail} goes off ${restedMs.toFixed(1)} ms after ${other} has fallen`);
    }
  }

  private judgeEntered(): void {
    const { state } = this;
    if (state === 'off' || state === 'failed' || state === 'opWaitPowerOff') {
      for (const reset of this.releasedResets())
        if (!this.broken.has(`reset ${reset}`))
          this.say('resetsFollowPgood', `reset ${reset} is released in ${state}`);
      for (const rail of this.leftOn()) this.say('offAfterFault', `the enable of ${rail} is on in ${state}`);
      for (const rail of this.absentOn())
        this.say('absentIsOff', `the enable of ${rail}, which is absent, is on in ${state}`);
    }
    const hint = this.options.hint();
    if (state === 'failed' && hint !== null && hint.state === 'failed' && hint.sequence.fault === null)
      this.say('toldOnce', 'failed is entered without a fault');
    const standing = [
      ...new Set([...this.goodRails(), ...this.drivenRails()]),
      ...(this.pgood() ? ['pgood'] : []),
    ];
    if (standing.length > 0 && state === 'off')
      this.say('powerIsTold', `off is said while ${standing.join(' and ')} stands`);
    if (standing.length > 0 && state === 'failed' && hint?.state === 'failed' && !powerSeen(hint.sequence))
      this.say('powerIsTold', `${standing.join(' and ')} stands and is not told`);
    if (!this.options.plan.latched || (state !== 'off' && state !== 'failed' && state !== 'pgood')) return;
    if (this.broken.has('latch')) return;
    const driven = this.drivenRails();
    for (const { name } of this.options.plan.rails) {
      if (this.held.has(name) !== driven.includes(name))
        this.say('latchFollows', `the latch holds ${name} ${this.held.has(name) ? 'on' : 'off'} in ${state}`);
    }
  }

  /** Rails that are on though whoever wants them off could have them off. */
  private leftOn(): string[] {
    return this.drivenRails().filter((rail) => !this.broken.has(`enable ${rail}`));
  }

  private drivenRails(): string[] {
    const names = this.options.plan.rails.map(({ name }) => name);
    return this.enabledRails().filter((rail) => names.includes(rail));
  }

  private absentOn(): string[] {
    const names = this.options.plan.absent.map(({ name }) => name);
    return this.enabledRails().filter((rail) => names.includes(rail) && !this.broken.has(`enable ${rail}`));
  }

  private enabledRails(): string[] {
    return this.lines('enable').flatMap(({ rail, driven, asserted }) =>
      rail !== null && (driven === true || asserted) ? [rail] : [],
    );
  }

  private goodRails(): ReadonlySet<string> {
    const { plant, chassis, plan } = this.options;
    const watched = plan.rails.filter((rail) => rail.watched === 'supply').map(({ name }) => name);
    return new Set(
      plant
        .rails()
        .filter((rail) => rail.chassis === chassis && rail.good && !watched.includes(rail.rail))
        .map(({ rail }) => rail),
    );
  }

  private isSupply(rail: string): boolean {
    return this.options.plan.rails.some(({ name, watched }) => name === rail && watched === 'supply');
  }

  private releasedResets(): string[] {
    const { plan } = this.options;
    const lines = this.lines('reset');
    return plan.resets.flatMap(({ name }, index) => (lines[index]?.asserted === false ? [name] : []));
  }

  private pgood(): boolean {
    const { plant, chassis } = this.options;
    return plant.pgood(chassis);
  }

  private lines(role: string) {
    const { plant, chassis } = this.options;
    return plant.lines().filter((line) => line.role === role && line.chassis === chassis);
  }
}
