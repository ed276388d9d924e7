import { describe, expect, it } from 'vitest';
import { createMockGpio } from '../../mocks/backends/gpio.ts';
import { createMockI2c } from '../../mocks/backends/i2c.ts';
import { parseFault } from '../../mocks/plant/faults.ts';
import { createPlant } from '../../mocks/plant/plant.ts';
import { createVirtualClock } from '../../mocks/virtual-clock.ts';
import { createAlarm } from '../../src/run/alarm.ts';
import { type ChassisHardware, openChassis } from '../../src/run/hardware.ts';
import { JOBS } from '../../src/run/jobs.ts';
import { runSequence } from '../../src/run/runner.ts';
import { planOf } from '../../src/sequence/plan.ts';
import { checkBoard } from '../check-board.ts';

const DEGLITCH_MS = 10;
const RAILS = ['P12V', 'P5V', 'P3V3'];

function boardOf(count: number) {
  const at = (line: number) => ({ chip: 'soc', line });
  const chassis = Object.fromEntries(
    Array.from({ length: count }, (_, number) => {
      const rails = RAILS.map((name, index) => [
        name,
        {
          enable: at(10 * number + 2 * index),
          good: at(10 * number + 2 * index + 1),
          needs: RAILS.slice(0, index).slice(-1),
        },
      ]);
      const pgood = { ...at(10 * number + 8), deglitchMs: DEGLITCH_MS };
      return [number, { rails: Object.fromEntries(rails), pgood }];
    }),
  );
  const { board, problems } = checkBoard({ name: 'many', chassis });
  if (!board) throw new TypeError(JSON.stringify(problems));
  return board;
}

/** What is done for chassis that one process watches, in its order, when each loses pgood that long after the first. */
async function lossesOf(
  laterMs: readonly number[],
  changed: (
    hardware: ChassisHardware,
    wait: (ms: number) => Promise<void>,
  ) => Partial<ChassisHardware> = () => ({}),
) {
  const board = boardOf(laterMs.length);
  const clock = createVirtualClock();
  const plant = createPlant({ board, clock, initially: 'on' });
  const alarm = createAlarm(clock);
  const done: {
    readonly what: 'drive' | 'read' | 'told' | 'lowered' | 'evidence';
    chassis: number;
    atMs: number;
  }[] = [];
  const wait = (ms: number) =>
    new Promise<void>((resolve) => {
      clock.after(ms, resolve);
    });
  const watch = async (chassis: number) => {
    const described = board.chassis[chassis];
    if (described === undefined) throw new RangeError(`no chassis ${chassis}`);
    const note = (what: (typeof done)[number]['what']) =>
      void done.push({ what, chassis, atMs: clock.nowMs() });
    const ports = { clock, gpio: async () => createMockGpio(plant), i2c: async () => createMockI2c(plant) };
    const opened = await openChassis(board, chassis, ports);
    const hardware = { ...opened, ...changed(opened, wait) };
    const { state } = await runSequence(JOBS.watch, {
      plan: planOf(described, board.devices),
      hardware: {
        ...hardware,
        without: () => Promise.reject(new Error('no part is absent')),
        async driveEnable(...args) {
          await hardware.driveEnable(...args);
          note('drive');
        },
        readGood(source) {
          // What is gone with it is looked for before the loss is believed.
          if (source !== null && done.some(({ what }) => what === 'drive')) note('read');
          return hardware.readGood(source);
        },
        async evidence(rail) {
          note('evidence');
          return hardware.evidence(rail);
        },
      },
      clock,
      alarm,
      store: { load: () => ({ hint: null, warning: null }), save: () => null },
      record: ({ type }) => (type === 'enable' ? note('told') : undefined),
      onLowered: async () => note('lowered'),
    });
    await opened.close();
    return state;
  };
  const watches = laterMs.map((_, chassis) => watch(chassis));
  const losses = laterMs.map(async (ms, chassis) => {
    await wait(50 + ms);
    plant.addFault(parseFault(`chassis ${chassis} pgood stuck off`, board));
  });
  const states = await clock.runUntil(
    Promise.all([Promise.all(watches), ...losses]).then(([first]) => first),
  );
  expect(states).toEqual(laterMs.map(() => 'failed'));
  plant.close();
  return done;
}

