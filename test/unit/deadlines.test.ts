import { describe, expect, it } from 'vitest';
import {
  type Deadline,
  holdUntilMs,
  isOver,
  isStageOver,
  nextDeadlineMs,
  railDeadline,
  readingsDue,
} from '../../src/sequence/deadlines.ts';
import { type Plan, planOf, railPlan } from '../../src/sequence/plan.ts';
import { afterStandstill, noReadings, type Reading, type Readings } from '../../src/sequence/readings.ts';
import { reconcile } from '../../src/sequence/reconcile.ts';
import {
  type RailState,
  railState,
  type SequenceState,
  STATES,
  type State,
} from '../../src/sequence/state.ts';

const NOW_MS = 10_000;
const line = (offset: number) => ({ chip: 'gpio', line: offset, active: 'high' as const });

/** A with a signal feeds B without one. Every time is another one. */
const PLAN: Plan = planOf(
  {
    rails: {
      A: { enable: line(0), good: line(10), needs: [], settleMs: 11, onTimeoutMs: 101, offTimeoutMs: 201 },
      B: { enable: line(1), needs: ['A'], settleMs: 13, onTimeoutMs: 103, offTimeoutMs: 203 },
    },
    pgood: { ...line(20), deglitchMs: 5, onTimeoutMs: 1_001, offTimeoutMs: 2_001 },
    resets: { R: { ...line(21), releaseDelayMs: 17 }, S: { ...line(22), releaseDelayMs: 19 } },
    evidence: [],
    minOffMs: 301,
  },
  {},
);

interface Change extends Partial<Omit<SequenceState, 'rails'>> {
  readonly A?: Partial<RailState>;
  readonly B?: Partial<RailState>;
}

/** A chassis in which nothing is under way, but for the change. */
function sequenceWith({ A, B, ...change }: Change = {}): SequenceState {
  const dark = { enabled: false, good: false };
  const { sequence } = reconcile(
    PLAN,
    { rails: { A: dark, B: dark }, pgood: false, resetsAsserted: { R: true, S: true } },
    null,
    NOW_MS,
  );
  const rails = {
    A: { ...railState(sequence, 'A'), ...A },
    B: { ...railState(sequence, 'B'), ...B },
  };
  return { ...sequence, rails, ...change };
}

const REST: readonly State[] = ['unknown', 'off', 'failed'];
const MOVING = STATES.filter((state) => !REST.includes(state));

const TIMED: readonly (readonly [what: string, change: Change, dueMs: number])[] = [
  ['a rail that is good settles', { A: { phase: 'rising', good: true, sinceMs: 9_995 } }, 9_995 + 11],
  ['one without a signal too', { B: { phase: 'rising', good: true, sinceMs: 9_995 } }, 9_995 + 13],
  [
    'one that is good is not late',
    { A: { phase: 'rising', good: true, sinceMs: 9_995, deadlineMs: 10_001 } },
    10_006,
  ],
  ['a rail that dropped', { A: { phase: 'up', good: false, sinceMs: 9_999 } }, 9_999 + 5],
  ['a rail that has to come', { A: { phase: 'rising', good: false, deadlineMs: 10_050 } }, 10_050],
  ['a rail that has to fall', { A: { phase: 'falling', good: true, deadlineMs: 10_060 } }, 10_060],
  ['pgood that went', { pgood: { level: false, good: true, unread: false, sinceMs: 9_998 } }, 9_998 + 5],
  ['pgood that came', { pgood: { level: true, good: false, unread: false, sinceMs: 9_998 } }, 9_998 + 5],
  ['a stage', { stageDeadlineMs: 10_070 }, 10_070],
  ['the first reset', { readyMs: 9_990 }, 9_990 + 17],
  ['the next reset', { readyMs: 9_990, resetsAsserted: { R: false, S: true } }, 9_990 + 19],
  ['the minimum off time', { offSinceMs: 9_900 }, 9_900 + 301],
];

describe('the next time at which something changes', () => {
  it.each(TIMED)('is known while power moves: %s', (_, change, dueMs) => {
    for (const state of MOVING) expect(nextDeadlineMs(PLAN, state, sequenceWith(change)), state).toBe(dueMs);
  });

  it.each(TIMED)('is nobody’s business at rest: %s', (_, change) => {
    for (const state of REST) expect(nextDeadlineMs(PLAN, state, sequenceWith(change)), state).toBeNull();
  });

  it('is none where nothing is waited for, or all of it is over', () => {
    expect(nextDeadlineMs(PLAN, 'pgood', sequenceWith())).toBeNull();
    expect(nextDeadlineMs(PLAN, 'pgood', sequenceWith({ A: { phase: 'up', good: true } }))).toBeNull();
    const told = { phase: 'up', good: false, missed: 'lost' } as const;
    expect(nextDeadlineMs(PLAN, 'pgood', sequenceWith({ A: { ...told, sinceMs: 9_999 } }))).toBeNull();
    expect(
      nextDeadlineMs(PLAN, 'pgood', sequenceWith({ resetsAsserted: { R: false, S: false }, readyMs: 9_999 })),
    ).toBeNull();
    expect(nextDeadlineMs(PLAN, 'opWaitPowerOn', sequenceWith({ stageDeadlineMs: NOW_MS }))).toBeNull();
    expect(nextDeadlineMs(PLAN, 'opWaitPowerOn', sequenceWith({ stageDeadlineMs: NOW_MS - 1 }))).toBeNull();
  });

  it('is the first of several', () => {
    const change = {
      stageDeadlineMs: 10_070,
      A: { phase: 'rising', good: false, deadlineMs: 10_050 },
    } as const;
    expect(nextDeadlineMs(PLAN, 'opPowerStart', sequenceWith(change))).toBe(10_050);
  });

  it('holds a power-on for the minimum off time, and for none where the power was never off', () => {
    expect(holdUntilMs(PLAN, sequenceWith({ offSinceMs: 9_900 }))).toBe(9_900 + 301);
    expect(holdUntilMs(PLAN, sequenceWith())).toBe(Number.NEGATIVE_INFINITY);
  });
});

