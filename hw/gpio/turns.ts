import { errnoCode, type HardwareError } from '../errors.ts';
import type { Clock } from '../ports.ts';
import { deferred, endsWithin } from '../waiting.ts';
import { lineTimeout } from './errors.ts';

/** The line that is accessed, for errors. */
export interface AccessedLine {
  readonly text: string;
  readonly details: Record<string, unknown>;
}

/**
 * Accesses to the lines of one chip, each with a time limit. A chip behind a bus that hangs keeps whoever asks it in the kernel, in
 * one of libuv's threads, which nobody can free. So a chip has few of them, and the lines of other chips go on.
 *
 * Both reject `GPIO_TIMEOUT` for an access that has not ended in time, here or by the kernel's own limit, and otherwise as the
 * access does. What was given up still runs in the kernel, and may have its effect later.
 */
export interface ChipTurns {
  /**
   * Reads, or sets up: one after the other. An access waits for its turn no longer than for its answer. While one that was given up
   * still hangs, those that wait, and those that are asked for, reject at once: they would hang as well.
   */
  ask<T>(line: AccessedLine, run: () => Promise<T>): Promise<T>;
  /** Drives. Waits for no reading, and behind drives that hang until its own time is over: the chip may come back. */
  drive<T>(line: AccessedLine, run: () => Promise<T>): Promise<T>;
}

/** As long as an I2C transfer may take (hw/i2c/transfers.ts): behind such a bus are most chips that can hang. */
const ACCESS_LIMIT_MS = 1_000;
/** One that hangs, and one after it: a line that was to go on and hangs has to be told to go off. */
const MAX_DRIVES = 2;

/** The turns of each chip, by its first line. */
export function createTurns(clock: Pick<Clock, 'after' | 'nowMs'>): (base: number) => ChipTurns {
  const turns = new Map<number, ChipTurns>();
  return (base) => {
    const ofChip = turns.get(base) ?? { ask: createAsking(clock), drive: createDriving(clock) };
    turns.set(base, ofChip);
    return ofChip;
  };
}

function createAsking(clock: Pick<Clock, 'after'>): ChipTurns['ask'] {
  const waiting = new Set<(isMyTurn: boolean) => void>();
  let state: 'free' | 'taken' | 'hangs' = 'free';

  const refuseWaiting = (): void => {
    for (const go of waiting) go(false);
    waiting.clear();
  };
  const next = (): void => {
    const [go] = waiting;
    state = go === undefined ? 'free' : 'taken';
    if (go === undefined) return;
    waiting.delete(go);
    go(true);
  };
  /** Whether the turn comes in time. */
  const isMyTurn = (): Promise<boolean> =>
    new Promise((resolve) => {
      const go = (isIt: boolean): void => {
        cancel();
        resolve(isIt);
      };
      waiting.add(go);
      const cancel = clock.after(ACCESS_LIMIT_MS, () => {
        if (waiting.delete(go)) resolve(false);
      });
    });

  return async (line, run) => {
    if (state === 'hangs') throw timeout(line, 'cannot be asked');
    if (state === 'taken' && !(await isMyTurn())) throw timeout(line, 'cannot be asked');
    state = 'taken';
    const running = run().catch((error: unknown) => {
      if (errnoCode(error) !== 'ETIMEDOUT') throw error;
      // Those that wait would each wait for as long.
      refuseWaiting();
      throw timeout(line, 'did not answer (ETIMEDOUT)', error);
    });
    if (await endsWithin(clock, ACCESS_LIMIT_MS, running.then(next, next))) return running;
    state = 'hangs';
    refuseWaiting();
    running.catch(() => undefined);
    throw timeout(line, `did not answer within ${ACCESS_LIMIT_MS} ms`);
  };
}

function createDriving(clock: Pick<Clock, 'after' | 'nowMs'>): ChipTurns['drive'] {
  const underWay = new Set<Promise<void>>();

  return async (line, run) => {
    const deadlineMs = clock.nowMs() + ACCESS_LIMIT_MS;
    const isOver = (work: Promise<unknown>) =>
      endsWithin(clock, Math.max(0, deadlineMs - clock.nowMs()), work);
    const late = () => timeout(line, `could not be driven within ${ACCESS_LIMIT_MS} ms`);
    while (underWay.size >= MAX_DRIVES) if (!(await isOver(Promise.race(underWay)))) throw late();

    const { promise: ended, resolve: end } = deferred();
    underWay.add(ended);
    const running = run()
      .catch((error: unknown) => {
        if (errnoCode(error) !== 'ETIMEDOUT') throw error;
        throw timeout(line, 'could not be driven (ETIMEDOUT)', error);
      })
      .finally(() => {
        underWay.delete(ended);
        end();
      });
    running.catch(() => undefined);
    if (await isOver(ended)) return running;
    throw late();
  };
}

function timeout({ text, details }: AccessedLine, what: string, cause?: unknown): HardwareError {
  return lineTimeout(text, what, details, { cause });
}
