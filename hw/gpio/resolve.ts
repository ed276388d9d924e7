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
  /** What does not follow the order in which chips are found. Looked for when it is first asked for. */
  paths(): ChipPaths;
  /** Of its lines, in the order of their offsets. The kernel takes them when the chip comes, and no later. */
  names(): readonly string[];
}

/** Where a chip is; null for what it does not have. */
interface ChipPaths {
  /** Path of its device: `/sys/devices/platform/ahb/1e780000.gpio`. */
  readonly device: string | null;
  /** Path of its node in the device tree: `/ahb/apb/gpio@1e780000`. */
  readonly node: string | null;
}

/** The chips of the machine, in the order of their bases. */
export type Chips = () => readonly Chip[];

type ChipLineRef = Extract<LineRef, { readonly chip: string }>;
type NamedLineRef = Extract<LineRef, { readonly name: string }>;

/**
 * Finds the sysfs number of a line.
 * @throws HardwareError `GPIO_NO_CHIP` or `GPIO_NO_LINE`, whose message lists the existing ones; the error of the file system
 */
export function resolveLine(chips: Chips, line: LineRef): ResolvedLine {
  const present = chips();
  return 'name' in line ? resolveByName(present, line) : resolveByOffset(present, line);
}

/** `resolveLine` for many lines. A line that does not exist has its error in its place. */
export function resolveLines(chips: Chips, lines: readonly LineRef[]): (ResolvedLine | HardwareError)[] {
  const present = chips();
  return lines.map((line) => {
    try {
      return resolveLine(() => present, line);
    } catch (error) {
      if (error instanceof HardwareError) return error;
      throw error;
    }
  });
}

/**
 * The chips below `root`, which are looked for each time. What a chip tells of itself never changes, so it is read once,
 * and again for another chip in its place.
 */
export function createChips(root: string, files: SysfsFiles): Chips {
  let known = new Map<string, Chip>();
  return () => {
    const present = new Map<string, Chip>();
    for (const folder of files.list(root)) {
      if (!/^gpiochip\d+$/.test(folder)) continue;
      try {
        const identity = `${folder} ${files.identity(`${root}/${folder}`)}`;
        present.set(identity, known.get(identity) ?? readChip(root, folder, files));
      } catch (error) {
        // The chip went away during the reading (an unbound driver, an unplugged adapter).
        if (errnoCode(error) !== 'ENOENT' && errnoCode(error) !== 'ENODEV') throw error;
      }
    }
    known = present;
    return [...present.values()].sort((one, other) => one.base - other.base);
  };
}

function readChip(root: string, folder: string, files: SysfsFiles): Chip {
  const tell = (file: string): string => files.readKnown(`${root}/${folder}/${file}`).trim();
  const lineCount = Number(tell('ngpio'));
  let names: readonly string[] | undefined;
  let paths: ChipPaths | undefined;
  return {
    folder,
    label: tell('label'),
    base: Number(tell('base')),
    lineCount,
    paths() {
      paths ??= readPaths(`${root}/${folder}`, files);
      return paths;
    },
    names() {
      names ??= readLineNames(root, files, folder).slice(0, lineCount);
      return names;
    },
  };
}

/** Where its device and its node are. The tree of the firmware is below `/sys/firmware/devicetree/base`. */
function readPaths(folder: string, files: SysfsFiles): ChipPaths {
  const nodeOf = (path: string | null) => path?.replace(/^.*\/devicetree\/base(?=\/)/, '') ?? null;
  return {
    device: realPathOrNothing(files, `${folder}/device`),
    node:
      nodeOf(realPathOrNothing(files, `${folder}/device/of_node`)) ??
      nodeOf(realPathOrNothing(files, `${folder}/of_node`)),
  };
}

/**
 * The chips that a board file means. A label counts before the name of a device, so that a label means what it meant; a path
 * begins with a slash, as no label does.
 */
