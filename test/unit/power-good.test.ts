/** pgood that is not one line: several signals, a PMBus page, the rails, or nothing at all. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { HardwareError } from '../../hw/errors.ts';
import type { PropertyBackend } from '../../hw/ports.ts';
import { createMockGpio } from '../../mocks/backends/gpio.ts';
import { createMockI2c } from '../../mocks/backends/i2c.ts';
import type { Problem } from '../../src/board/problem.ts';
import type { Board } from '../../src/board/schema.ts';
import { openChassis } from '../../src/run/hardware.ts';
import { JOBS } from '../../src/run/jobs.ts';
import { expectDone } from '../../src/run/outcome.ts';
import { type Asked, readTogether, type Said, type Together, verdict } from '../../src/run/power-good.ts';
import { SystemError } from '../../src/system/errors.ts';
import { checkBoard } from '../check-board.ts';
import { type Bench, createBench } from './bench.ts';

const line = (offset: number) => ({ chip: 'gpio', line: offset });
const PAGE = { pmbus: 'vr', page: 9, minVolts: 0.9, maxVolts: 1.1 };
const TOLD = {
  dbus: '/com/example/sequencer/chassis0',
  service: 'com.example.Sequencer',
  interface: 'com.example.Power',
  property: 'Good',
};
const times = { nominalVolts: 1, settleMs: 8, onTimeoutMs: 200, offTimeoutMs: 200 };

/** B and U need A; nothing shows U. The device of the PMBus page always has power, or has it from A. */
function described(pgood: object | undefined, { poweredBy }: { readonly poweredBy?: string } = {}) {
  return {
    name: 'power-good',
    devices: { vr: { bus: 1, address: '0x40', ...(poweredBy && { poweredBy }) } },
    chassis: {
      0: {
        rails: {
          A: { ...times, enable: line(0), good: line(1) },
          B: { ...times, enable: { pmbus: 'vr' }, good: { ...PAGE, page: 0 }, needs: ['A'] },
          U: { ...times, enable: line(2), needs: ['A'] },
        },
        ...(pgood && { pgood: { deglitchMs: 5, onTimeoutMs: 400, offTimeoutMs: 400, ...pgood } }),
        resets: { CPU: line(3) },
      },
    },
  };
}
function boardOf(...args: Parameters<typeof described>): Board {
  const { board, problems } = checkBoard(described(...args));
  if (!board) throw new TypeError(JSON.stringify(problems));
  return board;
}

const KINDS: readonly (readonly [string, object | undefined])[] = [
  ['a line', line(7)],
  ['a PMBus page', PAGE],
  ['a PMBus page by the limits of its device', { pmbus: 'vr', page: 9, limits: 'device' }],
  ['POWER_GOOD# of a PMBus page', { pmbus: 'vr', page: 9, status: true }],
  ['the rails', { rails: true }],
  ['nothing, which are the rails', undefined],
  ['all of two lines', { all: [line(7), line(8)] }],
  ['any of two lines', { any: [line(7), line(8)] }],
  ['a property on D-Bus', TOLD],
  ['all of a line and a property on D-Bus', { all: [line(7), TOLD] }],
  ['any of a property on D-Bus and the rails', { any: [TOLD, { rails: true }] }],
  ['all of a line and a PMBus page', { all: [line(7), PAGE] }],
  ['any of a line, a PMBus page and the rails', { any: [line(7), PAGE, { rails: true }] }],
];

