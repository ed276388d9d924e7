import type { SequenceAction, SequenceEvent } from '../sequence/events.ts';
import type { ChassisSnapshot } from '../sequence/machine.ts';
import { type Plan, type RailPlan, railPlan } from '../sequence/plan.ts';
import { BEGUN_ANEW, type Context, type Readings, type Source } from '../sequence/readings.ts';
import { hasTag, railState, type SequenceState, type State } from '../sequence/state.ts';
import type { Machine } from './machine.ts';

/** An answer that is under way: asked for so long ago, of this signal. */
export interface Awaited {
  readonly source: Source;
  readonly ageMs: number;
}

/**
 * What the machine can be in, times counted from now. Each stands for all contexts that the machine cannot tell apart: see
 * `keyOf`. One of them is kept, with the clock that it was met at.
 */
export interface Situation {
  readonly id: number;
  readonly snapshot: ChassisSnapshot;
  readonly state: State;
  readonly sequence: SequenceState;
  readonly readings: Readings;
  /** Until time alone changes something; null where it never does. */
  readonly waitMs: number | null;
  /** What has to be read now. */
  readonly due: readonly Source[];
}

export interface Stepped {
  readonly situation: Situation;
  readonly actions: readonly SequenceAction[];
}

/** An event without its time. */
export type Told = SequenceEvent extends infer Each
  ? Each extends SequenceEvent
    ? Omit<Each, 'atMs' | 'askedMs'> & { readonly ageMs?: number }
    : never
  : never;

export interface Situations {
  readonly count: () => number;
  readonly steps: () => number;
  /** The situation that a snapshot is in. */
  of(snapshot: ChassisSnapshot, awaited: Awaited | null): Situation;
  /** One event, `afterMs` from the situation's now. Taken once; from then on it is known. */
  step(from: Situation, event: Told, afterMs: number, awaited: Awaited | null): Stepped;
}

export interface SituationOptions {
  /** Called for each context that falls under a key that is known. */
  readonly onMerge?: (kept: Situation, other: ChassisSnapshot, awaited: Awaited | null) => void;
  /** Nothing is left out of a key: times in full, and what the machine does not read. For comparison. */
  readonly isUnreduced?: boolean;
}

export function createSituations(machine: Machine, plan: Plan, options: SituationOptions = {}): Situations {
  const { onMerge, isUnreduced = false } = options;
  const known = new Map<string, Situation>();
  const taken: Map<string, Stepped>[] = [];
  let steps = 0;

  const of = (snapshot: ChassisSnapshot, awaited: Awaited | null): Situation => {
    const key = isUnreduced ? unreducedKeyOf(snapshot, awaited) : keyOf(machine, plan, snapshot, awaited);
    const there = known.get(key);
    if (there !== undefined) {
      onMerge?.(there, snapshot, awaited);
      return there;
    }
    const { plan: _, readings, ...sequence } = snapshot.context;
    const state = snapshot.value as State;
    const deadlineMs = machine.nextDeadlineMs(plan, state, sequence);
    const situation: Situation = {
      id: known.size,
      snapshot,
      state,
      sequence,
      readings,
      waitMs: deadlineMs === null ? null : deadlineMs - sequence.nowMs,
      due: machine.readingsDue(plan, state, sequence, readings),
    };
    known.set(key, situation);
    taken.push(new Map());
    return situation;
  };

  return {
    count: () => known.size,
    steps: () => steps,
    of,
    step(from, told, afterMs, awaited) {
      const waits = awaited === null ? '' : `${awaited.source ?? ''}@${awaited.ageMs}`;
      const code = `${codeOf(told)}+${afterMs} ${waits}`;
      const stepped = taken[from.id]?.get(code);
      if (stepped !== undefined) return stepped;
      steps += 1;
      const next = machine.step(from.snapshot, eventOf(told, from.sequence.nowMs + afterMs));
      const fresh = { situation: of(next.snapshot, awaited), actions: next.actions };
      taken[from.id]?.set(code, fresh);
      return fresh;
    },
  };
}

function codeOf(told: Told): string {
  let code = '';
  for (const value of Object.values(told))
    code += `${typeof value === 'object' ? JSON.stringify(value) : value},`;
  return code;
}

export function eventOf(told: Told, atMs: number): SequenceEvent {
  const { ageMs = 0, ...event } = told;
  const isAnswer = 'good' in event || event.type === 'READ_FAILED';
  return { ...event, ...(isAnswer ? { askedMs: atMs - ageMs } : {}), atMs } as SequenceEvent;
}

