import { expect, it, vi } from 'vitest';
import { createVirtualClock } from '../../mocks/virtual-clock.ts';
import { persist } from '../../src/service/persist.ts';

it('what of a hundred chassis is tried again listens to the end of the service without a warning of Node', async () => {
  const clock = createVirtualClock();
  const { signal } = new AbortController();
  const warned = vi.fn();
  process.on('warning', warned);
  const told = Array.from({ length: 100 }, () => {
    let isTaken = false;
    return persist(
      async () => {
        const before = isTaken;
        isTaken = true;
        return before;
      },
      { clock, signal, onFailure: () => undefined },
    );
  });
  await clock.runUntil(Promise.all(told));
  process.off('warning', warned);
  expect(warned).not.toHaveBeenCalled();
});
