import type { Clock } from '../hw/ports.ts';

/** A clock that only moves when it is told to, or when nothing else is left to do. */
export interface VirtualClock extends Clock {
  /** Moves time on by `ms`. Timers run in order, and what they set off settles before the next one. */
  advance(ms: number): Promise<void>;
  /**
   * Lets everything run that can, jumps to the earliest timer whenever nothing can, and settles like
   * `promise`. Rejects with a VirtualTimeError when no timer is left and `promise` still waits (it would
   * for ever), and when `limitMs` of virtual time went by.
   */
  runUntil<T>(promise: Promise<T>, options?: { readonly limitMs?: number }): Promise<T>;
}

/** The code under test hangs, or two drivers want to move one clock. */
export class VirtualTimeError extends Error {
  override readonly name = 'VirtualTimeError';
}

interface Timer {
  readonly dueMs: number;
  readonly order: number;
  run: (() => void) | null;
}

const ONE_HOUR_MS = 3_600_000;
/** Midnight before the wall time of a clock that stands at 0; any fixed day keeps recordings comparable. */
const WALL_EPOCH_MS = Date.UTC(2024, 0, 1);
/** Longest real time that files may keep virtual time waiting. Far above any healthy disk's. */
const FILE_WORK_LIMIT_MS = 10_000;
/** Work that goes on by itself and will call back, by the names of `process.getActiveResourcesInfo()`. */
const RUNNABLE = /^(Immediate|FSReq|FileHandleCloseReq|CloseReq|ProcessWrap)/;
/** Work of this process itself, done within microseconds. */
const OWN = /^(Immediate|FSReq|FileHandleCloseReq|CloseReq)/;
/** Real time between two looks at another process's work: to turn meanwhile would take the processor from it. */
const TURN_MS = 1;

export function createVirtualClock(startMs = 1000): VirtualClock {
  const timers = createTimerHeap();
  let nowMs = startMs;
  let order = 0;
  let driven = false;

  const fireEarliest = (timer: Timer): void => {
    timers.pop();
    const { run } = timer;
    if (run === null) return;
    nowMs = Math.max(nowMs, timer.dueMs);
    timer.run = null;
    run();
  };

  /** Two drivers would take turns jumping, each past what the other waits for. */
  const drive = async <T>(work: () => Promise<T>): Promise<T> => {
    if (driven) throw new VirtualTimeError('the virtual clock is being moved already: await one call first');
    driven = true;
    try {
      return await work();
    } finally {
      driven = false;
    }
  };

  return {
    nowMs: () => nowMs,
    wallTime: () => new Date(WALL_EPOCH_MS + nowMs),

    after(delayMs, run) {
      if (Number.isNaN(delayMs)) throw new VirtualTimeError('a timer was set for NaN milliseconds');
      const timer: Timer = { dueMs: nowMs + Math.max(0, delayMs), order: order++, run };
      timers.push(timer);
      return () => {
        timer.run = null;
      };
    },

    advance: (ms) =>
      drive(async () => {
        const endMs = nowMs + ms;
        await settle();
        for (let next = timers.peek(); next !== undefined && next.dueMs <= endMs; next = timers.peek()) {
          fireEarliest(next);
          await settle();
        }
        nowMs = endMs;
      }),

    runUntil: (promise, { limitMs = ONE_HOUR_MS } = {}) =>
      drive(async () => {
        const endMs = nowMs + limitMs;
        let settled = false;
        const onSettled = () => {
          settled = true;
        };
        promise.then(onSettled, onSettled);
        await settle();
        while (!settled) {
          const next = timers.peek();
          if (next === undefined) {
            throw new VirtualTimeError(
              `hangs at ${nowMs} ms: the promise is not settled, and no timer is left that could settle it`,
            );
          }
          if (next.dueMs > endMs) {
            throw new VirtualTimeError(`not settled within ${limitMs} ms of virtual time (now ${nowMs} ms)`);
          }
          fireEarliest(next);
          await settle();
        }
        return promise;
      }),
  };
}

/** Resolves when no promise, immediate or file operation is left that goes on without time passing. */
async function settle(): Promise<void> {
  await nextTurn();
  if (!runnable()) return;
  const startNs = process.hrtime.bigint();
  while (runnable()) {
    await (runnable(OWN) ? nextTurn() : turnAfter(TURN_MS));
    if (process.hrtime.bigint() - startNs > FILE_WORK_LIMIT_MS * 1_000_000) {
      throw new VirtualTimeError(`still busy after ${FILE_WORK_LIMIT_MS} ms of real time: ${activity()}`);
    }
  }
}

/** By then all promise callbacks that were ready, and those they made ready, have run. */
function nextTurn(): Promise<void> {
  return new Promise((resolve) => {
    setImmediate(resolve);
  });
}

function turnAfter(ms: number): Promise<void> {
  return new Promise((resolve) => {
    setTimeout(resolve, ms);
  });
}

function runnable(kinds = RUNNABLE): boolean {
  return process.getActiveResourcesInfo().some((resource) => kinds.test(resource));
}

function activity(): string {
  return process
    .getActiveResourcesInfo()
    .filter((resource) => RUNNABLE.test(resource))
    .join(', ');
}

/** Timers by due time, equal ones in the order they were set. Cancelled ones are skipped. */
function createTimerHeap() {
  const heap: Timer[] = [];

  const before = (left: number, right: number): boolean => {
    const a = heap[left];
    const b = heap[right];
    if (a === undefined || b === undefined) return false;
    return a.dueMs < b.dueMs || (a.dueMs === b.dueMs && a.order < b.order);
  };
  const swap = (left: number, right: number): void => {
    const a = heap[left];
    const b = heap[right];
    if (a === undefined || b === undefined) return;
    heap[left] = b;
    heap[right] = a;
  };

  const pop = (): void => {
    const last = heap.pop();
    if (last === undefined || heap.length === 0) return;
    heap[0] = last;
    for (let index = 0; ; ) {
      const left = 2 * index + 1;
      const least = before(left + 1, left) ? left + 1 : left;
      if (!before(least, index)) return;
      swap(least, index);
      index = least;
    }
  };

  return {
    push(timer: Timer): void {
      heap.push(timer);
      for (let index = heap.length - 1; index > 0; ) {
        const parent = (index - 1) >> 1;
        if (!before(index, parent)) return;
        swap(index, parent);
        index = parent;
      }
    },
    pop,
    peek(): Timer | undefined {
      while (heap[0] !== undefined && heap[0].run === null) pop();
      return heap[0];
    },
  };
}
