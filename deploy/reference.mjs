// Writes what is made of the board file's schema: the JSON Schema for editors and the reference for people.
import { spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fail, prepare, root } from './setup.mjs';

prepare();
const { bundle } = await import('./build.mjs');
const dir = join(root, 'build', 'reference');
await bundle('src/main.ts', dir, 'chassis-power', { isCommonJs: true });

/** @type {readonly (readonly [path: string, options: readonly string[]])[]} */
const PAGES = [
  ['hw/boards/board.schema.json', []],
  ['docs/board.md', ['--reference']],
];
for (const [path, options] of PAGES) {
  const program = join(dir, 'chassis-power.cjs');
  const { status, stdout } = spawnSync(process.execPath, [program, 'schema', ...options], {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'inherit'],
    timeout: 60_000,
  });
  if (status !== 0) fail(`${path} stays as it is: the program could not print it`);
  writeFileSync(join(root, path), stdout);
}
