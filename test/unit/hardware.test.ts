import { describe, expect, it } from 'vitest';
import { HardwareError } from '../../hw/errors.ts';
import type { GpioBackend, I2cBackend } from '../../hw/ports.ts';
import { createMockGpio } from '../../mocks/backends/gpio.ts';
import { createMockI2c } from '../../mocks/backends/i2c.ts';
import { parseFault } from '../../mocks/plant/faults.ts';
import { createPlant } from '../../mocks/plant/plant.ts';
import { createVirtualClock } from '../../mocks/virtual-clock.ts';
import type { Board } from '../../src/board/schema.ts';
import { openChassis } from '../../src/run/hardware.ts';
import { JOBS } from '../../src/run/jobs.ts';
import { createBench, shippedBoard } from './bench.ts';
import { answering } from './i2c-answers.ts';

/** PMBus specification 1.3.1 part II, table 31. */
const READ_VOUT = 0x8b;
/** hw/boards/ast2600-evb.json has its regulator in direct format with m 1, b 0, R 3: one count is a millivolt. */
const COUNTS_PER_VOLT = 1_000;

/** The plant's I2C, with an output voltage of its own: only the reading of one register is another one. */
const readingVolts = (inner: I2cBackend, volts: () => number): I2cBackend =>
  answering(inner, async (command) =>
    command === READ_VOUT ? Math.round(volts() * COUNTS_PER_VOLT) : undefined,
  );

describe('a rail that is seen by its voltage', () => {
  // hw/boards/ast2600-evb.json: PVCORE is good from 0.85 V to 0.95 V.
  it.each([
    [0.849, false],
    [0.85, true],
    [0.9, true],
    [0.95, true],
    [0.951, false],
    [1.8, false],
    [0, false],
  ])('with limits of 0.85 V and 0.95 V at %d V is good: %s', async (volts, good) => {
    const board = shippedBoard('ast2600-evb');
    const clock = createVirtualClock();
    const plant = createPlant({ board, clock, initially: 'on' });
    const read = async () => {
      const hardware = await openChassis(board, 0, {
        gpio: async () => createMockGpio(plant),
        i2c: async () => readingVolts(createMockI2c(plant), () => volts),
        clock,
      });
      try {
        return await hardware.readGood('PVCORE');
      } finally {
        await hardware.close();
      }
    };
    expect(await clock.runUntil(read())).toBe(good);
  });
});

describe('a rail that is seen by its device', () => {
  const UV_LIMIT = 0x44;
  const OV_LIMIT = 0x40;
  const STATUS_WORD = 0x79;
  const POWER_NOT_GOOD = 1 << 11;
  /** What nobody drives a bus for. */
  const NOTHING = 0xffff;

  /** Whether PVCORE of hw/boards/ast2600-evb.json is good by `good`, where its device answers these. */
  async function isGood(good: object, answers: Readonly<Record<number, number>>): Promise<boolean> {
    const board = structuredClone(shippedBoard('ast2600-evb'));
    const { PVCORE } = board.chassis['0']?.rails ?? {};
    if (PVCORE === undefined) throw new RangeError('another board');
    PVCORE.good = { pmbus: 'vr0', page: 0, ...good } as typeof PVCORE.good;
    const clock = createVirtualClock();
    const plant = createPlant({ board, clock, initially: 'on' });
    const i2c = answering(createMockI2c(plant), async (command) => answers[command]);
    const hardware = await clock.runUntil(
      openChassis(board, 0, { gpio: async () => createMockGpio(plant), i2c: async () => i2c, clock }),
    );
    return clock.runUntil(hardware.readGood('PVCORE'));
  }

  it.each([
    [849, 850, 950, false],
    [850, 850, 950, true],
    [950, 850, 950, true],
    [951, 850, 950, false],
    // A device may lack the upper one.
    [1800, 850, NOTHING, true],
    [849, 850, NOTHING, false],
  ])('at %i mV, whose limits are %i and %i, is good by these: %s', async (volts, from, to, good) => {
    const answers = { [READ_VOUT]: volts, [UV_LIMIT]: from, [OV_LIMIT]: to };
    expect(await isGood({ limits: 'device' }, answers)).toBe(good);
    expect(await isGood({ limits: 'device' }, { ...answers, [STATUS_WORD]: POWER_NOT_GOOD })).toBe(false);
  });

  it.each([
    [NOTHING, 'it answers nothing'],
    [0, 'it is 0 V'],
  ])('whose lower limit is %i is refused: without voltage it would be good', async (from, why) => {
    await expect(isGood({ limits: 'device' }, { [UV_LIMIT]: from })).rejects.toMatchObject({
      code: 'PMBUS_FORMAT',
      message: expect.stringContaining(`could be taken for one (${why}): give "minVolts"`),
      details: { device: 'vr0', page: 0 },
    });
  });

  it('by its status alone is good whatever its voltage', async () => {
    expect(await isGood({ status: true }, { [READ_VOUT]: 0, [STATUS_WORD]: 0 })).toBe(true);
    expect(await isGood({ status: true }, { [READ_VOUT]: 900, [STATUS_WORD]: POWER_NOT_GOOD })).toBe(false);
  });
});

