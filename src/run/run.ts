import { errorText } from '../../hw/errors.ts';
import type { Clock } from '../../hw/ports.ts';
import { PowerError, type PowerErrorCode } from '../errors.ts';
import { nextDeadlineMs, readingsDue } from '../sequence/deadlines.ts';
import type { Answer, SequenceAction, SequenceEvent } from '../sequence/events.ts';
import { type Step, step, takeUp, viewOf } from '../sequence/machine.ts';
import { needsBehind, type Plan, type RailPlan, railPlan, type SleepPlan } from '../sequence/plan.ts';
import { goesAtOnce } from '../sequence/rails.ts';
import type { Reconciled } from '../sequence/reconcile.ts';
import { hasTag, railState, type SequenceState, type State } from '../sequence/state.ts';
import { changedRails, restlessRails } from '../sequence/survey.ts';
import type { SnapshotStore } from '../store/snapshot.ts';
import { type Alarm, LONGEST_MS } from './alarm.ts';
import type { LevelsAtFault } from './diagnosis.ts';
import { createDrives, type DriveAction, type Drives, isAbsent, type LoweringAction } from './drives.ts';
import type { ChassisHardware, Source } from './hardware.ts';
import type { Job } from './jobs.ts';
import { createReadings, type LevelEvent, type Readings, type SleepReading } from './readings.ts';
import type { Happening, Recorder } from './record.ts';
import type { Recording } from './recording.ts';
import { createTurns, type Turns } from './turns.ts';

export interface RunOptions {
  readonly plan: Plan;
  readonly hardware: ChassisHardware;
  readonly clock: Clock;
  readonly store: SnapshotStore;
  readonly record: Recorder;
  /**
   * Aborted, the run ends as soon as power is not in motion: what it was raising it takes down and rejects
   * INTERRUPTED, what goes down goes down.
   */
  readonly signal?: AbortSignal;
  /** Aborted, the run rejects INTERRUPTED at once, and the lines stay as they are. */
  readonly abandon?: AbortSignal;
  /** For a job that watches: whether another process drives the chassis now. Asked before a loss is believed. */
  readonly superseded?: () => Promise<boolean>;
  /** Name of the error that somebody has found the power supply to have, empty where nobody has. Asked when the power is down. */
  readonly supplyError?: () => string;
  /**
   * For a job that watches: awaited when everything is switched off after a loss, or after a host that switched itself off, before
   * anything else is done. Rejects where another process has the chassis by then: the run ends with that, and keeps nothing.
   */
  readonly onLowered?: () => Promise<void>;
  /** For a job that watches, where this process watches other chassis as well: their drives come before its news. */
  readonly alarm?: Alarm;
}

/** A run of the machine on the hardware: where it is, and what is under way. */
export interface Run {
  readonly job: Job;
  readonly options: RunOptions;
  readonly recording: Recording;
  readonly drives: Drives;
  readonly readings: Readings;
  readonly turns: Turns;
  /** Where the machine is. */
  now: Omit<Step, 'actions'>;
  /** How the request was taken. */
  answer: Answer | null;
  /** Where the power-on was when it was asked to end. */
  withdrewIn: State | null;
  /** Levels that were read, not handled yet. */
  readonly levels: SequenceEvent[];
  /** Lowerings that are over, not handled yet. */
  readonly lowered: { readonly action: LoweringAction; readonly events: readonly SequenceEvent[] }[];
  /** What the machine wants done, in its order. What concludes a lowering waits here until all of it is over. */
  readonly todo: SequenceAction[];
  /** What there is to record of a rail once its enable was switched. */
  readonly switched: Map<string, () => void>;
  /** Of the fault of this run; null before it. */
  levelsAtFault: LevelsAtFault | null;
  /** The state that was recorded last. */
  entered: State;
  /** The run was asked to end (SIGTERM, Ctrl-C), and has begun to. */
  isEnding: boolean;
  /** Drives took so long that the rest goes on beside them. */
  isSlow: boolean;
  /** For a watch: all that had to go off was driven. */
  isLowered: boolean;
  loweringTold: boolean;
  saveWarned: boolean;
}

