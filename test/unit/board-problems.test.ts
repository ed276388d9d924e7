/** Board files with mistakes in them: what is told of each, and that none hides another. */
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, describe, expect, it, vi } from 'vitest';
import { createMockGpio } from '../../mocks/backends/gpio.ts';
import { createMockI2c } from '../../mocks/backends/i2c.ts';
import { createPlant } from '../../mocks/plant/plant.ts';
import { createVirtualClock } from '../../mocks/virtual-clock.ts';
import { diagnose } from '../../src/board/diagnose.ts';
import { hasDuplicateKey, parseBoard } from '../../src/board/parse.ts';
import type { Problem } from '../../src/board/problem.ts';
import { expandedValue } from '../../src/board/templates.ts';
import { problemText } from '../../src/cli/problem-text.ts';
import { unprintableIn } from '../../src/printable.ts';
import { openChassis } from '../../src/run/hardware.ts';
import { JOBS } from '../../src/run/jobs.ts';
import { runSequence } from '../../src/run/runner.ts';
import { planOf } from '../../src/sequence/plan.ts';
import { createSnapshotFile } from '../../src/store/snapshot.ts';
import { checkBoard } from '../check-board.ts';
import { draws, fewer } from '../draws.ts';

// Properties take their time on a machine that is busy.
vi.setConfig({ testTimeout: 60_000 });

const boards = join(import.meta.dirname, '..', '..', 'hw', 'boards');
const NAMES = ['reference', 'openpower', 'ast2600-evb', 'two-chassis'] as const;
const textOf = (name: string) => readFileSync(join(boards, `${name}.json`), 'utf8');
const REFERENCE = textOf('reference');

function problemsOf(text: string | Uint8Array): Problem[] {
  const bytes = typeof text === 'string' ? Buffer.from(text) : text;
  const problems = diagnose(bytes);
  const useless = problems.filter(
    ({ line, column, message, suggestion }) =>
      line < 1 || column < 1 || message === '' || suggestion === '' || message.includes(suggestion),
  );
  expect(useless).toEqual([]);
  // What it quotes of the file commands no terminal, and begins no line.
  const printed = problems.map((problem) => problemText('board.json', problem).split('\n'));
  expect(printed.flat().filter((line) => unprintableIn(line) !== null)).toEqual([]);
  expect(Math.max(0, ...printed.map((lines) => lines.length))).toBeLessThanOrEqual(7);
  return problems;
}

/** The only problem of the reference board after `from` became `to`. */
function only(from: string, to: string): Problem {
  expect(REFERENCE).toContain(from);
  const problems = problemsOf(REFERENCE.replace(from, to));
  expect(problems, JSON.stringify(problems)).toHaveLength(1);
  return problems[0] as Problem;
}

type Json = null | boolean | number | string | Json[] | { [key: string]: Json };
type Path = readonly string[];

/** A mistake that can be made at one place of a board, and what has to be told of it. */
interface Mistake {
  readonly at: Path;
  readonly make: keyof typeof MISTAKES;
}

/** A character that no board has: it stands where a problem is expected, and is taken out before the board is read. */
const markOf = (index: number) => String.fromCodePoint(0xe000 + index);

interface Maker {
  readonly fits: (value: Json, path: Path) => boolean;
  readonly kind: Problem['kind'];
  /** What is written instead of the value; `mark` where the problem is. */
  readonly write: (value: Json, mark: string, print: (value: Json) => string) => string;
  /** Keys of the problem after those of the place; null where syntax is told without keys. */
  readonly below: readonly string[] | null;
}

const isObject = (value: Json): value is { [key: string]: Json } =>
  typeof value === 'object' && value !== null && !Array.isArray(value);
const keyOf = (path: Path) => path.at(-1) ?? '';
const members = (value: Json) => Object.entries(value as { [key: string]: Json });
const printed = (entries: [string, Json][], print: (value: Json) => string) =>
  entries.map(([key, value]) => `${JSON.stringify(key)}: ${print(value)}`);

