import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createDisk } from '../../hw/disk.ts';
import { createMemoryDisk, type MemoryDisk } from '../../mocks/disk.ts';
import { settleRun } from '../../src/run/run-record.ts';
import {
  type BlackBox,
  createBlackBox,
  hasFailed,
  type KeptRun,
  MOST_BYTES,
  MOST_RUNS,
  type RunRecord,
  runsFolder,
} from '../../src/store/black-box.ts';
import { draws } from '../draws.ts';
import { createManualClock } from './manual-clock.ts';

let dir = '';
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'black-box-'));
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

const FOLDER = runsFolder('/state', 0);
const boxOn = (disk: MemoryDisk, clock = createManualClock()): BlackBox =>
  createBlackBox({ stateDir: '/state', runDir: dir, chassis: 0, disk, clock });

/** A run by what it is told apart by: when it began. */
function runAt(startedMs: number, change: Partial<RunRecord> = {}): RunRecord {
  return {
    chassis: 0,
    asked: ['on'],
    by: ['somebody'],
    bootId: 'boot',
    startedAt: '2026-11-22T07:40:11.000Z',
    startedMs,
    tookMs: 12.5,
    board: { name: 'bench', hash: 'hash' },
    ended: 'pgood',
    failure: null,
    fault: null,
    rails: [{ name: 'P12V', observable: true }],
    resets: [],
    times: { P12V: { enabledMs: 1, goodMs: 2, disabledMs: null, goneMs: null } },
    trace: [
      { type: 'enable', atMs: 1, rail: 'P12V', asserted: true },
      { type: 'pgood', atMs: 3, level: true },
    ],
    left: 0,
    ...change,
  };
}
const FAILED: Partial<RunRecord> = {
  ended: 'failed',
  failure: { code: 'RAIL_FAULT', message: 'chassis 0: rail P12V was not good', powerStillApplied: false },
  fault: { kind: 'railTimeout', rail: 'P12V', state: 'opPowerStart', reason: 'late', errorCode: null },
};
const startsOf = (runs: readonly KeptRun[]) => runs.map(({ startedMs }) => startedMs);

