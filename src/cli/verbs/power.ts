import { CodedError } from '../../../hw/errors.ts';
import { chassisOf, type LoadedBoard, loadBoard } from '../../board/load.ts';
import { PowerError } from '../../errors.ts';
import { isDrawnOver, jsonReporter, lineReporter } from '../../report/lines.ts';
import { openChassis } from '../../run/hardware.ts';
import type { Job } from '../../run/jobs.ts';
import { JOBS } from '../../run/jobs.ts';
import { expectDone } from '../../run/outcome.ts';
import { lastState, type Missed, type Recorded, type Recorder } from '../../run/record.ts';
import type { RunOptions } from '../../run/run.ts';
import { type RunResult, runSequence } from '../../run/runner.ts';
import { type Plan, planOf } from '../../sequence/plan.ts';
import { powerSeen, type State } from '../../sequence/state.ts';
import type { Wanted } from '../../service/resident.ts';
import { failureEntry, missEntry } from '../../service/tell-event-log.ts';
import { type ChassisLock, lockChassis } from '../../store/lock.ts';
import { forgetOnMarker } from '../../store/on-marker.ts';
import { createSnapshotFile } from '../../store/snapshot.ts';
import type { UnitManager } from '../../system/ports.ts';
import { WARNING, writeLine } from '../../system/severity.ts';
import { putRight, type Routed, routeFailure } from '../../units/route.ts';
import { type EventData, eventData } from '../event-data.ts';
import { EXIT } from '../exit.ts';
import { keepRest } from '../keep-rest.ts';
import { keepRun } from '../keep-run.ts';
import { tellEnd, tellMiss } from '../tell-event.ts';
import type { Invocation, Verb } from '../verb.ts';
import type { World } from '../world.ts';

/** The jobs of each verb, in their order. */
const JOBS_OF: Readonly<Record<string, readonly Job[]>> = {
  start: [JOBS.start],
  'wait-on': [JOBS.waitOn],
  stop: [JOBS.stop],
  'wait-off': [JOBS.waitOff],
  on: [JOBS.on],
  off: [JOBS.off],
  cycle: [JOBS.off, JOBS.on],
  clear: [JOBS.clear],
};

/** Verbs that go on where a part of the chassis cannot be reached. */
const POWERS_OFF = ['stop', 'off'];
/** Verbs that run without a lock on a machine where no process can take one. */
const WITHOUT_LOCK = [...POWERS_OFF, 'wait-off'];
/** Verbs that wait until another process releases the chassis. The others fail at once: a person is waiting for them. */
const PATIENT = ['start', 'wait-on', 'stop', 'wait-off', 'off'];
/** Time for a power sequence of another process to end. The units' TimeoutStartSec= counts on it. */
const LOCK_WAIT_MS = 60_000;
/** Verbs that only continue an earlier request. */
const WAITS = ['wait-on', 'wait-off'];
/** Verbs that look whether they have something to do before anything else (`at-rest.ts`). */
const STAGES_ON = ['start', 'wait-on'];
/** The power state that a verb wants, for the verbs whose failure goes to the event log. */
const WANTED: Readonly<Record<string, Wanted>> = {
  start: 'on',
  'wait-on': 'on',
  on: 'on',
  cycle: 'on',
  stop: 'off',
  'wait-off': 'off',
  off: 'off',
};
/** Verbs that show the live view on a terminal. */
const WATCHED = ['on', 'off', 'cycle'];

/** What a run that failed told, for the event log and the journal. */
const TOLD = new WeakMap<PowerError, { readonly data: EventData; readonly missed: readonly Missed[] }>();

/** All verbs that may drive a line: they lock the chassis, open its lines, run their jobs and report the result. */
export const power: Verb = {
  async run(invocation, world) {
    const { verb, chassis } = invocation;
    const beganMs = world.clock.nowMs();
    const { state, isNews, missed } = await drive(invocation, world);
    if (state === 'pgood' || state === 'off') {
      // On a terminal, or with --json, the time is told with the states already.
      if (isNews && world.stdout.journal && WANTED[verb] !== undefined) {
        await tellEnd(state, { chassis, verb, elapsedMs: world.clock.nowMs() - beganMs }, world);
      }
      // A process that runs as a unit reports by its exit code.
      await tellSystemd(invocation, world, async (units) => {
        const routed = await putRight(units, chassis, state === 'pgood');
        return routed === null ? [] : [routed];
      });
    }
    await tellMissed(missed, invocation, world);
    return EXIT.ok;
  },

  async afterError(error, invocation, world) {
    await tellFailure(error, invocation, world);
    if (!(error instanceof PowerError) || typeof error.details.powerStillApplied !== 'boolean') return;
    const { powerStillApplied } = error.details;
    await tellSystemd(invocation, world, (units) =>
      routeFailure(units, invocation.chassis, { powerStillApplied }),
    );
    await tellMissed(TOLD.get(error)?.missed ?? [], invocation, world);
  },
};

