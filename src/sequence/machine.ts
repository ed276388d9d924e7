import { assign, setup, transition } from 'xstate';
import {
  afterStandstill,
  answered,
  BEGUN_ANEW,
  type Check,
  forgotten,
  hasSettled,
  hasStood,
  isFresh,
  type Looks,
  lookAt,
  nextToRaise,
  noLooks,
  notThere,
  restsOn,
} from './looks.ts';
import type { Plan, RailPlan } from './plan.ts';
import type { Reconciled } from './reconcile.ts';
import {
  allEnabled,
  allUp,
  delivering,
  type Fault,
  type FaultKind,
  fallen,
  powerSeen,
  type RailState,
  railState,
  railsToDisable,
  type SequenceState,
  type SignalRef,
  type State,
} from './state.ts';

/**
 * The chassis power machine. It is pure: what must be driven leaves as action data, what happens comes
 * in as events, and time comes with every event as `atMs` on the monotonic clock. Deadlines are context,
 * not timers, so that a state taken up by another process still ends in time.
 */

export type Request = 'POWER_ON' | 'POWER_OFF' | 'CLEAR';

export type Drive =
  | { readonly what: 'enable'; readonly rail: string }
  | { readonly what: 'reset'; readonly reset: string }
  | { readonly what: 'latch' };

export type SequenceEvent =
  | { type: Request; atMs: number }
  /** A level that was read: asked for at `askedMs` and answered at `atMs`, so it is of some moment in between. */
  | { type: 'RAIL_LEVEL'; rail: string; good: boolean; askedMs: number; atMs: number }
  | { type: 'PGOOD_LEVEL'; good: boolean; askedMs: number; atMs: number }
  /** Time passed. */
  | { type: 'TICK'; atMs: number }
  /** Nothing was looked at for the last `ms`: the process stood still. */
  | { type: 'STALLED'; ms: number; atMs: number }
  /** An enable was switched: from now on its times count. */
  | { type: 'DRIVEN'; rail: string; asserted: boolean; atMs: number }
  /** The latch was pulsed. */
  | { type: 'LATCHED'; atMs: number }
  /** A line or device could not be driven. `readBack`: it was read after that, and stands in the other state. */
  | {
      type: 'DRIVE_FAILED';
      drive: Drive;
      asserted: boolean;
      readBack: boolean;
      code: string;
      reason: string;
      atMs: number;
    }
  | ({ type: 'READ_FAILED'; code: string; reason: string; askedMs: number; atMs: number } & SignalRef);

/** How a request was taken. */
export type Outcome = 'changed' | 'unchanged' | 'rejected';

export interface Answer {
  readonly request: Request;
  readonly outcome: Outcome;
  /** Why it was rejected; empty otherwise. */
  readonly reason: string;
}

interface Context extends SequenceState {
  readonly plan: Plan;
  readonly looks: Looks;
}

const asData = () => undefined;

function withRail(sequence: SequenceState, name: string, change: Partial<RailState>): SequenceState {
  return { ...sequence, rails: { ...sequence.rails, [name]: { ...railState(sequence, name), ...change } } };
}

/** Phases and the believed pgood, as time and levels have made them. */
function settle(plan: Plan, looks: Looks, before: SequenceState): SequenceState {
  let sequence = before;
  for (const rail of plan.rails) {
    const { phase, good, enabled, deadlineMs } = railState(sequence, rail.name);
    const look = lookAt(looks, rail.name);
    if (phase === 'rising' && good && hasSettled(rail, sequence, looks)) {
      sequence = withRail(sequence, rail.name, { phase: 'up', deadlineMs: null });
    } else if (phase === 'falling' && !good && isFresh(look)) {
      sequence = withRail(sequence, rail.name, { phase: 'down', deadlineMs: null });
    } else if (phase === 'falling' && good && deadlineMs !== null && isFresh(look, deadlineMs)) {
      sequence = withRail(sequence, rail.name, { phase: 'stuck', deadlineMs: null });
    } else if (phase === 'stuck' && !good && !enabled) {
      sequence = withRail(sequence, rail.name, { phase: 'down' });
    }
  }
  const { level, good, sinceMs } = sequence.pgood;
  if (level !== good && hasStood(looks.pgood, sinceMs, plan.pgood.deglitchMs)) {
    sequence = { ...sequence, pgood: { ...sequence.pgood, good: level } };
  }
  return sequence;
}

