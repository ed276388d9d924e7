/** The driver of voltages, on trees of files as the kernel shows them. */
import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  realpathSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, relative } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { SensorRef } from '../../hw/ports.ts';
import { type SensorFiles, sensorFiles } from '../../hw/sensors/files.ts';
import { createSensors } from '../../hw/sensors/sensors.ts';
import { createVirtualClock, type VirtualClock } from '../../mocks/virtual-clock.ts';
import { describeSensorBackend } from '../contract/sensor-contract.ts';
import { filesAnswered } from './file-work.ts';

let root: string;
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'sensors-'));
  mkdirSync(join(root, 'sys/class/hwmon'), { recursive: true });
  mkdirSync(join(root, 'sys/bus/iio/devices'), { recursive: true });
});
afterEach(() => rmSync(root, { recursive: true }));

type Tree = Readonly<Record<string, string>>;

function write(folder: string, files: Tree): void {
  mkdirSync(folder, { recursive: true });
  for (const [name, text] of Object.entries(files)) writeFileSync(join(folder, name), text);
}

function link(from: string, to: string): void {
  mkdirSync(dirname(from), { recursive: true });
  symlinkSync(relative(dirname(from), to), from);
}

/** A chip of hwmon as the kernel shows it: its folder below that of its device, and the links of the class. */
function addHwmon(number: number, device: string | null, files: Tree, node?: string): string {
  const parent = join(root, 'sys/devices', device ?? 'virtual');
  const folder = join(parent, 'hwmon', `hwmon${number}`);
  write(folder, files);
  if (device !== null) link(join(folder, 'device'), parent);
  if (node !== undefined) addNode(folder, node);
  link(join(root, 'sys/class/hwmon', `hwmon${number}`), folder);
  return folder;
}

function addIio(number: number, device: string, files: Tree): string {
  const folder = join(root, 'sys/devices', device, `iio:device${number}`);
  write(folder, files);
  link(join(root, 'sys/bus/iio/devices', `iio:device${number}`), folder);
  return folder;
}

function addNode(folder: string, node: string): void {
  const path = join(root, 'sys/firmware/devicetree/base', node);
  mkdirSync(path, { recursive: true });
  link(join(folder, 'of_node'), path);
}

/** Reads through the driver; what hangs in `hanging` never answers. */
function open(change: Partial<SensorFiles> = {}) {
  const clock = createVirtualClock();
  const roots = { hwmon: join(root, 'sys/class/hwmon'), iio: join(root, 'sys/bus/iio/devices') };
  const sensors = createSensors({ clock, roots, files: { ...sensorFiles, ...change } });
  const run = async <T>(work: Promise<T>): Promise<T> => settle(clock, work);
  return {
    clock,
    sensors,
    read: (sensor: SensorRef) => run(sensors.readVolts(sensor)),
    locate: (sensor: SensorRef) => run(sensors.locate(sensor)),
  };
}

/** Real files answer in real time, while the deadlines are those of the virtual clock. */
async function settle<T>(clock: VirtualClock, work: Promise<T>): Promise<T> {
  let isOver = false;
  const mark = () => {
    isOver = true;
  };
  work.then(mark, mark);
  while (!isOver) {
    await filesAnswered();
    if (!isOver) await clock.advance(50);
  }
  return work;
}

const HWMON = (chip: SensorRef['chip'], input = 'in3'): SensorRef => ({ by: 'hwmon', chip, input });
const IIO = (chip: SensorRef['chip'], input = 'voltage3'): SensorRef => ({ by: 'iio', chip, input });

