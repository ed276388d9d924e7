import { assign, enqueueActions, fromCallback, fromPromise, sendTo, setup, stateIn } from 'xstate';
import { PowerError } from '../errors.ts';
import { faultText } from '../sequence/causes.ts';
import { hasTag, type SequenceState, type State } from '../sequence/state.ts';
import { notProvided } from './actors.ts';
import { type ChassisFact, type ChassisFacts, firstFacts, type Wanted, withFact } from './chassis-view.ts';
import type { PowerRequest } from './operation.ts';

/**
 * The chart of the service for one chassis: what it observes, what it drives, what an earlier service left, and what it
 * reports. Its actors are in `resident.ts`, and its design is in `docs/decisions/0030-service-charts.md`.
 */

/** Pause before a watch is started again that ended without a reason. */
const RETRY_MS = 500;
/** How long the end of the process waits until news of a loss is delivered. */
const LAST_WORDS_MS = 5_000;

export interface Loss {
  readonly sequence: SequenceState;
  /** An earlier service handled the loss, and may have reported it already. */
  readonly isOfBefore: boolean;
}

export interface FirstReading {
  readonly state: State;
  readonly pgood: boolean;
  readonly sequence: SequenceState;
}

/** State of the chassis from the state file, or else from its lines; only the file has the `fault`. */
export interface Found {
  readonly state: State;
  readonly fault?: string | null;
}

export type NewsEvent =
  | { readonly type: 'POWER_LOST'; readonly loss: Loss }
  | { readonly type: 'HOST_LEFT' }
  | { readonly type: 'REQUEST_FAILED'; readonly wanted: Wanted; readonly error: unknown };

export type ResidentEvent =
  | ChassisFact
  | NewsEvent
  | { readonly type: 'STATE_FILE_CHANGED' }
  | { readonly type: 'REQUESTED'; readonly request: PowerRequest }
  | { readonly type: 'WITHDRAWN'; readonly request: PowerRequest; readonly reason: string }
  | { readonly type: 'LOCK_TAKEN' }
  | { readonly type: 'SWITCHED' }
  | { readonly type: 'OPERATION_ENDED'; readonly error: unknown }
  | { readonly type: 'WATCH_ENDED' }
  /** This process is the only service. */
  | { readonly type: 'BEGIN' }
  | { readonly type: 'LEFT_BEHIND_FINISHED'; readonly sequence: SequenceState | null }
  | { readonly type: 'NEWS_DELIVERED' }
  | { readonly type: 'STOP'; readonly reason: string };

/** Ends a watch. */
export interface EndWatch {
  readonly type: 'END_WATCH';
  readonly reason: string;
}

/** The chassis is between off and on: no process leaves it in such a state on purpose. */
export function isHalfDone(state: State): boolean {
  return hasTag(state, 'rising') || hasTag(state, 'lowering');
}

interface Context {
  readonly facts: ChassisFacts;
  /** Requests that are not over, in their order. The first one is under way. */
  readonly requests: readonly PowerRequest[];
  /** The sequence as the earlier service left it, or as this one has finished it. */
  readonly leftBy: SequenceState | null;
  /** News that systemd or the event log has not taken yet. */
  readonly undelivered: number;
}

