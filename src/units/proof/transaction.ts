import type { JobMode, Model, ModelUnit } from './model.ts';

/**
 * What systemd makes of one request: the jobs it leads to, without those that contradict, and without those that have
 * nothing to do. The steps and their order are those of systemd 252, src/core/transaction.c, transaction_activate.
 */

export type JobType = 'start' | 'stop' | 'verify';
export type ActiveState = 'inactive' | 'activating' | 'active' | 'deactivating' | 'failed';

/** What a transaction is decided on. */
export interface Present {
  activeState(name: string): ActiveState;
  /** The job that is installed for a unit. */
  jobType(name: string): JobType | undefined;
}

export type Refusal = 'missing' | 'contradicting' | 'destructive';

interface Draft {
  readonly unit: string;
  type: JobType;
  matters: boolean;
  /** Who asks for this job. Null is the request itself. */
  readonly askedBy: Set<Link>;
  readonly asks: Set<Link>;
}

interface Link {
  readonly from: Draft;
  readonly to: Draft;
  readonly matters: boolean;
  readonly conflicts: boolean;
}

/** Both together are one job, or none can be. */
function merged(a: JobType, b: JobType): JobType | null {
  if (a === b) return a;
  return a === 'stop' || b === 'stop' ? null : 'start';
}

export function isConflicting(a: JobType, b: JobType): boolean {
  return merged(a, b) === null;
}

/** The jobs of a request by unit, in the order in which they were found, or why systemd refuses it. */
export function transactionOf(
  model: Model,
  present: Present,
  unit: string,
  type: JobType,
  mode: JobMode,
): Refusal | readonly { readonly unit: string; readonly type: JobType }[] {
  const transaction = new Transaction(model, present);
  return transaction.activate(unit, type, mode);
}

class Transaction {
  readonly #model: Model;
  readonly #present: Present;
  readonly #jobs = new Map<string, Draft[]>();
  #anchor: Draft | null = null;

  constructor(model: Model, present: Present) {
    this.#model = model;
    this.#present = present;
  }

