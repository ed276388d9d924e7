/** Of rails that hang on each other, which one is named when power does not come or goes, and in what words. */
import { describe, expect, it } from 'vitest';
import type { SequenceEvent } from '../../src/sequence/events.ts';
import { planOf } from '../../src/sequence/plan.ts';
import type { RailState } from '../../src/sequence/state.ts';
import { checkBoard } from '../check-board.ts';
import { machinesOf } from './machine-in.ts';

const line = (offset: number) => ({ chip: 'gpio', line: offset });
const times = { settleMs: 0, onTimeoutMs: 100, offTimeoutMs: 200 };
const PGOOD = { ...line(20), deglitchMs: 5, onTimeoutMs: 300, offTimeoutMs: 300 };

function planOfRails(rails: object, devices: object = {}) {
  const { board, problems } = checkBoard({
    name: 'faults',
    devices,
    chassis: { 0: { rails, pgood: PGOOD } },
  });
  const chassis = board?.chassis['0'];
  if (!board || !chassis) throw new TypeError(JSON.stringify(problems));
  return planOf(chassis, board.devices);
}

/** PSU supplies; F follows P12V, and G follows both. */
const WATCHED = planOfRails({
  PSU: { good: line(0), ...times },
  P12V: { enable: line(1), good: line(2), needs: ['PSU'], ...times },
  F: { good: line(3), needs: ['P12V'], ...times },
  G: { good: line(4), needs: ['P12V', 'F'], ...times },
  VCORE: { enable: line(5), good: line(6), needs: ['F'], ...times },
});
const SWITCHED = planOfRails({
  P12V: { enable: line(1), good: line(2), ...times },
  F: { enable: line(3), good: line(4), needs: ['P12V'], ...times },
});

const machineIn = machinesOf(WATCHED);
const up: Partial<RailState> = { phase: 'up', enabled: true, good: true, sinceMs: 900, deadlineMs: null };
const rising: Partial<RailState> = { phase: 'rising', enabled: true, good: false, sinceMs: 900 };
const down: Partial<RailState> = { phase: 'down', enabled: false, good: false, deadlineMs: null };
const ALL_UP = { PSU: up, P12V: up, F: up, G: up, VCORE: up };
const STANDING = { level: true, good: true, unread: false, sinceMs: 900 };
const MISSING = { level: false, good: false, unread: false, sinceMs: 900 };

describe('a rail that is lost is told in the words of its kind', () => {
  it.each([
    ['P12V', 'rail P12V dropped while it was enabled'],
    ['F', 'rail F dropped though what it needs is good'],
    ['PSU', 'rail PSU, which supplies the chassis, dropped'],
  ])('%s', (rail, reason) => {
    const machine = machineIn('pgood', { rails: ALL_UP, change: { pgood: STANDING } });
    machine.look(rail, false, 1_000);
    machine.look(rail, false, 1_004);
    expect(machine.fault).toBeNull();
    machine.look(rail, false, 1_005);
    expect(machine.fault).toBe(`railLost of ${rail}: ${reason}`);
  });
});

describe('a rail that does not come is told with what it was waited for from', () => {
  it.each([
    ['PSU', 'rail PSU, which supplies the chassis, was not good within 100 ms of the request'],
    ['P12V', 'rail P12V was not good within 100 ms of its enable'],
    ['F', 'rail F was not good within 100 ms of P12V'],
    ['G', 'rail G was not good within 100 ms of P12V and F'],
  ])('%s', (rail, reason) => {
    const machine = machineIn('opPowerStart', {
      rails: { ...ALL_UP, VCORE: down, [rail]: { ...rising, deadlineMs: 1_100 } },
    });
    machine.look(rail, false, 1_099);
    expect(machine.fault).toBeNull();
    machine.look(rail, false, 1_100);
    expect(machine.fault).toBe(`railTimeout of ${rail}: ${reason}`);
  });
});

describe('a rail that is stuck before a power-on is told by what should have it off', () => {
  it.each([
    ['P12V', 'rail P12V delivers though its enable is off'],
    ['F', 'rail F delivers though the enable of what it needs is off'],
  ])('%s', (rail, reason) => {
    const machine = machineIn('opPowerStart', {
      rails: { PSU: up, [rail]: { ...down, phase: 'stuck', good: true } },
    });
    machine.tell({ type: 'TICK', atMs: 1_000 });
    expect(machine.fault).toBe(`railStray of ${rail}: ${reason}`);
  });
});

describe('a rail that goes with what it needs', () => {
  const lost = (of: typeof machineIn, looks: readonly (readonly [rail: string, atMs: number])[]) => {
    const machine = of('pgood', { rails: ALL_UP, change: { pgood: STANDING } });
    for (const [rail, atMs] of looks) machine.look(rail, false, atMs);
    return machine;
  };

  it('is not at fault before it is known whether that went first', () => {
    const machine = lost(machineIn, [
      ['P12V', 1_000],
      ['F', 1_000],
      ['F', 1_005],
    ]);
    expect(machine.fault).toBeNull();
    machine.look('P12V', false, 1_006);
    expect(machine.fault).toContain('railLost of P12V');
  });

  it('is at fault where that was only a glitch', () => {
    const machine = lost(machineIn, [
      ['P12V', 1_000],
      ['F', 1_000],
      ['F', 1_005],
    ]);
    machine.look('P12V', true, 1_006);
    expect(machine.fault).toContain('railLost of F');
  });

  it('is at fault where that went later', () => {
    const machine = lost(machineIn, [
      ['F', 1_000],
      ['P12V', 1_001],
      ['F', 1_005],
    ]);
    expect(machine.fault).toContain('railLost of F');
  });

  it('is told when its own time is over on a chassis whose rails are all switched', () => {
    const machine = lost(machinesOf(SWITCHED), [
      ['P12V', 1_000],
      ['F', 1_000],
      ['F', 1_005],
    ]);
    expect(machine.fault).toContain('railLost of F');
  });

  it('is at fault where that has not begun to come, and so is not lost', () => {
    const machine = machineIn('opPowerStart', {
      rails: { PSU: up, P12V: { ...rising, deadlineMs: 9_000 }, VCORE: { ...rising, deadlineMs: 1_100 } },
    });
    expect(machine.rail('F')).toMatchObject({ phase: 'down', good: false });
    machine.look('VCORE', false, 1_100);
    expect(machine.fault).toContain('railTimeout of VCORE');
  });
});

