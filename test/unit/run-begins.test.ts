import { describe, expect, it } from 'vitest';
import { HardwareError, type HardwareErrorCode } from '../../hw/errors.ts';
import { pause } from '../../hw/waiting.ts';
import type { ChassisHardware, Source } from '../../src/run/hardware.ts';
import { JOBS } from '../../src/run/jobs.ts';
import type { Unreadable } from '../../src/run/observe.ts';
import { type Bench, createBench } from './bench.ts';

/** What a run reads before it drives anything, and what it makes of lines and devices that cannot be read. */

function unreadable(code: HardwareErrorCode, rail: string | null = 'P5V'): Unreadable {
  const error = new HardwareError(code, `no answer (${code})`);
  return { signal: rail === null ? 'pgood' : 'good', rail, reason: error.message, error };
}

/** The chassis, of which these cannot be read; `looks` gets the time of each look at all of it. */
const without =
  (bench: Bench, missing: readonly Unreadable[], looks: number[] = []) =>
  (opened: ChassisHardware): ChassisHardware => ({
    ...opened,
    async observe() {
      looks.push(bench.clock.nowMs());
      const { observation, pgoodSources } = await opened.observe();
      const unread = missing.map(({ signal, rail }) => ({ signal, rail }));
      return { observation: { ...observation, unread }, unreadable: missing, pgoodSources };
    },
  });

/** The chassis; `asked` gets every signal that is read after the first look at all of it. */
const counting =
  (asked: Source[]) =>
  (opened: ChassisHardware): ChassisHardware => ({
    ...opened,
    readGood(source) {
      asked.push(source);
      return opened.readGood(source);
    },
  });

describe('a power-on of a chassis of which a line cannot be read', () => {
  it('fails with what the line says, and no line of it moves', async () => {
    const bench = createBench('reference', { faults: ['line rail P5V good read error'] });
    const before = bench.plant.lines();
    await expect(bench.run(JOBS.on)).rejects.toMatchObject({ name: 'HardwareError', code: 'GPIO_FAILED' });
    expect(bench.plant.lines()).toEqual(before);
  });
});

describe('a wait for power on a chassis that stands, of which something cannot be read', () => {
  const standing = () => createBench('reference', { initially: 'on' });

  it('reads it again every two seconds for eight seconds, and fails with what the device says', async () => {
    const bench = standing();
    const looks: number[] = [];
    const run = bench.run(JOBS.waitOn, { hardware: without(bench, [unreadable('I2C_NO_DEVICE')], looks) });
    await expect(run).rejects.toMatchObject({ code: 'I2C_NO_DEVICE' });
    const [firstMs = Number.NaN] = looks;
    const sinceMs = looks.map((atMs) => Math.floor((atMs - firstMs) / 1_000) * 1_000);
    expect(sinceMs).toEqual([0, 2_000, 4_000, 6_000, 8_000]);
  });

  it('gives up at once where a part of it will not come back', async () => {
    const bench = standing();
    const looks: number[] = [];
    const missing = [unreadable('I2C_NO_DEVICE'), unreadable('GPIO_BUSY', null)];
    const run = bench.run(JOBS.waitOn, { hardware: without(bench, missing, looks) });
    await expect(run).rejects.toMatchObject({ code: 'I2C_NO_DEVICE' });
    expect(looks).toHaveLength(1);
  });

  it.each([
    ['an enable is asserted', 1, 5],
    ['nothing is enabled', 0, 1],
  ])('of a pgood that cannot be read thinks that it may stand where %s', async (_, enabled, times) => {
    const bench = standing();
    const looks: number[] = [];
    const run = bench.run(JOBS.waitOn, {
      hardware: (opened) => {
        const hardware = without(bench, [unreadable('I2C_NO_DEVICE', null)], looks)(opened);
        return {
          ...hardware,
          async observe() {
            const { observation, ...more } = await hardware.observe();
            const rails = Object.entries(observation.rails).map(
              ([name, rail], index) => [name, { ...rail, enabled: index < enabled }] as const,
            );
            return {
              ...more,
              observation: { ...observation, rails: Object.fromEntries(rails), pgood: false },
            };
          },
        };
      },
    });
    await expect(run).rejects.toMatchObject({ code: 'I2C_NO_DEVICE' });
    expect(looks).toHaveLength(times);
    const warnings = bench.recording.flatMap((entry) => (entry.type === 'warning' ? [entry.message] : []));
    const again = 'no answer (I2C_NO_DEVICE): pgood may stand, reading again';
    expect(warnings).toEqual(times > 1 ? [again] : []);
  });

  it('does not read it again once it is asked to end', async () => {
    const bench = standing();
    const looks: number[] = [];
    const asked = new AbortController();
    const run = bench.run(JOBS.waitOn, {
      signal: asked.signal,
      hardware: without(bench, [unreadable('I2C_NO_DEVICE')], looks),
      record: ({ type }) => {
        if (type === 'warning') bench.clock.after(500, () => asked.abort('SIGTERM'));
      },
    });
    await expect(run).rejects.toMatchObject({ code: 'I2C_NO_DEVICE' });
    expect(looks).toHaveLength(1);
  });
});

