import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { HardwareError } from '../../hw/errors.ts';
import { createVirtualClock } from '../../mocks/virtual-clock.ts';
import { runCommandLine } from '../../src/cli/main.ts';
import { VERBS } from '../../src/cli/verbs.ts';
import type { World } from '../../src/cli/world.ts';
import { unprintableIn } from '../../src/printable.ts';
import { fewer } from '../draws.ts';
import { chain, rail } from '../model/small-boards.ts';
import './load-verbs.ts';
import { flock } from './flock.ts';

const REFERENCE = join(import.meta.dirname, '..', '..', 'hw', 'boards', 'reference.json');
const ABOUT = JSON.parse(readFileSync(join(import.meta.dirname, '..', '..', 'package.json'), 'utf8'));

let dir = '';
beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), 'asking-'));
});
afterAll(() => rmSync(dir, { recursive: true, force: true }));

/** Runs one command line in a world in which whatever could act is counted, and fails. */
async function ask(args: readonly string[], columns: number | null = null) {
  const touched: string[] = [];
  const refuse = (what: string) => async (): Promise<never> => {
    touched.push(what);
    throw new HardwareError('GPIO_UNAVAILABLE', `${what} was asked for`);
  };
  let stdout = '';
  let stderr = '';
  const runDir = join(dir, 'run');
  const clock = createVirtualClock();
  const ended = new AbortController();
  const world: World = {
    clock,
    flock,
    gpio: refuse('gpio'),
    looks: refuse('looks'),
    i2c: refuse('i2c'),
    sensors: refuse('sensors'),
    properties: refuse('properties'),
    units: refuse('units'),
    objectBus: refuse('objectBus'),
    eventLog: refuse('eventLog'),
    journal: refuse('journal'),
    updateCatalogue: refuse('updateCatalogue'),
    notifier: refuse('notifier'),
    bootId: () => 'boot',
    picture: async () => null,
    build: () => 'build',
    env: { CHASSIS_POWER_BOARD: REFERENCE },
    stdout: {
      write: (text) => {
        stdout += text;
      },
      columns,
      journal: false,
    },
    stderr: {
      write: (text) => {
        stderr += text;
      },
      columns: null,
      journal: false,
    },
    signal: ended.signal,
    abandon: ended.signal,
    onHangup: () => () => undefined,
    systemd: 'absent',
    defaultRunDir: runDir,
    stateDir: dir,
    disk: refuse('disk'),
    caller: () => 'somebody',
    background: () => void touched.push('background'),
    openbmcRunDir: dir,
    // Where units would be put from: not there, so that nothing is.
    unitSourceDir: join(dir, 'none'),
    programName: 'chassis-power',
  };
  const code = await clock.runUntil(runCommandLine(args, world));
  if (existsSync(runDir)) touched.push('the run directory');
  rmSync(runDir, { recursive: true, force: true });
  return { code, stdout, stderr, touched };
}

const VERB_NAMES = Object.keys(VERBS);
/** What people and scripts type: verbs, options with and without values, and things that are neither. */
const token = fc.oneof(
  fc.constantFrom(
    ...VERB_NAMES,
    'help',
    'stauts',
    'of',
    '--version',
    '-V',
    'install',
    'uninstall',
    '0',
    '1',
    '-1',
    '-',
    '',
  ),
  fc.constantFrom('--json', '--board', '--chassis', '--run-dir', '--svg', '--state', '--stages', '--root'),
  fc.constantFrom('--chassis=0', '--chassis=', `--board=${REFERENCE}`, '--svg=', '--json=yes', '--state=off'),
);
const HELP = fc.constantFrom('-h', '--help');
const UNKNOWN = fc.oneof(
  fc.constantFrom('-x', '-v', '--hel', '--on', '--off', '--dry-run', '--bord=x', '--no-json', '-j', '-hx'),
  fc.stringMatching(/^--z[a-z]{0,6}(=[a-z]{0,3})?$/),
);

