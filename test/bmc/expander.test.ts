/**
 * Lines that raise no interrupts, on the kernel's own driver of an I2C expander: the contract of watching, and the
 * program as a user installs it on a board whose pgood and good signals come in there.
 */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, inject, test } from 'vitest';
import { productVersion } from '../../deploy/deb.mjs';
import type { LineRef } from '../../hw/ports.ts';
import type { PortClient } from '../../mocks/wire/client.ts';
import { describeGpioWatching } from '../contract/gpio-contract.ts';
import { installAgent, startAgent } from './rig/agent.ts';
import { type Expander, startExpander } from './rig/expander.ts';
import { attachBmc, type Bmc } from './rig/guest.ts';
import { type Plant, startQmpPlant } from './rig/plant.ts';
import type { Level, Qmp } from './rig/qmp.ts';

const root = join(import.meta.dirname, '..', '..');
/** Node takes 5 to 15 s to start in the guest, more when the machine has other work. */
const PROGRAM_TIMEOUT_MS = 180_000;
/** A round of looks on the emulated bus and the way of its wake to this side. */
const SETTLE_MS = 40;
/** Lines of the expander. Plant lines that begin with X are its. */
const [PGOOD, GOOD_12V, GOOD_3V3, WATCHED] = [0, 1, 2, 3];

let bmc: Bmc;
let plantBmc: Bmc;
let expander: Expander;
let agent: PortClient;

beforeAll(async () => {
  bmc = await attachBmc(inject('bmc'));
  plantBmc = await attachBmc(inject('bmc'), { qmpSocket: 'plant' });
  // What the files before this one took is not taken by the program under test.
  await bmc.freeLines();
  expander = await startExpander(bmc);
  await installAgent(bmc);
  const folder = mkdtempSync(join(tmpdir(), 'expander-'));
  try {
    execFileSync(process.execPath, [join(root, 'deploy', 'package.mjs'), '--out', folder, 'armhf'], {
      stdio: ['ignore', 'ignore', 'inherit'],
      timeout: 600_000,
    });
    // As on a target without dpkg.
    const unpacked = join(folder, `chassis-power_${productVersion()}_armhf.tar.gz`);
    await bmc.copyIn(unpacked, '/tmp/chassis-power.tar.gz');
  } finally {
    rmSync(folder, { recursive: true });
  }
  await bmc.sh('tar -xzf /tmp/chassis-power.tar.gz -C /');
  agent = await startAgent(bmc, 'expander');
});

afterAll(async () => {
  await agent?.close();
  // Lines that stay exported keep the device from going.
  await bmc?.freeLines();
  await expander?.close();
  plantBmc?.close();
  bmc?.close();
});

const watched: LineRef = { chip: '6-0018', line: WATCHED };

describeGpioWatching('onoff on an I2C expander without interrupts', async () => ({
  backend: agent.gpio,
  world: {
    lines: { output: watched, input: watched, looked: watched },
    settle: async (ms = 0) => {
      await agent.call('ping');
      await delay(Math.max(ms, SETTLE_MS));
      await agent.call('ping');
    },
    levelSeenOutside: async () => ((Number(await bmc.sh(`i2cget -f -y 6 0x18 0`)) >> WATCHED) & 1 ? 1 : 0),
    drive: (_line, level) => expander.drive(WATCHED, level),
  },
  stories: 3,
}));