const MISTAKES = {
  numberInQuotes: {
    fits: (value, path) => typeof value === 'number' && keyOf(path) !== 'line',
    kind: 'value',
    write: (value, mark) => `${mark}"${value}"`,
    below: [],
  },
  farBelow: {
    fits: (value) => typeof value === 'number',
    kind: 'value',
    write: (_, mark) => `${mark}-1e9`,
    below: [],
  },
  objectInstead: {
    fits: (value) => typeof value !== 'object',
    kind: 'value',
    write: (_, mark) => `${mark}{}`,
    below: [],
  },
  nullInstead: {
    fits: (value) => typeof value !== 'object',
    kind: 'value',
    write: (_, mark) => `${mark}null`,
    below: [],
  },
  singleQuotes: {
    fits: (value) => typeof value === 'string',
    kind: 'syntax',
    write: (value, mark) => `${mark}'${value}'`,
    below: null,
  },
  notANumber: {
    fits: (value) => typeof value === 'number',
    kind: 'syntax',
    write: (_, mark) => `${mark}NaN`,
    below: null,
  },
  plusSign: {
    fits: (value) => typeof value === 'number',
    kind: 'syntax',
    write: (value, mark) => `${mark}+${value}`,
    below: null,
  },
  unknownKey: {
    // In a table by name no key is unknown.
    fits: (value, path) =>
      isObject(value) && !['rails', 'resets', 'devices', 'chassis', 'templates'].includes(keyOf(path)),
    kind: 'unknownKey',
    write: (value, mark, print) =>
      `{ ${[...printed(members(value), print), `${mark}"zzzzzzzzzzzz": 1`].join(', ')} }`,
    below: ['zzzzzzzzzzzz'],
  },
  duplicateKey: {
    fits: (value) => isObject(value) && members(value).some(([, each]) => typeof each !== 'object'),
    kind: 'duplicateKey',
    write: (value, mark, print) => {
      const [key, each] = members(value).find(([, each]) => typeof each !== 'object') as [string, Json];
      const again = `${mark}${JSON.stringify(key)}: ${JSON.stringify(each)}`;
      return `{ ${[...printed(members(value), print), again].join(', ')} }`;
    },
    below: null,
  },
  missingLine: {
    fits: (value) => isObject(value) && 'chip' in value && 'line' in value,
    kind: 'missingKey',
    write: (value, mark, print) =>
      `${mark}{ ${printed(
        members(value).filter(([key]) => key !== 'line'),
        print,
      ).join(', ')} }`,
    below: ['line'],
  },
  trailingComma: {
    fits: (value) => typeof value === 'object' && value !== null && Object.keys(value).length > 0,
    kind: 'syntax',
    write: (value, mark, print) =>
      Array.isArray(value)
        ? `[${value.map(print).join(', ')}${mark}, ]`
        : `{ ${printed(members(value), print).join(', ')}${mark},\n }`,
    below: null,
  },
  comment: {
    fits: isObject,
    kind: 'syntax',
    write: (value, mark, print) => `{ ${mark}// set by hand\n ${printed(members(value), print).join(', ')} }`,
    below: null,
  },
  noComma: {
    fits: (value) => isObject(value) && members(value).length === 2,
    kind: 'syntax',
    write: (value, mark, print) => `{ ${printed(members(value), print).join(`${mark}\n  `)} }`,
    below: null,
  },
  needsNoRail: {
    fits: (value, path) => Array.isArray(value) && keyOf(path) === 'needs',
    kind: 'conflict',
    write: (value, mark, print) => `[${mark}"NO_SUCH_RAIL", ${(value as Json[]).map(print).join(', ')}]`,
    below: ['0'],
  },
} as const satisfies Record<string, Maker>;

/** Every place of a board with what can be done wrong there. */
function placesOf(value: Json, path: Path = []): Mistake[] {
  const here = (Object.keys(MISTAKES) as (keyof typeof MISTAKES)[])
    .filter((make) => MISTAKES[make].fits(value, path))
    .map((make) => ({ at: path, make }));
  if (typeof value !== 'object' || value === null) return here;
  return [...here, ...Object.entries(value).flatMap(([key, each]) => placesOf(each, [...path, key]))];
}

/** Writes a board with the mistakes in it, and where each is to be told. */
function withMistakes(board: Json, mistakes: readonly Mistake[]) {
  const print = (value: Json, path: Path): string => {
    const inner = (each: Json): string => {
      const key = isObject(value) ? members(value).find(([, other]) => other === each)?.[0] : undefined;
      const index = Array.isArray(value) ? value.indexOf(each) : -1;
      return print(each, [...path, key ?? String(index)]);
    };
    const index = mistakes.findIndex(({ at }) => JSON.stringify(at) === JSON.stringify(path));
    const mistake = mistakes[index];
    if (mistake !== undefined) {
      const entries = Array.isArray(value) ? null : isObject(value) ? members(value) : null;
      const write = MISTAKES[mistake.make].write as Maker['write'];
      // Members are printed by their key: equal values of two of them are not to be mixed up.
      let next = 0;
      const ordered =
        entries === null
          ? inner
          : (each: Json): string => {
              while (entries[next] !== undefined && entries[next]?.[1] !== each) next += 1;
              const key = entries[next]?.[0] ?? '';
              next += 1;
              return print(each, [...path, key]);
            };
      return write(value, markOf(index), ordered);
    }
    if (Array.isArray(value)) {
      return `[${value.map((each, at) => print(each, [...path, String(at)])).join(', ')}]`;
    }
    if (!isObject(value)) return JSON.stringify(value);
    const lines = members(value).map(
      ([key, each]) => `${JSON.stringify(key)}: ${print(each, [...path, key])}`,
    );
    return `{\n${lines.join(',\n')}\n}`;
  };
  const marked = print(board, []);
  const text = marked.replaceAll(/[\ue000-\uf8ff]/g, '');
  const expected = mistakes.map(({ at, make }, index) => {
    const { kind, below }: Maker = MISTAKES[make];
    const before = marked.slice(0, marked.indexOf(markOf(index))).replaceAll(/[\ue000-\uf8ff]/g, '');
    const lines = before.split('\n');
    return {
      kind,
      line: lines.length,
      column: (lines.at(-1)?.length ?? 0) + 1,
      ...(below === null ? {} : { path: [...at, ...below].join('.') }),
    };
  });
  return { text, expected };
}