describe('a rail that rests on its way down', () => {
  it.each([
    ['seen to have fallen', 'A', null, 9_995 + 40],
    ['without a signal, and not driven yet', 'B', null, null],
    ['without a signal', 'B', 10_060, 9_995 + 40],
  ] as const)('is waited for: %s', (_, name, deadlineMs, dueMs) => {
    const rail = { ...railPlan(PLAN, name), offSettleMs: 40 };
    const fallen = { phase: 'falling', good: false, sinceMs: 9_995, deadlineMs } as const;
    expect(railDeadline(PLAN, rail, sequenceWith({ [name]: fallen }))?.dueMs ?? null).toBe(dueMs);
  });
});

describe('a time that is over', () => {
  it('is so by the clock alone where nothing tells of the rail but the time', () => {
    const [, rail] = PLAN.rails;
    if (rail === undefined) throw new RangeError('no B');
    const settling = sequenceWith({ B: { phase: 'rising', good: true, sinceMs: NOW_MS } });
    const deadline = railDeadline(PLAN, rail, settling);
    if (deadline === null) throw new TypeError('nothing is waited for');
    const none = noReadings(PLAN);
    expect(isOver(deadline, NOW_MS + 12, none)).toBe(false);
    expect(isOver(deadline, NOW_MS + 13, none)).toBe(true);
  });

  it('is believed at once where a level has to stand for no time at all, by any reading', () => {
    const [rail] = PLAN.rails;
    if (rail === undefined) throw new RangeError('no A');
    const at = (settleMs: number) =>
      railDeadline(
        PLAN,
        { ...rail, settleMs },
        sequenceWith({ A: { phase: 'rising', good: true, sinceMs: NOW_MS } }),
      );
    const readings = {
      ...noReadings(PLAN),
      rails: { A: { fromMs: 0, askedMs: NOW_MS - 50, standstills: 0 } },
    };
    expect(at(0) && isOver(at(0) as Deadline, NOW_MS, readings)).toBe(true);
    expect(at(1) && isOver(at(1) as Deadline, NOW_MS + 1, readings)).toBe(false);
  });

  it('is none of a stage that has none', () => {
    const reading = { fromMs: 0, askedMs: NOW_MS, standstills: 0 };
    const readings = { ...noReadings(PLAN), rails: { A: reading, B: reading }, pgood: reading };
    const context = { ...sequenceWith(), plan: PLAN, readings };
    expect(isStageOver(context, false)).toBe(false);
    expect(isStageOver({ ...context, stageDeadlineMs: NOW_MS }, false)).toBe(true);
    expect(isStageOver({ ...context, stageDeadlineMs: NOW_MS }, true)).toBe(false);
  });
});

