import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { createInspector } from '../../mocks/inspect.ts';
import { createVirtualClock } from '../../mocks/virtual-clock.ts';
import { createChassisState } from '../../src/service/host-state.ts';
import { createLastingFile } from '../../src/store/lasting.ts';
import { startResident } from './start-resident.ts';
import { createVirtualUnits } from './virtual-units.ts';

let folder = '';
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'chassis-power-inspect-'));
});
afterEach(() => rmSync(folder, { recursive: true }));

it('an inspector is told every event of the actors of the service, with the states after it', async () => {
  const path = join(folder, 'steps.jsonl');
  const clock = createVirtualClock();
  const inspect = createInspector(path, clock);
  const { resident } = await startResident({ runDir: folder, clock, inspect });
  const state = await createChassisState({
    chassis: 0,
    resident,
    units: createVirtualUnits(clock, (wanted) => resident.request(wanted).done),
    clock,
    store: createLastingFile(folder, 0),
    hasReset: false,
    showsPost: false,
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
