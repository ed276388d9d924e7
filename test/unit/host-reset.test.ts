/** Resets of a host that keeps its power: by a process of its own, by the service for a client, by a button of the panel. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { createMockGpio } from '../../mocks/backends/gpio.ts';
import { createMockI2c } from '../../mocks/backends/i2c.ts';
import { parseFault } from '../../mocks/plant/faults.ts';
import { createPlant } from '../../mocks/plant/plant.ts';
import { createVirtualClock, type VirtualClock } from '../../mocks/virtual-clock.ts';
import { diagnose } from '../../src/board/diagnose.ts';
import { PANEL_RESET } from '../../src/board/lines.ts';
import { runCommandLine } from '../../src/cli/main.ts';
import { openFollowedLine } from '../../src/run/followed-line.ts';
import { openChassis } from '../../src/run/hardware.ts';
import { JOBS } from '../../src/run/jobs.ts';
import { resetHost } from '../../src/run/reset-host.ts';
import { runSequence } from '../../src/run/runner.ts';
import { planOf } from '../../src/sequence/plan.ts';
import { createResetButton } from '../../src/service/front-panel.ts';
import { buttonObject } from '../../src/service/panel-objects.ts';
import { lockChassis } from '../../src/store/lock.ts';
import { createSnapshotFile } from '../../src/store/snapshot.ts';
import { draws } from '../draws.ts';
import { shippedBoard } from './bench.ts';
import { flock, lockAtOnce } from './flock.ts';
import { createHostService } from './host-service.ts';
import './load-verbs.ts';
import { startResident } from './start-resident.ts';
import { createVerbWorld } from './verb-world.ts';

// Far above what they take: the machine may be busy.
vi.setConfig({ testTimeout: 120_000 });
/** Of the board that ships: `hostReset.pulseMs`, the default. */
const PULSE_MS = 500;
const HOST = 'xyz.openbmc_project.State.Host';
const WARM = `${HOST}.Transition.ForceWarmReboot`;

let folder = '';
const endings: (() => Promise<void> | void)[] = [];
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'chassis-power-reset-'));
});
afterEach(async () => {
  await endAll();
  rmSync(folder, { recursive: true });
});
async function endAll() {
  for (const end of endings.splice(0).reverse()) await end();
}

type Plant = ReturnType<typeof createPlant>;

/** The line of the host reset, each time that it moved: `true at 20`, in ms. */
function movesOf(plant: Plant, sinceMs = 0): string[] {
  return plant.history.flatMap((event) =>
    event.type === 'line' && event.role === 'hostReset'
      ? [`${event.asserted} at ${Math.round(event.atMs - sinceMs)}`]
      : [],
  );
}

/** Everything else that was driven. */
function drivesOf(plant: Plant): string[] {
  return plant.history.flatMap((event) =>
    event.type === 'drive' && event.role !== 'hostReset' ? [event.line] : [],
  );
}

/** One process at a time on the x86 board that ships. */
function createDesk(initially: 'on' | 'off', faults: readonly string[] = []) {
  const board = shippedBoard('x86-button');
  const chassis = board.chassis['0'];
  if (chassis === undefined) throw new RangeError('no chassis 0');
  const clock = createVirtualClock();
  const plant = createPlant({
    ...{ board, clock, initially },
    faults: faults.map((text) => parseFault(text, board)),
  });
  const ports = { gpio: async () => createMockGpio(plant), i2c: async () => createMockI2c(plant), clock };
  const plan = planOf(chassis, board.devices);
  const store = createSnapshotFile(folder, 0, { bootId: 'boot', boardHash: 'hash', plan, clock });
  const reset = async (signal = new AbortController().signal) => {
    const hardware = await openChassis(board, 0, ports);
    try {
      await resetHost({ plan, hardware, clock, flock, runDir: folder, store, signal });
    } finally {
      await hardware.close();
    }
  };
  const warnings: string[] = [];
  const run = async (job: (typeof JOBS)[keyof typeof JOBS]) => {
    const hardware = await openChassis(board, 0, ports);
    const record = (entry: object) => {
      if ('message' in entry) warnings.push(String(entry.message));
    };
    const result = await clock.runUntil(runSequence(job, { plan, hardware, clock, store, record }));
    await hardware.close();
    return result.state;
  };
  return { board, clock, plant, reset, run, warnings, ports };
}

