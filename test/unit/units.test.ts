import { execFileSync } from 'node:child_process';
import {
  appendFileSync,
  chmodSync,
  cpSync,
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  symlinkSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { PowerError } from '../../src/errors.ts';
import { CONTROL_POWER } from '../../src/service/control-power.ts';
import { stateNames } from '../../src/service/state-objects.ts';
import { installUnits, uninstallUnits, updateUnits } from '../../src/units/install/install.ts';
import { LINKS } from '../../src/units/install/items.ts';
import { MANIFEST_PATH } from '../../src/units/install/manifest.ts';

const SOURCE = fileURLToPath(new URL('../../systemd', import.meta.url));
const UNIT_DIR = 'usr/lib/systemd/system';
const ENABLED = 'etc/systemd/system/multi-user.target.wants/chassis-power.service';
const START = `${UNIT_DIR}/op-power-start@.service`;

/** For a test that bundles and starts a process, on a busy machine. */
const PROCESS_TIMEOUT_MS = 30_000;

let base: string;
let root: string;

beforeEach(() => {
  base = mkdtempSync(join(tmpdir(), 'chassis-power-units-'));
  root = join(base, 'root');
  // What is there before: an image with units of its own.
  mkdirSync(join(root, UNIT_DIR, 'multi-user.target.wants'), { recursive: true });
  writeFileSync(join(root, UNIT_DIR, 'other.service'), '[Service]\nExecStart=/bin/true\n');
  symlinkSync('../other.service', join(root, UNIT_DIR, 'multi-user.target.wants/other.service'));
});

afterEach(() => {
  rmSync(base, { recursive: true, force: true });
});

/** Every path below a folder with its type, mode and content. */
function snapshot(folder: string): Record<string, string> {
  const found: Record<string, string> = {};
  for (const name of (readdirSync(folder, { recursive: true }) as string[]).sort()) {
    const path = join(folder, name);
    const stats = lstatSync(path);
    const content = stats.isSymbolicLink()
      ? `-> ${readlinkSync(path)}`
      : stats.isFile()
        ? readFileSync(path, 'utf8')
        : '';
    found[name] = `${stats.mode.toString(8)} ${content}`;
  }
  return found;
}

function install(chassis: readonly number[] = [0], sourceDir = SOURCE) {
  return installUnits({ root, chassis, sourceDir });
}

async function refusal(attempt: Promise<unknown>): Promise<PowerError> {
  const error = await attempt.then(
    () => new Error('was not refused'),
    (thrown: unknown) => thrown,
  );
  if (error instanceof PowerError) return error;
  throw error;
}

/** A copy of the unit files that a test may change. */
function copyOfSource(): string {
  const copy = join(base, 'source');
  cpSync(SOURCE, copy, { recursive: true });
  return copy;
}

describe('install', () => {
  test('puts every unit file, the tmpfiles line, the catalogue and the links of each chassis in place', async () => {
    const report = await install([0, 2]);

    for (const name of readdirSync(SOURCE).filter((name) => /\.(service|target)$/.test(name))) {
      const source = readFileSync(join(SOURCE, name), 'utf8');
      const sandbox = readFileSync(join(SOURCE, 'sandbox.conf'), 'utf8');
      const installed = source.replace('X-Sandbox=sandbox.conf\n', sandbox);
      expect(readFileSync(join(root, UNIT_DIR, name), 'utf8')).toBe(installed);
      expect(lstatSync(join(root, UNIT_DIR, name)).mode & 0o777).toBe(0o644);
      expect(report.written).toContain(`${UNIT_DIR}/${name}`);
    }
    expect(existsSync(join(root, 'usr/lib/tmpfiles.d/chassis-power.conf'))).toBe(true);
    expect(readFileSync(join(root, 'usr/lib/systemd/catalog/chassis-power.catalog'))).toEqual(
      readFileSync(join(SOURCE, 'chassis-power.catalog')),
    );
    for (const number of [0, 2]) {
      for (const { target, kind, unit } of LINKS) {
        const folder = `${target.replace('@', `@${number}`)}.${kind}`;
        const link = join(root, UNIT_DIR, folder, unit.replace('@', `@${number}`));
        expect(readlinkSync(link)).toBe(`../${unit}`);
        // The link leads to a file that is there.
        expect(existsSync(link)).toBe(true);
      }
    }
    expect(existsSync(join(root, UNIT_DIR, 'obmc-chassis-start@1.target.requires'))).toBe(false);
  });

  test('of flavour current puts what phosphor-state-manager does not have, and nothing of the targets', async () => {
    const report = await installUnits({ root, chassis: [0, 1], sourceDir: SOURCE, flavour: 'current' });

    const requires = (state: string, number: number, wait: string) =>
      `${UNIT_DIR}/obmc-chassis-power${state}@${number}.target.requires/phosphor-wait-power-${wait}@${number}.service`;
    expect([...report.written].sort()).toEqual(
      [
        `${UNIT_DIR}/chassis-power.service`,
        `${UNIT_DIR}/chassis-power.service.d/current.conf`,
        ENABLED,
        ...[0, 1].flatMap((number) => [
          requires('on', number, 'on'),
          requires('off', number, 'off'),
          ...['obmc-power-start', 'phosphor-set-chassis-transition-to-on'].map(
            (queued) =>
              `${UNIT_DIR}/${queued}@${number}.service.requires/obmc-chassis-poweron@${number}.target`,
          ),
        ]),
        `${UNIT_DIR}/phosphor-power-control.service`,
        `${UNIT_DIR}/phosphor-wait-power-off@.service`,
        `${UNIT_DIR}/phosphor-wait-power-on@.service`,
        'usr/lib/tmpfiles.d/chassis-power.conf',
        'usr/lib/sysusers.d/chassis-power.conf',
        'usr/lib/systemd/catalog/chassis-power.catalog',
        'usr/lib/systemd/system-preset/50-chassis-power.preset',
        'usr/share/dbus-1/system.d/chassis-power.conf',
        'usr/share/dbus-1/system-services/org.openbmc.control.Power.service',
      ].sort(),
    );
    await uninstallUnits({ root });
    const left = Object.keys(snapshot(root));
    expect(left.filter((path) => report.written.includes(path))).toEqual([]);
  });

  test('that hands its stages over puts a drop-in for each, and takes it back', async () => {
    const options = { root, chassis: [0], sourceDir: SOURCE };
    const dropIns = (report: { written: readonly string[]; removed: readonly string[] }) =>
      [...report.written, ...report.removed].filter((path) => path.endsWith('.d/resident.conf'));
    expect(dropIns(await installUnits({ ...options, stages: 'resident' }))).toEqual(
      ['op-power-start', 'op-power-stop', 'op-wait-power-off', 'op-wait-power-on'].map(
        (stage) => `${UNIT_DIR}/${stage}@.service.d/resident.conf`,
      ),
    );
    expect(dropIns(await installUnits(options))).toHaveLength(4);
  });

  test('a second time changes nothing, not even a time stamp', async () => {
    const first = await install();
    const before = snapshot(root);
    const times = (path: string) => lstatSync(join(root, path)).mtimeMs;
    const stamps = [...first.written, MANIFEST_PATH].map(times);

    const second = await install();

    expect(second.written).toEqual([]);
    expect(second.unchanged).toEqual(first.written);
    expect(snapshot(root)).toEqual(before);
    expect([...first.written, MANIFEST_PATH].map(times)).toEqual(stamps);
  });

  test('leaves no temporary file and no file that its umask hides', async () => {
    const umask = process.umask(0o077);
    try {
      await install();
    } finally {
      process.umask(umask);
    }
    const modes = Object.entries(snapshot(root));
    expect(modes.filter(([path]) => path.includes('/.'))).toEqual([]);
    expect(modes.filter(([, entry]) => !/^(100644|40755|120777) /.test(entry))).toEqual([]);
  });

  test('with fewer chassis takes away the links and folders of the others, and only those', async () => {
    await install([0]);
    const onlyZero = snapshot(root);
    await install([0, 1]);

    const report = await install([0]);

    expect(report.written).toEqual([]);
    // Two names on the bus, too, each with two files.
    expect(report.removed).toHaveLength(LINKS.filter(({ unit }) => unit.includes('@')).length + 4);
    expect(
      report.removed.every((path) => path.includes('@1.') || /(Chassis|Host)1\.(service|conf)$/.test(path)),
    ).toBe(true);
    expect(snapshot(root)).toEqual(onlyZero);
  });

  test('a newer version replaces its own files and removes those it no longer has', async () => {
    const source = copyOfSource();
    writeFileSync(join(source, 'obmc-old@.target'), '[Unit]\nDescription=old\n');
    await install([0], source);
    unlinkSync(join(source, 'obmc-old@.target'));
    appendFileSync(join(source, 'op-power-start@.service'), '# newer\n');

    const report = await install([0], source);

    expect(report.written).toEqual([START]);
    expect(report.removed).toEqual([`${UNIT_DIR}/obmc-old@.target`]);
    expect(readFileSync(join(root, START), 'utf8')).toMatch(/# newer\n$/);
    await uninstallUnits({ root });
    expect(existsSync(join(root, START))).toBe(false);
  });

  test('refuses a file that is not its own, names it, and writes nothing', async () => {
    writeFileSync(
      join(root, UNIT_DIR, 'op-wait-power-on@.service'),
      '[Service]\nExecStart=/bin/pgood_wait\n',
    );
    const before = snapshot(root);

    const error = await refusal(install());

    expect(error.code).toBe('UNITS_CONFLICT');
    expect(error.message).toContain(join(root, UNIT_DIR, 'op-wait-power-on@.service'));
    expect(snapshot(root)).toEqual(before);
  });

  test.each([
    ['a link of another target', 'link'],
    ['a folder', 'folder'],
  ])('refuses %s where a link belongs', async (_, kind) => {
    const folder = join(root, UNIT_DIR, 'obmc-power-chassis-on@0.target.requires');
    mkdirSync(folder);
    if (kind === 'link') symlinkSync('../other.service', join(folder, 'op-power-start@0.service'));
    else mkdirSync(join(folder, 'op-power-start@0.service'));
    const before = snapshot(root);

    expect((await refusal(install())).code).toBe('UNITS_CONFLICT');
    expect(snapshot(root)).toEqual(before);
  });

  test('refuses to overwrite one of its own files that was edited', async () => {
    await install();
    appendFileSync(join(root, START), 'TimeoutStartSec=999\n');
    const source = copyOfSource();
    appendFileSync(join(source, 'op-power-start@.service'), '# newer\n');
    const before = snapshot(root);

    const error = await refusal(install([0], source));

    expect(error.code).toBe('UNITS_CONFLICT');
    expect(error.message).toContain('changed since it was installed');
    expect(snapshot(root)).toEqual(before);
  });

  test('accepts an identical file of somebody else, and leaves it when it uninstalls', async () => {
    cpSync(join(SOURCE, 'obmc-standby.target'), join(root, UNIT_DIR, 'obmc-standby.target'));
    const before = snapshot(root);

    const report = await install();
    expect(report.unchanged).toEqual([`${UNIT_DIR}/obmc-standby.target`]);

    await uninstallUnits({ root });
    expect(snapshot(root)).toEqual(before);
  });

  test('refuses a folder that leads out of the root', async () => {
    const outside = join(base, 'outside');
    mkdirSync(outside);
    rmSync(join(root, UNIT_DIR), { recursive: true });
    symlinkSync(outside, join(root, UNIT_DIR));

    const error = await refusal(install());

    expect(error.code).toBe('UNITS_CONFLICT');
    expect(error.message).toContain('leads out of the root');
    expect(readdirSync(outside)).toEqual([]);
    expect(existsSync(join(root, MANIFEST_PATH))).toBe(false);
  });

  test('a missing source, or one without a unit that the links need, is UNITS_SOURCE_MISSING', async () => {
    const before = snapshot(root);
    expect((await refusal(install([0], join(base, 'nowhere')))).code).toBe('UNITS_SOURCE_MISSING');

    const source = copyOfSource();
    unlinkSync(join(source, 'op-power-stop@.service'));
    const error = await refusal(install([0], source));
    expect(error.code).toBe('UNITS_SOURCE_MISSING');
    expect(error.message).toContain('op-power-stop@.service');
    expect(snapshot(root)).toEqual(before);
  });

  test('a root that does not exist is UNITS_NOT_WRITABLE and is not made', async () => {
    const attempt = installUnits({ root: join(base, 'typo'), chassis: [0], sourceDir: SOURCE });
    expect((await refusal(attempt)).code).toBe('UNITS_NOT_WRITABLE');
    expect(existsSync(join(base, 'typo'))).toBe(false);
  });

  /** A script that installs in a process of its own and prints the error, for what needs its own limits or user. */
  async function installScript(source: string): Promise<string> {
    const entry = fileURLToPath(new URL('../../src/units/install/install.ts', import.meta.url));
    const outfile = join(base, 'units.mjs');
    await build({ entryPoints: [entry], bundle: true, platform: 'node', format: 'esm', outfile });
    const script = join(base, 'install.mjs');
    const options = JSON.stringify({ root, chassis: [0], sourceDir: source });
    writeFileSync(
      script,
      `import { installUnits } from './units.mjs';
      await installUnits(${options}).catch((error) => console.log(error.code, error.message));`,
    );
    return script;
  }

  /** Runs the script as somebody who owns everything but `denied`, which has this mode for as long. */
  function runWithout(denied: string, mode: number, script: string): string {
    // Root may read and write everywhere, so it has to be somebody else.
    const nobody = 65534;
    const isRoot = process.getuid?.() === 0;
    if (isRoot) {
      execFileSync('chown', ['-R', `${nobody}:${nobody}`, base]);
      execFileSync('chown', ['0:0', denied]);
    }
    const before = lstatSync(denied).mode;
    chmodSync(denied, mode);
    try {
      return execFileSync(process.execPath, [script], {
        cwd: base,
        encoding: 'utf8',
        timeout: 10_000,
        ...(isRoot ? { uid: nobody, gid: nobody } : {}),
      });
    } finally {
      chmodSync(denied, before);
    }
  }

  test(
    'without permission nothing is written, whichever folder lacks it',
    async () => {
      // The other folders could be written; this one could not.
      const readOnly = join(root, 'usr/lib/tmpfiles.d');
      mkdirSync(readOnly);
      const script = await installScript(copyOfSource());
      const before = snapshot(root);

      expect(runWithout(readOnly, 0o555, script)).toContain(`UNITS_NOT_WRITABLE Cannot write in ${readOnly}`);
      expect(snapshot(root)).toEqual(before);
    },
    PROCESS_TIMEOUT_MS,
  );

  test.each([
    ['a file that cannot be read', 'chassis-power.conf', 0o000],
    ['a folder that cannot be entered', '.', 0o600],
  ])(
    '%s is named, and nothing is written',
    async (_, denied, mode) => {
      const folder = join(root, 'usr/lib/tmpfiles.d');
      mkdirSync(folder);
      writeFileSync(join(folder, 'chassis-power.conf'), '# of somebody else\n');
      const script = await installScript(copyOfSource());
      const before = snapshot(root);

      expect(runWithout(join(folder, denied), mode, script)).toContain(
        `UNITS_NOT_WRITABLE Cannot read ${join(folder, 'chassis-power.conf')}: EACCES`,
      );
      expect(snapshot(root)).toEqual(before);
    },
    PROCESS_TIMEOUT_MS,
  );

  test(
    'a write that fails half way is reported, and uninstall takes away what was written',
    async () => {
      const source = copyOfSource();
      // A limit on file size stands for a full disk; this file comes last of the units and is over it.
      writeFileSync(join(source, 'zz-large.service'), `#${'x'.repeat(200_000)}\n`);
      const script = await installScript(source);
      const before = snapshot(root);

      const said = execFileSync(
        '/bin/sh',
        ['-c', 'ulimit -f 128; exec "$0" "$1"', process.execPath, script],
        {
          encoding: 'utf8',
          timeout: 10_000,
        },
      );

      expect(said).toMatch(/^UNITS_NOT_WRITABLE Could not finish/);
      expect(existsSync(join(root, START))).toBe(true);
      await uninstallUnits({ root });
      expect(snapshot(root)).toEqual(before);
    },
    PROCESS_TIMEOUT_MS,
  );

  test('an install that was cut short is completed by the next one and removed by uninstall', async () => {
    const before = snapshot(root);
    await install();
    const complete = snapshot(root);
    // As after a crash: the manifest stands, some of what it names does not.
    unlinkSync(join(root, START));
    rmSync(join(root, UNIT_DIR, 'obmc-chassis-start@0.target.requires'), { recursive: true });

    expect((await install()).written).toContain(START);
    expect(snapshot(root)).toEqual(complete);

    unlinkSync(join(root, START));
    await uninstallUnits({ root });
    expect(snapshot(root)).toEqual(before);
  });

  test.each([[[]], [[-1]], [[0.5]], [[Number.NaN]]])(
    'chassis %j is a mistake of the caller',
    async (chassis) => {
      const before = snapshot(root);
      expect((await refusal(install(chassis))).code).toBe('USAGE');
      expect(snapshot(root)).toEqual(before);
    },
  );
});

describe('the service is enabled, and started for who asks', () => {
  const enabledBy = (target: string) => {
    rmSync(join(root, ENABLED), { force: true });
    symlinkSync(target, join(root, ENABLED));
  };

  test('by a link of an image too, which uninstall takes back with its folders', async () => {
    const before = snapshot(root);
    await install();
    expect(readlinkSync(join(root, ENABLED))).toBe('/usr/lib/systemd/system/chassis-power.service');
    expect(existsSync(join(root, UNIT_DIR, 'multi-user.target.wants/chassis-power.service'))).toBe(false);
    await uninstallUnits({ root });
    expect(snapshot(root)).toEqual(before);
  });

  test('as systemctl enable makes it as well: no conflict, and uninstall takes it away', async () => {
    await install();
    enabledBy('/lib/systemd/system/chassis-power.service');
    expect((await install()).written).toEqual([]);
    expect((await uninstallUnits({ root })).kept).toEqual([]);
    expect(existsSync(join(root, 'etc'))).toBe(false);
  });

  test('and stays disabled for who disabled it', async () => {
    await install();
    unlinkSync(join(root, ENABLED));
    for (const _ of ['once', 'and again']) {
      const { written, kept } = await install();
      expect(written).toEqual([]);
      expect(kept).toEqual([{ path: ENABLED, reason: 'disabled since it was installed' }]);
    }
    await uninstallUnits({ root });
    await install();
    expect(existsSync(join(root, ENABLED)) || lstatSync(join(root, ENABLED)).isSymbolicLink()).toBe(true);
  });

  test('another unit in its place is somebody else\u2019s', async () => {
    await install();
    enabledBy('/etc/systemd/system/mine.service');
    const error = await refusal(install());
    expect(error.code).toBe('UNITS_CONFLICT');
  });

  test('by each name that the service has, with the file called by the name', async () => {
    const dir = join(root, 'usr/share/dbus-1/system-services');
    const activated = () =>
      Object.fromEntries(
        readdirSync(dir).map((file) => [file, readFileSync(join(dir, file), 'utf8').match(/^[A-Z].*$/gm)]),
      );
    const service = (name: string) => [
      `${name}.service`,
      [`Name=${name}`, 'Exec=/bin/false', 'User=root', 'SystemdService=chassis-power.service'],
    ];
    await install([0, 2]);
    const names = [CONTROL_POWER, ...stateNames(0), ...stateNames(2)];
    expect(names).toHaveLength(7);
    expect(activated()).toEqual(Object.fromEntries(names.map(service)));
    for (const name of names.slice(1)) {
      const rules = readFileSync(join(root, `usr/share/dbus-1/system.d/chassis-power-${name}.conf`), 'utf8');
      expect(rules).toContain(`<allow send_destination="${name}" send_type="method_call"/>`);
      expect(rules).not.toContain('send_destination="org.openbmc');
    }
    // Beside phosphor-state-manager the others are its.
    await installUnits({ root, chassis: [0, 2], sourceDir: SOURCE, flavour: 'current' });
    expect(activated()).toEqual(Object.fromEntries([service(CONTROL_POWER)]));
  });
});

describe('update', () => {
  const KINDS = [
    { stages: 'program', flavour: 'legacy' },
    { stages: 'resident', flavour: 'legacy' },
    { stages: 'program', flavour: 'current' },
  ] as const;

  test.each(KINDS)(
    'keeps the chassis and the options of the last install: $stages stages, $flavour units',
    async (kind) => {
      await installUnits({ root, chassis: [0, 3], sourceDir: SOURCE, ...kind });
      const before = snapshot(root);
      const report = await updateUnits({ root, sourceDir: SOURCE });
      expect([...report.written, ...report.removed, ...report.kept]).toEqual([]);
      expect(snapshot(root)).toEqual(before);
    },
  );

  test.each(KINDS)(
    'brings all that is there to the new version, as an install of it would: $stages stages, $flavour units',
    async (kind) => {
      const source = join(base, 'source');
      cpSync(SOURCE, source, { recursive: true });
      for (const file of [
        'chassis-power.service',
        'resident/op-power-stop@.service.conf',
        'dbus-1/chassis-power.conf',
      ]) {
        appendFileSync(join(source, file), file.startsWith('dbus') ? '<!-- new -->' : '# new\n');
      }
      rmSync(join(source, 'system-preset/50-chassis-power.preset'));
      await installUnits({ root, chassis: [1], sourceDir: SOURCE, ...kind });
      const report = await updateUnits({ root, sourceDir: source });
      expect(report.removed).toEqual(['usr/lib/systemd/system-preset/50-chassis-power.preset']);
      const updated = snapshot(root);

      rmSync(root, { recursive: true });
      mkdirSync(join(root, UNIT_DIR, 'multi-user.target.wants'), { recursive: true });
      writeFileSync(join(root, UNIT_DIR, 'other.service'), '[Service]\nExecStart=/bin/true\n');
      symlinkSync('../other.service', join(root, UNIT_DIR, 'multi-user.target.wants/other.service'));
      await installUnits({ root, chassis: [1], sourceDir: source, ...kind });
      const fresh = snapshot(root);
      // What it made folders for is a matter of its past.
      for (const each of [updated, fresh]) delete each[MANIFEST_PATH];
      expect(
        Object.entries(updated)
          .filter(([path]) => !(path in fresh))
          .map(([path]) => path),
      ).toEqual([]);
      expect(updated).toEqual(fresh);
    },
  );

  test('of a machine on which nothing was installed is refused, and changes nothing', async () => {
    const before = snapshot(root);
    expect((await refusal(updateUnits({ root, sourceDir: SOURCE }))).code).toBe('UNITS_NOT_INSTALLED');
    expect(snapshot(root)).toEqual(before);
  });
});

describe('uninstall', () => {
  test('leaves the tree as it was, byte for byte', async () => {
    const before = snapshot(root);
    const installed = await install([0, 1, 7]);

    const report = await uninstallUnits({ root });

    expect(report.removed).toEqual(installed.written);
    expect(report.kept).toEqual([]);
    expect(snapshot(root)).toEqual(before);
  });

  test('leaves an empty root empty', async () => {
    rmSync(join(root, 'usr'), { recursive: true });
    await install();
    await uninstallUnits({ root });
    expect(readdirSync(root)).toEqual([]);
  });

  test('keeps a file and a link that somebody changed, and says so', async () => {
    await install();
    const link = `${UNIT_DIR}/obmc-chassis-start@0.target.requires/obmc-start-host@0.service`;
    appendFileSync(join(root, START), '# mine\n');
    unlinkSync(join(root, link));
    symlinkSync('../other.service', join(root, link));

    const report = await uninstallUnits({ root });

    const kept = new Map(report.kept.map(({ path, reason }) => [path, reason]));
    expect(kept.get(START)).toBe('changed since it was installed');
    expect(kept.get(link)).toBe('changed since it was installed');
    expect(kept.get(`${UNIT_DIR}/obmc-chassis-start@0.target.requires`)).toBe('not empty');
    // Folders among the files, by path.
    expect([...kept.keys()]).toEqual([...kept.keys()].sort());
    expect(report.kept).toHaveLength(kept.size);
    expect(readFileSync(join(root, START), 'utf8')).toMatch(/# mine\n$/);
    expect(readlinkSync(join(root, link))).toBe('../other.service');
    expect(report.removed).not.toContain(START);
  });

  test('keeps a folder in which somebody put something of his own', async () => {
    await install();
    const folder = `${UNIT_DIR}/obmc-power-chassis-on@0.target.requires`;
    symlinkSync('../other.service', join(root, folder, 'other.service'));

    const report = await uninstallUnits({ root });

    expect(report.kept).toEqual([{ path: folder, reason: 'not empty' }]);
    expect(readdirSync(join(root, folder))).toEqual(['other.service']);
  });

  test('where nothing was installed is UNITS_NOT_INSTALLED and removes nothing', async () => {
    cpSync(join(SOURCE, 'obmc-standby.target'), join(root, UNIT_DIR, 'obmc-standby.target'));
    const before = snapshot(root);
    expect((await refusal(uninstallUnits({ root }))).code).toBe('UNITS_NOT_INSTALLED');
    expect(snapshot(root)).toEqual(before);

    await install();
    await uninstallUnits({ root });
    expect((await refusal(uninstallUnits({ root }))).code).toBe('UNITS_NOT_INSTALLED');
  });

  test.each([
    ['torn', '{"version":1,"entr'],
    ['of another version', '{"version":2}'],
    [
      'naming a folder outside the root',
      JSON.stringify({ version: 1, chassis: [0], dirs: ['usr/../../victim'], entries: [] }),
    ],
  ])('a manifest %s is refused and removes nothing', async (_, text) => {
    await install();
    mkdirSync(join(base, 'victim'));
    writeFileSync(join(root, MANIFEST_PATH), text);
    const before = snapshot(base);

    expect((await refusal(uninstallUnits({ root }))).code).toBe('UNITS_CONFLICT');
    expect(snapshot(base)).toEqual(before);
  });
});