describe('a chip', () => {
  it('is found by its name, its device, the path of that, and its node, whatever its number is', async () => {
    addHwmon(0, null, { name: 'cpu_thermal\n', temp1_input: '40000\n' });
    addHwmon(7, 'platform/iio-hwmon', { name: 'iio_hwmon\n', in3_input: '1091\n' }, 'iio-hwmon');
    const { read } = open();
    const device = '/devices/platform/iio-hwmon';
    for (const chip of ['iio_hwmon', 'iio-hwmon', `/sys${device}`, device, '/iio-hwmon']) {
      expect(await read(HWMON(chip))).toBe(1.091);
    }
  });

  it('is found by the bus, by number or adapter, and the address of its device', async () => {
    const bus = 'platform/ahb/1e78a200.i2c-bus/i2c-3';
    write(join(root, 'sys/devices', bus), { name: '1e78a200.i2c-bus\n' });
    addHwmon(2, `${bus}/3-0060`, { name: 'pmbus\n', in3_input: '12000\n' });
    addHwmon(3, `${bus}/3-0061`, { name: 'pmbus\n', in3_input: '5000\n' });
    const { read } = open();
    expect(await read(HWMON({ bus: 3, address: 0x60 }))).toBe(12);
    expect(await read(HWMON({ bus: '1e78a200.i2c-bus', address: 0x61 }))).toBe(5);
    expect(await read(HWMON('3-0061'))).toBe(5);
    await expect(read(HWMON({ bus: 4, address: 0x60 }))).rejects.toMatchObject({ code: 'SENSOR_NO_CHIP' });
    await expect(read(HWMON({ bus: 'other', address: 0x60 }))).rejects.toMatchObject({
      code: 'SENSOR_NO_CHIP',
    });
  });

  it('has to be named by its path where several have its name, and is never one of them by chance', async () => {
    addHwmon(2, 'platform/i2c-3/3-0060', { name: 'pmbus\n', in3_input: '12000\n' });
    addHwmon(3, 'platform/i2c-3/3-0061', { name: 'pmbus\n', in3_input: '5000\n' });
    const { locate } = open();
    const error = await locate(HWMON('pmbus')).catch((each: unknown) => each as Error);
    expect(error).toMatchObject({
      code: 'SENSOR_NO_CHIP',
      details: { chips: expect.arrayContaining(['3-0060', '3-0061']) },
    });
    expect(error).toHaveProperty(
      'message',
      expect.stringMatching(
        /^2 hwmon chips have the name "pmbus", name the chip by the path of its device instead: there is "pmbus" \(hwmon2, .*3-0060\), "pmbus" \(hwmon3, .*3-0061\)$/,
      ),
    );
  });

  it('is not another one that has its number later', async () => {
    addHwmon(2, 'platform/first', { name: 'first\n', in3_input: '1000\n' });
    const { read } = open();
    expect(await read(HWMON('first'))).toBe(1);
    // The numbers of chips that went are given out again.
    rmSync(join(root, 'sys/devices/platform/first'), { recursive: true });
    rmSync(join(root, 'sys/class/hwmon/hwmon2'));
    addHwmon(2, 'platform/second', { name: 'second\n', in3_input: '2000\n' });
    await expect(read(HWMON('first'))).rejects.toMatchObject({ code: 'SENSOR_NO_CHIP' });
    addHwmon(5, 'platform/first', { name: 'first\n', in3_input: '1000\n' });
    expect(await read(HWMON('first'))).toBe(1);
  });

  it('of a machine without the class is one that is not there', async () => {
    rmSync(join(root, 'sys/class/hwmon'), { recursive: true });
    await expect(open().locate(HWMON('iio_hwmon'))).rejects.toMatchObject({
      code: 'SENSOR_NO_CHIP',
      message: 'no hwmon chip has the name "iio_hwmon": there is none at all',
    });
  });
});

