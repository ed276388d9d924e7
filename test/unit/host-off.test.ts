/** A host with a sleep state that switches itself off, and one that loses its power: they are told apart, or it is a loss. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { parseFault } from '../../mocks/plant/faults.ts';
import type { Board } from '../../src/board/schema.ts';
import { JOBS } from '../../src/run/jobs.ts';
import type { RunResult } from '../../src/run/runner.ts';
import type { SleepSeen } from '../../src/sequence/events.ts';
import { step, takeUp } from '../../src/sequence/machine.ts';
import { planOf } from '../../src/sequence/plan.ts';
import { reconcile } from '../../src/sequence/reconcile.ts';
import { powerSeen } from '../../src/sequence/state.ts';
import type { ChassisView, ResidentRun } from '../../src/service/resident.ts';
import { checkBoard } from '../check-board.ts';
import { draws } from '../draws.ts';
import { type Bench, createBench } from './bench.ts';
import { startResident } from './start-resident.ts';

vi.setConfig({ testTimeout: 60_000 });
const RUNS = { numRuns: draws(60) };

/** Of the rail: a host that sleeps has this long to lose its power. */
const WINDOW_MS = 400;
/** A button that is held is waited for this long before what its rail hangs on goes. */
const HELD_MS = 50;
const line = (offset: number) => ({ chip: 'gpio', line: offset });

interface Variant {
  readonly good?: boolean;
  readonly deglitchMs?: number;
  /** HOST needs nothing. */
  readonly alone?: boolean;
}

/** STANDBY is switched by a level; HOST needs it, and is switched by a button; VR follows HOST. */
function boardOf({ good = true, deglitchMs = 0, alone = false }: Variant = {}): Board {
  const { board, problems } = checkBoard({
    name: 'sleeps',
    chassis: {
      0: {
        rails: {
          STANDBY: { enable: line(0), good: line(1), onTimeoutMs: 200, offTimeoutMs: 500 },
          HOST: {
            enable: { pulse: { ...line(2), active: 'low' }, state: line(3), sleepState: true },
            ...(good && { good: line(4) }),
            needs: alone ? [] : ['STANDBY'],
            onTimeoutMs: 2_000,
            offTimeoutMs: WINDOW_MS,
          },
          VR: { good: line(6), needs: ['HOST'], onTimeoutMs: 200, offTimeoutMs: 500 },
        },
        pgood: { ...line(5), deglitchMs, onTimeoutMs: 3_000, offTimeoutMs: 3_000 },
      },
    },
  });
  if (!board) throw new TypeError(JSON.stringify(problems));
  return board;
}

const VARIANTS: readonly Variant[] = [
  {},
  { good: false },
  { deglitchMs: 20 },
  { good: false, deglitchMs: 20 },
];

const told = ({ state, sequence: { fault } }: RunResult) =>
  fault === null ? state : `${state}: ${fault.kind}`;

/** What moves, by the line that moves: `sleeps`, `wakes` and `unread` are of the sleep state. */
type What = 'sleeps' | 'wakes' | 'unread' | 'HOST' | 'VR' | 'STANDBY' | 'pgood';

/** Watches a chassis that is on while its lines move one by one, so long after the begin, and ends the watch if nothing comes of it. */
async function watchWhile(
  variant: Variant,
  moves: readonly { readonly what: What; readonly atMs: number }[],
  stalls: readonly { readonly atMs: number; readonly ms: number }[] = [],
) {
  const bench = createBench(boardOf(variant), { initially: 'on' });
  const { clock, plant } = bench;
  for (const { what, atMs } of moves) {
    clock.after(atMs, () => {
      if (what === 'sleeps') plant.hold(line(3), 0);
      else if (what === 'wakes') plant.hold(line(3), null);
      else if (what === 'unread') plant.addFault(bench.fault('line rail HOST state read error for 100ms'));
      else plant.steer(0, what === 'pgood' ? null : what, false);
    });
  }
  const end = new AbortController();
  clock.after(10_000, () => end.abort('SIGTERM'));
  const result = await bench.run(JOBS.watch, {
    signal: end.signal,
    stalls: (loop) => {
      for (const { atMs, ms } of stalls) clock.after(atMs, () => loop.stall(ms));
    },
  });
  return { bench, result };
}

