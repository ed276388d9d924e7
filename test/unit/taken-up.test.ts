/** What a process takes a chassis for whose rails are only watched, hang on a device without power, or have a button. */
import { describe, expect, it } from 'vitest';
import { type Plan, planOf } from '../../src/sequence/plan.ts';
import { reconcile } from '../../src/sequence/reconcile.ts';
import {
  type Hint,
  type Observation,
  type RailState,
  railState,
  type State,
  type Unpowered,
} from '../../src/sequence/state.ts';
import { checkBoard } from '../check-board.ts';

const line = (offset: number) => ({ chip: 'gpio', line: offset });
const times = { settleMs: 0, onTimeoutMs: 100, offTimeoutMs: 200 };
const THEN_MS = 10_000;
const NOW_MS = 10_050;

function planOfChassis(chassis: object, devices: object = {}): Plan {
  const { board, problems } = checkBoard({
    name: 'taken',
    devices,
    chassis: {
      0: { pgood: { ...line(20), deglitchMs: 5, onTimeoutMs: 400, offTimeoutMs: 500 }, ...chassis },
    },
  });
  const found = board?.chassis['0'];
  if (!board || !found) throw new TypeError(JSON.stringify(problems));
  return planOf(found, board.devices);
}

interface Seen {
  readonly enabled?: readonly string[];
  readonly good?: readonly string[];
  readonly pgood?: boolean;
  readonly unpowered?: readonly Unpowered[];
  readonly unread?: Observation['unread'];
}

/** What was read, where what is only watched reads as enabled as it is good. */
function seen(plan: Plan, { enabled = [], good = [], pgood = false, unpowered, unread }: Seen): Observation {
  const rails = plan.rails.map(({ name, watched }) => {
    const isGood = good.includes(name);
    return [name, { enabled: watched === null ? enabled.includes(name) : isGood, good: isGood }];
  });
  return {
    rails: Object.fromEntries(rails),
    pgood,
    resetsAsserted: {},
    ...(unpowered && { unpowered }),
    ...(unread && { unread }),
  };
}

/** What a process left in `state` that had seen this, with these of its rails otherwise. */
function leftIn(
  plan: Plan,
  state: State,
  observed: Seen,
  rails: Readonly<Record<string, Partial<RailState>>> = {},
): Hint {
  const { sequence } = reconcile(plan, seen(plan, observed), null, THEN_MS);
  const changed = plan.rails.map(({ name }) => [name, { ...railState(sequence, name), ...rails[name] }]);
  return { state, sequence: { ...sequence, rails: Object.fromEntries(changed) } };
}

/** PSU supplies; F follows P12V, G follows F, and VCORE, which is switched, needs F. */
const RAILS = {
  PSU: { good: line(0), ...times },
  P12V: { enable: line(1), good: line(2), needs: ['PSU'], ...times },
  F: { good: line(3), needs: ['P12V'], ...times },
  G: { good: line(4), needs: ['F'], ...times },
  VCORE: { enable: line(5), good: line(6), needs: ['F'], ...times },
};
const WATCHED = planOfChassis({ rails: RAILS });
const ALL: Seen = { enabled: ['P12V', 'VCORE'], good: ['PSU', 'P12V', 'F', 'G', 'VCORE'], pgood: true };
const without = (rail: string): Seen => ({ ...ALL, good: ALL.good?.filter((name) => name !== rail) ?? [] });

const taken = (observed: Seen, hint: Hint | null = null, plan = WATCHED) =>
  reconcile(plan, seen(plan, observed), hint, NOW_MS);
const railsOf = ({ sequence }: ReturnType<typeof taken>) =>
  Object.fromEntries(
    Object.entries(sequence.rails).map(([name, { phase, enabled }]) => [name, `${phase} ${enabled}`]),
  );

