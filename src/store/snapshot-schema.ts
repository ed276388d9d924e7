import * as v from 'valibot';
import { sequenceSchema } from '../sequence/state-schema.ts';
import { STATES } from '../sequence/states.ts';
import { SNAPSHOT_VERSION } from './versions.ts';

/** The file of `snapshot.ts`. */
export const snapshotSchema = v.object({
  schema: v.literal(SNAPSHOT_VERSION),
  bootId: v.string(),
  boardHash: v.string(),
  state: v.picklist(STATES),
  sequence: sequenceSchema,
});
export type Snapshot = v.InferOutput<typeof snapshotSchema>;
