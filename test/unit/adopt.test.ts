import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createMockGpio } from '../../mocks/backends/gpio.ts';
import { createMockI2c } from '../../mocks/backends/i2c.ts';
import { parseFault } from '../../mocks/plant/faults.ts';
import { createPlant } from '../../mocks/plant/plant.ts';
import { createVirtualClock } from '../../mocks/virtual-clock.ts';
import { runCommandLine } from '../../src/cli/main.ts';
import { lockChassis } from '../../src/store/lock.ts';
import type { UnitManager } from '../../src/system/ports.ts';
import { shippedBoard } from './bench.ts';
import { lockAtOnce } from './flock.ts';
import { createVerbWorld } from './verb-world.ts';
import './load-verbs.ts';

let dir = '';
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'chassis-power-adopt-'));
});
afterEach(() => rmSync(dir, { recursive: true }));

/** What `adopt` comes to on a reference board that is on, and how long it takes. */
const adopt = (...faults: string[]) => adoptBeside(null, faults);

/** The same where another process has the chassis for so long, or for good. */
async function adoptBeside(heldMs: number | null, faults: readonly string[] = []) {
  const board = shippedBoard('reference');
  const path = join(dir, 'board.json');
  writeFileSync(path, JSON.stringify(board));
  const clock = createVirtualClock();
  const plant = createPlant({
    board,
    clock,
    initially: 'on',
    faults: faults.map((text) => parseFault(text, board)),
  });
  const started: string[] = [];
  const units: Pick<UnitManager, 'startUnit' | 'close'> = {
    startUnit: async (unit) => {
      started.push(unit);
      return 'done';
    },
    close: async () => undefined,
  };
  const { world, printed } = createVerbWorld(
    {
      clock,
      gpio: async () => createMockGpio(plant),
      i2c: async () => createMockI2c(plant),
      units: async () => units as UnitManager,
    },
    dir,
  );
  if (heldMs !== null) {
    const held = await clock.runUntil(lockChassis(dir, 0, 'serve: found', lockAtOnce(clock)));
    clock.after(heldMs, () => held.release());
  }
  const startMs = clock.nowMs();
  const before = plant.lines();
  const code = await clock.runUntil(runCommandLine(['adopt', '--board', path, '--run-dir', dir], world));
  expect(plant.lines()).toEqual(before);
  return {
    code,
    started,
    tookMs: clock.nowMs() - startMs,
    warned: printed().stderr,
    printed: printed().stdout,
  };
}

/** Longer than it waits for anything. */
const FOR_GOOD_MS = 60_000;
const ON = ['obmc-power-chassis-on@0.target'];

describe('adopt, right after a start of the BMC', () => {
  it.each([
    ['acknowledges nothing at first', 'i2c vr_ddr nack for 3s'],
    ['hangs at first', 'i2c vr_ddr hang for 3s'],
  ])('takes over a chassis of which a device %s, once it answers', async (_what, fault) => {
    const { code, started, warned } = await adopt(fault);
    expect({ code, started }).toEqual({ code: 0, started: ON });
    expect(warned).toMatch(/^chassis-power: chassis 0: .*0x60 on I2C bus 3.*: reading again$/m);
  });

  it.each([1, 900, 3_000])(
    'takes over a chassis that the service has while it writes down that it is on, for %i ms',
    async (heldMs) => {
      const { code, started, printed } = await adoptBeside(heldMs);
      expect({ code, started }).toEqual({ code: 0, started: ON });
      expect(printed).not.toMatch(/another process/);
    },
  );

  it('leaves a chassis alone that another process goes on to drive', async () => {
    const { code, started, tookMs, printed } = await adoptBeside(FOR_GOOD_MS);
    expect({ code, started }).toEqual({ code: 0, started: [] });
    expect(printed).toMatch(/driven by another process/);
    expect(tookMs).toBeLessThan(10_000);
  });

  it.each([
    ['answers nothing for as long as it asks', 'i2c vr_ddr nack', 20_000],
    // Another program has it, and will not give it back because somebody asks again.
    ['belongs to another program', 'line pgood busy', 1_000],
  ])('gives up on a chassis of which a part %s', async (_what, fault, withinMs) => {
    const { code, started, tookMs } = await adopt(fault);
    expect({ code, started }).toEqual({ code: 74, started: [] });
    expect(tookMs).toBeLessThan(withinMs);
  });
});
