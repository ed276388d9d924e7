import { errorText } from '../../hw/errors.ts';
import type { Clock } from '../../hw/ports.ts';
import { type Deferred, deferred, pause } from '../../hw/waiting.ts';
import { PowerError } from '../errors.ts';
import type { FollowedLine } from '../run/followed-line.ts';
import type { Resident } from './resident.ts';
import { tellUnread, trackLevel } from './track-level.ts';

/** For so long a signal has to stand. Nobody waits for it that urgently. */
const STANDS_MS = 20;
/** Another process drives the chassis, or a line cannot be had: asked again after this time. */
const RETRY_MS = 1_000;

/** A reset that waits for the host. */
export interface HeldReset {
  readonly name: string;
  readonly signal: HeldSignal;
  /** After the signal. */
  readonly releaseDelayMs: number;
  /** From when the chassis is on; later it is told that the reset is still held. */
  readonly timeoutMs: number;
}
export type HeldSignal = 'postComplete' | 'platformReset';

export interface HeldResetOptions {
  readonly chassis: number;
  /** In the order in which those are released that wait for the same. */
  readonly resets: readonly HeldReset[];
  /** By signal; one that cannot be had never comes. */
  readonly lines: ReadonlyMap<HeldSignal, FollowedLine>;
  readonly resident: Pick<Resident, 'view' | 'releaseResets'>;
  readonly clock: Clock;
  /** @param severity as syslog counts it (RFC 5424, table 2) */
  readonly log: (severity: number, text: string) => void;
}

/** Releases resets that stayed asserted when the chassis came on. */
export interface HeldResets {
  /** To be called once this process is the only service. */
  begin(): void;
  /** To be called when the view of the resident has changed. */
  powerChanged(): void;
  /** Ends it for good; what is held stays so. */
  stop(): Promise<void>;
}

const SHOWN: Readonly<Record<HeldSignal, string>> = {
  postComplete: 'POST complete is asserted',
  platformReset: 'the platform reset is let go',
};

/**
 * Waits, while the chassis is on, for what each reset is held for, and has it released then. Each is released once for a power-on: a host
 * that restarts by itself is not held again. A signal that cannot be read has not come.
 */
export function createHeldResets(options: HeldResetOptions): HeldResets {
  const { resets, resident } = options;
  const signals = followSignals(options);
  /** Of the power-on that the chassis is on by; null while it is not. */
  let phase: AbortController | null = null;
  let isBegun = false;
  let last: Promise<unknown> = Promise.resolve();
  /** One after the other: each has the lock of the chassis. */
  const inTurn = <T>(work: () => Promise<T>): Promise<T> => {
    const done = last.then(work);
    last = done.catch(() => undefined);
    return done;
  };
  const review = (): void => {
    const isOn = isBegun && resident.view.state === 'pgood';
    if (isOn === (phase !== null)) return;
    phase?.abort();
    phase = isOn ? new AbortController() : null;
    if (phase === null) return;
    for (const reset of resets) void awaitRelease(reset, signals, inTurn, options, phase.signal);
  };
  return {
    begin() {
      isBegun = true;
      signals.begin();
      review();
    },
    powerChanged: review,
    async stop() {
      isBegun = false;
      review();
      await last;
      await signals.stop();
    },
  };
}

async function awaitRelease(
  { name, signal, releaseDelayMs, timeoutMs }: HeldReset,
  signals: Signals,
  inTurn: <T>(work: () => Promise<T>) => Promise<T>,
  { chassis, resident, clock, log }: HeldResetOptions,
  ending: AbortSignal,
): Promise<void> {
  const tell = (severity: number, text: string) => log(severity, `chassis ${chassis}: reset ${name} ${text}`);
  const untell = clock.after(timeoutMs, () =>
    tell(4, `is still held after ${timeoutMs} ms: it waits until ${SHOWN[signal]}`),
  );
  ending.addEventListener('abort', untell);
  // A signal of a host without power tells nothing.
  const fromMs = clock.nowMs() + STANDS_MS;
  let trouble: string | null = null;
  const isReleased = async (): Promise<boolean> => {
    if (ending.aborted || !(await signals.isShownNow(signal))) return false;
    try {
      return (await resident.releaseResets([name])).length === 0;
    } catch (error) {
      const isPassing =
        error instanceof PowerError && ['CHASSIS_LOCKED', 'REQUEST_REJECTED'].includes(error.code);
      const text = errorText(error);
      if (!isPassing && text !== trouble) tell(3, `is still held: ${text}`);
      trouble = text;
      return false;
    }
  };
  while (!ending.aborted) {
    const sinceMs = signals.shownSinceMs(signal);
    if (sinceMs === null) {
      await signals.news(ending);
      continue;
    }
    const leftMs = Math.max(sinceMs, fromMs) + releaseDelayMs - clock.nowMs();
    if (leftMs > 0) {
      await pause(clock, leftMs, ending);
      continue;
    }
    if (await inTurn(isReleased)) {
      untell();
      tell(5, `was released: ${SHOWN[signal]}`);
      return;
    }
    await pause(clock, RETRY_MS, ending);
  }
}

/** The signals of the host that resets wait for. */
interface Signals {
  begin(): void;
  /** Since when it is known that a reset need not be held for it any more; null where it has to be. */
  shownSinceMs(signal: HeldSignal): number | null;
  /** The same, read at this moment. Never rejects. */
  isShownNow(signal: HeldSignal): Promise<boolean>;
  /** Resolves when one of them has changed, or at the end. */
  news(ending: AbortSignal): Promise<void>;
  stop(): Promise<void>;
}

function isShown(signal: HeldSignal, level: boolean): boolean {
  return signal === 'postComplete' ? level : !level;
}

function followSignals({ lines, chassis, clock, log }: HeldResetOptions): Signals {
  const since = new Map<HeldSignal, number>();
  const ends: (() => void)[] = [];
  let next: Deferred = deferred();
  const note = (signal: HeldSignal, isThere: boolean): void => {
    if (isThere) since.set(signal, clock.nowMs());
    else since.delete(signal);
    next.resolve();
    next = deferred();
  };
  return {
    begin() {
      for (const [signal, line] of lines) {
        // Until it is read it has not come.
        const held = signal !== 'postComplete';
        const end = trackLevel(line, clock, () => STANDS_MS, held, {
          changed: (level) => note(signal, isShown(signal, level)),
          unread(reason, believed) {
            note(signal, reason === null && isShown(signal, believed));
            tellUnread(log, `chassis ${chassis}: what resets are held for`, 'shows', reason);
          },
        });
        ends.push(end);
      }
    },
    shownSinceMs: (signal) => since.get(signal) ?? null,
    async isShownNow(signal) {
      const line = lines.get(signal);
      if (line === undefined) return false;
      return line.read().then(
        (level) => isShown(signal, level),
        // Told where it is followed.
        () => false,
      );
    },
    async news(ending) {
      if (ending.aborted) return;
      const ended = deferred();
      const end = () => ended.resolve();
      ending.addEventListener('abort', end);
      await Promise.race([next.promise, ended.promise]);
      ending.removeEventListener('abort', end);
    },
    async stop() {
      for (const end of ends) end();
      for (const line of lines.values()) await line.close();
    },
  };
}
