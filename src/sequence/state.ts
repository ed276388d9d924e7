import type { InferOutput } from 'valibot';
import type { diagnosisSchema, faultSchema, railSchema, sequenceSchema } from './state-schema.ts';
import type { State } from './states.ts';

export { CAUSES, hasTag, STATE_TAGS, STATES, type State, type StateTag } from './states.ts';

/**
 * What the sequence knows and keeps: what another process of this boot left in a snapshot is checked by the schemas that the
 * types come from (`state-schema.ts`).
 */

type DeepReadonly<T> = T extends object ? { readonly [K in keyof T]: DeepReadonly<T[K]> } : T;

export type RailState = DeepReadonly<InferOutput<typeof railSchema>>;
export type RailPhase = RailState['phase'];
export type Miss = NonNullable<RailState['missed']>;
export type EnableDoubt = NonNullable<RailState['enableDoubt']>;
export type Diagnosis = DeepReadonly<InferOutput<typeof diagnosisSchema>>;
export type Cause = Diagnosis['cause'];
export type Fault = DeepReadonly<InferOutput<typeof faultSchema>>;
export type FaultKind = Fault['kind'];
export type SequenceState = DeepReadonly<InferOutput<typeof sequenceSchema>>;

/** What reading every line of a chassis found, active level already applied. */
export interface Observation {
  readonly rails: Readonly<Record<string, { readonly enabled: boolean; readonly good: boolean }>>;
  readonly pgood: boolean;
  readonly resetsAsserted: Readonly<Record<string, boolean>>;
  /** What of it could not be read, and is assumed. Absent where all was read. */
  readonly unread?: readonly SignalRef[];
  /** What of it was not asked for, because the device has no power, and counts as not asserted. Absent where all have. */
  readonly unpowered?: readonly Unpowered[];
}

/** A signal of a device without power. */
export interface Unpowered extends SignalRef {
  /** The rail that powers the device, and is not good. */
  readonly poweredBy: string;
}

/** A signal that is read: an enable or good signal of a rail; pgood or a reset, where `rail` is null. */
export interface SignalRef {
  readonly signal: 'enable' | 'good' | 'pgood' | 'reset';
  readonly rail: string | null;
}

/** The state another process left behind, of the same boot and the same board file. */
export interface Hint {
  readonly state: State;
  readonly sequence: SequenceState;
}

/** State of a rail of the plan. Plan and sequence are always made together, so it is there. */
export function railState(sequence: Pick<SequenceState, 'rails'>, name: string): RailState {
  const state = sequence.rails[name];
  if (!state) throw new RangeError(`rail ${name} is not in the sequence`);
  return state;
}

/** A supply has its voltage without the chassis being on. */
function isOfChassis({ watched }: RailState): boolean {
  return watched !== 'supply';
}

/** True when a rail still delivers or pgood still stands. */
export function powerSeen(sequence: SequenceState): boolean {
  const rails = Object.values(sequence.rails).filter(isOfChassis);
  return sequence.pgood.level || rails.some(({ enabled, good }) => enabled || good);
}

/** True while voltage is seen: unlike powerSeen, an enable that is stuck does not count. */
export function delivering(sequence: SequenceState): boolean {
  return sequence.pgood.level || Object.values(sequence.rails).some((rail) => isOfChassis(rail) && rail.good);
}

/** True when nothing is on its way down any more, where every enable was driven off. */
export function fallen(sequence: SequenceState): boolean {
  return Object.values(sequence.rails).every(({ phase }) => phase !== 'falling');
}

/** Signals with the level `good`: rails by their names, and null for pgood. A supply that is good tells of no power. */
export function signalsAt({ rails, pgood }: SequenceState, good: boolean): (string | null)[] {
  return [
    ...Object.entries(rails).flatMap(([name, rail]) =>
      rail.good === good && (!good || isOfChassis(rail)) ? [name] : [],
    ),
    ...(pgood.level === good ? [null] : []),
  ];
}
