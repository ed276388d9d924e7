import { oneLine } from '../printable.ts';
import type { Output } from './ports.ts';

/** Severities of syslog (RFC 5424, table 2) that are used here. */
export const CRITICAL = 2;
export const ERROR = 3;
export const WARNING = 4;
export const NOTICE = 5;
export const INFO = 6;

/** The begin of a line, from which the journal takes its severity; empty for any other reader. */
export function severityMark({ journal }: Pick<Output, 'journal'>, severity: number): string {
  return journal ? `<${severity}>` : '';
}

/** Writes one line with its severity. */
export function writeLine(out: Output, severity: number, text: string): void {
  out.write(`${severityMark(out, severity)}${oneLine(text)}\n`);
}
