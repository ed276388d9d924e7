import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { createVirtualClock } from '../../mocks/virtual-clock.ts';
import { PowerError } from '../../src/errors.ts';
import { createFailureTeller } from '../../src/service/tell-failure.ts';
import { SystemError } from '../../src/system/errors.ts';
import type { EventLogEntry } from '../../src/system/ports.ts';
import { draws } from '../draws.ts';

const FAILED_ON = new PowerError(
  'RAIL_FAULT',
  'chassis 0: rail P1V8 was not good within 500 ms of its enable; the power was taken down',
  { powerStillApplied: false, stillOn: [], fault: { rail: 'P1V8' } },
);
/** The same power that is still applied, as each of the two power-off stages finds it. */
const failedOff = (reason: string, rail = 'P5V') =>
  new PowerError('POWER_OFF_TIMEOUT', `chassis 0: ${reason}; POWER IS STILL APPLIED (rail ${rail} is good)`, {
    powerStillApplied: true,
    stillOn: [{ rail, because: 'good' }],
    fault: { rail },
  });

/** How the event log is met at a try. */
type Met = 'there' | 'nobody' | 'no bus';

function createStory() {
  const clock = createVirtualClock();
  const entries: (EventLogEntry & { readonly atMs: number })[] = [];
  const logged: string[] = [];
  const ending = new AbortController();
  let met: Met = 'there';
  let supplyError = '';
  const teller = createFailureTeller({
    chassis: 0,
    clock,
    signal: ending.signal,
    supplyError: () => supplyError,
    dataOf: (error) => (error === FAILED_ON ? { STATUS_WORD: '0x0800' } : {}),
    log: (severity, text) => logged.push(`<${severity}>${text}`),
    logFailure: (severity, { message }) => logged.push(`<${severity}>${message}`),
    eventLog: async () => ({
      async create(entry) {
        if (met === 'no bus') throw new SystemError('DBUS_UNAVAILABLE', 'there is no bus');
        if (met === 'nobody') return false;
        entries.push({ ...entry, atMs: clock.nowMs() });
        return true;
      },
    }),
  });
  const pass = (ms: number) =>
    clock.runUntil(
      new Promise<void>((resolve) => {
        clock.after(ms, resolve);
      }),
    );
  return {
    clock,
    teller,
    entries,
    logged,
    ending,
    pass,
    supplyFails: (name: string) => {
      supplyError = name;
    },
    meets: (now: Met) => {
      met = now;
    },
  };
}

