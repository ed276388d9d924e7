import type { InputLine, Level, LineRef } from '../ports.ts';
import { claimLine, endInversion, waitForAccess } from './claim.ts';
import { lineClosed } from './errors.ts';
import type { KeptLine, KeptLines } from './kept.ts';
import type { OnoffHandleClass } from './library.ts';
import { isGone, type Sysfs, type SysfsLine } from './line.ts';
import { type EdgeSource, type LineWatches, readSeen } from './watches.ts';

/** Period of polling where a watcher gives none: shorter than any settle time of a rail. */
const POLL_MS = 10;
/**
 * Period of checking a line that raises interrupts, where a watcher gives none. A loss of pgood whose interrupt got lost is
 * acted on a second late then. A check reads three small files.
 */
const CHECK_MS = 1_000;

/** A line as it was taken for reading. Another program may give it back at any time; it is taken anew then. */
interface TakenInput {
  readonly line: SysfsLine;
  /** Null where the line raises no interrupts. */
  readonly edges: EdgeSource | null;
  read(): Promise<Level>;
}

export async function openInput(
  ref: LineRef,
  sysfs: Sysfs,
  lines: KeptLines,
  Gpio: OnoffHandleClass,
): Promise<InputLine> {
  let taken = await takeInput(ref, sysfs, lines, Gpio);
  const kept = lines.of(taken.line);
  const { watches } = kept;
  watches.followBy(taken.edges ?? 'polling');

  const retake = async (): Promise<void> => {
    try {
      taken = await takeInput(ref, sysfs, lines, Gpio);
    } catch (error) {
      watches.followBy('gone');
      throw error;
    }
    watches.followBy(taken.edges ?? 'polling');
  };
  const readTaken = async (): Promise<Level> => {
    try {
      return await taken.read();
    } catch (error) {
      if (!isGone(error)) throw error;
    }
    await kept.takeAlone(retake);
    return taken.read();
  };
  const read = () => taken.line.attempt('read', () => readSeen(watches, readTaken));
  const check = async (): Promise<Level> => {
    await setUpAgain(sysfs, taken, watches);
    return readTaken();
  };
  return inputLine(
    kept,
    () => taken.line,
    read,
    (wake, pollMs, checkMs) => watches.watch({ wake, read: readTaken, check, pollMs, checkMs }),
  );
}

/** One opening of a line, and what its close ends. */
function inputLine(
  kept: KeptLine,
  line: () => SysfsLine,
  read: () => Promise<Level>,
  watch: (wake: () => void, pollMs: number, checkMs: number) => () => void,
): InputLine {
  kept.openings += 1;
  let open = true;
  const ends = new Set<() => void>();
  const ensureOpen = () => {
    if (!open) throw lineClosed(line().text, line().details);
  };

  return {
    async read() {
      ensureOpen();
      return read();
    },

    onEdge(wake, { pollMs = POLL_MS, checkMs = CHECK_MS } = {}) {
      ensureOpen();
      const wakeIfOpen = () => {
        if (ends.has(end)) wake();
      };
      const stop = watch(wakeIfOpen, pollMs, checkMs);
      const end = () => {
        if (ends.delete(end)) stop();
      };
      ends.add(end);
      // A change since the caller's last reading went unseen.
      queueMicrotask(wakeIfOpen);
      return end;
    },

    async close() {
      if (open) kept.openings -= 1;
      open = false;
      for (const end of [...ends]) end();
    },
  };
}

async function takeInput(
  ref: LineRef,
  sysfs: Sysfs,
  lines: KeptLines,
  Gpio: OnoffHandleClass,
): Promise<TakenInput> {
  const line = await claimLine(sysfs, ref);
  // A line that cannot be read is to be refused now, not when a watcher is woken.
  await line.readValue();
  // A line that is driven is polled: onoff would make it an input.
  if ((await line.direction()) === 'out') return { line, edges: null, read: () => line.readValue() };
  const hasEdge = (await line.readOptional('edge')) !== undefined;
  if (hasEdge) await waitForAccess(sysfs, line, 'edge');
  const handle = await line.attempt('taken for reading', () =>
    lines
      .of(line)
      .handle(
        'in',
        line,
        () => new Gpio(line.number, 'in', hasEdge ? 'both' : undefined, { reconfigureDirection: false }),
      ),
  );
  // onoff ignores that an exported line refuses an edge; the file shows what was accepted.
  const edges = (await line.readOptional('edge')) === 'both' ? handle : null;
  return { line, edges, read: () => line.ask(() => handle.read()) };
}

/** Restores how a line reports its level, which another program may have changed. */
async function setUpAgain(sysfs: Sysfs, { line, edges }: TakenInput, watches: LineWatches): Promise<void> {
  await endInversion(sysfs, line);
  const edge = await line.readOptional('edge');
  // A line without the file is gone, which reading it reports.
  if (edges === null || edge === 'both' || edge === undefined) return;
  try {
    await line.writeFile('edge', 'both');
  } catch {
    // The line was made an output meanwhile. It raises no interrupts, and is polled.
    watches.followBy('polling');
  }
}