describe('the black box', () => {
  it('has what was kept, numbered in its order, for any process after it', async () => {
    const disk = createMemoryDisk();
    expect(await boxOn(disk).keep(runAt(1))).toBeNull();
    expect(await boxOn(disk).keep(runAt(2, FAILED))).toBeNull();
    expect(await boxOn(disk).read()).toEqual({
      runs: [
        { ...runAt(1), number: 1 },
        { ...runAt(2, FAILED), number: 2 },
      ],
      problems: [],
    });
    const other = createBlackBox({
      stateDir: '/state',
      runDir: dir,
      chassis: 1,
      disk,
      clock: createManualClock(),
    });
    expect((await other.read()).runs).toEqual([]);
  });

  it('keeps the last runs and the last failures, the ones not at the cost of the others', async () => {
    const disk = createMemoryDisk();
    const box = boxOn(disk);
    for (let at = 1; at <= 3; at += 1) await box.keep(runAt(at, FAILED));
    for (let at = 4; at <= 40; at += 1) await box.keep(runAt(at));
    const { runs } = await box.read();
    expect(startsOf(runs.filter(hasFailed))).toEqual([1, 2, 3]);
    expect(startsOf(runs.filter((run) => !hasFailed(run)))).toEqual(
      Array.from({ length: MOST_RUNS }, (_, index) => 41 - MOST_RUNS + index),
    );
    // Numbers go on, so that a number means one run for ever.
    expect(runs.at(-1)?.number).toBe(40);
  });

  it('is bounded in bytes: of a trace that is too long the entries nearest to the fault are kept', async () => {
    const disk = createMemoryDisk();
    const entry = (index: number) => ({
      type: 'rail',
      atMs: index,
      rail: `R${index}`,
      phase: 'up',
      good: true,
    });
    const trace = Array.from({ length: 5_000 }, (_, index) => entry(index));
    const fault = { type: 'fault', atMs: 3_000, fault: { reason: 'late' } };
    const diagnosis = { type: 'diagnosis', atMs: 5_001, diagnosis: { rail: 'R7' } };
    await boxOn(disk).keep(
      runAt(1, { ...FAILED, trace: [...trace.slice(0, 3_000), fault, ...trace.slice(3_000), diagnosis] }),
    );
    const [text = ''] = Object.values(disk.files());
    expect(Buffer.byteLength(text)).toBeLessThanOrEqual(MOST_BYTES);
    expect(Buffer.byteLength(text)).toBeGreaterThan(MOST_BYTES * 0.9);
    const [run] = (await boxOn(disk).read()).runs;
    const times = run?.trace.map(({ atMs }) => atMs) ?? [];
    expect(times).toContain(3_000);
    expect(run?.trace.find(({ type }) => type === 'fault')).toEqual(fault);
    // What was made of it comes long after, and says the most.
    expect(run?.trace.at(-1)).toEqual(diagnosis);
    expect([Math.min(...times) > 2_000, Math.max(...times.slice(0, -1)) < 4_000]).toEqual([true, true]);
    expect((run?.left ?? 0) + times.length).toBe(5_002);
  });

  it('writes one file and removes at most one for a run', async () => {
    const disk = createMemoryDisk();
    const box = boxOn(disk);
    for (let at = 1; at <= MOST_RUNS + 3; at += 1) await box.keep(runAt(at));
    const before = disk.steps.length;
    await box.keep(runAt(99));
    expect(disk.steps.slice(before).map(({ step }) => step)).toEqual([
      'make',
      'create',
      'write',
      'sync',
      'rename',
      'syncDirectory',
      'remove',
    ]);
  });

  it('is whole after a loss of power at any write of any run: those before are there, and that one or not', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.boolean(), { minLength: 1, maxLength: 2 * MOST_RUNS + 4 }),
        fc.nat(140),
        fc.infiniteStream(fc.nat()),
        async (failures, cutAt, doubts) => {
          const runs = failures.map((fails, index) => runAt(index + 1, fails ? FAILED : {}));
          const disk = createMemoryDisk();
          disk.trouble = () => (disk.steps.length === cutAt ? 'cut' : null);
          const box = boxOn(disk);
          let done = 0;
          const writing = (async () => {
            for (const run of runs) {
              if ((await box.keep(run)) === null) done += 1;
            }
          })();
          await Promise.race([writing, new Promise((resolve) => setImmediate(resolve))]);
          const next = disk.afterCut((most) => (doubts.next().value ?? 0) % (most + 1));
          const after = await boxOn(next).read();
          expect(after.problems).toEqual([]);
          const expected = (upTo: number) =>
            [false, true].flatMap((fails) =>
              startsOf(runs.slice(0, upTo).map((run) => ({ ...run, number: 0 })))
                .filter((at) => failures[at - 1] === fails)
                .slice(-MOST_RUNS),
            );
          for (const at of expected(done)) {
            // The run under way may have let go of the oldest one of its kind.
            if (!expected(done + 1).includes(at)) continue;
            expect(startsOf(after.runs)).toContain(at);
          }
          for (const run of after.runs) expect(run).toMatchObject(runs[run.startedMs - 1] ?? {});
          // And it goes on, with room for as many, and clears away what was left unfinished.
          expect(await boxOn(next).keep(runAt(1_000))).toBeNull();
          const [last] = (await boxOn(next).read()).runs.slice(-1);
          expect(last?.startedMs).toBe(1_000);
          expect(Object.keys(next.files()).filter((path) => path.includes('/.'))).toEqual([]);
        },
      ),
      { numRuns: draws(300) },
    );
  });

  it.each<[string, string]>([
    ['run-000001-0badcafe.json', '{"schema":1,"chas'],
    ['run-000001-0badcafe.json', '\0\0\0\0'],
    ['run-000001-0badcafe.json', ''],
    ['fault-000001-0badcafe.json', '{"schema":2}'],
    ['run-000001-0badcafe.json', '[]'],
    ['notes.txt', 'a foreign file'],
    ['run-000001-0badcafe.json', 'x'.repeat(MOST_BYTES + 1)],
  ])('passes over a file that is no run and says so: %s', async (name, text) => {
    const disk = createMemoryDisk();
    disk.put(join(FOLDER, name), text);
    expect(await boxOn(disk).keep(runAt(7))).toBeNull();
    const { runs, problems } = await boxOn(disk).read();
    expect(startsOf(runs)).toEqual([7]);
    expect(problems).toEqual([expect.stringContaining(`${join(FOLDER, name)} is passed over: `)]);
  });

  it.each(['ENOSPC', 'EROFS', 'EACCES', 'EIO'])(
    'says why it could not, and keeps what it had: %s',
    async (errno) => {
      for (const step of ['make', 'create', 'write', 'sync', 'rename', 'syncDirectory'] as const) {
        const disk = createMemoryDisk();
        await boxOn(disk).keep(runAt(1));
        disk.trouble = (each) => (each === step ? { errno } : null);
        expect(await boxOn(disk).keep(runAt(2)), step).toBe(
          `the run of chassis 0 is not kept in ${FOLDER}: ${errno}`,
        );
        disk.trouble = () => null;
        expect(startsOf((await boxOn(disk).read()).runs)).toContain(1);
        expect(Object.keys(disk.files()).filter((path) => path.includes('/.'))).toEqual([]);
      }
    },
  );

  it('waits five seconds for a disk that does not answer, and remembers no more than four runs for it', async () => {
    const clock = createManualClock();
    const disk = createMemoryDisk();
    disk.trouble = () => 'hangs';
    const box = boxOn(disk, clock);
    const told: (string | null)[] = [];
    for (let at = 1; at <= 6; at += 1) void box.keep(runAt(at)).then((problem) => told.push(problem));
    await clock.advance(4_900);
    expect(told).toEqual(
      Array.from({ length: 2 }, () => expect.stringMatching(/has not answered for the runs before$/)),
    );
    await clock.advance(200);
    expect(told).toHaveLength(6);
    expect(told.at(-1)).toMatch(/the disk has not answered for 5 s$/);
  });

  it('keeps one of many requests that drove nothing and failed alike, so that asking again wears no flash', async () => {
    const disk = createMemoryDisk();
    const refused = (at: number, message = 'rejected: off for 3 s only') =>
      runAt(at, {
        trace: [{ type: 'request', atMs: 0 }],
        failure: { code: 'REQUEST_REJECTED', message, powerStillApplied: null },
      });
    await boxOn(disk).keep(refused(1));
    const before = disk.steps.filter(({ step }) => step !== 'make').length;
    for (let at = 2; at < 20; at += 1) await boxOn(disk).keep(refused(at));
    expect(disk.steps.filter(({ step }) => step !== 'make')).toHaveLength(before);
    await boxOn(disk).keep(refused(30, 'rejected: something else'));
    await boxOn(disk).keep(refused(31));
    expect(startsOf((await boxOn(disk).read()).runs)).toEqual([1, 30, 31]);
  });

  it('has both runs of two processes that write at once', async () => {
    const disk = createMemoryDisk();
    await Promise.all([boxOn(disk).keep(runAt(1)), boxOn(disk).keep(runAt(2))]);
    expect(startsOf((await boxOn(disk).read()).runs).sort()).toEqual([1, 2]);
  });

  it('has the last failure at hand, without a look at any run but those that failed', async () => {
    const disk = createMemoryDisk();
    expect(await boxOn(disk).lastFailure()).toBeNull();
    await boxOn(disk).keep(runAt(1, FAILED));
    await boxOn(disk).keep(runAt(2, FAILED));
    await boxOn(disk).keep(runAt(3));
    const asked: string[] = [];
    const counted = createBlackBox({
      stateDir: '/state',
      runDir: dir,
      chassis: 0,
      disk: {
        ...disk,
        read(path, most) {
          asked.push(path);
          return disk.read(path, most);
        },
      },
      clock: createManualClock(),
    });
    expect(await counted.lastFailure()).toMatchObject({ number: 2, startedMs: 2 });
    expect(asked).toHaveLength(1);
    disk.put(join(FOLDER, 'fault-000009-0badcafe.json'), 'torn');
    expect(await boxOn(disk).lastFailure()).toMatchObject({ number: 2 });
  });

  it('does not believe a file that others may write', async () => {
    const disk = createDisk();
    const box = createBlackBox({ stateDir: dir, runDir: dir, chassis: 0, disk, clock: createManualClock() });
    expect(await box.keep(runAt(1))).toBeNull();
    const path = join(runsFolder(dir, 0), 'run-000002-0badcafe.json');
    writeFileSync(
      path,
      readFileSync(join(runsFolder(dir, 0), (await disk.list(runsFolder(dir, 0)))[0] ?? '')),
      {
        mode: 0o666,
      },
    );
    const { chmodSync } = await import('node:fs');
    chmodSync(path, 0o666);
    expect(await box.read()).toMatchObject({
      runs: [{ number: 1 }],
      problems: [`${path} is passed over: others may write it`],
    });
  });

  it('says so where its folder cannot be read', async () => {
    writeFileSync(runsFolder(dir, 0), 'a file in its place');
    const box = createBlackBox({
      stateDir: dir,
      runDir: dir,
      chassis: 0,
      disk: createDisk(),
      clock: createManualClock(),
    });
    expect(await box.read()).toEqual({
      runs: [],
      problems: [`${runsFolder(dir, 0)} cannot be read (ENOTDIR)`],
    });
    expect(await box.keep(runAt(1))).toMatch(/is not kept in .*: EEXIST$/);
  });
});

