/** The program under real units when its words have nowhere to go: the journal is stopped in the middle. */
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { type Chassis, putChassis } from './chassis.ts';
import { bootMachine, skipped, states, titleSuffix } from './machine.ts';
import type { SystemdSandbox } from './rig.ts';

const SERVICE = 'chassis-power.service';
const START = 'obmc-chassis-start@0.target';
const STOP = 'obmc-chassis-stop@0.target';
const IS_ON = /pgood: the chassis is on$/;
const TOOK = /chassis 0 is on: power on took \d+ ms$/;
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

  test('and comes back has what was said before and after, and how many lines are missing in between', async () => {
    const power = ['org.openbmc.control.Power', '/org/openbmc/control/power0', 'org.openbmc.control.Power'];
    const setPowerState = async (state: 0 | 1) => {
      const call = ['busctl', 'call', ...power, 'setPowerState', 'i', String(state)];
      expect(await machine.exec(call)).toMatchObject({ code: 0 });
    };
    /** What the service says of on, off and on again, with the journal away during the power off or not. */
    const saidOfCycle = async (isAway: boolean) => {
      const sinceUs = Number((await machine.readFile('/proc/uptime')).split(' ')[0]) * 1_000_000;
      await chassis.startPlant();
      await machine.run(['systemctl', 'start', SERVICE]);
      await setPowerState(1);
      if (isAway) await stopJournal();
      await setPowerState(0);
      await chassis.expectEveryEnableOff();
      if (isAway) await startJournal();
      await setPowerState(1);
      await chassis.expectPowered();
      expect(await chassis.hazards()).toEqual([]);
      const entries = async () => {
        const said = await machine.journal(SERVICE);
        const now = said.filter((entry) => Number(entry.__MONOTONIC_TIMESTAMP) > sinceUs);
        const own = now.filter((entry) => entry.SYSLOG_IDENTIFIER === 'chassis-power');
        return own.map(({ MESSAGE }) => String(MESSAGE));
      };
      // The event comes to the journal by another way than the lines, and so later or earlier than they do.
      const isTold = async () => {
        const lines = await entries();
        return [IS_ON, TOOK].every((mark) => lines.filter((line) => mark.test(line)).length === 2);
      };
      await chassis.until('both are told', isTold).catch(async (error: unknown) => {
        throw new Error(`${String(error)}:\n${(await entries()).join('\n')}`, { cause: error });
      });
      await machine.run(['systemctl', 'stop', SERVICE]);
      return entries();
    };

    const whole = await saidOfCycle(false);
    await chassis.reset();
    const torn = await saidOfCycle(true);
    const missing = /: (\d+) lines could not be written here \(EPIPE\)$/;
    const notices = torn.filter((line) => missing.test(line));
    expect(notices).toHaveLength(1);
    const count = Number(missing.exec(notices[0] ?? '')?.[1]);
    expect(count).toBeGreaterThan(6);
    expect(torn.length - 1 + count).toBe(whole.length);
    // In its place: after what was said before, and before what was said after.
    const marks = torn.filter((line) => IS_ON.test(line) || missing.test(line));
    expect(marks.map((line) => missing.test(line))).toEqual([false, true, false]);
  });
});
