import { HardwareError, systemFailure } from '../errors.ts';
import type { LinePlace, LineRef } from '../ports.ts';
import { checkInterface, identityOf, type Sysfs } from './line.ts';
import { type ResolvedLine, resolveLines } from './resolve.ts';

/** `GpioBackend.locate`. */
export async function locateLines(
  refs: readonly LineRef[],
  sysfs: Sysfs,
): Promise<(LinePlace | HardwareError)[]> {
  const { root, files, exports } = sysfs;
  const found = resolveAll(refs, sysfs);
  let taken: ReadonlySet<number> | undefined;
  const takenBy = (number: number): LinePlace['takenBy'] => {
    taken ??= exportedLines(sysfs);
    if (!taken.has(number)) return null;
    const identity = identityOf(files, `${root}/gpio${number}`);
    return exports.has(number, identity) ? 'ours' : 'foreign';
  };
  return found.map((place) => {
    if (place instanceof HardwareError) return place;
    const { number, chip, offset } = place;
    let by: LinePlace['takenBy'] | undefined;
    return {
      chip,
      offset,
      key: String(number),
      // Most who look for a line ask for its place alone.
      get takenBy() {
        if (by === undefined) by = takenBy(number);
        return by;
      },
    };
  });
}

/** Their places, or errors of those that there are not. */
export function resolveAll(refs: readonly LineRef[], sysfs: Sysfs): (ResolvedLine | HardwareError)[] {
  try {
    return resolveLines(sysfs.chips, refs);
  } catch (error) {
    checkInterface(sysfs);
    throw systemFailure(error, 'GPIO_FAILED', 'the GPIO lines cannot be looked up', {});
  }
}

/** Numbers of the lines that are exported now. */
export function exportedLines({ root, files }: Sysfs): ReadonlySet<number> {
  const names = files.list(root);
  return new Set(names.flatMap((name) => (/^gpio\d+$/.test(name) ? [Number(name.slice(4))] : [])));
}
