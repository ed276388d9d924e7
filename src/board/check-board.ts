import { diagnose } from './diagnose.ts';
import { parseBoard } from './parse.ts';
import type { Problem } from './problem.ts';
import type { Board } from './schema.ts';

/** All problems of a board that is no file, and the board when there are none. */
export function checkBoard(input: unknown): { board: Board | undefined; problems: Problem[] } {
  const text = JSON.stringify(input) ?? '';
  const board = parseBoard(text);
  return { board, problems: board === undefined ? diagnose(Buffer.from(text)) : [] };
}
