/** For each board that ships, each rail and each way in which it can fail: what the diagnosis says. */
import { describe, expect, it } from 'vitest';
import { TRIP_CAUSES } from '../../mocks/plant/faults.ts';
import { JOBS } from '../../src/run/jobs.ts';
import { sampled } from '../draws.ts';
import { createBench, shippedBoard } from './bench.ts';

const BOARDS = ['reference', 'openpower', 'ast2600-evb', 'measured-rails'];
const railsOf = (board: string) => Object.entries(shippedBoard(board).chassis['0']?.rails ?? {});
const isPmbus = (part: object | undefined) => part !== undefined && 'pmbus' in part;

/** What can be known of a failure of this rail: by its device, by its line, or not at all. */
function known(board: string, rail: string, byDevice: string, byLine: string) {
  const { rails = {}, evidence = [] } = shippedBoard(board).chassis['0'] ?? {};
  const { enable, good } = rails[rail] ?? {};
  if (isPmbus(enable) || isPmbus(good)) return { rail, cause: byDevice };
  // That is all that a voltage can tell.
  if (good !== undefined && !('active' in good)) return { rail, cause: 'undervoltage' };
  if (good !== undefined) return { rail, cause: byLine };
  // A device that watches the chassis knows of what it failed, and not where.
  return { rail: null, cause: evidence.length > 0 ? byDevice : 'unknown' };
}

async function diagnosisOf(board: string, fault: string, job: 'on' | 'watch') {
  const bench = createBench(board, { faults: [fault], initially: job === 'on' ? 'off' : 'on' });
  const { sequence } = await bench.run(JOBS[job]);
  expect(bench.enabled()).toEqual([]);
  const entries = bench.recording.filter((each) => each.type === 'diagnosis');
  expect(entries).toHaveLength(1);
  expect(entries[0]?.diagnosis).toEqual(sequence.fault?.diagnosis);
  expect(bench.store.hint?.sequence.fault?.diagnosis).toEqual(sequence.fault?.diagnosis);
  return sequence.fault?.diagnosis;
}

describe.each(BOARDS)(
  '%s: for each rail and each fault of the plant the rail and the kind are named',
  (board) => {
    const rails = railsOf(board).map(([name]) => name);

    it.each(sampled(rails, 2))('%s never good', async (rail) => {
      const expected = known(board, rail, 'undervoltage', 'neverCame');
      expect(await diagnosisOf(board, `rail ${rail} never good`, 'on')).toMatchObject(expected);
    });

    it.each(
      sampled(
        rails.flatMap((rail) => ['droops', 'shorts'].map((does) => [rail, does] as const)),
        3,
      ),
    )('%s %s while the chassis is on, whatever goes with it', async (rail, does) => {
      const expected = known(board, rail, 'undervoltage', 'dropped');
      expect(await diagnosisOf(board, `rail ${rail} ${does} at 300ms`, 'watch')).toMatchObject(expected);
    });

    it.each(
      sampled(
        rails.flatMap((rail) => TRIP_CAUSES.map((cause) => [rail, cause] as const)),
        4,
      ),
    )('%s trips %s, as it comes up and while it is on', async (rail, cause) => {
      expect(await diagnosisOf(board, `rail ${rail} trips ${cause}`, 'on')).toMatchObject(
        known(board, rail, cause, 'neverCame'),
      );
      expect(await diagnosisOf(board, `rail ${rail} trips ${cause} at 300ms`, 'watch')).toMatchObject(
        known(board, rail, cause, 'dropped'),
      );
    });
  },
);