/** Neither of the two is inside the other, so that each would be told alone as well. */
function apart(one: Mistake, two: Mistake): boolean {
  const [short, long] = one.at.length <= two.at.length ? [one, two] : [two, one];
  return (
    !short.at.every((key, index) => long.at[index] === key) ||
    (short.at.length < long.at.length && keeps(short, long))
  );
}

/** The outer mistake leaves the inner value as it is. */
function keeps(outer: Mistake, inner: Mistake): boolean {
  if (outer.make === 'missingLine') return inner.at[outer.at.length] !== 'line';
  if (outer.make === 'needsNoRail') return false;
  return ['unknownKey', 'duplicateKey', 'trailingComma', 'comment', 'noComma'].includes(outer.make);
}

const boardWithMistakes = fc.constantFrom(...NAMES).chain((name) => {
  const board = JSON.parse(textOf(name)) as Json;
  const places = placesOf(board);
  return fc.shuffledSubarray(places, { minLength: 1, maxLength: 12 }).map((drawn) => {
    const mistakes: Mistake[] = [];
    for (const mistake of drawn) if (mistakes.every((other) => apart(other, mistake))) mistakes.push(mistake);
    return { name, mistakes, ...withMistakes(board, mistakes) };
  });
});

describe('every problem at once', () => {
  it('all of k independent mistakes are told in one run, each with its path, line and column', () => {
    fc.assert(
      fc.property(boardWithMistakes, ({ text, expected }) => {
        const problems = problemsOf(text);
        for (const wanted of expected) expect(problems).toContainEqual(expect.objectContaining(wanted));
        expect(problems.map(({ message }) => message)).toHaveLength(expected.length);
        expect(parseBoard(text, expandedValue)).toBeUndefined();
      }),
      { numRuns: draws(200) },
    );
  });

  it('a needs that names no rail is told beside an unknown key, a trailing comma and a BOM', () => {
    const text = `\ufeff${REFERENCE.replace('"settleMs": 10', '"setleMs": 10')
      .replace('"needs": ["P3V3"]', '"needs": ["P3V4"]')
      .replace('"minOffMs": 200', '"minOffMs": 200,')}`;
    expect(problemsOf(text).map(({ line, column, path, kind }) => [line, column, path, kind])).toEqual([
      [1, 1, '', 'syntax'],
      [15, 11, 'chassis.0.rails.P12V.setleMs', 'unknownKey'],
      [38, 21, 'chassis.0.rails.P1V8.needs.0', 'conflict'],
      [69, 22, '', 'syntax'],
    ]);
  });

  it('all unknown keys of an object are told, each with its suggestion', () => {
    const text = REFERENCE.replace('"settleMs": 10', '"setleMs": 10, "need": [], "colour": "red"');
    expect(problemsOf(text).map(({ path, suggestion }) => [path, suggestion])).toEqual([
      ['chassis.0.rails.P12V.setleMs', 'did you mean "settleMs"?'],
      ['chassis.0.rails.P12V.need', 'did you mean "needs"?'],
      ['chassis.0.rails.P12V.colour', expect.stringContaining('keys here')],
    ]);
  });

  it('what stands under a key with a slip in it is read as if the key were right', () => {
    const problems = problemsOf(
      REFERENCE.replace('"rails": {', '"rials": {').replace('"settleMs": 10', '"settleMs": -1'),
    );
    expect(problems.map(({ path }) => path)).toEqual(['chassis.0.rials', 'chassis.0.rials.P12V.settleMs']);
  });
});

