import { isUtf8 } from 'node:buffer';
import * as v from 'valibot';
import { didYouMean, nearest, suggestName } from '../near.ts';
import { unprintableIn, withoutUnprintable } from '../printable.ts';
import { crossCheck } from './checks.ts';
import type { BoardPart, Finding } from './findings.ts';
import { type Node, placeIn, readJson, type Span, shorten } from './json-text.ts';
import type { Found, Place, Problem } from './problem.ts';
import { sentenceOf } from './reference.ts';
import { boardSchema } from './schema.ts';
import { type Expansion, expandTemplates } from './templates.ts';
import { alternativesOf, type Expectation, expectationOf } from './values.ts';

/** Longest part of a line that a problem shows. */
const EXCERPT_LENGTH = 100;

/** A problem of a board file that was found on the machine and not in the file. */
export interface OutsideFinding extends Finding {
  readonly kind: Problem['kind'];
}

/**
 * Finds every problem of a board file, and gives them with those found `outside` in the order of their places. No kind of
 * mistake hides another kind: mistakes of the syntax are skipped, and the cross checks see all parts that fit the schema.
 */
export function diagnose(bytes: Uint8Array, outside: readonly OutsideFinding[] = []): Problem[] {
  const whole = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('utf8');
  const isUtf16 = (bytes[0] === 0xff && bytes[1] === 0xfe) || (bytes[0] === 0xfe && bytes[1] === 0xff);
  if (isUtf16) return [problemOf({ ...UTF16, kind: 'syntax', keys: [], start: 0, end: 0 }, '')];
  const hasMark = whole.startsWith('\ufeff');
  // Editors do not count the mark as a column.
  const text = hasMark ? whole.slice(1) : whole;
  const { root, problems: mistakes, incomplete } = readJson(text);
  const found: Found[] = mistakes.map((mistake) => ({ kind: 'syntax', keys: [], ...mistake }));
  if (hasMark) found.push({ ...BYTE_ORDER_MARK, kind: 'syntax', keys: [], start: 0, end: 0 });
  const notUtf8 = firstNotUtf8(bytes, whole);
  if (notUtf8 !== null) {
    const start = notUtf8 - (hasMark ? 1 : 0);
    found.push({ ...NOT_UTF8, kind: 'syntax', keys: [], start, end: start + 1 });
  }
  if (root !== null) found.push(...problemsIn(root, text, incomplete, outside));
  found.sort((one, two) => one.start - two.start);
  return found.map((each) => problemOf(each, text));
}

/** The problems of a board that could be read, at the places of the file. */
function problemsIn(
  root: Node,
  text: string,
  incomplete: boolean,
  outside: readonly OutsideFinding[],
): Found[] {
  const inFile = new Walk(text, incomplete, 'first');
  inFile.duplicates(root, []);
  const expansion = expandTemplates(root, incomplete);
  const walk = new Walk(text, incomplete, 'first');
  const conflicts = conflictsIn(walk, expansion, incomplete, outside);
  // Either of two equal keys may be the one that the author keeps.
  if (inFile.found.length > 0) {
    const known = new Set(conflicts.map(({ message }) => message));
    const others = conflictsIn(new Walk(text, incomplete, 'last'), expansion, incomplete);
    conflicts.push(...others.filter(({ message }) => !known.has(message)));
  }
  const inTemplates = new Set<string>();
  const onceEach = expansion.findings.filter(({ keys, message }) => isFirst(inTemplates, [keys, message]));
  return [...inFile.found, ...onceEach, ...inSource([...walk.found, ...conflicts], expansion)];
}

/**
 * Problems of the board at the keys of the file. What is wrong in a template is found in each chassis that is made of it,
 * and said of the first; but a line or bus that is not there is of one chassis alone.
 */
function inSource(found: readonly Found[], { sourceOf }: Expansion): Found[] {
  const firstOf = new Map<string, string>();
  return found.flatMap((each): Found[] => {
    const keys = sourceOf(each.keys);
    if (keys === each.keys) return [each];
    const isOfOne = each.kind === 'line' || each.kind === 'bus' || each.kind === 'sensor';
    const place = JSON.stringify([each.kind, keys, isOfOne ? each.message : null]);
    const owner = each.keys.slice(0, 2).join('.');
    const first = firstOf.get(place) ?? owner;
    firstOf.set(place, first);
    return first === owner ? [{ ...each, keys }] : [];
  });
}

