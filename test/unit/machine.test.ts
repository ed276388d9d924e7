import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { transition } from 'xstate';
import { chassisMachine } from '../../src/sequence/chart.ts';
import { readingsDue } from '../../src/sequence/deadlines.ts';
import type { Outcome, SequenceEvent } from '../../src/sequence/events.ts';
import { faultOf, hasFault } from '../../src/sequence/faults.ts';
import { step, takeUp, viewOf } from '../../src/sequence/machine.ts';
import { type Plan, planOf } from '../../src/sequence/plan.ts';
import { reconcile } from '../../src/sequence/reconcile.ts';
import {
  hasTag,
  type Observation,
  railState,
  STATE_TAGS,
  STATES,
  type State,
  type StateTag,
} from '../../src/sequence/state.ts';
import { draws } from '../draws.ts';

const line = (offset: number) => ({ chip: 'gpio', line: offset, active: 'high' as const });
const times = { settleMs: 0, onTimeoutMs: 100, offTimeoutMs: 200 };

/** A feeds B and C; B and C feed D. One reset, released 20 ms after pgood. */
function diamondPlan(overrides: Partial<Plan> = {}): Plan {
  return {
    ...planOf(
      {
        rails: {
          D: { enable: line(3), good: line(13), needs: ['B', 'C'], ...times },
          A: { enable: line(0), good: line(10), needs: [], ...times, settleMs: 10 },
          B: { enable: line(1), good: line(11), needs: ['A'], ...times },
          C: { enable: line(2), good: line(12), needs: ['A'], ...times },
        },
        pgood: { ...line(20), deglitchMs: 5, onTimeoutMs: 1000, offTimeoutMs: 1000 },
        resets: { CPU: { ...line(21), releaseDelayMs: 20 } },
        evidence: [],
        minOffMs: 0,
      },
      {},
    ),
    ...overrides,
  };
}

function observed(plan: Plan, on: readonly string[], more: Partial<Observation> = {}): Observation {
  return {
    rails: Object.fromEntries(
      plan.rails.map(({ name }) => [name, { enabled: on.includes(name), good: on.includes(name) }]),
    ),
    pgood: false,
    resetsAsserted: { CPU: true },
    ...more,
  };
}

const ALL = ['A', 'B', 'C', 'D'];

/** Drives the machine by hand and keeps what it asked for. */
function bench(plan: Plan, start: { observation?: Observation; state?: State } = {}) {
  const taken = reconcile(plan, start.observation ?? observed(plan, []), null, 1000);
  let snapshot = takeUp(plan, { ...taken, state: start.state ?? taken.state });
  const asked: string[] = [];
  return {
    asked,
    /** One event alone. */
    tell(event: SequenceEvent) {
      const next = step(snapshot, event);
      snapshot = next.snapshot;
      for (const action of next.actions) {
        if (action.type === 'driveEnable') asked.push(`${action.rail} ${action.asserted ? 'on' : 'off'}`);
        else if (action.type === 'driveReset')
          asked.push(`reset ${action.asserted ? 'asserted' : 'released'}`);
        else if (action.type === 'pulseLatch') asked.push('latch');
        else if (action.type === 'answer')
          asked.push(`${action.outcome}${action.reason ? `: ${action.reason}` : ''}`);
        else if (action.type === 'raiseFault') asked.push(`fault ${action.fault.kind} ${action.fault.rail}`);
      }
      return next;
    },
    /** One event, and what the machine then wants to have read, which all is as it was. */
    send(event: SequenceEvent) {
      const first = this.tell(event);
      for (let [source] = this.due(), left = 100; source !== undefined; [source] = this.due(), left -= 1) {
        if (left === 0) throw new RangeError(`${source} is asked for again and again`);
        this.look(source, source === null ? this.sequence.pgood.level : this.isGood(source));
      }
      return first;
    },
    /** Signals that the machine wants to have read. */
    due: () => {
      const { state, sequence, readings } = viewOf(snapshot);
      return readingsDue(plan, state, sequence, readings);
    },
    look(source: string | null, good: boolean, atMs: number = snapshot.context.nowMs) {
      const times = { askedMs: atMs, atMs };
      return this.tell(
        source === null
          ? { type: 'PGOOD_LEVEL', good, ...times }
          : { type: 'RAIL_LEVEL', rail: source, good, ...times },
      );
    },
    isGood: (rail: string): boolean => railState(snapshot.context, rail).good,
    good(rail: string, atMs: number, good = true) {
      return this.send({ type: 'RAIL_LEVEL', rail, good, askedMs: atMs, atMs });
    },
    pgood(good: boolean, atMs: number) {
      return this.send({ type: 'PGOOD_LEVEL', good, askedMs: atMs, atMs });
    },
    get state() {
      return snapshot.value as State;
    },
    get sequence() {
      return snapshot.context;
    },
    take(): string[] {
      return asked.splice(0);
    },
  };
}

function poweredOn(plan: Plan) {
  const machine = bench(plan);
  machine.send({ type: 'POWER_ON', atMs: 1000 });
  machine.good('A', 1010);
  machine.send({ type: 'TICK', atMs: 1020 });
  machine.good('B', 1030);
  machine.good('C', 1040);
  machine.good('D', 1050);
  machine.pgood(true, 1060);
  machine.send({ type: 'TICK', atMs: 1065 });
  machine.send({ type: 'TICK', atMs: 1085 });
  return machine;
}

