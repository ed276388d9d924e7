/** A power button as an enable: when it is pressed, for how long, and what is told where that does not do it. */
import { describe, expect, it } from 'vitest';
import { HardwareError } from '../../hw/errors.ts';
import { createVirtualClock } from '../../mocks/virtual-clock.ts';
import type { PulseBoard } from '../../src/board/schema.ts';
import { createPulse } from '../../src/run/pulses.ts';
import type { Press } from '../../src/sequence/events.ts';

const BUTTON: PulseBoard['pulse'] = { chip: 'gpio', line: 2, active: 'high' };
const STATE: PulseBoard['pulse'] = { chip: 'gpio', line: 3, active: 'high' };
/** No multiple of each other, nor of the time between two looks. */
const TIMES = { onMs: 130, takenMs: 50, forceOffMs: 6_010 };

interface Stage {
  readonly pulse?: Partial<PulseBoard>;
  /** Whether the rail is shown to be on. Throws where it cannot be read. */
  readonly shown: (given: { readonly ms: number; readonly pressedMs: number | null }) => boolean;
  /** Called when a write has moved the button, and may throw what becomes of it. */
  readonly written?: (asserted: boolean) => void;
  readonly shownWithinMs?: number;
}

/** A button on a clock of its own. All times count from the beginning. */
function stage({ pulse = {}, shown, written = () => undefined, shownWithinMs = 50 }: Stage) {
  const clock = createVirtualClock(0);
  const line = { isPressed: false, sinceMs: 0, reading: (): void => undefined };
  const presses: (readonly [fromMs: number, toMs: number])[] = [];
  const writes: string[] = [];
  const move = (asserted: boolean) => {
    if (line.isPressed && !asserted) presses.push([line.sinceMs, clock.nowMs()]);
    if (line.isPressed !== asserted) line.sinceMs = clock.nowMs();
    line.isPressed = asserted;
  };
  const part = { bus: null, poweredBy: null };
  const button = createPulse({
    role: 'enable of rail HOST',
    button: {
      ...part,
      role: 'power button of rail HOST',
      async read() {
        line.reading();
        return line.isPressed;
      },
      async write(asserted) {
        writes.push(`${asserted ? 'press' : 'let go'} at ${clock.nowMs()}`);
        move(asserted);
        written(asserted);
      },
    },
    shown: {
      ...part,
      role: 'state of rail HOST',
      read: async () =>
        shown({ ms: clock.nowMs(), pressedMs: line.isPressed ? clock.nowMs() - line.sinceMs : null }),
      watch: () => () => undefined,
    },
    pulse: { pulse: BUTTON, state: STATE, ...TIMES, ...pulse },
    shownWithinMs,
    clock,
  });
  const told = (work: Promise<void>) =>
    clock.runUntil(
      work.then(
        () => 'done',
        (error: unknown) => error as Error,
      ),
    );
  return {
    clock,
    line,
    move,
    presses,
    writes,
    button,
    on: (abandoned?: AbortSignal) => told(button.write(true, undefined, abandoned)),
    off: (press?: Partial<Press>, abandoned?: AbortSignal) =>
      told(button.write(false, press && { isGraceful: false, mayBeOn: false, ...press }, abandoned)),
  };
}

const never = () => false;
const always = () => true;
const unreadable = () => {
  throw new HardwareError('GPIO_FAILED', 'cannot be read');
};
const LINE_FAILED = new HardwareError('GPIO_FAILED', 'EIO');
const NOT_FOLLOWED = new HardwareError('GPIO_NOT_FOLLOWED', 'reads the other', { readBack: true });
const MISTAKE = new TypeError('a mistake of the program');