const resident = setup({
  types: {
    context: {} as Context,
    events: {} as ResidentEvent,
    input: {} as FirstReading,
    tags: {} as 'closed',
    children: {} as { watch: 'watchPower'; teller: 'tell' },
  },
  actors: {
    followPgood: fromCallback<ResidentEvent, boolean>(notProvided),
    followStateFile: fromCallback<ResidentEvent>(notProvided),
    findState: fromPromise<Found | null>(notProvided),
    watchPower: fromCallback<EndWatch>(notProvided),
    carryOut: fromCallback<ResidentEvent, PowerRequest>(notProvided),
    isLeftHalfDone: fromPromise<boolean, State>(notProvided),
    finishLeftBehind: fromCallback<ResidentEvent, State>(notProvided),
    tell: fromCallback<NewsEvent>(notProvided),
  },
  delays: { RETRY: RETRY_MS, LAST_WORDS: LAST_WORDS_MS },
  guards: {
    isOn: ({ context }) => context.facts.state === 'pgood',
    isNotOn: ({ context }) => context.facts.state !== 'pgood',
    /** The state does not explain pgood: another process switched it, and wrote its state. */
    isUnexplained: ({ context, event }) =>
      event.type === 'PGOOD_CHANGED' &&
      event.level !== (context.facts.state === 'pgood') &&
      context.requests.length === 0,
    isRequested: ({ context }) => context.requests.length > 0,
    isNotRequested: ({ context }) => context.requests.length === 0,
    isQueued: ({ context, event }) => event.type === 'WITHDRAWN' && event.request !== context.requests[0],
    /** A request that came meanwhile finishes it too. */
    mayFinish: ({ context: { facts, requests } }, isLeft: boolean) =>
      isLeft && (isHalfDone(facts.state) || facts.state === 'pgood') && requests.length === 0,
    wasLost: ({ context }) => context.facts.state === 'failed' && context.leftBy?.fault?.state === 'pgood',
    isClosed: stateIn({ observing: 'closed' }),
    hasStopped: stateIn({ driving: 'stopped' }),
    hasUndelivered: ({ context }) => context.undelivered > 0,
    allDelivered: ({ context }) => context.undelivered === 0,
  },
  actions: {
    keepFact: assign(({ context, event }) =>
      isFact(event) ? { facts: withFact(context.facts, event) } : {},
    ),
    keepFound: assign(({ context: { facts } }, found: Found | null) => {
      if (found === null) return {};
      const { state, fault } = found;
      const known = fault === undefined ? facts : withFact(facts, { type: 'FAULT_RECORDED', reason: fault });
      return { facts: withFact(known, { type: 'STATE_ENTERED', state }) };
    }),
    /** A new request interrupts a power-on. A power-off is always finished first. */
    letPowerOnGiveWay({ context }) {
      const last = context.requests.at(-1);
      if (last?.wanted === 'on') last.interrupt('power off was asked for');
    },
    queueRequest: assign(({ context, event }) =>
      event.type === 'REQUESTED' ? { requests: [...context.requests, event.request] } : {},
    ),
    withdrawRequest({ event }) {
      if (event.type === 'WITHDRAWN') event.request.interrupt(event.reason);
    },
    interruptRequests({ context, event }) {
      if (event.type !== 'STOP') return;
      for (const request of context.requests) request.interrupt(event.reason);
    },
    answerSwitched: ({ context }) => context.requests[0]?.settleSwitched(),
    answerDone({ context, event }) {
      if (event.type === 'OPERATION_ENDED') context.requests[0]?.settle(event.error);
    },
    dropRequest: assign(({ context }) => ({ requests: context.requests.slice(1) })),
    endWatch: sendTo('watch', ({ event }) => ({
      type: 'END_WATCH',
      reason: event.type === 'STOP' ? event.reason : 'request',
    })),
    keepLeftBehind: assign(({ event }) =>
      event.type === 'LEFT_BEHIND_FINISHED' ? { leftBy: event.sequence } : {},
    ),
    raiseLossOfBefore: enqueueActions(({ context, enqueue }) => {
      const { leftBy } = context;
      if (leftBy !== null)
        enqueue.raise({ type: 'POWER_LOST', loss: { sequence: leftBy, isOfBefore: true } });
    }),
    tellNews: enqueueActions(({ context, event, enqueue }) => {
      if (event.type !== 'POWER_LOST' && event.type !== 'HOST_LEFT' && event.type !== 'REQUEST_FAILED')
        return;
      enqueue.assign({ undelivered: context.undelivered + 1 });
      enqueue.sendTo('teller', event);
    }),
    noteDelivered: assign(({ context }) => ({ undelivered: context.undelivered - 1 })),
  },
});

