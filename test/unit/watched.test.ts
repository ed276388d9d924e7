import fc from 'fast-check';
import { describe, expect, it, vi } from 'vitest';
import { parseFault } from '../../mocks/plant/faults.ts';
import type { Board } from '../../src/board/schema.ts';
import { linesOf } from '../../src/report/lines.ts';
import { renderSvg } from '../../src/report/timing-diagram.ts';
import { JOBS } from '../../src/run/jobs.ts';
import { faultError } from '../../src/run/outcome.ts';
import { checkBoard } from '../check-board.ts';
import { draws } from '../draws.ts';
import { type Bench, createBench } from './bench.ts';
import { generatedBoard } from './boards.ts';

// Far above what they take: the machine may be busy.
vi.setConfig({ testTimeout: 120_000 });
const RUNS = { numRuns: draws(40) };

const line = (at: number) => ({ chip: 'gpio', line: at });
const times = { onTimeoutMs: 200, offTimeoutMs: 200 };

/** A supply, a rail that is switched, three that come behind it one after the other, and one that needs the second of them. */
const DESCRIBED = {
  name: 'watched',
  chassis: {
    0: {
      rails: {
        PSU: { good: line(10), ...times },
        P12V: { enable: line(0), good: line(11), needs: ['PSU'], ...times },
        P5V: { good: line(12), needs: ['P12V'], ...times },
        P3V3: { good: line(13), needs: ['P5V'], settleMs: 3, ...times },
        P1V8: { good: line(14), needs: ['P3V3'], ...times },
        VCORE: { enable: line(1), good: line(15), needs: ['P3V3'], ...times },
      },
      pgood: { ...line(20), deglitchMs: 2, onTimeoutMs: 1000, offTimeoutMs: 1000 },
    },
  },
};
function boardOf(described: object): Board {
  const { board, problems } = checkBoard(described);
  if (!board) throw new TypeError(JSON.stringify(problems));
  return board;
}
const BOARD = boardOf(DESCRIBED);

/** What was driven, rails by name. */
const drives = ({ plant }: Bench) =>
  plant.history.flatMap((event) =>
    event.type === 'drive' ? [`${event.rail} ${event.asserted ? 'on' : 'off'}`] : [],
  );
const watchedRails = ({ plan }: Bench) =>
  plan.rails.flatMap(({ name, watched }) => (watched === 'follower' ? [name] : []));

const withWatched = generatedBoard.filter((board) =>
  Object.values(board.chassis['0']?.rails ?? {}).some(({ enable }) => enable === undefined),
);

