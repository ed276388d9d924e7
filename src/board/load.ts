import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import * as v from 'valibot';
import { errnoCode, errorText } from '../../hw/errors.ts';
import { PowerError } from '../errors.ts';
import { suggestName } from '../near.ts';
import { crossCheck } from './checks.ts';
import type { Problem } from './problem.ts';
import { type Board, boardSchema, type ChassisBoard } from './schema.ts';

/** Keys that the schema knows at `path` of `input`; undefined where any key is allowed. */
function knownKeys(path: readonly PropertyKey[], input: unknown): string[] | undefined {
  let schema: unknown = boardSchema;
  let value = input;
  const unwrap = (): Record<string, unknown> => {
    for (;;) {
      const node = schema as Record<string, unknown>;
      if (node.type === 'optional') schema = node.wrapped;
      else if (node.type === 'lazy') schema = (node.getter as (value: unknown) => unknown)(value);
      else return node;
    }
  };
  for (const key of path) {
    const node = unwrap();
    if (node.type === 'record') schema = node.value;
    else if (node.type === 'strict_object') schema = (node.entries as Record<string, unknown>)[String(key)];
    else return undefined;
    value = (value as Record<PropertyKey, unknown>)[key];
  }
  const node = unwrap();
  return node.type === 'strict_object' ? Object.keys(node.entries as object) : undefined;
}

function describe(value: unknown): string {
  if (value === null) return 'null';
  if (Array.isArray(value)) return 'a list';
  if (typeof value === 'object') return 'an object';
  return JSON.stringify(value) ?? String(value);
}

function problemOf(issue: v.BaseIssue<unknown>, input: unknown): Problem {
  const keys = (issue.path ?? []).map((item) => item.key as PropertyKey);
  const path = keys.map(String).join('.');
  const last = String(keys.at(-1) ?? '');
  if (issue.type === 'strict_object' && issue.expected === 'never') {
    return {
      path,
      message: `unknown key "${last}"`,
      suggestion: suggestName(last, knownKeys(keys.slice(0, -1), input) ?? [], 'keys here'),
    };
  }
  if (issue.received === 'undefined') {
    return { path, message: `"${last}" is missing`, suggestion: `add "${last}"` };
  }
  if (issue.kind === 'schema' && issue.expected === 'number' && typeof issue.input === 'string') {
    const asNumber = Number(issue.input);
    return {
      path,
      message: `expected a number, found the text ${describe(issue.input)}`,
      suggestion:
        issue.input.trim() !== '' && Number.isFinite(asNumber)
          ? `write ${asNumber} without quotes`
          : 'write a number without quotes',
    };
  }
  if (issue.type === 'picklist') {
    const options = String(issue.expected).replaceAll(/[()"]/g, '').split(' | ');
    return {
      path,
      message: `${describe(issue.input)} is not one of ${options.join(', ')}`,
      suggestion: suggestName(String(issue.input), options, 'allowed'),
    };
  }
  // A text that was written into the schema says what must hold; valibot's own begin with "Invalid".
  if (!issue.message.startsWith('Invalid')) {
    return { path, message: `${describe(issue.input)} ${issue.message}`, suggestion: issue.message };
  }
  if (issue.type === 'regex' && last === 'line') {
    return {
      path,
      message: `${describe(issue.input)} is not an ASPEED port name`,
      suggestion: 'write an offset such as 16, or port letter and bit such as "C0"',
    };
  }
  const expected = issue.expected === 'Object' ? 'an object' : String(issue.expected ?? 'another value');
  return {
    path,
    message: `expected ${expected}, found ${describe(issue.input)}`,
    suggestion: `write ${expected}`,
  };
}

/** All problems of a parsed board file, and the board when there are none. */
export function checkBoard(input: unknown): { board: Board | undefined; problems: Problem[] } {
  const result = v.safeParse(boardSchema, input);
  if (result.success) {
    const problems = crossCheck(result.output);
    return { board: problems.length === 0 ? result.output : undefined, problems };
  }
  return { board: undefined, problems: result.issues.map((issue) => problemOf(issue, input)) };
}

export interface LoadedBoard {
  readonly board: Board;
  readonly path: string;
  /** SHA-256 of the file's bytes, in hexadecimal. */
  readonly hash: string;
}

/**
 * Reads a board file.
 * @throws PowerError BOARD_NOT_FOUND, BOARD_UNREADABLE, or BOARD_INVALID with all `problems` in details
 */
export function loadBoard(path: string): LoadedBoard {
  let bytes: Buffer;
  try {
    bytes = readFileSync(path);
  } catch (error) {
    if (errnoCode(error) === 'ENOENT') {
      throw new PowerError(
        'BOARD_NOT_FOUND',
        `no board file at ${path}: name one with --board or CHASSIS_POWER_BOARD`,
        { path },
        { cause: error },
      );
    }
    throw new PowerError(
      'BOARD_UNREADABLE',
      `cannot read board file ${path} (${errnoCode(error) ?? errorText(error)}): check that it is a file and readable`,
      { path },
      { cause: error },
    );
  }
  let input: unknown;
  try {
    input = JSON.parse(bytes.toString('utf8'));
  } catch (error) {
    const problem: Problem = {
      path: '',
      message: `not JSON: ${errorText(error)}`,
      suggestion: 'correct the syntax',
    };
    throw invalid(path, [problem], error);
  }
  const { board, problems } = checkBoard(input);
  if (!board) throw invalid(path, problems);
  return { board, path, hash: createHash('sha256').update(bytes).digest('hex') };
}

function invalid(path: string, problems: readonly Problem[], cause?: unknown): PowerError {
  const first = problems[0];
  const count = problems.length === 1 ? '1 problem' : `${problems.length} problems`;
  const where = first && first.path !== '' ? `${first.path}: ` : '';
  return new PowerError(
    'BOARD_INVALID',
    `board file ${path} has ${count}, first ${where}${first?.message ?? ''}: run "chassis-power check ${path}"`,
    { path, problems },
    { cause },
  );
}

/** @throws PowerError CHASSIS_UNKNOWN */
export function chassisOf({ board, path }: LoadedBoard, chassis: number): ChassisBoard {
  const found = board.chassis[String(chassis)];
  if (found) return found;
  const numbers = Object.keys(board.chassis);
  throw new PowerError(
    'CHASSIS_UNKNOWN',
    `board file ${path} has no chassis ${chassis}: it describes ${numbers.join(', ')}`,
    { path, chassis, known: numbers },
  );
}
