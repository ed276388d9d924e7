import { describe, expect, it } from 'vitest';
import type { PowerError } from '../../src/errors.ts';
import { lineReporter, linesOf } from '../../src/report/lines.ts';
import { JOBS } from '../../src/run/jobs.ts';
import { expectDone, faultError } from '../../src/run/outcome.ts';
import { writeLine } from '../../src/system/severity.ts';
import { type Bench, createBench } from './bench.ts';

/** What a power-off ends with. */
async function failedOff(bench: Bench): Promise<PowerError> {
  const result = await bench.run(JOBS.off);
  try {
    expectDone(0, 'off', JOBS.off, result);
  } catch (error) {
    return error as PowerError;
  }
  throw new Error(`the power-off ended in ${result.state}`);
}

const applied = (what: string) =>
  `; POWER IS STILL APPLIED (${what}): disconnect the input power before touching the board`;

describe('power that could not be taken down is told as far as it is known', () => {
  it.each([
    ['enable P5V stuck on', 'P5V', 'enabled', 'rail P5V is enabled'],
    ['enable PVDDQ stuck on', 'PVDDQ', 'enabled', 'rail PVDDQ is enabled'],
    ['good P1V8 stuck on', 'P1V8', 'good', 'rail P1V8 is good'],
    ['pgood stuck on', null, 'good', 'pgood stands'],
    ['i2c vr_ddr nack', 'PVDDQ', 'unread', 'rail PVDDQ could not be read and is taken to be on'],
    ['line C3 busy', 'P1V8', 'unread', 'rail P1V8 could not be read and is taken to be on'],
    // Read, and then its turn to go off.
    [
      'i2c vr_ddr nack at 1ms',
      'PVDDQ',
      'undriven',
      'rail PVDDQ could not be switched off and is taken to be on',
    ],
  ])('%s', async (fault, rail, because, text) => {
    const bench = createBench('reference', { faults: [fault], initially: 'on' });
    const { message, details } = await failedOff(bench);
    expect(message).toContain(applied(text));
    expect(details).toMatchObject({ powerStillApplied: true, stillOn: [{ rail, because }] });
  });

  it('a rail without a signal is enabled, and nothing says that it is good', async () => {
    const bench = createBench('openpower', { initially: 'on' });
    const [rail = ''] = bench.plan.rails.map(({ name }) => name);
    bench.plant.addFault(bench.fault(`enable ${rail} stuck on`));
    const { message, details } = await failedOff(bench);
    expect(message).toContain(`rail ${rail} is enabled`);
    expect(details.stillOn).toContainEqual({ rail, because: 'enabled' });
  });

  it('a signal that stood and could not be read any more', async () => {
    const bench = createBench('reference', { faults: ['good P1V8 stuck on'], initially: 'on' });
    bench.plant.addFault(bench.fault('line rail P1V8 good read error at 1ms'));
    const { message, details } = await failedOff(bench);
    expect(message).toContain(applied('rail P1V8 could not be read and is taken to be on'));
    expect(details.stillOn).toEqual([{ rail: 'P1V8', because: 'unread' }]);
  });

  // From before P1V8 is enabled until it has been seen good.
  it.each([1, 50, 100, 150, 175, 200])('a rail that cannot be read any more from %i ms on', async (ms) => {
    const bench = createBench('reference', { faults: [`line rail P1V8 good read error at ${ms}ms`] });
    const result = await bench.run(JOBS.on);
    expect(result.state).toBe('failed');
    const wasEnabled = bench.recording.some((each) => each.type === 'enable' && each.rail === 'P1V8');
    const { details, message } = faultError(0, result.sequence);
    expect(details.stillOn).toEqual(wasEnabled ? [{ rail: 'P1V8', because: 'unread' }] : []);
    expect(message.includes('POWER IS STILL APPLIED')).toBe(wasEnabled);
  });

  it('the same of pgood', async () => {
    const bench = createBench('reference', { faults: ['pgood stuck on'], initially: 'on' });
    const { sequence } = await bench.run(JOBS.off);
    const { message, details } = faultError(0, { ...sequence, pgood: { ...sequence.pgood, unread: true } });
    expect(details.stillOn).toEqual([{ rail: null, because: 'unread' }]);
    expect(message).toContain(applied('pgood could not be read and is taken to stand'));
  });

  it('what a board only watches is still on while it is good: a supply never, a rail whatever is switched for it', async () => {
    const { sequence } = await createBench('reference', { faults: ['rail P1V8 never good'] }).run(JOBS.on);
    const stillOn = (change: object) => {
      const P12V = sequence.rails.P12V;
      if (P12V === undefined) throw new RangeError('another board');
      const rails = { ...sequence.rails, P12V: { ...P12V, ...change } };
      return faultError(0, { ...sequence, rails }).details.stillOn;
    };
    const on = { enabled: true, good: true, goodUnread: false };
    expect(stillOn({ ...on, watched: 'supply' })).toEqual([]);
    expect(stillOn({ ...on, watched: 'follower' })).toEqual([{ rail: 'P12V', because: 'good' }]);
    expect(stillOn({ ...on, watched: 'follower', good: false })).toEqual([]);
    expect(stillOn({ ...on, watched: 'follower', goodUnread: true })).toEqual([
      { rail: 'P12V', because: 'unread' },
    ]);
  });

  it('power that is down leaves nothing', async () => {
    const bench = createBench('reference', { faults: ['rail P1V8 never good'] });
    const result = await bench.run(JOBS.on);
    expect(() => expectDone(0, 'on', JOBS.on, result)).toThrow(
      expect.objectContaining({
        message: expect.stringMatching(/; the power was taken down$/),
        details: expect.objectContaining({ powerStillApplied: false, stillOn: [] }),
      }),
    );
  });
});

