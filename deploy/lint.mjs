// The linter and the formatter's check, then the compiler's types: of the program, its tests, and the scripts beside this one.
import { join } from 'node:path';
import { prepare, root, run } from './setup.mjs';

prepare();
const bin = join(root, 'node_modules', '.bin');
run(join(bin, 'biome'), ['check', '.']);
run(join(bin, 'tsc'), ['--noEmit']);
