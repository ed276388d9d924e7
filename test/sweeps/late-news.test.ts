import fc from 'fast-check';
import { describe, expect, it, vi } from 'vitest';
import { parseFault } from '../../mocks/plant/faults.ts';
import type { StallingLoop } from '../../mocks/stall.ts';
import type { Board } from '../../src/board/schema.ts';
import { JOBS } from '../../src/run/jobs.ts';
import { draws } from '../draws.ts';
import { type Bench, createBench, shippedBoard } from '../unit/bench.ts';
import { anyBoard, boardWithPgoodLine, withDeglitch } from '../unit/boards.ts';

/**
 * A level counts only if it was read after the moment it is judged for. Processes stand still here at any call into
 * the hardware and at any time, longer than every deadline of the board.
 */

type Stall =
  | { readonly call: number; readonly when: 'before' | 'after'; readonly ms: number }
  | { readonly atMs: number; readonly ms: number };

const stallMs = fc.oneof(fc.integer({ min: 1, max: 60 }), fc.integer({ min: 100, max: 4_000 }));
const stall: fc.Arbitrary<Stall> = fc.oneof(
  fc.record({
    call: fc.integer({ min: 1, max: 120 }),
    when: fc.constantFrom('before' as const, 'after' as const),
    ms: stallMs,
  }),
  fc.record({ atMs: fc.integer({ min: 0, max: 400 }), ms: stallMs }),
);
const stalls = fc.array(stall, { minLength: 1, maxLength: 3 });

function plan(bench: Bench, drawn: readonly Stall[]) {
  return (loop: StallingLoop): void => {
    for (const each of drawn) {
      if ('call' in each) loop.stallAtCall(each.call, each.when, each.ms);
      else bench.clock.after(each.atMs, () => loop.stall(each.ms));
    }
  };
}

const RUNS = { numRuns: draws(40) };
// Far above what they take: the machine may be busy.
vi.setConfig({ testTimeout: 120_000 });

/** What of the chassis can be seen to deliver. A supply always does. */
function delivering(bench: Bench): string[] {
  const { rails = {} } = bench.board.chassis['0'] ?? {};
  const supplies = bench.plan.rails.flatMap(({ name, watched }) => (watched === 'supply' ? [name] : []));
  return bench.plant
    .rails()
    .flatMap(({ rail, good }) => (good && rails[rail]?.good && !supplies.includes(rail) ? [rail] : []));
}

describe('a process that stands still at any step', () => {
  it('powers a healthy chassis on all the same', async () => {
    await fc.assert(
      fc.asyncProperty(anyBoard, stalls, async (board, drawn) => {
        const bench = createBench(board);
        const { state, sequence } = await bench.run(JOBS.on, { stalls: plan(bench, drawn) });
        expect({ state, fault: sequence.fault }).toEqual({ state: 'pgood', fault: null });
        expect(bench.plant.hazards).toEqual([]);
        expect(bench.plant.misuses).toEqual([]);
      }),
      RUNS,
    );
  });

  it('powers a healthy chassis off all the same, and says "off" only when nothing delivers', async () => {
    await fc.assert(
      fc.asyncProperty(anyBoard, stalls, async (board, drawn) => {
        const bench = createBench(board, { initially: 'on' });
        const { state, sequence } = await bench.run(JOBS.off, { stalls: plan(bench, drawn) });
        expect({ state, fault: sequence.fault }).toEqual({ state: 'off', fault: null });
        expect(delivering(bench)).toEqual([]);
        expect(bench.plant.hazards).toEqual([]);
      }),
      RUNS,
    );
  });

  it('does both in oneshots', async () => {
    await fc.assert(
      fc.asyncProperty(
        anyBoard,
        fc.array(stalls, { minLength: 4, maxLength: 4 }),
        async (board, [one = [], two = [], three = [], four = []]) => {
          const bench = createBench(board);
          const ended: string[] = [];
          for (const [job, drawn] of [
            [JOBS.start, one],
            [JOBS.waitOn, two],
            [JOBS.stop, three],
            [JOBS.waitOff, four],
          ] as const) {
            ended.push((await bench.run(job, { stalls: plan(bench, drawn) })).state);
          }
          expect(ended[1]).toBe('pgood');
          expect(ended[3]).toBe('off');
          expect(bench.plant.hazards).toEqual([]);
        },
      ),
      RUNS,
    );
  });

  it('takes back a power-on that is told to end, and leaves nothing that delivers', async () => {
    await fc.assert(
      fc.asyncProperty(anyBoard, stalls, fc.integer({ min: 1, max: 200 }), async (board, drawn, atMs) => {
        const bench = createBench(board);
        const asked = new AbortController();
        bench.clock.after(atMs, () => asked.abort('SIGTERM'));
        const end = await bench
          .run(JOBS.on, { stalls: plan(bench, drawn), signal: asked.signal })
          .catch((error: Error) => error);
        if (end instanceof Error) {
          expect(end).toMatchObject({ code: 'INTERRUPTED' });
          expect(bench.enabled()).toEqual([]);
          expect(delivering(bench)).toEqual([]);
        } else expect(end.state).toBe('pgood');
        // An enable that was switched on a moment before goes off again: that is what asking costs.
        expect(bench.plant.hazards.filter(({ kind }) => kind !== 'enableGlitch')).toEqual([]);
      }),
      RUNS,
    );
  });
});

