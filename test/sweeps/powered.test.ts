/** PMBus devices that have their power from a rail of the chassis. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type { LineRef } from '../../hw/ports.ts';
import { pause } from '../../hw/waiting.ts';
import { createMockGpio } from '../../mocks/backends/gpio.ts';
import { createMockI2c } from '../../mocks/backends/i2c.ts';
import { parseFault } from '../../mocks/plant/faults.ts';
import type { Board } from '../../src/board/schema.ts';
import { runCommandLine } from '../../src/cli/main.ts';
import { linesOf } from '../../src/report/lines.ts';
import { openChassis } from '../../src/run/hardware.ts';
import { JOBS } from '../../src/run/jobs.ts';
import type { RunResult } from '../../src/run/runner.ts';
import { reconcile } from '../../src/sequence/reconcile.ts';
import type { Loss } from '../../src/service/resident.ts';
import { checkBoard } from '../check-board.ts';
import { type Bench, createBench } from '../unit/bench.ts';
import { startResident } from '../unit/start-resident.ts';
import { createVerbWorld } from '../unit/verb-world.ts';
import '../unit/load-verbs.ts';

// Properties take their time on a machine that is busy.
vi.setConfig({ testTimeout: 60_000 });

const CHIP = 'gpio';
const line = (offset: number) => ({ chip: CHIP, line: offset });
const vout = (pmbus: string, page = 0) => ({ pmbus, page, minVolts: 0.9, maxVolts: 1.1 });
const times = { nominalVolts: 1, settleMs: 8, onTimeoutMs: 200, offTimeoutMs: 200 };

interface Variant {
  /** P has no signal of its own. */
  readonly blind?: boolean;
  /** H, which has a signal, comes before P. */
  readonly fed?: boolean;
  readonly latch?: boolean;
  readonly deglitchMs?: number;
  /** `first` powers `second`, whose rail is seen by it alone. */
  readonly chained?: boolean;
}

/** P is switched by a line; VDD, and VIO through VDD, by a device that P powers; S, beside them, by lines. */
function boardOf({
  blind = false,
  fed = false,
  latch = false,
  deglitchMs = 0,
  chained = false,
}: Variant = {}): Board {
  const { board, problems } = checkBoard({
    name: 'powered',
    devices: {
      first: { bus: 1, address: '0x40', poweredBy: 'P' },
      ...(chained ? { second: { bus: 1, address: '0x41', poweredBy: 'VIO' } } : {}),
    },
    chassis: {
      0: {
        rails: {
          // Written in another order than they rise.
          ...(chained
            ? { VLAST: { ...times, enable: { pmbus: 'second' }, good: vout('second'), needs: ['VIO'] } }
            : {}),
          VIO: { ...times, enable: { pmbus: 'first', page: 1 }, good: vout('first', 1), needs: ['VDD'] },
          VDD: { ...times, enable: { pmbus: 'first' }, good: vout('first'), needs: ['P'] },
          // So long that the device can be met while it starts.
          P: {
            ...times,
            settleMs: 100,
            enable: line(0),
            ...(blind ? {} : { good: line(1) }),
            needs: fed ? ['H'] : [],
          },
          ...(fed ? { H: { ...times, enable: line(7), good: line(8) } } : {}),
          S: { ...times, enable: line(2), good: line(3), needs: ['P'] },
        },
        pgood: { ...line(4), deglitchMs, onTimeoutMs: 500, offTimeoutMs: 500 },
        resets: { CPU: { ...line(5), active: 'low' } },
        ...(latch ? { latch: line(6) } : {}),
        evidence: ['first'],
      },
    },
  });
  if (!board) throw new TypeError(JSON.stringify(problems));
  return board;
}

const VARIANTS: readonly [string, Variant][] = [
  ['a rail with a signal', {}],
  ['a rail without one', { blind: true }],
  ['a rail without one, which needs one with a signal', { blind: true, fed: true }],
  ['a rail of a board with a latch', { latch: true }],
  ['a rail without a signal, on a board with a latch', { blind: true, latch: true }],
  ['a rail that another device behind a rail switches', { chained: true, deglitchMs: 20 }],
];

