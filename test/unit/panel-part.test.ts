/** The line of a front panel's button, as the service has it. */
import { describe, expect, it } from 'vitest';
import type { GpioBackend } from '../../hw/ports.ts';
import { createMockGpio } from '../../mocks/backends/gpio.ts';
import { createMockI2c } from '../../mocks/backends/i2c.ts';
import { isLine, PANEL_POWER } from '../../src/board/lines.ts';
import { openFollowedLine } from '../../src/run/followed-line.ts';
import { createBench } from './bench.ts';

/** The good signal of P5V in the place of a button, which reads pressed while it is good. */
async function open(initially: 'on' | 'off', faults: readonly string[] = [], mistake?: Error) {
  const bench = createBench('reference', { initially, faults });
  const { P5V } = bench.board.chassis['0']?.rails ?? {};
  const line = P5V?.good;
  if (line === undefined || !isLine(line)) throw new RangeError('another board');
  const polls: unknown[] = [];
  let open = 0;
  const gpio = async (): Promise<GpioBackend> => {
    if (mistake) throw mistake;
    const inner = createMockGpio(bench.plant);
    return {
      ...inner,
      openInput: async (ref) => {
        const opened = await inner.openInput(ref);
        open += 1;
        return {
          ...opened,
          onEdge: (wake, options) => {
            polls.push(options);
            return opened.onEdge(wake, options);
          },
          async close() {
            open -= 1;
            await opened.close();
          },
        };
      },
    };
  };
  const ports = { gpio, i2c: async () => createMockI2c(bench.plant), clock: bench.clock };
  const opening = bench.clock.runUntil(
    openFollowedLine(bench.board, { chassis: 3, role: PANEL_POWER, line }, ports),
  );
  return { bench, opening, polls, open: () => open };
}

describe('the button of a front panel', () => {
  it.each([
    ['on', true],
    ['off', false],
  ] as const)('reads pressed as its line is: %s', async (initially, expected) => {
    const { opening } = await open(initially);
    expect(await (await opening).read()).toBe(expected);
  });

  it('wakes when it moves, is looked at every 50 ms where it raises no interrupts, and gives its line back', async () => {
    const { bench, opening, polls, open: count } = await open('on');
    const button = await opening;
    let woken = 0;
    const end = button.watch(() => {
      woken += 1;
    });
    await bench.clock.advance(10);
    const before = woken;
    bench.plant.addFault(bench.fault('good P5V stuck off'));
    await bench.clock.advance(10);
    expect(woken).toBe(before + 1);
    expect(polls).toEqual([{ pollMs: 50 }]);
    end();
    bench.plant.clearFaults();
    await bench.clock.advance(1_000);
    expect(woken).toBe(before + 1);
    expect(count()).toBe(1);
    await bench.clock.runUntil(button.close());
    expect(count()).toBe(0);
  });

  it('that cannot be had is told with its chassis and role', async () => {
    const { opening, open: count } = await open('on', ['line rail P5V good busy']);
    await expect(opening).rejects.toMatchObject({
      code: 'GPIO_BUSY',
      message: expect.stringMatching(/^chassis 3: power button of the panel: /),
      details: { chassis: 3 },
    });
    expect(count()).toBe(0);
  });

  it('is no place to hide a mistake of the program', async () => {
    const mistake = new TypeError('a mistake of the program');
    const { opening } = await open('on', [], mistake);
    await expect(opening).rejects.toBe(mistake);
  });
});