/** The sequence and what was read, after an event that tells a time or a level. */
function noted({ plan, looks: before, ...sequenceBefore }: Context, event: SequenceEvent): Context {
  let looks = before;
  let sequence: SequenceState = {
    ...sequenceBefore,
    nowMs: Math.max(sequenceBefore.nowMs, event.atMs),
  };
  if (event.type === 'RAIL_LEVEL') {
    const { good, goodUnread, enabled, sinceMs } = railState(sequence, event.rail);
    const observable = plan.rails.some(({ name, observable }) => name === event.rail && observable);
    looks = answered(looks, event.rail, event.askedMs, good !== event.good);
    sequence = withRail(sequence, event.rail, {
      good: event.good,
      // What was read of a rail without a signal is its enable.
      goodUnread: goodUnread && !observable && enabled,
      sinceMs: good === event.good ? sinceMs : event.atMs,
    });
  } else if (event.type === 'PGOOD_LEVEL') {
    const { level, good, sinceMs } = sequence.pgood;
    looks = answered(looks, null, event.askedMs, level !== event.good);
    sequence = {
      ...sequence,
      pgood: {
        level: event.good,
        good,
        unread: false,
        sinceMs: level === event.good ? sinceMs : event.atMs,
      },
    };
  } else if (event.type === 'READ_FAILED' && event.signal === 'pgood') {
    // Nothing else will be known of it: it stands as it was read last, and no deadline waits for more.
    looks = answered(looks, null, event.askedMs);
    sequence = { ...sequence, pgood: { ...sequence.pgood, unread: true } };
  } else if (event.type === 'READ_FAILED' && event.signal === 'good' && event.rail !== null) {
    looks = answered(looks, event.rail, event.askedMs);
    sequence = withRail(sequence, event.rail, { goodUnread: true });
  } else if (event.type === 'DRIVEN') {
    looks = forgotten(looks, event.rail, event.atMs);
    sequence = timedFrom(plan, sequence, event);
  } else if (event.type === 'LATCHED') {
    sequence = { ...sequence, latchPending: false };
  } else if (event.type === 'STALLED') {
    sequence = withoutUnwatched(plan, looks, sequence, event.ms);
    looks = afterStandstill(looks, event.atMs);
  }
  return { plan, looks, ...settle(plan, looks, sequence) };
}

/**
 * The times of a rail, and of the stage that its enable is the last of, count from the moment at which the enable was
 * switched: between the decision and that the process may have stood still.
 */
function timedFrom(
  plan: Plan,
  before: SequenceState,
  { rail: name, asserted, atMs }: Extract<SequenceEvent, { type: 'DRIVEN' }>,
): SequenceState {
  const rail = plan.rails.find((each) => each.name === name);
  const { phase, enabled } = railState(before, name);
  if (rail === undefined || enabled !== asserted) return before;
  const { stageDeadlineMs } = before;
  const stageMs = asserted ? plan.pgood.onTimeoutMs : plan.pgood.offTimeoutMs;
  const staged = { ...before, stageDeadlineMs: stageDeadlineMs && atMs + stageMs };
  // A rail without a signal is up or down with its enable, and only the stage waits for it.
  if (phase !== (asserted ? 'rising' : 'falling')) return staged;
  const deadlineMs = atMs + (asserted ? rail.onTimeoutMs : rail.offTimeoutMs);
  return withRail(staged, name, { deadlineMs, sinceMs: atMs });
}

/**
 * Nobody saw for `ms` whether a level that has to stand for some time stood: that time begins anew. After some standstills
 * it only grows by them, or a real loss would never be believed on a machine that stands still again and again.
 */
function withoutUnwatched(plan: Plan, looks: Looks, before: SequenceState, ms: number): SequenceState {
  let sequence = before;
  const { nowMs } = before;
  const from = (source: string | null, sinceMs: number) =>
    lookAt(looks, source).standstills < BEGUN_ANEW ? nowMs : Math.min(nowMs, sinceMs + ms);
  for (const { name, observable } of plan.rails) {
    const { phase, good, sinceMs } = railState(sequence, name);
    if ((phase === 'rising' && good && observable) || (phase === 'up' && !good)) {
      sequence = withRail(sequence, name, { sinceMs: from(name, sinceMs) });
    }
  }
  const { pgood } = sequence;
  if (pgood.level === pgood.good) return sequence;
  return { ...sequence, pgood: { ...pgood, sinceMs: from(null, pgood.sinceMs) } };
}

