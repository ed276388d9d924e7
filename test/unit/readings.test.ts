/** Good signals as a run reads them: each once, bad news with what it hangs on before it. */
import { describe, expect, it } from 'vitest';
import { createMockGpio } from '../../mocks/backends/gpio.ts';
import { createMockI2c } from '../../mocks/backends/i2c.ts';
import { openChassis, type Source } from '../../src/run/hardware.ts';
import { createReadings, type LevelEvent, type ReadingsOptions } from '../../src/run/readings.ts';
import { createRecording } from '../../src/run/recording.ts';
import { createBench } from './bench.ts';

/** What an event says, in short: `P5V good`, `pgood missing`, `P5V unread`. */
const said = (events: readonly unknown[]) =>
  (events as LevelEvent[]).map((event) => {
    const of = event.type === 'PGOOD_LEVEL' ? 'pgood' : (event.rail ?? 'pgood');
    if (event.type === 'READ_FAILED') return `${of} unread`;
    return `${of} ${event.good ? 'good' : 'missing'}`;
  });

/** The readings of the reference board, which is on, with these faults. PVDDQ is behind a bus, and the others are lines. */
async function readingsOf(
  faults: readonly string[],
  options: Partial<Pick<ReadingsOptions, 'tellsOf' | 'isPatient'>> = {},
) {
  const bench = createBench('reference', { initially: 'on', faults });
  const { plant, clock } = bench;
  const ports = { gpio: async () => createMockGpio(plant), i2c: async () => createMockI2c(plant), clock };
  const hardware = await clock.runUntil(openChassis(bench.board, 0, ports));
  const asked: Source[] = [];
  const ended: string[][] = [];
  const readings = createReadings({
    hardware: {
      ...hardware,
      readGood(source) {
        asked.push(source);
        return hardware.readGood(source);
      },
    },
    clock,
    recording: createRecording((entry) => bench.recording.push(entry), clock),
    isPatient: () => false,
    tellsOf: () => [],
    sleep: null,
    ended: (events) => ended.push(said(events)),
    ...options,
  });
  return { bench, clock, readings, asked, ended };
}

const HANG = 'i2c vr_ddr hang';
const NEVER = () => false;

describe('a reading that was begun', () => {
  it('is begun with pgood, and tells its level once it has ended, each signal once', async () => {
    const { clock, readings, asked, ended } = await readingsOf(['good P5V stuck off']);
    readings.mark('P12V');
    readings.mark('P12V');
    readings.begin(['P5V', null, 'P12V'], NEVER);
    await clock.advance(10);
    expect(asked).toEqual([null, 'P12V', 'P5V']);
    expect(ended.flat().toSorted()).toEqual(['P12V good', 'P5V missing', 'pgood good']);
    // Nothing was marked since.
    readings.begin([], NEVER);
    await clock.advance(10);
    expect(asked).toHaveLength(3);
  });

  it('is not begun again while it is under way, and what must wait stays marked', async () => {
    const { clock, readings, asked, ended } = await readingsOf([HANG]);
    readings.begin(['PVDDQ'], NEVER);
    readings.mark('P5V');
    readings.begin(['PVDDQ', 'P5V'], (source) => source === 'P5V');
    await clock.advance(500);
    expect([asked, readings.isUnderWay()]).toEqual([['PVDDQ'], true]);
    readings.begin([], NEVER);
    await clock.advance(500);
    expect(asked).toEqual(['PVDDQ', 'P5V']);
    await clock.advance(1_000);
    expect([ended, readings.isUnderWay()]).toEqual([[['P5V good'], ['PVDDQ unread']], false]);
  });

  it('holds up the end until it is over', async () => {
    const { clock, readings, ended } = await readingsOf([HANG]);
    readings.begin(['PVDDQ', 'P5V'], NEVER);
    await clock.runUntil(readings.end());
    expect(ended).toEqual([['P5V good'], ['PVDDQ unread']]);
    expect(readings.isUnderWay()).toBe(false);
    const atMs = clock.nowMs();
    await clock.runUntil(readings.end());
    expect(clock.nowMs()).toBe(atMs);
  });
});

