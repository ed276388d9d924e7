/** What `units uninstall` ends with: the lines of every chassis are given back. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { HardwareError } from '../../hw/errors.ts';
import { createMockGpio } from '../../mocks/backends/gpio.ts';
import { createMockI2c } from '../../mocks/backends/i2c.ts';
import { parseFault } from '../../mocks/plant/faults.ts';
import { createPlant } from '../../mocks/plant/plant.ts';
import { createVirtualClock } from '../../mocks/virtual-clock.ts';
import { exitCodeOf } from '../../src/cli/exit.ts';
import { runCommandLine } from '../../src/cli/main.ts';
import { releaseUninstalled } from '../../src/cli/verbs/release.ts';
import type { World } from '../../src/cli/world.ts';
import { watchChassis } from '../../src/store/watch-lock.ts';
import { checkBoard } from '../check-board.ts';
import { flock } from './flock.ts';
import { createVerbWorld } from './verb-world.ts';
import './load-verbs.ts';

const chassisOf = (number: number) => ({
  rails: {
    MAIN: { enable: { chip: 'gpio', line: `C${number}` }, good: { chip: 'gpio', line: `B${number}` } },
  },
  pgood: { chip: 'gpio', line: `D${number}` },
});
const BOARD = { name: 'two', chassis: { 0: chassisOf(0), 1: chassisOf(1) } };
/** Of the lines B0, C0 and D0. */
const OFFSETS = [8, 16, 24];
const LINES_OF_ONE = OFFSETS.length;

let dir = '';
let boardPath = '';
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'chassis-power-uninstall-'));
  boardPath = join(dir, 'board.json');
  writeFileSync(boardPath, JSON.stringify(BOARD));
});
afterEach(() => rmSync(dir, { recursive: true }));

/** Two chassis that are off, whose lines are taken by the commands that this program ran on them. */
async function stage() {
  const { board } = checkBoard(BOARD);
  if (board === undefined) throw new TypeError('the board is wrong');
  const clock = createVirtualClock();
  const plant = createPlant({ board, clock });
  // Each command is a process of its own.
  const worldOf = (parts: Partial<World> = {}) =>
    createVerbWorld(
      { clock, gpio: async () => createMockGpio(plant), i2c: async () => createMockI2c(plant), ...parts },
      dir,
    );
  const command = (verb: 'on' | 'off', chassis: number) => {
    const args = [verb, '--board', boardPath, '--chassis', String(chassis)];
    return clock.runUntil(runCommandLine(args, worldOf().world));
  };
  const uninstall = async (parts: Partial<World> = {}) => {
    const { world, printed } = worldOf(parts);
    const failure = await clock
      .runUntil(releaseUninstalled({ boardPath, runDir: dir, json: false }, world))
      .then(
        () => null,
        (error: unknown) => error,
      );
    return { failure, ...printed() };
  };
  /** How many lines of each chassis are taken. */
  const taken = () =>
    [0, 1].map(
      (number) => OFFSETS.filter((offset) => plant.pins.get(`gpio/${offset + number}`)?.takenBy).length,
    );
  for (const number of [0, 1]) {
    expect([await command('on', number), await command('off', number)]).toEqual([0, 0]);
  }
  expect(taken()).toEqual([LINES_OF_ONE, LINES_OF_ONE]);
  return { clock, plant, command, uninstall, taken };
}

describe('units uninstall ends with giving the lines back', () => {
  it('of every chassis of the board, each of them told', async () => {
    const { uninstall, taken, plant } = await stage();
    expect(await uninstall()).toEqual({
      failure: null,
      stdout: 'chassis 0: 3 lines given back\nchassis 1: 3 lines given back\n',
      stderr: '',
    });
    expect(taken()).toEqual([0, 0]);
    expect(plant.hazards).toEqual([]);
  });

  it.each([
    [0, 1],
    [1, 0],
  ])(
    'but not of chassis %i, which is on and stays so: 104, and those of chassis %i are free',
    async (on, off) => {
      const { command, uninstall, taken, plant } = await stage();
      await command('on', on);
      const before = plant.lines().filter(({ chassis }) => chassis === on);
      const { failure, stdout } = await uninstall();
      expect(failure).toMatchObject({
        code: 'LINES_KEPT',
        message: `the units are uninstalled, but GPIO lines stay taken (chassis ${on} is pgood: its lines are given back only while it is off; power it off first): then run chassis-power release --chassis ${on}`,
      });
      expect(exitCodeOf(failure)).toBe(104);
      expect(stdout).toBe(`chassis ${off}: 3 lines given back\n`);
      expect(taken()[on]).toBe(LINES_OF_ONE);
      expect(taken()[off]).toBe(0);
      expect(plant.lines().filter(({ chassis }) => chassis === on)).toEqual(before);
    },
  );

  it('but not of a chassis that the resident service watches still', async () => {
    const { clock, uninstall, taken } = await stage();
    const { signal } = new AbortController();
    const lock = { clock, flock, waitMs: 0, signal, onWait: () => undefined };
    const watch = await clock.runUntil(watchChassis(dir, 0, 'serve', lock));
    expect((await uninstall()).failure).toMatchObject({
      code: 'LINES_KEPT',
      message: expect.stringMatching(/watched by another process \(serve, pid \d+\)/),
    });
    expect(taken()).toEqual([LINES_OF_ONE, 0]);
    watch.release();
    expect((await uninstall()).failure).toBeNull();
    expect(taken()).toEqual([0, 0]);
  });

  it('but not of a chassis of which a line cannot be read', async () => {
    const { plant, uninstall, taken } = await stage();
    plant.addFault(parseFault('line D1 read error'));
    expect((await uninstall()).failure).toMatchObject({
      code: 'LINES_KEPT',
      message: expect.stringMatching(/chassis 1: pgood: GPIO line D1 of gpio cannot be read/),
    });
    expect(taken()).toEqual([0, LINES_OF_ONE]);
  });

  it('and without a board file leaves them, which is told and no failure', async () => {
    const { uninstall, taken } = await stage();
    rmSync(boardPath);
    const { failure, stderr } = await uninstall();
    expect(failure).toBeNull();
    expect(stderr).toMatch(/GPIO lines that were taken stay so until the next boot .*release --board FILE/);
    expect(taken()).toEqual([LINES_OF_ONE, LINES_OF_ONE]);
  });

  it('and on a machine without GPIO has none to give back', async () => {
    const { uninstall } = await stage();
    const gpio = () => Promise.reject(new HardwareError('GPIO_UNAVAILABLE', 'there is no GPIO'));
    expect(await uninstall({ gpio })).toEqual({ failure: null, stdout: '', stderr: '' });
  });
});
