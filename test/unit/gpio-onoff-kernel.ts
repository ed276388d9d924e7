import { DEBUG_LIST } from '../../hw/gpio/errors.ts';
import type { ExportRecord } from '../../hw/gpio/exports.ts';
import type { OnoffGpio, OnoffGpioClass } from '../../hw/gpio/library.ts';
import type { SysfsFiles } from '../../hw/gpio/sysfs.ts';
import type { Clock, Level } from '../../hw/ports.ts';

/**
 * The kernel's sysfs GPIO interface and the library onoff on it, in memory, behaving as they were seen
 * to behave on Linux 6.12 (files and errors) and onoff 6.0.3 (what it writes, swallows and retries).
 */
export interface GpioKernel {
  readonly root: string;
  readonly files: SysfsFiles;
  /** What the program's processes have told of their exports. */
  readonly exports: ExportRecord;
  readonly Gpio: OnoffGpioClass;
  /** What was done to the machine, in order: `export 529`, `gpio529/direction high`. */
  readonly writes: string[];
  /** Arguments of every onoff object. */
  readonly constructed: unknown[][];
  /** Arguments of every `write` of onoff. */
  readonly written: unknown[];
  /** Openings of one file that onoff tried without success. */
  readonly spinCount: number;
  /** Watches that would keep a process alive. */
  readonly watchCount: number;
  /** What was read of the chips, below the root. */
  readonly chipReads: readonly string[];
  /** Readings of `value` files, in the order of their beginnings. */
  readonly reads: readonly KernelRead[];
  line(number: number): KernelLine;
  level(number: number): Level;
  drive(number: number, level: Level): void;
  /** Calls `run` with the number of every line whose level changed. */
  onLevel(run: (number: number) => void): void;
  /** Another program unexports the line; with `consumer` it takes it for itself at once, until `letGo`. */
  unexport(number: number, consumer?: string): void;
  letGo(number: number): void;
  /** What onoff threw where nobody could catch it. */
  readonly uncaught: readonly unknown[];
  /** From now on the chip of the line answers nothing, and what is asked of it waits in the kernel, until `answer`. */
  hang(number: number): void;
  answer(): void;
  /** What waited in the kernel on the event loop itself, and so held up all else. */
  readonly heldUp: readonly string[];
  /** Accesses that wait in the kernel now: each has a thread of libuv's. */
  readonly waitingCount: number;
  /** Refuses to open these files for writing, until a time. */
  deny(path: string, code?: string, untilMs?: number): void;
  /** Runs once, just before the onoff constructor with this index does anything. */
  beforeConstructing(run: () => void): void;
}

export interface KernelRead {
  readonly number: number;
  readonly fromMs: number;
  /** When it was answered; null while it waits. */
  toMs: number | null;
}

export interface KernelLine {
  direction: 'in' | 'out';
  /** The level that the register drives when the line is an output. */
  driven: Level;
  /** The level that the world gives an undriven line. */
  outside: Level;
  /** Holds the line, whoever drives it. */
  shortedTo?: Level;
  exported: boolean;
  /** Counts unexports: files opened before one are dead. */
  generation: number;
  activeLow: boolean;
  edge: 'none' | 'rising' | 'falling' | 'both';
  /** The controller raises none of the interrupts that it should. */
  losesInterrupts?: boolean;
  /** Kernel driver that has the line. */
  consumer?: string;
  /** Refuses an access with this code: `value` read, `direction` write, `edge` write, `export` write. */
  failing: Partial<Record<'value' | 'direction' | 'edge' | 'export' | 'unexport' | 'active_low', string>>;
  withoutEdgeFile?: boolean;
  /** How long a reading takes, as over a bus; it is the level at its end that is read. */
  readMs?: number;
  withoutDirectionFile?: boolean;
  /** Exported as `/sys/class/gpio/<name>` by its driver. */
  exportedAs?: string;
  /** Levels that were seen, each change once. */
  readonly history: Level[];
}

