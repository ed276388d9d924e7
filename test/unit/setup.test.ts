/** What the device of a rail is told before the rail is enabled. */
import { describe, expect, it, vi } from 'vitest';
import { createMockGpio } from '../../mocks/backends/gpio.ts';
import { createMockI2c } from '../../mocks/backends/i2c.ts';
import { createPlant } from '../../mocks/plant/plant.ts';
import { createVirtualClock } from '../../mocks/virtual-clock.ts';
import type { Board } from '../../src/board/schema.ts';
import { openChassis } from '../../src/run/hardware.ts';
import { JOBS } from '../../src/run/jobs.ts';
import { runSequence } from '../../src/run/runner.ts';
import { planOf } from '../../src/sequence/plan.ts';
import type { Hint } from '../../src/sequence/state.ts';
import { checkBoard } from '../check-board.ts';
import { createBench, shippedBoard } from './bench.ts';

// Properties take their time on a machine that is busy.
vi.setConfig({ testTimeout: 60_000 });

const BOARD = 'point-of-load';
const NAMES: Readonly<Record<number, string>> = {
  1: 'OPERATION',
  33: 'VOUT_COMMAND',
  64: 'VOUT_OV_FAULT_LIMIT',
  68: 'VOUT_UV_FAULT_LIMIT',
};

/** All that is written to devices and enables, in its order: "0 VOUT_COMMAND", "C2". */
function spy(board: Board, initially: 'on' | 'off') {
  const clock = createVirtualClock();
  const plant = createPlant({ board, clock, initially });
  const written: string[] = [];
  const i2c = createMockI2c(plant);
  const gpio = createMockGpio(plant);
  let hint: Hint | null = null;
  const ports = {
    clock,
    gpio: async () => ({
      ...gpio,
      openOutput: async (ref: Parameters<typeof gpio.openOutput>[0]) => {
        const line = await gpio.openOutput(ref);
        return {
          ...line,
          write: async (level: 0 | 1) => {
            if ('line' in ref && String(ref.line).startsWith('C') && level === 1)
              written.push(String(ref.line));
            await line.write(level);
          },
        };
      },
    }),
    i2c: async () => ({
      openBus: async (name: number | string) => {
        const bus = await i2c.openBus(name);
        return {
          ...bus,
          transaction: ((address, steps, options) =>
            bus.transaction(
              address,
              (device) => {
                let page = -1;
                return steps({
                  ...device,
                  writeByte: async (command, value) => {
                    if (command === 0) page = value;
                    else written.push(`${page} ${NAMES[command]}`);
                    await device.writeByte(command, value);
                  },
                  writeWord: async (command, value) => {
                    written.push(`${page} ${NAMES[command]}`);
                    await device.writeWord(command, value);
                  },
                });
              },
              options,
            )) as typeof bus.transaction,
        };
      },
    }),
  };
  const run = async (job: (typeof JOBS)[keyof typeof JOBS]) => {
    const chassis = board.chassis['0'];
    if (!chassis) throw new RangeError('no chassis');
    const work = async () => {
      const hardware = await openChassis(board, 0, ports);
      try {
        return await runSequence(job, {
          plan: planOf(chassis, board.devices),
          hardware,
          clock,
          store: {
            load: () => ({ hint, warning: null }),
            save: (state, sequence) => {
              hint = { state, sequence };
              return null;
            },
          },
          record: () => undefined,
          superseded: async () => false,
        });
      } finally {
        await hardware.close();
      }
    };
    return clock.runUntil(work());
  };
  return { plant, written, run };
}

describe('a rail whose device is set up', () => {
  it('is enabled after all writes, in the order of the needs, by its page or by a line', async () => {
    const { plant, written, run } = spy(shippedBoard(BOARD), 'off');
    expect((await run(JOBS.on)).state).toBe('pgood');
    expect(written).toEqual([
      'C0',
      'C1',
      'C3',
      '0 VOUT_COMMAND',
      '0 VOUT_OV_FAULT_LIMIT',
      '0 VOUT_UV_FAULT_LIMIT',
      '0 OPERATION',
      '1 VOUT_COMMAND',
      'C2',
    ]);
    // The plant has half the voltage until it is told.
    expect(plant.rails().map(({ rail, volts }) => [rail, volts])).toEqual([
      ['P12V', 12],
      ['P3V3', 3.3],
      ['CLK_100M_EN', 1],
      ['VDD', 0.85],
      ['VDDQ', 1.1],
    ]);
    expect([plant.hazards, plant.misuses]).toEqual([[], []]);
  });

  it('is told again with each power-on: its device forgets with its power', async () => {
    const { plant, written, run } = spy(shippedBoard(BOARD), 'off');
    for (const round of [1, 2]) {
      written.splice(0);
      expect([round, (await run(JOBS.on)).state]).toEqual([round, 'pgood']);
      expect(written.filter((each) => each.endsWith('VOUT_COMMAND'))).toEqual([
        '0 VOUT_COMMAND',
        '1 VOUT_COMMAND',
      ]);
      expect((await run(JOBS.off)).state).toBe('off');
    }
    expect(plant.hazards).toEqual([]);
  });

  it('is told nothing where the chassis is on: adopting it writes nothing', async () => {
    const { plant, written, run } = spy(shippedBoard(BOARD), 'on');
    for (const job of [JOBS.on, JOBS.start, JOBS.waitOn]) expect((await run(job)).state).toBe('pgood');
    expect([written, plant.hazards]).toEqual([[], []]);
  });
});

