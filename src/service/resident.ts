import { type Actor, fromCallback, fromPromise, type SnapshotFrom, toPromise } from 'xstate';
import { errorText } from '../../hw/errors.ts';
import { fileMark } from '../../hw/files.ts';
import type { Clock, Flock } from '../../hw/ports.ts';
import { pause } from '../../hw/waiting.ts';
import { PowerError } from '../errors.ts';
import type { Alarm } from '../run/alarm.ts';
import { findChassis } from '../run/found.ts';
import type { ChassisHardware } from '../run/hardware.ts';
import { JOBS, type Job } from '../run/jobs.ts';
import { decisive } from '../run/observe.ts';
import { expectDone, faultError } from '../run/outcome.ts';
import { presentChassis } from '../run/presence.ts';
import { lastState, type Missed, type Recorded, type Recorder } from '../run/record.ts';
import { releaseResets } from '../run/release-resets.ts';
import { RESET_HOLDER, resetHost } from '../run/reset-host.ts';
import type { RunOptions } from '../run/run.ts';
import type { RunEnd } from '../run/run-record.ts';
import { type RunResult, runSequence } from '../run/runner.ts';
import { createTrace, type Trace } from '../run/trace.ts';
import { faultText } from '../sequence/causes.ts';
import type { Plan } from '../sequence/plan.ts';
import { reconcile } from '../sequence/reconcile.ts';
import { type Fault, hasTag, type State } from '../sequence/state.ts';
import { type ChassisLock, diedAs, isLocked, lastHolder, lockChassis } from '../store/lock.ts';
import { snapshotPath } from '../store/paths.ts';
import { createSnapshotFile, type SnapshotStore } from '../store/snapshot.ts';
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
import { trackLevel } from './track-level.ts';

export type { ChassisView, Wanted } from './chassis-view.ts';
export type { Operation, Progress } from './operation.ts';
export type { Loss } from './resident-chart.ts';

export interface ResidentOptions {
  readonly chassis: number;
  readonly plan: Plan;
  /** Open as long as the resident lives. */
  readonly hardware: ChassisHardware;
  readonly clock: Clock;
  readonly flock: Flock;
  readonly runDir: string;
  readonly identity: { readonly bootId: string; readonly boardHash: string };
  readonly record: Recorder;
  /** The same of all chassis of this process. */
  readonly alarm: Alarm;
  /** Name of the error that the power supply is reported to have; empty where it is not. */
  readonly supplyError: () => string;
  readonly onChange: (now: ChassisView, before: ChassisView) => void;
  /** Reports a loss: the chassis lost its power while it was on, and everything is off. */
  readonly onLoss: (loss: Loss) => Promise<void>;
  /** Reports that the host has switched itself off while the chassis was on, and that everything is off. */
  readonly onHostOff: () => Promise<void>;
  /** Reports a power sequence that was requested, has failed and is over. Its requester gets the same error. Must not reject. */
  readonly onRequestFailed: (wanted: Wanted, error: unknown) => Promise<void>;
  /** A run is over, and its chassis still locked where it was. Must not throw, and waits for nothing. */
  readonly onRunOver: (run: ResidentRun) => void;
  readonly inspect?: Inspector | undefined;
}

/** A run of the service, for whoever keeps it. */
export interface ResidentRun extends RunEnd {
  /** `power on`, `power off`, or `watch` of a chassis that lost its power, or whose host switched itself off. */
  readonly asked: string;
  readonly by: string;
}

/** The service for one chassis. */
export interface Resident {
  readonly view: ChassisView;
  /**
   * To be called once this process is the only service. Finishes what an earlier service left half done when it died: a
   * power-off goes on, a power-on is taken down unless power is good by now, and a loss is reported.
   */
  begin(): void;
  /**
   * Requests power on or off. A request for what is under way already gets the same operation.
   * @param by who asks, for people
   */
  request(wanted: Wanted, by?: string): Operation;
  /** The operation that was requested last; null when none is under way. */
  readonly current: { readonly wanted: Wanted; readonly operation: Operation } | null;
  /**
   * Resets the host, of a chassis whose board has a line for it. A reset that is under way is the same one; a request for power
   * cuts it short. Rejects as `resetHost`, and INTERRUPTED once the service is to stop.
   */
  resetHost(): Promise<void>;
  /**
   * Releases resets that stayed asserted when the chassis came on. Returns those that are left, because power may be going. Rejects as
   * `releaseResets`, with CHASSIS_LOCKED while another process drives the chassis, and INTERRUPTED once the service is to stop.
   */
  releaseResets(names: readonly string[]): Promise<readonly string[]>;
  /** Longest time for pgood, for the sequences of this process. */
  setPgoodTimeoutMs(onTimeoutMs: number): void;
  /** Ends the watch, after an operation that is under way has come to rest. The lines stay as they are. */
  stop(reason: string): Promise<void>;
}