/** These states conclude a request, so they are recorded only when every drive is over. */
const CONCLUSIONS: readonly State[] = ['opWaitPowerOff', 'off', 'failed'];

/** By then every line is switched that waits for no hanging device: what happened is told, and what is off is read. */
const SPEAK_MS = 50;

/** @param taken where the machine is taken up; nothing is driven for it */
export function createRun(job: Job, options: RunOptions, taken: Reconciled, recording: Recording): Run {
  const { plan, hardware, clock } = options;
  const snapshot = takeUp(plan, taken);
  const turns = createTurns(clock);
  const levels: Run['levels'] = [];
  const lowered: Run['lowered'] = [];
  const readings = createReadings({
    hardware,
    clock,
    recording,
    isPatient: () => hasTag(run.now.state, 'falling'),
    tellsOf: (event) => tellsOf(run, event),
    sleep: plan.sleep !== null && job.watches ? sleepReading(plan.sleep, options, () => run.now.state) : null,
    ended(events) {
      levels.push(...events);
      if (!isOnlyDriven(run)) turns.wake();
    },
  });
  const drives = createDrives({
    plan,
    hardware,
    clock,
    recording,
    newsOfPower: async (rail) => (await Promise.all(behind(options, rail).map(readings.ask))).flat(),
    ended(action, events) {
      lowered.push({ action, events });
      if (!isOnlyDriven(run)) turns.wake();
    },
  });
  const run: Run = {
    job,
    options,
    recording,
    drives,
    readings,
    turns,
    now: { snapshot, ...viewOf(snapshot) },
    answer: null,
    withdrewIn: null,
    levels,
    lowered,
    todo: [],
    switched: new Map(),
    levelsAtFault: null,
    entered: taken.state,
    isEnding: false,
    isSlow: false,
    isLowered: false,
    loweringTold: false,
    saveWarned: false,
  };
  return run;
}

/**
 * Only who watches a chassis takes it that the host switches itself off: who has just switched it on has not what was asked for.
 * Its power is all that a line shows; of a host that nothing but its sleep state shows that is no power.
 */
function sleepReading(
  { rail, isItsSignal }: SleepPlan,
  { plan, hardware }: RunOptions,
  stateNow: () => State,
): SleepReading {
  const rails = plan.rails.flatMap(({ name, observable, isLogOnly }) => {
    const isShown = observable && !isLogOnly && !hardware.asksBus(name) && !(isItsSignal && name === rail);
    return isShown ? [name] : [];
  });
  return { stands: [null, ...rails], isAwaited: () => stateNow() === 'pgood' };
}

/** Why a run ends without a result. */
export function endedBy(
  { options: { hardware } }: Run,
  code: PowerErrorCode,
  message: string,
  details: Record<string, unknown>,
): PowerError {
  const { chassis } = hardware;
  return new PowerError(code, `chassis ${chassis}: ${message}`, { chassis, ...details });
}

/**
 * The state is written before it is acted on, so that a process that follows a killed one knows what was meant. Never
 * throws: nothing is left on because its state could not be kept.
 */
export function save(run: Run): void {
  const problem = problemOfSaving(run);
  if (problem === null || run.saveWarned) return;
  run.saveWarned = true;
  run.recording.record({ type: 'warning', message: problem });
}

function problemOfSaving({ now: { state, sequence }, options: { store } }: Run): string | null {
  try {
    return store.save(state, sequence);
  } catch (error) {
    return `internal error, the state was not kept: ${errorText(error)}`;
  }
}

/** Events, and whatever follows from carrying out what the machine wants for them. */
export async function handle(run: Run, ...events: readonly SequenceEvent[]): Promise<void> {
  const pending = [...events];
  run.recording.hold();
  do {
    const event = pending.shift();
    if (event !== undefined) takeStep(run, event);
    pending.push(...(await carryOut(run)));
  } while (pending.length > 0);
  // Switch first, then speak.
  if (!run.drives.isUnderWay() && !isLoweringToBeTold(run)) run.recording.tell();
}