/** Times from now; what is over is over, by how much is told by the readings that came since. */
const until = (timeMs: number | null, nowMs: number) =>
  timeMs === null ? '-' : timeMs === Number.NEGATIVE_INFINITY ? 'o' : Math.max(0, timeMs - nowMs);

/**
 * The same for two contexts that the machine treats alike, whatever happens next. What it reads of a time is whether it is
 * over, so that it counts from now and only while it is to come; what it reads of an answer is whether it was asked for
 * after the moments that it is judged for, so that these comparisons stand for its time; of a fault whether there is one,
 * and whether it was in pgood. What it hands on to people and to the next process stays as it is. That situations under
 * one key go on alike is tested for each that a search meets.
 */
function keyOf(machine: Machine, plan: Plan, snapshot: ChassisSnapshot, awaited: Awaited | null): string {
  const { context } = snapshot;
  const { nowMs, pgood, readings, stageDeadlineMs, readyMs, fault } = context;
  const isStageOver = stageDeadlineMs !== null && stageDeadlineMs <= nowMs;
  const parts: (string | number)[] = [String(snapshot.value)];
  for (const rail of plan.rails) parts.push(railKey(machine, context, rail));
  const change = machine.pgoodDeadline(plan, context);
  parts.push(
    bits(
      pgood.level,
      pgood.good,
      pgood.unread,
      isPgoodAskedSince(snapshot, change) && machine.isFresh(readings.pgood),
    ),
    change === null ? '' : until(change.dueMs, nowMs),
    change === null ? '' : Math.min(BEGUN_ANEW, readings.pgood.standstills),
    change !== null && change.dueMs <= nowMs
      ? bits(machine.isFresh(readings.pgood, change.countsFromMs))
      : '',
    isStageOver ? bits(machine.isFresh(readings.pgood, stageDeadlineMs)) : '',
    bits(...plan.resets.map(({ name }) => context.resetsAsserted[name] ?? false)),
    until(stageDeadlineMs, nowMs),
    readyMs === null ? '-' : Math.min(nowMs - readyMs, longestRelease(plan)),
    // Off since nobody knows when, and for long enough, are one.
    context.offSinceMs === null ? 0 : until(context.offSinceMs + plan.minOffMs, nowMs),
    bits(context.latchPending, fault !== null, fault?.state === 'pgood', context.contradictions.length > 0),
    checkKey(plan, readings),
    sleepKey(snapshot),
  );
  if (awaited !== null) parts.push(awaitedKey(machine, context, awaited));
  return parts.join(' ');
}

/**
 * The machine asks whether a rail was read since it was switched, or since a standstill, only of one that goes down, or of one that
 * does not come, and where any answer ends a time. Of every other one that is forgotten before it is asked for again. A rail
 * that is only watched is not switched, so that nothing forgets it.
 */
function isAskedSince(
  { name, watched }: RailPlan,
  context: Context,
  deadline: ReturnType<Machine['railDeadline']>,
): boolean {
  const { phase, good, enabled } = railState(context, name);
  if (watched !== null || deadline?.countsFromMs === Number.NEGATIVE_INFINITY) return true;
  return phase === 'falling' || (phase === 'stuck' && !enabled) || (phase === 'rising' && !good);
}

/** The same of pgood, which is forgotten when a stage begins. */
function isPgoodAskedSince(
  { value, context: { stageDeadlineMs } }: ChassisSnapshot,
  deadline: ReturnType<Machine['pgoodDeadline']>,
): boolean {
  if (deadline?.countsFromMs === Number.NEGATIVE_INFINITY) return true;
  return value === 'opWaitPowerOff' || (value === 'fault' && stageDeadlineMs !== null);
}

function longestRelease(plan: Plan): number {
  return Math.max(0, ...plan.resets.map(({ releaseDelayMs }) => releaseDelayMs));
}

