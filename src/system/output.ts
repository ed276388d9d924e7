import { spawnSync } from 'node:child_process';
import { constants, fstatSync, openSync, readFileSync, writeSync } from 'node:fs';
import { connect, Socket } from 'node:net';
import { isatty } from 'node:tty';
import { errnoCode } from '../../hw/errors.ts';
import type { Send } from './output-queue.ts';

/**
 * Writes to a descriptor that this process was given, and never waits for its reader. Node's own streams do wait: a full
 * pipe or a stopped terminal holds up the whole process, and a reader that is gone ends it.
 */

/** Write only, without waiting, and without making it the terminal of this process. */
const OPEN_FLAGS = constants.O_WRONLY | constants.O_NONBLOCK | constants.O_NOCTTY;
const STTY_TIMEOUT_MS = 1_000;
/** The socket of journald for streams of lines (sd_journal_stream_fd(3); systemd's journal-send.c has the header). */
const JOURNAL_STREAMS = '/run/systemd/journal/stdout';
/** The effect of a write to a terminal on a process in its background. */
type Background = 'unknown' | 'may write' | 'would be stopped';

/** A function that writes to a descriptor of this process, suited to the kind of file behind it. */
export function sendTo(fd: number): Send {
  const kind = kindOf(fd);
  if (kind === 'socket') {
    // Opening it as a socket makes writes to it return at once; it is never read, and closes with the process.
    const isOpen = openAsSocket(fd);
    return isOpen ? (data) => writeSync(fd, data) : sendReopened(fd, kind);
  }
  return kind === 'file' ? (data) => writeSync(fd, data) : sendReopened(fd, kind);
}

type Kind = 'socket' | 'pipe' | 'terminal' | 'file' | 'device';

/** Major number of the devices that are memory, as /dev/null (the kernel's admin-guide/devices.txt). */
const MEMORY_MAJOR = 1;

/** Whether a descriptor is a terminal. Node loads all of its sockets to say so, so most are not asked. */
export function isTerminal(fd: number): boolean {
  const stat = fstatSync(fd);
  return stat.isCharacterDevice() && major(stat.rdev) !== MEMORY_MAJOR && isatty(fd);
}

/** Of a device number, as makedev(3) has it below its upper half. */
function major(rdev: number): number {
  return (rdev >> 8) & 0xfff;
}

function kindOf(fd: number): Kind {
  const stat = fstatSync(fd);
  if (isTerminal(fd)) return 'terminal';
  if (stat.isSocket()) return 'socket';
  if (stat.isFIFO()) return 'pipe';
  return stat.isCharacterDevice() ? 'device' : 'file';
}

function openAsSocket(fd: number): boolean {
  try {
    const socket = new Socket({ fd, readable: false, writable: true });
    socket.on('error', () => undefined).unref();
    kept.push(socket);
    return true;
  } catch {
    // Node does not know this kind of socket: it is written to as it is.
    return false;
  }
}
/** A socket that is collected closes its descriptor. */
const kept: Socket[] = [];

/**
 * Opens the file behind a descriptor again, so that writes do not wait and other processes with the descriptor are not
 * affected. Opening may fail for a while (a pipe without a reader), so every write tries again.
 */
function sendReopened(fd: number, kind: Kind): Send {
  let own: number | undefined;
  let background: Background = 'unknown';
  const mayWrite = (): boolean => {
    if (kind !== 'terminal' || !inBackground()) return true;
    if (background === 'unknown') background = stopsWriters(fd) ? 'would be stopped' : 'may write';
    return background === 'may write';
  };
  return (data) => {
    own ??= reopen(fd, kind);
    if (!mayWrite()) throw Object.assign(new TypeError('a stop of this process'), { code: 'EAGAIN' });
    return writeSync(own, data);
  };
}

function reopen(fd: number, kind: Kind): number {
  try {
    return openSync(`/proc/self/fd/${fd}`, OPEN_FLAGS);
  } catch (error) {
    const errno = errnoCode(error);
    // A pipe without a reader.
    if (errno === 'ENXIO' || errno === 'EIO') throw error;
    // It belongs to another user, as after su, or there is no /proc.
    if (kind === 'pipe') openAsSocket(fd);
    if (kind !== 'terminal') return fd;
    try {
      return openSync('/dev/tty', OPEN_FLAGS);
    } catch {
      // The terminal belongs to no session: only the descriptor itself is left.
      return fd;
    }
  }
}

/** Whether this process has a terminal and is not in its foreground (proc_pid_stat(5): pgrp, session, tty_nr, tpgid). */
function inBackground(): boolean {
  try {
    const stat = readFileSync('/proc/self/stat', 'latin1');
    const [, , group, , terminal, foreground] = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    return terminal !== '0' && group !== foreground;
  } catch {
    // Without /proc nothing is known of the foreground.
    return false;
  }
}

/**
 * Whether the terminal stops a background process that writes to it (`stty tostop`): rails would stay half up. Node can
 * neither ignore SIGTTOU nor read the setting, so stty does. Without stty the terminal is taken to stop writers.
 */
function stopsWriters(fd: number): boolean {
  const { status, stdout } = spawnSync('stty', ['-a'], {
    stdio: [fd, 'pipe', 'ignore'],
    encoding: 'utf8',
    timeout: STTY_TIMEOUT_MS,
  });
  return status !== 0 || /(^|\s)tostop\b/.test(stdout);
}

/**
 * `sendTo` for a descriptor that systemd connected to the journal. A journald that was stopped reads nothing from that
 * descriptor any more, so the next write opens a stream of its own.
 * @param identifier of the lines (`journalctl -t`)
 * @param path of the socket of journald
 */
export function sendToJournal(fd: number, identifier: string, path = JOURNAL_STREAMS): Send {
  const first = sendTo(fd);
  let isFirstGone = false;
  let stream: { readonly socket: Socket; state: 'connecting' | 'connected' | 'gone' } | null = null;
  /** Text that a stream was given and did not take: the next stream gets it first. */
  let untaken: Uint8Array | null = null;
  const hand = (socket: Socket, data: Uint8Array): void => {
    untaken = data;
    socket.write(data, (error) => {
      if (!error) untaken = null;
    });
  };
  const open = (): void => {
    // journald never answers and shuts its side down at once (journald-stream.c): the stream has not ended then.
    const socket = connect({ path, allowHalfOpen: true }).unref();
    const opened: NonNullable<typeof stream> = { socket, state: 'connecting' };
    stream = opened;
    socket.once('connect', () => {
      opened.state = 'connected';
      // Identifier, unit (journald finds it out), default severity "info", severities in the lines, no forwarding.
      socket.write(`${identifier}\n\n6\n1\n0\n0\n0\n`);
      if (untaken !== null) hand(socket, untaken);
    });
    socket.on('error', () => undefined);
    socket.once('close', () => {
      opened.state = 'gone';
    });
  };
  const unsent = (code: string) => Object.assign(new TypeError('the journal'), { code });
  return (data) => {
    if (!isFirstGone) {
      try {
        return first(data);
      } catch (error) {
        if (errnoCode(error) === 'EAGAIN') throw error;
        isFirstGone = true;
      }
    }
    if (stream === null) {
      open();
      throw unsent('EAGAIN');
    }
    const { socket, state } = stream as NonNullable<typeof stream>;
    if (state === 'gone') {
      stream = null;
      throw unsent('EPIPE');
    }
    if (state === 'connecting' || socket.writableLength > 0) throw unsent('EAGAIN');
    hand(socket, data);
    return data.length;
  };
}
