import { execFileSync } from 'node:child_process';
import {
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { build } from 'esbuild';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';

import { createOnoffGpio } from '../../hw/gpio/onoff.ts';
import { createChips, resolveLine } from '../../hw/gpio/resolve.ts';
import { sysfsFiles } from '../../hw/gpio/sysfs.ts';
import type { GpioBackend, Level, LineRef } from '../../hw/ports.ts';
import { describeGpioBackend } from '../contract/gpio-contract.ts';
import { fewer } from '../draws.ts';
import { createGpioKernel, type GpioKernel, type KernelChip } from './gpio-onoff-kernel.ts';
import { createManualClock, type ManualClock } from './manual-clock.ts';

const CHIPS: readonly KernelChip[] = [
  { label: '1e780000.gpio', base: 816, lineCount: 208, names: ['', 'power-chassis-control', 'twice'] },
  { label: '1e780800.gpio', base: 780, lineCount: 36, names: ['twice'] },
];
const C0: LineRef = { chip: '1e780000.gpio', line: 'C0' };
const C0_NUMBER = 816 + 16;
const B7_NUMBER = 816 + 15;
const C0_FOLDER = `/sys/class/gpio/gpio${C0_NUMBER}`;

let clock: ManualClock;
let kernel: GpioKernel;
let gpio: GpioBackend;

function start(chips = CHIPS): void {
  clock = createManualClock();
  kernel = createGpioKernel({ chips, clock });
  gpio = createOnoffGpio({ clock, Gpio: kernel.Gpio, files: kernel.files, exports: kernel.exports });
}

beforeEach(() => start());

/** How often lines are read while time passes. */
async function readsIn(ms: number): Promise<number> {
  const before = kernel.reads.length;
  await clock.advance(ms);
  return kernel.reads.length - before;
}

/** Settles `promise` while time passes. */
async function passing<T>(promise: Promise<T>, ms = 2_000): Promise<T> {
  promise.catch(() => undefined);
  await clock.advance(ms);
  return promise;
}

async function rejection(
  promise: Promise<unknown>,
): Promise<{ code: string; message: string; details: object }> {
  const outcome: unknown = await passing(promise).then(
    () => 'resolved',
    (error: unknown) => error,
  );
  expect(outcome).toBeInstanceOf(Error);
  return outcome as { code: string; message: string; details: object };
}

describe('taking an output', () => {
  it('never has onoff set "out", which drives low', async () => {
    Object.assign(kernel.line(C0_NUMBER), { direction: 'out', driven: 1 });
    const line = await gpio.openOutput(C0);
    await line.write(0);
    await line.write(1);
    expect(kernel.constructed.map(([, direction]) => direction)).not.toContain('out');
    expect(kernel.writes.filter((write) => write.endsWith('direction out'))).toEqual([]);
  });

  it('writes nothing to a driven line but its export', async () => {
    Object.assign(kernel.line(C0_NUMBER), { direction: 'out', driven: 1 });
    await gpio.openOutput(C0);
    expect(kernel.writes).toEqual([`export ${C0_NUMBER}`]);
    expect(kernel.constructed).toEqual([[C0_NUMBER, 'high', 'none', { reconfigureDirection: false }]]);
  });

  it('makes no onoff object for an undriven line, and writes nothing but its export', async () => {
    await gpio.openOutput(C0);
    expect(kernel.writes).toEqual([`export ${C0_NUMBER}`]);
    expect(kernel.constructed).toEqual([]);
  });

  it('does not export what is exported', async () => {
    kernel.line(C0_NUMBER).exported = true;
    await gpio.openOutput(C0);
    expect(kernel.writes).toEqual([]);
  });

  it('puts the level back that was there when the line turns into an input meanwhile', async () => {
    Object.assign(kernel.line(C0_NUMBER), { direction: 'out', driven: 1, outside: 1 });
    kernel.beforeConstructing(() => {
      kernel.line(C0_NUMBER).direction = 'in';
    });
    await gpio.openOutput(C0);
    expect(kernel.level(C0_NUMBER)).toBe(1);
    expect(kernel.line(C0_NUMBER).direction).toBe('out');
  });

  it('checks the direction afterwards', async () => {
    Object.assign(kernel.line(C0_NUMBER), { direction: 'out', driven: 1, failing: { direction: 'EIO' } });
    kernel.beforeConstructing(() => {
      kernel.line(C0_NUMBER).direction = 'in';
    });
    expect(await rejection(gpio.openOutput(C0))).toMatchObject({
      code: 'GPIO_FAILED',
      message: expect.stringContaining('turned into an input'),
    });
  });

  it('ends a sticky inversion without moving the pin', async () => {
    Object.assign(kernel.line(C0_NUMBER), { direction: 'out', driven: 1, exported: true, activeLow: true });
    const line = await gpio.openOutput(C0);
    expect(await line.read()).toBe(1);
    expect(kernel.line(C0_NUMBER).history).toEqual([]);
    await line.write(0);
    expect(kernel.level(C0_NUMBER)).toBe(0);
  });

  it('says so when the inversion stays', async () => {
    const line = kernel.line(C0_NUMBER);
    Object.assign(line, { exported: true, activeLow: true, failing: { active_low: 'EIO' } });
    expect(await rejection(gpio.openOutput(C0))).toMatchObject({
      code: 'GPIO_FAILED',
      details: { errno: 'EIO' },
    });
  });

  it('takes a line whose direction nobody may change, and tells when it cannot be driven', async () => {
    Object.assign(kernel.line(C0_NUMBER), { direction: 'out', withoutDirectionFile: true });
    const fixedOutput = await gpio.openOutput(C0);
    await fixedOutput.write(1);
    expect(kernel.level(C0_NUMBER)).toBe(1);

    const C1 = C0_NUMBER + 1;
    Object.assign(kernel.line(C1), { direction: 'in', withoutDirectionFile: true });
    const fixedInput = await gpio.openOutput({ chip: '1e780000.gpio', line: 'C1' });
    expect(await rejection(fixedInput.write(1))).toMatchObject({
      code: 'GPIO_FAILED',
      message: expect.stringContaining('cannot be made an output'),
    });
  });

  it('keeps one onoff object per line, however often the line is opened', async () => {
    for (let time = 0; time < 5; time += 1) {
      const line = await gpio.openOutput(C0);
      await line.write(1);
      await line.close();
    }
    expect(kernel.constructed).toHaveLength(1);
  });

  it('takes a new onoff object after someone unexported the line', async () => {
    const before = await gpio.openOutput(C0);
    await before.write(1);
    await before.close();
    kernel.unexport(C0_NUMBER);
    const line = await gpio.openOutput(C0);
    await line.write(0);
    expect(kernel.level(C0_NUMBER)).toBe(0);
    expect(kernel.constructed).toHaveLength(2);
  });
});

describe('a line that another program gives back again and again', () => {
  /** Each object of onoff has a descriptor of its own, under the name that onoff gives it. */
  const withDescriptors = (Gpio: GpioKernel['Gpio']): GpioKernel['Gpio'] =>
    class extends Gpio {
      readonly _valueFd = openSync('/dev/null', 'r');
    };
  const descriptors = () => readdirSync('/proc/self/fd').length;

  it('costs no descriptor each time: 100 times leave as many open as one', async () => {
    gpio = createOnoffGpio({
      clock,
      Gpio: withDescriptors(kernel.Gpio),
      files: kernel.files,
      exports: kernel.exports,
    });
    const output = await passing(gpio.openOutput(C0));
    const input = await passing(gpio.openInput({ chip: '1e780000.gpio', line: 'B7' }));
    let woken = 0;
    const end = input.onEdge(() => {
      woken += 1;
    });
    const round = async (level: Level) => {
      for (const number of [C0_NUMBER, B7_NUMBER]) kernel.unexport(number);
      // Several at a time, so that one finds the line gone while another still reads it.
      await passing(Promise.all([output.write(level), output.read(), input.read(), input.read()]));
      expect(kernel.level(C0_NUMBER)).toBe(level);
      woken = 0;
      kernel.drive(B7_NUMBER, level);
      await clock.advance(0);
      expect(woken).toBe(1);
    };
    await round(1);
    const before = descriptors();
    for (let time = 0; time < 50; time += 1) for (const level of [0, 1] as const) await round(level);
    expect(descriptors()).toBe(before);

    end();
    await output.close();
    await input.close();
    await passing(gpio.release([C0, { chip: '1e780000.gpio', line: 'B7' }]));
    expect(descriptors()).toBe(before - 2);
  });

  it('is closed where onoff has its descriptor', () => {
    const source = readFileSync(createRequire(import.meta.url).resolve('onoff'), 'utf8');
    expect(source).toContain("this._valueFd = fs.openSync(this._gpioPath + 'value', 'r+')");
  });
});

describe('driving', () => {
  it.each([1, 0] as const)(
    'makes the first write one direction write at the wanted level %i',
    async (level) => {
      const line = await gpio.openOutput(C0);
      await line.write(level);
      expect(kernel.writes.slice(1)).toEqual([`gpio${C0_NUMBER}/direction ${level === 1 ? 'high' : 'low'}`]);
    },
  );

  it('writes the numbers 1 and 0, never what onoff takes for 0', async () => {
    const line = await gpio.openOutput(C0);
    await line.write(0);
    await line.write(1);
    await line.write(0);
    expect(kernel.written).toEqual([1, 0]);
  });

  it('finds by reading back that another driver holds the line', async () => {
    kernel.line(C0_NUMBER).shortedTo = 0;
    const line = await gpio.openOutput(C0);
    expect(await rejection(line.write(1))).toMatchObject({
      code: 'GPIO_NOT_FOLLOWED',
      details: { line: 'line C0 of 1e780000.gpio' },
    });
  });

  it('gives a slow net a second look', async () => {
    const slow = kernel.line(C0_NUMBER);
    slow.shortedTo = 0;
    const line = await gpio.openOutput(C0);
    clock.after(1, () => {
      delete slow.shortedTo;
    });
    await passing(line.write(1));
    expect(await line.read()).toBe(1);
  });

  it('tells the direction error that onoff passes over on an exported line', async () => {
    kernel.line(C0_NUMBER).failing.direction = 'EIO';
    const line = await gpio.openOutput(C0);
    expect(await rejection(line.write(1))).toMatchObject({ code: 'GPIO_FAILED', details: { errno: 'EIO' } });
    kernel.line(C0_NUMBER).failing.direction = 'EBUSY';
    expect(await rejection(line.write(1))).toMatchObject({ code: 'GPIO_BUSY' });
  });

  it('drives a line that still watches for edges', async () => {
    Object.assign(kernel.line(C0_NUMBER), { exported: true, edge: 'both' });
    const line = await gpio.openOutput(C0);
    expect(kernel.line(C0_NUMBER).edge).toBe('both');
    await line.write(1);
    expect(kernel.level(C0_NUMBER)).toBe(1);
  });

  it('drives again a line that someone turned into an input', async () => {
    const line = await gpio.openOutput(C0);
    await line.write(1);
    Object.assign(kernel.line(C0_NUMBER), { direction: 'in', outside: 1 });
    await line.write(0);
    expect(kernel.level(C0_NUMBER)).toBe(0);
  });

  it('never unexports', async () => {
    const output = await gpio.openOutput(C0);
    await output.write(1);
    await output.close();
    const input = await gpio.openInput({ chip: '1e780000.gpio', line: 'B0' });
    input.onEdge(() => undefined);
    await input.close();
    expect(kernel.writes.filter((write) => write.startsWith('unexport'))).toEqual([]);
    expect(kernel.line(C0_NUMBER).exported).toBe(true);
    expect(kernel.level(C0_NUMBER)).toBe(1);
  });

  it('tells a read that fails with line and errno', async () => {
    const line = await gpio.openOutput(C0);
    kernel.line(C0_NUMBER).failing.value = 'ENODEV';
    expect(await rejection(line.read())).toMatchObject({
      code: 'GPIO_FAILED',
      message: expect.stringMatching(/line C0 of 1e780000\.gpio.*ENODEV/),
      details: { errno: 'ENODEV', number: C0_NUMBER },
    });
  });
});

describe('rights', () => {
  it.each(['openOutput', 'openInput'] as const)('%s asks for them before onoff spins', async (open) => {
    kernel.deny(`${C0_FOLDER}/value`);
    kernel.line(C0_NUMBER).direction = open === 'openOutput' ? 'out' : 'in';
    const startMs = clock.nowMs();
    expect(await rejection(gpio[open](C0))).toMatchObject({
      code: 'GPIO_PERMISSION',
      details: { errno: 'EACCES', path: `${C0_FOLDER}/value` },
    });
    expect(clock.nowMs() - startMs).toBeLessThanOrEqual(2_000);
    expect(kernel.spinCount).toBe(0);
    expect(kernel.constructed).toEqual([]);
  });

  it('waits for udev, in pauses', async () => {
    kernel.deny(`${C0_FOLDER}/value`, 'EACCES', clock.nowMs() + 300);
    kernel.deny(`${C0_FOLDER}/direction`, 'EACCES', clock.nowMs() + 400);
    const startMs = clock.nowMs();
    let openedAfterMs = 0;
    const opened = gpio.openOutput(C0).then((line) => {
      openedAfterMs = clock.nowMs() - startMs;
      return line;
    });
    await (await passing(opened)).write(1);
    expect(openedAfterMs).toBeGreaterThanOrEqual(400);
    expect(openedAfterMs).toBeLessThan(450);
    expect(kernel.spinCount).toBe(0);
  });

  it('finds at opening that an undriven line could not be driven', async () => {
    kernel.deny(`${C0_FOLDER}/direction`);
    expect(await rejection(gpio.openOutput(C0))).toMatchObject({ code: 'GPIO_PERMISSION' });
  });

  it.each(['EACCES', 'EPERM', 'EROFS'])('tells that it may not export (%s)', async (code) => {
    kernel.deny('/sys/class/gpio/export', code);
    expect(await rejection(gpio.openOutput(C0))).toMatchObject({
      code: 'GPIO_PERMISSION',
      message: expect.stringContaining('/sys/class/gpio/export'),
      details: { errno: code },
    });
  });
});

describe('a line that is not to be had', () => {
  it('names who holds it', async () => {
    kernel.line(C0_NUMBER).consumer = 'boot-hog';
    expect(await rejection(gpio.openInput(C0))).toMatchObject({
      code: 'GPIO_BUSY',
      message: expect.stringMatching(/line C0 of 1e780000\.gpio.*"boot-hog"/),
      details: { consumer: 'boot-hog' },
    });
  });

  it('is taken when another process exported it just now', async () => {
    const files = {
      ...kernel.files,
      async write(path: string, text: string) {
        if (path.endsWith('/export')) kernel.line(C0_NUMBER).exported = true;
        return kernel.files.write(path, text);
      },
    };
    const line = await createOnoffGpio({ clock, Gpio: kernel.Gpio, files }).openOutput(C0);
    expect(await line.read()).toBe(0);
  });

  it.each(['EINVAL', 'ENXIO'])('is told as no line (%s)', async (code) => {
    kernel.line(C0_NUMBER).failing.export = code;
    expect(await rejection(gpio.openOutput(C0))).toMatchObject({
      code: 'GPIO_NO_LINE',
      details: { errno: code },
    });
  });

  it('says what to check when the kernel has no GPIO in sysfs', async () => {
    const root = '/nonexistent-gpio';
    const without = createOnoffGpio({ clock, Gpio: kernel.Gpio, sysfsRoot: root, files: sysfsFiles });
    expect(await rejection(without.openOutput(C0))).toMatchObject({
      code: 'GPIO_UNAVAILABLE',
      message: expect.stringMatching(/CONFIG_GPIO_SYSFS/),
    });
    kernel.deny('/sys/class/gpio/export', 'ENOENT');
    expect(await rejection(gpio.openOutput(C0))).toMatchObject({
      code: 'GPIO_UNAVAILABLE',
      message: expect.stringMatching(/CONFIG_GPIO_SYSFS/),
    });
  });

  it('says so when the kernel exports it under its name', async () => {
    kernel.line(C0_NUMBER).exportedAs = 'PSU_EN';
    expect(await rejection(gpio.openOutput(C0))).toMatchObject({
      code: 'GPIO_FAILED',
      message: expect.stringContaining('under their names'),
    });
  });

  it('refuses another sysfs root with the real onoff, which would work on the real one', () => {
    expect(() => createOnoffGpio({ clock, sysfsRoot: '/tmp/gpio' })).toThrow(TypeError);
  });
});

describe('watching', () => {
  it('wakes, and leaves the level to reading', async () => {
    const line = await gpio.openInput(C0);
    const wakes: unknown[][] = [];
    line.onEdge((...args: unknown[]) => wakes.push(args));
    await clock.advance(0);
    // The first one, for what happened before.
    expect(wakes.splice(0)).toEqual([[]]);
    kernel.drive(C0_NUMBER, 1);
    kernel.drive(C0_NUMBER, 0);
    await clock.advance(0);
    expect(wakes).toEqual([[]]);
    expect(await line.read()).toBe(0);
  });

  it('asks for both edges and no other direction', async () => {
    await gpio.openInput(C0);
    expect(kernel.writes).toEqual([`export ${C0_NUMBER}`, `gpio${C0_NUMBER}/edge both`]);
  });

  it('does not keep a finished process: no watch and no timer after close', async () => {
    const edges = await gpio.openInput(C0);
    edges.onEdge(() => undefined);
    expect(kernel.watchCount).toBe(1);
    await edges.close();
    expect(kernel.watchCount).toBe(0);

    Object.assign(kernel.line(C0_NUMBER + 1), { withoutEdgeFile: true });
    const polled = await gpio.openInput({ chip: '1e780000.gpio', line: 'C1' });
    polled.onEdge(() => undefined);
    await clock.advance(25);
    expect(clock.pendingCount).toBe(1);
    await polled.close();
    await clock.advance(25);
    expect(clock.pendingCount).toBe(0);
  });

  it('ends one watch and leaves another of the same function', async () => {
    const line = await gpio.openInput(C0);
    let woken = 0;
    const wake = () => {
      woken += 1;
    };
    const end = line.onEdge(wake);
    line.onEdge(wake);
    end();
    await clock.advance(0);
    woken = 0;
    kernel.drive(C0_NUMBER, 1);
    await clock.advance(0);
    expect(woken).toBe(1);
  });

  it.each([
    ['has no edge file', { withoutEdgeFile: true }],
    ['refuses the edge', { failing: { edge: 'EIO' } }],
    ['is driven as an output', { direction: 'out', exported: true }],
  ])('polls every 10 ms when the line %s', async (_title, state) => {
    Object.assign(kernel.line(C0_NUMBER), state);
    const line = await gpio.openInput(C0);
    let woken = 0;
    const end = line.onEdge(() => {
      woken += 1;
    });
    await clock.advance(50);
    expect(woken).toBe(1);
    Object.assign(kernel.line(C0_NUMBER), { outside: 1, driven: 1 });
    await clock.advance(10);
    expect(woken).toBe(2);
    expect(await line.read()).toBe(1);
    end();
    Object.assign(kernel.line(C0_NUMBER), { outside: 0, driven: 0 });
    await clock.advance(50);
    expect(woken).toBe(2);
  });

  it('wakes once for a line that cannot be read any more, and again when it can', async () => {
    Object.assign(kernel.line(C0_NUMBER), { withoutEdgeFile: true });
    const line = await gpio.openInput(C0);
    let woken = 0;
    line.onEdge(() => {
      woken += 1;
    });
    await clock.advance(50);
    woken = 0;
    kernel.line(C0_NUMBER).failing.value = 'EIO';
    await clock.advance(50);
    expect(woken).toBe(1);
    delete kernel.line(C0_NUMBER).failing.value;
    await clock.advance(50);
    expect(woken).toBe(2);
  });

  it('never takes a driven line with onoff as an input', async () => {
    Object.assign(kernel.line(C0_NUMBER), { direction: 'out', driven: 1 });
    const line = await gpio.openInput(C0);
    expect(await line.read()).toBe(1);
    expect(kernel.constructed).toEqual([]);
    expect(kernel.line(C0_NUMBER).direction).toBe('out');
  });
});

describe('a line that raises interrupts', () => {
  it('is read once a second for all its watchers while nothing happens, and as rarely as they allow', async () => {
    const line = await gpio.openInput(C0);
    const again = await gpio.openInput(C0);
    const ends = [line, again, line].map((watched) => watched.onEdge(() => undefined));
    expect(await readsIn(10_000)).toBe(10);
    for (const end of ends) end();
    line.onEdge(() => undefined, { checkMs: 5_000 });
    expect(await readsIn(20_000)).toBe(4);
    await line.close();
    expect(clock.pendingCount).toBe(0);
  });

  it('ends no process with an interrupt that comes after another program has given the line back', async () => {
    const line = await gpio.openInput(C0);
    let woken = 0;
    line.onEdge(() => {
      woken += 1;
    });
    await clock.advance(0);
    woken = 0;
    kernel.drive(C0_NUMBER, 1);
    kernel.unexport(C0_NUMBER);
    await clock.advance(0);
    expect(kernel.uncaught).toEqual([]);
    expect(woken).toBeGreaterThan(0);
    expect(await line.read()).toBe(1);
  });

  it.each([
    ['changes its edge', { edge: 'none' }],
    ['wants one edge only', { edge: 'rising' }],
  ] as const)('raises them again within a second when another program %s', async (_title, state) => {
    const line = await gpio.openInput(C0);
    let woken = 0;
    line.onEdge(() => {
      woken += 1;
    });
    await clock.advance(0);
    Object.assign(kernel.line(C0_NUMBER), state);
    await clock.advance(1_000);
    woken = 0;
    for (const level of [1, 0] as const) {
      kernel.drive(C0_NUMBER, level);
      await clock.advance(0);
    }
    expect(woken).toBe(2);
  });

  it('is read as it is when another program inverts it, within a second', async () => {
    const line = await gpio.openInput(C0);
    let woken = 0;
    line.onEdge(() => {
      woken += 1;
    });
    await clock.advance(0);
    woken = 0;
    kernel.line(C0_NUMBER).activeLow = true;
    await clock.advance(1_000);
    expect(await line.read()).toBe(0);
    expect(woken).toBe(0);
  });

  it('is looked at every 10 ms when another program has made it an output', async () => {
    const line = await gpio.openInput(C0);
    let woken = 0;
    line.onEdge(() => {
      woken += 1;
    });
    await clock.advance(0);
    Object.assign(kernel.line(C0_NUMBER), { edge: 'none', direction: 'out', driven: 0 });
    // A second until it is checked, and the first of the looks.
    await clock.advance(1_010);
    woken = 0;
    Object.assign(kernel.line(C0_NUMBER), { driven: 1 });
    await clock.advance(10);
    expect(woken).toBe(1);
  });
});

describe('a line without interrupts', () => {
  const CHIP = 'expander';
  /** All lines of an I2C expander, of which a reading takes `readMs`. */
  const openLines = async (count: number, readMs = 0) => {
    start([{ label: CHIP, base: 512, lineCount: 16 }]);
    for (let offset = 0; offset < count; offset += 1) kernel.line(512 + offset).withoutEdgeFile = true;
    const lines = [];
    for (let line = 0; line < count; line += 1) lines.push(await gpio.openInput({ chip: CHIP, line }));
    for (let offset = 0; offset < count; offset += 1) kernel.line(512 + offset).readMs = readMs;
    return lines;
  };
  it('is polled once for all its watchers, over whatever opening', async () => {
    const [line] = await openLines(1);
    const again = await gpio.openInput({ chip: CHIP, line: 0 });
    for (let watcher = 0; watcher < 4; watcher += 1) {
      line?.onEdge(() => undefined, { pollMs: 10 });
      again.onEdge(() => undefined, { pollMs: 20 });
    }
    expect(await readsIn(1_000)).toBe(100);
  });

  it('is polled as rarely as its watchers let it be, and not at all when nobody watches', async () => {
    const [line] = await openLines(1);
    line?.onEdge(() => undefined, { pollMs: 500 });
    expect(await readsIn(10_000)).toBe(20);
    const end = line?.onEdge(() => undefined, { pollMs: 10 });
    expect(await readsIn(1_000)).toBeGreaterThanOrEqual(99);
    end?.();
    expect(await readsIn(10_000)).toBeLessThanOrEqual(20);
    await line?.close();
    expect(clock.pendingCount).toBe(0);
    expect(await readsIn(10_000)).toBe(0);
  });

  it('is never polled faster than its bus: a fifth of the time at most, and no two polls at once', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 1, max: 16 }),
        fc.integer({ min: 0, max: 4 }),
        fc.constantFrom(2, 10, 100, 500),
        async (count, readMs, pollMs) => {
          const lines = await openLines(count, readMs);
          for (const line of lines) line.onEdge(() => undefined, { pollMs });
          const first = kernel.reads.length;
          const startMs = clock.nowMs();
          await clock.advance(1_500);
          const looks = kernel.reads.slice(first);
          const busyMs = looks.reduce((sum, { fromMs, toMs }) => sum + ((toMs ?? clock.nowMs()) - fromMs), 0);
          // The first round has had no pause before it.
          expect(busyMs - count * readMs).toBeLessThanOrEqual((clock.nowMs() - startMs) / 5);
          for (const [index, { fromMs }] of looks.slice(1).entries()) {
            expect(fromMs).toBeGreaterThanOrEqual(looks[index]?.toMs ?? Number.POSITIVE_INFINITY);
          }
          const roundMs = Math.max(pollMs, 5 * count * readMs);
          for (let offset = 0; offset < count; offset += 1) {
            const own = looks.filter(({ number }) => number === 512 + offset).length;
            expect(own).toBeGreaterThanOrEqual(Math.floor(1_500 / roundMs) - 1);
            expect(own).toBeLessThanOrEqual(Math.ceil(1_500 / pollMs) + 1);
          }
        },
      ),
      { numRuns: fewer(15, 4) },
    );
  });

  it('takes one timer a round for all lines of its chip', async () => {
    const lines = await openLines(16);
    let timers = 0;
    const { after } = clock;
    clock.after = (delayMs, run) =>
      after(delayMs, () => {
        timers += 1;
        run();
      });
    for (const line of lines) line.onEdge(() => undefined, { pollMs: 100 });
    timers = 0;
    await clock.advance(1_000);
    expect(timers).toBe(10);
  });

  it('is polled again soon when its bus hangs', async () => {
    const [line] = await openLines(1, 1_000);
    line?.onEdge(() => undefined, { pollMs: 10 });
    await clock.advance(1_010);
    kernel.line(512).readMs = 0;
    expect(await readsIn(250)).toBeGreaterThanOrEqual(1);
  });

  it('whose chip hangs holds up no line of another chip', async () => {
    start([
      { label: 'slow', base: 512, lineCount: 8 },
      { label: 'fast', base: 520, lineCount: 8 },
    ]);
    for (const number of [512, 520]) kernel.line(number).withoutEdgeFile = true;
    const slow = await gpio.openInput({ chip: 'slow', line: 0 });
    const fast = await gpio.openInput({ chip: 'fast', line: 0 });
    kernel.line(512).readMs = 5_000;
    slow.onEdge(() => undefined);
    let woken = 0;
    fast.onEdge(() => {
      woken += 1;
    });
    await clock.advance(100);
    woken = 0;
    kernel.drive(520, 1);
    await clock.advance(10);
    expect(woken).toBe(1);
  });

  it('wakes all when only somebody’s read between two polls has shown a pulse', async () => {
    const [line] = await openLines(1);
    let level = await line?.read();
    line?.onEdge(() => void line.read().then((read) => (level = read)), { pollMs: 100 });
    await clock.advance(150);
    kernel.drive(512, 1);
    expect(await line?.read()).toBe(1);
    kernel.drive(512, 0);
    await clock.advance(100);
    expect(level).toBe(0);
  });
});

