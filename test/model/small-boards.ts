import { parseBoard } from '../../src/board/parse.ts';
import type { Board } from '../../src/board/schema.ts';
import { type Plan, planOf } from '../../src/sequence/plan.ts';

/** A board that is tried in seconds, whatever the number of faults. */
export interface SmallBoard {
  /** Content of its file. */
  readonly value: object;
  readonly board: Board;
  readonly plan: Plan;
}

export const line = (offset: number) => ({ chip: 'gpio', line: offset, active: 'high' as const });
export const rail = (enable: number, needs: string[]) => ({
  enable: line(enable),
  good: line(10 + enable),
  needs,
  settleMs: 1,
  onTimeoutMs: 20,
  offTimeoutMs: 20,
});
export const pgood = { ...line(20), deglitchMs: 1, onTimeoutMs: 300, offTimeoutMs: 300 };
const resets = { CPU: { ...line(21), releaseDelayMs: 1 } };

export function boardOf(name: string, chassis: object): SmallBoard {
  const value = { name, chassis: { 0: chassis } };
  const board = parseBoard(JSON.stringify(value));
  const described = board?.chassis[0];
  if (board === undefined || described === undefined) throw new TypeError(`${name} is no board`);
  return { value, board, plan: planOf(described, board.devices) };
}

export const chain = { rails: { A: rail(0, []), B: rail(1, ['A']) }, pgood, resets };

/** Two rails, one after the other, and a reset. */
export const CHAIN = boardOf('chain', chain);

/** The same behind a latch. */
export const LATCHED = boardOf('latched', { ...chain, latch: { ...line(22), pulseMs: 10 } });

/** Two rails that need the same one. */
export const FORK = boardOf('fork', {
  rails: { A: rail(0, []), B: rail(1, ['A']), C: rail(2, ['A']) },
  pgood,
});
