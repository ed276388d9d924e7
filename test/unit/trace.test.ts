import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { lastState, type Recorded } from '../../src/run/record.ts';
import { runRecord } from '../../src/run/run-record.ts';
import { begunAt, createTrace } from '../../src/run/trace.ts';
import { createBench } from './bench.ts';

const FIRST: Recorded = {
  type: 'reconciled',
  state: 'pgood',
  hint: null,
  rails: { P12V: { enabled: true, good: true } },
  pgood: true,
  resetsAsserted: { CPU: false },
  atMs: 0,
};
const good = (atMs: number, is: boolean): Recorded => ({
  type: 'rail',
  rail: 'P12V',
  phase: 'up',
  good: is,
  atMs,
});

const RAILS = ['P12V', 'P5V'];
/** All that was read and driven for some time, in its order; several things may happen in one moment. */
const anyTrace: fc.Arbitrary<readonly Recorded[]> = fc
  .array(
    fc.tuple(
      fc.nat(3),
      fc.oneof(
        fc.record({
          type: fc.constant('rail' as const),
          rail: fc.constantFrom(...RAILS),
          phase: fc.constant('up' as const),
          good: fc.boolean(),
        }),
        fc.record({
          type: fc.constant('enable' as const),
          rail: fc.constantFrom(...RAILS),
          asserted: fc.boolean(),
        }),
        fc.record({
          type: fc.constant('reset' as const),
          reset: fc.constantFrom('CPU', 'PCIE'),
          asserted: fc.boolean(),
        }),
        fc.record({ type: fc.constant('pgood' as const), level: fc.boolean() }),
        fc.record({
          type: fc.constant('state' as const),
          from: fc.constant('pgood' as const),
          to: fc.constantFrom('pgood' as const, 'fault' as const, 'failed' as const),
        }),
        fc.constant({ type: 'latch' } as const),
      ),
    ),
    { maxLength: 20 },
  )
  .map((steps) => {
    let atMs = 2;
    const first: Recorded = {
      ...FIRST,
      rails: { P12V: { enabled: true, good: true }, P5V: { enabled: true, good: false } },
      resetsAsserted: { CPU: false, PCIE: true },
      atMs,
    };
    return [
      first,
      ...steps.map(([laterMs, happening]): Recorded => {
        atMs += laterMs;
        return { ...happening, atMs };
      }),
    ];
  });

/** By name, the level that each signal has at the end of a trace. */
function levelsAfter(entries: readonly Recorded[]): Readonly<Record<string, unknown>> {
  const levels: Record<string, unknown> = {};
  for (const entry of entries) {
    if (entry.type === 'rail') levels[`${entry.rail} good`] = entry.good;
    else if (entry.type === 'enable') levels[`${entry.rail} enabled`] = entry.asserted;
    else if (entry.type === 'reset') levels[entry.reset] = entry.asserted;
    else if (entry.type === 'pgood') levels.pgood = entry.level;
    else if (entry.type === 'state') levels.state = entry.to;
    else if (entry.type === 'reconciled') {
      Object.assign(levels, entry.resetsAsserted, { pgood: entry.pgood, state: entry.state });
      for (const [rail, { enabled, good: isGood }] of Object.entries(entry.rails))
        Object.assign(levels, { [`${rail} good`]: isGood, [`${rail} enabled`]: enabled });
    }
  }
  return levels;
}

describe('the state that a chassis was seen in last', () => {
  it('is that of the last entry that has one, whatever comes after it', () => {
    const other: Recorded = { type: 'warning', message: 'something else', atMs: 9 };
    const to = (state: 'fault' | 'failed', atMs: number): Recorded => ({
      type: 'state',
      from: 'pgood',
      to: state,
      atMs,
    });
    expect(lastState([])).toBeNull();
    expect(lastState([other])).toBeNull();
    expect(lastState([FIRST, other])).toBe('pgood');
    expect(lastState([FIRST, to('fault', 1), to('failed', 2), other])).toBe('failed');
    expect(lastState([to('failed', 2), FIRST])).toBe('pgood');
  });
});

