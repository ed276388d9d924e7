/**
 * Beside phosphor-state-manager: its targets and services, our resident service under them, and `units install --flavour
 * current` in between.
 */
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { type Chassis, putChassis } from './chassis.ts';
import { allowEventLog, loggedEntries, startLogging, stopLogging } from './event-log.ts';
import { bootMachine, skipped, titleSuffix } from './machine.ts';
import type { SystemdSandbox } from './rig.ts';
import { putStateManager, type StateManager } from './state-manager.ts';

/** What a power on, or off, has reached when it is over. */
const ON = [
  'obmc-chassis-poweron@0.target',
  'obmc-power-start-pre@0.target',
  'obmc-power-start@0.target',
  'obmc-power-on@0.target',
  'obmc-power-start@0.service',
  'phosphor-set-chassis-transition-to-on@0.service',
  'phosphor-wait-power-on@0.service',
];
const OFF = [
  'obmc-chassis-poweroff@0.target',
  'obmc-chassis-powered-off@0.target',
  'obmc-power-stop-pre@0.target',
  'obmc-power-stop@0.target',
  'obmc-power-off@0.target',
  'obmc-power-stop@0.service',
  'phosphor-set-chassis-transition-to-off@0.service',
  'phosphor-wait-power-off@0.service',
];
/** Whatever of chassis 0 may be active, for `systemctl list-units`. */
const UNITS = "'obmc-*@0.*' 'phosphor-*@0.service' 'mapper-wait@*.service'";

