/** What journalctl shows of the real program under the real units: fields, explanations, and each text once. */
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { MESSAGE_IDS } from '../../src/report/events.ts';
import { boardImpatientOfP1v8, type Chassis, PROGRAM, putChassis } from './chassis.ts';
import { bootMachine, skipped, titleSuffix } from './machine.ts';
import type { JournalEntry, SystemdSandbox } from './rig.ts';

const SERVICE = 'chassis-power.service';
const START = 'obmc-chassis-start@0.target';
const STOP = 'obmc-chassis-stop@0.target';
const START_STAGE = 'op-power-start@0.service';
const POWER = ['org.openbmc.control.Power', '/org/openbmc/control/power0', 'org.openbmc.control.Power'];

/** Whole numbers of milliseconds of which the machine was not busy for a minute. */
const MS = /^\d{1,5}$/;

describe.skipIf(skipped)(`the journal${titleSuffix}`, () => {
  let machine: SystemdSandbox;
  let chassis: Chassis;
  /** Where the journal stood when a test began. */
  let cursor = '';

  beforeAll(async () => {
    machine = await bootMachine();
    const board = JSON.parse(boardImpatientOfP1v8());
    board.chassis['0'].pgood.onTimeoutMs = 2000;
    chassis = await putChassis(machine, JSON.stringify(board));
    await chassis.units('install');
  });
  afterAll(async () => {
    await machine?.stop();
  });
  beforeEach(async () => {
    await chassis.reset();
    const shown = await machine.run('journalctl --sync && journalctl -n 1 --show-cursor -o cat');
    cursor = /^-- cursor: (.*)$/m.exec(shown)?.[1] ?? expect.fail(shown);
  });

  const since = async (...args: string[]) => {
    await machine.run(['journalctl', '--sync']);
    return machine.run(['journalctl', '--no-pager', `--after-cursor=${cursor}`, ...args]);
  };
  const entries = async (...args: string[]): Promise<JournalEntry[]> =>
    (await since('-o', 'json', '--all', ...args))
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => JSON.parse(line) as JournalEntry);
  // Not by a match: with one, journalctl 252 skips the first entry after a cursor.
  const eventsOf = async (id: string) => (await entries()).filter(({ MESSAGE_ID }) => MESSAGE_ID === id);
  /** Entries of the program with this text: `chassis-power` or the simulator's name may stand before it. */
  const saying = async (text: string) =>
    (await entries('-t', 'chassis-power')).filter(({ MESSAGE }) =>
      [text, `chassis-power-sim: ${text}`].includes(String(MESSAGE)),
    );
  const dropIn = async (unit: string, text: string) => {
    await machine.writeFile(`/etc/systemd/system/${unit}.d/test.conf`, text);
    await machine.run(['systemctl', 'daemon-reload']);
  };

  test('-x -u op-wait-power-on@0 explains a failure and says what to check', async () => {
    await chassis.startPlant({ faults: ['pgood never'] });
    expect((await machine.systemctl('start', START)).code).not.toBe(0);
    const shown = await since('-x', '-u', 'op-wait-power-on@0');
    expect(shown).toContain('pgood did not come within 2000 ms though every rail is enabled');
    expect(shown).toContain('Subject: Power good of chassis 0 did not come');
    expect(shown).toContain('Defined-By: chassis-power');
    expect(shown).toMatch(/What to check:\n.*multimeter/s);
    expect(shown).not.toMatch(/@[A-Z_]+@/);
  });

  test('-x names the command of this chassis where power does not go away', async () => {
    await chassis.startPlant();
    expect((await machine.systemctl('start', START)).code).toBe(0);
    await chassis.addFault('pgood stuck on');
    expect((await machine.systemctl('start', STOP)).code).not.toBe(0);
    const shown = await since('-x', '-u', 'op-wait-power-off@0');
    expect(shown).toContain('POWER IS STILL APPLIED (pgood stands)');
    expect(shown).toContain('Subject: Power of chassis 0 did not go away');
    expect(shown).toMatch(/systemctl start obmc-chassis-stop@0\.target$/m);
    const [event] = await eventsOf(MESSAGE_IDS.powerOffTimeout);
    expect(event).toMatchObject({
      POWER_STILL_APPLIED: 'true',
      STILL_ON: 'pgood',
      STAGE: 'op-wait-power-off',
    });
  });

  test('-o json has the fields of a failure, each once', async () => {
    await chassis.startPlant({ faults: ['rail P1V8 never good'] });
    expect((await machine.systemctl('start', START)).code).not.toBe(0);
    const [event, ...more] = await eventsOf(MESSAGE_IDS.railTimeout);
    expect(more).toEqual([]);
    expect(event).toMatchObject({
      MESSAGE: expect.stringContaining(
        'chassis 0: rail P1V8 was not good within 2000 ms of its enable; the power',
      ),
      PRIORITY: '3',
      SYSLOG_IDENTIFIER: 'chassis-power',
      CHASSIS: '0',
      STAGE: 'op-power-start',
      RAIL: 'P1V8',
      REASON: 'rail P1V8 was not good within 2000 ms of its enable',
      ERROR_CODE: 'RAIL_FAULT',
      POWER_STILL_APPLIED: 'false',
      ELAPSED_MS: expect.stringMatching(MS),
      OBJECT_SYSTEMD_UNIT: START_STAGE,
    });
    expect((await entries('-u', START_STAGE)).map(({ MESSAGE_ID }) => MESSAGE_ID)).toContain(
      MESSAGE_IDS.railTimeout,
    );
    // Its text is nowhere a second time.
    expect(await saying(String(event?.MESSAGE).replace('chassis-power-sim: ', ''))).toHaveLength(1);
  });

  test('has chassis and stage with every line of a stage', async () => {
    await chassis.startPlant();
    expect((await machine.systemctl('start', START)).code).toBe(0);
    for (const stage of ['op-power-start', 'op-wait-power-on']) {
      const lines = await entries('-t', 'chassis-power');
      const said = lines.filter(({ _SYSTEMD_UNIT }) => _SYSTEMD_UNIT === `${stage}@0.service`);
      expect(said.length).toBeGreaterThan(2);
      const fields = said.map(({ CHASSIS, STAGE }) => ({ CHASSIS, STAGE }));
      expect(fields).toEqual(said.map(() => ({ CHASSIS: '0', STAGE: stage })));
    }
  });

  test('has how long a power on and a power off took, once each', async () => {
    await chassis.startPlant();
    expect((await machine.systemctl('start', START)).code).toBe(0);
    expect((await machine.systemctl('start', STOP)).code).toBe(0);
    const common = { PRIORITY: '6', CHASSIS: '0', ELAPSED_MS: expect.stringMatching(MS) };
    expect(await eventsOf(MESSAGE_IDS.poweredOn)).toMatchObject([
      {
        ...common,
        STAGE: 'op-wait-power-on',
        MESSAGE: expect.stringMatching(/^chassis 0 is on: wait-on took \d+ ms$/),
      },
    ]);
    expect(await eventsOf(MESSAGE_IDS.poweredOff)).toMatchObject([
      { ...common, MESSAGE: expect.stringMatching(/^chassis 0 is off: \S+ took \d+ ms$/) },
    ]);
  });

  test('of the service has a request that failed, and a loss', async () => {
    await chassis.startPlant({ faults: ['rail P1V8 never good'] });
    await machine.run(['systemctl', 'start', SERVICE]);
    const setOn = ['busctl', 'call', ...POWER, 'setPowerState', 'i', '1'];
    expect((await machine.exec(setOn)).code).not.toBe(0);
    await chassis.until('the failure', async () => (await eventsOf(MESSAGE_IDS.railTimeout)).length > 0);
    expect(await eventsOf(MESSAGE_IDS.railTimeout)).toMatchObject([
      { CHASSIS: '0', RAIL: 'P1V8', ELAPSED_MS: expect.stringMatching(MS), OBJECT_SYSTEMD_UNIT: SERVICE },
    ]);

    await chassis.stopPlant();
    await machine.run(['systemctl', 'stop', SERVICE]);
    await chassis.startPlant();
    await machine.run(['systemctl', 'start', START, SERVICE]);
    await chassis.addFault('pgood never');
    await chassis.until('the loss', async () => (await eventsOf(MESSAGE_IDS.pgoodLost)).length > 0);
    const [loss, ...more] = await eventsOf(MESSAGE_IDS.pgoodLost);
    expect(more).toEqual([]);
    expect(loss).toMatchObject({ CHASSIS: '0', STAGE: 'pgood', ERROR_CODE: 'PGOOD_LOST' });
    expect(loss).not.toHaveProperty('ELAPSED_MS');
    expect(await since('-x', '-u', SERVICE)).toContain('Subject: Chassis 0 lost its power');
  });

  const TEXT = 'chassis 0: rail P1V8 was not good within 2000 ms of its enable; the power was taken down';
  test.each([
    ['the socket of journald is not there', '[Service]\nInaccessiblePaths=/run/systemd/journal/socket\n'],
    ['systemd-notify is not there', '[Service]\nInaccessiblePaths=/usr/bin/systemd-notify\n'],
    ['systemd-notify hangs', '[Service]\nBindReadOnlyPaths=/run/hangs:/usr/bin/systemd-notify\n'],
  ])('where %s has the same text in a plain line, and the stage ends', async (_, text) => {
    await machine.writeFile('/run/hangs', '#!/bin/sh\nexec sleep 600\n', '0755');
    await dropIn('op-power-start@.service', text);
    await chassis.startPlant({ faults: ['rail P1V8 never good'] });
    expect((await machine.systemctl('start', START)).code).not.toBe(0);
    expect((await machine.showUnit(START_STAGE, ['ExecMainStatus'])).ExecMainStatus).toBe('101');
    await chassis.expectEveryEnableOff();
    const said = await saying(TEXT);
    expect(said).toHaveLength(1);
    expect(said[0]).toMatchObject({ PRIORITY: '3', CHASSIS: '0', STAGE: 'op-power-start' });
    expect(said[0]).not.toHaveProperty('MESSAGE_ID');
    expect(await eventsOf(MESSAGE_IDS.railTimeout)).toEqual([]);
  });

  test('knows every explanation once the units are installed, and none after they are uninstalled', async () => {
    const ids = Object.values(MESSAGE_IDS);
    const known = async () => {
      const { stdout } = await machine.exec(['journalctl', '--list-catalog']);
      return ids.filter((id) => stdout.includes(id));
    };
    expect(await known()).toEqual(ids);
    const dumped = await machine.run(['journalctl', '--dump-catalog', ...ids]);
    expect(dumped.match(/^Defined-By: chassis-power$/gm)).toHaveLength(ids.length);
    await chassis.units('uninstall');
    expect(await known()).toEqual([]);
    // Where journalctl cannot, the units are there all the same, and it says what is missing.
    await machine.writeFile('/run/broken/journalctl', '#!/bin/sh\necho broken >&2; exit 1\n', '0755');
    const installed = await machine.exec(`PATH=/run/broken:$PATH ${PROGRAM} units install`);
    expect(installed).toMatchObject({
      code: 0,
      stderr:
        'chassis-power: journalctl -x does not explain the messages of the units yet: ' +
        'journalctl --update-catalog failed (broken)\n',
    });
    expect(await known()).toEqual([]);
    expect((await machine.showUnit(START_STAGE, ['LoadState'])).LoadState).toBe('loaded');
    await chassis.units('uninstall');
    await chassis.units('install');
    expect(await known()).toEqual(ids);
  });
});