/** A chassis of a shipped board over a plant, and what of it is open. */
function stage(name: string, initially: 'on' | 'off' = 'on', faults: readonly string[] = []) {
  const board = shippedBoard(name);
  const clock = createVirtualClock();
  const plant = createPlant({
    board,
    clock,
    initially,
    faults: faults.map((text) => parseFault(text, board)),
  });
  const open = new Map<string, number>();
  const counted = <Part extends { close(): Promise<void> }>(what: string, part: Part): Part => {
    open.set(what, (open.get(what) ?? 0) + 1);
    return {
      ...part,
      async close() {
        open.set(what, (open.get(what) ?? 0) - 1);
        await part.close();
      },
    };
  };
  const gpio = async (): Promise<GpioBackend> => {
    const inner = createMockGpio(plant);
    return {
      ...inner,
      openInput: async (ref) => counted(JSON.stringify(ref), await inner.openInput(ref)),
      openOutput: async (ref) => counted(JSON.stringify(ref), await inner.openOutput(ref)),
    };
  };
  const i2c = async (): Promise<I2cBackend> => {
    const inner = createMockI2c(plant);
    return { ...inner, openBus: async (bus) => counted(`bus ${bus}`, await inner.openBus(bus)) };
  };
  const ports = { gpio, i2c, clock };
  return {
    board,
    clock,
    plant,
    ports,
    /** What is open, and how often where that is more than once. */
    open: () => [...open].flatMap(([what, count]) => (count === 0 ? [] : [`${what} ${count}`])),
    opened: () => open.size,
    breakIt: (text: string) => plant.addFault(parseFault(text, board)),
    openChassis: (options?: { whatCanBeHad: boolean }) =>
      clock.runUntil(openChassis(board, 0, ports, options)),
    run: <T>(work: Promise<T>): Promise<T> => clock.runUntil(work),
    pass: (ms: number) => clock.runUntil(new Promise<void>((resolve) => void clock.after(ms, resolve))),
  };
}

