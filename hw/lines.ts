import type { LineRef } from './ports.ts';

/**
 * Offset of a line in its chip. ASPEED names a pin by port letters and bit: eight pins a port, ports A to
 * Z, then AA, AB … (AST2600 data sheet, GPIO chapter; `gpio-aspeed.c` numbers its banks the same way).
 * So `C0` is 16 and `AA3` is 211. Undefined for text that is not a port name.
 */
export function lineOffset(line: number | string): number | undefined {
  if (typeof line === 'number') return line;
  const match = /^([A-Z]{1,2})([0-7])$/.exec(line);
  if (!match) return undefined;
  const [, letters = '', bit = ''] = match;
  let port = 0;
  for (const letter of letters) port = port * 26 + (letter.charCodeAt(0) - 64);
  return (port - 1) * 8 + Number(bit);
}

/** One text for one physical line, however the board file writes it: `1e780000.gpio/16`, `name:PGOOD`. */
export function lineKey(ref: LineRef): string {
  if ('name' in ref) return `name:${ref.name}`;
  return `${ref.chip}/${lineOffset(ref.line) ?? ref.line}`;
}

/** The line as the board file names it, for messages: `line C0 of 1e780000.gpio`, `line "PGOOD"`. */
export function lineLabel(ref: LineRef): string {
  return 'name' in ref ? `line "${ref.name}"` : `line ${ref.line} of ${ref.chip}`;
}
