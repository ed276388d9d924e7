#!/usr/bin/env node
'use strict';
// The program as it is started: loads each file of the bundle with the code that V8 made of it when the program was installed.
// Where that is missing, or is of another Node, V8 makes it anew, which costs time and nothing else.
const { readFileSync, writeSync } = require('node:fs');
const { basename, join } = require('node:path');
const { Script } = require('node:vm');

/** Of all files of this bundle: code that was made of other ones is never looked at. V8 itself compares only their lengths. */
const BUILD = '@BUILD@';
const MAIN = '@MAIN@';
const codeFolder = join(__dirname, 'code-cache', `${BUILD}-${process.version}-${process.arch}`);

/** What Node itself puts around a module. */
const HEAD = '(function (exports, require, module, __filename, __dirname) {';

/**
 * @param {string} file name in the folder of the bundle
 * @param {Buffer} [cachedData] code that V8 made of it
 */
function scriptOf(file, cachedData) {
  const filename = join(__dirname, file);
  // All of the bundle is ASCII, which is read sooner so than as UTF-8.
  const source = `${HEAD}${readFileSync(filename, 'latin1')}\n})`;
  return new Script(source, { filename, columnOffset: -HEAD.length, ...(cachedData && { cachedData }) });
}

/**
 * The code of a file, which is kept twice: of code that was torn or changed on its disk V8 notices nothing, and dies of it.
 * @param {string} file
 */
function codeOf(file) {
  // A V8 that makes no machine code (--jitless, where there is no WebAssembly) takes none of what another one has made.
  if (!('WebAssembly' in globalThis)) return undefined;
  try {
    const both = readFileSync(join(codeFolder, `${file}.bin`));
    const one = both.subarray(0, both.length / 2);
    return one.length > 0 && one.equals(both.subarray(one.length)) ? one : undefined;
  } catch {
    // None was made, or it cannot be read: the file is compiled.
    return undefined;
  }
}

/** @type {Map<string, { exports: unknown }>} */
const loaded = new Map();

/**
 * `require` for the files of the bundle.
 * @param {string} name
 */
function load(name) {
  if (!name.startsWith('./')) return require(name);
  const known = loaded.get(name);
  if (known !== undefined) return known.exports;
  const module = { exports: {} };
  loaded.set(name, module);
  const file = name.slice(2);
  try {
    const run = scriptOf(file, codeOf(file)).runInThisContext();
    run(module.exports, load, module, join(__dirname, file), __dirname);
  } catch (error) {
    // Who asks again must not be given one that is empty, or half of it.
    loaded.delete(name);
    throw error;
  }
  return module.exports;
}

/** The program has nothing yet with which it says why it ends: EX_OSERR of sysexits.h. */
function loadMain() {
  try {
    load(`./${MAIN}`);
  } catch (error) {
    const errno = error instanceof Error && 'code' in error ? error.code : undefined;
    if (errno !== 'EMFILE' && errno !== 'ENFILE' && errno !== 'ENOMEM') throw error;
    process.exitCode = 71;
    const text = `cannot be loaded (${errno}): let this program have more files (ulimit -n, LimitNOFILE=) and memory`;
    writeSync(2, `${basename(__filename, '.cjs')}: ${text}\n`);
  }
}

module.exports = { codeFolder, codeOf, run: () => load(`./${MAIN}`), scriptOf };
if (require.main === module) loadMain();
