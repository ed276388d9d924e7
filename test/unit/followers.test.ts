/** Rails that are only watched, as the sequence takes what it hears of them. */
import { describe, expect, it } from 'vitest';
import type { SequenceEvent } from '../../src/sequence/events.ts';
import { planOf } from '../../src/sequence/plan.ts';
import type { RailState } from '../../src/sequence/state.ts';
import { checkBoard } from '../check-board.ts';
import { machinesOf } from './machine-in.ts';

const line = (offset: number) => ({ chip: 'gpio', line: offset });
const times = { settleMs: 0, onTimeoutMs: 100, offTimeoutMs: 200 };
const { board } = checkBoard({
  name: 'followers',
  chassis: {
    0: {
      rails: {
        PSU: { good: line(0), ...times },
        P12V: { enable: line(1), good: line(2), needs: ['PSU'], ...times, offTimeoutMs: 250 },
        F: { good: line(3), needs: ['P12V'], ...times },
        VCORE: { enable: line(5), good: line(6), needs: ['F'], ...times },
        LAST: { good: line(7), needs: ['VCORE'], ...times },
      },
      pgood: { ...line(20), deglitchMs: 5, onTimeoutMs: 300, offTimeoutMs: 300 },
    },
  },
});
const chassis = board?.chassis['0'];
if (!board || !chassis) throw new TypeError('refused');
const machineIn = machinesOf(planOf(chassis, board.devices));

const up: Partial<RailState> = { phase: 'up', enabled: true, good: true, sinceMs: 900, deadlineMs: null };
const falling: Partial<RailState> = {
  ...{ phase: 'falling', enabled: false, good: true, sinceMs: 900 },
  deadlineMs: 1_150,
};
const down: Partial<RailState> = { phase: 'down', enabled: false, good: false, deadlineMs: null };
const STANDING = { level: true, good: true, unread: false, sinceMs: 900 };
const driven = (rail: string, asserted: boolean, atMs: number): SequenceEvent => ({
  ...{ type: 'DRIVEN', rail, asserted, atMs },
});

describe('a follower of two rails', () => {
  const both = checkBoard({
    name: 'both',
    chassis: {
      0: {
        rails: {
          A: { enable: line(1), good: line(2), ...times },
          B: { enable: line(3), good: line(4), ...times },
          F: { good: line(5), needs: ['A', 'B'], ...times },
        },
        pgood: { ...line(20), deglitchMs: 5, onTimeoutMs: 300, offTimeoutMs: 300 },
      },
    },
  }).board?.chassis['0'];
  if (!both) throw new TypeError('refused');

  it.each([
    ['has to come when both are up', up, 'rising'],
    ['is not waited for as long as one of them is not', { ...up, phase: 'rising', good: false }, 'down'],
  ] as const)('%s', (_, other, phase) => {
    const machine = machinesOf(planOf(both, {}))('opPowerStart', { rails: { A: up, B: other, F: down } });
    machine.tell({ type: 'TICK', atMs: 1_010 });
    expect(machine.rail('F').phase).toBe(phase);
  });
});

describe('a follower that falls', () => {
  it('has its time from when the enable that it goes with was switched off', () => {
    const machine = machineIn('opPowerStop', { rails: { PSU: up, P12V: falling, F: falling } });
    machine.tell(driven('P12V', false, 1_040));
    expect(machine.rail('P12V')).toMatchObject({ deadlineMs: 1_290, sinceMs: 1_040 });
    expect(machine.rail('F')).toMatchObject({ phase: 'falling', deadlineMs: 1_240, sinceMs: 1_040 });
  });

  it('keeps its time where an enable was switched on, and where another rail went off', () => {
    for (const event of [driven('P12V', true, 1_040), driven('VCORE', false, 1_040)]) {
      const machine = machineIn('opPowerStop', { rails: { PSU: up, F: falling, P12V: falling } });
      machine.tell(event);
      expect(machine.rail('F')).toMatchObject({ phase: 'falling', deadlineMs: 1_150, sinceMs: 900 });
    }
  });

  it.each(['down', 'stuck'] as const)('and is %s by then is waited for no more', (phase) => {
    const was = { ...down, phase, sinceMs: 900, good: phase === 'stuck' };
    const machine = machineIn('opPowerStop', { rails: { PSU: up, P12V: falling, F: was } });
    machine.tell(driven('P12V', false, 1_040));
    expect(machine.rail('F')).toMatchObject(was);
  });

  it('is waited for again where what it needs comes before it has gone', () => {
    const machine = machineIn('opPowerStart', { rails: { PSU: up, P12V: up, F: falling } });
    machine.tell({ type: 'TICK', atMs: 1_010 });
    expect(machine.rail('F')).toMatchObject({ enabled: true, phase: 'rising', deadlineMs: 1_110 });
    // It was good all the while, and has no settle time: to be read is enough.
    machine.look('F', true, 1_011);
    expect(machine.rail('F')).toMatchObject({ phase: 'up', good: true, sinceMs: 900, deadlineMs: null });
    const gone = machineIn('opPowerStart', { rails: { PSU: up, P12V: up, F: { ...falling, good: false } } });
    gone.tell({ type: 'TICK', atMs: 1_010 });
    expect(gone.rail('F')).toMatchObject({ enabled: true, phase: 'rising', deadlineMs: 1_110 });
  });

  it.each(['P12V', 'F'])('is down once it is seen to be: %s', (rail) => {
    const machine = machineIn('opPowerStop', { rails: { PSU: up, [rail]: falling } });
    machine.look(rail, false, 1_020);
    expect(machine.rail(rail)).toMatchObject({ enabled: false, phase: 'down', good: false });
  });
});

