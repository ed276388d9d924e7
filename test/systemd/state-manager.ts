/**
 * phosphor-state-manager's units in a sandbox, as a chassis of an OpenBMC image has them: those that the lint is tried
 * on, which are written here from what is known of them (relations, conditions, commands).
 */
import { SANDBOX_CHECKOUT, type SystemdSandbox } from './rig.ts';

const FIXTURES = 'test/unit/units-lint-fixtures/openbmc';
const DIR = '/usr/lib/systemd/system';
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
/** Knows the one service that the power path asks for. What is phosphor-state-manager's own counts as there. */
const MAPPER = `#!/bin/sh
case $2 in /org/openbmc/control/*) ;; *) exit 0 ;; esac
until busctl --quiet status org.openbmc.control.Power >/dev/null 2>&1; do
  [ "$1" = wait ] || exit 1
  sleep 0.05
done
[ "$1" = wait ] || echo org.openbmc.control.Power
`;
/** These set a property of phosphor-state-manager's process, which is not here. */
const SAY_TRANSITION = '[Service]\nExecStart=\nExecStart=/bin/true\n';

export async function putStateManager(machine: SystemdSandbox): Promise<void> {
  const leftOut = LEFT_OUT.map((pattern) => `-name '${pattern}'`).join(' -o ');
  await machine.run(
    `mkdir /run/units && cp -r ${SANDBOX_CHECKOUT}/${FIXTURES}/. /run/units &&
     find /run/units \\( ${leftOut} \\) -delete && cp -r /run/units/. ${DIR} && rm -r /run/units`,
  );
  await machine.writeFile('/usr/bin/mapper', MAPPER, '0755');
  await machine.writeFile(`${DIR}/mapper-wait@.service`, MAPPER_WAIT);
  for (const state of ['on', 'off']) {
    await machine.writeFile(
      `${DIR}/phosphor-set-chassis-transition-to-${state}@.service.d/no-state-manager.conf`,
      SAY_TRANSITION,
    );
  }
}