function isFirst(seen: Set<string>, what: unknown): boolean {
  const key = JSON.stringify(what);
  const isNew = !seen.has(key);
  seen.add(key);
  return isNew;
}

/** The findings of the cross checks, about the parts that `walk` could read. */
function conflictsIn(
  walk: Walk,
  { root, sourceOf }: Expansion,
  incomplete: boolean,
  outside: readonly OutsideFinding[] = [],
): Found[] {
  const board = walk.value(boardSchema, root, []);
  if (board === undefined) return [];
  return [...crossCheck(board as BoardPart), ...outside].flatMap(({ at, other, absent, ...said }) => {
    // A part of the file that is unread may have what seems to be missing.
    if (incomplete && absent) return [];
    const where = other ? { other: walk.spanOf(other) } : {};
    const explanation = walk.explanationOf(at);
    // Two chassis of a template have the same here.
    const isSame = other !== undefined && sourceOf(at).join('.') === sourceOf(other).join('.');
    const suggestion = isSame
      ? `put {n} into it: the template gives each chassis the same (here ${other[1]} and ${at[1]})`
      : said.suggestion;
    return [{ kind: 'conflict', keys: at, ...walk.spanOf(at), explanation, ...said, suggestion, ...where }];
  });
}

const BYTE_ORDER_MARK = {
  message: 'a byte order mark (U+FEFF) before the board',
  suggestion: 'save the file as UTF-8 without BOM',
};
const UTF16 = { message: 'the file is UTF-16', suggestion: 'save it as UTF-8 without BOM' };
const NOT_UTF8 = { message: 'bytes that are not UTF-8', suggestion: 'save the file as UTF-8' };

/** Offset in the decoded text of the first byte that is not UTF-8; null where all bytes are. */
function firstNotUtf8(bytes: Uint8Array, text: string): number | null {
  if (isUtf8(bytes)) return null;
  const again = Buffer.from(text);
  const index = bytes.findIndex((byte, at) => byte !== again[at]);
  return Buffer.from(bytes.subarray(0, index)).toString('utf8').length;
}

function problemOf(found: Found, text: string): Problem {
  const { kind, keys, start, end, message, suggestion, example = null, explanation = null, other } = found;
  const place = placeOf(text, start);
  const lineStart = start - lengthOfColumns(text, start);
  const lineEnd = /[\r\n]|$/g;
  lineEnd.lastIndex = start;
  const line = text.slice(lineStart, lineEnd.exec(text)?.index ?? text.length);
  const from = line.length > EXCERPT_LENGTH ? Math.max(0, start - lineStart - EXCERPT_LENGTH / 2) : 0;
  return {
    kind,
    path: keys.join('.'),
    ...place,
    length: [...(text.slice(start, end).split(/[\r\n]/)[0] ?? '')].length,
    message,
    suggestion,
    example,
    explanation,
    other: other ? placeOf(text, other.start) : null,
    excerpt: {
      text: line.slice(from, from + EXCERPT_LENGTH),
      from: [...line.slice(0, from)].length + 1,
    },
  };
}

function placeOf(text: string, offset: number): Place {
  const [line, column] = placeIn(text, offset);
  return { line, column };
}

/** Distance of an offset from the begin of its line, in UTF-16 units. */
function lengthOfColumns(text: string, offset: number): number {
  return (
    text
      .slice(0, offset)
      .split(/[\r\n]/)
      .at(-1)?.length ?? 0
  );
}

type Schema = v.GenericSchema;
type Part = Record<string, unknown>;

/** The schema of a value that may be left out. */
function withoutOptional(schema: unknown): Record<string, unknown> & Schema {
  let node = schema as Record<string, unknown> & Schema;
  while (node.type === 'optional') node = node.wrapped as Record<string, unknown> & Schema;
  return node;
}

