import { getEventListeners } from 'node:events';
import { chmodSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import type { ChassisHardware } from '../../src/run/hardware.ts';
import type { Job } from '../../src/run/jobs.ts';
import { JOBS } from '../../src/run/jobs.ts';
import type { Recorded } from '../../src/run/record.ts';
import type { SnapshotStore } from '../../src/store/snapshot.ts';
import { createSnapshotFile } from '../../src/store/snapshot.ts';
import { sampled } from '../draws.ts';
import { type Bench, createBench } from './bench.ts';
import { pgoodLine } from './boards.ts';

const BOARDS = ['reference', 'openpower', 'ast2600-evb'] as const;

/** When a process is killed with a drive, and what is asked of the next one. */
const KILLS = (['before', 'after'] as const).flatMap((when) =>
  (['on', 'off'] as const).map((next) => ({ when, next })),
);

/** Enables in the order they were switched. */
function switched(bench: ReturnType<typeof createBench>, asserted: boolean): string[] {
  return bench.recording.flatMap((entry) =>
    entry.type === 'enable' && entry.asserted === asserted ? [entry.rail] : [],
  );
}

describe('an enable whose device did not acknowledge that it is to go off', () => {
  it.each(['on', 'off'] as const)('is driven once more at the end of a power-off (%s)', async (initially) => {
    const bench = createBench('reference', { initially });
    const { state } = await bench.run(JOBS.off, {
      record: (entry) => {
        if (entry.type === 'reconciled') bench.plant.addFault(bench.fault('i2c vr_ddr nack for 20ms'));
        bench.recording.push(entry);
      },
    });
    expect({ state, enabled: bench.enabled() }).toEqual({ state: 'off', enabled: [] });
    expect(bench.recording.filter(({ type }) => type === 'driveFailed')).toHaveLength(1);
    expect(bench.plant.hazards).toEqual([]);
  });

  it.each([
    ['a loss of pgood', JOBS.watch, 'on', 'pgood stuck off at 50ms', 'pgoodLost'],
    ['a fault on the way up', JOBS.on, 'off', 'good PVCORE stuck off', 'railTimeout'],
  ] as const)(
    'is driven once more after %s, and the fault is still that one',
    async (_title, job, initially, fault, kind) => {
      const bench = createBench('reference', { initially, faults: [fault] });
      const store: SnapshotStore = {
        load: () => bench.store.load(),
        save(state, sequence) {
          // Written before it is acted on.
          if (state === 'fault' && bench.store.hint?.state !== 'fault')
            bench.plant.addFault(bench.fault('i2c vr_ddr nack for 60ms'));
          return bench.store.save(state, sequence);
        },
      };
      const { state, sequence } = await bench.run(job, { store });
      expect({ state, kind: sequence.fault?.kind, enabled: bench.enabled() }).toEqual({
        state: 'failed',
        kind,
        enabled: [],
      });
      expect(bench.recording.filter(({ type }) => type === 'driveFailed')).toHaveLength(1);
    },
  );

  it('and that could not be read before the power-off either is read once more, and then it is done', async () => {
    const bench = createBench('reference', { initially: 'on', faults: ['i2c vr_ddr nack for 20ms'] });
    expect((await bench.run(JOBS.off)).state).toBe('off');
    expect(bench.enabled()).toEqual([]);
  });

  it('is not driven a third time, and the power-off fails', async () => {
    const bench = createBench('reference', { initially: 'on' });
    bench.plant.addFault(bench.fault('i2c vr_ddr nack'));
    expect((await bench.run(JOBS.off)).state).toBe('failed');
    expect(bench.recording.filter(({ type }) => type === 'driveFailed')).toHaveLength(2);
    expect(bench.enabled()).toEqual(['PVDDQ']);
  });

  it('is driven once more though a reset could not be held, and the power-off fails', async () => {
    const bench = createBench('reference', { initially: 'on' });
    const [reset] = bench.plan.resets;
    bench.plant.addFault(bench.fault('i2c vr_ddr nack for 20ms'));
    bench.plant.addFault(bench.fault(`line reset ${reset?.name} busy`));
    expect((await bench.run(JOBS.off)).state).toBe('failed');
    expect(bench.recording.filter(({ type }) => type === 'driveFailed')).toHaveLength(2);
  });

  it('is left as it is when the power-off is told twice to end', async () => {
    const bench = createBench('reference', { initially: 'on' });
    const abandon = new AbortController();
    const failures: Recorded[] = [];
    const run = bench.run(JOBS.off, {
      abandon: abandon.signal,
      record: (entry) => {
        if (entry.type === 'request') bench.plant.addFault(bench.fault('i2c vr_ddr nack'));
        if (entry.type !== 'driveFailed') return;
        failures.push(entry);
        bench.clock.after(20, () => abandon.abort('SIGINT'));
      },
    });
    await expect(run).rejects.toMatchObject({ code: 'INTERRUPTED' });
    expect(failures).toHaveLength(1);
    expect(bench.enabled()).toContain('PVDDQ');
  });
});

describe.each(BOARDS)('board %s', (board) => {
  it('comes up to pgood, goes down again, and nothing was ever at risk', async () => {
    const bench = createBench(board);
    expect((await bench.run(JOBS.on)).state).toBe('pgood');
    expect(bench.enabled().sort()).toEqual(bench.plan.rails.map(({ name }) => name).sort());
    expect((await bench.run(JOBS.off)).state).toBe('off');
    expect(bench.enabled()).toEqual([]);
    expect(bench.plant.hazards).toEqual([]);
    expect(bench.plant.misuses).toEqual([]);
  });

  it('comes up in two processes, as the oneshots do', async () => {
    const bench = createBench(board);
    expect((await bench.run(JOBS.start)).state).toBe('opWaitPowerOn');
    expect((await bench.run(JOBS.waitOn)).state).toBe('pgood');
    expect((await bench.run(JOBS.stop)).state).toBe('opWaitPowerOff');
    expect((await bench.run(JOBS.waitOff)).state).toBe('off');
    expect(bench.plant.hazards).toEqual([]);
  });

  it('comes up though the second process starts only after every deadline has passed', async () => {
    const bench = createBench(board);
    await bench.run(JOBS.start);
    await bench.clock.advance(60_000);
    expect((await bench.run(JOBS.waitOn)).state).toBe('pgood');
  });

  it('moves no line when what is asked for is already so', async () => {
    const bench = createBench(board);
    await bench.run(JOBS.on);
    const before = bench.changes();
    for (const job of [JOBS.start, JOBS.waitOn, JOBS.on, JOBS.clear]) {
      expect((await bench.run(job)).state).toBe('pgood');
    }
    expect(bench.changes()).toEqual(before);
    await bench.run(JOBS.off);
    const off = bench.changes();
    for (const job of [JOBS.stop, JOBS.waitOff, JOBS.off]) expect((await bench.run(job)).state).toBe('off');
    expect(bench.changes()).toEqual(off);
  });

  it('is adopted as it is after a restart of the BMC', async () => {
    const bench = createBench(board, { initially: 'on' });
    const before = bench.changes();
    expect((await bench.run(JOBS.start)).state).toBe('pgood');
    expect((await bench.run(JOBS.waitOn)).state).toBe('pgood');
    expect(bench.changes()).toEqual(before);
  });

  /** Tries a process that is killed at each of its drives, with those that come after it, up to one that comes to its end. */
  const killedAtEach = async (
    job: typeof JOBS.on | typeof JOBS.off,
    initially: 'off' | 'on',
    look: (bench: Bench, next: (typeof KILLS)[number]['next'], said: string) => void,
  ): Promise<void> => {
    for (let calls = 1; ; calls += 1) {
      for (const { when, next } of sampled(KILLS, 1, calls)) {
        const bench = createBench(board, { initially });
        const end = await bench.runKilled(job, calls, when);
        if (end === 'ended') {
          expect(calls).toBeGreaterThan(bench.plan.rails.length);
          return;
        }
        const said = `killed ${when} drive ${calls}, then ${next}`;
        expect((await bench.run(JOBS[next])).state, said).toBe(next === 'on' ? 'pgood' : 'off');
        expect(bench.plant.hazards, said).toEqual([]);
        look(bench, next, said);
      }
    }
  };

  it('goes on from wherever a killed power-on stopped', () =>
    killedAtEach(JOBS.on, 'off', ({ plant }, next, said) => {
      for (const { role, changes, line } of plant.lines()) {
        if (role === 'enable') expect(changes, `${line}, ${said}`).toBeLessThanOrEqual(next === 'on' ? 1 : 2);
      }
    }));

  it('goes on from wherever a killed power-off stopped', () => killedAtEach(JOBS.off, 'on', () => undefined));

  it('goes on though the state of the killed process was lost with it', async () => {
    for (let calls = 1; ; calls += 1) {
      const bench = createBench(board);
      if ((await bench.runKilled(JOBS.on, calls, 'after')) === 'ended') break;
      bench.store.hint = null;
      expect((await bench.run(JOBS.on)).state, `drive ${calls}`).toBe('pgood');
      expect(bench.plant.hazards).toEqual([]);
    }
  });
});

describe('switch first, then speak', () => {
  it('of a loss nothing is told before every enable is off', async () => {
    const bench = createBench('reference', { initially: 'on' });
    bench.clock.after(100, () => bench.plant.addFault(bench.fault('pgood never')));
    const told: { type: string; enabled: number }[] = [];
    const { state } = await bench.run(JOBS.watch, {
      record: ({ type }) => told.push({ type, enabled: bench.enabled().length }),
    });
    expect(state).toBe('failed');
    const since = told.findIndex(({ type }) => type === 'fault');
    expect(since).toBeGreaterThan(0);
    expect(told.slice(since).filter(({ enabled }) => enabled > 0)).toEqual([]);
  });

  it('in the order and with the times in which it happened', async () => {
    const bench = createBench('reference', { initially: 'on' });
    bench.clock.after(100, () => bench.plant.addFault(bench.fault('pgood never')));
    await bench.run(JOBS.watch);
    const times = bench.recording.map(({ atMs }) => atMs);
    expect(times).toEqual([...times].sort((a, b) => a - b));
    const fault = bench.recording.findIndex(({ type }) => type === 'fault');
    const off = bench.recording.findIndex((entry) => entry.type === 'enable' && !entry.asserted);
    expect(fault).toBeGreaterThan(0);
    expect(off).toBeGreaterThan(fault);
  });
});

describe('the reference board', () => {
  it('raises each rail as soon as what it needs is good, and lowers it in reverse', async () => {
    const bench = createBench('reference');
    await bench.run(JOBS.on);
    expect(switched(bench, true)).toEqual(['P12V', 'P5V', 'P3V3', 'P1V8', 'PVDDQ', 'PVCORE']);
    const times = new Map(
      bench.recording.flatMap((entry) =>
        entry.type === 'enable' ? [[entry.rail, entry.atMs - 1000]] : [],
      ) as [string, number][],
    );
    // The plant rises in a tenth of onTimeoutMs, 50 ms, and is good at 90 % of the voltage, after 45 ms.
    // settleMs: P12V 10, P5V and P3V3 5.
    expect(times.get('P12V')).toBe(0);
    expect(times.get('P5V')).toBeCloseTo(55, 6);
    expect(times.get('P3V3')).toBeCloseTo(55, 6);
    expect(times.get('P1V8')).toBeCloseTo(105, 6);
    await bench.run(JOBS.off);
    const down = switched(bench, false);
    expect(down[0]).toBe('PVCORE');
    expect(down.at(-1)).toBe('P12V');
    expect(down.indexOf('PVDDQ')).toBeLessThan(down.indexOf('P1V8'));
    expect(down.indexOf('P1V8')).toBeLessThan(down.indexOf('P3V3'));
  });

  it('stays off for minOffMs', async () => {
    const bench = createBench('reference');
    await bench.run(JOBS.on);
    await bench.run(JOBS.off);
    const offMs = bench.clock.nowMs();
    bench.recording.length = 0;
    await bench.run(JOBS.on);
    const first = bench.recording.find(({ type }) => type === 'enable');
    expect(first?.atMs).toBeGreaterThanOrEqual(offMs + 200);
  });
});

interface Case {
  readonly fault: string;
  readonly kind: string;
  readonly rail: string | null;
  readonly board?: string;
}

describe('a fault during power-on', () => {
  const cases: readonly Case[] = [
    { fault: 'rail P1V8 never good', kind: 'railTimeout', rail: 'P1V8' },
    { fault: 'rail P12V never good', kind: 'railTimeout', rail: 'P12V' },
    { fault: 'rail PVDDQ never good', kind: 'railTimeout', rail: 'PVDDQ' },
    { fault: 'rail PVCORE never good', kind: 'railTimeout', rail: 'PVCORE' },
    { fault: 'rail P5V slow 600ms', kind: 'railTimeout', rail: 'P5V' },
    { fault: 'rail P3V3 droops at 120ms', kind: 'railLost', rail: 'P3V3' },
    { fault: 'pgood never', kind: 'pgoodTimeout', rail: null },
    { fault: 'enable P5V stuck off', kind: 'hardware', rail: 'P5V' },
    { fault: 'enable PVDDQ stuck off', kind: 'hardware', rail: 'PVDDQ' },
    { fault: 'good P5V stuck off', kind: 'railTimeout', rail: 'P5V' },
    { fault: 'i2c vr_ddr nack at 80ms', kind: 'hardware', rail: 'PVDDQ' },
    { fault: 'i2c vr_ddr hang at 80ms', kind: 'hardware', rail: 'PVDDQ' },
    { fault: 'gpio read error for 30ms at 90ms', kind: 'hardware', rail: 'P5V' },
    { fault: 'pgood never', kind: 'pgoodTimeout', rail: null, board: 'openpower' },
    { fault: 'pgood glitch 50ms at 70ms', kind: 'pgoodLost', rail: null, board: 'openpower' },
  ];
  it.each(sampled(cases, 8))(
    '$fault ends as $kind, with every enable off',
    async ({ fault, kind, rail, board = 'reference' }) => {
      const bench = createBench(board, { faults: [fault] });
      const { state, sequence } = await bench.run(JOBS.on);
      expect(state).toBe('failed');
      expect(sequence.fault).toMatchObject({ kind, rail });
      expect(bench.enabled()).toEqual([]);
      expect(bench.plant.hazards).toEqual([]);
    },
  );

  it('a retry that the bus needs is no fault', async () => {
    const bench = createBench('reference', { faults: ['i2c vr_ddr nack 2 times at 85ms'] });
    const { state } = await bench.run(JOBS.on);
    expect(['pgood', 'failed']).toContain(state);
  });

  it('a pgood glitch shorter than deglitchMs is no fault', async () => {
    const bench = createBench('reference', { faults: ['pgood glitch 3ms at 290ms'] });
    expect((await bench.run(JOBS.on)).state).toBe('pgood');
  });

  it('is found by the second process when it came between the two', async () => {
    const bench = createBench('reference', { faults: ['rail P5V shorts at 225ms'] });
    expect((await bench.run(JOBS.start)).state).toBe('opWaitPowerOn');
    await bench.clock.advance(50);
    const { state, sequence } = await bench.run(JOBS.waitOn);
    expect(state).toBe('failed');
    expect(sequence.fault).toMatchObject({ kind: 'railLost', rail: 'P5V' });
    expect(bench.enabled()).toEqual([]);
  });

  it('holds the deadline that the first process set', async () => {
    const bench = createBench('reference', { faults: ['pgood never'] });
    await bench.run(JOBS.start);
    const startedMs = bench.clock.nowMs();
    await bench.clock.advance(2000);
    const { sequence } = await bench.run(JOBS.waitOn);
    expect(sequence.fault?.kind).toBe('pgoodTimeout');
    expect((sequence.fault?.atMs ?? 0) - startedMs).toBeCloseTo(3000, 6);
  });

  it('is remembered until the next power-on, which starts afresh', async () => {
    const bench = createBench('reference', { faults: ['rail P1V8 never good'] });
    await bench.run(JOBS.on);
    bench.plant.clearFaults();
    const { state, sequence } = await bench.run(JOBS.stop);
    expect(state).toBe('failed');
    expect(sequence.fault?.rail).toBe('P1V8');
    expect((await bench.run(JOBS.on)).state).toBe('pgood');
  });

  it('is forgotten on request', async () => {
    const bench = createBench('reference', { faults: ['rail P1V8 never good'] });
    await bench.run(JOBS.on);
    expect((await bench.run(JOBS.clear)).state).toBe('off');
  });
});

describe('hardware out of reach before a power-on', () => {
  it.each([
    ['i2c vr_ddr nack', 'I2C_NO_DEVICE'],
    ['i2c vr_ddr hang', 'I2C_TIMEOUT'],
    ['line C3 busy', 'GPIO_BUSY'],
    ['line pgood read error', 'GPIO_FAILED'],
  ])('%s: %s, and nothing is driven', async (fault, code) => {
    const bench = createBench('reference', { faults: [fault] });
    const before = bench.changes();
    await expect(bench.run(JOBS.on)).rejects.toMatchObject({ code });
    expect(bench.changes()).toEqual(before);
  });
});

describe('a chassis that is on, and a device that cannot be read', () => {
  const JOBS_OF_THE_TARGET = { start: JOBS.start, 'wait-on': JOBS.waitOn, on: JOBS.on };
  const faultsOf = (forText: string) => [`i2c vr_ddr nack${forText}`, `i2c vr_ddr hang${forText}`];
  const rows = Object.keys(JOBS_OF_THE_TARGET) as (keyof typeof JOBS_OF_THE_TARGET)[];

  it.each(rows)('for a while: %s reads again and leaves the chassis on', async (verb) => {
    for (const fault of faultsOf(' for 5s')) {
      const bench = createBench('reference', { initially: 'on', faults: [fault] });
      const before = bench.changes();
      expect((await bench.run(JOBS_OF_THE_TARGET[verb])).state).toBe('pgood');
      expect(bench.changes()).toEqual(before);
      const warnings = bench.recording.filter(({ type }) => type === 'warning');
      expect(warnings[0]).toMatchObject({
        message: expect.stringMatching(/^enable of rail PVDDQ: 0x60 .*: pgood stands, reading again$/),
      });
    }
  });

  it.each(rows)('for ever: %s gives up in less than 20 s, and drives nothing', async (verb) => {
    for (const fault of faultsOf('')) {
      const bench = createBench('reference', { initially: 'on', faults: [fault] });
      const before = bench.changes();
      const startMs = bench.clock.nowMs();
      await expect(bench.run(JOBS_OF_THE_TARGET[verb])).rejects.toMatchObject({
        code: expect.stringMatching(/^I2C_(NO_DEVICE|TIMEOUT)$/),
      });
      expect(bench.clock.nowMs() - startMs).toBeLessThan(20_000);
      expect(bench.changes()).toEqual(before);
    }
  });

  it('is not read again once it is asked to end', async () => {
    const bench = createBench('reference', { initially: 'on', faults: ['i2c vr_ddr nack'] });
    const startMs = bench.clock.nowMs();
    const ending = new AbortController();
    bench.clock.after(100, () => ending.abort('SIGTERM'));
    await expect(bench.run(JOBS.start, { signal: ending.signal })).rejects.toMatchObject({
      code: 'I2C_NO_DEVICE',
    });
    expect(bench.clock.nowMs() - startMs).toBeLessThan(1_000);
  });

  it('is read once where pgood does not stand: there is no host to spare', async () => {
    const bench = createBench('reference', { faults: ['i2c vr_ddr nack for 5s'] });
    const startMs = bench.clock.nowMs();
    await expect(bench.run(JOBS.start)).rejects.toMatchObject({ code: 'I2C_NO_DEVICE' });
    expect(bench.clock.nowMs() - startMs).toBeLessThan(1_000);
  });
});

describe('a fault while the chassis is on', () => {
  it.each([
    ['rail PVCORE shorts at 500ms', 'railLost'],
    ['pgood stuck off at 500ms', 'pgoodLost'],
  ])('%s is found by the next command, which takes the power down', async (fault, kind) => {
    const bench = createBench('reference', { faults: fault.startsWith('pgood') ? [] : [fault] });
    await bench.run(JOBS.on);
    if (fault.startsWith('pgood')) {
      bench.plant.hold(pgoodLine(bench.board), 0);
    }
    await bench.clock.advance(500);
    const { state, sequence } = await bench.run(JOBS.start);
    expect(state).toBe('failed');
    expect(sequence.fault?.kind).toBe(kind);
    expect(bench.enabled()).toEqual([]);
  });
});

describe('a fault during power-off', () => {
  it.each([
    ['enable P5V stuck on', 'hardware', ['P5V']],
    ['good P1V8 stuck on', 'powerOffTimeout', []],
    ['pgood stuck on', 'powerOffTimeout', []],
    ['rail P3V3 slow off 30s', 'powerOffTimeout', []],
  ])('%s: everything that can be switched off is', async (fault, kind, stillEnabled) => {
    const bench = createBench('reference', { faults: [fault], initially: 'on' });
    const { state, sequence } = await bench.run(JOBS.off);
    expect(state).toBe('failed');
    expect(sequence.fault?.kind).toBe(kind);
    expect(bench.enabled()).toEqual(stillEnabled);
  });

  it.each([
    ['i2c vr_ddr nack', ['PVDDQ']],
    ['i2c vr_ddr hang', ['PVDDQ']],
    ['i2c vr_ddr busy', ['PVDDQ']],
    ['line C3 busy', ['P1V8']],
    ['line B1 busy', []],
    ['line pgood read error', []],
    ['line D0 busy', []],
  ])(
    '%s from the start: all that can be reached is switched off, and it fails',
    async (fault, stillEnabled) => {
      const bench = createBench('reference', { faults: [fault], initially: 'on' });
      const { state, sequence } = await bench.run(JOBS.off);
      expect(state).toBe('failed');
      expect(sequence.fault?.kind).toBe('hardware');
      expect(bench.enabled()).toEqual(stillEnabled);
    },
  );

  it('that leaves nothing to show whether the power is gone is a failure, also when asked again', async () => {
    const bench = createBench('openpower', { faults: ['line power-chassis-good busy'], initially: 'on' });
    expect((await bench.run(JOBS.off)).state).toBe('failed');
    await bench.clock.advance(1000);
    await expect(bench.run(JOBS.off)).rejects.toMatchObject({ code: 'GPIO_BUSY' });
    bench.plant.clearFaults();
    expect((await bench.run(JOBS.on)).state).toBe('pgood');
  });

  it('at the latch does not leave it asserted', async () => {
    const faults = ['line power-chassis-latch read error for 10ms'];
    const bench = createBench('openpower', { faults, initially: 'on' });
    expect((await bench.run(JOBS.off)).state).toBe('failed');
    expect(bench.plant.lines().filter(({ role, asserted }) => role === 'latch' && asserted)).toEqual([]);
  });

  it('is not followed by a power-on while power is still applied', async () => {
    const bench = createBench('reference', { faults: ['enable P5V stuck on'], initially: 'on' });
    await bench.run(JOBS.off);
    const { answer } = await bench.run(JOBS.on);
    expect(answer).toMatchObject({ outcome: 'rejected' });
    bench.plant.clearFaults();
    // The failure stays remembered though the power is off now.
    expect((await bench.run(JOBS.off)).state).toBe('failed');
    expect(bench.enabled()).toEqual([]);
    expect((await bench.run(JOBS.on)).state).toBe('pgood');
  });
});

describe('the state of another process', () => {
  it('that cannot be written is told once and changes nothing', async () => {
    const bench = createBench('reference');
    const store = { load: () => ({ hint: null, warning: null }), save: () => 'no space left' };
    expect((await bench.run(JOBS.start, { store })).state).toBe('opWaitPowerOn');
    expect((await bench.run(JOBS.waitOn, { store })).state).toBe('pgood');
    expect(bench.recording.filter(({ type }) => type === 'warning')).toHaveLength(2);
  });

  it('is written before it is acted on', async () => {
    const bench = createBench('reference');
    await bench.runKilled(JOBS.on, 1, 'before');
    expect(bench.store.hint?.state).toBe('opPowerStart');
  });
});

describe('the state that was lost', () => {
  /** Every process of the bench finds nothing of what another one wrote. */
  const lost = { load: () => ({ hint: null, warning: null }), save: () => null };

  it.each(['reference', 'ast2600-evb'])(
    'after stop: wait-off on %s still waits for the power to go',
    async (board) => {
      const bench = createBench(board, { initially: 'on' });
      await bench.run(JOBS.stop, { store: lost });
      expect((await bench.run(JOBS.waitOff, { store: lost })).state).toBe('off');
      expect(bench.plant.rails().some(({ good }) => good)).toBe(false);
    },
  );

  it('after a start of the BMC, which may have cut off a power-on before pgood: a power-off pulses the latch, once', async () => {
    const bench = createBench('openpower');
    const pulses = () => bench.recording.filter(({ type }) => type === 'latch').length;
    expect((await bench.run(JOBS.off)).state).toBe('off');
    expect(pulses()).toBe(1);
    expect((await bench.run(JOBS.off)).state).toBe('off');
    expect(pulses()).toBe(1);
  });

  it('after start on a latched board: wait-on still releases the resets', async () => {
    const bench = createBench('openpower');
    await bench.run(JOBS.start, { store: lost });
    await bench.clock.advance(1000);
    expect((await bench.run(JOBS.waitOn, { store: lost })).state).toBe('pgood');
    expect(bench.plant.lines().filter(({ role, asserted }) => role === 'reset' && asserted)).toEqual([]);
  });
});

describe('the state file', () => {
  const identity = { bootId: 'boot', boardHash: 'hash' };

  it('that cannot be written takes the older one with it, and stays known to its own process', async () => {
    const dir = mkdtempSync(join(tmpdir(), 'chassis-power-'));
    try {
      const bench = createBench('reference');
      const open = () => createSnapshotFile(dir, 0, { ...identity, plan: bench.plan, clock: bench.clock });
      await bench.run(JOBS.on, { store: open() });
      expect(open().load().hint?.state).toBe('pgood');
      // Nothing is written to where others may put it away.
      chmodSync(dir, 0o777);
      const store = open();
      await bench.run(JOBS.off, { store });
      expect(store.load().hint?.state).toBe('off');
      expect(open().load()).toEqual({ hint: null, warning: null });
    } finally {
      rmSync(dir, { recursive: true });
    }
  });
});

describe('a signal', () => {
  /** A process of the job that is asked to end so many milliseconds from now; 0 is before it does anything. */
  async function signalled(bench: ReturnType<typeof createBench>, job: Job, ...atMs: number[]) {
    const first = new AbortController();
    const second = new AbortController();
    for (const [index, ms] of atMs.entries()) {
      const abort = () => [first, second][index]?.abort('SIGINT');
      if (ms === 0) abort();
      else bench.clock.after(ms, abort);
    }
    return bench.run(job, { signal: first.signal, abandon: second.signal });
  }
  const interrupted = (message: RegExp) => ({
    code: 'INTERRUPTED',
    message: expect.stringMatching(message),
    details: { signal: 'SIGINT' },
  });

  it('while power comes up: what was raised goes down in order, and the next start works', async () => {
    const bench = createBench('reference');
    await expect(signalled(bench, JOBS.on, 60)).rejects.toMatchObject(
      interrupted(/SIGINT in opPowerStart: the power was taken down/),
    );
    expect(bench.enabled()).toEqual([]);
    expect(bench.plant.hazards).toEqual([]);
    // P12V first, then what needs it; down the other way round, with those that were not raised before all others.
    expect(switched(bench, true)).toEqual(['P12V', 'P5V', 'P3V3']);
    expect(switched(bench, false)).toEqual(['PVCORE', 'PVDDQ', 'P1V8', 'P5V', 'P3V3', 'P12V']);
    expect((await bench.run(JOBS.on)).state).toBe('pgood');
  });

  it('while pgood is waited for: the same', async () => {
    const bench = createBench('reference', { faults: ['pgood stuck off'] });
    await expect(signalled(bench, JOBS.on, 700)).rejects.toMatchObject(
      interrupted(/SIGINT in opWaitPowerOn: the power was taken down/),
    );
    expect(bench.enabled()).toEqual([]);
    expect(bench.plant.hazards).toEqual([]);
  });

  it('twice while power comes up: the lines stay as they are', async () => {
    const bench = createBench('reference');
    await expect(signalled(bench, JOBS.on, 150, 150.5)).rejects.toMatchObject(
      interrupted(/SIGINT in \w+, again: the lines stay as they are/),
    );
    expect(bench.enabled().length).toBeGreaterThan(0);
    expect((await bench.run(JOBS.off)).state).toBe('off');
  });

  it('while power goes down: it goes down', async () => {
    const bench = createBench('reference', { initially: 'on' });
    await bench.run(JOBS.on);
    expect((await signalled(bench, JOBS.off, 5)).state).toBe('off');
    expect(bench.enabled()).toEqual([]);
    expect(bench.recording).toContainEqual(
      expect.objectContaining({ type: 'warning', message: expect.stringMatching(/power goes down first/) }),
    );
  });

  it('before anything was begun: nothing is', async () => {
    const bench = createBench('reference');
    const before = bench.changes();
    await expect(signalled(bench, JOBS.on, 0)).rejects.toMatchObject(
      interrupted(/nothing was begun, the chassis is off/),
    );
    expect(bench.changes()).toEqual(before);
  });

  it('in a chassis that is on: it stays on', async () => {
    const bench = createBench('reference');
    await bench.run(JOBS.on);
    const before = bench.changes();
    expect((await signalled(bench, JOBS.waitOn, 0)).state).toBe('pgood');
    expect(bench.changes()).toEqual(before);
  });

  it('while power comes up, and a rail does not go down again: that is the result', async () => {
    const bench = createBench('reference', { faults: ['enable P12V stuck on'] });
    const result = await signalled(bench, JOBS.on, 60);
    expect(result.state).toBe('failed');
    expect(result.sequence.fault?.rail).toBe('P12V');
  });
});

describe('waiting without a request', () => {
  it('does nothing where nothing is under way', async () => {
    const bench = createBench('reference');
    expect((await bench.run(JOBS.waitOn)).state).toBe('off');
    await bench.run(JOBS.on);
    const before = bench.changes();
    expect((await bench.run(JOBS.waitOff)).state).toBe('pgood');
    expect(bench.changes()).toEqual(before);
  });

  it.each(['waitOn', 'waitOff'] as const)(
    '%s that finds nothing to wait for leaves the loss that a watch writes meanwhile',
    async (name) => {
      const bench = createBench('reference');
      await bench.run(name === 'waitOff' ? JOBS.on : JOBS.off);
      const hardware = (opened: ChassisHardware): ChassisHardware => ({
        ...opened,
        async observe() {
          const observed = await opened.observe();
          const { hint } = bench.store;
          if (hint !== null) bench.store.hint = { ...hint, state: 'fault' };
          return observed;
        },
      });
      expect((await bench.run(JOBS[name], { hardware })).state).toBe(name === 'waitOff' ? 'pgood' : 'off');
      expect(bench.store.hint?.state).toBe('fault');
    },
  );

  it('writes what it finds where the state file says something else, or nothing', async () => {
    const bench = createBench('reference', { initially: 'on' });
    await bench.run(JOBS.waitOff);
    expect(bench.store.hint?.state).toBe('pgood');
    await bench.run(JOBS.stop);
    await bench.clock.advance(10_000);
    await bench.run(JOBS.waitOn);
    expect(bench.store.hint?.state).toBe('off');
  });
});

describe('power off drives, it does not conclude', () => {
  const enableLines = (bench: ReturnType<typeof createBench>) =>
    bench.plant.lines().filter(({ role }) => role === 'enable');
  /** Rails that are enabled some time after every fault has gone. */
  async function cameBack(bench: ReturnType<typeof createBench>): Promise<string[]> {
    bench.plant.clearFaults();
    await bench.clock.advance(1_000);
    return bench.enabled();
  }

  it.each(BOARDS)(
    'off drives every enable off, also one that is held low and let go again (%s)',
    async (board) => {
      for (const { name } of createBench(board).plan.rails) {
        const bench = createBench(board, { faults: [`enable ${name} stuck off`], initially: 'on' });
        await bench.run(JOBS.off);
        expect(await cameBack(bench), name).toEqual([]);
        expect(bench.plant.hazards).toEqual([]);
      }
    },
  );

  it.each(BOARDS)('so does stop in a chassis that reads off altogether (%s)', async (board) => {
    const { rails } = createBench(board).plan;
    const bench = createBench(board, {
      faults: [...rails.map(({ name }) => `enable ${name} stuck off`), 'pgood stuck off'],
      initially: 'on',
    });
    await bench.clock.advance(5_000);
    expect((await bench.run(JOBS.stop)).state).toBe('off');
    expect(await cameBack(bench)).toEqual([]);
  });

  it('the taking down after a fault drives every enable off, also one that is held low', async () => {
    const bench = createBench('reference', {
      // P5V is on when its enable is pulled low, and a rail that does not need it fails.
      faults: ['rail P1V8 never good', 'enable P5V stuck off at 150ms'],
    });
    expect((await bench.run(JOBS.on)).state).toBe('failed');
    expect(await cameBack(bench)).toEqual([]);
  });

  it('off of a chassis that is off since the start of the BMC makes every enable an output that is off, at once', async () => {
    const bench = createBench('reference');
    const before = bench.changes();
    const fromMs = bench.clock.nowMs();
    expect(enableLines(bench).filter(({ direction }) => direction === 'in')).toHaveLength(5);
    const { state, answer } = await bench.run(JOBS.off);
    expect({ state, outcome: answer?.outcome }).toEqual({ state: 'off', outcome: 'unchanged' });
    expect(enableLines(bench).filter(({ direction, asserted }) => direction === 'in' || asserted)).toEqual(
      [],
    );
    expect(bench.changes()).toEqual(before);
    expect(bench.clock.nowMs()).toBe(fromMs);
  });

  it('off does not begin the minimum off time anew', async () => {
    const bench = createBench('reference');
    await bench.run(JOBS.on);
    await bench.run(JOBS.off);
    const offMs = bench.clock.nowMs();
    await bench.clock.advance(150);
    await bench.run(JOBS.off);
    bench.recording.length = 0;
    await bench.run(JOBS.on);
    expect(bench.recording.find(({ type }) => type === 'enable')?.atMs).toBeCloseTo(offMs + 200, 3);
  });

  it.each([
    ['line C3 busy', 'P1V8'],
    ['i2c vr_ddr nack', 'PVDDQ'],
  ])('an off that cannot drive an enable fails though nothing reads on: %s', async (fault, rail) => {
    const bench = createBench('reference', { faults: [fault] });
    const { state, sequence } = await bench.run(JOBS.off);
    expect(state).toBe('failed');
    expect(sequence.fault).toMatchObject({ kind: 'hardware', rail });
  });

  it('a wait, also for power that nobody asks for, drives nothing', async () => {
    const lost = { load: () => ({ hint: null, warning: null }), save: () => null };
    const off = createBench('reference');
    await off.run(JOBS.waitOff);
    expect(enableLines(off).filter(({ direction }) => direction === 'in')).toHaveLength(5);
    const falling = createBench('reference', { faults: ['rail P12V slow off 1s'], initially: 'on' });
    await falling.run(JOBS.stop);
    const before = falling.recording.length;
    expect((await falling.run(JOBS.waitOff, { store: lost })).state).toBe('off');
    expect(
      falling.recording.slice(before).filter(({ type }) => type === 'enable' || type === 'reset'),
    ).toEqual([]);
  });

  it('a wait finishes what a killed stop left, and drives all of it', async () => {
    const bench = createBench('reference', { faults: ['enable P5V stuck off'], initially: 'on' });
    await bench.runKilled(JOBS.off, 2, 'after');
    expect((await bench.run(JOBS.waitOff)).state).toBe('off');
    expect(await cameBack(bench)).toEqual([]);
  });
});

describe('a run that watches a chassis', () => {
  const watched = () => createBench('reference', { initially: 'on' });

  it('ends when another process drives it, drives nothing, and leaves the state to that one', async () => {
    const bench = watched();
    await bench.run(JOBS.on);
    bench.store.hint = null;
    bench.recording.length = 0;
    const fromMs = bench.clock.nowMs();
    const superseded = async () => bench.clock.nowMs() >= fromMs + 1_000;
    bench.clock.after(1_000, () => bench.plant.addFault(bench.fault('good P5V stuck off for 1ms')));
    expect((await bench.run(JOBS.watch, { superseded })).state).toBe('pgood');
    expect(bench.clock.nowMs() - fromMs).toBeLessThan(2_000);
    expect(bench.recording.filter(({ type }) => type === 'enable' || type === 'reset')).toEqual([]);
    expect(bench.store.hint).toBeNull();
  });

  it('does not take what another process does for a loss', async () => {
    const bench = watched();
    await bench.run(JOBS.on);
    bench.clock.after(1_000, () => bench.plant.addFault(bench.fault('pgood stuck off')));
    const lost: string[] = [];
    const { state } = await bench.run(JOBS.watch, {
      superseded: async () => bench.clock.nowMs() > 2_000,
      onLowered: async () => void lost.push('lost'),
    });
    expect(state).toBe('pgood');
    expect(lost).toEqual([]);
    expect(bench.enabled()).toHaveLength(6);
  });

  it('tells of a loss once, when every enable is off and before the evidence is read, and waits for who is told', async () => {
    const bench = watched();
    bench.clock.after(100, () => bench.plant.addFault(bench.fault('pgood never')));
    const told: object[] = [];
    await bench.run(JOBS.watch, {
      onLowered: async () => {
        await new Promise<void>((resolve) => void bench.clock.after(50, resolve));
        told.push({
          enabled: bench.enabled(),
          evidence: bench.recording.filter(({ type }) => type === 'evidence').length,
        });
      },
    });
    expect(told).toEqual([{ enabled: [], evidence: 0 }]);
    expect(bench.recording.filter(({ type }) => type === 'evidence')).toHaveLength(1);
    expect(bench.store.hint?.state).toBe('failed');
  });

  it('of which nobody is told, as of a power-on that fails, is a run like any other', async () => {
    const bench = createBench('reference', { faults: ['rail P1V8 never good'] });
    const lost: string[] = [];
    await bench.run(JOBS.on, { onLowered: async () => void lost.push('lost') });
    expect(lost).toEqual([]);
  });
});

describe('what a run records', () => {
  it('of a power-on: the lines first, then the request, and of each rail its enable before what comes of it', async () => {
    const bench = createBench('reference');
    await bench.run(JOBS.on);
    const { recording, plan } = bench;
    expect(recording[0]).toMatchObject({ type: 'reconciled', state: 'off', hint: null, pgood: false });
    expect(recording[1]).toMatchObject({
      type: 'request',
      request: 'POWER_ON',
      outcome: 'changed',
      reason: '',
    });
    const states = recording.flatMap((entry) => (entry.type === 'state' ? [[entry.from, entry.to]] : []));
    expect(states).toEqual([
      ['off', 'opPowerStart'],
      ['opPowerStart', 'opWaitPowerOn'],
      ['opWaitPowerOn', 'pgood'],
    ]);
    for (const { name } of plan.rails) {
      const own = recording.flatMap((entry) => {
        if (entry.type === 'enable' && entry.rail === name) return [`enable ${entry.asserted}`];
        if (entry.type !== 'rail' || entry.rail !== name) return [];
        return [`${entry.phase} ${entry.good ? 'good' : 'not good'}`];
      });
      expect(own.slice(0, 2), name).toEqual(['enable true', 'rising not good']);
      expect(own.at(-1), name).toBe('up good');
      expect(new Set(own).size, name).toBe(own.length);
    }
    expect(recording.flatMap((entry) => (entry.type === 'pgood' ? [entry.level] : []))).toEqual([true]);
    expect(
      recording.flatMap((entry) => (entry.type === 'reset' ? [[entry.reset, entry.asserted]] : [])),
    ).toEqual(plan.resets.map(({ name }) => [name, false]));
    const never = ['evidence', 'fault', 'driveFailed', 'readFailed', 'warning', 'latch'];
    expect(recording.filter(({ type }) => never.includes(type))).toEqual([]);
  });

  it('of a second process: the state that the first one left', async () => {
    const bench = createBench('reference');
    await bench.run(JOBS.start);
    bench.recording.length = 0;
    await bench.run(JOBS.waitOn);
    expect(bench.recording[0]).toMatchObject({
      type: 'reconciled',
      state: 'opWaitPowerOn',
      hint: 'opWaitPowerOn',
    });
  });

  it('of a latching board: each pulse of the latch', async () => {
    const bench = createBench('openpower');
    await bench.run(JOBS.on);
    await bench.run(JOBS.off);
    expect(bench.recording.filter(({ type }) => type === 'latch')).toHaveLength(2);
  });

  it('of a failure: the fault, what the devices say once all is off, and neither again in a run that finds it', async () => {
    const bench = createBench('reference', { faults: ['rail P1V8 never good'] });
    const { isFaultOfThisRun } = await bench.run(JOBS.on);
    const types = bench.recording.map(({ type }) => type);
    expect(types.filter((type) => type === 'fault')).toHaveLength(1);
    expect(types.slice(-2)).toEqual(['evidence', 'diagnosis']);
    expect(isFaultOfThisRun).toBe(true);
    bench.recording.length = 0;
    const later = await bench.run(JOBS.off);
    expect(later.isFaultOfThisRun).toBe(false);
    expect(bench.recording.filter(({ type }) => type === 'evidence' || type === 'fault')).toEqual([]);
  });

  it('of what could not be driven: which it was, why, and the code', async () => {
    const bench = createBench('reference', { initially: 'on' });
    const [reset] = bench.plan.resets;
    bench.plant.addFault(bench.fault(`line reset ${reset?.name} busy`));
    bench.plant.addFault(bench.fault('line rail P5V enable busy'));
    await bench.run(JOBS.off);
    const failed = bench.recording.filter(({ type }) => type === 'driveFailed');
    expect(failed).toMatchObject([
      { what: `reset ${reset?.name}`, reason: expect.stringContaining('another program'), code: 'GPIO_BUSY' },
      { what: 'enable of rail P5V', reason: expect.stringContaining('another program'), code: 'GPIO_BUSY' },
    ]);
  });

  it('of a latch that could not be pulsed: the same', async () => {
    const bench = createBench('openpower', { faults: ['line power-chassis-latch busy'], initially: 'on' });
    await bench.run(JOBS.off);
    expect(bench.recording).toContainEqual(
      expect.objectContaining({ type: 'driveFailed', what: 'latch', code: 'GPIO_BUSY' }),
    );
    expect(bench.recording.filter(({ type }) => type === 'latch')).toEqual([]);
  });

  it('of a state that can be read but not believed: the warning, before anything else', async () => {
    const bench = createBench('reference');
    const store = { load: () => ({ hint: null, warning: 'set aside' }), save: () => null };
    await bench.run(JOBS.on, { store });
    expect(bench.recording[0]).toMatchObject({ type: 'warning', message: 'set aside' });
    expect(bench.recording.filter(({ type }) => type === 'warning')).toHaveLength(1);
  });
});

describe('a run leaves nothing behind', () => {
  it.each(['on', 'start', 'off'] as const)('%s: no listener at who may end it, and no timer', async (job) => {
    const bench = createBench('reference');
    const [signal, abandon] = [new AbortController().signal, new AbortController().signal];
    await bench.run(JOBS[job], { signal, abandon });
    expect(getEventListeners(signal, 'abort')).toEqual([]);
    expect(getEventListeners(abandon, 'abort')).toEqual([]);
  });
});
