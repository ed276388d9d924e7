/**
 * What is left when something ends that should not have: a killed stage, a full /run, a fault outside of
 * any unit, a BMC that starts under a running chassis. Real systemd, the real command line, a simulated chassis.
 */
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { type Chassis, patientBoard, putChassis } from './chassis.ts';
import { bootMachine, skipped, states, titleSuffix } from './machine.ts';
import type { SystemdSandbox } from './rig.ts';

/** Long enough for somebody to come meanwhile, short of the board's deadlines. */
const RAIL_SLOW = 'rail P12V slow 3s';
const RAIL_NEVER_GOOD = 'rail P1V8 never good';
const ENABLE_STUCK_ON = 'enable P5V stuck on 1ms after good';
const OFF_AND_QUIESCED = {
  'obmc-chassis-start': 'inactive',
  'obmc-power-chassis-on': 'inactive',
  'obmc-power-chassis-off': 'active',
  'obmc-quiesce-host': 'active',
};

describe.skipIf(skipped)(`recovery${titleSuffix}`, () => {
  let machine: SystemdSandbox;
  let chassis: Chassis;

  beforeAll(async () => {
    machine = await bootMachine();
    chassis = await putChassis(machine, JSON.stringify(patientBoard()));
    await chassis.units('install');
  });
  afterAll(async () => {
    await machine?.stop();
  });
  beforeEach(() => chassis.reset());

  const start = (unit: string) => machine.systemctl('start', unit);
  const startOnly = (unit: string) => machine.systemctl('start', '--no-block', unit);
  const rising = () =>
    chassis.until('an enable is asserted', async () => (await chassis.asserted('enable')).includes(true));
  const pgood = () =>
    chassis.until('pgood stands', async () => (await chassis.asserted('pgood'))[0] === true);
  const said = async (unit: string) =>
    (await machine.journal(unit)).map((entry) => String(entry.MESSAGE)).join('\n');
  const status = async () => JSON.parse((await chassis.command('status --json')).stdout);

  describe('a stage that ends on its own', () => {
    test.each([
      ['kill -9', 'KILL', 'op-power-start', RAIL_SLOW, rising],
      ['kill -9', 'KILL', 'op-wait-power-on', 'pgood never', rising],
      ['SIGTERM', 'TERM', 'op-power-start', RAIL_SLOW, rising],
      ['SIGTERM', 'TERM', 'op-wait-power-on', 'pgood never', rising],
    ] as const)(
      '%s (%s) of %s: power off and quiesce are reached',
      async (_, signal, stage, fault, begun) => {
        await chassis.startPlant({ faults: [fault] });
        await startOnly('obmc-chassis-start@0.target');
        await begun();
        const unit = `${stage}@0.service`;
        await chassis.until(
          `${stage} runs`,
          async () => (await machine.showUnit(unit, ['ActiveState'])).ActiveState === 'activating',
        );
        if (stage === 'op-wait-power-on') {
          await chassis.until('it waits', async () => (await said(unit)).includes('lines read'));
        }

        await machine.systemctl('kill', `--signal=${signal}`, unit);
        await chassis.until('power off is reached', async () => {
          return (await states(machine))['obmc-power-chassis-off'] === 'active';
        });
        await machine.waitForJobs();

        await chassis.expectEveryEnableOff();
        expect(await chassis.hazards()).toEqual([]);
        expect(await states(machine)).toMatchObject(OFF_AND_QUIESCED);
        // And the next start works.
        await chassis.stopPlant();
        await chassis.startPlant();
        expect(await start('obmc-chassis-start@0.target')).toMatchObject({ code: 0 });
        await chassis.expectPowered();
      },
    );

    test('kill -9 of op-power-stop: quiesce is reached, and the next power off finishes it', async () => {
      await chassis.startPlant({ faults: ['rail PVCORE slow off 4s'] });
      await start('obmc-chassis-start@0.target');
      await startOnly('obmc-chassis-stop@0.target');
      await chassis.until('an enable is taken away', async () =>
        (await chassis.asserted('enable')).includes(false),
      );

      await machine.systemctl('kill', '--signal=KILL', 'op-power-stop@0.service');
      await machine.waitForJobs();
      expect(await states(machine)).toMatchObject({
        'obmc-power-chassis-off': 'inactive',
        'obmc-quiesce-host': 'active',
      });

      expect(await start('obmc-chassis-stop@0.target')).toMatchObject({ code: 0 });
      await chassis.expectEveryEnableOff();
      expect(await chassis.hazards()).toEqual([]);
    });
  });

  describe('a full /run', () => {
    test('on and off work without a place for the state, and say so', async () => {
      await chassis.startPlant();
      await machine.run(
        'mkdir -p /run/chassis-power && mount -t tmpfs -o size=64k full /run/chassis-power && ' +
          '! dd if=/dev/zero of=/run/chassis-power/ballast bs=4k count=64 2>/dev/null',
      );
      try {
        expect(await start('obmc-chassis-start@0.target')).toMatchObject({ code: 0 });
        await chassis.expectPowered();
        expect(await said('op-power-start@0.service')).toMatch(/could not be written.*ENOSPC/);
        expect(await start('obmc-chassis-stop@0.target')).toMatchObject({ code: 0 });
        await chassis.expectEveryEnableOff();
        expect(await chassis.hazards()).toEqual([]);
      } finally {
        await machine.run('umount /run/chassis-power');
      }
    });

    test('not even room for the lock: power off works all the same', async () => {
      await chassis.startPlant();
      await start('obmc-chassis-start@0.target');
      await machine.run(
        'rm -rf /run/chassis-power/*; mount -t tmpfs -o size=64k,nr_inodes=1 full /run/chassis-power',
      );
      try {
        const byHand = await chassis.command('off');
        expect(byHand).toMatchObject({ code: 0 });
        expect(byHand.stderr).toMatch(/ENOSPC.*powering off without a lock/);
        await chassis.expectEveryEnableOff();
      } finally {
        await machine.run('umount /run/chassis-power');
      }
    });
  });

  describe('what happens outside of any unit', () => {
    test('a power on from the command line that fails reaches power off and quiesce', async () => {
      await chassis.startPlant({ faults: [RAIL_NEVER_GOOD] });

      const byHand = await chassis.command('on');

      expect(byHand.code).toBe(101);
      expect(byHand.stdout).toMatch('systemd was told: obmc-power-chassis-off@0.target started');
      expect(byHand.stdout).toMatch('systemd was told: obmc-quiesce-host@0.target started');
      await chassis.expectEveryEnableOff();
      expect(await states(machine)).toMatchObject(OFF_AND_QUIESCED);
    });

    test('a power off from the command line that fails reaches quiesce and stops there', async () => {
      await chassis.startPlant({ faults: [ENABLE_STUCK_ON] });
      await start('obmc-chassis-start@0.target');

      const byHand = await chassis.command('off');

      // The line does not follow: that is what is told, and what stays on.
      expect(byHand.code).toBe(74);
      expect(byHand.stderr).toMatch(/POWER IS STILL APPLIED \(rail P5V/);
      expect(await states(machine)).toMatchObject({
        'obmc-power-chassis-off': 'inactive',
        'obmc-quiesce-host': 'active',
        'obmc-start-host': 'inactive',
      });
    });

    test('pgood lost while on, found by the next command: power goes down, and systemd knows', async () => {
      await chassis.startPlant();
      await start('obmc-chassis-start@0.target');
      await chassis.addFault('rail P1V8 droops');
      await chassis.until('pgood is gone', async () => (await chassis.asserted('pgood'))[0] === false);

      const found = await chassis.command('wait-on');

      expect([101, 102]).toContain(found.code);
      await chassis.expectEveryEnableOff();
      expect(await states(machine)).toMatchObject({ ...OFF_AND_QUIESCED, 'obmc-start-host': 'inactive' });
    });

    test('a power off from the command line: systemd does not take the chassis for on', async () => {
      await chassis.startPlant();
      expect(await start('obmc-chassis-start@0.target')).toMatchObject({ code: 0 });

      const byHand = await chassis.command('off');

      expect(byHand.code, byHand.stderr).toBe(0);
      expect(byHand.stdout + byHand.stderr).toMatch(
        'systemd was told: obmc-power-chassis-off@0.target started',
      );

      expect(await states(machine)).toMatchObject({
        'obmc-power-chassis-on': 'inactive',
        'obmc-power-chassis-off': 'active',
        'obmc-quiesce-host': 'inactive',
      });
      expect(await start('obmc-chassis-start@0.target')).toMatchObject({ code: 0 });
      await chassis.expectPowered();
    });

    test('without a bus a fault is told, and that systemd does not know of it', async () => {
      await chassis.startPlant({ faults: [RAIL_NEVER_GOOD] });
      await machine.run('systemctl stop dbus.socket dbus.service');
      try {
        const byHand = await chassis.command('on');
        expect(byHand.code).toBe(101);
        expect(byHand.stderr).toMatch(
          /systemd could not be told: .*D-Bus system bus.*check that dbus\.service runs/,
        );
        await chassis.expectEveryEnableOff();
      } finally {
        await machine.run('systemctl start dbus.socket dbus.service');
      }
    });
  });

  describe('a BMC that starts', () => {
    const restarted = () => machine.run('rm -rf /run/chassis-power; mkdir -p /run/openbmc');
    const lookAgain = () => machine.systemctl('restart', 'obmc-chassis-reset@0.target');

    test('under a chassis that is on: no line moves, the units are active, status says pgood', async () => {
      await chassis.startPlant({ initially: 'on' });
      await restarted();
      const before = await chassis.lines();

      expect(await start('obmc-chassis-reset@0.target')).toMatchObject({ code: 0 });

      expect(await chassis.lines()).toEqual(before);
      expect(await states(machine)).toMatchObject({
        'obmc-power-chassis-on': 'active',
        'op-power-start': 'active',
        'op-wait-power-on': 'active',
        'obmc-power-chassis-off': 'inactive',
        'obmc-quiesce-host': 'inactive',
      });
      expect(await status()).toMatchObject({ state: 'pgood', contradictions: [] });
      // For the units of the image that skip themselves then, until power is off.
      await machine.run('test -e /run/openbmc/chassis@0-on');
      expect(await start('obmc-chassis-stop@0.target')).toMatchObject({ code: 0 });
      await machine.run('test ! -e /run/openbmc/chassis@0-on');
    });

    test('under a chassis that is on, whose device is busy at first: it is read again, and the units are active', async () => {
      await chassis.startPlant({ initially: 'on', faults: ['i2c vr_ddr nack 2 times'] });
      await restarted();

      expect(await start('obmc-chassis-reset@0.target')).toMatchObject({ code: 0 });

      expect(await states(machine)).toMatchObject({
        'obmc-power-chassis-on': 'active',
        'op-power-start': 'active',
        'op-wait-power-on': 'active',
        'obmc-quiesce-host': 'inactive',
      });
      expect(await said('op-reset-chassis-on@0.service')).toMatch(/nothing acknowledges.*: reading again/);
    });

    test('under a chassis that is on, whose device is busy when the stages ask: the host keeps its power', async () => {
      await chassis.startPlant({ initially: 'on', faults: ['i2c vr_ddr nack 2 times'] });
      await restarted();
      const before = await chassis.lines();

      expect(await start('obmc-power-chassis-on@0.target')).toMatchObject({ code: 0 });

      expect(await states(machine)).toMatchObject({
        'op-power-start': 'active',
        'op-wait-power-on': 'active',
        'obmc-quiesce-host': 'inactive',
      });
      expect(await said('op-power-start@0.service')).toMatch(
        /nothing acknowledges.*: pgood stands, reading again/,
      );
      expect(await chassis.lines()).toEqual(before);
    });

    test('under a chassis that is off: nothing is started', async () => {
      await chassis.startPlant();
      await restarted();

      expect(await start('obmc-chassis-reset@0.target')).toMatchObject({ code: 0 });

      expect(await states(machine)).toMatchObject({
        'obmc-power-chassis-on': 'inactive',
        'obmc-power-chassis-off': 'inactive',
        'obmc-quiesce-host': 'inactive',
      });
    });

    test('under a chassis whose lines contradict each other: told, and nothing is switched', async () => {
      await chassis.startPlant({ faults: ['pgood stuck on'] });
      await restarted();
      const before = await chassis.lines();

      expect((await start('obmc-chassis-reset@0.target')).code).not.toBe(0);
      await machine.waitForJobs();

      expect(await chassis.lines()).toEqual(before);
      expect(await states(machine)).toMatchObject({
        'obmc-power-chassis-on': 'inactive',
        'obmc-power-chassis-off': 'inactive',
        'obmc-quiesce-host': 'active',
      });
      expect(await said('op-reset-chassis-on@0.service')).toMatch(
        /neither on nor off .*pgood stands, 0 of 6 rails are enabled.*nothing was switched/,
      );
    });

    test('with a marker that went stale: the next power on skips nothing', async () => {
      await chassis.startPlant();
      await restarted();
      await machine.run('touch /run/openbmc/chassis@0-on');

      expect(await start('obmc-chassis-start@0.target')).toMatchObject({ code: 0 });

      await chassis.expectPowered();
    });

    test('a marker of a chassis that is off is removed', async () => {
      await chassis.startPlant();
      await restarted();
      await machine.run('touch /run/openbmc/chassis@0-on');

      await start('obmc-chassis-reset@0.target');

      await machine.run('test ! -e /run/openbmc/chassis@0-on');
    });

    test('a service stack that restarts under a chassis that is on: no line moves', async () => {
      await chassis.startPlant();
      await start('obmc-chassis-start@0.target');
      const before = await chassis.lines();

      await machine.run('systemctl daemon-reexec; systemctl restart dbus.service');
      await machine.systemctl('stop', 'obmc-chassis-start@0.target', 'obmc-power-chassis-on@0.target');
      expect(await lookAgain()).toMatchObject({ code: 0 });

      expect(await chassis.lines()).toEqual(before);
      expect(await states(machine)).toMatchObject({ 'obmc-power-chassis-on': 'active' });
      expect(await status()).toMatchObject({ state: 'pgood' });
    });

    test('while somebody powers the chassis on: left to him', async () => {
      await chassis.startPlant({ faults: [RAIL_SLOW] });
      await startOnly('obmc-chassis-start@0.target');
      await rising();

      expect(await start('obmc-chassis-reset@0.target')).toMatchObject({ code: 0 });

      await pgood();
      await machine.waitForJobs();
      await chassis.expectPowered();
      expect(await states(machine)).toMatchObject({ 'obmc-chassis-start': 'active' });
    });

    test('multi-user.target wants the look, without an ordering cycle', async () => {
      await chassis.startPlant({ initially: 'on' });
      await restarted();
      await machine.systemctl('stop', 'obmc-chassis-reset@0.target');

      // As at boot: what the default target wants is started with it, and standby after it.
      await machine.run('systemctl start --no-block multi-user.target obmc-standby.target');
      await chassis.until('the chassis is adopted', async () => {
        return (await states(machine))['obmc-power-chassis-on'] === 'active';
      });
      await machine.waitForJobs();

      const lines = (await machine.journal()).map((entry) => String(entry.MESSAGE));
      expect(lines.filter((line) => /ordering cycle/i.test(line))).toEqual([]);
    });
  });
});
