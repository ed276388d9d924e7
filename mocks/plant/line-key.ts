import type { LineRef } from '../../hw/ports.ts';

/**
 * One text for one physical line, however it is written: `1e780000.gpio/16` for pin C0, `name:PGOOD`.
 * Undefined for what names no line. Written apart from `hw/lines.ts`, which it is to catch mistakes of.
 */
export function lineKey(ref: LineRef): string | undefined {
  if ('name' in ref) return `name:${ref.name}`;
  const offset = typeof ref.line === 'number' ? ref.line : portOffset(ref.line);
  return offset === undefined || !Number.isInteger(offset) || offset < 0
    ? undefined
    : `${ref.chip}/${offset}`;
}

/** The chip of a line, by its key. A line that nothing but its name tells of is on a chip of its own. */
export function chipOf(key: string): string {
  return /^(?!name:)(.*)\/\d+$/.exec(key)?.[1] ?? key;
}

/** ASPEED ports hold eight pins each; after port Z come AA, AB … (gpio-aspeed.c). */
function portOffset(pin: string): number | undefined {
  const [, high, low, bit] = /^([A-Z])?([A-Z])([0-7])$/.exec(pin) ?? [];
  if (low === undefined) return undefined;
  const port = 'ABCDEFGHIJKLMNOPQRSTUVWXYZ';
  const block = high === undefined ? 0 : 26 * (port.indexOf(high) + 1);
  return 8 * (block + port.indexOf(low)) + Number(bit);
}
