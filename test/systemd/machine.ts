/** What both systemd suites need: a sandbox with our units, and the ways to read what happened in it. */
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';
import {
  bootSystemd,
  SANDBOX_CHECKOUT,
  SANDBOX_NODE,
  type SystemdSandbox,
  systemdUnavailableReason,
} from './rig.ts';

/** All units of chassis 0, for `systemd-analyze verify` and for looking at states. */
export const UNITS = [
  'obmc-chassis-start@0.target',
  'obmc-chassis-stop@0.target',
  'obmc-chassis-reset@0.target',
  'obmc-power-chassis-on@0.target',
  'obmc-power-chassis-off@0.target',
  'obmc-quiesce-host@0.target',
  'obmc-standby.target',
  'obmc-start-host@0.service',
  'op-power-start@0.service',
  'op-wait-power-on@0.service',
  'op-power-stop@0.service',
  'op-wait-power-off@0.service',
  'op-reset-chassis-on@0.service',
  'chassis-power.service',
] as const;
export type Unit = (typeof UNITS)[number];

/** OpenBMC's setting for the whole machine, under which the units have to work. */
const START_LIMIT = '[Manager]\nDefaultStartLimitBurst=2\nDefaultStartLimitIntervalSec=30s\n';

const reason = systemdUnavailableReason();
/** True where these suites cannot run and nobody insists. With CI=true they fail instead, by booting. */
export const skipped = reason !== null && process.env.CI !== 'true';
/** Ends the title of a suite, so that a skipped one says why. */
export const titleSuffix = reason === null ? '' : ` (${reason})`;

/** Boots a sandbox with OpenBMC's start limits. Ours are not in it yet, whatever the host has of them. */
export async function bootMachine(files: Readonly<Record<string, string>> = {}): Promise<SystemdSandbox> {
  const machine = await bootSystemd({
    files: { '/etc/systemd/system.conf.d/50-start-limit.conf': START_LIMIT, ...files },
  });
  await machine.run(
    [
      'cd / && rm -rf usr/lib/systemd/system/chassis-power* usr/lib/systemd/system/op-* usr/lib/systemd/system/obmc-*',
      'usr/share/dbus-1/system.d/chassis-power* usr/lib/systemd/system-preset/*chassis-power*',
      'usr/share/dbus-1/system-services/org.openbmc.* usr/share/dbus-1/system-services/xyz.openbmc_project.*',
      'etc/systemd/system/*.wants/chassis-power.service && systemctl daemon-reload',
      '&& busctl call org.freedesktop.DBus / org.freedesktop.DBus ReloadConfig',
    ].join(' '),
  );
  return machine;
}

/** Installs the units for chassis 0 with the project's own installer, without the command line around it. */
export async function installUnitsIn(machine: SystemdSandbox): Promise<void> {
  const bundle = await build({
    entryPoints: [fileURLToPath(new URL('../../src/units/install/install.ts', import.meta.url))],
    bundle: true,
    platform: 'node',
    format: 'esm',
    write: false,
  });
  await machine.writeFile('/run/install.mjs', bundle.outputFiles[0]?.text ?? '');
  const options = { root: '/', chassis: [0], sourceDir: `${SANDBOX_CHECKOUT}/systemd` };
  await machine.run([
    SANDBOX_NODE,
    '--input-type=module',
    '--eval',
    `import { installUnits } from '/run/install.mjs'; await installUnits(${JSON.stringify(options)});`,
  ]);
  await machine.run(['systemctl', 'daemon-reload']);
}

/** `ActiveState` of the units, by name without the part after `@`. */
export async function states(machine: SystemdSandbox): Promise<Record<string, string>> {
  const text = await machine.run(['systemctl', 'show', ...UNITS, '--property=Id,ActiveState']);
  const found: Record<string, string> = {};
  for (const block of text.trim().split('\n\n')) {
    const id = /^Id=(.*)$/m.exec(block)?.[1] ?? '';
    found[id.replace(/@.*/, '')] = /^ActiveState=(.*)$/m.exec(block)?.[1] ?? '';
  }
  return found;
}
