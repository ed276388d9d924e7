import { describe, expect, it } from 'vitest';
import { JOBS } from '../../src/run/jobs.ts';
import { createBench } from './bench.ts';

/** The words that docs/failures.md promises to who reads the journal. Times are those of the board. */
describe('what went wrong is told in words that name it', () => {
  it.each([
    [
      'reference',
      'rail P1V8 never good',
      'railTimeout',
      'P1V8',
      /^rail P1V8 was not good within (\d+) ms of its enable$/,
    ],
    [
      'reference',
      'rail P3V3 droops at 120ms',
      'railLost',
      'P3V3',
      /^rail P3V3 dropped while it was enabled$/,
    ],
    [
      'reference',
      'pgood never',
      'pgoodTimeout',
      null,
      /^pgood did not come within (\d+) ms though every rail is enabled$/,
    ],
    [
      'openpower',
      'pgood glitch 50ms at 70ms',
      'pgoodLost',
      null,
      /^pgood was lost before the resets were released$/,
    ],
  ] as const)('%s, power on, %s', async (board, fault, kind, rail, words) => {
    const bench = createBench(board, { faults: [fault] });
    const { sequence } = await bench.run(JOBS.on);
    expect(sequence.fault).toMatchObject({ kind, rail, errorCode: null });
    expect(sequence.fault?.reason).toMatch(words);
    const told = Number(words.exec(sequence.fault?.reason ?? '')?.[1]);
    const { pgood, rails } = bench.plan;
    const limitMs = rail === null ? pgood.onTimeoutMs : rails.find(({ name }) => name === rail)?.onTimeoutMs;
    if (kind === 'railTimeout' || kind === 'pgoodTimeout') expect(told).toBe(limitMs);
  });

  it.each([
    ['good P1V8 stuck on', 'P1V8', /^rail P1V8 did not go down after the disable$/],
    ['pgood stuck on', null, /^pgood still stands (\d+) ms after every rail was disabled$/],
  ] as const)('power off, %s', async (fault, rail, words) => {
    const bench = createBench('reference', { faults: [fault], initially: 'on' });
    const { sequence } = await bench.run(JOBS.off);
    expect(sequence.fault).toMatchObject({ kind: 'powerOffTimeout', rail, errorCode: null });
    expect(sequence.fault?.reason).toMatch(words);
    const told = words.exec(sequence.fault?.reason ?? '')?.[1];
    if (told !== undefined) expect(Number(told)).toBe(bench.plan.pgood.offTimeoutMs);
  });

  it('power off, two rails that stay', async () => {
    const bench = createBench('reference', {
      faults: ['good P1V8 stuck on', 'good P5V stuck on'],
      initially: 'on',
    });
    const { sequence } = await bench.run(JOBS.off);
    expect(sequence.fault?.reason).toMatch(/^rails (P5V, P1V8|P1V8, P5V) did not go down after the disable$/);
  });

  it.each([
    ['pgood stuck off at 100ms', 'pgoodLost', null, 'pgood was lost while the chassis was on'],
    ['rail P5V shorts at 100ms', 'railLost', 'P5V', 'rail P5V dropped while it was enabled'],
  ] as const)('on, %s', async (fault, kind, rail, reason) => {
    const bench = createBench('reference', { faults: [fault], initially: 'on' });
    const { sequence } = await bench.run(JOBS.watch);
    expect(sequence.fault).toMatchObject({ kind, rail, reason, state: 'pgood', errorCode: null });
  });

  it('of hardware: what it was, in the state it was found in, with the code', async () => {
    const bench = createBench('reference', { faults: ['enable P5V stuck off'] });
    const { sequence } = await bench.run(JOBS.on);
    expect(sequence.fault).toMatchObject({
      kind: 'hardware',
      rail: 'P5V',
      state: 'opPowerStart',
      reason: expect.stringMatching(/^enable of rail P5V: /),
      errorCode: expect.stringMatching(/^GPIO_/),
    });
  });
});

describe('a request that is rejected says why and what to do', () => {
  it('over lines that contradict each other', async () => {
    const bench = createBench('reference', { faults: ['good P5V stuck on'] });
    const { answer, state } = await bench.run(JOBS.on);
    expect({ answer, state }).toMatchObject({
      answer: {
        request: 'POWER_ON',
        outcome: 'rejected',
        reason: 'the lines contradict each other: look at status, or ask for power off',
      },
      state: 'unknown',
    });
    expect(bench.enabled()).toEqual([]);
  });

  it.each(['on', 'clear'] as const)('over power that is still applied: %s', async (job) => {
    const bench = createBench('reference', { faults: ['enable P5V stuck on'], initially: 'on' });
    await bench.run(JOBS.off);
    const { answer, state } = await bench.run(JOBS[job]);
    expect({ state, outcome: answer?.outcome, reason: answer?.reason }).toEqual({
      state: 'failed',
      outcome: 'rejected',
      reason: 'power could not be taken down and is still applied: ask for power off first',
    });
  });
});
