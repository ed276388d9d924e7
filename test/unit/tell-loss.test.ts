import { beforeEach, describe, expect, it, vi } from 'vitest';
import { createVirtualClock, type VirtualClock } from '../../mocks/virtual-clock.ts';
import { planOf } from '../../src/sequence/plan.ts';
import { reconcile } from '../../src/sequence/reconcile.ts';
import type { Fault, SequenceState } from '../../src/sequence/state.ts';
import { tellOfHostOff, tellOfLoss } from '../../src/service/tell-loss.ts';
import { SystemError } from '../../src/system/errors.ts';
import type { EventLogEntry, UnitManager } from '../../src/system/ports.ts';
import { shippedBoard } from './bench.ts';

const FAULT: Fault = {
  kind: 'pgoodLost',
  rail: null,
  state: 'pgood',
  atMs: 1_000,
  reason: 'pgood was lost while the chassis was on',
  errorCode: null,
};
const TEN_MINUTES_MS = 600_000;

/** The chassis of the reference board after a loss: everything off, or one rail that still delivers. */
function lostSequence({ stuck = false, fault = FAULT } = {}): SequenceState {
  const chassis = shippedBoard('reference').chassis['0'];
  if (!chassis) throw new RangeError('no chassis 0');
  const plan = planOf(chassis, {});
  const rails = Object.fromEntries(
    plan.rails.map(({ name }) => [name, { enabled: false, good: stuck && name === 'P1V8' }]),
  );
  const { sequence } = reconcile(plan, { rails, pgood: false, resetsAsserted: {} }, null, 1_000);
  return { ...sequence, fault };
}