describe('a chassis with rails that are only watched', () => {
  it('is off with its supply, whose voltage is no power of it', () => {
    const { state, sequence } = taken({ good: ['PSU'] });
    expect([state, sequence.contradictions]).toEqual(['off', []]);
    expect(sequence.rails.PSU).toMatchObject({
      ...{ watched: 'supply', phase: 'down', enabled: false, good: true, deadlineMs: null, sinceMs: NOW_MS },
    });
    expect(sequence.rails.F).toMatchObject({ watched: 'follower', phase: 'down', enabled: false });
    expect(sequence.rails.P12V).not.toHaveProperty('watched');
  });

  it('is on with all of them, and each is up', () => {
    expect(taken(ALL).state).toBe('pgood');
    const up = Object.fromEntries(WATCHED.rails.map(({ name }) => [name, 'up true']));
    expect(railsOf(taken(ALL))).toEqual(up);
  });

  it.each(['PSU', 'F', 'G', 'VCORE'])('is not on without %s', (rail) => {
    expect(taken(without(rail)).state).toBe('opWaitPowerOn');
  });

  it.each([
    ['F', 'P12V', ['P12V', 'VCORE']],
    ['G', 'P12V', ['P12V', 'VCORE']],
  ])('tells of %s, which is good alone, by the enable that it hangs on', (rail, enable) => {
    const { state, sequence } = taken({ good: ['PSU', rail] });
    expect(state).toBe('unknown');
    expect(sequence.contradictions).toEqual([
      `rail ${rail} is good though the enable of ${enable}, which it hangs on, is off`,
    ]);
    expect(sequence.rails[rail]).toMatchObject({
      ...{ phase: 'falling', enabled: false, good: true, deadlineMs: NOW_MS + 200 },
    });
  });

  it('tells nothing of a follower that is good with the enable that it hangs on', () => {
    const { state, sequence } = taken({ enabled: ['P12V'], good: ['PSU', 'P12V', 'F', 'G'] });
    expect([state, sequence.contradictions]).toEqual(['unknown', []]);
  });

  it('waits for a follower when what it needs is up, and not before', () => {
    const start: Seen = { enabled: ['P12V'], good: ['PSU', 'P12V'] };
    const rising = taken(start, leftIn(WATCHED, 'opPowerStart', start, { P12V: { phase: 'rising' } }));
    expect(railsOf(rising)).toMatchObject({ P12V: 'rising true', F: 'down false', G: 'down false' });
    const up = taken(start, leftIn(WATCHED, 'opPowerStart', start, { P12V: { phase: 'up' } }));
    expect(railsOf(up)).toMatchObject({ P12V: 'up true', F: 'rising true', G: 'down false' });
    expect(up.sequence.rails.F?.deadlineMs).toBe(NOW_MS + 100);
  });

  it('gives a follower the time that it had', () => {
    const start: Seen = { enabled: ['P12V'], good: ['PSU', 'P12V'] };
    const hint = leftIn(WATCHED, 'opPowerStart', start, {
      P12V: { phase: 'up' },
      F: { phase: 'rising', deadlineMs: 10_077 },
    });
    expect(taken(start, hint).sequence.rails.F).toMatchObject({ phase: 'rising', deadlineMs: 10_077 });
    const down: Seen = { good: ['PSU', 'F'] };
    const falling = leftIn(WATCHED, 'opPowerStop', down, { F: { phase: 'falling', deadlineMs: 10_099 } });
    expect(taken(down, falling).sequence.rails.F).toMatchObject({ phase: 'falling', deadlineMs: 10_099 });
  });

  it('has a follower that what it needs may still bring be down, be it good already', () => {
    // Its enable is on, and it has not settled: nothing falls.
    const start: Seen = { enabled: ['P12V'], good: ['PSU', 'F'] };
    const hint = leftIn(WATCHED, 'opPowerStart', start, { P12V: { phase: 'rising' } });
    expect(taken(start, hint).sequence.rails.F).toMatchObject({ phase: 'down', enabled: false, good: true });
    // One of the enables that G hangs on is none that it needs itself.
    expect(railsOf(taken({ ...start, good: ['PSU', 'G'] }, hint)).G).toBe('down false');
  });

  it.each<[State, string]>([
    ['opPowerStart', 'rising true'],
    ['opPowerStop', 'down false'],
    ['fault', 'down false'],
  ])('needs its supply while power rises: left in %s', (state, expected) => {
    const half: Seen = { enabled: ['P12V'], good: ['P12V'] };
    expect(railsOf(taken(half, leftIn(WATCHED, state, half))).PSU).toBe(expected);
  });

  it('marks what of them could not be read', () => {
    const unread = [{ signal: 'good', rail: 'F' }] as const;
    const { rails } = taken({ ...ALL, unread }).sequence;
    expect([rails.F?.goodUnread, rails.F?.enableDoubt]).toEqual([true, null]);
    expect([rails.G?.goodUnread, rails.PSU?.goodUnread]).toEqual([false, false]);
  });

  it('is no latched chassis that is on by pgood alone, whatever its supply says', () => {
    const latched = { ...WATCHED, latched: true };
    expect(taken({ good: ['PSU'], pgood: true }, null, latched).state).toBe('unknown');
    expect(taken({ good: ['PSU', 'F'], pgood: true }, null, latched).state).toBe('pgood');
  });
});

