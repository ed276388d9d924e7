import { expect, it } from 'vitest';
import { createSystemClock } from '../../hw/clock.ts';
import { describeClock } from '../contract/clock-contract.ts';

const settle = (ms = 0) => new Promise<void>((resolve) => setTimeout(resolve, ms + 1));

describeClock('the machine', async () => ({ clock: createSystemClock(), world: { settle } }));

it('gives Node no delay that it would cut to 1 ms', async () => {
  const warnings: string[] = [];
  const onWarning = (warning: Error) => warnings.push(warning.name);
  process.on('warning', onWarning);
  const cancel = createSystemClock().after(40 * 24 * 3_600_000, () => undefined);
  await settle(5);
  cancel();
  process.off('warning', onWarning);
  expect(warnings).toEqual([]);
});
