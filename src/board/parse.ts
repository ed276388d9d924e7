import * as v from 'valibot';
import { crossCheck } from './checks.ts';
import { type Board, boardSchema } from './schema.ts';

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
  const { success, output } = v.safeParse(boardSchema, input, { abortEarly: true });
  if (!success || !keptWhole(input, output)) return undefined;
  return crossCheck(output).length === 0 ? output : undefined;
}

/** Whether an object of a JSON text has a duplicate key: `JSON.parse` keeps the last value and drops the first. */
export function hasDuplicateKey(text: string): boolean {
  const token = /("[^"\\]*(?:\\.[^"\\]*)*")(\s*:)?|[{}]/g;
  const open: Set<unknown>[] = [];
  for (const [found, quoted = '', colon] of text.matchAll(token)) {
    if (found === '{') open.push(new Set());
    else if (found === '}') open.pop();
    else if (colon !== undefined) {
      const keys = open.at(-1);
      const key: unknown = quoted.includes('\\') ? JSON.parse(quoted) : quoted.slice(1, -1);
      if (keys?.has(key)) return true;
      keys?.add(key);
    }
  }
  return false;
}

/**
 * Whether the output of valibot has everything of its input. valibot takes a list for an object, and drops keys that every
 * JavaScript object has.
 */
function keptWhole(input: unknown, output: unknown): boolean {
  if (typeof input !== 'object' || input === null) return true;
  if (typeof output !== 'object' || output === null || Array.isArray(input) !== Array.isArray(output))
    return false;
  return Object.entries(input).every(
    ([key, value]) =>
      Object.hasOwn(output, key) && keptWhole(value, (output as Record<string, unknown>)[key]),
  );
}
