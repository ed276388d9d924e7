import { existsSync, mkdirSync, mkdtempSync, renameSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { CodedError } from '../../hw/errors.ts';
import type { Clock } from '../../hw/ports.ts';
import { pause } from '../../hw/waiting.ts';
import { createMockGpio } from '../../mocks/backends/gpio.ts';
import { createMockI2c } from '../../mocks/backends/i2c.ts';
import { parseFault } from '../../mocks/plant/faults.ts';
import { lineKey } from '../../mocks/plant/line-key.ts';
import { createPlant } from '../../mocks/plant/plant.ts';
import { createVirtualClock } from '../../mocks/virtual-clock.ts';
import { createAlarm } from '../../src/run/alarm.ts';
import { openChassis } from '../../src/run/hardware.ts';
import { JOBS } from '../../src/run/jobs.ts';
import type { Recorded } from '../../src/run/record.ts';
import { runSequence } from '../../src/run/runner.ts';
import { planOf } from '../../src/sequence/plan.ts';
import { powerSeen } from '../../src/sequence/state.ts';
import {
  type ChassisView,
  createResident,
  type Loss,
  type Resident,
  type ResidentRun,
} from '../../src/service/resident.ts';
import { isLocked, lockChassis } from '../../src/store/lock.ts';
import { snapshotPath } from '../../src/store/paths.ts';
import { createSnapshotFile } from '../../src/store/snapshot.ts';
import { fewer, sampled } from '../draws.ts';
import { shippedBoard } from './bench.ts';
import { pgoodLine } from './boards.ts';
import { flock, lockAtOnce } from './flock.ts';
import { startResident } from './start-resident.ts';

const IDENTITY = { bootId: 'boot', boardHash: 'hash' };
/** hw/boards/reference.json. */
const DEGLITCH_MS = 5;

let runDir = '';
const residents: Resident[] = [];
beforeEach(() => {
  runDir = mkdtempSync(join(tmpdir(), 'chassis-power-resident-'));
});
afterEach(async () => {
  for (const resident of residents.splice(0)) await resident.stop('end of the test');
  rmSync(runDir, { recursive: true });
});

/** A process that drove the chassis before the resident came, and was killed in the middle of it. */
interface Dead {
  readonly job: keyof typeof JOBS;
  readonly holder: string;
  readonly afterMs: number;
  /** Comes at `FAULT_AT_MS`. */
  readonly fault?: string;
}
const FAULT_AT_MS = 100;
/** RestartSec= of the service. */
const RESTART_MS = 2_000;

async function createCare(initially: 'off' | 'on', dead?: Dead, board = shippedBoard('reference')) {
  const chassis = board.chassis['0'];
  if (!chassis) throw new RangeError('no chassis 0');
  const plan = planOf(chassis, board.devices);
  const clock = createVirtualClock();
  /** Timers that the resident set and that neither ran nor were cancelled. */
  const timers = new Set<symbol>();
  const counted: Clock = {
    nowMs: () => clock.nowMs(),
    wallTime: () => clock.wallTime(),
    after(delayMs, run) {
      const timer = Symbol();
      timers.add(timer);
      const cancel = clock.after(delayMs, () => {
        timers.delete(timer);
        run();
      });
      return () => {
        timers.delete(timer);
        cancel();
      };
    },
  };
  const plant = createPlant({ board, clock, initially });
  const ports = { gpio: async () => createMockGpio(plant), i2c: async () => createMockI2c(plant), clock };
  const pass = (ms: number) =>
    clock.runUntil(
      new Promise<void>((resolve) => {
        clock.after(ms, resolve);
      }),
    );
  const openStore = () => createSnapshotFile(runDir, 0, { ...IDENTITY, plan, clock });
  if (dead !== undefined) {
    const killed = new AbortController();
    const signal = new AbortController().signal;
    const run = async () => {
      const hardware = await openChassis(board, 0, ports);
      const lock = await lockChassis(runDir, 0, dead.holder, {
        clock,
        flock,
        waitMs: 0,
        signal,
        onWait: () => undefined,
      });
      const options = { plan, hardware, clock, store: openStore(), record: () => undefined };
      // Somebody powered it on, which leaves the state file.
      if (initially === 'on') await runSequence(JOBS.on, options);
      const { fault } = dead;
      if (fault !== undefined) clock.after(FAULT_AT_MS, () => plant.addFault(parseFault(fault, board)));
      clock.after(dead.afterMs, () => killed.abort('killed'));
      // Abandoned, a run leaves the lines at once, as one that is killed.
      await runSequence(JOBS[dead.job], { ...options, abandon: killed.signal }).catch(() => undefined);
      lock.release();
      await hardware.close();
    };
    await clock.runUntil(run());
    await pass(RESTART_MS);
  }
  const views: ChassisView[] = [];
  const losses: Loss[] = [];
  const lockedAtLoss: boolean[] = [];
  const failures: { readonly wanted: string; readonly code: string }[] = [];
  const runs: ResidentRun[] = [];
  let atLoss: () => Promise<void> = async () => undefined;
  const recording: Recorded[] = [];
  let supplyError = '';
  const resident = await clock.runUntil(
    (async () =>
      createResident({
        chassis: 0,
        alarm: createAlarm(clock),
        plan,
        hardware: await openChassis(board, 0, ports),
        clock: counted,
        flock,
        runDir,
        identity: IDENTITY,
        record: (entry) => recording.push(entry),
        supplyError: () => supplyError,
        onChange: (now) => views.push(now),
        onLoss: async (loss) => {
          losses.push(loss);
          lockedAtLoss.push(await isLocked(runDir, 0, { clock, flock }));
          await atLoss();
        },
        onHostOff: async () => undefined,
        onRunOver: (run) => void runs.push(run),
        onRequestFailed: async (wanted, error) => {
          failures.push({ wanted, code: error instanceof CodedError ? error.code : String(error) });
        },
      }))(),
  );
  residents.push(resident);
  return {
    clock,
    plant,
    resident,
    timers,
    views,
    losses,
    failures,
    runs,
    lockedAtLoss,
    supplyFails(name: string) {
      supplyError = name;
    },
    whenLost: (then: () => Promise<void>) => {
      atLoss = then;
    },
    recording,
    store: openStore(),
    /** As another process does it. */
    runBeside: async (job: 'on' | 'off') => {
      const run = async () => {
        const hardware = await openChassis(board, 0, ports);
        const options = lockAtOnce(clock);
        const lock = await lockChassis(runDir, 0, job, options);
        await runSequence(JOBS[job], { plan, hardware, clock, store: openStore(), record: () => undefined });
        lock.release();
        await hardware.close();
      };
      await clock.runUntil(run());
    },
    pass,
    breakIt: (fault: string) => plant.addFault(parseFault(fault, board)),
    /** Another program gives the pgood line back and takes it for itself, until the faults are cleared. */
    takePgood: () => {
      plant.pins.get(lineKey(pgoodLine(board)) ?? '')?.free();
      plant.addFault(parseFault('line pgood busy', board));
    },
    warnings: () => recording.flatMap((entry) => (entry.type === 'warning' ? [entry.message] : [])),
    driven: () =>
      plant.lines().flatMap(({ role, line, changes }) => (role === 'enable' ? [`${line} ${changes}`] : [])),
    changes: () => plant.lines().map(({ line, changes }) => `${line} ${changes}`),
    enabled: () => plant.lines().filter(({ role, asserted }) => role === 'enable' && asserted).length,
  };
}

describe('a resident', () => {
  it('touches no line when it takes a chassis into care', async () => {
    for (const initially of ['off', 'on'] as const) {
      const care = await createCare(initially);
      const before = care.changes();
      await care.pass(10_000);
      expect(care.changes()).toEqual(before);
      expect(care.resident.view).toMatchObject({
        state: initially === 'on' ? 'pgood' : 'off',
        pgood: initially === 'on',
        wanted: initially,
      });
    }
  });

  it('writes down that a chassis is on of which no state file tells, for the process that comes after it', async () => {
    const care = await createCare('on');
    await care.pass(1_000);
    const { hint } = care.store.load();
    expect(hint?.state).toBe('pgood');
    expect(hint?.sequence.rails.P12V).toMatchObject({ enabled: true, phase: 'up' });
    await care.clock.runUntil(care.resident.stop('SIGTERM'));
    expect(await isLocked(runDir, 0, { clock: care.clock, flock })).toBe(false);
  });

  it('acts on a loss that comes while it writes down that the chassis is on, and leaves what is true then', async () => {
    const clock = createVirtualClock();
    const losses: Loss[] = [];
    const { resident, plant } = await startResident({
      ...{ runDir, clock, initially: 'on' },
      // It has the chassis for some time, and finds it on before the loss.
      flock: async (...asked) => {
        const answer = await flock(...asked);
        await pause(clock, 300);
        return answer;
      },
      onLoss: async (loss) => void losses.push(loss),
    });
    residents.push(resident);
    expect(existsSync(snapshotPath(runDir, 0))).toBe(false);
    plant.addFault(parseFault('rail P12V droops', shippedBoard('reference')));
    await clock.advance(250);
    const isOn = ({ role, asserted }: ReturnType<typeof plant.lines>[number]) =>
      role === 'enable' && asserted;
    expect(plant.lines().filter(isOn)).toEqual([]);
    await clock.advance(5_000);
    expect(losses).toMatchObject([{ isOfBefore: false }]);
    expect(resident.view).toMatchObject({ state: 'failed', pgood: false });
  });

  it('writes nothing of a chassis that is off, or that is none of its business', async () => {
    const off = await createCare('off');
    await off.pass(1_000);
    expect(existsSync(snapshotPath(runDir, 0))).toBe(false);
    const held = await lockChassis(runDir, 0, 'on', lockAtOnce(off.clock));
    const driven = await createCare('on');
    await driven.pass(1_000);
    expect(existsSync(snapshotPath(runDir, 0))).toBe(false);
    expect(driven.warnings()).toEqual([]);
    held.release();
  });

  it('powers on and off, and shows it', async () => {
    const care = await createCare('off');
    await care.clock.runUntil(care.resident.request('on').done);
    expect(care.views.map(({ state, pgood }) => `${state} ${pgood}`)).toEqual([
      'opPowerStart false',
      'opWaitPowerOn false',
      'pgood true',
    ]);
    await care.clock.runUntil(care.resident.request('off').done);
    expect(care.resident.view).toMatchObject({ state: 'off', pgood: false, wanted: 'off' });
    expect(care.enabled()).toBe(0);
    expect(care.plant.hazards).toEqual([]);
  });

  it('leaves no timer behind when it is stopped: the process would not end before it', async () => {
    const care = await createCare('off');
    await care.clock.runUntil(care.resident.request('on').done);
    await care.clock.runUntil(care.resident.stop('SIGTERM'));
    expect(care.timers.size).toBe(0);
  });

  it('gives two that ask for the same the same operation, and lets a power off go before a power on', async () => {
    const care = await createCare('off');
    const on = care.resident.request('on');
    expect(care.resident.request('on')).toBe(on);
    const refused = expect(on.done).rejects.toMatchObject({ code: 'INTERRUPTED' });
    await care.pass(150);
    expect(care.enabled()).toBeGreaterThan(0);
    await care.clock.runUntil(care.resident.request('off').done);
    await refused;
    expect(care.enabled()).toBe(0);
    expect(care.resident.view).toMatchObject({ state: 'off', wanted: 'off' });
  });

  it('says why a power on failed', async () => {
    const care = await createCare('off');
    care.breakIt('rail P1V8 never good');
    await expect(care.clock.runUntil(care.resident.request('on').done)).rejects.toMatchObject({
      code: 'RAIL_FAULT',
      details: { powerStillApplied: false },
    });
    expect(care.resident.view).toMatchObject({ state: 'failed', fault: expect.stringMatching(/P1V8/) });
  });
});

describe('a request that failed', () => {
  it('is told once, however many asked for it', async () => {
    const care = await createCare('off');
    care.breakIt('rail P1V8 never good');
    const first = care.resident.request('on', 'somebody').done;
    const second = care.resident.request('on', 'somebody else').done;
    await expect(care.clock.runUntil(first)).rejects.toMatchObject({ code: 'RAIL_FAULT' });
    await expect(second).rejects.toMatchObject({ code: 'RAIL_FAULT' });
    expect(care.failures).toEqual([{ wanted: 'on', code: 'RAIL_FAULT' }]);
    expect(care.losses).toEqual([]);
    expect(care.runs).toMatchObject([
      { asked: 'power on', by: 'somebody', ended: 'failed', error: { code: 'RAIL_FAULT' } },
    ]);
  });

  it('is told of a power off as well, and a request that worked is not', async () => {
    const care = await createCare('off');
    await care.clock.runUntil(care.resident.request('on').done);
    expect(care.failures).toEqual([]);
    care.breakIt('rail P1V8 slow off 60000ms');
    await expect(care.clock.runUntil(care.resident.request('off').done)).rejects.toMatchObject({
      code: 'POWER_OFF_TIMEOUT',
    });
    expect(care.failures).toEqual([{ wanted: 'off', code: 'POWER_OFF_TIMEOUT' }]);
  });
});

describe('a loss of power', () => {
  it('switches every enable off in reverse order, without a wait between them', async () => {
    const care = await createCare('on');
    await care.pass(1_000);
    const fromMs = care.clock.nowMs();
    care.breakIt('pgood stuck off');
    await care.pass(10_000);
    const dropped = care.plant.history.flatMap((event) =>
      event.type === 'line' && event.role === 'enable' && !event.asserted ? [event] : [],
    );
    expect(dropped.map(({ rail }) => rail)).toEqual(['PVCORE', 'PVDDQ', 'P1V8', 'P3V3', 'P5V', 'P12V']);
    // Nothing but the de-glitch time passes; a transfer to the PMBus regulator takes none on the plant.
    expect(dropped.map(({ atMs }) => Math.round(atMs - fromMs))).toEqual(dropped.map(() => DEGLITCH_MS));
    expect(care.losses).toMatchObject([{ isOfBefore: false, sequence: { fault: { kind: 'pgoodLost' } } }]);
    // The run of the watch, for the black box: with the fault, and whoever told of it first.
    expect(care.runs).toMatchObject([
      { asked: 'watch', by: 'the service itself', ended: 'failed', error: { code: 'PGOOD_LOST' } },
    ]);
    expect(care.runs[0]?.entries.map(({ type }) => type)).toEqual(
      expect.arrayContaining(['reconciled', 'fault', 'evidence']),
    );
    expect(care.resident.view).toMatchObject({ state: 'failed', pgood: false, wanted: 'off' });
    expect(care.store.load().hint?.state).toBe('failed');
    // The stages of the power-off target, which is started then, must get the lock.
    expect(care.lockedAtLoss).toEqual([false]);
  });

  it('that is a glitch shorter than the board allows is none', async () => {
    const care = await createCare('on');
    const before = care.changes();
    care.breakIt('pgood glitch 3ms');
    await care.pass(1_000);
    expect(care.changes().filter((line) => !before.includes(line))).toHaveLength(1);
    expect(care.losses).toEqual([]);
    expect(care.views).toEqual([]);
  });

  it('that another process commanded is none', async () => {
    const care = await createCare('on');
    await care.pass(100);
    // As a oneshot does it: the state is written before the first enable goes.
    const hint = { ...care.store.load() }.hint;
    const sequence = hint?.sequence ?? (await seenBy(care));
    care.store.save('opPowerStop', sequence);
    care.breakIt('pgood stuck off');
    await care.pass(1_000);
    expect(care.losses).toEqual([]);
    expect(care.enabled()).toBe(6);
  });

  it('that comes while another process holds the chassis without a state file is left to it', async () => {
    const care = await createCare('on');
    await care.pass(1_000);
    rmSync(snapshotPath(runDir, 0));
    const held = await lockChassis(runDir, 0, 'stop', {
      clock: care.clock,
      flock,
      waitMs: 0,
      signal: new AbortController().signal,
      onWait: () => undefined,
    });
    care.breakIt('pgood stuck off');
    await care.pass(200);
    expect(care.losses).toEqual([]);
    expect(care.enabled()).toBe(6);
    held.release();
  });

  it('is told where another process had found the chassis on, and wrote so', async () => {
    const care = await createCare('off');
    await care.clock.runUntil(care.resident.request('on').done);
    await care.runBeside('on');
    await care.pass(1_000);
    care.breakIt('rail P12V droops');
    await care.pass(5_000);
    expect(care.enabled()).toBe(0);
    expect(care.losses).toMatchObject([{ isOfBefore: false }]);
    expect(care.store.load().hint?.state).toBe('failed');
    expect(care.resident.view).toMatchObject({ state: 'failed', pgood: false });
  });

  it('is over where another process has powered the chassis on again before the last of it was off', async () => {
    const care = await createCare('off');
    await care.clock.runUntil(care.resident.request('on').done);
    // The bus holds up the enables that are behind it for a second, and answers others in between.
    care.breakIt('i2c vr_ddr hang 1 times');
    care.breakIt('rail P12V droops for 20ms');
    await care.pass(100);
    expect(care.enabled()).toBeGreaterThan(0);
    expect(care.store.load().hint?.state).toBe('fault');
    // The first one finishes what it finds, and the second one powers on.
    await care.runBeside('on');
    await care.runBeside('on');
    await care.pass(5_000);
    expect(care.store.load().hint?.state).toBe('pgood');
    expect(care.resident.view).toMatchObject({ state: 'pgood', pgood: true, wanted: 'on' });
    expect(care.losses).toEqual([]);
    // It is watched over again.
    care.breakIt('rail P12V droops');
    await care.pass(5_000);
    expect(care.enabled()).toBe(0);
    expect(care.losses).toHaveLength(1);
  });

  it('is told without holding anything up: a request that comes of it is served', async () => {
    const care = await createCare('on');
    let served: Promise<void> | undefined;
    care.whenLost(() => {
      // As a unit that is started for the loss asks for power off, and its starter waits for it.
      served = care.resident.request('off').done;
      return served;
    });
    care.breakIt('pgood stuck off');
    await care.pass(10_000);
    await expect(served).resolves.toBeUndefined();
  });

  it('is blamed on a power supply that was reported to have failed', async () => {
    const care = await createCare('on');
    care.supplyFails('PSKillFault');
    care.breakIt('pgood stuck off');
    await care.pass(10_000);
    expect(care.losses.map(({ sequence }) => sequence.fault?.diagnosis)).toMatchObject([
      { rail: null, cause: 'supply', because: expect.stringMatching(/^it is reported to have PSKillFault/) },
    ]);
  });

  it('after which power on works again', async () => {
    const care = await createCare('on');
    care.breakIt('pgood stuck off');
    await care.pass(10_000);
    care.plant.clearFaults();
    await care.clock.runUntil(care.resident.request('on').done);
    expect(care.resident.view).toMatchObject({ state: 'pgood', fault: null });
    // And is watched over again.
    care.breakIt('pgood stuck off');
    await care.pass(10_000);
    expect(care.losses).toHaveLength(2);
  });
});

describe('a pgood line that another program takes and holds', () => {
  const held = /^pgood: GPIO line B7 of 1e780000\.gpio is held by /;

  it.each(['on', 'off'] as const)(
    'is told while the chassis is %s, and pgood is shown as it was read last',
    async (initially) => {
      const care = await createCare(initially);
      const isOn = initially === 'on';
      care.takePgood();
      await care.pass(20_000);
      expect(care.resident.view).toMatchObject({ pgood: isOn, fault: expect.stringMatching(held) });
      const [told, ...more] = care.warnings();
      expect(told).toMatch(
        new RegExp(
          `^pgood is shown as it was read last, ${isOn ? 'asserted' : 'not asserted'}: it cannot be read: pgood: `,
        ),
      );
      expect(more).toEqual([]);

      care.plant.clearFaults();
      await care.pass(10_000);
      expect(care.resident.view).toMatchObject({ state: isOn ? 'pgood' : 'off', pgood: isOn, fault: null });
      expect(care.warnings().slice(1)).toEqual(['pgood can be read again']);
      expect(care.enabled()).toBe(isOn ? 6 : 0);
    },
  );

  it('hides no rail that drops meanwhile', async () => {
    const care = await createCare('on');
    care.takePgood();
    await care.pass(5_000);
    care.breakIt('rail P12V shorts');
    await care.pass(1_000);
    expect(care.enabled()).toBe(0);
    // Told when nothing is left to be waited for: pgood, which cannot be read, has its whole time.
    await care.pass(20_000);
    expect(care.losses.map(({ sequence }) => sequence.fault?.kind)).toEqual(['railLost']);
  });

  it('is judged as soon as it is let go: a loss that nobody could see is acted on', async () => {
    const care = await createCare('on');
    care.takePgood();
    await care.pass(5_000);
    care.breakIt('pgood stuck off');
    await care.pass(5_000);
    expect(care.resident.view).toMatchObject({ state: 'pgood', pgood: true });
    care.plant.clearFaults();
    care.breakIt('pgood stuck off');
    await care.pass(2_000);
    expect(care.enabled()).toBe(0);
    expect(care.resident.view).toMatchObject({ state: 'failed', pgood: false });
    expect(care.losses).toHaveLength(1);
  });

  it.each(['left there', 'gone'])(
    'keeps a watch from being begun again, which is told once and not twice a second: state file %s',
    async (file) => {
      const care = await createCare('on');
      await care.runBeside('on');
      const { hint } = care.store.load();
      if (hint === null) throw new RangeError('no state file');
      // Another process begins, which ends the watch, and leaves the chassis as it was.
      care.store.save('opPowerStop', hint.sequence);
      care.takePgood();
      await care.pass(3_000);
      care.store.save('pgood', hint.sequence);
      await care.pass(1_000);
      if (file === 'gone') rmSync(snapshotPath(runDir, 0));
      await care.pass(fewer(60_000, 10_000));
      const told = care.warnings();
      expect(told.filter((text) => text.startsWith('the watch ended'))).toHaveLength(1);
      expect(told).toHaveLength(new Set(told).size);

      care.plant.clearFaults();
      await care.pass(5_000);
      care.breakIt('pgood stuck off');
      await care.pass(2_000);
      expect(care.enabled()).toBe(0);
    },
  );
});

describe('a run directory that is replaced', () => {
  it.each([
    ['moved away', () => renameSync(runDir, `${runDir}.old`)],
    ['removed', () => rmSync(runDir, { recursive: true })],
  ])('(%s) leaves the service not blind: it shows what others do, and acts on a loss', async (_, replace) => {
    const care = await createCare('off');
    await care.pass(100);
    replace();
    mkdirSync(runDir);
    await care.runBeside('on');
    await care.pass(1_500);
    expect(care.resident.view).toMatchObject({ state: 'pgood', pgood: true, wanted: 'on' });
    care.breakIt('pgood stuck off');
    await care.pass(1_000);
    expect(care.losses).toMatchObject([{ isOfBefore: false }]);
    expect(care.enabled()).toBe(0);
    rmSync(`${runDir}.old`, { recursive: true, force: true });
  });
});

describe('what a service that died left half done', () => {
  const KILLED_IN_RISE: Dead = { job: 'on', holder: 'serve', afterMs: 150 };

  it('is finished when this process is the service, and not before', async () => {
    const care = await createCare('off', KILLED_IN_RISE);
    expect(care.enabled()).toBeGreaterThan(0);
    expect(care.enabled()).toBeLessThan(6);
    const before = care.driven();
    await care.pass(1_000);
    expect(care.driven()).toEqual(before);

    care.resident.begin();
    await care.pass(5_000);
    expect(care.enabled()).toBe(0);
    expect(care.resident.view).toMatchObject({ state: 'off', wanted: 'off' });
    expect(care.recording).toContainEqual(
      expect.objectContaining({
        type: 'warning',
        message: expect.stringMatching(/left the chassis half powered/),
      }),
    );
    expect(care.losses).toEqual([]);
    expect(care.plant.hazards).toEqual([]);
  });

  it('on the way down goes on down', async () => {
    const care = await createCare('on', { job: 'off', holder: 'serve', afterMs: 2 });
    expect(care.enabled()).toBeGreaterThan(0);
    expect(care.enabled()).toBeLessThan(6);
    care.resident.begin();
    await care.pass(5_000);
    expect(care.enabled()).toBe(0);
    expect(care.resident.view.state).toBe('off');
  });

  it.each([
    ['on', 'off', undefined, 900],
    ['off', 'on', undefined, 600],
    ['watch', 'on', 'pgood stuck off', FAULT_AT_MS + 600],
  ] as const)(
    'is finished whenever it died in its job "%s"',
    async (job, initially, fault, untilMs) => {
      const ends = new Set<string>();
      const times = Array.from({ length: Math.floor(untilMs / 19) + 1 }, (_, index) => index * 19);
      for (const afterMs of sampled(times, 9)) {
        const care = await createCare(initially, { job, holder: 'serve', afterMs, ...(fault && { fault }) });
        care.resident.begin();
        await care.pass(3_000);
        const { state } = care.resident.view;
        expect(care.enabled(), `${state} after ${afterMs} ms`).toBe(state === 'pgood' ? 6 : 0);
        expect(care.plant.hazards, `after ${afterMs} ms`).toEqual([]);
        // Died before the loss, it left a chassis that the next one watches over, and loses.
        if (job === 'watch') {
          expect(care.losses, `after ${afterMs} ms`).toMatchObject([
            { isOfBefore: afterMs > FAULT_AT_MS + DEGLITCH_MS },
          ]);
        }
        ends.add(state);
        await care.resident.stop('end of the test');
        rmSync(runDir, { recursive: true });
        mkdirSync(runDir);
      }
      // On where the job had ended on, and never in between.
      const expected = { on: ['off', 'pgood'], off: ['off'], watch: ['failed'] }[job];
      expect([...ends].sort()).toEqual(expected);
    },
    60_000,
  );

  it('goes on where power is good by now, and a loss is acted on', async () => {
    const board = shippedBoard('reference');
    const chassis = board.chassis['0'];
    if (!chassis) throw new RangeError('no chassis 0');
    // Released by the power-on that was killed, a reset would tell the same.
    const withoutResets = { ...board, chassis: { 0: { ...chassis, resets: {} } } };
    // The last enable is on after 202 ms, and pgood is good before the service lives again.
    const dead = { job: 'on', holder: 'serve', afterMs: 205 } as const;
    const care = await createCare('off', dead, withoutResets);
    expect(care.store.load().hint?.state).toBe('opWaitPowerOn');
    const before = care.driven();
    care.resident.begin();
    await care.pass(60_000);
    expect(care.driven()).toEqual(before);
    expect(care.resident.view).toMatchObject({ state: 'pgood', pgood: true, wanted: 'on' });
    care.breakIt('rail P12V droops');
    await care.pass(5_000);
    expect(care.enabled()).toBe(0);
    expect(care.resident.view).toMatchObject({ state: 'failed', pgood: false });
    expect(care.losses).toMatchObject([{ isOfBefore: false }]);
  });

  it('gives way to a request that comes first', async () => {
    const care = await createCare('off', KILLED_IN_RISE);
    const { done } = care.resident.request('on');
    care.resident.begin();
    await care.clock.runUntil(done);
    expect(care.resident.view).toMatchObject({ state: 'pgood', wanted: 'on' });
  });

  it('is left alone where a oneshot left it: the next stage, or the unit that follows its failure, goes on', async () => {
    const care = await createCare('off', { ...KILLED_IN_RISE, holder: 'start' });
    const before = care.driven();
    care.resident.begin();
    await care.pass(5_000);
    expect(care.driven()).toEqual(before);
  });

  it('after a loss is finished, and the loss is told as one of before', async () => {
    const care = await createCare('on', {
      ...{ job: 'watch', holder: 'start', fault: 'pgood stuck off' },
      // The first enables are off, and the fall of the rails is awaited.
      afterMs: FAULT_AT_MS + DEGLITCH_MS + 1,
    });
    expect(care.store.load().hint?.state).toBe('fault');
    care.resident.begin();
    await care.pass(10_000);
    expect(care.enabled()).toBe(0);
    expect(care.resident.view.state).toBe('failed');
    expect(care.losses).toMatchObject([{ isOfBefore: true, sequence: { fault: { kind: 'pgoodLost' } } }]);
    // What was on when it died is not told as on.
    expect(care.losses.map(({ sequence }) => powerSeen(sequence))).toEqual([false]);
  });

  it('is a loss that was handled and perhaps not told: it is told as one of before', async () => {
    const care = await createCare('on', {
      ...{ job: 'watch', holder: 'start', fault: 'pgood stuck off', afterMs: 10_000 },
    });
    expect(care.resident.view.state).toBe('failed');
    care.resident.begin();
    await care.pass(10_000);
    expect(care.losses).toMatchObject([{ isOfBefore: true }]);
  });
});

/** The sequence of a chassis that is on, as the one who runs it would have saved it. */
async function seenBy(care: Awaited<ReturnType<typeof createCare>>) {
  await care.clock.runUntil(care.resident.request('on').done);
  const { hint } = care.store.load();
  if (!hint) throw new TypeError('a power on leaves its state');
  return hint.sequence;
}
