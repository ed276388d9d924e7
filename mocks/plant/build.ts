import type { Level, LineRef } from '../../hw/ports.ts';
import {
  HOST_RESET,
  isLine,
  PANEL_POWER,
  PANEL_RESET,
  PLATFORM_RESET,
  POST_COMPLETE,
} from '../../src/board/lines.ts';
import { sourcesOf } from '../../src/board/pgood-sources.ts';
import type { Board, ChassisBoard, LineBoard, PulseBoard, RailBoard } from '../../src/board/schema.ts';
import {
  type Chassis,
  type Circuit,
  type Device,
  type Host,
  isHost,
  isThere,
  levelOf,
  type Net,
  netAsserted,
  OPERATION_ON_BIT,
  opposite,
  type Page,
  type Part,
  type Rail,
} from './circuit.ts';
import { hostTimes } from './hosts.ts';
import { buildPgood } from './pgood.ts';
import { createSettings } from './settings.ts';

/** Where the board file does not say. */
const DEFAULT_NOMINAL_VOLTS = 1;
/** Share of the nominal voltage at which a power good comparator usually trips. */
const GOOD_SHARE = 0.9;

export interface BuildOptions {
  readonly board: Board;
  /** Chassis that exist, in this order. */
  readonly chassis: readonly number[];
  /** All rails up, enables and released resets driven by the BMC; else as after a reset of the BMC. */
  readonly isOn: boolean;
  readonly startMs: number;
  /** Times by rail name, where they are not to follow the board's. */
  readonly riseMs: Readonly<Record<string, number>>;
  readonly fallMs: Readonly<Record<string, number>>;
  /** One text for one physical line. */
  keyOf(ref: LineRef): string | undefined;
}

/**
 * The circuit that a board file describes, as it stands when nothing has happened yet. A line or an output that several
 * rails name is one.
 * @throws RangeError for a chassis that the board does not have
 */
export function buildCircuit(options: BuildOptions): Circuit {
  const parts = createParts(options);
  const chassis = options.chassis.map((number) => {
    const described = options.board.chassis[number];
    if (described === undefined) throw new RangeError(`the board has no chassis ${number}`);
    return buildChassis(number, described, parts, options);
  });
  for (const [name, { poweredBy }] of Object.entries(options.board.devices)) {
    const device = parts.device(name);
    for (const part of partsOf(name, chassis, options.board)) device.parts.add(part);
    if (poweredBy === undefined) continue;
    const own = chassis.find((each) => uses(options.board.chassis[each.number], name));
    device.poweredBy = own?.rails.find((rail) => rail.name === poweredBy);
    if (device.poweredBy?.good === false) device.answersFromMs = Number.POSITIVE_INFINITY;
  }
  const { nets, pages, devices, chips } = parts;
  const enables = chassis.flatMap(({ rails }) => rails.map(({ enable }) => enable));
  const hosts = enables.filter((enable) => enable !== undefined && isHost(enable));
  return { nets, pages, hosts, devices, chips, chassis };
}

/**
 * What a device is on: the part of which every rail is that it switches, shows or is told the voltage of, or that its address
 * tells of. One that pgood is taken from is of the chassis.
 */
function partsOf(device: string, all: readonly Chassis[], board: Board): Part[] {
  const { bus, address } = board.devices[device] ?? {};
  const found = new Set<Part | undefined>();
  for (const { number, rails } of all) {
    for (const { part, board: rail } of rails) {
      const { enable, good, setup, presence } = rail;
      const isOf = [enable, good, setup].some((each) => each && 'pmbus' in each && each.pmbus === device);
      if (isOf) found.add(part);
      const isShown =
        presence && 'bus' in presence && presence.bus === bus && Number(presence.address) === Number(address);
      if (isShown && part !== undefined) return [part];
    }
    const { pgood } = board.chassis[number] ?? {};
    if (pgood && sourcesOf(pgood).some(({ source }) => 'pmbus' in source && source.pmbus === device))
      return [];
  }
  const parts = [...found];
  return parts.includes(undefined) ? [] : parts.filter((part) => part !== undefined);
}

