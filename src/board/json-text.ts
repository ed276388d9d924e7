/**
 * A reader of hand-written JSON that goes on after a mistake. It gives every value with its place, and every mistake of
 * the syntax with what to write instead. `JSON.parse` stops at the first mistake, and keeps the last of two equal keys.
 */

/** A stretch of the text, in UTF-16 units. */
export interface Span {
  readonly start: number;
  readonly end: number;
}

export interface Member {
  readonly key: string;
  readonly keySpan: Span;
  readonly value: Node;
}

export type Node = Span &
  (
    | { readonly kind: 'object'; readonly members: readonly Member[] }
    | { readonly kind: 'list'; readonly items: readonly Node[] }
    | { readonly kind: 'text'; readonly value: string }
    | { readonly kind: 'number'; readonly value: number }
    | { readonly kind: 'boolean'; readonly value: boolean }
    | { readonly kind: 'null' }
    /** A mistake was reported here already; no check may report another one. */
    | { readonly kind: 'broken' }
  );

export interface SyntaxProblem extends Span {
  readonly message: string;
  readonly suggestion: string;
}

export interface JsonText {
  /** Null where the file has no value. */
  readonly root: Node | null;
  readonly problems: readonly SyntaxProblem[];
  /** Brackets do not match or the text ends early, so a key that seems to be missing may only be somewhere else. */
  readonly incomplete: boolean;
}

/** A file with more mistakes is not a board file. */
const MAX_PROBLEMS = 100;
/** Boards nest at most 8 deep. The stack takes far more than this. */
const MAX_DEPTH = 100;

const NUMBER = /^-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?$/;
/** Opening quotes that JSON does not have, each with its closing quote. */
const OTHER_QUOTES: Readonly<Record<string, string>> = {
  "'": "'",
  '`': '`',
  '“': '”',
  '”': '”',
  '„': '“',
  '‘': '’',
  '’': '’',
};
const ESCAPES: Readonly<Record<string, string>> = {
  '"': '"',
  '\\': '\\',
  '/': '/',
  b: '\b',
  f: '\f',
  n: '\n',
  r: '\r',
  t: '\t',
};
/** Words of other languages, each with the word of JSON. */
const WORDS: Readonly<Record<string, string>> = {
  True: 'true',
  TRUE: 'true',
  False: 'false',
  FALSE: 'false',
  NULL: 'null',
  Null: 'null',
};
const NO_VALUES = ['None', 'nil', 'undefined'];
const NO_NUMBERS = ['NaN', 'Infinity', 'inf', 'nan'];

/** Thrown where reading on would find nothing useful. */
class GivenUp {}

/** Reads `text`. Never throws. */
export function readJson(text: string): JsonText {
  const reader = new Reader(text);
  let root: Node | null = null;
  try {
    root = reader.file();
  } catch (error) {
    if (!(error instanceof GivenUp)) throw error;
    reader.incomplete = true;
  }
  return { root, problems: reader.problems, incomplete: reader.incomplete };
}

class Reader {
  readonly problems: SyntaxProblem[] = [];
  incomplete = false;
  readonly #text: string;
  #at = 0;
  /** Offsets of the brackets that are open, the innermost last. */
  readonly #open: number[] = [];
  #endReported = false;

  constructor(text: string) {
    this.#text = text;
  }

