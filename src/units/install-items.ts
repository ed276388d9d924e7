import { readdir, readFile } from 'node:fs/promises';
import { join, posix } from 'node:path';
import { errorText } from '../../hw/errors.ts';
import { PowerError } from '../errors.ts';

/** Folders below the root, always with `/`. */
export const UNIT_DIR = 'usr/lib/systemd/system';
const TMPFILES_DIR = 'usr/lib/tmpfiles.d';
const DBUS_POLICY_DIR = 'usr/share/dbus-1/system.d';

/** Whose names the units have: those of 2017 with targets of our own, or today's beside phosphor-state-manager. */
export type Flavour = 'legacy' | 'current';

/**
 * Which target requires or wants which unit, for every chassis. These are links and not lines in the unit files, so
 * that a target can be started for a chassis that has no stages of ours, and a board can add its own.
 */
export const LINKS: readonly {
  readonly target: string;
  readonly kind: 'requires' | 'wants';
  readonly unit: string;
  /** The unit is another project's: that it does not ship with ours is right. */
  readonly isForeign?: true;
}[] = [
  { target: 'obmc-power-chassis-on@.target', kind: 'requires', unit: 'op-power-start@.service' },
  { target: 'obmc-power-chassis-on@.target', kind: 'requires', unit: 'op-wait-power-on@.service' },
  { target: 'obmc-power-chassis-off@.target', kind: 'requires', unit: 'op-power-stop@.service' },
  { target: 'obmc-power-chassis-off@.target', kind: 'requires', unit: 'op-wait-power-off@.service' },
  { target: 'obmc-chassis-start@.target', kind: 'requires', unit: 'obmc-power-chassis-on@.target' },
  { target: 'obmc-chassis-start@.target', kind: 'requires', unit: 'obmc-start-host@.service' },
  { target: 'obmc-chassis-stop@.target', kind: 'requires', unit: 'obmc-power-chassis-off@.target' },
  { target: 'obmc-chassis-reset@.target', kind: 'requires', unit: 'op-reset-chassis-on@.service' },
  // Not requires: a chassis that is in doubt must not keep the BMC from coming up.
  { target: 'multi-user.target', kind: 'wants', unit: 'obmc-chassis-reset@.target' },
  { target: 'multi-user.target', kind: 'wants', unit: 'chassis-power.service' },
];

/** The same beside phosphor-state-manager, whose targets these are. */
const CURRENT_LINKS: typeof LINKS = [
  { target: 'obmc-chassis-poweron@.target', kind: 'requires', unit: 'phosphor-wait-power-on@.service' },
  { target: 'obmc-chassis-poweroff@.target', kind: 'requires', unit: 'phosphor-wait-power-off@.service' },
  // Whatever of a power on is still queued when its target fails is not run any more. Without these it comes after the
  // power off that follows: the chassis goes on once more, with nobody who knows.
  {
    target: 'obmc-power-start@.service',
    kind: 'requires',
    unit: 'obmc-chassis-poweron@.target',
    isForeign: true,
  },
  {
    target: 'phosphor-set-chassis-transition-to-on@.service',
    kind: 'requires',
    unit: 'obmc-chassis-poweron@.target',
    isForeign: true,
  },
  { target: 'multi-user.target', kind: 'wants', unit: 'chassis-power.service' },
];

/** Under this name phosphor-state-manager orders itself after the power controller (its Chassis@ unit). */
const CURRENT_ALIAS = 'phosphor-power-control.service';

const UNIT_FILE = /^[^.].*\.(?:service|target|socket|path|timer)$/;
const CONF_FILE = /^[^.].*\.conf$/;

export interface ItemOptions {
  /** Chassis numbers that get links. Chassis of an earlier install that are not among them lose theirs. */
  readonly chassis: readonly number[];
  /** Folder with the unit files, `systemd/` of this project: units at the top, `tmpfiles.d/` below. */
  readonly sourceDir: string;
  /** Who does the work of the stages: the program each time anew, or the resident service. Default `program`. */
  readonly stages?: 'program' | 'resident';
  /** Default `legacy`. `stages` means nothing to `current`, whose stages are phosphor-state-manager's. */
  readonly flavour?: Flavour;
}

