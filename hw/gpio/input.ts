import type { InputLine, Level, LineRef } from '../ports.ts';
import { lineClosed } from './errors.ts';
import type { KeptLine, KeptLines } from './kept.ts';
import type { OnoffGpioClass } from './library.ts';
import { claimLine, endInversion, isGone, type Sysfs, type SysfsLine, waitForAccess } from './line.ts';
import { type EdgeSource, type LineWatches, readSeen } from './watches.ts';

/** Where a watcher does not say how soon he wants to know: shorter than any settle time of a rail. */
const LOOK_MS = 10;
/**
 * Where a watcher does not say how late a change may become known whose interrupt got lost. A loss of pgood is then acted
 * on a second late; it costs three small files for each line and second.
 */
const CHECK_MS = 1_000;

/** A line as it was taken for reading. Another program may give it back any time, and it is taken anew then. */
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
  Gpio: OnoffGpioClass,
): Promise<InputLine> {
  let taken = await takeInput(ref, sysfs, lines, Gpio);
  const kept = lines.of(taken.line);
  const { watches } = kept;
  watches.toldBy(taken.edges ?? 'looks');

  const retake = async (): Promise<void> => {
    try {
      taken = await takeInput(ref, sysfs, lines, Gpio);
    } catch (error) {
      watches.toldBy('gone');
      throw error;
    }
    watches.toldBy(taken.edges ?? 'looks');
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
    (wake, lookMs, checkMs) => watches.watch({ wake, read: readTaken, check, lookMs, checkMs }),
  );
}

/** The face of an opening: what a close ends. */
function inputLine(
  kept: KeptLine,
  line: () => SysfsLine,
  read: () => Promise<Level>,
  watch: (wake: () => void, lookMs: number, checkMs: number) => () => void,
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

    onEdge(wake, { lookMs = LOOK_MS, checkMs = CHECK_MS } = {}) {
      ensureOpen();
      const wakeIfOpen = () => {
        if (ends.has(end)) wake();
      };
      const stop = watch(wakeIfOpen, lookMs, checkMs);
      const end = () => {
        if (ends.delete(end)) stop();
      };
      ends.add(end);
      // What happened since he read went unseen.
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
  Gpio: OnoffGpioClass,
): Promise<TakenInput> {
  const line = await claimLine(sysfs, ref);
  // That it cannot be read is to be found now, not when somebody is woken.
  await line.readValue();
  // A line that is driven is only looked at: taking it with onoff as an input would make it one.
  if ((await line.direction()) === 'out') return { line, edges: null, read: () => line.readValue() };
  const hasEdge = (await line.readOptional('edge')) !== undefined;
  if (hasEdge) await waitForAccess(sysfs, line, 'edge');
  const handle = await line.attempt('taken for reading', () =>
    lines
      .of(line)
      .handle(
        'in',
        () => new Gpio(line.number, 'in', hasEdge ? 'both' : undefined, { reconfigureDirection: false }),
      ),
  );
  // onoff passes over an edge that an exported line refuses; the file tells what was taken.
  const edges = (await line.readOptional('edge')) === 'both' ? handle : null;
  return { line, edges, read: () => handle.read() };
}

/** Another program may have changed how a line tells of its level, or whether it does. */
async function setUpAgain(sysfs: Sysfs, { line, edges }: TakenInput, watches: LineWatches): Promise<void> {
  await endInversion(sysfs, line);
  const edge = await line.readOptional('edge');
  // Without the file the line is gone, which reading it tells.
  if (edges === null || edge === 'both' || edge === undefined) return;
  try {
    await line.writeFile('edge', 'both');
  } catch {
    // It was made an output meanwhile: it raises no interrupts, and is looked at.
    watches.toldBy('looks');
  }
}
