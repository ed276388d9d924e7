/** The stages of a power-on that find nothing to do, and see so without running anything. */
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createMockGpio } from '../../mocks/backends/gpio.ts';
import { createMockI2c } from '../../mocks/backends/i2c.ts';
import { createMockSensors } from '../../mocks/backends/sensors.ts';
import { parseFault } from '../../mocks/plant/faults.ts';
import { createPlant } from '../../mocks/plant/plant.ts';
import { createVirtualClock } from '../../mocks/virtual-clock.ts';
import type { Board } from '../../src/board/schema.ts';
import { runCommandLine } from '../../src/cli/main.ts';
import type { World } from '../../src/cli/world.ts';
import { lockPath, restPath, snapshotPath } from '../../src/store/paths.ts';
import { checkBoard } from '../check-board.ts';
import { draws } from '../draws.ts';
import { shippedBoard } from './bench.ts';
import { createVerbWorld } from './verb-world.ts';
import './load-verbs.ts';

let dir = '';
let runDir = '';
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'chassis-power-at-rest-'));
  runDir = join(dir, 'run');
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

/** A chassis whose lines can be pictured, for one command after the other. */
function createChassis(of: string | Board) {
  const board = typeof of === 'string' ? shippedBoard(of) : of;
  const boardPath = join(dir, 'board.json');
  const shipped = join(import.meta.dirname, '..', '..', 'hw', 'boards', `${of}.json`);
  writeFileSync(boardPath, typeof of === 'string' ? readFileSync(shipped) : JSON.stringify(of));
  const clock = createVirtualClock();
  const plant = createPlant({ board, clock, initially: 'off' });
  const picture = async (keys: readonly string[]) =>
    [...keys, ...plant.lines().map(({ line, level }) => `${line} ${level}`)].join('\n');
  const run = async (line: string, parts: Partial<World> = {}) => {
    let opened = 0;
    const { world, printed } = createVerbWorld(
      {
        clock,
        gpio: async () => {
          opened += 1;
          return createMockGpio(plant);
        },
        i2c: async () => createMockI2c(plant),
        sensors: async () => createMockSensors(plant),
        picture,
        ...parts,
      },
      runDir,
    );
    const code = await clock.runUntil(runCommandLine([...line.split(' '), '--board', boardPath], world));
    return { code, ...printed(), isWhole: opened > 0 };
  };
  /** On, and found so by a stage before. */
  const settle = async () => {
    expect((await run('on')).code).toBe(0);
    expect(await run('start')).toMatchObject({ code: 0, isWhole: true });
  };
  return { run, settle, plant, picture, boardPath, board };
}

