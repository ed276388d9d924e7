/** The rows of `docs/failures.md` that hold beside phosphor-state-manager, played as those of `failures.test.ts` are. */
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { boardImpatientOfP1v8, type Chassis, putChassis } from './chassis.ts';
import { asShipped, CURRENT, patternOf, rowsOf } from './failure-rows.ts';
import { bootMachine, skipped, titleSuffix } from './machine.ts';
import type { SystemdSandbox } from './rig.ts';
import { putStateManager, type StateManager } from './state-manager.ts';

const ON = 'obmc-chassis-poweron@0.target';
const OFF = 'obmc-chassis-poweroff@0.target';
const SERVICE = 'chassis-power.service';
const SETTINGS = '/etc/systemd/system';
const ROWS = rowsOf(CURRENT);

describe.skipIf(skipped)(`failures beside phosphor-state-manager${titleSuffix}`, () => {
  let machine: SystemdSandbox;
  let chassis: Chassis;
  let stateManager: StateManager;

  beforeAll(async () => {
    machine = await bootMachine();
    chassis = await putChassis(machine, boardImpatientOfP1v8());
    stateManager = await putStateManager(machine);
    await machine.run('chassis-power units install --flavour current');
  });
  afterAll(async () => {
    await machine?.stop();
  });
  beforeEach(async () => {
    await machine.exec(`systemctl stop ${ON}`);
    await machine.run(
      `systemctl stop ${SERVICE}; rm -rf ${SETTINGS}/*.requires ${SETTINGS}/*.service.d ${SETTINGS}/other@.service
       systemctl daemon-reload; systemctl stop other@0.service ${OFF}; systemctl reset-failed`,
    );
    await chassis.stopPlant();
    await machine.run('rm -rf /run/chassis-power /run/openbmc');
    await stateManager.start({ autoReboot: true });
  });

  const start = (unit: string) => machine.systemctl('start', unit);
  const serving = async (...faults: string[]) => {
    await chassis.startPlant({ faults });
    expect(await start(SERVICE)).toMatchObject({ code: 0 });
  };
  const otherFails = async (order: string) => {
    await machine.writeFile(
      `${SETTINGS}/other@.service`,
      `[Unit]\n${order}\n[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/bin/false\n`,
    );
    await machine.run(
      `mkdir -p ${SETTINGS}/${ON}.requires; ln -s ../other@.service ${SETTINGS}/${ON}.requires/other@0.service; systemctl daemon-reload`,
    );
    await serving();
    await start(ON);
  };
  const said = async (sinceUs: number) =>
    (await machine.journal()).filter((entry) => Number(entry.__MONOTONIC_TIMESTAMP) > sinceUs);

  const scenarios: Readonly<Record<string, (sinceUs: number) => Promise<unknown>>> = {
    'a rail that never comes good': async () => {
      await serving('rail P1V8 never good');
      await start(ON);
    },
    'a rail that fails after setPowerState has answered': async () => {
      await machine.writeFile(
        `${SETTINGS}/obmc-power-start@0.service.d/answered.conf`,
        '[Service]\nExecStart=\nExecStart=/usr/bin/busctl --expect-reply=no call org.openbmc.control.Power /org/openbmc/control/power0 org.openbmc.control.Power setPowerState i 1\n',
      );
      await machine.run('systemctl daemon-reload');
      await serving('rail P1V8 never good');
      await start(ON);
    },
    'another unit of the power-on target that fails before the enables': () =>
      otherFails('Before=obmc-power-start-pre@%i.target'),
    'another unit of the power-on target that fails after pgood': () =>
      otherFails('After=phosphor-wait-power-on@%i.service\nBefore=obmc-power-start@%i.target'),
    'power that cannot be taken down after a loss': async (sinceUs) => {
      await serving();
      expect(await start(ON)).toMatchObject({ code: 0 });
      await chassis.addFault('enable P1V8 stuck on');
      await chassis.addFault('pgood stuck off');
      await chassis.until('systemd was told', async () =>
        (await said(sinceUs)).some(({ MESSAGE }) => /hard-poweroff@0\.target started/.test(String(MESSAGE))),
      );
    },
  };

  test('every row has its scenario, and every scenario its row', () => {
    expect(ROWS.map(({ name }) => name).sort()).toEqual(Object.keys(scenarios).sort());
  });

  for (const row of ROWS) {
    test(row.name, async () => {
      const sinceUs = Number((await machine.readFile('/proc/uptime')).split(' ')[0]) * 1_000_000;
      await scenarios[row.name]?.(sinceUs);
      await chassis.until('everything is at rest', async () => {
        const busy = await machine.exec(
          'systemctl list-jobs --no-legend; systemctl is-active obmc-powered-off@0.service',
        );
        return busy.stdout.trim() === 'inactive' || busy.stdout.trim() === 'failed';
      });

      const shown = async (unit: string, property: 'ActiveState' | 'ExecMainStatus') =>
        (await machine.showUnit(unit, [property]))[property];
      for (const [unit, state] of Object.entries(row.states)) {
        const target = /^(obmc-chassis|obmc-host)/.test(unit);
        const found = await shown(target ? `${unit}.target` : `${unit}.service`, 'ActiveState');
        expect([unit, found]).toEqual([unit, state]);
      }
      for (const [unit, code] of Object.entries(row.exits)) {
        expect([unit, await shown(`${unit}.service`, 'ExecMainStatus')]).toEqual([unit, String(code)]);
      }

      const lines = (await chassis.lines()).filter(({ role }) => role === 'enable');
      const on = lines.flatMap(({ rail, asserted }) => (asserted ? [rail] : []));
      const only = /^only `(\w+)` on$/.exec(row.enables)?.[1];
      expect(on).toEqual(only === undefined ? [] : [only.toUpperCase()]);
      if (only === undefined) expect(row.enables).toBe('every enable off');
      if (/no line moves/i.test(row.happens)) {
        expect(lines.map(({ changes }) => changes)).toEqual(lines.map(() => 0));
      }
      expect(await chassis.hazards()).toEqual([]);

      const entries = await said(sinceUs);
      const ours = entries.filter(({ SYSLOG_IDENTIFIER }) => SYSLOG_IDENTIFIER === 'chassis-power');
      const systemd = entries.filter(({ UNIT, MESSAGE }) => String(MESSAGE).startsWith(`${UNIT}: `));
      const found = {
        journal: asShipped(ours.map(({ MESSAGE }) => String(MESSAGE))),
        systemd: systemd.map(({ MESSAGE }) => String(MESSAGE)).join('\n'),
        printed: '',
      };
      for (const { source, line } of row.says) expect(found[source]).toMatch(patternOf(line));
      // Nobody starts a host again by himself.
      expect((await stateManager.did()).filter((what) => 'unit' in what)).toEqual([]);
    });
  }
});
