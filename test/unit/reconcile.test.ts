import { describe, expect, it } from 'vitest';
import { type Plan, planOf } from '../../src/sequence/plan.ts';
import { reconcile } from '../../src/sequence/reconcile.ts';
import {
  type Hint,
  type Observation,
  railState,
  type SequenceState,
  type State,
} from '../../src/sequence/state.ts';
import { shippedBoard } from './bench.ts';

const THEN_MS = 10_000;
const NOW_MS = 10_700;

function referencePlan(): Plan {
  const chassis = shippedBoard('reference').chassis['0'];
  if (!chassis) throw new RangeError('no chassis 0');
  return planOf(chassis);
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