function enabledRail(rail: RailPlan, nowMs: number): RailState {
  const base = {
    enabled: true,
    enableDoubt: null,
    goodUnread: !rail.observable,
    sinceMs: nowMs,
    deadlineMs: nowMs + rail.onTimeoutMs,
  };
  if (rail.observable) return { ...base, phase: 'rising', good: false };
  return rail.settleMs > 0
    ? { ...base, phase: 'rising', good: true }
    : { ...base, phase: 'up', good: true, deadlineMs: null };
}

/** Down is what is seen to be down after its disable; only a rail without a signal is so at once. */
function disabledRail(rail: RailPlan, state: RailState, nowMs: number): RailState {
  if (!state.enabled && ['down', 'falling', 'stuck'].includes(state.phase)) return state;
  if (rail.observable) {
    return { ...state, enabled: false, phase: 'falling', deadlineMs: nowMs + rail.offTimeoutMs };
  }
  return { ...state, enabled: false, good: false, phase: 'down', sinceMs: nowMs, deadlineMs: null };
}

/** The rail that failed while power should be coming or standing, if one did. */
function railFault({ plan, looks, ...sequence }: Context): { kind: FaultKind; rail: RailPlan } | null {
  for (const rail of plan.rails) {
    const { phase, good, sinceMs, deadlineMs } = railState(sequence, rail.name);
    const look = lookAt(looks, rail.name);
    if (phase === 'up' && !good && hasStood(look, sinceMs, plan.pgood.deglitchMs)) {
      return { kind: 'railLost', rail };
    }
    if (phase === 'rising' && !good && deadlineMs !== null && isFresh(look, deadlineMs)) {
      return { kind: 'railTimeout', rail };
    }
  }
  return null;
}

/** The rail that was seen to drop as long ago as pgood: it says more of a loss than pgood does. */
function droppedRail(plan: Plan, sequence: SequenceState): RailPlan | undefined {
  return plan.rails.find(({ name }) => {
    const { phase, good, sinceMs } = railState(sequence, name);
    return phase === 'up' && !good && sequence.nowMs >= sinceMs + plan.pgood.deglitchMs;
  });
}

/** The rail that has not come yet: with it pgood cannot come either, though the rail's own time may be longer. */
function lateRail({ plan, looks, ...sequence }: Context): RailPlan | undefined {
  return plan.rails.find(({ name, observable }) => {
    const { phase, good } = railState(sequence, name);
    return observable && phase === 'rising' && !good && isFresh(lookAt(looks, name));
  });
}

/** Everything is good: then a deadline that passed while no process ran is no failure. */
function allGood(sequence: SequenceState): boolean {
  return notThere(sequence, false).length === 0;
}

/** All rails up and pgood believed: what opWaitPowerOn waits for, resets aside. */
function ready(sequence: SequenceState): boolean {
  return allUp(sequence) && sequence.pgood.good && allGood(sequence);
}

/** The stage's time is over, and one of the signals it waits for still is as it was (`good`) when read after that. */
function stageFailed({ looks, stageDeadlineMs, ...sequence }: Context, good: boolean): boolean {
  if (stageDeadlineMs === null || sequence.nowMs < stageDeadlineMs) return false;
  return notThere({ ...sequence, stageDeadlineMs }, good).some((source) =>
    isFresh(lookAt(looks, source), stageDeadlineMs),
  );
}

/** Every enable was driven off by this process. */
function allDriven({ plan, looks }: Context): boolean {
  return plan.rails.every(({ name }) => looks.driven.includes(name));
}

function raiseKey(raises: Check['raises'] | null): string | null {
  return raises === null ? null : JSON.stringify(raises);
}

function names(rails: readonly string[]): string {
  return rails.length === 1 ? `rail ${rails[0]}` : `rails ${rails.join(', ')}`;
}

function dropped({ name }: RailPlan): string {
  return `rail ${name} dropped while it was enabled`;
}

