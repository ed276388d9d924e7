/**
 * Beside phosphor-state-manager: today's targets and services, written here from what is known of them (relations,
 * conditions, commands), our resident service under them, and `units install --flavour current` in between.
 */
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { type Chassis, putChassis } from './chassis.ts';
import { bootMachine, skipped, titleSuffix } from './machine.ts';
import type { SystemdSandbox } from './rig.ts';

const POWER = 'org.openbmc.control.Power /org/openbmc/control/power%i org.openbmc.control.Power';
const DIR = '/usr/lib/systemd/system';
const syncPoint = (before: readonly string[], opposite: string) =>
  `[Unit]\nConflicts=${opposite}\nAfter=${opposite}\n${before.map((unit) => `Wants=${unit}\nAfter=${unit}\n`).join('')}`;

/** phosphor-state-manager's units of the power path, reduced to what orders and runs them. */
const STATE_MANAGER: Readonly<Record<string, string>> = {
  'obmc-chassis-poweron@.target': `[Unit]
Conflicts=obmc-chassis-poweroff@%i.target
After=obmc-chassis-poweroff@%i.target
Wants=obmc-power-start-pre@%i.target obmc-power-start@%i.target obmc-power-on@%i.target
OnFailure=obmc-chassis-poweroff@%i.target
OnFailureJobMode=fail
`,
  'obmc-chassis-poweroff@.target': `[Unit]
Wants=obmc-power-stop-pre@%i.target obmc-power-stop@%i.target obmc-power-off@%i.target
Conflicts=obmc-chassis-poweron@%i.target
`,
  'obmc-chassis-hard-poweroff@.target': `[Unit]
Conflicts=obmc-chassis-poweron@%i.target
After=obmc-chassis-poweron@%i.target
Requires=obmc-chassis-poweroff@%i.target
`,
  'obmc-host-quiesce@.target':
    '[Unit]\nConflicts=obmc-chassis-poweroff@%i.target\nAfter=obmc-chassis-poweroff@%i.target\n',
  'obmc-power-start-pre@.target': syncPoint([], 'obmc-chassis-poweroff@%i.target'),
  'obmc-power-start@.target': syncPoint(
    ['obmc-power-start-pre@%i.target'],
    'obmc-chassis-poweroff@%i.target',
  ),
  'obmc-power-on@.target': syncPoint(['obmc-power-start@%i.target'], 'obmc-chassis-poweroff@%i.target'),
  'obmc-power-stop-pre@.target': syncPoint([], 'obmc-chassis-poweron@%i.target'),
  'obmc-power-stop@.target': syncPoint(['obmc-power-stop-pre@%i.target'], 'obmc-chassis-poweron@%i.target'),
  'obmc-power-off@.target': syncPoint(['obmc-power-stop@%i.target'], 'obmc-chassis-poweron@%i.target'),
  'obmc-power-start@.service': `[Unit]
Wants=obmc-power-start@%i.target obmc-power-start-pre@%i.target
Before=obmc-power-start@%i.target
After=obmc-power-start-pre@%i.target
Conflicts=obmc-chassis-poweroff@%i.target
After=obmc-chassis-poweroff@%i.target
ConditionPathExists=!/run/openbmc/chassis@%i-on
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/sh -c "busctl call ${POWER} setPowerState i 1"
`,
  'obmc-power-stop@.service': `[Unit]
Wants=obmc-power-stop@%i.target obmc-power-stop-pre@%i.target
Before=obmc-power-stop@%i.target
After=obmc-power-stop-pre@%i.target
Conflicts=obmc-chassis-poweron@%i.target
After=obmc-chassis-poweron@%i.target
[Service]
RemainAfterExit=yes
ExecStart=/bin/sh -c "busctl call ${POWER} setPowerState i 0"
`,
};
const UNITS = [
  ...Object.keys(STATE_MANAGER),
  'phosphor-wait-power-on@.service',
  'phosphor-wait-power-off@.service',
];

