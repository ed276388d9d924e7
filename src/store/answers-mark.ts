import { removeIfPossible, writeDurably } from '../../hw/files.ts';
import { answersPath } from './paths.ts';

/**
 * Tells the stages that the service answers on the bus, without their asking the bus: a file with the number of its process,
 * there as long as it has its names. A process that was killed leaves it, and the stages look whether the one that it names is alive.
 */
export interface AnswersMark {
  /** Never throws: without the file the stages work alone. */
  set(answers: boolean): void;
}

export function createAnswersMark(runDir: string): AnswersMark {
  const path = answersPath(runDir);
  return {
    set(answers) {
      try {
        if (answers) writeDurably(path, `${process.pid}\n`);
        else removeIfPossible(path);
      } catch {
        removeIfPossible(path);
      }
    },
  };
}
