import { describe, expect, it } from 'vitest';
import { JOBS } from '../../src/run/jobs.ts';
import type { Fault } from '../../src/sequence/state.ts';
import { createBench } from './bench.ts';

/** How a run ends is told truly: what it found broken, what it was kept from, and what is older than it. */

const aborted = () => ({ signal: AbortSignal.abort('SIGTERM') });

/** A power-on that failed, and the state file that it left. */
async function failedOnce() {
  const bench = createBench('reference', { faults: ['pgood stuck off'] });
  const result = await bench.run(JOBS.on);
  expect(result).toMatchObject({ state: 'failed', isFaultOfThisRun: true });
  return bench.store.hint;
}

/** A chassis that is on, and of which a process was killed that had seen pgood go. */
async function leftInFault() {
  const bench = createBench('reference', { initially: 'on' });
  await bench.run(JOBS.on);
  const left = bench.store.hint;
  if (left === null) throw new RangeError('no state file');
  const fault: Fault = {
    kind: 'pgoodLost',
    rail: null,
    state: 'pgood',
    atMs: bench.clock.nowMs(),
    reason: 'pgood was lost while the chassis was on',
    errorCode: null,
  };
  bench.store.hint = { state: 'fault', sequence: { ...left.sequence, fault } };
  return bench;
}

describe('a power-on that finds a fault which another process left', () => {
  it('ends with it when everything is off, and the next one starts afresh', async () => {
    const bench = await leftInFault();
    const { state, sequence, answer } = await bench.run(JOBS.on);
    expect({ state, kind: sequence.fault?.kind, answer }).toEqual({
      ...{ state: 'failed', kind: 'pgoodLost', answer: null },
    });
    expect(bench.enabled()).toEqual([]);
    expect(await bench.run(JOBS.on)).toMatchObject({ state: 'pgood', isFaultOfThisRun: false });
  });
});

describe('a run that is asked to end before its request', () => {
  it('and finished a fault that another process left has that failure to tell', async () => {
    const bench = await leftInFault();
    const { state, sequence, answer } = await bench.run(JOBS.on, aborted());
    expect({ state, kind: sequence.fault?.kind, answer }).toEqual({
      ...{ state: 'failed', kind: 'pgoodLost', answer: null },
    });
    expect(bench.enabled()).toEqual([]);
  });

  it('over a chassis that stands says nothing of power that goes down', async () => {
    const bench = createBench('reference', { initially: 'on' });
    await bench.run(JOBS.on);
    bench.recording.length = 0;
    expect((await bench.run(JOBS.waitOn, aborted())).state).toBe('pgood');
    expect(bench.recording.filter(({ type }) => type === 'warning')).toEqual([]);
  });

  it('over a failure that was there already says that nothing was begun', async () => {
    const bench = createBench('reference');
    bench.store.hint = await failedOnce();
    await expect(bench.run(JOBS.on, aborted())).rejects.toMatchObject({
      code: 'INTERRUPTED',
      message: expect.stringContaining('nothing was begun, the chassis is failed'),
    });
  });
});

describe('a run that is asked to end while power is in motion', () => {
  it.each([
    [
      JOBS.on,
      'off',
      'opPowerStart',
      'SIGTERM in opPowerStart: taking the power down; once more leaves at once',
    ],
    [
      JOBS.off,
      'on',
      'opPowerStop',
      'SIGTERM in opPowerStop: power goes down first; once more leaves at once',
    ],
  ] as const)('says once what it does: $request', async (job, initially, state, message) => {
    const bench = createBench('reference', { initially });
    const asked = new AbortController();
    const run = bench.run(job, {
      signal: asked.signal,
      record: (entry) => {
        bench.recording.push(entry);
        if (entry.type === 'state' && entry.to === state) asked.abort('SIGTERM');
      },
    });
    if (job.request === 'POWER_OFF') expect((await run).state).toBe('off');
    else await expect(run).rejects.toMatchObject({ code: 'INTERRUPTED' });
    expect(bench.recording.flatMap((entry) => (entry.type === 'warning' ? [entry.message] : []))).toEqual([
      message,
    ]);
    expect(bench.enabled()).toEqual([]);
  });
});

