import { errnoCode, HardwareError, systemFailure } from '../errors.ts';
import { lineLabel } from '../lines.ts';
import type { LinePlace, LineRef } from '../ports.ts';
import { cannotBe, staysTaken, stillOpen } from './errors.ts';
import type { KeptLines } from './kept.ts';
import { checkInterface, type Sysfs } from './line.ts';
import { type ResolvedLine, resolveLines } from './resolve.ts';

/** `GpioBackend.locate`. */
export async function locateLines(
  refs: readonly LineRef[],
  sysfs: Sysfs,
): Promise<(LinePlace | HardwareError)[]> {
  const { root, files, exports } = sysfs;
  const found = await resolveAll(refs, sysfs);
  const taken = await exportedLines(sysfs);
  const takenBy = async (number: number): Promise<LinePlace['takenBy']> => {
    if (!taken.has(number)) return null;
    const identity = await files.identity(`${root}/gpio${number}`).catch(() => '');
    return (await exports.has(number, identity)) ? 'ours' : 'foreign';
  };
  return Promise.all(
    found.map(async (place) => {
      if (place instanceof HardwareError) return place;
      const { number, chip, offset } = place;
      return { chip, offset, key: String(number), takenBy: await takenBy(number) };
    }),
  );
}

/** `GpioBackend.release`. */
export async function releaseLines(refs: readonly LineRef[], sysfs: Sysfs, lines: KeptLines): Promise<void> {
  const { root, files, exports } = sysfs;
  const found = await resolveAll(refs, sysfs);
  const taken = await exportedLines(sysfs);
  const leaving: {
    readonly number: number;
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
    leaving.push({ number: place.number, text, details });
  }
  for (const { number, text, details } of leaving) {
    lines.get(number)?.dropHandles();
    try {
      await files.write(`${root}/unexport`, String(number));
    } catch (error) {
      // EINVAL: somebody else has given it back since.
      if (errnoCode(error) !== 'EINVAL') throw cannotBe(error, text, 'given back', details);
    }
    await exports.remove(number);
  }
  const left = await exportedLines(sysfs);
  for (const { number, text, details } of leaving) if (left.has(number)) throw staysTaken(text, details);
}

async function resolveAll(refs: readonly LineRef[], sysfs: Sysfs): Promise<(ResolvedLine | HardwareError)[]> {
  await checkInterface(sysfs);
  return resolveLines(sysfs.root, sysfs.files, refs).catch((error: unknown) => {
    throw error instanceof HardwareError
      ? error
      : systemFailure(error, 'GPIO_FAILED', 'the GPIO lines cannot be looked up', {});
  });
}

/** Numbers of the lines that are exported now. */
async function exportedLines({ root, files }: Sysfs): Promise<ReadonlySet<number>> {
  const names = await files.list(root);
  return new Set(names.flatMap((name) => (/^gpio\d+$/.test(name) ? [Number(name.slice(4))] : [])));
}
