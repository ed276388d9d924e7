// Bundles the program into dist/chassis-power and, for CI and the bench, the simulator into dist/sim.
// Neither needs node_modules afterwards: what is compiled lies in native/ beside the code.
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { cpSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build, transform } from 'esbuild';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const dist = join(root, 'dist');

/** `bindings` looks for compiled addons around its caller's folder, which a bundle does not have. */
/** @type {import('esbuild').Plugin} */
const nativeAddons = {
  name: 'native-addons',
  setup(builder) {
    builder.onResolve({ filter: /^bindings$/ }, () => ({ path: 'bindings', namespace: 'native-addons' }));
    builder.onLoad({ filter: /.*/, namespace: 'native-addons' }, () => ({
      loader: 'js',
      contents: `
        const { readdirSync } = require('node:fs');
        const { join } = require('node:path');
        const kind = \`linux-\${process.arch}-\${process.versions.modules}\`;
        module.exports = (name) => {
          const file = name.endsWith('.node') ? name : name + '.node';
          const native = join(__dirname, 'native');
          const there = readdirSync(native);
          if (!there.includes(kind))
            throw new Error(\`no addons for Node \${process.version} (\${kind}) in \${native}, which has \${there.join(', ')}\`);
          return require(join(native, kind, file));
        };`,
    }));
  },
};

/**
 * dbus-next reads and writes the XML of introspection with xml2js, for proxies and objects of its own, which are not used:
 * `src/system/introspection.ts` writes it. All of xml2js is two fifths of what a connection would load.
 * @type {import('esbuild').Plugin}
 */
const withoutXml = {
  name: 'without-xml',
  setup(builder) {
    builder.onResolve({ filter: /^xml2js$/ }, () => ({ path: 'xml2js', namespace: 'without-xml' }));
    builder.onLoad({ filter: /.*/, namespace: 'without-xml' }, () => ({
      loader: 'js',
      contents: `
        const leftOut = () => {
          throw new Error('xml2js is not in this bundle');
        };
        exports.Builder = class { buildObject = leftOut; };
        exports.Parser = class { parseString = leftOut; parseStringPromise = leftOut; };`,
    }));
  },
};

/**
 * The table of a schema is made here and not in each process, so a bundle loads the schema, and valibot, only for what has problems.
 * @type {import('esbuild').Plugin}
 */
const madeShapes = {
  name: 'made-shapes',
  setup(builder) {
    builder.onLoad({ filter: /[\\/]src[\\/].*-shape\.ts$/ }, async ({ path }) => {
      const { outputFiles } = await build({
        entryPoints: [path],
        bundle: true,
        write: false,
        format: 'esm',
        platform: 'node',
        logLevel: 'warning',
      });
      const [{ text = '' } = {}] = outputFiles;
      /** @type {Record<string, unknown>} */
      const shapes = await import(`data:text/javascript;base64,${Buffer.from(text).toString('base64')}`);
      // As a text, which V8 reads sooner than an object in code.
      const made = Object.entries(shapes).map(
        ([name, shape]) => `export const ${name} = JSON.parse(${JSON.stringify(JSON.stringify(shape))});`,
      );
      return { contents: made.join('\n') };
    });
  },
};

/** What CommonJS modules in a bundle of ES modules take for granted. esbuild puts it into every file. */
const COMMON_JS = [
  "import { createRequire as __createRequire } from 'node:module';",
  "import { dirname as __pathDirname } from 'node:path';",
  "import { fileURLToPath as __fileURLToPath } from 'node:url';",
  'const require = __createRequire(import.meta.url);',
  'const __dirname = __pathDirname(__fileURLToPath(import.meta.url));',
].join('\n');

/**
 * Most files of the bundle have no such module: they are shorter, and start faster, without it.
 * @param {string} path
 */
function dropBanner(path) {
  const text = readFileSync(path, 'utf8');
  const without = text.replace(`${COMMON_JS}\n`, '');
  if (!/\b(?:require|__dirname)\b/.test(without)) writeFileSync(path, without);
}

