/** A client for the QEMU machine protocol: the rig's hands on the world around the emulated BMC. */
import { createConnection, type Socket } from 'node:net';

export type Level = 0 | 1;

/** Where QEMU keeps the GPIO controller with the port lines A0 … Z7 and on (208 lines on an AST2600). */
const GPIO_PATH = '/machine/soc/gpio';

/** Offsets of the direction registers, one for each four ports, from the start of the controller at GPIO_ADDRESS. */
const GPIO_ADDRESS = 0x1e780000;
const DIRECTION_REGISTERS = [0x004, 0x024, 0x074, 0x07c, 0x084, 0x08c, 0x1e4];

export class QmpError extends Error {
  override readonly name = 'QmpError';
}

/**
 * One connection to a QEMU that runs. Every call settles: with the answer, with QEMU's own error, when its time limit
 * is over, or when the connection is lost. A QMP socket serves one client at a time, so each party that needs one
 * gets a socket of its own (see `BmcHandle.qmpSockets`).
 */
export interface Qmp {
  execute(
    command: string,
    args?: Record<string, unknown>,
    options?: { timeoutMs?: number },
  ): Promise<unknown>;
  qomGet(path: string, property: string): Promise<unknown>;
  qomSet(path: string, property: string, value: unknown): Promise<void>;
  /** The level of a line named as in the data sheet, `C0`: what the guest drives, or what the rig put on an input. */
  gpioLevel(line: string): Promise<Level>;
  /** Whether the guest has made the line an output. Only lines A0 to AB7 (the port lines of an AST2600). */
  gpioDirection(line: string): Promise<'in' | 'out'>;
  /** Puts a level on a line, for lines that are inputs of the guest: on an output it would overwrite what the guest drives. */
  setGpioLevel(line: string, level: Level): Promise<void>;
  /** Calls `listener` for every QMP event, such as `RESET`; the function returned takes it off again. */
  onEvent(listener: (name: string, data: unknown) => void): () => void;
  /** Resets the machine as its reset pin would. Nothing in the guest is told beforehand. */
  systemReset(): Promise<void>;
  /** Ends QEMU. The disk overlay is lost with it. */
  quit(): Promise<void>;
  /** Lets go of the connection; QEMU runs on. */
  close(): void;
}

interface Pending {
  command: string;
  resolve(value: unknown): void;
  reject(error: Error): void;
  timer: NodeJS.Timeout;
}

interface Message {
  QMP?: unknown;
  event?: string;
  data?: unknown;
  id?: number;
  return?: unknown;
  error?: { class?: string; desc?: string };
}

export async function connectQmp(socketPath: string, options: { timeoutMs?: number } = {}): Promise<Qmp> {
  const connection = new QmpConnection(socketPath, options.timeoutMs ?? 10_000);
  await connection.open();
  return connection;
}

class QmpConnection implements Qmp {
  readonly #path: string;
  readonly #timeoutMs: number;
  readonly #pending = new Map<number, Pending>();
  readonly #listeners = new Set<(name: string, data: unknown) => void>();
  readonly #socket: Socket;
  #greeted: (() => void) | undefined;
  #text = '';
  #nextId = 1;
  #lost: Error | undefined;

  constructor(path: string, timeoutMs: number) {
    this.#path = path;
    this.#timeoutMs = timeoutMs;
    this.#socket = createConnection({ path });
    this.#socket.setEncoding('utf8');
    this.#socket.on('data', (text: string) => this.#receive(text));
    this.#socket.on('error', (error) => this.#lose(error.message));
    this.#socket.on('close', () => this.#lose('QEMU closed it, or ended'));
  }

