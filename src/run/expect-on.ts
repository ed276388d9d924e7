import type { Clock } from '../../hw/ports.ts';
import { PowerError } from '../errors.ts';
import type { Plan } from '../sequence/plan.ts';
import type { Observation, SequenceState } from '../sequence/state.ts';
import type { SnapshotStore } from '../store/snapshot.ts';
import { findChassis } from './found.ts';
import type { ChassisHardware } from './hardware.ts';

/** Of a chassis that is locked. */
export interface ExpectOnOptions {
  readonly plan: Plan;
  readonly hardware: ChassisHardware;
  readonly clock: Clock;
  readonly store: SnapshotStore;
}

/**
 * Reads a chassis that is to be on, for what is driven beside the sequence. Where nothing is known of it, that it is on is written
 * to the state file: who watches takes a chassis that is locked, and of which nothing is known, for one that is driven.
 * @param only what it is to be on for: "the host of a chassis that is on is reset"
 * @throws PowerError REQUEST_REJECTED where it is not on; RUN_DIR_UNUSABLE. HardwareError of what cannot be read
 */
export async function expectOn(
  { plan, hardware, clock, store }: ExpectOnOptions,
  only: string,
): Promise<{ readonly observation: Observation; readonly sequence: SequenceState }> {
  const { chassis } = hardware;
  const { state, sequence, hint, observation } = await findChassis({ plan, hardware }, store, clock);
  // A chassis counts as on until a loss of pgood is believed.
  if (state !== 'pgood' || !observation.pgood) {
    const is = state === 'pgood' ? 'losing pgood' : state;
    throw new PowerError('REQUEST_REJECTED', `chassis ${chassis} is ${is}: only ${only}`, {
      chassis,
      state,
    });
  }
  const problem = hint === null ? store.save(state, sequence) : null;
  if (problem !== null) throw new PowerError('RUN_DIR_UNUSABLE', problem, { chassis });
  return { observation, sequence };
}
