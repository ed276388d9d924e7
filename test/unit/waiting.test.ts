import { describe, expect, it } from 'vitest';
import { endsWithin, pause } from '../../hw/waiting.ts';
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
