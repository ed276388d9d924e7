/** What the program as it ships does to start, on lines that are the files of sysfs in a mount namespace of its own. */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { skipped, titleSuffix } from './machine.ts';

const PROGRAM = join(import.meta.dirname, '..', '..', 'dist', 'chassis-power', 'chassis-power.cjs');
const GPIO = '/sys/class/gpio';
/** Base and number of lines, by label. */
const CHIPS = { soc: [512, 64], expander: [600, 16] } as const;

/** Rails whose enables and good signals, and pgood, are lines of the first chip. */
const boardOf = (rails: number) => ({
  name: 'files',
  devices: {},
  chassis: {
    0: {
      rails: Object.fromEntries(
        Array.from({ length: rails }, (_, rail) => [
          `P${rail}`,
          { enable: { chip: 'soc', line: 2 * rail }, good: { chip: 'soc', line: 2 * rail + 1 } },
        ]),
      ),
      pgood: { chip: 'soc', line: 2 * rails },
    },
  },
});

/** A chassis that is on, as the kernel shows it where another process has exported the lines. */
const sysfsOf = (rails: number) => {
  const file = (path: string, text: string) => `mkdir -p $(dirname ${path}); echo ${text} > ${path}`;
  const chips = Object.entries(CHIPS).flatMap(([label, [base, count]]) =>
    Object.entries({ label, base, ngpio: count }).map(([name, text]) =>
      file(`${GPIO}/gpiochip${base}/${name}`, String(text)),
    ),
  );
  const lines = Array.from({ length: 2 * rails + 1 }, (_, line) =>
    Object.entries({
      value: 1,
      direction: line % 2 === 0 && line < 2 * rails ? 'out' : 'in',
      active_low: 0,
    }).map(([name, text]) => file(`${GPIO}/gpio${CHIPS.soc[0] + line}/${name}`, String(text))),
  );
  return [
    'set -e',
    'mount --make-rprivate /',
    'mount -t tmpfs none /sys/class',
    'mount -t tmpfs none /run',
    ...chips,
    ...lines.flat(),
    'exec "$@"',
  ].join('\n');
};

/** Writes the paths that are opened, by whatever way into the file system, to the file that OPENED names. */
const PROBE = `
  const fs = require('node:fs');
  const opened = [];
  for (const name of ['openSync', 'readFileSync', 'open', 'readFile']) {
    const real = fs[name];
    fs[name] = function (path, ...rest) { opened.push(String(path)); return real.call(this, path, ...rest); };
  }
  for (const name of ['open', 'readFile']) {
    const real = fs.promises[name];
    fs.promises[name] = (path, ...rest) => { opened.push(String(path)); return real(path, ...rest); };
  }
  const write = fs.writeFileSync;
  // What Node loads of itself counts as opened.
  process.on('exit', () => write(process.env.OPENED, [...opened, ...process.moduleLoadList].join('\\n')));`;

describe.skipIf(skipped)(`a oneshot that has nothing to do${titleSuffix}`, () => {
  let folder: string;
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'chassis-power-start-up-'));
    writeFileSync(join(folder, 'probe.cjs'), PROBE);
  });
  afterEach(() => rmSync(folder, { recursive: true, force: true }));

  /** The files that the verb opens. */
  const openedBy = (verb: string, rails: number, runs = 1): string[] => {
    const board = join(folder, 'board.json');
    const list = join(folder, 'opened');
    writeFileSync(board, JSON.stringify(boardOf(rails)));
    const { status, stderr } = spawnSync(
      'unshare',
      [
        ...['--mount', '/bin/sh', '-c', sysfsOf(rails), 'sh'],
        ...['/bin/sh', '-c', Array(runs).fill('"$@"').join(' && '), 'sh'],
        ...[process.execPath, '--require', join(folder, 'probe.cjs'), PROGRAM, verb, '--board', board],
      ],
      { encoding: 'utf8', timeout: 60_000, env: { PATH: process.env.PATH, OPENED: list } },
    );
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
    return readFileSync(list, 'utf8').split('\n');
  };

  it.each(['wait-on', 'start', 'status'])(
    '%s reads what the chips tell of themselves once, however many lines the board has',
    (verb) => {
      for (const rails of [1, 12]) {
        const opened = openedBy(verb, rails);
        // What the probe did not see it cannot count.
        expect(opened).toContain(`${GPIO}/gpio${CHIPS.soc[0]}/value`);
        const ofChips = opened.filter((path) => path.startsWith(`${GPIO}/gpiochip`));
        expect(ofChips.sort()).toEqual(
          Object.values(CHIPS).flatMap(([base]) =>
            ['base', 'label', 'ngpio'].map((name) => `${GPIO}/gpiochip${base}/${name}`),
          ),
        );
      }
    },
  );

  it.each(['wait-on', 'start'])(
    '%s sees from what the last one kept that all is as it was: it starts no process, and loads nothing that drives',
    (verb) => {
      const heavy = (opened: readonly string[]) =>
        opened.filter((path) =>
          /^NativeModule (child_process|crypto)$|\/(power|onoff|runner)-\w+\.cjs$|epoll\.node$/.test(path),
        );
      // The first one finds no state, and the second one what the first one made of the lines.
      expect(heavy(openedBy(verb, 12, 2))).toContain('NativeModule child_process');
      const opened = openedBy(verb, 12, verb === 'start' ? 3 : 4);
      expect(opened).toContain(`${GPIO}/gpio${CHIPS.soc[0]}/value`);
      expect(heavy(opened)).toEqual([]);
    },
  );
});