/** Name of this process in the lock. */
const HOLDER = 'serve';
/** The same while it releases resets of a chassis that is on. */
const RELEASE_HOLDER = 'serve: resets';
/** The same while it keeps what it told of a rail that the chassis does without. */
const MISS_HOLDER = 'serve: rails';
/** The same while it keeps that it has found the chassis on. */
const FOUND_HOLDER = 'serve: found';
/** Who asks for what nobody has asked for. */
const THE_SERVICE = 'the service itself';
/** A power sequence of another process ends within this time, or the request fails with CHASSIS_LOCKED. */
const LOCK_WAIT_MS = 60_000;
/** States in which the switching of an operation is over. */
const SWITCHED: Readonly<Record<Wanted, readonly State[]>> = {
  on: ['opWaitPowerOn', 'pgood'],
  off: ['opWaitPowerOff', 'off'],
};

/**
 * Starts the service for a chassis. It reads all lines and drives none. From then on it shows the state of the chassis,
 * watches the chassis while it is on, and runs power sequences. Oneshots and people may drive the chassis too: the lock
 * keeps them apart, and the state file shows each of them what the others did.
 *
 * Rejects with the HardwareError of a line that cannot be read.
 */
export async function createResident(options: ResidentOptions): Promise<Resident> {
  const { chassis, clock, inspect } = options;
  const id = `resident${chassis}`;
  const resources = resourcesOf(options);
  const resets = hostResetsOf(resources);
  const { state, sequence, observation } = await findChassis(
    resources,
    resources.openStore(),
    clock,
    JOBS.watch,
  );
  const actor: ResidentActor = startActor(
    providedWith(resources, () => actor),
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
    begin() {
      actor.send({ type: 'BEGIN' });
      resets.endThatOfDead();
    },
    request(wanted, by = THE_SERVICE) {
      resets.cut(`power ${wanted}`);
      const snapshot = actor.getSnapshot();
      const last = snapshot.context.requests.at(-1);
      if (last?.wanted === wanted && !snapshot.hasTag('closed')) return last.operation;
      const request = createPowerRequest(wanted, by, JOBS[wanted], operationViewOf(actor));
      if (snapshot.hasTag('closed')) request.settle(isStopping(chassis));
      else actor.send({ type: 'REQUESTED', request });
      return request.operation;
    },
    async resetHost() {
      if (actor.getSnapshot().hasTag('closed')) throw isStopping(chassis);
      await resets.reset();
    },
    async releaseResets(names) {
      if (actor.getSnapshot().hasTag('closed')) throw isStopping(chassis);
      return releaseHeld(resources, names);
    },
    setPgoodTimeoutMs(onTimeoutMs) {
      resources.plan = { ...resources.plan, pgood: { ...resources.plan.pgood, onTimeoutMs } };
    },
    async stop(reason) {
      resets.cut(reason);
      if (!actor.getSnapshot().hasTag('closed')) actor.send({ type: 'STOP', reason });
      await toPromise(actor);
      await resets.settled();
      await resources.held;
    },
  };
}

type ResidentActor = Actor<typeof residentChart>;
type Send = (event: ResidentEvent) => void;

/** What the actors of the chart work with. */
interface Resources extends Omit<ResidentOptions, 'plan' | 'onChange'> {
  plan: Plan;
  /** What was told of watches that ended though nobody had asked them to, since the last one that went well. */
  readonly watchTroubles: Set<string>;
  /** Of the state file that told last of a chassis that is on; null where none did. */
  onMark: string | null;
  /** The same as this process wrote it last, or found it when it began to watch and before it believed a loss. */
  knownMark: string | null;
  /** Over when this process has done all that it does under a lock that it does not wait for. */
  held: Promise<unknown>;
  /** It asks for the lock for such a thing, or has it. */
  isHolding: boolean;
  openStore(): SnapshotStore;
  lock(signal: AbortSignal, wanted: Wanted): Promise<ChassisLock>;
  warn(message: string): void;
  warnOf(error: unknown): void;
}