function takeStep(run: Run, event: SequenceEvent): void {
  const { plan } = run.options;
  const before = run.now;
  const { actions, ...now } = step(before.snapshot, event);
  run.now = now;
  if (actions.some(({ type }) => type === 'raiseFault')) {
    run.levelsAtFault = levelsAtFault(run.options, before, now.sequence);
  }
  const changed = changedRails(plan, before.sequence.rails, now.sequence.rails);
  if (isLoss(changed, before.sequence, now.sequence) && !hasTag(now.state, 'lowering')) lookAround(run);
  const switched = recordLevels(changed, before.sequence, now.sequence, run.recording.record);
  for (const [rail, recordRail] of switched) run.switched.set(rail, recordRail);
  // To enter a state is an action as well. And what is known of a button is for whoever drives next: what it switches off is
  // pressed for again unless it is known to be off.
  const isOfButton = hasTag(now.state, 'lowering') && changed.some(({ pulsed }) => pulsed !== null);
  if (actions.some((action) => !isOnlyTold(run.job, action)) || isOfButton) save(run);
  run.todo.push(...actions);
  raiseAlarm(run);
}

/** The state file of a chassis that is on is of who drove it last, and a watch tells without the lock. */
function isOnlyTold({ watches }: Job, { type }: SequenceAction): boolean {
  return watches === true && type === 'tellMissed';
}

/** For a watch: power may be going, or goes down, and not everything is off yet. */
function raiseAlarm({ job, options: { alarm, plan, hardware }, now, isLowered }: Run): void {
  if (!job.watches) return;
  const { state, sequence } = now;
  const isGoing = state === 'pgood' ? hasDoubt(plan, sequence) : hasTag(state, 'lowering') && !isLowered;
  alarm?.set(hardware.chassis, isGoing);
}

/** What was enabled and read until the step that found the fault, with the levels that it found it by. */
function levelsAtFault(
  { plan, hardware }: Pick<RunOptions, 'plan' | 'hardware'>,
  { sequence: before, readings }: Run['now'],
  { rails, pgood }: SequenceState,
): LevelsAtFault {
  const lostMs = pgood.level ? Number.NEGATIVE_INFINITY : pgood.sinceMs;
  const levels = plan.rails.map(({ name, observable }) => {
    const { enabled, phase, missed } = railState(before, name);
    const { good: seen, goodUnread } = rails[name] ?? railState(before, name);
    const read = goodUnread ? null : seen;
    const good = observable ? read : enabled;
    const isFresh = observable && (readings.rails[name]?.askedMs ?? Number.NEGATIVE_INFINITY) >= lostMs;
    return [
      name,
      { enabled, good, wasUp: phase === 'up', wasMissed: missed !== undefined, isFresh },
    ] as const;
  });
  const pgoodLacks = pgood.level ? [] : hardware.pgoodLacks();
  return { rails: Object.fromEntries(levels), pgood: pgood.level, pgoodLacks };
}

/** Something that stood is gone. */
function isLoss(changed: readonly RailPlan[], before: SequenceState, after: SequenceState): boolean {
  if (before.pgood.level && !after.pgood.level) return true;
  return changed.some(({ name }) => {
    const { phase, good } = railState(after, name);
    return phase === 'up' && !good && railState(before, name).good;
  });
}

/**
 * What only a chip tells may not have passed its limit when the loss is seen. So it is read again and again while the loss is not
 * believed yet: this often, and not for longer than most de-glitch times.
 */
const LOOK_AGAIN_MS = 2;
const LOOKS = 25;

/**
 * What else is gone tells what went first, so every rail that is up is read while the loss is not believed yet, but for those
 * whose devices remember. Nobody waits for what is not answered by then.
 */
