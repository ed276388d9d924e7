/** The rig of the emulated BMC on a bad day, without a BMC: apt that is busy, a QEMU that dies, a guest that never comes. */
import { spawn, spawnSync } from 'node:child_process';
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { consoleFailure } from '../bmc/rig/console.ts';
import { attachBmc, bootBmc } from '../bmc/rig/guest.ts';
import type { BmcImage } from '../bmc/rig/image.ts';
import { startQmpPlant } from '../bmc/rig/plant.ts';
import type { Level, Qmp } from '../bmc/rig/qmp.ts';
import { progress } from '../bmc/rig/subprocess.ts';

const root = join(import.meta.dirname, '..', '..');

/** Programs that are started take their time on a machine that is busy. */
vi.setConfig({ testTimeout: 60_000 });

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'rig-'));
});
afterEach(() => {
  vi.unstubAllEnvs();
  vi.useRealTimers();
  rmSync(folder, { recursive: true, force: true });
});

/** A program of this name is found first from now on. */
function standIn(name: string, script: string): void {
  const path = join(folder, name);
  writeFileSync(path, script);
  chmodSync(path, 0o755);
  vi.stubEnv('PATH', `${folder}:${process.env.PATH}`);
}

interface Apt {
  aptGet(
    args: readonly string[],
    options?: { lockWaitMs?: number; retryMs?: number; say?: (line: string) => void },
  ): Promise<void>;
}

async function apt(): Promise<Apt> {
  return (await import(join(root, 'deploy', 'apt.mjs'))) as Apt;
}

