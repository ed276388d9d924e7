/** Resets that wait for the host, on a real systemd: the units bring the chassis up without them, and the service releases them. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type Chassis, patientBoard, putChassis } from './chassis.ts';
import { bootMachine, skipped, titleSuffix } from './machine.ts';
import type { SystemdSandbox } from './rig.ts';

const SERVICE = 'chassis-power.service';
const TIMEOUT_MS = 2_000;

/** The host of the simulated chassis is never in reset, and never done with its work. */
function boardWithHeldResets(): string {
  const board = patientBoard();
  const line = (name: string) => ({ name, active: 'low' });
  const described = board.chassis['0'] as { resets: object };
  Object.assign(described, {
    resets: {
      ...described.resets,
      PCI_L: { ...line('pci-reset'), heldUntil: { signal: 'postComplete', timeoutMs: TIMEOUT_MS } },
      SLOT_L: { ...line('slot-reset'), heldUntil: { signal: 'platformReset' } },
    },
    hostSignals: { postComplete: line('POST_COMPLETE'), platformReset: line('PLTRST') },
  });
  return JSON.stringify(board);
}

describe.skipIf(skipped)(`resets that wait for the host${titleSuffix}`, () => {
  let machine: SystemdSandbox;
  let chassis: Chassis;

  beforeAll(async () => {
    machine = await bootMachine();
    chassis = await putChassis(machine, boardWithHeldResets());
    await chassis.units('install');
  });
  afterAll(async () => {
    await machine?.stop();
  });

  const released = async () =>
    (await chassis.lines())
      .filter(({ role, asserted }) => role === 'reset' && !asserted)
      .map(({ line }) => line);
  const told = async () => (await machine.journal(SERVICE)).map((entry) => String(entry.MESSAGE));

  test('are released by the service, and held with the others when power goes', async () => {
    await chassis.startPlant({ initially: 'off' });
    expect(await machine.systemctl('start', SERVICE)).toMatchObject({ code: 0 });
    expect(await machine.systemctl('start', 'obmc-chassis-start@0.target')).toMatchObject({ code: 0 });
    await machine.waitForJobs();
    await chassis.expectPowered();
    await chassis.until('what waits for the platform reset is released', async () =>
      (await released()).includes('name:slot-reset'),
    );
    const late = `chassis 0: reset PCI_L is still held after ${TIMEOUT_MS} ms: it waits until POST complete is asserted`;
    await chassis.until('it is told of the other one', async () => (await told()).includes(late));
    expect(await told()).toContain('chassis 0: reset SLOT_L was released: the platform reset is let go');
    expect(await released()).not.toContain('name:pci-reset');
    const { stdout } = await chassis.command('status');
    expect(stdout).toContain('reset PCI_L  asserted  waits for postComplete of the host');
    expect(await machine.systemctl('is-active', 'obmc-power-chassis-on@0.target')).toMatchObject({ code: 0 });
    // Whoever looks again finds nothing that contradicts.
    const before = await chassis.changes();
    expect(await machine.systemctl('restart', SERVICE)).toMatchObject({ code: 0 });
    expect(await chassis.command('on')).toMatchObject({ code: 0 });
    expect(await chassis.changes()).toEqual(before);
    expect(await machine.systemctl('start', 'obmc-power-chassis-off@0.target')).toMatchObject({ code: 0 });
    await machine.waitForJobs();
    await chassis.expectEveryEnableOff();
    expect(await released()).toEqual([]);
    expect(await chassis.hazards()).toEqual([]);
  });
});
