/**
 * What the units do with every way a stage can end, on a real systemd. The stages are a stand-in here, which
 * exits as it is told or waits until it is let go, so that each failure comes at a known moment; the real
 * program under the same units is in `power.test.ts`.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { bootMachine, installUnitsIn, skipped, states, titleSuffix, UNITS } from './machine.ts';
import type { SystemdSandbox } from './rig.ts';

/**
 * `/run/stage/VERB.exit` holds the exit status; while `VERB.hold` exists the stage waits. It waits in small steps: the units end
 * a stage by SIGINT, and dash keeps one back while it begins a command, which never hears of it.
 */
const STAGE = `#!/bin/sh
verb=$1
echo "begin $verb" >>/run/stage/log
while [ -e "/run/stage/$verb.hold" ]; do sleep 0.05; done
code=0
[ ! -e "/run/stage/$verb.exit" ] || read -r code <"/run/stage/$verb.exit"
echo "end $verb" >>/run/stage/log
exit "$code"
`;
/** The one hole in the sandbox of the units: the stand-in, and what runs as the host, write there. */
const OPENED = '[Service]\nReadWritePaths=-/run/stage\n';
type Verb = 'start' | 'wait-on' | 'stop' | 'wait-off';

const OFF = {
  'obmc-power-chassis-on': 'inactive',
  'obmc-power-chassis-off': 'active',
  'op-power-stop': 'active',
  'op-wait-power-off': 'active',
};
const ON = {
  'obmc-chassis-start': 'active',
  'obmc-power-chassis-on': 'active',
  'obmc-power-chassis-off': 'inactive',
  'obmc-quiesce-host': 'inactive',
  'obmc-start-host': 'active',
  'op-power-start': 'active',
  'op-wait-power-on': 'active',
  'op-power-stop': 'inactive',
};

