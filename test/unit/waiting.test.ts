import { describe, expect, it } from 'vitest';
import { endsWithin, madeOnce, pause } from '../../hw/waiting.ts';
import { createStallingLoop } from '../../mocks/stall.ts';
import { createVirtualClock } from '../../mocks/virtual-clock.ts';

const LIMIT_MS = 100;

/** Whether what takes `workMs` ends within the limit for a process that stands still from 10 ms on for `stallMs`. */
async function isInTime(workMs: number, stallMs: number): Promise<boolean> {
  const world = createVirtualClock();
  const loop = createStallingLoop(world);
  const unasked = () => Promise.reject(new TypeError('nobody asks for this'));
  const backend = loop.gpio({
    // An answer that comes while the process stands still waits until it goes on.
    locate: () => pause(world, workMs).then(() => []),
    openInput: unasked,
    openOutput: unasked,
    release: unasked,
  });
  if (stallMs > 0) world.after(10, () => loop.stall(stallMs));
  return world.runUntil(endsWithin(loop.clock, LIMIT_MS, backend.locate([])));
}

describe('endsWithin', () => {
  it.each([
    ['is there in time', 50, 0, true],
    ['comes too late', 150, 0, false],
    ['came in time while the process stood still past the limit', 50, 300, true],
    ['comes after a standstill past the limit', 400, 300, false],
  ])('for an answer that %s', async (_when, workMs, stallMs, expected) => {
    expect(await isInTime(workMs, stallMs)).toBe(expected);
  });
});

describe('what is made once', () => {
  it('is the same for all who ask, also while it is being made', async () => {
    let count = 0;
    const made = madeOnce(async () => ({ number: ++count }));
    expect(await Promise.all([made(), made()])).toEqual([{ number: 1 }, { number: 1 }]);
    expect(await made()).toEqual({ number: 1 });
  });

  it('and could not be made is tried again by who asks next', async () => {
    let tries = 0;
    const made = madeOnce(async () => {
      tries += 1;
      if (tries === 1) throw new TypeError('not yet');
      return tries;
    });
    await expect(made()).rejects.toThrow('not yet');
    expect([await made(), await made()]).toEqual([2, 2]);
  });
});
