import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { describe, expect, it } from 'vitest';
import { HARDWARE_CODES, SYSTEM_CODES } from './error-codes.ts';

const root = join(import.meta.dirname, '..', '..');

interface Source {
  /** Relative to the checkout, with `/`. */
  readonly file: string;
  readonly text: string;
}

const sourcesByFolder = new Map<string, readonly Source[]>();

/** Read once for all that is asked of them. */
function sourcesIn(...folders: string[]): Source[] {
  return folders.flatMap((folder) => {
    const sources = sourcesByFolder.get(folder) ?? readSources(folder);
    sourcesByFolder.set(folder, sources);
    return sources;
  });
}

function readSources(folder: string): Source[] {
  return readdirSync(join(root, folder), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && entry.name.endsWith('.ts'))
    .map((entry) => {
      const path = join(entry.parentPath, entry.name);
      return { file: relative(root, path), text: readFileSync(path, 'utf8') };
    });
}

/** What a file imports: files relative to the checkout, packages by name. */
function importsOf({ file, text }: Source): string[] {
  const found = text.matchAll(/(?:\bfrom\s+|\bimport\s+|\bimport\(\s*)'([^']+)'/g);
  return [...found].map(([, specifier = '']) =>
    specifier.startsWith('.') ? join(dirname(file), specifier) : specifier,
  );
}

const PORTS = [
  'hw/ports.ts',
  'hw/errors.ts',
  'hw/disk.ts',
  'hw/files.ts',
  'hw/flock.ts',
  'hw/lines.ts',
  'hw/sensor-labels.ts',
  'hw/waiting.ts',
];
const SYSTEM = ['src/system/ports.ts', 'src/system/errors.ts', 'src/system/severity.ts'];

/** Folder or file → what its imports may begin with. The first that fits a file counts. */
const MAY_IMPORT: readonly (readonly [from: string, allowed: readonly string[]])[] = [
  ['hw/boards/', []],
  ['hw/', ['hw/', 'node:', 'onoff', 'i2c-bus']],
  ['src/errors.ts', ['hw/errors.ts']],
  ['src/dbus-names.ts', []],
  ['src/near.ts', []],
  ['src/printable.ts', []],
  ['src/shape.ts', []],
  ['src/shape-of.ts', ['src/shape.ts']],
  ['src/sha256.ts', []],
  ['src/xml.ts', []],
  [
    'src/system/',
    ['src/system/', 'src/dbus-names.ts', 'src/printable.ts', 'src/xml.ts', ...PORTS, 'node:', 'dbus-next'],
  ],
  [
    'src/board/',
    [
      'src/board/',
      'src/errors.ts',
      'src/dbus-names.ts',
      'src/near.ts',
      'src/printable.ts',
      'src/sha256.ts',
      'src/shape.ts',
      'src/shape-of.ts',
      ...PORTS,
      'node:',
      'valibot',
      '@valibot/to-json-schema',
    ],
  ],
  [
    'src/sequence/',
    [
      'src/sequence/',
      'src/board/schema.ts',
      'src/board/off-order.ts',
      'src/board/pgood-sources.ts',
      'valibot',
      'xstate',
    ],
  ],
  // Tries the machine, and runs nothing.
  ['src/verify/', ['src/verify/', 'src/sequence/']],
  [
    'src/store/',
    [
      'src/store/',
      'src/sequence/',
      'src/errors.ts',
      'src/sha256.ts',
      'src/shape.ts',
      'src/shape-of.ts',
      ...PORTS,
      'node:',
      'valibot',
    ],
  ],
  [
    'src/run/',
    ['src/run/', 'src/store/', 'src/sequence/', 'src/board/', 'src/errors.ts', ...PORTS, 'hw/pmbus/'],
  ],
  [
    'src/report/',
    [
      'src/report/',
      'src/run/record.ts',
      'src/sequence/',
      'src/errors.ts',
      'hw/errors.ts',
      'src/printable.ts',
      'src/xml.ts',
      ...SYSTEM,
      'picocolors',
    ],
  ],
  ['src/units/', ['src/units/', 'src/errors.ts', ...SYSTEM, ...PORTS, 'node:']],
  [
    'src/service/',
    [
      'src/service/',
      'src/run/',
      'src/store/',
      'src/units/names.ts',
      'src/units/route.ts',
      'src/sequence/',
      'src/errors.ts',
      ...SYSTEM,
      ...PORTS,
      'xstate',
    ],
  ],
  [
    'src/cli/',
    [
      'src/cli/',
      'src/service/',
      'src/run/',
      'src/store/',
      'src/report/',
      'src/units/',
      'src/verify/',
      'src/sequence/',
      'src/board/',
      'src/errors.ts',
      'src/near.ts',
      'src/printable.ts',
      'package.json',
      ...SYSTEM,
      ...PORTS,
      'node:',
      'picocolors',
    ],
  ],
  ['src/compose.ts', ['src/cli/world.ts', 'src/system/', 'hw/', 'node:']],
  ['src/main.ts', ['src/compose.ts', 'src/cli/main.ts']],
  ['mocks/sim.ts', ['mocks/', 'src/', 'hw/', 'node:']],
  // Runs the program on the plant, as the simulator does.
  ['mocks/replay/', ['mocks/', 'src/', 'hw/', 'node:']],
  [
    'mocks/',
    [
      'mocks/',
      'src/board/',
      'src/dbus-names.ts',
      'src/near.ts',
      ...SYSTEM,
      ...PORTS,
      'hw/gpio/errors.ts',
      'hw/i2c/errors.ts',
      'hw/i2c/put-back.ts',
      'hw/i2c/turns.ts',
      'hw/sensors/errors.ts',
      'node:',
    ],
  ],
];

