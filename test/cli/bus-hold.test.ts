import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { buildSync } from 'esbuild';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { createSystemClock } from '../../hw/clock.ts';
import { createBusHolds } from '../../hw/i2c/bus-hold.ts';

/**
 * A process that holds bus 3 again and again. In a hold it writes its name to the page and reads it back after a
 * turn: another name means that two had the bus. A round is told by a line, and so is a mistake. With `keep` it holds
 * the bus once, until it is ended; with `anew` every round is that of a process which begins and ends.
 */
const WORKER = `
import { readFileSync, writeFileSync } from 'node:fs';
import { createSystemClock } from './hw/clock.ts';
import { createBusHolds } from './hw/i2c/bus-hold.ts';
const [directory, page, rounds, anew] = process.argv.slice(2);
let holds = createBusHolds({ clock: createSystemClock(), directory });
for (let round = 0; rounds === 'keep' || round < Number(rounds); round += 1) {
  const release = await holds.hold(3, 30_000);
  if (release === null) { console.log('never'); continue; }
  const name = process.pid + ' ' + round;
  writeFileSync(page, name);
  if (rounds === 'keep') { console.log('held'); await new Promise((resolve) => process.stdin.resume().on('end', resolve)); }
  await new Promise(setImmediate);
  if (readFileSync(page, 'utf8') !== name) console.log('both');
  release();
  if (rounds === 'keep') break;
  console.log('round');
  if (anew) {
    await holds.close();
    holds = createBusHolds({ clock: createSystemClock(), directory });
  }
}
await holds.close();
`;

let bundle = '';
let dir = '';
let directory = '';
const children: ChildProcess[] = [];
beforeAll(() => {
  bundle = mkdtempSync(join(tmpdir(), 'bus-hold-bundle-'));
  buildSync({
    stdin: { contents: WORKER, resolveDir: join(import.meta.dirname, '..', '..'), loader: 'ts' },
    bundle: true,
    platform: 'node',
    format: 'esm',
    outfile: join(bundle, 'worker.mjs'),
  });
});
afterAll(() => rmSync(bundle, { recursive: true }));
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'bus-hold-'));
  directory = join(dir, 'run');
});
afterEach(() => {
  for (const child of children.splice(0)) child.kill('SIGKILL');
  rmSync(dir, { recursive: true });
});

function startWorker(rounds: number | 'keep', anew = false) {
  const child = spawn(
    process.execPath,
    [join(bundle, 'worker.mjs'), directory, join(dir, 'page'), `${rounds}`, ...(anew ? ['anew'] : [])],
    {
      stdio: ['pipe', 'pipe', 'inherit'],
    },
  );
  children.push(child);
  const lines: string[] = [];
  const waiting: (() => void)[] = [];
  child.stdout.on('data', (data) => {
    lines.push(...String(data).trim().split('\n'));
    for (const wake of waiting.splice(0)) wake();
  });
  return {
    child,
    lines,
    said: async (count: number) => {
      while (lines.length < count) await new Promise<void>((resolve) => waiting.push(resolve));
    },
    exited: once(child, 'exit'),
  };
}
const ourHolds = () => createBusHolds({ clock: createSystemClock(), directory });

describe('the hold of a bus', { timeout: 60_000 }, () => {
  it('is had by one process at a time', async () => {
    const workers = [startWorker(400), startWorker(400), startWorker(400, true), startWorker(400, true)];
    await Promise.all(workers.map(({ exited }) => exited));
    expect(workers.map(({ lines }) => lines.filter((line) => line !== 'round'))).toEqual([[], [], [], []]);
    expect(workers.map(({ lines }) => lines.length)).toEqual([400, 400, 400, 400]);
    // Nothing is left behind.
    expect(readdirSync(directory).filter((name) => name !== 'i2c.dead')).toEqual([]);
  });

  it('outlives no process that is killed, at any moment, and goes to one of those that wait', async () => {
    const steady = [startWorker(200), startWorker(200)];
    for (let kill = 0; kill < 6; kill += 1) {
      const doomed = startWorker(100_000);
      await doomed.said(1 + kill);
      doomed.child.kill('SIGKILL');
      await doomed.exited;
      expect(doomed.lines.filter((line) => line !== 'round')).toEqual([]);
    }
    await Promise.all(steady.map(({ exited }) => exited));
    expect(steady.map(({ lines }) => lines.filter((line) => line !== 'round'))).toEqual([[], []]);
  });

  it('of a process that is killed with it is had at once', async () => {
    const dead = startWorker('keep');
    await dead.said(1);
    dead.child.kill('SIGKILL');
    await dead.exited;
    expect(readdirSync(directory)).toContain('i2c-3.hold');
    const holds = ourHolds();
    const release = await holds.hold(3, 5_000);
    expect(release).not.toBeNull();
    release?.();
    await holds.close();
  });

  it('of a process that stands still is waited for no longer than asked, and had when it goes on', async () => {
    const still = startWorker('keep');
    await still.said(1);
    still.child.kill('SIGSTOP');
    const holds = ourHolds();
    expect(await holds.hold(3, 50)).toBeNull();
    // Another bus is free.
    const other = await holds.hold(4, 50);
    other?.();
    expect(other).not.toBeNull();
    const waiting = holds.hold(3, 30_000);
    still.child.kill('SIGCONT');
    still.child.stdin.end();
    const release = await waiting;
    expect(release).not.toBeNull();
    release?.();
    await holds.close();
  });

  it.each([
    ['a file', (path: string) => writeFileSync(path, '')],
    ['a link to nothing', (path: string) => symlinkSync('/nowhere/at/all', path)],
    ['a pipe', (path: string) => void spawnSync('mkfifo', [path])],
  ])('is had where %s stands in its place', async (_, put) => {
    mkdirSync(directory);
    put(join(directory, 'i2c-3.hold'));
    const holds = ourHolds();
    const release = await holds.hold(3, 5_000);
    expect(release).not.toBeNull();
    release?.();
    await holds.close();
  });

  it('goes on in a directory that was replaced', async () => {
    const holds = ourHolds();
    (await holds.hold(3, 100))?.();
    rmSync(directory, { recursive: true });
    const release = await holds.hold(3, 100);
    expect(readdirSync(directory)).toContain('i2c-3.hold');
    release?.();
    await holds.close();
  });

  it.runIf(process.geteuid?.() === 0 || process.env.CI === 'true')(
    'cannot be had by a stranger, who cannot wait in line either (needs root)',
    async () => {
      const holds = ourHolds();
      const release = await holds.hold(3, 100);
      const asStranger = (script: string) =>
        spawnSync(process.execPath, ['-e', script], {
          uid: 65_534,
          gid: 65_534,
          encoding: 'utf8',
          timeout: 20_000,
        });
      const name = JSON.stringify(join(directory, 'i2c-3.hold'));
      spawnSync('chmod', ['0755', dir]);
      const connected = asStranger(`require('net').connect(${name}).on('error', (e) => console.log(e.code))`);
      expect(connected.stdout).toBe('EACCES\n');
      release?.();
      const made = asStranger(
        `try { require('fs').writeFileSync(${name}, '') } catch (e) { console.log(e.code) }`,
      );
      expect(made.stdout).toBe('EACCES\n');
      await holds.close();
    },
  );
});