describe('the fault that a result tells of', () => {
  it('is none of a run that only finds it', async () => {
    const bench = createBench('reference');
    bench.store.hint = await failedOnce();
    const { state, sequence, isFaultOfThisRun } = await bench.run(JOBS.waitOff);
    expect({ state, kind: sequence.fault?.kind, isFaultOfThisRun }).toEqual({
      ...{ state: 'failed', kind: 'pgoodTimeout', isFaultOfThisRun: false },
    });
  });

  it('is none of a power-on that ends well after it', async () => {
    const bench = createBench('reference');
    bench.store.hint = await failedOnce();
    const { state, sequence, isFaultOfThisRun } = await bench.run(JOBS.on);
    expect({ state, fault: sequence.fault, isFaultOfThisRun }).toEqual({
      ...{ state: 'pgood', fault: null, isFaultOfThisRun: false },
    });
  });
});

describe('the cause of a fault', () => {
  it('is looked for by the run that found it, and by no other', async () => {
    const bench = createBench('reference');
    bench.store.hint = await failedOnce();
    expect((await bench.run(JOBS.waitOff)).state).toBe('failed');
    expect(bench.recording.filter(({ type }) => type === 'evidence' || type === 'diagnosis')).toEqual([]);
  });

  it('is a power supply that was reported meanwhile', async () => {
    const bench = createBench('reference', { faults: ['pgood stuck off'] });
    const supplyError = 'xyz.openbmc_project.Power.PowerSupply.Error.PSKillFault';
    const { sequence } = await bench.run(JOBS.on, { supplyError: () => supplyError });
    expect(sequence.fault?.diagnosis?.because).toContain(supplyError);
  });
});

describe('a wait for power to go whose state file is lost', () => {
  it('is over at once where nothing is on', async () => {
    const bench = createBench('reference');
    expect((await bench.run(JOBS.waitOff)).state).toBe('off');
    expect(bench.recording.map(({ type }) => type)).toEqual(['reconciled']);
    expect(bench.recording[0]).toMatchObject({ state: 'off', hint: null });
  });

  it('waits for the time that a power-off has, where pgood still stands', async () => {
    const bench = createBench('reference', { faults: ['pgood stuck on'] });
    const fromMs = bench.clock.nowMs();
    const { state, sequence } = await bench.run(JOBS.waitOff);
    expect({ state, kind: sequence.fault?.kind }).toEqual({ state: 'failed', kind: 'powerOffTimeout' });
    const faultMs = bench.recording.find(({ type }) => type === 'fault')?.atMs ?? Number.NaN;
    expect(faultMs - fromMs).toBeGreaterThanOrEqual(bench.plan.pgood.offTimeoutMs);
    expect(bench.recording.find(({ type }) => type === 'reconciled')).toMatchObject({
      state: 'opWaitPowerOff',
    });
  });

  it('drives nothing where a part of the enables is on: that is no power-off that was left', async () => {
    const bench = createBench('reference');
    await bench.runKilled(JOBS.on, 3, 'after');
    bench.store.hint = null;
    const before = bench.enabled();
    expect(before.length).toBeGreaterThan(0);
    expect((await bench.run(JOBS.waitOff)).state).toBe('unknown');
    expect(bench.enabled()).toEqual(before);
  });
});

describe('a wait for power that finds the chassis on', () => {
  it.each(['good P5V stuck off', 'pgood stuck off'])(
    'waits until a level that is low was judged: %s',
    async (fault) => {
      const bench = createBench('reference', { initially: 'on' });
      await bench.run(JOBS.on);
      bench.plant.addFault(bench.fault(fault));
      const { state, isFaultOfThisRun } = await bench.run(JOBS.waitOn);
      expect({ state, isFaultOfThisRun }).toEqual({ state: 'failed', isFaultOfThisRun: true });
    },
  );

  it('and is asked to end tells the failure that it finds all the same', async () => {
    const bench = createBench('reference', { initially: 'on' });
    await bench.run(JOBS.on);
    bench.plant.addFault(bench.fault('good P5V stuck off'));
    const { state, sequence } = await bench.run(JOBS.waitOn, aborted());
    expect({ state, rail: sequence.fault?.rail }).toEqual({ state: 'failed', rail: 'P5V' });
    expect(bench.enabled()).toEqual([]);
  });
});