/**
 * Packages that may be imported by these files alone, or those of these folders, so that what replaces them replaces
 * no more.
 */
const ONLY_IMPORTERS: Readonly<Record<string, readonly string[]>> = {
  onoff: ['hw/gpio/library.ts'],
  'i2c-bus': ['hw/i2c/i2c-bus.ts'],
  'dbus-next': ['src/system/dbus/connection.ts'],
  // The chart of the sequence is pure; those of the service run as actors.
  xstate: ['src/sequence/chart.ts', 'src/sequence/machine.ts', 'src/service/'],
};

function violations(sources: readonly Source[]): string[] {
  return sources.flatMap((source) => {
    const rule = MAY_IMPORT.find(([from]) => source.file.startsWith(from));
    if (!rule) return [`${source.file} is in no room that the rules know`];
    return importsOf(source).flatMap((imported) => [
      ...(rule[1].some((allowed) => imported.startsWith(allowed))
        ? []
        : [`${source.file} imports ${imported}`]),
      ...((ONLY_IMPORTERS[imported] ?? [source.file]).some((importer) => source.file.startsWith(importer))
        ? []
        : [`${source.file} imports ${imported}, which only ${ONLY_IMPORTERS[imported]?.join(' and ')} may`]),
    ]);
  });
}

/** The first circle that following imports from file to file finds, as the files on it; null where there is none. */
function circle(sources: readonly Source[]): string[] | null {
  const imports = new Map(sources.map((source) => [source.file, importsOf(source)]));
  const done = new Set<string>();
  const follow = (file: string, path: readonly string[]): string[] | null => {
    if (path.includes(file)) return [...path.slice(path.indexOf(file)), file];
    if (done.has(file)) return null;
    for (const imported of imports.get(file) ?? []) {
      const found = follow(imported, [...path, file]);
      if (found !== null) return found;
    }
    done.add(file);
    return null;
  };
  for (const { file } of sources) {
    const found = follow(file, []);
    if (found !== null) return found;
  }
  return null;
}

describe('imports go one way', () => {
  it('in every file', () => {
    const sources = sourcesIn('src', 'hw', 'mocks');
    expect(sources.length).toBeGreaterThan(25);
    expect(violations(sources)).toEqual([]);
  });

  it('and never in a circle, types and what is loaded later included', () => {
    expect(circle(sourcesIn('src', 'hw', 'mocks'))).toBeNull();
  });

  it('a circle would be found', () => {
    const sources = [
      { file: 'src/a.ts', text: "import type { B } from './b.ts';" },
      { file: 'src/b.ts', text: "const c = await import('./c.ts');" },
      { file: 'src/c.ts', text: "import './b.ts';" },
    ];
    expect(circle(sources)).toEqual(['src/b.ts', 'src/c.ts', 'src/b.ts']);
  });

  it.each([
    ['src/run/x.ts', "import { createPlant } from '../../mocks/plant/plant.ts';"],
    ['hw/gpio/x.ts', "import type { Board } from '../../src/board/schema.ts';"],
    ['src/sequence/x.ts', "import { readFileSync } from 'node:fs';"],
    ['src/cli/verbs/x.ts', "const { createOnoffGpio } = await import('../../../hw/gpio/onoff.ts');"],
    ['src/run/x.ts', "import { setup } from 'xstate';"],
    ['src/sequence/x.ts', "import { createActor } from 'xstate';"],
    ['mocks/plant/plant.ts', "import { openChassis } from '../../src/run/hardware.ts';"],
    ['hw/other/x.ts', "import { Gpio } from 'onoff';"],
    ['src/store/x.ts', "import { runSequence } from '../run/runner.ts';"],
    ['src/verify/x.ts', "import { runSequence } from '../run/runner.ts';"],
    ['src/run/x.ts', "import { createUnitManager } from '../system/units.ts';"],
    ['src/new-room/x.ts', ''],
  ])('and %s with `%s` would be found', (file, text) => {
    expect(violations([{ file, text }])).not.toEqual([]);
  });
});

