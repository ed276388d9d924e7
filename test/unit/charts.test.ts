import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { type AnyStateMachine, assign, createMachine, fromPromise, not } from 'xstate';
import { type Chart, describeMachine, labelOf, unnamedIn } from '../charts/describe.ts';
import { chartJson, statelyJson } from '../charts/json.ts';
import { MACHINES } from '../charts/machines.ts';
import { sample } from '../charts/sample.ts';

const DIR = join(import.meta.dirname, '..', '..', 'docs', 'charts');
const TELL = 'docs/charts is not what the code says: npm run chart, look at the picture, and commit it';

/** Every transition as the chart writes it, with its ends. */
function labels({ transitions }: Chart): string[] {
  return transitions.map((each) => `${each.fromId} > ${each.toId ?? 'itself'}: ${labelOf(each)}`);
}

describe('the charts of the machines', () => {
  it.each(Object.entries(MACHINES))("%s: the JSON in docs/charts is the code's", (name, machine) => {
    expect(readFileSync(join(DIR, `${name}.json`), 'utf8') === chartJson(machine), TELL).toBe(true);
  });

  it.each(Object.entries(MACHINES))('%s: every guard, action and actor has a name', (_, machine) => {
    expect(unnamedIn(describeMachine(machine))).toEqual([]);
  });

  it('are all that is in docs/charts', () => {
    const files = Object.keys(MACHINES).flatMap((name) => [`${name}.svg`, `${name}.json`]);
    expect(readdirSync(DIR).sort()).toEqual(files.sort());
  });

  it.each([...Object.entries(MACHINES), ['sample', sample] as const])(
    '%s: the JSON makes the same machine again',
    (_, machine: AnyStateMachine) => {
      expect(describeMachine(createMachine(statelyJson(machine) as never))).toEqual(describeMachine(machine));
    },
  );
});

describe('a chart', () => {
  it('says event, guard and actions of every transition, and what time and actors bring', () => {
    expect(labels(describeMachine(sample))).toEqual([
      'sample > sample.idle: RESET / cool',
      'sample.idle > sample.busy: HEAT [isCold and not isDry] / warm, count',
      'sample.busy > sample.asking: after 1000 ms',
      'sample.busy > sample.done: after PATIENCE',
      'sample.busy.kettle > itself: WATCHED [isCold] / warm, cool, count',
      'sample.busy.kettle.filling > sample.busy.kettle.boiling: any other event',
      'sample.busy.lamp > itself: BLINK / count',
      'sample.asking > sample.done: done ask',
      'sample.asking > sample.idle: error ask',
      'sample.asking > sample.idle: [isDry]',
    ]);
  });

  it('tells what has no name', () => {
    const machine = createMachine({
      id: 'x',
      context: {},
      initial: 'idle',
      states: {
        idle: {
          entry: () => undefined,
          invoke: { src: fromPromise(async () => undefined) },
          on: {
            A: { actions: assign({}) },
            B: { guard: not(() => true), target: 'busy' },
            C: { actions: 'named' },
          },
        },
        busy: { exit: [{ type: 'named' }, () => undefined] },
      },
    });
    expect(unnamedIn(describeMachine(machine))).toEqual([
      'entry of x.idle',
      'invokes of x.idle',
      'exit of x.busy',
      'x.idle: A / ?',
      'x.idle: B [not ?]',
    ]);
    expect(unnamedIn(describeMachine(sample))).toEqual([]);
  });
});