describe('a reset of the host', () => {
  it('asserts its line for pulseMs, and moves nothing else', async () => {
    const { clock, plant, reset } = createDesk('on');
    const beganMs = clock.nowMs();
    await clock.runUntil(reset());
    const [asserted, letGo, ...more] = movesOf(plant, beganMs);
    expect(more).toEqual([]);
    const at = (move = '') => Number(move.replace(/.* at /, ''));
    expect([asserted, letGo].map((move = '') => move.replace(/ at .*/, ''))).toEqual(['true', 'false']);
    expect(at(letGo) - at(asserted)).toBe(PULSE_MS);
    expect(drivesOf(plant)).toEqual([]);
  });

  it('of a chassis that is off is refused, and no line moves', async () => {
    const { clock, plant, reset } = createDesk('off');
    await expect(clock.runUntil(reset())).rejects.toMatchObject({
      code: 'REQUEST_REJECTED',
      message: 'chassis 0 is off: only the host of a chassis that is on is reset',
    });
    expect([...movesOf(plant), ...drivesOf(plant)]).toEqual([]);
  });

  it('is refused while pgood does not stand, though its loss is not believed yet, and no line moves', async () => {
    const { clock, plant, reset, run } = createDesk('on');
    expect(await run(JOBS.on)).toBe('pgood');
    plant.hold({ name: 'PS_PWROK' }, 0);
    await expect(clock.runUntil(reset())).rejects.toMatchObject({
      code: 'REQUEST_REJECTED',
      message: 'chassis 0 is losing pgood: only the host of a chassis that is on is reset',
    });
    plant.hold({ name: 'PS_PWROK' }, null);
    expect([...movesOf(plant), ...drivesOf(plant)]).toEqual([]);
    await clock.runUntil(reset());
    expect(movesOf(plant)).toHaveLength(2);
  });

  it('is refused while another process drives the chassis, and no line moves', async () => {
    const { clock, plant, reset } = createDesk('on');
    const waiting = lockAtOnce(clock);
    const lock = await clock.runUntil(lockChassis(folder, 0, 'stop', waiting));
    await expect(clock.runUntil(reset())).rejects.toMatchObject({ code: 'CHASSIS_LOCKED' });
    lock.release();
    expect(movesOf(plant)).toEqual([]);
  });

  it('that is told to end lets the line go at once, and says so', async () => {
    const { clock, plant, reset } = createDesk('on');
    const ending = new AbortController();
    const done = reset(ending.signal);
    done.catch(() => undefined);
    while (movesOf(plant).length === 0) await clock.advance(1);
    ending.abort('SIGTERM');
    await expect(clock.runUntil(done)).rejects.toMatchObject({
      code: 'INTERRUPTED',
      details: { signal: 'SIGTERM' },
    });
    const [first = '', last = ''] = movesOf(plant).map((move) => move.replace(/.* at /, ''));
    expect(Number(last) - Number(first)).toBeLessThan(PULSE_MS);
    expect(plant.lines().find(({ role }) => role === 'hostReset')?.asserted).toBe(false);
  });

  it('whose line does not follow fails, and the next one that follows ends as it should', async () => {
    const { clock, plant, reset } = createDesk('on');
    plant.hold({ name: 'RESET_OUT' }, 1);
    await expect(clock.runUntil(reset())).rejects.toMatchObject({ code: 'GPIO_NOT_FOLLOWED' });
    plant.hold({ name: 'RESET_OUT' }, null);
    expect(plant.lines().find(({ role }) => role === 'hostReset')?.asserted).toBe(false);
    await clock.runUntil(reset());
    expect(movesOf(plant)).toHaveLength(2);
  });

  it.each([
    ['on', JOBS.off, 'off'],
    ['off', JOBS.on, 'pgood'],
  ] as const)(
    'whose process was killed, of a chassis that is %s, is ended by the next command that drives',
    async (initially, job, ends) => {
      const { clock, plant, run, ports, warnings } = createDesk(initially);
      const line = await (await ports.gpio()).openOutput({ name: 'RESET_OUT' });
      await line.write(0);
      await clock.advance(5_000);
      expect(await run(job)).toBe(ends);
      expect(plant.lines().find(({ role }) => role === 'hostReset')?.asserted).toBe(false);
      expect(warnings).toContain('host reset was left asserted: let go');
    },
  );
});

