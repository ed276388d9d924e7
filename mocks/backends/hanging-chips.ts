import type { HardwareError } from '../../hw/errors.ts';
import { lineTimeout } from '../../hw/gpio/errors.ts';
import type { Clock, Level } from '../../hw/ports.ts';
import type { PlantPin } from '../plant/pins.ts';

/** After so long a driver gives up an access that does not end. */
export const ACCESS_DEADLINE_MS = 1_000;
/** The kernel gives it up later, and until then it may still have its effect. */
const KERNEL_LIMIT_MS = 3_000;
/** How often the kernel is seen to try. */
const TRY_MS = 5;

/** A pin as somebody named it. */
export interface Taken {
  readonly pin: PlantPin;
  /** For errors, as a driver tells it. */
  readonly text: string;
  readonly details: Record<string, unknown>;
}

/** What the kernel does with accesses to chips that may hang. All reject `GPIO_TIMEOUT` at the driver's deadline. */
export interface HangingChips {
  /** Resolves when the chip of the pin has answered. While it keeps a reading that was given up others are refused at once. */
  answer(taken: Taken): Promise<void>;
  /** Drives a pin, in the order of the calls for it. One that was given up may come later. */
  drive(taken: Taken, level: Level): Promise<void>;
}

export function createHangingChips(clock: Pick<Clock, 'after' | 'nowMs'>): HangingChips {
  /** Until when the kernel keeps what was read last of a chip. */
  const readings = new Map<string, { readonly fromMs: number }>();
  const drives = new Map<string, Promise<void>>();

  const pause = () => new Promise<void>((resolve) => clock.after(TRY_MS, resolve));
  const isAnsweredBy = async (pin: PlantPin, deadlineMs: number): Promise<boolean> => {
    while (pin.hangs()) {
      if (clock.nowMs() >= deadlineMs) return false;
      await pause();
    }
    return true;
  };

  return {
    async answer(taken) {
      const { pin } = taken;
      if (!pin.hangs()) return;
      let kept = readings.get(pin.chip);
      if (kept === undefined || clock.nowMs() >= kept.fromMs + KERNEL_LIMIT_MS) {
        kept = { fromMs: clock.nowMs() };
        readings.set(pin.chip, kept);
      }
      if (!(await isAnsweredBy(pin, kept.fromMs + ACCESS_DEADLINE_MS))) throw hangs(taken, 'did not answer');
      readings.delete(pin.chip);
    },

    async drive(taken, level) {
      const { pin } = taken;
      const earlier = drives.get(pin.key);
      if (earlier === undefined && !pin.hangs()) {
        pin.drive(level);
        return;
      }
      const fromMs = clock.nowMs();
      const land = async (): Promise<void> => {
        await earlier;
        if (await isAnsweredBy(pin, fromMs + KERNEL_LIMIT_MS)) pin.drive(level);
      };
      const landing = land();
      drives.set(pin.key, landing);
      let isOver = false;
      void landing.then(() => {
        isOver = true;
        if (drives.get(pin.key) === landing) drives.delete(pin.key);
      });
      while (!isOver && clock.nowMs() < fromMs + ACCESS_DEADLINE_MS) await pause();
      if (!isOver) throw hangs(taken, 'could not be driven');
    },
  };
}

function hangs({ text, details }: Taken, what: string): HardwareError {
  return lineTimeout(text, `${what} within ${ACCESS_DEADLINE_MS} ms`, details);
}
