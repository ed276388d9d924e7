import type { Plan } from '../../src/sequence/plan.ts';
import { type Context, noReadings, type Reading } from '../../src/sequence/readings.ts';
import { reconcile } from '../../src/sequence/reconcile.ts';
import { type RailState, railState } from '../../src/sequence/state.ts';

/** What is otherwise of a chassis whose rails are all up, whose pgood stands, and that was read just now. */
export interface Otherwise {
  readonly rails?: Readonly<Record<string, Partial<RailState>>>;
  /** Signals that were never read. */
  readonly unread?: readonly string[];
  readonly change?: Partial<Omit<Context, 'rails' | 'plan' | 'readings'>>;
}

/** A context as the conditions of the machine are asked for it. All has stood for a second. */
export function contextOf(plan: Plan, nowMs: number, otherwise: Otherwise = {}): Context {
  const { rails = {}, unread = [], change = {} } = otherwise;
  const names = plan.rails.map(({ name }) => name);
  const { sequence } = reconcile(
    plan,
    {
      rails: Object.fromEntries(names.map((name) => [name, { enabled: true, good: true }])),
      pgood: true,
      resetsAsserted: {},
    },
    null,
    nowMs - 1_000,
  );
  const readingOf = (source: string): Reading => ({
    fromMs: 0,
    askedMs: unread.includes(source) ? null : nowMs,
    standstills: 0,
  });
  return {
    ...sequence,
    nowMs,
    plan,
    readings: {
      ...noReadings(plan),
      rails: Object.fromEntries(names.map((name) => [name, readingOf(name)])),
      pgood: readingOf('pgood'),
    },
    ...change,
    rails: Object.fromEntries(names.map((name) => [name, { ...railState(sequence, name), ...rails[name] }])),
  };
}
