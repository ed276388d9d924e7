import { closeSync, existsSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { errnoCode, errorText } from '../../hw/errors.ts';
import { createFile } from '../../hw/files.ts';

/**
 * `/run/openbmc/chassis@N-on`, by which units of an OpenBMC image know that the BMC restarted under a chassis
 * that is on, and skip themselves (`ConditionPathExists=!`, phosphor-state-manager's unit files). No power-on of
 * this program believes it: it is made where the lines show power, and removed where they show none, so that one
 * that went stale does not make the next power-on skip what it needs.
 */
function markerPath(openbmcRunDir: string, chassis: number): string {
  return join(openbmcRunDir, `chassis@${chassis}-on`);
}

/** Whether other units of an image take the chassis for on. */
export function hasOnMarker(openbmcRunDir: string, chassis: number): boolean {
  return existsSync(markerPath(openbmcRunDir, chassis));
}

/** Makes the marker on an image that has the folder; elsewhere no unit looks for it. Throws the error of the file system. */
export function setOnMarker(openbmcRunDir: string, chassis: number): void {
  if (!existsSync(openbmcRunDir)) return;
  try {
    closeSync(createFile(markerPath(openbmcRunDir, chassis), 0o644));
  } catch (error) {
    // Units check only that the path exists, so anything in its place counts as the marker.
    if (errnoCode(error) !== 'EEXIST') throw error;
  }
}

/** Like `clearOnMarker`, but a marker that stays is no error: returns the warning to print, null where there is none. */
export function forgetOnMarker(openbmcRunDir: string, chassis: number): string | null {
  try {
    clearOnMarker(openbmcRunDir, chassis);
    return null;
  } catch (error) {
    return `the marker of chassis ${chassis} stays (${errorText(error)}): remove it by hand`;
  }
}

/** Removes the marker. Throws the error of the file system when a marker is there and stays. */
export function clearOnMarker(openbmcRunDir: string, chassis: number): void {
  rmSync(markerPath(openbmcRunDir, chassis), { force: true });
}
