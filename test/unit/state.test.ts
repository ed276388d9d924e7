import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { parseFault } from '../../mocks/plant/faults.ts';
import { createVirtualClock } from '../../mocks/virtual-clock.ts';
import type { State } from '../../src/sequence/state.ts';
import {
  type ChassisState,
  createChassisState,
  type HostTransition,
  type PowerState,
  type PowerTransition,
  type StateView,
} from '../../src/service/host-state.ts';
import type { ChassisView } from '../../src/service/resident.ts';
import { stateChanges, stateNames, stateObjects } from '../../src/service/state-objects.ts';
import {
  createLastingFile,
  type LastingState,
  lastingPath,
  NOTHING_LASTING,
  type RestorePolicy,
} from '../../src/store/lasting.ts';
import { DbusReplyError } from '../../src/system/errors.ts';
import type { ServedProperty } from '../../src/system/ports.ts';
import { sampled } from '../draws.ts';
import { startResident } from './start-resident.ts';
import { createVirtualUnits } from './virtual-units.ts';

const MINUTE_MS = 60_000;
const HOUR_MS = 60 * MINUTE_MS;
const CHASSIS = 'xyz.openbmc_project.State.Chassis';
const HOST = 'xyz.openbmc_project.State.Host';
const RESTORE = 'xyz.openbmc_project.Control.Power.RestorePolicy';
const HOST_UNIT = 'obmc-start-host@0.service';
const QUIESCE = 'obmc-quiesce-host@0.target';
const CHASSIS_PATH = '/xyz/openbmc_project/state/chassis0';
const HOST_PATH = '/xyz/openbmc_project/state/host0';
const POLICY_PATH = '/xyz/openbmc_project/control/host0/power_restore_policy';

let folder = '';
const endings: (() => Promise<void> | void)[] = [];
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'chassis-power-state-'));
});
afterEach(async () => {
  for (const end of endings.splice(0).reverse()) await end();
  rmSync(folder, { recursive: true });
});

interface Setup {
  readonly initially?: 'off' | 'on';
  readonly lasting?: Partial<LastingState>;
  readonly bootId?: string;
  readonly isAdopted?: boolean;
}

/** The state of a simulated chassis, with a resident and a systemd over it. */
async function createBmc({ initially = 'off', lasting, bootId = 'boot', isAdopted = false }: Setup = {}) {
  const store = createLastingFile(folder, 0);
  if (lasting) store.save({ ...NOTHING_LASTING, ...lasting });
  const journal: string[] = [];
  const views: StateView[] = [];
  let state: ChassisState | undefined;
  const { board, clock, plant, resident } = await startResident({
    runDir: folder,
    initially,
    identity: { bootId, boardHash: 'hash' },
    onChange: () => state?.powerChanged(),
  });
  endings.push(() => resident.stop('end of the test'));
  const units = createVirtualUnits(clock, (wanted) => resident.request(wanted).done);
  if (initially === 'on') units.change(HOST_UNIT, 'active');
  const begin = async () => {
    const created = await createChassisState({
      chassis: 0,
      resident,
      units,
      clock,
      store: createLastingFile(folder, 0),
      hasReset: board.chassis['0']?.hostReset !== undefined,
      showsPost: false,
      bootId,
      isAdopted: () => isAdopted,
      log: (severity, text) => journal.push(`<${severity}>${text}`),
      onChange: (now) => views.push(now),
    });
    endings.push(() => created.stop());
    state = created;
    return created;
  };
  const first = await begin();
  return {
    clock,
    plant,
    units,
    journal,
    views,
    resident,
    get state() {
      return state ?? first;
    },
    pass: (ms: number) => clock.advance(ms),
    breakIt: (fault: string) => plant.addFault(parseFault(fault, board)),
    targets: () => units.started.map(({ target }) => target.replace(/^obmc-|@0\.target$/g, '')),
    /** As the service restarts: what was under way is forgotten, what lasts is read again. */
    restart: async () => {
      state?.stop();
      return begin();
    },
    shown: () => {
      const { power, host, requestedPower, requestedHost } = (state ?? first).view;
      return `${power} ${requestedPower}, ${host} ${requestedHost}`;
    },
    kept: () => createLastingFile(folder, 0).load().state,
  };
}

/** The same with a resident that is only said to be somewhere. */
async function createSaid(initial: Partial<ChassisView> = {}) {
  const clock = createVirtualClock();
  const units = createVirtualUnits(clock, async () => undefined);
  let view: ChassisView = { state: 'off', pgood: false, wanted: 'off', fault: null, ...initial };
  const views: StateView[] = [];
  const begin = async () => {
    const begun = await createChassisState({
      chassis: 0,
      resident: {
        get view() {
          return view;
        },
        resetHost: async () => undefined,
      },
      hasReset: false,
      showsPost: false,
      units,
      clock,
      store: createLastingFile(folder, 0),
      bootId: 'boot',
      isAdopted: () => false,
      log: () => undefined,
      onChange: (now) => views.push(now),
    });
    endings.push(() => begun.stop());
    return begun;
  };
  let state = await begin();
  return {
    clock,
    units,
    views,
    get state() {
      return state;
    },
    async restart() {
      state.stop();
      state = await begin();
    },
    kept: () => createLastingFile(folder, 0).load().state,
    say(next: Partial<ChassisView>) {
      view = { ...view, ...next };
      state.powerChanged();
    },
  };
}

