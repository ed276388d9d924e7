import { shapeOf } from '../shape-of.ts';
import { BOARD_RULES } from './rules.ts';
import { boardSchema } from './schema.ts';
import { alternativesOf } from './values.ts';

/** The schema of a board as a table. The bundle has what this comes to, and neither the schema nor valibot, in a file of its own. */
export const BOARD_SHAPE = shapeOf(boardSchema, BOARD_RULES, alternativesOf);
