import { diagnose } from '../src/board/diagnose.ts';
import { parseBoard } from '../src/board/parse.ts';
import type { Problem } from '../src/board/problem.ts';
import type { Board } from '../src/board/schema.ts';
import { expandedValue } from '../src/board/templates.ts';

/** All problems of a board that is not in a file, and the board where there are none. */
export function checkBoard(input: unknown): { board: Board | undefined; problems: Problem[] } {
  const text = JSON.stringify(input) ?? '';
  const board = parseBoard(text, expandedValue);
  return { board, problems: board === undefined ? diagnose(Buffer.from(text)) : [] };
}
