import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import {
  chmodSync,
  closeSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { tryFlock } from '../../hw/flock.ts';
import type { Flock } from '../../hw/ports.ts';
import { createMockFlock } from '../../mocks/backends/flock.ts';
import { createVirtualClock } from '../../mocks/virtual-clock.ts';
import { isLocked, type LockOptions, lastHolder, lockChassis } from '../../src/store/lock.ts';
import { describeFlock } from '../contract/flock-contract.ts';
import { fewer } from '../draws.ts';
import { createManualClock } from './manual-clock.ts';

let dir = '';
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'chassis-power-lock-'));
});
afterEach(() => rmSync(dir, { recursive: true }));

const clock = createVirtualClock();
/** flock(1), with a process for each question; where few cases are tried, the mock that keeps the same contract. */
const flock: Flock = fewer(tryFlock, createMockFlock());
const locking = { clock, flock };
const waits: string[] = [];
const lock = (options: Partial<LockOptions> = {}) =>
  lockChassis(dir, 0, 'on', {
    ...locking,
    waitMs: 0,
    signal: new AbortController().signal,
    onWait: (holder) => waits.push(holder),
    ...options,
  });
/** Where other processes have a part in it. */
const lockByHelper = (options: Partial<LockOptions> = {}) => lock({ flock: tryFlock, ...options });
const HELD = `on, pid ${process.pid}`;

describe('the lock of a chassis', () => {
  it('that is held turns the next one away at once, and says who holds it', async () => {
    const held = await lock();
    await expect(lock()).rejects.toMatchObject({
      code: 'CHASSIS_LOCKED',
      message: `chassis 0 is driven by another process (${HELD}): wait for it to end`,
      details: { holder: HELD },
    });
    held.release();
    (await lock()).release();
  });

  it('is another one for another chassis', async () => {
    const held = await lock();
    const other = await lockChassis(dir, 1, 'on', {
      ...locking,
      waitMs: 0,
      signal: new AbortController().signal,
      onWait: () => undefined,
    });
    other.release();
    held.release();
  });

  it('is had by who waits, once it is released', async () => {
    waits.length = 0;
    const held = await lock();
    clock.after(5_000, () => held.release());
    const startMs = clock.nowMs();
    const second = await clock.runUntil(lock({ waitMs: 60_000 }));
    // Asked for every 200 ms, from the start on.
    expect(clock.nowMs() - startMs).toBe(5_000);
    expect(waits).toEqual([HELD]);
    second.release();
  });

  it('is not waited for longer than asked', async () => {
    const held = await lock();
    const startMs = clock.nowMs();
    await expect(clock.runUntil(lock({ waitMs: 1_000 }))).rejects.toMatchObject({ code: 'CHASSIS_LOCKED' });
    expect(clock.nowMs() - startMs).toBe(1_000);
    held.release();
  });

  it('is not waited for by a process that is asked to end', async () => {
    const held = await lock();
    const controller = new AbortController();
    const startMs = clock.nowMs();
    clock.after(300, () => controller.abort('SIGINT'));
    await expect(clock.runUntil(lock({ waitMs: 60_000, signal: controller.signal }))).rejects.toMatchObject({
      code: 'INTERRUPTED',
      message: expect.stringMatching(/nothing was begun/),
      details: { signal: 'SIGINT' },
    });
    expect(clock.nowMs() - startMs).toBe(300);
    held.release();
  });

  it('names its holder, not the one before', async () => {
    mkdirSync(join(dir, 'chassis0.lock'), { mode: 0o700 });
    writeFileSync(join(dir, 'chassis0.lock', 'holder'), 'cycle of long ago, pid 4194304\n');
    const held = await lock();
    expect(readFileSync(join(dir, 'chassis0.lock', 'holder'), 'utf8').split('\n')[0]).toBe(HELD);
    expect(await lastHolder(dir, 0, locking)).toBeNull();
    held.release();
    expect(await lastHolder(dir, 0, locking)).toBe('on');
  });

  it('cannot be had where there is no place for it', async () => {
    const file = join(dir, 'file');
    closeSync(openSync(file, 'w'));
    await expect(
      lockChassis(join(file, 'run'), 0, 'on', {
        ...locking,
        waitMs: 0,
        signal: new AbortController().signal,
        onWait: () => undefined,
      }),
    ).rejects.toMatchObject({ code: 'RUN_DIR_UNUSABLE' });
  });
});

