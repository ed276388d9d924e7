import { defineConfig } from 'vitest/config';

// What Stryker runs for each mutant: of these files, the tests that reach it, until one fails.
export default defineConfig({
  test: { include: ['test/unit/**/*.test.ts', 'test/model/**/*.test.ts'] },
});
