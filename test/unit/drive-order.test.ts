/** In which order things are switched and told where one of them takes long or fails, to the millisecond. */
import { describe, expect, it } from 'vitest';
import { HardwareError } from '../../hw/errors.ts';
import { pause } from '../../hw/waiting.ts';
import type { ChassisHardware } from '../../src/run/hardware.ts';
import { JOBS } from '../../src/run/jobs.ts';
import { type Bench, createBench } from './bench.ts';

interface Taking {
  /** Rails by how long their enables take. */
  readonly enables?: Readonly<Record<string, number>>;
  readonly resetMs?: number;
  readonly resetFails?: boolean;
}

/** Drives of a board that take their time. */
const taking =
  ({ clock }: Bench, { enables = {}, resetMs = 0, resetFails = false }: Taking) =>
  (opened: ChassisHardware): ChassisHardware => ({
    ...opened,
    async driveEnable(rail, asserted, ...press) {
      await pause(clock, enables[rail] ?? 0);
      await opened.driveEnable(rail, asserted, ...press);
    },
    async driveReset(reset, asserted) {
      await pause(clock, resetMs);
      if (resetFails) throw new HardwareError('GPIO_FAILED', 'the line cannot be written');
      await opened.driveReset(reset, asserted);
    },
  });

/** What was switched and told, in its order, with the time since the fault or the request. */
function told({ recording }: Bench) {
  const begin = recording.find(({ type }) => type === 'fault' || type === 'request')?.atMs ?? Number.NaN;
  return recording.flatMap((entry): { what: string; ms: number }[] => {
    const at = (what: string) => [{ what, ms: entry.atMs - begin }];
    if (entry.type === 'enable') return at(`${entry.rail} ${entry.asserted ? 'on' : 'off'}`);
    if (entry.type === 'reset') return at(`reset ${entry.asserted ? 'held' : 'released'}`);
    if (entry.type === 'driveFailed') return at(`failed: ${entry.what}`);
    return entry.type === 'state' ? at(entry.to) : [];
  });
}
const names = (bench: Bench) => told(bench).map(({ what }) => what);
const msOf = (bench: Bench, what: string) => told(bench).find((each) => each.what === what)?.ms;

/** Rails of hw/boards/reference.json as a power-off takes them. */
const DOWN = ['PVCORE', 'PVDDQ', 'P1V8', 'P3V3', 'P5V', 'P12V'].map((rail) => `${rail} off`);

async function lose(taken: Taking): Promise<Bench> {
  const bench = createBench('reference', { initially: 'on', faults: ['pgood stuck off at 100ms'] });
  await bench.run(JOBS.watch, { hardware: taking(bench, taken) });
  return bench;
}

describe('after a loss', () => {
  it('rails that do not hang on each other go off in the order of a power-off all the same', async () => {
    const bench = await lose({ enables: { PVCORE: 10 } });
    expect(names(bench).filter((what) => what.endsWith(' off'))).toEqual(DOWN);
    expect(msOf(bench, 'PVDDQ off')).toBe(10);
  });

  it('no enable waits for a reset', async () => {
    const bench = await lose({ resetMs: 30 });
    expect(msOf(bench, 'reset held')).toBe(30);
    expect(msOf(bench, 'P12V off')).toBe(0);
  });

  it('what hangs is waited for 50 ms and no more', async () => {
    const bench = await lose({ enables: { PVCORE: 1_100 } });
    expect(msOf(bench, 'PVCORE off')).toBe(1_100);
    for (const what of DOWN.slice(1)) expect(msOf(bench, what), what).toBe(50);
  });

  it('is told that it ended when the last drive is over, and not before', async () => {
    const bench = await lose({ enables: { PVCORE: 1_100 } });
    expect(names(bench).slice(-2)).toEqual(['PVCORE off', 'failed']);
  });
});

describe('a power-off', () => {
  it('tells each of its states when that has come', async () => {
    const bench = createBench('reference', { initially: 'on' });
    await bench.run(JOBS.off, { hardware: taking(bench, { enables: { P12V: 300 } }) });
    const all = names(bench);
    expect(all.slice(0, 2)).toEqual(['opPowerStop', 'reset held']);
    expect(all.slice(2, -3).toSorted()).toEqual(DOWN.slice(0, -1).toSorted());
    expect(all.slice(-3)).toEqual(['P12V off', 'opWaitPowerOff', 'off']);
  });

  it('tells that something failed at once, though other drives are under way', async () => {
    const bench = createBench('reference', { initially: 'on' });
    const enables = { PVCORE: 300, PVDDQ: 300 };
    await bench.run(JOBS.off, { hardware: taking(bench, { enables, resetFails: true }) });
    const all = names(bench);
    expect(all.slice(0, 3)).toEqual(['opPowerStop', expect.stringMatching(/^failed: reset /), 'fault']);
    expect(all.indexOf('fault')).toBeLessThan(all.indexOf('PVCORE off'));
    expect(all.at(-1)).toBe('failed');
  });
});

describe('a power-off of a chassis that is off', () => {
  it('is answered though its latch cannot be pulsed, and fails', async () => {
    const bench = createBench('openpower');
    const { state, answer } = await bench.run(JOBS.off, {
      hardware: (opened) => ({
        ...opened,
        pulseLatch: () => Promise.reject(new HardwareError('GPIO_FAILED', 'the line cannot be written')),
      }),
    });
    expect([state, answer?.outcome]).toEqual(['failed', 'unchanged']);
    expect(names(bench)).toContain('failed: latch');
    expect(bench.recording.some(({ type }) => type === 'latch')).toBe(false);
  });
});