describe('lines and buses of a chassis', () => {
  it('are opened once each, and all given back at the end, once', async () => {
    const given = stage('reference');
    const hardware = await given.openChassis();
    expect(given.opened()).toBeGreaterThan(10);
    expect(given.open().filter((each) => !each.endsWith(' 1'))).toEqual([]);
    await given.run(hardware.close());
    expect(given.open()).toEqual([]);
    await given.run(hardware.close());
    expect(given.open()).toEqual([]);
  });

  it('are all given back where one cannot be had, and the error names chassis and role', async () => {
    const given = stage('reference', 'on', ['line pgood busy']);
    const error = await given.openChassis().then(
      () => null,
      (thrown: unknown) => thrown,
    );
    expect(error).toMatchObject({
      code: 'GPIO_BUSY',
      message: expect.stringMatching(/^chassis 0: pgood: /),
      details: { chassis: 0, role: 'pgood' },
    });
    expect(given.opened()).toBeGreaterThan(5);
    expect(given.open()).toEqual([]);
  });

  it('are all given back where one is a mistake of the program, however late the others are', async () => {
    const given = stage('reference');
    const mistake = new TypeError('a mistake');
    const late = async (): Promise<GpioBackend> => {
      const inner = await given.ports.gpio();
      let isFirst = true;
      return {
        ...inner,
        async openOutput(ref) {
          if (isFirst) {
            isFirst = false;
            throw mistake;
          }
          await new Promise<void>((resolve) => void given.clock.after(50, resolve));
          return inner.openOutput(ref);
        },
      };
    };
    const gpio = await late();
    const opening = openChassis(given.board, 0, { ...given.ports, gpio: async () => gpio });
    await expect(given.run(opening)).rejects.toBe(mistake);
    await given.pass(100);
    expect(given.opened()).toBeGreaterThan(5);
    expect(given.open()).toEqual([]);
  });

  it('of which several cannot be had are told in one error, each with its role, and the first gives the code', async () => {
    const [reset] = Object.keys(shippedBoard('reference').chassis['0']?.resets ?? {});
    const given = stage('reference', 'on', ['line rail P5V enable busy', `line reset ${reset} busy`]);
    await expect(given.openChassis()).rejects.toMatchObject({
      code: 'GPIO_BUSY',
      message: expect.stringMatching(
        /^chassis 0: 2 parts cannot be had: enable of rail P5V: .*; reset \w+: /,
      ),
      details: {
        parts: [
          { role: 'enable of rail P5V', code: 'GPIO_BUSY', message: expect.stringContaining('P5V') },
          { role: `reset ${reset}`, code: 'GPIO_BUSY' },
        ],
      },
    });
  });

  it('that cannot be had are part of what can be had: each use of them tells why', async () => {
    const given = stage('reference', 'on', ['line rail P5V enable busy', 'line rail P5V good busy']);
    const hardware = await given.openChassis({ whatCanBeHad: true });
    const refused = { code: 'GPIO_BUSY' };
    await expect(given.run(hardware.driveEnable('P5V', false))).rejects.toMatchObject(refused);
    await expect(given.run(hardware.readGood('P5V'))).rejects.toMatchObject(refused);
    // A watch of it neither fails nor wakes anybody.
    const woken: (string | null)[] = [];
    const end = hardware.watch((source) => woken.push(source), 'switching');
    await given.pass(100);
    expect(woken).not.toContain('P5V');
    expect(woken).toContain('P12V');
    end();
  });

  it('of a chassis or a rail that the board does not have are a mistake of the caller', async () => {
    const given = stage('reference');
    await expect(given.run(openChassis(given.board, 7, given.ports))).rejects.toThrow(
      'chassis 7 is not in the board',
    );
    const hardware = await given.openChassis();
    await expect(async () => given.run(hardware.driveEnable('nowhere', true))).rejects.toThrow(
      'no rail nowhere',
    );
  });

  it('that cannot be read are told with signal, rail and reason, and taken for what leaves most to be done', async () => {
    const given = stage('reference', 'off', [
      'line rail P5V enable read error',
      'line rail P12V good read error',
      'line pgood read error',
    ]);
    const hardware = await given.openChassis();
    const { observation, unreadable } = await given.run(hardware.observe());
    expect(unreadable).toMatchObject([
      { signal: 'good', rail: 'P12V', reason: expect.stringMatching(/^good signal of rail P12V: /) },
      {
        signal: 'enable',
        rail: 'P5V',
        error: { message: expect.stringMatching(/^chassis 0: enable of rail P5V: /) },
      },
      { signal: 'pgood', rail: null, error: { details: { chassis: 0, role: 'pgood' } } },
    ]);
    expect(observation.rails.P5V?.enabled).toBe(true);
    expect(observation.rails.P12V?.good).toBe(false);
    expect(observation.rails.P3V3).toEqual({ enabled: false, good: false });
    expect(observation.unread).toEqual([
      { signal: 'good', rail: 'P12V' },
      { signal: 'enable', rail: 'P5V' },
      { signal: 'pgood', rail: null },
    ]);
  });

  it('are read once each for a look at the chassis, whatever they are behind', async () => {
    const given = stage('reference');
    const asked: string[] = [];
    const noting = <Part extends { read(): Promise<unknown> }>(name: string, part: Part): Part => ({
      ...part,
      read: () => {
        asked.push(name);
        return part.read();
      },
    });
    const ports = {
      ...given.ports,
      gpio: async (): Promise<GpioBackend> => {
        const inner = await given.ports.gpio();
        return {
          ...inner,
          openInput: async (ref) => noting(JSON.stringify(ref), await inner.openInput(ref)),
          openOutput: async (ref) => noting(JSON.stringify(ref), await inner.openOutput(ref)),
        };
      },
      i2c: async () =>
        answering(await given.ports.i2c(), async (command) => {
          asked.push(`command ${command}`);
          return undefined;
        }),
    };
    const hardware = await given.run(openChassis(given.board, 0, ports));
    await given.run(hardware.observe());
    const { rails = {}, resets = {} } = given.board.chassis['0'] ?? {};
    const lines = Object.values(rails).flatMap(({ enable, good }) =>
      [enable, good].filter((part) => part !== undefined && !('pmbus' in part)),
    );
    expect(asked.filter((each) => !each.startsWith('command'))).toHaveLength(
      lines.length + Object.keys(resets).length + 1,
    );
    expect(asked.toSorted()).toEqual([...new Set(asked)].toSorted());
  });

  it('behind a bus that hangs are waited for once, and each is told', async () => {
    const given = stage('reference');
    const hardware = await given.openChassis();
    given.breakIt('i2c vr_ddr hang');
    const fromMs = given.clock.nowMs();
    await given.run(hardware.readGood('PVDDQ').catch(() => undefined));
    const onceMs = given.clock.nowMs() - fromMs;
    const { unreadable } = await given.run(hardware.observe());
    expect(given.clock.nowMs() - fromMs - onceMs).toBeCloseTo(onceMs, 3);
    expect(unreadable).toMatchObject(
      (['enable', 'good'] as const).map((signal) => {
        const role = signal === 'enable' ? 'enable of rail PVDDQ' : 'good signal of rail PVDDQ';
        const message = expect.stringMatching(
          new RegExp(`^chassis 0: ${role}: (?!.*signal of)(?!.*enable of)`),
        );
        return { signal, rail: 'PVDDQ', error: { code: 'I2C_TIMEOUT', message, details: { role } } };
      }),
    );
  });

  it('behind a bus of which one part is refused are read all the same', async () => {
    const given = stage('reference');
    const OPERATION = 0x01;
    const refused = new HardwareError('I2C_FAILED', 'refused');
    const i2c = async () =>
      answering(await given.ports.i2c(), async (command) => {
        if (command === OPERATION) throw refused;
        return undefined;
      });
    const hardware = await given.run(openChassis(given.board, 0, { ...given.ports, i2c }));
    const { observation, unreadable } = await given.run(hardware.observe());
    expect(unreadable).toMatchObject([{ signal: 'enable', rail: 'PVDDQ', error: { code: refused.code } }]);
    expect(observation.rails.PVDDQ).toEqual({ enabled: true, good: true });
  });

  it('that cannot be driven are told with their role', async () => {
    const given = stage('reference', 'off', ['enable P5V stuck off']);
    const hardware = await given.openChassis();
    await expect(given.run(hardware.driveEnable('P5V', true))).rejects.toMatchObject({
      message: expect.stringMatching(/^enable of rail P5V: /),
      details: { role: 'enable of rail P5V' },
    });
  });
});

