import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { Worker } from 'node:worker_threads';
import { build } from 'esbuild';
import { describe, expect, it } from 'vitest';
import { shippedBoard } from '../unit/bench.ts';
import { emptyReport, type FromWorker, merge, type Report, type Shard, titleOf } from './campaign.ts';
import { caseOf } from './cases.ts';
import { play } from './story.ts';

/**
 * The fault campaign: boards × commands × faults × kills, signals and lost state, on simulated chassis in
 * virtual time. Every case follows from its seed.
 *
 * FAULTS_SEED=N   plays that case alone and prints what happened
 * FAULTS_FIRST=N  begins with another seed than 0, to look where nobody has looked yet
 * FAULTS_COUNT=N  plays so many cases
 */

const COUNT = 5120;
/** Failing cases that are told in full; the others are counted. */
const TOLD = 20;
const TIMEOUT_MS = 600_000;
/** Real time for one case: thousands of times what one takes. */
const CASE_LIMIT_MS = 60_000;
/** So that two slow cores are enough, and a big machine is not flooded. */
const MOST_WORKERS = 8;

const BOARDS = Object.fromEntries(
  ['reference', 'openpower', 'ast2600-evb'].map((name) => [name, shippedBoard(name)]),
);

function numberFrom(name: string, otherwise: number): number {
  const text = process.env[name];
  if (text === undefined || text === '') return otherwise;
  if (!/^\d+$/.test(text)) throw new TypeError(`${name} takes a whole number, not "${text}"`);
  return Number(text);
}

/**
 * Plays the campaign in threads of their own. They run a bundle: Node reads no TypeScript by itself, and the
 * test runner's own loader would cost more than the cases.
 */
async function playAll(firstSeed: number, count: number): Promise<Report> {
  const { outputFiles } = await build({
    entryPoints: [join(import.meta.dirname, 'worker.ts')],
    bundle: true,
    platform: 'node',
    format: 'esm',
    write: false,
    sourcemap: 'inline',
  });
  const code = outputFiles[0]?.text ?? '';
  const shards = Math.min(availableParallelism(), MOST_WORKERS);
  const reports = await Promise.all(
    Array.from({ length: shards }, (_, shard) =>
      playShard(code, { boards: BOARDS, firstSeed, count, shard, shards }),
    ),
  );
  return reports.reduce(merge, emptyReport());
}

function playShard(code: string, shard: Shard): Promise<Report> {
  return new Promise((resolve, reject) => {
    const url = new URL(`data:text/javascript;base64,${Buffer.from(code).toString('base64')}`);
    const worker = new Worker(url, {
      workerData: shard,
      // Cases make much that is soon forgotten: with the default size a sixth of the time goes to collecting it.
      resourceLimits: { maxYoungGenerationSizeMb: 64 },
    });
    let playing = shard.firstSeed;
    // Virtual time finds every wait that does not end; a loop that never yields only shows from outside.
    const watchdog = setTimeout(() => {
      const title = `no end within ${CASE_LIMIT_MS / 1000} s of real time`;
      resolve({ ...emptyReport(), failures: [{ seed: playing, title, violations: ['hang: it loops'] }] });
      worker.terminate();
    }, CASE_LIMIT_MS);
    const settle = (then: () => void) => {
      clearTimeout(watchdog);
      then();
    };
    worker.on('message', (message: FromWorker) => {
      watchdog.refresh();
      if (typeof message === 'number') playing = message;
      else settle(() => resolve(message));
    });
    worker.once('error', (error) => settle(() => reject(error)));
    worker.once('exit', (code) =>
      settle(() => reject(new Error(`worker ${shard.shard} ended with ${code} and no report`))),
    );
  });
}

function tellCounts(table: Readonly<Record<string, number>>): string {
  return Object.entries(table)
    .sort(([, left], [, right]) => right - left)
    .map(([name, count]) => `${name} ${count}`)
    .join(', ');
}

function summaryOf({ cases, processes, counts, failures }: Report, seconds: number): string {
  return [
    `fault campaign: ${cases} cases, ${processes} processes`,
    `boards: ${tellCounts(counts.board)}`,
    `commands: ${tellCounts(counts.script)}`,
    `struck: ${tellCounts(counts.struck)}`,
    `state: ${tellCounts(counts.store)}`,
    `${failures.length} ended unsafe`,
    `${seconds.toFixed(1)} s`,
  ].join('; ');
}

const seed = process.env.FAULTS_SEED;

// One or the other is defined, and neither is skipped: a skipped test counts as a failure in CI.
const [campaign, oneCase] = seed === undefined ? [describe, undefined] : [undefined, describe];

campaign?.('the fault campaign', () => {
  it(
    'ends safe whatever breaks, and sound where nothing does',
    async () => {
      const startNs = process.hrtime.bigint();
      const report = await playAll(numberFrom('FAULTS_FIRST', 0), numberFrom('FAULTS_COUNT', COUNT));
      const seconds = Number(process.hrtime.bigint() - startNs) / 1e9;
      const failures = [...report.failures].sort((left, right) => left.seed - right.seed);
      for (const failure of failures.slice(0, TOLD)) {
        console.log(
          [
            `seed ${failure.seed}: ${failure.title}`,
            ...failure.violations.map((violation) => `  ${violation}`),
            `  replay: FAULTS_SEED=${failure.seed} npm run test:faults`,
          ].join('\n'),
        );
      }
      if (failures.length > TOLD) {
        console.log(
          `and ${failures.length - TOLD} more: ${failures
            .slice(TOLD)
            .map((each) => each.seed)
            .join(' ')}`,
        );
      }
      console.log(summaryOf(report, seconds));
      expect(failures.map((failure) => `seed ${failure.seed}: ${failure.violations[0]}`)).toEqual([]);
    },
    TIMEOUT_MS,
  );

  it('plays a case the same way every time', async () => {
    const played = async () => {
      const told = await play(caseOf(3, BOARDS));
      return told.story();
    };
    expect(await played()).toEqual(await played());
  });
});

oneCase?.('one case', () => {
  it(
    `seed ${seed}`,
    async () => {
      const plan = caseOf(numberFrom('FAULTS_SEED', 0), BOARDS);
      const { violations, story } = await play(plan);
      console.log([titleOf(plan), ...story()].join('\n'));
      expect(violations.map(({ rule, text }) => `${rule}: ${text}`)).toEqual([]);
    },
    TIMEOUT_MS,
  );
});
