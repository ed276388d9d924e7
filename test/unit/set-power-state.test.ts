import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Board } from '../../src/board/schema.ts';
import { CONTROL_POWER, controlPowerObject } from '../../src/service/control-power.ts';
import { lockChassis } from '../../src/store/lock.ts';
import { shippedBoard } from './bench.ts';
import { flock } from './flock.ts';
import { startResident } from './start-resident.ts';

const IN_PROGRESS = 'org.openbmc.ControlPower.Error.InProgress';
const FAILED = 'org.openbmc.ControlPower.Error.Failed';
/** Longer than the caller of setPowerState is let wait, and above every time of the board. */
const LONG_MS = 30_000;

let runDir = '';
let stop: () => Promise<void> = async () => undefined;
beforeEach(() => {
  runDir = mkdtempSync(join(tmpdir(), 'chassis-power-control-'));
});
afterEach(async () => {
  await stop();
  rmSync(runDir, { recursive: true });
});

async function serveChassis(
  initially: 'off' | 'on',
  setUp: { readonly faults?: readonly string[]; readonly board?: Board } = {},
) {
  const { clock, plant, resident: served } = await startResident({ runDir, initially, ...setUp });
  stop = () => clock.runUntil(served.stop('end of the test'));
  const object = controlPowerObject({
    chassis: 0,
    resident: served,
    clock,
    pgoodTimeoutSeconds: { read: () => 0, write: () => undefined },
    blameSupply: () => undefined,
  });
  const method = object.interfaces.find(({ name }) => name === CONTROL_POWER)?.methods.setPowerState;
  /** What the caller of setPowerState hears, and after how long. */
  const setPowerState = async (state: 0 | 1) => {
    const startMs = clock.nowMs();
    const answer = await clock.runUntil(
      (async () => {
        try {
          await method?.call([state], { sender: ':1.1' });
          return 'done';
        } catch (error) {
          return (error as { dbusError?: string }).dbusError ?? error;
        }
      })(),
    );
    return { answer, afterMs: Math.round(clock.nowMs() - startMs) };
  };
  return {
    clock,
    resident: served,
    setPowerState,
    pass: (ms: number) =>
      clock.runUntil(
        new Promise<void>((resolve) => {
          clock.after(ms, resolve);
        }),
      ),
    enabled: () => plant.lines().filter(({ role, asserted }) => role === 'enable' && asserted).length,
    hold: () =>
      clock.runUntil(
        lockChassis(runDir, 0, 'start', {
          clock,
          flock,
          waitMs: 0,
          signal: new AbortController().signal,
          onWait: () => undefined,
        }),
      ),
  };
}

/** The reference board with other times. */
function slowBoard(change: (chassis: Board['chassis'][string]) => void): Board {
  const board = structuredClone(shippedBoard('reference'));
  const chassis = board.chassis['0'];
  if (!chassis) throw new RangeError('no chassis 0');
  change(chassis);
  return board;
}

describe('a request that was not carried out is never answered with success', { timeout: 60_000 }, () => {
  it('a power off that waits for the lock: it is told after 20 s, and carried out when the lock is free', async () => {
    const bus = await serveChassis('on');
    const other = await bus.hold();
    expect(await bus.setPowerState(0)).toEqual({ answer: IN_PROGRESS, afterMs: 20_000 });
    expect(bus.enabled()).toBe(6);
    other.release();
    await bus.pass(10_000);
    expect(bus.resident.view.state).toBe('off');
    expect(bus.enabled()).toBe(0);
  });

  it('a power off whose lock never comes free: who asks again hears of it each time', async () => {
    const bus = await serveChassis('on');
    const other = await bus.hold();
    for (let time = 0; time < 5; time += 1) {
      const { answer } = await bus.setPowerState(0);
      expect([IN_PROGRESS, FAILED]).toContain(answer);
    }
    expect(bus.enabled()).toBe(6);
    other.release();
  });

  it('a power on that waits for the lock: it is given up after 20 s, and nothing is switched later', async () => {
    const bus = await serveChassis('off');
    const other = await bus.hold();
    expect(await bus.setPowerState(1)).toEqual({ answer: FAILED, afterMs: 20_000 });
    other.release();
    await bus.pass(70_000);
    expect(bus.enabled()).toBe(0);
    expect(bus.resident.current).toBeNull();
    // And the next one is not in its way.
    expect((await bus.setPowerState(1)).answer).toBe('done');
  });

  it('a power off that takes longer than 20 s: it is under way until the power is gone', async () => {
    const board = slowBoard(({ rails }) => {
      if (rails.P12V) rails.P12V.offTimeoutMs = LONG_MS;
    });
    const bus = await serveChassis('on', { board, faults: ['rail P12V slow off 300s'] });
    expect(await bus.setPowerState(0)).toEqual({ answer: IN_PROGRESS, afterMs: 20_000 });
    await bus.pass(LONG_MS);
    expect(bus.resident.view.state).toBe('failed');
  });

  it('a power on with a rail that is still awaited after 20 s: it is under way, and goes on', async () => {
    const board = slowBoard(({ rails }) => {
      if (rails.P1V8) rails.P1V8.onTimeoutMs = LONG_MS;
    });
    const bus = await serveChassis('off', { board, faults: ['rail P1V8 never good'] });
    expect(await bus.setPowerState(1)).toEqual({ answer: IN_PROGRESS, afterMs: 20_000 });
    expect(bus.enabled()).toBeGreaterThan(0);
    await bus.pass(LONG_MS);
    expect(bus.resident.view).toMatchObject({ state: 'failed', fault: expect.stringMatching(/P1V8/) });
    expect(bus.enabled()).toBe(0);
  });

  it('a power on with every enable asserted is carried out after 20 s, as the peers answer it: pgood tells the rest', async () => {
    const board = slowBoard(({ pgood }) => {
      pgood.onTimeoutMs = LONG_MS;
    });
    const bus = await serveChassis('off', { board, faults: ['pgood stuck off'] });
    expect(await bus.setPowerState(1)).toEqual({ answer: 'done', afterMs: 20_000 });
    expect(bus.enabled()).toBe(6);
    expect(bus.resident.view.pgood).toBe(false);
  });
});
