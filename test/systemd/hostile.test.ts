/**
 * The resident service on a real system bus with the shipped policy, and beside it a user who may only read, and sends
 * whatever the bus lets through.
 */
import { join } from 'node:path';
import { build } from 'esbuild';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { CALL, ERROR, type Frame, RETURN, SIGNAL } from '../unit/dbus-frames.ts';
import { type Chassis, putChassis } from './chassis.ts';
import { bootMachine, skipped, titleSuffix } from './machine.ts';
import { SANDBOX_NODE, type SystemdSandbox } from './rig.ts';

const SERVICE = 'chassis-power.service';
const NAME = 'org.openbmc.control.Power';
const PATH = '/org/openbmc/control/power0';
const PROPERTIES = 'org.freedesktop.DBus.Properties';
const BUS = 'org.freedesktop.DBus';
const CLIENT = '/run/hostile-client.mjs';
const FLOOD = 'flood.service';
const HEARD = '/run/flood.out';
const HUGE_BYTES = 30 * 1024 * 1024;
const AS_NOBODY = ['setpriv', '--reuid=nobody', '--regid=nogroup', '--clear-groups'];
const LONG_MS = 90_000;

describe.skipIf(skipped)(`a user who may only read${titleSuffix}`, () => {
  let machine: SystemdSandbox;
  let chassis: Chassis;

  beforeAll(async () => {
    machine = await bootMachine();
    chassis = await putChassis(machine);
    await chassis.units('install');
    const bundle = await build({
      entryPoints: [join(import.meta.dirname, 'hostile-client.ts')],
      ...{ bundle: true, write: false, platform: 'node', format: 'esm', logLevel: 'error' },
    });
    await machine.writeFile(CLIENT, bundle.outputFiles[0]?.text ?? '');
  });
  afterAll(async () => {
    await machine?.stop();
  });
  beforeEach(async () => {
    await machine.systemctl('stop', FLOOD);
    await chassis.reset();
  });

  const serving = async () => {
    await chassis.startPlant();
    expect(await machine.systemctl('start', SERVICE)).toMatchObject({ code: 0 });
  };
  const powerOn = async () => {
    await machine.run(['busctl', 'call', NAME, PATH, NAME, 'setPowerState', 'i', '1']);
    await chassis.expectPowered();
  };
  /** What each frame comes to for nobody. */
  const ask = async (frames: readonly Frame[], user: readonly string[] = AS_NOBODY) => {
    const printed = await machine.run([...user, SANDBOX_NODE, CLIENT, 'ask', JSON.stringify(frames)]);
    return printed
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line));
  };
  const flood = (mode: 'huge' | 'many', size: number) =>
    machine.run([
      ...[
        'systemd-run',
        '--quiet',
        `--unit=${FLOOD}`,
        '--collect',
        `--property=StandardOutput=truncate:${HEARD}`,
      ],
      ...['--property=User=nobody', SANDBOX_NODE, CLIENT, mode, String(size)],
    ]);
  const answers = async () =>
    (await machine.readFile(HEARD).catch(() => '')).split('\n').filter((line) => line.includes('"type"'));
  const memoryKib = async (name: 'VmRSS' | 'VmHWM') => {
    const { MainPID } = await machine.showUnit(SERVICE, ['MainPID']);
    const status = await machine.readFile(`/proc/${MainPID}/status`);
    return Number(new RegExp(`^${name}:\\s+(\\d+) kB$`, 'm').exec(status)?.[1]);
  };

  test('ten messages of 30 MB are refused; a loss is acted on between them, and no memory is taken', async () => {
    await serving();
    await powerOn();
    const before = await memoryKib('VmRSS');
    await flood('huge', HUGE_BYTES);
    await chassis.until('the first answer', async () => (await answers()).length > 0, LONG_MS);

    await chassis.addFault('pgood stuck off');
    await chassis.until('everything is off', async () => !(await chassis.asserted('enable')).includes(true));
    // They still come: the loss did not wait for their end.
    expect((await machine.showUnit(FLOOD, ['ActiveState'])).ActiveState).toBe('active');

    const more = async (count: number) => {
      const seen = (await answers()).length;
      await chassis.until(`${count} answers`, async () => (await answers()).length >= seen + count, LONG_MS);
    };
    await more(10);
    const most = await memoryKib('VmHWM');
    // V8 frees what was read and thrown away once it is some ten MB; unmarshalled, one of these messages takes gigabytes.
    expect(most - before, 'KiB').toBeLessThan((2 * HUGE_BYTES) / 1024);
    await more(10);
    expect((await memoryKib('VmHWM')) - most, 'KiB more for ten more').toBeLessThan(HUGE_BYTES / 1024 / 2);
    await machine.systemctl('stop', FLOOD);
    const refused = JSON.stringify({ type: ERROR, errorName: 'org.freedesktop.DBus.Error.InvalidArgs' });
    expect(new Set(await answers())).toEqual(new Set([refused]));
    await chassis.expectEveryEnableOff();
    const said = (await machine.journal(SERVICE)).map((entry) => String(entry.MESSAGE));
    expect(said.filter((line) => line.includes('which was refused'))).toHaveLength(1);
  });

  test('a flood of small calls does not keep a loss from being acted on', async () => {
    await serving();
    await powerOn();
    // The bus allows a client 128 calls that are not answered (system.conf).
    await flood('many', 100);
    await chassis.until('answers', async () => (await answers()).length > 10, LONG_MS);
    await chassis.addFault('pgood stuck off');
    await chassis.until('everything is off', async () => !(await chassis.asserted('enable')).includes(true));
    expect((await machine.showUnit(FLOOD, ['ActiveState'])).ActiveState).toBe('active');
    const seen = (await answers()).length;
    await chassis.until('more answers', async () => (await answers()).length > seen, LONG_MS);
    expect(new Set(await answers())).toEqual(new Set([JSON.stringify({ type: RETURN })]));
  });

  test('can send our names no signal, and call no method that is not there to be read', async () => {
    await serving();
    const owner = (await machine.run(['busctl', 'call', BUS, '/', BUS, 'GetNameOwner', 's', NAME])).split(
      '"',
    )[1];
    expect(owner).toMatch(/^:1\.\d+$/);
    const call = { type: CALL, path: PATH, destination: NAME } as const;
    const refused: Frame[] = [
      ...[NAME, 'xyz.openbmc_project.State.Chassis', String(owner)].map((destination) => ({
        ...{ type: SIGNAL, path: PATH, interface: NAME, member: 'PowerLost', destination },
      })),
      { ...call, interface: NAME, member: 'setPowerState' },
      { ...call, interface: NAME, member: 'nothing' },
      { ...call, interface: 'org.example.Nothing', member: 'nothing' },
      { ...call, interface: PROPERTIES, member: 'Set' },
      { ...call, interface: PROPERTIES, member: 'Nothing' },
      { ...call, interface: 'org.freedesktop.DBus.Peer', member: 'Nothing' },
      {
        ...call,
        interface: 'org.freedesktop.DBus.Introspectable',
        member: 'Nothing',
        destination: String(owner),
      },
      { ...call, member: 'setPowerState' },
    ];
    for (const [index, answer] of (await ask(refused)).entries()) {
      expect(answer, JSON.stringify(refused[index])).toEqual({
        ...{ type: ERROR, errorName: 'org.freedesktop.DBus.Error.AccessDenied', sender: BUS },
      });
    }
    const allowed: Frame[] = [
      { ...call, interface: NAME, member: 'getPowerState' },
      { ...call, interface: 'org.freedesktop.DBus.Peer', member: 'Ping' },
      { ...call, interface: 'org.freedesktop.DBus.Introspectable', member: 'Introspect' },
    ];
    for (const answer of await ask(allowed)) expect(answer).toMatchObject({ type: RETURN, sender: owner });
    // Whoever may switch is told what is wrong by us.
    expect(await ask([{ ...call, interface: NAME, member: 'nothing' }], [])).toMatchObject([
      { errorName: 'org.freedesktop.DBus.Error.UnknownMethod', sender: owner },
    ]);
  });
});
