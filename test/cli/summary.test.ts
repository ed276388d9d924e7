/** What a run of CI says at its end, and what it knows that from. */
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';

const root = join(import.meta.dirname, '..', '..');

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'summary-'));
});
afterEach(() => rmSync(folder, { recursive: true }));

describe('the summary of a run', () => {
  const summary = (files: Record<string, unknown>) => {
    mkdirSync(join(folder, 'build'), { recursive: true });
    const none = { numPassedTests: 1, numFailedTests: 0, testResults: [suiteOf('x', 'passed', ['passed'])] };
    for (const tier of ['unit', 'faults', 'cli', 'systemd', 'bmc']) {
      writeFileSync(join(folder, 'build', `results-${tier}.json`), JSON.stringify(files[tier] ?? none));
    }
    for (const [name, value] of Object.entries(files)) {
      if (name.startsWith('reasons-'))
        writeFileSync(join(folder, 'build', `${name}.json`), JSON.stringify(value));
    }
    const { stdout, status } = spawnSync(process.execPath, [join(root, '.ci', 'summary.mjs')], {
      cwd: folder,
      encoding: 'utf8',
    });
    return { stdout, status };
  };
  const suiteOf = (name: string, status: string, tests: readonly string[], message = '') => ({
    name,
    status,
    message,
    assertionResults: tests.map((each, index) => ({ status: each, fullName: `${name} ${index}` })),
  });

  it('says why a hook failed whose tests did not run', () => {
    const { stdout, status } = summary({
      bmc: {
        numPassedTests: 0,
        numFailedTests: 0,
        testResults: [suiteOf('power', 'failed', ['skipped', 'skipped'])],
      },
      'reasons-bmc': {
        failed: [{ file: 'power', suite: 'through systemd', reason: 'tar still ran after 60000 ms' }],
        skipped: [],
        unhandled: [],
      },
    });
    expect(stdout).toMatch(/power > through systemd\n {4}tar still ran after 60000 ms/);
    expect(stdout).toMatch(/4 passed, 3 failed\n$/);
    expect(status).toBe(1);
  });

  it('a tier in which nothing ran is a failure', () => {
    const { stdout, status } = summary({ bmc: { numPassedTests: 0, numFailedTests: 0, testResults: [] } });
    expect(stdout).toContain('no test of the bmc tier ran');
    expect(status).toBe(1);
  });

  it('vitest hands on what a hook of a suite failed with', () => {
    writeFileSync(
      join(folder, 'hook.test.ts'),
      `import { beforeAll, describe, test } from '${join(root, 'node_modules/vitest/dist/index.js')}';
       describe('suite', () => { beforeAll(() => { throw new Error('the disk is not there'); }); test('t', () => {}); });`,
    );
    const { status } = spawnSync(
      join(root, 'node_modules', '.bin', 'vitest'),
      ['run', '--root', folder, `--reporter=${join(root, 'deploy', 'reasons.mjs')}`],
      { cwd: folder, encoding: 'utf8', env: { ...process.env, REASONS_FILE: join(folder, 'reasons.json') } },
    );
    expect(status).toBe(1);
    expect(JSON.parse(readFileSync(join(folder, 'reasons.json'), 'utf8'))).toMatchObject({
      failed: [{ suite: 'suite', reason: 'the disk is not there' }],
    });
  });
});