describe('what has to be read now', () => {
  const none = noReadings(PLAN);
  const read = (source: 'A' | 'B' | null, askedMs: number, fromMs = 0): Readings => {
    const reading: Reading = { fromMs, askedMs, standstills: 0 };
    return source === null
      ? { ...none, pgood: reading }
      : { ...none, rails: { ...none.rails, [source]: reading } };
  };
  const due = (state: State, change: Change, readings = none) =>
    readingsDue(PLAN, state, sequenceWith(change), readings);

  it.each<[string, State, Change, 'A' | null, number]>([
    [
      'a rail that has settled',
      'opPowerStart',
      { A: { phase: 'rising', good: true, sinceMs: NOW_MS - 11 } },
      'A',
      NOW_MS,
    ],
    [
      'a rail that dropped for long',
      'pgood',
      { A: { phase: 'up', good: false, sinceMs: NOW_MS - 5 } },
      'A',
      NOW_MS,
    ],
    [
      'a rail that is late',
      'opPowerStart',
      { A: { phase: 'rising', good: false, deadlineMs: NOW_MS } },
      'A',
      NOW_MS,
    ],
    [
      'pgood that went for long',
      'pgood',
      { pgood: { level: false, good: true, unread: false, sinceMs: NOW_MS - 5 } },
      null,
      NOW_MS,
    ],
    [
      'a rail that stays',
      'opPowerStop',
      { A: { phase: 'falling', good: true, deadlineMs: NOW_MS } },
      'A',
      NOW_MS,
    ],
  ])(
    'is %s: when its time is over, and until it was asked for after that',
    (_, state, change, source, overMs) => {
      expect(due(state, change)).toEqual([source]);
      expect(due(state, change, read(source, overMs - 1))).toEqual([source]);
      expect(due(state, change, read(source, overMs))).toEqual([]);
      expect(due(state, change, read(source, overMs, overMs + 1))).toEqual([source]);
      for (const rest of REST) expect(due(rest, change), rest).toEqual([]);
    },
  );

  it.each<[string, State, Change]>([
    [
      'a rail that still settles',
      'opPowerStart',
      { A: { phase: 'rising', good: true, sinceMs: NOW_MS - 10 } },
    ],
    ['a rail that dropped just now', 'pgood', { A: { phase: 'up', good: false, sinceMs: NOW_MS - 4 } }],
    [
      'a rail that has time to come',
      'opPowerStart',
      { A: { phase: 'rising', good: false, deadlineMs: NOW_MS + 1 } },
    ],
    [
      'pgood that went just now',
      'pgood',
      { pgood: { level: false, good: true, unread: false, sinceMs: NOW_MS - 4 } },
    ],
    ['a rail without a signal', 'opPowerStart', { B: { phase: 'rising', good: true, sinceMs: NOW_MS - 13 } }],
    ['a rail that is up and good', 'pgood', { A: { phase: 'up', good: true } }],
    [
      'a rail that goes down anyway',
      'opPowerStop',
      { A: { phase: 'up', good: false, sinceMs: NOW_MS - 50 } },
    ],
    ['one that does so after a fault', 'fault', { A: { phase: 'up', good: false, sinceMs: NOW_MS - 50 } }],
  ])('is not %s', (_, state, change) => {
    expect(due(state, change)).toEqual([]);
  });

  it('is a rail that falls and pgood that is waited for, once after the switching', () => {
    const falling = { A: { phase: 'falling', good: true, deadlineMs: NOW_MS + 50 } } as const;
    expect(due('opPowerStop', falling)).toEqual(['A']);
    expect(due('opPowerStop', falling, read('A', 9_000))).toEqual([]);
    expect(due('opPowerStop', falling, read('A', 9_000, 9_001))).toEqual(['A']);
    expect(due('opWaitPowerOff', {})).toEqual([null]);
    expect(due('opWaitPowerOff', {}, read(null, 9_000))).toEqual([]);
    expect(due('fault', { stageDeadlineMs: NOW_MS + 9 })).toEqual([null]);
    expect(due('fault', {})).toEqual([]);
    expect(due('opWaitPowerOn', { stageDeadlineMs: NOW_MS + 9 })).toEqual([]);
  });

  it('is, when the time of a stage is over, all that it still waits for', () => {
    const up = { phase: 'up', good: true } as const;
    const late: Change = { A: up, B: { ...up, good: false, sinceMs: NOW_MS }, stageDeadlineMs: NOW_MS };
    expect(due('opWaitPowerOn', late)).toEqual(['B', null]);
    expect(due('opWaitPowerOn', late, read(null, NOW_MS))).toEqual(['B']);
    expect(due('opWaitPowerOn', { ...late, stageDeadlineMs: NOW_MS + 1 })).toEqual([]);
    // Once all was ready, only the resets are left.
    expect(due('opWaitPowerOn', { ...late, readyMs: NOW_MS - 1 })).toEqual([]);
    const staying: Change = {
      A: { phase: 'stuck', good: true },
      pgood: { level: true, good: true, unread: false, sinceMs: 0 },
      stageDeadlineMs: NOW_MS,
    };
    expect(due('opWaitPowerOff', staying).sort()).toEqual(['A', null]);
    expect(due('fault', staying, read(null, NOW_MS))).toEqual(['A']);
  });

  it('is what a rise rests on, while power rises', () => {
    const check = { raises: { what: 'enable', name: 'B' } as const, fromMs: NOW_MS, left: ['A', null] };
    expect(due('opPowerStart', {}, { ...none, check })).toEqual(['A', null]);
    expect(due('opWaitPowerOn', {}, { ...none, check })).toEqual(['A', null]);
    for (const state of ['pgood', 'opPowerStop', 'fault', 'off'] as const) {
      expect(due(state, {}, { ...none, check }), state).toEqual([]);
    }
  });
});

describe('a standstill', () => {
  it('has every signal read anew, and is counted of each', () => {
    const reading = { fromMs: 9_000, askedMs: 9_500, standstills: 2 };
    const check = { raises: { what: 'enable', name: 'B' }, fromMs: 0, left: [] } as const;
    const before = { ...noReadings(PLAN), rails: { A: reading, B: reading }, pgood: reading, check };
    const after = { fromMs: NOW_MS, askedMs: null, standstills: 3 };
    expect(afterStandstill(before, NOW_MS)).toMatchObject({
      ...{ rails: { A: after, B: after }, pgood: after, check: null },
    });
  });
});
