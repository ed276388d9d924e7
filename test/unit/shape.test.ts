/** Tables of schemas: they say what the schemas say, of every value. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import * as v from 'valibot';
import { describe, expect, it } from 'vitest';
import { BOARD_SHAPE } from '../../src/board/board-shape.ts';
import { BOARD_RULES } from '../../src/board/rules.ts';
import { boardSchema } from '../../src/board/schema.ts';
import { expandedValue } from '../../src/board/templates.ts';
import { alternativesOf, expectationOf } from '../../src/board/values.ts';
import { fitted } from '../../src/shape.ts';
import { shapeOf } from '../../src/shape-of.ts';
import { runSchema } from '../../src/store/run-schema.ts';
import { RUN_SHAPE } from '../../src/store/run-shape.ts';
import { snapshotSchema } from '../../src/store/snapshot-schema.ts';
import { SNAPSHOT_SHAPE } from '../../src/store/snapshot-shape.ts';

const boards = join(import.meta.dirname, '..', '..', 'hw', 'boards');
const BOARDS: readonly unknown[] = readdirSync(boards)
  .filter((name) => name.endsWith('.json') && name !== 'board.schema.json')
  .map((name) => JSON.parse(readFileSync(join(boards, name), 'utf8')))
  .map((board) => ('templates' in board ? expandedValue(board) : board));

/** Every schema that a schema is made of, itself included. */
function schemasIn(whole: unknown): v.GenericSchema[] {
  const found = new Set<unknown>();
  const visit = (part: unknown): void => {
    if (typeof part !== 'object' || part === null || found.has(part)) return;
    const { kind, pipe, entries, key, value, item, wrapped, options } = part as Record<string, never>;
    if (kind !== 'schema') return;
    found.add(part);
    const inner = [key, value, item, wrapped, ...(pipe ?? []), ...Object.values(entries ?? {})];
    for (const each of [...inner, ...(options ?? []), ...(alternativesOf(part) ?? []).map(([, one]) => one)])
      visit(each);
  };
  visit(whole);
  return [...found] as v.GenericSchema[];
}

/** A value and all that is in it. */
function partsOf(value: unknown): unknown[] {
  if (typeof value !== 'object' || value === null) return [value];
  return [value, ...Object.values(value).flatMap(partsOf)];
}

/** valibot takes a list for an object, and drops keys that every JavaScript object has. */
function keptWhole(input: unknown, output: unknown): boolean {
  if (typeof input !== 'object' || input === null) return true;
  if (typeof output !== 'object' || output === null || Array.isArray(input) !== Array.isArray(output))
    return false;
  return Object.entries(input).every(
    ([key, value]) =>
      Object.hasOwn(output, key) && keptWhole(value, (output as Record<string, unknown>)[key]),
  );
}

function bySchema(schema: v.GenericSchema, input: unknown): unknown {
  const { success, output } = v.safeParse(schema, input, { abortEarly: true });
  return success && keptWhole(input, output) ? output : undefined;
}

const schemas = schemasIn(boardSchema);
const examples = schemas.flatMap((schema) => {
  const example = expectationOf(schema)?.example;
  return example === undefined ? [] : [JSON.parse(example) as unknown];
});
/** About every limit, pattern and name that a board has. */
const ODD: readonly unknown[] =
  JSON.parse(`[null, true, false, 0, -1, 1, 1.5, 2, 7, 8, 30, 31, 32, 99, 100, 100.5, 127, 128, 499, 500, 999,
  1000, 1001, 5000, 10000, 10001, 32767, 32768, -32768, -32769, 600000, 600001, 1e300, "", "x", "0", "00", "99", "100", "C0", "AC7", "C8",
  "c0", "0x02", "0x03", "0x77", "0x78", "0xzz", "high", "low", "HIGH", "/", "/a", "/a/b-c", "a.b", "a", "A.B.C", "-x", "toString", "prototype",
  "device", "vr13", [], ["x"], ["x", 1], [[]], {}, {"x": 1}, {"name": "x"}, {"__proto__": 1}, {"toString": 1}, {"constructor": {}},
  {"chip": "a", "line": 1, "name": "b"}, {"chip": "a", "line": "C0", "active": "low"}, {"pmbus": "a"}, {"pmbus": "a", "page": 32},
  {"pulse": {"name": "a"}}, {"length": 0}]`);

