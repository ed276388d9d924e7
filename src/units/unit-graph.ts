/** What a tree of unit files says: units with their instances, and who needs, stops and follows whom. */
import { instanceOf, instantiate, isTemplate, templateOf } from './names.ts';
import type { ParsedFile, Setting, UnitTree } from './unit-file.ts';

/** A dependency on the unit `to`, and where it is written. A link has no line. */
export interface Edge {
  readonly to: string;
  readonly file: string;
  readonly line: number | null;
}

/** A unit as systemd would load it: the file, its drop-ins after it, the specifiers filled in. */
export interface Unit {
  readonly name: string;
  /** `service`, `target` … */
  readonly type: string;
  readonly file: string;
  readonly settings: readonly Setting[];
  readonly sections: ReadonlyMap<string, number>;
}

export const RELATIONS = [
  'requires',
  'requisite',
  'wants',
  'conflicts',
  'before',
  'after',
  'onFailure',
] as const;
type Relation = (typeof RELATIONS)[number];

const RELATION_OF: Readonly<Record<string, Relation>> = {
  Requires: 'requires',
  BindsTo: 'requires',
  Requisite: 'requisite',
  Wants: 'wants',
  Upholds: 'wants',
  Conflicts: 'conflicts',
  Before: 'before',
  After: 'after',
  OnFailure: 'onFailure',
};

const INSTALL_RELATION: Readonly<Record<string, Relation>> = { RequiredBy: 'requires', WantedBy: 'wants' };

/** Chassis that a template stands for when nothing in the tree instantiates it. */
const DEFAULT_INSTANCE = '0';

/** Names are those of instances; an alias has been replaced by what it stands for. */
export class UnitGraph {
  readonly units: ReadonlyMap<string, Unit>;
  readonly #edges: ReadonlyMap<string, ReadonlyMap<Relation, readonly Edge[]>>;
  readonly #pulls = new Map<string, ReadonlySet<string>>();
  readonly #needs = new Map<string, ReadonlySet<string>>();

  constructor(tree: UnitTree) {
    const loaded = new Loader(tree).load();
    this.units = loaded.units;
    this.#edges = loaded.edges;
  }

