import { toJsonSchema } from '@valibot/to-json-schema';
import type { GenericSchema } from 'valibot';
import { fileSchema, templateSchema } from './file-schema.ts';
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
        if (valibotSchema === templateSchema) return withPatterns({ ...jsonSchema });
        return alternatives ? { anyOf: alternatives.map(([, schema]) => convert(schema)) } : jsonSchema;
      },
    });
    return rest;
  };
  return {
    $schema: 'http://json-schema.org/draft-07/schema#',
    title: 'chassis-power board file',
    ...convert(fileSchema),
  };
}

type JsonSchema = Record<string, unknown>;

/** A JSON Schema that also takes a text with a pattern of a template, wherever a name or a plain value belongs. */
function withPatterns(schema: JsonSchema): JsonSchema {
  const pattern = { type: 'string', pattern: '\\{[^{}]+\\}' };
  const {
    properties,
    additionalProperties,
    propertyNames,
    items,
    anyOf,
    description,
    default: otherwise,
  } = schema;
  if (properties === undefined && additionalProperties === undefined && items === undefined) {
    const isChoice = Array.isArray(anyOf) && anyOf.every((each) => each.type === 'object');
    if (isChoice) return { ...schema, anyOf: anyOf.map(withPatterns) };
    return {
      anyOf: [schema, pattern],
      ...(description !== undefined && { description }),
      ...(otherwise !== undefined && { default: otherwise }),
    };
  }
  const each = (of: unknown) =>
    Object.fromEntries(
      Object.entries(of as Record<string, JsonSchema>).map(([key, value]) => [key, withPatterns(value)]),
    );
  return {
    ...schema,
    ...(properties !== undefined && { properties: each(properties) }),
    ...(propertyNames !== undefined && { propertyNames: { anyOf: [propertyNames, pattern] } }),
    ...(items !== undefined && { items: withPatterns(items as JsonSchema) }),
    ...(typeof additionalProperties === 'object' && {
      additionalProperties: withPatterns(additionalProperties as JsonSchema),
    }),
  };
}