describe('a chip that hangs', () => {
  const open = async () => {
    start([
      { label: 'slow', base: 512, lineCount: 8 },
      { label: 'fast', base: 520, lineCount: 8 },
    ]);
    const lineOf = (chip: string, line: number) => ({ chip, line });
    const inputs = [];
    const outputs = [];
    for (let line = 0; line < 4; line += 1) {
      inputs.push(await gpio.openInput(lineOf('slow', line)));
      Object.assign(kernel.line(516 + line), { direction: 'out' });
      outputs.push(await gpio.openOutput(lineOf('slow', 4 + line)));
    }
    Object.assign(kernel.line(521), { direction: 'out' });
    const healthy = {
      input: await gpio.openInput(lineOf('fast', 0)),
      output: await gpio.openOutput(lineOf('fast', 1)),
    };
    kernel.hang(512);
    return { inputs, outputs, healthy, lineOf };
  };
  const outcomes = async (all: readonly Promise<unknown>[], ms: number) =>
    (await passing(Promise.allSettled(all), ms)).map((each) =>
      each.status === 'fulfilled' ? 'done' : each.reason.code,
    );

  it('has one thread for what is read and two for what is driven, however many ask', async () => {
    const { inputs, outputs, lineOf } = await open();
    const asked = [
      ...inputs.map((line) => line.read()),
      ...outputs.map((line) => line.write(1)),
      ...outputs.map((line) => line.read()),
      gpio.openInput(lineOf('slow', 0)),
      gpio.openOutput(lineOf('slow', 4)),
    ];
    const all = Promise.allSettled(asked);
    await clock.advance(500);
    expect(kernel.waitingCount).toBe(3);
    expect(await passing(all, 1_000)).toMatchObject(asked.map(() => ({ reason: { code: 'GPIO_TIMEOUT' } })));
    expect(kernel.waitingCount).toBe(3);
  });

  it('is asked for nothing on the event loop', async () => {
    const { inputs, outputs, lineOf } = await open();
    await outcomes([...inputs.map((line) => line.read()), ...outputs.map((line) => line.write(1))], 1_500);
    await outcomes([gpio.openInput(lineOf('slow', 0)), gpio.openOutput(lineOf('slow', 4))], 1_500);
    expect(kernel.heldUp).toEqual([]);
  });

  it('holds up no other chip', async () => {
    const { inputs, outputs, healthy } = await open();
    const hung = outcomes([...inputs.map((line) => line.read()), ...outputs.map((line) => line.write(1))], 0);
    kernel.drive(520, 1);
    expect(await outcomes([healthy.input.read(), healthy.output.write(1)], 0)).toEqual(['done', 'done']);
    await clock.advance(2_000);
    await hung;
  });

  it('drives what waits, in its order, when it answers in time', async () => {
    const { outputs } = await open();
    const driven = outcomes(
      outputs.map((line) => line.write(1)),
      2_000,
    );
    await clock.advance(0);
    kernel.answer();
    expect(await driven).toEqual(['done', 'done', 'done', 'done']);
    expect([516, 517, 518, 519].map(kernel.level)).toEqual([1, 1, 1, 1]);
  });

  it('is given up by all that wait when the kernel gives it up', async () => {
    const { inputs, outputs } = await open();
    kernel.answer();
    Object.assign(kernel.line(512), { readMs: 400, failing: { value: 'ETIMEDOUT' } });
    const [first, ...others] = inputs;
    const asked = [first?.read(), ...others.map((line) => line.read()), outputs[0]?.read()];
    const all = Promise.allSettled(asked);
    await clock.advance(400);
    expect(await all).toMatchObject(asked.map(() => ({ reason: { code: 'GPIO_TIMEOUT' } })));
    const again = first?.read() ?? Promise.resolve();
    expect((await rejection(again)).message).toMatch(/did not answer \(ETIMEDOUT\): /);
  });

  it('is polled for one of its lines, and all are taken to hang with it', async () => {
    const { inputs } = await open();
    kernel.answer();
    const woken = new Set<number>();
    for (const [index, line] of inputs.entries()) line.onEdge(() => woken.add(index), { checkMs: 10 });
    await clock.advance(50);
    woken.clear();
    for (const number of [512, 513, 514, 515]) {
      Object.assign(kernel.line(number), { readMs: 900, failing: { value: 'ETIMEDOUT' } });
    }
    await clock.advance(1_000);
    expect([...woken]).toEqual([0, 1, 2, 3]);
  });
});

