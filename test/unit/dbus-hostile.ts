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
  readonly destination: string | undefined;
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
        destination: fields.destination as string | undefined,
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
  let isGone: Error | undefined;
  /** What ends with the connection. Promises that are raced with one that lasts would all be kept by it. */
  const open = new Set<(error: Error) => void>();
  const end = (error: Error) => {
    isGone ??= error;
    for (const reject of open) reject(isGone);
  };
  socket.on('error', end);
  socket.on('close', () => end(new Error('the bus hung up')));
  const whileOpen = <T>(begin: (done: (value: T) => void) => void): Promise<T> =>
    new Promise<T>((resolve, reject) => {
      if (isGone !== undefined) reject(isGone);
      open.add(reject);
      begin((value) => {
        open.delete(reject);
        resolve(value);
      });
    });
  const send = (bytes: Uint8Array) => whileOpen<void>((done) => socket.write(bytes, () => done()));

  const uid = Buffer.from(String(process.getuid?.())).toString('hex');
  socket.write(`\0AUTH EXTERNAL ${uid}\r\n`);
  await whileOpen((greeted) => socket.once('data', greeted));
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
    const answer = whileOpen<Answer>((answered) => waiting.set(asked.serial, answered));
    answer.catch(() => undefined);
    await send(encode(asked));
    return answer;
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
  /** Answers what was left silent, with more bytes right behind; all members are answered from then on. */
  answerSilent(behind?: Uint8Array): void;
  /** The match rules that the last one who connected has. */
  rules(): readonly string[];
  close(): void;
}

export interface ScriptedBusOptions {
  /** Who owns which well-known name. What one of these is called for is answered in his name, with nothing. */
  readonly owners?: Readonly<Record<string, string>>;
  /** Members that are not answered. */
  readonly silent?: readonly string[];
  /** Members that are answered with an error. */
  readonly refused?: readonly string[];
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

const textOf = ({ body }: Answer): string =>
  body.toString('utf8', 4, 4 + (body.length > 3 ? body.readUInt32LE(0) : 0));

export async function startScriptedBus(
  path: string,
  { owners = {}, silent = [], refused = [] }: ScriptedBusOptions = {},
): Promise<ScriptedBus> {
  const sockets: Socket[] = [];
  let heard: Answer[] = [];
  let rules: string[] = [];
  let unanswered: (() => Buffer)[] = [];
  let isSilent = true;
  let greeted = 0;
  let serial = 1_000;

  const answerTo = (call: Answer): Buffer => {
    const { member = '', destination = BUS_NAME } = call;
    const answer = (signature: string, body: Buffer, errorName?: string) => {
      serial += 1;
      const type = errorName === undefined ? RETURN : ERROR;
      const sender = owners[destination] ?? BUS_NAME;
      const frame = { type, serial, replySerial: call.serial, sender, destination: GUEST, signature, body };
      return encode({ ...frame, ...(errorName ? { errorName } : {}) });
    };
    if (refused.includes(member)) return answer('s', oneString('no'), 'org.example.Error.Refused');
    switch (member) {
      case 'Hello':
        return answer('s', oneString(GUEST));
      case 'RequestName':
        return answer('u', Buffer.from([1, 0, 0, 0]));
      case 'GetNameOwner': {
        const owner = owners[textOf(call)];
        if (owner !== undefined) return answer('s', oneString(owner));
        return answer('s', oneString('nobody'), 'org.freedesktop.DBus.Error.NameHasNoOwner');
      }
      default:
        return answer('', nothing);
    }
  };
  const onCall = (socket: Socket, call: Answer) => {
    const { member = '' } = call;
    // A bus that answers late has done it all the same.
    if (member === 'AddMatch' && !refused.includes(member)) rules.push(textOf(call));
    if (member === 'RemoveMatch') {
      const at = rules.indexOf(textOf(call));
      if (at >= 0) rules.splice(at, 1);
    }
    if (isSilent && silent.includes(member)) unanswered.push(() => answerTo(call));
    else socket.write(answerTo(call));
  };

  const server = createServer((socket) => {
    sockets.push(socket);
    socket.on('error', () => undefined);
    const cut = createCutter((message) => {
      heard.push(message);
      if (message.type === CALL) onCall(socket, message);
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
      rules = [];
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
    rules: () => rules,
    send: (bytes) => sockets.at(-1)?.write(bytes),
    sendAll: (bytes) => new Promise((resolve) => sockets.at(-1)?.write(bytes, () => resolve())),
    answerSilent(behind = nothing) {
      isSilent = false;
      const answers = unanswered.map((answer) => answer());
      unanswered = [];
      sockets.at(-1)?.write(Buffer.concat([...answers, behind]));
    },
    close() {
      for (const socket of sockets) socket.destroy();
      server.close();
    },
  };
}