const STRANGER = { uid: 65_534, gid: 65_534 };
const asStranger = (command: string) =>
  spawnSync('sh', ['-c', command, 'sh', dir], { ...STRANGER, encoding: 'utf8', timeout: 20_000 });

describe.runIf(process.geteuid?.() === 0 || process.env.CI === 'true')('a stranger (needs root)', () => {
  beforeEach(() => chmodSync(dir, 0o755));

  it('cannot hold the lock: there is nothing in the run directory that he can open and lock it by', async () => {
    (await lockByHelper()).release();
    const held = spawn('sh', ['-c', HOLD_ALL, 'sh', dir], { ...STRANGER, stdio: ['pipe', 'pipe', 'ignore'] });
    await once(held.stdout, 'data');
    (await lockByHelper()).release();
    held.stdin.end();
    await once(held, 'exit');
  });

  it('does not keep the lock by a file that he had open before, in its place', async () => {
    writeFileSync(join(dir, 'chassis0.lock'), '');
    chmodSync(join(dir, 'chassis0.lock'), 0o644);
    const held = spawn('flock', ['-x', join(dir, 'chassis0.lock'), 'sh', '-c', 'echo held; read end'], {
      ...STRANGER,
      stdio: ['pipe', 'pipe', 'ignore'],
    });
    await once(held.stdout, 'data');
    const mine = await lockByHelper();
    expect(await isLocked(dir, 0, { clock, flock: tryFlock })).toBe(true);
    await expect(lockByHelper()).rejects.toMatchObject({ code: 'CHASSIS_LOCKED' });
    mine.release();
    held.stdin.end();
    await once(held, 'exit');
  });

  it('cannot have the lock by a directory of his own: it is refused', async () => {
    chmodSync(dir, 0o1777);
    expect(asStranger('mkdir "$1/chassis0.lock"').status).toBe(0);
    await expect(lockByHelper()).rejects.toMatchObject({
      code: 'RUN_DIR_UNUSABLE',
      message: expect.stringMatching(/it belongs to user 65534/),
    });
  });

  it('cannot read who holds it', async () => {
    const held = await lockByHelper();
    expect(asStranger('cat "$1/chassis0.lock/holder"').status).not.toBe(0);
    held.release();
  });
});

/** Locks whatever below a directory lets itself be opened, and holds it until its input ends. */
const HOLD_ALL = `exec 9</dev/null
for each in $(find "$1"); do flock -x -n "$each" sh -c 'echo held >&2; sleep 30' & done
sleep 0.3; echo ready; read end; kill $(jobs -p)`;

describe('what stands in the place of the lock', () => {
  const path = () => join(dir, 'chassis0.lock');

  it.each([
    ['a link to a file', (victim: string) => symlinkSync(victim, path())],
    ['a link to a directory', () => symlinkSync(dir, path())],
    ['a link to nothing', () => symlinkSync(join(dir, 'nowhere'), path())],
    ['a link to itself', () => symlinkSync('chassis0.lock', path())],
    ['a pipe', () => void spawnSync('mkfifo', [path()])],
    ['a device', () => void spawnSync('mknod', [path(), 'c', '1', '3'])],
    ['a file that anybody may open', () => writeFileSync(path(), 'old, pid 1\n', { mode: 0o666 })],
    ['a directory that anybody may look into', () => mkdirSync(path(), { mode: 0o777 })],
  ])('is not waited for and not written through, and the lock is had: %s', async (_, put) => {
    const victim = join(dir, 'victim');
    writeFileSync(victim, 'untouched');
    put(victim);
    const held = await lock();
    expect(readFileSync(victim, 'utf8')).toBe('untouched');
    expect(readdirSync(dir).sort()).toEqual(['chassis0.lock', 'victim']);
    expect(lstatSync(path()).isDirectory()).toBe(true);
    expect(statSync(path()).mode & 0o777).toBe(0o700);
    await expect(lock()).rejects.toMatchObject({ code: 'CHASSIS_LOCKED' });
    held.release();
  });

  it('is had by one of many that come at the same time', async () => {
    for (let round = 0; round < fewer(10, 3); round += 1) {
      rmSync(path(), { recursive: true, force: true });
      writeFileSync(path(), '');
      const results = await Promise.allSettled([lock(), lock(), lock(), lock()]);
      const held = results.flatMap((result) => (result.status === 'fulfilled' ? [result.value] : []));
      expect(held).toHaveLength(1);
      held[0]?.release();
    }
  });

  it('in a run directory that anybody may write to is no lock', async () => {
    const open = join(dir, 'open');
    mkdirSync(open);
    chmodSync(open, 0o777);
    await expect(
      lockChassis(open, 0, 'on', {
        ...locking,
        waitMs: 0,
        signal: new AbortController().signal,
        onWait: () => undefined,
      }),
    ).rejects.toMatchObject({ code: 'RUN_DIR_UNUSABLE', message: expect.stringMatching(/others may write/) });
  });
});

