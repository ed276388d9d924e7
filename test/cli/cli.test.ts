import { spawn, spawnSync } from 'node:child_process';
import {
  closeSync,
  existsSync,
  fstatSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

const root = join(import.meta.dirname, '..', '..');
const PRODUCT = join(root, 'dist', 'chassis-power', 'chassis-power.cjs');
const SIM = join(root, 'dist', 'sim', 'chassis-power-sim.cjs');
const REFERENCE = join(root, 'hw', 'boards', 'reference.json');

let dir = '';
beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), 'chassis-power-cli-'));
});
afterAll(() => rmSync(dir, { recursive: true, force: true }));

interface Ran {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

function run(program: string, args: readonly string[], env: Record<string, string> = {}): Ran {
  const { status, stdout, stderr, error } = spawnSync(process.execPath, [program, ...args], {
    encoding: 'utf8',
    timeout: 20_000,
    // A process that blocks its event loop takes no other signal.
    killSignal: 'SIGKILL',
    env: { PATH: process.env.PATH ?? '', ...env },
  });
  if (error) throw error;
  return { code: status, stdout, stderr };
}
const sim = (...args: string[]) => run(SIM, args);
const product = (...args: string[]) => run(PRODUCT, args);

function lines(text: string): Record<string, unknown>[] {
  return text
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line));
}

function editedBoard(name: string, edit: (text: string) => string): string {
  const path = join(dir, `${name}.json`);
  const before = readFileSync(REFERENCE, 'utf8');
  const after = edit(before);
  expect(after).not.toBe(before);
  writeFileSync(path, after);
  return path;
}

describe('on, with --json', () => {
  it('prints every step with its time', () => {
    const { code, stdout } = sim('on', '--board', REFERENCE, '--json');
    expect(code).toBe(0);
    const steps = lines(stdout);
    for (const step of steps)
      expect(step).toMatchObject({ atMs: expect.any(Number), type: expect.any(String) });
    const times = steps.map(({ atMs }) => atMs as number);
    expect(times).toEqual([...times].sort((a, b) => a - b));
    expect(steps.filter(({ type }) => type === 'state').map(({ to }) => to)).toEqual([
      'opPowerStart',
      'opWaitPowerOn',
      'pgood',
    ]);
  });

  it('names the rail that is never good, exits 101, and leaves every enable off', () => {
    const { code, stdout, stderr } = sim(
      'on',
      '--board',
      REFERENCE,
      '--json',
      '--fault',
      'rail P1V8 never good',
    );
    expect(code).toBe(101);
    expect(stderr).toMatch(/^chassis-power-sim: chassis 0: rail P1V8 was not good within 500 ms.*\n$/);
    const steps = lines(stdout);
    const driven = steps.filter(({ type }) => type === 'enable');
    expect(driven.filter(({ asserted }) => asserted).map(({ rail }) => rail)).toEqual([
      'P12V',
      'P5V',
      'P3V3',
      'P1V8',
    ]);
    // Also those that never were on are driven off.
    const last = new Map(driven.map(({ rail, asserted }) => [rail, asserted]));
    expect([...last.keys()].sort()).toEqual(['P12V', 'P1V8', 'P3V3', 'P5V', 'PVCORE', 'PVDDQ']);
    expect([...last.values()]).not.toContain(true);
    expect(steps.at(-1)).toMatchObject({
      error: { code: 'RAIL_FAULT', powerStillApplied: false, fault: { kind: 'railTimeout', rail: 'P1V8' } },
    });
  });
});

describe('exit codes of a failing chassis', () => {
  it.each([
    [100, 'on', 'pgood never'],
    [101, 'on', 'rail P3V3 droops at 120ms'],
    [74, 'on', 'enable P5V stuck off'],
    [74, 'on', 'i2c vr_ddr nack'],
    [74, 'on', 'line C3 busy'],
    [103, 'off', 'pgood stuck on'],
  ])('%i: %s with "%s"', (expected, verb, fault) => {
    const initially = verb === 'off' ? 'on' : 'off';
    const { code, stderr } = sim(verb, '--board', REFERENCE, '--initially', initially, '--fault', fault);
    expect(code).toBe(expected);
    expect(stderr).toMatch(/^chassis-power-sim: .+\n$/);
  });

  it('102: pgood lost before the resets were released', () => {
    const board = join(root, 'hw', 'boards', 'openpower.json');
    expect(sim('on', '--board', board, '--fault', 'pgood glitch 50ms at 70ms').code).toBe(102);
  });

  it('104: waiting for what nobody asked for', () => {
    const { code, stderr } = sim('wait-on', '--board', REFERENCE);
    expect(code).toBe(104);
    expect(stderr).toContain('ask for start first');
  });
});

