import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import rooms from '../mutants/rooms.json' with { type: 'json' };
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

  it('and the tests of a room are there', () => {
    for (const name of Object.values(rooms).flat()) {
      const isThere = (folder: string) => existsSync(join(root, 'test', folder, `${name}.test.ts`));
      expect(['unit', 'sweeps'].some(isThere), name).toBe(true);
    }
  });
});
