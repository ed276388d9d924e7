/**
 * The whole thing on a real systemd: the shipped units, installed by the program itself, run the program on
 * a simulated chassis that is one process of its own. Lines are looked at from outside the program.
 */
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { type Chassis, patientBoard, plantLateness, putChassis } from './chassis.ts';
import { bootMachine, skipped, states, titleSuffix, UNITS } from './machine.ts';
import type { SystemdSandbox } from './rig.ts';

const RAIL_NEVER_GOOD = 'rail P1V8 never good';
/** Long enough that a request can come in the middle, short of the board's deadline for the rail. */
const RAIL_SLOW = 'rail P12V slow 4s';
const ENABLE_STUCK_ON = 'enable P5V stuck on 1ms after good';

describe.skipIf(skipped)(`power on and off through systemd${titleSuffix}`, () => {
  let machine: SystemdSandbox;
  let chassis: Chassis;
  /** `tree()` before the units were installed. */
  let pristine = '';

  beforeAll(async () => {
    machine = await bootMachine();
    chassis = await putChassis(machine, JSON.stringify(patientBoard()));
    pristine = await tree();
    await chassis.units('install');
  });

  afterAll(async () => {
    await machine?.stop();
  });

  beforeEach(() => chassis.reset());

  const start = (unit: string) => machine.systemctl('start', unit);
  const exitStatus = async (unit: string) =>
    Number((await machine.showUnit(unit, ['ExecMainStatus'])).ExecMainStatus);

  /** All that is where units may be installed; of files and links also when they were written. */
  const tree = () =>
    machine.run(
      'cd /usr/lib && find systemd tmpfiles.d chassis-power' +
        " -type d -printf '%p d %m\\n' -o -printf '%p %y %m %s %l %T@\\n' 2>/dev/null | sort",
    );

  test('systemd-analyze verify has nothing to say about the installed units', async () => {
    const result = await machine.exec(['systemd-analyze', 'verify', '--man=no', ...UNITS]);
    expect(result).toEqual({ code: 0, stdout: '', stderr: '' });
  });

  test('the start target brings the chassis to pgood, op-power-start done before op-wait-power-on began', async () => {
    await chassis.startPlant();

    expect(await start('obmc-chassis-start@0.target')).toMatchObject({ code: 0 });

    await chassis.expectPowered();
    const first = await machine.showUnit('op-power-start@0.service', ['ActiveEnterTimestampMonotonic']);
    const second = await machine.showUnit('op-wait-power-on@0.service', ['InactiveExitTimestampMonotonic']);
    expect(Number(first.ActiveEnterTimestampMonotonic)).toBeGreaterThan(0);
    expect(Number(first.ActiveEnterTimestampMonotonic)).toBeLessThanOrEqual(
      Number(second.InactiveExitTimestampMonotonic),
    );
    expect(await states(machine)).toMatchObject({
      'obmc-chassis-start': 'active',
      'obmc-power-chassis-on': 'active',
      'obmc-start-host': 'active',
    });
  });

  test('starting again moves no line, not even when the stages run again', async () => {
    await chassis.startPlant();
    await start('obmc-chassis-start@0.target');
    const before = await chassis.lines();

    expect(await start('obmc-chassis-start@0.target')).toMatchObject({ code: 0 });
    expect(await chassis.lines()).toEqual(before);

    await machine.run(['systemctl', 'restart', 'op-power-start@0.service', 'op-wait-power-on@0.service']);
    expect(await chassis.lines()).toEqual(before);
  });

  test('the stop target takes the chassis down', async () => {
    await chassis.startPlant();
    await start('obmc-chassis-start@0.target');

    expect(await start('obmc-chassis-stop@0.target')).toMatchObject({ code: 0 });

    await chassis.expectEveryEnableOff();
    expect(await states(machine)).toMatchObject({
      'obmc-chassis-start': 'inactive',
      'obmc-power-chassis-on': 'inactive',
      'obmc-power-chassis-off': 'active',
      'obmc-quiesce-host': 'inactive',
    });
  });

  test('on, off, on, off, on at speed, under OpenBMC start limits', async () => {
    await chassis.startPlant();
    for (const verb of ['start', 'stop', 'start', 'stop']) {
      expect(await start(`obmc-chassis-${verb}@0.target`)).toMatchObject({ code: 0 });
      if (verb === 'start') await chassis.expectPowered();
      else await chassis.expectEveryEnableOff();
    }
    expect(await start('obmc-chassis-start@0.target')).toMatchObject({ code: 0 });
    await chassis.expectPowered();
    // Each enable was asserted three times and taken away twice, and nothing twitched in between.
    const enables = (await chassis.lines()).filter((line) => line.role === 'enable');
    expect(enables.map((line) => line.changes)).toEqual(enables.map(() => 5));
  });

  test('a rail that never comes good: the start fails, power off is reached, every enable is off', async () => {
    await chassis.startPlant({ faults: [RAIL_NEVER_GOOD] });

    const request = await start('obmc-chassis-start@0.target');
    await machine.waitForJobs();

    expect(request.code).not.toBe(0);
    await chassis.expectEveryEnableOff();
    expect(await states(machine)).toMatchObject({
      'obmc-chassis-start': 'inactive',
      'obmc-power-chassis-on': 'inactive',
      'obmc-power-chassis-off': 'active',
      'obmc-quiesce-host': 'active',
      'obmc-start-host': 'inactive',
      'op-power-start': 'failed',
    });
    expect(await exitStatus('op-power-start@0.service')).toBe(101);
    const said = (await machine.journal('op-power-start@0.service')).map((entry) => String(entry.MESSAGE));
    expect(said.join('\n')).toContain('P1V8');
  });

  test('after a failure that was repaired the next start works', async () => {
    await chassis.startPlant({ faults: [RAIL_NEVER_GOOD] });
    await start('obmc-chassis-start@0.target');
    await machine.waitForJobs();
    await chassis.stopPlant();
    await chassis.startPlant();

    expect(await start('obmc-chassis-start@0.target')).toMatchObject({ code: 0 });

    await chassis.expectPowered();
    expect(await states(machine)).toMatchObject({
      'obmc-quiesce-host': 'inactive',
      'obmc-power-chassis-off': 'inactive',
    });
  });

  test('a host that fails to start is quiesced, and its chassis keeps power', async () => {
    await chassis.startPlant();
    const dropIn = '/etc/systemd/system/obmc-start-host@.service.d/test.conf';
    await machine.writeFile(dropIn, '[Service]\nExecStart=\nExecStart=/bin/false\n');
    await machine.run(['systemctl', 'daemon-reload']);

    expect((await start('obmc-chassis-start@0.target')).code).not.toBe(0);
    await machine.waitForJobs();

    await chassis.expectPowered();
    expect(await states(machine)).toMatchObject({
      'obmc-start-host': 'failed',
      'obmc-quiesce-host': 'active',
      'obmc-power-chassis-on': 'active',
      'obmc-power-chassis-off': 'inactive',
    });
  });

  test('a power off that fails reaches quiesce and stops there', async () => {
    await chassis.startPlant({ faults: [ENABLE_STUCK_ON] });
    await start('obmc-chassis-start@0.target');

    expect((await start('obmc-chassis-stop@0.target')).code).not.toBe(0);
    await machine.waitForJobs();

    expect(await states(machine)).toMatchObject({
      'obmc-power-chassis-on': 'inactive',
      'obmc-power-chassis-off': 'inactive',
      'obmc-quiesce-host': 'active',
    });
    // What can be switched off is.
    const stillOn = (await chassis.lines()).filter((line) => line.role === 'enable' && line.asserted);
    expect(stillOn.map((line) => line.rail)).toEqual(['P5V']);
  });

  test('a power off that comes during power on wins, and leaves nothing failed', async () => {
    await chassis.startPlant({ faults: [RAIL_SLOW] });
    await machine.systemctl('start', '--no-block', 'obmc-chassis-start@0.target');
    await chassis.until('an enable is asserted', async () =>
      (await chassis.asserted('enable')).includes(true),
    );

    expect(await start('obmc-chassis-stop@0.target')).toMatchObject({ code: 0 });
    await machine.waitForJobs();

    await chassis.expectEveryEnableOff();
    expect(await machine.run(['systemctl', '--failed', '--no-legend', '--plain'])).toBe('');
    expect(await states(machine)).toMatchObject({
      'obmc-power-chassis-off': 'active',
      'obmc-quiesce-host': 'inactive',
    });
  });

  test('a simulated chassis that ran late says so: what failed meanwhile tells nothing about the program', async () => {
    await chassis.startPlant();
    const { MainPID } = await machine.showUnit('plant.service', ['MainPID']);
    await machine.run(`kill -STOP ${MainPID}; sleep 0.5; kill -CONT ${MainPID}`);
    await chassis.until('the plant says it', async () => (await plantLateness()) !== null);
    const said = Number(/^late by (\d+\.\d) ms/.exec((await plantLateness()) ?? '')?.[1]);
    // The beat of 25 ms may have been due in the middle of it.
    expect(said).toBeGreaterThan(450);
    await chassis.stopPlant();
    expect(await plantLateness()).toContain('late by');
  });

  test('units uninstall ends with the lines of a chassis that is off given back', async () => {
    await chassis.startPlant();
    expect(await start('obmc-chassis-start@0.target')).toMatchObject({ code: 0 });
    expect(await start('obmc-chassis-stop@0.target')).toMatchObject({ code: 0 });
    const uninstalled = await machine.exec('chassis-power units uninstall');
    expect(uninstalled).toMatchObject({ code: 0, stderr: '' });
    const [, count] = /^chassis 0: (\d+) lines given back$/m.exec(uninstalled.stdout) ?? [];
    const lines = (await chassis.lines()).filter(({ line }) => !line.startsWith('pmbus:'));
    expect(Number(count)).toBe(lines.length);
    expect(await machine.run('chassis-power release')).toBe('chassis 0: no line of ours to give back\n');
    await chassis.units('install');
  });

  test('units install twice changes nothing, uninstall leaves what was there before', async () => {
    const installed = await tree();
    expect(installed).toContain('obmc-power-chassis-on@0.target.requires/op-power-start@0.service l 777');

    await chassis.units('install');
    expect(await tree()).toBe(installed);

    await chassis.units('uninstall');
    expect(await tree()).toBe(pristine);

    await chassis.units('install');
    const withoutTimes = (text: string) => text.replaceAll(/ \d+\.\d+$/gm, '');
    expect(withoutTimes(await tree())).toBe(withoutTimes(installed));
  });
});