describe('CurrentPowerState', () => {
  const cases: [State, boolean, PowerState][] = [
    ['unknown', false, 'Off'],
    ['unknown', true, 'On'],
    ['off', false, 'Off'],
    ['opPowerStart', false, 'TransitioningToOn'],
    ['opWaitPowerOn', false, 'TransitioningToOn'],
    ['pgood', true, 'On'],
    // Within the de-glitch time of a loss nothing is decided.
    ['pgood', false, 'On'],
    ['opPowerStop', true, 'TransitioningToOff'],
    ['opPowerStop', false, 'TransitioningToOff'],
    ['opWaitPowerOff', true, 'TransitioningToOff'],
    ['opWaitPowerOff', false, 'TransitioningToOff'],
    ['fault', true, 'TransitioningToOff'],
    ['fault', false, 'TransitioningToOff'],
    ['failed', false, 'Off'],
    // Power that could not be taken down.
    ['failed', true, 'On'],
  ];
  it.each(cases)('of a chassis in %s with pgood %s is %s', async (name, pgood, expected) => {
    const said = await createSaid({ state: name, pgood });
    expect(said.state.view.power).toBe(expected);
  });

  it.each(['opPowerStart', 'opWaitPowerOn', 'opPowerStop', 'opWaitPowerOff', 'fault'] as const)(
    'does not stay in transition when %s has nobody who runs it',
    async (name) => {
      const said = await createSaid({ state: name });
      await said.clock.advance(239_000);
      expect(said.state.view.power).toMatch(/^Transitioning/);
      await said.clock.advance(1_000);
      expect(said.state.view.power).toBe('Off');
      said.say({ state: 'opPowerStart' });
      said.say({ state: 'pgood', pgood: true });
      await said.clock.advance(300_000);
      expect(said.state.view.power).toBe('On');
    },
  );
});

describe('CurrentHostState', () => {
  const ON = { state: 'pgood', pgood: true } as const;
  it.each([
    ['inactive', 'Off'],
    ['activating', 'TransitioningToRunning'],
    ['active', 'Running'],
    ['deactivating', 'TransitioningToOff'],
    ['failed', 'Off'],
  ])('with its unit %s is %s, and Off without power', async (activeState, expected) => {
    const said = await createSaid(ON);
    said.units.change(HOST_UNIT, activeState);
    expect(said.state.view.host).toBe(expected);
    said.say({ state: 'off', pgood: false });
    expect(said.state.view.host).toBe('Off');
  });

  it('is Quiesced as long as the chassis has power', async () => {
    const said = await createSaid(ON);
    said.units.change(HOST_UNIT, 'failed');
    said.units.change(QUIESCE, 'active');
    expect(said.state.view.host).toBe('Quiesced');
    said.say({ state: 'off', pgood: false });
    expect(said.state.view.host).toBe('Off');
  });

  it('is what the units are when the service starts', async () => {
    const bmc = await createBmc({ initially: 'on' });
    expect(bmc.shown()).toBe('On On, Running On');
    expect(bmc.views).toEqual([]);
  });
});

