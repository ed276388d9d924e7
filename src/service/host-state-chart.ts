import { and, assign, fromCallback, fromPromise, not, or, raise, setup, stateIn } from 'xstate';
import { PowerError } from '../errors.ts';
import { hasTag } from '../sequence/state.ts';
import type { LastingState } from '../store/lasting.ts';
import type { UnitState } from '../system/ports.ts';
import { notProvided } from './actors.ts';
import {
  canRestore,
  hasNoHost,
  hostRequest,
  isHostRunning,
  type PowerSeen,
  powerRequest,
  RESTART_CAUSE,
  type RestartCause,
  type RestoreSetting,
  restorePolicy,
  restoresPower,
  type StateData,
  type StateRequest,
  unfinishedCycle,
  untilHourMs,
  withLasting,
  withMinutes,
  withPower,
  withRequest,
  withRest,
  withUnits,
} from './host-state-data.ts';

/**
 * The chart of chassis and host state: the power state, the requests of management clients, the hours with power, and the
 * power restore after a start of the BMC. Its actors are in `host-state.ts`, and its design is in
 * `docs/decisions/0030-service-charts.md`.
 */

/**
 * Longest time of a stage (TimeoutStartSec= of its unit). No process runs a sequence that is not over by then, and the
 * lines show the state.
 */
const LONGEST_STAGE_MS = 240_000;
/**
 * Pause between power off and power on of one request: for PowerCycle from phosphor-dbus-interfaces
 * (State/Chassis.interface.yaml), for Reboot as in phosphor-state-manager's host-reboot.
 */
const CYCLE_PAUSE_MS = 5_000;

export type HostStateEvent =
  | ({ readonly type: 'POWER_CHANGED' } & PowerSeen)
  | { readonly type: 'UNITS_CHANGED'; readonly units: readonly UnitState[] }
  | { readonly type: 'REQUESTED'; readonly request: StateRequest }
  | {
      readonly type: 'RESTORE_SET';
      readonly which: 'restore' | 'restoreOnce';
      readonly setting: Partial<RestoreSetting>;
    }
  /** The host was reset, and has kept its power. */
  | { readonly type: 'HOST_RESET'; readonly cause: RestartCause }
  | { readonly type: 'POST_CHANGED'; readonly isComplete: boolean }
  /** All objects are published. */
  | { readonly type: 'BEGIN' }
  | { readonly type: 'STOP' };

const lasting = (patch: (data: StateData) => Partial<LastingState>) =>
  assign<StateData, HostStateEvent, undefined, HostStateEvent, never>(({ context }) => ({
    lasting: withLasting(context.lasting, patch(context)),
  }));

const dataIs =
  (check: (data: StateData) => boolean) =>
  ({ context }: { readonly context: StateData }) =>
    check(context);

const powerIs = (state: 'on' | 'off') => stateIn({ serving: { power: state } });

