import type { Plan } from '../sequence/plan.ts';

/**
 * Which of two times is over first matters to the machine, and not by how much. So a search runs on a plan in which times
 * that lie within this factor of each other are one, and all others keep their order, as small numbers: what is left of
 * a timeout then has few values. `exact` searches with the times of the board.
 */
const SAME_FACTOR = 10;

/** Each time of the plan, and the number that stands for it. */
export function ranksOf(plan: Plan): ReadonlyMap<number, number> {
  const times = [...new Set(timesOf(plan))].filter((ms) => ms > 0).sort((one, other) => one - other);
  const ranks = new Map<number, number>([[0, 0]]);
  let rank = 0;
  let first = 0;
  for (const ms of times) {
    if (rank === 0 || ms >= first * SAME_FACTOR) {
      rank += 1;
      first = ms;
    }
    ranks.set(ms, rank);
  }
  return ranks;
}

function timesOf(plan: Plan): number[] {
  return [
    ...plan.rails.flatMap(({ settleMs, onTimeoutMs, offTimeoutMs }) => [settleMs, onTimeoutMs, offTimeoutMs]),
    plan.pgood.deglitchMs,
    plan.pgood.onTimeoutMs,
    plan.pgood.offTimeoutMs,
    ...plan.resets.map(({ releaseDelayMs }) => releaseDelayMs),
    plan.minOffMs,
  ];
}

/** The plan with the ranks of its times. */
export function rankedPlan(plan: Plan): Plan {
  const ranks = ranksOf(plan);
  const of = (ms: number) => ranks.get(ms) ?? ms;
  return {
    ...plan,
    rails: plan.rails.map((rail) => ({
      ...rail,
      settleMs: of(rail.settleMs),
      onTimeoutMs: of(rail.onTimeoutMs),
      offTimeoutMs: of(rail.offTimeoutMs),
    })),
    pgood: {
      ...plan.pgood,
      deglitchMs: of(plan.pgood.deglitchMs),
      onTimeoutMs: of(plan.pgood.onTimeoutMs),
      offTimeoutMs: of(plan.pgood.offTimeoutMs),
    },
    resets: plan.resets.map((reset) => ({ ...reset, releaseDelayMs: of(reset.releaseDelayMs) })),
    minOffMs: of(plan.minOffMs),
  };
}
