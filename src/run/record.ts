import type { Outcome, Request } from '../sequence/events.ts';
import type { Diagnosis, Fault, Miss, RailPhase, SignalRef, State, Unpowered } from '../sequence/state.ts';
import type { Evidence } from './evidence.ts';

export type { KeptRun, RunRecord } from '../store/black-box.ts';

/** One thing that happened in a run, without its time. */
/** A rail that the chassis can do without, and what became of it. */
export interface Missed {
  readonly rail: string;
  readonly miss: Miss;
  readonly reason: string;
}

export type Happening =
  /** The lines were read and the state taken up; `hint` is what a process before had left. */
  | {
      readonly type: 'reconciled';
      readonly state: State;
      readonly hint: State | null;
      readonly rails: Readonly<Record<string, { readonly enabled: boolean; readonly good: boolean }>>;
      readonly pgood: boolean;
      readonly resetsAsserted: Readonly<Record<string, boolean>>;
      /** What of these could not be read, and is assumed. Absent where all was read. */
      readonly unread?: readonly SignalRef[];
      /** What was not asked for, for want of power. Absent where all had it. */
      readonly unpowered?: readonly Unpowered[];
    }
  /** Rails that the run leaves out, because their parts are absent. */
  | { readonly type: 'absent'; readonly rails: readonly string[] }
  | {
      readonly type: 'request';
      readonly request: Request;
      readonly outcome: Outcome;
      readonly reason: string;
    }
  | { readonly type: 'state'; readonly from: State; readonly to: State }
  | { readonly type: 'enable'; readonly rail: string; readonly asserted: boolean }
  | { readonly type: 'reset'; readonly reset: string; readonly asserted: boolean }
  | { readonly type: 'latch' }
  | { readonly type: 'rail'; readonly rail: string; readonly phase: RailPhase; readonly good: boolean }
  | { readonly type: 'pgood'; readonly level: boolean }
  /** The host behind the power button of the rail has switched itself off, and what it left goes down. */
  | { readonly type: 'hostOff'; readonly rail: string }
  /** A rail that the chassis can do without did not come in time, or dropped. */
  | ({ readonly type: 'missed' } & Missed)
  | { readonly type: 'fault'; readonly fault: Fault }
  | { readonly type: 'driveFailed'; readonly what: string; readonly reason: string; readonly code: string }
  | { readonly type: 'readFailed'; readonly what: string; readonly reason: string; readonly code: string }
  | { readonly type: 'evidence'; readonly evidence: readonly Evidence[] }
  /** What the evidence says of the fault before it. */
  | { readonly type: 'diagnosis'; readonly diagnosis: Diagnosis }
  | { readonly type: 'warning'; readonly message: string };

/** A happening with its time on the monotonic clock. */
export type Recorded = Happening & { readonly atMs: number };

/** Takes what happens, in order. A run never fails because of its record: one that throws misses what it threw at. */
export type Recorder = (entry: Recorded) => void;

const NO_NEWS: readonly Recorded['type'][] = ['reconciled', 'absent', 'request', 'evidence', 'warning'];

/** Whether something changed, or was found to be wrong. A run without such an entry had nothing to do. */
export function isNews({ type }: Recorded): boolean {
  return !NO_NEWS.includes(type);
}

/** The state that the chassis was seen in last; null where nothing was read. */
export function lastState(entries: readonly Recorded[]): State | null {
  const last = entries.findLast(({ type }) => type === 'state' || type === 'reconciled');
  if (last?.type === 'state') return last.to;
  return last?.type === 'reconciled' ? last.state : null;
}