describe('a press that switches on', () => {
  it('lasts onMs, and is done as soon as the state shows it', async () => {
    const { on, clock, presses } = stage({ shown: ({ ms }) => ms >= 145 });
    expect(await on()).toBe('done');
    expect([presses, clock.nowMs()]).toEqual([[[0, 130]], 150]);
  });

  it('is done when it is over where nothing of its own shows it: the rail has its own time', async () => {
    const { on, clock, presses } = stage({ shown: never, pulse: { state: undefined } });
    expect(await on()).toBe('done');
    expect([presses, clock.nowMs()]).toEqual([[[0, 130]], 130]);
  });

  it('is none for a rail that is on', async () => {
    const { on, writes } = stage({ shown: always });
    expect([await on(), writes]).toEqual(['done', []]);
  });

  it('that its state shows in the last moment was taken', async () => {
    const { on, clock } = stage({ shown: ({ ms }) => ms >= 180 });
    expect([await on(), clock.nowMs()]).toEqual(['done', 180]);
  });

  it('that its state does not show in takenMs was ignored, and the rail is off', async () => {
    const { on, clock } = stage({ shown: never });
    expect(await on()).toMatchObject({
      code: 'GPIO_PULSE_IGNORED',
      message:
        'enable of rail HOST: power button of rail HOST was pressed for 130 ms, and state of rail HOST does not show it within 50 ms',
      details: { role: 'enable of rail HOST', readBack: true },
    });
    expect(clock.nowMs()).toBe(180);
  });

  it('that is shown to be on right after that leaves the rail in doubt', async () => {
    let looks = 0;
    // It is looked at before the press, at 130, 150, 170 and 180 ms, and once more for the error.
    const { on } = stage({
      shown: () => {
        looks += 1;
        return looks > 5;
      },
    });
    expect(await on()).toMatchObject({ code: 'GPIO_PULSE_IGNORED', details: { readBack: false } });
  });

  it('is let go when the process is told twice to end', async () => {
    const { on, clock, presses } = stage({ shown: never });
    const abandon = new AbortController();
    clock.after(70, () => abandon.abort('SIGTERM'));
    await on(abandon.signal);
    expect([presses, clock.nowMs()]).toEqual([[[0, 70]], 70]);
  });

  it('that cannot be read before it presses nothing', async () => {
    const { on, writes } = stage({ shown: unreadable });
    expect([await on(), writes]).toMatchObject([{ code: 'GPIO_FAILED' }, []]);
  });
});

