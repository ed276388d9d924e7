import { assign, setup, transition } from 'xstate';
import type { Plan, RailPlan } from './plan.ts';
import type { Reconciled } from './reconcile.ts';
import {
  allEnabled,
  allUp,
  delivering,
  type Fault,
  type FaultKind,
  fallen,
  loweringDone,
  powerSeen,
  type RailState,
  railState,
  railsToDisable,
  railsToEnable,
  resetsToRelease,
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
  | { type: 'RAIL_LEVEL'; rail: string; good: boolean; atMs: number }
  | { type: 'PGOOD_LEVEL'; good: boolean; atMs: number }
  /** Time passed. */
  | { type: 'TICK'; atMs: number }
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
  | ({ type: 'READ_FAILED'; code: string; reason: string; atMs: number } & SignalRef);

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
}

const asData = () => undefined;

function withRail(sequence: SequenceState, name: string, change: Partial<RailState>): SequenceState {
  return { ...sequence, rails: { ...sequence.rails, [name]: { ...railState(sequence, name), ...change } } };
}

/** Phases and the believed pgood, as time and levels have made them. */
function settle(plan: Plan, before: SequenceState): SequenceState {
  let sequence = before;
  const { nowMs } = sequence;
  for (const rail of plan.rails) {
    const { phase, good, sinceMs, deadlineMs } = railState(sequence, rail.name);
    if (phase === 'rising' && good && nowMs >= sinceMs + rail.settleMs) {
      sequence = withRail(sequence, rail.name, { phase: 'up', deadlineMs: null });
    } else if (phase === 'falling' && !good) {
      sequence = withRail(sequence, rail.name, { phase: 'down', deadlineMs: null });
    } else if (phase === 'falling' && deadlineMs !== null && nowMs >= deadlineMs) {
      sequence = withRail(sequence, rail.name, { phase: 'stuck', deadlineMs: null });
    } else if (phase === 'stuck' && !good && !railState(sequence, rail.name).enabled) {
      sequence = withRail(sequence, rail.name, { phase: 'down' });
    }
  }
  const { level, good, sinceMs } = sequence.pgood;
  if (level !== good && nowMs >= sinceMs + plan.pgood.deglitchMs) {
    sequence = { ...sequence, pgood: { ...sequence.pgood, good: level } };
  }
  return sequence;
}