describe('a device that has its power from a rail which hangs on two', () => {
  const BOTH = planOfChassis(
    {
      rails: {
        A: { enable: line(1), good: line(2), ...times },
        B: { enable: line(3), good: line(4), ...times },
        F: { good: line(5), needs: ['A', 'B'], ...times },
        W: { enable: { pmbus: 'vr' }, good: line(6), nominalVolts: 1, needs: ['F'], ...times },
      },
    },
    { vr: { bus: 1, address: '0x40', poweredBy: 'F' } },
  );

  it.each([
    [['A', 'B'], 'up true'],
    // Without one of them it has no power, and its output is off.
    [['A'], 'down false'],
    [['B'], 'down false'],
  ])('is as it was left where both are on, and else off: %o', (enabled, expected) => {
    const on: Seen = { enabled: ['A', 'B', 'W'], good: ['A', 'B', 'F', 'W'], pgood: true };
    const dropped: Seen = { enabled, unpowered: [{ signal: 'enable', rail: 'W', poweredBy: 'F' }] };
    expect(railsOf(taken(dropped, leftIn(BOTH, 'pgood', on), BOTH)).W).toBe(expected);
  });

  it('finds that rail waited for when both are up, coming while one may bring it, and falling where one is off', () => {
    const found = (observed: Seen, rails: Readonly<Record<string, Partial<RailState>>>) =>
      railsOf(taken(observed, leftIn(BOTH, 'opPowerStart', observed, rails), BOTH)).F;
    const both: Seen = { enabled: ['A', 'B'], good: ['A', 'B', 'F'] };
    const rising: Partial<RailState> = { phase: 'rising' };
    const up: Partial<RailState> = { phase: 'up' };
    expect(found(both, { A: up, B: up })).toBe('rising true');
    expect(found(both, { A: up, B: rising })).toBe('down false');
    expect(found({ ...both, enabled: ['A'] }, { A: up })).toBe('falling false');
    expect(found({ ...both, enabled: ['B'] }, { B: rising })).toBe('falling false');
  });
});

describe('a chassis behind a latch of which nobody tells', () => {
  it.each<[State, Seen, boolean]>([
    ['off', {}, true],
    ['unknown', { good: ['F'] }, true],
    // Its enables read on, so it is not the pins of a BMC that started anew.
    ['opWaitPowerOn', without('G'), false],
    ['pgood', ALL, false],
  ])('has it pulsed by a power-off where it may hold what does not read: %s', (state, observed, expected) => {
    const found = taken(observed, null, { ...WATCHED, latched: true });
    expect([found.state, found.sequence.latchPending]).toEqual([state, expected]);
  });
});