describe('power on', () => {
  it('enables a rail only when all it needs has been good for its settle time, independent ones together', () => {
    const machine = bench(diamondPlan());
    machine.send({ type: 'POWER_ON', atMs: 1000 });
    expect(machine.take()).toEqual(['changed', 'A on']);
    machine.good('A', 1010);
    machine.send({ type: 'TICK', atMs: 1019 });
    expect(machine.take()).toEqual([]);
    machine.send({ type: 'TICK', atMs: 1020 });
    expect(machine.take()).toEqual(['B on', 'C on']);
    machine.good('C', 1030);
    expect(machine.take()).toEqual([]);
    expect(machine.state).toBe('opPowerStart');
    machine.good('B', 1035);
    expect(machine.take()).toEqual(['D on']);
    expect(machine.state).toBe('opWaitPowerOn');
  });

  it('starts the settle time again when the rail drops within it', () => {
    const machine = bench(diamondPlan());
    machine.send({ type: 'POWER_ON', atMs: 1000 });
    machine.good('A', 1010);
    machine.good('A', 1015, false);
    machine.good('A', 1017);
    machine.send({ type: 'TICK', atMs: 1026 });
    expect(machine.asked).toEqual(['changed', 'A on']);
    machine.send({ type: 'TICK', atMs: 1027 });
    expect(machine.asked).toContain('B on');
  });

  it('believes pgood after deglitchMs and releases the resets after their delay', () => {
    const machine = poweredOn(diamondPlan());
    expect(machine.state).toBe('pgood');
    expect(machine.take().slice(-1)).toEqual(['reset released']);
  });

  it('is not on while pgood has not stood for deglitchMs', () => {
    const machine = bench(diamondPlan(), {
      observation: observed(diamondPlan(), ALL),
      state: 'opWaitPowerOn',
    });
    for (const rail of ALL) machine.good(rail, 1000);
    machine.send({ type: 'TICK', atMs: 1010 });
    machine.pgood(true, 1060);
    machine.pgood(false, 1063);
    machine.pgood(true, 1064);
    machine.send({ type: 'TICK', atMs: 1068 });
    expect(machine.sequence.readyMs).toBeNull();
    machine.send({ type: 'TICK', atMs: 1069 });
    expect(machine.sequence.readyMs).toBe(1069);
  });

  it('waits out the minimum off time before the first enable', () => {
    const plan = diamondPlan({ minOffMs: 500 });
    const machine = poweredOn(plan);
    machine.send({ type: 'POWER_OFF', atMs: 2000 });
    for (const rail of ['D', 'B', 'C', 'A']) machine.good(rail, 2010, false);
    machine.pgood(false, 2020);
    expect(machine.state).toBe('off');
    machine.take();
    machine.send({ type: 'POWER_ON', atMs: 2100 });
    expect(machine.take()).toEqual(['changed']);
    machine.send({ type: 'TICK', atMs: 2519 });
    expect(machine.take()).toEqual([]);
    machine.send({ type: 'TICK', atMs: 2520 });
    expect(machine.take()).toEqual(['A on']);
  });
});

describe('power off', () => {
  it('asserts the resets, then disables in reverse, each rail when all that need it are down', () => {
    const machine = poweredOn(diamondPlan());
    machine.take();
    machine.send({ type: 'POWER_OFF', atMs: 2000 });
    expect(machine.take()).toEqual(['changed', 'reset asserted', 'D off']);
    machine.good('D', 2010, false);
    expect(machine.take()).toEqual(['C off', 'B off']);
    machine.good('C', 2015, false);
    expect(machine.take()).toEqual([]);
    machine.good('B', 2020, false);
    expect(machine.take()).toEqual(['A off']);
    expect(machine.state).toBe('opWaitPowerOff');
    machine.good('A', 2030, false);
    machine.pgood(false, 2030);
    expect(machine.state).toBe('off');
  });

  it('goes on past a rail that does not fall, and fails naming it', () => {
    const machine = poweredOn(diamondPlan());
    machine.send({ type: 'POWER_OFF', atMs: 2000 });
    machine.good('D', 2010, false);
    machine.good('B', 2020, false);
    machine.take();
    machine.send({ type: 'TICK', atMs: 2210 });
    expect(machine.take()).toEqual(['A off']);
    machine.good('A', 2220, false);
    machine.pgood(false, 2220);
    expect(machine.state).toBe('fault');
    machine.send({ type: 'TICK', atMs: 3220 });
    expect(machine.state).toBe('failed');
    expect(machine.sequence.fault).toMatchObject({ kind: 'powerOffTimeout', rail: 'C' });
    machine.take();
    machine.send({ type: 'POWER_ON', atMs: 3300 });
    expect(machine.take()[0]).toMatch(/^rejected: power could not be taken down/);
    machine.send({ type: 'POWER_OFF', atMs: 3400 });
    machine.good('C', 3410, false);
    expect(machine.state).toBe('off');
  });

  it('tells of what could not be switched off as stuck until that is tried again', () => {
    const machine = poweredOn(diamondPlan());
    machine.send({ type: 'POWER_OFF', atMs: 2000 });
    const failed = (rail: string, atMs: number) => {
      const drive = { what: 'enable', rail } as const;
      const failure = { code: 'GPIO_NOT_FOLLOWED', reason: 'reads high', readBack: true } as const;
      machine.send({ type: 'DRIVE_FAILED', drive, asserted: false, ...failure, atMs });
    };
    failed('D', 2001);
    failed('B', 2002);
    machine.good('C', 2010, false);
    machine.good('A', 2020, false);
    machine.pgood(false, 2020);
    machine.send({ type: 'TICK', atMs: 3020 });
    expect(machine.state).toBe('failed');
    machine.take();
    machine.send({ type: 'POWER_OFF', atMs: 3400 });
    // D falls now; B is next.
    expect(machine.take()).toEqual(['changed', 'D off', 'C off']);
    expect(machine.sequence.rails).toMatchObject({
      D: { phase: 'falling', enabled: false },
      B: { phase: 'stuck', enabled: true },
    });
    machine.good('B', 3405, false);
    expect(machine.sequence.rails.B?.phase).toBe('stuck');
    machine.good('D', 3410, false);
    expect(machine.take()).toEqual(['B off', 'A off']);
  });

  it('times out when pgood stands though every rail is down', () => {
    const machine = poweredOn(diamondPlan());
    machine.send({ type: 'POWER_OFF', atMs: 2000 });
    for (const rail of ['D', 'B', 'C', 'A']) machine.good(rail, 2010, false);
    expect(machine.state).toBe('opWaitPowerOff');
    machine.send({ type: 'TICK', atMs: 3010 });
    machine.send({ type: 'TICK', atMs: 4010 });
    expect(machine.state).toBe('failed');
    expect(machine.sequence.fault).toMatchObject({ kind: 'powerOffTimeout', rail: null });
  });

  it('ends a power-on that is under way', () => {
    const machine = bench(diamondPlan());
    machine.send({ type: 'POWER_ON', atMs: 1000 });
    machine.good('A', 1010);
    machine.send({ type: 'TICK', atMs: 1020 });
    machine.take();
    machine.send({ type: 'POWER_OFF', atMs: 1025 });
    expect(machine.take()).toEqual(['changed', 'D off', 'C off', 'B off', 'A off']);
  });
});

