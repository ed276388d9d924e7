/**
 * phosphor-state-manager in a sandbox, as a chassis of an OpenBMC image has it: the units that the lint is tried on, which
 * are written here from what is known of them (relations, conditions, commands), the ones below, and its process.
 */
import { SANDBOX_CHECKOUT, SANDBOX_NODE, type SystemdSandbox } from './rig.ts';

const FIXTURES = 'test/unit/units-lint-fixtures/openbmc';
const DIR = '/usr/lib/systemd/system';
const SERVICE = 'xyz.openbmc_project.State.Chassis@0.service';
const PRINTED = '/run/state-manager.out';
const ENVIRONMENT = '/run/state-manager.env';
/** Other projects' units among them: ours take the place of the first three, the rest switches nothing. */
const LEFT_OUT = [
  'phosphor-wait-power-*',
  'phosphor-power-control.service',
  'org.openbmc.control.Power@*',
  'phosphor-regulators-config.service',
  'phosphor-create-chassis-poweron-log@*',
  'phosphor-clear-one-time@*',
  'phosphor-discover-system-state@*',
];

/** The path of an object on the bus, waited for; phosphor-objmgr's own unit for that. */
const MAPPER_WAIT = `[Unit]
Description=Wait for %I on the bus
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/usr/bin/mapper wait %I
`;
/** Knows the services that the power path asks for. */
const MAPPER = `#!/bin/sh
case $2 in
  /org/openbmc/control/power*) name=org.openbmc.control.Power ;;
  /xyz/openbmc_project/state/chassis*) name=xyz.openbmc_project.State.Chassis ;;
  /xyz/openbmc_project/state/host*) name=xyz.openbmc_project.State.Host ;;
  *) exit 1 ;;
esac
until busctl --quiet status $name >/dev/null 2>&1; do
  [ "$1" = wait ] || exit 1
  sleep 0.05
done
[ "$1" = wait ] || echo $name
`;
/** Chassis and host manager in one. */
const PROCESS = `[Unit]
Description=Chassis and host state
After=phosphor-power-control.service
[Service]
Type=dbus
BusName=xyz.openbmc_project.State.Host0
Restart=always
ExecStartPre=/bin/mkdir -p /run/openbmc
EnvironmentFile=${ENVIRONMENT}
ExecStart=${SANDBOX_NODE} ${SANDBOX_CHECKOUT}/test/systemd/state-manager-service.mjs
StandardOutput=truncate:${PRINTED}
`;
/** What an auto reboot starts. The script waits for 5 s and then starts the host. */
const HOST_REBOOT = `[Unit]
Description=Host %i reboot
After=multi-user.target
Conflicts=obmc-host-startmin@%i.target
After=obmc-host-startmin@%i.target
OnFailure=obmc-chassis-poweroff@%i.target
OnFailureJobMode=fail
`;
const REBOOT_HOST = `[Unit]
Description=Start host %i again
Wants=obmc-host-stop@%i.target
After=obmc-host-stop@%i.target
Wants=obmc-host-stopped@%i.target
After=obmc-host-stopped@%i.target
[Service]
ExecStart=/bin/sh -c 'sleep 0.5; systemctl start obmc-host-startmin@%i.target'
`;
const POLICY = `<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-BUS Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig><policy user="root"><allow own_prefix="xyz.openbmc_project"/><allow send_destination="*"/></policy></busconfig>
`;

export interface StateManager {
  /** With the state of a chassis and a host that are off; again where it runs. Auto reboot is off unless asked for. */
  start(options?: { readonly autoReboot: boolean }): Promise<void>;
  stop(): Promise<void>;
  /** Last word of `CurrentPowerState`. */
  powerState(): Promise<string>;
  /** What it did since it was started. */
  did(): Promise<Readonly<Record<string, unknown>>[]>;
}

export async function putStateManager(machine: SystemdSandbox): Promise<StateManager> {
  const leftOut = LEFT_OUT.map((pattern) => `-name '${pattern}'`).join(' -o ');
  await machine.run(
    `mkdir /run/units && cp -r ${SANDBOX_CHECKOUT}/${FIXTURES}/. /run/units &&
     find /run/units \\( ${leftOut} \\) -delete && cp -r /run/units/. ${DIR} && rm -r /run/units &&
     mkdir ${DIR}/obmc-host-reboot@0.target.requires &&
     ln -s ../obmc-host-shutdown@.target ${DIR}/obmc-host-reboot@0.target.requires/obmc-host-shutdown@0.target &&
     ln -s ../phosphor-reboot-host@.service ${DIR}/obmc-host-reboot@0.target.requires/phosphor-reboot-host@0.service`,
  );
  await machine.writeFile('/usr/bin/mapper', MAPPER, '0755');
  await machine.writeFile(`${DIR}/mapper-wait@.service`, MAPPER_WAIT);
  await machine.writeFile(`${DIR}/obmc-host-reboot@.target`, HOST_REBOOT);
  await machine.writeFile(`${DIR}/phosphor-reboot-host@.service`, REBOOT_HOST);
  await machine.writeFile(`${DIR}/${SERVICE}`, PROCESS);
  await machine.writeFile('/etc/dbus-1/system.d/state-manager.conf', POLICY);
  await machine.run('busctl call org.freedesktop.DBus / org.freedesktop.DBus ReloadConfig');

  const did = async () =>
    (await machine.readFile(PRINTED))
      .trim()
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => JSON.parse(line) as Record<string, unknown>);
  return {
    async start({ autoReboot } = { autoReboot: false }) {
      await machine.writeFile(ENVIRONMENT, `AUTO_REBOOT=${autoReboot ? 'on' : 'off'}\n`);
      await machine.run(`systemctl restart ${SERVICE}`);
    },
    async stop() {
      await machine.run(`systemctl stop ${SERVICE}`);
    },
    async powerState() {
      const name = 'xyz.openbmc_project.State.Chassis';
      const object = ['/xyz/openbmc_project/state/chassis0', name, 'CurrentPowerState'];
      const value = await machine.run(['busctl', 'get-property', name, ...object]);
      return /\.(\w+)"/.exec(value)?.[1] ?? value;
    },
    did,
  };
}
