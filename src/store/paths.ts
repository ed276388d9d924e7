import { join } from 'node:path';

/** Names of what a chassis has in the run directory. */

/** What the last process made of it (`SnapshotStore`). */
export function snapshotPath(runDir: string, chassis: number): string {
  return join(runDir, `chassis${chassis}.json`);
}

/** Who drives it (`lockChassis`). */
export function lockPath(runDir: string, chassis: number): string {
  return join(runDir, `chassis${chassis}.lock`);
}

/** How it was found where nothing was to be done (`Rest`). */
export function restPath(runDir: string, chassis: number): string {
  return join(runDir, `chassis${chassis}-rest.json`);
}

/** Whether the service answers on the bus (`createAnswersMark`). The units of `systemd/resident` know this name. */
export function answersPath(runDir: string): string {
  return join(runDir, 'answers');
}
