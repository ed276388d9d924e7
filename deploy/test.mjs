// The README's second command. Without an argument: every tier but the emulated BMC. With tier names, those;
// what follows `--` goes to vitest, as in `npm test -- unit -- machine`.
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { ensureModules, ensurePrograms, root, run } from './setup.mjs';

const DEFAULT_TIERS = ['unit', 'cli', 'systemd'];

const args = process.argv.slice(2);
const split = args.indexOf('--');
const named = split < 0 ? args : args.slice(0, split);
const tiers = named.length === 0 ? DEFAULT_TIERS : named;
const rest = split < 0 ? [] : args.slice(split + 1);

ensureModules();
ensurePrograms({ flock: 'util-linux' });
if (tiers.includes('unit')) ensurePrograms({ 'dbus-daemon': 'dbus' });
if (tiers.includes('systemd') && process.getuid?.() === 0) {
  ensurePrograms({ 'dbus-daemon': 'dbus', systemctl: 'systemd', unshare: 'util-linux' });
}

mkdirSync(join(root, 'build'), { recursive: true });
run(
  join(root, 'node_modules', '.bin', 'vitest'),
  [
    'run',
    ...tiers.flatMap((tier) => ['--project', tier]),
    '--reporter=default',
    '--reporter=json',
    `--outputFile.json=build/results-${tiers.includes('bmc') ? 'bmc' : 'main'}.json`,
    ...rest,
  ],
  { timeoutMs: 3_600_000 },
);
