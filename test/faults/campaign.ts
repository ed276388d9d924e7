import fc from 'fast-check';
import type { ShippedBoards } from './boards.ts';
import { BREAKS, type Break } from './breaks.ts';
import { type Case, caseDraws, caseOf, titleOf } from './draw.ts';
import type { Invariant, Violation } from './invariants.ts';
import { play, type Told } from './story.ts';

/** Cases that are drawn from one seed, so that any of them is found again without those of other seeds. */
export const BLOCK = 64;
/** Smaller cases that are tried for a failing one. */
const SHRINK_TRIES = 300;
/** Failing cases that one worker makes smaller; the others are told as they were drawn. */
const SHRUNK_PER_WORKER = 2;

/** Where a case is found again: a seed of fast-check and a path from what it drew to what it made of it. */
export interface Place {
  readonly seed: number;
  readonly path: string;
}

export interface Failure extends Place {
  readonly title: string;
  readonly violations: readonly string[];
}

/** What came of a part of the campaign. Plain data: it crosses from the worker threads. */
export interface Report {
  readonly cases: number;
  readonly processes: number;
  /** How often by board and by what it has, by request, by store, and by what struck. */
  readonly counts: Readonly<Record<CountName, Record<string, number>>>;
  readonly failures: readonly Failure[];
}
type CountName = 'board' | 'request' | 'store' | 'struck';

/** From a worker: where the case is that it begins, and at last its report. */
export type FromWorker = Place | Report;

export interface Shard {
  readonly boards: ShippedBoards;
  readonly firstSeed: number;
  /** Blocks of all shards together. */
  readonly blocks: number;
  readonly shard: number;
  readonly shards: number;
  /** A deliberate defect, by the invariant that is to see it; null in earnest. */
  readonly broken: Invariant | null;
}

export function emptyReport(): Report {
  return {
    cases: 0,
    processes: 0,
    counts: { board: {}, request: {}, store: {}, struck: {} },
    failures: [],
  };
}

export function merge(left: Report, right: Report): Report {
  const sum = (name: CountName) => {
    const [a, b] = [left.counts[name], right.counts[name]];
    const keys = new Set([...Object.keys(a), ...Object.keys(b)]);
    return Object.fromEntries([...keys].map((key) => [key, (a[key] ?? 0) + (b[key] ?? 0)]));
  };
  return {
    cases: left.cases + right.cases,
    processes: left.processes + right.processes,
    counts: {
      board: sum('board'),
      request: sum('request'),
      store: sum('store'),
      struck: sum('struck'),
    },
    failures: [...left.failures, ...right.failures],
  };
}

/** The case at a place. */
export function caseAt({ seed, path }: Place, boards: ShippedBoards): Case {
  const [draw] = fc.sample(caseDraws, { seed, path, numRuns: 1 });
  if (draw === undefined) throw new RangeError(`there is no case at ${seed}:${path}`);
  return caseOf(draw, boards);
}

/** Every `shards`-th block: neighbouring ones go to different workers, so that all are busy to the end. */
export async function runShard(
  { boards, firstSeed, blocks, shard, shards, broken }: Shard,
  begins: (place: Place) => void,
): Promise<Report> {
  const report = structuredClone(emptyReport()) as {
    -readonly [Key in keyof Report]: Report[Key];
  };
  const failures: Failure[] = [];
  const sabotage = broken === null ? null : BREAKS[broken];
  let shrinksLeft = SHRUNK_PER_WORKER;
  for (let block = shard; block < blocks; block += shards) {
    const seed = firstSeed + block;
    for (let next = 0; next < BLOCK; ) {
      let index = next;
      const property = fc.asyncProperty(caseDraws, async (draw) => {
        begins({ seed, path: String(index) });
        index += 1;
        const played = caseOf(draw, boards);
        const told = await play(played, sabotage);
        count(report.counts, played, told);
        report.cases += 1;
        report.processes += told.processes;
        return told.violations.length === 0;
      });
      const outcome = await fc.check(property, {
        seed,
        path: String(next),
        numRuns: BLOCK - next,
        endOnFailure: true,
      });
      if (!outcome.failed) break;
      const drawn = { seed, path: String(index - 1) };
      failures.push(await failureAt(drawn, boards, sabotage, shrinksLeft > 0, begins));
      shrinksLeft -= 1;
      next = index;
    }
  }
  return { ...report, failures };
}

function count(counts: Report['counts'], played: Case, told: Told): void {
  const { boardName, requests, store } = played;
  const add = (table: Record<string, number>, key: string) => {
    table[key] = (table[key] ?? 0) + 1;
  };
  for (const part of boardName.split(/ with | and /)) add(counts.board, part);
  for (const asked of requests) add(counts.request, asked);
  if (store !== 'kept') add(counts.store, store);
  for (const kind of told.struck) add(counts.struck, kind);
}

/** The failing case at a place, made as small as it goes while it breaks the same invariant. */
async function failureAt(
  drawn: Place,
  boards: ShippedBoards,
  sabotage: Break | null,
  shrinks: boolean,
  begins: (place: Place) => void,
): Promise<Failure> {
  let place = drawn;
  if (shrinks) {
    let wanted: Violation['invariant'] | undefined;
    let tries = 0;
    const property = fc.asyncProperty(caseDraws, async (draw) => {
      begins(drawn);
      tries += 1;
      if (tries > SHRINK_TRIES) return true;
      const { violations: found } = await play(caseOf(draw, boards), sabotage);
      wanted ??= found[0]?.invariant;
      return !found.some(({ invariant }) => invariant === wanted);
    });
    const { counterexamplePath } = await fc.check(property, { ...drawn, numRuns: 1 });
    if (counterexamplePath !== null) place = { seed: drawn.seed, path: counterexamplePath };
  }
  const played = caseAt(place, boards);
  const { violations } = await play(played, sabotage);
  return {
    ...place,
    title: titleOf(played),
    violations: violations.map(({ invariant, text }) => `${invariant}: ${text}`),
  };
}
