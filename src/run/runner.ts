import { HardwareError } from '../../hw/errors.ts';
import { pause } from '../../hw/waiting.ts';
import type { Answer } from '../sequence/events.ts';
import type { Plan } from '../sequence/plan.ts';
import { type Reconciled, reconcile } from '../sequence/reconcile.ts';
import { hasTag, type SequenceState, type State } from '../sequence/state.ts';
import { diagnose } from './diagnosis.ts';
import type { Job } from './jobs.ts';
import { decisive, mayPass, type Observed, READ_AGAIN_MS, READINGS, type Unreadable } from './observe.ts';
import { ONCE_MORE_MS } from './parts.ts';
import {
  type PresentChassis,
  presentChassis,
  presentNow,
  presentToPowerOff,
  presentToPowerOn,
  removedFrom,
} from './presence.ts';
import { createRecording, type Recording } from './recording.ts';
import {
  causeOfEnd,
  createRun,
  endedBy,
  goOn,
  handle,
  isSteady,
  type Run,
  type RunOptions,
  save,
} from './run.ts';

export interface RunResult {
  readonly state: State;
  readonly sequence: SequenceState;
  /** How the request was taken, null where the job had none or ended before it. */
  readonly answer: Answer | null;
  /** What went wrong did so in this run, and not before it. */
  readonly isFaultOfThisRun: boolean;
}

/**
 * Runs the machine on the hardware until the job is done: reads every line, takes up the state they show,
 * sends the request, drives what the machine asks for and feeds back what happens. The state is written
 * before it is acted on, so that a process that follows a killed one knows what was meant.
 *
 * A fault is a result (`state: 'failed'`), not a rejection. Rejects with the HardwareError of a line that
 * cannot be read at the start, unless the request is POWER_OFF; nothing was driven then. Rejects PowerError
 * INTERRUPTED. A power-on rejects in the same way where it cannot be read whether a part is there.
 */
export async function runSequence(job: Job, options: RunOptions): Promise<RunResult> {
  const { hint } = options.store.load();
  const first = await presentFor(job)(options, hint);
  const result = await runPresent(job, options, first);
  // What the power-on before began with is no word on this one.
  return result ?? (await runPresent(job, options, await presentNow(options))) ?? neverEnds();
}

function presentFor({ request }: Job): typeof presentChassis {
  if (request === 'POWER_ON') return presentToPowerOn;
  return request === 'POWER_OFF' ? presentToPowerOff : presentChassis;
}

function neverEnds(): never {
  throw new RangeError('a power-on began with what was read for it, and asks for that again');
}

/** Returns null where a power-on is to begin, and it has to be read first what is there. */
async function runPresent(job: Job, whole: RunOptions, present: PresentChassis): Promise<RunResult | null> {
  const options = { ...whole, plan: present.plan, hardware: present.hardware };
  const { hardware, clock, signal, abandon } = options;
  const recording = createRecording(options.record, clock);
  await letGo(job, options, recording);
  tellAbsent(present, recording);
  const { taken, unreadable, hinted } = await takeStock(job, options, recording);
  const run = createRun(job, options, taken, recording);
  const unwatch = hardware.watch(
    (source) => {
      run.readings.mark(source);
      run.turns.wake();
    },
    job.watches ? 'guarding' : 'switching',
  );
  const unwatchSleep = job.watches
    ? hardware.watchSleep(() => {
        run.readings.markSleep();
        run.turns.wake();
      })
    : () => undefined;
  const onAbort = (): void => run.turns.wake();
  signal?.addEventListener('abort', onAbort);
  abandon?.addEventListener('abort', onAbort);
  try {
    const isOver = await carryOutJob(run, unreadable, present);
    const result = await finish(run, taken, hinted);
    return isOver ? result : null;
  } finally {
    recording.tell();
    options.alarm?.set(hardware.chassis, false);
    unwatch();
    unwatchSleep();
    // Told twice to end, the lines stay as they are. Whatever else ended the run, what was to go off goes off.
    if (abandon?.aborted) run.drives.abandon();
    await run.drives.end();
    await run.readings.end();
    signal?.removeEventListener('abort', onAbort);
    abandon?.removeEventListener('abort', onAbort);
  }
}

/**
 * A button that a killed process left pressed would switch the host off, and a host that is held in reset does not start.
 * Who only watches has not the chassis to itself: it may be another's press.
 */
