/** Resets that stay asserted when the chassis comes on, until the host shows how far it is. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { lineKey } from '../../hw/lines.ts';
import type { LineRef } from '../../hw/ports.ts';
import { createMockGpio } from '../../mocks/backends/gpio.ts';
import { createMockI2c } from '../../mocks/backends/i2c.ts';
import { parseFault } from '../../mocks/plant/faults.ts';
import { createPlant } from '../../mocks/plant/plant.ts';
import { createVirtualClock } from '../../mocks/virtual-clock.ts';
import { heldResetsOf } from '../../src/cli/verbs/serve-resets.ts';
import { createAlarm } from '../../src/run/alarm.ts';
import { openChassis } from '../../src/run/hardware.ts';
import type { Recorded } from '../../src/run/record.ts';
import { releaseResets } from '../../src/run/release-resets.ts';
import { planOf } from '../../src/sequence/plan.ts';
import { reconcile } from '../../src/sequence/reconcile.ts';
import type { HeldResets } from '../../src/service/held-resets.ts';
import { lockChassis } from '../../src/store/lock.ts';
import { createSnapshotFile } from '../../src/store/snapshot.ts';
import { checkBoard } from '../check-board.ts';
import { draws } from '../draws.ts';
import { flock } from './flock.ts';
import { startResident } from './start-resident.ts';

// Far above what they take: the machine may be busy.
vi.setConfig({ testTimeout: 120_000 });

let folder = '';
const endings: (() => Promise<void> | void)[] = [];
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'chassis-power-held-'));
});
afterEach(async () => {
  await endAll();
  rmSync(folder, { recursive: true });
});
async function endAll() {
  for (const end of endings.splice(0).reverse()) await end();
}

const CHIP = 'soc';
const at = (line: number) => ({ chip: CHIP, line });
const POST: LineRef = at(20);
const PLTRST: LineRef = at(21);
const TIMEOUT_MS = 5_000;

/** Two rails, a reset of the CPU that the sequence releases, and two that wait for the host. */
function heldBoard(delayMs = 0) {
  const { board, problems } = checkBoard({
    name: 'held',
    chassis: {
      0: {
        rails: {
          A: { enable: at(0), good: at(1) },
          B: { enable: at(2), good: at(3), needs: ['A'] },
        },
        pgood: { ...at(4), deglitchMs: 5 },
        resets: {
          CPU: at(10),
          PCI: {
            ...at(11),
            releaseDelayMs: delayMs,
            heldUntil: { signal: 'postComplete', timeoutMs: TIMEOUT_MS },
          },
          SLOT: { ...at(12), active: 'low', heldUntil: { signal: 'platformReset' } },
        },
        hostSignals: { postComplete: POST, platformReset: PLTRST },
      },
    },
  });
  if (!board) throw new TypeError(JSON.stringify(problems));
  return board;
}

type Plant = ReturnType<typeof createPlant>;

const NAMES: Readonly<Record<string, string>> = {
  [lineKey(at(10))]: 'CPU',
  [lineKey(at(11))]: 'PCI',
  [lineKey(at(12))]: 'SLOT',
};

/** Resets that are released. */
function releasedIn(plant: Plant): (string | undefined)[] {
  return plant
    .lines()
    .flatMap(({ role, line, asserted }) => (role === 'reset' && !asserted ? [NAMES[line]] : []));
}

/** The service, with a host that is in reset and has not done its work. */
async function createService(initially: 'on' | 'off', delayMs = 0, runDir = folder) {
  const board = heldBoard(delayMs);
  let held: HeldResets | null = null;
  const losses: unknown[] = [];
  const { clock, plant, resident } = await startResident({
    ...{ runDir, initially, board },
    onChange: () => held?.powerChanged(),
    onLoss: async (loss) => void losses.push(loss),
  });
  endings.push(() => resident.stop('end of the test'));
  const journal: string[] = [];
  const log = (severity: number, text: string) => void journal.push(`<${severity}>${text}`);
  const ports = { gpio: async () => createMockGpio(plant), i2c: async () => createMockI2c(plant), clock };
  const follow = async () => {
    held = await heldResetsOf(0, resident, board, ports, log);
    const last = held;
    endings.push(() => last?.stop());
    resident.begin();
    held?.begin();
    await clock.advance(100);
  };
  plant.hold(PLTRST, 1);
  const say = async (line: LineRef, level: 0 | 1, forMs = 100) => {
    plant.hold(line, level);
    await clock.advance(forMs);
  };
  const power = async (wanted: 'on' | 'off') => {
    await clock.runUntil(resident.request(wanted, 'test').done);
    await clock.advance(100);
  };
  return {
    ...{ board, clock, plant, resident, journal, losses, follow, say, power },
    released: () => releasedIn(plant),
    stopHeld: () => held?.stop(),
  };
}

