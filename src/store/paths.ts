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
