import type { Clock, Level } from '../../hw/ports.ts';
import {
  type Chassis,
  type Host,
  isAsserted,
  isHost,
  isPage,
  levelOf,
  type Net,
  OPERATION_ON_BIT,
  operationOf,
  type Page,
  type Rail,
} from './circuit.ts';
import type { DamageRules } from './damage.ts';
import type { History } from './events.ts';
import { isHostOn } from './hosts.ts';

/** What lines and on bits carry, and what the BMC makes of them. */
export interface Signals {
  /** Lets it stand where all that drives it says, and tells who depends on it. */
  refresh(signal: Net | Page | Host): void;
  /** The BMC asks a host to be on or off, by its button. */
  wantHost(host: Host, isOn: boolean, overrides?: true): void;
  /** The BMC makes the line an output at this level. */
  drive(net: Net, level: Level): void;
  /** Nobody keeps the line any more: it becomes an input. */
  free(net: Net): void;
  /** The BMC writes OPERATION. */
  writeOperation(page: Page, value: number): void;
  /** The device has lost its power: its output is off, and stays so when the power is back. */
  losePower(page: Page): void;
}

export interface SignalOptions {
  readonly clock: Pick<Clock, 'nowMs'>;
  readonly chassis: readonly Chassis[];
  readonly history: History;
  readonly rules: DamageRules;
  /** Told whenever a signal has changed, before all that follows from it. */
  changed(): void;
  /** Told whenever the enable of a rail may have changed. */
  enableChanged(rail: Rail): void;
  /** The line of a power button has moved. */
  buttonMoved(button: Net): void;
  /** The BMC has asked for a rail, or does not any more. */
  wantedChanged(rail: Rail): void;
}

export function createSignals(options: SignalOptions): Signals {
  const { clock, rules } = options;
  const record = recordsOf(options);
  const { refreshNet, refreshPage, refreshHost } = refreshesOf(options, record);

  /** The BMC asks for a rail, or no longer. */
  const wantRail = (rail: Rail, wanted: boolean): void => {
    if (rail.wanted === wanted) return;
    rules.railSwitched(rail, wanted);
    rail.wanted = wanted;
    rail.wantedAtMs = clock.nowMs();
    options.wantedChanged(rail);
  };

  return {
    refresh(signal) {
      if (isHost(signal)) refreshHost(signal);
      else if (isPage(signal)) refreshPage(signal);
      else refreshNet(signal);
    },

    wantHost(host, isOn, overrides) {
      for (const rail of host.rails) wantRail(rail, isOn);
      record.drive(host, isOn, overrides);
    },

    drive(net, level) {
      const wasOutput = net.direction === 'out';
      const wanted = level === net.activeLevel;
      if (net.role === 'reset') {
        const released = (wasOutput ? net.driven : net.pull) !== net.activeLevel;
        const chassis = options.chassis.find(({ number }) => number === net.chassis);
        if (!wanted && !released && chassis !== undefined) rules.resetReleased(chassis, net);
      }
      for (const rail of net.rails) wantRail(rail, wanted);
      record.drive(net, wanted);
      net.direction = 'out';
      net.driven = level;
      net.failures = 0;
      refreshNet(net, !wasOutput);
    },

    free(net) {
      if (net.direction === 'in') return;
      net.direction = 'in';
      refreshNet(net, true);
    },

    writeOperation(page, value) {
      const wanted = (value & OPERATION_ON_BIT) !== 0;
      for (const rail of page.rails) wantRail(rail, wanted);
      record.drive(page, wanted);
      page.operation = value;
      page.failuresSeen = page.device.failures;
      refreshPage(page);
    },

    losePower(page) {
      for (const rail of page.rails) {
        if (!rail.wanted) continue;
        rail.wanted = false;
        rail.failedAtMs = clock.nowMs();
        options.wantedChanged(rail);
      }
      page.operation = 0;
      refreshPage(page);
    },
  };
}

/** Lets nets, outputs and hosts stand where all that drives them says. */
function refreshesOf(options: SignalOptions, record: ReturnType<typeof recordsOf>) {
  const { clock } = options;

  const standAt = (signal: Net | Page | Host, level: Level, directionChanged: boolean): boolean => {
    const changed = level !== signal.level;
    if (changed) {
      signal.level = level;
      signal.changes += 1;
      signal.changedAtMs = clock.nowMs();
    }
    if (changed || directionChanged) record.level(signal);
    if (changed) {
      options.changed();
      for (const rail of signal.rails) options.enableChanged(rail);
    }
    return changed;
  };

  const refreshNet = (net: Net, directionChanged = false): void => {
    if (!standAt(net, levelOf(net), directionChanged)) return;
    for (const listener of [...net.listeners]) listener();
    if (net.role === 'button') options.buttonMoved(net);
  };

  const refreshHost = (host: Host): void => {
    // One that a fault keeps off is off, and stays so after the fault until somebody presses.
    if (host.isOn && !isHostOn(host)) {
      host.isOn = false;
      for (const rail of host.rails) rail.wanted = false;
    }
    standAt(host, isHostOn(host) ? 1 : 0, false);
    if (host.stateNet !== undefined) refreshNet(host.stateNet);
  };

  const refreshPage = (page: Page): void => {
    standAt(page, (operationOf(page) & OPERATION_ON_BIT) !== 0 ? 1 : 0, false);
  };

  return { refreshNet, refreshPage, refreshHost };
}

/** Entries of the history: where a signal stands now, and what the BMC drives it to. */
function recordsOf({ clock, history }: Pick<SignalOptions, 'clock' | 'history'>) {
  return {
    level(signal: Net | Page | Host): void {
      const { key, role, chassis, rail, direction, level } = signal;
      const asserted = isAsserted(signal);
      history.record({
        type: 'line',
        atMs: clock.nowMs(),
        line: key,
        role,
        chassis,
        rail,
        direction,
        level,
        asserted,
      });
    },

    drive({ key, role, chassis, rail }: Net | Page | Host, asserted: boolean, overrides?: true): void {
      history.record({
        type: 'drive',
        atMs: clock.nowMs(),
        line: key,
        role,
        chassis,
        rail,
        asserted,
        ...(overrides && { overrides }),
      });
    },
  };
}
