// Builds, and measures what the resident service does and costs, and how fast `verify` searches. Takes some minutes and wants a machine that
// does nothing else; `npm run bench -- --trials 10` is over sooner, for a look whether it works. `npm run bench -- --check` measures what
// has a limit, writes docs/performance.md, and fails where one is missed.
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { fail, prepare, root, run } from './setup.mjs';

/** Enough for a p99. */
const TRIALS = '200';
/** Pairs of a figure that has a limit. */
const PAIRS = '15';
if (process.argv[2] === '--check') await check(process.argv[3] ?? PAIRS);

const [option = '--trials', trials = TRIALS, ...more] = process.argv.slice(2);
if (option !== '--trials' || !/^[1-9]\d*$/.test(trials) || more.length > 0) {
  fail(`npm run bench has two options: -- --trials ${TRIALS}, and -- --check`);
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

/**
 * Never returns.
 * @param {string} pairs
 */
async function check(pairs) {
  prepare({
    flock: 'util-linux',
    'dbus-daemon': 'dbus',
    busctl: 'systemd',
    unshare: 'util-linux',
    bash: 'bash',
  });
  const { buildAll, bundle } = await import('./build.mjs');
  const { NODE_RELEASES, nodeRelease } = await import('./nodes.mjs');
  await buildAll();
  const cache = join(process.env.XDG_CACHE_HOME || join(homedir(), '.cache'), 'chassis-power', 'native');
  const releases = NODE_RELEASES.map((release) => {
    const kind = `linux-${process.arch}-${release.abi}`;
    const addons =
      [join(root, 'dist', 'chassis-power', 'native', kind), join(cache, kind)].find(existsSync) ?? null;
    const { major } = release;
    if (process.arch !== 'x64')
      return { major, node: null, addons, why: 'the releases that can be fetched are for x64' };
    if (addons === null)
      return {
        major,
        node: null,
        addons,
        why: 'its native addons are not made: npm run package amd64 makes them',
      };
    try {
      return { major, node: join(nodeRelease(release), 'bin', 'node'), addons, why: '' };
    } catch (error) {
      return { major, node: null, addons, why: error instanceof Error ? error.message : String(error) };
    }
  });
  const folder = join(root, 'build', 'bench', 'check');
  await bundle('test/bench/check.ts', folder, 'check');
  delete process.env.NODE_EXTRA_CA_CERTS;
  const args = [join(folder, 'check.mjs'), root, JSON.stringify(releases), pairs];
  process.exit(spawnSync(process.execPath, args, { stdio: 'inherit' }).status ?? 1);
}