describe('what a chassis is opened with', () => {
  const noGpio = new HardwareError('GPIO_UNAVAILABLE', 'no GPIO here', {});

  it('of a machine without GPIO is enough to switch what is switched over PMBus, where that is asked for', async () => {
    const given = stage('reference');
    const ports = { ...given.ports, gpio: () => Promise.reject(noGpio) };
    await expect(given.run(openChassis(given.board, 0, ports))).rejects.toMatchObject({
      code: 'GPIO_UNAVAILABLE',
    });
    const hardware = await given.run(openChassis(given.board, 0, ports, { whatCanBeHad: true }));
    await given.run(hardware.driveEnable('PVDDQ', false));
    expect(given.plant.rails().find(({ rail }) => rail === 'PVDDQ')?.enabled).toBe(false);
    await expect(given.run(hardware.driveEnable('P5V', false))).rejects.toMatchObject({
      code: 'GPIO_UNAVAILABLE',
    });
    const { unreadable } = await given.run(hardware.observe());
    const names = unreadable.map(({ rail, signal }) => rail ?? signal);
    expect(names).toContain('pgood');
    expect(names).not.toContain('PVDDQ');
  });

  it('that is a mistake in the program is not taken for hardware, whatever can be had', async () => {
    const given = stage('reference');
    const mistake = new TypeError('not a function');
    const ports = { ...given.ports, gpio: () => Promise.reject(mistake) };
    await expect(given.run(openChassis(given.board, 0, ports, { whatCanBeHad: true }))).rejects.toBe(mistake);
    const buses = { ...given.ports, i2c: () => Promise.reject(mistake) };
    await expect(given.run(openChassis(given.board, 0, buses, { whatCanBeHad: true }))).rejects.toBe(mistake);
    expect(given.open()).toEqual([]);
    let isBroken = false;
    const reading = async (): Promise<GpioBackend> => {
      const inner = await given.ports.gpio();
      return {
        ...inner,
        openInput: async (ref) => {
          const line = await inner.openInput(ref);
          return { ...line, read: () => (isBroken ? Promise.reject(mistake) : line.read()) };
        },
      };
    };
    const hardware = await given.run(openChassis(given.board, 0, { ...given.ports, gpio: reading }));
    isBroken = true;
    await expect(given.run(hardware.observe())).rejects.toBe(mistake);
  });

  it('that refuses is the cause of the error that tells of it', async () => {
    const given = stage('reference');
    const ports = { ...given.ports, gpio: () => Promise.reject(noGpio) };
    const causes = async (board: Board) => {
      const thrown: unknown = await given.run(openChassis(board, 0, ports)).catch((error: unknown) => error);
      const found: unknown[] = [];
      for (let cause = thrown; cause instanceof Error; cause = cause.cause) found.push(cause);
      return found;
    };
    expect(await causes(given.board)).toContain(noGpio);
    const one = stage('reference', 'on', ['line rail P5V enable busy', 'line pgood busy']);
    const several: unknown = await one.openChassis().catch((error: unknown) => error);
    expect(several).toMatchObject({ cause: { cause: { code: 'GPIO_BUSY' } } });
  });

  it('two pages of one device are two rails: each is switched, read and asked for evidence by its own', async () => {
    const board = structuredClone(shippedBoard('reference'));
    const { PVDDQ, P1V8 } = board.chassis['0']?.rails ?? {};
    if (PVDDQ === undefined || P1V8 === undefined) throw new RangeError('another board');
    P1V8.enable = { pmbus: 'vr_ddr', page: 1 };
    P1V8.good = { pmbus: 'vr_ddr', page: 1, minVolts: 1.7, maxVolts: 1.9 };
    const clock = createVirtualClock();
    const plant = createPlant({ board, clock, initially: 'on' });
    const ports = { gpio: async () => createMockGpio(plant), i2c: async () => createMockI2c(plant), clock };
    const hardware = await clock.runUntil(openChassis(board, 0, ports));
    expect((await clock.runUntil(hardware.evidence(null))).map(({ page }) => page).sort()).toEqual([0, 1]);
    await clock.runUntil(hardware.driveEnable('P1V8', false));
    const enabled = new Map(plant.rails().map((rail) => [rail.rail, rail.enabled]));
    expect([enabled.get('P1V8'), enabled.get('PVDDQ')]).toEqual([false, true]);
    await clock.runUntil(new Promise<void>((resolve) => void clock.after(500, resolve)));
    expect(await clock.runUntil(hardware.readGood('P1V8'))).toBe(false);
    await clock.runUntil(hardware.close());
  });

  it('says of each signal whether a bus has to be asked for it', async () => {
    const line = { chip: '1e780000.gpio', line: 'D7', active: 'high' as const };
    const page = { pmbus: 'vr_ddr', page: 0, minVolts: 1.1 };
    for (const [pgood, asksBus] of [
      [line, false],
      [page, true],
      [{ all: [line, page] }, true],
    ] as const) {
      const board = structuredClone(shippedBoard('reference'));
      const chassis = board.chassis['0'];
      if (chassis === undefined) throw new RangeError('another board');
      const { deglitchMs, onTimeoutMs, offTimeoutMs } = chassis.pgood;
      chassis.pgood = {
        ...structuredClone(pgood),
        deglitchMs,
        onTimeoutMs,
        offTimeoutMs,
      } as typeof chassis.pgood;
      const clock = createVirtualClock();
      const plant = createPlant({ board, clock, initially: 'on' });
      const ports = { gpio: async () => createMockGpio(plant), i2c: async () => createMockI2c(plant), clock };
      const hardware = await clock.runUntil(openChassis(board, 0, ports));
      expect(hardware.asksBus(null)).toBe(asksBus);
      expect([hardware.asksBus('PVDDQ'), hardware.asksBus('P5V')]).toEqual([true, false]);
    }
  });

  it('that reads all says of nothing that it is assumed', async () => {
    const given = stage('reference');
    const hardware = await given.openChassis();
    expect((await given.run(hardware.observe())).observation).not.toHaveProperty('unread');
  });

  it('says how often a line is to be looked at that raises no interrupts: as seldom as the watch allows', async () => {
    const given = stage('reference');
    const asked: string[] = [];
    const gpio = async (): Promise<GpioBackend> => {
      const inner = await given.ports.gpio();
      return {
        ...inner,
        openInput: async (ref) => {
          const line = await inner.openInput(ref);
          const isPgood = JSON.stringify(ref) === JSON.stringify(given.board.chassis['0']?.pgood);
          return {
            ...line,
            onEdge: (wake, options) => {
              const { pollMs, ...others } = options ?? {};
              asked.push([isPgood ? 'pgood' : 'good', pollMs, ...Object.entries(others).flat()].join(' '));
              return line.onEdge(wake, options);
            },
          };
        },
      };
    };
    const hardware = await given.run(openChassis(given.board, 0, { ...given.ports, gpio }));
    const askedBy = (watch: () => () => void) => {
      asked.length = 0;
      watch()();
      return [...new Set(asked)].sort();
    };
    expect(askedBy(() => hardware.watch(() => undefined, 'switching'))).toEqual(['good 10', 'pgood 10']);
    expect(askedBy(() => hardware.watch(() => undefined, 'guarding'))).toEqual(['good 1000', 'pgood 50']);
    // Who only shows it is content with a look every five seconds at a line whose interrupts may get lost.
    expect(askedBy(() => hardware.watchPgood(() => undefined))).toEqual(['pgood 500 checkMs 5000']);
  });
});

