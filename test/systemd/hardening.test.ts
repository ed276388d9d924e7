/**
 * What the sandbox of the units keeps their processes from: by the account of `systemd-analyze security`, and by
 * attempts from inside. Devices and sysfs, which the sandbox of the tests has none of, are in
 * `test/bmc/hardening.test.ts`.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { SANDBOX, shippedServices, UNIT_SOURCE } from '../shipped-services.ts';
import { bootMachine, installUnitsIn, skipped, titleSuffix } from './machine.ts';
import { SANDBOX_NODE, type SystemdSandbox } from './rig.ts';

/** Every service unit, those for one kind of image included, with the text of its file. */
const SERVICES = (await shippedServices()).map((service) => ({
  ...service,
  unit: service.name.replace('@.', '@0.'),
}));
/** What a kind of install adds to a unit: the stages that are handed to the service, today's way to run it. */
const DROP_INS = readdirSync(UNIT_SOURCE, { recursive: true, encoding: 'utf8' })
  .filter((path) => path.endsWith('.service.conf'))
  .map((path) => ({
    path,
    kind: dirname(path),
    unit: basename(path, '.conf').replace('@.', '@0.'),
    file: `/usr/lib/systemd/system/${basename(path, '.conf')}.d/${dirname(path)}.conf`,
    text: readFileSync(join(UNIT_SOURCE, path), 'utf8'),
  }));
const HOST = 'obmc-start-host@0.service';
const MAX_EXPOSURE = 2.0;

const PROBE_PATH = '/usr/lib/probe.mjs';
const OTHERS_FILE = '/etc/probe-others';
/** Makes every attempt and prints what came of each: `done`, or the error. */
const PROBE = `
import { spawnSync } from 'node:child_process';
import { chmodSync, chownSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';

const outcomes = {};
const attempt = (what, act) => {
  try {
    act();
    outcomes[what] = 'done';
  } catch (error) {
    outcomes[what] = error.code ?? error.message;
  }
};
const run = (command, ...args) => {
  const { error, status } = spawnSync(command, args);
  if (error) throw error;
  if (status !== 0) throw new Error('refused');
};
const write = (path) => {
  writeFileSync(path, '');
  rmSync(path);
};

for (const folder of ['/etc', '/usr', '/run', '/run/chassis-power', '/var/lib', '/var/lib/chassis-power', '/dev', '/dev/shm', '/tmp']) {
  attempt('write ' + folder, () => write(folder + '/probe'));
}
attempt('look into /root', () => readdirSync('/root'));
attempt("read another user's file", () => readFileSync('${OTHERS_FILE}'));
attempt('read the boot id', () => readFileSync('/proc/sys/kernel/random/boot_id'));
attempt('see another process', () => statSync('/proc/1'));
writeFileSync('/tmp/own', '');
attempt('give a file away', () => chownSync('/tmp/own', 65534, 65534));
attempt('make a file setuid', () => chmodSync('/tmp/own', 0o4755));
attempt('run in real time', () => run('chrt', '--fifo', '1', 'true'));
attempt('make a namespace', () => run('unshare', '--ipc', 'true'));
attempt('mount', () => {
  run('mount', '-t', 'tmpfs', 'probe', '/mnt');
  run('umount', '/mnt');
});
attempt('lock a file', () => run('flock', '-n', '/tmp/own', 'true'));
const systemd = ['org.freedesktop.systemd1', '/org/freedesktop/systemd1', 'org.freedesktop.systemd1.Manager'];
attempt('start a target over the bus', () =>
  run('busctl', 'call', ...systemd, 'StartUnit', 'ss', 'obmc-quiesce-host@7.target', 'replace'),
);
const server = createServer();
const listened = new Promise((resolve) => {
  server.once('listening', () => resolve('done'));
  server.once('error', (error) => resolve(error.code));
});
server.listen(0, '0.0.0.0');
outcomes['listen on the network'] = await listened;
server.close();
console.log(JSON.stringify(outcomes));
`;

