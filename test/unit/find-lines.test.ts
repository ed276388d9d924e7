import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { createOnoffGpio } from '../../hw/gpio/onoff.ts';
import { createMockGpio } from '../../mocks/backends/gpio.ts';
import { createMockI2c } from '../../mocks/backends/i2c.ts';
import { parseFault } from '../../mocks/plant/faults.ts';
import { createPlant } from '../../mocks/plant/plant.ts';
import { createVirtualClock } from '../../mocks/virtual-clock.ts';
import type { Board } from '../../src/board/schema.ts';
import { findLines } from '../../src/run/find-lines.ts';
import { openChassis } from '../../src/run/hardware.ts';
import { JOBS } from '../../src/run/jobs.ts';
import { runSequence } from '../../src/run/runner.ts';
import { planOf } from '../../src/sequence/plan.ts';
import { checkBoard } from '../check-board.ts';
import { fewer } from '../draws.ts';
import { createGpioKernel } from './gpio-onoff-kernel.ts';

const CHIP = '1e780000.gpio';
const BASE = 816;
const LINES = 24;

/** A line of the machine: `name: true` is written by its device-tree name, else by chip and offset. */
interface Use {
  readonly line: number;
  readonly byName: boolean;
}

function refOf({ line, byName }: Use): object {
  return byName ? { name: `LINE_${line}` } : { chip: CHIP, line };
}

/** A board of two chassis with two rails, pgood and a reset each, on the lines that are given, in the order of the file. */
function boardOn(uses: readonly Use[]): Board | null {
  const left = [...uses];
  const next = () => refOf(left.shift() ?? { line: 0, byName: false });
  const chassis = () => ({
    rails: { A: { enable: next(), good: next() }, B: { enable: next(), good: next(), needs: ['A'] } },
    pgood: next(),
    resets: { R: next() },
  });
  return checkBoard({ name: 'found', chassis: { 0: chassis(), 1: chassis() } }).board ?? null;
}
const USES = 12;

function machine() {
  const clock = createVirtualClock();
  const kernel = createGpioKernel({
    chips: [
      {
        label: CHIP,
        base: BASE,
        lineCount: LINES,
        names: Array.from({ length: LINES }, (_, line) => `LINE_${line}`),
      },
    ],
    clock,
  });
  const gpio = createOnoffGpio({ clock, Gpio: kernel.Gpio, files: kernel.files });
  const ports = { gpio: async () => gpio, i2c: () => Promise.reject(new TypeError('no I2C')), clock };
  return { clock, kernel, gpio, ports };
}

const distinct = (byName: (line: number) => boolean): Use[] =>
  Array.from({ length: USES }, (_, line) => ({ line, byName: byName(line) }));

describe('two roles on one physical line', () => {
  it('are found whatever the line is called, across all chassis, and nothing is opened', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.record({ line: fc.nat({ max: LINES - 1 }), byName: fc.boolean() }), {
          minLength: USES,
          maxLength: USES,
        }),
        async (uses) => {
          const board = boardOn(uses);
          // What the file alone shows is not the business of this.
          fc.pre(board !== null);
          const { clock, kernel, gpio, ports } = machine();
          const doubles = uses.filter(({ line }, index) =>
            uses.slice(0, index).some((earlier) => earlier.line === line),
          );
          const troubles = await clock.runUntil(findLines(board, gpio));
          expect(troubles.map(({ error }) => error.details.offset)).toEqual(doubles.map(({ line }) => line));
          for (const { error } of troubles) expect(error.code).toBe('GPIO_SHARED');
          for (const chassis of [0, 1]) {
            const opened = clock.runUntil(openChassis(board, chassis, ports).then((each) => each.close()));
            if (doubles.length === 0) await opened;
            else {
              await expect(opened).rejects.toMatchObject({ code: 'GPIO_SHARED' });
              expect(kernel.writes).toEqual([]);
            }
          }
        },
      ),
      { numRuns: fewer(20, 5) },
    );
  });

  it('tells both roles, both names and the line', async () => {
    const board = boardOn([
      ...distinct(() => false).slice(0, 10),
      { line: 0, byName: true },
      { line: 11, byName: false },
    ]);
    if (board === null) throw new TypeError('the file shows it already');
    const { clock, ports } = machine();
    await expect(clock.runUntil(openChassis(board, 0, ports))).rejects.toMatchObject({
      code: 'GPIO_SHARED',
      message:
        'chassis 0: GPIO line 0 of 1e780000.gpio has two roles, enable of rail A of chassis 0 (line 0 of 1e780000.gpio) and pgood of chassis 1 (line "LINE_0")',
      details: { paths: ['chassis.0.rails.A.enable', 'chassis.1.pgood'] },
    });
  });

  it('on a chassis that is on: power on drives nothing, power off switches off what is not in doubt', async () => {
    const good = checkBoard({
      name: 'double',
      chassis: {
        0: {
          rails: {
            A: { enable: { chip: CHIP, line: 0 }, good: { chip: CHIP, line: 1 } },
            B: { enable: { chip: CHIP, line: 2 }, good: { name: 'ALSO_1' } },
          },
          pgood: { chip: CHIP, line: 4 },
        },
      },
    }).board;
    if (!good) throw new TypeError('the board is wrong');
    const clock = createVirtualClock();
    const plant = createPlant({
      board: good,
      clock,
      initially: 'on',
      lineNames: { ALSO_1: { chip: CHIP, line: 1 } },
    });
    const ports = { gpio: async () => createMockGpio(plant), i2c: async () => createMockI2c(plant), clock };
    await expect(clock.runUntil(openChassis(good, 0, ports))).rejects.toMatchObject({ code: 'GPIO_SHARED' });
    const chassis = good.chassis['0'];
    if (!chassis) throw new TypeError('no chassis');
    const result = await clock.runUntil(
      (async () => {
        const hardware = await openChassis(good, 0, ports, { whatCanBeHad: true });
        return runSequence(JOBS.off, {
          plan: planOf(chassis, good.devices),
          hardware,
          clock,
          store: { load: () => ({ hint: null, warning: null }), save: () => null },
          record: () => undefined,
        });
      })(),
    );
    expect(result.state).toBe('failed');
    expect(plant.lines().filter(({ role, asserted }) => role === 'enable' && asserted)).toEqual([]);
  });
});