function railKey(machine: Machine, context: Context, rail: RailPlan): string {
  const { plan, nowMs, readings, stageDeadlineMs } = context;
  const { name } = rail;
  const { phase, enabled, enableDoubt, good, goodUnread, deadlineMs } = railState(context, name);
  const reading = readings.rails[name];
  if (reading === undefined) throw new RangeError(`rail ${name} has no reading`);
  const deadline = machine.railDeadline(plan, rail, context);
  const isResting = deadline?.what === 'railRests' && deadline.countsFromMs !== Number.NEGATIVE_INFINITY;
  const counts = deadline?.what === 'railSettles' || deadline?.what === 'railIsLost' || isResting;
  // What is not good rests from its disable on, and standstills before that count.
  const mayRest = rail.offSettleMs > 0 && rail.observable && !good;
  const isOver = deadline !== null && deadline.dueMs <= nowMs;
  const isStageOver = stageDeadlineMs !== null && stageDeadlineMs <= nowMs;
  return [
    phase,
    bits(enabled, good, goodUnread, isAskedSince(rail, context, deadline) && machine.isFresh(reading)),
    bits(readings.raising.includes(name), readings.driven.includes(name)),
    enableDoubt ?? '',
    until(deadlineMs, nowMs),
    counts ? until(deadline.dueMs, nowMs) : '',
    mayRest || (counts && deadline.source !== undefined) ? Math.min(BEGUN_ANEW, reading.standstills) : '',
    isOver ? bits(machine.isFresh(reading, deadline.countsFromMs)) : '',
    isStageOver ? bits(machine.isFresh(reading, stageDeadlineMs)) : '',
  ].join(',');
}

function checkKey(plan: Plan, { check }: Readings): string {
  if (check === null) return '';
  const left = [...plan.rails.map(({ name }) => name), null].map((source) => check.left.includes(source));
  return `${check.raises.what}:${check.raises.name}:${bits(...left)}`;
}

/** Of the sleep of a host is asked, as long as power comes or stands, whether what goes does so in the time that it has. */
function sleepKey({ value, context }: ChassisSnapshot): string {
  const { plan, nowMs, rails, pgood, readings } = context;
  const { isAwake, leftMs, hasLeft } = readings.sleep;
  if (plan.sleep === null) return '';
  if (hasTag(value as State, 'lowering') || hasTag(value as State, 'atRest')) return bits(hasLeft);
  if (leftMs === null) return bits(hasLeft, isAwake);
  const untilMs = leftMs + railPlan(plan, plan.sleep.rail).offTimeoutMs;
  const isInTime = ({ sinceMs }: { readonly sinceMs: number }) => sinceMs <= untilMs;
  const gone = plan.rails
    .map(({ name }) => railState({ rails }, name))
    .map((rail) => !rail.good && isInTime(rail));
  return `${bits(hasLeft, isAwake, ...gone, isInTime(pgood))}${until(untilMs, nowMs)}`;
}

/** Whether the answer, when it comes, was asked for before what it could be judged for. */
function awaitedKey(machine: Machine, context: Context, { source, ageMs }: Awaited): string {
  const { plan, nowMs, readings, stageDeadlineMs } = context;
  const askedMs = nowMs - ageMs;
  const reading = source === null ? readings.pgood : readings.rails[source];
  const rail = plan.rails.find(({ name }) => name === source);
  const deadline = rail ? machine.railDeadline(plan, rail, context) : machine.pgoodDeadline(plan, context);
  return [
    source ?? '',
    ageMs,
    bits(askedMs >= (reading?.fromMs ?? 0), askedMs >= (readings.check?.fromMs ?? 0)),
    bits(askedMs >= (deadline?.countsFromMs ?? 0), askedMs >= (stageDeadlineMs ?? 0)),
  ].join(',');
}

function bits(...flags: readonly boolean[]): string {
  let text = '';
  for (const flag of flags) text += flag ? '1' : '0';
  return text;
}

/** The whole context, times from now; only what is longer ago than any time of the board is that long ago. */
function unreducedKeyOf({ value, context }: ChassisSnapshot, awaited: Awaited | null): string {
  const { plan, nowMs, ...rest } = context;
  const longest = longestOf(plan);
  const relative = (key: string, each: unknown): unknown => {
    if (!key.endsWith('Ms') || typeof each !== 'number') return each;
    return Math.max(each - nowMs, -longest - 1);
  };
  return `${String(value)} ${JSON.stringify(rest, relative)} ${JSON.stringify(awaited)}`;
}

function longestOf({ rails, pgood, resets, minOffMs }: Plan): number {
  return Math.max(
    ...rails.flatMap(({ settleMs, onTimeoutMs, offTimeoutMs, offSettleMs }) => [
      settleMs,
      onTimeoutMs,
      offTimeoutMs,
      offSettleMs,
    ]),
    ...[pgood.deglitchMs, pgood.onTimeoutMs, pgood.offTimeoutMs, minOffMs],
    ...resets.map(({ releaseDelayMs }) => releaseDelayMs),
  );
}
