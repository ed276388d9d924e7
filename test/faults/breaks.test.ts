import { describe, expect, it } from 'vitest';
import { shippedBoard } from '../unit/bench.ts';
import { DRAWN_BOARDS } from './boards.ts';
import { BREAKS } from './breaks.ts';
import { caseAt, runShard, type Shard } from './campaign.ts';
import { INVARIANTS, type Invariant } from './invariants.ts';
import { play } from './story.ts';

const BOARDS = Object.fromEntries(DRAWN_BOARDS.map((name) => [name, shippedBoard(name)]));
/** Cases in which a defect has to be seen. */
const CASES = 1_000;

describe('an invariant that is broken on purpose is seen to be broken', () => {
  it.each(Object.entries(INVARIANTS) as [Invariant, string][])(
    '%s: %s',
    async (invariant) => {
      for (let index = 0; index < CASES; index += 1) {
        const played = caseAt({ seed: 1, path: String(index) }, BOARDS);
        const { violations } = await play(played, BREAKS[invariant]);
        if (violations.some((violation) => violation.invariant === invariant)) return;
      }
      expect.fail(`${BREAKS[invariant].says}, and nobody saw it in ${CASES} cases`);
    },
    240_000,
  );
});

it('a failing case is made smaller, and its place replays it', async () => {
  const shard: Shard = { boards: BOARDS, firstSeed: 5, blocks: 1, shard: 0, shards: 1, broken: 'needsFirst' };
  const { failures } = await runShard(shard, () => undefined);
  const [failure] = failures;
  if (failure === undefined) throw new Error('nothing failed');
  expect(failure.path).toContain(':');
  const played = caseAt(failure, BOARDS);
  const { violations } = await play(played, BREAKS.needsFirst);
  expect(violations.map(({ invariant, text }) => `${invariant}: ${text}`)).toEqual(failure.violations);
  // Nothing that has no part in it is left.
  expect(played.disturbances).toEqual([]);
  expect(played.store).toBe('kept');
}, 240_000);
