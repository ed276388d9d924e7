// apt-get that waits while another one works: node deploy/apt.mjs PACKAGE... fetches the lists and installs the packages.
// Uses nothing but Node itself, so that it works in a fresh clone.
import { spawn } from 'node:child_process';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';

/** A fresh machine's own upgrade takes minutes. */
const LOCK_WAIT_MS = 900_000;
const RETRY_MS = 2_000;
const TELL_MS = 30_000;
/** Longest time without anything of apt's: an index or a package over a slow line. */
const UPDATE_TIMEOUT_MS = 300_000;
const INSTALL_TIMEOUT_MS = 900_000;

/** What apt-get says when another process has one of its locks, in the C locale. */
const LOCKED =
  /Could not get lock|Unable to acquire the dpkg|Unable to lock (the|directory)|is held by process/;

/** `no` forbids every command of this project to install anything. */
export const INSTALL_VARIABLE = 'CHASSIS_POWER_INSTALL';

/**
 * Whether the user lets commands install what they need. A value that is neither is refused: it may have been meant as a no.
 * @returns {boolean}
 */
export function mayInstall(value = process.env[INSTALL_VARIABLE]) {
  if (value === undefined || value === '' || value === 'yes') return true;
  if (value === 'no') return false;
  throw new Error(`${INSTALL_VARIABLE} is "${value}": yes or no`);
}

/**
 * @typedef {object} AptOptions
 * @property {number} [timeoutMs] longest time that apt-get may take, the wait for the lock of dpkg left out
 * @property {number} [lockWaitMs]
 * @property {number} [retryMs]
 * @property {(line: string) => void} [say]
 */

/**
 * Runs apt-get, and again for as long as another process has a lock of apt's.
 * apt waits by itself for the lock of dpkg (DPkg::Lock::Timeout, from 1.9.11 on), but never for that of its lists, which
 * `update` takes, nor for that of its archives.
 * @param {readonly string[]} args
 * @param {AptOptions} [options]
 */
export async function aptGet(
  args,
  { timeoutMs, lockWaitMs = LOCK_WAIT_MS, retryMs = RETRY_MS, say = tell } = {},
) {
  const startMs = performance.now();
  let toldMs = Number.NEGATIVE_INFINITY;
  for (;;) {
    const { code, stderr } = await once(args, { timeoutMs, lockWaitMs });
    if (code === 0) return;
    const waitedMs = performance.now() - startMs;
    const what = `apt-get ${args.join(' ')}`;
    if (!LOCKED.test(stderr)) throw new Error(`${what} failed with ${code}: ${stderr.trim().slice(-3000)}`);
    const line = stderr.split('\n').find((each) => LOCKED.test(each)) ?? '';
    if (waitedMs >= lockWaitMs) {
      throw new Error(
        `${what}: another process has apt's lock for ${Math.round(waitedMs / 1000)} s: ${line}`,
      );
    }
    if (waitedMs - toldMs >= TELL_MS) {
      say(`waiting for another apt (${Math.round(waitedMs / 1000)} s): ${line.replace(/^E: /, '')}`);
      toldMs = waitedMs;
    }
    await delay(Math.min(retryMs, Math.max(1, lockWaitMs - waitedMs)));
  }
}

/**
 * Fetches the lists and installs packages, if any. Throws where CHASSIS_POWER_INSTALL forbids it.
 * @param {readonly string[]} packages
 * @param {AptOptions} [options]
 */
export async function aptInstall(packages, options = {}) {
  if (!mayInstall()) {
    throw new Error(
      `${INSTALL_VARIABLE}=no forbids to install: run "apt-get install ${packages.join(' ')}" as root`,
    );
  }
  await aptGet(['-q', 'update'], { timeoutMs: UPDATE_TIMEOUT_MS, ...options });
  if (packages.length === 0) return;
  await aptGet(['-q', '-y', '--no-install-recommends', 'install', ...packages], {
    timeoutMs: INSTALL_TIMEOUT_MS,
    ...options,
  });
}

/**
 * @param {readonly string[]} args
 * @param {{ timeoutMs: number | undefined, lockWaitMs: number }} options
 * @returns {Promise<{ code: number | NodeJS.Signals | null, stderr: string }>}
 */
function once(args, { timeoutMs, lockWaitMs }) {
  return new Promise((resolve, reject) => {
    const seconds = Math.ceil(lockWaitMs / 1000);
    const child = spawn('apt-get', ['-o', `DPkg::Lock::Timeout=${seconds}`, ...args], {
      stdio: ['ignore', 'inherit', 'pipe'],
      env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive', LC_ALL: 'C' },
      // The wait for the lock of dpkg is apt's own.
      ...(timeoutMs === undefined ? {} : { timeout: timeoutMs + lockWaitMs }),
    });
    let stderr = '';
    child.stderr.setEncoding('utf8').on('data', (text) => {
      stderr += text;
    });
    child.once('error', reject);
    child.once('close', (code, signal) => resolve({ code: code ?? signal, stderr }));
  });
}

/** @param {string} line */
function tell(line) {
  process.stderr.write(`${line}\n`);
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  try {
    await aptInstall(process.argv.slice(2));
  } catch (error) {
    tell(error instanceof Error ? error.message : String(error));
    process.exitCode = 1;
  }
}
