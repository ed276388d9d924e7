import { handedOver, isAnyHeldBack } from './held-resets.ts';
import { type Plan, type RailPlan, railPlan } from './plan.ts';
import {
  type Hint,
  hasTag,
  type Observation,
  type RailState,
  railState,
  type SequenceState,
  type SignalRef,
  type State,
} from './state.ts';

/**
 * What the hardware says, with the hint for what the hardware cannot tell: deadlines, the direction a
 * half-powered chassis was going, a remembered failure. Where the two disagree the hardware is right.
 */
export interface Reconciled {
  readonly state: State;
  readonly sequence: SequenceState;
}

/**
 * A device without power has its output off. One whose rail is enabled and has only dropped was on as long as it was left
 * so, and is lost with that rail: what the hardware cannot tell is the hint's.
 */
function enabledIn(plan: Plan, name: string, observation: Observation, hint: Hint | null): boolean {
  const { rails, unpowered } = observation;
  const { watched, needs } = railPlan(plan, name);
  // What nobody switches itself is on with what it needs.
  if (watched !== null) return needs.every((need) => enabledIn(plan, need, observation, hint));
  const without = unpowered?.find(({ signal, rail }) => signal === 'enable' && rail === name);
  if (without === undefined) return rails[name]?.enabled ?? false;
  const isDropped = enabledIn(plan, without.poweredBy, observation, hint);
  return isDropped && (hint?.sequence.rails[name]?.enabled ?? false);
}

/**
 * A power button was pressed for a power-on that is not over: the rail is on its way, though nothing shows it yet. Where a state
 * has shown it, and does not any more, it went off. One that nothing had shown when it was to be held off is on its way as well,
 * as long as the hold is not over: who held it is gone, or was told to leave.
 */
function isPressed({ pulsed, name }: RailPlan, hint: Hint | null): boolean {
  if (pulsed === null || hint === null) return false;
  const { enabled, phase, good, deadlineMs } = railState(hint.sequence, name);
  if (hasTag(hint.state, 'lowering')) return phase === 'falling' && deadlineMs === null && !good;
  if (!hasTag(hint.state, 'rising')) return false;
  const isOver = phase !== 'rising' || deadlineMs !== null;
  return enabled && !(pulsed === 'state' && isOver);
}

/** The observation with what the hint tells of devices without power, and of buttons that were pressed. */
function supplemented(plan: Plan, observation: Observation, hint: Hint | null): Observation {
  const pressed = plan.rails.filter((rail) => isPressed(rail, hint)).map(({ name }) => name);
  if (observation.unpowered === undefined && pressed.length === 0) return observation;
  const rails = Object.entries(observation.rails).map(([name, { good }]) => [
    name,
    { enabled: pressed.includes(name) || enabledIn(plan, name, observation, hint), good },
  ]);
  return { ...observation, rails: Object.fromEntries(rails) };
}

function contradictionsIn(plan: Plan, observation: Observation): string[] {
  const off = plan.rails.filter(({ name, watched }) => watched === null && !observation.rails[name]?.enabled);
  return plan.rails.flatMap((rail) => {
    const seen = observation.rails[rail.name];
    if (!seen) return [];
    if (rail.watched === 'supply') return [];
    if (rail.watched === 'follower') {
      const [first] = seen.good ? off.filter(({ followers }) => followers.includes(rail.name)) : [];
      return first
        ? [`rail ${rail.name} is good though the enable of ${first.name}, which it hangs on, is off`]
        : [];
    }
    const unmet = off.filter(({ neededBy }) => neededBy.includes(rail.name)).map(({ name }) => name);
    return [
      ...(seen.good && !seen.enabled ? [`rail ${rail.name} is good though its enable is off`] : []),
      ...(seen.enabled && unmet.length > 0
        ? [`rail ${rail.name} is enabled though ${unmet.join(' and ')}, which it needs, is not`]
        : []),
    ];
  });
}

/** Every signal of a rail was read and is not good: pgood alone, which may be a glitch, is no power that stands. */
function isDenied(plan: Plan, { rails, unread }: Observation): boolean {
  const seen = plan.rails.filter(
    ({ observable, watched, isLogOnly }) => observable && watched !== 'supply' && !isLogOnly,
  );
  const isRead = (name: string) => !unread?.some(({ signal, rail }) => signal === 'good' && rail === name);
  return seen.length > 0 && seen.every(({ name }) => isRead(name) && rails[name]?.good === false);
}

/**
 * Nobody knows what the latch holds of a chassis that reads off, or whose lines contradict each other: the BMC may have started
 * anew in the middle of a power-on, before pgood. A power off has to pulse it. In pgood nothing is pending: the pins of a BMC
 * that started anew are inputs, and a pulse would take the power of a running host away.
 */
function isLatchUnknown(plan: Plan, state: State): boolean {
  return plan.latched && (state === 'off' || state === 'unknown');
}

