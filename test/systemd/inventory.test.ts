/** A riser that the inventory on the system bus tells of, with the real program under the real units. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { type Chassis, putChassis } from './chassis.ts';
import { allowInventory, startInventory, stopInventory, tellInventory, timesAsked } from './inventory.ts';
import { bootMachine, skipped, titleSuffix } from './machine.ts';
import type { SystemdSandbox } from './rig.ts';

const START = 'obmc-chassis-start@0.target';
const STOP = 'obmc-chassis-stop@0.target';
const OP_START = 'op-power-start@0.service';
const RISER = ['P12V_RISER', 'P3V3_RISER'];

function boardOfItems(): string {
  const path = join(import.meta.dirname, '..', '..', 'hw', 'boards', 'risers.json');
  const board = JSON.parse(readFileSync(path, 'utf8'));
  const presence = { inventory: '/xyz/openbmc_project/inventory/system/chassis/riser0' };
  for (const rail of RISER) board.chassis['0'].rails[rail].presence = presence;
  return JSON.stringify(board);
}

describe.skipIf(skipped)(`a part that the inventory tells of${titleSuffix}`, () => {
  let machine: SystemdSandbox;
  let chassis: Chassis;

  beforeAll(async () => {
    machine = await bootMachine();
    await allowInventory(machine);
    chassis = await putChassis(machine, boardOfItems());
    await chassis.units('install');
  });
  afterAll(async () => {
    await machine?.stop();
  });
  afterEach(async () => {
    await stopInventory(machine);
    await chassis.reset();
  });

  const enabled = async () =>
    (await chassis.lines()).flatMap(({ role, asserted, rail }) =>
      role === 'enable' && asserted ? [rail] : [],
    );
  const exitOfStart = async () =>
    (await machine.systemctl('show', '--property=ExecMainStatus', '--value', OP_START)).stdout.trim();
  const saysOfStart = async () => (await machine.journal()).map(({ MESSAGE }) => String(MESSAGE)).join('\n');

  test('present: its rails come, and it was asked once', async () => {
    await chassis.startPlant();
    await startInventory(machine, chassis, 'present');
    expect(await machine.systemctl('start', START)).toMatchObject({ code: 0, stderr: '' });
    expect(await enabled()).toEqual(['P12V', 'P3V3', ...RISER]);
    expect(await timesAsked(machine)).toBe(1);
    expect(await machine.systemctl('start', STOP)).toMatchObject({ code: 0, stderr: '' });
    expect(await chassis.hazards()).toEqual([]);
  });

  test('absent: they are left out, whatever the inventory says while the chassis is on', async () => {
    await chassis.startPlant();
    await startInventory(machine, chassis, 'absent');
    expect(await machine.systemctl('start', START)).toMatchObject({ code: 0, stderr: '' });
    expect(await enabled()).toEqual(['P12V', 'P3V3']);
    await stopInventory(machine);
    expect((await chassis.command('status')).stdout).toMatch(/rail P3V3_RISER +absent/);
    // Nobody has to tell for a power-off.
    expect(await machine.systemctl('start', STOP)).toMatchObject({ code: 0, stderr: '' });
    expect(await enabled()).toEqual([]);
    expect(await chassis.hazards()).toEqual([]);
  });

  test.each([
    ['nobody has the name', null, 'check that xyz.openbmc_project.Inventory.Manager runs on this bus'],
    [
      'its service hangs',
      'hangs',
      'Get of xyz.openbmc_project.Inventory.Manager did not answer within 2000 ms',
    ],
    ['it is no boolean', 'text', 'Inventory.Item.Present is a value of type s, and no boolean'],
  ] as const)('%s: no power-on begins, and nothing is driven', async (_, mode, why) => {
    await chassis.startPlant();
    if (mode !== null) await startInventory(machine, chassis, mode);
    expect(await machine.systemctl('start', START)).not.toMatchObject({ code: 0 });
    expect(await exitOfStart()).toBe('74');
    expect(await saysOfStart()).toContain(
      'chassis 0: presence of rail P12V_RISER: Present of /xyz/openbmc_project/inventory/system/chassis/riser0 cannot be read: ',
    );
    expect(await saysOfStart()).toContain(why);
    expect((await chassis.command('status --json')).stdout).toContain('PROPERTY_UNREAD');
    expect(await enabled()).toEqual([]);
    await startInventory(machine, chassis, 'present');
    await machine.systemctl('reset-failed');
    expect(await machine.systemctl('start', START)).toMatchObject({ code: 0, stderr: '' });
  });
});

describe.skipIf(skipped)(`pgood that another service tells${titleSuffix}`, () => {
  const SERVICE = 'chassis-power.service';
  let machine: SystemdSandbox;
  let chassis: Chassis;

  beforeAll(async () => {
    machine = await bootMachine();
    await allowInventory(machine);
    const board = JSON.parse(
      readFileSync(join(import.meta.dirname, '..', '..', 'hw', 'boards', 'risers.json'), 'utf8'),
    );
    board.chassis['0'].pgood = {
      dbus: '/xyz/openbmc_project/inventory/system/chassis/riser0',
      service: 'xyz.openbmc_project.Inventory.Manager',
      interface: 'xyz.openbmc_project.Inventory.Item',
      property: 'Present',
      onTimeoutMs: 60_000,
    };
    chassis = await putChassis(machine, JSON.stringify(board));
    await chassis.units('install');
  });
  afterAll(async () => {
    await machine?.stop();
  });

  const isOn = async () =>
    (await chassis.lines()).some(
      ({ role, asserted, rail }) => role === 'enable' && asserted && rail === 'P12V',
    );
  const says = async (text: string) =>
    (await machine.journal()).some(({ MESSAGE }) => String(MESSAGE).includes(text));

  test('its service may die and come back while the chassis is on; that pgood is gone is a loss', async () => {
    await chassis.startPlant();
    await startInventory(machine, chassis, 'absent');
    expect(await machine.systemctl('start', SERVICE)).toMatchObject({ code: 0 });
    const starting = machine.systemctl('start', START);
    await chassis.until('every rail is enabled', isOn);
    await tellInventory(machine, true);
    expect(await starting).toMatchObject({ code: 0, stderr: '' });
    await stopInventory(machine);
    await new Promise((resolve) => setTimeout(resolve, 2_000));
    expect(await isOn()).toBe(true);
    expect((await chassis.command('status')).stdout).toContain('runs on this bus');
    await startInventory(machine, chassis, 'present');
    await new Promise((resolve) => setTimeout(resolve, 1_000));
    expect(await isOn()).toBe(true);
    expect(await says('pgood was lost')).toBe(false);
    await tellInventory(machine, false);
    await chassis.until('the loss is acted on', async () => !(await isOn()));
    await chassis.until('it is told', () => says('pgood was lost while the chassis was on'));
  });
});
