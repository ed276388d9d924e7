import { CodedError, errorText, wasReadBack } from '../../hw/errors.ts';
import type { Clock } from '../../hw/ports.ts';
import { PowerError, type PowerErrorCode } from '../errors.ts';
import { nextDeadlineMs, readingsDue } from '../sequence/deadlines.ts';
import type { Answer, Drive, Outcome, Request, SequenceAction, SequenceEvent } from '../sequence/events.ts';
import { type ChassisSnapshot, step, takeUp, viewOf } from '../sequence/machine.ts';
import type { Plan } from '../sequence/plan.ts';
import { type Reconciled, reconcile } from '../sequence/reconcile.ts';
import { hasTag, railState, type SequenceState, type State } from '../sequence/state.ts';
import type { SnapshotStore } from '../store/snapshot.ts';
import type { ChassisHardware, Source } from './hardware.ts';
import type { Happening, Recorded, Recorder } from './record.ts';
import { LOOK_MS, STALL_MS } from './standstill.ts';

/** What a verb asks of the sequence. */
export interface Job {
  /** Sent once the states that a killed process left half done are finished; null only lets it go on. */
  readonly request: Request | null;
  /**
   * Taken up by a job without a request where power is seen that no enable asks for, and nothing tells why: that
   * is what a power-off leaves behind whose state was lost.
   */
  readonly whenUnasked?: State;
  /**
   * States, left behind by another process, from which the job goes on by itself before its request. In
   * any other state nothing is driven without the request.
   */
  readonly goesOnFrom: readonly State[];
  /** The job ends in the first of these states. `failed` always ends it. */
  readonly until: readonly State[];
  /** The job stays in `pgood` and watches, until power is lost, another process drives, or it is asked to end. */
  readonly watches?: boolean;
}

export interface RunOptions {
  readonly plan: Plan;
  readonly hardware: ChassisHardware;
  readonly clock: Clock;
  readonly store: SnapshotStore;
  readonly record: Recorder;
  /**
   * Aborted, the run ends as soon as power is not in motion: what it was raising it takes down and rejects
   * INTERRUPTED, what goes down goes down.
   */
  readonly signal?: AbortSignal;
  /** Aborted, the run rejects INTERRUPTED at once, and the lines stay as they are. */
  readonly abandon?: AbortSignal;
  /** For a job that watches: whether another process drives the chassis now. Asked before a loss is believed. */
  readonly superseded?: () => Promise<boolean>;
  /** For a job that watches: awaited when a loss has switched everything off, before anything else is done. */
  readonly onLost?: () => Promise<void>;
}

export interface RunResult {
  readonly state: State;
  readonly sequence: SequenceState;
  /** How the request was taken, null where the job had none or ended before it. */
  readonly answer: Answer | null;
  /** What went wrong did so in this run, and not before it. */
  readonly isFaultOfThisRun: boolean;
}

/** States in which something is still going on by itself. */
function isActive(state: State): boolean {
  return hasTag(state, 'rising') || hasTag(state, 'lowering');
}

/** A PMBus device acknowledges nothing while it stores its settings; most are done by then. */
const ONCE_MORE_MS = 100;

/**
 * Runs the machine on the hardware until the job is done: reads every line, takes up the state they show,
 * sends the request, drives what the machine asks for and feeds back what happens. The state is written
 * before it is acted on, so that a process that follows a killed one knows what was meant.
 *
 * A fault is a result (`state: 'failed'`), not a rejection. Rejects with the HardwareError of a line that
 * cannot be read at the start, unless the request is POWER_OFF; nothing was driven then. Rejects PowerError
 * INTERRUPTED.
 */
