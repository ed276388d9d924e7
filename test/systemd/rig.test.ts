/** The sandbox itself: what happens in there stays in there, and nothing of it outlives its test run. */
import { spawn } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { skipped, titleSuffix } from './machine.ts';
import { bootSystemd, type SystemdSandbox } from './rig.ts';

const GONE_TIMEOUT_MS = 10_000;

describe.skipIf(skipped)(`systemd sandbox${titleSuffix}`, () => {
  let folder: string;
  let machine: SystemdSandbox | undefined;

  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'chassis-power-rig-test-'));
  });

  afterEach(async () => {
    await machine?.stop();
    rmSync(folder, { recursive: true, force: true });
  });

  async function gone(pid: number): Promise<void> {
    for (const deadline = Date.now() + GONE_TIMEOUT_MS; existsSync(`/proc/${pid}`); await delay(20)) {
      // A process that only waits to be collected runs nothing any more.
      if (/^State:\s+[ZX]/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'))) return;
      if (Date.now() > deadline) throw new Error(`pid ${pid} still runs`);
    }
  }

  test('files, /tmp, kernel settings and devices of the host are out of reach', async () => {
    writeFileSync(join(folder, 'mine'), 'mine');
    machine = await bootSystemd();

    // systemd empties /tmp when it boots; that was another /tmp.
    expect(readFileSync(join(folder, 'mine'), 'utf8')).toBe('mine');
    expect(await machine.exec(['ls', folder])).toMatchObject({ code: 2 });
    const path = '/usr/lib/chassis-power-rig-test';
    await machine.writeFile(path, 'sandbox');
    expect(await machine.readFile(path)).toBe('sandbox');
    expect(existsSync(path)).toBe(false);
    const refused = [
      '/proc/sys/kernel/hostname',
      '/sys/kernel/mm/ksm/run',
      '/opt/chassis-power/package.json',
    ];
    for (const target of refused) {
      expect((await machine.exec(`test ! -e ${target} || : >>${target}`)).stderr).toMatch(/Read-only|^$/);
    }
    expect(await machine.run('ls /dev/i2c-* /dev/gpiochip* /dev/mem /dev/kmsg 2>/dev/null || :')).toBe('');
    expect(await machine.run('ls /sys/class/net')).toMatch(/lo/);
    expect((await machine.run('cat /proc/net/dev')).trim().split('\n').slice(2)).toHaveLength(1);
  });

  test('a command that takes too long is killed and reported; the sandbox goes on', async () => {
    machine = await bootSystemd();
    await expect(machine.exec(['sleep', '61'], { timeoutMs: 200 })).rejects.toThrow(
      'sleep 61 took longer than 200 ms',
    );
    expect(await machine.exec('exit 3')).toEqual({ code: 3, stdout: '', stderr: '' });
  });

  test('stop leaves no process, and a second stop is none', async () => {
    machine = await bootSystemd();
    const { pid } = machine;
    await machine.run(['systemd-run', '--quiet', 'sleep', '600']);
    await machine.stop();
    await gone(pid);
    await machine.stop();
    await expect(machine.exec(['true'])).rejects.toThrow('the sandbox is not running');
  });

  test('a test process that is killed takes its sandbox with it', async () => {
    // The rig as a program of its own, in a folder that stands for the checkout.
    const place = join(folder, 'test/systemd');
    mkdirSync(place, { recursive: true });
    cpSync(fileURLToPath(new URL('./sandbox.sh', import.meta.url)), join(place, 'sandbox.sh'));
    const entry = fileURLToPath(new URL('./rig.ts', import.meta.url));
    await build({
      entryPoints: [entry],
      bundle: true,
      platform: 'node',
      format: 'esm',
      outfile: join(place, 'rig.mjs'),
    });
    const call = `import { bootSystemd } from ${JSON.stringify(join(place, 'rig.mjs'))};
      const machine = await bootSystemd();
      console.log(machine.pid);
      setInterval(() => undefined, 1000);`;
    const child = spawn(process.execPath, ['--input-type=module', '--eval', call], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    try {
      const pid = await new Promise<number>((resolve, reject) => {
        child.stdout.once('data', (text: Buffer) => resolve(Number(text)));
        child.once('exit', () => reject(new Error('ended before it booted')));
      });
      expect(readFileSync(`/proc/${pid}/comm`, 'utf8')).toBe('systemd\n');
      child.kill('SIGKILL');
      await gone(pid);
    } finally {
      child.kill('SIGKILL');
    }
  });
});
