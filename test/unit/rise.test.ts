import { describe, expect, it } from 'vitest';
import { readingsDue } from '../../src/sequence/deadlines.ts';
import type { SequenceEvent } from '../../src/sequence/events.ts';
import { step, takeUp, viewOf } from '../../src/sequence/machine.ts';
import { type Plan, planOf } from '../../src/sequence/plan.ts';
import { reconcile } from '../../src/sequence/reconcile.ts';
import type { Hint, Observation, State } from '../../src/sequence/state.ts';
import { shippedBoard } from './bench.ts';

const line = (offset: number) => ({ chip: 'gpio', line: offset, active: 'high' as const });
const times = { settleMs: 10, onTimeoutMs: 100, offTimeoutMs: 200 };

/** C needs A and B. */
const PLAN: Plan = planOf(
  {
    rails: {
      A: { enable: line(0), good: line(10), needs: [], ...times },
      B: { enable: line(1), good: line(11), needs: [], ...times },
      C: { enable: line(2), good: line(12), needs: ['A', 'B'], ...times },
    },
    pgood: { ...line(20), deglitchMs: 5, onTimeoutMs: 1_000, offTimeoutMs: 1_000 },
    resets: { CPU: { ...line(21), releaseDelayMs: 20 } },
    evidence: [],
    minOffMs: 0,
  },
  {},
);

function observed(on: readonly string[], good = on, pgood = false): Observation {
  const rails = PLAN.rails.map(({ name }) => [
    name,
    { enabled: on.includes(name), good: good.includes(name) },
  ]);
  return { rails: Object.fromEntries(rails), pgood, resetsAsserted: { CPU: true } };
}

function machineAt(observation: Observation, hint: State | null = null, plan = PLAN) {
  const before = reconcile(plan, observation, null, 900);
  const left: Hint | null = hint === null ? null : { state: hint, sequence: before.sequence };
  let snapshot = takeUp(plan, reconcile(plan, observation, left, 1_000));
  const view = () => viewOf(snapshot);
  return {
    /** The enables and resets that one event moves. */
    tell(event: SequenceEvent): string[] {
      const next = step(snapshot, event);
      snapshot = next.snapshot;
      return next.actions.flatMap((action) => {
        if (action.type === 'driveEnable') return [`${action.rail} ${action.asserted ? 'on' : 'off'}`];
        return action.type === 'driveReset' ? [`reset ${action.asserted ? 'held' : 'released'}`] : [];
      });
    },
    look(source: string | null, good: boolean, askedMs: number, atMs = askedMs): string[] {
      return this.tell(
        source === null
          ? { type: 'PGOOD_LEVEL', good, askedMs, atMs }
          : { type: 'RAIL_LEVEL', rail: source, good, askedMs, atMs },
      );
    },
    due: () => {
      const { state, sequence, readings } = view();
      return readingsDue(plan, state, sequence, readings);
    },
    get state() {
      return view().state;
    },
  };
}

describe('a rail is raised on what was read after the decision', () => {
  /** A and B have settled, and what C rests on is to be read. */
  const deciding = () => {
    const machine = machineAt(observed([]));
    expect(machine.tell({ type: 'POWER_ON', atMs: 1_000 })).toEqual(['A on', 'B on']);
    machine.look('A', true, 1_001);
    machine.look('B', true, 1_001);
    machine.tell({ type: 'TICK', atMs: 1_011 });
    machine.look('A', true, 1_011);
    machine.look('B', true, 1_011);
    expect(machine.due()).toEqual(['A', 'B']);
    return machine;
  };

  it('all of it, and not a part', () => {
    const machine = deciding();
    expect(machine.look('A', true, 1_012)).toEqual([]);
    expect(machine.due()).toEqual(['B']);
    expect(machine.look('A', true, 1_013)).toEqual([]);
    expect(machine.look('B', true, 1_014)).toEqual(['C on']);
  });

  it('not on an answer that was asked for before', () => {
    const machine = deciding();
    expect(machine.look('A', true, 1_010, 1_012)).toEqual([]);
    expect(machine.look('B', true, 1_010, 1_012)).toEqual([]);
    expect(machine.due()).toEqual(['A', 'B']);
  });

  it('and not where it is gone by then', () => {
    const machine = deciding();
    expect(machine.look('A', false, 1_012)).toEqual([]);
    expect(machine.look('B', true, 1_013)).toEqual([]);
    expect(machine.state).toBe('opPowerStart');
    expect(machine.due()).toEqual([]);
  });

  it('anew after a standstill', () => {
    const machine = deciding();
    machine.look('A', true, 1_012);
    machine.tell({ type: 'STALLED', ms: 100, atMs: 1_112 });
    expect(machine.due()).toEqual(['A', 'B']);
    expect(machine.look('B', true, 1_113)).toEqual([]);
    expect(machine.look('A', true, 1_113)).toEqual(['C on']);
  });

  it('and after the enable that it needs was switched, though that is up with it', () => {
    const blind = { observable: false, settleMs: 0 };
    const rails = PLAN.rails.map((rail) => {
      if (rail.name === 'A') return { ...rail, ...blind };
      return rail.name === 'C' ? { ...rail, needs: ['A'] } : rail;
    });
    const machine = machineAt(observed([]), null, { ...PLAN, rails });
    expect(machine.tell({ type: 'POWER_ON', atMs: 1_000 })).toEqual(['A on', 'B on']);
    expect(machine.due()).toEqual(['A']);
    expect(machine.tell({ type: 'DRIVEN', rail: 'A', asserted: true, atMs: 1_040 })).toEqual([]);
    expect(machine.look('A', true, 1_001, 1_041)).toEqual([]);
    expect(machine.due()).toEqual(['A']);
    expect(machine.look('A', true, 1_042)).toEqual(['C on']);
  });
});