export async function runSequence(job: Job, options: RunOptions): Promise<RunResult> {
  const { plan, hardware, clock, store, signal, abandon } = options;
  /** What happened while an event is acted on, told once it was: switch first, then speak. */
  let untold: Recorded[] | null = null;
  const record = (entry: Happening): void => {
    const recorded = { ...entry, atMs: clock.nowMs() };
    if (untold === null) options.record(recorded);
    else untold.push(recorded);
  };
  const tell = (): void => {
    const entries = untold ?? [];
    untold = null;
    for (const entry of entries) options.record(entry);
  };

  const { hint, warning } = store.load();
  if (warning !== null) record({ type: 'warning', message: warning });
  const { observation, unreadable } = await hardware.observe();
  // Power is not raised on what cannot be seen, but a power-off does what it can, and fails at the end.
  const [blind] = unreadable;
  if (blind !== undefined && job.request !== 'POWER_OFF') throw blind.error;
  const taken = takenUp(job, plan, reconcile(plan, observation, hint, clock.nowMs()));
  record({ type: 'reconciled', state: taken.state, hint: hint?.state ?? null, ...observation });

  let snapshot: ChassisSnapshot = takeUp(plan, taken);
  let { state, sequence, readings } = viewOf(snapshot);
  let answer: Answer | null = null;
  let saveWarned = false;
  /** What could not be driven. */
  const undriven: SequenceEvent[] = [];
  /** The request to end was taken. */
  let heard = false;
  let lossTold = false;
  /** Where the power-on was when it was asked to end. */
  let withdrewIn: State | null = null;

  /** Why the run ends without a result. */
  const ended = (code: PowerErrorCode, message: string, details: Record<string, unknown>): PowerError => {
    const { chassis } = hardware;
    return new PowerError(code, `chassis ${chassis}: ${message}`, { chassis, ...details });
  };
  const outcome = (): Outcome | undefined => answer?.outcome;
  const save = (): void => {
    const problem = store.save(state, sequence);
    if (problem !== null && !saveWarned) {
      saveWarned = true;
      record({ type: 'warning', message: problem });
    }
  };

  /** Signals that may have another level than the sequence knows of. */
  const woken = new Set<Source>();
  /** Signals that are being read. A slow bus holds up nothing but what waits for its answer. */
  const looking = new Map<Source, Promise<void>>();
  const answers: SequenceEvent[] = [];

  /** One event, and whatever follows from carrying out its actions. */
  const handle = async (first: SequenceEvent): Promise<void> => {
    const pending: SequenceEvent[] = [first];
    for (let event = pending.shift(); event !== undefined; event = pending.shift()) {
      const before = { state, sequence };
      let entered = state;
      const next = step(snapshot, event);
      ({ snapshot, state, sequence, readings } = next);
      untold ??= [];
      const switched = recordLevels(plan, before.sequence, sequence, record);
      if (state !== before.state || next.actions.length > 0) save();
      let driveFailed = false;
      for (const action of next.actions) {
        if (action.type === 'answer') answer = action;
        // Nobody is told "off" of a chassis of which a line was not driven: the failure that follows says what it is.
        if (action.type === 'entered' && !(driveFailed && action.state === 'off')) {
          record({ type: 'state', from: entered, to: action.state });
          entered = action.state;
        }
        const followUps = await carryOut(action, options, record);
        const failures = followUps.filter(({ type }) => type === 'DRIVE_FAILED');
        const failed = failures.length > 0;
        driveFailed ||= failed;
        undriven.push(...failures);
        if (action.type === 'driveEnable' && !failed) {
          switched.get(action.rail)?.();
          // Its signal may have changed already, and an edge that was before the drive is never seen again. Looked at
          // once all is driven that has to be: a read in between would hold up the next one.
          woken.add(action.rail);
        }
        pending.push(...followUps);
        // Power that is coming up comes no further once a line failed; power goes down all the same.
        if (hasTag(state, 'rising') && failed) break;
      }
      tell();
    }
  };

  let wake: () => void = () => undefined;
  const unwatch = hardware.watch(
    (source) => {
      woken.add(source);
      wake();
    },
    job.watches ? 'guarding' : 'switching',
  );
  const onAbort = (): void => wake();
  signal?.addEventListener('abort', onAbort);
  abandon?.addEventListener('abort', onAbort);

  /** Takes down what is half up: nobody may come to finish it. */
  const withdraw = async (): Promise<void> => {
    withdrewIn = state;
    record({ type: 'warning', message: `${told(signal, state)}: taking the power down; ${AGAIN}` });
    await handle({ type: 'POWER_OFF', atMs: clock.nowMs() });
  };

  const look = (source: Source): void => {
    woken.delete(source);
    const ended = readLevel(source, options, record).then((event) => {
      looking.delete(source);
      answers.push(event);
      wake();
    });
    looking.set(source, ended);
  };

  /** Looks at what woke the run, and at what a time that is over has to be judged by; pgood first. */
  const lookAround = (): void => {
    const due = new Set([...woken, ...readingsDue(plan, state, sequence, readings)]);
    for (const source of [null, ...due]) if (due.has(source) && !looking.has(source)) look(source);
  };

  /** When the run last went on, and when it meant to go on at the latest; null: whenever something happens. */
  let ranMs = clock.nowMs();
  let meantMs: number | null = ranMs;

  /** Nothing was looked at for longer than the run meant to wait: what it knows is old. */
  const noticeStall = async (): Promise<void> => {
    const nowMs = clock.nowMs();
    const ms = nowMs - ranMs;
    const stalled = meantMs !== null && nowMs - meantMs > STALL_MS;
    ranMs = nowMs;
    meantMs = nowMs;
    if (stalled) await handle({ type: 'STALLED', ms, atMs: nowMs });
  };

  /** Until something happens, or the time of `deadlineMs` has come. */
  const rest = async (deadlineMs: number | null): Promise<void> => {
    const nowMs = clock.nowMs();
    const watchful = looking.size > 0 || hasDoubt(sequence);
    const untilMs = Math.min(
      deadlineMs ?? Number.POSITIVE_INFINITY,
      nowMs + (watchful ? LOOK_MS : Number.POSITIVE_INFINITY),
    );
    meantMs = Number.isFinite(untilMs) ? untilMs : null;
    await new Promise<void>((resolve) => {
      const cancel = meantMs === null ? () => undefined : clock.after(meantMs - nowMs, resolve);
      wake = () => {
        cancel();
        resolve();
      };
      if (answers.length > 0 || abandon?.aborted || (signal?.aborted && !heard)) wake();
    });
    wake = () => undefined;
  };

  /** Goes on until a state for which `done` holds, or nothing can go on by itself any more. */
  const goOn = async (done: () => boolean): Promise<void> => {
    for (;;) {
      if (abandon?.aborted) {
        throw ended(
          'INTERRUPTED',
          `${told(abandon, state)}, again: the lines stay as they are; run start to go on or stop to power off`,
          { state, signal: abandon.reason },
        );
      }
      if (job.watches && state === 'pgood' && (signal?.aborted || (await options.superseded?.()))) return;
      await noticeStall();
      if (signal?.aborted && !heard) {
        heard = true;
        if (hasTag(state, 'rising')) await withdraw();
        else if (!done())
          record({ type: 'warning', message: `${told(signal, state)}: power goes down first; ${AGAIN}` });
      }
      if (done()) return;
      const event = answers.shift();
      if (event !== undefined) {
        await handle(event);
        await tellLoss();
        continue;
      }
      lookAround();
      const nowMs = clock.nowMs();
      const deadlineMs = nextDeadlineMs(plan, state, sequence);
      if (deadlineMs !== null && deadlineMs <= nowMs) {
        await handle({ type: 'TICK', atMs: nowMs });
        continue;
      }
      if (deadlineMs === null && looking.size === 0 && !(job.watches && state === 'pgood')) {
        if (!isActive(state)) return;
        throw ended('INTERNAL', `the sequence waits in ${state} without a deadline`, { state });
      }
      await rest(deadlineMs);
    }
  };

  const isDone = (): boolean => state === 'failed' || (job.until.includes(state) && steady(state, sequence));

  /** One more power-off, once, where nothing failed but that a device acknowledged nothing: nobody else would ask for it. */
  const onceMore = async (): Promise<void> => {
    const first = answer;
    meantMs = clock.nowMs() + ONCE_MORE_MS;
    await new Promise<void>((resolve) => {
      const cancel = clock.after(ONCE_MORE_MS, resolve);
      wake = () => {
        if (!abandon?.aborted) return;
        cancel();
        resolve();
      };
      wake();
    });
    wake = () => undefined;
    if (abandon?.aborted) return;
    await handle({ type: 'POWER_OFF', atMs: clock.nowMs() });
    await goOn(isDone);
    answer = first;
  };
  /** For a watch: all is off, and whoever has to know is told before anything else. */
  const tellLoss = async (): Promise<void> => {
    if (!job.watches || state !== 'fault' || lossTold) return;
    lossTold = true;
    await options.onLost?.();
  };

  const { request } = job;

  try {
    if (job.goesOnFrom.includes(state)) {
      // Taken up is not acted on: the first TICK lets a state that was left behind go on.
      await handle({ type: 'TICK', atMs: clock.nowMs() });
      await goOn(() => !hasTag(state, 'lowering') && steady(state, sequence));
      // What broke while nobody watched is this run's result: the next power-on starts afresh.
      if (state === 'failed' && taken.state !== 'failed') return await finish();
    } else if (request === null) return await finish();
    if (signal?.aborted && (request !== null || withdrewIn !== null)) return await finish();
    const atRest = state === 'off' || state === 'failed';
    if (request !== null) await handle({ type: request, atMs: clock.nowMs() });
    for (const { signal: unread, rail, reason, error } of unreadable) {
      const failure = { reason, code: error.code };
      record({ type: 'readFailed', what: rail ?? unread, ...failure });
      const atMs = clock.nowMs();
      await handle({ type: 'READ_FAILED', signal: unread, rail, ...failure, askedMs: atMs, atMs });
    }
    if (outcome() !== 'rejected') {
      // A request that changed nothing leaves it to the next TICK to go on with what it found.
      if (outcome() === 'unchanged' && isActive(state)) await handle({ type: 'TICK', atMs: clock.nowMs() });
      await goOn(isDone);
      const deserves = undriven.length > 0 && undriven.every(isUnacknowledged);
      if (request === 'POWER_OFF' && state === 'failed' && deserves) await onceMore();
    }
    // Nothing was seen that had to go off; what could not be seen may be on all the same.
    if (blind !== undefined && state === 'failed' && atRest) throw blind.error;
    return await finish();
  } finally {
    tell();
    unwatch();
    await Promise.all(looking.values());
    signal?.removeEventListener('abort', onAbort);
    abandon?.removeEventListener('abort', onAbort);
  }

  async function finish(): Promise<RunResult> {
    // A watch that ends without a loss leaves the state to the process that made it, and may have changed it since.
    if (!(job.watches && state === 'pgood')) save();
    // A power-off that was asked to end, and one that failed, have their own result to tell.
    if (withdrewIn !== null && state !== 'failed') {
      throw ended('INTERRUPTED', `${told(signal, withdrewIn)}: the power was taken down`, {
        state,
        signal: signal?.reason,
      });
    }
    const failedHere = state === 'failed' && taken.state !== 'failed';
    if (signal?.aborted && answer === null && request !== null && !failedHere) {
      throw ended('INTERRUPTED', `${String(signal.reason)}: nothing was begun, the chassis is ${state}`, {
        state,
        signal: signal.reason,
      });
    }
    if (sequence.fault !== null && taken.state !== 'failed') {
      record({ type: 'evidence', evidence: await hardware.evidence() });
    }
    const isFaultOfThisRun = sequence.fault !== null && sequence.fault !== taken.sequence.fault;
    return { state, sequence, answer, isFaultOfThisRun };
  }
}

