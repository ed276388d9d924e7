/** What reading every part of a chassis tells: what could not be read is told once, by the name of what hangs on it. */
import { describe, expect, it } from 'vitest';
import { HardwareError } from '../../hw/errors.ts';
import { createMockGpio } from '../../mocks/backends/gpio.ts';
import { createMockI2c } from '../../mocks/backends/i2c.ts';
import { openChassis } from '../../src/run/hardware.ts';
import { decisive, type Observed } from '../../src/run/observe.ts';
import { planOf } from '../../src/sequence/plan.ts';
import { checkBoard } from '../check-board.ts';
import { createBench } from './bench.ts';

const line = (offset: number) => ({ chip: 'gpio', line: offset });

/** A chassis with two rails, that is on, read while these faults stand. */
async function observe(pgood: object, ...faults: readonly string[]): Promise<Observed> {
  const { board, problems } = checkBoard({
    name: 'observed',
    chassis: {
      0: {
        rails: {
          A: { enable: line(0), good: line(1) },
          B: { enable: line(2), good: line(3), needs: ['A'] },
        },
        pgood,
        resets: { CPU: line(4) },
      },
    },
  });
  if (!board) throw new TypeError(JSON.stringify(problems));
  const { plant, clock } = createBench(board, { initially: 'on', faults });
  const ports = { gpio: async () => createMockGpio(plant), i2c: async () => createMockI2c(plant), clock };
  const hardware = await clock.runUntil(openChassis(board, 0, ports));
  const observed = await clock.runUntil(hardware.observe());
  await hardware.close();
  return observed;
}

/** What could not be read, by where each of its reasons begins. */
const told = ({ unreadable }: Observed) =>
  unreadable.map(({ signal, rail, reason }) => [signal, rail, reason.split(': GPIO')[0]]);

const LINE = line(7);
const RAILS = { rails: true };
const BOTH = { all: [LINE, RAILS] };
const EITHER = { any: [LINE, RAILS] };
const GOOD_A = ['good', 'A', 'good signal of rail A'];

describe('what cannot be read is told once', () => {
  it.each([
    ['pgood, of a line', LINE, ['line pgood read error'], [['pgood', null, 'pgood']]],
    ['a rail that says nothing of pgood', LINE, ['line rail A good read error'], [GOOD_A]],
    [
      'pgood, of the rails',
      RAILS,
      ['line rail A good read error'],
      [GOOD_A, ['pgood', null, 'pgood: good signal of rail A']],
    ],
    // The line alone decides.
    ['a rail that pgood is beside of, of any', EITHER, ['line rail A good read error'], [GOOD_A]],
    [
      'one of several signals',
      BOTH,
      ['line pgood read error'],
      // By its number, because there are several.
      [['pgood', null, 'pgood 1']],
    ],
    [
      'the first of several, with all that hangs on it',
      BOTH,
      ['line pgood read error', 'line rail A good read error'],
      [GOOD_A, ['pgood', null, 'pgood 1']],
    ],
  ])('%s', async (_, pgood, faults, expected) => {
    const observed = await observe(pgood, ...faults);
    expect(told(observed)).toEqual(expected);
    const refs = expected.map(([signal, rail]) => ({ signal, rail }));
    expect(observed.observation.unread).toEqual(refs);
    for (const { signal, error, reason } of observed.unreadable) {
      expect(error.message).toBe(`chassis 0: ${reason}`);
      expect(String(error.details.role).startsWith('pgood')).toBe(signal === 'pgood');
    }
  });
});

describe('the signals of pgood are listed where there are several', () => {
  const listed = async (pgood: object, ...faults: readonly string[]) =>
    (await observe(pgood, ...faults)).pgoodSources.map(({ role, good, reason }) => [
      role,
      good,
      reason !== null,
    ]);

  it.each([
    ['one line is no choice', LINE, []],
    ['the rails have their own place', RAILS, []],
    ['a line beside the rails', BOTH, [['pgood 1', true, false]]],
    [
      'two lines',
      { all: [LINE, line(8)] },
      [
        ['pgood 1', true, false],
        ['pgood 2', true, false],
      ],
    ],
  ])('%s', async (_, pgood, expected) => {
    expect(await listed(pgood)).toEqual(expected);
  });

  it('with what one says, and why another one says nothing', async () => {
    expect(await listed({ any: [LINE, line(8)] }, 'pgood 1 never', 'line pgood 2 read error')).toEqual([
      ['pgood 1', false, false],
      ['pgood 2', null, true],
    ]);
  });
});

describe('a device that has its power from a rail which nothing shows', () => {
  /** What was not asked for of a chassis that is on, where the enables read off. */
  async function unpowered(latch: boolean, faults: readonly string[]): Promise<(string | null)[]> {
    const { board, problems } = checkBoard({
      name: 'blind',
      devices: { vr: { bus: 1, address: '0x40', poweredBy: 'U' } },
      chassis: {
        0: {
          rails: {
            U: { enable: line(0), nominalVolts: 1 },
            V: { enable: line(1), good: { pmbus: 'vr', minVolts: 0.9 }, nominalVolts: 1, needs: ['U'] },
          },
          pgood: LINE,
          ...(latch && { latch: line(9) }),
        },
      },
    });
    if (!board) throw new TypeError(JSON.stringify(problems));
    const { plant, clock } = createBench(board, { initially: 'on', faults });
    plant.hold(line(0), 0);
    const ports = { gpio: async () => createMockGpio(plant), i2c: async () => createMockI2c(plant), clock };
    const hardware = await clock.runUntil(openChassis(board, 0, ports));
    const { observation } = await clock.runUntil(hardware.observe());
    await hardware.close();
    return observation.unpowered?.map(({ rail }) => rail) ?? [];
  }

  it.each([
    ['is asked where a latch may hold the enable, and pgood stands', true, [], []],
    ['is not asked where pgood does not stand', true, ['pgood never'], ['V']],
    ['is asked where nobody can read pgood', true, ['line pgood read error'], []],
    ['is not asked without a latch: the enable is off', false, [], ['V']],
    [
      'is asked without a latch where the enable cannot be read',
      false,
      ['line rail U enable read error'],
      [],
    ],
  ])('%s', async (_, latch, faults, expected) => {
    expect(await unpowered(latch, faults)).toEqual(expected);
  });
});

describe('what keeps a chassis from being judged', () => {
  const { board } = checkBoard({
    name: 'judged',
    chassis: {
      0: {
        rails: {
          A: { enable: line(0), good: line(1) },
          AUX: { enable: line(2), good: line(3), needs: ['A'], logOnly: true },
        },
        pgood: line(7),
      },
    },
  });
  const chassis = board?.chassis['0'];
  if (!board || !chassis) throw new TypeError('refused');
  const plan = planOf(chassis, board.devices);

  it.each([
    ['good', 'A', true],
    ['good', 'AUX', false],
    ['enable', 'AUX', true],
    ['pgood', null, true],
  ] as const)('is an unread "%s" of %s: %s', (signal, rail, isDecisive) => {
    const error = new HardwareError('GPIO_FAILED', 'EIO', {});
    const unread = { signal, rail, reason: 'EIO', error } as unknown as Observed['unreadable'][number];
    expect(decisive(plan, [unread])).toEqual(isDecisive ? [unread] : []);
  });
});
