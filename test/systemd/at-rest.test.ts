/**
 * Whatever of a power on fails, and at whatever moment: when everything has come to rest nothing of ours is active over
 * a chassis that is off, no target says that there is power where there is none, and the next power on works. Both
 * flavours; beside phosphor-state-manager it routes a failure with OnFailureJobMode=fail, for which systemd drops the
 * stops of whatever has a conflict with power off.
 */
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { boardImpatientOfP1v8, type Chassis, putChassis } from './chassis.ts';
import { bootMachine, skipped, titleSuffix } from './machine.ts';
import type { SystemdSandbox } from './rig.ts';
import { putStateManager, type StateManager } from './state-manager.ts';

const SETTINGS = '/etc/systemd/system';
/** A unit of the power-on target that is not ours, at the place that a row says. */
const OTHER = 'other@.service';
const FAILS = '/run/other-fails';

interface Flavour {
  readonly name: 'legacy' | 'current';
  readonly on: string;
  readonly off: string;
  /** A request that leads to power on through other targets. */
  readonly hostOn: string;
  /** Units of ours, and targets, which say that there is power. */
  readonly saysOn: readonly string[];
  /** Where in the power on another unit fails, as lines of [Unit]. */
  readonly moments: Readonly<Record<string, string>>;
}

const FLAVOURS: readonly Flavour[] = [
  {
    name: 'legacy',
    on: 'obmc-power-chassis-on@0.target',
    off: 'obmc-power-chassis-off@0.target',
    hostOn: 'obmc-chassis-start@0.target',
    saysOn: [
      'obmc-power-chassis-on@0.target',
      'obmc-chassis-start@0.target',
      'op-power-start@0.service',
      'op-wait-power-on@0.service',
      'obmc-start-host@0.service',
    ],
    moments: {
      'before the enables': 'Before=op-power-start@%i.service',
      'between the enables and the wait':
        'After=op-power-start@%i.service\nBefore=op-wait-power-on@%i.service',
      'while pgood is waited for': 'After=op-power-start@%i.service',
      'after pgood': 'After=op-wait-power-on@%i.service',
    },
  },
  {
    name: 'current',
    on: 'obmc-chassis-poweron@0.target',
    off: 'obmc-chassis-poweroff@0.target',
    hostOn: 'obmc-host-start@0.target',
    saysOn: ['obmc-chassis-poweron@0.target', 'phosphor-wait-power-on@0.service'],
    moments: {
      'before anything': 'Before=obmc-power-start-pre@%i.target',
      'before the enables': 'After=obmc-power-start-pre@%i.target\nBefore=obmc-power-start@%i.service',
      'between the enables and the wait':
        'After=obmc-power-start@%i.service\nBefore=phosphor-wait-power-on@%i.service',
      'while pgood is waited for': 'After=obmc-power-start@%i.service',
      'after pgood': 'After=phosphor-wait-power-on@%i.service\nBefore=obmc-power-start@%i.target',
      'last of all': 'After=obmc-power-on@%i.target',
    },
  },
];

const FAILURES: Readonly<Record<string, string>> = {
  'exits with a failure': `ExecStart=/bin/sh -c '! test -e ${FAILS}'`,
  'runs into its timeout': `TimeoutStartSec=1\nExecStart=/bin/sh -c 'while test -e ${FAILS}; do sleep 0.1; done'`,
};

