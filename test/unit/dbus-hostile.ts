/** Peers that send whatever bytes a test wants: a client of a real bus, and a bus. */
import { createConnection, createServer, type Socket } from 'node:net';
import { CALL, ERROR, encode, type Frame, RETURN } from './dbus-frames.ts';

/** What came back, as far as the tests want it. */
export interface Answer {
  readonly type: number;
  readonly serial: number;
  readonly replySerial: number;
  readonly errorName: string | undefined;
  readonly sender: string | undefined;
  readonly member: string | undefined;
  readonly body: Buffer;
}

const FIELD_NAMES = ['', 'path', 'interface', 'member', 'errorName', 'replySerial', 'destination', 'sender'];

/** Cuts bytes into messages; only such as the bus and the program send, which are little-endian. */
function createCutter(onMessage: (message: Answer) => void): (chunk: Buffer) => void {
  let rest = Buffer.alloc(0);
  return (chunk) => {
    rest = Buffer.concat([rest, chunk]);
    for (;;) {
      if (rest.length < 16) return;
      const fieldsEnd = 16 + rest.readUInt32LE(12);
      const bodyStart = Math.ceil(fieldsEnd / 8) * 8;
      const end = bodyStart + rest.readUInt32LE(4);
      if (rest.length < end) return;
      const message = rest.subarray(0, end);
      rest = rest.subarray(end);
      const fields: Record<string, string | number> = {};
      for (let at = 16; at < fieldsEnd; at = Math.ceil(at / 8) * 8) {
        const name = FIELD_NAMES[message[at] ?? 0] ?? '';
        const type = String.fromCharCode(message[at + 2] ?? 0);
        at += 4;
        if (type === 'g') at += 2 + (message[at] ?? 0);
        else if (type === 'u') {
          fields[name] = message.readUInt32LE(at);
          at += 4;
        } else {
          const length = message.readUInt32LE(at);
          fields[name] = message.toString('utf8', at + 4, at + 4 + length);
          at += 5 + length;
        }
      }
      onMessage({
        type: message[1] ?? 0,
        serial: message.readUInt32LE(8),
        replySerial: Number(fields.replySerial ?? 0),
        errorName: fields.errorName as string | undefined,
        sender: fields.sender as string | undefined,
        member: fields.member as string | undefined,
        body: message.subarray(bodyStart),
      });
    }
  };
}

/** A client that is on a bus, and that no library holds back. */
export interface HostileClient {
  readonly name: string;
  /** Sends bytes as they are, and resolves once the socket has taken them. */
  send(bytes: Uint8Array): Promise<void>;
  /** Sends a message with a serial of its own and resolves with what answers it; rejects where the bus hangs up. */
  ask(frame: Frame): Promise<Answer>;
  /** Sends a message with a serial of its own. */
  tell(frame: Frame): Promise<void>;
  /** Whatever came in, in order. */
  readonly heard: readonly Answer[];
  close(): void;
}

export async function connectHostile(address: string): Promise<HostileClient> {
  const socket = createConnection(address.replace('unix:path=', ''));
  const gone = new Promise<never>((_resolve, reject) => {
    socket.on('error', reject);
    socket.on('close', () => reject(new Error('the bus hung up')));
  });
  gone.catch(() => undefined);
  const send = (bytes: Uint8Array) =>
    Promise.race([gone, new Promise<void>((resolve) => socket.write(bytes, () => resolve()))]);

  const uid = Buffer.from(String(process.getuid?.())).toString('hex');
  socket.write(`\0AUTH EXTERNAL ${uid}\r\n`);
  await Promise.race([gone, new Promise((resolve) => socket.once('data', resolve))]);
  socket.write('BEGIN\r\n');

  const heard: Answer[] = [];
  const waiting = new Map<number, (answer: Answer) => void>();
  socket.on(
    'data',
    createCutter((message) => {
      heard.push(message);
      if (message.type !== RETURN && message.type !== ERROR) return;
      waiting.get(message.replySerial)?.(message);
      waiting.delete(message.replySerial);
    }),
  );
  let serial = 0;
  const next = () => {
    serial += 1;
    return serial;
  };
  const ask = async (frame: Frame): Promise<Answer> => {
    const asked = { ...frame, serial: next() };
    const answer = new Promise<Answer>((resolve) => waiting.set(asked.serial, resolve));
    await send(encode(asked));
    return Promise.race([gone, answer]);
  };
  const hello = await ask({
    type: CALL,
    destination: 'org.freedesktop.DBus',
    path: '/org/freedesktop/DBus',
    interface: 'org.freedesktop.DBus',
    member: 'Hello',
  });
  return {
    name: hello.body.toString('utf8', 4, hello.body.length - 1),
    send,
    ask,
    tell: (frame) => send(encode({ ...frame, serial: next() })),
    heard,
    close: () => socket.destroy(),
  };
}

