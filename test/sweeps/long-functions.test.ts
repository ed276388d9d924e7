/** How long functions are: the compiler reads the files for it, which takes a second. */
import { readdirSync, readFileSync } from 'node:fs';
import { join, relative } from 'node:path';
import ts from 'typescript';
import { describe, expect, it } from 'vitest';

const root = join(import.meta.dirname, '..', '..');

interface Source {
  /** Relative to the checkout, with `/`. */
  readonly file: string;
  readonly text: string;
}

function sourcesIn(...folders: string[]): Source[] {
  return folders.flatMap((folder) =>
    readdirSync(join(root, folder), { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile() && entry.name.endsWith('.ts'))
      .map((entry) => {
        const path = join(entry.parentPath, entry.name);
        return { file: relative(root, path), text: readFileSync(path, 'utf8') };
      }),
  );
}

/** Longest function, from its first line to its last: what a screen shows, and a reader keeps in mind. */
const MAX_FUNCTION_LINES = 80;

/**
 * Whether one could be so long. In formatted code each statement of the file begins at the begin of a line, and what is in
 * it does not, but for text that goes over several lines.
 */
function mayBeLong(text: string): boolean {
  const lines = text.split('\n');
  const begins = lines.flatMap((line, index) => (/^\w/.test(line) ? [index] : []));
  return (
    lines.some((line) => line.split('`').length % 2 === 0) ||
    begins.some((begin, index) => (begins[index + 1] ?? lines.length) - begin > MAX_FUNCTION_LINES)
  );
}

/** Functions of more lines, those inside of others too, as `file: name, lines`. */
function longFunctions({ file, text }: Source): string[] {
  if (!mayBeLong(text)) return [];
  const tree = ts.createSourceFile(file, text, ts.ScriptTarget.Latest, true);
  const found: string[] = [];
  const visit = (node: ts.Node): void => {
    if (ts.isFunctionLike(node)) {
      const lineOf = (position: number) => tree.getLineAndCharacterOfPosition(position).line;
      const lines = lineOf(node.end) - lineOf(node.getStart()) + 1;
      const name = node.name ?? (ts.isVariableDeclaration(node.parent) ? node.parent.name : undefined);
      if (lines > MAX_FUNCTION_LINES) found.push(`${file}: ${name?.getText() ?? 'without a name'}, ${lines}`);
    }
    ts.forEachChild(node, visit);
  };
  visit(tree);
  return found;
}

describe('a function', () => {
  it('has at most 80 lines', () => {
    expect(sourcesIn('src', 'hw', 'mocks').flatMap(longFunctions)).toEqual([]);
  });

  it.each([
    ['function declared() {', '}', 'declared'],
    ['const arrow = () => {', '};', 'arrow'],
    ['const object = { method() {', '} };', 'method'],
    ['const outer = () => { const inner = function () {', '}; };', 'inner'],
    ['new (class { constructor() {', '} })();', 'without a name'],
    ['const text = () => `', 'end of it`;', 'text'],
  ])('of more is found: %s', (begin, end, name) => {
    const source = (lines: number) => ({
      file: 'src/a.ts',
      text: [begin, ...Array.from({ length: lines - 2 }, () => ''), end].join('\n'),
    });
    expect(longFunctions(source(MAX_FUNCTION_LINES))).toEqual([]);
    expect(longFunctions(source(MAX_FUNCTION_LINES + 1))).toContain(`src/a.ts: ${name}, 81`);
  });
});