const withoutTimes = (text: string) => text.replaceAll(/^ *[\d.]+ ms|"atMs":[\d.]+/gm, 'then');
/** All files of the run directory with their content. */
const files = () =>
  Object.fromEntries(
    readdirSync(runDir, { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile())
      .map((entry) => join(entry.parentPath, entry.name))
      .map((path) => [path, readFileSync(path, 'utf8')]),
  );
const holder = () => join(lockPath(runDir, 0), 'holder');

describe('a stage of a power-on whose chassis is on as it was left', () => {
  it.each(['start', 'wait-on', 'start --json', 'wait-on --json'])(
    '%s says what the whole run says, opens no line, takes no lock and writes nothing',
    async (line) => {
      const { run, settle, plant } = createChassis('openpower');
      await settle();
      const [lines, before] = [plant.lines(), files()];
      const seen = await run(line);
      expect(seen.isWhole).toBe(false);
      expect(files()).toEqual(before);
      expect(plant.lines()).toEqual(lines);
      const whole = await run(line, { picture: async () => null });
      expect(whole.isWhole).toBe(true);
      const words = ({ code, stdout, stderr }: typeof seen) => ({
        code,
        stdout: withoutTimes(stdout),
        stderr,
      });
      expect(words(seen)).toEqual(words(whole));
    },
  );

  it('is at rest without a rail that the chassis can do without, which is told once', async () => {
    const line = (at: number) => ({ chip: 'gpio', line: at });
    const { board = expect.fail('refused') } = checkBoard({
      name: 'aux',
      chassis: {
        0: {
          rails: {
            A: { enable: line(0), good: line(1) },
            AUX: { enable: line(2), good: line(3), needs: ['A'], logOnly: true },
          },
          pgood: line(4),
        },
      },
    });
    const { run, plant } = createChassis(board);
    plant.addFault(parseFault('good AUX stuck off', board));
    const told = ({ stdout }: { readonly stdout: string }) => stdout.includes('the chassis does without it');
    expect(told(await run('on'))).toBe(true);
    const whole = await run('start');
    expect([whole.code, whole.isWhole, told(whole)]).toEqual([0, true, false]);
    const seen = await run('start');
    expect([seen.code, seen.isWhole]).toEqual([0, false]);
    plant.clearFaults();
    expect(await run('start')).toMatchObject({ code: 0, isWhole: true });
    plant.addFault(parseFault('good AUX stuck off', board));
    const again = await run('start');
    expect([again.code, told(again)]).toEqual([0, true]);
  });

  it('runs as a whole as soon as anything is not as it was', async () => {
    const { run, settle, plant, picture, boardPath, board } = createChassis('openpower');
    await settle();
    const kept = files();
    const boardText = readFileSync(boardPath, 'utf8');
    const rest = readFileSync(restPath(runDir, 0), 'utf8');
    const snapshot = readFileSync(snapshotPath(runDir, 0), 'utf8');
    const drives = () => writeFileSync(holder(), `stop, pid ${process.pid}\n1\n`);
    const writes = () => writeFileSync(snapshotPath(runDir, 0), snapshot.replace(/"nowMs":/, '"nowMs":0'));
    /** Something that another process does while the lines are looked at. */
    const during = (change: () => void): Partial<World> => ({
      picture: async (keys) => {
        const text = await picture(keys);
        change();
        return text;
      },
    });
    type Change = readonly [what: string, change: () => void, parts?: Partial<World>];
    const changes: fc.Arbitrary<Change> = fc.oneof(
      fc.constantFrom<Change>(
        ['the line of pgood', () => plant.addFault(parseFault('pgood stuck off', board))],
        ['the state', writes],
        ['no state', () => rmSync(snapshotPath(runDir, 0))],
        ['the state, meanwhile', () => undefined, during(writes)],
        ['no state, meanwhile', () => undefined, during(() => rmSync(snapshotPath(runDir, 0)))],
        ['a process that drives', drives],
        ['one that begins to, meanwhile', () => undefined, during(drives)],
        [
          'one that did, meanwhile',
          () => undefined,
          during(() => writeFileSync(holder(), 'off, pid 1\nreleased\n')),
        ],
        ['nobody who ever drove', () => rmSync(lockPath(runDir, 0), { recursive: true })],
        ['another boot', () => undefined, { bootId: () => 'another' }],
        ['another build', () => undefined, { build: () => 'another' }],
        ['a line that is not exported', () => undefined, { picture: async () => null }],
        ['the board file', () => writeFileSync(boardPath, `${boardText} `)],
        ['nothing kept', () => rmSync(restPath(runDir, 0))],
        [
          'a folder in its place',
          () => {
            rmSync(restPath(runDir, 0));
            mkdirSync(restPath(runDir, 0));
          },
        ],
      ),
      fc
        .nat({ max: rest.length - 2 })
        .map((at): Change => [`torn at ${at}`, () => writeFileSync(restPath(runDir, 0), rest.slice(0, at))]),
      fc
        .constantFrom('schema', 'build', 'bootId', 'board', 'snapshot', 'picture', 'keys')
        .map(
          (key): Change => [
            `kept without its ${key}`,
            () => writeFileSync(restPath(runDir, 0), JSON.stringify({ ...JSON.parse(rest), [key]: null })),
          ],
        ),
    );
    await fc.assert(
      fc.asyncProperty(changes, fc.constantFrom('start', 'wait-on'), async ([what, change, parts], verb) => {
        rmSync(runDir, { recursive: true, force: true });
        for (const [path, text] of Object.entries(kept)) {
          mkdirSync(join(path, '..'), { recursive: true, mode: 0o700 });
          writeFileSync(path, text);
        }
        writeFileSync(boardPath, boardText);
        plant.clearFaults();
        await run('on', { picture: async () => null });
        for (const [path, text] of Object.entries(kept)) writeFileSync(path, text);
        expect((await run(verb)).isWhole, 'without a change').toBe(false);
        change();
        const { isWhole } = await run(verb, parts);
        expect(isWhole, what).toBe(true);
      }),
      { numRuns: draws(60) },
    );
  });

  it('whose lines another level shows is judged by the whole run, and not called on', async () => {
    const { run, settle, plant, board } = createChassis('openpower');
    await settle();
    plant.addFault(parseFault('pgood stuck off', board));
    expect((await run('wait-on')).code).not.toBe(0);
  });

  it.each([
    ['beside a systemd that did not start it', { systemd: 'present' }, 'start'],
    ['with a picture to draw', {}, 'start --svg'],
  ] as const)('runs as a whole %s', async (_, parts, verb) => {
    const { run, settle } = createChassis('openpower');
    await settle();
    const line = verb === 'start' ? verb : `${verb} ${join(dir, 'picture.svg')}`;
    expect((await run(line, parts)).isWhole).toBe(true);
  });
});

describe('what is kept for the next stage', () => {
  const isKept = () => readdirSync(runDir).includes('chassis0-rest.json');

  it('is nothing of a run that brought the power up, or down', async () => {
    const { run } = createChassis('openpower');
    for (const verb of ['start', 'wait-on', 'off', 'wait-off']) {
      expect((await run(verb)).code).toBe(0);
      expect(isKept()).toBe(false);
    }
  });

  it.each(['reference', 'x86-button', 'measured-rails'])(
    'is nothing of %s, where more than lines has to be looked at',
    async (name) => {
      const { run } = createChassis(name);
      for (const verb of ['on', 'start', 'wait-on', 'start'])
        expect(await run(verb)).toMatchObject({ code: 0, isWhole: true });
      expect(isKept()).toBe(false);
    },
  );
});
