import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Board } from '../../src/board/schema.ts';
import { hangingOn, planOf, planWithout, railPlan } from '../../src/sequence/plan.ts';
import { checkBoard } from '../check-board.ts';
import { draws } from '../draws.ts';
import { generatedBoard } from './boards.ts';

const line = (offset: number) => ({ chip: 'gpio', line: offset, active: 'high' as const });

const RUNS = { numRuns: draws(40) };

/** A chassis, and which of its rails go with the enable of which. */
function chassisOf(board: Board) {
  const chassis = board.chassis['0'];
  if (chassis === undefined) throw new RangeError('no chassis 0');
  const { rails } = chassis;
  const isSwitched = (name: string) => rails[name]?.enable !== undefined;
  /** It needs the other one, itself or through rails that only come and go with it. */
  const hangsOn = (name: string, other: string): boolean =>
    (rails[name]?.needs ?? []).some((need) => need === other || (!isSwitched(need) && hangsOn(need, other)));
  return { chassis, rails, names: Object.keys(rails), isSwitched, hangsOn };
}

describe('the plan of a chassis, whatever its board', () => {
  it('has every rail once, after all that it needs', () => {
    fc.assert(
      fc.property(generatedBoard, (board) => {
        const { chassis, names } = chassisOf(board);
        const plan = planOf(chassis, board.devices);
        expect(plan.rails.map(({ name }) => name).toSorted()).toEqual(names.toSorted());
        plan.rails.forEach(({ needs }, index) => {
          const before = plan.rails.slice(0, index).map(({ name }) => name);
          expect(before).toEqual(expect.arrayContaining([...needs]));
        });
      }),
      RUNS,
    );
  });

  it('says of each rail what goes with it, and what is to be off before it', () => {
    fc.assert(
      fc.property(generatedBoard, (board) => {
        const { chassis, names, isSwitched, hangsOn } = chassisOf(board);
        for (const { name, neededBy, followers, watched } of planOf(chassis, board.devices).rails) {
          const goesWithOne = names.some((other) => isSwitched(other) && hangsOn(name, other));
          expect(watched).toBe(isSwitched(name) ? null : goesWithOne ? 'follower' : 'supply');
          if (!isSwitched(name)) continue;
          const hanging = names.filter((other) => hangsOn(other, name));
          expect(neededBy.toSorted()).toEqual(hanging.filter(isSwitched).toSorted());
          expect(followers.toSorted()).toEqual(hanging.filter((other) => !isSwitched(other)).toSorted());
        }
      }),
      RUNS,
    );
  });

  it('has the times and signals of the board file', () => {
    fc.assert(
      fc.property(generatedBoard, (board) => {
        const { chassis, rails } = chassisOf(board);
        const plan = planOf(chassis, board.devices);
        for (const rail of plan.rails) {
          const { settleMs, onTimeoutMs, offTimeoutMs, good, enable, setup, needs } = rails[rail.name] ?? {};
          expect(rail).toMatchObject({ settleMs, onTimeoutMs, offTimeoutMs, needs });
          expect(rail.observable).toBe(good !== undefined);
          expect(rail.isSetUp).toBe(setup !== undefined);
          const powers = [enable, good, setup].flatMap((part) =>
            part !== undefined && 'pmbus' in part ? [board.devices[part.pmbus]?.poweredBy] : [],
          );
          expect(new Set(rail.poweredBy)).toEqual(new Set(powers.filter((power) => power !== undefined)));
          const powerOf = (part: typeof enable | typeof good) =>
            part !== undefined && 'pmbus' in part ? (board.devices[part.pmbus]?.poweredBy ?? []) : [];
          expect(rail.switchedBy).toEqual([powerOf(enable)].flat());
          expect(rail.seenBy).toEqual([powerOf(good)].flat());
          expect(new Set(rail.poweredBy).size).toBe(rail.poweredBy.length);
        }
        const { deglitchMs, onTimeoutMs, offTimeoutMs } = chassis.pgood;
        expect(plan.pgood).toMatchObject({ deglitchMs, onTimeoutMs, offTimeoutMs });
        expect(plan.resets).toEqual(
          Object.entries(chassis.resets).map(([name, { releaseDelayMs, heldUntil }]) => ({
            ...{ name, releaseDelayMs, isHeld: heldUntil !== undefined },
          })),
        );
        expect(plan).toMatchObject({ latched: chassis.latch !== undefined, minOffMs: chassis.minOffMs });
      }),
      RUNS,
    );
  });

  it('has what pgood is taken from, and which rails have to stand for somebody to answer for it', () => {
    fc.assert(
      fc.property(generatedBoard, (board) => {
        const { chassis, rails, names } = chassisOf(board);
        const { pgood, latch } = chassis;
        const plan = planOf(chassis, board.devices);
        const sources = 'all' in pgood ? pgood.all : 'any' in pgood ? pgood.any : [pgood];
        const ofRails = sources.some((source) => 'rails' in source);
        // The enables of a latched board read off while the power stands.
        const seen = names.filter((name) => latch === undefined || rails[name]?.good !== undefined);
        expect(plan.pgood.rails).toEqual(ofRails ? seen : []);
        expect(plan.pgood.hasSignals).toBe(sources.length > sources.filter((each) => 'rails' in each).length);
        const own = sources.flatMap((source) =>
          'pmbus' in source ? [board.devices[source.pmbus]?.poweredBy] : [],
        );
        const powers = plan.pgood.rails.flatMap((name) => railPlan(plan, name).poweredBy);
        const expected = [...own.filter((power) => power !== undefined), ...powers];
        expect(new Set(plan.pgood.poweredBy)).toEqual(new Set(expected));
        expect(new Set(plan.pgood.poweredBy).size).toBe(plan.pgood.poweredBy.length);
      }),
      RUNS,
    );
  });

  it('names nothing of what is absent, and the same of all else', () => {
    fc.assert(
      fc.property(generatedBoard, fc.nat(), (board, drawn) => {
        const { chassis, names } = chassisOf(board);
        const plan = planOf(chassis, board.devices);
        // What needs a rail that is absent is absent as well, and nothing stays that needs it.
        const absent = [...hangingOn(plan, names[drawn % names.length] ?? '')];
        const { rails, pgood, absent: left, ...others } = planWithout(plan, absent);
        const isThere = (name: string) => !absent.includes(name);
        expect(left.map(({ name }) => name).toSorted()).toEqual(absent.toSorted());
        expect(rails.map(({ name }) => name)).toEqual(plan.rails.map(({ name }) => name).filter(isThere));
        for (const rail of rails) {
          const whole = railPlan(plan, rail.name);
          for (const names of ['neededBy', 'offAfter', 'followers'] as const) {
            expect(rail[names], `${rail.name} ${names}`).toEqual(whole[names].filter(isThere));
          }
        }
        for (const names of ['rails', 'poweredBy'] as const) {
          expect(pgood[names]).toEqual(plan.pgood[names].filter(isThere));
        }
        expect({ ...others, rails: null, pgood: null, absent: null }).toEqual({
          ...plan,
          ...{ rails: null, pgood: null, absent: null },
        });
      }),
      RUNS,
    );
  });

  it.each([true, false])(
    'has the rail of a host that shows its sleep, its only signal: %s',
    (isItsSignal) => {
      const enable = { pulse: line(2), state: line(3), sleepState: true } as const;
      const times = { settleMs: 0, onTimeoutMs: 100, offTimeoutMs: 200, needs: [] };
      const rails = {
        A: { enable: line(0), good: line(1), ...times },
        HOST: { enable, ...(!isItsSignal && { good: line(4) }), ...times },
      };
      const pgood = { ...line(5), deglitchMs: 5, onTimeoutMs: 1_000, offTimeoutMs: 2_000 };
      const chassis = { rails, pgood, resets: {}, evidence: [], minOffMs: 0 };
      expect(planOf(chassis as never, {}).sleep).toEqual({ rail: 'HOST', isItsSignal });
      expect(planOf({ ...chassis, rails: { A: rails.A } } as never, {}).sleep).toBeNull();
    },
  );

  it('names nothing of an absent rail that is off first, powers a device, or stands behind pgood', () => {
    const times = { settleMs: 0, onTimeoutMs: 100, offTimeoutMs: 200 };
    const vr = { pmbus: 'vr', page: 0 };
    const riser = { pmbus: 'riser', page: 0 };
    const devices = { vr: { poweredBy: ['A'] }, riser: { poweredBy: ['RISER'] } };
    const plan = planOf(
      {
        rails: {
          A: { enable: line(0), good: line(1), needs: [], ...times, offAfter: ['RISER', 'B'] },
          B: { enable: vr, good: line(2), needs: [], ...times },
          C: { enable: line(3), good: vr, needs: ['A'], ...times },
          RISER: { enable: line(4), good: line(5), needs: [], ...times },
        },
        pgood: {
          any: [vr, riser, { rails: true }],
          ...{ deglitchMs: 5, onTimeoutMs: 1_000, offTimeoutMs: 2_000 },
        },
        ...{ resets: {}, evidence: [], minOffMs: 0 },
      } as never,
      devices as never,
    );
    expect(railPlan(plan, 'B')).toMatchObject({ switchedBy: ['A'], seenBy: [] });
    expect(railPlan(plan, 'C')).toMatchObject({ switchedBy: [], seenBy: ['A'] });
    const { rails, pgood } = planWithout(plan, ['RISER']);
    expect(pgood).toMatchObject({ rails: ['A', 'B', 'C'], poweredBy: ['A'] });
    expect(rails.find(({ name }) => name === 'A')?.offAfter).toEqual(['B']);
    expect(plan.pgood.poweredBy.toSorted()).toEqual(['A', 'RISER']);
  });

  it('gives a rail by its name, and nothing for another name', () => {
    fc.assert(
      fc.property(generatedBoard, (board) => {
        const { chassis, names } = chassisOf(board);
        const plan = planOf(chassis, board.devices);
        for (const name of names) expect(railPlan(plan, name).name).toBe(name);
        expect(() => railPlan(plan, 'nowhere')).toThrow('rail nowhere is not in the plan');
      }),
      RUNS,
    );
  });
});

