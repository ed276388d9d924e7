/**
 * How many cases a property draws that takes its time: `all` in the faults tier, which runs each file that asks this, and
 * at most FAST_CHECK_RUNS where a test is to be quick, in the unit tier and for a mutant.
 */
export const draws = (all: number): number => Math.min(all, Number(process.env.FAST_CHECK_RUNS ?? all));

/** How much a test tries: `few` in the unit tier, `all` for a mutant and in the faults tier, which runs each file that asks this. */
export const fewer = <T>(all: T, few: T): T => (process.env.FEW_CASES === undefined ? all : few);

/**
 * The cases of a test that tries each of them: all but in the unit tier, and there `few` of them at equal distances, of
 * which the first and the last are two.
 *
 * @param turn begins with that one instead, for a test that asks again and again: in turn each case has its place
 */
export function sampled<T>(cases: readonly T[], few: number, turn = 0): T[] {
  const count = Math.min(cases.length, fewer(cases.length, few));
  const step = count > 1 ? (cases.length - 1) / (count - 1) : 0;
  return Array.from(
    { length: count },
    (_, index) => (Math.floor(index * step) + turn) % cases.length,
  ).flatMap((index) => cases.slice(index, index + 1));
}
