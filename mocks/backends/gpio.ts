import { HardwareError } from '../../hw/errors.ts';
import {
  cannotBe,
  lineClosed,
  lineHeld,
  noChip,
  noLineName,
  noOffset,
  notFollowed,
  notGivenOut,
  stillOpen,
} from '../../hw/gpio/errors.ts';
import { lineLabel } from '../../hw/lines.ts';
import type { GpioBackend, InputLine, Level, LinePlace, LineRef, OutputLine } from '../../hw/ports.ts';
import { lineKey } from '../plant/line-key.ts';
import type { PlantPin } from '../plant/pins.ts';
import type { Plant } from '../plant/plant.ts';
import { createPinLooks, type PinLooks } from './looks.ts';
import { reportMisuse } from './misuse.ts';
import { systemError } from './system-error.ts';

/** Where a watcher does not say; the default of the port. */
const CHECK_MS = 1_000;

/** A pin as somebody named it. */
interface Taken {
  readonly pin: PlantPin;
  /** For errors, as a driver tells it. */
  readonly text: string;
  readonly details: Record<string, unknown>;
}

/**
 * GPIO on a plant. Stricter than hardware: what a correct caller never does rejects and is kept in
 * `plant.misuses`. Every call gives up the turn at least once, as a real one would. What hardware does too rejects
 * in the words of the driver.
 */
export function createMockGpio(plant: Plant): GpioBackend {
  const take = async (ref: LineRef): Promise<Taken> => {
    await Promise.resolve();
    const pin = findPin(plant, ref);
    const text = lineLabel(ref);
    const details = { line: text };
    if (!isTaken(pin)) throw lineHeld(systemError('EBUSY'), text, undefined, details);
    return { pin, text, details };
  };

  /** One for all openings of a line. */
  const looks = new Map<string, PinLooks>();
  const looksOf = (pin: PlantPin): PinLooks => {
    const readable = () => (pin.takenBy !== null || isTaken(pin)) && !pin.unreadable();
    const known = looks.get(pin.key) ?? createPinLooks(plant.clock, () => (readable() ? pin.level() : null));
    looks.set(pin.key, known);
    return known;
  };

  /** A pin that another program has given back is taken again. */
  const keep = ({ pin, text, details }: Taken): void => {
    if (pin.takenBy !== null || isTaken(pin)) return;
    looksOf(pin).seen(null);
    throw lineHeld(systemError('EBUSY'), text, undefined, details);
  };

  const readPin = (taken: Taken, what = 'read'): Level => {
    const { pin, text, details } = taken;
    keep(taken);
    const level = pin.unreadable() ? null : pin.level();
    looksOf(pin).seen(level);
    if (level === null) throw cannotBe(systemError('EIO'), text, what, details);
    return level;
  };

  /** An edge that comes before the last one was told is told with it. A line that nobody has raises no interrupt. */
  const watchEdges = (pin: PlantPin, wake: () => void, checkMs?: number): (() => void) => {
    let pending = false;
    const endEdges = pin.onChange(() => {
      if (pending || pin.takenBy === null || !pin.raisesInterrupts()) return;
      pending = true;
      queueMicrotask(() => {
        pending = false;
        looksOf(pin).told();
        wake();
      });
    });
    const endChecks = looksOf(pin).watch(wake, checkMs ?? CHECK_MS);
    return () => {
      endEdges();
      endChecks();
    };
  };

  /** Handles of each pin that were not closed. */
  const open = new Map<string, Set<object>>();

  const openHandle = ({ pin, text, details }: Taken) => {
    let closed = false;
    const handles = open.get(pin.key) ?? new Set();
    open.set(pin.key, handles);
    const handle = {};
    handles.add(handle);
    return {
      close: () => {
        closed = true;
        handles.delete(handle);
      },
      isClosed: () => closed,
      check: (what: string): void => {
        if (!closed) return;
        plant.recordMisuse(`${pin.label}: ${what} after close`);
        throw lineClosed(text, details);
      },
    };
  };

  return {
    async locate(refs) {
      await Promise.resolve();
      return refs.map((ref) => {
        try {
          return placeOf(findPin(plant, ref));
        } catch (error) {
          if (error instanceof HardwareError) return error;
          throw error;
        }
      });
    },

    async release(refs) {
      await Promise.resolve();
      const pins = refs.map((ref) => [findPin(plant, ref), lineLabel(ref)] as const);
      for (const [pin, line] of pins) {
        if (pin.takenBy !== null && (open.get(pin.key)?.size ?? 0) > 0) throw stillOpen(line, { line });
      }
      for (const [pin] of pins) if (pin.takenBy !== null) pin.free();
    },

    async openOutput(ref): Promise<OutputLine> {
      const taken = await take(ref);
      const { pin, text, details } = taken;
      if (pin.drivenByChassis) {
        throw reportMisuse(plant, `${pin.label} was opened as an output, but the chassis drives it`);
      }
      const handle = openHandle(taken);
      return {
        async read() {
          await Promise.resolve();
          handle.check('read');
          return readPin(taken);
        },
        async write(level) {
          await Promise.resolve();
          handle.check('write');
          keep(taken);
          if (level !== 0 && level !== 1) {
            throw reportMisuse(plant, `${pin.label}: write(${JSON.stringify(level)}), a level is 0 or 1`);
          }
          pin.drive(level);
          if (readPin(taken, 'read back') !== level) throw notFollowed(text, level, details);
        },
        async close() {
          await Promise.resolve();
          handle.close();
        },
      };
    },

    async openInput(ref): Promise<InputLine> {
      const taken = await take(ref);
      const { pin } = taken;
      const handle = openHandle(taken);
      const ends = new Set<() => void>();
      return {
        async read() {
          await Promise.resolve();
          handle.check('read');
          return readPin(taken);
        },
        onEdge(wake, { lookMs, checkMs } = {}) {
          if (typeof wake !== 'function')
            throw reportMisuse(plant, `${pin.label}: onEdge without a function`);
          for (const everyMs of [lookMs, checkMs]) {
            if (everyMs !== undefined && !(everyMs > 0))
              throw reportMisuse(plant, `${pin.label}: onEdge with a look every ${everyMs} ms`);
          }
          handle.check('onEdge');
          const wakeIfWatched = () => {
            if (ends.has(end)) wake();
          };
          const stop = pin.raisesInterrupts()
            ? watchEdges(pin, wakeIfWatched, checkMs)
            : looksOf(pin).watch(wakeIfWatched, lookMs);
          const end = () => {
            if (ends.delete(end)) stop();
          };
          ends.add(end);
          queueMicrotask(wakeIfWatched);
          return end;
        },
        async close() {
          await Promise.resolve();
          handle.close();
          for (const end of [...ends]) end();
        },
      };
    },
  };
}

