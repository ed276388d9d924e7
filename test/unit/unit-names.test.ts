import { readdirSync, readFileSync } from 'node:fs';
import { join, relative } from 'node:path';
import { describe, expect, it } from 'vitest';
import { CURRENT, LEGACY, SERVICE, STATE_MANAGER_UNITS, unitsOf } from '../../src/units/names.ts';

const root = join(import.meta.dirname, '..', '..');
const shipped = (folder: string) => readdirSync(join(root, 'systemd', folder));

/** A name as a whole string: `'op-power-start@.service'`, with whatever stands for the instance. */
const NAME = /(['"`])(?:chassis-power|(?:obmc|op|phosphor)-[a-z-]+)(?:@[^'"`]*)?\.(?:service|target)\1/g;

function namesIn(text: string): string[] {
  return [...text.matchAll(NAME)].map(([name]) => name);
}

describe('unit names', () => {
  it('stand in one table', () => {
    const found = readdirSync(join(root, 'src'), { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile() && entry.name.endsWith('.ts'))
      .map((entry) => join(entry.parentPath, entry.name))
      .filter((path) => namesIn(readFileSync(path, 'utf8')).length > 0)
      .map((path) => relative(root, path));
    expect(found).toEqual(['src/units/names.ts']);
  });

  it.each(["'op-power-start@%i.service'", '`obmc-quiesce-host@0.target`', '"chassis-power.service"'])(
    'and %s elsewhere would be found',
    (text) => {
      expect(namesIn(`const name = ${text};`)).toHaveLength(1);
    },
  );

  it('are those of the files that ship, or of phosphor-state-manager', () => {
    const ours = [...shipped('.'), ...shipped('current')];
    const foreign = (name: string) => STATE_MANAGER_UNITS.some((pattern) => pattern.test(name));
    expect([SERVICE, ...Object.values(LEGACY)].filter((name) => !ours.includes(name))).toEqual([]);
    expect(Object.values(CURRENT).filter((name) => !ours.includes(name) && !foreign(name))).toEqual([]);
  });

  it('are those of one chassis with its number', () => {
    expect(unitsOf(LEGACY, 2).on).toBe('obmc-power-chassis-on@2.target');
    expect(unitsOf(CURRENT, 0).waitOffStage).toBe('phosphor-wait-power-off@0.service');
  });
});