/** What went wrong, from the sequence as it stands in `state`; null when nothing did. */
function faultIn(context: Context, state: State): Fault | null {
  const { plan, looks, ...sequence } = context;
  const fault = (kind: FaultKind, rail: string | null, reason: string): Fault => ({
    kind,
    rail,
    state,
    atMs: sequence.nowMs,
    reason,
    errorCode: null,
  });
  if (state === 'opPowerStart' || state === 'opWaitPowerOn' || state === 'pgood') {
    const failed = railFault(context);
    if (failed?.kind === 'railTimeout') {
      return fault(
        'railTimeout',
        failed.rail.name,
        `rail ${failed.rail.name} was not good within ${failed.rail.onTimeoutMs} ms of its enable`,
      );
    }
    if (failed) return fault('railLost', failed.rail.name, dropped(failed.rail));
  }
  if (state === 'opPowerStart') {
    const stray = plan.rails.find(({ name }) => railState(sequence, name).phase === 'stuck');
    if (stray) return fault('railStray', stray.name, `rail ${stray.name} delivers though its enable is off`);
  }
  if (state === 'pgood' && !sequence.pgood.good) {
    const rail = droppedRail(plan, sequence);
    if (rail) return fault('railLost', rail.name, dropped(rail));
    return fault('pgoodLost', null, 'pgood was lost while the chassis was on');
  }
  if (state === 'opWaitPowerOn') {
    if (sequence.readyMs !== null && !sequence.pgood.good) {
      return fault('pgoodLost', null, 'pgood was lost before the resets were released');
    }
    if (sequence.readyMs === null && stageFailed(context, false)) {
      const rail = lateRail(context);
      if (rail) {
        const limit = `when pgood was due, ${plan.pgood.onTimeoutMs} ms after the last enable`;
        return fault('railTimeout', rail.name, `rail ${rail.name} was not good ${limit}`);
      }
      return fault(
        'pgoodTimeout',
        null,
        `pgood did not come within ${plan.pgood.onTimeoutMs} ms though every rail is enabled`,
      );
    }
  }
  if (state === 'opPowerStop' || state === 'opWaitPowerOff') {
    const stuck = plan.rails
      .map(({ name }) => name)
      .filter((name) => railState(sequence, name).phase === 'stuck');
    if (stuck.length > 0 && fallen(sequence)) {
      return fault('powerOffTimeout', stuck[0] ?? null, `${names(stuck)} did not go down after the disable`);
    }
    if (state === 'opWaitPowerOff' && fallen(sequence) && stageFailed(context, true)) {
      const [rail] = notThere(sequence, true);
      const what = sequence.pgood.level ? 'pgood still stands' : `rail ${rail} delivers again`;
      const afterMs = plan.pgood.offTimeoutMs;
      return fault('powerOffTimeout', null, `${what} ${afterMs} ms after every rail was disabled`);
    }
  }
  return null;
}

const machineSetup = setup({
  types: {
    context: {} as Context,
    events: {} as SequenceEvent,
  },
  actions: {
    driveEnable: (_, _params: { rail: string; asserted: boolean }) => asData(),
    driveReset: (_, _params: { reset: string; asserted: boolean }) => asData(),
    pulseLatch: asData,
    entered: (_, _params: { state: State }) => asData(),
    answer: (_, _params: Answer) => asData(),
    raiseFault: (_, _params: { fault: Fault }) => asData(),
  },
  guards: {
    faulty: ({ context }, { state }: { state: State }) => faultIn(context, state) !== null,
    resetsReleased: ({ context }) => Object.values(context.resetsAsserted).some((asserted) => !asserted),
    /** What may be raised next is another thing than what is being checked. */
    checkChanged: ({ context }, { state }: { state: State }) =>
      raiseKey(nextToRaise(context.plan, state, context)) !== raiseKey(context.looks.check?.raises ?? null),
    checked: ({ context }) => context.looks.check !== null && context.looks.check.left.length === 0,
    canDisable: ({ context }) => railsToDisable(context.plan, context, context.looks.driven).length > 0,
    allEnabled: ({ context }) => allEnabled(context),
    becameReady: ({ context }) => context.readyMs === null && ready(context),
    released: ({ context }) =>
      context.readyMs !== null && Object.values(context.resetsAsserted).every((asserted) => !asserted),
    lowered: ({ context }) => allDriven(context),
    isOff: ({ context }) => fallen(context) && !powerSeen(context) && isFresh(context.looks.pgood),
    loweredInFault: ({ context }) =>
      context.stageDeadlineMs === null && allDriven(context) && fallen(context),
    atRest: ({ context }) =>
      context.stageDeadlineMs !== null &&
      fallen(context) &&
      isFresh(context.looks.pgood) &&
      (!delivering(context) || stageFailed(context, true)),
    powerSeen: ({ context }) => powerSeen(context),
    contradicts: ({ context }) => context.contradictions.length > 0,
    /** The process that changed the enables ended before it pulsed the latch. */
    latchLost: ({ context, event }) => event.type === 'TICK' && context.latchPending,
  },
});

