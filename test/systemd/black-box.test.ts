/** The last runs of a chassis, kept by the shipped units where they are kept on a BMC, and read after it. */
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { type Chassis, PLANT_SOCKET, putChassis, SIM } from './chassis.ts';
import { allowEventLog, loggedEntries, startLogging, stopLogging } from './event-log.ts';
import { bootMachine, skipped, titleSuffix } from './machine.ts';
import type { SystemdSandbox } from './rig.ts';

const START = 'obmc-chassis-start@0.target';
const OFF = 'obmc-power-chassis-off@0.target';
const STATE_DIR = '/var/lib/chassis-power';

describe.skipIf(skipped)(`the black box${titleSuffix}`, () => {
  let machine: SystemdSandbox;
  let chassis: Chassis;

  beforeAll(async () => {
    machine = await bootMachine();
    chassis = await putChassis(machine);
    const program = `${SIM} --plant ${PLANT_SOCKET} --systemd on --state-dir ${STATE_DIR}`;
    await machine.writeFile(
      '/usr/bin/chassis-power',
      `#!/bin/sh\nexec ${program} "$@" --run-dir /run/chassis-power\n`,
      '0755',
    );
    await chassis.units('install');
    await allowEventLog(machine);
    // The sandbox begins with the files of this machine, on which the program may have run.
    await machine.run(`rm -rf ${STATE_DIR}/*`);
  });
  afterAll(async () => {
    await machine?.stop();
  });
  afterEach(async () => {
    await machine.exec(`umount ${STATE_DIR}`);
    await stopLogging(machine);
    await chassis.reset();
    await machine.run(`rm -rf ${STATE_DIR}/*`);
  });

  const files = async () =>
    (await machine.run(`cd ${STATE_DIR} && find . -type f`)).trim().split('\n').filter(Boolean);
  const journal = () => machine.run('journalctl --sync; journalctl -t chassis-power -o cat');

  test('the two stages of a power on are one run with one file, and who asked is their units', async () => {
    await chassis.startPlant();
    expect(await machine.systemctl('start', START)).toMatchObject({ code: 0 });
    expect(await files()).toEqual([
      expect.stringMatching(/^\.\/chassis0-runs\/run-000001-[0-9a-f]{8}\.json$/),
    ]);
    const { stdout } = await chassis.command('trace');
    expect(stdout).toMatch(
      /^run 1 {2}.* UTC, this boot: start, wait-on by op-power-start@0\.service, op-wait-power-on@0\.service$/m,
    );
    expect(stdout).toMatch(/^ {2}ended: came to pgood$/m);
  });

  test('a failure is told after the boot in which it was, by fault show and by status', async () => {
    await chassis.startPlant({ faults: ['rail P1V8 never good'] });
    await startLogging(machine, chassis, 'answers');
    expect((await machine.systemctl('start', START)).code).not.toBe(0);
    // What is of the boot is gone, and the boot is another one.
    await machine.run(`systemctl stop ${OFF}; rm -rf /run/chassis-power/*`);
    await machine.run(
      `sed -i 's/"bootId":"[^"]*"/"bootId":"one before"/' ${STATE_DIR}/chassis0-runs/fault-*`,
    );
    const { stdout } = await chassis.command('fault show');
    expect(stdout).toMatch(/^run \d+ {2}.* UTC, an earlier boot: start by op-power-start@0\.service$/m);
    expect(stdout).toMatch(/^ {2}fault: rail P1V8 was not good within .* \(in op-power-start, rail P1V8\)$/m);
    expect((await chassis.command('status')).stdout).toMatch(
      /^ {2}last failure: run \d+ {2}.*an earlier boot.*: rail P1V8 was not good/m,
    );
    // And the event log has what the rail's signal said, from the stage itself.
    expect(await loggedEntries(machine)).toMatchObject([
      {
        name: 'xyz.openbmc_project.Power.Error.PowerSequencerVoltageFault',
        data: { RAIL_NAME: 'P1V8', GPIO_VALUE: '0', GPIO_LINE: expect.stringMatching(/^line /) },
      },
    ]);
  });

  test.each([
    [
      'full',
      'size=64k',
      `head -c 60000 /dev/zero > ${STATE_DIR}/other; head -c 9000 /dev/zero >> ${STATE_DIR}/other`,
    ],
    ['read-only', 'ro', 'true'],
  ])('a disk that is %s keeps no stage from switching, and is told', async (_, options, fill) => {
    await chassis.startPlant();
    await machine.run(`mount -t tmpfs -o ${options} none ${STATE_DIR}`);
    await machine.exec(fill);
    expect(await machine.systemctl('start', START)).toMatchObject({ code: 0 });
    await chassis.expectPowered();
    expect(await machine.systemctl('start', OFF)).toMatchObject({ code: 0 });
    await chassis.expectEveryEnableOff();
    expect(await journal()).toMatch(/the run of chassis 0 is not kept in .*: (ENOSPC|EROFS)$/m);
  });

  test('a state directory that cannot be there keeps neither a stage nor the service from starting', async () => {
    await chassis.startPlant();
    // Below a file nothing can be made: so it is with a disk that was never writable.
    await machine.run(`rm -rf ${STATE_DIR}; touch ${STATE_DIR}`);
    try {
      expect(await machine.systemctl('start', START)).toMatchObject({ code: 0 });
      expect(await machine.systemctl('start', 'chassis-power.service')).toMatchObject({ code: 0 });
      expect(await machine.systemctl('start', OFF)).toMatchObject({ code: 0 });
      await chassis.expectEveryEnableOff();
    } finally {
      await machine.run(`rm -f ${STATE_DIR}; mkdir ${STATE_DIR}`);
    }
  });
});
