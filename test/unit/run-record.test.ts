/** What is kept of a run, by what happened in it. */
import { describe, expect, it } from 'vitest';
import { HardwareError } from '../../hw/errors.ts';
import { PowerError } from '../../src/errors.ts';
import type { Recorded } from '../../src/run/record.ts';
import { type RunEnd, runRecord } from '../../src/run/run-record.ts';
import { createBench } from './bench.ts';

const { plan } = createBench('reference');
const BOARD = { name: 'reference', hash: 'h' };
const BEGAN_MS = 40_000;
const NOW_MS = 40_750;
const NOW = '2026-11-22T10:00:00.750Z';
const clock = { nowMs: () => NOW_MS, wallTime: () => new Date(NOW) };

function recordOf(entries: readonly Recorded[], end: Partial<RunEnd> = {}, asked = 'on', of = plan) {
  const origin = { chassis: 0, plan: of, asked, by: 'somebody', bootId: 'b', board: BOARD };
  return runRecord(
    origin,
    { entries, left: 0, beganMs: BEGAN_MS, ended: 'pgood', error: null, ...end },
    clock,
  );
}

const readAt = (atMs: number, good: readonly string[] = []): Recorded => ({
  type: 'reconciled',
  state: 'off',
  hint: null,
  rails: Object.fromEntries(
    plan.rails.map(({ name }) => [name, { enabled: good.includes(name), good: good.includes(name) }]),
  ),
  pgood: false,
  resetsAsserted: {},
  atMs,
});
const enable = (rail: string, asserted: boolean, atMs: number): Recorded => ({
  type: 'enable',
  rail,
  asserted,
  atMs,
});
const good = (rail: string, is: boolean, atMs: number): Recorded => ({
  type: 'rail',
  rail,
  phase: is ? 'up' : 'falling',
  good: is,
  atMs,
});
const ASKED: Recorded = {
  type: 'request',
  request: 'POWER_ON',
  outcome: 'unchanged',
  reason: '',
  atMs: BEGAN_MS,
};

describe('a run is kept', () => {
  const REFUSED = new PowerError('CHASSIS_LOCKED', 'another process has it');
  const INTERRUPTED = new PowerError('INTERRUPTED', 'it was asked to end');
  const FAILED = new PowerError('RAIL_FAULT', 'a rail was late');
  const NO_NEWS = [readAt(BEGAN_MS), ASKED];
  const NEWS = [...NO_NEWS, enable('P12V', true, BEGAN_MS + 1)];

  it.each([
    ['had nothing to do', NO_NEWS, null, false],
    ['was not begun', [], REFUSED, false],
    ['ended on a signal before it did anything', NO_NEWS, INTERRUPTED, false],
    ['failed before it did anything', NO_NEWS, FAILED, true],
    ['met a mistake of the program before it did anything', NO_NEWS, new TypeError('a mistake'), true],
    ['went well', NEWS, null, true],
    ['was ended by a signal when it had begun', NEWS, INTERRUPTED, true],
    ['failed when it had begun', NEWS, FAILED, true],
  ] as const)('that %s: %#', (_, entries, error, isKept) => {
    expect(recordOf(entries, { error }) !== null).toBe(isKept);
  });

  it('with what it failed of, and whether power was left', () => {
    const failureOf = (error: unknown) => recordOf(NEWS, { error })?.failure;
    for (const powerStillApplied of [true, false])
      expect(failureOf(new PowerError('RAIL_FAULT', 'late', { powerStillApplied }))).toEqual({
        code: 'RAIL_FAULT',
        message: 'late',
        powerStillApplied,
      });
    // A driver does not know, and says nothing of it; what is no such word is no answer.
    expect(failureOf(new HardwareError('I2C_TIMEOUT', 'slow'))?.powerStillApplied).toBeNull();
    expect(failureOf(new PowerError('RAIL_FAULT', 'late', { powerStillApplied: 'yes' }))).toMatchObject({
      powerStillApplied: null,
    });
    expect(failureOf(new TypeError('a mistake'))).toEqual({
      code: 'INTERNAL',
      message: 'TypeError: a mistake',
      powerStillApplied: null,
    });
  });

  it('from when it was asked for, on both clocks', () => {
    expect(recordOf(NEWS)).toMatchObject({
      startedMs: BEGAN_MS,
      startedAt: '2026-11-22T10:00:00.000Z',
      tookMs: NOW_MS - BEGAN_MS,
      left: 0,
    });
    expect(recordOf(NEWS, { left: 7 })?.left).toBe(7);
    // A watch that ends without a fault is kept whole, from the first that it saw.
    expect(recordOf([readAt(BEGAN_MS + 250), ...NEWS.slice(2)], {}, 'watch')).toMatchObject({
      startedMs: BEGAN_MS + 250,
      startedAt: '2026-11-22T10:00:00.250Z',
      trace: [{ type: 'reconciled', atMs: 0 }, { type: 'enable' }],
      left: 0,
    });
    expect(recordOf([], { error: FAILED }, 'watch')).toMatchObject({ startedMs: BEGAN_MS, trace: [] });
  });

  it('as a whole, whatever had gone wrong in it, unless it was a watch', () => {
    const fault = {
      kind: 'railLost',
      rail: 'P12V',
      state: 'pgood',
      atMs: BEGAN_MS + 9_000,
      reason: 'lost',
      errorCode: null,
    } as const;
    const entries: readonly Recorded[] = [...NEWS, { type: 'fault', fault, atMs: fault.atMs }];
    expect(recordOf(entries, { error: FAILED })).toMatchObject({ startedMs: BEGAN_MS, left: 0 });
    expect(recordOf(entries, { error: FAILED })?.trace).toHaveLength(entries.length);
    expect(recordOf(entries, { error: FAILED }, 'watch')?.startedMs).toBe(BEGAN_MS + 7_000);
  });

  it('with the rails, and which of them the board only watches', () => {
    const rails = plan.rails.map((rail, index) =>
      index === 0 ? { ...rail, watched: 'supply' as const } : rail,
    );
    const [first, second] = recordOf(NEWS, {}, 'on', { ...plan, rails })?.rails ?? [];
    expect(first).toEqual({ name: 'P12V', observable: true, watched: 'supply' });
    expect(second).toEqual({ name: 'P5V', observable: true });
  });
});

