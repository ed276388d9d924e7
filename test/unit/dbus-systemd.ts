import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import dbusNext, { type Message as DbusMessage, type MessageBus } from 'dbus-next';

const { Message, sessionBus, Variant } = dbusNext;

/** Why no private bus can be had here, or undefined. */
export const withoutBus: string | undefined =
  spawnSync('dbus-daemon', ['--version']).status === 0 ? undefined : 'needs dbus-daemon (package dbus)';

/** More rules than a test holds at a time, fewer than it makes in all. */
export const MAX_MATCH_RULES = 6;

/** A private bus of its own, with a real dbus-daemon. */
export interface PrivateBus {
  readonly address: string;
  /** Begins it, unless it runs. */
  start(): Promise<void>;
  /** Ends the daemon at once, as a crash does. */
  kill(): Promise<void>;
  remove(): Promise<void>;
}

export function createPrivateBus(): PrivateBus {
  const folder = mkdtempSync(join(tmpdir(), 'dbus-'));
  const address = `unix:path=${folder}/bus`;
  const config = join(folder, 'bus.conf');
  writeFileSync(
    config,
    `<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN" "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
    <busconfig>
      <listen>${address}</listen>
      <auth>EXTERNAL</auth>
      <policy context="default">
        <allow own="*"/><allow send_destination="*"/><allow send_type="signal"/>
        <allow receive_type="method_call"/><allow receive_type="method_return"/>
        <allow receive_type="error"/><allow receive_type="signal"/>
      </policy>
      <limit name="max_match_rules_per_connection">${MAX_MATCH_RULES}</limit>
    </busconfig>`,
  );
  let daemon: ChildProcess | undefined;

  const kill = async () => {
    const ending = daemon;
    daemon = undefined;
    if (ending === undefined || ending.exitCode !== null) return;
    const ended = new Promise((resolve) => ending.once('exit', resolve));
    ending.kill('SIGKILL');
    await ended;
  };

  return {
    address,
    kill,
    async start() {
      if (daemon !== undefined && daemon.exitCode === null && daemon.signalCode === null) return;
      rmSync(`${folder}/bus`, { force: true });
      const started = spawn('dbus-daemon', [`--config-file=${config}`, '--nofork', '--print-address=1'], {
        stdio: ['ignore', 'pipe', 'ignore'],
      });
      daemon = started;
      await new Promise<void>((resolve, reject) => {
        started.stdout?.once('data', () => resolve());
        started.once('exit', (code) => reject(new Error(`dbus-daemon ended with ${code}`)));
      });
    },
    async remove() {
      await kill();
      rmSync(folder, { recursive: true });
    },
  };
}

/** systemd's manager on a bus, as far as this project uses it. */
export interface FakeSystemd {
  /** Members that were called, in order. */
  readonly calls: string[];
  readonly options: {
    /** Whether JobRemoved comes before the reply that names the job; systemd does both. */
    signalFirst: boolean;
    /** Members that are not answered. */
    hanging: Set<string>;
    /** Members that are answered with an error. */
    failing: Set<string>;
    /** Jobs do not end. */
    jobsHang: boolean;
    /** JobRemoved goes to everyone, also before Subscribe. */
    alwaysSignals: boolean;
  };
  /** Gives a unit another state, as an event outside of any job does. */
  change(unit: string, activeState: string): void;
  /** Answers what was left hanging. */
  answerLate(): void;
  disconnect(): void;
}

/** The library's types say string for the message that is answered. */
const errorReply = (message: DbusMessage, name: string, text: string) =>
  Message.newError(message as unknown as string, name, text);

const MANAGER_PATH = '/org/freedesktop/systemd1';
const MANAGER = 'org.freedesktop.systemd1.Manager';
const UNIT = 'org.freedesktop.systemd1.Unit';
const PROPERTIES = 'org.freedesktop.DBus.Properties';