async function letGo(
  { request, watches }: Job,
  { hardware }: RunOptions,
  recording: Recording,
): Promise<void> {
  if (watches) return;
  try {
    for (const role of await hardware.letGo()) {
      const message = `${role} was left asserted: let go`;
      recording.record({ type: 'warning', message });
    }
  } catch (error) {
    // A power-off does what it can, and its drive meets the same.
    if (request !== 'POWER_OFF' || !(error instanceof HardwareError)) throw error;
    recording.record({ type: 'warning', message: `${error.message}: powering off all the same` });
  }
}

/** What the run leaves out, and of which of it nobody knows whether it is there. */
function tellAbsent({ plan, guessed, error }: PresentChassis, { record }: Recording): void {
  const rails = plan.absent.flatMap(({ name }) => (guessed.includes(name) ? [] : [name]));
  if (rails.length > 0) record({ type: 'absent', rails });
  if (guessed.length === 0) return;
  const message = `whether the part of ${guessed.join(', ')} is there cannot be read (${error?.code}): left out, for nothing of it is on`;
  record({ type: 'warning', message });
}

/** Reads the lines, and finds where the machine is to be taken up. */
async function takeStock(
  job: Job,
  options: RunOptions,
  recording: Recording,
): Promise<{
  readonly taken: Reconciled;
  readonly unreadable: readonly Unreadable[];
  /** The state that another process left. */
  readonly hinted: State | null;
}> {
  const { plan, clock, store } = options;
  const { record } = recording;
  const { hint, warning } = store.load();
  if (warning !== null) record({ type: 'warning', message: warning });
  const { observation, unreadable } = await observeFor(job, options, recording);
  // Power is not raised on what cannot be seen, but a power-off does what it can, and fails at the end.
  const unread = job.request === 'POWER_OFF' ? unreadable : decisive(plan, unreadable);
  if (unread[0] !== undefined && job.request !== 'POWER_OFF') throw unread[0].error;
  const taken = takenUp(job, plan, reconcile(plan, observation, hint, clock.nowMs(), job));
  const hinted = hint?.state ?? null;
  record({ type: 'reconciled', state: taken.state, hint: hinted, ...observation });
  return { taken, unreadable: unread, hinted };
}

async function observeFor(job: Job, options: RunOptions, recording: Recording): Promise<Observed> {
  const observed = await options.hardware.observe();
  if (observed.unreadable.length === 0) return observed;
  if (job.request === 'POWER_OFF') return observeOnceMore(observed, options);
  return job.until.includes('pgood') ? observeAgain(observed, options, recording) : observed;
}

/** A PMBus device acknowledges nothing while it stores its settings, and a power-off would go on and fail for it. */
async function observeOnceMore(observed: Observed, { hardware, clock }: RunOptions): Promise<Observed> {
  if (!observed.unreadable.every(({ error }) => error.code === 'I2C_NO_DEVICE')) return observed;
  await pause(clock, ONCE_MORE_MS);
  return hardware.observe();
}

/** A stage that fails has the chassis powered off, so of one that is on a device that is only busy is waited for. */
async function observeAgain(
  first: Observed,
  { plan, hardware, clock, signal }: RunOptions,
  { record }: Recording,
): Promise<Observed> {
  let observed = first;
  let told = '';
  for (let left = READINGS - 1; left > 0; left -= 1) {
    const unreadable = decisive(plan, observed.unreadable);
    const [unread] = unreadable;
    if (unread === undefined || !mayBeOn(observed) || !unreadable.every(({ error }) => mayPass(error))) break;
    const why = observed.observation.pgood ? 'pgood stands' : 'pgood may stand';
    const message = `${unread.reason}: ${why}, reading again`;
    if (message !== told) record({ type: 'warning', message });
    told = message;
    await pause(clock, READ_AGAIN_MS, signal);
    if (signal?.aborted) break;
    observed = await hardware.observe();
  }
  return observed;
}

/** pgood stands, or it is what cannot be read and something is enabled. */
function mayBeOn({ observation, unreadable }: Observed): boolean {
  if (observation.pgood) return true;
  const isEnabled = Object.values(observation.rails).some(({ enabled }) => enabled);
  return isEnabled && unreadable.some(({ signal }) => signal === 'pgood');
}

