/** One thing wrong with a board file. */
export interface Problem {
  /** Where, with dots: `chassis.0.rails.P1V8.needs.0`. Empty for the file as a whole. */
  readonly path: string;
  readonly message: string;
  /** What to write instead. */
  readonly suggestion: string;
}