it('the service resets a host after what it does with the chassis itself, and both are done', async () => {
  const board = shippedBoard('reference');
  const [described] = Object.values(board.chassis);
  const { hostReset } = shippedBoard('x86-button').chassis['0'] ?? {};
  if (described === undefined || hostReset === undefined) throw new RangeError('other boards');
  const { clock, plant, resident } = await startResident({
    ...{ runDir: folder, initially: 'on' },
    board: { ...board, chassis: { 0: { ...described, hostReset } } },
  });
  const released = resident.releaseResets([]);
  await clock.runUntil(Promise.all([released, resident.resetHost()]));
  expect(movesOf(plant)).toHaveLength(2);
  await clock.runUntil(resident.stop('end of the test'));
});

describe('chassis-power reset', () => {
  const say = async (name: string, ...args: string[]) => {
    const board = shippedBoard(name);
    const clock = createVirtualClock();
    const plant = createPlant({ board, clock, initially: 'on' });
    const path = join(folder, `${name}.json`);
    writeFileSync(path, JSON.stringify(board));
    const { world, printed } = createVerbWorld(
      { clock, gpio: async () => createMockGpio(plant), i2c: async () => createMockI2c(plant) },
      folder,
    );
    const given = ['reset', '--board', path, '--run-dir', folder, ...args];
    const code = await clock.runUntil(runCommandLine(given, world));
    return { code, ...printed(), moves: movesOf(plant), drives: drivesOf(plant) };
  };

  it('says what it did, for people and for programs', async () => {
    const text = await say('x86-button');
    expect(text).toMatchObject({ code: 0, stderr: '', drives: [] });
    expect(text.stdout).toBe('chassis 0: the host was held in reset for 500 ms, and keeps its power\n');
    expect(text.moves).toHaveLength(2);
    expect(JSON.parse((await say('x86-button', '--json')).stdout)).toEqual({
      chassis: 0,
      reset: true,
      pulseMs: PULSE_MS,
    });
  });

  it('of a board without such a line says what the board lacks, and takes no line', async () => {
    const { code, stderr, drives } = await say('reference');
    expect([code, drives]).toEqual([64, []]);
    expect(stderr).toMatch(/chassis 0 has no "hostReset" in .*reference\.json: describe the line/);
  });
});

async function createService(initially: 'on' | 'off', board = shippedBoard('x86-button'), runDir = folder) {
  const service = await createHostService(runDir, endings, initially, board);
  return { ...service, hostProperty: (name: string) => service.property(HOST, name) };
}

async function untilHeld(clock: VirtualClock, plant: Plant): Promise<void> {
  for (let left = 3_000; movesOf(plant).length === 0; left -= 1) {
    if (left === 0) throw new RangeError('the host was never held');
    await clock.advance(1);
  }
}