describe('a reset that waits for the host', () => {
  it('stays asserted when the chassis is on, and is released with the signal', async () => {
    const { follow, power, say, released, resident, journal, plant } = await createService('off');
    await follow();
    await power('on');
    expect([resident.view.state, released()]).toEqual(['pgood', ['CPU']]);
    await say(PLTRST, 0);
    expect(released()).toEqual(['CPU', 'SLOT']);
    await say(POST, 1);
    expect(released()).toEqual(['CPU', 'PCI', 'SLOT']);
    // A host that restarts by itself is not held again.
    await say(POST, 0);
    await say(PLTRST, 1);
    expect(released()).toEqual(['CPU', 'PCI', 'SLOT']);
    expect(journal).toEqual([
      '<5>chassis 0: reset SLOT was released: the platform reset is let go',
      '<5>chassis 0: reset PCI was released: POST complete is asserted',
    ]);
    await power('off');
    expect(released()).toEqual([]);
    expect(plant.hazards).toEqual([]);
  });

  it('is held anew with each power-on', async () => {
    const { follow, power, say, released, plant } = await createService('off');
    await follow();
    for (let round = 0; round < 2; round += 1) {
      await say(POST, 0);
      await power('on');
      expect(released()).toEqual(['CPU']);
      await say(POST, 1);
      expect(released()).toEqual(['CPU', 'PCI']);
      await power('off');
    }
    expect(plant.hazards).toEqual([]);
  });

  it('is not released by a signal of a chassis that is not on, and by one that stays at once', async () => {
    const { follow, power, say, released } = await createService('off');
    await follow();
    await say(POST, 1, 5_000);
    expect(released()).toEqual([]);
    await power('on');
    expect(released()).toEqual(['CPU', 'PCI']);
  });

  it('is told of when the signal does not come, and released all the same when it does', async () => {
    const { follow, power, say, released, clock, journal, resident } = await createService('off');
    await follow();
    await power('on');
    await clock.advance(TIMEOUT_MS - 200);
    expect(journal).toEqual([]);
    await clock.advance(200);
    expect(journal).toEqual([
      `<4>chassis 0: reset PCI is still held after ${TIMEOUT_MS} ms: it waits until POST complete is asserted`,
    ]);
    await clock.advance(60_000);
    expect([resident.view.state, released(), journal.length]).toEqual(['pgood', ['CPU'], 1]);
    await say(POST, 1);
    expect(released()).toEqual(['CPU', 'PCI']);
  });

  it('is released that long after the signal as the board says, and not by one that goes meanwhile', async () => {
    const { follow, power, say, released } = await createService('off', 300);
    await follow();
    await power('on');
    await say(POST, 1, 200);
    await say(POST, 0, 2_000);
    expect(released()).toEqual(['CPU']);
    await say(POST, 1, 300);
    expect(released()).toEqual(['CPU']);
    await say(POST, 1, 50);
    expect(released()).toEqual(['CPU', 'PCI']);
  });

  it('is not released by a signal that has gone again, though nobody believes that yet', async () => {
    const { follow, power, say, released } = await createService('off', 100);
    await follow();
    await power('on');
    await say(POST, 1, 115);
    await say(POST, 0, 3_000);
    expect(released()).toEqual(['CPU']);
  });

  it('is asserted with the others when power is lost, released or not', async () => {
    for (const isReleased of [true, false]) {
      const { follow, power, say, released, plant, board, resident, losses, clock } = await createService(
        'off',
        0,
        mkdtempSync(join(folder, 'loss-')),
      );
      await follow();
      await power('on');
      if (isReleased) await say(POST, 1);
      plant.addFault(parseFault('rail B shorts', board));
      await clock.advance(5_000);
      expect([resident.view.state, losses.length, released()]).toEqual(['failed', 1, []]);
      await endAll();
    }
  });

  it('contradicts nothing where the service is started again over a chassis that is on', async () => {
    const { follow, power, say, released, stopHeld, resident, clock } = await createService('off');
    await follow();
    await power('on');
    await stopHeld();
    await say(POST, 1, 2_000);
    expect([resident.view.state, released()]).toEqual(['pgood', ['CPU']]);
    await follow();
    await clock.advance(1_000);
    expect(released()).toEqual(['CPU', 'PCI']);
  });

  it('waits for another process that drives the chassis, and for a signal that can be read', async () => {
    const { follow, power, say, released, clock, plant, board, journal } = await createService('off');
    await follow();
    await power('on');
    const lock = await clock.runUntil(
      lockChassis(folder, 0, 'a test', {
        clock,
        flock,
        waitMs: 0,
        signal: new AbortController().signal,
        onWait: () => undefined,
      }),
    );
    await say(POST, 1, 3_000);
    expect([released(), journal]).toEqual([['CPU'], []]);
    lock.release();
    plant.addFault(parseFault('gpio read error for 2s', board));
    await clock.advance(1_500);
    expect(released()).toEqual(['CPU']);
    await clock.advance(4_000);
    expect(released()).toEqual(['CPU', 'PCI']);
  });

  it('is not released while a level has dropped that nobody believes yet', async () => {
    const { follow, power, clock, plant, resident, released } = await createService('off');
    await follow();
    await power('on');
    for (const line of [at(4), at(3)]) {
      plant.hold(line, 0);
      const left = resident.releaseResets(['PCI']).catch(({ code }: { code: string }) => code);
      expect(['REQUEST_REJECTED', 'PCI']).toContain(String(await clock.runUntil(left)));
      plant.hold(line, null);
      await clock.advance(1_000);
      expect([resident.view.state, released()]).toEqual(['pgood', ['CPU']]);
    }
    expect(await clock.runUntil(resident.releaseResets(['PCI', 'SLOT']))).toEqual([]);
    expect(released()).toEqual(['CPU', 'PCI', 'SLOT']);
  });

  it('that cannot be released is told once, and tried again', async () => {
    const { follow, power, say, released, clock, plant, journal } = await createService('off');
    await follow();
    await power('on');
    plant.hold(at(11), 1);
    await say(POST, 1, 4_000);
    expect(released()).toEqual(['CPU']);
    expect(journal.filter((line) => line.startsWith('<3>chassis 0: reset PCI is still held: '))).toHaveLength(
      1,
    );
    plant.hold(at(11), null);
    await clock.advance(2_000);
    expect(released()).toEqual(['CPU', 'PCI']);
  });

  it('is never released without power, whenever signals, losses and power-offs come', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(
          fc.record({
            what: fc.constantFrom('post', 'unpost', 'reset', 'unreset', 'die', 'off', 'on'),
            afterMs: fc.oneof(fc.nat(60), fc.nat(3_000)),
          }),
          { maxLength: 8 },
        ),
        fc.constantFrom(0, 0, 7, 100),
        async (steps, delayMs) => {
          const runDir = mkdtempSync(join(folder, 'any-'));
          const { follow, plant, board, clock, resident, released } = await createService(
            'off',
            delayMs,
            runDir,
          );
          await follow();
          const asked: Promise<unknown>[] = [resident.request('on').done.catch(() => undefined)];
          for (const { what, afterMs } of steps) {
            await clock.advance(afterMs);
            if (what === 'post') plant.hold(POST, 1);
            else if (what === 'unpost') plant.hold(POST, 0);
            else if (what === 'reset') plant.hold(PLTRST, 1);
            else if (what === 'unreset') plant.hold(PLTRST, 0);
            else if (what === 'die') plant.addFault(parseFault('rail A shorts for 500ms', board));
            else asked.push(resident.request(what).done.catch(() => undefined));
          }
          plant.hold(POST, 1);
          plant.hold(PLTRST, 0);
          await clock.runUntil(Promise.all(asked));
          await clock.advance(20_000);
          const { state } = resident.view;
          expect(released()).toEqual(state === 'pgood' ? ['CPU', 'PCI', 'SLOT'] : []);
          // Enables go on and off at one moment where no time passes.
          expect(plant.hazards.filter(({ kind }) => kind !== 'enableGlitch')).toEqual([]);
          await endAll();
        },
      ),
      { numRuns: draws(60) },
    );
  });
});

