import type { Plan, RailPlan } from './plan.ts';

export const STATES = [
  'unknown',
  'off',
  'opPowerStart',
  'opWaitPowerOn',
  'pgood',
  'opPowerStop',
  'opWaitPowerOff',
  'fault',
  'failed',
] as const;
export type State = (typeof STATES)[number];

/** Power is coming up. */
export const RISING: readonly State[] = ['opPowerStart', 'opWaitPowerOn'];
/** Power is going down because somebody asked for it. */
export const FALLING: readonly State[] = ['opPowerStop', 'opWaitPowerOff'];

/**
 * Where a rail is: `rising` from its enable until it has been good for its settle time, `falling` from
 * its disable until it is no longer good, `stuck` when it would not go down or could not be switched.
 */
export type RailPhase = 'down' | 'rising' | 'up' | 'falling' | 'stuck';

/**
 * Why an enable is taken for asserted: it could not be read when the lines were, or switching it off failed and
 * nothing was read back.
 */
export type EnableDoubt = 'unread' | 'undriven';

export interface RailState {
  readonly phase: RailPhase;
  readonly enabled: boolean;
  /** What an `enabled` that is true rests on where it is no level that was read; null where it is. */
  readonly enableDoubt: EnableDoubt | null;
  readonly good: boolean;
  /** No signal says that `good` is so: it could not be read since, or the rail has none. */
  readonly goodUnread: boolean;
  /** When `good` last changed. */
  readonly sinceMs: number;
  /** Rising: latest time for good. Falling: latest time for no longer good. Else null. */
  readonly deadlineMs: number | null;
}

/** The chassis power good signal. */
export interface PgoodState {
  /** Level last read. */
  readonly level: boolean;
  /** Level that has stood for the board's `deglitchMs`. */
  readonly good: boolean;
  /** `level` is the one of before: it could not be read since. */
  readonly unread: boolean;
  /** When `level` last changed. */
  readonly sinceMs: number;
}

export type FaultKind =
  /** A rail was not good in time. */
  | 'railTimeout'
  /** A rail that was good dropped. */
  | 'railLost'
  /** A rail delivers though its enable is off. */
  | 'railStray'
  | 'pgoodTimeout'
  | 'pgoodLost'
  | 'powerOffTimeout'
  /** A line or a device could not be driven or read. */
  | 'hardware';

export interface Fault {
  readonly kind: FaultKind;
  /** The rail at fault, null when it cannot be told. */
  readonly rail: string | null;
  readonly state: State;
  readonly atMs: number;
  /** One clause for people: "rail P1V8 was not good within 100 ms". */
  readonly reason: string;
  /** Code of the error underneath a `hardware` fault. */
  readonly errorCode: string | null;
}

/** Everything about the sequence that changes and outlives the process. Times are on the monotonic clock. */
export interface SequenceState {
  readonly nowMs: number;
  readonly rails: Readonly<Record<string, RailState>>;
  readonly pgood: PgoodState;
  /** Resets that are asserted. */
  readonly resetsAsserted: Readonly<Record<string, boolean>>;
  /** Latest end of opWaitPowerOn, opWaitPowerOff and, once all enables are off, of fault. */
  readonly stageDeadlineMs: number | null;
  /** When all rails and pgood were first good together in opWaitPowerOn. */
  readonly readyMs: number | null;
  /** When the power was last seen to be off after it had been on. */
  readonly offSinceMs: number | null;
  /** The enables changed and the latch was not pulsed since. */
  readonly latchPending: boolean;
  readonly fault: Fault | null;
  /** What in the hardware contradicts itself, where that keeps the state unknown. */
  readonly contradictions: readonly string[];
}

/** What reading every line of a chassis found, active level already applied. */
export interface Observation {
  readonly rails: Readonly<Record<string, { readonly enabled: boolean; readonly good: boolean }>>;
  readonly pgood: boolean;
  readonly resetsAsserted: Readonly<Record<string, boolean>>;
  /** What of it could not be read, and is assumed. Absent where all was read. */
  readonly unread?: readonly SignalRef[];
}

/** A signal that is read: an enable or good signal of a rail; pgood or a reset, where `rail` is null. */
export interface SignalRef {
  readonly signal: 'enable' | 'good' | 'pgood' | 'reset';
  readonly rail: string | null;
}

/** The state another process left behind, of the same boot and the same board file. */
export interface Hint {
  readonly state: State;
  readonly sequence: SequenceState;
}

