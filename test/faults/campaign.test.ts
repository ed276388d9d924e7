import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { Worker } from 'node:worker_threads';
import { build } from 'esbuild';
import { describe, expect, it } from 'vitest';
import { shippedBoard } from '../unit/bench.ts';
import { DRAWN_BOARDS } from './boards.ts';
import { BREAKS } from './breaks.ts';
import {
  BLOCK,
  caseAt,
  emptyReport,
  type FromWorker,
  merge,
  type Place,
  type Report,
  type Shard,
} from './campaign.ts';
import { titleOf } from './draw.ts';
import { INVARIANTS, type Invariant } from './invariants.ts';
import { play } from './story.ts';

/**
 * The fault campaign: boards, commands, faults that stay or come and go, stalls, kills, signals, lost state and other
 * processes, on simulated chassis in virtual time. Every case follows from a seed, and a failing one is made smaller
 * before it is told. `npm run test:faults -- --cases N | --seed N | --replay SEED:PATH` set:
 *
 * FAULTS_CASES=N           plays so many cases, in whole blocks
 * FAULTS_SEED=N            begins with another seed than 0, to look where nobody has looked yet
 * FAULTS_REPLAY=SEED:PATH  plays that case alone and prints what happened
 *
 * FAULTS_BREAK=INVARIANT puts a deliberate defect into every process, to see it found.
 */

const CASES = 10_240;
/** Failing cases that are told in full; the others are counted. */
const TOLD = 20;
/** Far above the time of 100,000 cases on two slow cores. */
const TIMEOUT_MS = 3_600_000;
/** Real time for one case: thousands of times what one takes. */
const CASE_LIMIT_MS = 60_000;
/** So that two slow cores are enough, and a big machine is not flooded. */
const MOST_WORKERS = 8;

const BOARDS = Object.fromEntries(DRAWN_BOARDS.map((name) => [name, shippedBoard(name)]));

/** `FAULTS_BREAK=needsFirst`: every process has the deliberate defect that this invariant must see. */
const BROKEN = process.env.FAULTS_BREAK ? invariantFrom(process.env.FAULTS_BREAK) : null;

function invariantFrom(name: string): Invariant {
  if (name in INVARIANTS) return name as Invariant;
  throw new TypeError(`FAULTS_BREAK names an invariant, not "${name}"`);
}

function numberFrom(name: string, otherwise: number): number {
  const text = process.env[name];
  if (text === undefined || text === '') return otherwise;
  if (!/^\d+$/.test(text)) throw new TypeError(`${name} takes a whole number, not "${text}"`);
  return Number(text);
}

function placeFrom(text: string): Place {
  const [, seed, path] = /^(\d+):(\d+(?::\d+)*)$/.exec(text) ?? [];
  if (seed === undefined || path === undefined)
    throw new TypeError(`a case to replay is written SEED:PATH, not "${text}"`);
  return { seed: Number(seed), path };
}

/**
 * Plays the campaign in threads of their own. They run a bundle: Node reads no TypeScript by itself, and the
 * test runner's own loader would cost more than the cases.
 */
