import type { LineRef } from '../../hw/ports.ts';
import type { Board } from '../../src/board/schema.ts';
import { JOBS, type Job } from '../../src/run/jobs.ts';
import type { Recorded } from '../../src/run/record.ts';
import type { Request } from '../../src/sequence/events.ts';
import { type Plan, planOf, planWithout } from '../../src/sequence/plan.ts';
import { type Hint, hasTag, type State } from '../../src/sequence/state.ts';
import type { SnapshotStore } from '../../src/store/snapshot.ts';
import type { SavedCounterexample, SavedStep } from '../../src/verify/counterexample.ts';
import { type Happened, type Struck, takesMs } from '../../src/verify/happened.ts';
import { parseFault } from '../plant/faults.ts';
import { lineKey } from '../plant/line-key.ts';
import { createPlant, type Plant } from '../plant/plant.ts';
import { createVirtualClock, type VirtualClock } from '../virtual-clock.ts';
import { type Found, Judge } from './judge.ts';
import { type Meddling, ReplayProcess } from './process.ts';

/** What came of a story on the plant. */
export interface Replayed {
  readonly plan: Plan;
  /** Invariants that do not hold there, first one first. */
  readonly found: readonly Found[];
  /** Steps of the story that could not be played, with their numbers and why. */
  readonly notPlayed: readonly string[];
  /** Where the machine on the plant first came to another state than in the story; null: nowhere. */
  readonly parted: string | null;
  /** What the processes recorded. */
  readonly recording: readonly Recorded[];
}

/** How long a call into the hardware may take before the story goes on without it. */
const SETTLE_MS = 500;
/** Before a moment at which something that is read must fail, and nothing else does. */
/** What is broken where a host is late. */
const LATE_PRESS = 'press';
/** Why a step is not played. */
const PINS_STAY =
  'the pins of the simulated chassis keep their levels, and it has no latch that would hold them';
const SLEEP_IS_READ = 'the simulated chassis shows its sleep state to whoever looks';
/** A host has felt a press of that long. */
const FELT_MS = 17;
/** Longer than a press, and all that is waited for after it. */
const PRESS_MS = 120_000;
const JUST_BEFORE_MS = 0.001;

const JOB_OF: Readonly<Record<Request, Job>> = {
  POWER_ON: JOBS.on,
  POWER_OFF: JOBS.off,
  CLEAR: JOBS.clear,
};

/** Who goes on with what a process left behind. */
const FOLLOWER: Readonly<Record<State, Job | null>> = {
  unknown: null,
  off: null,
  failed: null,
  opPowerStart: JOBS.on,
  opWaitPowerOn: JOBS.waitOn,
  pgood: JOBS.watch,
  opPowerStop: JOBS.waitOff,
  opWaitPowerOff: JOBS.waitOff,
  fault: JOBS.waitOff,
};

/**
 * Plays a counterexample on the simulated chassis: the faults, requests and levels of the story in their order, with its times, and
 * the machine, runner and hardware of the program under them. Then whatever the story did not break is let go, and what is
 * under way has to end.
 */
export async function replay(saved: SavedCounterexample, board: Board): Promise<Replayed> {
  return new Replay(saved, board).play();
}

class Replay {
  private readonly saved: SavedCounterexample;
  private readonly board: Board;
  /** Of the rails that are there. */
  private readonly plan: Plan;
  private readonly wholePlan: Plan;
  private readonly clock: VirtualClock;
  private readonly plant: Plant;
  private readonly judge: Judge;
  private readonly recording: Recorded[] = [];
  private readonly notPlayed: string[] = [];
  private readonly broken = new Set<string | null>();
  private hint: Hint | null = null;
  private process: ReplayProcess | null = null;
  private request: Request | null = null;
  private answered = 0;
  private isAsleep = false;
  /** Lets the process act that has looked at the chassis and waits for the story. */
  private release: (() => void) | null = null;
  /** Time that calls took, and that the story does not know of. */
  private aheadMs = 0;
  private parted: string | null = null;
  private readonly meddling: Meddling = {
    unreadable: new Set(),
    unreadAtFirst: new Set(),
    late: new Set(),
    lateAnswers: new Map(),
    missed: new Set(),
    isSleepMissed: false,
    mayAct: Promise.resolve(),
    strike: null,
    endDrive: null,
    stick: (struck) => this.stick(struck),
    delay: (rail) => this.delay(rail),
  };

