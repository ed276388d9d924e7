import { oneLine } from '../printable.ts';
import type { Recorded, Recorder } from '../run/record.ts';
import { diagnosisText, missedText, placeOf } from '../sequence/causes.ts';
import type { State } from '../sequence/state.ts';
import type { Output } from '../system/ports.ts';
import { CRITICAL, ERROR, INFO, NOTICE, severityMark, WARNING } from '../system/severity.ts';
import { STATE_WORDS } from './words.ts';

type Evidence = Extract<Recorded, { type: 'evidence' }>['evidence'][number];

interface Line {
  readonly severity: number;
  readonly text: string;
}

/** The lines for an entry of the record: one, or one for each page that was asked for evidence. */
export function linesOf(entry: Recorded): readonly Line[] {
  const lines =
    entry.type !== 'evidence' || entry.evidence.length === 0
      ? [lineOf(entry)]
      : entry.evidence.map((each) => ({ severity: NOTICE, text: `evidence: ${evidenceText(each)}` }));
  return lines.map(({ severity, text }) => ({ severity, text: oneLine(text) }));
}

function lineOf(entry: Recorded): Line {
  const info = (text: string) => ({ severity: INFO, text });
  switch (entry.type) {
    case 'reconciled':
      return info(
        `lines read: ${entry.state}, pgood ${pgoodText(entry)}` +
          (entry.hint !== null && entry.hint !== entry.state ? ` (last known: ${entry.hint})` : ''),
      );
    case 'request':
      return entry.outcome === 'rejected'
        ? { severity: ERROR, text: `${requestText(entry.request)} rejected: ${entry.reason}` }
        : info(`${requestText(entry.request)}${entry.outcome === 'unchanged' ? ': already so' : ''}`);
    case 'absent':
      return info(absentText(entry.rails));
    case 'state':
      return {
        severity: entry.to === 'fault' || entry.to === 'failed' ? ERROR : NOTICE,
        text: stateText(entry.to),
      };
    case 'enable':
      return info(`rail ${entry.rail} ${entry.asserted ? 'enabled' : 'disabled'}`);
    case 'reset':
      return info(`reset ${entry.reset} ${entry.asserted ? 'asserted' : 'released'}`);
    case 'latch':
      return info('enables latched');
    case 'rail':
      return {
        severity: entry.phase === 'stuck' ? ERROR : INFO,
        text: `rail ${entry.rail} ${railText(entry.phase, entry.good)}`,
      };
    case 'pgood':
      return info(`pgood ${entry.level ? 'asserted' : 'gone'}`);
    case 'hostOff':
      return { severity: NOTICE, text: `the host of rail ${entry.rail} has switched itself off` };
    case 'missed':
      return { severity: ERROR, text: missedText(entry.reason) };
    case 'fault':
      return { severity: CRITICAL, text: `fault: ${entry.fault.reason}` };
    case 'driveFailed':
      return { severity: ERROR, text: `not driven: ${entry.reason}` };
    case 'readFailed':
      return { severity: ERROR, text: `not read: ${entry.reason}` };
    case 'evidence':
      return info('no device to ask for the cause');
    case 'diagnosis':
      return { severity: ERROR, text: `diagnosis: ${diagnosisText(entry.diagnosis)}` };
    case 'warning':
      return { severity: WARNING, text: entry.message };
  }
}

function absentText(rails: readonly string[]): string {
  const one = rails.length === 1;
  return `${one ? 'rail' : 'rails'} ${rails.join(', ')} left out: ${one ? 'its part is' : 'their parts are'} absent`;
}

function stateText(state: State): string {
  const { name, doing } = STATE_WORDS[state];
  return doing === undefined ? name : `${name}: ${doing}`;
}

function pgoodText({ pgood, unread }: Extract<Recorded, { type: 'reconciled' }>): string {
  if (unread?.some(({ signal }) => signal === 'pgood')) return 'could not be read';
  return pgood ? 'asserted' : 'not asserted';
}

function requestText(request: string): string {
  return request.toLowerCase().replace('_', ' ');
}

function railText(phase: string, good: boolean): string {
  switch (phase) {
    case 'rising':
      return good ? 'good, settling' : 'rising';
    case 'up':
      return good ? 'up' : 'no longer good';
    case 'falling':
      return 'falling';
    case 'stuck':
      return 'stuck: it does not go down';
    default:
      return good ? 'good' : 'down';
  }
}

/** What a device says of one of its pages, or a chip of one of its inputs, for people. */
export function evidenceText(said: Evidence): string {
  const { page, status, voutVolts, voltsBefore, limits, error } = said;
  const facts = [
    ...status.map(statusText),
    ...(voutVolts === null ? [] : [`${page === null ? '' : 'READ_VOUT '}${voltsText(voutVolts)}`]),
    ...(voltsBefore === null ? [] : [`${voltsText(voltsBefore)} while it was on`]),
    ...limitTexts(limits),
    ...(error === null ? [] : [error]),
  ];
  return `${placeOf(said)}: ${facts.join(', ')}`;
}

/** The limits that were passed; all of them where none was, or where nobody knows. */
function limitTexts(limits: Evidence['limits']): string[] {
  const passed = limits.filter((limit) => limit.passed);
  if (passed.length === 0) return limits.map(({ limit, volts }) => `${limit} ${voltsText(volts)}`);
  return passed.map(({ limit, volts, wrong }) => `${wrong} ${limit} ${voltsText(volts)}`);
}

export function voltsText(volts: number): string {
  return `${volts.toFixed(3)} V`;
}

function statusText({ register, value, bits }: Evidence['status'][number]): string {
  const digits = register === 'STATUS_WORD' ? 4 : 2;
  const means = bits.length === 0 ? '' : ` (${bits.map((bit) => bit.means).join(', ')})`;
  return `${register} 0x${value.toString(16).padStart(digits, '0')}${means}`;
}

/** Writes each entry as a line with a JSON object; `atMs` counts from the first entry. */
export function jsonReporter(out: Output): Recorder {
  let startMs: number | undefined;
  return (entry) => {
    startMs ??= entry.atMs;
    const { atMs, ...happening } = entry;
    out.write(`${JSON.stringify({ atMs: Math.round((atMs - startMs) * 1000) / 1000, ...happening })}\n`);
  };
}

/** Whether a picture can be drawn over there: on a terminal that does not say, as serial lines and editors do, that it cannot. */
export function isDrawnOver(out: Output, env: { readonly TERM?: string | undefined }): boolean {
  return out.columns !== null && env.TERM !== 'dumb';
}

/**
 * Writes each entry for people. In the journal a line begins with its severity, elsewhere with the time since the
 * first entry.
 */
export function lineReporter(out: Output, chassis: number): Recorder {
  let startMs: number | undefined;
  return (entry) => {
    startMs ??= entry.atMs;
    const atMs = entry.atMs - startMs;
    const lines = linesOf(entry).map(({ severity, text }) =>
      out.journal ? `${severityMark(out, severity)}chassis ${chassis}: ${text}` : timedLine(atMs, text),
    );
    out.write(`${lines.join('\n')}\n`);
  };
}

/** A line with its time. */
export function timedLine(atMs: number, text: string): string {
  return `${atMs.toFixed(1).padStart(9)} ms  ${text}`;
}
