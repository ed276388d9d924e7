import { type BigIntStats, chmodSync, closeSync, linkSync, lstatSync, unlinkSync } from 'node:fs';
import { createServer, connect as openConnection, type Server, type Socket } from 'node:net';
import { join } from 'node:path';
import { errnoCode } from '../errors.ts';
import { ensureDirectory, openPrivateDirectory, randomMark } from '../files.ts';
import { tryFlock } from '../flock.ts';
import type { Clock } from '../ports.ts';
import { pause } from '../waiting.ts';

export interface BusHoldOptions {
  readonly clock: Clock;
  /** The same for all processes that share buses; made where it does not exist. */
  readonly directory: string;
}

/** Holds buses against other processes. */
export interface BusHolds {
  /**
   * Waits for the bus and holds it until the returned function is called, or this process dies. Null where another
   * process has had it for the whole of `limitMs`. Rejects what the file system or flock(1) says where a hold is not
   * possible.
   */
  hold(bus: number, limitMs: number): Promise<(() => void) | null>;
  close(): Promise<void>;
}

/** Longest wait for a holder to hang up before the bus is tried again: one that hangs never does. */
const HOLDER_CHECK_MS = 20;
/** Time that a process leaves to those that wait, before it takes a bus again that it has just released. */
const GIVE_WAY_MS = 2;
/** Names of sockets are at most 107 bytes long (unix(7)). */
const LONGEST_PATH = 100;

/**
 * A process holds a bus while its own listening socket is linked to `i2c-N.hold`. link(2) gives the name to one process
 * only, and costs as little as the system call of a transfer. connect(2) to the socket of a holder that died is refused.
 * The name that a dead holder left is removed under flock(1), so that two processes that find it do not remove each
 * other's; flock(1) is a process of its own, which is started only after a death. A process that waits connects to the
 * holder, and the holder hangs up when it releases the bus.
 */
export function createBusHolds({ clock, directory }: BusHoldOptions): BusHolds {
  let own: { readonly path: string; readonly server: Server } | null = null;
  const waiting = new Set<Socket>();
  let gaveWayAtMs = Number.NEGATIVE_INFINITY;

  const listen = async (): Promise<string> => {
    if (own !== null) return own.path;
    ensureDirectory(directory);
    const path = join(directory, `i2c.${process.pid}.${randomMark()}`);
    if (Buffer.byteLength(path) > LONGEST_PATH) throw new RangeError(`${path} is too long for a socket`);
    const server = createServer((socket) => {
      waiting.add(socket);
      socket.on('error', () => undefined);
      socket.on('close', () => waiting.delete(socket));
      socket.unref();
      socket.resume();
    });
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen(path, resolve);
    });
    // A connection that cannot be accepted still waits: its process tries again.
    server.on('error', () => undefined);
    // The socket keeps no process alive, and lets nobody else in.
    server.unref();
    chmodSync(path, 0o600);
    own = { path, server };
    return path;
  };

  const release = (name: string): void => {
    try {
      // Where the directory was replaced meanwhile, the name may belong to another holder.
      if (own !== null && lstatSync(name).ino === lstatSync(own.path).ino) unlinkSync(name);
    } catch {
      // The name is gone with its directory.
    }
    if (waiting.size > 0) gaveWayAtMs = clock.nowMs();
    for (const socket of waiting) socket.destroy();
  };

  return {
    async hold(bus, limitMs) {
      const name = join(directory, `i2c-${bus}.hold`);
      const deadlineMs = clock.nowMs() + limitMs;
      if (clock.nowMs() < gaveWayAtMs + GIVE_WAY_MS) await pause(clock, GIVE_WAY_MS);
      for (;;) {
        try {
          linkSync(await listen(), name);
          return () => release(name);
        } catch (error) {
          // The directory was replaced, and our socket went with it.
          if (errnoCode(error) === 'ENOENT' && own !== null) {
            own.server.close();
            own = null;
          } else if (errnoCode(error) !== 'EEXIST') throw error;
        }
        const leftMs = deadlineMs - clock.nowMs();
        if (leftMs <= 0) return null;
        if ((await waitForHolder(name, clock, Math.min(leftMs, HOLDER_CHECK_MS))) === 'dead')
          await clearAway(name, directory, clock, leftMs);
      }
    },
    async close() {
      const { server } = own ?? {};
      own = null;
      for (const socket of waiting) socket.destroy();
      await new Promise<void>((resolve) => {
        if (server === undefined) resolve();
        else server.close(() => resolve());
      });
    },
  };
}

/** Waits until the holder hangs up, or for `limitMs`. Resolves `dead` at once where the holder has died. */
function waitForHolder(name: string, clock: Clock, limitMs: number): Promise<'dead' | 'alive'> {
  return new Promise((resolve, reject) => {
    const socket = openConnection({ path: name });
    const end = (found: 'dead' | 'alive') => {
      cancel();
      socket.destroy();
      resolve(found);
    };
    const cancel = clock.after(limitMs, () => end('alive'));
    socket.on('close', () => end('alive'));
    socket.on('error', (error) => {
      const errno = errnoCode(error);
      // A name that is not there now was released, and may be another holder's in the next moment; but a link to nothing is
      // no holder's.
      if (errno === 'ECONNREFUSED' || (errno === 'ENOENT' && seen(name)?.isSymbolicLink())) end('dead');
      // The bus was released meanwhile, the holder hung up, or too many wait for it.
      else if (errno === 'ENOENT' || errno === 'ECONNRESET' || errno === 'EPIPE' || errno === 'EAGAIN')
        end('alive');
      else {
        cancel();
        reject(error);
      }
    });
    socket.resume();
  });
}

function seen(path: string): BigIntStats | undefined {
  return lstatSync(path, { throwIfNoEntry: false, bigint: true });
}

/**
 * Takes away what a dead holder left. Only one process does so at a time, and it checks the holder again first: the one
 * that did not answer may have ended well, and the name be another's by now.
 */
async function clearAway(name: string, directory: string, clock: Clock, limitMs: number): Promise<void> {
  const fd = openPrivateDirectory(join(directory, 'i2c.dead'));
  try {
    if (!(await lock(fd, clock, limitMs))) return;
    const left = seen(name)?.ino;
    if (left === undefined || (await waitForHolder(name, clock, HOLDER_CHECK_MS)) === 'alive') return;
    if (seen(name)?.ino === left) unlinkSync(name);
  } finally {
    closeSync(fd);
  }
}

/** Whether this process has the flock of an open directory now. Rejects where flock(1) cannot be started. */
async function lock(fd: number, clock: Clock, limitMs: number): Promise<boolean> {
  const answer = await tryFlock(fd, { clock, limitMs });
  if (typeof answer === 'object' && answer.error !== undefined) throw answer.error;
  return answer === 'locked';
}