function resourcesOf(options: ResidentOptions): Resources {
  const { chassis, clock, flock, runDir, identity } = options;
  const resources: Resources = {
    ...options,
    watchTroubles: new Set(),
    onMark: null,
    knownMark: null,
    held: Promise.resolve(),
    isHolding: false,
    // Each use has a new one: a store remembers what it could not write, and other processes write this file too.
    openStore() {
      const store = createSnapshotFile(runDir, chassis, { ...identity, plan: resources.plan, clock });
      return {
        load: () => store.load(),
        save(state, sequence) {
          const problem = store.save(state, sequence);
          resources.knownMark = markOf(resources);
          return problem;
        },
      };
    },
    lock: (signal, wanted) =>
      lockChassis(runDir, chassis, HOLDER, {
        clock,
        flock,
        waitMs: LOCK_WAIT_MS,
        signal,
        onWait: (holder) =>
          resources.warn(
            `driven by another process (${holder || 'unknown'}): the power ${wanted} waits for it`,
          ),
        ...(wanted === 'off' && {
          onWithout: (why: string) => resources.warn(`${why}; powering off without a lock`),
        }),
      }),
    warn: (message) => options.record({ type: 'warning', message, atMs: clock.nowMs() }),
    warnOf: (error) => resources.warn(withoutChassis(chassis, error)),
  };
  return resources;
}

/** Resets of the host, one at a time. They are no part of the chart: the power stays, and the watch goes on. */
function hostResetsOf(resources: Resources) {
  let underWay: { readonly done: Promise<void>; readonly cutting: AbortController } | null = null;
  const begin = async (signal: AbortSignal): Promise<void> => {
    const { plan, hardware, clock, flock, runDir, openStore } = resources;
    try {
      await resources.held;
      await resetHost({ plan, hardware, clock, flock, runDir, store: openStore(), signal });
    } finally {
      underWay = null;
    }
  };
  let ending: Promise<void> = Promise.resolve();
  return {
    /** A process that died during a reset has left the host held. */
    endThatOfDead(): void {
      ending = endThatOfDead(resources);
    },
    reset(): Promise<void> {
      if (underWay === null) {
        const cutting = new AbortController();
        underWay = { cutting, done: begin(cutting.signal) };
      }
      return underWay.done;
    },
    /** Lets the host go at once. */
    cut: (reason: string) => underWay?.cutting.abort(reason),
    async settled(): Promise<void> {
      // Whoever asked has the error.
      await underWay?.done.catch(() => undefined);
      await ending;
    },
  };
}

/**
 * For what waits for no other process: what this one does so waits for itself alone. Rejects CHASSIS_LOCKED while another process has
 * the chassis.
 */
function underLock<Result>(
  resources: Resources,
  holder: string,
  work: () => Promise<Result>,
): Promise<Result> {
  const { runDir, chassis, clock, flock, held } = resources;
  const { signal } = new AbortController();
  const options = { clock, flock, waitMs: 0, signal, onWait: () => undefined };
  const done = held.then(async () => {
    resources.isHolding = true;
    try {
      const lock = await lockChassis(runDir, chassis, holder, options);
      return await work().finally(() => lock.release());
    } finally {
      resources.isHolding = false;
    }
  });
  // Whoever asked for it has the error.
  resources.held = done.catch(() => undefined);
  return done;
}

/** Under the lock, for no power sequence may begin meanwhile; and never after a loss that this process knows of. */
function releaseHeld(resources: Resources, names: readonly string[]): Promise<readonly string[]> {
  const { plan, hardware, clock, chassis, record, alarm, openStore } = resources;
  return underLock(resources, RELEASE_HOLDER, () => {
    const mayRelease = alarm.calmSince(chassis);
    return releaseResets(names, { plan, hardware, clock, store: openStore(), record, mayRelease });
  });
}

