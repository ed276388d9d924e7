import { PowerError } from '../errors.ts';
import { didYouMean } from '../near.ts';
import { COMMON, type Option, RAISING, VERBS } from './verbs.ts';

/** The request of a command line. */
export type Asked =
  /** Help: of one verb if it is named, else of the program. */
  | { readonly kind: 'help'; readonly verb: string | null }
  | { readonly kind: 'version' }
  /** An empty command line. */
  | { readonly kind: 'nothing' }
  | {
      readonly kind: 'verb';
      readonly verb: string;
      readonly operands: readonly string[];
      readonly values: ReadonlyMap<string, string>;
      readonly flags: ReadonlySet<string>;
    };

/** Options of all verbs by name, because an option may stand before its verb. */
const OPTIONS: Readonly<Record<string, Option>> = Object.assign(
  { help: { help: '' }, version: { help: '' } },
  COMMON,
  ...Object.values(VERBS).map(({ options }) => options),
);
const SHORT: Readonly<Record<string, string>> = { h: 'help', V: 'version' };

/** Index of the end of the options. */
function endOfOptions(args: readonly string[]): number {
  const end = args.indexOf('--');
  return end < 0 ? args.length : end;
}

/** Whether help is requested, anywhere before `--` and even in place of a value: such a command line never acts. */
export function asksForHelp(args: readonly string[]): boolean {
  return args.slice(0, endOfOptions(args)).some((arg) => arg === '-h' || arg === '--help');
}

/**
 * Reads a command line. An option that is unknown, lacks its value or stands twice is refused, because a guess could
 * switch the wrong chassis.
 * @throws PowerError USAGE
 */
export function readArguments(args: readonly string[], programName: string): Asked {
  const isHelp = asksForHelp(args);
  const { words, values, flags } = isHelp ? readLeniently(args) : readWords(args, programName);
  const [verb, ...operands] = words;
  if (isHelp || verb === 'help') {
    const of = verb === 'help' ? operands[0] : verb;
    if (isHelp) return { kind: 'help', verb: of !== undefined && isVerb(of) ? of : null };
    if (operands.length > 1) throw usageError(`help takes one verb, not "${operands.join(' ')}"`);
    if (of !== undefined && !isVerb(of)) throw unknownVerb(of, programName);
    return { kind: 'help', verb: of ?? null };
  }
  if (flags.has('version')) return { kind: 'version' };
  if (verb === undefined) {
    if (values.size + flags.size === 0) return { kind: 'nothing' };
    throw usageError(`no verb: see ${programName} --help`);
  }
  if (!isVerb(verb)) throw unknownVerb(verb, programName);
  expectOptionsOf(verb, [...values.keys(), ...flags], programName);
  expectOperandsOf(verb, operands, programName);
  return { kind: 'verb', verb, operands, values, flags };
}

/** The first word that is neither an option nor its value; undefined where there is none. Refuses nothing. */
export function firstWord(args: readonly string[]): string | undefined {
  const end = endOfOptions(args);
  for (let index = 0; index < end; index += 1) {
    const arg = args[index] ?? '';
    if (!arg.startsWith('-') || arg === '-') return arg;
    if (OPTIONS[arg.slice(2)]?.value !== undefined) index += 1;
  }
  return args[end + 1];
}

interface Words {
  readonly words: readonly string[];
  readonly values: ReadonlyMap<string, string>;
  readonly flags: ReadonlySet<string>;
}

/** Reads a command line that requests help. Only the verb counts, so nothing is refused. */
function readLeniently(args: readonly string[]): Words {
  const words = args.slice(0, endOfOptions(args)).filter((arg) => isVerb(arg) || arg === 'help');
  return { words, values: new Map(), flags: new Set() };
}

