import { nearest, suggestName } from '../near.ts';
import type { Member, Node, Span } from './json-text.ts';
import type { Found } from './problem.ts';

/** The board that a file describes, with a chassis in full for each that is made of a template. */
export interface Expansion {
  readonly root: Node;
  /** What is wrong with the templates and their use; their content is checked in `root`. */
  readonly findings: readonly Found[];
  /** The keys that lead to a part of `root` in the file. */
  sourceOf(keys: readonly string[]): readonly string[];
}

type ObjectNode = Node & { readonly kind: 'object' };
type Scope = ReadonlyMap<string, number | string>;

/** A chassis that is to be made of a template. */
interface Use {
  readonly number: number;
  readonly member: Member;
  readonly template: Member;
  readonly scope: Scope;
  /** Of a template that nothing is made of, so that what is in it is checked all the same. */
  readonly isStandIn?: boolean;
}

const PATTERN = /\{([^{}]*)\}/g;
/** `n`, `n+1`, `n*8-1`. */
const EXPRESSION = /^([A-Za-z]\w*)(?:\*(\d{1,6}))?(?:([+-])(\d{1,6}))?$/;
const VARIABLE = /^[A-Za-z]\w*$/;
const RANGE = /^(0|[1-9]\d?)(?:-([1-9]\d?))?$/;
const TEMPLATE_EXAMPLE = '"template": "slot"';
const PATTERN_EXAMPLE = '"{n}", "{n+1}" or "{n*8+3}"';

/**
 * Puts a chassis in full in the place of each that is made of a template. Never throws: what cannot be expanded is a
 * finding, and is left out.
 * @param incomplete the file could not be read whole, so that what seems to be missing may only be somewhere else
 */
export function expandTemplates(root: Node, incomplete = false): Expansion {
  const asItIs = { root, findings: [], sourceOf: (keys: readonly string[]) => keys };
  if (root.kind !== 'object') return asItIs;
  const named = memberOf(root, 'templates') ?? misspeltTemplates(root);
  const uses = membersOf(root, 'chassis').some(({ value }) => templateOf(value) !== undefined);
  if (named === undefined && !uses) return asItIs;
  const expander = new Expander(root, named, incomplete);
  return { root: expander.board(), findings: expander.findings, sourceOf: (keys) => expander.sourceOf(keys) };
}

function memberOf(node: ObjectNode, key: string): Member | undefined {
  return node.members.find((member) => member.key === key);
}

/** The members of the object that an object has under a key; none where it has none there. */
function membersOf(node: ObjectNode, key: string): readonly Member[] {
  const value = memberOf(node, key)?.value;
  return value?.kind === 'object' ? value.members : [];
}

/** The member that names the template of a chassis, also where its key is misspelt. */
function templateOf(chassis: Node): Member | undefined {
  if (chassis.kind !== 'object') return undefined;
  const isNear = ({ key }: Member) => nearest(key, ['template']).length > 0;
  return (
    memberOf(chassis, 'template') ?? (memberOf(chassis, 'rails') ? undefined : chassis.members.find(isNear))
  );
}

function misspeltTemplates(root: ObjectNode): Member | undefined {
  const known = ['$schema', 'name', 'description', 'devices', 'chassis'];
  return root.members.find(
    ({ key }) => !known.includes(key) && nearest(key, [...known, 'templates']).includes('templates'),
  );
}

class Expander {
  readonly findings: Found[] = [];
  readonly #root: ObjectNode;
  readonly #incomplete: boolean;
  readonly #templates: readonly Member[];
  readonly #templatesKey: Member | undefined;
  /** It is not known of each chassis which template it is made of. */
  #isUseUnclear = false;
  /** What is filled in now is of a stand-in. */
  #isStandIn = false;
  readonly #sources = new Map<string, readonly string[]>();

  constructor(root: ObjectNode, templates: Member | undefined, incomplete: boolean) {
    this.#root = root;
    this.#incomplete = incomplete;
    this.#templatesKey = templates;
    this.#templates = this.#readTemplates(templates);
  }

