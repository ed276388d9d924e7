/** What is found wrong with a chassis, and whose fault a line is that fails. */
import { describe, expect, it } from 'vitest';
import type { SequenceEvent } from '../../src/sequence/events.ts';
import { hardwareFault, missOf } from '../../src/sequence/faults.ts';
import { type Plan, planOf, type RailPlan } from '../../src/sequence/plan.ts';
import { isNextRaise, noteMissed } from '../../src/sequence/rails.ts';
import type { Context, Readings } from '../../src/sequence/readings.ts';
import type { RailState } from '../../src/sequence/state.ts';
import { contextOf, type Otherwise } from './contexts.ts';

const NOW_MS = 10_000;
const STAGE_MS = 1_000;
const line = (offset: number) => ({ chip: 'gpio', line: offset, active: 'high' as const });

type Changes = Otherwise['rails'] & object;
type Parts = Readonly<Record<string, Partial<RailPlan>>>;

/** A feeds B, and B feeds C. C and MUTE, which has no signal, are rails that the chassis can do without. */
function planWith(parts: Parts = {}): Plan {
  const times = { settleMs: 0, onTimeoutMs: 100, offTimeoutMs: 200 };
  const plan = planOf(
    {
      rails: {
        A: { enable: line(0), good: line(10), needs: [], ...times },
        B: { enable: line(1), good: line(11), needs: ['A'], ...times },
        C: { enable: line(2), good: line(12), needs: ['B'], ...times, logOnly: true },
        MUTE: { enable: line(3), needs: [], ...times, logOnly: true },
      },
      pgood: { ...line(20), deglitchMs: 5, onTimeoutMs: STAGE_MS, offTimeoutMs: 2_000 },
      resets: {},
      evidence: [],
      minOffMs: 0,
    },
    {},
  );
  return { ...plan, rails: plan.rails.map((rail) => ({ ...rail, ...parts[rail.name] })) };
}

/** The time of pgood is over at this moment. */
function due(
  rails: Changes,
  { plan = planWith(), stageDeadlineMs = NOW_MS as number | null, unread = [] as string[] } = {},
): Context {
  return contextOf(plan, NOW_MS, { rails, unread, change: { stageDeadlineMs } });
}

describe('when pgood is due, a rail that has not come and that the chassis can do without', () => {
  const RISING = { phase: 'rising', good: false, deadlineMs: NOW_MS + 50 } as const;
  const LATE = `rail C was not good when pgood was due, ${STAGE_MS} ms after the last enable`;

  it('is missed', () => {
    expect(missOf(due({ C: RISING }))).toEqual({ rail: 'C', miss: 'late', reason: LATE });
  });

  it('is missed with the reason that nobody could see it', () => {
    const reason = `${LATE}: its signal cannot be read`;
    expect(missOf(due({ C: { ...RISING, goodUnread: true } }))).toMatchObject({ reason });
  });

  it.each<[string, Context]>([
    ['before that', due({ C: RISING }, { stageDeadlineMs: NOW_MS + 1 })],
    ['where nothing is due', due({ C: RISING }, { stageDeadlineMs: null })],
    ['where it was not read since', due({ C: RISING }, { unread: ['C'] })],
    ['where it only has to settle', due({ C: { ...RISING, good: true } })],
    ['where no signal tells of it', due({ MUTE: RISING })],
    ['where it is one that the chassis cannot do without', due({ B: RISING })],
    ['where it is another one that has not come', due({ B: RISING, MUTE: RISING })],
  ])('is not, %s', (_, context) => {
    expect(missOf(context)).toBeNull();
  });
});

describe('a rail that is missed', () => {
  it.each<[string, Plan, Partial<RailState>]>([
    ['has its enable on', planWith(), { phase: 'rising', enabled: true }],
    [
      'follows another one that it waits for',
      planWith({ C: { watched: 'follower' } }),
      { phase: 'down', enabled: false },
    ],
  ])('counts as one that was to be on, and is waited for no more, where it %s', (_, plan, was) => {
    const { asks, change } = noteMissed(
      due({ C: { ...was, good: false, deadlineMs: NOW_MS + 50 } }, { plan }),
    );
    expect(asks).toMatchObject([{ type: 'tellMissed', rail: 'C', miss: 'late' }]);
    expect(change?.rails?.C).toMatchObject({ enabled: true, phase: 'up', deadlineMs: null, missed: 'late' });
  });
});

