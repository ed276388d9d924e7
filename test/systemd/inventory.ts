/** OpenBMC's inventory in a sandbox: `inventory-service.mjs` as a unit. */
import type { Chassis } from './chassis.ts';
import { SANDBOX_CHECKOUT, SANDBOX_NODE, type SystemdSandbox } from './rig.ts';

const NAME = 'xyz.openbmc_project.Inventory.Manager';
const PRINTED = '/run/inventory.out';
/** As phosphor-inventory-manager brings it. */
const POLICY = `<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-BUS Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig><policy user="root"><allow own="${NAME}"/><allow send_destination="${NAME}"/></policy></busconfig>
`;

export async function allowInventory(machine: SystemdSandbox): Promise<void> {
  await machine.writeFile('/etc/dbus-1/system.d/inventory.conf', POLICY);
  await machine.run('busctl call org.freedesktop.DBus / org.freedesktop.DBus ReloadConfig');
}

export async function startInventory(
  machine: SystemdSandbox,
  chassis: Chassis,
  mode: 'present' | 'absent' | 'text' | 'hangs',
): Promise<void> {
  await stopInventory(machine);
  await machine.run([
    ...['systemd-run', '--quiet', '--unit=inventory', '--collect'],
    ...[`--property=StandardOutput=truncate:${PRINTED}`],
    ...[SANDBOX_NODE, `${SANDBOX_CHECKOUT}/test/systemd/inventory-service.mjs`, mode],
  ]);
  await chassis.until('the inventory is there', async () =>
    (await machine.readFile(PRINTED).catch(() => '')).includes('ready'),
  );
}

export async function stopInventory(machine: SystemdSandbox): Promise<void> {
  await machine.run(`systemctl stop inventory.service 2>/dev/null; rm -f ${PRINTED}`);
}

/** It is so from now on, and listeners are told. */
export async function tellInventory(machine: SystemdSandbox, isPresent: boolean): Promise<void> {
  await machine.run(`systemctl kill -s ${isPresent ? 'USR1' : 'USR2'} inventory.service`);
}

/** How often it was asked since it was started. */
export async function timesAsked(machine: SystemdSandbox): Promise<number> {
  return (await machine.readFile(PRINTED)).split('\n').filter((line) => line === 'asked').length;
}
