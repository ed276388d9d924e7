import { loadBoard } from '../../board/load.ts';
import type { Problem } from '../../board/problem.ts';
import type { Board } from '../../board/schema.ts';
import { PowerError } from '../../errors.ts';
import { EXIT } from '../exit.ts';
import { problemText } from '../problem-text.ts';
import type { Verb } from '../verb.ts';

/** Reports every problem of a board file, each with its place and what to write instead. Opens no line. */
export const check: Verb = {
  async run({ operands, boardPath, json }, world) {
    const path = operands[0] ?? boardPath;
    let problems: readonly Problem[] = [];
    try {
      const { board } = await loadBoard(path);
      if (!json) world.stdout.write(`${path}: ${summary(board)}: no problems\n`);
    } catch (error) {
      if (!(error instanceof PowerError) || error.code !== 'BOARD_INVALID') throw error;
      problems = error.details.problems as readonly Problem[];
      if (!json) {
        for (const problem of problems) world.stdout.write(`${problemText(path, problem)}\n`);
        world.stdout.write(`${problems.length === 1 ? '1 problem' : `${problems.length} problems`}\n`);
      }
    }
    if (json) world.stdout.write(`${JSON.stringify({ board: path, problems }, null, 2)}\n`);
    return problems.length === 0 ? EXIT.ok : EXIT.board;
  },
};

function summary(board: Board): string {
  const numbers = Object.keys(board.chassis);
  const rails = Object.values(board.chassis).reduce((sum, { rails }) => sum + Object.keys(rails).length, 0);
  return `board ${board.name}, chassis ${numbers.join(', ')}, ${rails} rails`;
}
