import type { Clock } from '../../hw/ports.ts';
import { drivenOf, type Host, type HostTimes, type Net, netAsserted, withFaults } from './circuit.ts';
import type { Timers } from './timers.ts';

/** Power buttons, as the chipset of an x86 host has them. */
export interface Hosts {
  /** The line of the button has moved, whoever moved it. */
  moved(button: Net): void;
  /** The power behind it is gone: a host that nothing but its power shows is off then, and one with a sleep state a moment later. */
  lost(host: Host): void;
  /** It switches itself off. */
  shutDown(host: Host): void;
}

export interface HostOptions {
  readonly clock: Pick<Clock, 'nowMs'>;
  readonly timers: Timers;
  readonly hosts: readonly Host[];
  /** It is on or off now, or its faults have changed. */
  refresh(host: Host): void;
  /** The BMC has asked for it to be on, or off. `overrides`: by holding the button, whatever the press began with. */
  want(host: Host, isOn: boolean, overrides?: true): void;
}

/** A press of the chipset's power button override (ACPI 6.5, 4.8.2.2.1.3) switches off without asking anybody. */
const OVERRIDE_MS = 4_000;
const DEBOUNCE_MS = 16;
const ON_AFTER_MS = 40;
const SHUTDOWN_MS = 300;
/** A chipset without power good enters S5 by itself. */
const ASLEEP_AFTER_LOSS_MS = 1;

/** The times of a host that fit those that the board file gives it. */
export function hostTimes({
  onMs,
  forceOffMs,
  gracefulMs,
}: {
  readonly onMs: number;
  readonly forceOffMs: number;
  readonly gracefulMs?: number | undefined;
}): HostTimes {
  return {
    debounceMs: Math.min(DEBOUNCE_MS, onMs / 2),
    onAfterMs: ON_AFTER_MS,
    overrideMs: Math.min(OVERRIDE_MS, forceOffMs / 2),
    shutdownMs: gracefulMs === undefined ? SHUTDOWN_MS : Math.min(SHUTDOWN_MS, gracefulMs / 2),
  };
}

export function createHosts({ clock, timers, hosts, refresh, want }: HostOptions): Hosts {
  const hostOf = (button: Net): Host | undefined => hosts.find((host) => host.button === button);

  const turn = (host: Host, isOn: boolean): void => {
    host.cancelShutdown();
    if (host.isOn === isOn) return;
    host.isOn = isOn;
    if (!isOn) for (const rail of host.rails) rail.wanted = false;
    refresh(host);
  };

  /** @param takeBack a press that nobody has felt asks for nothing once it is over: what was asked for before it stands. */
  const pressed = (host: Host, takeBack: () => void): void => {
    const { debounceMs, onAfterMs, overrideMs } = host.times;
    host.pressedAtMs = clock.nowMs();
    host.press = host.isOn ? 'off' : 'on';
    let isFelt = false;
    const override = () => {
      isFelt = true;
      if (host.press === 'on') want(host, false, true);
      turn(host, false);
    };
    const stops = [timers.after(overrideMs, override)];
    host.cancelPress = () => {
      for (const stop of stops) stop();
      if (!isFelt && host.isOn === (host.press === 'off')) takeBack();
    };
    // What was felt is done, also when the button is let go meanwhile.
    if (host.press === 'on') {
      const comeOn = () => {
        if (hasStandby(host)) turn(host, true);
      };
      const feel = () => {
        isFelt = hasStandby(host);
        timers.after(onAfterMs - debounceMs, comeOn);
      };
      stops.push(timers.after(debounceMs, feel));
    } else stops.push(timers.after(debounceMs, () => (isFelt = true)));
  };

  const letGo = (host: Host): void => {
    const { pressedAtMs, press, times, deafFaults } = host;
    host.cancelPress();
    host.pressedAtMs = null;
    host.press = null;
    const lastedMs = pressedAtMs === null ? 0 : clock.nowMs() - pressedAtMs;
    if (press !== 'off' || !host.isOn || lastedMs < times.debounceMs || deafFaults.length > 0) return;
    host.cancelShutdown = timers.after(times.shutdownMs, () => turn(host, false));
  };

  return {
    moved(button) {
      const host = hostOf(button);
      if (host === undefined || netAsserted(button) === (host.pressedAtMs !== null)) return;
      if (!netAsserted(button)) return letGo(host);
      const before = host.rails.map(({ wanted, wantedAtMs }) => ({ wanted, wantedAtMs }));
      // A finger on it asks for nothing in the name of the BMC.
      if (drivenOf(button)) want(host, !host.isOn);
      pressed(host, () => {
        for (const [index, rail] of host.rails.entries()) Object.assign(rail, before[index]);
      });
    },
    lost(host) {
      if (host.stateNet === undefined) turn(host, false);
      else if (host.sleeps) timers.after(ASLEEP_AFTER_LOSS_MS, () => turn(host, false));
    },
    shutDown: (host) => turn(host, false),
  };
}

/** What its rails need is there: without that nobody feels a press. */
function hasStandby({ rails }: Host): boolean {
  return rails.every(({ needs }) => needs.every(({ good }) => good));
}

/** Whether it is on, under its faults. */
export function isHostOn({ isOn, faults }: Host): boolean {
  return withFaults(faults, isOn);
}
