/** Rails that a power button switches, as on x86. */
import fc from 'fast-check';
import { describe, expect, it, vi } from 'vitest';
import { createMockGpio } from '../../mocks/backends/gpio.ts';
import { createMockI2c } from '../../mocks/backends/i2c.ts';
import { parseFault } from '../../mocks/plant/faults.ts';
import { createPlant } from '../../mocks/plant/plant.ts';
import { createVirtualClock } from '../../mocks/virtual-clock.ts';
import type { Board } from '../../src/board/schema.ts';
import { openChassis } from '../../src/run/hardware.ts';
import { JOBS } from '../../src/run/jobs.ts';
import type { RunResult } from '../../src/run/runner.ts';
import { planOf } from '../../src/sequence/plan.ts';
import { checkBoard } from '../check-board.ts';
import { draws, sampled } from '../draws.ts';
import { type Bench, createBench } from './bench.ts';
import { machinesOf } from './machine-in.ts';

vi.setConfig({ testTimeout: 60_000 });
const RUNS = { numRuns: draws(40) };

const line = (offset: number) => ({ chip: 'gpio', line: offset });

interface Variant {
  readonly state?: boolean;
  readonly good?: boolean;
  readonly gracefulMs?: number;
  readonly onMs?: number;
}

/** STANDBY is switched by a level, and HOST, which needs it, by a button. */
function described({ state = true, good = true, gracefulMs, onMs }: Variant = {}) {
  return {
    name: 'buttons',
    chassis: {
      0: {
        rails: {
          STANDBY: { enable: line(0), good: line(1), onTimeoutMs: 200, offTimeoutMs: 500 },
          HOST: {
            enable: {
              pulse: { ...line(2), active: 'low' },
              ...(state && { state: line(3) }),
              ...(gracefulMs !== undefined && { gracefulMs }),
              ...(onMs !== undefined && { onMs }),
              forceOffMs: 6_000,
            },
            ...(good && { good: line(4) }),
            needs: ['STANDBY'],
            onTimeoutMs: 2_000,
            offTimeoutMs: 500,
          },
        },
        pgood: { ...line(5), onTimeoutMs: 3_000, offTimeoutMs: 3_000 },
      },
    },
  };
}

function boardOf(variant: Variant = {}): Board {
  const { board, problems } = checkBoard(described(variant));
  if (!board) throw new TypeError(JSON.stringify(problems));
  return board;
}

/** HOST behind three rails, of which two are only watched, or none. */
function boardBehind(isWatched: boolean): Board {
  const [host, seen] = [
    line(2),
    (offset: number) => ({ good: line(offset), settleMs: 0, onTimeoutMs: 200, offTimeoutMs: 500 }),
  ];
  const rails = isWatched
    ? {
        P12V: seen(6),
        STANDBY: { enable: line(0), ...seen(1), needs: ['P12V'] },
        FOLLOWER: { ...seen(7), needs: ['STANDBY'] },
        HOST: { enable: { pulse: host, state: line(3) }, ...seen(4), needs: ['FOLLOWER'] },
      }
    : {
        P12V: { enable: line(0), ...seen(1) },
        STANDBY: { enable: line(6), ...seen(7), needs: ['P12V'] },
        P3V3: { enable: line(8), ...seen(9), needs: ['STANDBY'] },
        HOST: { enable: { pulse: host, state: line(3) }, ...seen(4), needs: ['P3V3'] },
      };
  const { board, problems } = checkBoard({
    name: 'buttons',
    chassis: { 0: { rails, pgood: { ...line(5), onTimeoutMs: 3_000, offTimeoutMs: 3_000 } } },
  });
  if (!board) throw new TypeError(JSON.stringify(problems));
  return board;
}

const VARIANTS: readonly [string, Variant][] = [
  ['a state', { good: false }],
  ['a state and a good signal', {}],
  ['its good signal', { state: false }],
  ['pgood', { state: false, good: false }],
];

interface Pressed {
  readonly atMs: number;
  readonly forMs: number;
}

