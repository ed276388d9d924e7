import type { Clock } from '../../hw/ports.ts';
import type { ChassisHardware } from '../run/hardware.ts';
import { STALL_MS, TURN_MS } from '../run/standstill.ts';
import { BEGUN_ANEW } from '../sequence/readings.ts';

/**
 * Calls `changed` when pgood has had another level for the board's de-glitch time, and has it still when it is read then.
 * Time in which the process stood still does not count. Returns the function that ends it.
 */
export function trackPgood(
  hardware: ChassisHardware,
  clock: Clock,
  deglitchMs: () => number,
  initial: boolean,
  changed: (level: boolean) => void,
): () => void {
  let believed = initial;
  /** Time for which the new level still has to stand; null while the level is the believed one. */
  let leftMs: number | null = null;
  /** How often this time began anew because the process stood still. */
  let standstills = 0;
  let cancel: () => void = () => undefined;
  let ended = false;

  const judge = (level: boolean): void => {
    if (level === believed) {
      cancel();
      leftMs = null;
      standstills = 0;
      return;
    }
    const isNew = leftMs === null;
    leftMs ??= deglitchMs();
    if (leftMs <= 0) {
      believed = level;
      leftMs = null;
      changed(level);
    } else if (isNew) wait();
  };

  const readPgood = async (): Promise<void> => {
    for (;;) {
      const askedMs = clock.nowMs();
      // A line that cannot be read keeps its last level: the watch of a chassis that is on reports the error.
      const level = await hardware.readGood(null).catch(() => believed);
      if (ended) return;
      // A late answer may be older than the standstill of the process.
      if (clock.nowMs() - askedMs <= STALL_MS) return judge(level);
    }
  };

  const wait = (): void => {
    const sliceMs = Math.min(leftMs ?? 0, TURN_MS);
    const dueMs = clock.nowMs() + sliceMs;
    cancel = clock.after(sliceMs, () => {
      const lateMs = clock.nowMs() - dueMs;
      if (leftMs === null) return;
      if (lateMs <= STALL_MS) leftMs -= sliceMs + lateMs;
      else if (standstills++ < BEGUN_ANEW) leftMs = deglitchMs();
      if (leftMs > 0) wait();
      else void readPgood();
    });
  };

  const unwatch = hardware.watchPgood(() => void readPgood());
  return () => {
    ended = true;
    cancel();
    unwatch();
  };
}