describe('a text that a terminal would obey', () => {
  /** Boards with every family of keys that takes free text. */
  const SHIPPED = readdirSync(boards).filter((file) => file.endsWith('.json') && !file.includes('schema'));
  /** What only people read, in the file itself. */
  const UNREAD = ['description', '$schema'];
  const CHARACTERS = [
    '\0',
    '\t',
    '\n',
    '\r',
    '\u001b',
    '\u007f',
    '\u0085',
    '\u009b',
    '\u2028',
    '\u2029',
    '\u202e',
    '\u2066',
  ];
  const textsIn = (value: Json, at: Path = []): { at: Path; value: string }[] => {
    if (typeof value === 'string') return UNREAD.includes(keyOf(at)) ? [] : [{ at, value }];
    if (typeof value !== 'object' || value === null) return [];
    return Object.entries(value).flatMap(([key, each]) => textsIn(each, [...at, key]));
  };
  const places = SHIPPED.flatMap((file) =>
    textsIn(JSON.parse(textOf(file.replace('.json', ''))) as Json).map((text) => ({ file, ...text })),
  );

  it('is refused wherever it stands, with its character and what to write', () => {
    // Of each key the first place tells enough of its schema, but a key may stand in several.
    const seen = new Set<string>();
    const tried = places.filter(({ file, at }) => {
      const key = `${file} ${at.filter((each) => !/^[A-Z0-9]/.test(each)).join('.')}`;
      return !seen.has(key) && seen.add(key);
    });
    expect(tried.length).toBeGreaterThan(30);
    const taken = tried.flatMap(({ file, at, value }, index) =>
      fewer(CHARACTERS, CHARACTERS.slice(index % CHARACTERS.length).slice(0, 1))
        .filter((character) => {
          const board = JSON.parse(textOf(file.replace('.json', ''))) as Json;
          let parent = board as { [key: string]: Json };
          for (const key of at.slice(0, -1)) parent = parent[key] as { [key: string]: Json };
          parent[at.at(-1) ?? ''] = `${character}${value}`;
          const text = JSON.stringify(board);
          const problem = problemsOf(text).find(({ path }) => path.startsWith(at.slice(0, 2).join('.')));
          return problem === undefined || parseBoard(text, expandedValue) !== undefined;
        })
        .map((character) => [file, at.join('.'), character.charCodeAt(0).toString(16)]),
    );
    expect(taken).toEqual([]);
  });

  it.each([
    ['of a line', '{ "chip": "1e780000.gpio", "line": "C0" }', '{ "name": "power\\u001b[2Jon" }', 'name'],
    ['of a chip', '"chip": "1e780000.gpio", "line": "C0"', '"chip": "power\\u001b[2Jon", "line": 1', 'chip'],
  ])('that is the name %s is told as it could be written', (_, from, to, key) => {
    expect(only(from, to)).toMatchObject({
      path: expect.stringMatching(new RegExp(`\\.enable\\.${key}$`)),
      message: expect.stringMatching(/U\+001B/),
      suggestion: 'write "power[2Jon"',
    });
  });
});

describe('a board that does not validate never reaches a pin', () => {
  /** A board in which something was replaced by anything. */
  const mutated = fc
    .tuple(
      fc.constantFrom(...NAMES),
      fc.nat(),
      fc.oneof(fc.jsonValue({ maxDepth: 2 }), fc.constantFrom('\u001b[31m', 'a\n<2>b', '\0', '{n}\r')),
      fc.boolean(),
    )
    .map(([name, where, value, remove]) => {
      const board = JSON.parse(textOf(name)) as Json;
      const places = [...new Set(placesOf(board).map(({ at }) => JSON.stringify(at)))];
      const path = JSON.parse(places[where % places.length] ?? '[]') as string[];
      const last = path.pop();
      if (last === undefined) return JSON.stringify(value);
      let parent = board as { [key: string]: Json };
      for (const key of path) parent = parent[key] as { [key: string]: Json };
      if (remove) delete parent[last];
      else parent[last] = value as Json;
      return JSON.stringify(board);
    });

  it('the short look of a oneshot refuses exactly the files of which check has something to tell', () => {
    fc.assert(
      fc.property(mutated, (text) => {
        expect(parseBoard(text, expandedValue) === undefined).toBe(problemsOf(text).length > 0);
      }),
      { numRuns: draws(200) },
    );
  });

  it('a list where an object belongs is refused, also where its items would do', () => {
    const rail = '{ "enable": { "chip": "1e780000.gpio", "line": "C0" } }';
    for (const [from, to] of [
      ['"resets": {', '"resets": [], "latch": {'],
      ['"devices": {', '"devices": [], "description": {'],
    ] as const) {
      expect(parseBoard(REFERENCE.replace(from, to)), to).toBeUndefined();
    }
    const listed = `{ "name": "x", "chassis": [{ "rails": [${rail}], "pgood": { "name": "PGOOD" } }] }`;
    expect(parseBoard(listed)).toBeUndefined();
    expect(problemsOf(listed)).toMatchObject([
      { path: 'chassis', message: expect.stringContaining('a list') },
    ]);
  });

  it('takes any bytes without falling over, and finds something wrong with them', () => {
    fc.assert(
      fc.property(
        fc.oneof(
          fc.uint8Array({ maxLength: 200 }),
          // Of any characters, by their numbers: fast-check's own unit of them makes a table of a million first.
          fc
            .array(fc.integer({ min: 0, max: 0x10ffff }), { maxLength: 200 })
            .map((points) => Buffer.from(String.fromCodePoint(...points))),
          fc
            .array(
              fc.constantFrom(
                '{',
                '}',
                '[',
                ']',
                ',',
                ':',
                '"',
                "'",
                '"a"',
                '1',
                '-',
                '\n',
                '//',
                '/*',
                '\\',
                'x',
              ),
            )
            .map((parts) => Buffer.from(parts.join(''))),
          fc
            .nat(REFERENCE.length - 1)
            .map((length) => Buffer.from(REFERENCE.slice(0, length)).subarray(0, length)),
        ),
        (bytes) => {
          // The last character of the file is a line break: without it the board is whole.
          if (bytes.length < REFERENCE.trimEnd().length) expect(problemsOf(bytes)).not.toEqual([]);
        },
      ),
      { numRuns: draws(200) },
    );
  });

  it('a file that is something else altogether ends after a hundred mistakes of the syntax', () => {
    expect(problemsOf("'a', ".repeat(1_000)).length).toBeLessThan(110);
    expect(problemsOf('['.repeat(100_000))).toMatchObject([{ kind: 'syntax' }]);
  });
});

