/** Parts of a chassis whose device has its power from a rail of it, which may go, come, or not be read. */
import { describe, expect, it } from 'vitest';
import { HardwareError } from '../../hw/errors.ts';
import type { GpioBackend, I2cBackend } from '../../hw/ports.ts';
import { createMockGpio } from '../../mocks/backends/gpio.ts';
import { createMockI2c } from '../../mocks/backends/i2c.ts';
import { parseFault } from '../../mocks/plant/faults.ts';
import { createPlant } from '../../mocks/plant/plant.ts';
import { createVirtualClock } from '../../mocks/virtual-clock.ts';
import { type ChassisHardware, openChassis } from '../../src/run/hardware.ts';
import { checkBoard } from '../check-board.ts';

const line = (offset: number) => ({ chip: 'gpio', line: offset });
const vout = { pmbus: 'vr', minVolts: 0.9, maxVolts: 1.1 };
const times = { nominalVolts: 1, settleMs: 0, onTimeoutMs: 200, offTimeoutMs: 200 };
const POWER = { ...times, settleMs: 100, enable: line(0), good: line(1) };
const PGOOD = line(9);
const SWITCHED = { P: POWER, VDD: { ...times, enable: { pmbus: 'vr' }, good: vout, needs: ['P'] } };

/** A chassis of these rails, whose device `vr` has its power from `poweredBy`. */
function stage(rails: object, initially: 'on' | 'off', poweredBy = 'P', more: object = {}) {
  const { board, problems } = checkBoard({
    name: 'parts',
    devices: { vr: { bus: 1, address: '0x40', poweredBy } },
    chassis: { 0: { rails, pgood: PGOOD, ...more } },
  });
  if (!board) throw new TypeError(JSON.stringify(problems));
  const clock = createVirtualClock();
  const plant = createPlant({ board, clock, initially });
  const given = {
    plant,
    clock,
    /** Called with each transaction, before anything is sent, and may throw what becomes of it. */
    inTransaction: (): void => undefined,
    /** Called with each reading of a line, and may throw what becomes of it. */
    inReading: (_offset: number): void => undefined,
    readings: [] as number[],
    break: (text: string) => plant.addFault(parseFault(text, board)),
    unpowered: () => plant.history.filter(({ type }) => type === 'unpowered'),
    run: <T>(work: Promise<T>): Promise<T> => clock.runUntil(work),
  };
  const i2c = async (): Promise<I2cBackend> => {
    const inner = createMockI2c(plant);
    return {
      openBus: async (name) => {
        const bus = await inner.openBus(name);
        return {
          ...bus,
          async transaction(address, steps, options) {
            given.inTransaction();
            return bus.transaction(address, steps, options);
          },
        };
      },
    };
  };
  const gpio = async (): Promise<GpioBackend> => {
    const inner = createMockGpio(plant);
    return {
      ...inner,
      openInput: async (ref) => {
        const opened = await inner.openInput(ref);
        const offset = 'line' in ref ? Number(ref.line) : -1;
        return {
          ...opened,
          async read() {
            given.readings.push(offset);
            given.inReading(offset);
            return opened.read();
          },
        };
      },
    };
  };
  const open = (): Promise<ChassisHardware> => clock.runUntil(openChassis(board, 0, { gpio, i2c, clock }));
  return { ...given, given, open };
}

const SILENT = new HardwareError('I2C_NO_DEVICE', 'nothing acknowledges');
/** It took the transfer and kept its state: it has power, and does not do as it is told. */
const REFUSED = new HardwareError('I2C_FAILED', 'was switched off but reads on', { readBack: true });
const MISTAKE = new TypeError('a mistake of the program');

