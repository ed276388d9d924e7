import { describe, expect, it } from 'vitest';
import type { EventOf, SequenceEvent } from '../../src/sequence/events.ts';
import { type Plan, planOf } from '../../src/sequence/plan.ts';
import type { Fault, RailState, SequenceState, State } from '../../src/sequence/state.ts';
import { machinesOf } from './machine-in.ts';

const line = (offset: number) => ({ chip: 'gpio', line: offset, active: 'high' as const });

/** S has a signal; N has none and a settle time; Z has neither. */
const PLAN: Plan = planOf(
  {
    rails: {
      S: { enable: line(0), good: line(10), needs: [], settleMs: 10, onTimeoutMs: 100, offTimeoutMs: 200 },
      N: { enable: line(1), needs: [], settleMs: 30, onTimeoutMs: 150, offTimeoutMs: 250 },
      Z: { enable: line(2), needs: [], settleMs: 0, onTimeoutMs: 170, offTimeoutMs: 270 },
    },
    pgood: { ...line(20), deglitchMs: 5, onTimeoutMs: 1_000, offTimeoutMs: 2_000 },
    resets: { CPU: { ...line(21), releaseDelayMs: 20 } },
    evidence: [],
    minOffMs: 0,
  },
  {},
);

/** The machine in a state, with these rails enabled and good, and this of their states besides. */
const machineIn = (
  state: State,
  on: readonly string[],
  rails: Readonly<Record<string, Partial<RailState>>> = {},
  change: Partial<SequenceState> = {},
) => machinesOf(PLAN)(state, { on, rails, change });

describe('a rail that is enabled', () => {
  it('rises until its signal has stood for the settle time, and has its time from the drive on', () => {
    const machine = machineIn('off', []);
    machine.tell({ type: 'POWER_ON', atMs: 1_000 });
    expect(machine.rail('S')).toMatchObject({
      ...{ phase: 'rising', enabled: true, enableDoubt: null, good: false, goodUnread: false },
      deadlineMs: 1_100,
    });
    machine.tell({ type: 'DRIVEN', rail: 'S', asserted: true, atMs: 1_007 });
    expect(machine.rail('S')).toMatchObject({ deadlineMs: 1_107, sinceMs: 1_007 });
    machine.look('S', true, 1_020);
    expect(machine.rail('S')).toMatchObject({ phase: 'rising', good: true, sinceMs: 1_020 });
    machine.look('S', true, 1_030);
    expect(machine.rail('S')).toMatchObject({ phase: 'up', deadlineMs: null, sinceMs: 1_020 });
  });

  it('without a signal is taken for good, and up after its settle time', () => {
    const machine = machineIn('off', []);
    machine.tell({ type: 'POWER_ON', atMs: 1_000 });
    expect(machine.rail('N')).toMatchObject({ phase: 'rising', good: true, goodUnread: true });
    machine.tell({ type: 'DRIVEN', rail: 'N', asserted: true, atMs: 1_000 });
    machine.tell({ type: 'TICK', atMs: 1_029 });
    expect(machine.rail('N').phase).toBe('rising');
    machine.tell({ type: 'TICK', atMs: 1_030 });
    expect(machine.rail('N')).toMatchObject({ phase: 'up', deadlineMs: null });
  });

  it('without a signal does not settle before it was driven, however long the drives before it take', () => {
    const machine = machineIn('off', []);
    expect(machine.tell({ type: 'POWER_ON', atMs: 1_000 })).toEqual(['S on', 'N on', 'Z on']);
    machine.tell({ type: 'DRIVEN', rail: 'S', asserted: true, atMs: 1_040 });
    expect(machine.rail('N').phase).toBe('rising');
    machine.tell({ type: 'DRIVEN', rail: 'N', asserted: true, atMs: 1_041 });
    machine.tell({ type: 'DRIVEN', rail: 'Z', asserted: true, atMs: 1_070 });
    expect(machine.rail('N')).toMatchObject({ phase: 'rising', sinceMs: 1_041, deadlineMs: 1_041 + 150 });
    machine.tell({ type: 'TICK', atMs: 1_071 });
    expect(machine.rail('N')).toMatchObject({ phase: 'up', deadlineMs: null });
  });

  it('without a signal and a settle time is up at once, and has no time to come in', () => {
    const machine = machineIn('off', []);
    machine.tell({ type: 'POWER_ON', atMs: 1_000 });
    const up = { phase: 'up', good: true, goodUnread: true, deadlineMs: null, sinceMs: 1_000 };
    expect(machine.rail('Z')).toMatchObject(up);
    machine.tell({ type: 'DRIVEN', rail: 'Z', asserted: true, atMs: 1_007 });
    expect(machine.rail('Z')).toMatchObject(up);
  });

  it('is not timed by a drive that is of the past', () => {
    const machine = machineIn('opPowerStop', ['S'], { S: { phase: 'up' } });
    machine.tell({ type: 'TICK', atMs: 1_000 });
    const before = machine.rail('S');
    expect(before).toMatchObject({ enabled: false, phase: 'falling', deadlineMs: 1_200 });
    machine.tell({ type: 'DRIVEN', rail: 'S', asserted: true, atMs: 1_050 });
    expect(machine.rail('S')).toEqual(before);
    machine.tell({ type: 'DRIVEN', rail: 'S', asserted: false, atMs: 1_060 });
    expect(machine.rail('S')).toMatchObject({ deadlineMs: 1_260, sinceMs: 1_060 });
  });

  it('and is to go off again gives the power-off neither more nor less time when its enable was switched', () => {
    const machine = machineIn('off', []);
    machine.tell({ type: 'POWER_ON', atMs: 1_000 });
    machine.tell({ type: 'POWER_OFF', atMs: 1_001 });
    expect(machine.state).toBe('opWaitPowerOff');
    for (const rail of ['S', 'N', 'Z']) machine.tell({ type: 'DRIVEN', rail, asserted: true, atMs: 1_500 });
    expect(machine.sequence.stageDeadlineMs).toBe(3_001);
    machine.tell({ type: 'DRIVEN', rail: 'S', asserted: false, atMs: 1_501 });
    expect(machine.sequence.stageDeadlineMs).toBe(3_501);
  });
});