function uses(chassis: ChassisBoard | undefined, device: string): boolean {
  if (chassis === undefined) return false;
  const parts = [
    ...Object.values(chassis.rails).flatMap(({ enable, good, setup }) => [enable, good, setup]),
    ...sourcesOf(chassis.pgood).map(({ source }) => source),
  ];
  return (
    chassis.evidence.includes(device) ||
    parts.some((part) => part !== undefined && 'pmbus' in part && part.pmbus === device)
  );
}

type Parts = ReturnType<typeof createParts>;

function deviceNamed(name: string): Device {
  return {
    name,
    poweredBy: undefined,
    parts: new Set(),
    answersFromMs: Number.NEGATIVE_INFINITY,
    losses: 0,
    failures: 0,
  };
}

/** Each net, output and device once. */
function createParts({ isOn, startMs, keyOf }: BuildOptions) {
  const nets = new Map<string, Net>();
  const chips = new Set<string>();
  const pages = new Map<string, Page>();
  const devices = new Map<string, Device>();

  const device = (name: string): Device => {
    const known = devices.get(name) ?? deviceNamed(name);
    devices.set(name, known);
    return known;
  };

  return {
    nets,
    chips,
    pages,
    devices,
    device,

    net(
      ref: LineBoard,
      given: Pick<Net, 'role' | 'chassis' | 'rail' | 'name'>,
      part: string,
      startsAsserted: boolean,
    ): Net {
      const key = keyOf(ref) ?? JSON.stringify(ref);
      const known = nets.get(key);
      if (known !== undefined) return known;
      if ('chip' in ref) chips.add(ref.chip);
      const activeLevel: Level = ref.active === 'high' ? 1 : 0;
      const pull = given.role === 'reset' ? activeLevel : opposite(activeLevel);
      const driven = startsAsserted ? activeLevel : opposite(activeLevel);
      const byBmc = !['good', 'pgood', 'state', 'panel', 'presence', 'hostSignal'].includes(given.role);
      const net: Net = {
        ...given,
        key,
        label: `${'name' in ref ? `line "${ref.name}"` : `line ${ref.line} of ${ref.chip}`} (${part})`,
        activeLevel,
        pull,
        sources: [],
        rails: [],
        listeners: new Set(),
        faults: [],
        direction: isOn && byBmc ? 'out' : 'in',
        driven,
        held: null,
        level: isOn ? driven : pull,
        changes: 0,
        changedAtMs: startMs,
        failures: 0,
      };
      nets.set(key, net);
      return net;
    },

    page(deviceName: string, page: number, chassis: number, rail: string): Page {
      const key = `pmbus:${deviceName}/${page}`;
      const known = pages.get(key);
      if (known !== undefined) return known;
      const added: Page = {
        key,
        role: 'enable',
        chassis,
        rail,
        device: device(deviceName),
        page,
        rails: [],
        faults: [],
        direction: 'out',
        operation: isOn ? OPERATION_ON_BIT : 0,
        failuresSeen: 0,
        level: isOn ? 1 : 0,
        changes: 0,
        changedAtMs: startMs,
      };
      pages.set(key, added);
      return added;
    },
  };
}

