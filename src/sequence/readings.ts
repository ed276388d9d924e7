import type { Plan } from './plan.ts';
import type { SequenceState } from './state.ts';

/**
 * What this process has read itself, and when. A level counts only if it was asked for after the moment it is judged
 * for: what came before may be over by then, and the edge that would tell of it may still wait.
 */

/** A signal that says whether power is there: the rail of that name, or null for pgood. */
export type Source = string | null;

/**
 * How often a settle or de-glitch time begins anew because the process stood still. More would keep a real loss from
 * being believed on a machine that does so again and again.
 */
export const BEGUN_ANEW = 2;

/** When one signal was read. */
export interface Reading {
  /** What was asked for before this time tells nothing any more: the rail was switched, or the process stood still. */
  readonly fromMs: number;
  /** When the newest answer was asked for; null where none was since. An answer is a level, or that there is none. */
  readonly askedMs: number | null;
  /** How often the process stood still since the level last changed. */
  readonly standstills: number;
}

/** An enable that is to be switched on, or a reset that is to be released. */
export interface Raise {
  readonly what: 'enable' | 'reset';
  /** Of the rail, or of the reset. */
  readonly name: string;
}

/** Power is about to be raised: what that rests on is read first, after the decision. One thing at a time. */
export interface Check {
  readonly raises: Raise;
  readonly fromMs: number;
  /** Signals that were not read since. */
  readonly left: readonly Source[];
}

/** What this process has seen of the sleep state of the host. */
export interface Sleep {
  /** It was seen not to sleep, and nothing else since. */
  readonly isAwake: boolean;
  /** When it was seen to have gone to sleep while all its power still stood; null where it was not, or woke up since. */
  readonly leftMs: number | null;
  /** The host has switched itself off, and what it leaves goes down. */
  readonly hasLeft: boolean;
}

/** What only this process knows, and no snapshot keeps. */
export interface Readings {
  readonly sleep: Sleep;
  readonly rails: Readonly<Record<string, Reading>>;
  readonly pgood: Reading;
  readonly check: Check | null;
  /** Rails whose enable is to be switched on, and of which no DRIVEN has come since. */
  readonly raising: readonly string[];
  /** Rails whose enable this process has driven off, or tried to, since power was last raised. */
  readonly driven: readonly string[];
}

/** All that the chart decides from. */
export interface Context extends SequenceState {
  readonly plan: Plan;
  readonly readings: Readings;
}

/** Of the sleep state. */
export const NOTHING_SEEN: Sleep = { isAwake: false, leftMs: null, hasLeft: false };

const UNREAD: Reading = { fromMs: Number.NEGATIVE_INFINITY, askedMs: null, standstills: 0 };

export function noReadings(plan: Plan): Readings {
  return {
    sleep: NOTHING_SEEN,
    rails: Object.fromEntries(plan.rails.map(({ name }) => [name, UNREAD])),
    pgood: UNREAD,
    check: null,
    raising: [],
    driven: [],
  };
}

export function readingOf(readings: Readings, source: Source): Reading {
  return (source === null ? readings.pgood : readings.rails[source]) ?? UNREAD;
}

function withReading(readings: Readings, source: Source, change: Partial<Reading>): Readings {
  const changed = { ...readingOf(readings, source), ...change };
  if (source === null) return { ...readings, pgood: changed };
  return { ...readings, rails: { ...readings.rails, [source]: changed } };
}

/** What was begun to be checked. A guard has seen that there is a check before anything is raised. */
export function checkOf({ check }: Readings): Check {
  if (!check) throw new RangeError('nothing is being checked');
  return check;
}

/** An answer came; `isNews`: with another level than the one before. */
export function answered(readings: Readings, source: Source, askedMs: number, isNews = false): Readings {
  const { check } = readings;
  const counts = check !== null && askedMs >= check.fromMs && askedMs >= readingOf(readings, source).fromMs;
  return withReading(
    { ...readings, check: counts ? { ...check, left: check.left.filter((left) => left !== source) } : check },
    source,
    isNews ? { askedMs, standstills: 0 } : { askedMs },
  );
}

/** From `fromMs` on only what is asked for then counts. */
export function forgotten(readings: Readings, source: Source, fromMs: number): Readings {
  return withReading(readings, source, { fromMs, askedMs: null });
}

/** Nothing counts that was asked for before the process stood still, nor a check that had begun. */
export function afterStandstill(readings: Readings, fromMs: number): Readings {
  const after = ({ standstills }: Reading): Reading => ({
    fromMs,
    askedMs: null,
    standstills: standstills + 1,
  });
  const rails = Object.entries(readings.rails).map(([name, reading]) => [name, after(reading)]);
  return { ...readings, check: null, rails: Object.fromEntries(rails), pgood: after(readings.pgood) };
}

/** The signal was asked for at `momentMs` or later, and answered. */
export function isFresh({ fromMs, askedMs }: Reading, momentMs = Number.NEGATIVE_INFINITY): boolean {
  return askedMs !== null && askedMs >= Math.max(fromMs, momentMs);
}
