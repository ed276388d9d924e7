/** What has to be good, and read anew, at the moment at which power is raised. */
import { describe, expect, it } from 'vitest';
import { planOf } from '../../src/sequence/plan.ts';
import type { RailState } from '../../src/sequence/state.ts';
import { checkBoard } from '../check-board.ts';
import { machinesOf } from './machine-in.ts';

const line = (offset: number) => ({ chip: 'gpio', line: offset });
const times = { nominalVolts: 1, settleMs: 0, onTimeoutMs: 100, offTimeoutMs: 200 };

/** P powers the device that switches V, which needs X, and that in turn P. U has no signal. */
const { board, problems } = checkBoard({
  name: 'raise',
  devices: { vr: { bus: 1, address: '0x40', poweredBy: 'P' } },
  chassis: {
    0: {
      rails: {
        P: { enable: line(0), good: line(1), ...times },
        X: { enable: line(2), good: line(3), needs: ['P'], ...times },
        V: { enable: { pmbus: 'vr' }, good: line(4), needs: ['X'], ...times },
        U: { enable: line(5), ...times },
      },
      pgood: { ...line(20), deglitchMs: 50, onTimeoutMs: 300, offTimeoutMs: 300 },
      resets: { CPU: line(21) },
    },
  },
});
const chassis = board?.chassis['0'];
if (!board || !chassis) throw new TypeError(JSON.stringify(problems));
const machineIn = machinesOf(planOf(chassis, board.devices));

const up: Partial<RailState> = { phase: 'up', enabled: true, good: true, sinceMs: 900, deadlineMs: null };
const STANDING = { level: true, good: true, unread: false, sinceMs: 900 };

describe('a rail is enabled', () => {
  const deciding = (rails: Readonly<Record<string, Partial<RailState>>> = {}) => {
    const machine = machineIn('opPowerStart', { rails: { P: up, X: up, U: up, ...rails } });
    machine.tell({ type: 'TICK', atMs: 1_000 });
    return machine;
  };

  it('once what it needs and what powers its device were read to be good', () => {
    for (const order of [
      ['X', 'P'],
      ['P', 'X'],
    ] as const) {
      const machine = deciding();
      expect(machine.look(order[0], true, 1_001)).toEqual([]);
      expect(machine.look(order[1], true, 1_002)).toEqual(['V on']);
    }
  });

  it('not while what powers its device has dropped, though what it needs itself is good', () => {
    const machine = deciding({ P: { ...up, good: false, sinceMs: 999 } });
    expect(machine.look('X', true, 1_001)).toEqual([]);
    expect(machine.look('P', false, 1_002)).toEqual([]);
    expect(machine.look('P', true, 1_003)).toEqual([]);
    // Read again for the raise that is decided on now.
    expect([machine.look('X', true, 1_004), machine.look('P', true, 1_004)]).toEqual([[], ['V on']]);
  });

  it('not by a reading of before the decision', () => {
    const machine = deciding();
    machine.tell({ type: 'RAIL_LEVEL', rail: 'X', good: true, askedMs: 999, atMs: 1_001 });
    expect(machine.look('P', true, 1_002)).toEqual([]);
    expect(machine.look('X', true, 1_003)).toEqual(['V on']);
  });

  it('not after a standstill by what was read before it', () => {
    const machine = deciding();
    machine.look('X', true, 1_001);
    machine.tell({ type: 'STALLED', ms: 50, atMs: 1_060 });
    expect(machine.look('P', true, 1_061)).toEqual([]);
    expect(machine.look('X', true, 1_062)).toEqual(['V on']);
  });
});

describe('a reset is released', () => {
  it('once every signal was read to be good, pgood among them, and nothing without one is asked', () => {
    const signals = ['P', 'X', 'V', null] as const;
    for (const last of signals) {
      const machine = machineIn('opWaitPowerOn', {
        rails: { P: up, X: up, V: up, U: up },
        change: { pgood: STANDING, stageDeadlineMs: 9_000 },
      });
      machine.tell({ type: 'TICK', atMs: 1_000 });
      for (const signal of signals) if (signal !== last) machine.look(signal, true, 1_001);
      expect(machine.sequence.resetsAsserted, `${last}`).toEqual({ CPU: true });
      machine.look(last, true, 1_002);
      expect([machine.state, machine.sequence.resetsAsserted]).toEqual(['pgood', { CPU: false }]);
    }
  });
});
