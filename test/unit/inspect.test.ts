import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { createMockGpio } from '../../mocks/backends/gpio.ts';
import { createMockI2c } from '../../mocks/backends/i2c.ts';
import { createInspector } from '../../mocks/inspect.ts';
import { createPlant } from '../../mocks/plant/plant.ts';
import { createVirtualClock } from '../../mocks/virtual-clock.ts';
import { openChassis } from '../../src/run/hardware.ts';
import { planOf } from '../../src/sequence/plan.ts';
import { createChassisState } from '../../src/service/host-state.ts';
import { createResident } from '../../src/service/resident.ts';
import { createLastingFile } from '../../src/store/lasting.ts';
import { shippedBoard } from './bench.ts';
import { createVirtualUnits } from './virtual-units.ts';

let folder = '';
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'chassis-power-inspect-'));
});
afterEach(() => rmSync(folder, { recursive: true }));

it('an inspector is told every event of the actors of the service, with the states after it', async () => {
  const board = shippedBoard('reference');
  const chassis = board.chassis['0'];
  if (!chassis) throw new RangeError('no chassis 0');
  const clock = createVirtualClock();
  const plant = createPlant({ board, clock, initially: 'off' });
  const path = join(folder, 'steps.jsonl');
  const inspect = createInspector(path, clock);
  const resident = await clock.runUntil(
    (async () =>
      createResident({
        chassis: 0,
        plan: planOf(chassis),
        hardware: await openChassis(board, 0, {
          gpio: async () => createMockGpio(plant),
          i2c: async () => createMockI2c(plant),
          clock,
        }),
        clock,
        runDir: folder,
        identity: { bootId: 'boot', boardHash: 'hash' },
        record: () => undefined,
        onChange: () => undefined,
        onLoss: async () => undefined,
        onRequestFailed: async () => undefined,
        inspect,
      }))(),
  );
  const state = await createChassisState({
    chassis: 0,
    resident,
    units: createVirtualUnits(clock, (wanted) => resident.request(wanted).done),
    clock,
    store: createLastingFile(folder, 0),
    bootId: 'boot',
    isAdopted: () => false,
    log: () => undefined,
    onChange: () => undefined,
    inspect,
  });
  state.requestPower('On');
  await clock.advance(5_000);
  state.stop();
  await clock.runUntil(resident.stop('end of the test'));

  const steps = readFileSync(path, 'utf8')
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line));
  const of = (actor: string, event: string) =>
    steps.find((step) => step.actor === actor && step.event === event);
  expect(of('hostState0', 'REQUESTED').value).toMatchObject({ serving: { requesting: 'starting' } });
  expect(of('resident0', 'REQUESTED').value).toMatchObject({ driving: { operating: 'waiting' } });
  expect(of('resident0', 'LOCK_TAKEN').value).toMatchObject({ driving: { operating: 'moving' } });
  expect(of('resident0', 'SWITCHED').value).toMatchObject({ driving: { operating: 'switched' } });
  expect(of('resident0', 'OPERATION_ENDED').value).toMatchObject({ driving: 'watching' });
  expect(of('resident0', 'STOP').value).toMatchObject({ observing: 'closed' });
  expect(of('hostState0', 'STOP').value).toBe('stopped');
});