describe('an input', () => {
  it('is found by its label', async () => {
    const files = {
      name: 'tps53679\n',
      in1_input: '12000\n',
      in1_label: 'vin\n',
      in2_input: '1001\n',
      in2_label: 'vout1\n',
    };
    addHwmon(1, 'platform/vr', files);
    const { read, locate } = open();
    expect(await read(HWMON('tps53679', 'vout1'))).toBe(1.001);
    await expect(locate(HWMON('tps53679', 'vout2'))).rejects.toMatchObject({
      message: 'tps53679 has no input "vout2": it has in1, vin, in2, vout1',
    });
  });

  it.each([
    [{ in_voltage3_raw: '2048\n', in_voltage3_scale: '0.5\n' }, 1.024],
    // One scale for all channels, as aspeed_adc has it.
    [{ in_voltage3_raw: '1000\n', in_voltage_scale: '2.441406250\n' }, 2.44140625],
    [{ in_voltage3_raw: '100\n', in_voltage_scale: '2\n', in_voltage3_offset: '-20\n' }, 0.16],
    [
      {
        in_voltage3_raw: '100\n',
        in_voltage3_scale: '2\n',
        in_voltage_scale: '9\n',
        in_voltage_offset: '1\n',
      },
      0.202,
    ],
    [{ in_voltage3_input: '1234\n' }, 1.234],
    [{ in_voltage3_raw: '-5\n', in_voltage_scale: '1\n' }, -0.005],
  ])('of IIO is scaled as it is to be: %j', async (files, volts) => {
    addIio(0, 'platform/1e6e9000.adc', { name: 'aspeed_adc\n', ...files });
    const { read } = open();
    expect(await read(IIO('1e6e9000.adc'))).toBeCloseTo(volts, 12);
    expect(await read(IIO('aspeed_adc'))).toBeCloseTo(volts, 12);
  });

  it('of IIO without a scale is no voltage', async () => {
    addIio(0, 'platform/1e6e9000.adc', { name: 'adc\n', in_voltage3_raw: '100\n' });
    await expect(open().read(IIO('adc'))).rejects.toMatchObject({
      code: 'SENSOR_FAILED',
      message: 'voltage3 of adc has no scale, so its voltage cannot be told',
    });
  });

  it.each(['', '\n', 'error\n', '12.5.1\n', '0x10\n', '1 2\n', '1e3\n', 'NaN\n', '-\n'])(
    'that reads %j is never good for a voltage',
    async (text) => {
      addHwmon(1, 'platform/adc', { name: 'adc\n', in3_input: text });
      await expect(open().read(HWMON('adc'))).rejects.toMatchObject({
        code: 'SENSOR_FAILED',
        message: expect.stringMatching(/^in3 of adc reads .* which is no number$/),
      });
    },
  );
});

