/** `--chassis all`: every verb for every chassis of the board, in one process. */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { createMockGpio } from '../../mocks/backends/gpio.ts';
import { createMockI2c } from '../../mocks/backends/i2c.ts';
import { parseFault } from '../../mocks/plant/faults.ts';
import { createPlant } from '../../mocks/plant/plant.ts';
import { createVirtualClock } from '../../mocks/virtual-clock.ts';
import { EXIT, worstOf } from '../../src/cli/exit.ts';
import { runCommandLine } from '../../src/cli/main.ts';
import { BOARD_OPERAND, VERBS } from '../../src/cli/verbs.ts';
import { lockChassis } from '../../src/store/lock.ts';
import { shippedBoard } from './bench.ts';
import { flock } from './flock.ts';
import { createVerbWorld } from './verb-world.ts';
import './load-verbs.ts';

const BOARD = join(import.meta.dirname, '..', '..', 'hw', 'boards', 'two-chassis.json');
const board = shippedBoard('two-chassis');
const dirs: string[] = [];

afterEach(() => {
  for (const dir of dirs.splice(0)) rmSync(dir, { recursive: true, force: true });
});

/** A machine with two chassis, and its command line. */
function machine({ faults = [] as readonly string[], initially = 'off' as 'on' | 'off' } = {}) {
  const dir = mkdtempSync(join(tmpdir(), 'every-chassis-'));
  dirs.push(dir);
  const clock = createVirtualClock();
  const plant = createPlant({
    board,
    clock,
    initially,
    faults: faults.map((text) => parseFault(text, board)),
  });
  const run = async (verb: string, ...rest: readonly (string | { readonly board: string })[]) => {
    const file = rest.find((each) => typeof each === 'object')?.board ?? BOARD;
    const args = [verb, ...rest.filter((each) => typeof each === 'string')];
    const parts = { clock, gpio: async () => createMockGpio(plant), i2c: async () => createMockI2c(plant) };
    const { world, printed } = createVerbWorld(parts, dir);
    const code = await clock.runUntil(runCommandLine([...args, '--board', file, '--chassis', 'all'], world));
    return {
      code,
      ...printed(),
      lines: printed()
        .stdout.split('\n')
        .filter((line) => line !== ''),
    };
  };
  const rails = (chassis: number) =>
    Object.fromEntries(
      plant
        .rails()
        .filter((rail) => rail.chassis === chassis)
        .map(({ rail, enabled }) => [rail, enabled]),
    );
  return { dir, clock, plant, run, rails };
}

const OFF = { P12V: false, P3V3: false, PVCORE: false };
const ON = { P12V: true, P3V3: true, PVCORE: true };