/** Where a job begins that takes up what a power-off left behind whose state was lost. Nothing is driven for it. */
function takenUp(job: Job, plan: Plan, found: Reconciled): Reconciled {
  const { state, sequence } = found;
  const unasked = state === 'unknown' && Object.values(sequence.rails).every(({ enabled }) => !enabled);
  if (!unasked || job.whenUnasked === undefined) return found;
  const stageDeadlineMs = sequence.nowMs + plan.pgood.offTimeoutMs;
  return { state: job.whenUnasked, sequence: { ...sequence, stageDeadlineMs, contradictions: [] } };
}

/** A level has to stand for some time before it is believed. */
function hasDoubt({ rails, pgood }: SequenceState): boolean {
  if (pgood.level !== pgood.good) return true;
  return Object.values(rails).some(
    ({ phase, good }) => (phase === 'rising' && good) || (phase === 'up' && !good),
  );
}

/** False while a dropped pgood or rail still has to stand for its de-glitch time before it is believed. */
function steady(state: State, sequence: SequenceState): boolean {
  if (state !== 'pgood') return true;
  return (
    sequence.pgood.level === sequence.pgood.good && Object.values(sequence.rails).every(({ good }) => good)
  );
}

/** Said with the first signal, for somebody at a keyboard. */
const AGAIN = 'once more leaves at once';