const hostState = setup({
  types: {
    context: {} as StateData,
    events: {} as HostStateEvent,
    input: {} as StateData,
  },
  actors: {
    followUnits: fromCallback<HostStateEvent>(notProvided),
    /** Resolves whether the target was reached. */
    startTarget: fromPromise<boolean, StateRequest>(notProvided),
    readUnits: fromPromise<readonly UnitState[] | null>(notProvided),
  },
  delays: {
    LONGEST_STAGE: LONGEST_STAGE_MS,
    CYCLE_PAUSE: CYCLE_PAUSE_MS,
    HOUR: ({ context }) => untilHourMs(context),
    RESTORE_DELAY: ({ context }) => Number(context.lasting.restore.delayUs / 1000n),
  },
  guards: {
    isRising: ({ context }) => hasTag(context.sequence, 'rising'),
    isFalling: ({ context }) => hasTag(context.sequence, 'lowering'),
    hasPower: ({ context }) => context.sequence === 'pgood' || context.pgood,
    /** The state of the sequence is the same: only pgood or the request has changed. */
    isSameState: ({ context, event }) =>
      event.type === 'POWER_CHANGED' && event.sequence === context.sequence,
    hasBegunToRise: ({ context, event }) =>
      event.type === 'POWER_CHANGED' &&
      event.sequence !== context.sequence &&
      hasTag(event.sequence, 'rising'),
    hasBegunToFall: ({ context, event }) =>
      event.type === 'POWER_CHANGED' &&
      event.sequence !== context.sequence &&
      hasTag(event.sequence, 'lowering'),
    willHavePower: ({ event }) =>
      event.type === 'POWER_CHANGED' && (event.sequence === 'pgood' || event.pgood),

    isPowerOn: powerIs('on'),
    isPowerNotOn: not(powerIs('on')),
    isAnotherRequest: ({ context: { request }, event }) =>
      event.type === 'REQUESTED' &&
      (event.request.of !== request?.of || event.request.transition !== request.transition),
    hasNext: ({ context }, isReached: boolean) => isReached && (context.request?.targets.length ?? 0) > 1,

    isPowerOnUnasked: and([
      powerIs('on'),
      dataIs(({ lasting: { requestedPower } }) => requestedPower === 'Off'),
    ]),
    isPowerOffUnasked: and([
      powerIs('off'),
      dataIs(({ lasting: { requestedPower } }) => requestedPower !== 'Off'),
    ]),
    isHostRunningUnasked: and([
      not(powerIs('off')),
      dataIs((data) => isHostRunning(data) && data.lasting.requestedHost === 'Off'),
    ]),
    isHostOffUnasked: and([
      dataIs(({ lasting: { requestedHost } }) => requestedHost !== 'Off'),
      or([powerIs('off'), and([powerIs('on'), dataIs(hasNoHost)])]),
    ]),

    hasUnfinishedCycle: dataIs((data) => unfinishedCycle(data) !== null),
    mayRestore: dataIs(canRestore),
    mustRestore: dataIs((data) => canRestore(data) && restoresPower(data.lasting)),
  },
  actions: {
    /** Provided: writes the lasting state if a cycle begins or ends. */
    saveCycle: () => undefined,
    /** Provided: writes the lasting state. */
    save: () => undefined,
    /** Provided: writes a line to the journal. */
    logRestore: () => undefined,

    keepPower: assign(({ context, event }) =>
      event.type === 'POWER_CHANGED'
        ? withPower(context, { sequence: event.sequence, pgood: event.pgood, wanted: event.wanted })
        : {},
    ),
    keepUnits: assign(({ context }, units: readonly UnitState[] | null) => withUnits(context, units)),
    keepRestore: assign(({ context, event }) =>
      event.type === 'RESTORE_SET'
        ? {
            lasting: withLasting(context.lasting, {
              [event.which]: { ...context.lasting[event.which], ...event.setting },
            }),
          }
        : {},
    ),
    keepCause: assign(({ context, event }) =>
      event.type === 'HOST_RESET'
        ? { lasting: withLasting(context.lasting, { restartCause: event.cause }) }
        : {},
    ),
    keepPost: assign(({ event }) =>
      event.type === 'POST_CHANGED' ? { isPostComplete: event.isComplete } : {},
    ),
    noteRest: assign(({ context }, power: 'on' | 'off') => ({ lasting: withRest(context, power) })),

    takeRequest: assign(({ context, event }) =>
      event.type === 'REQUESTED' ? withRequest(context, event.request) : {},
    ),
    /** Before the last target of a cycle: the next service has nothing to resume if this one dies. */
    forgetCycleBeforeLast: assign(({ context }) =>
      context.request?.targets.length === 1 ? { lasting: withLasting(context.lasting, { cycle: null }) } : {},
    ),
    dropTarget: assign(({ context: { request } }) =>
      request === null ? {} : { request: { ...request, targets: request.targets.slice(1) } },
    ),
    endRequest: assign({ request: null }),
    forgetCycle: lasting(() => ({ cycle: null })),

    showPowerOn: lasting(() => ({ requestedPower: 'On' })),
    showPowerOff: lasting(() => ({ requestedPower: 'Off' })),
    showHostOn: lasting(() => ({ requestedHost: 'On' })),
    showHostOff: lasting(() => ({ requestedHost: 'Off' })),

    countFromNow: assign(({ context }) => ({ countedToMs: context.clock.nowMs() })),
    countMinutes: assign(({ context }) => withMinutes(context)),

    /** Repeats the cycle from its first half, which ends at once where power is off. */
    resumeCycle: raise(({ context }) => {
      const { chassis, lasting: kept } = context;
      const isHost = unfinishedCycle(context) === 'host';
      return {
        type: 'REQUESTED',
        request: isHost
          ? hostRequest(chassis, 'Reboot', kept.restartCause)
          : powerRequest(chassis, 'PowerCycle'),
      };
    }),
    restorePower: raise(({ context: { chassis, lasting: kept } }) => ({
      type: 'REQUESTED',
      request: hostRequest(chassis, 'On', RESTART_CAUSE[restorePolicy(kept)]),
    })),
    useUpPolicy: lasting(({ lasting: kept }) => ({
      restoreOnce: { ...kept.restoreOnce, policy: 'None' },
      ...(restorePolicy(kept) === 'AlwaysOff' && { lastAsked: 'off' }),
    })),
    /** Nothing is restored again in this boot of the BMC. */
    settleRestore: lasting(({ bootId }) => ({ restoredInBoot: bootId })),
  },
});