describe('a power-off of a chassis of which something cannot be read', () => {
  it('asks a device that acknowledges nothing once more, 100 ms later', async () => {
    const bench = createBench('reference', { initially: 'on' });
    const looks: number[] = [];
    const { state, sequence } = await bench.run(JOBS.off, {
      hardware: without(bench, [unreadable('I2C_NO_DEVICE')], looks),
    });
    // What it could not see when it began it fails for, also where it could be read later.
    expect({ state, rail: sequence.fault?.rail }).toEqual({ state: 'failed', rail: 'P5V' });
    expect(bench.enabled()).toEqual([]);
    const [firstMs = Number.NaN, secondMs = Number.NaN, ...more] = looks;
    expect(secondMs - firstMs).toBeGreaterThanOrEqual(100);
    expect(secondMs - firstMs).toBeLessThan(200);
    expect(more).toEqual([]);
  });

  it('switches everything off, and fails with what could not be read', async () => {
    const bench = createBench('reference', { initially: 'on', faults: ['line rail P5V good read error'] });
    const { state, sequence } = await bench.run(JOBS.off);
    expect(bench.enabled()).toEqual([]);
    expect(state).toBe('failed');
    expect(sequence.fault).toMatchObject({ kind: 'hardware', rail: 'P5V', errorCode: 'GPIO_FAILED' });
    expect(sequence.fault?.reason).toContain('good signal of rail P5V');
    const told = bench.recording.find(({ type }) => type === 'readFailed');
    expect(told).toMatchObject({ what: 'P5V', code: 'GPIO_FAILED', reason: sequence.fault?.reason });
  });

  it.each([
    ['that seems to be off', null],
    ['that failed before', 'pgood stuck off'],
  ])('%s rejects with what the line says: it may be on all the same', async (_, before) => {
    const bench = createBench('reference', { faults: before === null ? [] : [before] });
    if (before !== null) expect((await bench.run(JOBS.on)).state).toBe('failed');
    bench.plant.addFault(bench.fault('line rail P5V good read error'));
    await expect(bench.run(JOBS.off)).rejects.toMatchObject({ name: 'HardwareError', code: 'GPIO_FAILED' });
  });
});

