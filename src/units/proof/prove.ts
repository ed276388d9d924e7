import { CURRENT, LEGACY, unitsOf } from '../names.ts';
import type { UnitGraph } from '../unit-graph.ts';
import { EndlessJobs, Manager, type ManagerState, NOTHING_RUNS, type ProcessEnd } from './manager.ts';
import { type Model, modelOf, startedBy } from './model.ts';

/**
 * Explores what the units of a chassis can come to: every order of requests, ends of processes and failures, up to a
 * number of requests and a number of failures. Time limits are ends like any other.
 */

/** What must hold whenever systemd is at rest: no job is left and no stage runs. */
export const RULES = {
  onWithoutPower: 'No unit of the power-on side is active over a chassis without power.',
  offWithPower: 'No power-off target is active over a chassis with power.',
  failureNotRouted: 'A stage that failed has led to a power-off or to quiesce.',
  onDoesNotPower: 'A power-on request that meets no failure ends with power and with its target active.',
  offDoesNotUnpower:
    'A power-off request that meets no failure ends without power and with its target active.',
  refused: 'systemd takes every request for power.',
  endless: 'systemd comes to rest.',
} as const;
export type Rule = keyof typeof RULES;

export interface UnitViolation {
  readonly rule: Rule;
  readonly sentence: string;
  /** Where it shows: units, power. */
  readonly what: string;
  /** What happened, in order; none of fewer steps leads there. */
  readonly story: readonly string[];
}

export interface UnitProof {
  readonly chassis: number;
  readonly flavour: 'legacy' | 'current';
  readonly limits: ProofLimits;
  readonly units: number;
  readonly states: number;
  readonly steps: number;
  /** False: there were more states than were looked at, and nothing is proved. */
  readonly isComplete: boolean;
  /** The shortest way to break each rule that can be broken. */
  readonly violations: readonly UnitViolation[];
}

export interface ProofLimits {
  readonly requests: number;
  readonly failures: number;
}

type Role = 'start' | 'waitOn' | 'stop' | 'waitOff' | 'adopt' | 'switchOn' | 'other';

/** The units of a chassis by what they are for. */
interface Parts {
  readonly flavour: 'legacy' | 'current';
  readonly roleOf: (unit: string) => Role;
  /** A process that does not go on when it is asked to end: a call of `busctl` or `systemctl` in a unit of others. */
  readonly endsAtOnce: (unit: string) => boolean;
  readonly onTarget: string;
  readonly offTarget: string;
  /** A failure has to lead to one of them. */
  readonly routes: readonly string[];
  /** Whether a power-off that fails has to lead further. Beside phosphor-state-manager nothing does (`routeFailure`). */
  readonly routesPowerOff: boolean;
  /** What the service starts when the power is lost, and when it could not be taken down then. */
  readonly onLoss: readonly string[];
  readonly onLossWithPower: readonly string[];
  /** Whoever may ask for something: what is asked for, and what it is called in a story. */
  readonly requests: readonly string[];
}

interface Situation {
  readonly manager: ManagerState;
  /** An enable is on, or nobody knows that it is not. */
  readonly isPowered: boolean;
  /** A stage failed, and nothing was asked for because of it. */
  readonly isOpen: boolean;
  /** The service sees to it that systemd no longer has the chassis for on (src/service/tell-loss.ts). */
  readonly isLossTold: boolean;
  readonly requests: number;
  readonly failures: number;
}

interface Visit {
  readonly situation: Situation;
  readonly from: Visit | null;
  readonly step: string;
}

type Found = (rule: Rule, what: string, visit: Visit) => void;

/** More than a hundred times what the shipped units come to. */
const MOST_STATES = 500_000;