  /** Every unit that there is a file of, or that a link is in a folder of. */
  names(): readonly string[] {
    return [...new Set([...this.units.keys(), ...this.#edges.keys()])];
  }

  edges(name: string, relation: Relation): readonly Edge[] {
    return this.#edges.get(name)?.get(relation) ?? [];
  }

  /** What must be there for the unit to start: a failure of one of these is a failure of the unit. */
  strong(name: string): readonly Edge[] {
    return [...this.edges(name, 'requires'), ...this.edges(name, 'requisite')];
  }

  /** What a start of the unit starts as well. */
  pulled(name: string): readonly Edge[] {
    return [...this.edges(name, 'requires'), ...this.edges(name, 'wants')];
  }

  /** The unit and all that a start of it starts, directly or not. */
  pulls(name: string): ReadonlySet<string> {
    return closure(name, this.#pulls, (from) => this.pulled(from));
  }

  /** The unit and all whose failure is its failure, directly or not. */
  needs(name: string): ReadonlySet<string> {
    return closure(name, this.#needs, (from) => this.strong(from));
  }

  /** Who requires or wants the unit. */
  pulledBy(name: string): readonly string[] {
    return [...this.#edges.keys()].filter((from) => this.pulled(from).some(({ to }) => to === name));
  }

  /** Whether one of the two says in which order they come. */
  ordered(a: string, b: string): boolean {
    const says = (from: string, to: string): boolean =>
      [...this.edges(from, 'before'), ...this.edges(from, 'after')].some((edge) => edge.to === to);
    return says(a, b) || says(b, a);
  }
}

function closure(
  name: string,
  known: Map<string, ReadonlySet<string>>,
  next: (from: string) => readonly Edge[],
): ReadonlySet<string> {
  const before = known.get(name);
  if (before) return before;
  const found = new Set([name]);
  for (const from of found) for (const { to } of next(from)) found.add(to);
  known.set(name, found);
  return found;
}

class Loader {
  readonly #tree: UnitTree;
  readonly #units = new Map<string, Unit>();
  readonly #edges = new Map<string, Map<Relation, Edge[]>>();
  readonly #seen = new Set<string>();

  constructor(tree: UnitTree) {
    this.#tree = tree;
  }

  load(): { units: ReadonlyMap<string, Unit>; edges: ReadonlyMap<string, ReadonlyMap<Relation, Edge[]>> } {
    for (const name of this.#tree.files.keys()) if (!isTemplate(name)) this.#visit(name);
    for (const { owner, kind, unit, file } of this.#tree.links) {
      if (isTemplate(owner) || isTemplate(unit)) continue;
      this.#add(this.#canonical(owner), kind, { to: this.#canonical(unit), file, line: null });
      this.#visit(owner);
      this.#visit(unit);
    }
    for (const name of this.#tree.files.keys()) {
      const instantiated = [...this.#units.keys()].some((unit) => templateOf(unit) === name);
      if (isTemplate(name) && !instantiated) this.#visit(instantiate(name, DEFAULT_INSTANCE));
    }
    return { units: this.#units, edges: this.#edges };
  }

  #canonical(name: string): string {
    const { aliases } = this.#tree;
    let current = name;
    for (let hop = 0; hop < 40; hop += 1) {
      const template = templateOf(current);
      const direct = aliases.get(current);
      const viaTemplate = template === null ? undefined : aliases.get(template);
      const next =
        direct ?? (viaTemplate && instantiate(viaTemplate, instanceOf(current) ?? DEFAULT_INSTANCE));
      if (next === undefined) break;
      current = next;
    }
    return current;
  }

  #add(from: string, relation: Relation, edge: Edge): void {
    const relations = this.#edges.get(from) ?? new Map<Relation, Edge[]>();
    this.#edges.set(from, relations);
    const list = relations.get(relation) ?? [];
    relations.set(relation, list);
    list.push(edge);
  }

  #visit(anyName: string): void {
    const name = this.#canonical(anyName);
    if (this.#seen.has(name) || isTemplate(name)) return;
    this.#seen.add(name);
    const template = templateOf(name);
    for (const { owner, kind, unit, file } of this.#tree.links) {
      const instance = instanceOf(name);
      if (instance === null || owner !== template) continue;
      // A template in the folder of a template goes with the instance of its owner.
      const to = this.#canonical(isTemplate(unit) ? instantiate(unit, instance) : unit);
      this.#add(name, kind, { to, file, line: null });
      this.#visit(to);
    }

    const main =
      this.#tree.files.get(name) ?? (template === null ? undefined : this.#tree.files.get(template));
    if (!main) return;
    const settings = [main, ...this.#dropInsOf(name, template)]
      .flatMap((file) => file.settings)
      .map((setting) => ({ ...setting, value: fillSpecifiers(setting.value, name) }));
    const type = name.slice(name.lastIndexOf('.') + 1);
    this.#units.set(name, { name, type, file: main.file, settings, sections: main.sections });

    for (const { section, key, value, file, line } of settings) {
      const relation = section === 'Unit' ? RELATION_OF[key] : undefined;
      // Enabling makes the links; in a root it either has been done or was not wanted.
      const installed = section === 'Install' && !this.#tree.isRoot ? INSTALL_RELATION[key] : undefined;
      for (const word of words(value)) {
        const other = this.#canonical(word);
        if (relation) this.#add(name, relation, { to: other, file, line });
        if (installed) this.#add(other, installed, { to: name, file, line });
        if (relation || installed) this.#visit(other);
      }
    }
  }

  /** In the order in which systemd reads them: by file name, whatever folder they are in. */
  #dropInsOf(name: string, template: string | null): readonly ParsedFile[] {
    const byName = new Map<string, ParsedFile>();
    for (const owner of [name, ...(template === null ? [] : [template]), ...prefixes(name)]) {
      for (const file of this.#tree.dropIns.get(owner) ?? []) {
        const base = file.file.slice(file.file.lastIndexOf('/') + 1);
        if (!byName.has(base)) byName.set(base, file);
      }
    }
    return [...byName].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, file]) => file);
  }
}

/** `foo-bar-.service`, `foo-.service`, `service` for `foo-bar-baz.service`, nearest first. */
function prefixes(name: string): string[] {
  const dot = name.lastIndexOf('.');
  const [prefix, type] = [name.slice(0, dot).replace(/@.*/, ''), name.slice(dot + 1)];
  const dashes = [...prefix.matchAll(/-/g)].map(({ index }) => index).filter((at) => at < prefix.length - 1);
  return [...dashes.reverse().map((at) => `${prefix.slice(0, at + 1)}.${type}`), type];
}

/** The specifiers that name units are made with. Others stay as they are. */
function fillSpecifiers(value: string, name: string): string {
  const dot = name.lastIndexOf('.');
  const prefix = name.slice(0, dot).replace(/@.*/, '');
  const instance = instanceOf(name) ?? '';
  const known: Readonly<Record<string, string>> = {
    '%': '%',
    i: instance,
    I: instance.replaceAll('-', '/'),
    j: prefix.slice(prefix.lastIndexOf('-') + 1),
    n: name,
    N: name.slice(0, dot),
    p: prefix,
  };
  return value.replace(/%(.)/g, (whole, letter: string) => known[letter] ?? whole);
}

/** Items of a list. Quotes around an item are removed; within one they stand for themselves. */
export function words(value: string): string[] {
  const items = value.match(/"(?:\\.|[^"\\])*"(?=\s|$)|'(?:\\.|[^'\\])*'(?=\s|$)|\S+/g) ?? [];
  return items.map((item) => (item.length > 1 && /^(["']).*\1$/.test(item) ? item.slice(1, -1) : item));
}