describe('asking is not acting', () => {
  it('help in any place before -- of any command line acts never and exits 0', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(token, { maxLength: 5 }),
        HELP,
        fc.array(fc.oneof(token, UNKNOWN), { maxLength: 5 }),
        fc.boolean(),
        async (before, help, after, ends) => {
          const args = [...before, help, ...after, ...(ends ? ['--', 'on'] : [])];
          const { code, stdout, touched } = await ask(args);
          expect({ args, code, touched }).toEqual({ args, code: 0, touched: [] });
          expect(stdout).toMatch(/^usage: chassis-power /m);
        },
      ),
      { numRuns: fewer(500, 100) },
    );
  });

  it('an unknown flag in any place acts never and exits 64', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(token, { maxLength: 5 }),
        UNKNOWN,
        fc.array(token, { maxLength: 5 }),
        async (before, unknown, after) => {
          const args = [...before, unknown, ...after];
          const { code, touched } = await ask(args);
          expect({ args, code, touched }).toEqual({ args, code: 64, touched: [] });
        },
      ),
      { numRuns: fewer(500, 100) },
    );
  });

  it.each(
    VERB_NAMES.flatMap((verb) => [[[verb, '-h']], [['-h', verb]], [[verb, '--help']], [['help', verb]]]),
  )('%j prints the help of the verb', async (args) => {
    const verb = args.find((arg) => VERB_NAMES.includes(arg)) ?? '';
    const { code, stdout, stderr, touched } = await ask(args);
    expect({ code, stderr, touched }).toEqual({ code: 0, stderr: '', touched: [] });
    expect(stdout.split('\n')[0]).toMatch(new RegExp(`^usage: chassis-power ${verb}( |$)`));
    expect(stdout).toMatch(/^examples?:/m);
  });
});

describe('--version', () => {
  it.each([[['--version']], [['-V']], [['on', '--version']], [['-V', 'off']]])(
    '%j prints name and version, and nothing is done',
    async (args) => {
      expect(await ask(args)).toEqual({
        code: 0,
        stdout: `chassis-power ${ABOUT.version}\n`,
        stderr: '',
        touched: [],
      });
    },
  );
});

describe('help', () => {
  const asked = [['--help'], ...VERB_NAMES.map((verb) => [verb, '--help'])];

  it.each([24, 40, 80, 120])('of %i columns has no line that is wider', async (columns) => {
    for (const args of asked) {
      const { stdout } = await ask(args, columns);
      const words = stdout.split('\n').filter((line) => line.length > columns);
      // A word that is wider than the terminal itself cannot be broken.
      expect(words.filter((line) => line.trim().includes(' ') && columns >= 40)).toEqual([]);
    }
  });

  it('of 80 columns where the width is not known', async () => {
    for (const args of asked) {
      for (const columns of [null, 0]) {
        const lines = (await ask(args, columns)).stdout.split('\n');
        expect(Math.max(...lines.map((line) => line.length))).toBeLessThanOrEqual(80);
        expect(Math.max(...lines.map((line) => line.length))).toBeGreaterThan(60);
      }
    }
  });

  it('says the same at every width', async () => {
    const text = async (columns: number) =>
      (await ask(['serve', '--help'], columns)).stdout.replaceAll(/\s+/g, ' ');
    expect(await text(40)).toBe(await text(120));
  });

  it('of a verb has its options, its exit codes and an example', async () => {
    const { stdout } = await ask(['on', '--help']);
    for (const part of [
      '--svg FILE',
      '--board FILE',
      '--run-dir DIR',
      '101',
      'rail fault',
      'chassis-power on --svg run.svg',
    ])
      expect(stdout).toContain(part);
  });
});

