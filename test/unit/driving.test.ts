import { describe, expect, it } from 'vitest';
import { HardwareError } from '../../hw/errors.ts';
import { pause } from '../../hw/waiting.ts';
import type { Board } from '../../src/board/schema.ts';
import type { ChassisHardware } from '../../src/run/hardware.ts';
import { JOBS } from '../../src/run/jobs.ts';
import { type Bench, createBench, shippedBoard } from './bench.ts';

/**
 * In which order things are driven, and what is told of it, where one drive takes long or fails while another is under
 * way.
 */

/** The reference board with other rails. */
function boardWith(change: (rails: Board['chassis'][string]['rails']) => void): Board {
  const board = structuredClone(shippedBoard('reference'));
  const chassis = board.chassis['0'];
  if (chassis === undefined) throw new RangeError('no chassis 0');
  change(chassis.rails);
  return board;
}

const stuck = () => new HardwareError('GPIO_FAILED', 'the line cannot be written');

/** What was switched and told, in its order. */
function story(bench: Bench): string[] {
  return bench.recording.flatMap((entry) => {
    if (entry.type === 'enable') return [`${entry.rail} ${entry.asserted ? 'on' : 'off'}`];
    if (entry.type === 'reset') return [`reset ${entry.asserted ? 'held' : 'released'}`];
    if (entry.type === 'latch') return ['latch'];
    if (entry.type === 'driveFailed') return [`failed: ${entry.what}`];
    return entry.type === 'state' ? [entry.to] : [];
  });
}

describe('power comes no further once a drive failed', () => {
  it('not even by an enable that was decided on in the same moment', async () => {
    const board = boardWith(({ P5V }) => {
      if (P5V !== undefined) P5V.needs = [];
    });
    const bench = createBench(board);
    const { state, sequence } = await bench.run(JOBS.on, {
      hardware: (opened) => ({
        ...opened,
        async driveEnable(rail, asserted) {
          if (rail === 'P12V' && asserted) throw stuck();
          await opened.driveEnable(rail, asserted);
        },
      }),
    });
    expect({ state, rail: sequence.fault?.rail }).toEqual({ state: 'failed', rail: 'P12V' });
    expect(story(bench).filter((each) => each.endsWith(' on'))).toEqual([]);
    const raised = bench.plant.history.filter(
      (event) => event.type === 'line' && event.role === 'enable' && event.asserted,
    );
    expect(raised).toEqual([]);
  });
});

