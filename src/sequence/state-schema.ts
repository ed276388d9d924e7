import * as v from 'valibot';
import { CAUSES, STATES } from './states.ts';

/** On the monotonic clock. */
const moment = v.pipe(v.number(), v.finite());
const momentOrNull = v.nullable(moment);

export const railSchema = v.object({
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

export const diagnosisSchema = v.object({
  /** The rail that failed first; null where it cannot be told, or where it was none. */
  rail: v.nullable(v.string()),
  cause: v.picklist(CAUSES),
  /** What says so, one clause for people; for `unknown`, what was looked at in vain. */
  because: v.string(),
  /** What could not be read, and might have said more: "vr_ddr page 0". */
  unread: v.array(v.string()),
});

export const faultSchema = v.object({
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
