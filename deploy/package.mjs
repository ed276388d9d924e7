// Packs the program for a BMC: build/chassis-power-<arch>.tar.gz, to be unpacked at / of the target.
// usage: node deploy/package.mjs [arm|arm64|x64]
import { cpSync, mkdirSync, rmSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { buildAll } from './build.mjs';
import { buildNativeAddons } from './native.mjs';
import { fail, root, run } from './setup.mjs';

const arch = process.argv[2] ?? process.arch;
const tree = join(root, 'build', `package-${arch}`);
const archive = join(root, 'build', `chassis-power-${arch}.tar.gz`);

await buildAll();
rmSync(tree, { recursive: true, force: true });
const lib = join(tree, 'usr', 'lib', 'chassis-power');
mkdirSync(lib, { recursive: true });
cpSync(join(root, 'dist', 'chassis-power'), lib, {
  recursive: true,
  // The addons of this machine stay at home.
  filter: (source) => !source.includes(join('chassis-power', 'native')),
});
try {
  const { dir } = await buildNativeAddons({
    arch,
    outDir: join(root, 'build', 'native'),
    nodeModules: join(root, 'node_modules'),
  });
  const kind = dir.slice(dir.lastIndexOf('/') + 1);
  for (const file of ['epoll.node', 'i2c.node']) {
    cpSync(join(dir, file), join(lib, 'native', kind, file));
  }
} catch (error) {
  fail(error instanceof Error ? error.message : String(error));
}
const boards = join(tree, 'usr', 'share', 'chassis-power', 'boards');
mkdirSync(boards, { recursive: true });
cpSync(join(root, 'hw', 'boards'), boards, { recursive: true });
mkdirSync(join(tree, 'usr', 'bin'), { recursive: true });
symlinkSync('../lib/chassis-power/chassis-power.cjs', join(tree, 'usr', 'bin', 'chassis-power'));
run('tar', ['-czf', archive, '--owner=0', '--group=0', '-C', tree, 'usr'], { timeoutMs: 120_000 });
process.stdout.write(`${archive}\n`);
