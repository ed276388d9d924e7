import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type Actor, fromCallback, fromPromise } from 'xstate';
import { createVirtualClock } from '../../mocks/virtual-clock.ts';
import { JOBS } from '../../src/run/jobs.ts';
import { planOf } from '../../src/sequence/plan.ts';
import { reconcile } from '../../src/sequence/reconcile.ts';
import { type SequenceState, STATES, type State } from '../../src/sequence/state.ts';
import { startActor } from '../../src/service/actors.ts';
import type { Wanted } from '../../src/service/chassis-view.ts';
import { createPowerRequest, type PowerRequest } from '../../src/service/operation.ts';
import {
  type EndWatch,
  type Found,
  type NewsEvent,
  type ResidentEvent,
  residentChart,
} from '../../src/service/resident-chart.ts';
import { fewer } from '../draws.ts';
import { shippedBoard } from './bench.ts';

/** The chart of the resident over works that end when the test says so, in any order. */

const sequence = (fault: SequenceState['fault'] = null): SequenceState => {
  const chassis = shippedBoard('reference').chassis['0'];
  if (!chassis) throw new RangeError('no chassis 0');
  const plan = planOf(chassis, {});
  const rails = Object.fromEntries(plan.rails.map(({ name }) => [name, { enabled: false, good: false }]));
  const resetsAsserted = Object.fromEntries(plan.resets.map(({ name }) => [name, true]));
  return { ...reconcile(plan, { rails, pgood: false, resetsAsserted }, null, 0).sequence, fault };
};
const LOST = sequence({
  kind: 'pgoodLost',
  rail: null,
  state: 'pgood',
  atMs: 0,
  reason: 'pgood was lost',
  errorCode: null,
});

interface Work {
  readonly name: string;
  readonly tell: (event: ResidentEvent) => void;
  readonly request?: PowerRequest;
  ending: string | null;
}

function startChart(state: State, of: { before?: SequenceState; halfDone?: boolean; found?: Found } = {}) {
  const clock = createVirtualClock();
  const works: Work[] = [];
  const news: NewsEvent[] = [];
  const looks = { count: 0 };
  /** Works on the hardware that were begun while another one had not ended. */
  const clashes: string[] = [];
  const requests: PowerRequest[] = [];
  const begin = (work: Omit<Work, 'ending'>): Work => {
    const begun: Work = { ...work, ending: null };
    if (works.length > 0) clashes.push(`${work.name} beside ${works.map(({ name }) => name)}`);
    works.push(begun);
    return begun;
  };
  const end = (work: Work) => void works.splice(works.indexOf(work), 1);
  let undelivered = 0;
  const chart = residentChart.provide({
    actors: {
      followPgood: fromCallback<ResidentEvent, boolean>(() => undefined),
      followStateFile: fromCallback<ResidentEvent>(() => undefined),
      findState: fromPromise<Found | null>(async () => {
        looks.count += 1;
        return of.found ?? null;
      }),
      watchPower: fromCallback<EndWatch>(({ sendBack, receive }) => {
        const work = begin({ name: 'watch', tell: sendBack });
        receive(({ reason }) => {
          work.ending = reason;
        });
      }),
      carryOut: fromCallback<ResidentEvent, PowerRequest>(({ input, sendBack }) => {
        begin({ name: `power ${input.wanted}`, tell: sendBack, request: input });
      }),
      isLeftHalfDone: fromPromise<boolean, State>(async () => of.halfDone ?? false),
      finishLeftBehind: fromCallback<ResidentEvent, State>(({ sendBack }) => {
        const request = requested('off');
        sendBack({ type: 'REQUESTED', request });
        const finished = () => sendBack({ type: 'LEFT_BEHIND_FINISHED', sequence: LOST });
        request.operation.done.then(finished, finished);
      }),
      tell: fromCallback<NewsEvent>(({ receive }) => {
        receive((event) => {
          news.push(event);
          undelivered += 1;
        });
      }),
    },
  });
  const actor: Actor<typeof residentChart> = startActor(
    chart,
    { id: 'chart', clock },
    {
      state,
      pgood: state === 'pgood',
      sequence: of.before ?? sequence(),
    },
  );
  const requested = (wanted: Wanted): PowerRequest => {
    const request = createPowerRequest(wanted, 'somebody', JOBS[wanted], () => ({
      progress: () => 'waiting',
      withdraw: () => undefined,
    }));
    requests.push(request);
    return request;
  };
  const isClosed = () => actor.getSnapshot().hasTag('closed');
  return {
    clock,
    actor,
    works,
    news,
    looks,
    clashes,
    requests,
    driving: () => JSON.stringify(actor.getSnapshot().value.driving),
    state: () => actor.getSnapshot().context.facts.state,
    isClosed,
    stop: () => isClosed() || actor.send({ type: 'STOP', reason: 'SIGTERM' }),
    ask(wanted: Wanted): PowerRequest {
      const request = requested(wanted);
      actor.send({ type: 'REQUESTED', request });
      return request;
    },
    /** What is under way ends, well or not. */
    finish(error: unknown = null) {
      const [work] = works;
      if (work === undefined) return;
      end(work);
      if (error !== null && work.request) {
        work.tell({ type: 'REQUEST_FAILED', wanted: work.request.wanted, error });
      }
      work.tell(work.request ? { type: 'OPERATION_ENDED', error } : { type: 'WATCH_ENDED' });
    },
    told() {
      if (undelivered === 0 || actor.getSnapshot().status !== 'active') return;
      undelivered -= 1;
      actor.send({ type: 'NEWS_DELIVERED' });
    },
    /** Promises that wait go on. */
    settle: () => clock.advance(0),
  };
}

