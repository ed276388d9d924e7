import { errnoCode, HardwareError, systemFailure } from '../errors.ts';
import { lineLabel } from '../lines.ts';
import type { LinePlace, LineRef } from '../ports.ts';
import { cannotBe, staysTaken, stillOpen } from './errors.ts';
import type { KeptLines } from './kept.ts';
import { checkInterface, identityOf, type Sysfs } from './line.ts';
import { type ResolvedLine, resolveLines } from './resolve.ts';

/** `GpioBackend.locate`. */
export async function locateLines(
  refs: readonly LineRef[],
  sysfs: Sysfs,
): Promise<(LinePlace | HardwareError)[]> {
  const { root, files, exports } = sysfs;
  const found = resolveAll(refs, sysfs);
  const taken = exportedLines(sysfs);
  const takenBy = (number: number): LinePlace['takenBy'] => {
    if (!taken.has(number)) return null;
    const identity = identityOf(files, `${root}/gpio${number}`);
    return exports.has(number, identity) ? 'ours' : 'foreign';
  };
  return found.map((place) => {
    if (place instanceof HardwareError) return place;
    const { number, chip, offset } = place;
    return { chip, offset, key: String(number), takenBy: takenBy(number) };
  });
}

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

function resolveAll(refs: readonly LineRef[], sysfs: Sysfs): (ResolvedLine | HardwareError)[] {
  checkInterface(sysfs);
  try {
    return resolveLines(sysfs.chips, refs);
  } catch (error) {
    throw systemFailure(error, 'GPIO_FAILED', 'the GPIO lines cannot be looked up', {});
  }
}

/** Numbers of the lines that are exported now. */
function exportedLines({ root, files }: Sysfs): ReadonlySet<number> {
  const names = files.list(root);
  return new Set(names.flatMap((name) => (/^gpio\d+$/.test(name) ? [Number(name.slice(4))] : [])));
}
