import type { JobMode, Model, ModelUnit } from './model.ts';
import { type ActiveState, isConflicting, type JobType, type Refusal, transactionOf } from './transaction.ts';

/**
 * A model of systemd's manager: jobs, their order, and what the end of one does to others. It follows systemd 252,
 * src/core/job.c and src/core/unit.c. Time does not pass in it: a process ends when its end is told.
 */

export interface Job {
  readonly type: JobType;
  readonly isRunning: boolean;
}

/** Everything that decides what happens next. Units that are inactive and without a job are left out. */
export interface ManagerState {
  readonly active: Readonly<Record<string, ActiveState>>;
  /** Jobs by unit, the oldest first. */
  readonly jobs: Readonly<Record<string, Job>>;
}

export const NOTHING_RUNS: ManagerState = { active: {}, jobs: {} };

/** What happened to the processes and units, in order. */
export type ManagerEvent =
  | { readonly type: 'processStarts' | 'processAskedToEnd'; readonly unit: string }
  | { readonly type: 'jobQueued'; readonly unit: string; readonly job: JobType }
  | { readonly type: 'jobEnds'; readonly unit: string; readonly job: JobType; readonly result: JobResult }
  | { readonly type: 'unitFails'; readonly unit: string };

export type JobResult = 'done' | 'failed' | 'dependency' | 'canceled' | 'skipped';

/** How a process ends. `unclean` is an exit code or a signal that counts as a failure, a time limit among them. */
export type ProcessEnd = 'clean' | 'unclean';

/**
 * Jobs that one step may lead to. systemd itself has no limit: two units that start each other when they fail keep it busy
 * for ever.
 */
const MOST_JOBS = 10_000;

/** Failures lead to each other without end. */
export class EndlessJobs extends Error {}

/** The manager from one state on. It is used for one step, and then asked for the state it came to. */
export class Manager {
  readonly #model: Model;
  readonly #active: Map<string, ActiveState>;
  readonly #jobs: Map<string, { type: JobType; isRunning: boolean }>;
  readonly #maybeUnneeded = new Set<string>();
  #jobsOfStep = 0;
  readonly events: ManagerEvent[] = [];

  constructor(model: Model, state: ManagerState) {
    this.#model = model;
    this.#active = new Map(Object.entries(state.active));
    this.#jobs = new Map(Object.entries(state.jobs).map(([unit, job]) => [unit, { ...job }]));
  }

  state(): ManagerState {
    const active = [...this.#active].filter(([, state]) => state !== 'inactive').sort(byName);
    const jobs = [...this.#jobs].map(([unit, job]): [string, Job] => [unit, { ...job }]);
    return { active: Object.fromEntries(active), jobs: Object.fromEntries(jobs) };
  }

  activeState(name: string): ActiveState {
    return this.#active.get(name) ?? 'inactive';
  }

  jobType(name: string): JobType | undefined {
    return this.#jobs.get(name)?.type;
  }

  /** A request of somebody, and all that follows from it until something has to happen outside. */
  request(type: 'start' | 'stop', name: string, mode: JobMode = 'replace'): Refusal | null {
    const refusal = this.#enqueue(type, name, mode);
    this.#settle();
    return refusal;
  }

  /** The process of a unit ended, by itself or because it was asked to. */
  processEnds(name: string, end: ProcessEnd): void {
    const unit = this.#unit(name);
    const before = this.activeState(name);
    if (end === 'unclean') this.#become(unit, 'failed');
    else if (before === 'deactivating') this.#become(unit, 'inactive');
    else this.#become(unit, unit.remainsAfterExit ? 'active' : 'inactive');
    this.#settle();
  }

  /** Units whose process runs. */
  running(): string[] {
    return [...this.#active]
      .filter(([, state]) => state === 'activating' || state === 'deactivating')
      .map(([name]) => name)
      .sort();
  }

  #unit(name: string): ModelUnit {
    const unit = this.#model.get(name);
    if (!unit) throw new RangeError(`${name} is not in the model`);
    return unit;
  }

  #enqueue(type: JobType, name: string, mode: JobMode): Refusal | null {
    const jobs = transactionOf(this.#model, this, name, type, mode);
    if (typeof jobs === 'string') return jobs;
    const asked = new Set(jobs.map(({ unit }) => unit));
    if (mode === 'flush') {
      for (const unit of [...this.#jobs.keys()]) if (!asked.has(unit)) this.#endJob(unit, 'canceled', false);
    }
    for (const job of jobs) this.#install(job.unit, job.type);
    return null;
  }

  #install(unit: string, type: JobType): void {
    this.#jobsOfStep += 1;
    if (this.#jobsOfStep > MOST_JOBS)
      throw new EndlessJobs(`jobs of ${unit} and others follow each other for ever`);
    const installed = this.#jobs.get(unit);
    if (installed && isConflicting(installed.type, type)) this.#endJob(unit, 'canceled', false);
    else if (installed) {
      // A start that runs serves the one who asks to know whether the unit is active too.
      if (installed.type === 'verify' && type === 'start') {
        installed.type = 'start';
        installed.isRunning = false;
      }
      this.events.push({ type: 'jobQueued', unit, job: type });
      return;
    }
    this.#jobs.set(unit, { type, isRunning: false });
    this.events.push({ type: 'jobQueued', unit, job: type });
  }

  #settle(): void {
    do {
      this.#runJobs();
    } while (this.#stopOneUnneeded());
  }

  #runJobs(): void {
    for (;;) {
      const next = [...this.#jobs.keys()].find((name) => this.#canRun(name));
      if (next === undefined) return;
      this.#run(next);
    }
  }

  /** Waiting, and whatever it has to follow has no job that goes first (job_compare: a stop goes before anything). */
  #canRun(name: string): boolean {
    const job = this.#jobs.get(name);
    if (!job || job.isRunning || !this.#isReady(name, job.type)) return false;
    const unit = this.#unit(name);
    const goesFirst = (other: string, isAfter: boolean): boolean => {
      const theirs = this.#jobs.get(other);
      if (!theirs) return false;
      return isAfter ? job.type !== 'stop' : theirs.type === 'stop';
    };
    return (
      !unit.after.some((other) => goesFirst(other, true)) &&
      !unit.before.some((other) => goesFirst(other, false))
    );
  }

  /** A unit that is still on its way into the other direction is not. */
  #isReady(name: string, type: JobType): boolean {
    const active = this.activeState(name);
    if (type === 'start') return active !== 'deactivating';
    if (type === 'verify') return active !== 'activating';
    return true;
  }

  #run(name: string): void {
    const unit = this.#unit(name);
    const job = this.#jobs.get(name);
    if (!job) return;
    const active = this.activeState(name);
    job.isRunning = true;
    if (job.type === 'verify') this.#endJob(name, active === 'active' ? 'done' : 'skipped', true);
    else if (job.type === 'start') this.#start(unit, active);
    else this.#stop(unit, active);
  }

  #start(unit: ModelUnit, active: ActiveState): void {
    if (active === 'active') this.#endJob(unit.name, 'done', true);
    else if (active === 'activating') return;
    else if (unit.kind === 'target') this.#become(unit, 'active');
    else {
      this.events.push({ type: 'processStarts', unit: unit.name });
      this.#become(unit, unit.kind === 'oneshot' ? 'activating' : 'active');
    }
  }

  #stop(unit: ModelUnit, active: ActiveState): void {
    if (active === 'inactive' || active === 'failed') this.#endJob(unit.name, 'done', true);
    else if (active === 'activating') {
      this.events.push({ type: 'processAskedToEnd', unit: unit.name });
      this.#become(unit, 'deactivating');
    } else if (active === 'active') this.#become(unit, 'inactive');
  }