describe('duplicate keys', () => {
  it.each([
    ['two rails PVCORE', '"P3V3": {', '"PVCORE": {', 'chassis.0.rails.PVCORE', [50, 9], [26, 9]],
    ['two pgood', '"resets": {', '"pgood": {', 'chassis.0.pgood', [66, 7], [59, 7]],
    [
      'a key that is escaped the second time',
      '"minOffMs"',
      '"re\\u0073ets"',
      'chassis.0.resets',
      [69, 7],
      [66, 7],
    ],
  ] as const)(
    '%s are a problem with both positions',
    (_, from, to, path, [line, column], [otherLine, otherColumn]) => {
      const text = REFERENCE.replace(from, to);
      expect(parseBoard(text)).toBeUndefined();
      expect(problemsOf(text)).toContainEqual(
        expect.objectContaining({
          kind: 'duplicateKey',
          path,
          line,
          column,
          other: { line: otherLine, column: otherColumn },
        }),
      );
    },
  );

  const PGOOD = '"pgood": { "chip": "1e780000.gpio", "line": "A7" }';
  const PVCORE = '"PVCORE": { "enable": { "chip": "1e780000.gpio", "line": "E0" } }';
  it.each([
    ['a number', '"minOffMs": 200', '"minOffMs": 300, "minOffMs": 200'],
    ['a pgood', '"pgood": {', `${PGOOD}, "pgood": {`],
    ['a rail', '"PVCORE": {', `${PVCORE}, "PVCORE": {`],
    ['a chassis', '"0": {', `"0": { "rails": { ${PVCORE} }, ${PGOOD} }, "0": {`],
    ['an escaped name', '"PVCORE": {', `${PVCORE.replace('P', '\\u0050')}, "PVCORE": {`],
  ])('%s that is there twice is the only thing wrong with a board, and enough', (_, from, to) => {
    const text = REFERENCE.replace(from, to);
    expect(parseBoard(text)).toBeUndefined();
    expect(problemsOf(text)).toMatchObject([{ kind: 'duplicateKey' }]);
  });

  it('hide nothing of what is wrong with either of the two', () => {
    const needs = (rail: string) => PVCORE.replace('} }', `}, "needs": ["${rail}"] }`);
    const text = REFERENCE.replace('"PVCORE": {', `${needs('ONE')}, ${needs('TWO')}, "PVCOREX": {`);
    expect(problemsOf(text).map(({ kind, message }) => [kind, message])).toEqual([
      ['conflict', expect.stringContaining('"ONE"')],
      ['duplicateKey', expect.stringContaining('"PVCORE"')],
      ['conflict', expect.stringContaining('"TWO"')],
    ]);
  });

  it('are found at any depth, and nothing else is taken for one', () => {
    const keys = fc.constantFrom('a', 'b', 'c', 'a"', 'a\\', '{', ':');
    const tree = fc.letrec<{ node: { text: string; duplicate: boolean } }>((tie) => ({
      node: fc.oneof(
        { maxDepth: 4 },
        fc.constantFrom('1', '"a": {', '"{"', 'null').map((value) => ({
          text: value.startsWith('"') ? JSON.stringify(value) : value,
          duplicate: false,
        })),
        fc.array(tie('node')).map((items) => ({
          text: `[${items.map(({ text }) => text).join(' , ')}]`,
          duplicate: items.some(({ duplicate }) => duplicate),
        })),
        fc.array(fc.tuple(keys, tie('node')), { maxLength: 4 }).map((entries) => ({
          text: `{${entries.map(([key, { text }]) => `${JSON.stringify(key)} :${text}`).join(',\n')}}`,
          duplicate:
            new Set(entries.map(([key]) => key)).size < entries.length ||
            entries.some(([, { duplicate }]) => duplicate),
        })),
      ),
    })).node;
    fc.assert(
      fc.property(tree, ({ text, duplicate }) => {
        expect(hasDuplicateKey(text)).toBe(duplicate);
        expect(diagnose(Buffer.from(text)).some(({ kind }) => kind === 'duplicateKey')).toBe(duplicate);
      }),
      { numRuns: draws(200) },
    );
  });
});

