import { isOver, isReadAfterStage, isStageOver, railDeadline } from './deadlines.ts';
import type { SequenceEvent } from './events.ts';
import { needsBehind, type RailPlan, railPlan } from './plan.ts';
import { type Context, isFresh, readingOf } from './readings.ts';
import { type Fault, type FaultKind, fallen, type Miss, railState, type State, signalsAt } from './state.ts';
import { restlessRails } from './survey.ts';

/** What went wrong, before it is known in which state and when. */
type Finding = Pick<Fault, 'kind' | 'rail' | 'reason'>;

/**
 * Works out once what there is to find in a context. The guards that ask for it and the action that records it have the
 * same one, and ask one after the other.
 */
function once<T extends object | null>(find: (context: Context) => T): (context: Context) => T {
  let known: { readonly of: Context; readonly it: T } | null = null;
  return (context) => {
    if (known?.of !== context) known = { of: context, it: find(context) };
    return known.it;
  };
}

function finding(kind: FaultKind, rail: string | null, reason: string): Finding {
  return { kind, rail, reason };
}

function lost({ name, watched }: RailPlan): Finding {
  const reasons = {
    follower: `rail ${name} dropped though what it needs is good`,
    supply: `rail ${name}, which supplies the chassis, dropped`,
  };
  return finding('railLost', name, watched ? reasons[watched] : `rail ${name} dropped while it was enabled`);
}

function late({ name, watched, needs, onTimeoutMs }: RailPlan): Finding {
  const of = needs.length === 0 ? 'the request' : needs.join(' and ');
  const reasons = {
    follower: `rail ${name} was not good within ${onTimeoutMs} ms of ${of}`,
    supply: `rail ${name}, which supplies the chassis, was not good within ${onTimeoutMs} ms of ${of}`,
  };
  const ofEnable = `rail ${name} was not good within ${onTimeoutMs} ms of its enable`;
  return finding('railTimeout', name, watched ? reasons[watched] : ofEnable);
}

/**
 * Where rails are only watched, one goes, or does not come, with what it needs: as long as one of that seems to be lost, and
 * no later than the rail itself, nobody knows who is at fault. It takes no longer than that other takes to be believed.
 */
function isInDoubt(rail: RailPlan, context: Context, sinceMs: number): boolean {
  if (context.plan.rails.every(({ watched }) => watched === null)) return false;
  return rail.needs.some((name) => {
    const { phase, good, sinceMs: droppedMs } = railState(context, name);
    // What supplies the chassis may have gone before it had settled.
    return (phase === 'up' || phase === 'rising') && !good && droppedMs <= sinceMs;
  });
}

/**
 * The first rail that failed while power should be coming or standing: it dropped, or did not come in time.
 * @param isLogOnly of those that the chassis can do without, or of the others
 */
function firstFailed(context: Context, isLogOnly: boolean): Finding | null {
  const { plan, readings, nowMs } = context;
  for (const rail of restlessRails(plan, context.rails)) {
    if (rail.isLogOnly !== isLogOnly) continue;
    const deadline = railDeadline(plan, rail, context);
    if (deadline === null || !isOver(deadline, nowMs, readings)) continue;
    const { sinceMs } = railState(context, rail.name);
    if (deadline.what === 'railIsLost' && !isInDoubt(rail, context, sinceMs)) return lost(rail);
    if (deadline.what === 'railComes' && !isInDoubt(rail, context, nowMs)) return late(rail);
  }
  return null;
}

const failedRail = once((context) => firstFailed(context, false));

/** A rail that the chassis can do without and that failed; when pgood is due, one that has not come as well. */
const missedRail = once((context) => firstFailed(context, true) ?? lateForPgood(context));

function lateForPgood(context: Context): Finding | null {
  const { plan, rails, stageDeadlineMs } = context;
  if (stageDeadlineMs === null) return null;
  const rail = restlessRails(plan, rails).find(
    ({ name, isLogOnly }) => isLogOnly && isAwaited(name, context) && isReadAfterStage(context, name),
  );
  return rail === undefined ? null : lateWithPgood(rail.name, plan.pgood.onTimeoutMs);
}