describe.each(KINDS)('pgood taken from %s', (_, pgood) => {
  it.each([
    ['always has power', {}],
    ['has its power from a rail', { poweredBy: 'A' }],
  ])('comes and goes with the power, its resets after it, where the device %s', async (_when, power) => {
    const bench = createBench(boardOf(pgood, power));
    const on = await bench.run(JOBS.on);
    expect(on.state).toBe('pgood');
    expect(on.sequence.resetsAsserted).toEqual({ CPU: false });
    expect(bench.plant.rails().every(({ good }) => good)).toBe(true);
    const changes = bench.changes();
    expect((await bench.run(JOBS.on)).answer?.outcome).toBe('unchanged');
    expect(bench.changes()).toEqual(changes);
    const off = await bench.run(JOBS.off);
    expect(off.state).toBe('off');
    expect(bench.plant.rails().some(({ good, enabled }) => good || enabled)).toBe(false);
    expect([bench.plant.hazards, bench.plant.misuses]).toEqual([[], []]);
  });

  it('is watched: whoever loses his power is switched off, and A is named where it is what was lost', async () => {
    const bench = createBench(boardOf(pgood), { initially: 'on' });
    bench.clock.after(1_000, () => bench.plant.addFault(bench.fault('rail A shorts')));
    const { state, sequence } = await bench.run(JOBS.watch);
    expect([state, sequence.fault?.kind, sequence.fault?.rail]).toEqual(['failed', 'railLost', 'A']);
    expect(sequence.fault?.diagnosis).toMatchObject({ rail: 'A', cause: 'dropped' });
    expect(bench.enabled()).toEqual([]);
    // The slowest signal is a page that is asked every 100 ms; the grace of the drives is 50 ms.
    expect(bench.clock.nowMs() - bench.plant.startMs).toBeLessThan(1_000 + 100 + 5 + 50 + 400 + 200);
  });
});

describe('several signals of pgood', () => {
  it('all of them are waited for, and the loss of one is a loss', async () => {
    const never = createBench(boardOf({ all: [line(7), PAGE] }), { faults: ['pgood 2 never'] });
    const { sequence } = await never.run(JOBS.on);
    expect(sequence.fault).toMatchObject({ kind: 'pgoodTimeout', rail: null });
    for (const lost of ['pgood 1', 'pgood 2']) {
      const bench = createBench(boardOf({ all: [line(7), PAGE] }), { initially: 'on' });
      bench.clock.after(1_000, () => bench.plant.addFault(bench.fault(`${lost} never`)));
      const { state, sequence } = await bench.run(JOBS.watch);
      expect([state, sequence.fault?.kind]).toEqual(['failed', 'pgoodLost']);
    }
  });

  it('the diagnosis says which of them was missing', async () => {
    const because = async (pgood: object, faults: readonly string[], job: 'on' | 'watch') => {
      const initially = job === 'on' ? 'off' : 'on';
      const bench = createBench(boardOf(pgood), { initially, faults });
      const { sequence } = await bench.run(JOBS[job]);
      expect(sequence.fault?.kind).toBe(job === 'on' ? 'pgoodTimeout' : 'pgoodLost');
      expect(sequence.fault?.diagnosis).toMatchObject({ rail: null, cause: 'unknown' });
      return sequence.fault?.diagnosis?.because;
    };
    const all = { all: [line(7), line(8), PAGE] };
    expect(await because(all, ['pgood 3 never'], 'on')).toMatch(/; pgood 3 was missing$/);
    expect(await because(all, ['pgood 1 never', 'pgood 2 never'], 'on')).toMatch(
      /; pgood 1 and pgood 2 were missing$/,
    );
    expect(await because(all, ['pgood 2 stuck off at 500ms'], 'watch')).toMatch(/; pgood 2 was missing$/);
    const any = { any: [line(7), PAGE] };
    expect(await because(any, ['pgood never'], 'on')).toMatch(/; pgood 1 and pgood 2 were missing$/);
    // Where it is one signal there is nothing to choose from.
    expect(await because(line(7), ['pgood never'], 'on')).not.toContain('missing');
  });

  it('any of them is enough, and the loss of the last one is a loss', async () => {
    const bench = createBench(boardOf({ any: [line(7), PAGE] }), { faults: ['pgood 1 never'] });
    expect((await bench.run(JOBS.on)).state).toBe('pgood');
    bench.clock.after(1_000, () => bench.plant.addFault(bench.fault('pgood 2 never')));
    const { state, sequence } = await bench.run(JOBS.watch);
    expect([state, sequence.fault?.kind]).toEqual(['failed', 'pgoodLost']);
    expect(bench.clock.nowMs()).toBeGreaterThan(1_000);
  });

  it('a glitch of one is not believed before its de-glitch time', async () => {
    const bench = createBench(boardOf({ all: [line(7), line(8)] }), { initially: 'on' });
    const leave = new AbortController();
    bench.clock.after(500, () => bench.plant.addFault(bench.fault('pgood 2 glitch 3ms')));
    bench.clock.after(2_000, () => leave.abort('request'));
    const { state } = await bench.run(JOBS.watch, { signal: leave.signal });
    expect(state).toBe('pgood');
  });

  it('one that cannot be read is no loss of a chassis that is on', async () => {
    for (const pgood of [{ all: [line(7), PAGE] }, { any: [line(7), PAGE] }]) {
      const bench = createBench(boardOf(pgood), { initially: 'on' });
      const leave = new AbortController();
      bench.clock.after(500, () => bench.plant.addFault(bench.fault('i2c vr nack')));
      bench.clock.after(3_000, () => leave.abort('request'));
      const { state } = await bench.run(JOBS.watch, { signal: leave.signal });
      expect(state).toBe('pgood');
      expect(bench.enabled().sort()).toEqual(['A', 'B', 'U']);
    }
  });

  it('a page that is pgood is read after a fault, and blamed for no rail', async () => {
    const bench = createBench(boardOf(PAGE), { initially: 'on' });
    bench.clock.after(1_000, () => bench.plant.addFault(bench.fault('pgood never')));
    const { sequence } = await bench.run(JOBS.watch);
    expect(sequence.fault).toMatchObject({ kind: 'pgoodLost', diagnosis: { rail: null, cause: 'unknown' } });
    const pages = bench.recording.flatMap((entry) => (entry.type === 'evidence' ? entry.evidence : []));
    expect(pages.map(({ device, page, rails }) => [device, page, Object.keys(rails)])).toEqual([
      ['vr', 0, ['B']],
      ['vr', 9, []],
    ]);
  });

  it('a stage reads again where a page that is pgood is only busy', async () => {
    const bench = createBench(boardOf(PAGE), { initially: 'on' });
    bench.plant.addFault(bench.fault('i2c vr nack 9 times'));
    const result = await bench.run(JOBS.waitOn);
    expect(result.state).toBe('pgood');
    expectDone(0, 'wait-on', JOBS.waitOn, result);
  });
});

