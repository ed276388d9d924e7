import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createMockGpio } from '../../mocks/backends/gpio.ts';
import { createMockI2c } from '../../mocks/backends/i2c.ts';
import { createMemoryDisk, type MemoryDisk } from '../../mocks/disk.ts';
import { parseFault } from '../../mocks/plant/faults.ts';
import { createPlant } from '../../mocks/plant/plant.ts';
import { createVirtualClock } from '../../mocks/virtual-clock.ts';
import { runCommandLine } from '../../src/cli/main.ts';
import { unprintableIn } from '../../src/printable.ts';
import { entriesOf } from '../../src/report/kept-entries.ts';
import { bootOf, runText, traceText } from '../../src/report/run-text.ts';
import { renderSvg } from '../../src/report/timing-diagram.ts';
import type { KeptRun } from '../../src/store/black-box.ts';
import { draws } from '../draws.ts';
import { shippedBoard } from './bench.ts';
import { createVerbWorld } from './verb-world.ts';
import './load-verbs.ts';

const REFERENCE = join(import.meta.dirname, '..', '..', 'hw', 'boards', 'reference.json');
const board = shippedBoard('reference');

let dir = '';
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'kept-runs-'));
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

/** A chassis of the reference board and its disk, for one command after the other. */
function createChassis(faults: readonly string[] = []) {
  const clock = createVirtualClock();
  const plant = createPlant({
    board,
    clock,
    initially: 'off',
    faults: faults.map((each) => parseFault(each, board)),
  });
  const disk: MemoryDisk = createMemoryDisk();
  const stages: Readonly<Record<string, string>> = { start: 'op-power-start@0.service' };
  const run = async (line: string, bootId = 'boot', boardPath = REFERENCE) => {
    const args = line.split(' ');
    const pending: Promise<void>[] = [];
    const { world, printed } = createVerbWorld(
      {
        clock,
        gpio: async () => createMockGpio(plant),
        i2c: async () => createMockI2c(plant),
        disk: async () => disk,
        caller: () => stages[args[0] ?? ''] ?? 'root from bash',
        background: (work) => void pending.push(work),
        bootId: () => bootId,
        stateDir: '/state',
      },
      join(dir, 'run'),
    );
    const code = await clock.runUntil(runCommandLine([...args, '--board', boardPath], world));
    await clock.runUntil(Promise.all(pending));
    const { stdout, stderr } = printed();
    return {
      code,
      stdout,
      stderr,
      enabled: plant.lines().filter((each) => each.role === 'enable' && each.asserted).length,
    };
  };
  return { run, disk, plant, clock };
}
const FILES = (disk: MemoryDisk) => Object.keys(disk.files());