describe('faults', () => {
  it('names the rail that was not good in time and takes everything down in order', () => {
    const machine = bench(diamondPlan());
    machine.send({ type: 'POWER_ON', atMs: 1000 });
    machine.good('A', 1010);
    machine.send({ type: 'TICK', atMs: 1020 });
    machine.good('B', 1030);
    machine.take();
    machine.send({ type: 'TICK', atMs: 1119 });
    expect(machine.state).toBe('opPowerStart');
    machine.send({ type: 'TICK', atMs: 1120 });
    expect(machine.take()).toEqual(['fault railTimeout C', 'D off', 'C off', 'B off']);
    expect(machine.state).toBe('fault');
    machine.good('B', 1130, false);
    expect(machine.take()).toEqual(['A off']);
    machine.good('A', 1140, false);
    expect(machine.state).toBe('failed');
  });

  it('a rail that drops while on is believed after deglitchMs', () => {
    const machine = poweredOn(diamondPlan());
    machine.good('B', 2000, false);
    machine.good('B', 2004);
    machine.send({ type: 'TICK', atMs: 2010 });
    expect(machine.state).toBe('pgood');
    machine.good('B', 3000, false);
    machine.send({ type: 'TICK', atMs: 3005 });
    expect(machine.state).toBe('fault');
    expect(machine.sequence.fault).toMatchObject({ kind: 'railLost', rail: 'B' });
  });

  it('a lost pgood is believed after deglitchMs; a shorter glitch is not', () => {
    const machine = poweredOn(diamondPlan());
    machine.pgood(false, 2000);
    machine.pgood(true, 2004);
    machine.send({ type: 'TICK', atMs: 2100 });
    expect(machine.state).toBe('pgood');
    machine.pgood(false, 3000);
    machine.send({ type: 'TICK', atMs: 3005 });
    expect(machine.sequence.fault).toMatchObject({ kind: 'pgoodLost', rail: null });
  });

  it('pgood that never comes is a fault of its own', () => {
    const machine = bench(diamondPlan());
    machine.send({ type: 'POWER_ON', atMs: 1000 });
    machine.good('A', 1010);
    machine.send({ type: 'TICK', atMs: 1020 });
    for (const rail of ['B', 'C', 'D']) machine.good(rail, 1030);
    machine.send({ type: 'TICK', atMs: 2029 });
    expect(machine.state).toBe('opWaitPowerOn');
    machine.send({ type: 'TICK', atMs: 2030 });
    expect(machine.sequence.fault).toMatchObject({
      kind: 'pgoodTimeout',
      rail: null,
      state: 'opWaitPowerOn',
    });
  });

  it('a rail that is not good when pgood is due is what is told, though its own time is longer', () => {
    const plan = diamondPlan();
    const patient = plan.rails.map((rail) => (rail.name === 'D' ? { ...rail, onTimeoutMs: 1500 } : rail));
    const machine = bench({ ...plan, rails: patient });
    machine.send({ type: 'POWER_ON', atMs: 1000 });
    machine.good('A', 1010);
    machine.send({ type: 'TICK', atMs: 1020 });
    for (const rail of ['B', 'C']) machine.good(rail, 1030);
    machine.good('D', 1035, false);
    machine.send({ type: 'TICK', atMs: 2029 });
    expect(machine.sequence.fault).toBeNull();
    // pgood is read first, and no answer about the rail is waited for.
    machine.tell({ type: 'TICK', atMs: 2030 });
    machine.look(null, false);
    expect(machine.sequence.fault).toMatchObject({
      kind: 'railTimeout',
      rail: 'D',
      state: 'opWaitPowerOn',
      atMs: 2030,
    });
  });

  it('an enable that cannot be driven on takes the rest down, itself included', () => {
    const machine = bench(diamondPlan());
    machine.send({ type: 'POWER_ON', atMs: 1000 });
    machine.good('A', 1010);
    machine.send({ type: 'TICK', atMs: 1020 });
    machine.take();
    const failure = { code: 'GPIO_NOT_FOLLOWED', reason: 'reads low', readBack: true, atMs: 1021 } as const;
    machine.send({ type: 'DRIVE_FAILED', drive: { what: 'enable', rail: 'B' }, asserted: true, ...failure });
    expect(machine.take()).toEqual(['fault hardware B', 'D off', 'C off', 'B off', 'A off']);
  });

  it('an enable that cannot be driven off is given up, and the rails it needs still go down', () => {
    const machine = poweredOn(diamondPlan());
    machine.send({ type: 'POWER_OFF', atMs: 2000 });
    machine.take();
    const failure = { code: 'GPIO_NOT_FOLLOWED', reason: 'reads high', readBack: true, atMs: 2001 } as const;
    machine.send({ type: 'DRIVE_FAILED', drive: { what: 'enable', rail: 'D' }, asserted: false, ...failure });
    expect(machine.take()).toEqual(['fault hardware D', 'C off', 'B off']);
    for (const rail of ['B', 'C']) machine.good(rail, 2010, false);
    expect(machine.take()).toEqual(['A off']);
    machine.good('A', 2020, false);
    machine.send({ type: 'TICK', atMs: 3020 });
    expect(machine.state).toBe('failed');
  });

  it('what could not be read, or not be switched, is marked until a level is known', () => {
    const machine = poweredOn(diamondPlan());
    const failure = { code: 'GPIO_FAILED', reason: 'EIO', askedMs: 2000, atMs: 2000 } as const;
    const marks = () => {
      const { rails, pgood } = machine.sequence;
      return [rails.D?.enableDoubt, rails.D?.goodUnread, pgood.unread];
    };
    expect(marks()).toEqual([null, false, false]);
    machine.send({ type: 'READ_FAILED', signal: 'pgood', rail: null, ...failure });
    machine.send({ type: 'READ_FAILED', signal: 'good', rail: 'D', ...failure });
    expect(marks()).toEqual([null, true, true]);
    machine.pgood(true, 2001);
    machine.good('D', 2001);
    expect(marks()).toEqual([null, false, false]);
    // A reset is no pgood.
    machine.send({ type: 'READ_FAILED', signal: 'reset', rail: null, ...failure });
    expect(marks()).toEqual([null, false, false]);
    machine.send({ type: 'POWER_OFF', atMs: 2002 });
    const drive = { what: 'enable', rail: 'D' } as const;
    machine.send({ type: 'DRIVE_FAILED', drive, asserted: false, readBack: false, ...failure });
    expect(marks()).toEqual(['undriven', false, false]);
    machine.send({ type: 'DRIVE_FAILED', drive, asserted: false, readBack: true, ...failure });
    expect(marks()).toEqual([null, false, false]);
  });

  it('a signal that cannot be read is no reason to take a running host down', () => {
    const machine = poweredOn(diamondPlan());
    machine.send({
      type: 'READ_FAILED',
      signal: 'pgood',
      rail: null,
      code: 'GPIO_FAILED',
      reason: 'EIO',
      askedMs: 2000,
      atMs: 2000,
    });
    expect(machine.state).toBe('pgood');
  });
});