describe('what a oneshot reads to open its lines', () => {
  const LINES = 16;
  const openAll = async () => {
    for (let line = 0; line < LINES; line += 1) {
      const ref = { chip: '1e780000.gpio', line };
      await passing<unknown>(line % 2 === 0 ? gpio.openOutput(ref) : gpio.openInput(ref));
    }
  };

  it('is what the chips tell of themselves once, for all lines', async () => {
    await gpio.locate([C0]);
    await openAll();
    expect([...kernel.chipReads].sort()).toEqual(
      CHIPS.flatMap(({ base }) => ['base', 'label', 'ngpio'].map((file) => `gpiochip${base}/${file}`)).sort(),
    );
  });

  it('is the names of a chip once, and of no chip for a board that names none', async () => {
    await passing(gpio.openOutput(C0));
    const named = () => kernel.chipReads.filter((path) => path.endsWith('gpio-line-names'));
    expect(named()).toEqual([]);
    for (let time = 0; time < 3; time += 1) await passing(gpio.openOutput({ name: 'power-chassis-control' }));
    expect(new Set(named()).size).toBe(named().length);
    expect(named()).not.toEqual([]);
  });

  it('is the level of each line once, which its device may take long to tell, and once more by the file of its interrupts', async () => {
    // As the process before this one left them.
    for (let line = 0; line < LINES; line += 1) kernel.line(816 + line).exported = true;
    await openAll();
    const timesRead = Array.from(
      { length: LINES },
      (_, line) => kernel.reads.filter(({ number }) => number === 816 + line).length,
    );
    expect(timesRead).toEqual(Array.from({ length: LINES }, (_, line) => (line % 2 === 0 ? 1 : 2)));
    expect(kernel.heldUp).toEqual([]);
  });
});