/** A bus that is a test: whoever connects is greeted, and then gets the bytes that the test sends. */
export interface ScriptedBus {
  readonly address: string;
  /** How often somebody connected. */
  readonly greeted: number;
  /** What the last one who connected sent. */
  readonly heard: readonly Answer[];
  /** Sends to the last one who connected. */
  send(bytes: Uint8Array): void;
  /** The same, and resolves once the socket has taken them. */
  sendAll(bytes: Uint8Array): Promise<void>;
  close(): void;
}

export const BUS_NAME = 'org.freedesktop.DBus';
/** What the scripted bus calls who connects. */
export const GUEST = ':1.1';

const nothing = Buffer.alloc(0);

/** The body of one string. */
export const oneString = (value: string): Buffer => {
  const length = Buffer.alloc(4);
  length.writeUInt32LE(Buffer.byteLength(value));
  return Buffer.concat([length, Buffer.from(`${value}\0`)]);
};

/** @param owners who owns which well-known name; the bus answers everything else that it is asked with nothing */
export async function startScriptedBus(
  path: string,
  owners: Readonly<Record<string, string>> = {},
): Promise<ScriptedBus> {
  const sockets: Socket[] = [];
  let heard: Answer[] = [];
  let greeted = 0;
  const server = createServer((socket) => {
    sockets.push(socket);
    socket.on('error', () => undefined);
    let serial = 1_000;
    const answer = (call: Answer, signature: string, body: Buffer, errorName?: string) => {
      serial += 1;
      const type = errorName === undefined ? RETURN : ERROR;
      const frame = {
        type,
        serial,
        replySerial: call.serial,
        sender: BUS_NAME,
        destination: GUEST,
        signature,
      };
      socket.write(encode({ ...frame, body, ...(errorName ? { errorName } : {}) }));
    };
    const cut = createCutter((message) => {
      heard.push(message);
      if (message.type !== CALL) return;
      if (message.member === 'Hello') answer(message, 's', oneString(GUEST));
      else if (message.member === 'RequestName') answer(message, 'u', Buffer.from([1, 0, 0, 0]));
      else if (message.member === 'GetNameOwner') {
        const owner = owners[message.body.toString('utf8', 4, message.body.length - 1)];
        if (owner === undefined) answer(message, '', nothing, 'org.freedesktop.DBus.Error.NameHasNoOwner');
        else answer(message, 's', oneString(owner));
      } else if (message.member === 'AddMatch' || message.member === 'RemoveMatch')
        answer(message, '', nothing);
    });
    let begun = false;
    socket.on('data', (data: Buffer) => {
      if (begun) {
        cut(data);
        return;
      }
      if (data.includes('AUTH')) socket.write('OK 0123456789abcdef\r\n');
      const begin = data.indexOf('BEGIN\r\n');
      if (begin < 0) return;
      begun = true;
      greeted += 1;
      heard = [];
      cut(data.subarray(begin + 'BEGIN\r\n'.length));
    });
  });
  await new Promise<void>((resolve) => server.listen(path, resolve));
  return {
    address: `unix:path=${path}`,
    get greeted() {
      return greeted;
    },
    get heard() {
      return heard;
    },
    send: (bytes) => sockets.at(-1)?.write(bytes),
    sendAll: (bytes) => new Promise((resolve) => sockets.at(-1)?.write(bytes, () => resolve())),
    close() {
      for (const socket of sockets) socket.destroy();
      server.close();
    },
  };
}