describe('the latch', () => {
  it('that cannot be had is told by its role', async () => {
    const given = stage('openpower', 'off', ['line power-chassis-latch busy']);
    await expect(given.openChassis()).rejects.toMatchObject({
      message: expect.stringMatching(/^chassis 0: latch: /),
    });
  });

  const latchChanges = (given: ReturnType<typeof stage>) =>
    given.plant.history.flatMap((event) =>
      event.type === 'line' && event.role === 'latch' ? [[event.asserted, event.atMs]] : [],
    );

  it('is asserted for the pulseMs of the board', async () => {
    const given = stage('openpower', 'off');
    const hardware = await given.openChassis();
    const fromMs = given.clock.nowMs();
    await given.run(hardware.pulseLatch());
    const [on, off] = latchChanges(given);
    // hw/boards/openpower.json.
    expect([on, off]).toEqual([
      [true, fromMs],
      [false, fromMs + 1],
    ]);
  });

  it('of a board that has none is nothing to pulse', async () => {
    const given = stage('reference', 'off');
    const hardware = await given.openChassis();
    const fromMs = given.clock.nowMs();
    await given.run(hardware.pulseLatch());
    expect(given.clock.nowMs()).toBe(fromMs);
    expect(latchChanges(given)).toEqual([]);
  });
});