/** Note what the event tells. */
const note = machineSetup.assign(({ context, event }) => noted(context, event));

const holdResets = machineSetup.enqueueActions(({ context, enqueue }) => {
  for (const { name } of context.plan.resets) {
    if (!context.resetsAsserted[name]) {
      enqueue({ type: 'driveReset', params: { reset: name, asserted: true } });
    }
  }
  enqueue.assign({ resetsAsserted: Object.fromEntries(context.plan.resets.map(({ name }) => [name, true])) });
});

/** Before anything is raised, what it rests on is read: begins that, for what is next, or drops it. */
const beginCheck = (state: State) =>
  machineSetup.assign(({ context }) => {
    const { plan, looks, nowMs } = context;
    const raises = nextToRaise(plan, state, context);
    const check = raises && { raises, fromMs: nowMs, left: restsOn(plan, raises) };
    return { looks: { ...looks, check } };
  });

/** Raises the one thing that was checked. The next one is checked anew: this one takes its time. */
const raise = machineSetup.enqueueActions(({ context, enqueue }) => {
  const { plan, looks, nowMs } = context;
  const { check } = looks;
  if (check === null) return;
  const { raises } = check;
  if ('reset' in raises) {
    enqueue({ type: 'driveReset', params: { reset: raises.reset, asserted: false } });
    enqueue.assign({
      resetsAsserted: { ...context.resetsAsserted, [raises.reset]: false },
      looks: { ...looks, check: null },
    });
    return;
  }
  const rail = plan.rails.find(({ name }) => name === raises.rail);
  if (rail === undefined) return;
  enqueue({ type: 'driveEnable', params: { rail: rail.name, asserted: true } });
  enqueue.assign({
    rails: { ...context.rails, [rail.name]: enabledRail(rail, nowMs) },
    looks: {
      ...forgotten(looks, rail.name, nowMs),
      check: null,
      driven: looks.driven.filter((name) => name !== rail.name),
    },
    latchPending: plan.latched,
  });
});

const disableRails = machineSetup.enqueueActions(({ context, enqueue }) => {
  const { plan, nowMs } = context;
  const rails = { ...context.rails };
  let looks: Looks = { ...context.looks, check: null };
  for (const rail of railsToDisable(plan, context, looks.driven)) {
    const before = railState(context, rail.name);
    const after = disabledRail(rail, before, nowMs);
    rails[rail.name] = after;
    if (after !== before) looks = forgotten(looks, rail.name, nowMs);
    looks = { ...looks, driven: [...looks.driven, rail.name] };
    enqueue({ type: 'driveEnable', params: { rail: rail.name, asserted: false } });
  }
  enqueue.assign({ rails, looks, latchPending: plan.latched });
});

/**
 * Power off was asked for where no enable reads on: each is driven off all the same, for one that is held low comes back
 * when it is let go. Nothing falls, so there is nothing to wait for.
 */
const driveAllOff = machineSetup.enqueueActions(({ context, enqueue }) => {
  const { plan, looks } = context;
  const driven = plan.rails.map(({ name }) => name).reverse();
  for (const rail of driven) enqueue({ type: 'driveEnable', params: { rail, asserted: false } });
  enqueue.assign({ looks: { ...looks, driven } });
  // Otherwise it was pulsed since it last changed, and what it holds is off as well.
  if (context.latchPending) enqueue({ type: 'pulseLatch' });
});

const latch = machineSetup.enqueueActions(({ context, enqueue }) => {
  if (context.latchPending) enqueue({ type: 'pulseLatch' });
});