describe('a chassis that comes up is ready', () => {
  const ALL = ['S', 'N', 'Z'];
  const UP = Object.fromEntries(ALL.map((name) => [name, { phase: 'up', deadlineMs: null }] as const));
  const standing = { pgood: { level: true, good: true, unread: false, sinceMs: 900 } };

  it('only when every rail has settled', () => {
    const settling = { ...UP, S: { phase: 'rising', sinceMs: 1_000, deadlineMs: 1_100 } } as const;
    const machine = machineIn('opWaitPowerOn', ALL, settling, standing);
    machine.look('S', true, 1_009);
    expect(machine.sequence.readyMs).toBeNull();
    machine.look('S', true, 1_010);
    expect(machine.sequence.readyMs).toBe(1_010);
  });

  it.each(['S', null])('only when nothing is low, be it for a moment: %s', (source) => {
    const machine = machineIn('opWaitPowerOn', ALL, UP, standing);
    machine.look(source, false, 1_001);
    expect(machine.sequence.readyMs).toBeNull();
    machine.look(source, true, 1_002);
    expect(machine.sequence.readyMs).toBe(1_002);
  });
});

describe('a rail that is disabled', () => {
  it('falls until it is seen to be down; one without a signal is down at once', () => {
    const machine = machineIn('pgood', ['S', 'N', 'Z'], {
      S: { phase: 'up' },
      N: { phase: 'up' },
      Z: { phase: 'up' },
    });
    expect(machine.tell({ type: 'POWER_OFF', atMs: 2_000 })).toEqual(['Z off', 'N off', 'S off']);
    expect(machine.rail('S')).toMatchObject({
      phase: 'falling',
      enabled: false,
      good: true,
      deadlineMs: 2_200,
    });
    for (const name of ['N', 'Z']) {
      expect(machine.rail(name)).toMatchObject({
        ...{ phase: 'down', enabled: false, good: false, deadlineMs: null },
        sinceMs: 2_000,
      });
      const down = machine.rail(name);
      machine.tell({ type: 'DRIVEN', rail: name, asserted: false, atMs: 2_003 });
      expect(machine.rail(name)).toEqual(down);
    }
    machine.look('S', false, 2_010);
    expect(machine.rail('S')).toMatchObject({ phase: 'down', deadlineMs: null });
  });

  it('and does not fall in its time is stuck; it is down once it is not good any more', () => {
    const machine = machineIn('opPowerStop', ['S'], { S: { phase: 'up' } });
    machine.tell({ type: 'TICK', atMs: 1_000 });
    machine.look('S', true, 1_199);
    expect(machine.rail('S').phase).toBe('falling');
    machine.look('S', true, 1_200);
    expect(machine.rail('S')).toMatchObject({ phase: 'stuck', deadlineMs: null });
    machine.look('S', false, 1_300);
    expect(machine.rail('S').phase).toBe('down');
  });

  it('and was off already stays what it is', () => {
    for (const phase of ['down', 'falling', 'stuck'] as const) {
      const was = { phase, good: phase !== 'down', deadlineMs: phase === 'falling' ? 1_070 : null };
      const machine = machineIn('opPowerStop', [], { S: was });
      expect(machine.tell({ type: 'TICK', atMs: 1_001 })).toEqual(['Z off', 'N off', 'S off']);
      expect(machine.rail('S')).toMatchObject(was);
    }
  });

  it('and cannot be is given up, and taken to be on: how sure that is, is kept', () => {
    const failure = { code: 'GPIO_FAILED', reason: 'EIO', atMs: 1_001 };
    for (const [before, readBack, doubt] of [
      [null, false, 'undriven'],
      [null, true, null],
      ['unread', false, 'unread'],
      ['unread', true, null],
    ] as const) {
      const machine = machineIn('opPowerStop', ['S'], { S: { phase: 'up', enableDoubt: before } });
      machine.tell({ type: 'TICK', atMs: 1_000 });
      machine.tell({
        type: 'DRIVE_FAILED',
        drive: { what: 'enable', rail: 'S' },
        ...{ asserted: false, readBack, ...failure },
      });
      expect(machine.rail('S')).toMatchObject({
        ...{ phase: 'stuck', enabled: true, enableDoubt: doubt, deadlineMs: null },
      });
      expect(machine.state).toBe('fault');
    }
  });

  it.each(['off', 'opWaitPowerOff', 'failed'] as const)(
    'once more in %s is driven once, and given up where that fails',
    (state) => {
      const machine = machineIn(state, []);
      expect(machine.tell({ type: 'POWER_OFF', atMs: 1_001 })).toEqual(['Z off', 'N off', 'S off']);
      const failed = machine.tell({
        ...{ type: 'DRIVE_FAILED', drive: { what: 'enable', rail: 'S' }, asserted: false, readBack: true },
        ...{ code: 'GPIO_NOT_FOLLOWED', reason: 'reads high', atMs: 1_002 },
      });
      expect(failed).toEqual([]);
      expect(machine.state).toBe('fault');
      expect(machine.rail('S')).toMatchObject({ phase: 'stuck', enabled: true });
    },
  );

  it.each<[string, Pick<EventOf<'DRIVE_FAILED'>, 'drive' | 'asserted'>]>([
    ['a reset that could not be asserted', { drive: { what: 'reset', reset: 'CPU' }, asserted: true }],
    [
      'a reset that could not be released before',
      { drive: { what: 'reset', reset: 'CPU' }, asserted: false },
    ],
    ['the latch', { drive: { what: 'latch' }, asserted: true }],
    [
      'its enable, which could not be switched on before',
      { drive: { what: 'enable', rail: 'S' }, asserted: true },
    ],
  ])('falls all the same when something else failed: %s', (_, failed) => {
    const machine = machineIn('opPowerStop', ['S'], { S: { phase: 'up' } });
    machine.tell({ type: 'TICK', atMs: 1_000 });
    const falling = machine.rail('S');
    expect(falling).toMatchObject({ phase: 'falling', enabled: false });
    const failure = { code: 'GPIO_FAILED', reason: 'EIO', readBack: false } as const;
    for (const atMs of [1_001, 1_002]) {
      machine.tell({ type: 'DRIVE_FAILED', ...failed, ...failure, atMs });
      expect(machine.state).toBe('fault');
      expect(machine.rail('S')).toEqual(falling);
    }
  });
});

