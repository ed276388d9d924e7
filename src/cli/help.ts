import { EXIT } from './exit.ts';
import { COMMON, DEFAULT_BOARD, type Option, VERBS, type VerbEntry } from './verbs.ts';
import type { World } from './world.ts';

/** Where the width of the terminal is not known. */
const DEFAULT_WIDTH = 80;
/** Longer lines are hard to read. */
const MOST_WIDTH = 110;
const LEAST_WIDTH = 24;
/** Beside a wider first column the second would be too narrow, so it is printed below. */
const COLUMN_SHARE = 0.4;

export const EXIT_TEXT: Readonly<Record<keyof typeof EXIT, string>> = {
  ok: 'done, or already so',
  usage: 'usage',
  findings: 'units check, units verify or verify has findings',
  serviceMissing: 'D-Bus or systemd is not there',
  internal: 'internal error',
  osError: 'too few files, processes or memory',
  cannotCreate: 'cannot write a file',
  hardware: 'hardware I/O error',
  locked: 'another process drives this chassis',
  board: 'board file',
  pgoodTimeout: 'pgood timeout',
  railFault: 'rail fault',
  pgoodLost: 'pgood lost',
  powerOffTimeout: 'power-off timeout',
  rejected: 'request rejected, with the reason',
  unfinished: 'verify was given up, nothing is proven',
  interrupted: 'ended by SIGINT',
  terminated: 'ended by SIGTERM; by another signal 128 and its number',
};

type ExitName = keyof typeof EXIT;

interface VerbHelp {
  readonly text: readonly string[];
  /** Beside 0, 64, 70, 71 and 78, which every verb may have. */
  readonly exits: readonly ExitName[];
  readonly examples: readonly string[];
}

const POWER_EXITS: readonly ExitName[] = [
  'hardware',
  'locked',
  'cannotCreate',
  'rejected',
  'interrupted',
  'terminated',
];
const ON_EXITS: readonly ExitName[] = ['pgoodTimeout', 'railFault', 'pgoodLost', ...POWER_EXITS];
const OFF_EXITS: readonly ExitName[] = ['powerOffTimeout', ...POWER_EXITS];
const INTERRUPTED =
  'Ctrl-C, SIGTERM or a terminal that closes takes down what was raised; a second signal leaves at once, with the lines as they are.';

