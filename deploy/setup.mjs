// What a machine needs before anything of this project runs. Uses nothing but Node itself, so that it
// works in a fresh clone.
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { INSTALL_VARIABLE, mayInstall } from './apt.mjs';

/** What npm compiles the addons of onoff and i2c-bus with: program → Debian package. */
const COMPILERS = { python3: 'python3', make: 'make', 'g++': 'g++' };

export const root = join(dirname(fileURLToPath(import.meta.url)), '..');

/**
 * Ends the program with a message instead of a stack trace.
 * @param {string} message
 * @returns {never}
 */
export function fail(message) {
  process.stderr.write(`${message}\n`);
  process.exit(1);
}

/**
 * Runs a command with the terminal as its own; ends the program when it fails.
 * @param {string} command
 * @param {readonly string[]} args
 * @param {{ timeoutMs?: number, env?: NodeJS.ProcessEnv }} [options]
 */
export function run(command, args, { timeoutMs = 1_800_000, env = process.env } = {}) {
  const { status, error, signal } = spawnSync(command, args, {
    cwd: root,
    stdio: ['ignore', 'inherit', 'inherit'],
    timeout: timeoutMs,
    env,
  });
  if (error) fail(`cannot run ${command}: ${error.message}`);
  if (status !== 0) {
    fail(
      `${[command, ...args].join(' ')} ${status === null ? `was ended by ${signal}` : `failed with ${status}`}`,
    );
  }
}

/**
 * Makes this machine one on which the project runs: node_modules as package-lock.json says, and Debian's packages of the
 * programs that are missing. Names what it is about to install before it does; where CHASSIS_POWER_INSTALL=no forbids it,
 * or only root could do it, ends the program with what is missing and how to install it.
 * @param {Readonly<Record<string, string>>} [programs] program name → Debian package
 */
export function prepare(programs = {}) {
  const [major] = process.versions.node.split('.');
  if (Number(major) < 20)
    fail(`Node ${process.versions.node} is too old: this project needs Node 20 or newer`);
  const stamp = join(root, 'node_modules', '.chassis-power-setup');
  const wanted = modulesWanted();
  const modules = existsSync(stamp) && readFileSync(stamp, 'utf8') === wanted ? [] : ['npm ci'];
  const packages = packagesOf(modules.length === 0 ? programs : { ...programs, ...COMPILERS });
  const installs = packages.length === 0 ? [] : [`apt-get install ${packages.join(' ')}`];
  if (modules.length + installs.length === 0) return;

  const missing = [
    ...(packages.length === 0 ? [] : [`Debian packages on this system: ${packages.join(', ')}`]),
    ...(modules.length === 0 ? [] : ['node_modules in this checkout, as package-lock.json says']),
  ].join('; ');
  const byHand = [
    ...installs.map((command) => `"${command}" as root`),
    ...modules.map((each) => `"${each}"`),
  ];
  if (!allowed()) {
    fail(
      `needed and not installed: ${missing}. ${INSTALL_VARIABLE}=no forbids to install: run ${byHand.join(', then ')}`,
    );
  }
  if (packages.length > 0 && (process.getuid?.() !== 0 || !has('apt-get'))) {
    fail(`needed and not installed: ${missing}. Run ${byHand[0]}`);
  }
  process.stderr.write(`installing ${missing} (${INSTALL_VARIABLE}=no forbids it)\n`);
  if (packages.length > 0) run(process.execPath, [join(root, 'deploy', 'apt.mjs'), ...packages]);
  if (modules.length > 0) {
    run('npm', ['ci', '--loglevel=error'], { timeoutMs: 900_000 });
    writeFileSync(stamp, wanted);
  }
}

/**
 * Programs that something can be done without: installs the packages of those that are missing where it may and can.
 * @param {Readonly<Record<string, string>>} programs program name → Debian package
 * @returns {string | null} why one of them cannot be had, and how to get it; null when all are there
 */
export function obtain(programs) {
  const packages = packagesOf(programs);
  if (packages.length === 0) return null;
  const byHand = `run "apt-get install ${packages.join(' ')}" as root`;
  if (!allowed()) return `${packages.join(', ')} is not installed, and ${INSTALL_VARIABLE}=no: ${byHand}`;
  if (process.getuid?.() !== 0 || !has('apt-get'))
    return `${packages.join(', ')} is not installed: ${byHand}`;
  process.stderr.write(`installing Debian packages on this system: ${packages.join(', ')}\n`);
  const { status } = spawnSync(process.execPath, [join(root, 'deploy', 'apt.mjs'), ...packages], {
    cwd: root,
    stdio: ['ignore', 'inherit', 'inherit'],
    timeout: 1_800_000,
  });
  const left = packagesOf(programs);
  return status === 0 && left.length === 0
    ? null
    : `${packages.join(', ')} could not be installed: ${byHand}`;
}

/** @returns {boolean} */
function allowed() {
  try {
    return mayInstall();
  } catch (error) {
    return fail(error instanceof Error ? error.message : String(error));
  }
}

/** What node_modules is made from, in one word. Compiled addons fit one ABI of Node only. */
function modulesWanted() {
  return createHash('sha256')
    .update(readFileSync(join(root, 'package-lock.json')))
    .update(process.versions.modules)
    .digest('hex');
}

/**
 * The packages of those programs that are not on the PATH.
 * @param {Readonly<Record<string, string>>} programs
 */
function packagesOf(programs) {
  return [...new Set(Object.entries(programs).flatMap(([name, pkg]) => (has(name) ? [] : [pkg])))];
}

/** @param {string} program */
function has(program) {
  return (process.env.PATH ?? '').split(':').some((folder) => existsSync(join(folder, program)));
}
