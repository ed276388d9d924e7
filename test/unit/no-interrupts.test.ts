import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createOnoffGpio } from '../../hw/gpio/onoff.ts';
import { lineOffset } from '../../hw/lines.ts';
import { createMockGpio } from '../../mocks/backends/gpio.ts';
import { createMockI2c } from '../../mocks/backends/i2c.ts';
import { parseFault } from '../../mocks/plant/faults.ts';
import { createPlant, type Plant } from '../../mocks/plant/plant.ts';
import { createVirtualClock, type VirtualClock } from '../../mocks/virtual-clock.ts';
import { createAlarm } from '../../src/run/alarm.ts';
import { openChassis } from '../../src/run/hardware.ts';
import { planOf } from '../../src/sequence/plan.ts';
import { createResident, type Loss, type Resident } from '../../src/service/resident.ts';
import { fewer } from '../draws.ts';
import { shippedBoard } from './bench.ts';
import { flock } from './flock.ts';
import { createGpioKernel, type GpioKernel } from './gpio-onoff-kernel.ts';

/*
 * A chassis whose lines raise no interrupts, as behind an I2C expander: they are looked at. The resident service and
 * its power sequences watch the same lines at the same time.
 */

const board = shippedBoard('reference');
/** hw/boards/reference.json. */
const DEGLITCH_MS = 5;
/** How often pgood is looked at while the chassis is on. */
const LOOK_MS = 50;
const BASE = 816;

let runDir = '';
let resident: Resident | undefined;
beforeEach(() => {
  runDir = mkdtempSync(join(tmpdir(), 'chassis-power-looks-'));
});
afterEach(async () => {
  await resident?.stop('end of the test');
  rmSync(runDir, { recursive: true });
});

/** The kernel of gpio-onoff-kernel.ts over the lines of a plant: what one drives the other sees. */
function kernelOver(plant: Plant, clock: VirtualClock): GpioKernel {
  const kernel = createGpioKernel({
    chips: [{ label: '1e780000.gpio', base: BASE, lineCount: 208 }],
    clock,
  });
  const pins = new Map(
    [...plant.pins.values()].map((pin) => {
      const line = pin.key.split('/')[1] ?? '';
      return [BASE + (lineOffset(line) ?? Number(line)), pin] as const;
    }),
  );
  for (const [number, pin] of pins) {
    const line = kernel.line(number);
    line.withoutEdgeFile = true;
    line.outside = pin.level();
    pin.onChange(() => kernel.drive(number, pin.level()));
  }
  kernel.onLevel((number) => {
    const { direction, driven } = kernel.line(number);
    if (direction === 'out') pins.get(number)?.drive(driven);
  });
  return kernel;
}

async function createCare(driver: 'onoff' | 'mock') {
  const chassis = board.chassis['0'];
  if (!chassis) throw new RangeError('no chassis 0');
  const clock = createVirtualClock();
  const plant = createPlant({ board, clock, faults: [parseFault('gpio no interrupts', board)] });
  const kernel = kernelOver(plant, clock);
  const gpio =
    driver === 'mock'
      ? createMockGpio(plant)
      : createOnoffGpio({ clock, Gpio: kernel.Gpio, files: kernel.files });
  const losses: Loss[] = [];
  const plan = planOf(chassis, board.devices);
  const made = await clock.runUntil(
    (async () =>
      createResident({
        chassis: 0,
        flock,
        alarm: createAlarm(clock),
        plan,
        hardware: await openChassis(board, 0, {
          gpio: async () => gpio,
          i2c: async () => createMockI2c(plant),
          clock,
        }),
        clock,
        runDir,
        identity: { bootId: 'boot', boardHash: 'hash' },
        record: () => undefined,
        supplyError: () => '',
        onChange: () => undefined,
        onRequestFailed: async () => undefined,
        onHostOff: async () => undefined,
        onRunOver: () => undefined,
        onLoss: async (loss) => {
          losses.push(loss);
        },
      }))(),
  );
  resident = made;
  const pass = (ms: number) => clock.runUntil(new Promise<void>((resolve) => void clock.after(ms, resolve)));
  const enabled = () => plant.lines().filter(({ role, asserted }) => role === 'enable' && asserted).length;
  return { clock, plant, kernel, resident: made, losses, pass, enabled };
}

describe.each(['onoff', 'mock'] as const)('a chassis whose lines raise no interrupts (%s)', (driver) => {
  it('powers on and off every time, and every loss is acted on', async () => {
    const care = await createCare(driver);
    for (let round = 0; round < fewer(6, 2); round += 1) {
      await care.clock.runUntil(care.resident.request('on').done);
      expect(care.resident.view).toMatchObject({ state: 'pgood', pgood: true });
      await care.pass(37 * round);
      if (round % 2 === 0) {
        await care.clock.runUntil(care.resident.request('off').done);
      } else {
        const fromMs = care.clock.nowMs();
        care.plant.addFault(parseFault('pgood stuck off', board));
        await care.pass(DEGLITCH_MS + LOOK_MS + 1);
        expect(care.enabled()).toBe(0);
        expect(care.clock.nowMs() - fromMs).toBeLessThan(DEGLITCH_MS + LOOK_MS + 10);
        await care.pass(5_000);
        expect(care.losses).toHaveLength((round + 1) / 2);
        care.plant.clearFaults();
        care.plant.addFault(parseFault('gpio no interrupts', board));
      }
      await care.pass(5_000);
      expect(care.enabled()).toBe(0);
      expect(care.resident.view).toMatchObject({ pgood: false });
    }
    expect(care.plant.hazards).toEqual([]);
  });
});

describe('how often lines without interrupts are looked at', () => {
  it('while the chassis is off: twice a second, and pgood alone', async () => {
    const care = await createCare('onoff');
    await care.pass(1_000);
    const before = care.kernel.reads.length;
    await care.pass(10_000);
    const looks = care.kernel.reads.slice(before);
    expect(new Set(looks.map(({ number }) => number)).size).toBe(1);
    expect(looks.length).toBeLessThanOrEqual(20);
  });

  it('while it is on: pgood twenty times a second, the rails once', async () => {
    const care = await createCare('onoff');
    await care.clock.runUntil(care.resident.request('on').done);
    await care.pass(1_000);
    const before = care.kernel.reads.length;
    await care.pass(10_000);
    const looks = new Map<number, number>();
    for (const { number } of care.kernel.reads.slice(before)) looks.set(number, (looks.get(number) ?? 0) + 1);
    const counts = [...looks.values()].sort((one, other) => other - one);
    expect(counts[0]).toBeGreaterThan(180);
    expect(counts[0]).toBeLessThanOrEqual(201);
    for (const count of counts.slice(1)) expect(count).toBeLessThanOrEqual(12);
  });
});