/** State of a rail of the plan. Plan and sequence are always made together, so it is there. */
export function railState(sequence: SequenceState, name: string): RailState {
  const state = sequence.rails[name];
  if (!state) throw new RangeError(`rail ${name} is not in the sequence`);
  return state;
}

/**
 * Rails whose enable may be driven off now, of those that were not `driven` yet: whatever needs them was, and is down or
 * beyond help. What the enable reads decides nothing: one that is held low comes back when it is let go; only the fall of
 * what needs it is not waited for. A running chassis that lost its power is switched off all at once, in reverse
 * order: what failed feeds a short, and what hangs on it is falling already.
 */
export function railsToDisable(plan: Plan, sequence: SequenceState, driven: readonly string[]): RailPlan[] {
  const atOnce = sequence.fault?.state === 'pgood';
  const isGone = (name: string) => ['down', 'stuck'].includes(railState(sequence, name).phase);
  return plan.rails
    .filter(({ name, neededBy }) => {
      if (driven.includes(name)) return false;
      const { enabled } = railState(sequence, name);
      return atOnce || neededBy.every((other) => driven.includes(other) && (!enabled || isGone(other)));
    })
    .reverse();
}

/** True when no rail is left that could still be disabled, now or later. */
export function loweringDone(sequence: SequenceState): boolean {
  return Object.values(sequence.rails).every(({ enabled, phase }) => !enabled || phase === 'stuck');
}

/** Before this time no rail is enabled. */
export function holdUntilMs(plan: Plan, sequence: SequenceState): number {
  return sequence.offSinceMs === null ? Number.NEGATIVE_INFINITY : sequence.offSinceMs + plan.minOffMs;
}

export function allUp(sequence: SequenceState): boolean {
  return Object.values(sequence.rails).every(({ phase }) => phase === 'up');
}

export function allEnabled(sequence: SequenceState): boolean {
  return Object.values(sequence.rails).every(({ enabled }) => enabled);
}

/** True when a rail still delivers or pgood still stands. */
export function powerSeen(sequence: SequenceState): boolean {
  return sequence.pgood.level || Object.values(sequence.rails).some(({ enabled, good }) => enabled || good);
}

/** True while voltage is seen: unlike powerSeen, an enable that is stuck does not count. */
export function delivering(sequence: SequenceState): boolean {
  return sequence.pgood.level || Object.values(sequence.rails).some(({ good }) => good);
}

/** True when nothing is on its way down any more. */
export function fallen(sequence: SequenceState): boolean {
  return loweringDone(sequence) && Object.values(sequence.rails).every(({ phase }) => phase !== 'falling');
}

/** The first reset of the plan whose release time has come, null when there is none. */
export function resetDue(plan: Plan, { readyMs, resetsAsserted, nowMs }: SequenceState): string | null {
  if (readyMs === null) return null;
  const due = plan.resets.find(
    ({ name, releaseDelayMs }) => resetsAsserted[name] && nowMs >= readyMs + releaseDelayMs,
  );
  return due?.name ?? null;
}

/**
 * The next time at which the sequence changes though nothing else happens, or null. A runner sends TICK
 * then.
 */
export function nextDeadlineMs(plan: Plan, state: State, sequence: SequenceState): number | null {
  if (state === 'off' || state === 'failed' || state === 'unknown') return null;
  const times: number[] = [holdUntilMs(plan, sequence)];
  for (const rail of plan.rails) {
    const { phase, good, sinceMs, deadlineMs } = railState(sequence, rail.name);
    if (phase === 'rising' && good) times.push(sinceMs + rail.settleMs);
    else if (phase === 'up' && !good) times.push(sinceMs + plan.pgood.deglitchMs);
    else if (deadlineMs !== null) times.push(deadlineMs);
  }
  if (sequence.pgood.level !== sequence.pgood.good) {
    times.push(sequence.pgood.sinceMs + plan.pgood.deglitchMs);
  }
  if (sequence.stageDeadlineMs !== null) times.push(sequence.stageDeadlineMs);
  if (sequence.readyMs !== null) {
    for (const { name, releaseDelayMs } of plan.resets) {
      if (sequence.resetsAsserted[name]) times.push(sequence.readyMs + releaseDelayMs);
    }
  }
  const future = times.filter((time) => time > sequence.nowMs);
  return future.length === 0 ? null : Math.min(...future);
}