describe('a signal that cannot be read', () => {
  const failed = (signal: 'good' | 'enable' | 'pgood', rail: string | null): SequenceEvent => ({
    ...{ type: 'READ_FAILED', signal, rail, code: 'GPIO_FAILED', reason: 'EIO' },
    ...{ askedMs: 1_001, atMs: 1_002 },
  });

  it('stands as it was read last, is marked, and is not any more once it is read', () => {
    const machine = machineIn(
      'pgood',
      ['S'],
      { S: { phase: 'up' } },
      {
        pgood: { level: true, good: true, unread: false, sinceMs: 0 },
      },
    );
    machine.tell(failed('good', 'S'));
    expect(machine.rail('S')).toMatchObject({ good: true, goodUnread: true });
    machine.tell(failed('pgood', null));
    expect(machine.sequence.pgood).toMatchObject({ level: true, good: true, unread: true });
    expect(machine.state).toBe('pgood');
    machine.look('S', true, 1_010);
    machine.look(null, true, 1_010);
    expect(machine.rail('S').goodUnread).toBe(false);
    expect(machine.sequence.pgood.unread).toBe(false);
  });

  it('is of its rail alone, and an enable is no good signal', () => {
    const machine = machineIn(
      'pgood',
      ['S', 'N'],
      { S: { phase: 'up' }, N: { phase: 'up' } },
      {
        pgood: { level: true, good: true, unread: false, sinceMs: 0 },
      },
    );
    machine.tell(failed('enable', 'S'));
    expect(machine.rail('S').goodUnread).toBe(false);
    expect(machine.sequence.pgood.unread).toBe(false);
  });

  it('of a rail that has none stays unread while it is enabled: what was read is its enable', () => {
    const machine = machineIn('pgood', ['N'], { N: { phase: 'up', goodUnread: true } });
    machine.look('N', true, 1_001);
    expect(machine.rail('N').goodUnread).toBe(true);
    const off = machineIn('off', [], { N: { goodUnread: true } });
    off.look('N', false, 1_001);
    expect(off.rail('N').goodUnread).toBe(false);
  });
});

