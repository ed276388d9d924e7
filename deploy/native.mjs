// Compiles the native addons that our GPIO and I2C libraries need, for this machine or for a BMC's processor.
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { cp, mkdir, mkdtemp, readFile, realpath, rename, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { delimiter, dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { nodeRelease } from './nodes.mjs';

/** Addon file by the package that it is compiled from: `epoll` is what onoff watches edges with. */
const ADDONS = { epoll: 'epoll', 'i2c-bus': 'i2c' };

/** What the packages' binding.gyp and sources include. */
const BUILD_PACKAGES = ['nan', 'bindings', 'file-uri-to-path'];

/**
 * Processors by their `process.arch` name: Debian's name, the prefix and the package of the cross compiler, and what the head
 * of an ELF file has for it (e_machine and the class, elf(5)).
 * @typedef {{ debian: string, prefix: string, debianPackage: string, elfMachine: number, elfClass: 1 | 2 }} Processor
 * @type {Readonly<Record<string, Processor>>}
 */
export const PROCESSORS = {
  x64: {
    debian: 'amd64',
    prefix: 'x86_64-linux-gnu-',
    debianPackage: 'g++-x86-64-linux-gnu',
    elfMachine: 62,
    elfClass: 2,
  },
  arm64: {
    debian: 'arm64',
    prefix: 'aarch64-linux-gnu-',
    debianPackage: 'g++-aarch64-linux-gnu',
    elfMachine: 183,
    elfClass: 2,
  },
  arm: {
    debian: 'armhf',
    prefix: 'arm-linux-gnueabihf-',
    debianPackage: 'g++-arm-linux-gnueabihf',
    elfMachine: 40,
    elfClass: 1,
  },
};

/** One addon compiles in 3 to 15 s; the rest is for slow machines and for fetching headers. */
const COMPILE_TIMEOUT_MS = 300_000;

/** What compiling for a processor takes on this machine: program → Debian package. */
export function compilersFor(/** @type {string} */ arch) {
  const { prefix, debianPackage } = processor(arch);
  const compiler = arch === process.arch ? { 'g++': 'g++' } : { [`${prefix}g++`]: debianPackage };
  return { ...compiler, make: 'make', python3: 'python3' };
}

/**
 * Compiles the addons of the packages in `nodeModules` for one release of Node into
 * `outDir/linux-<arch>-<NODE_MODULE_VERSION>/`, unless what is there was made from the same versions. A folder appears only
 * when all of it is done. The same sources, headers and compiler give the same bytes, in whatever folder.
 *
 * `arch` is a `process.arch` name. `nodeModules` is only read.
 *
 * @param {{ arch: string, release: import('./nodes.mjs').NodeRelease, outDir: string, nodeModules: string }} options
 * @returns {Promise<{ dir: string, files: { epoll: string, i2c: string }, built: boolean }>}
 */
export async function buildNativeAddons({ arch, release, outDir, nodeModules }) {
  const { prefix: crossPrefix } = processor(arch);
  /** @type {Record<string, string>} */
  const versions = {};
  for (const name of [...Object.keys(ADDONS), ...BUILD_PACKAGES]) {
    versions[name] = await packageVersion(join(nodeModules, name));
  }
  const prefix = arch === process.arch ? '' : crossPrefix;
  for (const [program, debianPackage] of Object.entries(compilersFor(arch))) {
    if (findProgram(program) === undefined) {
      throw new Error(
        `${program} is missing, which compiling addons needs. Run: apt-get install ${debianPackage}`,
      );
    }
  }
  const compiler = (await run(`${prefix}g++`, ['-dumpfullversion'], {})).output.trim();
  // Who changes how they are compiled wants them compiled again.
  const recipe = createHash('sha256')
    .update(await readFile(fileURLToPath(import.meta.url)))
    .digest('hex');
  const inputs = JSON.stringify(
    { arch, abi: release.abi, node: release.version, compiler, versions, recipe },
    null,
    2,
  );

  const dir = resolve(outDir, `linux-${arch}-${release.abi}`);
  const files = { epoll: join(dir, 'epoll.node'), i2c: join(dir, 'i2c.node') };
  const known = await readFile(join(dir, 'inputs.json'), 'utf8').catch(() => undefined);
  if (known === inputs && existsSync(files.epoll) && existsSync(files.i2c))
    return { dir, files, built: false };

  const headers = nodeRelease(release);
  const nodeGyp = await findNodeGyp();
  const work = await mkdtemp(join(tmpdir(), 'native-'));
  const part = `${dir}.part-${process.pid}`;
  try {
    for (const name of Object.keys(versions)) {
      await cp(join(nodeModules, name), join(work, 'node_modules', name), {
        recursive: true,
        dereference: true,
        // What npm compiled for this machine must not be taken for what we compile.
        filter: (source) => source !== join(nodeModules, name, 'build'),
      });
    }
    await mkdir(part, { recursive: true });
    // Neither the folder of the headers nor that of the work is in what comes out.
    const flags = `-ffile-prefix-map=${work}=. -ffile-prefix-map=${headers}=node`;
    const compile = async (/** @type {string} */ name, /** @type {string} */ addon) => {
      const folder = join(work, 'node_modules', name);
      const { code, output } = await run(
        process.execPath,
        [nodeGyp, 'rebuild', `--arch=${arch}`, `--nodedir=${headers}`],
        { cwd: folder, env: { CC: `${prefix}gcc`, CXX: `${prefix}g++`, CFLAGS: flags, CXXFLAGS: flags } },
      );
      if (code !== 0) throw new Error(`cannot compile ${name} for ${arch}: ${lastLines(output)}`);
      const built = join(folder, 'build', 'Release', `${addon}.node`);
      const stripped = await run(`${prefix}strip`, ['--strip-unneeded', built], {});
      if (stripped.code !== 0) throw new Error(`cannot strip ${built}: ${stripped.output}`);
      await expectMachine(built, arch);
      await cp(built, join(part, `${addon}.node`));
    };
    const compiled = await Promise.allSettled(
      Object.entries(ADDONS).map(([name, addon]) => compile(name, addon)),
    );
    for (const each of compiled) if (each.status === 'rejected') throw each.reason;
    await writeFile(join(part, 'inputs.json'), inputs);
    await rm(dir, { recursive: true, force: true });
    await rename(part, dir);
  } finally {
    await rm(work, { recursive: true, force: true });
    await rm(part, { recursive: true, force: true });
  }
  return { dir, files, built: true };
}

/** @param {string} arch */
function processor(arch) {
  const known = PROCESSORS[arch];
  if (known !== undefined) return known;
  throw new Error(`cannot compile addons for '${arch}': choose one of ${Object.keys(PROCESSORS).join(', ')}`);
}

/**
 * Throws where a file is not compiled for that processor: a compiler of another one in CXX would not be noticed before the
 * target loads it.
 * @param {string} file
 * @param {string} arch
 */
async function expectMachine(file, arch) {
  const { elfMachine, elfClass } = processor(arch);
  const head = await readFile(file);
  const found = { magic: head.toString('latin1', 0, 4), elfClass: head[4], machine: head.readUInt16LE(18) };
  if (found.magic !== '\x7fELF' || found.elfClass !== elfClass || found.machine !== elfMachine) {
    throw new Error(`${file} is not compiled for ${arch}: machine ${found.machine}, class ${found.elfClass}`);
  }
}

/** npm's own node-gyp; one from node_modules may be too old for this Node. */
async function findNodeGyp() {
  const npm = findProgram('npm');
  const npmFolders = [
    ...(npm ? [dirname(dirname(await realpath(npm)))] : []),
    join(dirname(dirname(await realpath(process.execPath))), 'lib/node_modules/npm'),
  ];
  for (const folder of npmFolders) {
    const script = join(folder, 'node_modules/node-gyp/bin/node-gyp.js');
    if (existsSync(script)) return script;
  }
  throw new Error(
    `no node-gyp inside npm (looked in ${npmFolders.join(', ')}): install npm as it comes with Node`,
  );
}

/** @param {string} folder */
async function packageVersion(folder) {
  try {
    return JSON.parse(await readFile(join(folder, 'package.json'), 'utf8')).version;
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    throw new Error(`no package in ${folder} (${why}): run npm install first`);
  }
}

/** @param {string} name */
function findProgram(name) {
  const folders = (process.env.PATH ?? '').split(delimiter);
  return folders.map((folder) => join(folder, name)).find((path) => existsSync(path));
}

/**
 * npm gives its settings to what it runs, and node-gyp takes them before its own arguments: with `nodedir` set, as where
 * headers of the machine's Node are installed, every release would be compiled with those.
 * @param {NodeJS.ProcessEnv} env
 */
function withoutNpmSettings(env) {
  return Object.fromEntries(Object.entries(env).filter(([name]) => !/^npm_/i.test(name)));
}

/**
 * Runs a program, with its whole process group killed when the time is over; `output` is stdout and stderr as they came.
 * @param {string} program
 * @param {readonly string[]} args
 * @param {{ cwd?: string, env?: NodeJS.ProcessEnv, timeoutMs?: number }} options
 * @returns {Promise<{ code: number | null, output: string }>}
 */
function run(program, args, { cwd, env = {}, timeoutMs = COMPILE_TIMEOUT_MS }) {
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, {
      cwd,
      env: { ...withoutNpmSettings(process.env), ...env },
      stdio: ['ignore', 'pipe', 'pipe'],
      detached: true,
    });
    let output = '';
    let late = false;
    const timer = setTimeout(() => {
      late = true;
      // Without a number it never started, and tells so by itself.
      if (child.pid !== undefined) process.kill(-child.pid, 'SIGKILL');
    }, timeoutMs);
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding('utf8').on('data', (text) => {
        output += text;
      });
    }
    child.once('error', (error) => {
      clearTimeout(timer);
      reject(new Error(`cannot run ${program}: ${error.message}`));
    });
    child.once('close', (code) => {
      clearTimeout(timer);
      if (late)
        reject(new Error(`${program} ${args[0] ?? ''} still ran after ${timeoutMs} ms and was killed`));
      else resolve({ code, output });
    });
  });
}

/**
 * The compiler's own error if there is one, on one line; else the end of what was said.
 * @param {string} output
 */
function lastLines(output) {
  const lines = output.split('\n').filter((line) => line.trim() !== '');
  const errors = lines.filter(
    (line) => /error[: ]/i.test(line) && !/gyp ERR! (cwd|node|System|command|not ok)/.test(line),
  );
  return (errors.length > 0 ? errors.slice(0, 3) : lines.slice(-5)).join(' | ').slice(0, 1000);
}