/** The proof for the units of one chassis; null where the tree has no power-on target for it. */
export function proveUnits(graph: UnitGraph, chassis: number, limits: ProofLimits): UnitProof | null {
  const parts = partsOf(graph, chassis);
  if (!parts) return null;
  const model = modelOf(graph, parts.requests);
  const violations = new Map<Rule, UnitViolation>();
  const found: Found = (rule, what, visit) => {
    if (!violations.has(rule))
      violations.set(rule, { rule, sentence: RULES[rule], what, story: storyOf(visit) });
  };
  const explorer = new Explorer(model, parts, found);
  const first: Situation = {
    manager: NOTHING_RUNS,
    isPowered: false,
    isOpen: false,
    isLossTold: true,
    requests: limits.requests,
    failures: limits.failures,
  };
  // A BMC that starts finds the chassis off or on.
  explorer.explore([
    { situation: first, from: null, step: 'the BMC starts, the chassis has no power' },
    { situation: { ...first, isPowered: true }, from: null, step: 'the BMC starts, the chassis has power' },
  ]);
  const { states, steps, isComplete } = explorer;
  return {
    chassis,
    flavour: parts.flavour,
    limits,
    units: model.size,
    states,
    steps,
    isComplete,
    violations: [...violations.values()],
  };
}

function partsOf(graph: UnitGraph, chassis: number): Parts | null {
  const legacy = unitsOf(LEGACY, chassis);
  const current = unitsOf(CURRENT, chassis);
  const isThere = (name: string) => graph.units.has(name);
  if (isThere(legacy.on)) {
    const roles: Readonly<Record<string, Role>> = {
      [legacy.startStage]: 'start',
      [legacy.waitOnStage]: 'waitOn',
      [legacy.stopStage]: 'stop',
      [legacy.waitOffStage]: 'waitOff',
      [legacy.adopt]: 'adopt',
    };
    return {
      flavour: 'legacy',
      roleOf: (unit) => roles[unit] ?? 'other',
      endsAtOnce: () => false,
      onTarget: legacy.on,
      offTarget: legacy.off,
      routes: [legacy.off, legacy.quiesce],
      routesPowerOff: true,
      onLoss: [legacy.off, legacy.quiesce].filter(isThere),
      onLossWithPower: [legacy.quiesce].filter(isThere),
      requests: [legacy.on, legacy.off, legacy.hostOn, legacy.hostOff, legacy.boot].filter(isThere),
    };
  }
  if (!isThere(current.on)) return null;
  const roles: Readonly<Record<string, Role>> = {
    [current.startStage]: 'switchOn',
    [current.waitOnStage]: 'waitOn',
    // It switches off and waits.
    [current.waitOffStage]: 'stop',
  };
  return {
    flavour: 'current',
    roleOf: (unit) => roles[unit] ?? 'other',
    endsAtOnce: (unit) => roles[unit] === undefined,
    onTarget: current.on,
    offTarget: current.off,
    routes: [current.off, current.hardOff, current.quiesce],
    routesPowerOff: false,
    onLoss: [current.hardOff].filter(isThere),
    onLossWithPower: [current.hardOff].filter(isThere),
    requests: [current.on, current.off, current.hardOff].filter(isThere),
  };
}

class Explorer {
  readonly #model: Model;
  readonly #parts: Parts;
  readonly #found: Found;
  /** Situations from which a request without failures was followed already. */
  readonly #followed = new Set<string>();
  states = 0;
  steps = 0;
  isComplete = true;

  constructor(model: Model, parts: Parts, found: Found) {
    this.#model = model;
    this.#parts = parts;
    this.#found = found;
  }

