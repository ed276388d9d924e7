import type { GpioBackend, InputLine, Level, LineRef, OutputLine } from '../ports.ts';
import { madeOnce } from '../waiting.ts';
import { lineClosed } from './errors.ts';
import { createSysfs, findLine, isGone, type Sysfs, type SysfsOptions } from './line.ts';
import { locateLines } from './places.ts';

/**
 * Lines for somebody who only looks. An exported line is read as the kernel shows it: it is neither opened for
 * writing nor set up, so no right to do that is needed, and the driver is not loaded. A line that is not exported cannot be
 * read so: the driver takes it. Driving or watching throws RangeError.
 * @param driverOn makes the driver, when the first line needs it
 */
export function createLooks(
  options: SysfsOptions,
  driverOn: (sysfs: Sysfs) => Promise<GpioBackend>,
): GpioBackend {
  const sysfs = createSysfs(options);
  const driver = madeOnce(() => driverOn(sysfs));
  // Who looks is done before a chip comes or goes.
  let chips: ReturnType<Sysfs['chips']> | undefined;
  const once: Sysfs = {
    ...sysfs,
    chips: () => {
      chips ??= sysfs.chips();
      return chips;
    },
  };
  return {
    locate: (refs) => locateLines(refs, once),
    openOutput: (ref) => openLook(ref, once, async () => (await driver()).openOutput(ref)),
    openInput: (ref) => openLook(ref, once, async () => (await driver()).openInput(ref)),
    release: refuse,
  };
}

function refuse(): never {
  throw new RangeError('the lines were asked for to look at them only');
}

async function openLook(
  ref: LineRef,
  sysfs: Sysfs,
  take: () => Promise<InputLine | OutputLine>,
): Promise<InputLine & OutputLine> {
  const line = findLine(sysfs, ref);
  let taken = line.exists() ? null : await take();
  let isOpen = true;
  const read = async (): Promise<Level> => {
    if (taken !== null) return taken.read();
    try {
      return await line.readPin();
    } catch (error) {
      if (!isGone(error)) throw error;
    }
    // Another program has given it back since.
    taken = await take();
    return taken.read();
  };
  return {
    async read() {
      if (!isOpen) throw lineClosed(line.text, line.details);
      return read();
    },
    write: refuse,
    onEdge: refuse,
    async close() {
      isOpen = false;
      await taken?.close();
    },
  };
}