describe('chips that come and go while the process runs', () => {
  /** As they are in this machine now. */
  let present: KernelChip[];
  beforeEach(() => {
    present = [...CHIPS];
    start(present);
  });

  it('are found by label and by name, whatever was there before', async () => {
    const labels = ['one', 'two', 'three'];
    const chip = fc.record({
      label: fc.constantFrom(...labels),
      base: fc.constantFrom(0, 8, 16),
      names: fc.constantFrom<string[][]>([], ['', 'POWER_EN'], ['PGOOD', '', 'POWER_EN']),
    });
    const machine = fc.uniqueArray(chip, { selector: ({ base }) => base, maxLength: 3 });
    await fc.assert(
      fc.asyncProperty(fc.array(machine, { minLength: 2, maxLength: 4 }), async (machines) => {
        present.length = 0;
        start(present);
        for (const chips of machines) {
          present.splice(0, present.length, ...chips.map((each) => ({ ...each, lineCount: 8 })));
          const refs: LineRef[] = [
            ...labels.map((label) => ({ chip: label, line: 1 })),
            { name: 'POWER_EN' },
            { name: 'PGOOD' },
          ];
          // Somebody who has just come knows nothing of before.
          const fresh = createOnoffGpio({ clock, Gpio: kernel.Gpio, files: kernel.files });
          expect(await gpio.locate(refs)).toEqual(await fresh.locate(refs));
        }
      }),
      { numRuns: fewer(100, 25) },
    );
  });

  it('have their lines opened where they are now, not where a chip before them had them', async () => {
    const [large, small] = CHIPS as [KernelChip, KernelChip];
    await passing(gpio.openOutput({ chip: small.label, line: 3 }));
    present.splice(1, 1, { ...small, label: 'expander' });
    expect(await rejection(gpio.openOutput({ chip: small.label, line: 4 }))).toMatchObject({
      code: 'GPIO_NO_CHIP',
    });
    present.splice(0, 1, { ...large, base: 1024 });
    await passing(gpio.openOutput(C0));
    expect(kernel.line(1024 + 16).exported).toBe(true);
    expect(kernel.line(C0_NUMBER).exported).toBe(false);
  });
});

