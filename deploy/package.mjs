// Packages for BMCs: build/chassis-power_<version>_<arch>.deb, and the same files as .tar.gz for a target without dpkg.
// usage: node deploy/package.mjs [--out DIR] [--version VERSION] [amd64|arm64|armhf]...
import { homedir } from 'node:os';
import { join, resolve } from 'node:path';
import { fail, obtain, prepare, root } from './setup.mjs';

/** @type {string[]} */
const wanted = [];
let outDir = join(root, 'build');
/** @type {string | undefined} */
let version;
for (let index = 2; index < process.argv.length; index += 1) {
  const word = process.argv[index] ?? '';
  const value = process.argv[index + 1];
  if (word === '--out' && value !== undefined) outDir = resolve(value);
  else if (word === '--version' && value !== undefined) version = value;
  else {
    wanted.push(word);
    continue;
  }
  index += 1;
}

prepare({ 'dpkg-deb': 'dpkg', tar: 'tar' });
const { buildAll } = await import('./build.mjs');
const { makePackage, sourceEpochSeconds } = await import('./deb.mjs');
const { compilersFor, PROCESSORS } = await import('./native.mjs');

const all = Object.entries(PROCESSORS).map(([arch, { debian }]) => ({ arch, debian }));
const names = all.map(({ debian }) => debian);
const unknown = wanted.find((name) => !names.includes(name));
if (unknown !== undefined) fail(`no package for ${unknown}: ${names.join(', ')}, or none of them for all`);

await buildAll();
const chosen = all.filter(({ debian }) => wanted.length === 0 || wanted.includes(debian));
const nativeDir = join(process.env.XDG_CACHE_HOME || join(homedir(), '.cache'), 'chassis-power', 'native');
let made = 0;
for (const { arch, debian } of chosen) {
  const missing = obtain(compilersFor(arch));
  if (missing !== null) {
    process.stderr.write(`NO PACKAGE FOR ${debian}: ${missing}\n`);
    continue;
  }
  try {
    const epochSeconds = sourceEpochSeconds();
    const { deb, archive } = await makePackage({
      arch,
      outDir,
      nativeDir,
      epochSeconds,
      ...(version === undefined ? {} : { version }),
    });
    process.stdout.write(`${deb}\n${archive}\n`);
    made += 1;
  } catch (error) {
    fail(error instanceof Error ? error.message : String(error));
  }
}
// Who names one wants that one.
if (made === 0 || (wanted.length > 0 && made < chosen.length)) process.exitCode = 1;
