import { type ChildProcess, execFile } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { build } from 'esbuild';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { startPrivateBus } from '../private-bus.ts';

/** What is connected to the bus keeps its process no longer than it is wanted: the process ends by itself. */

const PROGRAMS = {
  connection: `
    import { createSystemClock } from './hw/clock.ts';
    import { connectDbus } from './src/system/dbus/connection.ts';
    const bus = await connectDbus({ clock: createSystemClock() });
    if (process.argv[2] === 'closed') await bus.close();
    else await new Promise((resolve) => { bus.onLost(resolve); console.log('connected'); });
    console.log('ended');`,
  service: `
    import { createSystemClock } from './hw/clock.ts';
    import { createObjectBus } from './src/system/object-bus.ts';
    const bus = createObjectBus({
      clock: createSystemClock(),
      names: ['org.example.Power'],
      managerPaths: [],
      objects: [],
      onConnection(up) {
        console.log(up ? 'connected' : 'away');
        if (up === (process.argv[2] === 'closed')) bus.close().then(() => console.log('ended'));
      },
    });
    await bus.start();`,
};

let bundles = '';
beforeAll(async () => {
  bundles = mkdtempSync(join(tmpdir(), 'connections-bundle-'));
  for (const [name, contents] of Object.entries(PROGRAMS)) {
    await build({
      stdin: { contents, resolveDir: join(import.meta.dirname, '..', '..'), loader: 'ts' },
      bundle: true,
      platform: 'node',
      format: 'esm',
      // The library is CommonJS.
      banner: {
        js: "import { createRequire } from 'node:module'; const require = createRequire(import.meta.url);",
      },
      external: ['x11', 'usocket'],
      outfile: join(bundles, `${name}.mjs`),
      logLevel: 'error',
    });
  }
});
afterAll(() => rmSync(bundles, { recursive: true }));

let folder = '';
let bus: { address: string; daemon: ChildProcess };
beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'connections-'));
  bus = await startPrivateBus(folder);
});
afterEach(() => {
  bus.daemon.kill('SIGKILL');
  rmSync(folder, { recursive: true });
});

describe.each(Object.keys(PROGRAMS))('a process with a %s', (name) => {
  const run = (how: 'closed' | 'lost') =>
    promisify(execFile)(process.execPath, [join(bundles, `${name}.mjs`), how], {
      env: { ...process.env, DBUS_SYSTEM_BUS_ADDRESS: bus.address },
      timeout: 20_000,
    });

  it('ends once that is closed', async () => {
    expect((await run('closed')).stdout).toMatch(/^(connected\n)?ended\n$/);
  });

  it('ends once the bus is lost, where nobody waits for another', async () => {
    const program = run('lost');
    await new Promise((resolve) => program.child.stdout?.once('data', resolve));
    bus.daemon.kill('SIGKILL');
    expect((await program).stdout).toMatch(/^connected\n(away\n)?ended\n$/);
  });
});
