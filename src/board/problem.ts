import type { Span } from './json-text.ts';

/** A place in a board file. Lines and columns count from 1, a column is a character. */
export interface Place {
  readonly line: number;
  readonly column: number;
}

export type ProblemKind =
  /** Not JSON. */
  | 'syntax'
  | 'duplicateKey'
  | 'unknownKey'
  | 'missingKey'
  /** A key or a value does not fit its place. */
  | 'value'
  /** Parts of the board contradict each other. */
  | 'conflict'
  /** Times that cannot work out: a warning, with which the board is valid. */
  | 'timing'
  /** This machine has no such line. */
  | 'line'
  /** This machine has no such I2C bus. */
  | 'bus'
  /** This machine has no such input that a kernel driver reads. */
  | 'sensor';

/** A problem with offsets instead of lines and columns. */
export interface Found extends Span {
  readonly kind: ProblemKind;
  readonly keys: readonly string[];
  readonly message: string;
  readonly suggestion: string;
  readonly example?: string | null;
  readonly explanation?: string | null;
  readonly other?: Span;
}

/** One thing wrong with a board file. `check --json` prints these fields under these names. */
export interface Problem extends Place {
  readonly kind: ProblemKind;
  /** Where, with dots: `chassis.0.rails.P1V8.needs.0`. Empty for the file as a whole. */
  readonly path: string;
  /** Length in characters; 0 where something is missing. */
  readonly length: number;
  /** What was found. */
  readonly message: string;
  /** What to write instead. */
  readonly suggestion: string;
  /** An example for the file; null where the suggestion says it all. */
  readonly example: string | null;
  /** The word of the file that it is about, and what that means; null where it is about none. */
  readonly explanation: string | null;
  /** The place of the other part, where two contradict each other. */
  readonly other: Place | null;
  /** The part of its line that is shown, which begins at column `from`. */
  readonly excerpt: { readonly text: string; readonly from: number };
}
