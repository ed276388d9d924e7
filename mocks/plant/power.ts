import type { Clock } from '../../hw/ports.ts';
import { type Circuit, type Device, isDeviceThere, type Rail } from './circuit.ts';
import type { History } from './events.ts';
import type { Signals } from './signals.ts';

/** Share of the settle time of its rail that a device takes from its power until it answers. */
const BOOT_SHARE = 0.25;

/** Devices that a rail of the chassis powers: such a one answers nothing without it, and forgets what it was told. */
export interface DevicePower {
  /** A rail became good or was lost. */
  goodChanged(rail: Rail, good: boolean): void;
  /** Parts came or went: a device forgets what it was told with the part that it is on. */
  partsChanged(): void;
  /** Whether the device answers a transfer that starts now. One that it cannot answer is kept in the history. */
  answers(device: Device): boolean;
}

export interface DevicePowerOptions {
  readonly clock: Pick<Clock, 'nowMs'>;
  readonly circuit: Circuit;
  readonly history: History;
  readonly signals: Pick<Signals, 'losePower'>;
}

export function createDevicePower({ clock, circuit, history, signals }: DevicePowerOptions): DevicePower {
  const forget = (device: Device): void => {
    device.losses += 1;
    for (const { board, settings } of circuit.chassis.flatMap(({ rails }) => rails)) {
      if (board.setup?.pmbus === device.name) settings?.written.clear();
    }
    for (const page of circuit.pages.values()) if (page.device === device) signals.losePower(page);
  };
  const gone = new Set<Device>();

  return {
    partsChanged() {
      for (const device of circuit.devices.values()) {
        if (isDeviceThere(device)) gone.delete(device);
        else if (!gone.has(device)) {
          gone.add(device);
          forget(device);
        }
      }
    },

    goodChanged(rail, good) {
      for (const device of circuit.devices.values()) {
        if (device.poweredBy !== rail) continue;
        device.answersFromMs = good
          ? clock.nowMs() + BOOT_SHARE * rail.board.settleMs
          : Number.POSITIVE_INFINITY;
        if (!good) forget(device);
      }
    },

    answers(device) {
      if (!isDeviceThere(device)) return false;
      const { poweredBy: rail } = device;
      if (rail === undefined || clock.nowMs() >= device.answersFromMs) return true;
      history.record({
        type: 'unpowered',
        atMs: clock.nowMs(),
        device: device.name,
        chassis: rail.chassis.number,
        rail: rail.name,
      });
      return false;
    },
  };
}