describe('a write that does not stick', () => {
  const READ_BACK = /VOUT_COMMAND of page 0 .* was told 0\.85 V \(0x01b3\) but reads back 0x00d9, 0\.4238 V/;
  it.each([
    ['setup VDD ignored', 'VDD', READ_BACK, 'I2C_FAILED'],
    ['setup VDD altered', 'VDD', READ_BACK, 'I2C_FAILED'],
    ['setup VDDQ ignored', 'VDDQ', /VOUT_COMMAND of page 1 .* was told 1\.1 V/, 'I2C_FAILED'],
  ])(
    'fails the power-on with the rail and the command, and takes all down: %s',
    async (fault, rail, reason, code) => {
      const { run, plant, enabled } = createBench(BOARD, { faults: [fault] });
      const { state, sequence } = await run(JOBS.on);
      expect(state).toBe('failed');
      expect(sequence.fault).toMatchObject({ kind: 'hardware', rail, errorCode: code });
      expect(sequence.fault?.reason).toMatch(reason);
      expect(sequence.fault?.diagnosis).toMatchObject({ rail, cause: 'hardware' });
      expect(sequence.fault?.diagnosis?.because).toMatch(reason);
      expect(enabled()).toEqual([]);
      const driven = plant.history.flatMap((event) =>
        event.type === 'drive' && event.role === 'enable' && event.asserted ? [event.rail] : [],
      );
      expect(driven).not.toContain(rail);
      // What was enabled with it goes off at once.
      const hazards = plant.hazards.filter(({ kind }) => kind !== 'enableGlitch');
      expect([hazards, plant.misuses]).toEqual([[], []]);
    },
  );

  it('is no fault of a device that is silent because it lost its power, and is that of one that has it', async () => {
    const { run } = createBench(BOARD, { faults: ['i2c vr_cpu nack'] });
    const { state, sequence } = await run(JOBS.on);
    expect([state, sequence.fault?.rail, sequence.fault?.errorCode]).toEqual([
      'failed',
      'VDD',
      'I2C_NO_DEVICE',
    ]);
  });

  it('is not tried on a rail that loses what it needs meanwhile: that loss is what is told', async () => {
    const { run, plant } = createBench(BOARD);
    const { state, sequence } = await run(JOBS.on, {
      // Just when the first command of the set-up arrives, its time is over.
      hardware: (opened) => ({
        ...opened,
        driveEnable: async (rail, asserted, ...rest) => {
          if (rail !== 'VDD' || !asserted) return opened.driveEnable(rail, asserted, ...rest);
          const driving = opened.driveEnable(rail, asserted, ...rest);
          plant.hold({ chip: '1e780000.gpio', line: 'B0' }, 0);
          return driving;
        },
      }),
    });
    expect([state, sequence.fault?.kind, sequence.fault?.rail]).toEqual(['failed', 'railLost', 'P12V']);
    const driven = plant.history.flatMap((event) =>
      event.type === 'drive' && event.role === 'enable' && event.asserted ? [event.rail] : [],
    );
    expect(driven).toEqual(['P12V', 'P3V3', 'CLK_100M_EN']);
  });

  it('leaves the next power-on to begin anew, when what was wrong is mended', async () => {
    const { run, plant } = createBench(BOARD, { faults: ['setup VDDQ ignored'] });
    expect((await run(JOBS.on)).state).toBe('failed');
    plant.clearFaults();
    expect((await run(JOBS.on)).state).toBe('pgood');
    expect(plant.hazards).toEqual([]);
  });
});

