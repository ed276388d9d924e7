// The README's second command. Without an argument: every tier but the emulated BMC. With tier names, those;
// what follows `--` goes to vitest, as in `npm test -- unit -- machine`. The fault campaign has options of its own, as in
// `npm run test:faults -- --cases 100000` or `--replay 7:12:0:3`.
import { spawnSync } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { fail, prepare, root } from './setup.mjs';

/** Far above the slowest tier, the emulated BMC with its image to be built first. */
const TIER_TIMEOUT_MS = 3_600_000;
const DEFAULT_TIERS = ['unit', 'faults', 'cli', 'systemd'];
/**
 * Options of the fault campaign, by the variable in which test/faults finds them.
 * @type {Readonly<Record<string, string>>}
 */
const CAMPAIGN_OPTIONS = { '--cases': 'FAULTS_CASES', '--seed': 'FAULTS_SEED', '--replay': 'FAULTS_REPLAY' };

/** A bus, and clients of it that are not ours: program → Debian package. */
const BUS_PROGRAMS = {
  'dbus-daemon': 'dbus',
  'dbus-send': 'dbus',
  busctl: 'systemd',
  gdbus: 'libglib2.0-bin',
};
const SYSTEMD_PROGRAMS = {
  'dbus-daemon': 'dbus',
  gdbus: 'libglib2.0-bin',
  systemctl: 'systemd',
  unshare: 'util-linux',
};

const args = process.argv.slice(2);
const split = args.indexOf('--');
const { named, env } = takeCampaignOptions(split < 0 ? args : args.slice(0, split));
const tiers = named.length === 0 ? DEFAULT_TIERS : named;
const rest = split < 0 ? [] : args.slice(split + 1);

prepare({
  flock: 'util-linux',
  ...(tiers.includes('unit') ? { 'dbus-daemon': BUS_PROGRAMS['dbus-daemon'] } : {}),
  ...(tiers.includes('cli') ? BUS_PROGRAMS : {}),
  // Without root these tests are skipped, with the reason.
  ...(tiers.includes('systemd') && process.getuid?.() === 0 ? SYSTEMD_PROGRAMS : {}),
});

mkdirSync(join(root, 'build'), { recursive: true });
// One after the other: tiers that keep real time must not share the machine with each other.
const failed = tiers.filter((tier) => {
  const report = [
    `--outputFile.json=build/results-${tier}.json`,
    ...['default', 'json', './deploy/reasons.mjs'].map((reporter) => `--reporter=${reporter}`),
  ];
  const { status } = spawnSync(
    join(root, 'node_modules', '.bin', 'vitest'),
    ['run', '--project', tier, ...report, ...rest],
    {
      cwd: root,
      env: { ...process.env, ...env, REASONS_FILE: join(root, 'build', `reasons-${tier}.json`) },
      stdio: ['ignore', 'inherit', 'inherit'],
      timeout: TIER_TIMEOUT_MS,
    },
  );
  return status !== 0;
});
if (failed.length > 0) fail(`failed: ${failed.join(', ')}`);

/**
 * Takes the options of the campaign from among the names of the tiers.
 * @param {readonly string[]} words
 */
function takeCampaignOptions(words) {
  /** @type {string[]} */
  const named = [];
  /** @type {Record<string, string>} */
  const env = {};
  for (let index = 0; index < words.length; index += 1) {
    const word = words[index] ?? '';
    if (!word.startsWith('--')) {
      named.push(word);
      continue;
    }
    const variable = CAMPAIGN_OPTIONS[word];
    const value = words[index + 1];
    if (variable === undefined || value === undefined) {
      fail(`${word} is no option: ${Object.keys(CAMPAIGN_OPTIONS).join(', ')}, each with a value`);
    }
    env[variable] = value;
    index += 1;
  }
  return { named, env };
}
