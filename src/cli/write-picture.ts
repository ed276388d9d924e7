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
  try {
    const { renderSvg } = await import('../report/timing-diagram.ts');
    writeWithoutWaiting(path, renderSvg(entries, plan, title));
    return true;
  } catch (error) {
    const text = `no timing diagram: cannot write ${path} (${errorText(error)})`;
    writeLine(world.stderr, WARNING, `${world.programName}: ${text}`);
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
