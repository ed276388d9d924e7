/** A rail that has to have been off for some time before others go: `offSettleMs`. */
import { describe, expect, it } from 'vitest';
import { timingWarnings } from '../../src/board/timing.ts';
import { JOBS } from '../../src/run/jobs.ts';
import { planOf } from '../../src/sequence/plan.ts';
import { checkBoard } from '../check-board.ts';
import { type Bench, createBench } from './bench.ts';
import { machinesOf } from './machine-in.ts';

const REST_MS = 40;
const at = (line: number) => ({ chip: 'soc', line });
type Rails = Record<string, Record<string, unknown>>;

/** A, then B, then C; nothing shows U, which needs A. B and U rest. */
function described(edit: (rails: Rails) => void = () => undefined) {
  const rails: Rails = {
    A: { nominalVolts: 1, enable: at(0), good: at(1) },
    B: { nominalVolts: 1, enable: at(2), good: at(3), needs: ['A'], offSettleMs: REST_MS },
    C: { nominalVolts: 1, enable: at(4), good: at(5), needs: ['B'] },
    U: { nominalVolts: 1, enable: at(6), needs: ['A'], settleMs: 20, offSettleMs: 2 * REST_MS },
  };
  edit(rails);
  return checkBoard({ name: 'resting', chassis: { 0: { rails, pgood: at(9), minOffMs: 10 } } });
}

function boardOf(edit?: (rails: Rails) => void) {
  const { board, problems } = described(edit);
  if (!board) throw new TypeError(JSON.stringify(problems));
  return board;
}

/** When the enable of a rail was last driven off. */
function wentMs({ plant }: Bench, rail: string): number {
  const event = plant.history.findLast(
    (each) => each.type === 'drive' && each.role === 'enable' && !each.asserted && each.rail === rail,
  );
  return event?.atMs ?? Number.NaN;
}

/** When the rail was last no longer good. */
function fellMs({ plant }: Bench, rail: string): number {
  return (
    plant.history.findLast((each) => each.type === 'rail' && each.rail === rail && !each.good)?.atMs ??
    Number.NaN
  );
}

const withoutU = (rails: Rails) => delete rails.U;

/** From the begin of a power-off to the middle of the rest of B, as a bench of its own takes. */
async function midRestMs(): Promise<number> {
  const timed = createBench(boardOf(withoutU));
  await timed.run(JOBS.on);
  const beganMs = timed.clock.nowMs();
  await timed.run(JOBS.off);
  return fellMs(timed, 'B') - beganMs + REST_MS / 2;
}

it('a rail that nothing shows counts as gone as soon as its enable is, and rests', () => {
  const { chassis, devices } = boardOf();
  const [described] = Object.values(chassis);
  if (described === undefined) throw new RangeError('no chassis');
  const up = { phase: 'up', enabled: true, good: true, sinceMs: 900, deadlineMs: null } as const;
  const pgood = { level: true, good: true, unread: false, sinceMs: 900 };
  const on = machinesOf(planOf(described, devices))('pgood', {
    rails: { A: up, B: up, C: up, U: up },
    change: { pgood },
  });
  expect(on.tell({ type: 'POWER_OFF', atMs: 1_000 })).toContain('U off');
  expect(on.rail('U')).toMatchObject({ phase: 'falling', enabled: false, good: false });
});