describe('a new attempt', () => {
  it('forgets the last one, and tries again what was stuck', () => {
    const fault: Fault = {
      kind: 'powerOffTimeout',
      rail: 'S',
      state: 'opPowerStop',
      atMs: 900,
      reason: 'it stayed',
      errorCode: null,
    };
    const machine = machineIn(
      'failed',
      [],
      { S: { phase: 'stuck', good: true }, N: { phase: 'stuck', enabled: true, good: true } },
      { fault, stageDeadlineMs: 950, readyMs: 940, contradictions: ['of before'] },
    );
    expect(machine.tell({ type: 'POWER_OFF', atMs: 1_000 })).toEqual(['Z off', 'N off', 'S off']);
    expect(machine.sequence).toMatchObject({ fault: null, readyMs: null, contradictions: [] });
    expect(machine.rail('S')).toMatchObject({ phase: 'falling', enabled: false, deadlineMs: 1_200 });
    expect(machine.rail('N')).toMatchObject({ phase: 'down', enabled: false });
  });
});

describe('after a standstill', () => {
  it('what has to stand begins anew, and only that', () => {
    const machine = machineIn('opPowerStart', ['S'], {
      S: { phase: 'rising', good: false, deadlineMs: 9_000 },
    });
    machine.tell({ type: 'TICK', atMs: 1_000 });
    machine.look('S', true, 1_005);
    const steady = machine.rail('Z').sinceMs;
    machine.tell({ type: 'STALLED', ms: 100, atMs: 1_105 });
    expect(machine.rail('S').sinceMs).toBe(1_105);
    expect(machine.rail('Z').sinceMs).toBe(steady);
    machine.look('S', true, 1_114);
    expect(machine.rail('S').phase).toBe('rising');
    machine.look('S', true, 1_115);
    expect(machine.rail('S').phase).toBe('up');
  });

  it('a loss is watched anew, and what stands is left alone', () => {
    const machine = machineIn(
      'pgood',
      ['S', 'N', 'Z'],
      { S: { phase: 'up' }, N: { phase: 'up' }, Z: { phase: 'up' } },
      { pgood: { level: true, good: true, unread: false, sinceMs: 500 } },
    );
    machine.look('S', false, 1_002);
    machine.tell({ type: 'STALLED', ms: 50, atMs: 1_060 });
    expect(machine.rail('S').sinceMs).toBe(1_060);
    expect([machine.rail('N').sinceMs, machine.sequence.pgood.sinceMs]).toEqual([1_000, 500]);
    machine.look('S', false, 1_064);
    expect(machine.state).toBe('pgood');
    machine.look('S', false, 1_065);
    expect(machine.state).toBe('fault');
  });

  it('a rail without a signal has settled by the clock: nobody could have watched it', () => {
    const machine = machineIn('off', []);
    machine.tell({ type: 'POWER_ON', atMs: 1_000 });
    for (const rail of ['S', 'N']) machine.tell({ type: 'DRIVEN', rail, asserted: true, atMs: 1_000 });
    machine.tell({ type: 'STALLED', ms: 10, atMs: 1_015 });
    expect(machine.rail('N')).toMatchObject({ phase: 'rising', sinceMs: 1_000 });
    machine.tell({ type: 'TICK', atMs: 1_030 });
    expect(machine.rail('N').phase).toBe('up');
  });
});