function chipsNamed(name: string, chips: readonly Chip[]): readonly Chip[] {
  const path = name.replace(/^\/sys(?=\/devices\/)/, '');
  if (name.startsWith('/')) {
    return chips.filter((chip) => {
      const { device, node } = chip.paths();
      return node === name || device?.replace(/^\/sys(?=\/devices\/)/, '') === path;
    });
  }
  const labelled = chips.filter((chip) => chip.label === name);
  return labelled.length > 0 ? labelled : chips.filter((chip) => deviceName(chip) === name);
}

/** The name of a chip's device, such as `4804c000.gpio`. */
function deviceName(chip: Chip): string | null {
  return chip.paths().device?.replace(/^.*\//, '') ?? null;
}

/** All names that a board file may call the chips by. */
function namesOf(chips: readonly Chip[]): readonly string[] {
  const names = chips.flatMap((chip) => [
    chip.label,
    deviceName(chip),
    chip.paths().node,
    chip.paths().device,
  ]);
  return [...new Set(names.filter((name) => name !== null))];
}

function listing(chips: readonly Chip[]): string {
  if (chips.length === 0) return 'there is no GPIO chip at all';
  const texts = chips.map((chip) => {
    const { device, node } = chip.paths();
    return `"${chip.label}" (${[`${chip.lineCount} lines`, chip.folder, device, node].filter((each) => each !== null).join(', ')})`;
  });
  return `there is ${texts.join(', ')}`;
}

function resolveByOffset(chips: readonly Chip[], line: ChipLineRef): ResolvedLine {
  const matching = chipsNamed(line.chip, chips);
  const [chip] = matching;
  if (chip === undefined) throw noChip(line.chip, listing(chips), namesOf(chips));
  if (matching.length > 1) {
    throw new HardwareError(
      'GPIO_NO_CHIP',
      `${matching.length} GPIO chips have the label or path "${line.chip}", name the chip by its own path or the line by its device-tree name instead: ${listing(matching)}`,
      { chip: line.chip, labels: namesOf(matching).filter((name) => name !== line.chip) },
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
function namedLines(chips: readonly Chip[]): NamedLine[] {
  return chips.flatMap((chip) =>
    chip
      .names()
      .flatMap((name, offset) =>
        name === '' ? [] : [{ name, number: chip.base + offset, chip: chip.label, offset }],
      ),
  );
}

function resolveByName(chips: readonly Chip[], line: NamedLineRef): ResolvedLine {
  const named = namedLines(chips);
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
function readLineNames(root: string, files: SysfsFiles, folder: string): string[] {
  const device = `${root}/${folder}/device`;
  const nodes = [`${device}/of_node`, `${root}/${folder}/of_node`];
  // Each bank of a device has a node of its own, below its own character device. Nothing here shows which bank the chip
  // is, so only a single bank is used.
  const banks = listOrNothing(files, device).filter((entry) => /^gpiochip\d+$/.test(entry));
  if (banks.length === 1) nodes.push(`${device}/${banks[0]}/of_node`);

  for (const node of nodes) {
    const text = readOrNothing(files, `${node}/gpio-line-names`);
    if (text !== undefined) return text.replace(/\0$/, '').split('\0');
  }
  return [];
}

function listOrNothing(files: SysfsFiles, folder: string): string[] {
  try {
    return files.list(folder);
  } catch (error) {
    if (isAbsent(error)) return [];
    throw error;
  }
}

function readOrNothing(files: SysfsFiles, path: string): string | undefined {
  try {
    return files.readKnown(path);
  } catch (error) {
    if (isAbsent(error)) return undefined;
    throw error;
  }
}

function realPathOrNothing(files: SysfsFiles, path: string): string | null {
  try {
    return files.realPath(path);
  } catch (error) {
    if (isAbsent(error)) return null;
    throw error;
  }
}

function isAbsent(error: unknown): boolean {
  return errnoCode(error) === 'ENOENT' || errnoCode(error) === 'ENOTDIR';
}
