import { describe, expect, it } from 'vitest';
import { type Plan, planOf } from '../../src/sequence/plan.ts';
import { reconcile } from '../../src/sequence/reconcile.ts';
import {
  type Hint,
  type Observation,
  type RailState,
  railState,
  type SequenceState,
  STATES,
  type State,
} from '../../src/sequence/state.ts';
import { shippedBoard } from './bench.ts';

const THEN_MS = 10_000;
const NOW_MS = 10_700;

function referencePlan(): Plan {
  const chassis = shippedBoard('reference').chassis['0'];
  if (!chassis) throw new RangeError('no chassis 0');
  return planOf(chassis, {});
}

/** The lines with these rails enabled and these good. */
function seen(plan: Plan, enabled: readonly string[], good: readonly string[], pgood = false): Observation {
  return {
    rails: Object.fromEntries(
      plan.rails.map(({ name }) => [name, { enabled: enabled.includes(name), good: good.includes(name) }]),
    ),
    pgood,
    resetsAsserted: Object.fromEntries(plan.resets.map(({ name }) => [name, true])),
  };
}

/** What a process that saw `observation` at `THEN_MS` left behind in `state`. */
function leftIn(
  state: State,
  plan: Plan,
  observation: Observation,
  change: Partial<SequenceState> = {},
): Hint {
  const { sequence } = reconcile(plan, observation, null, THEN_MS);
  return { state, sequence: { ...sequence, ...change } };
}

/** The rails that were seen, with another end of the time of P12V. */
function railsDue(plan: Plan, observation: Observation, deadlineMs: number): SequenceState['rails'] {
  const { sequence } = reconcile(plan, observation, null, THEN_MS);
  return { ...sequence.rails, P12V: { ...railState(sequence, 'P12V'), deadlineMs } };
}

/** The same board, whose resets wait for the host. */
function waitingForHost(plan: Plan): Plan {
  return { ...plan, resets: plan.resets.map((reset) => ({ ...reset, isHeld: true })) };
}

describe('a deadline that another process set is kept at take-up', () => {
  const plan = referencePlan();
  const all = plan.rails.map(({ name }) => name);

  it('of opWaitPowerOn', () => {
    const observation = seen(plan, all, all);
    const hint = leftIn('opWaitPowerOn', plan, observation, { stageDeadlineMs: 11_234 });
    const { state, sequence } = reconcile(plan, observation, hint, NOW_MS);
    expect(state).toBe('opWaitPowerOn');
    expect(sequence.stageDeadlineMs).toBe(11_234);
  });

  it('of opWaitPowerOff', () => {
    const observation = seen(plan, [], ['P12V']);
    const hint = leftIn('opWaitPowerOff', plan, observation, { stageDeadlineMs: 11_234 });
    const { state, sequence } = reconcile(plan, observation, hint, NOW_MS);
    expect(state).toBe('opWaitPowerOff');
    expect(sequence.stageDeadlineMs).toBe(11_234);
  });

  it('of a rail that rises, and of one that falls', () => {
    const rising = seen(plan, ['P12V'], []);
    const up = leftIn('opPowerStart', plan, rising, {
      rails: railsDue(plan, rising, 10_321),
    });
    expect(reconcile(plan, rising, up, NOW_MS).sequence.rails.P12V).toMatchObject({
      phase: 'rising',
      deadlineMs: 10_321,
    });
    const falling = seen(plan, [], ['P12V']);
    const down = leftIn('opPowerStop', plan, falling, {
      rails: railsDue(plan, falling, 10_432),
    });
    expect(reconcile(plan, falling, down, NOW_MS).sequence.rails.P12V).toMatchObject({
      phase: 'falling',
      deadlineMs: 10_432,
    });
  });

  it('while one that nobody set begins now', () => {
    const observation = seen(plan, ['P12V'], []);
    const onTimeoutMs = plan.rails.find(({ name }) => name === 'P12V')?.onTimeoutMs ?? Number.NaN;
    const hint: Hint = { ...leftIn('opPowerStart', plan, seen(plan, [], [])) };
    expect(reconcile(plan, observation, hint, NOW_MS).sequence.rails.P12V?.deadlineMs).toBe(
      NOW_MS + onTimeoutMs,
    );
  });
});

