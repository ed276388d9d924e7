import type { AnyStateMachine } from 'xstate';
import { describeMachine } from './describe.ts';
import { drawSvg } from './draw.ts';
import { chartJson } from './json.ts';
import { layOut } from './layout.ts';

/** The files of one machine in docs/charts, by their names. */
export async function chartFiles(name: string, machine: AnyStateMachine): Promise<Record<string, string>> {
  return {
    [`${name}.svg`]: drawSvg(`${name} (machine "${machine.id}")`, await layOut(describeMachine(machine))),
    [`${name}.json`]: chartJson(machine),
  };
}