describe('a follower that comes last', () => {
  it('is waited for with pgood: the enables are all on by then', () => {
    const machine = machineIn('opPowerStart', { rails: { PSU: up, P12V: up, F: up } });
    machine.tell({ type: 'TICK', atMs: 1_000 });
    expect(machine.look('F', true, 1_000)).toEqual(['VCORE on']);
    expect(machine.rail('LAST')).toMatchObject({ phase: 'down', enabled: false });
    expect(machine.state).toBe('opWaitPowerOn');
    machine.look('VCORE', true, 1_010);
    expect(machine.rail('LAST')).toMatchObject({ phase: 'rising', enabled: true, deadlineMs: 1_110 });
  });
});

describe('a follower whose signal cannot be read', () => {
  const unread = (rail: string): SequenceEvent => ({
    ...{ type: 'READ_FAILED', signal: 'good', rail, code: 'GPIO_FAILED', reason: 'EIO' },
    ...{ askedMs: 1_001, atMs: 1_002 },
  });

  it.each<[string, Partial<RailState>, boolean]>([
    ['that is up stands as it was read', up, true],
    ['that has not come has not come', { ...up, phase: 'rising', good: false, deadlineMs: 9_000 }, false],
    ['that was down stays so', down, false],
    // It was enabled, and nobody has seen it go.
    ['on its way down may be good', { ...falling, good: false }, true],
    ['on its way down may be good as it was', falling, true],
  ])('%s', (_, was, good) => {
    const machine = machineIn('pgood', { rails: { PSU: up, P12V: up, F: was } });
    machine.tell(unread('F'));
    expect(machine.rail('F')).toMatchObject({ good, goodUnread: true });
  });
});

describe('a supply', () => {
  it('is waited for from the request on, each behind another for longer', () => {
    const machine = machineIn('off');
    machine.tell({ type: 'POWER_ON', atMs: 1_000 });
    expect(machine.rail('PSU')).toMatchObject({ enabled: true, phase: 'rising', deadlineMs: 1_100 });
    expect(machine.rail('F')).toMatchObject({ enabled: false, phase: 'down' });
  });

  it('that was good before has to be read before it is there, and again before anything is raised on it', () => {
    const machine = machineIn('off', { rails: { PSU: { ...down, good: true } } });
    expect(machine.tell({ type: 'POWER_ON', atMs: 1_000 })).toEqual([]);
    expect(machine.look('PSU', true, 1_001)).toEqual([]);
    expect(machine.rail('PSU').phase).toBe('up');
    expect(machine.look('PSU', true, 1_002)).toEqual(['P12V on']);
  });

  it('is needed no more when power goes down, whatever it reads, and everything else has its time', () => {
    const machine = machineIn('pgood', {
      rails: { PSU: up, P12V: up, F: up, VCORE: up },
      change: { pgood: STANDING },
    });
    expect(machine.tell({ type: 'POWER_OFF', atMs: 1_000 })).toEqual(['VCORE off']);
    expect(machine.rail('PSU')).toMatchObject({
      ...{ phase: 'down', enabled: false, good: true, deadlineMs: null },
    });
    expect(machine.rail('F')).toMatchObject({ phase: 'up', enabled: true, deadlineMs: null });
    expect(machine.look('VCORE', false, 1_010)).toEqual(['P12V off']);
    expect(machine.rail('F')).toMatchObject({ phase: 'falling', enabled: false, deadlineMs: 1_210 });
    expect(machine.rail('P12V')).toMatchObject({ phase: 'falling', enabled: false, deadlineMs: 1_260 });
    expect(machine.rail('PSU')).toMatchObject({ phase: 'down', good: true });
  });

  it('that was still waited for is waited for no more', () => {
    const machine = machineIn('opPowerStart', {
      rails: { PSU: { ...up, phase: 'rising', good: false, deadlineMs: 9_000 } },
    });
    machine.tell({ type: 'POWER_OFF', atMs: 1_000 });
    expect(machine.rail('PSU')).toMatchObject({ phase: 'down', enabled: false, deadlineMs: null });
    // Nothing was on, so nothing of it is due.
    machine.tell({ type: 'TICK', atMs: 9_001 });
    expect(machine.fault).toBeNull();
  });

  it('that has dropped keeps the chassis from being ready', () => {
    const ALL = { PSU: up, P12V: up, F: up, VCORE: up, LAST: up };
    const machine = machineIn('opWaitPowerOn', {
      rails: { ...ALL, PSU: { ...up, good: false, sinceMs: 999 } },
      change: { pgood: STANDING, stageDeadlineMs: 9_000 },
    });
    machine.look('LAST', true, 1_000);
    expect([machine.state, machine.sequence.readyMs]).toEqual(['opWaitPowerOn', null]);
    machine.look('PSU', true, 1_002);
    expect(machine.state).toBe('pgood');
  });

  it('is no power that stays: it is what delivers again that is named', () => {
    const machine = machineIn('opWaitPowerOff', {
      rails: { PSU: { ...down, good: true }, F: { ...down, good: true } },
      change: { stageDeadlineMs: 1_100 },
    });
    machine.look(null, false, 1_100);
    machine.look('PSU', true, 1_100);
    expect([machine.state, machine.fault]).toEqual(['opWaitPowerOff', null]);
    machine.look('F', true, 1_100);
    expect(machine.fault).toBe(
      'powerOffTimeout of null: rail F delivers again 300 ms after every rail was disabled',
    );
  });
});