function buildChassis(number: number, described: ChassisBoard, parts: Parts, options: BuildOptions): Chassis {
  const chassis: Chassis = {
    number,
    rails: [],
    parts: new Map(),
    resets: [],
    heldResets: new Map(),
    powerButton: undefined,
    resetButton: undefined,
    pgoodSources: [],
    takesAny: 'any' in described.pgood,
    seen: options.isOn,
    seenSinceMs: options.startMs,
    pgood: options.isOn,
    pgoodSteered: null,
    failedAtMs: Number.NEGATIVE_INFINITY,
    cancelPgood: () => undefined,
  };
  const needed = new Set([
    ...Object.values(described.rails).flatMap(({ needs }) => needs),
    ...Object.values(options.board.devices).flatMap(({ poweredBy }) => poweredBy ?? []),
    // Also where an enable tells nothing behind a latch: nobody waits for more of such a rail than its settle time.
    ...(sourcesOf(described.pgood).some(({ source }) => 'rails' in source)
      ? Object.keys(described.rails)
      : []),
  ]);
  const supplies = suppliesOf(described);
  for (const [name, rail] of Object.entries(described.rails)) {
    // A supply is there before anything is switched.
    const isOn = options.isOn || supplies.has(name);
    // pgood does not wait for a part that nobody has asked for when it comes.
    const isNeeded = needed.has(name) || rail.presence !== undefined;
    chassis.rails.push(buildRail(chassis, name, rail, isNeeded, parts, { ...options, isOn }));
  }
  connectNeeds(chassis.rails);
  const part = { chassis: number, rail: null };
  chassis.pgoodSources = buildPgood(chassis, described, {
    netOf: (line, name) => parts.net(line, { ...part, role: 'pgood', name }, name, true),
    deviceOf: parts.device,
  });
  for (const [name, line] of Object.entries(described.resets)) {
    chassis.resets.push(parts.net(line, { ...part, role: 'reset', name }, `reset ${name}`, false));
  }
  const { latch } = described;
  if (latch !== undefined) parts.net(latch, { ...part, role: 'latch', name: 'latch' }, 'latch', false);
  const { hostReset } = described;
  if (hostReset !== undefined) {
    const given = { ...part, role: 'hostReset', name: HOST_RESET } as const;
    parts.net(hostReset, given, HOST_RESET, false);
  }
  connectHostSignals(chassis, described, parts);
  const { power, reset } = described.panel ?? {};
  if (power !== undefined) {
    const given = { ...part, role: 'panel', name: 'power button' } as const;
    chassis.powerButton = parts.net(power, given, PANEL_POWER, false);
  }
  if (reset !== undefined) {
    const given = { ...part, role: 'panel', name: 'reset button' } as const;
    chassis.resetButton = parts.net(reset, given, PANEL_RESET, false);
  }
  return chassis;
}

/** What the host says of itself, and the resets that are held until it has said so. */
function connectHostSignals(chassis: Chassis, { resets, hostSignals }: ChassisBoard, parts: Parts): void {
  const netOf = (line: LineBoard | undefined, name: string) => {
    const given = { chassis: chassis.number, rail: null, role: 'hostSignal', name } as const;
    return line && parts.net(line, given, name, false);
  };
  const posted = netOf(hostSignals?.postComplete, POST_COMPLETE);
  const inReset = netOf(hostSignals?.platformReset, PLATFORM_RESET);
  Object.values(resets).forEach(({ heldUntil }, at) => {
    const net = chassis.resets[at];
    if (heldUntil === undefined || net === undefined) return;
    const isShown = () =>
      heldUntil.signal === 'postComplete'
        ? posted !== undefined && netAsserted(posted)
        : inReset !== undefined && !netAsserted(inReset);
    chassis.heldResets.set(net, isShown);
  });
}

/** Rails that are only watched, and that nothing with an enable stands before. */
export function suppliesOf({ rails }: Pick<ChassisBoard, 'rails'>): ReadonlySet<string> {
  const known = new Map<string, boolean>();
  const isSupply = (name: string): boolean => {
    const rail = rails[name];
    const found = known.get(name) ?? (rail?.enable === undefined && (rail?.needs ?? []).every(isSupply));
    known.set(name, found);
    return found;
  };
  return new Set(Object.keys(rails).filter(isSupply));
}

function connectNeeds(rails: readonly Rail[]): void {
  for (const rail of rails) {
    for (const name of rail.board.needs) {
      const need = rails.find((other) => other.name === name);
      if (need === undefined) continue;
      rail.needs.push(need);
      need.neededBy.push(rail);
    }
    rail.offAfter.push(...rails.filter(({ name }) => rail.board.offAfter?.includes(name)));
  }
}

