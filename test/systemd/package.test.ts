/** The packages that `npm run package` makes: what is in them, for which machines, and that they come out the same again. */
import { execFileSync, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  chmodSync,
  cpSync,
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { homedir, tmpdir } from 'node:os';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { makePackage, productVersion } from '../../deploy/deb.mjs';
import { NODE_RELEASES, nodeRelease } from '../../deploy/nodes.mjs';
import { VERBS } from '../../src/cli/verbs.ts';
import { sourceItems } from '../../src/units/install/items.ts';

const root = join(import.meta.dirname, '..', '..');
/** Compiling for three processors and three releases of Node, and fetching those, where no cache has them. */
const PACKAGE_TIMEOUT_MS = 900_000;

/** By Debian's name: the name of process.arch, and e_machine and class of elf(5). */
const MACHINES = {
  amd64: { arch: 'x64', elfMachine: 62, elfClass: 2 },
  arm64: { arch: 'arm64', elfMachine: 183, elfClass: 2 },
  armhf: { arch: 'arm', elfMachine: 40, elfClass: 1 },
} as const;
type Architecture = keyof typeof MACHINES;
const ARCHITECTURES = Object.keys(MACHINES) as Architecture[];
/** NODE_MODULE_VERSION of Node 20, 22 and 24 (nodejs.org/download/releases). */
const ABIS = ['115', '127', '137'];

let folder: string;
const nameOf = (architecture: string) => `chassis-power_${productVersion()}_${architecture}`;
const debOf = (architecture: string) => join(folder, `${nameOf(architecture)}.deb`);
const treeOf = (architecture: string) => join(folder, architecture);

/** Runs `npm run package`'s script as a user does. */
function packageScript(args: readonly string[], env: NodeJS.ProcessEnv = {}) {
  const { status, stdout, stderr } = spawnSync(
    process.execPath,
    [join(root, 'deploy', 'package.mjs'), ...args],
    {
      encoding: 'utf8',
      env: { ...process.env, ...env },
      timeout: PACKAGE_TIMEOUT_MS,
    },
  );
  return { status, stdout, stderr };
}

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'package-'));
  const { status, stderr } = packageScript(['--out', folder]);
  expect(stderr).not.toContain('NO PACKAGE');
  expect(status, stderr).toBe(0);
  for (const architecture of ARCHITECTURES) {
    execFileSync('dpkg-deb', ['-x', debOf(architecture), treeOf(architecture)], { timeout: 60_000 });
  }
}, PACKAGE_TIMEOUT_MS);

afterAll(() => rmSync(folder, { recursive: true, force: true }));

const control = (architecture: string, field: string) =>
  execFileSync('dpkg-deb', ['-f', debOf(architecture), field], { encoding: 'utf8' }).trim();
const sha256 = (data: Buffer) => createHash('sha256').update(data).digest('hex');

