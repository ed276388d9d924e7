/** Lines of a chip that answers nothing, as an expander on a bus that hangs, beside lines of chips that answer. */
import { describe, expect, it } from 'vitest';
import type { Board } from '../../src/board/schema.ts';
import { JOBS } from '../../src/run/jobs.ts';
import { checkBoard } from '../check-board.ts';
import { type Bench, createBench } from './bench.ts';

/** Longest time of an access (ports.ts says that there is one; hw/gpio/turns.ts how long it is). */
const DEADLINE_MS = 1_000;
/** What a power sequence of this board takes where everything answers, and more. */
const SEQUENCE_MS = 100;
const DEGLITCH_MS = 5;
/** How long a loss waits for what lines tell of it (src/run/readings.ts), and an enable for those before it (src/run/drives.ts). */
const TOLD_FIRST_MS = 50;
const GRACE_MS = 50;

const soc = (line: number) => ({ chip: 'soc', line });
const expander = (number: 1 | 2, line: number) => ({ chip: `expander${number}`, line });
const TIMES = { settleMs: 1, onTimeoutMs: 100, offTimeoutMs: 200 };

/** The enables of C and D, and what shows A, B and the standby rail, are on expanders. */
const RAILS = {
  STANDBY: { good: expander(1, 0), ...TIMES, onTimeoutMs: 200 },
  A: { enable: soc(0), good: expander(1, 1), needs: ['STANDBY'], ...TIMES },
  B: { enable: soc(1), good: expander(2, 1), needs: ['A'], ...TIMES },
  C: { enable: expander(1, 3), good: soc(3), ...TIMES },
  D: { enable: expander(2, 4), good: soc(4), ...TIMES },
};
const HOST = {
  enable: { pulse: { ...soc(10), active: 'low' }, state: expander(1, 10), sleepState: true },
  good: soc(11),
  needs: ['A'],
  onTimeoutMs: 2_000,
  offTimeoutMs: 500,
};

const BOARDS = {
  'pgood is one line': boardOf(RAILS, soc(9)),
  'pgood is a line of theirs, too': boardOf(RAILS, { all: [soc(9), expander(2, 9)] }),
  'pgood is the rails of theirs, too': boardOf(RAILS, { all: [soc(9), { rails: true }] }),
  'one of them shows whether the host sleeps': boardOf({ ...RAILS, HOST }, soc(9)),
};
const board = BOARDS['pgood is one line'];

function boardOf(rails: Readonly<Record<string, unknown>>, shown: object): Board {
  const pgood = { ...shown, deglitchMs: DEGLITCH_MS, onTimeoutMs: 300, offTimeoutMs: 600 };
  const resets = { host: { ...soc(8), active: 'low' } };
  const { board: made, problems } = checkBoard({ name: 'hangs', chassis: { 0: { rails, pgood, resets } } });
  if (!made) throw new TypeError(JSON.stringify(problems));
  return made;
}

const CHIPS = ['line expander1/3 hangs', 'line expander2/4 hangs'];
const hangBoth = (bench: Bench, forMs?: number) => {
  const lasting = forMs === undefined ? '' : ` for ${forMs}ms`;
  for (const text of CHIPS) bench.plant.addFault(bench.fault(`${text}${lasting}`));
};
/** When the enable of a rail went off last, from `sinceMs` on. */
const offAtMs = ({ plant }: Bench, rail: string, sinceMs: number) => {
  const place = { A: 'soc/0', B: 'soc/1', C: 'expander1/3', D: 'expander2/4' }[rail];
  const drive = plant.history.findLast(
    (event) => event.type === 'line' && event.line === place && event.atMs >= sinceMs && event.level === 0,
  );
  return drive === undefined ? null : drive.atMs - sinceMs;
};

async function poweredOn(of = board): Promise<Bench> {
  const bench = createBench(of);
  expect((await bench.run(JOBS.on)).state).toBe('pgood');
  return bench;
}

