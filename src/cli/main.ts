import { type ParseArgsConfig, parseArgs } from 'node:util';
import { CodedError, errorText } from '../../hw/errors.ts';
import { suggestName } from '../board/problem.ts';
import { PowerError } from '../errors.ts';
import { EXIT, exitCodeOf } from './exit.ts';
import type { World } from './world.ts';

export const DEFAULT_BOARD = '/etc/chassis-power/board.json';

/** Options that every verb takes. */
const COMMON = {
  board: { type: 'string' },
  chassis: { type: 'string' },
  'run-dir': { type: 'string' },
  json: { type: 'boolean' },
  help: { type: 'boolean', short: 'h' },
} as const satisfies ParseArgsConfig['options'];

/** What a verb is given. */
export interface Invocation {
  readonly verb: string;
  readonly operands: readonly string[];
  readonly boardPath: string;
  readonly chassis: number;
  readonly runDir: string;
  readonly json: boolean;
  /** Value of an option of the verb's own; undefined when it was not given. */
  readonly option: (name: string) => string | undefined;
}

export interface Verb {
  /** Options of this verb beside the common ones, all with a value. */
  readonly options: readonly string[];
  /** How many operands it takes, at least and at most. */
  readonly operands: readonly [least: number, most: number];
  /** Returns the exit code. */
  readonly run: (invocation: Invocation, world: World) => Promise<number>;
  /** What is to be done about an error of `run` once it was reported. Its own news come after it. */
  readonly afterError?: (error: unknown, invocation: Invocation, world: World) => Promise<void>;
}

interface Entry {
  readonly synopsis: string;
  readonly summary: string;
  /** Verbs load when they are called: a oneshot reads no more code than it runs. */
  readonly load: () => Promise<Verb>;
}

const power = async (): Promise<Verb> => (await import('./verbs/power.ts')).power;

const VERBS: Readonly<Record<string, Entry>> = {
  start: { synopsis: 'start', summary: 'assert the enables in order (op-power-start)', load: power },
  'wait-on': {
    synopsis: 'wait-on',
    summary: 'wait for pgood, then release the resets (op-wait-power-on)',
    load: power,
  },
  stop: { synopsis: 'stop', summary: 'deassert the enables in reverse order (op-power-stop)', load: power },
  'wait-off': {
    synopsis: 'wait-off',
    summary: 'wait until the power is gone (op-wait-power-off)',
    load: power,
  },
  on: {
    synopsis: 'on [--svg FILE]',
    summary: 'the whole power-on in one process, with a live view',
    load: power,
  },
  off: {
    synopsis: 'off [--svg FILE]',
    summary: 'the whole power-off in one process, with a live view',
    load: power,
  },
  cycle: { synopsis: 'cycle [--svg FILE]', summary: 'power off, then on', load: power },
  status: {
    synopsis: 'status',
    summary: 'state, rails and pgood as the lines show them; drives nothing',
    load: async () => (await import('./verbs/status.ts')).status,
  },
  clear: { synopsis: 'clear', summary: 'forget a latched failure', load: power },
  adopt: {
    synopsis: 'adopt',
    summary: 'after a start of the BMC: make systemd agree with a chassis that is on; drives nothing',
    load: async () => (await import('./verbs/adopt.ts')).adopt,
  },
  serve: {
    synopsis: 'serve [--state on|off]',
    summary:
      'the resident service: pgood monitor and D-Bus objects for all chassis; --state off beside phosphor-state-manager',
    load: async () => (await import('./verbs/serve.ts')).serve,
  },
  check: {
    synopsis: 'check [BOARD]',
    summary: 'report every problem of a board file; touches no line',
    load: async () => (await import('./verbs/check.ts')).check,
  },
  schema: {
    synopsis: 'schema',
    summary: 'print the JSON Schema of the board file',
    load: async () => (await import('./verbs/schema.ts')).schema,
  },
  units: {
    synopsis: 'units install|uninstall|check',
    summary:
      'systemd units: put in place ([--flavour legacy|current] [--stages program|resident]), take away, lint',
    load: async () => (await import('./verbs/units.ts')).units,
  },
};

function usage(programName: string): string {
  const width = Math.max(...Object.values(VERBS).map(({ synopsis }) => synopsis.length));
  return [
    `usage: ${programName} VERB [--board FILE] [--chassis N] [--run-dir DIR] [--json]`,
    '',
    ...Object.values(VERBS).map(({ synopsis, summary }) => `  ${synopsis.padEnd(width)}  ${summary}`),
    '',
    `The board file is --board, else CHASSIS_POWER_BOARD, else ${DEFAULT_BOARD}.`,
    'Exit codes: 0 done or already so, 64 usage, 65 units check has findings, 69 D-Bus or systemd missing,',
    '70 internal, 73 cannot write, 74 hardware, 75 another process drives the chassis, 78 board file,',
    '100 pgood timeout, 101 rail fault, 102 pgood lost, 103 power-off timeout, 104 request rejected.',
    '',
  ].join('\n');
}