/** Compares the tree of a file with the schema. It reports what does not fit, and keeps what does. */
class Walk {
  readonly found: Found[] = [];
  readonly #text: string;
  readonly #incomplete: boolean;
  readonly #keepsLast: boolean;
  readonly #spans = new Map<string, Span>();
  /** The words of the schema by their places in the file, where they may be misspelt. */
  readonly #words = new Map<string, { readonly word: string; readonly sentence: string | null }>();

  /** @param keeps the value of which of two equal keys is kept */
  constructor(text: string, incomplete: boolean, keeps: 'first' | 'last') {
    this.#text = text;
    this.#incomplete = incomplete;
    this.#keepsLast = keeps === 'last';
  }

  /** The place of the value at `keys`, or of the nearest part around it. */
  spanOf(keys: readonly string[]): Span {
    for (let length = keys.length; length >= 0; length -= 1) {
      const span = this.#spans.get(JSON.stringify(keys.slice(0, length)));
      if (span !== undefined) return span;
    }
    return { start: 0, end: 0 };
  }

  /** The word around or at `keys` with what it means; null where there is none. */
  explanationOf(keys: readonly string[]): string | null {
    for (let length = keys.length; length > 0; length -= 1) {
      const found = this.#words.get(JSON.stringify(keys.slice(0, length)));
      if (found !== undefined) return found.sentence === null ? null : `${found.word}: ${found.sentence}`;
    }
    return null;
  }