const presses = ({ plant }: Bench) =>
  plant.history.filter((event) => event.type === 'line' && event.role === 'button' && event.asserted).length;
/** When STANDBY was first driven off. */
const offAtMs = ({ plant }: Bench) =>
  Math.min(
    ...plant.history.flatMap((event) =>
      event.type === 'drive' && event.rail === 'STANDBY' && !event.asserted
        ? [event.atMs - plant.startMs]
        : [],
    ),
  );
const isTold = ({ recording }: Bench) => recording.filter(({ type }) => type === 'hostOff').length;

describe('a host that switches itself off', () => {
  it.each(VARIANTS)('is switched off, and nothing is lost: %j', async (variant) => {
    const bench = createBench(boardOf(variant), { initially: 'on' });
    const lowered: string[][] = [];
    bench.clock.after(1_000, () => bench.plant.addFault(bench.fault('host HOST shuts down')));
    const result = await bench.run(JOBS.watch, { onLowered: async () => void lowered.push(bench.enabled()) });
    expect(told(result)).toBe('off');
    expect(isTold(bench)).toBe(1);
    // What it leaves goes off as on request, and who watches is told then.
    expect(lowered).toEqual([[]]);
    expect(bench.enabled()).toEqual([]);
    expect(presses(bench)).toBe(0);
    expect(bench.recording.filter(({ type }) => type === 'fault' || type === 'evidence')).toEqual([]);
    expect(bench.store.hint?.state).toBe('off');
    expect(bench.plant.hazards).toEqual([]);
    // Whoever comes next finds it off, and may switch it on again.
    expect(told(await bench.run(JOBS.on))).toBe('pgood');
    expect(presses(bench)).toBe(1);
  });

  it('is seen by a power-on that has just begun to be no power-on that succeeded', async () => {
    const bench = createBench(boardOf(), { faults: ['host HOST shuts down at 60ms'] });
    expect(told(await bench.run(JOBS.on))).not.toBe('pgood');
  });

  it('keeps its board from being lost only where its power went after it, and in time', async () => {
    const fall = fc.record({
      what: fc.constantFrom('HOST', 'VR', 'pgood', 'STANDBY') satisfies fc.Arbitrary<What>,
      afterMs: fc.integer({ min: -50, max: 2 * WINDOW_MS }),
    });
    await fc.assert(
      fc.asyncProperty(
        fc.constantFrom(...VARIANTS),
        fc.array(fall, { minLength: 1, maxLength: 4 }),
        async (variant, drawn) => {
          const sleepsMs = 1_000;
          const falls = drawn.map(({ what, afterMs }) => ({ what, atMs: sleepsMs + afterMs }));
          const { result, bench } = await watchWhile(variant, [{ what: 'sleeps', atMs: sleepsMs }, ...falls]);
          const firstMs = Math.min(...falls.map(({ atMs }) => atMs));
          const settledMs = firstMs + (variant.deglitchMs ?? 0);
          const foreign = falls.some(({ what, atMs }) => what === 'STANDBY' && atMs < settledMs);
          const isAsked = firstMs > sleepsMs && firstMs <= sleepsMs + WINDOW_MS && !foreign;
          // Of what comes in the very moment that decides nobody can say which was first.
          const moments = [sleepsMs, sleepsMs + WINDOW_MS];
          fc.pre(!moments.includes(firstMs));
          fc.pre(
            !falls.some(({ what, atMs }) => what === 'STANDBY' && [...moments, settledMs].includes(atMs)),
          );
          expect(isTold(bench) === 1).toBe(isAsked);
          if (!isAsked)
            expect(result).toMatchObject({ state: 'failed', sequence: { fault: { state: 'pgood' } } });
        },
      ),
      RUNS,
    );
  });

  it('is a loss where the process stood still, or saw nothing of it in time', async () => {
    const { result } = await watchWhile(
      {},
      [
        { what: 'sleeps', atMs: 1_000 },
        { what: 'HOST', atMs: 1_100 },
        { what: 'pgood', atMs: 1_100 },
      ],
      [{ atMs: 990, ms: 500 }],
    );
    expect(told(result)).toMatch(/^failed: (railLost|pgoodLost)$/);
  });

  it('however the process stands still, a loss is never taken for it', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.constantFrom(...VARIANTS),
        fc.constantFrom('HOST', 'VR', 'pgood') satisfies fc.Arbitrary<What>,
        fc.integer({ min: 0, max: 30 }),
        fc.array(
          fc.record({ atMs: fc.integer({ min: 900, max: 1_100 }), ms: fc.integer({ min: 1, max: 900 }) }),
          {
            maxLength: 3,
          },
        ),
        async (variant, what, sleepsAfterMs, stalls) => {
          // A chipset that has lost its power goes to sleep as well.
          const { result, bench } = await watchWhile(
            variant,
            [
              { what: variant.good === false && what === 'HOST' ? 'pgood' : what, atMs: 1_000 },
              { what: 'sleeps', atMs: 1_000 + sleepsAfterMs },
              { what: 'pgood', atMs: 1_000 + sleepsAfterMs + 5 },
            ],
            stalls,
          );
          expect(isTold(bench)).toBe(0);
          expect(result.state).toBe('failed');
          expect(result.sequence.fault?.state).toBe('pgood');
        },
      ),
      RUNS,
    );
  });
});

