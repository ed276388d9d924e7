import { join } from 'node:path';
import { PowerError } from '../errors.ts';
import { type ChassisLock, type LockOptions, lockChassis } from './lock.ts';

/**
 * Tells other processes that this one keeps a chassis in view as long as it lives: a lock of its own beside that of who
 * drives, so that its lines are not taken away below it.
 * @throws PowerError CHASSIS_WATCHED with who watches it already, RUN_DIR_UNUSABLE, INTERRUPTED
 */
export async function watchChassis(
  runDir: string,
  chassis: number,
  holder: string,
  options: LockOptions,
): Promise<ChassisLock> {
  try {
    return await lockChassis(join(runDir, 'watched'), chassis, holder, options);
  } catch (error) {
    if (!(error instanceof PowerError) || error.code !== 'CHASSIS_LOCKED') throw error;
    const who = error.details.holder ? ` (${error.details.holder})` : '';
    throw new PowerError(
      'CHASSIS_WATCHED',
      `chassis ${chassis} is watched by another process${who}: end it first, as with systemctl stop chassis-power.service`,
      error.details,
      { cause: error },
    );
  }
}
