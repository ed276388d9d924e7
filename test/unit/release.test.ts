import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { HardwareError } from '../../hw/errors.ts';
import { createExportRecord } from '../../hw/gpio/exports.ts';
import { createMockGpio } from '../../mocks/backends/gpio.ts';
import { createMockI2c } from '../../mocks/backends/i2c.ts';
import { parseFault } from '../../mocks/plant/faults.ts';
import { createPlant } from '../../mocks/plant/plant.ts';
import { createVirtualClock } from '../../mocks/virtual-clock.ts';
import { openChassis } from '../../src/run/hardware.ts';
import { JOBS } from '../../src/run/jobs.ts';
import { type ReleaseOptions, releaseChassis } from '../../src/run/release.ts';
import { runSequence } from '../../src/run/runner.ts';
import { planOf } from '../../src/sequence/plan.ts';
import { lastHolder, lockChassis } from '../../src/store/lock.ts';
import { createSnapshotFile } from '../../src/store/snapshot.ts';
import { watchChassis } from '../../src/store/watch-lock.ts';
import { shippedBoard } from './bench.ts';
import { flock } from './flock.ts';

const board = shippedBoard('reference');
const NEVER = new AbortController().signal;

let runDir = '';
beforeEach(() => {
  runDir = mkdtempSync(join(tmpdir(), 'chassis-power-release-'));
});
afterEach(() => rmSync(runDir, { recursive: true }));

function stage(initially: 'off' | 'on' = 'off') {
  const chassis = board.chassis['0'];
  if (!chassis) throw new RangeError('no chassis 0');
  const plan = planOf(chassis, board.devices);
  const clock = createVirtualClock();
  const plant = createPlant({ board, clock, initially });
  // Each command is a process of its own.
  const ports = () => {
    const gpio = createMockGpio(plant);
    return { gpio: async () => gpio, i2c: async () => createMockI2c(plant), clock };
  };
  const store = () => createSnapshotFile(runDir, 0, { bootId: 'boot', boardHash: 'hash', plan, clock });
  const run = (job: keyof typeof JOBS) =>
    clock.runUntil(
      (async () => {
        const hardware = await openChassis(board, 0, ports(), { whatCanBeHad: job === 'off' });
        try {
          return await runSequence(JOBS[job], {
            plan,
            hardware,
            clock,
            store: store(),
            record: () => undefined,
          });
        } finally {
          await hardware.close();
        }
      })(),
    );
  const options = (all = false): ReleaseOptions => {
    return { board, chassis: 0, plan, ports: ports(), flock, runDir, store: store(), signal: NEVER, all };
  };
  const release = (all = false) => clock.runUntil(releaseChassis(options(all)));
  const taken = () => [...plant.pins.values()].filter(({ takenBy }) => takenBy !== null).length;
  const changes = () => plant.lines().map(({ line, level, direction }) => `${line} ${level} ${direction}`);
  const lock = { clock, flock, waitMs: 0, signal: NEVER, onWait: () => undefined };
  return { clock, plant, run, options, release, taken, changes, lock };
}

/** Nothing was given back, and no line changed. */
async function expectRefused(given: ReturnType<typeof stage>, code: string, words: RegExp): Promise<void> {
  const before = [given.taken(), given.changes()];
  await expect(given.release()).rejects.toMatchObject({ code, message: expect.stringMatching(words) });
  expect([given.taken(), given.changes()]).toEqual(before);
}