describe('another apt holds the lock', () => {
  it('apt-get update waits until the lists are free, told once', async ({ skip }) => {
    skip(spawnSync('apt-get', ['--version']).status !== 0, 'needs apt-get');
    // A root of apt's own: without sources an update only takes the lock of its lists.
    for (const name of ['state/lists/partial', 'cache/archives/partial', 'etc/apt', 'dpkg']) {
      mkdirSync(join(folder, name), { recursive: true });
    }
    writeFileSync(join(folder, 'dpkg', 'status'), '');
    writeFileSync(
      join(folder, 'apt.conf'),
      `Dir::State "${folder}/state"; Dir::State::status "${folder}/dpkg/status"; Dir::Cache "${folder}/cache";
       Dir::Etc "${folder}/etc/apt"; APT::Sandbox::User "root";`,
    );
    vi.stubEnv('APT_CONFIG', join(folder, 'apt.conf'));
    const { aptGet } = await apt();
    await aptGet(['-q', 'update']);
    // fcntl(2), as apt itself does it: struct flock with F_WRLCK over the whole file.
    const holder = spawn(
      'perl',
      [
        '-MFcntl',
        '-e',
        'open(F, "+>>", $ARGV[0]) or die; my $lock = pack("s s x4 l! l! i", F_WRLCK, 0, 0, 0, 0); fcntl(F, F_SETLK, $lock) or die; $| = 1; print "held\\n"; <STDIN>',
        join(folder, 'state/lists/lock'),
      ],
      { stdio: ['pipe', 'pipe', 'inherit'] },
    );
    try {
      await new Promise((resolve, reject) => {
        holder.stdout.once('data', resolve);
        holder.once('exit', () => reject(new Error('the lock could not be held')));
      });
      const told: string[] = [];
      const updated = aptGet(['-q', 'update'], {
        retryMs: 20,
        say: (line) => {
          told.push(line);
          holder.stdin.end();
        },
      });
      await updated;
      expect(told).toHaveLength(1);
      expect(told[0]).toMatch(/^waiting for another apt \(\d+ s\): Could not get lock .*lists\/lock/);
    } finally {
      holder.kill();
    }
  });

  it('is waited for only so long, and then named', async () => {
    standIn(
      'apt-get',
      '#!/bin/sh\necho "E: Could not get lock /var/lib/dpkg/lock-frontend. It is held by process 77 (apt)" >&2; exit 100\n',
    );
    const { aptGet } = await apt();
    await expect(aptGet(['update'], { lockWaitMs: 60, retryMs: 10, say: () => undefined })).rejects.toThrow(
      /another process has apt's lock.*held by process 77/,
    );
  });

  it('every call lets apt itself wait for the lock of dpkg, and another failure is no lock', async () => {
    standIn('apt-get', `#!/bin/sh\necho "$*" >>${folder}/calls; echo "E: no such package" >&2; exit 100\n`);
    const { aptGet } = await apt();
    await expect(aptGet(['install', 'x'], { lockWaitMs: 5_000 })).rejects.toThrow(/no such package/);
    expect(readFileSync(join(folder, 'calls'), 'utf8')).toBe('-o DPkg::Lock::Timeout=5 install x\n');
  });

  it('is waited for by the set-up of a fresh clone and by the image alike', () => {
    for (const file of ['deploy/setup.mjs', 'test/bmc/rig/image.ts']) {
      const text = readFileSync(join(root, file), 'utf8');
      expect(text).toContain('apt.mjs');
      // `apt-get indextargets` only reads, and a mmdebstrap's own apt has locks of its own.
      expect(text.match(/'apt-get', \[(?!'indextargets'|.*indextargets)/g) ?? []).toEqual([]);
    }
  });
});

describe('progress', () => {
  it('says which step of how many goes on, and again while it does', () => {
    vi.useFakeTimers();
    const lines: string[] = [];
    const working = progress('image', { steps: 2, write: (line) => lines.push(line) });
    working.step('root file system');
    vi.advanceTimersByTime(31_000);
    working.step('disk');
    working.end('done');
    vi.advanceTimersByTime(60_000);
    expect(lines).toEqual([
      'image 1/2    0 s  root file system\n',
      'image 1/2   15 s  still at it: root file system (15 s)\n',
      'image 1/2   30 s  still at it: root file system (30 s)\n',
      'image 2/2   31 s  disk\n',
      'image 2/2   31 s  done\n',
    ]);
  });

  it('counts as many steps of the image as there are', () => {
    const text = readFileSync(join(root, 'test/bmc/rig/image.ts'), 'utf8');
    const steps = Number(/const STEPS = (\d+);/.exec(text)?.[1]);
    expect(text.match(/working\.step\(/g)).toHaveLength(steps);
  });
});

describe('a guest that will not come up', () => {
  it.each([
    ['a panic', 'x\n[    2.1] Kernel panic - not syncing: Attempted to kill init!\n', /^its kernel panicked/],
    [
      'no disk',
      '[   33.0] rig: no /dev/mmcblk0 after 30 s\n[   33.1] reboot: Power down\n',
      /^it has no disk/,
    ],
    [
      'no root',
      '[ 3.0] VFS: Unable to mount root fs\n[ 3.1] Kernel panic - not syncing: VFS\n',
      /^it has no disk/,
    ],
    ['power off', '[   33.1] reboot: Power down\n', /^it switched itself off/],
    ['a shell', 'BusyBox v1.35\n(initramfs) ', /^it stands at a shell/],
    ['emergency', 'You are in emergency mode. After logging in, type', /^systemd gave up/],
  ])('%s is told with the last lines of the console', (_, text, expected) => {
    expect(consoleFailure(text)).toMatch(expected);
    expect(consoleFailure(text)).toContain(text.trim().split('\n').at(-1));
  });

  it('a console of a boot that goes on is no failure', () => {
    expect(consoleFailure('')).toBeNull();
    expect(
      consoleFailure('Uncompressing Linux... done, booting the kernel.\n[    1.0] Booting Linux\n'),
    ).toBeNull();
    expect(consoleFailure('Debian GNU/Linux 12 bmc ttyS4\n\nbmc login: ')).toBeNull();
  });

  const image: BmcImage = { kernel: '/k', initramfs: '/i', deviceTrees: '/d', disk: '/x' };
  /** A QEMU that answers on QMP and forwards a port on which nobody answers. */
  const qemu = (then: string) => `#!${process.execPath}
    const { createServer } = require('node:net');
    const { appendFileSync } = require('node:fs');
    const args = process.argv.slice(2);
    const serial = args[args.indexOf('-serial') + 1].replace('file:', '');
    appendFileSync(serial, 'U-Boot\\n');
    const agent = createServer((socket) => socket.destroy()).listen(0, '127.0.0.1', () => {
      for (const [index, arg] of args.entries()) {
        if (arg !== '-qmp') continue;
        createServer((socket) => {
          socket.on('error', () => undefined);
          socket.write('{"QMP":{}}\\n');
          socket.on('data', (data) => {
            for (const line of String(data).trim().split('\\n')) {
              const { id, execute } = JSON.parse(line);
              const table = '  TCP[HOST_FORWARD]  12  127.0.0.1  ' + agent.address().port + '  10.0.2.15  7000';
              socket.write(JSON.stringify({ id, return: execute === 'human-monitor-command' ? table : {} }) + '\\n');
              if (execute === 'human-monitor-command') { ${then} }
            }
          });
        }).listen(args[index + 1].replace(/^unix:|,.*/g, ''));
      }
    });`;

  it('is given up when its console says so, not when its time is over', async () => {
    standIn(
      'qemu-system-arm',
      qemu("appendFileSync(serial, '[ 2.0] Kernel panic - not syncing: no init\\\\n');"),
    );
    await expect(bootBmc({ image, timeoutMs: 600_000 })).rejects.toThrow(
      /will not come up: its kernel panicked[\s\S]*U-Boot[\s\S]*no init/,
    );
  });

  it('a QEMU that dies at once is told with what it said', async () => {
    standIn('qemu-system-arm', '#!/bin/sh\necho "qemu: could not open disk" >&2\nexit 1\n');
    await expect(bootBmc({ image, timeoutMs: 600_000 })).rejects.toThrow(
      /QEMU is gone \(it ended with 1\)[\s\S]*could not open disk/,
    );
  });

  it('a QEMU that dies later is told as well', async () => {
    standIn('qemu-system-arm', qemu('setTimeout(() => process.exit(3), 50);'));
    await expect(bootBmc({ image, timeoutMs: 600_000 })).rejects.toThrow(/QEMU is gone \(it ended with 3\)/);
  });

  it('every test file says why there is no guest', async () => {
    await expect(attachBmc({ reason: 'the BMC did not boot: no disk' })).rejects.toThrow(/no disk/);
  });
});

describe('the plant', () => {
  /** Lines without a QEMU; every call is answered when `go` is called. */
  function lines() {
    const levels = new Map<string, Level>([['C0', 0]]);
    let reads = 0;
    let broken: Error | undefined;
    const qmp: Partial<Qmp> = {
      async gpioLevel(line) {
        reads += 1;
        if (broken) throw broken;
        return levels.get(line) ?? 0;
      },
      gpioDirection: async () => 'out',
      async setGpioLevel(line, level) {
        levels.set(line, level);
      },
      onEvent: () => () => undefined,
    };
    return {
      qmp: qmp as Qmp,
      levels,
      reads: () => reads,
      fail: (error: Error) => {
        broken = error;
      },
    };
  }
  const wiring = {
    rails: [
      {
        rail: 'P12V',
        enable: { gpio: 'C0', active: 'high' },
        good: { gpio: 'B0', active: 'high' },
        needs: [],
        rampMs: 0,
        fallMs: 0,
      },
    ],
    pgood: { gpio: 'B7', active: 'high' },
    pollMs: 1,
  } as const;

  it('has levels from its start, and those of what a test did once it has looked', async () => {
    const world = lines();
    const plant = await startQmpPlant(world.qmp, wiring);
    try {
      expect([plant.level('C0'), plant.level('B0'), plant.level('B7')]).toEqual([0, 0, 0]);
      world.levels.set('C0', 1);
      expect(plant.level('C0')).toBe(0);
      const before = world.reads();
      await plant.looked();
      expect(world.reads()).toBeGreaterThan(before);
      expect([plant.level('C0'), plant.level('B0'), plant.level('B7')]).toEqual([1, 1, 1]);
    } finally {
      await plant.stop();
    }
  });

  it('that has ended is not waited for', async () => {
    const world = lines();
    const plant = await startQmpPlant(world.qmp, wiring);
    world.fail(new Error('the connection is lost'));
    await expect(plant.looked()).rejects.toThrow('the connection is lost');
    await expect(plant.stop()).rejects.toThrow('the connection is lost');
    await expect(plant.looked()).rejects.toThrow('the plant has ended');
  });
});
