import { fitted } from '../shape.ts';
import { BOARD_SHAPE } from './board-shape.ts';
import { crossCheck } from './checks.ts';
import { BOARD_RULES } from './rules.ts';
import type { Board } from './schema.ts';

/**
 * The board that a text describes; undefined for a text with any problem. Every oneshot takes this short way: `diagnose`
 * finds the problems where there are some.
 * @param expand makes a board without templates of one that has some (`expandedValue`); undefined where it has problems
 */
export function parseBoard(text: string, expand?: (input: unknown) => unknown): Board | undefined {
  let input: unknown;
  try {
    input = JSON.parse(text);
  } catch {
    // A text that is no JSON has a problem too.
    return undefined;
  }
  if (hasDuplicateKey(text)) return undefined;
  if (expand) input = expand(input);
  const board = fitted(BOARD_SHAPE, BOARD_RULES, input) as Board | undefined;
  return board !== undefined && crossCheck(board).length === 0 ? board : undefined;
}

/** Whether an object of a JSON text has a duplicate key: `JSON.parse` keeps the last value and drops the first. */
export function hasDuplicateKey(text: string): boolean {
  // Asked for where it found something and not for what: that would be an object for each word of the text.
  const token = /"[^"\\]*(?:\\.[^"\\]*)*"(?:\s*:)?|[{}]/g;
  const open: Set<unknown>[] = [];
  for (let from = 0; token.test(text); from = token.lastIndex) {
    const last = text[token.lastIndex - 1];
    if (last === '{') open.push(new Set());
    else if (last === '}') open.pop();
    else if (last === ':') {
      const quoted = text.slice(text.indexOf('"', from), text.lastIndexOf('"', token.lastIndex - 1) + 1);
      const key: unknown = quoted.includes('\\') ? JSON.parse(quoted) : quoted.slice(1, -1);
      const keys = open.at(-1);
      if (keys?.has(key)) return true;
      keys?.add(key);
    }
  }
  return false;
}
