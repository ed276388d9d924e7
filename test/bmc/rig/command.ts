/** The host's side of the rig agent (guest/agent.c has the protocol): one TCP connection, one command in the guest. */
import { createConnection, type Socket } from 'node:net';
import { Duplex } from 'node:stream';

export class GuestError extends Error {
  override readonly name = 'GuestError';
}

/** Bytes of stdin per frame: the agent takes the next frame only when the command has taken the last one. */
const STDIN_CHUNK_BYTES = 16 * 1024;
const HEADER_BYTES = 5;
/** How much of stderr a stream remembers. */
const STDERR_KEPT_BYTES = 64 * 1024;

/** Frames of one connection, in the order in which they came. */
class FrameReader {
  #rest: Buffer = Buffer.alloc(0);

  *push(data: Buffer): Generator<{ type: string; payload: Buffer }> {
    this.#rest = this.#rest.length === 0 ? data : Buffer.concat([this.#rest, data]);
    while (this.#rest.length >= HEADER_BYTES) {
      const end = HEADER_BYTES + this.#rest.readUInt32BE(1);
      if (this.#rest.length < end) return;
      const type = String.fromCharCode(this.#rest.readUInt8(0));
      const payload = this.#rest.subarray(HEADER_BYTES, end);
      this.#rest = this.#rest.subarray(end);
      yield { type, payload };
    }
  }
}

function frame(type: string, payload: Uint8Array): Buffer {
  const packet = Buffer.allocUnsafe(HEADER_BYTES + payload.length);
  packet.write(type, 0, 'latin1');
  packet.writeUInt32BE(payload.length, 1);
  packet.set(payload, HEADER_BYTES);
  return packet;
}

/**
 * A process in the guest: a Duplex whose writable side is its stdin and whose readable side is its stdout. `end()`
 * closes its stdin; `destroy()` kills it and every process of its group.
 */
export class GuestProcess extends Duplex {
  /** Its exit code (128 + n when signal n killed it). Rejects when the connection or the time limit ends it first. */
  readonly exited: Promise<number>;
  readonly #socket: Socket;
  readonly #stderr: Buffer[] = [];
  #stderrBytes = 0;
  #resolveExited: (code: number) => void = () => undefined;
  #rejectExited: (error: Error) => void = () => undefined;
  #ended = false;
  #timer: NodeJS.Timeout;

  constructor(socket: Socket, frames: FrameReader, command: string, timeoutMs: number) {
    super({ allowHalfOpen: true });
    this.#socket = socket;
    this.exited = new Promise((resolve, reject) => {
      this.#resolveExited = resolve;
      this.#rejectExited = reject;
    });
    // The stream's own 'error' says the same; who reads only the stream must not be hit by an unhandled rejection.
    this.exited.catch(() => undefined);
    this.#timer = setTimeout(
      () => this.#fail(`still ran after ${timeoutMs} ms and was killed: ${shorten(command)}`),
      timeoutMs,
    );
    socket.removeAllListeners();
    socket.on('data', (data) => {
      for (const { type, payload } of frames.push(data)) this.#take(type, payload);
    });
    socket.on('error', (error) =>
      this.#fail(`lost the connection to the guest (${error.message}): ${shorten(command)}`),
    );
    socket.on('close', () =>
      this.#fail(`the guest closed the connection before an exit code came: ${shorten(command)}`),
    );
    socket.write(frame('C', Buffer.from(command)));
    socket.resume();
  }

  /** The last 64 KiB of what it wrote to stderr so far. */
  get stderr(): Buffer {
    return Buffer.concat(this.#stderr);
  }

  override _read(): void {
    this.#socket.resume();
  }

  override _write(data: Buffer, _encoding: BufferEncoding, done: (error?: Error | null) => void): void {
    const packets: Buffer[] = [];
    for (let at = 0; at < data.length; at += STDIN_CHUNK_BYTES) {
      packets.push(frame('I', data.subarray(at, at + STDIN_CHUNK_BYTES)));
    }
    // A process that has ended takes no more input; that is no error of the writer.
    if (this.#ended) done();
    else this.#socket.write(Buffer.concat(packets), () => done());
  }

  override _final(done: (error?: Error | null) => void): void {
    if (!this.#ended) this.#socket.write(frame('E', Buffer.alloc(0)));
    done();
  }

  override _destroy(error: Error | null, done: (error: Error | null) => void): void {
    clearTimeout(this.#timer);
    if (!this.#ended) {
      this.#ended = true;
      this.#rejectExited(error ?? new GuestError('was killed: its stream was destroyed'));
    }
    this.#socket.destroy();
    done(error);
  }

  #take(type: string, payload: Buffer): void {
    if (type === 'O') {
      if (!this.push(payload)) this.#socket.pause();
    } else if (type === 'R') {
      this.#stderr.push(payload);
      this.#stderrBytes += payload.length;
      for (
        let first = this.#stderr[0];
        first && this.#stderrBytes - first.length >= STDERR_KEPT_BYTES;
        first = this.#stderr[0]
      ) {
        this.#stderrBytes -= first.length;
        this.#stderr.shift();
      }
      this.emit('stderr', payload);
    } else if (type === 'X') {
      this.#ended = true;
      clearTimeout(this.#timer);
      this.#socket.destroy();
      this.push(null);
      this.#resolveExited(payload.readUInt32BE(0));
    }
  }

  #fail(why: string): void {
    if (this.#ended) return;
    this.destroy(new GuestError(why));
  }
}

/** What the agent says first. */
export interface Greeting {
  bootId: string;
}

/**
 * Connects to the agent and starts `command` there; without a command it only listens to the greeting.
 * QEMU's user network accepts connections while the guest is down, so only the greeting means that somebody is there.
 */
export async function connectAgent(
  port: number,
  timeoutMs: number,
): Promise<Greeting & { start: StartCommand; close(): void }> {
  const socket = createConnection({ host: '127.0.0.1', port, noDelay: true });
  const frames = new FrameReader();
  const greeting = await new Promise<Greeting>((resolve, reject) => {
    const fail = (why: string) => {
      clearTimeout(timer);
      socket.destroy();
      reject(new GuestError(`no rig agent on port ${port}: ${why}`));
    };
    const timer = setTimeout(() => fail(`no greeting within ${timeoutMs} ms; is the guest up?`), timeoutMs);
    socket.on('error', (error) => fail(error.message));
    socket.on('close', () => fail('the connection was closed; is the guest still booting?'));
    socket.on('data', (data) => {
      for (const { type, payload } of frames.push(data)) {
        if (type !== 'H') continue;
        clearTimeout(timer);
        socket.pause();
        resolve({ bootId: payload.toString() });
      }
    });
  });
  return {
    ...greeting,
    start: (command, commandTimeoutMs) => new GuestProcess(socket, frames, command, commandTimeoutMs),
    close: () => socket.destroy(),
  };
}

export type StartCommand = (command: string, timeoutMs: number) => GuestProcess;

export function shorten(command: string): string {
  const line = command.replaceAll(/\s+/g, ' ');
  return line.length > 120 ? `${line.slice(0, 117)}...` : line;
}
