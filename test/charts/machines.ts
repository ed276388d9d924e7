import type { AnyStateMachine } from 'xstate';
import { chassisMachine } from '../../src/sequence/chart.ts';
import { hostStateChart } from '../../src/service/host-state-chart.ts';
import { residentChart } from '../../src/service/resident-chart.ts';

/** Every machine of the program, by the name of its files in docs/charts. */
export const MACHINES: Readonly<Record<string, AnyStateMachine>> = {
  sequence: chassisMachine,
  'host-state': hostStateChart,
  resident: residentChart,
};