describe('a lock helper', () => {
  let realPath: string | undefined;
  let gate = '';
  beforeEach(() => {
    realPath = process.env.PATH;
    gate = join(dir, 'gate');
  });
  afterEach(() => {
    process.env.PATH = realPath;
  });
  /** From now on flock(1) is this script. */
  const replaceHelper = (script: string) => {
    const bin = join(dir, 'bin');
    mkdirSync(bin, { recursive: true });
    writeFileSync(join(bin, 'flock'), `#!/bin/sh\n${script}\n`, { mode: 0o755 });
    process.env.PATH = `${bin}:${realPath}`;
  };
  const slow = () =>
    replaceHelper(`while [ ! -e ${gate} ]; do sleep 0.01; done; PATH=${realPath} exec flock "$@"`);
  const withouts: string[] = [];
  const lockForOff = (time: ReturnType<typeof createManualClock>) => {
    withouts.length = 0;
    return lockByHelper({ clock: time, waitMs: 60_000, onWithout: (why) => withouts.push(why) });
  };
  /** Lets virtual time pass until it is settled; what a child does takes real time. */
  const settled = async <T>(
    time: Pick<ReturnType<typeof createManualClock>, 'advance'>,
    promise: Promise<T>,
    stepMs: number,
  ) => {
    let isOver = false;
    promise.then(
      () => {
        isOver = true;
      },
      () => {
        isOver = true;
      },
    );
    while (!isOver) await time.advance(stepMs);
    return promise;
  };

  const children = () => process.getActiveResourcesInfo().filter((name) => name === 'ProcessWrap').length;

  it('slower than 5 s does not let a power off run beside a live start', async () => {
    const time = createManualClock();
    const start = await lockByHelper();
    slow();
    const others = children();
    const off = lockForOff(time);
    await time.advance(8_000);
    writeFileSync(gate, '');
    // It answers now: the chassis is taken, and stays so to the end of the wait. No time passes while it is at work.
    const working = {
      ...time,
      advance: (ms: number) =>
        children() > others ? new Promise<void>((resolve) => setTimeout(resolve, 1)) : time.advance(ms),
    };
    await expect(settled(working, off, 20)).rejects.toMatchObject({ code: 'CHASSIS_LOCKED' });
    expect(withouts).toEqual([]);
    start.release();
  });

  it('that never answers does not let a power off run beside a live start either', async () => {
    const time = createManualClock();
    const start = await lockByHelper();
    slow();
    await expect(settled(time, lockForOff(time), 1_000)).rejects.toMatchObject({
      code: 'RUN_DIR_UNUSABLE',
      message: expect.stringMatching(/gave no answer within .* ms, and on, pid \d+ may have it/),
    });
    expect(withouts).toEqual([]);
    start.release();
  });

  it.each([
    ['never answers', () => slow()],
    ['is killed', () => replaceHelper('kill -9 $$')],
    ['is broken', () => replaceHelper('exit 65')],
  ])('that %s lets a power off go on, and nothing else, where no process has the chassis', async (_, put) => {
    const time = createManualClock();
    (await lockByHelper()).release();
    put();
    const off = await settled(time, lockForOff(time), 1_000);
    expect(withouts).toHaveLength(1);
    off.release();
    await expect(settled(time, lockByHelper({ clock: time, waitMs: 60_000 }), 1_000)).rejects.toMatchObject({
      code: 'RUN_DIR_UNUSABLE',
    });
  });

  it('that is not there lets a power off go on at once, and nothing else', async () => {
    process.env.PATH = dir;
    const time = createManualClock();
    (await lockForOff(time)).release();
    expect(withouts).toMatchObject([expect.stringMatching(/cannot be started \(ENOENT\)/)]);
    await expect(lockByHelper({ clock: time, waitMs: 60_000 })).rejects.toMatchObject({
      code: 'RUN_DIR_UNUSABLE',
    });
  });

  it('that is waited for does not hold up the process', async () => {
    const time = createManualClock();
    slow();
    let turns = 0;
    const asked = lockByHelper({ clock: time });
    for (; turns < 5; turns += 1) await new Promise((resolve) => setImmediate(resolve));
    expect(turns).toBe(5);
    writeFileSync(gate, '');
    (await asked).release();
  });
});

