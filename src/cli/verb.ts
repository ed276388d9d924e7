import type { World } from './world.ts';

/** What a verb is given. */
export interface Invocation {
  readonly verb: string;
  readonly operands: readonly string[];
  readonly boardPath: string;
  readonly chassis: number;
  readonly runDir: string;
  readonly json: boolean;
  /** Value of an option of the verb's own; undefined when it was not given. */
  readonly option: (name: string) => string | undefined;
  /** Whether an option without a value was given. */
  readonly flag: (name: string) => boolean;
}

export interface Verb {
  /** Returns the exit code. */
  readonly run: (invocation: Invocation, world: World) => Promise<number>;
  /** Acts on an error of `run` after it was reported, so that what it prints comes after the error. */
  readonly afterError?: (error: unknown, invocation: Invocation, world: World) => Promise<void>;
}