describe('the service, when the host of its chassis', () => {
  let runDir = '';
  beforeEach(() => {
    runDir = mkdtempSync(join(tmpdir(), 'host-off-'));
  });
  afterEach(() => rmSync(runDir, { recursive: true }));

  const serve = async () => {
    const heard: string[] = [];
    const runs: ResidentRun[] = [];
    const views: ChassisView[] = [];
    const served = await startResident({
      runDir,
      board: boardOf(),
      initially: 'on',
      onLoss: async () => void heard.push('loss'),
      onHostOff: async () => void heard.push('host off'),
      onRunOver: (run) => void runs.push(run),
      onChange: (now) => void views.push(now),
    });
    const pass = (ms: number) =>
      served.clock.runUntil(new Promise<void>((resolve) => void served.clock.after(ms, resolve)));
    served.resident.begin();
    await pass(1_000);
    const strike = async (fault: string) => {
      served.plant.addFault(parseFault(fault, served.board));
      await pass(2_000);
    };
    return { ...served, heard, runs, views, strike };
  };

  it('switches itself off, shows a power-off, keeps the run, and tells of no loss', async () => {
    const { clock, resident, heard, runs, views, strike } = await serve();
    await strike('host HOST shuts down');
    expect(heard).toEqual(['host off']);
    expect(views.map(({ state }) => state)).toContain('opWaitPowerOff');
    expect(views.map(({ state }) => state)).not.toContain('fault');
    expect(resident.view).toMatchObject({ state: 'off', pgood: false, wanted: 'off', fault: null });
    expect(runs).toMatchObject([{ asked: 'watch', ended: 'off', error: null }]);
    // And is on again for whoever asks for it, and watched.
    await clock.runUntil(resident.request('on').done);
    await strike('pgood never');
    expect(heard).toEqual(['host off', 'loss']);
  });

  it('loses its power, tells of a loss', async () => {
    const { resident, heard, strike } = await serve();
    await strike('rail HOST shorts');
    expect(heard).toEqual(['loss']);
    expect(resident.view).toMatchObject({ state: 'failed' });
  });
});