function lookAround(run: Run, looks = LOOKS): void {
  const {
    options: { plan, hardware, clock },
    now: { state, sequence },
    readings,
  } = run;
  const isUp = (name: string) => railState(sequence, name).phase === 'up';
  const forgotten = plan.rails.filter(
    ({ name, observable }) => observable && isUp(name) && !hardware.remembers(name),
  );
  const isFirst = looks === LOOKS;
  const asked = forgotten.filter(({ name }) => hardware.asksBus(name));
  for (const { name } of isFirst ? forgotten : asked) readings.mark(name);
  if (asked.length === 0 || looks === 0 || state !== 'pgood') return;
  clock.after(LOOK_AGAIN_MS, () => {
    const { pgood } = run.now.sequence;
    if (run.now.state !== 'pgood' || pgood.level === pgood.good) return;
    lookAround(run, looks - 1);
    run.turns.wake();
  });
}

/** As much of what the machine wants as can be done now. What comes of it is returned as events. */
async function carryOut(run: Run): Promise<SequenceEvent[]> {
  const { todo, drives } = run;
  const events: SequenceEvent[] = [];
  for (let action = todo[0]; action !== undefined; action = todo[0]) {
    if (isConclusion(action) && drives.isUnderWay()) break;
    todo.shift();
    if (!isDrive(action)) note(run, action);
    else if (isLowering(action) && !hasTag(run.now.state, 'rising')) {
      const { sequence, readings } = run.now;
      drives.begin(action, goesAtOnce({ fault: sequence.fault, readings }));
    } else {
      const outcome = await drives.carryOut(action);
      events.push(...outcome);
      const failed = noteDriven(run, action, outcome);
      // Power that is coming up comes no further once a line failed, and what it has not come to is not told; power goes
      // down all the same.
      if (failed && isRaising(run.now.state)) todo.length = 0;
    }
  }
  return events;
}

/** Also on the last step of it: what is driven for that was wanted in `pgood` already. */
function isRaising(state: State): boolean {
  return hasTag(state, 'rising') || state === 'pgood';
}

function isDrive(action: SequenceAction): action is DriveAction {
  return action.type === 'driveEnable' || action.type === 'driveReset' || action.type === 'pulseLatch';
}

function isLowering(action: DriveAction): action is LoweringAction {
  return action.type === 'driveReset' ? action.asserted : action.type === 'driveEnable' && !action.asserted;
}

function isConclusion(action: SequenceAction): boolean {
  return action.type === 'pulseLatch' || (action.type === 'entered' && CONCLUSIONS.includes(action.state));
}

/** What the machine tells, and wants nothing driven for. */
function note(run: Run, action: Exclude<SequenceAction, DriveAction>): void {
  const { record } = run.recording;
  if (action.type === 'answer') {
    const { request, outcome, reason } = action;
    run.answer = action;
    record({ type: 'request', request, outcome, reason });
  } else if (action.type === 'tellHostOff') {
    record({ type: 'hostOff', rail: action.rail });
  } else if (action.type === 'tellMissed') {
    const { rail, miss, reason } = action;
    record({ type: 'missed', rail, miss, reason });
  } else if (action.type === 'raiseFault') {
    record({ type: 'fault', fault: action.fault });
  } else {
    record({ type: 'state', from: run.entered, to: action.state });
    run.entered = action.state;
  }
}

/** Returns whether it failed. */
function noteDriven(run: Run, action: DriveAction, events: readonly SequenceEvent[]): boolean {
  const failed = events.some(({ type }) => type === 'DRIVE_FAILED');
  const isRead = action.type === 'driveEnable' && !isAbsent(run.options.plan, action.rail);
  if (isRead && !failed) {
    run.switched.get(action.rail)?.();
    // Its signal may have changed already, and an edge that was before the drive is never seen again. Read once all is
    // driven that has to be: a read in between would hold up the next one.
    run.readings.mark(action.rail);
  }
  return failed;
}

