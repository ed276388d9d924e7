/** The rig itself: what the other tests on the emulated BMC take for granted. */
import { randomBytes } from 'node:crypto';
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { afterAll, beforeAll, describe, expect, inject, test } from 'vitest';
import { attachBmc, type Bmc } from './rig/guest.ts';
import { startQmpPlant } from './rig/plant.ts';
import { connectQmp } from './rig/qmp.ts';

const CHIP = '1e780000.gpio';

let bmc: Bmc;

beforeAll(async () => {
  bmc = await attachBmc(inject('bmc'));
  // Shell functions for the tests: `line C0` is the sysfs number of a port line, `out C0 1` exports and drives it.
  await bmc.sh(`cat >/tmp/gpio.sh <<'END'
cd /sys/class/gpio
for chip in gpiochip*; do [ "$(cat $chip/label)" = ${CHIP} ] && base=$(cat $chip/base); done
line() { letter=$(printf %d "'$1"); echo $((base + (letter - 65) * 8 + \${1#?})); }
claim() { n=$(line $1); [ -e gpio$n ] || echo $n >export; }
out() { claim $1; case $2 in 1) echo high;; *) echo low;; esac >gpio$n/direction; }
read_line() { claim $1; cat gpio$n/value; }
END`);
});

afterAll(async () => {
  await bmc?.freeLines();
  bmc?.close();
});

const gpio = (script: string) => bmc.sh(`. /tmp/gpio.sh; ${script}`);

async function eventually<T>(read: () => T | Promise<T>, wanted: T, withinMs = 5_000): Promise<void> {
  const deadline = Date.now() + withinMs;
  for (;;) {
    const seen = await read();
    if (Object.is(seen, wanted)) return;
    if (Date.now() > deadline) expect(seen, `after ${withinMs} ms`).toBe(wanted);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

describe('commands', () => {
  test.each([0, 1, 42, 255])('exit code %i comes back', async (code) => {
    expect(await bmc.exec(`exit ${code}`)).toEqual({ code, stdout: '', stderr: '' });
  });

  test('stdout and stderr are kept apart', async () => {
    expect(await bmc.exec('echo to out; echo to err >&2; exit 7')).toEqual({
      code: 7,
      stdout: 'to out\n',
      stderr: 'to err\n',
    });
  });

  test('a signal is 128 + its number', async () => {
    expect((await bmc.exec('kill -TERM $$')).code).toBe(143);
  });

  test('bytes pass unchanged both ways', async () => {
    const bytes = randomBytes(300_000);
    const { stdout, code } = await bmc.execBytes('cat', { stdin: bytes });
    expect(code).toBe(0);
    expect(stdout.equals(bytes)).toBe(true);
  });

  test('a command that leaves its input unread ends as it wants', async () => {
    expect((await bmc.exec('exec <&-; sleep 1; exit 3', { stdin: randomBytes(300_000) })).code).toBe(3);
  });

  test('the time limit rejects and kills what the command started', async () => {
    await expect(bmc.exec('echo busy >&2; sleep 987 & sleep 987', { timeoutMs: 3_000 })).rejects.toThrow(
      /still ran after 3000 ms.*\n.*busy/,
    );
    await eventually(async () => (await bmc.exec('pgrep -f "^sleep 987"')).code, 1);
  });

  test('a process left behind does not hold the answer back', async () => {
    const startMs = Date.now();
    expect((await bmc.exec('sleep 60 & echo started')).stdout).toBe('started\n');
    expect(Date.now() - startMs).toBeLessThan(30_000);
  });

  test('sh() shows why a command failed', async () => {
    await expect(bmc.sh('ls /no/such/file')).rejects.toThrow(
      /exit code 2 .*ls \/no\/such\/file\n.*No such file/,
    );
  });
});

test('copyIn brings content and mode', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'rig-test-'));
  try {
    const file = join(folder, 'tool');
    writeFileSync(file, '#!/bin/sh\necho "it runs: $1"\n');
    chmodSync(file, 0o750);
    await bmc.copyIn(file, "/opt/a folder/it's a tool");
    expect(await bmc.sh(`'/opt/a folder/it'\\''s a tool' here; stat -c %a /opt/*/*tool`)).toBe(
      'it runs: here\n750',
    );
  } finally {
    rmSync(folder, { recursive: true });
  }
});

describe('streams', () => {
  test('JSON lines to a Node process and back', async () => {
    const agent = await bmc.spawnStream(
      `exec node -e 'require("readline").createInterface({ input: process.stdin }).on("line", (line) => console.log(JSON.stringify({ got: JSON.parse(line) })))'`,
    );
    const lines = createInterface({ input: agent })[Symbol.asyncIterator]();
    for (const n of [1, 2, 3]) {
      agent.write(`${JSON.stringify({ n })}\n`);
      expect(JSON.parse((await lines.next()).value ?? '')).toEqual({ got: { n } });
    }
    agent.end();
    expect(await agent.exited).toBe(0);
  });

  test('destroying a stream kills its process', async () => {
    const stream = await bmc.spawnStream('exec sleep 986');
    await eventually(async () => (await bmc.exec('pgrep -f "^sleep 986"')).code, 0);
    stream.destroy();
    await expect(stream.exited).rejects.toThrow();
    await eventually(async () => (await bmc.exec('pgrep -f "^sleep 986"')).code, 1);
  });

  test('its stderr is kept', async () => {
    const stream = await bmc.spawnStream('echo careful >&2; exit 5');
    stream.resume();
    expect(await stream.exited).toBe(5);
    expect(stream.stderr.toString()).toBe('careful\n');
  });
});

