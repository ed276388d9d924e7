import type { Output } from './ports.ts';

/** Severities of syslog (RFC 5424, table 2) as far as they are used. */
export const CRITICAL = 2;
export const ERROR = 3;
export const WARNING = 4;
export const NOTICE = 5;
export const INFO = 6;

/** What a line begins with so that the journal knows how grave it is; nothing for any other reader. */
export function severityMark({ journal }: Pick<Output, 'journal'>, severity: number): string {
  return journal ? `<${severity}>` : '';
}

/** Writes one line as grave as that. */
export function writeLine(out: Output, severity: number, text: string): void {
  out.write(`${severityMark(out, severity)}${text}\n`);
}