/** Goes on until a state for which `done` holds, or nothing can go on by itself any more. */
export async function goOn(run: Run, done: () => boolean): Promise<void> {
  const { job, options } = run;
  const { signal, abandon } = options;
  for (;;) {
    if (abandon?.aborted) {
      throw endedBy(
        run,
        'INTERRUPTED',
        `${causeOfEnd(abandon, run.now.state)}, again: the lines stay as they are; run start to go on or stop to power off`,
        { state: run.now.state, signal: abandon.reason },
      );
    }
    const isWatching = () => job.watches && run.now.state === 'pgood';
    // To ask takes some time, in which the run may be asked to end.
    if (isWatching() && ((await options.superseded?.()) || signal?.aborted)) return;
    await noticeStandstill(run);
    await beginToEnd(run, done);
    // Nothing but a drive is waited for by what the machine wanted.
    const isSettled = !run.drives.isUnderWay();
    if (isSettled) await waitForOthers(run);
    const over = isOnlyDriven(run) ? undefined : run.lowered.shift();
    if (over !== undefined) {
      noteDriven(run, over.action, over.events);
      await handle(run, ...over.events);
      continue;
    }
    // A device that hangs does not keep the news for long.
    if (isNewsDue(run)) {
      run.isSlow = true;
      run.recording.tell();
    }
    if (isSettled) await tellLowered(run);
    const isDone = isSettled && done();
    if (isDone && !isAnswerAwaited(run)) return;
    const level = isOnlyDriven(run) ? undefined : run.levels.shift();
    if (level !== undefined) await handle(run, level);
    else if (!(await waitForMore(run, isSettled, isDone))) return;
  }
}

/** What happened is told though drives are under way: they take long. Those of other chassis are waited for as well. */
function isNewsDue({ recording, options: { alarm, hardware } }: Run): boolean {
  const limitMs = alarm?.isRaisedBeside(hardware.chassis) ? LONGEST_MS : SPEAK_MS;
  return recording.heldForMs() >= limitMs;
}

/**
 * After a loss all is wanted off at once, and no drive waits for what came of another one: until all are over, or the news are due,
 * nothing is done beside them.
 */
function isOnlyDriven(run: Run): boolean {
  const { sequence, readings } = run.now;
  const isAtOnce = run.drives.isUnderWay() && goesAtOnce({ fault: sequence.fault, readings });
  return isAtOnce && !run.isSlow && !isNewsDue(run);
}

/**
 * A run ends no sooner than its last answer comes, and on a bus that hangs this is a second. What it then says of a chassis
 * that is on has to be true at that time, so it hears of a loss until then.
 */
function isAnswerAwaited({ now, readings, levels }: Run): boolean {
  return now.state === 'pgood' && (readings.isUnderWay() || levels.length > 0);
}

/**
 * Reads what is due, and rests until there is something to handle. False when nothing can go on by itself any more.
 * @param isDone only an answer is awaited: nothing else is asked of a bus, or there would always be one to wait for
 */
async function waitForMore(run: Run, isSettled: boolean, isDone: boolean): Promise<boolean> {
  const { job, options, now, drives } = run;
  const { plan, hardware, clock, signal, abandon } = options;
  const { state, sequence, readings } = now;
  const isDriving = isOnlyDriven(run);
  // Before its enable is switched a signal tells nothing of what the switching does, and pgood is of all of them.
  const isSwitching = (source: Source) =>
    (source === null ? hasTag(state, 'lowering') && !isSettled : isBeingSwitched(run, source)) ||
    // On the way down a rail that has not settled never will, and what is behind it is waited for.
    (hasTag(state, 'rising') && isStarting(plan, sequence, source));
  const mustWait = (source: Source) =>
    isDriving || isSwitching(source) || (isDone && hardware.asksBus(source));
  run.readings.begin(readingsDue(plan, state, sequence, readings), mustWait);
  // What the machine wants next, time included, comes when what it wanted last is done.
  const deadlineMs = isSettled ? nextDeadlineMs(plan, state, sequence) : null;
  const nowMs = clock.nowMs();
  if (deadlineMs !== null && deadlineMs <= nowMs) {
    await handle(run, { type: 'TICK', atMs: nowMs });
    return true;
  }
  const isWatching = job.watches && state === 'pgood';
  if (deadlineMs === null && isSettled && !run.readings.isUnderWay() && !isWatching) {
    if (!hasTag(state, 'rising') && !hasTag(state, 'lowering')) return false;
    throw endedBy(run, 'INTERNAL', `the sequence waits in ${state} without a deadline`, { state });
  }
  const isWatchful = run.readings.isUnderWay() || drives.isUnderWay() || hasDoubt(plan, sequence);
  const isDue =
    (!isDriving && run.levels.length + run.lowered.length > 0) ||
    abandon?.aborted === true ||
    (signal?.aborted === true && !run.isEnding);
  await run.turns.rest(deadlineMs, isWatchful, isDue);
  return true;
}

