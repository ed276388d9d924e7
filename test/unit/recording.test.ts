import { describe, expect, it } from 'vitest';
import type { Recorded } from '../../src/run/record.ts';
import { createRecording } from '../../src/run/recording.ts';
import { createManualClock } from './manual-clock.ts';

const LATCH = { type: 'latch' } as const;

describe('news that is held back', () => {
  it('is told later, in its order and with its time, and what comes after it at once', async () => {
    const clock = createManualClock(0);
    const told: Recorded[] = [];
    const recording = createRecording((entry) => void told.push(entry), clock);
    recording.hold();
    recording.record(LATCH);
    await clock.advance(10);
    recording.record({ type: 'pgood', level: true });
    expect(told).toEqual([]);
    await clock.advance(10);
    recording.tell();
    const held = [
      { type: 'latch', atMs: 0 },
      { type: 'pgood', level: true, atMs: 10 },
    ];
    expect(told).toEqual(held);
    recording.record(LATCH);
    expect(told).toEqual([...held, { type: 'latch', atMs: 20 }]);
  });

  it('has waited since the first of those who hold it back, and not at all when it was told', async () => {
    const clock = createManualClock(0);
    const recording = createRecording(() => undefined, clock);
    await clock.advance(100);
    expect(recording.heldForMs()).toBe(0);
    recording.hold();
    await clock.advance(30);
    recording.hold();
    await clock.advance(5);
    expect(recording.heldForMs()).toBe(35);
    recording.tell();
    await clock.advance(5);
    expect(recording.heldForMs()).toBe(0);
    recording.hold();
    await clock.advance(2);
    expect(recording.heldForMs()).toBe(2);
  });
});