describe('the minimum off time', () => {
  const plan = { ...referencePlan(), minOffMs: 5_000 };
  const dark = seen(plan, [], []);

  it('runs on from the power-off, and is not begun again by a process that looks', () => {
    const hint = leftIn('off', plan, dark, { offSinceMs: 9_000 });
    expect(reconcile(plan, dark, hint, NOW_MS).sequence.offSinceMs).toBe(9_000);
  });

  it('begins where the power is first seen to be gone', () => {
    const hint = leftIn('opWaitPowerOff', plan, dark, { offSinceMs: null });
    expect(reconcile(plan, dark, hint, NOW_MS).sequence.offSinceMs).toBe(NOW_MS);
  });
});

describe('a pgood that is read once', () => {
  const all = referencePlan().rails.map(({ name }) => name);
  const latched = { ...referencePlan(), latched: true };
  const released = (observation: Observation): Observation => ({ ...observation, resetsAsserted: {} });
  const alone = released(seen(latched, [], [], true));

  it('is no latched chassis that is on where every rail that can be seen is not good', () => {
    expect(reconcile(latched, alone, null, NOW_MS).state).toBe('unknown');
    expect(reconcile(latched, alone, leftIn('off', latched, alone), NOW_MS).state).toBe('unknown');
  });

  it('is one where it was on before, where a rail is good, or where none can tell', () => {
    const before = leftIn('pgood', latched, released(seen(latched, [], all, true)));
    expect(reconcile(latched, alone, before, NOW_MS).state).toBe('pgood');
    expect(reconcile(latched, released(seen(latched, [], ['P12V'], true)), null, NOW_MS).state).toBe('pgood');
    const unread = all.map((rail) => ({ signal: 'good' as const, rail }));
    expect(reconcile(latched, { ...alone, unread }, null, NOW_MS).state).toBe('pgood');
    const blind = { ...latched, rails: latched.rails.map((rail) => ({ ...rail, observable: false })) };
    expect(reconcile(blind, alone, null, NOW_MS).state).toBe('pgood');
  });

  it('is believed at once in pgood only: elsewhere it has to stand first', () => {
    const plan = referencePlan();
    const pgoodOf = (observation: Observation) => reconcile(plan, observation, null, NOW_MS);
    expect(pgoodOf(seen(plan, all, all, true))).toMatchObject({
      state: 'opWaitPowerOn',
      sequence: { pgood: { level: true, good: false } },
    });
    expect(pgoodOf(released(seen(plan, all, all, true)))).toMatchObject({
      state: 'pgood',
      sequence: { pgood: { level: true, good: true } },
    });
  });
});