describe('a rail that rests before others go', () => {
  it('has been off for its time when what it needs is disabled', async () => {
    const bench = createBench(boardOf(withoutU));
    await bench.run(JOBS.on);
    expect((await bench.run(JOBS.off)).state).toBe('off');
    const restedMs = wentMs(bench, 'A') - fellMs(bench, 'B');
    expect(restedMs).toBeGreaterThanOrEqual(REST_MS);
    expect(restedMs).toBeLessThan(REST_MS + 15);
    // C does not rest.
    expect(wentMs(bench, 'B') - fellMs(bench, 'C')).toBeLessThan(15);
    expect(bench.plant.hazards).toEqual([]);
  });

  it('counts from its disable where nothing shows it', async () => {
    const bench = createBench(boardOf());
    await bench.run(JOBS.on);
    expect((await bench.run(JOBS.off)).state).toBe('off');
    const restedMs = wentMs(bench, 'A') - wentMs(bench, 'U');
    expect(restedMs).toBeGreaterThanOrEqual(2 * REST_MS);
    expect(restedMs).toBeLessThan(2 * REST_MS + 15);
  });

  it('is not waited for once it has not gone in its time', async () => {
    const bench = createBench(boardOf((rails) => Object.assign(rails.B ?? {}, { offTimeoutMs: 300 })));
    await bench.run(JOBS.on);
    bench.plant.addFault(bench.fault('enable B stuck on'));
    const { state, sequence } = await bench.run(JOBS.off);
    expect([state, sequence.rails.B?.phase, sequence.fault?.reason]).toEqual([
      'failed',
      'stuck',
      expect.stringContaining('B'),
    ]);
    expect(bench.enabled()).toEqual(['B']);
  });

  it('rests anew where it comes back meanwhile', async () => {
    const inMs = await midRestMs();
    const bench = createBench(boardOf(withoutU));
    await bench.run(JOBS.on);
    bench.clock.after(inMs, () => bench.plant.hold(at(3), 1));
    bench.clock.after(inMs + 3, () => bench.plant.hold(at(3), 0));
    const againMs = bench.clock.nowMs() + inMs + 3;
    expect((await bench.run(JOBS.off)).state).toBe('off');
    expect(wentMs(bench, 'A') - againMs).toBeGreaterThanOrEqual(REST_MS);
  });

  it('is not waited for after a loss: all go at once', async () => {
    const bench = createBench(boardOf());
    await bench.run(JOBS.on);
    bench.plant.addFault(bench.fault('pgood stuck off'));
    expect((await bench.run(JOBS.watch)).state).toBe('failed');
    const times = ['A', 'B', 'C', 'U'].map((rail) => wentMs(bench, rail));
    expect(Math.max(...times) - Math.min(...times)).toBeLessThan(5);
    expect(bench.clock.nowMs() - Math.max(...times)).toBeLessThan(REST_MS);
  });

  it('has rested all the same where its signal cannot be read meanwhile', async () => {
    const inMs = await midRestMs();
    const bench = createBench(boardOf(withoutU));
    await bench.run(JOBS.on);
    bench.clock.after(inMs, () => bench.plant.addFault(bench.fault('line rail B good read error')));
    const { state, sequence } = await bench.run(JOBS.off);
    expect([state, sequence.fault?.kind]).toEqual(['failed', 'hardware']);
    const restedMs = wentMs(bench, 'A') - fellMs(bench, 'B');
    expect(restedMs).toBeGreaterThanOrEqual(REST_MS);
    expect(restedMs).toBeLessThan(2 * REST_MS);
  });

  it('is waited for after a power-on that failed', async () => {
    const bench = createBench(boardOf(withoutU));
    bench.plant.addFault(bench.fault('rail C never good'));
    expect((await bench.run(JOBS.on)).state).toBe('failed');
    expect(wentMs(bench, 'A') - fellMs(bench, 'B')).toBeGreaterThanOrEqual(REST_MS);
  });

  it('rests anew for a process that goes on with the power-off, seen or not', async () => {
    for (const [rail, edit] of [
      ['B', withoutU],
      ['U', (rails: Rails) => [delete rails.C, delete rails.B]],
    ] as const) {
      const bench = createBench(boardOf(edit));
      await bench.run(JOBS.on);
      const drives = rail === 'B' ? 2 : 1;
      expect(await bench.runKilled(JOBS.off, drives, 'after')).toBe('killed');
      expect(bench.store.hint?.sequence.rails[rail]?.phase).toBe('falling');
      const beganMs = bench.clock.nowMs();
      expect((await bench.run(JOBS.off)).state).toBe('off');
      expect(wentMs(bench, 'A') - beganMs).toBeGreaterThanOrEqual(REST_MS);
    }
  });

  it('does not rest while its process stands still', async () => {
    const inMs = await midRestMs();
    const bench = createBench(boardOf(withoutU));
    await bench.run(JOBS.on);
    let goesOnMs = Number.NaN;
    const off = await bench.run(JOBS.off, {
      stalls: (loop) =>
        bench.clock.after(inMs, () => {
          loop.stall(2_000);
          goesOnMs = bench.clock.nowMs() + 2_000;
        }),
    });
    expect(off.state).toBe('off');
    expect(wentMs(bench, 'A') - goesOnMs).toBeGreaterThanOrEqual(REST_MS);
  });
});

it('a rail that did not come rests from its disable on, and not from when it was last good', () => {
  const { chassis, devices } = boardOf(withoutU);
  if (chassis[0] === undefined) throw new TypeError('the board has no chassis');
  const coming = { phase: 'rising', good: false, sinceMs: 1_000, deadlineMs: 9_000 } as const;
  const up = { phase: 'up' } as const;
  const machine = machinesOf(planOf(chassis[0], devices))('opPowerStart', {
    on: ['A', 'B'],
    rails: { A: up, B: coming },
  });
  expect(machine.tell({ type: 'POWER_OFF', atMs: 2_000 })).toEqual(['C off', 'B off']);
  // It is read while its drive is under way.
  expect(machine.look('B', false, 2_001)).toEqual([]);
  machine.tell({ type: 'DRIVEN', rail: 'B', asserted: false, atMs: 2_005 });
  expect(machine.look('B', false, 2_005 + REST_MS - 1)).toEqual([]);
  expect(machine.look('B', false, 2_005 + REST_MS)).toEqual(['A off']);
});

describe('what a board must not say of the time', () => {
  it('of a rail that is only watched', () => {
    expect(
      described((rails) => {
        delete rails.B?.enable;
      }).problems.map(({ path, message }) => `${path}: ${message}`),
    ).toEqual([
      'chassis.0.rails.B.offSettleMs: rail B is only watched: it goes off with what it needs, and nothing waits for it',
    ]);
  });

  it('that does not fit into the units', () => {
    expect(
      described((rails) => Object.assign(rails.B ?? {}, { offSettleMs: 500_000 })).problems.map(
        ({ message }) => message,
      ),
    ).toEqual([expect.stringMatching(/^power-off may take \d+ ms .*offSettleMs/)]);
  });

  it('and one that nothing waits for is warned of', () => {
    const warned = (edit: (rails: Rails) => void) =>
      timingWarnings(boardOf(edit)).map(({ at: keys, message }) => `${keys.join('.')}: ${message}`);
    expect(warned(() => undefined)).toEqual([]);
    expect(warned((rails) => Object.assign(rails.A ?? {}, { offSettleMs: 5 }))).toEqual([
      'chassis.0.rails.A.offSettleMs: no rail goes off after A: its offSettleMs of 5 ms only makes a power-off longer',
    ]);
  });
});
