import { readdirSync, readFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { defineConfig } from 'vitest/config';

/** Files of the unit tier that try few of their cases there (test/draws.ts), and all in the faults tier. */
const drawing = ['test/unit', 'test/contract']
  .flatMap((folder) => readdirSync(folder).map((name) => join(folder, name)))
  .filter(
    (path) => path.endsWith('.test.ts') && /\b(draws|fewer|sampled)\(/.test(readFileSync(path, 'utf8')),
  );

export default defineConfig({
  test: {
    // A file that has not changed since the last run is not transformed again: two seconds in three of the first process.
    experimental: { fsModuleCache: true, fsModuleCachePath: 'build/vitest' },
    projects: [
      {
        test: {
          name: 'unit',
          include: ['test/unit/**/*.test.ts', 'test/contract/**/*.test.ts'],
          setupFiles: ['test/unit/setup.ts'],
          env: { FAST_CHECK_RUNS: process.env.FAST_CHECK_RUNS ?? '5', FEW_CASES: 'yes' },
          // No file leaves anything behind, so that none has to load the program anew.
          isolate: false,
          // Not threads: a umask and a signal are those of a process.
          pool: 'forks',
          // Vite reads and parses each package otherwise, to find out whether Node can.
          server: { deps: { external: [/\/node_modules\//] } },
          // By default one processor is left free. One more than there are costs more than it saves: each worker reads the
          // program for itself, and what it runs is compiled again.
          maxWorkers: availableParallelism(),
          // For a machine that has much else to do: a test that runs out of time goes on beside those after it.
          testTimeout: 60_000,
          hookTimeout: 60_000,
          // Projects with different numbers of workers come one after the other.
          sequence: { groupOrder: 1 },
        },
      },
      {
        test: {
          name: 'faults',
          // What tries everything, or a lot of it.
          include: [
            'test/faults/**/*.test.ts',
            'test/model/**/*.test.ts',
            'test/sweeps/**/*.test.ts',
            ...drawing,
          ],
          setupFiles: ['test/unit/setup.ts'],
          testTimeout: 600_000,
        },
      },
      {
        test: {
          name: 'cli',
          include: ['test/cli/**/*.test.ts'],
          globalSetup: ['test/build.ts'],
          testTimeout: 30_000,
        },
      },
      {
        test: {
          name: 'systemd',
          include: ['test/systemd/**/*.test.ts'],
          globalSetup: ['test/build.ts'],
          setupFiles: ['test/systemd/setup.ts'],
          fileParallelism: false,
          testTimeout: 120_000,
          hookTimeout: 300_000,
        },
      },
      {
        test: {
          name: 'bmc',
          include: ['test/bmc/**/*.test.ts'],
          globalSetup: ['test/build.ts', 'test/bmc/global-setup.ts'],
          fileParallelism: false,
          testTimeout: 300_000,
          hookTimeout: 1_800_000,
        },
      },
    ],
  },
});