/** Everything in a package but folders, as dpkg lists it: mode, owner and path. */
function listed(architecture: string): { mode: string; owner: string; path: string; time: string }[] {
  const text = execFileSync('dpkg-deb', ['-c', debOf(architecture)], {
    encoding: 'utf8',
    env: { PATH: process.env.PATH, TZ: 'UTC' },
  });
  return text
    .trim()
    .split('\n')
    .map((line) => {
      const [mode = '', owner = '', , day = '', hour = '', path = ''] = line.split(/ +/);
      return { mode, owner, path: path.replace(/^\.\//, ''), time: `${day} ${hour}` };
    });
}

describe.each(ARCHITECTURES)('the package for %s', (architecture) => {
  test('has every file that units install puts without a board, the program, an example board, manual and completion', async () => {
    const paths = new Set(listed(architecture).map(({ path }) => path));
    const units = await sourceItems({ sourceDir: join(root, 'systemd'), chassis: [] });
    expect(units.length).toBeGreaterThan(15);
    for (const { path, content } of units) {
      expect(readFileSync(join(treeOf(architecture), path), 'utf8'), path).toBe(content.toString());
    }
    for (const path of [
      'usr/lib/systemd/system/op-power-start@.service',
      'usr/lib/systemd/system/chassis-power.service',
      'usr/lib/tmpfiles.d/chassis-power.conf',
      'usr/lib/sysusers.d/chassis-power.conf',
      'usr/share/dbus-1/system.d/chassis-power.conf',
      'usr/share/dbus-1/system-services/org.openbmc.control.Power.service',
      'usr/lib/systemd/catalog/chassis-power.catalog',
      'usr/share/man/man8/chassis-power.8.gz',
      'usr/share/bash-completion/completions/chassis-power',
      'usr/share/chassis-power/boards/reference.json',
      'usr/share/chassis-power/boards/board.schema.json',
      'usr/share/doc/chassis-power/copyright',
      'usr/share/doc/chassis-power/changelog.gz',
      'usr/share/doc/chassis-power/chassis-power.spdx.json',
      'etc/chassis-power/',
    ]) {
      expect(paths, path).toContain(path);
    }
    // Whatever the board has a say in is put by units install: nothing is pulled in by a boot before that.
    expect([...paths].filter((path) => /\.(wants|requires)\/.|^etc\/systemd/.test(path))).toEqual([]);
    // The whole bundle, and nothing that was left in its folder.
    const bundle = readdirSync(join(root, 'dist', 'chassis-power'))
      .filter((name) => name !== 'native' && name !== 'code-cache')
      .sort();
    const lib = readdirSync(join(treeOf(architecture), 'usr/lib/chassis-power'))
      .filter((name) => name !== 'native')
      .sort();
    expect(lib).toEqual(bundle);
  });

  test('has control fields and scripts that dpkg understands, and sums of all its files', () => {
    expect(control(architecture, 'Package')).toBe('chassis-power');
    expect(control(architecture, 'Architecture')).toBe(architecture);
    expect(control(architecture, 'Version')).toBe(productVersion());
    // flock(1); Node comes from wherever it comes, which dpkg need not know.
    expect(control(architecture, 'Depends').split(', ')).toEqual(
      expect.arrayContaining(['util-linux', expect.stringMatching(/^libc6 \(>= 2\.\d+\)$/)]),
    );
    expect(control(architecture, 'Recommends')).toContain('nodejs (>= 20)');
    const scripts = join(folder, `${architecture}-control`);
    execFileSync('dpkg-deb', ['-e', debOf(architecture), scripts], { timeout: 60_000 });
    for (const name of ['preinst', 'postinst', 'prerm', 'postrm']) {
      expect(lstatSync(join(scripts, name)).mode & 0o777).toBe(0o755);
      execFileSync('sh', ['-n', join(scripts, name)]);
    }
    execFileSync('md5sum', ['--check', '--quiet', '--strict', join(scripts, 'md5sums')], {
      cwd: treeOf(architecture),
    });
    const sums = readFileSync(join(scripts, 'md5sums'), 'utf8').trim().split('\n');
    const files = listed(architecture).filter(({ mode }) => mode.startsWith('-'));
    expect(sums.map((line) => line.slice(34)).sort()).toEqual(files.map(({ path }) => path).sort());
  });

  test('belongs to root, can be written by nobody else, and has the program alone as what can be run', () => {
    const all = listed(architecture);
    expect(all.filter(({ owner }) => owner !== 'root/root')).toEqual([]);
    const others = all.filter(({ mode }) => !['drwxr-xr-x', '-rw-r--r--', 'lrwxrwxrwx'].includes(mode));
    expect(others.map(({ mode, path }) => `${mode} ${path}`)).toEqual([
      '-rwxr-xr-x usr/lib/chassis-power/chassis-power.cjs',
    ]);
  });

  test('has the native addons for Node 20, 22 and 24, and none of another machine: the ELF header says so', () => {
    const { arch, elfMachine, elfClass } = MACHINES[architecture];
    const native = join(treeOf(architecture), 'usr/lib/chassis-power/native');
    expect(readdirSync(native).sort()).toEqual(ABIS.map((abi) => `linux-${arch}-${abi}`));
    for (const abi of ABIS) {
      const kind = join(native, `linux-${arch}-${abi}`);
      expect(readdirSync(kind).sort()).toEqual(['epoll.node', 'i2c.node']);
      for (const name of readdirSync(kind)) {
        const file = readFileSync(join(kind, name));
        expect(file.toString('latin1', 0, 4)).toBe('\x7fELF');
        expect({ elfClass: file[4], elfMachine: file.readUInt16LE(18) }, `${kind}/${name}`).toEqual({
          elfClass,
          elfMachine,
        });
        // No folder of the machine that compiled it.
        expect(/\/(tmp|root|home)\/[\w./-]*/.exec(file.toString('latin1'))?.[0]).toBeUndefined();
      }
    }
  });

  test('is the same as its archive for a target without dpkg', () => {
    const files = execFileSync('dpkg-deb', ['--fsys-tarfile', debOf(architecture)], { maxBuffer: 2 ** 28 });
    const archive = readFileSync(join(folder, `${nameOf(architecture)}.tar.gz`));
    expect(sha256(gunzipSync(archive))).toBe(sha256(files));
  });
});

test('the list of parts names each package of others that is in the bundle, with version, licence and hash', () => {
  const { product } = JSON.parse(readFileSync(join(root, 'dist', 'inputs.json'), 'utf8')) as {
    product: string[];
  };
  const inBundle = product.flatMap(
    (file) => /node_modules\/((?:@[^/]+\/)?[^/]+)\/[^:]*$/.exec(file)?.[1] ?? [],
  );
  expect(new Set(inBundle).size).toBeGreaterThan(4);
  const lock = JSON.parse(readFileSync(join(root, 'package-lock.json'), 'utf8')).packages as Record<
    string,
    { name?: string; version: string; integrity: string; license?: string }
  >;
  const list = JSON.parse(
    readFileSync(join(treeOf('armhf'), 'usr/share/doc/chassis-power/chassis-power.spdx.json'), 'utf8'),
  ) as {
    spdxVersion: string;
    documentNamespace: string;
    packages: {
      SPDXID: string;
      name: string;
      versionInfo: string;
      licenseDeclared: string;
      licenseComments?: string;
      checksums?: { checksumValue: string }[];
    }[];
    files: { fileName: string; checksums: { checksumValue: string }[] }[];
    relationships: { spdxElementId: string; relationshipType: string; relatedSpdxElement: string }[];
  };
  expect(list.spdxVersion).toBe('SPDX-2.3');
  const contained = list.relationships
    .filter(
      ({ spdxElementId, relationshipType }) =>
        spdxElementId === 'SPDXRef-chassis-power' && relationshipType === 'CONTAINS',
    )
    .map(({ relatedSpdxElement }) => relatedSpdxElement);
  // nan is in no bundle, but compiled into both addons.
  for (const name of new Set([...inBundle, 'epoll', 'i2c-bus', 'nan'])) {
    const locked = lock[`node_modules/${name}`];
    // One that stands in for another has its own name.
    const part = list.packages.find((each) => each.name === (locked?.name ?? name));
    expect(part?.versionInfo, name).toBe(locked?.version);
    if (part?.licenseDeclared === 'NOASSERTION')
      expect(part.licenseComments).toContain(locked?.license ?? 'none');
    else expect(part?.licenseDeclared, name).toBe(locked?.license);
    const hash = Buffer.from(part?.checksums?.[0]?.checksumValue ?? '', 'hex').toString('base64');
    expect(`sha512-${hash}`, name).toBe(locked?.integrity);
    expect(contained).toContain(part?.SPDXID);
  }
  for (const { fileName, checksums } of list.files) {
    expect(checksums[0]?.checksumValue).toBe(sha256(readFileSync(join(treeOf('armhf'), fileName))));
  }
  expect(list.files).toHaveLength(2 * ABIS.length);
  // Every element that is related is there, and each once.
  const ids = [
    'SPDXRef-DOCUMENT',
    ...list.packages.map(({ SPDXID }) => SPDXID),
    ...(list.files as unknown as { SPDXID: string }[]).map(({ SPDXID }) => SPDXID),
  ];
  expect(new Set(ids).size).toBe(ids.length);
  for (const { spdxElementId, relatedSpdxElement } of list.relationships) {
    expect(ids).toEqual(expect.arrayContaining([spdxElementId, relatedSpdxElement]));
  }
});

test(
  'two builds give the same bytes, with addons that are compiled again in another folder, another umask, other times and settings of npm',
  async () => {
    const epochSeconds = 1_700_000_000;
    const cache = join(process.env.XDG_CACHE_HOME || join(homedir(), '.cache'), 'chassis-power', 'native');
    const fresh = join(folder, 'native');
    // One release compiled again tells as much as three.
    for (const abi of ABIS.slice(0, 2)) {
      cpSync(join(cache, `linux-arm-${abi}`), join(fresh, `linux-arm-${abi}`), { recursive: true });
    }
    const bytes = [];
    for (const [index, mask] of [0o022, 0o077].entries()) {
      const before = process.umask(mask);
      // npm tells what it runs its settings so: headers of a Node that is not the one of the package.
      vi.stubEnv('npm_config_nodedir', index === 0 ? undefined : folder);
      try {
        const outDir = join(folder, `again-${index}`);
        const nativeDir = index === 0 ? cache : fresh;
        const made = await makePackage({ arch: 'arm', outDir, nativeDir, epochSeconds });
        bytes.push([made.deb, made.archive].map((file) => sha256(readFileSync(file))));
      } finally {
        vi.unstubAllEnvs();
        process.umask(before);
      }
    }
    expect(bytes[1]).toEqual(bytes[0]);
    const of = (file: string) => join(folder, 'again-0', file);
    const times = execFileSync('dpkg-deb', ['-c', of(`${nameOf('armhf')}.deb`)], {
      encoding: 'utf8',
      env: { PATH: process.env.PATH, TZ: 'UTC' },
    });
    expect(
      times
        .trim()
        .split('\n')
        .filter((line) => !line.includes(' 2023-11-14 22:13 ')),
    ).toEqual([]);
  },
  PACKAGE_TIMEOUT_MS,
);

describe('a machine without a cross compiler', () => {
  /** A PATH that has all programs of this one but those. */
  function pathWithout(pattern: RegExp): string {
    const bin = mkdtempSync(join(folder, 'bin-'));
    for (const from of (process.env.PATH ?? '').split(':').filter((each) => existsSync(each))) {
      for (const name of readdirSync(from)) {
        if (!pattern.test(name) && !existsSync(join(bin, name))) {
          try {
            symlinkSync(join(from, name), join(bin, name));
          } catch {
            // A dangling link of the machine's own is there already.
          }
        }
      }
    }
    return bin;
  }

  test('is told which architecture it gets no package for and why, and gets the others', () => {
    const out = join(folder, 'without');
    const env = { PATH: pathWithout(/^(aarch64|arm)-linux-gnu/), CHASSIS_POWER_INSTALL: 'no' };
    const { status, stderr } = packageScript(['--out', out], env);
    expect(status, stderr).toBe(0);
    expect(stderr).toMatch(
      /^NO PACKAGE FOR arm64: g\+\+-aarch64-linux-gnu is not installed.*apt-get install/m,
    );
    expect(stderr).toMatch(
      /^NO PACKAGE FOR armhf: g\+\+-arm-linux-gnueabihf is not installed.*apt-get install/m,
    );
    expect(readdirSync(out).filter((name) => name.endsWith('.deb'))).toEqual([`${nameOf('amd64')}.deb`]);
  });

  test('fails where the architecture was asked for by name', () => {
    const env = { PATH: pathWithout(/^(aarch64|arm)-linux-gnu/), CHASSIS_POWER_INSTALL: 'no' };
    const { status } = packageScript(['--out', join(folder, 'none'), 'armhf'], env);
    expect(status).toBe(1);
    expect(existsSync(join(folder, 'none'))).toBe(false);
  });

  test(
    'never gets an addon of another machine: a compiler that makes those is found out',
    async () => {
      // A cross compiler by its name, whose output is a program of this machine, as with the wrong CXX.
      const bin = join(folder, 'liar');
      mkdirSync(bin);
      const liar =
        '#!/bin/sh\nwhile [ $# -gt 0 ]; do [ "$1" != -o ] || cp /bin/true "$2"; [ "$1" != -MF ] || : >"$2"; shift; done\n';
      for (const name of ['gcc', 'g++', 'strip']) {
        const path = join(bin, `arm-linux-gnueabihf-${name}`);
        writeFileSync(path, liar);
        chmodSync(path, 0o755);
      }
      const before = process.env.PATH;
      process.env.PATH = `${bin}:${before}`;
      try {
        const making = makePackage({
          arch: 'arm',
          outDir: join(folder, 'liar-out'),
          nativeDir: join(folder, 'liar-native'),
          epochSeconds: 0,
        });
        await expect(making).rejects.toThrow(/is not compiled for arm: machine 62/);
      } finally {
        process.env.PATH = before;
      }
      expect(existsSync(join(folder, 'liar-out'))).toBe(false);
    },
    PACKAGE_TIMEOUT_MS,
  );
});

describe.skipIf(process.arch !== 'x64')('one package runs on', () => {
  test.each(NODE_RELEASES)('Node $major: the program starts, and both addons load', (release) => {
    const node = join(nodeRelease(release), 'bin', 'node');
    const program = join(treeOf('amd64'), 'usr/lib/chassis-power/chassis-power.cjs');
    const run = (...args: string[]) => spawnSync(node, args, { encoding: 'utf8', timeout: 60_000 });
    expect(run(program, '--version')).toMatchObject({
      status: 0,
      stdout: `chassis-power ${productVersion()}\n`,
    });
    const board = join(treeOf('amd64'), 'usr/share/chassis-power/boards/reference.json');
    expect(run(program, 'check', '--no-lines', board)).toMatchObject({ status: 0 });
    const native = join(treeOf('amd64'), 'usr/lib/chassis-power/native', `linux-x64-${release.abi}`);
    const load = `const { Epoll } = require(${JSON.stringify(join(native, 'epoll.node'))});
      const i2c = require(${JSON.stringify(join(native, 'i2c.node'))});
      console.log(process.versions.modules, typeof Epoll, typeof i2c.i2cSmbus ?? '', Object.keys(i2c).length > 10);`;
    const loaded = run('-e', load);
    expect(loaded.stdout, loaded.stderr).toMatch(new RegExp(`^${release.abi} function .* true\n$`));
  });

  test('no other Node: it says which it is for', () => {
    const other = join(folder, 'other-abi');
    execFileSync('cp', ['-r', join(treeOf('amd64'), 'usr/lib/chassis-power'), other]);
    for (const abi of ABIS) {
      if (abi === process.versions.modules)
        rmSync(join(other, 'native', `linux-x64-${abi}`), { recursive: true });
    }
    const loaders = readdirSync(other).filter((name) => /^(onoff|i2c-bus)-.*\.cjs$/.test(name));
    // A file of the bundle is a function, which the program calls.
    const call = `const [, program, name] = process.argv;
      const { dirname, join } = require('node:path');
      const load = (file) => {
        if (!file.startsWith('./')) return require(file);
        const module = { exports: {} };
        const run = require(program).scriptOf(file.slice(2), true).runInThisContext();
        run(module.exports, load, module, join(dirname(program), file), dirname(program));
        return module.exports;
      };
      load('./' + name);`;
    const program = join(other, 'chassis-power.cjs');
    const said = loaders.map(
      (name) =>
        spawnSync(process.execPath, ['-e', call, program, name], { encoding: 'utf8', timeout: 60_000 })
          .stderr,
    );
    const why = `no addons for Node ${process.version} (linux-x64-${process.versions.modules}) in ${other}/native, which has linux-x64-`;
    expect(said.filter((text) => text.includes(why))).toHaveLength(2);
  });
});

describe('the recipe of deploy/yocto', () => {
  const layer = join(root, 'deploy', 'yocto', 'recipes-power', 'chassis-power');
  const recipes = readdirSync(layer).filter((name) => name.endsWith('.bb'));
  const recipe = readFileSync(join(layer, recipes[0] ?? ''), 'utf8').replaceAll('\\\n', ' ');
  /** As bitbake.conf of openembedded-core has them. */
  const FOLDERS: Readonly<Record<string, string>> = {
    bindir: 'usr/bin',
    nonarch_libdir: 'usr/lib',
    datadir: 'usr/share',
    docdir: 'usr/share/doc',
    mandir: 'usr/share/man',
    sysconfdir: 'etc',
  };
  /** The words of a variable, its folders put in. */
  const variable = (name: string): string[] => {
    const text = new RegExp(`^${name.replaceAll(/[$:{}]/g, '\\$&')} = "(.*)"$`, 'm').exec(recipe)?.[1] ?? '';
    return text
      .replaceAll(/\$\{(\w+)\}/g, (whole, folder: string) => FOLDERS[folder] ?? whole)
      .split(/\s+/)
      .filter((word) => word !== '');
  };
  const packages = variable('PACKAGES').map((name) => `FILES:${name}`);

  test('is of this version, and unpacks what npm run package names', () => {
    expect(recipes).toEqual([`chassis-power_${productVersion()}.bb`]);
    const archive = variable('SRC_URI')[0]?.replace('$' + '{PV}', productVersion());
    for (const [ofYocto, architecture] of [
      ['arm', 'armhf'],
      ['aarch64', 'arm64'],
      ['x86-64', 'amd64'],
    ] as const) {
      expect(variable(`DEBIAN_ARCHITECTURE:${ofYocto}`)).toEqual([architecture]);
      const file = archive?.replace('$' + '{DEBIAN_ARCHITECTURE}', architecture).replace(/;.*/, '');
      expect(file).toBe(`file://${nameOf(architecture)}.tar.gz`);
      expect(existsSync(join(folder, `${nameOf(architecture)}.tar.gz`))).toBe(true);
    }
  });

  test('puts each file of the package, and each that units install adds, into one of its packages, and names none that is not there', () => {
    expect(packages).toHaveLength(3);
    const image = join(folder, 'image');
    execFileSync('cp', ['-a', treeOf('amd64'), image]);
    const program = join(image, 'usr/lib/chassis-power/chassis-power.cjs');
    const board = join(root, 'hw/boards/two-chassis.json');
    const how = ['units', 'install', '--root', image, '--board', board, '--stages', 'resident'];
    execFileSync(process.execPath, [program, ...how], { stdio: 'ignore', timeout: 60_000 });
    cpSync(board, join(image, 'etc/chassis-power/board.json'));
    const paths = readdirSync(image, { recursive: true, encoding: 'utf8' }).filter(
      (path) => !lstatSync(join(image, path)).isDirectory(),
    );
    expect(paths).toContain('etc/systemd/system/multi-user.target.wants/chassis-power.service');
    const named = packages.map(variable);
    const isIn = (path: string, entry: string) => path === entry || path.startsWith(`${entry}/`);
    for (const path of paths) {
      expect(
        named.filter((entries) => entries.some((entry) => isIn(path, entry))),
        path,
      ).toHaveLength(1);
    }
    for (const entry of named.flat()) {
      expect(
        paths.some((path) => isIn(path, entry)),
        entry,
      ).toBe(true);
    }
  });

  test('names the licence of each part, and the text that has them all', () => {
    const list = JSON.parse(
      readFileSync(join(treeOf('amd64'), 'usr/share/doc/chassis-power/chassis-power.spdx.json'), 'utf8'),
    ) as { packages: { name: string; licenseDeclared: string }[] };
    // One that is no identifier of SPDX is in the text alone.
    const licences = new Set(list.packages.map(({ licenseDeclared }) => licenseDeclared));
    licences.delete('NOASSERTION');
    expect(
      variable('LICENSE')
        .filter((word) => word !== '&')
        .sort(),
    ).toEqual([...licences].sort());
    const copyright = readFileSync(join(treeOf('amd64'), 'usr/share/doc/chassis-power/copyright'));
    const md5 = createHash('md5').update(copyright).digest('hex');
    expect(variable('LIC_FILES_CHKSUM')).toEqual([`file://usr/share/doc/chassis-power/copyright;md5=${md5}`]);
  });

  test('asks for the same programs as the package for dpkg, and the group of the policy', () => {
    expect(variable('RDEPENDS:' + '$' + '{PN}')).toEqual(
      expect.arrayContaining(['nodejs', 'util-linux-flock']),
    );
    const group = /^g (\S+)/m.exec(
      readFileSync(join(root, 'systemd/sysusers.d/chassis-power.conf'), 'utf8'),
    )?.[1];
    expect(variable('GROUPADD_PARAM:' + '$' + '{PN}')).toEqual(['--system', group]);
  });
});

describe('the container for balenaOS', () => {
  const folderOf = join(root, 'deploy', 'balena');
  const compose = readFileSync(join(folderOf, 'docker-compose.yml'), 'utf8').replaceAll(/^\s*#.*\n/gm, '');
  const dockerfile = readFileSync(join(folderOf, 'Dockerfile.template'), 'utf8');

  test('has the bus of the host, lines and buses, and no privilege beside them', () => {
    expect(compose).toMatch(/^ {6}io\.balena\.features\.dbus: '1'$/m);
    expect(compose).toMatch(/^ {6}io\.balena\.features\.sysfs: '1'$/m);
    expect(compose).toMatch(/^ {6}DBUS_SYSTEM_BUS_ADDRESS: unix:path=\/host\/run\/dbus\/system_bus_socket$/m);
    expect(compose).toMatch(/^ {4}devices:\n( {6}- (\/dev\/i2c-\d+):\2\n)+/m);
    expect(compose).toMatch(/^ {4}cap_drop:\n {6}- ALL$/m);
    expect(compose).not.toMatch(
      /privileged|cap_add|network_mode: host|pid: host|supervisor-api|docker\.sock|balena-socket/,
    );
    expect(compose).toMatch(/^ {4}network_mode: none$/m);
    expect(compose).toMatch(/^ {4}read_only: true$/m);
  });

  test('takes the package of its architecture, and refuses one that there is none for', () => {
    const script = /^RUN ((?:.*\\\n)*.*)$/m.exec(dockerfile)?.[1]?.replaceAll('\\\n', '') ?? '';
    const out = join(folder, 'balena');
    mkdirSync(out);
    for (const [ofBalena, architecture] of [
      ['amd64', 'amd64'],
      ['aarch64', 'arm64'],
      ['armv7hf', 'armhf'],
      ['rpi', null],
    ] as const) {
      const text = script
        .replaceAll('%%BALENA_ARCH%%', ofBalena)
        .replaceAll('/tmp/packages', folder)
        .replace('dpkg -i', 'echo')
        .replace(/rm -r \S+/, ':');
      const { status, stdout, stderr } = spawnSync('sh', ['-c', text], { encoding: 'utf8' });
      if (architecture === null)
        expect({ status, stderr }).toEqual({ status: 1, stderr: 'chassis-power is not made for rpi\n' });
      else expect({ status, stdout }).toEqual({ status: 0, stdout: `${debOf(architecture)}\n` });
    }
  });
});

describe('what is made from the help', () => {
  test('the manual has a section of each verb with its options, and man(1) formats it without a warning', () => {
    const page = gunzipSync(
      readFileSync(join(treeOf('amd64'), 'usr/share/man/man8/chassis-power.8.gz')),
    ).toString();
    for (const [verb, { options }] of Object.entries(VERBS)) {
      const section = new RegExp(`^\\.SS ${verb.replaceAll('-', '\\\\-')}\\b[^]*?(?=^\\.S[SH])`, 'm').exec(
        page,
      )?.[0];
      expect(section, verb).toBeDefined();
      for (const option of Object.keys(options))
        expect(section).toContain(`\\-\\-${option.replaceAll('-', '\\-')}`);
    }
    if (spawnSync('groff', ['--version']).status !== 0) return;
    const { status, stderr } = spawnSync('groff', ['-man', '-ww', '-z', '-Tutf8', '-K', 'utf-8'], {
      input: page,
      encoding: 'utf8',
      timeout: 30_000,
    });
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
  });

  test.each([
    { line: ['sta'], found: ['start', 'status'] },
    { line: ['units', 'un'], found: ['uninstall'] },
    { line: ['units', 'install', '--flavour', ''], found: ['current', 'legacy'] },
    { line: ['wait-on', '--s'], found: ['--svg'] },
    { line: ['--json', 'release', '--a'], found: ['--all'] },
  ])('bash completes $line', ({ line, found }) => {
    const script = `source "$0"; COMP_WORDS=(chassis-power "$@"); COMP_CWORD=$#; _chassis_power; printf '%s\\n' "\${COMPREPLY[@]}"`;
    const file = join(treeOf('amd64'), 'usr/share/bash-completion/completions/chassis-power');
    const { stdout, stderr } = spawnSync('bash', ['-c', script, file, ...line], {
      encoding: 'utf8',
      timeout: 10_000,
    });
    expect(stderr).toBe('');
    expect(stdout.trim().split('\n').sort()).toEqual([...found].sort());
  });
});