export const HELP: Readonly<Record<string, VerbHelp>> = {
  start: {
    text: [
      'Asserts the enables in the order that the board needs, and ends when all rails are good. The next step is wait-on. A chassis that is on stays as it is.',
      INTERRUPTED,
    ],
    exits: ON_EXITS,
    examples: ['start --chassis 0'],
  },
  'wait-on': {
    text: ['Goes on where start ended: waits for pgood, then releases the resets.', INTERRUPTED],
    exits: ON_EXITS,
    examples: ['wait-on --chassis 0'],
  },
  stop: {
    text: [
      'Takes every enable away in reverse order. The next step is wait-off. A rail that cannot be switched off is reported and holds up no other.',
    ],
    exits: OFF_EXITS,
    examples: ['stop --chassis 0'],
  },
  'wait-off': {
    text: ['Goes on where stop ended: waits until no rail is good and pgood is gone.'],
    exits: OFF_EXITS,
    examples: ['wait-off --chassis 0'],
  },
  on: {
    text: [
      'Powers the chassis on: start and wait-on in one process. A chassis that is on stays as it is, and no line moves.',
      INTERRUPTED,
    ],
    exits: ON_EXITS,
    examples: ['on --board my-board.json', 'on --svg run.svg'],
  },
  off: {
    text: [
      'Powers the chassis off: stop and wait-off in one process. It is not cut short by one signal: half lowered is as bad as half raised.',
    ],
    exits: OFF_EXITS,
    examples: ['off --board my-board.json', 'off --chassis all', 'off --json'],
  },
  cycle: {
    text: ['Powers the chassis off, and on again once it is off.', INTERRUPTED],
    exits: [...ON_EXITS.slice(0, 3), ...OFF_EXITS],
    examples: ['cycle --chassis 1'],
  },
  status: {
    text: [
      'Reads the lines and PMBus devices as they are now. Takes no lock and drives nothing, so it may run beside a power sequence.',
      'What cannot be read is told among the rest. The exit code is that of a hardware I/O error then.',
    ],
    exits: ['hardware'],
    examples: ['status', 'status --json --chassis 1'],
  },
  fault: {
    text: [
      'show tells all that is known of a power sequence that failed, the last one or the one with that number: who asked, how it ended, the times of each rail and what the devices said. list has a line for each one that is kept, 8 of a chassis at most.',
      'They outlive a start of the BMC. Nothing is asked of the hardware, and no board file is needed.',
    ],
    exits: [],
    examples: ['fault show', 'fault show 17 --json', 'fault list --chassis 1'],
  },
  trace: {
    text: [
      'Tells what happened in a run, the last one or the one with that number, and draws its timing diagram with --svg. The last 8 runs and the last 8 failures of a chassis are kept; they outlive a start of the BMC.',
    ],
    exits: ['cannotCreate'],
    examples: ['trace', 'trace 17 --svg run.svg'],
  },
  reset: {
    text: [
      'Resets the host of a chassis that is on, by the line that the board names as hostReset, and keeps its power. The line is let go however that ends: by a signal at once, and by the next command that drives the chassis where the process was killed.',
    ],
    exits: ['hardware', 'locked', 'cannotCreate', 'rejected', 'interrupted', 'terminated'],
    examples: ['reset --chassis 0'],
  },
  clear: {
    text: ['Forgets a failure that the chassis came to rest with. A power-on does so by itself.'],
    exits: POWER_EXITS,
    examples: ['clear'],
  },
  adopt: {
    text: [
      'For a BMC that restarted under a running host: reads the lines, and starts the power-on target of a chassis that is on. Drives nothing; where the lines contradict each other it says so and does not guess.',
    ],
    exits: ['serviceMissing', 'hardware', 'rejected'],
    examples: ['adopt --chassis 0'],
  },
  serve: {
    text: [
      'Publishes every chassis of the board on the system bus, watches those that are on, and takes everything down when pgood is lost. It touches no line when it begins and none when it ends.',
      'SIGHUP reads the board file again, unless it comes from a terminal that closed: that ends it, like any other signal.',
    ],
    exits: ['serviceMissing', 'hardware'],
    examples: ['serve', 'serve --state off'],
  },
  check: {
    text: [
      'Reports every problem of a board file, each with its path and what to write instead, and then every GPIO line that this machine does not have, or has under two names, and every I2C bus that it does not have. Takes no line, changes none and sends nothing on a bus.',
      'On a machine that is not the one that the board is for, --no-lines looks at the file alone.',
      'Times of a valid board that cannot work out are warnings: the exit code stays 0.',
    ],
    exits: ['hardware'],
    examples: ['check my-board.json', 'check --no-lines my-board.json'],
  },
  verify: {
    text: [
      'Tries every course of events of one chassis on the machine that drives it: rails that come early, late or never, signals that drop and come back, lines that stick or cannot be read, answers that are late, a process that stands still, is killed and is started again, and requests in between. A broken invariant is told with the shortest course of events that leads to it; --svg draws that, and --save keeps it for chassis-power-sim replay, which plays it on a simulated chassis. docs/proof.md says what a clean result means. Touches no line.',
      'With --faults 2, and for boards of many rails, it takes minutes and more memory: NODE_OPTIONS=--max-old-space-size=4000.',
    ],
    exits: ['findings', 'unfinished'],
    examples: [
      'verify my-board.json',
      'verify --json my-board.json',
      'verify --save counterexample.json my-board.json',
    ],
  },
  release: {
    text: [
      'GPIO lines stay taken after a command, so that they keep their levels, and no other program can have them. release gives back what this program took, once it is not needed any more.',
      'Only while the chassis is off and no other process drives or watches it; on some controllers a line that is given back becomes an input. Refused, no line is touched.',
    ],
    exits: ['hardware', 'locked', 'rejected'],
    examples: ['release --chassis 0', 'release --all'],
  },
  schema: {
    text: [
      'Prints the JSON Schema of the board file, for an editor that completes it. With --reference, a page with a sentence and an example for each word of the board file.',
    ],
    exits: [],
    examples: ['schema > board.schema.json', 'schema --reference > board.md'],
  },
  units: {
    text: [
      'install puts the units of every chassis of the board in place, and tells systemd unless --root is given. update does so again with the units of this version, for the chassis and with the options of the last install; it needs no board. uninstall takes away what install put, and ends with the release of every chassis of the board. check lints a tree of units, the ones that ship when none is named.',
      'verify plays such a tree as systemd would run it: each stage ends well, fails, runs into its time limit or is killed, and requests and a loss of power come at any point. It tells the shortest way to each rest in which units and power do not agree.',
    ],
    exits: ['findings', 'serviceMissing', 'cannotCreate'],
    examples: ['units install', 'units install --root image/', 'units check image/', 'units verify image/'],
  },
};

