import { toJsonSchema } from '@valibot/to-json-schema';
import type { GenericSchema } from 'valibot';
import { boardSchema } from './schema.ts';
import { alternativesOf } from './values.ts';

/** The board file as JSON Schema (draft 7), for the completion of editors. */
export function boardJsonSchema(): Record<string, unknown> {
  const convert = (schema: GenericSchema): Record<string, unknown> => {
    const { $schema: _, ...rest } = toJsonSchema(schema, {
      typeMode: 'input',
      // JSON Schema cannot express sums and orders: the verb `check` finds those.
      errorMode: 'ignore',
      overrideSchema: ({ valibotSchema, jsonSchema }) => {
        const alternatives = alternativesOf(valibotSchema);
        return alternatives ? { anyOf: alternatives.map(([, schema]) => convert(schema)) } : jsonSchema;
      },
    });
    return rest;
  };
  return {
    $schema: 'http://json-schema.org/draft-07/schema#',
    title: 'chassis-power board file',
    ...convert(boardSchema),
  };
}
