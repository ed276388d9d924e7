import { afterEach } from 'vitest';
import { plantLateness } from './chassis.ts';

// Runs after the hooks of a suite. A failure on a machine that could not keep the chassis in time tells nothing about
// the program, and who reads it has to know.
afterEach(async ({ task }) => {
  const errors = task.result?.state === 'fail' ? (task.result.errors ?? []) : [];
  if (errors.length === 0) return;
  const late = await plantLateness().catch((error: unknown) => `the plant cannot be asked: ${String(error)}`);
  for (const error of errors) error.message += `\n(the simulated chassis: ${late ?? 'in time'})`;
});
