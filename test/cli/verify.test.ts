import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { savedOf } from '../model/defects.ts';

const root = join(import.meta.dirname, '..', '..');
const SIM = join(root, 'dist', 'sim', 'chassis-power-sim.cjs');

let dir = '';
beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), 'chassis-power-verify-'));
});
afterAll(() => rmSync(dir, { recursive: true, force: true }));

function sim(...args: string[]) {
  const { status, stdout, stderr } = spawnSync(process.execPath, [SIM, ...args], {
    encoding: 'utf8',
    timeout: 60_000,
  });
  return { status, stdout, stderr };
}

it('replay plays a saved counterexample, and the program without its defect holds the invariant', async () => {
  const path = join(dir, 'counterexample.json');
  writeFileSync(path, JSON.stringify(await savedOf('a loss is lowered rail by rail')));
  const played = sim('replay', path, '--json');
  expect(played).toMatchObject({ status: 0, stderr: '' });
  expect(JSON.parse(played.stdout)).toMatchObject({
    invariant: 'lossAtOnce',
    isBroken: false,
    found: [],
    notPlayed: [],
    parted: null,
  });
  const told = sim('replay', path, '--svg', join(dir, 'replay.svg'));
  expect(told).toMatchObject({ status: 0, stderr: '' });
  expect(told.stdout).toContain('lossAtOnce holds on the simulated chassis');
  expect(told.stdout).toContain('timing diagram: ');
});

it.each([
  ['no file', [], /replay takes the file/],
  ['a file that is not there', ['/nowhere/c.json'], /cannot read \/nowhere/],
  ['another file', [join(root, 'package.json')], /is no counterexample/],
])('replay of %s is refused', (_, args, message) => {
  const { status, stderr } = sim('replay', ...args);
  expect(status).toBe(64);
  expect(stderr).toMatch(message);
});
