import { holdUntilMs, isOver, pgoodDeadline, railDeadline, resetDue } from './deadlines.ts';
import type { EventOf, SequenceAction, SequenceEvent } from './events.ts';
import { missOf } from './faults.ts';
import { downBefore, type Plan, type RailPlan, railPlan } from './plan.ts';
import {
  afterStandstill,
  answered,
  BEGUN_ANEW,
  type Context,
  checkOf,
  forgotten,
  isFresh,
  NOTHING_SEEN,
  type Raise,
  type Readings,
  readingOf,
  type Source,
} from './readings.ts';
import { noteSleep } from './sleep.ts';
import { type RailState, railState, type SequenceState } from './state.ts';
import { firstToCome, isUp, restlessRails, supplyOf, surveyOf, withState } from './survey.ts';

/**
 * What an event does to the rails: reducers, from what is known to what is known then, and where something has to be
 * driven that as well. The chart says when.
 */

/** What a reducer changes, and what it asks the runner for. */
export interface Reduced {
  readonly change?: Partial<Context>;
  readonly asks?: readonly SequenceAction[];
}

function withRail(context: Context, name: string, change: Partial<RailState>): Context {
  const before = railState(context, name);
  const isAsBefore = Object.entries(change).every(([key, value]) => before[key as keyof RailState] === value);
  if (isAsBefore) return context;
  return { ...context, rails: withState(context.plan, context.rails, name, { ...before, ...change }) };
}

/** What an event tells is known, and what time and levels have made of the rails with it. */
export function note(before: Context, event: SequenceEvent): Context {
  const known = noteEvent({ ...before, nowMs: Math.max(before.nowMs, event.atMs) }, event);
  return settle(known);
}

function noteEvent(context: Context, event: SequenceEvent): Context {
  switch (event.type) {
    case 'RAIL_LEVEL':
      return noteRailLevel(context, event);
    case 'PGOOD_LEVEL':
      return notePgoodLevel(context, event);
    case 'READ_FAILED':
      return noteUnread(context, event);
    case 'DRIVEN':
      return noteDriven(context, event);
    case 'LATCHED':
      // What pgood said before the enables took effect tells nothing of what they did.
      return { ...context, latchPending: false, readings: forgotten(context.readings, null, event.atMs) };
    case 'HOST_SLEEP':
      return noteSleep(context, event);
    case 'STALLED':
      return noteStandstill(context, event);
    default:
      return context;
  }
}

function noteRailLevel(context: Context, { rail, good, askedMs, atMs }: EventOf<'RAIL_LEVEL'>): Context {
  const before = railState(context, rail);
  const { observable } = railPlan(context.plan, rail);
  const isNews = before.good !== good;
  // What came late is there now: that it drops is told as well.
  const isThere = good && before.missed === 'late';
  return {
    ...withRail(context, rail, {
      ...(isThere && { missed: undefined }),
      good,
      // What was read of a rail without a signal is its enable.
      goodUnread: before.goodUnread && !observable && before.enabled,
      sinceMs: isNews ? atMs : before.sinceMs,
    }),
    readings: answered(context.readings, rail, askedMs, isNews),
  };
}

function notePgoodLevel(context: Context, { good: level, askedMs, atMs }: EventOf<'PGOOD_LEVEL'>): Context {
  const { pgood, readings } = context;
  const isNews = pgood.level !== level;
  return {
    ...context,
    pgood: { ...pgood, level, unread: false, sinceMs: isNews ? atMs : pgood.sinceMs },
    readings: answered(readings, null, askedMs, isNews),
  };
}

/**
 * Nothing else will be known of the signal, and no deadline waits for more: it stands as it was read last. A rail on its way
 * down is taken to be good, whatever was read of it last: it was enabled since.
 */