/** What every unit may do, … */
const OPEN = {
  'write /tmp': 'done',
  'read the boot id': 'done',
  'lock a file': 'done',
  'start a target over the bus': 'done',
};
/** … and what none may. */
const SHUT = {
  'write /etc': 'EROFS',
  'write /usr': 'EROFS',
  'write /run': 'EROFS',
  'write /var/lib': 'EROFS',
  'write /dev': 'EROFS',
  'write /dev/shm': 'EROFS',
  'look into /root': 'EACCES',
  "read another user's file": 'EACCES',
  'see another process': 'ENOENT',
  'give a file away': 'EPERM',
  'make a file setuid': 'EPERM',
  'run in real time': 'refused',
  'make a namespace': 'refused',
  mount: 'refused',
  'listen on the network': 'EAFNOSUPPORT',
};
/** Those that keep something there may write it. */
const stateFolder = (text: string) => ({
  'write /run/chassis-power': /^RuntimeDirectory=chassis-power$/m.test(text) ? 'done' : 'EROFS',
  'write /var/lib/chassis-power': /^ReadWritePaths=-\/var\/lib\/chassis-power$/m.test(text)
    ? 'done'
    : 'EROFS',
});

type Drop = (typeof DROP_INS)[number];

function keysOf(text = ''): string[] {
  return [...text.matchAll(/^(\w+)=/gm)].map(([, key]) => key ?? '');
}

