import { errnoCode, HardwareError } from '../errors.ts';
import { lineLabel } from '../lines.ts';
import type { LineRef } from '../ports.ts';
import { cannotBe, staysTaken, stillOpen } from './errors.ts';
import type { KeptLines } from './kept.ts';
import type { Sysfs } from './line.ts';
import { exportedLines, resolveAll } from './places.ts';

/** `GpioBackend.release`. */
export async function releaseLines(refs: readonly LineRef[], sysfs: Sysfs, lines: KeptLines): Promise<void> {
  const { root, files, exports, turnsOf } = sysfs;
  const found = resolveAll(refs, sysfs);
  const taken = exportedLines(sysfs);
  const leaving: {
    readonly number: number;
    readonly offset: number;
    readonly text: string;
    readonly details: Record<string, unknown>;
  }[] = [];
  for (const [index, place] of found.entries()) {
    if (place instanceof HardwareError) throw place;
    const ref = refs[index];
    if (ref === undefined || !taken.has(place.number)) continue;
    const text = lineLabel(ref);
    const details = { line: text, chip: place.chip, offset: place.offset, number: place.number };
    if ((lines.get(place.number)?.openings ?? 0) > 0) throw stillOpen(text, details);
    leaving.push({ number: place.number, offset: place.offset, text, details });
  }
  for (const { number, offset, text, details } of leaving) {
    lines.get(number)?.dropHandles();
    try {
      await turnsOf(number - offset).ask({ text, details }, () =>
        files.write(`${root}/unexport`, String(number)),
      );
    } catch (error) {
      // EINVAL: somebody else has given it back since.
      if (error instanceof HardwareError) throw error;
      if (errnoCode(error) !== 'EINVAL') throw cannotBe(error, text, 'given back', details);
    }
    exports.remove(number);
  }
  const left = exportedLines(sysfs);
  for (const { number, text, details } of leaving) if (left.has(number)) throw staysTaken(text, details);
}