/** Presses of the button as its line had them. One that has not ended lasts for ever. */
function pressesOf({ plant }: Bench): Pressed[] {
  const moves = plant.history.flatMap((event) =>
    event.type === 'line' && event.role === 'button' ? [event] : [],
  );
  const changes = moves.filter(({ asserted }, index) => asserted !== (moves[index - 1]?.asserted ?? false));
  return changes.flatMap(({ asserted, atMs }, index) =>
    asserted ? [{ atMs, forMs: (changes[index + 1]?.atMs ?? Number.POSITIVE_INFINITY) - atMs }] : [],
  );
}

function isHostOn({ plant }: Bench): boolean {
  return plant.lines().some(({ line: key, asserted }) => key === 'host:0/HOST' && asserted);
}

function isPressed({ plant }: Bench): boolean {
  return plant.lines().some(({ role, asserted }) => role === 'button' && asserted);
}

function raise(): never {
  throw new RangeError('no chassis 0');
}

const told = ({ state, sequence: { fault } }: RunResult) =>
  fault === null ? state : `${state}: ${fault.kind} ${fault.rail} ${fault.errorCode}`;

describe.each(VARIANTS)('a rail whose button is seen to be taken by %s', (_, variant) => {
  it('comes on by one press of onMs, as soon as that is seen', async () => {
    const bench = createBench(boardOf(variant));
    expect((await bench.run(JOBS.on)).state).toBe('pgood');
    // Far below the time that the rail has to come.
    expect(bench.clock.nowMs() - bench.plant.startMs).toBeLessThan(1_000);
    expect(pressesOf(bench).map(({ forMs }) => forMs)).toEqual([200]);
    expect(isHostOn(bench)).toBe(true);
  });

  it('comes on over the two stages of systemd, of which the second finds nothing but the state file to tell of the press', async () => {
    const bench = createBench(boardOf(variant));
    expect((await bench.run(JOBS.start)).state).toBe('opWaitPowerOn');
    expect((await bench.run(JOBS.waitOn)).state).toBe('pgood');
    expect(pressesOf(bench)).toHaveLength(1);
  });

  it('is not pressed for what is so already', async () => {
    const bench = createBench(boardOf(variant), { initially: 'on' });
    expect((await bench.run(JOBS.on)).state).toBe('pgood');
    expect(pressesOf(bench)).toEqual([]);
    const off = createBench(boardOf(variant));
    expect((await off.run(JOBS.off)).state).toBe('off');
    expect(pressesOf(off)).toEqual([]);
  });

  it('is forced off by a press that ends as soon as it is off', async () => {
    const bench = createBench(boardOf(variant), { initially: 'on' });
    expect((await bench.run(JOBS.off)).state).toBe('off');
    expect(isHostOn(bench)).toBe(false);
    const [press, ...others] = pressesOf(bench);
    expect(others).toEqual([]);
    // The simulated host takes 3 s of the 6; what it powers takes 50 ms more to fall.
    expect(press?.forMs).toBeGreaterThanOrEqual(3_000);
    expect(press?.forMs).toBeLessThan(3_100);
  });

  it('shuts down by itself where the board gives it the time', async () => {
    const bench = createBench(boardOf({ ...variant, gracefulMs: 2_000 }), { initially: 'on' });
    expect((await bench.run(JOBS.off)).state).toBe('off');
    expect(isHostOn(bench)).toBe(false);
    expect(pressesOf(bench).map(({ forMs }) => forMs)).toEqual([200]);
  });

  it('is forced off when it does not shut down in its time', async () => {
    const bench = createBench(boardOf({ ...variant, gracefulMs: 2_000 }), {
      initially: 'on',
      faults: ['shutdown HOST ignored'],
    });
    expect((await bench.run(JOBS.off)).state).toBe('off');
    expect(isHostOn(bench)).toBe(false);
    const [short, long] = pressesOf(bench);
    expect(short?.forMs).toBe(200);
    expect((long?.atMs ?? 0) - (short?.atMs ?? 0)).toBe(2_200);
  });

  it('is never graceful after a fault, and ends off and let go', async () => {
    const bench = createBench(boardOf({ ...variant, gracefulMs: 2_000 }), {
      faults: ['pgood never', 'good STANDBY stuck off 1s after good'],
    });
    expect((await bench.run(JOBS.on)).state).toBe('failed');
    expect(isHostOn(bench)).toBe(false);
    expect(isPressed(bench)).toBe(false);
    const [, force, ...others] = pressesOf(bench);
    expect(force?.forMs).toBeGreaterThanOrEqual(3_000);
    expect(others).toEqual([]);
  });

  it('is forced off when the power-on is told to end right after its press', async () => {
    const bench = createBench(boardOf(variant));
    const end = new AbortController();
    const outcome = bench.run(JOBS.on, {
      signal: end.signal,
      record: ({ type }) => {
        if (type === 'enable') end.abort('SIGTERM');
      },
    });
    await expect(outcome).rejects.toMatchObject({ code: 'INTERRUPTED' });
    expect(isHostOn(bench)).toBe(false);
    expect(isPressed(bench)).toBe(false);
  });
});

