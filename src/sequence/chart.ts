import { assign, enqueueActions, type ParameterizedObject, setup } from 'xstate';
import { isStageOver } from './deadlines.ts';
import type { Answer, EventOf, Request, SequenceAction, SequenceEvent } from './events.ts';
import { type FaultName, faultOf, hardwareFault, hasFault, missOf } from './faults.ts';
import { handedOver, isAnyHeldBack } from './held-resets.ts';
import { railPlan } from './plan.ts';
import {
  allEnabled,
  assertResets,
  beginAnew,
  beginCheck,
  disableRails,
  driveAllOff,
  enableRail,
  expectSupplies,
  giveUpRail,
  isAllDriven,
  isNextRaise,
  isReady,
  nextRail,
  nextReset,
  note,
  noteHostOff,
  noteMissed,
  pulseLatch,
  type Reduced,
  railsToDisable,
  releaseReset,
  startStage,
} from './rails.ts';
import { type Context, isFresh } from './readings.ts';
import { hasHostLeft } from './sleep.ts';
import { delivering, type Fault, fallen, powerSeen, STATE_TAGS, type State, type StateTag } from './state.ts';

/**
 * The chart of the chassis power sequence, drawn in docs/charts/sequence.svg. It is pure: what must be driven leaves as
 * action data, what happens comes in as events, and time comes with every event. Deadlines are context, not timers, so
 * that a state taken up by another process still ends in time. What the actions do to the rails is in rails.ts, the timed
 * conditions are in deadlines.ts, and what can go wrong is in faults.ts.
 */

/** What the runner is asked for, as xstate writes it. */
type Ask<A extends SequenceAction = SequenceAction> = A extends { type: infer Type extends string }
  ? { type: Type; params: Omit<A, 'type'> }
  : never;

/** An action that changes what is known and asks the runner for what the reducer wants done. */
function by<Params extends ParameterizedObject['params'] | undefined = undefined>(
  reduce: (context: Context, event: SequenceEvent, params: Params) => Reduced,
) {
  return enqueueActions<Context, SequenceEvent, Params, SequenceEvent, never, Ask, never, never, never>(
    ({ context, event, enqueue }, given) => {
      const { asks = [], change } = reduce(context, event, given);
      for (const { type, ...params } of asks) enqueue({ type, params } as Ask);
      if (change !== undefined) enqueue.assign(change);
    },
  );
}

/** How a request is taken. Only requests are answered. */
function answer({ type }: SequenceEvent, outcome: Answer['outcome'], reason = ''): Reduced {
  return { asks: [{ type: 'answer', request: type as Request, outcome, reason }] };
}

/** The first fault is kept, whatever follows from it. */
function keepFirst({ fault: earlier }: Context, fault: Fault | null): Reduced {
  if (earlier !== null || fault === null) return {};
  return { change: { fault }, asks: [{ type: 'raiseFault', fault }] };
}

/** What cannot be read is the good signal of a rail that the chassis can do without: its time tells what becomes of it. */
function isOfLogOnly({ plan }: Context, event: SequenceEvent): boolean {
  if (event.type !== 'READ_FAILED' || event.signal !== 'good' || event.rail === null) return false;
  return railPlan(plan, event.rail).isLogOnly;
}

/** For an action that the runner carries out. */
const leaveToRunner = () => undefined;