describe('a rail without "enable"', () => {
  it('is only watched: nothing of it is driven, and what needs it is enabled after it', async () => {
    const bench = createBench(BOARD);
    expect((await bench.run(JOBS.on)).state).toBe('pgood');
    expect(drives(bench)).toEqual(['P12V on', 'VCORE on']);
    const up = (rail: string) =>
      bench.recording.findIndex(
        (entry) => entry.type === 'rail' && entry.rail === rail && entry.phase === 'up',
      );
    const on = bench.recording.findIndex((entry) => entry.type === 'enable' && entry.rail === 'VCORE');
    expect(up('P12V')).toBeLessThan(up('P5V'));
    expect(up('P5V')).toBeLessThan(up('P3V3'));
    expect(up('P3V3')).toBeLessThan(on);
    expect((await bench.run(JOBS.off)).state).toBe('off');
    expect(drives(bench).slice(2)).toEqual(['VCORE off', 'P12V off']);
    const deliver = bench.plant.rails().flatMap(({ rail, good }) => (good ? [rail] : []));
    expect(deliver).toEqual(['PSU']);
    expect(bench.plant.hazards).toEqual([]);
  });

  it('that does not come is named, though everything behind it is dead as well', async () => {
    const faults = ['P5V', 'P3V3', 'P1V8'].map((rail) => `rail ${rail} never good`);
    const bench = createBench(BOARD, { faults });
    const { state, sequence } = await bench.run(JOBS.on);
    expect(state).toBe('failed');
    expect(sequence.fault).toMatchObject({
      kind: 'railTimeout',
      rail: 'P5V',
      reason: 'rail P5V was not good within 200 ms of P12V',
    });
    expect(bench.enabled()).toEqual([]);
  });

  it('is given its time from when all that it needs is good', async () => {
    // Later than its own time after the enable, and within it after what it needs.
    const slow = ['rail P12V slow 150ms', 'rail P5V slow 150ms', 'rail P3V3 slow 150ms'];
    expect((await createBench(BOARD, { faults: slow }).run(JOBS.on)).state).toBe('pgood');
    const { sequence } = await createBench(BOARD, { faults: ['rail P3V3 slow 300ms'] }).run(JOBS.on);
    expect(sequence.fault).toMatchObject({ kind: 'railTimeout', rail: 'P3V3' });
  });

  it('that does not fall when what it needs is switched off is named by the power-off', async () => {
    const bench = createBench(BOARD, { initially: 'on', faults: ['good P5V stuck on'] });
    const { state, sequence } = await bench.run(JOBS.off);
    expect(state).toBe('failed');
    expect(sequence.fault).toMatchObject({ kind: 'powerOffTimeout', rail: 'P5V' });
    expect(bench.enabled()).toEqual([]);
    expect(faultError(0, sequence).details.stillOn).toEqual([{ rail: 'P5V', because: 'good' }]);
  });

  it('that is lost while the chassis is on takes the power down and is named', async () => {
    const bench = createBench(BOARD, { initially: 'on', faults: ['rail P3V3 shorts at 40ms'] });
    const { state, sequence } = await bench.run(JOBS.watch);
    expect(state).toBe('failed');
    expect(sequence.fault).toMatchObject({ kind: 'railLost', rail: 'P3V3', state: 'pgood' });
    expect(bench.enabled()).toEqual([]);
  });

  it('is named after a loss of pgood that it caused, whichever of the two is seen first', async () => {
    for (const deglitchMs of [0, 5]) {
      for (const rail of ['P5V', 'P3V3', 'P1V8']) {
        const chassis = DESCRIBED.chassis[0];
        const board = boardOf({
          ...DESCRIBED,
          chassis: { 0: { ...chassis, pgood: { ...chassis.pgood, deglitchMs } } },
        });
        const faults = [`rail ${rail} shorts at 40ms`, `line rail ${rail} good no interrupts`];
        const bench = createBench(board, { initially: 'on', faults });
        const { sequence } = await bench.run(JOBS.watch);
        expect(sequence.fault, `${rail} ${deglitchMs}`).toMatchObject({ kind: 'railLost', rail });
      }
    }
  });
});

