import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { HardwareError } from '../../hw/errors.ts';
import { createBusHolds } from '../../hw/i2c/bus-hold.ts';
import { createI2c } from '../../hw/i2c/i2c-bus.ts';
import type { I2cBackend } from '../../hw/ports.ts';
import { createMockGpio } from '../../mocks/backends/gpio.ts';
import { createPlant } from '../../mocks/plant/plant.ts';
import { createVirtualClock } from '../../mocks/virtual-clock.ts';
import type { Problem } from '../../src/board/problem.ts';
import { runCommandLine } from '../../src/cli/main.ts';
import { checkBoard } from '../check-board.ts';
import { createVerbWorld } from './verb-world.ts';
import './load-verbs.ts';

let dir = '';
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'chassis-power-buses-'));
  for (const [number, name] of [
    [3, '1e78a200.i2c-bus'],
    [4, 'mux'],
    [5, 'mux'],
  ] as const) {
    writeFileSync(join(dir, `i2c-${number}`), '');
    mkdirSync(join(dir, 'class', `i2c-${number}`), { recursive: true });
    writeFileSync(join(dir, 'class', `i2c-${number}`, 'name'), `${name}\n`);
  }
});
afterEach(() => rmSync(dir, { recursive: true }));

/** A board with these devices, of one rail that needs none of them. */
function boardWith(buses: Readonly<Record<string, number | string>>) {
  const devices = Object.entries(buses).map(([name, bus], index) => [name, { bus, address: `0x6${index}` }]);
  return {
    name: 'buses',
    devices: Object.fromEntries(devices),
    chassis: {
      0: {
        rails: {
          MAIN: { enable: { chip: 'gpio', line: 'C0' }, good: { chip: 'gpio', line: 'B0' } },
        },
        pgood: { chip: 'gpio', line: 'D0' },
        evidence: Object.keys(buses),
      },
    },
  };
}

/** What `check` says of a board on a machine with the lines of `there` and the buses of `dir`, or of another `i2c`. */
async function checked(buses: Readonly<Record<string, number | string>>, options: Options = {}) {
  const { args = [], change, there = boardWith(buses) } = options;
  const path = join(dir, 'board.json');
  const board = boardWith(buses);
  change?.(board);
  writeFileSync(path, JSON.stringify(board, null, 2));
  const plantBoard = checkBoard(there).board;
  if (plantBoard === undefined) throw new TypeError('the board is wrong');
  const clock = createVirtualClock();
  const plant = createPlant({ board: plantBoard, clock });
  const opened: number[] = [];
  const driver = createI2c({
    clock,
    holds: createBusHolds({ clock, directory: join(dir, 'run') }),
    devRoot: dir,
    sysfsRoot: join(dir, 'class'),
    open: async (number) => {
      opened.push(number);
      throw new TypeError('nothing is to be sent');
    },
  });
  const { world, printed } = createVerbWorld(
    { clock, gpio: async () => createMockGpio(plant), i2c: async () => options.i2c ?? driver },
    dir,
  );
  const code = await clock.runUntil(runCommandLine(['check', path, '--json', ...args], world));
  const { stdout, stderr } = printed();
  const { problems = [] } = JSON.parse(stdout) as { problems?: Problem[] };
  const told = problems.map(({ kind, path, message, suggestion }) => ({ kind, path, message, suggestion }));
  return { code, told, stderr, opened, isUntouched: plant.lines().every(({ changes }) => changes === 0) };
}
interface Options {
  readonly args?: readonly string[];
  readonly i2c?: I2cBackend;
  readonly change?: (board: ReturnType<typeof boardWith>) => void;
  readonly there?: ReturnType<typeof boardWith>;
}

describe('check says which I2C buses of the board are not there', () => {
  it('by number and by name, all at once, with what was probably meant, and sends nothing', async () => {
    const { code, told, opened } = await checked({
      good: 3,
      absent: 9,
      named: '1e78a200.i2c-bus',
      mistyped: '1e78a200.i2c-bsu',
      doubled: 'mux',
    });
    expect(code).toBe(78);
    expect(told).toEqual([
      {
        kind: 'bus',
        path: 'devices.absent.bus',
        message: expect.stringMatching(/^device absent: \S+\/i2c-9 cannot be opened \(ENOENT\)/),
        suggestion: '"i2cdetect -l" shows the buses that there are',
      },
      {
        kind: 'bus',
        path: 'devices.mistyped.bus',
        message: expect.stringContaining('no I2C bus has the name "1e78a200.i2c-bsu"'),
        suggestion: 'did you mean "1e78a200.i2c-bus"?',
      },
      {
        kind: 'bus',
        path: 'devices.doubled.bus',
        message: expect.stringMatching(/2 I2C buses have the name "mux", give the number instead: 4 .*5 /),
        suggestion: '"i2cdetect -l" shows the buses that there are',
      },
    ]);
    expect(opened).toEqual([]);
  });

  it('together with the lines that are not there, in the order of the file', async () => {
    const { code, told, isUntouched } = await checked(
      { absent: 9 },
      {
        there: boardWith({}),
        change: ({ chassis }) => {
          chassis[0].rails.MAIN.good.line = 'Z7';
          chassis[0].pgood.chip = 'gpoi';
        },
      },
    );
    expect(code).toBe(78);
    expect(told.map(({ kind, path }) => `${kind} ${path}`)).toEqual([
      'bus devices.absent.bus',
      'line chassis.0.rails.MAIN.good',
      'line chassis.0.pgood',
    ]);
    expect(isUntouched).toBe(true);
  });

  it('and passes where they are all there, also without the right to use them', async () => {
    expect(await checked({ good: 3, named: '1e78a200.i2c-bus' })).toMatchObject({ code: 0, told: [] });
    const refused: I2cBackend = {
      openBus: () => Promise.reject(new HardwareError('I2C_PERMISSION', 'no right')),
    };
    expect(await checked({ good: 3 }, { i2c: refused })).toMatchObject({ code: 0, told: [] });
  });

  it('and looks for none with --no-lines', async () => {
    expect(await checked({ absent: 9 }, { args: ['--no-lines'] })).toMatchObject({ code: 0, told: [] });
  });

  it('and is an error, not a pass, where they cannot be looked for', async () => {
    const broken: I2cBackend = {
      openBus: () => Promise.reject(new HardwareError('I2C_FAILED', 'it broke')),
    };
    const { code, told, stderr } = await checked({ good: 3 }, { i2c: broken });
    expect([code, told]).toEqual([74, []]);
    expect(stderr).toMatch(/I2C buses could not be looked for \(it broke\)/);
  });
});