describe('a press that forces off', () => {
  it('ends as soon as the rail is seen to be off', async () => {
    const { off, presses } = stage({ shown: ({ ms }) => ms < 3_005 });
    expect(await off()).toBe('done');
    expect(presses).toEqual([[0, 3_020]]);
  });

  it.each([
    [250, 260],
    // To the look at which it would have been seen.
    [240, 240],
  ])('is not over before a press that came too late for it would have been seen, in %i ms', async (...ms) => {
    const [shownWithinMs, lastsMs] = ms;
    const { off, presses } = stage({ shown: ({ ms }) => ms < 30, shownWithinMs });
    expect(await off()).toBe('done');
    expect(presses).toEqual([[0, lastsMs]]);
  });

  it('lasts forceOffMs, and to the next look at most', async () => {
    for (const [forceOffMs, lastsMs] of [
      [6_000, 6_000],
      [6_010, 6_020],
    ] as const) {
      const { off, presses } = stage({ shown: always, pulse: { forceOffMs } });
      expect(await off()).toMatchObject({ code: 'GPIO_PULSE_IGNORED' });
      expect(presses).toEqual([[0, lastsMs]]);
    }
  });

  it('is none for a rail that is off, and lets a button go that is pressed', async () => {
    const idle = stage({ shown: never });
    expect([await idle.off(), idle.writes]).toEqual(['done', []]);
    const pressed = stage({ shown: never });
    pressed.move(true);
    expect([await pressed.off(), pressed.writes]).toEqual(['done', ['let go at 0']]);
  });

  it('lasts forceOffMs for what was never seen to be on, and may be: a press for on that nothing shows', async () => {
    const { off, presses } = stage({ shown: never });
    expect(await off({ mayBeOn: true })).toBe('done');
    expect(presses).toEqual([[0, 6_020]]);
  });

  it('is none for what may be on by a press that the line did not follow', async () => {
    let isBroken = true;
    const { on, off, writes } = stage({
      shown: never,
      written: (asserted) => {
        if (asserted && isBroken) throw NOT_FOLLOWED;
      },
    });
    const failed = await on();
    expect(failed).toMatchObject({ code: 'GPIO_NOT_FOLLOWED', details: { isUnfelt: true } });
    // What the driver said is underneath.
    expect(failed).toMatchObject({ cause: { cause: NOT_FOLLOWED } });
    isBroken = false;
    expect([await off({ mayBeOn: true }), writes]).toEqual(['done', ['press at 0', 'let go at 0']]);
  });

  it('is one for what may be on by a press that failed otherwise: it may have been felt', async () => {
    let isBroken = true;
    const { on, off, presses } = stage({
      shown: never,
      written: (asserted) => {
        if (asserted && isBroken) throw LINE_FAILED;
      },
    });
    expect(await on()).toMatchObject({ code: 'GPIO_FAILED', cause: LINE_FAILED });
    isBroken = false;
    expect(await off({ mayBeOn: true })).toBe('done');
    expect(presses).toEqual([
      [0, 0],
      [0, 6_020],
    ]);
  });

  it('that does not do it says so, and that the rail is on', async () => {
    const { off, presses } = stage({ shown: always });
    expect(await off()).toMatchObject({
      code: 'GPIO_PULSE_IGNORED',
      message:
        'enable of rail HOST: power button of rail HOST was held for 6010 ms, and state of rail HOST still shows the rail on',
      details: { readBack: true },
    });
    expect(presses).toEqual([[0, 6_020]]);
  });

  it('where nothing can be read lasts its whole time, and counts as one that did not do it', async () => {
    const { off, presses } = stage({ shown: unreadable });
    // Nothing was read: that it reads on would be made up.
    expect(await off()).toMatchObject({ code: 'GPIO_PULSE_IGNORED', details: { readBack: false } });
    expect(presses).toEqual([[0, 6_020]]);
  });

  it('is let go when the process is told twice to end, and says that the rail may be on', async () => {
    const { off, clock, presses } = stage({ shown: always });
    const abandon = new AbortController();
    clock.after(1_005, () => abandon.abort('SIGTERM'));
    expect(await off({}, abandon.signal)).toMatchObject({
      code: 'GPIO_PULSE_IGNORED',
      message: expect.stringContaining('was let go before its time, and state of rail HOST may still show'),
    });
    expect(presses).toEqual([[0, 1_005]]);
  });

  it('is none when the process was told so before', async () => {
    const { off, writes } = stage({ shown: always });
    expect(await off({}, AbortSignal.abort('SIGTERM'))).toMatchObject({ code: 'GPIO_PULSE_IGNORED' });
    expect(writes).toEqual([]);
  });

  it('goes on where its line cannot be read back, and says what was wrong with the line', async () => {
    const { off, clock, writes } = stage({
      shown: always,
      written: (asserted) => {
        if (asserted) throw LINE_FAILED;
      },
    });
    expect(await off()).toMatchObject({ code: 'GPIO_FAILED', details: { readBack: true } });
    expect(writes[0]).toBe('press at 0');
    expect(writes.at(-1)).toBe(`let go at ${clock.nowMs()}`);
    expect(clock.nowMs()).toBeGreaterThanOrEqual(6_010);
  });

  it('waits for nothing where its line did not follow: nobody has felt anything', async () => {
    const { off, clock, writes } = stage({
      shown: always,
      written: (asserted) => {
        if (asserted) throw NOT_FOLLOWED;
      },
    });
    expect(await off()).toMatchObject({ code: 'GPIO_NOT_FOLLOWED', details: { readBack: true } });
    expect([writes, clock.nowMs()]).toEqual([['press at 0', 'let go at 0'], 0]);
  });
});

describe('a press that another process ends', () => {
  it('is begun again, once, with all its time', async () => {
    const { off, clock, move, presses } = stage({ shown: always });
    for (const atMs of [1_005, 2_005]) clock.after(atMs, () => move(false));
    expect(await off()).toMatchObject({ code: 'GPIO_PULSE_IGNORED' });
    expect(presses).toEqual([
      [0, 1_005],
      [1_020, 2_005],
    ]);
    // From when it was begun again, and to the look after that.
    expect(clock.nowMs()).toBe(1_020 + 6_020);
  });

  it('is not begun again where nobody can tell whether it was', async () => {
    const { off, line, writes } = stage({ shown: ({ ms }) => ms < 500 });
    line.reading = () => {
      throw LINE_FAILED;
    };
    expect([await off({ mayBeOn: true }), writes]).toEqual(['done', ['press at 0', 'let go at 500']]);
  });
});

