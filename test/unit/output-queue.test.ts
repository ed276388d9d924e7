import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { createVirtualClock } from '../../mocks/virtual-clock.ts';
import { createOutputQueue } from '../../src/system/output-queue.ts';
import { fewer } from '../draws.ts';

/** Somebody who takes text, a number of bytes at a time, or refuses it. */
function reader() {
  let text = '';
  return {
    /** Bytes that still fit; null is no limit. */
    room: null as number | null,
    /** What a write comes to instead. */
    errno: null as string | null,
    get text() {
      return text;
    },
    send(data: Uint8Array): number {
      const errno = this.errno ?? (this.room === 0 ? 'EAGAIN' : null);
      if (errno !== null) throw Object.assign(new TypeError(errno), { code: errno });
      const taken = data.subarray(0, this.room ?? data.length);
      if (this.room !== null) this.room -= taken.length;
      text += Buffer.from(taken).toString('latin1');
      return taken.length;
    },
  };
}

function queueTo(to: ReturnType<typeof reader>) {
  const clock = createVirtualClock();
  const queue = createOutputQueue(
    clock,
    (data) => to.send(data),
    (lines, errno) => `(${lines} lost: ${errno})`,
  );
  return { clock, queue };
}

describe('an output queue', () => {
  it('passes on at once what is taken at once', () => {
    const to = reader();
    queueTo(to).queue.write('one\n');
    expect(to.text).toBe('one\n');
  });

  it('keeps what a slow reader does not take, in order and whole', async () => {
    const to = reader();
    const { clock, queue } = queueTo(to);
    to.room = 2;
    queue.write('one\n');
    queue.write('two\n');
    expect(to.text).toBe('on');
    clock.after(100, () => {
      to.room = 3;
    });
    clock.after(200, () => {
      to.room = null;
    });
    await clock.runUntil(queue.drain(10_000));
    expect(to.text).toBe('one\ntwo\n');
  });

  it.each(['EPIPE', 'ENOSPC', 'EIO', 'EBADF', 'ENXIO'])(
    '%s: goes on, and tells later what is missing',
    (errno) => {
      const to = reader();
      const { queue } = queueTo(to);
      to.errno = errno;
      queue.write('one\n');
      queue.write('two\nthree\n');
      to.errno = null;
      queue.write('four\n');
      queue.write('five\n');
      expect(to.text).toBe(`(3 lost: ${errno})\nfour\nfive\n`);
    },
  );

  it('begins a new line where one was cut off', async () => {
    const to = reader();
    const { clock, queue } = queueTo(to);
    to.room = 2;
    queue.write('one\n');
    to.errno = 'ENOSPC';
    await clock.advance(1000);
    to.errno = null;
    to.room = null;
    queue.write('two\n');
    expect(to.text).toBe('on\n(1 lost: ENOSPC)\ntwo\n');
  });

  it('drops the rest when it may not wait any longer', async () => {
    const to = reader();
    const { clock, queue } = queueTo(to);
    to.room = 0;
    queue.write('one\n');
    const before = clock.nowMs();
    await clock.runUntil(queue.drain(1000));
    expect(clock.nowMs() - before).toBe(1000);
    to.room = null;
    await clock.advance(10_000);
    expect(to.text).toBe('');
    queue.write('two\n');
    expect(to.text).toBe('(1 lost: EAGAIN)\ntwo\n');
  });

  it('holds no more than its limit for a reader who takes nothing, and counts the rest', async () => {
    const to = reader();
    const { clock, queue } = queueTo(to);
    to.room = 0;
    const line = `${'x'.repeat(1023)}\n`;
    for (let index = 0; index < 10_000; index += 1) queue.write(line);
    to.room = null;
    await clock.runUntil(queue.drain(10_000));
    const kept = to.text.split('\n').filter((each) => each.startsWith('x')).length;
    expect(kept).toBeGreaterThan(200);
    expect(to.text.length).toBeLessThan(300 * 1024);
    expect(to.text.endsWith(`\n(${10_000 - kept} lost: EAGAIN)\n`)).toBe(true);
  });

  it('never throws, loses no line without counting it, and repeats none', async () => {
    const happening = fc.oneof(
      fc.record({ write: fc.integer({ min: 1, max: 3 }) }),
      fc.record({ errno: fc.constantFrom('EPIPE', 'ENOSPC', 'EIO', null) }),
      fc.record({ room: fc.option(fc.integer({ min: 0, max: 40 })) }),
      fc.record({ pauseMs: fc.integer({ min: 1, max: 2000 }) }),
    );
    await fc.assert(
      fc.asyncProperty(fc.array(happening, { maxLength: 40 }), async (happenings) => {
        const to = reader();
        const { clock, queue } = queueTo(to);
        let written = 0;
        const write = (lines: number) => {
          let text = '';
          for (let index = 0; index < lines; index += 1) {
            text += `<${written}>\n`;
            written += 1;
          }
          queue.write(text);
        };
        for (const each of happenings) {
          if ('write' in each) write(each.write);
          else if ('errno' in each) to.errno = each.errno;
          else if ('room' in each) to.room = each.room;
          else await clock.runUntil(new Promise<void>((resolve) => clock.after(each.pauseMs, resolve)));
        }
        to.errno = null;
        to.room = null;
        await clock.runUntil(queue.drain(10_000));
        write(1);
        const whole = [...to.text.matchAll(/^<(\d+)>$/gm)].map(([, number]) => Number(number));
        const lost = [...to.text.matchAll(/^\((\d+) lost: \w+\)$/gm)].reduce(
          (sum, [, n]) => sum + Number(n),
          0,
        );
        expect(whole).toEqual([...new Set(whole)].sort((a, b) => a - b));
        expect(whole.at(-1)).toBe(written - 1);
        expect(whole.length + lost).toBe(written);
      }),
      { numRuns: fewer(1000, 100) },
    );
  });
});
