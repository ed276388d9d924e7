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
    ...plan.rails.flatMap(({ settleMs, onTimeoutMs, offTimeoutMs, offSettleMs }) => [
      settleMs,
      onTimeoutMs,
      offTimeoutMs,
      offSettleMs,
    ]),
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
  const rails = plan.rails.map((rail) => ({
    ...rail,
    settleMs: of(rail.settleMs),
    onTimeoutMs: of(rail.onTimeoutMs),
    offTimeoutMs: of(rail.offTimeoutMs),
    offSettleMs: of(rail.offSettleMs),
  }));
  const isInTime = longestWayMs(plan) <= plan.pgood.onTimeoutMs;
  return {
    ...plan,
    rails,
    pgood: {
      ...plan.pgood,
      deglitchMs: of(plan.pgood.deglitchMs),
      // Ranks do not add up. A board gives pgood the time for all that comes after its last enable.
      onTimeoutMs: Math.max(of(plan.pgood.onTimeoutMs), isInTime ? longestWayMs({ rails }) + MARGIN : 0),
      offTimeoutMs: of(plan.pgood.offTimeoutMs),
    },
    resets: plan.resets.map((reset) => ({ ...reset, releaseDelayMs: of(reset.releaseDelayMs) })),
    minOffMs: of(plan.minOffMs),
  };
}

/** Ranks that a process may be late, with as many faults as a search has. */
const MARGIN = 1;

/** How long what comes after the last enable may take together; 0 where nothing does. */
function longestWayMs({ rails }: Pick<Plan, 'rails'>): number {
  const ways = new Map<string, number>();
  let longest = 0;
  for (const { name, needs, watched, onTimeoutMs, settleMs } of rails) {
    const before = watched === 'follower' ? needs.map((need) => ways.get(need) ?? 0) : [];
    ways.set(name, watched === 'supply' ? 0 : Math.max(0, ...before) + onTimeoutMs + settleMs);
    if (watched === 'follower') longest = Math.max(longest, ways.get(name) ?? 0);
  }
  return longest;
}