/** Remembers the fault of this state, unless an earlier one is being handled. */
const recordFault = (state: State) =>
  machineSetup.enqueueActions(({ context, event, enqueue }) => {
    const fault =
      event.type === 'DRIVE_FAILED' || event.type === 'READ_FAILED'
        ? hardwareFault(event, state, context.nowMs)
        : faultIn(context, state);
    if (!fault || context.fault) return;
    enqueue.assign({ fault });
    enqueue({ type: 'raiseFault', params: { fault } });
  });

function hardwareFault(
  event: Extract<SequenceEvent, { type: 'DRIVE_FAILED' | 'READ_FAILED' }>,
  state: State,
  atMs: number,
): Fault {
  const rail =
    event.type === 'READ_FAILED' ? event.rail : event.drive.what === 'enable' ? event.drive.rail : null;
  return { kind: 'hardware', rail, state, atMs, reason: event.reason, errorCode: event.code };
}

/** An enable that could not be switched off is beyond help: the rest goes down without it. */
const giveUpRail = machineSetup.assign(({ context, event }) => {
  if (event.type !== 'DRIVE_FAILED' || event.drive.what !== 'enable' || event.asserted) return {};
  const { enableDoubt } = railState(context, event.drive.rail);
  return withRail(context, event.drive.rail, {
    phase: 'stuck',
    enabled: true,
    enableDoubt: event.readBack ? null : (enableDoubt ?? 'undriven'),
    deadlineMs: null,
  });
});

const startStage = (limit: 'onTimeoutMs' | 'offTimeoutMs') =>
  machineSetup.assign(({ context }) => ({
    stageDeadlineMs: context.nowMs + context.plan.pgood[limit],
    readyMs: null,
    looks: forgotten(context.looks, null, context.nowMs),
  }));

const entered = (state: State) => ({ type: 'entered' as const, params: { state } });
const changed = (request: Request) => ({
  type: 'answer' as const,
  params: { request, outcome: 'changed' as const, reason: '' },
});
const unchanged = (request: Request) => ({
  actions: { type: 'answer' as const, params: { request, outcome: 'unchanged' as const, reason: '' } },
});
const rejected = (request: Request, reason: string) => ({
  actions: { type: 'answer' as const, params: { request, outcome: 'rejected' as const, reason } },
});

const STILL_APPLIED = 'power could not be taken down and is still applied: ask for power off first';

/** A new attempt: nothing of the last one counts any more, and what was stuck is tried again. */
const forget = machineSetup.assign(({ context }) => ({
  looks: { ...context.looks, driven: [] },
  fault: null,
  stageDeadlineMs: null,
  readyMs: null,
  contradictions: [],
  rails: Object.fromEntries(
    context.plan.rails.map((rail): [string, RailState] => {
      const state = railState(context, rail.name);
      if (state.phase !== 'stuck') return [rail.name, state];
      if (state.enabled) return [rail.name, { ...state, phase: 'up' }];
      const deadlineMs = context.nowMs + rail.offTimeoutMs;
      return [rail.name, { ...state, phase: 'falling', deadlineMs }];
    }),
  ),
}));

const toFault = (state: State) => [
  {
    guard: { type: 'faulty' as const, params: { state } },
    target: '#chassis.fault',
    actions: recordFault(state),
  },
];
/** What may be raised is raised, one thing after the other, each after a look at what it rests on. */
const raising = (state: State) => [
  { guard: { type: 'checkChanged' as const, params: { state } }, actions: beginCheck(state) },
  { guard: 'checked' as const, actions: raise },
];
const drivenOff = {
  actions: [
    holdResets,
    driveAllOff,
    {
      type: 'answer' as const,
      params: { request: 'POWER_OFF' as const, outcome: 'unchanged' as const, reason: '' },
    },
  ],
};
const hardwareToFault = (state: State) => ({
  DRIVE_FAILED: { target: '#chassis.fault', actions: [note, recordFault(state)] },
  READ_FAILED: { target: '#chassis.fault', actions: [note, recordFault(state)] },
});
/** On the way down a failing line stops nothing: it is remembered, and the rest goes down. */
const keepLowering = (state: State) => ({
  DRIVE_FAILED: { target: '#chassis.fault', actions: [note, giveUpRail, recordFault(state)] },
  READ_FAILED: { target: '#chassis.fault', actions: [note, recordFault(state)] },
});