export interface KernelChip {
  readonly label: string;
  readonly base: number;
  readonly lineCount: number;
  /** Line names in the device tree, and where its node is. */
  readonly names?: readonly string[];
  readonly namesAt?: string;
  /** Targets of the links `device` and `device/of_node`; without them there are none. */
  readonly device?: string;
  readonly node?: string;
}

const SPIN_LIMIT = 10_000;

function systemError(code: string, what: string): Error {
  return Object.assign(new Error(`${code}: ${what}`), { code });
}

export function createGpioKernel(options: {
  readonly chips: readonly KernelChip[];
  readonly clock: Clock;
  readonly root?: string;
}): GpioKernel {
  const { chips, clock, root = '/sys/class/gpio' } = options;
  const lines = new Map<number, KernelLine>();
  const denials = new Map<string, { code: string; untilMs: number }>();
  const writes: string[] = [];
  const constructed: unknown[][] = [];
  const written: unknown[] = [];
  const reads: KernelRead[] = [];
  const chipReads: string[] = [];
  const inodes = new Map<KernelChip, number>();
  const exported = new Map<number, string>();
  const interrupts = new Set<(number: number) => void>();
  const uncaught: unknown[] = [];
  const hanging = new Set<KernelChip>();
  const heldUp: string[] = [];
  const waiting: (() => void)[] = [];
  let spinCount = 0;
  let watchCount = 0;
  let beforeConstructing: (() => void) | undefined;

  const line = (number: number): KernelLine => {
    const known = lines.get(number);
    if (known !== undefined) return known;
    const made: KernelLine = {
      direction: 'in',
      driven: 0,
      outside: 0,
      exported: false,
      generation: 0,
      activeLow: false,
      edge: 'none',
      failing: {},
      history: [],
    };
    lines.set(number, made);
    return made;
  };
  const level = (number: number): Level => {
    const { shortedTo, direction, driven, outside } = line(number);
    return shortedTo ?? (direction === 'out' ? driven : outside);
  };
  const change = (number: number, apply: (line: KernelLine) => void) => {
    const changing = line(number);
    const before = level(number);
    if (changing.history.length === 0) changing.history.push(before);
    apply(changing);
    const after = level(number);
    if (after === before) return;
    changing.history.push(after);
    for (const interrupt of interrupts) interrupt(number);
  };

  const isHanging = (number: number): boolean =>
    [...hanging].some(({ base, lineCount }) => number >= base && number < base + lineCount);
  /** The kernel keeps whoever asks until the chip answers; a chip takes one after the other, in their order. */
  const untilAnswered = async (number: number): Promise<void> => {
    if (isHanging(number)) await new Promise<void>((go) => waiting.push(go));
  };
  /** What onoff does on the event loop. */
  const atOnce = (number: number, what: string): void => {
    if (isHanging(number)) heldUp.push(`${what} of ${number}`);
  };

  /** Splits `gpio529/value`; undefined for a file that is not there. */
  const lineFile = (path: string): [number, KernelLine, string] | undefined => {
    const [, folder, file] = /^([^/]+)\/(\w+)$/.exec(path.slice(root.length + 1)) ?? [];
    if (folder === undefined || file === undefined) return undefined;
    for (const [number, each] of lines) {
      if (!each.exported || (each.exportedAs ?? `gpio${number}`) !== folder) continue;
      if (file === 'edge' && each.withoutEdgeFile) return undefined;
      if (file === 'direction' && each.withoutDirectionFile) return undefined;
      return ['value', 'direction', 'edge', 'active_low'].includes(file) ? [number, each, file] : undefined;
    }
    return undefined;
  };

  const tryOpen = (path: string) => {
    // Nothing is refused that is not there.
    if (path !== `${root}/export` && path !== `${root}/unexport` && lineFile(path) === undefined)
      throw systemError('ENOENT', `open '${path}'`);
    const denial = denials.get(path);
    if (denial !== undefined && clock.nowMs() < denial.untilMs)
      throw systemError(denial.code, `open '${path}'`);
  };

  const read = (path: string): string => {
    for (const { label, base, lineCount, names = [], namesAt = 'device/of_node' } of chips) {
      const folder = `${root}/gpiochip${base}`;
      if (path === `${folder}/label`) return `${label}\n`;
      if (path === `${folder}/base`) return `${base}\n`;
      if (path === `${folder}/ngpio`) return `${lineCount}\n`;
      if (path === `${folder}/${namesAt}/gpio-line-names` && names.length > 0) return `${names.join('\0')}\0`;
    }
    if (path === DEBUG_LIST) {
      return [...lines]
        .filter(([, each]) => each.consumer !== undefined)
        .map(
          ([number, each]) => ` gpio-${number} (                    |${each.consumer?.padEnd(20)}) out hi \n`,
        )
        .join('');
    }
    const found = lineFile(path);
    if (found === undefined) throw systemError('ENOENT', `open '${path}'`);
    const [number, each, file] = found;
    if (file === 'value' && each.failing.value) throw systemError(each.failing.value, 'read');
    if (file === 'value') return `${each.activeLow ? 1 - level(number) : level(number)}\n`;
    if (file === 'direction') return `${each.direction}\n`;
    if (file === 'edge') return `${each.edge}\n`;
    return each.activeLow ? '1\n' : '0\n';
  };

  /** Reads `value`, which takes its time. */
  const readValue = async (number: number): Promise<string> => {
    const reading: KernelRead = { number, fromMs: clock.nowMs(), toMs: null };
    reads.push(reading);
    const { readMs = 0 } = line(number);
    try {
      if (readMs > 0) await new Promise<void>((resolve) => clock.after(readMs, resolve));
      await untilAnswered(number);
      return read(`${root}/${line(number).exportedAs ?? `gpio${number}`}/value`);
    } finally {
      reading.toMs = clock.nowMs();
    }
  };

  const unexportLine = (text: string) => {
    const each = line(Number(text));
    if (each.failing.unexport) throw systemError(each.failing.unexport, 'write');
    if (!each.exported) throw systemError('EINVAL', 'write');
    dropExport(Number(text));
  };

  const dropExport = (number: number) => {
    const each = line(number);
    each.exported = false;
    each.generation += 1;
    each.edge = 'none';
    // As the kernel's gpio-pca953x and others: what is free is an input.
    change(number, (changing) => {
      changing.direction = 'in';
    });
  };

  const exportLine = (text: string) => {
    const number = Number(text);
    const known = chips.some(({ base, lineCount }) => number >= base && number < base + lineCount);
    if (!known) throw systemError('EINVAL', 'write');
    const each = line(number);
    if (each.failing.export) throw systemError(each.failing.export, 'write');
    if (each.consumer !== undefined || each.exported) throw systemError('EBUSY', 'write');
    each.exported = true;
  };

  const write = (path: string, text: string) => {
    tryOpen(path);
    if (path === `${root}/export`) {
      exportLine(text);
      writes.push(`export ${text}`);
      return;
    }
    if (path === `${root}/unexport`) {
      unexportLine(text);
      writes.push(`unexport ${text}`);
      return;
    }
    const found = lineFile(path);
    if (found === undefined) throw systemError('ENOENT', `open '${path}'`);
    const [number, each, file] = found;
    const code = each.failing[file as 'value'];
    if (code && file !== 'value') throw systemError(code, 'write');
    writes.push(`${path.slice(root.length + 1)} ${text}`);
    if (file === 'active_low') each.activeLow = text === '1';
    else if (file === 'edge') {
      if (!['none', 'rising', 'falling', 'both'].includes(text)) throw systemError('EINVAL', 'write');
      // The kernel takes no interrupt from a line that it drives.
      if (each.direction === 'out' && text !== 'none') throw systemError('EIO', 'write');
      each.edge = text as KernelLine['edge'];
    } else if (file === 'direction') {
      if (!['in', 'out', 'high', 'low'].includes(text)) throw systemError('EINVAL', 'write');
      if (text !== 'in' && each.edge !== 'none') throw systemError('EIO', 'write');
      change(number, (changing) => {
        changing.direction = text === 'in' ? 'in' : 'out';
        // "out" is the same as "low", and high and low are raw levels.
        if (text !== 'in') changing.driven = text === 'high' ? 1 : 0;
      });
    } else {
      if (each.direction !== 'out') throw systemError('EPERM', 'write');
      const raw = (text === '0') === each.activeLow ? 1 : 0;
      change(number, (changing) => {
        changing.driven = raw;
      });
    }
  };

  class Gpio implements OnoffGpio {
    readonly #folder: string;
    readonly #number: number;
    readonly #generation: number;
    #listeners: (() => void)[] = [];
    #edgeSet = false;
    #readPending = false;
    /** The level was read since the file was opened: without that poll(2) tells of a change at once. */
    #wasRead = false;

    constructor(
      number: number,
      direction: 'in' | 'high' | 'low',
      edge?: 'none' | 'both',
      { reconfigureDirection = true }: { reconfigureDirection?: boolean } = {},
    ) {
      constructed.push([number, direction, edge, { reconfigureDirection }]);
      atOnce(number, 'construct');
      beforeConstructing?.();
      beforeConstructing = undefined;
      this.#number = number;
      this.#folder = `${root}/gpio${number}`;
      const exportedBefore = lineFile(`${this.#folder}/value`) !== undefined;
      if (!exportedBefore) write(`${root}/export`, String(number));
      for (const file of exportedBefore ? ['value'] : ['value', 'direction', 'active_low']) {
        for (let tries = 1; ; tries += 1) {
          try {
            tryOpen(`${this.#folder}/${file}`);
            break;
          } catch (error) {
            spinCount += 1;
            if (tries === SPIN_LIMIT) throw error;
          }
        }
      }
      const configure = (run: () => void) => {
        try {
          run();
        } catch (error) {
          if (!exportedBefore) throw error;
        }
      };
      configure(() => {
        const wanted = direction === 'in' ? 'in' : 'out';
        if (reconfigureDirection || this.direction() !== wanted)
          write(`${this.#folder}/direction`, direction);
      });
      configure(() => {
        if (!edge || direction !== 'in') return;
        write(`${this.#folder}/edge`, edge);
        this.#edgeSet = edge === 'both';
      });
      tryOpen(`${this.#folder}/value`);
      this.#generation = line(number).generation;
      interrupts.add((changed) => {
        if (changed === this.#number) this.#interrupt();
      });
      this.readSync();
    }

    /** Interrupts coalesce until the handler has read the level. */
    #interrupt() {
      const { edge, losesInterrupts, generation } = line(this.#number);
      if (edge === 'none' || losesInterrupts || generation !== this.#generation) return;
      if (this.#listeners.length === 0 || this.#readPending) return;
      this.#readPending = true;
      setImmediate(() => {
        this.#readPending = false;
        try {
          this.readSync();
        } catch (error) {
          // In a callback of the event loop, where it ends the process.
          uncaught.push(error);
          return;
        }
        if (this.#edgeSet) for (const listener of [...this.#listeners]) listener();
      });
    }

    readSync(): Level {
      this.#checkAlive();
      atOnce(this.#number, 'readSync');
      this.#wasRead = true;
      return read(`${this.#folder}/value`).startsWith('1') ? 1 : 0;
    }

    #checkAlive() {
      if (line(this.#number).generation !== this.#generation) throw systemError('ENODEV', 'read');
    }

    async read(): Promise<Level> {
      this.#checkAlive();
      this.#wasRead = true;
      return (await readValue(this.#number)).startsWith('1') ? 1 : 0;
    }

    async write(value: unknown) {
      this.#checkAlive();
      written.push(value);
      await untilAnswered(this.#number);
      write(`${this.#folder}/value`, value === 1 ? '1' : '0');
    }

    direction() {
      atOnce(this.#number, 'direction');
      return read(`${this.#folder}/direction`).trim();
    }

    setDirection(direction: 'in' | 'out' | 'high' | 'low') {
      atOnce(this.#number, 'setDirection');
      write(`${this.#folder}/direction`, direction);
    }

    edge() {
      return read(`${this.#folder}/edge`).trim();
    }

    watch(callback: () => void) {
      this.#listeners.push(callback);
      if (this.#listeners.length !== 1) return;
      watchCount += 1;
      if (!this.#wasRead) this.#interrupt();
    }

    unwatch(callback?: () => void) {
      if (this.#listeners.length === 0) return;
      this.#listeners = callback ? this.#listeners.filter((listener) => listener !== callback) : [];
      if (this.#listeners.length === 0) watchCount -= 1;
    }

    unexport() {
      this.unwatch();
      kernel.unexport(this.#number);
      writes.push(`unexport ${this.#number}`);
    }
  }

  const kernel: GpioKernel = {
    root,
    Gpio,
    writes,
    constructed,
    written,
    get spinCount() {
      return spinCount;
    },
    get watchCount() {
      return watchCount;
    },
    exports: {
      add: (number, identity) => void exported.set(number, identity),
      has: (number, identity) => exported.get(number) === identity,
      remove: (number) => void exported.delete(number),
    },
    chipReads,
    reads,
    line,
    level,
    onLevel: (run) => interrupts.add(run),
    drive: (number, outside) =>
      change(number, (changing) => {
        changing.outside = outside;
      }),
    uncaught,
    heldUp,
    get waitingCount() {
      return waiting.length;
    },
    hang(number) {
      for (const chip of chips) {
        if (number >= chip.base && number < chip.base + chip.lineCount) hanging.add(chip);
      }
    },
    answer() {
      hanging.clear();
      for (const go of waiting.splice(0)) go();
    },
    unexport(number, consumer) {
      dropExport(number);
      if (consumer !== undefined) line(number).consumer = consumer;
    },
    letGo: (number) => {
      delete line(number).consumer;
    },
    deny: (path, code = 'EACCES', untilMs = Number.POSITIVE_INFINITY) => denials.set(path, { code, untilMs }),
    beforeConstructing: (run) => {
      beforeConstructing = run;
    },
    files: {
      readKnown: (path) => {
        if (path === DEBUG_LIST || lineFile(path) !== undefined)
          throw new TypeError(`${path} may ask a device, which holds up all else`);
        chipReads.push(path.slice(root.length + 1));
        return read(path);
      },
      readAttribute: async (path) => {
        const [number] = lineFile(path) ?? [];
        if (number !== undefined && path.endsWith('/value')) return readValue(number);
        if (number !== undefined) await untilAnswered(number);
        return read(path);
      },
      read: async (path) => read(path),
      write: async (path, text) => {
        await untilAnswered(lineFile(path)?.[0] ?? Number(text));
        write(path, text);
      },
      tryOpen,
      realPath: (path) => {
        for (const { base, device, node } of chips) {
          const folder = `${root}/gpiochip${base}`;
          if (path === `${folder}/device` && device !== undefined) return device;
          if (path === `${folder}/device/of_node` && node !== undefined)
            return `/sys/firmware/devicetree/base${node}`;
        }
        throw systemError('ENOENT', `realpath '${path}'`);
      },
      identity: (path) => {
        const [number, each] = lineFile(`${path}/value`) ?? [];
        if (each !== undefined) return `${number}.${each.generation}`;
        const chip = chips.find(({ base }) => path === `${root}/gpiochip${base}`);
        if (chip === undefined) throw systemError('ENOENT', `stat '${path}'`);
        const inode = inodes.get(chip) ?? inodes.size;
        inodes.set(chip, inode);
        return `chip ${inode}`;
      },
      list(folder) {
        if (folder === root) {
          const exported = [...lines].flatMap(([number, each]) =>
            each.exported ? [each.exportedAs ?? `gpio${number}`] : [],
          );
          return ['export', 'unexport', ...exported, ...chips.map(({ base }) => `gpiochip${base}`)];
        }
        const places = chips
          .map(({ base, namesAt = 'device/of_node' }) => `${root}/gpiochip${base}/${namesAt}`)
          .filter((place) => place.startsWith(`${folder}/`));
        if (places.length === 0) throw systemError('ENOENT', `scandir '${folder}'`);
        return places.map((place) => place.slice(folder.length + 1).split('/')[0] ?? '');
      },
    },
  };
  return kernel;
}
