import { readdir, readFile } from 'node:fs/promises';
import { join, posix } from 'node:path';
import { errorText } from '../../../hw/errors.ts';
import { PowerError } from '../../errors.ts';
import { BOOT_TARGET, CURRENT, instantiate, LEGACY, SERVICE, SERVICE_ALIAS } from '../names.ts';
import { SANDBOX_SETTING } from '../unit-file.ts';

/** Folders below the root, always with `/`. */
export const UNIT_DIR = 'usr/lib/systemd/system';
const TMPFILES_DIR = 'usr/lib/tmpfiles.d';
const SYSUSERS_DIR = 'usr/lib/sysusers.d';
const PRESET_DIR = 'usr/lib/systemd/system-preset';
const DBUS_POLICY_DIR = 'usr/share/dbus-1/system.d';
const DBUS_SERVICE_DIR = 'usr/share/dbus-1/system-services';
/** What `journalctl -x` explains; systemd.catalog is in journalctl(1) and sd_journal_get_catalog(3). */
const CATALOGUE = 'chassis-power.catalog';
export const CATALOGUE_PATH = `usr/lib/systemd/catalog/${CATALOGUE}`;
/** Where an administrator's `systemctl enable` and `disable` make and remove the links of [Install]. */
export const ENABLED_DIR = 'etc/systemd/system';

/** The drop-ins of `--stages resident`. */
export const RESIDENT_DROP_IN = 'resident.conf';

/** As `systemctl enable` makes it for the service's WantedBy=. */
const ENABLING = { target: BOOT_TARGET, kind: 'wants', unit: SERVICE } as const;

/** Which names the units have: those of 2017 with targets of our own, or today's beside phosphor-state-manager. */
export type Flavour = 'legacy' | 'current';

/**
 * Which target requires or wants which unit, for every chassis. These are links and not lines in the unit files, so
 * that a target can be started for a chassis that has no stages of ours, and a board can add its own.
 */
export const LINKS: readonly {
  readonly target: string;
  readonly kind: 'requires' | 'wants';
  readonly unit: string;
  /** The unit belongs to another project and does not ship with ours. */
  readonly isForeign?: true;
}[] = [
  { target: LEGACY.on, kind: 'requires', unit: LEGACY.startStage },
  { target: LEGACY.on, kind: 'requires', unit: LEGACY.waitOnStage },
  { target: LEGACY.off, kind: 'requires', unit: LEGACY.stopStage },
  { target: LEGACY.off, kind: 'requires', unit: LEGACY.waitOffStage },
  { target: LEGACY.hostOn, kind: 'requires', unit: LEGACY.on },
  { target: LEGACY.hostOn, kind: 'requires', unit: LEGACY.host },
  { target: LEGACY.hostOff, kind: 'requires', unit: LEGACY.off },
  { target: LEGACY.boot, kind: 'requires', unit: LEGACY.adopt },
  // Not requires: a chassis that is in doubt must not keep the BMC from coming up.
  { target: BOOT_TARGET, kind: 'wants', unit: LEGACY.boot },
];

/** The same beside phosphor-state-manager, whose targets these are. */
const CURRENT_LINKS: typeof LINKS = [
  { target: CURRENT.on, kind: 'requires', unit: CURRENT.waitOnStage },
  { target: CURRENT.off, kind: 'requires', unit: CURRENT.waitOffStage },
  // When the power-on target fails, systemd drops the jobs of that power on that are still queued. Without these links
  // they would run after the power off that follows, and switch the chassis on again unnoticed.
  { target: CURRENT.startStage, kind: 'requires', unit: CURRENT.on, isForeign: true },
  { target: CURRENT.transitionToOn, kind: 'requires', unit: CURRENT.on, isForeign: true },
];

/** The name for which the bus starts the service. Flavour `current` (`serve --state off`) owns only this one. */
const CONTROL_POWER = 'org.openbmc.control.Power';
function stateNames(chassis: number): string[] {
  return ['Chassis', 'Host'].flatMap((what) => {
    const name = `xyz.openbmc_project.State.${what}`;
    return [`${name}${chassis}`, ...(chassis === 0 ? [name] : [])];
  });
}

const UNIT_FILE = /^[^.].*\.(?:service|target|socket|path|timer)$/;
/** Stands in a unit of the source folder for its sandbox. systemd passes over such a setting (systemd.unit(5)). */
const SANDBOX_LINE = new RegExp(`^${SANDBOX_SETTING}=([\\w.-]+)\\n`, 'm');
const CONF_FILE = /^[^.].*\.conf$/;
const PRESET_FILE = /^[^.].*\.preset$/;

export interface ItemOptions {
  /** Chassis numbers that get links. Chassis of an earlier install that are not among them lose theirs. */
  readonly chassis: readonly number[];
  /** Folder with the unit files, `systemd/` of this project: units at the top, `tmpfiles.d/` below. */
  readonly sourceDir: string;
  /** What runs the stages: a process of its own for each, or the resident service. Default `program`. */
  readonly stages?: 'program' | 'resident';
  /** Default `legacy`. `current` ignores `stages`: its stages belong to phosphor-state-manager. */
  readonly flavour?: Flavour;
}

/** A file by its content, or a link by its target. */
export type Item = FileItem | LinkItem;

interface FileItem {
  readonly kind: 'file';
  readonly path: string;
  readonly content: Buffer;
}

/** A file and where it comes from. */
type SourceItem = FileItem & { readonly source: string };

