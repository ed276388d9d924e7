/** A host that switched itself off, and one that lost its power, as the sequence tells them apart. */
import { describe, expect, it } from 'vitest';
import { type Plan, planOf } from '../../src/sequence/plan.ts';
import type { Context } from '../../src/sequence/readings.ts';
import { hasHostLeft, noteSleep } from '../../src/sequence/sleep.ts';
import { contextOf, type Otherwise } from './contexts.ts';

const NOW_MS = 10_000;
const OFF_MS = 200;
const DEGLITCH_MS = 5;
const line = (offset: number) => ({ chip: 'gpio', line: offset, active: 'high' as const });

/** Of two rails the host is one, and BEHIND goes with it. `isItsSignal`: nothing but its sleep state shows the host. */
function planWith(isItsSignal: boolean): Plan {
  const times = { settleMs: 0, onTimeoutMs: 100, offTimeoutMs: OFF_MS };
  const plan = planOf(
    {
      rails: {
        STANDBY: { enable: line(0), good: line(10), needs: [], ...times },
        HOST: { enable: line(1), good: line(11), needs: ['STANDBY'], ...times },
        BEHIND: { enable: line(2), good: line(12), needs: ['HOST'], ...times },
      },
      pgood: { ...line(20), deglitchMs: DEGLITCH_MS, onTimeoutMs: 1_000, offTimeoutMs: 2_000 },
      resets: {},
      evidence: [],
      minOffMs: 0,
    },
    {},
  );
  return { ...plan, sleep: { rail: 'HOST', isItsSignal } };
}

type Sleep = Context['readings']['sleep'];

function context(sleep: Partial<Sleep>, otherwise: Otherwise = {}, plan = planWith(false)): Context {
  const whole = contextOf(plan, NOW_MS, otherwise);
  return { ...whole, readings: { ...whole.readings, sleep: { ...whole.readings.sleep, ...sleep } } };
}

const WITHOUT_PGOOD = { level: false, good: false, unread: false, sinceMs: NOW_MS - 50 };
const gone = (sinceMs = NOW_MS - 50) => ({ phase: 'up', good: false, sinceMs }) as const;

describe('a look at the sleep state of a host', () => {
  const look = (seen: 'awake' | 'leaving' | 'asleep' | 'unread', of: Context): Sleep =>
    noteSleep(of, { type: 'HOST_SLEEP', seen, atMs: NOW_MS }).readings.sleep;
  const AWAKE = { isAwake: true };

  it('that shows it awake forgets that it has left', () => {
    expect(look('awake', context({ leftMs: 9_000 }))).toEqual({
      isAwake: true,
      leftMs: null,
      hasLeft: false,
    });
  });

  it('that shows it leaving while all its power stands tells when it left', () => {
    expect(look('leaving', context(AWAKE))).toEqual({ isAwake: false, leftMs: NOW_MS, hasLeft: false });
  });

  it.each(['asleep', 'unread'] as const)('that shows it "%s" tells nothing of when it left', (seen) => {
    expect(look(seen, context(AWAKE))).toMatchObject({ isAwake: false, leftMs: null });
    expect(look(seen, context({ leftMs: 9_000 }))).toMatchObject({ isAwake: false, leftMs: 9_000 });
  });

  it('that shows it leaving counts only of one that was seen awake', () => {
    expect(look('leaving', context({ isAwake: false })).leftMs).toBeNull();
    expect(look('leaving', context({ isAwake: false, leftMs: 9_000 })).leftMs).toBe(9_000);
  });

  it.each<[string, boolean, Otherwise]>([
    ['a rail', false, { rails: { STANDBY: gone() } }],
    ['a rail, where nothing else shows the host', true, { rails: { STANDBY: gone() } }],
    ['the rail of the host, which has a signal of its own', false, { rails: { HOST: gone() } }],
    ['another rail with the host', true, { rails: { HOST: gone(), BEHIND: gone() } }],
    ['pgood', false, { change: { pgood: WITHOUT_PGOOD } }],
    ['pgood, where nothing else shows the host', true, { change: { pgood: WITHOUT_PGOOD } }],
  ])('that shows it leaving does not count after %s had gone', (_, isItsSignal, otherwise) => {
    expect(look('leaving', context(AWAKE, otherwise, planWith(isItsSignal))).leftMs).toBeNull();
  });

  it('that is itself what shows the rail of the host tells when it left', () => {
    const asleep = context(AWAKE, { rails: { HOST: gone() } }, planWith(true));
    expect(look('leaving', asleep).leftMs).toBe(NOW_MS);
  });
});

describe('a host that has left', () => {
  const LEFT = { leftMs: NOW_MS - 100 };
  const UNTIL_MS = NOW_MS - 100 + OFF_MS;
  /** So much later that what went at the last moment is believed. */
  const later = (rails: Otherwise['rails'] & object, change: Otherwise['change'] = {}) => {
    const whole = contextOf(planWith(false), UNTIL_MS + 100, { rails, change });
    return { ...whole, readings: { ...whole.readings, sleep: { ...whole.readings.sleep, ...LEFT } } };
  };
  const pgoodSince = (sinceMs: number) => ({ pgood: { ...WITHOUT_PGOOD, sinceMs } });

  it.each<[string, Context]>([
    ['its rail goes', context(LEFT, { rails: { HOST: gone() } })],
    ['what needs it goes', context(LEFT, { rails: { BEHIND: gone() } })],
    ['both go', context(LEFT, { rails: { HOST: gone(), BEHIND: gone() } })],
    ['pgood goes', context(LEFT, { change: { pgood: WITHOUT_PGOOD } })],
    ['its rail goes at the last moment', later({ HOST: gone(UNTIL_MS) })],
    ['pgood goes at the last moment', later({}, pgoodSince(UNTIL_MS))],
    [
      'nothing else shows it, and what needs it goes',
      context(LEFT, { rails: { HOST: gone(), BEHIND: gone() } }, planWith(true)),
    ],
  ])('switched itself off where %s', (_, it) => {
    expect(hasHostLeft(it)).toBe(true);
  });

  it.each<[string, Context]>([
    ['it has not left', context({}, { rails: { HOST: gone() } })],
    ['all stands', context(LEFT)],
    ['the board shows no sleep', { ...context(LEFT), plan: { ...planWith(false), sleep: null } }],
    ['what it hangs on goes with it', context(LEFT, { rails: { STANDBY: gone(), HOST: gone() } })],
    [
      'what it hangs on goes with pgood',
      context(LEFT, { rails: { STANDBY: gone() }, change: { pgood: WITHOUT_PGOOD } }),
    ],
    ['its rail goes too late', later({ HOST: gone(UNTIL_MS + 1) })],
    ['pgood goes too late', later({}, pgoodSince(UNTIL_MS + 1))],
    ['its rail went this moment', context(LEFT, { rails: { HOST: gone(NOW_MS) } })],
    ['its rail was not read since', context(LEFT, { rails: { HOST: gone() }, unread: ['HOST'] })],
    [
      'its rail has not come in time',
      context(LEFT, { rails: { HOST: { ...gone(), phase: 'rising', deadlineMs: NOW_MS - 1 } } }),
    ],
    ['its rail is off', context(LEFT, { rails: { HOST: { ...gone(), phase: 'down' } } })],
    [
      'nothing but its sleep shows that its rail went',
      context(LEFT, { rails: { HOST: gone(NOW_MS - 1_000) } }, planWith(true)),
    ],
  ])('has not switched itself off where %s', (_, it) => {
    expect(hasHostLeft(it)).toBe(false);
  });
});