describe('a power-on that is killed and asked for again', () => {
  /** When the host was on already and the button was pressed. */
  const wrongPressesOf = (bench: Bench): number[] => {
    let isOn = false;
    const atMs: number[] = [];
    for (const event of bench.plant.history) {
      if (event.type !== 'line') continue;
      if (event.line === 'host:0/HOST') isOn = event.asserted;
      if (event.role === 'button' && event.asserted && isOn) atMs.push(event.atMs);
    }
    return atMs;
  };

  it.each(VARIANTS)('never presses the button of a host that is on, seen by %s', async (_, variant) => {
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 1, max: 12 }),
        fc.constantFrom('before' as const, 'after' as const),
        fc.integer({ min: 0, max: 500 }),
        fc.constantFrom(JOBS.on, JOBS.start),
        async (calls, when, laterMs, again) => {
          // Where no state shows it, it shows long after the press.
          const bench = createBench(boardOf(variant), { faults: ['rail HOST slow 900ms'] });
          await bench.runKilled(JOBS.on, calls, when);
          await bench.clock.runUntil(new Promise<void>((resolve) => bench.clock.after(laterMs, resolve)));
          await bench.run(again);
          const fault = bench.recording.findIndex(({ type }) => type === 'fault');
          // What comes after a fault is the hold that forces off.
          if (fault === -1) expect(wrongPressesOf(bench)).toEqual([]);
          expect(isPressed(bench)).toBe(false);
        },
      ),
      RUNS,
    );
  });

  it('finds a host that went off after its state was seen, and says that it is off', async () => {
    const bench = createBench(boardOf(), { faults: ['rail HOST never good'] });
    expect((await bench.run(JOBS.start)).state).toBe('opWaitPowerOn');
    bench.plant.addFault(parseFault('enable HOST stuck off'));
    const result = await bench.run(JOBS.waitOn);
    expect(result.sequence.rails.HOST?.enabled).toBe(false);
    expect(pressesOf(bench)).toHaveLength(1);
  });
});

describe('a host that goes off by itself while it is to be powered off', () => {
  // A finger on the button shuts it down: nobody but the host knows of that, and what shows it off comes later.
  it.each(VARIANTS)('ends off and stays off, seen by %s', async (_, variant) => {
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 250, max: 400 }),
        fc.option(fc.integer({ min: 50, max: 2_000 }), { nil: undefined }),
        fc.integer({ min: 0, max: 400 }),
        async (atMs, gracefulMs, slowMs) => {
          const bench = createBench(boardOf({ ...variant, ...(gracefulMs && { gracefulMs }) }), {
            initially: 'on',
            faults: ['button HOST stuck on for 30ms', `rail HOST slow off ${slowMs}ms`],
          });
          await bench.clock.runUntil(new Promise<void>((resolve) => bench.clock.after(atMs, resolve)));
          const result = await bench.run(JOBS.off);
          await bench.clock.runUntil(new Promise<void>((resolve) => bench.clock.after(10_000, resolve)));
          expect({ state: result.state, isOn: isHostOn(bench) }).toEqual({ state: 'off', isOn: false });
        },
      ),
      RUNS,
    );
  });
});

