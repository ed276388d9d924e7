import { expect, it } from 'vitest';
import { createPunctualClock } from '../../mocks/punctuality.ts';
import { createStallingLoop } from '../../mocks/stall.ts';
import { createVirtualClock } from '../../mocks/virtual-clock.ts';

it('a simulated chassis that runs late says so, each time it is later than before', async () => {
  const world = createVirtualClock();
  const loop = createStallingLoop(world);
  const told: number[] = [];
  const punctual = createPunctualClock(loop.clock, (lateMs) => told.push(lateMs));
  await world.advance(10_000);
  expect(told).toEqual([]);

  // What is due in a stall runs at its end: a beat of 25 ms is late by up to as much less than the stall.
  for (const [stallMs, isWorse] of [
    [40, false],
    [400, true],
    [300, false],
    [900, true],
  ] as const) {
    const before = told.length;
    loop.stall(stallMs);
    await world.advance(2_000);
    expect(told.length > before, `${stallMs} ms`).toBe(isWorse);
    if (!isWorse) continue;
    expect(told.at(-1)).toBeGreaterThanOrEqual(stallMs - 25);
    expect(told.at(-1)).toBeLessThanOrEqual(stallMs);
  }
  punctual.close();
});
