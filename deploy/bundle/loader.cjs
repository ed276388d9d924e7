#!/usr/bin/env node
'use strict';
// The program as it is started: loads each file of the bundle with the code that V8 made of it when the program was installed.
// Where that is missing, or is of another Node, V8 makes it anew, which costs time and nothing else.
const { closeSync, openSync, readSync, writeSync } = require('node:fs');
const { basename } = require('node:path');
const { Script } = require('node:vm');

/** Of all files of this bundle: code that was made of other ones is never looked at. V8 itself compares only their lengths. */
const BUILD = '@BUILD@';
const MAIN = '@MAIN@';
const codeFolder = `${__dirname}/code-cache/${BUILD}-${process.version}-${process.arch}`;

/** Takes one file after the other, so that the kernel has to give memory for the longest one only: half a MiB, or what is found to be needed. */
let room = Buffer.allocUnsafeSlow(1 << 19);

/**
 * Content of a file, until the next one is read.
 * @param {string} path
 */
function bytesOf(path) {
  const file = openSync(path, 'r');
  try {
    let length = 0;
    for (;;) {
      const count = readSync(file, room, length, room.length - length, null);
      length += count;
      // A file that is read by its length at once takes a second read to be known to have ended.
      if (count === 0) return room.subarray(0, length);
      if (length === room.length) room = Buffer.concat([room], 2 * length);
    }
  } finally {
    closeSync(file);
  }
}

/**
 * The code of a file, which is kept twice: of code that was torn or changed on its disk V8 notices nothing, and dies of it.
 * @param {string} file
 */
function codeOf(file) {
  // A V8 that makes no machine code (--jitless, where there is no WebAssembly) takes none of what another one has made.
  if (!('WebAssembly' in globalThis)) return undefined;
  try {
    const both = bytesOf(`${codeFolder}/${file}.bin`);
    const one = both.subarray(0, both.length / 2);
    return one.length > 0 && one.equals(both.subarray(one.length)) ? one : undefined;
  } catch {
    // None was made, or it cannot be read: the file is compiled.
    return undefined;
  }
}

/**
 * @param {string} file name in the folder of the bundle: a function expression, of what Node itself puts around a module
 * @param {boolean} isNew whether it is compiled, whatever is kept of it
 */
function scriptOf(file, isNew) {
  const filename = `${__dirname}/${file}`;
  // All of the bundle is ASCII, which is read sooner so than as UTF-8.
  const source = bytesOf(filename).toString('latin1');
  const cachedData = isNew ? undefined : codeOf(file);
  return new Script(source, { filename, ...(cachedData && { cachedData }) });
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
    const run = scriptOf(file, false).runInThisContext();
    run(module.exports, load, module, `${__dirname}/${file}`, __dirname);
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

module.exports = { codeFolder, run: () => load(`./${MAIN}`), scriptOf };
if (require.main === module) loadMain();