/** Folder or file → its name in the picture of docs/architecture.md. The first that fits counts; what is in none is small. */
const ROOMS: readonly (readonly [prefix: string, room: string])[] = [
  ...PORTS.map((file) => [file, 'ports'] as const),
  ['hw/pmbus/', 'pmbus'],
  ['hw/', 'drivers'],
  ['mocks/sim.ts', 'sim'],
  ['mocks/replay/', 'sim'],
  ['mocks/', 'mocks'],
  ['src/main.ts', 'main'],
  ['src/compose.ts', 'compose'],
  ...['cli', 'report', 'service', 'units', 'system', 'run', 'store', 'verify', 'sequence', 'board'].map(
    (room) => [`src/${room}/`, room] as const,
  ),
];

/** Which room imports from which, without what follows from the others. */
function arrowsBetweenRooms(sources: readonly Source[]): string[] {
  const roomOf = (file: string) => ROOMS.find(([prefix]) => file.startsWith(prefix))?.[1];
  const imports = new Map<string, Set<string>>();
  for (const source of sources) {
    const from = roomOf(source.file);
    if (from === undefined) continue;
    const into = imports.get(from) ?? new Set();
    imports.set(from, into);
    for (const imported of importsOf(source)) {
      const to = imported.endsWith('.ts') ? roomOf(imported) : undefined;
      if (to !== undefined && to !== from) into.add(to);
    }
  }
  const leadsTo = (from: string, to: string): boolean =>
    [...(imports.get(from) ?? [])].some((next) => next === to || leadsTo(next, to));
  return [...imports].flatMap(([from, into]) =>
    [...into]
      .filter((to) => ![...into].some((other) => other !== to && leadsTo(other, to)))
      .map((to) => `${from} --> ${to}`),
  );
}

