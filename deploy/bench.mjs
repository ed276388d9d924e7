// Builds, and measures what the resident service does and costs, and how fast `verify` searches. Takes some minutes and wants a machine that
// does nothing else; `npm run bench -- --trials 10` is over sooner, for a look whether it works.
import { join } from 'node:path';
import { fail, prepare, root, run } from './setup.mjs';

/** Enough for a p99. */
const TRIALS = '200';
const [option = '--trials', trials = TRIALS, ...more] = process.argv.slice(2);
if (option !== '--trials' || !/^[1-9]\d*$/.test(trials) || more.length > 0) {
  fail(`npm run bench has one option: -- --trials ${TRIALS}`);
}

prepare({ flock: 'util-linux', 'dbus-daemon': 'dbus' });
const { buildAll, bundle } = await import('./build.mjs');
await buildAll();
const dir = join(root, 'build', 'bench');
await bundle('test/bench/main.ts', join(dir, 'main'), 'main');
await bundle('test/bench/poller.ts', join(dir, 'poller'), 'poller');
await bundle('test/systemd/hostile-client.ts', join(dir, 'hostile'), 'hostile');
await bundle('test/bench/verify.ts', join(dir, 'verify'), 'verify');
run(process.execPath, [
  join(dir, 'main', 'main.mjs'),
  root,
  join(dir, 'poller', 'poller.mjs'),
  join(dir, 'hostile', 'hostile.mjs'),
  trials,
]);
run(process.execPath, [join(dir, 'verify', 'verify.mjs')]);
