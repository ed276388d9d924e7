// Makes a package of what `npm run build` made: a .deb, and the same files as an archive for a target without dpkg.
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  chmodSync,
  cpSync,
  existsSync,
  lstatSync,
  lutimesSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { build } from 'esbuild';
import { copyrightText, partsList, partsOf } from './contents.mjs';
import { bashCompletion, manualPage } from './manual.mjs';
import { buildNativeAddons, PROCESSORS } from './native.mjs';
import { NODE_RELEASES } from './nodes.mjs';
import { root } from './setup.mjs';

const MAINTAINER_SCRIPTS = ['preinst', 'postinst', 'prerm', 'postrm'];
const PACK_TIMEOUT_MS = 120_000;

/**
 * Makes a package of `dist/chassis-power`, which has to be there. The same sources, time and compilers give the same bytes.
 * @param {object} options
 * @param {string} options.arch a `process.arch` name
 * @param {string} options.outDir
 * @param {string} options.nativeDir where compiled addons are kept from one package to the next
 * @param {number} options.epochSeconds time of all files (SOURCE_DATE_EPOCH)
 * @param {string} [options.version] default: that of package.json
 * @returns {Promise<{ deb: string, archive: string }>}
 */
export async function makePackage({ arch, outDir, nativeDir, epochSeconds, version = productVersion() }) {
  const architecture = PROCESSORS[arch]?.debian;
  if (architecture === undefined) throw new TypeError(`no processor ${arch}`);
  const tree = mkdtempSync(join(tmpdir(), 'chassis-power-package-'));
  try {
    await fill(tree, { arch, architecture, nativeDir, epochSeconds, version });
    const name = `chassis-power_${version}_${architecture}`;
    mkdirSync(outDir, { recursive: true });
    const deb = join(outDir, `${name}.deb`);
    const archive = join(outDir, `${name}.tar.gz`);
    // gzip, which whatever dpkg a target has can read, and whose output does not depend on the number of processors.
    execFileSync('dpkg-deb', ['--root-owner-group', '-Zgzip', '--build', tree, deb], {
      env: { ...process.env, SOURCE_DATE_EPOCH: String(epochSeconds) },
      stdio: ['ignore', 'ignore', 'inherit'],
      timeout: PACK_TIMEOUT_MS,
    });
    const files = execFileSync('dpkg-deb', ['--fsys-tarfile', deb], {
      maxBuffer: 2 ** 28,
      timeout: PACK_TIMEOUT_MS,
    });
    writeFileSync(archive, gzipSync(files, { level: 9 }));
    return { deb, archive };
  } finally {
    rmSync(tree, { recursive: true, force: true });
  }
}

/** Of Debian: a tilde comes before all else. */
export function productVersion() {
  return JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')).version.replace('-', '~');
}

/**
 * @param {string} tree
 * @param {{ arch: string, architecture: string, nativeDir: string, epochSeconds: number, version: string }} options
 */
async function fill(tree, { arch, architecture, nativeDir, epochSeconds, version }) {
  const date = new Date(epochSeconds * 1000).toISOString().replace(/\.\d+Z$/, 'Z');
  const put = (/** @type {string} */ path, /** @type {string | Buffer} */ content) => {
    const full = join(tree, path);
    mkdirSync(dirname(full), { recursive: true });
    writeFileSync(full, content);
  };
  const lib = 'usr/lib/chassis-power';
  cpSync(join(root, 'dist', 'chassis-power'), join(tree, lib), {
    recursive: true,
    // The addons of this machine, and what its Node has compiled, stay at home.
    filter: (source) => !/chassis-power\/(native|code-cache)$/.test(source),
  });
  for (const release of NODE_RELEASES) {
    const { files } = await buildNativeAddons({
      arch,
      release,
      outDir: nativeDir,
      nodeModules: join(root, 'node_modules'),
    });
    for (const [name, file] of Object.entries(files)) {
      put(`${lib}/native/linux-${arch}-${release.abi}/${name}.node`, readFileSync(file));
    }
  }
  mkdirSync(join(tree, 'usr/bin'), { recursive: true });
  symlinkSync('../lib/chassis-power/chassis-power.cjs', join(tree, 'usr/bin/chassis-power'));
  cpSync(join(root, 'hw', 'boards'), join(tree, 'usr/share/chassis-power/boards'), { recursive: true });
  // The board of the machine goes here.
  mkdirSync(join(tree, 'etc/chassis-power'), { recursive: true });

  const source = await fromSources();
  // All that no board and no option has a say in. The rest is put by: chassis-power units install
  for (const { path, content } of await source.sourceItems({
    sourceDir: join(root, 'systemd'),
    chassis: [],
  })) {
    put(path, content);
  }
  const zip = (/** @type {string} */ text) => gzipSync(text, { level: 9 });
  put('usr/share/man/man8/chassis-power.8.gz', zip(manualPage(source, { version, date: date.slice(0, 10) })));
  put('usr/share/bash-completion/completions/chassis-power', bashCompletion(source));
  const doc = 'usr/share/doc/chassis-power';
  const { product } = JSON.parse(readFileSync(join(root, 'dist', 'inputs.json'), 'utf8'));
  const parts = partsOf(product);
  put(`${doc}/copyright`, copyrightText(parts));
  put(`${doc}/changelog.gz`, zip(readFileSync(join(root, 'CHANGELOG.md'), 'utf8')));
  const addons = filesBelow(tree).filter((path) => path.endsWith('.node'));
  const sum = (/** @type {string} */ algorithm, /** @type {string} */ path) =>
    createHash(algorithm)
      .update(readFileSync(join(tree, path)))
      .digest('hex');
  const files = Object.fromEntries(addons.map((path) => [path, sum('sha256', path)]));
  put(
    `${doc}/chassis-power.spdx.json`,
    partsList({ version, architecture, date, parts, releases: NODE_RELEASES, files }),
  );

  const inside = filesBelow(tree);
  const regular = inside.filter((path) => lstatSync(join(tree, path)).isFile());
  put('DEBIAN/md5sums', regular.map((path) => `${sum('md5', path)}  ${path}\n`).join(''));
  const glibc = Math.max(...addons.map((path) => glibcMinor(readFileSync(join(tree, path)))));
  put('DEBIAN/control', controlText({ version, architecture, glibc, kibibytes: sizeOf(tree, inside) }));
  for (const name of MAINTAINER_SCRIPTS) {
    put(`DEBIAN/${name}`, readFileSync(join(root, 'deploy', 'debian', name)));
  }
  put('DEBIAN/triggers', readFileSync(join(root, 'deploy', 'debian', 'triggers')));
  // Whatever the umask is, and whatever the checkout has.
  const executable = /^(DEBIAN\/(pre|post)(inst|rm)|usr\/lib\/chassis-power\/chassis-power\.cjs)$/;
  for (const path of [...pathsBelow(tree), '.']) {
    const full = join(tree, path);
    const stats = lstatSync(full);
    if (!stats.isSymbolicLink())
      chmodSync(full, stats.isDirectory() || executable.test(path) ? 0o755 : 0o644);
    lutimesSync(full, epochSeconds, epochSeconds);
  }
}