describe('the resets are released on what was read when their time has come', () => {
  it('every rail and pgood, and not a part', () => {
    const machine = machineAt(observed(['A', 'B', 'C'], ['A', 'B', 'C'], true), 'opWaitPowerOn');
    machine.tell({ type: 'TICK', atMs: 1_010 });
    for (const source of ['A', 'B', 'C', null]) machine.look(source, true, 1_010);
    machine.tell({ type: 'TICK', atMs: 1_030 });
    expect([...machine.due()].sort()).toEqual(['A', 'B', 'C', null]);
    for (const source of ['A', null, 'C']) expect(machine.look(source, true, 1_031)).toEqual([]);
    expect(machine.state).toBe('opWaitPowerOn');
    expect(machine.look('B', true, 1_032)).toEqual(['reset released']);
    expect(machine.state).toBe('pgood');
  });

  it.each(['B', null])('and not while one of them is low, be it for a moment: %s', (low) => {
    const all = ['A', 'B', 'C'];
    const machine = machineAt(observed(all, all, true), 'opWaitPowerOn');
    machine.tell({ type: 'TICK', atMs: 1_010 });
    for (const source of [...all, null]) machine.look(source, true, 1_010);
    machine.tell({ type: 'TICK', atMs: 1_030 });
    for (const source of [...all, null]) expect(machine.look(source, source !== low, 1_031)).toEqual([]);
    expect(machine.state).toBe('opWaitPowerOn');
    // All is read anew: a part was read before it was low.
    expect(machine.look(low, true, 1_033)).toEqual([]);
    expect([...machine.due()].sort()).toEqual([...all, null]);
    for (const source of all) expect(machine.look(source, true, 1_034)).toEqual([]);
    expect(machine.look(null, true, 1_034)).toEqual(['reset released']);
  });
});

describe('a chassis that falls is off', () => {
  it('only when this process has read pgood itself', () => {
    const machine = machineAt(observed([], ['A']), 'opWaitPowerOff');
    expect(machine.state).toBe('opWaitPowerOff');
    machine.look('A', false, 1_001);
    expect(machine.state).toBe('opWaitPowerOff');
    expect(machine.due()).toEqual([null]);
    machine.look(null, false, 1_002);
    expect(machine.state).toBe('off');
  });

  it('only when every rail is down', () => {
    const machine = machineAt(observed([], ['A', 'B']), 'opWaitPowerOff');
    machine.look(null, false, 1_001);
    machine.look('A', false, 1_002);
    expect(machine.state).toBe('opWaitPowerOff');
    machine.look('B', false, 1_003);
    expect(machine.state).toBe('off');
  });
});

describe('a fault is at rest', () => {
  it('only when every rail was read to be down after its disable, and pgood after that', () => {
    const all = ['A', 'B', 'C'];
    const machine = machineAt({ ...observed(all, all, true), resetsAsserted: { CPU: false } }, 'pgood');
    machine.look(null, false, 1_001);
    machine.tell({ type: 'TICK', atMs: 1_006 });
    expect(machine.look(null, false, 1_006)).toEqual(['reset held', 'C off', 'B off', 'A off']);
    expect(machine.state).toBe('fault');
    machine.look(null, false, 1_007);
    for (const rail of all) {
      expect(machine.state).toBe('fault');
      // Not good is not down: it was asked for before the disable.
      machine.look(rail, false, 1_005, 1_008);
      expect(machine.state).toBe('fault');
      machine.look(rail, false, 1_008);
    }
    expect(machine.state).toBe('fault');
    expect(machine.due()).toEqual([null]);
    machine.look(null, false, 1_009);
    expect(machine.state).toBe('failed');
  });
});

describe('a power-off holds every reset', () => {
  it('also where one of two is held already', () => {
    const plan: Plan = {
      ...PLAN,
      resets: ['R', 'S'].map((name) => ({ name, releaseDelayMs: 1, isHeld: false })),
    };
    const all = ['A', 'B', 'C'];
    const lines = { ...observed(all, all, true), resetsAsserted: { R: true, S: false } };
    const on = reconcile(plan, lines, null, 900);
    const taken = reconcile(plan, lines, { state: 'opPowerStop', sequence: on.sequence }, 1_000);
    const { actions } = step(takeUp(plan, taken), { type: 'TICK', atMs: 1_000 });
    expect(actions[0]).toEqual({ type: 'driveReset', reset: 'S', asserted: true });
    expect(actions.filter(({ type }) => type === 'driveReset')).toHaveLength(1);
  });
});

describe('the plan of a board', () => {
  it.each([
    ['reference', false],
    ['openpower', true],
  ] as const)('%s latches its enables: %s', (name, latched) => {
    const chassis = shippedBoard(name).chassis['0'];
    if (chassis === undefined) throw new RangeError('no chassis 0');
    expect(planOf(chassis, {}).latched).toBe(latched);
  });

  it('knows which rails tell that they are good', () => {
    const chassis = structuredClone(shippedBoard('reference').chassis['0']);
    if (chassis?.rails.P12V === undefined) throw new RangeError('no P12V');
    delete chassis.rails.P12V.good;
    const blind = planOf(chassis, {}).rails.flatMap(({ name, observable }) => (observable ? [] : [name]));
    expect(blind).toEqual(['P12V']);
  });
});
