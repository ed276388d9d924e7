import { errorText, HardwareError } from '../errors.ts';
import type { Level } from '../ports.ts';

/** What this driver uses of onoff's `Gpio`. */
export interface OnoffGpio {
  read(): Promise<Level>;
  readSync(): Level;
  write(value: Level): Promise<void>;
  direction(): string;
  setDirection(direction: 'high' | 'low'): void;
  edge(): string;
  watch(callback: () => void): void;
  unwatch(callback: () => void): void;
}

/** onoff's `Gpio` class. `'out'` is left out of the directions: it drives the line low. */
export type OnoffGpioClass = new (
  gpio: number,
  direction: 'in' | 'high' | 'low',
  edge?: 'none' | 'both',
  options?: { reconfigureDirection?: boolean },
) => OnoffGpio;

/** onoff's class. Rejects `GPIO_UNAVAILABLE`. */
export async function loadOnoff(): Promise<OnoffGpioClass> {
  try {
    // The default export: a CommonJS package that esbuild has bundled has no other one.
    return (await import('onoff')).default.Gpio;
  } catch (error) {
    throw new HardwareError(
      'GPIO_UNAVAILABLE',
      `the package onoff with its native part epoll does not load: ${errorText(error)}; install it for this processor and Node version`,
      {},
      { cause: error },
    );
  }
}

/**
 * Gives onoff's class an interrupt handler that never throws. onoff reads the level in a callback of the event loop, before
 * it calls its listeners: the error of a line that another program has just unexported would end the process. The listeners
 * are called after such an error too, because the handles of this driver take both edges. They find the error by reading.
 */
export function withSafeInterrupts(Gpio: OnoffGpioClass): OnoffGpioClass {
  return class extends Gpio {
    override readSync(): Level {
      try {
        return super.readSync();
      } catch {
        return 0;
      }
    }
  };
}