/**
 * A watch writes the state file under the lock alone. Where another process has it, that one drives, and tells by itself. Never rejects.
 * @param write returns why it could not be written; null where it was
 */
async function keep(
  resources: Resources,
  holder: string,
  write: () => Promise<string | null>,
): Promise<void> {
  try {
    const problem = await underLock(resources, holder, write);
    if (problem !== null) tellTrouble(resources, problem);
  } catch (error) {
    if (error instanceof PowerError && error.code === 'CHASSIS_LOCKED') return;
    tellTrouble(resources, withoutChassis(resources.chassis, error));
  }
}

/** A watch that ended is begun again twice a second: what keeps it from going on is told once. */
function tellTrouble({ watchTroubles, warn }: Resources, text: string): void {
  if (!watchTroubles.has(text)) warn(text);
  watchTroubles.add(text);
}

/** A watch told of a rail that the chassis does without: the next service is not to tell it again. */
function keepMiss(resources: Resources, { rail, miss }: Missed): Promise<void> {
  const { plan, hardware, clock, openStore } = resources;
  return keep(resources, MISS_HOLDER, async () => {
    const found = openStore().load().hint ?? (await findChassis({ plan, hardware }, openStore(), clock));
    // Read again: power may have gone meanwhile, and nothing is awaited from here to the end of the write.
    const store = openStore();
    const { state, sequence } = store.load().hint ?? found;
    const before = sequence.rails[rail];
    if (state !== 'pgood' || before === undefined) return null;
    const rails = { ...sequence.rails, [rail]: { ...before, missed: miss } };
    return store.save(state, { ...sequence, rails });
  });
}

/**
 * A chassis that is on, and no state file tells of it: the BMC started anew under it. Without one the lines of a chassis that has lost
 * its power look to the next process as those of a power-on that is under way.
 */
function keepFound(resources: Resources): Promise<void> {
  const { plan, hardware, clock, openStore } = resources;
  return keep(resources, FOUND_HOLDER, async () => {
    const store = openStore();
    if (store.load().hint !== null) return null;
    const { state, sequence } = await findChassis({ plan, hardware }, store, clock);
    // Power may have gone meanwhile, which the watch has written then. Nothing is awaited from here to the end of the write.
    if (state !== 'pgood' || openStore().load().hint !== null) return null;
    return store.save(state, sequence);
  });
}

async function endThatOfDead(resources: Resources): Promise<void> {
  const { hardware, runDir, chassis, warn, warnOf } = resources;
  if (diedAs(runDir, chassis) !== RESET_HOLDER) return;
  try {
    await underLock(resources, RESET_HOLDER, async () => {
      for (const role of await hardware.letGo()) warn(`${role} was left asserted: let go`);
    });
  } catch (error) {
    // Whoever drives the chassis lets it go before anything else.
    warnOf(error);
  }
}

/** The chart with its actors. */
function providedWith(resources: Resources, actor: () => ResidentActor) {
  return residentChart.provide({
    actors: {
      followPgood: fromCallback<ResidentEvent, boolean>(({ input: level, sendBack }) =>
        followPgood(resources, level, sendBack),
      ),
      followStateFile: fromCallback<ResidentEvent>(({ sendBack }) => followStateFile(resources, sendBack)),
      findState: fromPromise(() => findState(resources)),
      watchPower: fromCallback<EndWatch>(({ sendBack, receive }) => {
        const ending = new AbortController();
        receive(({ reason }) => ending.abort(reason));
        void watchPower(resources, ending.signal, sendBack);
      }),
      carryOut: fromCallback<ResidentEvent, PowerRequest>(({ input: request, sendBack }) => {
        void carryOut(resources, request, sendBack);
      }),
      isLeftHalfDone: fromPromise<boolean, State>(({ input: state }) => isLeftHalfDone(resources, state)),
      finishLeftBehind: fromCallback<ResidentEvent, State>(({ input: state, sendBack }) => {
        void finishLeftBehind(resources, state, operationViewOf(actor()), sendBack);
      }),
      tell: fromCallback<NewsEvent>(({ receive, sendBack }) => {
        receive((news) => {
          void tellNews(resources, news).finally(() =>
            sendBack({ type: 'NEWS_DELIVERED' } satisfies ResidentEvent),
          );
        });
      }),
    },
  });
}

