import { isHang } from '../errors.ts';
import type { Clock } from '../ports.ts';
import type { OnoffHandle } from './library.ts';
import type { SysfsLine } from './line.ts';
import { type ChipPoll, createChipPoll } from './poll.ts';
import { createLineWatches, type LineWatches } from './watches.ts';

/** What the process keeps of one line between its openings. */
export interface KeptLine {
  readonly watches: LineWatches;
  /** Openings that were not closed. */
  openings: number;
  /** The onoff object for a use of the line: the kept one, or a new one where the line was unexported since. */
  handle(use: 'in' | 'out', line: Pick<SysfsLine, 'ask'>, construct: () => OnoffHandle): Promise<OnoffHandle>;
  /** Closes the onoff objects, for a line that is given back. */
  dropHandles(): void;
  /** Runs `take` when no other one of this line is under way: each would make an onoff object. */
  takeAlone<T>(take: () => Promise<T>): Promise<T>;
}

export interface KeptLines {
  of(line: Pick<SysfsLine, 'number' | 'offset'>): KeptLine;
  /** By number; undefined for a line that was never opened. */
  get(number: number): KeptLine | undefined;
}

/**
 * A line that was opened keeps its onoff object, and so one file descriptor, until it is given back: opening it again uses
 * the same one.
 */
export function createKeptLines(clock: Clock): KeptLines {
  const lines = new Map<number, KeptLine>();
  /** By the number of the chip's first line. */
  const polls = new Map<number, ChipPoll>();

  return {
    of({ number, offset }) {
      const known = lines.get(number);
      if (known !== undefined) return known;
      const poll = polls.get(number - offset) ?? createChipPoll(clock);
      polls.set(number - offset, poll);
      const made = createKeptLine(createLineWatches(number, poll));
      lines.set(number, made);
      return made;
    },
    get: (number) => lines.get(number),
  };
}

function createKeptLine(watches: LineWatches): KeptLine {
  const handles = new Map<'in' | 'out', OnoffHandle>();
  let lastTaking: Promise<unknown> = Promise.resolve();
  return {
    watches,
    openings: 0,
    async handle(use, line, construct) {
      const existing = handles.get(use);
      if (existing !== undefined) {
        try {
          await line.ask(() => existing.read());
          return existing;
        } catch (error) {
          // A new one would hang.
          if (isHang(error)) throw error;
          // The line was unexported since, so it has new files. A new handle reports what is wrong with them.
          handles.delete(use);
          existing.close();
        }
      }
      const handle = construct();
      try {
        if (use === 'in') await line.ask(() => handle.read());
      } catch (error) {
        handle.close();
        throw error;
      }
      handles.set(use, handle);
      return handle;
    },
    dropHandles() {
      for (const handle of handles.values()) handle.close();
      handles.clear();
    },
    takeAlone(take) {
      const taken = lastTaking.then(take);
      lastTaking = taken.catch(() => undefined);
      return taken;
    },
  };
}
