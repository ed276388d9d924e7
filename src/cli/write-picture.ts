import { closeSync, constants, fstatSync, openSync, unlinkSync, writeFileSync } from 'node:fs';
import { errorText } from '../../hw/errors.ts';
import type { DiagramPlan } from '../report/timing-diagram.ts';
import type { Recorded } from '../run/record.ts';
import { WARNING, writeLine } from '../system/severity.ts';
import type { World } from './world.ts';

/** Writes the timing diagram of a run. One that cannot be written is a warning: returns whether it was. */
export async function writePicture(
  path: string,
  entries: readonly Recorded[],
  plan: DiagramPlan,
  title: string,
  world: World,
): Promise<boolean> {
  const { renderSvg } = await import('../report/timing-diagram.ts');
  return writeOrWarn(path, 'timing diagram', () => renderSvg(entries, plan, title), world);
}

/** Writes a file that somebody wants beside what a verb is for. Returns whether it is there; else a warning says why not. */
export function writeOrWarn(path: string, what: string, text: () => string, world: World): boolean {
  try {
    writeWithoutWaiting(path, text());
    return true;
  } catch (error) {
    const problem = `no ${what}: cannot write ${path} (${errorText(error)})`;
    writeLine(world.stderr, WARNING, `${world.programName}: ${problem}`);
    return false;
  }
}

/** Writes a whole file, or throws and leaves none. A pipe without a reader throws too. */
function writeWithoutWaiting(path: string, text: string): void {
  const { O_WRONLY, O_CREAT, O_TRUNC, O_NONBLOCK, O_NOCTTY } = constants;
  const fd = openSync(path, O_WRONLY | O_CREAT | O_TRUNC | O_NONBLOCK | O_NOCTTY, 0o644);
  try {
    writeFileSync(fd, text);
  } catch (error) {
    if (fstatSync(fd).isFile()) unlinkSync(path);
    throw error;
  } finally {
    closeSync(fd);
  }
}