/** What `expectDone` throws. */
function thrownBy(...args: Parameters<typeof expectDone>): PowerError {
  try {
    expectDone(...args);
  } catch (error) {
    return error as PowerError;
  }
  throw new Error(`${args[1]} is taken for done`);
}

describe('a job is done where it should end, and nowhere else', () => {
  it.each(['start', 'waitOn', 'stop', 'waitOff', 'on', 'off'] as const)(
    '%s of a healthy chassis is done',
    async (job) => {
      const bench = createBench('reference');
      if (job === 'waitOn') await bench.run(JOBS.start);
      if (job === 'stop' || job === 'off') await bench.run(JOBS.on);
      expectDone(0, job, JOBS[job], await bench.run(JOBS[job]));
    },
  );

  it('a request that was rejected is told with the reason', async () => {
    const bench = createBench('reference', { faults: ['enable P5V stuck on'], initially: 'on' });
    await bench.run(JOBS.off);
    const result = await bench.run(JOBS.on);
    expect(thrownBy(0, 'on', JOBS.on, result)).toMatchObject({
      code: 'REQUEST_REJECTED',
      message: `chassis 0: on rejected: ${result.answer?.reason}`,
      details: { chassis: 0, state: 'failed' },
    });
  });

  it('one that was rejected in a state where the job would end is not done either', async () => {
    const bench = createBench('reference');
    const result = await bench.run(JOBS.on);
    const answer = { request: 'POWER_ON', outcome: 'rejected', reason: 'not now' } as const;
    expect(thrownBy(0, 'on', JOBS.on, { ...result, answer }).message).toBe('chassis 0: on rejected: not now');
  });

  it.each([
    ['waitOn', 'off', 'start'],
    ['waitOff', 'pgood', 'stop'],
  ] as const)('%s in a chassis that is %s says what to ask for first', async (job, state, verb) => {
    const bench = createBench('reference', { initially: state === 'off' ? 'off' : 'on' });
    const error = thrownBy(0, 'it', JOBS[job], await bench.run(JOBS[job]));
    expect(error).toMatchObject({ code: 'REQUEST_REJECTED', details: { chassis: 0, state } });
    expect(error.message).toBe(
      `chassis 0: it has nothing to wait for: the chassis is ${state}, ask for ${verb} first`,
    );
  });

  it('a power-on is not done with everything off, as a power-off is after an earlier failure', async () => {
    const bench = createBench('reference', { faults: ['rail P12V never good'] });
    await bench.run(JOBS.on);
    const result = await bench.run(JOBS.waitOn);
    expect(result.isFaultOfThisRun).toBe(false);
    expect(thrownBy(0, 'on', JOBS.on, result).code).toBe('RAIL_FAULT');
  });

  it('a power-off that finds power that an earlier one left is a failure', async () => {
    const bench = createBench('reference', { faults: ['good P1V8 stuck on'], initially: 'on' });
    const { sequence } = await bench.run(JOBS.off);
    const later = { state: 'failed', sequence, answer: null, isFaultOfThisRun: false } as const;
    expect(thrownBy(0, 'off', JOBS.off, later).code).toBe('POWER_OFF_TIMEOUT');
  });

  it('one that ends elsewhere with everything off is not the power-off that was asked for', async () => {
    const bench = createBench('reference');
    const { sequence } = await bench.run(JOBS.off);
    const unsure = { state: 'unknown', sequence, answer: null, isFaultOfThisRun: false } as const;
    expect(thrownBy(0, 'off', JOBS.off, unsure).code).toBe('REQUEST_REJECTED');
  });

  it('a failure whose cause was lost with its record is told as one that is not known', async () => {
    const bench = createBench('reference', {
      faults: ['enable P5V stuck on', 'pgood stuck on'],
      initially: 'on',
    });
    const { sequence } = await bench.run(JOBS.off);
    const error = faultError(0, { ...sequence, fault: null });
    expect(error.code).toBe('POWER_OFF_TIMEOUT');
    expect(error.message).toBe(
      `chassis 0: an earlier power sequence failed and its cause is not known${applied('rail P5V is enabled, pgood stands')}`,
    );
  });

  it.each([
    ['rail P1V8 never good', 'RAIL_FAULT'],
    ['rail P3V3 droops at 120ms', 'RAIL_FAULT'],
    ['pgood never', 'PGOOD_TIMEOUT'],
    ['pgood glitch 50ms at 70ms', 'PGOOD_LOST'],
    ['enable P5V stuck off', 'HARDWARE_FAULT'],
  ])('a power-on with %s ends with %s', async (fault, code) => {
    const bench = createBench(code === 'PGOOD_LOST' ? 'openpower' : 'reference', { faults: [fault] });
    expect(thrownBy(0, 'on', JOBS.on, await bench.run(JOBS.on)).code).toBe(code);
  });
});