describe('when pgood is due and has not come', () => {
  /** In the second stage, whose time is over at 1,100 ms, after these were read then, and pgood was missing. */
  const late = (rails: Readonly<Record<string, Partial<RailState>>>, read: readonly string[]) => {
    const machine = machineIn('opWaitPowerOn', {
      rails: { ...ALL_UP, ...rails },
      change: { pgood: MISSING, stageDeadlineMs: 1_100 },
    });
    for (const rail of read) machine.look(rail, false, 1_100);
    machine.look(null, false, 1_100);
    return machine;
  };
  const DUE = 'when pgood was due, 300 ms after the last enable';
  const OTHERS = 'pgoodTimeout of null: pgood did not come within 300 ms though every rail is enabled';

  it.each([
    ['a rail that has not come, though its own time is longer', { VCORE: { ...rising, deadlineMs: 9_000 } }],
    [
      'a follower whose time has not begun: what it needs has not settled',
      { P12V: { ...rising, good: true, deadlineMs: 9_000 }, G: down, F: down },
    ],
  ])('%s is named', (_, rails) => {
    const [rail = ''] = Object.keys(rails).slice(-1);
    expect(late(rails, [rail]).fault).toBe(`railTimeout of ${rail}: rail ${rail} was not good ${DUE}`);
  });

  it('no rail is named that came, and may be lost or not', () => {
    for (const rail of ['VCORE', 'G']) expect(late({}, [rail]).fault, rail).toBe(OTHERS);
  });

  it('no rail is named that was not read since it was switched', () => {
    expect(late({ VCORE: { ...rising, deadlineMs: 9_000 } }, []).fault).toBe(OTHERS);
  });

  it('nothing is said before a rail was read whose time ends with that of pgood', () => {
    const machine = late({ VCORE: { ...rising, deadlineMs: 1_100 } }, []);
    expect(machine.fault).toBeNull();
    machine.look('VCORE', false, 1_100);
    expect(machine.fault).toBe('railTimeout of VCORE: rail VCORE was not good within 100 ms of its enable');
  });
});

describe('a device that is silent', () => {
  const vout = (pmbus: string) => ({ pmbus, minVolts: 0.9 });
  /** `first` has its power from P1, and shows P2, which powers `second`, which switches and shows V. */
  const POWERED = planOfRails(
    {
      A: { enable: line(0), good: line(1), ...times },
      P1: { enable: line(2), good: line(3), ...times },
      P2: { enable: line(4), good: vout('first'), nominalVolts: 1, needs: ['P1'], ...times },
      V: { enable: { pmbus: 'second' }, good: vout('second'), nominalVolts: 1, needs: ['P2'], ...times },
    },
    {
      first: { bus: 1, address: '0x40', poweredBy: 'P1' },
      second: { bus: 1, address: '0x41', poweredBy: 'P2' },
    },
  );
  const failing: readonly SequenceEvent[] = [
    {
      ...{ type: 'DRIVE_FAILED', drive: { what: 'enable', rail: 'V' }, asserted: true, readBack: false },
      ...{ code: 'I2C_NO_DEVICE', reason: 'nothing answers', atMs: 1_001 },
    },
    {
      ...{ type: 'READ_FAILED', signal: 'good', rail: 'V', code: 'I2C_NO_DEVICE', reason: 'nothing answers' },
      ...{ askedMs: 1_001, atMs: 1_001 },
    },
  ];
  const dropped = { ...up, good: false, sinceMs: 999 };

  it.each<[string, Readonly<Record<string, Partial<RailState>>>, string]>([
    ['nothing', {}, 'hardware of V: nothing answers'],
    ['another rail', { A: dropped }, 'hardware of V: nothing answers'],
    ['what powers it', { P2: dropped }, 'railLost of P2: rail P2 dropped while it was enabled'],
    ['what powers what powers it', { P1: dropped }, 'railLost of P1: rail P1 dropped while it was enabled'],
    [
      'both, of which the first is at fault',
      { P1: dropped, P2: dropped },
      'railLost of P1: rail P1 dropped while it was enabled',
    ],
    // It was never there, so it is not lost.
    ['nothing, and what powers it has not come', { P2: rising }, 'hardware of V: nothing answers'],
  ])('is at fault, or what powers it where that is lost: %s', (_, rails, expected) => {
    for (const event of failing) {
      const machine = machinesOf(POWERED)('opPowerStart', {
        rails: { A: up, P1: up, P2: up, V: { ...rising, deadlineMs: 9_000 }, ...rails },
      });
      machine.tell(event);
      expect(machine.fault).toBe(expected);
    }
  });
});
