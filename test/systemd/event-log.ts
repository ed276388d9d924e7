/** OpenBMC's event log in a sandbox: `logging-service.mjs` as a unit, and what it was told. */
import type { Chassis } from './chassis.ts';
import { SANDBOX_CHECKOUT, SANDBOX_NODE, type SystemdSandbox } from './rig.ts';

const NAME = 'xyz.openbmc_project.Logging';
const PRINTED = '/run/logging.out';
/** As phosphor-logging brings it. */
const POLICY = `<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-BUS Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig><policy user="root"><allow own="${NAME}"/><allow send_destination="${NAME}"/></policy></busconfig>
`;

/** An entry as the logging service got it. */
export interface LoggedEntry {
  readonly atUs: number;
  readonly name: string;
  readonly severity: string;
  readonly data: Readonly<Record<string, string>>;
}

export async function allowEventLog(machine: SystemdSandbox): Promise<void> {
  await machine.writeFile('/etc/dbus-1/system.d/logging.conf', POLICY);
  await machine.run('busctl call org.freedesktop.DBus / org.freedesktop.DBus ReloadConfig');
}

/** Without the entries of before. */
export async function startLogging(
  machine: SystemdSandbox,
  chassis: Chassis,
  mode: 'answers' | 'hangs',
): Promise<void> {
  await machine.run([
    ...['systemd-run', '--quiet', '--unit=logging', '--collect'],
    ...[`--property=StandardOutput=truncate:${PRINTED}`],
    ...[SANDBOX_NODE, `${SANDBOX_CHECKOUT}/test/systemd/logging-service.mjs`, mode],
  ]);
  await chassis.until('the event log is there', async () =>
    (await machine.readFile(PRINTED).catch(() => '')).includes('ready'),
  );
}

export async function stopLogging(machine: SystemdSandbox): Promise<void> {
  await machine.run(`systemctl stop logging.service 2>/dev/null; rm -f ${PRINTED}`);
}

export async function loggedEntries(machine: SystemdSandbox): Promise<LoggedEntry[]> {
  return (await machine.readFile(PRINTED))
    .trim()
    .split('\n')
    .slice(1)
    .map((line) => JSON.parse(line));
}