/** Returns the function that ends it. */
function followPgood(resources: Resources, first: boolean, send: Send): () => void {
  const deglitchMs = () => resources.plan.pgood.deglitchMs;
  const { hardware, clock } = resources;
  const pgood = {
    read: async () => (await tellerOf(resources)).readGood(null),
    watch: (wake: () => void) => hardware.watchPgood(wake),
  };
  const { show, end } = afterDrives(resources, send);
  const untrack = trackLevel(pgood, clock, deglitchMs, first, {
    changed: (level) => show({ type: 'PGOOD_CHANGED', level }),
    unread(reason, believed) {
      const shown = `pgood is shown as it was read last, ${believed ? 'asserted' : 'not asserted'}`;
      resources.warn(reason === null ? 'pgood can be read again' : `${shown}: it cannot be read: ${reason}`);
      send({ type: 'PGOOD_UNREAD', reason });
    },
  });
  return () => {
    end();
    untrack();
  };
}

/**
 * What is only shown waits for the drives of every chassis that is losing its power. It is seen by who watches the chassis in the
 * same turn of the event loop, so it waits for the next one first. Sends in the order of the calls, and nothing any more once it
 * was ended.
 */
function afterDrives(
  { alarm, clock }: Pick<Resources, 'alarm' | 'clock'>,
  send: Send,
): { readonly show: Send; readonly end: () => void } {
  const ending = new AbortController();
  let last = Promise.resolve();
  const show = async (event: ResidentEvent): Promise<void> => {
    await pause(clock, 0, ending.signal);
    await alarm.over();
    if (!ending.signal.aborted) send(event);
  };
  return {
    show(event) {
      last = last.then(() => show(event));
    },
    end: () => ending.abort(),
  };
}

/** What tells of pgood: as the power-on has found it that the state file tells of, without rails that it left out. */
async function tellerOf({ plan, hardware, openStore }: Resources): Promise<ChassisHardware> {
  const isOptional = (rail: string) => plan.rails.some((each) => each.name === rail && each.isOptional);
  if (!plan.pgood.rails.some(isOptional)) return hardware;
  return (await presentChassis({ plan, hardware }, openStore().load().hint)).hardware;
}

/** Returns the function that ends it. */
function followStateFile(resources: Resources, send: Send): () => void {
  const { runDir, chassis, clock, warn } = resources;
  const { show, end } = afterDrives(resources, send);
  const unwatch = watchFile(snapshotPath(runDir, chassis), {
    clock,
    changed: () => show({ type: 'STATE_FILE_CHANGED' }),
    warn,
  });
  return () => {
    end();
    unwatch();
  };
}

/** The state that another process left; where there is none, the state that the lines show; null where they cannot be read. */
async function findState({ plan, hardware, clock, openStore, warnOf }: Resources): Promise<Found | null> {
  try {
    const { hint } = openStore().load();
    if (hint !== null) {
      const { fault } = hint.sequence;
      return { state: hint.state, fault: fault && faultText(fault) };
    }
    const present = await presentChassis({ plan, hardware }, null);
    const { observation, unreadable } = await present.hardware.observe();
    if (decisive(present.plan, unreadable).length > 0) return null;
    return { state: reconcile(present.plan, observation, null, clock.nowMs()).state };
  } catch (error) {
    warnOf(error);
    return null;
  }
}

