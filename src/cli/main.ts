import { CodedError, errorText, isShortage } from '../../hw/errors.ts';
import { PowerError, shortage } from '../errors.ts';
import { escapedJson } from '../printable.ts';
import { ERROR } from '../system/severity.ts';
import { type Asked, firstWord, readArguments } from './arguments.ts';
import { EXIT, exitCodeOf } from './exit.ts';
import { type FieldsOf, tellEvent } from './tell-event.ts';
import type { Invocation, Verb } from './verb.ts';
import { BOARD_OPERAND, DEFAULT_BOARD, VERBS } from './verbs.ts';
import type { World } from './world.ts';

/** Value of `--chassis` for every chassis of the board. */
const ALL = 'all';

/** Whether a command line runs a verb that may drive a line, or that stays (`VerbEntry.drives`). */
export function mayDrive(args: readonly string[]): boolean {
  return VERBS[firstWord(args) ?? '']?.drives === true;
}

/**
 * Runs one command line and returns its exit code. Never throws: an error becomes one line on stderr (and with --json an
 * object on stdout) that says what happened and what to do.
 */
export async function runCommandLine(args: readonly string[], given: World): Promise<number> {
  const json = args.includes('--json');
  const world = json ? inEscapedJson(given) : given;
  try {
    const asked = readArguments(args, world.programName);
    switch (asked.kind) {
      case 'help':
        world.stdout.write((await import('./help.ts')).helpText(asked.verb, world));
        return EXIT.ok;
      case 'nothing':
        world.stderr.write((await import('./help.ts')).helpText(null, world));
        return EXIT.usage;
      case 'version':
        world.stdout.write(`${world.programName} ${(await import('./version.ts')).VERSION}\n`);
        return EXIT.ok;
      case 'verb':
        return await runVerb(asked, json, world);
    }
  } catch (thrown) {
    const error = codedIfShort(thrown);
    await reportError(error, json, world, () => null);
    return exitCodeOf(error);
  }
}

function inEscapedJson(world: World): World {
  const { stdout } = world;
  return { ...world, stdout: { ...stdout, write: (text) => stdout.write(escapedJson(text)) } };
}

/** What the machine had no more of is no mistake of the program, wherever it was asked for. */
function codedIfShort(error: unknown): unknown {
  if (error instanceof CodedError || !isShortage(error)) return error;
  return shortage(errorText(error), error);
}

async function runVerb(asked: Asked & { kind: 'verb' }, json: boolean, world: World): Promise<number> {
  const verb = await VERBS[asked.verb]?.load();
  if (verb === undefined) throw new PowerError('INTERNAL', `the verb ${asked.verb} is not there`);
  const invocation = invocationOf(asked, world);
  if (asked.values.get('chassis') !== ALL || VERBS[asked.verb]?.ofBoard) {
    return await runOnce(verb, invocation, json, world);
  }
  const { runForEvery } = await import('./every-chassis.ts');
  return await runForEvery(invocation, world, (each, itsWorld) => runOnce(verb, each, json, itsWorld));
}

/** Runs a verb for one chassis, or for the board. Never rejects. */
async function runOnce(verb: Verb, invocation: Invocation, json: boolean, world: World): Promise<number> {
  const beganMs = world.clock.nowMs();
  try {
    return await verb.run(invocation, world);
  } catch (thrown) {
    const error = codedIfShort(thrown);
    const elapsedMs = world.clock.nowMs() - beganMs;
    // Beside what follows: neither waits for the other.
    const told = reportError(error, json, world, ({ failureFields }) =>
      error instanceof CodedError ? failureFields(error, { ...runOf(invocation), elapsedMs }) : null,
    );
    await verb.afterError?.(error, invocation, world);
    await told;
    return exitCodeOf(error);
  }
}

/** The service is for all chassis of the board: an error of its own is of none of them. */
function runOf({ verb, chassis }: Invocation): { verb: string; chassis: number | null } {
  return { verb, chassis: verb === 'serve' ? null : chassis };
}

function invocationOf({ verb, operands, values, flags }: Asked & { kind: 'verb' }, world: World): Invocation {
  const named = VERBS[verb]?.takes === BOARD_OPERAND ? operands[0] : undefined;
  return {
    verb,
    operands,
    // An empty variable counts as not set.
    boardPath: named ?? values.get('board') ?? (world.env.CHASSIS_POWER_BOARD || DEFAULT_BOARD),
    chassis: chassisNumber(values.get('chassis') ?? '0'),
    runDir: values.get('run-dir') ?? world.defaultRunDir,
    json: flags.has('json'),
    option: (name) => values.get(name),
    flag: (name) => flags.has(name),
  };
}

function chassisNumber(text: string): number {
  // Each chassis gets an invocation of its own.
  if (text === ALL) return 0;
  if (/^(0|[1-9]\d?)$/.test(text)) return Number(text);
  throw new PowerError('USAGE', `--chassis takes a number from 0 to 99 or "all", not "${text}"`);
}

async function reportError(error: unknown, json: boolean, world: World, fieldsOf: FieldsOf): Promise<void> {
  if (!(error instanceof CodedError)) {
    const text = error instanceof Error ? (error.stack ?? error.message) : String(error);
    // A defect of the program: only such a message has the stack.
    world.stderr.write(`${world.programName}: internal error, please report it: ${text}\n`);
    return;
  }
  if (json) {
    world.stdout.write(
      `${JSON.stringify({ error: { code: error.code, message: error.message, ...error.details } })}\n`,
    );
  }
  const text = `${world.programName}: ${error.message}`;
  await tellEvent(world.stderr, ERROR, text, world, fieldsOf);
}
