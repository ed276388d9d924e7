import type { Clock, Level, LineRef } from '../hw/ports.ts';
import type { Board, ChassisBoard, LineBoard, RailBoard } from '../src/board/schema.ts';
import {
  type ArmedFault,
  type Chassis,
  type Device,
  delivers,
  enableAsserted,
  isPage,
  type Net,
  netAsserted,
  opposite,
  type Page,
  type Rail,
  type Signal,
  travelMs,
  voltsAt,
  withFaults,
} from './circuit.ts';
import { createDamageRules } from './damage.ts';
import { chassisOf, checkFault, type Fault, faultLineKey } from './faults.ts';
import { lineKey } from './line-key.ts';
import { createPmbusDevice, type PmbusDevice, type PmbusOutput } from './pmbus-device.ts';

export type LineRole = 'enable' | 'good' | 'pgood' | 'reset' | 'latch';

/** One line as it stands. An enable over PMBus is listed as `pmbus:<device>/<page>`. */
export interface PlantLine {
  readonly line: string;
  readonly role: LineRole;
  readonly chassis: number;
  /** Rail of an enable or good line. */
  readonly rail: string | null;
  /** Seen from the BMC. */
  readonly direction: 'in' | 'out';
  readonly level: Level;
  readonly asserted: boolean;
  /** What the BMC drives it to, whatever it reads: asserted or not. Null while the BMC leaves it alone. */
  readonly driven: boolean | null;
  /** How often the level changed since the plant started. */
  readonly changes: number;
}

export interface PlantRail {
  readonly chassis: number;
  readonly rail: string;
  readonly nominalVolts: number;
  readonly volts: number;
  /** What its enable says, as it stands electrically. */
  readonly enabled: boolean;
  /** Electrically, whatever its good signal says. */
  readonly good: boolean;
}

/** What happened to the chassis. Times are those of the plant's clock. */
export type PlantEvent =
  /** Level or direction of a line, or the on bit of a PMBus output, changed. */
  | {
      readonly type: 'line';
      readonly atMs: number;
      readonly line: string;
      readonly role: LineRole;
      readonly chassis: number;
      readonly rail: string | null;
      readonly direction: 'in' | 'out';
      readonly level: Level;
      readonly asserted: boolean;
    }
  /** The BMC drove a line, or the on bit of a PMBus output, whether it followed or not. */
  | {
      readonly type: 'drive';
      readonly atMs: number;
      readonly line: string;
      readonly role: LineRole;
      readonly chassis: number;
      readonly rail: string | null;
      readonly asserted: boolean;
    }
  /** A rail starts towards another voltage: linear from `volts` now to `toVolts` at `untilMs`. */
  | {
      readonly type: 'ramp';
      readonly atMs: number;
      readonly chassis: number;
      readonly rail: string;
      readonly volts: number;
      readonly toVolts: number;
      readonly untilMs: number;
    }
  /** A rail crossed its good threshold. */
  | {
      readonly type: 'rail';
      readonly atMs: number;
      readonly chassis: number;
      readonly rail: string;
      readonly good: boolean;
      readonly volts: number;
    }
  | { readonly type: 'fault'; readonly atMs: number; readonly fault: string; readonly active: boolean }
  | ({ readonly type: 'hazard' } & Hazard);

export type HazardKind =
  /** A rail was enabled while one that it needs was not good. */
  | 'enabledTooEarly'
  /** A rail was disabled while one that needs it was still enabled. */
  | 'needRemoved'
  /** An enable was switched over and back within less than a millisecond. */
  | 'enableGlitch'
  /** A reset is released though there is no pgood, or the power goes down under a released reset. */
  | 'resetWithoutPgood';

/** Something that can damage a real chassis and that the program did; what faults do is not counted. */
export interface Hazard {
  readonly atMs: number;
  readonly kind: HazardKind;
  readonly chassis: number;
  /** Rail or reset that it happened to. */
  readonly name: string;
  readonly text: string;
}