/** Watches a chassis that is on until its power is lost, another process drives it, or `signal` ends the watch. */
async function watchPower(resources: Resources, signal: AbortSignal, send: Send): Promise<void> {
  const locks: ChassisLock[] = [];
  const trace = createTrace();
  const beganMs = resources.clock.nowMs();
  if (resources.openStore().load().hint === null) void keepFound(resources);
  const options = runOptions(resources, signal, send, trace);
  const store = watchStoreOf(resources);
  let result: RunResult | null = null;
  try {
    result = await runSequence(JOBS.watch, {
      ...options,
      store,
      record(entry) {
        options.record(entry);
        if (entry.type === 'missed') void keepMiss(resources, entry);
      },
      alarm: resources.alarm,
      superseded: () => isDrivenByAnother(resources),
      async onLowered() {
        // All enables are off by now, so a process that has the lock finds the chassis off.
        try {
          locks.push(await resources.lock(new AbortController().signal, 'off'));
        } catch (error) {
          resources.warnOf(error);
        }
        if (store.isRaisedByAnother())
          throw new PowerError(
            'CHASSIS_LOCKED',
            'another process has powered the chassis on again since the loss',
          );
      },
    });
    resources.watchTroubles.clear();
  } catch (error) {
    tellTrouble(resources, `the watch ended: ${withoutChassis(resources.chassis, error)}`);
  }
  const { entries, left } = trace;
  const hasHostLeft = result?.state === 'off' && entries.some(({ type }) => type === 'hostOff');
  if (result !== null && (result.state === 'failed' || hasHostLeft)) {
    const { chassis, onRunOver } = resources;
    const error = hasHostLeft ? null : faultError(chassis, result.sequence);
    onRunOver({ asked: 'watch', by: THE_SERVICE, entries, left, beganMs, ended: result.state, error });
  }
  for (const lock of locks) lock.release();
  // Reported when the watch is over and the lock is free: the units that are started for it need both.
  if (result?.state === 'failed') {
    send({ type: 'POWER_LOST', loss: { sequence: result.sequence, isOfBefore: false } });
  } else if (hasHostLeft) send({ type: 'HOST_LEFT' });
  send({ type: 'WATCH_ENDED' });
}

/** Asked on the way from a loss to the drives: a state file is read once as long as nobody writes another one. */
async function isDrivenByAnother(resources: Resources): Promise<boolean> {
  const { openStore } = resources;
  const mark = markOf(resources);
  if (mark === null || mark !== resources.onMark) {
    const { hint } = openStore().load();
    resources.onMark = hint?.state === 'pgood' ? mark : null;
    if (hint === null ? await isLockedByAnother(resources) : hint.state !== 'pgood') return true;
  }
  resources.knownMark = mark;
  return false;
}

/** A lock that this process asks for itself, or did while it looked, tells nothing of others. */
async function isLockedByAnother(resources: Resources): Promise<boolean> {
  const { runDir, chassis, held } = resources;
  if (resources.isHolding) return false;
  const isTaken = await isLocked(runDir, chassis, resources);
  return isTaken && held === resources.held;
}

/**
 * The state file as a watch keeps it, which writes without the lock until all is off: never over what another process wrote since.
 */
interface WatchStore extends SnapshotStore {
  /**
   * To be called once the lock is had. Returns whether another process powers the chassis on again, or has: what that one left is
   * true then. Otherwise what is kept from then on is kept.
   */
  isRaisedByAnother(): boolean;
}

function watchStoreOf(resources: Resources): WatchStore {
  const { openStore } = resources;
  const store = openStore();
  const isKnown = () => markOf(resources) === resources.knownMark;
  resources.knownMark = markOf(resources);
  return {
    load: () => store.load(),
    save: (state, sequence) => (isKnown() ? store.save(state, sequence) : null),
    isRaisedByAnother() {
      const state = isKnown() ? undefined : openStore().load().hint?.state;
      resources.knownMark = markOf(resources);
      return state !== undefined && (state === 'pgood' || hasTag(state, 'rising'));
    },
  };
}

function markOf({ runDir, chassis }: Resources): string | null {
  return fileMark(snapshotPath(runDir, chassis));
}

async function carryOut(resources: Resources, request: PowerRequest, send: Send): Promise<void> {
  const { wanted, by, job, signal } = request;
  const asked = `power ${wanted}`;
  let failure: unknown = null;
  try {
    const lock = await resources.lock(signal, wanted);
    send({ type: 'LOCK_TAKEN' });
    const trace = createTrace();
    const beganMs = resources.clock.nowMs();
    let error: unknown = null;
    try {
      const isSwitched = (entry: Recorded) => entry.type === 'state' && SWITCHED[wanted].includes(entry.to);
      const { record, ...options } = runOptions(resources, signal, send, trace);
      const result = await runSequence(job, {
        ...options,
        record(entry) {
          record(entry);
          if (isSwitched(entry)) send({ type: 'SWITCHED' });
        },
      });
      send({ type: 'STATE_ENTERED', state: result.state });
      expectDone(resources.chassis, asked, job, result);
    } catch (thrown) {
      error = thrown;
      throw thrown;
    } finally {
      const { entries, left } = trace;
      resources.onRunOver({ asked, by, entries, left, beganMs, ended: lastState(entries), error });
      lock.release();
    }
  } catch (error) {
    failure = error;
    send({ type: 'REQUEST_FAILED', wanted, error });
  }
  send({ type: 'OPERATION_ENDED', error: failure });
}

