import type { KeptRun, Recorded, RunRecord } from '../run/record.ts';
import { evidenceText, linesOf, timedLine } from './lines.ts';
import { STATE_WORDS } from './words.ts';

/** In which boot a run was, as people count them. */
export type BootOf = (run: Pick<RunRecord, 'bootId'>) => string;

export function bootOf(bootId: string): BootOf {
  return (run) => (run.bootId === bootId ? 'this boot' : 'an earlier boot');
}

/**
 * The entries of a kept run, as a run tells them. One that an older or newer program wrote, and that says nothing here, is
 * passed over.
 */
export function entriesOf({ trace }: Pick<RunRecord, 'trace'>): readonly Recorded[] {
  return trace.filter(isRecorded);
}

function isRecorded(entry: RunRecord['trace'][number]): entry is RunRecord['trace'][number] & Recorded {
  try {
    if (entry.type === 'reconciled') {
      const { rails, resetsAsserted, state } = entry;
      if (!isRecord(rails) || !isRecord(resetsAsserted) || !isState(state)) return false;
      if (!Object.values(rails).every(isRecord)) return false;
    }
    if (entry.type === 'state' && !isState(entry.to)) return false;
    if (entry.type === 'fault' && !(isRecord(entry.fault) && typeof entry.fault.reason === 'string'))
      return false;
    return linesOf(entry as unknown as Recorded).every(({ text }) => typeof text === 'string');
  } catch {
    return false;
  }
}

function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null;
}

function isState(value: unknown): boolean {
  return typeof value === 'string' && Object.hasOwn(STATE_WORDS, value);
}

/** `run 17  2026-11-22 07:40:11 UTC, an earlier boot: start, wait-on by op-power-start@0.service`. */
export function headOf(run: KeptRun, boot: BootOf): string {
  return `run ${run.number}  ${timeText(run.startedAt)}, ${boot(run)}: ${run.asked.join(', ')} by ${run.by.join(', ')}`;
}

function timeText(startedAt: string): string {
  return `${startedAt.slice(0, 19).replace('T', ' ')} UTC`;
}

/** How it ended, as a clause. */
export function outcomeOf({ chassis, failure, ended }: RunRecord): string {
  if (failure !== null) return failure.message.replace(new RegExp(`^chassis ${chassis}: `), '');
  return ended === null ? 'no end was seen' : `came to ${STATE_WORDS[ended].name}`;
}

/** One line for a list of runs. */
export function runLine(run: KeptRun, boot: BootOf): string {
  return `${headOf(run, boot)}: ${outcomeOf(run)}\n`;
}

/** All that a run knew, for people: what it was, how it ended, the times of each rail and what the devices said. */
export function runText(run: KeptRun, boot: BootOf): string {
  const { fault, times, board } = run;
  const facts = [
    `  ended: ${outcomeOf(run)}`,
    ...(fault === null
      ? []
      : [
          `  fault: ${fault.reason} (in ${STATE_WORDS[fault.state].name}${fault.rail === null ? '' : `, rail ${fault.rail}`})`,
        ]),
    `  took: ${run.tookMs.toFixed(1)} ms, on board ${board.name}`,
  ];
  const width = Math.max(0, ...Object.keys(times).map((name) => name.length));
  const rails = Object.entries(times).map(([name, time]) => {
    const told = [
      ['enabled', time.enabledMs],
      ['good', time.goodMs],
      ['disabled', time.disabledMs],
      ['gone', time.goneMs],
    ] as const;
    const parts = told.flatMap(([what, ms]) => (ms === null ? [] : [`${what} ${ms.toFixed(1)} ms`]));
    return `  rail ${name.padEnd(width)}  ${parts.join('  ') || 'not switched'}`;
  });
  const evidence = entriesOf(run).flatMap((entry) => {
    if (entry.type === 'diagnosis') return linesOf(entry).map(({ text }) => `  ${text}`);
    return entry.type === 'evidence' ? entry.evidence.map((each) => `  ${evidenceText(each)}`) : [];
  });
  return `${[headOf(run, boot), ...facts, ...rails, ...evidence, ...leftText(run)].join('\n')}\n`;
}

/** What happened, in its order. */
export function traceText(run: KeptRun, boot: BootOf): string {
  const lines = entriesOf(run).flatMap((entry) =>
    linesOf(entry).map(({ text }) => timedLine(entry.atMs, text)),
  );
  return `${[headOf(run, boot), ...lines, `  ended: ${outcomeOf(run)}`, ...leftText(run)].join('\n')}\n`;
}

function leftText(run: KeptRun): string[] {
  const left = run.left + run.trace.length - entriesOf(run).length;
  return left === 0 ? [] : [`  ${left} entries of its trace were not kept`];
}

/** A line below the report of a chassis. */
export function lastFailureText(run: KeptRun, bootId: string): string {
  return `  last failure: ${headOf(run, bootOf(bootId))}: ${outcomeOf(run)}\n`;
}

/** All of a run but its trace, with what the devices said and what was made of it. */
export function withoutTrace({ trace, ...run }: KeptRun): object {
  const entries = entriesOf({ trace });
  const evidence = entries.flatMap((entry) => (entry.type === 'evidence' ? entry.evidence : []));
  const diagnosis = entries.findLast((entry) => entry.type === 'diagnosis')?.diagnosis ?? null;
  return { ...run, evidence, diagnosis };
}
