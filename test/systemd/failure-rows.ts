/** The rows of `docs/failures.md`, for the suites that play them. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';

const DOCUMENT = readFileSync(join(import.meta.dirname, '..', '..', 'docs', 'failures.md'), 'utf8');
const [BEFORE = '', AFTER = ''] = DOCUMENT.split('\n## Beside phosphor-state-manager\n');
/** What holds with our own targets. */
export const LEGACY = BEFORE;
/** What holds with today's names, beside phosphor-state-manager: the last section. */
export const CURRENT = AFTER;

export interface Row {
  /** First column, and the title of its test. */
  readonly name: string;
  /** Second column, from which all but the last of the following are. */
  readonly happens: string;
  /** Exit codes by unit or command: `op-power-start@0`, `chassis-power on`. */
  readonly exits: Readonly<Record<string, number>>;
  /** ActiveState by unit. */
  readonly states: Readonly<Record<string, string>>;
  /** Which enables are on in the end: `every enable off`, `only P5V on`. */
  readonly enables: string;
  /** Third column: lines, each to be found whole. */
  readonly says: readonly { readonly source: Source; readonly line: string }[];
}

/** Where a line is found: `journalctl -t chassis-power`, `journalctl -u`, what the command printed. */
export type Source = 'journal' | 'systemd' | 'printed';

export function rowsOf(document: string): Row[] {
  const lines = document.split('\n').filter((line) => /^\|(?! *(---|What fails))/.test(line));
  return lines.map((line) => {
    const [name = '', happens = '', looks = '', ...more] = line
      .split('|')
      .slice(1, -1)
      .map((cell) => cell.trim());
    const pairs = (pattern: RegExp) =>
      [...happens.matchAll(pattern)].map(([, who = '', what = '']) => [who, what] as const);
    const exits = pairs(/`([^`]+)` exits (\d+)/g).map(([who, code]) => [who, Number(code)] as const);
    const states = pairs(/`([\w-]+@0)` (active|inactive|failed)/g);
    const enables = happens.match(/\b(every enable (on|off)|(only|all but) `\w+` on)\b/gi) ?? [];
    const lacking = [
      looks === '' || more.length > 0 ? ['three columns'] : [],
      exits.length === 0 && !states.some(([, state]) => state === 'failed') ? ['an exit code'] : [],
      states.length === 0 ? ['a unit with its state'] : [],
      enables.length !== 1 ? ['the enables, once'] : [],
    ].flat();
    if (lacking.length > 0) throw new Error(`docs/failures.md, "${name}" must have ${lacking.join(', ')}`);
    return {
      name,
      happens,
      exits: Object.fromEntries(exits),
      states: Object.fromEntries(states),
      enables: (enables[0] ?? '').toLowerCase(),
      says: looks.split('<br>').map((item) => {
        const [, source = 'journal', text] = /^(?:(systemd|printed): )?`([^`]+)`$/.exec(item) ?? [];
        if (text === undefined)
          throw new Error(`docs/failures.md, "${name}": not a line in backticks: ${item}`);
        return { source: source as Source, line: text };
      }),
    };
  });
}

/** Matches a whole line: `…` is any text, and everything else is meant as it stands. */
export function patternOf(line: string): RegExp {
  const parts = line.split('…').map((part) => part.replaceAll(/[\\^$.*+?()[\]{}|]/g, '\\$&'));
  return new RegExp(`^${parts.join('.+')}$`, 'm');
}

/** Text in which the program has its own name: in the simulator it tells the simulator's. */
export function asShipped(texts: readonly string[]): string {
  return texts.join('\n').replaceAll(/^chassis-power-sim:/gm, 'chassis-power:');
}