describe('a property on D-Bus that is pgood', () => {
  /** What its service does from a moment on. */
  const troubles = {
    'has lost its name': async () => {
      throw new SystemError('DBUS_UNAVAILABLE', 'nobody has the name');
    },
    refuses: async () => {
      throw new SystemError('SYSTEMD_FAILED', 'refused');
    },
    'says something else': async () => {
      throw new SystemError('DBUS_MALFORMED', 'no boolean');
    },
    hangs: (bench: Bench, limitMs: number) =>
      new Promise<boolean>((_, reject) => {
        bench.clock.after(limitMs, () => reject(new SystemError('DBUS_TIMEOUT', 'no answer')));
      }),
  };
  const sinceBegin = ({ clock, plant }: Bench) => clock.nowMs() - plant.startMs;
  const breaking =
    (
      bench: Bench,
      answer: (bench: Bench, limitMs: number) => Promise<boolean>,
      fromMs: number,
      toMs: number,
    ) =>
    (real: PropertyBackend): PropertyBackend => ({
      readBoolean: (property, limitMs) =>
        sinceBegin(bench) >= fromMs && sinceBegin(bench) < toMs
          ? answer(bench, limitMs)
          : real.readBoolean(property, limitMs),
      // One that is broken tells nothing either.
      watch: () => () => undefined,
    });

  it.each(Object.entries(troubles))(
    '%s: no loss of a chassis that is on, and what goes afterwards is one',
    async (_, answer) => {
      const bench = createBench(boardOf(TOLD), { initially: 'on' });
      const leave = new AbortController();
      bench.clock.after(9_000, () => leave.abort('request'));
      const properties = breaking(bench, answer, 500, 6_000);
      expect((await bench.run(JOBS.watch, { signal: leave.signal, properties })).state).toBe('pgood');
      expect(bench.enabled().sort()).toEqual(['A', 'B', 'U']);
      const sinceMs = sinceBegin(bench);
      bench.clock.after(8_000, () => bench.plant.addFault(bench.fault('pgood never')));
      const lost = await bench.run(JOBS.watch, {
        properties: breaking(bench, answer, sinceMs + 500, sinceMs + 6_000),
      });
      expect([lost.state, lost.sequence.fault?.kind]).toEqual(['failed', 'pgoodLost']);
      expect(sinceBegin(bench) - sinceMs).toBeGreaterThan(8_000);
      expect(bench.enabled()).toEqual([]);
    },
  );

  it.each(Object.entries(troubles))('%s: no loss is hidden that a line tells of', async (_, answer) => {
    const bench = createBench(boardOf({ all: [line(7), TOLD] }), { initially: 'on' });
    bench.clock.after(3_000, () => bench.plant.addFault(bench.fault('pgood 1 never')));
    const lost = await bench.run(JOBS.watch, { properties: breaking(bench, answer, 500, 1e9) });
    expect([lost.state, lost.sequence.fault?.kind]).toEqual(['failed', 'pgoodLost']);
    // One that hangs is waited for, as a bus that does.
    const firstOff = bench.plant.history.find((event) => event.type === 'drive' && !event.asserted);
    expect((firstOff?.atMs ?? 1e9) - bench.plant.startMs).toBeLessThan(3_000 + 1_000 + 100);
  });

  it.each(Object.entries(troubles))('%s: no chassis is said to be on', async (_, answer) => {
    const bench = createBench(boardOf(TOLD));
    const properties = breaking(bench, answer, 0, 1e9);
    await expect(bench.run(JOBS.on, { properties })).rejects.toMatchObject({ code: 'PROPERTY_UNREAD' });
    expect(bench.enabled()).toEqual([]);
    const late = createBench(boardOf(TOLD), { faults: ['pgood never'] });
    const result = await late.run(JOBS.on, { properties: breaking(late, answer, 30, 1e9) });
    expect(result.state).toBe('failed');
    expect(late.enabled()).toEqual([]);
  });

  it.each(Object.entries(troubles))('%s: a power-off drives all the same', async (_, answer) => {
    const bench = createBench(boardOf(TOLD), { initially: 'on' });
    await bench.run(JOBS.off, { properties: breaking(bench, answer, 0, 1e9) });
    expect(bench.enabled()).toEqual([]);
  });

  it('is told at once when it changes, and is not believed without being asked', async () => {
    const bench = createBench(boardOf(TOLD), { initially: 'on' });
    let told: () => void = () => undefined;
    let isGood = true;
    let reads = 0;
    const properties = (): PropertyBackend => ({
      async readBoolean() {
        reads += 1;
        return isGood;
      },
      watch(_, wake) {
        told = wake;
        return () => undefined;
      },
    });
    bench.clock.after(1_000, () => {
      reads = 0;
      for (let time = 0; time < 20; time += 1) told();
    });
    bench.clock.after(1_001, () => expect(reads).toBeGreaterThan(0));
    bench.clock.after(2_050, () => {
      isGood = false;
      told();
    });
    const { state, sequence } = await bench.run(JOBS.watch, { properties });
    expect([state, sequence.fault?.kind]).toEqual(['failed', 'pgoodLost']);
    const firstOff = bench.plant.history.find((event) => event.type === 'drive' && !event.asserted);
    expect((firstOff?.atMs ?? 0) - bench.plant.startMs).toBeLessThan(2_050 + 5 + 10);
  });
});

