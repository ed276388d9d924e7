import { closeSync, mkdirSync, mkdtempSync, openSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Flock } from '../../hw/ports.ts';
import { createVirtualClock } from '../../mocks/virtual-clock.ts';

/** The contract of `Flock`, for the kernel's locks and for those in memory. */
export function describeFlock(name: string, flock: Flock): void {
  describe(`${name}: the lock of an open directory`, () => {
    let dir = '';
    const opened = new Set<number>();
    beforeEach(() => {
      dir = mkdtempSync(join(tmpdir(), 'chassis-power-flock-'));
    });
    afterEach(() => {
      for (const fd of opened) closeSync(fd);
      opened.clear();
      rmSync(dir, { recursive: true });
    });
    const open = (path = dir): number => {
      const fd = openSync(path, 'r');
      opened.add(fd);
      return fd;
    };
    const close = (fd: number): void => {
      opened.delete(fd);
      closeSync(fd);
    };
    const clock = createVirtualClock();
    const ask = (fd: number) => clock.runUntil(flock(fd, { clock, limitMs: 10_000 }));

    it('is had by one opening, and had again by that one', async () => {
      const [first, second] = [open(), open()];
      expect(await ask(first)).toBe('locked');
      expect(await ask(second)).toBe('taken');
      expect(await ask(first)).toBe('locked');
      expect(await ask(second)).toBe('taken');
    });

    it('is free once its opening is closed, also for one that was turned away', async () => {
      const [first, second, third] = [open(), open(), open()];
      expect(await ask(first)).toBe('locked');
      expect(await ask(second)).toBe('taken');
      close(first);
      expect(await ask(second)).toBe('locked');
      expect(await ask(third)).toBe('taken');
    });

    it('is not kept by the closing of an opening that was turned away', async () => {
      const [first, second] = [open(), open()];
      expect(await ask(first)).toBe('locked');
      expect(await ask(second)).toBe('taken');
      close(second);
      expect(await ask(open())).toBe('taken');
    });

    it('has nothing to do with that of another directory, which may have the number of its descriptor next', async () => {
      const other = join(dir, 'other');
      mkdirSync(other);
      const [first, second] = [open(), open(other)];
      expect(await ask(first)).toBe('locked');
      expect(await ask(second)).toBe('locked');
      close(first);
      const third = open(other);
      expect(await ask(third)).toBe('taken');
      expect(await ask(open())).toBe('locked');
    });

    it('belongs to the directory, whatever is its name', async () => {
      const path = join(dir, 'lock');
      mkdirSync(path);
      const first = open(path);
      expect(await ask(first)).toBe('locked');
      rmSync(path, { recursive: true });
      mkdirSync(path);
      expect(await ask(open(path))).toBe('locked');
      expect(await ask(first)).toBe('locked');
    });

    it('goes to one of those that ask at once', async () => {
      const answers = await clock.runUntil(
        Promise.all([open(), open(), open()].map((fd) => flock(fd, { clock, limitMs: 10_000 }))),
      );
      expect(answers.toSorted()).toEqual(['locked', 'taken', 'taken']);
    });
  });
}