/** The electrical side of a GPIO line, for the mock backend. */
export interface PlantPin {
  readonly key: string;
  /** For messages: `line C3 of 1e780000.gpio (enable of rail P1V8)`. */
  readonly label: string;
  /** The chassis drives it: a good signal or pgood. */
  readonly drivenByChassis: boolean;
  level(): Level;
  direction(): 'in' | 'out';
  /** The BMC makes it an output at this level. */
  drive(level: Level): void;
  /** Calls back after every change of level. Returns the function that ends it. */
  onChange(run: () => void): () => void;
  /** A change of level raises an interrupt. */
  raisesInterrupts(): boolean;
  /** Another program has the line. */
  busy(): boolean;
  /** Reading it fails. */
  unreadable(): boolean;
  /** Who keeps it from other programs. */
  takenBy: 'ours' | 'foreign' | null;
  /** Nobody keeps it any more: it becomes an input, as on the controllers that do so. */
  free(): void;
}

/** A device at its bus, for the mock backend. */
export interface PlantI2cDevice {
  readonly name: string;
  readonly address: number;
  readonly registers: PmbusDevice;
  /** What happens to the transfer that starts now. Counts it. */
  nextTransfer(): 'answers' | 'nack' | 'hang' | 'busy';
}

export interface PlantBus {
  readonly bus: number | string;
  readonly devices: ReadonlyMap<number, PlantI2cDevice>;
  /** Waits for the bus, in the order asked, and holds it until the returned function is called. */
  hold(): Promise<() => void>;
}

/** How the simulated hardware behaves where the board file does not say. */
export interface PlantTiming {
  /** From all rails good to pgood. */
  readonly pgoodDelayMs: number;
  /** Time a program has to notice a fault before what it does counts as a hazard. */
  readonly reactionMs: number;
  /** Rise time by rail name. Default: a tenth of onTimeoutMs, 2 to 50 ms. */
  readonly riseMs: Readonly<Record<string, number>>;
  /** Fall time by rail name. Default: a tenth of offTimeoutMs, 5 to 100 ms. */
  readonly fallMs: Readonly<Record<string, number>>;
}

export interface PlantOptions {
  readonly board: Board;
  /** Chassis that exist, first one first. Default: all of the board, lowest first. */
  readonly chassis?: readonly number[];
  readonly clock: Clock;
  readonly faults?: readonly Fault[];
  readonly timing?: Partial<PlantTiming>;
  /**
   * `off` (default): as after a reset of the BMC, all pins inputs at their inactive level, resets asserted.
   * `on`: all rails up, enables and released resets driven by the BMC.
   */
  readonly initially?: 'off' | 'on';
  /** Lines that a name of the device tree stands for; a name that is not among them is a line of its own. */
  readonly lineNames?: Readonly<Record<string, Extract<LineRef, { readonly chip: string }>>> | undefined;
}

/**
 * The chassis below the program: lines, rails with voltages, and PMBus devices, as the board file has
 * them. It moves by the clock alone. A rail delivers while its enable is asserted and all that it needs is
 * good; its voltage then rises linearly, else it falls. It is good above 90 % of its voltage, or above the
 * board's `minVolts`. pgood follows all rails of the chassis, good signal or not.
 */
export interface Plant {
  readonly clock: Clock;
  readonly startMs: number;
  lines(): PlantLine[];
  rails(): PlantRail[];
  /** Oldest first; the newest 100,000. */
  readonly history: readonly PlantEvent[];
  readonly hazards: readonly Hazard[];
  /** Calls of the mock backends that break their contract, as told to the caller. */
  readonly misuses: readonly string[];
  /** @throws FaultSyntaxError when it names something this plant does not have */
  addFault(fault: Fault): void;
  /** Takes all faults away; the chassis behaves from now on. */
  clearFaults(): void;
  /** Forces a line from outside to a level, against whatever drives it; null lets go. */
  hold(line: LineRef, level: Level | null): void;
  /** Stops all timers. The chassis stands still from then on. */
  close(): void;

  /** For the mock backends. */
  readonly pins: ReadonlyMap<string, PlantPin>;
  readonly chips: ReadonlySet<string>;
  readonly buses: ReadonlyMap<number | string, PlantBus>;
  recordMisuse(text: string): void;
}

const DEFAULT_NOMINAL_VOLTS = 1;
/** Share of the nominal voltage at which a power good comparator usually trips. */
const GOOD_SHARE = 0.9;
/** Where a rail ends that droops, or never gets good. */
const DROOPED_SHARE = 0.5;
const OPERATION_ON_BIT = 0x80;
const HISTORY_LIMIT = 100_000;