describe('--chassis all', () => {
  it('powers every chassis on and off, and each line says of which chassis it is', async () => {
    const { run, rails, plant } = machine();
    const on = await run('on');
    expect(on.code).toBe(EXIT.ok);
    expect([rails(0), rails(1)]).toEqual([ON, ON]);
    expect(on.lines.filter((line) => !/^chassis [01]: /.test(line))).toEqual([]);
    for (const chassis of [0, 1])
      expect(on.stdout).toMatch(new RegExp(`^chassis ${chassis}: .*rail PVCORE up`, 'm'));
    const off = await run('off');
    expect(off.code).toBe(EXIT.ok);
    expect([rails(0), rails(1)]).toEqual([OFF, OFF]);
    expect(plant.misuses).toEqual([]);
  });

  it('an off goes to all at once: a chassis whose rail falls slowly holds up no other', async () => {
    const { run } = machine({ initially: 'on', faults: ['chassis 0 rail PVCORE slow off 20s'] });
    const { code, lines } = await run('off', '--json');
    expect(code).toBe(EXIT.ok);
    const disabled = lines
      .map((line) => JSON.parse(line))
      .filter(({ type, asserted }) => type === 'enable' && !asserted)
      .map(({ chassis, rail }) => `${chassis} ${rail}`);
    expect(disabled).toHaveLength(6);
    expect(disabled.slice(0, 2).sort()).toEqual(['0 PVCORE', '1 PVCORE']);
    expect(disabled.indexOf('1 P12V')).toBeLessThan(disabled.indexOf('0 P3V3'));
  });

  it('a chassis that fails keeps no other from its request, and the exit code is the worst', async () => {
    const { run, rails } = machine({ faults: ['chassis 0 rail P3V3 never good'] });
    const { code, stderr } = await run('on');
    expect(code).toBe(EXIT.railFault);
    expect([rails(0), rails(1)]).toEqual([OFF, ON]);
    expect(stderr).toMatch(/^(chassis-power: )?chassis 0\b.*P3V3/m);
    expect(stderr).not.toMatch(/chassis 1/);
  });

  it('a power-off that is stuck keeps no other chassis on', async () => {
    const { run, rails } = machine({ initially: 'on', faults: ['chassis 0 enable P12V stuck on'] });
    const { code } = await run('off');
    expect([EXIT.powerOffTimeout, EXIT.hardware]).toContain(code);
    expect(rails(1)).toEqual(OFF);
    expect(rails(0)).toMatchObject({ P3V3: false, PVCORE: false });
  });

  it('a chassis that another process drives keeps no other from its request', async () => {
    const { run, rails, dir, clock } = machine();
    const never = new AbortController().signal;
    const lock = await lockChassis(dir, 1, 'test', {
      clock,
      flock,
      waitMs: 0,
      signal: never,
      onWait: () => undefined,
    });
    const { code } = await run('on');
    lock.release();
    expect(code).toBe(EXIT.locked);
    expect([rails(0), rails(1)]).toEqual([ON, OFF]);
  });

  it('status tells of each chassis, as text and as an object a line', async () => {
    const { run } = machine({ initially: 'on' });
    const text = await run('status');
    expect(text.code).toBe(EXIT.ok);
    expect(text.lines.filter((line) => line.startsWith('chassis '))).toEqual([
      'chassis 0  pgood  pgood asserted',
      'chassis 1  pgood  pgood asserted',
    ]);
    const json = (await run('status', '--json')).lines.map((line) => JSON.parse(line));
    expect(json).toMatchObject([
      { chassis: 0, state: 'pgood' },
      { chassis: 1, state: 'pgood' },
    ]);
  });

  it('a board that is named as an operand is the board', async () => {
    const { run } = machine();
    const ofBoards = Object.keys(VERBS).filter((verb) => VERBS[verb]?.takes === BOARD_OPERAND);
    expect(ofBoards).toEqual(['check', 'verify']);
    const { code, lines } = await run('verify', BOARD, '--faults', '0', { board: join(BOARD, 'gone.json') });
    expect(code).toBe(EXIT.ok);
    for (const chassis of [0, 1])
      expect(lines).toContainEqual(expect.stringContaining(`chassis ${chassis}: clean`));
    expect((await run('check', BOARD, { board: join(BOARD, 'gone.json') })).code).toBe(EXIT.ok);
  });

  it('each stage goes on where that of the same chassis ended', async () => {
    const { run, rails } = machine();
    for (const verb of ['start', 'wait-on']) expect((await run(verb)).code).toBe(EXIT.ok);
    expect([rails(0), rails(1)]).toEqual([ON, ON]);
    for (const verb of ['stop', 'wait-off', 'cycle', 'clear', 'off', 'release']) {
      expect([verb, (await run(verb)).code]).toEqual([verb, EXIT.ok]);
    }
    expect([rails(0), rails(1)]).toEqual([OFF, OFF]);
  });

  it('a timing diagram is written for each chassis, in a file of its own', async () => {
    const { run, dir } = machine();
    const { code } = await run('on', '--svg', join(dir, 'run.svg'));
    expect(code).toBe(EXIT.ok);
    for (const chassis of [0, 1]) {
      expect(readFileSync(join(dir, `run-${chassis}.svg`), 'utf8')).toContain(`chassis ${chassis}: on`);
    }
  });

  it('verbs of the board run once, every other one for each chassis', async () => {
    const ofBoard = Object.keys(VERBS).filter((verb) => VERBS[verb]?.ofBoard);
    expect(ofBoard).toEqual(expect.arrayContaining(['serve', 'check', 'schema', 'units']));
    const drivers = Object.keys(VERBS).filter((verb) => VERBS[verb]?.raises);
    expect(drivers.filter((verb) => ofBoard.includes(verb))).toEqual([]);
    const { run } = machine();
    expect((await run('check')).lines).toHaveLength(1);
  });

  it('a board file that cannot be used touches no chassis, and is told once', async () => {
    const { run, plant } = machine();
    const { code, stderr } = await run('on', { board: '/nowhere/board.json' });
    expect(code).toBe(EXIT.board);
    expect(stderr.trim().split('\n')).toEqual([expect.stringMatching(/no board file at \/nowhere/)]);
    expect(plant.history).toEqual([]);
  });
});

describe('the worst exit code', () => {
  it.each([
    [[0, 0], 0],
    [[], 0],
    [[EXIT.ok, EXIT.rejected], EXIT.rejected],
    [[EXIT.locked, EXIT.railFault, EXIT.ok], EXIT.railFault],
    [[EXIT.railFault, EXIT.powerOffTimeout], EXIT.powerOffTimeout],
    [[EXIT.interrupted, EXIT.pgoodTimeout], EXIT.pgoodTimeout],
    [[EXIT.rejected, EXIT.terminated], EXIT.terminated],
    [[129, EXIT.ok], 129],
  ])('of %j is %i', (codes, worst) => {
    expect(worstOf(codes)).toBe(worst);
    expect(worstOf([...codes].reverse())).toBe(worst);
  });

  it('knows every code that there is', () => {
    for (const code of Object.values(EXIT)) expect(worstOf([EXIT.ok, code])).toBe(code);
  });
});
