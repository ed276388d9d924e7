import type { Rules, Shape, ShapeCheck, ShapeEntry } from './shape.ts';

/** What is looked at of a schema of valibot, or of an action in its pipe. */
interface Part {
  readonly kind: string;
  readonly type: string;
  readonly pipe?: readonly Part[];
  readonly entries?: Readonly<Record<string, Part>>;
  readonly key?: Part;
  readonly value?: Part;
  readonly item?: Part;
  readonly wrapped?: Part;
  readonly default?: unknown;
  readonly options?: readonly unknown[];
  readonly literal?: unknown;
  readonly requirement?: unknown;
}

/** The alternatives of an object by a key of their own, where a schema has such. */
type AlternativesOf = (schema: unknown) => readonly (readonly [key: string, schema: unknown])[] | undefined;

/**
 * The table of a schema. Throws for what a table cannot say: a type or an action that is not known here, or a check that is none
 * of the rules.
 */
export function shapeOf(
  schema: unknown,
  rules: Rules = {},
  alternativesOf: AlternativesOf = () => undefined,
): Shape {
  const entries: ShapeEntry[] = [];
  const places = new Map<unknown, number>();
  const place = (part: unknown): number => {
    const known = places.get(part);
    if (known !== undefined) return known;
    const at = entries.length;
    places.set(part, at);
    entries.push({ is: 'union', options: [] });
    const { checks, inner } = pipeOf(part as Part, rules);
    const entry = entryOf(inner, place, alternativesOf);
    entries[at] = checks.length === 0 ? entry : { ...entry, checks };
    return at;
  };
  place(schema);
  return entries;
}

/** The schema that a pipe begins with, and all that it asks beside. */
function pipeOf(part: Part, rules: Rules): { readonly inner: Part; readonly checks: readonly ShapeCheck[] } {
  const checks: ShapeCheck[] = [];
  let inner = part;
  while (inner.pipe !== undefined) {
    const [first, ...actions] = inner.pipe;
    if (first === undefined) break;
    checks.unshift(
      ...actions.filter(({ kind }) => kind !== 'metadata').map((action) => checkOf(action, rules)),
    );
    inner = first;
  }
  return { inner, checks };
}

function checkOf({ type, requirement }: Part, rules: Rules): ShapeCheck {
  switch (type) {
    case 'regex': {
      const { source, flags } = requirement as RegExp;
      // With these a pattern would remember where it was.
      if (/[gy]/.test(flags)) break;
      return ['like', source, flags];
    }
    case 'integer':
    case 'finite':
      return [type];
    case 'safe_integer':
      return ['safeInteger'];
    case 'min_value':
      return ['least', requirement as number];
    case 'max_value':
      return ['most', requirement as number];
    case 'min_length':
      return ['length', requirement as number];
    case 'check': {
      const name = Object.keys(rules).find((each) => rules[each] === requirement);
      if (name !== undefined) return ['rule', name];
    }
  }
  throw new TypeError(`a table of a schema has no ${type} like this: ${requirement}`);
}

function entryOf(part: Part, place: (part: unknown) => number, alternativesOf: AlternativesOf): ShapeEntry {
  const alternatives = alternativesOf(part);
  if (alternatives !== undefined)
    return { is: 'byKey', options: alternatives.map(([key, each]) => [key, place(each)]) };
  switch (part.type) {
    case 'string':
    case 'number':
    case 'boolean':
      return { is: part.type };
    case 'literal':
      return { is: 'choice', of: [part.literal] };
    case 'picklist':
      return { is: 'choice', of: part.options ?? [] };
    case 'array':
      return { is: 'list', items: place(part.item) };
    case 'record':
      return { is: 'record', keys: place(part.key), values: place(part.value) };
    case 'object':
    case 'loose_object':
    case 'strict_object': {
      const others = { object: undefined, loose_object: 'kept', strict_object: 'refused' } as const;
      const found = others[part.type];
      return {
        is: 'object',
        entries: Object.entries(part.entries ?? {}).map(([key, each]) => [key, place(each)]),
        ...(found !== undefined && { others: found }),
      };
    }
    case 'nullable':
      return { is: 'nullable', wrapped: place(part.wrapped) };
    case 'optional': {
      const { wrapped, default: otherwise } = part;
      if (typeof otherwise === 'function') break;
      return { is: 'optional', wrapped: place(wrapped), ...(otherwise !== undefined && { otherwise }) };
    }
    case 'union':
      return { is: 'union', options: (part.options ?? []).map(place) };
  }
  throw new TypeError(`a table of a schema has no ${part.type} like this`);
}