describe('which state a process takes up', () => {
  const plan = referencePlan();
  const all = plan.rails.map(({ name }) => name);
  const HINTS = [null, ...STATES] as const;
  const released = (observation: Observation): Observation => ({
    ...observation,
    resetsAsserted: Object.fromEntries(plan.resets.map(({ name }) => [name, false])),
  });
  const taken = (observation: Observation, hint: State | null, of = plan) => {
    const left = hint === null ? null : leftIn(hint, of, observation);
    return reconcile(of, observation, left, NOW_MS).state;
  };
  /** Where the hint decides; `otherwise` for all others. */
  const expectStates = (
    observation: Observation,
    otherwise: State,
    states: Partial<Record<State, State>>,
  ) => {
    for (const hint of HINTS) {
      const wanted = (hint === null ? undefined : states[hint]) ?? otherwise;
      expect(taken(observation, hint), `left in ${hint}`).toBe(wanted);
    }
  };

  it('without any power it is off, unless a failure is remembered', () => {
    expectStates(seen(plan, [], []), 'off', { fault: 'failed', failed: 'failed' });
  });

  it('with all power and the resets released it is on, unless it was going down or had failed', () => {
    expectStates(released(seen(plan, all, all, true)), 'pgood', {
      opPowerStop: 'opPowerStop',
      opWaitPowerOff: 'opPowerStop',
      fault: 'fault',
      failed: 'failed',
    });
  });

  it('with all power and a reset held it still comes up: a power-on goes on where it was', () => {
    expectStates(seen(plan, all, all, true), 'opWaitPowerOn', {
      opPowerStart: 'opPowerStart',
      opPowerStop: 'opPowerStop',
      opWaitPowerOff: 'opPowerStop',
      fault: 'fault',
      failed: 'failed',
    });
  });

  it('with all enables and a rail or pgood missing it is waited for; on it is a loss of what was on', () => {
    for (const missing of [
      released(
        seen(
          plan,
          all,
          all.filter((name) => name !== 'P5V'),
          true,
        ),
      ),
      released(seen(plan, all, all, false)),
    ]) {
      expectStates(missing, 'opWaitPowerOn', {
        pgood: 'pgood',
        opPowerStart: 'opPowerStart',
        opPowerStop: 'opPowerStop',
        opWaitPowerOff: 'opPowerStop',
        fault: 'fault',
        failed: 'failed',
      });
    }
  });

  it('half way up it goes on only where it was coming up, and down where it was going down', () => {
    expectStates(seen(plan, ['P12V', 'P5V'], ['P12V']), 'unknown', {
      opPowerStart: 'opPowerStart',
      opWaitPowerOn: 'opPowerStart',
      opPowerStop: 'opPowerStop',
      opWaitPowerOff: 'opPowerStop',
      fault: 'fault',
      failed: 'failed',
    });
  });

  it('with power that no enable asks for it is still falling where that was waited for, and else not known', () => {
    for (const falling of [seen(plan, [], ['P12V']), seen(plan, [], [], true)]) {
      expectStates(falling, 'unknown', {
        opPowerStop: 'opPowerStop',
        opWaitPowerOff: 'opWaitPowerOff',
        fault: 'fault',
        failed: 'failed',
      });
    }
  });

  it('a power-on whose latch was not pulsed is not on, whatever the lines show', () => {
    const latched = { ...plan, latched: true };
    const on = released(seen(latched, all, all, true));
    for (const state of ['opPowerStart', 'opWaitPowerOn'] as const) {
      const pending = leftIn(state, latched, on, { latchPending: true });
      expect(reconcile(latched, on, pending, NOW_MS)).toMatchObject({
        state,
        sequence: { latchPending: true },
      });
      expect(reconcile(latched, on, leftIn(state, latched, on), NOW_MS).state).toBe('pgood');
    }
  });

  it('what a latch holds is not known of a chassis that reads off after a start of the BMC, or whose lines contradict, and of no other', () => {
    const latched = { ...plan, latched: true };
    const pending = (lines: Observation, hint: Hint | null, of = latched) =>
      reconcile(of, lines, hint, NOW_MS).sequence.latchPending;
    const off = seen(latched, [], [], false);
    expect(pending(off, null)).toBe(true);
    expect(pending(off, leftIn('off', latched, off, { latchPending: false }))).toBe(false);
    expect(pending(off, null, plan)).toBe(false);
    const contradictory = seen(latched, [], ['P12V'], false);
    expect(taken(contradictory, null, latched)).toBe('unknown');
    expect(pending(contradictory, null)).toBe(true);
    // A pulse would take over pins that are inputs, and with them the power of a running host.
    const on = released(seen(latched, [], all, true));
    expect(pending(on, null)).toBe(false);
    expect(pending(on, leftIn('unknown', latched, on, { latchPending: true }))).toBe(false);
  });

  it('times on the way down begin anew where the latch was not told of it yet', () => {
    const latched = { ...plan, latched: true };
    const lines = seen(latched, [], ['P12V'], true);
    const downFor = (latchPending: boolean) => {
      const rails = railsDue(latched, lines, NOW_MS - 1);
      const hint = leftIn('opWaitPowerOff', latched, lines, {
        stageDeadlineMs: NOW_MS - 1,
        rails,
        latchPending,
      });
      const { state, sequence } = reconcile(latched, lines, hint, NOW_MS);
      expect(state).toBe('opWaitPowerOff');
      return [sequence.rails.P12V?.deadlineMs, sequence.stageDeadlineMs];
    };
    const { offTimeoutMs = Number.NaN } = latched.rails.find(({ name }) => name === 'P12V') ?? {};
    expect(downFor(true)).toEqual([NOW_MS + offTimeoutMs, NOW_MS + latched.pgood.offTimeoutMs]);
    expect(downFor(false)).toEqual([NOW_MS - 1, NOW_MS - 1]);
  });

  it('a latching board whose pins are inputs again is on, unless it was coming up or a reset is held', () => {
    const latched = { ...plan, latched: true };
    const on = released(seen(latched, [], all, true));
    const { state, sequence } = reconcile(latched, on, null, NOW_MS);
    expect(state).toBe('pgood');
    expect(Object.values(sequence.rails).map(({ phase, enabled }) => `${phase} ${enabled}`)).toEqual(
      all.map(() => 'up true'),
    );
    expect(taken(on, 'opPowerStart', latched)).toBe('unknown');
    const held = { ...on, resetsAsserted: { CPU_RESET_L: true } };
    expect(taken(held, null, latched)).toBe('unknown');
    expect(taken(held, null, waitingForHost(latched))).toBe('pgood');
    expect(taken({ ...on, pgood: false }, null, latched)).toBe('unknown');
    expect(taken(on, null, plan)).toBe('unknown');
  });
});