describe('a warm reboot that a client asks for', () => {
  it('resets the host, keeps its power, and is told as what it is', async () => {
    const { clock, plant, state, hostProperty, journal } = await createService('on');
    expect(hostProperty('AllowedHostTransitions')?.read()).toContain(WARM);
    await hostProperty('RequestedHostTransition')?.write?.(WARM);
    await untilHeld(clock, plant);
    await clock.advance(PULSE_MS + 100);
    expect(movesOf(plant).map((move) => move.replace(/ at .*/, ''))).toEqual(['true', 'false']);
    expect(drivesOf(plant)).toEqual([]);
    expect(state.view).toMatchObject({ power: 'On', host: 'Running', restartCause: 'RemoteCommand' });
    expect(hostProperty('RequestedHostTransition')?.read()).toBe(`${HOST}.Transition.On`);
    expect(journal).toContain('<5>chassis 0: the host was reset, and keeps its power');
  });

  it('is refused while the chassis is off, and where the board has no line for it', async () => {
    const off = await createService('off');
    await expect(
      (async () => off.hostProperty('RequestedHostTransition')?.write?.(WARM))(),
    ).rejects.toMatchObject({ dbusError: 'org.freedesktop.DBus.Error.Failed' });
    expect(movesOf(off.plant)).toEqual([]);
    await endAll();
    const without = await createService('on', shippedBoard('reference'));
    expect(without.hostProperty('AllowedHostTransitions')?.read()).not.toContain(WARM);
    await expect(
      (async () => without.hostProperty('RequestedHostTransition')?.write?.(WARM))(),
    ).rejects.toMatchObject({ dbusError: 'org.freedesktop.DBus.Error.NotSupported' });
  });

  it('is cut short by a power-off, which does not wait for it', async () => {
    const { clock, plant, state, resident, journal } = await createService('on');
    state.resetHost('RemoteCommand');
    await untilHeld(clock, plant);
    await clock.runUntil(resident.request('off', 'test').done);
    const [first = '', last = ''] = movesOf(plant).map((move) => move.replace(/.* at /, ''));
    expect(Number(last) - Number(first)).toBeLessThan(PULSE_MS);
    expect(resident.view.state).toBe('off');
    expect(journal.join()).toContain('the host was not reset: chassis 0: power off while the host was held');
  });

  it.each(['known', 'not known'])(
    'hides no loss of power of a chassis whose state is %s: what is left goes off, and the line is let go',
    async (known) => {
      const { board, clock, plant, state, resident, losses } = await createService(
        known === 'known' ? 'off' : 'on',
      );
      if (known === 'known') await clock.runUntil(resident.request('on', 'test').done);
      await clock.advance(1_000);
      state.resetHost('RemoteCommand');
      await untilHeld(clock, plant);
      plant.addFault(parseFault('rail HOST droops', board));
      await clock.advance(20_000);
      expect(resident.view.state).toBe('failed');
      expect(losses).toHaveLength(1);
      expect(plant.lines().find(({ role }) => role === 'hostReset')?.asserted).toBe(false);
    },
  );

  it('that a process died with is ended by the next service, and one that others hold is not', async () => {
    // No process has this number, or none that was started then.
    const dead = `pid ${2 ** 22 + 1}\n1\n`;
    for (const [holder, isHeld] of [
      [`reset, ${dead}`, false],
      [`on, ${dead}`, true],
      [`reset, pid ${process.pid}\nreleased\n`, true],
    ] as const) {
      const { clock, plant, resident } = await createService('on');
      const waiting = lockAtOnce(clock);
      (await clock.runUntil(lockChassis(folder, 0, 'on', waiting))).release();
      writeFileSync(join(folder, 'chassis0.lock', 'holder'), holder);
      const line = await createMockGpio(plant).openOutput({ name: 'RESET_OUT' });
      await line.write(0);
      resident.begin();
      await clock.advance(1_000);
      await clock.runUntil(resident.stop('end of the test'));
      expect(plant.lines().find(({ role }) => role === 'hostReset')?.asserted).toBe(isHeld);
      await endAll();
    }
  });

  it('leaves the line let go, and the power as it was asked for last, in whatever order requests come', async () => {
    const request = fc.record({
      afterMs: fc.integer({ min: 0, max: 3_000 }),
      what: fc.constantFrom('reset', 'reset', 'on', 'off' as const),
    });
    await fc.assert(
      fc.asyncProperty(
        fc.array(request, { minLength: 1, maxLength: 5 }),
        fc.boolean(),
        async (requests, isOn) => {
          // What another chassis left tells nothing of this one.
          const runDir = mkdtempSync(join(folder, 'any-'));
          const { clock, plant, state, resident } = await createService(
            isOn ? 'on' : 'off',
            undefined,
            runDir,
          );
          let wanted = isOn ? 'on' : 'off';
          for (const { afterMs, what } of requests) {
            await clock.advance(afterMs);
            if (what !== 'reset') {
              wanted = what;
              resident.request(what, 'test').done.catch(() => undefined);
              continue;
            }
            try {
              state.resetHost('RemoteCommand');
            } catch (error) {
              expect(error).toMatchObject({ code: 'REQUEST_REJECTED' });
            }
          }
          await clock.advance(120_000);
          expect(resident.view.state).toBe(wanted === 'on' ? 'pgood' : 'off');
          expect(plant.lines().find(({ role }) => role === 'hostReset')?.asserted).toBe(false);
          await clock.runUntil(endAll());
        },
      ),
      { numRuns: draws(40) },
    );
  });
});