describe('what a command line leaves open is refused', () => {
  it.each([
    [['stauts'], 'unknown verb "stauts": did you mean "status"?'],
    [['of'], 'unknown verb "of": did you mean "off"?'],
    [['frobnicate'], 'unknown verb "frobnicate": see chassis-power --help'],
    [['on', '--bord', 'x'], 'unknown option --bord: did you mean --board?'],
    [['on', '-x'], 'unknown option -x: see chassis-power --help'],
    [['on', '--chassis='], '--chassis needs a value (N|all)'],
    [['on', '--board', ''], '--board needs a value (FILE)'],
    [['on', '--board'], '--board needs a value (FILE)'],
    [['on', '--board', '--', 'x'], '--board needs a value (FILE)'],
    [
      ['on', '--board', '--json'],
      '--board needs a value (FILE), and "--json" looks like an option: write --board=--json if it is meant',
    ],
    [['on', '--chassis', '0', '--chassis', '1'], '--chassis is given twice: which one is meant?'],
    [['on', '--json=yes'], '--json takes no value: leave out "=yes"'],
    [['on', '--chassis', 'one'], '--chassis takes a number from 0 to 99 or "all", not "one"'],
    [['on', '--state', 'off'], 'on does not take --state, which is for serve: see chassis-power on --help'],
    [['on', '--', '-h'], 'on does not take "-h": see chassis-power on --help'],
    [['on', 'help'], 'on does not take "help": see chassis-power on --help'],
    [['on', 'off'], 'on does not take "off": see chassis-power on --help'],
    [['help', 'of'], 'unknown verb "of": did you mean "off"?'],
    [
      ['units'],
      'units needs an operand, install|update|uninstall|check [DIR]|verify [DIR]: see chassis-power units --help',
    ],
    [['--chassis', '0'], 'no verb: see chassis-power --help'],
  ])('%j', async (args, message) => {
    const { code, stdout, stderr, touched } = await ask(args);
    const told = args.includes('--json') ? stdout : '';
    expect({ code, stdout, stderr, touched }).toEqual({
      code: 64,
      stdout: told,
      stderr: `chassis-power: ${message}\n`,
      touched: [],
    });
  });

  it('what it quotes commands no terminal, and stays in one line', async () => {
    const unprintable = fc
      .tuple(fc.string({ maxLength: 5 }), fc.constantFrom('\u001b[31m', '\n<2>', '\r', '\0', '\u009b2J'))
      .map((parts) => parts.join('x'));
    const places = fc.constantFrom<(word: string) => string[]>(
      (word) => [word],
      (word) => ['on', word],
      (word) => ['on', `--${word}`],
      (word) => ['on', '--chassis', word],
      (word) => ['on', `--board=/nowhere/${word}`],
      (word) => ['check', '--no-lines', `/nowhere/${word}`],
    );
    await fc.assert(
      fc.asyncProperty(places, unprintable, async (place, word) => {
        const { code, stdout, stderr } = await ask(place(word));
        expect([64, 78]).toContain(code);
        expect(stdout).toBe('');
        expect(stderr).toMatch(/^\P{Cc}+\n$/u);
      }),
      { numRuns: fewer(200, 50) },
    );
  });

  it('what it quotes in JSON commands no terminal either, and is the same when it is parsed', async () => {
    const words = fc
      .tuple(
        fc.string({ maxLength: 5 }),
        fc.constantFrom('\u001b[31m', '\u007f', '\u009b2J', '\u2028', '\u202e', '\u2067'),
      )
      .map((parts) => parts.join('x'));
    await fc.assert(
      fc.asyncProperty(words, async (word) => {
        const board = `/nowhere/${word}`;
        const { code, stdout } = await ask(['on', '--json', '--board', board]);
        expect(code).toBe(78);
        expect(unprintableIn(stdout.slice(0, -1))).toBeNull();
        expect(stdout.endsWith('\n')).toBe(true);
        expect(JSON.parse(stdout).error).toMatchObject({ code: 'BOARD_NOT_FOUND', path: board });
      }),
      { numRuns: fewer(200, 50) },
    );
  });

  it('check tells times that cannot work as warnings, and calls the board valid', async () => {
    const path = join(dir, 'slow.json');
    const rails = { A: rail(0, []), B: { ...rail(1, ['A']), onTimeoutMs: 400 } };
    writeFileSync(path, JSON.stringify({ name: 'slow', chassis: { 0: { ...chain, rails } } }));
    const { code, stdout, stderr } = await ask(['check', '--no-lines', path]);
    expect(code).toBe(0);
    expect(stdout).toContain('no problems in the file');
    expect(stderr).toMatch(
      /^warning: .*slow\.json:1:\d+: chassis\.0\.rails\.B\.onTimeoutMs: rail B may take 400 ms/,
    );
    const asJson = await ask(['check', '--no-lines', '--json', path]);
    expect(asJson).toMatchObject({ code: 0, stderr: '' });
    expect(JSON.parse(asJson.stdout)).toMatchObject({
      problems: [],
      warnings: [{ kind: 'timing', path: 'chassis.0.rails.B.onTimeoutMs', line: 1 }],
    });
  });

  it('an option may stand before its verb, and after -- there is none', async () => {
    const { code, stdout } = await ask(['--json', 'check', '--no-lines', '--', REFERENCE]);
    expect(code).toBe(0);
    expect(JSON.parse(stdout)).toEqual({
      board: REFERENCE,
      lines: 'notLookedFor',
      problems: [],
      warnings: [],
    });
    expect(await ask(['check', '--', '-h'])).toMatchObject({ code: 78, stdout: '' });
    expect(await ask(['check', '--board=-h'])).toMatchObject({ code: 78, stdout: '' });
  });
});
