/** The program under real units when its words have nowhere to go: the journal is stopped in the middle. */
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { type Chassis, putChassis } from './chassis.ts';
import { bootMachine, skipped, states, titleSuffix } from './machine.ts';
import type { SystemdSandbox } from './rig.ts';

const SERVICE = 'chassis-power.service';
const START = 'obmc-chassis-start@0.target';
const STOP = 'obmc-chassis-stop@0.target';
const JOURNAL = [
  'systemd-journald.service',
  'systemd-journald.socket',
  'systemd-journald-dev-log.socket',
  'systemd-journald-audit.socket',
];

describe.skipIf(skipped)(`a journal that is gone${titleSuffix}`, () => {
  let machine: SystemdSandbox;
  let chassis: Chassis;

  beforeAll(async () => {
    machine = await bootMachine();
    chassis = await putChassis(machine);
    await chassis.units('install');
  });
  afterAll(async () => {
    await machine?.stop();
  });
  beforeEach(async () => {
    await chassis.reset();
  });
  afterEach(async () => {
    await startJournal();
  });

  const stopJournal = async () => {
    await machine.exec(['systemctl', 'stop', ...JOURNAL]);
    expect((await machine.showUnit('systemd-journald.service', ['ActiveState'])).ActiveState).toBe(
      'inactive',
    );
  };
  const startJournal = () =>
    machine.exec(['systemctl', 'start', 'systemd-journald.socket', 'systemd-journald.service']);
  const enabled = async () => (await chassis.asserted('enable')).filter((is) => is).length;

  test('during a power on is no reason to fail', async () => {
    await chassis.startPlant({ faults: ['rail P5V slow 400ms'] });
    await machine.run(['systemctl', 'start', '--no-block', START]);
    await chassis.until('a rail rises', async () => (await enabled()) > 0);
    await stopJournal();
    await machine.waitForJobs();
    await chassis.expectPowered();
    expect(await states(machine)).toMatchObject({
      'obmc-chassis-start': 'active',
      'op-power-start': 'active',
      'op-wait-power-on': 'active',
      'obmc-quiesce-host': 'inactive',
    });
  });

  test('before a power off is no reason to fail', async () => {
    await chassis.startPlant();
    await machine.run(['systemctl', 'start', START]);
    await stopJournal();
    expect(await machine.systemctl('start', STOP)).toMatchObject({ code: 0 });
    await chassis.expectEveryEnableOff();
  });

  test('does not keep the service from switching off after a loss of pgood', async () => {
    await chassis.startPlant();
    await machine.run(['systemctl', 'start', START, SERVICE]);
    const { MainPID } = await machine.showUnit(SERVICE, ['MainPID']);
    await stopJournal();
    await chassis.addFault('pgood never');
    await chassis.until('everything is off', async () => (await enabled()) === 0);
    await chassis.until('quiesce', async () => (await states(machine))['obmc-quiesce-host'] === 'active');
    expect((await machine.showUnit(SERVICE, ['MainPID'])).MainPID).toBe(MainPID);
  });
});