function usageError(message: string): PowerError {
  return new PowerError('USAGE', message);
}

function chassisNumber(text: string): number {
  if (!/^(0|[1-9]\d?)$/.test(text)) {
    throw usageError(`--chassis takes a number from 0 to 99, not "${text}"`);
  }
  return Number(text);
}

function parse(args: readonly string[], verbName: string, verb: Verb, world: World): Invocation {
  const own: ParseArgsConfig['options'] = Object.fromEntries(
    verb.options.map((name) => [name, { type: 'string' as const }]),
  );
  let parsed: ReturnType<typeof parseArgs>;
  try {
    parsed = parseArgs({
      args: [...args],
      options: { ...COMMON, ...own },
      allowPositionals: true,
      strict: true,
    });
  } catch (error) {
    // Node's text goes on with advice on `--` that does not fit here.
    throw usageError(`${errorText(error).split('. ')[0]}: see ${world.programName} --help`);
  }
  const { values, positionals } = parsed;
  const [least, most] = verb.operands;
  if (positionals.length < least || positionals.length > most) {
    const extra = positionals[most];
    throw usageError(
      extra !== undefined
        ? `${verbName} does not take "${extra}": see ${world.programName} --help`
        : `${verbName} needs ${least === 1 ? 'an operand' : `${least} operands`}: see ${world.programName} --help`,
    );
  }
  const text = (name: string): string | undefined => {
    const value = values[name];
    return typeof value === 'string' ? value : undefined;
  };
  return {
    verb: verbName,
    operands: positionals,
    boardPath: text('board') ?? world.env.CHASSIS_POWER_BOARD ?? DEFAULT_BOARD,
    chassis: chassisNumber(text('chassis') ?? '0'),
    runDir: text('run-dir') ?? world.defaultRunDir,
    json: values.json === true,
    option: text,
  };
}

/** The verb first: options may stand before it as well. */
export function verbFirst(args: readonly string[]): readonly string[] {
  let index = 0;
  while (args[index]?.startsWith('-')) {
    const name = args[index]?.replace(/^--?/, '') ?? '';
    const takesValue = name in COMMON && COMMON[name as keyof typeof COMMON].type === 'string';
    index += takesValue ? 2 : 1;
  }
  const verb = args[index];
  return verb === undefined ? args : [verb, ...args.slice(0, index), ...args.slice(index + 1)];
}

/**
 * Runs one command line and returns its exit code. Never throws: whatever goes wrong becomes one line on
 * stderr (with --json a JSON object) that says what happened and what to do.
 */
export async function runCommandLine(args: readonly string[], world: World): Promise<number> {
  const json = args.includes('--json');
  try {
    const [verbName, ...rest] = verbFirst(args);
    if (verbName === undefined || verbName === '--help' || verbName === '-h' || rest.includes('--help')) {
      (verbName === undefined ? world.stderr : world.stdout).write(usage(world.programName));
      return verbName === undefined ? EXIT.usage : EXIT.ok;
    }
    const entry = VERBS[verbName];
    if (!entry) {
      throw usageError(`unknown verb "${verbName}": ${suggestName(verbName, Object.keys(VERBS), 'verbs')}`);
    }
    const verb = await entry.load();
    const invocation = parse(rest, verbName, verb, world);
    try {
      return await verb.run(invocation, world);
    } catch (error) {
      reportError(error, json, world);
      await verb.afterError?.(error, invocation, world);
      return exitCodeOf(error);
    }
  } catch (error) {
    reportError(error, json, world);
    return exitCodeOf(error);
  }
}

function reportError(error: unknown, json: boolean, world: World): void {
  if (!(error instanceof CodedError)) {
    const text = error instanceof Error ? (error.stack ?? error.message) : String(error);
    // A fault of the program itself: the one case in which the stack is the message.
    world.stderr.write(`${world.programName}: internal error, please report it: ${text}\n`);
    return;
  }
  if (json) {
    world.stdout.write(
      `${JSON.stringify({ error: { code: error.code, message: error.message, ...error.details } })}\n`,
    );
  }
  const prefix = world.stderr.journal ? '<3>' : '';
  world.stderr.write(`${prefix}${world.programName}: ${error.message.replaceAll('\n', ' ')}\n`);
}
