import fc from 'fast-check';
import { expect, it } from 'vitest';
import { shippedBoard } from '../unit/bench.ts';
import { DRAWN_BOARDS } from './boards.ts';
import { playService, serviceDraws } from './service-story.ts';

/**
 * The service in the campaign's world: requests, processes beside it, faults, standstills, restarts and kills. SERVICE_CASES=N plays
 * so many cases, SERVICE_SEED=N others; what failed is printed with its path and what happened.
 */

const CASES = 300;
const BOARDS = Object.fromEntries(DRAWN_BOARDS.map((name) => [name, shippedBoard(name)]));
/** Of what happened in a case that failed. */
const TOLD_LINES = 200;

it('is safe and tells the truth, whatever happens to it and beside it', async () => {
  await fc.assert(
    fc.asyncProperty(serviceDraws, async (draw) => {
      const { violations, story } = await playService(draw, BOARDS);
      expect(violations, story.slice(-TOLD_LINES).join('\n')).toEqual([]);
    }),
    { numRuns: Number(process.env.SERVICE_CASES ?? CASES), seed: Number(process.env.SERVICE_SEED ?? 1) },
  );
}, 1_800_000);