describe('a power-on that is told to end, and leaves before its host is off', () => {
  // Nothing shows a press that the host has felt for as long as it takes to come.
  it.each(VARIANTS)(
    'is ended by a power-off: the host is off and stays off, seen by %s',
    async (_, variant) => {
      await fc.assert(
        fc.asyncProperty(
          fc.integer({ min: 0, max: 200 }),
          fc.oneof(fc.integer({ min: 0, max: 100 }), fc.integer({ min: 0, max: 7_000 })),
          fc.integer({ min: 0, max: 100 }),
          async (endMs, leaveMs, laterMs) => {
            const bench = createBench(boardOf({ ...variant, onMs: 20 }), {
              faults: ['rail HOST slow 900ms'],
            });
            const [end, leave] = [new AbortController(), new AbortController()];
            bench.clock.after(endMs, () => end.abort('SIGTERM'));
            bench.clock.after(endMs + leaveMs, () => leave.abort('SIGTERM'));
            const left = bench.run(JOBS.on, { signal: end.signal, abandon: leave.signal });
            await expect(left).rejects.toMatchObject({ code: 'INTERRUPTED' });
            await bench.clock.runUntil(new Promise<void>((resolve) => bench.clock.after(laterMs, resolve)));
            const result = await bench.run(JOBS.off);
            await bench.clock.runUntil(new Promise<void>((resolve) => bench.clock.after(10_000, resolve)));
            expect({ state: result.state, isOn: isHostOn(bench) }).toEqual({ state: 'off', isOn: false });
            expect(isPressed(bench)).toBe(false);
          },
        ),
        RUNS,
      );
    },
  );
});

describe('a button that is held', () => {
  // Read at the moment of its press, or by a signal that comes and goes.
  it('has switched nothing off yet, whatever is read of its rail', () => {
    fc.assert(
      fc.property(
        fc.constantFrom<Variant>({}, { good: false }, { state: false }),
        fc.array(fc.nat(500), { minLength: 1, maxLength: 5 }),
        (variant, delaysMs) => {
          const takenUp = machinesOf(planOf(boardOf(variant).chassis['0'] ?? raise(), {}));
          const machine = takenUp('opWaitPowerOn', {
            on: ['STANDBY'],
            rails: { HOST: { enabled: true, good: false, phase: 'rising', deadlineMs: null } },
          });
          machine.tell({ type: 'POWER_OFF', atMs: 2_000 });
          let atMs = 2_000;
          for (const delayMs of delaysMs) {
            machine.look('HOST', false, atMs);
            machine.look('STANDBY', false, atMs);
            machine.look(null, false, atMs);
            expect(machine.state).toBe('opPowerStop');
            expect(machine.rail('HOST')).toMatchObject({ phase: 'falling', deadlineMs: null });
            atMs += delayMs;
          }
          machine.tell({ type: 'DRIVEN', rail: 'HOST', asserted: false, atMs });
          expect(machine.rail('HOST')).toMatchObject({ phase: 'falling', deadlineMs: atMs + 500 });
          machine.look('HOST', false, atMs);
          expect(machine.rail('HOST').phase).toBe('down');
        },
      ),
      RUNS,
    );
  });
});

