import type { Plan } from '../sequence/plan.ts';
import { hasTag } from '../sequence/state.ts';
import type { InvariantName, Violation } from './invariants.ts';
import type { Machine } from './machine.ts';
import { MODE } from './plant.ts';
import { keyOfProduct, type Move, ProductModel, type ProductRules } from './product.ts';
import { createSituations, type SituationOptions } from './situations.ts';
import type { Product } from './turn.ts';

export interface ExploreOptions extends SituationOptions {
  readonly faults: number;
  /** The search is given up beyond this many states. */
  readonly maxStates: number;
  /** For a search that takes long; the states so far. */
  readonly onProgress?: (states: number) => void;
}

/** How a broken invariant is come to: what happened, first thing first. */
export interface Counterexample extends Violation {
  readonly moves: readonly Move[];
}

export interface Explored {
  readonly states: number;
  readonly transitions: number;
  /** Moves in which a fault happens, of all these. */
  readonly faultsPlaced: number;
  /** What the machine can be in, and how often it was asked. */
  readonly situations: number;
  readonly steps: number;
  /** False: more states than `maxStates`, so that nothing is proven. */
  readonly isFinished: boolean;
  readonly counterexample: Counterexample | null;
  /** Transitions of the machine that were taken. */
  readonly taken: ReadonlySet<string>;
}

/** Every state of the machine, the chassis and the process between them, nearest first. Stops at the first violation. */
export function explore(machine: Machine, plan: Plan, options: ExploreOptions): Explored {
  const situations = createSituations(machine, plan, options);
  const rules = new ProductModel(machine, plan, situations);
  const taken = new Set<string>();
  const stop = machine.observeTransitions((name) => taken.add(name));
  try {
    const found = search(rules, options);
    return { ...found, situations: situations.count(), steps: situations.steps(), taken };
  } finally {
    stop();
  }
}

type Found = Omit<Explored, 'situations' | 'steps' | 'taken'>;

function search(rules: ProductRules, { faults, maxStates, onProgress }: ExploreOptions): Found {
  const start = rules.initial(faults);
  const known = new Map<string, number>([[keyOfProduct(start), 0]]);
  /** By state: where it was come from, and by which of the moves there. */
  const parents: number[] = [-1];
  const byMove: number[] = [-1];
  const isActive: boolean[] = [];
  const progress = createEdges();
  let transitions = 0;
  let faultsPlaced = 0;
  const trail = (state: number) => trailTo(rules, start, state, parents, byMove);
  const end = (isFinished: boolean, counterexample: Counterexample | null): Found => ({
    states: known.size,
    transitions,
    faultsPlaced,
    isFinished,
    counterexample,
  });

  let layer: Product[] = [start];
  for (let first = 0; layer.length > 0; ) {
    const next: Product[] = [];
    for (const [offset, product] of layer.entries()) {
      const state = first + offset;
      isActive[state] = mustGoOn(product);
      for (const [index, move] of rules.movesOf(product).entries()) {
        transitions += 1;
        if (move.product.plant.left < product.plant.left) faultsPlaced += 1;
        const [violation] = move.violations;
        if (violation !== undefined) {
          return end(true, { ...violation, moves: [...trail(state), move] });
        }
        const key = keyOfProduct(move.product);
        let to = known.get(key);
        if (to === undefined) {
          to = known.size;
          known.set(key, to);
          parents.push(state);
          byMove.push(index);
          next.push(move.product);
        }
        if (move.isProgress) progress.add(state, to);
      }
      if (known.size > maxStates) return end(false, null);
    }
    first += layer.length;
    layer = next;
    onProgress?.(known.size);
  }

  const waiting = firstThatWaits(isActive, progress);
  if (waiting === null) return end(true, null);
  const moves = trail(waiting);
  const last = moves.at(-1)?.product ?? start;
  const { state } = last.situation;
  const invariant: InvariantName = hasTag(state, 'lowering') ? 'offIsReached' : 'neverWaits';
  return end(true, { invariant, what: `${state} may never end`, moves });
}

/** Something is under way, and somebody is there to see to it. */
function mustGoOn({ situation: { state, waitMs, due }, plant }: Product): boolean {
  if (plant.mode !== MODE.running) return false;
  if (hasTag(state, 'atRest')) return false;
  return state !== 'pgood' || waitMs !== null || due.length > 0;
}

/** Directed edges between numbers. */
function createEdges() {
  const from: number[] = [];
  const to: number[] = [];
  return {
    from,
    to,
    add(source: number, target: number) {
      from.push(source);
      to.push(target);
    },
  };
}

/**
 * The first state of which some course of what happens by itself never comes to rest. Everything at rest ends; so does a
 * state that has a way on and whose ways on all lead to states that end.
 */
function firstThatWaits(
  isActive: readonly boolean[],
  { from, to }: ReturnType<typeof createEdges>,
): number | null {
  const open = new Uint32Array(isActive.length);
  const starts = new Uint32Array(isActive.length + 1);
  for (const [edge, source] of from.entries()) {
    open[source] = (open[source] ?? 0) + 1;
    const target = to[edge] ?? 0;
    starts[target + 1] = (starts[target + 1] ?? 0) + 1;
  }
  for (let state = 0; state < isActive.length; state += 1)
    starts[state + 1] = (starts[state + 1] ?? 0) + (starts[state] ?? 0);
  const sources = new Uint32Array(from.length);
  const filled = starts.slice();
  for (const [edge, source] of from.entries()) {
    const target = to[edge] ?? 0;
    const at = filled[target] ?? 0;
    sources[at] = source;
    filled[target] = at + 1;
  }
  const ends = new Uint8Array(isActive.length);
  const queue: number[] = [];
  for (const [state, active] of isActive.entries()) {
    if (active) continue;
    ends[state] = 1;
    queue.push(state);
  }
  for (let state = queue.pop(); state !== undefined; state = queue.pop()) {
    for (let at = starts[state] ?? 0; at < (starts[state + 1] ?? 0); at += 1) {
      const source = sources[at] ?? 0;
      const left = (open[source] ?? 0) - 1;
      open[source] = left;
      if (left > 0 || ends[source] === 1) continue;
      ends[source] = 1;
      queue.push(source);
    }
  }
  const waiting = ends.indexOf(0);
  return waiting < 0 ? null : waiting;
}

function trailTo(
  rules: ProductRules,
  start: Product,
  state: number,
  parents: readonly number[],
  byMove: readonly number[],
): Move[] {
  const indices: number[] = [];
  for (let at = state; at > 0; at = parents[at] ?? -1) indices.unshift(byMove[at] ?? 0);
  const moves: Move[] = [];
  let product = start;
  for (const index of indices) {
    const move = rules.movesOf(product)[index];
    if (move === undefined) throw new RangeError('the search cannot be repeated');
    moves.push(move);
    product = move.product;
  }
  return moves;
}