describe('check', () => {
  it('prints three problems of a board with three mistakes, each with its path and a suggestion', () => {
    const board = editedBoard('three', (text) =>
      text
        .replace('"settleMs": 10', '"setleMs": 10')
        .replace('"pmbus": "vr_ddr", "page": 0 }', '"pmbus": "vr_ddr", "page": 99 }')
        .replace('"minOffMs": 200', '"minOffMs": "200"'),
    );
    const { code, stdout, stderr } = product('check', board);
    expect(code).toBe(78);
    expect(stderr).toBe('');
    expect(stdout.replaceAll(`${board}:`, '')).toBe(
      [
        '15:11: chassis.0.rails.P12V.setleMs: unknown key "setleMs"',
        '    15 |           "setleMs": 10,',
        '       |           ^^^^^^^^^',
        '    did you mean "settleMs"?',
        '    for example: "settleMs": 10',
        '    settleMs: Time the rail must have been good before what needs it is enabled',
        '',
        '44:50: chassis.0.rails.PVDDQ.enable.page: 99 is above 31',
        '    44 |           "enable": { "pmbus": "vr_ddr", "page": 99 },',
        '       |                                                  ^^',
        '    write a page of the device, a whole number from 0 to 31',
        '    for example: "page": 0',
        '    page: Page of a device with several outputs',
        '',
        '69:19: chassis.0.minOffMs: "200" is a text, not a number',
        '    69 |       "minOffMs": "200"',
        '       |                   ^^^^^',
        '    write 200 without quotes',
        '    minOffMs: Shortest time the chassis stays off before it is powered on again',
        '',
        '3 problems',
        '',
      ].join('\n'),
    );
  });

  it('says the same in JSON', () => {
    const board = editedBoard('json', (text) => text.replace('"needs": ["P3V3"]', '"needs": ["P3V"]'));
    const { code, stdout } = product('check', '--json', board);
    expect(code).toBe(78);
    expect(JSON.parse(stdout).problems).toEqual([
      {
        kind: 'conflict',
        path: 'chassis.0.rails.P1V8.needs.0',
        line: 38,
        column: 21,
        length: 5,
        message: 'rail P1V8 needs "P3V", which is not a rail of this chassis',
        suggestion: expect.stringContaining('did you mean "P'),
        example: null,
        explanation:
          'needs: Rails that must be good before this one is enabled, and that outlive it on the way down',
        other: null,
        excerpt: { text: '          "needs": ["P3V"],', from: 1 },
      },
    ]);
  });

  it('finds nothing wrong with the boards that ship', () => {
    for (const name of ['reference', 'openpower', 'ast2600-evb', 'two-chassis']) {
      const path = join(root, 'hw', 'boards', `${name}.json`);
      expect(product('check', '--no-lines', path)).toMatchObject({
        code: 0,
        stdout: expect.stringContaining('no problems in the file; its lines were not looked for'),
      });
      expect(sim('check', path)).toMatchObject({
        code: 0,
        stdout: expect.stringMatching(/no problems, all lines (and I2C buses )?are there/),
      });
    }
  });

  it('74, and what to do, where the lines of this machine cannot be looked for', () => {
    // The root of a container has no GPIO; where one has, its chips are not those of the board.
    const { code, stdout, stderr } = product('check', REFERENCE);
    expect(stdout).not.toContain('no problems, all');
    if (code === 74) expect(stderr).toMatch(/lines and I2C buses could not be looked for .*--no-lines/);
    else expect(stdout).toMatch(/no GPIO chip has the label "1e780000\.gpio"/);
    expect([74, 78]).toContain(code);
  });

  it('78: two names of one physical line, of whatever roles, with both roles', () => {
    const board = editedBoard('twice', (text) =>
      text.replace(/"pgood": \{\s*"chip": "1e780000\.gpio",\s*"line": "B7"/, '"pgood": { "name": "PGOOD"'),
    );
    const args = ['--line', 'PGOOD=1e780000.gpio/C0'];
    const checked = sim('check', board, ...args);
    expect(checked.code).toBe(78);
    expect(checked.stdout).toMatch(
      /chassis\.0\.pgood: GPIO line 16 of 1e780000\.gpio has two roles, enable of rail P12V of chassis 0 \(line C0 of 1e780000\.gpio\) and pgood of chassis 0 \(line "PGOOD"\)/,
    );
    for (const verb of ['on', 'start', 'status']) {
      const { code, stderr } = sim(verb, '--board', board, ...args);
      expect(code, stderr).toBe(78);
      expect(stderr).toMatch(/two roles, enable of rail P12V/);
    }
    expect(sim('check', board, '--line', 'PGOOD=1e780000.gpio/B7').code).toBe(0);
  });

  it('a board with problems never reaches a line', () => {
    const board = editedBoard('never', (text) => text.replace('"needs": ["P3V3"]', '"needs": ["P3V"]'));
    const { code, stdout, stderr } = sim('on', '--json', '--board', board);
    expect(code).toBe(78);
    expect(lines(stdout)).toEqual([{ error: expect.objectContaining({ code: 'BOARD_INVALID' }) }]);
    expect(stderr).toMatch(/run "chassis-power check /);
  });
});

describe('a directory that the file system does not take', () => {
  // procfs says of a new directory that there is none, as a directory does that was removed under its mount.
  const NOT_TAKEN = '/proc/chassis-power';

  it('power is not raised without a lock', () => {
    const { code, stdout, stderr } = sim('on', '--board', REFERENCE, '--run-dir', NOT_TAKEN);
    expect(stderr).toMatch(
      /^chassis-power-sim: cannot use \/proc\/chassis-power\/chassis0.lock \(ENOENT\): .+\n$/,
    );
    expect({ code, stdout }).toEqual({ code: 73, stdout: '' });
  });

  it('power is switched off all the same', () => {
    const where = ['--run-dir', NOT_TAKEN, '--board', REFERENCE];
    const { code, stdout } = sim('off', ...where, '--initially', 'on');
    expect(code).toBe(0);
    expect(stdout).toMatch(/^ *\d+\.\d ms {2}off$/m);
  });

  it('units that have no place are told', () => {
    const { code, stderr } = product('units', 'install', '--root', '/proc', '--board', REFERENCE);
    expect(code).toBe(73);
    expect(stderr).toMatch(/^chassis-power: .*ENOENT.*\n$/);
  });
});

describe('bad input gets one line that says what to do', () => {
  it.each([
    ['no such verb', 64, ['onn'], /unknown verb "onn": did you mean "on"\?/],
    ['a verb that each object has', 64, ['toString'], /unknown verb "toString": see/],
    ['the prototype of the verbs', 64, ['__proto__'], /unknown verb "__proto__": see/],
    ['no such option', 64, ['on', '--bord', 'x'], /--bord/],
    ['an operand too many', 64, ['on', 'now'], /does not take "now"/],
    ['an operand too few', 64, ['units'], /needs an operand/],
    ['a chassis that is no number', 64, ['on', '--chassis', 'one'], /--chassis takes a number/],
    [
      'an unknown chassis',
      64,
      ['on', '--board', REFERENCE, '--chassis', '3'],
      /has no chassis 3: it describes 0/,
    ],
    ['a missing board', 78, ['on', '--board', '/nowhere.json'], /no board file at \/nowhere\.json/],
    ['a board that is a directory', 78, ['on', '--board', '/tmp'], /cannot read board file/],
    [
      'a units action that does not exist',
      64,
      ['units', 'instal'],
      /units takes install, update, uninstall, check or verify/,
    ],
    ['units of a folder that is not there', 64, ['units', 'check', '/nowhere'], /\/nowhere/],
    ['a root without units of ours', 64, ['units', 'check', '/'], /\/ is a root without units/],
    ['units install with a folder', 64, ['units', 'install', '/mnt'], /does not take "\/mnt"/],
    [
      'a root that does not exist',
      73,
      ['units', 'install', '--root', '/nowhere', '--board', REFERENCE],
      /nowhere/,
    ],
    ['uninstall of nothing', 64, ['units', 'uninstall', '--root', '/tmp'], /./],
    ['update of nothing', 64, ['units', 'update', '--root', '/tmp'], /nothing was changed/],
    [
      'update with options of its own',
      64,
      ['units', 'update', '--root', '/tmp', '--stages', 'resident'],
      /keeps those of the last install/,
    ],
  ])('%s', (_, expected, args, message) => {
    for (const { code, stdout, stderr } of [product(...args), sim(...args)]) {
      expect(code).toBe(expected);
      expect(stderr).toMatch(message);
      expect(stderr.trimEnd().split('\n')).toHaveLength(1);
      expect(stdout).toBe('');
    }
  });

  it('a board that is not JSON', () => {
    const board = join(dir, 'broken.json');
    writeFileSync(board, '{ "name": ');
    const { code, stderr } = product('on', '--board', board);
    expect(code).toBe(78);
    expect(stderr.trimEnd().split('\n')).toHaveLength(1);
  });

  it('a fault that this board cannot have', () => {
    const { code, stderr } = sim('on', '--board', REFERENCE, '--fault', 'rail P1V9 never good');
    expect(code).toBe(64);
    expect(stderr).toMatch(/did you mean "P1V8"/);
    expect(stderr.trimEnd().split('\n')).toHaveLength(1);
  });

  it('a run directory that cannot be made', () => {
    const file = join(dir, 'file');
    writeFileSync(file, '');
    const { code, stderr } = product('on', '--board', REFERENCE, '--run-dir', join(file, 'below'));
    expect(code).toBe(73);
    expect(stderr).toMatch(/--run-dir/);
  });

  it('a kernel without sysfs GPIO', ({ skip }) => {
    skip(
      process.getuid?.() !== 0 && process.env.CI !== 'true',
      'needs root: hides /sys/class from the program in a mount namespace',
    );
    const script = 'mount -t tmpfs none /sys/class && exec "$@"';
    const { status, stderr } = spawnSync(
      'unshare',
      [
        ...['--mount', 'sh', '-c', script, 'sh', process.execPath, PRODUCT],
        ...['on', '--board', REFERENCE, '--run-dir', join(dir, 'run')],
      ],
      { encoding: 'utf8', timeout: 20_000 },
    );
    expect(stderr).toMatch(/CONFIG_GPIO_SYSFS/);
    expect(stderr.trimEnd().split('\n')).toHaveLength(1);
    expect(status).toBe(74);
    expect(readdirSync(join(dir, 'run'))).toEqual(['chassis0.lock']);
  });

  it('a process that is not shown the id of its boot, as with ProcSubset=pid', ({ skip }) => {
    skip(
      process.getuid?.() !== 0 && process.env.CI !== 'true',
      'needs root: hides /proc/sys/kernel/random from the program in a mount namespace',
    );
    const script = 'mount -t tmpfs none /proc/sys/kernel/random && exec "$@"';
    const hidden = (program: string, ...args: string[]) =>
      spawnSync(
        'unshare',
        ['--mount', 'sh', '-c', script, 'sh', process.execPath, program, ...args, '--board', REFERENCE],
        { encoding: 'utf8', timeout: 20_000 },
      );
    const runDir = ['--run-dir', join(dir, 'no-boot-id')];
    for (const verb of ['on', 'off', 'status', 'trace', 'fault list', 'start', 'wait-on']) {
      const { status, stderr } = hidden(SIM, ...verb.split(' '), ...runDir);
      expect({ verb, stderr }).toEqual({ verb, stderr: expect.not.stringMatching(/internal error|^ +at /m) });
      expect([verb, status]).toEqual([verb, verb === 'wait-on' ? expect.any(Number) : 0]);
    }
    const { stderr } = hidden(PRODUCT, 'off', ...runDir);
    expect(stderr).not.toMatch(/internal error|boot_id/);
  });

  it('no bus: the units are in place, and what is left to do is told', ({ skip }) => {
    skip(
      process.getuid?.() !== 0 && process.env.CI !== 'true',
      'needs root: installs below / in a namespace',
    );
    // A scratch file system over every folder that takes files: what is installed goes with the namespace.
    const scratch = (folder: string, name: string) =>
      `mkdir "$0/${name}" "$0/${name}.work" && mount -t overlay overlay -o ` +
      `"lowerdir=${folder},upperdir=$0/${name},workdir=$0/${name}.work" ${folder}`;
    const script = [
      'mount --make-rprivate / && mount -t tmpfs none "$0"',
      ...[scratch('/usr', 'usr'), scratch('/etc', 'etc')],
      'DBUS_SYSTEM_BUS_ADDRESS=unix:path=/nowhere exec "$@"',
    ].join(' && ');
    const installed = () =>
      [
        '/usr/lib/systemd/system',
        '/usr/share/dbus-1/system.d',
        '/usr/share/dbus-1/system-services',
        '/etc/systemd/system',
      ].flatMap((folder) => (existsSync(folder) ? readdirSync(folder) : []));
    const before = installed();
    const { status, stderr } = spawnSync(
      'unshare',
      [
        '--mount',
        'sh',
        '-c',
        script,
        dir,
        process.execPath,
        PRODUCT,
        'units',
        'install',
        '--board',
        REFERENCE,
      ],
      { encoding: 'utf8', timeout: 20_000 },
    );
    expect(stderr).toMatch(/run systemctl daemon-reload/);
    expect(stderr.trimEnd().split('\n')).toHaveLength(1);
    expect(status).toBe(69);
    expect(installed()).toEqual(before);
  });
});

describe('a process that may open few files', () => {
  const DOCUMENTED = new Set([0, 71, 73, 74]);

  it.each(['on', 'off'])('%s ends soon with a line and an exit code that say so', (verb) => {
    const ends = Array.from({ length: 22 }, (_, index) => {
      const files = 16 + index;
      const startMs = performance.now();
      const { status, stdout, stderr } = spawnSync(
        'sh',
        [
          ...['-c', 'ulimit -n "$0" && exec "$@"', String(files), process.execPath, SIM, verb],
          ...['--board', REFERENCE, '--run-dir', join(dir, `few-files-${verb}`)],
        ],
        { encoding: 'utf8', timeout: 60_000 },
      );
      return { files, status, stdout, stderr, tookMs: performance.now() - startMs };
    });
    // With the fewest Node itself does not start, or does not read the program.
    const ours = ends.filter(({ status }) => status !== null && status !== 1);
    const bad = ours.filter(
      ({ status, stdout, stderr, tookMs }) =>
        !DOCUMENTED.has(status ?? -1) ||
        /internal error|^ +at /m.test(stdout + stderr) ||
        (status !== 0 && !/EMFILE/.test(stderr)) ||
        tookMs > 20_000,
    );
    expect(bad).toEqual([]);
    expect(ours.map(({ status }) => status)).toEqual(expect.arrayContaining([0, 71]));
  });
});

describe('several processes on one plant', () => {
  it('do the work of the four oneshots, one driver at a time', async () => {
    const socket = join(dir, 'plant.sock');
    // Deadlines of seconds, so that a process can come in the middle however busy the machine is.
    const board = editedBoard('patient', (text) =>
      text.replaceAll(/"(on|off)TimeoutMs": \d+/g, '"$1TimeoutMs": 10000'),
    );
    const plant = spawn(process.execPath, [SIM, 'plant', '--board', board, '--socket', socket], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    try {
      await new Promise<void>((resolve) => plant.stdout.once('data', () => resolve()));
      const on = (...args: string[]) => sim('--plant', socket, '--board', board, ...args);
      const asserted = () =>
        (JSON.parse(on('lines', '--json').stdout) as { role: string; asserted: boolean; rail: string }[])
          .filter((line) => line.role === 'enable' && line.asserted)
          .map(({ rail }) => rail)
          .sort();

      expect(on('start').code).toBe(0);
      expect(on('wait-on').code).toBe(0);
      expect(asserted()).toEqual(['P12V', 'P1V8', 'P3V3', 'P5V', 'PVCORE', 'PVDDQ']);
      expect(JSON.parse(on('status', '--json').stdout)).toMatchObject({
        state: 'pgood',
        pgood: true,
        fault: null,
      });
      expect(on('stop').code).toBe(0);
      expect(on('wait-off').code).toBe(0);
      expect(asserted()).toEqual([]);

      // A power-on that takes seconds holds the chassis: another one is told, a power-off waits its turn.
      expect(on('fault', 'rail P12V slow 6s').code).toBe(0);
      const slow = spawn(process.execPath, [SIM, '--plant', socket, '--board', board, 'on', '--json'], {
        stdio: ['ignore', 'pipe', 'ignore'],
      });
      const slowEnd = new Promise<number | null>((resolve) => slow.once('exit', resolve));
      await new Promise<void>((resolve) => slow.stdout.once('data', () => resolve()));
      const second = on('on');
      expect(second.code).toBe(75);
      expect(second.stderr).toMatch(/chassis 0 is driven by another process \(on, pid \d+\)/);
      const third = on('off');
      expect(third.code).toBe(0);
      expect(third.stderr).toMatch(/driven by another process \(on, pid \d+\): waiting for it/);
      expect(await slowEnd).toBe(0);
      expect(asserted()).toEqual([]);
      expect(lines(on('hazards', '--json').stdout)).toEqual([[]]);
    } finally {
      plant.kill('SIGKILL');
    }
  });

  it.each([
    ['SIGINT', 130],
    ['SIGTERM', 143],
  ] as const)('%s during power on takes the power down and exits %i', async (signal, code) => {
    const socket = join(dir, `${signal}.sock`);
    const plant = spawn(
      process.execPath,
      [SIM, 'plant', '--board', REFERENCE, '--socket', socket, '--fault', 'pgood never'],
      { stdio: ['ignore', 'pipe', 'inherit'] },
    );
    try {
      await new Promise<void>((resolve) => plant.stdout.once('data', () => resolve()));
      const args = ['--plant', socket, '--board', REFERENCE];
      const on = spawn(process.execPath, [SIM, ...args, 'on', '--json'], {
        stdio: ['ignore', 'pipe', 'pipe'],
      });
      const ended = new Promise((resolve) => on.once('exit', resolve));
      let errors = '';
      on.stderr.on('data', (chunk) => {
        errors += chunk;
      });
      await new Promise<void>((resolve) => {
        let seen = '';
        on.stdout.on('data', (chunk) => {
          seen += chunk;
          if (seen.includes('"opWaitPowerOn"')) resolve();
        });
      });
      on.kill(signal);
      expect(await ended).toBe(code);
      expect(errors).toMatch(`${signal} in opWaitPowerOn: the power was taken down`);
      expect(JSON.parse(sim(...args, 'status', '--json').stdout)).toMatchObject({
        state: 'off',
        pgood: false,
      });
      expect(lines(sim(...args, 'hazards', '--json').stdout)).toEqual([[]]);
    } finally {
      plant.kill('SIGKILL');
    }
  });

  it('the kernel gives the lock of a killed process back', async () => {
    const socket = join(dir, 'killed.sock');
    const plant = spawn(
      process.execPath,
      [SIM, 'plant', '--board', REFERENCE, '--socket', socket, '--fault', 'pgood never'],
      { stdio: ['ignore', 'pipe', 'inherit'] },
    );
    try {
      await new Promise<void>((resolve) => plant.stdout.once('data', () => resolve()));
      const args = ['--plant', socket, '--board', REFERENCE];
      const victim = spawn(process.execPath, [SIM, ...args, 'on', '--json'], {
        stdio: ['ignore', 'pipe', 'ignore'],
      });
      const gone = new Promise((resolve) => victim.once('exit', resolve));
      await new Promise<void>((resolve) => {
        let seen = '';
        victim.stdout.on('data', (chunk) => {
          seen += chunk;
          if (seen.includes('opWaitPowerOn')) resolve();
        });
      });
      victim.kill('SIGKILL');
      await gone;
      expect(sim(...args, 'off').code).toBe(0);
      expect(JSON.parse(sim(...args, 'status', '--json').stdout)).toMatchObject({
        state: 'off',
        pgood: false,
      });
    } finally {
      plant.kill('SIGKILL');
    }
  });

  it('hardware that goes away in the middle is never a success', async () => {
    const socket = join(dir, 'gone.sock');
    const plant = spawn(
      process.execPath,
      [SIM, 'plant', '--board', REFERENCE, '--socket', socket, '--fault', 'pgood never'],
      { stdio: ['ignore', 'pipe', 'inherit'] },
    );
    await new Promise<void>((resolve) => plant.stdout.once('data', () => resolve()));
    const orphan = spawn(process.execPath, [SIM, '--plant', socket, '--board', REFERENCE, 'on', '--json'], {
      stdio: ['ignore', 'pipe', 'ignore'],
    });
    const end = new Promise<number | null>((resolve) => orphan.once('exit', resolve));
    let seen = '';
    orphan.stdout.on('data', (chunk) => {
      seen += chunk;
      if (seen.includes('opWaitPowerOn')) plant.kill('SIGKILL');
    });
    expect(await end).toBe(74);
  });

  it('a plant that is not there is told', () => {
    const { code, stderr } = sim('--plant', join(dir, 'nobody.sock'), 'status', '--board', REFERENCE);
    expect(code).toBe(74);
    expect(stderr.trimEnd().split('\n')).toHaveLength(1);
  });
});

describe('what is shown', () => {
  it('in the journal, lines carry their severity; where somebody else reads, they do not', () => {
    const path = join(dir, 'journal');
    const fd = openSync(path, 'w');
    const { dev, ino } = fstatSync(fd);
    spawnSync(process.execPath, [SIM, 'on', '--board', REFERENCE, '--fault', 'rail P5V never good'], {
      stdio: ['ignore', fd, fd],
      timeout: 20_000,
      env: { PATH: process.env.PATH ?? '', JOURNAL_STREAM: `${dev}:${ino}` },
    });
    closeSync(fd);
    const text = readFileSync(path, 'utf8');
    expect(text).toContain('<6>chassis 0: rail P12V enabled\n');
    expect(text).toContain('<2>chassis 0: fault: rail P5V was not good within 500 ms of its enable\n');
    expect(text).toContain('<3>chassis-power-sim: chassis 0: rail P5V');
    const elsewhere = run(SIM, ['on', '--board', REFERENCE], { JOURNAL_STREAM: `${dev}:${ino}` });
    expect(elsewhere.stdout).not.toContain('<6>');
  });

  it('the timing diagram of a run, also of one that failed', () => {
    const svg = join(dir, 'run.svg');
    const { stdout } = sim('on', '--board', REFERENCE, '--svg', svg, '--fault', 'rail P1V8 never good');
    expect(stdout).toContain(`timing diagram: ${svg}\n`);
    const text = readFileSync(svg, 'utf8');
    expect(text).toMatch(/^<svg xmlns=/);
    for (const name of ['P12V', 'P1V8', 'PVCORE', 'CPU_RESET_L', 'pgood'])
      expect(text).toContain(`>${name}</text>`);
    expect(text).toContain('<title>P1V8 enable: on at 105.0 ms, off at 605.0 ms</title>');
    expect(text).toContain('rail P1V8 was not good within 500 ms of its enable</text>');
  });

  it('the fault grammar', () => {
    const { code, stdout } = sim('--fault', 'list');
    expect(code).toBe(0);
    for (const form of [
      'never good',
      'slow',
      'droops at',
      'glitch',
      'stuck on',
      'stuck off',
      'nack',
      'hang',
    ]) {
      expect(stdout).toContain(form);
    }
  });

  it('the help, on stdout when asked for and on stderr when needed', () => {
    expect(product('--help')).toMatchObject({
      code: 0,
      stdout: expect.stringContaining('usage:'),
      stderr: '',
    });
    expect(product()).toMatchObject({ code: 64, stdout: '', stderr: expect.stringContaining('usage:') });
  });

  it('the JSON Schema', () => {
    expect(JSON.parse(product('schema').stdout)).toMatchObject({
      type: 'object',
      required: expect.arrayContaining(['name', 'chassis']),
    });
  });
});

describe('the bundle', () => {
  const inputs = () => JSON.parse(readFileSync(join(root, 'dist', 'inputs.json'), 'utf8'));

  it('contains nothing of the simulation', () => {
    const { product: files, simulator } = inputs() as { product: string[]; simulator: string[] };
    expect(files.length).toBeGreaterThan(50);
    expect(files.filter((file) => /^(mocks|test)\//.test(file))).toEqual([]);
    // The same list of the simulator does: the check can fail.
    expect(simulator.some((file) => file.startsWith('mocks/'))).toBe(true);
  });

  it('can be run as it is, as a package has it', () => {
    const program = join(root, 'dist', 'chassis-power', 'chassis-power.cjs');
    const { status, stdout } = spawnSync(program, ['--version'], { encoding: 'utf8', timeout: 20_000 });
    expect({ status, stdout }).toEqual({ status: 0, stdout: expect.stringMatching(/^chassis-power \S+\n$/) });
  });

  it('is strict in every file, as the sources are that it was made of', () => {
    const folder = join(root, 'dist', 'chassis-power');
    const files = readdirSync(folder).filter((file) => file.endsWith('.cjs'));
    expect(files).toContain('chassis-power.cjs');
    for (const file of files) {
      expect(readFileSync(join(folder, file), 'utf8'), file).toMatch(
        /^(?:#!.*\n|\(function \([\w, ]+\) \{)?["']use strict["'];\n/,
      );
    }
  });

  it('holds no reader and writer of XML, which dbus-next has for what is not used', () => {
    const { product: files } = inputs() as { product: string[] };
    expect(files.filter((file) => file.includes('node_modules/dbus-next/')).length).toBeGreaterThan(0);
    expect(files.filter((file) => /node_modules\/(?:xml2js|xmlbuilder|sax)\//.test(file))).toEqual([]);
  });

  it('holds no inspector of the service, whatever CHASSIS_POWER_INSPECT says', () => {
    const textOf = (name: string) =>
      readdirSync(join(root, 'dist', name), { recursive: true, encoding: 'utf8' })
        .filter((file) => file.endsWith('.cjs'))
        .map((file) => readFileSync(join(root, 'dist', name, file), 'utf8'))
        .join('\n');
    expect(textOf('chassis-power')).not.toContain('CHASSIS_POWER_INSPECT');
    expect(textOf('sim')).toContain('CHASSIS_POWER_INSPECT');
  });

  it('reads for a oneshot only what it needs', () => {
    const coverage = join(dir, 'coverage');
    run(PRODUCT, ['start', '--board', REFERENCE, '--run-dir', join(dir, 'startup')], {
      NODE_V8_COVERAGE: coverage,
    });
    const loaded = readdirSync(coverage)
      .flatMap((file) => JSON.parse(readFileSync(join(coverage, file), 'utf8')).result as { url: string }[])
      .map(({ url }) => url.slice(url.lastIndexOf('/') + 1))
      .filter((file) => file.endsWith('.cjs'));
    expect(loaded.map((file) => file.slice(0, 5))).toContain('main-');
    for (const name of ['dbus-next', 'serve-', 'schema-', 'units-', 'status-', 'live-', 'svg-', 'check-']) {
      expect(loaded.filter((file) => file.startsWith(name))).toEqual([]);
    }
  });

  /** What V8 says of the code that is kept for each file, when this Node compiles that file with it. */
  const REJECTED = `
    const { codeFolder, scriptOf } = require(process.argv[1]);
    const files = require('node:fs').readdirSync(codeFolder).map((name) => name.replace(/\\.bin$/, ''));
    console.log(JSON.stringify(files.map((file) => [file, scriptOf(file, false).cachedDataRejected])));`;

  it('has code of each file that V8 takes, made when it was built', () => {
    const { stdout, stderr } = spawnSync(process.execPath, ['-e', REJECTED, PRODUCT], {
      encoding: 'utf8',
      timeout: 20_000,
      // A process that blocks its event loop takes no other signal.
      killSignal: 'SIGKILL',
    });
    const files = readdirSync(join(root, 'dist', 'chassis-power')).filter((file) =>
      /-\w{8}\.cjs$/.test(file),
    );
    expect(files.length).toBeGreaterThan(20);
    expect(JSON.parse(stdout || stderr)).toEqual(files.sort().map((file) => [file, false]));
  });

  it('loads the schema of board files, and what runs it, only for a file with problems', () => {
    const probe = join(dir, 'probe.cjs');
    const list = join(dir, 'loaded');
    // The program compiles each file of its bundle as a script.
    writeFileSync(
      probe,
      `const vm = require('node:vm');
       vm.Script = class extends vm.Script {
         constructor(text, options) {
           super(text, options);
           require('node:fs').appendFileSync(process.env.LIST, text);
         }
       };`,
    );
    const loadedBy = (...args: string[]) => {
      rmSync(list, { force: true });
      const { code } = run(PRODUCT, args, { NODE_OPTIONS: `--require ${probe}`, LIST: list });
      const text = readFileSync(list, 'utf8');
      return {
        code,
        schema: /\bstrictObject\b/.test(text),
        sentences: text.includes('PMBus devices by name'),
      };
    };
    const faulty = editedBoard('loads', (text) => text.replace('"settleMs": 10', '"settleMs": -1'));
    expect(loadedBy('check', '--no-lines', REFERENCE)).toEqual({ code: 0, schema: false, sentences: false });
    expect(loadedBy('check', '--no-lines', faulty)).toEqual({ code: 78, schema: true, sentences: true });
    expect(loadedBy('--help')).toEqual({ code: 0, schema: false, sentences: false });
  });

  it('costs time only where its code is missing, torn, changed, empty or of another build', () => {
    const folder = join(dir, 'code');
    spawnSync('cp', ['-r', join(root, 'dist', 'chassis-power'), folder], { timeout: 20_000 });
    const program = join(folder, 'chassis-power.cjs');
    const all = join(folder, 'code-cache');
    const [kept = ''] = readdirSync(all);
    const files = () => readdirSync(join(all, kept)).map((name) => join(all, kept, name));
    const each = (change: (code: Buffer) => Buffer) => () => {
      for (const file of files()) writeFileSync(file, change(readFileSync(file)));
    };
    const flipped = (code: Buffer) => {
      for (let at = 100; at < code.length; at += 997) code[at] = (code[at] ?? 0) ^ 0x10;
      return code;
    };
    const whole = readdirSync(join(all, kept)).map(
      (name) => [join(all, kept, name), readFileSync(join(all, kept, name))] as const,
    );
    const expected = run(program, ['check', '--no-lines', REFERENCE]);
    expect(expected.code).toBe(0);
    const damages: Record<string, () => void> = {
      torn: each((code) => code.subarray(0, code.length / 2 - 7)),
      'torn to one half': each((code) => code.subarray(0, code.length / 2)),
      changed: each(flipped),
      'changed in one half': each((code) =>
        Buffer.concat([flipped(code.subarray(0, code.length / 2)), code.subarray(code.length / 2)]),
      ),
      zeros: each((code) => Buffer.alloc(code.length)),
      empty: each(() => Buffer.alloc(0)),
      'of other files': each(() => Buffer.from(whole[0]?.[1] ?? '')),
      'in the place of a folder': () => {
        for (const file of files()) {
          rmSync(file);
          mkdirSync(file);
        }
      },
      missing: () => rmSync(all, { recursive: true }),
    };
    for (const [what, damage] of Object.entries(damages)) {
      rmSync(all, { recursive: true });
      mkdirSync(join(all, kept), { recursive: true });
      for (const [file, code] of whole) writeFileSync(file, code);
      damage();
      expect(run(program, ['check', '--no-lines', REFERENCE]), what).toEqual(expected);
    }
  });

  it('needs no node_modules', () => {
    const elsewhere = join(dir, 'elsewhere');
    spawnSync('cp', ['-r', join(root, 'dist', 'chassis-power'), elsewhere], { timeout: 20_000 });
    expect(existsSync(join(elsewhere, 'chassis-power.cjs'))).toBe(true);
    expect(run(join(elsewhere, 'chassis-power.cjs'), ['check', '--no-lines', REFERENCE]).code).toBe(0);
    const script = `
      const { createRequire } = require('node:module');
      const { join } = require('node:path');
      const kind = 'linux-' + process.arch + '-' + process.versions.modules;
      for (const file of ['epoll', 'i2c']) console.log(typeof require(join(process.argv[1], 'native', kind, file + '.node')));`;
    const loaded = spawnSync(process.execPath, ['-e', script, elsewhere], {
      encoding: 'utf8',
      timeout: 20_000,
      // A process that blocks its event loop takes no other signal.
      killSignal: 'SIGKILL',
    });
    expect(loaded.stdout).toBe('object\nobject\n');
  });
});

describe('units check', () => {
  const bad = join(root, 'test', 'unit', 'units-lint-fixtures', 'openbmc');

  it('finds nothing in the units that ship with the bundle', () => {
    const { code, stdout } = product('units', 'check');
    expect(code).toBe(0);
    expect(stdout).toMatch(/16 unit files checked: no findings\n$/);
  });

  it('prints file, line, rule and what to do, and exits 65', () => {
    const { code, stdout, stderr } = product('units', 'check', bad);
    expect(code).toBe(65);
    expect(stdout).toMatch(
      /openbmc\/obmc-power-stop@\.service:12: could-be-oneshot: .*\n {4}set Type=oneshot/,
    );
    expect(stdout).toMatch(/: 40 unit files checked: 22 findings\n$/);
    expect(stderr).toBe('');
  });

  it('prints the same as JSON', () => {
    const { code, stdout } = product('units', 'check', bad, '--json');
    expect(code).toBe(65);
    const { dir: checkedDir, checked, findings } = JSON.parse(stdout);
    expect({ checkedDir, checked }).toEqual({ checkedDir: bad, checked: 40 });
    expect(findings).toHaveLength(22);
    expect(findings).toContainEqual({
      rule: 'wait-without-timeout',
      unit: 'phosphor-wait-power-off@0.service',
      file: join(bad, 'phosphor-wait-power-off@.service'),
      line: 12,
      message: expect.any(String),
      suggestion: expect.any(String),
    });
  });
});