/** Returns false where a power-on is to begin, and it has to be read first what is there. */
async function carryOutJob(
  run: Run,
  unreadable: readonly Unreadable[],
  { isKept, error: unknown }: PresentChassis,
): Promise<boolean> {
  const { job, options } = run;
  const { clock, signal } = options;
  const { request } = job;
  const stateNow = () => run.now.state;

  // Half up, and nobody knows what it is to have.
  if (unknown !== null && request !== 'POWER_OFF' && hasTag(stateNow(), 'rising')) throw unknown;
  if (job.goesOnFrom.includes(stateNow())) {
    // Taken up is not acted on: the first TICK lets a state that was left behind go on.
    await handle(run, { type: 'TICK', atMs: clock.nowMs() });
    await goOn(run, () => !hasTag(stateNow(), 'lowering') && isSteady(stateNow(), run.now.sequence));
    // What broke while nobody watched is this run's result: the next power-on starts afresh.
    if (stateNow() === 'failed') return true;
  } else if (request === null) return true;
  if (signal?.aborted && (request !== null || run.withdrewIn !== null)) return true;
  if (request === 'POWER_ON' && hasTag(stateNow(), 'atRest')) {
    if (isKept) return false;
    if (unknown !== null) throw unknown;
  }
  const atRest = stateNow() === 'off' || stateNow() === 'failed';
  if (request !== null) await handle(run, { type: request, atMs: clock.nowMs() });
  for (const { signal: unread, rail, reason, error } of unreadable) {
    const failure = { reason, code: error.code };
    run.recording.record({ type: 'readFailed', what: rail ?? unread, ...failure });
    const atMs = clock.nowMs();
    await handle(run, { type: 'READ_FAILED', signal: unread, rail, ...failure, askedMs: atMs, atMs });
  }
  if (run.answer?.outcome !== 'rejected') {
    await goOn(
      run,
      () =>
        stateNow() === 'failed' || (job.until.includes(stateNow()) && isSteady(stateNow(), run.now.sequence)),
    );
  }
  // Nothing was seen that had to go off; what could not be seen may be on all the same.
  if (unreadable[0] !== undefined && atRest) throw unreadable[0].error;
  return true;
}

async function finish(run: Run, taken: Reconciled, hinted: State | null): Promise<RunResult> {
  const { job, options, answer, withdrewIn } = run;
  const { signal } = options;
  const { state, sequence } = run.now;
  const hadNothingToDo = job.request === null && !job.goesOnFrom.includes(taken.state);
  // A watch that ends without a loss, and a stage that found nothing to wait for, leave the state to the process that made
  // it: they say nothing new, and it may have been changed since.
  const isOurs = !(job.watches && state === 'pgood') && !(hadNothingToDo && state === hinted);
  if (isOurs) save(run);
  // A power-off that was asked to end, and one that failed, have their own result to tell.
  if (withdrewIn !== null && state !== 'failed') {
    throw endedBy(run, 'INTERRUPTED', `${causeOfEnd(signal, withdrewIn)}: the power was taken down`, {
      state,
      signal: signal?.reason,
    });
  }
  const failedHere = state === 'failed' && taken.state !== 'failed';
  if (signal?.aborted && answer === null && job.request !== null && !failedHere) {
    throw endedBy(
      run,
      'INTERRUPTED',
      `${String(signal.reason)}: nothing was begun, the chassis is ${state}`,
      {
        state,
        signal: signal.reason,
      },
    );
  }
  const isFaultOfThisRun = sequence.fault !== null && sequence.fault !== taken.sequence.fault;
  if (taken.state !== 'failed') {
    await lookForCause(run);
    if (isOurs && run.now.sequence !== sequence) save(run);
  }
  return { state, sequence: run.now.sequence, answer, isFaultOfThisRun };
}

/** Reads what the devices say, while everything is off and nothing was cleared, and adds what it tells to the fault. */
async function lookForCause(run: Run): Promise<void> {
  const { options, now, recording, levelsAtFault } = run;
  const { hardware, plan } = options;
  const { fault } = now.sequence;
  if (fault === null) return;
  const evidence = await hardware.evidence(fault.rail);
  recording.record({ type: 'evidence', evidence });
  const supplyError = options.supplyError?.() ?? '';
  const removed = await removedFrom(hardware, plan);
  const diagnosis = diagnose(plan, { fault, evidence, levels: levelsAtFault, supplyError, removed });
  recording.record({ type: 'diagnosis', diagnosis });
  run.now = { ...now, sequence: { ...now.sequence, fault: { ...fault, diagnosis } } };
}

/** The begin of a job that continues a power-off whose state file was lost. Nothing is driven for it. */
function takenUp(job: Job, plan: Plan, found: Reconciled): Reconciled {
  const { state, sequence } = found;
  const isUnexplained = state === 'unknown' && Object.values(sequence.rails).every(({ enabled }) => !enabled);
  if (!isUnexplained || job.stateForUnexplainedPower === undefined) return found;
  const stageDeadlineMs = sequence.nowMs + plan.pgood.offTimeoutMs;
  return {
    state: job.stateForUnexplainedPower,
    sequence: { ...sequence, stageDeadlineMs, contradictions: [] },
  };
}