  #learn(at: readonly string[], word: string, schema: unknown): void {
    this.#words.set(JSON.stringify(at), { word, sentence: sentenceOf(schema) });
  }

  /** An example with its key, spelt as it should be. */
  #exampleAt(keys: readonly string[], example: string | null): string | null {
    return exampleOf(this.#words.get(JSON.stringify(keys))?.word ?? keys.at(-1), example);
  }

  /** Reports every duplicate key of the tree. */
  duplicates(node: Node, keys: readonly string[]): void {
    if (node.kind === 'list') {
      for (const [index, item] of node.items.entries()) this.duplicates(item, [...keys, String(index)]);
    }
    if (node.kind !== 'object') return;
    const first = new Map<string, Span>();
    for (const { key, keySpan, value } of node.members) {
      const at = [...keys, key];
      const before = first.get(key);
      if (before === undefined) first.set(key, keySpan);
      else {
        const [line, column] = placeIn(this.#text, before.start);
        this.#report({
          kind: 'duplicateKey',
          keys: at,
          ...keySpan,
          message: `the key ${shorten(JSON.stringify(key))} is there twice, first in line ${line}, column ${column}`,
          suggestion: 'remove one of the two, or give one another name',
          other: before,
        });
      }
      this.duplicates(value, at);
    }
  }

  /** The parts of a value that fit the schema, with defaults; undefined where none does. */
  value(schema: unknown, node: Node, keys: readonly string[]): unknown {
    if (this.#keepsLast || !this.#spans.has(JSON.stringify(keys))) {
      this.#spans.set(JSON.stringify(keys), { start: node.start, end: node.end });
    }
    if (node.kind === 'broken') return undefined;
    const plain = withoutOptional(schema);
    const alternatives = alternativesOf(plain);
    if (alternatives !== undefined) return this.#alternative(plain, alternatives, node, keys);
    if (plain.type === 'strict_object') return this.#object(plain, plain.entries as Part, node, keys);
    if (plain.type === 'record') return this.#record(plain, node, keys);
    if (plain.type === 'array') return this.#list(plain, node, keys);
    return this.#leaf(plain, node, keys);
  }

  #report(found: Found): void {
    this.found.push(found);
  }

  /** Reports what does not fit a word, with what the word means. */
  #reportMisfit(found: Found): void {
    this.#report({ explanation: this.explanationOf(found.keys), ...found });
  }

  #reportWrongKind(schema: Schema, node: Node, keys: readonly string[]): undefined {
    const expected = expectationOf(schema);
    const { wanted = 'another value', example = null, kind } = expected ?? {};
    const belongs = kind === 'object' ? 'an object' : kind === 'list' ? 'a list' : wanted;
    this.#reportMisfit({
      kind: 'value',
      keys,
      ...headOf(node),
      message: `${this.#show(node)} where ${belongs} belongs`,
      suggestion: node.kind === 'null' ? 'leave the key out, or write what belongs there' : `write ${wanted}`,
      example: this.#exampleAt(keys, example),
    });
    return undefined;
  }

  /** Reads one of several kinds of object. Each kind has a key that the others do not have. */
  #alternative(
    schema: Schema,
    alternatives: readonly (readonly [key: string, schema: unknown])[],
    node: Node,
    keys: readonly string[],
  ): unknown {
    if (node.kind !== 'object') return this.#reportWrongKind(schema, node, keys);
    const has = (key: string) => node.members.some((member) => member.key === key);
    const meant =
      alternatives.find(([key]) => has(key)) ??
      alternatives.find(([key]) => node.members.some((member) => nearest(member.key, [key]).length > 0));
    if (meant !== undefined) {
      const others = alternatives.map(([key]) => key).filter((key) => key !== meant[0]);
      return this.#object(schema, withoutOptional(meant[1]).entries as Part, node, keys, {
        by: meant[0],
        others,
      });
    }
    const { wanted = 'something', example = null } = expectationOf(schema) ?? {};
    const entries = Object.assign(
      Object.create(null) as Part,
      ...alternatives.map(([, each]) => withoutOptional(each).entries),
    ) as Part;
    const nouns = wanted.startsWith('an input')
      ? ['chip']
      : ['line', ...(wanted.includes('pmbus') ? ['PMBus page'] : [])];
    const strange = node.members
      .filter(({ key }) => !Object.hasOwn(entries, key))
      .map(({ key }) => `"${key}"`);
    this.#reportMisfit({
      kind: 'value',
      keys,
      ...headOf(node),
      message:
        strange.length === 0
          ? `names no ${nouns.join(' and no ')}`
          : `names no ${nouns[0]}: nothing is named by ${strange.join(', ')}`,
      suggestion: `name ${wanted}`,
      example: this.#exampleAt(keys, example),
    });
    for (const { key, keySpan, value } of node.members) {
      // A `line` without its `chip` names no line, but its value can be checked.
      if (Object.hasOwn(entries, key)) {
        this.#learn([...keys, key], key, entries[key]);
        this.value(entries[key], value, [...keys, key]);
      } else this.#spans.set(JSON.stringify([...keys, key]), keySpan);
    }
    return undefined;
  }

  #object(
    schema: Schema,
    entries: Part,
    node: Node,
    keys: readonly string[],
    chosen?: { readonly by: string; readonly others: readonly string[] },
  ): unknown {
    if (node.kind !== 'object') return this.#reportWrongKind(schema, node, keys);
    const part = Object.create(null) as Part;
    const given = new Set(node.members.map(({ key }) => key).filter((key) => Object.hasOwn(entries, key)));
    const absent = new Set(Object.keys(entries).filter((key) => !given.has(key)));
    for (const { key, keySpan, value } of node.members) {
      const at = [...keys, key];
      const isKnown = Object.hasOwn(entries, key);
      const meant = isKnown ? key : meantBy(key, absent);
      if (meant !== undefined) this.#learn(at, meant, entries[meant]);
      if (!isKnown) {
        const beside = chosen?.others.includes(key);
        this.#report({
          kind: 'unknownKey',
          keys: at,
          ...keySpan,
          message: beside ? `"${key}" beside "${chosen?.by}"` : `unknown key ${shorten(JSON.stringify(key))}`,
          suggestion: beside
            ? 'remove one of the two: one says it all'
            : this.#suggestionFor(key, meant, absent, given),
          ...(meant !== undefined && {
            example: exampleOf(meant, expectationOf(withoutOptional(entries[meant]))?.example ?? null),
            explanation: this.explanationOf(at),
          }),
        });
      }
      if (meant === undefined) continue;
      absent.delete(meant);
      const read = this.value(entries[meant], value, at);
      if (this.#keepsLast || !(meant in part)) part[meant] = read;
    }
    for (const key of absent) {
      const entry = entries[key] as Record<string, unknown>;
      if (entry.type === 'optional') {
        if (entry.default !== undefined) part[key] = v.getDefault(entry as never);
      } else if (!this.#incomplete) this.#reportMissing(key, entry, node, keys);
    }
    return part;
  }

  /** What to do about an unknown key. */
  #suggestionFor(
    key: string,
    meant: string | undefined,
    absent: ReadonlySet<string>,
    given: ReadonlySet<string>,
  ): string {
    if (meant !== undefined) return `did you mean "${meant}"?`;
    if (BIAS.includes(key)) return NO_BIAS;
    const [there] = nearest(key, [...given]);
    if (there !== undefined) return `remove it: "${there}" is there already`;
    if (absent.size === 0) return 'remove it: every key that belongs here is there';
    return suggestName(key, [...absent], 'keys here');
  }

  #reportMissing(key: string, schema: unknown, node: Node, keys: readonly string[]): void {
    const { wanted = 'it', example = null } = expectationOf(schema) ?? {};
    this.#learn([...keys, key], key, schema);
    this.#reportMisfit({
      kind: 'missingKey',
      keys: [...keys, key],
      start: node.start,
      end: node.start + 1,
      message: `"${key}" is missing`,
      suggestion: `add "${key}": ${wanted}`,
      example: exampleOf(key, example),
    });
  }

  #record(schema: Schema & Record<string, unknown>, node: Node, keys: readonly string[]): unknown {
    if (node.kind !== 'object') return this.#reportWrongKind(schema, node, keys);
    const part = Object.create(null) as Part;
    for (const { key, keySpan, value } of node.members) {
      const at = [...keys, key];
      const named = v.safeParse(schema.key as Schema, key);
      if (!named.success) {
        const { wanted = 'another name', example = null, kind = 'name' } = expectationOf(schema.key) ?? {};
        this.#reportMisfit({
          kind: 'value',
          keys: at,
          ...keySpan,
          message: `${shorten(JSON.stringify(key))} ${reasonOf(named.issues[0], MISMATCHES[kind])}`,
          suggestion: `write ${wanted}${example === null ? '' : `, such as ${example}`}`,
        });
      }
      const read = this.value(schema.value, value, at);
      if (this.#keepsLast || !(key in part)) part[key] = read;
    }
    this.#checkWhole(schema, part, node, keys);
    return part;
  }

  /** Checks what the schema asks of a record as a whole. */
  #checkWhole(
    schema: Schema & Record<string, unknown>,
    part: Part,
    node: Node,
    keys: readonly string[],
  ): void {
    if (this.#incomplete || Object.keys(part).length > 0) return;
    const issue = v.safeParse(schema, {}).issues?.[0];
    if (issue === undefined) return;
    const { wanted = 'an entry', example = null } = expectationOf(schema) ?? {};
    this.#reportMisfit({
      kind: 'value',
      keys,
      ...headOf(node),
      message: issue.message,
      suggestion: `write ${wanted}`,
      example: this.#exampleAt(keys, example),
    });
  }

  #list(schema: Schema & Record<string, unknown>, node: Node, keys: readonly string[]): unknown {
    if (node.kind !== 'list') return this.#reportWrongKind(schema, node, keys);
    return node.items.map((item, index) => this.value(schema.item, item, [...keys, String(index)]));
  }

  #leaf(schema: Schema, node: Node, keys: readonly string[]): unknown {
    const value = plainValue(node);
    const result = v.safeParse(schema, value);
    if (result.success && node.kind !== 'object' && node.kind !== 'list') return result.output;
    const expected = expectationOf(schema);
    if (node.kind === 'object' || node.kind === 'list' || node.kind === 'null' || expected === undefined) {
      return this.#reportWrongKind(schema, node, keys);
    }
    const issue = result.issues?.[0];
    const hint = hintFor(expected, value, (corrected) => v.safeParse(schema, corrected).success);
    this.#reportMisfit({
      kind: 'value',
      keys,
      start: node.start,
      end: node.end,
      message: `${this.#show(node)} ${reasonOf(issue, mismatchOf(expected, node))}`,
      suggestion: hint ?? `write ${expected.wanted}`,
      example: hint === undefined ? this.#exampleAt(keys, expected.example) : null,
    });
    return undefined;
  }

  #show(node: Node): string {
    if (node.kind === 'object') return 'an object';
    if (node.kind === 'list') return 'a list';
    return shorten(this.#text.slice(node.start, node.end));
  }
}

