import { type Actor, fromCallback, fromPromise, type SnapshotFrom, toPromise } from 'xstate';
import { errorText } from '../../hw/errors.ts';
import type { Clock } from '../../hw/ports.ts';
import { PowerError } from '../errors.ts';
import type { ChassisHardware } from '../run/hardware.ts';
import { JOBS } from '../run/jobs.ts';
import { expectDone } from '../run/outcome.ts';
import type { Recorded, Recorder } from '../run/record.ts';
import type { RunOptions } from '../run/run.ts';
import { type RunResult, runSequence } from '../run/runner.ts';
import type { Plan } from '../sequence/plan.ts';
import { reconcile } from '../sequence/reconcile.ts';
import { hasTag, type State } from '../sequence/state.ts';
import { type ChassisLock, isLocked, lastHolder, lockChassis } from '../store/lock.ts';
import { createSnapshotFile, type SnapshotStore, snapshotPath } from '../store/snapshot.ts';
import { watchFile } from '../store/watch-file.ts';
import { type Inspector, startActor } from './actors.ts';
import { type ChassisView, viewOf, type Wanted } from './chassis-view.ts';
import { createPowerRequest, type Operation, type PowerRequest, type Progress } from './operation.ts';
import {
  type EndWatch,
  type Found,
  isHalfDone,
  type Loss,
  type NewsEvent,
  type ResidentEvent,
  residentChart,
} from './resident-chart.ts';
import { trackPgood } from './track-pgood.ts';

export type { ChassisView, Wanted } from './chassis-view.ts';
export type { Operation, Progress } from './operation.ts';
export type { Loss } from './resident-chart.ts';

export interface ResidentOptions {
  readonly chassis: number;
  readonly plan: Plan;
  /** Open as long as the resident lives. */
  readonly hardware: ChassisHardware;
  readonly clock: Clock;
  readonly runDir: string;
  readonly identity: { readonly bootId: string; readonly boardHash: string };
  readonly record: Recorder;
  readonly onChange: (now: ChassisView, before: ChassisView) => void;
  /** The chassis lost its power while it was on, and everything is off: tell whoever has to know. */
  readonly onLoss: (loss: Loss) => Promise<void>;
  /** A power sequence that was asked for failed, and is over. Who asked for it gets the same error. Must not reject. */
  readonly onRequestFailed: (wanted: Wanted, error: unknown) => Promise<void>;
  readonly inspect?: Inspector | undefined;
}

/** A chassis in the care of a process that stays. */
export interface Resident {
  readonly view: ChassisView;
  /**
   * To be called when this process is the service, and no other. Finishes what an earlier one left half done
   * because it died: what was going down goes down, what was coming up is taken down, and a loss is told.
   */
  begin(): void;
  /** Asks for power on or off. Who asks for what is under way already gets the same operation. */
  request(wanted: Wanted): Operation;
  /** The operation that was asked for last, null when none is under way. */
  readonly current: { readonly wanted: Wanted; readonly operation: Operation } | null;
  /** Longest time for pgood, for the sequences of this process. */
  setPgoodTimeoutMs(onTimeoutMs: number): void;
  /** Ends the watch; what this process has in motion comes to rest first. The lines stay as they are. */
  stop(reason: string): Promise<void>;
}

/** What this process says of itself while it has the lock. */
const HOLDER = 'serve';
/** A power sequence of another process ends within this time, or the request fails with CHASSIS_LOCKED. */
const LOCK_WAIT_MS = 60_000;
/** States that tell that the switching of an operation is over. */
const SWITCHED: Readonly<Record<Wanted, readonly State[]>> = {
  on: ['opWaitPowerOn', 'pgood'],
  off: ['opWaitPowerOff', 'off'],
};

/**
 * Takes a chassis into care: reads its lines, drives none, and from then on shows what it does, watches it while
 * it is on, and runs power sequences. Oneshots and people may do the same beside it: the lock keeps them apart,
 * and the state file tells each what the other did.
 *
 * Rejects with the HardwareError of a line that cannot be read.
 */