describe('the plan of a chassis whose signals have their power from a rail', () => {
  const line = (offset: number) => ({ chip: 'gpio', line: offset });
  const page = { pmbus: 'vr', page: 9, minVolts: 0.9 };
  const planWith = (pgood: object, rails: object = {}) => {
    const { board, problems } = checkBoard({
      name: 'powered',
      devices: { vr: { bus: 1, address: '0x40', poweredBy: 'A' } },
      chassis: {
        0: {
          rails: {
            A: { enable: line(0), good: line(1) },
            B: { enable: line(2), good: { ...page, page: 0 }, nominalVolts: 1, needs: ['A'] },
            ...rails,
          },
          pgood,
        },
      },
    });
    const chassis = board?.chassis['0'];
    if (!board || !chassis) throw new TypeError(JSON.stringify(problems));
    return planOf(chassis, board.devices);
  };

  it.each([
    ['a page', page, ['A'], []],
    ['the rails, of which a device behind A shows one', { rails: true }, ['A'], ['A', 'B']],
    ['a line', line(7), [], []],
    ['a line, or else a page', { any: [line(7), page] }, ['A'], []],
  ])('has pgood behind the rails that its own is behind: %s', (_, pgood, poweredBy, rails) => {
    expect(planWith(pgood).pgood).toMatchObject({ poweredBy, rails });
  });

  it('tells by what a power button is seen to be taken', () => {
    const enable = { pulse: line(3), forceOffMs: 6_000 };
    const pulsed = (host: object) =>
      railPlan(planWith(line(7), { HOST: { needs: ['B'], ...host } }), 'HOST').pulsed;
    expect(pulsed({ enable: { ...enable, state: line(4) } })).toBe('state');
    expect(pulsed({ enable, good: line(5) })).toBe('good');
    expect(pulsed({ enable: line(3), good: line(5) })).toBeNull();
    // Nothing is pressed for what is only watched.
    expect(pulsed({ good: line(5) })).toBeNull();
  });

  it('counts what a button switches as seen, whatever shows it', () => {
    const enable = { pulse: line(3), state: line(4), forceOffMs: 6_000 };
    const plan = planWith(line(7), { HOST: { needs: ['B'], enable }, RELAY: { enable: line(6) } });
    expect([railPlan(plan, 'HOST').observable, railPlan(plan, 'RELAY').observable]).toEqual([true, false]);
  });
});