describe('a service that watches a chassis', () => {
  const glitch = fc.record({
    fromMs: fc.integer({ min: 1, max: 3_000 }),
    forMs: fc.integer({ min: 1, max: 299 }),
    stalls: fc.array(
      fc.record({ atMs: fc.integer({ min: 0, max: 3_500 }), ms: fc.integer({ min: 1, max: 2_000 }) }),
      { minLength: 1, maxLength: 2 },
    ),
    again: fc.array(fc.integer({ min: 310, max: 900 }), { maxLength: 3 }),
  });

  it('leaves a host on whose pgood only glitches, however it stands still meanwhile', async () => {
    await fc.assert(
      fc.asyncProperty(
        boardWithPgoodLine,
        glitch,
        async (drawnBoard, { fromMs, forMs, stalls: drawn, again }) => {
          const board = withDeglitch(drawnBoard, 300);
          const bench = createBench(board, { initially: 'on' });
          await bench.run(JOBS.on);
          const before = bench.changes();
          let atMs = fromMs;
          for (const nextMs of [0, ...again]) {
            atMs += nextMs;
            bench.plant.addFault(parseFault(`pgood glitch ${forMs}ms at ${atMs}ms`, board));
          }
          const end = new AbortController();
          bench.clock.after(atMs + 8_000, () => end.abort('end of the test'));
          const { state } = await bench.run(JOBS.watch, { stalls: plan(bench, drawn), signal: end.signal });
          expect(state).toBe('pgood');
          const after = bench.changes();
          const moved = Object.keys(after).filter((line) => after[line] !== before[line]);
          const pgood = bench.plant.lines().filter(({ role }) => role === 'pgood');
          expect(moved.sort()).toEqual(pgood.map(({ line }) => line).sort());
        },
      ),
      RUNS,
    );
  });
});

describe('a process that stands still while it switches off after a loss', () => {
  it('keeps the order all the same where every bus answers', async () => {
    const overPmbus = boardWithPgoodLine.filter(({ chassis }) =>
      Object.values(chassis['0']?.rails ?? {}).some(
        ({ enable }) => enable !== undefined && 'pmbus' in enable,
      ),
    );
    const lossStall = fc.record({
      call: fc.integer({ min: 1, max: 80 }),
      when: fc.constantFrom('before' as const, 'after' as const),
      ms: fc.integer({ min: 30, max: 400 }),
    });
    await fc.assert(
      fc.asyncProperty(
        overPmbus,
        fc.array(lossStall, { minLength: 1, maxLength: 12 }),
        async (board, drawn) => {
          const bench = createBench(board, { initially: 'on', faults: ['pgood stuck off at 50ms'] });
          const { state } = await bench.run(JOBS.watch, {
            // Counted from the loss on.
            stalls: (loop) =>
              bench.clock.after(50, () => {
                for (const { call, when, ms } of drawn) loop.stallAtCall(loop.calls + call, when, ms);
              }),
          });
          expect({ state, enabled: bench.enabled() }).toEqual({ state: 'failed', enabled: [] });
          expect(bench.plant.hazards.filter(({ kind }) => kind === 'needRemoved')).toEqual([]);
        },
      ),
      RUNS,
    );
  });
});

