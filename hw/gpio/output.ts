import { errnoCode, HardwareError, systemFailure } from '../errors.ts';
import type { Level, LineRef, OutputLine } from '../ports.ts';
import { pause } from '../waiting.ts';
import { claimLine, waitForAccess } from './claim.ts';
import { lineClosed, notFollowed, wordOf } from './errors.ts';
import type { KeptLines } from './kept.ts';
import type { OnoffHandle, OnoffHandleClass } from './library.ts';
import { isGone, type Sysfs, type SysfsLine } from './line.ts';
import { readSeen } from './watches.ts';

/** A filtered net (100 nF behind 1 kOhm) follows within 0.5 ms, so the read-back is repeated once after this time. */
const FOLLOW_MS = 1;

/** A line as it was taken for driving. Another program may give it back at any time; it is taken anew then. */
interface TakenOutput {
  readonly line: SysfsLine;
  /** Undefined where the line has no direction file. */
  readonly direction: 'in' | 'out' | undefined;
  /** Undefined as long as the line is an input. */
  handle: OnoffHandle | undefined;
}

export async function openOutput(
  ref: LineRef,
  sysfs: Sysfs,
  lines: KeptLines,
  Gpio: OnoffHandleClass,
): Promise<OutputLine> {
  let taken = await takeOutput(ref, sysfs, lines, Gpio);
  const { line } = taken;
  const kept = lines.of(line);

  const retake = async (): Promise<void> => {
    taken = await takeOutput(ref, sysfs, lines, Gpio);
  };
  /** Runs `run`. Where the line was given back, takes the line anew and runs it once more. */
  const onTaken = async <T>(run: (now: TakenOutput) => Promise<T>): Promise<T> => {
    try {
      return await run(taken);
    } catch (error) {
      if (!isGone(error)) throw error;
    }
    await kept.takeAlone(retake);
    return run(taken);
  };
  const readLevel = () => readSeen(kept.watches, () => onTaken(readTaken));
  const driveAndCheck = async (level: Level): Promise<void> => {
    await line.attempt('driven', () => onTaken((now) => drive(now, level, sysfs, lines, Gpio)));
    kept.watches.followBy('polling');
    const readBack = () => line.attempt('read back', readLevel);
    if ((await readBack()) === level) return;
    await pause(sysfs.clock, FOLLOW_MS);
    if ((await readBack()) === level) return;
    throw notFollowed(line.text, level, line.details);
  };

  kept.openings += 1;
  let open = true;
  const ensureOpen = () => {
    if (!open) throw lineClosed(line.text, line.details);
  };
  // Writes run one after the other, so that each reads back its own level.
  let lastWrite: Promise<unknown> = Promise.resolve();

  return {
    async read() {
      ensureOpen();
      return line.attempt('read', readLevel);
    },

    async write(level) {
      ensureOpen();
      const written = lastWrite.then(() => driveAndCheck(level));
      lastWrite = written.catch(() => undefined);
      return written;
    },

    async close() {
      if (open) kept.openings -= 1;
      open = false;
    },
  };
}

async function takeOutput(
  ref: LineRef,
  sysfs: Sysfs,
  lines: KeptLines,
  Gpio: OnoffHandleClass,
): Promise<TakenOutput> {
  const line = await claimLine(sysfs, ref);
  const direction = await line.direction();
  const present = await line.readValue();
  if (direction === 'in') {
    await waitForAccess(sysfs, line, 'direction');
    return { line, direction, handle: undefined };
  }
  // A line without a direction file cannot change its direction: the first write finds out which one it has.
  // `reconfigureDirection: false` still sets a direction that is not the wanted one: 'high' or 'low' restores the present
  // level if another program makes the line an input at this moment.
  const handle = await line.attempt('taken for driving', () =>
    lines
      .of(line)
      .handle(
        'out',
        line,
        () => new Gpio(line.number, wordOf(present), 'none', { reconfigureDirection: false }),
      ),
  );
  if (direction !== undefined && (await line.direction()) !== 'out') {
    throw new HardwareError(
      'GPIO_FAILED',
      `GPIO ${line.text} was turned into an input while it was opened: another program uses it`,
      line.details,
    );
  }
  return { line, direction, handle };
}

async function readTaken({ line, handle }: TakenOutput): Promise<Level> {
  return handle === undefined ? line.readValue() : line.ask(() => handle.read());
}

/** Drives the line, and makes it an output directly at `level` where it is none. */
async function drive(
  taken: TakenOutput,
  level: Level,
  sysfs: Sysfs,
  lines: KeptLines,
  Gpio: OnoffHandleClass,
): Promise<void> {
  const { line, direction } = taken;
  const { handle } = taken;
  if (handle !== undefined) {
    try {
      await line.drive(() => handle.write(level));
      return;
    } catch (error) {
      if (errnoCode(error) !== 'EPERM') throw error;
      // The kernel refuses a write to an input: another program has changed the direction, or the line has none.
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
  // Fails at once where the line is gone: the steps below would wait for its files.
  await line.ask(() => sysfs.files.readAttribute(`${line.folder}/value`));
  // A line that still watches for edges refuses to become an output (EIO).
  if (((await line.readOptional('edge')) ?? 'none') !== 'none') await line.writeFile('edge', 'none');
  await waitForAccess(sysfs, line, 'value');
  const made = await lines.of(line).handle('out', line, () => new Gpio(line.number, wordOf(level), 'none'));
  taken.handle = made;
  // onoff ignores that an exported line refuses its direction; setting it once more gives the error.
  if (made.direction() !== 'out') made.setDirection(wordOf(level));
  // A kept handle of an earlier opening has not set the level.
  else if ((await line.ask(() => made.read())) !== level) await line.drive(() => made.write(level));
}