/** Words for what a line is pulled to while nobody drives it. */
const BIAS = ['pull', 'bias', 'pullUp', 'pullDown'];
const NO_BIAS =
  "remove it: the kernel's sysfs interface sets no bias; give the line one in the device tree, or a resistor on the board";

/** Names from elsewhere, each with the key of the board file. */
const OTHER_NAMES: Readonly<Record<string, string>> = {
  gpio: 'line',
  pin: 'line',
  offset: 'line',
  polarity: 'active',
  activeLow: 'active',
  addr: 'address',
  requires: 'needs',
  dependsOn: 'needs',
  delayMs: 'settleMs',
  timeoutMs: 'onTimeoutMs',
};

/** The key that is absent and was meant by an unknown one; undefined where none was, or either of two that are equally near. */
function meantBy(key: string, absent: ReadonlySet<string>): string | undefined {
  const alias = Object.hasOwn(OTHER_NAMES, key) ? OTHER_NAMES[key] : undefined;
  if (alias !== undefined && absent.has(alias)) return alias;
  const near = nearest(key, [...absent]);
  return near.length === 1 ? near[0] : undefined;
}

/** The place to show for a value: the first character of an object or a list. */
function headOf(node: Node): Span {
  const long = node.kind === 'object' || node.kind === 'list';
  return { start: node.start, end: long ? Math.min(node.start + 1, node.end) : node.end };
}

