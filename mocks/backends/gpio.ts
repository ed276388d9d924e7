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
import { createHangingChips, type HangingChips, type Taken } from './hanging-chips.ts';
import { reportMisuse } from './misuse.ts';
import { createPinPoll, type PinPoll } from './poll.ts';
import { systemError } from './system-error.ts';

/** Where a watcher does not say; the default of the port. */
const CHECK_MS = 1_000;

/**
 * GPIO on a plant. Stricter than hardware: what a correct caller never does rejects and is kept in
 * `plant.misuses`. Every call gives up the turn at least once, as a real one would. What hardware does too rejects
 * in the words of the driver.
 */
export function createMockGpio(plant: Plant): GpioBackend {
  const chips = createHangingChips(plant.clock);
  const reader = createReader(plant, chips);
  const handles = createHandles(plant);
  const take = async (ref: LineRef): Promise<Taken> => {
    await Promise.resolve();
    const pin = findPin(plant, ref);
    const text = lineLabel(ref);
    const details = { line: text };
    const taken = { pin, text, details };
    await chips.answer(taken);
    if (!isTaken(pin)) throw lineHeld(systemError('EBUSY'), text, undefined, details);
    return taken;
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
        if (pin.takenBy !== null && handles.areOpen(pin)) throw stillOpen(line, { line });
      }
      for (const [pin, text] of pins) {
        if (pin.takenBy === null) continue;
        await chips.answer({ pin, text, details: { line: text } });
        pin.free();
      }
    },

    async openOutput(ref) {
      const taken = await take(ref);
      const { label, drivenByChassis } = taken.pin;
      if (drivenByChassis) {
        throw reportMisuse(plant, `${label} was opened as an output, but the chassis drives it`);
      }
      return createOutput(plant, taken, handles.open(taken), reader, chips);
    },

    async openInput(ref) {
      const taken = await take(ref);
      return createInput(plant, taken, handles.open(taken), reader);
    },
  };
}

function createOutput(
  plant: Plant,
  taken: Taken,
  handle: Handle,
  { keep, read }: Reader,
  chips: HangingChips,
): OutputLine {
  const { pin, text, details } = taken;
  const driveAndCheck = async (level: Level): Promise<void> => {
    await chips.drive(taken, level);
    if ((await read(taken, 'read back')) !== level) throw notFollowed(text, level, details);
  };
  let lastWrite: Promise<unknown> = Promise.resolve();
  return {
    async read() {
      await Promise.resolve();
      handle.check('read');
      return read(taken);
    },
    async write(level) {
      await Promise.resolve();
      handle.check('write');
      keep(taken);
      if (level !== 0 && level !== 1) {
        throw reportMisuse(plant, `${pin.label}: write(${JSON.stringify(level)}), a level is 0 or 1`);
      }
      const written = lastWrite.then(() => driveAndCheck(level));
      lastWrite = written.catch(() => undefined);
      return written;
    },
    async close() {
      await Promise.resolve();
      handle.close();
    },
  };
}

function createInput(plant: Plant, taken: Taken, handle: Handle, reader: Reader): InputLine {
  const { read, pollOf } = reader;
  const { pin } = taken;
  const ends = new Set<() => void>();
  return {
    async read() {
      await Promise.resolve();
      handle.check('read');
      return read(taken);
    },
    onEdge(wake, { pollMs, checkMs } = {}) {
      if (typeof wake !== 'function') throw reportMisuse(plant, `${pin.label}: onEdge without a function`);
      for (const everyMs of [pollMs, checkMs]) {
        if (everyMs !== undefined && !(everyMs > 0))
          throw reportMisuse(plant, `${pin.label}: onEdge with a poll every ${everyMs} ms`);
      }
      handle.check('onEdge');
      const wakeIfWatched = () => {
        if (ends.has(end)) wake();
      };
      const stop = pin.raisesInterrupts()
        ? watchEdges(pin, wakeIfWatched, pollOf(pin), checkMs)
        : pollOf(pin).watch(wakeIfWatched, pollMs);
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
}

/** Edges that come before a watcher was woken coalesce. A line that nobody has taken raises no interrupt. */
function watchEdges(pin: PlantPin, wake: () => void, poll: PinPoll, checkMs = CHECK_MS): () => void {
  let pending = false;
  const endEdges = pin.onChange(() => {
    if (pending || pin.takenBy === null || !pin.raisesInterrupts() || pin.hangs()) return;
    pending = true;
    queueMicrotask(() => {
      pending = false;
      poll.interrupted();
      wake();
    });
  });
  const endChecks = poll.watch(wake, checkMs);
  return () => {
    endEdges();
    endChecks();
  };
}

interface Reader {
  /** @param what is done, for the error */
  read(taken: Taken, what?: string): Promise<Level>;
  /** A pin that another program has given back is taken again. */
  keep(taken: Taken): void;
  /** One for all openings of a line. */
  pollOf(pin: PlantPin): PinPoll;
}

function createReader({ clock }: Plant, chips: HangingChips): Reader {
  const polls = new Map<string, PinPoll>();
  const pollOf = (pin: PlantPin): PinPoll => {
    const readable = () => (pin.takenBy !== null || isTaken(pin)) && !pin.unreadable() && !pin.hangs();
    const known = polls.get(pin.key) ?? createPinPoll(clock, () => (readable() ? pin.level() : null));
    polls.set(pin.key, known);
    return known;
  };
  const keep = ({ pin, text, details }: Taken): void => {
    if (pin.takenBy !== null || isTaken(pin)) return;
    pollOf(pin).seen(null);
    throw lineHeld(systemError('EBUSY'), text, undefined, details);
  };
  return {
    pollOf,
    keep,
    async read(taken, what = 'read') {
      const { pin, text, details } = taken;
      try {
        await chips.answer(taken);
      } catch (error) {
        pollOf(pin).seen(null);
        throw error;
      }
      keep(taken);
      const level = pin.unreadable() ? null : pin.level();
      pollOf(pin).seen(level);
      if (level === null) throw cannotBe(systemError('EIO'), text, what, details);
      return level;
    },
  };
}

/** One opening of a line. */
interface Handle {
  close(): void;
  /** @throws HardwareError once it is closed */
  check(what: string): void;
}

function createHandles(plant: Plant) {
  /** Those of each pin that were not closed. */
  const open = new Map<string, Set<object>>();
  return {
    areOpen: ({ key }: PlantPin): boolean => (open.get(key)?.size ?? 0) > 0,
    open({ pin, text, details }: Taken): Handle {
      const ofPin = open.get(pin.key) ?? new Set();
      open.set(pin.key, ofPin);
      const handle: Handle = {
        close: () => {
          ofPin.delete(handle);
        },
        check: (what) => {
          if (ofPin.has(handle)) return;
          plant.recordMisuse(`${pin.label}: ${what} after close`);
          throw lineClosed(text, details);
        },
      };
      ofPin.add(handle);
      return handle;
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
function placeOf({ key, chip, takenBy }: PlantPin): LinePlace {
  const [, offset = '0'] = /^(?!name:).*\/(\d+)$/.exec(key) ?? [];
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