/** The rail has to come, and is not there. */
function isAwaited(name: string, context: Context): boolean {
  const { phase, good } = railState(context, name);
  const { observable, watched } = railPlan(context.plan, name);
  return observable && !good && (phase === 'rising' || (watched === 'follower' && phase === 'down'));
}

function lateWithPgood(name: string, onTimeoutMs: number): Finding {
  const limit = `when pgood was due, ${onTimeoutMs} ms after the last enable`;
  return finding('railTimeout', name, `rail ${name} was not good ${limit}`);
}

/** The rail of the finding, and what there is to tell of it; null where no rail was missed. */
export function missOf(
  context: Context,
): { readonly rail: string; readonly miss: Miss; readonly reason: string } | null {
  const found = missedRail(context);
  if (found === null || found.rail === null) return null;
  const { rail, kind, reason } = found;
  const why = railState(context, rail).goodUnread ? ': its signal cannot be read' : '';
  return { rail, miss: kind === 'railLost' ? 'lost' : 'late', reason: `${reason}${why}` };
}

/** A rail that is stuck before it was ever enabled. */
const strayRail = once((context) => {
  const rails = restlessRails(context.plan, context.rails);
  const stray = rails.find(({ name }) => railState(context, name).phase === 'stuck');
  if (stray === undefined) return null;
  const { name, watched } = stray;
  const what = watched === null ? 'its enable' : 'the enable of what it needs';
  return finding('railStray', name, `rail ${name} delivers though ${what} is off`);
});

/** A running chassis lost pgood. A rail that was seen to drop as long ago says more of the loss. */
const lostPower = once((context) => {
  if (context.pgood.good) return null;
  const { plan, nowMs } = context;
  const dropped = restlessRails(plan, context.rails).find((rail) => {
    const deadline = railDeadline(plan, rail, context);
    return !rail.isLogOnly && deadline?.what === 'railIsLost' && nowMs >= deadline.dueMs;
  });
  return dropped ? lost(dropped) : finding('pgoodLost', null, 'pgood was lost while the chassis was on');
});

const lostPgoodEarly = once(({ readyMs, pgood }) =>
  readyMs === null || pgood.good
    ? null
    : finding('pgoodLost', null, 'pgood was lost before the resets were released'),
);

/** The rail had to be good by now, and was not read since. */
function isUnreadSinceDue(rail: RailPlan, context: Context): boolean {
  const { plan, readings, nowMs } = context;
  const deadline = railDeadline(plan, rail, context);
  return deadline?.what === 'railComes' && nowMs >= deadline.dueMs && !isOver(deadline, nowMs, readings);
}

/**
 * Power did not come in time. Where a rail has not come yet, pgood cannot come either, though the rail's own time may be
 * longer.
 */
const latePower = once((context) => {
  if (context.readyMs !== null || !isStageOver(context, false)) return null;
  const { pgood } = context.plan;
  const rails = restlessRails(context.plan, context.rails);
  // The time of a rail may have ended with that of pgood, in a standstill: it is read before anything is said of pgood.
  if (rails.some((rail) => isUnreadSinceDue(rail, context))) return null;
  const { onTimeoutMs } = pgood;
  const first = rails.find(
    ({ name, isLogOnly }) =>
      !isLogOnly && isAwaited(name, context) && isFresh(readingOf(context.readings, name)),
  );
  if (first !== undefined) return lateWithPgood(first.name, onTimeoutMs);
  const reason = `pgood did not come within ${onTimeoutMs} ms though every rail is enabled`;
  return finding('pgoodTimeout', null, reason);
});