function noteUnread(context: Context, { signal, rail, askedMs }: EventOf<'READ_FAILED'>): Context {
  const { pgood, readings } = context;
  if (signal === 'pgood') {
    return { ...context, pgood: { ...pgood, unread: true }, readings: answered(readings, null, askedMs) };
  }
  if (signal !== 'good' || rail === null) return context;
  const before = railState(context, rail);
  const isUnseenFall = before.phase === 'falling' && !isFresh(readingOf(readings, rail));
  return {
    ...withRail(context, rail, { good: before.good || isUnseenFall, goodUnread: true }),
    readings: answered(readings, rail, askedMs),
  };
}

/** The times of a rail, and of those that go with it, count from when its enable was switched. */
function noteDriven(before: Context, event: EventOf<'DRIVEN'>): Context {
  const { rail: name, asserted, atMs } = event;
  const context = noteSwitched(before, event);
  if (asserted) return context;
  return railPlan(before.plan, name).followers.reduce<Context>((changed, follower) => {
    if (railState(changed, follower).phase !== 'falling') return changed;
    const deadlineMs = atMs + railPlan(before.plan, follower).offTimeoutMs;
    const readings = forgotten(changed.readings, follower, atMs);
    return { ...withRail(changed, follower, { deadlineMs, sinceMs: atMs }), readings };
  }, context);
}

/**
 * The times of a rail, and of the stage that its enable is the last of, count from the moment at which the enable was
 * switched: between the decision and that the process may have stood still.
 */
function noteSwitched(before: Context, { rail: name, asserted, atMs }: EventOf<'DRIVEN'>): Context {
  const { plan, stageDeadlineMs } = before;
  const raising = before.readings.raising.filter((other) => other !== name);
  const ofRail = forgotten({ ...before.readings, raising }, name, atMs);
  // Several enables go off at a time: pgood is asked after the last of them.
  const context = { ...before, readings: asserted ? ofRail : forgotten(ofRail, null, atMs) };
  const { phase, enabled } = railState(context, name);
  if (enabled !== asserted) return context;
  const stageMs = asserted ? plan.pgood.onTimeoutMs : plan.pgood.offTimeoutMs;
  const staged = { ...context, stageDeadlineMs: stageDeadlineMs && atMs + stageMs };
  // A rail without a signal is up or down with its enable, and only the stage waits for it.
  if (phase !== (asserted ? 'rising' : 'falling')) return staged;
  const { onTimeoutMs, offTimeoutMs } = railPlan(plan, name);
  const deadlineMs = atMs + (asserted ? onTimeoutMs : offTimeoutMs);
  return withRail(staged, name, { deadlineMs, sinceMs: atMs });
}

/**
 * Nobody saw for `ms` whether a level that has to stand for some time stood: that time begins anew. After some standstills
 * it only grows by them, or a real loss would never be believed on a machine that stands still again and again.
 */
function noteStandstill(before: Context, { ms, atMs }: EventOf<'STALLED'>): Context {
  const { plan, readings, nowMs } = before;
  const from = (source: Source, sinceMs: number) =>
    readingOf(readings, source).standstills < BEGUN_ANEW ? nowMs : Math.min(nowMs, sinceMs + ms);
  let context = before;
  for (const rail of restlessRails(plan, context.rails)) {
    const deadline = railDeadline(plan, rail, context);
    const isSettling = deadline?.what === 'railSettles' || deadline?.what === 'railRests';
    if ((isSettling && deadline.source !== undefined) || deadline?.what === 'railIsLost') {
      const { sinceMs } = railState(context, rail.name);
      context = withRail(context, rail.name, { sinceMs: from(rail.name, sinceMs) });
    }
  }
  const { pgood } = context;
  if (pgood.level !== pgood.good) {
    context = { ...context, pgood: { ...pgood, sinceMs: from(null, pgood.sinceMs) } };
  }
  return { ...context, readings: afterStandstill(readings, atMs) };
}