describe('GPIO', () => {
  test('port lines are letter * 8 + number of the 208-line chip', async () => {
    const numbers = await gpio(`echo $base $(cat gpiochip$base/ngpio) $(line A0) $(line C0) $(line Z7)`);
    const [base = 0, lines, a0, c0, z7] = numbers.split(' ').map(Number);
    expect([lines, a0, c0, z7]).toEqual([208, base, base + 16, base + 207]);
  });

  test('what the guest drives is seen over QMP, and outlives the process that set it', async () => {
    for (const level of [0, 1, 0, 1] as const) {
      await gpio(`out C0 ${level}`);
      expect(await bmc.qmp.gpioLevel('C0')).toBe(level);
    }
    expect(await gpio('n=$(line C0); cat gpio$n/direction gpio$n/value')).toBe('out\n1');
    await gpio('out C0 0');
  });

  // If this fails, QEMU has learned to latch: take the remark about it out of rig/guest.ts.
  test('a first claim as high gives a low output, unless the line was high as an input', async () => {
    await bmc.qmp.setGpioLevel('D4', 0);
    await bmc.qmp.setGpioLevel('D5', 1);
    expect(await bmc.qmp.gpioDirection('D4')).toBe('in');
    // In this order: the next write to any line of the four ports brings the level of D4 too.
    await gpio('out D5 1; out D4 1');
    expect(await bmc.qmp.gpioDirection('D4')).toBe('out');
    expect([await bmc.qmp.gpioLevel('D4'), await bmc.qmp.gpioLevel('D5')]).toEqual([0, 1]);
    await gpio('out D4 1');
    expect(await bmc.qmp.gpioLevel('D4')).toBe(1);
  });

  test('what is put on an input over QMP is seen in the guest, and wakes who waits for an edge', async () => {
    await bmc.qmp.setGpioLevel('B0', 0);
    expect(await gpio('read_line B0')).toBe('0');
    await bmc.qmp.setGpioLevel('B0', 1);
    expect(await gpio('read_line B0')).toBe('1');

    const monitor = await bmc.spawnStream(
      'exec gpiomon --num-events=1 --falling-edge --format=%e gpiochip0 10',
    );
    monitor.resume();
    await bmc.qmp.setGpioLevel('B2', 1);
    // A line that no program here exports, which would keep it from the monitor.
    // It does not tell when it listens: edges are made until it has seen one.
    const ended = monitor.exited.then(() => true);
    for (let edges = 0; edges < 100; edges++) {
      await bmc.qmp.setGpioLevel('B2', 1);
      await bmc.qmp.setGpioLevel('B2', 0);
      if (await Promise.race([ended, new Promise((resolve) => setTimeout(resolve, 100))])) break;
    }
    expect(await monitor.exited).toBe(0);
  });
});

describe('PMBus', () => {
  test('telemetry set over QMP is read in the guest', async () => {
    await bmc.qmp.qomSet('/machine/peripheral/vr0', 'vout[0]', 1_234);
    expect(Number(await bmc.sh('i2cset -y 3 0x60 0x00 0; i2cget -y 3 0x60 0x8b w'))).toBe(1_234);
    await bmc.qmp.qomSet('/machine/peripheral/psm0', 'vout[2]', 3_300);
    expect(Number(await bmc.sh('i2cset -y 5 0x74 0x00 2; i2cget -y 5 0x74 0x8b w'))).toBe(3_300);
  });

  test('OPERATION is read back as it was written', async () => {
    await bmc.sh('i2cset -y 3 0x60 0x00 0; i2cset -y 3 0x60 0x01 0x40');
    expect(await bmc.sh('i2cget -y 3 0x60 0x01 b')).toBe('0x40');
    await bmc.sh('i2cset -y 3 0x60 0x01 0x80');
  });

  test('an address without a device answers ENXIO', async () => {
    const { code, stderr } = await bmc.exec('i2ctransfer -y 3 w1@0x31 0x00');
    expect(code).not.toBe(0);
    expect(stderr).toMatch(/No such device or address/);
  });
});

describe('QMP', () => {
  test('an error of QEMU is the error of the call, and the connection goes on', async () => {
    await expect(bmc.qmp.qomGet('/machine/nothing', 'here')).rejects.toThrow(/qom-get/);
    await expect(bmc.qmp.execute('query-status')).resolves.toMatchObject({ running: true });
  });

  test('a connection that ends rejects what is asked of it', async () => {
    const qmp = await connectQmp(bmc.handle.qmpSockets.plant);
    const pending = qmp.execute('query-status');
    qmp.close();
    await expect(pending).rejects.toThrow(/is lost/);
    await expect(qmp.execute('query-status')).rejects.toThrow(/is lost/);
  });
});

