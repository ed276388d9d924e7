import type { GpioBackend } from '../ports.ts';
import { releaseLines } from './give-back.ts';
import { openInput } from './input.ts';
import { createKeptLines } from './kept.ts';
import { handleClass, loadOnoff, type OnoffGpioClass, type OnoffHandleClass } from './library.ts';
import { createSysfs, GPIO_ROOT, type Sysfs, type SysfsOptions } from './line.ts';
import { openOutput } from './output.ts';
import { locateLines } from './places.ts';

/** Anything but the default folder needs a `Gpio` of its own as well. */
export interface OnoffGpioOptions extends SysfsOptions {
  /** onoff's class; loaded from the package `onoff` when the first line is opened. */
  readonly Gpio?: OnoffGpioClass;
}

/**
 * GPIO lines over the kernel's sysfs interface with onoff. Levels outlive the process, because lines stay exported: only
 * `release` unexports one. Without a watch the driver does not keep the process alive.
 *
 * A line that raises no interrupts (it has no `edge` file, refuses both edges, or is driven as an output) is polled:
 * `poll.ts` says how often. A line that raises interrupts is checked now and then, and set up again where another program
 * has changed it.
 */
export function createOnoffGpio({ Gpio, ...options }: OnoffGpioOptions): GpioBackend {
  return createOnoffGpioOn(createSysfs(options), Gpio);
}

/** The same on what somebody else uses already: both wait for a chip in the same turns. */
export function createOnoffGpioOn(sysfs: Sysfs, Gpio?: OnoffGpioClass): GpioBackend {
  if (sysfs.root !== GPIO_ROOT && Gpio === undefined) {
    throw new TypeError(
      `onoff itself works on ${GPIO_ROOT} only: sysfsRoot needs a Gpio class that works there`,
    );
  }
  const lines = createKeptLines(sysfs.clock);
  let library: OnoffHandleClass | undefined;
  const gpioClass = async (): Promise<OnoffHandleClass> => {
    library ??= handleClass(Gpio ?? (await loadOnoff()));
    return library;
  };

  return {
    locate: (refs) => locateLines(refs, sysfs),
    openOutput: async (ref) => openOutput(ref, sysfs, lines, await gpioClass()),
    openInput: async (ref) => openInput(ref, sysfs, lines, await gpioClass()),
    release: (refs) => releaseLines(refs, sysfs, lines),
  };
}