  constructor(saved: SavedCounterexample, board: Board) {
    const chassis = board.chassis[saved.chassis];
    if (chassis === undefined) throw new RangeError(`the board has no chassis ${saved.chassis}`);
    this.saved = saved;
    this.board = board;
    this.wholePlan = planOf(chassis, board.devices);
    const absent = saved.absent ?? [];
    this.plan = planWithout(this.wholePlan, absent);
    this.clock = createVirtualClock();
    const names = this.wholePlan.rails.map(({ name }) => name);
    const atOnce = Object.fromEntries(names.map((name) => [name, 0]));
    // Nobody is given time to notice what he has to look at before he acts.
    const timing = { reactionMs: 0, pgoodDelayMs: 0, riseMs: atOnce, fallMs: atOnce };
    this.plant = createPlant({ board, chassis: [saved.chassis], clock: this.clock, timing });
    for (const signal of this.signals()) this.plant.steer(saved.chassis, signal, false);
    for (const rail of absent) {
      this.plant.addFault(parseFault(`part ${rail} absent`, board));
      // As in the story somebody has left it on.
      const enable = chassis.rails[rail]?.enable;
      if (enable !== undefined && !('pmbus' in enable) && !('pulse' in enable))
        this.plant.pins.get(lineKey(enable) ?? '')?.drive(enable.active === 'low' ? 0 : 1);
    }
    this.judge = new Judge({
      plan: this.plan,
      chassis: saved.chassis,
      plant: this.plant,
      hint: () => this.hint,
    });
  }

  async play(): Promise<Replayed> {
    const { steps } = this.saved;
    for (const [index, step] of steps.entries()) {
      await this.playStep(step, steps.slice(index + 1), index + 1);
      this.judge.afterStep();
      // On the plant all that is due is read at once.
      if (steps[index + 1]?.happened.what !== 'read') this.compare(step, index + 1);
    }
    await this.letGo();
    this.plant.close();
    const { plan, notPlayed, parted, recording } = this;
    return { plan, found: this.judge.found, notPlayed, parted, recording };
  }

  /** Signals that the story moves: what nobody sees goes with its enable. */
  private signals(): (string | null)[] {
    const seen = this.plan.rails.filter(({ observable }) => observable).map(({ name }) => name);
    return [...seen, null];
  }

  private async playStep({ happened, state }: SavedStep, rest: readonly SavedStep[], number: number) {
    const refuse = (why: string) =>
      this.notPlayed.push(`${number}. ${this.saved.steps[number - 1]?.text}: ${why}`);
    const coming = happened.what === 'read' ? [] : readingsIn(rest);
    if (happened.what !== 'read') {
      this.forgetReadings();
      this.meddling.strike = struckIn([happened, ...coming]);
    }
    const { strike } = this.meddling;
    if (strike?.kind === 'fails' || strike?.kind === 'sticks')
      this.breaks(strike.kind === 'fails' && this.isPressOn(strike) ? LATE_PRESS : lineOf(strike));
    switch (happened.what) {
      case 'request':
        this.arm(coming);
        if (happened.unread !== undefined) {
          this.breaks(happened.unread);
          this.meddling.unreadAtFirst.add(happened.unread);
        }
        await this.ask(happened.request, refuse);
        break;
      case 'level':
        this.arm(coming);
        this.changeLevel(happened);
        break;
      case 'notInTime':
        this.breaks(happened.signal);
        break;
      case 'read':
        this.readAgain(happened);
        break;
      case 'time':
        await this.passTime(happened.ms, coming);
        if (happened.how === 'goesOn') this.act();
        break;
      case 'holds':
      case 'host':
        await this.playHost(happened, refuse);
        break;
      case 'sleep':
        if (happened.seen === 'unread') refuse(SLEEP_IS_READ);
        break;
      case 'driveEnds':
        if (happened.press !== undefined) await this.endPress(happened, refuse);
        else await this.endSetUp(happened, coming);
        break;
      case 'stands': {
        const waking = rest.find((each) => each.happened.what === 'wakes');
        if (waking === undefined) break;
        this.isAsleep = true;
        this.process?.stall(takesMs(waking.happened));
        break;
      }
      case 'wakes':
        await this.passTime(happened.ms, coming);
        this.isAsleep = false;
        break;
      case 'killed':
        await this.kill(happened);
        break;
      case 'newBmc':
        await this.end();
        this.hint = null;
        refuse(PINS_STAY);
        break;
      case 'restarts':
      case 'handedOver':
        await this.end();
        await this.passTime(takesMs(happened), []);
        this.takeUp(rest, state);
        break;
    }
    await this.settle();
    if (strike?.kind === 'killed' && this.meddling.strike === null) await this.noticeKill();
    if (this.meddling.strike !== null && rest[0]?.happened.what !== 'read') {
      refuse('the drive that it strikes did not come');
      this.meddling.strike = null;
    }
    this.meddling.unreadAtFirst.clear();
    this.noticeEnd();
  }