describe('what is at fault', () => {
  /** All enables are on, and B, C and D are to come. */
  const waiting = (plan = diamondPlan()) => {
    const machine = bench(plan);
    machine.send({ type: 'POWER_ON', atMs: 1000 });
    machine.good('A', 1010);
    machine.send({ type: 'TICK', atMs: 1020 });
    for (const rail of ['B', 'C']) machine.good(rail, 1030);
    return machine;
  };
  const failure = { code: 'GPIO_FAILED', reason: 'EIO' };

  it('a rail that delivers before it was ever enabled is told as such', () => {
    const plan = diamondPlan();
    const found = observed(plan, ['A']);
    const observation = { ...found, rails: { ...found.rails, C: { enabled: false, good: true } } };
    const left = reconcile(plan, observed(plan, ['A']), null, 900);
    const taken = reconcile(plan, observation, { state: 'opPowerStart', sequence: left.sequence }, 1000);
    expect(taken.state).toBe('opPowerStart');
    const late = step(takeUp(plan, taken), { type: 'TICK', atMs: 1200 });
    const { state, sequence } = step(late.snapshot, {
      ...{ type: 'RAIL_LEVEL', rail: 'C', good: true, askedMs: 1200, atMs: 1200 },
    });
    expect(state).toBe('fault');
    expect(sequence.fault).toMatchObject({
      kind: 'railStray',
      rail: 'C',
      reason: 'rail C delivers though its enable is off',
    });
  });

  it('of a loss it is a rail only where that dropped as long ago as pgood', () => {
    for (const [droppedMs, kind] of [
      [3000, 'railLost'],
      [3004, 'pgoodLost'],
    ] as const) {
      const machine = poweredOn(diamondPlan());
      machine.tell({ type: 'PGOOD_LEVEL', good: false, askedMs: 3000, atMs: 3000 });
      machine.tell({ type: 'RAIL_LEVEL', rail: 'B', good: false, askedMs: droppedMs, atMs: droppedMs });
      machine.look(null, false, 3005);
      expect(machine.sequence.fault).toMatchObject({ kind, rail: kind === 'railLost' ? 'B' : null });
    }
  });

  it('a rail that is late for pgood is told with the time that pgood has', () => {
    const plan = diamondPlan();
    const rails = plan.rails.map((rail) => (rail.name === 'D' ? { ...rail, onTimeoutMs: 1500 } : rail));
    const machine = waiting({ ...plan, rails });
    machine.good('D', 1035, false);
    machine.send({ type: 'TICK', atMs: 2030 });
    expect(machine.sequence.fault).toMatchObject({
      kind: 'railTimeout',
      rail: 'D',
      reason: 'rail D was not good when pgood was due, 1000 ms after the last enable',
    });
  });

  it('a rail whose time ended in a standstill is read before pgood is blamed, whichever answers first', () => {
    const machine = waiting();
    machine.tell({ type: 'STALLED', ms: 1500, atMs: 2540 });
    machine.look(null, false, 2540);
    expect(machine.sequence.fault).toBeNull();
    expect(machine.due()).toContain('D');
    machine.look('D', false, 2540);
    expect(machine.sequence.fault).toMatchObject({ kind: 'railTimeout', rail: 'D' });
  });

  it('a rail that came and dips when pgood is due is not what pgood waited for', () => {
    const machine = waiting();
    machine.good('D', 1040);
    machine.send({ type: 'TICK', atMs: 2028 });
    machine.tell({ type: 'RAIL_LEVEL', rail: 'D', good: false, askedMs: 2028, atMs: 2028 });
    machine.tell({ type: 'TICK', atMs: 2030 });
    machine.look('D', false, 2030);
    machine.look(null, false, 2030);
    expect(machine.sequence.fault).toMatchObject({ kind: 'pgoodTimeout', rail: null });
  });

  it('nothing is late once all was good: what dips then is judged by its de-glitch time', () => {
    const plan = diamondPlan({ resets: [{ name: 'CPU', releaseDelayMs: 5_000, isHeld: false }] });
    const machine = waiting(plan);
    machine.good('D', 1040);
    machine.pgood(true, 1060);
    machine.send({ type: 'TICK', atMs: 1065 });
    expect(machine.sequence.readyMs).toBe(1065);
    machine.send({ type: 'TICK', atMs: 2039 });
    machine.tell({ type: 'RAIL_LEVEL', rail: 'B', good: false, askedMs: 2050, atMs: 2050 });
    machine.tell({ type: 'TICK', atMs: 2052 });
    machine.look('B', false, 2052);
    expect(machine.sequence.fault).toBeNull();
    machine.good('B', 2053);
    machine.send({ type: 'TICK', atMs: 6065 });
    expect(machine.state).toBe('pgood');
  });

  it('a rail that delivers again while the end of the power is waited for is named', () => {
    const machine = poweredOn(diamondPlan());
    machine.send({ type: 'POWER_OFF', atMs: 2000 });
    for (const rail of ['D', 'B', 'C', 'A']) machine.good(rail, 2010, false);
    expect(machine.state).toBe('opWaitPowerOff');
    machine.good('B', 2014);
    machine.pgood(false, 2015);
    machine.send({ type: 'TICK', atMs: 3010 });
    expect(machine.sequence.fault).toMatchObject({
      kind: 'powerOffTimeout',
      rail: null,
      reason: 'rail B delivers again 1000 ms after every rail was disabled',
    });
  });

  it.each<[string, SequenceEvent, string | null]>([
    [
      'a good signal',
      { type: 'READ_FAILED', signal: 'good', rail: 'B', askedMs: 1040, atMs: 1040, ...failure },
      'B',
    ],
    [
      'pgood',
      { type: 'READ_FAILED', signal: 'pgood', rail: null, askedMs: 1040, atMs: 1040, ...failure },
      null,
    ],
    [
      'an enable',
      {
        ...{ type: 'DRIVE_FAILED', asserted: true, readBack: false, atMs: 1040, ...failure },
        drive: { what: 'enable', rail: 'D' },
      },
      'D',
    ],
    [
      'a reset',
      {
        ...{ type: 'DRIVE_FAILED', asserted: false, readBack: false, atMs: 1040, ...failure },
        drive: { what: 'reset', reset: 'CPU' },
      },
      null,
    ],
    [
      'the latch',
      {
        ...{ type: 'DRIVE_FAILED', asserted: true, readBack: false, atMs: 1040, ...failure },
        drive: { what: 'latch' },
      },
      null,
    ],
  ])('of hardware that fails it is the rail, where it is one of a rail: %s', (_, event, rail) => {
    const machine = waiting();
    machine.tell(event);
    expect(machine.state).toBe('fault');
    expect(machine.sequence.fault).toEqual({
      ...{ kind: 'hardware', rail, state: 'opWaitPowerOn', atMs: 1040 },
      ...{ reason: 'EIO', errorCode: 'GPIO_FAILED' },
    });
  });

  it.each([
    ['good', 'opWaitPowerOn'],
    ['enable', 'fault'],
  ] as const)('of a rail that the chassis can do without it is a "%s" signal: %s', (signal, state) => {
    const plan = diamondPlan();
    const rails = plan.rails.map((rail) => (rail.name === 'D' ? { ...rail, isLogOnly: true } : rail));
    const machine = waiting({ ...plan, rails });
    machine.tell({ type: 'READ_FAILED', signal, rail: 'D', askedMs: 1040, atMs: 1040, ...failure });
    expect(machine.state).toBe(state);
  });
});