describe('finding a line', () => {
  const resolve = async (line: LineRef) => resolveLine(createChips(kernel.root, kernel.files), line);

  it('adds the offset to the base of the chip', async () => {
    expect(await resolve(C0)).toMatchObject({ number: C0_NUMBER, offset: 16 });
    expect(await resolve({ chip: '1e780800.gpio', line: 35 })).toMatchObject({ number: 815 });
  });

  it.each([
    ['A0', 816],
    ['C0', 832],
    ['Z7', 816 + 207],
  ])('takes the ASPEED port name %s', async (line, number) => {
    expect(await resolve({ chip: '1e780000.gpio', line })).toMatchObject({ number });
  });

  it.each(['C8', 'c0', '16', 'AAA0', 'C', ''])('rejects "%s", which is no port name', async (line) => {
    await expect(resolve({ chip: '1e780000.gpio', line })).rejects.toMatchObject({
      code: 'GPIO_NO_LINE',
      message: expect.stringContaining('ASPEED port name such as "C0"'),
    });
  });

  it('rejects an offset beyond the chip', async () => {
    await expect(resolve({ chip: '1e780800.gpio', line: 36 })).rejects.toMatchObject({
      code: 'GPIO_NO_LINE',
      message: expect.stringContaining('only 36 lines'),
    });
    await expect(resolve({ chip: '1e780000.gpio', line: 'AA0' })).rejects.toMatchObject({
      code: 'GPIO_NO_LINE',
    });
    await expect(resolve({ chip: '1e780000.gpio', line: -1 })).rejects.toMatchObject({
      code: 'GPIO_NO_LINE',
    });
  });

  it('lists the chips that are there for an unknown label', async () => {
    await expect(resolve({ chip: 'gpio', line: 0 })).rejects.toMatchObject({
      code: 'GPIO_NO_CHIP',
      message: expect.stringMatching(/1e780800\.gpio.*36 lines.*1e780000\.gpio.*208 lines/),
    });
  });

  it('finds a chip by what does not follow the order in which chips are found', async () => {
    const banks = ['44e07000', '4804c000', '481ac000'].map((address) => ({
      device: `/sys/devices/platform/ocp/${address}.gpio`,
      node: `/ocp/gpio@${address}`,
      lineCount: 32,
    }));
    // Labels and bases go to whichever bank comes first.
    for (const order of [
      [0, 1, 2],
      [2, 0, 1],
      [1, 2, 0],
    ]) {
      start(
        order.map((bank, index) => {
          const { device = '', node = '', lineCount = 0 } = banks[bank] ?? {};
          return {
            label: `gpio-${index * 32}-${index * 32 + 31}`,
            base: 512 + index * 32,
            lineCount,
            device,
            node,
          };
        }),
      );
      const number = 512 + order.indexOf(1) * 32 + 17;
      for (const chip of [
        '4804c000.gpio',
        '/ocp/gpio@4804c000',
        '/sys/devices/platform/ocp/4804c000.gpio',
        '/devices/platform/ocp/4804c000.gpio',
      ]) {
        expect(await resolve({ chip, line: 17 }), chip).toMatchObject({ number, offset: 17 });
      }
    }
  });

  it('takes a label before the name of a device, so that a label means what it meant', async () => {
    start([
      { label: 'one.gpio', base: 512, lineCount: 8, device: '/sys/devices/platform/two.gpio' },
      { label: 'two.gpio', base: 520, lineCount: 8, device: '/sys/devices/platform/one.gpio' },
    ]);
    expect(await resolve({ chip: 'one.gpio', line: 0 })).toMatchObject({ number: 512 });
    expect(await resolve({ chip: '/sys/devices/platform/one.gpio', line: 0 })).toMatchObject({ number: 520 });
  });

  it('tells two names of one line by label and by path, and a path that leads to several chips', async () => {
    const device = '/sys/devices/platform/banks.gpio';
    start([
      { label: 'bank0', base: 512, lineCount: 8, device },
      { label: 'bank1', base: 520, lineCount: 8, device, node: '/soc/gpio@0/bank@1' },
    ]);
    await expect(resolve({ chip: device, line: 0 })).rejects.toMatchObject({
      code: 'GPIO_NO_CHIP',
      message: expect.stringMatching(/^2 GPIO chips have the label or path/),
      details: { labels: ['bank0', 'banks.gpio', 'bank1', '/soc/gpio@0/bank@1'] },
    });
    const places = await gpio.locate([
      { chip: 'bank1', line: 3 },
      { chip: '/soc/gpio@0/bank@1', line: 3 },
    ]);
    expect(places).toMatchObject([{ key: '523' }, { key: '523' }]);
  });

  it('says for a chip that is not there by which names the others go', async () => {
    start([{ label: 'gpio-0-31', base: 512, lineCount: 8, device: '/sys/devices/a.gpio', node: '/a' }]);
    await expect(resolve({ chip: '/b', line: 0 })).rejects.toMatchObject({
      code: 'GPIO_NO_CHIP',
      details: { labels: ['gpio-0-31', 'a.gpio', '/a', '/sys/devices/a.gpio'] },
    });
  });

  it('rejects a label that two chips have', async () => {
    start([
      { label: 'pca9554', base: 512, lineCount: 8 },
      { label: 'pca9554', base: 520, lineCount: 8 },
    ]);
    await expect(resolve({ chip: 'pca9554', line: 0 })).rejects.toMatchObject({
      code: 'GPIO_NO_CHIP',
      message: expect.stringMatching(/2 GPIO chips.*gpiochip512.*gpiochip520/),
    });
  });

  it('finds a name from the device tree', async () => {
    expect(await resolve({ name: 'power-chassis-control' })).toMatchObject({ number: 817, offset: 1 });
  });

  it.each(['of_node', 'device/gpiochip0/of_node'])('finds names below %s as well', async (namesAt) => {
    start([{ label: 'gpio', base: 512, lineCount: 8, names: ['', '', 'PGOOD'], namesAt }]);
    expect(await resolve({ name: 'PGOOD' })).toMatchObject({ number: 514 });
  });

  it('rejects a name that two lines have', async () => {
    await expect(resolve({ name: 'twice' })).rejects.toMatchObject({
      code: 'GPIO_NO_LINE',
      message: expect.stringMatching(/1e780800\.gpio 0, 1e780000\.gpio 2/),
    });
  });

  it('never finds the empty name, and no name beyond the chip', async () => {
    start([{ label: 'gpio', base: 512, lineCount: 1, names: ['', 'BEYOND'] }]);
    await expect(resolve({ name: 'BEYOND' })).rejects.toMatchObject({ code: 'GPIO_NO_LINE' });
  });

  it('says so when the device tree has no names at all', async () => {
    start([{ label: 'gpio', base: 512, lineCount: 8 }]);
    await expect(resolve({ name: 'PGOOD' })).rejects.toMatchObject({
      code: 'GPIO_NO_LINE',
      message: expect.stringContaining('chip label and offset'),
    });
  });
});

