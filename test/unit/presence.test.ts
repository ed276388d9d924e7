/** What counts as absent, for each thing that may be read of a part and of its rail. */
import { describe, expect, it } from 'vitest';
import { HardwareError } from '../../hw/errors.ts';
import { createMockGpio } from '../../mocks/backends/gpio.ts';
import { createMockI2c } from '../../mocks/backends/i2c.ts';
import { createPlant } from '../../mocks/plant/plant.ts';
import { createVirtualClock } from '../../mocks/virtual-clock.ts';
import type { ChassisBoard } from '../../src/board/schema.ts';
import { type ChassisHardware, openChassis } from '../../src/run/hardware.ts';
import {
  type PresentChassis,
  presentChassis,
  presentNow,
  presentToPowerOff,
  presentToPowerOn,
  removedFrom,
  type WholeChassis,
} from '../../src/run/presence.ts';
import { planOf } from '../../src/sequence/plan.ts';
import { reconcile } from '../../src/sequence/reconcile.ts';
import type { Hint, Observation, State } from '../../src/sequence/state.ts';
import { checkBoard } from '../check-board.ts';

const at = (line: number) => ({ chip: 'soc', line });
const UNKNOWN = new HardwareError('GPIO_FAILED', 'line 20 cannot be read', {});
type Seen = boolean | HardwareError;

/** A rail that is always there, and two of parts that may be absent. */
function boardOf(isOptional: boolean, slotNeeds = 'MAIN') {
  const presence = (line: number) => (isOptional ? { presence: at(line) } : {});
  const { board, problems } = checkBoard({
    name: 'parts',
    chassis: {
      0: {
        rails: {
          MAIN: { enable: at(0), good: at(1) },
          RISER: { enable: at(2), good: at(3), needs: ['MAIN'], ...presence(20) },
          SLOT: { enable: at(4), good: at(5), needs: [slotNeeds], ...presence(21) },
        },
        pgood: at(6),
      },
    },
  });
  if (!board) throw new TypeError(JSON.stringify(problems));
  return board;
}

/** What is read of a rail. An enable that cannot be read is taken for one that is asserted. */
const READ = {
  off: { enabled: false, good: false },
  enabled: { enabled: true, good: false },
  good: { enabled: false, good: true },
  unread: { enabled: true, good: false, unread: ['enable'] },
  'unread and good': { enabled: true, good: true, unread: ['enable'] },
  'with an unread good': { enabled: true, good: false, unread: ['good'] },
} as const;
type Read = keyof typeof READ;
const ALL = Object.keys(READ) as Read[];

/** A chassis of whose riser, and of whose slot, this is seen. */
async function createChassis(
  seen: { readonly RISER: Seen; readonly SLOT?: Seen },
  read: Read | null,
  isOptional = true,
  slotNeeds = 'MAIN',
) {
  const board = boardOf(isOptional, slotNeeds);
  const clock = createVirtualClock();
  const plant = createPlant({ board, clock, initially: 'off' });
  const ports = { gpio: async () => createMockGpio(plant), i2c: async () => createMockI2c(plant), clock };
  const opened = await clock.runUntil(openChassis(board, 0, ports));
  const plan = planOf(board.chassis['0'] as ChassisBoard, board.devices);
  const { observation } = await clock.runUntil(opened.observe());
  const asked = { presence: 0, without: [] as (readonly string[])[] };
  const asRead = (absent: readonly string[]): Observation => {
    if (read === null) return expect.fail('nothing had to be read');
    const { enabled, good, ...rest } = READ[read];
    const unread = 'unread' in rest ? rest.unread.map((signal) => ({ signal, rail: 'RISER' })) : [];
    return {
      ...observation,
      rails: Object.fromEntries(
        Object.entries({ ...observation.rails, RISER: { ...observation.rails.RISER, enabled, good } }).filter(
          ([name]) => !absent.includes(name),
        ),
      ),
      // Of a rail that is always there as well: it says nothing about the part.
      unread: [{ signal: 'enable', rail: 'MAIN' }, ...unread],
    } as never as Observation;
  };
  const hardware: ChassisHardware = {
    ...opened,
    async presence() {
      asked.presence += 1;
      return new Map([
        ['RISER', seen.RISER],
        ['SLOT', seen.SLOT ?? true],
      ]);
    },
    async without(absent) {
      asked.without.push(absent);
      const rest = await opened.without(absent);
      return { ...rest, observe: async () => ({ ...(await opened.observe()), observation: asRead(absent) }) };
    },
  };
  const whole: WholeChassis = { plan, hardware };
  const { sequence } = reconcile(plan, observation, null, clock.nowMs());
  const hintOf = (state: State, absent?: readonly string[]): Hint => ({
    state,
    sequence: { ...sequence, ...(absent && { absent }) },
  });
  /** What is taken for absent, in the plan and in the hardware. */
  const absentOf = (present: PresentChassis): readonly string[] => {
    const names = present.plan.rails.map(({ name }) => name);
    const absent = plan.rails.flatMap(({ name }) => (names.includes(name) ? [] : [name]));
    expect(asked.without.at(-1)).toEqual(absent);
    return absent;
  };
  return { whole, hintOf, absentOf, asked };
}

