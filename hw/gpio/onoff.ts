import { errnoCode, errorText, HardwareError, systemFailure } from '../errors.ts';
import { lineLabel } from '../lines.ts';
import type { Clock, GpioBackend, InputLine, Level, LinePlace, LineRef, OutputLine } from '../ports.ts';
import {
  cannotBe,
  DEBUG_LIST,
  isRefusal,
  lineClosed,
  lineHeld,
  notFollowed,
  notGivenOut,
  staysTaken,
  stillOpen,
  wordOf,
} from './errors.ts';
import { type ExportRecord, noExportRecord } from './exports.ts';
import { type ChipLooks, createChipLooks } from './look.ts';
import { type ResolvedLine, resolveLine, resolveLines } from './resolve.ts';
import { type SysfsFiles, sysfsFiles } from './sysfs.ts';
import { createLineWatches, type LineWatches } from './watches.ts';

/** What this driver uses of onoff's `Gpio`. */
export interface OnoffGpio {
  read(): Promise<Level>;
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

export interface OnoffGpioOptions {
  readonly clock: Clock;
  /** Where the kernel's GPIO folder is. Anything but the default needs a `Gpio` of its own as well. */
  readonly sysfsRoot?: string;
  /** onoff's class; loaded from the package `onoff` when the first line is opened. */
  readonly Gpio?: OnoffGpioClass;
  readonly files?: SysfsFiles;
  /** Where it is kept which lines this program has exported; nowhere when it is left out. */
  readonly exports?: ExportRecord;
}

/** Fixed in onoff's source (`GPIO_ROOT_PATH`). */
const ONOFF_ROOT = '/sys/class/gpio';
/** Somewhat arbitrary: udev takes some 10 ms on a Raspberry Pi, a BMC that boots is slower. */
const ACCESS_DEADLINE_MS = 1_000;
const ACCESS_RETRY_MS = 10;
/** Where a watcher does not say how soon he wants to know: shorter than any settle time of a rail. */
const LOOK_MS = 10;
/** A filtered net (100 nF behind 1 kOhm) follows within 0.5 ms; the read-back gives it one second look. */
const FOLLOW_MS = 1;

/**
 * GPIO lines over the kernel's sysfs interface with onoff. Levels outlive the process, because lines
 * stay exported: nothing but `release` unexports one.
 *
 * onoff cannot close a line without unexporting it, so each line that was opened keeps one file
 * descriptor until the process ends; opening it again uses the same one. Without a watch nothing of it
 * keeps the process alive.
 *
 * Where a line raises no interrupts (no `edge` file, or it refuses both edges), or is itself driven as
 * an output, it is looked at instead: `look.ts` says how often.
 */
export function createOnoffGpio(options: OnoffGpioOptions): GpioBackend {
  const { clock, sysfsRoot: root = ONOFF_ROOT, files = sysfsFiles, exports = noExportRecord } = options;
  if (root !== ONOFF_ROOT && options.Gpio === undefined) {
    throw new TypeError(
      `onoff itself works on ${ONOFF_ROOT} only: sysfsRoot needs a Gpio class that works there`,
    );
  }

  const handles = new Map<string, OnoffGpio>();
  /** How many openings of a line have not been closed. */
  const openings = new Map<number, number>();
  const countOpening = (number: number): (() => void) => {
    openings.set(number, (openings.get(number) ?? 0) + 1);
    let counted = true;
    return () => {
      if (counted) openings.set(number, (openings.get(number) ?? 1) - 1);
      counted = false;
    };
  };
  /** By number, and by the number of the chip's first line. */
  const watchesOf = new Map<number, LineWatches>();
  const looksOf = new Map<number, ChipLooks>();

  /** Who watches a line: one for all openings of it. */
  const lineWatches = (number: number, offset: number): LineWatches => {
    const looks = looksOf.get(number - offset) ?? createChipLooks(clock);
    looksOf.set(number - offset, looks);
    const watches = watchesOf.get(number) ?? createLineWatches(number, looks);
    watchesOf.set(number, watches);
    return watches;
  };

  const gpioClass = async (): Promise<OnoffGpioClass> => {
    if (options.Gpio !== undefined) return options.Gpio;
    try {
      // By the default export: esbuild gives a bundled CommonJS package no other.
      return (await import('onoff')).default.Gpio;
    } catch (error) {
      throw new HardwareError(
        'GPIO_UNAVAILABLE',
        `the package onoff with its native part epoll does not load: ${errorText(error)}; install it for this processor and Node version`,
        {},
        { cause: error },
      );
    }
  };

  /** The handle that is open already, if the line was not unexported behind our back, or a new one. */
  const handleOf = async (key: string, construct: () => OnoffGpio): Promise<OnoffGpio> => {
    const existing = handles.get(key);
    if (existing !== undefined) {
      try {
        await existing.read();
        return existing;
      } catch {
        // The line was unexported since: its files are others now, and a new handle says what is wrong.
        handles.delete(key);
      }
    }
    const handle = construct();
    handles.set(key, handle);
    return handle;
  };

  const openOutput = async (ref: LineRef): Promise<OutputLine> => {
    const Gpio = await gpioClass();
    const line = await claimLine(ref);
    const key = `out ${line.number}`;
    const direction = await line.direction();
    // Without a direction file the kernel does not let anyone change it: the first write tells.
    const driven = direction !== 'in';
    const present = await line.readValue();
    let handle: OnoffGpio | undefined;
    if (driven) {
      // `reconfigureDirection: false` still sets the direction when it is not the wanted one. Should
      // someone turn the line into an input just now, 'high' or 'low' puts back what was there.
      handle = await line.attempt('taken for driving', () =>
        handleOf(key, () => new Gpio(line.number, wordOf(present), 'none', { reconfigureDirection: false })),
      );
      if (direction !== undefined) await line.checkDriven();
    } else {
      await line.waitForAccess('direction');
    }

    const closed = countOpening(line.number);
    let open = true;
    const ensureOpen = () => {
      if (!open) throw lineClosed(line.text, line.details);
    };
    // Writes go one after the other, so that each reads back its own level.
    let lastWrite: Promise<unknown> = Promise.resolve();

    const drive = async (level: Level) => {
      if (handle !== undefined) {
        try {
          await handle.write(level);
          return;
        } catch (error) {
          if (errnoCode(error) !== 'EPERM') throw error;
          // The kernel's answer to a write on an input: someone else turned the line round, or ...
          if (direction === undefined) {
            throw systemFailure(
              error,
              'GPIO_FAILED',
              `GPIO ${line.text} is an input that cannot be made an output`,
              line.details,
            );
          }
        }
      }
      // A line that still watches for edges refuses to become an output (EIO).
      if (((await line.readOptional('edge')) ?? 'none') !== 'none') await line.writeFile('edge', 'none');
      await line.waitForAccess('value');
      handle = await handleOf(key, () => new Gpio(line.number, wordOf(level), 'none'));
      // onoff passes over a direction that an exported line refuses; setting it once more tells why.
      if (handle.direction() !== 'out') handle.setDirection(wordOf(level));
      // A handle of an earlier opening sets nothing when it is taken again.
      else if ((await handle.read()) !== level) await handle.write(level);
    };

    const driveAndCheck = async (level: Level) => {
      await line.attempt('driven', () => drive(level));
      line.watches.isDriven();
      const read = () =>
        line.attempt('read back', () => line.watched(() => handle?.read() ?? line.readValue()));
      if ((await read()) === level) return;
      await pause(clock, FOLLOW_MS);
      if ((await read()) === level) return;
      throw notFollowed(line.text, level, line.details);
    };

    return {
      async read() {
        ensureOpen();
        return line.attempt('read', () => line.watched(() => handle?.read() ?? line.readValue()));
      },

      async write(level) {
        ensureOpen();
        const written = lastWrite.then(() => driveAndCheck(level));
        lastWrite = written.catch(() => undefined);
        return written;
      },

      async close() {
        open = false;
        closed();
      },
    };
  };

  const openInput = async (ref: LineRef): Promise<InputLine> => {
    const Gpio = await gpioClass();
    const line = await claimLine(ref);
    // That it cannot be read is to be found now, not when somebody is woken.
    await line.readValue();
    let handle: OnoffGpio | undefined;
    // A line that is driven is only looked at: taking it with onoff as an input would make it one.
    if ((await line.direction()) !== 'out') {
      const hasEdge = (await line.readOptional('edge')) !== undefined;
      if (hasEdge) await line.waitForAccess('edge');
      handle = await line.attempt('taken for reading', () =>
        handleOf(
          `in ${line.number}`,
          () => new Gpio(line.number, 'in', hasEdge ? 'both' : undefined, { reconfigureDirection: false }),
        ),
      );
    }
    // onoff passes over an edge that an exported line refuses; the file tells what was taken.
    const edges = handle !== undefined && (await line.readOptional('edge')) === 'both' ? handle : null;
    if (edges !== null) line.watches.raisesEdges();

    const read = async (): Promise<Level> => handle?.read() ?? line.readValue();
    const closed = countOpening(line.number);
    let open = true;
    const ends = new Set<() => void>();

    return {
      async read() {
        if (!open) throw lineClosed(line.text, line.details);
        return line.attempt('read', () => line.watched(read));
      },

      onEdge(wake, { lookMs = LOOK_MS } = {}) {
        if (!open) throw lineClosed(line.text, line.details);
        const wakeIfOpen = () => {
          if (ends.has(end)) wake();
        };
        const stop = line.watches.watch(edges, read, wakeIfOpen, lookMs);
        const end = () => {
          if (ends.delete(end)) stop();
        };
        ends.add(end);
        // What happened since he read went unseen.
        queueMicrotask(wakeIfOpen);
        return end;
      },

      async close() {
        open = false;
        closed();
        for (const end of [...ends]) end();
      },
    };
  };

  /** Everything up to the point where onoff may be asked: the line is exported, accessible and raw. */
  const claimLine = async (ref: LineRef): Promise<ClaimedLine> => {
    await checkInterface();
    const resolved = await resolveLine(root, files, ref).catch((error: unknown) => {
      if (error instanceof HardwareError) throw error;
      throw systemFailure(error, 'GPIO_FAILED', `GPIO ${lineLabel(ref)} cannot be looked up`, {
        line: lineLabel(ref),
      });
    });
    const line = claimed(ref, resolved);
    if (!(await line.exists())) await line.export();
    await line.waitForAccess('value');

    // Sticky on an exported line, whoever set it. Clearing it moves no pin: it only ends the inversion.
    if ((await line.readOptional('active_low')) === '1') {
      await line.waitForAccess('active_low');
      await line.writeFile('active_low', '0');
      if ((await line.readOptional('active_low')) !== '0') {
        throw new HardwareError('GPIO_FAILED', `GPIO ${line.text} stays inverted (active_low)`, line.details);
      }
    }
    return line;
  };

  const checkInterface = async () => {
    try {
      await files.list(root);
    } catch (error) {
      throw systemFailure(
        error,
        'GPIO_UNAVAILABLE',
        `${root} cannot be read: check that the kernel has CONFIG_GPIO_SYSFS (from 6.17 on CONFIG_GPIO_SYSFS_LEGACY as well) and that a container sees it`,
        { path: root },
      );
    }
  };

  type ClaimedLine = ReturnType<typeof claimed>;

  const claimed = (ref: LineRef, resolved: ResolvedLine) => {
    const text = lineLabel(ref);
    const folder = `${root}/gpio${resolved.number}`;
    const details = { line: text, chip: resolved.chip, offset: resolved.offset, number: resolved.number };

    const fail = (error: unknown, what: string): HardwareError => {
      return error instanceof HardwareError ? error : cannotBe(error, text, what, details);
    };

    const attempt = async <T>(what: string, run: () => T | Promise<T>): Promise<T> => {
      try {
        return await run();
      } catch (error) {
        throw fail(error, what);
      }
    };

    /** Content of one of the line's files, trimmed; undefined where the line has no such file. */
    const readOptional = async (file: string): Promise<string | undefined> => {
      try {
        return (await files.read(`${folder}/${file}`)).trim();
      } catch (error) {
        if (errnoCode(error) === 'ENOENT') return undefined;
        throw fail(error, `read (${file})`);
      }
    };

    const exists = async () => (await readOptional('value').catch(() => '')) !== undefined;

    const watches = lineWatches(resolved.number, resolved.offset);

    return {
      text,
      details,
      number: resolved.number,
      watches,

      /** What is read is told to those who watch the line. */
      async watched(read: () => Promise<Level>): Promise<Level> {
        try {
          const level = await read();
          watches.seen(level);
          return level;
        } catch (error) {
          watches.seen('unreadable');
          throw error;
        }
      },

      attempt,
      readOptional,
      exists,

      async direction(): Promise<'in' | 'out' | undefined> {
        const direction = await readOptional('direction');
        return direction === 'in' || direction === 'out' ? direction : undefined;
      },

      async readValue(): Promise<Level> {
        const value = await attempt('read', () => files.read(`${folder}/value`));
        return value.trim() === '1' ? 1 : 0;
      },

      async writeFile(file: string, value: string) {
        await attempt(`set up (${file})`, () => files.write(`${folder}/${file}`, value));
      },

      async checkDriven() {
        if ((await readOptional('direction')) === 'out') return;
        throw new HardwareError(
          'GPIO_FAILED',
          `GPIO ${text} was turned into an input while it was opened: another program uses it`,
          details,
        );
      },

      /**
       * Exports the line without touching its direction. onoff would export it too, but then
       * configures what it has exported itself.
       */
      async export() {
        try {
          await files.write(`${root}/export`, String(resolved.number));
          await exports.add(resolved.number, await files.identity(folder).catch(() => ''));
        } catch (error) {
          const code = errnoCode(error);
          if (code === 'EBUSY') {
            // Another process of ours may have exported it since we looked.
            if (await exists()) return;
            throw lineHeld(error, text, await consumerOf(resolved.number), details);
          }
          // EINVAL: no such number. ENXIO: the firmware keeps the line for itself (gpio-reserved-ranges).
          if (code === 'EINVAL' || code === 'ENXIO') {
            throw notGivenOut(error, text, details);
          }
          if (code === 'ENOENT') {
            throw systemFailure(
              error,
              'GPIO_UNAVAILABLE',
              `there is no ${root}/export: check that the kernel has CONFIG_GPIO_SYSFS (from 6.17 on CONFIG_GPIO_SYSFS_LEGACY as well)`,
              details,
            );
          }
          if (isRefusal(error)) {
            throw systemFailure(
              error,
              'GPIO_PERMISSION',
              `no right to write ${root}/export for GPIO ${text}: run as root or join the group that owns it, and check that it is not mounted read-only`,
              details,
            );
          }
          throw fail(error, 'exported');
        }
      },

      /**
       * Waits until onoff may open `file`: udev gives the rights a moment after an export, and onoff
       * itself would try 10,000 times without a pause. A line without that file, `value` excepted,
       * needs no access to it.
       */
      async waitForAccess(file: 'value' | 'direction' | 'active_low' | 'edge') {
        const path = `${folder}/${file}`;
        const deadlineMs = clock.nowMs() + ACCESS_DEADLINE_MS;
        for (;;) {
          try {
            await files.tryOpen(path);
            return;
          } catch (error) {
            const absent = errnoCode(error) === 'ENOENT';
            if (absent && file !== 'value') return;
            if (!absent && !isRefusal(error)) throw fail(error, `opened (${file})`);
            if (clock.nowMs() >= deadlineMs) {
              if (absent) {
                throw systemFailure(
                  error,
                  'GPIO_FAILED',
                  `GPIO ${text} was exported but ${path} did not appear: its driver exports lines under their names, which onoff cannot use`,
                  details,
                );
              }
              throw systemFailure(
                error,
                'GPIO_PERMISSION',
                `no right to open ${path} for GPIO ${text}: run as root or check the udev rule for the group gpio`,
                { ...details, path },
              );
            }
          }
          await pause(clock, ACCESS_RETRY_MS);
        }
      },
    };
  };

  /** Who holds a line, as far as the kernel tells us: "gpio-529 (name |consumer ) out hi". */
  const consumerOf = async (number: number): Promise<string | undefined> => {
    try {
      const list = await files.read(DEBUG_LIST);
      return new RegExp(`^ *gpio-${number} +\\([^|]*\\|([^)]*)\\)`, 'm').exec(list)?.[1]?.trim() || undefined;
    } catch {
      // Only a hint for people, and only root may read it.
      return undefined;
    }
  };

  const lookUp = async (lines: readonly LineRef[]) => {
    await checkInterface();
    const failed = (error: unknown): never => {
      throw error instanceof HardwareError
        ? error
        : systemFailure(error, 'GPIO_FAILED', 'the GPIO lines cannot be looked up', {});
    };
    return resolveLines(root, files, lines).catch(failed);
  };

  /** Lines that are exported now. */
  const exportedLines = async (): Promise<ReadonlySet<number>> => {
    const names = await files.list(root);
    return new Set(names.flatMap((name) => (/^gpio\d+$/.test(name) ? [Number(name.slice(4))] : [])));
  };

  const locate: GpioBackend['locate'] = async (lines) => {
    const found = await lookUp(lines);
    const taken = await exportedLines();
    const takenBy = async (number: number): Promise<LinePlace['takenBy']> => {
      if (!taken.has(number)) return null;
      const identity = await files.identity(`${root}/gpio${number}`).catch(() => '');
      return (await exports.has(number, identity)) ? 'ours' : 'foreign';
    };
    return Promise.all(
      found.map(async (place) => {
        if (place instanceof HardwareError) return place;
        const { number, chip, offset } = place;
        return { chip, offset, key: String(number), takenBy: await takenBy(number) };
      }),
    );
  };

  const release: GpioBackend['release'] = async (lines) => {
    const found = await lookUp(lines);
    const taken = await exportedLines();
    const leaving: {
      readonly number: number;
      readonly text: string;
      readonly details: Record<string, unknown>;
    }[] = [];
    for (const [index, place] of found.entries()) {
      if (place instanceof HardwareError) throw place;
      const ref = lines[index];
      if (ref === undefined || !taken.has(place.number)) continue;
      const text = lineLabel(ref);
      const details = { line: text, chip: place.chip, offset: place.offset, number: place.number };
      if ((openings.get(place.number) ?? 0) > 0) throw stillOpen(text, details);
      leaving.push({ number: place.number, text, details });
    }
    for (const { number, text, details } of leaving) {
      handles.delete(`in ${number}`);
      handles.delete(`out ${number}`);
      try {
        await files.write(`${root}/unexport`, String(number));
      } catch (error) {
        // EINVAL: somebody else has given it back since.
        if (errnoCode(error) !== 'EINVAL') throw cannotBe(error, text, 'given back', details);
      }
      await exports.remove(number);
    }
    const left = await exportedLines();
    for (const { number, text, details } of leaving) if (left.has(number)) throw staysTaken(text, details);
  };

  return { locate, openOutput, openInput, release };
}

function pause(clock: Clock, delayMs: number): Promise<void> {
  return new Promise((resolve) => {
    clock.after(delayMs, resolve);
  });
}