describe('what is being checked before it is raised', () => {
  const checked = due({});
  const readings: Readings = {
    ...checked.readings,
    check: { raises: { what: 'enable', name: 'B' }, fromMs: 0, left: [] },
  };

  it.each<[string, Parameters<typeof isNextRaise>[1], boolean]>([
    ['is that same rail', { what: 'enable', name: 'B' }, true],
    ['is not another rail', { what: 'enable', name: 'C' }, false],
    ['is not a reset of its name', { what: 'reset', name: 'B' }, false],
    ['is not nothing', null, false],
  ])('%s', (_, next, isSame) => {
    expect(isNextRaise({ ...checked, readings }, next)).toBe(isSame);
  });

  it('is nothing where nothing is checked', () => {
    expect(isNextRaise(checked, null)).toBe(true);
    expect(isNextRaise(checked, { what: 'enable', name: 'B' })).toBe(false);
  });
});

describe('a line or device that fails', () => {
  const failure = { code: 'GPIO_FAILED', reason: 'EIO', atMs: NOW_MS };
  const enable = (rail: string, asserted: boolean): SequenceEvent => ({
    ...{ type: 'DRIVE_FAILED', drive: { what: 'enable', rail }, asserted, readBack: !asserted, ...failure },
  });
  const reading = (rail: string): SequenceEvent => ({
    ...{ type: 'READ_FAILED', signal: 'good', rail, askedMs: NOW_MS, ...failure },
  });
  const latch: SequenceEvent = {
    ...{ type: 'DRIVE_FAILED', drive: { what: 'latch' }, asserted: true, readBack: false, ...failure },
  };
  const slow = planWith({ C: { isSetUp: true } });
  const pressed = planWith({ C: { pulsed: 'good' } });
  const DROPPED = { phase: 'up', good: false } as const;

  it.each<[string, SequenceEvent, Plan, Changes]>([
    ['what it needs, that was lost while a device was set up', enable('C', true), slow, { B: DROPPED }],
    ['the same while a button was pressed', enable('C', true), pressed, { B: DROPPED }],
    ['what that hangs on', enable('C', true), slow, { A: DROPPED }],
  ])('is the fault of %s', (_, event, plan, change) => {
    const [lost] = Object.keys(change);
    expect(hardwareFault(event, 'opPowerStart', due(change, { plan }))).toEqual({
      ...{ kind: 'railLost', rail: lost, state: 'opPowerStart', atMs: NOW_MS, errorCode: null },
      reason: `rail ${lost} dropped while it was enabled`,
    });
  });

  it.each<[string, SequenceEvent, Plan, Changes, string | null]>([
    ['nothing is lost', enable('C', true), slow, {}, 'C'],
    ['it takes no time', enable('C', true), planWith(), { B: DROPPED }, 'C'],
    ['it was to be switched off', enable('C', false), slow, { B: DROPPED }, 'C'],
    ['what it needs has not come yet', enable('C', true), slow, { B: { phase: 'rising', good: false } }, 'C'],
    ['another rail is lost', enable('B', true), slow, { C: DROPPED }, 'B'],
    ['it is only read', reading('C'), slow, { B: DROPPED }, 'C'],
    ['it is of no rail', latch, slow, { B: DROPPED }, null],
  ])('is told as such where %s', (_, event, plan, change, rail) => {
    expect(hardwareFault(event, 'opPowerStart', due(change, { plan }))).toEqual({
      ...{ kind: 'hardware', rail, state: 'opPowerStart', atMs: NOW_MS },
      ...{ reason: 'EIO', errorCode: 'GPIO_FAILED' },
    });
  });
});