export async function createResident(options: ResidentOptions): Promise<Resident> {
  const { chassis, hardware, clock, inspect } = options;
  const id = `resident${chassis}`;
  const care = careOf(options);
  const { observation, unreadable } = await hardware.observe();
  if (unreadable[0]) throw unreadable[0].error;
  const { state, sequence } = reconcile(care.plan, observation, care.openStore().load().hint, clock.nowMs());
  const actor: ResidentActor = startActor(
    providedWith(care, () => actor),
    { id, clock, inspect },
    {
      state,
      sequence,
      pgood: observation.pgood,
    },
  );
  let view = viewOf(actor.getSnapshot().context.facts);
  actor.subscribe(({ context }) => {
    const before = view;
    view = viewOf(context.facts);
    const same = (Object.keys(view) as (keyof ChassisView)[]).every((key) => view[key] === before[key]);
    if (!same) options.onChange(view, before);
  });

  return {
    get view() {
      return view;
    },
    get current() {
      return actor.getSnapshot().context.requests.at(-1) ?? null;
    },
    begin: () => actor.send({ type: 'BEGIN' }),
    request(wanted) {
      const snapshot = actor.getSnapshot();
      const last = snapshot.context.requests.at(-1);
      if (last?.wanted === wanted && !snapshot.hasTag('closed')) return last.operation;
      const request = createPowerRequest(wanted, JOBS[wanted], faceOf(actor));
      if (snapshot.hasTag('closed')) request.settle(isStopping(chassis));
      else actor.send({ type: 'REQUESTED', request });
      return request.operation;
    },
    setPgoodTimeoutMs(onTimeoutMs) {
      care.plan = { ...care.plan, pgood: { ...care.plan.pgood, onTimeoutMs } };
    },
    async stop(reason) {
      if (!actor.getSnapshot().hasTag('closed')) actor.send({ type: 'STOP', reason });
      await toPromise(actor);
    },
  };
}

type ResidentActor = Actor<typeof residentChart>;
type Send = (event: ResidentEvent) => void;

/** What a resident works with, in all that its chart invokes. */
interface Care extends Omit<ResidentOptions, 'plan' | 'onChange'> {
  plan: Plan;
  openStore(): SnapshotStore;
  lock(signal: AbortSignal, wanted: Wanted): Promise<ChassisLock>;
  warn(message: string): void;
  warnOf(error: unknown): void;
}

function careOf(options: ResidentOptions): Care {
  const { chassis, clock, runDir, identity } = options;
  const care: Care = {
    ...options,
    // A new one for each use: a store goes by what it could not write itself, and others write here too.
    openStore: () => createSnapshotFile(runDir, chassis, { ...identity, plan: care.plan, clock }),
    lock: (signal, wanted) =>
      lockChassis(runDir, chassis, HOLDER, {
        clock,
        waitMs: LOCK_WAIT_MS,
        signal,
        onWait: (holder) =>
          care.warn(`driven by another process (${holder || 'unknown'}): the power ${wanted} waits for it`),
        ...(wanted === 'off' && {
          onWithout: (why: string) => care.warn(`${why}; powering off without a lock`),
        }),
      }),
    warn: (message) => options.record({ type: 'warning', message, atMs: clock.nowMs() }),
    warnOf: (error) => care.warn(withoutChassis(chassis, error)),
  };
  return care;
}