function told(signal: AbortSignal | undefined, state: State): string {
  return `${String(signal?.reason)} in ${state}`;
}

/**
 * Records what an event changed in rails and pgood. For rails that are being switched the record waits until
 * the drive was carried out: those are returned.
 */
function recordLevels(
  plan: Plan,
  before: SequenceState,
  after: SequenceState,
  record: (entry: Happening) => void,
): Map<string, () => void> {
  const switched = new Map<string, () => void>();
  for (const { name } of plan.rails) {
    const old = railState(before, name);
    const { phase, good, enabled } = railState(after, name);
    if (old.phase === phase && old.good === good) continue;
    const recordRail = () => record({ type: 'rail', rail: name, phase, good });
    if (old.enabled === enabled) recordRail();
    else switched.set(name, recordRail);
  }
  const { level } = after.pgood;
  if (before.pgood.level !== level) record({ type: 'pgood', level });
  return switched;
}

/** An enable was to go off, and its device acknowledged nothing. */
function isUnacknowledged(event: SequenceEvent): boolean {
  return (
    event.type === 'DRIVE_FAILED' &&
    event.drive.what === 'enable' &&
    !event.asserted &&
    event.code === 'I2C_NO_DEVICE'
  );
}

function codeOf(error: unknown): string {
  return error instanceof CodedError ? error.code : 'INTERNAL';
}