/** What a file asks for of those that others ask for too. */
const SHARED = /require\("\.\/(chunk-[^"]+)"\)/g;
/** What several verbs share is in files of a few kilobytes, of which each verb loads a dozen: those are one. */
const SMALL_BYTES = 16 * 1024;

/**
 * Makes the files of a bundle CommonJS: esbuild itself splits ES modules only. Files that others share are joined, so that few have to be
 * opened, and little is in them that is not needed. Each is run when it is first asked for, as if it were a file still.
 * @param {Record<string, { inputs: object }>} outputs of esbuild
 * @param {string} dir of the bundle
 * @returns the name of the file that the program begins with
 */
async function toCommonJs(outputs, dir) {
  /** @type {Map<string, string>} */
  const files = new Map();
  for (const [output, { inputs }] of Object.entries(outputs)) {
    if (!output.endsWith('.cjs')) continue;
    const path = join(root, output);
    const { code } = await transform(withOwnRequires(readFileSync(path, 'utf8')), {
      format: 'cjs',
      platform: 'neutral',
      target: 'node20',
      // What is not ours is as long as all the rest.
      minifyWhitespace: Object.keys(inputs).every((input) =>
        /^(?:native-addons:|without-xml:|.*\bnode_modules\/)/.test(input),
      ),
    });
    files.set(basename(path), withLateModules(code));
    rmSync(path);
  }
  const [entry = '', entryCode = ''] = [...files].find(([, code]) => code.startsWith('#!')) ?? [];
  files.set(entry, entryCode.slice(entryCode.indexOf('\n') + 1));
  const groups = groupsOf(files, entry);
  const isGrouped = (/** @type {string} */ name) => groups.some((group) => group.has(name));
  const load = (/** @type {string} */ code) =>
    code.replaceAll(SHARED, (whole, name) => (isGrouped(name) ? `__shared("${name}")` : whole));
  const part = (/** @type {string} */ name) =>
    `${JSON.stringify(name)}(module, require) {\n${load(files.get(name) ?? '')}}`;
  const parts = (/** @type {Iterable<string>} */ names) => `{\n${[...names].map(part).join(',\n')}\n}`;
  const [first = new Set(), ...later] = groups;
  const places = later.flatMap((group) => {
    if (group.size === 0) return [];
    const file = putFile(dir, 'shared', `module.exports = (__shared) => (${parts(group)});\n`);
    return [...group].map((name) => [name, `./${file}`]);
  });
  const main = putFile(
    dir,
    'main',
    [
      `${sharedHead(Object.fromEntries(places))}var files = ${parts(first)};`,
      'module.exports = __shared;',
      `__shared(${JSON.stringify(entry)});\n`,
    ].join('\n'),
  );
  for (const [name, code] of files) {
    if (isGrouped(name)) continue;
    const own = load(code);
    const head = own.includes('__shared(') ? `var __shared = require("./${main}");\n` : '';
    writeFileSync(join(dir, name), textOf(`${head}${own}`));
  }
  return main;
}

/**
 * What files of a bundle go into one: those that every command runs; those that a stage runs which has nothing to do, with the
 * picture of its lines; those of every verb that takes a board file and looks for its lines, of any size, for each of these runs them all; those of `status`; the small ones that are left.
 * @param {ReadonlyMap<string, string>} files
 * @param {string} entry the file that the program begins with
 */
function groupsOf(files, entry) {
  const isSmall = (/** @type {string} */ name) => (files.get(name)?.length ?? 0) < SMALL_BYTES;
  const isAny = () => true;
  /** @type {Set<string>[]} */
  const groups = [];
  const add = (/** @type {string[]} */ from, /** @type {(name: string) => boolean} */ isWanted) => {
    const found = new Set(from);
    for (const name of found) {
      for (const [, needed = ''] of (files.get(name) ?? '').matchAll(SHARED)) found.add(needed);
    }
    const taken = groups.flatMap((group) => [...group]);
    groups.push(new Set([...found].filter((name) => isWanted(name) && !taken.includes(name))));
  };
  const isShared = (/** @type {string} */ name) => name.startsWith('chunk-');
  add([entry], (name) => name === entry || isSmall(name));
  for (const [names, isWanted] of /** @type {const} */ ([
    ['at-rest|picture', isSmall],
    ['check|looks', isAny],
    ['status', isSmall],
  ])) {
    const isOfThese = new RegExp(`^(?:${names})-[A-Z0-9]{8}\\.cjs$`);
    add(
      [...files.keys()].filter((name) => isOfThese.test(name)),
      (name) => isShared(name) && isWanted(name),
    );
  }
  add([...files.keys()].filter(isShared), isSmall);
  return groups;
}