describe('for a power-off', () => {
  it.each<[string, kept: boolean, Seen, isThere: readonly Read[] | 'always' | 'never']>([
    ['absent before, and now', true, false, 'never'],
    ['absent before, and has come', true, true, ALL.filter((read) => read !== 'off')],
    [
      'absent before, and nobody knows',
      true,
      UNKNOWN,
      ALL.filter((read) => !['off', 'unread'].includes(read)),
    ],
    ['there before, and now', false, true, 'always'],
    ['there before, and nobody knows', false, UNKNOWN, 'always'],
    ['there before, and gone', false, false, ALL.filter((read) => !['off', 'unread'].includes(read))],
  ])('a part that was %s is missed where something of it may be on', async (_, kept, seen, isThere) => {
    for (const read of ALL) {
      const isDecided = typeof isThere === 'string';
      const { whole, hintOf, absentOf } = await createChassis({ RISER: seen }, isDecided ? null : read);
      const present = await presentToPowerOff(whole, hintOf('pgood', kept ? ['RISER'] : undefined));
      const there = isDecided ? isThere === 'always' : isThere.includes(read);
      expect(absentOf(present), read).toEqual(there ? [] : ['RISER']);
      expect(present).toMatchObject({ isKept: true, error: null, guessed: [] });
    }
  });

  it.each([
    ['absent before', ['SLOT'], ['SLOT']],
    ['there before', undefined, []],
  ])('each part is judged for itself, with one that was %s', async (_, kept, expected) => {
    // The riser has gone, and nothing of it is on.
    const { whole, hintOf, absentOf } = await createChassis(
      { RISER: false, SLOT: kept === undefined },
      'off',
    );
    expect(absentOf(await presentToPowerOff(whole, hintOf('pgood', kept)))).toEqual(['RISER', ...expected]);
  });

  it('without a state file it is as it is now', async () => {
    const { whole, absentOf, asked } = await createChassis({ RISER: false }, null);
    const present = await presentToPowerOff(whole, null);
    expect(absentOf(present)).toEqual(['RISER']);
    expect([present.isKept, asked.presence]).toEqual([false, 1]);
  });
});

describe('now', () => {
  it.each([
    [true, []],
    [false, ['RISER']],
  ])('what is seen is so: %s', async (seen, absent) => {
    const { whole, absentOf } = await createChassis({ RISER: seen }, null);
    const present = await presentNow(whole);
    expect(absentOf(present)).toEqual(absent);
    expect(present).toMatchObject({ isKept: false, error: null, guessed: [] });
  });

  it.each(ALL)('what nobody knows is absent if nothing of it may be on: %s', async (read) => {
    const { whole, absentOf } = await createChassis({ RISER: UNKNOWN, SLOT: false }, read);
    const present = await presentNow(whole);
    const guessed = read === 'off' ? ['RISER'] : [];
    expect(absentOf(present)).toEqual([...guessed, 'SLOT']);
    expect(present).toMatchObject({ isKept: false, error: UNKNOWN, guessed });
  });

  it('what nobody knows is absent with what it needs, of which nothing is read', async () => {
    const { whole, absentOf } = await createChassis({ RISER: false, SLOT: UNKNOWN }, 'off', true, 'RISER');
    const present = await presentNow(whole);
    expect(absentOf(present)).toEqual(['RISER', 'SLOT']);
    expect(present).toMatchObject({ isKept: false, error: UNKNOWN, guessed: [] });
  });

  it('a part that is seen is no guess beside one of which nobody knows', async () => {
    const { whole, absentOf } = await createChassis({ RISER: UNKNOWN, SLOT: true }, 'off');
    expect(absentOf(await presentNow(whole))).toEqual(['RISER']);
  });

  it.each([
    [false, ['RISER']],
    [true, []],
    [UNKNOWN, []],
  ])('what was removed is what is seen to be gone: %s', async (seen, removed) => {
    const { whole } = await createChassis({ RISER: seen }, null);
    expect(await removedFrom(whole.hardware, whole.plan)).toEqual(removed);
  });
});

describe('for a power-on', () => {
  it.each<[State | null, isKept: boolean]>([
    ['opPowerStart', true],
    ['opWaitPowerOn', true],
    ['pgood', true],
    ['off', false],
    ['failed', false],
    [null, false],
  ])('in %s what it began with is kept: %s', async (state, isKept) => {
    const { whole, hintOf, absentOf, asked } = await createChassis({ RISER: false }, null);
    const present = await presentToPowerOn(whole, state && hintOf(state, ['SLOT']));
    expect(absentOf(present)).toEqual([isKept ? 'SLOT' : 'RISER']);
    expect(present).toMatchObject({ isKept, error: null, guessed: [] });
    expect(asked.presence).toBe(isKept ? 0 : 1);
  });

  it('of which nothing was absent that is kept too', async () => {
    const { whole, hintOf, absentOf } = await createChassis({ RISER: false }, null);
    expect(absentOf(await presentChassis(whole, hintOf('pgood')))).toEqual([]);
  });
});

it('a chassis whose rails all have to be there is not asked', async () => {
  const { whole, hintOf, asked } = await createChassis({ RISER: false }, null, false);
  for (const hint of [null, hintOf('off'), hintOf('pgood')]) {
    for (const present of [presentChassis, presentToPowerOn, presentToPowerOff]) {
      expect(await present(whole, hint)).toEqual({ ...whole, isKept: false, error: null, guessed: [] });
    }
  }
  expect(await removedFrom(whole.hardware, whole.plan)).toEqual([]);
  expect(asked).toEqual({ presence: 0, without: [] });
});