describe('the supply of a chassis', () => {
  it('that is not good keeps what needs it from being enabled, and is named', async () => {
    const bench = createBench(BOARD, { faults: ['good PSU stuck off'] });
    const { state, sequence } = await bench.run(JOBS.on);
    expect(state).toBe('failed');
    expect(sequence.fault).toMatchObject({
      kind: 'railTimeout',
      rail: 'PSU',
      reason: 'rail PSU, which supplies the chassis, was not good within 200 ms of the request',
    });
    expect(drives(bench)).not.toContain('P12V on');
  });

  it('that another one stands behind is named, though its own time is longer', async () => {
    const { PSU, P12V } = DESCRIBED.chassis[0].rails;
    const GRID = { good: line(16), ...times, onTimeoutMs: 400 };
    const rails = { PSU: { ...PSU, needs: ['GRID'] }, GRID, P12V };
    const board = boardOf({ name: 'grid', chassis: { 0: { rails } } });
    const faultOf = async (faults: readonly string[], beforeMs: number) => {
      const bench = createBench(board, { faults });
      await bench.clock.advance(beforeMs);
      return (await bench.run(JOBS.on)).sequence.fault;
    };
    expect(await faultOf(['rail GRID shorts'], 0)).toMatchObject({ rail: 'GRID' });
    expect(await faultOf(['rail GRID shorts'], 20)).toMatchObject({ kind: 'railTimeout', rail: 'GRID' });
    expect(await faultOf(['rail PSU shorts'], 20)).toMatchObject({
      rail: 'PSU',
      reason: 'rail PSU, which supplies the chassis, was not good within 200 ms of GRID',
    });
    const late = ['rail GRID never good for 350ms', 'rail PSU never good for 450ms'];
    expect(await faultOf(late, 20)).toBeNull();
  });

  it('is not waited for by a power-off, is no power that is still applied, and a chassis with it is off', async () => {
    const bench = createBench(BOARD);
    expect((await bench.run(JOBS.waitOff)).state).toBe('off');
    const failed = createBench(BOARD, { faults: ['rail P5V never good'] });
    const { state, sequence } = await failed.run(JOBS.on);
    expect(state).toBe('failed');
    expect(sequence.rails.PSU?.good).toBe(true);
    expect(faultError(0, sequence).details).toMatchObject({ powerStillApplied: false, stillOn: [] });
    failed.plant.clearFaults();
    expect((await failed.run(JOBS.clear)).state).toBe('off');
  });

  it.each<[string, keyof typeof JOBS, 'on' | 'off', readonly string[]]>([
    ['a power-off', 'off', 'on', []],
    ['a power-off of a chassis that is off', 'off', 'off', []],
    ['a power-on that fails', 'on', 'off', ['rail P5V never good']],
    ['a loss', 'watch', 'on', ['rail P5V shorts at 40ms']],
    ['a supply that comes back while power goes down', 'off', 'on', ['good PSU stuck off for 1ms at 1ms']],
  ])('is told as down by nothing but its own signal: %s', async (_, job, initially, faults) => {
    const bench = createBench(BOARD, { initially, faults });
    await bench.run(JOBS[job]);
    const told = bench.recording.filter((entry) => entry.type === 'rail');
    const text = told.flatMap(linesOf).map((line) => line.text);
    const down = told.filter((_entry, place) => text[place]?.endsWith(' down'));
    expect(down.filter(({ good }) => good)).toEqual([]);
    const goesAndComes = faults.some((fault) => fault.includes('PSU'));
    const ofSupply = text.filter((each) => each.includes('PSU'));
    if (job !== 'on') expect(ofSupply).toEqual(goesAndComes ? ['rail PSU down', 'rail PSU good'] : []);
  });

  it('that is lost while the chassis is on is named, and not what falls with it', async () => {
    const bench = createBench(BOARD, { initially: 'on', faults: ['rail PSU shorts at 40ms'] });
    const { sequence } = await bench.run(JOBS.watch);
    expect(sequence.fault).toMatchObject({ kind: 'railLost', rail: 'PSU' });
    expect(bench.enabled()).toEqual([]);
  });
});

describe('a rail that is seen by a page of a PMBus device', () => {
  const seenBy = (good: object, nominalVolts = 1.2) =>
    boardOf({
      name: 'pages',
      devices: { seq: { bus: 1, address: '0x68' } },
      chassis: {
        0: {
          rails: {
            P12V: { enable: line(0), good: line(10), ...times },
            P1V2: { good: { pmbus: 'seq', page: 3, ...good }, needs: ['P12V'], nominalVolts, ...times },
          },
          pgood: { ...line(20), onTimeoutMs: 1000, offTimeoutMs: 1000 },
        },
      },
    });

  it.each([
    ['with the limits that the device has', { limits: 'device' }],
    ['with POWER_GOOD# alone', { status: true }],
  ])('%s comes, is named when it does not, and when it is lost', async (_, good) => {
    const board = seenBy(good);
    const bench = createBench(board);
    expect((await bench.run(JOBS.on)).state).toBe('pgood');
    expect((await bench.run(JOBS.off)).state).toBe('off');
    const dead = await createBench(board, { faults: ['rail P1V2 never good'] }).run(JOBS.on);
    expect(dead.sequence.fault).toMatchObject({ kind: 'railTimeout', rail: 'P1V2' });
    const faults = ['rail P1V2 droops at 40ms', 'pgood stuck on'];
    const lost = await createBench(board, { initially: 'on', faults }).run(JOBS.watch);
    expect(lost.sequence.fault).toMatchObject({ kind: 'railLost', rail: 'P1V2' });
  });

  it('with a limit of the device that no voltage passes is refused before anything is switched', async () => {
    // Less than half a step of the register, so that VOUT_UV_FAULT_LIMIT reads 0 V.
    const bench = createBench(seenBy({ limits: 'device' }, 0.001));
    await expect(bench.run(JOBS.on)).rejects.toMatchObject({
      code: 'PMBUS_FORMAT',
      message: expect.stringContaining(
        'page 3 of seq has no VOUT_UV_FAULT_LIMIT that could be taken for one (it is 0 V): give "minVolts"',
      ),
    });
    expect(drives(bench)).toEqual([]);
  });

  it('with the limits of the device is refused by check beside limits of the file', () => {
    const { problems } = checkBoard({
      ...DESCRIBED,
      devices: { seq: { bus: 1, address: '0x68' } },
      chassis: {
        0: {
          rails: { A: { enable: line(0), good: { pmbus: 'seq', limits: 'device', minVolts: 1 } } },
          pgood: line(20),
        },
      },
    });
    expect(problems).toEqual([expect.objectContaining({ path: 'chassis.0.rails.A.good.minVolts' })]);
  });
});