/** What of the program's own sources says which files it installs, and what it says of itself. */
async function fromSources() {
  const outfile = join(root, 'build', `package-${process.pid}.mjs`);
  await build({
    absWorkingDir: root,
    stdin: {
      contents: `
        export { COMMON, DEFAULT_BOARD, VERBS } from './src/cli/verbs.ts';
        export { EXIT_TEXT, HELP } from './src/cli/help.ts';
        export { EXIT } from './src/cli/exit.ts';
        export { sourceItems } from './src/units/install/items.ts';`,
      resolveDir: root,
    },
    outfile,
    bundle: true,
    format: 'esm',
    platform: 'node',
    // What the verbs do is not needed to say what they are.
    external: ['./verbs/*'],
    logLevel: 'warning',
  });
  try {
    return await import(outfile);
  } finally {
    rmSync(outfile, { force: true });
  }
}

/** Paths below a folder, sorted, in whatever language the machine is. */
function pathsBelow(/** @type {string} */ folder) {
  return readdirSync(folder, { recursive: true, encoding: 'utf8' }).sort();
}

function filesBelow(/** @type {string} */ folder) {
  return pathsBelow(folder).filter((path) => !lstatSync(join(folder, path)).isDirectory());
}

/**
 * The least glibc that an addon runs with, 34 for 2.34: what its list of needed versions names (.gnu.version_r).
 * @param {Buffer} addon
 */
function glibcMinor(addon) {
  const minors = [...addon.toString('latin1').matchAll(/GLIBC_2\.(\d+)/g)].map(([, minor]) => Number(minor));
  return Math.max(0, ...minors);
}

/** As Debian counts it: whole kibibytes of each file, one for whatever else there is. */
function sizeOf(/** @type {string} */ tree, /** @type {readonly string[]} */ files) {
  const sizes = files.map((path) => Math.max(1, Math.ceil(lstatSync(join(tree, path)).size / 1024)));
  return sizes.reduce((sum, size) => sum + size, 0);
}

/** @param {{ version: string, architecture: string, glibc: number, kibibytes: number }} of */
function controlText({ version, architecture, glibc, kibibytes }) {
  const majors = NODE_RELEASES.map(({ major }) => major);
  return `Package: chassis-power
Version: ${version}
Architecture: ${architecture}
Maintainer: chassis-power maintainers <maintainers@chassis-power.invalid>
Installed-Size: ${kibibytes}
Depends: libc6 (>= 2.${glibc}), libstdc++6 (>= 5), util-linux
Recommends: nodejs (>= ${majors[0]}), dbus, systemd
Section: admin
Priority: optional
Description: power sequencing controller for server chassis
 Powers a server chassis on and off from a BMC: drives power enables over GPIO
 and PMBus in the order the board needs, waits for power good, and takes
 everything down again when a rail fails. Run by systemd oneshots, by a
 resident service on D-Bus, and by hand.
 .
 It needs Node ${majors.slice(0, -1).join(', ')} or ${majors.at(-1)}, from a package or not.
`;
}

/** Time of the sources: SOURCE_DATE_EPOCH, else of the last commit, else of package.json. */
export function sourceEpochSeconds() {
  const given = process.env.SOURCE_DATE_EPOCH;
  if (given !== undefined && given !== '') {
    if (!/^\d+$/.test(given)) throw new Error(`SOURCE_DATE_EPOCH is "${given}": seconds since 1970`);
    return Number(given);
  }
  if (existsSync(join(root, '.git'))) {
    try {
      const text = execFileSync('git', ['log', '-1', '--format=%ct'], {
        cwd: root,
        encoding: 'utf8',
        stdio: ['ignore', 'pipe', 'ignore'],
        timeout: 10_000,
      });
      return Number(text);
    } catch {
      // No git, or none that may read this checkout.
    }
  }
  return Math.floor(lstatSync(join(root, 'package.json')).mtimeMs / 1000);
}
