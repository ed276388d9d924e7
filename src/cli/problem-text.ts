import type { Problem } from '../board/problem.ts';
import { blanked, oneLine } from '../printable.ts';

/** Width of the line number, which stands before a bar and the line of the file. */
const NUMBER_WIDTH = 6;

/**
 * The text for a problem of a board file: its place, what was found, the line of the file with a mark below it, and what
 * to write instead, with an example and what the word means. The place is `file:line:column`, which editors and terminals understand.
 */
export function problemText(file: string, problem: Problem): string {
  const { path, line, column, length, message, suggestion, example, explanation, excerpt } = problem;
  // Its columns stay.
  const shown = blanked(excerpt.text);
  const offset = column - excerpt.from;
  const marks = '^'.repeat(Math.max(1, Math.min(length, [...shown].length - offset)));
  return [
    oneLine(`${file}:${line}:${column}: ${path === '' ? '' : `${path}: `}${message}`),
    ...(shown.trim() === ''
      ? []
      : [
          `${String(line).padStart(NUMBER_WIDTH)} | ${shown}`,
          `${' '.repeat(NUMBER_WIDTH)} | ${' '.repeat(offset)}${marks}`,
        ]),
    `    ${oneLine(suggestion)}`,
    ...(example === null ? [] : [`    for example: ${oneLine(example)}`]),
    ...(explanation === null ? [] : [`    ${explanation}`]),
    '',
  ].join('\n');
}
