/** Rails, and pgood, that are seen by a voltage which a kernel driver reads: hwmon and IIO. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { HardwareError } from '../../hw/errors.ts';
import type { Clock, SensorBackend } from '../../hw/ports.ts';
import { createMockGpio } from '../../mocks/backends/gpio.ts';
import { createMockI2c } from '../../mocks/backends/i2c.ts';
import { createMockSensors } from '../../mocks/backends/sensors.ts';
import { parseFault } from '../../mocks/plant/faults.ts';
import { createPlant } from '../../mocks/plant/plant.ts';
import { createVirtualClock } from '../../mocks/virtual-clock.ts';
import type { Problem } from '../../src/board/problem.ts';
import type { Board } from '../../src/board/schema.ts';
import { runCommandLine } from '../../src/cli/main.ts';
import { openChassis } from '../../src/run/hardware.ts';
import { JOBS } from '../../src/run/jobs.ts';
import { faultText } from '../../src/sequence/causes.ts';
import { checkBoard } from '../check-board.ts';
import { createBench } from './bench.ts';
import { createVerbWorld } from './verb-world.ts';
import './load-verbs.ts';

const CHIP = '1e780000.gpio';
const FILE = {
  name: 'adc',
  chassis: {
    0: {
      rails: {
        P12V: {
          nominalVolts: 12,
          enable: { chip: CHIP, line: 'C0' },
          good: { hwmon: { chip: 'iio_hwmon', input: 'in3' }, multiply: 11, minVolts: 11.4, maxVolts: 12.6 },
          onTimeoutMs: 500,
        },
        P3V3: {
          nominalVolts: 3.3,
          enable: { chip: CHIP, line: 'C1' },
          good: { hwmon: { chip: 'iio_hwmon', input: 'in4' }, multiply: 2, minVolts: 3.1, maxVolts: 3.5 },
          needs: ['P12V'],
          onTimeoutMs: 500,
        },
        P1V8: {
          nominalVolts: 1.8,
          enable: { chip: CHIP, line: 'C2' },
          good: { iio: { bus: 3, address: '0x48', input: 'voltage0' }, minVolts: 1.7, maxVolts: 1.9 },
          needs: ['P12V'],
          onTimeoutMs: 500,
        },
      },
      pgood: { chip: CHIP, line: 'B7', deglitchMs: 10 },
      minOffMs: 100,
    },
  },
};

function boardOf(file: object): Board {
  const { board, problems } = checkBoard(file);
  if (board === undefined) throw new TypeError(JSON.stringify(problems));
  return board;
}
const board = boardOf(FILE);
const withPgood = (pgood: object | undefined) =>
  boardOf({ ...FILE, chassis: { 0: { ...FILE.chassis[0], pgood } } });

type ChangeSensors = (sound: SensorBackend, clock: Pick<Clock, 'nowMs'>) => Partial<SensorBackend>;

async function faultOf(job: 'on' | 'watch', ...faults: readonly string[]) {
  const bench = createBench(board, { faults, initially: job === 'on' ? 'off' : 'on' });
  const { state, sequence } = await bench.run(JOBS[job]);
  expect([state, bench.enabled()]).toEqual(['failed', []]);
  if (sequence.fault === null) throw new TypeError('nothing failed');
  return sequence.fault;
}

describe('a rail that is seen by a voltage', () => {
  it('comes up, is on, and goes down by it', async () => {
    const bench = createBench(board);
    expect((await bench.run(JOBS.on)).state).toBe('pgood');
    expect((await bench.run(JOBS.off)).state).toBe('off');
    expect([bench.plant.hazards, bench.plant.misuses]).toEqual([[], []]);
  });

  const at = { P12V: 'in3 of iio_hwmon', P3V3: 'in4 of iio_hwmon', P1V8: 'voltage0 of 0x48 on I2C bus 3' };
  const half = { P12V: '5.995', P3V3: '1.650', P1V8: '0.900' };
  const least = { P12V: '11.400', P3V3: '3.100', P1V8: '1.700' };
  it.each(['P12V', 'P3V3', 'P1V8'] as const)(
    '%s is named with the volts that were measured and the limit, as it comes up and while it is on',
    async (rail) => {
      const beyond = `V of ${at[rail]} was below minVolts ${least[rail]} V`;
      const never = await faultOf('on', `rail ${rail} never good`);
      const because = `${half[rail]} ${beyond}`;
      expect(never.diagnosis).toEqual({ rail, cause: 'undervoltage', because, unread: [] });
      const { diagnosis } = await faultOf('watch', `rail ${rail} droops at 300ms`);
      expect(diagnosis).toMatchObject({ rail, cause: 'undervoltage', unread: [] });
      expect(diagnosis?.because).toMatch(new RegExp(`^\\d+\\.\\d{3} ${beyond}$`));
    },
  );

  /** A run on the same board with another way of reading. */
  async function diagnosisWith(job: 'on' | 'watch', faults: readonly string[], change: ChangeSensors) {
    const bench = createBench(board, { faults, initially: job === 'on' ? 'off' : 'on' });
    const { clock, plant } = bench;
    const sound = createMockSensors(plant);
    const sensors = { ...sound, ...change(sound, clock) };
    const opening = openChassis(board, 0, {
      gpio: async () => createMockGpio(plant),
      i2c: async () => createMockI2c(plant),
      sensors: async () => sensors,
      clock,
    });
    const replaced = await clock.runUntil(opening);
    const { sequence } = await bench.run(JOBS[job], { hardware: () => replaced });
    return sequence.fault?.diagnosis;
  }

  it('is named with too much, too', async () => {
    const times = (input: string) => (input === 'in4' ? 1.2 : 1);
    const diagnosis = await diagnosisWith('on', [], (sound) => ({
      readVolts: async (sensor) => (await sound.readVolts(sensor)) * times(sensor.input),
    }));
    expect(diagnosis).toMatchObject({
      rail: 'P3V3',
      cause: 'overvoltage',
      because: '3.960 V of in4 of iio_hwmon was above maxVolts 3.500 V',
    });
  });

  it('is named though its chip still gives what it measured before the loss', async () => {
    let lowFromMs: number | null = null;
    const diagnosis = await diagnosisWith('watch', ['rail P3V3 shorts at 300ms'], (sound, clock) => ({
      async readVolts(sensor) {
        const volts = await sound.readVolts(sensor);
        if (sensor.input !== 'in4' || volts > 0) return volts;
        lowFromMs ??= clock.nowMs();
        return clock.nowMs() - lowFromMs < 3 ? 1.65 : volts;
      },
    }));
    expect(diagnosis).toMatchObject({
      rail: 'P3V3',
      cause: 'undervoltage',
      because: '0.000 V of in4 of iio_hwmon was below minVolts 3.100 V',
    });
  });

  it.each([
    ['fails', 'SENSOR_FAILED', 'in4 of iio_hwmon cannot be read (EIO)'],
    ['hangs', 'SENSOR_TIMEOUT', 'in4 of iio_hwmon did not answer within 1000 ms: '],
    ['gone', 'SENSOR_NO_CHIP', 'no hwmon chip has the name "iio_hwmon": there is none at all'],
  ])('that %s is never good: nothing is switched on where it is so before', async (does, code, words) => {
    const bench = createBench(board, { faults: [`sensor P3V3 ${does}`] });
    await expect(bench.run(JOBS.on)).rejects.toMatchObject({
      code,
      message: expect.stringContaining(words),
    });
    expect(bench.plant.history.filter(({ type }) => type === 'drive')).toEqual([]);
  });

  it.each(['fails', 'hangs', 'gone'])(
    'that %s while it is to come up, or while pgood hangs on it, takes the chassis down and is told',
    async (does) => {
      const fault = await faultOf('on', `sensor P3V3 ${does} at 20ms`);
      expect(fault).toMatchObject({ kind: 'hardware', errorCode: expect.stringMatching(/^SENSOR_/) });
      expect(faultText(fault)).toMatch(/good signal of rail (P12V|P3V3): .*(in[34] of )?iio_hwmon/);
      expect(fault.diagnosis?.cause).toBe('hardware');
    },
  );

  it('is switched off where it cannot be read, and that is not called off', async () => {
    const bench = createBench(board, { initially: 'on', faults: ['sensor P12V gone'] });
    const ended = await bench.run(JOBS.off).catch((error: unknown) => error);
    expect(ended).toMatchObject(
      ended instanceof HardwareError ? { code: 'SENSOR_NO_CHIP' } : { state: 'failed' },
    );
    expect(bench.enabled()).toEqual([]);
  });

  it('has a driver that is asked only where the board has such a rail', async () => {
    const { enable } = FILE.chassis[0].rails.P12V;
    const plain = boardOf({ name: 'plain', chassis: { 0: { rails: { P12V: { enable } } } } });
    const clock = createVirtualClock();
    const plant = createPlant({ board: plain, clock });
    const ports = {
      gpio: async () => createMockGpio(plant),
      i2c: () => expect.fail('no device'),
      sensors: () => expect.fail('no voltage'),
      clock,
    };
    const hardware = await clock.runUntil(openChassis(plain, 0, ports));
    await clock.runUntil(hardware.observe());
    await clock.runUntil(hardware.close());
  });
});

