import type { AnyStateMachine } from 'xstate';
import { chassisMachine } from '../../src/sequence/machine.ts';

/** Every machine of the program, by the name of its files in docs/charts. */
export const MACHINES: Readonly<Record<string, AnyStateMachine>> = {
  sequence: chassisMachine,
};