export const residentChart = resident.createMachine({
  id: 'resident',
  context: ({ input: { state, pgood, sequence } }) => ({
    facts: firstFacts(state, pgood, sequence.fault && faultText(sequence.fault)),
    requests: [],
    leftBy: sequence,
    undelivered: 0,
  }),
  type: 'parallel',
  on: {
    STATE_ENTERED: { actions: 'keepFact' },
    FAULT_RECORDED: { actions: 'keepFact' },
  },
  states: {
    observing: {
      initial: 'open',
      states: {
        open: {
          invoke: [
            { src: 'followPgood', input: ({ context }) => context.facts.pgood },
            { src: 'followStateFile' },
          ],
          initial: 'steady',
          on: {
            PGOOD_CHANGED: [
              { guard: 'isUnexplained', target: '.refreshing', actions: 'keepFact' },
              { actions: 'keepFact' },
            ],
            PGOOD_UNREAD: { actions: 'keepFact' },
            STATE_FILE_CHANGED: { guard: 'isNotRequested', target: '.refreshing' },
            WATCH_ENDED: { guard: 'isNotRequested', target: '.refreshing' },
            STOP: 'closed',
          },
          states: {
            steady: {},
            refreshing: {
              invoke: {
                src: 'findState',
                onDone: [
                  {
                    guard: 'isNotRequested',
                    target: 'steady',
                    actions: { type: 'keepFound', params: ({ event }) => event.output },
                  },
                  { target: 'steady' },
                ],
              },
            },
          },
        },
        closed: { type: 'final', tags: 'closed' },
      },
    },

    driving: {
      initial: 'resting',
      on: { REQUESTED: { actions: ['letPowerOnGiveWay', 'queueRequest'] } },
      states: {
        resting: {
          always: [
            { guard: 'isRequested', target: 'operating' },
            { guard: 'isClosed', target: 'stopped' },
            { guard: 'isOn', target: 'watching' },
          ],
        },
        watching: {
          invoke: { id: 'watch', src: 'watchPower' },
          on: {
            REQUESTED: { actions: ['letPowerOnGiveWay', 'queueRequest', 'endWatch'] },
            STOP: { actions: ['interruptRequests', 'endWatch'] },
            WATCH_ENDED: 'pausing',
          },
        },
        /** The process that ended the watch may have the chassis for long. */
        pausing: {
          always: [
            { guard: 'isRequested', target: 'resting' },
            { guard: 'isClosed', target: 'resting' },
            { guard: 'isNotOn', target: 'resting' },
          ],
          after: { RETRY: 'resting' },
        },
        operating: {
          invoke: { src: 'carryOut', input: ({ context }) => firstOf(context.requests) },
          initial: 'waiting',
          on: {
            WITHDRAWN: { guard: 'isQueued', actions: 'withdrawRequest' },
            STOP: { actions: 'interruptRequests' },
            OPERATION_ENDED: { target: 'resting', actions: ['answerDone', 'dropRequest'] },
          },
          states: {
            waiting: { on: { WITHDRAWN: { actions: 'withdrawRequest' }, LOCK_TAKEN: 'moving' } },
            moving: { on: { SWITCHED: 'switched' } },
            switched: { entry: 'answerSwitched' },
          },
        },
        stopped: { type: 'final' },
      },
    },

    succeeding: {
      initial: 'unnamed',
      on: { STOP: '.settled' },
      states: {
        unnamed: { on: { BEGIN: [{ guard: 'isRequested', target: 'judging' }, { target: 'inspecting' }] } },
        inspecting: {
          invoke: {
            src: 'isLeftHalfDone',
            input: ({ context }) => context.facts.state,
            onDone: [
              { guard: { type: 'mayFinish', params: ({ event }) => event.output }, target: 'finishing' },
              { target: 'judging' },
            ],
          },
        },
        finishing: {
          invoke: { src: 'finishLeftBehind', input: ({ context }) => context.facts.state },
          on: { LEFT_BEHIND_FINISHED: { target: 'judging', actions: 'keepLeftBehind' } },
        },
        judging: {
          always: [
            { guard: 'wasLost', target: 'settled', actions: 'raiseLossOfBefore' },
            { target: 'settled' },
          ],
        },
        settled: { type: 'final' },
      },
    },

    telling: {
      invoke: { id: 'teller', src: 'tell' },
      initial: 'quiet',
      on: {
        POWER_LOST: { actions: 'tellNews' },
        HOST_LEFT: { actions: 'tellNews' },
        REQUEST_FAILED: { actions: 'tellNews' },
        NEWS_DELIVERED: { actions: 'noteDelivered' },
      },
      states: {
        quiet: {
          always: [
            { guard: 'hasUndelivered', target: 'underWay' },
            { guard: 'hasStopped', target: 'over' },
          ],
        },
        underWay: {
          always: [
            { guard: 'allDelivered', target: 'quiet' },
            { guard: 'hasStopped', target: 'lastWords' },
          ],
        },
        lastWords: { always: { guard: 'allDelivered', target: 'over' }, after: { LAST_WORDS: 'over' } },
        over: { type: 'final' },
      },
    },
  },
});

function isFact(event: ResidentEvent): event is ChassisFact {
  return (
    event.type === 'STATE_ENTERED' ||
    event.type === 'FAULT_RECORDED' ||
    event.type === 'PGOOD_CHANGED' ||
    event.type === 'PGOOD_UNREAD'
  );
}

function firstOf(requests: readonly PowerRequest[]): PowerRequest {
  const [first] = requests;
  if (first === undefined) throw new PowerError('INTERNAL', 'nothing was asked for');
  return first;
}
