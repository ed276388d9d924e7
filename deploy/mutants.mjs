// Changes the rooms that decide about power in every way that Stryker knows, and tells which changes no test notices and
// test/mutants/survivors.json does not explain. Half an hour for each room on two cores; what a test noticed before is kept
// in build/mutants and not tried again. `npm run test:mutants -- run store` tries these rooms alone; flags are Stryker's.
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fail, prepare, root, run } from './setup.mjs';

/** Of all mutants that were tried. */
const LEAST_PERCENT = 90;

prepare({ flock: 'util-linux' });

/** @param {string[]} path */
const readJson = (...path) => JSON.parse(readFileSync(join(root, ...path), 'utf8'));
const rooms = Object.keys(readJson('test', 'mutants', 'rooms.json').rooms);
const asked = process.argv.slice(2);
const chosen = asked.filter((each) => !each.startsWith('-'));
const unknown = chosen.filter((each) => !rooms.includes(each));
if (unknown.length > 0) fail(`no room ${unknown.join(', ')}: ${rooms.join(', ')}`);

/**
 * Of Stryker's report.
 * @typedef {{ line: number, column: number }} Place
 * @typedef {{
 *   status: string,
 *   location: { start: Place, end: Place },
 *   replacement?: string,
 *   coveredBy?: readonly string[],
 *   testsCompleted?: number,
 * }} Mutant
 */

/**
 * Nobody knows whether a test notices it: it is said to have survived, and not all tests that reach it were run.
 * @param {Mutant} mutant
 */
const isUndecided = ({ status, coveredBy = [], testsCompleted = 0 }) =>
  status === 'Survived' && testsCompleted < coveredBy.length;

/**
 * A mutant by what it changes, not by the number of its line.
 * @param {Mutant} mutant
 * @param {readonly string[]} lines of its file
 */
function nameOf({ location: { start, end }, replacement = '' }, lines) {
  const line = lines[start.line - 1] ?? '';
  const original =
    start.line === end.line
      ? line.slice(start.column - 1, end.column - 1)
      : `${line.slice(start.column - 1)} …`;
  return `${line.trim()} | ${original} => ${replacement.replace(/\s+/g, ' ')}`;
}

/**
 * What a room's report says of each file.
 * @param {string} room
 */
function filesOf(room) {
  /** @type {Record<string, { source: string, mutants: Mutant[] }>} */
  const files = readJson('build', 'mutants', `${room}.json`).files;
  return Object.entries(files).map(([file, { source, mutants }]) => {
    const lines = source.split('\n');
    const decided = mutants.filter((mutant) => !isUndecided(mutant));
    /** @param {Mutant[]} of */
    const alive = (of) =>
      of
        .filter(({ status }) => status === 'Survived' || status === 'NoCoverage')
        .map((mutant) => nameOf(mutant, lines));
    /** @param {string[]} statuses */
    const count = (...statuses) => decided.filter(({ status }) => statuses.includes(status)).length;
    return {
      file,
      killed: count('Killed', 'Timeout'),
      survived: count('Survived'),
      unreached: count('NoCoverage'),
      notTried: count('Ignored', 'CompileError', 'RuntimeError'),
      undecided: mutants.length - decided.length,
      survivors: alive(decided),
      maybeSurvivors: alive(mutants),
    };
  });
}

/**
 * @param {number} killed
 * @param {number} of
 */
const percent = (killed, of) => (of === 0 ? '100.0' : ((100 * killed) / of).toFixed(1));

/** @param {ReturnType<typeof filesOf>} files */
function report(files) {
  /** @type {{ file: string, mutants: string[] }[]} */
  const explained = readJson('test', 'mutants', 'survivors.json');
  const sum = { file: 'all', killed: 0, survived: 0, unreached: 0, notTried: 0, undecided: 0 };
  const columns = /** @type {const} */ (['killed', 'survived', 'unreached', 'notTried', 'undecided']);
  for (const each of files) for (const column of columns) sum[column] += each[column];
  console.log(`\n${'file'.padEnd(36)}${columns.map((each) => each.padStart(11)).join('')}          %`);
  for (const each of [...files, sum]) {
    const tried = each.killed + each.survived + each.unreached;
    const cells = columns.map((column) => String(each[column]).padStart(11)).join('');
    console.log(`${each.file.padEnd(36)}${cells}${percent(each.killed, tried).padStart(11)}`);
  }
  const unexplained = files.flatMap(({ file, survivors }) => {
    const known = explained.filter((each) => each.file === file).flatMap(({ mutants }) => mutants);
    return survivors.filter((each) => !known.includes(each)).map((each) => `${file}: ${each}`);
  });
  const outdated = explained.flatMap(({ file, mutants }) => {
    const survivors = files.find((each) => each.file === file)?.maybeSurvivors;
    return mutants.filter((each) => survivors && !survivors.includes(each)).map((each) => `${file}: ${each}`);
  });
  const share = Number(percent(sum.killed, sum.killed + sum.survived + sum.unreached));
  if (unexplained.length > 0) {
    console.log(`\n${unexplained.length} survived that test/mutants/survivors.json does not explain:`);
    for (const each of unexplained) console.log(each);
  }
  if (outdated.length > 0) {
    console.log(
      `\n${outdated.length} that test/mutants/survivors.json explains did not survive, take them out:`,
    );
    for (const each of outdated) console.log(each);
  }
  if (sum.undecided > 0) {
    console.log(
      `\n${sum.undecided} are said to have survived, and some tests that reach them were not run: try again`,
    );
  }
  if (share < LEAST_PERCENT) fail(`\n${share} % are noticed by a test, and ${LEAST_PERCENT} % should be`);
  if (unexplained.length > 0) fail('\nwrite a test for each, or say there why none can be');
  if (sum.undecided > 0) process.exit(1);
}

/**
 * Stryker takes a survivor of an earlier run for one of this run, also where tests have come that notice it.
 * @param {string} room
 */
function forgetSurvivors(room) {
  const path = join(root, 'build', 'mutants', `${room}-incremental.json`);
  if (!existsSync(path)) return;
  const before = JSON.parse(readFileSync(path, 'utf8'));
  /** @type {Record<string, { mutants: Mutant[] }>} */
  const files = before.files;
  for (const file of Object.values(files)) {
    file.mutants = file.mutants.filter(({ status }) => status !== 'Survived' && status !== 'NoCoverage');
  }
  writeFileSync(path, JSON.stringify(before));
}

for (const room of chosen.length > 0 ? chosen : rooms) {
  console.log(`\nsrc/${room}`);
  forgetSurvivors(room);
  run(
    join(root, 'node_modules', '.bin', 'stryker'),
    ['run', 'test/mutants/stryker.config.mjs', ...asked.filter((each) => each.startsWith('-'))],
    { timeoutMs: 6 * 3_600_000, env: { ...process.env, MUTANTS_ROOM: room } },
  );
}
report(rooms.filter((room) => existsSync(join(root, 'build', 'mutants', `${room}.json`))).flatMap(filesOf));