describe('chassis of one process that lose their power together', () => {
  it.each([
    ['in one moment', [0, 0, 0, 0]],
    ['one after the other, before the first is believed to be lost', [0, 3, 6, 9]],
  ])('%s: every enable of all is off before anything else is done for one', async (_, laterMs) => {
    const done = await lossesOf(laterMs);
    const drives = RAILS.length * laterMs.length;
    expect(done.slice(0, drives).map(({ what }) => what)).toEqual(Array(drives).fill('drive'));
    for (const what of ['read', 'told', 'lowered', 'evidence'] as const) {
      const chassis = new Set(done.flatMap((each) => (each.what === what ? [each.chassis] : [])));
      expect(chassis.size, what).toBe(laterMs.length);
    }
  });

  it('where each drive takes its time, nothing is read again or told before the last one of all', async () => {
    const slow = (hardware: ChassisHardware, wait: (ms: number) => Promise<void>) => ({
      async driveEnable(...args: Parameters<ChassisHardware['driveEnable']>) {
        await wait(25);
        return hardware.driveEnable(...args);
      },
    });
    const done = await lossesOf([0, 0, 0], slow);
    const drives = 3 * RAILS.length;
    expect(done.slice(0, drives).map(({ what }) => what)).toEqual(Array(drives).fill('drive'));
  });

  it('a drive of one that hangs keeps neither its readings nor its news for longer than 50 ms', async () => {
    const hangs = (hardware: ChassisHardware, wait: (ms: number) => Promise<void>) => ({
      async driveEnable(...args: Parameters<ChassisHardware['driveEnable']>) {
        if (args[0] === 'P12V') await wait(1_000);
        return hardware.driveEnable(...args);
      },
    });
    const done = await lossesOf([0], hangs);
    const firstMs = done.find(({ what }) => what === 'drive')?.atMs ?? Number.NaN;
    for (const what of ['read', 'told'] as const) {
      const first = done.find((each) => each.what === what)?.atMs ?? Number.NaN;
      expect(first - firstMs, what).toBeLessThanOrEqual(75);
    }
  });

  it('no longer than half a second: one whose bus hangs keeps no news of the others', async () => {
    const slow = (hardware: ChassisHardware, wait: (ms: number) => Promise<void>) => ({
      async driveEnable(...args: Parameters<ChassisHardware['driveEnable']>) {
        if (hardware.chassis === 1) await wait(2_000);
        return hardware.driveEnable(...args);
      },
    });
    const done = await lossesOf([0, 0], slow);
    const lastDriveMs =
      done.findLast(({ what, chassis }) => what === 'drive' && chassis === 0)?.atMs ?? Number.NaN;
    for (const what of ['told', 'lowered', 'evidence'] as const) {
      const first = done.find((each) => each.what === what && each.chassis === 0);
      expect((first?.atMs ?? Number.NaN) - lastDriveMs, what).toBeLessThanOrEqual(505);
    }
    expect(done.filter(({ what, chassis }) => what === 'drive' && chassis === 1)).toHaveLength(RAILS.length);
  });

  it('a pgood that only glitches holds up nobody for good', async () => {
    const clock = createVirtualClock();
    const alarm = createAlarm(clock);
    alarm.set(0, true);
    const over = alarm.over().then(() => clock.nowMs());
    alarm.set(1, true);
    alarm.set(0, false);
    clock.after(20, () => alarm.set(1, false));
    const beganMs = clock.nowMs();
    expect((await clock.runUntil(over)) - beganMs).toBe(20);
    expect(await clock.runUntil(alarm.over().then(() => clock.nowMs()))).toBe(beganMs + 20);
  });
});
