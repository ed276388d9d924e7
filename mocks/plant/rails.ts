import type { Clock } from '../../hw/ports.ts';
import {
  type Chassis,
  delivers,
  type Host,
  isEnabled,
  isHost,
  isMissing,
  isThere,
  isUnder,
  isWanted,
  type Net,
  type Part,
  type Rail,
  travelMs,
  voltsAt,
} from './circuit.ts';
import type { History } from './events.ts';
import { isTold, UNTOLD_SHARE } from './settings.ts';
import type { Timers } from './timers.ts';

/** Where a rail ends that droops, or never gets good. */
const DROOPED_SHARE = 0.5;

/** Voltages of the rails, good signals, and pgood, which follows all rails of a chassis whose parts are there. */
export interface Rails {
  /** The rail follows its enable. */
  enableChanged(rail: Rail): void;
  /** The BMC has asked for the rail, or does not any more: pgood waits for those of parts only while it does. */
  wantedChanged(rail: Rail): void;
  /** The rail goes where its enable, its needs and its faults have it go from now on. */
  update(rail: Rail): void;
  voltsOf(rail: Rail): number;
  /** It came or went, or what tells of it did. */
  partChanged(chassis: Chassis, part: Part): void;
  /** From now on the rail, or pgood where there is none, is good or not, whatever it hangs on; null lets it go. */
  steer(chassis: Chassis, rail: Rail | undefined, good: boolean | null): void;
}

export interface RailOptions {
  readonly clock: Pick<Clock, 'nowMs'>;
  readonly timers: Timers;
  readonly history: History;
  /** From all rails good to pgood. */
  readonly pgoodDelayMs: number;
  /** A net whose sources have changed. */
  refresh(net: Net): void;
  /** A host has lost the power that it runs on. */
  hostLost(host: Host): void;
  /** Told after everything else of a rail, or of the chassis where there is none, that became good or was lost. */
  goodChanged(chassis: Chassis, rail: Rail | undefined, good: boolean): void;
}

export function createRails(options: RailOptions): Rails {
  const { clock, timers, history } = options;
  const voltsOf = (rail: Rail): number => voltsAt(rail, clock.nowMs());

  const enableChanged = (rail: Rail): void => {
    const enabled = isEnabled(rail);
    if (enabled === rail.enabled) return;
    // Status bits stay until the output is switched on again (PMBus specification 1.3.1 part II, 10.2).
    rail.wasUnder = !enabled && (rail.wasUnder || isUnder(rail, clock.nowMs()));
    rail.enabled = enabled;
    if (enabled) {
      rail.tripped.clear();
      rail.enabledAtMs = clock.nowMs();
      rail.wasGood = rail.good;
    }
    update(rail);
    for (const dependent of rail.neededBy) if (dependent.enable === undefined) enableChanged(dependent);
  };

  const update = (rail: Rail): void => {
    noteTrips(rail);
    const fromVolts = voltsOf(rail);
    const { toVolts, speed } = courseOf(rail, fromVolts);
    const slope = toVolts < fromVolts ? -speed : speed;
    if (toVolts === rail.segment.toVolts && (toVolts === fromVolts || slope === rail.segment.slope)) return;

    const atMs = clock.nowMs();
    rail.segment = { atMs, fromVolts, toVolts, slope };
    const untilMs = atMs + travelMs(fromVolts, toVolts, speed);
    const { chassis, name } = rail;
    history.record({
      type: 'ramp',
      atMs,
      chassis: chassis.number,
      rail: name,
      volts: fromVolts,
      toVolts,
      untilMs,
    });

    rail.cancelCrossing();
    const good = toVolts >= rail.goodVolts;
    if (good === rail.good) return;
    const delayMs = travelMs(fromVolts, rail.goodVolts, speed);
    if (delayMs === 0) setGood(rail, good);
    else rail.cancelCrossing = timers.after(delayMs, () => setGood(rail, good));
  };

  const setGood = (rail: Rail, good: boolean): void => {
    rail.good = good;
    if (!good && rail.enabled) rail.wasUnder = true;
    const atMs = clock.nowMs();
    if (good) rail.wasGood = true;
    else if (isWanted(rail)) rail.failedAtMs = atMs;
    const { chassis, name } = rail;
    history.record({
      type: 'rail',
      atMs,
      chassis: chassis.number,
      rail: name,
      good,
      volts: voltsOf(rail),
    });
    for (const dependent of rail.neededBy) {
      if (good && dependent.enable === undefined) dependent.enabledAtMs = atMs;
      update(dependent);
    }
    if (rail.goodNet !== undefined) options.refresh(rail.goodNet);
    followPgood(chassis, options);
    options.goodChanged(chassis, rail, good);
    if (good) return;
    // One that is not good yet, or not any more, loses what it runs on with no change of its own.
    for (const { enable, enabled } of [rail, ...rail.neededBy.filter((dependent) => !dependent.good)])
      if (enabled && enable && isHost(enable)) options.hostLost(enable);
  };

  const [steer, partChanged] = [steerer(options, update), follower(options, update)];
  return { enableChanged, wantedChanged: waiter(options), update, voltsOf, steer, partChanged };
}

