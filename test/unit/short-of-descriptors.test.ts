/** A process that may open few files has the last of them for its lines. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import type { GpioBackend } from '../../hw/ports.ts';
import { createMockGpio } from '../../mocks/backends/gpio.ts';
import { createMockI2c } from '../../mocks/backends/i2c.ts';
import { createPlant } from '../../mocks/plant/plant.ts';
import { createVirtualClock } from '../../mocks/virtual-clock.ts';
import { runCommandLine } from '../../src/cli/main.ts';
import { shippedBoard } from './bench.ts';
import { createVerbWorld } from './verb-world.ts';
import './load-verbs.ts';

let dir = '';
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'short-of-descriptors-'));
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

it.each(['off', 'stop'])('%s drives its lines where nothing else can be opened after them', async (verb) => {
  const board = shippedBoard('reference');
  const clock = createVirtualClock();
  const plant = createPlant({ board, clock, initially: 'on' });
  const lines = createMockGpio(plant);
  let isOpen = false;
  const gpio: GpioBackend = {
    ...lines,
    openOutput(line) {
      isOpen = true;
      return lines.openOutput(line);
    },
  };
  const { world } = createVerbWorld(
    {
      clock,
      gpio: async () => gpio,
      i2c: async () => createMockI2c(plant),
      bootId() {
        if (isOpen) throw Object.assign(new Error('EMFILE: too many open files'), { code: 'EMFILE' });
        return 'boot';
      },
    },
    join(dir, 'run'),
  );
  const path = join(import.meta.dirname, '..', '..', 'hw', 'boards', 'reference.json');
  await clock.runUntil(runCommandLine([verb, '--board', path], world));
  expect(isOpen).toBe(true);
  expect(plant.lines().filter(({ role, asserted }) => role === 'enable' && asserted)).toEqual([]);
});
