import { boardJsonSchema } from '../../board/json-schema.ts';
import { EXIT } from '../exit.ts';
import type { Verb } from '../verb.ts';

/** Prints the JSON Schema of the board file. */
export const schema: Verb = {
  async run(_, world) {
    world.stdout.write(`${JSON.stringify(boardJsonSchema(), null, 2)}\n`);
    return EXIT.ok;
  },
};