describe('the table of the board file', () => {
  const values = new Map(
    [...ODD, ...examples, ...BOARDS].flatMap(partsOf).map((value) => [JSON.stringify(value), value]),
  );

  it('takes of every schema in it what the schema takes, with the same defaults in the same order', () => {
    expect(schemas.length).toBeGreaterThan(100);
    let taken = 0;
    for (const schema of schemas) {
      const shape = shapeOf(schema, BOARD_RULES, alternativesOf);
      for (const [text, value] of values) {
        const [found, wanted] = [fitted(shape, BOARD_RULES, value), bySchema(schema, value)];
        if (wanted !== undefined) taken += 1;
        if (JSON.stringify(found) !== JSON.stringify(wanted))
          expect({ text, found }).toEqual({ text, found: wanted });
      }
    }
    expect(taken).toBeGreaterThan(1_000);
  });

  it('takes every board that is shipped, and is none the less after a way through JSON', () => {
    const read = JSON.parse(JSON.stringify(BOARD_SHAPE));
    expect(read).toEqual(BOARD_SHAPE);
    for (const board of BOARDS) expect(fitted(read, BOARD_RULES, board)).toEqual(v.parse(boardSchema, board));
  });

  it('gives each board objects of its own, also where they are defaults', () => {
    const minimal = { name: 'x', chassis: { '0': { rails: { A: { enable: { name: 'a' } } } } } };
    const [one, other] = [1, 2].map(
      () => fitted(BOARD_SHAPE, BOARD_RULES, minimal) as v.InferOutput<typeof boardSchema>,
    );
    expect(one?.chassis['0']?.pgood).toEqual(other?.chassis['0']?.pgood);
    expect(one?.chassis['0']?.pgood).not.toBe(other?.chassis['0']?.pgood);
    expect(one?.devices).not.toBe(other?.devices);
  });
});

const SNAPSHOT = {
  schema: 2,
  bootId: 'b',
  boardHash: 'h',
  state: 'failed',
  sequence: {
    nowMs: 1,
    rails: {
      A: {
        phase: 'rising',
        enabled: true,
        enableDoubt: 'unread',
        good: false,
        goodUnread: true,
        sinceMs: 1.5,
        deadlineMs: null,
        missed: 'late',
      },
      B: {
        watched: 'supply',
        phase: 'down',
        enabled: false,
        enableDoubt: null,
        good: true,
        goodUnread: false,
        sinceMs: 0,
        deadlineMs: 7,
      },
    },
    absent: ['C'],
    pgood: { level: true, good: false, unread: false, sinceMs: 0 },
    resetsAsserted: { host: true },
    stageDeadlineMs: 9,
    readyMs: null,
    offSinceMs: null,
    latchPending: false,
    fault: {
      kind: 'railLost',
      rail: 'A',
      state: 'pgood',
      atMs: 1,
      reason: 'r',
      errorCode: null,
      diagnosis: { rail: null, cause: 'dropped', because: 'b', unread: ['x'] },
    },
    contradictions: ['c'],
  },
};
const RUN = {
  schema: 1,
  chassis: 0,
  asked: ['start'],
  by: ['root'],
  bootId: 'b',
  startedAt: 's',
  startedMs: 0,
  tookMs: 1.5,
  board: { name: 'n', hash: 'h' },
  ended: 'pgood',
  failure: { code: 'c', message: 'm', powerStillApplied: null },
  fault: { kind: 'k', rail: null, state: 'failed', reason: 'r', errorCode: 'e' },
  rails: [{ name: 'A', observable: true, watched: 'follower' }],
  resets: [{ name: 'host' }],
  times: { A: { enabledMs: 0, goodMs: null, disabledMs: null, goneMs: null } },
  trace: [{ type: 't', atMs: 0, rail: 'A', others: { deep: [1] } }],
  left: 0,
};

