import type { Flock } from '../../hw/ports.ts';
import { PowerError } from '../errors.ts';
import { lockChassis } from '../store/lock.ts';
import { type ExpectOnOptions, expectOn } from './expect-on.ts';

/** Of a chassis with a host reset. */
export interface HeldResetOptions extends ExpectOnOptions {
  /** Aborted, the line is let go at once. */
  readonly signal: AbortSignal;
}

export interface ResetOptions extends HeldResetOptions {
  readonly flock: Flock;
  readonly runDir: string;
}

/** What a process that resets a host says in the lock. */
export const RESET_HOLDER = 'reset';

/**
 * Resets the host of a chassis that is on, and keeps its power. The lock is held meanwhile, so that no power sequence begins
 * under a host that is held; whoever watches the chassis goes on with it. The line is let go however it ends.
 * @throws PowerError CHASSIS_LOCKED while another process drives the chassis; RUN_DIR_UNUSABLE; REQUEST_REJECTED where it is not on, and nothing was
 * driven; INTERRUPTED where the pulse was cut short. HardwareError of a line that cannot be read or driven
 */
export async function resetHost(options: ResetOptions): Promise<void> {
  const { hardware, clock, flock, runDir, signal } = options;
  const lock = await lockChassis(runDir, hardware.chassis, RESET_HOLDER, {
    clock,
    flock,
    waitMs: 0,
    signal,
    onWait: () => undefined,
  });
  try {
    await resetHeldHost(options);
  } finally {
    lock.release();
  }
}

/**
 * The same of a chassis whose lock the caller has.
 * @throws as `resetHost`, but for the lock
 */
export async function resetHeldHost(options: HeldResetOptions): Promise<void> {
  const { hardware, signal } = options;
  const { chassis } = hardware;
  await expectOn(options, 'the host of a chassis that is on is reset');
  await hardware.pulseHostReset(signal);
  if (!signal.aborted) return;
  throw new PowerError(
    'INTERRUPTED',
    `chassis ${chassis}: ${String(signal.reason)} while the host was held in reset: it was let go early, and may not have felt it`,
    { chassis, signal: String(signal.reason) },
  );
}