describe('plant', () => {
  const wiring = {
    rails: [
      {
        rail: 'p12v',
        enable: { gpio: 'C0', active: 'high' },
        good: { gpio: 'B2', active: 'high' },
        needs: [],
        rampMs: 100,
        fallMs: 50,
      },
      {
        rail: 'vdd',
        enable: { gpio: 'C1', active: 'low' },
        vout: { path: '/machine/peripheral/vr0', property: 'vout[0]', volts: 0.9, off: 0.01 },
        needs: ['p12v'],
        rampMs: 100,
        fallMs: 50,
      },
    ],
    pgood: { gpio: 'B0', active: 'high' },
  } as const;

  test('rails rise in order, pgood follows, a broken rail takes it away', async () => {
    await gpio('out C0 0; out C1 1');
    const qmp = await connectQmp(bmc.handle.qmpSockets.plant);
    const plant = await startQmpPlant(qmp, wiring);
    try {
      expect(plant.level('B0')).toBe(0);
      await gpio('out C1 0');
      await gpio('out C0 1');
      await eventually(() => plant.level('B0'), 1);
      expect(await gpio('read_line B0; read_line B2')).toBe('1\n1');
      expect(Number(await bmc.sh('i2cset -y 3 0x60 0x00 0; i2cget -y 3 0x60 0x8b w'))).toBe(900);
      const at = (what: string, level: 0 | 1) =>
        plant.history.find((event) => event.what === what && event.level === level)?.atMs ?? Number.NaN;
      // No times: when the plant sees an enable depends on what else the machine has to do.
      expect(at('B2', 1)).toBeGreaterThan(at('C0', 1));
      expect(at('vdd', 1)).toBeGreaterThan(at('B2', 1));

      plant.change('vdd', { neverGood: true });
      await eventually(() => plant.level('B0'), 0);
      expect(plant.level('B2')).toBe(1);
      plant.change('vdd', { neverGood: false });
      await eventually(() => plant.level('B0'), 1);

      plant.change('p12v', { stuckOn: true });
      await gpio('out C0 0');
      await gpio('out C1 1');
      await eventually(() => plant.charge('vdd'), 0);
      await eventually(() => plant.level('B0'), 0);
      expect(plant.level('B2')).toBe(1);
      plant.change('p12v', { stuckOn: false });
      await eventually(() => plant.level('B2'), 0);
    } finally {
      await plant.stop();
      qmp.close();
    }
  });

  test('OPERATION switches a rail', async () => {
    const operation = (value: string) => bmc.sh(`i2cset -y 3 0x60 0x00 0; i2cset -y 3 0x60 0x01 ${value}`);
    const vout = async () => Number(await bmc.sh('i2cget -y 3 0x60 0x8b w'));
    await operation('0x00');
    const plant = await startQmpPlant(bmc.qmp, {
      rails: [
        {
          rail: 'vdd',
          enable: 'operation',
          vout: { path: '/machine/peripheral/vr0', property: 'vout[0]', volts: 0.9, off: 0.02 },
          needs: [],
          rampMs: 50,
          fallMs: 50,
        },
      ],
      pgood: { gpio: 'B0', active: 'high' },
    });
    try {
      expect([plant.level('B0'), await vout()]).toEqual([0, 20]);
      await operation('0x80');
      await eventually(() => plant.level('B0'), 1);
      expect(await vout()).toBe(900);
      await operation('0x00');
      await eventually(() => plant.level('B0'), 0);
      await operation('0x80');
      await eventually(() => plant.level('B0'), 1);
    } finally {
      await plant.stop();
    }
  });

  test('a reset of the BMC leaves a held chassis on, and the BMC finds the levels on its pins', async () => {
    await gpio('out C0 1; out C1 0');
    const qmp = await connectQmp(bmc.handle.qmpSockets.plant);
    const plant = await startQmpPlant(qmp, wiring);
    try {
      expect(plant.level('B0')).toBe(1);
      plant.hold();
      const before = await bmc.sh('cat /proc/sys/kernel/random/boot_id');
      await bmc.reboot();
      expect(await bmc.sh('cat /proc/sys/kernel/random/boot_id')).not.toBe(before);
      expect([plant.level('B0'), await bmc.qmp.gpioLevel('B0'), await bmc.qmp.gpioLevel('C0')]).toEqual([
        1, 1, 1,
      ]);
      const value = `cd /sys/class/gpio; for c in gpiochip*; do [ "$(cat $c/label)" = ${CHIP} ] && b=$(cat $c/base); done; for o in 8 16 17; do echo $((b+o)) >export; cat gpio$((b+o))/direction gpio$((b+o))/value; done`;
      expect(await bmc.sh(value)).toBe('in\n1\nin\n1\nin\n0');
    } finally {
      await plant.stop();
      qmp.close();
    }
  }, 420_000);
});