  activate(unit: string, type: JobType, mode: JobMode): ReturnType<typeof transactionOf> {
    if (!this.#add(type, unit, null, true, false)) return 'missing';
    // What was added first stands last.
    const anchor = this.#jobs.get(unit)?.at(-1);
    this.#anchor = anchor ?? null;
    this.#findWhatMatters(anchor);
    if (mode === 'fail') this.#minimizeImpact();
    this.#dropRedundant();
    this.#collectGarbage();
    while (this.#hasContradiction()) {
      if (!this.#dropOneOfContradiction()) return 'contradicting';
      this.#collectGarbage();
    }
    for (const [name, drafts] of this.#jobs) {
      const whole = drafts.reduce<JobType>(
        (all, draft) => merged(all, draft.type) ?? all,
        drafts[0]?.type ?? 'start',
      );
      const [first] = drafts;
      if (!first) continue;
      const one = drafts.find((draft) => draft === this.#anchor) ?? first;
      one.type = whole;
      this.#jobs.set(name, [one]);
    }
    this.#dropRedundant();
    const jobs = [...this.#jobs.values()].flat().map((draft) => ({ unit: draft.unit, type: draft.type }));
    const isDestructive =
      mode === 'fail' &&
      jobs.some((job) => {
        const installed = this.#present.jobType(job.unit);
        return installed !== undefined && isConflicting(installed, job.type);
      });
    return isDestructive ? 'destructive' : jobs;
  }

  /** False where a unit that has to be there is not. */
  #add(type: JobType, name: string, from: Draft | null, matters: boolean, conflicts: boolean): boolean {
    const unit = this.#model.get(name);
    if (!unit) return false;
    const drafts = this.#jobs.get(name) ?? [];
    this.#jobs.set(name, drafts);
    let draft = drafts.find((each) => each.type === type);
    const isNew = draft === undefined;
    if (!draft) {
      draft = { unit: name, type, matters: false, askedBy: new Set(), asks: new Set() };
      drafts.unshift(draft);
    }
    if (from) {
      const link = { from, to: draft, matters, conflicts };
      from.asks.add(link);
      draft.askedBy.add(link);
    }
    return !isNew || this.#addDependencies(unit, draft);
  }

  #addDependencies(unit: ModelUnit, draft: Draft): boolean {
    if (draft.type === 'stop') {
      return unit.requiredBy.every((other) => this.#add('stop', other, draft, true, false));
    }
    if (draft.type === 'verify') return true;
    if (!unit.requires.every((other) => this.#add('start', other, draft, true, false))) return false;
    for (const other of unit.wants) this.#tryStart(other, draft);
    if (!unit.requisite.every((other) => this.#add('verify', other, draft, true, false))) return false;
    for (const other of unit.conflicts) this.#add('stop', other, draft, true, true);
    for (const other of unit.conflictedBy) this.#add('stop', other, draft, false, false);
    return true;
  }

  /** What is only wanted and cannot be started is left out; systemd leaves in what it has added of it by then. */
  #tryStart(name: string, from: Draft): void {
    this.#add('start', name, from, false, false);
  }

  #all(): Draft[] {
    return [...this.#jobs.values()].flat();
  }

  #findWhatMatters(draft: Draft | undefined): void {
    if (!draft || draft.matters) return;
    draft.matters = true;
    for (const link of draft.asks) if (link.matters) this.#findWhatMatters(link.to);
  }

  /** Mode `fail`: nothing that runs is stopped, and no job turned round, for what does not matter to the request. */
  #minimizeImpact(): void {
    for (const draft of this.#all()) {
      if (draft.matters || !this.#isIn(draft)) continue;
      const installed = this.#present.jobType(draft.unit);
      const stopsRunning =
        draft.type === 'stop' && ['active', 'activating'].includes(this.#present.activeState(draft.unit));
      const turnsRound = installed !== undefined && isConflicting(draft.type, installed);
      if (stopsRunning || turnsRound) this.#delete(draft, true);
    }
  }

  #dropRedundant(): void {
    for (const [name, drafts] of [...this.#jobs]) {
      const active = this.#present.activeState(name);
      const installed = this.#present.jobType(name);
      const isRedundant = drafts.every(
        (draft) =>
          draft !== this.#anchor &&
          (draft.type === 'stop' ? ['inactive', 'failed'] : ['active']).includes(active) &&
          !(installed !== undefined && isConflicting(draft.type, installed)),
      );
      if (isRedundant) for (const draft of [...drafts]) this.#delete(draft, false);
    }
  }

  #collectGarbage(): void {
    for (;;) {
      const unasked = this.#all().find((draft) => draft !== this.#anchor && draft.askedBy.size === 0);
      if (!unasked) return;
      this.#delete(unasked, true);
    }
  }

  #hasContradiction(): boolean {
    return [...this.#jobs.values()].some((drafts) =>
      drafts.some((a) => drafts.some((b) => isConflicting(a.type, b.type))),
    );
  }

  #dropOneOfContradiction(): boolean {
    for (const drafts of this.#jobs.values()) {
      for (const [index, a] of drafts.entries()) {
        for (const b of drafts.slice(index + 1)) {
          if (!isConflicting(a.type, b.type)) continue;
          const dropped = this.#lessImportant(a, b);
          if (dropped) this.#delete(dropped, true);
          return dropped !== null;
        }
      }
    }
    return false;
  }

  #lessImportant(a: Draft, b: Draft): Draft | null {
    if (a.matters && b.matters) return null;
    if (a.matters) return b;
    if (b.matters) return a;
    const isConflicted = (draft: Draft) => [...draft.askedBy].some((link) => link.conflicts);
    if (a.type === 'stop') return isConflicted(a) ? b : a;
    if (b.type === 'stop') return isConflicted(b) ? a : b;
    return a;
  }

  #isIn(draft: Draft): boolean {
    return this.#jobs.get(draft.unit)?.includes(draft) ?? false;
  }

  /** With `others` goes whoever cannot be without this job. */
  #delete(draft: Draft, others: boolean): void {
    if (!this.#isIn(draft)) return;
    const left = (this.#jobs.get(draft.unit) ?? []).filter((each) => each !== draft);
    if (left.length > 0) this.#jobs.set(draft.unit, left);
    else this.#jobs.delete(draft.unit);
    for (const link of draft.asks) link.to.askedBy.delete(link);
    for (const link of draft.askedBy) {
      link.from.asks.delete(link);
      if (others && link.matters) this.#delete(link.from, true);
    }
    draft.asks.clear();
    draft.askedBy.clear();
  }
}