const chart = setup({
  types: {
    context: {} as Context,
    events: {} as SequenceEvent,
    input: {} as Context,
    tags: {} as StateTag,
  },
  actions: {
    driveEnable: (_, _params: Ask<Extract<SequenceAction, { type: 'driveEnable' }>>['params']) =>
      leaveToRunner(),
    driveReset: (_, _params: Ask<Extract<SequenceAction, { type: 'driveReset' }>>['params']) =>
      leaveToRunner(),
    pulseLatch: leaveToRunner,
    entered: (_, _params: { state: State }) => leaveToRunner(),
    answer: (_, _params: Answer) => leaveToRunner(),
    tellMissed: (_, _params: Ask<Extract<SequenceAction, { type: 'tellMissed' }>>['params']) =>
      leaveToRunner(),
    tellHostOff: (_, _params: { rail: string }) => leaveToRunner(),
    raiseFault: (_, _params: Ask<Extract<SequenceAction, { type: 'raiseFault' }>>['params']) =>
      leaveToRunner(),

    accept: by((_, event) => answer(event, 'changed')),
    leaveAsIs: by((_, event) => answer(event, 'unchanged')),
    reject: by((_, event, { reason }: { reason: string }) => answer(event, 'rejected', reason)),

    note: assign(({ context, event }) => note(context, event)),
    beginAnew: assign(({ context }) => beginAnew(context)),
    noteHostOff: by(noteHostOff),
    noteMissed: by(noteMissed),
    assertResets: by(assertResets),
    expectSupplies: assign(({ context }) => expectSupplies(context)),
    checkNextRail: assign(({ context }) => beginCheck(context, nextRail(context))),
    enableRail: by(enableRail),
    startOnTimeout: assign(({ context }) => startStage(context, context.plan.pgood.onTimeoutMs)),
    markReady: assign({ readyMs: ({ context }) => context.nowMs }),
    checkNextReset: assign(({ context }) => beginCheck(context, nextReset(context))),
    releaseReset: by(releaseReset),
    handOverHeldResets: assign({
      resetsAsserted: ({ context }) => handedOver(context.plan, context.resetsAsserted),
    }),
    disableRails: by(disableRails),
    driveAllOff: by(driveAllOff),
    pulseLatchIfPending: by(pulseLatch),
    startOffTimeout: assign(({ context }) => startStage(context, context.plan.pgood.offTimeoutMs)),
    endStage: assign({ stageDeadlineMs: null, readyMs: null }),
    markOff: assign({ stageDeadlineMs: null, offSinceMs: ({ context }) => context.nowMs }),

    // Where a signal could not be read when a loss had to be judged, that is what there is to tell.
    recordFault: by((context, event, { fault, state }: { fault: FaultName; state: State }) =>
      keepFirst(context, hardwareFault(event, state, context) ?? faultOf(context, fault, state)),
    ),
    recordHardwareFault: by((context, event, { state }: { state: State }) =>
      keepFirst(context, hardwareFault(event, state, context)),
    ),
    giveUpRail: assign(({ context, event }) => giveUpRail(context, event as EventOf<'DRIVE_FAILED'>)),
    forgetFault: assign({ fault: null }),
  },
  guards: {
    linesContradict: ({ context }) => context.contradictions.length > 0,
    powerSeen: ({ context }) => powerSeen(context),

    anyResetReleased: ({ context }) => Object.values(context.resetsAsserted).some((asserted) => !asserted),
    /** What may be raised next is another thing than what is being checked. */
    otherRailIsNext: ({ context }) => !isNextRaise(context, nextRail(context)),
    otherResetIsNext: ({ context }) => !isNextRaise(context, nextReset(context)),
    nextIsChecked: ({ context }) => context.readings.check?.left.length === 0,
    allEnabled: ({ context }) => allEnabled(context),
    becameReady: ({ context }) => context.readyMs === null && isReady(context),
    allResetsReleased: ({ context }) =>
      context.readyMs !== null && !isAnyHeldBack(context.plan, context.resetsAsserted),

    canDisable: ({ context }) => railsToDisable(context).length > 0,
    allDrivenOff: ({ context }) => isAllDriven(context),
    powerIsGone: ({ context }) => fallen(context) && !powerSeen(context) && isFresh(context.readings.pgood),
    loweredInFault: ({ context }) =>
      context.stageDeadlineMs === null && isAllDriven(context) && fallen(context),
    powerIsGoneOrStays: ({ context }) =>
      context.stageDeadlineMs !== null &&
      fallen(context) &&
      isFresh(context.readings.pgood) &&
      (!delivering(context) || isStageOver(context, true)),
    /** The process that changed the enables ended before it pulsed the latch. */
    latchMissed: ({ context }) => context.latchPending,

    /** Of a rail that the chassis can do without. */
    railMissed: ({ context }) => missOf(context) !== null,
    ofLogOnly: ({ context, event }) => isOfLogOnly(context, event),
    hostHasLeft: ({ context }) => hasHostLeft(context),

    railLost: ({ context }) => hasFault(context, 'railLost'),
    railTimedOut: ({ context }) => hasFault(context, 'railTimedOut'),
    railStray: ({ context }) => hasFault(context, 'railStray'),
    railLostWithPgood: ({ context }) => hasFault(context, 'railLostWithPgood'),
    pgoodLost: ({ context }) => hasFault(context, 'pgoodLost'),
    pgoodLostEarly: ({ context }) => hasFault(context, 'pgoodLostEarly'),
    railTooLateForPgood: ({ context }) => hasFault(context, 'railTooLateForPgood'),
    pgoodTimedOut: ({ context }) => hasFault(context, 'pgoodTimedOut'),
    railsStuck: ({ context }) => hasFault(context, 'railsStuck'),
    powerStays: ({ context }) => hasFault(context, 'powerStays'),
  },
});