describe('a release', () => {
  const RELEASED: Recorded[] = [];

  /** Of a chassis that nobody watches. */
  async function release(
    mayRelease: () => boolean,
    prepare: (plant: Plant) => void = () => undefined,
    names: readonly string[] = ['PCI', 'SLOT'],
  ) {
    const board = heldBoard();
    const chassis = board.chassis['0'];
    if (chassis === undefined) throw new RangeError('no chassis 0');
    const clock = createVirtualClock();
    const plant = createPlant({ board, clock, initially: 'on' });
    const plan = planOf(chassis, board.devices);
    const store = createSnapshotFile(folder, 0, { bootId: 'boot', boardHash: 'hash', plan, clock });
    const ports = { gpio: async () => createMockGpio(plant), i2c: async () => createMockI2c(plant), clock };
    const work = async () => {
      const hardware = await openChassis(board, 0, ports);
      endings.push(() => hardware.close());
      for (const reset of ['PCI', 'SLOT']) await hardware.driveReset(reset, true);
      plant.hold(POST, 1);
      const { observation } = await hardware.observe();
      const { sequence } = reconcile(plan, observation, null, clock.nowMs());
      store.save('pgood', sequence);
      prepare(plant);
      const record = (entry: Recorded) => void RELEASED.push(entry);
      return releaseResets(names, { plan, hardware, clock, store, record, mayRelease });
    };
    const left = await clock.runUntil(work());
    return { left, released: releasedIn(plant) };
  }

  it('is of what the caller names, in that order', async () => {
    RELEASED.length = 0;
    expect(await release(() => true)).toEqual({ left: [], released: ['CPU', 'PCI', 'SLOT'] });
    const released = { type: 'reset', asserted: false, atMs: expect.any(Number) };
    expect(RELEASED).toEqual([
      { ...released, reset: 'PCI' },
      { ...released, reset: 'SLOT' },
    ]);
  });

  it('of one that is released already is done, and drives nothing', async () => {
    RELEASED.length = 0;
    expect(await release(() => true, undefined, ['CPU', 'PCI'])).toEqual({
      left: [],
      released: ['CPU', 'PCI'],
    });
    expect(RELEASED).toMatchObject([{ reset: 'PCI' }]);
  });

  it('is not while something is not good, believed or not', async () => {
    const dropped = (line: LineRef) =>
      release(
        () => true,
        (plant) => plant.hold(line, 0),
      );
    expect(await dropped(at(3))).toEqual({ left: ['PCI', 'SLOT'], released: ['CPU'] });
    RELEASED.length = 0;
    await expect(dropped(at(4))).rejects.toMatchObject({
      code: 'REQUEST_REJECTED',
      message: 'chassis 0 is losing pgood: only a chassis that is on has resets released',
      details: { chassis: 0, state: 'pgood' },
    });
    expect(RELEASED).toEqual([]);
  });

  it('ends where power may be going', async () => {
    let times = 0;
    const once = () => {
      times += 1;
      return times === 1;
    };
    expect(await release(once)).toEqual({ left: ['SLOT'], released: ['CPU', 'PCI'] });
  });

  it('may not be once there was an alarm of its chassis', () => {
    const alarm = createAlarm(createVirtualClock());
    const calmFirst = alarm.calmSince(0);
    alarm.set(1, true);
    expect(calmFirst()).toBe(true);
    alarm.set(0, true);
    const calmDuring = alarm.calmSince(0);
    alarm.set(0, true);
    alarm.set(0, false);
    expect([calmFirst(), calmDuring(), alarm.calmSince(0)()]).toEqual([false, false, true]);
  });
});

describe('a board whose resets wait for the host', () => {
  it('is refused where it does not describe the signal', () => {
    const board = JSON.parse(JSON.stringify(heldBoard())) as { chassis: { 0: { hostSignals?: object } } };
    board.chassis[0].hostSignals = { platformReset: PLTRST };
    const { problems } = checkBoard(board);
    expect(problems).toMatchObject([
      {
        path: 'chassis.0.resets.PCI.heldUntil.signal',
        message: expect.stringContaining('waits for "postComplete", which "hostSignals" does not describe'),
      },
    ]);
  });
});