it('a device with a packet error check is asked nothing without it: power on and off, a fault, the evidence', async () => {
  const board = structuredClone(shippedBoard('reference'));
  const { vr_ddr } = board.devices;
  if (vr_ddr === undefined) throw new RangeError('another board');
  vr_ddr.pec = true;
  // The plant keeps each transfer without the check as a misuse, and refuses it.
  const bench = createBench(board);
  expect((await bench.run(JOBS.on)).state).toBe('pgood');
  expect((await bench.run(JOBS.off)).state).toBe('off');
  expect((await bench.run(JOBS.on)).state).toBe('pgood');
  bench.plant.addFault(bench.fault('rail PVDDQ shorts for 1s'));
  await bench.run(JOBS.watch);
  expect(bench.recording.find(({ type }) => type === 'evidence')).toMatchObject({
    evidence: [
      { device: 'vr_ddr', error: null, status: [{ register: 'STATUS_WORD' }, { register: 'STATUS_VOUT' }] },
    ],
  });
  expect(bench.enabled()).toEqual([]);
  expect(bench.plant.misuses).toEqual([]);
});

it('a device whose answers are disturbed is told by its check before anything is driven', async () => {
  const board = structuredClone(shippedBoard('reference'));
  const { vr_ddr } = board.devices;
  if (vr_ddr === undefined) throw new RangeError('another board');
  vr_ddr.pec = true;
  const bench = createBench(board, { faults: ['i2c vr_ddr noise'] });
  await expect(bench.run(JOBS.on)).rejects.toMatchObject({ code: 'I2C_PEC' });
  expect(bench.enabled()).toEqual([]);
  expect(bench.plant.history.filter(({ type }) => type === 'drive')).toEqual([]);
});

