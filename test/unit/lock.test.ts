import { closeSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createVirtualClock } from '../../mocks/virtual-clock.ts';
import { type LockOptions, lockChassis } from '../../src/run/lock.ts';

let dir = '';
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'chassis-power-lock-'));
});
afterEach(() => rmSync(dir, { recursive: true }));

const clock = createVirtualClock();
const waits: string[] = [];
const lock = (options: Partial<LockOptions> = {}) =>
  lockChassis(dir, 0, 'on', {
    clock,
    waitMs: 0,
    signal: new AbortController().signal,
    onWait: (holder) => waits.push(holder),
    ...options,
  });
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
      clock,
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
    writeFileSync(join(dir, 'chassis0.lock'), 'cycle of long ago, pid 4194304\n');
    const held = await lock();
    expect(readFileSync(join(dir, 'chassis0.lock'), 'utf8')).toBe(`${HELD}\n`);
    held.release();
  });

  it('cannot be had where there is no place for it', async () => {
    const file = join(dir, 'file');
    closeSync(openSync(file, 'w'));
    await expect(
      lockChassis(join(file, 'run'), 0, 'on', {
        clock,
        waitMs: 0,
        signal: new AbortController().signal,
        onWait: () => undefined,
      }),
    ).rejects.toMatchObject({ code: 'RUN_DIR_UNUSABLE' });
  });
});