/** Its enable, or one that a rail that is only watched goes with. */
function isBeingSwitched({ drives, options: { plan } }: Run, rail: string): boolean {
  if (!drives.isUnderWay()) return false;
  return plan.rails.some(
    ({ name, followers }) => (name === rail || followers.includes(rail)) && drives.isSwitching(name),
  );
}

/**
 * What is read before bad news is told, because it may have gone first and be at fault: what powers the device of a rail or
 * of pgood, and where rails are only watched what a rail needs that was up; for pgood of a running chassis the rails that it
 * is taken from, and all that is only watched, because nothing of that can be read any more once the enables are off. A loss
 * waits for no bus but its own. What is being switched tells nothing until that is over.
 */
function tellsOf(run: Run, event: LevelEvent): string[] {
  return [...new Set(firstToTell(run, event))].filter((rail) => !isBeingSwitched(run, rail));
}

function firstToTell(
  { options: { plan, hardware }, now: { state, sequence } }: Run,
  event: LevelEvent,
): readonly string[] {
  const isAtHand = (rail: string) => !hardware.asksBus(rail);
  const watched = plan.rails.filter((rail) => rail.watched !== null).map(({ name }) => name);
  const ofPgood = poweredBy(plan, null);
  if (event.type === 'PGOOD_LEVEL') {
    return state === 'pgood' ? [...ofPgood, ...plan.pgood.rails, ...watched.filter(isAtHand)] : ofPgood;
  }
  if (event.rail === null) return ofPgood;
  const { rail } = event;
  const power = poweredBy(plan, rail);
  const wasUp = event.type === 'RAIL_LEVEL' && railState(sequence, rail).phase === 'up';
  if (watched.length === 0 || !wasUp) return power;
  const needs = railPlan(plan, rail).needs.filter((need) => isAtHand(need) || !isAtHand(rail));
  return [...needs, ...power];
}

/**
 * What a drive of the rail may have failed for: who is set up first is enabled only while what it needs is still good, and a host
 * feels no press without that. What is further away is read where that is a line.
 */
function behind({ plan, hardware }: Pick<RunOptions, 'plan' | 'hardware'>, rail: string): readonly string[] {
  const { needs, poweredBy } = railPlan(plan, rail);
  const further = needsBehind(plan, rail).filter((need) => needs.includes(need) || !hardware.asksBus(need));
  return [...new Set([...further, ...poweredBy])];
}

function poweredBy(plan: Plan, rail: Source): readonly string[] {
  return rail === null ? plan.pgood.poweredBy : railPlan(plan, rail).poweredBy;
}

/** What shows the rail, or pgood, may not have started yet: a rail that it has its power through has not settled. */
function isStarting(plan: Plan, sequence: SequenceState, rail: Source): boolean {
  return poweredBy(plan, rail).some((power) => {
    const { phase, watched } = railState(sequence, power);
    // What is only watched may be good before it is waited for.
    const isComing = phase === 'rising' || (watched !== undefined && phase === 'down');
    return isComing || isStarting(plan, sequence, power);
  });
}

