import { isHang } from '../errors.ts';
import type { Clock, Level } from '../ports.ts';

/**
 * Polling takes at most one part in so many of a chip's time. The rest of its bus belongs to the readings that somebody
 * waits for, and to the other devices on it.
 */
const BUS_SHARE = 5;
/** Longest pause for the sake of the bus. A read that hangs in a time limit of the kernel does not get faster by it. */
const LONGEST_PAUSE_MS = 250;
/** A line is read along with one that is due once this part of its own period is over: one round, and one timer, for all. */
const EARLY_SHARE = 0.9;

interface Watcher {
  readonly wake: () => void;
  readonly pollMs: number;
}

interface PolledLine {
  readonly read: () => Promise<Level>;
  readonly watchers: Set<Watcher>;
  /** When it was polled last, or first watched. */
  polledAtMs: number;
  /** What was read last, by a poll or by anybody; null where the next reading is no news. */
  seen: Level | 'unreadable' | null;
}

/** Polls the lines of one chip: those without interrupts often, the others now and then. */
export interface ChipPoll {
  /**
   * Polls the line every `pollMs`, once for all its watchers at the pace of the most impatient one, and later where the
   * chip is slow. All of them are woken when a poll, or a reading given to `seen`, finds another level than the one
   * before it, when the line cannot be read any more, and when it can be again. Returns the function that ends the
   * watch; no timer is left when nobody watches.
   */
  watch(number: number, read: () => Promise<Level>, wake: () => void, pollMs: number): () => void;
  /** Takes what somebody has read just now. Between two polls it may be the only reading that shows a short pulse. */
  seen(number: number, level: Level | 'unreadable'): void;
  /** An interrupt wakes all watchers of the line: what they read next is no news, and wakes nobody. */
  interrupted(number: number): void;
}

/**
 * Rounds follow one another, and so do the lines within a round. Reads never overlap, and a slow bus makes rounds rare
 * instead of piling them up.
 */
export function createChipPoll(clock: Clock): ChipPoll {
  const lines = new Map<number, PolledLine>();
  let cancel: (() => void) | null = null;
  let polling = false;
  let notBeforeMs = Number.NEGATIVE_INFINITY;

  const pollMsOf = ({ watchers }: PolledLine): number =>
    Math.min(...[...watchers].map(({ pollMs }) => pollMs));

  const note = (line: PolledLine, level: Level | 'unreadable'): void => {
    const changed = line.seen !== null && line.seen !== level;
    line.seen = level;
    if (!changed) return;
    // A watcher that is woken may end the watch of another one.
    for (const watcher of [...line.watchers]) if (line.watchers.has(watcher)) watcher.wake();
  };

  const schedule = (): void => {
    cancel?.();
    cancel = null;
    if (polling || lines.size === 0) return;
    const dueMs = [...lines.values()].map((line) => line.polledAtMs + pollMsOf(line));
    const nextMs = Math.max(notBeforeMs, Math.min(...dueMs));
    cancel = clock.after(nextMs - clock.nowMs(), () => void pollRound());
  };

  const pollRound = async (): Promise<void> => {
    cancel = null;
    polling = true;
    const startMs = clock.nowMs();
    let hangs = false;
    const look = async ({ read }: PolledLine): Promise<Level | 'unreadable'> => {
      if (hangs) return 'unreadable';
      try {
        return await read();
      } catch (error) {
        // The others of the chip would take as long.
        hangs = isHang(error);
        return 'unreadable';
      }
    };
    for (const line of [...lines.values()]) {
      if (line.watchers.size === 0) continue;
      if (startMs - line.polledAtMs < EARLY_SHARE * pollMsOf(line)) continue;
      line.polledAtMs = startMs;
      note(line, await look(line));
    }
    const endMs = clock.nowMs();
    notBeforeMs = endMs + Math.min((BUS_SHARE - 1) * (endMs - startMs), LONGEST_PAUSE_MS);
    polling = false;
    schedule();
  };

  return {
    watch(number, read, wake, pollMs) {
      const line = lines.get(number) ?? { read, watchers: new Set(), polledAtMs: clock.nowMs(), seen: null };
      lines.set(number, line);
      const watcher = { wake, pollMs };
      line.watchers.add(watcher);
      schedule();
      return () => {
        if (!line.watchers.delete(watcher)) return;
        if (line.watchers.size === 0) lines.delete(number);
        schedule();
      };
    },
    seen(number, level) {
      const line = lines.get(number);
      if (line !== undefined) note(line, level);
    },
    interrupted(number) {
      const line = lines.get(number);
      if (line !== undefined) line.seen = null;
    },
  };
}
