import { EXIT } from '../exit.ts';
import type { Verb } from '../verb.ts';

/** Prints the JSON Schema of the board file, or its reference for people. */
export const schema: Verb = {
  async run({ flag }, world) {
    if (flag('reference')) {
      const { boardReference } = await import('../../board/reference.ts');
      world.stdout.write(boardReference());
    } else {
      const { boardJsonSchema } = await import('../../board/json-schema.ts');
      world.stdout.write(`${JSON.stringify(boardJsonSchema(), null, 2)}\n`);
    }
    return EXIT.ok;
  },
};
