import type { Problem } from '../board/problem.ts';

/** What the line of a file is shown after: its number, right-aligned, and a bar. */
const NUMBER_WIDTH = 6;

/**
 * A problem of a board file for people: where, what was found, the line of the file with a mark under it, and what to
 * write instead. The place is written as editors and terminals know it, `file:line:column`.
 */
export function problemText(file: string, problem: Problem): string {
  const { path, line, column, length, message, suggestion, example, excerpt } = problem;
  const shown = excerpt.text.replaceAll(/\p{Cc}/gu, ' ');
  const offset = column - excerpt.from;
  const marks = '^'.repeat(Math.max(1, Math.min(length, [...shown].length - offset)));
  return [
    `${file}:${line}:${column}: ${path === '' ? '' : `${path}: `}${message}`,
    ...(shown.trim() === ''
      ? []
      : [
          `${String(line).padStart(NUMBER_WIDTH)} | ${shown}`,
          `${' '.repeat(NUMBER_WIDTH)} | ${' '.repeat(offset)}${marks}`,
        ]),
    `    ${suggestion}`,
    ...(example === null ? [] : [`    for example: ${example}`]),
    '',
  ].join('\n');
}