describe('of rails that are only watched, on any board', () => {
  it('the first in the order of those that are dead is named, and nothing is left on', async () => {
    await fc.assert(
      fc.asyncProperty(withWatched, fc.nat(), async (board, which) => {
        const followers = watchedRails(createBench(board));
        const dead = followers.filter((_, index) => (which & (1 << index)) !== 0 || followers.length === 1);
        const bench = createBench(board, { faults: dead.map((rail) => `rail ${rail} never good`) });
        const { state, sequence } = await bench.run(JOBS.on);
        // Of two that do not hang on each other the one whose time is over first is named.
        const needs = (rail: string): string[] =>
          (board.chassis['0']?.rails[rail]?.needs ?? []).flatMap((need) => [need, ...needs(need)]);
        const first = dead.filter((rail) => !needs(rail).some((need) => dead.includes(need)));
        if (dead.length === 0) expect(state).toBe('pgood');
        else {
          expect(sequence.fault?.kind).toBe('railTimeout');
          expect(first).toContain(sequence.fault?.rail);
        }
        if (state === 'failed') expect(bench.enabled()).toEqual([]);
        expect(bench.plant.hazards).toEqual([]);
      }),
      RUNS,
    );
  });

  it('a process that goes on where a killed one stopped brings the chassis up, or down', async () => {
    await fc.assert(
      fc.asyncProperty(
        withWatched,
        fc.constantFrom('on' as const, 'off' as const),
        fc.integer({ min: 1, max: 8 }),
        fc.constantFrom('before' as const, 'after' as const),
        fc.constantFrom('on' as const, 'off' as const),
        async (board, first, calls, when, next) => {
          const bench = createBench(board, { initially: first === 'on' ? 'off' : 'on' });
          await bench.runKilled(JOBS[first], calls, when);
          expect((await bench.run(JOBS[next])).state).toBe(next === 'on' ? 'pgood' : 'off');
          expect(bench.plant.hazards).toEqual([]);
        },
      ),
      RUNS,
    );
  });
});

describe('check', () => {
  const problemsOf = (rails: object) =>
    checkBoard({ name: 'board', chassis: { 0: { rails, pgood: line(20) } } }).problems.map(
      ({ path, message, suggestion }) => ({ path, message, suggestion }),
    );

  it('refuses a rail that can be neither switched nor seen, and says with an example what is missing', () => {
    expect(problemsOf({ A: { enable: line(0) }, B: { needs: ['A'] } })).toEqual([
      {
        path: 'chassis.0.rails.B',
        message: 'rail B has neither "enable" nor "good": it can be neither switched nor seen',
        suggestion: expect.stringContaining('"good": { "chip": "1e780000.gpio", "line": "B0" }'),
      },
    ]);
    // Of one that has a mistake only the mistake is told.
    expect(problemsOf({ A: { enable: line(0) }, B: { enable: { chip: 'gpio', line: 'x' } } })).toHaveLength(
      1,
    );
  });

  it('refuses a chassis in which nothing is switched', () => {
    expect(problemsOf({ A: { good: line(0) } })).toEqual([
      expect.objectContaining({
        path: 'chassis.0.rails',
        message: expect.stringContaining('no rail has an'),
      }),
    ]);
  });
});

describe('what is shown of a rail that is only watched', () => {
  it('the timing diagram has its good signal, and no enable', async () => {
    const bench = createBench(BOARD);
    await bench.run(JOBS.on);
    const svg = renderSvg(bench.recording, bench.plan, 'on');
    expect(svg).toContain('P5V good: on at');
    expect(svg).toContain('PSU good: no change');
    expect(svg).toContain('P12V enable: on at');
    expect(svg).not.toContain('P5V enable');
  });

  it('a fault of its enable is refused by the simulated chassis: it has none', () => {
    expect(() => parseFault('enable P5V stuck on', BOARD)).toThrow('is only watched');
  });
});
