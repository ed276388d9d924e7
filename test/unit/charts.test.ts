import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { type AnyStateMachine, and, assign, createMachine, fromPromise, not, setup } from 'xstate';
import { type Chart, describeMachine, labelOf, unnamedIn } from '../charts/describe.ts';
import { chartFiles, statelyJson } from '../charts/files.ts';
import { CHARACTER_WIDTH, layOut, PADDING, type PlacedState } from '../charts/layout.ts';
import { MACHINES } from '../charts/machines.ts';

const DIR = join(import.meta.dirname, '..', '..', 'docs', 'charts');
const TELL = 'docs/charts is not what the code says: npm run chart, look at the picture, and commit it';

/** One of everything that a chart can show. */
const sample = setup({
  actors: { ask: fromPromise(async () => undefined) },
  actions: { warm: () => undefined, cool: () => undefined, count: assign({}) },
  guards: { isCold: () => true, isDry: () => true },
  delays: { PATIENCE: 5 },
}).createMachine({
  id: 'sample',
  initial: 'idle',
  context: {},
  on: { RESET: { target: '.idle', actions: 'cool' } },
  states: {
    idle: {
      tags: ['quiet', 'cheap'],
      on: { HEAT: { guard: and(['isCold', not('isDry')]), target: 'busy', actions: ['warm', 'count'] } },
    },
    busy: {
      type: 'parallel',
      entry: 'warm',
      exit: 'cool',
      states: {
        kettle: {
          initial: 'filling',
          on: { WATCHED: { guard: 'isCold', actions: ['warm', 'cool', 'count'] } },
          states: { filling: { on: { '*': 'boiling' } }, boiling: {} },
        },
        lamp: { on: { BLINK: { actions: { type: 'count' } } } },
      },
      after: { 1000: 'asking', PATIENCE: { target: 'done' } },
    },
    asking: {
      invoke: { src: 'ask', onDone: 'done', onError: 'idle' },
      always: { guard: 'isDry', target: 'idle' },
    },
    done: { type: 'final' },
  },
});

/** Every transition as the chart writes it, with its ends. */
function labels({ transitions }: Chart): string[] {
  return transitions.map((each) => `${each.fromId} > ${each.toId ?? 'itself'}: ${labelOf(each)}`);
}

/** The text of an SVG file, each piece as it stands there. */
function textsOf(svg: string | undefined): string[] {
  return [...(svg ?? '').matchAll(/>([^<>]+)<\/(?:text|tspan)>/g)].map(([, text = '']) => text.trim());
}

/** A layout takes a second on a machine that does nothing else. */
const LAYOUT_TIMEOUT_MS = 60_000;

describe('the charts of the machines', { timeout: LAYOUT_TIMEOUT_MS }, () => {
  it.each(Object.entries(MACHINES))(
    "%s: the picture and the JSON in docs/charts are the code's",
    async (name, machine) => {
      for (const [file, text] of Object.entries(await chartFiles(name, machine))) {
        expect(readFileSync(join(DIR, file), 'utf8') === text, `${file}: ${TELL}`).toBe(true);
      }
    },
  );

  it.each(Object.entries(MACHINES))('%s: every guard, action and actor has a name', (_, machine) => {
    expect(unnamedIn(describeMachine(machine))).toEqual([]);
  });

  it('are all that is in docs/charts', () => {
    const files = Object.keys(MACHINES).flatMap((name) => [`${name}.svg`, `${name}.json`]);
    expect(readdirSync(DIR).sort()).toEqual(files.sort());
  });

  it('one more transition, guard, action or tag is another picture', async () => {
    const svg = async (busy: object) =>
      (
        await chartFiles(
          'x',
          createMachine({ initial: 'idle', states: { idle: { on: { GO: 'busy' } }, busy } }),
        )
      )['x.svg'];
    const variants = [
      {},
      { on: { STOP: 'idle' } },
      { on: { STOP: { target: 'idle', guard: 'isCold' } } },
      { on: { STOP: { target: 'idle', actions: 'cool' } } },
      { on: { STOP: { actions: 'cool' } } },
      { entry: 'cool' },
      { exit: 'cool' },
      { tags: ['cheap'] },
      { invoke: { src: 'ask' } },
      { type: 'final' },
    ];
    const pictures = await Promise.all(variants.map(svg));
    expect(new Set(pictures).size).toBe(variants.length);
  });

  it.each([...Object.entries(MACHINES), ['sample', sample] as const])(
    '%s: the JSON makes the same machine again',
    (_, machine: AnyStateMachine) => {
      expect(describeMachine(createMachine(statelyJson(machine) as never))).toEqual(describeMachine(machine));
    },
  );
});

describe('a chart', { timeout: LAYOUT_TIMEOUT_MS }, () => {
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

  it('shows every state and label once, states apart and inside the one that they belong to', async () => {
    const layout = await layOut(describeMachine(sample));
    const texts = textsOf((await chartFiles('sample', sample))['sample.svg']);
    for (const text of [
      '#quiet #cheap',
      'runs ask',
      'entry / warm',
      'exit / cool',
      'BLINK / count',
      'after 1000 ms',
    ]) {
      expect(
        texts.filter((each) => each === text),
        text,
      ).toHaveLength(1);
    }
    const isInside = (inner: PlacedState, outer: PlacedState) =>
      inner.x > outer.x &&
      inner.y > outer.y &&
      inner.x + inner.width < outer.x + outer.width &&
      inner.y + inner.height < outer.y + outer.height;
    const isApart = (one: PlacedState, other: PlacedState) =>
      one.x + one.width <= other.x ||
      other.x + other.width <= one.x ||
      one.y + one.height <= other.y ||
      other.y + other.height <= one.y;
    expect(layout.states).toHaveLength(9);
    for (const one of layout.states) {
      expect(texts).toContain(one.state.name);
      const longest = Math.max(one.state.name.length, ...one.lines.map(({ length }) => length));
      expect(longest * CHARACTER_WIDTH, one.state.id).toBeLessThan(one.width - PADDING);
      for (const other of layout.states) {
        if (other.state.id.startsWith(`${one.state.id}.`)) expect(isInside(other, one)).toBe(true);
        else if (!one.state.id.startsWith(other.state.id)) expect(isApart(one, other)).toBe(true);
      }
    }
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
