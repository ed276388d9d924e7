/** A chassis that was on and loses its power while no process looks: whoever watches it next finds a loss. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { parseFault } from '../../mocks/plant/faults.ts';
import type { createVirtualClock } from '../../mocks/virtual-clock.ts';
import type { Board } from '../../src/board/schema.ts';
import { JOBS } from '../../src/run/jobs.ts';
import { checkBoard } from '../check-board.ts';
import { createBench } from './bench.ts';
import { startResident } from './start-resident.ts';

const line = (offset: number) => ({ chip: 'gpio', line: offset });
const TIMES = { onTimeoutMs: 200, offTimeoutMs: 500 };
const DEGLITCH_MS = 20;

function boardOf(rails: Readonly<Record<string, unknown>>): Board {
  const pgood = { ...line(9), deglitchMs: DEGLITCH_MS, onTimeoutMs: 3_000, offTimeoutMs: 3_000 };
  const vr = { bus: 1, address: '0x40', poweredBy: 'P12V' };
  const isOnBus = JSON.stringify(rails).includes('pmbus');
  const { board, problems } = checkBoard({
    name: 'unwatched',
    ...(isOnBus && { devices: { vr } }),
    chassis: { 0: { rails, pgood } },
  });
  if (!board) throw new TypeError(JSON.stringify(problems));
  return board;
}

const P12V = { enable: line(0), good: line(1), ...TIMES };
const HOST = {
  enable: { pulse: { ...line(2), active: 'low' }, state: line(3), sleepState: true },
  good: line(4),
  onTimeoutMs: 2_000,
  offTimeoutMs: 500,
};
const PVCORE = { enable: { pmbus: 'vr', page: 0 }, good: line(5), needs: ['P12V'], ...TIMES };

const P5VSB = { good: line(6), ...TIMES };
const FAULT = (rail: string) => `rail ${rail} shorts`;

const CASES: readonly { what: string; board: Board; fault: string; left: readonly string[] }[] = [
  {
    what: 'none of its enables is on',
    board: boardOf({ P5VSB, HOST: { ...HOST, needs: ['P5VSB'] } }),
    fault: FAULT('P5VSB'),
    left: [],
  },
  {
    what: 'an enable that its host hangs on is on',
    board: boardOf({ P12V, HOST: { ...HOST, needs: ['P12V'] } }),
    fault: FAULT('P12V'),
    left: ['P12V'],
  },
  {
    what: 'the enable is on of what its device has its power from',
    board: boardOf({ P12V, PVCORE }),
    fault: FAULT('P12V'),
    left: ['P12V'],
  },
];

/** Powered on, and then without its power, with nobody there. */
async function lose(board: Board, fault: string) {
  const bench = createBench(board);
  await bench.run(JOBS.on);
  bench.plant.addFault(bench.fault(fault));
  await pass(bench.clock, 1_000);
  return bench;
}

const pass = (clock: ReturnType<typeof createVirtualClock>, ms: number) =>
  clock.runUntil(new Promise<void>((resolve) => void clock.after(ms, resolve)));

describe.each(CASES)(
  'a chassis that lost its power while nobody looked, and $what',
  ({ board, fault, left }) => {
    it('is taken down by who watches it next, who tells of the loss', async () => {
      const bench = await lose(board, fault);
      expect(bench.enabled()).toEqual(left);
      const { state, sequence } = await bench.run(JOBS.watch);
      expect(state).toBe('failed');
      expect(sequence.fault).toMatchObject({ state: 'pgood' });
      expect(bench.enabled()).toEqual([]);
      expect(bench.plant.hazards).toEqual([]);
      expect(bench.store.hint?.state).toBe('failed');
    });
  },
);

describe('a service that starts', () => {
  let runDir = '';
  beforeEach(() => {
    runDir = mkdtempSync(join(tmpdir(), 'lost-unwatched-'));
  });
  afterEach(() => rmSync(runDir, { recursive: true }));

  it.each(CASES)(
    'over a chassis that lost its power meanwhile, and $what, tells of the loss',
    async (each) => {
      const first = await startResident({ runDir, board: each.board });
      const { clock, plant, board } = first;
      first.resident.begin();
      await clock.runUntil(first.resident.request('on').done);
      await clock.runUntil(first.resident.stop('restarted'));
      plant.addFault(parseFault(each.fault, board));
      await pass(clock, 1_000);
      const lost: string[] = [];
      const onLoss = async () => void lost.push('loss');
      const { resident } = await startResident({ runDir, board, clock, plant, onLoss });
      resident.begin();
      await pass(clock, 2_000);
      expect(lost).toEqual(['loss']);
      expect(resident.view).toMatchObject({ state: 'failed', pgood: false });
      expect(plant.lines().filter(({ role, asserted }) => role === 'enable' && asserted)).toEqual([]);
      await clock.runUntil(resident.stop('end'));
    },
  );
});

describe('a chassis that lost its power while nobody looked', () => {
  it('is powered on again by who asks for that', async () => {
    const bench = await lose(boardOf({ HOST }), 'host HOST shuts down');
    expect(await bench.run(JOBS.on)).toMatchObject({ state: 'pgood' });
  });

  it('and has it again within the de-glitch time of who looks, is left on', async () => {
    const bench = createBench(boardOf({ P12V }));
    await bench.run(JOBS.on);
    bench.plant.addFault(bench.fault('pgood never for 10ms'));
    const end = new AbortController();
    bench.clock.after(2_000, () => end.abort('SIGTERM'));
    expect(await bench.run(JOBS.watch, { signal: end.signal })).toMatchObject({ state: 'pgood' });
    expect(bench.enabled()).toEqual(['P12V']);
  });
});
