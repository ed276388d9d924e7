import type { World } from './world.ts';

/** The command line of a verb. */
export interface Invocation {
  readonly verb: string;
  readonly operands: readonly string[];
  readonly boardPath: string;
  readonly chassis: number;
  readonly runDir: string;
  readonly json: boolean;
  /** Value of an option of the verb; undefined where it is not given. */
  readonly option: (name: string) => string | undefined;
  /** Whether an option without a value is given. */
  readonly flag: (name: string) => boolean;
}

export interface Verb {
  /** Returns the exit code. */
  readonly run: (invocation: Invocation, world: World) => Promise<number>;
  /** Acts on an error of `run` after it was printed, so that further output comes after the error. */
  readonly afterError?: (error: unknown, invocation: Invocation, world: World) => Promise<void>;
}
