/**
 * Two who want something of one chassis at the same time, on a real systemd: one of them drives, the other one
 * waits or is told, and no enable moves twice. And two chassis that must not notice each other.
 */
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { type Chassis, patientBoard, putChassis } from './chassis.ts';
import { bootMachine, skipped, states, titleSuffix } from './machine.ts';
import type { SystemdSandbox } from './rig.ts';

/** Long enough for somebody to come meanwhile, short of the board's deadlines. */
const RAIL_SLOW = 'rail P12V slow 3s';
const FALL_SLOW = 'rail P12V slow off 3s';

/** The reference board with a second chassis of the same kind on lines and a regulator of its own. */
function boardOfTwo(): string {
  const board = patientBoard();
  board.devices.vr_ddr1 = { ...board.devices.vr_ddr, address: '0x61' };
  const second = JSON.stringify(board.chassis['0'])
    .replaceAll('1e780000.gpio', 'other.gpio')
    .replaceAll('vr_ddr', 'vr_ddr1');
  board.chassis['1'] = JSON.parse(second);
  return JSON.stringify(board);
}

describe.skipIf(skipped)(`several at once${titleSuffix}`, () => {
  let machine: SystemdSandbox;
  let chassis: Chassis;

  beforeAll(async () => {
    machine = await bootMachine();
    chassis = await putChassis(machine, boardOfTwo());
    await chassis.units('install');
  });
  afterAll(async () => {
    await machine?.stop();
  });
  beforeEach(() => chassis.reset());

  const start = (unit: string) => machine.systemctl('start', unit);
  const startOnly = (unit: string) => machine.systemctl('start', '--no-block', unit);
  /** How often each enable of a chassis moved. */
  const moves = async (number = 0) =>
    (await chassis.lines())
      .filter((line) => line.role === 'enable' && line.chassis === number)
      .map((line) => line.changes);
  const rising = () =>
    chassis.until('an enable is asserted', async () => (await chassis.asserted('enable')).includes(true));
  const falling = () =>
    chassis.until('an enable is deasserted', async () => (await chassis.asserted('enable')).includes(false));
  const nothingFailed = async () =>
    expect(await machine.run(['systemctl', '--failed', '--no-legend', '--plain'])).toBe('');
  const failedUnits = async () =>
    (await machine.run(['systemctl', '--failed', '--no-legend', '--plain']))
      .split('\n')
      .flatMap((line) => line.split(' ')[0] || []);

  test('two starts at once are one start', async () => {
    await chassis.startPlant();

    const both = await Promise.all([
      start('obmc-chassis-start@0.target'),
      start('obmc-chassis-start@0.target'),
    ]);

    expect(both).toMatchObject([{ code: 0 }, { code: 0 }]);
    await chassis.expectPowered();
    expect(new Set(await moves())).toEqual(new Set([1]));
    await nothingFailed();
  });

  test('a unit and the command line that start at once: the unit waits and finds its work done', async () => {
    await chassis.startPlant({ faults: [RAIL_SLOW] });
    const byHand = chassis.command('on');
    await rising();

    expect(await start('obmc-chassis-start@0.target')).toMatchObject({ code: 0 });

    expect(await byHand).toMatchObject({ code: 0 });
    await chassis.expectPowered();
    expect(new Set(await moves())).toEqual(new Set([1]));
    const said = (await machine.journal('op-power-start@0.service')).map((entry) => String(entry.MESSAGE));
    expect(said.join('\n')).toMatch(/driven by another process \(on, pid \d+\): waiting for it/);
    await nothingFailed();
  });

  test('a request over D-Bus and the command line at once: the command line is told, exit 75', async () => {
    await chassis.startPlant({ faults: [RAIL_SLOW] });
    await machine.run([
      ...['busctl', 'call', 'org.freedesktop.systemd1', '/org/freedesktop/systemd1'],
      ...['org.freedesktop.systemd1.Manager', 'StartUnit', 'ss', 'obmc-chassis-start@0.target', 'replace'],
    ]);
    await rising();

    const byHand = await chassis.command('on');

    expect(byHand.code).toBe(75);
    expect(byHand.stderr).toMatch(/chassis 0 is driven by another process \((start|wait-on), pid \d+\)/);
    await machine.waitForJobs();
    await chassis.expectPowered();
    expect(new Set(await moves())).toEqual(new Set([1]));
  });

  test('a power off by unit waits for a power on from the command line, and ends off', async () => {
    await chassis.startPlant({ faults: [RAIL_SLOW] });
    const byHand = chassis.command('on');
    await rising();

    expect(await start('obmc-chassis-stop@0.target')).toMatchObject({ code: 0 });

    expect(await byHand).toMatchObject({ code: 0 });
    await chassis.expectEveryEnableOff();
    expect(new Set(await moves())).toEqual(new Set([2]));
    expect(await states(machine)).toMatchObject({ 'obmc-power-chassis-off': 'active' });
    await nothingFailed();
  });

  test('a start that comes during power off waits until power is gone, and ends on', async () => {
    await chassis.startPlant({ faults: [FALL_SLOW] });
    await start('obmc-chassis-start@0.target');
    await startOnly('obmc-chassis-stop@0.target');
    await falling();

    expect(await start('obmc-chassis-start@0.target')).toMatchObject({ code: 0 });

    await chassis.expectPowered();
    expect(new Set(await moves())).toEqual(new Set([3]));
    expect(await chassis.hazards()).toEqual([]);
    await nothingFailed();
  });

  test('a stop that comes during power on takes back what was raised, once', async () => {
    await chassis.startPlant({ faults: [RAIL_SLOW] });
    await startOnly('obmc-chassis-start@0.target');
    await rising();

    expect(await start('obmc-chassis-stop@0.target')).toMatchObject({ code: 0 });

    await chassis.expectEveryEnableOff();
    // Raised and taken back, or never reached.
    expect((await moves()).filter((count) => count !== 2 && count !== 0)).toEqual([]);
    await nothingFailed();
  });

  test('a stage stopped by hand during power on leaves no rail on', async () => {
    await chassis.startPlant({ faults: [RAIL_SLOW] });
    await startOnly('obmc-chassis-start@0.target');
    await rising();

    await machine.systemctl('stop', 'op-power-start@0.service');

    await machine.waitForJobs();
    await chassis.expectEveryEnableOff();
    expect(await chassis.hazards()).toEqual([]);
    const said = (await machine.journal('op-power-start@0.service')).map((entry) => String(entry.MESSAGE));
    expect(said.join('\n')).toMatch(/SIGINT in opPowerStart: the power was taken down/);
  });

  test('the power-on target stopped by hand during power on: nothing stays half up', async () => {
    await chassis.startPlant({ faults: [RAIL_SLOW] });
    await startOnly('obmc-chassis-start@0.target');
    await rising();

    // Takes back the request, not the power: systemd lets the stages that are queued already run to their end.
    await machine.systemctl('stop', 'obmc-power-chassis-on@0.target');
    await machine.waitForJobs();

    await chassis.expectPowered();
    expect(await start('obmc-power-chassis-on@0.target')).toMatchObject({ code: 0 });
    expect(new Set(await moves())).toEqual(new Set([1]));
  });

  test('two chassis of one board start at once', async () => {
    await chassis.startPlant();

    const both = await Promise.all([
      start('obmc-chassis-start@0.target'),
      start('obmc-chassis-start@1.target'),
    ]);

    expect(both).toMatchObject([{ code: 0 }, { code: 0 }]);
    await chassis.expectPowered(0);
    await chassis.expectPowered(1);
    expect(await chassis.hazards()).toEqual([]);
  });

  test('a chassis that fails takes no other chassis with it', async () => {
    await chassis.startPlant({ faults: ['chassis 1 rail P1V8 never good'] });

    const [good, bad] = await Promise.all([
      start('obmc-chassis-start@0.target'),
      start('obmc-chassis-start@1.target'),
    ]);
    await machine.waitForJobs();

    expect(good.code).toBe(0);
    expect(bad.code).not.toBe(0);
    await chassis.expectPowered(0);
    await chassis.expectEveryEnableOff(1);
    expect(await failedUnits()).toEqual(['op-power-start@1.service']);
    expect(await states(machine)).toMatchObject({
      'obmc-power-chassis-on': 'active',
      'obmc-power-chassis-off': 'inactive',
      'obmc-quiesce-host': 'inactive',
    });
  });
});
