import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { createMockGpio } from '../../mocks/backends/gpio.ts';
import { createMockI2c } from '../../mocks/backends/i2c.ts';
import { parseFault } from '../../mocks/plant/faults.ts';
import { createStallingLoop } from '../../mocks/stall.ts';
import { diagnose } from '../../src/board/diagnose.ts';
import { PANEL_POWER } from '../../src/board/lines.ts';
import { parseBoard } from '../../src/board/parse.ts';
import { openFollowedLine } from '../../src/run/followed-line.ts';
import { createPowerButton } from '../../src/service/front-panel.ts';
import { type ChassisState, createChassisState, type StateView } from '../../src/service/host-state.ts';
import { buttonObject } from '../../src/service/panel-objects.ts';
import { createLastingFile } from '../../src/store/lasting.ts';
import { draws } from '../draws.ts';
import { shippedBoard } from './bench.ts';
import { startResident } from './start-resident.ts';
import { createVirtualUnits } from './virtual-units.ts';

// Far above what they take: the machine may be busy.
vi.setConfig({ testTimeout: 120_000 });
const FORCE_OFF_MS = 4_000;
const POWER = { name: 'power-button', active: 'low' as const, forceOffMs: FORCE_OFF_MS };

let folder = '';
const endings: (() => Promise<void> | void)[] = [];
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'chassis-power-panel-'));
});
afterEach(async () => {
  await endAll();
  rmSync(folder, { recursive: true });
});
async function endAll() {
  for (const end of endings.splice(0).reverse()) await end();
}

/** The service for the reference board with a front panel, whose button a hand presses as `presses` say. */
async function createPanel(
  initially: 'off' | 'on',
  presses: readonly { readonly atMs: number; readonly forMs: number }[],
  stalls: readonly { readonly atMs: number; readonly ms: number }[] = [],
  faults: readonly string[] = [],
) {
  const reference = shippedBoard('reference');
  const chassis = reference.chassis['0'];
  if (chassis === undefined) throw new RangeError('no chassis 0');
  const board = { ...reference, chassis: { '0': { ...chassis, panel: { power: POWER } } } };
  let state: ChassisState | undefined;
  const views: StateView[] = [];
  const { clock, plant, resident } = await startResident({
    runDir: folder,
    initially,
    board,
    onChange: () => state?.powerChanged(),
  });
  endings.push(() => resident.stop('end of the test'));
  const beginMs = clock.nowMs();
  /** Targets by the time at which systemd was told of them, from the begin. */
  const asked: string[] = [];
  const virtual = createVirtualUnits(clock, (wanted) => resident.request(wanted).done);
  const units = {
    ...virtual,
    startUnit(target: string, mode: 'replace' | 'fail') {
      asked.push(`${target.replace(/^obmc-|@0\.target$/g, '')} at ${Math.round(clock.nowMs() - beginMs)}`);
      return virtual.startUnit(target, mode);
    },
  };
  if (initially === 'on') virtual.change('obmc-start-host@0.service', 'active');
  const created = await createChassisState({
    ...{
      chassis: 0,
      resident,
      units,
      clock,
      bootId: 'boot',
      hasReset: false,
      showsPost: false,
      isAdopted: () => false,
    },
    store: createLastingFile(folder, 0),
    log: () => undefined,
    onChange: (now) => views.push(now),
  });
  state = created;
  endings.push(() => created.stop());
  for (const { atMs, forMs } of presses) {
    plant.addFault(parseFault(`panel power pressed for ${forMs}ms at ${atMs}ms`, board));
  }
  for (const fault of faults) plant.addFault(parseFault(fault, board));
  const loop = createStallingLoop(clock);
  for (const { atMs, ms } of stalls) clock.after(atMs, () => loop.stall(ms));
  const button = await openFollowedLine(
    board,
    { chassis: 0, role: PANEL_POWER, line: POWER },
    {
      gpio: async () => loop.gpio(createMockGpio(plant)),
      i2c: async () => loop.i2c(createMockI2c(plant)),
      clock: loop.clock,
    },
  );
  const journal: string[] = [];
  const told: string[] = [];
  const power = createPowerButton({
    ...{ chassis: 0, button, forceOffMs: FORCE_OFF_MS, state: created, resident, clock: loop.clock },
    log: (severity, text) => journal.push(`<${severity}>${text}`),
    onChange: (property) => told.push(property),
  });
  endings.push(() => power.stop());
  const property = (name: string) => buttonObject('power', 0, power).interfaces[0]?.properties[name];
  return { clock, plant, asked, journal, told, power, property, state: created };
}