describe('who looks at several signals of pgood', () => {
  const seenOf = async (pgood: object, fault: string) => {
    const bench = createBench(boardOf(pgood), { initially: 'on', faults: [fault] });
    const ports = {
      gpio: async () => createMockGpio(bench.plant),
      i2c: async () => createMockI2c(bench.plant),
      clock: bench.clock,
    };
    const hardware = await bench.clock.runUntil(openChassis(bench.board, 0, ports));
    return bench.clock.runUntil(hardware.observe());
  };
  const unreadable = expect.stringContaining('pgood 2: 0x40 on I2C bus 1');

  it('sees each of them, and why one cannot be read that the others do without', async () => {
    const seen = await seenOf({ any: [line(7), PAGE] }, 'i2c vr nack');
    expect(seen.observation.pgood).toBe(true);
    expect(seen.unreadable.filter(({ signal }) => signal === 'pgood')).toEqual([]);
    expect(seen.pgoodSources).toEqual([
      { role: 'pgood 1', good: true, reason: null },
      { role: 'pgood 2', good: null, reason: unreadable },
    ]);
  });

  it('is told that pgood cannot be read where that hangs on one that cannot be', async () => {
    const seen = await seenOf({ all: [line(7), PAGE] }, 'i2c vr nack');
    expect(seen.observation.unread).toContainEqual({ signal: 'pgood', rail: null });
    expect(seen.unreadable.filter(({ signal }) => signal === 'pgood')).toMatchObject([
      { reason: unreadable },
    ]);
  });

  it('sees no pgood where one of all does not stand, whatever else cannot be read', async () => {
    const seen = await seenOf({ all: [{ rails: true }, line(7), PAGE] }, 'pgood 2 never');
    expect([seen.observation.pgood, seen.unreadable]).toEqual([false, []]);
  });
});