describe('a transfer that fails while the rail of its device', () => {
  /** VDD is read or switched off, and in the middle of it this happens. */
  async function failing(error: Error, goes: boolean, use: 'read' | 'switch off'): Promise<unknown> {
    const { given, open, run, plant } = stage(SWITCHED, 'on');
    const hardware = await open();
    await run(hardware.observe());
    given.inTransaction = () => {
      if (goes) plant.hold(line(1), 0);
      throw error;
    };
    return use === 'read' ? run(hardware.readGood('VDD')) : run(hardware.driveEnable('VDD', false));
  }

  it.each([
    ['is lost', SILENT],
    // What hangs has lost its power as well, for all that is known.
    ['is lost', new HardwareError('I2C_TIMEOUT', 'no end')],
  ])('%s is no fault of the device: it is off (%s)', async (_, error) => {
    expect(await failing(error, true, 'read')).toBe(false);
    await expect(failing(error, true, 'switch off')).resolves.toBeUndefined();
  });

  it.each([
    ['stands', SILENT, false],
    // What answers has power, whatever the signal of its rail says.
    ['is lost', REFUSED, true],
    ['is lost', MISTAKE, true],
    ['stands', MISTAKE, false],
  ])('%s is told: %s', async (_, error, goes) => {
    for (const use of ['read', 'switch off'] as const)
      await expect(failing(error, goes, use)).rejects.toMatchObject(
        error instanceof HardwareError ? { code: error.code } : error,
      );
  });
});

describe('a device whose rail cannot be read', () => {
  it('is asked: nobody knows that it has no power', async () => {
    const { open, run, given } = stage(SWITCHED, 'on');
    const hardware = await open();
    given.break('line rail P good read error');
    expect(await run(hardware.readGood('VDD'))).toBe(true);
    const { observation, unreadable } = await run(hardware.observe());
    expect(observation.rails.VDD).toEqual({ enabled: true, good: true });
    expect(unreadable).toMatchObject([{ signal: 'good', rail: 'P' }]);
    given.inTransaction = () => {
      throw SILENT;
    };
    await expect(run(hardware.readGood('VDD'))).rejects.toMatchObject({ code: SILENT.code });
  });

  it('is told to go off where the enable of that rail could not be read: it may be on', async () => {
    const { open, run, given, plant } = stage(SWITCHED, 'on');
    const hardware = await open();
    given.break('line rail P enable read error');
    await run(hardware.observe());
    plant.hold(line(1), 0);
    await run(hardware.driveEnable('VDD', false));
    expect(plant.rails().find(({ rail }) => rail === 'VDD')?.enabled).toBe(false);
  });

  it('and is off when it can be read again has no power to be told by', async () => {
    const { open, run, given, plant, unpowered } = stage(SWITCHED, 'off');
    const hardware = await open();
    given.break('line rail P good read error');
    await run(hardware.observe());
    plant.clearFaults();
    const before = unpowered().length;
    let transactions = 0;
    given.inTransaction = () => {
      transactions += 1;
    };
    await run(hardware.driveEnable('VDD', false));
    expect([transactions, unpowered().length]).toEqual([0, before]);
  });

  it('for a mistake of the program is not asked: the mistake is told', async () => {
    const { open, run, given } = stage(SWITCHED, 'on');
    const hardware = await open();
    given.inReading = () => {
      throw MISTAKE;
    };
    await expect(run(hardware.readGood('VDD'))).rejects.toBe(MISTAKE);
  });
});

describe('a device that starts with the rail that powers it', () => {
  const SHOWN = { P: POWER, VDD: { ...times, enable: line(2), good: vout, needs: ['P'] } };
  const TOLD = { P: POWER, VDD: { ...times, enable: { pmbus: 'vr' }, good: line(3), needs: ['P'] } };
  const STARTING = [
    ['shows a rail', SHOWN],
    ['switches a rail', TOLD],
    ['does both', SWITCHED],
  ] as const;

  it.each(STARTING)('and %s is read once more when that rail has settled', async (_, rails) => {
    const { open, run, given, clock } = stage(rails, 'on');
    const hardware = await open();
    const fromMs = clock.nowMs();
    given.inTransaction = () => {
      if (clock.nowMs() < fromMs + 50) throw SILENT;
    };
    const { observation, unreadable } = await run(hardware.observe());
    expect([unreadable, observation.rails.VDD]).toEqual([[], { enabled: true, good: true }]);
    // Within the time in which its rail settles and no later.
    expect(clock.nowMs() - fromMs).toBe(100);
  });

  it.each(STARTING)(
    'is not waited for where something else cannot be read as well, and %s',
    async (_, rails) => {
      const { open, run, given, clock } = stage(rails, 'on');
      const hardware = await open();
      given.break('line pgood read error');
      given.inTransaction = () => {
        throw SILENT;
      };
      const fromMs = clock.nowMs();
      expect((await run(hardware.observe())).unreadable.length).toBeGreaterThan(1);
      expect(clock.nowMs()).toBe(fromMs);
    },
  );

  it('and fails otherwise than by silence is not waited for: it has started', async () => {
    const { open, run, given, clock } = stage(SWITCHED, 'on');
    const hardware = await open();
    given.inTransaction = () => {
      throw new HardwareError('I2C_FAILED', 'the check of the answer is wrong');
    };
    const fromMs = clock.nowMs();
    expect((await run(hardware.observe())).unreadable.length).toBeGreaterThan(0);
    expect(clock.nowMs()).toBe(fromMs);
  });

  it('and answers is read once, as all the others', async () => {
    const { open, run, given } = stage(SWITCHED, 'on');
    const hardware = await open();
    await run(hardware.observe());
    expect(given.readings.toSorted()).toEqual([1, 9]);
  });
});