describe('names', () => {
  const folder = mkdtempSync(join(tmpdir(), 'board-names-'));
  afterAll(() => rmSync(folder, { recursive: true, force: true }));
  const inherited = [...Object.getOwnPropertyNames(Object.prototype), 'prototype'];
  const anyName = fc.oneof(
    fc.constantFrom(...inherited, 'then', 'toJSON', 'length', 'name', '0', '12', '1.8', 'P1.8V', '-1'),
    fc.stringMatching(/^[A-Za-z0-9][A-Za-z0-9_.+-]{0,8}$/),
    fc.string({ maxLength: 6 }),
  );

  it.each(inherited)('a rail named %s is refused in so many words', (name) => {
    const text = REFERENCE.replace('"PVCORE"', `"${name}"`);
    expect(parseBoard(text)).toBeUndefined();
    expect(problemsOf(text)).toMatchObject([{ kind: 'value', path: `chassis.0.rails.${name}` }]);
    const needed = problemsOf(REFERENCE.replace('"needs": ["P3V3"]', `"needs": ["${name}"]`));
    expect(needed).toMatchObject([{ kind: 'value', path: 'chassis.0.rails.P1V8.needs.0' }]);
    const stray = problemsOf(REFERENCE.replace('"settleMs": 10', `"settleMs": 10, "${name}": 1`));
    expect(stray).toMatchObject([{ kind: 'unknownKey', path: `chassis.0.rails.P12V.${name}` }]);
  });

  it('no rail vanishes between board, plan, machine, snapshot and plant', async () => {
    await fc.assert(
      fc.asyncProperty(fc.uniqueArray(anyName, { minLength: 1, maxLength: 4 }), async (names) => {
        const rails = names.map((name, index) => {
          const needs = names.slice(0, index).map((need) => JSON.stringify(need));
          return `${JSON.stringify(name)}: {
            "enable": { "chip": "c", "line": ${index} }, "good": { "chip": "c", "line": ${100 + index} },
            "needs": [${needs.join(', ')}] }`;
        });
        const text = `{ "name": "x", "chassis": { "0": { "rails": { ${rails.join(', ')} },
          "pgood": { "chip": "c", "line": 200 } } } }`;
        const board = parseBoard(text);
        if (board === undefined) {
          const told = problemsOf(text).map(({ path }) => path);
          expect(names.some((name) => told.includes(`chassis.0.rails.${name}`))).toBe(true);
          return;
        }
        const chassis = board.chassis['0'];
        if (chassis === undefined) throw new RangeError('no chassis 0');
        const sorted = [...names].sort();
        const plan = planOf(chassis, board.devices);
        expect(plan.rails.map(({ name }) => name).sort()).toEqual(sorted);
        const clock = createVirtualClock();
        const plant = createPlant({ board, clock, faults: [], initially: 'off' });
        const ports = {
          gpio: async () => createMockGpio(plant),
          i2c: async () => createMockI2c(plant),
          clock,
        };
        const store = createSnapshotFile(folder, 0, { bootId: 'boot', boardHash: 'hash', plan, clock });
        const result = await clock.runUntil(
          (async () => {
            const hardware = await openChassis(board, 0, ports);
            try {
              return await runSequence(JOBS.on, { plan, hardware, clock, store, record: () => undefined });
            } finally {
              await hardware.close();
            }
          })(),
        );
        expect(result.state).toBe('pgood');
        const again = createSnapshotFile(folder, 0, {
          bootId: 'boot',
          boardHash: 'hash',
          plan,
          clock,
        }).load();
        expect(again.warning).toBeNull();
        expect(Object.keys(again.hint?.sequence.rails ?? {}).sort()).toEqual(sorted);
        plant.close();
      }),
      { numRuns: draws(50) },
    );
  });
});