describe('a request', () => {
  it('Host On powers the chassis and starts the host', async () => {
    const bmc = await createBmc();
    expect(bmc.shown()).toBe('Off Off, Off Off');
    bmc.state.requestHost('On');
    expect(bmc.shown()).toBe('Off Off, TransitioningToRunning On');
    await bmc.pass(10_000);
    expect(bmc.shown()).toBe('On On, Running On');
    expect(bmc.targets()).toEqual(['chassis-start']);
    expect(bmc.views.map(({ power }) => power).filter((power, at, all) => power !== all[at - 1])).toEqual([
      'Off',
      'TransitioningToOn',
      'On',
    ]);
    // What was asked for never flickers.
    expect(new Set(bmc.views.map(({ requestedHost }) => requestedHost))).toEqual(new Set(['On']));
    expect(bmc.state.view.restartCause).toBe('RemoteCommand');
  });

  const table: {
    of: 'power' | 'host';
    transition: string;
    initially: 'off' | 'on';
    targets: string[];
    shown: string;
  }[] = [
    {
      of: 'host',
      transition: 'Off',
      initially: 'on',
      targets: ['chassis-stop'],
      shown: 'Off Off, Off Off',
    },
    {
      of: 'host',
      transition: 'Reboot',
      initially: 'on',
      targets: ['chassis-stop', 'chassis-start'],
      shown: 'On On, Running Reboot',
    },
    {
      of: 'host',
      transition: 'Reboot',
      initially: 'off',
      targets: ['chassis-stop', 'chassis-start'],
      shown: 'On On, Running Reboot',
    },
    {
      of: 'power',
      transition: 'On',
      initially: 'off',
      targets: ['power-chassis-on'],
      shown: 'On On, Off Off',
    },
    {
      of: 'power',
      transition: 'Off',
      initially: 'on',
      targets: ['power-chassis-off'],
      shown: 'Off Off, Off Off',
    },
    {
      of: 'power',
      transition: 'PowerCycle',
      initially: 'on',
      targets: ['power-chassis-off', 'power-chassis-on'],
      shown: 'On PowerCycle, Off Off',
    },
    {
      of: 'power',
      transition: 'PowerCycle',
      initially: 'off',
      targets: ['power-chassis-off', 'power-chassis-on'],
      shown: 'On PowerCycle, Off Off',
    },
    {
      of: 'power',
      transition: 'On',
      initially: 'on',
      targets: ['power-chassis-on'],
      shown: 'On On, Running On',
    },
    {
      of: 'host',
      transition: 'Off',
      initially: 'off',
      targets: ['chassis-stop'],
      shown: 'Off Off, Off Off',
    },
  ];
  const ask = (state: ChassisState, of: 'power' | 'host', transition: string) =>
    of === 'power'
      ? state.requestPower(transition as PowerTransition)
      : state.requestHost(transition as HostTransition);
  it.each(sampled(table, 6))('$of $transition of a chassis that is $initially', async (row) => {
    const bmc = await createBmc({ initially: row.initially });
    ask(bmc.state, row.of, row.transition);
    await bmc.pass(20_000);
    expect(bmc.targets()).toEqual(row.targets);
    expect(bmc.shown()).toBe(row.shown);
    expect(bmc.plant.hazards).toEqual([]);
  });

  it.each([
    ['power', 'PowerCycle'],
    ['host', 'Reboot'],
  ] as const)('%s %s leaves 5 s between power off and power on', async (of, transition) => {
    const bmc = await createBmc({ initially: 'on' });
    ask(bmc.state, of, transition);
    await bmc.pass(4_000);
    expect(bmc.state.view.power).toBe('Off');
    expect(bmc.state.view[of === 'power' ? 'requestedPower' : 'requestedHost']).toBe(transition);
    await bmc.pass(20_000);
    const [, second] = bmc.units.started;
    expect(second?.afterMs).toBeGreaterThanOrEqual(5_000);
    expect(second?.afterMs).toBeLessThan(6_000);
  });

  it.each([
    ['power', 'PowerCycle', 'power', 'Off'],
    ['power', 'PowerCycle', 'host', 'Off'],
    ['host', 'Reboot', 'host', 'Off'],
    ['host', 'Reboot', 'power', 'Off'],
  ] as const)('%s %s gives up its second half for %s %s', async (of, transition, otherOf, other) => {
    for (const whenMs of [1, 3_000]) {
      const bmc = await createBmc({ initially: 'on' });
      ask(bmc.state, of, transition);
      await bmc.pass(whenMs);
      ask(bmc.state, otherOf, other);
      await bmc.pass(60_000);
      expect(bmc.targets().filter((target) => /start|on$/.test(target))).toEqual([]);
      expect(bmc.shown()).toBe('Off Off, Off Off');
      expect(bmc.clock.nowMs()).toBeGreaterThan(60_000);
    }
  });

  it('On in the pause of a cycle ends the pause', async () => {
    const bmc = await createBmc({ initially: 'on' });
    bmc.state.requestHost('Reboot');
    await bmc.pass(3_000);
    bmc.state.requestHost('On');
    await bmc.pass(1_500);
    expect(bmc.shown()).toBe('On On, Running On');
    await bmc.pass(60_000);
    expect(bmc.targets()).toEqual(['chassis-stop', 'chassis-start']);
  });

  it('for what is under way goes on with it', async () => {
    const bmc = await createBmc({ initially: 'on' });
    bmc.state.requestPower('PowerCycle');
    await bmc.pass(3_000);
    bmc.state.requestPower('PowerCycle');
    await bmc.pass(20_000);
    expect(bmc.targets()).toEqual(['power-chassis-off', 'power-chassis-on']);
    expect(bmc.shown()).toBe('On PowerCycle, Off Off');
  });

  it('Off during power on wins', async () => {
    const bmc = await createBmc();
    bmc.state.requestHost('On');
    await bmc.pass(150);
    expect(bmc.shown()).toBe('TransitioningToOn Off, TransitioningToRunning On');
    bmc.state.requestHost('Off');
    await bmc.pass(10_000);
    expect(bmc.shown()).toBe('Off Off, Off Off');
    expect(bmc.journal.filter((line) => line.startsWith('<3>'))).toEqual([]);
  });

  it('does not flicker when the news of the units come after the end of the job', async () => {
    const bmc = await createBmc();
    bmc.units.newsMs = 50;
    bmc.state.requestHost('On');
    await bmc.pass(10_000);
    expect(bmc.shown()).toBe('On On, Running On');
    expect(new Set(bmc.views.map(({ requestedHost }) => requestedHost))).toEqual(new Set(['On']));
    expect(bmc.state.view.restartCause).toBe('RemoteCommand');
  });

  it('that systemd refuses goes to the journal, and is not left standing', async () => {
    const bmc = await createBmc();
    bmc.units.refused.add('obmc-chassis-start@0.target');
    bmc.state.requestHost('On');
    await bmc.pass(100);
    expect(bmc.shown()).toBe('Off Off, Off Off');
    expect(bmc.journal.at(-1)).toMatch(
      /^<3>chassis 0: host On requested: .*obmc-chassis-start@0.target not found/,
    );
  });

  it('that fails ends where the chassis ends', async () => {
    const bmc = await createBmc();
    bmc.breakIt('rail P1V8 never good');
    bmc.state.requestHost('On');
    await bmc.pass(20_000);
    expect(bmc.shown()).toBe('Off Off, Off Off');
    expect(bmc.journal.at(-1)).toMatch(/^<3>.*obmc-chassis-start@0.target was not reached: dependency$/);
  });

  it('whose first half fails has no second one', async () => {
    const bmc = await createBmc({ initially: 'on' });
    bmc.breakIt('enable P5V stuck on');
    bmc.state.requestPower('PowerCycle');
    await bmc.pass(60_000);
    expect(bmc.targets()).toEqual(['power-chassis-off']);
    expect(bmc.journal.at(-1)).toMatch(/and obmc-power-chassis-on@0.target is not started$/);
    expect(bmc.state.view.power).not.toMatch(/^Transitioning/);
    expect(bmc.state.view.requestedPower).not.toBe('PowerCycle');
  });

  it('Host On of a host that fails is Quiesced on a chassis with power', async () => {
    const bmc = await createBmc();
    bmc.units.hostFails = true;
    bmc.state.requestHost('On');
    await bmc.pass(20_000);
    expect(bmc.shown()).toBe('On On, Quiesced On');
  });

  it('of somebody else shows here', async () => {
    const bmc = await createBmc();
    const start = bmc.units.startUnit('obmc-chassis-start@0.target', 'replace');
    await bmc.clock.runUntil(start);
    expect(bmc.shown()).toBe('On On, Running On');
    expect(bmc.state.view.restartCause).toBe('Unknown');
    await bmc.clock.runUntil(bmc.units.startUnit('obmc-chassis-stop@0.target', 'replace'));
    expect(bmc.shown()).toBe('Off Off, Off Off');
  });

  it.each([
    // In the power off, and in the pause after it.
    ...[1, 3_000].map((ms) => ['power', 'PowerCycle', ms, 'power-chassis-off', 'power-chassis-on'] as const),
    ...[1, 3_000].map((ms) => ['host', 'Reboot', ms, 'chassis-stop', 'chassis-start'] as const),
  ])('%s %s after %i ms is gone on with by the next service', async (of, transition, ms, off, on) => {
    const bmc = await createBmc({ initially: 'on' });
    ask(bmc.state, of, transition);
    await bmc.pass(ms);
    const next = await bmc.restart();
    next.begin();
    await bmc.pass(20_000);
    expect(bmc.targets()).toEqual([off, off, on]);
    expect(next.view.power).toBe('On');
    expect(next.view[of === 'power' ? 'requestedPower' : 'requestedHost']).toBe(transition);
    expect(bmc.kept()?.cycle).toBeNull();
  });

  it('that is a cycle is over once power comes up again', async () => {
    const bmc = await createBmc({ initially: 'on' });
    bmc.state.requestHost('Reboot');
    while (bmc.targets().length < 2) await bmc.pass(100);
    await bmc.pass(100);
    expect(bmc.state.view.power).toBe('TransitioningToOn');
    (await bmc.restart()).begin();
    await bmc.pass(20_000);
    expect(bmc.targets()).toEqual(['chassis-stop', 'chassis-start']);
  });

  it('that is a cycle is taken back by another one', async () => {
    const bmc = await createBmc({ initially: 'on' });
    bmc.state.requestHost('Reboot');
    await bmc.pass(3_000);
    expect(bmc.kept()?.cycle).not.toBeNull();
    bmc.state.requestHost('Off');
    // At once: the service may be killed the next moment.
    expect(bmc.kept()?.cycle).toBeNull();
    await bmc.pass(1);
    (await bmc.restart()).begin();
    await bmc.pass(20_000);
    expect(bmc.shown()).toBe('Off Off, Off Off');
  });

  it.each([
    ['of another boot', 'another', 999],
    ['too old', 'boot', 480_000],
  ])('that is a cycle is not gone on with when it is %s', async (_title, cycleBootId, agoMs) => {
    const cycle = { of: 'host', bootId: cycleBootId, askedAtMs: 1_000 - agoMs } as const;
    const bmc = await createBmc({ lasting: { cycle, restoredInBoot: 'boot' } });
    bmc.state.begin();
    await bmc.pass(20_000);
    expect(bmc.targets()).toEqual([]);
    expect(bmc.shown()).toBe('Off Off, Off Off');
  });

  it('is not carried on after a stop of the service', async () => {
    const bmc = await createBmc({ initially: 'on' });
    bmc.state.requestPower('PowerCycle');
    await bmc.pass(3_000);
    bmc.state.stop();
    await bmc.pass(60_000);
    expect(bmc.targets()).toEqual(['power-chassis-off']);
  });
});

