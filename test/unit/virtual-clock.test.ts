import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { createVirtualClock, VirtualTimeError } from '../../mocks/virtual-clock.ts';

const NEVER = new Promise<never>(() => undefined);

describe('advance', () => {
  it('runs timers by time, equal ones in the order they were set, and ends at the full time', async () => {
    const clock = createVirtualClock(1000);
    const ran: string[] = [];
    for (const [name, delayMs] of [
      ['c', 20],
      ['a', 10],
      ['d', 20],
      ['b', 10],
      ['late', 31],
    ] as const) {
      clock.after(delayMs, () => ran.push(`${name} at ${clock.nowMs()}`));
    }
    await clock.advance(30);
    expect(ran).toEqual(['a at 1010', 'b at 1010', 'c at 1020', 'd at 1020']);
    expect(clock.nowMs()).toBe(1030);
  });

  it('keeps the order of many timers, equal ones among them', async () => {
    const clock = createVirtualClock(0);
    const ran: string[] = [];
    const timers = Array.from({ length: 500 }, (_, index) => ({ delayMs: (index * 7919) % 50, index }));
    for (const { delayMs, index } of timers) clock.after(delayMs, () => ran.push(`${delayMs}/${index}`));
    await clock.advance(50);
    timers.sort((left, right) => left.delayMs - right.delayMs || left.index - right.index);
    expect(ran).toEqual(timers.map(({ delayMs, index }) => `${delayMs}/${index}`));
  });

  it('lets promises settle between timers of the same time', async () => {
    const clock = createVirtualClock();
    const ran: string[] = [];
    const follow = async () => {
      for (let turn = 0; turn < 20; turn += 1) await null;
      ran.push('what the first set off');
    };
    clock.after(10, () => void follow());
    clock.after(10, () => ran.push('second'));
    await clock.advance(10);
    expect(ran).toEqual(['what the first set off', 'second']);
  });

  it('runs a timer set by a timer within the same advance', async () => {
    const clock = createVirtualClock(0);
    let ranAtMs = -1;
    clock.after(10, () =>
      clock.after(5, () => {
        ranAtMs = clock.nowMs();
      }),
    );
    await clock.advance(20);
    expect(ranAtMs).toBe(15);
  });
});

describe('runUntil', () => {
  const sleep = (clock: { after(ms: number, run: () => void): unknown }, ms: number) =>
    new Promise<void>((resolve) => {
      clock.after(ms, resolve);
    });

  it('jumps from timer to timer and gives the result, at the time it was there', async () => {
    const clock = createVirtualClock(0);
    const work = async () => {
      await sleep(clock, 60_000);
      await sleep(clock, 0.5);
      return 'done';
    };
    expect(await clock.runUntil(work())).toBe('done');
    expect(clock.nowMs()).toBe(60_000.5);
  });

  it('rejects as the promise does', async () => {
    const clock = createVirtualClock();
    const failing = sleep(clock, 10).then(() => Promise.reject(new RangeError('of the work')));
    await expect(clock.runUntil(failing)).rejects.toThrow(RangeError);
  });

  it('finds a hang instead of waiting for it', async () => {
    const clock = createVirtualClock(1000);
    clock.after(25, () => undefined);
    await expect(clock.runUntil(NEVER)).rejects.toThrow(/hangs at 1025 ms/);
  });

  it('does not take a cancelled timer for something to wait for', async () => {
    const clock = createVirtualClock(1000);
    clock.after(25, () => undefined)();
    await expect(clock.runUntil(NEVER)).rejects.toThrow(/hangs at 1000 ms/);
  });

  it('ends what goes on for ever at its limit of virtual time', async () => {
    const clock = createVirtualClock(0);
    const poll = () => {
      clock.after(10, poll);
    };
    poll();
    await expect(clock.runUntil(NEVER, { limitMs: 1_000 })).rejects.toThrow(/within 1000 ms/);
    expect(clock.nowMs()).toBe(1_000);
  });

  it('does not jump while a file operation or an immediate is under way', async () => {
    const clock = createVirtualClock(0);
    const directory = await mkdtemp(join(tmpdir(), 'virtual-clock-'));
    const work = async () => {
      const path = join(directory, 'file');
      await writeFile(path, 'text');
      expect(await readFile(path, 'utf8')).toBe('text');
      for (let turn = 0; turn < 5; turn += 1) {
        await new Promise<void>((resolve) => {
          setImmediate(resolve);
        });
      }
      return clock.nowMs();
    };
    clock.after(10, () => undefined);
    expect(await clock.runUntil(work())).toBe(0);
    await rm(directory, { recursive: true });
  });

  it('is not driven twice at once', async () => {
    const clock = createVirtualClock();
    const first = clock.runUntil(sleep(clock, 10));
    await expect(clock.advance(1)).rejects.toThrow(VirtualTimeError);
    await first;
    await clock.advance(1);
  });

  it('makes thousands of jumps a second', async () => {
    const clock = createVirtualClock(0);
    const work = async () => {
      for (let jump = 0; jump < 5_000; jump += 1) await sleep(clock, 1);
    };
    const startedMs = performance.now();
    await clock.runUntil(work());
    expect(clock.nowMs()).toBe(5_000);
    // Some fifty times what it takes: the machine may be busy.
    expect(performance.now() - startedMs).toBeLessThan(2_500);
  });
});

it('tells a wall time that goes with the virtual one', async () => {
  const clock = createVirtualClock();
  const before = clock.wallTime().getTime();
  await clock.advance(1_500);
  expect(clock.wallTime().getTime() - before).toBe(1_500);
});

it('refuses a timer at no time', () => {
  expect(() => createVirtualClock().after(Number.NaN, () => undefined)).toThrow(VirtualTimeError);
});