/** Transfers with a device that had no power. */
const asked = ({ plant }: Bench) => plant.history.filter(({ type }) => type === 'unpowered');
/** What the run told of lines and devices that failed. */
const blamed = ({ recording }: Bench) =>
  recording
    .filter(({ type }) => type === 'readFailed' || type === 'driveFailed')
    .flatMap(linesOf)
    .map(({ text }) => text);
const faultOf = ({ sequence: { fault } }: RunResult) => fault && [fault.kind, fault.rail];

describe.each(VARIANTS)('a device that is powered by %s', (_, variant) => {
  it('is not asked before that rail is good, and does not keep the chassis from powering on', async () => {
    const bench = createBench(boardOf(variant));
    expect((await bench.run(JOBS.start)).state).toBe('opWaitPowerOn');
    expect((await bench.run(JOBS.waitOn)).state).toBe('pgood');
    expect(bench.enabled().sort()).toEqual(Object.keys(bench.board.chassis['0']?.rails ?? {}).sort());
    expect([asked(bench), blamed(bench), bench.plant.hazards]).toEqual([[], [], []]);
  });

  it('goes off before that rail, and its silence after that is no fault', async () => {
    const bench = createBench(boardOf(variant), { initially: 'on' });
    expect((await bench.run(JOBS.stop)).state).toBe('opWaitPowerOff');
    expect((await bench.run(JOBS.waitOff)).state).toBe('off');
    expect(bench.enabled()).toEqual([]);
    expect([asked(bench), blamed(bench), bench.plant.hazards]).toEqual([[], [], []]);
  });

  it('is neither asked nor written to by a power-off of a chassis that is off', async () => {
    const bench = createBench(boardOf(variant));
    for (const job of [JOBS.off, JOBS.stop, JOBS.waitOff, JOBS.clear]) {
      expect((await bench.run(job)).state).toBe('off');
    }
    expect([asked(bench), blamed(bench)]).toEqual([[], []]);
  });

  it('is taken up by the next process wherever a process was killed', async () => {
    for (let calls = 1; calls <= 12; calls += 1) {
      for (const when of ['before', 'after'] as const) {
        for (const [job, state] of [
          [JOBS.on, 'pgood'],
          [JOBS.off, 'off'],
        ] as const) {
          const bench = createBench(boardOf(variant));
          if ((await bench.runKilled(JOBS.on, calls, when)) === 'ended') continue;
          const result = await bench.run(job);
          expect([calls, when, result.state]).toEqual([calls, when, state]);
          expect([blamed(bench), bench.plant.hazards]).toEqual([[], []]);
        }
      }
    }
  });

  it('is not blamed where that rail is lost: the rail that went first is', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.nat(400),
        fc.constantFrom('shorts', 'droops'),
        fc.constantFrom('on', 'watch'),
        async (atMs, does, job) => {
          const first = variant.fed ? 'H' : 'P';
          const faults = [`rail ${first} ${does} at ${atMs}ms`];
          const bench = createBench(boardOf(variant), { faults, initially: job === 'on' ? 'off' : 'on' });
          const result = await bench.run(JOBS[job as 'on' | 'watch']);
          // It came after the chassis was on.
          if (result.state === 'pgood') return;
          expect(result.state).toBe('failed');
          expect(bench.enabled()).toEqual([]);
          // Nothing shows that a rail without a signal is lost: what stands behind it is all that tells.
          if (variant.blind && !variant.fed) return;
          expect(blamed(bench)).toEqual([]);
          expect([
            ['railTimeout', first],
            ['railLost', first],
            ['pgoodLost', null],
          ]).toContainEqual(faultOf(result));
        },
      ),
      { numRuns: 60 },
    );
  });

  it('is blamed where it is silent though it has its power', async () => {
    const bench = createBench(boardOf(variant), { faults: ['i2c first nack'] });
    const result = await bench.run(JOBS.on);
    expect([result.state, faultOf(result)]).toEqual([
      'failed',
      ['hardware', expect.stringMatching(/VDD|VIO/)],
    ]);
    expect(bench.enabled()).toEqual([]);
  });
});

