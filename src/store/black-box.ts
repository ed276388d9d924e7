import { join } from 'node:path';
import { createWhole, type Disk } from '../../hw/disk.ts';
import { errnoCode } from '../../hw/errors.ts';
import { fileProblem, randomMark, readRegularFile, removeIfPossible, writeDurably } from '../../hw/files.ts';
import type { Clock } from '../../hw/ports.ts';
import { endsWithin } from '../../hw/waiting.ts';
import { sha256 } from '../sha256.ts';
import { fitted } from '../shape.ts';
import type { KeptRun, Run, RunRecord } from './run-schema.ts';
import { RUN_SHAPE } from './run-shape.ts';
import { RUN_VERSION } from './versions.ts';

export type { KeptRun, RunRecord, TraceEntry } from './run-schema.ts';

/** So many runs that went well, and as many that failed, are kept of a chassis: the ones do not push out the others. */
export const MOST_RUNS = 8;
/**
 * Of one run: above what a board with thirty rails tells of a power-on and of a failure. With `MOST_RUNS` half a MiB for a
 * chassis at most, of the 4 MiB that a small BMC has for all that is written.
 */
export const MOST_BYTES = 32 * 1024;
/** A disk that has not answered by then is told of. It may answer later. */
const ANSWER_MS = 5_000;
/** Runs that wait for a disk that does not answer. Further ones are not kept. */
const MOST_WAITING = 4;

/** Endings that somebody asked for, or that changed nothing: they are no failure of the chassis. */
const NO_FAILURES: readonly string[] = ['INTERRUPTED', 'REQUEST_REJECTED'];

export function hasFailed({ failure }: Pick<RunRecord, 'failure'>): boolean {
  return failure !== null && !NO_FAILURES.includes(failure.code);
}

/** The last runs of a chassis, which outlive its processes and the boot of the BMC. */
export interface BlackBox {
  /**
   * Keeps a run, and lets go of the oldest ones. Returns why it could not, null when it could; never rejects. Whoever calls has
   * driven everything: a disk may take its time, and is waited for 5 s.
   *
   * Of runs that drove nothing and failed alike one after the other only the first is kept: who asks again every second
   * wears no flash.
   */
  keep(run: RunRecord): Promise<string | null>;
  /** The runs that are kept, oldest first, and a clause for each file that is not one. Never rejects. */
  read(): Promise<{ readonly runs: readonly KeptRun[]; readonly problems: readonly string[] }>;
  /** The last run that failed; null where none did, or none can be read. Reads no other one. Never rejects. */
  lastFailure(): Promise<KeptRun | null>;
  /**
   * Puts the run of a first stage where the second one finds it: in memory, for this boot. Returns why it could not, null when
   * it could.
   */
  putAside(run: RunRecord): string | null;
  /** The run that was put aside, which is gone then; null where none was. */
  takeAside(): RunRecord | null;
}

export interface BlackBoxOptions {
  /** For what outlives the boot of the BMC. */
  readonly stateDir: string;
  /** For what does not. */
  readonly runDir: string;
  readonly chassis: number;
  readonly disk: Disk;
  readonly clock: Pick<Clock, 'after'>;
}

export function runsFolder(stateDir: string, chassis: number): string {
  return join(stateDir, `chassis${chassis}-runs`);
}

/** Each run is a file of its own, so that what is torn or was not written takes no other with it. */
export function createBlackBox({ stateDir, runDir, chassis, disk, clock }: BlackBoxOptions): BlackBox {
  const folder = runsFolder(stateDir, chassis);
  const aside = join(runDir, `chassis${chassis}-run.json`);
  let last: Promise<unknown> = Promise.resolve();
  let waiting = 0;

  const readAside = (): RunRecord | null => {
    try {
      return runOf(readRegularFile(aside, { maxBytes: MOST_BYTES, onlyOwn: true }).toString('utf8'));
    } catch {
      // None was put aside, or not by this program: the run that goes on is a run of its own then.
      return null;
    }
  };
  const notKept = (why: string) => `the run of chassis ${chassis} is not kept in ${folder}: ${why}`;

  return {
    async keep(run) {
      if (waiting >= MOST_WAITING) return notKept('the disk has not answered for the runs before');
      waiting += 1;
      const writing = last.then(() => write(disk, folder, run));
      last = writing
        .catch(() => undefined)
        .then(() => {
          waiting -= 1;
        });
      try {
        if (await endsWithin(clock, ANSWER_MS, writing)) return null;
        return notKept(`the disk has not answered for ${ANSWER_MS / 1000} s`);
      } catch (error) {
        return notKept(fileProblem(error));
      }
    },

    async read() {
      const { runs, problems } = await readAll(disk, folder);
      const under = readAside();
      if (under !== null) runs.push({ ...under, number: (runs.at(-1)?.number ?? 0) + 1 });
      return { runs, problems };
    },

    lastFailure: () => readLastFailure(disk, folder),

    putAside(run) {
      try {
        writeDurably(aside, textOf(run));
        return null;
      } catch (error) {
        removeIfPossible(aside);
        return notKept(fileProblem(error));
      }
    },

    takeAside() {
      const run = readAside();
      removeIfPossible(aside);
      return run;
    },
  };
}