describe('check refuses', () => {
  // biome-ignore lint/suspicious/noExplicitAny: a file may hold anything.
  type Loose = any;
  const problemsOf = (edit: (rails: Loose, board: Loose) => void) => {
    const board: Loose = structuredClone(shippedBoard(BOARD));
    edit(board.chassis[0].rails, board);
    return checkBoard(board).problems.map(({ message }) => message);
  };

  it.each<[string, (rails: Loose, board: Loose) => void, RegExp]>([
    [
      'a VOUT_COMMAND outside of what the rail may be told',
      ({ VDD }) => {
        VDD.setup.writes[0].volts = 0.89;
      },
      /^VOUT_COMMAND 0\.89 V of VDD is outside 0\.82 to 0\.88 V$/,
    ],
    [
      'a window that is wider than what counts as good',
      ({ VDD }) => {
        VDD.setup.maxVolts = 0.95;
      },
      /^VDD may be told 0\.82 to 0\.95 V, and is good from 0\.8 to 0\.9 V only$/,
    ],
    [
      'a window that is empty',
      ({ VDDQ }) => {
        VDDQ.setup.minVolts = 2;
      },
      /^minVolts 2 is above maxVolts 1\.14$/,
    ],
    [
      'a nominal voltage that the rail may not be told',
      ({ VDDQ }) => {
        VDDQ.nominalVolts = 1.2;
      },
      /^nominalVolts 1\.2 of VDDQ is outside 1\.06 to 1\.14 V, which it may be told$/,
    ],
    [
      'an undervoltage limit above the voltage',
      ({ VDD }) => {
        VDD.setup.writes[2].volts = 0.86;
      },
      /^VOUT_UV_FAULT_LIMIT 0\.86 V of VDD is not below 0\.85 V/,
    ],
    [
      'an overvoltage limit below it',
      ({ VDD }) => {
        VDD.setup.writes[1].volts = 0.84;
      },
      /^VOUT_OV_FAULT_LIMIT 0\.84 V of VDD is not above 0\.85 V/,
    ],
    [
      'a command that switches an output',
      ({ VDD }) => {
        VDD.setup.writes[0] = { command: 'OPERATION', volts: 0 };
      },
      /OPERATION/,
    ],
    [
      'a command that is written twice',
      ({ VDDQ }) => void VDDQ.setup.writes.push({ command: 'VOUT_COMMAND', volts: 1.1 }),
      /^VOUT_COMMAND of VDDQ is written twice$/,
    ],
    [
      'a page that another rail has',
      ({ VDDQ }) => {
        VDDQ.setup.page = 0;
      },
      /^page 0 of vr_cpu is of rail VDD as well, which may be on while VDDQ is set up$/,
    ],
    [
      'another page than that of the rail',
      ({ VDD }) => {
        VDD.setup.page = 5;
      },
      /^VDD is set up on page 5 of vr_cpu, and switched or shown by page 0 of vr_cpu$/,
    ],
    [
      'a page that shows pgood',
      (_, board) => {
        board.chassis[0].pgood = { pmbus: 'vr_cpu', page: 1, status: true };
      },
      /^page 1 of vr_cpu is of pgood as well/,
    ],
    [
      'a rail that is only watched',
      ({ VDDQ }) => void delete VDDQ.enable,
      /^rail VDDQ is only watched, and comes by itself: nothing can be written just before$/,
    ],
    [
      'a rail with a power button',
      ({ VDDQ }) => {
        VDDQ.enable = { pulse: VDDQ.enable };
      },
      /^rail VDDQ has a power button/,
    ],
    [
      'limits of the device that the set-up changes',
      ({ VDD }) => {
        VDD.good = { pmbus: 'vr_cpu', page: 0, limits: 'device' };
      },
      /^VDD is good by limits of its device, which are others after the set-up than before$/,
    ],
    [
      'a device that is not there',
      ({ VDDQ }) => {
        VDDQ.setup.pmbus = 'vr_cpv';
      },
      /^"vr_cpv" is not in devices$/,
    ],
    [
      'a device that has no power yet',
      ({ VDDQ }) => {
        VDDQ.needs = ['P12V'];
      },
      /^rail VDDQ is of vr_cpu, which has its power from P3V3, and does not need P3V3$/,
    ],
    ['a set-up without a window', ({ VDDQ }) => void delete VDDQ.setup.maxVolts, /maxVolts/],
    [
      'a set-up that writes nothing',
      ({ VDDQ }) => {
        VDDQ.setup.writes = [];
      },
      /^the set-up of VDDQ writes nothing$/,
    ],
  ])('%s', (_, edit, message) => {
    const problems = problemsOf(edit);
    expect(
      problems.some((problem) => message.test(problem)),
      JSON.stringify(problems),
    ).toBe(true);
  });

  it('nothing of the board that ships', () => {
    expect(problemsOf(() => undefined)).toEqual([]);
  });
});