describe('what was seen before', () => {
  const glitchBoard = () => withDeglitch(shippedBoard('reference'), 300);

  /** Watches a chassis that is on, until `forMs` are over or its power is gone. */
  async function watched(bench: Bench, forMs: number, stalls: (loop: StallingLoop) => void) {
    const end = new AbortController();
    bench.clock.after(forMs, () => end.abort('end of the test'));
    return bench.run(JOBS.watch, { stalls, signal: end.signal });
  }

  it('a service that stands still for a second over a glitch of 200 ms leaves the host on (deglitchMs 300)', async () => {
    const bench = createBench(glitchBoard(), { initially: 'on' });
    bench.plant.addFault(bench.fault('pgood glitch 200ms at 100ms'));
    const { state } = await watched(bench, 5_000, (loop) => bench.clock.after(110, () => loop.stall(1_000)));
    expect(state).toBe('pgood');
    expect(bench.enabled()).toHaveLength(6);
  });

  it('a healthy power-on that stands still for 700 ms reaches pgood, whenever that is', async () => {
    for (let atMs = 0; atMs <= 300; atMs += 10) {
      const bench = createBench('reference');
      const { state } = await bench.run(JOBS.on, {
        stalls: (loop) => bench.clock.after(atMs, () => loop.stall(700)),
      });
      expect(state, `stalled at ${atMs} ms`).toBe('pgood');
      expect(bench.plant.hazards).toEqual([]);
    }
  });

  it('a rail that fell while the process stood still is not stuck, whenever that is', async () => {
    for (let atMs = 0; atMs <= 300; atMs += 10) {
      const bench = createBench('reference', { initially: 'on' });
      const { state, sequence } = await bench.run(JOBS.off, {
        stalls: (loop) => bench.clock.after(atMs, () => loop.stall(10_000)),
      });
      expect({ state, fault: sequence.fault }, `stalled at ${atMs} ms`).toEqual({
        state: 'off',
        fault: null,
      });
    }
  });

  it.each([
    ['in the middle of its de-glitch time', 250, 1_250 + 300, 1_250 + 320],
    ['before it was seen', 90, 1_090 + 300, 1_090 + 320],
  ])(
    'a real loss is believed when it was watched for deglitchMs after a standstill %s',
    async (_, stallsAtMs, least, most) => {
      const bench = createBench(glitchBoard(), { initially: 'on' });
      const fromMs = bench.clock.nowMs();
      bench.plant.addFault(bench.fault('pgood stuck off at 100ms'));
      const { state } = await watched(bench, 5_000, (loop) =>
        bench.clock.after(stallsAtMs, () => loop.stall(1_000)),
      );
      expect(state).toBe('failed');
      const lostMs = bench.recording.find(({ type }) => type === 'fault')?.atMs ?? Number.NaN;
      expect(lostMs - fromMs).toBeGreaterThanOrEqual(least);
      expect(lostMs - fromMs).toBeLessThanOrEqual(most);
      expect(bench.enabled()).toEqual([]);
    },
  );

  it('a rail that dropped is lost when it was watched for deglitchMs after a standstill', async () => {
    const bench = createBench(glitchBoard(), { initially: 'on' });
    const fromMs = bench.clock.nowMs();
    bench.plant.addFault(bench.fault('good P5V stuck off at 100ms'));
    const { state, sequence } = await watched(bench, 5_000, (loop) =>
      bench.clock.after(150, () => loop.stall(100)),
    );
    expect({ state, rail: sequence.fault?.rail }).toEqual({ state: 'failed', rail: 'P5V' });
    const lostMs = (sequence.fault?.atMs ?? Number.NaN) - fromMs;
    expect(lostMs).toBeGreaterThanOrEqual(250 + 300);
    expect(lostMs).toBeLessThanOrEqual(250 + 320);
  });

  it('a rail has settled when it was watched for settleMs after a standstill', async () => {
    const board = structuredClone(shippedBoard('reference'));
    const { P12V } = board.chassis['0']?.rails ?? {};
    if (P12V === undefined) throw new RangeError('no P12V');
    P12V.settleMs = 300;
    const bench = createBench(board);
    let loop: StallingLoop | null = null;
    let goodMs = Number.NaN;
    const { state } = await bench.run(JOBS.on, {
      stalls: (its) => {
        loop = its;
      },
      record: (entry) => {
        bench.recording.push(entry);
        if (entry.type !== 'rail' || entry.rail !== 'P12V' || !entry.good || entry.phase !== 'rising') return;
        goodMs = entry.atMs;
        bench.clock.after(50, () => loop?.stall(100));
      },
    });
    expect(state).toBe('pgood');
    const raisedMs = bench.recording.find((entry) => entry.type === 'enable' && entry.rail === 'P5V')?.atMs;
    expect(raisedMs).toBeGreaterThanOrEqual(goodMs + 150 + 300);
    expect(raisedMs).toBeLessThanOrEqual(goodMs + 150 + 330);
  });

  it('a real loss is believed on a machine that stands still again and again', async () => {
    const bench = createBench(glitchBoard(), { initially: 'on' });
    const fromMs = bench.clock.nowMs();
    bench.plant.addFault(bench.fault('pgood stuck off at 100ms'));
    const { state } = await watched(bench, 20_000, (loop) => {
      for (let atMs = 150; atMs < 15_000; atMs += 200) bench.clock.after(atMs, () => loop.stall(100));
    });
    expect(state).toBe('failed');
    const lostMs = bench.recording.find(({ type }) => type === 'fault')?.atMs ?? Number.NaN;
    // Begun anew twice, after 50 ms and 100 ms. From then on 300 ms are gathered of the half of the time in which it runs;
    // up to one look of 20 ms is not counted with each standstill.
    expect(lostMs - fromMs).toBeLessThanOrEqual(450 + 4 * 200);
  });

  it('a loss without a standstill is acted on when deglitchMs is over, to the millisecond', async () => {
    const bench = createBench(glitchBoard(), { initially: 'on' });
    const fromMs = bench.clock.nowMs();
    bench.plant.addFault(bench.fault('pgood stuck off at 100ms'));
    await watched(bench, 5_000, () => undefined);
    const off = bench.plant.history.flatMap((event) =>
      event.type === 'line' && event.role === 'enable' && !event.asserted ? [event.atMs - fromMs] : [],
    );
    expect(off).toHaveLength(6);
    for (const atMs of off) expect(atMs).toBeCloseTo(400, 3);
  });

  it('a PMBus device that hangs while it is read holds up neither the news of a loss nor the first enables', async () => {
    const bench = createBench('reference', { initially: 'on' });
    const fromMs = bench.clock.nowMs();
    // The device is looked at every second while the chassis is on; pgood goes while that read hangs.
    bench.plant.addFault(bench.fault('i2c vr_ddr hang at 990ms'));
    bench.plant.addFault(bench.fault('pgood stuck off at 1100ms'));
    await watched(bench, 10_000, () => undefined);
    const off = bench.plant.history.find(
      (event) => event.type === 'line' && event.rail === 'PVCORE' && !event.asserted,
    );
    expect((off?.atMs ?? Number.NaN) - fromMs).toBeCloseTo(1_105, 3);
  });

  it('a read that was answered late does not raise a rail on a need that is gone', async () => {
    await fc.assert(
      fc.asyncProperty(
        anyBoard,
        fc.oneof(fc.constant([]), stalls),
        fc.integer({ min: 1, max: 40 }),
        fc.nat(),
        async (board, drawn, atMs, pick) => {
          const { rails = {} } = board.chassis['0'] ?? {};
          const seen = Object.keys(rails).filter((rail) => rails[rail]?.good);
          fc.pre(seen.length > 0);
          const bench = createBench(withDeglitch(board, 200));
          bench.plant.addFault(bench.fault(`rail ${seen[pick % seen.length]} shorts ${atMs}ms after good`));
          await bench.run(JOBS.on, { stalls: plan(bench, drawn) });
          expect(tooEarly(bench)).toEqual([]);
        },
      ),
      RUNS,
    );
  });
});