async function readAll(disk: Disk, folder: string): Promise<{ runs: KeptRun[]; problems: string[] }> {
  const problems: string[] = [];
  const runs: KeptRun[] = [];
  let names: readonly string[] = [];
  try {
    names = await disk.list(folder);
  } catch (error) {
    problems.push(`${folder} cannot be read (${fileProblem(error)})`);
  }
  for (const name of names) {
    const kept = fileOf(name);
    // A run that was being written when the power went.
    if (kept === null && name.startsWith('.')) continue;
    const path = join(folder, name);
    try {
      if (kept === null) problems.push(`${path} is passed over: it is no run`);
      else runs.push({ ...runOf(await disk.read(path, MOST_BYTES)), number: kept.number });
    } catch (error) {
      // Another process has let go of it meanwhile.
      if (errnoCode(error) === 'ENOENT') continue;
      problems.push(`${path} is passed over: ${fileProblem(error)}`);
    }
  }
  runs.sort((a, b) => a.number - b.number || a.startedMs - b.startedMs);
  return { runs, problems };
}

async function readLastFailure(disk: Disk, folder: string): Promise<KeptRun | null> {
  const names = await disk.list(folder).catch(() => []);
  const failed = names.flatMap((name) => fileOf(name) ?? []).filter(({ kind }) => kind === 'fault');
  for (const { name, number } of failed.sort((a, b) => b.number - a.number)) {
    try {
      return { ...runOf(await disk.read(join(folder, name), MOST_BYTES)), number };
    } catch {
      // `read` tells what is wrong with it; the one before is the last that can be shown.
    }
  }
  return null;
}

/** The file of a run by its name: `fault-000017-5a0c3e21.json`. */
interface RunFile {
  readonly name: string;
  readonly kind: string;
  readonly number: number;
  /** Of a run that drove nothing what it failed with; else random, for two processes that write at once. */
  readonly mark: string;
}

const NAME = /^(run|fault)-(\d{6,15})-([0-9a-f]{8})\.json$/;

function fileOf(name: string): RunFile | null {
  const [, kind = '', number = '', mark = ''] = NAME.exec(name) ?? [];
  return kind === '' ? null : { name, kind, number: Number(number), mark };
}

/** What is being written has its name with a dot in front. */
function unfinishedOf(name: string): RunFile | null {
  return name.startsWith('.') ? fileOf(name.slice(1)) : null;
}

async function write(disk: Disk, folder: string, run: RunRecord): Promise<void> {
  await disk.makeDirectory(folder);
  const names = await disk.list(folder);
  const kept = names.flatMap((name) => fileOf(name) ?? []).sort((a, b) => a.number - b.number);
  const unfinished = names.flatMap((name) => unfinishedOf(name) ?? []);
  const repeated = markOfRepeat(run);
  if (repeated !== null && kept.at(-1)?.mark === repeated) return;
  const number = 1 + Math.max(0, ...[...kept, ...unfinished].map((each) => each.number));
  const kind = hasFailed(run) ? 'fault' : 'run';
  const mark = repeated ?? randomMark();
  const name = `${kind}-${String(number).padStart(6, '0')}-${mark}.json`;
  await createWhole(disk, join(folder, name), `.${name}`, textOf(run));
  const own = kept.filter((each) => each.kind === kind);
  const gone = [
    ...own.slice(0, Math.max(0, own.length + 1 - MOST_RUNS)).map((each) => each.name),
    ...unfinished.map((each) => `.${each.name}`),
  ];
  for (const each of gone) await disk.remove(join(folder, each));
}

/** What a run that drove nothing failed with; null for one that drove something, or reached what was asked for. */
function markOfRepeat({ asked, failure, trace }: RunRecord): string | null {
  if (failure === null || trace.some(({ type }) => DRIVES.includes(type))) return null;
  return sha256(Buffer.from(JSON.stringify([asked, failure]))).slice(0, 8);
}

/** Entries of a run that switched something, or tried to. */
const DRIVES: readonly string[] = ['enable', 'reset', 'latch', 'driveFailed', 'state', 'fault'];

/** What is kept of a trace that is too long: first the entries that say what it was, then those nearest to its fault or end. */
const WEIGHTY: readonly string[] = [
  'reconciled',
  'request',
  'hostOff',
  'missed',
  'fault',
  'evidence',
  'diagnosis',
  'state',
];

/** The text of a run, no longer than `MOST_BYTES`. */
function textOf(run: RunRecord): string {
  const whole = JSON.stringify({ schema: RUN_VERSION, ...run });
  if (Buffer.byteLength(whole) < MOST_BYTES) return `${whole}\n`;
  const { trace } = run;
  const at = trace.findIndex(({ type }) => type === 'fault');
  const centre = at < 0 ? trace.length - 1 : at;
  const rank = (index: number) =>
    WEIGHTY.includes(trace[index]?.type ?? '') ? -1 : Math.abs(index - centre);
  const order = [...trace.keys()].sort((a, b) => rank(a) - rank(b));
  const bare = JSON.stringify({ schema: RUN_VERSION, ...run, trace: [], left: run.left + trace.length });
  let room = MOST_BYTES - 1 - Buffer.byteLength(bare);
  const kept = new Set<number>();
  for (const index of order) {
    const bytes = Buffer.byteLength(JSON.stringify(trace[index])) + 1;
    if (bytes > room) continue;
    room -= bytes;
    kept.add(index);
  }
  const left = run.left + trace.length - kept.size;
  return `${JSON.stringify({
    schema: RUN_VERSION,
    ...run,
    trace: trace.filter((_, index) => kept.has(index)),
    left,
  })}\n`;
}

/** Throws with a clause that says what is wrong with it. */
function runOf(text: string): RunRecord {
  let parsed: unknown;
  try {
    parsed = JSON.parse(text);
  } catch {
    throw new TypeError('it is no whole JSON');
  }
  const fitting = fitted(RUN_SHAPE, {}, parsed) as Run | undefined;
  if (fitting === undefined) throw new TypeError(`it is no run of version ${RUN_VERSION}`);
  const { schema, ...run } = fitting;
  return run;
}
