import type { AnyStateMachine } from 'xstate';
import { actorNameOf, nameOf } from './describe.ts';

/** The JSON of one machine in docs/charts. */
export const chartJson = (machine: AnyStateMachine): string =>
  `${JSON.stringify(statelyJson(machine), null, 2)}\n`;

/**
 * The machine as `createMachine` of xstate and Stately's editor take it: its configuration, with names where it has
 * functions. Its `toJSON` leaves out the transitions without an event. The context is no part of the chart.
 */
export function statelyJson({ config: { context: _, ...config } }: AnyStateMachine): object {
  const withNames = (key: string, value: unknown) => {
    if (key === 'src') return actorNameOf(value);
    return typeof value === 'function' ? nameOf(value) : value;
  };
  return JSON.parse(JSON.stringify(config, withNames));
}