describe('a reset that waits for the host', () => {
  const plan = waitingForHost(referencePlan());
  const all = plan.rails.map(({ name }) => name);

  it('contradicts nothing of a chassis that is on, and counts as released then', () => {
    for (const hinted of ['pgood', 'opWaitPowerOn', null] as const) {
      for (const CPU_RESET_L of [true, false]) {
        const on = { ...seen(plan, all, all, true), resetsAsserted: { CPU_RESET_L } };
        const hint = hinted && leftIn(hinted, plan, on);
        const { state, sequence } = reconcile(plan, on, hint, NOW_MS);
        expect([state, sequence.resetsAsserted]).toEqual(['pgood', { CPU_RESET_L: false }]);
      }
    }
  });

  it('is what was read where the chassis is not on', () => {
    const off = { ...seen(plan, [], [], false), resetsAsserted: { CPU_RESET_L: true } };
    expect(reconcile(plan, off, null, NOW_MS).sequence.resetsAsserted).toEqual({ CPU_RESET_L: true });
  });
});

describe('what a process knows of each rail at first', () => {
  const plan = referencePlan();
  const all = plan.rails.map(({ name }) => name);
  const P12V = plan.rails.find(({ name }) => name === 'P12V');
  const hinted = (phase: RailState['phase'], deadlineMs: number | null, observation: Observation): Hint => {
    const left = leftIn('opPowerStop', plan, observation);
    const rails = { ...left.sequence.rails };
    rails.P12V = { ...railState(left.sequence, 'P12V'), phase, deadlineMs };
    return { ...left, sequence: { ...left.sequence, rails } };
  };
  const first = (observation: Observation, hint: Hint | null) =>
    reconcile(plan, observation, hint, NOW_MS).sequence.rails.P12V;

  it('an enabled one rises, with all its time from now, unless it was up', () => {
    const on = seen(plan, ['P12V'], ['P12V']);
    const rising = {
      phase: 'rising',
      deadlineMs: NOW_MS + (P12V?.onTimeoutMs ?? Number.NaN),
      sinceMs: NOW_MS,
    };
    expect(first(on, null)).toMatchObject(rising);
    expect(first(on, hinted('falling', 10_800, on))).toMatchObject(rising);
    expect(first(on, hinted('rising', null, on))).toMatchObject(rising);
    expect(first(on, hinted('up', null, on))).toMatchObject({
      phase: 'up',
      deadlineMs: null,
      sinceMs: NOW_MS,
    });
  });

  it('one that is good without its enable falls, with all its time from now, unless it was stuck', () => {
    const good = seen(plan, [], ['P12V']);
    const falling = { phase: 'falling', deadlineMs: NOW_MS + (P12V?.offTimeoutMs ?? Number.NaN) };
    expect(first(good, null)).toMatchObject(falling);
    expect(first(good, hinted('rising', 10_800, good))).toMatchObject(falling);
    expect(first(good, hinted('falling', null, good))).toMatchObject(falling);
    expect(first(good, hinted('stuck', null, good))).toMatchObject({ phase: 'stuck', deadlineMs: null });
  });

  it('one that is neither is down, whatever it was', () => {
    const dark = seen(plan, [], []);
    for (const phase of ['rising', 'up', 'falling', 'stuck'] as const) {
      expect(first(dark, hinted(phase, 10_800, dark))).toMatchObject({ phase: 'down', deadlineMs: null });
    }
  });

  it('in a chassis that is on all are up', () => {
    const { state, sequence } = reconcile(
      plan,
      { ...seen(plan, all, all, true), resetsAsserted: {} },
      null,
      NOW_MS,
    );
    expect(state).toBe('pgood');
    for (const { phase, deadlineMs } of Object.values(sequence.rails)) {
      expect([phase, deadlineMs]).toEqual(['up', null]);
    }
  });

  it('what could not be read is marked, of its own signal alone', () => {
    const observation = {
      ...seen(plan, ['P12V'], []),
      unread: [
        { signal: 'enable', rail: 'P12V' },
        { signal: 'good', rail: 'P5V' },
      ] as const,
    };
    const { sequence } = reconcile(plan, observation, null, NOW_MS);
    expect(sequence.rails.P12V).toMatchObject({ enableDoubt: 'unread', goodUnread: false });
    expect(sequence.rails.P5V).toMatchObject({ enableDoubt: null, goodUnread: true });
    expect(sequence.pgood.unread).toBe(false);
    const blind = { ...observation, unread: [{ signal: 'pgood', rail: null }] as const };
    expect(reconcile(plan, blind, null, NOW_MS).sequence.pgood.unread).toBe(true);
    expect(reconcile(plan, blind, null, NOW_MS).sequence.rails.P12V).toMatchObject({ enableDoubt: null });
  });

  it('one without a signal is as good as its enable, and nobody read that it is', () => {
    const blind = {
      ...plan,
      rails: plan.rails.map((rail) => ({ ...rail, observable: rail.name !== 'P12V' })),
    };
    const { sequence } = reconcile(blind, seen(blind, ['P12V'], []), null, NOW_MS);
    expect(sequence.rails.P12V).toMatchObject({ good: true, goodUnread: true });
    expect(reconcile(blind, seen(blind, [], ['P12V']), null, NOW_MS).sequence.rails.P12V).toMatchObject({
      good: false,
    });
  });
});

