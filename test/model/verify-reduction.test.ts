import { expect, it } from 'vitest';
import type { SequenceAction } from '../../src/sequence/events.ts';
import type { ChassisSnapshot } from '../../src/sequence/machine.ts';
import type { Plan } from '../../src/sequence/plan.ts';
import { rankedPlan } from '../../src/verify/durations.ts';
import { explore } from '../../src/verify/explore.ts';
import { MACHINE } from '../../src/verify/machine.ts';
import { createSituations, eventOf, type Told } from '../../src/verify/situations.ts';
import { CHAIN, LATCHED } from './small-boards.ts';

const MAX_STATES = 1_000_000;

/** What the machine may be told next, whatever it waits for. */
function eventsOf({ rails }: Plan): Told[] {
  return [
    ...(['POWER_ON', 'POWER_OFF', 'CLEAR', 'TICK'] as const).map((type) => ({ type })),
    { type: 'STALLED', ms: 60 },
    { type: 'LATCHED' },
    ...[true, false].flatMap((good): Told[] => [
      { type: 'PGOOD_LEVEL', good },
      ...rails.map(({ name }): Told => ({ type: 'RAIL_LEVEL', rail: name, good })),
    ]),
    ...rails.flatMap(({ name }): Told[] => [
      { type: 'DRIVEN', rail: name, asserted: false },
      { type: 'READ_FAILED', signal: 'good', rail: name, code: 'GPIO_FAILED', reason: 'EIO' },
    ]),
  ];
}

const drivenBy = (actions: readonly SequenceAction[]) =>
  actions.map((action) => (action.type === 'raiseFault' ? [action.fault.kind, action.fault.rail] : action));

it.each([
  ['a chain', CHAIN.plan],
  ['a chain behind a latch', LATCHED.plan],
])('situations that count as one go on alike, whatever is told and whenever: %s', (_, board) => {
  const plan = rankedPlan(board);
  const { of } = createSituations(MACHINE, plan);
  const events = eventsOf(plan);
  let compared = 0;
  const goOn = (snapshot: ChassisSnapshot, event: Told, afterMs: number) => {
    const { nowMs } = snapshot.context;
    const next = MACHINE.step(snapshot, eventOf(event, nowMs + afterMs));
    return { id: of(next.snapshot, null).id, driven: drivenBy(next.actions) };
  };
  explore(MACHINE, plan, {
    faults: 1,
    maxStates: 4_000,
    onMerge({ snapshot, waitMs }, other) {
      const isSame = JSON.stringify(snapshot.context.readings) === JSON.stringify(other.context.readings);
      if (isSame || compared > 20_000) return;
      for (const event of events) {
        for (const afterMs of [0, waitMs ?? 1]) {
          compared += 1;
          expect(goOn(other, event, afterMs)).toEqual(goOn(snapshot, event, afterMs));
        }
      }
    },
  });
  expect(compared).toBeGreaterThan(2_000);
});

const ALONE: Plan = {
  ...CHAIN.plan,
  rails: CHAIN.plan.rails.slice(0, 1).map((rail) => ({ ...rail, neededBy: [] })),
};

it.each([
  ['a rail alone, one fault', ALONE, 1],
  ['a chain, no fault', CHAIN.plan, 0],
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
