import { spawnSync } from 'node:child_process';
import { closeSync, ftruncateSync, mkdirSync, openSync, readFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { errnoCode, errorText } from '../../hw/errors.ts';
import { PowerError } from '../errors.ts';

/** `flock` only asks the kernel; more than this means that it was not even started. */
const FLOCK_TIMEOUT_MS = 5_000;

export interface ChassisLock {
  release(): void;
}

/**
 * Makes this process the only one that drives a chassis, until it releases the lock or dies: the kernel
 * holds the lock on an open file and drops it with the last descriptor, so a killed holder leaves nothing
 * to clean up. Node has no flock(2), so util-linux's flock(1) locks the descriptor that it inherits; the
 * lock belongs to the open file, which stays with this process when flock(1) has ended.
 *
 * @param holder what this process does, told to whoever is turned away
 * @throws PowerError CHASSIS_LOCKED with the holder in the message, RUN_DIR_UNUSABLE
 */
export function lockChassis(runDir: string, chassis: number, holder: string): ChassisLock {
  const path = join(runDir, `chassis${chassis}.lock`);
  let fd: number;
  try {
    mkdirSync(runDir, { recursive: true });
    fd = openSync(path, 'a+', 0o644);
  } catch (error) {
    throw new PowerError(
      'RUN_DIR_UNUSABLE',
      `cannot use ${path} (${errnoCode(error) ?? errorText(error)}): run as root, or name another --run-dir`,
      { path },
      { cause: error },
    );
  }
  const result = spawnSync('flock', ['-n', '3'], {
    stdio: ['ignore', 'ignore', 'ignore', fd],
    timeout: FLOCK_TIMEOUT_MS,
  });
  if (result.error || result.status === null) {
    closeSync(fd);
    throw new PowerError(
      'RUN_DIR_UNUSABLE',
      `cannot lock ${path}: flock (util-linux or busybox) ${result.error ? errorText(result.error) : 'was killed'}`,
      { path },
      { cause: result.error },
    );
  }
  if (result.status !== 0) {
    const other = readFileSync(path, 'utf8').trim();
    closeSync(fd);
    throw new PowerError(
      'CHASSIS_LOCKED',
      `chassis ${chassis} is driven by another process${other ? ` (${other})` : ''}: wait for it to end`,
      { path, chassis, holder: other },
    );
  }
  // For whoever finds the lock taken. What a dead holder wrote before is replaced.
  ftruncateSync(fd);
  writeSync(fd, `${holder}, pid ${process.pid}\n`);
  return { release: () => closeSync(fd) };
}
