import { readFileSync } from 'node:fs';
import { errorText } from '../../hw/errors.ts';
import { parseBoard } from '../../src/board/parse.ts';
import type { Board } from '../../src/board/schema.ts';
import { expandedValue } from '../../src/board/templates.ts';
import { COUNTEREXAMPLE_FORMAT, type SavedCounterexample } from '../../src/verify/counterexample.ts';
import { INVARIANTS } from '../../src/verify/invariants.ts';

export interface Loaded {
  readonly saved: SavedCounterexample;
  readonly board: Board;
}

/** What `verify --save` wrote, or why it cannot be played. */
export function loadCounterexample(path: string): Loaded | { readonly problem: string } {
  let saved: unknown;
  try {
    saved = JSON.parse(readFileSync(path, 'utf8'));
  } catch (error) {
    return { problem: `cannot read ${path} (${errorText(error)})` };
  }
  if (!isCounterexample(saved)) {
    const problem = `${path} is no counterexample of this version: "chassis-power verify BOARD --save FILE" writes one`;
    return { problem };
  }
  const board = parseBoard(JSON.stringify(saved.board), expandedValue);
  if (board?.chassis[saved.chassis] === undefined)
    return { problem: `${path}: its board is not valid any more: verify the board file again` };
  return { saved, board };
}

function isCounterexample(value: unknown): value is SavedCounterexample {
  if (typeof value !== 'object' || value === null) return false;
  const { kind, version, invariant, chassis, absent = [], steps } = value as Partial<SavedCounterexample>;
  return (
    kind === COUNTEREXAMPLE_FORMAT.kind &&
    version === COUNTEREXAMPLE_FORMAT.version &&
    typeof invariant === 'string' &&
    Object.hasOwn(INVARIANTS, invariant) &&
    Number.isInteger(chassis) &&
    Array.isArray(absent) &&
    absent.every((rail: unknown) => typeof rail === 'string') &&
    Array.isArray(steps) &&
    steps.every(
      (step: unknown) =>
        typeof step === 'object' && step !== null && 'happened' in step && 'atMs' in step && 'state' in step,
    )
  );
}