describe.skipIf(skipped)(`beside phosphor-state-manager${titleSuffix}`, () => {
  let machine: SystemdSandbox;
  let chassis: Chassis;

  beforeAll(async () => {
    machine = await bootMachine();
    chassis = await putChassis(machine);
    for (const [name, text] of Object.entries(STATE_MANAGER)) await machine.writeFile(`${DIR}/${name}`, text);
    for (const [target, unit] of [
      ['obmc-chassis-poweron@0.target', 'obmc-power-start@.service'],
      ['obmc-chassis-poweroff@0.target', 'obmc-power-stop@.service'],
    ] as const) {
      await machine.run(
        `mkdir -p ${DIR}/${target}.requires; ln -s ../${unit} ${DIR}/${target}.requires/${unit.replace('@', '@0')}`,
      );
    }
    await machine.run('chassis-power units install --flavour current');
  });
  afterAll(async () => {
    await machine?.stop();
  });
  beforeEach(async () => {
    // One by one: all at once the stop of these targets is a cycle, which no request ever is.
    const units = UNITS.map((unit) => unit.replace('@', '@0')).join(' ');
    await machine.run(`for unit in ${units} chassis-power.service; do systemctl stop $unit; done`);
    await chassis.stopPlant();
    await machine.run('systemctl reset-failed; rm -rf /run/chassis-power /run/openbmc');
  });

  const serving = async (faults: readonly string[] = []) => {
    await chassis.startPlant({ faults });
    expect(await machine.systemctl('start', 'phosphor-power-control.service')).toMatchObject({ code: 0 });
  };
  const start = (unit: string) => machine.systemctl('start', unit);
  const active = async (unit: string) => (await machine.showUnit(unit, ['ActiveState'])).ActiveState;

  test('has the names it leaves to phosphor-state-manager left', async () => {
    await serving();
    const names = await machine.run(['busctl', '--no-legend', '--acquired', 'list']);
    expect(names).toMatch(/^org\.openbmc\.control\.Power /m);
    expect(names).not.toMatch(/xyz\.openbmc_project\.State/);
    expect(await machine.run(['systemctl', 'show', '-P', 'Id', 'phosphor-power-control.service'])).toBe(
      'chassis-power.service\n',
    );
  });

  test('its power-on target powers on, and its power-off target off', async () => {
    await serving();
    expect(await start('obmc-chassis-poweron@0.target')).toMatchObject({ code: 0 });
    await chassis.expectPowered();
    expect(await active('phosphor-wait-power-on@0.service')).toBe('active');
    expect(await start('obmc-chassis-poweroff@0.target')).toMatchObject({ code: 0 });
    await chassis.expectEveryEnableOff();
    expect(await active('phosphor-wait-power-off@0.service')).toBe('active');
    expect(await chassis.hazards()).toEqual([]);
    expect(await machine.run(['systemctl', '--failed', '--no-legend', '--plain'])).toBe('');
  });

  test('a power on that fails fails its target', async () => {
    await serving(['rail P1V8 never good']);
    expect((await start('obmc-chassis-poweron@0.target')).code).not.toBe(0);
    await machine.waitForJobs();
    await chassis.expectEveryEnableOff();
    expect(await active('obmc-chassis-poweron@0.target')).toBe('inactive');
  });

  test('a loss of power leads to its hard power off', async () => {
    await serving();
    await start('obmc-chassis-poweron@0.target');
    await chassis.addFault('pgood stuck off');
    await chassis.until('hard power off is reached', async () => {
      return (await active('obmc-chassis-hard-poweroff@0.target')) === 'active';
    });
    await chassis.expectEveryEnableOff();
    expect(await active('obmc-chassis-poweron@0.target')).toBe('inactive');
  });

  test('a power off without the service works all the same', async () => {
    await serving();
    await start('obmc-chassis-poweron@0.target');
    await machine.systemctl('stop', 'chassis-power.service');
    await start('obmc-chassis-poweroff@0.target');
    await machine.waitForJobs();
    await chassis.expectEveryEnableOff();
  });
});
