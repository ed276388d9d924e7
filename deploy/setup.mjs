// What a machine needs before anything of this project runs. Uses nothing but Node itself, so that it
// works in a fresh clone.
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

export const root = join(dirname(fileURLToPath(import.meta.url)), '..');

/** Ends the program with a message instead of a stack trace. */
export function fail(message) {
  process.stderr.write(`${message}\n`);
  process.exit(1);
}

/** Runs a command with the terminal as its own; ends the program when it fails. */
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

/** @returns true when the program is on the PATH */
function has(program) {
  return (process.env.PATH ?? '').split(':').some((folder) => existsSync(join(folder, program)));
}

/**
 * Installs the Debian packages of programs that are missing, as root; for anybody else says what to install.
 * @param programs program name → Debian package
 */
export function ensurePrograms(programs) {
  const packages = [...new Set(Object.entries(programs).flatMap(([name, pkg]) => (has(name) ? [] : [pkg])))];
  if (packages.length === 0) return;
  const install = `apt-get install ${packages.join(' ')}`;
  if (process.getuid?.() !== 0 || !has('apt-get')) fail(`needed and not installed: run "${install}" as root`);
  process.stderr.write(`installing ${packages.join(', ')}\n`);
  run(process.execPath, [join(root, 'deploy', 'apt.mjs'), ...packages]);
}

/** Makes node_modules what package-lock.json says, unless it already is. */
export function ensureModules() {
  const [major] = process.versions.node.split('.');
  if (Number(major) < 20)
    fail(`Node ${process.versions.node} is too old: this project needs Node 20 or newer`);
  const wanted = createHash('sha256')
    .update(readFileSync(join(root, 'package-lock.json')))
    // Compiled addons fit one ABI of Node only.
    .update(process.versions.modules)
    .digest('hex');
  const stamp = join(root, 'node_modules', '.chassis-power-setup');
  if (existsSync(stamp) && readFileSync(stamp, 'utf8') === wanted) return;
  // onoff and i2c-bus compile their addons while they are installed.
  ensurePrograms({ python3: 'python3', make: 'make', 'g++': 'g++' });
  run('npm', ['ci', '--loglevel=error'], { timeoutMs: 900_000 });
  writeFileSync(stamp, wanted);
}
