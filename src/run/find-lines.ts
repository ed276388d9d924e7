import { HardwareError } from '../../hw/errors.ts';
import { lineLabel } from '../../hw/lines.ts';
import type { GpioBackend } from '../../hw/ports.ts';
import { type BoardLine, linesOf } from '../board/lines.ts';
import type { Board } from '../board/schema.ts';

/** A line that must not be opened: it is not there, or it has another role already. */
export interface LineTrouble {
  readonly line: BoardLine;
  /** `GPIO_NO_CHIP`, `GPIO_NO_LINE` or `GPIO_SHARED`. */
  readonly error: HardwareError;
  /** Who has the line already; null for one that is not there. */
  readonly other: BoardLine | null;
}

/**
 * Looks for every line of a board on this machine, and finds what the file alone cannot show: lines that are not there,
 * and two roles, of whatever chassis, on one physical line that is named in two ways. Takes no line. Rejects
 * `GPIO_UNAVAILABLE` or `GPIO_FAILED`.
 */
export async function findLines(board: Board, gpio: GpioBackend): Promise<LineTrouble[]> {
  const lines = linesOf(board);
  const places = await gpio.locate(lines.map(({ ref }) => ref));
  const first = new Map<string, BoardLine>();
  return lines.flatMap((line, index): LineTrouble[] => {
    const place = places[index];
    if (place === undefined) throw new RangeError(`${line.at.join('.')} was not looked for`);
    if (place instanceof HardwareError) return [{ line, error: place, other: null }];
    const other = first.get(place.key);
    if (other === undefined) {
      first.set(place.key, line);
      return [];
    }
    const describe = ({ role, chassis, ref }: BoardLine) =>
      `${role} of chassis ${chassis} (${lineLabel(ref)})`;
    const error = new HardwareError(
      'GPIO_SHARED',
      `GPIO line ${place.offset} of ${place.chip} has two roles, ${describe(other)} and ${describe(line)}`,
      { chip: place.chip, offset: place.offset, paths: [other.at.join('.'), line.at.join('.')] },
    );
    return [{ line, error, other }];
  });
}
