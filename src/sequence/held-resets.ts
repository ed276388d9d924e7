import type { Plan } from './plan.ts';
import type { SequenceState } from './state.ts';

type Asserted = SequenceState['resetsAsserted'];

/**
 * What is known of the resets once the chassis is on. From then on another one releases those that wait for the host, at any
 * moment: they count as released, so that each is asserted again before the power goes, whatever it was.
 */
export function handedOver(plan: Plan, resetsAsserted: Asserted): Asserted {
  if (plan.resets.every(({ isHeld }) => !isHeld)) return resetsAsserted;
  const held = plan.resets.flatMap(({ name, isHeld }) => (isHeld ? [[name, false] as const] : []));
  return { ...resetsAsserted, ...Object.fromEntries(held) };
}

/** A reset is asserted that the sequence has to release before the chassis is on. */
export function isAnyHeldBack(plan: Plan, resetsAsserted: Asserted): boolean {
  return plan.resets.some(({ name, isHeld }) => !isHeld && resetsAsserted[name]);
}