interface LinkItem {
  readonly kind: 'link';
  readonly path: string;
  readonly target: string;
  /** An administrator may remove or recreate it. An install then leaves it as it is. */
  readonly isEnabling?: true;
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
  chassis,
  stages = 'program',
  flavour = 'legacy',
}: ItemOptions): Promise<SourceItem[]> {
  const items: SourceItem[] = [];
  const put = async (
    from: string,
    pattern: { test(name: string): boolean },
    to: (name: string) => string,
  ): Promise<void> => {
    const names = (await readdir(join(sourceDir, from))).filter((name) => pattern.test(name)).sort();
    for (const name of names) {
      const source = join(sourceDir, from, name);
      const content = await withSandbox(await readFile(source), sourceDir);
      items.push({ kind: 'file', path: to(name), source, content });
    }
  };
  const asUnit = (name: string) => posix.join(UNIT_DIR, name);
  const asDropIn = (file: string) => (name: string) =>
    posix.join(UNIT_DIR, name.replace(/\.conf$/, '.d'), file);
  try {
    if (flavour === 'current') {
      await put('.', { test: (name) => name === SERVICE }, asUnit);
      await put('current', UNIT_FILE, asUnit);
      await put('current', CONF_FILE, asDropIn('current.conf'));
    } else {
      await put('.', UNIT_FILE, asUnit);
      if (stages === 'resident') await put('resident', CONF_FILE, asDropIn(RESIDENT_DROP_IN));
    }
    await put('.', { test: (name) => name === CATALOGUE }, () => CATALOGUE_PATH);
    await put('tmpfiles.d', CONF_FILE, (name) => posix.join(TMPFILES_DIR, name));
    await put('sysusers.d', CONF_FILE, (name) => posix.join(SYSUSERS_DIR, name));
    await put('system-preset', PRESET_FILE, (name) => posix.join(PRESET_DIR, name));
    await put('dbus-1', CONF_FILE, (name) => posix.join(DBUS_POLICY_DIR, name));
    items.push(...(await namesOnTheBus(sourceDir, flavour === 'current' ? [] : chassis.flatMap(stateNames))));
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
  const missing = [...new Set([...ours, SERVICE])].filter((name) => !names.has(name));
  if (missing.length > 0) {
    throw new PowerError(
      'UNITS_SOURCE_MISSING',
      `${sourceDir} has no ${missing.join(', ')}. Install chassis-power again.`,
      { sourceDir, missing },
    );
  }
  return items;
}

/**
 * A unit with its sandbox in the place of the line that stands for it. What is installed has it in its own file: a unit
 * cannot lose it without notice, as it could a drop-in.
 */
async function withSandbox(content: Buffer, sourceDir: string): Promise<Buffer> {
  const text = content.toString();
  const [line, file] = SANDBOX_LINE.exec(text) ?? [];
  if (line === undefined || file === undefined) return content;
  const sandbox = await readFile(join(sourceDir, file), 'utf8');
  return Buffer.from(text.replace(line, () => sandbox));
}

/**
 * The files that make the bus start the service when one of its names is called. While a name has no owner the bus
 * applies the rules for that very name, so the rules of `org.openbmc.control.Power` are repeated for each of `others`.
 */
async function namesOnTheBus(sourceDir: string, others: readonly string[]): Promise<SourceItem[]> {
  const activation = join(sourceDir, 'dbus-1', `${CONTROL_POWER}.service`);
  const service = await readFile(activation, 'utf8');
  const policy = join(sourceDir, 'dbus-1', 'chassis-power.conf');
  const rules = await readFile(policy, 'utf8');
  const file = (source: string, path: string, text: string): SourceItem => ({
    kind: 'file',
    path,
    source,
    content: Buffer.from(text),
  });
  return [
    ...[CONTROL_POWER, ...others].map((name) =>
      // The bus ignores a file that is not named after the bus name.
      file(
        activation,
        posix.join(DBUS_SERVICE_DIR, `${name}.service`),
        service.replace(/^Name=.*$/m, `Name=${name}`),
      ),
    ),
    ...others.map((name) =>
      file(
        policy,
        posix.join(DBUS_POLICY_DIR, `chassis-power-${name}.conf`),
        rules.replaceAll(`send_destination="${CONTROL_POWER}"`, `send_destination="${name}"`),
      ),
    ),
  ];
}

/** The links of an install. */
export function linkItems({ chassis, flavour = 'legacy' }: ItemOptions): LinkItem[] {
  const links = chassis.flatMap((number) =>
    (flavour === 'current' ? CURRENT_LINKS : LINKS).map(
      ({ target, kind, unit }): LinkItem => ({
        kind: 'link',
        path: posix.join(UNIT_DIR, `${instantiate(target, number)}.${kind}`, instantiate(unit, number)),
        // Relative, so that it is right inside an image as well as on the running machine.
        target: `../${unit}`,
      }),
    ),
  );
  const alias: LinkItem[] =
    flavour === 'current'
      ? [{ kind: 'link', path: posix.join(UNIT_DIR, SERVICE_ALIAS), target: SERVICE }]
      : [];
  const enabling: LinkItem = {
    kind: 'link',
    path: posix.join(ENABLED_DIR, `${ENABLING.target}.${ENABLING.kind}`, ENABLING.unit),
    target: `/${posix.join(UNIT_DIR, ENABLING.unit)}`,
    isEnabling: true,
  };
  // A link between units that are no templates is listed once per chassis, always with the same path: one is kept.
  return [...new Map([...links, ...alias, enabling].map((link) => [link.path, link])).values()];
}