  /** The greeting comes only when the socket's previous client is gone, hence the limit on it too. */
  async open(): Promise<void> {
    await new Promise<void>((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#lose(`no greeting within ${this.#timeoutMs} ms; is another client connected to this socket?`);
      }, this.#timeoutMs);
      this.#pending.set(0, { command: 'greeting', resolve: () => resolve(), reject, timer });
      this.#greeted = () => this.#settle(0)?.resolve(undefined);
    });
    await this.execute('qmp_capabilities');
  }

  execute(
    command: string,
    args?: Record<string, unknown>,
    options: { timeoutMs?: number } = {},
  ): Promise<unknown> {
    if (this.#lost) return Promise.reject(this.#lost);
    const id = this.#nextId++;
    const timeoutMs = options.timeoutMs ?? this.#timeoutMs;
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#settle(id)?.reject(new QmpError(`QMP ${command}: no answer from QEMU within ${timeoutMs} ms`));
      }, timeoutMs);
      this.#pending.set(id, { command, resolve, reject, timer });
      this.#socket.write(`${JSON.stringify({ execute: command, ...(args && { arguments: args }), id })}\n`);
    });
  }

  qomGet(path: string, property: string): Promise<unknown> {
    return this.execute('qom-get', { path, property });
  }

  async qomSet(path: string, property: string, value: unknown): Promise<void> {
    await this.execute('qom-set', { path, property, value });
  }

  async gpioLevel(line: string): Promise<Level> {
    return (await this.qomGet(GPIO_PATH, `gpio${line}`)) === true ? 1 : 0;
  }

  setGpioLevel(line: string, level: Level): Promise<void> {
    return this.qomSet(GPIO_PATH, `gpio${line}`, level === 1);
  }

  async gpioDirection(line: string): Promise<'in' | 'out'> {
    const [, twice, letter, digit] = /^(A?)([A-Z])([0-7])$/.exec(line) ?? [];
    if (letter === undefined) throw new QmpError(`no GPIO line is called ${line}: they are called A0 to AB7`);
    const port = letter.charCodeAt(0) - 65 + (twice ? 26 : 0);
    const register = DIRECTION_REGISTERS[port >> 2];
    if (register === undefined)
      throw new QmpError(`no GPIO line is called ${line}: they are called A0 to AB7`);
    // The object model shows levels only; the register is read as the debugger would.
    const address = `0x${(GPIO_ADDRESS + register).toString(16)}`;
    const text = String(
      await this.execute('human-monitor-command', { 'command-line': `xp /1wx ${address}` }),
    );
    const bits = Number(/:\s*(0x[0-9a-f]{8})/.exec(text)?.[1]);
    if (Number.isNaN(bits)) throw new QmpError(`QEMU did not show the register at ${address}: ${text}`);
    return (bits >>> ((port & 3) * 8 + Number(digit))) & 1 ? 'out' : 'in';
  }

  onEvent(listener: (name: string, data: unknown) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  async systemReset(): Promise<void> {
    await this.execute('system_reset');
  }

  async quit(): Promise<void> {
    await this.execute('quit');
    this.close();
  }

  close(): void {
    this.#lose('this client closed it');
    this.#socket.destroy();
  }

  #receive(text: string): void {
    this.#text += text;
    for (let end = this.#text.indexOf('\n'); end >= 0; end = this.#text.indexOf('\n')) {
      const line = this.#text.slice(0, end);
      this.#text = this.#text.slice(end + 1);
      if (line.trim() !== '') this.#take(line);
    }
  }

  #take(line: string): void {
    let message: Message;
    try {
      message = JSON.parse(line) as Message;
    } catch {
      this.#lose(`what came is not JSON: ${line.slice(0, 80)}`);
      this.#socket.destroy();
      return;
    }
    if (message.QMP !== undefined) this.#greeted?.();
    else if (message.event !== undefined)
      for (const listener of this.#listeners) listener(message.event, message.data);
    else if (message.id !== undefined) {
      const pending = this.#settle(message.id);
      if (message.error)
        pending?.reject(new QmpError(`QMP ${pending.command}: ${message.error.desc ?? 'refused'}`));
      else pending?.resolve(message.return);
    }
  }

  /** Takes a call off the list, so that whoever comes second (answer, time limit, loss) finds nothing to settle. */
  #settle(id: number): Pending | undefined {
    const pending = this.#pending.get(id);
    if (pending) clearTimeout(pending.timer);
    this.#pending.delete(id);
    return pending;
  }

  #lose(why: string): void {
    if (this.#lost) return;
    this.#lost = new QmpError(`QMP connection ${this.#path} is lost: ${why}`);
    for (const id of [...this.#pending.keys()]) this.#settle(id)?.reject(this.#lost);
  }
}