/** Phases and the believed pgood, as time and levels have made them. */
function settle(before: Context): Context {
  const { plan, readings, nowMs } = before;
  let context = before;
  for (const rail of restlessRails(plan, context.rails)) {
    if (isDue(rail, context))
      context = withRail(context, rail.name, raisedRail(rail, railState(context, rail.name), nowMs));
    const change = settledRail(rail, context);
    if (change !== null) context = withRail(context, rail.name, change);
  }
  const deadline = pgoodDeadline(plan, context);
  if (deadline === null || !isOver(deadline, nowMs, readings)) return context;
  const { pgood } = context;
  return { ...context, pgood: { ...pgood, good: pgood.level } };
}

/** All that a follower needs is up and good: from now on it has to come. */
function isDue({ name, needs, watched }: RailPlan, context: Context): boolean {
  const { phase } = railState(context, name);
  return watched === 'follower' && (phase === 'down' || phase === 'falling') && areUp(needs, context);
}

function areUp(rails: readonly string[], sequence: SequenceState): boolean {
  return rails.every((rail) => isUp(railState(sequence, rail)));
}

/** A rail that is only watched, once it has to come. Nothing is driven for it, and it may be there already. */
function raisedRail({ onTimeoutMs }: RailPlan, state: RailState, nowMs: number): RailState {
  const sinceMs = state.good ? state.sinceMs : nowMs;
  return { ...state, enabled: true, phase: 'rising', sinceMs, deadlineMs: nowMs + onTimeoutMs };
}

function settledRail(rail: RailPlan, context: Context): Partial<RailState> | null {
  const { plan, readings, nowMs } = context;
  const { phase, good, enabled } = railState(context, rail.name);
  if (phase === 'stuck' && !good && !enabled) return { phase: 'down' };
  const deadline = railDeadline(plan, rail, context);
  if (deadline === null || !isOver(deadline, nowMs, readings)) return null;
  // Of enables that were decided on at one moment each waits for the drive of the one before, which may take longer than
  // this rail to settle.
  if (deadline.source === undefined && readings.raising.includes(rail.name)) return null;
  if (deadline.what === 'railSettles') return { phase: 'up', deadlineMs: null };
  if (deadline.what === 'railRests') return { phase: 'down', deadlineMs: null };
  if (deadline.what === 'railFalls') return { phase: 'stuck', deadlineMs: null };
  return null;
}

/** A new attempt: nothing of the last one counts any more, and what was stuck is tried again. */
export function beginAnew(context: Context): Partial<Context> {
  const { plan, readings, nowMs } = context;
  return {
    readings: { ...readings, driven: [], sleep: NOTHING_SEEN },
    fault: null,
    stageDeadlineMs: null,
    readyMs: null,
    contradictions: [],
    rails: Object.fromEntries(
      plan.rails.map((rail): [string, RailState] => {
        const state = withoutMiss(railState(context, rail.name));
        // One whose enable could not be switched off falls when that is tried again.
        if (state.phase !== 'stuck' || state.enabled) return [rail.name, state];
        return [rail.name, { ...state, phase: 'falling', deadlineMs: nowMs + rail.offTimeoutMs }];
      }),
    ),
  };
}

function withoutMiss(state: RailState): RailState {
  if (state.missed === undefined) return state;
  const { missed: _, ...others } = state;
  return others;
}

/** Power is to come up: what supplies the chassis has to be good from now on, as it is read from now on. */
export function expectSupplies(context: Context): Partial<Context> {
  const { plan, nowMs } = context;
  const rails = { ...context.rails };
  let { readings } = context;
  for (const rail of plan.rails) {
    if (rail.watched !== 'supply') continue;
    // What stands behind another one has its own time after it.
    const dueMs = rail.needs.map((need) => rails[need]?.deadlineMs ?? nowMs);
    const raised = raisedRail(rail, railState(context, rail.name), nowMs);
    rails[rail.name] = { ...raised, deadlineMs: Math.max(nowMs, ...dueMs) + rail.onTimeoutMs };
    readings = forgotten(readings, rail.name, nowMs);
  }
  return { rails, readings };
}