it('a rail that drops in the moment in which its device is switched on is what the power-on fails for', async () => {
  const bench = createBench(boardOf({ deglitchMs: 50 }));
  let isArmed = true;
  const result = await bench.run(JOBS.on, {
    hardware: (opened) => ({
      ...opened,
      driveEnable(rail, asserted) {
        if (rail === 'VDD' && asserted && isArmed) bench.plant.addFault(bench.fault('rail P shorts'));
        isArmed &&= rail !== 'VDD';
        return opened.driveEnable(rail, asserted);
      },
    }),
  });
  expect([result.state, faultOf(result)]).toEqual(['failed', ['railLost', 'P']]);
});

it('a rail that never came does not hold up the power-off of what only its device shows', async () => {
  const { board } = checkBoard({
    name: 'shown',
    devices: { monitor: { bus: 1, address: '0x40', poweredBy: 'P' } },
    chassis: {
      0: {
        rails: {
          P: { ...times, enable: line(0), good: line(1) },
          VDD: { ...times, enable: line(2), good: vout('monitor'), needs: ['P'] },
        },
        pgood: line(4),
      },
    },
  });
  if (!board) throw new TypeError('refused');
  const bench = createBench(board, { initially: 'on', faults: ['rail P never good'] });
  // Without a state file the enables alone say that power is coming.
  await bench.clock.advance(500);
  const result = await bench.run(JOBS.on);
  expect([result.state, faultOf(result)]).toEqual(['failed', ['railTimeout', 'P']]);
  expect([bench.enabled(), blamed(bench)]).toEqual([[], []]);
});

it('a rail whose signal only says that it is lost does not go off under its device', async () => {
  const bench = createBench(boardOf(), { initially: 'on', faults: ['good P stuck off at 50ms'] });
  const result = await bench.run(JOBS.watch);
  expect([result.state, faultOf(result)]).toEqual(['failed', ['railLost', 'P']]);
  expect([bench.enabled(), bench.plant.hazards]).toEqual([[], []]);
});

it('a watch that begins while the rail is down acts on the loss', async () => {
  const bench = createBench(boardOf());
  await bench.run(JOBS.on);
  bench.plant.addFault(bench.fault('rail P shorts'));
  const result = await bench.run(JOBS.watch);
  expect([result.state, faultOf(result)]).toEqual(['failed', ['railLost', 'P']]);
  expect([bench.enabled(), blamed(bench)]).toEqual([[], []]);
});

it('a device that has no power is told as such in the evidence, and is no error of a bus', async () => {
  const bench = createBench(boardOf(), { faults: ['rail S never good'] });
  expect(faultOf(await bench.run(JOBS.on))).toEqual(['railTimeout', 'S']);
  const entry = bench.recording.find(({ type }) => type === 'evidence');
  if (entry?.type !== 'evidence') throw new Error('no evidence');
  expect(entry.evidence).toHaveLength(2);
  for (const { statusWord, error } of entry.evidence) {
    expect([statusWord, error]).toEqual([null, 'not asked: it has no power, rail P is not good']);
  }
  expect(linesOf(entry).map(({ text }) => text)).toEqual(
    [1, 0].map((page) => `evidence: first page ${page}: not asked: it has no power, rail P is not good`),
  );
  expect(asked(bench)).toEqual([]);
});

it('what is seen of a chassis says which signals were not asked for, and which rail is missing', async () => {
  const bench = createBench(boardOf({ chained: true }));
  const ports = {
    gpio: async () => createMockGpio(bench.plant),
    i2c: async () => createMockI2c(bench.plant),
    clock: bench.clock,
  };
  const hardware = await openChassis(bench.board, 0, ports);
  const { observation, unreadable } = await bench.clock.runUntil(hardware.observe());
  await hardware.close();
  expect(unreadable).toEqual([]);
  expect(observation).not.toHaveProperty('unread');
  expect(observation.unpowered).toEqual([
    { signal: 'enable', rail: 'VIO', poweredBy: 'P' },
    { signal: 'good', rail: 'VIO', poweredBy: 'P' },
    { signal: 'enable', rail: 'VDD', poweredBy: 'P' },
    { signal: 'good', rail: 'VDD', poweredBy: 'P' },
    { signal: 'enable', rail: 'VLAST', poweredBy: 'VIO' },
    { signal: 'good', rail: 'VLAST', poweredBy: 'VIO' },
  ]);
  expect(reconcile(bench.plan, observation, null, 0).state).toBe('off');
});

