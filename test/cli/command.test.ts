/** `chassis-power` from a checkout, as npm finds it in package.json. */
import { spawnSync } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';

const root = join(import.meta.dirname, '..', '..');
const { bin, version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as {
  bin: Record<string, string>;
  version: string;
};

vi.setConfig({ testTimeout: 60_000 });

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'command-'));
});
afterEach(() => rmSync(folder, { recursive: true }));

function run(program: string, args: readonly string[], cwd = root) {
  const { status, stdout, stderr } = spawnSync(program, args, { cwd, encoding: 'utf8', timeout: 50_000 });
  return { status, stdout, stderr };
}

it('works from a checkout: npx chassis-power runs what was built, with its exit code', () => {
  const npx = ['exec', '--offline', '--loglevel=error', '--', 'chassis-power'];
  expect(run('npm', [...npx, '--version'])).toMatchObject({
    status: 0,
    stdout: `chassis-power ${version}\n`,
  });
  expect(run('npm', [...npx, 'strat'])).toMatchObject({ status: 64 });
});

it('works through a link from elsewhere, as npm link makes it', () => {
  const link = join(folder, 'chassis-power');
  symlinkSync(join(root, bin['chassis-power'] ?? ''), link);
  expect(run(link, ['--version'], folder)).toMatchObject({
    status: 0,
    stdout: `chassis-power ${version}\n`,
    stderr: '',
  });
});

it('says what to do in a checkout that is not built', () => {
  mkdirSync(join(folder, 'deploy'));
  const command = join(folder, bin['chassis-power'] ?? '');
  cpSync(join(root, bin['chassis-power'] ?? ''), command);
  const { status, stdout, stderr } = run(command, ['status'], folder);
  expect({ status, stdout }).toEqual({ status: 69, stdout: '' });
  expect(stderr).toMatch(/^chassis-power: .*chassis-power\.cjs is not built yet: run "npm run build"/);
});
