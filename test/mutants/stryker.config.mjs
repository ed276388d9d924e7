const room = process.env.MUTANTS_ROOM;

/** @type {import('@stryker-mutator/api/core').PartialStrykerOptions} */
export default {
  testRunner: 'vitest',
  plugins: ['@stryker-mutator/vitest-runner'],
  // All test files of a room are read anyway; which of them reach a mutant is known from the first run.
  vitest: { configFile: 'test/mutants/vitest.config.ts', related: false },
  mutate: [`src/${room}/**/*.ts`],
  coverageAnalysis: 'perTest',
  // Constants that are made while modules are read are reached by no test of their own: each would cost all tests.
  ignoreStatic: true,
  incremental: true,
  incrementalFile: `build/mutants/${room}-incremental.json`,
  tempDirName: `build/mutants/${room}-sandbox`,
  jsonReporter: { fileName: `build/mutants/${room}.json` },
  htmlReporter: { fileName: `build/mutants/${room}.html` },
  reporters: ['progress-append-only', 'json', 'html'],
  ignorePatterns: ['dist', 'docs', 'build'],
  concurrency: 2,
  timeoutMS: 10_000,
};
