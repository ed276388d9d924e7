/** What a run keeps of the levels by which it found a fault, as the diagnosis has it in the end. */
import { describe, expect, it } from 'vitest';
import type { Board } from '../../src/board/schema.ts';
import { JOBS } from '../../src/run/jobs.ts';
import { checkBoard } from '../check-board.ts';
import { createBench } from './bench.ts';

const line = (offset: number) => ({ chip: 'gpio', line: offset });
const times = { nominalVolts: 1, settleMs: 5, onTimeoutMs: 200, offTimeoutMs: 300 };

/** B needs A, C is beside them, and V, which needs B, is seen by a PMBus page; W needs V. */
function boardOf(pgood: object = line(20)): Board {
  const { board, problems } = checkBoard({
    name: 'levels',
    devices: { vr: { bus: 1, address: '0x40' } },
    chassis: {
      0: {
        rails: {
          A: { enable: line(0), good: line(1), ...times },
          B: { enable: line(2), good: line(3), needs: ['A'], ...times },
          C: { enable: line(4), good: line(5), ...times },
          V: { enable: line(6), good: { pmbus: 'vr', minVolts: 0.9 }, needs: ['B'], ...times },
          W: { enable: line(7), good: line(8), needs: ['V'], ...times },
        },
        pgood: { ...pgood, deglitchMs: 20, onTimeoutMs: 400, offTimeoutMs: 400 },
      },
    },
  });
  if (!board) throw new TypeError(JSON.stringify(problems));
  return board;
}

/** What is said of a chassis that was on, after these. */
async function lost(faults: readonly string[], pgood?: object) {
  const bench = createBench(boardOf(pgood), { initially: 'on', faults });
  const { sequence } = await bench.run(JOBS.watch);
  const { kind, rail, diagnosis } = sequence.fault ?? {};
  return { fault: [kind, rail], diagnosis };
}

describe('after a loss of pgood', () => {
  it('a rail is named that had gone by then, though nobody would have believed it yet', async () => {
    expect(await lost(['pgood stuck off at 100ms', 'good B stuck off at 105ms'])).toMatchObject({
      fault: ['pgoodLost', null],
      diagnosis: { rail: 'B', cause: 'dropped', because: 'its good signal was gone' },
    });
  });

  it('a rail is named that does not tell of its loss by itself: it is looked at once pgood drops', async () => {
    // Between two looks at a line that raises no interrupts, which come every 100 ms.
    const faults = [
      'line rail B good no interrupts',
      'good B stuck off at 150ms',
      'pgood stuck off at 151ms',
    ];
    expect((await lost(faults)).diagnosis).toMatchObject({ rail: 'B', cause: 'dropped' });
  });

  it('of rails that went the first in the order is named', async () => {
    const faults = ['pgood stuck off at 100ms', 'good A stuck off at 109ms', 'good B stuck off at 105ms'];
    expect((await lost(faults)).diagnosis).toMatchObject({ rail: 'A', cause: 'dropped' });
  });

  it('no rail is named that only went when the power was taken down', async () => {
    expect(await lost(['pgood stuck off at 100ms', 'good B stuck off at 125ms'])).toMatchObject({
      fault: ['pgoodLost', null],
      diagnosis: { rail: null, cause: 'unknown' },
    });
  });

  it('no rail is named where nobody could read whether what it needs went before it', async () => {
    const faults = ['i2c vr hang at 95ms', 'pgood stuck off at 100ms', 'good W stuck off at 105ms'];
    expect(await lost(faults)).toMatchObject({
      fault: ['pgoodLost', null],
      diagnosis: {
        rail: null,
        cause: 'unknown',
        because: expect.stringMatching(/^rail W: .*nobody read whether V before it went first$/),
        unread: ['vr page 0'],
      },
    });
  });

  it('which of several signals of pgood was missing is kept, and not which are when all is off', async () => {
    const two = { all: [line(20), line(21)] };
    expect((await lost(['pgood 2 stuck off at 100ms'], two)).diagnosis?.because).toMatch(
      /; pgood 2 was missing$/,
    );
  });
});

