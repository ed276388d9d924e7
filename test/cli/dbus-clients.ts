import { type ChildProcess, execFile, spawn, spawnSync } from 'node:child_process';
import { createRequire } from 'node:module';
import { createServer, type Socket } from 'node:net';
import { createInterface } from 'node:readline';
import { promisify } from 'node:util';
import dbusNext, { type Message as DbusMessage, type MessageBus } from 'dbus-next';

/** Clients of others, so that no mistake of ours is on both sides: program → Debian package. */
const PROGRAMS = { busctl: 'systemd', gdbus: 'libglib2.0-bin', 'dbus-send': 'dbus' } as const;

/** Why these clients cannot be had here, or undefined. */
export const withoutClients: string | undefined = Object.entries(PROGRAMS)
  // Not all of them know --version; that they start is enough.
  .filter(([program]) => spawnSync(program, ['--version']).error !== undefined)
  .map(([program, from]) => `needs ${program} (package ${from})`)[0];

/** Somewhat arbitrary: a client that hangs is told as such before the test is. */
const CLIENT_TIMEOUT_MS = 4_000;

/** What a client wrote. For one that failed, what it wrote about that. */
async function output(program: string, args: readonly string[]): Promise<string> {
  try {
    const { stdout } = await promisify(execFile)(program, [...args], { timeout: CLIENT_TIMEOUT_MS });
    return stdout;
  } catch (error) {
    const { stderr = '', killed = false } = error as { stderr?: string; killed?: boolean };
    if (killed || stderr === '') throw error;
    return stderr;
  }
}

/** sd-bus. */
export const busctl = (address: string, ...args: string[]) =>
  output('busctl', [`--address=${address}`, ...args]);

/** GLib. @param method `path interface.member` */
export const gdbusCall = (address: string, name: string, method: string, ...args: string[]) => {
  const [path = '', member = ''] = method.split(' ');
  const target = ['--dest', name, '--object-path', path, '--method', member];
  return output('gdbus', ['call', '--address', address, ...target, ...args]);
};

export const gdbusIntrospect = (address: string, name: string, path: string, ...options: string[]) =>
  output('gdbus', ['introspect', '--address', address, '--dest', name, '--object-path', path, ...options]);

/** libdbus, which tells the name of an error. @param method `path interface.member` */
export const dbusSend = (address: string, name: string, method: string, ...args: string[]) =>
  output('dbus-send', [
    `--bus=${address}`,
    `--dest=${name}`,
    '--print-reply=literal',
    ...method.split(' '),
    ...args,
  ]);

/** A message as busctl tells it. */
export interface MonitoredMessage {
  readonly type: 'method_call' | 'method_return' | 'error' | 'signal';
  readonly path?: string;
  readonly interface?: string;
  readonly member?: string;
  readonly payload?: { readonly type: string; readonly data: readonly unknown[] };
}

export interface Monitor {
  /** In their order on the bus, without those of the bus itself and the greetings that it wants. */
  readonly messages: MonitoredMessage[];
  stop(): Promise<void>;
}

const MARK = ['--type=signal', '/mark', 'org.example.Mark.Mark'];
const isMark = (message: MonitoredMessage) => message.interface === 'org.example.Mark';
const isOfTheBus = (message: MonitoredMessage & { readonly sender?: string }) =>
  message.sender === 'org.freedesktop.DBus' || message.member === 'Hello';

/** Sees every message on a bus. */
export async function startMonitor(address: string): Promise<Monitor> {
  const child: ChildProcess = spawn('busctl', [`--address=${address}`, '--json=short', 'monitor'], {
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  const messages: MonitoredMessage[] = [];
  let marks = 0;
  if (child.stdout === null) throw new Error('no output');
  createInterface(child.stdout).on('line', (line) => {
    // Some versions greet first.
    if (!line.startsWith('{')) return;
    const message = JSON.parse(line) as MonitoredMessage;
    if (isMark(message)) marks += 1;
    else if (marks > 0 && !isOfTheBus(message)) messages.push(message);
  });
  const mark = () => output('dbus-send', [`--bus=${address}`, ...MARK]);
  const markSeen = async (wanted: number) => {
    while (marks < wanted) await new Promise((resolve) => setTimeout(resolve, 5));
  };
  // It does not tell when it has begun.
  while (marks === 0) await mark();
  return {
    messages,
    async stop() {
      const seen = marks;
      await mark();
      await markSeen(seen + 1);
      const ended = new Promise((resolve) => child.once('exit', resolve));
      child.kill();
      await ended;
    },
  };
}

/** A connection on which messages go out as they are, also such as no client's library lets through. */
export interface RawClient {
  readonly bus: MessageBus;
  /** The body of the reply; rejects for an error reply. */
  call(
    header: { destination: string; path: string; interface?: string; member: string },
    signature?: string,
    body?: unknown[],
  ): Promise<unknown[]>;
}

export async function connectRaw(address: string): Promise<RawClient> {
  const bus = dbusNext.sessionBus({ busAddress: address });
  bus.on('error', () => undefined);
  await new Promise<void>((resolve) => bus.on('connect', resolve));
  return {
    bus,
    async call(header, signature = '', body = []) {
      const reply = await bus.call(new dbusNext.Message({ ...header, signature, body }));
      return reply?.body ?? [];
    },
  };
}

/** A bus of which a test decides what it says. */
export interface FakeBus {
  close(): void;
}

/**
 * Greets whoever connects to the socket, and leaves each message to `onMessage`. What is sent in one call
 * arrives at once.
 */
export async function startFakeBus(
  path: string,
  onMessage: (message: DbusMessage, send: (...messages: DbusMessage[]) => void) => void,
): Promise<FakeBus> {
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on('error', () => undefined);
    let serial = 0;
    const send = (...messages: DbusMessage[]) => {
      for (const message of messages) {
        serial += 1;
        message.serial = serial;
        // A bus says of every message whose it is.
        message.sender ??= 'org.freedesktop.DBus';
      }
      socket.write(Buffer.concat(messages.map(marshall)));
    };
    const greet = (data: Buffer) => {
      if (data.includes('AUTH')) socket.write('OK 0123456789abcdef\r\n');
      const begin = data.indexOf('BEGIN\r\n');
      if (begin < 0) return;
      socket.off('data', greet);
      socket.pause();
      socket.unshift(data.subarray(begin + 'BEGIN\r\n'.length));
      inside<Reader>('message').unmarshalMessages(socket, (message) => {
        onMessage(new dbusNext.Message(inside<Format>('marshall-compat').messageToJsFmt(message)), send);
      });
    };
    socket.on('data', greet);
  });
  await new Promise<void>((resolve) => server.listen(path, resolve));
  return {
    close() {
      for (const socket of sockets) socket.destroy();
      server.close();
    },
  };
}

interface Reader {
  unmarshalMessages(socket: Socket, onMessage: (message: DbusMessage) => void): void;
}
interface Format {
  marshallMessage(message: DbusMessage): [Buffer];
  messageToJsFmt(message: DbusMessage): DbusMessage;
}

/** A module of the library that it does not export. */
const inside = <Module>(name: string) => createRequire(import.meta.url)(`dbus-next/lib/${name}.js`) as Module;

/** The bytes of a message that has a serial. */
const marshall = (message: DbusMessage): Buffer =>
  inside<Format>('marshall-compat').marshallMessage(message)[0];