describe('a chassis with devices that have their power from a rail', () => {
  const vout = (pmbus: string) => ({ pmbus, minVolts: 0.9 });
  /** P powers what switches V, F follows V, and V powers what switches W. */
  const POWERED = planOfChassis(
    {
      rails: {
        P: { enable: line(1), good: line(2), ...times },
        V: { enable: { pmbus: 'first' }, good: vout('first'), nominalVolts: 1, needs: ['P'], ...times },
        F: { good: line(3), needs: ['V'], ...times },
        W: { enable: { pmbus: 'second' }, good: vout('second'), nominalVolts: 1, needs: ['F'], ...times },
      },
    },
    {
      first: { bus: 1, address: '0x40', poweredBy: 'P' },
      second: { bus: 1, address: '0x41', poweredBy: 'F' },
    },
  );
  const none = (rail: string, poweredBy: string): Unpowered[] => [
    { signal: 'enable', rail, poweredBy },
    { signal: 'good', rail, poweredBy },
  ];
  const ON: Seen = { enabled: ['P', 'V', 'W'], good: ['P', 'V', 'F', 'W'], pgood: true };
  const enabledOf = (observed: Seen, hint: Hint | null) =>
    Object.entries(taken(observed, hint, POWERED).sequence.rails).flatMap(([name, { enabled }]) =>
      enabled ? [name] : [],
    );
  /** P is enabled, and dropped. */
  const dropped: Seen = { enabled: ['P'], unpowered: [...none('V', 'P'), ...none('W', 'F')] };

  it('whose rail is off has all behind it off, whatever the state file says', () => {
    const off: Seen = { unpowered: dropped.unpowered ?? [] };
    const hint = leftIn(POWERED, 'pgood', ON);
    expect(taken(off, hint, POWERED).state).toBe('off');
    expect(enabledOf(off, hint)).toEqual([]);
  });

  it('whose rail dropped while it was on is on as it was left, and loses it', () => {
    const hint = leftIn(POWERED, 'pgood', ON);
    expect(taken(dropped, hint, POWERED).state).toBe('pgood');
    expect(enabledOf(dropped, hint)).toEqual(['P', 'V', 'F', 'W']);
  });

  it('whose rail dropped has on of them what was on, and nothing without a state file', () => {
    expect(enabledOf(dropped, null)).toEqual(['P']);
    const half = leftIn(POWERED, 'opPowerStart', { enabled: ['P', 'V'], good: ['P'] });
    expect(enabledOf(dropped, half).filter((name) => name !== 'F')).toEqual(['P', 'V']);
    expect(taken(dropped, half, POWERED).state).toBe('opPowerStart');
  });

  it('of which one was asked is believed', () => {
    const asked: Seen = { enabled: ['P', 'V'], good: ['P'], unpowered: none('W', 'F') };
    const hint = leftIn(POWERED, 'pgood', { ...ON, enabled: ['P', 'V'] });
    expect(enabledOf(asked, hint)).toContain('V');
    expect(enabledOf({ ...asked, enabled: ['P'] }, leftIn(POWERED, 'opPowerStart', ON))).not.toContain('V');
  });

  it('of which only the good signal has no power is as enabled as it reads', () => {
    const onlyGood: Seen = {
      enabled: ['P', 'V'],
      unpowered: [{ signal: 'good', rail: 'V', poweredBy: 'P' }],
    };
    expect(enabledOf(onlyGood, null)).toContain('V');
  });
});

describe('a chassis with a power button', () => {
  const planWith = (state: boolean) =>
    planOfChassis({
      rails: {
        STANDBY: { enable: line(0), good: line(1), ...times },
        HOST: {
          enable: { pulse: line(2), ...(state && { state: line(3) }), forceOffMs: 6_000 },
          good: line(4),
          needs: ['STANDBY'],
          ...times,
        },
      },
    });
  const GOOD = planWith(false);
  const STATE = planWith(true);
  const standby: Seen = { enabled: ['STANDBY'], good: ['STANDBY'] };
  const left = (plan: Plan, state: State, host: Partial<RailState>) =>
    leftIn(plan, state, standby, { STANDBY: { phase: 'up' }, HOST: { enabled: true, ...host } });
  const pressed: Partial<RailState> = { phase: 'rising', deadlineMs: null };

  it.each<[string, Plan, State, Partial<RailState>, boolean]>([
    ['just before, and nothing shows it yet', GOOD, 'opPowerStart', pressed, true],
    ['just before, and its state does not show it yet', STATE, 'opPowerStart', pressed, true],
    // Its press is over, and the rail has its time from then on.
    ['and is waited for', GOOD, 'opWaitPowerOn', { phase: 'rising', deadlineMs: 10_090 }, true],
    ['and its state had shown it', STATE, 'opWaitPowerOn', { phase: 'rising', deadlineMs: 10_090 }, false],
    ['and the rail was up', GOOD, 'opWaitPowerOn', { phase: 'up', deadlineMs: null }, true],
    ['and the rail was up, as its state showed', STATE, 'opWaitPowerOn', { phase: 'up' }, false],
    ['for a power-off', GOOD, 'opPowerStop', pressed, false],
    ['before the chassis was on', GOOD, 'pgood', pressed, false],
    ['never', GOOD, 'opPowerStart', { enabled: false, phase: 'down' }, false],
  ])('that was pressed %s', (_, plan, state, host, isEnabled) => {
    const found = taken(standby, left(plan, state, host), plan);
    expect(found.sequence.rails.HOST?.enabled).toBe(isEnabled);
    expect(found.sequence.rails.STANDBY?.enabled).toBe(true);
    expect(taken(standby, null, plan).sequence.rails.HOST?.enabled).toBe(false);
  });

  it('goes on with a power-on whose press is under way, and takes it for no contradiction', () => {
    const found = taken(standby, left(GOOD, 'opWaitPowerOn', pressed), GOOD);
    expect([found.state, found.sequence.contradictions]).toEqual(['opWaitPowerOn', []]);
  });

  it('of which nobody tells is as its lines show', () => {
    expect(taken({ ...standby, good: ['STANDBY', 'HOST'] }, null, GOOD).sequence.contradictions).toEqual([
      'rail HOST is good though its enable is off',
    ]);
    const unpressed = left(GOOD, 'opPowerStart', { enabled: false, phase: 'down' });
    expect(taken(standby, unpressed, GOOD).state).toBe('opPowerStart');
  });
});

