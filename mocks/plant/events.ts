import type { Clock, Level } from '../../hw/ports.ts';

/**
 * `state` shows what a power button has come to; what the button switches is an `enable` that no line carries. `panel` is a
 * button that people press.
 */
export type LineRole =
  | 'enable'
  | 'good'
  | 'pgood'
  | 'reset'
  | 'hostReset'
  | 'hostSignal'
  | 'latch'
  | 'button'
  | 'state'
  | 'panel'
  | 'presence';

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
  /** What can be seen of pgood changed, all that it is taken from taken together. */
  | { readonly type: 'pgood'; readonly atMs: number; readonly chassis: number; readonly asserted: boolean }
  /** The BMC drove a line, or the on bit of a PMBus output, whether it followed or not. */
  | {
      readonly type: 'drive';
      readonly atMs: number;
      readonly line: string;
      readonly role: LineRole;
      readonly chassis: number;
      readonly rail: string | null;
      readonly asserted: boolean;
      /** A power button was held for so long that its press, which began as one that switches on, switches off. */
      readonly overrides?: true;
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
  /** A device was asked for something that the rail, which powers it, does not let it answer. */
  | {
      readonly type: 'unpowered';
      readonly atMs: number;
      readonly device: string;
      readonly chassis: number;
      readonly rail: string;
    }
  | { readonly type: 'fault'; readonly atMs: number; readonly fault: string; readonly active: boolean }
  | ({ readonly type: 'hazard' } & Hazard);

export type HazardKind =
  /** A rail was enabled while one that it needs was not good. */
  | 'enabledTooEarly'
  /** A rail was disabled while one that needs it, or that the board has go off before it, was still enabled. */
  | 'needRemoved'
  /** A device was told something of an output that was on. */
  | 'setUpWhileOn'
  /** A rail was enabled though its device had not taken all that the board has it told. */
  | 'enabledUnset'
  /** An enable was switched over and back within less than a millisecond. */
  | 'enableGlitch'
  /** A reset is released though there is no pgood, or the power goes down under a released reset. */
  | 'resetWithoutPgood'
  /** A reset is released before the host has shown what the board holds it for. */
  | 'resetBeforeHost';

/** Something that can damage a real chassis and that the program did; what faults do is not counted. */
export interface Hazard {
  readonly atMs: number;
  readonly kind: HazardKind;
  readonly chassis: number;
  /** Rail or reset that it happened to. */
  readonly name: string;
  readonly text: string;
}

/** What the plant remembers. */
export interface History {
  /** Oldest first; the newest 100,000. */
  readonly events: readonly PlantEvent[];
  readonly hazards: readonly Hazard[];
  record(event: PlantEvent): void;
  /** @param name rail or reset that it happened to */
  hazard(kind: HazardKind, chassis: number, name: string, text: string): void;
}

const LIMIT = 100_000;

export function createHistory(clock: Pick<Clock, 'nowMs'>): History {
  const events: PlantEvent[] = [];
  const hazards: Hazard[] = [];
  const record = (event: PlantEvent): void => {
    events.push(event);
    if (events.length > LIMIT) events.splice(0, LIMIT / 10);
  };
  return {
    events,
    hazards,
    record,
    hazard(kind, chassis, name, text) {
      const found: Hazard = { atMs: clock.nowMs(), kind, chassis, name, text };
      hazards.push(found);
      record({ type: 'hazard', ...found });
    },
  };
}