/** The level of a good signal as an event. Never rejects. */
async function readLevel(
  source: Source,
  { hardware, clock }: RunOptions,
  record: (entry: Happening) => void,
): Promise<SequenceEvent> {
  const askedMs = clock.nowMs();
  try {
    const good = await hardware.readGood(source);
    const times = { askedMs, atMs: clock.nowMs() };
    return source === null
      ? { type: 'PGOOD_LEVEL', good, ...times }
      : { type: 'RAIL_LEVEL', rail: source, good, ...times };
  } catch (error) {
    const failure = { reason: errorText(error), code: codeOf(error) };
    record({ type: 'readFailed', what: source ?? 'pgood', ...failure });
    const signal = source === null ? 'pgood' : 'good';
    return { type: 'READ_FAILED', signal, rail: source, ...failure, askedMs, atMs: clock.nowMs() };
  }
}

/** Carries out one action. What comes of it is returned as events. */
async function carryOut(
  action: SequenceAction,
  options: RunOptions,
  record: (entry: Happening) => void,
): Promise<SequenceEvent[]> {
  const { hardware, clock } = options;
  const drive = async (
    what: Drive,
    asserted: boolean,
    label: string,
    work: () => Promise<void>,
  ): Promise<SequenceEvent | null> => {
    try {
      await work();
      return null;
    } catch (error) {
      const failure = { reason: errorText(error), code: codeOf(error) };
      record({ type: 'driveFailed', what: label, ...failure });
      const readBack = wasReadBack(error);
      return { type: 'DRIVE_FAILED', drive: what, asserted, readBack, ...failure, atMs: clock.nowMs() };
    }
  };

  switch (action.type) {
    case 'entered':
      return [];
    case 'answer':
      record({
        type: 'request',
        request: action.request,
        outcome: action.outcome,
        reason: action.reason,
      });
      return [];
    case 'raiseFault':
      record({ type: 'fault', fault: action.fault });
      return [];
    case 'driveEnable': {
      const { rail, asserted } = action;
      const failed = await drive({ what: 'enable', rail }, asserted, `enable of rail ${rail}`, () =>
        hardware.driveEnable(rail, asserted),
      );
      if (failed) return [failed];
      record({ type: 'enable', rail, asserted });
      return [{ type: 'DRIVEN', rail, asserted, atMs: clock.nowMs() }];
    }
    case 'driveReset': {
      const { reset, asserted } = action;
      const failed = await drive({ what: 'reset', reset }, asserted, `reset ${reset}`, () =>
        hardware.driveReset(reset, asserted),
      );
      if (failed) return [failed];
      record({ type: 'reset', reset, asserted });
      return [];
    }
    case 'pulseLatch': {
      const failed = await drive({ what: 'latch' }, true, 'latch', () => hardware.pulseLatch());
      if (failed) return [failed];
      record({ type: 'latch' });
      return [{ type: 'LATCHED', atMs: clock.nowMs() }];
    }
  }
}
