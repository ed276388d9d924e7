/** What a run does before it reads a line, and what its record has of each rail. */
import { describe, expect, it } from 'vitest';
import { HardwareError } from '../../hw/errors.ts';
import type { Board } from '../../src/board/schema.ts';
import type { ChassisHardware } from '../../src/run/hardware.ts';
import { JOBS } from '../../src/run/jobs.ts';
import { checkBoard } from '../check-board.ts';
import { type Bench, createBench } from './bench.ts';

const line = (offset: number) => ({ chip: 'gpio', line: offset });
const times = { settleMs: 5, onTimeoutMs: 200, offTimeoutMs: 300 };

/** F follows A. */
function boardOf(): Board {
  const { board, problems } = checkBoard({
    name: 'recorded',
    chassis: {
      0: {
        rails: {
          A: { enable: line(0), good: line(1), ...times },
          F: { good: line(2), needs: ['A'], ...times },
        },
        pgood: { ...line(20), deglitchMs: 20, onTimeoutMs: 400, offTimeoutMs: 400 },
      },
    },
  });
  if (!board) throw new TypeError(JSON.stringify(problems));
  return board;
}

const phasesOf = ({ recording }: Bench, rail: string) =>
  recording.flatMap((entry) =>
    entry.type === 'rail' && entry.rail === rail ? [`${entry.phase} ${entry.good}`] : [],
  );
const warningsOf = ({ recording }: Bench) =>
  recording.flatMap((entry) => (entry.type === 'warning' ? [entry.message] : []));

describe('the record of a rail', () => {
  it.each(['A', 'F'])('has each of its phases once, as it comes and as it goes: %s', async (rail) => {
    const bench = createBench(boardOf());
    await bench.run(JOBS.on);
    expect(phasesOf(bench, rail)).toEqual(['rising false', 'rising true', 'up true']);
    bench.recording.length = 0;
    await bench.run(JOBS.off);
    expect(phasesOf(bench, rail)).toEqual(['falling true', 'down false']);
  });

  it('has what is seen of it while its phase is the same', async () => {
    const bench = createBench(boardOf(), { initially: 'on' });
    bench.clock.after(100, () => bench.plant.addFault(bench.fault('good F stuck off')));
    bench.clock.after(103, () => bench.plant.clearFaults());
    const asked = new AbortController();
    bench.clock.after(500, () => asked.abort('SIGTERM'));
    expect((await bench.run(JOBS.watch, { signal: asked.signal })).state).toBe('pgood');
    expect(phasesOf(bench, 'F')).toEqual(['up false', 'up true']);
    expect(phasesOf(bench, 'A')).toEqual([]);
  });

  it('has its switching before what came of that, and of a follower what came as it came', async () => {
    const bench = createBench(boardOf());
    await bench.run(JOBS.on);
    const story = bench.recording.flatMap((entry) => {
      if (entry.type === 'enable') return [`${entry.rail} on`];
      return entry.type === 'rail' ? [`${entry.rail} ${entry.phase} ${entry.good}`] : [];
    });
    expect(story.slice(0, 2)).toEqual(['A on', 'A rising false']);
    expect(story.indexOf('F rising false')).toBeGreaterThan(story.indexOf('A rising true'));
  });
});

describe('the record of a run', () => {
  const levelsOf = ({ recording }: Bench) =>
    recording.flatMap((entry) => (entry.type === 'pgood' ? [entry.level] : []));

  it('has pgood once as it comes, and once as it goes', async () => {
    const bench = createBench(boardOf());
    await bench.run(JOBS.on);
    expect(levelsOf(bench)).toEqual([true]);
    bench.recording.length = 0;
    await bench.run(JOBS.off);
    expect(levelsOf(bench)).toEqual([false]);
  });

  it('has what was wrong with the state file, and nothing of one that is right', async () => {
    const bench = createBench(boardOf());
    await bench.run(JOBS.on);
    expect(warningsOf(bench)).toEqual([]);
    const store = { ...bench.store, load: () => ({ hint: null, warning: 'the state file is torn' }) };
    await bench.run(JOBS.waitOn, { store });
    expect(warningsOf(bench)).toEqual(['the state file is torn']);
  });

  it('names the enable that could not be driven', async () => {
    const bench = createBench(boardOf());
    const driveEnable = () => Promise.reject(new HardwareError('GPIO_FAILED', 'EIO'));
    await bench.run(JOBS.on, { hardware: (opened) => ({ ...opened, driveEnable }) });
    expect(bench.recording).toContainEqual(
      expect.objectContaining({ type: 'driveFailed', what: 'enable of rail A' }),
    );
  });
});

describe('a line that was left asserted', () => {
  const pressed =
    (letGo: () => Promise<readonly string[]>) =>
    (opened: ChassisHardware): ChassisHardware => ({ ...opened, letGo });
  const FAILED = new HardwareError('GPIO_FAILED', 'power button of rail A: EIO');

  it('is let go before anything is read, and each is told', async () => {
    for (const job of [JOBS.on, JOBS.off, JOBS.waitOn, JOBS.clear] as const) {
      const bench = createBench(boardOf());
      const calls: string[] = [];
      await bench.run(job, {
        hardware: (opened) => ({
          ...opened,
          async letGo() {
            calls.push('let go');
            return ['power button of rail A', 'host reset'];
          },
          observe() {
            calls.push('observe');
            return opened.observe();
          },
        }),
      });
      expect(calls.slice(0, 2)).toEqual(['let go', 'observe']);
      expect(warningsOf(bench)).toEqual([
        'power button of rail A was left asserted: let go',
        'host reset was left asserted: let go',
      ]);
    }
  });

  it('is left to others by who only watches: it may be their press', async () => {
    const bench = createBench(boardOf(), { initially: 'on' });
    const { state } = await bench.run(JOBS.watch, {
      signal: AbortSignal.abort('SIGTERM'),
      hardware: pressed(() => Promise.reject(FAILED)),
    });
    expect([state, warningsOf(bench)]).toEqual(['pgood', []]);
  });

  it('that cannot be let go refuses a power-on, and is told by a power-off, which goes on', async () => {
    const bench = createBench(boardOf(), { initially: 'on' });
    const hardware = pressed(() => Promise.reject(FAILED));
    for (const job of [JOBS.on, JOBS.waitOn, JOBS.clear] as const) {
      await expect(bench.run(job, { hardware })).rejects.toBe(FAILED);
    }
    expect(warningsOf(bench)).toEqual([]);
    expect((await bench.run(JOBS.off, { hardware })).state).toBe('off');
    expect(warningsOf(bench)).toEqual(['power button of rail A: EIO: powering off all the same']);
  });

  it('is no place to hide a mistake of the program, not even for a power-off', async () => {
    const mistake = new TypeError('a mistake of the program');
    const bench = createBench(boardOf(), { initially: 'on' });
    const run = bench.run(JOBS.off, { hardware: pressed(() => Promise.reject(mistake)) });
    await expect(run).rejects.toBe(mistake);
  });
});
