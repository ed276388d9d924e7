import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { stripVTControlCharacters } from 'node:util';
import { describe, expect, it } from 'vitest';
import { createMockGpio } from '../../mocks/backends/gpio.ts';
import { createMockI2c } from '../../mocks/backends/i2c.ts';
import { createPlant } from '../../mocks/plant/plant.ts';
import { createVirtualClock } from '../../mocks/virtual-clock.ts';
import { runCommandLine } from '../../src/cli/main.ts';
import { liveReporter } from '../../src/report/live-view.ts';
import { JOBS } from '../../src/run/jobs.ts';
import { createBench, shippedBoard } from './bench.ts';
import { createVerbWorld } from './verb-world.ts';
import './load-verbs.ts';

it.each([
  ['vt220', true],
  ['dumb', false],
])('a terminal that says that it is %s is drawn over: %s', async (TERM, isDrawn) => {
  const dir = mkdtempSync(join(tmpdir(), 'live-'));
  try {
    const clock = createVirtualClock();
    const plant = createPlant({ board: shippedBoard('reference'), clock });
    let printed = '';
    const stdout = {
      write: (text: string) => {
        printed += text;
      },
      columns: 80,
      journal: false,
    };
    const mocks = { gpio: async () => createMockGpio(plant), i2c: async () => createMockI2c(plant) };
    const { world } = createVerbWorld({ clock, ...mocks, stdout, env: { TERM } }, dir);
    const board = join(import.meta.dirname, '..', '..', 'hw', 'boards', 'reference.json');
    expect(await clock.runUntil(runCommandLine(['on', '--board', board], world))).toBe(0);
    expect(printed.includes('\u001b[')).toBe(isDrawn);
    expect(/^ *\d+\.\d ms {2}rail PVCORE up$/m.test(printed)).toBe(!isDrawn);
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
});

describe('the live view', () => {
  it('leaves nothing of the picture beside a line that the terminal breaks', async () => {
    const bench = createBench('reference', { faults: ['rail PVCORE never good'] });
    const screen = createScreen(30, 44);
    const out = { write: screen.write, columns: 44, rows: 30, journal: false };
    await bench.run(JOBS.on, { record: liveReporter(out, bench.plan) });
    const told = screen.lines().findIndex((line) => line.startsWith('fault: rail PVCORE'));
    expect(
      screen
        .lines()
        .slice(told, told + 2)
        .join(''),
    ).toBe('fault: rail PVCORE was not good within 500 ms of its enable');
  });

  it.each([40, 200])(
    'on %i columns breaks no line, so that each is drawn over as a whole',
    async (columns) => {
      const bench = createBench('reference');
      let drawn = '';
      const out = {
        write: (text: string) => {
          drawn += text;
        },
        columns,
        journal: false,
      };
      await bench.run(JOBS.on, { record: liveReporter(out, bench.plan) });
      const lines = stripVTControlCharacters(drawn).split('\n');
      expect(lines.length).toBeGreaterThan(50);
      expect(Math.max(...lines.map((line) => [...line].length))).toBeLessThanOrEqual(columns);
      expect(lines.some((line) => line.includes('PVCORE'))).toBe(true);
      if (columns === 200) expect(drawn).toContain('needs P5V, PVDDQ');
    },
  );

  it.each([2, 4, 7, 24])('on %i rows draws over all that it has drawn, and nothing else', async (rows) => {
    const bench = createBench('reference', { faults: ['rail P1V8 never good'] });
    const screen = createScreen(rows, 80);
    const out = { write: screen.write, columns: 80, rows, journal: false };
    await bench.run(JOBS.on, { record: liveReporter(out, bench.plan) });
    const stages = screen.lines().filter((line) => line.includes(' → '));
    expect(stages).toHaveLength(1);
    expect(stages[0]).toContain('failed');
    for (const { name } of bench.plan.rails) {
      const drawn = screen
        .lines()
        .filter((line) => line.startsWith(`  ${name} `) || line.startsWith(`✗ ${name} `));
      expect(drawn.length, name).toBeLessThanOrEqual(1);
      if (rows === 24) expect(drawn).toHaveLength(1);
    }
  });
});

const ESC = '\u001b';
const PARTS = new RegExp(`${ESC}\\[\\d*[A-Za-z]|\\n|[^${ESC}\\n]`, 'gu');

/** What a terminal of that size shows, and what has left it at the top: letters, new lines and the sequences of the view. */
function createScreen(rows: number, columns: number) {
  const kept: string[][] = [[]];
  let row = 0;
  let column = 0;
  const next = () => {
    row += 1;
    column = 0;
    if (row === kept.length) kept.push([]);
  };
  return {
    lines: () => kept.map((letters) => letters.join('')),
    write: (text: string) => {
      for (const [part] of text.matchAll(PARTS)) {
        // The cursor goes no higher than the first row that is shown.
        const top = Math.max(0, kept.length - rows);
        if (part === '\n') next();
        else if (part.startsWith(ESC) && part.endsWith('A'))
          row = Math.max(top, row - Number.parseInt(part.slice(2), 10));
        else if (part === `${ESC}[2K`) kept[row] = [];
        else if (part === `${ESC}[J`) kept.splice(row, kept.length, []);
        else if (!part.startsWith(ESC)) {
          if (column === columns) next();
          const line = kept[row] ?? [];
          line[column] = part;
          column += 1;
        }
      }
    },
  };
}
