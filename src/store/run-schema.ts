import * as v from 'valibot';
import { STATES } from '../sequence/states.ts';
import { RUN_VERSION } from './versions.ts';

const ms = v.pipe(v.number(), v.finite());
const msOrNull = v.nullable(ms);

/** The files of `black-box.ts`. */
export const runSchema = v.object({
  schema: v.literal(RUN_VERSION),
  chassis: v.number(),
  /** The verb of a command, or what was asked of the service; several where the stages of a sequence went on from another. */
  asked: v.array(v.string()),
  /** Who asked: a unit, a user, a client of the bus. */
  by: v.array(v.string()),
  bootId: v.string(),
  /** ISO 8601. A BMC without a clock of its own has the time of its last start for some time. */
  startedAt: v.string(),
  /** The same on the monotonic clock of the boot. */
  startedMs: ms,
  tookMs: ms,
  board: v.object({ name: v.string(), hash: v.string() }),
  /** Where the chassis was in the end; null where that is not known. */
  ended: v.nullable(v.picklist(STATES)),
  /** Why it did not reach what was asked for; null where it did. */
  failure: v.nullable(
    v.object({ code: v.string(), message: v.string(), powerStillApplied: v.nullable(v.boolean()) }),
  ),
  fault: v.nullable(
    v.object({
      kind: v.string(),
      rail: v.nullable(v.string()),
      state: v.picklist(STATES),
      reason: v.string(),
      errorCode: v.nullable(v.string()),
    }),
  ),
  rails: v.array(
    v.object({
      name: v.string(),
      observable: v.boolean(),
      watched: v.optional(v.picklist(['follower', 'supply'])),
    }),
  ),
  resets: v.array(v.object({ name: v.string() })),
  /** By rail, since the start: when it was last enabled, became good, was disabled and went; null for what did not happen. */
  times: v.record(
    v.string(),
    v.object({ enabledMs: msOrNull, goodMs: msOrNull, disabledMs: msOrNull, goneMs: msOrNull }),
  ),
  /** What happened, with times since the start. */
  trace: v.array(v.looseObject({ type: v.string(), atMs: ms })),
  /** Entries of the trace that there was no room for. */
  left: v.pipe(v.number(), v.safeInteger(), v.minValue(0)),
});
export type Run = v.InferOutput<typeof runSchema>;

/** What a run knew. */
export type RunRecord = Omit<Run, 'schema'>;
export type TraceEntry = RunRecord['trace'][number];
/** A run that was kept, with its number: each has a higher one than those before. */
export type KeptRun = RunRecord & { readonly number: number };