describe('the button', () => {
  it('is let go at once when the process is told twice to end', async () => {
    const bench = createBench(boardOf(), { initially: 'on' });
    const abandon = new AbortController();
    bench.clock.after(1_000, () => abandon.abort('SIGTERM'));
    await expect(bench.run(JOBS.off, { abandon: abandon.signal })).rejects.toMatchObject({
      code: 'INTERRUPTED',
    });
    expect(isPressed(bench)).toBe(false);
    const [press] = pressesOf(bench);
    expect(press?.forMs).toBeLessThan(1_100);
  });

  it('is not pressed again by the next process for a host that the one before has seen go off', async () => {
    const bench = createBench(boardOf({ state: false }), {
      initially: 'on',
      faults: ['rail STANDBY slow off 3s', 'rail HOST droops at 100ms'],
    });
    // STANDBY still falls then, and so the loss is not over.
    const abandon = new AbortController();
    bench.clock.after(300, () => abandon.abort('SIGKILL'));
    await expect(bench.run(JOBS.watch, { abandon: abandon.signal })).rejects.toMatchObject({
      code: 'INTERRUPTED',
    });
    expect(bench.store.hint?.state).toBe('fault');
    const before = pressesOf(bench).length;
    await bench.run(JOBS.off);
    expect(pressesOf(bench)).toHaveLength(before);
  });

  it('that a killed process left pressed is let go by the next one before anything else', async () => {
    for (const job of [JOBS.off, JOBS.on, JOBS.clear] as const) {
      const bench = createBench(boardOf());
      const button = await createMockGpio(bench.plant).openOutput(line(2));
      await button.write(0);
      await button.close();
      expect(isPressed(bench)).toBe(true);
      await bench.run(job);
      const afterKill = bench.recording.findIndex(
        (entry) => entry.type === 'warning' && entry.message.includes('left asserted'),
      );
      expect(afterKill).toBeGreaterThanOrEqual(0);
      expect(bench.recording[afterKill + 1]?.type).toBe('reconciled');
      expect(isPressed(bench)).toBe(false);
    }
  });

  it('that another process lets go while a lost chassis is forced off is pressed again', async () => {
    const bench = createBench(boardOf(), { initially: 'on' });
    const others = await createMockGpio(bench.plant).openOutput(line(2));
    bench.clock.after(1_000, () => void others.write(1));
    expect(told(await bench.run(JOBS.off))).toBe('off');
    expect(pressesOf(bench)).toHaveLength(2);
    expect(isHostOn(bench)).toBe(false);
  });

  it('that another process lets go once the host is off is left to it', async () => {
    const bench = createBench(boardOf(), {
      initially: 'on',
      faults: ['enable HOST stuck off for 50ms at 100ms'],
    });
    const others = await createMockGpio(bench.plant).openOutput(line(2));
    // It drives from then on, and presses to switch on.
    for (const [atMs, level] of [
      [500, 1],
      [600, 0],
      [800, 1],
    ] as const) {
      bench.clock.after(atMs, () => void others.write(level));
    }
    await bench.run(JOBS.off);
    await bench.clock.runUntil(new Promise<void>((resolve) => bench.clock.after(10_000, resolve)));
    expect(pressesOf(bench).map(({ forMs }) => Math.round(forMs))).toEqual([500, 200]);
  });

  it('is held for its whole time where nothing shows whether the host is on', async () => {
    const bench = createBench(boardOf(), { initially: 'on', faults: ['line rail HOST state read error'] });
    expect(told(await bench.run(JOBS.off))).toBe('failed: hardware HOST GPIO_FAILED');
    expect(pressesOf(bench).map(({ forMs }) => forMs)).toEqual([6_000]);
    expect(isHostOn(bench)).toBe(false);
  });

  it('ends let go, and the host off, when a power-off follows one who was killed between two drives', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.constantFrom(...VARIANTS),
        fc.constantFrom('on', 'off'),
        fc.integer({ min: 1, max: 6 }),
        fc.constantFrom('before' as const, 'after' as const),
        async ([, variant], first, calls, when) => {
          const bench = createBench(boardOf({ ...variant, gracefulMs: 1_000 }), {
            initially: first === 'on' ? 'off' : 'on',
          });
          await bench.runKilled(first === 'on' ? JOBS.on : JOBS.off, calls, when);
          await bench.run(JOBS.off);
          // A press that was felt acts when it does.
          await bench.clock.runUntil(new Promise<void>((resolve) => bench.clock.after(1_000, resolve)));
          expect(isPressed(bench)).toBe(false);
          expect(isHostOn(bench)).toBe(false);
        },
      ),
      RUNS,
    );
  });

  it('that is stuck pressed refuses a power-on, and a power-off says that the power may be on', async () => {
    const on = createBench(boardOf(), { faults: ['button HOST stuck on'] });
    await expect(on.run(JOBS.on)).rejects.toMatchObject({ code: 'GPIO_NOT_FOLLOWED' });
    const off = createBench(boardOf(), { initially: 'on', faults: ['button HOST stuck on'] });
    expect(told(await off.run(JOBS.off))).toBe('failed: hardware HOST GPIO_NOT_FOLLOWED');
  });
});

describe('a chassis that is watched', () => {
  it.each([
    ['its state', { good: false }, 'state HOST stuck off'],
    ['its good signal', { state: false }, 'good HOST stuck off'],
  ] as const)('loses a host that goes off while pgood stands, seen by %s', async (_, variant, fault) => {
    const bench = createBench(boardOf(variant), { initially: 'on', faults: ['pgood stuck on'] });
    bench.clock.after(1_000, () => bench.plant.addFault(bench.fault(fault)));
    const { sequence } = await bench.run(JOBS.watch);
    expect(sequence.fault).toMatchObject({ kind: 'railLost', rail: 'HOST', state: 'pgood' });
    const found = bench.recording.find(({ type }) => type === 'fault');
    expect((found?.atMs ?? 0) - bench.plant.startMs).toBeLessThan(1_200);
  });
});