/** The help of one verb, or of all of them, wrapped to the width of the terminal. */
export function helpText(verb: string | null, { programName, stdout }: World): string {
  const width = Math.min(MOST_WIDTH, Math.max(LEAST_WIDTH, stdout.columns || DEFAULT_WIDTH));
  const entry = verb === null ? undefined : VERBS[verb];
  const lines =
    verb === null || entry === undefined
      ? generalHelp(programName, width)
      : verbHelp(verb, entry, programName, width);
  return `${lines.join('\n')}\n`;
}

function generalHelp(programName: string, width: number): string[] {
  const rows = Object.entries(VERBS).map(([name, { summary }]) => [name, summary] as const);
  const codes = Object.keys(EXIT) as ExitName[];
  return [
    ...wrap(`usage: ${programName} VERB [OPTION]…`, width, 7),
    ...wrap(`       ${programName} VERB --help`, width, 7),
    '',
    'verbs:',
    ...table(rows, width),
    '',
    'options of every verb:',
    ...table(optionRows(COMMON), width),
    ...table(
      [
        ['-h, --help', 'this text, or that of a verb; in any place, and nothing is done'],
        ['-V, --version', 'the version'],
        ['--', 'no options after it'],
      ],
      width,
    ),
    '',
    ...wrap(`The board file is --board, else CHASSIS_POWER_BOARD, else ${DEFAULT_BOARD}.`, width, 0),
    '',
    'exit codes:',
    ...table(exitRows(codes), width),
  ];
}

function verbHelp(verb: string, entry: VerbEntry, programName: string, width: number): string[] {
  const { text, exits, examples } = HELP[verb] ?? { text: [entry.summary], exits: [], examples: [] };
  const usage = [
    `usage: ${programName} ${verb}`,
    ...(entry.takes === '' ? [] : [entry.takes]),
    ...Object.entries({ ...entry.options, ...COMMON }).map(([name, { value }]) =>
      value === undefined ? `[--${name}]` : `[--${name}\u00a0${value}]`,
    ),
  ].join(' ');
  const codes: ExitName[] = ['ok', 'usage', 'internal', 'osError', 'board', ...exits];
  const hasOwn = Object.keys(entry.options).length > 0;
  return [
    ...wrap(usage, width, 7),
    ...text.flatMap((paragraph) => ['', ...wrap(paragraph, width, 0)]),
    '',
    ...(hasOwn ? ['options:', ...table(optionRows(entry.options), width), ''] : []),
    'options of every verb:',
    ...table(optionRows(COMMON), width),
    '',
    'exit codes:',
    ...table(exitRows(codes), width),
    '',
    examples.length === 1 ? 'example:' : 'examples:',
    ...examples.flatMap((example) => wrap(`  ${programName} ${example}`, width, 6)),
  ];
}

function optionRows(options: Readonly<Record<string, Option>>): (readonly [string, string])[] {
  return Object.entries(options).map(([name, { value, help }]) => [
    value === undefined ? `--${name}` : `--${name} ${value}`,
    help,
  ]);
}

function exitRows(names: readonly ExitName[]): (readonly [string, string])[] {
  return [...new Set(names)]
    .sort((a, b) => EXIT[a] - EXIT[b])
    .map((name) => [String(EXIT[name]), EXIT_TEXT[name]]);
}

/** Two columns, the second wrapped beside the first, or below it where there is no room beside it. */
function table(rows: readonly (readonly [string, string])[], width: number): string[] {
  const first = Math.max(...rows.map(([head]) => head.length)) + 4;
  if (first > width * COLUMN_SHARE) {
    return rows.flatMap(([head, text]) => [`  ${head}`, ...wrap(`      ${text}`, width, 6)]);
  }
  return rows.flatMap(([head, text]) => {
    const [line = '', ...more] = wrap(text, width - first, 0);
    return [`  ${head}`.padEnd(first) + line, ...more.map((each) => ' '.repeat(first) + each)];
  });
}

/** Breaks at spaces. Lines after the first are indented; a no-break space is kept together and printed as a space. */
function wrap(text: string, width: number, indent: number): string[] {
  const margin = /^ */.exec(text)?.[0] ?? '';
  const lines: string[] = [];
  let line = margin;
  for (const word of text.trim().split(' ')) {
    const isFirst = line.trim() === '';
    if (!isFirst && line.length + 1 + word.length > width) {
      lines.push(line);
      line = ' '.repeat(indent) + word;
    } else {
      line += isFirst ? word : ` ${word}`;
    }
  }
  return [...lines, line].map((each) => each.replaceAll('\u00a0', ' '));
}