const BUSES = [null, '1', '2'] as const;
const UNREAD = new HardwareError('I2C_NO_DEVICE', 'nothing acknowledges');

interface DrawnSignal {
  readonly bus: (typeof BUSES)[number];
  readonly says: boolean | 'unread';
}
const signals = fc.array(
  fc.record<DrawnSignal>({
    bus: fc.constantFrom(...BUSES),
    says: fc.constantFrom<DrawnSignal['says']>(true, false, 'unread'),
  }),
  { minLength: 1, maxLength: 5 },
);

/** By the words of the board file's description. */
function expected(take: 'all' | 'any', said: readonly (boolean | 'unread')[]): boolean | 'unread' {
  const others = take === 'all' ? said.every((each) => each === true) : said.some((each) => each === true);
  if (others) return true;
  if (take === 'all' && said.includes(false)) return false;
  return said.includes('unread') ? 'unread' : false;
}

function asked(bus: string | null, read: () => Promise<boolean>): Asked {
  return { bus, role: 'pgood', poweredBy: null, read };
}

describe('what signals say together', () => {
  it('of all one that is not good decides, of any one that is, and else one that cannot be read', async () => {
    const drawn = fc.record({ take: fc.constantFrom('all' as const, 'any' as const), signals });
    await fc.assert(
      fc.asyncProperty(drawn, async ({ take, signals: of }) => {
        const parts = of.map(({ bus, says }) => {
          const read = async () => {
            if (says === 'unread') throw UNREAD;
            return says;
          };
          return { part: asked(bus, read), said: (says === 'unread' ? UNREAD : says) satisfies Said };
        });
        const whole: Together = { take, of: parts.map(({ part }) => part) };
        const wanted = expected(
          take,
          of.map(({ says }) => says),
        );
        const now = verdict(whole, (part) => parts.find((each) => each.part === part)?.said);
        expect(now instanceof HardwareError ? 'unread' : now).toBe(wanted);
        const read = await readTogether(whole, (part) => part.read()).catch((error: unknown) => error);
        expect(read === UNREAD ? 'unread' : read).toBe(wanted);
      }),
    );
  });

  it('nothing is good of no signal at all', () => {
    expect(verdict({ take: 'all', of: [] }, () => true)).toBe(false);
  });

  it('asks no bus where the lines decide', async () => {
    const bus = asked('1', () => Promise.reject(new Error('asked')));
    const low = asked(null, async () => false);
    const high = asked(null, async () => true);
    expect(await readTogether({ take: 'all', of: [bus, low] }, (part) => part.read())).toBe(false);
    expect(await readTogether({ take: 'any', of: [bus, high] }, (part) => part.read())).toBe(true);
  });

  it.each([
    // Without the answer of the other bus it hangs on what cannot be read.
    ['I2C_TIMEOUT', true, 1],
    ['I2C_TIMEOUT', false, 1],
    // One that is refused says nothing of the others.
    ['I2C_FAILED', true, 3],
  ] as const)(
    'asks a bus that hangs once, and the others all the same: %s, beside one that says %s',
    async (code, says, times) => {
      let asks = 0;
      const broken = () =>
        asked('1', async () => {
          asks += 1;
          throw new HardwareError(code, 'does not answer');
        });
      const other = asked('2', async () => says);
      const whole: Together = { take: 'all', of: [broken(), broken(), other, broken()] };
      const answer = readTogether(whole, (part) => part.read());
      if (says) await expect(answer).rejects.toMatchObject({ code });
      else expect(await answer).toBe(false);
      expect(asks).toBe(times);
    },
  );

  it('asks a bus for nothing more when the answer is known', async () => {
    let asks = 0;
    const saying = (says: boolean) =>
      asked('1', async () => {
        asks += 1;
        return says;
      });
    const any: Together = { take: 'any', of: [saying(false), saying(true), saying(true)] };
    expect(await readTogether(any, (part) => part.read())).toBe(true);
    expect(asks).toBe(2);
  });

  it('rejects with what one that decides cannot be read for, and with a mistake of the program', async () => {
    const unread = (bus: string | null, error: Error) => asked(bus, () => Promise.reject(error));
    const high = asked(null, async () => true);
    for (const bus of [null, '1']) {
      const whole: Together = { take: 'all', of: [high, unread(bus, UNREAD)] };
      await expect(readTogether(whole, (part) => part.read())).rejects.toBe(UNREAD);
    }
    const mistake = new TypeError('a mistake');
    const whole: Together = { take: 'all', of: [high, unread(null, mistake)] };
    await expect(readTogether(whole, (part) => part.read())).rejects.toBe(mistake);
  });

  it.each([
    ['all', false],
    ['any', true],
  ] as const)('waits of %s for no line that hangs where another one is %s', async (take, decisive) => {
    const hangs = asked(null, () => new Promise<never>(() => undefined));
    const decides = asked(null, async () => decisive);
    for (const of of [
      [hangs, decides],
      [decides, hangs],
    ]) {
      expect(await readTogether({ take, of }, (part) => part.read())).toBe(decisive);
    }
  });
});