describe('a press that forces off a host which seems to go at once', () => {
  it.each([
    // takenMs, and where there is no state onTimeoutMs of the rail.
    ['a state', {}, 'state HOST stuck off', 1_000],
    ['its good signal', { state: false }, 'good HOST stuck off', 2_000],
  ] as const)('lasts until one that it took for on would be seen, by %s', async (...row) => {
    const [, variant, fault, leastMs] = row;
    const bench = createBench(boardOf(variant), { initially: 'on' });
    bench.clock.after(500, () => bench.plant.addFault(bench.fault(fault)));
    await bench.run(JOBS.off);
    const [press] = pressesOf(bench);
    expect(press?.forMs).toBeGreaterThanOrEqual(leastMs);
    expect(press?.forMs).toBeLessThan(leastMs + 100);
  });
});

describe('a button that is pressed while the power behind it goes', () => {
  // A host that has lost it feels no press, and its state does not come. Each rail takes 18 ms to come, and the button is pressed then.
  const cases: readonly (readonly [string, boolean, string])[] = [
    ['P12V', true, 'at 36ms'],
    ['STANDBY', true, '18ms after good'],
    ['FOLLOWER', true, '0ms after good'],
    ['P12V', false, '36ms after good'],
    ['STANDBY', false, '18ms after good'],
    ['P3V3', false, '0ms after good'],
  ];
  it.each(sampled(cases, 3))(
    'is not blamed for %s, with rails that are only watched: %s',
    async (rail, isWatched, begins) => {
      await fc.assert(
        fc.asyncProperty(fc.integer({ min: 1, max: 12 }), async (laterMs) => {
          const when = begins.replace(/\d+/, (ms) => String(Number(ms) + laterMs));
          const bench = createBench(boardBehind(isWatched), { faults: [`rail ${rail} shorts ${when}`] });
          const { state, sequence } = await bench.run(JOBS.on);
          const { fault } = sequence;
          expect([state, fault?.kind, fault?.rail]).toEqual(['failed', 'railLost', rail]);
          expect(pressesOf(bench)).not.toEqual([]);
          expect(isPressed(bench)).toBe(false);
        }),
        RUNS,
      );
    },
  );
});

describe('what is wrong with a host is named', () => {
  it.each([
    ['enable HOST stuck off', {}, 'failed: hardware HOST GPIO_PULSE_IGNORED'],
    ['enable HOST stuck off', { state: false }, 'failed: railTimeout HOST null'],
    ['button HOST stuck off', {}, 'failed: hardware HOST GPIO_NOT_FOLLOWED'],
    ['state HOST stuck off', {}, 'failed: hardware HOST GPIO_PULSE_IGNORED'],
    ['rail HOST never good', {}, 'failed: railTimeout HOST null'],
    ['good HOST stuck off', {}, 'failed: railTimeout HOST null'],
    ['rail STANDBY never good', {}, 'failed: railTimeout STANDBY null'],
    ['pgood never', {}, 'failed: pgoodTimeout null null'],
    ['shutdown HOST ignored', {}, 'pgood'],
  ] as const)('at power-on: %s', async (fault, variant, expected) => {
    const bench = createBench(boardOf(variant), { faults: [fault] });
    expect(told(await bench.run(JOBS.on))).toBe(expected);
    expect(isPressed(bench)).toBe(false);
    if (expected !== 'pgood') expect(isHostOn(bench)).toBe(false);
  });

  it.each([
    ['enable HOST stuck on', 'failed: hardware HOST GPIO_PULSE_IGNORED'],
    ['state HOST stuck on', 'failed: hardware HOST GPIO_PULSE_IGNORED'],
    ['button HOST stuck off', 'failed: hardware HOST GPIO_NOT_FOLLOWED'],
  ])('at power-off: %s', async (fault, expected) => {
    const bench = createBench(boardOf(), { initially: 'on', faults: [fault] });
    const result = await bench.run(JOBS.off);
    expect(told(result)).toBe(expected);
    expect(result.sequence.rails.HOST?.enabled).toBe(true);
    expect(isPressed(bench)).toBe(false);
  });
});

