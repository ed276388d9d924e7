import { errnoCode } from '../../hw/errors.ts';
import type { Clock } from '../../hw/ports.ts';
import { createBackoff } from '../../hw/waiting.ts';

/** Most text that waits for a slow reader, in bytes: some thousand lines. Further text is dropped. */
const QUEUE_LIMIT_BYTES = 256 * 1024;
/** Waits between tries of a reader that takes nothing: short at first, then longer. */
const FIRST_RETRY_MS = 5;
const LAST_RETRY_MS = 500;
const NEWLINE = 10;

/**
 * Sends as much of `data` as it can without waiting. Returns the number of bytes that were sent; throws a system error,
 * which is EAGAIN where nothing fits now.
 */
export type Send = (data: Uint8Array) => number;

export interface OutputQueue {
  /** Never throws and never waits: text that cannot be written now is kept, up to a limit, and dropped beyond it. */
  write(text: string): void;
  /** Resolves when nothing waits any more, and drops what still waits after `withinMs`. */
  drain(withinMs: number): Promise<void>;
  /** Lines that were dropped and not reported yet, and the errno that dropped the last of them; null for none. */
  readonly unreported: Unreported | null;
}

interface Unreported {
  readonly lines: number;
  readonly errno: string;
}

/** Makes the line that stands where others are missing, without its end. */
type LossNotice = (lines: number, errno: string) => string;

/**
 * Text on its way to a reader that may be slow, or gone. The number of dropped lines is reported in their place, with
 * the next text that gets through.
 */
export function createOutputQueue(clock: Clock, send: Send, lossNotice: LossNotice): OutputQueue {
  const backlog = createBacklog(lossNotice);
  const backoff = createBackoff(FIRST_RETRY_MS, LAST_RETRY_MS);
  let cancelRetry: (() => void) | null = null;
  let onEmpty: () => void = () => undefined;

  /** Sends until nothing is left, or nothing is taken. */
  const pump = (): void => {
    cancelRetry?.();
    cancelRetry = null;
    for (let entry = backlog.first; entry !== undefined; entry = backlog.first) {
      let sentBytes: number;
      try {
        sentBytes = send(entry.data);
      } catch (error) {
        const errno = errnoCode(error) ?? 'unknown';
        if (errno === 'EAGAIN' || errno === 'EINTR') {
          cancelRetry = clock.after(backoff.nextMs(), pump);
          return;
        }
        // No reader, or no room. The next text tries again.
        backlog.dropAll(errno);
        break;
      }
      backoff.reset();
      backlog.removeSent(sentBytes);
    }
    onEmpty();
  };

  return {
    get unreported() {
      return backlog.unreported;
    },
    write(text) {
      if (text === '') return;
      if (backlog.bytes > QUEUE_LIMIT_BYTES) {
        backlog.drop(linesIn(Buffer.from(text)), 'EAGAIN');
        return;
      }
      backlog.add(text);
      if (cancelRetry === null) pump();
    },
    drain(withinMs) {
      if (backlog.first === undefined) return Promise.resolve();
      return new Promise((resolve) => {
        const cancel = clock.after(withinMs, () => {
          cancelRetry?.();
          cancelRetry = null;
          backlog.dropAll('EAGAIN');
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

interface Entry {
  readonly data: Uint8Array;
  /** Dropped lines that the notice at its begin reports, and the length of that notice. */
  readonly reportedLines: number;
  readonly noticeBytes: number;
}

/** Text that waits to be sent, and the count of the lines that were dropped. */
interface Backlog {
  readonly bytes: number;
  readonly first: Entry | undefined;
  readonly unreported: Unreported | null;
  /** Adds text, behind a notice of the lines that were dropped before it. */
  add(text: string): void;
  /** Removes the begin of the first entry, which was sent. */
  removeSent(bytes: number): void;
  /** Counts lines that are not added. */
  drop(lines: number, errno: string): void;
  /** Drops all text that waits. */
  dropAll(errno: string): void;
}

function createBacklog(lossNotice: LossNotice): Backlog {
  let queue: Entry[] = [];
  let queuedBytes = 0;
  let lost = 0;
  let lostTo = '';
  let atLineStart = true;
  /** What was sent last ends within a line whose rest was dropped. */
  let isCut = false;

  const drop = (lines: number, errno: string): void => {
    if (lines === 0) return;
    lost += lines;
    lostTo = errno;
  };
  const add = (text: string): void => {
    const endsLine = queue.length === 0 && isCut ? '\n' : '';
    const notice = endsLine + (lost > 0 ? `${lossNotice(lost, lostTo)}\n` : '');
    const data = Buffer.from(notice + text);
    queue.push({ data, reportedLines: lost, noticeBytes: Buffer.byteLength(notice) });
    queuedBytes += data.length;
    lost = 0;
  };

  return {
    get bytes() {
      return queuedBytes;
    },
    get first() {
      return queue[0];
    },
    get unreported() {
      return lost === 0 ? null : { lines: lost, errno: lostTo };
    },
    add,
    removeSent(bytes) {
      const [entry] = queue;
      if (entry === undefined) return;
      const { data } = entry;
      if (bytes > 0) {
        atLineStart = data[bytes - 1] === NEWLINE;
        isCut = false;
      }
      queuedBytes -= bytes;
      if (bytes < data.length) queue[0] = restOf(entry, bytes);
      else queue.shift();
      // Lines that were dropped while the reader was slow are reported as soon as he takes text again.
      if (queue.length === 0 && lost > 0) add('');
    },
    drop,
    dropAll(errno) {
      for (const { data, reportedLines, noticeBytes } of queue) {
        drop(reportedLines + linesIn(data.subarray(noticeBytes)), errno);
      }
      // A line of which only the end is missing was sent.
      const [first] = queue;
      if (first?.noticeBytes === 0 && first.data[0] === NEWLINE && !atLineStart) lost -= 1;
      isCut = !atLineStart;
      queue = [];
      queuedBytes = 0;
    },
  };
}

function restOf({ data, reportedLines, noticeBytes }: Entry, sentBytes: number): Entry {
  const noticeLeft = Math.max(0, noticeBytes - sentBytes);
  const isReported = noticeLeft <= 1;
  return {
    data: data.subarray(sentBytes),
    reportedLines: isReported ? 0 : reportedLines,
    noticeBytes: noticeLeft,
  };
}

function linesIn(data: Uint8Array): number {
  return data.reduce((lines, byte) => (byte === NEWLINE ? lines + 1 : lines), 0);
}
