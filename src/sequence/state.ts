import * as v from 'valibot';

/**
 * What the sequence knows and keeps, as schema and type in one: what another process of this boot left in a snapshot is
 * checked by the schemas that the types come from.
 */

/** What a state is like, for whoever has to know no more of it. */
export type StateTag =
  /** Power is coming up. */
  | 'rising'
  /** Power is going down because somebody asked for it. */
  | 'falling'
  /** Power is being taken down, on request or after a fault. */
  | 'lowering'
  /** Nothing is driven and nothing is waited for. */
  | 'atRest';

/** Every state of the chart, with its tags. */
export const STATE_TAGS = {
  unknown: ['atRest'],
  off: ['atRest'],
  opPowerStart: ['rising'],
  opWaitPowerOn: ['rising'],
  pgood: [],
  opPowerStop: ['falling', 'lowering'],
  opWaitPowerOff: ['falling', 'lowering'],
  fault: ['lowering'],
  failed: ['atRest'],
} as const satisfies Record<string, readonly StateTag[]>;

export type State = keyof typeof STATE_TAGS;

export const STATES = Object.keys(STATE_TAGS) as readonly State[];

export function hasTag(state: State, tag: StateTag): boolean {
  return (STATE_TAGS[state] as readonly StateTag[]).includes(tag);
}

type DeepReadonly<T> = T extends object ? { readonly [K in keyof T]: DeepReadonly<T[K]> } : T;

/** On the monotonic clock. */
const moment = v.pipe(v.number(), v.finite());
const momentOrNull = v.nullable(moment);

const railSchema = v.object({
  /** Of a rail that is only watched; absent where it has an enable. */
  watched: v.optional(v.picklist(['follower', 'supply'])),
  /**
   * `rising` from the enable until the rail has been good for its settle time, `falling` from the disable until it has been no
   * longer good for its time, `stuck` when it would not go down or could not be switched. For a follower the same counts from when what
   * it needs is up, and from the disable of that. A supply is `down` wherever nobody needs it, whatever it reads.
   */
  phase: v.picklist(['down', 'rising', 'up', 'falling', 'stuck']),
  /** Of a rail that is only watched: it is meant to be good. */
  enabled: v.boolean(),
  /**
   * What an `enabled` that is true rests on where it is no level that was read: the enable could not be read when the
   * lines were, or switching it off failed and nothing was read back. Null where it was read.
   */
  enableDoubt: v.nullable(v.picklist(['unread', 'undriven'])),
  good: v.boolean(),
  /** No signal says that `good` is so: it could not be read since, or the rail has none. */
  goodUnread: v.boolean(),
  /** When `good` last changed. */
  sinceMs: moment,
  /** Rising: latest time for good. Falling: latest time for no longer good. Else null. */
  deadlineMs: momentOrNull,
  /**
   * Of a rail that the chassis can do without: what was told of it since the last power-on began. Absent where nothing was, or where what
   * came late is there.
   */
  missed: v.optional(v.picklist(['late', 'lost'])),
});
export type RailState = DeepReadonly<v.InferOutput<typeof railSchema>>;
export type RailPhase = RailState['phase'];
export type Miss = NonNullable<RailState['missed']>;
export type EnableDoubt = NonNullable<RailState['enableDoubt']>;

/** The chassis power good signal. */
const pgoodSchema = v.object({
  /** Level last read. */
  level: v.boolean(),
  /** Level that has stood for the board's `deglitchMs`. */
  good: v.boolean(),
  /** `level` is the one of before: it could not be read since. */
  unread: v.boolean(),
  /** When `level` last changed. */
  sinceMs: moment,
});

/** What a rail, or the whole chassis, failed of, where the evidence says so. */
export const CAUSES = [
  // What the power supply itself has told, over D-Bus.
  'supply',
  // Of the output, its load and its device, by what the device latched, or by its voltage against a limit.
  'overvoltage',
  'overcurrent',
  'overpower',
  'overtemperature',
  'undertemperature',
  'undervoltage',
  'undercurrent',
  'tracking',
  // The part that the rail is of was there when the power-on began, and is not any more.
  'removed',
  // What the rail is made of is not there, or not as it must be.
  'input',
  // By its good signal alone.
  'neverCame',
  'dropped',
  'stray',
  'stuck',
  // A line or a device could not be driven or read.
  'hardware',
  // Nothing that could be read says what it was.
  'unknown',
] as const;

const diagnosisSchema = v.object({
  /** The rail that failed first; null where it cannot be told, or where it was none. */
  rail: v.nullable(v.string()),
  cause: v.picklist(CAUSES),
  /** What says so, one clause for people; for `unknown`, what was looked at in vain. */
  because: v.string(),
  /** What could not be read, and might have said more: "vr_ddr page 0". */
  unread: v.array(v.string()),
});
export type Diagnosis = DeepReadonly<v.InferOutput<typeof diagnosisSchema>>;
export type Cause = Diagnosis['cause'];

const faultSchema = v.object({
  kind: v.picklist([
    // A rail was not good in time.
    'railTimeout',
    // A rail that was good dropped.
    'railLost',
    // A rail delivers though its enable is off.
    'railStray',
    'pgoodTimeout',
    'pgoodLost',
    'powerOffTimeout',
    // A line or a device could not be driven or read.
    'hardware',
  ]),
  /** The rail at fault, null when it cannot be told. */
  rail: v.nullable(v.string()),
  state: v.picklist(STATES),
  atMs: moment,
  /** One clause for people: "rail P1V8 was not good within 100 ms". */
  reason: v.string(),
  /** Code of the error underneath a `hardware` fault. */
  errorCode: v.nullable(v.string()),
  /** What the evidence says of it. Absent until that is read, when the power is down. */
  diagnosis: v.optional(diagnosisSchema),
});
export type Fault = DeepReadonly<v.InferOutput<typeof faultSchema>>;
export type FaultKind = Fault['kind'];

/** Everything about the sequence that changes and outlives the process. */
export const sequenceSchema = v.object({
  nowMs: moment,
  rails: v.record(v.string(), railSchema),
  /** Rails whose part was absent when this power-on began: none of them is among `rails`. Left out where all are there. */
  absent: v.optional(v.array(v.string())),
  pgood: pgoodSchema,
  /** Resets that are asserted. In pgood one that waits for the host counts as released, whatever it is. */
  resetsAsserted: v.record(v.string(), v.boolean()),
  /** Latest end of opWaitPowerOn, opWaitPowerOff and, once all enables are off, of fault. */
  stageDeadlineMs: momentOrNull,
  /** When all rails and pgood were first good together in opWaitPowerOn. */
  readyMs: momentOrNull,
  /** When the power was last seen to be off after it had been on. */
  offSinceMs: momentOrNull,
  /** The enables changed and the latch was not pulsed since. */
  latchPending: v.boolean(),
  fault: v.nullable(faultSchema),
  /** What in the hardware contradicts itself, where that keeps the state unknown. */
  contradictions: v.array(v.string()),
});
export type SequenceState = DeepReadonly<v.InferOutput<typeof sequenceSchema>>;

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