describe('a latching board', () => {
  it('pulses the latch after the enables changed, on and off', () => {
    const machine = bench(diamondPlan({ latched: true }));
    machine.send({ type: 'POWER_ON', atMs: 1000 });
    machine.good('A', 1010);
    machine.send({ type: 'TICK', atMs: 1020 });
    machine.good('B', 1030);
    machine.take();
    machine.good('C', 1040);
    expect(machine.take()).toEqual(['D on', 'latch']);
    machine.send({ type: 'TICK', atMs: 1041 });
    expect(machine.take()).toEqual(['latch']);
    machine.send({ type: 'LATCHED', atMs: 1042 });
    machine.send({ type: 'TICK', atMs: 1043 });
    expect(machine.take()).toEqual([]);
  });

  it.each([
    ['the last enable was driven off', { type: 'DRIVEN', rail: 'A', asserted: false, atMs: 2020 }],
    ['the latch was pulsed', { type: 'LATCHED', atMs: 2020 }],
  ] as const)('is off by no pgood that was read before %s', (_, event) => {
    const machine = poweredOn(diamondPlan({ latched: true }));
    machine.tell({ type: 'POWER_OFF', atMs: 2000 });
    for (const rail of ['D', 'B', 'C', 'A']) machine.look(rail, false, 2005);
    expect(machine.state).toBe('opWaitPowerOff');
    machine.look(null, true, 2010);
    machine.tell(event);
    machine.look('A', false, 2021);
    machine.look(null, false, 2019);
    expect(machine.state).toBe('opWaitPowerOff');
    expect(machine.due()).toContain(null);
    machine.look(null, false, 2021);
    machine.tell({ type: 'TICK', atMs: 2030 });
    expect(machine.state).toBe('off');
  });

  it('is not cleared, and not off, with a latch that was not told that the enables are off', () => {
    const plan = diamondPlan({ latched: true });
    const found = reconcile(plan, observed(plan, []), null, 1000);
    const bare = { ...found.sequence, latchPending: true };
    const inState = (state: State) => {
      let snapshot = takeUp(plan, { state, sequence: bare });
      return (event: SequenceEvent) => {
        const next = step(snapshot, event);
        snapshot = next.snapshot;
        return { state: snapshot.value, asked: next.actions.map(({ type }) => type), actions: next.actions };
      };
    };
    const failed = inState('failed');
    const cleared = failed({ type: 'CLEAR', atMs: 1001 });
    expect(cleared.state).toBe('failed');
    expect(cleared.actions).toEqual([
      expect.objectContaining({
        type: 'answer',
        outcome: 'rejected',
        reason: expect.stringMatching(/latch.*power off first/),
      }),
    ]);
    expect(failed({ type: 'POWER_OFF', atMs: 1002 }).asked).toContain('pulseLatch');
    failed({ type: 'LATCHED', atMs: 1003 });
    expect(failed({ type: 'CLEAR', atMs: 1004 }).state).toBe('off');

    const waiting = inState('opWaitPowerOff');
    expect(waiting({ type: 'PGOOD_LEVEL', good: false, askedMs: 1001, atMs: 1001 })).toMatchObject({
      state: 'off',
      asked: expect.arrayContaining(['pulseLatch']),
    });
  });
});

