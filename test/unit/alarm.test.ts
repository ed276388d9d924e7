import { describe, expect, it } from 'vitest';
import { createAlarm, LONGEST_MS } from '../../src/run/alarm.ts';
import { createManualClock, type ManualClock } from './manual-clock.ts';

/** What has become of a promise by now. */
async function hasEnded(promise: Promise<void>, clock: ManualClock): Promise<boolean> {
  let ended = false;
  void promise.then(() => {
    ended = true;
  });
  await clock.advance(0);
  return ended;
}

describe('an alarm', () => {
  const clock = createManualClock();

  it('is raised beside a chassis by the others alone', () => {
    const alarm = createAlarm(clock);
    expect([0, 1].map(alarm.isRaisedBeside)).toEqual([false, false]);
    alarm.set(0, true);
    expect([0, 1].map(alarm.isRaisedBeside)).toEqual([false, true]);
    alarm.set(1, true);
    expect([0, 1, 2].map(alarm.isRaisedBeside)).toEqual([true, true, true]);
    alarm.set(0, false);
    expect([0, 1, 2].map(alarm.isRaisedBeside)).toEqual([true, false, true]);
  });

  it('tells whether a chassis was calm all the while', () => {
    const alarm = createAlarm(clock);
    const isCalm = alarm.calmSince(0);
    expect(isCalm()).toBe(true);
    alarm.set(1, true);
    alarm.set(0, false);
    expect(isCalm()).toBe(true);
    alarm.set(0, true);
    expect(isCalm()).toBe(false);
    alarm.set(0, false);
    // It was not, however it is now.
    expect(isCalm()).toBe(false);
    expect(alarm.calmSince(0)()).toBe(true);
  });

  it('is none of the calm of a chassis that it is raised for', () => {
    const alarm = createAlarm(clock);
    alarm.set(0, true);
    const isCalm = alarm.calmSince(0);
    expect(isCalm()).toBe(false);
    alarm.set(0, true);
    alarm.set(0, false);
    expect(isCalm()).toBe(false);
  });

  it('is counted once as long as it is raised', () => {
    const alarm = createAlarm(clock);
    const others = alarm.calmSince(1);
    for (const isRaised of [true, true, false, false]) alarm.set(0, isRaised);
    expect(others()).toBe(true);
  });

  it('is over at once where it is raised for none', async () => {
    const alarm = createAlarm(clock);
    expect(await hasEnded(alarm.over(), clock)).toBe(true);
  });

  it('is over when the last chassis is, for all that wait', async () => {
    const alarm = createAlarm(clock);
    alarm.set(0, true);
    alarm.set(1, true);
    const [first, second] = [alarm.over(), alarm.over()];
    alarm.set(0, false);
    expect(await hasEnded(first, clock)).toBe(false);
    alarm.set(1, false);
    expect(await hasEnded(first, clock)).toBe(true);
    expect(await hasEnded(second, clock)).toBe(true);
    // The next one is waited for anew.
    alarm.set(1, true);
    const next = alarm.over();
    expect(await hasEnded(next, clock)).toBe(false);
    alarm.set(1, false);
    expect(await hasEnded(next, clock)).toBe(true);
  });

  it('is waited for no longer than that', async () => {
    const alarm = createAlarm(clock);
    alarm.set(0, true);
    const over = alarm.over();
    await clock.advance(LONGEST_MS - 1);
    expect(await hasEnded(over, clock)).toBe(false);
    await clock.advance(1);
    expect(await hasEnded(over, clock)).toBe(true);
  });
});