const entered = (state: State) => ({ type: 'entered' as const, params: { state } });
const reject = (reason: string) => ({ actions: { type: 'reject' as const, params: { reason } } });

const goingOff = reject('the chassis is being powered off: ask again when it is off');
const stillApplied = reject('power could not be taken down and is still applied: ask for power off first');
const latchHolds = reject('the latch was not told that the enables are off: ask for power off first');

/** Of what can go wrong in the state, whatever is found first ends it. */
const onFault = (state: State, ...faults: FaultName[]) =>
  faults.map((fault) => ({
    guard: fault,
    target: '#chassis.fault',
    actions: { type: 'recordFault' as const, params: { fault, state } },
  }));
const recordHardwareFault = (state: State) => ({ type: 'recordHardwareFault' as const, params: { state } });
/** Power comes no further once a line failed. */
const stopRaising = (state: State) => ({
  DRIVE_FAILED: { target: '#chassis.fault', actions: ['note' as const, recordHardwareFault(state)] },
  READ_FAILED: [
    { guard: 'ofLogOnly' as const, actions: 'note' as const },
    { target: '#chassis.fault', actions: ['note' as const, recordHardwareFault(state)] },
  ],
});
/** A rail that the chassis can do without is told, and no more. */
const tellMissed = { guard: 'railMissed' as const, actions: 'noteMissed' as const };
/** On the way down a failing line stops nothing: it is remembered, and the rest goes down. */
const keepLowering = (state: State) => ({
  DRIVE_FAILED: {
    target: '#chassis.fault',
    actions: ['note' as const, 'giveUpRail' as const, recordHardwareFault(state)],
  },
  READ_FAILED: { target: '#chassis.fault', actions: ['note' as const, recordHardwareFault(state)] },
});

