/**
 * A loss of power while nothing else is well: the event log hangs, the bus or systemd is away, the service is killed.
 * Power goes off all the same, and whoever has to know hears of it in the end.
 */
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { type Chassis, putChassis } from './chassis.ts';
import { allowEventLog, loggedEntries, startLogging as startEventLog, stopLogging } from './event-log.ts';
import { bootMachine, skipped, states, titleSuffix } from './machine.ts';
import type { SystemdSandbox } from './rig.ts';

const SERVICE = 'chassis-power.service';
const NAME = 'org.openbmc.control.Power';
const PATH = '/org/openbmc/control/power0';
/** After this time a D-Bus call without an answer has failed (libdbus, dbus-connection-internal.h). */
const DBUS_TIMEOUT_MS = 25_000;
describe.skipIf(skipped)(`a loss of power when nothing is well${titleSuffix}`, () => {
  let machine: SystemdSandbox;
  let chassis: Chassis;

  beforeAll(async () => {
    machine = await bootMachine();
    chassis = await putChassis(machine);
    await chassis.units('install');
    await allowEventLog(machine);
  });
  afterAll(async () => {
    await machine?.stop();
  });
  beforeEach(async () => {
    await chassis.reset();
    await stopLogging(machine);
    sinceUs = Number((await machine.readFile('/proc/uptime')).split(' ')[0]) * 1_000_000;
  });

  /** When the test began, on the clock of the journal. */
  let sinceUs = 0;
  const said = async () =>
    (await machine.journal(SERVICE))
      .filter((entry) => Number(entry.__MONOTONIC_TIMESTAMP) > sinceUs)
      .map((entry) => String(entry.MESSAGE))
      .join('\n');
  const startLogging = (mode: 'answers' | 'hangs') => startEventLog(machine, chassis, mode);
  const entries = () => loggedEntries(machine);
  const isOn = async () => {
    await chassis.startPlant();
    expect(await machine.systemctl('start', SERVICE)).toMatchObject({ code: 0 });
    expect(await machine.systemctl('start', 'obmc-chassis-start@0.target')).toMatchObject({ code: 0 });
    await chassis.until('the service has the chassis for on', async () => {
      const answer = await machine.exec(['busctl', 'get-property', NAME, PATH, NAME, 'pgood']);
      return answer.stdout === 'i 1\n';
    });
  };
  const everyEnableGoes = () =>
    chassis.until('every enable is off', async () => !(await chassis.asserted('enable')).includes(true));
  const expectRouted = async () => {
    await chassis.until('quiesce is reached', async () => {
      return (await states(machine))['obmc-quiesce-host'] === 'active';
    });
    await machine.waitForJobs();
    expect(await states(machine)).toMatchObject({
      'obmc-power-chassis-on': 'inactive',
      'obmc-power-chassis-off': 'active',
      'obmc-start-host': 'inactive',
      'obmc-quiesce-host': 'active',
    });
    await chassis.expectEveryEnableOff();
    expect(await chassis.hazards()).toEqual([]);
  };
  const mainPid = async () => (await machine.showUnit(SERVICE, ['MainPID'])).MainPID;
  const kill = () => machine.systemctl('kill', '--signal=KILL', SERVICE);
  const isBack = (old: string) =>
    chassis.until('another one runs', async () => {
      const { MainPID, ActiveState } = await machine.showUnit(SERVICE, ['MainPID', 'ActiveState']);
      return ActiveState === 'active' && MainPID !== old;
    });

  test('is an entry in the event log, once', async () => {
    await startLogging('answers');
    await isOn();
    await chassis.addFault('pgood stuck off');
    await expectRouted();
    expect(await entries()).toMatchObject([
      {
        name: 'xyz.openbmc_project.Power.Error.Shutdown',
        severity: 'xyz.openbmc_project.Logging.Entry.Level.Critical',
        data: {
          CHASSIS_NUMBER: '0',
          REASON:
            'pgood was lost while the chassis was on; cause unknown (no device says what it was); the power was taken down',
          POWER_STILL_APPLIED: 'false',
        },
      },
    ]);
  });

  test('is told again where power was asked for while the host was still being stopped', async () => {
    const host = '/etc/systemd/system/obmc-start-host@.service.d';
    await machine.writeFile(
      `${host}/slow.conf`,
      `[Service]\nExecStop=/bin/sh -c 'until [ -e /run/host-may-stop ]; do sleep 0.05; done'\n`,
    );
    await machine.run('rm -f /run/host-may-stop; systemctl daemon-reload');
    try {
      await isOn();
      await chassis.addFault('pgood stuck off');
      await everyEnableGoes();
      const hostStops = async () => (await states(machine))['obmc-start-host'] === 'deactivating';
      await chassis.until('the host is being stopped', hostStops);
      await machine.systemctl('start', '--no-block', 'obmc-power-chassis-on@0.target');
      await machine.run('touch /run/host-may-stop');
      await chassis.until('systemd no longer has it for on', async () => {
        return (await states(machine))['obmc-power-chassis-off'] === 'active';
      });
      await expectRouted();
      expect(await said()).toContain('telling systemd again');
    } finally {
      await machine.run(`rm -r ${host} && systemctl daemon-reload`);
    }
  });

  test('while the event log restarts is an entry all the same, once it is back, and only one', async () => {
    await startLogging('answers');
    await isOn();
    await stopLogging(machine);
    await chassis.addFault('pgood stuck off');
    // Systemd does not wait for it.
    await expectRouted();
    expect(await said()).toContain('nobody is the event log');
    await startLogging('answers');
    await chassis.until('the event log is told', async () => (await entries()).length > 0, 30_000);
    await machine.systemctl('stop', SERVICE);
    expect(await entries()).toMatchObject([
      { name: 'xyz.openbmc_project.Power.Error.Shutdown', data: { CHASSIS_NUMBER: '0' } },
    ]);
  });

  test('or a request to the service that fails is one entry, with its rail', async () => {
    await startLogging('answers');
    await chassis.startPlant({ faults: ['rail P1V8 never good'] });
    expect(await machine.systemctl('start', SERVICE)).toMatchObject({ code: 0 });
    const call = ['busctl', 'call', NAME, PATH, NAME, 'setPowerState', 'i', '1'];
    const answers = await Promise.all([machine.exec(call), machine.exec(call)]);
    expect(answers.map(({ code }) => code)).not.toContain(0);
    await chassis.until('the event log is told', async () => (await entries()).length > 0);
    await machine.systemctl('stop', SERVICE);
    expect(await entries()).toMatchObject([
      {
        name: 'xyz.openbmc_project.Power.Error.PowerSequencerVoltageFault',
        severity: 'xyz.openbmc_project.Logging.Entry.Level.Critical',
        data: { RAIL_NAME: 'P1V8', REQUEST: 'power on', POWER_STILL_APPLIED: 'false' },
      },
    ]);
  });

  test('or a stage that fails over power that stays is an entry that says so', async () => {
    await startLogging('answers');
    await chassis.startPlant();
    expect(await machine.systemctl('start', 'obmc-power-chassis-on@0.target')).toMatchObject({ code: 0 });
    await chassis.addFault('enable P1V8 stuck on');
    expect((await machine.systemctl('start', 'obmc-power-chassis-off@0.target')).code).not.toBe(0);
    await machine.waitForJobs();
    expect(await entries()).toMatchObject([
      {
        name: 'xyz.openbmc_project.State.Chassis.Error.PowerOffFailure',
        data: {
          RAIL_NAME: 'P1V8',
          REASON: expect.stringMatching(/POWER IS STILL APPLIED \(rail P1V8 is enabled\)/),
          POWER_STILL_APPLIED: 'true',
        },
      },
    ]);
  });

  test('is blamed on the power supply that somebody named', async () => {
    await startLogging('answers');
    await isOn();
    const error = 'xyz.openbmc_project.Power.PowerSupply.Error.PSKillFault';
    await machine.run(['busctl', 'call', NAME, PATH, NAME, 'setPowerSupplyError', 's', error]);
    await chassis.addFault('pgood stuck off');
    await expectRouted();
    expect(await entries()).toMatchObject([{ name: error }]);
  });

  test('first switches off, then reads the evidence, then tells the event log, then the units', async () => {
    await startLogging('hangs');
    await isOn();
    await chassis.addFault('pgood stuck off');
    await chassis.until('the event log is told', async () => (await entries()).length > 0);
    // It does not answer, so everything stands still at this point.
    await chassis.expectEveryEnableOff();
    expect(await states(machine)).toMatchObject({
      'obmc-power-chassis-on': 'active',
      'obmc-quiesce-host': 'inactive',
    });
    await chassis.until('the journal has the evidence', async () =>
      (await said()).includes('evidence: vr_ddr'),
    );
    // And nobody waits for it for ever.
    await expectRouted();
    expect(await entries()).toHaveLength(1);
  });

  test('while the bus is away: off at once, told when it is back', async () => {
    await isOn();
    await machine.run('systemctl stop dbus.socket dbus.service');
    await chassis.addFault('pgood stuck off');
    await everyEnableGoes();
    await chassis.until('it says so', async () =>
      (await said()).includes('systemd was not told of the loss'),
    );
    await machine.run('systemctl start dbus.socket dbus.service');
    await expectRouted();
  });

  test('while systemd hangs: off at once, told when it goes on', async () => {
    await isOn();
    process.kill(machine.pid, 'SIGSTOP');
    try {
      await chassis.addFault('pgood stuck off');
      await everyEnableGoes();
      const pgood = await machine.run(['busctl', 'get-property', NAME, PATH, NAME, 'pgood']);
      expect(pgood).toBe('i 0\n');
      await chassis.until(
        'it says so',
        async () => (await said()).includes('systemd was not told of the loss'),
        2 * DBUS_TIMEOUT_MS,
      );
    } finally {
      process.kill(machine.pid, 'SIGCONT');
    }
    await expectRouted();
  }, 120_000);

  test('after which the service is killed before it told anybody: told by the next one', async () => {
    await startLogging('hangs');
    await isOn();
    const old = await mainPid();
    await chassis.addFault('pgood stuck off');
    await chassis.until('the event log is told', async () => (await entries()).length > 0);
    await kill();
    await isBack(old);
    await expectRouted();
    // What the event log has of the first one is not known to the second.
    expect(await entries()).toHaveLength(2);
  });

  test('that is over and told is not told again by a service that comes later', async () => {
    await startLogging('answers');
    await isOn();
    await chassis.addFault('pgood stuck off');
    await expectRouted();
    await machine.run('systemctl restart chassis-power.service');
    await machine.run('systemctl start obmc-chassis-stop@0.target');
    expect(await entries()).toHaveLength(1);
  });

  test('a service that is killed in the middle of a power on takes down what it raised', async () => {
    await chassis.startPlant({ faults: ['rail P12V slow 400ms'] });
    expect(await machine.systemctl('start', SERVICE)).toMatchObject({ code: 0 });
    const old = await mainPid();
    const call = machine.exec(['busctl', 'call', NAME, PATH, NAME, 'setPowerState', 'i', '1']);
    await chassis.until('an enable is asserted', async () =>
      (await chassis.asserted('enable')).includes(true),
    );
    await kill();
    expect((await call).code).not.toBe(0);
    await isBack(old);
    await everyEnableGoes();
    await chassis.until('it is off', async () => {
      const state = ['busctl', 'get-property', NAME, PATH, 'chassis_power.Sequence1', 'State'];
      return (await machine.exec(state)).stdout === 's "off"\n';
    });
    expect(await said()).toMatch(/chassis 0: .*left the chassis half powered: taking down what it raised/);
    expect(await chassis.hazards()).toEqual([]);
  });
});
