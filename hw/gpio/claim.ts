import { errnoCode, HardwareError, systemFailure } from '../errors.ts';
import type { LineRef } from '../ports.ts';
import { pause } from '../waiting.ts';
import { cannotBe, DEBUG_LIST, isRefusal, lineHeld, notGivenOut } from './errors.ts';
import { findLine, identityOf, type LineFile, type Sysfs, type SysfsLine } from './line.ts';
import type { SysfsFiles } from './sysfs.ts';

/** Somewhat arbitrary: udev takes some 10 ms on a Raspberry Pi, a BMC that boots is slower. */
const ACCESS_DEADLINE_MS = 1_000;
const ACCESS_RETRY_MS = 10;

/** Prepares a line for onoff: it is exported, accessible and not inverted. */
export async function claimLine(sysfs: Sysfs, ref: LineRef): Promise<SysfsLine> {
  const line = findLine(sysfs, ref);
  if (!line.exists()) await exportLine(sysfs, line);
  await waitForAccess(sysfs, line, 'value');
  await endInversion(sysfs, line);
  return line;
}

/** `active_low` is sticky on an exported line, whoever set it. Clearing it moves no pin: it only ends the inversion. */
export async function endInversion(sysfs: Sysfs, line: SysfsLine): Promise<void> {
  if ((await line.readOptional('active_low')) !== '1') return;
  await waitForAccess(sysfs, line, 'active_low');
  await line.writeFile('active_low', '0');
  if ((await line.readOptional('active_low')) !== '0') {
    throw new HardwareError('GPIO_FAILED', `GPIO ${line.text} stays inverted (active_low)`, line.details);
  }
}

/** Exports the line without touching its direction. onoff would export it too, but then configures what it has exported. */
async function exportLine({ root, files, exports }: Sysfs, line: SysfsLine): Promise<void> {
  const { number, text, details, folder } = line;
  try {
    await line.ask(() => files.write(`${root}/export`, String(number)));
    exports.add(number, identityOf(files, folder));
  } catch (error) {
    if (error instanceof HardwareError) throw error;
    const code = errnoCode(error);
    if (code === 'EBUSY') {
      // Another process of this program may have exported it in between.
      if (line.exists()) return;
      throw lineHeld(error, text, await consumerOf(files, number), details);
    }
    // EINVAL: no such number. ENXIO: the firmware keeps the line for itself (gpio-reserved-ranges).
    if (code === 'EINVAL' || code === 'ENXIO') throw notGivenOut(error, text, details);
    if (code === 'ENOENT') {
      throw systemFailure(
        error,
        'GPIO_UNAVAILABLE',
        `there is no ${root}/export: check that the kernel has CONFIG_GPIO_SYSFS (from 6.17 on CONFIG_GPIO_SYSFS_LEGACY as well)`,
        details,
      );
    }
    if (isRefusal(error)) {
      throw systemFailure(
        error,
        'GPIO_PERMISSION',
        `no right to write ${root}/export for GPIO ${text}: run as root or join the group that owns it, and check that it is not mounted read-only`,
        details,
      );
    }
    throw cannotBe(error, text, 'exported', details);
  }
}

/** The consumer of a line, from a row of the kernel: "gpio-529 (name |consumer ) out hi". */
async function consumerOf(files: SysfsFiles, number: number): Promise<string | undefined> {
  try {
    const list = await files.read(DEBUG_LIST);
    return new RegExp(`^ *gpio-${number} +\\([^|]*\\|([^)]*)\\)`, 'm').exec(list)?.[1]?.trim() || undefined;
  } catch {
    // The consumer is only a hint for people, and only root may read the file.
    return undefined;
  }
}

/**
 * Waits until one of the line's files can be opened for writing: udev gives the rights some time after the export, and
 * onoff itself would try 10,000 times without a pause. A line without that file, `value` excepted, needs no access to it.
 */
export async function waitForAccess(sysfs: Sysfs, line: SysfsLine, file: LineFile): Promise<void> {
  const { files, clock } = sysfs;
  const { text, details } = line;
  const path = `${line.folder}/${file}`;
  const deadlineMs = clock.nowMs() + ACCESS_DEADLINE_MS;
  for (;;) {
    try {
      files.tryOpen(path);
      return;
    } catch (error) {
      const absent = errnoCode(error) === 'ENOENT';
      if (absent && file !== 'value') return;
      if (!absent && !isRefusal(error)) throw cannotBe(error, text, `opened (${file})`, details);
      if (clock.nowMs() >= deadlineMs) {
        throw absent
          ? systemFailure(
              error,
              'GPIO_FAILED',
              `GPIO ${text} was exported but ${path} did not appear: its driver exports lines under their names, which onoff cannot use`,
              details,
            )
          : systemFailure(
              error,
              'GPIO_PERMISSION',
              `no right to open ${path} for GPIO ${text}: run as root or check the udev rule for the group gpio`,
              { ...details, path },
            );
      }
    }
    await pause(clock, ACCESS_RETRY_MS);
  }
}