describe('a power-off that could not look is no power-off', () => {
  it.each(['line pgood busy', 'line pgood read error', 'line rail P12V good read error', 'i2c vr_ddr nack'])(
    '%s',
    async (fault) => {
      const bench = createBench('reference', { initially: 'on' });
      bench.plant.addFault(bench.fault(fault));
      expect((await failedOff(bench)).code).toBe('HARDWARE_FAULT');
    },
  );

  it('unlike one that finds the power down after an earlier failure', async () => {
    const bench = createBench('reference', { faults: ['rail P1V8 never good'] });
    await bench.run(JOBS.on);
    const result = await bench.run(JOBS.off);
    expect(result.state).toBe('failed');
    expectDone(0, 'off', JOBS.off, result);
  });
});

it.each([
  [[], 'lines read: off, pgood not asserted'],
  [['line pgood read error'], 'lines read: off, pgood could not be read'],
])('the line for people does not tell a level that was not read: %j', async (faults, line) => {
  const bench = createBench('reference', { faults });
  await bench.run(JOBS.off).catch(() => undefined);
  expect(bench.recording.flatMap(linesOf).map(({ text }) => text)).toContain(line);
});

it('what another program said of its error begins no line, in the journal neither', () => {
  let written = '';
  const write = (text: string) => {
    written += text;
  };
  for (const journal of [true, false]) {
    const out = { write, journal, columns: null, rows: undefined };
    const message = 'no answer (x\n<2>chassis 0: POWER IS STILL APPLIED\u001b[31m)';
    lineReporter(out, 0)({ type: 'warning', message, atMs: 0 });
    writeLine(out, 4, message);
  }
  expect(written.match(/^.*no answer \(x <2>chassis 0: POWER IS STILL APPLIED \[31m\)$/gm)).toHaveLength(4);
  expect(written.split('\n')).toHaveLength(5);
});

it('a reset that could not be read is not told as pgood', async () => {
  const bench = createBench('reference', { faults: ['line D0 read error'], initially: 'on' });
  await bench.run(JOBS.off);
  const failed = bench.recording.flatMap((entry) => (entry.type === 'readFailed' ? [entry.what] : []));
  expect(failed).toEqual(['reset']);
});

it('a record of the lines tells what of it was not read', async () => {
  const bench = createBench('reference', { faults: ['i2c vr_ddr nack'], initially: 'on' });
  await bench.run(JOBS.off);
  const unread = [
    { signal: 'enable', rail: 'PVDDQ' },
    { signal: 'good', rail: 'PVDDQ' },
  ];
  expect(bench.recording).toContainEqual(expect.objectContaining({ type: 'reconciled', unread }));
});