describe('what a process finds', () => {
  it.each([
    [
      'a rail that is good without its enable',
      { B: { enabled: false, good: true } },
      /rail B is good though its enable is off/,
    ],
    [
      'a rail that is enabled without what it needs',
      { D: { enabled: true, good: false } },
      /rail D is enabled though B and C, which it needs, is not/,
    ],
  ])('a start is rejected over %s, and nothing is driven', (_, rails, reason) => {
    const plan = diamondPlan();
    const found = observed(plan, []);
    const machine = bench(plan, { observation: { ...found, rails: { ...found.rails, ...rails } } });
    expect(machine.state).toBe('unknown');
    expect(machine.sequence.contradictions).toEqual([expect.stringMatching(reason)]);
    machine.send({ type: 'POWER_ON', atMs: 1001 });
    expect(machine.take()).toEqual([expect.stringMatching(/^rejected: the lines contradict each other/)]);
    expect(machine.state).toBe('unknown');
    machine.send({ type: 'POWER_OFF', atMs: 1002 });
    expect(machine.take()).toContain('D off');
  });

  it.each([
    ['opWaitPowerOn', ALL],
    ['opWaitPowerOff', []],
  ] as const)('a latch that was not pulsed by the process before is pulsed again: %s', (state, on) => {
    const plan = diamondPlan({ latched: true });
    const before = reconcile(plan, observed(plan, on, { pgood: true }), null, 900);
    const hint = { state, sequence: { ...before.sequence, latchPending: true } };
    const taken = reconcile(plan, observed(plan, on, { pgood: true }), hint, 1000);
    expect(taken.state).toBe(state);
    const { actions, snapshot } = step(takeUp(plan, taken), { type: 'TICK', atMs: 1000 });
    expect(actions).toContainEqual({ type: 'pulseLatch' });
    const latched = step(snapshot, { type: 'LATCHED', atMs: 1001 });
    expect(step(latched.snapshot, { type: 'TICK', atMs: 1002 }).actions).not.toContainEqual({
      type: 'pulseLatch',
    });
  });

  it('power off of what reads off pulses a latch that was not pulsed, after the enables', () => {
    const plan = diamondPlan({ latched: true });
    const { state, sequence } = reconcile(plan, observed(plan, []), null, 1000);
    expect(state).toBe('off');
    const asked = { type: 'POWER_OFF', atMs: 1000 } as const;
    const { actions, snapshot } = step(
      takeUp(plan, { state, sequence: { ...sequence, latchPending: true } }),
      asked,
    );
    const off = [...ALL].reverse().map((rail) => ({ type: 'driveEnable', rail, asserted: false }));
    const moves = actions.filter(({ type }) => type !== 'answer');
    expect(moves).toEqual([...off, { type: 'pulseLatch' }]);
    const latched = step(snapshot, { type: 'LATCHED', atMs: 1001 });
    expect(step(latched.snapshot, asked).actions.filter(({ type }) => type !== 'answer')).toEqual(off);
  });
});

describe('a loss', () => {
  it.each(['pgood', 'B'])('of %s is lowered at once: every enable in one step, in reverse order', (lost) => {
    const machine = poweredOn(diamondPlan());
    machine.take();
    if (lost === 'pgood') machine.tell({ type: 'PGOOD_LEVEL', good: false, askedMs: 2000, atMs: 2000 });
    else machine.look(lost, false, 2000);
    machine.tell({ type: 'TICK', atMs: 2005 });
    expect(machine.take()).toEqual([]);
    machine.look(lost === 'pgood' ? null : lost, false, 2005);
    expect(machine.take()).toEqual([
      expect.stringMatching(/^fault /),
      'reset asserted',
      ...['D off', 'C off', 'B off', 'A off'],
    ]);
  });
});