describe('the times of a rail', () => {
  const timesOf = (entries: readonly Recorded[], rail = 'P12V') => recordOf(entries)?.times[rail];
  const NONE = { enabledMs: null, goodMs: null, disabledMs: null, goneMs: null };

  it('are those at which it was switched, and its good signal changed', () => {
    const up = [
      readAt(BEGAN_MS),
      enable('P12V', true, BEGAN_MS + 1),
      enable('P5V', true, BEGAN_MS + 2),
      good('P12V', true, BEGAN_MS + 10),
      good('P5V', true, BEGAN_MS + 12),
    ];
    expect(timesOf(up)).toEqual({ ...NONE, enabledMs: 1, goodMs: 10 });
    const down = [
      ...up,
      enable('P12V', false, BEGAN_MS + 100),
      // It stands still: another phase is no change of its signal.
      good('P12V', true, BEGAN_MS + 101),
      good('P12V', false, BEGAN_MS + 107.5),
      good('P12V', false, BEGAN_MS + 120),
    ];
    expect(timesOf(down)).toEqual({ enabledMs: 1, goodMs: 10, disabledMs: 100, goneMs: 107.5 });
    expect(timesOf(down, 'P5V')).toEqual({ ...NONE, enabledMs: 2, goodMs: 12 });
    expect(timesOf(down, 'PVCORE')).toEqual(NONE);
  });

  it('do not have what was so when the run began', () => {
    expect(timesOf([readAt(BEGAN_MS, ['P12V']), good('P12V', true, BEGAN_MS + 5)])).toEqual(NONE);
    expect(timesOf([readAt(BEGAN_MS, ['P12V']), good('P12V', false, BEGAN_MS + 5)])).toEqual({
      ...NONE,
      goneMs: 5,
    });
    expect(timesOf([readAt(BEGAN_MS), good('P12V', false, BEGAN_MS + 5)])).toEqual(NONE);
    // Nothing could be read: what is not known to be good has come when it is seen.
    expect(timesOf([good('P12V', true, BEGAN_MS + 5)])).toEqual({ ...NONE, goodMs: 5 });
  });
});
