import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { fromCallback, fromPromise } from 'xstate';
import { createVirtualClock } from '../../mocks/virtual-clock.ts';
import { STATES, type State } from '../../src/sequence/state.ts';
import { startActor } from '../../src/service/actors.ts';
import { type HostStateEvent, hostStateChart } from '../../src/service/host-state-chart.ts';
import {
  hostRequest,
  powerRequest,
  type StateData,
  type StateRequest,
} from '../../src/service/host-state-data.ts';
import { NOTHING_LASTING } from '../../src/store/lasting.ts';
import type { UnitState } from '../../src/system/ports.ts';
import { fewer } from '../draws.ts';

/** The chart of chassis and host over targets that systemd reaches, or not, when the test says so. */

const HOUR_MS = 3_600_000;
const [RESTORED = ''] = hostRequest(0, 'On', 'Unknown').targets;

interface Start {
  readonly signal: AbortSignal;
  readonly end: (isReached: boolean) => void;
  readonly hasEnded: () => boolean;
}

function startChart(state: State, lasting: Partial<StateData['lasting']> = {}) {
  const clock = createVirtualClock();
  const starts: Start[] = [];
  /** The first target of what waits, once for each that was started. */
  const history: string[] = [];
  /** What was written, each time. */
  const saved: StateData['lasting'][] = [];
  const chart = hostStateChart.provide({
    actors: {
      followUnits: fromCallback<HostStateEvent>(() => undefined),
      startTarget: fromPromise<boolean, StateRequest>(
        ({ input: request, signal }) =>
          new Promise((resolve) => {
            const [target = ''] = request.targets;
            history.push(target);
            let hasEnded = false;
            const end = (isReached: boolean) => {
              hasEnded = true;
              resolve(isReached);
            };
            starts.push({ signal, end, hasEnded: () => hasEnded });
          }),
      ),
      readUnits: fromPromise<readonly UnitState[] | null>(async () => null),
    },
    actions: {
      saveCycle: ({ context }) => saved.push(context.lasting),
      save: ({ context }) => saved.push(context.lasting),
    },
  });
  const actor = startActor(
    chart,
    { id: 'chart', clock },
    {
      chassis: 0,
      clock,
      hasReset: false,
      isPostComplete: null,
      bootId: 'boot',
      isAdopted: () => false,
      sequence: state,
      pgood: state === 'pgood',
      wanted: 'off',
      hostUnit: 'inactive',
      isQuiesced: false,
      request: null,
      lasting: { ...NOTHING_LASTING, ...lasting },
      countedToMs: clock.nowMs(),
    },
  );
  const send = (event: HostStateEvent) => {
    if (actor.getSnapshot().status === 'active') actor.send(event);
  };
  return {
    clock,
    actor,
    starts,
    history,
    saved,
    send,
    data: () => actor.getSnapshot().context,
    region: (name: string) => {
      const { value } = actor.getSnapshot();
      return typeof value === 'object'
        ? String(Object.entries(value.serving).find(([key]) => key === name)?.[1])
        : value;
    },
    power: (sequence: State, pgood = sequence === 'pgood') =>
      send({ type: 'POWER_CHANGED', sequence, pgood, wanted: 'off' }),
    request: (request: StateRequest) => send({ type: 'REQUESTED', request }),
    /** What systemd is at ends. */
    async reach(isReached = true) {
      starts.at(-1)?.end(isReached);
      await clock.advance(0);
    },
  };
}

