/** What a host says of itself, as management clients see it of the service. */
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type { LineRef } from '../../hw/ports.ts';
import { createMockGpio } from '../../mocks/backends/gpio.ts';
import { createMockI2c } from '../../mocks/backends/i2c.ts';
import { parseFault } from '../../mocks/plant/faults.ts';
import { PLATFORM_RESET, POST_COMPLETE } from '../../src/board/lines.ts';
import { openFollowedLine } from '../../src/run/followed-line.ts';
import { createHostSignals } from '../../src/service/host-signals.ts';
import { draws } from '../draws.ts';
import { shippedBoard } from './bench.ts';
import { createHostService } from './host-service.ts';

// Far above what they take: the machine may be busy.
vi.setConfig({ testTimeout: 120_000 });
const SYSTEM = 'xyz.openbmc_project.State.OperatingSystem.Status';
const POST: LineRef = { name: 'POST_COMPLETE' };
const PLTRST: LineRef = { name: 'PLTRST' };

let folder = '';
const endings: (() => Promise<void> | void)[] = [];
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'chassis-power-signals-'));
});
afterEach(async () => {
  await endAll();
  rmSync(folder, { recursive: true });
});
async function endAll() {
  for (const end of endings.splice(0).reverse()) await end();
}

/** The x86 board that ships, whose signals are both active low. */
async function createHost(initially: 'on' | 'off') {
  const service = await createHostService(folder, endings, initially);
  const { board, clock, plant, state, log, property } = service;
  const { postComplete, platformReset } = board.chassis['0']?.hostSignals ?? {};
  if (!postComplete || !platformReset) throw new RangeError('another board');
  const ports = { gpio: async () => createMockGpio(plant), i2c: async () => createMockI2c(plant), clock };
  const open = (role: string, line: typeof postComplete) =>
    openFollowedLine(board, { chassis: 0, role, line }, ports);
  const signals = createHostSignals({
    ...{ chassis: 0, state, clock, log },
    postComplete: await open(POST_COMPLETE, postComplete),
    platformReset: await open(PLATFORM_RESET, platformReset),
  });
  endings.push(() => signals.stop());
  const say = async (line: LineRef, asserted: boolean, forMs: number) => {
    plant.hold(line, asserted ? 0 : 1);
    await clock.advance(forMs);
  };
  const shown = () => String(property(SYSTEM, 'OperatingSystemState')?.read()).replace(/.*\./, '');
  return { ...service, signals, say, shown };
}

describe('the end of the firmware of a host', () => {
  it('is shown while the chassis has power', async () => {
    const { signals, say, shown, clock, resident, plant } = await createHost('on');
    signals.begin();
    await clock.advance(100);
    expect(shown()).toBe('Inactive');
    await say(POST, true, 100);
    expect(shown()).toBe('Standby');
    await clock.runUntil(resident.request('off', 'test').done);
    expect([shown(), plant.lines().find(({ line }) => line.includes('POST'))?.asserted]).toEqual([
      'Inactive',
      true,
    ]);
  });

  it('that was there before the service is shown, and one that cannot be read is not', async () => {
    const { board, signals, say, shown, clock, plant, state } = await createHost('on');
    await say(POST, true, 100);
    signals.begin();
    await clock.advance(100);
    expect(shown()).toBe('Standby');
    plant.addFault(parseFault('line POST_COMPLETE read error for 2s', board));
    await clock.advance(50);
    await say(POST, false, 100);
    await say(POST, true, 500);
    expect(shown()).toBe('Inactive');
    await clock.advance(10_000);
    expect([shown(), state.view.restartCause]).toEqual(['Standby', 'Unknown']);
  });

  it('is no property of a host of which nothing shows it', async () => {
    const { property } = await createHostService(folder, endings, 'on', shippedBoard('reference'));
    expect(property(SYSTEM, 'OperatingSystemState')).toBeUndefined();
  });
});

describe('a host that restarts', () => {
  it.each([
    ['its firmware begins again', POST, true],
    ['its platform reset comes', PLTRST, false],
  ] as const)('by itself is told so when %s, and nothing is driven', async (_, line, before) => {
    const { signals, say, clock, state, plant, journal } = await createHost('on');
    await say(line, before, 100);
    signals.begin();
    await clock.advance(1_000);
    const drives = plant.history.filter(({ type }) => type === 'drive').length;
    await say(line, !before, 200);
    await say(line, before, 2_000);
    expect(state.view).toMatchObject({ power: 'On', host: 'Running', restartCause: 'SoftReset' });
    expect(journal.filter((text) => text.includes('restarted by itself'))).toHaveLength(1);
    expect(plant.history.filter(({ type }) => type === 'drive')).toHaveLength(drives);
  });

  it('because it was reset from here is not taken for one that restarts by itself', async () => {
    const { signals, say, clock, state } = await createHost('on');
    await say(POST, true, 100);
    signals.begin();
    await clock.advance(1_000);
    state.resetHost('ResetButton');
    await say(PLTRST, true, 300);
    await say(POST, false, 300);
    await say(PLTRST, false, 5_000);
    expect(state.view.restartCause).toBe('ResetButton');
  });

  it('is never told of a host whose power goes, however long before its signals go', async () => {
    const { signals, say, clock, state, resident } = await createHost('on');
    await say(POST, true, 100);
    signals.begin();
    await clock.advance(1_000);
    await say(POST, false, 400);
    await clock.runUntil(resident.request('off', 'test').done);
    await clock.advance(5_000);
    expect(state.view.restartCause).toBe('Unknown');
  });

  it('changes nothing of the power, whatever its signals say', async () => {
    const move = fc.record({
      line: fc.constantFrom(POST, PLTRST),
      asserted: fc.boolean(),
      forMs: fc.integer({ min: 1, max: 2_000 }),
    });
    await fc.assert(
      fc.asyncProperty(fc.array(move, { maxLength: 8 }), fc.boolean(), async (moves, isOn) => {
        const { signals, say, plant, resident, state } = await createHost(isOn ? 'on' : 'off');
        const { restartCause } = state.view;
        signals.begin();
        const drives = plant.history.filter(({ type }) => type === 'drive').length;
        for (const { line, asserted, forMs } of moves) await say(line, asserted, forMs);
        expect(resident.view.state).toBe(isOn ? 'pgood' : 'off');
        expect(plant.history.filter(({ type }) => type === 'drive')).toHaveLength(drives);
        if (!isOn) expect(state.view).toMatchObject({ system: 'Inactive', restartCause });
        await endAll();
        // The next case is of another chassis.
        rmSync(folder, { recursive: true });
        mkdirSync(folder);
      }),
      { numRuns: draws(40) },
    );
  });
});
