/**
 * The whole thing on a real systemd: the shipped units, installed by the program itself, run the program on
 * a simulated chassis that is one process of its own. Lines are looked at from outside the program.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { bootMachine, skipped, states, titleSuffix, UNITS } from './machine.ts';
import { SANDBOX_CHECKOUT, SANDBOX_NODE, type SystemdSandbox } from './rig.ts';

const SIM = `${SANDBOX_NODE} ${SANDBOX_CHECKOUT}/dist/sim/chassis-power-sim.mjs`;
const PROGRAM = `${SANDBOX_NODE} ${SANDBOX_CHECKOUT}/dist/chassis-power/chassis-power.mjs`;
const SOCKET = '/run/plant.sock';
const BOARD = '/etc/chassis-power/board.json';
const PLANT_TIMEOUT_MS = 10_000;
const RAIL_NEVER_GOOD = 'rail P1V8 never good';
/** Long enough that a request can come in the middle, short of the board's deadline for the rail. */
const RAIL_SLOW = 'rail P12V slow 400ms';
const ENABLE_STUCK_ON = 'enable P5V stuck on 1ms after good';

/** A line of the simulated chassis, as `chassis-power-sim lines --json` prints it. */
interface Line {
  readonly line: string;
  readonly role: 'enable' | 'good' | 'pgood' | 'reset' | 'latch';
  readonly rail: string | null;
  readonly asserted: boolean;
  /** Level changes since the plant was started. */
  readonly changes: number;
}