  private async endSetUp(
    { rail, fails, ms }: Extract<Happened, { what: 'driveEnds' }>,
    coming: readonly Extract<Happened, { what: 'read' }>[],
  ): Promise<void> {
    if (fails) this.breaks(`enable ${rail}`);
    await this.passTime(ms, coming);
    this.meddling.endDrive?.(fails);
    this.meddling.endDrive = null;
  }

  private async kill({ pressing, forgets }: Extract<Happened, { what: 'killed' }>): Promise<void> {
    if (pressing === false) await this.until(() => !this.isAsserted('button'));
    // What comes of the press nobody knows.
    if (pressing !== undefined) this.breaks(LATE_PRESS);
    if (pressing) await this.clock.advance(FELT_MS);
    await this.end();
    if (forgets) this.hint = null;
  }

  /** The process was killed before a drive. */
  private async noticeKill(): Promise<void> {
    if (this.process?.isAlive() === false) this.process = null;
    if (!this.isAsserted('button')) return;
    this.breaks(LATE_PRESS);
    await this.clock.advance(FELT_MS);
  }

  /** What a power button, and the host behind it, have come to. */
  private isAsserted(role: 'button' | 'host'): boolean {
    const { chassis } = this.saved;
    return this.plant
      .lines()
      .some(
        (line) =>
          line.chassis === chassis &&
          line.asserted &&
          (role === 'host' ? line.line.startsWith('host:') : line.role === role),
      );
  }

  /** Lets time pass that the story does not count. Returns whether it came to that. */
  private async until(isThere: () => boolean): Promise<boolean> {
    for (let ms = 0; ms < PRESS_MS && !isThere(); ms += 1) await this.clock.advance(1);
    return isThere();
  }

  private isPressOn({ drive, asserted }: Struck): boolean {
    if (drive.what !== 'enable' || !asserted) return false;
    return this.plan.rails.some(({ name, pulsed }) => name === drive.rail && pulsed !== null);
  }

  /** The host feels a press, and shows it only in the end: to whoever looks it is late. */
  private delay(rail: string): void {
    this.breaks(LATE_PRESS);
    this.fault(`state ${rail} stuck off`);
  }

  private fault(text: string): void {
    this.plant.addFault(parseFault(text, this.board));
  }

  /** The host turns in a press of its own accord, and by itself where the story has it do so. */
  private async playHost(
    happened: Extract<Happened, { what: 'host' | 'holds' }>,
    refuse: (why: string) => void,
  ): Promise<void> {
    const { rail } = happened;
    if (happened.what === 'holds') {
      this.fault(`shutdown ${rail} ignored`);
      const isHeld =
        (await this.until(() => !this.isAsserted('button'))) &&
        (await this.until(() => this.isAsserted('button')));
      if (!isHeld) refuse('the button is not held');
      return;
    }
    const { on, why, taking, missed } = happened;
    if (missed) this.meddling.isSleepMissed = true;
    if (why === 'itself') this.breaks(`host ${rail}`);
    if (why === 'itself' && on) this.plant.clearFaults();
    if (why === 'itself' && !on) {
      this.judge.hostLeaves();
      this.fault(`host ${rail} shuts down`);
    }
    for (const each of taking)
      if (this.signals().includes(each)) this.plant.steer(this.saved.chassis, each, false);
    if (!(await this.until(() => this.isAsserted('host') === on)))
      refuse(`the host of the simulated chassis does not ${on ? 'come on' : 'go off'}`);
  }

  /** A press that comes to nothing is one of a host that heeds none, or is late: what was felt is done in the end. */
  private async endPress(
    { rail, fails, ms, press }: Extract<Happened, { what: 'driveEnds' }>,
    refuse: (why: string) => void,
  ): Promise<void> {
    const { process } = this;
    if (process?.isPressing() !== true) {
      refuse('no button is pressed');
      return;
    }
    const isOn = this.isAsserted('host');
    if (fails && !this.broken.has(`enable ${rail}`)) {
      if (!isOn) this.delay(rail);
      else if (press === 'short') this.fault(`shutdown ${rail} ignored`);
      else {
        this.breaks(`enable ${rail}`);
        this.fault(`enable ${rail} stuck on`);
      }
    }
    if (ms > 0) await this.clock.advance(ms);
    if (!(await this.until(() => !process.isPressing()))) refuse('the press does not end');
  }