function plainValue(node: Node): unknown {
  if (node.kind === 'text' || node.kind === 'number' || node.kind === 'boolean') return node.value;
  return node.kind === 'null' ? null : undefined;
}

function exampleOf(key: string | undefined, example: string | null): string | null {
  if (example === null) return null;
  return key === undefined || /^\d+$/.test(key) ? example : `"${key}": ${example}`;
}

/** The end of a sentence that begins with the value: "is above 31". */
function reasonOf(issue: v.BaseIssue<unknown> | undefined, otherwise: string): string {
  const requirement = (issue as { requirement?: unknown } | undefined)?.requirement;
  switch (issue?.type) {
    case 'integer':
      return 'is not a whole number';
    case 'min_value':
      return `is below ${requirement}`;
    case 'max_value':
      return `is above ${requirement}`;
    case 'min_length':
      return 'is empty';
    case 'check':
      return issue.message;
    default:
      return `is ${otherwise}`;
  }
}

const MISMATCHES: Readonly<Record<Expectation['kind'], string>> = {
  name: 'not written as a name',
  chassis: 'no number of a chassis',
  text: 'no text',
  ms: 'no number',
  volts: 'no number',
  integer: 'no number',
  level: 'neither "high" nor "low"',
  choice: 'none of the words for it',
  truth: 'neither true nor false',
  line: 'no line of a chip',
  bus: 'no bus',
  address: 'no address',
  object: 'no object',
  list: 'no list',
};

function mismatchOf({ kind, wanted }: Expectation, node: Node): string {
  const character = node.kind === 'text' ? unprintableIn(node.value) : null;
  if (character !== null) return `a text with the character ${character}, which is not seen`;
  if (kind === 'truth' && wanted === 'true') return 'no value for it: only true is';
  const number = kind === 'ms' || kind === 'volts' || kind === 'integer';
  if (number && node.kind === 'text') return 'a text, not a number';
  if ((kind === 'name' || kind === 'text') && node.kind === 'number') return 'a number, not a text';
  return MISMATCHES[kind];
}

/** Factors from units that people write to the unit of the board file. */
const UNITS: Readonly<Record<string, Readonly<Record<string, number>>>> = {
  ms: { ms: 1, s: 1_000, sec: 1_000, us: 0.001 },
  volts: { v: 1, volt: 1, volts: 1, mv: 0.001 },
};

