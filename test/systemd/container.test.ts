/**
 * The program as in a container of balenaOS: mount, PID and network namespaces of its own, a root folder with Node and the
 * program alone, and of the host nothing but the socket of its bus. The simulated chassis, which stands for the lines, is a
 * socket too.
 */
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { type Chassis, PLANT_SOCKET, patientBoard, putChassis } from './chassis.ts';
import { bootMachine, skipped, titleSuffix } from './machine.ts';
import { type ExecResult, SANDBOX_CHECKOUT, SANDBOX_NODE, type SystemdSandbox } from './rig.ts';

const ROOT = '/run/container';
const BUS = '/host/run/dbus/system_bus_socket';
const ON = 'obmc-power-chassis-on@0.target';
const QUIESCE = 'obmc-quiesce-host@0.target';
const POLICY = '/usr/share/dbus-1/system.d';

describe.skipIf(skipped)(`in a container with the host's bus${titleSuffix}`, () => {
  let machine: SystemdSandbox;
  let chassis: Chassis;

  beforeAll(async () => {
    machine = await bootMachine();
    chassis = await putChassis(machine, JSON.stringify(patientBoard()));
    await chassis.units('install');
    // The image: programs with the libraries that they name, and the program.
    await machine.run(
      `mkdir -p ${ROOT}/opt ${ROOT}/proc ${ROOT}/dev ${ROOT}/run ${ROOT}/tmp ${ROOT}/var/lib ${ROOT}/etc/chassis-power && cd ${ROOT} &&
      for program in ${SANDBOX_NODE} $(for each in flock ls cat env; do command -v $each; done); do
        cp -L --parents "$program" . && ldd "$program" | grep -o '/[^ ]*' | while read -r library; do cp -L --parents "$library" .; done
      done &&
      cp -r ${SANDBOX_CHECKOUT}/dist/sim opt/sim && cp /etc/chassis-power/board.json etc/chassis-power/`,
      { timeoutMs: 60_000 },
    );
    await machine.writeFile(
      '/run/contained',
      `#!/bin/sh
      # usage: contained PROGRAM... [BUS=no in the environment for one without the socket]
      exec unshare --mount --pid --ipc --uts --net --fork --kill-child sh -c '
        mount --make-rprivate / && mount -t proc proc ${ROOT}/proc && mount -t tmpfs tmpfs ${ROOT}/dev && mount -t tmpfs tmpfs ${ROOT}/run &&
        for node in null urandom; do : >${ROOT}/dev/$node && mount --bind /dev/$node ${ROOT}/dev/$node || exit 1; done
        mkdir -p ${ROOT}/host/run/dbus && : >${ROOT}/run/plant.sock && mount --bind ${PLANT_SOCKET} ${ROOT}/run/plant.sock || exit 1
        if [ "$BUS" != no ]; then : >${ROOT}${BUS} && mount --bind /run/dbus/system_bus_socket ${ROOT}${BUS} || exit 1; else rm -f ${ROOT}${BUS}; fi
        exec chroot ${ROOT} env -i PATH=/usr/bin:/bin DBUS_SYSTEM_BUS_ADDRESS=unix:path=${BUS} "$@"' contained "$@"
      `,
      '0755',
    );
  }, 300_000);
  afterAll(async () => {
    await machine?.stop();
  });
  beforeEach(() => chassis.reset());

  const contained = (command: string): Promise<ExecResult> =>
    machine.exec(`/run/contained ${command}`, { timeoutMs: 60_000 });
  const program = (args: string, bus = 'yes'): Promise<ExecResult> =>
    machine.exec(
      `BUS=${bus} /run/contained ${SANDBOX_NODE} /opt/sim/chassis-power-sim.cjs --plant /run/plant.sock --systemd on ${args}`,
      { timeoutMs: 60_000 },
    );
  const stateOf = async (unit: string) => (await machine.showUnit(unit, ['ActiveState'])).ActiveState;
  interface Unit {
    readonly unit: string;
    readonly activeState: string;
    readonly subState: string;
  }
  const reported = async (): Promise<{ units: Unit[] | null; noUnits: string | null }> =>
    JSON.parse((await program('status --json')).stdout);

  test('nothing of the host is there but the socket: no process, no systemd, no program of it', async () => {
    await chassis.startPlant();
    const looked = await contained(
      'ls /run /host/run /host/run/dbus /proc/1/comm /run/systemd /usr/lib/systemd /sys',
    );
    expect(looked.stdout.split('\n').filter((line) => line !== '')).toEqual([
      '/proc/1/comm',
      '/host/run:',
      'dbus',
      '/host/run/dbus:',
      'system_bus_socket',
      '/run:',
      'plant.sock',
    ]);
    const processes = await contained('ls /proc');
    expect(processes.stdout.split('\n').filter((name) => /^\d+$/.test(name))).toEqual(['1']);
  });

  test('status reports every unit of the power path on the host, as systemctl there does', async () => {
    await chassis.startPlant();
    expect(await machine.systemctl('start', 'obmc-chassis-start@0.target')).toMatchObject({ code: 0 });
    const { units } = await reported();
    expect(units?.map(({ unit }) => unit)).toEqual(
      expect.arrayContaining([
        ON,
        QUIESCE,
        'op-power-start@0.service',
        'op-wait-power-on@0.service',
        'op-power-stop@0.service',
      ]),
    );
    for (const { unit, activeState, subState } of units ?? []) {
      const shown = await machine.showUnit(unit, ['ActiveState', 'SubState']);
      expect({ unit, ActiveState: activeState, SubState: subState }).toEqual({ unit, ...shown });
    }
    expect((await program('status')).stdout).toMatch(/^ {2}op-power-start@0\.service {2}active \(exited\)$/m);
  });

  test('a chassis that is on has its target started on the host, and the end of that is waited for', async () => {
    await chassis.startPlant({ initially: 'on' });
    const before = await chassis.lines();
    const { code, stdout, stderr } = await program('adopt');
    expect(code, stderr).toBe(0);
    expect(stdout).toContain(`on: ${ON} is active`);
    expect(await stateOf(ON)).toBe('active');
    expect(await chassis.lines()).toEqual(before);
  });

  test('a unit of the host that fails is followed to its end, and told with its name and how it ended', async () => {
    await chassis.startPlant({ initially: 'on' });
    await machine.writeFile(
      '/etc/systemd/system/op-wait-power-on@.service.d/fails.conf',
      '[Service]\nExecStart=\nExecStart=/bin/false\n',
    );
    await machine.run('systemctl daemon-reload');
    const { code, stderr } = await program('adopt');
    expect(code).toBe(69);
    expect(stderr).toContain(`${ON} ended "dependency"`);
    await machine.waitForJobs();
    const failed = (await reported()).units?.find(({ unit }) => unit === 'op-wait-power-on@0.service');
    expect(failed).toMatchObject({
      activeState: (await machine.showUnit('op-wait-power-on@0.service', ['ActiveState'])).ActiveState,
    });
  });

  test('a power-on that fails in the container quiesces the host, as one outside of systemd on the host does', async () => {
    await chassis.startPlant({ faults: ['rail P1V8 never good'] });
    const { code, stdout, stderr } = await program('on');
    expect(code).toBe(101);
    await machine.waitForJobs();
    expect(await stateOf(QUIESCE), stdout + stderr).toBe('active');
    await chassis.expectEveryEnableOff();
    expect(await chassis.hazards()).toEqual([]);
  });

  test('what it may not do on the host it says: without our policy there, serve ends with 69 and names what the bus denies', async () => {
    await chassis.startPlant({ initially: 'on' });
    const before = await chassis.lines();
    await machine.run(
      `mkdir -p /run/policy && mv ${POLICY}/chassis-power* /run/policy/ && busctl call org.freedesktop.DBus / org.freedesktop.DBus ReloadConfig`,
    );
    try {
      const { code, stderr } = await program('serve');
      expect(code).toBe(69);
      expect(stderr).toMatch(/org\.openbmc\.control\.Power/);
      expect(stderr).toMatch(/policy|denied|not allowed/i);
    } finally {
      await machine.run(
        `mv /run/policy/* ${POLICY}/ && busctl call org.freedesktop.DBus / org.freedesktop.DBus ReloadConfig`,
      );
    }
    expect(await chassis.lines()).toEqual(before);
  });

  test('what it cannot do it says: without the socket the chassis is shown and driven, and the bus that is missing is named', async () => {
    await chassis.startPlant();
    const on = await program('on', 'no');
    expect(on.code, on.stderr).toBe(0);
    await chassis.expectPowered();
    const { code, stdout } = await program('status', 'no');
    expect(code).toBe(0);
    expect(stdout).toMatch(/^chassis 0 {2}pgood/);
    expect(stdout).toMatch(new RegExp(`^ {2}units: .*${BUS}.*DBUS_SYSTEM_BUS_ADDRESS`, 'm'));
  });
});
