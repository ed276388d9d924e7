import { HardwareError } from '../hw/errors.ts';
import type { GpioBackend, InputLine, Level, LineRef, OutputLine } from '../hw/ports.ts';
import { lineKey } from './line-key.ts';
import { reportMisuse } from './misuse.ts';
import type { Plant, PlantPin } from './plant.ts';

/**
 * GPIO on a plant. Stricter than hardware: what a correct caller never does rejects and is kept in
 * `plant.misuses`. Every call gives up the turn at least once, as a real one would.
 */
export function createMockGpio(plant: Plant): GpioBackend {
  const take = async (ref: LineRef): Promise<PlantPin> => {
    await Promise.resolve();
    const pin = findPin(plant, ref);
    if (pin.busy()) {
      throw new HardwareError(
        'GPIO_BUSY',
        `${pin.label} is taken by another program: stop it, or free the line`,
        {
          line: pin.key,
        },
      );
    }
    return pin;
  };

  const readPin = (pin: PlantPin): Level => {
    if (!pin.unreadable()) return pin.level();
    throw new HardwareError(
      'GPIO_FAILED',
      `${pin.label} cannot be read: input/output error (simulated fault)`,
      {
        line: pin.key,
      },
    );
  };

  const openHandle = (pin: PlantPin) => {
    let closed = false;
    return {
      close: () => {
        closed = true;
      },
      isClosed: () => closed,
      check: (what: string): void => {
        if (!closed) return;
        const message = `${pin.label}: ${what} after close`;
        plant.recordMisuse(message);
        throw new HardwareError('GPIO_FAILED', message, { line: pin.key });
      },
    };
  };

  return {
    async openOutput(ref): Promise<OutputLine> {
      const pin = await take(ref);
      if (pin.drivenByChassis) {
        throw reportMisuse(plant, `${pin.label} was opened as an output, but the chassis drives it`);
      }
      const handle = openHandle(pin);
      return {
        async read() {
          await Promise.resolve();
          handle.check('read');
          return readPin(pin);
        },
        async write(level) {
          await Promise.resolve();
          handle.check('write');
          if (level !== 0 && level !== 1) {
            throw reportMisuse(plant, `${pin.label}: write(${JSON.stringify(level)}), a level is 0 or 1`);
          }
          pin.drive(level);
          if (readPin(pin) === level) return;
          throw new HardwareError(
            'GPIO_NOT_FOLLOWED',
            `${pin.label} was driven ${level} but reads ${level === 1 ? 0 : 1}: something else holds it`,
            { line: pin.key, level },
          );
        },
        async close() {
          await Promise.resolve();
          handle.close();
        },
      };
    },

    async openInput(ref): Promise<InputLine> {
      const pin = await take(ref);
      const handle = openHandle(pin);
      const ends = new Set<() => void>();
      return {
        async read() {
          await Promise.resolve();
          handle.check('read');
          return readPin(pin);
        },
        onEdge(wake) {
          if (typeof wake !== 'function')
            throw reportMisuse(plant, `${pin.label}: onEdge without a function`);
          handle.check('onEdge');
          let ended = false;
          let pending = false;
          const stop = pin.onChange(() => {
            if (pending) return;
            pending = true;
            queueMicrotask(() => {
              pending = false;
              if (!ended) wake();
            });
          });
          const end = () => {
            ended = true;
            stop();
            ends.delete(end);
          };
          ends.add(end);
          return end;
        },
        async close() {
          await Promise.resolve();
          handle.close();
          for (const end of [...ends]) end();
        },
      };
    },
  };
}

function findPin(plant: Plant, ref: LineRef): PlantPin {
  const isObject = typeof ref === 'object' && ref !== null;
  const named = isObject && 'name' in ref && typeof ref.name === 'string';
  const numbered = isObject && 'chip' in ref && typeof ref.chip === 'string';
  if (!named && !numbered) {
    throw reportMisuse(plant, `${JSON.stringify(ref)} names no line: give a chip with a line, or a name`);
  }
  if ('chip' in ref && !plant.chips.has(ref.chip)) {
    const known = [...plant.chips].join(', ') || 'none, its lines have names';
    throw new HardwareError(
      'GPIO_NO_CHIP',
      `no GPIO chip has the label "${ref.chip}": the board file of the plant has ${known}`,
      { chip: ref.chip },
    );
  }
  const key = lineKey(ref);
  const pin = key === undefined ? undefined : plant.pins.get(key);
  if (pin !== undefined) return pin;
  const label = 'name' in ref ? `line "${ref.name}"` : `line ${ref.line} of ${ref.chip}`;
  throw new HardwareError(
    'GPIO_NO_LINE',
    `${label} is not declared: give it a part in the board file that the plant was started with`,
    { line: key ?? label },
  );
}