/** The chart with all that it invokes. */
function providedWith(care: Care, actor: () => ResidentActor) {
  return residentChart.provide({
    actors: {
      followPgood: fromCallback<ResidentEvent, boolean>(({ input: level, sendBack }) =>
        followPgood(care, level, sendBack),
      ),
      followStateFile: fromCallback<ResidentEvent>(({ sendBack }) => followStateFile(care, sendBack)),
      findState: fromPromise(() => findState(care)),
      watchPower: fromCallback<EndWatch>(({ sendBack, receive }) => {
        const ending = new AbortController();
        receive(({ reason }) => ending.abort(reason));
        void watchPower(care, ending.signal, sendBack);
      }),
      carryOut: fromCallback<ResidentEvent, PowerRequest>(({ input: request, sendBack }) => {
        void carryOut(care, request, sendBack);
      }),
      isLeftHalfDone: fromPromise<boolean, State>(({ input: state }) => isLeftHalfDone(care, state)),
      finishLeftBehind: fromCallback<ResidentEvent, State>(({ input: state, sendBack }) => {
        void finishLeftBehind(care, state, faceOf(actor()), sendBack);
      }),
      tell: fromCallback<NewsEvent>(({ receive, sendBack }) => {
        receive((news) => {
          void tellNews(care, news).finally(() =>
            sendBack({ type: 'NEWS_DELIVERED' } satisfies ResidentEvent),
          );
        });
      }),
    },
  });
}

/** @returns what ends it */
function followPgood(care: Care, first: boolean, send: Send): () => void {
  const deglitchMs = () => care.plan.pgood.deglitchMs;
  return trackPgood(care.hardware, care.clock, deglitchMs, first, (level) =>
    send({ type: 'PGOOD_CHANGED', level }),
  );
}

/** @returns what ends it */
function followStateFile({ runDir, chassis, clock, warn }: Care, send: Send): () => void {
  return watchFile(snapshotPath(runDir, chassis), {
    clock,
    changed: () => send({ type: 'STATE_FILE_CHANGED' }),
    warn,
  });
}

/** What another process left, or the lines show where it left nothing; null where neither can be had. */
async function findState({ plan, hardware, clock, openStore, warnOf }: Care): Promise<Found | null> {
  try {
    const { hint } = openStore().load();
    if (hint !== null) return { state: hint.state, fault: hint.sequence.fault?.reason ?? null };
    const { observation, unreadable } = await hardware.observe();
    if (unreadable.length > 0) return null;
    return { state: reconcile(plan, observation, null, clock.nowMs()).state };
  } catch (error) {
    warnOf(error);
    return null;
  }
}

/** Watches a chassis that is on until it is not, somebody else drives, or it is asked to end. */
async function watchPower(care: Care, signal: AbortSignal, send: Send): Promise<void> {
  const locks: ChassisLock[] = [];
  let result: RunResult | null = null;
  try {
    result = await runSequence(JOBS.watch, {
      ...runOptions(care, signal, send),
      superseded: () => isDrivenByAnother(care),
      async onLost() {
        // All enables are off by now. Whoever has the lock can only find the same.
        try {
          locks.push(await care.lock(new AbortController().signal, 'off'));
        } catch (error) {
          care.warnOf(error);
        }
      },
    });
  } catch (error) {
    care.warn(`the watch ended: ${withoutChassis(care.chassis, error)}`);
  }
  for (const lock of locks) lock.release();
  // Told when the watch is over and the lock is free: the units that are started for it want both.
  if (result?.state === 'failed') {
    send({ type: 'POWER_LOST', loss: { sequence: result.sequence, isOfBefore: false } });
  }
  send({ type: 'WATCH_ENDED' });
}

async function isDrivenByAnother({ runDir, chassis, clock, openStore }: Care): Promise<boolean> {
  const { hint } = openStore().load();
  return hint === null ? isLocked(runDir, chassis, clock) : hint.state !== 'pgood';
}

