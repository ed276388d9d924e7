/**
 * The service comes when it is asked for: by who calls it before it runs, and by systemd at the start of the BMC.
 */
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { type Chassis, putChassis } from './chassis.ts';
import { bootMachine, skipped, titleSuffix } from './machine.ts';
import type { SystemdSandbox } from './rig.ts';

const SERVICE = 'chassis-power.service';
const POWER = [
  'org.openbmc.control.Power',
  '/org/openbmc/control/power0',
  'org.openbmc.control.Power',
] as const;
const STATE = [
  'xyz.openbmc_project.State.Chassis',
  '/xyz/openbmc_project/state/chassis0',
  'xyz.openbmc_project.State.Chassis',
] as const;
const PGOOD = ['busctl', 'get-property', ...POWER, 'pgood'];
const SETTINGS = '/etc/systemd/system';
const GATE = '/run/gate';

describe.skipIf(skipped)(`the service is there for who asks${titleSuffix}`, () => {
  let machine: SystemdSandbox;
  let chassis: Chassis;

  beforeAll(async () => {
    machine = await bootMachine();
    chassis = await putChassis(machine);
  });
  afterAll(async () => {
    await machine?.stop();
  });
  beforeEach(async () => {
    // A first install, with whatever a test has left.
    await chassis.units('install');
    await machine.run(`touch ${GATE}`);
    await chassis.reset();
    await chassis.units('uninstall');
    await machine.run(`rm -rf ${GATE} ${SETTINGS}/*.wants ${SETTINGS}/*.service /etc/systemd/system-preset`);
    await chassis.startPlant();
    await chassis.units('install');
  });

  const isEnabled = async () => (await machine.systemctl('is-enabled', 'chassis-power')).stdout.trim();
  const state = async (unit: string) => (await machine.showUnit(unit, ['ActiveState'])).ActiveState;
  const activatable = async () =>
    (await machine.run(['busctl', '--no-legend', '--activatable', 'list']))
      .split('\n')
      .flatMap((line) => line.split(' ', 1))
      .filter((name) => /^(org\.openbmc|xyz\.openbmc_project)/.test(name))
      .sort();
  /** From here on the service is ready only once the gate is open. */
  const startsSlowly = async () => {
    await machine.writeFile(
      `${SETTINGS}/${SERVICE}.d/slow.conf`,
      `[Service]\nExecStartPre=/bin/sh -c 'until test -e ${GATE}; do sleep 0.05; done'\n`,
    );
    await machine.systemctl('daemon-reload');
  };
  const openGate = () => machine.run(`touch ${GATE}`);

  test.each([PGOOD, ['busctl', 'get-property', ...STATE, 'CurrentPowerState']])(
    'a call before it runs waits for it, and is answered: %s %s %s',
    async (...call) => {
      await startsSlowly();
      const answer = machine.exec(call);
      await chassis.until('it starts', async () => (await state(SERVICE)) === 'activating');
      await openGate();
      expect(await answer).toMatchObject({ code: 0, stderr: '' });
      // The answer may be faster than what systemd is told.
      await chassis.until('it runs', async () => (await state(SERVICE)) === 'active');
    },
  );

  test('who may only look may look, and may not switch, before it runs as after', async () => {
    const nobody = (command: readonly string[]) =>
      machine.exec(['setpriv', '--reuid=65534', '--regid=65534', '--clear-groups', ...command]);
    const transition = ['RequestedPowerTransition', 's', `${STATE[0]}.Transition.On`];
    for (const when of ['before', 'after']) {
      const set = await nobody(['busctl', 'set-property', ...STATE, ...transition]);
      expect([when, set.stderr]).toEqual([when, expect.stringMatching(/denied|rejected/i)]);
      expect(await state(SERVICE)).toBe(when === 'before' ? 'inactive' : 'active');
      expect(await nobody(['busctl', 'get-property', ...STATE, 'CurrentPowerState'])).toMatchObject({
        code: 0,
      });
      // Asking has started it, and the answer may be faster than what systemd is told.
      await chassis.until('it runs', async () => (await state(SERVICE)) === 'active');
    }
    expect(await chassis.asserted('enable')).not.toContain(true);
  });

  test('a power on that is asked for before it runs powers on', async () => {
    expect(await machine.exec(['busctl', 'call', ...POWER, 'setPowerState', 'i', '1'])).toMatchObject({
      code: 0,
    });
    await chassis.expectPowered();
  });

  test('a service that takes long to start holds up no boot: its target is there before it', async () => {
    await startsSlowly();
    const { After } = await machine.showUnit('multi-user.target', ['After']);
    expect(After.split(' ')).not.toContain(SERVICE);
    await machine.run('systemctl start --no-block multi-user.target');
    await chassis.until('the BMC is up', async () => (await state('multi-user.target')) === 'active');
    // It is wanted, so it starts all the same; the gate is still shut.
    await chassis.until('it starts', async () => (await state(SERVICE)) === 'activating');
    await openGate();
    await chassis.until('it runs', async () => (await state(SERVICE)) === 'active');
    await machine.run('systemctl stop multi-user.target');
  });

  test('it starts after what every service starts after, and ends before a shutdown', async () => {
    const unit = await machine.showUnit(SERVICE, ['After', 'Before', 'Requires', 'Conflicts']);
    expect(unit.After.split(' ')).toEqual(expect.arrayContaining(['sysinit.target', 'basic.target']));
    expect(unit.Requires.split(' ')).toContain('sysinit.target');
    expect(unit.Conflicts.split(' ')).toContain('shutdown.target');
    expect(unit.Before.split(' ')).toContain('shutdown.target');
  });

  test('a client right at the start of the BMC is answered, and holds up nothing', async () => {
    await startsSlowly();
    await machine.writeFile(
      `${SETTINGS}/client.service`,
      `[Unit]\nDefaultDependencies=no\n[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=${PGOOD.join(' ')}\n`,
    );
    await machine.writeFile(
      `${SETTINGS}/bystander.service`,
      '[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/bin/true\n',
    );
    await machine.run(
      `systemctl daemon-reload; systemctl add-wants multi-user.target client.service bystander.service; systemctl start --no-block multi-user.target`,
    );
    await chassis.until('the others are there', async () => (await state('bystander.service')) === 'active');
    await chassis.until('the client asks', async () => (await state('client.service')) === 'activating');
    expect(await state(SERVICE)).toBe('activating');
    await openGate();
    await chassis.until('the BMC is up', async () => (await state('multi-user.target')) === 'active');
    await chassis.until(
      'the client has its answer',
      async () => (await state('client.service')) === 'active',
    );
    await machine.run('systemctl stop multi-user.target client.service bystander.service');
  });

  test('is-enabled says so, enable, disable and preset do what they say, and an install respects it', async () => {
    expect(await isEnabled()).toBe('enabled');
    // The README's command.
    expect(await machine.systemctl('enable', '--now', SERVICE)).toMatchObject({ code: 0 });
    expect(await state(SERVICE)).toBe('active');
    expect(await chassis.units('install')).toMatch(/^unchanged /);
    await machine.systemctl('disable', SERVICE);
    expect(await isEnabled()).toBe('disabled');
    expect(await chassis.units('install')).toContain('disabled since it was installed');
    expect(await isEnabled()).toBe('disabled');
    await machine.systemctl('enable', SERVICE);
    expect(await isEnabled()).toBe('enabled');
    expect(await chassis.units('install')).toMatch(/^unchanged /);
    // As images have it that enable nothing by themselves.
    await machine.writeFile('/etc/systemd/system-preset/99-default.preset', 'disable *\n');
    await machine.systemctl('preset', SERVICE);
    expect(await isEnabled()).toBe('enabled');
    await machine.systemctl('stop', SERVICE);
    await chassis.units('uninstall');
    expect(await isEnabled()).not.toBe('enabled');
    expect(await machine.run(`ls -A ${SETTINGS}/multi-user.target.wants 2>/dev/null; true`)).not.toContain(
      SERVICE,
    );
  });

  test('and nobody starts it any more once it is uninstalled', async () => {
    expect(await activatable()).toEqual([
      'org.openbmc.control.Power',
      'xyz.openbmc_project.State.Chassis',
      'xyz.openbmc_project.State.Chassis0',
      'xyz.openbmc_project.State.Host',
      'xyz.openbmc_project.State.Host0',
    ]);
    await chassis.units('uninstall');
    expect(await activatable()).toEqual([]);
    expect((await machine.exec(PGOOD)).stderr).toMatch(/not provided by any \.service files/);
  });

  test('with the names of phosphor-state-manager left to it', async () => {
    await machine.run('chassis-power units install --flavour current');
    expect(await activatable()).toEqual(['org.openbmc.control.Power']);
    expect(await isEnabled()).toBe('enabled');
    expect(await machine.exec(PGOOD)).toMatchObject({ code: 0, stdout: 'i 0\n' });
  });
});