describe('a command', () => {
  it('keeps what it knew: the request, who, the boot, the times of each rail, the outcome and the trace', async () => {
    const { run } = createChassis();
    expect((await run('on')).code).toBe(0);
    const { stdout } = await run('trace --json');
    const kept = JSON.parse(stdout);
    expect(kept).toMatchObject({
      number: 1,
      chassis: 0,
      asked: ['on'],
      by: ['root from bash'],
      bootId: 'boot',
      startedAt: expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/),
      board: { name: board.name },
      ended: 'pgood',
      failure: null,
      fault: null,
      left: 0,
    });
    const rails = Object.keys(board.chassis['0']?.rails ?? {});
    expect(Object.keys(kept.times).sort()).toEqual(rails.sort());
    for (const { enabledMs, goodMs, disabledMs, goneMs } of Object.values<Record<string, number | null>>(
      kept.times,
    )) {
      expect([enabledMs, disabledMs, goneMs]).toEqual([expect.any(Number), null, null]);
      if (goodMs !== null) expect(goodMs).toBeGreaterThanOrEqual(enabledMs ?? 0);
    }
    expect(kept.trace.map((entry: { type: string }) => entry.type)).toEqual(
      expect.arrayContaining(['reconciled', 'request', 'enable', 'rail', 'pgood', 'state']),
    );
  });

  it('that fails keeps its fault with the evidence, for fault show in a later boot', async () => {
    const { run } = createChassis(['rail P1V8 never good']);
    expect((await run('on')).code).toBe(101);
    const { stdout, stderr, code } = await run('fault show', 'next');
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    expect(stdout).toMatch(/^run 1 {2}\d{4}-.* UTC, an earlier boot: on by root from bash\n/);
    expect(stdout).toMatch(
      / {2}ended: rail P1V8 was not good within \d+ ms of its enable; the power was taken down\n/,
    );
    expect(stdout).toMatch(/ {2}fault: rail P1V8 was not good .* \(in op-power-start, rail P1V8\)\n/);
    expect(stdout).toMatch(/^ {2}rail P1V8 +enabled [\d.]+ ms {2}disabled [\d.]+ ms/m);
    expect(stdout).toMatch(/STATUS_WORD/);
    expect(stdout).toMatch(/^ {2}diagnosis: .*P1V8/m);
    const json = JSON.parse((await run('fault show 1 --json', 'next')).stdout);
    expect(json).toMatchObject({
      number: 1,
      fault: { rail: 'P1V8', kind: 'railTimeout' },
      failure: { code: 'RAIL_FAULT', powerStillApplied: false },
    });
    expect(json.evidence.length).toBeGreaterThan(0);
    expect(json.diagnosis).toMatchObject({ rail: 'P1V8' });
    expect(json.trace).toBeUndefined();
  });

  it('that finds everything as it was asked for keeps nothing', async () => {
    const { run, disk } = createChassis();
    await run('on');
    const before = FILES(disk);
    for (const line of ['on', 'start', 'wait-on']) expect((await run(line)).code).toBe(0);
    expect(FILES(disk)).toEqual(before);
  });

  it('of a stage writes nothing to the disk before the second one is over: one write for a power-on', async () => {
    const { run, disk } = createChassis();
    await run('start');
    expect(FILES(disk)).toEqual([]);
    expect((await run('trace')).stdout).toMatch(/^run 1 .*: start by op-power-start@0\.service\n/);
    await run('wait-on');
    expect(FILES(disk)).toHaveLength(1);
    const { stdout } = await run('trace');
    expect(stdout).toMatch(/^run 1 .*: start, wait-on by op-power-start@0\.service, root from bash\n/);
    expect(stdout).toMatch(/^ +[\d.]+ ms {2}pgood: the chassis is on$/m);
    expect(stdout).toMatch(/ {2}ended: came to pgood\n$/);
  });

  it.each(['ENOSPC', 'EROFS', 'EACCES', 'hangs'] as const)(
    'switches as before on a disk that is broken, and says that its run is not kept: %s',
    async (broken) => {
      const { run, disk } = createChassis();
      disk.trouble = () => (broken === 'hangs' ? broken : { errno: broken });
      const on = await run('on');
      expect(on).toMatchObject({ code: 0, enabled: Object.keys(board.chassis['0']?.rails ?? {}).length });
      expect(on.stderr).toMatch(
        /^chassis-power: the run of chassis 0 is not kept in \/state\/chassis0-runs: .+\n$/,
      );
      expect(await run('off')).toMatchObject({ code: 0, enabled: 0 });
    },
  );

  it('has driven everything when the disk hears of its run', async () => {
    const { run, disk, plant } = createChassis();
    const enabledAtWrites: number[] = [];
    disk.trouble = () => {
      enabledAtWrites.push(plant.lines().filter((each) => each.role === 'enable' && each.asserted).length);
      return null;
    };
    await run('on');
    await run('off');
    const rails = Object.keys(board.chassis['0']?.rails ?? {}).length;
    expect(new Set(enabledAtWrites)).toEqual(new Set([rails, 0]));
  });
});

describe('status', () => {
  it('has the last failure, also of an earlier boot and after runs that went well', async () => {
    const { run, plant } = createChassis(['rail P1V8 never good']);
    expect((await run('status')).stdout).not.toContain('last failure');
    expect(JSON.parse((await run('status --json')).stdout).lastFailure).toBeNull();
    await run('on');
    plant.clearFaults();
    expect((await run('on')).code).toBe(0);
    const { stdout, code } = await run('status', 'next');
    expect(code).toBe(0);
    expect(stdout).toMatch(
      /^ {2}last failure: run 1 {2}\S+ \S+ UTC, an earlier boot: on by root from bash: rail P1V8 was not good .*$/m,
    );
    expect(JSON.parse((await run('status --json', 'next')).stdout).lastFailure).toMatchObject({
      number: 1,
      fault: { rail: 'P1V8' },
    });
  });
});