describe('the chart of chassis and host', () => {
  const requests = [
    powerRequest(0, 'On'),
    powerRequest(0, 'Off'),
    powerRequest(0, 'PowerCycle'),
    hostRequest(0, 'On', 'RemoteCommand'),
    hostRequest(0, 'Off', 'RemoteCommand'),
    hostRequest(0, 'Reboot', 'RemoteCommand'),
  ];
  const step = fc.oneof(
    fc.record({ do: fc.constant('power' as const), state: fc.constantFrom(...STATES), pgood: fc.boolean() }),
    fc.record({ do: fc.constant('request' as const), request: fc.constantFrom(...requests) }),
    fc.record({ do: fc.constant('reach' as const), well: fc.boolean() }),
    fc.record({
      do: fc.constant('advance' as const),
      ms: fc.constantFrom(0, 4_999, 5_000, 240_000, HOUR_MS),
    }),
    fc.record({ do: fc.constantFrom('begin' as const, 'stop' as const) }),
  );

  it('starts one target at a time, none of a request that gave way or was stopped, and shows no transition at rest', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.constantFrom(...STATES),
        fc.array(step, { maxLength: 20 }),
        async (first, steps) => {
          const chart = startChart(first);
          let minutes = 0;
          let asked: readonly string[] = [];
          let isStopped = false;
          for (const next of steps) {
            const before = chart.history.length;
            if (next.do === 'power') chart.power(next.state, next.pgood);
            if (next.do === 'request') chart.request(next.request);
            if (next.do === 'reach') await chart.reach(next.well);
            if (next.do === 'advance') await chart.clock.advance(next.ms);
            if (next.do === 'begin') chart.send({ type: 'BEGIN' });
            if (next.do === 'stop') {
              chart.send({ type: 'STOP' });
              isStopped = true;
            }
            if (isStopped) expect(chart.history.length).toBe(before);
            expect(
              chart.starts.filter(({ signal, hasEnded }) => !signal.aborted && !hasEnded()).length,
            ).toBeLessThan(2);
            if (next.do === 'request') asked = next.request.targets;
            // Only what was asked for last is started, or what the policy restores.
            for (const target of chart.history.slice(before)) expect([...asked, RESTORED]).toContain(target);
            const { request, lasting } = chart.data();
            expect(lasting.onMinutes).toBeGreaterThanOrEqual(minutes);
            minutes = lasting.onMinutes;
            if (request !== null || isStopped) continue;
            const power = chart.region('power');
            if (power === 'on') expect(lasting.requestedPower).not.toBe('Off');
            if (power === 'off')
              expect([lasting.requestedPower, lasting.requestedHost]).toEqual(['Off', 'Off']);
          }
          chart.send({ type: 'STOP' });
          expect(chart.actor.getSnapshot().status).toBe('done');
          expect(chart.saved.at(-1)).toBe(chart.data().lasting);
          await chart.clock.advance(100 * HOUR_MS);
        },
      ),
      { numRuns: fewer(200, 20) },
    );
  });

  it('writes that a cycle is over before its last target is started', async () => {
    const chart = startChart('pgood');
    chart.request(powerRequest(0, 'PowerCycle'));
    expect(chart.saved.at(-1)?.cycle).toMatchObject({ of: 'power' });
    await chart.reach();
    let atStart: unknown;
    const { push } = chart.history;
    chart.history.push = (...targets) => {
      atStart = chart.saved.at(-1)?.cycle;
      return push.apply(chart.history, targets);
    };
    await chart.clock.advance(5_000);
    expect(chart.history).toHaveLength(2);
    expect(atStart).toBeNull();
  });

  it('starts the second target of a cycle 5 s after the first was reached, and never when it was not', async () => {
    for (const isReached of [true, false]) {
      const chart = startChart('pgood');
      chart.request(powerRequest(0, 'PowerCycle'));
      await chart.reach(isReached);
      await chart.clock.advance(4_999);
      expect(chart.history).toHaveLength(1);
      await chart.clock.advance(1);
      expect(chart.history).toHaveLength(isReached ? 2 : 1);
    }
  });

  it('drops what a request was at when another takes its place, and starts the other at once', () => {
    const chart = startChart('off');
    chart.request(powerRequest(0, 'On'));
    chart.request(powerRequest(0, 'Off'));
    expect(chart.starts.map(({ signal }) => signal.aborted)).toEqual([true, false]);
    chart.request(powerRequest(0, 'Off'));
    expect(chart.starts).toHaveLength(2);
  });

  it.each(['opPowerStart', 'opWaitPowerOn', 'opPowerStop', 'opWaitPowerOff', 'fault'] as const)(
    'gives each state 240 s of its own, and shows what the lines show after that: %s',
    async (state) => {
      const chart = startChart('unknown');
      const other = state === 'opWaitPowerOn' ? 'opPowerStart' : 'opWaitPowerOn';
      chart.power(other);
      await chart.clock.advance(200_000);
      chart.power(state);
      await chart.clock.advance(239_999);
      expect(chart.region('power')).toMatch(/^turning/);
      await chart.clock.advance(1);
      expect(chart.region('power')).toBe('off');
      // Only pgood changes: nobody runs the sequence all the same.
      chart.power(state, true);
      expect(chart.region('power')).toBe('on');
    },
  );

  it('restores power when the delay is over, once, and not beside a request', async () => {
    const restore = { policy: 'AlwaysOn', delayUs: 60_000_000n } as const;
    for (const isAsked of [false, true]) {
      const chart = startChart('off', { restore });
      chart.send({ type: 'BEGIN' });
      if (isAsked) chart.request(powerRequest(0, 'Off'));
      await chart.clock.advance(60_000);
      chart.send({ type: 'BEGIN' });
      await chart.clock.advance(120_000);
      expect(chart.history.filter((target) => /start/.test(target))).toHaveLength(isAsked ? 0 : 1);
      expect(chart.data().lasting.restoredInBoot).toBe('boot');
    }
  });
});
