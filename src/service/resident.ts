import { errorText } from '../../hw/errors.ts';
import type { Clock } from '../../hw/ports.ts';
import { PowerError } from '../errors.ts';
import type { ChassisHardware } from '../run/hardware.ts';
import { JOBS } from '../run/jobs.ts';
import { expectDone } from '../run/outcome.ts';
import type { Recorded, Recorder } from '../run/record.ts';
import { type Job, type RunResult, runSequence } from '../run/runner.ts';
import type { Plan } from '../sequence/plan.ts';
import { reconcile } from '../sequence/reconcile.ts';
import { FALLING, RISING, type SequenceState, type State } from '../sequence/state.ts';
import { type ChassisLock, isLocked, lastHolder, lockChassis } from '../store/lock.ts';
import { createSnapshotFile, snapshotPath } from '../store/snapshot.ts';
import { watchFile } from '../store/watch-file.ts';
import { pause } from '../waiting.ts';
import { trackPgood } from './track-pgood.ts';

export type Wanted = 'on' | 'off';

/** What a client sees of a chassis. */
export interface ChassisView {
  readonly state: State;
  /** Power good stands, de-glitched; while power comes up only once the resets are released. */
  readonly pgood: boolean;
  /** What was asked for last, by whomever; after a loss of power `off`. */
  readonly wanted: Wanted;
  /** What went wrong, while the chassis is in `fault` or `failed`. */
  readonly fault: string | null;
}

/** A power sequence that was asked for. Both reject with what `expectDone` throws, CHASSIS_LOCKED or INTERRUPTED. */
export interface Operation {
  /** Every enable is asserted, or deasserted: what the first of the two oneshots does. */
  readonly switched: Promise<void>;
  readonly done: Promise<void>;
  /** How far it is: `waiting` for another process that drives the chassis, `moving` the power, or `switched`. */
  progress(): Progress;
  /** Gives up, unless it has begun. */
  withdraw(reason: string): void;
}

export type Progress = 'waiting' | 'moving' | 'switched';

export interface Loss {
  readonly sequence: SequenceState;
  /** A process that is gone has handled the loss, and may have told of it already. */
  readonly isOfBefore: boolean;
}

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
  /** The operation that is under way, null when none is. */
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
/** How long the end of the process waits for somebody to take the news of a loss. */
const TELLING_MS = 5_000;
/** Before a watch that ended without a reason is begun again. */
const RETRY_MS = 500;
/** States that tell that the switching of an operation is over. */
const SWITCHED: Readonly<Record<Wanted, readonly State[]>> = {
  on: ['opWaitPowerOn', 'pgood'],
  off: ['opWaitPowerOff', 'off'],
};

interface Running {
  readonly wanted: Wanted;
  readonly operation: Operation;
  readonly controller: AbortController;
}

/**
 * Takes a chassis into care: reads its lines, drives none, and from then on shows what it does, watches it while
 * it is on, and runs power sequences. Oneshots and people may do the same beside it: the lock keeps them apart,
 * and the state file tells each what the other did.
 *
 * Rejects with the HardwareError of a line that cannot be read.
 */
