import type { Level, LineRef } from '../../hw/ports.ts';
import type { ArmedFaults } from './armed.ts';
import type { Circuit, Net } from './circuit.ts';
import { chipOf, lineKey } from './line-key.ts';
import type { Signals } from './signals.ts';

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
  /** The label of its chip. */
  readonly chip: string;
  /** Its chip answers nothing. */
  hangs(): boolean;
  /** Who keeps it from other programs. */
  takenBy: 'ours' | 'foreign' | null;
  /** Nobody keeps it any more: it becomes an input, as on the controllers that do so. */
  free(): void;
}

/** Lines that names of the device tree stand for. */
export type LineNames = Readonly<Record<string, Extract<LineRef, { readonly chip: string }>>>;

/** All pins, under the key of the line and under the name of the device tree where they have one. */
export function createPins(
  circuit: Circuit,
  signals: Signals,
  faults: ArmedFaults,
  lineNames: LineNames,
): Map<string, PlantPin> {
  const pins = new Map(
    [...circuit.nets].map(([key, net]) => [key, createPin(net, signals, faults)] as const),
  );
  for (const [name, line] of Object.entries(lineNames)) {
    const pin = pins.get(lineKey(line) ?? '');
    if (pin !== undefined) pins.set(`name:${name}`, pin);
  }
  return pins;
}

function createPin(net: Net, signals: Signals, faults: ArmedFaults): PlantPin {
  const hit = (does: 'busy' | 'readError' | 'hangs'): boolean => {
    const struck = faults.strikes(net, does);
    if (struck) net.failures += 1;
    return struck;
  };
  return {
    key: net.key,
    label: net.label,
    drivenByChassis: net.sources.length > 0,
    level: () => net.level,
    direction: () => net.direction,
    drive: (level) => signals.drive(net, level),
    onChange: (run) => {
      net.listeners.add(run);
      return () => net.listeners.delete(run);
    },
    raisesInterrupts: () => !faults.strikes(net, 'noInterrupts'),
    busy: () => hit('busy'),
    unreadable: () => hit('readError'),
    chip: chipOf(net.key),
    hangs: () => hit('hangs'),
    takenBy: null,
    free() {
      this.takenBy = null;
      signals.free(net);
    },
  };
}