/** Rails that were enabled while a need of theirs that can be seen was not good. */
function tooEarly({ board, plant }: Bench): string[] {
  const { rails = {} } = board.chassis['0'] ?? {};
  return plant.hazards.flatMap(({ kind, name, text }) =>
    kind === 'enabledTooEarly' && rails[name]?.needs.every((need) => rails[need]?.good) ? [text] : [],
  );
}

describe('a need is a level, not a phase', () => {
  it('PVDDQ is not enabled when P5V was shorted 20 ms after it was good (deglitchMs 200)', async () => {
    const board = withDeglitch(shippedBoard('reference'), 200);
    const bench = createBench(board, { faults: ['rail P5V shorts 20ms after good'] });
    const { state, sequence } = await bench.run(JOBS.on);
    expect(state).toBe('failed');
    expect(sequence.fault).toMatchObject({ kind: 'railLost', rail: 'P5V' });
    const raised = bench.recording.flatMap((entry) =>
      entry.type === 'enable' && entry.asserted ? [entry.rail] : [],
    );
    expect(raised).toEqual(['P12V', 'P5V', 'P3V3', 'P1V8']);
    expect(bench.plant.hazards).toEqual([]);
  });

  it('a need that comes back within deglitchMs is waited for', async () => {
    const board = withDeglitch(shippedBoard('reference'), 200);
    const bench = createBench(board, { faults: ['good P5V stuck off for 100ms at 120ms'] });
    expect((await bench.run(JOBS.on)).state).toBe('pgood');
    const raisedMs = bench.recording.find((entry) => entry.type === 'enable' && entry.rail === 'PVDDQ')?.atMs;
    expect(raisedMs).toBeGreaterThanOrEqual(1_220);
    expect(bench.plant.hazards).toEqual([]);
  });

  it('a need without a signal counts by its enable as it reads', async () => {
    const board = structuredClone(shippedBoard('reference'));
    const { P12V } = board.chassis['0']?.rails ?? {};
    if (P12V === undefined) throw new RangeError('no P12V');
    P12V.settleMs = 60;
    delete P12V.good;
    const bench = createBench(board, { faults: ['enable P12V stuck off at 30ms'] });
    const { state, sequence } = await bench.run(JOBS.on);
    expect(state).toBe('failed');
    expect(sequence.fault).toMatchObject({ rail: 'P12V' });
    const raised = bench.recording.flatMap((entry) =>
      entry.type === 'enable' && entry.asserted ? [entry.rail] : [],
    );
    expect(raised).toEqual(['P12V']);
  });
});