/** The end of a verb that did what it was asked for. */
interface End {
  /** State in which its last job ended. */
  readonly state: State | null;
  /** It is not what the last process knew. */
  readonly isNews: boolean;
  /** Rails that the chassis does without, as they were told. */
  readonly missed: readonly Missed[];
}

/** Runs the jobs of the verb. */
async function drive(invocation: Invocation, world: World): Promise<End> {
  const { verb, chassis: number } = invocation;
  const loaded = await loadBoard(invocation.boardPath);
  const chassis = chassisOf(loaded, number);
  const plan = planOf(chassis, loaded.board.devices);
  const recording: Recorded[] = [];
  const beganMs = world.clock.nowMs();
  try {
    const lock = await lockFor(invocation, world);
    let ended: State | null = null;
    let failure: unknown = null;
    try {
      ended = await runOn(loaded, plan, recording, invocation, world);
      if (STAGES_ON.includes(verb)) await keepRest(invocation, loaded, recording, world);
      const isNews = recording.some((entry) => reaches(entry, ended));
      return { state: ended, isNews, missed: missedIn(recording) };
    } catch (error) {
      failure = error;
      if (error instanceof PowerError) {
        TOLD.set(error, { data: eventData(chassis, recording), missed: missedIn(recording) });
      }
      throw error;
    } finally {
      const board = { name: loaded.board.name, hash: loaded.hash };
      const entries = recording;
      await keepRun(
        invocation,
        { plan, asked: verb, board },
        { entries, beganMs, ended: ended ?? lastState(entries), error: failure },
        world,
      );
      lock.release();
    }
  } finally {
    // Written last, when the chassis is unlocked: a picture must not delay the next command.
    if (recording.length > 0) await writeSvg(invocation, plan, recording, world);
  }
}

/** Opens the lines and runs the jobs of the verb on them. */
async function runOn(
  loaded: LoadedBoard,
  plan: Plan,
  recording: Recorded[],
  invocation: Invocation,
  world: World,
): Promise<State | null> {
  const { verb, chassis: number, runDir } = invocation;
  // Read first: where descriptors are short, a power-off may have the last ones for its lines.
  const { clock } = world;
  const identity = { bootId: world.bootId(), boardHash: loaded.hash, plan, clock };
  const report = await reporterFor(invocation, plan, world);
  const hardware = await openChassis(loaded.board, number, world, {
    whatCanBeHad: POWERS_OFF.includes(verb),
  });
  try {
    return await runJobs(
      invocation,
      {
        plan,
        hardware,
        clock,
        store: createSnapshotFile(runDir, number, identity),
        record: (entry: Recorded) => {
          recording.push(entry);
          report(entry);
        },
        signal: world.signal,
        abandon: world.abandon,
      },
      world,
    );
  } finally {
    await hardware.close();
  }
}

/** Whether the chassis came to `state` with this: it was brought there, or found there and expected elsewhere. */
function reaches(entry: Recorded, state: State | null): boolean {
  if (entry.type === 'state') return entry.to === state;
  return entry.type === 'reconciled' && entry.state === state && ![null, state].includes(entry.hint);
}

async function runJobs(
  { verb, chassis }: Invocation,
  options: RunOptions,
  world: World,
): Promise<State | null> {
  let state: State | null = null;
  for (const job of JOBS_OF[verb] ?? []) {
    const result = await runSequence(job, options);
    forgetMarker(chassis, result, world);
    expectDone(chassis, verb, job, result);
    ({ state } = result);
  }
  return state;
}

function lockFor({ verb, chassis, runDir }: Invocation, world: World): Promise<ChassisLock> {
  return lockChassis(runDir, chassis, verb, {
    clock: world.clock,
    flock: world.flock,
    waitMs: PATIENT.includes(verb) ? LOCK_WAIT_MS : 0,
    signal: world.signal,
    onWait: (holder) =>
      warn(`chassis ${chassis} is driven by another process (${holder || 'unknown'}): waiting for it`, world),
    ...(WITHOUT_LOCK.includes(verb) && {
      onWithout: (why: string) => warn(`${why}; powering off without a lock`, world),
    }),
  });
}

/** A chassis without power is not "on" for the other units of an OpenBMC image either. */
function forgetMarker(chassis: number, { sequence }: RunResult, world: World): void {
  if (powerSeen(sequence)) return;
  const problem = forgetOnMarker(world.openbmcRunDir, chassis);
  if (problem !== null) warn(problem, world);
}