async function carryOut(care: Care, request: PowerRequest, send: Send): Promise<void> {
  const { wanted, job, signal } = request;
  let failure: unknown = null;
  try {
    const lock = await care.lock(signal, wanted);
    send({ type: 'LOCK_TAKEN' });
    try {
      const isSwitched = (entry: Recorded) => entry.type === 'state' && SWITCHED[wanted].includes(entry.to);
      const { record, ...options } = runOptions(care, signal, send);
      const result = await runSequence(job, {
        ...options,
        record(entry) {
          record(entry);
          if (isSwitched(entry)) send({ type: 'SWITCHED' });
        },
      });
      send({ type: 'STATE_ENTERED', state: result.state });
      expectDone(care.chassis, `power ${wanted}`, job, result);
    } finally {
      lock.release();
    }
  } catch (error) {
    failure = error;
    send({ type: 'REQUEST_FAILED', wanted, error });
  }
  send({ type: 'OPERATION_ENDED', error: failure });
}

function runOptions(care: Care, signal: AbortSignal, send: Send): RunOptions {
  const { plan, hardware, clock, openStore } = care;
  return {
    plan,
    hardware,
    clock,
    store: openStore(),
    signal,
    record(entry) {
      care.record(entry);
      if (entry.type === 'fault') send({ type: 'FAULT_RECORDED', reason: entry.fault.reason });
      if (entry.type === 'state') send({ type: 'STATE_ENTERED', state: entry.to });
    },
  };
}

/** Whether a service that died has left the chassis like that, and nobody else goes on with it. */
async function isLeftHalfDone(care: Care, state: State): Promise<boolean> {
  const { runDir, chassis, clock, warnOf } = care;
  if (!isHalfDone(state)) return false;
  try {
    // The fall after a loss begins without the lock, and whoever drives a fault otherwise has it.
    if (state === 'fault') return !(await isLocked(runDir, chassis, clock));
    return (await lastHolder(runDir, chassis, clock)) === HOLDER;
  } catch (error) {
    warnOf(error);
    return false;
  }
}

async function finishLeftBehind(care: Care, state: State, face: Face, send: Send): Promise<void> {
  const isRising = hasTag(state, 'rising');
  const what = isRising ? 'taking down what it raised' : 'finishing the power off';
  care.warn(`the service ended in ${state} and left the chassis half powered: ${what}`);
  const request = createPowerRequest('off', isRising ? JOBS.off : JOBS.waitOff, face);
  send({ type: 'REQUESTED', request });
  await request.operation.done.catch(care.warnOf);
  // The file of a service that died is as old as its last step; what was finished here is as it was left.
  send({ type: 'LEFT_BEHIND_FINISHED', sequence: care.openStore().load().hint?.sequence ?? null });
}

async function tellNews({ onLoss, onRequestFailed, warnOf }: Care, news: NewsEvent): Promise<void> {
  try {
    if (news.type === 'POWER_LOST') await onLoss(news.loss);
    else await onRequestFailed(news.wanted, news.error);
  } catch (error) {
    warnOf(error);
  }
}

type Face = Parameters<typeof createPowerRequest>[2];

function faceOf(actor: ResidentActor): Face {
  return (request) => ({
    progress: () => progressOf(request, actor.getSnapshot()),
    withdraw: (reason) => actor.send({ type: 'WITHDRAWN', request, reason }),
  });
}

function progressOf(request: PowerRequest, snapshot: SnapshotFrom<typeof residentChart>): Progress {
  const { requests } = snapshot.context;
  if (!requests.includes(request)) return 'switched';
  if (request !== requests[0]) return 'waiting';
  const found = (['moving', 'switched'] as const).find((progress) =>
    snapshot.matches({ driving: { operating: progress } }),
  );
  return found ?? 'waiting';
}

function isStopping(chassis: number): PowerError {
  return new PowerError('INTERRUPTED', `chassis ${chassis}: the service is stopping`, { chassis });
}

/** What is recorded is of this chassis: its number is not said twice. */
function withoutChassis(chassis: number, error: unknown): string {
  const text = errorText(error);
  const prefix = `chassis ${chassis}: `;
  return text.startsWith(prefix) ? text.slice(prefix.length) : text;
}
