import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createSystemClock } from '../../hw/clock.ts';
import { parseFault } from '../../mocks/plant/faults.ts';
import { createPlant } from '../../mocks/plant/plant.ts';
import { startPlantServer } from '../../mocks/plant-server.ts';
import { checkBoard } from '../check-board.ts';
import { type Ended, runInto, type SinkKind } from './sinks.ts';

const root = join(import.meta.dirname, '..', '..');
const SIM = join(root, 'dist', 'sim', 'chassis-power-sim.cjs');
const REFERENCE = join(root, 'hw', 'boards', 'reference.json');

let dir = '';
beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), 'chassis-power-output-'));
});
afterAll(() => rmSync(dir, { recursive: true, force: true }));

let count = 0;

/** Runs a command line on a plant of its own. Returns how it ended, and the lines of the plant after that. */
async function onPlant(
  { initially = 'off', faults = [] }: { initially?: 'on' | 'off'; faults?: readonly string[] },
  run: (command: readonly string[]) => Promise<Ended>,
  args: readonly string[],
) {
  const { board } = checkBoard(JSON.parse(readFileSync(REFERENCE, 'utf8')));
  if (!board) throw new TypeError('the reference board has problems');
  count += 1;
  const socketPath = join(dir, `${count}.sock`);
  const plant = createPlant({
    board,
    clock: createSystemClock(),
    initially,
    faults: faults.map((text) => parseFault(text, board)),
  });
  const server = await startPlantServer({ plant, socketPath });
  try {
    const ended = await run([process.execPath, SIM, '--plant', socketPath, '--board', REFERENCE, ...args]);
    const asserted = (role: string) =>
      plant.lines().flatMap((line) => (line.role === role && line.asserted ? [line.line] : []));
    return {
      ...ended,
      enables: asserted('enable').length,
      pgood: asserted('pgood').length,
      resets: asserted('reset').length,
      hazards: plant.hazards,
    };
  } finally {
    await server.close();
    plant.close();
  }
}

const SINKS: readonly (readonly [SinkKind, number])[] = [
  ['a pipe that closes', 0],
  ['a pipe that closes', 1],
  ['a pipe that closes', 5],
  ['a socket that closes', 0],
  ['a socket that closes', 3],
  ['a pipe that nobody reads', 0],
  ['a socket that nobody reads', 0],
  ['a full disk', 0],
  ['a descriptor that is closed', 0],
  ['a terminal that is gone', 0],
  ['a terminal that is stopped', 0],
];

/** What is asked, and how it ends on a chassis with a reader who listens to the end. */
interface Run {
  readonly args: readonly string[];
  readonly initially?: 'on';
  readonly faults?: readonly string[];
  readonly code: number;
  readonly enables: number;
  readonly pgood: number;
  readonly resets: number;
}
const RUNS: readonly Run[] = [
  { args: ['on'], code: 0, enables: 6, pgood: 1, resets: 0 },
  { args: ['off'], initially: 'on', code: 0, enables: 0, pgood: 0, resets: 1 },
  { args: ['stop', '--json'], initially: 'on', code: 0, enables: 0, pgood: 0, resets: 1 },
  { args: ['on', '--json'], faults: ['rail P1V8 never good'], code: 101, enables: 0, pgood: 0, resets: 1 },
];

describe('output is no reason to stop', () => {
  const cases = RUNS.flatMap((run) =>
    SINKS.map(([kind, lines]) => [`${run.args.join(' ')} (${run.code})`, kind, lines, run] as const),
  );

  it.each(RUNS)('with a reader who listens, $args ends as it should', async (run) => {
    const { args, ...end } = run;
    const { code, enables, pgood, resets } = end;
    const seen = await onPlant(run, (command) => runInto('a pipe that closes', dir, command, 1000), args);
    expect(seen).toEqual({ code, signal: null, enables, pgood, resets, hazards: [] });
  });

  it.each(cases)('%s into %s after %i lines ends as with a reader', async (_, kind, lines, run) => {
    const { args, code, enables, pgood, resets } = run;
    const seen = await onPlant(run, (command) => runInto(kind, dir, command, lines), args);
    expect(seen).toEqual({ code, signal: null, enables, pgood, resets, hazards: [] });
  });
});

describe('a timing diagram that cannot be written', () => {
  it.each([
    ['a full disk', '/dev/full', 'ENOSPC'],
    ['a folder that is not there', '/nowhere/run.svg', 'ENOENT'],
    ['a pipe that nobody reads', 'pipe.svg', 'ENXIO'],
  ])("(%s) is told, and the exit code is the sequence's", (_, name, errno) => {
    const path = name.startsWith('/') ? name : join(dir, name);
    if (path.startsWith(dir)) execFileSync('mkfifo', [path]);
    const args = [SIM, 'on', '--board', REFERENCE, '--svg', path];
    const { status, stderr, signal } = spawnSync(process.execPath, args, {
      encoding: 'utf8',
      timeout: 20_000,
    });
    expect({ status, signal }).toEqual({ status: 0, signal: null });
    expect(stderr).toContain(`no timing diagram: cannot write ${path} (${errno}`);
  });
});