describe('LastStateChangeTime', () => {
  it('is when power came to rest on the other side, and survives a restart', async () => {
    const bmc = await createBmc();
    expect(bmc.state.view.changedAtMs).toBe(0);
    bmc.state.requestHost('On');
    await bmc.pass(20_000);
    const onAt = bmc.state.view.changedAtMs;
    expect(onAt).toBeGreaterThan(Date.UTC(2024, 0, 1));
    expect(onAt).toBeLessThan(bmc.clock.wallTime().getTime());
    const before = bmc.state.view;
    await bmc.restart();
    expect(bmc.state.view).toEqual(before);
    bmc.state.requestHost('Off');
    await bmc.pass(20_000);
    expect(bmc.state.view.changedAtMs).toBeGreaterThan(onAt);
    expect(bmc.kept()).toMatchObject({ power: 'off', changedAtMs: bmc.state.view.changedAtMs });
  });

  it('is the start of the service when power changed while nobody looked', async () => {
    const bmc = await createBmc({ lasting: { power: 'on', changedAtMs: 5 } });
    expect(bmc.state.view.changedAtMs).toBe(bmc.clock.wallTime().getTime());
  });

  it('does not move by a failed power on', async () => {
    const bmc = await createBmc({ lasting: { power: 'off', changedAtMs: 5 } });
    bmc.breakIt('rail P1V8 never good');
    bmc.state.requestHost('On');
    await bmc.pass(20_000);
    expect(bmc.state.view.changedAtMs).toBe(5);
  });
});