const outcomeOf = (request: PowerRequest): Promise<string> =>
  Promise.race([
    request.operation.done.then(
      () => 'done',
      () => 'failed',
    ),
    new Promise<string>((resolve) => setImmediate(() => resolve('open'))),
  ]);

describe('the chart of the resident', () => {
  const step = fc.oneof(
    fc.record({ do: fc.constant('enter' as const), state: fc.constantFrom(...STATES) }),
    fc.record({ do: fc.constant('ask' as const), wanted: fc.constantFrom('on' as const, 'off' as const) }),
    fc.record({ do: fc.constant('finish' as const), well: fc.boolean() }),
    fc.record({ do: fc.constant('advance' as const), ms: fc.constantFrom(0, 100, 500, 6_000) }),
    fc.record({
      do: fc.constantFrom('lock' as const, 'switched' as const, 'file' as const, 'lose' as const),
    }),
    fc.record({ do: fc.constantFrom('begin' as const, 'told' as const, 'withdraw' as const) }),
    fc.record({ do: fc.constant('stop' as const) }),
  );

  it('never lets two works on the hardware run at once, answers every request, and comes to an end', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.constantFrom(...STATES),
        fc.boolean(),
        fc.array(step, { maxLength: 25 }),
        async (first, halfDone, steps) => {
          const chart = startChart(first, { halfDone, before: LOST, found: { state: first } });
          const { actor } = chart;
          for (const next of steps) {
            if (actor.getSnapshot().status !== 'active') break;
            const [work] = chart.works;
            if (next.do === 'enter') actor.send({ type: 'STATE_ENTERED', state: next.state });
            if (next.do === 'ask' && !chart.isClosed()) chart.ask(next.wanted);
            if (next.do === 'finish') chart.finish(next.well ? null : new Error('no'));
            if (next.do === 'advance') await chart.clock.advance(next.ms);
            if (next.do === 'lock' && work?.request) work.tell({ type: 'LOCK_TAKEN' });
            if (next.do === 'switched' && work?.request) work.tell({ type: 'SWITCHED' });
            if (next.do === 'file') actor.send({ type: 'STATE_FILE_CHANGED' });
            if (next.do === 'lose')
              actor.send({ type: 'POWER_LOST', loss: { sequence: LOST, isOfBefore: false } });
            if (next.do === 'begin') actor.send({ type: 'BEGIN' });
            if (next.do === 'told') chart.told();
            if (next.do === 'withdraw' && work?.request)
              actor.send({ type: 'WITHDRAWN', request: work.request, reason: 'given up' });
            if (next.do === 'stop') chart.stop();
            if (actor.getSnapshot().status !== 'active') break;
            // A chassis that is on is watched, or will be within the pause, unless it is being driven or left.
            if (chart.state() === 'pgood' && !chart.isClosed())
              expect(chart.driving()).toMatch(/watching|pausing|operating/);
          }
          chart.stop();
          for (let turn = 0; turn < 60 && chart.works.length > 0; turn += 1) {
            for (const { ending, request } of chart.works)
              expect(ending !== null || request?.signal.aborted).toBe(true);
            chart.finish();
            await chart.settle();
          }
          await chart.clock.advance(5_000);
          expect(chart.clashes).toEqual([]);
          expect(actor.getSnapshot().status).toBe('done');
          for (const request of chart.requests) expect(await outcomeOf(request)).not.toBe('open');
        },
      ),
      { numRuns: fewer(200, 20) },
    );
  });

  it('begins a request in the turn in which it is asked, and ends a watch first', () => {
    const off = startChart('off');
    off.ask('on');
    expect(off.works.map(({ name }) => name)).toEqual(['power on']);

    const on = startChart('pgood');
    on.ask('off');
    expect(on.works).toMatchObject([{ name: 'watch', ending: 'request' }]);
    on.finish();
    expect(on.works.map(({ name }) => name)).toEqual(['power off']);
  });

  it('lets a power on give way to a power off, and finishes a power off before a power on', () => {
    const chart = startChart('off');
    const on = chart.ask('on');
    const off = chart.ask('off');
    expect([on.signal.aborted, off.signal.aborted]).toEqual([true, false]);
    chart.finish(new Error('interrupted'));
    const again = chart.ask('on');
    expect([off.signal.aborted, again.signal.aborted]).toEqual([false, false]);
    chart.finish();
    expect(chart.works.map(({ name }) => name)).toEqual(['power on']);
  });

  it('takes a request back that waits for another process, and no request that moves the power', () => {
    const chart = startChart('off');
    const begun = chart.ask('on');
    chart.works[0]?.tell({ type: 'LOCK_TAKEN' });
    chart.actor.send({ type: 'WITHDRAWN', request: begun, reason: 'given up' });
    expect(begun.signal.aborted).toBe(false);
    // Behind it in the queue, and first in it but without the lock.
    const off = chart.ask('off');
    chart.actor.send({ type: 'WITHDRAWN', request: off, reason: 'given up' });
    expect(off.signal.aborted).toBe(true);
    const waiting = chart.ask('off');
    chart.finish();
    chart.finish();
    chart.actor.send({ type: 'WITHDRAWN', request: waiting, reason: 'given up' });
    expect(waiting.signal.aborted).toBe(true);
  });

  it('watches again 500 ms after a watch ended without a reason, and not before', async () => {
    const chart = startChart('pgood', { found: { state: 'pgood' } });
    chart.finish();
    await chart.clock.advance(499);
    expect(chart.works).toEqual([]);
    await chart.clock.advance(1);
    expect(chart.works.map(({ name }) => name)).toEqual(['watch']);
    expect(chart.looks.count).toBe(1);
  });

  it('looks at what others left whenever their file changes, and not while it drives itself', async () => {
    const chart = startChart('off', { found: { state: 'opPowerStart', fault: null } });
    chart.ask('on');
    chart.actor.send({ type: 'STATE_FILE_CHANGED' });
    chart.actor.send({ type: 'PGOOD_CHANGED', level: true });
    await chart.settle();
    expect([chart.looks.count, chart.state()]).toEqual([0, 'off']);
    chart.finish();
    chart.actor.send({ type: 'STATE_FILE_CHANGED' });
    await chart.settle();
    expect([chart.looks.count, chart.state()]).toEqual([1, 'opPowerStart']);
  });

  it('does not believe what it found when a request came while it looked', async () => {
    const chart = startChart('off', { found: { state: 'pgood' } });
    chart.actor.send({ type: 'STATE_FILE_CHANGED' });
    chart.ask('off');
    await chart.settle();
    expect(chart.state()).toBe('off');
  });

  it.each([
    ['half done, and nobody asked: finishes it, and then tells the loss', true, false, ['power off'], 1],
    ['half done, and somebody asked first: leaves it to that request', true, true, ['power on'], 0],
    ['at rest: finishes nothing', false, false, [], 0],
  ])('finds a chassis that was left %s', async (_, halfDone, isAsked, works, losses) => {
    const chart = startChart(halfDone ? 'fault' : 'off', { halfDone });
    if (isAsked) chart.ask('on');
    chart.actor.send({ type: 'BEGIN' });
    await chart.settle();
    expect(chart.works.map(({ name }) => name)).toEqual(works);
    chart.actor.send({ type: 'STATE_ENTERED', state: 'failed' });
    chart.finish();
    await chart.settle();
    expect(chart.news).toHaveLength(losses);
  });

  it('ends at once when nothing is under way, and leaves no timer', async () => {
    const chart = startChart('off');
    chart.stop();
    expect(chart.actor.getSnapshot().status).toBe('done');
  });

  it('waits 5 s at the end for whoever is told, and no longer', async () => {
    for (const isTold of [true, false]) {
      const chart = startChart('off');
      chart.actor.send({ type: 'POWER_LOST', loss: { sequence: LOST, isOfBefore: false } });
      chart.stop();
      await chart.clock.advance(4_999);
      expect(chart.actor.getSnapshot().status).toBe('active');
      if (isTold) chart.told();
      else await chart.clock.advance(1);
      expect(chart.actor.getSnapshot().status).toBe('done');
    }
  });

  it('comes to rest with what it has in motion before it ends', async () => {
    const chart = startChart('off');
    const on = chart.ask('on');
    chart.stop();
    expect(on.signal.reason).toBe('SIGTERM');
    await chart.clock.advance(60_000);
    expect(chart.actor.getSnapshot().status).toBe('active');
    chart.finish(new Error('interrupted'));
    chart.told();
    expect(chart.actor.getSnapshot().status).toBe('done');
    expect(await outcomeOf(on)).toBe('failed');
  });
});