describe('a process that cannot ask for want of descriptors, memory or processes', () => {
  const refused = Object.assign(new Error('too many'), { code: 'EMFILE' });
  const withouts: string[] = [];
  /** What asks cannot be started, or cannot even be loaded. */
  const SHORT: readonly [string, Flock][] = [
    [
      'flock(1) is not started',
      async () => ({ why: 'cannot be started (EMFILE)', isFinal: false, isShort: true, error: refused }),
    ],
    ['what starts it is not loaded', () => Promise.reject(refused)],
  ];
  const shortLock = (short: Flock, options: Partial<LockOptions> = {}) =>
    clock.runUntil(lock({ flock: short, ...options }));
  beforeEach(() => {
    withouts.length = 0;
  });

  it.each(SHORT)('powers off within a second where no process has the chassis: %s', async (_, short) => {
    (await lock()).release();
    const startMs = clock.nowMs();
    const off = await shortLock(short, { waitMs: 60_000, onWithout: (why) => withouts.push(why) });
    expect(clock.nowMs() - startMs).toBeLessThanOrEqual(1_200);
    expect(withouts).toEqual([expect.stringMatching(/EMFILE/)]);
    off.release();
  });

  it.each(SHORT)('asks again before, and so has the lock of a moment later: %s', async (_, short) => {
    let tries = 0;
    const held = await shortLock((...args) => (++tries < 3 ? short(...args) : flock(...args)), {
      waitMs: 60_000,
      onWithout: (why) => withouts.push(why),
    });
    expect(withouts).toEqual([]);
    await expect(lock()).rejects.toMatchObject({ code: 'CHASSIS_LOCKED' });
    held.release();
  });

  it.each(SHORT)('powers nothing on, and says what to do: %s', async (_, short) => {
    await expect(shortLock(short)).rejects.toMatchObject({
      code: 'MACHINE_SHORT',
      message: expect.stringMatching(/EMFILE.*ulimit -n/),
    });
  });

  it.each(SHORT)('waits for the process that has the chassis: %s', async (_, short) => {
    const held = await lock();
    await expect(shortLock(short)).rejects.toMatchObject({ code: 'CHASSIS_LOCKED' });
    const startMs = clock.nowMs();
    const forOff = { waitMs: 60_000, onWithout: (why: string) => withouts.push(why) };
    await expect(shortLock(short, forOff)).rejects.toMatchObject({ code: 'CHASSIS_LOCKED' });
    expect(clock.nowMs() - startMs).toBe(60_000);
    expect(withouts).toEqual([]);
    clock.after(5_000, () => held.release());
    (await shortLock(short, forOff)).release();
    expect(withouts).toHaveLength(1);
  });

  it('any other mistake of what asks is told as it is, and leaves nothing open', async () => {
    const descriptors = () => readdirSync('/proc/self/fd').length;
    const before = descriptors();
    await expect(shortLock(() => Promise.reject(new TypeError('no')))).rejects.toThrow('no');
    for (const [, short] of SHORT) await expect(shortLock(short)).rejects.toThrow(/EMFILE/);
    expect(descriptors()).toBe(before);
  });
});

describeFlock('flock(1)', tryFlock);
