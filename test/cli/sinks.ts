/** Places where the program's words may go, and how each of them goes wrong. */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import {
  closeSync,
  constants,
  existsSync,
  mkdirSync,
  openSync,
  readFileSync,
  readSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';

/** How a sink goes wrong. `afterLines` is the number of lines that are taken before it does. */
export type SinkKind =
  /** A pipe whose reader leaves: EPIPE. */
  | 'a pipe that closes'
  /** A socket whose reader leaves, as the journal's. */
  | 'a socket that closes'
  /** A pipe that is full and that nobody reads: EAGAIN, or a write that never returns. */
  | 'a pipe that nobody reads'
  | 'a socket that nobody reads'
  /** ENOSPC. */
  | 'a full disk'
  /** EBADF, or whatever the runtime puts there. */
  | 'a descriptor that is closed'
  /** A terminal that is gone, without a signal for it: EIO. */
  | 'a terminal that is gone'
  /** A terminal on which somebody pressed Ctrl-S. */
  | 'a terminal that is stopped';

export interface Ended {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

/** Longest time for one command line; the sequences of the tests take well under a second. */
const LONGEST_MS = 20_000;
/** For `sh -c`: fills standard output until it takes no more, and goes on as the command that is given. */
export const FILLING = 'timeout 0.3 cat /dev/zero; exec "$0" "$@"';

function endOf(child: ChildProcess): Promise<Ended> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => child.kill('SIGKILL'), LONGEST_MS);
    child.once('error', reject);
    child.once('exit', (code, signal) => {
      clearTimeout(timer);
      resolve({ code, signal });
    });
  });
}

/** Runs a command with standard output and error in a sink that goes wrong. */
export async function runInto(
  kind: SinkKind,
  dir: string,
  command: readonly string[],
  afterLines = 0,
): Promise<Ended> {
  const [program = '', ...args] = command;
  switch (kind) {
    case 'a full disk':
      return endOf(spawn('sh', ['-c', 'exec "$0" "$@" >/dev/full 2>&1', ...command], { stdio: 'ignore' }));
    case 'a descriptor that is closed':
      return endOf(spawn('sh', ['-c', 'exec "$0" "$@" >&- 2>&-', ...command], { stdio: 'ignore' }));
    case 'a pipe that nobody reads':
      return withPipe(dir, (reader, writer) => {
        const child = spawn('sh', ['-c', FILLING, ...command], { stdio: ['ignore', writer, writer] });
        return endOf(child).finally(() => closeSync(reader));
      });
    case 'a pipe that closes':
      return withPipe(dir, async (reader, writer) => {
        const child = spawn(program, args, { stdio: ['ignore', writer, writer] });
        const ended = endOf(child);
        await readLines(reader, afterLines, ended);
        closeSync(reader);
        return await ended;
      });
    case 'a socket that nobody reads': {
      // What Node calls a pipe of a child is a socket.
      const child = spawn('sh', ['-c', `exec 2>&1; ${FILLING}`, ...command], {
        stdio: ['ignore', 'pipe', 'ignore'],
      });
      child.stdout?.pause();
      return endOf(child).finally(() => child.stdout?.destroy());
    }
    case 'a socket that closes': {
      const child = spawn('sh', ['-c', 'exec "$0" "$@" 2>&1', ...command], {
        stdio: ['ignore', 'pipe', 'ignore'],
      });
      const { stdout } = child;
      let lines = 0;
      const count = (chunk: Buffer) => {
        lines += chunk.toString().split('\n').length - 1;
        if (lines >= afterLines) stdout?.destroy();
      };
      if (afterLines === 0) stdout?.destroy();
      else stdout?.on('data', count);
      return endOf(child);
    }
    case 'a terminal that is stopped':
    case 'a terminal that is gone':
      return onTerminal(kind, dir, command);
  }
}

/** A pipe with a name, whose ends are this test's to close. */
async function withPipe(
  dir: string,
  use: (reader: number, writer: number) => Promise<Ended>,
): Promise<Ended> {
  const path = join(dir, `pipe-${process.hrtime.bigint()}`);
  execFileSync('mkfifo', [path]);
  const reader = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  const writer = openSync(path, constants.O_WRONLY);
  const ended = use(reader, writer);
  closeSync(writer);
  return await ended;
}

async function readLines(reader: number, count: number, ended: Promise<unknown>): Promise<void> {
  let isOver = false;
  void ended.finally(() => {
    isOver = true;
  });
  const byte = Buffer.alloc(1);
  for (let lines = 0; lines < count && !isOver; ) {
    try {
      // Nothing at all is the end: nobody writes any more.
      if (readSync(reader, byte) === 0) return;
      if (byte[0] === 10) lines += 1;
    } catch (error) {
      if (!(error instanceof Error && 'code' in error && error.code === 'EAGAIN')) throw error;
      await delay(2);
    }
  }
}

/**
 * Runs a command with a terminal of its own as output, in a session that does not belong to it, so that no signal
 * comes of what happens to it.
 */
async function onTerminal(
  kind: 'a terminal that is stopped' | 'a terminal that is gone',
  dir: string,
  command: readonly string[],
): Promise<Ended> {
  const place = join(dir, `terminal-${process.hrtime.bigint()}`);
  mkdirSync(place);
  const [armed, go, result] = ['armed', 'go', 'result'].map((name) => join(place, name)) as [
    string,
    string,
    string,
  ];
  execFileSync('mkfifo', [go]);
  // Held open for both, so that neither end waits for the other.
  const door = openSync(go, constants.O_RDWR);
  const quoted = command.map((word) => `'${word}'`).join(' ');
  // The command waits until the terminal is as it has to be. What it came to goes into a file: the terminal is gone.
  const inner = `stty -echo; setsid sh -c "echo >${armed}; read x <${go}; ${quoted}; echo \\$? >${result}.new; mv ${result}.new ${result}" & sleep 60`;
  const terminal = spawn('script', ['-qec', inner, '/dev/null'], {
    stdio: ['pipe', 'ignore', 'ignore'],
    env: { ...process.env, SHELL: '/bin/sh' },
  });
  try {
    await appears(armed);
    if (kind === 'a terminal that is stopped') {
      terminal.stdin.write('\u0013');
      // Nothing tells that the terminal has taken it.
      await delay(200);
    } else {
      terminal.kill('SIGKILL');
      await new Promise((resolve) => terminal.once('exit', resolve));
    }
    writeSync(door, 'go\n');
    await appears(result);
    return { code: Number(readFileSync(result, 'utf8')), signal: null };
  } finally {
    terminal.kill('SIGKILL');
    closeSync(door);
  }
}

async function appears(path: string): Promise<void> {
  for (const end = Date.now() + LONGEST_MS; !existsSync(path); await delay(10)) {
    if (Date.now() > end) throw new Error(`${path} did not appear within ${LONGEST_MS} ms`);
  }
}