  /** unit_notify. */
  #become(unit: ModelUnit, to: ActiveState): void {
    this.#active.set(unit.name, to);
    this.#tellJob(unit.name, to);
    if (to === 'failed') {
      this.events.push({ type: 'unitFails', unit: unit.name });
      this.#startOnFailure(unit);
    }
    if (to === 'inactive' || to === 'failed') {
      for (const other of [...unit.requires, ...unit.wants, ...unit.requisite])
        this.#maybeUnneeded.add(other);
    }
    this.#maybeUnneeded.add(unit.name);
  }

  #tellJob(name: string, to: ActiveState): void {
    const job = this.#jobs.get(name);
    if (!job?.isRunning) return;
    if (job.type === 'stop') {
      if (to === 'inactive' || to === 'failed') this.#endJob(name, 'done', true);
    } else if (to === 'active') this.#endJob(name, 'done', true);
    else if (to === 'failed') this.#endJob(name, 'failed', true);
    else if (to === 'inactive') this.#endJob(name, 'done', true);
  }

  /** job_finish_and_invalidate. `tells` whoever waits for it. */
  #endJob(name: string, result: JobResult, tells: boolean): void {
    const job = this.#jobs.get(name);
    if (!job) return;
    this.#jobs.delete(name);
    this.events.push({ type: 'jobEnds', unit: name, job: job.type, result });
    const unit = this.#unit(name);
    if (result !== 'done' && tells) {
      this.#failWaiting(job.type === 'stop' ? unit.conflictedBy : unit.requiredBy);
    }
    // A start that ends well without making the unit active is what Requisite= asks about.
    if (result === 'done' && tells && job.type === 'start' && this.activeState(name) !== 'active') {
      this.#failWaiting(unit.requisiteOf);
    }
    if (result === 'dependency') this.#startOnFailure(unit);
  }

  /** job_fail_dependencies. */
  #failWaiting(units: readonly string[]): void {
    for (const other of units) {
      const waiting = this.#jobs.get(other);
      if (waiting && waiting.type !== 'stop') this.#endJob(other, 'dependency', true);
    }
  }

  #startOnFailure(unit: ModelUnit): void {
    for (const other of unit.onFailure) this.#enqueue('start', other, unit.onFailureMode);
  }

  #stopOneUnneeded(): boolean {
    for (const name of this.#maybeUnneeded) {
      this.#maybeUnneeded.delete(name);
      if (!this.#isUnneeded(this.#model.get(name))) continue;
      this.#enqueue('stop', name, 'fail');
      return true;
    }
    return false;
  }

  /** unit_is_unneeded. */
  #isUnneeded(unit: ModelUnit | undefined): boolean {
    if (!unit?.stopsWhenUnneeded || this.activeState(unit.name) !== 'active' || this.#jobs.has(unit.name)) {
      return false;
    }
    return ![...unit.requiredBy, ...unit.wantedBy].some(
      (other) => this.#jobs.has(other) || !['inactive', 'failed'].includes(this.activeState(other)),
    );
  }
}

function byName([a]: readonly [string, unknown], [b]: readonly [string, unknown]): number {
  return a < b ? -1 : 1;
}
