/** Templates: chassis that are described once, and problems that are told where the author wrote them. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { diagnose } from '../../src/board/diagnose.ts';
import { parseBoard } from '../../src/board/parse.ts';
import type { Problem } from '../../src/board/problem.ts';
import { expandedValue } from '../../src/board/templates.ts';
import { checkBoard } from '../check-board.ts';
import { draws } from '../draws.ts';

// Test input is edited freely, also into what the types forbid.
// biome-ignore lint/suspicious/noExplicitAny: the point of these tests is input of any shape
type Loose = any;

const TEXT = readFileSync(join(import.meta.dirname, '..', '..', 'hw', 'boards', 'two-chassis.json'), 'utf8');
const twoChassis = (): Loose => JSON.parse(TEXT);

/** The problems of the board after an edit of its text, which is found once. */
function problemsAfter(from: string, to: string): Problem[] {
  expect(TEXT.split(from), from).toHaveLength(2);
  return diagnose(Buffer.from(TEXT.replace(from, to)));
}

describe('a template', () => {
  it('is the board that is written by hand, whatever the numbers, values and patterns', () => {
    const drawn = fc.record({
      from: fc.integer({ min: 0, max: 60 }),
      count: fc.integer({ min: 1, max: 12 }),
      factor: fc.integer({ min: 2, max: 8 }),
      plus: fc.integer({ min: 0, max: 7 }),
      rails: fc.integer({ min: 1, max: 4 }),
      tag: fc.stringMatching(/^[a-z]{1,6}$/),
      inRange: fc.boolean(),
    });
    /** A chassis, with what is different in each as `of` writes it. */
    const chassisOf = (rails: number, of: (pattern: string) => string | number) => ({
      rails: Object.fromEntries(
        Array.from({ length: rails }, (_, rail) => [
          `R${rail}_${of('{n}')}`,
          {
            enable: { chip: `chip-${of('{tag}')}-${of('{n}')}`, line: of(`{n*FACTOR+${rail * 100}}`) },
            good: { pmbus: `vr${of('{n+PLUS}')}_${of('{tag}')}`, page: rail, minVolts: 1 },
            needs: rail === 0 ? [] : [`R${rail - 1}_${of('{n}')}`],
          },
        ]),
      ),
      pgood: { name: `${of('{tag}')}${of('{n}')}-pgood` },
    });
    fc.assert(
      fc.property(drawn, ({ from, count, factor, plus, rails, tag, inRange }) => {
        const numbers = Array.from({ length: count }, (_, index) => from + index);
        const pattern = (text: string) => text.replace('FACTOR', `${factor}`).replace('PLUS', `${plus}`);
        const uses = inRange && count > 1 ? [`${from}-${from + count - 1}`] : numbers.map(String);
        const template = {
          name: 'drawn',
          templates: {
            t: {
              ...chassisOf(rails, pattern),
              devices: { [pattern('vr{n+PLUS}_{tag}')]: { bus: pattern('{n+PLUS}'), address: '0x60' } },
            },
          },
          chassis: Object.fromEntries(uses.map((number) => [number, { template: 't', with: { tag } }])),
        };
        const valueIn = (n: number) => (text: string) => {
          if (text === '{n}') return n;
          if (text === '{tag}') return tag;
          if (text === '{n+PLUS}') return n + plus;
          return n * factor + Number(/\+(\d+)\}$/.exec(text)?.[1]);
        };
        const byHand = {
          name: 'drawn',
          devices: Object.fromEntries(
            numbers.map((n) => [`vr${n + plus}_${tag}`, { bus: n + plus, address: '0x60' }]),
          ),
          chassis: Object.fromEntries(numbers.map((n) => [n, chassisOf(rails, valueIn(n))])),
        };
        const { board, problems } = checkBoard(template);
        expect(problems).toEqual([]);
        expect(board).toEqual(checkBoard(byHand).board);
        expect(board).toBeDefined();
      }),
      { numRuns: draws(100) },
    );
  });

  it('and a board without templates is read as it was', () => {
    for (const name of ['reference', 'openpower', 'ast2600-evb']) {
      const text = readFileSync(
        join(import.meta.dirname, '..', '..', 'hw', 'boards', `${name}.json`),
        'utf8',
      );
      expect(parseBoard(text, expandedValue)).toEqual(parseBoard(text));
    }
    // A brace outside of a template is a brace.
    const { board } = checkBoard({
      name: 'braces',
      description: '{n}',
      chassis: {
        3: { rails: { P: { enable: { name: '{n}' } } }, pgood: { name: 'a{b' } },
      },
    });
    expect(board?.chassis[3]?.rails.P?.enable).toEqual({ name: '{n}', active: 'high' });
  });

  it('may have its keys written as escapes', () => {
    const text = TEXT.replace('"templates"', '"\\u0074emplates"');
    expect(parseBoard(text, expandedValue)).toEqual(parseBoard(TEXT, expandedValue));
  });
});