describe('a board file is refused', () => {
  const problemsOf = (of: object) =>
    checkBoard(of).problems.map(({ path, message }) => `${path}: ${message}`);

  it('with pgood of no signal', () => {
    expect(problemsOf(described({ all: [] }))).toEqual(['chassis.0.pgood.all: names no signal']);
    expect(problemsOf(described({ any: [] }))).toEqual(['chassis.0.pgood.any: names no signal']);
  });

  it('with two roles of one line, also inside pgood', () => {
    expect(problemsOf(described({ all: [line(7), line(1)] }))).toEqual([
      'chassis.0.pgood.all.1: pgood 2 uses line 1 of gpio, which is already good of A',
    ]);
  });

  it('with pgood that is told by this program itself', () => {
    for (const service of [
      'org.openbmc.control.Power',
      'org.openbmc.control.Power0',
      'xyz.openbmc_project.State.Chassis0',
      'xyz.openbmc_project.State.Host',
    ]) {
      const message = `${service} is a name of this program, which shows there what it reads of pgood`;
      expect(problemsOf(described({ ...TOLD, service }))).toEqual([`chassis.0.pgood.service: ${message}`]);
      expect(problemsOf(described({ any: [line(7), { ...TOLD, service }] }))).toEqual([
        `chassis.0.pgood.any.1.service: ${message}`,
      ]);
    }
  });

  it('with a property that lacks a word, or has one that D-Bus has not', () => {
    const { property: _, ...lacking } = TOLD;
    expect(problemsOf(described(lacking))).toEqual(['chassis.0.pgood.property: "property" is missing']);
    expect(problemsOf(described({ ...TOLD, dbus: 'sequencer' }))).toEqual([
      'chassis.0.pgood.dbus: "sequencer" is none on D-Bus',
    ]);
  });

  it('with a word that is only ever true, and is to be left out', () => {
    for (const said of [false, 'false']) {
      const [{ message, suggestion } = {}, ...others] = checkBoard(described({ rails: said }))
        .problems as Partial<Problem>[];
      expect(message).toBe(`${JSON.stringify(said)} is no value for it: only true is`);
      expect([suggestion, others]).toEqual(['leave the key out, or write true', []]);
    }
  });

  it('with a device that is not there', () => {
    expect(problemsOf(described({ any: [line(7), { ...PAGE, pmbus: 'wr' }] }))).toEqual([
      'chassis.0.pgood.any.1.pmbus: "wr" is not in devices',
    ]);
  });

  it('with an empty window', () => {
    expect(problemsOf(described({ ...PAGE, minVolts: 2 }))).toEqual([
      'chassis.0.pgood.minVolts: minVolts 2 is above maxVolts 1.1',
    ]);
  });

  it('with a latch, where pgood hangs on what an enable reads', () => {
    const blind = (pgood?: object) => {
      const board = described(pgood, { poweredBy: 'U' });
      const { rails, ...chassis } = board.chassis[0];
      const { A: _, ...own } = { ...rails, U: { ...rails.U, needs: [] }, B: { ...rails.B, needs: ['U'] } };
      return { ...board, chassis: { 0: { ...chassis, latch: line(5), rails: own } } };
    };
    expect(problemsOf(blind(PAGE))).toEqual([
      'chassis.0.pgood: pgood hangs on vr, which has its power from rail U: behind the latch nothing tells whether that rail is there',
    ]);
    expect(problemsOf(blind())).toEqual([
      'chassis.0.rails.B.good: pgood hangs on vr, which has its power from rail U: behind the latch nothing tells whether that rail is there',
    ]);
    expect(problemsOf(blind(line(7)))).toEqual([]);
  });

  it('with a latch, where pgood of the rails would be that of a supply, which stays', () => {
    const supplied = (pgood: object | undefined, follower: object) => {
      const { A } = described(undefined).chassis[0].rails;
      const { good: _, ...blind } = A;
      const rails = { PSU: { good: line(9) }, A: { ...blind, needs: ['PSU'] }, ...follower };
      return { name: 'supplied', chassis: { 0: { rails, latch: line(5), ...(pgood && { pgood }) } } };
    };
    const unseen = (at: string) =>
      `chassis.0.${at}: pgood is to be taken from the rails, and none of them that counts, goes off with the power, and is always there, has a signal: behind the latch an enable does not tell whether there is power`;
    expect(problemsOf(supplied(undefined, {}))).toEqual([unseen('pgood')]);
    expect(problemsOf(supplied({ any: [line(7), { rails: true }] }, {}))).toEqual([unseen('pgood.any.1')]);
    expect(problemsOf(supplied(undefined, { F: { good: line(8), needs: ['A'] } }))).toEqual([]);
  });
});

