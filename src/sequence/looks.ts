import type { Plan, RailPlan } from './plan.ts';
import { holdUntilMs, railState, resetDue, type SequenceState, type State } from './state.ts';

/**
 * What this process has read itself, and when. A level counts only if it was asked for after the moment it is judged
 * for: what came before may be over by then, and the edge that would tell of it may still wait.
 */

/**
 * How often a settle or de-glitch time begins anew because the process stood still. More would keep a real loss from
 * being believed on a machine that does so again and again.
 */
export const BEGUN_ANEW = 2;

/** Of one signal. */
export interface Look {
  /** What was asked for before this time tells nothing any more: the rail was switched, or the process stood still. */
  readonly fromMs: number;
  /** When the newest answer was asked for; null where none was since. An answer is a level, or that there is none. */
  readonly askedMs: number | null;
  /** How often the process stood still since the level last changed. */
  readonly standstills: number;
}

/** Power is about to be raised: what that rests on is read first, after the decision. One thing at a time. */
export interface Check {
  readonly raises: { readonly rail: string } | { readonly reset: string };
  readonly fromMs: number;
  /** Signals that were not read since: rails, or null for pgood. */
  readonly left: readonly (string | null)[];
}

export interface Looks {
  readonly rails: Readonly<Record<string, Look>>;
  readonly pgood: Look;
  readonly check: Check | null;
  /** Rails whose enable this process has driven off, or tried to, since power was last raised. */
  readonly driven: readonly string[];
}

const UNREAD: Look = { fromMs: Number.NEGATIVE_INFINITY, askedMs: null, standstills: 0 };

export function noLooks(plan: Plan): Looks {
  return {
    rails: Object.fromEntries(plan.rails.map(({ name }) => [name, UNREAD])),
    pgood: UNREAD,
    check: null,
    driven: [],
  };
}

export function lookAt(looks: Looks, source: string | null): Look {
  return (source === null ? looks.pgood : looks.rails[source]) ?? UNREAD;
}

function withLook(looks: Looks, source: string | null, look: Partial<Look>): Looks {
  const changed = { ...lookAt(looks, source), ...look };
  if (source === null) return { ...looks, pgood: changed };
  return { ...looks, rails: { ...looks.rails, [source]: changed } };
}

/** An answer came; `isNews`: with another level than the one before. */
export function answered(looks: Looks, source: string | null, askedMs: number, isNews = false): Looks {
  const { check } = looks;
  const counts = check !== null && askedMs >= check.fromMs && askedMs >= lookAt(looks, source).fromMs;
  return withLook(
    { ...looks, check: counts ? { ...check, left: check.left.filter((left) => left !== source) } : check },
    source,
    isNews ? { askedMs, standstills: 0 } : { askedMs },
  );
}

/** From `fromMs` on only what is asked for then counts. */
export function forgotten(looks: Looks, source: string | null, fromMs: number): Looks {
  return withLook(looks, source, { fromMs, askedMs: null });
}

/** Nothing counts that was asked for before the process stood still, nor a check that had begun. */
export function afterStandstill(looks: Looks, fromMs: number): Looks {
  return [...Object.keys(looks.rails), null].reduce<Looks>(
    (changed, source) =>
      withLook(changed, source, {
        fromMs,
        askedMs: null,
        standstills: lookAt(looks, source).standstills + 1,
      }),
    { ...looks, check: null },
  );
}

/** The signal was asked for at `momentMs` or later, and answered. */
export function isFresh({ fromMs, askedMs }: Look, momentMs = Number.NEGATIVE_INFINITY): boolean {
  return askedMs !== null && askedMs >= Math.max(fromMs, momentMs);
}

/**
 * A level that was first seen at `sinceMs` has stood for `forMs`: it was read again when that time was over. For no
 * time at all the one look is enough.
 */
export function hasStood(look: Look, sinceMs: number, forMs: number): boolean {
  return isFresh(look, forMs === 0 ? undefined : sinceMs + forMs);
}