/** The value with each of its parts replaced in turn, left out, or given a key that nobody knows. */
function changedOf(value: unknown): unknown[] {
  if (typeof value !== 'object' || value === null) return [...ODD];
  const among = Object.entries(value).flatMap(([key, part]) =>
    changedOf(part).map((other) =>
      Array.isArray(value) ? value.with(Number(key), other) : { ...value, [key]: other },
    ),
  );
  const without = Object.keys(value).map((key) =>
    Object.fromEntries(Object.entries(value).filter(([other]) => other !== key)),
  );
  return [...ODD, ...among, ...(Array.isArray(value) ? [] : [...without, { ...value, unknown: 1 }])];
}

describe('the tables of files that are kept', () => {
  /** Where valibot sees no list, or takes no notice of a name. */
  const isStrange = (input: unknown, output: unknown): boolean => {
    if (typeof input !== 'object' || input === null) return false;
    if (Array.isArray(input) !== Array.isArray(output)) return true;
    if (Object.keys(input).some((key) => ['__proto__', 'constructor', 'prototype'].includes(key)))
      return true;
    return Object.entries(output as object).some(([key, each]) =>
      isStrange((input as Record<string, unknown>)[key], each),
    );
  };

  it.each([
    ['a snapshot', snapshotSchema, SNAPSHOT_SHAPE, SNAPSHOT],
    ['a run', runSchema, RUN_SHAPE, RUN],
  ] as const)('%s: each takes what its schema takes, and keeps as much of it', (_, schema, shape, whole) => {
    const read = JSON.parse(JSON.stringify(shape));
    expect(read).toEqual(shape);
    expect(fitted(read, {}, whole)).toEqual(whole);
    const counts = { taken: 0, refused: 0 };
    for (const value of changedOf(whole)) {
      const { success, output } = v.safeParse(schema, value);
      if (success && isStrange(value, output)) continue;
      const found = fitted(read, {}, value);
      counts[success ? 'taken' : 'refused'] += 1;
      if (success) expect(found).toEqual(output);
      else expect({ value, found }).toEqual({ value, found: undefined });
    }
    expect(counts.taken).toBeGreaterThan(100);
    expect(counts.refused).toBeGreaterThan(1_000);
  });

  it('keep no prototype that a file names', () => {
    const run = { ...RUN, trace: [JSON.parse('{"type": "t", "atMs": 0, "__proto__": {"left": 1}}')] };
    const found = fitted(RUN_SHAPE, {}, run) as { readonly trace: readonly object[] };
    expect(Object.getPrototypeOf(found.trace[0])).toBe(Object.prototype);
  });
});

describe('what a table cannot say is no table', () => {
  it.each<readonly [string, v.GenericSchema]>([
    [
      'a check that is no rule',
      v.pipe(
        v.string(),
        v.check((text) => text !== 'x'),
      ),
    ],
    ['a change of the value', v.pipe(v.string(), v.trim())],
    ['a limit of another kind', v.pipe(v.array(v.string()), v.maxLength(2))],
    ['a pattern with a memory', v.pipe(v.string(), v.regex(/x/g))],
    ['a type that it does not know', v.object({ a: v.date() })],
    ['a default that is made', v.optional(v.string(), () => 'x')],
    ['a second schema in a pipe', v.pipe(v.string(), v.picklist(['x']))],
  ])('%s', (_, schema) => {
    expect(() => shapeOf(schema, BOARD_RULES, alternativesOf)).toThrow('a table of a schema has no');
  });
});