describe('a board whose pgood and good signals come in over an expander', () => {
  const BOARD = {
    name: 'expander',
    chassis: {
      0: {
        rails: {
          P12V: {
            enable: { chip: '1e780000.gpio', line: 'C0' },
            good: { chip: '6-0018', line: GOOD_12V },
            onTimeoutMs: 10_000,
            offTimeoutMs: 10_000,
          },
          P3V3: {
            enable: { chip: '1e780000.gpio', line: 'C1', active: 'low' },
            good: { chip: '6-0018', line: GOOD_3V3 },
            needs: ['P12V'],
            onTimeoutMs: 10_000,
            offTimeoutMs: 10_000,
          },
        },
        pgood: { chip: '6-0018', line: PGOOD, deglitchMs: 5, onTimeoutMs: 20_000, offTimeoutMs: 20_000 },
      },
    },
  };
  const BUS = 'org.openbmc.control.Power /org/openbmc/control/power0 org.openbmc.control.Power';
  let plant: Plant;

  /** The plant's lines that begin with X are pins of the expander. */
  const withExpander = (qmp: Qmp): Qmp => ({
    execute: (...args) => qmp.execute(...args),
    qomGet: (...args) => qmp.qomGet(...args),
    qomSet: (...args) => qmp.qomSet(...args),
    gpioLevel: (line) => qmp.gpioLevel(line),
    gpioDirection: (line) => qmp.gpioDirection(line),
    setGpioLevel: (line, level) =>
      line.startsWith('X') ? expander.drive(Number(line.slice(1)), level) : qmp.setGpioLevel(line, level),
    onEvent: (listener) => qmp.onEvent(listener),
    systemReset: () => qmp.systemReset(),
    quit: () => qmp.quit(),
    close: () => qmp.close(),
  });

  const asserted = async (gpio: string, on: Level) => (await bmc.qmp.gpioLevel(gpio)) === on;
  const setPower = (on: 0 | 1) =>
    bmc.exec(`busctl --timeout=120 call ${BUS} setPowerState i ${on}`, { timeoutMs: PROGRAM_TIMEOUT_MS });
  const journal = async () =>
    (await bmc.exec('journalctl -b -o short-monotonic -t chassis-power --no-pager | tail -n 40')).stdout;
  const eventually = async (what: string, holds: () => Promise<boolean> | boolean, withinMs: number) => {
    const deadlineMs = performance.now() + withinMs;
    while (!(await holds())) {
      if (performance.now() > deadlineMs)
        throw new Error(`not within ${withinMs} ms: ${what}\n${await journal()}`);
      await delay(20);
    }
  };
  /** Part of a core, and how often its threads went to sleep a second; both by the guest's clock, which runs 11 % slow. */
  const load = async (): Promise<{ cpu: number; sleeps: number }> => {
    const text = await bmc.sh(
      'pid=$(systemctl show -P MainPID chassis-power); ' +
        'look() { cut -d " " -f 14,15 /proc/$pid/stat; cat /proc/$pid/task/*/status | sed -n "s/^voluntary_ctxt_switches:[^0-9]*//p" | paste -sd+ | tr -d "\\n" | sed "s/$/\\n/"; cut -d " " -f 1 /proc/uptime; }; ' +
        'look; sleep 10; look',
    );
    const [ticks = '', sleeps = '', uptime = '', ticksAfter = '', sleepsAfter = '', uptimeAfter = ''] =
      text.split('\n');
    const sum = (numbers: string) =>
      numbers.split(/[ +]/).reduce((total, number) => total + Number(number), 0);
    const seconds = Number(uptimeAfter) - Number(uptime);
    return {
      cpu: (sum(ticksAfter) - sum(ticks)) / 100 / seconds,
      sleeps: (sum(sleepsAfter) - sum(sleeps)) / seconds,
    };
  };

  beforeAll(async () => {
    plant = await startQmpPlant(withExpander(plantBmc.qmp), {
      rails: [
        {
          rail: 'P12V',
          enable: { gpio: 'C0', active: 'high' },
          good: { gpio: `X${GOOD_12V}`, active: 'high' },
          needs: [],
          rampMs: 50,
          fallMs: 50,
        },
        {
          rail: 'P3V3',
          enable: { gpio: 'C1', active: 'low' },
          good: { gpio: `X${GOOD_3V3}`, active: 'high' },
          needs: ['P12V'],
          rampMs: 30,
          fallMs: 30,
        },
      ],
      pgood: { gpio: `X${PGOOD}`, active: 'high' },
      // Every look over QMP stops the guest for a moment; its rails have seconds.
      pollMs: 20,
    });
    await bmc.sh(
      `mkdir -p /etc/chassis-power; cat >/etc/chassis-power/board.json <<'EOF'\n${JSON.stringify(BOARD)}\nEOF`,
    );
    // A guest with much to do takes longer for a reload than the program waits.
    for (const command of ['chassis-power units install || systemctl daemon-reload', 'chassis-power off']) {
      const { code, stderr } = await bmc.exec(command, { timeoutMs: PROGRAM_TIMEOUT_MS });
      expect(code, stderr).toBe(0);
    }
    const { code } = await bmc.exec('systemctl start chassis-power.service', {
      timeoutMs: PROGRAM_TIMEOUT_MS,
    });
    expect(code, await journal()).toBe(0);
  });

  afterAll(async () => {
    await bmc.exec('systemctl stop chassis-power.service; chassis-power units uninstall', {
      timeoutMs: PROGRAM_TIMEOUT_MS,
    });
    await plant?.stop();
  });

  test('every power-on and every power-off of the resident service is carried out', async () => {
    for (let round = 0; round < 4; round += 1) {
      const on = await setPower(1);
      expect(on.code, `${on.stderr}\n${await journal()}`).toBe(0);
      expect([await asserted('C0', 1), await asserted('C1', 0)]).toEqual([true, true]);
      const off = await setPower(0);
      expect(off.code, `${off.stderr}\n${await journal()}`).toBe(0);
      expect([await asserted('C0', 1), await asserted('C1', 0)]).toEqual([false, false]);
    }
  });

  test('a pgood that falls takes everything down without a command', async () => {
    expect((await setPower(1)).code, await journal()).toBe(0);
    plant.change('P3V3', { neverGood: true });
    await eventually(
      'both enables are off',
      async () => !(await asserted('C0', 1)) && !(await asserted('C1', 0)),
      10_000,
    );
    plant.change('P3V3', { neverGood: false });
    await eventually(
      'pgood is 0 on the bus',
      async () => (await bmc.sh(`busctl get-property ${BUS} pgood`)) === 'i 0',
      30_000,
    );
  });

  test('the service costs next to nothing while the chassis is off, and leaves most of a core alone while it is on', async () => {
    // What a loss starts has come to its end by then.
    await eventually(
      'the power-off target is active',
      async () => (await bmc.sh('systemctl is-active obmc-power-chassis-off@0.target || true')) === 'active',
      PROGRAM_TIMEOUT_MS,
    );
    await eventually(
      'no job is left',
      async () => (await bmc.sh('systemctl list-jobs --no-legend')) === '',
      PROGRAM_TIMEOUT_MS,
    );
    const off = await load();
    expect((await setPower(1)).code, await journal()).toBe(0);
    const on = await load();
    expect((await setPower(0)).code, await journal()).toBe(0);
    console.log(`load of the service on an expander: off ${JSON.stringify(off)}, on ${JSON.stringify(on)}`);
    // Far from both sides: 0.02 of a core and 9 sleeps a second where QEMU has the machine for itself, 1.07 and 923
    // where every look was one watcher's own. Time that other work takes from QEMU counts as the guest's.
    expect(off.cpu).toBeLessThan(0.4);
    expect(off.sleeps).toBeLessThan(100);
    expect(on.sleeps).toBeLessThan(600);
  });

  test('the lines are given back when the service has stopped: the character device has them then, and not before', async () => {
    const take = () => bmc.exec(`gpioget 6-0018 ${PGOOD} && gpioget 1e780000.gpio 16`);
    const release = () => bmc.exec('chassis-power release', { timeoutMs: PROGRAM_TIMEOUT_MS });
    expect((await take()).stderr).toMatch(/busy/i);
    const watched = await release();
    expect(watched.code, watched.stderr).toBe(75);
    expect(watched.stderr).toMatch(/watched by another process \(serve/);
    await bmc.sh('systemctl stop chassis-power.service');
    expect((await take()).stderr).toMatch(/busy/i);
    const { code, stdout, stderr } = await release();
    expect(code, stderr).toBe(0);
    expect(stdout).toMatch(/^chassis 0: 5 lines given back$/m);
    expect([await asserted('C0', 1), await asserted('C1', 0)]).toEqual([false, false]);
    const taken = await take();
    expect(taken.code, taken.stderr).toBe(0);
  });
});
