import { describe, expect, it } from 'vitest';
import { HardwareError } from '../../hw/errors.ts';
import { pause } from '../../hw/waiting.ts';
import type { Board } from '../../src/board/schema.ts';
import type { ChassisHardware } from '../../src/run/hardware.ts';
import { JOBS } from '../../src/run/jobs.ts';
import { type Bench, createBench, shippedBoard } from './bench.ts';

/**
 * In which order things are driven, and what is told of it, where one drive takes long or fails while another is under
 * way.
 */

/** The reference board with other rails. */
function boardWith(change: (rails: Board['chassis'][string]['rails']) => void): Board {
  const board = structuredClone(shippedBoard('reference'));
  const chassis = board.chassis['0'];
  if (chassis === undefined) throw new RangeError('no chassis 0');
  change(chassis.rails);
  return board;
}

const stuck = () => new HardwareError('GPIO_FAILED', 'the line cannot be written');

/** Each drive of the kind takes so long. */
const slow =
  (bench: Bench, kind: 'driveReset' | 'driveEnable', ms: number) =>
  (opened: ChassisHardware): ChassisHardware => ({
    ...opened,
    async [kind](name: string, asserted: boolean) {
      await pause(bench.clock, ms);
      await opened[kind](name, asserted);
    },
  });

/** What was switched and told, in its order. */
function story(bench: Bench): string[] {
  return bench.recording.flatMap((entry) => {
    if (entry.type === 'enable') return [`${entry.rail} ${entry.asserted ? 'on' : 'off'}`];
    if (entry.type === 'reset') return [`reset ${entry.asserted ? 'held' : 'released'}`];
    if (entry.type === 'latch') return ['latch'];
    if (entry.type === 'driveFailed') return [`failed: ${entry.what}`];
    return entry.type === 'state' ? [entry.to] : [];
  });
}

describe('power comes no further once a drive failed', () => {
  it('not even by an enable that was decided on in the same moment', async () => {
    const board = boardWith(({ P5V }) => {
      if (P5V !== undefined) P5V.needs = [];
    });
    const bench = createBench(board);
    const { state, sequence } = await bench.run(JOBS.on, {
      hardware: (opened) => ({
        ...opened,
        async driveEnable(rail, asserted) {
          if (rail === 'P12V' && asserted) throw stuck();
          await opened.driveEnable(rail, asserted);
        },
      }),
    });
    expect({ state, rail: sequence.fault?.rail }).toEqual({ state: 'failed', rail: 'P12V' });
    expect(story(bench).filter((each) => each.endsWith(' on'))).toEqual([]);
    const raised = bench.plant.history.filter(
      (event) => event.type === 'line' && event.role === 'enable' && event.asserted,
    );
    expect(raised).toEqual([]);
  });
});

describe('power comes up', () => {
  it('only when a reset that was released is held, however long that takes', async () => {
    const bench = createBench('reference');
    const { state } = await bench.run(JOBS.on, {
      hardware: (opened) => ({
        ...slow(bench, 'driveReset', 300)(opened),
        async observe() {
          const { observation, ...others } = await opened.observe();
          return { observation: { ...observation, resetsAsserted: { CPU_RESET_L: false } }, ...others };
        },
      }),
    });
    expect(state).toBe('pgood');
    expect(story(bench).slice(0, 3)).toEqual(['opPowerStart', 'reset held', 'P12V on']);
  });

  it('and the chassis counts as on when its last reset is released, however long that takes', async () => {
    const bench = createBench('reference');
    expect((await bench.run(JOBS.on, { hardware: slow(bench, 'driveReset', 300) })).state).toBe('pgood');
    expect(story(bench).slice(-2)).toEqual(['reset released', 'pgood']);
  });

  it('with a record that has each rail once as it rises, and once as it stands', async () => {
    const bench = createBench('reference');
    await bench.run(JOBS.on);
    for (const { name } of bench.plan.rails) {
      const phases = bench.recording.flatMap((entry) =>
        entry.type === 'rail' && entry.rail === name ? [`${entry.phase} ${entry.good}`] : [],
      );
      expect(phases, name).toEqual(['rising false', 'rising true', 'up true']);
      const at = (type: string) =>
        bench.recording.findIndex((entry) => entry.type === type && 'rail' in entry && entry.rail === name);
      expect(at('enable')).toBeLessThan(at('rail'));
    }
  });
});

