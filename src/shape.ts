/**
 * What a schema asks of a JSON value, as a table: it takes no code and no time to make, where building and running the schema itself is
 * a good part of what a command does before its work. `shape-of.ts` makes tables of schemas, when the program is built.
 */

/** What a value has to meet beside its type. */
export type ShapeCheck =
  | readonly ['like', pattern: string, flags: string]
  | readonly ['integer' | 'safeInteger' | 'finite']
  | readonly ['least' | 'most' | 'length', limit: number]
  | readonly ['rule', name: string];

/** One type of value. Others are named by their places in the table. */
export type ShapeEntry = (
  | { readonly is: 'string' | 'number' | 'boolean' }
  | { readonly is: 'choice'; readonly of: readonly unknown[] }
  | { readonly is: 'list'; readonly items: number }
  | { readonly is: 'record'; readonly keys: number; readonly values: number }
  | {
      readonly is: 'object';
      readonly entries: readonly (readonly [key: string, place: number])[];
      /** What becomes of a key that is not among them: left out where it does not say. */
      readonly others?: 'refused' | 'kept';
    }
  | { readonly is: 'nullable'; readonly wrapped: number }
  | { readonly is: 'optional'; readonly wrapped: number; readonly otherwise?: unknown }
  | { readonly is: 'union'; readonly options: readonly number[] }
  /** The first with its key in the object, or else the first. */
  | { readonly is: 'byKey'; readonly options: readonly (readonly [key: string, place: number])[] }
) & { readonly checks?: readonly ShapeCheck[] };

/** The first entry is that of the whole value. */
export type Shape = readonly ShapeEntry[];

/** What is asked beside, by name. */
export type Rules = Readonly<Record<string, (value: never) => boolean>>;

/**
 * A value that was read from JSON, with the defaults of what it leaves out; undefined where it does not fit. It fits where the schema
 * has no issue and keeps all of it.
 */
export function fitted(shape: Shape, rules: Rules, input: unknown): unknown {
  return createTake(shape, rules)(0, input);
}

type Take = (place: number, value: unknown) => unknown;

function createTake(shape: Shape, rules: Rules): Take {
  const patterns = new Map<string, RegExp>();
  const passes = (check: ShapeCheck, value: unknown): boolean => {
    switch (check[0]) {
      case 'like': {
        const [, source, flags] = check;
        const key = `${flags}/${source}`;
        const pattern = patterns.get(key) ?? new RegExp(source, flags);
        patterns.set(key, pattern);
        return pattern.test(value as string);
      }
      case 'integer':
        return Number.isInteger(value);
      case 'safeInteger':
        return Number.isSafeInteger(value);
      case 'finite':
        return Number.isFinite(value);
      case 'least':
        return (value as number) >= check[1];
      case 'most':
        return (value as number) <= check[1];
      case 'length':
        return (value as string).length >= check[1];
      case 'rule':
        return rules[check[1]]?.(value as never) === true;
    }
  };
  const take: Take = (place, value) => {
    const entry = shape[place];
    if (entry === undefined) return undefined;
    const output = takeType(entry, value, shape, take);
    if (output === undefined || entry.checks === undefined) return output;
    return entry.checks.every((check) => passes(check, output)) ? output : undefined;
  };
  return take;
}

function takeType(entry: ShapeEntry, value: unknown, shape: Shape, take: Take): unknown {
  switch (entry.is) {
    case 'string':
      return typeof value === 'string' ? value : undefined;
    case 'number':
      return typeof value === 'number' ? value : undefined;
    case 'boolean':
      return typeof value === 'boolean' ? value : undefined;
    case 'choice':
      return entry.of.includes(value) ? value : undefined;
    case 'list':
      return Array.isArray(value) ? allOf(value.map((item) => take(entry.items, item))) : undefined;
    case 'record':
      return isObject(value) ? takeRecord(entry, value, take) : undefined;
    case 'object':
      return isObject(value) ? takeObject(entry, value, shape, take) : undefined;
    case 'nullable':
      return value === null ? null : take(entry.wrapped, value);
    case 'optional':
      return take(entry.wrapped, value);
    case 'union':
      for (const option of entry.options) {
        const output = take(option, value);
        if (output !== undefined) return output;
      }
      return undefined;
    case 'byKey': {
      const meant = isObject(value) && entry.options.find(([key]) => Object.hasOwn(value, key));
      return take((meant || entry.options[0])?.[1] ?? -1, value);
    }
  }
}

type JsonObject = Readonly<Record<string, unknown>>;

function isObject(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function allOf(values: unknown[]): unknown[] | undefined {
  return values.includes(undefined) ? undefined : values;
}

function takeRecord(
  { keys, values }: { readonly keys: number; readonly values: number },
  value: JsonObject,
  take: Take,
): JsonObject | undefined {
  const output: Record<string, unknown> = {};
  for (const [key, each] of Object.entries(value)) {
    const item = take(values, each);
    // JavaScript takes a value with that name for something else.
    if (item === undefined || key === '__proto__' || take(keys, key) === undefined) return undefined;
    output[key] = item;
  }
  return output;
}

function takeObject(
  { entries, others }: Extract<ShapeEntry, { readonly is: 'object' }>,
  value: JsonObject,
  shape: Shape,
  take: Take,
): JsonObject | undefined {
  const output: Record<string, unknown> = {};
  let known = 0;
  for (const [key, place] of entries) {
    let given = value[key];
    if (Object.hasOwn(value, key)) known += 1;
    else {
      const entry = shape[place];
      if (entry?.is !== 'optional') return undefined;
      if (entry.otherwise === undefined) continue;
      given = entry.otherwise;
    }
    const item = take(place, given);
    if (item === undefined) return undefined;
    output[key] = item;
  }
  if (others === 'kept') keepOthers(value, output);
  return others !== 'refused' || known === Object.keys(value).length ? output : undefined;
}

function keepOthers(value: JsonObject, output: Record<string, unknown>): void {
  for (const [key, each] of Object.entries(value)) {
    // As in a record, but nothing of this is asked for.
    if (!Object.hasOwn(output, key) && key !== '__proto__') output[key] = each;
  }
}