  file(): Node | null {
    this.#blank();
    if (this.#ended()) {
      this.#report(0, 0, 'the file is empty', 'start from a board in hw/boards');
      return null;
    }
    const root = this.#value();
    this.#blank();
    if (!this.#ended()) {
      const found = this.#text[this.#at] ?? '';
      this.incomplete = true;
      if ('}]'.includes(found)) {
        this.#report(
          this.#at,
          this.#at + 1,
          `"${found}" closes nothing`,
          'remove it, or an earlier one: the board ended before it',
        );
      } else {
        this.#report(
          this.#at,
          this.#endOfRun(),
          'there is more after the end of the board',
          'remove it, or a bracket that closes the board too early',
        );
      }
    }
    return root;
  }

  #report(start: number, end: number, message: string, suggestion: string): void {
    this.problems.push({ start, end, message, suggestion });
    if (this.problems.length < MAX_PROBLEMS) return;
    this.problems.push({
      start: end,
      end,
      message: `${MAX_PROBLEMS} mistakes of the syntax up to here: the rest was not read`,
      suggestion: 'check that this is a JSON file',
    });
    throw new GivenUp();
  }

  #ended(): boolean {
    return this.#at >= this.#text.length;
  }

  /** Reports that the text ends too early: once, whatever else is missing. */
  #reportEnd(missing: string): void {
    this.incomplete = true;
    if (this.#endReported) return;
    this.#endReported = true;
    const end = this.#text.length;
    const closers = this.#open.map((start) => (this.#text[start] === '{' ? '}' : ']')).reverse();
    const close = closers.length === 0 ? '' : `, and close with ${closers.join(' ')}`;
    this.#report(end, end, `the file ends, and ${missing} is missing`, `write the rest${close}`);
  }

  /** Skips what stands between two tokens, and reports what JSON does not allow there. */
  #blank(): void {
    for (;;) {
      const rest = /[ \t\r\n]*/y;
      rest.lastIndex = this.#at;
      rest.exec(this.#text);
      this.#at = rest.lastIndex;
      const start = this.#at;
      const char = this.#text[start] ?? '';
      if (char === '#' || this.#text.startsWith('//', start)) {
        this.#at = this.#endOfLine(start);
        this.#report(start, this.#at, 'a comment', 'remove it: JSON has none; "description" takes a text');
      } else if (this.#text.startsWith('/*', start)) {
        const close = this.#text.indexOf('*/', start + 2);
        this.#at = close < 0 ? this.#text.length : close + 2;
        this.#report(start, this.#at, 'a comment', 'remove it: JSON has none; "description" takes a text');
      } else if (char !== '' && /[\s\u200b-\u200d\u2060\ufeff]/.test(char)) {
        this.#at += 1;
        const code = char.charCodeAt(0).toString(16).toUpperCase().padStart(4, '0');
        this.#report(
          start,
          start + 1,
          `the character U+${code}, which looks like a space or like nothing`,
          'remove it, or write a plain space',
        );
      } else return;
    }
  }

  #endOfLine(from: number): number {
    const end = /[\r\n]/g;
    end.lastIndex = from;
    return end.exec(this.#text)?.index ?? this.#text.length;
  }

  /** The end of a run of characters that no token begins with. */
  #endOfRun(): number {
    const run = /[^\s,:{}[\]"]+|[\s\S]/y;
    run.lastIndex = this.#at;
    run.exec(this.#text);
    return Math.max(run.lastIndex, this.#at + 1);
  }

  #value(): Node {
    this.#blank();
    const start = this.#at;
    const char = this.#text[start];
    if (char === undefined) {
      this.#reportEnd('a value');
      return { kind: 'broken', start, end: start };
    }
    if (char === '{') return this.#object();
    if (char === '[') return this.#list();
    if (char === '"' || Object.hasOwn(OTHER_QUOTES, char)) {
      const value = this.#quoted();
      return { kind: 'text', value, start, end: this.#at };
    }
    if (/[-+.\d]/.test(char)) return this.#number();
    if (/[A-Za-z_$]/.test(char)) return this.#word();
    if (',:}]'.includes(char)) {
      this.#report(
        start,
        start + 1,
        `a value is missing before "${char}"`,
        'write the value, or remove its key',
      );
      return { kind: 'broken', start, end: start };
    }
    this.#at = this.#endOfRun();
    const found = shorten(this.#text.slice(start, this.#at));
    this.#report(start, this.#at, `${found} is no value`, 'write a text in double quotes, or a number');
    return { kind: 'broken', start, end: this.#at };
  }

  #number(): Node {
    const start = this.#at;
    const token = /[^\s,:{}[\]"]+/y;
    token.lastIndex = start;
    const found = token.exec(this.#text)?.[0] ?? '';
    this.#at = start + found.length;
    const value = Number(found);
    if (NUMBER.test(found) && Number.isFinite(value)) return { kind: 'number', value, start, end: this.#at };
    const meant = meantNumber(found);
    const hexadecimal = /^0[xX][0-9a-fA-F]+$/.test(found);
    let suggestion = 'write a number, or a text in double quotes';
    if (hexadecimal) suggestion = `write ${meant}, or "${found}" in quotes where an address belongs`;
    else if (meant !== null) suggestion = `write ${meant}`;
    this.#report(start, this.#at, `${shorten(found)} is no JSON number`, suggestion);
    if (meant === null || hexadecimal) return { kind: 'broken', start, end: this.#at };
    return { kind: 'number', value: meant, start, end: this.#at };
  }

  #word(): Node {
    const start = this.#at;
    const token = /[\w$.+-]+/y;
    token.lastIndex = start;
    const found = token.exec(this.#text)?.[0] ?? '';
    this.#at = start + found.length;
    const span = { start, end: this.#at };
    const word = Object.hasOwn(WORDS, found) ? WORDS[found] : found;
    if (word !== found) this.#report(start, this.#at, `${found} is no JSON`, `write ${word}`);
    if (word === 'true' || word === 'false') return { kind: 'boolean', value: word === 'true', ...span };
    if (word === 'null') return { kind: 'null', ...span };
    if (NO_VALUES.includes(found) || NO_NUMBERS.includes(found)) {
      const instead = NO_NUMBERS.includes(found) ? 'write a number' : 'leave the key out';
      this.#report(start, this.#at, `${found} is no JSON`, instead);
      return { kind: 'broken', ...span };
    }
    this.#report(start, this.#at, `${shorten(found)} stands without quotes`, `write "${found}"`);
    return { kind: 'text', value: found, ...span };
  }

  /** A text in quotes of any kind. */
  #quoted(): string {
    const start = this.#at;
    const opening = this.#text[start] ?? '"';
    const closing = opening === '"' ? '"' : (OTHER_QUOTES[opening] ?? opening);
    let value = '';
    this.#at += 1;
    for (;;) {
      const char = this.#text[this.#at];
      if (char === undefined || char === '\n' || char === '\r') return this.#unclosed(start, closing);
      if (char === closing || (opening !== '"' && char === opening)) break;
      if (char === '\\') {
        value += this.#escape(opening);
        continue;
      }
      if (char < ' ') {
        const code = char.charCodeAt(0).toString(16).padStart(4, '0');
        const name = char === '\t' ? 'a tab' : `the control character U+${code}`;
        const instead = char === '\t' ? '\\t' : `\\u${code}`;
        this.#report(this.#at, this.#at + 1, `${name} inside a text`, `write ${instead}, or remove it`);
      }
      value += char;
      this.#at += 1;
    }
    this.#at += 1;
    if (opening !== '"') {
      this.#report(
        start,
        this.#at,
        `${shorten(this.#text.slice(start, this.#at))} stands in quotes that are not JSON's`,
        `write ${JSON.stringify(value)}`,
      );
    }
    return value;
  }

  /** Reads a text that is not closed in its line. It ends with the line, before a comma or bracket at the line's end. */
  #unclosed(start: number, closing: string): string {
    const line = this.#text.slice(start + 1, this.#at);
    const value = line.replace(/[\s,}\]]*$/, '');
    this.#at = start + 1 + value.length;
    this.#report(
      start,
      this.#at,
      `the text ${shorten(`${this.#text[start]}${value}`)} is not closed in its line`,
      `write the closing ${closing === '"' ? 'double quote' : 'quote, and double quotes on both sides'}`,
    );
    return value;
  }

  #escape(opening: string): string {
    const start = this.#at;
    const char = this.#text[start + 1] ?? '';
    if (char === 'u') {
      const digits = /^[0-9a-fA-F]{4}/.exec(this.#text.slice(start + 2, start + 6))?.[0];
      if (digits !== undefined) {
        this.#at = start + 6;
        return String.fromCharCode(Number.parseInt(digits, 16));
      }
    } else if (Object.hasOwn(ESCAPES, char)) {
      this.#at = start + 2;
      return ESCAPES[char] ?? '';
    } else if (char === opening) {
      this.#at = start + 2;
      return char;
    }
    this.#at = start + 1;
    this.#report(start, start + 2, `\\${char} means nothing in JSON`, 'write \\\\ for a backslash');
    return '\\';
  }

  #enter(): void {
    this.#open.push(this.#at);
    if (this.#open.length > MAX_DEPTH) {
      const suggestion = 'check that this is a board file';
      this.#report(this.#at, this.#at + 1, `more than ${MAX_DEPTH} brackets in each other`, suggestion);
      throw new GivenUp();
    }
    this.#at += 1;
  }

  /** A bracket of the wrong kind ends the innermost object or list. It is not consumed where it closes an outer one. */
  #wrongCloser(closer: string): void {
    const found = this.#text[this.#at] ?? '';
    this.incomplete = true;
    const begin = this.#open.at(-1) ?? 0;
    const [line, column] = placeIn(this.#text, begin);
    const outer = this.#open.slice(0, -1).some((start) => this.#text[start] === (found === '}' ? '{' : '['));
    this.#report(
      this.#at,
      this.#at + 1,
      `"${found}" where "${closer}" has to close the "${this.#text[begin]}" of line ${line}, column ${column}`,
      outer ? `write "${closer}" before it` : `write "${closer}" instead`,
    );
    if (!outer) this.#at += 1;
  }

  /** Reads what follows a member or an item. False at the end of the text; else the caller looks for the closing bracket. */
  #separated(closer: string, lastEnd: number): boolean {
    this.#blank();
    const char = this.#text[this.#at];
    if (char === undefined) {
      this.#reportEnd(`"${closer}"`);
      return false;
    }
    if (char === closer) return true;
    if (char === ',') {
      const comma = this.#at;
      this.#at += 1;
      this.#blank();
      if (this.#text[this.#at] === closer) {
        this.#report(
          comma,
          comma + 1,
          `a comma before "${closer}", with nothing after it`,
          'remove the comma',
        );
      }
      return true;
    }
    if (char === ';') {
      this.#report(this.#at, this.#at + 1, 'a semicolon between two entries', 'write a comma');
      this.#at += 1;
      return true;
    }
    if ('}]'.includes(char)) return true;
    this.#report(lastEnd, lastEnd, 'a comma is missing after this', 'write a comma');
    return true;
  }

  #object(): Node {
    const start = this.#at;
    const members: Member[] = [];
    this.#enter();
    for (let more = true; more; ) {
      this.#blank();
      const char = this.#text[this.#at];
      if (char === undefined) {
        this.#reportEnd('"}"');
        break;
      }
      if (char === '}') {
        this.#at += 1;
        break;
      }
      if (char === ']') {
        this.#wrongCloser('}');
        break;
      }
      if (char === ',') {
        this.#report(this.#at, this.#at + 1, 'a comma with nothing before it', 'remove the comma');
        this.#at += 1;
      } else {
        const member = this.#member();
        if (member !== null) members.push(member);
        more = this.#separated('}', member?.value.end ?? this.#at);
      }
    }
    this.#open.pop();
    return { kind: 'object', members, start, end: this.#at };
  }

  #member(): Member | null {
    const key = this.#key();
    if (key === null) return null;
    const keySpan = { start: key.start, end: this.#at };
    this.#blank();
    const char = this.#text[this.#at];
    const missing = { kind: 'broken', start: keySpan.end, end: keySpan.end } as const;
    if (char === ':') this.#at += 1;
    else if (char === '=') {
      const sign = /=>?/y;
      sign.lastIndex = this.#at;
      sign.exec(this.#text);
      this.#report(this.#at, sign.lastIndex, 'an equals sign after a key', 'write a colon');
      this.#at = sign.lastIndex;
    } else if (char === undefined) {
      this.#reportEnd('a value');
      return { key: key.value, keySpan, value: missing };
    } else if (',}]'.includes(char)) {
      const text = `the key ${shorten(JSON.stringify(key.value))} has no value`;
      this.#report(keySpan.start, keySpan.end, text, 'write a colon and the value after it');
      return { key: key.value, keySpan, value: missing };
    } else this.#report(keySpan.end, keySpan.end, 'a colon is missing after this key', 'write a colon');
    return { key: key.value, keySpan, value: this.#value() };
  }

  /** Null where there is no key; what stands there is skipped then. */
  #key(): { start: number; value: string } | null {
    const start = this.#at;
    const char = this.#text[start] ?? '';
    if (char === '"' || Object.hasOwn(OTHER_QUOTES, char)) return { start, value: this.#quoted() };
    const bare = /[\w$.+-]+/y;
    bare.lastIndex = start;
    const word = bare.exec(this.#text)?.[0];
    if (word !== undefined) {
      this.#at = start + word.length;
      this.#report(start, this.#at, `the key ${shorten(word)} stands without quotes`, `write "${word}"`);
      return { start, value: word };
    }
    if (char === '{' || char === '[') {
      const { end } = this.#value();
      this.#report(start, end, 'a value without a key', 'write a key in double quotes and a colon before it');
      return null;
    }
    this.#at = this.#endOfRun();
    const found = shorten(this.#text.slice(start, this.#at));
    this.#report(start, this.#at, `${found} where a key belongs`, 'write a key in double quotes');
    return null;
  }

  #list(): Node {
    const start = this.#at;
    const items: Node[] = [];
    this.#enter();
    for (let more = true; more; ) {
      this.#blank();
      const char = this.#text[this.#at];
      if (char === undefined) {
        this.#reportEnd('"]"');
        break;
      }
      if (char === ']') {
        this.#at += 1;
        break;
      }
      if (char === '}') {
        this.#wrongCloser(']');
        break;
      }
      if (char === ',') {
        this.#report(this.#at, this.#at + 1, 'a comma with nothing before it', 'remove the comma');
        this.#at += 1;
      } else if (char === ':') {
        this.#report(this.#at, this.#at + 1, 'a colon in a list', 'write a comma, or { } around keys');
        this.#at += 1;
      } else {
        const item = this.#value();
        items.push(item);
        more = this.#separated(']', item.end);
      }
    }
    this.#open.pop();
    return { kind: 'list', items, start, end: this.#at };
  }
}

/** The number that was probably meant by a token that is no JSON number; null where there is none. */
function meantNumber(found: string): number | null {
  const plain = found.replaceAll('_', '').replace(/^\+/, '');
  if (/^0[xX][0-9a-fA-F]+$/.test(plain)) return Number(plain);
  if (!/^-?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$/.test(plain)) return null;
  const value = Number(plain);
  return Number.isFinite(value) ? value : null;
}

/** Shortens `text` to one line for a message. */
export function shorten(text: string): string {
  const line = text.replaceAll(/\s+/g, ' ');
  return line.length > 40 ? `${line.slice(0, 37)}...` : line;
}

/** Line and column of an offset, both from 1; a column is a character. */
export function placeIn(text: string, offset: number): [line: number, column: number] {
  const before = text.slice(0, offset).split(/\r\n|\n|\r/);
  return [before.length, [...(before.at(-1) ?? '')].length + 1];
}