describe('what may have gone first', () => {
  const tellsOf = (event: LevelEvent): readonly string[] =>
    event.type === 'PGOOD_LEVEL' ? [] : event.rail === 'P3V3' ? ['P5V', 'P12V'] : ['P12V', 'P3V3'];

  it.each([
    ['is not asked for good news', [], ['P3V3 good']],
    ['is told before bad news', ['good P3V3 stuck off'], ['P5V good', 'P12V good', 'P3V3 missing']],
    [
      'is told before what could not be read',
      ['line rail P3V3 good read error'],
      ['P5V good', 'P12V good', 'P3V3 unread'],
    ],
    [
      // P5V in turn asks for P12V, which is read once.
      'is bad news in turn, with what may have gone before that',
      ['good P3V3 stuck off', 'good P5V stuck off'],
      ['P12V good', 'P5V missing', 'P3V3 missing'],
    ],
  ])('%s', async (_, faults, expected) => {
    const { clock, readings, asked } = await readingsOf(faults, { tellsOf });
    expect(said(await clock.runUntil(readings.ask('P3V3')))).toEqual(expected);
    expect(new Set(asked).size).toBe(asked.length);
    // Who asks has the events for himself.
    expect(readings.isUnderWay()).toBe(false);
  });

  it('leaves bad news the time at which all of it was known', async () => {
    const { clock, readings } = await readingsOf([HANG, 'good P3V3 stuck off'], {
      tellsOf: (event) => (event.type === 'RAIL_LEVEL' && event.rail === 'P3V3' ? ['PVDDQ'] : []),
    });
    const fromMs = clock.nowMs();
    const [first, last] = await clock.runUntil(readings.ask('P3V3'));
    expect(said([first, last])).toEqual(['PVDDQ unread', 'P3V3 missing']);
    expect(last).toMatchObject({ askedMs: fromMs, atMs: first?.atMs });
    expect(last?.atMs).toBeGreaterThanOrEqual(fromMs + 1_000);
  });
});

describe('a device that acknowledges nothing', () => {
  it.each([
    [true, ['PVDDQ good'], 2],
    [false, ['PVDDQ unread'], 1],
  ])('is asked once more where there is time for it: %s', async (isPatient, expected, times) => {
    const { clock, readings, asked } = await readingsOf(['i2c vr_ddr nack 1 times'], {
      isPatient: () => isPatient,
    });
    expect(said(await clock.runUntil(readings.ask('PVDDQ')))).toEqual(expected);
    expect(asked).toHaveLength(times);
  });

  it('and hangs is not asked again', async () => {
    const { clock, readings, asked } = await readingsOf([HANG], { isPatient: () => true });
    expect(said(await clock.runUntil(readings.ask('PVDDQ')))).toEqual(['PVDDQ unread']);
    expect(asked).toHaveLength(1);
  });

  it('is recorded with what could not be read, and why', async () => {
    const { bench, clock, readings } = await readingsOf([HANG, 'line pgood read error']);
    readings.begin([null, 'PVDDQ'], NEVER);
    await clock.runUntil(readings.end());
    expect(bench.recording).toMatchObject([
      { type: 'readFailed', what: 'pgood', code: 'GPIO_FAILED', reason: expect.stringContaining('pgood') },
      { type: 'readFailed', what: 'PVDDQ', code: 'I2C_TIMEOUT' },
    ]);
  });

  it('is recorded once a minute, and as soon as it cannot be read for another reason', async () => {
    const { bench, clock, readings } = await readingsOf(['line pgood read error']);
    const told = () => bench.recording.splice(0).map((entry) => entry.type === 'readFailed' && entry.what);
    const readFor = async (ms: number) => {
      for (const untilMs = clock.nowMs() + ms; clock.nowMs() < untilMs; ) {
        readings.begin([null], NEVER);
        await clock.runUntil(readings.end());
        await clock.advance(100);
      }
    };
    await readFor(50_000);
    expect(told()).toEqual(['pgood']);
    await readFor(20_000);
    expect(told()).toEqual(['pgood']);
  });

  it('is recorded as soon as it cannot be read for another reason', async () => {
    const { bench, clock, readings } = await readingsOf(['i2c vr_ddr nack']);
    for (const fault of ['i2c vr_ddr nack', 'i2c vr_ddr busy', 'i2c vr_ddr nack']) {
      bench.plant.clearFaults();
      bench.plant.addFault(bench.fault(fault));
      for (const _ of [1, 2]) await clock.runUntil(readings.ask('PVDDQ'));
    }
    const codes = bench.recording.flatMap((entry) => (entry.type === 'readFailed' ? entry.code : []));
    expect(codes).toEqual(['I2C_NO_DEVICE', 'I2C_BUSY']);
  });
});
