import { shapeOf } from '../shape-of.ts';
import { runSchema } from './run-schema.ts';

/** The schema of a run as a table, as `board/board-shape.ts` has that of a board. */
export const RUN_SHAPE = shapeOf(runSchema);