describe('a time that is over', () => {
  /** Asked for before the moment, however late it was answered; then asked for at it. */
  const late = (source: string | null, good: boolean, askedMs: number, atMs: number): SequenceEvent =>
    source === null
      ? { type: 'PGOOD_LEVEL', good, askedMs, atMs }
      : { type: 'RAIL_LEVEL', rail: source, good, askedMs, atMs };

  it.each<{
    what: string;
    begin: () => ReturnType<typeof bench>;
    overMs: number;
    source: string | null;
    good: boolean;
    judged: (machine: ReturnType<typeof bench>) => boolean;
  }>([
    {
      what: 'the time of a rail to come up',
      begin: () => {
        const machine = bench(diamondPlan());
        machine.send({ type: 'POWER_ON', atMs: 1000 });
        return machine;
      },
      overMs: 1100,
      source: 'A',
      good: false,
      judged: ({ sequence }) => sequence.fault?.kind === 'railTimeout',
    },
    {
      what: 'the settle time of a rail',
      begin: () => {
        const machine = bench(diamondPlan());
        machine.send({ type: 'POWER_ON', atMs: 1000 });
        machine.good('A', 1010);
        return machine;
      },
      overMs: 1020,
      source: 'A',
      good: true,
      judged: ({ sequence }) => sequence.rails.A?.phase === 'up',
    },
    {
      what: 'the time for pgood',
      begin: () => {
        const machine = bench(diamondPlan());
        machine.send({ type: 'POWER_ON', atMs: 1000 });
        machine.good('A', 1010);
        machine.send({ type: 'TICK', atMs: 1020 });
        for (const rail of ['B', 'C', 'D']) machine.good(rail, 1030);
        return machine;
      },
      overMs: 2030,
      source: null,
      good: false,
      judged: ({ sequence }) => sequence.fault?.kind === 'pgoodTimeout',
    },
    {
      what: 'the de-glitch time of pgood',
      begin: () => {
        const machine = poweredOn(diamondPlan());
        machine.pgood(false, 2000);
        return machine;
      },
      overMs: 2005,
      source: null,
      good: false,
      judged: ({ sequence }) => sequence.fault?.kind === 'pgoodLost',
    },
    {
      what: 'the de-glitch time of a rail',
      begin: () => {
        const machine = poweredOn(diamondPlan());
        machine.good('C', 2000, false);
        return machine;
      },
      overMs: 2005,
      source: 'C',
      good: false,
      judged: ({ sequence }) => sequence.fault?.kind === 'railLost',
    },
    {
      what: 'the time of a rail to go down',
      begin: () => {
        const machine = poweredOn(diamondPlan());
        machine.send({ type: 'POWER_OFF', atMs: 2000 });
        return machine;
      },
      overMs: 2200,
      source: 'D',
      good: true,
      judged: ({ sequence }) => sequence.rails.D?.phase === 'stuck',
    },
  ])(
    'is believed only on a level that was asked for after it: $what',
    ({ begin, overMs, source, good, judged }) => {
      const machine = begin();
      machine.tell({ type: 'TICK', atMs: overMs });
      expect(machine.due()).toEqual([source]);
      expect(judged(machine)).toBe(false);
      machine.tell(late(source, good, overMs - 1, overMs + 1));
      expect(judged(machine)).toBe(false);
      machine.tell(late(source, good, overMs, overMs + 2));
      expect(judged(machine)).toBe(true);
    },
  );

  it('is not over for a level that nobody watched: it begins anew after a standstill, at most twice, though it cannot be read meanwhile', () => {
    const machine = poweredOn(
      diamondPlan({
        pgood: {
          deglitchMs: 300,
          onTimeoutMs: 1000,
          offTimeoutMs: 1000,
          rails: [],
          hasSignals: true,
          poweredBy: [],
        },
      }),
    );
    machine.tell({ type: 'TICK', atMs: 2000 });
    const since = () => machine.sequence.pgood.sinceMs;
    // It is not on yet: its pgood is younger than 300 ms.
    machine.pgood(true, 2000);
    machine.send({ type: 'TICK', atMs: 2400 });
    machine.send({ type: 'TICK', atMs: 2500 });
    expect(machine.state).toBe('pgood');
    machine.tell(late(null, false, 3000, 3000));
    for (const [atMs, sinceMs] of [
      [3200, 3200],
      [3400, 3400],
      [3600, 3500],
    ] as const) {
      machine.tell({ type: 'STALLED', ms: 100, atMs });
      machine.tell({
        ...{ type: 'READ_FAILED', signal: 'pgood', rail: null, askedMs: atMs, atMs },
        ...{ code: 'GPIO_FAILED', reason: 'EIO' },
      });
      machine.tell(late(null, false, atMs, atMs));
      expect(since()).toBe(sinceMs);
    }
    machine.send({ type: 'TICK', atMs: 3799 });
    expect(machine.state).toBe('pgood');
    machine.send({ type: 'TICK', atMs: 3800 });
    expect(machine.state).toBe('fault');
  });

  it('counts from the moment at which the enable was driven', () => {
    const machine = bench(diamondPlan());
    machine.tell({ type: 'POWER_ON', atMs: 1000 });
    machine.tell({ type: 'DRIVEN', rail: 'A', asserted: true, atMs: 1090 });
    machine.send({ type: 'TICK', atMs: 1189 });
    expect(machine.sequence.fault).toBeNull();
    machine.send({ type: 'TICK', atMs: 1190 });
    expect(machine.sequence.fault?.kind).toBe('railTimeout');
  });

  it('counts so for a stage too, after a rail without a signal', () => {
    const { rails, ...others } = diamondPlan();
    const [first] = rails;
    if (first === undefined) throw new RangeError('no rail');
    const plan = { ...others, rails: [{ ...first, observable: false, settleMs: 6, neededBy: [] }] };
    const machine = bench(plan);
    machine.tell({ type: 'POWER_ON', atMs: 1000 });
    machine.tell({ type: 'DRIVEN', rail: 'A', asserted: true, atMs: 1700 });
    expect(machine.sequence.stageDeadlineMs).toBe(1700 + plan.pgood.onTimeoutMs);
    machine.tell({ type: 'POWER_OFF', atMs: 1701 });
    machine.tell({ type: 'DRIVEN', rail: 'A', asserted: false, atMs: 2500 });
    expect(machine.state).toBe('opWaitPowerOff');
    expect(machine.sequence.stageDeadlineMs).toBe(2500 + plan.pgood.offTimeoutMs);
  });

  it('a rail that was not good when it was disabled is down only when it reads so after that', () => {
    const machine = bench(diamondPlan());
    machine.tell({ type: 'POWER_ON', atMs: 1000 });
    machine.tell({ type: 'POWER_OFF', atMs: 1001 });
    machine.tell(late('A', false, 1000, 1002));
    expect(machine.sequence.rails.A?.phase).toBe('falling');
    machine.tell(late('A', true, 1002, 1003));
    expect(machine.state).toBe('opWaitPowerOff');
    machine.tell(late('A', false, 1004, 1004));
    machine.tell(late(null, false, 1000, 1004));
    expect(machine.state).toBe('opWaitPowerOff');
    machine.tell(late(null, false, 1005, 1005));
    expect(machine.state).toBe('off');
  });
});

/** How each request is taken in each state, on a chassis whose hardware agrees with the state. */
const REQUESTS: Readonly<Record<State, { on: Outcome; off: Outcome; clear: Outcome }>> = {
  unknown: { on: 'changed', off: 'changed', clear: 'unchanged' },
  off: { on: 'changed', off: 'unchanged', clear: 'unchanged' },
  opPowerStart: { on: 'unchanged', off: 'changed', clear: 'unchanged' },
  opWaitPowerOn: { on: 'unchanged', off: 'changed', clear: 'unchanged' },
  pgood: { on: 'unchanged', off: 'changed', clear: 'unchanged' },
  opPowerStop: { on: 'rejected', off: 'unchanged', clear: 'unchanged' },
  opWaitPowerOff: { on: 'rejected', off: 'unchanged', clear: 'unchanged' },
  fault: { on: 'rejected', off: 'unchanged', clear: 'unchanged' },
  failed: { on: 'changed', off: 'unchanged', clear: 'changed' },
};

/** Rails that are on in each state. */
const RAILS_ON: Readonly<Record<State, readonly string[]>> = {
  unknown: ['A'],
  off: [],
  opPowerStart: ['A'],
  opWaitPowerOn: ALL,
  pgood: ALL,
  opPowerStop: ALL,
  opWaitPowerOff: [],
  fault: ALL,
  failed: [],
};

