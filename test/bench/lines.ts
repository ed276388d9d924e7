import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { dir } from './rig.ts';

/** Lines that are files, as the kernel has them for lines that are exported: what a start costs does not depend on a chip. */
const GPIO = '/sys/class/gpio';
const BASE = 512;
/** Enable and good of each rail, pgood and a reset. */
export const LINES = 14;
const MOST_CHASSIS = 12;

/** Writes the lines of chassis that are on. Only for a namespace in which /sys/class is an empty tmpfs. */
export function writeLines(): void {
  const write = (folder: string, files: Record<string, string | number>): void => {
    mkdirSync(join(GPIO, folder), { recursive: true });
    for (const [name, text] of Object.entries(files)) writeFileSync(join(GPIO, folder, name), `${text}\n`);
  };
  write(`gpiochip${BASE}`, { label: 'soc', base: BASE, ngpio: LINES * MOST_CHASSIS });
  for (let line = 0; line < LINES * MOST_CHASSIS; line += 1) {
    const role = line % LINES;
    const direction = role % 2 === 0 && role !== LINES - 2 ? 'out' : 'in';
    write(`gpio${BASE + line}`, { value: 1, direction, active_low: 0 });
  }
}

/** The path of a board with so many chassis on those lines. */
export function linesBoard(chassis: number): string {
  const text = JSON.stringify({
    name: 'bench',
    devices: {},
    chassis: Object.fromEntries(
      Array.from({ length: chassis }, (_, number) => [number, chassisOn(LINES * number)]),
    ),
  });
  const path = join(dir, `lines-${chassis}.json`);
  writeFileSync(path, text);
  return path;
}

function chassisOn(first: number): object {
  const at = (line: number) => ({ chip: 'soc', line: first + line });
  const rails = Object.fromEntries(
    Array.from({ length: LINES / 2 - 1 }, (_, number) => [
      `P${number}`,
      { enable: at(2 * number), good: at(2 * number + 1) },
    ]),
  );
  return { rails, pgood: at(LINES - 2), resets: { host: { ...at(LINES - 1), active: 'low' } } };
}
