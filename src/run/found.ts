import type { Clock } from '../../hw/ports.ts';
import { type Reconciled, reconcile } from '../sequence/reconcile.ts';
import type { Hint, Observation } from '../sequence/state.ts';
import type { SnapshotStore } from '../store/snapshot.ts';
import { decisive } from './observe.ts';
import { presentChassis, type WholeChassis } from './presence.ts';

/** A chassis as it is found: by its lines, and by what the last process left. */
export interface FoundChassis extends Reconciled {
  /** Null where nothing was left that can be believed. */
  readonly hint: Hint | null;
  readonly observation: Observation;
}

/**
 * Reads a chassis of which nothing is to be guessed. Nothing is driven.
 * @param watches as for `reconcile`
 * @throws HardwareError of the first signal that cannot be read, that of a rail aside that the chassis can do without, or of parts that cannot be had
 */
export async function findChassis(
  whole: WholeChassis,
  store: Pick<SnapshotStore, 'load'>,
  clock: Pick<Clock, 'nowMs'>,
  watches: { readonly watches?: boolean } = {},
): Promise<FoundChassis> {
  const { hint } = store.load();
  const { plan, hardware } = await presentChassis(whole, hint);
  const { observation, unreadable } = await hardware.observe();
  const [unread] = decisive(plan, unreadable);
  if (unread !== undefined) throw unread.error;
  return { ...reconcile(plan, observation, hint, clock.nowMs(), watches), hint, observation };
}