/** A file by its content, or a link by its target. */
export type Item = FileItem | LinkItem;

interface FileItem {
  readonly kind: 'file';
  readonly path: string;
  readonly content: Buffer;
}

interface LinkItem {
  readonly kind: 'link';
  readonly path: string;
  readonly target: string;
}

/**
 * Everything that an install has to put in place. `UNITS_SOURCE_MISSING` when there is no source folder, or a
 * unit that the links need is not in it.
 */
export async function wantedItems(options: ItemOptions): Promise<Item[]> {
  return [...(await sourceItems(options)), ...linkItems(options)];
}

/** The files of an install, each with where it comes from. Throws as `wantedItems` does. */
export async function sourceItems({
  sourceDir,
  stages = 'program',
  flavour = 'legacy',
}: ItemOptions): Promise<(FileItem & { readonly source: string })[]> {
  const items: (FileItem & { readonly source: string })[] = [];
  const put = async (from: string, pattern: RegExp, to: (name: string) => string): Promise<void> => {
    const names = (await readdir(join(sourceDir, from))).filter((name) => pattern.test(name)).sort();
    for (const name of names) {
      const source = join(sourceDir, from, name);
      items.push({ kind: 'file', path: to(name), source, content: await readFile(source) });
    }
  };
  const asUnit = (name: string) => posix.join(UNIT_DIR, name);
  const asDropIn = (file: string) => (name: string) =>
    posix.join(UNIT_DIR, name.replace(/\.conf$/, '.d'), file);
  try {
    if (flavour === 'current') {
      await put('.', /^chassis-power\.service$/, asUnit);
      await put('current', UNIT_FILE, asUnit);
      await put('current', CONF_FILE, asDropIn('current.conf'));
    } else {
      await put('.', UNIT_FILE, asUnit);
      if (stages === 'resident') await put('resident', CONF_FILE, asDropIn('resident.conf'));
    }
    await put('tmpfiles.d', CONF_FILE, (name) => posix.join(TMPFILES_DIR, name));
    await put('dbus-1', CONF_FILE, (name) => posix.join(DBUS_POLICY_DIR, name));
  } catch (error) {
    throw new PowerError(
      'UNITS_SOURCE_MISSING',
      `Cannot read the unit files in ${sourceDir}: ${errorText(error)}. Install chassis-power again.`,
      { sourceDir },
      { cause: error },
    );
  }
  const names = new Set(items.map((item) => posix.basename(item.path)));
  const ours =
    flavour === 'current'
      ? CURRENT_LINKS.filter(({ isForeign }) => !isForeign).map(({ unit }) => unit)
      : LINKS.flatMap(({ target, unit }) => (target.includes('@') ? [target, unit] : [unit]));
  const missing = [...new Set(ours)].filter((name) => !names.has(name));
  if (missing.length > 0) {
    throw new PowerError(
      'UNITS_SOURCE_MISSING',
      `${sourceDir} has no ${missing.join(', ')}. Install chassis-power again.`,
      { sourceDir, missing },
    );
  }
  return items;
}

/** The links of an install. */
export function linkItems({ chassis, flavour = 'legacy' }: ItemOptions): LinkItem[] {
  const links = chassis.flatMap((number) =>
    (flavour === 'current' ? CURRENT_LINKS : LINKS).map(
      ({ target, kind, unit }): LinkItem => ({
        kind: 'link',
        path: posix.join(UNIT_DIR, `${instance(target, number)}.${kind}`, instance(unit, number)),
        // Relative, so that it is right inside an image as well as on the running machine.
        target: `../${unit}`,
      }),
    ),
  );
  const alias: LinkItem[] =
    flavour === 'current'
      ? [{ kind: 'link', path: posix.join(UNIT_DIR, CURRENT_ALIAS), target: 'chassis-power.service' }]
      : [];
  // Links of what there is once come up for every chassis: by their path they are one.
  return [...new Map([...links, ...alias].map((link) => [link.path, link])).values()];
}

function instance(template: string, number: number): string {
  return template.replace('@.', `@${number}.`);
}
