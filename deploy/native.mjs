// Compiles the native addons that our GPIO and I2C libraries need, for this machine or for a BMC's processor.
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { cp, mkdir, mkdtemp, readFile, realpath, rename, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { delimiter, dirname, join, resolve } from 'node:path';

/** Addon file by the package that it is compiled from: `epoll` is what onoff watches edges with. */
const ADDONS = { epoll: 'epoll', 'i2c-bus': 'i2c' };

/** What the packages' binding.gyp and sources include. */
const BUILD_PACKAGES = ['nan', 'bindings', 'file-uri-to-path'];

/** @type {Readonly<Record<string, { prefix: string, debianPackage: string }>>} */
const COMPILERS = {
  arm: { prefix: 'arm-linux-gnueabihf-', debianPackage: 'g++-arm-linux-gnueabihf' },
  arm64: { prefix: 'aarch64-linux-gnu-', debianPackage: 'g++-aarch64-linux-gnu' },
  x64: { prefix: 'x86_64-linux-gnu-', debianPackage: 'g++-x86-64-linux-gnu' },
};

/** One addon compiles in 3 to 15 s; the rest is for slow machines and for fetching headers. */
const COMPILE_TIMEOUT_MS = 300_000;

/**
 * Compiles the addons of the packages in `nodeModules` into `outDir/linux-<arch>-<NODE_MODULE_VERSION>/`, unless what
 * is there was made from the same versions. A folder appears only when all of it is done.
 *
 * `arch` is a `process.arch` name: `arm` (armhf), `arm64`, `x64`. `nodeModules` is only read.
 *
 * @param {{ arch: string, outDir: string, nodeModules: string }} options
 * @returns {Promise<{ dir: string, files: { epoll: string, i2c: string }, built: boolean }>}
 */
export async function buildNativeAddons({ arch, outDir, nodeModules }) {
  const compiler = COMPILERS[arch];
  if (compiler === undefined) {
    throw new Error(
      `cannot compile addons for '${arch}': choose one of ${Object.keys(COMPILERS).join(', ')}`,
    );
  }
  const headers = await findNodeHeaders();
  /** @type {Record<string, string>} */
  const versions = {};
  for (const name of [...Object.keys(ADDONS), ...BUILD_PACKAGES]) {
    versions[name] = await packageVersion(join(nodeModules, name));
  }
  const abi = headers?.abi ?? process.versions.modules;
  const inputs = JSON.stringify(
    { arch, abi, node: headers?.version ?? process.versions.node, versions },
    null,
    2,
  );

  const dir = resolve(outDir, `linux-${arch}-${abi}`);
  const files = { epoll: join(dir, 'epoll.node'), i2c: join(dir, 'i2c.node') };
  const known = await readFile(join(dir, 'inputs.json'), 'utf8').catch(() => undefined);
  if (known === inputs && existsSync(files.epoll) && existsSync(files.i2c))
    return { dir, files, built: false };

  const prefix = arch === process.arch ? '' : compiler.prefix;
  await needProgram(`${prefix}g++`, prefix === '' ? 'g++' : compiler.debianPackage);
  await needProgram('make', 'make');
  await needProgram('python3', 'python3');
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
    for (const [name, addon] of Object.entries(ADDONS)) {
      const folder = join(work, 'node_modules', name);
      const args = [nodeGyp, 'rebuild', `--arch=${arch}`, ...(headers ? [`--nodedir=${headers.dir}`] : [])];
      const { code, output } = await run(process.execPath, args, {
        cwd: folder,
        env: prefix === '' ? {} : { CC: `${prefix}gcc`, CXX: `${prefix}g++` },
      });
      if (code !== 0) throw new Error(`cannot compile ${name} for ${arch}: ${lastLines(output)}`);
      await cp(join(folder, 'build', 'Release', `${addon}.node`), join(part, `${addon}.node`));
    }
    await writeFile(join(part, 'inputs.json'), inputs);
    await rm(dir, { recursive: true, force: true });
    await rename(part, dir);
  } finally {
    await rm(work, { recursive: true, force: true });
    await rm(part, { recursive: true, force: true });
  }
  return { dir, files, built: true };
}

/**
 * The headers of a Node with this process's ABI: where npm's `nodedir` points, or beside the running binary. Undefined
 * when there are none; node-gyp then fetches those of the running version.
 */
async function findNodeHeaders() {
  const { code, output } = await run('npm', ['config', 'get', 'nodedir', '--loglevel=silent'], {
    timeoutMs: 60_000,
  }).catch(() => ({ code: 1, output: '' }));
  const configured = code === 0 ? output.trim().split('\n').at(-1) : undefined;
  const beside = dirname(dirname(await realpath(process.execPath)));
  for (const dir of [configured, beside]) {
    if (!dir || dir === 'undefined' || dir === 'null') continue;
    const text = await readFile(join(dir, 'include/node/node_version.h'), 'utf8').catch(() => '');
    /** @param {string} name */
    const number = (name) => new RegExp(`#define ${name} (\\d+)`).exec(text)?.[1];
    const abi = number('NODE_MODULE_VERSION');
    if (abi !== process.versions.modules) continue;
    const version = ['MAJOR', 'MINOR', 'PATCH'].map((part) => number(`NODE_${part}_VERSION`)).join('.');
    return { dir, abi, version };
  }
  return undefined;
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

/**
 * @param {string} name
 * @param {string} debianPackage
 */
async function needProgram(name, debianPackage) {
  if (findProgram(name) === undefined) {
    throw new Error(
      `${name} is missing, which compiling addons needs. Run: apt-get install ${debianPackage}`,
    );
  }
}

/** @param {string} name */
function findProgram(name) {
  const folders = (process.env.PATH ?? '').split(delimiter);
  return folders.map((folder) => join(folder, name)).find((path) => existsSync(path));
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
      env: { ...process.env, ...env },
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