/** A regulator that is on notices what makes it switch itself off. */
function noteTrips({ enabled, faults, tripped }: Rail): void {
  if (!enabled) return;
  for (const { effect } of faults.map(({ fault }) => fault)) {
    if (effect.on === 'rail' && effect.does === 'trips') tripped.add(effect.over);
  }
}

function waiter(options: RailOptions): Rails['wantedChanged'] {
  return ({ chassis }) => {
    if (chassis.parts.size > 0) followPgood(chassis, options);
  };
}

function follower(options: RailOptions, update: Rails['update']): Rails['partChanged'] {
  return (chassis, part) => {
    for (const rail of part.rails) update(rail);
    followPgood(chassis, options);
  };
}

function steerer(options: RailOptions, update: Rails['update']): Rails['steer'] {
  return (chassis, rail, good) => {
    if (rail !== undefined) {
      rail.steered = good;
      update(rail);
      return;
    }
    chassis.pgoodSteered = good;
    followPgood(chassis, options);
  };
}

/** pgood comes some time after the last rail, and goes with the first. */
function followPgood(
  chassis: Chassis,
  { clock, timers, pgoodDelayMs, refresh, goodChanged }: RailOptions,
): void {
  const setPgood = (pgood: boolean): void => {
    chassis.pgood = pgood;
    if (!pgood && chassis.rails.every((rail) => isWanted(rail) || isMissing(rail)))
      chassis.failedAtMs = clock.nowMs();
    for (const { net } of chassis.pgoodSources) if (net !== undefined) refresh(net);
    goodChanged(chassis, undefined, pgood);
  };
  chassis.cancelPgood();
  chassis.cancelPgood = () => undefined;
  const good =
    chassis.pgoodSteered ?? chassis.rails.every((rail) => rail.good || rail.board.logOnly || isLeftOut(rail));
  if (good === chassis.pgood) return;
  if (good && chassis.pgoodSteered === null)
    chassis.cancelPgood = timers.after(pgoodDelayMs, () => setPgood(true));
  else setPgood(good);
}

/** It is of a part that is not there, or that nobody has asked for, or hangs on such a one: pgood waits for what is on. */
function isLeftOut(rail: Rail): boolean {
  return rail.part !== undefined && (isMissing(rail) || !isWanted(rail) || rail.needs.some(isLeftOut));
}

/** Where a rail goes from a voltage, and how fast in volts per millisecond. */
function courseOf(rail: Rail, fromVolts: number): { readonly toVolts: number; readonly speed: number } {
  if (rail.steered !== null)
    return { toVolts: rail.steered ? rail.nominalVolts : 0, speed: Number.POSITIVE_INFINITY };
  const faults = rail.faults.flatMap(({ fault: { effect } }) => (effect.on === 'rail' ? [effect] : []));
  // One that has switched itself off stays so until it is switched on again.
  const shorted = rail.tripped.size > 0 || faults.some(({ does }) => does === 'shorts');
  const weak = faults.some(({ does }) => does === 'droops' || does === 'neverGood');
  // A regulator that was not told its voltage has the one that it comes with.
  const told = rail.settings === undefined || isTold(rail.settings) ? 1 : UNTOLD_SHARE;
  const share = !delivers(rail) || shorted ? 0 : weak ? DROOPED_SHARE : told;
  const toVolts = share * rail.nominalVolts;
  const rises = toVolts > fromVolts;
  const extraMs = faults.reduce((sum, effect) => {
    const edge = rises ? 'slowRise' : 'slowFall';
    return effect.does === edge && 'extraMs' in effect ? sum + effect.extraMs : sum;
  }, 0);
  const isGone = shorted || !isThere(rail.part);
  const spanMs = rises ? rail.riseMs + extraMs : isGone ? 0 : rail.fallMs + extraMs;
  return { toVolts, speed: spanMs === 0 ? Number.POSITIVE_INFINITY : rail.nominalVolts / spanMs };
}
