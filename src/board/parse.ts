import * as v from 'valibot';
import { crossCheck } from './checks.ts';
import { type Board, boardSchema } from './schema.ts';

/**
 * The board that a text describes, undefined when there is anything wrong with it: `diagnose` tells what. This is the
 * short way that every oneshot takes, so it only says yes or no.
 */
export function parseBoard(text: string): Board | undefined {
  let input: unknown;
  try {
    input = JSON.parse(text);
  } catch {
    // Not JSON is one of the things that can be wrong.
    return undefined;
  }
  if (hasDuplicateKey(text)) return undefined;
  const { success, output } = v.safeParse(boardSchema, input, { abortEarly: true });
  if (!success || !keptWhole(input, output)) return undefined;
  return crossCheck(output).length === 0 ? output : undefined;
}

/** Whether an object of a JSON text has a key twice: `JSON.parse` keeps the last, and nobody hears of the first. */
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
 * Whether everything that was written is in what was read. A list passes for an object in valibot, and keys that every
 * object of the language answers to are left out by it.
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
