import { type Plan, planOf } from '../../src/sequence/plan.ts';

/** Boards that are tried in seconds, whatever the number of faults. */

const line = (offset: number) => ({ chip: 'gpio', line: offset, active: 'high' as const });
const rail = (enable: number, needs: string[]) => ({
  enable: line(enable),
  good: line(10 + enable),
  needs,
  settleMs: 1,
  onTimeoutMs: 20,
  offTimeoutMs: 20,
});
const pgood = { ...line(20), deglitchMs: 1, onTimeoutMs: 300, offTimeoutMs: 300 };
const resets = { CPU: { ...line(21), releaseDelayMs: 1 } };

/** Two rails, one after the other, and a reset. */
export const CHAIN: Plan = planOf(
  { rails: { A: rail(0, []), B: rail(1, ['A']) }, pgood, resets, evidence: [], minOffMs: 0 },
  {},
);

/** The same behind a latch. */
export const LATCHED: Plan = { ...CHAIN, latched: true };

/** Two rails that need the same one. */
export const FORK: Plan = planOf(
  {
    rails: { A: rail(0, []), B: rail(1, ['A']), C: rail(2, ['A']) },
    pgood,
    resets: {},
    evidence: [],
    minOffMs: 0,
  },
  {},
);