describe('a sleep state that lies', () => {
  it('however it moves, and where it cannot be read, keeps no rail on, and delays none, that a loss switches off', async () => {
    const lie = fc.record({
      what: fc.constantFrom('sleeps', 'wakes', 'unread') satisfies fc.Arbitrary<What>,
      atMs: fc.integer({ min: 500, max: 2_000 }),
    });
    const loss = fc.constantFrom('HOST', 'VR', 'STANDBY', 'pgood') satisfies fc.Arbitrary<What>;
    await fc.assert(
      fc.asyncProperty(
        fc.constantFrom<Variant>(...VARIANTS, { alone: true }),
        fc.array(lie, { maxLength: 6 }),
        loss,
        fc.integer({ min: 600, max: 2_000 }),
        async (variant, lies, what, lostMs) => {
          // Nothing but its sleep shows the rail.
          const lost = variant.good === false && what === 'HOST' ? 'pgood' : what;
          const { bench, result } = await watchWhile(variant, [...lies, { what: lost, atMs: lostMs }]);
          expect(offAtMs(bench)).toBeLessThanOrEqual(lostMs + (variant.deglitchMs ?? 0) + HELD_MS);
          expect(bench.enabled()).not.toContain('STANDBY');
          // What shows the host off, its button is not pressed for: one that lies leaves it on, and that is told.
          if (!bench.enabled().includes('HOST')) return;
          expect(lies).toContainEqual(expect.objectContaining({ what: 'sleeps' }));
          const delivers = variant.alone && lost !== 'HOST';
          if (delivers) expect([result.state, powerSeen(result.sequence)]).toEqual(['failed', true]);
        },
      ),
      RUNS,
    );
  });

  it.each(VARIANTS)('and says asleep of a host that runs on hides no loss: %j', async (variant) => {
    const { result, bench } = await watchWhile(variant, [
      { what: 'sleeps', atMs: 1_000 },
      { what: 'pgood', atMs: 5_000 },
    ]);
    expect(told(result)).toMatch(/^failed: (railLost|pgoodLost)$/);
    expect(isTold(bench)).toBe(0);
    // Seen by nothing else, the host is lost as soon as its power should have gone.
    const atMs = (result.sequence.fault?.atMs ?? 0) - bench.plant.startMs;
    if (variant.good === false) expect(atMs).toBeLessThan(1_000 + WINDOW_MS + 100);
    else expect(atMs).toBeGreaterThanOrEqual(5_000);
  });

  it('for a moment does not end a host that runs on', async () => {
    const { result, bench } = await watchWhile({ good: false }, [
      { what: 'sleeps', atMs: 1_000 },
      { what: 'wakes', atMs: 1_300 },
    ]);
    expect(told(result)).toBe('pgood');
    expect(bench.enabled()).toHaveLength(2);
  });

  it('for a moment hides no loss after it', async () => {
    const { result } = await watchWhile({}, [
      { what: 'sleeps', atMs: 1_000 },
      { what: 'wakes', atMs: 1_100 },
      { what: 'pgood', atMs: 1_150 },
    ]);
    expect(told(result)).toBe('failed: pgoodLost');
  });

  it('from the begin hides no loss, and neither does one that cannot be read', async () => {
    for (const fault of ['line rail HOST state read error at 1s', 'state HOST stuck on']) {
      const bench = createBench(boardOf(), { initially: 'on', faults: [fault] });
      bench.clock.after(2_000, () => bench.plant.addFault(bench.fault('host HOST shuts down')));
      expect(told(await bench.run(JOBS.watch))).toMatch(/^failed: /);
      expect(isTold(bench)).toBe(0);
    }
  });

  it('is seen by a power-on: nothing shows that the button was taken', async () => {
    const bench = createBench(boardOf(), { faults: ['state HOST stuck off'] });
    const { sequence } = await bench.run(JOBS.on);
    expect(sequence.fault?.errorCode).toBe('GPIO_PULSE_IGNORED');
  });
});