async function noticeStandstill(run: Run): Promise<void> {
  const ms = run.turns.standstillMs();
  if (ms !== null) await handle(run, { type: 'STALLED', ms, atMs: run.options.clock.nowMs() });
}

/** Begins to end when the run is asked to: what is half up goes down, for nobody may come to finish it. */
async function beginToEnd(run: Run, done: () => boolean): Promise<void> {
  const { signal, clock } = run.options;
  const { state } = run.now;
  if (!signal?.aborted || run.isEnding) return;
  run.isEnding = true;
  const warn = (what: string) =>
    run.recording.record({ type: 'warning', message: `${causeOfEnd(signal, state)}: ${what}; ${AGAIN}` });
  if (hasTag(state, 'rising')) {
    run.withdrewIn = state;
    warn('taking the power down');
    await handle(run, { type: 'POWER_OFF', atMs: clock.nowMs() });
  } else if (!done()) warn('power goes down first');
}

/** For a watch: nobody was told yet that it takes the power down. */
function isLoweringToBeTold({ job, now, loweringTold }: Run): boolean {
  return job.watches === true && hasTag(now.state, 'lowering') && !loweringTold;
}

/** For a watch: all was driven, and what is left to do waits for the drives of other chassis. */
async function waitForOthers(run: Run): Promise<void> {
  if (run.isLowered || !isLoweringToBeTold(run)) return;
  run.isLowered = true;
  raiseAlarm(run);
  await run.options.alarm?.over();
}

/** For a watch: all is off, and whoever has to know is told before anything else. */
async function tellLowered(run: Run): Promise<void> {
  if (!isLoweringToBeTold(run)) return;
  run.loweringTold = true;
  run.recording.tell();
  await run.options.onLowered?.();
}

/** A level has to stand for some time before it is believed. */
function hasDoubt(plan: Plan, sequence: SequenceState): boolean {
  const { pgood, rails } = sequence;
  if (pgood.level !== pgood.good) return true;
  return restlessRails(plan, rails).some(({ name }) => {
    const { phase, good } = railState(sequence, name);
    return (phase === 'rising' && good) || (phase === 'up' && !good);
  });
}

/** False while a dropped pgood or rail still has to stand for its de-glitch time before it is believed. */
export function isSteady(state: State, sequence: SequenceState): boolean {
  if (state !== 'pgood') return true;
  return (
    sequence.pgood.level === sequence.pgood.good &&
    Object.values(sequence.rails).every(({ good, missed }) => good || missed !== undefined)
  );
}

/** Said with the first signal, for somebody at a keyboard. */
const AGAIN = 'once more leaves at once';

/** For messages: `SIGTERM in opPowerStart`. */
export function causeOfEnd(signal: AbortSignal | undefined, state: State): string {
  return `${String(signal?.reason)} in ${state}`;
}

/**
 * Records what an event changed in rails and pgood. For rails that are being switched the record waits until
 * the drive was carried out: those are returned.
 */
function recordLevels(
  changed: readonly RailPlan[],
  before: SequenceState,
  after: SequenceState,
  record: (entry: Happening) => void,
): Map<string, () => void> {
  const switched = new Map<string, () => void>();
  for (const { name, watched } of changed) {
    const old = railState(before, name);
    const { phase, good, enabled, missed } = railState(after, name);
    // That it never came is told by itself: a line for it would say that it went.
    const isLate = missed === 'late' && old.missed === undefined;
    // Nobody waits for a supply any more, and it stays.
    const isLeft = watched === 'supply' && phase === 'down';
    if (((old.phase === phase || isLeft) && old.good === good) || isLate) continue;
    const recordRail = () => record({ type: 'rail', rail: name, phase, good });
    if (old.enabled === enabled || watched !== null) recordRail();
    else switched.set(name, recordRail);
  }
  const { level } = after.pgood;
  if (before.pgood.level !== level) record({ type: 'pgood', level });
  return switched;
}