describe('what a process takes over of the one before, and what not', () => {
  const plan = referencePlan();
  const all = plan.rails.map(({ name }) => name);
  const fault = {
    kind: 'railTimeout',
    rail: 'P5V',
    state: 'opPowerStart',
    atMs: 9_000,
    reason: 'it was late',
    errorCode: null,
  } as const;

  it('a fault as long as it is handled or remembered', () => {
    const dark = seen(plan, [], []);
    const kept = (state: State, observation = dark) =>
      reconcile(plan, observation, leftIn(state, plan, observation, { fault }), NOW_MS).sequence.fault;
    expect(kept('failed')).toEqual(fault);
    expect(kept('fault', seen(plan, ['P12V'], ['P12V']))).toEqual(fault);
    expect(kept('off')).toBeNull();
    expect(kept('opPowerStop', seen(plan, ['P12V'], ['P12V']))).toBeNull();
    expect(reconcile(plan, dark, leftIn('failed', plan, dark), NOW_MS).sequence.fault).toBeNull();
  });

  it('no time of a stage that is another one, nor of one that has none', () => {
    const on = seen(plan, all, all);
    const late = { stageDeadlineMs: 11_234 };
    const stage = (observation: Observation, hint: Hint | null) =>
      reconcile(plan, observation, hint, NOW_MS).sequence.stageDeadlineMs;
    expect(stage(on, null)).toBe(NOW_MS + plan.pgood.onTimeoutMs);
    expect(stage(on, leftIn('off', plan, on, late))).toBe(NOW_MS + plan.pgood.onTimeoutMs);
    expect(stage(on, leftIn('opWaitPowerOn', plan, on, { stageDeadlineMs: null }))).toBe(
      NOW_MS + plan.pgood.onTimeoutMs,
    );
    const falling = seen(plan, [], ['P12V']);
    expect(stage(falling, leftIn('opWaitPowerOff', plan, falling, { stageDeadlineMs: null }))).toBe(
      NOW_MS + plan.pgood.offTimeoutMs,
    );
    expect(stage(on, leftIn('opPowerStart', plan, on, late))).toBeNull();
    expect(stage(seen(plan, [], []), leftIn('off', plan, on, late))).toBeNull();
  });

  it('a pgood that was believed only while the chassis was on', () => {
    const low = { ...seen(plan, all, all, false), resetsAsserted: {} };
    const believed = (hint: Hint | null) => reconcile(plan, low, hint, NOW_MS).sequence.pgood;
    expect(believed(leftIn('pgood', plan, low))).toMatchObject({ level: false, good: true, sinceMs: NOW_MS });
    expect(believed(leftIn('opWaitPowerOn', plan, low))).toMatchObject({ level: false, good: false });
  });

  it('when the power went, and that it went where it was on until now', () => {
    const dark = seen(plan, [], []);
    expect(reconcile(plan, dark, null, NOW_MS).sequence.offSinceMs).toBeNull();
    expect(reconcile(plan, dark, leftIn('pgood', plan, dark), NOW_MS).sequence.offSinceMs).toBe(NOW_MS);
    const on = { ...seen(plan, all, all, true), resetsAsserted: {} };
    expect(
      reconcile(plan, on, leftIn('pgood', plan, on, { offSinceMs: 9_000 }), NOW_MS).sequence.offSinceMs,
    ).toBe(9_000);
  });

  it('no time at which it was ready, and no contradiction of the lines as they were', () => {
    const on = seen(plan, all, all, true);
    const { sequence } = reconcile(
      plan,
      on,
      leftIn('opWaitPowerOn', plan, on, { readyMs: 10_500, contradictions: ['old'], latchPending: true }),
      NOW_MS,
    );
    expect(sequence).toMatchObject({ nowMs: NOW_MS, readyMs: null, contradictions: [], latchPending: true });
    expect(sequence.resetsAsserted).toEqual(on.resetsAsserted);
  });

  it('contradictions are told where the state is not known, each with its rail', () => {
    const tell = (observation: Observation) =>
      reconcile(plan, observation, null, NOW_MS).sequence.contradictions;
    expect(tell(seen(plan, [], ['P5V']))).toEqual(['rail P5V is good though its enable is off']);
    expect(tell(seen(plan, ['P5V'], ['P5V']))).toEqual([
      'rail P5V is enabled though P12V, which it needs, is not',
    ]);
    expect(tell(seen(plan, ['P12V'], ['P12V']))).toEqual([]);
    expect(tell(seen(plan, all, all, true))).toEqual([]);
  });
});