function runOptions(resources: Resources, signal: AbortSignal, send: Send, trace: Trace): RunOptions {
  const { plan, hardware, clock, openStore, supplyError } = resources;
  let fault: Fault | null = null;
  return {
    plan,
    hardware,
    clock,
    store: openStore(),
    signal,
    supplyError,
    record(entry) {
      trace.add(entry);
      resources.record(entry);
      if (entry.type === 'fault') fault = entry.fault;
      if (entry.type === 'diagnosis' && fault !== null) fault = { ...fault, diagnosis: entry.diagnosis };
      const isNews = entry.type === 'fault' || entry.type === 'diagnosis';
      if (isNews && fault !== null) send({ type: 'FAULT_RECORDED', reason: faultText(fault) });
      if (entry.type === 'state') send({ type: 'STATE_ENTERED', state: entry.to });
    },
  };
}

/**
 * Whether a service that died left a power sequence half done, and no other process goes on with it. Lines that show a chassis that is
 * on may be those of a power-on that nobody has finished: as long as the state file tells of one, no watch begins.
 */
async function isLeftHalfDone(resources: Resources, shown: State): Promise<boolean> {
  const { runDir, chassis, openStore, warnOf } = resources;
  const state = shown === 'pgood' ? (openStore().load().hint?.state ?? shown) : shown;
  if (!isHalfDone(state)) return false;
  try {
    // After a loss the power-off begins without the lock. Every other process that drives a fault has the lock.
    if (state === 'fault') return !(await isLocked(runDir, chassis, resources));
    return (await lastHolder(runDir, chassis, resources)) === HOLDER;
  } catch (error) {
    warnOf(error);
    return false;
  }
}

/** What is left of a power-on is taken down, unless power is good by now: nobody takes the power from a host that runs. */
async function finishOf(
  resources: Resources,
  state: State,
): Promise<{ readonly wanted: Wanted; readonly job: Job; readonly what: string }> {
  if (hasTag(state, 'lowering')) return { wanted: 'off', job: JOBS.waitOff, what: 'finishing the power off' };
  try {
    const found = await findChassis(resources, resources.openStore(), resources.clock);
    if (found.state === 'pgood') return { wanted: 'on', job: JOBS.waitOn, what: 'finishing the power on' };
  } catch (error) {
    resources.warnOf(error);
  }
  return { wanted: 'off', job: JOBS.off, what: 'taking down what it raised' };
}

async function finishLeftBehind(
  resources: Resources,
  shown: State,
  operationView: OperationView,
  send: Send,
): Promise<void> {
  const state = resources.openStore().load().hint?.state ?? shown;
  const { wanted, job, what } = await finishOf(resources, state);
  resources.warn(`the service ended in ${state} and left the chassis half powered: ${what}`);
  const request = createPowerRequest(wanted, THE_SERVICE, job, operationView);
  send({ type: 'REQUESTED', request });
  await request.operation.done.catch(resources.warnOf);
  // The file that the dead service left is older than what was finished here.
  send({ type: 'LEFT_BEHIND_FINISHED', sequence: resources.openStore().load().hint?.sequence ?? null });
}

async function tellNews(
  { onLoss, onHostOff, onRequestFailed, warnOf }: Resources,
  news: NewsEvent,
): Promise<void> {
  try {
    if (news.type === 'POWER_LOST') await onLoss(news.loss);
    else if (news.type === 'HOST_LEFT') await onHostOff();
    else await onRequestFailed(news.wanted, news.error);
  } catch (error) {
    warnOf(error);
  }
}

type OperationView = Parameters<typeof createPowerRequest>[3];

function operationViewOf(actor: ResidentActor): OperationView {
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

/** The text of an error without the number of the chassis, which each record has already. */
function withoutChassis(chassis: number, error: unknown): string {
  const text = errorText(error);
  const prefix = `chassis ${chassis}: `;
  return text.startsWith(prefix) ? text.slice(prefix.length) : text;
}
