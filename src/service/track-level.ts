import { errorText } from '../../hw/errors.ts';
import type { Clock } from '../../hw/ports.ts';
import { STALL_MS, TURN_MS } from '../run/standstill.ts';
import { BEGUN_ANEW } from '../sequence/readings.ts';

/** What is followed, asserted or not. */
export interface Followed {
  /** Rejects with a HardwareError. */
  read(): Promise<boolean>;
  /** Calls `wake` once the watch stands, and when the level may have changed. Returns the function that ends it. */
  watch(wake: () => void): () => void;
}

/** Who hears of it. */
export interface LevelFollower {
  /** It has had another level for the de-glitch time, and still had it when it was read after that. */
  changed(level: boolean): void;
  /**
   * It cannot be read, and why; null: it can again. Meanwhile nothing is known of it but the level that is believed: that
   * another program has the line says nothing of what it shows, and who is told that pgood was lost takes the host down.
   */
  unread(reason: string | null, believed: boolean): void;
}

/** Tells people that a line shows or requests nothing because it cannot be read, or that it can be again. */
export function tellUnread(
  log: (severity: number, text: string) => void,
  what: string,
  does: 'shows' | 'requests',
  reason: string | null,
): void {
  if (reason === null) log(5, `${what} can be read again`);
  else log(4, `${what} ${does} nothing: ${reason}`);
}

/** Follows a level. Time in which the process stood still does not count. Returns the function that ends it. */
export function trackLevel(
  followed: Followed,
  clock: Clock,
  deglitchMs: () => number,
  initial: boolean,
  follower: LevelFollower,
): () => void {
  let believed = initial;
  /** Time for which the new level still has to stand; null while the level is the believed one. */
  let leftMs: number | null = null;
  /** How often this time began anew because the process stood still. */
  let standstills = 0;
  let cancel: () => void = () => undefined;
  let ended = false;
  const read = createLevelReader(followed, (reason) => {
    if (!ended) follower.unread(reason, believed);
  });

  const judge = (level: boolean): void => {
    if (level === believed) {
      cancel();
      leftMs = null;
      standstills = 0;
      return;
    }
    const isNew = leftMs === null;
    leftMs ??= deglitchMs();
    if (leftMs <= 0) {
      believed = level;
      leftMs = null;
      follower.changed(level);
    } else if (isNew) wait();
  };

  const readLevel = async (): Promise<void> => {
    for (;;) {
      const askedMs = clock.nowMs();
      const level = await read();
      if (ended || level === 'outdated') return;
      // A late answer may be older than the standstill of the process.
      if (clock.nowMs() - askedMs <= STALL_MS) return judge(level ?? believed);
    }
  };

  const wait = (): void => {
    const sliceMs = Math.min(leftMs ?? 0, TURN_MS);
    const dueMs = clock.nowMs() + sliceMs;
    cancel = clock.after(sliceMs, () => {
      const lateMs = clock.nowMs() - dueMs;
      if (leftMs === null) return;
      if (lateMs <= STALL_MS) leftMs -= sliceMs + lateMs;
      else if (standstills++ < BEGUN_ANEW) leftMs = deglitchMs();
      if (leftMs > 0) wait();
      else void readLevel();
    });
  };

  const unwatch = followed.watch(() => void readLevel());
  return () => {
    ended = true;
    cancel();
    unwatch();
  };
}

/**
 * Reads the level. Null where it cannot be read: `unread` is called when that begins, with the reason, and when it
 * is over. `outdated` where a reading that was begun later was answered before.
 */
function createLevelReader(
  followed: Followed,
  unread: (reason: string | null) => void,
): () => Promise<boolean | null | 'outdated'> {
  let reason: string | null = null;
  let begun = 0;
  let newest = 0;
  const note = (own: number, now: string | null): boolean => {
    if (own < newest) return false;
    newest = own;
    if (now !== reason) {
      reason = now;
      unread(now);
    }
    return true;
  };
  return async () => {
    begun += 1;
    const own = begun;
    try {
      const level = await followed.read();
      return note(own, null) ? level : 'outdated';
    } catch (error) {
      return note(own, errorText(error)) ? null : 'outdated';
    }
  };
}