describe('a problem of a template is told once, where the author wrote it', () => {
  it.each<[what: string, from: string, to: string, expected: Partial<Record<keyof Problem, unknown>>]>([
    [
      'a misspelt word',
      '"settleMs": 10',
      '"setleMs": 10',
      {
        kind: 'unknownKey',
        path: 'templates.node.rails.P12V.setleMs',
        line: 15,
        suggestion: 'did you mean "settleMs"?',
      },
    ],
    [
      'a value that does not fit',
      '"minOffMs": 200',
      '"minOffMs": -1',
      { kind: 'value', path: 'templates.node.minOffMs', message: '-1 is below 0' },
    ],
    [
      'a pattern that gives what does not fit',
      '"page": 0 },',
      '"page": "{n+31}" },',
      { kind: 'value', path: 'templates.node.rails.PVCORE.enable.page', message: '"{n+31}" is above 31' },
    ],
    [
      'a word that is missing',
      '"bus": "{n+4}", ',
      '',
      { kind: 'missingKey', path: 'templates.node.devices.vr{n}.bus', line: 8 },
    ],
    [
      'needs that name no rail',
      '"needs": ["P3V3"]',
      '"needs": ["P3V"]',
      { kind: 'conflict', path: 'templates.node.rails.PVCORE.needs.0', suggestion: 'did you mean "P3V3"?' },
    ],
    [
      'a line that all chassis would share',
      '"node{n}-p3v3-good"',
      '"node-p3v3-good"',
      {
        kind: 'conflict',
        path: 'templates.node.rails.P3V3.good',
        suggestion: 'put {n} into it: the template gives each chassis the same (here 0 and 1)',
      },
    ],
    [
      'an address that all chassis would share',
      '"bus": "{n+4}"',
      '"bus": 4',
      { kind: 'conflict', path: 'templates.node.devices.vr{n}' },
    ],
    [
      'a value that nobody gave',
      '"node{n}-pgood"',
      '"node{port}-pgood"',
      { path: 'templates.node.pgood.name', message: 'nothing says what {port} stands for' },
    ],
    [
      'a pattern that is none',
      '"node{n}-pgood"',
      '"node{n+}-pgood"',
      { path: 'templates.node.pgood.name', message: '{n+} is no pattern' },
    ],
    [
      'a brace that is not closed',
      '"node{n}-pgood"',
      '"node{n-pgood"',
      { path: 'templates.node.pgood.name', message: '"node{n-pgood" has a brace that belongs to no pattern' },
    ],
    [
      'two names that become one',
      '"P3V3": {',
      '"P{n}": { "enable": { "name": "a{n}" } }, "P{n+0}": { "enable": { "name": "b{n}" } }, "P3V3": {',
      {
        kind: 'conflict',
        path: 'templates.node.rails.P{n+0}',
        message: '"P{n}" and "P{n+0}" become the same name',
      },
    ],
    [
      'a template that is not there',
      '"template": "node"',
      '"template": "nod"',
      { kind: 'conflict', path: 'chassis.0-1.template', suggestion: 'did you mean "node"?' },
    ],
    [
      'a use whose key is misspelt',
      '{ "template": "node" }',
      '{ "templat": "node" }',
      { kind: 'unknownKey', path: 'chassis.0-1.templat', suggestion: 'did you mean "template"?' },
    ],
    [
      'templates whose key is misspelt',
      '"templates": {',
      '"template": {',
      { kind: 'unknownKey', path: 'template', suggestion: 'did you mean "templates"?' },
    ],
    [
      'a word beside the template',
      '{ "template": "node" }',
      '{ "template": "node", "minOffMs": 5 }',
      { kind: 'unknownKey', path: 'chassis.0-1.minOffMs', message: '"minOffMs" beside "template"' },
    ],
    [
      'a range that runs backwards',
      '"0-1": {',
      '"4-1": {',
      { kind: 'value', path: 'chassis.4-1', suggestion: expect.stringContaining('"1-4"') },
    ],
    [
      'a chassis that is described twice',
      '"0-1": { "template": "node" }',
      '"0-1": { "template": "node" }, "1": { "template": "node" }',
      {
        kind: 'conflict',
        path: 'chassis.1',
        message: 'chassis 1 is described twice',
        other: expect.anything(),
      },
    ],
    [
      'a value that is neither text nor number',
      '{ "template": "node" }',
      '{ "template": "node", "with": { "port": true } }',
      { kind: 'value', path: 'chassis.0-1.with.port', suggestion: 'write a text or a whole number' },
    ],
    [
      'a value with the name of the number',
      '{ "template": "node" }',
      '{ "template": "node", "with": { "n": 4 } }',
      { kind: 'value', path: 'chassis.0-1.with.n' },
    ],
    [
      'templates that are no object',
      TEXT.slice(TEXT.indexOf('"templates"'), TEXT.indexOf('  "chassis": {')),
      '"templates": [],',
      { kind: 'conflict', path: 'chassis.0-1.template' },
    ],
  ])('%s', (_, from, to, expected) => {
    const problems = problemsAfter(from, to).filter(({ path }) => path !== 'templates');
    expect(problems).toEqual([expect.objectContaining(expected)]);
    expect(parseBoard(TEXT.replace(from, to), expandedValue)).toBeUndefined();
    const [{ line = 0, column = 0, excerpt } = {}] = problems as Partial<Problem>[];
    const written = TEXT.replace(from, to).split('\n')[line - 1];
    expect(excerpt?.text).toContain(written?.slice(Math.max(0, column - 1), column + 5));
  });

  it('a template that nothing is made of is told, and what is wrong in it', () => {
    const board = twoChassis();
    board.templates.spare = { ...board.templates.node, minOffMs: -5 };
    expect(checkBoard(board).problems.map(({ path, message }) => [path, message])).toEqual([
      ['templates.spare', 'no chassis is made of the template "spare"'],
      ['templates.spare.minOffMs', '-5 is below 0'],
    ]);
  });

  it('a device that all chassis would share is told, and the page of it that they would switch', () => {
    const board = JSON.parse(TEXT.replaceAll('"vr{n}"', '"vr"'));
    const shared = expect.stringMatching(/^put \{n\} into it/);
    expect(checkBoard(board).problems.map(({ path, suggestion }) => [path, suggestion])).toEqual([
      ['templates.node.devices.vr', expect.stringMatching(/^put \{n\} into its name/)],
      ['templates.node.rails.PVCORE.enable.page', shared],
    ]);
  });

  it('reckoning with a text is refused', () => {
    const board = twoChassis();
    board.chassis = { 0: { template: 'node', with: { port: 'C' } } };
    board.templates.node.pgood.name = 'pgood{port+1}';
    expect(checkBoard(board).problems).toMatchObject([
      { path: 'templates.node.pgood.name', message: '{port+1} reckons with "C", which is a text' },
    ]);
  });
});
