/**
 * The program as a user installs it, on the kernel's own GPIO and I2C drivers: from its package, its
 * units put in place by itself, run by systemd. The chassis is a plant on QMP; every level is read from
 * outside the guest.
 */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, inject, test } from 'vitest';
import { productVersion } from '../../deploy/deb.mjs';
import { attachBmc, type Bmc } from './rig/guest.ts';
import { type Plant, startQmpPlant } from './rig/plant.ts';
import type { Level } from './rig/qmp.ts';

const root = join(import.meta.dirname, '..', '..');

/** Lines of hw/boards/ast2600-evb.json with the level that means asserted. */
const P12V = { gpio: 'C0', on: 1 } as const;
const P3V3 = { gpio: 'C1', on: 0 } as const;
const RESET = { gpio: 'D0', on: 0 } as const;
const VR0 = '/machine/peripheral/vr0';

/** Node alone takes 5 to 15 s to start in the guest, and a target starts it twice. */
const TARGET_TIMEOUT_MS = 180_000;
/** Time between two looks of the plant at all enables, over QMP and beside a busy guest. */
const PLANT_LOOK_MS = 200;
/** A whole boot, and after it three programs that start at once. */
const RESTART_TIMEOUT_MS = 900_000;

/** Where the package is in the guest. */
const PACKAGE = '/var/tmp/chassis-power.deb';

let bmc: Bmc;
let plantQmp: Bmc;
let plant: Plant;

beforeAll(async () => {
  bmc = await attachBmc(inject('bmc'));
  plantQmp = await attachBmc(inject('bmc'), { qmpSocket: 'plant' });
  plant = await startQmpPlant(plantQmp.qmp, {
    rails: [
      {
        rail: 'P12V',
        enable: { gpio: 'C0', active: 'high' },
        good: { gpio: 'B0', active: 'high' },
        needs: [],
        rampMs: 50,
        fallMs: 50,
      },
      {
        rail: 'P3V3',
        enable: { gpio: 'C1', active: 'low' },
        good: { gpio: 'B1', active: 'high' },
        needs: ['P12V'],
        rampMs: 30,
        fallMs: 30,
      },
      {
        rail: 'PVCORE',
        enable: 'operation',
        vout: { path: VR0, property: 'vout[0]', volts: 0.9, off: 0.1 },
        needs: ['P3V3'],
        rampMs: 30,
        fallMs: 30,
      },
    ],
    pgood: { gpio: 'B7', active: 'high' },
    // Every look over QMP stops the guest for a moment; its rails have seconds.
    pollMs: 20,
  });
  const packages = mkdtempSync(join(tmpdir(), 'bmc-package-'));
  try {
    execFileSync(process.execPath, [join(root, 'deploy', 'package.mjs'), '--out', packages, 'armhf'], {
      stdio: ['ignore', 'ignore', 'inherit'],
      timeout: 600_000,
    });
    await bmc.copyIn(join(packages, `chassis-power_${productVersion()}_armhf.deb`), PACKAGE);
  } finally {
    rmSync(packages, { recursive: true });
  }
  await install();
  await bmc.sh(
    'mkdir -p /etc/chassis-power && ' +
      'cp /usr/share/chassis-power/boards/ast2600-evb.json /etc/chassis-power/board.json',
  );
});

afterAll(async () => {
  await plant?.stop();
  await plantQmp?.close();
  await bmc?.close();
});

interface Status {
  readonly state: string;
  readonly pgood: boolean;
  readonly contradictions: readonly string[];
  readonly rails: Readonly<Record<string, { enabled: boolean; good: boolean }>>;
  readonly units: readonly { unit: string; activeState: string }[];
}

/** As a user does; over one that is there it is an upgrade. */
const install = () => bmc.sh(`dpkg -i ${PACKAGE} 2>&1`, { timeoutMs: TARGET_TIMEOUT_MS });
const program = (args: string) => bmc.exec(`chassis-power ${args}`, { timeoutMs: TARGET_TIMEOUT_MS });
const start = (unit: string) => bmc.exec(`systemctl start ${unit}`, { timeoutMs: TARGET_TIMEOUT_MS });
const status = async (): Promise<Status> => JSON.parse((await program('status --json')).stdout);