describe('the pages for contributors', () => {
  const page = (path: string) => readFileSync(join(root, path), 'utf8');

  it('show the rooms as the imports of the code make them', () => {
    const [, picture = ''] = /```mermaid\nflowchart TD\n(.*?)```/s.exec(page('docs/architecture.md')) ?? [];
    const arrows = [...picture.matchAll(/^ *(\w+)(?:\[.*?\])? --> (\w+)/gm)].map(
      ([, from, to]) => `${from} --> ${to}`,
    );
    expect(arrows.sort()).toEqual(arrowsBetweenRooms(sourcesIn('src', 'hw', 'mocks')).sort());
  });

  it.each(['README.md', 'CONTRIBUTING.md', 'docs/architecture.md'])('%s names only what is there', (path) => {
    const named = [...page(path).matchAll(/`((?:src|hw|mocks|test|systemd|docs|deploy|\.ci)\/[^`\s]*)`/g)]
      .map(([, name = '']) => name)
      // Patterns and templates name many.
      .filter((name) => !/[*@→]/.test(name));
    expect(named.length).toBeGreaterThan(0);
    expect(named.filter((name) => !existsSync(join(root, name)))).toEqual([]);
  });

  it('name a script of package.json where they say npm run', () => {
    const { scripts } = JSON.parse(page('package.json')) as { scripts: Record<string, string> };
    const named = ['README.md', 'CONTRIBUTING.md', 'docs/architecture.md'].flatMap((path) =>
      [...page(path).matchAll(/npm run ([\w:]+)/g)].map(([, name = '']) => name),
    );
    expect(named.filter((name) => scripts[name] === undefined)).toEqual([]);
  });
});

describe('a concept stands in one place', () => {
  it.each([
    [
      'what people call a state',
      /['"`]op-(?:wait-)?power-(?:on|off|start|stop)\b(?!@)/,
      'src/report/words.ts',
    ],
    ['the severity that the journal reads', /['"`]<(?:\$\{severity|[0-7]>)/, 'src/system/severity.ts'],
    ['escapes of XML', /&amp;/, 'src/xml.ts'],
    ['putting a file in place at once', /\brenameSync\((?:temporary|fresh)/, 'hw/files.ts'],
    ['the same beside the event loop', /\brename\((?:temporary|fresh)/, 'hw/disk.ts'],
    ['waits that double', /Math\.min\((?:2 \* \w+|\w+ \* 2),/, 'hw/waiting.ts'],
    ['a wait that is nothing else', /(?<!= )clock\.after\(\w+, resolve\)/, 'none'],
    ['a promise that is settled from outside', /^ +resolve = (?:done|settle|resolve\w*);$/m, 'hw/waiting.ts'],
    ['the call of flock(1)', /spawn\('flock'/, 'hw/flock.ts'],
  ])('%s', (_, pattern, place) => {
    const found = sourcesIn('src', 'hw').filter(({ text }) => pattern.test(text));
    expect(found.map(({ file }) => file)).toEqual(place === 'none' ? [] : [place]);
  });
});

/** Of these the bundle, which takes each name once, would be another program than the files. */
function movingExports(sources: readonly Source[]): string[] {
  return sources.flatMap(({ file, text }) =>
    [...text.matchAll(/^(?:export (?:let|var)\b|import ').*/gm)].map(([found]) => `${file}: ${found}`),
  );
}

describe('a module is what it exports when it was run', () => {
  it('and is imported for that alone', () => {
    expect(movingExports(sourcesIn('src', 'hw', 'mocks'))).toEqual([]);
  });

  it.each(["import './b.ts';", 'export let a = 1;'])('%s would be found', (text) => {
    expect(movingExports([{ file: 'src/a.ts', text }])).toEqual([`src/a.ts: ${text}`]);
  });
});

describe('time is a port', () => {
  // A key of that name gives somebody else a clock.
  const READS_TIME =
    /\b(setTimeout|setInterval|setImmediate|Date\.now|performance\.now|new Date|hrtime)\b(?!:)/;

  it('only the clock driver reads it', () => {
    const found = sourcesIn('src', 'hw')
      .filter(({ file }) => file !== 'hw/clock.ts')
      .flatMap(({ file, text }) =>
        text
          .split('\n')
          .filter((line) => READS_TIME.test(line) && !/^\s*(\*|\/\/|\/\*)/.test(line))
          .map((line) => `${file}: ${line.trim()}`),
      );
    expect(found).toEqual([]);
  });
});

describe('the sequence', () => {
  it('judges a settle, de-glitch, release or hold time in one place', () => {
    const judging = sourcesIn('src/sequence').filter(({ text }) =>
      /(?<!readonly )\b(settleMs(?! > 0)|deglitchMs|releaseDelayMs|minOffMs)\b/.test(
        text.replaceAll(/^ *(\/\/|\/?\*).*$/gm, ''),
      ),
    );
    expect(judging.map(({ file }) => file).sort()).toEqual([
      'src/sequence/deadlines.ts',
      'src/sequence/plan.ts',
    ]);
  });
});

describe('errors', () => {
  it('are of the one family: nothing throws a bare Error', () => {
    const found = sourcesIn('src', 'hw').filter(({ text }) => /throw new Error\(/.test(text));
    expect(found.map(({ file }) => file)).toEqual([]);
  });

  it('of hardware are about lines, buses, devices, sensors and properties, and those of the system about D-Bus and systemd', () => {
    expect(HARDWARE_CODES.length).toBeGreaterThan(10);
    expect(SYSTEM_CODES.length).toBeGreaterThan(5);
    expect(HARDWARE_CODES.filter((code) => !/^(GPIO|I2C|PMBUS|SENSOR|PROPERTY)_/.test(code))).toEqual([]);
    expect(SYSTEM_CODES.filter((code) => !/^(DBUS|SYSTEMD)_/.test(code))).toEqual([]);
  });

  it('of hardware never come from the room of D-Bus and systemd', () => {
    const found = sourcesIn('src/system').filter(({ text }) => /\bHardwareError\b/.test(text));
    expect(found.map(({ file }) => file)).toEqual([]);
  });
});
