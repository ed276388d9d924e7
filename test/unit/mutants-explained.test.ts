import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import tests from '../mutants/rooms.json' with { type: 'json' };
import survivors from '../mutants/survivors.json' with { type: 'json' };

const root = join(import.meta.dirname, '..', '..');

/** Of what is explained, what no line of the file is changed by. A mutant is `its line | the text => what takes its place`. */
function outdated(file: string, mutants: readonly string[]): string[] {
  const lines = readFileSync(join(root, file), 'utf8')
    .split('\n')
    .map((line) => line.trim());
  return mutants.filter((mutant) => {
    const line = lines.find((each) => each !== '' && mutant.startsWith(`${each} | `));
    if (line === undefined) return true;
    const [text = ''] = mutant.slice(line.length + ' | '.length).split(' => ', 1);
    return !line.includes(text.replace(/ …$/, ''));
  });
}

describe('what is said of mutants that no test notices', () => {
  it.each(survivors)('is of lines that are there: $file, $reason', ({ file, mutants }) => {
    expect(outdated(file, mutants)).toEqual([]);
    expect(mutants).not.toEqual([]);
  });

  it('is told to be of a line that is gone', () => {
    const [first] = survivors;
    const mutant = first?.mutants[0] ?? '';
    expect(outdated(first?.file ?? '', [mutant])).toEqual([]);
    for (const other of [`${mutant.slice(0, 3)} ${mutant}`, mutant.replace(' | ', ' | not there ')]) {
      expect(outdated(first?.file ?? '', [other])).toEqual([other]);
    }
  });

  it('is said once of each', () => {
    const all = survivors.flatMap(({ file, mutants }) => mutants.map((mutant) => `${file}: ${mutant}`));
    expect(new Set(all).size).toBe(all.length);
  });
});

describe('the tests that a mutant of a room meets', () => {
  const { rooms, leftOut } = tests;
  const named = [...Object.values(rooms), ...Object.values(leftOut)].flat();

  it('are there', () => {
    for (const name of named) {
      const isThere = (folder: string) => existsSync(join(root, 'test', folder, `${name}.test.ts`));
      expect(['unit', 'sweeps'].some(isThere), name).toBe(true);
    }
  });

  // What drives a chassis on the bench, or as the service does, reaches src/run and src/sequence too.
  it('are all of the unit tier that reach a room, but for what is left out with its reason', () => {
    const reached = new RegExp(
      `/src/(?:${Object.keys(rooms).join('|')})/|/(?:bench|start-resident|verb-world)\\.ts'`,
    );
    const folder = join(root, 'test', 'unit');
    const reaching = readdirSync(folder)
      .filter((file) => file.endsWith('.test.ts') && reached.test(readFileSync(join(folder, file), 'utf8')))
      .map((file) => file.slice(0, -'.test.ts'.length));
    expect(reaching).toContain('runner');
    expect(reaching.filter((name) => !named.includes(name))).toEqual([]);
  });

  it('are not left out of one room and part of another', () => {
    const taken: string[] = Object.values(rooms).flat();
    expect(
      Object.values(leftOut)
        .flat()
        .filter((name) => taken.includes(name)),
    ).toEqual([]);
  });
});
