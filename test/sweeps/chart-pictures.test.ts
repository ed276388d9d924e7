/** What takes a layout, which takes a second. Whether docs/charts is of this code is seen in the unit tier, by the JSON. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { createMachine } from 'xstate';
import { describeMachine } from '../charts/describe.ts';
import { chartFiles } from '../charts/files.ts';
import { CHARACTER_WIDTH, layOut, PADDING, type PlacedState } from '../charts/layout.ts';
import { MACHINES } from '../charts/machines.ts';
import { sample } from '../charts/sample.ts';

const DIR = join(import.meta.dirname, '..', '..', 'docs', 'charts');
const TELL = 'docs/charts is not what the code says: npm run chart, look at the picture, and commit it';

/** The text of an SVG file, each piece as it stands there. */
function textsOf(svg: string | undefined): string[] {
  return [...(svg ?? '').matchAll(/>([^<>]+)<\/(?:text|tspan)>/g)].map(([, text = '']) => text.trim());
}

describe('the charts of the machines', () => {
  it.each(Object.entries(MACHINES))("%s: the files in docs/charts are the code's", async (name, machine) => {
    for (const [file, text] of Object.entries(await chartFiles(name, machine))) {
      expect(readFileSync(join(DIR, file), 'utf8') === text, `${file}: ${TELL}`).toBe(true);
    }
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
});

describe('a chart', () => {
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
});
