import type { Verb } from './verb.ts';

export const DEFAULT_BOARD = '/etc/chassis-power/board.json';

export interface Option {
  /** Name of its value in the help. An option without one is a flag. */
  readonly value?: string;
  readonly help: string;
}

export interface VerbEntry {
  /** One line for the list of all verbs. */
  readonly summary: string;
  /** Operands, for the help; empty where the verb takes none. */
  readonly takes: string;
  /** Least and greatest number of operands. */
  readonly operands: readonly [least: number, most: number];
  /** Options of this verb beside the common ones. One name means the same in every verb. */
  readonly options: Readonly<Record<string, Option>>;
  /** The verb may switch power on. It is suggested for a misspelt verb only where no other one is as near. */
  readonly raises?: true;
  /** The verb is about the board or the machine. Any other one runs for each chassis with `--chassis all`. */
  readonly ofBoard?: true;
  /** The verb may drive a line, or runs until it is ended. It ends with its work, whether or not its output was read. */
  readonly drives?: true;
  /** Verbs load when they are called: a oneshot reads no more code than it runs. */
  readonly load: () => Promise<Verb>;
}

/** What a verb takes whose operand names the board file in place of `--board`. */
export const BOARD_OPERAND = '[BOARD]';

/** Options that every verb takes. */
export const COMMON: Readonly<Record<string, Option>> = {
  board: { value: 'FILE', help: 'the board file; else CHASSIS_POWER_BOARD, else the default below' },
  chassis: { value: 'N|all', help: 'which chassis of the board, 0 to 99 (0), or all of them at once' },
  'run-dir': { value: 'DIR', help: 'where the state of the chassis is kept (/run/chassis-power)' },
  json: { help: 'print JSON' },
};

const SVG: Readonly<Record<string, Option>> = {
  svg: { value: 'FILE', help: 'write the timing diagram of the run' },
};

const power = async (): Promise<Verb> => (await import('./verbs/power.ts')).power;
const POWER = { takes: '', operands: [0, 0], options: SVG, drives: true, load: power } as const;

const stageOn = async (): Promise<Verb> => (await import('./verbs/at-rest.ts')).atRest;
const STAGE_ON = { ...POWER, load: stageOn, raises: true } as const;

export const VERBS: Readonly<Record<string, VerbEntry>> = {
  start: { ...STAGE_ON, summary: 'assert the enables in order (op-power-start)' },
  'wait-on': {
    ...STAGE_ON,
    summary: 'wait for pgood, then release the resets (op-wait-power-on)',
  },
  stop: { ...POWER, summary: 'deassert the enables in reverse order (op-power-stop)' },
  'wait-off': { ...POWER, summary: 'wait until the power is gone (op-wait-power-off)' },
  on: { ...POWER, summary: 'the whole power-on in one process, with a live view', raises: true },
  off: { ...POWER, summary: 'the whole power-off in one process, with a live view' },
  cycle: { ...POWER, summary: 'power off, then on', raises: true },
  status: {
    summary: 'state, rails and pgood as the lines show them; drives nothing',
    takes: '',
    operands: [0, 0],
    options: {},
    load: async () => (await import('./verbs/status.ts')).status,
  },
  fault: {
    summary: 'what is kept of power sequences that failed, also of earlier boots',
    takes: 'show|list [N]',
    operands: [1, 2],
    options: {},
    load: async () => (await import('./verbs/fault.ts')).fault,
  },
  trace: {
    summary: 'what happened in a run that is kept, the last one or number N',
    takes: '[N]',
    operands: [0, 1],
    options: SVG,
    load: async () => (await import('./verbs/trace.ts')).trace,
  },
  reset: {
    summary: 'reset the host of a chassis that is on, which keeps its power',
    takes: '',
    operands: [0, 0],
    options: {},
    drives: true,
    load: async () => (await import('./verbs/reset.ts')).reset,
  },
  clear: { ...POWER, summary: 'forget a latched failure' },
  adopt: {
    summary: 'after a start of the BMC: make systemd agree with a chassis that is on; drives nothing',
    takes: '',
    operands: [0, 0],
    options: {},
    drives: true,
    load: async () => (await import('./verbs/adopt.ts')).adopt,
  },
  serve: {
    summary: 'the resident service: pgood monitor and D-Bus objects for all chassis',
    takes: '',
    operands: [0, 0],
    options: {
      state: {
        value: 'on|off',
        help: 'publish chassis and host state (on); off beside phosphor-state-manager',
      },
    },
    drives: true,
    ofBoard: true,
    load: async () => (await import('./verbs/serve.ts')).serve,
  },
  check: {
    summary:
      'report every problem of a board file and of its lines and I2C buses on this machine; touches none',
    takes: BOARD_OPERAND,
    operands: [0, 1],
    options: {
      'no-lines': { help: 'look at the file alone: this machine is not the one that the board is for' },
    },
    ofBoard: true,
    load: async () => (await import('./verbs/check.ts')).check,
  },
  verify: {
    summary: 'try every course of events of a board with every placement of faults; touches no line',
    takes: BOARD_OPERAND,
    operands: [0, 1],
    options: {
      faults: { value: '0|1|2', help: 'how many faults a course of events may have (1)' },
      rails: {
        value: 'N',
        help: 'try any so many rails at a time, all others ideal (all, or what ends in about a minute)',
      },
      states: { value: 'N', help: 'give up beyond so many states, with exit code 105 (1000000)' },
      exact: { help: 'tell all times of the board apart, where times of one magnitude count as one else' },
      svg: { value: 'FILE', help: 'draw how an invariant is broken as a timing diagram' },
      save: { value: 'FILE', help: 'keep how an invariant is broken, for chassis-power-sim replay' },
    },
    load: async () => (await import('./verbs/verify.ts')).verify,
  },
  release: {
    summary: 'give the lines of a chassis that is off back, for other programs to take',
    takes: '',
    operands: [0, 0],
    options: { all: { help: 'also lines that were not taken by this program' } },
    drives: true,
    load: async () => (await import('./verbs/release.ts')).release,
  },
  schema: {
    summary: 'print the JSON Schema of the board file, or its reference',
    takes: '',
    operands: [0, 0],
    options: {
      reference: { help: 'print a page with each word of the board file, in Markdown, instead' },
    },
    ofBoard: true,
    load: async () => (await import('./verbs/schema.ts')).schema,
  },
  units: {
    summary: 'systemd units: put in place, take away, lint, prove',
    takes: 'install|update|uninstall|check [DIR]|verify [DIR]',
    operands: [1, 2],
    options: {
      root: { value: 'DIR', help: 'install into, or uninstall from, a root folder that is not running' },
      stages: { value: 'program|resident', help: 'who does the work of the stages (program)' },
      flavour: {
        value: 'legacy|current',
        help: "names of the units (legacy), or of today's images (current)",
      },
    },
    ofBoard: true,
    load: async () => (await import('./verbs/units.ts')).units,
  },
};

/** Verbs that may switch power on. */
export const RAISING: readonly string[] = Object.keys(VERBS).filter((name) => VERBS[name]?.raises);
