/** What is read before bad news is told, because it may have gone first: never over a bus for what a line has told. */
import { describe, expect, it } from 'vitest';
import { JOBS } from '../../src/run/jobs.ts';
import { checkBoard } from '../check-board.ts';
import { createBench } from './bench.ts';

const line = (offset: number) => ({ chip: 'gpio', line: offset });
const page = (number: number) => ({ pmbus: 'vr', page: number, minVolts: 0.9 });
const times = { nominalVolts: 1, settleMs: 5, onTimeoutMs: 200, offTimeoutMs: 300 };

/** V needs A; W and X only follow V. A and W are seen by lines, V and X over a bus. */
async function lose(faults: readonly string[], pgood: object = line(20)) {
  const { board, problems } = checkBoard({
    name: 'asked-first',
    devices: { vr: { bus: 1, address: '0x40' } },
    chassis: {
      0: {
        rails: {
          A: { enable: line(0), good: line(1), ...times },
          V: { enable: line(2), good: page(0), needs: ['A'], ...times },
          W: { good: line(3), needs: ['V'], ...times },
          X: { good: page(1), needs: ['V'], ...times },
        },
        pgood: { ...pgood, deglitchMs: 20, onTimeoutMs: 400, offTimeoutMs: 400 },
      },
    },
  });
  if (!board) throw new TypeError(JSON.stringify(problems));
  const bench = createBench(board, { initially: 'on', faults });
  const asked: { source: string | null; atMs: number }[] = [];
  const { sequence } = await bench.run(JOBS.watch, {
    hardware: (opened) => ({
      ...opened,
      readGood(source) {
        asked.push({ source, atMs: bench.clock.nowMs() - bench.plant.startMs });
        return opened.readGood(source);
      },
    }),
  });
  const between = (fromMs: number, toMs: number) => [
    ...new Set(asked.flatMap(({ source, atMs }) => (atMs >= fromMs && atMs < toMs ? [source] : []))),
  ];
  return { fault: sequence.fault, between };
}

describe('before bad news is told', () => {
  it('of a rail that a line shows no bus is asked for what it needs', async () => {
    const { fault, between } = await lose(['pgood stuck on', 'good W stuck off at 150ms']);
    expect(fault).toMatchObject({ kind: 'railLost', rail: 'W' });
    expect(between(150, 165)).not.toContain('V');
    expect(between(150, 165)).toContain('W');
  });

  it('of a rail that a bus shows what it needs is asked over it, and named where it went as well', async () => {
    const faults = ['pgood stuck on', 'good X stuck off at 150ms'];
    const alone = await lose(faults);
    expect(alone.fault).toMatchObject({ kind: 'railLost', rail: 'X' });
    const both = await lose([...faults, 'good V stuck off at 150ms']);
    expect(both.fault).toMatchObject({ kind: 'railLost', rail: 'V' });
  });

  it('of pgood every line of what only follows is read, and no page of it', async () => {
    const { fault, between } = await lose(['pgood stuck off at 150ms', 'good W stuck off at 150ms']);
    expect(fault).toMatchObject({ kind: 'railLost', rail: 'W' });
    expect(between(150, 165)).toEqual(expect.arrayContaining([null, 'W', 'A']));
    expect(between(150, 165)).not.toContain('X');
  });

  it('of pgood that is taken from the rails each of them is read, over a bus or not', async () => {
    const { between } = await lose(['good A stuck off at 150ms'], { rails: true });
    expect(
      between(150, 165)
        .filter((source) => source !== null)
        .toSorted(),
    ).toEqual(['A', 'V', 'W', 'X']);
  });
});