describe('several chassis', () => {
  it('do not wait for the presses of each other', async () => {
    const one = described().chassis[0];
    const { board } = checkBoard({
      name: 'two',
      chassis: {
        0: one,
        1: JSON.parse(JSON.stringify(one).replaceAll('"chip":"gpio"', '"chip":"other"')),
      },
    });
    if (!board) throw new TypeError('refused');
    const clock = createVirtualClock();
    const plant = createPlant({ board, clock, initially: 'on' });
    const ports = { gpio: async () => createMockGpio(plant), i2c: async () => createMockI2c(plant), clock };
    const [first, second] = [await openChassis(board, 0, ports), await openChassis(board, 1, ports)];
    const fromMs = clock.nowMs();
    await clock.runUntil(Promise.all([first, second].map((each) => each.driveEnable('HOST', false))));
    expect(clock.nowMs() - fromMs).toBeLessThan(3_100);
    plant.close();
  });
});

describe('a board with a power button is refused', () => {
  const refused = (change: (board: ReturnType<typeof described>) => void, variant: Variant = {}) => {
    const board = JSON.parse(JSON.stringify(described(variant)));
    change(board);
    return checkBoard(board).problems.map(({ message }) => message);
  };

  it('where only pgood shows it to be taken, and pgood is of other rails, too', () => {
    const found = refused(
      (board) => {
        board.chassis[0].rails.HOST.needs = [];
      },
      { state: false, good: false },
    );
    expect(found).toEqual([expect.stringContaining('only pgood would show whether HOST is on')]);
  });

  it.each([
    ['what the rails say', { rails: true }],
    ['what the rails say, for want of another', undefined],
    ['two lines', { all: [line(5), line(6)] }],
    ['a PMBus page', { pmbus: 'vr', page: 1, minVolts: 0.9 }],
  ])('where only pgood shows it to be taken, and pgood is %s', (_, pgood) => {
    const found = refused(
      (board) => {
        Object.assign(board, { devices: { vr: { bus: 1, address: '0x40' } } });
        Object.assign(board.chassis[0], { pgood });
      },
      { state: false, good: false },
    );
    expect(found).toContain('only pgood would show whether HOST is on, and pgood is not one line');
    // One of its own is enough.
    const ownGood = refused((board) => Object.assign(board.chassis[0], { pgood: { rails: true } }));
    expect(ownGood).toEqual([]);
  });

  it('where a PMBus page would show it to be taken', () => {
    const found = refused(
      (board) => {
        Object.assign(board, { devices: { vr: { bus: 1, address: '0x40' } } });
        const good = { pmbus: 'vr', minVolts: 0.9 };
        Object.assign(board.chassis[0].rails.HOST, { good, nominalVolts: 1 });
      },
      { state: false },
    );
    expect(found).toEqual([
      'the power button of HOST is let go by a signal, and a PMBus page is too slow for one',
    ]);
  });

  it('where a host that is to shut down by itself would lose what it runs on, or be held in reset', () => {
    const lost = refused(
      (board) => {
        board.chassis[0].rails.HOST.needs = [];
      },
      { gracefulMs: 1_000 },
    );
    expect(lost).toEqual([expect.stringContaining('would lose STANDBY meanwhile')]);
    const held = refused((board) => Object.assign(board.chassis[0], { resets: { CPU: line(9) } }), {
      gracefulMs: 1_000,
    });
    expect(held).toEqual([expect.stringContaining('would be held in reset CPU')]);
  });

  it('where its presses do not fit into the time of the units', () => {
    const found = refused(
      (board) => Object.assign(board.chassis[0].rails.HOST.enable, { forceOffMs: 60_000 }),
      {
        gracefulMs: 100_000,
      },
    );
    expect(found).toEqual([expect.stringMatching(/power-off may take 16\d{4} ms/)]);
  });

  it('where button and state are one line', () => {
    const found = refused((board) => Object.assign(board.chassis[0].rails.HOST.enable, { state: line(2) }));
    expect(found).toEqual([expect.stringContaining('power button of HOST')]);
  });
});
