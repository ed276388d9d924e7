import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { fileMark } from '../../hw/files.ts';
import { createMockGpio } from '../../mocks/backends/gpio.ts';
import { createMockI2c } from '../../mocks/backends/i2c.ts';
import { createPlant } from '../../mocks/plant/plant.ts';
import { createVirtualClock } from '../../mocks/virtual-clock.ts';
import { expectOn } from '../../src/run/expect-on.ts';
import { openChassis } from '../../src/run/hardware.ts';
import { planOf } from '../../src/sequence/plan.ts';
import { reconcile } from '../../src/sequence/reconcile.ts';
import type { State } from '../../src/sequence/state.ts';
import { snapshotPath } from '../../src/store/paths.ts';
import { createSnapshotFile } from '../../src/store/snapshot.ts';
import { shippedBoard } from './bench.ts';

let folder = '';
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'chassis-power-expect-on-'));
});
afterEach(() => rmSync(folder, { recursive: true }));

/** Asks it of a chassis whose lines show that it is on, and of which the state file tells the state, if anything. */
async function ask(initially: 'on' | 'off', told: State | null, runDir = folder) {
  const board = shippedBoard('reference');
  const chassis = board.chassis['0'];
  if (chassis === undefined) throw new RangeError('no chassis 0');
  const clock = createVirtualClock();
  const plant = createPlant({ board, clock, initially });
  const plan = planOf(chassis, board.devices);
  const store = createSnapshotFile(runDir, 0, { bootId: 'boot', boardHash: 'hash', plan, clock });
  const ports = { gpio: async () => createMockGpio(plant), i2c: async () => createMockI2c(plant), clock };
  const work = async () => {
    const hardware = await openChassis(board, 0, ports);
    const { observation } = await hardware.observe();
    if (told !== null) store.save(told, reconcile(plan, observation, null, clock.nowMs()).sequence);
    const before = fileMark(snapshotPath(runDir, 0));
    const found = await expectOn({ plan, hardware, clock, store }, 'this').finally(() => hardware.close());
    return { found, isWritten: fileMark(snapshotPath(runDir, 0)) !== before, left: store.load().hint };
  };
  return clock.runUntil(work());
}

describe('a chassis that has to be on', () => {
  it('is, and that is written where nothing was known of it', async () => {
    const { found, isWritten, left } = await ask('on', null);
    expect(found.observation.pgood).toBe(true);
    expect(isWritten).toBe(true);
    expect(left?.state).toBe('pgood');
  });

  it('is, and nothing is written where it was known', async () => {
    expect(await ask('on', 'pgood')).toMatchObject({ isWritten: false, left: { state: 'pgood' } });
  });

  it.each([
    ['on', 'failed', 'failed'],
    ['on', 'opPowerStop', 'opPowerStop'],
    ['off', null, 'off'],
  ] as const)(
    'is not: lines that show it %s, and a state file that tells %s',
    async (initially, told, state) => {
      await expect(ask(initially, told)).rejects.toMatchObject({
        code: 'REQUEST_REJECTED',
        message: `chassis 0 is ${state}: only this`,
        details: { chassis: 0, state },
      });
    },
  );

  it('is, and it is an error where that cannot be written', async () => {
    const file = join(folder, 'file');
    writeFileSync(file, '');
    await expect(ask('on', null, file)).rejects.toMatchObject({
      code: 'RUN_DIR_UNUSABLE',
      details: { chassis: 0 },
    });
  });
});