describe('POHCounter', () => {
  const ON = { state: 'pgood', pgood: true } as const;
  const OFF = { state: 'off', pgood: false } as const;

  it('counts the hours with power, and keeps them every hour', async () => {
    const { clock, state, views, kept } = await createSaid(ON);
    await clock.advance(HOUR_MS - 1_000);
    expect(state.view.onHours).toBe(0);
    expect(kept()?.onMinutes).toBe(0);
    await clock.advance(1_000);
    expect(state.view.onHours).toBe(1);
    expect(views.map(({ onHours }) => onHours)).toEqual([1]);
    await clock.advance(99 * HOUR_MS);
    expect(state.view.onHours).toBe(100);
    expect(kept()?.onMinutes).toBe(6_000);
  });

  it('adds up times that are no whole hours, over restarts of the service', async () => {
    const said = await createSaid(ON);
    await said.clock.advance(40 * MINUTE_MS);
    await said.restart();
    await said.clock.advance(20 * MINUTE_MS - 1);
    expect(said.state.view.onHours).toBe(0);
    await said.clock.advance(1);
    expect(said.state.view.onHours).toBe(1);
    await said.clock.advance(45 * MINUTE_MS);
    said.say(OFF);
    await said.clock.advance(5 * HOUR_MS);
    expect(said.state.view.onHours).toBe(1);
    expect(said.kept()?.onMinutes).toBe(105);
    said.say(ON);
    await said.clock.advance(15 * MINUTE_MS);
    expect(said.state.view.onHours).toBe(2);
  });
});

describe('what lasts', () => {
  it('is read as it was written', () => {
    const store = createLastingFile(folder, 3);
    const state: LastingState = {
      power: 'on',
      changedAtMs: 1_700_000_000_123,
      onMinutes: 12_345,
      requestedPower: 'PowerCycle',
      requestedHost: 'Reboot',
      lastAsked: 'on',
      restartCause: 'PowerPolicyPreviousState',
      restore: { policy: 'AlwaysOn', delayUs: 2n ** 64n - 1n },
      restoreOnce: { policy: 'AlwaysOff', delayUs: 1n },
      cycle: { of: 'host', bootId: 'boot', askedAtMs: 12.5 },
      restoredInBoot: 'boot',
    };
    expect(store.load()).toEqual({ state: null, warning: null });
    expect(store.save(state)).toBeNull();
    expect(store.load()).toEqual({ state, warning: null });
  });

  it.each([
    ['torn', (path: string) => truncateSync(path, 50)],
    ['empty', (path: string) => truncateSync(path)],
    ['of another version', (path: string) => edit(path, { schema: 99 })],
    ['with a policy that is none', (path: string) => edit(path, { restore: { policy: 'x', delayUs: '0' } })],
    ['with a negative number', (path: string) => edit(path, { onMinutes: -1 })],
  ])('and is %s is set aside with a warning', async (_title, damage) => {
    const store = createLastingFile(folder, 0);
    store.save({ ...NOTHING_LASTING, onMinutes: 60 });
    const path = lastingPath(folder, 0);
    damage(path);
    const damaged = readFileSync(path, 'utf8');
    const bmc = await createBmc();
    expect(bmc.journal).toMatchObject([expect.stringMatching(/^<4>chassis 0: .*lasting\.json is set aside/)]);
    expect(readFileSync(`${path}.unreadable`, 'utf8')).toBe(damaged);
    expect(bmc.state.view.onHours).toBe(0);
    expect(bmc.kept()).not.toBeNull();
  });

  it('and cannot be written is told once, and the service goes on', async () => {
    rmSync(folder, { recursive: true });
    writeFileSync(folder, '');
    const store = createLastingFile(folder, 0);
    expect(store.save(NOTHING_LASTING)).toMatch(/could not be written/);
    rmSync(folder);
    const bmc = await createBmc();
    rmSync(lastingPath(folder, 0));
    mkdirSync(lastingPath(folder, 0));
    for (const transition of ['On', 'Off', 'On'] as const) {
      bmc.state.requestHost(transition);
      await bmc.pass(20_000);
    }
    expect(bmc.shown()).toBe('On On, Running On');
    expect(bmc.journal.filter((line) => line.includes('could not be written'))).toHaveLength(1);
  });

  it('is not written while power is in motion', async () => {
    const bmc = await createBmc();
    bmc.state.requestHost('On');
    await bmc.pass(150);
    expect(bmc.state.view.power).toBe('TransitioningToOn');
    rmSync(lastingPath(folder, 0));
    bmc.state.setRestore('restore', { policy: 'AlwaysOn' });
    await bmc.pass(100);
    expect(bmc.state.view.power).toBe('TransitioningToOn');
    expect(existsSync(lastingPath(folder, 0))).toBe(false);
    await bmc.pass(10_000);
    expect(bmc.kept()).toMatchObject({ power: 'on', restore: { policy: 'AlwaysOn' } });
  });
});

