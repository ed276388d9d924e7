// Builds, and measures what the resident service does and costs. Takes some minutes and wants a machine that
// does nothing else.
import { join } from 'node:path';
import { prepare, root, run } from './setup.mjs';

prepare({ flock: 'util-linux', 'dbus-daemon': 'dbus' });
const { buildAll, bundle } = await import('./build.mjs');
await buildAll();
const dir = join(root, 'build', 'bench');
await bundle('test/bench/main.ts', join(dir, 'main'), 'main');
await bundle('test/bench/poller.ts', join(dir, 'poller'), 'poller');
await bundle('test/systemd/hostile-client.ts', join(dir, 'hostile'), 'hostile');
run(process.execPath, [
  join(dir, 'main', 'main.mjs'),
  root,
  join(dir, 'poller', 'poller.mjs'),
  join(dir, 'hostile', 'hostile.mjs'),
]);
