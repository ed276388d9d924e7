/** What the commands of package.json install on the system, on a machine that has nothing: PATH leads to stand-ins alone. */
import { spawnSync } from 'node:child_process';
import {
  chmodSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';

const root = join(import.meta.dirname, '..', '..');
const isRoot = process.getuid?.() === 0;

/** Programs that are started take their time on a machine that is busy. */
vi.setConfig({ testTimeout: 60_000 });

let checkout: string;
/** Where the stand-ins note how they were called. */
let calls: string;
beforeEach(() => {
  checkout = mkdtempSync(join(tmpdir(), 'prepare-'));
  calls = join(checkout, 'calls');
  cpSync(join(root, 'deploy'), join(checkout, 'deploy'), { recursive: true });
  cpSync(join(root, 'package-lock.json'), join(checkout, 'package-lock.json'));
  mkdirSync(join(checkout, 'bin'));
  for (const name of ['npm', 'apt-get']) {
    standIn(name, `echo "${name} $*" >>${calls}; echo "${name} RUNS" >&2`);
  }
});
afterEach(() => rmSync(checkout, { recursive: true }));

function standIn(name: string, script: string): void {
  const path = join(checkout, 'bin', name);
  writeFileSync(path, `#!/bin/sh\n${script}\n`);
  chmodSync(path, 0o755);
}

/** Runs a script of `deploy/` on the machine that has nothing. */
function command(script: string, install: string | undefined, ...args: string[]) {
  const { status, stderr } = spawnSync(process.execPath, [join(checkout, 'deploy', script), ...args], {
    encoding: 'utf8',
    env: {
      PATH: join(checkout, 'bin'),
      ...(install === undefined ? {} : { CHASSIS_POWER_INSTALL: install }),
    },
    timeout: 30_000,
  });
  return { status, stderr, called: existsSync(calls) ? readFileSync(calls, 'utf8').trim().split('\n') : [] };
}

/** Scripts that set the machine up: all that do are found. */
const ALL_SCRIPTS = readdirSync(join(root, 'deploy')).filter((name) => name.endsWith('.mjs'));
const SCRIPTS = ALL_SCRIPTS.filter((name) =>
  /^prepare\(/m.test(readFileSync(join(root, 'deploy', name), 'utf8')),
);

describe('CHASSIS_POWER_INSTALL=no', () => {
  it('is heard by every command that a user has, start, test and lint among them', () => {
    expect(SCRIPTS).toEqual(expect.arrayContaining(['start.mjs', 'test.mjs', 'lint.mjs']));
    // Nobody else calls for what installs.
    const others = ALL_SCRIPTS.filter((name) => {
      const text = readFileSync(join(root, 'deploy', name), 'utf8');
      return !['apt.mjs', 'setup.mjs'].includes(name) && /'(npm', \['(ci|install)|apt-get')/.test(text);
    });
    expect(others).toEqual([]);
  });

  it.each(SCRIPTS)('%s installs nothing, says what is missing and how to get it, and fails', (script) => {
    const { status, stderr, called } = command(script, 'no');
    expect(called).toEqual([]);
    expect(status).toBe(1);
    expect(stderr).toContain('node_modules');
    expect(stderr).toContain('"npm ci"');
    expect(stderr).toContain('CHASSIS_POWER_INSTALL=no');
    expect(stderr).toMatch(/run "apt-get install [^"]*g\+\+[^"]*" as root/);
    expect(stderr).not.toContain('    at ');
  });

  it('names the Debian packages of what a tier needs', () => {
    const { stderr } = command('test.mjs', 'no', 'cli');
    expect(stderr).toMatch(/Debian packages on this system: .*util-linux.*dbus.*systemd.*libglib2\.0-bin/);
  });

  it('is heard where packages are installed, whoever asks for them', () => {
    const { status, stderr, called } = command('apt.mjs', 'no', 'qemu-system-arm');
    expect(called).toEqual([]);
    expect(status).toBe(1);
    expect(stderr).toContain('"apt-get install qemu-system-arm" as root');
  });

  it.each(['0', 'false', 'never'])('as "%s" is refused, because it may mean no', (value) => {
    const { status, stderr, called } = command('start.mjs', value);
    expect(called).toEqual([]);
    expect(status).toBe(1);
    expect(stderr).toContain(`CHASSIS_POWER_INSTALL is "${value}": yes or no`);
  });
});

describe('what npm start and npm test install', () => {
  it.each(['start.mjs', 'test.mjs'])('is named before it is done: %s', (script) => {
    if (!isRoot) {
      const { stderr, called } = command(script, undefined);
      expect(called).toEqual([]);
      expect(stderr).toMatch(/needed and not installed: Debian packages .* Run "apt-get install .*" as root/);
      return;
    }
    standIn('npm', `echo "npm $*" >>${calls}; echo "npm RUNS" >&2; exit 1`);
    const { stderr, called } = command(script, undefined);
    const lines = stderr.split('\n');
    expect(lines[0]).toMatch(
      /^installing Debian packages on this system: .*util-linux.*; node_modules in this/,
    );
    expect(lines[0]).toContain('CHASSIS_POWER_INSTALL=no forbids it');
    expect(lines.findIndex((line) => line.endsWith(' RUNS'))).toBeGreaterThan(0);
    expect(called.map((call) => call.split(' ')[0])).toEqual(['apt-get', 'apt-get', 'npm']);
  });

  it('is nothing where nothing is missing', () => {
    for (const name of ['flock', 'python3', 'make', 'g++']) standIn(name, 'exit 0');
    // npm leaves node_modules, and the stamp says what they were made from.
    standIn('npm', `echo "npm $*" >>${calls}; /bin/mkdir -p ${checkout}/node_modules`);
    command('start.mjs', undefined);
    const { stderr, called } = command('start.mjs', 'no');
    expect(called).toEqual(['npm ci --loglevel=error']);
    expect(stderr).not.toContain('installed');
  });
});
