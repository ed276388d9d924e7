import { type Plan, type RailPlan, railPlan } from './plan.ts';
import { type Context, isFresh, type Readings, readingOf, type Source } from './readings.ts';
import { hasTag, railState, type SequenceState, type State, signalsAt } from './state.ts';
import { restlessRails } from './survey.ts';

/**
 * Each timed condition once: what it is, when it is due and what has to be read then. A time that is over is believed only
 * of a level that was asked for when it was over.
 */
export interface Deadline {
  readonly what: /** A rail that is good stands for its settle time. */
    | 'railSettles'
    /** A rail that dropped stays so for the de-glitch time of the board. */
    | 'railIsLost'
    /** A rail that was enabled, or whose needs are up where it is only watched, has to be good. */
    | 'railComes'
    /** A rail that was disabled, or goes with one that was, has to be down. */
    | 'railFalls'
    /** A rail that is down stays so for as long as the board has what goes off after it wait. */
    | 'railRests'
    /** Another level of pgood than the one believed stands for the de-glitch time of the board. */
    | 'pgoodChanges';
  /** When time alone makes it due. */
  readonly dueMs: number;
  /** The signal that decides; undefined where nothing tells of the rail but the time. */
  readonly source: Source | undefined;
  /** Only a level asked for from then on decides. */
  readonly countsFromMs: number;
}

/** A level that was first seen at `sinceMs` has to stand for `forMs`. For no time at all any reading is enough. */
function stands(
  what: Deadline['what'],
  source: Source | undefined,
  sinceMs: number,
  forMs: number,
): Deadline {
  const dueMs = sinceMs + forMs;
  return { what, source, dueMs, countsFromMs: forMs === 0 ? Number.NEGATIVE_INFINITY : dueMs };
}

/** What is waited for of a rail; it is one thing at a time. */
export function railDeadline(plan: Plan, rail: RailPlan, sequence: SequenceState): Deadline | null {
  const { name, observable, settleMs } = rail;
  const { phase, good, sinceMs, deadlineMs, missed } = railState(sequence, name);
  if (phase === 'rising' && good) {
    return stands('railSettles', observable ? name : undefined, sinceMs, settleMs);
  }
  if (phase === 'falling' && !good) return restDeadline(rail, sequence);
  if (phase === 'up' && !good && missed === undefined) {
    return stands('railIsLost', name, sinceMs, lostAfterMs(plan, rail));
  }
  if (deadlineMs === null) return null;
  const what = phase === 'falling' ? 'railFalls' : 'railComes';
  return { what, source: name, dueMs: deadlineMs, countsFromMs: deadlineMs };
}

/**
 * After a loss nothing waits for it. Of a rail without a signal it begins when its enable was switched, and not before: nor does it where
 * a button is still held, which may have switched nothing off yet.
 */
function restDeadline(
  { name, observable, pulsed, offSettleMs }: RailPlan,
  { rails, fault }: Pick<SequenceState, 'rails' | 'fault'>,
): Deadline | null {
  const { sinceMs, deadlineMs } = railState({ rails }, name);
  const isSeen = observable && pulsed === null;
  if (!isSeen && deadlineMs === null) return null;
  const restMs = fault?.state === 'pgood' ? 0 : offSettleMs;
  return stands('railRests', observable ? name : undefined, sinceMs, restMs);
}

/**
 * A host that nothing but its sleep state shows may have switched itself off: then its power goes in the time it has, and is believed to
 * be gone deglitchMs later.
 */
function lostAfterMs({ pgood, sleep }: Plan, { name, offTimeoutMs }: RailPlan): number {
  const sleeps = sleep?.rail === name && sleep.isItsSignal;
  return pgood.deglitchMs + (sleeps ? offTimeoutMs : 0);
}

/** Null while pgood is what it is believed to be. */
export function pgoodDeadline(plan: Plan, { pgood }: SequenceState): Deadline | null {
  if (pgood.level === pgood.good) return null;
  return stands('pgoodChanges', null, pgood.sinceMs, plan.pgood.deglitchMs);
}

/** The time of the condition is over, and what decides it was read after that. */
export function isOver(
  { source, dueMs, countsFromMs }: Deadline,
  nowMs: number,
  readings: Readings,
): boolean {
  return source === undefined ? nowMs >= dueMs : isFresh(readingOf(readings, source), countsFromMs);
}

