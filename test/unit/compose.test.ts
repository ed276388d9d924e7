import { describe, expect, it } from 'vitest';
import { composeWorld } from '../../src/compose.ts';
import { createManualClock } from './manual-clock.ts';

const output = { write: () => undefined, columns: null, journal: false };

describe('the real world', () => {
  it('has one driver of each kind, for all chassis that a process has open', async () => {
    const ends = {
      signal: new AbortController().signal,
      abandon: new AbortController().signal,
      onHangup: () => () => undefined,
      isAsked: () => false,
      whenAsked: () => undefined,
      end: () => undefined,
    };
    const world = composeWorld(createManualClock(), output, output, ends, 'test', () => undefined);
    expect(await world.gpio()).toBe(await world.gpio());
    expect(await world.i2c()).toBe(await world.i2c());
  });
});