/** The rail that may be enabled next: its needs are up and good, and power was off for long enough. */
export function nextRail(context: Context): Raise | null {
  const { plan, nowMs } = context;
  if (holdUntilMs(plan, context) > nowMs) return null;
  const rail = firstToCome(plan, context.rails);
  return rail && { what: 'enable', name: rail.name };
}

/** The reset that may be released next: everything is good, and its time has come. */
export function nextReset(context: Context): Raise | null {
  if (!isAllGood(context)) return null;
  const reset = resetDue(context.plan, context);
  return reset === null ? null : { what: 'reset', name: reset };
}

/** What may be raised next is being checked already, or nothing is. */
export function isNextRaise({ readings }: Context, next: Raise | null): boolean {
  const raises = readings.check?.raises ?? null;
  return raises?.what === next?.what && raises?.name === next?.name;
}

/** Before anything is raised, what it rests on is read: begins that, or drops what was begun where nothing is raised. */
export function beginCheck({ plan, readings, nowMs }: Context, raises: Raise | null): Partial<Context> {
  const check = raises && { raises, fromMs: nowMs, left: restsOn(plan, raises) };
  return { readings: { ...readings, check } };
}

/**
 * What has to be good at the moment of the raise: the supply of a rail, of which one without a signal is as good as its
 * enable reads; for a reset everything that has a signal.
 */
function restsOn(plan: Plan, { what, name: raised }: Raise): readonly Source[] {
  if (what === 'enable') return supplyOf(railPlan(plan, raised));
  return [
    ...plan.rails.flatMap(({ name, observable, isLogOnly }) => (observable && !isLogOnly ? [name] : [])),
    null,
  ];
}

/** Enables the rail that was checked. The next one is checked anew: this one takes its time. */
export function enableRail(context: Context): Reduced {
  const { plan, readings, nowMs } = context;
  const rail = railPlan(plan, checkOf(readings).raises.name);
  return {
    asks: [{ type: 'driveEnable', rail: rail.name, asserted: true }],
    change: {
      rails: withState(plan, context.rails, rail.name, enabledRail(rail, nowMs)),
      readings: {
        ...forgotten(readings, rail.name, nowMs),
        check: null,
        raising: [...readings.raising, rail.name],
      },
      latchPending: plan.latched,
    },
  };
}

/** Releases the reset that was checked. */
export function releaseReset({ readings, resetsAsserted }: Context): Reduced {
  const { name: reset } = checkOf(readings).raises;
  return {
    asks: [{ type: 'driveReset', reset, asserted: false }],
    change: {
      resetsAsserted: { ...resetsAsserted, [reset]: false },
      readings: { ...readings, check: null },
    },
  };
}

export function assertResets({ plan, resetsAsserted }: Context): Reduced {
  const released = plan.resets.filter(({ name }) => !resetsAsserted[name]);
  return {
    asks: released.map(({ name }) => ({ type: 'driveReset', reset: name, asserted: true })),
    change: { resetsAsserted: Object.fromEntries(plan.resets.map(({ name }) => [name, true])) },
  };
}

/** Drives off the enables of which nothing that is on hangs any more. What follows them falls, and no supply is needed. */
export function disableRails(context: Context): Reduced {
  const { plan, nowMs } = context;
  const lowered = railsToDisable(context);
  // What is absent may be there all the same, and hangs on what is: it goes off before that.
  const isFirst = context.readings.driven.length === 0;
  const rails = { ...context.rails };
  let readings: Readings = { ...context.readings, check: null };
  for (const rail of lowered) {
    const state = railState(context, rail.name);
    rails[rail.name] = disabledRail(rail, state, nowMs);
    readings = forgotten(readings, rail.name, nowMs);
    for (const name of state.enabled ? rail.followers : []) {
      const { offTimeoutMs } = railPlan(plan, name);
      rails[name] = {
        ...railState(context, name),
        enabled: false,
        phase: 'falling',
        deadlineMs: nowMs + offTimeoutMs,
      };
      readings = forgotten(readings, name, nowMs);
    }
  }
  for (const { name, watched } of plan.rails) {
    if (watched === 'supply')
      rails[name] = { ...railState(context, name), enabled: false, phase: 'down', deadlineMs: null };
  }
  const driven = [...readings.driven, ...lowered.map(({ name }) => name)];
  return {
    asks: [...(isFirst ? absentRails(plan) : []), ...lowered].map((rail) => driveOff(rail, context)),
    change: { rails, readings: { ...readings, driven }, latchPending: plan.latched },
  };
}