function readWords(args: readonly string[], programName: string): Words {
  const end = endOfOptions(args);
  const words: string[] = [];
  const values = new Map<string, string>();
  const flags = new Set<string>();
  for (let index = 0; index < end; index += 1) {
    const arg = args[index] ?? '';
    if (!arg.startsWith('-') || arg === '-') {
      words.push(arg);
      continue;
    }
    const { names, inline } = namesIn(arg, programName);
    for (const name of names) {
      if (OPTIONS[name]?.value === undefined) {
        if (inline !== undefined) throw usageError(`--${name} takes no value: leave out "=${inline}"`);
        flags.add(name);
        continue;
      }
      if (inline === undefined) index += 1;
      const value = inline ?? (index < end ? args[index] : undefined);
      if (values.has(name)) throw usageError(`--${name} is given twice: which one is meant?`);
      values.set(name, expectValue(name, value, inline !== undefined));
    }
  }
  return { words: [...words, ...args.slice(end + 1)], values, flags };
}

/** The options of one argument: several where short ones are joined. */
function namesIn(
  arg: string,
  programName: string,
): { readonly names: readonly string[]; readonly inline: string | undefined } {
  if (arg.startsWith('--')) {
    const equals = arg.indexOf('=');
    const name = arg.slice(2, equals < 0 ? undefined : equals);
    if (!Object.hasOwn(OPTIONS, name)) throw unknownOption(`--${name}`, programName);
    return { names: [name], inline: equals < 0 ? undefined : arg.slice(equals + 1) };
  }
  const letters = [...arg.slice(1)];
  if (!letters.every((letter) => Object.hasOwn(SHORT, letter))) throw unknownOption(arg, programName);
  return { names: letters.map((letter) => SHORT[letter] ?? ''), inline: undefined };
}

function expectValue(name: string, value: string | undefined, isInline: boolean): string {
  const needs = `--${name} needs a value (${OPTIONS[name]?.value})`;
  if (value === undefined || value === '') throw usageError(needs);
  if (!isInline && value.startsWith('-'))
    throw usageError(
      `${needs}, and "${value}" looks like an option: write --${name}=${value} if it is meant`,
    );
  return value;
}

function expectOptionsOf(verb: string, given: readonly string[], programName: string): void {
  const own = VERBS[verb]?.options ?? {};
  const foreign = given.find((name) => !Object.hasOwn(COMMON, name) && !Object.hasOwn(own, name));
  if (foreign === undefined) return;
  const takers = Object.keys(VERBS).filter((name) => Object.hasOwn(VERBS[name]?.options ?? {}, foreign));
  throw usageError(
    `${verb} does not take --${foreign}, which is for ${takers.join(', ')}: see ${programName} ${verb} --help`,
  );
}

function expectOperandsOf(verb: string, operands: readonly string[], programName: string): void {
  const [least, most] = VERBS[verb]?.operands ?? [0, 0];
  const see = `see ${programName} ${verb} --help`;
  const extra = operands[most];
  if (extra !== undefined) throw usageError(`${verb} does not take "${extra}": ${see}`);
  if (operands.length < least) throw usageError(`${verb} needs an operand, ${VERBS[verb]?.takes}: ${see}`);
  if (operands.includes('')) throw usageError(`${verb} does not take an empty operand: ${see}`);
}

function isVerb(word: string): boolean {
  return Object.hasOwn(VERBS, word);
}

function unknownVerb(word: string, programName: string): PowerError {
  const names = Object.keys(VERBS);
  const advice = didYouMean(word, [...names, 'help'], RAISING) ?? `see ${programName} --help`;
  return usageError(`unknown verb "${word}": ${advice}`);
}

function unknownOption(option: string, programName: string): PowerError {
  const near = didYouMean(option.replace(/^-*/, ''), Object.keys(OPTIONS));
  const advice = near?.replaceAll(/"([^"]+)"/g, '--$1') ?? `see ${programName} --help`;
  return usageError(`unknown option ${option}: ${advice}`);
}

function usageError(message: string): PowerError {
  return new PowerError('USAGE', message);
}
