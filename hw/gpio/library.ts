import { closeSync } from 'node:fs';
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
  /** All callbacks where none is named. */
  unwatch(callback?: () => void): void;
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

/** An object of onoff that can be closed. */
export interface OnoffHandle extends OnoffGpio {
  /** Gives its descriptor back when what is under way is over. From now on it is as one whose line is gone (ENODEV). */
  close(): void;
}

export type OnoffHandleClass = new (...args: ConstructorParameters<OnoffGpioClass>) => OnoffHandle;

/** What onoff keeps to itself: the open file of the level. */
interface Internals {
  readonly _valueFd: number | undefined;
}

/**
 * onoff's class as this driver needs it.
 *
 * Its interrupt handler never throws. onoff reads the level in a callback of the event loop, before it calls its listeners:
 * the error of a line that another program has just unexported would end the process. The listeners are called after such an
 * error too, because the handles of this driver take both edges. They find the error by reading.
 *
 * It does not read the level when it is made: onoff does so on the event loop, which a chip that hangs would hold up. Who makes one for
 * its interrupts reads it then, or the first one comes without a change.
 *
 * It can be closed without unexporting the line, which by then may be taken anew. It is not closed while a read or a write
 * is under way: the file number may be given to another file, and a late read would bring the level of that.
 */
export function handleClass(Gpio: OnoffGpioClass): OnoffHandleClass {
  // No private field: onoff's constructor reads before there is any.
  const closed = new WeakSet<OnoffGpio>();
  const made = new WeakSet<OnoffGpio>();
  return class extends Gpio implements OnoffHandle {
    #underWay = 0;

    constructor(...args: ConstructorParameters<OnoffGpioClass>) {
      super(...args);
      made.add(this);
    }

    override readSync(): Level {
      if (closed.has(this) || !made.has(this)) return 0;
      try {
        return super.readSync();
      } catch {
        return 0;
      }
    }

    override read(): Promise<Level> {
      return this.#use(() => super.read());
    }

    override write(value: Level): Promise<void> {
      return this.#use(() => super.write(value));
    }

    close(): void {
      if (closed.has(this)) return;
      this.unwatch();
      closed.add(this);
      if (this.#underWay === 0) closeFileOf(this as unknown as Internals);
    }

    async #use<T>(run: () => Promise<T>): Promise<T> {
      if (closed.has(this))
        throw new HardwareError('GPIO_FAILED', 'the line was given back by another program', {
          errno: 'ENODEV',
        });
      this.#underWay += 1;
      try {
        return await run();
      } finally {
        this.#underWay -= 1;
        if (this.#underWay === 0 && closed.has(this)) closeFileOf(this as unknown as Internals);
      }
    }
  };
}

function closeFileOf(handle: Internals): void {
  const { _valueFd } = handle;
  if (_valueFd === undefined) return;
  try {
    closeSync(_valueFd);
  } catch {
    // Linux frees the number whatever close(2) says.
  }
}
