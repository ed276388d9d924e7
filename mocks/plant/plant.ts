import type { Clock, Level, LineRef } from '../../hw/ports.ts';
import type { Board } from '../../src/board/schema.ts';
import { type ArmedFaults, createArmedFaults } from './armed.ts';
import { buildCircuit } from './build.ts';
import { createBuses, type PlantBus } from './buses.ts';
import { type Circuit, drivenOf, isAsserted } from './circuit.ts';
import { createDamageRules, type DamageRules } from './damage.ts';
import { createHistory, type Hazard, type History, type LineRole, type PlantEvent } from './events.ts';
import { chassisOf, checkFault, type Fault, faultLineKey } from './faults.ts';
import { createHosts } from './hosts.ts';
import { lineKey } from './line-key.ts';
import { pgoodSeen } from './pgood.ts';
import { createPins, type LineNames, type PlantPin } from './pins.ts';
import { createDevicePower, type DevicePower } from './power.ts';
import { createProperties, type PlantProperty } from './properties.ts';
import { createRails, type Rails } from './rails.ts';
import { createSensors, type PlantSensor } from './sensors.ts';
import { createSignals, type Signals } from './signals.ts';
import { createTimers, type Timers } from './timers.ts';

/**
 * One line as it stands. An enable over PMBus is listed as `pmbus:<device>/<page>`, and what a power button switches as
 * `host:<chassis>/<rail>`.
 */
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
  /** What its enable says, as it stands electrically; of one that is only watched, what the enables that it hangs on say. */
  readonly enabled: boolean;
  /** Electrically, whatever its good signal says. */
  readonly good: boolean;
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
  readonly lineNames?: LineNames | undefined;
}

/**
 * The chassis below the program: lines, rails with voltages, and PMBus devices, as the board file has
 * them. It moves by the clock alone. A rail delivers while its enable is asserted and all that it needs is
 * good; its voltage then rises linearly, else it falls. One without an enable does so as if it had one that is always
 * asserted: it follows what it needs, and is there from the start where it needs nothing that is switched. It is good above 90 % of its voltage, or above the
 * board's `minVolts`. pgood follows all rails of the chassis whose parts are there, good signal or not. A device that a rail powers answers
 * from a quarter of that rail's settle time after it became good until it is lost, and comes back with its outputs off.
 */
export interface Plant {
  readonly clock: Clock;
  readonly startMs: number;
  lines(): PlantLine[];
  rails(): PlantRail[];
  /** What can be seen of pgood, all that it is taken from taken together. */
  pgood(chassis: number): boolean;
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
  /**
   * Moves a rail, or pgood for null, from outside: it is good or not at once, whatever it hangs on, and stays so. Null lets it go:
   * from then on it moves by itself.
   */
  steer(chassis: number, signal: string | null, good: boolean | null): void;
  /** Stops all timers. The chassis stands still from then on. */
  close(): void;

  /** For the mock backends. */
  readonly pins: ReadonlyMap<string, PlantPin>;
  readonly chips: ReadonlySet<string>;
  readonly buses: ReadonlyMap<number | string, PlantBus>;
  readonly sensors: ReadonlyMap<string, PlantSensor>;
  readonly properties: ReadonlyMap<string, PlantProperty>;
  recordMisuse(text: string): void;
}

export function createPlant(options: PlantOptions): Plant {
  const { board, clock, lineNames = {} } = options;
  const numbers = options.chassis ?? chassisOf(board);
  const timing: PlantTiming = { pgoodDelayMs: 5, reactionMs: 50, riseMs: {}, fallMs: {}, ...options.timing };
  const startMs = clock.nowMs();
  const timers = createTimers(clock);
  const history = createHistory(clock);
  const misuses: string[] = [];

  const { keyOf, physical } = createLineKeys(lineNames);
  const circuit = buildCircuit({
    board,
    chassis: numbers,
    isOn: options.initially === 'on',
    startMs,
    riseMs: timing.riseMs,
    fallMs: timing.fallMs,
    keyOf,
  });
  const parts = connectCircuit(circuit, { clock, timers, history, timing });
  const { signals, rails, faults } = parts;

  const addFault = (fault: Fault): void => {
    checkFault(fault, board, numbers);
    const { effect } = fault;
    const number = fault.chassis ?? numbers[0] ?? 0;
    const key = effect.on === 'line' ? faultLineKey(effect.line, board, number, numbers) : undefined;
    faults.add(fault, key === undefined ? undefined : physical(key));
  };

  const buses = createBuses({ board, circuit, clock, ...parts });
  const pins = createPins(circuit, signals, faults, lineNames);
  for (const fault of options.faults ?? []) addFault(fault);

  return {
    clock,
    startMs,
    history: history.events,
    hazards: history.hazards,
    misuses,
    chips: new Set([...circuit.chips, ...Object.values(lineNames).map(({ chip }) => chip)]),
    buses,
    sensors: createSensors(board, circuit, clock),
    properties: createProperties(board, circuit),
    pins,
    addFault,
    clearFaults: faults.clear,
    lines: () => linesOf(circuit),
    rails: () => railsOf(circuit, rails),
    pgood: (number) => circuit.chassis.find((each) => each.number === number)?.seen ?? false,

    hold: (ref, level) => {
      const key = keyOf(ref);
      const net = key === undefined ? undefined : circuit.nets.get(key);
      if (net === undefined) throw new RangeError(`the plant has no line ${JSON.stringify(ref)}`);
      net.held = level;
      signals.refresh(net);
    },

    steer: (number, signal, good) => {
      const steered = circuit.chassis.find((each) => each.number === number);
      const rail = steered?.rails.find(({ name }) => name === signal);
      if (steered === undefined || (signal !== null && rail === undefined))
        throw new RangeError(`the plant has no ${signal ?? 'pgood'} of chassis ${number}`);
      rails.steer(steered, rail, good);
    },

    close: timers.close,

    recordMisuse: (text) => {
      misuses.push(text);
    },
  };
}