async function playAll(firstSeed: number, cases: number): Promise<Report> {
  const { outputFiles } = await build({
    entryPoints: [join(import.meta.dirname, 'worker.ts')],
    bundle: true,
    platform: 'node',
    format: 'esm',
    write: false,
    sourcemap: 'inline',
  });
  const code = outputFiles[0]?.text ?? '';
  const blocks = Math.ceil(cases / BLOCK);
  const shards = Math.min(availableParallelism(), MOST_WORKERS, blocks);
  const reports = await Promise.all(
    Array.from({ length: shards }, (_, shard) =>
      playShard(code, { boards: BOARDS, firstSeed, blocks, shard, shards, broken: BROKEN }),
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
    let playing: Place = { seed: shard.firstSeed + shard.shard, path: '0' };
    // Virtual time finds every wait that does not end; a loop that never yields only shows from outside.
    const watchdog = setTimeout(() => {
      const title = `no end within ${CASE_LIMIT_MS / 1000} s of real time`;
      resolve({ ...emptyReport(), failures: [{ ...playing, title, violations: ['ends: it loops'] }] });
      worker.terminate();
    }, CASE_LIMIT_MS);
    const settle = (then: () => void) => {
      clearTimeout(watchdog);
      then();
    };
    worker.on('message', (message: FromWorker) => {
      watchdog.refresh();
      if ('path' in message) playing = message;
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

/** In how many cases each invariant was broken. */
function countInvariants(failures: Report['failures']): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const { violations } of failures) {
    for (const name of new Set(violations.map((text) => text.split(':')[0] ?? ''))) {
      counts[name] = (counts[name] ?? 0) + 1;
    }
  }
  return counts;
}

function summaryOf({ cases, processes, counts, failures }: Report, seconds: number): string {
  return [
    `fault campaign: ${cases} cases, ${processes} simulated processes`,
    `boards: ${tellCounts(counts.board)}`,
    `requests: ${tellCounts(counts.request)}`,
    `struck: ${tellCounts(counts.struck)}`,
    `state: ${tellCounts(counts.store)}`,
    ...(failures.length === 0 ? [] : [`broken: ${tellCounts(countInvariants(failures))}`]),
    `${failures.length} ended unsafe`,
    `${seconds.toFixed(1)} s`,
  ].join('; ');
}

const replay = process.env.FAULTS_REPLAY;

// One or the other is defined, and neither is skipped: a skipped test counts as a failure in CI.
const [campaign, oneCase] = replay === undefined ? [describe, undefined] : [undefined, describe];

campaign?.('the fault campaign', () => {
  it(
    'ends safe whatever breaks, and sound where nothing does',
    async () => {
      const startNs = process.hrtime.bigint();
      const report = await playAll(numberFrom('FAULTS_SEED', 0), numberFrom('FAULTS_CASES', CASES));
      const seconds = Number(process.hrtime.bigint() - startNs) / 1e9;
      const failures = [...report.failures].sort((left, right) => left.seed - right.seed);
      for (const { seed, path, title, violations } of failures.slice(0, TOLD)) {
        console.log(
          [
            `case ${seed}:${path}: ${title}`,
            ...violations.map((violation) => `  ${violation}`),
            `  replay: ${BROKEN === null ? '' : `FAULTS_BREAK=${BROKEN} `}npm run test:faults -- --replay ${seed}:${path}`,
          ].join('\n'),
        );
      }
      if (failures.length > TOLD) {
        const others = failures.slice(TOLD).map(({ seed, path }) => `${seed}:${path}`);
        console.log(`and ${others.length} more: ${others.join(' ')}`);
      }
      for (const name of Object.keys(countInvariants(failures))) {
        console.log(`${name}: ${INVARIANTS[name as Invariant]}`);
      }
      console.log(summaryOf(report, seconds));
      expect(failures.map(({ seed, path, violations }) => `${seed}:${path}: ${violations[0]}`)).toEqual([]);
    },
    TIMEOUT_MS,
  );

  it('plays a case the same way every time', async () => {
    const played = async () => {
      const told = await play(caseAt({ seed: 3, path: '7' }, BOARDS));
      return told.story();
    };
    expect(await played()).toEqual(await played());
  });
});

oneCase?.('one case', () => {
  it(
    `${replay}`,
    async () => {
      const played = caseAt(placeFrom(replay ?? ''), BOARDS);
      const { violations, story } = await play(played, BROKEN === null ? null : BREAKS[BROKEN]);
      console.log([titleOf(played), ...story()].join('\n'));
      expect(violations.map(({ invariant, text }) => `${invariant}: ${text}`)).toEqual([]);
    },
    TIMEOUT_MS,
  );
});
