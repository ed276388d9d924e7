import { type ExpectOnOptions, expectOn } from './expect-on.ts';
import type { Recorder } from './record.ts';

export interface ReleaseOptions extends ExpectOnOptions {
  readonly record: Recorder;
  /** Asked in the same turn of the event loop in which a release begins: power may be going already. */
  readonly mayRelease: () => boolean;
}

/**
 * Releases resets that stayed asserted when the chassis came on, one after the other. The chassis is locked by the caller, so
 * that no power sequence begins meanwhile. Returns those that are left: power may be going.
 * @throws PowerError REQUEST_REJECTED where the chassis is not on, and nothing was driven; RUN_DIR_UNUSABLE. HardwareError of a
 * line that cannot be read or driven
 */
export async function releaseResets(
  names: readonly string[],
  options: ReleaseOptions,
): Promise<readonly string[]> {
  const { plan, hardware, record, clock, mayRelease } = options;
  const { observation, sequence } = await expectOn(options, 'a chassis that is on has resets released');
  const { resetsAsserted } = observation;
  const left = [...names];
  // It counts as on though a rail has dropped, until that is believed.
  const isAllGood = plan.rails.every(
    ({ name, isLogOnly }) => isLogOnly || sequence.rails[name]?.good !== false,
  );
  if (!isAllGood) return left;
  for (const reset of names) {
    if (!mayRelease()) return left;
    if (resetsAsserted[reset]) {
      await hardware.driveReset(reset, false);
      record({ type: 'reset', reset, asserted: false, atMs: clock.nowMs() });
    }
    left.shift();
  }
  return left;
}
