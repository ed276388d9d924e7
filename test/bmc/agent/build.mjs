// Bundles agent.ts with the native addons for the emulated BMC. Prints the archive, to be unpacked at / of the guest.
import { execFileSync } from 'node:child_process';
import { cpSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { bundle } from '../../../deploy/build.mjs';
import { buildNativeAddons } from '../../../deploy/native.mjs';
import { NODE_RELEASES } from '../../../deploy/nodes.mjs';

const root = join(import.meta.dirname, '..', '..', '..');
const archive = process.argv[2];
if (archive === undefined) throw new TypeError('usage: node test/bmc/agent/build.mjs ARCHIVE');

const tree = mkdtempSync(join(tmpdir(), 'bmc-agent-'));
try {
  const folder = join(tree, 'opt', 'contract-agent');
  await bundle('test/bmc/agent/agent.ts', folder, 'agent');
  // That of the guest.
  const release = NODE_RELEASES.find(({ major }) => major === 20);
  if (release === undefined) throw new TypeError('no release of Node 20');
  const { dir } = await buildNativeAddons({
    arch: 'arm',
    release,
    outDir: join(root, 'build', 'native'),
    nodeModules: join(root, 'node_modules'),
  });
  cpSync(dir, join(folder, 'native', basename(dir)), { recursive: true });
  execFileSync('tar', ['-czf', archive, '--owner=0', '--group=0', '-C', tree, 'opt'], { timeout: 60_000 });
} finally {
  rmSync(tree, { recursive: true, force: true });
}
