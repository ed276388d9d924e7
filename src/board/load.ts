import { isUtf8 } from 'node:buffer';
import { errnoCode } from '../../hw/errors.ts';
import { fileProblem, readRegularFile } from '../../hw/files.ts';
import { PowerError } from '../errors.ts';
import { sha256 } from '../sha256.ts';
import { parseBoard } from './parse.ts';
import type { Problem } from './problem.ts';
import type { Board, ChassisBoard } from './schema.ts';

/** Far above any board: a longer file is not a board file. */
const MAX_BYTES = 1024 * 1024;

export interface LoadedBoard {
  /** Content of the file, for the places of problems. */
  readonly bytes: Buffer;
  readonly board: Board;
  readonly path: string;
  /** SHA-256 of the file's bytes, in hexadecimal. */
  readonly hash: string;
}

/**
 * Reads a board file. The code that finds problems is loaded only for a file that has some.
 * @throws PowerError BOARD_NOT_FOUND, BOARD_UNREADABLE, or BOARD_INVALID with all `problems` in details
 */
export async function loadBoard(path: string): Promise<LoadedBoard> {
  let bytes: Buffer;
  try {
    bytes = readRegularFile(path, { maxBytes: MAX_BYTES, followsLink: true });
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
      `cannot read board file ${path} (${fileProblem(error)}): check that it is a file and readable`,
      { path },
      { cause: error },
    );
  }
  const board = isUtf8(bytes) ? await readBoard(bytes.toString('utf8')) : undefined;
  if (!board) throw invalid(path, (await import('./diagnose.ts')).diagnose(bytes));
  let hash: string | undefined;
  return {
    board,
    bytes,
    path,
    // Not every verb asks.
    get hash() {
      hash ??= sha256(bytes);
      return hash;
    },
  };
}

/** A board without templates does not wait for their code. JSON may write any letter as an escape. */
async function readBoard(text: string): Promise<Board | undefined> {
  if (!/templates|\\u/.test(text)) return parseBoard(text);
  return parseBoard(text, (await import('./templates.ts')).expandedValue);
}

function invalid(path: string, problems: readonly Problem[]): PowerError {
  const [first] = problems;
  const count = problems.length === 1 ? '1 problem' : `${problems.length} problems, the first`;
  const where = first ? ` in line ${first.line}, column ${first.column}` : '';
  const what = first ? `${first.path === '' ? '' : `${first.path}: `}${first.message}` : '';
  return new PowerError(
    'BOARD_INVALID',
    `board file ${path} has ${count}${where}: ${what}: run "chassis-power check ${path}"`,
    { path, problems },
  );
}

/** @throws PowerError CHASSIS_UNKNOWN */
export function chassisOf({ board, path }: LoadedBoard, chassis: number): ChassisBoard {
  const found = board.chassis[String(chassis)];
  if (found) return found;
  const numbers = Object.keys(board.chassis);
  const choose = numbers.length === 1 ? 'choose it' : 'choose one';
  throw new PowerError(
    'CHASSIS_UNKNOWN',
    `board file ${path} has no chassis ${chassis}: it describes ${numbers.join(', ')}; ${choose} with ${numbers.map((number) => `--chassis ${number}`).join(' or ')}`,
    { path, chassis, known: numbers },
  );
}