const NO_PLAN: Plan = {
  rails: [],
  pgood: { deglitchMs: 0, onTimeoutMs: 0, offTimeoutMs: 0 },
  resets: [],
  latched: false,
  minOffMs: 0,
};
const NOWHERE: Context = {
  plan: NO_PLAN,
  looks: noLooks(NO_PLAN),
  nowMs: 0,
  rails: {},
  pgood: { level: false, good: false, unread: false, sinceMs: 0 },
  resetsAsserted: {},
  stageDeadlineMs: null,
  readyMs: null,
  offSinceMs: null,
  latchPending: false,
  fault: null,
  contradictions: [],
};

export const chassisMachine = machineSetup.createMachine({
  id: 'chassis',
  initial: 'unknown',
  // Every run takes the machine up in the state that the lines show; xstate asks for this one all the same.
  context: NOWHERE,
  on: {
    RAIL_LEVEL: { actions: note },
    PGOOD_LEVEL: { actions: note },
    TICK: { actions: note },
    STALLED: { actions: note },
    DRIVEN: { actions: note },
    LATCHED: { actions: note },
    // At rest nothing is driven and nothing is waited for: a line that cannot be read changes nothing.
    DRIVE_FAILED: { actions: note },
    READ_FAILED: { actions: note },
    CLEAR: unchanged('CLEAR'),
  },
  states: {
    unknown: {
      on: {
        POWER_ON: [
          {
            guard: 'contradicts',
            ...rejected('POWER_ON', 'the lines contradict each other: look at status, or ask for power off'),
          },
          { target: 'opPowerStart', actions: [note, forget, changed('POWER_ON')] },
        ],
        POWER_OFF: { target: 'opPowerStop', actions: [note, forget, changed('POWER_OFF')] },
      },
    },
    off: {
      entry: entered('off'),
      on: {
        POWER_ON: { target: 'opPowerStart', actions: [note, forget, changed('POWER_ON')] },
        POWER_OFF: drivenOff,
        DRIVE_FAILED: { target: 'fault', actions: [note, giveUpRail, recordFault('off')] },
        // Off is not off as long as something that would show power cannot be read.
        READ_FAILED: { target: 'fault', actions: [note, recordFault('off')] },
      },
    },
    opPowerStart: {
      entry: entered('opPowerStart'),
      on: {
        POWER_ON: unchanged('POWER_ON'),
        POWER_OFF: { target: 'opPowerStop', actions: [note, changed('POWER_OFF')] },
        ...hardwareToFault('opPowerStart'),
      },
      always: [
        ...toFault('opPowerStart'),
        { guard: 'resetsReleased', actions: holdResets },
        ...raising('opPowerStart'),
        { guard: 'allEnabled', target: 'opWaitPowerOn', actions: [startStage('onTimeoutMs'), latch] },
      ],
    },
    opWaitPowerOn: {
      entry: entered('opWaitPowerOn'),
      on: {
        POWER_ON: unchanged('POWER_ON'),
        POWER_OFF: { target: 'opPowerStop', actions: [note, changed('POWER_OFF')] },
        TICK: [{ guard: 'latchLost', actions: [note, latch] }, { actions: note }],
        ...hardwareToFault('opWaitPowerOn'),
      },
      always: [
        ...toFault('opWaitPowerOn'),
        { guard: 'becameReady', actions: assign({ readyMs: ({ context }) => context.nowMs }) },
        ...raising('opWaitPowerOn'),
        { guard: 'released', target: 'pgood', actions: assign({ stageDeadlineMs: null, readyMs: null }) },
      ],
    },
    pgood: {
      entry: entered('pgood'),
      on: {
        POWER_ON: unchanged('POWER_ON'),
        POWER_OFF: { target: 'opPowerStop', actions: [note, changed('POWER_OFF')] },
        // No hardwareToFault: a line that cannot be read is no reason to take a running host's power away.
      },
      always: toFault('pgood'),
    },
    opPowerStop: {
      entry: entered('opPowerStop'),
      on: {
        POWER_ON: rejected('POWER_ON', 'the chassis is being powered off: ask again when it is off'),
        POWER_OFF: unchanged('POWER_OFF'),
        ...keepLowering('opPowerStop'),
      },
      always: [
        { guard: 'resetsReleased', actions: holdResets },
        { guard: 'canDisable', actions: disableRails },
        { guard: 'lowered', target: 'opWaitPowerOff', actions: [startStage('offTimeoutMs'), latch] },
      ],
    },
    opWaitPowerOff: {
      entry: entered('opWaitPowerOff'),
      on: {
        POWER_ON: rejected('POWER_ON', 'the chassis is being powered off: ask again when it is off'),
        POWER_OFF: drivenOff,
        TICK: [{ guard: 'latchLost', actions: [note, latch] }, { actions: note }],
        ...keepLowering('opWaitPowerOff'),
      },
      always: [
        {
          guard: 'isOff',
          target: 'off',
          actions: assign({ stageDeadlineMs: null, offSinceMs: ({ context }) => context.nowMs }),
        },
        ...toFault('opWaitPowerOff'),
      ],
    },
    fault: {
      entry: [entered('fault'), assign({ stageDeadlineMs: null, readyMs: null })],
      on: {
        POWER_ON: rejected('POWER_ON', 'a fault is being handled: ask again when the power is down'),
        POWER_OFF: unchanged('POWER_OFF'),
        DRIVE_FAILED: { actions: [note, giveUpRail] },
      },
      always: [
        { guard: 'resetsReleased', actions: holdResets },
        { guard: 'canDisable', actions: disableRails },
        { guard: 'loweredInFault', actions: [startStage('offTimeoutMs'), latch] },
        {
          guard: 'atRest',
          target: 'failed',
          actions: assign({
            stageDeadlineMs: null,
            offSinceMs: ({ context }) => context.nowMs,
          }),
        },
      ],
    },
    failed: {
      entry: entered('failed'),
      on: {
        POWER_ON: [
          { guard: 'powerSeen', ...rejected('POWER_ON', STILL_APPLIED) },
          { target: 'opPowerStart', actions: [note, forget, changed('POWER_ON')] },
        ],
        POWER_OFF: [
          {
            guard: 'powerSeen',
            target: 'opPowerStop',
            actions: [note, forget, changed('POWER_OFF')],
          },
          drivenOff,
        ],
        CLEAR: [
          { guard: 'powerSeen', ...rejected('CLEAR', STILL_APPLIED) },
          { target: 'off', actions: [note, forget, changed('CLEAR')] },
        ],
        // Of a power-off that found no power: what it could not drive is its own failure, and not the older one.
        DRIVE_FAILED: {
          target: 'fault',
          actions: [note, giveUpRail, machineSetup.assign({ fault: null }), recordFault('failed')],
        },
      },
    },
  },
});