describe('a power-on that begins in a glitch of pgood', () => {
  /** Something but pgood tells whether a latched chassis is on. */
  const tells = ({ chassis: { 0: chassis } }: Board): boolean =>
    chassis !== undefined &&
    (chassis.latch === undefined ||
      Object.keys(chassis.resets).length > 0 ||
      Object.values(chassis.rails).some(({ good }) => good !== undefined));

  it('raises the power all the same, and releases no reset before pgood stands', async () => {
    const deglitchMs = fc.constantFrom(5, 60, 300);
    await fc.assert(
      fc.asyncProperty(boardWithPgoodLine.filter(tells), deglitchMs, async (board, ms) => {
        const bench = createBench(withDeglitch(board, ms), { faults: ['pgood glitch 3ms'] });
        const { state, sequence } = await bench.run(JOBS.on);
        expect({ state, fault: sequence.fault }).toEqual({ state: 'pgood', fault: null });
        expect(bench.enabled()).toHaveLength(bench.switched.length);
        const startedMs = bench.recording[0]?.atMs ?? 0;
        const released = bench.recording.flatMap((entry) =>
          entry.type === 'reset' && !entry.asserted ? [entry.atMs] : [],
        );
        // Before that the glitch is all that can have been seen.
        for (const atMs of released) expect(atMs).toBeGreaterThanOrEqual(startedMs + ms);
        expect(bench.plant.hazards).toEqual([]);
      }),
      RUNS,
    );
  });
});