export const chassisMachine = chart.createMachine({
  id: 'chassis',
  initial: 'unknown',
  // Every run takes the chart up in the state that the lines show, with a context of its own.
  context: ({ input }) => input,
  on: {
    RAIL_LEVEL: { actions: 'note' },
    PGOOD_LEVEL: { actions: 'note' },
    HOST_SLEEP: { actions: 'note' },
    TICK: { actions: 'note' },
    STALLED: { actions: 'note' },
    DRIVEN: { actions: 'note' },
    LATCHED: { actions: 'note' },
    // At rest nothing is waited for: a line that cannot be read changes nothing. Neither does it in pgood: it is no reason to
    // take a running host's power away.
    READ_FAILED: { actions: 'note' },
    CLEAR: { actions: 'leaveAsIs' },
  },
  states: {
    unknown: {
      tags: STATE_TAGS.unknown,
      on: {
        POWER_ON: [
          {
            guard: 'linesContradict',
            ...reject('the lines contradict each other: look at status, or ask for power off'),
          },
          { target: 'opPowerStart', actions: ['note', 'beginAnew', 'accept'] },
        ],
        POWER_OFF: { target: 'opPowerStop', actions: ['note', 'beginAnew', 'accept'] },
      },
    },
    off: {
      tags: STATE_TAGS.off,
      entry: entered('off'),
      on: {
        POWER_ON: { target: 'opPowerStart', actions: ['note', 'beginAnew', 'accept'] },
        POWER_OFF: { actions: ['assertResets', 'driveAllOff', 'leaveAsIs'] },
        // Off is not off as long as something that would show power cannot be read.
        ...keepLowering('off'),
      },
    },
    opPowerStart: {
      tags: STATE_TAGS.opPowerStart,
      entry: [entered('opPowerStart'), 'expectSupplies'],
      on: {
        POWER_ON: { actions: 'leaveAsIs' },
        POWER_OFF: { target: 'opPowerStop', actions: ['note', 'accept'] },
        ...stopRaising('opPowerStart'),
      },
      always: [
        ...onFault('opPowerStart', 'railLost', 'railTimedOut', 'railStray'),
        { guard: 'anyResetReleased', actions: 'assertResets' },
        tellMissed,
        // One rail after the other, each after what it rests on was read again.
        { guard: 'otherRailIsNext', actions: 'checkNextRail' },
        { guard: 'nextIsChecked', actions: 'enableRail' },
        { guard: 'allEnabled', target: 'opWaitPowerOn', actions: ['startOnTimeout', 'pulseLatchIfPending'] },
      ],
    },
    opWaitPowerOn: {
      tags: STATE_TAGS.opWaitPowerOn,
      entry: entered('opWaitPowerOn'),
      on: {
        POWER_ON: { actions: 'leaveAsIs' },
        POWER_OFF: { target: 'opPowerStop', actions: ['note', 'accept'] },
        TICK: [{ guard: 'latchMissed', actions: ['note', 'pulseLatchIfPending'] }, { actions: 'note' }],
        ...stopRaising('opWaitPowerOn'),
      },
      always: [
        ...onFault('opWaitPowerOn', 'railLost', 'railTimedOut', 'pgoodLostEarly'),
        ...onFault('opWaitPowerOn', 'railTooLateForPgood', 'pgoodTimedOut'),
        tellMissed,
        { guard: 'becameReady', actions: 'markReady' },
        { guard: 'otherResetIsNext', actions: 'checkNextReset' },
        { guard: 'nextIsChecked', actions: 'releaseReset' },
        { guard: 'allResetsReleased', target: 'pgood', actions: 'endStage' },
      ],
    },
    pgood: {
      tags: STATE_TAGS.pgood,
      entry: ['handOverHeldResets', entered('pgood')],
      on: {
        POWER_ON: { actions: 'leaveAsIs' },
        POWER_OFF: { target: 'opPowerStop', actions: ['note', 'accept'] },
        // Here nothing is driven, so it was on the way in: a host of which a reset stays held is not on.
        DRIVE_FAILED: stopRaising('opWaitPowerOn').DRIVE_FAILED,
      },
      always: [
        // What it leaves behind goes down as on request.
        { guard: 'hostHasLeft', target: 'opPowerStop', actions: 'noteHostOff' },
        ...onFault('pgood', 'railLost', 'railTimedOut', 'railLostWithPgood', 'pgoodLost'),
        tellMissed,
      ],
    },
    opPowerStop: {
      tags: STATE_TAGS.opPowerStop,
      entry: entered('opPowerStop'),
      on: {
        POWER_ON: goingOff,
        POWER_OFF: { actions: 'leaveAsIs' },
        ...keepLowering('opPowerStop'),
      },
      always: [
        { guard: 'anyResetReleased', actions: 'assertResets' },
        { guard: 'canDisable', actions: 'disableRails' },
        {
          guard: 'allDrivenOff',
          target: 'opWaitPowerOff',
          actions: ['startOffTimeout', 'pulseLatchIfPending'],
        },
      ],
    },
    opWaitPowerOff: {
      tags: STATE_TAGS.opWaitPowerOff,
      entry: entered('opWaitPowerOff'),
      on: {
        POWER_ON: goingOff,
        POWER_OFF: { actions: ['assertResets', 'driveAllOff', 'leaveAsIs'] },
        TICK: [{ guard: 'latchMissed', actions: ['note', 'pulseLatchIfPending'] }, { actions: 'note' }],
        ...keepLowering('opWaitPowerOff'),
      },
      always: [
        { guard: 'powerIsGone', target: 'off', actions: ['pulseLatchIfPending', 'markOff'] },
        ...onFault('opWaitPowerOff', 'railsStuck', 'powerStays'),
      ],
    },
    fault: {
      tags: STATE_TAGS.fault,
      entry: [entered('fault'), 'endStage'],
      on: {
        POWER_ON: reject('a fault is being handled: ask again when the power is down'),
        POWER_OFF: { actions: 'leaveAsIs' },
        DRIVE_FAILED: { actions: ['note', 'giveUpRail'] },
      },
      always: [
        { guard: 'anyResetReleased', actions: 'assertResets' },
        { guard: 'canDisable', actions: 'disableRails' },
        { guard: 'loweredInFault', actions: ['startOffTimeout', 'pulseLatchIfPending'] },
        { guard: 'powerIsGoneOrStays', target: 'failed', actions: 'markOff' },
      ],
    },
    failed: {
      tags: STATE_TAGS.failed,
      entry: entered('failed'),
      on: {
        POWER_ON: [
          { guard: 'powerSeen', ...stillApplied },
          { target: 'opPowerStart', actions: ['note', 'beginAnew', 'accept'] },
        ],
        POWER_OFF: [
          { guard: 'powerSeen', target: 'opPowerStop', actions: ['note', 'beginAnew', 'accept'] },
          { actions: ['assertResets', 'driveAllOff', 'leaveAsIs'] },
        ],
        CLEAR: [
          { guard: 'powerSeen', ...stillApplied },
          { guard: 'latchMissed', ...latchHolds },
          { target: 'off', actions: ['note', 'beginAnew', 'accept'] },
        ],
        // Of a power-off that found no power: what it could not drive is its own failure, and not the older one.
        DRIVE_FAILED: {
          target: 'fault',
          actions: ['note', 'giveUpRail', 'forgetFault', recordHardwareFault('failed')],
        },
      },
    },
  },
});