/** Takes it, unless another program has it. */
function isTaken(pin: PlantPin): boolean {
  if (pin.busy()) return false;
  pin.takenBy ??= 'ours';
  return true;
}

/** A line that nothing but its name tells of is on a chip of its own. */
function placeOf({ key, takenBy }: PlantPin): LinePlace {
  const [, chip = key, offset = '0'] = /^(?!name:)(.*)\/(\d+)$/.exec(key) ?? [];
  return { chip, offset: Number(offset), key, takenBy };
}

function findPin(plant: Plant, ref: LineRef): PlantPin {
  const isObject = typeof ref === 'object' && ref !== null;
  const named = isObject && 'name' in ref && typeof ref.name === 'string';
  const numbered = isObject && 'chip' in ref && typeof ref.chip === 'string';
  if (!named && !numbered) {
    throw reportMisuse(plant, `${JSON.stringify(ref)} names no line: give a chip with a line, or a name`);
  }
  if ('chip' in ref && !plant.chips.has(ref.chip)) {
    const labels = [...plant.chips];
    const known = labels.map((label) => `"${label}"`).join(', ');
    throw noChip(ref.chip, `there is ${known || 'no GPIO chip at all'}`, labels);
  }
  const key = lineKey(ref);
  const pin = key === undefined ? undefined : plant.pins.get(key);
  if (pin !== undefined) return pin;
  if ('name' in ref) {
    throw noLineName(
      ref.name,
      [...plant.pins.keys()].flatMap((known) => (known.startsWith('name:') ? [known.slice(5)] : [])),
    );
  }
  if (key === undefined) throw noOffset(ref);
  const why = new Error('the board file that the simulated chassis was started with has nothing there');
  throw notGivenOut(why, lineLabel(ref), { line: lineLabel(ref) });
}