describe('power restore', () => {
  const table: [policy: RestorePolicy, lastAsked: 'on' | 'off', expected: 'on' | 'off'][] = [
    ['None', 'on', 'off'],
    ['None', 'off', 'off'],
    ['AlwaysOn', 'on', 'on'],
    ['AlwaysOn', 'off', 'on'],
    ['AlwaysOff', 'on', 'off'],
    ['AlwaysOff', 'off', 'off'],
    ['Restore', 'on', 'on'],
    ['Restore', 'off', 'off'],
  ];
  it.each(sampled(table, 5))('%s with %s asked for last: %s', async (policy, lastAsked, expected) => {
    const bmc = await createBmc({ lasting: { restore: { policy, delayUs: 0n }, lastAsked } });
    bmc.state.begin();
    await bmc.pass(20_000);
    expect(bmc.targets()).toEqual(expected === 'on' ? ['chassis-start'] : []);
    expect(bmc.shown()).toBe(expected === 'on' ? 'On On, Running On' : 'Off Off, Off Off');
    const causes: Partial<Record<RestorePolicy, string>> = {
      AlwaysOn: 'PowerPolicyAlwaysOn',
      Restore: 'PowerPolicyPreviousState',
    };
    expect(bmc.state.view.restartCause).toBe(expected === 'on' ? causes[policy] : 'Unknown');
  });

  it('waits for its delay, which is in microseconds', async () => {
    const bmc = await createBmc({ lasting: { restore: { policy: 'AlwaysOn', delayUs: 90_000_000n } } });
    bmc.state.begin();
    await bmc.pass(89_000);
    expect(bmc.targets()).toEqual([]);
    await bmc.pass(2_000);
    expect(bmc.targets()).toEqual(['chassis-start']);
  });

  it('goes by the one-time policy once, which is None then', async () => {
    const bmc = await createBmc({
      lasting: {
        restore: { policy: 'AlwaysOff', delayUs: 0n },
        restoreOnce: { policy: 'AlwaysOn', delayUs: 0n },
      },
    });
    bmc.state.begin();
    await bmc.pass(20_000);
    expect(bmc.state.view).toMatchObject({
      power: 'On',
      restore: { policy: 'AlwaysOff' },
      restoreOnce: { policy: 'None' },
    });
    expect(bmc.kept()?.restoreOnce.policy).toBe('None');
  });

  it('happens once in a boot of the BMC', async () => {
    const restore = { policy: 'AlwaysOn', delayUs: 0n } as const;
    const bmc = await createBmc({ lasting: { restore } });
    bmc.state.begin();
    await bmc.pass(20_000);
    bmc.state.requestHost('Off');
    await bmc.pass(20_000);
    await bmc.restart();
    bmc.state.begin();
    await bmc.pass(20_000);
    expect(bmc.shown()).toBe('Off Off, Off Off');

    const next = await createBmc({ bootId: 'next boot' });
    next.state.begin();
    await next.pass(20_000);
    expect(next.shown()).toBe('On On, Running On');
  });

  it.each([
    ['the chassis is on', { initially: 'on' as const }],
    ['units of the image take it for on', { isAdopted: true }],
  ])('does not happen when %s, nor later in this boot', async (_title, setup) => {
    const restore = { policy: 'AlwaysOn', delayUs: 0n } as const;
    const bmc = await createBmc({ lasting: { restore }, ...setup });
    bmc.state.begin();
    await bmc.pass(20_000);
    expect(bmc.targets()).toEqual([]);
    expect(bmc.kept()?.restoredInBoot).toBe('boot');
  });

  it.each([
    ['Host Off', (state: ChassisState) => state.requestHost('Off')],
    ['Chassis Off', (state: ChassisState) => state.requestPower('Off')],
  ])('gives way to %s during the delay', async (_title, act) => {
    const bmc = await createBmc({ lasting: { restore: { policy: 'AlwaysOn', delayUs: 60_000_000n } } });
    bmc.state.begin();
    await bmc.pass(30_000);
    act(bmc.state);
    await bmc.pass(120_000);
    expect(bmc.shown()).toBe('Off Off, Off Off');
    expect(bmc.kept()?.restoredInBoot).toBe('boot');
  });

  it('leaves a chassis alone that somebody powered during the delay', async () => {
    const bmc = await createBmc({ lasting: { restore: { policy: 'AlwaysOn', delayUs: 60_000_000n } } });
    bmc.state.begin();
    await bmc.clock.runUntil(bmc.units.startUnit('obmc-power-chassis-on@0.target', 'replace'));
    await bmc.pass(120_000);
    expect(bmc.targets()).toEqual(['power-chassis-on']);
  });

  it('restores what a loss of power ended, and not what somebody switched off', async () => {
    const bmc = await createBmc();
    bmc.state.requestHost('On');
    await bmc.pass(20_000);
    bmc.breakIt('pgood stuck off');
    await bmc.pass(10_000);
    // systemd is told of the loss, and tidies up.
    await bmc.clock.runUntil(bmc.units.startUnit('obmc-power-chassis-off@0.target', 'replace'));
    expect(bmc.shown()).toBe('Off Off, Off Off');
    expect(bmc.kept()?.lastAsked).toBe('on');

    bmc.plant.clearFaults();
    await bmc.clock.runUntil(bmc.units.startUnit('obmc-chassis-start@0.target', 'replace'));
    await bmc.clock.runUntil(bmc.units.startUnit('obmc-chassis-stop@0.target', 'replace'));
    expect(bmc.kept()?.lastAsked).toBe('off');
  });

  it('counts the first half of a reboot as a chassis that is to be on', async () => {
    const bmc = await createBmc({ initially: 'on' });
    bmc.state.requestHost('Reboot');
    await bmc.pass(3_000);
    expect(bmc.state.view.power).toBe('Off');
    expect(bmc.kept()?.lastAsked).toBe('on');
  });
});