  board(): ObjectNode {
    const chassis = memberOf(this.#root, 'chassis');
    const plain: Member[] = [];
    const uses: Use[] = [];
    for (const member of chassis?.value.kind === 'object' ? chassis.value.members : []) {
      const { value } = member;
      const template = templateOf(value);
      if (template === undefined || value.kind !== 'object') plain.push(member);
      else uses.push(...this.#usesOf(member, value, template));
    }
    this.#reportUnused(uses);
    const all = [...this.#withoutTwice(uses, plain), ...this.#standIns(uses, plain)];
    const members = [...plain, ...all.map((use) => this.#chassisOf(use))];
    const withChassis = (member: Member): Member => {
      const { value } = member;
      if (member !== chassis || value.kind !== 'object') return member;
      // Why there is no chassis was reported already.
      if (members.length === 0 && value.members.length > 0)
        return { ...member, value: { kind: 'broken', start: value.start, end: value.end } };
      return { ...member, value: { ...value, members } };
    };
    const board = this.#root.members.filter((member) => member !== this.#templatesKey).map(withChassis);
    return this.#withDevices(board, all);
  }

  #standIns(uses: readonly Use[], plain: readonly Member[]): readonly Use[] {
    const taken = new Set([...uses.map(({ number }) => number), ...plain.map(({ key }) => Number(key))]);
    const unused = this.#templates.filter((template) => !uses.some((use) => use.template === template));
    return unused.flatMap((template): Use[] => {
      const number = Array.from({ length: 100 }, (_, index) => index).find((index) => !taken.has(index));
      if (number === undefined) return [];
      taken.add(number);
      return [{ number, member: template, template, scope: new Map([['n', number]]), isStandIn: true }];
    });
  }

  sourceOf(keys: readonly string[]): readonly string[] {
    for (let length = keys.length; length > 0; length -= 1) {
      const source = this.#sources.get(JSON.stringify(keys.slice(0, length)));
      if (source !== undefined) return [...source, ...keys.slice(length)];
    }
    return keys;
  }

  #report(keys: readonly string[], span: Span, message: string, suggestion: string, rest = {}): void {
    const { start, end } = span;
    this.findings.push({ kind: 'value', keys, start, end, message, suggestion, ...rest });
  }

  #readTemplates(member: Member | undefined): readonly Member[] {
    if (member === undefined) return [];
    const { key, keySpan, value } = member;
    if (key !== 'templates') {
      const message = `unknown key ${JSON.stringify(key)}`;
      this.#report([key], keySpan, message, 'did you mean "templates"?', { kind: 'unknownKey' });
    }
    const object = (node: Node, keys: readonly string[], what: string): node is ObjectNode => {
      if (node.kind === 'object') return true;
      if (node.kind !== 'broken') this.#report(keys, node, `this is no object`, `write ${what}`);
      return false;
    };
    if (!object(value, [key], 'the templates by name')) return [];
    return value.members.filter((each) => {
      if (!/^[A-Za-z0-9][A-Za-z0-9_.+-]*$/.test(each.key)) {
        const message = `${JSON.stringify(each.key)} is not written as a name`;
        this.#report([key, each.key], each.keySpan, message, 'write a name of letters and digits');
      }
      return object(each.value, [key, each.key], 'a chassis, with "rails"');
    });
  }

  /** The chassis that a key such as "1-4" stands for. */
  #usesOf(member: Member, value: ObjectNode, template: Member): Use[] {
    const at = ['chassis', member.key];
    for (const named of value.members) {
      const { key, keySpan } = named;
      if (key === 'template' || key === 'with') continue;
      if (named === template) {
        const message = `unknown key ${JSON.stringify(key)}`;
        const rest = { kind: 'unknownKey', example: TEMPLATE_EXAMPLE };
        this.#report([...at, key], keySpan, message, 'did you mean "template"?', rest);
        continue;
      }
      const suggestion =
        nearest(key, ['with']).length > 0
          ? 'did you mean "with"?'
          : 'remove it: the template has what belongs to the chassis';
      this.#report([...at, key], keySpan, `"${key}" beside "template"`, suggestion, { kind: 'unknownKey' });
    }
    const values = this.#valuesOf(value, at);
    const found = this.#templateNamed(template, at);
    const [, from = '', to = from] = RANGE.exec(member.key) ?? [];
    if (from === '' || Number(to) < Number(from)) {
      const message = `${JSON.stringify(member.key)} is no number of a chassis, and no range of numbers`;
      const suggestion = 'write a number from 0 to 99, or a range such as "1-4", in quotes';
      this.#report(at, member.keySpan, message, suggestion);
      this.#isUseUnclear = true;
      return [];
    }
    if (found === undefined) {
      this.#isUseUnclear = true;
      return [];
    }
    const numbers = Array.from({ length: Number(to) - Number(from) + 1 }, (_, index) => Number(from) + index);
    return numbers.map((number) => ({
      number,
      member,
      template: found,
      scope: new Map<string, number | string>([...values, ['n', number]]),
    }));
  }

  #templateNamed({ value }: Member, at: readonly string[]): Member | undefined {
    if (value.kind === 'broken') return undefined;
    const keys = [...at, 'template'];
    const names = this.#templates.map(({ key }) => key);
    if (value.kind !== 'text') {
      this.#report(keys, value, 'this is no name of a template', 'write the name of one of "templates"', {
        example: TEMPLATE_EXAMPLE,
      });
      return undefined;
    }
    const found = this.#templates.find(({ key }) => key === value.value);
    if (found === undefined && !this.#incomplete) {
      const suggestion =
        names.length === 0
          ? 'describe it in "templates" of the board'
          : suggestName(value.value, names, 'templates');
      this.#report(keys, value, `there is no template "${value.value}"`, suggestion, { kind: 'conflict' });
    }
    return found;
  }

  #valuesOf(use: ObjectNode, at: readonly string[]): [string, number | string][] {
    const given = memberOf(use, 'with');
    if (given === undefined || given.value.kind === 'broken') return [];
    const keys = [...at, 'with'];
    const example = { example: '"with": { "port": "C" }' };
    if (given.value.kind !== 'object') {
      this.#report(keys, given.value, 'this is no object', 'write values by name', example);
      return [];
    }
    return given.value.members.flatMap(({ key, keySpan, value }): [string, number | string][] => {
      if (!VARIABLE.test(key) || key === 'n') {
        const suggestion = 'write a name of letters and digits that is not "n", the number of the chassis';
        this.#report([...keys, key], keySpan, `"${key}" is no name of a value`, suggestion, example);
      }
      if (value.kind === 'text' || (value.kind === 'number' && Number.isInteger(value.value)))
        return [[key, value.value]];
      if (value.kind !== 'broken') {
        const suggestion = 'write a text or a whole number';
        this.#report([...keys, key], value, `the value "${key}" is neither`, suggestion, example);
      }
      return [];
    });
  }

  #reportUnused(uses: readonly Use[]): void {
    if (this.#incomplete || this.#isUseUnclear) return;
    for (const template of this.#templates) {
      if (uses.some((use) => use.template === template)) continue;
      const { key, keySpan } = template;
      this.#report(
        [this.#templatesKey?.key ?? '', key],
        keySpan,
        `no chassis is made of the template "${key}"`,
        'make one of it, or remove it',
        { kind: 'conflict', example: `"1-4": { "template": "${key}" }` },
      );
    }
  }

  /** Reports a chassis that the file describes twice, and leaves it as it is first described. */
  #withoutTwice(uses: readonly Use[], plain: readonly Member[]): readonly Use[] {
    const first = new Map<number, Span>();
    for (const { key, keySpan } of plain) first.set(Number(key), keySpan);
    return uses.filter(({ number, member }) => {
      const other = first.get(number);
      if (other === undefined) {
        first.set(number, member.keySpan);
        return true;
      }
      this.#report(
        ['chassis', member.key],
        member.keySpan,
        `chassis ${number} is described twice`,
        'leave it out of one of the two',
        { kind: 'conflict', other },
      );
      return false;
    });
  }

  #chassisOf({ number, member, template, scope, isStandIn = false }: Use): Member {
    this.#isStandIn = isStandIn;
    const key = String(number);
    const source = [this.#templatesKey?.key ?? '', template.key];
    const { value } = template;
    const members =
      value.kind === 'object' ? value.members.filter(({ key: inner }) => inner !== 'devices') : [];
    this.#sources.set(JSON.stringify(['chassis', key]), source);
    const object = { ...value, kind: 'object', members } as const;
    return {
      key,
      keySpan: member.keySpan,
      value: this.#filled(object, scope, ['chassis', key], source),
    };
  }

  /** The board with the devices of its templates. */
  #withDevices(members: readonly Member[], uses: readonly Use[]): ObjectNode {
    const known = new Map<string, string>();
    const reported = new Set<Node>();
    for (const { key } of membersOf(this.#root, 'devices')) known.set(key, 'the devices of the board');
    const made = uses.flatMap(({ number, template, scope, isStandIn = false }) => {
      this.#isStandIn = isStandIn;
      const devices = template.value.kind === 'object' ? memberOf(template.value, 'devices') : undefined;
      if (devices === undefined) return [];
      const source = [this.#templatesKey?.key ?? '', template.key, 'devices'];
      const filled = this.#filled(devices.value, scope, ['devices'], source);
      if (filled.kind !== 'object') {
        if (filled.kind !== 'broken')
          this.#report(source, filled, 'this is no object', 'write the devices by name');
        return [];
      }
      return filled.members.filter((device, index) => {
        const raw = (devices.value as ObjectNode).members[index]?.key ?? device.key;
        const other = known.get(device.key);
        if (other === undefined) {
          known.set(device.key, `chassis ${number}`);
          this.#sources.set(JSON.stringify(['devices', device.key]), [...source, raw]);
          return true;
        }
        const written = (devices.value as ObjectNode).members[index]?.value ?? device.value;
        if (!reported.has(written)) {
          reported.add(written);
          this.#report(
            [...source, raw],
            device.keySpan,
            `the device "${device.key}" would be of chassis ${number} and of ${other}`,
            'put {n} into its name, so that each chassis has one of its own',
            { kind: 'conflict', example: `"${device.key}{n}"` },
          );
        }
        return false;
      });
    });
    if (made.length === 0) return { ...this.#root, members };
    const own = memberOf({ ...this.#root, members }, 'devices');
    if (own === undefined) {
      const { start, end } = this.#root;
      const value: Node = { kind: 'object', members: made, start, end };
      return { ...this.#root, members: [...members, { key: 'devices', keySpan: { start, end }, value }] };
    }
    if (own.value.kind !== 'object') return { ...this.#root, members };
    const value: Node = { ...own.value, members: [...own.value.members, ...made] };
    return { ...this.#root, members: members.map((each) => (each === own ? { ...own, value } : each)) };
  }

  /** A copy in which every pattern is replaced by what it stands for. */
  #filled(node: Node, scope: Scope, keys: readonly string[], source: readonly string[]): Node {
    switch (node.kind) {
      case 'object': {
        const seen = new Map<string, Member>();
        const members = node.members.flatMap((member): Member[] => {
          const filled = this.#fill(member.key, member.keySpan, scope, [...source, member.key]);
          if (filled === null) return [];
          const key = String(filled);
          const before = seen.get(key);
          if (before !== undefined && before.key !== member.key) {
            const message = `"${before.key}" and "${member.key}" become the same name`;
            const other = { other: before.keySpan, kind: 'conflict' };
            this.#report(
              [...source, member.key],
              member.keySpan,
              message,
              'give one of the two another name',
              other,
            );
          }
          seen.set(key, member);
          const at = [...keys, key];
          const from = [...source, member.key];
          if (key !== member.key) this.#sources.set(JSON.stringify(at), from);
          return [{ ...member, key, value: this.#filled(member.value, scope, at, from) }];
        });
        return { ...node, members };
      }
      case 'list':
        return {
          ...node,
          items: node.items.map((item, index) =>
            this.#filled(item, scope, [...keys, String(index)], [...source, String(index)]),
          ),
        };
      case 'text': {
        const { start, end } = node;
        const value = this.#fill(node.value, node, scope, source);
        if (value === null) return { kind: 'broken', start, end };
        if (typeof value === 'number') return { kind: 'number', value, start, end };
        return { kind: 'text', value, start, end };
      }
      default:
        return node;
    }
  }

  /**
   * A text with its patterns replaced; null where one of them is none, which is reported. A text that is one pattern and
   * nothing else is a number where that is one.
   */
  #fill(text: string, span: Span, scope: Scope, source: readonly string[]): number | string | null {
    if (!/[{}]/.test(text)) return text;
    if (/[{}]/.test(text.replaceAll(PATTERN, ''))) {
      const message = `${JSON.stringify(text)} has a brace that belongs to no pattern`;
      this.#report(source, span, message, `write a pattern such as ${PATTERN_EXAMPLE}`);
      return null;
    }
    const values = [...text.matchAll(PATTERN)].map(([, expression = '']) =>
      this.#valueOf(expression, span, scope, source),
    );
    if (values.includes(null)) return null;
    const [only = ''] = values;
    if (/^\{[^{}]*\}$/.test(text)) return only;
    return text.replaceAll(PATTERN, () => String(values.shift()));
  }

  #valueOf(expression: string, span: Span, scope: Scope, source: readonly string[]): number | string | null {
    const match = EXPRESSION.exec(expression.replaceAll(/\s/g, ''));
    if (match === null) {
      const suggestion = `write a pattern such as ${PATTERN_EXAMPLE}`;
      this.#report(source, span, `{${expression}} is no pattern`, suggestion);
      return null;
    }
    const [, name = '', factor, sign, offset = '0'] = match;
    const value = scope.get(name);
    // Nobody can say what a template that nothing is made of would be given.
    if (value === undefined && this.#isStandIn) return null;
    if (value === undefined) {
      const message = `nothing says what {${name}} stands for`;
      const suggestion = `${suggestName(name, [...scope.keys()], 'values')}; or give it in "with" of the chassis`;
      this.#report(source, span, message, suggestion, { kind: 'conflict' });
      return null;
    }
    if (factor === undefined && sign === undefined) return value;
    if (typeof value === 'string') {
      const message = `{${expression}} reckons with "${value}", which is a text`;
      this.#report(source, span, message, `write {${name}} alone, or give a number in "with"`, {
        kind: 'conflict',
      });
      return null;
    }
    return value * Number(factor ?? 1) + (sign === '-' ? -Number(offset) : Number(offset));
  }
}

/** A board without templates as it would be parsed; undefined where the templates have problems. */
export function expandedValue(input: unknown): unknown {
  const { root, findings } = expandTemplates(nodeOf(input));
  return findings.length === 0 ? plainOf(root) : undefined;
}

const NOWHERE: Span = { start: 0, end: 0 };

function nodeOf(value: unknown): Node {
  if (Array.isArray(value)) return { kind: 'list', items: value.map(nodeOf), ...NOWHERE };
  switch (typeof value) {
    case 'object': {
      if (value === null) return { kind: 'null', ...NOWHERE };
      const members = Object.entries(value).map(([key, each]) => ({
        key,
        keySpan: NOWHERE,
        value: nodeOf(each),
      }));
      return { kind: 'object', members, ...NOWHERE };
    }
    case 'string':
      return { kind: 'text', value, ...NOWHERE };
    case 'boolean':
      return { kind: 'boolean', value, ...NOWHERE };
    default:
      return { kind: 'number', value: Number(value), ...NOWHERE };
  }
}

function plainOf(node: Node): unknown {
  switch (node.kind) {
    case 'object':
      return Object.fromEntries(node.members.map(({ key, value }) => [key, plainOf(value)]));
    case 'list':
      return node.items.map(plainOf);
    case 'null':
    case 'broken':
      return null;
    default:
      return node.value;
  }
}