describe('a power-off beside chips that hang', () => {
  it('waits for one deadline, however many lines and chips there are, and drives all that answers', async () => {
    const bench = await poweredOn();
    hangBoth(bench);
    const fromMs = bench.clock.nowMs();
    const { state, sequence } = await bench.run(JOBS.off);
    for (const rail of ['A', 'B']) {
      // A waits for B to be seen off, which nobody can, for as long as that may take.
      expect(offAtMs(bench, rail, fromMs)).toBeLessThan(DEADLINE_MS + TIMES.offTimeoutMs + SEQUENCE_MS);
    }
    expect(state).toBe('failed');
    expect(sequence.fault?.errorCode).toBe('GPIO_TIMEOUT');
    expect(bench.enabled()).toEqual(['C', 'D']);
  });

  it('drives what answers by the time that it is driven, though it could not be opened', async () => {
    const bench = await poweredOn();
    hangBoth(bench, DEADLINE_MS + 400);
    const { state, sequence } = await bench.run(JOBS.off);
    expect(bench.enabled()).toEqual([]);
    // Something could not be read when it began, and that is told.
    expect({ state, errorCode: sequence.fault?.errorCode }).toEqual({
      state: 'failed',
      errorCode: 'GPIO_TIMEOUT',
    });
  });
});

describe('a chassis that is on beside chips that hang', () => {
  const watchFor = async (bench: Bench, ms: number) => {
    const end = new AbortController();
    bench.clock.after(ms, () => end.abort('SIGTERM'));
    return bench.run(JOBS.watch, { signal: end.signal });
  };

  it.each(Object.entries(BOARDS))('stays on (%s)', async (_, of) => {
    const bench = await poweredOn(of);
    const before = bench.enabled();
    bench.clock.after(500, () => hangBoth(bench, 20_000));
    expect((await watchFor(bench, 30_000)).state).toBe('pgood');
    expect(bench.enabled()).toEqual(before);
  });

  it.each(
    Object.entries(BOARDS).flatMap(([name, of]) => [
      { name, of, since: 'just now', hungMs: 0 },
      { name, of, since: 'for so long that it has been noticed', hungMs: 5_000 },
    ]),
  )(
    'is switched off in time when its pgood is lost, and they hang $since ($name)',
    async ({ of, hungMs }) => {
      const bench = await poweredOn(of);
      let lostAtMs = Number.NaN;
      bench.clock.after(500, () => hangBoth(bench));
      bench.clock.after(500 + hungMs, () => {
        lostAtMs = bench.clock.nowMs();
        bench.plant.addFault(bench.fault('pgood never'));
      });
      expect((await watchFor(bench, 30_000)).state).toBe('failed');
      for (const rail of ['A', 'B']) {
        expect(offAtMs(bench, rail, lostAtMs)).toBeLessThanOrEqual(DEGLITCH_MS + TOLD_FIRST_MS + GRACE_MS);
      }
    },
  );
});

describe.each(['on', 'start', 'waitOn'] as const)('%s of a chassis that is on', (job) => {
  it('waits for chips that hang when it begins', async () => {
    const bench = await poweredOn();
    hangBoth(bench, 4_000);
    expect((await bench.run(JOBS[job])).state).toBe('pgood');
    expect(bench.enabled()).toEqual(['A', 'B', 'C', 'D']);
  });
});

describe('a power-on beside chips that hang', () => {
  it('is refused, and drives nothing', async () => {
    const bench = createBench(board);
    hangBoth(bench);
    await expect(bench.run(JOBS.on)).rejects.toMatchObject({ code: 'GPIO_TIMEOUT' });
    expect(Object.values(bench.changes()).filter((count) => count > 0)).toEqual([]);
  });

  it('takes down what it has raised when they begin to hang', async () => {
    const bench = createBench(board);
    bench.plant.addFault(bench.fault(`${CHIPS[1]} at 5ms`));
    const { state, sequence } = await bench.run(JOBS.on);
    expect(state).toBe('failed');
    expect(sequence.fault?.errorCode).toBe('GPIO_TIMEOUT');
    expect(bench.enabled().filter((rail) => rail !== 'D')).toEqual([]);
  });
});