describe.skipIf(skipped).each(FLAVOURS)(
  `at rest after a power on that failed, $name names${titleSuffix}`,
  ({ name, on, off, hostOn, saysOn, moments }) => {
    let machine: SystemdSandbox;
    let chassis: Chassis;
    let stateManager: StateManager | undefined;

    beforeAll(async () => {
      machine = await bootMachine();
      chassis = await putChassis(machine, boardImpatientOfP1v8());
      if (name === 'current') stateManager = await putStateManager(machine);
      await machine.run(`chassis-power units install --flavour ${name}`);
    });
    afterAll(async () => {
      await machine?.stop();
    });
    beforeEach(async () => {
      await machine.exec(`systemctl stop ${on} ${hostOn}`);
      await machine.waitForJobs();
      await machine.run(
        `systemctl stop chassis-power.service; rm -rf ${SETTINGS}/*.requires ${SETTINGS}/*.service.d ${SETTINGS}/${OTHER} ${FAILS}
         systemctl daemon-reload; systemctl stop other@0.service ${off}; systemctl reset-failed`,
      );
      await chassis.stopPlant();
      await machine.run('rm -rf /run/chassis-power /run/openbmc');
      await stateManager?.start();
    });

    const active = async (units: readonly string[]) => {
      const shown = await machine.run(['systemctl', 'show', '--property=Id,ActiveState', ...units]);
      return shown
        .split('\n\n')
        .filter((block) => !/^ActiveState=(inactive|failed)$/m.test(block))
        .flatMap((block) => /^Id=(.*)$/m.exec(block)?.[1] ?? []);
    };
    const dropIn = async (unit: string, lines: string) =>
      machine.writeFile(`${SETTINGS}/${unit}.d/test.conf`, `[Service]\n${lines}\n`);
    const start = async (unit: string) => (await machine.systemctl('start', unit)).code;
    const serving = async (faults: readonly string[] = []) => {
      await chassis.startPlant({ faults });
      expect(await start('chassis-power.service')).toBe(0);
    };

    /** Nothing is queued, and no unit is about to start one. */
    const comesToRest = () =>
      chassis.until('everything is at rest', async () => {
        const busy = await machine.run(
          "systemctl list-jobs --no-legend; systemctl list-units --no-legend --plain --state=activating,deactivating,reloading; systemctl is-active -q 'obmc-powered-off@0.service' 'phosphor-reboot-host@0.service' && echo busy; true",
        );
        return busy.trim() === '';
      });
    const expectOff = async () => {
      await chassis.expectEveryEnableOff();
      expect(await active(saysOn)).toEqual([]);
    };
    const expectOffEverywhere = async () => {
      await expectOff();
      expect(await active([off])).toEqual([off]);
      if (stateManager) expect(await stateManager.powerState()).toBe('Off');
    };
    const expectNextOneWorks = async () => {
      expect(await start(on)).toBe(0);
      await chassis.expectPowered();
      expect(await active([on])).toEqual([on]);
      if (stateManager) {
        await chassis.until('its state is On', async () => (await stateManager?.powerState()) === 'On');
      }
      expect(await chassis.hazards()).toEqual([]);
    };

    const rows = Object.entries(moments).flatMap(([moment, order], index) => {
      const how = Object.keys(FAILURES)[index % 2] ?? '';
      const request = index % 3 === 2 ? hostOn : on;
      return [{ moment, order, how, request }];
    });
    test.each(rows)('another unit of $request $how $moment', async ({ order, how, request }) => {
      await machine.writeFile(
        `${SETTINGS}/${OTHER}`,
        `[Unit]\n${order}\nConflicts=${off}\nAfter=${off}\n[Service]\nType=oneshot\nRemainAfterExit=yes\n${FAILURES[how]}\n`,
      );
      await machine.run(
        `mkdir ${SETTINGS}/${on}.requires; ln -s ../${OTHER} ${SETTINGS}/${on}.requires/other@0.service; touch ${FAILS}; systemctl daemon-reload`,
      );
      await serving();
      expect(await start(request)).not.toBe(0);
      if (stateManager && request === hostOn) {
        // A quiesced host and power off exclude each other there, so that the target of power off does not stay.
        await chassis.until(
          'the host is quiesced for good',
          async () =>
            (await stateManager?.did())?.some(({ CurrentHostState }) => CurrentHostState === 'Quiesced') ??
            false,
        );
        await comesToRest();
        await expectOff();
      } else {
        await comesToRest();
        await expectOffEverywhere();
      }
      await machine.run(`rm ${FAILS}`);
      await expectNextOneWorks();
    });

    test('a rail fails', async () => {
      await serving(['rail P1V8 never good']);
      expect(await start(on)).not.toBe(0);
      await comesToRest();
      await expectOffEverywhere();
      await machine.run('systemctl stop chassis-power.service');
      await chassis.stopPlant();
      await serving();
      await expectNextOneWorks();
    });

    // Only there a unit asks by setPowerState.
    if (name !== 'current') return;
    test('a rail fails after setPowerState has answered', async () => {
      // As when a power on needs longer than a caller waits.
      await dropIn(
        'obmc-power-start@0.service',
        'ExecStart=\nExecStart=/usr/bin/busctl --expect-reply=no call org.openbmc.control.Power /org/openbmc/control/power0 org.openbmc.control.Power setPowerState i 1',
      );
      await machine.run('systemctl daemon-reload');
      await serving(['rail P1V8 never good']);
      expect(await start(on)).not.toBe(0);
      await comesToRest();
      await expectOffEverywhere();
      await machine.run('systemctl stop chassis-power.service');
      await chassis.stopPlant();
      await serving();
      await expectNextOneWorks();
    });
  },
);