  private breaks(what: string | null): void {
    this.broken.add(what);
    this.judge.breaks(what);
  }

  /** Readings that fail or are late come right after what makes them due. */
  private arm(readings: readonly Extract<Happened, { what: 'read' }>[]): void {
    const seen = new Set<string | null>();
    for (const { signal, how } of readings) {
      if (!seen.has(signal) && how === 'fails') this.failReading(signal);
      if (!seen.has(signal) && how === 'isLate') this.meddling.late.add(signal);
      seen.add(signal);
    }
  }

  private failReading(signal: string | null): void {
    this.breaks(signal);
    this.meddling.unreadable.add(signal);
  }

  private forgetReadings(): void {
    this.meddling.unreadable.clear();
    this.meddling.late.clear();
  }

  private readAgain({ signal, how }: Extract<Happened, { what: 'read' }>): void {
    const { meddling } = this;
    if (how === 'lateComes') {
      meddling.lateAnswers.get(signal)?.();
      meddling.lateAnswers.delete(signal);
      return;
    }
    if (how === 'seen') meddling.missed.delete(signal);
    if (how === 'fails' && !meddling.unreadable.has(signal)) this.failReading(signal);
    else if (how === 'isLate' && !meddling.lateAnswers.has(signal)) meddling.late.add(signal);
    else if (how !== 'seen') return;
    this.process?.wake(signal);
  }

  private changeLevel({ signal, good, taking, breaks, missed }: Extract<Happened, { what: 'level' }>): void {
    if (breaks) this.breaks(signal);
    if (missed) this.meddling.missed.add(signal);
    const moved = this.signals();
    for (const each of [signal, ...taking]) {
      if (moved.includes(each)) this.plant.steer(this.saved.chassis, each, good);
    }
  }

  private async passTime(ms: number, coming: readonly Extract<Happened, { what: 'read' }>[]): Promise<void> {
    const left = ms - this.aheadMs;
    this.aheadMs = 0;
    if (left > JUST_BEFORE_MS) await this.clock.advance(left - JUST_BEFORE_MS);
    this.arm(coming);
    if (left > 0) await this.clock.advance(Math.min(left, JUST_BEFORE_MS));
  }

  private async ask(request: Request, refuse: (why: string) => void): Promise<void> {
    if (this.process !== null && this.act()) return;
    const { process } = this;
    if (process?.isAlive() && !process.isWatching()) {
      if (request === 'POWER_OFF' && hasTag(this.judge.stateNow(), 'rising')) process.askToEnd();
      else refuse('one process at a time drives a chassis, and nobody asks the one that does for this');
      return;
    }
    await this.end();
    this.begin(JOB_OF[request], request);
  }

  private begin(job: Job, request: Request | null): void {
    this.request = request;
    this.answered = 0;
    const store: SnapshotStore = {
      load: () => ({ hint: this.hint, warning: null }),
      save: (state, sequence) => {
        this.hint = structuredClone({ state, sequence });
        return null;
      },
    };
    this.process = new ReplayProcess([job], {
      board: this.board,
      chassis: this.saved.chassis,
      plan: this.wholePlan,
      plant: this.plant,
      clock: this.clock,
      store,
      meddling: this.meddling,
      record: (entry) => {
        if (entry.type === 'request') this.answered += 1;
        this.recording.push(entry);
        this.judge.record(entry);
      },
    });
  }

  /** The next process looks at the chassis, and acts when the story has it do so, or is asked for something. */
  private takeUp(rest: readonly SavedStep[], found: State): void {
    const next = rest.find(({ happened: { what } }) => what !== 'level' && what !== 'notInTime')?.happened;
    const isActing = next?.what === 'request' || (next?.what === 'time' && next.how === 'goesOn');
    if (!isActing) {
      this.watchAgain(found);
      return;
    }
    this.meddling.mayAct = new Promise((resolve) => {
      this.release = resolve;
    });
    if (next.what === 'request') this.begin(JOB_OF[next.request], next.request);
    else this.goOn();
  }

  /** Lets the process act that has looked at the chassis; false where there is none. */
  private act(): boolean {
    const { release } = this;
    this.release = null;
    this.meddling.mayAct = Promise.resolve();
    release?.();
    return release !== null;
  }

  /** Somebody goes on with what the process before left. */
  private goOn(): void {
    const job = FOLLOWER[this.hint?.state ?? 'unknown'];
    if (job !== null) this.begin(job, null);
    // Without its state, the stages go on with what the lines show.
    else if (this.hint === null) this.begin(JOBS.waitOff, null);
  }