/** The sequence after an event that tells a time or a level. */
function noted(plan: Plan, before: SequenceState, event: SequenceEvent): SequenceState {
  let sequence: SequenceState = { ...before, nowMs: Math.max(before.nowMs, event.atMs) };
  if (event.type === 'RAIL_LEVEL') {
    const { good, goodUnread, enabled, sinceMs } = railState(sequence, event.rail);
    const observable = plan.rails.some(({ name, observable }) => name === event.rail && observable);
    sequence = withRail(sequence, event.rail, {
      good: event.good,
      // What was read of a rail without a signal is its enable.
      goodUnread: goodUnread && !observable && enabled,
      sinceMs: good === event.good ? sinceMs : event.atMs,
    });
  } else if (event.type === 'PGOOD_LEVEL') {
    const { level, good, sinceMs } = sequence.pgood;
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
    sequence = { ...sequence, pgood: { ...sequence.pgood, unread: true } };
  } else if (event.type === 'READ_FAILED' && event.signal === 'good' && event.rail !== null) {
    sequence = withRail(sequence, event.rail, { goodUnread: true });
  } else if (event.type === 'LATCHED') {
    sequence = { ...sequence, latchPending: false };
  }
  return settle(plan, sequence);
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

function disabledRail(rail: RailPlan, state: RailState, nowMs: number): RailState {
  if (rail.observable && state.good) {
    return { ...state, enabled: false, phase: 'falling', deadlineMs: nowMs + rail.offTimeoutMs };
  }
  return { ...state, enabled: false, good: false, phase: 'down', sinceMs: nowMs, deadlineMs: null };
}

/** The rail that failed while power should be coming or standing, if one did. */
function railFault(plan: Plan, sequence: SequenceState): { kind: FaultKind; rail: RailPlan } | null {
  for (const rail of plan.rails) {
    const { phase, good, sinceMs, deadlineMs } = railState(sequence, rail.name);
    if (phase === 'up' && !good && sequence.nowMs >= sinceMs + plan.pgood.deglitchMs) {
      return { kind: 'railLost', rail };
    }
    if (phase === 'rising' && !good && deadlineMs !== null && sequence.nowMs >= deadlineMs) {
      return { kind: 'railTimeout', rail };
    }
  }
  return null;
}

/** Everything is good at this moment: then a deadline that passed while no process ran is no failure. */
function allGood(sequence: SequenceState): boolean {
  return sequence.pgood.level && Object.values(sequence.rails).every(({ good }) => good);
}

/** All rails up and pgood believed: what opWaitPowerOn waits for, resets aside. */
function ready(sequence: SequenceState): boolean {
  return allUp(sequence) && sequence.pgood.good && allGood(sequence);
}

function stageOver(sequence: SequenceState): boolean {
  return sequence.stageDeadlineMs !== null && sequence.nowMs >= sequence.stageDeadlineMs;
}

function names(rails: readonly string[]): string {
  return rails.length === 1 ? `rail ${rails[0]}` : `rails ${rails.join(', ')}`;
}

/** What went wrong, from the sequence as it stands in `state`; null when nothing did. */
function faultIn(plan: Plan, sequence: SequenceState, state: State): Fault | null {
  const fault = (kind: FaultKind, rail: string | null, reason: string): Fault => ({
    kind,
    rail,
    state,
    atMs: sequence.nowMs,
    reason,
    errorCode: null,
  });
  if (state === 'opPowerStart' || state === 'opWaitPowerOn' || state === 'pgood') {
    const failed = railFault(plan, sequence);
    if (failed?.kind === 'railTimeout') {
      return fault(
        'railTimeout',
        failed.rail.name,
        `rail ${failed.rail.name} was not good within ${failed.rail.onTimeoutMs} ms of its enable`,
      );
    }
    if (failed)
      return fault('railLost', failed.rail.name, `rail ${failed.rail.name} dropped while it was enabled`);
  }
  if (state === 'opPowerStart') {
    const stray = plan.rails.find(({ name }) => railState(sequence, name).phase === 'stuck');
    if (stray) return fault('railStray', stray.name, `rail ${stray.name} delivers though its enable is off`);
  }
  if (state === 'pgood' && !sequence.pgood.good) {
    return fault('pgoodLost', null, 'pgood was lost while the chassis was on');
  }
  if (state === 'opWaitPowerOn') {
    if (sequence.readyMs !== null && !sequence.pgood.good) {
      return fault('pgoodLost', null, 'pgood was lost before the resets were released');
    }
    if (sequence.readyMs === null && stageOver(sequence) && !allGood(sequence)) {
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
    if (state === 'opWaitPowerOff' && stageOver(sequence)) {
      return fault(
        'powerOffTimeout',
        null,
        `pgood still stands ${plan.pgood.offTimeoutMs} ms after every rail was disabled`,
      );
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
    faulty: ({ context }, { state }: { state: State }) => faultIn(context.plan, context, state) !== null,
    resetsReleased: ({ context }) => Object.values(context.resetsAsserted).some((asserted) => !asserted),
    canEnable: ({ context }) => railsToEnable(context.plan, context).length > 0,
    canDisable: ({ context }) => railsToDisable(context.plan, context).length > 0,
    allEnabled: ({ context }) => allEnabled(context),
    becameReady: ({ context }) => context.readyMs === null && ready(context),
    canRelease: ({ context }) => resetsToRelease(context.plan, context).length > 0,
    released: ({ context }) =>
      context.readyMs !== null && Object.values(context.resetsAsserted).every((asserted) => !asserted),
    lowered: ({ context }) => loweringDone(context),
    isOff: ({ context }) => fallen(context) && !powerSeen(context),
    loweredInFault: ({ context }) => context.stageDeadlineMs === null && fallen(context),
    atRest: ({ context }) => fallen(context) && (!delivering(context) || stageOver(context)),
    powerSeen: ({ context }) => powerSeen(context),
    contradicts: ({ context }) => context.contradictions.length > 0,
    /** The process that changed the enables ended before it pulsed the latch. */
    latchLost: ({ context, event }) => event.type === 'TICK' && context.latchPending,
  },
});

/** Note what the event tells. */
const note = machineSetup.assign(({ context, event }) => noted(context.plan, context, event));

const holdResets = machineSetup.enqueueActions(({ context, enqueue }) => {
  for (const { name } of context.plan.resets) {
    if (!context.resetsAsserted[name]) {
      enqueue({ type: 'driveReset', params: { reset: name, asserted: true } });
    }
  }
  enqueue.assign({ resetsAsserted: Object.fromEntries(context.plan.resets.map(({ name }) => [name, true])) });
});

const releaseResets = machineSetup.enqueueActions(({ context, enqueue }) => {
  const due = resetsToRelease(context.plan, context);
  for (const reset of due) enqueue({ type: 'driveReset', params: { reset, asserted: false } });
  enqueue.assign({
    resetsAsserted: { ...context.resetsAsserted, ...Object.fromEntries(due.map((name) => [name, false])) },
  });
});

const enableRails = machineSetup.enqueueActions(({ context, enqueue }) => {
  const rails = { ...context.rails };
  for (const rail of railsToEnable(context.plan, context)) {
    rails[rail.name] = enabledRail(rail, context.nowMs);
    enqueue({ type: 'driveEnable', params: { rail: rail.name, asserted: true } });
  }
  enqueue.assign({ rails, latchPending: context.plan.latched });
});

const disableRails = machineSetup.enqueueActions(({ context, enqueue }) => {
  const rails = { ...context.rails };
  for (const rail of railsToDisable(context.plan, context)) {
    rails[rail.name] = disabledRail(rail, railState(context, rail.name), context.nowMs);
    enqueue({ type: 'driveEnable', params: { rail: rail.name, asserted: false } });
  }
  enqueue.assign({ rails, latchPending: context.plan.latched });
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
        : faultIn(context.plan, context, state);
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
  fault: null,
  stageDeadlineMs: null,
  readyMs: null,
  contradictions: [],
  rails: Object.fromEntries(
    context.plan.rails.map((rail): [string, RailState] => {
      const state = railState(context, rail.name);
      if (state.phase !== 'stuck') return [rail.name, state];
      if (state.enabled) return [rail.name, { ...state, phase: 'up' }];
      return [rail.name, disabledRail(rail, state, context.nowMs)];
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
const hardwareToFault = (state: State) => ({
  DRIVE_FAILED: { target: '#chassis.fault', actions: [note, recordFault(state)] },
  READ_FAILED: { target: '#chassis.fault', actions: [note, recordFault(state)] },
});
/** On the way down a failing line stops nothing: it is remembered, and the rest goes down. */
const keepLowering = (state: State) => ({
  DRIVE_FAILED: { target: '#chassis.fault', actions: [note, giveUpRail, recordFault(state)] },
  READ_FAILED: { target: '#chassis.fault', actions: [note, recordFault(state)] },
});

const NOWHERE: Context = {
  plan: {
    rails: [],
    pgood: { deglitchMs: 0, onTimeoutMs: 0, offTimeoutMs: 0 },
    resets: [],
    latched: false,
    minOffMs: 0,
  },
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
        POWER_OFF: unchanged('POWER_OFF'),
        // A rail that never was good is down as soon as it is disabled, before the drive was carried out.
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
        { guard: 'canEnable', actions: enableRails },
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
        { guard: 'canRelease', actions: releaseResets },
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
        POWER_OFF: unchanged('POWER_OFF'),
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
          unchanged('POWER_OFF'),
        ],
        CLEAR: [
          { guard: 'powerSeen', ...rejected('CLEAR', STILL_APPLIED) },
          { target: 'off', actions: [note, forget, changed('CLEAR')] },
        ],
        DRIVE_FAILED: { actions: [note, giveUpRail] },
      },
    },
  },
});

/** Anything that holds a state of the machine: what `transition` takes and gives. */
export type ChassisSnapshot = ReturnType<typeof chassisMachine.resolveState>;

/** The machine in a given state, as `reconcile` found it. Takes no transition and drives nothing. */
export function takeUp(plan: Plan, { state, sequence }: Reconciled): ChassisSnapshot {
  return chassisMachine.resolveState({ value: state, context: { plan, ...sequence } });
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

export function viewOf(snapshot: ChassisSnapshot): { state: State; sequence: SequenceState } {
  const { plan: _, ...sequence } = snapshot.context;
  return { state: snapshot.value as State, sequence };
}