describe('the power button of the front panel', () => {
  it('starts the host of a chassis that is off, and asks the host of one that is on to shut down', async () => {
    const { clock, asked, power, state, told } = await createPanel('off', [
      { atMs: 1_000, forMs: 150 },
      { atMs: 20_000, forMs: 150 },
    ]);
    power.begin();
    await clock.advance(10_000);
    expect(asked).toEqual(['chassis-start at 1020']);
    expect(state.view).toMatchObject({ power: 'On', host: 'Running', restartCause: 'PowerButton' });
    await clock.advance(20_000);
    expect(asked.slice(1).map((text) => text.replace(/ at .*/, ''))).toEqual(['chassis-stop']);
    expect(state.view.power).toBe('Off');
    expect(told).toEqual(Array(4).fill('ButtonPressed'));
  });

  it('switches off at once when it is held for so long, and one that began as a start does not', async () => {
    const held = await createPanel('on', [{ atMs: 1_000, forMs: 6_000 }]);
    held.power.begin();
    await held.clock.advance(30_000);
    expect(held.asked).toEqual(['chassis-stop at 1020', 'power-chassis-off at 5020']);
    await endAll();

    const started = await createPanel('off', [{ atMs: 1_000, forMs: 6_000 }]);
    started.power.begin();
    await started.clock.advance(30_000);
    expect(started.asked).toEqual(['chassis-start at 1020']);
    expect(started.state.view.power).toBe('On');
  });

  it('that is pressed when the service begins requests nothing until it is let go and pressed', async () => {
    const { clock, asked, power, property } = await createPanel('on', [
      { atMs: 0, forMs: 20_000 },
      { atMs: 30_000, forMs: 100 },
    ]);
    await clock.advance(500);
    power.begin();
    await clock.advance(15_000);
    expect(property('ButtonPressed')?.read()).toBe(true);
    expect(asked).toEqual([]);
    await clock.advance(20_000);
    expect(asked).toEqual(['chassis-stop at 30020']);
  });

  it('that is masked is shown, and requests nothing, held or not', async () => {
    const { clock, asked, power, property, journal, told } = await createPanel('on', [
      { atMs: 1_000, forMs: 6_000 },
      { atMs: 10_000, forMs: 100 },
    ]);
    power.begin();
    property('ButtonMasked')?.write?.(true);
    await clock.advance(2_000);
    expect(property('ButtonPressed')?.read()).toBe(true);
    expect(property('ButtonMasked')?.read()).toBe(true);
    await clock.advance(6_000);
    expect(asked).toEqual([]);
    expect(journal).toContain(
      '<5>chassis 0: the power button was pressed: it is masked, and requests nothing',
    );
    property('ButtonMasked')?.write?.(false);
    await clock.advance(4_000);
    expect(asked).toEqual(['chassis-stop at 10020']);
    expect(told.filter((name) => name === 'ButtonMasked')).toHaveLength(2);
  });

  it('that is masked while it is held does not switch off', async () => {
    const { clock, asked, power, property } = await createPanel('on', [{ atMs: 1_000, forMs: 9_000 }]);
    power.begin();
    await clock.advance(3_000);
    property('ButtonMasked')?.write?.(true);
    await clock.advance(20_000);
    expect(asked).toEqual(['chassis-stop at 1020']);
  });

  it('that cannot be read requests nothing, and is told once', async () => {
    const { clock, asked, power, journal } = await createPanel(
      'on',
      [{ atMs: 2_000, forMs: 6_000 }],
      [],
      ['line power-button read error for 10s at 500ms'],
    );
    power.begin();
    await clock.advance(30_000);
    expect(asked).toEqual([]);
    expect(journal.filter((text) => text.includes('requests nothing'))).toHaveLength(1);
    expect(journal.filter((text) => text.includes('can be read again'))).toHaveLength(1);
  });

  it('requests no more after it was stopped', async () => {
    const { clock, asked, power } = await createPanel('on', [{ atMs: 1_000, forMs: 8_000 }]);
    power.begin();
    await clock.advance(2_000);
    await power.stop();
    await clock.advance(20_000);
    expect(asked).toEqual(['chassis-stop at 1020']);
  });

  it('that is let go just before its time does not switch off, though its contacts still bounce', async () => {
    // Taken for pressed at 1020 ms, and its time is over at 5020 ms.
    const { clock, asked, power } = await createPanel('on', [{ atMs: 1_000, forMs: 4_010 }]);
    power.begin();
    await clock.advance(20_000);
    expect(asked).toEqual(['chassis-stop at 1020']);
  });

  it('never forces off without having been held for so long, however the process stands still', async () => {
    const press = fc.record({
      gapMs: fc.integer({ min: 60, max: 3_000 }),
      forMs: fc.oneof(fc.integer({ min: 60, max: 3_900 }), fc.integer({ min: 1, max: 15 })),
    });
    const stall = fc.record({
      atMs: fc.integer({ min: 0, max: 15_000 }),
      ms: fc.integer({ min: 51, max: 6_000 }),
    });
    await fc.assert(
      fc.asyncProperty(
        fc.array(press, { minLength: 1, maxLength: 6 }),
        fc.array(stall, { maxLength: 3 }),
        fc.constantFrom('on' as const, 'off' as const),
        async (drawn, stalls, initially) => {
          let atMs = 0;
          const presses = drawn.map(({ gapMs, forMs }) => {
            const begun = atMs + gapMs;
            atMs = begun + forMs;
            return { atMs: begun, forMs };
          });
          const { clock, asked, power } = await createPanel(initially, presses, stalls);
          power.begin();
          // Longer than a hold, after the last press and however long nobody looked.
          await clock.advance(atMs + stalls.reduce((sum, { ms }) => sum + ms, 0) + 5_000);
          expect(asked.filter((text) => text.startsWith('power-chassis-off'))).toEqual([]);
          // One request for a press, and none for one that is shorter than contacts bounce.
          const felt = presses.filter(({ forMs }) => forMs > 15).length;
          expect(asked.length).toBeLessThanOrEqual(felt);
          await clock.runUntil(endAll());
        },
      ),
      { numRuns: draws(60) },
    );
  });
});

describe('the front panel in a board file', () => {
  const withPanel = (panel: unknown) => {
    const text = JSON.stringify({
      name: 'panel',
      chassis: {
        '0': {
          rails: { P12V: { enable: { chip: '1e780000.gpio', line: 'C0' } } },
          pgood: { chip: '1e780000.gpio', line: 'B7' },
          panel,
        },
      },
    });
    return text;
  };

  it('has a power button that is held for 4 s by default', () => {
    const board = parseBoard(withPanel({ power: { chip: '1e780000.gpio', line: 'E0', active: 'low' } }));
    expect(board?.chassis['0']?.panel?.power).toMatchObject({ line: 'E0', active: 'low', forceOffMs: 4_000 });
  });

  it('may not use a line of another part', () => {
    const problems = diagnose(Buffer.from(withPanel({ power: { chip: '1e780000.gpio', line: 'B7' } })));
    expect(problems.map(({ message }) => message).join()).toMatch(/power button of the panel/);
  });
});