describe('the two stages of a sequence', () => {
  const start = (change: Partial<RunRecord> = {}) =>
    runAt(1_000, { asked: ['start'], by: ['op-power-start@0.service'], ended: 'opWaitPowerOn', ...change });
  const waitOn = (change: Partial<RunRecord> = {}) =>
    runAt(1_500, {
      asked: ['wait-on'],
      by: ['op-wait-power-on@0.service'],
      times: { P12V: { enabledMs: null, goodMs: 7, disabledMs: null, goneMs: null } },
      trace: [{ type: 'state', atMs: 20, from: 'opWaitPowerOn', to: 'pgood' }],
      ...change,
    });

  it('are one run, and nothing is written to the disk between them', async () => {
    const disk = createMemoryDisk();
    expect(await settleRun(boxOn(disk), start())()).toBeNull();
    expect(disk.steps).toEqual([]);
    expect((await boxOn(disk).read()).runs).toEqual([{ ...start(), number: 1 }]);
    expect(await settleRun(boxOn(disk), waitOn())()).toBeNull();
    const { runs } = await boxOn(disk).read();
    expect(runs).toMatchObject([
      {
        number: 1,
        asked: ['start', 'wait-on'],
        by: ['op-power-start@0.service', 'op-wait-power-on@0.service'],
        startedMs: 1_000,
        tookMs: 512.5,
        times: { P12V: { enabledMs: 1, goodMs: 507 } },
        ended: 'pgood',
      },
    ]);
    expect(runs[0]?.trace.map(({ atMs }) => atMs)).toEqual([1, 3, 520]);
  });

  it('are two runs where another one came between, or the BMC started', async () => {
    for (const [next, expected] of [
      [runAt(1_500, { asked: ['off'] }), [['start'], ['off']]],
      [waitOn({ bootId: 'next' }), [['start'], ['wait-on']]],
    ] as const) {
      const disk = createMemoryDisk();
      await settleRun(boxOn(disk), start())();
      await settleRun(boxOn(disk), next)();
      expect((await boxOn(disk).read()).runs.map(({ asked }) => asked)).toEqual(expected);
    }
  });

  it('of which the first failed is written at once', async () => {
    const disk = createMemoryDisk();
    await settleRun(boxOn(disk), start(FAILED))();
    expect(Object.keys(disk.files())).toEqual([expect.stringContaining('/fault-000001-')]);
  });

  it('are written each where nothing can be put aside', async () => {
    mkdirSync(join(dir, 'chassis0-run.json'));
    const disk = createMemoryDisk();
    await settleRun(boxOn(disk), start())();
    await settleRun(boxOn(disk), waitOn())();
    expect((await boxOn(disk).read()).runs.map(({ asked }) => asked)).toEqual([['start'], ['wait-on']]);
  });

  it('that found nothing to do leave what was put aside', async () => {
    const disk = createMemoryDisk();
    await settleRun(boxOn(disk), start())();
    expect(await settleRun(boxOn(disk), null)()).toBeNull();
    expect((await boxOn(disk).read()).runs).toHaveLength(1);
    expect(disk.steps).toEqual([]);
  });

  it.each([
    // A second stage comes, in a process of its own.
    ['start', 'opWaitPowerOn', null, true],
    ['stop', 'opWaitPowerOff', null, true],
    // It ended otherwise: none goes on from it.
    ['start', 'pgood', null, false],
    ['stop', 'off', null, false],
    ['start', 'opWaitPowerOn', 'INTERRUPTED', false],
    // Both stages are one command.
    ['on', 'opWaitPowerOn', null, false],
    ['off', 'opWaitPowerOff', null, false],
  ] as const)(
    '%s that ends in %s with %s waits for one that goes on: %s',
    async (asked, ended, code, waits) => {
      const failure =
        code === null ? null : { code, message: 'it was asked to end', powerStillApplied: null };
      const run = runAt(1_000, { asked: [asked], ended, failure });
      const disk = createMemoryDisk();
      expect(await settleRun(boxOn(disk), run)()).toBeNull();
      expect(Object.keys(disk.files())).toHaveLength(waits ? 0 : 1);
      expect((await boxOn(disk).read()).runs).toEqual([{ ...run, number: 1 }]);
    },
  );

  it('have together what neither of them had room for', async () => {
    const disk = createMemoryDisk();
    await settleRun(boxOn(disk), start({ left: 3 }))();
    await settleRun(boxOn(disk), waitOn({ left: 4 }))();
    expect((await boxOn(disk).read()).runs).toMatchObject([{ asked: ['start', 'wait-on'], left: 7 }]);
  });

  it('that are two runs are told of where one of them could not be written, whichever it was', async () => {
    for (const broken of [1, 2]) {
      const disk = createMemoryDisk();
      await settleRun(boxOn(disk), start())();
      let writes = 0;
      disk.trouble = (step) => {
        if (step === 'write') writes += 1;
        return step === 'write' && writes === broken ? { errno: 'ENOSPC' } : null;
      };
      const problem = await settleRun(boxOn(disk), runAt(1_500, { asked: ['off'], ended: 'off' }))();
      expect(problem).toMatch(/is not kept in .*: ENOSPC$/);
      expect((await boxOn(disk).read()).runs).toHaveLength(1);
    }
  });
});
