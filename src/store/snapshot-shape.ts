import { shapeOf } from '../shape-of.ts';
import { snapshotSchema } from './snapshot-schema.ts';

/** The schema of a snapshot as a table, as `board/board-shape.ts` has that of a board. */
export const SNAPSHOT_SHAPE = shapeOf(snapshotSchema);
