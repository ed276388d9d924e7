import { closeSync, constants, existsSync, openSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { isShortage } from '../../hw/errors.ts';
import {
  ensureDirectory,
  fileProblem,
  openPrivateDirectory,
  readRegularFile,
  writeDurably,
} from '../../hw/files.ts';
import type { Clock, Flock, FlockOptions, NoLockAnswer } from '../../hw/ports.ts';
import { pause } from '../../hw/waiting.ts';
import { PowerError, shortage } from '../errors.ts';
import { lockPath } from './paths.ts';

/**
 * flock(1) only asks the kernel, but a machine under load may take seconds to start it. It is waited for that long even
 * where no other process would be waited for.
 */
const LEAST_ANSWER_MS = 10_000;
/** Longest time to ask for a lock: the question must not delay a power-off after a loss of pgood. */
const QUERY_MS = 1_000;
/** Time between two attempts at a lock that is taken: each attempt starts a process. */
const POLL_MS = 200;
/** The same after `LONG_MS`: the holder does more than one stage then. */
const SLOW_POLL_MS = 1_000;
const LONG_MS = 2_000;
/** The file has a name and two numbers. */
const HOLDER_BYTES = 4_096;

export interface ChassisLock {
  release(): void;
}

/** What the lock of a chassis is asked for with. */
export interface Locking {
  readonly clock: Clock;
  readonly flock: Flock;
}

export interface LockOptions extends Locking {
  /** How long to wait for another process that drives the chassis; with 0 a lock that is taken is refused at once. */
  readonly waitMs: number;
  /** Ends the wait. */
  readonly signal: AbortSignal;
  /** Called once, when the wait begins, with the process that has the chassis. */
  readonly onWait: (holder: string) => void;
  /**
   * For a power-off, which goes on without a lock where no other process can have it either: called with the reason.
   * Without this function a lock that cannot be had is an error.
   */
  readonly onWithout?: (why: string) => void;
}

/**
 * Makes this process the only one that drives a chassis, until it releases the lock or dies: the kernel
 * holds the lock on an open directory and drops it with the last descriptor, so a killed holder leaves nothing
 * to clean up. Node has no flock(2), so util-linux's flock(1) locks the descriptor that it inherits; the
 * lock belongs to the open directory, which stays with this process when flock(1) has ended. Nobody but its owner and
 * root can open that directory, so nobody else can hold the lock.
 *
 * @param holder what this process does, told to whoever has to wait or is turned away
 * @throws PowerError CHASSIS_LOCKED with the holder in the message, RUN_DIR_UNUSABLE, MACHINE_SHORT, INTERRUPTED
 */
export async function lockChassis(
  runDir: string,
  chassis: number,
  holder: string,
  options: LockOptions,
): Promise<ChassisLock> {
  const { onWithout } = options;
  const path = lockPath(runDir, chassis);
  const place: LockPlace = { path, chassis, fd: null };
  try {
    ensureDirectory(runDir);
    place.fd = openPrivateDirectory(path);
  } catch (error) {
    // What this process is short of others may have had: it is asked for again.
    if (!isShortage(error)) {
      const why = `cannot use ${path} (${fileProblem(error)}): run as root, or name another --run-dir`;
      // Every process of this program meets the same here, so none has the lock.
      if (onWithout !== undefined) return without(why, onWithout, place);
      throw new PowerError('RUN_DIR_UNUSABLE', why, { path }, { cause: error });
    }
  }
  const cannot = await askForLock(place, options).catch((error: unknown) => {
    leave(place);
    throw error;
  });
  if (cannot !== null) {
    const { why, other, isShort, error } = cannot;
    const what = `cannot lock ${path}: flock (util-linux or busybox) ${why}`;
    const isFree = other !== 'unread' && !other?.isAlive;
    if (onWithout !== undefined && isFree) return without(what, onWithout, place);
    leave(place);
    if (isShort) throw shortage(`cannot lock ${path}`, error);
    const who = isFree ? '' : `, and ${other === 'unread' ? 'another process' : other?.text} may have it`;
    throw new PowerError('RUN_DIR_UNUSABLE', `${what}${who}`, { path });
  }
  const text = `${holder}, pid ${process.pid}`;
  writeHolder(path, `${text}\n${startOf(process.pid) ?? ''}\n`);
  return {
    release() {
      if (place.fd === null) return;
      writeHolder(path, `${text}\n${RELEASED}\n`);
      leave(place);
    },
  };
}

/** Where the lock is, and the descriptor that it is asked for with. */
interface LockPlace {
  readonly path: string;
  readonly chassis: number;
  fd: number | null;
}

function leave(place: LockPlace): void {
  if (place.fd !== null) closeSync(place.fd);
  place.fd = null;
}

/** Nobody could tell whether the lock was got, to the end of the wait. */
interface Cannot extends NoLockAnswer {
  /** The process that said last that it has the lock. */
  readonly other: Holder | null | 'unread';
}

/**
 * Asks until the lock is got, for which null stands, or cannot be told of.
 * @throws PowerError CHASSIS_LOCKED, INTERRUPTED; the error of opening the place
 */
async function askForLock(
  place: LockPlace,
  { clock, flock, waitMs, signal, onWait }: LockOptions,
): Promise<Cannot | null> {
  const { path, chassis } = place;
  const startMs = clock.nowMs();
  const answerByMs = startMs + Math.max(waitMs, LEAST_ANSWER_MS);
  let wasTaken = false;
  let shortSinceMs: number | null = null;
  for (let hasReportedWait = false; ; ) {
    const limitMs = Math.min(LEAST_ANSWER_MS, Math.max(answerByMs - clock.nowMs(), QUERY_MS));
    const answer = await askOrShort(flock, place, { clock, limitMs, signal });
    if (answer === 'locked') return null;
    const other = readHolder(path);
    const nowMs = clock.nowMs();
    // Who cannot ask goes by what the holder wrote.
    const isAlive = other !== 'unread' && other?.isAlive === true;
    const isTaken = answer === 'taken' || (answer.isShort === true && isAlive);
    wasTaken ||= isTaken;
    if (wasTaken && nowMs >= startMs + waitMs) throw lockedBy(other, path, chassis);
    if (!isTaken) {
      shortSinceMs = answer.isShort ? (shortSinceMs ?? nowMs) : null;
      const byMs = shortSinceMs === null ? answerByMs : shortSinceMs + QUERY_MS;
      if (answer.isFinal || nowMs >= byMs) return { ...answer, other };
    } else {
      shortSinceMs = null;
    }
    if (isTaken && !hasReportedWait) {
      hasReportedWait = true;
      onWait(textOf(other));
    }
    await pause(clock, nowMs - startMs < LONG_MS ? POLL_MS : SLOW_POLL_MS, signal);
    if (signal.aborted) {
      const message = `${String(signal.reason)} while waiting for the lock of chassis ${chassis}: nothing was begun`;
      throw new PowerError('INTERRUPTED', message, { chassis, signal: signal.reason });
    }
  }
}

/** Asks for the lock. What asks may itself not be loaded where descriptors are short. */
async function askOrShort(
  flock: Flock,
  place: LockPlace,
  options: FlockOptions,
): Promise<'locked' | 'taken' | NoLockAnswer> {
  let answer: Awaited<ReturnType<Flock>>;
  try {
    place.fd ??= openPrivateDirectory(place.path);
    answer = await flock(place.fd, options);
  } catch (error) {
    if (!(error instanceof Error) || !isShortage(error)) throw error;
    answer = { why: `cannot be started (${fileProblem(error)})`, isFinal: false, isShort: true, error };
  }
  // Its descriptor may be the one for which the holder can be read.
  if (typeof answer === 'object' && answer.isShort) leave(place);
  return answer;
}

/** Whether a process, this one included, has the lock of a chassis. False where there is none, and where none can tell. */
export async function isLocked(runDir: string, chassis: number, { clock, flock }: Locking): Promise<boolean> {
  const { O_RDONLY, O_DIRECTORY, O_NOFOLLOW } = constants;
  const path = lockPath(runDir, chassis);
  let fd: number;
  try {
    fd = openSync(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
  } catch {
    // No lock, so nobody has it.
    return false;
  }
  try {
    const answer = await flock(fd, { clock, limitMs: QUERY_MS });
    if (answer === 'locked' || answer === 'taken') return answer === 'taken';
    return holderOf(path)?.isAlive ?? false;
  } finally {
    closeSync(fd);
  }
}

/** What the last process that locked a chassis said that it does; null while it is locked, and where none ever was. */
export async function lastHolder(runDir: string, chassis: number, locking: Locking): Promise<string | null> {
  if (await isLocked(runDir, chassis, locking)) return null;
  return holderOf(lockPath(runDir, chassis))?.text.split(',')[0] || null;
}

/** What the last process that locked a chassis wrote when it let go of it; null while one may have it, and where none ever had. */
export function releasedBy(runDir: string, chassis: number): string | null {
  const holder = holderLines(lockPath(runDir, chassis));
  return holder !== 'unread' && holder?.[1] === RELEASED ? holder.join('\n') : null;
}

/**
 * What the process did that locked a chassis last and died with the lock; null where it let go of it, or lives. Asks nothing of the
 * lock, which a query takes for a moment.
 */
export function diedAs(runDir: string, chassis: number): string | null {
  const path = lockPath(runDir, chassis);
  const holder = releasedBy(runDir, chassis) === null ? holderOf(path) : null;
  return holder === null || holder.isAlive ? null : (holder.text.split(',')[0] ?? null);
}

function without(why: string, onWithout: (why: string) => void, place: LockPlace): ChassisLock {
  onWithout(why);
  // flock(1) may have got the lock without saying so.
  return { release: () => leave(place) };
}

function lockedBy(other: Holder | null | 'unread', path: string, chassis: number): PowerError {
  const holder = textOf(other);
  return new PowerError(
    'CHASSIS_LOCKED',
    `chassis ${chassis} is driven by another process${holder ? ` (${holder})` : ''}: wait for it to end`,
    { path, chassis, holder },
  );
}

interface Holder {
  /** What the process does, and its number. */
  readonly text: string;
  /** The process runs, and has not released the lock. */
  readonly isAlive: boolean;
}

const RELEASED = 'released';

function holderPath(lock: string): string {
  return join(lock, 'holder');
}

/** The process that wrote last that it has the lock; null where none did, or the file cannot be read. */
function holderOf(lock: string): Holder | null {
  const holder = readHolder(lock);
  return holder === 'unread' ? null : holder;
}

function textOf(holder: Holder | null | 'unread'): string {
  return holder === 'unread' ? '' : (holder?.text ?? '');
}

/** The same, and `unread` where this process has no descriptor to read it with. */
function readHolder(lock: string): Holder | null | 'unread' {
  const lines = holderLines(lock);
  if (lines === null || lines === 'unread') return lines;
  const [text = '', start = ''] = lines;
  const pid = Number(/pid (\d+)$/.exec(text)?.[1]);
  const isAlive = start !== RELEASED && Number.isInteger(pid) && startOf(pid) === start;
  return { text, isAlive };
}

function holderLines(lock: string): string[] | null | 'unread' {
  try {
    return readRegularFile(holderPath(lock), { maxBytes: HOLDER_BYTES, onlyOwn: true })
      .toString('utf8')
      .split('\n');
  } catch (error) {
    // The name is for messages only, where the kernel can be asked who has the lock.
    return isShortage(error) ? 'unread' : null;
  }
}

function writeHolder(lock: string, text: string): void {
  try {
    writeDurably(holderPath(lock), text);
  } catch {
    // The disk is full. The lock holds without the name of its holder.
  }
}

/** When a process started, which tells it from a later one with its number (proc(5), /proc/pid/stat, 22); null for none. */
function startOf(pid: number): string | null {
  const path = `/proc/${pid}/stat`;
  if (!existsSync(path)) return null;
  try {
    // The name in brackets may have any character.
    return readFileSync(path, 'utf8').split(') ').at(-1)?.split(' ')[19] ?? null;
  } catch {
    // It ended in between.
    return null;
  }
}