describe('on the bus', () => {
  const propertyOf = (state: ChassisState, path: string, name: string, property: string): ServedProperty => {
    const object = stateObjects(0, state).find((one) => one.path === path);
    const found = object?.interfaces.find((one) => one.name === name)?.properties[property];
    if (!found) throw new RangeError(`no ${property}`);
    return found;
  };
  const write = (state: ChassisState, path: string, name: string, property: string, value: unknown) =>
    propertyOf(state, path, name, property).write?.(value);

  it('has the names of phosphor-state-manager', () => {
    expect(stateNames(0)).toEqual([`${CHASSIS}0`, CHASSIS, `${HOST}0`, HOST]);
    expect(stateNames(3)).toEqual([`${CHASSIS}3`, `${HOST}3`]);
  });

  it('has the objects, properties and types of phosphor-dbus-interfaces', async () => {
    const { state } = await createBmc();
    const found = stateObjects(0, state).flatMap(({ path, interfaces }) =>
      interfaces.flatMap(({ name, properties }) =>
        Object.entries(properties).map(
          ([property, { signature, write: set }]) =>
            `${path} ${name}.${property} ${signature}${set ? ' rw' : ''}`,
        ),
      ),
    );
    expect(found).toEqual([
      `${CHASSIS_PATH} ${CHASSIS}.RequestedPowerTransition s rw`,
      `${CHASSIS_PATH} ${CHASSIS}.CurrentPowerState s`,
      `${CHASSIS_PATH} ${CHASSIS}.CurrentPowerStatus s`,
      `${CHASSIS_PATH} ${CHASSIS}.LastStateChangeTime t`,
      `${CHASSIS_PATH} xyz.openbmc_project.State.PowerOnHours.POHCounter u`,
      `${HOST_PATH} ${HOST}.RequestedHostTransition s rw`,
      `${HOST_PATH} ${HOST}.CurrentHostState s`,
      `${HOST_PATH} ${HOST}.RestartCause s`,
      `${HOST_PATH} ${HOST}.AllowedHostTransitions as`,
      `${POLICY_PATH} ${RESTORE}.PowerRestorePolicy s rw`,
      `${POLICY_PATH} ${RESTORE}.PowerRestoreDelay t rw`,
      `${POLICY_PATH}/one_time ${RESTORE}.PowerRestorePolicy s rw`,
      `${POLICY_PATH}/one_time ${RESTORE}.PowerRestoreDelay t rw`,
    ]);
  });

  it('shows the values under their full names', async () => {
    const { state } = await createBmc({ initially: 'on' });
    const read = (path: string, name: string, property: string) =>
      propertyOf(state, path, name, property).read();
    expect(read(CHASSIS_PATH, CHASSIS, 'RequestedPowerTransition')).toBe(`${CHASSIS}.Transition.On`);
    expect(read(CHASSIS_PATH, CHASSIS, 'CurrentPowerState')).toBe(`${CHASSIS}.PowerState.On`);
    expect(read(CHASSIS_PATH, CHASSIS, 'CurrentPowerStatus')).toBe(`${CHASSIS}.PowerStatus.Undefined`);
    expect(read(CHASSIS_PATH, CHASSIS, 'LastStateChangeTime')).toBe(0n);
    expect(read(CHASSIS_PATH, 'xyz.openbmc_project.State.PowerOnHours', 'POHCounter')).toBe(0);
    expect(read(HOST_PATH, HOST, 'CurrentHostState')).toBe(`${HOST}.HostState.Running`);
    expect(read(HOST_PATH, HOST, 'RestartCause')).toBe(`${HOST}.RestartCause.Unknown`);
    expect(read(HOST_PATH, HOST, 'AllowedHostTransitions')).toEqual([
      `${HOST}.Transition.Off`,
      `${HOST}.Transition.On`,
      `${HOST}.Transition.Reboot`,
    ]);
    expect(read(POLICY_PATH, RESTORE, 'PowerRestorePolicy')).toBe(`${RESTORE}.Policy.Restore`);
    expect(read(`${POLICY_PATH}/one_time`, RESTORE, 'PowerRestorePolicy')).toBe(`${RESTORE}.Policy.None`);
  });

  it('takes what is written', async () => {
    const bmc = await createBmc();
    write(bmc.state, HOST_PATH, HOST, 'RequestedHostTransition', `${HOST}.Transition.On`);
    write(bmc.state, POLICY_PATH, RESTORE, 'PowerRestorePolicy', `${RESTORE}.Policy.AlwaysOn`);
    write(bmc.state, POLICY_PATH, RESTORE, 'PowerRestoreDelay', 5_000_000n);
    write(bmc.state, `${POLICY_PATH}/one_time`, RESTORE, 'PowerRestorePolicy', `${RESTORE}.Policy.AlwaysOff`);
    await bmc.pass(20_000);
    expect(bmc.state.view).toMatchObject({
      power: 'On',
      host: 'Running',
      restore: { policy: 'AlwaysOn', delayUs: 5_000_000n },
      restoreOnce: { policy: 'AlwaysOff', delayUs: 0n },
    });
    write(bmc.state, CHASSIS_PATH, CHASSIS, 'RequestedPowerTransition', `${CHASSIS}.Transition.Off`);
    await bmc.pass(20_000);
    expect(bmc.shown()).toBe('Off Off, Off Off');
  });

  it.each([
    [CHASSIS_PATH, CHASSIS, 'RequestedPowerTransition', `${CHASSIS}.Transition.Nonsense`, 'InvalidArgs'],
    [CHASSIS_PATH, CHASSIS, 'RequestedPowerTransition', 'On', 'InvalidArgs'],
    [CHASSIS_PATH, CHASSIS, 'RequestedPowerTransition', `${HOST}.Transition.On`, 'InvalidArgs'],
    [CHASSIS_PATH, CHASSIS, 'RequestedPowerTransition', '', 'InvalidArgs'],
    [HOST_PATH, HOST, 'RequestedHostTransition', `${HOST}.Transition.on`, 'InvalidArgs'],
    [HOST_PATH, HOST, 'RequestedHostTransition', `${HOST}.Transition.GracefulWarmReboot`, 'NotSupported'],
    [HOST_PATH, HOST, 'RequestedHostTransition', `${HOST}.Transition.ForceWarmReboot`, 'NotSupported'],
    [POLICY_PATH, RESTORE, 'PowerRestorePolicy', `${RESTORE}.Policy.Sometimes`, 'InvalidArgs'],
  ])('%s %s.%s = "%s" is %s and changes nothing', async (path, name, property, value, error) => {
    const bmc = await createBmc();
    let thrown: unknown;
    try {
      write(bmc.state, path, name, property, value);
    } catch (caught) {
      thrown = caught;
    }
    expect(thrown).toBeInstanceOf(DbusReplyError);
    expect(thrown).toMatchObject({ dbusError: `org.freedesktop.DBus.Error.${error}` });
    await bmc.pass(1_000);
    expect(bmc.targets()).toEqual([]);
    expect(bmc.views).toEqual([]);
  });

  it('tells which properties changed, each once', async () => {
    const bmc = await createBmc();
    const before = bmc.state.view;
    bmc.state.requestHost('On');
    const names = (now: StateView, then: StateView) =>
      stateChanges(0, now, then).map(({ property }) => property);
    expect(names(bmc.state.view, before)).toEqual([
      'RequestedHostTransition',
      'CurrentHostState',
      'RestartCause',
    ]);
    await bmc.pass(20_000);
    expect(stateChanges(0, bmc.state.view, before)).toContainEqual({
      path: CHASSIS_PATH,
      interface: CHASSIS,
      property: 'LastStateChangeTime',
    });
    expect(names(before, before)).toEqual([]);
    const policy = bmc.state.view;
    bmc.state.setRestore('restoreOnce', { policy: 'AlwaysOn' });
    expect(stateChanges(0, bmc.state.view, policy)).toEqual([
      { path: `${POLICY_PATH}/one_time`, interface: RESTORE, property: 'PowerRestorePolicy' },
    ]);
  });
});

function edit(path: string, patch: Record<string, unknown>): void {
  writeFileSync(path, JSON.stringify({ ...JSON.parse(readFileSync(path, 'utf8')), ...patch }));
}
