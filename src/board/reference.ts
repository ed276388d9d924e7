import * as v from 'valibot';
import { fileSchema } from './file-schema.ts';
import { alternativesOf, expectationOf } from './values.ts';

/** A key of the board file that the schema describes. */
export interface Word {
  readonly key: string;
  /** Where it stands: `chassis.<number>.rails.<name>.settleMs`. */
  readonly path: string;
  /** What it means; null where the schema has no description. */
  readonly sentence: string | null;
  /** What is to be written there, in words; null where the schema has none. */
  readonly wanted: string | null;
  /** As it could stand in a file, without its key; null where the schema has none. */
  readonly example: string | null;
  readonly isNeeded: boolean;
  /** What counts where it is left out; undefined where nothing does. */
  readonly otherwise: unknown;
  readonly schema: v.GenericSchema;
}

/** An object of the board file. */
export interface Place {
  readonly path: string;
  /** The words of each kind of object that may stand here. `by` is the key that picks the kind; null where there is one. */
  readonly kinds: readonly { readonly by: string | null; readonly words: readonly Word[] }[];
}

type Node = v.GenericSchema & Record<string, unknown>;

/** The schema of a value that may be left out. */
function withoutOptional(schema: unknown): Node {
  let node = schema as Node;
  while (node.type === 'optional') node = node.wrapped as Node;
  return node;
}

/** All objects that a schema describes, each before those inside it. */
export function placesOf(schema: v.GenericSchema = fileSchema, path = ''): Place[] {
  const node = withoutOptional(schema);
  const below = (part: string) => (path === '' ? part : `${path}.${part}`);
  if (node.type === 'record') {
    const named = expectationOf(node.key)?.kind === 'chassis' ? '<number>' : '<name>';
    return placesOf(node.value as v.GenericSchema, below(named));
  }
  if (node.type === 'array') return placesOf(node.item as v.GenericSchema, below('<index>'));
  const kinds = kindsOf(node, below);
  if (kinds.length === 0) return [];
  const inside = kinds.flatMap(({ words }) =>
    words.flatMap(({ schema: inner, path: at }) => placesOf(inner, at)),
  );
  return [{ path, kinds }, ...inside];
}

function kindsOf(node: Node, below: (key: string) => string): Place['kinds'] {
  const words = (object: unknown) =>
    Object.entries(withoutOptional(object).entries as Record<string, v.GenericSchema>).map(([key, entry]) =>
      wordOf(key, entry, below(key)),
    );
  const alternatives = alternativesOf(node);
  if (alternatives !== undefined) return alternatives.map(([by, each]) => ({ by, words: words(each) }));
  return node.type === 'strict_object' ? [{ by: null, words: words(node) }] : [];
}

function wordOf(key: string, schema: v.GenericSchema, path: string): Word {
  const isNeeded = (schema as Node).type !== 'optional';
  const expected = expectationOf(withoutOptional(schema));
  return {
    key,
    path,
    sentence: sentenceOf(schema),
    wanted: expected?.wanted ?? null,
    example: expected?.example ?? null,
    isNeeded,
    otherwise: isNeeded ? undefined : v.getDefault(schema as never),
    schema,
  };
}

/** What a schema says that its value means; null where it says nothing. */
export function sentenceOf(schema: unknown): string | null {
  for (let node = schema as Node; node !== undefined; node = node.wrapped as Node) {
    const description = v.getDescription(node as never);
    if (description !== undefined) return description;
  }
  return null;
}

const HEAD = `# The board file

The board file is JSON. \`chassis-power check\` names every mistake in it, and \`hw/boards/board.schema.json\` lets editors complete
it. This page has each of its words with what it takes and an example. \`npm run reference\` makes it, and that file, of the schema of
the program.
`;

/**
 * The reference of the board file, in Markdown. What stands in several places is described at the first of them, and a place
 * of which nothing new is to be said is left out.
 */
export function boardReference(schema: v.GenericSchema = fileSchema): string {
  const first = new Map<string, string>();
  return [HEAD, ...placesOf(schema).flatMap((place) => placeText(place, first))].join('\n');
}

function titleOf(path: string): string {
  return path === '' ? 'The whole file' : `\`${path}\``;
}

/** The anchor that GitHub gives a heading. */
function anchorOf(path: string): string {
  return titleOf(path)
    .toLowerCase()
    .replaceAll(/[^\w -]/g, '')
    .replaceAll(' ', '-');
}

/** @param first the place where each text of a word stands first */
function placeText({ path, kinds }: Place, first: Map<string, string>): readonly string[] {
  const texts = kinds.map(({ words }) => new Map(words.map((word) => [wordText(word), word.key])));
  const [one = new Map<string, string>(), ...others] = texts;
  const common = new Map([...one].filter(([text]) => others.every((other) => other.has(text))));
  if (texts.every((words) => [...words.keys()].every((text) => first.has(text)))) return [];
  const keys = kinds.map(({ by }) => `\`${by}\``);
  const text = [
    `## ${titleOf(path)}\n`,
    ...(others.length > 0
      ? [`An object with one of ${keys.slice(0, -1).join(', ')} and ${keys.at(-1)}.\n`]
      : []),
    ...itemsOf(path, common, first),
    ...(others.length > 0
      ? texts.flatMap((words, index) => {
          const own = new Map([...words].filter(([text]) => !common.has(text)));
          return [`With ${keys[index]}:\n`, ...itemsOf(path, own, first)];
        })
      : []),
  ].join('\n');
  return [text];
}

/** A list of words, given by their texts; a word that stands at another place already is only named. */
function itemsOf(
  path: string,
  words: ReadonlyMap<string, string>,
  first: Map<string, string>,
): readonly string[] {
  const items: string[] = [];
  const elsewhere = new Map<string, string[]>();
  for (const [text, key] of words) {
    const at = first.get(text);
    if (at === undefined) items.push(text);
    else elsewhere.set(at, [...(elsewhere.get(at) ?? []), `\`${key}\``]);
    first.set(text, at ?? path);
  }
  for (const [at, keys] of elsewhere) {
    items.push(`- ${keys.join(', ')}: as in [${titleOf(at)}](#${anchorOf(at)}).`);
  }
  return items.length === 0 ? [] : [`${items.join('\n')}\n`];
}

function wordText({ key, sentence, wanted, example, isNeeded, otherwise }: Word): string {
  const isNothing = JSON.stringify(otherwise ?? {}).length === 2;
  const without = isNothing ? 'may be left out' : `\`${JSON.stringify(otherwise)}\` where it is left out`;
  const takes = `${wanted?.charAt(0).toUpperCase()}${wanted?.slice(1)}; ${isNeeded ? 'needed' : without}.`;
  return `- **\`${key}\`**: ${plain(`${sentence}`)}.\n  ${plain(takes)}\n  \`"${key}": ${example}\``;
}

/** A text in which Markdown sees no marks, but for what is code. */
function plain(text: string): string {
  return text.replaceAll(/`[^`]*`|[*_<]/g, (found) => (found.length > 1 ? found : `\\${found}`));
}
