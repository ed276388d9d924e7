import { errnoCode, HardwareError } from '../errors.ts';
import { lineLabel, lineOffset } from '../lines.ts';
import type { LineRef } from '../ports.ts';
import { noChip, noLineName, noOffset } from './errors.ts';
import type { SysfsFiles } from './sysfs.ts';

/** The place of a line on this machine, in this boot. */
export interface ResolvedLine {
  /** Global number of sysfs: base of the chip plus offset. */
  readonly number: number;
  readonly chip: string;
  readonly offset: number;
}

interface Chip {
  /** Folder below `/sys/class/gpio`, `gpiochip<base>`. */
  readonly folder: string;
  readonly label: string;
  readonly base: number;
  readonly lineCount: number;
}

type ChipLineRef = Extract<LineRef, { readonly chip: string }>;
type NamedLineRef = Extract<LineRef, { readonly name: string }>;

/**
 * Finds the sysfs number of a line. Rejects `GPIO_NO_CHIP` or `GPIO_NO_LINE`; the message lists the existing ones.
 */
export async function resolveLine(root: string, files: SysfsFiles, line: LineRef): Promise<ResolvedLine> {
  const [found] = await resolveLines(root, files, [line]);
  if (found === undefined || found instanceof HardwareError) throw found;
  return found;
}

/** `resolveLine` for many lines, which reads the chips once. A line that does not exist has its error in its place. */
export async function resolveLines(
  root: string,
  files: SysfsFiles,
  lines: readonly LineRef[],
): Promise<(ResolvedLine | HardwareError)[]> {
  const chips = await readChips(root, files);
  const named = lines.some((line) => 'name' in line) ? await readNames(root, files, chips) : [];
  return lines.map((line) => {
    try {
      return 'name' in line ? resolveByName(named, line) : resolveByOffset(chips, line);
    } catch (error) {
      if (error instanceof HardwareError) return error;
      throw error;
    }
  });
}

async function readChips(root: string, files: SysfsFiles): Promise<Chip[]> {
  const folders = (await files.list(root)).filter((entry) => /^gpiochip\d+$/.test(entry));
  const chips: Chip[] = [];
  for (const folder of folders) {
    try {
      const [label, base, lineCount] = await Promise.all(
        ['label', 'base', 'ngpio'].map(async (file) =>
          (await files.read(`${root}/${folder}/${file}`)).trim(),
        ),
      );
      chips.push({ folder, label: label ?? '', base: Number(base), lineCount: Number(lineCount) });
    } catch (error) {
      // The chip went away during the reading (an unbound driver, an unplugged adapter).
      if (errnoCode(error) !== 'ENOENT' && errnoCode(error) !== 'ENODEV') throw error;
    }
  }
  return chips.sort((one, other) => one.base - other.base);
}

function listing(chips: readonly Chip[]): string {
  if (chips.length === 0) return 'there is no GPIO chip at all';
  const texts = chips.map((chip) => `"${chip.label}" (${chip.lineCount} lines, ${chip.folder})`);
  return `there is ${texts.join(', ')}`;
}

function resolveByOffset(chips: readonly Chip[], line: ChipLineRef): ResolvedLine {
  const matching = chips.filter((chip) => chip.label === line.chip);
  const [chip] = matching;
  if (chip === undefined) {
    throw noChip(
      line.chip,
      listing(chips),
      chips.map((each) => each.label),
    );
  }
  if (matching.length > 1) {
    throw new HardwareError(
      'GPIO_NO_CHIP',
      `${matching.length} GPIO chips have the label "${line.chip}", name the line by its device-tree name instead: ${listing(matching)}`,
      { chip: line.chip, labels: chips.map((each) => each.label) },
    );
  }

  const offset = lineOffset(line.line);
  if (offset === undefined || !Number.isInteger(offset) || offset < 0) {
    throw noOffset(line);
  }
  if (offset >= chip.lineCount) {
    throw new HardwareError(
      'GPIO_NO_LINE',
      `line ${line.line} is offset ${offset}, but "${line.chip}" has only ${chip.lineCount} lines`,
      { line: lineLabel(line), offset, lineCount: chip.lineCount },
    );
  }
  return { number: chip.base + offset, chip: chip.label, offset };
}

interface NamedLine extends ResolvedLine {
  readonly name: string;
}

/** All lines that have a name. */
async function readNames(root: string, files: SysfsFiles, chips: readonly Chip[]): Promise<NamedLine[]> {
  const named: NamedLine[] = [];
  for (const chip of chips) {
    const names = (await readLineNames(root, files, chip)).slice(0, chip.lineCount);
    for (const [offset, name] of names.entries()) {
      if (name !== '') named.push({ name, number: chip.base + offset, chip: chip.label, offset });
    }
  }
  return named;
}

function resolveByName(named: readonly NamedLine[], line: NamedLineRef): ResolvedLine {
  const found = named.filter(({ name }) => name === line.name);
  const [only] = found;
  if (only === undefined) {
    throw noLineName(
      line.name,
      named.map(({ name }) => name),
    );
  }
  if (found.length > 1) {
    const places = found.map((each) => `${each.chip} ${each.offset}`);
    throw new HardwareError(
      'GPIO_NO_LINE',
      `${found.length} GPIO lines have the name "${line.name}" (${places.join(', ')}), name the line by chip label and offset instead`,
      { line: lineLabel(line), places },
    );
  }
  return { number: only.number, chip: only.chip, offset: only.offset };
}

/**
 * Names of a chip's lines in the order of their offsets, from the device tree (property
 * `gpio-line-names`, strings that each end with NUL; the kernel's
 * Documentation/devicetree/bindings/gpio/gpio.txt). Empty where there are none.
 */
async function readLineNames(root: string, files: SysfsFiles, chip: Chip): Promise<string[]> {
  const device = `${root}/${chip.folder}/device`;
  const nodes = [`${device}/of_node`, `${root}/${chip.folder}/of_node`];
  // Each bank of a device has a node of its own, below its own character device. Nothing here shows which bank the chip
  // is, so only a single bank is used.
  const banks = (await listOrNothing(files, device)).filter((entry) => /^gpiochip\d+$/.test(entry));
  if (banks.length === 1) nodes.push(`${device}/${banks[0]}/of_node`);

  for (const node of nodes) {
    const text = await readOrNothing(files, `${node}/gpio-line-names`);
    if (text !== undefined) return text.replace(/\0$/, '').split('\0');
  }
  return [];
}

async function listOrNothing(files: SysfsFiles, folder: string): Promise<string[]> {
  try {
    return await files.list(folder);
  } catch (error) {
    if (isAbsent(error)) return [];
    throw error;
  }
}

async function readOrNothing(files: SysfsFiles, path: string): Promise<string | undefined> {
  try {
    return await files.read(path);
  } catch (error) {
    if (isAbsent(error)) return undefined;
    throw error;
  }
}

function isAbsent(error: unknown): boolean {
  return errnoCode(error) === 'ENOENT' || errnoCode(error) === 'ENOTDIR';
}