describe('syntax: line and column, what was found, what to write', () => {
  it.each([
    ['a trailing comma', '"minOffMs": 200', '"minOffMs": 200,', [69, 22], /comma/, /remove/],
    ['a comment', '"minOffMs": 200', '"minOffMs": 200 // ms', [69, 23], /comment/, /remove/],
    ['a comment as shells have it', '"minOffMs": 200', '"minOffMs": 200 # ms', [69, 23], /comment/, /remove/],
    ['single quotes', '"name": "reference"', '"name": \'reference\'', [3, 11], /quotes/, /"reference"/],
    ['a key without quotes', '"name": "ref', 'name: "ref', [3, 3], /without quotes/, /"name"/],
    ['NaN', '"minOffMs": 200', '"minOffMs": NaN', [69, 19], /NaN/, /number/],
    ['a word of Python', '"minOffMs": 200', '"minOffMs": None', [69, 19], /None/, /leave/],
    ['a hexadecimal number', '"minOffMs": 200', '"minOffMs": 0xc8', [69, 19], /0xc8/, /write 200/],
    ['leading zeros', '"minOffMs": 200', '"minOffMs": 0200', [69, 19], /0200/, /write 200/],
    ['a number with its unit', '"minOffMs": 200', '"minOffMs": 200ms', [69, 19], /200ms/, /number/],
    ['a number beyond all', '"minOffMs": 200', '"minOffMs": 1e999', [69, 19], /1e999/, /number/],
    ['a missing comma', '"name": "reference",', '"name": "reference"', [3, 22], /comma is missing/, /comma/],
    ['a missing colon', '"minOffMs": 200', '"minOffMs" 200', [69, 17], /colon/, /colon/],
    ['an equals sign', '"minOffMs": 200', '"minOffMs" = 200', [69, 18], /equals/, /colon/],
    ['a missing value', '"minOffMs": 200', '"minOffMs": ', [70, 5], /value is missing/, /value/],
    [
      'a text that is not closed',
      '"name": "reference",',
      '"name": "reference,',
      [3, 11],
      /not closed/,
      /double quote/,
    ],
    [
      'a backslash',
      '"name": "reference"',
      '"name": "refe\\rence", "description": "\\x"',
      [3, 0],
      /\\x/,
      /\\\\/,
    ],
    ['a space that is none', '"minOffMs": 200', '"minOffMs":\u00a0200', [69, 18], /U\+00A0/, /space/],
  ] as const)('%s', (_, from, to, [line, column], message, suggestion) => {
    const problems = problemsOf(REFERENCE.replace(from, to)).filter(({ kind }) => kind === 'syntax');
    expect(problems).toHaveLength(1);
    expect(problems[0]).toMatchObject({
      line,
      ...(column > 0 ? { column } : {}),
      message: expect.stringMatching(message),
      suggestion: expect.stringMatching(suggestion),
    });
  });

  it('a BOM', () => {
    expect(problemsOf(`\ufeff${REFERENCE}`)).toMatchObject([
      {
        line: 1,
        column: 1,
        message: expect.stringContaining('byte order mark'),
        suggestion: expect.stringContaining('UTF-8'),
      },
    ]);
  });

  it('an empty file', () => {
    for (const text of ['', ' \n ']) {
      expect(problemsOf(text)).toMatchObject([{ line: 1, column: 1, message: 'the file is empty' }]);
    }
  });

  it('a file that is not UTF-8', () => {
    const latin = Buffer.from(REFERENCE.replace('A server', 'A 5 µV server'), 'latin1');
    expect(problemsOf(latin)).toMatchObject([
      { line: 4, column: 23, message: expect.stringContaining('UTF-8') },
    ]);
    const wide = Buffer.from(`\ufeff${REFERENCE}`, 'utf16le');
    expect(problemsOf(wide)).toMatchObject([{ line: 1, message: expect.stringContaining('UTF-16') }]);
  });

  it('a list at the top', () => {
    expect(problemsOf(`[${REFERENCE}]`)).toMatchObject([
      {
        line: 1,
        column: 1,
        path: '',
        message: 'a list where an object belongs',
        example: expect.any(String),
      },
    ]);
  });

  it('a file that ends in the middle says where, and takes nothing for missing that may be in the rest', () => {
    const text = REFERENCE.slice(0, REFERENCE.indexOf('"resets"'));
    expect(problemsOf(text)).toMatchObject([
      {
        kind: 'syntax',
        line: 66,
        message: expect.stringContaining('the file ends'),
        suggestion: expect.stringContaining('} } }'),
      },
    ]);
  });
});