describe('a power-on of which a reset cannot be released', () => {
  const cannotRelease =
    (name: string) =>
    (opened: ChassisHardware): ChassisHardware => ({
      ...opened,
      async driveReset(reset, asserted) {
        if (reset === name && !asserted) throw stuck();
        await opened.driveReset(reset, asserted);
      },
    });

  const everyReset = ['reference', 'openpower'].flatMap((board) =>
    Object.keys(shippedBoard(board).chassis['0']?.resets ?? {}).map((reset) => ({ board, reset })),
  );

  it.each(everyReset)('fails, and leaves nothing on: $reset of $board', async ({ board, reset }) => {
    const bench = createBench(board);
    const { state, sequence } = await bench.run(JOBS.on, { hardware: cannotRelease(reset) });
    expect({ state, fault: sequence.fault }).toMatchObject({
      ...{ state: 'failed', fault: { kind: 'hardware', rail: null, state: 'opWaitPowerOn' } },
    });
    expect(bench.enabled()).toEqual([]);
    const told = story(bench);
    expect(told).not.toContain('pgood');
    expect(told).toContain(`failed: reset ${reset}`);
    expect(bench.plant.hazards).toEqual([]);
  });

  it('fails too where another process left it to be released', async () => {
    const bench = createBench('reference');
    expect((await bench.run(JOBS.start)).state).toBe('opWaitPowerOn');
    const { state } = await bench.run(JOBS.waitOn, { hardware: cannotRelease('CPU_RESET_L') });
    expect(state).toBe('failed');
    expect(bench.enabled()).toEqual([]);
  });
});

describe('a latch that cannot be pulsed', () => {
  const cannotPulse = (opened: ChassisHardware): ChassisHardware => ({
    ...opened,
    pulseLatch: () => Promise.reject(stuck()),
  });

  it.each([
    [JOBS.on, 'off'],
    [JOBS.off, 'on'],
  ] as const)('fails the run, and nobody is told that it was: $request', async (job, initially) => {
    const bench = createBench('openpower', { initially });
    const { state, sequence } = await bench.run(job, { hardware: cannotPulse });
    expect({ state, kind: sequence.fault?.kind, rail: sequence.fault?.rail }).toEqual({
      ...{ state: 'failed', kind: 'hardware', rail: null },
    });
    const told = story(bench);
    // Power goes down all the same, and comes no further.
    const next = told[told.indexOf('failed: latch') + 1];
    expect(next).toBe(initially === 'on' ? 'opWaitPowerOff' : 'fault');
    expect(told).not.toContain('latch');
    expect(told).not.toContain('pgood');
    expect(told).not.toContain('off');
  });
});

describe('power goes down', () => {
  it('only when every reset is held, however long that takes', async () => {
    const bench = createBench('reference', { initially: 'on' });
    expect((await bench.run(JOBS.off, { hardware: slow(bench, 'driveReset', 300) })).state).toBe('off');
    const told = story(bench);
    expect(told.indexOf('reset held')).toBeLessThan(told.findIndex((each) => each.endsWith(' off')));
    expect(bench.plant.hazards).toEqual([]);
  });

  it('and no reset waits for another one', async () => {
    const bench = createBench('openpower', { initially: 'on' });
    await bench.run(JOBS.off, { hardware: slow(bench, 'driveReset', 300) });
    const heldMs = bench.recording.flatMap((entry) =>
      entry.type === 'reset' && entry.asserted ? [entry.atMs] : [],
    );
    expect(heldMs).toHaveLength(2);
    expect(Math.max(...heldMs) - Math.min(...heldMs)).toBeLessThan(100);
  });

  it('and the latch takes the enables over when all of them are off', async () => {
    const bench = createBench('openpower', { initially: 'on' });
    expect((await bench.run(JOBS.off, { hardware: slow(bench, 'driveEnable', 300) })).state).toBe('off');
    const told = story(bench);
    expect(told.filter((each) => each === 'latch')).toHaveLength(1);
    expect(told.indexOf('latch')).toBeGreaterThan(told.indexOf('MAIN off'));
    expect(bench.plant.hazards).toEqual([]);
  });

  it('and nobody is told "off" while an enable is still being switched, which then fails', async () => {
    // Nothing but its enable tells of the rail, so that all reads off before its device has answered.
    const board = boardWith(({ PVDDQ }) => {
      if (PVDDQ !== undefined) delete PVDDQ.good;
    });
    const bench = createBench(board, { initially: 'on' });
    const { state, sequence } = await bench.run(JOBS.off, {
      hardware: (opened) => ({
        ...opened,
        async driveEnable(rail, asserted) {
          if (rail !== 'PVDDQ') return opened.driveEnable(rail, asserted);
          await pause(bench.clock, 1_100);
          throw new HardwareError('I2C_TIMEOUT', 'the bus hangs');
        },
      }),
    });
    expect({ state, rail: sequence.fault?.rail }).toEqual({ state: 'failed', rail: 'PVDDQ' });
    const told = story(bench);
    expect(told).not.toContain('off');
    expect(told.indexOf('failed: enable of rail PVDDQ')).toBeLessThan(told.indexOf('fault'));
  });

  it('and nobody is told that only its end is waited for before the last enable was switched', async () => {
    // Nothing but its enable tells of the last rail: it counts as down as soon as that is wanted off.
    const board = boardWith(({ P12V }) => {
      if (P12V !== undefined) delete P12V.good;
    });
    const bench = createBench(board, { initially: 'on' });
    const { state } = await bench.run(JOBS.off, { hardware: slow(bench, 'driveEnable', 300) });
    const told = story(bench);
    expect(told.slice(told.indexOf('P12V off'))).toEqual(['P12V off', 'opWaitPowerOff', 'off']);
    expect(state).toBe('off');
  });

  it('no further where the run is told twice to end: what still waits for its turn is not switched', async () => {
    const bench = createBench('reference', { initially: 'on' });
    const abandon = new AbortController();
    const run = bench.run(JOBS.off, {
      abandon: abandon.signal,
      hardware: slow(bench, 'driveReset', 300),
      record: (entry) => {
        if (entry.type === 'reconciled') bench.clock.after(100, () => abandon.abort('SIGINT'));
      },
    });
    await expect(run).rejects.toMatchObject({ code: 'INTERRUPTED' });
    expect(bench.enabled()).toHaveLength(bench.plan.rails.length);
  });

  it('after a failure of one reset the others are held, the enables go off, and the run says that it failed', async () => {
    const bench = createBench('reference', { initially: 'on' });
    const { state, sequence } = await bench.run(JOBS.off, {
      hardware: (opened) => ({ ...opened, driveReset: () => Promise.reject(stuck()) }),
    });
    expect({ state, kind: sequence.fault?.kind, rail: sequence.fault?.rail }).toEqual({
      ...{ state: 'failed', kind: 'hardware', rail: null },
    });
    expect(bench.enabled()).toEqual([]);
  });
});