describe('who watches a chassis that was on', () => {
  const plan = referencePlan();
  const all = plan.rails.map(({ name }) => name);
  const PGOOD = { signal: 'pgood', rail: null } as const;
  const P12V = { signal: 'good', rail: 'P12V' } as const;
  const take = (unread: Observation['unread'] & object, state: State = 'pgood', watches = true) => {
    const hint = leftIn(state, plan, seen(plan, all, all, true));
    return reconcile(plan, { ...seen(plan, [], []), unread }, hint, NOW_MS, { watches });
  };

  it.each([
    ['nothing', []],
    ['another signal', [P12V]],
  ] as const)('takes it for on where pgood is gone, and %s could not be read', (_, unread) => {
    const { state, sequence } = take(unread);
    expect(state).toBe('pgood');
    expect(sequence.contradictions).toEqual([]);
  });

  it.each([
    ['it could not be read', [PGOOD], 'pgood', true],
    ['it could not be read beside others', [P12V, PGOOD], 'pgood', true],
    ['nobody watches', [], 'pgood', false],
    ['it was off', [], 'off', true],
  ] as const)('or not, where %s', (_, unread, state, watches) => {
    expect(take(unread, state, watches).state).toBe('off');
  });
});

describe('what only the process before knew of a rail that shows nothing', () => {
  const plan = referencePlan();
  const [first] = plan.rails;
  if (first === undefined) throw new RangeError('no rail');
  const { name } = first;
  const dark = seen(plan, [], []);
  type Left = Partial<RailState>;
  const planWith = (change: Partial<typeof first>): Plan => ({
    ...plan,
    rails: plan.rails.map((rail) => (rail === first ? { ...rail, ...change } : rail)),
  });
  const taken = (of: Plan, observation: Observation, state: State, left: Left): RailState => {
    const hint = leftIn(state, of, observation);
    const rails = { ...hint.sequence.rails, [name]: { ...railState(hint.sequence, name), ...left } };
    const { sequence } = reconcile(
      of,
      observation,
      { ...hint, sequence: { ...hint.sequence, rails } },
      NOW_MS,
    );
    return railState(sequence, name);
  };

  it.each<[string, State, Left, boolean]>([
    ['that is held to go off, and has not', 'opPowerStop', { phase: 'falling', deadlineMs: null }, true],
    ['of which the press was over', 'opPowerStop', { phase: 'falling', deadlineMs: 10_800 }, false],
    [
      'that showed itself once more',
      'opPowerStop',
      { phase: 'falling', deadlineMs: null, good: true },
      false,
    ],
    ['that had gone', 'opPowerStop', { phase: 'down', deadlineMs: null }, false],
    ['of a chassis at rest', 'off', { phase: 'falling', deadlineMs: null }, false],
  ])('is whether a button was pressed for it: one %s', (_, state, left, enabled) => {
    expect(taken(planWith({ pulsed: 'good' }), dark, state, left).enabled).toBe(enabled);
    expect(taken(plan, dark, state, left).enabled).toBe(false);
  });

  it.each<[string, number, State, Left['phase'] & string, string]>([
    ['fell, and has to rest', 40, 'opPowerStop', 'falling', 'falling'],
    ['fell, and has not', 0, 'opPowerStop', 'falling', 'down'],
    ['had gone, and has to rest', 40, 'opPowerStop', 'down', 'down'],
    ['fell in a chassis that is off', 40, 'off', 'falling', 'down'],
  ])('is whether it rests: one that %s', (_, offSettleMs, state, phase, expected) => {
    // As long as another one is on the chassis is not off.
    const observation = state === 'off' ? dark : seen(plan, [plan.rails.at(-1)?.name ?? ''], []);
    const left = { phase, deadlineMs: null };
    expect(taken(planWith({ offSettleMs }), observation, state, left).phase).toBe(expected);
  });

  it.each([
    ['late', false, 'late'],
    ['late', true, undefined],
    ['lost', false, 'lost'],
    ['lost', true, 'lost'],
    [undefined, true, undefined],
  ] as const)('is whether it was missed: "%s", and good now: %s', (missed, good, expected) => {
    const all = plan.rails.map(({ name }) => name);
    const observation = seen(plan, all, good ? all : all.slice(1), true);
    const state = taken(plan, observation, 'pgood', missed === undefined ? {} : { missed });
    expect(state.missed).toBe(expected);
    expect('missed' in state).toBe(expected !== undefined);
  });
});