describe('values: what was found, what to write, an example', () => {
  it.each([
    [
      'a page out of range',
      '"page": 0 }',
      '"page": 300 }',
      '300 is above 31',
      /^write a page.* from 0 to 31/,
    ],
    [
      'a number in quotes',
      '"minOffMs": 200',
      '"minOffMs": "200"',
      '"200" is a text, not a number',
      /^write 200 without quotes$/,
    ],
    [
      'a time with its unit',
      '"minOffMs": 200',
      '"minOffMs": "0.2 s"',
      '"0.2 s" is a text, not a number',
      /^write 200 without/,
    ],
    ['millivolts', '"nominalVolts": 12,', '"nominalVolts": "12000 mV",', /text/, /^write 12 without/],
    [
      'a part of a millisecond',
      '"minOffMs": 200',
      '"minOffMs": 1.5',
      '1.5 is not a whole number',
      /^write a whole number/,
    ],
    ['a time below zero', '"minOffMs": 200', '"minOffMs": -5', '-5 is below 0', /^write a whole number/],
    ['a huge number', '"minOffMs": 200', '"minOffMs": 1e300', '1e300 is above 600000', /from 0 to 600000/],
    ['null', '"minOffMs": 200', '"minOffMs": null', /^null where a whole number/, /^leave the key out/],
    [
      'a truth for a level',
      '"active": "low" }',
      '"active": false }',
      /neither "high" nor "low"/,
      /^write "low"$/,
    ],
    ['a level in capitals', '"active": "low" }', '"active": "ActiveLow" }', /neither/, /^write "low"$/],
    ['a bus in quotes', '"bus": 3', '"bus": "3"', '"3" is no bus', /^write 3 without quotes$/],
    ['an address without quotes', '"0x60"', '96', '96 is no address', /^write "0x60"$/],
    [
      'an address in decimal',
      '"0x60"',
      '"64"',
      '"64" is no address',
      /^write "0x64", or "0x40" where 64 is decimal$/,
    ],
    ['an address of one digit', '"0x60"', '"0x8"', '"0x8" is no address', /^write "0x08"$/],
    ['a pin in small letters', '"line": "B7"', '"line": "gpiob7"', /no line of a chip/, /^write "B7"$/],
    ['an offset in quotes', '"line": "B7"', '"line": "15"', /no line of a chip/, /^write 15 without quotes$/],
    [
      'a truth in quotes',
      '"address": "0x60" }',
      '"address": "0x60", "pec": "Yes" }',
      '"Yes" is neither true nor false',
      /^write true without quotes$/,
    ],
    [
      'a truth by its number',
      '"address": "0x60" }',
      '"address": "0x60", "pec": 0 }',
      '0 is neither true nor false',
      /^write false without quotes$/,
    ],
    [
      'a table of voltage codes in capitals',
      '"address": "0x60" }',
      '"address": "0x60", "vid": "VR 13" }',
      '"VR 13" is none of the words for it',
      /^write "vr13"$/,
    ],
    [
      'a table of voltage codes that nobody knows',
      '"address": "0x60" }',
      '"address": "0x60", "vid": "vr14" }',
      '"vr14" is none of the words for it',
      /^write a table of voltage codes, "vr11", .* or "nvidia195mv"$/,
    ],
    ['a name with a space', '"PVCORE"', '"P V"', /"P V" is not written as a name/, /letters, digits/],
  ] as const)('%s', (_, from, to, message, suggestion) => {
    const problem = only(from, to);
    expect(problem.message).toEqual(typeof message === 'string' ? message : expect.stringMatching(message));
    expect(problem.suggestion).toMatch(suggestion);
  });

  it.each(['1e3', '-0', '2E2', '0.0'])('%s is a number like any other', (number) => {
    expect(parseBoard(REFERENCE.replace('"minOffMs": 200', `"minOffMs": ${number}`))).toBeDefined();
  });

  it('{"gpio": 17} is told how lines are named, with an example', () => {
    const problem = only(
      '"CPU_RESET_L": { "chip": "1e780000.gpio", "line": "D0",',
      '"CPU_RESET_L": { "gpio": 17,',
    );
    expect(problem).toMatchObject({
      path: 'chassis.0.resets.CPU_RESET_L',
      line: 67,
      column: 24,
      message: 'names no line: nothing is named by "gpio"',
      suggestion: 'name a line, by "chip" and "line" or by "name"',
      example: expect.stringContaining('"chip"'),
    });
  });

  it('a line that is named twice is told to be named in one way', () => {
    expect(only('"line": "B7",', '"line": "B7", "name": "PGOOD",')).toMatchObject({
      path: 'chassis.0.pgood.name',
      message: '"name" beside "chip"',
    });
  });

  it.each(['pull', 'bias'])('a "%s" of a line is told where a bias can be set', (word) => {
    const problem = only('"line": "B7",', `"line": "B7", "${word}": "up",`);
    expect(problem).toMatchObject({
      path: `chassis.0.pgood.${word}`,
      suggestion: expect.stringMatching(/sysfs interface sets no bias.*device tree/),
    });
  });

  it('a chassis that is numbered by a word', () => {
    expect(only('"0": {', '"main": {')).toMatchObject({
      path: 'chassis.main',
      message: '"main" is no number of a chassis',
      suggestion: expect.stringContaining('"0"'),
    });
  });
});

describe('configurations of other programs', () => {
  it.each([
    ['phosphor-power-sequencer', { chassis: [{ number: 1, power_sequencers: [] }] }],
    ['skeleton', { gpio_configs: { power_config: {} }, gpio_definitions: [{ name: 'A', pin: 'R1' }] }],
    ['x86-power-control', { gpio_configs: [{ Name: 'PowerOk', LineName: 'PS_PWROK' }], timing_configs: {} }],
  ])('%s: every key that is strange here is told, and what a board begins with', (_, input) => {
    const { problems } = checkBoard(input);
    const paths = problems.map(({ path }) => path);
    for (const key of Object.keys(input)) expect(paths).toContain(key);
    expect(paths).toContain('name');
    expect(problems.find(({ path }) => path === 'chassis')?.example).toMatch(/"rails"/);
  });
});
