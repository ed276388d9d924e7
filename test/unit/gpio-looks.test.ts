import { beforeEach, describe, expect, it } from 'vitest';
import { createLooks } from '../../hw/gpio/looks.ts';
import { createOnoffGpioOn } from '../../hw/gpio/onoff.ts';
import type { GpioBackend, LineRef } from '../../hw/ports.ts';
import { createGpioKernel, type GpioKernel } from './gpio-onoff-kernel.ts';
import { createManualClock } from './manual-clock.ts';

const LABEL = '1e780000.gpio';
const BASE = 816;
const C0: LineRef = { chip: LABEL, line: 'C0' };
const C0_NUMBER = BASE + 16;

let kernel: GpioKernel;
let looks: GpioBackend;

beforeEach(() => {
  const clock = createManualClock();
  kernel = createGpioKernel({ chips: [{ label: LABEL, base: BASE, lineCount: 208 }], clock });
  const { Gpio, files, exports } = kernel;
  looks = createLooks({ clock, files, exports }, async (sysfs) => createOnoffGpioOn(sysfs, Gpio));
});

describe('lines that are only looked at', () => {
  describe.each(['openOutput', 'openInput'] as const)('by %s', (open) => {
    it.each([
      ['in', 0, 0, 0],
      ['in', 1, 0, 1],
      ['out', 0, 0, 0],
      ['out', 1, 0, 1],
      // What the file shows of an inverted line is turned round: the level at the pin is asked for.
      ['out', 0, 1, 0],
      ['out', 1, 1, 1],
    ] as const)(
      'an exported one (%s, at %i, active_low %i) reads %i, and nothing is done to it',
      async (direction, level, inversion, read) => {
        const line = kernel.line(C0_NUMBER);
        Object.assign(line, {
          exported: true,
          direction,
          driven: level,
          outside: level,
          activeLow: inversion === 1,
        });
        const look = await looks[open](C0);
        expect(await look.read()).toBe(read);
        await look.close();
        expect(kernel.writes).toEqual([]);
        expect(kernel.constructed).toEqual([]);
      },
    );

    it('one that is not exported is taken, and keeps its level and direction', async () => {
      Object.assign(kernel.line(C0_NUMBER), { direction: 'out', driven: 1 });
      const look = await looks[open](C0);
      expect(await look.read()).toBe(1);
      expect(kernel.writes).toEqual([`export ${C0_NUMBER}`]);
      expect(kernel.line(C0_NUMBER)).toMatchObject({ direction: 'out', driven: 1 });
    });

    it('one that another program gives back in between is taken', async () => {
      Object.assign(kernel.line(C0_NUMBER), { exported: true, outside: 1 });
      const look = await looks[open](C0);
      kernel.unexport(C0_NUMBER);
      expect(await look.read()).toBe(1);
      expect(kernel.writes).toContain(`export ${C0_NUMBER}`);
    });

    it('one that another program keeps for itself rejects GPIO_BUSY', async () => {
      Object.assign(kernel.line(C0_NUMBER), { exported: true });
      const look = await looks[open](C0);
      kernel.unexport(C0_NUMBER, 'boot-hog');
      await expect(look.read()).rejects.toMatchObject({ code: 'GPIO_BUSY' });
    });

    it('one whose level cannot be read rejects GPIO_FAILED', async () => {
      Object.assign(kernel.line(C0_NUMBER), { exported: true });
      kernel.line(C0_NUMBER).failing.value = 'EIO';
      const look = await looks[open](C0);
      await expect(look.read()).rejects.toMatchObject({ code: 'GPIO_FAILED' });
    });

    it('one that does not exist rejects GPIO_NO_LINE', async () => {
      await expect(looks[open]({ chip: LABEL, line: 208 })).rejects.toMatchObject({ code: 'GPIO_NO_LINE' });
    });

    it('one that was closed rejects', async () => {
      Object.assign(kernel.line(C0_NUMBER), { exported: true });
      const look = await looks[open](C0);
      await look.close();
      await expect(look.read()).rejects.toMatchObject({ code: 'GPIO_FAILED' });
    });
  });

  it('are neither driven, nor watched, nor given back', async () => {
    Object.assign(kernel.line(C0_NUMBER), { exported: true });
    const output = await looks.openOutput(C0);
    const input = await looks.openInput(C0);
    expect(() => output.write(1)).toThrow(RangeError);
    expect(() => input.onEdge(() => undefined)).toThrow(RangeError);
    expect(() => looks.release([C0])).toThrow(RangeError);
    expect(kernel.writes).toEqual([]);
  });
});