describe('power goes down', () => {
  /** Each drive of the kind takes so long. */
  const slow =
    (bench: Bench, kind: 'driveReset' | 'driveEnable', ms: number) =>
    (opened: ChassisHardware): ChassisHardware => ({
      ...opened,
      async [kind](name: string, asserted: boolean) {
        await pause(bench.clock, ms);
        await opened[kind](name, asserted);
      },
    });

  it('only when every reset is held, however long that takes', async () => {
    const bench = createBench('reference', { initially: 'on' });
    expect((await bench.run(JOBS.off, { hardware: slow(bench, 'driveReset', 300) })).state).toBe('off');
    const told = story(bench);
    expect(told.indexOf('reset held')).toBeLessThan(told.findIndex((each) => each.endsWith(' off')));
    expect(bench.plant.hazards).toEqual([]);
  });

  it('and no reset waits for another one', async () => {
    const bench = createBench('openpower', { initially: 'on' });
    await bench.run(JOBS.off, { hardware: slow(bench, 'driveReset', 300) });
    const heldMs = bench.recording.flatMap((entry) =>
      entry.type === 'reset' && entry.asserted ? [entry.atMs] : [],
    );
    expect(heldMs).toHaveLength(2);
    expect(Math.max(...heldMs) - Math.min(...heldMs)).toBeLessThan(100);
  });

  it('and the latch takes the enables over when all of them are off', async () => {
    const bench = createBench('openpower', { initially: 'on' });
    expect((await bench.run(JOBS.off, { hardware: slow(bench, 'driveEnable', 300) })).state).toBe('off');
    const told = story(bench);
    expect(told.filter((each) => each === 'latch')).toHaveLength(1);
    expect(told.indexOf('latch')).toBeGreaterThan(told.indexOf('MAIN off'));
    expect(bench.plant.hazards).toEqual([]);
  });

  it('and nobody is told "off" while an enable is still being switched, which then fails', async () => {
    // Nothing but its enable tells of the rail, so that all reads off before its device has answered.
    const board = boardWith(({ PVDDQ }) => {
      if (PVDDQ !== undefined) delete PVDDQ.good;
    });
    const bench = createBench(board, { initially: 'on' });
    const { state, sequence } = await bench.run(JOBS.off, {
      hardware: (opened) => ({
        ...opened,
        async driveEnable(rail, asserted) {
          if (rail !== 'PVDDQ') return opened.driveEnable(rail, asserted);
          await pause(bench.clock, 1_100);
          throw new HardwareError('I2C_TIMEOUT', 'the bus hangs');
        },
      }),
    });
    expect({ state, rail: sequence.fault?.rail }).toEqual({ state: 'failed', rail: 'PVDDQ' });
    const told = story(bench);
    expect(told).not.toContain('off');
    expect(told.indexOf('failed: enable of rail PVDDQ')).toBeLessThan(told.indexOf('fault'));
  });

  it('and nobody is told that only its end is waited for before the last enable was switched', async () => {
    // Nothing but its enable tells of the last rail: it counts as down as soon as that is wanted off.
    const board = boardWith(({ P12V }) => {
      if (P12V !== undefined) delete P12V.good;
    });
    const bench = createBench(board, { initially: 'on' });
    const { state } = await bench.run(JOBS.off, { hardware: slow(bench, 'driveEnable', 300) });
    const told = story(bench);
    expect(told.slice(told.indexOf('P12V off'))).toEqual(['P12V off', 'opWaitPowerOff', 'off']);
    expect(state).toBe('off');
  });

  it('no further where the run is told twice to end: what still waits for its turn is not switched', async () => {
    const bench = createBench('reference', { initially: 'on' });
    const abandon = new AbortController();
    const run = bench.run(JOBS.off, {
      abandon: abandon.signal,
      hardware: slow(bench, 'driveReset', 300),
      record: (entry) => {
        if (entry.type === 'reconciled') bench.clock.after(100, () => abandon.abort('SIGINT'));
      },
    });
    await expect(run).rejects.toMatchObject({ code: 'INTERRUPTED' });
    expect(bench.enabled()).toHaveLength(bench.plan.rails.length);
  });

  it('after a failure of one reset the others are held, the enables go off, and the run says that it failed', async () => {
    const bench = createBench('reference', { initially: 'on' });
    const { state, sequence } = await bench.run(JOBS.off, {
      hardware: (opened) => ({ ...opened, driveReset: () => Promise.reject(stuck()) }),
    });
    expect({ state, kind: sequence.fault?.kind, rail: sequence.fault?.rail }).toEqual({
      ...{ state: 'failed', kind: 'hardware', rail: null },
    });
    expect(bench.enabled()).toEqual([]);
  });
});

describe('a run that watches a chassis', () => {
  it('ends at once when it is told twice to, though nothing else happens, and leaves the host on', async () => {
    const bench = createBench('reference', { initially: 'on' });
    const abandon = new AbortController();
    let endedMs = Number.NaN;
    const run = bench
      .run(JOBS.watch, {
        abandon: abandon.signal,
        record: (entry) => {
          if (entry.type === 'reconciled') bench.clock.after(1_005, () => abandon.abort('SIGINT'));
        },
      })
      .finally(() => {
        endedMs = bench.clock.nowMs();
      });
    const fromMs = bench.clock.nowMs();
    await expect(run).rejects.toMatchObject({ code: 'INTERRUPTED' });
    expect(endedMs - fromMs).toBeLessThan(1_050);
    expect(bench.enabled()).toHaveLength(bench.plan.rails.length);
  });
});