describe('trace and fault', () => {
  it('draw the timing diagram of a run that is kept, without the board file that it was of', async () => {
    const { run } = createChassis();
    await run('on');
    await run('off');
    const svg = join(dir, 'run.svg');
    const { code, stdout } = await run(`trace 1 --svg ${svg}`, 'next', join(dir, 'gone.json'));
    expect({ code, last: stdout.trim().split('\n').at(-1) }).toEqual({
      code: 0,
      last: `timing diagram: ${svg}`,
    });
    const picture = readFileSync(svg, 'utf8');
    for (const rail of Object.keys(board.chassis['0']?.rails ?? {}))
      expect(picture).toContain(`>${rail}</text>`);
  });

  it('say which numbers there are where one is not kept', async () => {
    const { run } = createChassis();
    await run('on');
    expect(await run('trace 7')).toMatchObject({
      code: 64,
      stderr: 'chassis-power: run 7 is not kept: there are 1\n',
    });
    expect(await run('fault show 1')).toMatchObject({
      code: 64,
      stderr: 'chassis-power: a failure 1 is not kept: there are none\n',
    });
    expect(await run('trace x')).toMatchObject({ code: 64 });
    expect(await run('fault look')).toMatchObject({
      code: 64,
      stderr: 'chassis-power: fault takes show or list, not "look": see --help\n',
    });
  });

  it('say that nothing is kept', async () => {
    const { run } = createChassis();
    expect(await run('trace')).toMatchObject({ code: 0, stdout: 'no run of chassis 0 is kept\n' });
    expect(await run('fault show')).toMatchObject({ code: 0, stdout: 'no failure of chassis 0 is kept\n' });
    expect(await run('fault list')).toMatchObject({ code: 0, stdout: 'no failure of chassis 0 is kept\n' });
    expect((await run('trace --json')).stdout).toBe('null\n');
    expect((await run('fault list --json')).stdout).toBe('[]\n');
  });

  it('list a line for each failure', async () => {
    const { run } = createChassis(['rail P1V8 never good']);
    await run('on');
    await run('on');
    const { stdout } = await run('fault list');
    expect(stdout.trim().split('\n')).toEqual([
      expect.stringMatching(/^run 1 .*: rail P1V8 was not good/),
      expect.stringMatching(/^run 2 .*: rail P1V8 was not good/),
    ]);
  });

  it('show whatever a file of ours may hold, and never break on it', () => {
    const entry = fc.oneof(
      fc
        .record(
          {
            type: fc.constantFrom(
              'reconciled',
              'state',
              'fault',
              'evidence',
              'diagnosis',
              'rail',
              'enable',
              'request',
              'novel',
            ),
            atMs: fc.double({ noNaN: true, min: 0, max: 1e6 }),
          },
          { requiredKeys: ['type', 'atMs'] },
        )
        .chain((base) =>
          fc
            .dictionary(
              fc.constantFrom(
                'to',
                'fault',
                'evidence',
                'diagnosis',
                'rails',
                'resetsAsserted',
                'state',
                'rail',
                'request',
                'good',
                'phase',
                'pgood',
                'hint',
                'unread',
              ),
              fc.anything(),
            )
            .map((rest) => ({ ...rest, ...base })),
        ),
    );
    fc.assert(
      fc.property(fc.array(entry, { maxLength: 12 }), (trace) => {
        const run = {
          number: 1,
          chassis: 0,
          asked: ['on'],
          by: ['me'],
          bootId: 'b',
          startedAt: '2026',
          startedMs: 0,
          tookMs: 1,
          board: { name: 'n', hash: 'h' },
          ended: null,
          failure: null,
          fault: null,
          rails: [{ name: 'A', observable: true }],
          resets: [{ name: 'R' }],
          times: {},
          trace,
          left: 0,
        } as unknown as KeptRun;
        const boot = bootOf('b');
        expect(runText(run, boot) + traceText(run, boot)).toContain('run 1');
        expect(renderSvg(entriesOf(run), run, 'x')).toContain('</svg>');
      }),
      { numRuns: draws(400) },
    );
  });

  describe('of a run that somebody has edited', () => {
    /** What a program prints that has nothing to print, or what commands a terminal. */
    const SENSELESS = /undefined|\bNaN\b|\bnull\b|\[object|(?!\n)\p{Cc}|\u2028|\u202e/u;
    type Json = null | boolean | number | string | Json[] | { [key: string]: Json };
    const replacement = fc.oneof(
      fc.constantFrom<Json>(null, true, 7, -1e300, 'word', '\u001b[2J\n', '\u009b1m', [], {}, [null], [{}], {
        A: {},
      }),
      fc.constant(undefined),
    );
    const placesIn = (value: Json, at: readonly string[] = []): (readonly string[])[] => [
      ...(at.length === 0 ? [] : [at]),
      ...(typeof value === 'object' && value !== null
        ? Object.entries(value).flatMap(([key, each]) => placesIn(each, [...at, key]))
        : []),
    ];
    /** The value with something else at a place, or without it. */
    const changed = (value: Json, at: readonly string[], other: Json | undefined): Json => {
      const copy = structuredClone(value);
      let parent = copy as { [key: string]: Json };
      for (const key of at.slice(0, -1)) parent = parent[key] as { [key: string]: Json };
      const last = at.at(-1) ?? '';
      if (other === undefined) delete parent[last];
      else parent[last] = other;
      return copy;
    };
    /** A run of a board with devices that failed, and whose disk was then edited. */
    const failedChassis = async () => {
      const chassis = createChassis(['rail PVDDQ never good']);
      await chassis.run('on');
      const [path = ''] = FILES(chassis.disk);
      return { ...chassis, path, whole: JSON.parse(chassis.disk.files()[path] ?? '') as Json };
    };
    const VERBS = ['fault show', 'fault list', 'trace', 'status', 'fault show --json', 'trace --json'];

    it('print nothing senseless, and say so where they pass it over', async () => {
      const { run, disk, path, whole } = await failedChassis();
      const types = (whole as { trace: { type: string }[] }).trace.map(({ type }) => type);
      expect(types).toEqual(expect.arrayContaining(['evidence', 'diagnosis', 'fault', 'state']));
      const places = placesIn(whole);
      await fc.assert(
        fc.asyncProperty(
          fc.constantFrom(...places),
          replacement,
          fc.constantFrom(...VERBS),
          async (at, other, verb) => {
            disk.put(path, JSON.stringify(changed(whole, at, other)));
            const { code, stdout, stderr } = await run(verb);
            const shown = verb.endsWith('--json') ? unprintableIn(stdout.trimEnd()) : SENSELESS.exec(stdout);
            expect({ code, shown }).toEqual({ code: 0, shown: null });
            expect(stderr).not.toMatch(SENSELESS);
            // What can be shown is shown, and what cannot is told of.
            if (/^(fault|trace)/.test(verb) && stderr === '') expect(stdout).not.toMatch(/is kept\n$/);
          },
        ),
        { numRuns: draws(1_500) },
      );
    });

    it.each(['rail P1V8 never good', 'rail PVDDQ never good', 'pgood never', 'gpio read error at 100ms'])(
      'leave out nothing of one that nobody has edited: %s',
      async (fault) => {
        const { run } = createChassis([fault]);
        await run('on');
        await run('off');
        for (const line of ['trace 1', 'trace', 'fault show']) {
          expect((await run(line)).stdout).not.toContain('not kept');
        }
      },
    );

    it('draw a timing diagram', async () => {
      const { whole } = await failedChassis();
      fc.assert(
        fc.property(
          fc.constantFrom(...placesIn((whole as { trace: Json }).trace)),
          replacement,
          (at, other) => {
            const trace = changed((whole as { trace: Json }).trace, at, other) as unknown as KeptRun['trace'];
            const run = {
              ...(whole as unknown as KeptRun),
              number: 1,
              trace: trace.filter((each) => typeof each?.type === 'string' && Number.isFinite(each.atMs)),
            };
            const svg = renderSvg(entriesOf(run), run, 'x');
            expect(svg).toContain('</svg>');
            expect(svg).not.toMatch(/undefined|\bNaN\b|\[object/);
          },
        ),
        { numRuns: draws(400) },
      );
    });
  });
});