describe.skipIf(skipped)(`power on and off through systemd${titleSuffix}`, () => {
  let machine: SystemdSandbox;
  /** `tree()` before the units were installed. */
  let pristine = '';

  beforeAll(async () => {
    machine = await bootMachine();
    await machine.run(
      `mkdir -p /etc/chassis-power; cp ${SANDBOX_CHECKOUT}/hw/boards/reference.json ${BOARD}`,
    );
    const program = `#!/bin/sh\nexec ${SIM} --plant ${SOCKET} "$@" --run-dir /run/chassis-power\n`;
    await machine.writeFile('/usr/bin/chassis-power', program, '0755');
    pristine = await tree();
    await units('install');
  });

  afterAll(async () => {
    await machine?.stop();
  });

  beforeEach(async () => {
    await machine.run(['systemctl', 'stop', ...UNITS]);
    await machine.run(
      'systemctl stop plant.service 2>/dev/null; systemctl reset-failed; rm -rf /etc/systemd/system/*.d',
    );
    await machine.run(`systemctl daemon-reload; rm -rf /run/chassis-power ${SOCKET} /run/plant.out`);
  });

  /** Starts a chassis that is off and has these faults; resolves when it can be driven. */
  async function startPlant(...faults: string[]): Promise<void> {
    const command = `${SIM} plant --board ${BOARD} --socket ${SOCKET}`;
    await machine.run([
      ...['systemd-run', '--quiet', '--unit=plant', '--collect'],
      ...['--property=StandardOutput=truncate:/run/plant.out'],
      ...command.split(' '),
      ...faults.flatMap((fault) => ['--fault', fault]),
    ]);
    for (const deadline = Date.now() + PLANT_TIMEOUT_MS; ; await delay(20)) {
      const printed = await machine.exec(['cat', '/run/plant.out']);
      if (/^ready$/m.test(printed.stdout)) return;
      if (Date.now() > deadline) {
        const said = (await machine.journal('plant.service')).map((entry) => entry.MESSAGE).join('\n');
        throw new Error(`the plant was not ready within ${PLANT_TIMEOUT_MS} ms:\n${said}`);
      }
    }
  }

  const start = (unit: string) => machine.systemctl('start', unit);
  const lines = async () => JSON.parse(await machine.run(`${SIM} --plant ${SOCKET} lines --json`)) as Line[];
  const asserted = (all: readonly Line[], role: Line['role']) =>
    all.filter((line) => line.role === role).map((line) => line.asserted);
  const exitStatus = async (unit: string) =>
    Number((await machine.showUnit(unit, ['ExecMainStatus'])).ExecMainStatus);

  /** All that is where units may be installed; of files and links also when they were written. */
  const tree = () =>
    machine.run(
      'cd /usr/lib && find systemd tmpfiles.d chassis-power' +
        " -type d -printf '%p d %m\\n' -o -printf '%p %y %m %s %l %T@\\n' 2>/dev/null | sort",
    );

  /** The shipped program: it needs no chassis for this, and tells the sandbox's systemd over its D-Bus. */
  const units = (action: 'install' | 'uninstall') => machine.run(`${PROGRAM} units ${action}`);

  async function expectPowered(): Promise<void> {
    const all = await lines();
    expect(asserted(all, 'enable')).not.toContain(false);
    expect(asserted(all, 'pgood')).toEqual([true]);
  }

  async function expectEveryEnableOff(): Promise<void> {
    const all = await lines();
    expect(asserted(all, 'enable').length).toBeGreaterThan(0);
    expect(asserted(all, 'enable')).not.toContain(true);
    expect(asserted(all, 'pgood')).toEqual([false]);
  }

  test('systemd-analyze verify has nothing to say about the installed units', async () => {
    const result = await machine.exec(['systemd-analyze', 'verify', '--man=no', ...UNITS]);
    expect(result).toEqual({ code: 0, stdout: '', stderr: '' });
  });

  test('the start target brings the chassis to pgood, op-power-start done before op-wait-power-on began', async () => {
    await startPlant();

    expect(await start('obmc-chassis-start@0.target')).toMatchObject({ code: 0 });

    await expectPowered();
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
    await startPlant();
    await start('obmc-chassis-start@0.target');
    const before = await lines();

    expect(await start('obmc-chassis-start@0.target')).toMatchObject({ code: 0 });
    expect(await lines()).toEqual(before);

    await machine.run(['systemctl', 'restart', 'op-power-start@0.service', 'op-wait-power-on@0.service']);
    expect(await lines()).toEqual(before);
  });

  test('the stop target takes the chassis down', async () => {
    await startPlant();
    await start('obmc-chassis-start@0.target');

    expect(await start('obmc-chassis-stop@0.target')).toMatchObject({ code: 0 });

    await expectEveryEnableOff();
    expect(await states(machine)).toMatchObject({
      'obmc-chassis-start': 'inactive',
      'obmc-power-chassis-on': 'inactive',
      'obmc-power-chassis-off': 'active',
      'obmc-quiesce-host': 'inactive',
    });
  });

  test('on, off, on, off, on at speed, under OpenBMC start limits', async () => {
    await startPlant();
    for (const verb of ['start', 'stop', 'start', 'stop']) {
      expect(await start(`obmc-chassis-${verb}@0.target`)).toMatchObject({ code: 0 });
      if (verb === 'start') await expectPowered();
      else await expectEveryEnableOff();
    }
    expect(await start('obmc-chassis-start@0.target')).toMatchObject({ code: 0 });
    await expectPowered();
    // Each enable was asserted three times and taken away twice, and nothing twitched in between.
    const enables = (await lines()).filter((line) => line.role === 'enable');
    expect(enables.map((line) => line.changes)).toEqual(enables.map(() => 5));
  });

  test('a rail that never comes good: the start fails, power off is reached, every enable is off', async () => {
    await startPlant(RAIL_NEVER_GOOD);

    const request = await start('obmc-chassis-start@0.target');
    await machine.waitForJobs();

    expect(request.code).not.toBe(0);
    await expectEveryEnableOff();
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
    await startPlant(RAIL_NEVER_GOOD);
    await start('obmc-chassis-start@0.target');
    await machine.waitForJobs();
    await machine.run(`systemctl stop plant.service; rm -f ${SOCKET} /run/plant.out`);
    await startPlant();

    expect(await start('obmc-chassis-start@0.target')).toMatchObject({ code: 0 });

    await expectPowered();
    expect(await states(machine)).toMatchObject({
      'obmc-quiesce-host': 'inactive',
      'obmc-power-chassis-off': 'inactive',
    });
  });

  test('a host that fails to start is quiesced, and its chassis keeps power', async () => {
    await startPlant();
    const dropIn = '/etc/systemd/system/obmc-start-host@.service.d/test.conf';
    await machine.writeFile(dropIn, '[Service]\nExecStart=\nExecStart=/bin/false\n');
    await machine.run(['systemctl', 'daemon-reload']);

    expect((await start('obmc-chassis-start@0.target')).code).not.toBe(0);
    await machine.waitForJobs();

    await expectPowered();
    expect(await states(machine)).toMatchObject({
      'obmc-start-host': 'failed',
      'obmc-quiesce-host': 'active',
      'obmc-power-chassis-on': 'active',
      'obmc-power-chassis-off': 'inactive',
    });
  });

  test('a power off that fails reaches quiesce and stops there', async () => {
    await startPlant(ENABLE_STUCK_ON);
    await start('obmc-chassis-start@0.target');

    expect((await start('obmc-chassis-stop@0.target')).code).not.toBe(0);
    await machine.waitForJobs();

    expect(await states(machine)).toMatchObject({
      'obmc-power-chassis-on': 'inactive',
      'obmc-power-chassis-off': 'inactive',
      'obmc-quiesce-host': 'active',
    });
    // What can be switched off is.
    const stillOn = (await lines()).filter((line) => line.role === 'enable' && line.asserted);
    expect(stillOn.map((line) => line.rail)).toEqual(['P5V']);
  });

  test('a power off that comes during power on wins, and leaves nothing failed', async () => {
    await startPlant(RAIL_SLOW);
    await machine.systemctl('start', '--no-block', 'obmc-chassis-start@0.target');
    for (const deadline = Date.now() + 10_000; ; await delay(10)) {
      if (asserted(await lines(), 'enable').includes(true)) break;
      if (Date.now() > deadline) throw new Error('no enable was asserted within 10 s');
    }

    expect(await start('obmc-chassis-stop@0.target')).toMatchObject({ code: 0 });
    await machine.waitForJobs();

    await expectEveryEnableOff();
    expect(await machine.run(['systemctl', '--failed', '--no-legend', '--plain'])).toBe('');
    expect(await states(machine)).toMatchObject({
      'obmc-power-chassis-off': 'active',
      'obmc-quiesce-host': 'inactive',
    });
  });

  test('units install twice changes nothing, uninstall leaves what was there before', async () => {
    const installed = await tree();
    expect(installed).toContain('obmc-power-chassis-on@0.target.requires/op-power-start@0.service l 777');

    await units('install');
    expect(await tree()).toBe(installed);

    await units('uninstall');
    expect(await tree()).toBe(pristine);

    await units('install');
    const withoutTimes = (text: string) => text.replaceAll(/ \d+\.\d+$/gm, '');
    expect(withoutTimes(await tree())).toBe(withoutTimes(installed));
  });
});