describe('the files of the machine', () => {
  let root: string;
  beforeEach(() => {
    root = mkdtempSync(join(tmpdir(), 'gpio-'));
    for (const [folder, label, base] of [
      ['gpiochip816', '1e780000.gpio', 816],
      ['gpiochip780', '1e780800.gpio', 780],
    ] as const) {
      mkdirSync(join(root, folder));
      writeFileSync(join(root, folder, 'label'), `${label}\n`);
      writeFileSync(join(root, folder, 'base'), `${base}\n`);
      writeFileSync(join(root, folder, 'ngpio'), '36\n');
    }
    mkdirSync(join(root, 'soc/of_node'), { recursive: true });
    writeFileSync(join(root, 'soc/of_node/gpio-line-names'), '\0\0power-chassis-good\0');
    symlinkSync(join(root, 'soc'), join(root, 'gpiochip816/device'));
  });
  afterEach(() => rmSync(root, { recursive: true }));

  it('resolve by label and by name', async () => {
    const chips = createChips(root, sysfsFiles);
    expect(resolveLine(chips, { chip: '1e780800.gpio', line: 3 })).toMatchObject({ number: 783 });
    expect(resolveLine(chips, { name: 'power-chassis-good' })).toMatchObject({ number: 818 });
    expect(resolveLine(chips, { chip: 'soc', line: 2 })).toMatchObject({ number: 818 });
  });

  it('write to what is there and make nothing', async () => {
    const path = join(root, 'gpiochip816/label');
    sysfsFiles.tryOpen(path);
    await sysfsFiles.write(path, 'written');
    for (const read of [sysfsFiles.read, sysfsFiles.readAttribute, sysfsFiles.readKnown])
      expect(await read(path)).toContain('written');
    const absent = join(root, 'absent');
    await expect(sysfsFiles.write(absent, 'x')).rejects.toMatchObject({ code: 'ENOENT' });
    await expect(sysfsFiles.readAttribute(absent)).rejects.toMatchObject({ code: 'ENOENT' });
    expect(() => sysfsFiles.tryOpen(absent)).toThrow('ENOENT');
  });
});