/** @param isNeeded another rail, a device or pgood counts on it */
function buildRail(
  chassis: Chassis,
  name: string,
  described: RailBoard,
  isNeeded: boolean,
  parts: Parts,
  { board, isOn, startMs, riseMs, fallMs }: BuildOptions,
): Rail {
  const { enable, good, setup } = described;
  const vout = good !== undefined && 'minVolts' in good ? good : undefined;
  const nominalVolts = described.nominalVolts ?? nominalFor(vout);
  // What cannot be seen to be good must be so when its settle time is over.
  const unseenMs = good === undefined && isNeeded ? described.settleMs / 2 : Number.POSITIVE_INFINITY;
  const part = { chassis: chassis.number, rail: name, name };
  const enableSignal =
    enable &&
    ('pulse' in enable
      ? buildHost(part, enable, parts, isOn, startMs)
      : 'pmbus' in enable
        ? parts.page(enable.pmbus, enable.page, chassis.number, name)
        : parts.net(enable, { ...part, role: 'enable' }, `enable of rail ${name}`, true));
  const volts = isOn ? nominalVolts : 0;
  const rail: Rail = {
    chassis,
    name,
    board: described,
    nominalVolts,
    goodVolts: vout?.minVolts ?? GOOD_SHARE * nominalVolts,
    riseMs: riseMs[name] ?? Math.min(clamp(described.onTimeoutMs / 10, 2, 50), unseenMs),
    fallMs: fallMs[name] ?? clamp(described.offTimeoutMs / 10, 5, 100),
    needs: [],
    neededBy: [],
    offAfter: [],
    enable: enableSignal,
    part: partOf(chassis, described, part, parts),
    goodNet: undefined,
    settings: setup && createSettings(setup, board.devices[setup.pmbus] ?? {}, isOn),
    faults: [],
    goodFaults: [],
    sensorFaults: [],
    enabled: isOn,
    wanted: isOn,
    wantedAtMs: Number.NEGATIVE_INFINITY,
    segment: { atMs: startMs, fromVolts: volts, toVolts: volts, slope: Number.POSITIVE_INFINITY },
    good: isOn,
    steered: null,
    wasGood: isOn,
    enabledAtMs: startMs,
    wasUnder: false,
    tripped: new Set(),
    failedAtMs: Number.NEGATIVE_INFINITY,
    cancelCrossing: () => undefined,
  };
  rail.part?.rails.push(rail);
  enableSignal?.rails.push(rail);
  if (good !== undefined && isLine(good)) {
    rail.goodNet = parts.net(good, { ...part, role: 'good' }, `good signal of rail ${name}`, true);
    rail.goodNet.sources.push(() => rail.good);
    rail.goodNet.level = levelOf(rail.goodNet);
  }
  return rail;
}

/** The part that the rail is on, by what tells of it. */
function partOf(
  chassis: Chassis,
  { presence }: RailBoard,
  of: { readonly chassis: number; readonly rail: string; readonly name: string },
  { net }: Pick<Parts, 'net'>,
): Part | undefined {
  if (presence === undefined) return undefined;
  const key = JSON.stringify(presence);
  const known = chassis.parts.get(key);
  if (known !== undefined) return known;
  const part: Part = { rails: [], net: undefined, absences: [], shownFaults: [] };
  if (isLine(presence)) {
    const shown = net(presence, { ...of, role: 'presence' }, `presence of rail ${of.rail}`, true);
    shown.sources.push(() => isThere(part));
    shown.level = levelOf(shown);
    part.net = shown;
  }
  chassis.parts.set(key, part);
  return part;
}

function buildHost(
  part: { readonly chassis: number; readonly rail: string; readonly name: string },
  { pulse, state, sleepState, ...times }: PulseBoard,
  parts: Parts,
  isOn: boolean,
  startMs: number,
): Host {
  const { chassis, rail } = part;
  const host: Host = {
    key: `host:${chassis}/${rail}`,
    role: 'enable',
    chassis,
    rail,
    faults: [],
    changes: 0,
    changedAtMs: startMs,
    direction: 'out',
    level: isOn ? 1 : 0,
    button: parts.net(pulse, { ...part, role: 'button' }, `power button of rail ${rail}`, false),
    stateNet: undefined,
    rails: [],
    times: hostTimes(times),
    deafFaults: [],
    leavingFaults: [],
    sleeps: sleepState === true,
    isOn,
    pressedAtMs: null,
    press: null,
    cancelPress: () => undefined,
    cancelShutdown: () => undefined,
  };
  if (state !== undefined) {
    host.stateNet = parts.net(state, { ...part, role: 'state' }, `state of rail ${rail}`, true);
    host.stateNet.sources.push(() => host.level === 1);
  }
  return host;
}

function nominalFor(vout: { minVolts: number; maxVolts?: number | undefined } | undefined): number {
  if (vout === undefined) return DEFAULT_NOMINAL_VOLTS;
  return vout.maxVolts === undefined ? vout.minVolts / GOOD_SHARE : (vout.minVolts + vout.maxVolts) / 2;
}

function clamp(value: number, least: number, most: number): number {
  return Math.min(Math.max(value, least), most);
}
