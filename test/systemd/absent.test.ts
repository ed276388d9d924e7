/** A riser that is not there, with the real program under the real units. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { type Chassis, putChassis } from './chassis.ts';
import { bootMachine, skipped, titleSuffix } from './machine.ts';
import type { SystemdSandbox } from './rig.ts';

const START = 'obmc-chassis-start@0.target';
const STOP = 'obmc-chassis-stop@0.target';
const SERVICE = 'chassis-power.service';
const BOARD = readFileSync(join(import.meta.dirname, '..', '..', 'hw', 'boards', 'risers.json'), 'utf8');

describe.skipIf(skipped)(`a part that is absent${titleSuffix}`, () => {
  let machine: SystemdSandbox;
  let chassis: Chassis;

  beforeAll(async () => {
    machine = await bootMachine();
    chassis = await putChassis(machine, BOARD);
    await chassis.units('install');
  });
  afterAll(async () => {
    await machine?.stop();
  });
  afterEach(async () => {
    await machine.systemctl('stop', SERVICE);
    await chassis.reset();
  });

  const enabled = async () =>
    (await chassis.lines()).flatMap(({ role, asserted, rail }) =>
      role === 'enable' && asserted ? [rail] : [],
    );

  test('both stages, the service and status agree on it, and power off drives its enables off', async () => {
    await chassis.startPlant({ faults: ['part P12V_RISER absent', 'part PSU2 absent'] });
    expect(await machine.systemctl('start', SERVICE)).toMatchObject({ code: 0 });
    expect(await machine.systemctl('start', START)).toMatchObject({ code: 0, stderr: '' });
    expect(await enabled()).toEqual(['P12V', 'P3V3']);
    const report = JSON.parse((await chassis.command('status --json')).stdout);
    expect(report).toMatchObject({
      state: 'pgood',
      rails: { P12V: { absent: false }, PSU2: { absent: true } },
    });
    expect((await chassis.command('status')).stdout).toMatch(/rail P3V3_RISER +absent/);
    const said = (await machine.journal()).map(({ MESSAGE }) => String(MESSAGE));
    expect(said).toContain('chassis 0: rails PSU2, P12V_RISER, P3V3_RISER left out: their parts are absent');
    expect(await machine.systemctl('start', STOP)).toMatchObject({ code: 0, stderr: '' });
    expect(await enabled()).toEqual([]);
    expect(await chassis.hazards()).toEqual([]);
  });

  test('one that comes is taken with the next power on', async () => {
    await chassis.startPlant({ faults: ['part P12V_RISER absent for 100ms'] });
    await chassis.until('it is there', async () =>
      (await chassis.command('status')).stdout.includes('disabled  not good   line C2'),
    );
    expect(await machine.systemctl('start', START)).toMatchObject({ code: 0, stderr: '' });
    expect(await enabled()).toEqual(['P12V', 'P3V3', 'P12V_RISER', 'P3V3_RISER']);
  });
});
