/** The power button of a front panel, on a real systemd and a real system bus: a hand presses the line of the chassis. */
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { type Chassis, patientBoard, putChassis } from './chassis.ts';
import { bootMachine, skipped, titleSuffix } from './machine.ts';
import type { SystemdSandbox } from './rig.ts';

const SERVICE = 'chassis-power.service';
const BUTTONS = 'xyz.openbmc_project.Chassis.Buttons';
const BUTTON_PATH = '/xyz/openbmc_project/chassis/buttons/power';
const HOST = 'xyz.openbmc_project.State.Host';
const HOST_PATH = '/xyz/openbmc_project/state/host0';
const AS_NOBODY = 'setpriv --reuid=nobody --regid=nogroup --clear-groups';

function boardWithPanel(): string {
  const board = patientBoard();
  const power = { name: 'power-button', active: 'low', forceOffMs: 2_000 };
  const reset = { name: 'reset-button', active: 'low' };
  const hostReset = { name: 'host-reset', active: 'low' };
  Object.assign(board.chassis['0'] ?? {}, { hostReset, panel: { power, reset } });
  return JSON.stringify(board);
}

describe.skipIf(skipped)(`the power button of the front panel${titleSuffix}`, () => {
  let machine: SystemdSandbox;
  let chassis: Chassis;

  beforeAll(async () => {
    machine = await bootMachine();
    chassis = await putChassis(machine, boardWithPanel());
    await chassis.units('install');
  });
  afterAll(async () => {
    await machine?.stop();
  });
  beforeEach(() => chassis.reset());

  const serving = async (initially: 'off' | 'on') => {
    await chassis.startPlant({ initially });
    expect(await machine.systemctl('start', SERVICE)).toMatchObject({ code: 0 });
  };
  const get = async (service: string, path: string, property: string) =>
    (await machine.exec(['busctl', 'get-property', service, path, service, property])).stdout.trim();
  const isPressed = () => get(BUTTONS, BUTTON_PATH, 'ButtonPressed');
  const mask = (as: string, value: boolean) =>
    machine.exec([
      ...(as === '' ? [] : as.split(' ')),
      ...['busctl', 'set-property', BUTTONS, BUTTON_PATH, BUTTONS, 'ButtonMasked', 'b', String(value)],
    ]);
  const untilHost = (state: string) =>
    chassis.until(`the host is ${state}`, async () =>
      (await get(HOST, HOST_PATH, 'CurrentHostState')).endsWith(`.${state}"`),
    );

  test('starts the host, asks it to shut down, and is the restart cause', async () => {
    await serving('off');
    await chassis.addFault('panel power pressed for 300ms');
    await untilHost('Running');
    await machine.waitForJobs();
    await chassis.expectPowered();
    expect(await get(HOST, HOST_PATH, 'RestartCause')).toBe(`s "${HOST}.RestartCause.PowerButton"`);
    await chassis.addFault('panel power pressed for 300ms');
    await untilHost('Off');
    await machine.waitForJobs();
    await chassis.expectEveryEnableOff();
    expect(await chassis.hazards()).toEqual([]);
  });

  test('is shown to everybody, and masked by root alone; masked it requests nothing', async () => {
    await serving('off');
    expect(await mask(AS_NOBODY, true)).not.toMatchObject({ code: 0 });
    expect(await get(BUTTONS, BUTTON_PATH, 'ButtonMasked')).toBe('b false');
    expect(await mask('', true)).toMatchObject({ code: 0 });
    await chassis.addFault('panel power pressed');
    await chassis.until('it is shown as pressed', async () => (await isPressed()) === 'b true');
    const told = (await machine.journal(SERVICE)).map((entry) => String(entry.MESSAGE));
    expect(told).toContain('chassis 0: the power button was pressed: it is masked, and requests nothing');
    await machine.waitForJobs();
    await chassis.expectEveryEnableOff();
  });

  test('of reset, like a client and a command, resets a host that is on, which keeps its power', async () => {
    await serving('on');
    await machine.systemctl('start', 'obmc-chassis-start@0.target');
    await untilHost('Running');
    const before = await chassis.changes();
    const untilCause = (cause: string) =>
      chassis.until(`the restart cause is ${cause}`, async () =>
        (await get(HOST, HOST_PATH, 'RestartCause')).endsWith(`.${cause}"`),
      );
    await chassis.addFault('panel reset pressed for 300ms');
    await untilCause('ResetButton');
    const warm = `${HOST}.Transition.ForceWarmReboot`;
    const set = ['busctl', 'set-property', HOST, HOST_PATH, HOST, 'RequestedHostTransition', 's', warm];
    expect(await machine.exec(set)).toMatchObject({ code: 0 });
    await untilCause('RemoteCommand');
    expect(await chassis.command('reset')).toMatchObject({ code: 0 });
    const after = await chassis.changes();
    const moved = Object.keys(after).filter((line) => after[line] !== before[line]);
    expect(moved.sort()).toEqual(['name:host-reset', 'name:reset-button']);
    // Three pulses: asserted and let go.
    const line = 'name:host-reset';
    expect(after[line]).toBe((before[line] ?? 0) + 6);
    await chassis.expectPowered();
    expect(await get(HOST, HOST_PATH, 'CurrentHostState')).toMatch(/Running/);
    // Off, there is no host to reset.
    expect(await machine.systemctl('start', 'obmc-power-chassis-off@0.target')).toMatchObject({ code: 0 });
    await machine.waitForJobs();
    expect(await machine.exec(set)).not.toMatchObject({ code: 0 });
    expect(await chassis.command('reset')).toMatchObject({ code: 104 });
    expect((await chassis.changes())[line]).toBe(after[line]);
    expect(await chassis.hazards()).toEqual([]);
  });

  test('held for as long as the board says it switches off, whatever the host does', async () => {
    await serving('on');
    // A host that does not shut down holds the target that asks it to.
    const slow = '[Service]\nExecStop=\nExecStop=/bin/sleep 60\nTimeoutStopSec=90\n';
    await machine.run('mkdir -p /run/systemd/system/obmc-start-host@0.service.d');
    await machine.writeFile('/run/systemd/system/obmc-start-host@0.service.d/slow.conf', slow);
    await machine.systemctl('daemon-reload');
    try {
      await machine.systemctl('start', 'obmc-chassis-start@0.target');
      await untilHost('Running');
      await chassis.addFault('panel power pressed for 5s');
      await chassis.until('every enable is off', async () =>
        (await chassis.asserted('enable')).every((asserted) => !asserted),
      );
    } finally {
      await machine.run('rm -r /run/systemd/system/obmc-start-host@0.service.d; systemctl daemon-reload');
      await machine.run('systemctl kill --kill-whom=all obmc-start-host@0.service || true');
    }
  });
});