/** Whether a line is asserted, as QEMU sees the pin. */
async function asserted({ gpio, on }: { gpio: string; on: Level }): Promise<boolean> {
  return (await bmc.qmp.gpioLevel(gpio)) === on;
}
async function vr0Millivolts(): Promise<number> {
  return (await bmc.qmp.qomGet(VR0, 'vout[0]')) as number;
}

async function eventually<T>(read: () => Promise<T> | T, wanted: T, withinMs = 10_000): Promise<void> {
  const deadlineMs = performance.now() + withinMs;
  for (;;) {
    const seen = await read();
    if (Object.is(seen, wanted)) return;
    if (performance.now() > deadlineMs)
      expect(seen, `after ${withinMs} ms\n${await journal()}\n${await unitsAndJobs()}`).toBe(wanted);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

/** What systemd makes of the power units, for a test that failed. */
async function unitsAndJobs(): Promise<string> {
  const { stdout } = await bmc.exec(
    'systemctl list-jobs --no-pager; systemctl list-units --all --no-pager --plain --no-legend "ob*" "op-*" "chassis-power*"; ' +
      'journalctl -b -o short-monotonic _PID=1 --no-pager | grep -iE "chassis|power|standby|multi-user" | tail -n 60',
  );
  return stdout;
}

async function expectOff(): Promise<void> {
  expect(await asserted(P12V)).toBe(false);
  expect(await asserted(P3V3)).toBe(false);
  await eventually(vr0Millivolts, 100);
}

/** When each of the lines first had the level, in milliseconds of the plant: real time, not the guest's slow clock. */
function firstAt(what: string, level: Level, sinceMs: number): number {
  const found = plant.history.find(
    (event) => event.what === what && event.level === level && event.atMs > sinceMs,
  );
  if (!found) throw new RangeError(`${what} never was ${level} after ${sinceMs} ms`);
  return found.atMs;
}
/** Enables that fall without a wait between them come in one look of the plant, which cannot tell their order. */
function expectNotAfter(firstMs: number, secondMs: number): void {
  expect(firstMs - secondMs).toBeLessThan(PLANT_LOOK_MS);
}
const plantNowMs = () => plant.history.at(-1)?.atMs ?? 0;

/** What systemd and the journal say, for a test that failed. */
async function journal(): Promise<string> {
  return (await bmc.exec('journalctl -b -o short-monotonic -t chassis-power --no-pager | tail -n 40')).stdout;
}

describe('before the units are there', () => {
  test('the board that ships has no problems, and a look at the chassis changes no line', async () => {
    expect((await program('check')).code).toBe(0);
    const directions = async () => Promise.all(['C0', 'C1', 'D0'].map((gpio) => bmc.qmp.gpioDirection(gpio)));
    const before = await directions();
    // The regulator of this machine powers up with OPERATION on: what nobody ordered is told, not guessed at.
    const found = await status();
    expect(found.state).toBe('unknown');
    expect(found.contradictions).toEqual(['rail PVCORE is enabled though P3V3, which it needs, is not']);
    expect(await directions()).toEqual(before);
  });

  test('a power-on is rejected while the lines contradict each other, and power off puts that right', async () => {
    const rejected = await program('start');
    expect(rejected.code).toBe(104);
    expect(rejected.stderr).toMatch(/contradict/);
    const off = await program('off');
    expect(off.code, off.stderr).toBe(0);
    expect((await status()).state).toBe('off');
    await expectOff();
  });

  test('a line that another program owns: one line that says so, exit 74, nothing driven', async () => {
    // B0 is offset 8. It was looked at before, so it is exported: sysfs has to give it up first.
    const chip = await bmc.sh("gpiodetect | awk '/1e780000.gpio/ { print $1 }'");
    await bmc.sh(
      'for n in /sys/class/gpio/gpiochip*; do [ "$(cat $n/label)" = 1e780000.gpio ] && ' +
        'echo $(($(cat $n/base) + 8)) >/sys/class/gpio/unexport; done; ' +
        `systemd-run --quiet --unit=holder gpiomon ${chip} 8`,
    );
    try {
      await eventually(
        async () => (await bmc.exec(`gpioinfo ${chip} | grep -q 'line *8:.*gpiomon'`)).code,
        0,
      );
      const { code, stderr } = await program('start');
      expect(code).toBe(74);
      expect(stderr).toMatch(/good signal of rail P12V.*B0/);
      expect(stderr.trimEnd().split('\n')).toHaveLength(1);
      await expectOff();
    } finally {
      await bmc.sh('systemctl stop holder');
    }
  });

  test('without permission: one line of its reason and one of the run that is not kept, exit 74, nothing driven', async () => {
    const { code, stderr } = await bmc.exec(
      'setpriv --reuid=nobody --clear-groups chassis-power start --run-dir /tmp/nobody',
      { timeoutMs: TARGET_TIMEOUT_MS },
    );
    expect(code).toBe(74);
    expect(stderr.trimEnd().split('\n')).toEqual([
      expect.stringMatching(/enable of rail P12V.*(root|group)/),
      expect.stringMatching(/the run of chassis 0 is not kept in .*(EACCES|permission)/),
    ]);
    await expectOff();
  });
});

describe('through systemd', () => {
  beforeAll(async () => {
    const { code, stderr } = await program('units install');
    expect(code, stderr).toBe(0);
  });

  beforeEach(() => {
    plant.change('P3V3', { neverGood: false });
  });

  test('the start target brings the chassis to pgood, each rail after what it needs', async () => {
    const sinceMs = plantNowMs();
    const { code, stderr } = await start('obmc-chassis-start@0.target');
    expect(code, `${stderr}\n${await journal()}`).toBe(0);
    expect(await asserted(P12V)).toBe(true);
    expect(await asserted(P3V3)).toBe(true);
    expect(await asserted(RESET)).toBe(false);
    await plant.looked();
    expect(plant.level('B7')).toBe(1);
    await eventually(vr0Millivolts, 900);
    expect(firstAt('B0', 1, sinceMs)).toBeLessThan(firstAt('C1', 0, sinceMs));
    expect(firstAt('B1', 1, sinceMs)).toBeLessThan(firstAt('PVCORE OPERATION', 1, sinceMs));
    // Timestamps of the guest's clock, which is slow: they order the two, and measure nothing.
    const show = (unit: string, property: string) => bmc.sh(`systemctl show -P ${property} ${unit}`);
    expect(Number(await show('op-power-start@0.service', 'ExecMainExitTimestampMonotonic'))).toBeLessThan(
      Number(await show('op-wait-power-on@0.service', 'ExecMainStartTimestampMonotonic')),
    );
    expect(await status()).toMatchObject({ state: 'pgood', pgood: true });
  });

  test('starting again moves no line, also when the stages run again', async () => {
    const before = plant.history.length;
    expect((await start('obmc-chassis-start@0.target')).code).toBe(0);
    expect((await program('start')).code).toBe(0);
    expect((await program('wait-on')).code).toBe(0);
    await plant.looked();
    expect(plant.history.slice(before)).toEqual([]);
  });

  test('upgrading the package with the chassis on moves no line, and systemd finds it on still', async () => {
    const before = plant.history.length;
    await install();
    await plant.looked();
    expect(plant.history.slice(before)).toEqual([]);
    expect(await bmc.sh('systemctl is-active obmc-chassis-start@0.target')).toBe('active');
    expect((await start('obmc-chassis-start@0.target')).code).toBe(0);
    await plant.looked();
    expect(plant.history.slice(before)).toEqual([]);
  });

  test('levels stand though no process of ours is left', async () => {
    expect((await bmc.exec("pgrep -f '[c]hassis-power.cjs'")).code).toBe(1);
    expect(await asserted(P12V)).toBe(true);
    expect(await asserted(P3V3)).toBe(true);
  });

  test('the stop target takes it down in reverse', async () => {
    const sinceMs = plantNowMs();
    const { code, stderr } = await start('obmc-chassis-stop@0.target');
    expect(code, `${stderr}\n${await journal()}`).toBe(0);
    await expectOff();
    expect(await asserted(RESET)).toBe(true);
    await plant.looked();
    expect(plant.level('B7')).toBe(0);
    expect(firstAt('PVCORE OPERATION', 0, sinceMs)).toBeLessThan(firstAt('C1', 1, sinceMs));
    expect(firstAt('B1', 0, sinceMs)).toBeLessThan(firstAt('C0', 0, sinceMs));
    expect((await status()).state).toBe('off');
  });

  test('a rail that never comes good: the start fails, power off is reached, every enable is off', async () => {
    plant.change('P3V3', { neverGood: true });
    expect((await start('obmc-chassis-start@0.target')).code).not.toBe(0);
    await eventually(
      async () => await bmc.sh('systemctl is-active obmc-power-chassis-off@0.target || true'),
      'active',
      TARGET_TIMEOUT_MS,
    );
    await expectOff();
    expect(await bmc.sh('systemctl show -P ExecMainStatus op-power-start@0.service')).toBe('101');
    expect(await journal()).toMatch(/rail P3V3 was not good within 10000 ms/);
  });

  test('repaired, the next start works, and stop ends it', async () => {
    const { code, stderr } = await start('obmc-chassis-start@0.target');
    expect(code, `${stderr}\n${await journal()}`).toBe(0);
    expect(await status()).toMatchObject({ state: 'pgood' });
    expect((await start('obmc-chassis-stop@0.target')).code).toBe(0);
    await expectOff();
  });

  test('pgood lost on real lines: the next command takes everything down at once, and systemd knows', async () => {
    const { code, stderr } = await start('obmc-chassis-start@0.target');
    expect(code, `${stderr}\n${await journal()}`).toBe(0);
    plant.change('P3V3', { neverGood: true });
    await eventually(() => plant.level('B7'), 0);
    expect(await asserted(P12V)).toBe(true);
    const sinceMs = plantNowMs();

    const found = await program('wait-on');

    expect([101, 102], found.stderr).toContain(found.code);
    await expectOff();
    await plant.looked();
    expect(plant.level('C0')).toBe(0);
    expect(await asserted(RESET)).toBe(true);
    expectNotAfter(firstAt('PVCORE OPERATION', 0, sinceMs), firstAt('C1', 1, sinceMs));
    expectNotAfter(firstAt('C1', 1, sinceMs), firstAt('C0', 0, sinceMs));
    expect(found.stdout).toMatch('obmc-quiesce-host@0.target started');
    const active = (unit: string) => bmc.sh(`systemctl is-active ${unit} || true`);
    expect(await active('obmc-power-chassis-off@0.target')).toBe('active');
    expect(await active('obmc-quiesce-host@0.target')).toBe('active');
    expect(await active('obmc-power-chassis-on@0.target')).toBe('inactive');
  });

  test('the resident service: busctl powers on, and a pgood that falls takes everything down without a command', async () => {
    expect((await start('chassis-power.service')).code, await journal()).toBe(0);
    const bus = 'org.openbmc.control.Power /org/openbmc/control/power0 org.openbmc.control.Power';
    expect(await bmc.sh(`busctl get-property ${bus} pgood`)).toBe('i 0');
    // Kernel threads that poll for io_uring would take two cores for as long as the service lives.
    const threads = await bmc.sh('cat /proc/$(systemctl show -P MainPID chassis-power)/task/*/comm');
    expect(threads).toMatch(/node/);
    expect(threads).not.toMatch(/iou-/);
    const on = await bmc.exec(`busctl --timeout=120 call ${bus} setPowerState i 1`, {
      timeoutMs: TARGET_TIMEOUT_MS,
    });
    expect(on.code, `${on.stderr}\n${await journal()}`).toBe(0);
    expect(await asserted(P12V)).toBe(true);
    expect(await bmc.sh(`busctl get-property ${bus} pgood`)).toBe('i 1');
    const sinceMs = plantNowMs();

    plant.change('P3V3', { neverGood: true });

    await eventually(() => asserted(P12V), false, 30_000);
    await expectOff();
    // The pins are ahead of what the plant has looked at.
    await plant.looked();
    expect(plant.level('C0')).toBe(0);
    expect(await asserted(RESET)).toBe(true);
    expect(firstAt('B7', 0, sinceMs)).toBeLessThan(firstAt('C1', 1, sinceMs));
    expectNotAfter(firstAt('C1', 1, sinceMs), firstAt('C0', 0, sinceMs));
    await eventually(
      () => bmc.sh('systemctl is-active obmc-quiesce-host@0.target || true'),
      'active',
      TARGET_TIMEOUT_MS,
    );
    expect(await bmc.sh(`busctl get-property ${bus} pgood`)).toBe('i 0');
    await bmc.sh('systemctl stop chassis-power.service');
  });

  test(
    'a BMC that restarts under a chassis that is on: no pin becomes an output, the units are active',
    async () => {
      // A board that latches its enables: the BMC's pins say nothing any more after a reset, and power stands.
      const board = JSON.parse(await bmc.sh('cat /usr/share/chassis-power/boards/ast2600-evb.json'));
      board.chassis['0'].resets = {};
      board.chassis['0'].latch = { chip: '1e780000.gpio', line: 'D1', pulseMs: 1 };
      await bmc.sh(`cat >/etc/chassis-power/board.json <<'EOF'\n${JSON.stringify(board)}\nEOF`);
      const { code, stderr } = await start('obmc-chassis-start@0.target');
      expect(code, `${stderr}\n${await journal()}`).toBe(0);
      plant.hold();
      await bmc.sh('sync');
      const before = plant.history.length;

      await bmc.reboot();

      await eventually(
        async () => bmc.sh('systemctl is-active obmc-chassis-reset@0.target || true'),
        'active',
        TARGET_TIMEOUT_MS,
      );
      const units = ['obmc-power-chassis-on@0.target', 'op-power-start@0', 'op-wait-power-on@0'];
      await eventually(
        async () => bmc.sh(`systemctl is-active ${units.join(' ')} || true`),
        'active\nactive\nactive',
        TARGET_TIMEOUT_MS,
      );
      expect(await status()).toMatchObject({ state: 'pgood', pgood: true, contradictions: [] });
      for (const gpio of ['C0', 'C1', 'D1']) expect(await bmc.qmp.gpioDirection(gpio), gpio).toBe('in');
      await plant.looked();
      expect(plant.history.slice(before)).toEqual([]);

      plant.release();
      expect((await start('obmc-chassis-stop@0.target')).code).toBe(0);
      await expectOff();
    },
    RESTART_TIMEOUT_MS,
  );

  test('units uninstall leaves what the package has, and purging that leaves nothing', async () => {
    // Enabled, it came with the restart of the BMC, and who watches a chassis keeps its lines.
    await bmc.sh('systemctl stop chassis-power.service');
    const { code, stderr } = await program('units uninstall');
    expect(code, stderr).toBe(0);
    const places =
      '/usr/lib/systemd /usr/lib/tmpfiles.d /usr/lib/sysusers.d /usr/share/dbus-1 /usr/bin /etc/systemd';
    const units = `find ${places} -name '*obmc*' -o -name 'op-*' -o -name 'chassis-power*' -o -name '*phosphor*'`;
    expect(
      await bmc.sh(`${units} | while read -r path; do dpkg -S "$path" >/dev/null || echo "$path"; done`),
    ).toBe('');

    await bmc.sh('dpkg --purge chassis-power 2>&1', { timeoutMs: TARGET_TIMEOUT_MS });
    const more = '/usr/lib/chassis-power /usr/share/chassis-power /var/lib/chassis-power /run/chassis-power';
    expect(await bmc.sh(`${units}; ls -d ${more} 2>/dev/null || true`)).toBe('');
    // Written by hand.
    expect(await bmc.sh('ls /etc/chassis-power')).toBe('board.json');
  });
});
