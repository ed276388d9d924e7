/** Two processes at one PMBus device, one of which stands still in the middle of a transaction while the other one switches off. */
import { describe, expect, it } from 'vitest';
import { createPmbusPage, type PmbusPage } from '../../hw/pmbus/pmbus.ts';
import { VOUT_SETTINGS } from '../../hw/pmbus/settings.ts';
import type { I2cBus } from '../../hw/ports.ts';
import { createMockI2c } from '../../mocks/backends/i2c.ts';
import { createPlant } from '../../mocks/plant/plant.ts';
import { createVirtualClock } from '../../mocks/virtual-clock.ts';
import { checkBoard } from '../check-board.ts';

const ADDRESS = 0x60;
const PAGE = 0x00;
/** As the hold of a bus is waited for by who switches off, and more. */
const STANDSTILL_MS = 500;

/** A regulator with two outputs. */
async function createRegulator() {
  const rail = (page: number) => ({
    enable: { pmbus: 'vr', page },
    good: { pmbus: 'vr', page, minVolts: 0.9, maxVolts: 1.2 },
    setup: {
      ...{ pmbus: 'vr', page, minVolts: 0.9, maxVolts: 1.2 },
      writes: [{ command: 'VOUT_COMMAND', volts: 1 }],
    },
    nominalVolts: 1,
  });
  const { board, problems } = checkBoard({
    name: 'regulator',
    devices: { vr: { bus: 3, address: '0x60' } },
    chassis: {
      '0': {
        rails: { A: rail(0), B: rail(1) },
        pgood: { chip: '1e780000.gpio', line: 'B7' },
      },
    },
  });
  if (!board) throw new TypeError(JSON.stringify(problems));
  const clock = createVirtualClock();
  const plant = createPlant({ board, clock });
  const open = () => createMockI2c(plant).openBus(3);
  return { clock, open };
}

/** The same bus, of a process that stands still before the first transfer that is neither of PAGE nor a reading. */
function standingStill(bus: I2cBus, pauseMs: (ms: number) => Promise<void>): I2cBus {
  let isLeft = true;
  const stall = async (command: number) => {
    if (command === PAGE || !isLeft) return;
    isLeft = false;
    await pauseMs(STANDSTILL_MS);
  };
  return {
    ...bus,
    transaction: (address, steps, options) =>
      bus.transaction(
        address,
        (device) =>
          steps({
            ...device,
            async writeByte(command, value) {
              await stall(command);
              await device.writeByte(command, value);
            },
            async writeWord(command, value) {
              await stall(command);
              await device.writeWord(command, value);
            },
          }),
        options,
      ),
  };
}

describe('a process that stands still between PAGE and what it tells that page', () => {
  const run = async (work: (page: PmbusPage) => Promise<void>) => {
    const { clock, open } = await createRegulator();
    const pause = (ms: number) => new Promise<void>((resolve) => void clock.after(ms, resolve));
    const beganMs = clock.nowMs();
    const still = standingStill(await open(), pause);
    const begun = work(createPmbusPage({ bus: still, address: ADDRESS, page: 1 }));
    begun.catch(() => undefined);
    const first = createPmbusPage({ bus: await open(), address: ADDRESS, page: 0 });
    const second = createPmbusPage({ bus: await open(), address: ADDRESS, page: 1 });
    await clock.advance(10);
    await clock.runUntil(first.operation(false));
    expect(clock.nowMs() - beganMs).toBeLessThan(STANDSTILL_MS);
    await clock.runUntil(begun);
    return { clock, open, first, second };
  };

  it('sets up its own output, and not the one that was switched off meanwhile', async () => {
    const [setting] = VOUT_SETTINGS;
    const { clock, open } = await run((page) => page.setVolts(setting, 1.05));
    const bus = await open();
    const commandOf = (page: number) =>
      clock.runUntil(
        bus.transaction(ADDRESS, async (device) => {
          await device.writeByte(PAGE, page);
          return device.readWord(setting.command);
        }),
      );
    const untouched = await createRegulator();
    const fresh = await untouched.open();
    const before = await untouched.clock.runUntil(
      fresh.transaction(ADDRESS, (device) => device.readWord(setting.command)),
    );
    expect(await commandOf(0)).toBe(before);
    expect(await commandOf(1)).not.toBe(before);
  });

  it('switches its own output on, and not again the one that was switched off meanwhile', async () => {
    const { clock, first, second } = await run((page) => page.operation(true));
    expect(await clock.runUntil(first.readEnabled())).toBe(false);
    expect(await clock.runUntil(second.readEnabled())).toBe(true);
  });
});
