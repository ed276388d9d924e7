import type { Clock } from '../../hw/ports.ts';
import { createMockFlock } from '../../mocks/backends/flock.ts';
import type { LockOptions } from '../../src/store/lock.ts';

/** The locks of all that a test file plays as processes of one machine. */
export const flock = createMockFlock();

/** For a process that takes the lock at once, or is turned away. */
export function lockAtOnce(clock: Clock): LockOptions {
  return { clock, flock, waitMs: 0, signal: new AbortController().signal, onWait: () => undefined };
}