  /** The resident service watches over a chassis that is on, whoever raised it. */
  private watchAgain(found: State): void {
    const isOn = this.hint === null ? this.plant.pgood(this.saved.chassis) : this.hint.state === 'pgood';
    if (isOn || found === 'pgood') this.begin(JOBS.watch, null);
  }

  private async end(): Promise<void> {
    await this.process?.kill();
    this.process = null;
    this.isAsleep = false;
    this.act();
    this.meddling.lateAnswers.clear();
    this.meddling.missed.clear();
  }

  private async settle(): Promise<void> {
    await this.clock.advance(0);
    for (let ms = 0; ms < SETTLE_MS && !this.isAsleep && this.process?.isBusy(); ms += 1) {
      await this.clock.advance(1);
      this.aheadMs += 1;
    }
  }

  private noticeEnd(): void {
    const { process } = this;
    if (process === null || process.isAlive()) return;
    this.judge.ended(this.request !== null, this.answered > 0, process.error());
    this.process = null;
  }

  private stick({ drive }: Struck): void {
    const { chassis } = this.saved;
    const described = this.board.chassis[chassis];
    if (drive.what === 'enable') {
      const isOn = this.plant
        .lines()
        .some(({ role, rail, asserted }) => role === 'enable' && rail === drive.rail && asserted);
      this.plant.addFault(parseFault(`enable ${drive.rail} stuck ${isOn ? 'on' : 'off'}`, this.board));
      return;
    }
    const ref = drive.what === 'latch' ? described?.latch : described?.resets[drive.reset];
    if (ref === undefined) return;
    const line = ref as LineRef & { readonly active: 'high' | 'low' };
    const isAsserted = this.plant.lines().some(({ role, asserted }) => role === drive.what && asserted);
    this.plant.hold(line, (line.active === 'high') === isAsserted ? 1 : 0);
  }

  /** Another state than in the story is no defect by itself, but what follows is another story. */
  private compare({ state, text }: SavedStep, number: number): void {
    const here = this.judge.stateNow();
    // What is recorded of a press is told when that is over.
    if (this.parted !== null || here === state || this.process?.isPressing()) return;
    this.parted = `after step ${number} (${text}) the chassis is ${here}, and ${state} in the story`;
  }

  /** What is not broken behaves from now on, and what is under way has to end. */
  private async letGo(): Promise<void> {
    const { chassis } = this.saved;
    this.forgetReadings();
    this.meddling.missed.clear();
    for (const release of this.meddling.lateAnswers.values()) release();
    this.meddling.isSleepMissed = false;
    for (const signal of this.signals())
      if (!this.broken.has(signal)) this.plant.steer(chassis, signal, null);
    // What a press that was late has asked for comes now.
    if (this.broken.has(LATE_PRESS)) this.plant.clearFaults();
    this.act();
    if (this.process === null) this.goOn();
    await this.clock.advance(limitMs(this.plan));
    this.isAsleep = false;
    await this.settle();
    const { process } = this;
    const isWaiting = process?.isAlive() === true && !process.isWatching();
    this.noticeEnd();
    this.judge.afterStep();
    this.judge.atEnd(isWaiting);
    await this.end();
  }
}

/** Longer than all that a chassis may take, up and down. */
function limitMs({ rails, pgood, resets, minOffMs }: Plan): number {
  const ofRails = rails.reduce((sum, rail) => sum + rail.settleMs + rail.onTimeoutMs + rail.offTimeoutMs, 0);
  const ofResets = resets.reduce((sum, { releaseDelayMs }) => sum + releaseDelayMs, 0);
  const ofPgood = pgood.deglitchMs + pgood.onTimeoutMs + pgood.offTimeoutMs;
  return 2 * (ofRails + ofResets + ofPgood + minOffMs) + 60_000;
}

/** The readings that come before anything else happens. */
function readingsIn(steps: readonly SavedStep[]): Extract<Happened, { what: 'read' }>[] {
  const readings: Extract<Happened, { what: 'read' }>[] = [];
  for (const { happened } of steps) {
    if (happened.what !== 'read') break;
    readings.push(happened);
  }
  return readings;
}

function struckIn(steps: readonly Happened[]): Struck | null {
  for (const step of steps) if ('struck' in step && step.struck) return step.struck;
  return null;
}

function lineOf({ drive }: Struck): string {
  if (drive.what === 'enable') return `enable ${drive.rail}`;
  return drive.what === 'reset' ? `reset ${drive.reset}` : 'latch';
}