/** Where systemd has the object of a unit, for the names that occur in the tests. */
const unitPath = (unit: string) =>
  `${MANAGER_PATH}/unit/${unit.replaceAll('-', '_2d').replaceAll('.', '_2e').replaceAll('@', '_40')}`;

export async function startFakeSystemd(
  address: string,
  units: ReadonlyMap<string, 'done' | 'failed' | 'idle'>,
): Promise<FakeSystemd> {
  const bus: MessageBus = sessionBus({ busAddress: address });
  // The bus is killed by tests.
  bus.on('error', () => undefined);
  const calls: string[] = [];
  const late: (() => void)[] = [];
  const active = new Map<string, string>();
  const subscribers = new Set<string>();
  let lastJob = 0;
  const options: FakeSystemd['options'] = {
    signalFirst: true,
    hanging: new Set(),
    failing: new Set(),
    jobsHang: false,
    alwaysSignals: false,
  };

  const setActive = (unit: string, activeState: string) => {
    active.set(unit, activeState);
    if (subscribers.size === 0) return;
    const body = [UNIT, { ActiveState: new Variant('s', activeState) }, []];
    bus.send(Message.newSignal(unitPath(unit), PROPERTIES, 'PropertiesChanged', 'sa{sv}as', body));
  };

  const startUnit = (message: DbusMessage) => {
    const [unit] = message.body as [string];
    const result = units.get(unit);
    if (result === undefined) {
      bus.send(errorReply(message, 'org.freedesktop.systemd1.NoSuchUnit', `Unit ${unit} not found.`));
      return;
    }
    lastJob += 1;
    const job = `${MANAGER_PATH}/job/${lastJob}`;
    const reply = () => bus.send(Message.newMethodReturn(message, 'o', [job]));
    const signal = () => {
      setActive(unit, result === 'failed' ? 'failed' : 'active');
      if (subscribers.size === 0 && !options.alwaysSignals) return;
      const body = [lastJob, job, unit, result];
      bus.send(Message.newSignal(MANAGER_PATH, MANAGER, 'JobRemoved', 'uoss', body));
    };
    if (options.signalFirst && !options.jobsHang) signal();
    reply();
    if (!options.signalFirst && !options.jobsHang) signal();
  };

  const answer = (message: DbusMessage) => {
    if (options.failing.has(message.member)) {
      bus.send(errorReply(message, 'org.freedesktop.DBus.Error.Failed', 'not now'));
      return;
    }
    switch (message.member) {
      case 'Subscribe':
        if (subscribers.has(message.sender)) {
          bus.send(errorReply(message, 'org.freedesktop.systemd1.AlreadySubscribed', 'again'));
          return;
        }
        subscribers.add(message.sender);
        break;
      case 'StartUnit':
        startUnit(message);
        return;
      case 'ListUnitsByNames': {
        const rows = (message.body as [string[]])[0].map((unit) => {
          const load = units.has(unit) ? 'loaded' : 'not-found';
          const state = active.get(unit) ?? 'inactive';
          return [
            unit,
            unit,
            load,
            state,
            state === 'active' ? 'exited' : 'dead',
            '',
            MANAGER_PATH,
            0,
            '',
            '/',
          ];
        });
        bus.send(Message.newMethodReturn(message, 'a(ssssssouso)', [rows]));
        return;
      }
      case 'Reload':
        break;
      default:
        bus.send(errorReply(message, 'org.freedesktop.DBus.Error.UnknownMethod', 'no such method'));
        return;
    }
    bus.send(Message.newMethodReturn(message));
  };

  bus.addMethodHandler((message: DbusMessage) => {
    if (message.interface !== MANAGER) return false;
    calls.push(message.member);
    if (options.hanging.has('*') || options.hanging.has(message.member)) late.push(() => answer(message));
    else answer(message);
    return true;
  });
  await bus.requestName('org.freedesktop.systemd1', 0);

  return {
    calls,
    options,
    change: setActive,
    answerLate() {
      for (const run of late.splice(0)) run();
    },
    disconnect: () => bus.disconnect(),
  };
}