describe('what another process left of its times behind a latch that it did not pulse', () => {
  const LATCHED = { ...WATCHED, latched: true };
  const left = (state: State, observed: Seen, p12v: Partial<RailState>): Hint => {
    const hint = leftIn(LATCHED, state, observed, { P12V: p12v });
    return { ...hint, sequence: { ...hint.sequence, stageDeadlineMs: 10_060, latchPending: true } };
  };

  it('is kept on the way up: what came, came', () => {
    const found = taken(without('G'), left('opWaitPowerOn', without('G'), { phase: 'up' }), LATCHED);
    expect([found.state, found.sequence.stageDeadlineMs]).toEqual(['opWaitPowerOn', 10_060]);
    const late = left('opPowerStart', { enabled: ['P12V'] }, { phase: 'rising', deadlineMs: 10_070 });
    expect(taken({ enabled: ['P12V'] }, late, LATCHED).sequence.rails.P12V?.deadlineMs).toBe(10_070);
  });

  it('begins anew on the way down, but for what did not go', () => {
    const falling: Seen = { good: ['PSU', 'P12V'], pgood: true };
    const begun = taken(
      falling,
      left('opWaitPowerOff', falling, { phase: 'falling', deadlineMs: 10_070 }),
      LATCHED,
    );
    expect(begun.sequence).toMatchObject({
      ...{ stageDeadlineMs: NOW_MS + 500, rails: { P12V: { phase: 'falling', deadlineMs: NOW_MS + 200 } } },
    });
    const stuck = taken(falling, left('opWaitPowerOff', falling, { phase: 'stuck' }), LATCHED);
    expect(stuck.sequence.rails.P12V).toMatchObject({ phase: 'stuck', deadlineMs: null });
  });
});

describe('a power-on whose pgood is taken from the rails', () => {
  const RELAYS = { A: { enable: line(1), ...times, settleMs: 80 }, B: { enable: line(2), ...times } };
  const on: Seen = { enabled: ['A', 'B'], good: ['A', 'B'], pgood: true };

  it.each<[string, object, RailState['phase'], State]>([
    // What nobody sees is good as soon as it is enabled.
    ['goes on while one of them has not settled', { pgood: { rails: true } }, 'rising', 'opWaitPowerOn'],
    ['is over when each of them has settled', { pgood: { rails: true } }, 'up', 'pgood'],
    ['is over by its own line, where that is pgood', { pgood: line(7) }, 'rising', 'pgood'],
  ])('%s', (_, pgood, phase, expected) => {
    const plan = planOfChassis({ rails: RELAYS, ...pgood });
    const hint = leftIn(plan, 'opWaitPowerOn', on, { A: { phase }, B: { phase: 'up' } });
    expect(taken(on, hint, plan).state).toBe(expected);
  });
});
