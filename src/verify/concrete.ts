import type { Counterexample } from './explore.ts';
import { type Happened, tell } from './happened.ts';
import { keyOfProduct, type Move, type ProductRules } from './product.ts';
import type { Product } from './turn.ts';

/** More than enough for a story of some twenty steps: what is put between them has no branches but the order of answers. */
const MAX_TRIED = 200_000;

interface Node {
  readonly product: Product;
  /** How many steps of the story have happened. */
  readonly told: number;
  readonly move: Move | null;
  readonly from: Node | null;
}

/**
 * A course of events found on ranks of times, with the times of the board, on whose rules it is looked for: the same happens in the same order, and between
 * it what happens by itself, time and readings. The shortest one that breaks the same invariant; null where the times of the
 * board let none come about.
 */
export function withTimesOf(
  rules: ProductRules,
  { invariant, moves }: Counterexample,
  faults: number,
): readonly Move[] | null {
  const story = moves.map(({ happened }) => tell(happened));
  // What may wait for ever does so behind the last step, and breaks nothing by a step of its own.
  const isBrokenByLast = moves.at(-1)?.violations.some((each) => each.invariant === invariant) ?? false;
  const first: Node = { product: rules.initial(faults), told: 0, move: null, from: null };
  const known = new Set([keyOf(first)]);
  let layer = [first];
  while (layer.length > 0 && known.size < MAX_TRIED) {
    const next: Node[] = [];
    for (const from of layer) {
      for (const move of rules.movesOf(from.product)) {
        const isNext = tell(move.happened) === story[from.told];
        if (!isNext && !mayComeBetween(move.happened)) continue;
        const node = { product: move.product, told: from.told + (isNext ? 1 : 0), move, from };
        const isBroken = move.violations.some((each) => each.invariant === invariant);
        const isOver = isBrokenByLast ? isBroken : node.told === story.length;
        if (isOver) return movesTo(node);
        if (move.violations.length > 0) continue;
        const key = keyOf(node);
        if (known.has(key)) continue;
        known.add(key);
        next.push(node);
      }
    }
    layer = next;
  }
  return null;
}

function keyOf({ product, told }: Node): string {
  return `${told} ${keyOfProduct(product)}`;
}

function mayComeBetween(happened: Happened): boolean {
  if ('struck' in happened && happened.struck !== undefined) return false;
  if (happened.what === 'time') return happened.how === 'passes';
  return happened.what === 'read' && (happened.how === 'seen' || happened.how === 'read');
}

function movesTo(last: Node): Move[] {
  const moves: Move[] = [];
  for (let node: Node | null = last; node !== null; node = node.from) {
    if (node.move !== null) moves.unshift(node.move);
  }
  return moves;
}