describe('a rail that is lost while pgood stands', () => {
  it('is named, and one that was good then is not', async () => {
    expect(await lost(['good C stuck off at 100ms', 'pgood stuck on'])).toMatchObject({
      fault: ['railLost', 'C'],
      diagnosis: { rail: 'C', cause: 'dropped' },
    });
  });
});

describe('at the first sign of a loss', () => {
  it('what another rail may have gone with is looked at, though nothing tells of it', async () => {
    const faults = ['line rail A good no interrupts', 'good A stuck off at 150ms', 'pgood stuck on'];
    expect(await lost([...faults, 'good B stuck off at 151ms'])).toMatchObject({ fault: ['railLost', 'A'] });
  });

  it.each([
    ['pgood', 'pgood stuck off at 150ms'],
    ['a rail', 'good C stuck off at 150ms'],
  ])('of %s every line is read, and no bus is asked', async (_, fault) => {
    const bench = createBench(boardOf(), { initially: 'on', faults: [fault] });
    const asked: { source: string | null; atMs: number }[] = [];
    await bench.run(JOBS.watch, {
      hardware: (opened) => ({
        ...opened,
        readGood(source) {
          asked.push({ source, atMs: bench.clock.nowMs() });
          return opened.readGood(source);
        },
      }),
    });
    const fromMs = bench.plant.startMs + 150;
    // Until it is believed, when that is read which has to be.
    const first = asked.filter(({ atMs }) => atMs >= fromMs && atMs < fromMs + 15);
    const sources = new Set(first.map(({ source }) => source));
    expect([...sources].filter((source) => source !== null).toSorted()).toEqual(['A', 'B', 'C', 'W']);
    expect(sources.has(null)).toBe(fault.startsWith('pgood'));
  });
});

describe('a power-on in which nothing is said of any rail', () => {
  it('names none that has come, nor one that was never enabled', async () => {
    const bench = createBench(boardOf(), { faults: ['pgood never'] });
    const { sequence } = await bench.run(JOBS.on);
    expect(sequence.fault).toMatchObject({
      ...{ kind: 'pgoodTimeout', rail: null, diagnosis: { rail: null, cause: 'unknown' } },
    });
    const early = createBench(boardOf(), { faults: ['rail A never good'] });
    expect((await early.run(JOBS.on)).sequence.fault).toMatchObject({
      ...{ kind: 'railTimeout', rail: 'A', diagnosis: { rail: 'A', cause: 'neverCame' } },
    });
  });
});

describe('the voltage before the power went', () => {
  it.each([
    ['a level', line(2)],
    ['a power button', { pulse: line(2), state: line(3), forceOffMs: 6_000 }],
  ])('is kept of a rail that only follows one which is switched by %s', async (_, enable) => {
    const { board, problems } = checkBoard({
      name: 'before',
      devices: { vr: { bus: 1, address: '0x40' } },
      chassis: {
        0: {
          rails: {
            STANDBY: { enable: line(0), good: line(1), ...times },
            HOST: { enable, good: line(4), needs: ['STANDBY'], ...times },
            F: { good: { pmbus: 'vr', minVolts: 0.9 }, needs: ['HOST'], ...times },
          },
          pgood: { ...line(20), deglitchMs: 20, onTimeoutMs: 400, offTimeoutMs: 400 },
        },
      },
    });
    if (!board) throw new TypeError(JSON.stringify(problems));
    const bench = createBench(board, { initially: 'on', faults: ['pgood stuck off at 100ms'] });
    await bench.run(JOBS.watch);
    const [page] = bench.recording.flatMap((entry) => (entry.type === 'evidence' ? entry.evidence : []));
    expect(page).toMatchObject({ device: 'vr', rails: { F: { minVolts: 0.9 } } });
    expect([page?.voutVolts, page?.voltsBefore]).toEqual([0, expect.closeTo(1, 2)]);
  });
});
