/**
 * The drivers of hw/ on the BMC's own kernel, served over stdin and stdout. The test that holds the other end
 * runs on the host, where vitest is.
 */
import { writeFile } from 'node:fs/promises';
import { Duplex } from 'node:stream';
import { createSystemClock } from '../../../hw/clock.ts';
import { createExportRecord } from '../../../hw/gpio/exports.ts';
import { createOnoffGpio } from '../../../hw/gpio/onoff.ts';
import { createBusHolds } from '../../../hw/i2c/bus-hold.ts';
import { createI2c } from '../../../hw/i2c/i2c-bus.ts';
import { createSensors } from '../../../hw/sensors/sensors.ts';
import { type ExtraCalls, servePorts } from '../../../mocks/wire/server.ts';
import type { UnitManager } from '../../../src/system/ports.ts';
import { createProperties } from '../../../src/system/properties.ts';
import { createUnitManager } from '../../../src/system/units.ts';

/** Shorter than the default, so that a bus that hangs is told within a test; a reload takes up to 10 s here. */
const DBUS_TIMEOUT_MS = 20_000;

const clock = createSystemClock();
const managers: UnitManager[] = [];

function managerOf(handle: number): UnitManager {
  const manager = managers[handle];
  if (manager === undefined) throw new RangeError(`no unit manager was opened as ${handle}`);
  return manager;
}

const extra = {
  ping: () => undefined,
  user: () => process.getuid?.(),
  nowMs: () => clock.nowMs(),
  wallTime: () => clock.wallTime().toISOString(),
  /** What `nowMs` counts until `after(delayMs)` runs. */
  ranAfterMs: (delayMs: number) =>
    new Promise<number>((resolve) => {
      const startMs = clock.nowMs();
      clock.after(delayMs, () => resolve(clock.nowMs() - startMs));
    }),
  unexport: (number: number) => writeFile('/sys/class/gpio/unexport', String(number)),
  openUnits: () => managers.push(createUnitManager({ clock, callTimeoutMs: DBUS_TIMEOUT_MS })) - 1,
  startUnit: (handle: number, unit: string, mode: 'replace' | 'fail') =>
    managerOf(handle).startUnit(unit, mode),
  unitStates: (handle: number, units: string[]) => managerOf(handle).unitStates(units),
  reload: (handle: number) => managerOf(handle).reload(),
  closeUnits: (handle: number) => managerOf(handle).close(),
} satisfies ExtraCalls;

const { closed } = servePorts(Duplex.from({ readable: process.stdin, writable: process.stdout }), {
  gpio: createOnoffGpio({ clock, exports: createExportRecord('/run/contract-exports') }),
  i2c: createI2c({ clock, holds: createBusHolds({ clock, directory: '/run/chassis-power' }) }),
  sensors: createSensors({ clock }),
  properties: createProperties({ clock }),
  extra,
});
await closed;
// No process.exit: that nothing of the drivers keeps the process alive is part of what is tested.
await Promise.all(managers.map((manager) => manager.close()));