describe('a loss is told', () => {
  let clock: VirtualClock;
  /** In order: what reached whom. */
  let heard: string[];
  let entries: EventLogEntry[];
  let logged: string[];
  /** Of these the loss itself. */
  let failures: string[];
  let away: { systemd: boolean; eventLog: boolean };
  /** The event log can be asked for, and nobody has its name. */
  let nobodyLogs: boolean;
  /** Units of these names are not installed. */
  let notInstalled: RegExp | null;
  let active: Set<string>;
  let isStillOff: boolean;
  let jobsHang: boolean;
  /** The error that the power supply was reported to have. */
  let supplyError: string;
  /** Jobs that somebody else's request ends, and what is active then. */
  let canceled: { unit: string; leaves: string }[];
  /** What waits on a connection, and ends with it. */
  const closing: (() => void)[] = [];
  let ending: AbortController;

  beforeEach(() => {
    clock = createVirtualClock();
    heard = [];
    entries = [];
    logged = [];
    failures = [];
    away = { systemd: false, eventLog: false };
    nobodyLogs = false;
    notInstalled = null;
    active = new Set();
    isStillOff = true;
    jobsHang = false;
    supplyError = '';
    canceled = [];
    ending = new AbortController();
  });

  const unavailable = () => new SystemError('DBUS_UNAVAILABLE', 'cannot connect to the D-Bus system bus');
  const units = async (): Promise<UnitManager> => ({
    async startUnit(unit) {
      if (away.systemd) throw unavailable();
      if (notInstalled?.test(unit)) {
        throw new SystemError('SYSTEMD_FAILED', `${unit} not found`, {
          dbusError: 'org.freedesktop.systemd1.NoSuchUnit',
        });
      }
      heard.push(unit);
      if (canceled[0]?.unit === unit) {
        active.add(canceled.shift()?.leaves ?? '');
        return 'canceled';
      }
      if (unit.includes('off')) active.delete('obmc-power-chassis-on@0.target');
      if (!jobsHang) return 'done';
      return new Promise((_, reject) => {
        closing.push(() => reject(unavailable()));
      });
    },
    async unitStates(names) {
      if (away.systemd) throw unavailable();
      heard.push('asked');
      return names.map((unit) => ({
        unit,
        isKnown: true,
        activeState: active.has(unit) ? 'active' : 'inactive',
        subState: 'dead',
      }));
    },
    watchUnits: () => {
      throw new Error('not used');
    },
    reload: async () => undefined,
    async close() {
      for (const end of closing.splice(0)) end();
    },
  });
  const own = () => ({
    chassis: 0,
    units,
    clock,
    log: (severity: number, text: string) => logged.push(`<${severity}>${text}`),
    signal: ending.signal,
    isStillOff: () => isStillOff,
  });
  const tell = (options: { isOfBefore?: boolean; stuck?: boolean; fault?: Fault } = {}) =>
    tellOfLoss(
      { sequence: lostSequence(options), isOfBefore: options.isOfBefore ?? false },
      {
        ...own(),
        supplyError: () => supplyError,
        dataOf: () => ({ READ_VOUT: '0.2' }),
        eventLog: async () => ({
          async create(entry) {
            if (away.eventLog) throw unavailable();
            if (nobodyLogs) return false;
            heard.push('event log');
            entries.push(entry);
            return true;
          },
        }),
        logFailure: (severity, { message }) => failures.push(`<${severity}>${message}`),
      },
    );

  it('and a host that switched itself off to systemd alone, as a power-off', async () => {
    await clock.runUntil(tellOfHostOff(own()));
    expect(heard).toEqual(['obmc-power-chassis-off@0.target']);
    expect(logged).toEqual(['<5>chassis 0: obmc-power-chassis-off@0.target started: done']);
    expect([...entries, ...failures]).toEqual([]);
  });

  it('and such a host beside phosphor-state-manager without asking it to shut down, and without quiesce', async () => {
    notInstalled = /^obmc-power-chassis/;
    await clock.runUntil(tellOfHostOff(own()));
    expect(heard).toEqual(['obmc-chassis-hard-poweroff@0.target']);
  });

  it('and such a host again where systemd is away, or has the chassis for on after all', async () => {
    away.systemd = true;
    canceled = [{ unit: 'obmc-power-chassis-off@0.target', leaves: 'obmc-power-chassis-on@0.target' }];
    clock.after(5_000, () => {
      away.systemd = false;
    });
    await clock.runUntil(tellOfHostOff(own()));
    expect(heard).toEqual(['obmc-power-chassis-off@0.target', 'asked', 'obmc-power-chassis-off@0.target']);
    expect(logged[0]).toContain('systemd was not told that the host is off');
    expect(logged).toContainEqual(expect.stringContaining('telling systemd again'));
  });

  it('and such a host to nobody once power was asked for since', async () => {
    away.systemd = true;
    isStillOff = false;
    await clock.runUntil(tellOfHostOff(own()));
    expect(heard).toEqual([]);
  });

  it('with the name of OpenBMC for what is to blame: the power supply first, then a rail, then the loss', async () => {
    const ofRail: Fault = { ...FAULT, kind: 'railLost', rail: 'P1V8', reason: 'rail P1V8 dropped' };
    const ofBus: Fault = { ...FAULT, kind: 'hardware', rail: 'PVDDQ', errorCode: 'I2C_NO_DEVICE' };
    const PSU = 'xyz.openbmc_project.Power.PowerSupply.Error.PSKillFault';
    for (const [fault, supply, expected] of [
      [FAULT, '', 'xyz.openbmc_project.Power.Error.Shutdown'],
      [ofBus, '', 'xyz.openbmc_project.Power.Error.Shutdown'],
      [FAULT, PSU, PSU],
      [ofRail, '', 'xyz.openbmc_project.Power.Error.PowerSequencerVoltageFault'],
      [ofRail, PSU, PSU],
      [{ ...ofRail, kind: 'railStray' }, PSU, 'xyz.openbmc_project.Power.Error.PowerSequencerVoltageFault'],
      [ofBus, PSU, 'xyz.openbmc_project.Power.Error.Shutdown'],
    ] as const) {
      entries = [];
      supplyError = supply;
      await clock.runUntil(tell({ fault }));
      expect(entries.map(({ name }) => name)).toEqual([expected]);
      expect(entries[0]?.data.READ_VOUT).toBe('0.2');
    }
  });

  it('to the event log, then to systemd', async () => {
    await clock.runUntil(tell());
    expect(heard).toEqual(['event log', 'obmc-power-chassis-off@0.target', 'obmc-quiesce-host@0.target']);
    expect(entries).toMatchObject([
      {
        name: 'xyz.openbmc_project.Power.Error.Shutdown',
        severity: 'Critical',
        data: {
          CHASSIS_NUMBER: '0',
          REASON: `${FAULT.reason}; the power was taken down`,
          POWER_STILL_APPLIED: 'false',
        },
      },
    ]);
    expect(failures).toEqual([`<3>chassis 0: ${FAULT.reason}; the power was taken down`]);
  });

  it('with power that could not be taken down leads to quiesce alone', async () => {
    await clock.runUntil(tell({ stuck: true }));
    expect(heard).toEqual(['event log', 'obmc-quiesce-host@0.target']);
    expect(entries[0]?.data.POWER_STILL_APPLIED).toBe('true');
    expect(entries[0]?.data.REASON).toMatch(/; POWER IS STILL APPLIED \(rail P1V8 is good\): /);
    expect(failures).toHaveLength(1);
    expect(failures[0]).toMatch(/^<2>chassis 0: .*POWER IS STILL APPLIED \(rail P1V8 is good\): /);
  });

  it.each([false, true])(
    'beside phosphor-state-manager never leads to quiesce (power stuck: %s)',
    async (stuck) => {
      notInstalled = /^obmc-(power-chassis|quiesce-host)/;
      await clock.runUntil(tell({ stuck }));
      expect(heard).toEqual(['event log', 'obmc-chassis-hard-poweroff@0.target']);
    },
  );

  it('to an event log that is only restarting, once, also when power was asked for since', async () => {
    nobodyLogs = true;
    await clock.runUntil(tell());
    // Systemd does not wait for it, and neither does whoever waits for the end of this.
    expect(heard).toEqual(['obmc-power-chassis-off@0.target', 'obmc-quiesce-host@0.target']);
    isStillOff = false;
    await clock.runUntil(new Promise<void>((resolve) => clock.after(60_000, resolve)));
    nobodyLogs = false;
    await clock.runUntil(new Promise<void>((resolve) => clock.after(600_000, resolve)));
    expect(entries).toHaveLength(1);
    expect(logged.filter((line) => line.includes('event log'))).toEqual([
      expect.stringMatching(
        /^<6>chassis 0: nobody is the event log: .*Shutdown is kept for it for 10 minutes$/,
      ),
    ]);
  });

  it('to a systemd that is away for minutes, once it is back, and the event log waits for none of it', async () => {
    away.systemd = true;
    const telling = tell();
    clock.after(300_000, () => {
      away.systemd = false;
    });
    await clock.runUntil(telling);
    expect(heard).toEqual(['event log', 'obmc-power-chassis-off@0.target', 'obmc-quiesce-host@0.target']);
    // 15 s is the longest wait between two tries.
    expect(clock.nowMs()).toBeLessThan(1_000 + 300_000 + 15_000);
    expect(logged.filter((line) => line.includes('systemd was not told'))).toEqual([
      '<3>chassis 0: systemd was not told of the loss: cannot connect to the D-Bus system bus: trying again for 10 minutes',
    ]);
  });

  it('to systemd though the event log cannot be reached, which hears of it later', async () => {
    away.eventLog = true;
    const telling = tell();
    clock.after(60_000, () => {
      away.eventLog = false;
    });
    await clock.runUntil(telling);
    expect(heard).toEqual(['obmc-power-chassis-off@0.target', 'obmc-quiesce-host@0.target', 'event log']);
  });

  it('to nobody for ever: it is given up after ten minutes, and that is said', async () => {
    away.systemd = true;
    await clock.runUntil(tell());
    expect(clock.nowMs()).toBeGreaterThanOrEqual(1_000 + TEN_MINUTES_MS);
    expect(clock.nowMs()).toBeLessThan(1_000 + TEN_MINUTES_MS + 30_000);
    expect(logged.at(-1)).toMatch(/^<3>chassis 0: systemd was not told of the loss: .*: given up$/);
  });

  it('to nobody when power was asked for since: the chassis that is on again stays on', async () => {
    away.systemd = true;
    const telling = tell();
    clock.after(60_000, () => {
      away.systemd = false;
      isStillOff = false;
    });
    await clock.runUntil(telling);
    expect(heard).toEqual(['event log']);
    expect(logged.at(-1)).toMatch(/^<4>chassis 0: power was asked for since/);
  });

  it('to nobody once the service ends', async () => {
    away.systemd = true;
    const telling = tell();
    clock.after(60_000, () => ending.abort('SIGTERM'));
    await clock.runUntil(telling);
    expect(clock.nowMs()).toBe(1_000 + 60_000);
    expect(heard).toEqual(['event log']);
  });

  it('to systemd without waiting for the end of its jobs once the service ends', async () => {
    jobsHang = true;
    const telling = tell();
    clock.after(60_000, () => ending.abort('SIGTERM'));
    await clock.runUntil(telling);
    expect(clock.nowMs()).toBe(1_000 + 60_000);
    expect(heard).toEqual(['event log', 'obmc-power-chassis-off@0.target', 'obmc-quiesce-host@0.target']);
    expect(logged).toEqual([]);
  });

  it('of as many chassis as a board has, without a warning of Node', async () => {
    const warned = vi.fn();
    process.on('warning', warned);
    const told = Array.from({ length: 100 }, () => tell());
    await clock.runUntil(Promise.all(told));
    process.off('warning', warned);
    expect(warned).not.toHaveBeenCalled();
    expect(failures).toHaveLength(100);
  });

  it('again where a power-on request ended the power-off, and systemd has the chassis for on', async () => {
    const [off, on] = ['obmc-power-chassis-off@0.target', 'obmc-power-chassis-on@0.target'];
    canceled = [
      { unit: off, leaves: on },
      { unit: off, leaves: on },
    ];
    await clock.runUntil(tell());
    const quiesce = 'obmc-quiesce-host@0.target';
    expect(heard.filter((each) => each !== 'asked')).toEqual([
      'event log',
      ...[off, quiesce, off, quiesce, off, quiesce],
    ]);
    expect(active.has(on)).toBe(false);
    expect(failures).toHaveLength(1);
  });

  it('no more where the power-on request that ended the power-off has reached the chassis', async () => {
    const [off, on] = ['obmc-power-chassis-off@0.target', 'obmc-power-chassis-on@0.target'];
    canceled = [{ unit: off, leaves: on }];
    const telling = tell();
    isStillOff = false;
    await clock.runUntil(telling);
    expect(heard.filter((each) => each === off)).toHaveLength(1);
    expect(active.has(on)).toBe(true);
  });

  it('once more when a service died over it and systemd still has the chassis for on', async () => {
    active.add('obmc-power-chassis-on@0.target');
    await clock.runUntil(tell({ isOfBefore: true }));
    expect(heard).toEqual([
      'asked',
      'event log',
      'obmc-power-chassis-off@0.target',
      'obmc-quiesce-host@0.target',
    ]);
    expect(failures).toHaveLength(1);
  });

  it('not once more when systemd knows', async () => {
    await clock.runUntil(tell({ isOfBefore: true }));
    expect(heard).toEqual(['asked']);
    expect(failures).toEqual([]);
  });
});
