import { createMockFlock } from '../../mocks/backends/flock.ts';

/** The locks of all that a test file plays as processes of one machine. */
export const flock = createMockFlock();
