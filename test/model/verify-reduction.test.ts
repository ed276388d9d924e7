import fc from 'fast-check';
import { expect, it } from 'vitest';
import type { SequenceAction } from '../../src/sequence/events.ts';
import type { ChassisSnapshot } from '../../src/sequence/machine.ts';
import type { Plan } from '../../src/sequence/plan.ts';
import type { State } from '../../src/sequence/state.ts';
import { rankedPlan } from '../../src/verify/durations.ts';
import { explore } from '../../src/verify/explore.ts';
import { MACHINE } from '../../src/verify/machine.ts';
import { createSituations, eventOf, type Told } from '../../src/verify/situations.ts';
import { drawnBoard } from './drawn-boards.ts';
import {
  ABSENT,
  ASLEEP,
  BUTTON,
  BUTTON_CHAIN,
  CHAIN,
  LATCHED,
  RESTING,
  RESTING_UNSEEN,
  SET_UP,
} from './small-boards.ts';

const MAX_STATES = 1_000_000;

/** What the machine may be told next, whatever it waits for. */
function eventsOf({ rails, sleep }: Plan): Told[] {
  return [
    ...(['POWER_ON', 'POWER_OFF', 'CLEAR', 'TICK'] as const).map((type) => ({ type })),
    { type: 'STALLED', ms: 60 },
    { type: 'LATCHED' },
    ...(sleep === null
      ? []
      : (['awake', 'leaving', 'asleep', 'unread'] as const).map(
          (seen): Told => ({ type: 'HOST_SLEEP', seen }),
        )),
    ...[true, false].flatMap((good): Told[] => [
      { type: 'PGOOD_LEVEL', good },
      ...rails.map(({ name }): Told => ({ type: 'RAIL_LEVEL', rail: name, good })),
    ]),
    ...rails.flatMap(({ name }): Told[] => [
      { type: 'DRIVEN', rail: name, asserted: false },
      { type: 'DRIVEN', rail: name, asserted: true },
      {
        type: 'DRIVE_FAILED',
        drive: { what: 'enable', rail: name },
        asserted: true,
        readBack: false,
        code: 'I2C_FAILED',
        reason: 'EIO',
      },
      { type: 'READ_FAILED', signal: 'good', rail: name, code: 'GPIO_FAILED', reason: 'EIO' },
    ]),
  ];
}

const drivenBy = (actions: readonly SequenceAction[]) =>
  actions.map((action) => (action.type === 'raiseFault' ? [action.fault.kind, action.fault.rail] : action));

/**
 * Takes contexts that count as one, and lets each of them go on. Whatever they are told, whenever it comes, and whatever a process
 * finds that takes over from them, they have to drive the same and to count as one again.
 */
function compareMerged(
  board: Plan,
  { faults, maxStates, most }: Record<'faults' | 'maxStates' | 'most', number>,
) {
  const plan = rankedPlan(board);
  const { of } = createSituations(MACHINE, plan);
  const events = eventsOf(plan);
  const met = new Set<string>();
  let compared = 0;
  const goOn = (snapshot: ChassisSnapshot, event: Told, afterMs: number) => {
    const next = MACHINE.step(snapshot, eventOf(event, snapshot.context.nowMs + afterMs));
    return { id: of(next.snapshot, null).id, driven: drivenBy(next.actions) };
  };
  const takenUp = ({ value, context }: ChassisSnapshot) => {
    const { plan: _, readings: __, ...sequence } = context;
    const seen = Object.entries(sequence.rails).map(([name, { enabled, good }]) => [name, { enabled, good }]);
    const { pgood, resetsAsserted, nowMs } = sequence;
    const observation = { rails: Object.fromEntries(seen), pgood: pgood.level, resetsAsserted };
    const found = MACHINE.reconcile(plan, observation, { state: value as State, sequence }, nowMs);
    return of(MACHINE.takeUp(plan, found), null).id;
  };
  explore(MACHINE, plan, {
    faults,
    maxStates,
    onMerge({ snapshot, waitMs }, other) {
      const pair = `${textOf(snapshot)} ${textOf(other)}`;
      if (compared > most || met.has(pair)) return;
      met.add(pair);
      expect(takenUp(other)).toBe(takenUp(snapshot));
      for (const event of events) {
        for (const afterMs of new Set([0, waitMs ?? 1, (waitMs ?? 1) + 1])) {
          compared += 1;
          expect(goOn(other, event, afterMs), JSON.stringify({ event, afterMs })).toEqual(
            goOn(snapshot, event, afterMs),
          );
        }
      }
    },
  });
  return compared;
}

/** With times from now, and without what is told to people alone: what two contexts have to differ in to be worth a comparison. */
function textOf({ value, context }: ChassisSnapshot): string {
  const { plan: _, nowMs, fault, ...rest } = context;
  const relative = (key: string, each: unknown) =>
    key.endsWith('Ms') && typeof each === 'number' ? each - nowMs : each;
  return `${String(value)} ${fault?.state} ${JSON.stringify(rest, relative)}`;
}

it.each([
  ['a chain', CHAIN.plan],
  ['a chain behind a latch', LATCHED.plan],
  ['an order of its own on the way down, with rests', RESTING_UNSEEN.plan],
  ['a chain without its last rail, whose part is absent', ABSENT.plan],
  ['a chain whose last rail is set up', SET_UP.plan],
  ['a power button behind a rail', BUTTON_CHAIN.plan],
  ['a power button whose host tells that it sleeps', ASLEEP.plan],
])('situations that count as one go on alike, whatever is told and whenever: %s', (_, board) => {
  expect(compareMerged(board, { faults: 1, maxStates: 4_000, most: 40_000 })).toBeGreaterThan(20_000);
});

it('situations that count as one go on alike on drawn boards', () => {
  fc.assert(
    fc.property(drawnBoard({ min: 1, max: 3, buttons: true }), fc.constantFrom(1, 2), ({ plan }, faults) => {
      compareMerged(plan, { faults, maxStates: 1_500, most: 3_000 });
    }),
    { numRuns: 25 },
  );
});

const ALONE: Plan = {
  ...CHAIN.plan,
  rails: CHAIN.plan.rails.slice(0, 1).map((rail) => ({ ...rail, neededBy: [] })),
};

it.each([
  ['a rail alone, one fault', ALONE, 1],
  ['a chain, no fault', CHAIN.plan, 0],
  ['a chain whose last rail rests, no fault', RESTING.plan, 0],
  ['a chain without its last rail, whose part is absent, no fault', ABSENT.plan, 0],
  ['a chain whose last rail is set up, no fault', SET_UP.plan, 0],
  ['an order of its own on the way down, with rests, no fault', RESTING_UNSEEN.plan, 0],
  ['a power button, no fault', BUTTON.plan, 0],
  ['a power button behind a rail, no fault', BUTTON_CHAIN.plan, 0],
  ['a power button whose host tells that it sleeps, no fault', ASLEEP.plan, 0],
])(
  'a search that leaves nothing out of a situation but old age comes to the same end: %s',
  (_, board, faults) => {
    const plan = rankedPlan(board);
    const options = { faults, maxStates: MAX_STATES };
    const reduced = explore(MACHINE, plan, options);
    const whole = explore(MACHINE, plan, { ...options, isUnreduced: true });
    expect(whole).toMatchObject({ counterexample: null, isFinished: true });
    expect(reduced).toMatchObject({ counterexample: null, isFinished: true });
    expect([...reduced.taken].sort()).toEqual([...whole.taken].sort());
    expect(2 * reduced.states).toBeLessThan(whole.states);
  },
);
