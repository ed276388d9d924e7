/**
 * What the sandbox of the units opens and shuts on the kernel of a BMC: devices, sysfs, modules. The rest is in
 * `test/systemd/hardening.test.ts`. No program of ours is needed for it, only the units.
 */
import { dirname } from 'node:path';
import { afterAll, beforeAll, describe, expect, inject, test } from 'vitest';
import { shippedServices } from '../shipped-services.ts';
import { attachBmc, type Bmc } from './rig/guest.ts';

const SERVICES = await shippedServices();
const UNITS = SERVICES.map(({ name }) => name);
const HOST = 'obmc-start-host@.service';
/** Of a chassis that nothing else on this guest asks for. */
const instance = (unit: string) => unit.replace('@.', '@9.');
const OPENED_HOST = 'obmc-start-host@8.service';
/** Not in /usr, where units that are installed would be; the next boot knows nothing of it. */
const RUN_UNITS = '/run/systemd/system';
const PROBE_FOLDER = '/run/probe';

/** What the program needs, each as a command: a line, here one that no board uses, and a register of a regulator. */
const HARDWARE = {
  'take a GPIO line': [
    'for chip in /sys/class/gpio/gpiochip*; do [ "$(cat $chip/label)" = 1e780000.gpio ] && break; done',
    'line=$(($(cat $chip/base) + 120))',
    'echo $line >/sys/class/gpio/export',
    'echo in >/sys/class/gpio/gpio$line/direction',
    'echo $line >/sys/class/gpio/unexport',
  ].join(' && '),
  'read a register over I2C': 'i2cget -y 3 0x60 0x20',
};
/** What no unit needs. */
const ELSE = {
  'read a disk': 'head -c 1 /dev/mmcblk0',
  'open another character device': ': </dev/gpiochip0',
  'make a device node': 'mknod /tmp/node c 1 3 && rm /tmp/node',
  'load a module': 'modprobe pmbus_core && modprobe -r pmbus_core',
  'set up a device that is not on the chip': ': >>/sys/devices/virtual/net/lo/mtu',
  'change a kernel setting': ': >>/proc/sys/kernel/printk',
  'make a control group': 'mkdir /sys/fs/cgroup/probe && rmdir /sys/fs/cgroup/probe',
  'read the kernel log': 'dmesg',
  'name the machine': 'hostname "$(hostname)"',
};
const ATTEMPTS = Object.entries({ ...HARDWARE, ...ELSE });
const PROBE = ATTEMPTS.map(
  ([what, command]) =>
    `if (${command}) >/dev/null 2>&1; then echo "${what}: done"; else echo "${what}: refused"; fi`,
).join('\n');

const outcomes = (attempts: object, outcome: 'done' | 'refused') =>
  Object.keys(attempts).map((what) => `${what}: ${outcome}`);

describe('sandbox of the units', () => {
  let bmc: Bmc;

  beforeAll(async () => {
    bmc = await attachBmc(inject('bmc'));
    await bmc.sh(`mkdir ${PROBE_FOLDER} && cat >${PROBE_FOLDER}/probe.sh`, { stdin: PROBE });
    for (const { name: unit, text } of SERVICES) {
      await bmc.sh(`cat >${RUN_UNITS}/${unit}`, { stdin: text });
      await dropIn(`${unit}.d/probe.conf`, [
        ...['Type=oneshot', 'Restart=no', 'ExecStartPost=', 'ExecStart='],
        `ExecStart=/bin/sh ${PROBE_FOLDER}/probe.sh`,
        `StandardOutput=truncate:${PROBE_FOLDER}/%n`,
      ]);
    }
    await dropIn(`${OPENED_HOST}.d/opened.conf`, ['PrivateDevices=no', 'DeviceAllow=char-gpiochip rw']);
    // Once for all: it takes the guest seconds.
    await bmc.sh('systemctl daemon-reload');
  });

  afterAll(async () => {
    if (bmc === undefined) return;
    await bmc.sh(`systemctl stop ${[...UNITS.map(instance), OPENED_HOST].join(' ')}`);
    const files = [...UNITS, `${OPENED_HOST}.d`, ...UNITS.map((name) => `${name}.d`)];
    await bmc.sh(`cd ${RUN_UNITS} && rm -r ${files.join(' ')} ${PROBE_FOLDER} && systemctl daemon-reload`);
    bmc.close();
  });

  async function dropIn(path: string, service: readonly string[]): Promise<void> {
    await bmc.sh(`cd ${RUN_UNITS} && mkdir ${dirname(path)} && cat >${path}`, {
      stdin: ['[Service]', ...service, ''].join('\n'),
    });
  }

  /** What the probe is let do as the process of a unit, whose settings all stay but for how it is run. */
  async function probeIn(unit: string): Promise<string[]> {
    await bmc.sh(`systemctl restart --job-mode=ignore-dependencies ${unit}`);
    return (await bmc.sh(`cat ${PROBE_FOLDER}/${unit}`)).split('\n');
  }

  test('without the settings of the units every attempt succeeds', async () => {
    const printed = await bmc.sh(`systemd-run --quiet --wait --pipe /bin/sh ${PROBE_FOLDER}/probe.sh`);
    expect(printed.split('\n')).toEqual(outcomes({ ...HARDWARE, ...ELSE }, 'done'));
  });

  test.each(UNITS)('%s reaches what it needs and nothing else', async (unit) => {
    expect(await probeIn(instance(unit))).toEqual([
      ...outcomes(HARDWARE, unit === HOST ? 'refused' : 'done'),
      ...outcomes(ELSE, 'refused'),
    ]);
  });

  test('a drop-in opens a device to the host start', async () => {
    const opened = (await probeIn(OPENED_HOST)).filter((line) => line.endsWith(': done'));
    expect(opened).toEqual(['open another character device: done']);
  });
});