describe('what PMBus devices say after a fault', () => {
  it('is the status word and the voltage of every page that a rail uses, once', async () => {
    const given = stage('reference');
    const hardware = await given.openChassis();
    const [only, ...others] = await given.run(hardware.evidence(null));
    expect(others).toEqual([]);
    expect(only).toMatchObject({ device: 'vr_ddr', page: 0, error: null });
    // POWER_GOOD# (bit 11) and OFF (bit 6) of the PMBus specification 1.3.1 part II, 17.2.
    expect((only?.statusWord ?? -1) & 0x0840).toBe(0);
    // hw/boards/reference.json: good from 1.14 V to 1.26 V.
    expect(only?.voutVolts).toBeGreaterThan(1.14);
    expect(only?.voutVolts).toBeLessThan(1.26);
  });

  it('and of a chassis of which nothing failed its limits beside', async () => {
    const given = stage('reference', 'on');
    const hardware = await given.openChassis();
    const [only, ...others] = await given.run(hardware.telemetry());
    expect(others).toEqual([]);
    expect(only).toMatchObject({ device: 'vr_ddr', page: 0, voltsBefore: null, error: null });
    expect(only?.limits.map(({ limit }) => limit)).toEqual([
      'VOUT_UV_FAULT_LIMIT',
      'VOUT_OV_FAULT_LIMIT',
      'POWER_GOOD_ON',
    ]);
  });

  it('is also that of the devices that the board names for it', async () => {
    const given = stage('openpower', 'on');
    const hardware = await given.openChassis();
    expect(await given.run(hardware.evidence(null))).toMatchObject([{ device: 'ucd90320', page: 0 }]);
  });

  it('of one that does not answer is why, without a second wait for it', async () => {
    const given = stage('reference');
    const hardware = await given.openChassis();
    given.breakIt('i2c vr_ddr hang');
    const fromMs = given.clock.nowMs();
    const [only] = await given.run(hardware.evidence(null));
    const onceMs = given.clock.nowMs() - fromMs;
    expect(only).toMatchObject({ device: 'vr_ddr', page: 0, statusWord: null, voutVolts: null });
    expect(only?.error).toMatch(/vr_ddr|0x60/);
    expect(only?.error).not.toMatch(/;/);
    const again = given.clock.nowMs();
    await given.run(hardware.readGood('PVDDQ').catch(() => undefined));
    expect(onceMs).toBeCloseTo(given.clock.nowMs() - again, 3);
  });
});

