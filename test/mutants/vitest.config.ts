import { existsSync } from 'node:fs';
import { defineConfig } from 'vitest/config';
import { BaseSequencer, type TestSpecification } from 'vitest/node';
import tests from './rooms.json' with { type: 'json' };
import { warmPool } from './warm-pool.ts';

/** What Stryker runs for each mutant: of these files of its room, the tests that reach it, until one fails. */
const names = tests.rooms[process.env.MUTANTS_ROOM as keyof typeof tests.rooms];
const paths = names.map((name) =>
  existsSync(`test/unit/${name}.test.ts`) ? `test/unit/${name}.test.ts` : `test/sweeps/${name}.test.ts`,
);

/** In the order of rooms.json: what costs least comes first. */
class CheapFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const place = ({ moduleId }: TestSpecification) => paths.findIndex((path) => moduleId.endsWith(path));
    return files.sort((one, other) => place(one) - place(other));
  }
}

export default defineConfig({
  plugins: [warmPool()],
  test: {
    include: paths,
    setupFiles: ['test/unit/setup.ts', 'test/mutants/setup.ts'],
    isolate: false,
    sequence: { sequencer: CheapFirst },
    // The machine may be busy with other mutants. As long as the longest that a file sets for itself, which does nothing here.
    testTimeout: 120_000,
    // A fifth of the cases: each mutant that survives costs all of them.
    env: { FAST_CHECK_RUNS: '8' },
  },
});
