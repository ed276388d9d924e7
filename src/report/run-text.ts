import { oneLine } from '../printable.ts';
import type { KeptRun, RunRecord } from '../run/record.ts';
import { entriesOf } from './kept-entries.ts';
import { evidenceText, linesOf, timedLine } from './lines.ts';
import { STATE_WORDS } from './words.ts';

/** In which boot a run was, as people count them. */
export type BootOf = (run: Pick<RunRecord, 'bootId'>) => string;

export function bootOf(bootId: string): BootOf {
  return (run) => (run.bootId === bootId ? 'this boot' : 'an earlier boot');
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

/** Each of them stays in its line, whatever the file of the run holds. */
function linesText(lines: readonly string[]): string {
  return lines.map((line) => `${oneLine(line)}\n`).join('');
}

/** One line for a list of runs. */
export function runLine(run: KeptRun, boot: BootOf): string {
  return linesText([`${headOf(run, boot)}: ${outcomeOf(run)}`]);
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
  return linesText([headOf(run, boot), ...facts, ...rails, ...evidence, ...leftText(run)]);
}

/** What happened, in its order. */
export function traceText(run: KeptRun, boot: BootOf): string {
  const lines = entriesOf(run).flatMap((entry) =>
    linesOf(entry).map(({ text }) => timedLine(entry.atMs, text)),
  );
  return linesText([headOf(run, boot), ...lines, `  ended: ${outcomeOf(run)}`, ...leftText(run)]);
}

function leftText(run: KeptRun): string[] {
  const left = run.left + run.trace.length - entriesOf(run).length;
  return left === 0 ? [] : [`  ${left} entries of its trace were not kept`];
}

/** A line below the report of a chassis. */
export function lastFailureText(run: KeptRun, bootId: string): string {
  return linesText([`  last failure: ${headOf(run, bootOf(bootId))}: ${outcomeOf(run)}`]);
}

/** All of a run but its trace, with what the devices said and what was made of it. */
export function withoutTrace({ trace, ...run }: KeptRun): object {
  const entries = entriesOf({ trace });
  const evidence = entries.flatMap((entry) => (entry.type === 'evidence' ? entry.evidence : []));
  const diagnosis = entries.findLast((entry) => entry.type === 'diagnosis')?.diagnosis ?? null;
  return { ...run, evidence, diagnosis };
}