it('finds the class of the library in a bundle, where a CommonJS package has a default export only', async () => {
  const root = join(import.meta.dirname, '..', '..');
  const folder = mkdtempSync(join(tmpdir(), 'onoff-bundle-'));
  try {
    await build({
      stdin: {
        // No kernel has a line of this number, so that nothing is touched where this runs.
        contents: `
          import { basename } from 'node:path';
          import { createSystemClock } from './hw/clock.ts';
          import { createOnoffGpio } from './hw/gpio/onoff.ts';
          const content = { label: 'chip', base: '1000000000', ngpio: '8', value: '0', direction: 'in' };
          const files = {
            list: () => ['gpiochip0'],
            readKnown: (path) => content[basename(path)] ?? '',
            readAttribute: async (path) => content[basename(path)] ?? '',
            write: async () => undefined,
            tryOpen: () => undefined,
            identity: () => '',
          };
          const gpio = createOnoffGpio({ clock: createSystemClock(), files });
          await gpio.openInput({ chip: 'chip', line: 0 }).catch((error) => console.log(error.message));`,
        resolveDir: root,
      },
      outdir: folder,
      outExtension: { '.js': '.mjs' },
      bundle: true,
      splitting: true,
      format: 'esm',
      platform: 'node',
      // Its native part is not in the bundle.
      external: ['epoll'],
      banner: {
        js: `import { createRequire } from 'node:module'; const require = createRequire(${JSON.stringify(join(root, 'package.json'))});`,
      },
    });
    const told = execFileSync(process.execPath, [join(folder, 'stdin.mjs')], {
      encoding: 'utf8',
      timeout: 20_000,
    });
    expect(told).toMatch(/cannot be taken for reading \((ENOENT|EINVAL|EACCES|EPERM|EROFS)\)/);
  } finally {
    rmSync(folder, { recursive: true });
  }
});

