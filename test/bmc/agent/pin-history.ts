/** What the guest did to a GPIO line, write by write, from QEMU's trace of the controller's registers. */
import { readFileSync, statSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { lineOffset } from '../../../hw/lines.ts';
import type { Level } from '../../../hw/ports.ts';
import type { Bmc } from '../rig/guest.ts';

/** Data registers of an AST2600, one for each four ports; the direction register is 4 above (gpio-aspeed.c). */
const DATA_REGISTERS = [0x000, 0x020, 0x070, 0x078, 0x080, 0x088, 0x1e0];
const DIRECTION_DISTANCE = 4;
const WRITE = /^aspeed_gpio_write offset: 0x([0-9a-f]+) value 0x([0-9a-f]+)$/gm;

export interface PinState {
  readonly level: Level;
  readonly direction: 'in' | 'out';
  /** Where the trace stood. */
  readonly atByte: number;
}

export interface PinHistory {
  stateOf(pin: string): Promise<PinState>;
  /**
   * Every level of the pin since `from`, as the chip would show it. The chip keeps a level that is written while
   * the line is an input and shows it when the line becomes an output; QEMU's own pins do not, so that a
   * wrong level at that moment would be missed there. An input has the level of `from`, as by a pull.
   */
  levelsSince(pin: string, from: PinState): Level[];
  stop(): Promise<void>;
}

/**
 * Starts the trace. Only lines that nobody drove before are known; QEMU writes the trace to its own log, which
 * lies beside that of the serial line.
 */
export async function startPinHistory(bmc: Bmc): Promise<PinHistory> {
  const log = join(dirname(bmc.handle.serialLog), 'qemu.log');
  const startByte = statSync(log).size;
  const trace = (enable: boolean) =>
    bmc.qmp.execute('trace-event-set-state', { name: 'aspeed_gpio_write', enable });
  await trace(true);

  return {
    async stateOf(pin) {
      const [level, direction] = [await bmc.qmp.gpioLevel(pin), await bmc.qmp.gpioDirection(pin)];
      return { level, direction, atByte: statSync(log).size };
    },

    levelsSince(pin, from) {
      const offset = lineOffset(pin) ?? Number.NaN;
      const dataRegister = DATA_REGISTERS[Math.floor(offset / 32)];
      if (dataRegister === undefined) throw new RangeError(`no GPIO line is called ${pin}`);
      const levels: Level[] = [from.level];
      let latch: Level = 0;
      let direction = from.direction;
      const text = readFileSync(log, 'latin1');
      for (const match of text.slice(startByte).matchAll(WRITE)) {
        const [register, value] = [Number.parseInt(match[1] ?? '', 16), Number.parseInt(match[2] ?? '', 16)];
        const bit: Level = (value >>> (offset % 32)) & 1 ? 1 : 0;
        if (register === dataRegister) latch = bit;
        else if (register !== dataRegister + DIRECTION_DISTANCE) continue;
        if (startByte + match.index < from.atByte) continue;
        if (register !== dataRegister) direction = bit === 1 ? 'out' : 'in';
        const level = direction === 'out' ? latch : from.level;
        if (level !== levels.at(-1)) levels.push(level);
      }
      return levels;
    },

    async stop() {
      await trace(false);
    },
  };
}
