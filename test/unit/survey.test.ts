import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type Plan, planOf } from '../../src/sequence/plan.ts';
import type { RailState } from '../../src/sequence/state.ts';
import { changedRails, firstToCome, restlessRails, surveyOf, withState } from '../../src/sequence/survey.ts';
import { generatedBoard } from './boards.ts';

/** Fewer draw boards that are too small to tell anything. */
const RUNS = { numRuns: 100 };

const change = fc.record({
  place: fc.nat(),
  phase: fc.constantFrom('down', 'rising', 'up', 'falling', 'stuck'),
  enabled: fc.boolean(),
  good: fc.boolean(),
  deadlineMs: fc.constantFrom(null, 1_000),
  missed: fc.constantFrom(undefined, 'lost'),
});
type Change = typeof change extends fc.Arbitrary<infer T> ? T : never;

function planWith(board: typeof generatedBoard extends fc.Arbitrary<infer T> ? T : never): Plan {
  const chassis = board.chassis['0'];
  if (chassis === undefined) throw new RangeError('no chassis 0');
  return planOf(chassis, board.devices);
}

function stateOf({ watched }: Plan['rails'][number], { place: _, missed, ...drawn }: Change): RailState {
  const told = missed === undefined ? {} : ({ missed: 'lost' } as const);
  const base = { ...drawn, ...told, enableDoubt: null, goodUnread: false, sinceMs: 0 } as const;
  return watched === null ? base : { ...base, watched };
}

const DOWN: Change = {
  ...{ place: 0, phase: 'down', enabled: false, good: false },
  ...{ deadlineMs: null, missed: undefined },
};

describe('what is known of all rails at once', () => {
  it('is the same after many changes of one rail as where it is worked out of all of them', () => {
    fc.assert(
      fc.property(generatedBoard, fc.array(change, { maxLength: 30 }), (board, changes) => {
        const plan = planWith(board);
        let rails = Object.fromEntries(plan.rails.map((rail) => [rail.name, stateOf(rail, DOWN)]));
        surveyOf(plan, rails);
        for (const each of changes) {
          const rail = plan.rails[each.place % plan.rails.length];
          if (rail === undefined) return;
          const state = stateOf(rail, each);
          const before = rails;
          rails = { ...withState(plan, before, rail.name, state) };
          const after = withState(plan, before, rail.name, state);
          expect(after).toEqual(rails);
          expect(surveyOf(plan, after)).toEqual(surveyOf(plan, rails));
          expect(changedRails(plan, before, after)).toEqual([rail]);
          expect(changedRails(plan, after, after)).toEqual([]);
          // The next change begins with what this one came to.
          rails = after;
        }
      }),
      RUNS,
    );
  });

  it('says which rails wait for something, and which may come', () => {
    fc.assert(
      fc.property(generatedBoard, fc.array(change, { minLength: 12, maxLength: 12 }), (board, changes) => {
        const plan = planWith(board);
        const states = plan.rails.map((rail, place) => stateOf(rail, changes[place % 12] ?? DOWN));
        const rails = Object.fromEntries(plan.rails.map(({ name }, place) => [name, states[place]]));
        const all = rails as Record<string, RailState>;
        const rests = plan.rails.filter(({ name, watched }) => {
          const { phase, good, deadlineMs, missed } = all[name] as RailState;
          if (deadlineMs !== null) return false;
          return (
            (phase === 'up' && (good || missed === 'lost')) || (phase === 'down' && watched !== 'follower')
          );
        });
        expect(restlessRails(plan, all)).toEqual(plan.rails.filter((rail) => !rests.includes(rail)));
        const comes = plan.rails.find(({ name, watched, needs, poweredBy }) => {
          const isUp = (other: string) => all[other]?.phase === 'up' && all[other].good;
          return watched === null && all[name]?.phase === 'down' && [...needs, ...poweredBy].every(isUp);
        });
        expect(firstToCome(plan, all)).toEqual(comes ?? null);
        const { notUp, notGood, notEnabled } = surveyOf(plan, all);
        expect([notUp, notGood]).toEqual([
          states.filter(({ phase }) => phase !== 'up').length,
          states.filter(({ good }) => !good).length,
        ]);
        expect(notEnabled).toBe(
          plan.rails.filter(({ name, watched }) => watched === null && !all[name]?.enabled).length,
        );
      }),
      RUNS,
    );
  });
});