describe.skipIf(skipped)(`beside phosphor-state-manager${titleSuffix}`, () => {
  let machine: SystemdSandbox;
  let chassis: Chassis;
  let stateManager: StateManager;
  /** When the test began, on the clock of the journal. */
  let sinceUs = 0;

  beforeAll(async () => {
    machine = await bootMachine();
    chassis = await putChassis(machine);
    stateManager = await putStateManager(machine);
    await machine.run('chassis-power units install --flavour current');
    await allowEventLog(machine);
  });
  afterAll(async () => {
    await machine?.stop();
  });
  beforeEach(async () => {
    // One by one: all at once the stop of these targets is a cycle, which no request ever is.
    await machine.run(
      `for unit in $(systemctl list-units --plain --no-legend --state=active,activating ${UNITS} | cut -d ' ' -f 1); do
         systemctl stop $unit; done; systemctl stop chassis-power.service`,
    );
    await chassis.stopPlant();
    await machine.run('systemctl reset-failed; rm -rf /run/chassis-power /run/openbmc');
    await stateManager.start();
    await stopLogging(machine);
    sinceUs = Number((await machine.readFile('/proc/uptime')).split(' ')[0]) * 1_000_000;
  });

  const serving = async (faults: readonly string[] = []) => {
    await chassis.startPlant({ faults });
    expect(await machine.systemctl('start', 'phosphor-power-control.service')).toMatchObject({ code: 0 });
  };
  const start = (unit: string) => machine.systemctl('start', unit);
  const active = async (unit: string) => (await machine.showUnit(unit, ['ActiveState'])).ActiveState;
  const activeStates = async (units: readonly string[]) =>
    Object.fromEntries(await Promise.all(units.map(async (unit) => [unit, await active(unit)] as const)));
  const allAre = (state: string, units: readonly string[]) =>
    Object.fromEntries(units.map((unit) => [unit, state]));
  const failed = async () =>
    (await machine.run(['systemctl', '--failed', '--no-legend', '--plain']))
      .split('\n')
      .flatMap((line) => line.split(' ', 1))
      .filter((unit) => unit !== '')
      .sort();
  /** What the service said since the test began. */
  const said = async () =>
    (await machine.journal('chassis-power.service'))
      .filter((entry) => Number(entry.__MONOTONIC_TIMESTAMP) > sinceUs)
      .map((entry) => String(entry.MESSAGE))
      .join('\n');
  const files = async () => (await machine.run('ls /run/openbmc')).split('\n').filter((name) => name !== '');

  test('has the names it leaves to phosphor-state-manager left', async () => {
    await serving();
    const names = await machine.run(['busctl', '--no-legend', '--acquired', 'list']);
    expect(names).toMatch(/^org\.openbmc\.control\.Power /m);
    expect(await machine.run('busctl status org.openbmc.control.Power --json=short')).not.toMatch(/xyz/);
    expect(await machine.run(['systemctl', 'show', '-P', 'Id', 'phosphor-power-control.service'])).toBe(
      'chassis-power.service\n',
    );
  });

  test('its power-on target powers on, and its power-off target off', async () => {
    await serving();
    expect(await start('obmc-chassis-poweron@0.target')).toMatchObject({ code: 0 });
    await chassis.expectPowered();
    expect(await activeStates(ON)).toEqual(allAre('active', ON));
    expect(await activeStates(OFF)).toEqual(allAre('inactive', OFF));
    await machine.run('mkdir /run/openbmc; touch /run/openbmc/host@0-request /run/openbmc/mpreboot@0');
    expect(await start('obmc-chassis-poweroff@0.target')).toMatchObject({ code: 0 });
    await machine.waitForJobs();
    await chassis.expectEveryEnableOff();
    expect(await activeStates(OFF)).toEqual(allAre('active', OFF));
    expect(await activeStates(ON)).toEqual(allAre('inactive', ON));
    expect(await files()).toEqual([]);
    expect(await chassis.hazards()).toEqual([]);
    expect(await failed()).toEqual([]);
  });

  test('off, on, off, on in quick turn ends on', async () => {
    await serving();
    const firstEnable = async () =>
      (await chassis.lines()).find(({ role, rail }) => role === 'enable' && rail === 'P12V');
    for (const state of ['off', 'on', 'off', 'on']) {
      await machine.systemctl('start', '--no-block', `obmc-chassis-power${state}@0.target`);
      // The next one comes in the middle of what was asked for.
      await chassis.until(`the first rail goes ${state}`, async () => {
        return (await firstEnable())?.asserted === (state === 'on');
      });
    }
    await machine.waitForJobs();
    await chassis.expectPowered();
    expect(await activeStates(ON)).toEqual(allAre('active', ON));
    expect(await active('obmc-chassis-poweroff@0.target')).toBe('inactive');
    expect((await firstEnable())?.changes).toBe(3);
    expect(await chassis.hazards()).toEqual([]);
    expect(await failed()).toEqual([]);
  });

  test('a power on that fails leads to its power off, and nothing but the start has failed', async () => {
    await serving(['rail P1V8 never good']);
    expect((await start('obmc-chassis-poweron@0.target')).code).not.toBe(0);
    await machine.waitForJobs();
    await chassis.expectEveryEnableOff();
    expect(await active('obmc-chassis-poweron@0.target')).toBe('inactive');
    // OnFailureJobMode=fail is no obstacle, though the synchronisation points of power on are still queued.
    expect(await activeStates(OFF)).toEqual(allAre('active', OFF));
    expect(await failed()).toEqual(['obmc-power-start@0.service']);
    expect(
      await machine.showUnit('phosphor-wait-power-on@0.service', [
        'ActiveState',
        'ExecMainStartTimestampMonotonic',
      ]),
    ).toEqual({ ActiveState: 'inactive', ExecMainStartTimestampMonotonic: '0' });
    expect(await chassis.hazards()).toEqual([]);
  });

  test('a power off that fails fails its target, and says of no chassis that it is off', async () => {
    await serving();
    await start('obmc-chassis-poweron@0.target');
    await chassis.addFault('enable P1V8 stuck on');
    expect((await start('obmc-chassis-poweroff@0.target')).code).not.toBe(0);
    await machine.waitForJobs();
    expect(await active('obmc-chassis-poweroff@0.target')).toBe('inactive');
    expect(await active('obmc-chassis-powered-off@0.target')).toBe('inactive');
    expect(await active('obmc-chassis-poweron@0.target')).toBe('inactive');
    expect(await failed()).toContain('phosphor-wait-power-off@0.service');
    expect(await failed()).not.toContain('obmc-powered-off@0.service');
  });

  test('a third power off in 30 s, which the start limit refuses to obmc-power-stop@, is one all the same', async () => {
    await serving();
    const unlimited = 'obmc-power-start@0.service phosphor-set-chassis-transition-to-on@0.service';
    for (const limited of [false, false, true]) {
      // Power on has the same limit; this is about off. A unit that is not loaded has nothing to forget.
      await machine.exec(`systemctl reset-failed ${unlimited}`);
      expect(await start('obmc-chassis-poweron@0.target')).toMatchObject({ code: 0 });
      const { code } = await start('obmc-chassis-poweroff@0.target');
      await machine.waitForJobs();
      expect(code !== 0).toBe(limited);
      await chassis.expectEveryEnableOff();
    }
    const { Result } = await machine.showUnit('obmc-power-stop@0.service', ['Result']);
    expect(Result).toBe('start-limit-hit');
    expect(await active('phosphor-wait-power-off@0.service')).toBe('active');
    expect(await chassis.hazards()).toEqual([]);
  });

  test('a start of the host powers on, and the hard power off takes both down', async () => {
    await serving();
    expect(await start('obmc-host-start@0.target')).toMatchObject({ code: 0 });
    await chassis.expectPowered();
    const host = ['obmc-host-start@0.target', 'obmc-host-startmin@0.target', 'obmc-host-started@0.target'];
    expect(await activeStates([...host, ...ON])).toEqual(allAre('active', [...host, ...ON]));
    expect(await start('obmc-chassis-hard-poweroff@0.target')).toMatchObject({ code: 0 });
    await machine.waitForJobs();
    await chassis.expectEveryEnableOff();
    expect(await activeStates([...host, ...ON])).toEqual(allAre('inactive', [...host, ...ON]));
    expect(await activeStates(OFF)).toEqual(allAre('active', OFF));
    expect(await chassis.hazards()).toEqual([]);
    expect(await failed()).toEqual([]);
  });

  test('a start of the host whose power on fails ends off and quiesced', async () => {
    await serving(['rail P1V8 never good']);
    expect((await start('obmc-host-start@0.target')).code).not.toBe(0);
    await machine.waitForJobs();
    await chassis.expectEveryEnableOff();
    const reached = [...OFF, 'obmc-host-quiesce@0.target'];
    expect(await activeStates(reached)).toEqual(allAre('active', reached));
    expect(await active('obmc-host-startmin@0.target')).toBe('inactive');
    expect(await failed()).toEqual(['obmc-power-start@0.service']);
  });

  /** As when the BMC starts under a chassis that is on: all at once, and the service may be the last. */
  const bmcStartWithPowerOn = async () => {
    await chassis.startPlant({ initially: 'on' });
    await machine.systemctl('start', '--no-block', 'obmc-chassis-powerreset@0.target');
    await machine.systemctl('start', '--no-block', 'chassis-power.service');
    await chassis.until('power on is reached', async () => {
      return (await active('obmc-chassis-poweron@0.target')) === 'active';
    });
    await machine.waitForJobs();
  };

  test('a BMC start with power on finds it on, and moves no line', async () => {
    await bmcStartWithPowerOn();
    expect(await files()).toEqual(['chassis@0-on']);
    await chassis.expectPowered();
    expect(Object.values(await chassis.changes()).every((changes) => changes === 0)).toBe(true);
    const { stdout } = await chassis.command('status --json');
    expect(JSON.parse(stdout)).toMatchObject({ state: 'pgood' });
    expect(JSON.parse(stdout).units.map(({ unit }: { unit: string }) => unit)).toContain(
      'phosphor-wait-power-on@0.service',
    );
    expect(stdout).not.toContain('op-power-start@0');
    for (const unit of ['obmc-power-start@0.service', 'phosphor-wait-power-on@0.service']) {
      expect(await machine.showUnit(unit, ['ActiveState', 'ConditionResult'])).toEqual({
        ActiveState: 'inactive',
        ConditionResult: 'no',
      });
    }
    expect(await failed()).toEqual([]);
    // As ever, from there on.
    await machine.run('rm /run/openbmc/chassis@0-on');
    expect(await start('obmc-chassis-poweroff@0.target')).toMatchObject({ code: 0 });
    await chassis.expectEveryEnableOff();
    expect(await chassis.hazards()).toEqual([]);
  });

  test('a marker of that start which nobody removed does not outlive the power', async () => {
    await bmcStartWithPowerOn();
    expect(await start('obmc-chassis-poweroff@0.target')).toMatchObject({ code: 0 });
    await chassis.expectEveryEnableOff();
    expect(await files()).toEqual([]);
    expect(await start('obmc-chassis-poweron@0.target')).toMatchObject({ code: 0 });
    await chassis.expectPowered();
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

  test('power that cannot be taken down after a loss starts no reboot, and is told in the event log', async () => {
    await stateManager.start({ autoReboot: true });
    await startLogging(machine, chassis, 'answers');
    await serving();
    expect(await start('obmc-host-start@0.target')).toMatchObject({ code: 0 });
    const before = (await stateManager.did()).length;
    await chassis.addFault('enable P1V8 stuck on');
    await chassis.addFault('pgood stuck off');
    const hardOff = 'obmc-chassis-hard-poweroff@0.target';
    await chassis.until('the power off has failed', async () => {
      return (await said()).includes(`${hardOff} started: dependency`);
    });
    await machine.waitForJobs();
    // The host is stopped, nobody says on or off, and nobody tries.
    const did = (await stateManager.did()).slice(before);
    expect(did.filter((what) => 'unit' in what)).toEqual([]);
    expect(await stateManager.powerState()).toBe('TransitioningToOff');
    expect(did).toContainEqual({ CurrentHostState: 'Off' });
    expect(await active('obmc-host-startmin@0.target')).toBe('inactive');
    expect(await active('obmc-host-quiesce@0.target')).toBe('inactive');
    expect(await active('obmc-chassis-poweron@0.target')).toBe('inactive');
    expect(await active('obmc-chassis-poweroff@0.target')).toBe('inactive');
    expect(await said()).toMatch(/^chassis 0: .*POWER IS STILL APPLIED \(rail P1V8 /m);
    expect(await loggedEntries(machine)).toMatchObject([
      {
        name: 'xyz.openbmc_project.Power.Error.Shutdown',
        severity: 'xyz.openbmc_project.Logging.Entry.Level.Critical',
        data: {
          POWER_STILL_APPLIED: 'true',
          REASON: expect.stringMatching(/POWER IS STILL APPLIED \(rail P1V8 /),
        },
      },
    ]);
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