describe('a graceful off', () => {
  const GRACEFUL = { pulse: { gracefulMs: 1_010 } };

  it('is a short press, and done when the host has gone', async () => {
    const { off, clock, presses } = stage({ ...GRACEFUL, shown: ({ ms }) => ms < 605 });
    expect(await off({ isGraceful: true })).toBe('done');
    expect([presses, clock.nowMs()]).toEqual([[[0, 130]], 610]);
  });

  it('is not believed before a press that came too late for it would have been seen', async () => {
    const { off, clock } = stage({ ...GRACEFUL, shown: ({ ms }) => ms < 50, shownWithinMs: 405 });
    expect([await off({ isGraceful: true }), clock.nowMs()]).toEqual(['done', 410]);
  });

  it('has that time also where it is longer than that of the host', async () => {
    const { off, presses } = stage({
      pulse: { gracefulMs: 10 },
      shown: ({ ms }) => ms < 300,
      shownWithinMs: 405,
    });
    expect([await off({ isGraceful: true }), presses]).toEqual(['done', [[0, 130]]]);
  });

  it('is forced when its time is over', async () => {
    const { off, presses } = stage({ ...GRACEFUL, shown: ({ pressedMs }) => (pressedMs ?? 0) < 3_000 });
    expect(await off({ isGraceful: true })).toMatchObject({ code: 'GPIO_PULSE_IGNORED' });
    expect(presses).toEqual([
      [0, 130],
      [1_140, 4_140],
    ]);
  });

  it('is forced at once where nobody asked for it, and where the board gives it no time', async () => {
    for (const [pulse, isGraceful] of [
      [{ gracefulMs: 1_010 }, false],
      [{}, true],
    ] as const) {
      const { off, presses } = stage({ pulse, shown: ({ ms }) => ms < 2_000 });
      expect([await off({ isGraceful }), presses]).toEqual(['done', [[0, 2_000]]]);
    }
  });

  it('is none where nobody says how to switch off', async () => {
    const { off, presses } = stage({ ...GRACEFUL, shown: ({ ms }) => ms < 2_000 });
    expect([await off(), presses]).toEqual(['done', [[0, 2_000]]]);
  });

  it('is not forced any more when the process is told twice to end meanwhile', async () => {
    const { off, clock, presses } = stage({ ...GRACEFUL, shown: always });
    const abandon = new AbortController();
    clock.after(505, () => abandon.abort('SIGTERM'));
    expect(await off({ isGraceful: true }, abandon.signal)).toMatchObject({ code: 'GPIO_PULSE_IGNORED' });
    expect([presses, clock.nowMs()]).toEqual([[[0, 130]], 505]);
  });
});

describe('a button', () => {
  it('is let go, and that it was pressed is told', async () => {
    const { clock, button, move, writes } = stage({ shown: never });
    expect(await clock.runUntil(button.letGo())).toBe(false);
    expect(writes).toEqual([]);
    move(true);
    expect(await clock.runUntil(button.letGo())).toBe(true);
    expect(writes).toEqual(['let go at 0']);
  });

  it('reads what shows the rail, whatever it is itself', async () => {
    const { button, move } = stage({ shown: always });
    expect(await button.read()).toBe(true);
    const off = stage({ shown: never });
    off.move(true);
    expect(await off.button.read()).toBe(false);
    move(false);
  });

  it('tells a mistake of the program as it is, and is let go', async () => {
    for (const at of ['shown', 'button'] as const) {
      const { off, line, presses } = stage({
        shown: ({ ms }) => {
          if (at === 'shown' && ms > 100) throw MISTAKE;
          return true;
        },
      });
      line.reading = () => {
        if (at === 'button') throw MISTAKE;
      };
      expect(await off()).toBe(MISTAKE);
      expect([line.isPressed, presses.length]).toEqual([false, 1]);
    }
  });
});
