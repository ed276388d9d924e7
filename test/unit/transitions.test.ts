/** The transitions of the chart by the names that people read, and which of them a step takes. */
import { describe, expect, it } from 'vitest';
import { observeTransitions, transitionNames } from '../../src/sequence/machine.ts';
import { planOf } from '../../src/sequence/plan.ts';
import { STATES } from '../../src/sequence/state.ts';
import { shippedBoard } from './bench.ts';
import { machinesOf } from './machine-in.ts';

const board = shippedBoard('reference');
const chassis = board.chassis['0'];
if (!chassis) throw new RangeError('no chassis 0');
const machineIn = machinesOf(planOf(chassis, board.devices));

/** What `work` takes, in its order. */
function taken(work: () => void): string[] {
  const names: string[] = [];
  const stop = observeTransitions((name) => names.push(name));
  try {
    work();
  } finally {
    stop();
  }
  return names;
}

describe('a transition of the chart', () => {
  it.each([
    // What any state does with an event.
    'chassis: RAIL_LEVEL',
    'off: POWER_ON to opPowerStart',
    'failed: POWER_OFF [powerSeen] to opPowerStop',
    'failed: POWER_OFF',
    'opPowerStart: always [allEnabled] to opWaitPowerOn',
    'pgood: always [pgoodLost] to fault',
    'fault: always [canDisable]',
  ])('is named by its state, what takes it, its guard and where it leads: %s', (name) => {
    expect(transitionNames()).toContain(name);
  });

  it('is one of the state in front of it, and leads to one', () => {
    const names = transitionNames();
    expect(new Set(names.map((name) => name.split(': ')[0]))).toEqual(new Set(['chassis', ...STATES]));
    for (const name of names) {
      expect(name).toMatch(/^\w+: \w+( \[\w+\])?( to \w+)?$/);
      const [, to = 'off'] = name.split(' to ');
      expect(STATES).toContain(to);
    }
  });

  it('is told when a step takes it, in the order in which they are taken', () => {
    expect(taken(() => machineIn('off').tell({ type: 'POWER_ON', atMs: 1_000 }))).toEqual([
      'off: POWER_ON to opPowerStart',
      'opPowerStart: always [otherRailIsNext]',
      // Nothing powers the first rail, so there is nothing to read before it.
      'opPowerStart: always [nextIsChecked]',
    ]);
    expect(taken(() => machineIn('off').tell({ type: 'TICK', atMs: 1_000 }))).toEqual(['chassis: TICK']);
  });

  it('is one of those that are listed, and none is told any more once nobody listens', () => {
    const names: string[] = [];
    const stop = observeTransitions((name) => names.push(name));
    for (const state of STATES) {
      for (const type of ['POWER_ON', 'POWER_OFF', 'CLEAR'] as const)
        machineIn(state).tell({ type, atMs: 1_000 });
    }
    stop();
    expect(names.length).toBeGreaterThan(STATES.length);
    expect(names.filter((name) => !transitionNames().includes(name))).toEqual([]);
    const before = names.length;
    machineIn('off').tell({ type: 'POWER_ON', atMs: 1_000 });
    expect(names).toHaveLength(before);
  });
});
