import type { Clock, GpioBackend } from '../ports.ts';
import { type ExportRecord, noExportRecord } from './exports.ts';
import { openInput } from './input.ts';
import { createKeptLines } from './kept.ts';
import { handleClass, loadOnoff, type OnoffGpioClass, type OnoffHandleClass } from './library.ts';
import type { Sysfs } from './line.ts';
import { onlyLooks } from './looks.ts';
import { openOutput } from './output.ts';
import { locateLines, releaseLines } from './places.ts';
import { createChips } from './resolve.ts';
import { type SysfsFiles, sysfsFiles } from './sysfs.ts';
import { createTurns } from './turns.ts';

export interface OnoffGpioOptions {
  readonly clock: Clock;
  /** Where the kernel's GPIO folder is. Anything but the default needs a `Gpio` of its own as well. */
  readonly sysfsRoot?: string;
  /** onoff's class; loaded from the package `onoff` when the first line is opened. */
  readonly Gpio?: OnoffGpioClass;
  readonly files?: SysfsFiles;
  /** Whether the lines are only to be looked at. */
  readonly looksOnly?: boolean;
  /** Remembers the lines that this program has exported. Without it nothing is remembered. */
  readonly exports?: ExportRecord;
}

/** Fixed in onoff's source (`GPIO_ROOT_PATH`). */
const ONOFF_ROOT = '/sys/class/gpio';

/**
 * GPIO lines over the kernel's sysfs interface with onoff. Levels outlive the process, because lines stay exported: only
 * `release` unexports one. Without a watch the driver does not keep the process alive.
 *
 * A line that raises no interrupts (it has no `edge` file, refuses both edges, or is driven as an output) is polled:
 * `poll.ts` says how often. A line that raises interrupts is checked now and then, and set up again where another program
 * has changed it.
 */
export function createOnoffGpio(options: OnoffGpioOptions): GpioBackend {
  const { clock, sysfsRoot: root = ONOFF_ROOT, files = sysfsFiles, exports = noExportRecord } = options;
  if (root !== ONOFF_ROOT && options.Gpio === undefined) {
    throw new TypeError(
      `onoff itself works on ${ONOFF_ROOT} only: sysfsRoot needs a Gpio class that works there`,
    );
  }
  const turnsOf = createTurns(clock);
  const sysfs: Sysfs = { root, files, chips: createChips(root, files), clock, exports, turnsOf };
  const lines = createKeptLines(clock);
  let library: OnoffHandleClass | undefined;
  const gpioClass = async (): Promise<OnoffHandleClass> => {
    library ??= handleClass(options.Gpio ?? (await loadOnoff()));
    return library;
  };

  const driver: GpioBackend = {
    locate: (refs) => locateLines(refs, sysfs),
    openOutput: async (ref) => openOutput(ref, sysfs, lines, await gpioClass()),
    openInput: async (ref) => openInput(ref, sysfs, lines, await gpioClass()),
    release: (refs) => releaseLines(refs, sysfs, lines),
  };
  return options.looksOnly ? onlyLooks(driver, sysfs) : driver;
}
