/**
 * The .deb on a real systemd: installed, upgraded, removed and purged by dpkg, with a simulated chassis beside it whose lines
 * are looked at from outside. Whatever the package does, no line moves.
 */
import { execFileSync } from 'node:child_process';
import { appendFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { makePackage } from '../../deploy/deb.mjs';
import { PROCESSORS } from '../../deploy/native.mjs';
import { type Chassis, patientBoard, putChassis } from './chassis.ts';
import { bootMachine, skipped, titleSuffix } from './machine.ts';
import { type ExecResult, SANDBOX_CHECKOUT, SANDBOX_NODE, type SystemdSandbox } from './rig.ts';

const root = join(import.meta.dirname, '..', '..');
const SERVICE = 'chassis-power.service';
const START = 'obmc-chassis-start@0.target';
const LOCK = '/run/chassis-power/chassis0.lock';
const UNIT = '/usr/lib/systemd/system/op-power-stop@.service';
const DROP_IN = '/usr/lib/systemd/system/op-power-stop@.service.d/resident.conf';
const BOARD = '/etc/chassis-power/board.json';
/** Where the program of the package is once a simulated chassis is in its place. */
const DIVERTED = '/usr/bin/chassis-power.packaged';
const DPKG_TIMEOUT_MS = 120_000;
/** Compiling for this processor where no cache has it. */
const PACKAGE_TIMEOUT_MS = 600_000;

describe.skipIf(skipped)(`the package${titleSuffix}`, () => {
  let machine: SystemdSandbox;
  let chassis: Chassis;
  /** Folder of the packages, seen from both sides. */
  let folder: string;
  /** The package of this checkout, and the next version of it with other units. */
  let first: string;
  let next: string;

  beforeAll(async () => {
    mkdirSync(join(root, 'build'), { recursive: true });
    folder = mkdtempSync(join(root, 'build', 'test-package-'));
    const cache = process.env.XDG_CACHE_HOME || join(process.env.HOME ?? '', '.cache');
    const { deb } = await makePackage({
      arch: process.arch,
      outDir: folder,
      nativeDir: join(cache, 'chassis-power', 'native'),
      epochSeconds: 1_700_000_000,
      version: '1.0',
    });
    first = inSandbox(deb);
    next = inSandbox(nextVersion(deb));
    machine = await bootMachine();
    await machine.run(
      `command -v node || ln -s ${SANDBOX_NODE} /usr/bin/node; dpkg --purge chassis-power 2>&1`,
    );
  }, PACKAGE_TIMEOUT_MS);

  afterAll(async () => {
    await machine?.stop();
    if (folder !== undefined) rmSync(folder, { recursive: true, force: true });
  });

  const inSandbox = (path: string) => path.replace(root, SANDBOX_CHECKOUT);

  /** The same package with a higher version, in which a unit and a drop-in are changed. */
  function nextVersion(deb: string): string {
    const tree = join(folder, 'tree');
    execFileSync('dpkg-deb', ['-R', deb, tree], { timeout: 60_000 });
    const control = join(tree, 'DEBIAN', 'control');
    writeFileSync(control, readFileSync(control, 'utf8').replace('Version: 1.0', 'Version: 1.1'));
    const source = join(tree, 'usr/lib/chassis-power/systemd');
    for (const path of [
      join(tree, UNIT),
      join(source, basename(UNIT)),
      join(source, 'resident', `${basename(UNIT)}.conf`),
    ]) {
      appendFileSync(path, '# of the next version\n');
    }
    const made = join(folder, `chassis-power_1.1_${PROCESSORS[process.arch]?.debian}.deb`);
    execFileSync('dpkg-deb', ['--root-owner-group', '-Zgzip', '--build', tree, made], { stdio: 'ignore' });
    rmSync(tree, { recursive: true });
    return made;
  }

  const dpkg = (...args: string[]): Promise<ExecResult> =>
    machine.exec(['env', 'LC_ALL=C', 'dpkg', ...args], { timeoutMs: DPKG_TIMEOUT_MS });
  const version = async () => {
    const text = await machine.run(
      "dpkg -s chassis-power 2>/dev/null | sed -n 's/^Status: .* ok //p; s/^Version: //p'",
    );
    return text.trim().split('\n').join(' ');
  };
  const mainPid = async () => (await machine.showUnit(SERVICE, ['MainPID'])).MainPID;
  const invocation = async (unit: string) => (await machine.showUnit(unit, ['InvocationID'])).InvocationID;

  /**
   * The package installed, its program put aside for one on a simulated chassis; what installs units stays its own. Nothing of
   * an earlier test is left.
   */
  async function fresh(): Promise<void> {
    // Without its units there is nothing to stop but the chassis.
    if ((await version()).startsWith('installed')) await chassis?.reset();
    await chassis?.stopPlant();
    await machine.run(`systemctl stop ${SERVICE}; rm -f ${BOARD}`);
    await machine.exec(['rm', '-f', '/usr/bin/chassis-power']);
    await machine.run(
      `dpkg-divert --quiet --local --rename --divert ${DIVERTED} --add /usr/bin/chassis-power; dpkg --purge chassis-power 2>&1`,
      { timeoutMs: DPKG_TIMEOUT_MS },
    );
    expect(await dpkg('-i', first)).toMatchObject({ code: 0 });
    chassis = await putChassis(machine, JSON.stringify(patientBoard()));
    const simulated = await machine.readFile('/usr/bin/chassis-power');
    const program = simulated.replace(
      '#!/bin/sh\n',
      `#!/bin/sh\n[ "$1" != units ] || exec ${DIVERTED} "$@"\n`,
    );
    await machine.writeFile('/usr/bin/chassis-power', program, '0755');
    expect(await machine.exec('chassis-power units install --stages resident')).toMatchObject({ code: 0 });
  }

  test('installing starts nothing, enables nothing and says what to do next', async () => {
    const { code, stdout, stderr } = await dpkg('-i', first);
    expect(code, stdout + stderr).toBe(0);
    expect(stderr).toMatch(
      /write \/etc\/chassis-power\/board\.json .*"chassis-power check" and "chassis-power units install"/,
    );
    expect(await version()).toBe('installed 1.0');
    expect(await machine.run('chassis-power --version')).toBe(
      `chassis-power ${JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')).version}\n`,
    );
    expect(await machine.showUnit(SERVICE, ['ActiveState', 'UnitFileState'])).toEqual({
      ActiveState: 'inactive',
      UnitFileState: 'disabled',
    });
    expect(
      await machine.exec('systemctl list-units --all --plain --no-legend "op-*" "obmc-*"'),
    ).toMatchObject({ stdout: '' });
  });

  test('installing makes the group, the folders, the catalogue and the rules of the bus', async () => {
    expect(await machine.run('getent group chassis-power')).toMatch(/^chassis-power:/);
    expect(await machine.run("stat -c '%a %U %F' /var/lib/chassis-power /run/chassis-power")).toBe(
      '755 root directory\n755 root directory\n',
    );
    expect(await machine.run('journalctl --list-catalog 9961a51092e746fba447d965e8aaba42')).toContain(
      'Chassis @CHASSIS@ is on',
    );
    // The bus knows what starts the service, and the rule that lets everybody look.
    expect(await machine.run('busctl list --acquired --activatable --no-legend')).toMatch(
      /^org\.openbmc\.control\.Power .*activatable/m,
    );
    expect(
      await machine.exec(['systemd-analyze', 'verify', '--man=yes', 'op-power-start@0.service', SERVICE]),
    ).toMatchObject({ code: 0 });
  });

  test('installing is no upgrade of what somebody else has: a second dpkg -i of the same changes nothing', async () => {
    const files = () =>
      machine.run('dpkg -L chassis-power | while read -r path; do [ -d "$path" ] || sha256sum "$path"; done');
    expect(await dpkg('-i', first)).toMatchObject({ code: 0 });
    const before = await files();
    expect(before).toContain('/usr/lib/chassis-power/chassis-power.cjs');
    expect(await dpkg('-i', first)).toMatchObject({ code: 0 });
    expect(await files()).toBe(before);
    expect(await machine.run('dpkg --verify chassis-power')).toBe('');
  });

  describe('with a board and units in place', () => {
    beforeEach(fresh);

    const powered = async (): Promise<void> => {
      await chassis.startPlant();
      expect(await machine.systemctl('start', SERVICE)).toMatchObject({ code: 0 });
      expect(await machine.systemctl('start', START)).toMatchObject({ code: 0 });
      await chassis.expectPowered();
    };

    test('upgrading with a chassis on moves no pin, and what watches it goes on', async () => {
      await powered();
      const before = await chassis.lines();
      const [service, stage, pid] = [
        await invocation(SERVICE),
        await invocation('op-wait-power-on@0.service'),
        await mainPid(),
      ];

      const { code, stderr } = await dpkg('-i', next);

      expect(code, stderr).toBe(0);
      expect(await version()).toBe('installed 1.1');
      expect(await chassis.lines()).toEqual(before);
      expect([
        await invocation(SERVICE),
        await invocation('op-wait-power-on@0.service'),
        await mainPid(),
      ]).toEqual([service, stage, pid]);
      expect(stderr).toContain(
        'chassis-power.service goes on with the version before (chassis 0 pgood): systemctl restart chassis-power.service',
      );
      // The units of the next version, its drop-ins among them, are there and known to systemd.
      expect(await machine.readFile(UNIT)).toContain('# of the next version');
      expect(await machine.readFile(DROP_IN)).toContain('# of the next version');
      expect(await machine.showUnit('op-power-stop@0.service', ['NeedDaemonReload'])).toEqual({
        NeedDaemonReload: 'no',
      });
      // And it can be switched off.
      expect(await machine.systemctl('start', 'obmc-chassis-stop@0.target')).toMatchObject({ code: 0 });
      await chassis.expectEveryEnableOff();
      expect(await chassis.hazards()).toEqual([]);
    });

    test('upgrading with the chassis off starts the service again, and moves no pin', async () => {
      await chassis.startPlant();
      expect(await machine.systemctl('start', SERVICE)).toMatchObject({ code: 0 });
      const [before, pid] = [await chassis.lines(), await mainPid()];
      const { code, stderr } = await dpkg('-i', next);
      expect(code, stderr).toBe(0);
      expect(await mainPid()).not.toBe(pid);
      expect(await machine.showUnit(SERVICE, ['ActiveState', 'StatusText'])).toEqual({
        ActiveState: 'active',
        StatusText: 'chassis 0 off',
      });
      expect(await chassis.lines()).toEqual(before);
    });

    test('upgrading starts no service that was stopped, and enables none that was disabled', async () => {
      await chassis.startPlant();
      await machine.run(`systemctl disable ${SERVICE}`);
      expect(await dpkg('-i', next)).toMatchObject({ code: 0 });
      expect(await machine.showUnit(SERVICE, ['ActiveState', 'UnitFileState'])).toEqual({
        ActiveState: 'inactive',
        UnitFileState: 'disabled',
      });
    });

    test('upgrading waits for a power sequence that is under way: its program is not changed under it', async () => {
      const script = '/var/lib/dpkg/info/chassis-power.preinst';
      await machine.run(`mkdir -p ${LOCK}; systemd-run --quiet --unit=holder flock ${LOCK} sleep 600`);
      await chassis.until(
        'the lock is taken',
        async () => (await machine.exec(`flock -n ${LOCK} true`)).code === 1,
      );
      expect(await machine.exec(['timeout', '2', 'sh', script, 'upgrade', '1.0'])).toMatchObject({
        code: 124,
      });
      // Others who only install are not asked to wait.
      expect(await machine.exec(['timeout', '2', 'sh', script, 'install'])).toMatchObject({ code: 0 });
      const upgrade = dpkg('-i', next);
      await chassis.until(
        'dpkg waits',
        async () => (await machine.exec(['pgrep', '-f', `flock -s -w [0-9]+ ${LOCK}`])).code === 0,
      );
      expect(await version()).not.toContain('1.1');
      await machine.run('systemctl stop holder');
      expect(await upgrade).toMatchObject({ code: 0 });
      expect(await version()).toBe('installed 1.1');
    });

    test('a service whose program is replaced or gone takes a lost chassis down, and tells all that it told before', async () => {
      const copy = '/usr/lib/chassis-power-copy';
      await machine.run(
        `cp -r ${SANDBOX_CHECKOUT}/dist/sim ${copy} && sed -i 's|${SANDBOX_CHECKOUT}/dist/sim/|${copy}/|' /usr/bin/chassis-power`,
      );
      await powered();
      const [pid, [since = '']] = [await mainPid(), (await machine.readFile('/proc/uptime')).split(' ')];
      await machine.run(`rm -r ${copy}`);
      await chassis.addFault('pgood stuck off');
      await chassis.until('quiesce is reached', async () => {
        const { ActiveState } = await machine.showUnit('obmc-quiesce-host@0.target', ['ActiveState']);
        return ActiveState === 'active';
      });
      await machine.waitForJobs();
      expect((await chassis.asserted('enable')).includes(true)).toBe(false);
      expect(await chassis.hazards()).toEqual([]);
      expect(await mainPid()).toBe(pid);
      const entries = (await machine.journal(SERVICE)).filter(
        (entry) => Number(entry.__MONOTONIC_TIMESTAMP) > Number(since) * 1e6,
      );
      const said = entries.map((entry) => String(entry.MESSAGE)).join('\n');
      expect(said).toMatch(/pgood/);
      expect(said).not.toMatch(/Cannot find|ENOENT|internal error/);
      // With its fields, of which the last part comes to be needed by a loss.
      expect(entries.filter((entry) => entry.MESSAGE_ID !== undefined).length).toBeGreaterThan(0);
    });

    test('removing with a chassis on is refused, and moves no pin', async () => {
      await powered();
      const [before, pid] = [await chassis.lines(), await mainPid()];
      const { code, stderr } = await dpkg('-r', 'chassis-power');
      expect(code).not.toBe(0);
      expect(stderr).toContain('not removed: chassis 0 is pgood, and nothing could switch it off any more');
      expect(await version()).toBe('installed 1.0');
      expect(await chassis.lines()).toEqual(before);
      expect(await mainPid()).toBe(pid);
      expect(await machine.exec(['systemctl', 'is-active', START])).toMatchObject({ stdout: 'active\n' });
    });

    test('removing takes away what units install put, and keeps board and runs; purging keeps the board alone', async () => {
      await powered();
      expect(await machine.systemctl('start', 'obmc-chassis-stop@0.target')).toMatchObject({ code: 0 });
      const before = await chassis.lines();

      const { code, stderr } = await dpkg('-r', 'chassis-power');

      expect(code, stderr).toBe(0);
      expect(await chassis.lines()).toEqual(before);
      expect(await machine.exec(['systemctl', 'is-active', SERVICE])).toMatchObject({ stdout: 'inactive\n' });
      const left = () =>
        machine.run(
          "find /usr /etc /var/lib/chassis-power /run/chassis-power -path /opt -prune -o '(' -name '*chassis-power*' -o -name 'obmc-*' -o -name 'op-*@*' ')' -print 2>/dev/null" +
            " | grep -vE '^/(etc/(group|gshadow)|usr/bin/chassis-power$|etc/chassis-power-rig)' | sort || :",
        );
      expect((await left()).trim().split('\n')).toEqual([
        '/etc/chassis-power',
        '/run/chassis-power',
        '/var/lib/chassis-power',
      ]);
      expect(
        (await machine.exec('systemctl list-unit-files --no-legend "op-*" "obmc-*" "chassis-power*"')).stdout,
      ).toBe('');

      const purged = await dpkg('--purge', 'chassis-power');
      expect(purged.code, purged.stderr).toBe(0);
      expect(purged.stderr + purged.stdout).toContain('the board file /etc/chassis-power/board.json stays');
      expect((await left()).trim()).toBe('/etc/chassis-power');
      expect(await machine.run('ls /etc/chassis-power')).toBe('board.json\n');
      expect(await chassis.lines()).toEqual(before);
    });

    test('removing where no line can be read is told, and is no dead end', async () => {
      await chassis.stopPlant();
      const { code, stderr } = await dpkg('-r', 'chassis-power');
      expect(code, stderr).toBe(0);
      expect(stderr).toContain('nobody can say of what cannot be read whether it is on');
    });

    test('a machine whose Node is gone can upgrade and remove it all the same, and is told', async () => {
      await chassis.startPlant();
      const before = await chassis.lines();
      await machine.run(
        'mkdir -p /run/aside; for each in $(which -a node); do [ ! -e "$each" ] || mv "$each" "/run/aside/$(echo "$each" | tr / _)"; done',
      );
      try {
        const upgraded = await dpkg('-i', next);
        expect(upgraded.code, upgraded.stderr).toBe(0);
        expect(upgraded.stderr).toContain('there is no node on this machine');
        const removed = await dpkg('-r', 'chassis-power');
        expect(removed.code, removed.stderr).toBe(0);
        expect(removed.stderr).toContain('what "units install" put stays');
      } finally {
        await machine.run(
          'cd /run/aside; for each in *; do mv "$each" "$(echo "$each" | tr _ /)"; done; rm -f /usr/lib/chassis-power/units.json',
        );
      }
      expect(await chassis.lines()).toEqual(before);
    });
  });
});
