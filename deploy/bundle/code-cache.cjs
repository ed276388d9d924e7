'use strict';
// Makes the code of every file of the program for the Node that runs this, beside the program: to be run as root when the program or
// Node was installed. Code of other builds is removed, that of other releases of Node is kept.
const {
  closeSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readdirSync,
  renameSync,
  rmSync,
  writeSync,
} = require('node:fs');
const { basename, dirname, join } = require('node:path');
const { setFlagsFromString } = require('node:v8');

const PROGRAM = '@PROGRAM@';
const { codeFolder, scriptOf } = require(`./${PROGRAM}`);
const NO_PARTS = [PROGRAM, basename(__filename)];

const all = dirname(codeFolder);
const [build = ''] = basename(codeFolder).split('-');
const fresh = join(all, `.${process.pid}`);

/** @param {string} file */
function compiled(file) {
  // Whole files: a function that is compiled when it is first called is not in the code that is kept.
  setFlagsFromString('--no-lazy');
  try {
    return scriptOf(file, true);
  } finally {
    // What is kept is taken only by a Node with the same flags.
    setFlagsFromString('--lazy');
  }
}

/**
 * Writes a file, or a folder, that is whole after a loss of power too.
 * @param {string} path
 * @param {string} flags
 * @param {Buffer} [content]
 */
function sync(path, flags, content) {
  const file = openSync(path, flags, 0o644);
  try {
    if (content !== undefined) writeSync(file, content);
    fsyncSync(file);
  } finally {
    closeSync(file);
  }
}

mkdirSync(all, { recursive: true, mode: 0o755 });
for (const name of readdirSync(all)) {
  if (!name.startsWith(`${build}-`)) rmSync(join(all, name), { recursive: true, force: true });
}
try {
  mkdirSync(fresh, { mode: 0o755 });
  const isPart = (/** @type {string} */ name) => name.endsWith('.cjs') && !NO_PARTS.includes(name);
  for (const file of readdirSync(__dirname).filter(isPart)) {
    const code = compiled(file).createCachedData();
    sync(join(fresh, `${file}.bin`), 'wx', Buffer.concat([code, code]));
  }
  sync(fresh, 'r');
  rmSync(codeFolder, { recursive: true, force: true });
  renameSync(fresh, codeFolder);
  sync(all, 'r');
} catch (error) {
  rmSync(fresh, { recursive: true, force: true });
  throw error;
}
