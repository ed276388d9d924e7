import { errnoCode } from '../../hw/errors.ts';
import type { Clock } from '../../hw/ports.ts';
import { createBackoff } from '../../hw/waiting.ts';

/** Text that waits for a slow reader, in bytes: some thousand lines. What comes on top of it is dropped. */
const QUEUE_LIMIT_BYTES = 256 * 1024;
/** When a reader that takes nothing is tried again: soon at first, then ever more rarely. */
const FIRST_RETRY_MS = 5;
const LAST_RETRY_MS = 500;
const NEWLINE = 10;

/**
 * Puts what it can of `data` somewhere, without waiting. Returns how many bytes that were; throws a system error,
 * EAGAIN where nothing fits now.
 */
export type Send = (data: Uint8Array) => number;

export interface OutputQueue {
  /** Never throws and never waits: text that cannot be written now is kept, up to a limit, and dropped beyond it. */
  write(text: string): void;
  /** Resolves when nothing waits any more, and drops what still waits after `withinMs`. */
  drain(withinMs: number): Promise<void>;
  /** Lines that were dropped and not told of yet, and what the last of them met; null where there are none. */
  readonly untold: { readonly lines: number; readonly errno: string } | null;
}

interface Entry {
  readonly data: Uint8Array;
  /** How many dropped lines it tells of, with so many bytes at its begin. */
  readonly tellsOf: number;
  readonly noticeBytes: number;
}

/**
 * Text on its way to somebody who may be slow, or gone. How many lines were dropped is told in their place, with
 * the next text that gets through.
 * @param lossNotice the line that stands where others are missing, without its end
 */
export function createOutputQueue(
  clock: Clock,
  send: Send,
  lossNotice: (lines: number, errno: string) => string,
): OutputQueue {
  let queue: Entry[] = [];
  let queuedBytes = 0;
  let lost = 0;
  let lostTo = '';
  let atLineStart = true;
  /** What was sent last ends within a line whose rest was dropped. */
  let isCut = false;
  const backoff = createBackoff(FIRST_RETRY_MS, LAST_RETRY_MS);
  let cancelRetry: (() => void) | null = null;
  let onEmpty: () => void = () => undefined;

  const drop = (lines: number, errno: string): void => {
    if (lines === 0) return;
    lost += lines;
    lostTo = errno;
  };
  const dropQueue = (errno: string): void => {
    for (const { data, tellsOf, noticeBytes } of queue)
      drop(tellsOf + linesIn(data.subarray(noticeBytes)), errno);
    // A line of which only the end is missing is there.
    const [first] = queue;
    if (first?.noticeBytes === 0 && first.data[0] === NEWLINE && !atLineStart) lost -= 1;
    isCut = !atLineStart;
    queue = [];
    queuedBytes = 0;
  };
  const enqueue = (text: string): void => {
    const endsLine = queue.length === 0 && isCut ? '\n' : '';
    const notice = endsLine + (lost > 0 ? `${lossNotice(lost, lostTo)}\n` : '');
    const data = Buffer.from(notice + text);
    queue.push({ data, tellsOf: lost, noticeBytes: Buffer.byteLength(notice) });
    queuedBytes += data.length;
    lost = 0;
  };

  /** Sends until nothing is left, or nothing is taken. */
  const pump = (): void => {
    cancelRetry?.();
    cancelRetry = null;
    for (let entry = queue[0]; entry !== undefined; entry = queue[0]) {
      const { data } = entry;
      let sent: number;
      try {
        sent = send(data);
      } catch (error) {
        const errno = errnoCode(error) ?? 'unknown';
        if (errno === 'EAGAIN' || errno === 'EINTR') {
          cancelRetry = clock.after(backoff.nextMs(), pump);
          return;
        }
        // Nobody there, or no room. The next text tries again.
        dropQueue(errno);
        break;
      }
      backoff.reset();
      if (sent > 0) {
        atLineStart = data[sent - 1] === NEWLINE;
        isCut = false;
      }
      queuedBytes -= sent;
      if (sent < data.length) queue[0] = restOf(entry, sent);
      else queue.shift();
      // What did not fit while the reader was slow is told as soon as he is not.
      if (queue.length === 0 && lost > 0) enqueue('');
    }
    onEmpty();
  };

  return {
    get untold() {
      return lost === 0 ? null : { lines: lost, errno: lostTo };
    },
    write(text) {
      if (text === '') return;
      if (queuedBytes > QUEUE_LIMIT_BYTES) {
        drop(linesIn(Buffer.from(text)), 'EAGAIN');
        return;
      }
      enqueue(text);
      if (cancelRetry === null) pump();
    },
    drain(withinMs) {
      if (queue.length === 0) return Promise.resolve();
      return new Promise((resolve) => {
        const cancel = clock.after(withinMs, () => {
          cancelRetry?.();
          cancelRetry = null;
          dropQueue('EAGAIN');
          resolve();
        });
        onEmpty = () => {
          cancel();
          resolve();
        };
      });
    },
  };
}

function restOf({ data, tellsOf, noticeBytes }: Entry, sent: number): Entry {
  const noticeLeft = Math.max(0, noticeBytes - sent);
  const isTold = noticeLeft <= 1;
  return { data: data.subarray(sent), tellsOf: isTold ? 0 : tellsOf, noticeBytes: noticeLeft };
}

function linesIn(data: Uint8Array): number {
  return data.reduce((lines, byte) => (byte === NEWLINE ? lines + 1 : lines), 0);
}