describe('pgood of a voltage', () => {
  const source = { hwmon: { chip: 'pgood_mon', input: 'in0' }, minVolts: 2, maxVolts: 4 };

  it.each([
    ['alone', source],
    ['among several', { all: [source, { chip: CHIP, line: 'B7' }] }],
    ['of the rails', undefined],
  ])('%s: comes, and is lost', async (_, pgood) => {
    const bench = createBench(withPgood(pgood));
    expect((await bench.run(JOBS.on)).state).toBe('pgood');
    bench.plant.addFault(bench.fault('rail P12V shorts'));
    const { state, sequence } = await bench.run(JOBS.watch);
    expect(state).toBe('failed');
    expect(sequence.fault?.diagnosis).toMatchObject({ rail: 'P12V', cause: 'undervoltage' });
    expect(bench.enabled()).toEqual([]);
  });
});

describe('the board file', () => {
  const problemsOf = (good: object) => {
    const { rails } = FILE.chassis[0];
    const file = {
      ...FILE,
      chassis: { 0: { ...FILE.chassis[0], rails: { ...rails, P12V: { ...rails.P12V, good } } } },
    };
    const { problems = [] } = checkBoard(file) as { problems?: readonly Problem[] };
    return problems.map(({ path, message }) => `${path}: ${message}`);
  };
  const chip = { chip: 'iio_hwmon', input: 'in3' };
  it.each([
    [{ hwmon: chip, minVolts: 0 }, /good\.minVolts: .*would take a rail without voltage for good/],
    [{ hwmon: chip, minVolts: 11, multiply: 0 }, /good\.multiply: .*is not above 0/],
    [
      { hwmon: chip, minVolts: 12.6, maxVolts: 11.4 },
      /good\.minVolts: .*minVolts 12.6 is above maxVolts 11.4/,
    ],
    [{ hwmon: chip, minVolts: 13 }, /nominalVolts 12 of P12V is outside 13/],
    [{ hwmon: { input: 'in3' }, minVolts: 11 }, /good\.hwmon: .*names no chip/],
    [{ hwmon: { chip: 'iio_hwmon' }, minVolts: 11 }, /good\.hwmon/],
    [{ hwmon: chip }, /good/],
    [{ iio: { bus: 3, address: '0x99', input: 'voltage0' }, minVolts: 11 }, /good\.iio\.address: /],
  ])('%j is refused', (good, words) => {
    expect(problemsOf(good).join('\n')).toMatch(words);
  });
});

