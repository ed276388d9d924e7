import { CodedError } from '../../hw/errors.ts';
import type { Clock } from '../../hw/ports.ts';
import type { Plan } from '../sequence/plan.ts';
import type { State } from '../sequence/state.ts';
import type { BlackBox, RunRecord } from '../store/black-box.ts';
import { isNews, type Recorded } from './record.ts';
import { begunAt } from './trace.ts';

/** What a run is of. */
export interface RunOrigin {
  readonly chassis: number;
  readonly plan: Plan;
  readonly asked: string;
  readonly by: string;
  readonly bootId: string;
  readonly board: { readonly name: string; readonly hash: string };
}

/** How it went. */
export interface RunEnd {
  readonly entries: readonly Recorded[];
  /** Entries of which there were too many to keep. */
  readonly left: number;
  /** When it was asked for. */
  readonly beganMs: number;
  /** Null where it ended without a result. */
  readonly ended: State | null;
  /** What it ended with; null where it reached what was asked for. */
  readonly error: unknown;
}

/** Nothing was begun, and nothing is wrong with the chassis: who asked is told, and nobody else needs to know. */
const NOT_BEGUN: readonly string[] = ['USAGE', 'CHASSIS_UNKNOWN', 'CHASSIS_LOCKED', 'CHASSIS_WATCHED'];
/** A watch may have lasted for months. What came this long before its fault is of interest. */
const BEFORE_FAULT_MS = 2_000;

/** What is kept of a run; null for one that found nothing to do, or was not begun. */
export function runRecord(
  origin: RunOrigin,
  end: RunEnd,
  clock: Pick<Clock, 'nowMs' | 'wallTime'>,
): RunRecord | null {
  const { error } = end;
  const code = error instanceof CodedError ? error.code : null;
  if (
    !end.entries.some(isNews) &&
    (error === null || (code !== null && NOT_BEGUN.includes(code)) || code === 'INTERRUPTED')
  )
    return null;
  const nowMs = clock.nowMs();
  const wall = clock.wallTime();
  const isWatch = origin.asked === 'watch';
  const trace = isWatch ? fromFault(end.entries) : end.entries;
  const beganMs = isWatch ? (trace[0]?.atMs ?? end.beganMs) : end.beganMs;
  wall.setTime(wall.getTime() - (nowMs - beganMs));
  const since = (atMs: number) => Math.round((atMs - beganMs) * 1_000) / 1_000;
  const fault = end.entries.findLast((entry) => entry.type === 'fault')?.fault;
  return {
    chassis: origin.chassis,
    asked: [origin.asked],
    by: [origin.by],
    bootId: origin.bootId,
    startedAt: wall.toISOString(),
    startedMs: beganMs,
    tookMs: since(nowMs),
    board: origin.board,
    ended: end.ended,
    failure: error === null ? null : failureOf(error),
    fault:
      fault === undefined
        ? null
        : {
            kind: fault.kind,
            rail: fault.rail,
            state: fault.state,
            reason: fault.reason,
            errorCode: fault.errorCode,
          },
    rails: origin.plan.rails.map(({ name, observable, watched }) => ({
      name,
      observable,
      ...(watched !== null && { watched }),
    })),
    resets: origin.plan.resets.map(({ name }) => ({ name })),
    times: Object.fromEntries(
      origin.plan.rails.map(({ name }) => [name, timesOf(name, trace, since)] as const),
    ),
    trace: trace.map((entry) => ({ ...entry, atMs: since(entry.atMs) })),
    left: end.left + end.entries.length - trace.length,
  };
}

function failureOf(error: unknown): RunRecord['failure'] {
  if (!(error instanceof CodedError)) {
    return { code: 'INTERNAL', message: String(error), powerStillApplied: null };
  }
  const { powerStillApplied } = error.details;
  return {
    code: error.code,
    message: error.message,
    powerStillApplied: typeof powerStillApplied === 'boolean' ? powerStillApplied : null,
  };
}

