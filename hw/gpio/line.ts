import { errnoCode, HardwareError, systemFailure } from '../errors.ts';
import { lineLabel } from '../lines.ts';
import type { Clock, Level, LineRef } from '../ports.ts';
import { pause } from '../waiting.ts';
import { cannotBe, DEBUG_LIST, isRefusal, lineHeld, notGivenOut } from './errors.ts';
import type { ExportRecord } from './exports.ts';
import { type Chips, type ResolvedLine, resolveLine } from './resolve.ts';
import type { SysfsFiles } from './sysfs.ts';
import type { AccessedLine, ChipTurns } from './turns.ts';

/** The kernel's GPIO folder, with what taking a line there needs. */
export interface Sysfs {
  /** `/sys/class/gpio` on a real machine. */
  readonly root: string;
  readonly files: SysfsFiles;
  readonly chips: Chips;
  readonly clock: Clock;
  readonly exports: ExportRecord;
  /** Of the chip with this first line. */
  readonly turnsOf: (base: number) => ChipTurns;
}

type LineFile = 'value' | 'direction' | 'active_low' | 'edge';

/** The folder of one line. Everything rejects with a HardwareError that names the line. */
export interface SysfsLine extends AccessedLine {
  readonly number: number;
  readonly offset: number;
  readonly folder: string;
  /** Runs what asks the chip for something of the line, or sets it up, in its turn. */
  ask<T>(run: () => Promise<T>): Promise<T>;
  /** Runs what drives the line. */
  drive<T>(run: () => Promise<T>): Promise<T>;
  /** Runs `run`. Its error becomes a HardwareError which says that the line cannot be `what`. */
  attempt<T>(what: string, run: () => T | Promise<T>): Promise<T>;
  exists(): boolean;
  /** Content of one of its files, trimmed; undefined where the line has no such file. */
  readOptional(file: LineFile): Promise<string | undefined>;
  readValue(): Promise<Level>;
  direction(): Promise<'in' | 'out' | undefined>;
  writeFile(file: LineFile, value: string): Promise<void>;
}

/** Somewhat arbitrary: udev takes some 10 ms on a Raspberry Pi, a BMC that boots is slower. */
const ACCESS_DEADLINE_MS = 1_000;
const ACCESS_RETRY_MS = 10;

/** The folder of a line that is exported, or will be. Throws a HardwareError where there is no such line. */
export function findLine(sysfs: Sysfs, ref: LineRef): SysfsLine {
  return lineAt(sysfs, ref, lookUp(sysfs, ref));
}

/** Prepares a line for onoff: it is exported, accessible and not inverted. */
export async function claimLine(sysfs: Sysfs, ref: LineRef): Promise<SysfsLine> {
  const line = findLine(sysfs, ref);
  if (!line.exists()) await exportLine(sysfs, line);
  await waitForAccess(sysfs, line, 'value');
  await endInversion(sysfs, line);
  return line;
}

function lookUp(sysfs: Sysfs, ref: LineRef): ResolvedLine {
  try {
    return resolveLine(sysfs.chips, ref);
  } catch (error) {
    if (error instanceof HardwareError) throw error;
    checkInterface(sysfs);
    const line = lineLabel(ref);
    throw systemFailure(error, 'GPIO_FAILED', `GPIO ${line} cannot be looked up`, { line });
  }
}

export function checkInterface({ root, files }: Sysfs): void {
  try {
    files.list(root);
  } catch (error) {
    throw systemFailure(
      error,
      'GPIO_UNAVAILABLE',
      `${root} cannot be read: check that the kernel has CONFIG_GPIO_SYSFS (from 6.17 on CONFIG_GPIO_SYSFS_LEGACY as well) and that a container sees it`,
      { path: root },
    );
  }
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

function lineAt(
  { root, files, turnsOf }: Sysfs,
  ref: LineRef,
  { number, chip, offset }: ResolvedLine,
): SysfsLine {
  const text = lineLabel(ref);
  const folder = `${root}/gpio${number}`;
  const details = { line: text, chip, offset, number };
  const turns = turnsOf(number - offset);
  const ask: SysfsLine['ask'] = (run) => turns.ask({ text, details }, run);

  const attempt: SysfsLine['attempt'] = async (what, run) => {
    try {
      return await run();
    } catch (error) {
      throw error instanceof HardwareError ? error : cannotBe(error, text, what, details);
    }
  };
  const readOptional: SysfsLine['readOptional'] = async (file) => {
    try {
      return (await ask(() => files.readAttribute(`${folder}/${file}`))).trim();
    } catch (error) {
      if (errnoCode(error) === 'ENOENT') return undefined;
      throw error instanceof HardwareError ? error : cannotBe(error, text, `read (${file})`, details);
    }
  };

  return {
    number,
    offset,
    text,
    details,
    folder,
    ask,
    drive: (run) => turns.drive({ text, details }, run),
    attempt,
    readOptional,
    exists() {
      try {
        files.tryOpen(`${folder}/value`);
        return true;
      } catch (error) {
        return errnoCode(error) !== 'ENOENT';
      }
    },
    async readValue() {
      const value = await attempt('read', () => ask(() => files.readAttribute(`${folder}/value`)));
      return value.trim() === '1' ? 1 : 0;
    },
    async direction() {
      const direction = await readOptional('direction');
      return direction === 'in' || direction === 'out' ? direction : undefined;
    },
    async writeFile(file, value) {
      await attempt(`set up (${file})`, () => ask(() => files.write(`${folder}/${file}`, value)));
    },
  };
}

/** Tells an export of a line from all others; empty where the line is not exported. */
export function identityOf(files: SysfsFiles, folder: string): string {
  try {
    return files.identity(folder);
  } catch {
    // It was given back in between.
    return '';
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

/** Whether the files of a line are gone: another program gave the line back. */
export function isGone(error: unknown): boolean {
  const errno = error instanceof HardwareError ? error.details.errno : errnoCode(error);
  return errno === 'ENODEV' || errno === 'ENOENT';
}
