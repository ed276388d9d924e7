import { errnoCode, HardwareError, systemFailure } from '../errors.ts';
import { lineLabel } from '../lines.ts';
import type { Clock, Level, LineRef } from '../ports.ts';
import { cannotBe } from './errors.ts';
import { type ExportRecord, noExportRecord } from './exports.ts';
import { type Chips, createChips, type ResolvedLine, resolveLine } from './resolve.ts';
import { type SysfsFiles, sysfsFiles } from './sysfs.ts';
import { type AccessedLine, type ChipTurns, createTurns } from './turns.ts';

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

export interface SysfsOptions {
  readonly clock: Clock;
  /** Where the kernel's GPIO folder is. */
  readonly sysfsRoot?: string;
  readonly files?: SysfsFiles;
  /** Remembers the lines that this program has exported. Without it nothing is remembered. */
  readonly exports?: ExportRecord;
}

/** Where it is on a real machine. Fixed in onoff's source (`GPIO_ROOT_PATH`). */
export const GPIO_ROOT = '/sys/class/gpio';

export function createSysfs({
  clock,
  sysfsRoot: root = GPIO_ROOT,
  files = sysfsFiles,
  exports = noExportRecord,
}: SysfsOptions): Sysfs {
  return { root, files, chips: createChips(root, files), clock, exports, turnsOf: createTurns(clock) };
}

export type LineFile = 'value' | 'direction' | 'active_low' | 'edge';

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
  /** The level at the pin: what the file shows, without an inversion that somebody has set up. In one turn. */
  readPin(): Promise<Level>;
  direction(): Promise<'in' | 'out' | undefined>;
  writeFile(file: LineFile, value: string): Promise<void>;
}

/** The folder of a line that is exported, or will be. Throws a HardwareError where there is no such line. */
export function findLine(sysfs: Sysfs, ref: LineRef): SysfsLine {
  return lineAt(sysfs, ref, lookUp(sysfs, ref));
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
    async readPin() {
      const read = () => files.readAttribute(`${folder}/value`);
      const isInverted = async (): Promise<boolean> => {
        try {
          return (await files.readAttribute(`${folder}/active_low`)).trim() === '1';
        } catch (error) {
          if (errnoCode(error) !== 'ENOENT') throw error;
          return false;
        }
      };
      // One after the other: of a chip that hangs both would wait, each in a thread.
      const pin = async () => ((await isInverted()) ? '0' : '1') === (await read()).trim();
      return (await attempt('read', () => ask(pin))) ? 1 : 0;
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

/** Whether the files of a line are gone: another program gave the line back. */
export function isGone(error: unknown): boolean {
  const errno = error instanceof HardwareError ? error.details.errno : errnoCode(error);
  return errno === 'ENODEV' || errno === 'ENOENT';
}
