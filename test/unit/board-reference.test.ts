/** docs/board.md and hw/boards/board.schema.json are made of the schema by `npm run reference`. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import * as v from 'valibot';
import { describe, expect, it } from 'vitest';
import { parseBoard } from '../../src/board/parse.ts';
import { boardReference, placesOf, type Word } from '../../src/board/reference.ts';
import { boardSchema } from '../../src/board/schema.ts';
import { expectationOf } from '../../src/board/values.ts';
import { checkBoard } from '../check-board.ts';

const root = join(import.meta.dirname, '..', '..');
const wordsOf = (schema?: v.GenericSchema): Word[] =>
  placesOf(schema).flatMap(({ kinds }) => kinds.flatMap(({ words }) => words));

/** What is wrong with how a word is described; empty where nothing is. */
function faultsOf({ key, path, sentence, wanted, example, schema }: Word): string[] {
  const faults: string[] = [];
  if (sentence === null || !/^\S.*[^.\s]$/.test(sentence)) faults.push('no sentence (v.description)');
  if (wanted === null || wanted === '') faults.push('no words for what it takes (expects)');
  if (example === null) faults.push('no example (expects)');
  else {
    const file = JSON.parse(`{ "${key}": ${example} }`) as Record<string, unknown>;
    if (!v.is(schema, file[key])) faults.push(`an example that it does not take: ${example}`);
  }
  return faults.map((fault) => `${path}: ${fault}`);
}

describe('the reference of the board file', () => {
  it("docs/board.md is the schema's: npm run reference makes it", () => {
    expect(readFileSync(join(root, 'docs', 'board.md'), 'utf8')).toBe(boardReference());
  });

  it('has a sentence and an example for each word, and each word takes its example', () => {
    const words = wordsOf();
    expect(words.length).toBeGreaterThan(50);
    expect(words.flatMap(faultsOf)).toEqual([]);
  });

  it('a word without sentence or example, or with one that it does not take, is found', () => {
    const [first] = wordsOf(v.strictObject({ name: boardSchema.entries.name }));
    expect(first && faultsOf(first)).toEqual([]);
    const bare = v.strictObject({ rails: v.record(v.string(), v.strictObject({ settleMs: v.number() })) });
    expect(wordsOf(bare).flatMap(faultsOf)).toEqual([
      'rails: no sentence (v.description)',
      'rails: no words for what it takes (expects)',
      'rails: no example (expects)',
      'rails.<name>.settleMs: no sentence (v.description)',
      'rails.<name>.settleMs: no words for what it takes (expects)',
      'rails.<name>.settleMs: no example (expects)',
    ]);
    const strict = v.pipe(
      boardSchema.entries.name,
      v.check((name) => name !== 'my-board'),
    );
    expect(wordsOf(v.strictObject({ name: strict })).flatMap(faultsOf)).toEqual([
      'name: an example that it does not take: "my-board"',
    ]);
  });

  it('has every key of the JSON Schema', () => {
    const schema = JSON.parse(readFileSync(join(root, 'hw', 'boards', 'board.schema.json'), 'utf8'));
    const keys = new Set<string>();
    const walk = (node: unknown): void => {
      if (typeof node !== 'object' || node === null) return;
      const { properties } = node as { properties?: Record<string, unknown> };
      for (const key of Object.keys(properties ?? {})) keys.add(key);
      for (const part of Object.values(node)) walk(part);
    };
    walk(schema);
    expect(keys.size).toBeGreaterThan(30);
    const text = boardReference();
    expect([...keys].filter((key) => !text.includes(`**\`${key}\`**`))).toEqual([]);
  });

  it('links only to places that it has', () => {
    const text = boardReference();
    const anchors = [...text.matchAll(/^## (.*)$/gm)].map(([, title = '']) =>
      title
        .toLowerCase()
        .replaceAll(/[^a-z0-9 _-]/g, '')
        .replaceAll(' ', '-'),
    );
    const links = [...text.matchAll(/\]\(#([^)]*)\)/g)].map(([, link]) => link);
    expect(new Set(anchors).size).toBe(anchors.length);
    expect(links.length).toBeGreaterThan(3);
    expect(links.filter((link) => !anchors.includes(`${link}`))).toEqual([]);
  });

  it('begins with a board that has no problems', () => {
    expect(parseBoard(expectationOf(boardSchema)?.example ?? '')).toBeDefined();
  });
});

describe('check explains with the word', () => {
  const board = () => JSON.parse(readFileSync(join(root, 'hw', 'boards', 'reference.json'), 'utf8'));
  const SETTLE = 'settleMs: Time the rail must have been good before what needs it is enabled';

  it.each([
    ['a word that is misspelt', { setleMs: 5 }, '"settleMs": 10', SETTLE],
    ['a value that does not fit', { settleMs: -5 }, '"settleMs": 10', SETTLE],
    ['a misspelt word with a value that does not fit', { setleMs: -5 }, '"settleMs": 10', SETTLE],
    ['a name of another program', { delayMs: 5 }, '"settleMs": 10', SETTLE],
    [
      'a word that is not there',
      { good: { pmbus: 'vr_ddr', page: 5 } },
      /^"minVolts": /,
      /^minVolts: Least voltage/,
    ],
    ['an item of a list', { needs: [true] }, '"P3V3"', /^needs: Rails that must be good before/],
    ['parts that contradict each other', { needs: ['P9V'] }, null, /^needs: Rails that must be good before/],
    ['a word that nobody knows', { zzzzzzzzz: 1 }, null, null],
  ])('%s', (_, edit, example, explanation) => {
    const edited = board();
    const { settleMs: _settleMs, ...rail } = edited.chassis[0].rails.P12V;
    edited.chassis[0].rails.P12V = { ...rail, ...edit };
    const { problems } = checkBoard(edited);
    const matching = (wanted: unknown) => (wanted instanceof RegExp ? expect.stringMatching(wanted) : wanted);
    expect(problems.length).toBeGreaterThan(0);
    for (const problem of problems) {
      expect(problem).toMatchObject({ example: matching(example), explanation: matching(explanation) });
    }
  });
});
