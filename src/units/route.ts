import { isDbusError } from '../system/errors.ts';
import type { UnitManager } from '../system/ports.ts';
import { CURRENT, LEGACY, unitsOf } from './names.ts';

/** A unit that was started, and how its job ended (`UnitManager.startUnit`). */
export interface Routed {
  readonly unit: string;
  readonly result: string;
}

/**
 * Tells systemd of a failure that it cannot see by itself, because no unit ran when it happened: the power-off
 * target, so that systemd does not take the chassis for on, and quiesce for the host. Power that could not be
 * taken down leads to quiesce alone: asking for power off once more would only fail once more.
 *
 * Beside phosphor-state-manager a failure leads to the hard power off alone, as with phosphor-power-sequencer (its
 * services.cpp), also where the power could not be taken down: the host is stopped, the power off is tried once more, and
 * where it fails again phosphor-state-manager has the chassis for neither on nor off. Quiesce means to it that the host is
 * to be started again, which ends in a loop over power that cannot be taken down.
 *
 * Resolves when the jobs have ended, with those of the targets that are installed. Rejects like
 * `UnitManager.startUnit`.
 */
export async function routeFailure(
  units: UnitManager,
  chassis: number,
  { powerStillApplied }: { readonly powerStillApplied: boolean },
): Promise<Routed[]> {
  const { off, quiesce } = unitsOf(LEGACY, chassis);
  const routed = await startAll(units, powerStillApplied ? [quiesce] : [off, quiesce]);
  if (routed.length > 0) return routed;
  return startAll(units, [unitsOf(CURRENT, chassis).hardOff]);
}

/**
 * Tells systemd that a chassis was switched off without it, and that nothing failed: the power-off target. Beside
 * phosphor-state-manager the hard power off, which is the same for a host that cannot be asked to shut down any more: host and chassis
 * are off to it then, and no host is started again. Resolves and rejects as `routeFailure` does.
 */
export async function routeOff(units: UnitManager, chassis: number): Promise<Routed[]> {
  const routed = await startAll(units, [unitsOf(LEGACY, chassis).off]);
  return routed.length > 0 ? routed : startAll(units, [unitsOf(CURRENT, chassis).hardOff]);
}

/** Whether systemd has the power-on target of a chassis active. Rejects like `UnitManager.unitStates`. */
export async function believedOn(units: UnitManager, chassis: number): Promise<boolean> {
  const targets = await units.unitStates([unitsOf(LEGACY, chassis).on, unitsOf(CURRENT, chassis).on]);
  return targets.some(({ activeState }) => activeState === 'active');
}

/**
 * Starts the target that fits a chassis which was switched without systemd, where systemd has the opposite one
 * active and would do nothing the next time it is asked for it. Null where there is nothing to put right.
 */
export async function putRight(units: UnitManager, chassis: number, isOn: boolean): Promise<Routed | null> {
  const names = [unitsOf(LEGACY, chassis), unitsOf(CURRENT, chassis)];
  const opposites = await units.unitStates(names.map(({ on, off }) => (isOn ? off : on)));
  const wrong = names.find((_, index) => opposites[index]?.activeState === 'active');
  return wrong === undefined ? null : startInstalled(units, isOn ? wrong.on : wrong.off);
}

async function startAll(units: UnitManager, names: readonly string[]): Promise<Routed[]> {
  const started = await Promise.all(names.map((unit) => startInstalled(units, unit)));
  return started.filter((routed) => routed !== null);
}

async function startInstalled(units: UnitManager, unit: string): Promise<Routed | null> {
  try {
    return { unit, result: await units.startUnit(unit, 'replace') };
  } catch (error) {
    // On a machine without our units, such as a bench, there is nothing to start.
    if (isDbusError(error, 'org.freedesktop.systemd1.NoSuchUnit')) return null;
    throw error;
  }
}