describe('a reading', () => {
  const failing = (errnos: readonly string[]) => {
    const left = [...errnos];
    return {
      left,
      readAttribute: async (path: string) => {
        const code = left.shift();
        if (code !== undefined) throw Object.assign(new Error(code), { code });
        return sensorFiles.readAttribute(path);
      },
    };
  };

  it.each(['EAGAIN', 'EIO', 'ENXIO', 'EREMOTEIO', 'ETIMEDOUT'])(
    'that %s disturbed is repeated',
    async (errno) => {
      addHwmon(1, 'platform/adc', { name: 'adc\n', in3_input: '1000\n' });
      expect(await open(failing([errno, errno])).read(HWMON('adc'))).toBe(1);
      await expect(open(failing([errno, errno, errno])).read(HWMON('adc'))).rejects.toMatchObject({
        code: 'SENSOR_FAILED',
        message: `in3 of adc cannot be read (${errno})`,
      });
    },
  );

  it.each(['ENODATA', 'EACCES', 'EINVAL'])('that %s refuses is not', async (errno) => {
    addHwmon(1, 'platform/adc', { name: 'adc\n', in3_input: '1000\n' });
    const files = failing([errno, errno]);
    await expect(open(files).read(HWMON('adc'))).rejects.toMatchObject({ code: 'SENSOR_FAILED' });
    expect(files.left).toHaveLength(1);
  });

  it('that hangs takes one thread, whoever else asks, and holds up nobody for longer than its deadline', async () => {
    for (const chip of ['dead', 'sound']) {
      addHwmon(chip === 'dead' ? 1 : 2, `platform/${chip}`, {
        name: `${chip}\n`,
        in3_input: '1000\n',
        in4_input: '1000\n',
      });
    }
    let inKernel = 0;
    let most = 0;
    let release: () => void = () => undefined;
    const readAttribute = async (path: string) => {
      inKernel += 1;
      most = Math.max(most, inKernel);
      if (path.includes('dead')) {
        await new Promise<void>((resolve) => {
          release = resolve;
        });
      }
      inKernel -= 1;
      return sensorFiles.readAttribute(path);
    };
    const { sensors, clock, read } = open({ readAttribute });
    const asked = [HWMON('dead'), HWMON('dead', 'in4'), HWMON('sound'), HWMON('sound', 'in4')];
    const answers = asked.map((sensor) => sensors.readVolts(sensor).catch((error) => error.message));
    await clock.advance(1_001);
    expect(await Promise.all(answers)).toEqual([
      'in3 of dead did not answer within 1000 ms: its driver, or the bus that its chip is on, hangs',
      'in4 of dead did not answer within 1000 ms: the kernel still reads in3 of dead',
      'in3 of sound did not answer within 1000 ms: the kernel still reads in3 of dead',
      'in4 of sound did not answer within 1000 ms: the kernel still reads in3 of dead',
    ]);
    expect(most).toBe(1);
    const waiting = sensors.readVolts(HWMON('sound'));
    await clock.advance(10);
    release();
    expect(await settle(clock, waiting)).toBe(1);
    expect(await read(HWMON('sound', 'in4'))).toBe(1);
    expect([most, inKernel]).toEqual([1, 0]);
  });

  it('asks no chip for anything when an input is looked for', async () => {
    addHwmon(1, 'platform/adc', {
      name: 'adc\n',
      in3_input: '1000\n',
      in4_input: '1000\n',
      in4_label: 'P12V\n',
    });
    const readKnown = (path: string) => {
      expect(path).not.toMatch(/_input$/);
      return readFileSync(path, 'utf8');
    };
    const { locate } = open({ readKnown, readAttribute: () => Promise.reject(new Error('asked')) });
    for (const input of ['in3', 'P12V']) await locate(HWMON('adc', input));
  });
});

describeSensorBackend('files of sysfs', async () => {
  const folder = addHwmon(4, 'platform/iio-hwmon', {
    name: 'iio_hwmon\n',
    in3_input: '1091\n',
    in4_input: '800\n',
  });
  addIio(0, 'platform/i2c-3/3-0048', {
    name: 'ads1015\n',
    in_voltage0_raw: '100\n',
    in_voltage0_scale: '3\n',
  });
  let failure: 'fails' | 'hangs' | null = null;
  let release: () => void = () => undefined;
  const readAttribute = async (path: string) => {
    if (path.endsWith('in3_input')) {
      if (failure === 'fails') throw Object.assign(new Error('EIO'), { code: 'EIO' });
      if (failure === 'hangs') {
        await new Promise<void>((resolve) => {
          release = resolve;
        });
      }
    }
    return sensorFiles.readAttribute(path);
  };
  const { sensors, clock } = open({ readAttribute });
  const place = join(root, 'sys/class/hwmon/hwmon4');
  const hidden = join(root, 'taken');
  return {
    backend: sensors,
    world: {
      inputs: [
        { sensor: HWMON('iio_hwmon'), volts: 1.091 },
        { sensor: IIO({ bus: 3, address: 0x48 }, 'voltage0'), volts: 0.3 },
      ],
      beside: HWMON('iio_hwmon', 'in4'),
      async settle(ms = 0) {
        await filesAnswered();
        await clock.advance(ms);
      },
      change: async (volts) => writeFileSync(join(folder, 'in3_input'), `${volts * 1000}\n`),
      fail: async () => {
        failure = 'fails';
      },
      hang: async () => {
        failure = 'hangs';
      },
      async take() {
        renameSync(realpathSync(place), hidden);
        rmSync(place);
      },
      async restore() {
        failure = null;
        release();
        if (!readdirSync(root).includes('taken')) return;
        const other = join(dirname(folder), 'hwmon9');
        renameSync(hidden, other);
        link(join(root, 'sys/class/hwmon/hwmon9'), other);
      },
    },
  };
});