describe('a run that has nothing to do', () => {
  it('for want of something to wait for asks the hardware nothing more, and leaves the state as it is', async () => {
    const bench = createBench('reference');
    await bench.run(JOBS.off);
    const saved: string[] = [];
    const asked: Source[] = [];
    const { state } = await bench.run(JOBS.waitOn, {
      hardware: counting(asked),
      store: {
        load: () => bench.store.load(),
        save(to) {
          saved.push(to);
          return null;
        },
      },
    });
    expect({ state, asked, saved }).toEqual({ state: 'off', asked: [], saved: [] });
  });

  it('for its request is rejected asks the hardware nothing more', async () => {
    const bench = createBench('reference', { faults: ['good P5V stuck on'] });
    const asked: Source[] = [];
    const { state, answer } = await bench.run(JOBS.on, { hardware: counting(asked) });
    expect({ state, outcome: answer?.outcome, asked }).toEqual({
      ...{ state: 'unknown', outcome: 'rejected', asked: [] },
    });
  });
});

describe('a signal that cannot be read while power goes down', () => {
  /** The chassis, of which the signal fails the first time; `asked` gets the times at which it was asked for. */
  const failingOnce =
    (source: Source, code: HardwareErrorCode, asked: number[], bench: Bench) =>
    (opened: ChassisHardware): ChassisHardware => ({
      ...opened,
      async readGood(each) {
        if (each === source) {
          asked.push(bench.clock.nowMs());
          if (asked.length === 1) throw new HardwareError(code, `no answer (${code})`);
        }
        return opened.readGood(each);
      },
    });

  it('is asked for once more, 100 ms later, where its device acknowledges nothing', async () => {
    const bench = createBench('reference', { initially: 'on' });
    const asked: number[] = [];
    const { state } = await bench.run(JOBS.off, {
      hardware: failingOnce('PVDDQ', 'I2C_NO_DEVICE', asked, bench),
    });
    expect(state).toBe('off');
    const [firstMs = Number.NaN, secondMs = Number.NaN] = asked;
    expect(secondMs - firstMs).toBeGreaterThanOrEqual(100);
    expect(bench.recording.some(({ type }) => type === 'readFailed')).toBe(false);
  });

  it.each([
    ['PVDDQ', 'I2C_PEC'],
    [null, 'GPIO_FAILED'],
  ] as const)('fails the power-off at any other error, which is told: %s %s', async (source, code) => {
    const bench = createBench('reference', { initially: 'on' });
    const asked: number[] = [];
    const { state, sequence } = await bench.run(JOBS.off, {
      hardware: failingOnce(source, code, asked, bench),
    });
    expect({ state, fault: sequence.fault }).toMatchObject({
      state: 'failed',
      fault: { kind: 'hardware', rail: source, reason: `no answer (${code})`, errorCode: code },
    });
    expect(bench.recording.filter(({ type }) => type === 'readFailed')).toMatchObject([
      { what: source ?? 'pgood', reason: `no answer (${code})`, code },
    ]);
    expect(bench.enabled()).toEqual([]);
  });

  it('fails a power-on at once: nothing is raised on what cannot be seen', async () => {
    const bench = createBench('reference');
    const asked: number[] = [];
    const { state, sequence } = await bench.run(JOBS.on, {
      hardware: failingOnce('PVDDQ', 'I2C_NO_DEVICE', asked, bench),
    });
    expect({ state, rail: sequence.fault?.rail }).toEqual({ state: 'failed', rail: 'PVDDQ' });
    expect(sequence.fault?.atMs).toBe(asked[0]);
    expect(bench.enabled()).toEqual([]);
  });
});

describe('a run that has ended', () => {
  it('reads nothing any more', async () => {
    const bench = createBench('reference', { initially: 'on' });
    const asked = new AbortController();
    bench.clock.after(1_000, () => asked.abort('SIGTERM'));
    let underWay = 0;
    await bench.run(JOBS.watch, {
      signal: asked.signal,
      hardware: (opened) => ({
        ...opened,
        async readGood(source) {
          underWay += 1;
          // So long that one is under way whenever the run ends.
          await pause(bench.clock, 700);
          underWay -= 1;
          return opened.readGood(source);
        },
      }),
    });
    expect(underWay).toBe(0);
  });
});
