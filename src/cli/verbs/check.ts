import { HardwareError } from '../../../hw/errors.ts';
import type { LineRef } from '../../../hw/ports.ts';
import type { OutsideFinding } from '../../board/diagnose.ts';
import { loadBoard } from '../../board/load.ts';
import type { Problem } from '../../board/problem.ts';
import type { Board } from '../../board/schema.ts';
import { timingWarnings } from '../../board/timing.ts';
import { PowerError } from '../../errors.ts';
import { suggestName } from '../../near.ts';
import { type BusTrouble, findBuses } from '../../run/find-buses.ts';
import { findLines, type LineTrouble } from '../../run/find-lines.ts';
import { findSensors, hasSensors, type SensorTrouble } from '../../run/find-sensors.ts';
import { severityMark, WARNING } from '../../system/severity.ts';
import { EXIT } from '../exit.ts';
import { problemText } from '../problem-text.ts';
import type { Verb } from '../verb.ts';
import type { World } from '../world.ts';

/**
 * Reports every problem of a board file, each with its place and what to write instead. Of a file without problems it
 * reports the lines, I2C buses and voltages of kernel drivers that this machine does not have, and lines with two names. It
 * opens no line, sends nothing on a bus and reads no voltage. A machine without GPIO is an error (`GPIO_UNAVAILABLE`), unless `--no-lines` says that the board is for
 * another machine. Times that cannot work out are warnings, on stderr or as `warnings`: with them a board is valid.
 */
export const check: Verb = {
  async run({ boardPath: path, flag, json }, world) {
    const withLines = !flag('no-lines');
    const { board, problems, warnings } = await checkAll(path, withLines, world);
    if (!json) {
      for (const warning of warnings)
        world.stderr.write(`${severityMark(world.stderr, WARNING)}warning: ${problemText(path, warning)}\n`);
    }
    if (json) {
      const lines = board !== null && withLines ? 'lookedFor' : 'notLookedFor';
      world.stdout.write(`${JSON.stringify({ board: path, lines, problems, warnings }, null, 2)}\n`);
    } else if (board !== null && problems.length === 0) {
      const lines = withLines
        ? `no problems, all ${allOf(board)} are there`
        : 'no problems in the file; its lines were not looked for';
      world.stdout.write(`${path}: ${summary(board)}: ${lines}\n`);
    } else {
      for (const problem of problems) world.stdout.write(`${problemText(path, problem)}\n`);
      world.stdout.write(`${problems.length === 1 ? '1 problem' : `${problems.length} problems`}\n`);
    }
    return problems.length === 0 ? EXIT.ok : EXIT.board;
  },
};

interface Checked {
  /** Null where the file is invalid. */
  readonly board: Board | null;
  readonly problems: readonly Problem[];
  /** Of a valid file. */
  readonly warnings: readonly Problem[];
}

async function checkAll(path: string, withLines: boolean, world: World): Promise<Checked> {
  let board: Board;
  let bytes: Buffer;
  try {
    ({ board, bytes } = await loadBoard(path));
  } catch (error) {
    if (!(error instanceof PowerError) || error.code !== 'BOARD_INVALID') throw error;
    return { board: null, problems: error.details.problems as readonly Problem[], warnings: [] };
  }
  const findings = withLines ? await findingsHere(board, path, world) : [];
  const timing = timingWarnings(board).map((finding) => ({ kind: 'timing' as const, ...finding }));
  if (findings.length + timing.length === 0) return { board, problems: [], warnings: [] };
  // The file is valid. It is read again for the places of its values.
  const { diagnose } = await import('../../board/diagnose.ts');
  return { board, problems: diagnose(bytes, findings), warnings: diagnose(bytes, timing) };
}

/** Lines and buses of the board that this machine does not have, and lines with two names. */
async function findingsHere(board: Board, path: string, world: World): Promise<readonly OutsideFinding[]> {
  try {
    const lines = await findLines(board, await world.looks());
    const buses = await findBuses(board, world.i2c);
    const sensors = await findSensors(board, world.sensors);
    return [...lines.map(lineFinding), ...buses.map(busFinding), ...sensors.map(sensorFinding)];
  } catch (error) {
    if (!(error instanceof HardwareError)) throw error;
    throw new HardwareError(
      error.code,
      `the file ${path} has no problems, but its ${allOf(board)} could not be looked for (${error.message}): run check on the machine that the board is for, or with --no-lines`,
      { ...error.details, path },
      { cause: error },
    );
  }
}

function lineFinding({ line, error, other }: LineTrouble): OutsideFinding {
  const { at, role, ref } = line;
  if (other === null) {
    return { kind: 'line', at, message: `${role}: ${error.message}`, suggestion: suggestionFor(ref, error) };
  }
  const suggestion = `give one of the two another line; the other one is at ${other.at.join('.')}`;
  return { kind: 'conflict', at, message: error.message, suggestion, other: other.at };
}

function suggestionFor(ref: LineRef, { code, details }: HardwareError): string {
  if ('name' in ref) return suggestName(ref.name, texts(details.names), 'names of lines');
  if (code === 'GPIO_NO_CHIP') return suggestName(ref.chip, texts(details.labels), 'chips');
  return `"gpioinfo ${ref.chip}" shows the lines that there are`;
}

function busFinding({ device, bus, error }: BusTrouble): OutsideFinding {
  const names = texts(error.details.names);
  // A name that two buses have is not misspelt, so nothing is suggested.
  const isMisspelt = typeof bus === 'string' && !names.includes(bus);
  const suggestion = isMisspelt
    ? suggestName(bus, names, 'names of I2C buses')
    : '"i2cdetect -l" shows the buses that there are';
  const at = ['devices', device, 'bus'];
  return { kind: 'bus', at, message: `device ${device}: ${error.message}`, suggestion };
}

function sensorFinding({ role, at, ref, error }: SensorTrouble): OutsideFinding {
  const { chip, input } = ref;
  const message = `${role}: ${error.message}`;
  if (error.code === 'SENSOR_NO_INPUT') {
    const suggestion = suggestName(input, texts(error.details.inputs), 'inputs of the chip');
    return { kind: 'sensor', at: [...at, 'input'], message, suggestion };
  }
  const chips = texts(error.details.chips);
  if (typeof chip !== 'string') {
    return { kind: 'sensor', at: [...at, 'address'], message, suggestion: suggestName('', chips, 'chips') };
  }
  // A name that two chips have is not misspelt: each has a path of its own.
  return { kind: 'sensor', at: [...at, 'chip'], message, suggestion: suggestName(chip, chips, 'chips') };
}

function texts(value: unknown): readonly string[] {
  return Array.isArray(value) ? value.map(String) : [];
}

/** What was looked for on this machine. */
function allOf(board: Board): string {
  const kinds = [
    'lines',
    ...(Object.keys(board.devices).length > 0 ? ['I2C buses'] : []),
    ...(hasSensors(board) ? ['voltages of kernel drivers'] : []),
  ];
  return kinds.length < 3 ? kinds.join(' and ') : `${kinds.slice(0, -1).join(', ')} and ${kinds.at(-1)}`;
}

function summary(board: Board): string {
  const numbers = Object.keys(board.chassis);
  const rails = Object.values(board.chassis).reduce((sum, { rails }) => sum + Object.keys(rails).length, 0);
  return `board ${board.name}, chassis ${numbers.join(', ')}, ${rails === 1 ? '1 rail' : `${rails} rails`}`;
}