describe('a watch', () => {
  it('wakes for pgood and every good signal once it stands, and for each that changes', async () => {
    const given = stage('reference');
    const hardware = await given.openChassis();
    const woken: (string | null)[] = [];
    const end = hardware.watch((source) => woken.push(source), 'guarding');
    await given.pass(1_100);
    const rails = Object.keys(given.board.chassis['0']?.rails ?? {});
    expect(new Set(woken)).toEqual(new Set([null, ...rails]));
    woken.length = 0;
    given.breakIt('good P5V stuck off');
    await given.pass(5);
    expect(woken).toEqual(['P5V']);
    end();
    woken.length = 0;
    given.plant.clearFaults();
    given.breakIt('pgood stuck off');
    await given.pass(5_000);
    expect(woken).toEqual([]);
  });

  it.each([
    // Of a rail that is seen over PMBus only.
    ['switching', 10],
    ['guarding', 1_000],
  ] as const)('that is %s looks at a PMBus device every %d ms', async (pace, everyMs) => {
    const given = stage('reference');
    const hardware = await given.openChassis();
    const atMs: number[] = [];
    const fromMs = given.clock.nowMs();
    const end = hardware.watch(
      (source) => source === 'PVDDQ' && atMs.push(given.clock.nowMs() - fromMs),
      pace,
    );
    await given.pass(3.5 * everyMs);
    end();
    await given.pass(10 * everyMs);
    expect(atMs.filter((each) => each > 0)).toEqual([everyMs, 2 * everyMs, 3 * everyMs]);
  });

  it('of pgood alone wakes for nothing else', async () => {
    const given = stage('reference');
    const hardware = await given.openChassis();
    let woken = 0;
    const end = hardware.watchPgood(() => {
      woken += 1;
    });
    await given.pass(10);
    woken = 0;
    given.breakIt('good P5V stuck off');
    await given.pass(10);
    expect(woken).toBe(0);
    given.breakIt('pgood stuck off');
    await given.pass(10);
    expect(woken).toBeGreaterThan(0);
    end();
    const before = woken;
    given.plant.clearFaults();
    await given.pass(2_000);
    expect(woken).toBe(before);
  });
});