export async function createResident(options: ResidentOptions): Promise<Resident> {
  const { chassis, hardware, clock, runDir, identity } = options;
  let { plan } = options;
  let stopped = false;
  let running: Running | null = null;
  let telling: Promise<void> = Promise.resolve();
  let watching: { readonly controller: AbortController; readonly ended: Promise<void> } | null = null;

  // A new one for each use: a store goes by what it could not write itself, and others write here too.
  const openStore = () => createSnapshotFile(runDir, chassis, { ...identity, plan, clock });
  const lock = (signal: AbortSignal, asked: Wanted): Promise<ChassisLock> =>
    lockChassis(runDir, chassis, HOLDER, {
      clock,
      waitMs: LOCK_WAIT_MS,
      signal,
      onWait: (holder) =>
        warn(`driven by another process (${holder || 'unknown'}): the power ${asked} waits for it`),
      ...(asked === 'off' && { onWithout: (why: string) => warn(`${why}; powering off without a lock`) }),
    });

  const { observation, unreadable } = await hardware.observe();
  if (unreadable[0]) throw unreadable[0].error;
  const first = reconcile(plan, observation, openStore().load().hint, clock.nowMs());
  let state = first.state;
  let wanted: Wanted = state === 'pgood' || RISING.includes(state) ? 'on' : 'off';
  let fault = first.sequence.fault?.reason ?? null;
  let pgood = observation.pgood;

  const viewNow = (): ChassisView => ({
    state,
    pgood: pgood && !RISING.includes(state),
    wanted,
    fault: state === 'fault' || state === 'failed' ? fault : null,
  });
  let view = viewNow();
  const publish = (): void => {
    const before = view;
    view = viewNow();
    const same = (Object.keys(view) as (keyof ChassisView)[]).every((key) => view[key] === before[key]);
    if (!same) options.onChange(view, before);
  };

  const enter = (next: State): void => {
    state = next;
    if (RISING.includes(state)) wanted = 'on';
    else if (FALLING.includes(state) || state === 'off' || state === 'fault' || state === 'failed')
      wanted = 'off';
    else if (state === 'pgood') wanted = 'on';
    publish();
    if (state === 'pgood') watchOver();
  };

  const record = (entry: Recorded): void => {
    options.record(entry);
    if (entry.type === 'fault') fault = entry.fault.reason;
    if (entry.type === 'state') enter(entry.to);
  };

  const warn = (message: string): void => options.record({ type: 'warning', message, atMs: clock.nowMs() });
  /** What is recorded is of this chassis: its number is not said twice. */
  const withoutChassis = (error: unknown): string => {
    const text = errorText(error);
    const prefix = `chassis ${chassis}: `;
    return text.startsWith(prefix) ? text.slice(prefix.length) : text;
  };
  const warnOf = (error: unknown): void => warn(withoutChassis(error));

  /** Another process changed the state. */
  const takeNotice = async (): Promise<void> => {
    if (running !== null || stopped) return;
    const { hint } = openStore().load();
    if (hint !== null) {
      fault = hint.sequence.fault?.reason ?? null;
      if (hint.state !== state) enter(hint.state);
      return;
    }
    const seen = await hardware.observe();
    if (seen.unreadable.length > 0 || running !== null || stopped) return;
    enter(reconcile(plan, seen.observation, null, clock.nowMs()).state);
  };

  const superseded = async (): Promise<boolean> => {
    const { hint } = openStore().load();
    return hint === null ? isLocked(runDir, chassis, clock) : hint.state !== 'pgood';
  };

  const tell = (loss: Loss): Promise<void> => options.onLoss(loss).catch(warnOf);

  /** Watches a chassis that is on until it is not, or somebody else drives. Once at a time. */
  function watchOver(): void {
    if (stopped || watching !== null || running !== null) return;
    const controller = new AbortController();
    let held: ChassisLock | null = null;
    let lost: RunResult | null = null;
    const run = async (): Promise<void> => {
      const result = await runSequence(JOBS.watch, {
        plan,
        hardware,
        clock,
        store: openStore(),
        record,
        signal: controller.signal,
        superseded,
        onLost: async () => {
          // All enables are off by now. Whoever has the lock can only find the same.
          held = await lock(new AbortController().signal, 'off').catch((error: unknown) => {
            warnOf(error);
            return null;
          });
        },
      });
      if (result.state === 'failed') lost = result;
    };
    const ended = run()
      .catch((error: unknown) => warn(`the watch ended: ${withoutChassis(error)}`))
      .then(async () => {
        held?.release();
        // Told when the watch is over and the lock is free: the units that are started for it want both.
        if (lost !== null) telling = tell({ sequence: lost.sequence, isOfBefore: false });
        // Not watched again before the pause: whoever has the chassis may have it for long.
        await takeNotice().catch(warnOf);
        watching = null;
        if (state === 'pgood' && !stopped && running === null) clock.after(RETRY_MS, watchOver);
      });
    watching = { controller, ended };
  }

  const begin = (asked: Wanted, before: Running | null, job: Job = JOBS[asked]): Running => {
    const controller = new AbortController();
    // A power-on gives way at once; a power-off is finished before anything else.
    if (before?.wanted === 'on') before.controller.abort('power off was asked for');
    watching?.controller.abort('request');
    const watchEnded = watching?.ended;
    const switched = deferred();
    let progress: Progress = 'waiting';
    const run = async (): Promise<void> => {
      await before?.operation.done.catch(() => undefined);
      await watchEnded;
      const held = await lock(controller.signal, asked);
      progress = 'moving';
      try {
        const result = await runSequence(job, {
          plan,
          hardware,
          clock,
          store: openStore(),
          signal: controller.signal,
          record: (entry) => {
            record(entry);
            if (entry.type === 'state' && SWITCHED[asked].includes(entry.to)) {
              progress = 'switched';
              switched.resolve();
            }
          },
        });
        enter(result.state);
        expectDone(chassis, `power ${asked}`, job, result);
      } finally {
        held.release();
      }
    };
    const failed = (error: unknown): never => {
      telling = Promise.all([telling, options.onRequestFailed(asked, error)]).then(() => undefined);
      throw error;
    };
    const done = run()
      .catch(failed)
      .finally(() => {
        if (running === current) running = null;
        if (state === 'pgood') watchOver();
      });
    done.then(switched.resolve, switched.reject);
    // Whoever asked may have gone: then nobody hears of it here, and the record has it all the same.
    switched.promise.catch(() => undefined);
    const operation: Operation = {
      switched: switched.promise,
      done,
      progress: () => progress,
      withdraw(reason) {
        if (progress === 'waiting') controller.abort(reason);
      },
    };
    const current: Running = { wanted: asked, operation, controller };
    return current;
  };

  /** How the state that was found came to be left behind half done, null when it was not. */
  const leftBehind = async (): Promise<'rising' | 'falling' | null> => {
    // The fall after a loss begins without the lock, and whoever drives a fault otherwise has it.
    if (state === 'fault') return (await isLocked(runDir, chassis, clock)) ? null : 'falling';
    if (!RISING.includes(state) && !FALLING.includes(state)) return null;
    if ((await lastHolder(runDir, chassis, clock)) !== HOLDER) return null;
    if (FALLING.includes(state)) return 'falling';
    return RISING.includes(state) ? 'rising' : null;
  };

  const finish = async (left: 'rising' | 'falling'): Promise<void> => {
    const what = left === 'rising' ? 'taking down what it raised' : 'finishing the power off';
    warn(`the service ended in ${state} and left the chassis half powered: ${what}`);
    running = begin('off', null, left === 'rising' ? JOBS.off : JOBS.waitOff);
    await running.operation.done.catch(warnOf);
  };

  const stopTracking = trackPgood(
    hardware,
    clock,
    () => plan.pgood.deglitchMs,
    pgood,
    (level) => {
      pgood = level;
      publish();
      // Whoever made it so has written it, where it was not seen.
      if (level !== (state === 'pgood')) takeNotice().catch(warnOf);
    },
  );
  const endFileWatch = watchFile(snapshotPath(runDir, chassis), {
    clock,
    changed: () => void takeNotice().catch(warnOf),
    warn,
  });
  if (state === 'pgood') watchOver();

  return {
    get view() {
      return view;
    },
    get current() {
      return running === null ? null : { wanted: running.wanted, operation: running.operation };
    },
    begin() {
      const takeOver = async (): Promise<void> => {
        const left = running === null ? await leftBehind() : null;
        // A request that came meanwhile goes on from what was left.
        if (left !== null && running === null && !stopped) await finish(left);
        // The file of a service that died is as old as its last step; what was finished here is as it was left.
        const sequence = left === null ? first.sequence : openStore().load().hint?.sequence;
        const isLoss = state === 'failed' && sequence?.fault?.state === 'pgood';
        if (isLoss && !stopped) telling = tell({ sequence, isOfBefore: true });
      };
      takeOver().catch(warnOf);
    },
    request(asked) {
      if (stopped) {
        const error = new PowerError('INTERRUPTED', `chassis ${chassis}: the service is stopping`, {
          chassis,
        });
        const refused = Promise.reject(error);
        refused.catch(() => undefined);
        return {
          switched: refused,
          done: refused,
          progress: () => 'waiting',
          withdraw: () => undefined,
        };
      }
      if (running?.wanted === asked) return running.operation;
      running = begin(asked, running);
      return running.operation;
    },
    setPgoodTimeoutMs(onTimeoutMs) {
      plan = { ...plan, pgood: { ...plan.pgood, onTimeoutMs } };
    },
    async stop(reason) {
      stopped = true;
      endFileWatch();
      stopTracking();
      watching?.controller.abort(reason);
      running?.controller.abort(reason);
      await running?.operation.done.catch(() => undefined);
      await watching?.ended;
      // A loss that was just found is still told; whoever is told may need longer than this process has.
      const told = new AbortController();
      telling.finally(() => told.abort());
      await pause(clock, TELLING_MS, told.signal);
    },
  };
}

function deferred(): {
  readonly promise: Promise<void>;
  readonly resolve: () => void;
  readonly reject: (error: unknown) => void;
} {
  let resolve: () => void = () => undefined;
  let reject: (error: unknown) => void = () => undefined;
  const promise = new Promise<void>((done, failed) => {
    resolve = done;
    reject = failed;
  });
  return { promise, resolve, reject };
}
