import leven from 'leven';

/** One thing wrong with a board file. */
export interface Problem {
  /** Where, with dots: `chassis.0.rails.P1V8.needs.0`. Empty for the file as a whole. */
  readonly path: string;
  readonly message: string;
  /** What to write instead. */
  readonly suggestion: string;
}

/** The one of `known` that `word` was probably meant to be, or undefined when none is near. */
export function nearest(word: string, known: readonly string[]): string | undefined {
  const ranked = known
    .map((candidate) => ({ candidate, distance: leven(word.toLowerCase(), candidate.toLowerCase()) }))
    .sort((a, b) => a.distance - b.distance);
  const best = ranked[0];
  // A third of the letters may differ, two of four for swapped ones: enough for a slip of the finger, too little for another word.
  if (!best || best.distance > Math.ceil(Math.max(word.length, best.candidate.length) / 3)) {
    return undefined;
  }
  return best.candidate;
}

/** "did you mean …" where something is near, else what there is. */
export function suggestName(word: string, known: readonly string[], what: string): string {
  const near = nearest(word, known);
  if (near !== undefined) return `did you mean "${near}"?`;
  return known.length > 0 ? `${what}: ${known.join(', ')}` : `there are no ${what}`;
}
