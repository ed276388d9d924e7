import { describe, expect, it } from 'vitest';
import type { Recorded } from '../../src/run/record.ts';
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