export function createPlant(options: PlantOptions): Plant {
  const { board, clock } = options;
  const numbers = options.chassis ?? chassisOf(board);
  const on = options.initially === 'on';
  const timing: PlantTiming = { pgoodDelayMs: 5, reactionMs: 50, riseMs: {}, fallMs: {}, ...options.timing };

  const startMs = clock.nowMs();
  const history: PlantEvent[] = [];
  const hazards: Hazard[] = [];
  const misuses: string[] = [];
  const nets = new Map<string, Net>();
  const chips = new Set<string>();
  const pages = new Map<string, Page>();
  const devices = new Map<string, Device>();
  const chassisList: Chassis[] = [];
  const armed = new Set<ArmedFault>();
  const cancels = new Set<() => void>();
  let closed = false;

  const record = (event: PlantEvent): void => {
    history.push(event);
    if (history.length > HISTORY_LIMIT) history.splice(0, HISTORY_LIMIT / 10);
  };

  const after = (delayMs: number, run: () => void): (() => void) => {
    if (closed) return () => undefined;
    const stop = clock.after(delayMs, () => {
      cancels.delete(cancel);
      run();
    });
    const cancel = () => {
      cancels.delete(cancel);
      stop();
    };
    cancels.add(cancel);
    return cancel;
  };

  const hazard = (kind: HazardKind, chassis: Chassis, name: string, text: string): void => {
    const found: Hazard = { atMs: clock.nowMs(), kind, chassis: chassis.number, name, text };
    hazards.push(found);
    record({ type: 'hazard', ...found });
  };

  /** One text for one physical line. */
  const keyOf = (ref: LineRef): string | undefined => {
    const key = lineKey(ref);
    return key === undefined ? undefined : physical(key);
  };
  const physical = (key: string): string => {
    const named = key.startsWith('name:') ? options.lineNames?.[key.slice('name:'.length)] : undefined;
    return (named && lineKey(named)) ?? key;
  };

  // Signals

  const recordSignal = (signal: Signal, asserted: boolean): void => {
    const { key, role, chassis, rail, direction, level } = signal;
    record({ type: 'line', atMs: clock.nowMs(), line: key, role, chassis, rail, direction, level, asserted });
  };

  const recordDrive = ({ key, role, chassis, rail }: Signal, asserted: boolean): void => {
    record({ type: 'drive', atMs: clock.nowMs(), line: key, role, chassis, rail, asserted });
  };

  const levelNow = (net: Net): Level => {
    if (net.held !== null) return net.held;
    const fromBmc = net.direction === 'out' ? net.driven : net.pull;
    const asserted =
      net.sources.length > 0 ? net.sources.every((source) => source()) : fromBmc === net.activeLevel;
    return withFaults(net.faults, asserted) ? net.activeLevel : opposite(net.activeLevel);
  };

  const refreshNet = (net: Net, directionChanged = false): void => {
    const level = levelNow(net);
    const changed = level !== net.level;
    if (changed) {
      net.level = level;
      net.changes += 1;
      net.changedAtMs = clock.nowMs();
    }
    if (changed || directionChanged) recordSignal(net, netAsserted(net));
    if (!changed) return;
    for (const rail of net.rails) enableChanged(rail);
    for (const listener of [...net.listeners]) listener();
  };

  const pageOperation = (page: Page): number => {
    const isOn = (page.operation & OPERATION_ON_BIT) !== 0;
    if (withFaults(page.faults, isOn) === isOn) return page.operation;
    return isOn ? 0 : OPERATION_ON_BIT;
  };

  const refreshPage = (page: Page): void => {
    const level: Level = (pageOperation(page) & OPERATION_ON_BIT) !== 0 ? 1 : 0;
    if (level === page.level) return;
    page.level = level;
    page.changes += 1;
    page.changedAtMs = clock.nowMs();
    recordSignal(page, level === 1);
    for (const rail of page.rails) enableChanged(rail);
  };

  // Rails

  const enableChanged = (rail: Rail): void => {
    const enabled = enableAsserted(rail.enable);
    if (enabled === rail.enabled) return;
    rail.enabled = enabled;
    if (enabled) {
      rail.enabledAtMs = clock.nowMs();
      rail.wasGood = rail.good;
    }
    updateRail(rail);
  };

  const voltsNow = (rail: Rail): number => voltsAt(rail, clock.nowMs());

  const updateRail = (rail: Rail): void => {
    const faults = rail.faults.flatMap(({ fault: { effect } }) => (effect.on === 'rail' ? [effect] : []));
    const shorted = faults.some(({ does }) => does === 'shorts');
    const weak = faults.some(({ does }) => does === 'droops' || does === 'neverGood');
    const share = !delivers(rail) || shorted ? 0 : weak ? DROOPED_SHARE : 1;
    const toVolts = share * rail.nominalVolts;
    const fromVolts = voltsNow(rail);
    const extraMs = faults.reduce((sum, effect) => {
      const edge = toVolts > fromVolts ? 'slowRise' : 'slowFall';
      return effect.does === edge && 'extraMs' in effect ? sum + effect.extraMs : sum;
    }, 0);
    const spanMs = toVolts > fromVolts ? rail.riseMs + extraMs : shorted ? 0 : rail.fallMs + extraMs;
    const speed = spanMs === 0 ? Number.POSITIVE_INFINITY : rail.nominalVolts / spanMs;
    const slope = toVolts < fromVolts ? -speed : speed;
    if (toVolts === rail.segment.toVolts && (toVolts === fromVolts || slope === rail.segment.slope)) return;

    const atMs = clock.nowMs();
    rail.segment = { atMs, fromVolts, toVolts, slope };
    const untilMs = atMs + travelMs(fromVolts, toVolts, speed);
    const { chassis, name } = rail;
    record({ type: 'ramp', atMs, chassis: chassis.number, rail: name, volts: fromVolts, toVolts, untilMs });

    rail.cancelCrossing();
    const good = toVolts >= rail.goodVolts;
    if (good === rail.good) return;
    const delayMs = travelMs(fromVolts, rail.goodVolts, speed);
    if (delayMs === 0) setGood(rail, good);
    else rail.cancelCrossing = after(delayMs, () => setGood(rail, good));
  };

  const setGood = (rail: Rail, good: boolean): void => {
    rail.good = good;
    const atMs = clock.nowMs();
    if (good) rail.wasGood = true;
    else if (rail.wanted) rail.failedAtMs = atMs;
    const { chassis, name } = rail;
    record({ type: 'rail', atMs, chassis: chassis.number, rail: name, good, volts: voltsNow(rail) });
    for (const dependent of rail.neededBy) updateRail(dependent);
    if (rail.goodNet !== undefined) refreshNet(rail.goodNet);
    updatePgood(chassis);
    for (const fault of armed) if (fault.rail === rail) followGood(fault, good);
  };

  const updatePgood = (chassis: Chassis): void => {
    chassis.cancelPgood();
    chassis.cancelPgood = () => undefined;
    const good = chassis.rails.every((rail) => rail.good);
    if (good === chassis.pgood) return;
    if (good) chassis.cancelPgood = after(timing.pgoodDelayMs, () => setPgood(chassis, true));
    else setPgood(chassis, false);
  };

  const setPgood = (chassis: Chassis, pgood: boolean): void => {
    chassis.pgood = pgood;
    if (!pgood && chassis.rails.every(({ wanted }) => wanted)) chassis.failedAtMs = clock.nowMs();
    if (chassis.pgoodNet !== undefined) refreshNet(chassis.pgoodNet);
    for (const fault of armed) {
      if (fault.rail === undefined && fault.chassis === chassis) followGood(fault, pgood);
    }
  };

  const rules = createDamageRules(clock, timing.reactionMs, hazard);

  /** The BMC asks for a rail, or no longer. */
  const wantRail = (rail: Rail, wanted: boolean): void => {
    if (rail.wanted === wanted) return;
    rules.railSwitched(rail, wanted);
    rail.wanted = wanted;
    rail.wantedAtMs = clock.nowMs();
  };

  const driveNet = (net: Net, level: Level): void => {
    const wasOutput = net.direction === 'out';
    const wanted = level === net.activeLevel;
    if (net.role === 'reset') {
      const released = (wasOutput ? net.driven : net.pull) !== net.activeLevel;
      const chassis = chassisList.find(({ number }) => number === net.chassis);
      if (!wanted && !released && chassis !== undefined) rules.resetReleased(chassis, net);
    }
    for (const rail of net.rails) wantRail(rail, wanted);
    recordDrive(net, wanted);
    net.direction = 'out';
    net.driven = level;
    net.failures = 0;
    refreshNet(net, !wasOutput);
  };

  const writeOperation = (page: Page, value: number): void => {
    const wanted = (value & OPERATION_ON_BIT) !== 0;
    for (const rail of page.rails) wantRail(rail, wanted);
    recordDrive(page, wanted);
    page.operation = value;
    page.failuresSeen = page.device.failures;
    refreshPage(page);
  };

  // Building

  const addNet = (
    ref: LineBoard,
    given: Pick<Net, 'role' | 'chassis' | 'rail' | 'name'>,
    part: string,
    startsAsserted: boolean,
  ): Net => {
    const key = keyOf(ref) ?? JSON.stringify(ref);
    const known = nets.get(key);
    if (known !== undefined) return known;
    if ('chip' in ref) chips.add(ref.chip);
    const activeLevel: Level = ref.active === 'high' ? 1 : 0;
    const pull = given.role === 'reset' ? activeLevel : opposite(activeLevel);
    const driven = startsAsserted ? activeLevel : opposite(activeLevel);
    const byBmc = given.role !== 'good' && given.role !== 'pgood';
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
      direction: on && byBmc ? 'out' : 'in',
      driven,
      held: null,
      level: on ? driven : pull,
      changes: 0,
      changedAtMs: startMs,
      failures: 0,
    };
    nets.set(key, net);
    return net;
  };

  const deviceOf = (name: string): Device => {
    const known = devices.get(name) ?? { name, failures: 0 };
    devices.set(name, known);
    return known;
  };

  const addPage = (device: string, page: number, chassis: number, rail: string): Page => {
    const key = `pmbus:${device}/${page}`;
    const known = pages.get(key);
    if (known !== undefined) return known;
    const added: Page = {
      key,
      role: 'enable',
      chassis,
      rail,
      device: deviceOf(device),
      page,
      rails: [],
      faults: [],
      direction: 'out',
      operation: on ? OPERATION_ON_BIT : 0,
      failuresSeen: 0,
      level: on ? 1 : 0,
      changes: 0,
      changedAtMs: startMs,
    };
    pages.set(key, added);
    return added;
  };

  const buildRail = (chassis: Chassis, name: string, described: RailBoard, needed: boolean): Rail => {
    const { enable, good } = described;
    const vout = good !== undefined && 'pmbus' in good ? good : undefined;
    const nominalVolts = described.nominalVolts ?? nominalFor(vout);
    // What cannot be seen to be good must be so when its settle time is over.
    const unseenMs = good === undefined && needed ? described.settleMs / 2 : Number.POSITIVE_INFINITY;
    const enableSignal =
      'pmbus' in enable
        ? addPage(enable.pmbus, enable.page, chassis.number, name)
        : addNet(
            enable,
            { role: 'enable', chassis: chassis.number, rail: name, name },
            `enable of rail ${name}`,
            true,
          );
    const rail: Rail = {
      chassis,
      name,
      board: described,
      nominalVolts,
      goodVolts: vout?.minVolts ?? GOOD_SHARE * nominalVolts,
      riseMs: timing.riseMs[name] ?? Math.min(clamp(described.onTimeoutMs / 10, 2, 50), unseenMs),
      fallMs: timing.fallMs[name] ?? clamp(described.offTimeoutMs / 10, 5, 100),
      needs: [],
      neededBy: [],
      enable: enableSignal,
      goodNet: undefined,
      faults: [],
      goodFaults: [],
      enabled: on,
      wanted: on,
      wantedAtMs: Number.NEGATIVE_INFINITY,
      segment: {
        atMs: startMs,
        fromVolts: on ? nominalVolts : 0,
        toVolts: on ? nominalVolts : 0,
        slope: Number.POSITIVE_INFINITY,
      },
      good: on,
      wasGood: on,
      enabledAtMs: startMs,
      failedAtMs: Number.NEGATIVE_INFINITY,
      cancelCrossing: () => undefined,
    };
    enableSignal.rails.push(rail);
    if (good !== undefined && !('pmbus' in good)) {
      rail.goodNet = addNet(
        good,
        { role: 'good', chassis: chassis.number, rail: name, name },
        `good signal of rail ${name}`,
        true,
      );
      rail.goodNet.sources.push(() => rail.good);
    }
    return rail;
  };

  const buildChassis = (number: number, described: ChassisBoard): void => {
    const chassis: Chassis = {
      number,
      rails: [],
      resets: [],
      pgoodNet: undefined,
      pgood: on,
      failedAtMs: Number.NEGATIVE_INFINITY,
      cancelPgood: () => undefined,
    };
    chassisList.push(chassis);
    const needed = new Set(Object.values(described.rails).flatMap(({ needs }) => needs));
    for (const [name, rail] of Object.entries(described.rails)) {
      chassis.rails.push(buildRail(chassis, name, rail, needed.has(name)));
    }
    for (const rail of chassis.rails) {
      for (const name of rail.board.needs) {
        const need = chassis.rails.find((other) => other.name === name);
        if (need === undefined) continue;
        rail.needs.push(need);
        need.neededBy.push(rail);
      }
    }
    const part = { chassis: number, rail: null };
    chassis.pgoodNet = addNet(described.pgood, { ...part, role: 'pgood', name: 'pgood' }, 'pgood', true);
    chassis.pgoodNet.sources.push(() => chassis.pgood);
    for (const [name, line] of Object.entries(described.resets)) {
      chassis.resets.push(addNet(line, { ...part, role: 'reset', name }, `reset ${name}`, false));
    }
    const { latch } = described;
    if (latch !== undefined) addNet(latch, { ...part, role: 'latch', name: 'latch' }, 'latch', false);
  };

  // PMBus

  const outputOf = (page: Page | undefined, rails: readonly Rail[]): PmbusOutput => {
    /** An output that shows several rails, or a watcher of the whole chassis, is good when all are. */
    const good = () => rails.every((rail) => withFaults(rail.goodFaults, rail.good));
    let other = OPERATION_ON_BIT;
    return {
      operation: () => (page === undefined ? other : pageOperation(page)),
      writeOperation: (value) => {
        if (page !== undefined) writeOperation(page, value);
        // The rail has its enable elsewhere; the register only keeps what was written.
        else other = value;
      },
      volts: () => {
        const [rail] = rails;
        if (rail === undefined) return 0;
        if (rail.goodFaults.length === 0) return voltsNow(rail);
        return withFaults(rail.goodFaults, rail.good) ? rail.nominalVolts : 0;
      },
      good,
      off: () => !rails.every(delivers),
      undervoltage: () =>
        !good() &&
        rails.some((rail) => {
          if (rail.good || !rail.enabled) return false;
          return rail.wasGood || clock.nowMs() - rail.enabledAtMs > rail.riseMs;
        }),
    };
  };

  const buildBuses = (): Map<number | string, PlantBus> => {
    const buses = new Map<number | string, PlantBus & { readonly devices: Map<number, PlantI2cDevice> }>();
    const allRails = chassisList.flatMap(({ rails }) => rails);
    for (const [name, { bus, address: text, vout }] of Object.entries(board.devices)) {
      const address = Number(text);
      const outputs = new Map<number, PmbusOutput>();
      for (const rail of allRails) {
        for (const part of [rail.board.enable, rail.board.good]) {
          if (part === undefined || !('pmbus' in part) || part.pmbus !== name || outputs.has(part.page))
            continue;
          const { page } = part;
          const shown = allRails.filter(({ board: { good } }) => isOutput(good, name, page));
          const switched = allRails.filter(({ board: { enable } }) => isOutput(enable, name, page));
          outputs.set(
            page,
            outputOf(pages.get(`pmbus:${name}/${page}`), shown.length > 0 ? shown : switched),
          );
        }
      }
      // A device that only watches shows the whole chassis on page 0.
      if (outputs.size === 0) outputs.set(0, outputOf(undefined, watchedRails(name)));

      const device = deviceOf(name);
      const known = buses.get(bus) ?? { bus, devices: new Map(), hold: createHold() };
      buses.set(bus, known);
      known.devices.set(address, {
        name,
        address,
        registers: createPmbusDevice({ bus, address }, outputs, vout),
        nextTransfer: () => {
          for (const fault of armed) {
            const { effect } = fault.fault;
            if (!fault.active || effect.on !== 'i2c' || effect.device !== name) continue;
            device.failures += 1;
            if (fault.transfersLeft !== null && --fault.transfersLeft === 0) disarm(fault);
            return effect.does;
          }
          return 'answers';
        },
      });
    }
    return buses;
  };

  /** The chassis that name the device as evidence, or else all. */
  const watchedRails = (device: string): Rail[] => {
    const naming = chassisList.filter(({ number }) => board.chassis[number]?.evidence.includes(device));
    return (naming.length > 0 ? naming : chassisList).flatMap(({ rails }) => rails);
  };

  // Faults

  const addFault = (fault: Fault): void => {
    checkFault(fault, board, numbers);
    const { effect } = fault;
    const number = fault.chassis ?? numbers[0];
    const chassis = chassisList.find((each) => each.number === number);
    if (chassis === undefined) return;
    const rail = 'rail' in effect ? chassis.rails.find(({ name }) => name === effect.rail) : undefined;
    const key = effect.on === 'line' ? faultLineKey(effect.line, board, chassis.number, numbers) : undefined;
    const fresh: ArmedFault = {
      fault,
      active: false,
      timers: [],
      struck: false,
      transfersLeft: effect.on === 'i2c' ? effect.times : null,
      rail,
      net: key === undefined ? undefined : nets.get(physical(key)),
      chassis,
    };
    armed.add(fresh);
    if (fault.when.kind === 'start') strike(fresh);
    else if (fault.when.kind === 'at') fresh.timers.push(after(fault.when.ms, () => strike(fresh)));
    else followGood(fresh, rail === undefined ? chassis.pgood : rail.good);
  };

  /** What the fault waits for has come or gone. */
  const followGood = (fault: ArmedFault, good: boolean): void => {
    const { when } = fault.fault;
    if (when.kind !== 'afterGood' || fault.struck) return;
    for (const cancel of fault.timers.splice(0)) cancel();
    if (good) fault.timers.push(after(when.ms, () => strike(fault)));
  };

  const strike = (fault: ArmedFault): void => {
    fault.struck = true;
    fault.active = true;
    record({ type: 'fault', atMs: clock.nowMs(), fault: fault.fault.text, active: true });
    applySignal(fault, (list) => list.push(fault));
    const { forMs } = fault.fault;
    if (forMs !== null) fault.timers.push(after(forMs, () => disarm(fault)));
  };

  const disarm = (fault: ArmedFault): void => {
    armed.delete(fault);
    for (const cancel of fault.timers.splice(0)) cancel();
    if (!fault.active) return;
    fault.active = false;
    record({ type: 'fault', atMs: clock.nowMs(), fault: fault.fault.text, active: false });
    applySignal(fault, (list) => list.splice(list.indexOf(fault), 1));
  };

  /** Changes the list of faults that a signal has, and lets the chassis follow. */
  const applySignal = (fault: ArmedFault, change: (list: ArmedFault[]) => void): void => {
    const { chassis, rail } = fault;
    const { on: subject } = fault.fault.effect;
    if (subject === 'rail' && rail !== undefined) {
      change(rail.faults);
      updateRail(rail);
    }
    if (subject === 'enable' && rail !== undefined) {
      change(rail.enable.faults);
      if (isPage(rail.enable)) refreshPage(rail.enable);
      else refreshNet(rail.enable);
    }
    if (subject === 'good' && rail !== undefined) {
      change(rail.goodNet === undefined ? rail.goodFaults : rail.goodNet.faults);
      if (rail.goodNet !== undefined) refreshNet(rail.goodNet);
    }
    if (subject === 'pgood' && chassis.pgoodNet !== undefined) {
      change(chassis.pgoodNet.faults);
      refreshNet(chassis.pgoodNet);
    }
  };

  const pinOf = (net: Net): PlantPin => {
    const struckBy = (does: 'busy' | 'readError' | 'noInterrupts'): boolean =>
      [...armed].some(
        ({ active, fault: { effect }, net: struck }) =>
          active &&
          effect.does === does &&
          (effect.on === 'gpio' || (effect.on === 'line' && struck === net)),
      );
    const hit = (does: 'busy' | 'readError'): boolean => {
      const struck = struckBy(does);
      if (struck) net.failures += 1;
      return struck;
    };
    return {
      key: net.key,
      label: net.label,
      drivenByChassis: net.sources.length > 0,
      level: () => net.level,
      direction: () => net.direction,
      drive: (level) => driveNet(net, level),
      onChange: (run) => {
        net.listeners.add(run);
        return () => net.listeners.delete(run);
      },
      raisesInterrupts: () => !struckBy('noInterrupts'),
      busy: () => hit('busy'),
      unreadable: () => hit('readError'),
      takenBy: null,
      free() {
        this.takenBy = null;
        if (net.direction === 'in') return;
        net.direction = 'in';
        refreshNet(net, true);
      },
    };
  };

  for (const number of numbers) {
    const described = board.chassis[number];
    if (described === undefined) throw new RangeError(`the board has no chassis ${number}`);
    buildChassis(number, described);
  }
  const buses = buildBuses();
  const pins = new Map([...nets].map(([key, net]) => [key, pinOf(net)] as const));
  for (const [name, line] of Object.entries(options.lineNames ?? {})) {
    chips.add(line.chip);
    const pin = pins.get(lineKey(line) ?? '');
    if (pin !== undefined) pins.set(`name:${name}`, pin);
  }
  for (const fault of options.faults ?? []) addFault(fault);

  return {
    clock,
    startMs,
    history,
    hazards,
    misuses,
    chips,
    buses,
    pins,
    addFault,

    lines: () =>
      [...nets.values(), ...pages.values()].map((signal) => ({
        line: signal.key,
        role: signal.role,
        chassis: signal.chassis,
        rail: signal.rail,
        direction: signal.direction,
        level: signal.level,
        asserted: 'activeLevel' in signal ? netAsserted(signal) : signal.level === 1,
        driven: drivenOf(signal),
        changes: signal.changes,
      })),

    rails: () =>
      chassisList.flatMap(({ number, rails }) =>
        rails.map((rail) => ({
          chassis: number,
          rail: rail.name,
          nominalVolts: rail.nominalVolts,
          volts: voltsNow(rail),
          enabled: rail.enabled,
          good: rail.good,
        })),
      ),

    clearFaults: () => {
      for (const fault of [...armed]) disarm(fault);
    },

    hold: (ref, level) => {
      const key = keyOf(ref);
      const net = key === undefined ? undefined : nets.get(key);
      if (net === undefined) throw new RangeError(`the plant has no line ${JSON.stringify(ref)}`);
      net.held = level;
      refreshNet(net);
    },

    close: () => {
      closed = true;
      for (const cancel of [...cancels]) cancel();
    },

    recordMisuse: (text) => {
      misuses.push(text);
    },
  };
}

function drivenOf(signal: Net | Page): boolean | null {
  if ('operation' in signal) return (signal.operation & OPERATION_ON_BIT) !== 0;
  return signal.direction === 'out' ? signal.driven === signal.activeLevel : null;
}

function isOutput(part: RailBoard['enable'] | RailBoard['good'], device: string, page: number): boolean {
  return part !== undefined && 'pmbus' in part && part.pmbus === device && part.page === page;
}

/** Grants one holder after the other. */
function createHold(): PlantBus['hold'] {
  let last: Promise<void> = Promise.resolve();
  return async () => {
    const before = last;
    let release = (): void => undefined;
    last = new Promise((resolve) => {
      release = resolve;
    });
    await before;
    return release;
  };
}

function nominalFor(vout: { minVolts: number; maxVolts?: number | undefined } | undefined): number {
  if (vout === undefined) return DEFAULT_NOMINAL_VOLTS;
  return vout.maxVolts === undefined ? vout.minVolts / GOOD_SHARE : (vout.minVolts + vout.maxVolts) / 2;
}

function clamp(value: number, least: number, most: number): number {
  return Math.min(Math.max(value, least), most);
}