describe.skipIf(skipped)(`sandbox of the units${titleSuffix}`, () => {
  let machine: SystemdSandbox;

  beforeAll(async () => {
    machine = await bootMachine();
    await installUnitsIn(machine);
    for (const { name, text } of SERVICES) await machine.writeFile(`/usr/lib/systemd/system/${name}`, text);
    await machine.run(['systemctl', 'daemon-reload']);
    await machine.writeFile(PROBE_PATH, PROBE);
    await machine.run(
      `mkdir -p /run/chassis-power /var/lib/chassis-power; touch ${OTHERS_FILE}; chmod 600 ${OTHERS_FILE}`,
    );
    await machine.run(['chown', '65534', OTHERS_FILE]);
  });

  afterAll(async () => {
    await machine?.stop();
  });

  /** What the probe is let do as the process of a unit, whose settings all stay but for how it is run. */
  async function probeIn(unit: string, settings: readonly string[] = []): Promise<Record<string, string>> {
    // After the drop-ins of an install, which are read by name.
    const dropIn = `/run/systemd/system/${unit}.d/zz-probe.conf`;
    const service = [
      ...['Type=oneshot', 'Restart=no', 'ExecStart=', `ExecStart=${SANDBOX_NODE} ${PROBE_PATH}`],
      // What Node itself warns of is not the probe's.
      ...['ExecStartPost=', 'StandardOutput=truncate:/run/probe.out', 'StandardError=journal'],
      ...settings,
    ];
    await machine.writeFile(dropIn, `[Service]\n${service.join('\n')}\n`);
    await machine.run(['systemctl', 'daemon-reload']);
    try {
      await machine.run(['systemctl', 'restart', '--job-mode=ignore-dependencies', unit]);
      return JSON.parse(await machine.readFile('/run/probe.out'));
    } finally {
      await machine.run(`rm ${dropIn}; systemctl daemon-reload; systemctl stop ${unit}`);
    }
  }

  async function exposureOf(unit: string): Promise<number> {
    const said = await machine.run(['systemd-analyze', 'security', '--no-pager', unit]);
    return Number(/Overall exposure level for \S+: ([\d.]+)/.exec(said)?.[1]);
  }

  /** With one drop-in where an install puts it. */
  async function having<Result>({ file, text }: Drop, look: () => Promise<Result>): Promise<Result> {
    await machine.writeFile(file, text);
    await machine.run(['systemctl', 'daemon-reload']);
    try {
      return await look();
    } finally {
      await machine.run(`rm ${file}; systemctl daemon-reload`);
    }
  }

  test('every service unit is hardened to an exposure of at most 2.0', async () => {
    const paths = SERVICES.map(({ path }) => path);
    expect(paths).toContain('op-power-start@.service');
    expect(paths).toContain('current/phosphor-wait-power-on@.service');
    expect(paths).toContain('current/phosphor-wait-power-off@.service');
    const exposures: Record<string, number> = {};
    for (const { unit } of SERVICES) exposures[unit] = await exposureOf(unit);
    const exposed = Object.entries(exposures).filter(([, exposure]) => !(exposure <= MAX_EXPOSURE));
    expect(exposed).toEqual([]);
  });

  test('the sandbox stands once, and is in every unit that is installed', () => {
    for (const { path, text } of SERVICES) {
      const said = keysOf(readFileSync(join(UNIT_SOURCE, path), 'utf8'));
      expect(said.filter((key) => key === 'ProtectSystem')).toEqual([]);
      expect({ path, has: text.includes(SANDBOX) }).toEqual({ path, has: true });
    }
  });

  test('no drop-in of an install says anything that the sandbox says', () => {
    expect(new Set(DROP_INS.map(({ kind }) => kind))).toEqual(new Set(['current', 'resident']));
    const sandbox = new Set(keysOf(SANDBOX));
    expect(sandbox).toContain('ProtectSystem');
    for (const { path, text } of DROP_INS) {
      expect({ path, said: keysOf(text).filter((key) => sandbox.has(key)) }).toEqual({ path, said: [] });
    }
  });

  test.each(DROP_INS.map((dropIn) => [dropIn.path, dropIn] as const))(
    '%s leaves its unit as hardened as it was',
    async (_, dropIn) => {
      const { unit } = dropIn;
      const before = await exposureOf(unit);
      await having(dropIn, async () => {
        expect((await machine.showUnit(unit, ['DropInPaths'])).DropInPaths).toContain(dropIn.file);
        const exposure = await exposureOf(unit);
        expect(exposure).toBe(before);
        expect(exposure).toBeLessThanOrEqual(MAX_EXPOSURE);
        const text = SERVICES.find((service) => service.unit === unit)?.text ?? '';
        expect(await probeIn(unit)).toEqual({ ...OPEN, ...SHUT, ...stateFolder(text) });
      });
    },
  );

  test('no unit can go past its filter of system calls, as io_uring would let it', async () => {
    for (const { unit } of SERVICES) {
      const calls = (await machine.showUnit(unit, ['SystemCallFilter'])).SystemCallFilter.split(' ');
      expect(calls).toContain('openat');
      expect(calls.filter((call) => call.startsWith('io_uring'))).toEqual([]);
    }
  });

  test('without the settings of the units every attempt succeeds', async () => {
    const printed = await machine.run(`systemd-run --quiet --wait --pipe ${SANDBOX_NODE} ${PROBE_PATH}`);
    const outcomes = JSON.parse(printed);
    expect(Object.keys(outcomes).sort()).toEqual(
      Object.keys({ ...OPEN, ...SHUT, ...stateFolder('') }).sort(),
    );
    expect(Object.entries(outcomes).filter(([, outcome]) => outcome !== 'done')).toEqual([]);
  });

  test.each(SERVICES.map(({ unit, text }) => [unit, text] as const))(
    '%s reaches what it needs and nothing else',
    async (unit, text) => {
      expect(await probeIn(unit)).toEqual({ ...OPEN, ...SHUT, ...stateFolder(text) });
    },
  );

  test('a drop-in opens the sandbox of the host start, line by line', async () => {
    const opened = await probeIn(HOST, [
      'RuntimeDirectory=chassis-power',
      'RuntimeDirectoryPreserve=yes',
      'PrivateNetwork=no',
      'RestrictAddressFamilies=AF_INET AF_INET6',
      'IPAddressAllow=192.0.2.10',
      'CapabilityBoundingSet=CAP_CHOWN',
      'SystemCallFilter=@chown',
    ]);
    expect(opened).toEqual({
      ...OPEN,
      ...SHUT,
      'write /run/chassis-power': 'done',
      'write /var/lib/chassis-power': 'EROFS',
      'listen on the network': 'done',
      'give a file away': 'done',
    });
  });
});