it('where enables stand behind a latch, pgood tells of the power of a device', async () => {
  const bench = createBench(boardOf({ blind: true, latch: true }), { initially: 'on' });
  const gpio = createMockGpio(bench.plant);
  const ports = {
    // After a restart of the BMC the pin of P is an input, and reads off.
    gpio: async () => ({
      ...gpio,
      openOutput: async (ref: LineRef) => {
        const opened = await gpio.openOutput(ref);
        return 'line' in ref && ref.line === 0 ? { ...opened, read: async () => 0 as const } : opened;
      },
    }),
    i2c: async () => createMockI2c(bench.plant),
    clock: bench.clock,
  };
  const hardware = await openChassis(bench.board, 0, ports);
  const { observation } = await bench.clock.runUntil(hardware.observe());
  expect(observation).not.toHaveProperty('unpowered');
  expect(observation.rails.VDD).toEqual({ enabled: true, good: true });
  expect(await bench.clock.runUntil(hardware.readGood('VDD'))).toBe(true);
  bench.plant.hold(line(4), 0);
  expect((await bench.clock.runUntil(hardware.observe())).observation.rails.VDD).toEqual({
    enabled: false,
    good: false,
  });
  expect(await bench.clock.runUntil(hardware.readGood('VDD'))).toBe(false);
  await hardware.close();
});

it('a board without such a device has nothing of it in what is seen', async () => {
  const bench = createBench('reference');
  await bench.run(JOBS.on);
  expect(bench.recording.find(({ type }) => type === 'reconciled')).not.toHaveProperty('unpowered');
  expect(bench.plan.rails.flatMap(({ poweredBy }) => poweredBy)).toEqual([]);
});

describe('who asks about a chassis that is off gets an answer, though a device has no power', () => {
  let dir = '';
  beforeEach(() => {
    dir = mkdtempSync(join(tmpdir(), 'chassis-power-powered-'));
  });
  afterEach(() => rmSync(dir, { recursive: true }));
  const say = async (...args: string[]) => {
    const bench = createBench(boardOf());
    const path = join(dir, 'board.json');
    writeFileSync(path, JSON.stringify(bench.board));
    const { clock, plant } = bench;
    const gpio = createMockGpio(plant);
    const { world, printed } = createVerbWorld(
      { clock, gpio: async () => gpio, i2c: async () => createMockI2c(plant) },
      dir,
    );
    const code = await clock.runUntil(runCommandLine([...args, '--board', path, '--run-dir', dir], world));
    expect([code, printed().stderr, asked(bench)]).toEqual([0, '', []]);
    return printed().stdout;
  };

  it('status: the rails of the device, and the rail that is missing', async () => {
    const text = await say('status');
    expect(text).toContain('chassis 0  off  pgood not asserted\n');
    expect(text).toMatch(/rail VDD +disabled +not good/);
    expect(text).toContain('first page 0: not asked: it has no power, rail P is not good\n');
    const { state, rails, devices, unread } = JSON.parse(await say('status', '--json'));
    expect([state, unread]).toEqual(['off', []]);
    expect(rails.VDD).toMatchObject({ enabled: false, good: false, phase: 'down' });
    expect(devices).toContainEqual(
      expect.objectContaining({ page: 1, error: 'not asked: it has no power, rail P is not good' }),
    );
  });

  it('adopt and release', async () => {
    expect(await say('adopt')).toBe('chassis 0 is off\n');
    expect(await say('release')).toContain('chassis 0');
  });

  it('the resident service, which powers it on, and tells a loss by the rail that went first', async () => {
    const losses: Loss[] = [];
    const { clock, plant, resident } = await startResident({
      runDir: dir,
      board: boardOf(),
      onLoss: async (loss) => void losses.push(loss),
    });
    expect(resident.view.state).toBe('off');
    resident.begin();
    await clock.runUntil(resident.request('on').done);
    expect(resident.view).toMatchObject({ state: 'pgood', pgood: true });
    await clock.advance(1_000);
    plant.addFault(parseFault('rail P shorts'));
    await clock.advance(2_000);
    expect(losses.map(({ sequence }) => sequence.fault?.reason)).toEqual([
      expect.stringMatching(/rail P dropped|pgood was lost/),
    ]);
    expect(resident.view).toMatchObject({ state: 'failed', pgood: false });
    await clock.runUntil(resident.stop('test'));
    plant.close();
  });
});

