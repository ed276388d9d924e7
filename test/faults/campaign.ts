import { type Case, caseOf, type ShippedBoards } from './cases.ts';
import { play, type Told } from './story.ts';

export interface Failure {
  readonly seed: number;
  readonly title: string;
  readonly violations: readonly string[];
}

/** What came of a part of the campaign. Plain data: it crosses from the worker threads. */
export interface Report {
  readonly cases: number;
  readonly processes: number;
  /** How often by board, by script, by store, and by what struck. */
  readonly counts: Readonly<Record<'board' | 'script' | 'store' | 'struck', Record<string, number>>>;
  readonly failures: readonly Failure[];
}

/** From a worker: the seed of the case that it begins, and at last its report. */
export type FromWorker = number | Report;

export interface Shard {
  readonly boards: ShippedBoards;
  readonly firstSeed: number;
  readonly count: number;
  readonly shard: number;
  readonly shards: number;
}

export function emptyReport(): Report {
  return { cases: 0, processes: 0, counts: { board: {}, script: {}, store: {}, struck: {} }, failures: [] };
}

export function titleOf({ boardName, chassis, script, faults, disturbances, store }: Case): string {
  return [
    `${boardName} ${chassis}, ${script.name}`,
    ...faults.map(({ text, process }) => `"${text}" in process ${process}`),
    ...disturbances.map(({ process, disturbance }) => `${JSON.stringify(disturbance)} in process ${process}`),
    ...(store === 'kept' ? [] : [`state ${store}`]),
  ].join('; ');
}

export function add(report: Report, played: Case, told: Told): Report {
  const { boardName, script, store, seed } = played;
  const counts = structuredClone(report.counts);
  const count = (table: Record<string, number>, key: string) => {
    table[key] = (table[key] ?? 0) + 1;
  };
  count(counts.board, boardName);
  count(counts.script, script.name);
  if (store !== 'kept') count(counts.store, store);
  for (const kind of told.struck) count(counts.struck, kind);
  const failures = [...report.failures];
  if (told.violations.length > 0) {
    const violations = told.violations.map(({ rule, text }) => `${rule}: ${text}`);
    failures.push({ seed, title: titleOf(played), violations });
  }
  return { cases: report.cases + 1, processes: report.processes + told.processes, counts, failures };
}

export function merge(left: Report, right: Report): Report {
  const sum = (a: Record<string, number>, b: Record<string, number>) =>
    Object.fromEntries(
      [...new Set([...Object.keys(a), ...Object.keys(b)])].map((key) => [key, (a[key] ?? 0) + (b[key] ?? 0)]),
    );
  return {
    cases: left.cases + right.cases,
    processes: left.processes + right.processes,
    counts: {
      board: sum(left.counts.board, right.counts.board),
      script: sum(left.counts.script, right.counts.script),
      store: sum(left.counts.store, right.counts.store),
      struck: sum(left.counts.struck, right.counts.struck),
    },
    failures: [...left.failures, ...right.failures],
  };
}

/** Every `shards`-th case: neighbouring seeds go to different workers, so that all are busy to the end. */
export async function runShard(
  { boards, firstSeed, count, shard, shards }: Shard,
  begins: (seed: number) => void,
): Promise<Report> {
  let report = emptyReport();
  for (let index = shard; index < count; index += shards) {
    begins(firstSeed + index);
    const plan = caseOf(firstSeed + index, boards);
    report = add(report, plan, await play(plan));
  }
  return report;
}