/** How the interrupts of a line come to an end. */
const stops: readonly ((number: number) => void)[] = [
  (number) => {
    kernel.line(number).edge = 'none';
  },
  (number) => {
    kernel.line(number).losesInterrupts = true;
  },
];
let stopped = 0;

describeGpioBackend('onoff on sysfs in memory', async () => {
  start([{ label: 'gpio', base: 512, lineCount: 8, names: ['', 'POWER_EN'], node: '/soc/gpio@0' }]);
  const numberOf = (line: LineRef) => ('chip' in line ? 512 + Number(line.line) : 513);
  Object.assign(kernel.line(514), { direction: 'out', driven: 1, history: [1] });
  kernel.line(515).consumer = 'boot-hog';
  kernel.line(516).shortedTo = 0;
  kernel.line(517).withoutEdgeFile = true;
  return {
    backend: gpio,
    stories: fewer(100, 25),
    another: async () =>
      createOnoffGpio({ clock, Gpio: kernel.Gpio, files: kernel.files, exports: kernel.exports }),
    world: {
      lines: {
        output: { chip: 'gpio', line: 1 },
        outputOtherwise: { name: 'POWER_EN' },
        input: { chip: '/soc/gpio@0', line: 0 },
        looked: { chip: 'gpio', line: 5 },
        heldHigh: { chip: '/soc/gpio@0', line: 2 },
        busy: { chip: 'gpio', line: 3 },
        shorted: { chip: 'gpio', line: 4 },
      },
      settle: (ms = 0) => clock.advance(ms),
      levelSeenOutside: async (line: LineRef) => kernel.level(numberOf(line)),
      directionSeenOutside: async (line: LineRef) => kernel.line(numberOf(line)).direction,
      historySeenOutside: async (line: LineRef) => {
        const { history } = kernel.line(numberOf(line));
        return history.length === 0 ? [kernel.level(numberOf(line))] : history;
      },
      drive: async (line: LineRef, level: 0 | 1) => kernel.drive(numberOf(line), level),
      isFree: async (line: LineRef) => !kernel.line(numberOf(line)).exported,
      takeOutside: async (line: LineRef) => {
        kernel.line(numberOf(line)).exported = true;
      },
      breakReads: async (line: LineRef) => {
        kernel.line(numberOf(line)).failing.value = 'EIO';
      },
      stopInterrupts: async (line: LineRef) => {
        stops[stopped++ % stops.length]?.(numberOf(line));
      },
      hang: async (line: LineRef) => kernel.hang(numberOf(line)),
      answer: async () => kernel.answer(),
      giveBackOutside: async (line: LineRef, then?: 'hold') =>
        kernel.unexport(numberOf(line), then === 'hold' ? 'boot-hog' : undefined),
      letGoOutside: async (line: LineRef) => kernel.letGo(numberOf(line)),
    },
  };
});