describe('what is seen of a chassis has of a device', () => {
  const { good: _, ...blind } = POWER;
  const OFF = { enabled: false, good: false };

  it.each([
    ['whose rail is enabled and not good', SWITCHED, 'on'],
    ['whose rail is off', SWITCHED, 'off'],
    ['whose rail has no signal and is off', { ...SWITCHED, P: blind }, 'off'],
  ] as const)('%s that all of it is off, and that it was not asked', async (_case, rails, initially) => {
    const { open, run, plant, unpowered } = stage(rails, initially);
    const hardware = await open();
    if (initially === 'on') plant.hold(line(1), 0);
    const { observation, unreadable } = await run(hardware.observe());
    expect(observation.rails.VDD).toEqual(OFF);
    expect(observation.unpowered).toHaveLength(2);
    expect([unreadable, unpowered()]).toEqual([[], []]);
  });

  it('whose rail has no signal and is enabled what it says', async () => {
    const { open, run } = stage({ ...SWITCHED, P: blind }, 'on');
    const hardware = await open();
    const { observation } = await run(hardware.observe());
    expect(observation.rails).toEqual({
      P: { enabled: true, good: true },
      VDD: { enabled: true, good: true },
    });
    expect(observation).not.toHaveProperty('unpowered');
    expect(await run(hardware.readGood('VDD'))).toBe(true);
  });
});

describe('a device whose rail has no signal, while what that rail needs', () => {
  const { good: _, ...blind } = POWER;
  const FED = {
    H: { ...times, enable: line(4), good: line(5) },
    P: { ...blind, needs: ['H'] },
    VDD: { ...times, enable: line(2), good: vout, needs: ['P'] },
  };

  it('is gone is not asked', async () => {
    const { given, open, run, unpowered } = stage(FED, 'on');
    const hardware = await open();
    given.break('rail H shorts');
    const { observation, unreadable } = await run(hardware.observe());
    expect([observation.unpowered, unreadable]).toEqual([
      [{ signal: 'good', rail: 'VDD', poweredBy: 'P' }],
      [],
    ]);
    expect(await run(hardware.readGood('VDD'))).toBe(false);
    expect(unpowered()).toEqual([]);
  });

  it('goes away is off, and not silent', async () => {
    const { given, open, run } = stage(FED, 'on');
    const hardware = await open();
    await run(hardware.observe());
    given.inTransaction = () => {
      given.break('rail H shorts');
      throw SILENT;
    };
    expect(await run(hardware.readGood('VDD'))).toBe(false);
  });

  it('stands is asked', async () => {
    const { given, open, run } = stage(FED, 'on');
    const hardware = await open();
    given.inTransaction = () => {
      throw SILENT;
    };
    await expect(run(hardware.readGood('VDD'))).rejects.toMatchObject({ code: 'I2C_NO_DEVICE' });
  });
});

it('pgood tells of the power of a device only where enables stand behind a latch', async () => {
  const { good: _, ...blind } = POWER;
  const { open, run, plant, unpowered } = stage({ ...SWITCHED, P: blind }, 'off');
  const hardware = await open();
  plant.hold(PGOOD, 1);
  const { observation } = await run(hardware.observe());
  expect(observation.unpowered).toMatchObject([
    { signal: 'enable', rail: 'VDD' },
    { signal: 'good', rail: 'VDD' },
  ]);
  expect(await run(hardware.readGood('VDD'))).toBe(false);
  expect(unpowered()).toEqual([]);
});