function timesOf(
  rail: string,
  trace: readonly Recorded[],
  since: (atMs: number) => number,
): RunRecord['times'][string] {
  const times: { -readonly [K in keyof RunRecord['times'][string]]: number | null } = {
    enabledMs: null,
    goodMs: null,
    disabledMs: null,
    goneMs: null,
  };
  let isGood = false;
  for (const entry of trace) {
    if (entry.type === 'reconciled') isGood = entry.rails[rail]?.good ?? false;
    if (entry.type === 'enable' && entry.rail === rail)
      times[entry.asserted ? 'enabledMs' : 'disabledMs'] = since(entry.atMs);
    if (entry.type !== 'rail' || entry.rail !== rail || entry.good === isGood) continue;
    isGood = entry.good;
    times[isGood ? 'goodMs' : 'goneMs'] = since(entry.atMs);
  }
  return times;
}

/** The entries shortly before a fault and after it; all of them where none was. */
function fromFault(entries: readonly Recorded[]): readonly Recorded[] {
  const fault = entries.find(({ type }) => type === 'fault');
  return fault === undefined ? entries : begunAt(entries, fault.atMs - BEFORE_FAULT_MS);
}

/** First stages, and the second one that goes on from each. */
const SECOND_STAGES: Readonly<Record<string, string>> = { start: 'wait-on', stop: 'wait-off' };
/** How a first stage ends that has a second one to come. */
const BETWEEN_STAGES: readonly (State | null)[] = ['opWaitPowerOn', 'opWaitPowerOff'];

/**
 * Sorts out what there is to write of a run, while its process still has the chassis: the two stages of a sequence become one
 * run, and what the first one did is not written to a disk between them. Returns what writes it, for when everything
 * else is done, and resolves to why something could not be written.
 */
export function settleRun(box: BlackBox, run: RunRecord | null): () => Promise<string | null> {
  const runs = run === null ? [] : runsToKeep(box, run);
  return async () => {
    let problem: string | null = null;
    for (const each of runs) problem = (await box.keep(each)) ?? problem;
    return problem;
  };
}

function runsToKeep(box: BlackBox, run: RunRecord): RunRecord[] {
  const before = box.takeAside();
  const isSecond =
    before !== null &&
    before.bootId === run.bootId &&
    SECOND_STAGES[before.asked.at(-1) ?? ''] === run.asked[0];
  const earlier = before === null || isSecond ? [] : [before];
  const whole = isSecond ? joined(before, run) : run;
  const hasSecond =
    run.asked[0] !== undefined && run.asked[0] in SECOND_STAGES && BETWEEN_STAGES.includes(run.ended);
  const isAside = hasSecond && run.failure === null && box.putAside(whole) === null;
  return isAside ? earlier : [...earlier, whole];
}

function joined(first: RunRecord, second: RunRecord): RunRecord {
  const offsetMs = second.startedMs - first.startedMs;
  const later = (atMs: number | null) => (atMs === null ? null : atMs + offsetMs);
  const times = Object.entries(second.times).map(([rail, then]) => {
    const before = first.times[rail];
    return [
      rail,
      {
        enabledMs: later(then.enabledMs) ?? before?.enabledMs ?? null,
        goodMs: later(then.goodMs) ?? before?.goodMs ?? null,
        disabledMs: later(then.disabledMs) ?? before?.disabledMs ?? null,
        goneMs: later(then.goneMs) ?? before?.goneMs ?? null,
      },
    ] as const;
  });
  return {
    ...second,
    asked: [...first.asked, ...second.asked],
    by: [...new Set([...first.by, ...second.by])],
    startedAt: first.startedAt,
    startedMs: first.startedMs,
    tookMs: offsetMs + second.tookMs,
    times: Object.fromEntries(times),
    trace: [...first.trace, ...second.trace.map((entry) => ({ ...entry, atMs: entry.atMs + offsetMs }))],
    left: first.left + second.left,
  };
}