/** Tells lines apart that several names may stand for. */
function createLineKeys(lineNames: LineNames) {
  const physical = (key: string): string => {
    const named = key.startsWith('name:') ? lineNames[key.slice('name:'.length)] : undefined;
    return (named && lineKey(named)) ?? key;
  };
  return {
    /** The one key of the line that this key stands for too. */
    physical,
    /** One text for one physical line. */
    keyOf: (ref: LineRef): string | undefined => {
      const key = lineKey(ref);
      return key === undefined ? undefined : physical(key);
    },
  };
}

/** Signals, rails and faults, each told what the others change. */
function connectCircuit(
  circuit: Circuit,
  given: {
    readonly clock: Clock;
    readonly timers: Timers;
    readonly history: History;
    readonly timing: PlantTiming;
  },
): {
  readonly signals: Signals;
  readonly rules: DamageRules;
  readonly rails: Rails;
  readonly faults: ArmedFaults;
  readonly power: DevicePower;
} {
  const { clock, timers, history, timing } = given;
  /** Follows what the BMC can see of pgood. */
  const followSeen = (): void => {
    for (const chassis of circuit.chassis) {
      const asserted = pgoodSeen(chassis);
      if (asserted === chassis.seen) continue;
      chassis.seen = asserted;
      chassis.seenSinceMs = clock.nowMs();
      history.record({ type: 'pgood', atMs: clock.nowMs(), chassis: chassis.number, asserted });
    }
  };
  const rules = createDamageRules(clock, timing.reactionMs, (kind, chassis, name, text) =>
    history.hazard(kind, chassis.number, name, text),
  );
  const signals = createSignals({
    clock,
    chassis: circuit.chassis,
    history,
    rules,
    changed: followSeen,
    enableChanged: (rail) => rails.enableChanged(rail),
    buttonMoved: (button) => hosts.moved(button),
    wantedChanged: (rail) => rails.wantedChanged(rail),
  });
  const hosts = createHosts({
    clock,
    timers,
    hosts: circuit.hosts,
    refresh: signals.refresh,
    want: signals.wantHost,
  });
  const rails = createRails({
    clock,
    timers,
    history,
    pgoodDelayMs: timing.pgoodDelayMs,
    refresh: signals.refresh,
    hostLost: hosts.lost,
    goodChanged: (chassis, rail, good) => {
      followSeen();
      if (rail !== undefined) power.goodChanged(rail, good);
      faults.goodChanged(chassis, rail, good);
    },
  });
  const power = createDevicePower({ clock, circuit, history, signals });
  const faults = createArmedFaults({
    clock,
    timers,
    history,
    circuit,
    refresh: signals.refresh,
    updateRail: rails.update,
    shutDown: hosts.shutDown,
    partChanged(chassis, part) {
      power.partsChanged();
      rails.partChanged(chassis, part);
    },
    changed: followSeen,
  });
  return { signals, rules, rails, faults, power };
}

function linesOf({ nets, pages, hosts }: Circuit): PlantLine[] {
  return [...nets.values(), ...pages.values(), ...hosts].map((signal) => ({
    line: signal.key,
    role: signal.role,
    chassis: signal.chassis,
    rail: signal.rail,
    direction: signal.direction,
    level: signal.level,
    asserted: isAsserted(signal),
    driven: drivenOf(signal),
    changes: signal.changes,
  }));
}

function railsOf({ chassis }: Circuit, { voltsOf }: Rails): PlantRail[] {
  return chassis.flatMap((each) =>
    each.rails.map((rail) => ({
      chassis: each.number,
      rail: rail.name,
      nominalVolts: rail.nominalVolts,
      volts: voltsOf(rail),
      enabled: rail.enabled,
      good: rail.good,
    })),
  );
}