function railOf(
  observed: Pick<RailState, 'watched' | 'enabled' | 'enableDoubt' | 'good' | 'goodUnread'>,
  times: Pick<RailPlan, 'onTimeoutMs' | 'offTimeoutMs' | 'offSettleMs'>,
  hinted: RailState | undefined,
  state: State,
  nowMs: number,
): RailState {
  const { enabled, good } = observed;
  // Since when a level stands is known from now on: nobody looked between two processes.
  const base = { ...observed, sinceMs: nowMs };
  if (enabled) {
    if (state === 'pgood' || hinted?.phase === 'up') return { ...base, phase: 'up', deadlineMs: null };
    const deadlineMs =
      hinted?.phase === 'rising' && hinted.deadlineMs !== null
        ? hinted.deadlineMs
        : nowMs + times.onTimeoutMs;
    return { ...base, phase: 'rising', deadlineMs };
  }
  // Nobody knows for how long it has rested.
  const rests = times.offSettleMs > 0 && hinted?.phase === 'falling' && hasTag(state, 'lowering');
  if (!good && !rests) return { ...base, phase: 'down', deadlineMs: null };
  if (hinted?.phase === 'stuck') return { ...base, phase: 'stuck', deadlineMs: null };
  const deadlineMs =
    hinted?.phase === 'falling' && hinted.deadlineMs !== null
      ? hinted.deadlineMs
      : nowMs + times.offTimeoutMs;
  return { ...base, phase: 'falling', deadlineMs };
}

/**
 * A rail that is only watched. What the chart will wait for of it, it begins to wait for when what it needs is up.
 * @param all what was taken up already: all that it needs among it
 */
function watchedRailOf(
  rail: RailPlan,
  watched: NonNullable<RailPlan['watched']>,
  known: Pick<RailState, 'good' | 'goodUnread'>,
  hinted: RailState | undefined,
  all: {
    readonly plan: Plan;
    readonly state: State;
    readonly rails: Readonly<Record<string, RailState>>;
    readonly nowMs: number;
  },
): RailState {
  const { plan, state, rails, nowMs } = all;
  const settled = state === 'pgood';
  const isMeant =
    watched === 'supply'
      ? settled || hasTag(state, 'rising')
      : rail.needs.every((need) => rails[need]?.phase === 'up');
  const observed = { watched, enabled: isMeant, enableDoubt: null, ...known };
  const switches = plan.rails.filter(({ followers }) => followers.includes(rail.name));
  // A supply stays, and what a follower needs may still be coming: then nothing is waited for yet.
  const isLeft = watched === 'supply' || switches.every(({ name }) => rails[name]?.enabled);
  if (!isMeant && isLeft) return { ...observed, sinceMs: nowMs, phase: 'down', deadlineMs: null };
  return railOf(observed, rail, hinted, state, nowMs);
}

function classify(
  plan: Plan,
  observation: Observation,
  hint: Hint | null,
): { state: State; contradictions: string[] } {
  const seen = (isMeant: (rail: RailPlan) => boolean) =>
    plan.rails.filter(isMeant).map(({ name }) => observation.rails[name] ?? { enabled: false, good: false });
  const switched = seen(({ watched }) => watched === null);
  const anyEnabled = switched.some(({ enabled }) => enabled);
  const enabled = switched.every((rail) => rail.enabled);
  const anyGood = observation.pgood || seen(({ watched }) => watched !== 'supply').some(({ good }) => good);
  const good = observation.pgood && seen(({ isLogOnly }) => !isLogOnly).every((rail) => rail.good);
  const hinted = hint?.state;
  const as = (state: State) => ({ state, contradictions: [] });

  if (!anyEnabled && !anyGood) return as(hinted === 'failed' || hinted === 'fault' ? 'failed' : 'off');
  if (hinted === 'fault' || hinted === 'failed') return as(hinted);
  // What reads off may not have been driven so: the process that was to do it is gone.
  if (hinted === 'opPowerStop') return as('opPowerStop');
  if (hinted === 'opWaitPowerOff') return as(anyEnabled ? 'opPowerStop' : 'opWaitPowerOff');
  const starting = hinted === 'opPowerStart' || hinted === 'opWaitPowerOn';
  const held = isAnyHeldBack(plan, observation.resetsAsserted);
  if (enabled) {
    if (!good) return as(hinted === 'pgood' || hinted === 'opPowerStart' ? hinted : 'opWaitPowerOn');
    // What is good as soon as it is enabled has to settle all the same.
    const isOnItsWay = (name: string) => hint?.sequence.rails[name]?.phase === 'rising';
    // And what the chassis can do without still has its time.
    const settles = plan.rails.some(
      ({ name, isLogOnly }) => (isLogOnly || plan.pgood.rails.includes(name)) && isOnItsWay(name),
    );
    if (starting) return as(held || hint?.sequence.latchPending || settles ? hinted : 'pgood');
    return as(held ? 'opWaitPowerOn' : 'pgood');
  }
  // A latching board keeps its power while the BMC's own pins went back to inputs. Its resets, inputs as well
  // then, are where the running host has them: an asserted one tells of a power-off that was under way.
  const keeps = plan.latched && observation.pgood && !starting && !held;
  if (keeps && (hinted === 'pgood' || !isDenied(plan, observation))) return as('pgood');
  if (anyEnabled && starting) return as('opPowerStart');
  return { state: 'unknown', contradictions: contradictionsIn(plan, observation) };
}

