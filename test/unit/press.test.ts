/** How a rail with a power button is switched off, by what is known of it. */
import { describe, expect, it } from 'vitest';
import { planOf } from '../../src/sequence/plan.ts';
import { pressesFor } from '../../src/sequence/presses.ts';
import type { Fault, RailState, SequenceState, State } from '../../src/sequence/state.ts';
import { checkBoard } from '../check-board.ts';
import { machinesOf } from './machine-in.ts';

const line = (offset: number) => ({ chip: 'gpio', line: offset });
const times = { settleMs: 0, onTimeoutMs: 100, offTimeoutMs: 200 };
const { board, problems } = checkBoard({
  name: 'press',
  chassis: {
    0: {
      rails: {
        STANDBY: { enable: line(0), good: line(1), ...times },
        HOST: {
          enable: { pulse: line(2), state: line(3), forceOffMs: 6_000 },
          good: line(4),
          needs: ['STANDBY'],
          ...times,
        },
      },
      pgood: { ...line(20), deglitchMs: 5, onTimeoutMs: 300, offTimeoutMs: 300 },
    },
  },
});
const chassis = board?.chassis['0'];
if (!board || !chassis) throw new TypeError(JSON.stringify(problems));
const machineIn = machinesOf(planOf(chassis, board.devices));

const up: Partial<RailState> = { phase: 'up', enabled: true, good: true, sinceMs: 900, deadlineMs: null };
const rising: Partial<RailState> = { ...up, phase: 'rising', good: false };
const down: Partial<RailState> = { phase: 'down', enabled: false, good: false, deadlineMs: null };
const STANDING = { level: true, good: true, unread: false, sinceMs: 900 };
const MISSING = { ...STANDING, level: false, good: false };
const FAULT: Fault = {
  ...{ kind: 'pgoodLost', rail: null, state: 'pgood', atMs: 990, reason: 'it went', errorCode: null },
};

describe('a rail with a power button', () => {
  it.each<[string, State, Partial<RailState>, Partial<SequenceState>, string]>([
    ['of a host that runs shuts down', 'pgood', up, { pgood: STANDING }, 'HOST off gracefully'],
    // What never came up has nobody to shut it down.
    [
      'of a host whose pgood is missing is forced',
      'opWaitPowerOn',
      up,
      { pgood: MISSING },
      'HOST off by force',
    ],
    [
      'that is on its way is forced, whatever shows',
      'opPowerStart',
      rising,
      { pgood: STANDING },
      'HOST off by force, it may be on',
    ],
    ['that was not pressed is forced', 'opPowerStart', down, { pgood: STANDING }, 'HOST off by force'],
  ])('%s when power is to go down', (_, state, host, change, expected) => {
    const machine = machineIn(state, { rails: { STANDBY: up, HOST: host }, change });
    expect(machine.tell({ type: 'POWER_OFF', atMs: 1_000 })).toContain(expected);
  });

  it('is forced after a fault, also where the host still runs', () => {
    const machine = machineIn('fault', {
      rails: { STANDBY: up, HOST: up },
      change: { pgood: STANDING, fault: FAULT },
    });
    expect(machine.tell({ type: 'TICK', atMs: 1_000 })).toContain('HOST off by force');
  });

  it('is switched off once more, by force, where nothing is on', () => {
    const machine = machineIn('off', { rails: { STANDBY: down, HOST: down } });
    expect(machine.tell({ type: 'POWER_OFF', atMs: 1_000 })).toEqual(['HOST off by force', 'STANDBY off']);
  });

  it('has its time from when the press is over, not from when it is wanted', () => {
    const on = machineIn('opPowerStart', { rails: { STANDBY: up, HOST: down } });
    on.tell({ type: 'TICK', atMs: 1_000 });
    expect(on.look('STANDBY', true, 1_000)).toEqual(['HOST on']);
    expect(on.rail('HOST')).toMatchObject({ phase: 'rising', enabled: true, deadlineMs: null });
    on.tell({ type: 'DRIVEN', rail: 'HOST', asserted: true, atMs: 1_200 });
    expect(on.rail('HOST')).toMatchObject({ phase: 'rising', deadlineMs: 1_300, sinceMs: 1_200 });
    const off = machineIn('pgood', { rails: { STANDBY: up, HOST: up }, change: { pgood: STANDING } });
    off.tell({ type: 'POWER_OFF', atMs: 1_000 });
    expect(off.rail('HOST')).toMatchObject({ phase: 'falling', enabled: false, deadlineMs: null });
    off.tell({ type: 'DRIVEN', rail: 'HOST', asserted: false, atMs: 4_000 });
    expect(off.rail('HOST')).toMatchObject({ phase: 'falling', deadlineMs: 4_200 });
  });
});

describe('the presses of a power button', () => {
  it.each<[string, boolean, boolean, boolean, string[]]>([
    ['switch a host on', true, false, false, ['short']],
    ['are none for a host that is on', true, true, false, []],
    ['are none for a host that is off', false, false, false, []],
    ['are none for a host that is off, however gently', false, false, true, []],
    ['force a host off', false, true, false, ['hold']],
    ['ask a host first, and force it then', false, true, true, ['short', 'hold']],
  ])('%s', (_, asserted, mayBeOn, isGraceful, presses) => {
    expect(pressesFor(asserted, mayBeOn, isGraceful)).toEqual(presses);
  });
});
