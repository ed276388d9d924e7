import type { AnyStateMachine } from 'xstate';
import { actorNameOf, describeMachine, nameOf } from './describe.ts';
import { drawSvg } from './draw.ts';
import { layOut } from './layout.ts';

/** The files of one machine in docs/charts, by their names. */
export async function chartFiles(name: string, machine: AnyStateMachine): Promise<Record<string, string>> {
  return {
    [`${name}.svg`]: drawSvg(`${name} (machine "${machine.id}")`, await layOut(describeMachine(machine))),
    [`${name}.json`]: `${JSON.stringify(statelyJson(machine), null, 2)}\n`,
  };
}

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
