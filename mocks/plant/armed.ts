import type { Clock } from '../../hw/ports.ts';
import {
  type ArmedFault,
  type Chassis,
  type Circuit,
  type Device,
  type Host,
  isHost,
  type Net,
  type Page,
  type Part,
  type PgoodSource,
  type Rail,
} from './circuit.ts';
import type { History } from './events.ts';
import type { Fault, FaultEffect } from './faults.ts';
import { chipOf } from './line-key.ts';
import type { Timers } from './timers.ts';

/** What becomes of a transfer that starts now. */
export type TransferAnswer = 'answers' | 'nack' | 'hang' | 'busy' | 'noise';

/** The faults that were put in: they wait, strike, and end. */
export interface ArmedFaults {
  /** @param lineKey of the line that it hits, where it hits one */
  add(fault: Fault, lineKey: string | undefined): void;
  /** Takes all away. */
  clear(): void;
  /** A rail, or the chassis where there is none, became good or was lost. */
  goodChanged(chassis: Chassis, rail: Rail | undefined, good: boolean): void;
  /** Whether a line is struck by a fault that does this; a chip hangs with all its lines. */
  strikes(net: Net, does: 'busy' | 'readError' | 'hangs' | 'noInterrupts'): boolean;
  /** Whether another device is at its address. */
  isReplaced(device: string): boolean;
  /** Counts the transfer. */
  transferOf(device: Device): TransferAnswer;
}

export interface ArmedFaultOptions {
  readonly clock: Pick<Clock, 'nowMs'>;
  readonly timers: Timers;
  readonly history: History;
  readonly circuit: Circuit;
  /** Whose faults have changed. */
  refresh(signal: Net | Page | Host): void;
  updateRail(rail: Rail): void;
  /** The host switches itself off. */
  shutDown(host: Host): void;
  /** A part came or went. */
  partChanged(chassis: Chassis, part: Part): void;
  /** Told when what a signal says may have changed. */
  changed(): void;
}

export function createArmedFaults(options: ArmedFaultOptions): ArmedFaults {
  const { clock, timers, history, circuit } = options;
  const armed = new Set<ArmedFault>();

  /** What the fault waits for has come or gone. */
  const followGood = (fault: ArmedFault, good: boolean): void => {
    const { when } = fault.fault;
    if (when.kind !== 'afterGood' || fault.struck) return;
    for (const cancel of fault.timers.splice(0)) cancel();
    if (good) fault.timers.push(timers.after(when.ms, () => strike(fault)));
  };

  const strike = (fault: ArmedFault): void => {
    fault.struck = true;
    fault.active = true;
    history.record({ type: 'fault', atMs: clock.nowMs(), fault: fault.fault.text, active: true });
    changeFaultsOfTarget(fault, options, (list) => list.push(fault));
    options.changed();
    const { forMs } = fault.fault;
    if (forMs !== null) fault.timers.push(timers.after(forMs, () => disarm(fault)));
  };

  const disarm = (fault: ArmedFault): void => {
    armed.delete(fault);
    for (const cancel of fault.timers.splice(0)) cancel();
    if (!fault.active) return;
    fault.active = false;
    history.record({ type: 'fault', atMs: clock.nowMs(), fault: fault.fault.text, active: false });
    changeFaultsOfTarget(fault, options, (list) => list.splice(list.indexOf(fault), 1));
    options.changed();
  };

  return {
    add(fault, lineKey) {
      const fresh = armedFault(circuit, fault, lineKey);
      if (fresh === undefined) return;
      armed.add(fresh);
      if (fault.when.kind === 'start') strike(fresh);
      else if (fault.when.kind === 'at') fresh.timers.push(timers.after(fault.when.ms, () => strike(fresh)));
      else followGood(fresh, fresh.rail === undefined ? fresh.chassis.pgood : fresh.rail.good);
    },

    clear() {
      for (const fault of [...armed]) disarm(fault);
    },

    goodChanged(chassis, rail, good) {
      for (const fault of armed) {
        if (fault.rail === rail && fault.chassis === chassis) followGood(fault, good);
      }
    },

    strikes: (net, does) =>
      [...armed].some(
        ({ active, fault: { effect }, net: struck }) =>
          active && effect.does === does && isAbout(effect, net, struck),
      ),

    isReplaced: (device) =>
      [...armed].some(
        ({ active, fault: { effect } }) => active && effect.on === 'device' && effect.device === device,
      ),

    transferOf(device) {
      for (const fault of armed) {
        const { effect } = fault.fault;
        if (!fault.active || effect.on !== 'i2c' || effect.device !== device.name) continue;
        device.failures += 1;
        if (fault.transfersLeft !== null && --fault.transfersLeft === 0) disarm(fault);
        return effect.does;
      }
      return 'answers';
    },
  };
}