describe.skipIf(skipped)(`failure routing on systemd${titleSuffix}`, () => {
  let machine: SystemdSandbox;

  beforeAll(async () => {
    machine = await bootMachine();
    await machine.writeFile('/usr/bin/chassis-power', STAGE, '0755');
    for (const units of ['op-.service', 'obmc-start-host@.service']) {
      await machine.writeFile(`/run/systemd/system/${units}.d/stage.conf`, OPENED);
    }
    await installUnitsIn(machine);
  });

  afterAll(async () => {
    await machine?.stop();
  });

  /** Every test begins with a chassis that was switched off, and an empty log. */
  beforeEach(async () => {
    await machine.run('rm -rf /run/stage /etc/systemd/system/*.d; mkdir /run/stage; systemctl daemon-reload');
    await machine.run(['systemctl', 'stop', ...UNITS]);
    await machine.run(['systemctl', 'reset-failed']);
    await machine.run(['systemctl', 'start', 'obmc-chassis-stop@0.target']);
    await machine.run(': >/run/stage/log');
  });

  const start = (unit: string) => machine.systemctl('start', unit);
  const startOnly = (unit: string) => machine.systemctl('start', '--no-block', unit);
  const fail = (verb: Verb, code: number) => machine.writeFile(`/run/stage/${verb}.exit`, `${code}\n`);
  const heal = (verb: Verb) => machine.run(`rm -f /run/stage/${verb}.exit`);
  const hold = (verb: Verb) => machine.run(`: >/run/stage/${verb}.hold`);
  const calls = async () =>
    (await machine.readFile('/run/stage/log').catch(() => '')).split('\n').filter((line) => line !== '');
  /** Resolves once a stage runs and waits in its hold. */
  const running = async (verb: Verb) => {
    for (const deadline = Date.now() + 10_000; ; await delay(20)) {
      if ((await calls()).includes(`begin ${verb}`)) return;
      if (Date.now() > deadline) throw new Error(`${verb} was not run within 10 s`);
    }
  };
  const hostDropIn = async (command: string) => {
    const path = '/etc/systemd/system/obmc-start-host@.service.d/test.conf';
    await machine.writeFile(path, `[Service]\nExecStart=\nExecStart=${command}\n`);
    await machine.run(['systemctl', 'daemon-reload']);
  };

  test('systemd-analyze verify has nothing to say', async () => {
    const result = await machine.exec(['systemd-analyze', 'verify', '--man=no', ...UNITS]);
    expect(result).toEqual({ code: 0, stdout: '', stderr: '' });
  });

  test('systemd saw no ordering cycle and no unknown setting', async () => {
    await start('obmc-chassis-start@0.target');
    const said = (await machine.journal()).map((entry) => String(entry.MESSAGE));
    expect(said.filter((line) => /ordering cycle|Unknown (key|section|lvalue)/i.test(line))).toEqual([]);
  });

  test('on, off, on, off, on at speed, under OpenBMC start limits', async () => {
    const limits = await machine.run(['systemctl', 'show', '--property=DefaultStartLimitBurst']);
    expect(limits).toBe('DefaultStartLimitBurst=2\n');
    for (const verb of ['start', 'stop', 'start', 'stop', 'start']) {
      expect(await start(`obmc-chassis-${verb}@0.target`)).toMatchObject({ code: 0 });
    }
    expect(await states(machine)).toMatchObject(ON);
    const begun = (await calls()).filter((line) => line.startsWith('begin'));
    const on = ['begin start', 'begin wait-on'];
    const off = ['begin stop', 'begin wait-off'];
    expect(begun).toEqual([...on, ...off, ...on, ...off, ...on]);
  });

  test('a chassis that is on is not started twice', async () => {
    await start('obmc-chassis-start@0.target');
    const before = await calls();
    expect(await start('obmc-chassis-start@0.target')).toMatchObject({ code: 0 });
    expect(await calls()).toEqual(before);
  });

  test.each([
    ['start', 101],
    ['start', 75],
    ['wait-on', 100],
  ] as const)(
    '%s that exits %i: power off and quiesce, both reached, host never started',
    async (verb, code) => {
      await hostDropIn('/bin/touch /run/stage/host-started');
      await fail(verb, code);

      const request = await start('obmc-chassis-start@0.target');
      await machine.waitForJobs();

      expect(request.code).not.toBe(0);
      expect(await states(machine)).toMatchObject({
        ...OFF,
        'obmc-chassis-start': 'inactive',
        'obmc-quiesce-host': 'active',
        'op-power-start': verb === 'start' ? 'failed' : 'inactive',
        'op-wait-power-on': verb === 'wait-on' ? 'failed' : 'inactive',
      });
      expect((await calls()).slice(-4)).toEqual(['begin stop', 'end stop', 'begin wait-off', 'end wait-off']);
      expect(await machine.exec('ls /run/stage/host-started')).toMatchObject({ code: 2 });
      if (verb === 'start') expect(await calls()).not.toContain('begin wait-on');

      // What failed does not stand in the way of the next request.
      await heal(verb);
      expect(await start('obmc-chassis-start@0.target')).toMatchObject({ code: 0 });
      expect(await states(machine)).toMatchObject(ON);
      expect(await machine.exec('ls /run/stage/host-started')).toMatchObject({ code: 0 });
    },
  );

  test('the wait alone runs its start first, and does not run when that fails', async () => {
    await fail('start', 101);
    expect((await start('op-wait-power-on@0.service')).code).not.toBe(0);
    expect((await calls()).filter((line) => line.startsWith('begin'))).toEqual(['begin start']);
  });

  test('a failed power on that nobody started a host for does not quiesce one', async () => {
    await fail('wait-on', 100);
    await start('obmc-power-chassis-on@0.target');
    await machine.waitForJobs();
    expect(await states(machine)).toMatchObject({ ...OFF, 'obmc-quiesce-host': 'inactive' });
  });

  test('a stage that hangs is ended by its backstop and routed like any failure', async () => {
    const dropIn = '/etc/systemd/system/op-wait-power-on@.service.d/test.conf';
    await machine.writeFile(dropIn, '[Service]\nTimeoutStartSec=300ms\n');
    await machine.run(['systemctl', 'daemon-reload']);
    await hold('wait-on');

    expect((await start('obmc-chassis-start@0.target')).code).not.toBe(0);
    await machine.waitForJobs();

    expect(await states(machine)).toMatchObject({ ...OFF, 'obmc-quiesce-host': 'active' });
    expect(await machine.showUnit('op-wait-power-on@0.service', ['Result'])).toEqual({ Result: 'timeout' });
  });

  test.each(['TERM', 'KILL'])('a stage that somebody sends SIG%s does not count as done', async (signal) => {
    await hold('wait-on');
    await startOnly('obmc-chassis-start@0.target');
    await running('wait-on');

    await machine.run(['systemctl', 'kill', `--signal=${signal}`, 'op-wait-power-on@0.service']);
    await machine.waitForJobs();

    expect(await states(machine)).toMatchObject({
      ...OFF,
      'op-wait-power-on': 'failed',
      'obmc-quiesce-host': 'active',
    });
  });

  test.each(['start', 'wait-on'] as const)(
    'a power off during %s: power is off, nothing is failed',
    async (verb) => {
      await hold(verb);
      await startOnly('obmc-chassis-start@0.target');
      await running(verb);

      expect(await start('obmc-chassis-stop@0.target')).toMatchObject({ code: 0 });
      await machine.waitForJobs();

      expect(await states(machine)).toMatchObject({
        ...OFF,
        'obmc-chassis-stop': 'active',
        'obmc-quiesce-host': 'inactive',
        'op-power-start': 'inactive',
        'op-wait-power-on': 'inactive',
        'obmc-start-host': 'inactive',
      });
      expect(await machine.run(['systemctl', '--failed', '--no-legend', '--plain'])).toBe('');
      // The stage that was stopped had ended before the power off touched anything.
      const stopped = `op-${verb === 'start' ? 'power-start' : 'wait-power-on'}@0.service`;
      const ended = await machine.showUnit(stopped, ['InactiveEnterTimestampMonotonic']);
      const began = await machine.showUnit('op-power-stop@0.service', ['InactiveExitTimestampMonotonic']);
      expect(Number(ended.InactiveEnterTimestampMonotonic)).toBeGreaterThan(0);
      expect(Number(ended.InactiveEnterTimestampMonotonic)).toBeLessThanOrEqual(
        Number(began.InactiveExitTimestampMonotonic),
      );
    },
  );

  test.each(['stop', 'wait-off'] as const)(
    'a power on during %s: power is on, nothing is failed',
    async (verb) => {
      await start('obmc-chassis-start@0.target');
      await hold(verb);
      await startOnly('obmc-chassis-stop@0.target');
      await running(verb);

      expect(await start('obmc-chassis-start@0.target')).toMatchObject({ code: 0 });

      expect(await states(machine)).toMatchObject({ ...ON, 'op-wait-power-off': 'inactive' });
      expect(await machine.run(['systemctl', '--failed', '--no-legend', '--plain'])).toBe('');
      expect((await calls()).slice(-4)).toEqual(['begin start', 'end start', 'begin wait-on', 'end wait-on']);
    },
  );

  test('a host that fails is quiesced and keeps its power', async () => {
    await hostDropIn('/bin/false');

    expect((await start('obmc-chassis-start@0.target')).code).not.toBe(0);
    await machine.waitForJobs();

    expect(await states(machine)).toMatchObject({
      'obmc-chassis-start': 'inactive',
      'obmc-start-host': 'failed',
      'obmc-quiesce-host': 'active',
      'obmc-power-chassis-on': 'active',
      'obmc-power-chassis-off': 'inactive',
    });
    expect(await calls()).not.toContain('begin stop');
  });

  test('a host is stopped before its power goes', async () => {
    const dropIn = '/etc/systemd/system/obmc-start-host@.service.d/test.conf';
    await machine.writeFile(dropIn, '[Service]\nExecStop=/bin/sh -c "echo host stopped >>/run/stage/log"\n');
    await machine.run(['systemctl', 'daemon-reload']);
    await start('obmc-chassis-start@0.target');
    await start('obmc-chassis-stop@0.target');
    expect((await calls()).slice(4, 6)).toEqual(['host stopped', 'begin stop']);
  });

  test.each([
    ['stop', 74],
    ['wait-off', 103],
  ] as const)('power off whose %s exits %i: quiesce, and it ends there', async (verb, code) => {
    await start('obmc-chassis-start@0.target');
    await machine.run(': >/run/stage/log');
    await fail(verb, code);

    expect((await start('obmc-chassis-stop@0.target')).code).not.toBe(0);
    await machine.waitForJobs();

    const after = await states(machine);
    expect(after).toMatchObject({
      'obmc-chassis-start': 'inactive',
      'obmc-power-chassis-on': 'inactive',
      'obmc-power-chassis-off': 'inactive',
      'obmc-quiesce-host': 'active',
    });
    const once =
      verb === 'stop'
        ? ['begin stop', 'end stop']
        : ['begin stop', 'end stop', 'begin wait-off', 'end wait-off'];
    expect(await calls()).toEqual(once);

    // A second request takes the enables away again: nothing is skipped as "active already".
    await heal(verb);
    await machine.run(': >/run/stage/log');
    expect(await start('obmc-chassis-stop@0.target')).toMatchObject({ code: 0 });
    expect(await calls()).toEqual(['begin stop', 'end stop', 'begin wait-off', 'end wait-off']);
  });

  test('a power on that fails and cannot be taken down: one attempt of each, quiesce, no loop', async () => {
    await fail('wait-on', 100);
    await fail('wait-off', 103);

    await start('obmc-chassis-start@0.target');
    await machine.waitForJobs();

    const begun = (await calls()).filter((line) => line.startsWith('begin'));
    expect(begun).toEqual(['begin start', 'begin wait-on', 'begin stop', 'begin wait-off']);
    expect(await states(machine)).toMatchObject({
      'obmc-power-chassis-on': 'inactive',
      'obmc-power-chassis-off': 'inactive',
      'obmc-quiesce-host': 'active',
    });
  });

  test('the next start leaves quiesce', async () => {
    await start('obmc-quiesce-host@0.target');
    await start('obmc-chassis-start@0.target');
    expect(await states(machine)).toMatchObject(ON);
  });

  test('another chassis is not touched by a failure', async () => {
    await machine.run('systemctl start obmc-power-chassis-on@1.target');
    await fail('start', 101);
    await start('obmc-chassis-start@0.target');
    await machine.waitForJobs();
    const other = await machine.showUnit('obmc-power-chassis-on@1.target', ['ActiveState']);
    expect(other).toEqual({ ActiveState: 'active' });
    await machine.run(['systemctl', 'stop', 'obmc-power-chassis-on@1.target']);
  });
});
