/**
 * Measures everything that has a limit, and writes the page about it. Fails where a limit was missed, or could not be measured:
 * what was promised was not kept then either.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, writeFileSync } from 'node:fs';
import { cpus } from 'node:os';
import { join } from 'node:path';
import { errorText } from '../../hw/errors.ts';
import { growthRows } from './growth.ts';
import { LINES, writeLines } from './lines.ts';
import { cleanUp, root } from './rig.ts';
import { isKept, type Row, table } from './rows.ts';
import { residentRows, simulatedRows } from './service.ts';
import { type Release, stageRow, startUpRows, withProgram } from './start-up.ts';

const [, releasesText = '[]', pairsText = '15', inside = ''] = process.argv.slice(2);
const RELEASES = JSON.parse(releasesText) as readonly Release[];
const PAIRS = Number(pairsText);
const INSIDE_MS = 3_600_000;

/** Of items that have limits, and that this command does not measure. */
const LEFT: readonly Row[] = [
  'start target through resident stages on the emulated BMC (1.3)',
  'call to enable pin on the emulated BMC (1.5)',
].map((what) => ({ what, limit: null, why: 'npm run bench -- --check has no measurement of it yet' }));

/** Rows of the program on lines that are files; runs in a mount namespace of its own. */
async function rowsInside(): Promise<Row[]> {
  writeLines();
  const rows: Row[] = [];
  for (const release of RELEASES) rows.push(...(await startUpRows(release, PAIRS)));
  const [last] = RELEASES.filter(({ node }) => node !== null).slice(-1);
  if (last !== undefined) rows.push(...(await withProgram(last, residentRows)));
  return rows;
}

function rowsOfNamespace(): Row[] {
  const mounts = ['mount --make-rprivate /', 'mount -t tmpfs none /sys/class', 'mount -t tmpfs none /run'];
  const script = ['set -e', ...mounts, 'exec "$@"'].join('\n');
  const again = [process.execPath, ...process.argv.slice(1, 5), 'inside'];
  const { status, stdout, stderr, error } = spawnSync(
    'unshare',
    ['--mount', '/bin/sh', '-c', script, 'sh', ...again],
    { encoding: 'utf8', timeout: INSIDE_MS, maxBuffer: 2 ** 26, stdio: ['ignore', 'pipe', 'pipe'] },
  );
  if (status === 0) return JSON.parse(stdout);
  const why = `no mount namespace of its own with lines: ${stderr?.trim() || error?.message}`;
  return [{ what: 'what a start costs, and the memory of the service', limit: 0, why }];
}

/** Rows of the growth, of the newest Node: it takes what it is measured with itself. */
function rowsOfGrowth(): readonly Row[] {
  const node = RELEASES.filter((release) => release.node !== null).at(-1)?.node ?? process.execPath;
  const again = [...process.argv.slice(1, 5), 'growth'];
  const { status, stdout, stderr, error } = spawnSync(node, again, {
    encoding: 'utf8',
    timeout: INSIDE_MS,
    maxBuffer: 2 ** 26,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  if (status === 0) return JSON.parse(stdout);
  return [{ what: 'what a rail costs', limit: 0, why: stderr?.trim() || String(error?.message) }];
}

function page(rows: readonly Row[]): string {
  const [cpu] = cpus();
  return `# Performance

Written by \`npm run bench -- --check\`, not by hand, on ${cpus().length} cores of ${cpu?.model ?? 'an unknown processor'}, which may have had other work.
A start is CPU time of whole processes with their children, ${PAIRS} pairs in turn with the yardstick (\`node -e 0\` of the same Node, or
the \`busctl call\`), on lines that are files (${LINES} of them) of a chassis that is on, with NODE_EXTRA_CA_CERTS not set. The scatter of
\`node -e 0\` against itself is the noise. Memory is what is resident. A power-on counts the CPU time from the
opening of the lines to pgood, on lines that cost nothing and rails that need each other in a chain.
Memory and power-ons are of the newest Node.

${table(rows)}`;
}

async function main(): Promise<void> {
  if (inside !== '') {
    const measured = inside === 'growth' ? await growthRows(PAIRS) : await rowsInside();
    process.stdout.write(JSON.stringify(measured));
    return;
  }
  const rows = [
    ...rowsOfNamespace(),
    await stageRow(PAIRS),
    ...(await simulatedRows(PAIRS)),
    ...rowsOfGrowth(),
    ...LEFT,
  ];
  const path = join(root, 'docs', 'performance.md');
  writeFileSync(path, page(rows));
  process.stdout.write(`${table(rows)}\nwritten: ${existsSync(path) ? path : 'nothing'}\n`);
  if (!rows.every(isKept)) process.exitCode = 1;
}

try {
  await main();
} catch (error) {
  process.stderr.write(`the benchmark cannot go on: ${errorText(error)}\n`);
  process.exitCode = 1;
}
cleanUp();
process.exit();