/** A suggestion with the value that was probably meant, where the schema takes that value. */
function hintFor(
  expected: Expectation,
  value: unknown,
  takes: (value: unknown) => boolean,
): string | undefined {
  const ifTaken = (corrected: unknown, hint: string) => (takes(corrected) ? hint : undefined);
  if (typeof value === 'string' && unprintableIn(value) !== null) {
    return ifTaken(withoutUnprintable(value), `write ${JSON.stringify(withoutUnprintable(value))}`);
  }
  if (expected.kind === 'level') return levelHint(value);
  if (expected.kind === 'address') return addressHint(value, takes);
  if (expected.kind === 'truth') return truthHint(value, takes);
  if (expected.kind === 'choice' && typeof value === 'string') {
    const word = value.toLowerCase().replace(/[^a-z0-9.]/g, '');
    return ifTaken(word, `write "${word}"`);
  }
  if (expected.kind === 'line' && typeof value === 'string') {
    const pin = value
      .trim()
      .toUpperCase()
      .replace(/^(GPIO|P(?=[A-Z]))[ _-]?/, '');
    if (/^\d+$/.test(pin)) return ifTaken(Number(pin), `write ${Number(pin)} without quotes`);
    return ifTaken(pin, `write "${pin}"`);
  }
  if (typeof value === 'string') {
    const match = /^\s*([-+]?\d+(?:\.\d+)?(?:[eE]\d+)?)\s*([a-zA-Z]*)\s*$/.exec(value);
    const unit = match?.[2] ?? '';
    const factor = unit === '' ? 1 : UNITS[expected.kind]?.[unit.toLowerCase()];
    if (!match || factor === undefined) return undefined;
    const corrected = Number((Number(match[1]) * factor).toPrecision(12));
    const note = unit === '' ? '' : `, in ${expected.kind === 'ms' ? 'milliseconds' : 'volts'}`;
    return ifTaken(corrected, `write ${corrected} without quotes${note}`);
  }
  if (typeof value === 'number' && (expected.kind === 'name' || expected.kind === 'text')) {
    return ifTaken(String(value), `write "${value}"`);
  }
  return undefined;
}

function truthHint(value: unknown, takes: (value: unknown) => boolean): string | undefined {
  const word = String(value).trim().toLowerCase();
  if (['true', 'yes', 'on', '1'].includes(word)) return 'write true without quotes';
  if (!['false', 'no', 'off', '0'].includes(word)) return undefined;
  return takes(false) ? 'write false without quotes' : 'leave the key out, or write true';
}

function levelHint(value: unknown): string | undefined {
  if (value === true || value === 1) return 'write "high"';
  if (value === false || value === 0) return 'write "low"';
  if (typeof value !== 'string') return undefined;
  if (/low/i.test(value)) return 'write "low"';
  if (/high/i.test(value)) return 'write "high"';
  return didYouMean(value, ['high', 'low']) ?? undefined;
}

function addressHint(value: unknown, takes: (value: unknown) => boolean): string | undefined {
  const hexadecimal = (number: number) => `0x${number.toString(16).padStart(2, '0')}`;
  const ifTaken = (text: string) => (takes(text) ? `write "${text}"` : undefined);
  if (typeof value === 'number' && Number.isInteger(value)) return ifTaken(hexadecimal(value));
  if (typeof value !== 'string') return undefined;
  const digits = /^\s*(?:0[xX])?([0-9a-fA-F]{1,2})[hH]?\s*$/.exec(value)?.[1];
  if (digits === undefined) return undefined;
  const asHexadecimal = `0x${digits.padStart(2, '0').toLowerCase()}`;
  const asDecimal = hexadecimal(Number(digits));
  if (/^\s*\d+\s*$/.test(value) && takes(asHexadecimal) && takes(asDecimal)) {
    return `write "${asHexadecimal}", or "${asDecimal}" where ${digits} is decimal`;
  }
  return ifTaken(asHexadecimal);
}
