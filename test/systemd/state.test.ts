/**
 * Chassis and host state of a machine without phosphor-state-manager, on a real systemd and a real system bus, by a
 * client that knows nothing of us: busctl.
 */
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { type Chassis, putChassis } from './chassis.ts';
import { bootMachine, skipped, states, titleSuffix } from './machine.ts';
import { type ExecResult, SANDBOX_CHECKOUT, SANDBOX_NODE, type SystemdSandbox } from './rig.ts';

const SERVICE = 'chassis-power.service';
const CHASSIS = 'xyz.openbmc_project.State.Chassis';
const CHASSIS_PATH = '/xyz/openbmc_project/state/chassis0';
const HOST = 'xyz.openbmc_project.State.Host';
const HOST_PATH = '/xyz/openbmc_project/state/host0';
const RESTORE = 'xyz.openbmc_project.Control.Power.RestorePolicy';
const POLICY_PATH = '/xyz/openbmc_project/control/host0/power_restore_policy';
const AS_NOBODY = 'setpriv --reuid=nobody --regid=nogroup --clear-groups';
/** Where the simulator's program keeps what lasts: its run directory. */
const LASTING = '/run/chassis-power/chassis0-lasting.json';
const RAIL_SLOW = 'rail P12V slow 400ms';

describe.skipIf(skipped)(`chassis and host state${titleSuffix}`, () => {
  let machine: SystemdSandbox;
  let chassis: Chassis;
  /** When the test began, on the clock of the journal. */
  let sinceUs = 0;

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
    sinceUs = Number((await machine.readFile('/proc/uptime')).split(' ')[0]) * 1_000_000;
  });

  const serving = async (options: { initially?: 'off' | 'on'; faults?: readonly string[] } = {}) => {
    await chassis.startPlant(options);
    expect(await machine.systemctl('start', SERVICE)).toMatchObject({ code: 0 });
  };
  const get = async (path: string, name: string, property: string, service = CHASSIS) =>
    (await machine.exec(['busctl', 'get-property', service, path, name, property])).stdout.trim();
  const set = (
    path: string,
    name: string,
    property: string,
    type: string,
    value: string,
  ): Promise<ExecResult> => machine.exec(['busctl', 'set-property', HOST, path, name, property, type, value]);
  const requestHost = (value: string) =>
    set(HOST_PATH, HOST, 'RequestedHostTransition', 's', `${HOST}.Transition.${value}`);
  const requestPower = (value: string) =>
    set(CHASSIS_PATH, CHASSIS, 'RequestedPowerTransition', 's', `${CHASSIS}.Transition.${value}`);
  /** The last words of the four states, as `power requested, host requested`. */
  const shown = async () => {
    const words = await Promise.all([
      get(CHASSIS_PATH, CHASSIS, 'CurrentPowerState'),
      get(CHASSIS_PATH, CHASSIS, 'RequestedPowerTransition'),
      get(HOST_PATH, HOST, 'CurrentHostState'),
      get(HOST_PATH, HOST, 'RequestedHostTransition'),
    ]);
    const [power, requestedPower, host, requestedHost] = words.map((text) => /(\w+)"$/.exec(text)?.[1]);
    return `${power} ${requestedPower}, ${host} ${requestedHost}`;
  };
  const untilShown = async (expected: string) => {
    let last = '';
    await chassis
      .until(expected, async () => {
        last = await shown();
        return last === expected;
      })
      .catch((error: unknown) => {
        throw new Error(`last: ${last}`, { cause: error });
      });
  };
  const said = async () =>
    (await machine.journal(SERVICE))
      .filter((entry) => Number(entry.__MONOTONIC_TIMESTAMP) > sinceUs)
      .map((entry) => String(entry.MESSAGE))
      .join('\n');
  const introspect = async (path: string, name: string) =>
    (await machine.run(['busctl', '--no-legend', 'introspect', CHASSIS, path, name]))
      .trim()
      .split('\n')
      .map((row) => row.trim().replaceAll(/\s+/g, ' '));
  const reachedSince = async (unit: string) =>
    Number((await machine.showUnit(unit, ['ActiveEnterTimestampMonotonic'])).ActiveEnterTimestampMonotonic);

  test('is on the bus with the members, types and flags that its callers count on, and no others', async () => {
    await serving();
    expect(await introspect(CHASSIS_PATH, CHASSIS)).toEqual([
      `.CurrentPowerState property s "${CHASSIS}.PowerState.Off" emits-change`,
      `.CurrentPowerStatus property s "${CHASSIS}.PowerStatus.Undefined" emits-change`,
      '.LastStateChangeTime property t 0 emits-change',
      `.RequestedPowerTransition property s "${CHASSIS}.Transition.Off" emits-change writable`,
    ]);
    expect(await introspect(CHASSIS_PATH, 'xyz.openbmc_project.State.PowerOnHours')).toEqual([
      '.POHCounter property u 0 emits-change',
    ]);
    const allowed = ['Off', 'On', 'Reboot'].map((name) => `"${HOST}.Transition.${name}"`).join(' ');
    expect(await introspect(HOST_PATH, HOST)).toEqual([
      `.AllowedHostTransitions property as 3 ${allowed} emits-change`,
      `.CurrentHostState property s "${HOST}.HostState.Off" emits-change`,
      `.RequestedHostTransition property s "${HOST}.Transition.Off" emits-change writable`,
      `.RestartCause property s "${HOST}.RestartCause.Unknown" emits-change`,
    ]);
    for (const [path, policy] of [
      [POLICY_PATH, 'Restore'],
      [`${POLICY_PATH}/one_time`, 'None'],
    ] as const) {
      expect(await introspect(path, RESTORE)).toEqual([
        '.PowerRestoreDelay property t 0 emits-change writable',
        `.PowerRestorePolicy property s "${RESTORE}.Policy.${policy}" emits-change writable`,
      ]);
    }
  });

  test('is under the names with and without a number, and the object managers list it', async () => {
    await serving();
    for (const service of [CHASSIS, `${CHASSIS}0`, HOST, `${HOST}0`]) {
      expect(await get(HOST_PATH, HOST, 'CurrentHostState', service)).toBe(`s "${HOST}.HostState.Off"`);
    }
    for (const [path, listed] of [
      ['/xyz/openbmc_project/state', [CHASSIS_PATH, HOST_PATH]],
      ['/xyz/openbmc_project/control', [POLICY_PATH, `${POLICY_PATH}/one_time`]],
    ] as const) {
      const managed = await machine.run([
        ...['busctl', 'call', CHASSIS, path],
        ...['org.freedesktop.DBus.ObjectManager', 'GetManagedObjects'],
      ]);
      for (const object of listed) expect(managed).toContain(`"${object}"`);
    }
  });

  test('Host On powers the chassis through systemd, Host Off takes it down', async () => {
    await serving();
    const before = Date.now();
    expect(await requestHost('On')).toMatchObject({ code: 0 });
    await untilShown('On On, Running On');
    await chassis.expectPowered();
    expect(await states(machine)).toMatchObject({
      'obmc-chassis-start': 'active',
      'obmc-power-chassis-on': 'active',
      'obmc-start-host': 'active',
    });
    expect(await get(HOST_PATH, HOST, 'RestartCause')).toBe(`s "${HOST}.RestartCause.RemoteCommand"`);
    const changedAt = Number((await get(CHASSIS_PATH, CHASSIS, 'LastStateChangeTime')).replace('t ', ''));
    expect(changedAt).toBeGreaterThanOrEqual(before);
    expect(changedAt).toBeLessThanOrEqual(Date.now());

    expect(await requestHost('Off')).toMatchObject({ code: 0 });
    await untilShown('Off Off, Off Off');
    await chassis.expectEveryEnableOff();
    expect(await states(machine)).toMatchObject({
      'obmc-power-chassis-off': 'active',
      'obmc-chassis-start': 'inactive',
      'obmc-start-host': 'inactive',
    });
    expect(await chassis.hazards()).toEqual([]);
  });

  test('the reply does not wait, and what goes on shows', async () => {
    await serving({ faults: [RAIL_SLOW] });
    expect(await requestHost('On')).toMatchObject({ code: 0 });
    await untilShown('TransitioningToOn Off, TransitioningToRunning On');
    await untilShown('On On, Running On');
  });

  test('Host Reboot powers off, waits 5 s, and powers on', async () => {
    await serving();
    await requestHost('On');
    await untilShown('On On, Running On');
    expect(await requestHost('Reboot')).toMatchObject({ code: 0 });
    await chassis.until('power is off', async () => !(await chassis.asserted('enable')).includes(true));
    await untilShown('On On, Running Reboot');
    const off = await reachedSince('op-power-stop@0.service');
    const on = await reachedSince('op-power-start@0.service');
    expect(on - off).toBeGreaterThan(5_000_000);
    await chassis.expectPowered();
    expect(await chassis.hazards()).toEqual([]);
  });

  test('Host Reboot is seen through though the service is killed in the middle of it', async () => {
    await serving();
    await requestHost('On');
    await untilShown('On On, Running On');
    await requestHost('Reboot');
    await untilShown('Off On, TransitioningToRunning Reboot');
    await machine.systemctl('kill', '--signal=KILL', SERVICE);
    await untilShown('On On, Running Reboot');
    await chassis.expectPowered();
    expect(await chassis.hazards()).toEqual([]);
  });

  test('is the same for GLib: types, a request, an error by its name', async () => {
    await serving();
    const gdbus = (path: string, method: string, ...args: string[]) =>
      machine.exec([
        ...['gdbus', 'call', '--system', '--dest', HOST, '--object-path', path],
        ...['--method', `org.freedesktop.DBus.Properties.${method}`, ...args],
      ]);
    const request = (value: string) =>
      gdbus(HOST_PATH, 'Set', HOST, 'RequestedHostTransition', `<'${HOST}.Transition.${value}'>`);
    expect(await request('On')).toMatchObject({ code: 0, stdout: '()\n' });
    await untilShown('On On, Running On');
    expect((await gdbus(CHASSIS_PATH, 'Get', CHASSIS, 'CurrentPowerState')).stdout).toBe(
      `(<'${CHASSIS}.PowerState.On'>,)\n`,
    );
    expect((await gdbus(CHASSIS_PATH, 'Get', CHASSIS, 'LastStateChangeTime')).stdout).toMatch(
      /^\(<uint64 \d{13}>,\)\n$/,
    );
    expect((await request('Sideways')).stderr).toMatch(
      /GDBus\.Error:org\.freedesktop\.DBus\.Error\.InvalidArgs/,
    );
    expect(await request('Off')).toMatchObject({ code: 0 });
    await untilShown('Off Off, Off Off');
    await chassis.expectEveryEnableOff();
  });

  test('Chassis On, PowerCycle and Off, the second half given up for a power off', async () => {
    await serving();
    expect(await requestPower('On')).toMatchObject({ code: 0 });
    await untilShown('On On, Off Off');
    expect(await requestPower('PowerCycle')).toMatchObject({ code: 0 });
    await untilShown('Off PowerCycle, Off Off');
    await untilShown('On PowerCycle, Off Off');
    await chassis.expectPowered();

    expect(await requestPower('PowerCycle')).toMatchObject({ code: 0 });
    await untilShown('Off PowerCycle, Off Off');
    expect(await requestPower('Off')).toMatchObject({ code: 0 });
    await untilShown('Off Off, Off Off');
    await machine.waitForJobs();
    await chassis.expectEveryEnableOff();
    expect((await said()).match(/starting obmc-power-chassis-on@0.target/g)).toHaveLength(2);
  });

  test('what is no transition, or none of this machine, is refused and moves nothing', async () => {
    await serving();
    const refused = async (path: string, name: string, property: string, value: string) => {
      const answer = await machine.exec([
        ...['dbus-send', '--system', '--print-reply', `--dest=${HOST}`, path],
        ...['org.freedesktop.DBus.Properties.Set', `string:${name}`, `string:${property}`],
        `variant:string:${value}`,
      ]);
      expect(answer.code).not.toBe(0);
      return /^Error (\S+):/.exec(answer.stderr)?.[1];
    };
    const invalid = 'org.freedesktop.DBus.Error.InvalidArgs';
    const unsupported = 'org.freedesktop.DBus.Error.NotSupported';
    const host = (value: string) => refused(HOST_PATH, HOST, 'RequestedHostTransition', value);
    expect(await host('On')).toBe(invalid);
    expect(await host(`${HOST}.Transition.Sideways`)).toBe(invalid);
    expect(await host(`${HOST}.Transition.GracefulWarmReboot`)).toBe(unsupported);
    expect(await host(`${HOST}.Transition.ForceWarmReboot`)).toBe(unsupported);
    expect(await refused(CHASSIS_PATH, CHASSIS, 'RequestedPowerTransition', 'Off')).toBe(invalid);
    expect(await refused(POLICY_PATH, RESTORE, 'PowerRestorePolicy', 'AlwaysOn')).toBe(invalid);
    expect(await refused(CHASSIS_PATH, CHASSIS, 'CurrentPowerState', 'x')).toBe(
      'org.freedesktop.DBus.Error.PropertyReadOnly',
    );
    await machine.waitForJobs();
    expect(await shown()).toBe('Off Off, Off Off');
    await chassis.expectEveryEnableOff();
  });

  test('everybody reads, and others than root and the group do not set', async () => {
    await serving();
    const property = `${HOST} ${HOST_PATH} ${HOST} RequestedHostTransition`;
    expect(await machine.exec(`${AS_NOBODY} busctl get-property ${property}`)).toMatchObject({
      stdout: `s "${HOST}.Transition.Off"\n`,
    });
    const answer = await machine.exec(`${AS_NOBODY} busctl set-property ${property} s ${HOST}.Transition.On`);
    expect(answer.code).not.toBe(0);
    expect(answer.stderr).toMatch(/access denied|not permitted|AccessDenied/i);
    const owned = await machine.exec(
      `${AS_NOBODY} busctl call org.freedesktop.DBus / org.freedesktop.DBus RequestName su ${HOST}7 4`,
    );
    expect(owned.stderr).toMatch(/not allowed to own|access denied/i);
  });

  test('what fails ends in what is, and is in the journal', async () => {
    await serving({ faults: ['rail P1V8 never good'] });
    expect(await requestHost('On')).toMatchObject({ code: 0 });
    await chassis.until('it failed', async () =>
      (await said()).includes('obmc-chassis-start@0.target was not reached: dependency'),
    );
    await machine.waitForJobs();
    await untilShown('Off Off, Off Off');
    await chassis.expectEveryEnableOff();
  });

  test('what others do shows, and a loss of power too', async () => {
    await serving();
    await machine.systemctl('start', 'obmc-chassis-start@0.target');
    await untilShown('On On, Running On');
    expect(await get(HOST_PATH, HOST, 'RestartCause')).toBe(`s "${HOST}.RestartCause.Unknown"`);
    await machine.systemctl('start', 'obmc-quiesce-host@0.target');
    await untilShown('On On, Quiesced On');
    await machine.systemctl('start', 'obmc-chassis-start@0.target');
    await untilShown('On On, Running On');
    await chassis.addFault('pgood stuck off');
    await untilShown('Off Off, Off Off');
    await machine.waitForJobs();
    expect(JSON.parse(await machine.readFile(LASTING))).toMatchObject({ power: 'off', lastAsked: 'on' });
  });

  test('a restart of the service keeps the values, and the chassis as it is', async () => {
    await serving();
    await requestHost('On');
    await untilShown('On On, Running On');
    const policy = `${RESTORE}.Policy.AlwaysOn`;
    expect(await set(POLICY_PATH, RESTORE, 'PowerRestorePolicy', 's', policy)).toMatchObject({ code: 0 });
    expect(await set(POLICY_PATH, RESTORE, 'PowerRestoreDelay', 't', '5000000')).toMatchObject({ code: 0 });
    const all = async () =>
      Promise.all([
        shown(),
        get(CHASSIS_PATH, CHASSIS, 'LastStateChangeTime'),
        get(HOST_PATH, HOST, 'RestartCause'),
        get(POLICY_PATH, RESTORE, 'PowerRestorePolicy'),
        get(POLICY_PATH, RESTORE, 'PowerRestoreDelay'),
      ]);
    const before = await all();
    expect(before.slice(2)).toEqual([`s "${HOST}.RestartCause.RemoteCommand"`, `s "${policy}"`, 't 5000000']);
    const lines = await chassis.lines();
    expect(await machine.systemctl('restart', SERVICE)).toMatchObject({ code: 0 });
    expect(await all()).toEqual(before);
    expect(await chassis.lines()).toEqual(lines);
    await machine.run(`systemctl kill --signal=KILL ${SERVICE}`);
    await chassis.until('it is back', async () => (await shown()) === before[0]);
    expect(await all()).toEqual(before);
  });

  test('the sandbox of the service lets it keep what lasts where it does on a BMC', async () => {
    await serving();
    const { MainPID } = await machine.showUnit(SERVICE, ['MainPID']);
    const inService = (command: string) =>
      machine.exec(`nsenter --target ${MainPID} --mount --root ${command}`);
    const file = '/var/lib/chassis-power/probe';
    expect(await inService(`touch ${file}`)).toMatchObject({ code: 0, stderr: '' });
    expect(await inService(`rm ${file}`)).toMatchObject({ code: 0 });
    expect((await inService('touch /var/lib/probe')).code).not.toBe(0);
  });

  test('the power restore policy powers the chassis once after a start of the BMC', async () => {
    await serving();
    const policy = (value: string) =>
      set(`${POLICY_PATH}/one_time`, RESTORE, 'PowerRestorePolicy', 's', `${RESTORE}.Policy.${value}`);
    await policy('AlwaysOn');
    await machine.systemctl('restart', SERVICE);
    // The same boot: nothing happens.
    expect(await shown()).toBe('Off Off, Off Off');

    await machine.systemctl('stop', SERVICE);
    await machine.run(`sed -i 's/"restoredInBoot":"[^"]*"/"restoredInBoot":"another"/' ${LASTING}`);
    await machine.systemctl('start', SERVICE);
    await untilShown('On On, Running On');
    await chassis.expectPowered();
    expect(await get(HOST_PATH, HOST, 'RestartCause')).toBe(`s "${HOST}.RestartCause.PowerPolicyAlwaysOn"`);
    expect(await get(`${POLICY_PATH}/one_time`, RESTORE, 'PowerRestorePolicy')).toBe(
      `s "${RESTORE}.Policy.None"`,
    );
  });

  test('names that somebody else has are told, and left to him with --state off', async () => {
    await chassis.startPlant();
    const script = `require("${SANDBOX_CHECKOUT}/node_modules/dbus-next").systemBus().requestName("${HOST}", 0)`;
    await machine.run(['systemd-run', '--quiet', '--unit=other', SANDBOX_NODE, '--eval', script]);
    try {
      const isOwned = async (name: string) => (await machine.exec(`busctl status ${name}`)).code === 0;
      await chassis.until('the name is taken', () => isOwned(HOST));

      const refused = await chassis.command('serve');
      expect(refused.code).toBe(69);
      expect(refused.stderr).toMatch(/owns xyz\.openbmc_project\.State\.Host on the bus.*serve --state off/);

      const dropIn = `/etc/systemd/system/${SERVICE}.d/state.conf`;
      const command = 'ExecStart=\nExecStart=/usr/bin/chassis-power serve --state off';
      await machine.writeFile(dropIn, `[Service]\n${command}\n`);
      await machine.run(['systemctl', 'daemon-reload']);
      expect(await machine.systemctl('start', SERVICE)).toMatchObject({ code: 0 });
      expect(await isOwned('org.openbmc.control.Power')).toBe(true);
      expect(await isOwned(CHASSIS)).toBe(false);
    } finally {
      await machine.systemctl('stop', 'other.service');
    }
  });
});