/** The stage's time is over, and one of the signals it waits for still is as it was (`good`) when read after that. */
export function isStageOver(context: Context, good: boolean): boolean {
  return signalsAt(context, good).some((source) => {
    const waits = source === null || good || !railPlan(context.plan, source).isLogOnly;
    return waits && isReadAfterStage(context, source);
  });
}

/** The stage's time is over, and the signal was read after that. */
export function isReadAfterStage({ readings, stageDeadlineMs, nowMs }: Context, source: Source): boolean {
  if (stageDeadlineMs === null || nowMs < stageDeadlineMs) return false;
  return isFresh(readingOf(readings, source), stageDeadlineMs);
}

/** Before this time no rail is enabled. */
export function holdUntilMs(plan: Plan, sequence: SequenceState): number {
  return sequence.offSinceMs === null ? Number.NEGATIVE_INFINITY : sequence.offSinceMs + plan.minOffMs;
}

/**
 * The resets that are still asserted, each with the time at which it is released; none before all is ready. One that waits for
 * the host is none of the sequence's to release.
 */
function resetReleases(
  plan: Plan,
  { readyMs, resetsAsserted }: SequenceState,
): { name: string; dueMs: number }[] {
  if (readyMs === null) return [];
  return plan.resets.flatMap(({ name, releaseDelayMs, isHeld }) =>
    resetsAsserted[name] && !isHeld ? [{ name, dueMs: readyMs + releaseDelayMs }] : [],
  );
}

/** The first reset of the plan whose release time has come, null when there is none. */
export function resetDue(plan: Plan, sequence: SequenceState): string | null {
  return resetReleases(plan, sequence).find(({ dueMs }) => sequence.nowMs >= dueMs)?.name ?? null;
}

/**
 * The next time at which the sequence changes though nothing else happens, or null. A runner sends TICK
 * then.
 */
export function nextDeadlineMs(plan: Plan, state: State, sequence: SequenceState): number | null {
  if (hasTag(state, 'atRest')) return null;
  const { nowMs, stageDeadlineMs } = sequence;
  const deadlines = [
    ...restlessRails(plan, sequence.rails).map((rail) => railDeadline(plan, rail, sequence)),
    pgoodDeadline(plan, sequence),
    ...resetReleases(plan, sequence),
  ];
  const times = [
    holdUntilMs(plan, sequence),
    stageDeadlineMs,
    ...deadlines.map((each) => each?.dueMs ?? null),
  ];
  const future = times.filter((time): time is number => time !== null && time > nowMs);
  return future.length === 0 ? null : Math.min(...future);
}

/**
 * Signals that have to be read at this moment: a time is over, or power is about to be raised, and what was read last
 * was asked for before.
 */
export function readingsDue(plan: Plan, state: State, sequence: SequenceState, readings: Readings): Source[] {
  if (hasTag(state, 'atRest')) return [];
  const { nowMs, stageDeadlineMs } = sequence;
  const due = new Set<Source>(hasTag(state, 'rising') ? readings.check?.left : []);
  const need = (source: Source, countsFromMs: number) => {
    if (nowMs >= countsFromMs && !isFresh(readingOf(readings, source), countsFromMs)) due.add(source);
  };
  const needFor = (deadline: Deadline | null) => {
    if (deadline?.source !== undefined) need(deadline.source, deadline.countsFromMs);
  };
  /** Any answer will do that is not older than the last switching or standstill. */
  const needAny = (source: Source) => need(source, Number.NEGATIVE_INFINITY);
  for (const rail of restlessRails(plan, sequence.rails)) {
    const deadline = railDeadline(plan, rail, sequence);
    // What goes down anyway is not missed.
    if (deadline?.what === 'railIsLost' && hasTag(state, 'lowering')) continue;
    if (railState(sequence, rail.name).phase === 'falling') needAny(rail.name);
    needFor(deadline);
  }
  needFor(pgoodDeadline(plan, sequence));
  if (state === 'opWaitPowerOff' || (state === 'fault' && stageDeadlineMs !== null)) needAny(null);
  if (stageDeadlineMs !== null && sequence.readyMs === null) {
    for (const source of signalsAt(sequence, state !== 'opWaitPowerOn')) need(source, stageDeadlineMs);
  }
  return [...due];
}