describe('a request that failed', () => {
  it('is one entry with its rail, and a line in the journal', async () => {
    const { teller, entries, logged, clock } = createStory();
    await clock.runUntil(teller.requestFailed('on', FAILED_ON));
    expect(entries).toMatchObject([
      {
        name: 'xyz.openbmc_project.Power.Error.PowerSequencerVoltageFault',
        severity: 'Critical',
        data: { RAIL_NAME: 'P1V8', REQUEST: 'power on', POWER_STILL_APPLIED: 'false', CHASSIS_NUMBER: '0' },
      },
    ]);
    expect(logged).toEqual([`<3>${FAILED_ON.message}`]);
  });

  it('has what the run said of its rail, and blames a power supply that is reported before it', async () => {
    const { teller, entries, supplyFails, clock } = createStory();
    const data = { STATUS_WORD: '0x0800', RAIL_NAME: 'P1V8' };
    await clock.runUntil(teller.requestFailed('on', FAILED_ON));
    supplyFails('xyz.openbmc_project.Power.PowerSupply.Error.PSKillFault');
    await clock.runUntil(teller.requestFailed('on', FAILED_ON));
    expect(entries).toMatchObject([
      { name: 'xyz.openbmc_project.Power.Error.PowerSequencerVoltageFault', data },
      { name: 'xyz.openbmc_project.Power.PowerSupply.Error.PSKillFault', data },
    ]);
  });

  it('of no rail has the error of the power supply, where one was reported and power was asked for', async () => {
    const late = new PowerError('PGOOD_TIMEOUT', 'chassis 0: pgood did not come; the power was taken down', {
      powerStillApplied: false,
      stillOn: [],
      fault: { rail: null },
    });
    const { teller, entries, supplyFails, clock } = createStory();
    await clock.runUntil(teller.requestFailed('on', late));
    supplyFails('xyz.openbmc_project.Power.PowerSupply.Error.PSKillFault');
    await clock.runUntil(teller.requestFailed('on', late));
    await clock.runUntil(teller.requestFailed('off', failedOff('rail P5V did not go down')));
    expect(entries.map(({ name }) => name)).toEqual([
      'xyz.openbmc_project.Power.Error.PowerOnTimeout',
      'xyz.openbmc_project.Power.PowerSupply.Error.PSKillFault',
      'xyz.openbmc_project.Power.Error.PowerOffTimeout',
    ]);
  });

  it('over power that is still applied says so, loudly', async () => {
    const { teller, entries, logged, clock } = createStory();
    await clock.runUntil(
      teller.requestFailed('off', failedOff('rail P5V did not go down after the disable')),
    );
    expect(entries[0]?.data.REASON).toBe(
      'rail P5V did not go down after the disable; POWER IS STILL APPLIED (rail P5V is good)',
    );
    expect(logged[0]).toMatch(/^<2>chassis 0: .*POWER IS STILL APPLIED/);
  });

  it('over the same power again is no second entry, until the chassis was well or another rail is on', async () => {
    const { teller, entries, clock } = createStory();
    const off = async (error: PowerError) => clock.runUntil(teller.requestFailed('off', error));
    await off(failedOff('rail P5V did not go down'));
    await off(failedOff('rail P5V stuck'));
    expect(entries).toHaveLength(1);
    await off(failedOff('rail P12V did not go down', 'P12V'));
    expect(entries).toHaveLength(2);
    teller.isWell();
    await off(failedOff('rail P12V did not go down', 'P12V'));
    expect(entries).toHaveLength(3);
    teller.isWell();
    teller.isKnown(failedOff('pgood was lost'));
    await off(failedOff('rail P5V stuck'));
    expect(entries).toHaveLength(3);
  });

  it('a power on that fails again is an entry again', async () => {
    const { teller, entries, clock } = createStory();
    await clock.runUntil(teller.requestFailed('on', FAILED_ON));
    await clock.runUntil(teller.requestFailed('on', FAILED_ON));
    expect(entries).toHaveLength(2);
  });

  it('because somebody asked otherwise is none', async () => {
    const { teller, entries, logged, clock } = createStory();
    const interrupted = new PowerError('INTERRUPTED', 'chassis 0: power off was asked for');
    await clock.runUntil(teller.requestFailed('on', interrupted));
    expect([entries, logged]).toEqual([[], []]);
  });

  it('is one entry however the event log comes and goes, if it is there for 15 s of the ten minutes after', async () => {
    const outage = fc.record({
      met: fc.constantFrom<Met>('nobody', 'no bus'),
      ms: fc.integer({ min: 0, max: 200_000 }),
    });
    await fc.assert(
      fc.asyncProperty(fc.array(outage, { maxLength: 3 }), async (outages) => {
        const story = createStory();
        story.meets(outages[0]?.met ?? 'there');
        const telling = story.teller.requestFailed('on', FAILED_ON);
        for (const { met, ms } of outages.filter(({ ms }) => ms > 0)) {
          story.meets(met);
          await story.pass(ms);
        }
        const backAtMs = story.clock.nowMs();
        story.meets('there');
        await story.pass(15_000);
        expect(story.entries).toHaveLength(1);
        expect(story.entries[0]?.atMs).toBeLessThanOrEqual(backAtMs + 15_000);
        await story.pass(700_000);
        await telling;
        expect(story.entries).toHaveLength(1);
      }),
      { numRuns: draws(60) },
    );
  });

  it('is given up after ten minutes, or when the service ends', async () => {
    for (const [met, end] of [
      ['nobody', 660_000],
      ['no bus', 660_000],
      ['nobody', 60_000],
      ['no bus', 60_000],
    ] as const) {
      const story = createStory();
      story.meets(met);
      const telling = story.teller.requestFailed('on', FAILED_ON);
      await story.pass(end);
      if (end < 600_000) story.ending.abort('SIGTERM');
      await story.pass(20_000);
      story.meets('there');
      await story.pass(60_000);
      await telling;
      expect(story.entries).toEqual([]);
    }
  });
});