/** The rail is good long enough for what needs it. */
export function hasSettled(rail: RailPlan, sequence: SequenceState, looks: Looks): boolean {
  const { sinceMs } = railState(sequence, rail.name);
  // Nothing tells of a rail without a signal but the time.
  if (!rail.observable) return sequence.nowMs >= sinceMs + rail.settleMs;
  return hasStood(lookAt(looks, rail.name), sinceMs, rail.settleMs);
}

/**
 * Signals whose level the sequence waits for at this moment: a time is over, or power is about to be raised, and
 * what was read last was asked for before.
 */
export function looksDue(plan: Plan, state: State, sequence: SequenceState, looks: Looks): (string | null)[] {
  if (state === 'off' || state === 'failed' || state === 'unknown') return [];
  const rising = state === 'opPowerStart' || state === 'opWaitPowerOn';
  const due = new Set<string | null>(rising ? looks.check?.left : []);
  const { nowMs, pgood, stageDeadlineMs } = sequence;
  const need = (source: string | null, momentMs: number) => {
    if (nowMs >= momentMs && !isFresh(lookAt(looks, source), momentMs)) due.add(source);
  };
  const lowering = state === 'opPowerStop' || state === 'opWaitPowerOff' || state === 'fault';
  /** From when on a level counts that has to stand for so long. */
  const standsFrom = (source: string | null, sinceMs: number, forMs: number) =>
    forMs === 0 ? anyTime(looks, source) : sinceMs + forMs;
  for (const { name, observable, settleMs } of plan.rails) {
    const { phase, good, sinceMs, deadlineMs } = railState(sequence, name);
    if (phase === 'rising' && good) {
      if (observable) need(name, standsFrom(name, sinceMs, settleMs));
    } else if (phase === 'up' && !good && !lowering) {
      need(name, standsFrom(name, sinceMs, plan.pgood.deglitchMs));
    } else {
      if (phase === 'falling') need(name, anyTime(looks, name));
      if (deadlineMs !== null) need(name, deadlineMs);
    }
  }
  if (pgood.level !== pgood.good) need(null, standsFrom(null, pgood.sinceMs, plan.pgood.deglitchMs));
  if (state === 'opWaitPowerOff' || (state === 'fault' && stageDeadlineMs !== null)) {
    need(null, anyTime(looks, null));
  }
  if (stageDeadlineMs !== null && sequence.readyMs === null) {
    for (const source of notThere(sequence, state !== 'opWaitPowerOn')) need(source, stageDeadlineMs);
  }
  return [...due];
}

/** Signals that still have the level `good`, which a stage waits to see changed. */
export function notThere({ rails, pgood }: SequenceState, good: boolean): (string | null)[] {
  return [
    ...Object.entries(rails).flatMap(([name, rail]) => (rail.good === good ? [name] : [])),
    ...(pgood.level === good ? [null] : []),
  ];
}

/** Any answer will do that is not older than the last switching or standstill. */
function anyTime(looks: Looks, source: string | null): number {
  return lookAt(looks, source).fromMs;
}

/** What may be raised next: a rail whose needs are good, or a reset whose time has come. Null: nothing. */
export function nextToRaise(plan: Plan, state: State, sequence: SequenceState): Check['raises'] | null {
  if (state === 'opPowerStart') {
    if (holdUntilMs(plan, sequence) > sequence.nowMs) return null;
    const rail = plan.rails.find(
      ({ name, needs }) =>
        railState(sequence, name).phase === 'down' &&
        needs.every((need) => {
          const { phase, good } = railState(sequence, need);
          return phase === 'up' && good;
        }),
    );
    return rail === undefined ? null : { rail: rail.name };
  }
  if (state !== 'opWaitPowerOn' || notThere(sequence, false).length > 0) return null;
  const reset = resetDue(plan, sequence);
  return reset === null ? null : { reset };
}

/**
 * What has to be good at the moment of the raise: what a rail needs, of which one without a signal is as good as its
 * enable reads; for a reset everything that has a signal.
 */
export function restsOn(plan: Plan, raises: Check['raises']): readonly (string | null)[] {
  if ('rail' in raises) return plan.rails.find(({ name }) => name === raises.rail)?.needs ?? [];
  return [...plan.rails.flatMap(({ name, observable }) => (observable ? [name] : [])), null];
}