describe('every request in every state is decided', () => {
  for (const state of STATES) {
    for (const [request, key] of [
      ['POWER_ON', 'on'],
      ['POWER_OFF', 'off'],
      ['CLEAR', 'clear'],
    ] as const) {
      const outcome = REQUESTS[state][key];
      it(`${request} in ${state} is ${outcome}`, () => {
        const plan = diamondPlan();
        const observation = observed(plan, RAILS_ON[state], {
          pgood: state === 'pgood' || state === 'opWaitPowerOff',
          resetsAsserted: { CPU: state !== 'pgood' },
        });
        const machine = bench(plan, { observation, state });
        const { actions, state: after } = machine.send({ type: request, atMs: 2000 });
        const answers = actions.filter(({ type }) => type === 'answer');
        expect(answers).toEqual([
          {
            type: 'answer',
            request,
            outcome,
            reason: outcome === 'rejected' ? expect.stringMatching(/./) : '',
          },
        ]);
        if (outcome === 'rejected') expect(after).toBe(state);
        // A power-off drives every enable off, also those that read so; any other request that is met already moves none.
        if (outcome !== 'changed' && !['opPowerStop', 'fault', 'opPowerStart'].includes(state)) {
          const drives = actions.filter(({ type }) => type.startsWith('drive'));
          const off = plan.rails.map(({ name: rail }) => ({ type: 'driveEnable', rail, asserted: false }));
          expect(drives).toEqual(request === 'POWER_OFF' ? off.reverse() : []);
        }
      });
    }
  }
});

describe('the machine as it is written', () => {
  // xstate's types do not see a wrong `initial`, an event that nobody sends, or a timer that no restored
  // state would ever re-arm.
  const EVENTS = [
    ...['POWER_ON', 'POWER_OFF', 'CLEAR', 'RAIL_LEVEL', 'PGOOD_LEVEL', 'HOST_SLEEP'],
    ...['TICK', 'STALLED', 'DRIVEN', 'LATCHED', 'DRIVE_FAILED', 'READ_FAILED'],
  ];
  const nodes = [chassisMachine.root, ...Object.values(chassisMachine.states)];

  it('has the states of STATES, and begins in one of them', () => {
    expect(Object.keys(chassisMachine.states).sort()).toEqual([...STATES].sort());
    expect(STATES).toContain(chassisMachine.root.initial.target[0]?.key);
  });

  it('knows only events that are sent, and goes only to states that are there', () => {
    for (const node of nodes) {
      for (const event of node.ownEvents) expect(EVENTS).toContain(event);
      for (const transition of [...node.transitions.values()].flat()) {
        for (const target of transition.target ?? []) expect(STATES).toContain(target.key);
      }
    }
    expect(new Set(nodes.flatMap(({ ownEvents }) => ownEvents))).toEqual(new Set(EVENTS));
  });

  it('has tags in place of lists of states', () => {
    const tagged = (tag: StateTag) => STATES.filter((state) => hasTag(state, tag));
    expect(tagged('rising')).toEqual(['opPowerStart', 'opWaitPowerOn']);
    expect(tagged('falling')).toEqual(['opPowerStop', 'opWaitPowerOff']);
    expect(tagged('lowering')).toEqual(['opPowerStop', 'opWaitPowerOff', 'fault']);
    expect(tagged('atRest')).toEqual(['unknown', 'off', 'failed']);
    for (const state of STATES) expect(chassisMachine.states[state]?.tags).toEqual(STATE_TAGS[state]);
  });

  it('works out what is wrong once, for the guards and for the record', () => {
    const plan = diamondPlan();
    const { context } = takeUp(plan, reconcile(plan, observed(plan, ALL), null, 1000));
    let reads = 0;
    const watched = {
      ...context,
      get plan() {
        reads += 1;
        return context.plan;
      },
    };
    expect(hasFault(watched, 'railLost')).toBe(false);
    const once = reads;
    expect(hasFault(watched, 'railTimedOut')).toBe(false);
    expect(faultOf(watched, 'railLost', 'pgood')).toBeNull();
    expect([once > 0, reads]).toEqual([true, once]);
  });

  it('takes each event as the transition of xstate would, which takes a new actor for it', () => {
    const plan = diamondPlan({ latched: true });
    const rail = fc.constantFrom(...ALL);
    const good = fc.boolean();
    const failed = { code: 'GPIO_FAILED', reason: 'EIO' } as const;
    const event = fc.oneof(
      fc.record({ type: fc.constantFrom('POWER_ON', 'POWER_OFF', 'CLEAR', 'TICK', 'LATCHED' as const) }),
      fc.record({ type: fc.constant('RAIL_LEVEL' as const), rail, good }),
      fc.record({ type: fc.constant('PGOOD_LEVEL' as const), good }),
      fc.record({ type: fc.constant('DRIVEN' as const), rail, asserted: good }),
      rail.map((name) => ({
        ...{ type: 'DRIVE_FAILED', drive: { what: 'enable', rail: name } },
        ...{ asserted: false, readBack: true, ...failed },
      })),
    );
    const story = fc.array(fc.tuple(fc.nat(150), event), { minLength: 10, maxLength: 40 });
    fc.assert(
      fc.property(fc.constantFrom([], ['A'], ALL), story, (on, events) => {
        let snapshot = takeUp(plan, reconcile(plan, observed(plan, on), null, 1000));
        let atMs = 1000;
        for (const [laterMs, told] of events) {
          atMs += laterMs;
          const given = { ...told, askedMs: atMs, atMs } as SequenceEvent;
          const ours = step(snapshot, given);
          const [theirs, actions] = transition(chassisMachine, snapshot, given);
          expect([ours.snapshot.value, ours.snapshot.context]).toEqual([theirs.value, theirs.context]);
          expect(ours.actions).toEqual(actions.map(({ type, params }) => ({ type, ...(params as object) })));
          snapshot = ours.snapshot;
        }
      }),
      { numRuns: draws(30) },
    );
  });

  it('has no timers of its own', () => {
    for (const node of nodes) expect(node.after).toEqual([]);
  });
});

describe('a plan', () => {
  it('puts every rail after what it needs', () => {
    expect(diamondPlan().rails.map(({ name }) => name)).toEqual(['A', 'B', 'C', 'D']);
  });
});