/**
 * Starts units for what happened outside of systemd. A systemd that cannot be reached changes nothing about the
 * chassis, so that is a warning on stderr and not a failure of the verb.
 */
async function tellSystemd(
  { json }: Invocation,
  world: World,
  tell: (units: UnitManager) => Promise<readonly Routed[]>,
): Promise<void> {
  if (world.systemd !== 'present') return;
  const leaving = new Promise<readonly Routed[]>((resolve) => {
    world.abandon.addEventListener('abort', () => resolve([]));
    if (world.abandon.aborted) resolve([]);
  });
  try {
    const units = await world.units();
    try {
      for (const { unit, result } of await Promise.race([tell(units), leaving])) {
        if (result !== 'done') warn(`systemd was told, but ${unit} ended "${result}"`, world);
        else if (!json) world.stdout.write(`systemd was told: ${unit} started\n`);
      }
    } finally {
      await units.close();
    }
  } catch (error) {
    if (!(error instanceof CodedError)) throw error;
    warn(`systemd could not be told: ${error.message}`, world);
  }
}

/**
 * Reports a power sequence that failed to the event log, in one try: a stage that waited here would keep systemd from
 * routing its failure. Does nothing on a bench, or for a simulated chassis.
 */
async function tellFailure(error: unknown, { verb, chassis, json }: Invocation, world: World): Promise<void> {
  const wanted = WANTED[verb];
  if (world.systemd === 'absent' || wanted === undefined) return;
  if (!(error instanceof CodedError) || error.code === 'INTERRUPTED') return;
  // At a shell the user sees why nothing was begun, and the stage before this one has reported its own failure.
  const hasRun = typeof error.details.powerStillApplied === 'boolean';
  if (!hasRun && (world.systemd === 'present' || WAITS.includes(verb))) return;
  try {
    const eventLog = await world.eventLog();
    const { data = {} } = (error instanceof PowerError && TOLD.get(error)) || {};
    const isTaken = await eventLog.create(failureEntry(chassis, error, { wanted, data }));
    if (isTaken && !json) world.stdout.write('the event log was told\n');
  } catch (problem) {
    if (!(problem instanceof CodedError)) throw problem;
    warn(`the event log was not told: ${problem.message}`, world);
  }
}

function missedIn(recording: readonly Recorded[]): readonly Missed[] {
  return recording.filter((entry) => entry.type === 'missed');
}

/**
 * Tells the journal and the event log of rails that the chassis does without, all at a time: what hangs holds up the end of the verb once, and
 * switches nothing.
 */
async function tellMissed(
  missed: readonly Missed[],
  { verb, chassis }: Invocation,
  world: World,
): Promise<void> {
  if (missed.length === 0) return;
  const { journal } = world.stdout;
  const events = journal
    ? missed.map((each) => tellMiss(each, { chassis, verb, elapsedMs: null }, world))
    : [];
  await Promise.all([...events, logMissed(missed, chassis, world)]);
}

/** In one try, as of a failure. */
async function logMissed(missed: readonly Missed[], chassis: number, world: World): Promise<void> {
  if (world.systemd === 'absent') return;
  try {
    const eventLog = await world.eventLog();
    await Promise.all(missed.map((each) => eventLog.create(missEntry(chassis, each))));
  } catch (problem) {
    if (!(problem instanceof CodedError)) throw problem;
    warn(`the event log was not told: ${problem.message}`, world);
  }
}

function warn(text: string, world: World): void {
  writeLine(world.stderr, WARNING, `${world.programName}: ${text}`);
}

async function reporterFor({ verb, json, chassis }: Invocation, plan: Plan, world: World): Promise<Recorder> {
  if (json) return jsonReporter(world.stdout);
  if (WATCHED.includes(verb) && isDrawnOver(world.stdout, world.env)) {
    return (await import('../../report/live-view.ts')).liveReporter(world.stdout, plan);
  }
  return lineReporter(world.stdout, chassis);
}

async function writeSvg(
  invocation: Invocation,
  plan: Plan,
  recording: readonly Recorded[],
  world: World,
): Promise<void> {
  const path = invocation.option('svg');
  if (path === undefined) return;
  const { writePicture } = await import('../write-picture.ts');
  // A picture that cannot be written is a warning: the exit code is the sequence's.
  const title = `chassis ${invocation.chassis}: ${invocation.verb}`;
  const isWritten = await writePicture(path, recording, plan, title, world);
  if (isWritten && !invocation.json) world.stdout.write(`timing diagram: ${path}\n`);
}