/** Anything that holds a state of the machine: what `transition` takes and gives. */
export type ChassisSnapshot = ReturnType<typeof chassisMachine.resolveState>;

/** The machine in a given state, as `reconcile` found it. Takes no transition and drives nothing. */
export function takeUp(plan: Plan, { state, sequence }: Reconciled): ChassisSnapshot {
  return chassisMachine.resolveState({ value: state, context: { plan, looks: noLooks(plan), ...sequence } });
}

/** What the machine wants done, as data. */
export type SequenceAction =
  | { readonly type: 'driveEnable'; readonly rail: string; readonly asserted: boolean }
  | { readonly type: 'driveReset'; readonly reset: string; readonly asserted: boolean }
  | { readonly type: 'pulseLatch' }
  /** A state was entered; several in one step where one passes straight through. */
  | { readonly type: 'entered'; readonly state: State }
  | ({ readonly type: 'answer' } & Answer)
  | { readonly type: 'raiseFault'; readonly fault: Fault };

export interface Step {
  readonly snapshot: ChassisSnapshot;
  readonly state: State;
  readonly sequence: SequenceState;
  readonly looks: Looks;
  readonly actions: readonly SequenceAction[];
}

/** One event through the machine. Pure. */
export function step(snapshot: ChassisSnapshot, event: SequenceEvent): Step {
  const [next, actions] = transition(chassisMachine, snapshot, event);
  return {
    snapshot: next,
    ...viewOf(next),
    actions: actions.map(({ type, params }) => ({ type, ...(params as object) }) as SequenceAction),
  };
}

export function viewOf(snapshot: ChassisSnapshot): { state: State; sequence: SequenceState; looks: Looks } {
  const { plan: _, looks, ...sequence } = snapshot.context;
  return { state: snapshot.value as State, sequence, looks };
}