/** What was told once is not told again by the next process. What came late is there now. */
function withMiss(state: RailState, hinted: RailState | undefined): RailState {
  const missed = hinted?.missed;
  return missed === undefined || (missed === 'late' && state.good) ? state : { ...state, missed };
}

/**
 * The chassis was on, and shows no pgood. Its enables say nothing against it: those of a host, and of a device that has its power from a
 * rail, go off with the power.
 */
function isLostUnseen({ pgood, unread }: Observation, hint: Hint | null): boolean {
  return hint?.state === 'pgood' && !pgood && !unread?.some(({ signal }) => signal === 'pgood');
}

/**
 * Reads nothing and drives nothing: from an observation to the state the machine takes up.
 * @param watches for who watches a chassis that is on: power that went while nobody looked is taken up as on, and is lost then
 */
export function reconcile(
  plan: Plan,
  observed: Observation,
  hint: Hint | null,
  nowMs: number,
  { watches = false } = {},
): Reconciled {
  const observation = supplemented(plan, observed, hint);
  const isLost = watches && isLostUnseen(observation, hint);
  const { state, contradictions } = isLost
    ? { state: 'pgood' as const, contradictions: [] }
    : classify(plan, observation, hint);
  const hinted = hint?.sequence;
  const settled = state === 'pgood';
  // Behind a latch that was not told that the enables are off nothing has begun to fall.
  const stillHeld = state === 'opWaitPowerOff' && hinted?.latchPending === true;
  const rails: Record<string, RailState> = {};
  for (const rail of plan.rails) {
    const seen = observation.rails[rail.name] ?? { enabled: false, good: false };
    const unread = (of: SignalRef['signal']) =>
      observation.unread?.some(({ signal, rail: name }) => signal === of && name === rail.name) ?? false;
    const hintedRail = hinted?.rails[rail.name];
    if (rail.watched !== null) {
      const known = { good: seen.good, goodUnread: unread('good') };
      const taken = watchedRailOf(rail, rail.watched, known, hintedRail, { plan, state, rails, nowMs });
      rails[rail.name] = withMiss(taken, hintedRail);
      continue;
    }
    // In pgood a latching board is enabled though its pins do not show it.
    const enabled = seen.enabled || (settled && plan.latched);
    const good = rail.observable ? seen.good : enabled;
    const enableDoubt = unread('enable') ? 'unread' : null;
    const goodUnread = !rail.observable || unread('good');
    const begun = hintedRail && stillHeld ? { ...hintedRail, deadlineMs: null } : hintedRail;
    const taken = railOf({ enabled, enableDoubt, good, goodUnread }, rail, begun, state, nowMs);
    rails[rail.name] = withMiss(taken, hintedRail);
  }
  // One sample must neither end a running host nor release the resets of one that comes up: in pgood a low level, and in
  // every other state a high one, has to stand for deglitchMs first.
  const believedGood = state === 'pgood' && (hint?.state === 'pgood' || observation.pgood);
  const waiting = state === 'opWaitPowerOn' || state === 'opWaitPowerOff';
  const stageMs = state === 'opWaitPowerOn' ? plan.pgood.onTimeoutMs : plan.pgood.offTimeoutMs;
  const wentOff = state === 'off' && hint !== null && hint.state !== 'off';
  const sequence: SequenceState = {
    nowMs,
    rails,
    ...(plan.absent.length > 0 && { absent: plan.absent.map(({ name }) => name) }),
    pgood: {
      level: observation.pgood,
      good: believedGood,
      unread: observation.unread?.some(({ signal }) => signal === 'pgood') ?? false,
      sinceMs: nowMs,
    },
    resetsAsserted: settled ? handedOver(plan, observation.resetsAsserted) : observation.resetsAsserted,
    stageDeadlineMs: waiting
      ? hint?.state === state && hinted?.stageDeadlineMs != null && !stillHeld
        ? hinted.stageDeadlineMs
        : nowMs + stageMs
      : null,
    readyMs: null,
    offSinceMs: wentOff ? nowMs : (hinted?.offSinceMs ?? null),
    latchPending: state !== 'pgood' && (hinted?.latchPending ?? isLatchUnknown(plan, state)),
    fault: state === 'failed' || state === 'fault' ? (hinted?.fault ?? null) : null,
    contradictions,
  };
  return { state, sequence };
}