/**
 * A host shuts down by itself where it ran and somebody asked for off. What failed, and what never came up, is forced: a press
 * that nothing shows may have been taken all the same.
 */
function driveOff(
  { name, pulsed }: RailPlan,
  context: Context,
): Extract<SequenceAction, { type: 'driveEnable' }> {
  const action = { type: 'driveEnable' as const, rail: name, asserted: false };
  if (pulsed === null) return action;
  const { phase } = railState(context, name);
  const isGraceful = context.fault === null && phase === 'up' && context.pgood.good;
  return { ...action, press: { isGraceful, mayBeOn: phase === 'rising' } };
}

/**
 * Power off was asked for where no enable reads on: each is driven off all the same, for one that is held low comes back
 * when it is let go. Nothing falls, so there is nothing to wait for.
 */
export function driveAllOff(context: Context): Reduced {
  const driven = switchedRails(context.plan).reverse();
  return {
    asks: [
      ...[...absentRails(context.plan), ...driven.map((name) => railPlan(context.plan, name))].map((rail) =>
        driveOff(rail, context),
      ),
      // Otherwise it was pulsed since an enable last changed, and what it holds is off as well.
      ...(context.latchPending ? [{ type: 'pulseLatch' as const }] : []),
    ],
    change: { readings: { ...context.readings, driven } },
  };
}

/** A rail that the chassis can do without was missed: that is told, and no longer waited for. */
export function noteMissed(context: Context): Reduced {
  const found = missOf(context);
  if (found === null) return {};
  const { rail, miss } = found;
  // A follower that waits for what it needs, and does not count as enabled yet, is missed with it.
  const change = { enabled: true, phase: 'up', deadlineMs: null, missed: miss } as const;
  const state: RailState = { ...railState(context, rail), ...change };
  return {
    asks: [{ type: 'tellMissed', ...found }],
    change: { rails: withState(context.plan, context.rails, rail, state) },
  };
}

/** The host has switched itself off, which is told, and what it leaves is to go down. */
export function noteHostOff({ plan, readings }: Context): Reduced {
  if (plan.sleep === null) return {};
  return {
    asks: [{ type: 'tellHostOff', rail: plan.sleep.rail }],
    change: { readings: { ...readings, sleep: { ...readings.sleep, hasLeft: true } } },
  };
}

/** The latch takes over the enables where they changed since it was pulsed. */
export function pulseLatch({ latchPending }: Context): Reduced {
  return { asks: latchPending ? [{ type: 'pulseLatch' }] : [] };
}

/** An enable that could not be switched off is beyond help: the rest goes down without it. */
export function giveUpRail(
  context: Context,
  { drive, asserted, readBack }: EventOf<'DRIVE_FAILED'>,
): Partial<Context> {
  if (drive.what !== 'enable' || asserted) return {};
  const { enableDoubt } = railState(context, drive.rail);
  return withRail(context, drive.rail, {
    phase: 'stuck',
    enabled: true,
    enableDoubt: readBack ? null : (enableDoubt ?? 'undriven'),
    deadlineMs: null,
  });
}

/** A stage begins that ends with `limitMs` at the latest, and waits for what is read of pgood from now on. */
export function startStage({ readings, nowMs }: Context, limitMs: number): Partial<Context> {
  return {
    stageDeadlineMs: nowMs + limitMs,
    readyMs: null,
    readings: forgotten(readings, null, nowMs),
  };
}

