/** Control characters of C0 and C1, and what Unicode has that begins a line or turns its direction. */
const OTHERS = '\\u007f-\\u009f\\u061c\\u200e\\u200f\\u2028-\\u202e\\u2066-\\u2069';
const UNPRINTABLE = `\\u0000-\\u001f${OTHERS}`;
const ANY = new RegExp(`[${UNPRINTABLE}]`, 'g');
const RUNS = new RegExp(`[${UNPRINTABLE}]+`, 'g');
const BEYOND_C0 = new RegExp(`[${OTHERS}]`, 'g');

/** A text that stays in its line, and commands no terminal. */
export const PRINTABLE = new RegExp(`^[^${UNPRINTABLE}]*$`);

/** The first character of a text that others are not shown, as people write it; null where there is none. */
export function unprintableIn(text: string): string | null {
  const found = text.match(ANY)?.[0];
  return found === undefined ? null : `U+${found.charCodeAt(0).toString(16).toUpperCase().padStart(4, '0')}`;
}

/** The text without such characters. */
export function withoutUnprintable(text: string): string {
  return text.replaceAll(ANY, '');
}

/** The text with a space for each of them, so that its columns stay. */
export function blanked(text: string): string {
  return text.replaceAll(ANY, ' ');
}

/** A text with what others made up in it, as one line that commands no terminal and begins no entry of the journal. */
export function oneLine(text: string): string {
  return text.replaceAll(RUNS, ' ');
}

/** JSON that is the same when it is parsed, and commands no terminal before: JSON itself escapes the characters of C0 alone. */
export function escapedJson(text: string): string {
  return text.replaceAll(
    BEYOND_C0,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );
}
