// Draws every machine of the program into docs/charts.
import { join } from 'node:path';
import { prepare, root, run } from './setup.mjs';

prepare();
const { bundle } = await import('./build.mjs');
const dir = join(root, 'build', 'chart');
await bundle('test/charts/main.ts', dir, 'main');
run(process.execPath, [join(dir, 'main.mjs'), join(root, 'docs', 'charts')]);