/** The fault, not struck yet, with what it hits; undefined where it is about a chassis that does not exist. */
function armedFault(circuit: Circuit, fault: Fault, lineKey: string | undefined): ArmedFault | undefined {
  const { effect } = fault;
  const number = fault.chassis ?? circuit.chassis[0]?.number;
  const chassis = circuit.chassis.find((each) => each.number === number);
  if (chassis === undefined) return undefined;
  return {
    fault,
    active: false,
    timers: [],
    struck: false,
    transfersLeft: effect.on === 'i2c' ? effect.times : null,
    rail: 'rail' in effect ? chassis.rails.find(({ name }) => name === effect.rail) : undefined,
    net: lineKey === undefined ? undefined : circuit.nets.get(lineKey),
    chassis,
  };
}

/** Changes the list of faults of the rail or signal that a fault hits, and lets the chassis follow. */
function changeFaultsOfTarget(
  armed: ArmedFault,
  {
    refresh,
    updateRail,
    shutDown,
    partChanged,
  }: Pick<ArmedFaultOptions, 'refresh' | 'updateRail' | 'shutDown' | 'partChanged'>,
  change: (list: ArmedFault[]) => void,
): void {
  const { fault, chassis, rail } = armed;
  const changeSignal = (signal: Net | Page | Host | undefined): void => {
    if (signal === undefined) return;
    change(signal.faults);
    refresh(signal);
  };
  switch (fault.effect.on) {
    case 'rail':
      if (rail === undefined) break;
      change(rail.faults);
      updateRail(rail);
      break;
    case 'part':
      if (rail?.part === undefined) break;
      change(rail.part.absences);
      if (rail.part.net !== undefined) refresh(rail.part.net);
      partChanged(chassis, rail.part);
      break;
    case 'presence':
      if (rail?.part?.net !== undefined) changeSignal(rail.part.net);
      else if (rail?.part !== undefined) change(rail.part.shownFaults);
      break;
    case 'enable':
      changeSignal(rail?.enable);
      break;
    case 'setup':
      if (rail?.settings !== undefined) change(rail.settings.faults);
      break;
    case 'button':
    case 'state':
    case 'shutdown': {
      const host = rail?.enable;
      if (host === undefined || !isHost(host)) break;
      if (fault.effect.on === 'shutdown') change(host.deafFaults);
      else changeSignal(fault.effect.on === 'button' ? host.button : host.stateNet);
      break;
    }
    case 'host':
      if (rail?.enable === undefined || !isHost(rail.enable)) break;
      change(rail.enable.leavingFaults);
      if (rail.enable.leavingFaults.includes(armed)) shutDown(rail.enable);
      break;
    case 'panel':
      changeSignal(fault.effect.button === 'power' ? chassis.powerButton : chassis.resetButton);
      break;
    case 'good':
      if (rail !== undefined && rail.goodNet === undefined) change(rail.goodFaults);
      else changeSignal(rail?.goodNet);
      break;
    case 'sensor':
      if (rail !== undefined) change(rail.sensorFaults);
      break;
    case 'pgood':
      for (const source of pgoodSourcesHit(fault.effect, chassis)) {
        change(source.faults);
        if (source.net !== undefined) refresh(source.net);
      }
      break;
  }
}

function pgoodSourcesHit(effect: FaultEffect & { readonly on: 'pgood' }, chassis: Chassis): PgoodSource[] {
  return chassis.pgoodSources.filter(
    ({ isSignal }, index) => isSignal && (effect.source === null || effect.source === index + 1),
  );
}

/** @param struck the line that the fault names */
function isAbout(effect: FaultEffect, net: Net, struck: Net | undefined): boolean {
  if (effect.on === 'gpio') return true;
  if (effect.on !== 'line' || struck === undefined) return false;
  return effect.does === 'hangs' ? chipOf(struck.key) === chipOf(net.key) : struck === net;
}