describe('the reset button of the front panel', () => {
  async function createPanel(initially: 'on' | 'off') {
    const service = await createService(initially);
    const { board, clock, plant, state, log } = service;
    const line = board.chassis['0']?.panel?.reset;
    if (line === undefined) throw new RangeError('no reset button');
    const button = await openFollowedLine(
      board,
      { chassis: 0, role: PANEL_RESET, line },
      { gpio: async () => createMockGpio(plant), i2c: async () => createMockI2c(plant), clock },
    );
    const followed = createResetButton({ chassis: 0, button, state, clock, log, onChange: () => undefined });
    endings.push(() => followed.stop());
    followed.begin();
    // What it reads first is no press.
    await clock.advance(1);
    const press = async (forMs: number) => {
      plant.addFault(parseFault(`panel reset pressed for ${forMs}ms`, board));
      await clock.advance(forMs + 5_000);
    };
    return { ...service, press, property: buttonObject('reset', 0, followed).interfaces[0]?.properties };
  }

  it('resets a host that is on once a press, however long it is held', async () => {
    const { plant, press, state } = await createPanel('on');
    await press(150);
    expect(movesOf(plant)).toHaveLength(2);
    await press(8_000);
    expect(movesOf(plant)).toHaveLength(4);
    expect(state.view).toMatchObject({ power: 'On', restartCause: 'ResetButton' });
    expect(drivesOf(plant)).toEqual([]);
  });

  it('does nothing to a chassis that is off, nor while it is masked', async () => {
    const off = await createPanel('off');
    await off.press(150);
    expect([...movesOf(off.plant), ...drivesOf(off.plant)]).toEqual([]);
    expect(off.journal.join()).toContain(
      'the reset button was pressed: nothing is reset: chassis 0: its power is Off',
    );
    await endAll();
    const masked = await createPanel('on');
    masked.property?.ButtonMasked?.write?.(true);
    await masked.press(150);
    expect(movesOf(masked.plant)).toEqual([]);
  });
});

describe('a host reset in a board file', () => {
  const problemsOf = (chassis: object) =>
    diagnose(
      Buffer.from(
        JSON.stringify({
          name: 'reset',
          chassis: {
            '0': {
              rails: { P12V: { enable: { name: 'P12V_EN' } } },
              pgood: { name: 'PGOOD' },
              ...chassis,
            },
          },
        }),
      ),
    ).map(({ message }) => message);

  it('is needed by a reset button, and shares its line with nothing', () => {
    expect(problemsOf({ hostReset: { name: 'RESET_OUT' }, panel: { reset: { name: 'RESET_BTN' } } })).toEqual(
      [],
    );
    expect(problemsOf({ panel: { reset: { name: 'RESET_BTN' } } }).join()).toMatch(/no "hostReset"/);
    expect(problemsOf({ hostReset: { name: 'PGOOD' } }).join()).toMatch(/already/);
    expect(problemsOf({ hostReset: { name: 'RESET_OUT', pulseMs: 20_000 } })).toHaveLength(1);
  });
});