describe('what is told', () => {
  it('is told soon, though one device keeps a power-off waiting', async () => {
    const bench = createBench('reference', { initially: 'on' });
    const toldMs = new Map<string, number>();
    const fromMs = bench.clock.nowMs();
    await bench.run(JOBS.off, {
      hardware: (opened) => ({
        ...opened,
        async driveEnable(rail, asserted) {
          if (rail === 'PVDDQ') await pause(bench.clock, 1_100);
          await opened.driveEnable(rail, asserted);
        },
      }),
      record: (entry) => {
        if (entry.type === 'enable') toldMs.set(entry.rail, bench.clock.nowMs() - fromMs);
      },
    });
    // Nothing hangs on PVCORE and PVDDQ: both are switched at once.
    expect(toldMs.get('PVCORE')).toBeLessThan(100);
    expect(toldMs.get('PVDDQ')).toBeGreaterThan(1_000);
  });
});

describe('a run that watches a chassis', () => {
  const lost = { initially: 'on', faults: ['pgood stuck off at 100ms'] } as const;

  it('switches off what lost its power, also where it is asked to end or another process drives by then', async () => {
    for (const ends of ['asked', 'superseded'] as const) {
      const bench = createBench('reference', lost);
      const asked = new AbortController();
      let isLost = false;
      const { state } = await bench.run(JOBS.watch, {
        hardware: slow(bench, 'driveEnable', 30),
        signal: asked.signal,
        superseded: async () => isLost && ends === 'superseded',
        record: (entry) => {
          if (entry.type !== 'fault') return;
          isLost = true;
          if (ends === 'asked') asked.abort('SIGTERM');
        },
      });
      expect({ ends, state, enabled: bench.enabled() }).toEqual({ ends, state: 'failed', enabled: [] });
    }
  });

  it.each(['signal', 'abandon'] as const)(
    'ends at once when it is asked to while it asks whether another process drives, whenever that is (%s)',
    async (by) => {
      for (let question = 1; ; question += 1) {
        // It wakes for the glitch, and rests for as long as it takes before it and after it.
        const bench = createBench('openpower', { initially: 'on', faults: ['pgood glitch 1ms at 1s'] });
        const asked = new AbortController();
        let left = question;
        let askedMs = Number.NaN;
        let endedMs = Number.NaN;
        bench.clock.after(3_000, () => asked.abort('SIGTERM'));
        const run = bench
          .run(JOBS.watch, {
            [by]: asked.signal,
            superseded: async () => {
              await pause(bench.clock, 2);
              left -= 1;
              if (left !== 0) return false;
              askedMs = bench.clock.nowMs();
              asked.abort('SIGTERM');
              return false;
            },
          })
          .finally(() => {
            endedMs = bench.clock.nowMs();
          });
        const ended = await run.then(
          ({ state }) => state,
          ({ code }) => code,
        );
        expect(ended).toBe(by === 'signal' ? 'pgood' : 'INTERRUPTED');
        if (left > 0) {
          expect(question, 'it asks twice at least').toBeGreaterThan(2);
          return;
        }
        expect(endedMs - askedMs, `question ${question}`).toBeLessThan(20);
        expect(bench.recording.filter(({ type }) => type === 'warning')).toEqual([]);
        expect(bench.enabled()).toHaveLength(bench.plan.rails.length);
      }
    },
  );

  it('switches off in the order of a power-off what is switched within 50 ms, and waits no longer for what hangs', async () => {
    const offMs = async (ofPvddqMs: number) => {
      const bench = createBench('reference', lost);
      await bench.run(JOBS.watch, {
        hardware: (opened) => ({
          ...opened,
          async driveEnable(rail, asserted) {
            if (rail === 'PVDDQ') await pause(bench.clock, ofPvddqMs);
            await opened.driveEnable(rail, asserted);
          },
        }),
      });
      const faultMs = bench.recording.find(({ type }) => type === 'fault')?.atMs ?? Number.NaN;
      const off = bench.recording.flatMap((entry) =>
        entry.type === 'enable' ? [{ rail: entry.rail, ms: entry.atMs - faultMs }] : [],
      );
      return { off, wanted: bench.plan.rails.map(({ name }) => name).reverse() };
    };
    const quick = await offMs(20);
    expect(quick.off.map(({ rail }) => rail)).toEqual(quick.wanted);
    const hung = await offMs(1_100);
    const others = hung.off.filter(({ rail }) => rail !== 'PVDDQ').map(({ ms }) => ms);
    expect(others).toHaveLength(hung.wanted.length - 1);
    expect(Math.max(...others)).toBeLessThanOrEqual(50);
  });

  it('rests while nothing happens: it asks nobody whether another process drives', async () => {
    // All of this board is GPIO lines, and they tell of a change by interrupts.
    const bench = createBench('openpower', { initially: 'on' });
    const asked = new AbortController();
    bench.clock.after(60_000, () => asked.abort('SIGTERM'));
    let questions = 0;
    const { state } = await bench.run(JOBS.watch, {
      signal: asked.signal,
      superseded: async () => {
        questions += 1;
        return false;
      },
    });
    expect(state).toBe('pgood');
    // When it begins, for the first reading of each of its signals.
    expect(questions).toBeLessThan(20);
  });

  it('says that it was lost once, when everything is off and before anything else is done', async () => {
    const bench = createBench('reference', lost);
    const told: string[][] = [];
    await bench.run(JOBS.watch, {
      hardware: slow(bench, 'driveEnable', 30),
      onLowered: async () => {
        told.push(bench.enabled());
        expect(bench.recording.some((entry) => entry.type === 'state' && entry.to === 'failed')).toBe(false);
      },
    });
    expect(told).toEqual([[]]);
  });

  it('writes no state while nothing is driven: whoever drove the chassis has said what it is', async () => {
    const bench = createBench('reference', { initially: 'on', faults: ['pgood glitch 3ms at 100ms'] });
    const asked = new AbortController();
    bench.clock.after(1_000, () => asked.abort('SIGTERM'));
    const saved: string[] = [];
    const { state } = await bench.run(JOBS.watch, {
      signal: asked.signal,
      store: {
        load: () => bench.store.load(),
        save(to) {
          saved.push(to);
          return null;
        },
      },
    });
    expect(state).toBe('pgood');
    expect(bench.recording.some(({ type }) => type === 'pgood')).toBe(true);
    expect(saved).toEqual([]);
  });

  it('ends at once when it is told twice to, though nothing else happens, and leaves the host on', async () => {
    const bench = createBench('reference', { initially: 'on' });
    const abandon = new AbortController();
    let endedMs = Number.NaN;
    const run = bench
      .run(JOBS.watch, {
        abandon: abandon.signal,
        record: (entry) => {
          if (entry.type === 'reconciled') bench.clock.after(1_005, () => abandon.abort('SIGINT'));
        },
      })
      .finally(() => {
        endedMs = bench.clock.nowMs();
      });
    const fromMs = bench.clock.nowMs();
    await expect(run).rejects.toMatchObject({ code: 'INTERRUPTED' });
    expect(endedMs - fromMs).toBeLessThan(1_050);
    expect(bench.enabled()).toHaveLength(bench.plan.rails.length);
  });
});