const stuckRails = once((context) => {
  const stuck = restlessRails(context.plan, context.rails).flatMap(({ name }) =>
    railState(context, name).phase === 'stuck' ? [name] : [],
  );
  const [first] = stuck;
  if (first === undefined || !fallen(context)) return null;
  const rails = stuck.length === 1 ? `rail ${first}` : `rails ${stuck.join(', ')}`;
  return finding('powerOffTimeout', first, `${rails} did not go down after the disable`);
});

const stayingPower = once((context) => {
  if (!fallen(context) || !isStageOver(context, true)) return null;
  const [rail] = signalsAt(context, true);
  const what = context.pgood.level ? 'pgood still stands' : `rail ${rail} delivers again`;
  const afterMs = context.plan.pgood.offTimeoutMs;
  return finding('powerOffTimeout', null, `${what} ${afterMs} ms after every rail was disabled`);
});

function ofKind(kind: FaultKind, find: (context: Context) => Finding | null): typeof find {
  return (context) => {
    const found = find(context);
    return found?.kind === kind ? found : null;
  };
}

/** Everything that can be found wrong, by the name of the chart's guard for it. */
const FINDERS = {
  railTimedOut: ofKind('railTimeout', failedRail),
  railLost: ofKind('railLost', failedRail),
  railStray: strayRail,
  railLostWithPgood: ofKind('railLost', lostPower),
  pgoodLost: ofKind('pgoodLost', lostPower),
  pgoodLostEarly: lostPgoodEarly,
  railTooLateForPgood: ofKind('railTimeout', latePower),
  pgoodTimedOut: ofKind('pgoodTimeout', latePower),
  railsStuck: stuckRails,
  powerStays: stayingPower,
} as const satisfies Record<string, (context: Context) => Finding | null>;
export type FaultName = keyof typeof FINDERS;

export function hasFault(context: Context, name: FaultName): boolean {
  return FINDERS[name](context) !== null;
}

/** What was found, as the fault of `state`; null where nothing is wrong. */
export function faultOf(context: Context, name: FaultName, state: State): Fault | null {
  const found = FINDERS[name](context);
  return found && { ...found, state, atMs: context.nowMs, errorCode: null };
}

/**
 * What the event says of a line or a device that failed in `state`; null for an event that tells of none. A device whose
 * power was seen to be lost is silent for that reason, and it is the loss that is told.
 */
export function hardwareFault(event: SequenceEvent, state: State, context: Context): Fault | null {
  if (event.type !== 'DRIVE_FAILED' && event.type !== 'READ_FAILED') return null;
  const isRaised = event.type === 'DRIVE_FAILED' && event.asserted;
  const driven = event.type === 'DRIVE_FAILED' && event.drive.what === 'enable' ? event.drive.rail : null;
  const rail = event.type === 'READ_FAILED' ? event.rail : driven;
  const { nowMs: atMs } = context;
  const power =
    lostPowerOf(rail, context) ?? (driven !== null && isRaised ? lostNeedOf(driven, context) : null);
  if (power !== null) return { ...lost(power), state, atMs, errorCode: null };
  return { kind: 'hardware', rail, state, atMs, reason: event.reason, errorCode: event.code };
}

/** Of a rail whose drive takes time: the first that it hangs on and that was lost meanwhile; null where all are good. */
function lostNeedOf(name: string, context: Context): RailPlan | null {
  const lost = needsBehind(context.plan, name).find((need) => {
    const { phase, good } = railState(context, need);
    return phase === 'up' && !good;
  });
  return lost === undefined ? null : railPlan(context.plan, lost);
}

/** The first of the rails behind which a device stands that was lost while it was on; null where all have their power. */
function lostPowerOf(name: string | null, context: Context): RailPlan | null {
  const { plan } = context;
  if (name === null) return null;
  for (const power of railPlan(plan, name).poweredBy) {
    const before = lostPowerOf(power, context);
    if (before !== null) return before;
    const { phase, good } = railState(context, power);
    if (phase === 'up' && !good) return railPlan(plan, power);
  }
  return null;
}
