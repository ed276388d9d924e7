// Changes the rooms that decide about power in every way that Stryker knows, and tells which changes no test notices and
// test/mutants/survivors.json does not explain. Half an hour for each room on two cores; what it found before is kept in
// build/mutants and not tried again. `npm run test:mutants -- run store` tries these rooms alone; flags are Stryker's.
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { ensureModules, ensurePrograms, fail, root, run } from './setup.mjs';

/** Of all mutants that were tried. */
const LEAST_PERCENT = 90;

const readJson = (...path) => JSON.parse(readFileSync(join(root, ...path), 'utf8'));
const rooms = Object.keys(readJson('test', 'mutants', 'rooms.json'));
const asked = process.argv.slice(2);
const chosen = asked.filter((each) => !each.startsWith('-'));
const unknown = chosen.filter((each) => !rooms.includes(each));
if (unknown.length > 0) fail(`no room ${unknown.join(', ')}: ${rooms.join(', ')}`);

/** A mutant by what it changes, not by the number of its line. */
function nameOf({ location: { start, end }, replacement = '' }, lines) {
  const line = lines[start.line - 1];
  const original =
    start.line === end.line
      ? line.slice(start.column - 1, end.column - 1)
      : `${line.slice(start.column - 1)} …`;
  return `${line.trim()} | ${original} => ${replacement.replace(/\s+/g, ' ')}`;
}

/** What a room's report says of each file. */
function filesOf(room) {
  return Object.entries(readJson('build', 'mutants', `${room}.json`).files).map(
    ([file, { source, mutants }]) => {
      const lines = source.split('\n');
      const count = (...statuses) => mutants.filter(({ status }) => statuses.includes(status)).length;
      return {
        file,
        killed: count('Killed', 'Timeout'),
        survived: count('Survived'),
        unreached: count('NoCoverage'),
        notTried: count('Ignored', 'CompileError', 'RuntimeError'),
        survivors: mutants
          .filter(({ status }) => status === 'Survived' || status === 'NoCoverage')
          .map((mutant) => nameOf(mutant, lines)),
      };
    },
  );
}

const percent = (killed, of) => (of === 0 ? '100.0' : ((100 * killed) / of).toFixed(1));

function report(files) {
  const explained = readJson('test', 'mutants', 'survivors.json');
  const sum = { file: 'all', killed: 0, survived: 0, unreached: 0, notTried: 0 };
  for (const each of files) for (const key of Object.keys(sum)) if (key !== 'file') sum[key] += each[key];
  const columns = ['killed', 'survived', 'unreached', 'notTried'];
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
  const share = Number(percent(sum.killed, sum.killed + sum.survived + sum.unreached));
  if (unexplained.length > 0) {
    console.log(`\n${unexplained.length} survived that test/mutants/survivors.json does not explain:`);
    for (const each of unexplained) console.log(each);
  }
  if (share < LEAST_PERCENT) fail(`\n${share} % are noticed by a test, and ${LEAST_PERCENT} % should be`);
  if (unexplained.length > 0) fail('\nwrite a test for each, or say there why none can be');
}

ensureModules();
ensurePrograms({ flock: 'util-linux' });
for (const room of chosen.length > 0 ? chosen : rooms) {
  console.log(`\nsrc/${room}`);
  run(
    join(root, 'node_modules', '.bin', 'stryker'),
    ['run', 'test/mutants/stryker.config.mjs', ...asked.filter((each) => each.startsWith('-'))],
    { timeoutMs: 6 * 3_600_000, env: { ...process.env, MUTANTS_ROOM: room } },
  );
}
report(rooms.filter((room) => existsSync(join(root, 'build', 'mutants', `${room}.json`))).flatMap(filesOf));