describe('the trace of a watch', () => {
  it('of months is bounded, and begins with the levels of where it was cut', () => {
    const trace = createTrace();
    trace.add(FIRST);
    for (let at = 1; at <= 50_001; at += 1) trace.add(good(at, at % 2 === 0));
    expect(trace.entries.length).toBeLessThanOrEqual(4_000);
    expect(trace.entries.length + trace.left).toBe(50_002);
    const [first, second] = trace.entries;
    expect(first).toMatchObject({ type: 'reconciled', rails: { P12V: { enabled: true } } });
    // The level before the first change that is left is the other one.
    expect(first?.type === 'reconciled' && first.rails.P12V?.good).toBe(
      second?.type === 'rail' ? !second.good : null,
    );
    expect(trace.entries.at(-1)).toEqual(good(50_001, false));
  });

  it('that nothing can be cut from keeps its beginning', () => {
    const trace = createTrace();
    for (let at = 0; at < 5_000; at += 1) trace.add({ type: 'warning', message: String(at), atMs: 7 });
    expect(trace.entries).toHaveLength(4_000);
    expect(trace.entries.length + trace.left).toBe(5_000);
  });

  it('begun later has every level of then', () => {
    const entries: Recorded[] = [
      FIRST,
      { type: 'reset', reset: 'CPU', asserted: true, atMs: 1 },
      { type: 'pgood', level: false, atMs: 2 },
      good(3, false),
      { type: 'enable', rail: 'P12V', asserted: false, atMs: 4 },
      { type: 'state', from: 'pgood', to: 'fault', atMs: 5 },
      { type: 'latch', atMs: 9 },
    ];
    expect(begunAt(entries, 6)).toEqual([
      {
        ...FIRST,
        state: 'fault',
        rails: { P12V: { enabled: false, good: false } },
        resetsAsserted: { CPU: true },
        pgood: false,
        atMs: 6,
      },
      { type: 'latch', atMs: 9 },
    ]);
    expect(begunAt(entries, 0)).toEqual(entries);
  });

  it('that is cut lets go of no more than half', () => {
    const trace = createTrace();
    trace.add(FIRST);
    for (let at = 1; at <= 4_000; at += 1) trace.add(good(at, at % 2 === 0));
    expect(trace.left).toBeGreaterThan(1_900);
    expect(trace.entries.length).toBeGreaterThan(1_900);
  });

  it('begun at any time has all from then on, and at its end every level that the whole has', () => {
    fc.assert(
      fc.property(anyTrace, fc.integer({ min: -5, max: 70 }), (entries, fromMs) => {
        const begun = begunAt(entries, fromMs);
        const later = entries.filter(({ atMs }) => atMs >= fromMs);
        expect(begun.slice(begun.length - later.length)).toEqual(later);
        expect(levelsAfter(begun)).toEqual(levelsAfter(entries));
        // It claims to have read nothing before it did.
        expect(begun[0]?.type).toBe('reconciled');
        expect(begun[0]?.atMs).toBe(Math.max(fromMs, entries[0]?.atMs ?? 0));
        expect(begun.length - later.length).toBeLessThanOrEqual(1);
      }),
    );
  });

  it('in which nothing was read at first begins with what there is: there are no levels to begin with', () => {
    fc.assert(
      fc.property(anyTrace, fc.integer({ min: -5, max: 70 }), ([, ...entries], fromMs) => {
        expect(begunAt(entries, fromMs)).toEqual(entries);
      }),
    );
    expect(begunAt([], 3)).toEqual([]);
  });

  it('that ends with a loss is kept from two seconds before it', async () => {
    const { plan, clock } = createBench('reference');
    const nowMs = 86_400_000;
    const fault = {
      kind: 'pgoodLost',
      rail: null,
      state: 'pgood',
      atMs: nowMs,
      reason: 'lost',
      errorCode: null,
    } as const;
    const run = runRecord(
      { chassis: 0, plan, asked: 'watch', by: 'the service', bootId: 'b', board: { name: 'n', hash: 'h' } },
      {
        entries: [FIRST, good(1_000, false), good(1_001, true), { type: 'fault', fault, atMs: nowMs }],
        left: 3,
        beganMs: 0,
        ended: 'failed',
        error: new Error('lost'),
      },
      { nowMs: () => nowMs + 10, wallTime: clock.wallTime },
    );
    expect(run).toMatchObject({ startedMs: nowMs - 2_000, tookMs: 2_010, left: 5 });
    expect(run?.trace.map(({ type, atMs }) => `${type} ${atMs}`)).toEqual(['reconciled 0', 'fault 2000']);
  });
});