it('pgood tells of it behind a latch, where the line of the enable reads off while the power stands', async () => {
  const { good: _, ...blind } = POWER;
  const latch = { ...line(8), pulseMs: 10 };
  const { open, run, plant } = stage({ ...SWITCHED, P: blind }, 'on', 'P', { latch });
  const hardware = await open();
  plant.hold(line(0), 0);
  expect(await run(hardware.readGood('P'))).toBe(false);
  expect(await run(hardware.readGood('VDD'))).toBe(true);
});

describe('a device that is powered by a rail that is only watched', () => {
  const BEHIND = {
    A: { ...times, enable: line(4), good: line(5) },
    B: { ...times, enable: line(6), good: line(7) },
    W: { ...times, good: line(8), needs: ['A', 'B'] },
    VDD: { ...times, enable: { pmbus: 'vr' }, good: vout, needs: ['W'] },
  };

  it('is told to go off though that rail seems to be lost, while all that it comes from is enabled', async () => {
    const { open, run, plant } = stage(BEHIND, 'on', 'W');
    const hardware = await open();
    await run(hardware.observe());
    plant.hold(line(8), 0);
    await run(hardware.driveEnable('VDD', false));
    expect(plant.rails().find(({ rail }) => rail === 'VDD')?.enabled).toBe(false);
  });

  it.each(['A', 'B'])('is not told when %s was switched off: it has no power', async (off) => {
    const { open, run, given, clock } = stage(BEHIND, 'on', 'W');
    const hardware = await open();
    await run(hardware.observe());
    await run(hardware.driveEnable(off, false));
    await clock.advance(1_000);
    let transactions = 0;
    given.inTransaction = () => {
      transactions += 1;
    };
    await run(hardware.driveEnable('VDD', false));
    expect(transactions).toBe(0);
  });
});

describe('the voltage of a rail that goes off', () => {
  const WATCHED = {
    A: { ...times, enable: line(4), good: line(5), needs: ['P'] },
    B: { ...times, enable: line(6), good: line(7), needs: ['A'] },
    W: { ...times, good: vout, needs: ['B'] },
  };
  const supply = { P: { ...times, good: line(1) } };

  it('that is only watched is the one before anything was switched off', async () => {
    const { open, run, clock } = stage({ ...supply, ...WATCHED }, 'on');
    const hardware = await open();
    const told = async () => (await run(hardware.evidence(null)))[0]?.voltsBefore ?? null;
    await run(hardware.observe());
    await run(hardware.driveEnable('B', false));
    expect(await told()).toBeCloseTo(1, 2);
    await clock.advance(1_000);
    expect(await run(hardware.readGood('W'))).toBe(false);
    await run(hardware.driveEnable('A', false));
    expect(await told()).toBeCloseTo(1, 2);
    // The next time is another one.
    await run(hardware.driveEnable('A', true));
    expect(await told()).toBeNull();
  });

  it('is not told of a rail of which nobody knows that it was on', async () => {
    const shown = { ...supply, VDD: { ...times, enable: line(2), good: vout, needs: ['P'] } };
    const { open, run, plant, given } = stage(shown, 'off');
    const hardware = await open();
    given.break('line rail VDD enable read error');
    const { observation, unreadable } = await run(hardware.observe());
    expect([observation.rails.VDD?.good, unreadable.length]).toEqual([false, 1]);
    plant.clearFaults();
    await run(hardware.driveEnable('VDD', false));
    expect(await run(hardware.evidence('VDD'))).toMatchObject([{ voutVolts: 0, voltsBefore: null }]);
  });

  it('is that of the last time that it was on, also where another process switched it on', async () => {
    const { open, run, given, clock } = stage(SWITCHED, 'on');
    const [ours, other] = [await open(), await open()];
    const told = async () => (await run(ours.evidence('VDD')))[0]?.voltsBefore ?? null;
    await run(ours.observe());
    await run(ours.driveEnable('VDD', false));
    expect(await told()).toBeCloseTo(1, 2);
    given.break('rail VDD never good');
    await run(other.driveEnable('VDD', true));
    await clock.advance(100);
    await run(ours.observe());
    await run(ours.driveEnable('VDD', false));
    expect(await told()).toBeCloseTo(0.5, 1);
  });
});