export const hostStateChart = hostState.createMachine({
  id: 'hostState',
  context: ({ input }) => input,
  initial: 'serving',
  states: {
    serving: {
      type: 'parallel',
      invoke: { src: 'followUnits' },
      on: {
        RESTORE_SET: { actions: 'keepRestore' },
        HOST_RESET: { actions: 'keepCause' },
        POST_CHANGED: { actions: 'keepPost' },
        UNITS_CHANGED: { actions: { type: 'keepUnits', params: ({ event }) => event.units } },
        STOP: { target: 'stopped' },
      },
      states: {
        /** CurrentPowerState. */
        power: {
          initial: 'unseen',
          on: {
            POWER_CHANGED: [
              { guard: 'hasBegunToRise', target: '.turningOn', actions: 'keepPower' },
              { guard: 'hasBegunToFall', target: '.turningOff', actions: 'keepPower' },
              { guard: 'willHavePower', target: '.on', actions: 'keepPower' },
              { target: '.off', actions: 'keepPower' },
            ],
          },
          states: {
            unseen: {
              always: [
                { guard: 'isRising', target: 'turningOn' },
                { guard: 'isFalling', target: 'turningOff' },
                { guard: 'hasPower', target: 'on' },
                { target: 'off' },
              ],
            },
            turningOn: {
              on: { POWER_CHANGED: { guard: 'isSameState', actions: 'keepPower' } },
              after: { LONGEST_STAGE: [{ guard: 'hasPower', target: 'on' }, { target: 'off' }] },
            },
            turningOff: {
              on: { POWER_CHANGED: { guard: 'isSameState', actions: 'keepPower' } },
              after: { LONGEST_STAGE: [{ guard: 'hasPower', target: 'on' }, { target: 'off' }] },
            },
            on: { entry: { type: 'noteRest', params: 'on' } },
            off: { entry: { type: 'noteRest', params: 'off' } },
          },
        },

        requesting: {
          initial: 'idle',
          on: {
            REQUESTED: {
              guard: 'isAnotherRequest',
              target: '.starting',
              actions: ['takeRequest', 'saveCycle'],
            },
          },
          states: {
            /**
             * No request of this interface is under way. The requested transition follows the actual state, whoever caused
             * it and whatever failed: a client that compares the two sees no transition. A cycle that is done stays the last
             * request, as with phosphor-state-manager.
             */
            idle: {
              always: [
                { guard: 'isPowerOnUnasked', actions: 'showPowerOn' },
                { guard: 'isPowerOffUnasked', actions: 'showPowerOff' },
                { guard: 'isHostRunningUnasked', actions: 'showHostOn' },
                { guard: 'isHostOffUnasked', actions: 'showHostOff' },
              ],
            },
            starting: {
              entry: ['forgetCycleBeforeLast', 'saveCycle'],
              invoke: {
                src: 'startTarget',
                input: ({ context }) => requestOf(context),
                onDone: [
                  {
                    guard: { type: 'hasNext', params: ({ event }) => event.output },
                    target: 'pausing',
                    actions: 'dropTarget',
                  },
                  { target: 'confirming' },
                ],
              },
            },
            pausing: { after: { CYCLE_PAUSE: 'starting' } },
            /** The change of a unit may be reported later than the end of its job. */
            confirming: {
              invoke: {
                src: 'readUnits',
                onDone: {
                  target: 'idle',
                  actions: [
                    { type: 'keepUnits', params: ({ event }) => event.output },
                    'endRequest',
                    'forgetCycle',
                  ],
                },
              },
            },
          },
        },

        /** POHCounter. */
        counting: {
          initial: 'withoutPower',
          states: {
            withoutPower: {
              always: { guard: 'isPowerOn', target: 'withPower', actions: 'countFromNow' },
            },
            withPower: {
              always: { guard: 'isPowerNotOn', target: 'withoutPower' },
              after: { HOUR: { target: 'withPower', reenter: true } },
              exit: 'countMinutes',
            },
          },
        },

        /** PowerRestorePolicy. */
        restoring: {
          initial: 'unbegun',
          states: {
            unbegun: {
              on: {
                BEGIN: [
                  {
                    guard: 'hasUnfinishedCycle',
                    target: 'settled',
                    actions: ['resumeCycle', 'forgetCycle'],
                  },
                  { guard: 'mayRestore', target: 'delaying', actions: 'forgetCycle' },
                  { target: 'settled', actions: ['forgetCycle', 'settleRestore'] },
                ],
              },
            },
            delaying: {
              on: { REQUESTED: 'settled' },
              after: {
                RESTORE_DELAY: [
                  {
                    guard: 'mustRestore',
                    target: 'settled',
                    actions: ['logRestore', 'restorePower', 'useUpPolicy', 'settleRestore'],
                  },
                  {
                    guard: 'mayRestore',
                    target: 'settled',
                    actions: ['logRestore', 'useUpPolicy', 'settleRestore'],
                  },
                  { target: 'settled', actions: 'settleRestore' },
                ],
              },
            },
            settled: {},
          },
        },
      },
    },
    stopped: { type: 'final', entry: 'save' },
  },
});

function requestOf({ request }: StateData): StateRequest {
  if (request === null) throw new PowerError('INTERNAL', 'nothing was asked for');
  return request;
}