describe('poweredBy is checked', () => {
  const problemsWith = (poweredBy: string, needs: Record<string, string[]> = {}) => {
    const rails = Object.fromEntries(
      ['P', 'VDD', 'OTHER'].map((name, index) => [
        name,
        {
          enable: name === 'VDD' ? { pmbus: 'vr' } : line(index),
          needs: needs[name] ?? [],
        },
      ]),
    );
    return checkBoard({
      name: 'checked',
      devices: { vr: { bus: 1, address: '0x40', poweredBy } },
      chassis: { 0: { rails, pgood: line(9) } },
    }).problems.map(({ path, message, suggestion }) => [path, message, suggestion]);
  };

  it('a rail that needs it through another one passes', () => {
    expect(problemsWith('P', { VDD: ['OTHER'], OTHER: ['P'] })).toEqual([]);
  });

  it('an unknown rail is told with what was meant', () => {
    expect(problemsWith('0THER', { VDD: ['OTHER'] })).toEqual([
      [
        'devices.vr.poweredBy',
        '"0THER", which powers vr, is not a rail of its chassis',
        'did you mean "OTHER"?',
      ],
    ]);
  });

  it('a rail of the device that does not need it is told', () => {
    expect(problemsWith('P')).toEqual([
      [
        'devices.vr.poweredBy',
        'rail VDD is of vr, which has its power from P, and does not need P',
        'add "P" to the needs of VDD',
      ],
    ]);
  });

  it('a device that would have to power itself is told', () => {
    expect(problemsWith('VDD').map(([path, message]) => [path, message])).toEqual([
      [
        'devices.vr.poweredBy',
        'vr switches or shows rail VDD, which is to power it: neither could come first',
      ],
    ]);
  });

  it('a device of two chassis has no rail that could power it', () => {
    const chassis = (page: number) => ({
      rails: {
        P: { enable: line(page), needs: [] },
        VDD: { enable: { pmbus: 'vr', page }, needs: ['P'] },
      },
      pgood: line(10 + page),
    });
    const { problems } = checkBoard({
      name: 'shared',
      devices: { vr: { bus: 1, address: '0x40', poweredBy: 'P' } },
      chassis: { 0: chassis(0), 1: chassis(1) },
    });
    expect(problems.map(({ message }) => message)).toEqual([
      'vr serves chassis 0 and 1, and a rail powers devices of its own chassis only',
    ]);
  });
});

describe('a power-off that takes longer to switch what powers a device than that has to fall', () => {
  it('calls it stuck only by what is read when it was switched, also where what it powers is read meanwhile', async () => {
    const board = boardOf();
    const { P } = board.chassis['0']?.rails ?? {};
    if (P === undefined) throw new RangeError('no rail P');
    P.offTimeoutMs = 50;
    const bench = createBench(board, { initially: 'on', faults: ['rail VDD slow off 150ms'] });
    const { state, sequence } = await bench.run(JOBS.off, {
      hardware: (opened) => ({
        ...opened,
        async driveEnable(rail, asserted) {
          if (rail === 'P') await pause(bench.clock, 180);
          await opened.driveEnable(rail, asserted);
        },
      }),
    });
    expect([state, sequence.fault]).toEqual(['off', null]);
    expect(bench.enabled()).toEqual([]);
  });
});
