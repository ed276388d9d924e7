// The README's first command: sets up what is missing, builds, and powers the simulated reference board on
// and off, with a live view and a timing diagram.
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { prepare, root, run } from './setup.mjs';

// The lock of a chassis is taken by flock(1).
prepare({ flock: 'util-linux' });
const { buildAll } = await import('./build.mjs');
await buildAll();
mkdirSync(join(root, 'build'), { recursive: true });
run(process.execPath, [
  'dist/sim/chassis-power-sim.cjs',
  'demo',
  '--board',
  'hw/boards/reference.json',
  '--svg',
  'build/reference-timing.svg',
]);
