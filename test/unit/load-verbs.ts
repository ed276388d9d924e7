/// <reference types="vite/client" />
/**
 * Loads what the command loads only when it needs it. Loading takes real time, in which virtual time runs out: a test that
 * drives the clock itself would take a verb that loads for one that hangs.
 */
import.meta.glob(
  [
    '../../src/board/*.ts',
    '../../src/cli/**/*.ts',
    '../../src/report/*.ts',
    '../../src/run/*.ts',
    '../../src/store/*.ts',
  ],
  { eager: true },
);