/**
 * Makes what esbuild wrote to join the files of the bundle CommonJS. esbuild itself would ask for each name, at each use, through two
 * getters; here a name is a variable that is set once. That is enough where no module changes what it exports and none has an effect
 * but its exports, which test/unit/architecture.test.ts holds; and a file asks only for such that all its users have, so there are no cycles.
 * @param {string} code
 */
function withOwnRequires(code) {
  const own = code
    .replaceAll(/^import \{([^}]*)\} from "(\.\/[^"]+)";$/gm, (_, names, file) => {
      return `var {${names.replaceAll(' as ', ': ')}} = require("${file}");`;
    })
    .replaceAll(/^import "\.\/[^"]+";\n/gm, '')
    .replaceAll(/\bimport\("(\.\/[^"]+)"\)/g, 'Promise.resolve().then(() => require("$1"))')
    .replace(/^export \{([^}]*)\};$/m, (_, names) => {
      return `module.exports = {${names.replaceAll(/(\w+) as (\w+)/g, '$2: $1')}};`;
    })
    // Node makes a URL of a path and a path of it in 0.4 ms.
    .replaceAll('fileURLToPath(import.meta.url)', '__filename')
    .replace(/^export default (.*);$/m, 'module.exports = { default: $1 };');
  const left = /^(?:export\b|import\b.*"\.\/|.*\bimport\.meta\b).*/m.exec(own);
  if (left !== null) throw new Error(`esbuild joins files in a way that is not known here: ${left[0]}`);
  return own;
}

/**
 * Writes a file of the bundle whose name changes with its content, as those of esbuild do. Returns the name.
 * @param {string} dir
 * @param {string} name
 * @param {string} code
 */
function putFile(dir, name, code) {
  const text = textOf(code);
  const file = `${name}-${createHash('sha256').update(text).digest('hex').slice(0, 8)}.cjs`;
  writeFileSync(join(dir, file), text);
  return file;
}

/** Modules of Node that take 1 to 5 ms to load, and that many a command never comes to use. */
const LATE = /^var (import_\w+) = (require\("node:(?:child_process|crypto|fs\/promises|net|os|tty)"\));$/gm;

/**
 * Loads those modules when something of them is first used.
 * @param {string} code
 */
function withLateModules(code) {
  return code.replaceAll(LATE, (_, name, required) => {
    const uses = [...code.matchAll(new RegExp(`\\b${name}\\.(\\w+)`, 'g'))].map(([, word]) => word);
    const words = [...new Set(uses)].map((word) => `get ${word}() { return ${required}.${word}; }`);
    return `var ${name} = { ${words.join(', ')} };`;
  });
}

/**
 * Puts the file that starts the program, and the one that makes its code ready when it is installed, beside what they load.
 * @param {string} dir of the bundle
 * @param {string} name of the program
 * @param {string} main the file that the program begins with
 */
function putLoader(dir, name, main) {
  const hash = createHash('sha256');
  for (const file of readdirSync(dir).sort()) {
    if (file.endsWith('.cjs')) hash.update(`${file}\n`).update(readFileSync(join(dir, file)));
  }
  const words = { BUILD: hash.digest('hex').slice(0, 16), MAIN: main, PROGRAM: `${name}.cjs` };
  for (const [source, target, mode] of /** @type {const} */ ([
    ['loader.cjs', `${name}.cjs`, 0o755],
    ['code-cache.cjs', CODE_CACHE, 0o644],
  ])) {
    const text = readFileSync(join(root, 'deploy', 'bundle', source), 'utf8');
    const filled = text.replaceAll(/@([A-Z]+)@/g, (_, word) => words[/** @type {keyof words} */ (word)]);
    writeFileSync(join(dir, target), filled, { mode });
  }
}