describe('the sequence, of a sleep that is told by itself,', () => {
  const chassis = boardOf({ deglitchMs: 5 }).chassis['0'];
  if (!chassis) throw new RangeError('no chassis 0');
  const plan = planOf(chassis, {});
  type Told =
    | { readonly seen: SleepSeen; readonly atMs: number }
    | { readonly pgood: boolean; readonly atMs: number };
  /** What becomes of a chassis that is on. */
  const whatOf = (...told: readonly Told[]) => {
    const rails = Object.fromEntries(plan.rails.map(({ name }) => [name, { enabled: true, good: true }]));
    let snapshot = takeUp(plan, reconcile(plan, { rails, pgood: true, resetsAsserted: {} }, null, 0));
    const actions = told.flatMap((each) => {
      const { atMs } = each;
      const event =
        'seen' in each
          ? ({ type: 'HOST_SLEEP', ...each } as const)
          : ({ type: 'PGOOD_LEVEL', good: each.pgood, askedMs: atMs, atMs } as const);
      const next = step(snapshot, event);
      snapshot = next.snapshot;
      return next.actions.map(({ type }) => type);
    });
    return actions.includes('tellHostOff') ? 'host off' : actions.includes('raiseFault') ? 'lost' : 'on';
  };
  const isLost = [
    { pgood: false, atMs: 600 },
    { pgood: false, atMs: 605 },
  ];

  it('takes it from who was seen awake', () => {
    expect(whatOf({ seen: 'awake', atMs: 1 }, { seen: 'leaving', atMs: 500 }, ...isLost)).toBe('host off');
    expect(whatOf({ seen: 'leaving', atMs: 500 }, ...isLost)).toBe('lost');
    expect(
      whatOf(
        { seen: 'awake', atMs: 1 },
        { seen: 'unread', atMs: 400 },
        { seen: 'leaving', atMs: 500 },
        ...isLost,
      ),
    ).toBe('lost');
  });

  it('and counts its time from the begin of the sleep, however often it is seen', () => {
    const sleeps = [
      { seen: 'awake', atMs: 1 },
      { seen: 'leaving', atMs: 100 },
    ] as const;
    expect(whatOf(...sleeps, { seen: 'leaving', atMs: 500 }, ...isLost)).toBe('lost');
    const again = [
      { seen: 'awake', atMs: 450 },
      { seen: 'leaving', atMs: 500 },
    ] as const;
    expect(whatOf(...sleeps, ...again, ...isLost)).toBe('host off');
  });

  it('and of no chassis that something is missing of, though it was there again in between', () => {
    const missing = { pgood: false, atMs: 598 };
    expect(whatOf({ seen: 'awake', atMs: 1 }, missing, { seen: 'leaving', atMs: 599 }, ...isLost)).toBe(
      'lost',
    );
  });
});

describe('a host that loses its power and goes to sleep for that', () => {
  it.each(['rail HOST shorts', 'rail HOST droops', 'rail VR shorts', 'pgood never', 'rail STANDBY shorts'])(
    'is lost: %s',
    async (fault) => {
      for (const variant of VARIANTS) {
        const bench = createBench(boardOf(variant), { initially: 'on' });
        bench.clock.after(1_000, () => bench.plant.addFault(bench.fault(fault)));
        expect(told(await bench.run(JOBS.watch))).toMatch(/^failed: (railLost|pgoodLost)$/);
        expect(isTold(bench)).toBe(0);
      }
    },
  );
});

describe('a board file with a sleep state', () => {
  const problemsOf = (
    change: (rails: Record<string, Record<string, unknown>>, chassis: Record<string, unknown>) => void,
  ) => {
    const rails: Record<string, Record<string, unknown>> = {
      HOST: { enable: { pulse: line(2), state: line(3), sleepState: true }, good: line(4) },
    };
    const chassis: Record<string, unknown> = { rails, pgood: line(5) };
    change(rails, chassis);
    const devices = { vr: { bus: 1, address: '0x20' } };
    return checkBoard({ name: 'sleeps', devices, chassis: { 0: chassis } }).problems.map(
      ({ path, message }) => `${path}: ${message}`,
    );
  };

  it('has a state, and lines that tell of its power', () => {
    const at = 'chassis.0.rails.HOST.enable.sleepState';
    expect(problemsOf(() => undefined)).toEqual([]);
    expect(
      problemsOf((rails) =>
        Object.assign(rails.HOST ?? {}, { enable: { pulse: line(2), sleepState: true } }),
      ),
    ).toEqual([`${at}: the sleep state of HOST is what "state" shows, and there is none`]);
    const page = { pmbus: 'vr', page: 0, status: true };
    expect(problemsOf((rails) => Object.assign(rails.HOST ?? {}, { good: page }))).toEqual([
      `${at}: whether HOST went to sleep before its power went is seen by the good signal of HOST, which is not one line`,
    ]);
    expect(problemsOf((_, chassis) => Object.assign(chassis, { pgood: { rails: true } }))).toEqual([
      `${at}: whether HOST went to sleep before its power went is seen by pgood, which is not one line`,
    ]);
  });

  it('has one such host', () => {
    const other = { enable: { pulse: line(12), state: line(13), sleepState: true }, good: line(14) };
    expect(problemsOf((rails) => Object.assign(rails, { OTHER: other }))).toEqual([
      'chassis.0.rails.OTHER.enable.sleepState: HOST has a sleep state already, and a chassis has one host that switches itself off',
    ]);
  });
});
