import { CodedError } from '../../hw/errors.ts';
import type { Clock } from '../../hw/ports.ts';
import { createBackoff, pause } from '../../hw/waiting.ts';

/** How long work is tried again. Far above a restart of the bus, of systemd or of a service. */
export const TELL_FOR_MS = 600_000;
/** A bus that was only restarted is back by then. */
const FIRST_RETRY_MS = 500;
/** Somewhat arbitrary: each further wait is twice as long, up to this. */
const LAST_RETRY_MS = 15_000;

export interface PersistOptions {
  readonly clock: Clock;
  /** Once it is aborted, nothing is tried again. */
  readonly signal: AbortSignal;
  /** Called for the first try that fails, and for the last one. */
  readonly onFailure: (error: CodedError, next: string) => void;
  /** Called before each further try; false gives up. */
  readonly isStillWanted?: () => boolean;
}

/**
 * Repeats `work` until it resolves to true, for ten minutes at most. CodedErrors and false are tried again, and never
 * reject; any other error does.
 */
export async function persist(
  work: () => Promise<boolean>,
  { clock, signal, onFailure, isStillWanted = () => true }: PersistOptions,
): Promise<void> {
  const deadlineMs = clock.nowMs() + TELL_FOR_MS;
  // One of its own: of many chassis that are told at a time Node would tell the eleventh that listens to one signal for a leak.
  const ends = AbortSignal.any([signal]);
  const backoff = createBackoff(FIRST_RETRY_MS, LAST_RETRY_MS);
  let hasFailed = false;
  for (;;) {
    const isLast = clock.nowMs() >= deadlineMs;
    try {
      if (await work()) return;
    } catch (error) {
      if (!(error instanceof CodedError)) throw error;
      if (signal.aborted) return;
      const next = isLast ? 'given up' : `trying again for ${TELL_FOR_MS / 60_000} minutes`;
      if (!hasFailed || isLast) onFailure(error, next);
      hasFailed = true;
    }
    if (isLast || signal.aborted) return;
    await pause(clock, backoff.nextMs(), ends);
    if (signal.aborted || !isStillWanted()) return;
  }
}