describe('status and check', () => {
  let dir = '';
  beforeEach(() => {
    dir = mkdtempSync(join(tmpdir(), 'chassis-power-sensors-'));
  });
  afterEach(() => rmSync(dir, { recursive: true }));

  async function run(line: string, file: object = FILE, faults: readonly string[] = []) {
    const boardPath = join(dir, 'board.json');
    writeFileSync(boardPath, JSON.stringify(file));
    const clock = createVirtualClock();
    const there = faults.map((text) => parseFault(text, board));
    const plant = createPlant({ board, clock, initially: 'on', faults: there });
    const { world, printed } = createVerbWorld(
      {
        clock,
        gpio: async () => createMockGpio(plant),
        i2c: async () => createMockI2c(plant),
        sensors: async () => createMockSensors(plant),
      },
      dir,
    );
    const args = line.startsWith('check') ? [...line.split(' '), boardPath] : [line, '--board', boardPath];
    const code = await clock.runUntil(runCommandLine(args, world));
    return { code, ...printed(), plant };
  }

  it('show the volts, and how far they are from the limits', async () => {
    const { code, stdout } = await run('status');
    expect(code).toBe(0);
    expect(stdout).toMatch(
      /rail P12V +enabled +good +line C0 of 1e780000.gpio, in3 of iio_hwmon: 12\.001 V, 599 mV from maxVolts 12\.600 V/,
    );
    expect(stdout).toMatch(
      /rail P1V8 .*voltage0 of 0x48 on I2C bus 3: 1\.800 V, 100 mV from m..Volts 1\.[79]00 V/,
    );
  });

  it('show what cannot be read as not read, and why', async () => {
    const { code, stdout } = await run('status', FILE, ['sensor P3V3 fails']);
    expect(code).toBe(74);
    expect(stdout).toMatch(/not read: good signal of rail P3V3: in4 of iio_hwmon cannot be read \(EIO\)/);
    expect(stdout).toMatch(/rail P3V3 +enabled +not read/);
    expect(stdout).toMatch(/rail P12V +enabled +good .*12\.001 V/);
  });

  it('pass where all is there', async () => {
    const { code, stdout } = await run('check');
    expect([code, stdout]).toEqual([
      0,
      expect.stringContaining('no problems, all lines and voltages of kernel drivers are there'),
    ]);
  });

  it('tell what is not there, with what was probably meant, and read nothing', async () => {
    const { rails } = FILE.chassis[0];
    const changed = {
      P12V: { ...rails.P12V, good: { ...rails.P12V.good, hwmon: { chip: 'iio_hwmno', input: 'in3' } } },
      P3V3: { ...rails.P3V3, good: { ...rails.P3V3.good, hwmon: { chip: 'iio_hwmon', input: 'in44' } } },
      P1V8: {
        ...rails.P1V8,
        good: { ...rails.P1V8.good, iio: { bus: 3, address: '0x49', input: 'voltage0' } },
      },
    };
    const file = { ...FILE, chassis: { 0: { ...FILE.chassis[0], rails: changed } } };
    // Every reading would fail.
    const { code, stdout } = await run('check --json', file, ['sensor P12V fails', 'sensor P3V3 fails']);
    expect(code).toBe(78);
    const problems = JSON.parse(stdout).problems as readonly Problem[];
    expect(problems.map(({ kind, path, message, suggestion }) => [kind, path, message, suggestion])).toEqual([
      [
        'sensor',
        'chassis.0.rails.P12V.good.hwmon.chip',
        'good signal of rail P12V: no hwmon chip has the name "iio_hwmno": there is iio_hwmon',
        'did you mean "iio_hwmon"?',
      ],
      [
        'sensor',
        'chassis.0.rails.P3V3.good.hwmon.input',
        'good signal of rail P3V3: iio_hwmon has no input "in44": it has in3, in4',
        'did you mean "in4"?',
      ],
      [
        'sensor',
        'chassis.0.rails.P1V8.good.iio.address',
        'good signal of rail P1V8: no IIO device is 0x49 on I2C bus 3: there is 0x48 on I2C bus 3',
        'chips: 0x48 on I2C bus 3',
      ],
    ]);
    expect((await run('check --no-lines', file)).code).toBe(0);
  });
});