describe('a bench of three relays without any signal', () => {
  it('is on for the second stage only when the last relay has settled', async () => {
    const bench = createBench('relay-bench');
    await bench.run(JOBS.start);
    const startedMs = bench.clock.nowMs();
    expect((await bench.run(JOBS.waitOn)).state).toBe('pgood');
    // settleMs of P12V, the longest of the two that come last.
    expect(bench.clock.nowMs() - startedMs).toBeGreaterThanOrEqual(250);
  });

  it.each([
    ['nothing', 'pgood', null],
    ['enable MAINS stuck off', 'hardware', 'MAINS'],
    ['enable P12V stuck off', 'hardware', 'P12V'],
    ['enable FANS stuck off', 'hardware', 'FANS'],
    // Nobody could see these, and nothing is claimed of them.
    ['rail P12V never good', 'pgood', null],
    ['rail FANS shorts', 'pgood', null],
  ])('with %s a power-on ends with %s', async (fault, ending, rail) => {
    const bench = createBench('relay-bench', { faults: fault === 'nothing' ? [] : [fault] });
    const { state, sequence } = await bench.run(JOBS.on);
    expect([sequence.fault?.kind ?? state, sequence.fault?.rail ?? null]).toEqual([ending, rail]);
    expect(bench.enabled()).toEqual(state === 'pgood' ? ['MAINS', 'P12V', 'FANS'] : []);
    if (fault === 'nothing') expect(bench.plant.hazards).toEqual([]);
    await bench.clock.advance(5_000);
    bench.plant.clearFaults();
    expect((await bench.run(JOBS.off)).state).toMatch(/off|failed/);
    expect(bench.enabled()).toEqual([]);
  });

  it.each(['MAINS', 'P12V', 'FANS'])(
    'is switched off when the relay of %s goes, which is named',
    async (rail) => {
      const bench = createBench('relay-bench', { initially: 'on' });
      bench.clock.after(1_000, () => bench.plant.addFault(bench.fault(`enable ${rail} stuck off`)));
      const { state, sequence } = await bench.run(JOBS.watch);
      expect([state, sequence.fault?.kind, sequence.fault?.rail]).toEqual(['failed', 'railLost', rail]);
      expect(bench.enabled()).toEqual([]);
    },
  );
});