/** The file that makes the code ready. */
const CODE_CACHE = 'code-cache.cjs';
const CODE_CACHE_TIMEOUT_MS = 60_000;

/** What Node itself puts around a module. It stands in the files: a text that is put together at each start is there twice. */
const HEAD = '(function (exports, require, module, __filename, __dirname) {';
/**
 * The text of a file of the bundle. An ES module is strict without saying so.
 * @param {string} code
 */
const textOf = (code) => `${HEAD}"use strict";\n${code}\n})\n`;
/**
 * Functions of the file with which the program begins.
 * @param {Record<string, string>} places files in which the parts are that it has not itself
 */
const sharedHead = (places) => `var loaded = {};
var opened = {};
var places = ${JSON.stringify(places, null, 1)};
function __shared(name) {
  var module = loaded[name];
  if (module === undefined) {
    module = loaded[name] = { exports: {} };
    if (files[name] !== undefined) files[name](module, require);
    else {
      var place = places[name];
      (opened[place] ??= require(place)(__shared))[name](module, require);
    }
  }
  return module.exports;
}
`;

/**
 * @param {string} entry source file, relative to the checkout
 * @param {string} outdir
 * @param {string} name of the bundle's file
 * @param {{ isCommonJs?: boolean }} [options] CommonJS starts sooner: Node looks for and reads each ES module
 * beside the event loop. It has no `await` outside of functions.
 * @returns the files that went into the bundle, relative to the checkout
 */
export async function bundle(entry, outdir, name, { isCommonJs = false } = {}) {
  // Built beside and put in place as a whole, so that who runs the last one meanwhile still finds all of it.
  const fresh = `${outdir}.${process.pid}`;
  const { metafile } = await build({
    absWorkingDir: root,
    entryPoints: { [name]: entry },
    outdir: fresh,
    outExtension: { '.js': isCommonJs ? '.cjs' : '.mjs' },
    bundle: true,
    splitting: true,
    format: 'esm',
    platform: 'node',
    // 8 % less to read at each start. Names and lines stay, so that a stack still tells where it was.
    minifySyntax: true,
    target: 'node20',
    legalComments: 'linked',
    metafile: true,
    logLevel: 'warning',
    // dbus-next asks for these only on paths that are not used: X11 look-up and passing file descriptors.
    external: ['x11', 'usocket'],
    plugins: [nativeAddons, withoutXml, madeShapes],
    ...(!isCommonJs && { banner: { js: COMMON_JS } }),
  });
  if (isCommonJs) {
    putLoader(fresh, name, await toCommonJs(metafile.outputs, fresh));
  } else for (const output of Object.keys(metafile.outputs)) dropBanner(join(root, output));
  cpSync(join(root, 'systemd'), join(fresh, 'systemd'), { recursive: true });
  const kind = `linux-${process.arch}-${process.versions.modules}`;
  const native = join(fresh, 'native', kind);
  mkdirSync(native, { recursive: true });
  for (const [addon, file] of Object.entries({ epoll: 'epoll.node', 'i2c-bus': 'i2c.node' })) {
    cpSync(join(root, 'node_modules', addon, 'build', 'Release', file), join(native, file));
  }
  if (isCommonJs) {
    // Another process, which has compiled nothing of it and knows the bundle by no other path.
    execFileSync(process.execPath, [join(fresh, CODE_CACHE)], { timeout: CODE_CACHE_TIMEOUT_MS });
  }
  rmSync(outdir, { recursive: true, force: true });
  renameSync(fresh, outdir);
  return Object.keys(metafile.inputs);
}

const PROGRAM = { isCommonJs: true };

export async function buildAll() {
  const product = await bundle('src/main.ts', join(dist, 'chassis-power'), 'chassis-power', PROGRAM);
  const simulator = await bundle('mocks/sim.ts', join(dist, 'sim'), 'chassis-power-sim', PROGRAM);
  writeFileSync(join(dist, 'inputs.json'), `${JSON.stringify({ product, simulator }, null, 2)}\n`);
}

if (process.argv[1] === fileURLToPath(import.meta.url)) await buildAll();