describe('lines that are not there', () => {
  it('are all told at once, with their roles', async () => {
    const uses = distinct((line) => line % 2 === 0);
    const board = boardOn([
      { line: 77, byName: true },
      ...uses.slice(1, 4),
      { line: 99, byName: false },
      ...uses.slice(5),
    ]);
    if (board === null) throw new TypeError('the file is wrong');
    const { clock, kernel, ports } = machine();
    kernel.line(BASE + 3).consumer = 'boot-hog';
    const error: unknown = await clock.runUntil(openChassis(board, 0, ports)).then(
      () => null,
      (thrown: unknown) => thrown,
    );
    expect(error).toMatchObject({
      code: 'GPIO_NO_LINE',
      details: {
        parts: [
          { role: 'enable of rail A', code: 'GPIO_NO_LINE' },
          { role: 'good signal of rail B', code: 'GPIO_BUSY' },
          { role: 'pgood', code: 'GPIO_NO_LINE' },
        ],
      },
    });
    expect(String(error)).toMatch(/3 parts cannot be had: .*"LINE_77".*"boot-hog".*only 24 lines/);
    const troubles = await clock.runUntil(findLines(board, await ports.gpio()));
    expect(troubles).toMatchObject([
      { line: { role: 'enable of rail A', chassis: 0 }, error: { code: 'GPIO_NO_LINE' }, other: null },
      { line: { role: 'pgood', chassis: 0 }, error: { code: 'GPIO_NO_LINE' }, other: null },
    ]);
    // Of the other chassis nothing is missing.
    await clock.runUntil(openChassis(board, 1, ports).then((each) => each.close()));
  });

  it('of a machine without GPIO are one error, not one for each', async () => {
    const board = boardOn(distinct(() => false));
    if (board === null) throw new TypeError('the file is wrong');
    const { clock, kernel, gpio } = machine();
    const files = {
      ...kernel.files,
      list: () => {
        throw Object.assign(new Error('no'), { code: 'ENOENT' });
      },
    };
    const without = createOnoffGpio({ clock, Gpio: kernel.Gpio, files });
    const ports = { gpio: async () => without, i2c: () => Promise.reject(new TypeError('no I2C')), clock };
    await expect(clock.runUntil(openChassis(board, 0, ports))).rejects.toMatchObject({
      code: 'GPIO_UNAVAILABLE',
      message: expect.not.stringContaining('parts'),
    });
    await expect(clock.runUntil(findLines(board, without))).rejects.toMatchObject({
      code: 'GPIO_UNAVAILABLE',
    });
    expect(await clock.runUntil(findLines(board, gpio))).toEqual([]);
  });
});

it('a fault of the plant that names an aliased line hits it', () => {
  const board = boardOn(distinct(() => true));
  if (board === null) throw new TypeError('the file is wrong');
  const clock = createVirtualClock();
  const plant = createPlant({ board, clock, lineNames: { LINE_0: { chip: CHIP, line: 0 } } });
  plant.addFault(parseFault('line rail A enable busy', board));
  expect(plant.pins.get(`${CHIP}/0`)?.busy()).toBe(true);
});