/** All rails up and pgood believed: what opWaitPowerOn waits for, resets aside. */
export function isReady(context: Context): boolean {
  // With everything good a deadline that passed while no process ran is no failure.
  return surveyOf(context.plan, context.rails).notUp === 0 && context.pgood.good && isAllGood(context);
}

/** Every rail that has an enable has it on. */
export function allEnabled({ plan, rails }: Context): boolean {
  return surveyOf(plan, rails).notEnabled === 0;
}

/** Every rail is good, and pgood stands. */
function isAllGood({ plan, rails, pgood }: Context): boolean {
  return pgood.level && surveyOf(plan, rails).notGood === 0;
}

/** Every enable was driven off by this process. */
export function isAllDriven({ plan, readings }: Context): boolean {
  return switchedRails(plan).every((name) => readings.driven.includes(name));
}

/** Rails that have an enable. */
function switchedRails({ rails }: Plan): string[] {
  return rails.flatMap(({ name, watched }) => (watched === null ? [name] : []));
}

/** Rails of absent parts that have an enable. Nobody waits for them, and nothing comes of it where one cannot be driven. */
function absentRails({ absent }: Plan): RailPlan[] {
  return absent.filter(({ watched }) => watched === null).reverse();
}

/**
 * Rails whose enable may be driven off now, of those that were not driven yet: whatever goes off before them was, and is down
 * or beyond help. What the enable reads decides nothing: one that is held low comes back when it is let go; only the fall of
 * what goes before it is not waited for.
 */
export function railsToDisable(context: Context): RailPlan[] {
  const { plan } = context;
  const driven = new Set(context.readings.driven);
  const atOnce = goesAtOnce(context);
  const isGone = (name: string) => ['down', 'stuck'].includes(railState(context, name).phase);
  return plan.rails
    .filter((rail) => {
      const { name, watched } = rail;
      if (watched !== null || driven.has(name)) return false;
      const { enabled } = railState(context, name);
      return atOnce || downBefore(rail).every((other) => driven.has(other) && (!enabled || isGone(other)));
    })
    .reverse();
}

/**
 * A running chassis that lost its power is switched off all at once, in reverse order: what failed feeds a short, and what
 * hangs on it is falling already. So is one whose host has switched itself off: what hangs on it has no power any more, and
 * until all is driven another process may begin to drive as well.
 */
export function goesAtOnce({ fault, readings }: Pick<Context, 'fault' | 'readings'>): boolean {
  return fault?.state === 'pgood' || readings.sleep.hasLeft;
}

/** A button may be pressed for longer than its rail has to come or to go: its time begins when that is over. */
function dueMs({ pulsed }: RailPlan, atMs: number): number | null {
  return pulsed === null ? atMs : null;
}

function enabledRail(rail: RailPlan, nowMs: number): RailState {
  const base = {
    enabled: true,
    enableDoubt: null,
    goodUnread: !rail.observable,
    sinceMs: nowMs,
    deadlineMs: dueMs(rail, nowMs + rail.onTimeoutMs),
  };
  if (rail.observable) return { ...base, phase: 'rising', good: false };
  return rail.settleMs > 0
    ? { ...base, phase: 'rising', good: true }
    : { ...base, phase: 'up', good: true, deadlineMs: null };
}

/** Down is what is seen to be down after its disable; only a rail without a signal is so at once, or after its time. */
function disabledRail(rail: RailPlan, state: RailState, nowMs: number): RailState {
  if (!state.enabled) return state;
  if (rail.observable) {
    const deadlineMs = dueMs(rail, nowMs + rail.offTimeoutMs);
    // One that was not good rests from now on, and not from when it last was.
    return { ...state, enabled: false, phase: 'falling', sinceMs: nowMs, deadlineMs };
  }
  if (rail.offSettleMs > 0) {
    return { ...state, enabled: false, good: false, phase: 'falling', sinceMs: nowMs, deadlineMs: null };
  }
  return { ...state, enabled: false, good: false, phase: 'down', sinceMs: nowMs, deadlineMs: null };
}
