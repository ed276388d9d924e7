import { basename, dirname } from 'node:path';
import { errnoCode, HardwareError } from '../errors.ts';
import type { SensorRef } from '../ports.ts';
import { cannotLook, manyChips, noChip, noInput } from './errors.ts';
import type { SensorFiles } from './files.ts';

/** Where the kernel shows the chips of each class. */
export interface SensorRoots {
  /** `/sys/class/hwmon` */
  readonly hwmon: string;
  /** `/sys/bus/iio/devices` */
  readonly iio: string;
}

/** An input as it is found in this boot. */
export interface FoundInput {
  /** Its files begin with this: `…/hwmon2/in3`, `…/iio:device0/in_voltage3`. No other chip ever has this path. */
  readonly prefix: string;
  /** The same of what all voltages of the chip share: `…/iio:device0/in_voltage`. */
  readonly shared: string;
}

interface Chip {
  /** Without links in it: the number of a chip may be that of another one later, its path may not. */
  readonly folder: string;
  readonly name: string;
  /** Path of its device; null for one that is of none, as a thermal zone. */
  readonly device: string | null;
  /** Path of its node in the device tree. */
  readonly node: string | null;
  /** Name of the I2C adapter that its device is on; null where it is on none. */
  adapter(): string | null;
}

/**
 * The folders of a class, and the files of a voltage in them: `in3_input` (Documentation/hwmon/sysfs-interface.rst),
 * `in_voltage3_raw` or, already scaled, `in_voltage3_input` (Documentation/ABI/testing/sysfs-bus-iio).
 */
const CLASSES = {
  hwmon: { folder: /^hwmon\d+$/, input: /^(in\d+)_input$/, begins: '' },
  iio: {
    folder: /^iio:device\d+$/,
    input: /^in_(voltage\d+(?:-voltage\d+)?)_(?:raw|input)$/,
    begins: 'in_',
  },
} as const;

/**
 * Finds an input below the class's folder.
 * @throws HardwareError `SENSOR_NO_CHIP`, `SENSOR_NO_INPUT` or `SENSOR_FAILED`
 */
export function findInput(sensor: SensorRef, roots: SensorRoots, files: SensorFiles): FoundInput {
  const { begins, input } = CLASSES[sensor.by];
  try {
    const { folder } = findChip(sensor, roots, files);
    const channels = new Set(files.list(folder).flatMap((file) => input.exec(file)?.[1] ?? []));
    const found = (channel: string): FoundInput => ({
      prefix: `${folder}/${begins}${channel}`,
      shared: `${folder}/${begins}voltage`,
    });
    if (channels.has(sensor.input)) return found(sensor.input);
    const labels = [...channels].map((channel) => ({
      channel,
      label: textOrNothing(files, `${folder}/${begins}${channel}_label`),
    }));
    const [only, another] = labels.filter(({ label }) => label === sensor.input);
    if (only !== undefined && another === undefined) return found(only.channel);
    throw noInput(
      sensor,
      labels.flatMap(({ channel, label }) => (label === null ? [channel] : [channel, label])),
    );
  } catch (error) {
    if (error instanceof HardwareError) throw error;
    throw cannotLook(error, sensor);
  }
}

function findChip(sensor: SensorRef, roots: SensorRoots, files: SensorFiles): Chip {
  const all = chipsOf(sensor.by, roots[sensor.by], files);
  const matching = chipsMeant(sensor.chip, all);
  const [chip] = matching;
  if (chip === undefined) throw noChip(sensor, listing(all), namesOf(all));
  if (matching.length > 1) throw manyChips(sensor, matching.length, listing(matching), pathsOf(matching));
  return chip;
}

function chipsOf(by: SensorRef['by'], root: string, files: SensorFiles): Chip[] {
  const folders = orNothing(() => files.list(root)) ?? [];
  return folders
    .filter((folder) => CLASSES[by].folder.test(folder))
    .sort((one, other) => one.localeCompare(other, 'en', { numeric: true }))
    .flatMap((entry) => {
      const folder = orNothing(() => files.realPath(`${root}/${entry}`));
      const name = folder === null ? null : textOrNothing(files, `${folder}/name`);
      // It went away during the reading.
      if (folder === null || name === null) return [];
      // A device of IIO is below that of its driver; one of hwmon has a link to it.
      const device = by === 'iio' ? dirname(folder) : orNothing(() => files.realPath(`${folder}/device`));
      const node = orNothing(() => files.realPath(`${folder}/of_node`));
      const ofDevice = device === null ? null : orNothing(() => files.realPath(`${device}/of_node`));
      return [
        {
          folder,
          name,
          device,
          node: (node ?? ofDevice)?.replace(/^.*\/devicetree\/base(?=\/)/, '') ?? null,
          adapter: () => (device === null ? null : textOrNothing(files, `${dirname(device)}/name`)),
        },
      ];
    });
}

/** Names count before those of devices, so that a name means what it meant; a path begins with a slash, as no name does. */
function chipsMeant(wanted: SensorRef['chip'], chips: readonly Chip[]): readonly Chip[] {
  if (typeof wanted !== 'string') return chips.filter((chip) => isAt(wanted, chip));
  const path = wanted.replace(/^\/sys(?=\/devices\/)/, '');
  if (wanted.startsWith('/')) {
    return chips.filter(
      ({ device, node }) => node === wanted || device?.replace(/^.*\/sys(?=\/devices\/)/, '') === path,
    );
  }
  const named = chips.filter(({ name }) => name === wanted);
  return named.length > 0
    ? named
    : chips.filter(({ device }) => device !== null && basename(device) === wanted);
}

/** An I2C device is named by its adapter's number and its address, `3-0060` (drivers/i2c/i2c-core-base.c, i2c_dev_set_name). */
function isAt(
  { bus, address }: { readonly bus: number | string; readonly address: number },
  chip: Chip,
): boolean {
  if (chip.device === null) return false;
  const found = /^(\d+)-([0-9a-f]{4})$/.exec(basename(chip.device));
  if (found === null || Number.parseInt(found[2] ?? '', 16) !== address) return false;
  return typeof bus === 'number' ? Number(found[1]) === bus : chip.adapter() === bus;
}

function namesOf(chips: readonly Chip[]): readonly string[] {
  return [...new Set([...chips.map(({ name }) => name), ...pathsOf(chips)])];
}

function pathsOf(chips: readonly Chip[]): readonly string[] {
  return chips.flatMap(({ device, node }) =>
    [device === null ? null : basename(device), node, device].filter((each) => each !== null),
  );
}

function listing(chips: readonly Chip[]): string {
  if (chips.length === 0) return 'there is none at all';
  const texts = chips.map(({ name, device, node, folder }) => {
    const places = [basename(folder), device, node].filter((each) => each !== null);
    return `"${name}" (${places.join(', ')})`;
  });
  return `there is ${texts.join(', ')}`;
}

function textOrNothing(files: SensorFiles, path: string): string | null {
  return orNothing(() => files.readKnown(path))?.trim() ?? null;
}

/** Null for what is not there, or went away. */
function orNothing<T>(look: () => T): T | null {
  try {
    return look();
  } catch (error) {
    if (['ENOENT', 'ENOTDIR', 'ENODEV'].includes(errnoCode(error) ?? '')) return null;
    throw error;
  }
}
