/**
 * How many cases a property draws that takes its time: `all` in the faults tier, which runs each file that asks this, and
 * at most FAST_CHECK_RUNS where a test is to be quick, in the unit tier and for a mutant.
 */
export const draws = (all: number): number => Math.min(all, Number(process.env.FAST_CHECK_RUNS ?? all));
