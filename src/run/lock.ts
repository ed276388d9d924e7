import { spawnSync } from 'node:child_process';
import { closeSync, ftruncateSync, mkdirSync, openSync, readFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { errnoCode, errorText } from '../../hw/errors.ts';
import type { Clock } from '../../hw/ports.ts';
import { PowerError } from '../errors.ts';
import { pause } from './pause.ts';

/** `flock` only asks the kernel; more than this means that it was not even started. */
const FLOCK_TIMEOUT_MS = 5_000;
/** How often a lock that is taken is asked for again: each time is a process of its own. */
const POLL_MS = 200;

export interface ChassisLock {
  release(): void;
}

export interface LockOptions {
  readonly clock: Clock;
  /** How long to wait for another process that drives the chassis; 0 is told at once. */
  readonly waitMs: number;
  /** Ends the wait. */
  readonly signal: AbortSignal;
  /** Told once, when the wait begins, who has the chassis. */
  readonly onWait: (holder: string) => void;
}

/**
 * Makes this process the only one that drives a chassis, until it releases the lock or dies: the kernel
 * holds the lock on an open file and drops it with the last descriptor, so a killed holder leaves nothing
 * to clean up. Node has no flock(2), so util-linux's flock(1) locks the descriptor that it inherits; the
 * lock belongs to the open file, which stays with this process when flock(1) has ended.
 *
 * @param holder what this process does, told to whoever has to wait or is turned away
 * @throws PowerError CHASSIS_LOCKED with the holder in the message, RUN_DIR_UNUSABLE, INTERRUPTED
 */
export async function lockChassis(
  runDir: string,
  chassis: number,
  holder: string,
  { clock, waitMs, signal, onWait }: LockOptions,
): Promise<ChassisLock> {
  const path = lockPath(runDir, chassis);
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
  try {
    const deadlineMs = clock.nowMs() + waitMs;
    for (let asked = 0; !tryLock(fd, path); asked += 1) {
      const other = readFileSync(path, 'utf8').trim();
      if (clock.nowMs() >= deadlineMs) {
        throw new PowerError(
          'CHASSIS_LOCKED',
          `chassis ${chassis} is driven by another process${other ? ` (${other})` : ''}: wait for it to end`,
          { path, chassis, holder: other },
        );
      }
      if (asked === 0) onWait(other);
      await pause(clock, POLL_MS, signal);
      if (signal.aborted) {
        const message = `${String(signal.reason)} while another process drives chassis ${chassis}: nothing was begun`;
        throw new PowerError('INTERRUPTED', message, { chassis, signal: signal.reason });
      }
    }
  } catch (error) {
    closeSync(fd);
    throw error;
  }
  try {
    // For whoever finds the lock taken. What a dead holder wrote before is replaced.
    ftruncateSync(fd);
    writeSync(fd, `${holder}, pid ${process.pid}\n`);
  } catch {
    // A full disk: the lock holds all the same, and who is turned away hears no name.
  }
  return { release: () => closeSync(fd) };
}

/** Whether a process, this one included, has the lock of a chassis. False where there is none. */
export function isLocked(runDir: string, chassis: number): boolean {
  let fd: number;
  try {
    fd = openSync(lockPath(runDir, chassis), 'r+');
  } catch {
    // No file, so nobody ever locked it.
    return false;
  }
  try {
    return !tryLock(fd, lockPath(runDir, chassis));
  } finally {
    closeSync(fd);
  }
}

/** What the last process that locked a chassis said that it does; null while it is locked, and where none ever was. */
export function lastHolder(runDir: string, chassis: number): string | null {
  if (isLocked(runDir, chassis)) return null;
  try {
    return readFileSync(lockPath(runDir, chassis), 'utf8').split(',')[0] || null;
  } catch {
    // No file, so nobody ever locked it.
    return null;
  }
}

function lockPath(runDir: string, chassis: number): string {
  return join(runDir, `chassis${chassis}.lock`);
}

/** Whether the lock was free. */
function tryLock(fd: number, path: string): boolean {
  const result = spawnSync('flock', ['-n', '3'], {
    stdio: ['ignore', 'ignore', 'ignore', fd],
    timeout: FLOCK_TIMEOUT_MS,
  });
  if (result.error || result.status === null) {
    throw new PowerError(
      'RUN_DIR_UNUSABLE',
      `cannot lock ${path}: flock (util-linux or busybox) ${result.error ? errorText(result.error) : 'was killed'}`,
      { path },
      { cause: result.error },
    );
  }
  return result.status === 0;
}