describe('each time and each doubt is of its own', () => {
  const line = (offset: number) => ({ chip: 'gpio', line: offset, active: 'high' as const });
  const times = { settleMs: 1, onTimeoutMs: 101, offTimeoutMs: 201 };
  /** C needs A and B. */
  const plan = planOf(
    {
      rails: {
        A: { enable: line(0), good: line(10), needs: [], ...times },
        B: { enable: line(1), good: line(11), needs: [], ...times },
        C: { enable: line(2), good: line(12), needs: ['A', 'B'], ...times },
      },
      pgood: { ...line(20), deglitchMs: 5, onTimeoutMs: 1_001, offTimeoutMs: 2_001 },
      resets: { R: { ...line(21), releaseDelayMs: 0 } },
      evidence: [],
      minOffMs: 0,
    },
    {},
  );
  const ALL = ['A', 'B', 'C'];

  it('a stage that nobody began before has the time of its own direction', () => {
    const up = reconcile(plan, seen(plan, ALL, ALL), null, NOW_MS);
    expect([up.state, up.sequence.stageDeadlineMs]).toEqual(['opWaitPowerOn', NOW_MS + 1_001]);
    const falling = seen(plan, [], ['A']);
    const hint = leftIn('opWaitPowerOff', plan, falling, { stageDeadlineMs: null });
    const down = reconcile(plan, falling, hint, NOW_MS);
    expect([down.state, down.sequence.stageDeadlineMs]).toEqual(['opWaitPowerOff', NOW_MS + 2_001]);
  });

  it('a contradiction names the needs that are not met, and no others', () => {
    expect(reconcile(plan, seen(plan, ['A', 'C'], []), null, NOW_MS).sequence.contradictions).toEqual([
      'rail C is enabled though B, which it needs, is not',
    ]);
    expect(reconcile(plan, seen(plan, ['C'], []), null, NOW_MS).sequence.contradictions).toEqual([
      'rail C is enabled though A and B, which it needs, is not',
    ]);
  });

  it('where all was read nothing is in doubt', () => {
    const { rails, pgood } = reconcile(plan, seen(plan, ALL, ALL), null, NOW_MS).sequence;
    for (const { enableDoubt, goodUnread } of Object.values(rails)) {
      expect([enableDoubt, goodUnread]).toEqual([null, false]);
    }
    expect(pgood.unread).toBe(false);
  });

  it('pgood is in doubt also where other signals are', () => {
    const unread = [
      { signal: 'good', rail: 'A' },
      { signal: 'pgood', rail: null },
    ] as const;
    const { sequence } = reconcile(plan, { ...seen(plan, ALL, ALL), unread }, null, NOW_MS);
    expect(sequence.pgood.unread).toBe(true);
    expect(sequence.rails.A?.goodUnread).toBe(true);
    expect(sequence.rails.B?.goodUnread).toBe(false);
  });

  it('an enable that could not be read does not speak for pgood alone on a latched board; a good signal does', () => {
    const latched = { ...plan, latched: true };
    const alone = { ...seen(latched, [], [], true), resetsAsserted: {} };
    const enables = ALL.map((rail) => ({ signal: 'enable' as const, rail }));
    expect(reconcile(latched, { ...alone, unread: enables }, null, NOW_MS).state).toBe('unknown');
    const good = [{ signal: 'good' as const, rail: 'B' }];
    expect(reconcile(latched, { ...alone, unread: good }, null, NOW_MS).state).toBe('pgood');
  });
});