describe('the lines of a chassis', () => {
  it('that is off are all given back, and once they are there is nothing to give', async () => {
    const given = stage();
    await given.run('on');
    await given.run('off');
    const count = given.taken();
    expect(count).toBeGreaterThan(10);
    expect((await given.release()).released).toHaveLength(count);
    expect(given.taken()).toBe(0);
    expect(await given.release()).toEqual({ released: [], kept: [] });
    expect(given.taken()).toBe(0);
    expect(given.plant.hazards).toEqual([]);
    // And can be had again.
    expect((await given.run('on')).state).toBe('pgood');
  });

  it('that is on stay, with their levels', async () => {
    const given = stage();
    await given.run('on');
    await expectRefused(given, 'REQUEST_REJECTED', /^chassis 0 is pgood: .*power it off first$/);
  });

  it('that stands half way, or is fed from elsewhere, stay', async () => {
    const half = stage();
    await half.run('start');
    await expectRefused(half, 'REQUEST_REJECTED', /^chassis 0 is op/);
    const fed = stage();
    await fed.run('on');
    await fed.run('off');
    fed.plant.addFault(parseFault('good P1V8 stuck on', board));
    await expectRefused(fed, 'REQUEST_REJECTED', /^chassis 0 is /);
  });

  it('of which one cannot be read or had stay', async () => {
    const given = stage();
    await given.run('on');
    await given.run('off');
    given.plant.addFault(parseFault('line pgood read error', board));
    await expectRefused(given, 'GPIO_FAILED', /pgood/);
    given.plant.clearFaults();
    given.plant.addFault(parseFault('line rail P1V8 good busy', board));
    await expectRefused(given, 'GPIO_BUSY', /P1V8/);
  });

  it('that somebody drives stay', async () => {
    const given = stage();
    await given.run('off');
    const held = await given.clock.runUntil(lockChassis(runDir, 0, 'start', given.lock));
    await expectRefused(given, 'CHASSIS_LOCKED', /driven by another process \(start, pid/);
    held.release();
    await given.release();
    expect(given.taken()).toBe(0);
  });

  it('that the resident service watches stay', async () => {
    const given = stage();
    await given.run('off');
    const watch = await given.clock.runUntil(watchChassis(runDir, 0, 'serve', given.lock));
    await expectRefused(given, 'CHASSIS_WATCHED', /watched by another process \(serve, pid .*systemctl stop/);
    watch.release();
    await given.release();
    expect(given.taken()).toBe(0);
  });

  it('that failed and is without power are given back', async () => {
    const given = stage();
    given.plant.addFault(parseFault('rail P1V8 never good', board));
    expect((await given.run('on')).state).toBe('failed');
    await given.release();
    expect(given.taken()).toBe(0);
  });

  it('that another program took stay with it, unless all are asked for', async () => {
    const given = stage();
    const [first] = given.plant.pins.values();
    if (first === undefined) throw new RangeError('no pin');
    first.takenBy = 'foreign';
    await given.run('off');
    const { released, kept } = await given.release();
    expect(kept).toHaveLength(1);
    expect(released.length).toBeGreaterThan(10);
    expect(given.taken()).toBe(1);
    await given.release(true);
    expect(given.taken()).toBe(0);
  });
});

describe('giving back', () => {
  it('is refused while a chassis that failed still has power', async () => {
    const given = stage('on');
    given.plant.addFault(parseFault('pgood stuck on', board));
    expect((await given.run('off')).state).toBe('failed');
    await expectRefused(given, 'REQUEST_REJECTED', /^chassis 0 is failed: /);
    await expect(given.release()).rejects.toMatchObject({ details: { chassis: 0, state: 'failed' } });
  });

  it('what nobody took takes no line and no lock, also when the lines of others are asked for', async () => {
    const given = stage();
    const before = given.changes();
    for (const all of [false, true]) expect(await given.release(all)).toEqual({ released: [], kept: [] });
    expect(given.taken()).toBe(0);
    expect(given.changes()).toEqual(before);
    expect(readdirSync(runDir)).toEqual([]);
  });

  it('is told to who asks who drives and who watches the chassis', async () => {
    const given = stage();
    await given.run('off');
    await given.release();
    for (const dir of [runDir, join(runDir, 'watched')]) {
      expect(await given.clock.runUntil(lastHolder(dir, 0, { clock: given.clock, flock }))).toBe('release');
    }
  });

  it('leaves the lines of another chassis alone', async () => {
    const given = stage();
    await given.run('off');
    const other = structuredClone(board);
    const { '0': chassis } = other.chassis;
    if (chassis === undefined) throw new RangeError('no chassis 0');
    // Another board file for the same machine: of chassis 0 it has pgood alone, and chassis 1 has all the others.
    other.chassis['1'] = { ...chassis, pgood: { ...chassis.pgood, chip: '1e780000.gpio', line: 'Z7' } };
    other.chassis['0'] = { ...chassis, rails: {}, resets: {}, evidence: [] };
    const own = planOf(other.chassis['0'], other.devices);
    const count = given.taken();
    const { released } = await given.clock.runUntil(
      releaseChassis({ ...given.options(), board: other, plan: own }),
    );
    expect(released.map(({ role }) => role)).toEqual(['pgood']);
    expect(given.taken()).toBe(count - 1);
  });

  it('is refused where a line of the board is not there', async () => {
    const given = stage();
    await given.run('off');
    const count = given.taken();
    const missing = new HardwareError('GPIO_NO_LINE', 'no such line', {});
    const { ports, ...options } = given.options();
    const gpio = await ports.gpio();
    const blind = {
      ...gpio,
      locate: async (refs: Parameters<typeof gpio.locate>[0]) => [
        missing,
        ...(await gpio.locate(refs)).slice(1),
      ],
    };
    await expect(
      given.clock.runUntil(releaseChassis({ ...options, ports: { ...ports, gpio: async () => blind } })),
    ).rejects.toBe(missing);
    expect(given.taken()).toBe(count);
  });
});

describe('the record of exports', () => {
  it('knows an export again, and no other of the same line', () => {
    const record = createExportRecord(join(runDir, 'exported'));
    expect(record.has(832, '17')).toBe(false);
    record.add(832, '17');
    expect([record.has(832, '17'), record.has(832, '18'), record.has(833, '17')]).toEqual([
      true,
      false,
      false,
    ]);
    createExportRecord(join(runDir, 'exported')).remove(832);
    expect(record.has(832, '17')).toBe(false);
  });

  it('without a place to be kept knows nothing, and holds nobody up', () => {
    writeFileSync(join(runDir, 'file'), '');
    const record = createExportRecord(join(runDir, 'file', 'exported'));
    record.add(832, '17');
    expect(record.has(832, '17')).toBe(false);
    record.remove(832);
  });
});