  explore(starts: readonly Visit[]): void {
    this.#search(starts, (visit) => {
      this.#judgeRest(visit);
      this.#follow(visit, this.#parts.onTarget, true);
      this.#follow(visit, this.#parts.offTarget, false);
    });
  }

  /** Breadth first, so that the first way found is one of the shortest. */
  #search(starts: readonly Visit[], atRest: (visit: Visit) => void): void {
    const seen = new Set(starts.map(({ situation }) => keyOf(situation)));
    let layer: readonly Visit[] = starts;
    while (layer.length > 0) {
      const next: Visit[] = [];
      for (const visit of layer) {
        if (this.states >= MOST_STATES) {
          this.isComplete = false;
          return;
        }
        this.states += 1;
        if (isAtRest(visit.situation) && !this.#isToBeTold(visit.situation)) atRest(visit);
        for (const reached of this.#steps(visit)) {
          this.steps += 1;
          const key = keyOf(reached.situation);
          if (seen.has(key)) continue;
          seen.add(key);
          next.push(reached);
        }
      }
      layer = next;
    }
  }

  #judgeRest(visit: Visit): void {
    const { manager, isPowered, isOpen } = visit.situation;
    const active = Object.keys(manager.active).filter((unit) => manager.active[unit] === 'active');
    const onSide = active.filter((unit) => this.#isOnSide(unit));
    if (!isPowered && onSide.length > 0) this.#found('onWithoutPower', onSide.join(', '), visit);
    if (isPowered && active.includes(this.#parts.offTarget)) {
      this.#found('offWithPower', this.#parts.offTarget, visit);
    }
    const isRouted = this.#parts.routes.some((unit) => active.includes(unit));
    if (isOpen && !isRouted) this.#found('failureNotRouted', this.#parts.routes.join(', '), visit);
  }

  #isOnSide(unit: string): boolean {
    const isStage = ['start', 'waitOn', 'switchOn'].includes(this.#parts.roleOf(unit));
    return isStage || unit === this.#parts.onTarget || this.#needs(unit, this.#parts.onTarget, new Set());
  }

  #needs(unit: string, needed: string, seen: Set<string>): boolean {
    if (seen.has(unit)) return false;
    seen.add(unit);
    const requires = this.#model.get(unit)?.requires ?? [];
    return requires.some((other) => other === needed || this.#needs(other, needed, seen));
  }

  /** From a rest the request alone, without failures: where it ends is what was asked for. */
  #follow(rest: Visit, target: string, wantsPower: boolean): void {
    const situation = { ...rest.situation, requests: 0, failures: 0, isOpen: false };
    const key = `${target} ${keyOf(situation)}`;
    if (this.#followed.has(key)) return;
    this.#followed.add(key);
    const [states, steps] = [this.states, this.steps];
    const asked = this.#request({ ...rest, situation }, target);
    if (asked) {
      this.#search([asked], (end) => {
        const { manager, isPowered } = end.situation;
        if (isPowered === wantsPower && manager.active[target] === 'active') return;
        const what = `${target} is ${manager.active[target] ?? 'inactive'}, the chassis has ${isPowered ? '' : 'no '}power`;
        this.#found(wantsPower ? 'onDoesNotPower' : 'offDoesNotUnpower', what, end);
      });
    }
    // What is only a question about a rest is no part of what was explored.
    [this.states, this.steps] = [states, steps];
  }

  #steps(visit: Visit): Visit[] {
    const { situation } = visit;
    const { manager, isPowered, requests, failures } = situation;
    const reached: (Visit | null)[] = [];
    if (requests > 0) {
      const left = { ...visit, situation: { ...situation, requests: requests - 1 } };
      for (const target of this.#parts.requests) reached.push(this.#request(left, target, visit));
    }
    for (const [unit, state] of Object.entries(manager.active)) {
      if (state !== 'activating' && state !== 'deactivating') continue;
      for (const end of this.#endsOf(unit, state, situation)) reached.push(this.#end(visit, unit, end));
    }
    const isOn = manager.active[this.#parts.onTarget] === 'active';
    if (this.#isToBeTold(situation)) reached.push(this.#tellAgain(visit));
    if (isOn && isPowered && failures > 0) reached.push(this.#lose(visit, false), this.#lose(visit, true));
    return reached.filter((each) => each !== null);
  }

  #request(visit: Visit, target: string, from: Visit = visit): Visit | null {
    const step = `${target} is asked for`;
    return this.#do(visit.situation, { from, step }, visit.situation.isPowered, (manager) => {
      const refusal = manager.request('start', target);
      if (refusal !== null) this.#found('refused', `${target}: ${refusal}`, visit);
    });
  }

  /** The power-off that the service asked for is no longer under way, and systemd has the chassis for on still. */
  #isToBeTold({ isLossTold, isPowered, manager }: Situation): boolean {
    const { offTarget, onTarget } = this.#parts;
    return !isLossTold && !isPowered && !manager.jobs[offTarget] && manager.active[onTarget] === 'active';
  }

  #tellAgain(visit: Visit): Visit | null {
    const step = 'the service tells systemd again';
    return this.#do(visit.situation, { from: visit, step }, false, (manager) => {
      for (const unit of this.#parts.onLoss) manager.request('start', unit);
    });
  }

  /** The service sees the loss, switches everything off where it can, and tells systemd. */
  #lose(visit: Visit, isStuck: boolean): Visit | null {
    const situation = { ...visit.situation, failures: visit.situation.failures - 1, isLossTold: isStuck };
    const step = isStuck ? 'the power is lost, and a rail cannot be taken down' : 'the power is lost';
    return this.#do(situation, { from: visit, step }, isStuck, (manager) => {
      for (const unit of isStuck ? this.#parts.onLossWithPower : this.#parts.onLoss)
        manager.request('start', unit);
    });
  }

  #end(visit: Visit, unit: string, { how, isFailure, powered, says }: End): Visit | null {
    const { situation } = visit;
    const failures = situation.failures - (isFailure ? 1 : 0);
    if (failures < 0) return null;
    const from = { from: visit, step: `${unit} ${says}` };
    return this.#do({ ...situation, failures }, from, powered, (manager) => manager.processEnds(unit, how));
  }

  /** Lets the manager do something, and what it starts begin. */
  #do(
    situation: Situation,
    { from, step }: Omit<Visit, 'situation'>,
    isPowered: boolean,
    act: (manager: Manager) => void,
  ): Visit | null {
    const manager = new Manager(this.#model, situation.manager);
    try {
      act(manager);
      this.#letProcessesAct(manager, isPowered);
    } catch (error) {
      if (!(error instanceof EndlessJobs)) throw error;
      this.#found('endless', error.message, { situation, from, step });
      return null;
    }
    // One that somebody else's request asked to end has failed nobody.
    const failed = manager.events.some(
      (event) =>
        event.type === 'unitFails' &&
        this.#isToBeRouted(event.unit) &&
        situation.manager.active[event.unit] !== 'deactivating',
    );
    const isRouted = manager.events.some(
      (event) =>
        event.type === 'jobQueued' && event.job === 'start' && this.#parts.routes.includes(event.unit),
    );
    const isOpen = isRouted ? false : situation.isOpen || failed;
    return { situation: { ...situation, manager: manager.state(), isPowered, isOpen }, from, step };
  }

  #isToBeRouted(unit: string): boolean {
    const role = this.#parts.roleOf(unit);
    const isPowerOff = role === 'stop' || role === 'waitOff';
    return role !== 'other' && (!isPowerOff || this.#parts.routesPowerOff);
  }

  /**
   * What follows at once: a service that starts a target asks for it while it starts, adopting does so where the chassis has
   * power, and some processes end the moment they are asked to.
   */
  #letProcessesAct(manager: Manager, isPowered: boolean): void {
    for (let at = 0; at < manager.events.length; at += 1) {
      const event = manager.events[at];
      if (event?.type === 'processAskedToEnd' && this.#parts.endsAtOnce(event.unit)) {
        manager.processEnds(event.unit, 'clean');
      }
      if (event?.type !== 'processStarts') continue;
      if (this.#parts.roleOf(event.unit) === 'adopt') {
        // A power-off that is queued has to win (src/cli/verbs/adopt.ts).
        if (isPowered) manager.request('start', this.#parts.onTarget, 'fail');
        continue;
      }
      for (const target of startedBy(this.#model.get(event.unit)?.command ?? '')) {
        if (this.#model.has(target)) manager.request('start', target);
      }
    }
  }

  /** Every way in which a process may end, and what the chassis is then. */
  #endsOf(
    unit: string,
    state: 'activating' | 'deactivating',
    { manager, isPowered }: Situation,
  ): readonly End[] {
    const role = this.#parts.roleOf(unit);
    const fails = (powered: boolean, says: string): End => ({
      how: 'unclean',
      isFailure: true,
      powered,
      says,
    });
    const ends = (powered: boolean, says: string): End => ({ how: 'clean', isFailure: false, powered, says });
    const killed = fails(isPowered, 'is killed');
    if (state === 'deactivating') {
      // A power-off goes on to its end; a power-on takes down what it raised, and leaves what was on before it.
      if (role === 'stop') return [ends(false, 'ends when it was asked to'), killed];
      if (role === 'start' || role === 'waitOn') {
        return [
          ends(false, 'takes the power down when it is asked to end'),
          ends(isPowered, 'ends when it is asked to'),
          killed,
        ];
      }
      return [ends(isPowered, 'ends when it is asked to'), killed];
    }
    switch (role) {
      case 'start':
      case 'switchOn':
        return [
          ends(true, 'ends well'),
          fails(false, 'fails, or runs into its time limit, and has taken everything down'),
          fails(true, 'fails, or is killed, and an enable is on'),
        ];
      case 'waitOn': {
        const failed = [
          fails(false, 'fails, or runs into its time limit, and has taken everything down'),
          fails(isPowered, 'fails, or is killed, and leaves the enables as they are'),
        ];
        // Where no enable is on there is nothing to wait for; that is no failure more than the one that led to it.
        return isPowered
          ? [ends(true, 'ends well'), ...failed]
          : [{ ...fails(false, 'finds no enable on'), isFailure: false }];
      }
      case 'stop':
        return [ends(false, 'ends well'), fails(true, 'fails, or is killed, and an enable is on')];
      case 'waitOff':
        return isPowered
          ? [{ ...fails(true, 'finds the power on'), isFailure: false }]
          : [ends(false, 'ends well'), fails(false, 'is killed')];
      case 'adopt':
        return this.#endsOfAdopt(manager, isPowered, killed);
      default:
        return [ends(isPowered, 'ends well'), fails(isPowered, 'fails')];
    }
  }

  /** It ends when the job of the power-on target has, and as that did. */
  #endsOfAdopt({ active, jobs }: ManagerState, isPowered: boolean, killed: End): readonly End[] {
    if (jobs[this.#parts.onTarget]) return [killed];
    const end = (how: ProcessEnd, says: string): End => ({ how, isFailure: false, powered: isPowered, says });
    if (!isPowered || active[this.#parts.onTarget] === 'active') return [end('clean', 'ends well'), killed];
    return [
      end('clean', 'sees that something else was asked for'),
      end('unclean', 'sees that the power-on target failed'),
      killed,
    ];
  }
}

interface End {
  readonly how: ProcessEnd;
  /** It counts as one of the failures that are placed. */
  readonly isFailure: boolean;
  readonly powered: boolean;
  readonly says: string;
}

function isAtRest({ manager }: Situation): boolean {
  const busy = Object.values(manager.active).some(
    (state) => state === 'activating' || state === 'deactivating',
  );
  return !busy && Object.keys(manager.jobs).length === 0;
}

/** The order of the jobs is part of it: systemd runs the oldest first. */
function keyOf(situation: Situation): string {
  return JSON.stringify(situation);
}

function storyOf(last: Visit): string[] {
  const story: string[] = [];
  for (let visit: Visit | null = last; visit; visit = visit.from) story.unshift(visit.step);
  return story;
}
