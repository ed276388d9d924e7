/**
 * The one table of unit names: what the program starts, asks about, links and judges is named here and nowhere else in
 * the code. The files themselves are in `systemd/`. A name with `@.` is a template, of which every chassis has an
 * instance.
 */

/** The resident service. */
export const SERVICE = 'chassis-power.service';

/** Under this name phosphor-state-manager orders itself after the power controller (its Chassis@ unit). */
export const SERVICE_ALIAS = 'phosphor-power-control.service';

/** What a BMC starts. */
export const BOOT_TARGET = 'multi-user.target';
/** Units of systemd that ours name (systemd.special(7)). */
export const SYSTEMD_UNITS: readonly string[] = [
  BOOT_TARGET,
  'sysinit.target',
  'basic.target',
  'shutdown.target',
];

/** Flavour `legacy`: the names of 2017, all of them ours. */
export const LEGACY = {
  on: 'obmc-power-chassis-on@.target',
  off: 'obmc-power-chassis-off@.target',
  quiesce: 'obmc-quiesce-host@.target',
  hostOn: 'obmc-chassis-start@.target',
  hostOff: 'obmc-chassis-stop@.target',
  boot: 'obmc-chassis-reset@.target',
  host: 'obmc-start-host@.service',
  startStage: 'op-power-start@.service',
  waitOnStage: 'op-wait-power-on@.service',
  stopStage: 'op-power-stop@.service',
  waitOffStage: 'op-wait-power-off@.service',
  adopt: 'op-reset-chassis-on@.service',
} as const;

/** Flavour `current`: today's names beside phosphor-state-manager, whose they are but for the two waits. */
export const CURRENT = {
  on: 'obmc-chassis-poweron@.target',
  off: 'obmc-chassis-poweroff@.target',
  hardOff: 'obmc-chassis-hard-poweroff@.target',
  quiesce: 'obmc-host-quiesce@.target',
  startStage: 'obmc-power-start@.service',
  waitOnStage: 'phosphor-wait-power-on@.service',
  stopStage: 'obmc-power-stop@.service',
  waitOffStage: 'phosphor-wait-power-off@.service',
  transitionToOn: 'phosphor-set-chassis-transition-to-on@.service',
} as const;

/** Those of phosphor-state-manager that have to do with power, and of phosphor-objmgr that they wait for. */
export const STATE_MANAGER_UNITS: readonly RegExp[] = [
  /^obmc-chassis-(poweron|poweroff|hard-poweroff|powered-off|blackout|powercycle|powerreset)@\.target$/,
  /^obmc-power-(start-pre|start|on|stop-pre|stop|off|reset-on)@\.target$/,
  /^obmc-host-(start|startmin|start-pre|starting|started|stop|stop-pre|stopping|stopped)@\.target$/,
  /^obmc-host-(shutdown|reboot|(force-)?warm-reboot|diagnostic-mode|reset|reset-running)@\.target$/,
  /^obmc-host-((graceful-)?quiesce|crash|timeout)@\.target$/,
  /^obmc-(power-start|power-stop|powered-off)@\.service$/,
  /^phosphor-set-chassis-transition-to-(on|off)@\.service$/,
  /^phosphor-reset-(chassis-running|chassis-on|host-running|host-recovery)@\.service$/,
  /^phosphor-(discover-system-state|clear-one-time)@\.service$/,
  /^xyz\.openbmc_project\.State\.(Chassis|Host)@\.service$/,
  /^mapper-wait@\.service$/,
];

/** The units of one chassis by what they are for: `unitsOf(LEGACY, 0).on`. */
export function unitsOf<Table extends Readonly<Record<string, string>>>(
  table: Table,
  chassis: number,
): { readonly [What in keyof Table]: string } {
  const instances = Object.entries(table).map(([what, name]) => [what, instantiate(name, chassis)]);
  return Object.fromEntries(instances) as { readonly [What in keyof Table]: string };
}

/** `foo@.service` for `foo@0.service`, null for a unit of no template. */
export function templateOf(name: string): string | null {
  const match = /^([^@]+@)[^@].*(\.[a-z]+)$/.exec(name);
  return match ? `${match[1]}${match[2]}` : null;
}

export function isTemplate(name: string): boolean {
  return /^[^@]+@\.[a-z]+$/.test(name);
}

/** `0` for `foo@0.service`, null for a unit that is no instance. */
export function instanceOf(name: string): string | null {
  return /^[^@]+@(.+)\.[a-z]+$/.exec(name)?.[1] ?? null;
}

/** `foo@0.service` for `foo@.service`; a name that is no template's stays what it is. */
export function instantiate(template: string, instance: string | number): string {
  return template.replace('@.', `@${instance}.`);
}
