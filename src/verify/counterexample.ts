import type { State } from '../sequence/state.ts';
import type { Course } from './course.ts';
import type { Happened } from './happened.ts';
import type { InvariantName } from './invariants.ts';

export const COUNTEREXAMPLE_FORMAT = { kind: 'chassis-power counterexample', version: 1 } as const;

/** How an invariant of a board is broken, as a file: all that it takes to play it again elsewhere. */
export interface SavedCounterexample {
  readonly kind: typeof COUNTEREXAMPLE_FORMAT.kind;
  readonly version: typeof COUNTEREXAMPLE_FORMAT.version;
  readonly invariant: InvariantName;
  /** What broke it. */
  readonly what: string;
  readonly chassis: number;
  /** Rails whose parts are not there. Left out where all are. */
  readonly absent?: readonly string[];
  readonly steps: readonly SavedStep[];
  /** Content of the board file. */
  readonly board: unknown;
}

export interface SavedStep {
  readonly text: string;
  readonly happened: Happened;
  /** Since the begin, when it is over. */
  readonly atMs: number;
  /** Of the machine, after it. */
  readonly state: State;
}

/** @param board content of the board file */
export function counterexampleOf(
  {
    invariant,
    what,
    absent = [],
    course,
  }: Pick<SavedCounterexample, 'invariant' | 'what' | 'absent'> & { readonly course: Course },
  chassis: number,
  board: unknown,
): SavedCounterexample {
  const steps = course.steps.map(({ text, happened, after: { atMs, state } }) => ({
    text,
    happened,
    atMs,
    state,
  }));
  const parts = absent.length > 0 ? { absent } : {};
  return { ...COUNTEREXAMPLE_FORMAT, invariant, what, chassis, ...parts, steps, board };
}
